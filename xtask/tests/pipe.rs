//! Output that nobody reads, as in `cargo xtask claims | head -1`.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
};

/// The signal's number on every Unix; a shell reports it as status 141.
const SIGPIPE: i32 = 13;

/// Runs the program with a standard output whose reader is gone.
fn unread(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_skewbench")).args(arguments).stdout(writer).output().unwrap()
}

/// Output that is lost, as to a full disk, must be reported. Linux has a device that is always full.
#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_skewbench")).arg("claims").stdout(full).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    for arguments in
        [&["claims", "--evidence"][..], &["reproduce", "--dry-run"], &["--help"], &["bundle", "-h"]]
    {
        let output = unread(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
        assert_eq!(output.status.signal(), Some(SIGPIPE), "{arguments:?}: {:?}, {message}", output.status);
    }
}
