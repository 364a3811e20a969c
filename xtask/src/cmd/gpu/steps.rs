//! `gpu steps`: training steps of every method on both backbones, on a GPU and on the CPU from equal weights:
//! compares losses and gradients, in f32 and in mixed precision; and times a mixed-precision step at the paper's
//! size.
//!
//! PyTorch's side is `fixtures/torch/gpu_steps.py`.

use anyhow::Result;
use checks::compare::{Named, compare, numbers};
use serde_json::{Value, json};
use skewbench::{
    analysis::ratio::median,
    candle_core::{DType, Device},
    data::Share,
    experiment::{Cell, Study},
    method,
};

use super::{Sizes, cases::Cases};
use crate::cmd::race::worker::Worker;

/// Numbers of compared steps, of untimed steps, and of timed steps.
const COMPARED_STEPS: usize = 5;
const WARM_UP: usize = 3;
const TIMED_STEPS: usize = 8;
/// Images per step; pixels per side.
const COMPARED: (usize, usize) = (8, 64);
const SMALL: (usize, usize) = (8, 32);
const TIMED: (usize, usize) = (256, 224);
const REHEARSED: (usize, usize) = (2, 64);
/// For f32 and for mixed precision: the largest relative difference of the first loss, and the smallest cosine
/// between all first gradients and the CPU's. Ours. On ResNet-18 with eight images, another rounding of a sum
/// switches some ReLUs.
const BOUNDS: [(&str, DType, f64, f64); 2] =
    [("f32", DType::F32, 1e-4, 0.999), ("mixed", DType::BF16, 2e-2, 0.8)];
/// Largest relative difference of any loss over the steps: only shows that training is similar.
const DRIFT: f64 = 0.3;
/// If a case is wrong, the first gradient is named that differs by more than this, relative to its variable's
/// largest.
const GRADIENT: f64 = 0.1;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let mut cases = Cases::new(arguments);
    for (method, backbone) in checks::pairs() {
        let cell = Cell { study: Study::Table1, method, backbone, share: Share::NATURAL, seed: 0 };
        cases.take(&format!("{method} {backbone}"), case(&cell, &gpu, arguments))?;
    }
    cases.end("not as on the CPU, or failed")
}

fn case(cell: &Cell, gpu: &Device, arguments: &Sizes) -> Result<Value> {
    let mut case = json!({});
    let mut equal = true;
    for (name, dtype, loss_bound, cosine_bound) in BOUNDS {
        let compared = if arguments.small { SMALL } else { COMPARED };
        let run = |device: &Device| -> Result<(Vec<Named>, Vec<f64>)> {
            let mut training = worker(cell, device, dtype, compared)?;
            let gradients = training.gradients()?;
            let losses = (0..COMPARED_STEPS).map(|_| training.step().map(f64::from));
            Ok((gradients, losses.collect::<Result<_>>()?))
        };
        let ((gradients, found), (expected_gradients, expected)) = (run(gpu)?, run(&Device::Cpu)?);
        let apart: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b.abs()).collect();
        let furthest = apart.iter().copied().fold(0.0, f64::max);
        let cosine = cosine(&gradients, &expected_gradients)?;
        let is_equal = apart[0] < loss_bound && cosine > cosine_bound && furthest < DRIFT;
        equal &= is_equal;
        case[name] = json!({
            "losses": found, "on_the_cpu": expected, "apart": apart, "cosine_of_gradients": cosine,
        });
        if !is_equal {
            case[name]["gradients"] = compare(&gradients, &expected_gradients, GRADIENT)?.to_json();
        }
    }
    case["equal"] = json!(equal);
    if !arguments.small {
        let size = if arguments.rehearse { REHEARSED } else { TIMED };
        let timing = worker(cell, gpu, DType::BF16, size)?.timed(WARM_UP, TIMED_STEPS)?;
        case["median"] = json!(median(&timing.seconds));
        case["seconds"] = json!(timing.seconds);
        case["seconds_launching"] = json!(timing.launching);
        case["images"] = json!(size.0);
        case["side"] = json!(size.1);
    }
    Ok(case)
}

/// Returns the cosine over all gradients together.
fn cosine(found: &[Named], expected: &[Named]) -> Result<f64> {
    let (mut inner, mut squares) = (0.0, [0.0; 2]);
    for ((_, found), (_, expected)) in found.iter().zip(expected) {
        for (a, b) in numbers(found)?.into_iter().zip(numbers(expected)?) {
            inner += a * b;
            squares[0] += a * a;
            squares[1] += b * b;
        }
    }
    Ok(inner / f64::sqrt(squares[0] * squares[1]))
}

/// Returns a worker with the race's sizes of network and heads, optimiser and images.
pub fn worker(
    cell: &Cell,
    device: &Device,
    numbers: DType,
    (images, side): (usize, usize),
) -> Result<Worker> {
    let one = matches!(cell.method, method::Name::Supervised | method::Name::Mae);
    Worker::new(cell, device, numbers, if one { 1 } else { 2 }, images, side)
}
