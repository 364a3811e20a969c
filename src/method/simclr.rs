//! SimCLR: two views of an image attract, all other images of the batch repel.
//!
//! Loss: NT-Xent on projections of both views (`loss::contrastive`). Source: Chen et al., "A simple framework for
//! contrastive learning of visual representations", ICML 2020. Both views pass through the encoder in one batch, so
//! batch normalisation cannot distinguish them (as in lightly; the authors' solo-learn port runs the views one after
//! the other). The projector has two layers and no batch normalisation, as in the code of the paper's authors
//! (Google's second version: three layers, normalised).

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{Foundation, Method, Name, Objective, Position, Step, expect_views};
use crate::{
    backbone::{
        Backbone, Mode, Parameters,
        heads::{Layers, Perceptron},
    },
    loader::Batch,
    loss::contrastive::nt_xent,
};

/// SimCLR's constants.
#[derive(Clone, Copy, Debug)]
pub struct Contrast {
    /// Divisor of the similarities; above 0.
    pub temperature: f64,
}

impl Objective for Contrast {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self { temperature } = self;
        vec![("name", json!("simclr")), ("temperature", json!(temperature))]
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(SimClr::new(self, on)?))
    }
}

/// Encoder and projector, trained to identify an image's other view among those of all other images.
pub struct SimClr {
    encoder: Box<dyn Backbone>,
    projector: Perceptron,
    parameters: Parameters,
    temperature: f64,
}

impl SimClr {
    /// Builds the untrained model.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(constants: &Contrast, on: &Foundation) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        let sizes = [encoder.width(), on.heads.hidden, on.heads.output];
        let mut builder = parameters.builder("head.projector", on.seed, on.dtype, on.device);
        let projector = Perceptron::new(&mut builder, Layers::plain(&sizes))?;
        Ok(Self { encoder, projector, parameters, temperature: constants.temperature })
    }
}

impl Method for SimClr {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        expect_views(Name::SimClr, batch, 2)?;
        let features = self.encoder.embed(&batch.images, Mode::Train)?;
        let projections = self.projector.forward(&features, Mode::Train)?;
        let halves = projections.chunk(2, 0)?;
        let loss = nt_xent(&halves[0], &halves[1], self.temperature)?;
        Ok(Step { loss, features, embeddings: Some(projections), parts: Vec::new() })
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
