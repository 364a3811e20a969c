//! `choose` at the command line: rounds of trainings, a verdict, and the same verdict from the records alone.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, fs, path::Path};

use image::{Rgb, RgbImage};
use serde_json::Value;
use skewbench::{
    analysis::{
        Axes,
        elimination::{Elimination, End, Rule},
    },
    backbone::Name::{ResNet18, ViTTiny},
    data::Share,
    method::Name::Supervised,
    results::Folder,
    study::Study,
};
use support::{SMALL, error, folder, skewbench, succeeds};
use tempfile::TempDir;

/// Draws 24 normal images and 12 defects that noise nearly hides, so that scores differ between seeds.
fn noisy(root: &Path) -> String {
    let data = root.join("data");
    for number in 0..36_u32 {
        let kind = if number % 3 == 0 { "defect" } else { "normal" };
        let mut state = 2_654_435_761_u32.wrapping_mul(number + 1);
        let picture = RgbImage::from_fn(32, 32, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 24) as u8;
            Rgb([value, value / 2, if kind == "defect" { value / 2 + 1 } else { value / 2 }])
        });
        let path = data.join(kind).join(format!("{number:04}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(path).unwrap();
    }
    folder(&data)
}

fn choose(data: &str, out: &Path, more: &[&str]) -> std::process::Output {
    choose_of("2", data, out, more)
}

fn choose_of(seeds: &str, data: &str, out: &Path, more: &[&str]) -> std::process::Output {
    let out = out.to_string_lossy();
    let own = ["choose", "--only", "supervised", "--seeds", seeds, "--no-weights", "--epochs", "0"];
    skewbench(&[&own[..], &["--data", data, "--out", &out], &SMALL, more].concat())
}

/// Judges the first two seeds of both arms as a choice with these flags should. Returns how far each arm may be above
/// the leader, as the table says it, and why the choice ends.
fn judged(out: &Path, seeds: usize, margin: f64) -> (BTreeMap<String, String>, Option<End>) {
    let arm = |backbone| {
        let (method, share) = (Some(Supervised), Share::NATURAL);
        Axes { study: Study::Extension, method, backbone: Some(backbone), share }.converged()
    };
    let mut race = Elimination::new(&[ResNet18, ViTTiny].map(arm), Rule::new(2, seeds, margin).unwrap());
    let of = |(at, seed): &(skewbench::analysis::Scored, u64)| {
        auroc(out, &format!("extension/supervised-{}-natural-seed{seed}", at.cell.backbone_id()))
    };
    let scores: Vec<f64> = race.pending().iter().map(of).collect();
    let look = race.judge_scores(&scores).unwrap();
    let leader = look.contest.leader().scored;
    let above = look.contest.0.iter().map(|arm| {
        let most =
            if arm.scored == leader { "-".to_owned() } else { format!("at most {:+.3}", arm.above_leader) };
        (format!("supervised on {}", arm.scored.cell.backbone_id()), most)
    });
    (above.collect(), look.end)
}

/// Checks that the table and the sentence follow from the records by the number of arms, `--seeds` and `--margin`.
fn is_judged_as_asked(told: &str, out: &Path, seeds: usize, margin: f64) {
    let (above, end) = judged(out, seeds, margin);
    let table = told.split("lowest, highest").nth(1).unwrap();
    for (arm, most) in above {
        let row = table.lines().find(|line| line.starts_with(&format!("{arm} "))).unwrap();
        assert!(row.contains(&format!(" {most} ")), "{seeds} {margin} {most}: {told}");
    }
    let begin = match end.unwrap() {
        End::Decided => "Decided",
        End::Equivalent => "Settled",
        End::Seeds => "Not decided",
    };
    let all = 2 * seeds;
    let sentence = format!("\n{begin} after 4 of the whole grid's {all} trainings");
    assert!(told.contains(&sentence), "{seeds} {margin} {sentence}: {told}");
    assert_eq!(
        told.contains(&format!("No other arm is above it by more than {margin}.")),
        begin == "Settled"
    );
}

/// Returns the AUROC of the converged probe on all validation images.
fn auroc(out: &Path, cell: &str) -> f64 {
    let text = fs::read_to_string(out.join(format!("{cell}.json"))).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let scores = record["scores"].as_array().unwrap();
    let all = |score: &&Value| score["classifier"] == "converged" && score["validation_share"].is_null();
    scores.iter().find(all).unwrap()["auroc"].as_f64().unwrap()
}

/// Checks that each cell has its scores for TensorBoard, and no weights.
fn stores_what_was_asked_for(out: &Path, events: &Path) {
    for cell in ["random_weights/none-resnet18-natural-seed2", "extension/supervised-vit_tiny-natural-seed1"]
    {
        assert_eq!(fs::read_dir(events.join(cell)).unwrap().count(), 1, "{cell}");
        assert!(!out.join(cell).with_extension("safetensors").exists(), "{cell}");
    }
}

/// Whatever the scores, no arm is 99 above another; of five seeds each look is judged more strictly.
fn other_flags_judge_the_same_records(data: &str, out: &Path) {
    for (seeds, margin) in [(5, 99.0), (2, 0.0)] {
        let output = choose_of(&seeds.to_string(), data, out, &["--margin", &margin.to_string()]);
        succeeds(&output);
        is_judged_as_asked(&String::from_utf8_lossy(&output.stdout), out, seeds, margin);
    }
    let two = [judged(out, 2, 99.0), judged(out, 5, 99.0)].map(|(above, _)| above);
    assert_ne!(two[0], two[1]);
}

#[test]
fn a_choice_is_the_highest_mean_and_is_made_again_from_its_records() {
    let root = TempDir::new().unwrap();
    let (data, out) = (noisy(root.path()), root.path().join("out"));
    let events = root.path().join("events");
    let first = choose(&data, &out, &["--tensorboard", &events.to_string_lossy()]);
    succeeds(&first);
    let told = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(told.contains(
        "2 arms at the data's own share of defects, 2 to 2 seeds each: 4 trainings at least, 4 at most"
    ));
    assert!(told.contains("\nround 1: 4 trainings") && told.contains("; the last\n"), "{told}");
    let mut means: BTreeMap<&str, f64> = BTreeMap::new();
    for backbone in ["resnet18", "vit_tiny"] {
        for seed in 0..2 {
            let cell = format!("extension/supervised-{backbone}-natural-seed{seed}");
            *means.entry(backbone).or_default() += auroc(&out, &cell) / 2.0;
        }
    }
    let (best, mean) = means.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    let verdict = |told: &str| {
        told.lines()
            .find(|line| line.contains(" after 4 of the whole grid's 4 trainings"))
            .unwrap()
            .to_owned()
    };
    assert!(verdict(&told).contains(&format!("supervised on {best}")), "{means:?}: {told}");
    assert!(
        told.contains(&format!("after 2 seeds: supervised on {best} leads with AUROC {mean:.3}")),
        "{told}"
    );
    assert!(told.contains(&format!("\nsupervised on {best} (AUROC {mean:.3}) beside others")), "{told}");
    let listed = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    let lists = listed.filter(|name| name.to_string_lossy().starts_with("images-")).count();
    assert_eq!(lists, 2, "of training and validation images");
    // Raw pixels have one cell, random weights three seeds of both backbones.
    assert!(out.join("pixels/none-pixels-natural-seed0.json").exists());
    assert_eq!(
        fs::read_dir(out.join("random_weights"))
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "json") })
            .count(),
        6
    );

    stores_what_was_asked_for(&out, &events);
    is_judged_as_asked(&told, &out, 2, 0.02);

    // `status` sees the floors and all rounds as one command.
    let runs = Folder::open(&out).unwrap().runs().unwrap();
    let [run] = &runs[..] else { panic!("{} commands", runs.len()) };
    assert_eq!((run.times, run.cells.len()), (1, 7 + 4));
    let again = choose(&data, &out, &[]);
    let progress = succeeds(&again);
    assert_eq!(progress.matches("finished earlier").count(), 7 + 4, "{progress}");
    assert_eq!(verdict(&String::from_utf8_lossy(&again.stdout)), verdict(&told));

    other_flags_judge_the_same_records(&data, &out);
    let message = error(&choose(&data, &root.path().join("never"), &["--hours", "0"]));
    assert!(message.contains("--hours must be above 0, found 0"), "{message}");

    // A record that cannot be read could change every decision.
    let torn = out.join("extension/supervised-vit_tiny-natural-seed1.json");
    fs::write(&torn, "{").unwrap();
    let message = error(&choose(&data, &out, &[]));
    assert!(message.contains("supervised-vit_tiny-natural-seed1.json: truncated or not JSON"), "{message}");
    assert!(message.ends_with("\nmove the file away to compute the cell again\n"), "{message}");
    assert_eq!(fs::read_to_string(torn).unwrap(), "{");
}

/// Floors take no time and are scored; of the arms' trainings none fits into a few milliseconds.
#[test]
fn what_does_not_fit_into_the_time_is_not_trained() {
    let root = TempDir::new().unwrap();
    let (data, out) = (noisy(root.path()), root.path().join("out"));
    let asked = ["--hours", "0.000001", "--epochs", "1"];
    let own = ["choose", "--only", "supervised", "--seeds", "3", "--margin", "0.125", "--data", &data];
    let path = out.to_string_lossy();
    let flags = [&own[..], &["--out", &path], &SMALL, &asked].concat();
    let dry = skewbench(&[&flags[..], &["--dry-run"]].concat());
    succeeds(&dry);
    let told = String::from_utf8_lossy(&dry.stdout).into_owned();
    let choice = "choice  2 arms at the data's own share of defects, 2 to 3 seeds each: 4 trainings at least, 6 at most; \
                  AUROC of the converged probe, margin 0.125\n";
    assert!(told.contains(choice) && told.contains("\nestimate for this machine, one process: "), "{told}");
    assert!(!out.exists(), "nothing was written");
    let message = error(&skewbench(&flags));
    let cell = "extension/supervised-resnet18-natural-seed0";
    let expected = format!("error: no training fits into --hours: {cell} takes about ");
    assert!(message.contains(&expected) && message.contains(", but only "), "{message}");
    let records = Folder::open(&out).unwrap().records().unwrap();
    assert_eq!(records.len(), 7, "the floors");
    assert!(out.join("report.html").exists() && out.join("tables").exists(), "what there is, is written up");

    // Of a round's trainings one fails, because a file that it has to write cannot be written.
    let in_the_way = out.join(format!("{cell}.logits.csv"));
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let flags: Vec<&str> = flags.iter().copied().filter(|word| !asked[..2].contains(word)).collect();
    let page = fs::read(out.join("report.html")).unwrap();
    let message = error(&skewbench(&flags));
    let expected = "error: 1 of 4 trainings failed; the others are finished, and the same command tries these again:\n  ";
    assert!(message.contains(expected) && message.contains(&format!("{cell}.logits.csv")), "{message}");
    assert_eq!(Folder::open(&out).unwrap().records().unwrap().len(), 7 + 3);
    assert!(fs::read(out.join("report.html")).unwrap() != page, "the page is renewed after each training");
}
