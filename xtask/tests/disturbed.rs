//! `soak` at the command line when something does differ: it is found, named and ends the program with status 1. Other
//! tests (`soak.rs`) show that nothing differs.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use support::{error, program, skewbench};
use tempfile::TempDir;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Programs that stand in for those of Linux: a "file system" is a folder beside its image, and mounting makes a link
/// to it. On a copied one named `xfs`, a file is left over; on `btrfs` a file lies where the results were.
fn file_systems(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for kind in ["ext4", "xfs", "btrfs"] {
        let text =
            format!("[ \"$1\" = -q ] && [ -f \"$2\" ] || exit 1\nrm -rf \"$2.d\"; echo {kind} > \"$2.kind\"");
        program(folder, &format!("mkfs.{kind}"), &text);
    }
    let mount =
        "[ \"$1 $2\" = '-o loop' ] || exit 1\nmkdir -p \"$3.d\"; rmdir \"$4\" && ln -s \"$3.d\" \"$4\"";
    program(folder, "mount", mount);
    program(folder, "umount", "rm \"$1\"");
    // Files may vanish while the folder is copied.
    let copy = "[ \"$1 $2\" = '--reflink=never --sparse=always' ] || exit 1\nrm -rf \"$4.d\"; : > \"$4\"\n\
                /bin/cp -r \"$3.d\" \"$4.d\" 2> /dev/null\n\
                case $(cat \"$3.kind\") in\n\
                xfs) mkdir -p \"$4.d/results\"; : > \"$4.d/results/x-torn\" ;;\n\
                btrfs) rm -rf \"$4.d/results\"; : > \"$4.d/results\" ;;\n\
                esac\nexit 0";
    program(folder, "cp", copy);
}

#[cfg(target_os = "linux")]
#[test]
fn a_power_cut_that_leaves_something_over_is_a_fault_of_its_file_system() {
    let root = TempDir::new().unwrap();
    let (programs, out) = (root.path().join("bin"), root.path().join("new/out"));
    file_systems(&programs);
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut soak = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    soak.args([
        "soak",
        "power-cuts",
        "--file-systems",
        "ext4,xfs,btrfs",
        "--cuts",
        "1",
        "--seed",
        "3",
        "--out",
    ]);
    let ended = soak.arg(&out).env("PATH", path).output().unwrap();
    assert_eq!(error(&ended), "error: 2 faults\n", "{}", said(&ended));

    let table = fs::read_to_string(out.join("power-cuts.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.splitn(4, ',').collect()).collect();
    assert_eq!(rows[0], ["file_system", "after_seconds", "records_then", "faults"]);
    let [_, ext4, xfs, btrfs] = &rows[..] else { panic!("{table}") };
    assert_eq!([ext4[0], ext4[3], xfs[0], xfs[3]], ["ext4", "", "xfs", "x-torn is left over"]);
    let reason = btrfs[3].trim_matches('"');
    assert!(reason.starts_with("the same command fails: ") && reason.contains("/results"), "{table}");
    assert_eq!([btrfs[0], btrfs[2]], ["btrfs", "0"]);
    for row in [ext4, xfs, btrfs] {
        assert!(row[1].parse::<f64>().unwrap() > 0.0 && row[2].parse::<u8>().unwrap() <= 6, "{row:?}");
    }
    let told = said(&ended);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("undisturbed: ") && lines[0].ends_with(" s"), "{told}");
    let expected = [
        format!("ext4: 1 cuts, with {0} to {0} records finished; 0 faults so far", ext4[2]),
        format!("xfs: 1 cuts, with {0} to {0} records finished; 1 faults so far", xfs[2]),
        "btrfs: 1 cuts, with 0 to 0 records finished; 2 faults so far".to_owned(),
        format!("FAULT xfs, after {} s: x-torn is left over", xfs[1]),
        format!("FAULT btrfs, after {} s: {reason}", btrfs[1]),
    ];
    assert_eq!(lines[1..], expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_cannot_be_had_is_named() {
    let root = TempDir::new().unwrap();
    let programs = root.path().join("bin");
    file_systems(&programs);
    program(&programs, "mount", "echo ' no loop device ' >&2; exit 32");
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut soak = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    soak.args(["soak", "power-cuts", "--file-systems", "xfs"]);
    let message = error(&soak.env("PATH", path).output().unwrap());
    let expected = "error: xfs: needs root, loop devices and mkfs.xfs; --file-systems names others: mount: no loop device\n";
    assert_eq!(message, expected);
}

/// A file that lies there before the kills is found after them, and the folder is kept, although it is a temporary one.
#[test]
fn what_kills_leave_over_is_a_fault() {
    let root = TempDir::new().unwrap();
    let mut soak = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    soak.args(["soak", "--kills", "1", "--processes", "1", "--seed", "2"]).env("TMPDIR", root.path());
    let soak = soak.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // The first study, which is not disturbed, takes more than a second.
    let out = loop {
        let mut folders = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().path());
        if let Some(out) = folders.find(|folder| folder.join("undisturbed.txt").exists()) {
            break out;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no study begins");
        std::thread::sleep(Duration::from_millis(5));
    };
    fs::create_dir_all(out.join("disturbed-0")).unwrap();
    fs::write(out.join("disturbed-0/x-torn"), "").unwrap();
    let folder = out.display().to_string();
    let ended = soak.wait_with_output().unwrap();
    assert_eq!(error(&ended), format!("error: 1 fault; the files are in {folder}\n"), "{}", said(&ended));
    let told = said(&ended);
    let lines: Vec<&str> = told.lines().collect();
    let [first, study, fault] = lines[..] else { panic!("{told}") };
    assert!(first.starts_with("undisturbed: "), "{told}");
    assert!(study.starts_with("1 study, kills: 1 SIG") && study.ends_with("; 1 fault"), "{told}");
    assert_eq!(fault, format!("FAULT {folder}/disturbed-0: x-torn is left over"));
    assert!(out.join("disturbed-0/x-torn").exists() && out.join("undisturbed").exists());
}

/// No study begins after the time is up; what the undisturbed one says is passed on if it fails.
#[test]
fn kills_need_time_and_something_to_compare_with() {
    let root = TempDir::new().unwrap();
    let folder = root.path().display().to_string();
    let ended = skewbench(&["soak", "--kills", "5", "--hours", "0", "--out", &folder]);
    let told = said(&ended);
    assert!(ended.status.success() && told.lines().count() == 1, "{told}");
    assert!(told.starts_with("undisturbed: ") && !root.path().join("disturbed-0").exists(), "{told}");
    fs::remove_dir_all(root.path().join("undisturbed")).unwrap();
    fs::write(root.path().join("undisturbed"), "").unwrap();
    let message = error(&skewbench(&["soak", "--kills", "5", "--out", &folder]));
    let begin = "error: the undisturbed study failed, so there is nothing to compare: ";
    assert!(message.starts_with(begin) && message.contains("undisturbed"), "{message}");
    assert!(message.len() > begin.len() + 10, "its reason: {message}");
}

/// One build trains for fewer epochs; another cannot say which instruction sets it sees, so it is not compared.
#[test]
fn builds_that_differ_with_equal_instruction_sets_are_named() {
    let root = TempDir::new().unwrap();
    let own = env!("CARGO_BIN_EXE_skewbench");
    let changed = "for word in \"$@\"; do shift; [ \"$word\" = 3 ] && word=2; set -- \"$@\" \"$word\"; done";
    program(root.path(), "short", &format!("[ \"$1\" = soak ] || {{\n{changed}\n}}\nexec {own} \"$@\""));
    program(root.path(), "old", &format!("[ \"$1\" = soak ] && exit 2\n{changed}\nexec {own} \"$@\""));
    program(root.path(), "broken", "[ \"$1\" = soak ] && exit 2\necho 'no such flag' >&2; exit 3");
    let path = |name: &str| root.path().join(name).display().to_string();
    let (short, old, broken, out) = (path("short"), path("old"), path("broken"), path("new/out"));
    let only = ["soak", "determinism", "--threads", "2", "--only", "supervised-resnet18"];
    let ended = skewbench(&[&only[..], &["--program", &short, "--program", &old, "--out", &out]].concat());
    let told = said(&ended);
    let rows: Vec<Vec<&str>> = told
        .lines()
        .map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(rows.len(), 4, "{told}");
    let ends: Vec<[&str; 2]> = rows[1..].iter().map(|row| [row[row.len() - 2], row[row.len() - 1]]).collect();
    assert_eq!(ends[0], ["equal", "equal"], "{told}");
    // A record, weights, logits and a detector: --only chose one cell.
    assert!(ends[1][0].ends_with(" of 4 differ") && ends[1][1] == ends[1][0], "{told}");
    assert_eq!(ends[2], ["equal", ends[1][1]], "of unknown sets there is no other: {told}");
    assert!(told.lines().nth(3).unwrap().contains("/old ") && rows[3].contains(&"unknown"), "{told}");
    let message = error(&ended);
    assert!(message.starts_with("error: with equal instruction sets these differ: extension/"), "{message}");
    assert!(message.contains("supervised-resnet18-natural-seed0.json, "), "{message}");
    let table = fs::read_to_string(root.path().join("new/out/determinism.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "it is written before the program ends: {table}");

    let ended = skewbench(&[&only[..], &["--program", &broken]].concat());
    let name = format!("{}/broken", root.path().file_name().unwrap().to_string_lossy());
    let expected = format!("error: {name} with 2 threads ends with exit status: 3: no such flag\n");
    assert_eq!(error(&ended), expected);
    let floor = ["soak", "determinism", "--threads", "1", "--only", "random_weights/none-vit"];
    let message = error(&skewbench(&[&floor[..], &["--under", "/nowhere/qemu -cpu x"]].concat()));
    assert!(message.starts_with("error: /nowhere/qemu does not start: "), "{message}");
}
