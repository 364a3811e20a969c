//! What training tells of itself, epoch by epoch, without labels: ranks, spread, parts of the loss.
//!
//! RankMe comes in two definitions. As released by the paper's authors: of backbone features of each
//! mini-batch and view in training mode, epsilon 1e-6, averaged over the epoch; it cannot exceed the batch.
//! As in its paper (Garrido et al., ICML 2023): of embeddings of a fixed sample in evaluation mode, epsilon
//! 1e-7, with the number of images stated. Neither is comparable between widths as it stands.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::{
    backbone::Mode,
    label_free::{
        Rows, rankme_released,
        spectrum::{RANKME_EPSILON, Spectrum, rankme},
        spread,
    },
    loader::Loader,
    method::{Method, Step},
};

/// Sums over an epoch's steps.
#[derive(Default)]
pub struct Monitor {
    sums: BTreeMap<String, (f64, usize)>,
}

impl Monitor {
    /// Takes in a step of `views` views.
    ///
    /// # Errors
    /// If features are not finite.
    pub fn see(&mut self, step: &Step, views: usize) -> Result<()> {
        for (name, value) in &step.parts {
            self.add(name, value.to_dtype(DType::F64)?.to_scalar()?);
        }
        for view in step.features.detach().chunk(views, 0)? {
            let width = view.dim(1)?;
            if view.dim(0)? > 1 {
                let values = numbers(&view)?;
                self.add("rankme_released", rankme_released(Rows::new(&values, width)?));
            }
        }
        self.spread("features", &step.features)?;
        if let Some(embeddings) = &step.embeddings {
            self.spread("embeddings", embeddings)?;
        }
        Ok(())
    }

    /// Takes in a fixed sample at the end of an epoch: RankMe as in its paper, of embeddings, or of features
    /// where a method has no embeddings.
    ///
    /// # Errors
    /// If an image cannot be read, or features are not finite.
    pub fn sample(&mut self, method: &dyn Method, sample: &Loader) -> Result<()> {
        let (mut values, mut width, mut rows) = (Vec::new(), 0, 0);
        sample.once(|batch| {
            let features = method.encoder().embed(&batch.images, Mode::Evaluate)?;
            let embeddings = method.embed(&features).transpose()?.unwrap_or(features);
            (rows, width) = (rows + embeddings.dim(0)?, embeddings.dim(1)?);
            values.extend(numbers(&embeddings)?);
            Ok(())
        })?;
        // A network whose embeddings are all zero has no rank; training, and the record, go on without one.
        if values.iter().any(|&value| value != 0.0) {
            let spectrum = Spectrum::of(Rows::new(&values, width)?)?;
            self.add("rankme", rankme(&spectrum.plain, RANKME_EPSILON));
        }
        self.add("rankme_images", rows as f64);
        self.add("rankme_bound", rows.min(width) as f64);
        Ok(())
    }

    /// Means over what was taken in, by name; those that are not finite are left out.
    pub fn means(self) -> BTreeMap<String, f64> {
        let means = self.sums.into_iter().map(|(name, (sum, count))| (name, sum / count as f64));
        means.filter(|(_, mean)| mean.is_finite()).collect()
    }

    /// Sums and counts so far, by name.
    pub(super) fn sums(&self) -> &BTreeMap<String, (f64, usize)> {
        &self.sums
    }

    /// A monitor that has taken in what another had.
    pub(super) fn from_sums(sums: BTreeMap<String, (f64, usize)>) -> Self {
        Self { sums }
    }

    fn spread(&mut self, name: &str, rows: &Tensor) -> Result<()> {
        let width = rows.dim(1)?;
        let values = numbers(rows)?;
        let spread = spread(Rows::new(&values, width)?);
        self.add(&format!("{name}_mean"), spread.mean);
        self.add(&format!("{name}_deviation"), spread.deviation);
        self.add(&format!("{name}_unit_mean"), spread.unit_mean);
        self.add(&format!("{name}_unit_deviation"), spread.unit_deviation);
        Ok(())
    }

    fn add(&mut self, name: &str, value: f64) {
        let (sum, count) = self.sums.entry(name.to_owned()).or_default();
        *sum += value;
        *count += 1;
    }
}

fn numbers(rows: &Tensor) -> candle_core::Result<Vec<f32>> {
    rows.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
