//! Printing that never ends the program: hours of training must not be lost because the output cannot be shown.
//!
//! The standard library's macros panic if output cannot be written, for example on a full disk or a closed
//! terminal. These have the same names and replace them in this program. Lost output is reported at the end, and
//! only a program whose purpose was printing has then failed.

use std::{
    fmt::Arguments,
    io::{self, IsTerminal, Write},
    sync::Mutex,
};

use super::card::wrapped;

/// The first failure to write to the standard output.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// The output stream.
#[derive(Clone, Copy)]
pub enum To {
    Output,
    Errors,
}

/// Writes text, and `end` after it.
pub fn write(to: To, text: Arguments, end: &str) {
    #[cfg(test)]
    if captured::keep(to, text, end) {
        return;
    }
    let write = |to: &mut dyn Write| to.write_fmt(text).and_then(|()| to.write_all(end.as_bytes()));
    match to {
        To::Output => note(write(&mut io::stdout().lock())),
        // If this fails, the error cannot be reported anywhere.
        To::Errors => drop(write(&mut io::stderr().lock())),
    }
}

/// Flushes the output and returns why some was lost, if it was.
pub fn end() -> Option<io::Error> {
    note(io::stdout().flush());
    LOST.lock().ok()?.take()
}

/// Writes text after a label of eight columns: on a terminal in as many lines as it needs, in a file in one.
pub fn labelled(label: &str, text: &str) {
    let (first, rest) = (format!("{label:8}"), " ".repeat(8));
    let lines = if io::stdout().is_terminal() { wrapped(text, &first, &rest) } else { vec![first + text] };
    lines.iter().for_each(|line| write(To::Output, format_args!("{line}"), "\n"));
}

fn note(written: io::Result<()>) {
    if let (Err(error), Ok(mut lost)) = (written, LOST.lock()) {
        lost.get_or_insert(error);
    }
}

/// Like the standard library's, but never panics.
macro_rules! print {
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Output, format_args!($($text)*), "")
    };
}

/// Like the standard library's, but never panics.
macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Output, format_args!($($text)*), "\n")
    };
}

/// Like the standard library's, but never panics.
macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Errors, format_args!($($text)*), "")
    };
}

/// Like the standard library's, but never panics.
macro_rules! eprintln {
    () => { eprint!("\n") };
    ($($text:tt)*) => {
        $crate::support::print::write($crate::support::print::To::Errors, format_args!($($text)*), "\n")
    };
}

/// Captures what a test's own thread prints.
#[cfg(test)]
pub mod captured {
    use std::{cell::RefCell, fmt::Arguments};

    use super::To;

    thread_local! {
        static TEXTS: RefCell<Option<[String; 2]>> = const { RefCell::new(None) };
    }

    pub(super) fn keep(to: To, text: Arguments, end: &str) -> bool {
        TEXTS.with_borrow_mut(|texts| {
            if let Some(texts) = texts {
                texts[to as usize] += &format!("{text}{end}");
            }
            texts.is_some()
        })
    }

    fn both(run: impl FnOnce()) -> [String; 2] {
        TEXTS.set(Some(Default::default()));
        run();
        TEXTS.take().unwrap_or_default()
    }

    /// Returns what is written to the standard output.
    pub fn output(run: impl FnOnce()) -> String {
        let [output, _] = both(run);
        output
    }

    /// Returns what is written to the standard error output.
    pub fn errors(run: impl FnOnce()) -> String {
        let [_, errors] = both(run);
        errors
    }
}
