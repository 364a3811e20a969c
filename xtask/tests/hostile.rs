//! Hostile input: pipes and devices instead of files, damage that a file's end does not show, and control
//! sequences in file names.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::{fs, os::unix::fs::symlink, process::Command};

use support::{camera, error, folder, skewbench};
use tempfile::TempDir;

#[test]
fn pipes_and_devices_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    let path = |name: &str| root.path().join(name).display().to_string();
    assert!(Command::new("mkfifo").arg(path("pipe.csv")).status().unwrap().success());
    symlink("/dev/zero", path("zero.csv")).unwrap();
    let data = camera(root.path(), "data", 0);
    for (name, found) in [("pipe.csv", "a named pipe"), ("zero.csv", "a device")] {
        let doctor = ["doctor", "--data", &format!("csv={}", path(name)), "--out", &path("out")];
        let told = error(&skewbench(&doctor));
        assert!(
            told.contains(name) && told.contains(&format!("expected a regular file, found {found}")),
            "{told}"
        );
        let init = ["reproduce", "--data", &folder(&data), "--frozen", &path(name), "--out", &path("out")];
        let told = error(&skewbench(&init));
        assert!(
            told.contains(name) && told.contains(&format!("expected a regular file, found {found}")),
            "{told}"
        );
    }
    // Among images, a pipe counts as an image that cannot be read.
    assert!(Command::new("mkfifo").arg(data.join("normal/p.png")).status().unwrap().success());
    let output = skewbench(&["doctor", "--data", &folder(&data), "--out", &out.display().to_string()]);
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("p.png: expected a regular file, found a named pipe"), "{told}");
}

#[test]
fn names_are_shown_not_obeyed() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let name = "a\u{1b}]0;title\u{7}\r\nPROBLEM  b\u{9b}31m.png";
    fs::write(data.join("normal").join(name), b"no image").unwrap();
    fs::write(data.join("normal").join("\u{1b}[2J.txt"), b"").unwrap();
    let out = root.path().join("out").display().to_string();
    for verb in ["doctor", "reproduce"] {
        let output = skewbench(&[verb, "--data", &folder(&data), "--out", &out]);
        let told =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(told.contains("\\u{1b}]0;title\\u{7}\\r"), "{told}");
        let orders = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
        assert!(!told.contains(orders), "{verb}: {told:?}");
    }
}

#[test]
fn a_jpeg_whose_second_half_is_zero_is_found() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let path = data.join("normal/0001.jpg");
    image::open(data.join("normal/0001.png")).unwrap().save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let (half, end) = (bytes.len() / 2, bytes.len() - 2);
    // The end marker stays, as after a download that reserved its space first.
    let half = half.max(bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 40);
    bytes[half..end].fill(0);
    fs::write(&path, bytes).unwrap();
    let out = root.path().join("out").display().to_string();
    let output = skewbench(&["doctor", "--data", &folder(&data), "--out", &out]);
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("0001.jpg: damaged: scan 1 should have 48 blocks, and after"), "{told}");
    assert!(told.contains("--on-bad-image skip"), "{told}");
}
