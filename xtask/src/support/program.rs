//! The program itself: the name that its user types, and the checkout it was built from.
//!
//! `cargo xtask` in a checkout and an installed `skewbench` are the same program. Cargo sets `CARGO_MANIFEST_DIR`
//! for programs that it runs, which tells the two apart.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// How commands are written in help texts and messages.
const THROUGH_CARGO: &str = "cargo xtask";

/// Returns what a user types before a verb: `cargo xtask`, or `skewbench` without cargo.
pub fn name() -> &'static str {
    if manifest().is_some() { THROUGH_CARGO } else { "skewbench" }
}

/// Rewrites the commands in a help text or message as this user types them.
pub fn as_typed(text: &str) -> String {
    text.replace(THROUGH_CARGO, name())
}

/// Returns this command, quoted for a shell, except names that are not UTF-8, which JSON cannot represent.
pub fn command() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(&argument.to_string_lossy()));
    let arguments: Vec<String> = arguments.collect();
    format!("{} {}", name(), arguments.join(" "))
}

/// Quotes an argument for a shell.
pub fn quoted(argument: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_=,./%:+".contains(letter);
    let is_plain = !argument.is_empty() && argument.chars().all(plain);
    if is_plain { argument.to_owned() } else { format!("'{}'", argument.replace('\'', "'\\''")) }
}

/// Returns the root of the checkout, for verbs that build.
///
/// # Errors
/// If the program runs without cargo: it may have been installed, and its checkout may be gone or changed.
pub fn checkout() -> Result<PathBuf> {
    let package = manifest().context("this command builds from source: run it with cargo in a checkout")?;
    Ok(package.join(".."))
}

/// Returns the folder of this package, which `cargo run` sets.
fn manifest() -> Option<PathBuf> {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_shell_would_split_is_quoted() {
        let plain = "--data=folder:/a-b_c,d.e%f+1";
        assert_eq!(quoted(plain), plain);
        for (text, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$HOME", "'$HOME'"),
            ("a\nb", "'a\nb'"),
            ("ä", "ä"),
            ("~/x", "'~/x'"),
            ("#1", "'#1'"),
            ("*.csv", "'*.csv'"),
            ("a?", "'a?'"),
            ("a&b;c|d", "'a&b;c|d'"),
            ("a\\b", "'a\\b'"),
            ("(a)", "'(a)'"),
            ("{a}", "'{a}'"),
            ("!a", "'!a'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    /// What the test below does in a process of its own.
    #[test]
    fn process_of_the_next_test() {
        if std::env::var_os("SKEWBENCH_TEST_PROGRAM").is_some() {
            let root = checkout().map_err(|error| error.to_string());
            eprintln!(
                "<{}> <{}> <{root:?}>",
                command(),
                as_typed("run `cargo xtask status`, then cargo xtask report")
            );
        }
    }

    /// The same program is called as its user has called it.
    #[test]
    fn commands_are_written_as_they_were_typed() {
        let this = "support::program::tests::process_of_the_next_test";
        let arguments = ["--exact", this, "a b", "--nocapture"];
        let said = |manifest: Option<&str>| {
            let mut program = Command::new(std::env::current_exe().unwrap());
            program.args(arguments).env("SKEWBENCH_TEST_PROGRAM", "1").env_remove("CARGO_MANIFEST_DIR");
            if let Some(folder) = manifest {
                program.env("CARGO_MANIFEST_DIR", folder);
            }
            String::from_utf8(program.output().unwrap().stderr).unwrap()
        };
        let found = said(None);
        let expected = format!(
            "<skewbench --exact {this} 'a b' --nocapture> <run `skewbench status`, then skewbench report> \
             <Err(\"this command builds from source: run it with cargo in a checkout\")>"
        );
        assert!(found.contains(&expected), "{found}");
        let found = said(Some("/x/xtask"));
        let expected = format!(
            "<cargo xtask --exact {this} 'a b' --nocapture> <run `cargo xtask status`, then cargo xtask report> \
             <Ok(\"/x/xtask/..\")>"
        );
        assert!(found.contains(&expected), "{found}");
    }
}
