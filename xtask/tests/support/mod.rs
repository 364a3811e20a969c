//! Shared by tests of the command line: the program, and folders of images.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers. Not every test
// uses all of them.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use image::{Rgb, RgbImage};

/// The smallest settings: a cell takes seconds.
pub const SMALL: [&str; 6] = ["--side", "32", "--width", "8", "--batch-size", "8"];

pub fn skewbench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skewbench")).args(arguments).output().expect("the program starts")
}

pub fn error(output: &Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Draws a dark (normal) or bright (defect) image; `seed` changes every pixel.
pub fn draw(path: &Path, defect: bool, seed: u32) {
    let base = if defect { 150 } else { 60 };
    let pixel = |x: u32, y: u32| {
        let value = base + (x * 7 + y * 13 + seed * 31) % 60;
        Rgb([value as u8, (value / 2) as u8, (255 - value) as u8])
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(32, 32, pixel).save(path).unwrap();
}

/// Draws a folder of 24 normal images and 12 defects, always under the same names.
pub fn camera(root: &Path, name: &str, seed: u32) -> PathBuf {
    let folder = root.join(name);
    for number in 0..36 {
        let (defect, kind) = if number % 3 == 0 { (true, "defect") } else { (false, "normal") };
        draw(&folder.join(kind).join(format!("{number:04}.png")), defect, seed + number);
    }
    folder
}

pub fn folder(path: &Path) -> String {
    format!("folder={}", path.display())
}

/// Writes a program that is found before any other of its name. A separate process writes the file: as long as
/// this process had it open for writing, none of its threads could execute it.
pub fn program(folder: &Path, name: &str, text: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat > \"$0\" && chmod +x \"$0\""]).arg(folder.join(name)).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}
