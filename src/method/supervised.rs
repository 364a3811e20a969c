//! End-to-end training on labels: the paper's baseline.
//!
//! Loss: binary cross-entropy with logits, defects weighted by normals/defects of the training set
//! (the paper's "weighted loss based on defect proportions"). One linear unit on encoder features.
//! Uses one view; further views would be averaged over.

use candle_core::{DType, Device, Result, Tensor};

use super::{Method, Position, Step};
use crate::{
    backbone::{self, Backbone, Mode, Parameters, layers::Linear},
    loader::Batch,
    loss::classification::binary_cross_entropy,
    seed::Seed,
};

pub struct Supervised {
    encoder: Box<dyn Backbone>,
    head: Linear,
    parameters: Parameters,
    /// Weight of a defect in the loss: normals/defects of the training set.
    defect_weight: f64,
}

impl Supervised {
    pub fn new(
        architecture: &backbone::Architecture,
        defect_weight: f64,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = architecture.build(&mut parameters.builder("", seed, DType::F32, device))?;
        let head =
            Linear::new(&mut parameters.builder("head", seed, DType::F32, device), encoder.width(), 1, true)?;
        Ok(Self { encoder, head, parameters, defect_weight })
    }
}

impl Method for Supervised {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        let features = self.encoder.embed(&batch.images, Mode::Train)?;
        let logits = self.head.forward(&features)?.squeeze(1)?;
        let labels = batch.labels.repeat(batch.views)?;
        let loss = binary_cross_entropy(&logits, &labels, self.defect_weight)?;
        Ok(Step { loss, features })
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
