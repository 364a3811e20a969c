//! Metrics of features that need no labels: rank, evenness, learnability, collapse. Independent of networks, training
//! and labels.
//!
//! All arithmetic is in `f64`. [`LabelFreeMetrics::compute`] computes all metrics of one matrix, [`views::Views`] those
//! that need several views of each image; [`rankme_released`] and [`spread()`] are cheap enough for every training
//! step. Values for features of different widths are comparable only after division by the largest value that the width
//! allows: [`LabelFreeMetrics::normalised`]. Each metric's formula and source are given at its function.

pub mod neighbours;
pub mod power_law;
pub mod rows;
pub mod spectrum;
pub mod sphere;
pub mod spread;
pub mod views;

use anyhow::Result;

pub use rows::Rows;
pub use spectrum::rankme_released;
pub use spread::{Spread, spread};
pub use views::{ViewMetrics, Views};

use crate::seed::Seed;
use power_law::{RELEASED_RANGE, Weight, alpha_req};
use rows::Number;
use spectrum::{RANKME_EPSILON, Spectrum};

/// Label-free metrics of one matrix of N rows and D columns.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelFreeMetrics {
    /// N.
    pub rows: usize,
    /// D.
    pub width: usize,
    /// [`spectrum::rankme`] with epsilon 1e-7, not centred: 1 to min(N, D), high is good.
    pub rankme: f64,
    /// [`spectrum::effective_rank`], not centred: 1 to min(N, D), high is good.
    pub effective_rank: f64,
    /// [`spectrum::stable_rank`], not centred: 1 to min(N, D), high is good.
    pub stable_rank: f64,
    /// [`spectrum::nesum`], centred: 1 to min(N - 1, D), high is good.
    pub nesum: Option<f64>,
    /// [`spectrum::participation_ratio`], centred: 1 to min(N - 1, D), high is good.
    pub participation_ratio: Option<f64>,
    /// [`spectrum::pseudo_condition_number`], centred: 0 if all rows are equal, otherwise low is good.
    pub pseudo_condition_number: f64,
    /// [`power_law::alpha_req`] of eigenvalues 12 to 100 with weights 1 / j; values near 1 are said to be good.
    pub alpha_req: Option<f64>,
    /// The same for all positive eigenvalues.
    pub alpha_req_all: Option<f64>,
    /// [`Spectrum::coherence`], not centred: 1 to N / rank, low is good.
    pub coherence: f64,
    /// [`sphere::self_cluster`]: 1 if collapsed, about 0 if uniform.
    pub self_cluster: f64,
    /// [`sphere::uniformity`]: 0 if collapsed, down to [`sphere::uniformity_of_the_sphere`].
    pub uniformity: f64,
    /// [`neighbours::cluster_learnability`]: 0 to 1, high is good.
    pub cluster_learnability: Option<f64>,
    /// [`neighbours::intrinsic_dimension`]: high is good; hardly above D.
    pub intrinsic_dimension: Option<f64>,
    /// [`spread()`] of the features.
    pub spread: Spread,
}

/// Metrics divided by the largest value that N and D allow: 0 (or nearly) to 1, high is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// Divided by min(N, D).
    pub rankme: f64,
    /// Divided by min(N, D).
    pub effective_rank: f64,
    /// Divided by min(N, D).
    pub stable_rank: f64,
    /// Divided by min(N - 1, D).
    pub nesum: Option<f64>,
    /// Divided by min(N - 1, D).
    pub participation_ratio: Option<f64>,
    /// Divided by that of the uniform distribution on the sphere.
    pub uniformity: f64,
    /// Divided by D.
    pub intrinsic_dimension: Option<f64>,
}

impl LabelFreeMetrics {
    /// Computes all metrics; `seed` draws the rows and initial centres of the metrics that compare pairs.
    ///
    /// # Errors
    /// If all features are zero or a solver fails.
    pub fn compute<T: Number>(rows: Rows<T>, seed: &Seed) -> Result<Self> {
        let spectrum = Spectrum::from_rows(rows)?;
        let eigenvalues = spectrum.eigenvalues();
        Ok(Self {
            rows: rows.count(),
            width: rows.width(),
            rankme: spectrum::rankme(&spectrum.uncentred, RANKME_EPSILON),
            effective_rank: spectrum::effective_rank(&spectrum.uncentred),
            stable_rank: spectrum::stable_rank(&spectrum.uncentred),
            nesum: spectrum::nesum(&eigenvalues),
            participation_ratio: spectrum::participation_ratio(&eigenvalues),
            pseudo_condition_number: spectrum::pseudo_condition_number(&spectrum.centred),
            alpha_req: alpha_req(&eigenvalues, RELEASED_RANGE, Weight::Inverse),
            alpha_req_all: alpha_req(&eigenvalues, 1..=eigenvalues.len(), Weight::Inverse),
            coherence: spectrum.coherence(rows),
            self_cluster: sphere::self_cluster(rows),
            uniformity: sphere::uniformity(rows, &seed.child("uniformity")),
            cluster_learnability: neighbours::cluster_learnability(rows, &seed.child("learnability")),
            intrinsic_dimension: neighbours::intrinsic_dimension(rows, &seed.child("dimension")),
            spread: spread(rows),
        })
    }

    /// Returns the metrics that can be compared between widths.
    pub fn normalised(&self) -> Normalised {
        let bound = self.rows.min(self.width) as f64;
        let centred = (self.rows - 1).min(self.width) as f64;
        Normalised {
            rankme: self.rankme / bound,
            effective_rank: self.effective_rank / bound,
            stable_rank: self.stable_rank / bound,
            nesum: self.nesum.map(|value| value / centred),
            participation_ratio: self.participation_ratio.map(|value| value / centred),
            uniformity: self.uniformity / sphere::uniformity_of_the_sphere(self.width),
            intrinsic_dimension: self.intrinsic_dimension.map(|value| value / self.width as f64),
        }
    }
}

#[cfg(test)]
mod tests;
