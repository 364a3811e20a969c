//! Our side of the race: training steps on request, over standard input and output, like `fixtures/torch/race.py`.

use std::{
    io::{BufRead, Write},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    backbone::{self, Parameter},
    candle_core::{DType, Device, Tensor},
    data::Share,
    experiment::{self, Cell, Plan, Scale, Study, recipe},
    loader::Batch,
    method::{self, Method, Position},
    seed::Seed,
    tensor::{backward, gpu::KeptUploads},
    train::optimiser::{Group, Optimiser, Rule},
};

use super::loader;

/// Both must equal those of `race.py`.
const LEARNING_RATE: f64 = 5e-4;
const WEIGHT_DECAY: f64 = 1e-4;

/// Answers `ready` to a case, seconds to `step`; ends at `quit` or the end of input.
pub fn run() -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let first = lines.next().context("expected a case, found the end of input")??;
    let case: serde_json::Value = serde_json::from_str(&first).context("the case is not JSON")?;
    let mut step: Box<dyn FnMut() -> Result<f32>> = match case["loader"].as_str() {
        Some(folder) => {
            let [side, batch] = ["side", "batch"].map(|name| number(&case, name));
            let mut worker = loader::Worker::new(Path::new(folder), side?, batch?)?;
            Box::new(move || worker.step())
        }
        None => {
            let mut worker = Worker::of_case(&case)?;
            Box::new(move || worker.step())
        }
    };
    answer("ready")?;
    for line in lines {
        match line?.trim() {
            "step" => {
                let start = Instant::now();
                let value = step()?;
                let seconds = start.elapsed().as_secs_f64();
                ensure!(value.is_finite(), "a step ended with {value}");
                answer(&format!("{seconds:.6}"))?;
            }
            "quit" => break,
            other => bail!("expected 'step' or 'quit', found '{other}'"),
        }
    }
    Ok(())
}

fn number(case: &serde_json::Value, name: &str) -> Result<usize> {
    let number = case[name].as_u64().with_context(|| format!("{name}: expected a number"))?;
    Ok(number.try_into()?)
}

fn answer(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// A model in training on constant images.
pub struct Worker {
    method: Box<dyn Method>,
    optimiser: Optimiser,
    batch: Batch,
    step: usize,
    _kept: KeptUploads,
}

impl Worker {
    fn of_case(case: &serde_json::Value) -> Result<Self> {
        let text = |name: &str| case[name].as_str().with_context(|| format!("{name}: expected a text"));
        let number = |name: &str| number(case, name);
        let method: method::Name = text("method")?.parse()?;
        let backbone: backbone::Name = text("backbone")?.parse()?;
        let cell = Cell { study: Study::Table1, method, backbone, share: Share::NATURAL, seed: 0 };
        Self::new(
            &cell,
            &Device::Cpu,
            if case["mixed"] == true { DType::BF16 } else { DType::F32 },
            number("views_of_pixels")?,
            number("batch")?,
            number("side")?,
        )
    }

    /// Builds a worker: `images` in `views` views each, of `side` pixels; `numbers` is the number type of
    /// activations.
    pub fn new(
        cell: &Cell,
        device: &Device,
        numbers: DType,
        views: usize,
        images: usize,
        side: usize,
    ) -> Result<Self> {
        // Constants do not affect speed; sizes of network and heads are the paper's.
        let mut plan = Plan { recipe: recipe::Name::Short, ..Plan::new(Scale { side, ..Scale::full() }) };
        plan.device = device.clone();
        let method = experiment::build(cell, &plan, 3.0, Seed::root(0))?;
        let clip = (cell.method == method::Name::Dino).then_some(1.0);
        let group =
            Group { clip, ..Group::uniform(method.parameters().trainable(), LEARNING_RATE, WEIGHT_DECAY) };
        let optimiser = Optimiser::new(Rule::ADAMW, vec![group])?;

        let mut stream = Seed::root(0).child("images").stream();
        let pixels = (0..views * images * side * side * 3).map(|_| stream.normal() as f32).collect();
        let labels: Vec<f32> = (0..images).map(|image| f32::from(u8::from(image % 4 == 0))).collect();
        let batch = Batch {
            images: Tensor::from_vec::<_, f32>(pixels, (views * images, side, side, 3), device)?
                .to_dtype(numbers)?,
            labels: Tensor::new(labels, device)?,
            views,
            indices: (0..images).collect(),
            skipped: Vec::new(),
        };
        Ok(Self { method, optimiser, batch, step: 0, _kept: KeptUploads::new(device) })
    }

    /// Returns the gradients by variable at the current state; nothing is updated.
    pub fn gradients(&self) -> Result<Vec<(String, Tensor)>> {
        let at = Position { step: self.step, steps: 1_000_000, epoch: 1, epochs: 100 };
        let gradients = backward(&self.method.step(&self.batch, at)?.loss)?;
        let of = |parameter: &Parameter| {
            let gradient = gradients.get(&parameter.variable);
            let gradient = gradient.with_context(|| format!("{}: no gradient", parameter.name))?;
            Ok((parameter.name.clone(), gradient.clone()))
        };
        self.method.parameters().trainable().map(of).collect()
    }

    /// Runs one complete training step; returns its loss.
    pub fn step(&mut self) -> Result<f32> {
        Ok(self.begin_step()?.to_scalar()?)
    }

    /// Queues one complete training step: a GPU may still be running it. Returns its loss.
    fn begin_step(&mut self) -> Result<Tensor> {
        // The second epoch, in which no layer is frozen.
        let at = Position { step: self.step, steps: 1_000_000, epoch: 1, epochs: 100 };
        self.step += 1;
        let loss = self.method.step(&self.batch, at)?.loss;
        let gradients = backward(&loss)?;
        self.optimiser.step_all_but(|name| self.method.is_frozen(name, at), &gradients, |base| base)?;
        self.method.after_step(at)?;
        Ok(loss)
    }

    /// Times `count` steps, after `warm_up` untimed ones.
    pub fn timed(&mut self, warm_up: usize, count: usize) -> Result<Timing> {
        (0..warm_up).try_for_each(|_| self.step().map(drop))?;
        let mut timing = Timing { seconds: Vec::new(), launching: Vec::new() };
        for _ in 0..count {
            let start = Instant::now();
            let loss = self.begin_step()?;
            timing.launching.push(start.elapsed().as_secs_f64());
            loss.to_scalar::<f32>()?;
            timing.seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(timing)
    }
}

/// Seconds of training steps.
pub struct Timing {
    pub seconds: Vec<f64>,
    /// Seconds of each until the CPU had launched everything. If that is nearly all, the GPU waits for launches (or
    /// the step waits for the GPU, as clipping does), and a CUDA graph could help.
    pub launching: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::race::cases::{CASES, Precision, Setting};

    /// Our worker follows the same line as PyTorch's: views, images, side and precision; and a step trains.
    #[test]
    fn a_worker_does_what_its_line_says() {
        let case =
            CASES.iter().find(|case| case.name(Precision::Single) == "simclr-vit_tiny-16x64px").unwrap();
        let worker = |precision| {
            let line = case.line(precision, 1, Setting::default());
            Worker::of_case(&serde_json::from_str(&line).unwrap()).unwrap()
        };
        for (precision, numbers) in [(Precision::Single, DType::F32), (Precision::Mixed, DType::BF16)] {
            let batch = worker(precision).batch;
            assert_eq!((batch.images.dims(), batch.images.dtype()), (&[32, 64, 64, 3][..], numbers));
            assert_eq!((batch.views, batch.indices.len()), (2, 16));
        }
        let mut worker = worker(Precision::Single);
        let norm = |worker: &Worker| {
            let norm = &worker.method.parameters().get("norm.weight").unwrap().variable;
            norm.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let before = norm(&worker);
        let (first, second) = (worker.step().unwrap(), worker.step().unwrap());
        assert!(first.is_finite() && second != first, "{first}, then {second}");
        assert_ne!(norm(&worker), before);
    }

    /// The expected values are those in `race.py`.
    #[test]
    fn both_sides_train_with_the_same_rate_and_decay() {
        let script = include_str!("../../../../fixtures/torch/race.py");
        let line = script.lines().find(|line| line.starts_with("LEARNING_RATE, WEIGHT_DECAY")).unwrap();
        let numbers: Vec<f64> = line.split(['=', ',']).filter_map(|word| word.trim().parse().ok()).collect();
        assert_eq!(numbers[..2], [LEARNING_RATE, WEIGHT_DECAY]);
    }

    #[test]
    fn timed_steps_follow_those_that_warm_up() {
        let line = r#"{"method": "supervised", "backbone": "vit_tiny", "views_of_pixels": 1, "batch": 8, "side": 32}"#;
        let mut worker = Worker::of_case(&serde_json::from_str(line).unwrap()).unwrap();
        assert_eq!(worker.batch.labels.to_vec1::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let timing = worker.timed(1, 2).unwrap();
        assert_eq!((worker.step, timing.seconds.len(), timing.launching.len()), (3, 2, 2));
        assert!(
            timing
                .launching
                .iter()
                .zip(&timing.seconds)
                .all(|(launching, all)| 0.0 < *launching && launching <= all)
        );
        for (name, value) in [("method", "null"), ("backbone", "3"), ("batch", "\"x\""), ("side", "-1")] {
            let mut case: serde_json::Value = serde_json::from_str(line).unwrap();
            case[name] = serde_json::from_str(value).unwrap();
            let error = Worker::of_case(&case).map(drop).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: expected a ")), "{error}");
        }
    }
}
