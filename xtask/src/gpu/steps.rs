//! `gpu steps`: training steps of every method on both backbones, on a GPU and on the CPU from equal weights: losses alike, in f32
//! and in mixed precision; and how long a step in mixed precision takes at the paper's size.
//!
//! PyTorch's side is `fixtures/torch/gpu_steps.py`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skewbench::{
    backbone,
    candle_core::{DType, Device},
    data::Share,
    experiment::{Cell, Study},
    method,
    results::race::median,
};

use super::Sizes;
use crate::race::worker::Worker;

/// Steps that are compared, that are not timed, and that are.
const COMPARED_STEPS: usize = 5;
const WARM_UP: usize = 3;
const TIMED_STEPS: usize = 8;
/// Images a step; pixels of a side.
const COMPARED: (usize, usize) = (8, 64);
const TIMED: (usize, usize) = (256, 224);
const REHEARSED: (usize, usize) = (2, 64);
/// Largest relative difference of losses over five steps. Ours: sums in another order; in mixed precision what one rounding
/// of eight bits the other way makes of it.
const BOUND: f64 = 2e-3;
const MIXED_BOUND: f64 = 3e-2;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    // SimCLR and Barlow Twins first: what a limit of time cuts off is the least asked for.
    let methods = [
        method::Name::SimClr,
        method::Name::BarlowTwins,
        method::Name::Supervised,
        method::Name::Byol,
        method::Name::Dino,
        method::Name::Mae,
    ];
    for method in methods {
        for backbone in backbone::Name::ALL {
            if method.undefined_on(backbone).is_some() {
                continue;
            }
            let cell = Cell { study: Study::Table1, method, backbone, share: Share::NATURAL, seed: 0 };
            // A method that fails is told, and the others go on.
            let case = match case(&cell, &gpu, arguments) {
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
            // After each, so that nothing is lost to a limit of time.
            if let Some(out) = &arguments.out {
                std::fs::write(out, serde_json::to_string_pretty(&cases)? + "\n")
                    .with_context(|| format!("{}: cannot be written", out.display()))?;
            }
        }
    }
    ensure!(wrong.is_empty(), "not as on the CPU: {}", wrong.join(", "));
    Ok(())
}

fn case(cell: &Cell, gpu: &Device, arguments: &Sizes) -> Result<Value> {
    let mut case = json!({ "case": format!("{} {}", cell.method, cell.backbone) });
    let mut equal = true;
    for (name, numbers, bound) in [("f32", DType::F32, BOUND), ("mixed", DType::BF16, MIXED_BOUND)] {
        let losses = |device: &Device| -> Result<Vec<f64>> {
            let mut training = worker(cell, device, numbers, COMPARED)?;
            (0..COMPARED_STEPS).map(|_| training.step().map(f64::from)).collect()
        };
        let (found, expected) = (losses(gpu)?, losses(&Device::Cpu)?);
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
        equal &= apart < bound;
        case[name] = json!({ "losses": found, "on_the_cpu": expected, "apart": apart });
    }
    case["equal"] = json!(equal);
    if !arguments.small {
        let size = if arguments.rehearse { REHEARSED } else { TIMED };
        let mut training = worker(cell, gpu, DType::BF16, size)?;
        for _ in 0..WARM_UP {
            training.step()?;
        }
        let step = |_| -> Result<f64> {
            let start = Instant::now();
            training.step()?;
            Ok(start.elapsed().as_secs_f64())
        };
        let seconds = (0..TIMED_STEPS).map(step).collect::<Result<Vec<_>>>()?;
        case["median"] = json!(median(&seconds));
        case["seconds"] = json!(seconds);
        case["images"] = json!(size.0);
        case["side"] = json!(size.1);
    }
    Ok(case)
}

/// As in the race: its sizes of network and heads, its optimiser, its images.
fn worker(cell: &Cell, device: &Device, numbers: DType, (images, side): (usize, usize)) -> Result<Worker> {
    let one = matches!(cell.method, method::Name::Supervised | method::Name::Mae);
    Worker::new(cell, device, numbers, if one { 1 } else { 2 }, images, side)
}
