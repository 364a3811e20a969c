//! `gpu steps`: training steps of every method on both backbones, on a GPU and on the CPU from equal weights: losses alike, and
//! how long a step takes.
//!
//! Steps are f32 on ordinary units: these times are a floor, not an aim.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skewbench::{
    backbone,
    candle_core::{DType, Device},
    data::Share,
    experiment::{Cell, Study},
    method,
};

use super::Sizes;
use crate::race::worker::Worker;

const STEPS: usize = 5;
/// Images a step; pixels of a side.
const COMPARED: (usize, usize) = (8, 64);
const TIMED: (usize, usize) = (32, 224);
/// Largest relative difference of losses. Ours: f32 sums in another order, over five steps.
const BOUND: f64 = 2e-3;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = super::device()?;
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for backbone in backbone::Name::ALL {
        for method in method::Name::ALL {
            if method == method::Name::Mae && backbone == backbone::Name::ResNet18 {
                continue;
            }
            let cell = Cell { study: Study::Table1, method, backbone, share: Share::NATURAL, seed: 0 };
            // A method that fails is told, and the others go on.
            let case = match case(&cell, &gpu, arguments.small) {
                Ok(case) => case,
                Err(error) => {
                    json!({ "case": format!("{method} {backbone}"), "error": format!("{error:#}") })
                }
            };
            println!("{case}");
            if case["equal"] != json!(true) {
                wrong.push(case["case"].to_string());
            }
            cases.push(case);
        }
    }
    if let Some(out) = &arguments.out {
        std::fs::write(out, serde_json::to_string_pretty(&cases)? + "\n")
            .with_context(|| format!("{}: cannot be written", out.display()))?;
    }
    ensure!(wrong.is_empty(), "not as on the CPU: {}", wrong.join(", "));
    Ok(())
}

fn case(cell: &Cell, gpu: &Device, small: bool) -> Result<Value> {
    let losses = |device: &Device| -> Result<Vec<f64>> {
        let mut training = worker(cell, device, COMPARED)?;
        (0..STEPS).map(|_| training.step().map(f64::from)).collect()
    };
    let (found, expected) = (losses(gpu)?, losses(&Device::Cpu)?);
    let apart =
        found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs() / expected.abs());
    let apart = apart.fold(0.0, f64::max);
    let mut case = json!({
        "case": format!("{} {}", cell.method, cell.backbone),
        "losses": found, "on_the_cpu": expected, "apart": apart, "equal": apart < BOUND,
    });
    if !small {
        let mut training = worker(cell, gpu, TIMED)?;
        training.step()?;
        let start = Instant::now();
        for _ in 0..STEPS {
            training.step()?;
        }
        case["seconds"] = json!(start.elapsed().as_secs_f64() / STEPS as f64);
    }
    Ok(case)
}

/// As in the race: its sizes of network and heads, its optimiser, its images.
fn worker(cell: &Cell, device: &Device, (images, side): (usize, usize)) -> Result<Worker> {
    let one = matches!(cell.method, method::Name::Supervised | method::Name::Mae);
    Worker::new(cell, device, DType::F32, if one { 1 } else { 2 }, images, side)
}
