//! After repeated kills the program leaves the same files as without; results do not depend on the number of
//! threads; memory does not grow. `cargo xtask soak --kills 1000`, `soak determinism` and `soak memory` are the
//! long forms; `soak power-cuts` needs root and loop devices.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use support::{skewbench, succeeds};

#[test]
fn twenty_kills_change_nothing() {
    // Four minutes are more than this takes; four seconds would be less.
    let output = skewbench(&["soak", "--kills", "20", "--processes", "2", "--hours", "0.0666"]);
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

#[test]
fn threads_change_nothing_and_the_table_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let only = "supervised-resnet18,random_weights/none-vit";
    let arguments = ["soak", "determinism", "--threads", "1,3", "--only", only, "--out", out];
    let output = skewbench(&arguments);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.lines().skip(1).all(|line| line.ends_with("equal")), "{said}");
    let table = std::fs::read_to_string(folder.path().join("determinism.csv")).unwrap();
    let digests: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(',').nth(5)).collect();
    assert!(digests.len() == 2 && digests[0] == digests[1] && digests[0].len() == 12, "{table}");
}

#[cfg(target_os = "linux")]
#[test]
fn memory_and_open_files_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let only = "pixels,random_weights/none-vit,supervised-vit";
    let output = skewbench(&["soak", "memory", "--seeds", "8", "--only", only, "--out", out]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Raw pixels have one cell, the others one per seed.
    let told = said.contains("\n17 cells in one process: ");
    assert!(told, "{said}{}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read_to_string(folder.path().join("memory.csv")).unwrap();
    let number = |cell: &str| cell.parse::<u64>().unwrap();
    let rows: Vec<Vec<u64>> = table.lines().skip(1).map(|row| row.split(',').map(number).collect()).collect();
    assert!(rows.len() > 5 && rows.is_sorted_by_key(|row| row[0]), "finished cells grow: {table}");
    // A process that has only just been made has no memory of its own yet.
    let begun = || rows.iter().skip_while(|row| row[0] == 0);
    assert!(begun().all(|row| row[1] > 1_000 && row[2] < 1_000), "KiB, and open files: {table}");
    let most = said.split(" MiB at most").next().unwrap().rsplit(' ').next().map(number).unwrap();
    let largest = rows.iter().map(|row| row[1] >> 10).max().unwrap();
    assert!(most >= largest, "the peak is what the system noted, not what was seen: {most} {largest}");
}
