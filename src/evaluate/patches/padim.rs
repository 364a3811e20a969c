//! PaDiM: a Gaussian of normal images at each place of the grid, and the largest Mahalanobis distance from it.

use anyhow::{Context, Result, ensure};
use faer::{Mat, Side, prelude::Solve};
use rayon::prelude::*;

use super::{super::probe::dots, Patches};
use crate::seed::Seed;

/// Number of randomly drawn features that are used at each place: PaDiM's for ResNet-18.
pub const DIMENSIONS: usize = 100;
/// Added to the covariance's diagonal: PaDiM's.
const EPSILON: f64 = 0.01;

/// The distribution of normal images at a place.
struct Cloud {
    mean: Vec<f64>,
    /// Inverse of the covariance, row-major.
    precision: Vec<f64>,
}

/// PaDiM's distributions, one per place.
pub struct Padim {
    /// Which features of a place are used.
    used: Vec<usize>,
    places: Vec<Cloud>,
}

impl Padim {
    /// Fits the distributions on at least two normal images.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn fit(images: &[Patches], seed: &Seed) -> Result<Self> {
        ensure!(images.len() > 1, "a covariance needs two normal images, found {}", images.len());
        let width = images[0].width;
        let mut used: Vec<usize> = (0..width).collect();
        seed.child("dimensions").stream().shuffle(&mut used);
        used.truncate(DIMENSIONS);
        used.sort_unstable();
        let cloud = |place: usize| -> Result<Cloud> {
            let rows = Mat::from_fn(images.len(), used.len(), |image, column| {
                f64::from(images[image].values[place * width + used[column]])
            });
            let count = images.len() as f64;
            let mean: Vec<f64> =
                (0..used.len()).map(|column| rows.col(column).iter().sum::<f64>() / count).collect();
            let centred =
                Mat::from_fn(images.len(), used.len(), |image, column| rows[(image, column)] - mean[column]);
            let products = centred.transpose() * &centred;
            let covariance = Mat::from_fn(used.len(), used.len(), |row, column| {
                products[(row, column)] / (count - 1.0) + if row == column { EPSILON } else { 0.0 }
            });
            let factors =
                covariance.llt(Side::Lower).ok().context("the covariance of a place is singular")?;
            let inverse = factors.solve(&Mat::<f64>::identity(used.len(), used.len()));
            let precision =
                (0..used.len() * used.len()).map(|at| inverse[(at / used.len(), at % used.len())]);
            Ok(Cloud { mean, precision: precision.collect() })
        };
        let places = (0..images[0].values.len() / width).into_par_iter().map(cloud).collect::<Result<_>>()?;
        Ok(Self { used, places })
    }

    /// Returns an image's distance from normal ones: the largest Mahalanobis distance of its places.
    pub fn distance(&self, patches: &Patches) -> f64 {
        let squares = patches.places().zip(&self.places).map(|(patch, cloud)| {
            let centred: Vec<f64> =
                self.used.iter().zip(&cloud.mean).map(|(&at, mean)| f64::from(patch[at]) - mean).collect();
            let mut products = vec![0.0; centred.len()];
            dots(&centred, &cloud.precision, &mut products);
            products.iter().zip(&centred).map(|(product, own)| own * product).sum::<f64>()
        });
        squares.fold(0.0, f64::max).sqrt()
    }
}
