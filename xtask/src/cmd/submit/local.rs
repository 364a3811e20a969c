//! Several local processes on one results folder, each with a GPU of its own if requested.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::Job;
use crate::support::stop;

/// CUDA's variable for the GPUs that a program may use, in order; skewbench uses the first.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// NVIDIA's driver has a folder here for each GPU.
const DRIVER: &str = "/proc/driver/nvidia/gpus";

/// Starts all processes, forwards their output, and waits for them. They share one folder, and each trains cells that
/// no other process is training.
pub fn run(job: &Job, processes: usize) -> Result<()> {
    let asked = stop::requested();
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let gpus = if job.words.iter().any(|word| word == "--gpu") {
        let known = fs::read_dir(DRIVER).ok().map(Iterator::count);
        Some(gpus(processes, std::env::var(VISIBLE).ok().as_deref(), known)?)
    } else {
        None
    };
    let mut children = Vec::new();
    for (number, mut command) in commands(job, &program, processes, gpus.as_deref()).into_iter().enumerate() {
        children.push(command.spawn().with_context(|| format!("process {number} does not start"))?);
    }
    let ended = std::thread::scope(|scope| {
        for (number, child) in children.iter_mut().enumerate() {
            let pipes: [Option<Box<dyn Read + Send>>; 2] = [
                child.stdout.take().map(|pipe| Box::new(pipe) as _),
                child.stderr.take().map(|pipe| Box::new(pipe) as _),
            ];
            for pipe in pipes.into_iter().flatten() {
                scope.spawn(move || {
                    BufReader::new(pipe)
                        .lines()
                        .map_while(Result::ok)
                        .for_each(|line| println!("[{number}] {line}"));
                });
            }
        }
        let mut told = false;
        loop {
            if asked.load(Relaxed) && !told {
                told = true;
                children.iter().for_each(terminate);
            }
            let left = children.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)));
            if !left {
                return children.iter_mut().map(Child::wait).collect::<Vec<_>>();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let failed = ended.iter().filter(|status| !status.as_ref().is_ok_and(|status| status.success())).count();
    if asked.load(Relaxed) {
        println!("stopped. Run the same command again to resume.");
        stop::end_by_signal();
    }
    if failed > 0 {
        bail!(
            "{failed} of {processes} processes failed; their messages are above. Run the same command again to resume"
        )
    }
    Ok(())
}

/// Returns one GPU for each process: from those that this program may use, if restricted (`visible`), or from all
/// that the driver knows.
fn gpus(processes: usize, visible: Option<&str>, known: Option<usize>) -> Result<Vec<String>> {
    let gpus: Vec<String> = match (visible, known) {
        (Some(visible), _) => {
            visible.split(',').map(str::trim).filter(|gpu| !gpu.is_empty()).map(str::to_owned).collect()
        }
        (None, known) => (0..known.unwrap_or(processes)).map(|gpu| gpu.to_string()).collect(),
    };
    let whence = if visible.is_some() { format!(" in {VISIBLE}") } else { String::new() };
    ensure!(
        processes <= gpus.len(),
        "--local {processes}: each process needs its own GPU, but the number of GPUs{whence} is {}; start at most as \
         many processes",
        gpus.len()
    );
    Ok(gpus.into_iter().take(processes).collect())
}

/// Returns the commands of the processes, each with its GPU if they use any.
fn commands(job: &Job, program: &Path, processes: usize, gpus: Option<&[String]>) -> Vec<Command> {
    let command = |number: usize| {
        let mut command = Command::new(program);
        command.args(&job.words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(gpus) = gpus {
            command.env(VISIBLE, &gpus[number]);
        }
        command
    };
    (0..processes).map(command).collect()
}

/// Asks a process to save its state and end; on a terminal Ctrl-C has already reached it.
fn terminate(child: &Child) {
    #[cfg(unix)]
    // SAFETY: a signal to a process that was started here and not waited for yet, so its id is still its own.
    unsafe {
        libc::kill(child.id() as i32, libc::SIGTERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the GPU that each process of a job would see, and its arguments.
    fn started(processes: usize, gpus: Option<&[String]>) -> Vec<(Option<String>, String)> {
        let words = ["reproduce", "--gpu", "--out", "/r"].map(str::to_owned).to_vec();
        let job = Job { words, out: "/r".into(), tasks: 1 };
        let of = |command: Command| {
            let text = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
            let gpu =
                command.get_envs().find(|(name, _)| *name == VISIBLE).and_then(|(_, gpu)| Some(text(gpu?)));
            (gpu, command.get_args().map(text).collect::<Vec<_>>().join(" "))
        };
        commands(&job, Path::new("/p"), processes, gpus).into_iter().map(of).collect()
    }

    #[test]
    fn each_process_has_a_gpu_of_its_own() {
        let expected =
            |gpus: [&str; 2]| gpus.map(|gpu| (Some(gpu.to_owned()), "reproduce --gpu --out /r".to_owned()));
        // The driver's own numbers, or the first ones if no driver reports how many there are.
        for known in [Some(2), Some(8), None] {
            assert_eq!(started(2, Some(&gpus(2, None, known).unwrap())), expected(["0", "1"]));
        }
        // From those given to this program, for example by a scheduler.
        let given = gpus(2, Some("5, GPU-8c1a,7"), Some(8)).unwrap();
        assert_eq!(started(2, Some(&given)), expected(["5", "GPU-8c1a"]));
        assert!(started(2, None).iter().all(|(gpu, _)| gpu.is_none()), "on the CPU nothing is said");
        for (visible, known, found) in [
            (None, Some(1), "the number of GPUs is 1;"),
            (Some("3"), Some(8), "in CUDA_VISIBLE_DEVICES is 1;"),
        ] {
            let error = gpus(2, visible, known).unwrap_err().to_string();
            assert!(
                error.contains("--local 2: each process needs its own GPU") && error.contains(found),
                "{error}"
            );
        }
        assert!(gpus(1, Some(""), Some(8)).is_err(), "none may be used");
    }

    /// SIGKILL would lose the work since the last checkpoint.
    #[cfg(unix)]
    #[test]
    fn a_process_is_asked_to_end() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        terminate(&child);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}
