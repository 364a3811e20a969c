//! Problems of users' own images: copies, groups, damage, shares out of reach. All of them are found before
//! training.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{SMALL, camera, draw, error, folder, skewbench, succeeds};
use tempfile::TempDir;

const CELL: &str = "extension/supervised-resnet18-natural-seed0";

/// Trains one supervised cell for one epoch.
fn reproduce(data: &str, out: &Path, more: &[&str]) -> std::process::Output {
    let out = out.to_string_lossy();
    let own = ["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"];
    skewbench(&[&own[..], &SMALL, &["--epochs", "1", "--data", data, "--out", &out], more].concat())
}

fn doctor(data: &str, out: &Path, more: &[&str]) -> (bool, String) {
    let out = out.to_string_lossy();
    let output =
        skewbench(&[&["doctor", "--shares", "natural", "--data", data, "--out", &out], more].concat());
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn record(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join(format!("{CELL}.json"))).unwrap()).unwrap()
}

/// Returns the rows of a split's list of images.
fn rows(out: &Path, split: &str) -> Vec<String> {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let start = format!("images-{split}-");
    let list = entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&start));
    let lists: Vec<PathBuf> = list.collect();
    assert_eq!(lists.len(), 1, "{lists:?}");
    fs::read_to_string(&lists[0]).unwrap().lines().skip(1).map(str::to_owned).collect()
}

/// Copies the folder's images into a training and a validation folder.
fn split(root: &Path, images: &Path) -> PathBuf {
    let given = root.join("given");
    for kind in ["normal", "defect"] {
        let mut names: Vec<PathBuf> =
            fs::read_dir(images.join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for (place, path) in names.iter().enumerate() {
            let part = given.join(if place % 4 == 3 { "validation" } else { "train" }).join(kind);
            fs::create_dir_all(&part).unwrap();
            fs::copy(path, part.join(path.file_name().unwrap())).unwrap();
        }
    }
    given
}

#[test]
fn pictures_on_both_sides_of_a_given_split_stop_it_unless_accepted() {
    let root = TempDir::new().unwrap();
    let given = split(root.path(), &camera(root.path(), "data", 0));
    let out = root.path().join("out");
    let copied = given.join("validation/normal/other_name.png");
    fs::copy(given.join("train/normal/0001.png"), copied).unwrap();
    // The same photograph, saved again a little brighter.
    let picture = image::open(given.join("train/defect/0000.png")).unwrap();
    picture.brighten(20).save(given.join("validation/defect/brighter.png")).unwrap();

    let message = error(&reproduce(&folder(&given), &out, &[]));
    for expected in [
        "1 of 11 validation images has the same bytes as a training image, such as",
        "1 of 11 validation images is nearly equal to a training image of the same label, such as",
        "--on-leak accept continues",
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let (sound, told) = doctor(&folder(&given), &out, &[]);
    assert!(
        !sound && told.contains("PROBLEM  1 of 11 validation images has the same bytes as a training image"),
        "{told}"
    );

    succeeds(&reproduce(&folder(&given), &out, &["--on-leak", "accept"]));
    let limits = record(&out)["data"]["limits"].to_string();
    assert!(
        limits.contains("accepted: 1 of 11 validation images has the same bytes as a training image"),
        "{limits}"
    );
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("accepted: 1 of 11 validation images has the same bytes as a training image"));
}

#[test]
fn a_random_split_keeps_copies_together_and_both_labels_are_noticed() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    for kind in ["normal", "defect"] {
        for entry in fs::read_dir(data.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let copy = format!("copy_{}", path.file_name().unwrap().to_string_lossy());
            fs::copy(&path, data.join(kind).join(copy)).unwrap();
        }
    }
    let out = root.path().join("out");
    let (sound, told) = doctor(&folder(&data), &out, &[]);
    assert!(sound && told.contains("72 of 72 images are equal or nearly equal to another"), "{told}");
    let name = |row: &String| row.split(',').nth(2).unwrap().replace("copy_", "");
    let validation: Vec<String> = rows(&out, "validation").iter().map(name).collect();
    assert!(validation.len() >= 16 && rows(&out, "train").iter().all(|row| !validation.contains(&name(row))));

    fs::copy(data.join("defect/0000.png"), data.join("normal/x.png")).unwrap();
    let message = error(&reproduce(&folder(&data), &out, &[]));
    assert!(message.contains("1 image has both labels, such as"), "{message}");
}

#[test]
fn groups_stay_whole_and_are_suggested() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    for pipe in 0..12 {
        for frame in 0..4 {
            let (defect, kind) = if pipe % 3 == 0 { (true, "defect") } else { (false, "normal") };
            draw(&data.join(kind).join(format!("p{pipe:02}_f{frame}.png")), defect, 4 * pipe + frame);
        }
    }
    let out = root.path().join("out");
    let (_, told) = doctor(&folder(&data), &out, &[]);
    assert!(told.contains("names suggest 12 groups, such as p00 with 4 images"), "{told}");

    let out = root.path().join("grouped");
    succeeds(&reproduce(&folder(&data), &out, &["--group-by", "name"]));
    let pipe = |row: &String| row.split(',').nth(5).unwrap().to_owned();
    let validation: Vec<String> = rows(&out, "validation").iter().map(pipe).collect();
    assert_eq!(validation.len(), 12, "a quarter");
    assert!(rows(&out, "train").iter().all(|row| !validation.contains(&pipe(row))));
    let logits = fs::read_to_string(out.join(format!("{CELL}.logits.csv"))).unwrap();
    assert!(logits.starts_with("position,path,defect,classes,group,"), "{logits}");
    let limits = record(&out)["data"]["limits"].to_string();
    assert!(limits.contains("each group whole on one side"), "{limits}");

    // The user's own split, with one pipe on both sides.
    let mut table = "path,label,split,pipe\n".to_owned();
    for pipe in 0..12 {
        for frame in 0..4 {
            let kind = if pipe % 3 == 0 { "defect" } else { "normal" };
            let part = if frame == 3 { "val" } else { "train" };
            table += &format!("{kind}/p{pipe:02}_f{frame}.png,{kind},{part},{pipe}\n");
        }
    }
    fs::write(data.join("t.csv"), table).unwrap();
    let csv = format!("csv={}", data.join("t.csv").display());
    let message = error(&reproduce(&csv, &root.path().join("csv"), &[]));
    assert!(
        message.contains("12 groups have images on both sides of the split, the first is 0"),
        "{message}"
    );
}

#[test]
fn classes_of_a_table_are_kept_and_scored() {
    let root = TempDir::new().unwrap();
    camera(root.path(), "data", 0);
    let mut table = "path,label,class\n".to_owned();
    for number in 0..36 {
        let (kind, class) = match number % 6 {
            0 => ("defect", "crack"),
            3 => ("defect", "hole"),
            _ => ("normal", ""),
        };
        table += &format!("{kind}/{number:04}.png,{kind},{class}\n");
    }
    fs::write(root.path().join("data/t.csv"), table).unwrap();
    let out = root.path().join("out");
    succeeds(&reproduce(&format!("csv={}", root.path().join("data/t.csv").display()), &out, &[]));
    let record = record(&out);
    let natural =
        record["scores"].as_array().unwrap().iter().find(|score| score["validation_share"].is_null());
    let recall = &natural.unwrap()["recall_by_class"];
    let of = |class: &str| recall[class][1].as_u64().unwrap();
    assert_eq!(of("crack") + of("hole"), 3, "a quarter of twelve defects: {recall}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Recall of Supervised, ResNet-18 by class of defect"), "{}", page.len());
    let logits = fs::read_to_string(out.join(format!("{CELL}.logits.csv"))).unwrap();
    assert!(logits.lines().any(|row| row.contains(",1,crack,") || row.contains(",1,hole,")), "{logits}");
}

#[test]
fn whole_batches_of_bad_images_are_left_out_and_named() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let out = root.path().join("out");
    // 18 of 36, in the order in which they are listed: more than two batches.
    for number in (0..36).filter(|number| number % 3 == 1 || number % 6 == 0) {
        let kind = if number % 3 == 0 { "defect" } else { "normal" };
        let path = data.join(kind).join(format!("{number:04}.png"));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    }
    let message = error(&reproduce(&folder(&data), &out, &[]));
    assert!(
        message.contains("files cannot be read, the first is") && message.contains("truncated"),
        "{message}"
    );
    assert!(!out.join(format!("{CELL}.json")).exists(), "before anything is trained");
    let (sound, told) = doctor(&folder(&data), &out, &["--on-bad-image", "skip"]);
    assert!(sound && told.matches("note     bad image in").count() == 18, "{told}");

    succeeds(&reproduce(&folder(&data), &out, &["--on-bad-image", "skip"]));
    let record = record(&out);
    assert_eq!(record["data"]["skipped"].as_array().unwrap().len(), 18);
    let count = |split: &str| {
        ["normals", "defects"].map(|label| record["data"][split][label].as_u64().unwrap()).iter().sum::<u64>()
    };
    assert_eq!(count("train") + count("validation"), 18);
    let left_out = [rows(&out, "train"), rows(&out, "validation")].concat();
    assert_eq!(left_out.iter().filter(|row| row.contains("truncated")).count(), 18);
}

#[test]
fn shares_out_of_reach_are_left_out_unless_asked_for() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let out = root.path().join("out");
    let own = ["doctor", "--data", &data, "--out", &out.to_string_lossy()].map(str::to_owned);
    let run = |more: &[&str]| {
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let output = skewbench(&[&own[..], more].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (sound, told) = run(&[]);
    assert!(sound && told.contains("note     left out: pixels/none-pixels-share01-seed0 and"), "{told}");
    let (sound, told) = run(&["--shares", "1%,45%"]);
    assert!(!sound && told.contains("PROBLEM  pixels/none-pixels-share01-seed0 and"), "{told}");
}

#[test]
fn files_that_give_the_label_away_are_told() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    for number in 0..24 {
        draw(&data.join(format!("normal/{number}.png")), false, number);
        draw(&data.join(format!("defect/{number}.jpg")), true, number + 50);
    }
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 9, 9])).save(data.join("normal/flat.png")).unwrap();
    let (sound, told) = doctor(&folder(&data), &root.path().join("out"), &[]);
    assert!(sound, "{told}");
    for expected in [
        "the format of a file alone predicts 100 % of training images' labels (50 % is chance; jpeg for defects, png \
         for",
        "images are of one colour throughout, the first is",
        "images are enlarged more than twice to reach 64 px",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

/// Headers alone reveal files that are not images. These stop a run that uses them, unless it may leave them out;
/// shares that nobody requested are left out.
#[test]
fn headers_are_enough_to_find_foreign_files() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    for number in 0..30 {
        let (split, label) = (["train", "test"][number % 2], ["normal", "defect"][number / 2 % 2]);
        draw(&data.join(split).join(label).join(format!("{number}.png")), label == "defect", number as u32);
    }
    fs::write(data.join("train/normal/torn.png"), b"no image").unwrap();
    let data_path = data.clone();
    let (data, out) = (folder(&data), root.path().join("out"));
    let headers = |more: &[&str]| doctor(&data, &out, &[&["--headers", "--study", "floors"], more].concat());
    let (sound, told) = headers(&[]);
    let problem =
        |told: &str| told.lines().any(|line| line.starts_with("PROBLEM ") && line.contains("torn.png"));
    assert!(!sound && problem(&told), "{told}");
    fs::rename(data_path.join("train/normal/torn.png"), data_path.join("test/defect/torn.png")).unwrap();
    let (sound, told) = headers(&[]);
    assert!(
        !sound && problem(&told) && told.contains("images   validation: 16 looked at, 1 bad; "),
        "{told}"
    );
    fs::rename(data_path.join("test/defect/torn.png"), data_path.join("train/normal/torn.png")).unwrap();
    let (sound, told) = headers(&["--on-bad-image", "skip"]);
    assert!(sound && !problem(&told) && told.contains("torn.png"), "{told}");

    // 1 % of so few images is no defect at all.
    let all = skewbench(&[
        "doctor",
        "--study",
        "floors",
        "--data",
        &data,
        "--on-bad-image",
        "skip",
        "--out",
        &out.to_string_lossy(),
    ]);
    let told = String::from_utf8_lossy(&all.stdout).into_owned();
    assert!(
        all.status.success() && told.lines().any(|line| line.starts_with("note     left out: ")),
        "{told}"
    );
}
