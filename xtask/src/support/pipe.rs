//! What happens when nobody reads what the program says, as in `cargo xtask claims | head -1`.
//!
//! Most programs that print end by SIGPIPE then, quietly, and so does this one; a shell knows it as status 141. Rust
//! would ignore it. Verbs whose results are files go on instead, also where a terminal is closed (SIGHUP).
//! Elsewhere than on Unix there are no such signals.

/// Lets a closed pipe end the program from now on.
pub fn end_quietly() {
    #[cfg(unix)]
    set(libc::SIGPIPE, libc::SIG_DFL);
}

/// Lets neither a closed pipe nor a closed terminal end the program from now on.
pub fn go_on() {
    #[cfg(unix)]
    [libc::SIGPIPE, libc::SIGHUP].into_iter().for_each(|signal| set(signal, libc::SIG_IGN));
}

/// Does `write` to a process that may have died: then it fails, and the program goes on.
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
