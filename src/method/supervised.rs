//! End-to-end training on labels: the paper's baseline.
//!
//! Loss: binary cross-entropy with logits, defects weighted by normals/defects of the training set
//! (the paper's "weighted loss based on defect proportions"). One linear unit on encoder features.
//! Uses one view; further views would be averaged over.

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{Foundation, Method, Objective, Position, Step};
use crate::{
    backbone::{Backbone, Mode, Parameters, layers::Linear},
    loader::Batch,
    loss::classification::binary_cross_entropy,
};

/// Nothing to choose.
#[derive(Clone, Copy, Debug)]
pub struct OnLabels;

impl Objective for OnLabels {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self = self;
        vec![("name", json!("supervised"))]
    }

    fn views(&self) -> usize {
        1
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(Supervised::new(on)?))
    }
}

/// Encoder and a linear classifier, trained on labels.
pub struct Supervised {
    encoder: Box<dyn Backbone>,
    head: Linear,
    parameters: Parameters,
    /// Weight of a defect in the loss: normals/defects of the training set.
    defect_weight: f64,
}

impl Supervised {
    /// The untrained model.
    ///
    /// # Errors
    /// If sizes do not fit.
    pub fn new(on: &Foundation) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        let mut builder = parameters.builder("head", on.seed, on.dtype, on.device);
        let head = Linear::new(&mut builder, encoder.width(), 1, true)?;
        Ok(Self { encoder, head, parameters, defect_weight: on.defect_weight })
    }
}

impl Method for Supervised {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        let features = self.encoder.embed(&batch.images, Mode::Train)?;
        let logits = self.head.forward(&features)?.squeeze(1)?;
        let labels = batch.labels.repeat(batch.views)?.to_dtype(logits.dtype())?;
        let loss = binary_cross_entropy(&logits, &labels, self.defect_weight)?;
        Ok(Step { loss, features, embeddings: None, parts: Vec::new() })
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn classify(&self, features: &Tensor) -> Option<Result<Tensor>> {
        Some(self.head.forward(features).and_then(|logits| logits.squeeze(1)))
    }
}
