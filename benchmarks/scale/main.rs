//! Tests whether everything works on large data: seconds, processor seconds and peak memory of the stages for a
//! million images. `cargo build --package xtask`, then `cargo bench --profile dev --bench scale [-- [--in DIR]
//! [--out DIR] [STAGE ...]]`; `--out` writes `timings.json`.
//!
//! The data are two tables of Sewer-ML's size with the class frequencies of the drawn sewer, whose frames are links
//! to a few tiny images; features of as many images as its validation split has; ten thousand records. Each stage
//! is a process of its own, so that its memory is measured separately. Stages that use the program run the one
//! beside this binary.

// A timing may fail by unwrapping; clippy.toml's exception for tests does not cover helpers of benchmarks.
#![allow(clippy::unwrap_used)]

mod features;
mod measured;
mod page;
mod tables;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use skewbench::{candle_core::Device, results::provenance};

use self::measured::Stage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stages in order; later ones use what earlier ones have written.
const STAGES: [Stage; 12] = [
    Stage::own("tables", "write two tables of 1,040,129 and 130,046 rows, and their links", tables::write),
    Stage::own("resolve", "index, subsets at five shares, 15 resolved cells", tables::resolve),
    Stage::program("doctor_headers", "doctor --headers", tables::doctor_headers),
    Stage::program("doctor", "doctor, every picture decoded", tables::doctor),
    Stage::program("doctor_again", "doctor, every picture known and no two alike", tables::doctor_again),
    Stage::own("features", "write features of 130,046 x 512", features::write),
    Stage::own("probe", "the converged probe, C by cross-validation, all logits", features::probe),
    Stage::own("label_free", "label-free metrics of all features", features::label_free),
    Stage::own("scores", "scores at six validation shares", features::scores),
    Stage::own("bootstrap", "400 draws of the test images for two models", features::bootstrap),
    Stage::own("normals", "detectors fitted on normal images", features::normals),
    Stage::program("page", "the page of 10,000 records", page::command),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
    if arguments.peek().is_some_and(|first| first == "--stage") {
        let [_, name, folder] = <[String; 3]>::try_from(arguments.collect::<Vec<_>>()).unwrap();
        let stage = STAGES.iter().find(|stage| stage.name == name).expect("a stage that this program has");
        stage.run(Path::new(&folder));
        return;
    }
    let mut named = |flag: &str| {
        let given = arguments.next_if(|first| first == flag).is_some();
        given.then(|| PathBuf::from(arguments.next().expect("a folder")))
    };
    let (folder, out) = (named("--in"), named("--out"));
    let wanted: Vec<String> = arguments.collect();
    let unknown = wanted.iter().find(|name| STAGES.iter().all(|stage| stage.name != *name));
    assert!(unknown.is_none(), "no stage {unknown:?}; there are {:?}", STAGES.map(|stage| stage.name));
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder.as_deref().unwrap_or(temporary.path());
    println!("| stage | seconds | processor seconds | peak memory, MiB | |\n|---|---|---|---|---|");
    let wanted = |stage: &&Stage| wanted.is_empty() || wanted.iter().any(|name| name == stage.name);
    let mut stages = Vec::new();
    for stage in STAGES.iter().filter(wanted) {
        let taken = stage.measure(folder);
        println!("{}", stage.row(&taken));
        stages.push(stage.json(&taken));
    }
    if let Some(out) = out {
        let provenance = provenance::collect(&Device::Cpu);
        let all = json!({ "schema": 1, "kind": "scale", "stages": stages, "provenance": provenance });
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("timings.json"), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    }
}
