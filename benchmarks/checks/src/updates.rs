//! Updates of variables that are larger and smaller than a kernel's piece: by every optimiser, and moving averages.

use anyhow::Result;
use skewbench::{
    backbone::{Parameter, Role},
    candle_core::{DType, Device, Tensor, Var},
    tensor::{AverageUpdate, move_averages},
    train::optimiser::{Group, Optimiser, Rule, Trust},
};

use crate::{
    compare::{Named, to_cpu_f64},
    inputs::stream,
};

/// Shapes of the variables of an update.
const SHAPES: [&[usize]; 3] = [&[70, 200], &[3], &[64, 64]];
const STEPS: usize = 3;

/// A rule that updates variables.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    Rule(Rule),
    MovingAverages,
}

/// All update rules, by name.
pub const UPDATES: [(&str, Update); 5] = [
    ("AdamW", Update::Rule(Rule::ADAMW)),
    ("SGD", Update::Rule(Rule::Sgd { momentum: 0.9 })),
    ("LARS", Update::Rule(Rule::Lars { momentum: 0.9, trust: Trust::NormOfSum { coefficient: 1e-3 } })),
    (
        "LARS, clipped",
        Update::Rule(Rule::Lars {
            momentum: 0.9,
            trust: Trust::SumOfNorms { coefficient: 0.02, clip: true },
        }),
    ),
    ("moving averages", Update::MovingAverages),
];

impl Update {
    /// Returns the variables afterwards, in single precision on a device.
    ///
    /// # Errors
    /// If an update fails.
    pub fn updated_variables(&self, device: &Device) -> Result<Vec<Named>> {
        match self {
            Self::Rule(rule) => after_steps(*rule, device),
            Self::MovingAverages => after_a_move(device),
        }
    }
}

fn normal(name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    Ok(stream("updates", name, shape)?.to_dtype(DType::F32)?.to_device(device)?)
}

fn after_steps(rule: Rule, device: &Device) -> Result<Vec<Named>> {
    let mut parameters = Vec::new();
    for (place, shape) in SHAPES.iter().enumerate() {
        let name = format!("weight {place}");
        let variable = Var::from_tensor(&normal(&name, shape, device)?)?;
        parameters.push(Parameter { name, variable, kind: Role::Weight });
    }
    let group = Group { clip: Some(1.0), ..Group::uniform(&parameters, 0.1, 0.01) };
    let mut optimiser = Optimiser::new(rule, vec![group])?;
    for step in 0..STEPS {
        let mut loss = Tensor::zeros((), DType::F32, device)?;
        for Parameter { name, variable, .. } in &parameters {
            let slope = normal(&format!("{name} {step}"), variable.dims(), device)?;
            loss = (loss + (variable.as_tensor() * slope)?.sum_all()?)?;
        }
        optimiser.step(&loss.backward()?, |base| base)?;
    }
    parameters.into_iter().map(|moved| Ok((moved.name, to_cpu_f64(&moved.variable)?))).collect()
}

fn after_a_move(device: &Device) -> Result<Vec<Named>> {
    let mut pairs = Vec::new();
    for (place, shape) in SHAPES.iter().enumerate() {
        let average = Var::from_tensor(&normal(&format!("average {place}"), shape, device)?)?;
        pairs.push((average, normal(&format!("value {place}"), shape, device)?));
    }
    // The weights need not add up to one, as for batch normalisation's variances.
    let moves =
        pairs.iter().map(|(average, value)| AverageUpdate { average, value, keep: 0.996, take: 0.0041 });
    move_averages(&moves.collect::<Vec<_>>())?;
    let named = |(place, (average, _)): (usize, &(Var, Tensor))| {
        Ok((format!("average {place}"), to_cpu_f64(average)?))
    };
    pairs.iter().enumerate().map(named).collect()
}
