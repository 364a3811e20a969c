//! The cases in the format of PyTorch's scripts in `fixtures/torch`: `cases.json`, and the inputs and results of
//! operations.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skewbench::{
    candle_core::{DType, Device, Tensor},
    train::{Decayed, optimiser::Rule},
};

use crate::{
    inputs::Precision,
    losses::{self, TEMPERATURE, WEIGHT},
    operations::{Case, Computed},
    trajectory::{self, HEADS, IMAGES, SIDE, STEPS, STEPS_AN_EPOCH},
};

/// Returns the cases of `make.py`, `gpu_losses.py` and `gpu_steps.py`.
pub fn cases() -> Value {
    let sizes = losses::losses(false);
    let sizes: Vec<Value> = sizes
        .iter()
        .map(|loss| json!({ "loss": loss.name, "rows": loss.rows, "width": loss.width }))
        .collect();
    let pairs = crate::pairs();
    let pairs: Vec<Value> =
        pairs.iter().map(|(method, backbone)| json!([method.id(), backbone.id()])).collect();
    json!({
        "losses": { "temperature": TEMPERATURE, "weight": WEIGHT, "sizes": sizes },
        "steps": pairs,
        "trajectories": {
            "images": IMAGES, "side": SIDE, "steps": STEPS, "steps_an_epoch": STEPS_AN_EPOCH,
            "heads": {
                "hidden": HEADS.hidden, "output": HEADS.output, "prototypes": HEADS.prototypes,
                "decoder": [HEADS.decoder.width, HEADS.decoder.depth, HEADS.decoder.heads],
            },
            "runs": trajectory::cases().into_iter().map(run).collect::<Vec<_>>(),
        },
    })
}

/// Returns a trajectory with its optimiser.
fn run(case: trajectory::Case) -> Value {
    let recipe = case.recipe();
    let rule = match recipe.rule {
        Rule::AdamW { beta1, beta2, .. } => json!({ "rule": "adamw", "betas": [beta1, beta2] }),
        Rule::Lars { momentum, .. } => json!({ "rule": "lars", "momentum": momentum }),
        Rule::Sgd { momentum } => json!({ "rule": "sgd", "momentum": momentum }),
    };
    json!({
        "method": case.id(), "backbone": case.backbone.id(), "optimiser": rule,
        "learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay,
        "all_decay": recipe.decayed == Decayed::Everything,
    })
}

/// Inputs and results of operations, for `gpu_operations.py`.
#[derive(Default)]
pub struct OperationFile {
    tensors: HashMap<String, Tensor>,
    cases: Vec<Value>,
}

impl OperationFile {
    /// Adds a case in f32, which represents bf16 numbers exactly.
    ///
    /// # Errors
    /// If tensors cannot be copied.
    pub fn take(&mut self, case: &Case, precision: Precision, found: &Computed) -> Result<()> {
        let label = format!("{} {}", case.name(), precision.id());
        let mut keep = |name: String, tensor: &Tensor| -> Result<()> {
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
            self.tensors.insert(format!("{label}/{name}"), tensor);
            Ok(())
        };
        keep("slope".to_owned(), &found.slope)?;
        for (argument, tensor) in case.arguments.iter().zip(&found.arguments) {
            keep(argument.name.to_owned(), tensor)?;
        }
        for (name, tensor) in &found.results {
            keep(format!("result {name}"), tensor)?;
        }
        let arguments = case.arguments.iter();
        let arguments = arguments.map(|one| json!({ "name": one.name, "varies": one.needs_gradient }));
        self.cases.push(json!({
            "case": label, "operation": case.operation, "constants": case.constants,
            "arguments": arguments.collect::<Vec<_>>(), "outputs": case.outputs,
            "bound": case.bound(precision),
        }));
        Ok(())
    }

    /// Writes all as safetensors, with the cases in the header.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let notes = HashMap::from([("cases".to_owned(), Value::from(self.cases.clone()).to_string())]);
        safetensors::serialize_to_file(&self.tensors, Some(notes), file)
            .with_context(|| format!("{}: cannot be written", file.display()))
    }
}
