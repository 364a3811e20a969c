//! `tune` at the command line: trials are ordinary records on images of their own, and are trained once.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use skewbench::{data::synthetic, experiment::Scale, results::Folder, seed::Seed};
use tempfile::TempDir;

/// Few images and one epoch: a trial takes part of a second.
fn tune(out: &Path, more: &[&str]) -> Output {
    let own = ["tune", "--images", "60", "--epochs", "1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.args(own).args(more).arg("--out").arg(out).output().expect("the program starts")
}

fn succeeds(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks that `status` sees both stages as one command, which was given `times` times.
fn asked_for(out: &Path, times: usize) {
    let folder = Folder::open(out).unwrap();
    let runs = folder.runs().unwrap();
    let [run] = &runs[..] else { panic!("{} commands", runs.len()) };
    let mut cells: Vec<&str> = run.cells.iter().map(|(cell, _)| cell.as_str()).collect();
    let mut records: Vec<String> =
        folder.records().unwrap().into_iter().map(|record| record.cell.id).collect();
    cells.sort_unstable();
    records.sort_unstable();
    assert_eq!(cells, records);
    assert!(run.times == times && run.cells.iter().all(|(_, passes)| *passes > 0), "{run:?}");
}

#[test]
fn trials_are_records_and_the_best_is_chosen() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    let asked = ["--trials", "3", "--finalists", "1", "--only", "supervised-vit"];
    let (told, _) = succeeds(&tune(&out, &asked));
    assert!(told.contains("stage 1 of 2: 3 trials of each pair") && told.contains("stage 2 of 2"), "{told}");
    assert!(told.contains("looks slightly too good on the images that it was chosen on"), "{told}");

    // Three trials with seed 0; with seed 1 the best one, and trial 0.
    let cell = |trial: u16, seed: u64| {
        out.join(format!("tuning/supervised-vit_tiny-trial{trial:02}-share15-seed{seed}.json"))
    };
    let record = json(&cell(0, 0));
    assert_eq!(record["cell"]["variant"], "trial00");
    let tuning = Folder::open(&out).unwrap().tuning().unwrap();
    let pair = &tuning.pairs[0];
    assert_eq!((tuning.pairs.len(), &pair.seeds[..]), (1, &[0, 1][..]));
    assert_eq!((tuning.train_share, tuning.source.as_str()), (Some(0.15), "synthetic"));
    assert_eq!(record["data"]["train_digest"], tuning.train_digest);
    assert_eq!(record["data"]["validation_digest"], tuning.validation_digest);
    assert_eq!(record["provenance"]["code"], tuning.code);
    assert!(cell(0, 1).exists() && pair.mean(pair.chosen) >= pair.mean(0), "{pair:?}");
    let by_first = |trial: &u16| pair.trials[usize::from(*trial)].auroc[&0];
    let first = (0..3).rev().max_by(|a, b| by_first(a).total_cmp(&by_first(b))).unwrap();
    for trial in 0..3 {
        assert!(cell(trial, 0).exists());
        assert_eq!(cell(trial, 1).exists(), trial == 0 || trial == first, "trial {trial}: {pair:?}");
    }
    assert!(
        !out.join("tuning")
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".safetensors") }),
        "encoders of trials are not kept"
    );
    let drawn = json(&cell(1, 0));
    assert_eq!(drawn["settings"]["values"]["optimisation.learning_rate"], pair.trials[1].learning_rate);
    assert!(!drawn["scores"].as_array().unwrap().is_empty());
    assert!(
        fs::read_to_string(out.join("tables/tuning.csv"))
            .unwrap()
            .contains("supervised,vit_tiny,trial01,15%")
    );
    assert!(!out.join("tables/table1.csv").exists(), "trials are no results");

    // Not the images that studies are scored on, as each record shows.
    let of_studies = synthetic::source(Seed::root(0), 60, 18, Scale::small().side);
    for (digest, other) in [("train_digest", of_studies.train), ("validation_digest", of_studies.validation)]
    {
        assert_ne!(record["data"][digest], other.digest());
    }
    assert!(record["data"]["limits"].to_string().contains("drawn from seed 1 for tuning only"), "{record}");

    asked_for(&out, 1);
    // The same command again trains nothing.
    let before = fs::read(cell(0, 0)).unwrap();
    let (again, progress) = succeeds(&tune(&out, &asked));
    assert!(progress.lines().all(|line| line.ends_with("finished earlier")), "{progress}");
    assert_eq!((again, fs::read(cell(0, 0)).unwrap()), (told, before));
    asked_for(&out, 2);

    // With one seed requested, scores of the second are ignored.
    succeeds(&tune(&out, &[&asked[..], &["--seeds", "1"]].concat()));
    assert_eq!(Folder::open(&out).unwrap().tuning().unwrap().pairs[0].seeds, [0]);

    // A trial that fails is not chosen from, and the others are.
    fs::write(cell(1, 0), "{").unwrap();
    let failed = tune(&out, &asked);
    let message = String::from_utf8_lossy(&failed.stderr).into_owned();
    let expected = "error: 1 trials failed and were not chosen from; the same command tries them again:\n  ";
    assert!(!failed.status.success() && message.contains(expected), "{message}");
    assert!(message.contains("trial01-share15-seed0.json: truncated or not JSON"), "{message}");
    assert_eq!(fs::read_to_string(cell(1, 0)).unwrap(), "{");
    let tuning = Folder::open(&out).unwrap().tuning().unwrap();
    assert!(tuning.pairs[0].trials.iter().all(|trial| !trial.auroc.contains_key(&0) || trial.trial != 1));
    assert!(
        String::from_utf8_lossy(&failed.stdout).contains("\nrecords and tuning.json: "),
        "it is summed up"
    );

    // Records of another experiment in the second stage are found before anything is trained in the first.
    (0..3).for_each(|trial| fs::remove_file(cell(trial, 0)).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.args(["tune", "--images", "60", "--epochs", "2"]).args(asked);
    let other = command.arg("--out").arg(&out).output().unwrap();
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && message.contains("epochs: 1 stored, 2 requested"), "{message}");
    assert!((0..3).all(|trial| !cell(trial, 0).exists()));
}

/// Four trials with one seed; with the other seed trial 0, and as many more as there are finalists.
#[test]
fn a_dry_run_counts_the_trials_of_both_stages() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    let asked = ["--trials", "4", "--finalists", "1", "--only", "supervised-vit", "--dry-run"];
    let (told, _) = succeeds(&tune(&out, &asked));
    let row = told.lines().find(|line| line.starts_with("tuning supervised vit_tiny ")).unwrap();
    assert_eq!(row.split_whitespace().nth(3), Some("6"), "{told}");
    assert!(told.contains("\ncells   6, ") && !out.exists(), "{told}");
}

/// Of own images the validation images are left alone: a part of the training images is held out instead.
#[test]
fn own_images_are_tuned_on_training_images_alone() {
    let root = TempDir::new().unwrap();
    let data = support::folder(&support::camera(root.path(), "data", 0));
    let (out, study) = (root.path().join("out"), root.path().join("study"));
    let own = ["tune", "--trials", "1", "--finalists", "1", "--seeds", "1", "--epochs", "1"];
    let more = ["--only", "supervised-vit", "--share", "natural", "--data", &data, "--out"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    succeeds(&command.args(own).args(more).arg(&out).output().unwrap());
    let doctor = ["doctor", "--study", "floors", "--shares", "natural", "--data", &data, "--out"];
    succeeds(&Command::new(env!("CARGO_BIN_EXE_skewbench")).args(doctor).arg(&study).output().unwrap());
    let images = |folder: &Path, split: &str| -> BTreeSet<String> {
        let begin = format!("images-{split}-");
        let mut lists = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let list = lists.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&begin));
        let text = fs::read_to_string(list.unwrap()).unwrap();
        text.lines().skip(1).map(|row| row.split(',').nth(2).unwrap().to_owned()).collect()
    };
    let [tuned, held_out] = ["train", "validation"].map(|split| images(&out, split));
    let both: BTreeSet<String> = tuned.union(&held_out).cloned().collect();
    assert_eq!(both, images(&study, "train"));
    assert!(!held_out.is_empty() && tuned.is_disjoint(&held_out), "{held_out:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    for (flags, expected) in [
        (&["--trials", "0"][..], "--trials must be at least 1"),
        (&["--finalists", "3", "--trials", "2"], "--finalists must be at most --trials 2, found 3"),
        (&["--finalists", "0"], "--finalists must be at least 1"),
        (&["--seeds", "0"], "--seeds must be at least 1"),
        (&["--only", "moco"], "no pair's name contains 'moco'; pairs are:\n  supervised-resnet18"),
        (&["--share", "1%"], "the lowest share possible here is"),
        (
            &["--data", "elpv"],
            "--images sets how many images are drawn; 'elpv' is not drawn, and all its training images are used",
        ),
    ] {
        let output = tune(&out, flags);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(expected), "{flags:?}: {told}");
        assert!(!out.exists(), "{flags:?}: something was written");
    }
}
