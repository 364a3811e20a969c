//! Images are packed once, and training reads them from the store.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path};

use support::{SMALL, camera, error, folder, skewbench, succeeds};
use tempfile::TempDir;

#[test]
fn what_is_packed_is_trained_on() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    fs::write(data.join("normal/torn.png"), b"no image").unwrap();
    let data = folder(&data);
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (small, whole) = (path("small"), path("whole"));
    let pack = |to: &str, own: &[&str]| skewbench(&[&["data", "pack", "--data", &data, to], own].concat());
    let message = error(&pack(&small, &["--side", "32"]));
    assert!(message.contains("1 image cannot be read"), "{message}");
    let packed = || {
        let output = pack(&small, &["--side", "32", "--on-bad-image", "skip"]);
        succeeds(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = packed();
    assert!(
        told.starts_with(&format!("{small}: 36 images, 0 of them packed earlier, 1 left out; 0.1 MB in ")),
        "{told}"
    );
    assert!(told.ends_with(&format!(" reproduce --data packed={small}\n")), "{told}");
    succeeds(&pack(&whole, &["--as-files", "--on-bad-image", "skip"]));

    let train = |data: &str, out: &str| {
        let own = ["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"];
        skewbench(&[&own[..], &SMALL, &["--epochs", "2", "--data", data, "--out", out]].concat())
    };
    let table = |out: &str| {
        let name = "extension/supervised-resnet18-natural-seed0.logits.csv";
        fs::read_to_string(Path::new(out).join(name)).unwrap()
    };
    let [from_files, from_whole, from_small] = ["files-out", "whole-out", "small-out"].map(&path);
    let skip = ["--on-bad-image", "skip"];
    let own = ["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"];
    let of_files = ["--epochs", "2", "--data", &data, "--out", &from_files];
    succeeds(&skewbench(&[&own[..], &SMALL, &of_files, &skip].concat()));
    succeeds(&train(&format!("packed={whole}"), &from_whole));
    let events = path("events");
    let small_data = format!("packed={small}");
    let of_small = ["--epochs", "2", "--data", &small_data, "--out", &from_small, "--tensorboard", &events];
    succeeds(&skewbench(&[&own[..], &SMALL, &of_small].concat()));
    let of_cell = Path::new(&events).join("extension/supervised-resnet18-natural-seed0");
    assert_eq!(fs::read_dir(of_cell).unwrap().count(), 1, "an event file for TensorBoard");
    // Stored bytes of files give the same results as the files.
    let logits = |out: &str| {
        let text = table(out);
        let rows = text.lines().map(|line| line.rsplit(',').take(3).map(str::to_owned).collect::<Vec<_>>());
        rows.collect::<Vec<_>>()
    };
    assert_eq!(logits(&from_files), logits(&from_whole));
    assert_eq!(table(&from_small).lines().count(), table(&from_files).lines().count());
    let record = Path::new(&from_small).join("extension/supervised-resnet18-natural-seed0.json");
    assert!(fs::read_to_string(record).unwrap().contains("longer than 32 pixels"));

    // The store's tables and figures are written to the requested paths.
    let [document, figures, page] = ["tables.md", "figures", "page.html"].map(&path);
    fs::write(&document, "<!-- begin card: of it -->\nold\n<!-- end card -->\n").unwrap();
    succeeds(&skewbench(&[
        "report",
        &from_small,
        "--out",
        &page,
        "--splice",
        &document,
        "--figures",
        &figures,
    ]));
    let text = fs::read_to_string(&document).unwrap();
    assert!(text.contains("supervised") && !text.contains("old"), "{text}");
    assert!(Path::new(&page).exists() && Path::new(&figures).is_dir());

    let message = error(&skewbench(&["reproduce", "--data", &format!("packed={small}"), "--side", "64"]));
    assert!(message.contains("packed at a shorter side of 32 pixels, but 64 are requested"), "{message}");
    let message = error(&pack(&small, &["--side", "32", "--on-bad-image", "skip"]));
    assert!(message.contains("already holds a complete store"), "{message}");
    let message = error(&skewbench(&["data", "pack", "--data", "synthetic", "--side", "32", &path("x")]));
    assert!(message.contains("needs no packing"), "{message}");
}
