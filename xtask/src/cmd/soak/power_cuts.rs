//! Simulates power cuts, as far as a file system can tell, while this program trains.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{durable, seed::Seed};

use super::{
    kills::{differences, start},
    study::{draw, last_lines, result_digests},
};

/// Simulate power cuts during a study, and check that the same command ends with the same bits.
///
/// The results folder is on a file system of its own, in an image file. At a random moment of the study the image
/// is copied as it is, which is the state of a disk after a power cut; the copy is mounted, which replays its
/// journal, and the same command is run again there. Records, weights, logits and detectors must be bit-identical,
/// and nothing may be left over. Ends with status 1 if anything differs. Needs Linux, root, loop devices and each
/// file system's mkfs.
#[derive(clap::Args)]
pub struct Arguments {
    /// File systems, with the same number of cuts each
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "ext4,xfs,btrfs")]
    file_systems: Vec<String>,

    /// Number of cuts of each file system
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    cuts: u64,

    /// Seed of the moments
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Folder for the table as power-cuts.csv [default: only print a summary]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Size of an image in bytes; only written blocks take disk space.
const IMAGE: u64 = 512 << 20;

/// A file system in an image file, mounted as long as this value lives.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(image: &Path, at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        succeeds(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Unmounts it and reports an error.
    fn end(self) -> Result<()> {
        succeeds(Command::new("umount").arg(&self.at))?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Something has failed already: a busy file system is detached now and released later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "file systems are mounted as Linux does it");
    let root = tempfile::tempdir()?;
    let (pictures, said) = (root.path().join("pictures"), root.path().join("said.txt"));
    draw(&pictures)?;
    let begun = Instant::now();
    let expected = undisturbed(&pictures, &root.path().join("undisturbed"), &said)?;
    let lasts = begun.elapsed();
    println!("undisturbed: {} files in {:.1} s", expected.len(), lasts.as_secs_f64());

    let mut stream = Seed::root(arguments.seed).child("power cuts").stream();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["file_system", "after_seconds", "records_then", "faults"])?;
    let mut faults = Vec::new();
    for file_system in &arguments.file_systems {
        let mut least_and_most = (usize::MAX, 0);
        for _ in 0..arguments.cuts {
            let after = lasts.mul_f64(stream.uniform(0.05, 1.0));
            let copy = cut(root.path(), file_system, &pictures, after).with_context(|| {
                format!("{file_system}: needs root, loop devices and mkfs.{file_system}; --file-systems names others")
            })?;
            let out = copy.at.join("results");
            let then = if out.is_dir() { records(&out)? } else { 0 };
            least_and_most = (least_and_most.0.min(then), least_and_most.1.max(then));
            let found = match start(&pictures, &out, &said)?.wait()?.success() {
                true => differences(&expected, &out)?,
                false => vec![format!("the same command fails: {}", last_lines(&said))],
            };
            let after = format!("{:.2}", after.as_secs_f64());
            table.write_record([file_system, &after, &then.to_string(), &found.join("; ")])?;
            faults.extend(found.into_iter().map(|fault| format!("{file_system}, after {after} s: {fault}")));
            copy.end()?;
        }
        println!(
            "{file_system}: {} cuts, with {} to {} records finished; {} faults so far",
            arguments.cuts,
            least_and_most.0.min(least_and_most.1),
            least_and_most.1,
            faults.len()
        );
    }
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        durable::write_whole(&folder.join("power-cuts.csv"), &table.into_inner()?)?;
    }
    faults.iter().for_each(|fault| println!("FAULT {fault}"));
    ensure!(faults.is_empty(), "{} faults", faults.len());
    Ok(())
}

/// Returns the results of an undisturbed study.
fn undisturbed(pictures: &Path, out: &Path, said: &Path) -> Result<BTreeMap<String, String>> {
    ensure!(
        start(pictures, out, said)?.wait()?.success(),
        "the undisturbed study failed, so there is nothing to compare: {}",
        last_lines(said)
    );
    result_digests(out)
}

/// Trains on a new file system, copies its disk image after a while, and mounts the copy.
fn cut(root: &Path, file_system: &str, pictures: &Path, after: Duration) -> Result<Mounted> {
    let (disk, copy) = (root.join("disk.img"), root.join("copy.img"));
    for image in [&disk, &copy] {
        if image.exists() {
            fs::remove_file(image)?;
        }
    }
    fs::File::create(&disk)?.set_len(IMAGE)?;
    succeeds(Command::new(format!("mkfs.{file_system}")).arg("-q").arg(&disk))?;
    let mounted = Mounted::new(&disk, &root.join("mounted"))?;
    let mut process = start(pictures, &mounted.at.join("results"), &root.join("cut.txt"))?;
    thread::sleep(after);
    // Not a clone with shared blocks: later writes must not reach the copy.
    succeeds(Command::new("cp").arg("--reflink=never").arg("--sparse=always").args([&disk, &copy]))?;
    process.kill()?;
    process.wait()?;
    mounted.end()?;
    // Some file systems refuse two mounted disks with the same identifier; the first is unmounted by now.
    Mounted::new(&copy, &root.join("mounted"))
}

fn records(out: &Path) -> Result<usize> {
    Ok(skewbench::results::files(out)?.len())
}

fn succeeds(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name}: does not start"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named_with_its_reason() {
        let error = |command: &mut Command| format!("{:#}", succeeds(command).unwrap_err());
        assert_eq!(error(Command::new("sh").args(["-c", "echo ' no loop ' >&2; exit 3"])), "sh: no loop");
        assert!(error(&mut Command::new("/nowhere/mkfs")).starts_with("/nowhere/mkfs: does not start: "));
        assert!(succeeds(&mut Command::new("true")).is_ok());
    }

    /// This test's own program does not know the verb.
    #[test]
    fn there_is_nothing_to_compare_with_a_study_that_failed() {
        let root = tempfile::tempdir().unwrap();
        let [pictures, out, said] = ["pictures", "out", "said.txt"].map(|name| root.path().join(name));
        fs::create_dir(&out).unwrap();
        let error = undisturbed(&pictures, &out, &said).unwrap_err().to_string();
        let begin = "the undisturbed study failed, so there is nothing to compare: ";
        assert!(error.starts_with(begin) && error.len() > begin.len(), "{error}");
        assert!(error.ends_with(&last_lines(&said)), "{error}");
    }
}
