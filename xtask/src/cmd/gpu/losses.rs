//! `gpu losses`: compares NT-Xent and Barlow Twins on a GPU, forward and backward, with the CPU's twin, and times
//! them.
//!
//! PyTorch runs the same cases, in the same order, in `fixtures/torch/gpu_losses.py`.

use std::time::Instant;

use anyhow::{Context, Result};
use checks::{
    compare::compare,
    inputs::{Precision, stream},
    losses::{Loss, losses},
};
use serde_json::{Value, json};
use skewbench::{
    analysis::ratio::median,
    candle_core::{DType, Device, Tensor, Var},
};

use super::{Sizes, cases::Cases};

/// Number of timed blocks, and minimum seconds of each. Ours.
const BLOCKS: usize = 5;
const BLOCK_SECONDS: f64 = 0.2;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let mut cases = Cases::new(arguments);
    for loss in losses(arguments.small) {
        for precision in Precision::ON_A_GPU {
            let label = format!("{} {} x {} {}", loss.name, loss.rows, loss.width, precision.id());
            cases.take(&label, case(loss, precision, &gpu, arguments.small))?;
        }
    }
    cases.end("not equal to the CPU's twin, or failed")
}

fn case(loss: Loss, precision: Precision, gpu: &Device, small: bool) -> Result<Value> {
    let mut found = json!({});
    if loss.has_twin() {
        // bf16 has eight bits for each similarity, weight and correlation.
        let bound = if precision == Precision::Single { 1e-5 } else { 1e-2 };
        let case = loss.case();
        let (there, twin) = (case.compute(precision, gpu)?, case.expected(precision)?);
        found = compare(&there.results, &twin.results, bound)?.to_json();
    }
    let (operations, bytes) = loss.floor(precision.numbers().size_in_bytes());
    found["operations"] = json!(operations);
    found["bytes"] = json!(bytes);
    if !small {
        let view = |name: &str| -> Result<Var> {
            let values = stream(loss.name, name, &[loss.rows, loss.width])?.to_dtype(DType::F32)?;
            Ok(Var::from_tensor(&values.to_dtype(precision.numbers())?.to_device(gpu)?)?)
        };
        let (first, second) = (view("first")?, view("second")?);
        let seconds = timed(gpu, || step(loss, &first, &second).map(drop))?;
        found["median"] = json!(median(&seconds));
        found["seconds"] = json!(seconds);
    }
    Ok(found)
}

/// Returns the gradient with respect to the first view.
fn step(loss: Loss, first: &Var, second: &Var) -> Result<Tensor> {
    Ok(loss.compute(first, second)?.backward()?.get(first).context("no gradient")?.clone())
}

/// Returns the seconds of one call, block by block.
fn timed(gpu: &Device, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut block = |calls: usize| -> Result<f64> {
        gpu.synchronize()?;
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        gpu.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    };
    block(3)?;
    let calls = (BLOCK_SECONDS / block(3)?).ceil() as usize;
    (0..BLOCKS).map(|_| block(calls.clamp(3, 10_000))).collect()
}
