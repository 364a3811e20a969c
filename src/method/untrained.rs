//! The untrained encoder, or the pixels themselves: the floors that trained models must beat.
//!
//! There is no loss; a training step is an error.

use candle_core::{Result, bail};

use super::{Foundation, Method, Position, Step};
use crate::{
    backbone::{Backbone, Parameters, pixels::Pixels},
    loader::Batch,
};

/// An encoder that is never trained: the floor that any method must beat.
pub struct Untrained {
    encoder: Box<dyn Backbone>,
    parameters: Parameters,
}

impl Untrained {
    /// Builds an encoder with random weights: the initial weights of supervised training with this seed.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn weights(on: &Foundation) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        Ok(Self { encoder, parameters })
    }

    /// Uses the downscaled image itself.
    pub fn pixels() -> Self {
        Self { encoder: Box::new(Pixels), parameters: Parameters::default() }
    }
}

impl Method for Untrained {
    fn step(&self, _batch: &Batch, _at: Position) -> Result<Step> {
        bail!("an untrained encoder has no training step")
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
