//! SimCLR: two views of an image attract, all other images of the batch repel.
//!
//! Loss: NT-Xent on projections of both views (`loss::contrastive`). Source: Chen et al., "A simple
//! framework for contrastive learning of visual representations", ICML 2020. Both views pass the
//! encoder in one batch, so batch normalisation cannot tell them apart (as lightly does; the
//! authors' solo-learn port runs the views one after the other).

use candle_core::{DType, Device, Result, bail};

use super::{Method, Position, Step};
use crate::{
    backbone::{
        self, Backbone, Mode, Parameters,
        heads::{Layers, Perceptron},
    },
    loader::Batch,
    loss::contrastive::nt_xent,
    seed::Seed,
};

pub struct SimClr {
    encoder: Box<dyn Backbone>,
    projector: Perceptron,
    parameters: Parameters,
    temperature: f64,
}

impl SimClr {
    /// `projector`: hidden and output width of the two-layer head (no batch normalisation, as the
    /// paper's authors).
    pub fn new(
        architecture: &backbone::Architecture,
        projector: (usize, usize),
        temperature: f64,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = architecture.build(&mut parameters.builder("", seed, DType::F32, device))?;
        let sizes = [encoder.width(), projector.0, projector.1];
        let mut builder = parameters.builder("head.projector", seed, DType::F32, device);
        let projector = Perceptron::new(&mut builder, Layers::plain(&sizes))?;
        Ok(Self { encoder, projector, parameters, temperature })
    }
}

impl Method for SimClr {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        if batch.views != 2 {
            bail!("simclr compares two views of an image, found {}", batch.views);
        }
        let features = self.encoder.embed(&batch.images, Mode::Train)?;
        let projections = self.projector.forward(&features, Mode::Train)?;
        let halves = projections.chunk(2, 0)?;
        let loss = nt_xent(&halves[0], &halves[1], self.temperature)?;
        Ok(Step { loss, features })
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
