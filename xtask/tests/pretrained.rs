//! Fine-tuning at the command line: it starts from another cell's weights, and reports when they are missing.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path, process::Output};

use support::{SMALL, camera, draw, error, folder, skewbench, succeeds};
use tempfile::TempDir;

const TUNED: &str = "fine_tuned/simclr-resnet18-natural-seed0";
const BEFORE: &str = "extension/simclr-resnet18-natural-seed0";

fn reproduce(data: &str, out: &Path, study: &str, more: &[&str]) -> Output {
    let out = out.to_string_lossy();
    let own =
        ["reproduce", "--study", study, "--only", "simclr-resnet18", "--shares", "natural", "--epochs", "1"];
    skewbench(&[&own[..], &SMALL, &["--data", data, "--out", &out], more].concat())
}

#[test]
fn fine_tuning_begins_with_another_cells_weights() {
    let root = TempDir::new().unwrap();
    let data = folder(&camera(root.path(), "data", 0));
    let (out, other) = (root.path().join("out"), root.path().join("other"));

    let message = error(&reproduce(&data, &out, "fine_tuned", &[]));
    assert!(message.contains("not trained yet") && message.contains("--study table1"), "{message}");
    let message = error(&reproduce(&data, &out, "table1,fine_tuned", &["--no-weights"]));
    assert!(message.contains("--no-weights stores none"), "{message}");
    assert!(!out.join(format!("{BEFORE}.json")).exists(), "before anything is trained");

    // One command, in either order of studies, or two commands: the bits are the same.
    succeeds(&reproduce(&data, &out, "fine_tuned,table1", &[]));
    succeeds(&reproduce(&data, &other, "table1", &[]));
    succeeds(&reproduce(&data, &other, "fine_tuned", &[]));
    let logits = |out: &Path, cell: &str| fs::read_to_string(out.join(format!("{cell}.logits.csv"))).unwrap();
    assert_eq!(logits(&out, TUNED), logits(&other, TUNED));
    assert_ne!(logits(&out, TUNED), logits(&out, BEFORE));
    let record = fs::read_to_string(out.join(format!("{TUNED}.json"))).unwrap();
    assert!(record.contains(&format!("\"pretraining.cell\": \"{BEFORE}\"")), "{record}");

    // The weights to start from belong to another experiment, or are gone.
    fs::remove_file(other.join(format!("{TUNED}.json"))).unwrap();
    let message = error(&reproduce(&data, &other, "fine_tuned", &["--recipe", "reference"]));
    assert!(message.contains("another experiment"), "{message}");
    fs::remove_file(other.join(format!("{BEFORE}.safetensors"))).unwrap();
    let message = error(&reproduce(&data, &other, "fine_tuned", &[]));
    assert!(
        message.contains("fine-tuning starts from stored weights") && message.contains("cannot be read"),
        "{message}"
    );
}

#[test]
fn few_labels_and_classes_are_left_out_where_there_are_no_more() {
    let root = TempDir::new().unwrap();
    for (place, kind) in ["scratch", "hole"].into_iter().cycle().take(48).enumerate() {
        draw(&root.path().join(format!("data/{kind}/{place:02}.png")), true, place as u32);
        draw(&root.path().join(format!("data/good/{place:02}.png")), false, 100 + place as u32);
    }
    let data = folder(&root.path().join("data"));
    let out = root.path().join("out");
    // The training split has 36 defects: enough for budgets of 5 and 20, not of 100. There are two classes, not
    // three.
    let output = reproduce(&data, &out, "table1,label_budgets,unseen", &[]);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("100 labelled defects were requested, but the training set has only 36"), "{said}");
    assert!(
        said.contains("class 2 (counted from 0, by number of images)") && said.contains("2 classes"),
        "{said}"
    );
    let read = |cell: &str| fs::read_to_string(out.join(cell)).unwrap();
    let few = read("label_budget/simclr-resnet18-defects0005-seed0.json");
    assert!(few.contains("\"defects\": 5"), "{few}");
    let unseen = read("unseen/simclr-resnet18-class00-seed0.json");
    assert!(unseen.contains("was left out of training"), "{unseen}");
    let class = ["hole", "scratch"]
        .into_iter()
        .find(|name| unseen.contains(&format!("\"unseen.class\": \"{name}\"")));
    let left = class.map(|name| unseen.contains(&format!("class '{name}' was left out")));
    assert_eq!(left, Some(true), "{unseen}");
    assert!(!out.join("unseen/simclr-resnet18-class02-seed0.json").exists());
}
