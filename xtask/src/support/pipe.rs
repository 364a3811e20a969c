//! What happens when nobody reads what the program says, as in `cargo xtask claims | head -1`.
//!
//! Rust ignores SIGPIPE, so that `println!` panics. Most programs end by it, quietly, and so does this one; a
//! shell knows it as status 141. Elsewhere than on Unix there is no such signal.

/// Lets a closed pipe end the program from now on.
pub fn end_quietly() {
    #[cfg(unix)]
    set(libc::SIG_DFL);
}

/// Does `write` to a process that may have died: then it fails, and the program goes on.
pub fn survive<T>(write: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    set(libc::SIG_IGN);
    let written = write();
    end_quietly();
    written
}

#[cfg(unix)]
fn set(handler: libc::sighandler_t) {
    // SAFETY: both handlers are the system's own, and no other code of this program handles SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, handler) };
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
