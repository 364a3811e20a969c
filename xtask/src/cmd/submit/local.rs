//! Several processes here over one results folder, each with a GPU of its own if asked for.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::Job;
use crate::support::stop;

/// Starts all, shows what they say, and waits for them. They take cells from one folder, each what no other works on.
pub fn run(job: &Job, processes: usize, gpus: bool) -> Result<()> {
    let asked = stop::asked();
    let program = std::env::current_exe().context("where this program lies")?;
    let mut children = Vec::new();
    for number in 0..processes {
        let mut command = Command::new(&program);
        command.args(&job.words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if gpus {
            command.env("CUDA_VISIBLE_DEVICES", number.to_string());
        }
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
        println!("stopped; the same command continues");
        stop::end();
    }
    if failed > 0 {
        bail!(
            "{failed} of {processes} processes failed; what they said stands above; the same command continues"
        )
    }
    Ok(())
}

/// Asks a process to keep its state and end; from a terminal Ctrl-C has reached it already.
fn terminate(child: &Child) {
    #[cfg(unix)]
    // SAFETY: a signal to a process that was started here and not waited for yet, so that the number is still its own.
    unsafe {
        libc::kill(child.id() as i32, libc::SIGTERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}
