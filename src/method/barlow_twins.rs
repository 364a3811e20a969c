//! Barlow Twins: embeddings of two views agree in every dimension, and the dimensions are decorrelated.
//!
//! Loss: the cross-correlation of both views' embeddings against the identity (`loss::cross_correlation`), times a
//! scale. Source: Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction", ICML 2021.
//! Views pass through encoder and projector one after the other, as in its original code, lightly and solo-learn. The
//! projector has three layers, the hidden ones batch-normalised and with biases, as in the code of the paper's
//! authors and solo-learn (the original has no biases, which normalisation would cancel).

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{Foundation, Method, Name, Objective, Position, Step, expect_views, features_of_views};
use crate::{
    backbone::{
        Backbone, Mode, Parameters,
        heads::{Layers, Perceptron},
    },
    loader::Batch,
    loss::cross_correlation::barlow_twins,
};

/// Barlow Twins' constants.
#[derive(Clone, Copy, Debug)]
pub struct Decorrelation {
    /// Weight of the off-diagonal terms of the cross-correlation; that of the diagonal is 1.
    pub off_diagonal_weight: f64,
    /// Factor of the whole loss. The original code has none, solo-learn 0.024 for small batches.
    pub scale: f64,
}

impl Objective for Decorrelation {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self { off_diagonal_weight, scale } = self;
        vec![
            ("name", json!("barlow_twins")),
            ("off_diagonal_weight", json!(off_diagonal_weight)),
            ("scale", json!(scale)),
        ]
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(BarlowTwins::new(*self, on)?))
    }
}

/// Encoder and projector, trained to decorrelate the projector's outputs.
pub struct BarlowTwins {
    encoder: Box<dyn Backbone>,
    projector: Perceptron,
    parameters: Parameters,
    constants: Decorrelation,
}

impl BarlowTwins {
    /// Builds the untrained model.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(constants: Decorrelation, on: &Foundation) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        let sizes = [encoder.width(), on.heads.hidden, on.heads.hidden, on.heads.output];
        let mut builder = parameters.builder("head.projector", on.seed, on.dtype, on.device);
        let projector = Perceptron::new(&mut builder, Layers::normalised(&sizes))?;
        Ok(Self { encoder, projector, parameters, constants })
    }
}

impl Method for BarlowTwins {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        expect_views(Name::BarlowTwins, batch, 2)?;
        let features = features_of_views(&*self.encoder, batch)?;
        let embeddings = features
            .iter()
            .map(|of_view| self.projector.forward(of_view, Mode::Train))
            .collect::<Result<Vec<_>>>()?;
        let Decorrelation { off_diagonal_weight, scale } = self.constants;
        let loss = barlow_twins(&embeddings[0], &embeddings[1], off_diagonal_weight)?;
        Ok(Step {
            loss: (loss.total * scale)?,
            features: Tensor::cat(&features, 0)?,
            embeddings: Some(Tensor::cat(&embeddings, 0)?),
            parts: loss.parts,
        })
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn embed(&self, features: &Tensor) -> Option<Result<Tensor>> {
        Some(self.projector.forward(features, Mode::Evaluate))
    }
}
