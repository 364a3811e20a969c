//! `reproduce` at the command line: results of other images or flags are never taken for this run's, and whatever
//! could stop a run is reported before it trains.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use support::{SMALL, camera, draw, error, folder, skewbench, succeeds};
use tempfile::TempDir;

const CELL: &str = "extension/supervised-resnet18-natural-seed0";

/// Trains one supervised cell on `data`, and whatever else `more` requests.
fn reproduce(data: &str, out: &Path, more: &[&str]) -> Output {
    let out = out.to_string_lossy();
    let own = ["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"];
    skewbench(&[&own[..], &SMALL, &["--data", data, "--out", &out], more].concat())
}

#[test]
fn equal_file_names_do_not_pass_for_equal_data() {
    let root = TempDir::new().unwrap();
    let (first, second) = (camera(root.path(), "first", 0), camera(root.path(), "second", 1_000));
    let out = root.path().join("out");
    succeeds(&reproduce(&folder(&first), &out, &["--epochs", "1"]));
    let record = fs::read(out.join(CELL).with_extension("json")).unwrap();

    // The same command finds the cell finished, even with a copy of the folder elsewhere: the images' bytes count.
    assert!(succeeds(&reproduce(&folder(&first), &out, &["--epochs", "1"])).contains("finished earlier"));
    let copy = camera(root.path(), "copy", 0);
    assert!(succeeds(&reproduce(&folder(&copy), &out, &["--epochs", "1"])).contains("finished earlier"));

    // Different images under the same names are not accepted.
    let message = error(&reproduce(&folder(&second), &out, &["--epochs", "1"]));
    assert!(message.contains("content of the image files") && message.contains(CELL), "{message}");
    // Nor are different validation images alone.
    let list = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let list = list.into_iter().find(|path| path.to_string_lossy().contains("images-validation-")).unwrap();
    let text = fs::read_to_string(list).unwrap();
    let name = text.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    draw(&copy.join(name), name.starts_with("defect"), 7_000);
    let message = error(&reproduce(&folder(&copy), &out, &["--epochs", "1"]));
    assert!(message.contains("content of the image files"), "{message}");
    // Nor is a single changed image.
    draw(&first.join("normal/0001.png"), false, 7);
    let message = error(&reproduce(&folder(&first), &out, &["--epochs", "1"]));
    assert!(message.contains("content of the image files"), "{message}");
    assert_eq!(fs::read(out.join(CELL).with_extension("json")).unwrap(), record, "nothing is overwritten");

    // The list of images names every training image.
    let list = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let list = list.filter(|path| path.to_string_lossy().contains("images-train-")).collect::<Vec<_>>();
    let text = fs::read_to_string(&list[0]).unwrap();
    assert!(text.starts_with("position,split,path,defect,class,group,left_out,bytes,"), "{text}");
    assert_eq!(text.lines().count(), 1 + 27, "three quarters of 36 images are trained on");
}

#[test]
fn a_checkpoint_does_not_resume_with_other_pictures() {
    let root = TempDir::new().unwrap();
    let (first, second) = (camera(root.path(), "first", 0), camera(root.path(), "second", 1_000));
    let out = root.path().join("out");
    let checkpoint = out.join(CELL).with_extension("checkpoint");
    let mut child = Command::new(env!("CARGO_BIN_EXE_skewbench"))
        .args(["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"])
        .args(SMALL)
        .args(["--epochs", "100000", "--data", &folder(&first), "--out"])
        .arg(&out)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "training ended before it was interrupted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let message = error(&reproduce(&folder(&second), &out, &["--epochs", "100000"]));
    assert!(message.contains("images have changed since training began: 27 of the 27 files"), "{message}");
    // It is refused before any training: the second seed has not begun.
    let message = error(&reproduce(&folder(&first), &out, &["--epochs", "6", "--seeds", "2"]));
    assert!(message.contains("epochs: 100000 stored, 6 requested"), "{message}");
    assert!(message.contains("results of another experiment"), "{message}");
    assert!(!out.join(CELL.replace("seed0", "seed1")).with_extension("json").exists());
}

#[test]
fn what_differs_is_told_by_name() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let out = root.path().join("out");
    succeeds(&reproduce(&data, &out, &["--epochs", "1"]));
    let message = error(&reproduce(&data, &out, &["--epochs", "2"]));
    assert!(message.contains("epochs: 1 stored, 2 requested\n"), "and nothing else differs: {message}");
    let message = error(&reproduce(&data, &out, &["--epochs", "1", "--mixed-precision"]));
    assert!(message.contains("precision: f32 stored, bf16 with f32 weights requested\n"), "{message}");
    // If no image is bad, the policy for bad images changes no number.
    let told = succeeds(&reproduce(&data, &out, &["--epochs", "1", "--on-bad-image", "skip"]));
    assert!(told.contains("finished earlier"), "{told}");
}

#[test]
fn initial_weights_never_fill_a_floor() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    succeeds(&reproduce(&data, &root.path().join("first"), &["--epochs", "1"]));
    let exported = skewbench(&["export", &path("first"), CELL, &path("encoder.safetensors")]);
    succeeds(&exported);
    // torchvision's ResNet-18 without its classifier: 20 convolutions, and 20 normalisations of four tensors each.
    let told = String::from_utf8_lossy(&exported.stdout).into_owned();
    assert!(told.contains(&format!(": 100 tensors of {CELL}\n")), "{told}");
    let cell = format!("cell = {CELL}");
    let record = root.path().join("first").join(CELL).with_extension("json");
    let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    let fingerprint = format!("fingerprint = {}", record["fingerprint"].as_str().unwrap());
    let notes = ["backbone = resnet18", "method = supervised", &cell, "input_side = 32", "resnet.width = 8"];
    for note in notes.into_iter().chain([fingerprint.as_str(), "scale = small"]) {
        assert!(told.contains(&format!("\n  {note}\n")), "no note {note}: {told}");
    }
    let floor = |out: &str, more: &[&str]| {
        let own = ["reproduce", "--study", "floors", "--only", "none-resnet18", "--shares", "natural"];
        let ended = skewbench(&[&own[..], &SMALL, &["--data", &data, "--out", &path(out)], more].concat());
        succeeds(&ended);
        let told = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(
            told.contains("no cell of this run starts from these weights"),
            !more.is_empty(),
            "{told}"
        );
        let record = root.path().join(out).join("random_weights/none-resnet18-natural-seed0.json");
        let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
        (record["fingerprint"].clone(), record["scores"].clone())
    };
    assert_eq!(floor("plain", &[]), floor("with_init", &["--init", &path("encoder.safetensors")]));
    // Nor are they scored under the name of a method that has trained nothing.
    let untrained = ["--epochs", "0", "--init", &path("encoder.safetensors")];
    let message = error(&reproduce(&data, &root.path().join("untrained"), &untrained));
    assert!(message.contains("--frozen scores them under their own"), "{message}");
}

#[test]
fn frozen_weights_are_a_row_of_their_own_and_change_no_other() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    succeeds(&reproduce(&data, &root.path().join("first"), &["--epochs", "1"]));
    succeeds(&skewbench(&["export", &path("first"), CELL, &path("encoder.safetensors")]));
    let record = |out: &str, cell: &str| -> serde_json::Value {
        let record = root.path().join(out).join(cell).with_extension("json");
        serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap()
    };
    let weights = path("encoder.safetensors");
    let own = [
        "reproduce",
        "--study",
        "table1,frozen",
        "--only",
        "supervised-resnet18,none-",
        "--shares",
        "natural",
    ];
    let more = ["--epochs", "1", "--data", &data, "--out", &path("beside")];
    let frozen = ["--frozen", &weights, "--normalisation", "imagenet"];
    let told = skewbench(&[&own[..], &SMALL, &more, &frozen].concat());
    succeeds(&told);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("into ResNet-18, scored as they are"), "{told}");
    assert!(told.contains("deviation [0.229, 0.224, 0.225], as --normalisation says"), "{told}");
    let of = |out: &str, cell: &str| {
        let record = record(out, cell);
        (record["fingerprint"].clone(), record["scores"].clone())
    };
    assert_eq!(of("first", CELL), of("beside", CELL));
    let given = record("beside", "given_weights/none-resnet18-natural-seed0");
    assert_eq!(given["settings"]["values"]["normalisation.mean"][0], 0.485);
    assert_eq!(given["settings"]["values"]["init.name"], "encoder.safetensors");
    // The normalisation that the weights were trained with is read from their file.
    let own = ["reproduce", "--study", "frozen", "--shares", "natural", "--frozen", &weights, "--dry-run"];
    let out = path("nothing");
    let told = skewbench(&[&own[..], &SMALL, &["--data", &data, "--out", &out]].concat());
    succeeds(&told);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("deviation [0.21, 0.199, 0.154], as the file says"), "{told}");
    let doctor = ["doctor", "--study", "frozen", "--shares", "natural", "--frozen", &weights];
    let told = skewbench(&[&doctor[..], &SMALL, &["--data", &data, "--out", &path("doctor")]].concat());
    succeeds(&told);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let line = told.lines().find(|line| line.starts_with("weights  ")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("encoder.safetensors") && line.contains("into ResNet-18"), "{told}");
    let choose = ["choose", "--only", "supervised", "--seeds", "2", "--dry-run", "--frozen", &weights];
    let told = skewbench(&[&choose[..], &SMALL, &["--data", &data, "--out", &out]].concat());
    succeeds(&told);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("\ngiven_weights none resnet18 "), "one more floor: {told}");
    // --frozen alone adds the row to another study's.
    let own = ["reproduce", "--study", "floors", "--only", "none-resnet18", "--shares", "natural"];
    let more = ["--frozen", &weights, "--dry-run", "--data", &data, "--out", &out];
    let told = skewbench(&[&own[..], &SMALL, &more].concat());
    succeeds(&told);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("\ngiven_weights none resnet18 ") && told.contains("\nrandom_weights none resnet18 "),
        "{told}"
    );
    let message = error(&skewbench(&["reproduce", "--study", "frozen", "--data", &data]));
    assert!(message.contains("--frozen FILE names it"), "{message}");
}

#[test]
fn what_would_stop_a_cell_is_said_before_any_is_trained() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let out = root.path().join("out");
    let reproduce = |data: &str, more: &[&str]| {
        let own =
            ["reproduce", "--study", "table1", "--shares", "natural", "--width", "8", "--batch-size", "8"];
        let out = out.to_string_lossy();
        let message =
            error(&skewbench(&[&own[..], &["--epochs", "1", "--data", data, "--out", &out], more].concat()));
        assert!(!out_has_records(Path::new(&*out)), "something was trained");
        message
    };
    // Patches of 8 pixels do not fill 100; the ResNet cells would have come first.
    let message = reproduce(&folder(&data), &["--side", "100"]);
    assert!(message.contains("supervised-vit_tiny-natural-seed0 and 5 more: "), "{message}");
    assert!(message.contains("patches of 8 px do not fill images of 100 px"), "{message}");
    // Weights of one backbone do not fit the other.
    let first = root.path().join("first");
    succeeds(&first_cell(&folder(&data), &first));
    let weights = first.join(CELL).with_extension("safetensors").to_string_lossy().into_owned();
    let message = reproduce(&folder(&data), &["--side", "32", "--init", &weights]);
    assert!(message.contains("supervised-vit_tiny-natural-seed0 and 5 more: --init: "), "{message}");
    assert!(message.contains("a ResNet-18 of width 8; pass --only resnet18"), "{message}");
    // Validation images are missing.
    let table = root.path().join("t.csv");
    let rows: String = (0..36)
        .map(|number| {
            let (label, kind) = if number % 3 == 0 { (1, "defect") } else { (0, "normal") };
            let (split, place) = if number % 4 == 0 { ("validation", "gone") } else { ("train", "data") };
            format!("{place}/{kind}/{number:04}.png,{label},{split}\n")
        })
        .collect();
    fs::write(&table, format!("path,label,split\n{rows}")).unwrap();
    let message = reproduce(&format!("csv={}", table.display()), &["--side", "32"]);
    assert!(message.contains("validation images: 9 of 9 files are missing"), "{message}");
    assert!(message.contains("gone/defect/0000.png (t.csv row 2)"), "{message}");
    // doctor reports the same for the same flags.
    let doctor = skewbench(&[
        "doctor",
        "--study",
        "table1",
        "--shares",
        "natural",
        "--side",
        "32",
        "--data",
        &format!("csv={}", table.display()),
        "--out",
        &out.to_string_lossy(),
    ]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("9 of 9 files are missing"));
    assert!(!doctor.status.success());
}

#[test]
fn doctor_complains_only_about_what_is_asked_for() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let out = root.path().join("out").to_string_lossy().into_owned();
    let doctor = |more: &[&str]| {
        let output = skewbench(&[&["doctor", "--data", &data, "--out", &out, "--side", "32"], more].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // 24 normal images are too few for 1 % defects, but nobody requested that share.
    let (sound, told) = doctor(&["--shares", "natural"]);
    assert!(sound && told.contains("nothing stops a run"), "{told}");
    assert!(told.contains("no scores at validation shares 1%, "), "{told}");
    let (sound, told) = doctor(&["--shares", "1%"]);
    assert!(!sound && told.contains("PROBLEM  pixels/none-pixels-share01-seed0 and"), "{told}");
}

#[test]
fn a_torn_image_is_trouble_only_where_it_is_used() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let out = root.path().join("out").to_string_lossy().into_owned();
    let doctor = |shares: &str| {
        let (data, own) = (folder(&data), ["doctor", "--side", "32", "--shares", shares]);
        let output = skewbench(&[&own[..], &["--data", &data, "--out", &out]].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Of 12 defects, 3 are for validation; at 15 %, the 18 normal training images go with 3 of the 9 others.
    let (mut stops, mut notes) = (0, 0);
    for number in (0..36).step_by(3) {
        let path = data.join(format!("defect/{number:04}.png"));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let (sound, told) = doctor("15%");
        if sound {
            notes += 1;
            assert!(told.contains("note     bad image in train: "), "{told}");
            assert!(!doctor("natural").0, "the natural share uses every image");
        } else {
            stops += 1;
            assert!(told.contains("PROBLEM  ") && told.contains(&format!("{number:04}.png")), "{told}");
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!((stops, notes), (6, 6));
}

#[test]
fn a_folder_differs_from_itself_in_nothing() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-25-small-ablations-dino");
    let results = results.to_string_lossy();
    let summary = |more: &[&str]| {
        let output = skewbench(&[&["diff", &results, &results], more].concat());
        succeeds(&output);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    // Two ablations, two classifiers and ten scores (these records are older than the other scores); then the same
    // at five validation shares.
    let equal = |count: usize| {
        format!("{count} scores: 0 changed beyond noise, 0 within noise, {count} bit-identical, 0 undecided")
    };
    assert_eq!(summary(&[]), equal(2 * 2 * 10));
    assert_eq!(summary(&["--shares"]), equal(6 * 2 * 2 * 10));
}

#[test]
fn a_cell_that_fails_does_not_end_the_run() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let out = root.path().join("out");
    let args =
        ["--study", "table1", "--only", "supervised-resnet18", "--shares", "natural,15%", "--epochs", "1"];
    let (data, path) = (folder(&data), out.to_string_lossy().into_owned());
    let run = || skewbench(&[&["reproduce", "--data", &data, "--out", &path], &args[..], &SMALL].concat());
    // A file that one cell has to write cannot be written.
    let in_the_way = out.join(format!("{CELL}.logits.csv"));
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let message = error(&run());
    assert!(message.contains("1 of 2 cells failed; the others are finished"), "{message}");
    assert!(message.contains(&format!("{CELL}.logits.csv")), "{message}");
    assert!(out.join("table1/supervised-resnet18-share15-seed0.json").exists());
    fs::remove_dir_all(in_the_way).unwrap();
    succeeds(&run());
    let record = out.join(format!("{CELL}.json"));
    assert!(record.exists());
    // A record that cannot be read is not overwritten.
    fs::write(&record, "{").unwrap();
    let message = error(&run());
    assert!(
        message.contains("1 of 2 cells failed; the others are finished, and the same command"),
        "{message}"
    );
    assert!(message.contains(&format!("{CELL}.json: truncated or not JSON; move it away")), "{message}");
    assert_eq!(fs::read_to_string(record).unwrap(), "{");
}

fn first_cell(data: &str, out: &Path) -> Output {
    reproduce(data, out, &["--epochs", "1"])
}

fn out_has_records(out: &Path) -> bool {
    ["table1", "extension"].iter().any(|study| out.join(study).is_dir())
}

/// The number of a cluster's tasks is round, the number of cells is not.
#[test]
fn a_part_without_cells_ends_well() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    // The data is not even opened.
    let output = reproduce("folder=/nowhere", &out, &["--part", "3/16"]);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("--part 3/16: none of the 1 cell is left for this part: nothing to do"), "{said}");
    assert!(!out.exists(), "nothing is written");
    assert!(error(&reproduce("folder=/nowhere", &out, &["--part", "1/16"])).contains("/nowhere"));
}

/// 27 of 36 images are for training: three batches of eight per epoch, for two seeds and two epochs; floors are
/// not trained.
#[test]
fn a_dry_run_says_what_there_is_to_do_and_does_nothing() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let out = root.path().join("out").to_string_lossy().into_owned();
    let own = [
        "reproduce",
        "--study",
        "table1,floors",
        "--only",
        "supervised-resnet18,random_weights/none-resnet18",
    ];
    let more =
        ["--shares", "natural", "--seeds", "2", "--epochs", "2", "--data", &data, "--out", &out, "--dry-run"];
    let output = skewbench(&[&own[..], &SMALL, &more].concat());
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |kind: &str| {
        let line =
            said.lines().find(|line| line.starts_with(kind)).unwrap_or_else(|| panic!("no {kind}: {said}"));
        line[kind.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("extension supervised resnet18 ")[..2], ["2", "96"], "cells, image passes: {said}");
    let floors = row("random_weights none resnet18 ");
    assert_eq!(floors[..3], ["2", "0", "-"], "no images a second: {said}");
    assert_eq!(floors[3..5], ["0", "s"], "and no time: {said}");
    assert!(said.contains("\nestimate for this machine, one process: "), "{said}");
    assert!(!Path::new(&out).exists(), "nothing was written");
    let mae = ["--study", "table1", "--only", "mae", "--epochs", "1"];
    let more = ["--shares", "natural", "--data", &data, "--out", &out];
    let run = |last: &[&str]| {
        let output = skewbench(&[&["reproduce"][..], &mae, &more, &SMALL, last].concat());
        succeeds(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // MAE hides patches, which a ResNet does not have: both forms of the command say so once.
    for (last, steps) in [(&["--dry-run"][..], 0), (&[], 1)] {
        let said = run(last);
        let lines = |begin: &str| said.lines().filter(|line| line.starts_with(begin)).count();
        assert_eq!(lines("mae on resnet18: "), 1, "{last:?}: {said}");
        // Three steps teach nothing, which is said again at the end.
        let few = lines("note: 1 of 1 cells train for fewer than 100 steps, the shortest for 3. ");
        assert_eq!(few, steps, "{last:?}: {said}");
    }
}
