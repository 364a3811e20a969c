//! Printing that ends nothing: hours of training must not be lost because nobody can hear of them.
//!
//! The standard library's macros panic where output cannot be written: on a full disk, on a terminal that is gone. These
//! have their names and take their place in this program. What could not be written is told at the end, and then only
//! a program that was there to print has failed.

use std::{
    fmt::Arguments,
    io::{self, Write},
    sync::Mutex,
};

/// The first failure to write to the standard output.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Where to.
#[derive(Clone, Copy)]
pub enum To {
    Output,
    Errors,
}

/// Writes text, and `end` after it.
pub fn write(to: To, text: Arguments, end: &str) {
    let write = |to: &mut dyn Write| to.write_fmt(text).and_then(|()| to.write_all(end.as_bytes()));
    match to {
        To::Output => note(write(&mut io::stdout().lock())),
        // Where this fails, there is nobody to tell.
        To::Errors => drop(write(&mut io::stderr().lock())),
    }
}

/// What is still to be written, is; then why output was lost, if it was.
pub fn end() -> Option<io::Error> {
    note(io::stdout().flush());
    LOST.lock().ok()?.take()
}

fn note(written: io::Result<()>) {
    if let (Err(error), Ok(mut lost)) = (written, LOST.lock()) {
        lost.get_or_insert(error);
    }
}

/// As the standard library's, but never a panic.
macro_rules! print {
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Output, format_args!($($text)*), "")
    };
}

/// As the standard library's, but never a panic.
macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Output, format_args!($($text)*), "\n")
    };
}

/// As the standard library's, but never a panic.
macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Errors, format_args!($($text)*), "")
    };
}

/// As the standard library's, but never a panic.
macro_rules! eprintln {
    () => { eprint!("\n") };
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Errors, format_args!($($text)*), "\n")
    };
}
