//! The program itself: what its user calls it, and the checkout it was built from.
//!
//! `cargo xtask` in a checkout and an installed `skewbench` are the same program. Cargo sets
//! `CARGO_MANIFEST_DIR` for what it runs, which says which of the two this is.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// How commands are written in help texts and messages.
const THROUGH_CARGO: &str = "cargo xtask";

/// What a user types in front of a verb: `cargo xtask`, or `skewbench` when it runs without cargo.
pub fn name() -> &'static str {
    if manifest().is_some() { THROUGH_CARGO } else { "skewbench" }
}

/// A help text or message with commands as this user types them.
pub fn as_typed(text: &str) -> String {
    text.replace(THROUGH_CARGO, name())
}

/// This command as a shell takes it, but for names that are no UTF-8: a file of JSON cannot spell them.
pub fn command() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(&argument.to_string_lossy()));
    let arguments: Vec<String> = arguments.collect();
    format!("{} {}", name(), arguments.join(" "))
}

/// An argument as a shell takes it.
pub fn quoted(argument: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_=,./%:+".contains(letter);
    let is_plain = !argument.is_empty() && argument.chars().all(plain);
    if is_plain { argument.to_owned() } else { format!("'{}'", argument.replace('\'', "'\\''")) }
}

/// The root of the checkout, for verbs that build.
///
/// # Errors
/// If the program runs without cargo: it may have been installed, and its checkout may be gone or changed.
pub fn checkout() -> Result<PathBuf> {
    let package = manifest().context("this builds from source: run it in a checkout, through cargo")?;
    Ok(package.join(".."))
}

/// Folder of this package, set by `cargo run`.
fn manifest() -> Option<PathBuf> {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)
}
