//! Trains hundreds of cells in one process, and checks whether its memory or open files grow.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{durable, results};

use super::study::{Study, draw, last_lines};

/// Train hundreds of cells in one process, and check that memory and open files do not grow.
///
/// Samples the process five times per second, from outside. The range from one tenth to three tenths of its cells
/// is compared with the last fifth: memory by medians, which may grow by a tenth, open files by the minimum, which
/// must not grow. Ends with status 1 if either grows. Linux only.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seeds of 22 cells each; raw pixels have one cell in all
    #[arg(long, value_name = "N", default_value_t = 23)]
    seeds: usize,

    /// Only these cells, as with `reproduce --only` [default: all 23]
    #[arg(long, value_name = "CELLS")]
    only: Option<String>,

    /// Folder for all samples as memory.csv [default: only print a summary]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Time between two samples.
const PAUSE: Duration = Duration::from_millis(200);
/// Relative growth of the median resident memory that is allowed.
const MAY_GROW: f64 = 0.1;

/// The state of a process after a number of finished cells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    cells: usize,
    /// Resident memory, KiB.
    resident: u64,
    /// Open files.
    files: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "memory and open files of a process are read from /proc, as Linux has it"
    );
    let root = tempfile::tempdir()?;
    let (pictures, out, said) =
        (root.path().join("pictures"), root.path().join("out"), root.path().join("said"));
    draw(&pictures)?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let only = arguments.only.as_deref();
    let study = Study { pictures: &pictures, out: &out, only, epochs: 1, seeds: arguments.seeds };
    let mut process = study.start(Command::new(program), &said)?;
    let (mut samples, mut peak) = (Vec::new(), 0);
    let ended = loop {
        if let Some(ended) = process.try_wait()? {
            break ended;
        }
        // The process may end between the two readings.
        if let Ok(sample) = look(process.id(), &out) {
            peak = peak.max(of_status(process.id(), "VmHWM:").unwrap_or(0));
            samples.push(sample);
        }
        thread::sleep(PAUSE);
    };
    ensure!(ended.success(), "the process ends with {ended}: {}", last_lines(&said));
    if let Some(folder) = &arguments.out {
        write(folder, &samples)?;
    }
    tell(&samples, finished(&out)?, peak)
}

fn look(process: u32, out: &Path) -> Result<Sample> {
    let files = fs::read_dir(format!("/proc/{process}/fd"))?.count();
    Ok(Sample { cells: finished(out)?, resident: of_status(process, "VmRSS:")?, files })
}

/// Counts records in a folder; 0 before the folder exists.
fn finished(out: &Path) -> Result<usize> {
    if out.is_dir() { Ok(results::files(out)?.len()) } else { Ok(0) }
}

/// Reads a line of the system's status of a process, KiB.
fn of_status(process: u32, key: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
    Ok(value.with_context(|| format!("no line {key}"))?.parse()?)
}

/// Returns the samples between two percentages of finished cells.
fn between(samples: &[Sample], cells: usize, [from, to]: [usize; 2]) -> Vec<Sample> {
    let is_in = |sample: &&Sample| (cells * from..cells * to).contains(&(100 * sample.cells));
    samples.iter().filter(is_in).copied().collect()
}

fn median(samples: &[Sample]) -> u64 {
    let mut sorted: Vec<u64> = samples.iter().map(|sample| sample.resident).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn fewest(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| sample.files).min().unwrap_or(0)
}

/// Prints the result.
///
/// # Errors
/// If memory or files grew, or there were too few samples to tell.
fn tell(samples: &[Sample], cells: usize, peak: u64) -> Result<()> {
    for tenth in 0..10 {
        let within = between(samples, cells, [10 * tenth, 10 * tenth + 10]);
        if let Some(first) = within.first() {
            let (resident, files) = (median(&within) >> 10, fewest(&within));
            println!("from cell {:>4}: {resident:>5} MiB, {files} files", first.cells);
        }
    }
    let (first, last) = (between(samples, cells, [10, 30]), between(samples, cells, [80, 100]));
    ensure!(!first.is_empty() && !last.is_empty(), "{cells} cells are too few to tell; ask for more --seeds");
    let (before, after) = (median(&first), median(&last));
    let (few, fewer) = (fewest(&first), fewest(&last));
    println!(
        "{cells} cells in one process: {} MiB after a tenth of them, {} MiB at the end, {} MiB at most; {few} open files, \
         {fewer} at the end",
        before >> 10,
        after >> 10,
        peak >> 10
    );
    if after as f64 > (1.0 + MAY_GROW) * before as f64 {
        bail!("memory grows: {before} KiB, then {after} KiB")
    }
    ensure!(fewer <= few, "open files grow: {few}, then {fewer}");
    Ok(())
}

fn write(folder: &Path, samples: &[Sample]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["cells", "resident_kib", "open_files"])?;
    for Sample { cells, resident, files } in samples {
        writer.write_record([cells.to_string(), resident.to_string(), files.to_string()])?;
    }
    durable::write_whole(&folder.join("memory.csv"), &writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred cells, one sample each.
    fn samples(resident: impl Fn(u64) -> u64, files: impl Fn(usize) -> usize) -> Vec<Sample> {
        (0..100)
            .map(|cells| Sample { cells, resident: resident(cells as u64), files: files(cells) })
            .collect()
    }

    #[test]
    fn samples_are_summarised_in_any_order() {
        let of = |resident| Sample { cells: 0, resident, files: resident as usize };
        assert_eq!((median(&[of(9), of(1), of(5)]), median(&[])), (5, 0));
        assert_eq!((fewest(&[of(9), of(1), of(5)]), fewest(&[])), (1, 0));
    }

    #[test]
    fn what_grows_is_told_from_what_swings() {
        let told = |samples: &[Sample]| tell(samples, 100, 1).map_err(|error| error.to_string());
        // Memory fills at the start, and then fluctuates.
        let sound = samples(
            |cell| if cell < 9 { cell * 10_000 } else { 100_000 + cell % 7 * 5000 },
            |cell| 9 + cell % 3,
        );
        assert_eq!(told(&sound), Ok(()));
        // 200 KiB per cell are 13 MiB between a fifth and nine tenths.
        let grows = samples(|cell| 100_000 + 200 * cell, |_| 9);
        assert!(told(&grows).unwrap_err().starts_with("memory grows: 104"), "{:?}", told(&grows));
        let leaks = samples(|_| 100_000, |cell| 9 + cell % 3 + cell / 30);
        assert_eq!(told(&leaks).unwrap_err(), "open files grow: 9, then 11");
        let one = samples(|_| 100_000, |cell| 9 + usize::from(cell >= 80));
        assert_eq!(told(&one).unwrap_err(), "open files grow: 9, then 10");
        // A tenth more memory is allowed, as medians.
        let tenth = |last: u64| samples(|cell| if cell < 80 { 100_000 } else { last }, |_| 9);
        assert_eq!(told(&tenth(110_000)), Ok(()));
        assert_eq!(told(&tenth(110_001)).unwrap_err(), "memory grows: 100000 KiB, then 110001 KiB");
        assert!(told(&sound[..50]).unwrap_err().contains("too few"));
        let own = of_status(std::process::id(), "VmRSS:");
        assert!(!cfg!(target_os = "linux") || own.unwrap() > 1000, "KiB of this process");
    }

    /// Bounds are percentages of the cells, the first inclusive, the last exclusive.
    #[test]
    fn samples_are_taken_between_two_parts_of_the_cells() {
        let all = samples(|cell| 1_000 * cell, |cell| cell);
        let cells = |bounds| {
            let found = between(&all, 50, bounds);
            (found.first().map(|sample| sample.cells), found.last().map(|sample| sample.cells))
        };
        assert_eq!(cells([10, 30]), (Some(5), Some(14)));
        assert_eq!(cells([80, 100]), (Some(40), Some(49)));
    }

    /// Each tenth of the cells has its median memory in MiB, and its smallest number of open files.
    #[test]
    fn what_a_process_held_is_told_by_tenths_and_at_its_ends() {
        use crate::support::print::captured;
        let all =
            samples(|cell| (100 << 10) + (cell << 7), |cell| if cell < 50 { 20 + cell % 4 } else { 17 });
        let told = captured::output(|| tell(&all, 100, 345 << 10).unwrap());
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 11);
        // Memory grows by an eighth of a MiB per cell: the median of cells 30 to 39 is that of cell 35.
        assert_eq!(lines[3], "from cell   30:   104 MiB, 20 files");
        assert_eq!(lines[9], "from cell   90:   111 MiB, 17 files");
        let expected = "100 cells in one process: 102 MiB after a tenth of them, 111 MiB at the end, 345 MiB at most; 20 \
                        open files, 17 at the end";
        assert_eq!(lines[10], expected);
    }

    #[test]
    fn every_sample_is_a_row_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let sample = |cells, resident, files| Sample { cells, resident, files };
        write(&folder.path().join("new"), &[sample(1, 20, 3), sample(4, 50, 6)]).unwrap();
        let text = fs::read_to_string(folder.path().join("new/memory.csv")).unwrap();
        assert_eq!(text, "cells,resident_kib,open_files\n1,20,3\n4,50,6\n");
        assert_eq!(finished(&folder.path().join("nowhere")).unwrap(), 0);
    }
}
