//! Frozen encoder features of a whole split: computed once, scored many times.

use anyhow::Result;
use candle_core::Tensor;

use crate::{
    backbone::{Backbone, Mode},
    loader::Loader,
};

/// One row of features an image.
pub struct Features {
    /// (images x width), row-major.
    pub rows: Vec<f32>,
    /// Features of an image.
    pub width: usize,
    /// Position in the data set of each row.
    pub indices: Vec<usize>,
    /// Positions that have no row, because their image could not be read.
    pub skipped: Vec<usize>,
}

impl Features {
    /// The rows as a tensor (images, width).
    pub fn tensor(&self, device: &candle_core::Device) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&self.rows, (self.indices.len(), self.width), device)
    }
}

/// Runs the encoder in evaluation mode over everything that `loader` names, in its order.
pub fn extract(encoder: &dyn Backbone, loader: &Loader) -> Result<Features> {
    let mut features =
        Features { rows: Vec::new(), width: encoder.width(), indices: Vec::new(), skipped: Vec::new() };
    loader.once(|batch| {
        let rows = encoder.embed(&batch.images, Mode::Evaluate)?;
        features.rows.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        features.indices.extend(batch.indices);
        features.skipped.extend(batch.skipped);
        Ok(())
    })?;
    Ok(features)
}
