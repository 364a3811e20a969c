//! `gpu trajectories`: compares ten training steps of every method on both backbones on a GPU with recorded steps
//! of PyTorch from the same weights and images; needs no PyTorch on that machine.

use anyhow::Result;
use checks::{
    recorded::{self, MIXED, SINGLE},
    trajectory::{self, Case, Numbers, STEPS, run_steps},
};
use serde_json::{Value, json};
use skewbench::candle_core::{DType, Device};

use super::{Sizes, cases::Cases};

pub fn run(arguments: &Sizes) -> Result<()> {
    let device = arguments.device()?;
    let steps = if arguments.small { 1 } else { STEPS };
    let mut cases = Cases::new(arguments);
    for case in trajectory::cases() {
        cases.take(&case.name(), judged(case, &device, steps))?;
    }
    cases.end("not as PyTorch, or failed")
}

fn judged(case: Case, device: &Device, steps: usize) -> Result<Value> {
    let recorded = recorded::find(case)?;
    let (mut found, mut equal) = (json!({ "pytorch": recorded.losses }), true);
    for bounds in [SINGLE, MIXED] {
        let numbers = Numbers { device, weights: DType::F32, images: bounds.images };
        let trajectory = run_steps(case, &numbers, steps)?;
        let judged = recorded.judge_trajectory(&trajectory, &bounds)?;
        equal &= judged.is_equal;
        found[bounds.name] = judged.to_json(&trajectory.losses);
    }
    found["equal"] = json!(equal);
    Ok(found)
}
