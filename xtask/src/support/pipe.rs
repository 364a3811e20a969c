//! What happens when nobody reads the output, as in `cargo xtask claims | head -1`.
//!
//! Most programs that print are then ended quietly by SIGPIPE, and so is this one; a shell reports status 141. Rust
//! would ignore the signal. Verbs whose results are files continue instead, also after a terminal is closed
//! (SIGHUP). Systems other than Unix have no such signals.

/// From now on, a closed pipe ends the program.
pub fn end_quietly() {
    #[cfg(unix)]
    set(libc::SIGPIPE, libc::SIG_DFL);
}

/// From now on, neither a closed pipe nor a closed terminal ends the program.
pub fn go_on() {
    #[cfg(unix)]
    [libc::SIGPIPE, libc::SIGHUP].into_iter().for_each(|signal| set(signal, libc::SIG_IGN));
}

/// Runs `write` to a process that may have died: the write then fails, and the program continues.
pub fn survive<T>(write: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    set(libc::SIGPIPE, libc::SIG_IGN);
    let written = write();
    end_quietly();
    written
}

#[cfg(unix)]
fn set(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: both handlers are the system's own, and no other code of this program handles these signals.
    unsafe { libc::signal(signal, handler) };
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_worker_that_died_is_survived() {
        end_quietly();
        let mut worker = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut input = worker.stdin.take().unwrap();
        worker.wait().unwrap();
        let error = survive(|| input.write_all(b"step\n")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}
