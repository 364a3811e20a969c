//! `gpu steps`: training steps of every method on both backbones, on a GPU and on the CPU from equal weights: losses alike, and
//! how long a step takes.
//!
//! Steps are f32 on ordinary units: these times are a floor, not an aim.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skewbench::{
    backbone,
    candle_core::{DType, Device, Tensor},
    data::Share,
    experiment::{self, Cell, Plan, Scale, Study, recipe},
    loader::Batch,
    method::{self, Method, Position},
    seed::Seed,
    tensor::backward,
    train::optimiser::{Group, Optimiser, Rule},
};

use super::Sizes;

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
        let mut training = Training::new(cell, device, COMPARED)?;
        (0..STEPS).map(|_| training.step()).collect()
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
        let mut training = Training::new(cell, gpu, TIMED)?;
        training.step()?;
        let start = Instant::now();
        for _ in 0..STEPS {
            training.step()?;
        }
        case["seconds"] = json!(start.elapsed().as_secs_f64() / STEPS as f64);
    }
    Ok(case)
}

/// A model in training on images that never change.
struct Training {
    method: Box<dyn Method>,
    optimiser: Optimiser,
    batch: Batch,
    step: usize,
}

impl Training {
    fn new(cell: &Cell, device: &Device, (images, side): (usize, usize)) -> Result<Self> {
        let scale = Scale { side, ..Scale::full() };
        let mut plan = Plan { recipe: recipe::Name::Short, ..Plan::new(scale) };
        plan.device = device.clone();
        let method = experiment::build(cell, &plan, 3.0, Seed::root(0))?;
        let group = Group::uniform(method.parameters().trainable(), 5e-4, 1e-4);
        let optimiser = Optimiser::new(Rule::ADAMW, vec![group])?;
        let one = matches!(cell.method, method::Name::Supervised | method::Name::Mae);
        let views = if one { 1 } else { 2 };
        let mut stream = Seed::root(0).child("images").stream();
        let pixels = (0..views * images * side * side * 3).map(|_| stream.normal() as f32).collect();
        let labels: Vec<f32> = (0..images).map(|image| f32::from(u8::from(image % 4 == 0))).collect();
        let batch = Batch {
            images: Tensor::from_vec::<_, f32>(pixels, (views * images, side, side, 3), device)?,
            labels: Tensor::new(labels, device)?,
            views,
            indices: (0..images).collect(),
            skipped: Vec::new(),
        };
        Ok(Self { method, optimiser, batch, step: 0 })
    }

    /// One whole training step; its loss.
    fn step(&mut self) -> Result<f64> {
        // The second epoch: no layer is frozen.
        let at = Position { step: self.step, steps: 1_000, epoch: 1, epochs: 100 };
        self.step += 1;
        let loss = self.method.step(&self.batch, at)?.loss;
        let gradients = backward(&loss)?;
        self.optimiser.step_all_but(|name| self.method.is_frozen(name, at), &gradients, |base| base)?;
        self.method.after_step(at)?;
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }
}
