//! Kills this program repeatedly while it trains, and checks that the results are the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    named::counted,
    results::Folder,
    seed::{Seed, Stream},
};

use super::study::{Study, draw, files, last_lines, result_digests};

#[derive(clap::Args)]
pub struct Arguments {
    /// Number of kills in all
    #[arg(long, value_name = "N", default_value_t = 200)]
    kills: usize,

    /// Start no further study after this many hours
    #[arg(long, value_name = "H", default_value_t = 1.0)]
    hours: f64,

    /// Number of processes sharing one results folder
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    processes: u64,

    /// Seed of the moments and signals
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Folder for data and results, which is kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Results so far.
#[derive(Debug, Default)]
struct Tally {
    /// Kills by signal.
    kills: BTreeMap<&'static str, usize>,
    studies: usize,
    /// Descriptions of what differed or was left over.
    faults: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let root = arguments.out.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&root).with_context(|| format!("{}: cannot be made", root.display()))?;
    let (pictures, whole) = (root.join("pictures"), root.join("undisturbed"));
    draw(&pictures)?;
    let begun = Instant::now();
    let said = root.join("undisturbed.txt");
    if !start(&pictures, &whole, &said)?.wait()?.success() {
        bail!("the undisturbed study failed, so there is nothing to compare: {}", last_lines(&said))
    }
    let (expected, lasts) = (result_digests(&whole)?, begun.elapsed());
    println!("undisturbed: {} files in {:.1} s", expected.len(), lasts.as_secs_f64());

    let mut stream = Seed::root(arguments.seed).child("soak").stream();
    let mut tally = Tally::default();
    let begun = Instant::now();
    while tally.kills.values().sum::<usize>() < arguments.kills
        && begun.elapsed().as_secs_f64() < 3600.0 * arguments.hours
    {
        let out = root.join(format!("disturbed-{}", tally.studies));
        disturb(arguments, (&pictures, &out), lasts, &mut stream, &mut tally)?;
        tally.studies += 1;
        tally.faults.extend(
            differences(&expected, &out)?.into_iter().map(|fault| format!("{}: {fault}", out.display())),
        );
        if tally.faults.is_empty() {
            fs::remove_dir_all(&out)?;
        }
        let kills: Vec<String> =
            tally.kills.iter().map(|(signal, count)| format!("{count} {signal}")).collect();
        println!(
            "{}, kills: {}; {}",
            counted(tally.studies, "study", "studies"),
            kills.join(", "),
            counted(tally.faults.len(), "fault", "faults")
        );
    }
    tally.faults.iter().for_each(|fault| println!("FAULT {fault}"));
    if !tally.faults.is_empty() {
        // Keep the folder, so that the differences can be examined.
        let _ = temporary.keep();
        bail!("{}; the files are in {}", counted(tally.faults.len(), "fault", "faults"), root.display())
    }
    Ok(())
}

/// Starts a process that trains cells of several kinds; its error output goes to `said`.
pub fn start(pictures: &Path, out: &Path, said: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let only = Some("supervised-resnet18,byol-vit,simclr-resnet18,random_weights/none-resnet18");
    Study { pictures, out, only, epochs: 3, seeds: 1 }.start(Command::new(program), said)
}

/// Trains a study to its end, with kills.
fn disturb(
    arguments: &Arguments,
    (pictures, out): (&Path, &Path),
    lasts: Duration,
    stream: &mut Stream,
    tally: &mut Tally,
) -> Result<()> {
    let mut started = 0;
    let mut begin = || -> Result<(Child, PathBuf)> {
        started += 1;
        let said = out.with_extension(format!("{started}.txt"));
        Ok((start(pictures, out, &said)?, said))
    };
    let mut processes = (0..arguments.processes).map(|_| begin()).collect::<Result<Vec<_>>>()?;
    loop {
        // A study that is killed too often would never end.
        std::thread::sleep(lasts.mul_f64(stream.uniform(0.02, 0.4)));
        let victim = stream.below(processes.len());
        if processes[victim].0.try_wait()?.is_some() {
            tally.faults.extend(unexpected(processes.remove(victim))?);
            if processes.is_empty() {
                return Ok(());
            }
            continue;
        }
        if tally.kills.values().sum::<usize>() >= arguments.kills {
            for process in processes {
                tally.faults.extend(unexpected(process)?);
            }
            return Ok(());
        }
        let (name, number) = SIGNALS[stream.below(SIGNALS.len())];
        signal(&mut processes[victim].0, number)?;
        processes[victim].0.wait()?;
        *tally.kills.entry(name).or_default() += 1;
        processes[victim] = begin()?;
    }
}

/// Describes the failure of a process that was not killed; `None` if it succeeded.
fn unexpected((mut process, said): (Child, PathBuf)) -> Result<Option<String>> {
    let status = process.wait()?;
    let fault = || format!("a process that was not killed ended with {status}: {}", last_lines(&said));
    Ok((!status.success()).then(fault))
}

#[cfg(unix)]
const SIGNALS: [(&str, i32); 3] =
    [("SIGKILL", libc::SIGKILL), ("SIGTERM", libc::SIGTERM), ("SIGINT", libc::SIGINT)];
#[cfg(not(unix))]
const SIGNALS: [(&str, i32); 1] = [("kill", 0)];

fn signal(process: &mut Child, number: i32) -> Result<()> {
    #[cfg(unix)]
    // SAFETY: the process was started here and not waited for yet, so its id is still its own.
    unsafe {
        libc::kill(process.id() as i32, number);
    }
    #[cfg(not(unix))]
    {
        let _ = number;
        process.kill()?;
    }
    Ok(())
}

/// Describes how a disturbed study differs.
pub fn differences(expected: &BTreeMap<String, String>, out: &Path) -> Result<Vec<String>> {
    let found = result_digests(out)?;
    let mut faults: Vec<String> = expected
        .iter()
        .filter_map(|(name, digest)| match found.get(name) {
            None => Some(format!("{name} is missing")),
            Some(other) if other != digest => Some(format!("{name} differs")),
            Some(_) => None,
        })
        .collect();
    faults.extend(
        found.keys().filter(|name| !expected.contains_key(*name)).map(|name| format!("{name} is unexpected")),
    );
    let left = files(out)?.into_iter().map(|(name, _)| name);
    let is_left = |name: &String| {
        name.ends_with(".checkpoint")
            || name.ends_with(".lock")
            || name.contains(".tmp")
            || name.contains("-torn")
    };
    faults.extend(left.filter(is_left).map(|name| format!("{name} is left over")));
    let folder = Folder::open(out)?;
    ensure!(!folder.runs()?.is_empty(), "{}: environment.json lists no run", out.display());
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use skewbench::results::{provenance, record};

    use super::*;
    use crate::support::committed;

    #[test]
    fn what_is_missing_differs_or_is_left_over_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        folder.write(&committed::record("table1", "simclr", 0)).unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join("table1").join(name), text).unwrap();
        write("a.safetensors", "weights");
        write("b.logits.csv", "logits");
        let expected = result_digests(root.path()).unwrap();
        assert_eq!(expected.len(), 3, "{expected:?}");
        let found = || differences(&expected, root.path());
        assert!(found().unwrap_err().to_string().contains("environment.json lists no run"));
        let (command, cells) = ("reproduce".to_owned(), Vec::new());
        let provenance = provenance::collect(&skewbench::candle_core::Device::Cpu);
        folder.note_run(record::Run { command, provenance, times: 1, cells }).unwrap();
        assert_eq!(found().unwrap(), [""; 0]);

        write("a.safetensors", "Weights");
        fs::remove_file(root.path().join("table1/b.logits.csv")).unwrap();
        write("c.safetensors", "more");
        write("d.checkpoint", "");
        write("e.lock", "");
        write(".f.tmp7", "");
        write("g.json-torn", "");
        let mut told = found().unwrap();
        told.sort();
        let expected = [
            ".f.tmp7 is left over",
            "a.safetensors differs",
            "b.logits.csv is missing",
            "c.safetensors is unexpected",
            "d.checkpoint is left over",
            "e.lock is left over",
            "g.json-torn is left over",
        ];
        assert_eq!(told, expected.map(|fault| format!("table1/{fault}")));
    }

    /// A process that may save its state ends otherwise than one that may not.
    #[cfg(unix)]
    #[test]
    fn a_process_gets_the_signal_that_was_drawn() {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(SIGNALS.map(|(name, _)| name), ["SIGKILL", "SIGTERM", "SIGINT"]);
        assert_eq!(SIGNALS.map(|(_, number)| number), [libc::SIGKILL, libc::SIGTERM, libc::SIGINT]);
        // The third may be ignored here, as in a shell's background job.
        for (name, number) in &SIGNALS[..2] {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            signal(&mut child, *number).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(*number), "{name}");
        }
    }

    /// Times are ignored; everything that was computed is compared.
    #[test]
    fn a_record_is_compared_by_what_was_computed() {
        let digest = |change: fn(&mut record::Record)| {
            let root = tempfile::tempdir().unwrap();
            let mut record = committed::record("table1", "simclr", 0);
            change(&mut record);
            Folder::open(root.path()).unwrap().write(&record).unwrap();
            result_digests(root.path()).unwrap()
        };
        let plain = digest(|_| ());
        assert_eq!(digest(|record| record.cost.train_seconds += 1.0), plain);
        assert_ne!(digest(|record| record.scores[0].f1 += 1e-9), plain);
        assert_ne!(digest(|record| record.probe.iterations += 1), plain);
        assert_ne!(digest(|record| record.fingerprint.push('0')), plain);
        assert_ne!(digest(|record| record.label_free.clear()), plain);
    }

    /// This test's own program does not know the verb, so both processes end by themselves with an error.
    #[test]
    fn a_process_that_fails_by_itself_is_a_fault() {
        let root = tempfile::tempdir().unwrap();
        let (pictures, out) = (root.path().join("pictures"), root.path().join("out"));
        let arguments = Arguments { kills: 0, hours: 1.0, processes: 2, seed: 0, out: None };
        let mut stream = Seed::root(3).stream();
        let mut tally = Tally::default();
        disturb(&arguments, (&pictures, &out), Duration::from_secs(2), &mut stream, &mut tally).unwrap();
        let begin = "a process that was not killed ended with exit status: ";
        assert_eq!(tally.faults.len(), 2, "{tally:?}");
        assert!(tally.faults.iter().all(|fault| fault.starts_with(begin)), "{tally:?}");
        assert!(tally.kills.is_empty(), "{tally:?}");
    }
}
