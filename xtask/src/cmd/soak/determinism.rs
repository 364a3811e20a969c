//! Trains the same cells with other threads, builds and instruction sets: a table of what is bit-identical.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{candle_core::Device, durable, results::provenance};

use super::study::{Study, draw, last_lines, result_digests};

/// Train the same cells with other threads, builds and instruction sets, and show which files are bit-identical.
///
/// Several libraries choose kernels by querying the processor at run time, so no setting can disable an instruction
/// set for all of them; an emulator of an older processor can (--under). Rows with the same instruction sets must
/// be equal; if they are not, this ends with status 1. Others may differ, because some sums are added in another
/// order.
#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of threads, each a row for every build
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,3,8")]
    threads: Vec<usize>,

    /// Another build of this program, such as target/release/skewbench; may be given several times
    #[arg(long, value_name = "FILE")]
    program: Vec<PathBuf>,

    /// A command that runs this build with one thread once more, such as 'qemu-x86_64 -cpu Haswell'; may be given
    /// several times
    #[arg(long, value_name = "COMMAND")]
    under: Vec<String>,

    /// Only these cells, as with `reproduce --only` [default: all 23]
    #[arg(long, value_name = "CELLS")]
    only: Option<String>,

    /// Folder for the table as determinism.csv [default: only print it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One way to train the cells.
struct Way {
    program: PathBuf,
    /// Words of the command that runs it; empty if it runs directly.
    under: Vec<String>,
    threads: usize,
}

/// The result of one way to train the cells.
struct Row {
    way: Way,
    sets: String,
    /// Digests of the results, by file.
    found: BTreeMap<String, String>,
    seconds: f64,
}

const HEADER: [&str; 14] = [
    "program",
    "under",
    "instruction_sets",
    "threads",
    "records",
    "weights",
    "equal_with_these_sets",
    "equal_to_first",
    "differing",
    "seconds",
    "cpu",
    "system",
    "code",
    "started_unix",
];

pub fn run(arguments: &Arguments) -> Result<()> {
    let root = tempfile::tempdir()?;
    let pictures = root.path().join("pictures");
    draw(&pictures)?;
    let mut rows: Vec<Row> = Vec::new();
    println!(
        "{}",
        line([
            "program",
            "instruction sets",
            "threads",
            "records",
            "weights",
            "like these sets",
            "like first"
        ])
    );
    for (number, way) in ways(arguments)?.into_iter().enumerate() {
        let out = root.path().join(number.to_string());
        let row = way.train(&pictures, &out, arguments.only.as_deref())?;
        println!("{}", row.shown(&rows));
        rows.push(row);
    }
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        durable::write_whole(&folder.join("determinism.csv"), &csv(&rows)?)?;
    }
    let differing: BTreeSet<&str> = rows.iter().flat_map(|row| row.differing(alike(row, &rows))).collect();
    ensure!(
        differing.is_empty(),
        "with equal instruction sets these differ: {}",
        Vec::from_iter(differing).join(", ")
    );
    Ok(())
}

/// Returns every build with each number of threads, and this build under each command.
fn ways(arguments: &Arguments) -> Result<Vec<Way>> {
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let mut ways = Vec::new();
    for program in [&own].into_iter().chain(&arguments.program) {
        let way = |&threads: &usize| Way { program: program.clone(), under: Vec::new(), threads };
        ways.extend(arguments.threads.iter().map(way));
    }
    for under in &arguments.under {
        let under: Vec<String> = under.split_whitespace().map(str::to_owned).collect();
        ensure!(!under.is_empty(), "--under: a command is needed");
        ways.push(Way { program: own.clone(), under, threads: 1 });
    }
    Ok(ways)
}

impl Way {
    fn command(&self) -> Command {
        let mut words = self.under.iter();
        let mut command = match words.next() {
            Some(first) => Command::new(first),
            None => Command::new(&self.program),
        };
        if !self.under.is_empty() {
            command.args(words).arg(&self.program);
        }
        // Set both the pool's threads and the settings for which this program would restart itself: an emulator
        // would lose the restart.
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        command.env("CANDLE_NUM_THREADS", "1").env("MIMALLOC_PURGE_DELAY", "-1");
        command
    }

    /// Returns the instruction sets that the program sees; builds that are too old to report them give an empty
    /// text.
    fn sets(&self) -> Result<String> {
        let output = self.command().args(["soak", "instruction-sets"]).output().with_context(|| {
            format!("{} does not start", self.under.first().map_or("the program", String::as_str))
        })?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(if output.status.success() && !said.is_empty() { said } else { "unknown".to_owned() })
    }

    fn train(self, pictures: &Path, out: &Path, only: Option<&str>) -> Result<Row> {
        let sets = self.sets()?;
        let said = out.with_extension("txt");
        let begun = Instant::now();
        let ended =
            Study { pictures, out, only, epochs: 3, seeds: 1 }.start(self.command(), &said)?.wait()?;
        if !ended.success() {
            bail!("{} with {} threads ends with {ended}: {}", self.name(), self.threads, last_lines(&said))
        }
        let found = result_digests(out)?;
        ensure!(!found.is_empty(), "no cell was trained: see --only");
        Ok(Row { way: self, sets, found, seconds: begun.elapsed().as_secs_f64() })
    }

    /// Returns `debug/skewbench`: only the last folder of a build's path.
    fn name(&self) -> String {
        let mut parts: Vec<_> =
            self.program.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
        parts.reverse();
        parts.join("/")
    }
}

/// Returns the first row with the same instruction sets.
fn alike<'a>(row: &'a Row, rows: &'a [Row]) -> &'a Row {
    rows.iter().find(|other| other.sets == row.sets).unwrap_or(row)
}

impl Row {
    /// Returns the digest of the record files, or of all other files.
    fn digest(&self, records: bool) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, digest) in self.found.iter().filter(|(name, _)| name.ends_with(".json") == records) {
            hasher.update(name.as_bytes()).update(digest.as_bytes());
        }
        provenance::digest_prefix(&hasher.finalize().to_hex()).to_owned()
    }

    /// Returns the files that differ from another row.
    fn differing<'a>(&'a self, other: &'a Row) -> Vec<&'a str> {
        let names: BTreeSet<&String> = self.found.keys().chain(other.found.keys()).collect();
        let differs = |name: &&&String| self.found.get(**name) != other.found.get(**name);
        names.iter().filter(differs).map(|name| name.as_str()).collect()
    }

    /// Formats the row; `before`: the rows above it.
    fn shown(&self, before: &[Row]) -> String {
        let equal = |other: &Row| match self.differing(other).len() {
            0 => "equal".to_owned(),
            count => format!("{count} of {} differ", self.found.len()),
        };
        let like = alike(self, before);
        let first = before.first().unwrap_or(self);
        let program = [&[self.way.name()], &self.way.under[..]].concat().join(" ");
        let threads = self.way.threads.to_string();
        let (records, weights) = (self.digest(true), self.digest(false));
        line([&program, &self.sets, &threads, &records, &weights, &equal(like), &equal(first)])
    }
}

fn line(cells: [&str; 7]) -> String {
    let [program, sets, threads, records, weights, like, first] = cells;
    format!("{program:<42} {sets:<22} {threads:>7}  {records:<12}  {weights:<12}  {like:<16} {first}")
}

/// Returns all rows as a CSV, with their origin.
fn csv(rows: &[Row]) -> Result<Vec<u8>> {
    let provenance = provenance::collect(&Device::Cpu);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for row in rows {
        let is_equal = |other: &Row| row.differing(other).is_empty().to_string();
        writer.write_record([
            row.way.name(),
            row.way.under.join(" "),
            row.sets.clone(),
            row.way.threads.to_string(),
            row.digest(true),
            row.digest(false),
            is_equal(alike(row, rows)),
            is_equal(&rows[0]),
            row.differing(&rows[0]).join(" "),
            format!("{:.1}", row.seconds),
            provenance.cpu.clone(),
            provenance.system.clone(),
            provenance.code.clone().unwrap_or_default(),
            provenance.started_unix.to_string(),
        ])?;
    }
    Ok(writer.into_inner()?)
}

/// Returns the instruction sets for which kernels exist, as far as this process sees them.
pub fn instruction_sets() -> String {
    #[cfg(target_arch = "x86_64")]
    let seen = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let seen = [("neon", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let seen: [(&str, bool); 0] = [];
    let names: Vec<&str> = seen.into_iter().filter(|(_, seen)| *seen).map(|(name, _)| name).collect();
    if names.is_empty() { "baseline".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;

    fn row(sets: &str, weights: &str) -> Row {
        let way = Way { program: "/a/b/debug/skewbench".into(), under: Vec::new(), threads: 2 };
        let found = [("x.json", "1"), ("x.safetensors", weights)];
        let found = found.map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        Row { way, sets: sets.to_owned(), found: found.into(), seconds: 1.0 }
    }

    #[test]
    fn rows_are_compared_with_their_like_and_with_the_first() {
        let rows = [row("avx2 avx512f", "1"), row("avx2", "2"), row("avx2", "2"), row("avx2 avx512f", "3")];
        assert!(rows[2].shown(&rows).contains("equal"), "{}", rows[2].shown(&rows));
        assert!(rows[2].shown(&rows).ends_with("1 of 2 differ"), "{}", rows[2].shown(&rows));
        assert_eq!(rows[3].differing(alike(&rows[3], &rows)), ["x.safetensors"]);
        assert_eq!(rows[0].digest(true), rows[3].digest(true));
        assert_ne!(rows[0].digest(false), rows[3].digest(false));
        let table = String::from_utf8(csv(&rows).unwrap()).unwrap();
        let third = table.lines().nth(3).unwrap();
        assert!(third.starts_with("debug/skewbench,,avx2,2,"), "{third}");
        assert!(third.contains(",true,false,x.safetensors,1.0,"), "{third}");
    }

    #[test]
    fn every_instruction_set_is_named() {
        let found = instruction_sets();
        let names: Vec<&str> = found.split(' ').collect();
        #[cfg(target_arch = "x86_64")]
        for (name, seen) in [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
        ] {
            assert_eq!(names.contains(&name), seen, "{name} in '{found}'");
        }
        assert_eq!(names.contains(&"baseline"), names.len() == 1 && found == "baseline");
    }

    /// Every build with every number of threads, then this build under each emulator.
    #[test]
    fn ways_are_those_that_were_asked_for() {
        use clap::Parser;
        let flags = ["--threads", "1,3", "--program", "/b/release/skewbench", "--under", "qemu -cpu H"];
        let ways = ways(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap();
        let own = std::env::current_exe().unwrap();
        let told: Vec<(PathBuf, String, usize)> =
            ways.iter().map(|way| (way.program.clone(), way.under.join(" "), way.threads)).collect();
        let other = PathBuf::from("/b/release/skewbench");
        let way = |program: &PathBuf, under: &str, threads| (program.clone(), under.to_owned(), threads);
        let expected = [
            way(&own, "", 1),
            way(&own, "", 3),
            way(&other, "", 1),
            way(&other, "", 3),
            way(&own, "qemu -cpu H", 1),
        ];
        assert_eq!(told, expected);
        let words = |way: &Way| {
            let command = way.command();
            let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
            let words: Vec<String> =
                std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect();
            let settings =
                command.get_envs().map(|(name, value)| (text(name), text(value.unwrap()))).collect();
            (words, settings)
        };
        let (program, settings): (Vec<String>, BTreeMap<String, String>) = words(&ways[3]);
        assert_eq!(
            (program, ways[3].name()),
            (vec!["/b/release/skewbench".to_owned()], "release/skewbench".to_owned())
        );
        let expected =
            [("CANDLE_NUM_THREADS", "1"), ("MIMALLOC_PURGE_DELAY", "-1"), ("RAYON_NUM_THREADS", "3")];
        assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let (program, _) = words(&ways[4]);
        assert_eq!(program, ["qemu", "-cpu", "H", &own.to_string_lossy()]);
        let empty = Standalone::<Arguments>::parse_from(["--under", " "]).arguments;
        assert!(super::ways(&empty).is_err_and(|error| error.to_string() == "--under: a command is needed"));
    }

    /// Each value is under its heading, in the printed table and in the CSV.
    #[test]
    fn a_row_has_every_value_in_its_column() {
        let mut last = row("avx2", "4");
        last.way = Way {
            program: "/x/y/release/skewbench".into(),
            under: vec!["qemu".into(), "-cpu".into()],
            threads: 8,
        };
        last.found.insert("z.safetensors".to_owned(), "9".to_owned());
        last.seconds = 12.34;
        let rows = [row("avx2 fma", "1"), row("avx2", "2"), last];
        assert_eq!(
            rows[0].differing(&rows[2]),
            ["x.safetensors", "z.safetensors"],
            "also what only the other has"
        );
        let (records, weights) = (rows[2].digest(true), rows[2].digest(false));
        assert_eq!((records.len(), weights.len()), (12, 12));
        assert_ne!(records, weights);
        let shown = rows[2].shown(&rows[..2]);
        let expected = format!(
            "{:<42} {:<22} {:>7}  {records}  {weights}  {:<16} {}",
            "release/skewbench qemu -cpu", "avx2", 8, "2 of 3 differ", "2 of 3 differ"
        );
        assert_eq!(shown, expected);
        let table = csv(&rows).unwrap();
        let mut reader = csv::Reader::from_reader(&table[..]);
        let head = reader.headers().unwrap().clone();
        let line = reader.records().nth(2).unwrap().unwrap();
        let value = |name: &str| &line[head.iter().position(|known| known == name).expect(name)];
        let provenance = provenance::collect(&Device::Cpu);
        for (name, expected) in [
            ("program", "release/skewbench"),
            ("under", "qemu -cpu"),
            ("instruction_sets", "avx2"),
            ("threads", "8"),
            ("records", &records),
            ("weights", &weights),
            ("equal_with_these_sets", "false"),
            ("equal_to_first", "false"),
            ("differing", "x.safetensors z.safetensors"),
            ("seconds", "12.3"),
            ("cpu", &provenance.cpu),
            ("system", &provenance.system),
            ("code", provenance.code.as_deref().unwrap_or_default()),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        assert!(value("started_unix").parse::<u64>().unwrap() > 1_700_000_000);
    }

    /// An emulator shows other instruction sets than this processor has; here it shows the words it was given.
    #[cfg(unix)]
    #[test]
    fn instruction_sets_are_those_that_the_program_sees() {
        let way = |under: &[&str]| {
            let under = under.iter().map(|&word| word.to_owned()).collect();
            Way { program: "/p".into(), under, threads: 1 }
        };
        assert_eq!(way(&["echo", " avx9"]).sets().unwrap(), "avx9 /p soak instruction-sets");
        assert_eq!(way(&["true"]).sets().unwrap(), "unknown", "it says nothing");
        assert_eq!(way(&["false"]).sets().unwrap(), "unknown");
        let error = way(&["/nowhere/qemu", "-cpu"]).sets().unwrap_err().to_string();
        assert_eq!(error, "/nowhere/qemu does not start");
    }
}
