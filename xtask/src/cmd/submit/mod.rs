//! `cargo xtask submit`: runs the cells of a study on a cluster, or on the devices of one machine.

mod kubernetes;
mod local;
pub mod slurm;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use skewbench::{
    candle_core::Device,
    results::{Folder, provenance, record},
};

use super::reproduce;
use crate::{
    asked::{Lists, thousands},
    support::{
        alone::Standalone,
        program::{self, quoted},
    },
};

/// Run a study on Slurm, on Kubernetes, or as several processes here.
///
/// Takes the arguments of `reproduce` after `--`, and checks before submission that all its cells can be trained.
/// Cells are dealt out to tasks (`--part K/N`) that share one results folder, which must have the same path on
/// every node. A task that is killed, preempted or out of time loses nothing: its cell's state is saved, the task
/// is queued again, and resumes. Cancel everything and submit again at any moment: finished cells are read.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask submit --slurm --tasks 40 --time 8:00:00 --gpus 1 -- --full --data sewer-ml=/data --out /shared/study
  cargo xtask submit --slurm --tasks 8 --option=--partition=cpu --option=--cpus-per-task=4 -- --out /shared/small
  cargo xtask submit --kubernetes --image REGISTRY/skewbench:1 --claim results -- --out /results/small > job.yaml
  cargo xtask submit --local 4 --gpus 1 -- --full --data packed=/fast/store --out study")]
pub struct Arguments {
    /// Write a job array, and submit it with sbatch
    #[arg(long, group = "where")]
    slurm: bool,

    /// Print the manifest of an Indexed Job, for kubectl apply
    #[arg(long, group = "where", requires_all = ["image", "claim"])]
    kubernetes: bool,

    /// Start N processes on this machine, and wait for them
    #[arg(long, group = "where", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub local: Option<u16>,

    /// Largest number of tasks [default: 16]. A task without cells ends at once, successfully
    #[arg(long, value_name = "N", default_value_t = 16, hide_default_value = true)]
    tasks: usize,

    /// Largest number of tasks that run at the same time [default: all]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,

    /// GPUs per task; adds --gpu to the command. With --local each process gets one of its own, of those in
    /// CUDA_VISIBLE_DEVICES if that is set
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpus: usize,

    /// Slurm's time limit of a task, such as 8:00:00; two minutes before it the task saves its state and is queued
    /// again
    #[arg(long, value_name = "TIME", requires = "slurm")]
    time: Option<String>,

    /// An additional option of sbatch, such as --option=--partition=gpu; may be given several times
    #[arg(long, value_name = "OPTION", requires = "slurm", allow_hyphen_values = true)]
    option: Vec<String>,

    /// Write Slurm's scripts, and submit nothing
    #[arg(long, requires = "slurm")]
    write_only: bool,

    /// Container image that contains the program
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    image: Option<String>,

    /// PersistentVolumeClaim that holds the results folder
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    claim: Option<String>,

    /// Where the claim is mounted
    #[arg(long, value_name = "PATH", requires = "kubernetes", default_value = "/results")]
    mount: String,

    /// Arguments of `reproduce`, after --
    #[arg(last = true, required = true, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    reproduce: Vec<String>,
}

/// The job, of which every task runs a part.
pub struct Job {
    /// Arguments of the program, without `--part`.
    words: Vec<String>,
    out: PathBuf,
    tasks: usize,
}

impl Job {
    /// Notes in the results folder what all tasks together are to train; each task itself notes only its own part.
    fn note(&self, cells: Vec<(String, usize)>) -> Result<()> {
        let run = record::Run {
            command: format!("{} {}", program::name(), self.line()),
            provenance: provenance::collect(&Device::Cpu),
            times: 1,
            cells: cells.into_iter().collect(),
        };
        reproduce::note_run(&Folder::open(&self.out)?, run)
    }

    /// Returns the arguments, quoted for a shell.
    fn line(&self) -> String {
        self.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.slurm || arguments.kubernetes || arguments.local.is_some(),
        "expected where to run: --slurm, --kubernetes or --local N"
    );
    // The parser does not insist on a required flag if one that excludes it is present.
    ensure!(
        arguments.slurm || (arguments.time.is_none() && arguments.option.is_empty() && !arguments.write_only),
        "--time, --option and --write-only are Slurm's: give --slurm with them"
    );
    ensure!(arguments.tasks > 0, "--tasks must be at least 1");
    ensure!(
        arguments.local.is_none() || arguments.gpus <= 1,
        "--gpus {}: a process uses one GPU; --local N starts as many processes as there are GPUs",
        arguments.gpus
    );
    let words = requested(&arguments.reproduce, arguments.gpus);
    if arguments.kubernetes {
        // This machine may not have access to data and results.
        return kubernetes::print(arguments, &words);
    }
    let (cells, out) = resolve_cells(&words)?;
    let absolute = std::path::absolute(&out)?;
    let words = with_out(&words, &absolute);
    let job = Job { words, out: absolute, tasks: arguments.tasks.min(cells.len()) };
    if !arguments.write_only {
        job.note(cells)?;
    }
    match arguments.local {
        Some(processes) => local::run(&job, usize::from(processes)),
        None => slurm::submit(arguments, &job),
    }
}

/// Returns the cells with their image passes, and the results folder; every problem that could stop a cell is found
/// here.
fn resolve_cells(words: &[String]) -> Result<(Vec<(String, usize)>, PathBuf)> {
    let parsed = parse(words)?;
    let (asked, out) = parsed.arguments.request();
    ensure!(asked.part.is_none(), "leave out --part: `submit` sets it for each task");
    // The GPU may be on another machine.
    let run = asked.without_gpu().run(Lists::Read(&out)).context("the study to submit")?;
    let resolved = run.resolve()?;
    run.describe(&resolved);
    println!("results {}", out.display());
    let cells = resolved.iter().map(|cell| (cell.cell.id(), cell.image_passes())).collect();
    Ok((cells, out))
}

fn parse(words: &[String]) -> Result<Standalone<reproduce::Arguments>> {
    Standalone::<reproduce::Arguments>::try_parse_from(&words[1..]).map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        anyhow::anyhow!("after --: {first}")
    })
}

/// Replaces the results folder by an absolute path, which is the same wherever a task starts.
fn with_out(words: &[String], out: &Path) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => {
                words.next();
            }
            word if word.starts_with("--out=") => {}
            word => kept.push(word.to_owned()),
        }
    }
    kept.extend(["--out".to_owned(), out.to_string_lossy().into_owned()]);
    kept
}

/// Returns `one task`, or `40 tasks`.
fn in_words(tasks: usize) -> String {
    if tasks == 1 { "one task".to_owned() } else { format!("{} tasks", thousands(tasks)) }
}

/// Returns the command of a task: what follows `--`, and `--gpu` if tasks have GPUs.
fn requested(reproduce: &[String], gpus: usize) -> Vec<String> {
    let mut words = vec!["reproduce".to_owned()];
    words.extend(reproduce.iter().cloned());
    if gpus > 0 && !words.iter().any(|word| word == "--gpu") {
        words.push("--gpu".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_with_a_gpu_train_on_it() {
        for (given, gpus, expected) in [
            ("--full", 0, "reproduce --full"),
            ("--full", 1, "reproduce --full --gpu"),
            ("--gpu --full", 2, "reproduce --gpu --full"),
        ] {
            assert_eq!(requested(&words(given), gpus), words(expected), "{given}, {gpus}");
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_results_folder_is_named_once_and_whole() {
        for (given, expected) in [
            ("reproduce --full", "reproduce --full --out /r"),
            ("reproduce --out x --full", "reproduce --full --out /r"),
            ("reproduce --out=x --only --output", "reproduce --only --output --out /r"),
        ] {
            assert_eq!(with_out(&words(given), Path::new("/r")), words(expected), "{given}");
        }
    }

    #[test]
    fn what_follows_is_parsed_as_reproduce_would() {
        assert!(parse(&words("reproduce --full --seeds 2")).is_ok());
        let error = parse(&words("reproduce --sedes 2")).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("after --: unexpected argument '--sedes'"), "{error}");
        let error = resolve_cells(&words("reproduce --part 1/2")).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("leave out --part: `submit` sets it for each task"), "{error}");
        assert_eq!([1, 40, 1_000].map(in_words), ["one task", "40 tasks", "1 000 tasks"]);
    }

    #[test]
    fn cells_and_their_passes_are_noted_for_status() {
        let out = tempfile::tempdir().unwrap();
        let job = Job { words: words("reproduce --only it's"), out: out.path().to_owned(), tasks: 2 };
        job.note(vec![("a".to_owned(), 7), ("b".to_owned(), 8)]).unwrap();
        let [run] = &Folder::open(out.path()).unwrap().runs().unwrap()[..] else { panic!("one run") };
        assert_eq!(run.cells, [("a".to_owned(), 7), ("b".to_owned(), 8)]);
        assert!(run.command.ends_with(" reproduce --only 'it'\\''s'"), "{}", run.command);
    }

    #[test]
    fn where_and_how_many_must_be_said() {
        let error = |line: &str| {
            run(&Standalone::<Arguments>::parse_from(words(line)).arguments).unwrap_err().to_string()
        };
        assert_eq!(error("-- --quick"), "expected where to run: --slurm, --kubernetes or --local N");
        assert_eq!(error("--slurm --tasks 0 -- --quick"), "--tasks must be at least 1");
        for flag in ["--time 8:00:00", "--option=--qos=x", "--write-only"] {
            let error = error(&format!("--local 1 {flag} -- --quick"));
            assert!(error.ends_with("are Slurm's: give --slurm with them"), "{flag}: {error}");
        }
        let expected =
            "--gpus 2: a process uses one GPU; --local N starts as many processes as there are GPUs";
        assert_eq!(error("--local 3 --gpus 2 -- --quick"), expected);
    }

    /// Returns a study's cells with their passes, and its results folder; `--gpu` is for another machine.
    #[test]
    fn a_study_is_looked_at_before_it_is_submitted() {
        use crate::support::print::captured;
        let line = "reproduce --gpu --quick --study floors,table1 --only none-resnet18,supervised-resnet18 --shares 45% --out o";
        let mut found = None;
        let told = captured::output(|| found = Some(resolve_cells(&words(line)).unwrap()));
        let (cells, out) = found.unwrap();
        assert_eq!(out, Path::new("o"));
        assert!(told.starts_with("data    synthetic, ") && told.ends_with("\nresults o\n"), "{told}");
        let passes: std::collections::BTreeMap<&str, usize> =
            cells.iter().map(|(cell, passes)| (cell.as_str(), *passes)).collect();
        assert_eq!(passes.len(), 4);
        assert_eq!(passes["random_weights/none-resnet18-share45-seed1"], 0);
        assert!(passes["table1/supervised-resnet18-share45-seed0"] > 1_000);
        assert!(told.contains("\ncells   4, "), "{told}");
    }
}
