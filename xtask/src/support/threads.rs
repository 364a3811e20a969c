//! Starts the pool, and checks at the start that a command's other threads can be started, since an error hours
//! later would be too late.

use std::{io, sync::Mutex, sync::mpsc, thread};

use anyhow::{Context, Result};

/// Number of threads besides the pools. Ours: one for a loader, and one that measures steps.
const BESIDE: usize = 2;

/// Starts the pool, and checks that as many threads again (the table of scores has its own pool) and a few others
/// can be started.
///
/// # Errors
/// If the system does not allow so many threads.
pub fn start() -> Result<()> {
    let pool = || -> Result<()> {
        rayon::ThreadPoolBuilder::new().build_global()?;
        try_for(thread::available_parallelism()?.get() + BESIDE)?;
        Ok(())
    };
    pool().context(
        "cannot start its threads: the system, or its user, has too many (ulimit -u), or too little memory for them",
    )
}

/// Starts this many threads at the same time, and ends them.
fn try_for(count: usize) -> io::Result<()> {
    let (hold, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    thread::scope(|scope| {
        // Nothing is sent: the threads end when the channel closes.
        let begin = |_| {
            let sleep = || drop(wait.lock().map(|wait| wait.recv()));
            thread::Builder::new().spawn_scoped(scope, sleep).map(drop)
        };
        let begun = (0..count).try_for_each(begin);
        drop(hold);
        begun
    })
}
