//! Killed again and again, the program leaves what it leaves undisturbed. `cargo xtask soak --kills 1000` is the long form.

// A test that unwraps fails, as it should; clippy.toml does not reach its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use support::{skewbench, succeeds};

#[test]
fn twenty_kills_change_nothing() {
    let output = skewbench(&["soak", "--kills", "20", "--processes", "2"]);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("; 0 faults"), "{said}");
    let kills: usize = said
        .lines()
        .last()
        .and_then(|line| line.split("kills: ").nth(1)?.split(';').next())
        .map(|kinds| kinds.split(", ").filter_map(|kind| kind.split(' ').next()?.parse::<usize>().ok()).sum())
        .unwrap();
    assert_eq!(kills, 20, "{said}");
}
