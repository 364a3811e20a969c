//! Readers of files must survive any content: files of `benchmarks/fuzz/corpus`, and these with seeded damage.
//!
//! A file whose name begins with `whole` must be accepted, one with `bad` refused, and each reader must be right
//! about what it accepts (`benchmarks/fuzz/readers.rs`). `SKEWBENCH_INPUTS=10000 cargo test --workspace --test
//! cells -- readers:: --nocapture --test-threads 1` tries more damaged files, and prints the results.

mod damage;
mod seeds;
#[path = "../../fuzz/readers.rs"]
mod targets;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rstest::rstest;
use skewbench::seed::Seed;
use targets::{READERS, Reader};

/// Damaged files per reader by default. They take some seconds in all.
const INPUTS: usize = 400;
/// Time limit for one: the slowest take some milliseconds.
const LONGEST: Duration = Duration::from_secs(10);
/// Largest size of a file of the corpus, and of all files, in bytes.
const LARGEST: [u64; 2] = [8 << 10, 200 << 10];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/fuzz/corpus")
}

/// Returns the files of a reader with their names, in order.
fn files(reader: &Reader) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(reader.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap())).collect()
}

/// Returns small images of all kinds, made for the decoders' own tests, which are damaged too.
fn pictures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let list = fs::read_to_string(folder.join("list.txt")).unwrap();
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let pictures =
        names.map(|name| fs::read(folder.join(name)).unwrap()).filter(|bytes| bytes.len() < 4 << 10);
    pictures.collect()
}

/// Results for damaged files.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Panics of readers or of their checks, and reads that took too long.
    faults: Vec<String>,
    slowest: Duration,
}

impl Tally {
    /// Reads a file, and keeps a copy if something goes wrong.
    fn read(&mut self, reader: &Reader, bytes: &[u8], number: usize) {
        let begun = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| (reader.read)(bytes)));
        let lasted = begun.elapsed();
        self.slowest = self.slowest.max(lasted);
        match read {
            Ok(true) => self.accepted += 1,
            Ok(false) => self.refused += 1,
            Err(_) => self.keep(reader, bytes, number, "panics".to_owned()),
        }
        if lasted > LONGEST {
            self.keep(reader, bytes, number, format!("takes {lasted:?}"));
        }
    }

    fn keep(&mut self, reader: &Reader, bytes: &[u8], number: usize, what: String) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readers-{}-{number}", reader.name));
        fs::write(&path, bytes).unwrap();
        self.faults.push(format!("{}: {what}", path.display()));
    }
}

#[rstest]
#[case::tables(0)]
#[case::images(1)]
#[case::records(2)]
#[case::checkpoints(3)]
#[case::weights(4)]
#[case::bundles(5)]
#[case::stores(6)]
fn readers_stand_damaged_files(#[case] reader: usize) {
    let reader = &READERS[reader];
    let whole: Vec<(String, Vec<u8>)> = files(reader);
    for (name, bytes) in &whole {
        let expected = name.starts_with("whole");
        assert!(expected || name.starts_with("bad"), "{name}: whole or bad?");
        assert_eq!((reader.read)(bytes), expected, "{}: whether {name} is accepted", reader.name);
    }
    let mut seeds: Vec<Vec<u8>> = whole.into_iter().map(|(_, bytes)| bytes).collect();
    if reader.name == "images" {
        seeds.extend(pictures());
    }
    let asked = env::var("SKEWBENCH_INPUTS").ok();
    let inputs = asked.map_or(INPUTS, |inputs| inputs.parse().expect("SKEWBENCH_INPUTS: a number"));
    let root = Seed::root(0).child("readers").child(reader.name);
    let mut tally = Tally::default();
    for number in 0..inputs {
        let mut dice = root.index(number).stream();
        let [one, other] = [(); 2].map(|()| dice.below(seeds.len()));
        tally.read(reader, &damage::damaged(&seeds[one], &seeds[other], &mut dice), number);
    }
    let Tally { accepted, refused, faults, slowest } = tally;
    println!(
        "{}: {inputs} inputs of {} files: {accepted} accepted, {refused} refused, {} faults, slowest {slowest:.1?}",
        reader.name,
        seeds.len(),
        faults.len()
    );
    assert!(refused > inputs / 10, "{}: {refused} refused: is it damaged at all?", reader.name);
    assert!(faults.is_empty(), "{}: {} faults\n{}", reader.name, faults.len(), faults.join("\n"));
}

#[test]
fn the_corpus_is_small_and_complete() {
    let mut sum = 0;
    for reader in &READERS {
        let files = files(reader);
        for kind in ["whole", "bad"] {
            assert!(files.iter().any(|(name, _)| name.starts_with(kind)), "{}: no {kind} file", reader.name);
        }
        for (name, bytes) in files {
            let bytes = bytes.len() as u64;
            assert!(bytes <= LARGEST[0], "{}/{name}: {bytes} bytes", reader.name);
            sum += bytes;
        }
        let target = format!("benchmarks/fuzz/fuzz_targets/{}.rs", reader.name);
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&target)).unwrap();
        assert!(text.contains(&format!("readers::{}(bytes)", reader.name)), "{target} fuzzes another reader");
    }
    assert!(sum <= LARGEST[1], "{sum} bytes in all");
}
