//! Singular values of a feature matrix, centred and uncentred, and the metrics computed from them alone.
//!
//! One QR decomposition serves both: for Q R = [1 | Z], with the column of ones in front, the triangle R without
//! its first column has the singular values of Z; without its first row as well, those of Z minus the mean of each
//! column. Rows are decomposed in pieces and their triangles once more, so neither Z nor Q is ever held in `f64`.
//!
//! The eigenvalues of Z^T Z would be cheaper (25,600 x 512: 0.27 s against 0.55 s on one core), but squaring loses
//! everything below 1e-8 of the largest value: with values falling over six decades the relative error of the
//! smallest is 2e-6, over twelve decades 500 %; RankMe changes by 4e-8 at most. The pseudo-condition number and
//! alpha-ReQ need the small values. nalgebra's QR takes 2.9 s where faer's takes 0.55 s, hence faer.

use anyhow::{Result, anyhow, ensure};
use faer::Mat;
use rayon::prelude::*;

use super::rows::{Number, Rows};

/// Added to each share by RankMe's paper, for 32-bit embeddings.
pub const RANKME_EPSILON: f64 = 1e-7;
/// Added to each share by the code of the study's authors.
pub const RELEASED_EPSILON: f64 = 1e-6;
/// Smallest divisor of the pseudo-condition number (Tsitsulin et al. 2023, their code).
const SMALLEST_VALUE: f64 = 1e-6;

/// Singular values of Z (N x D), largest first. A value that rounding cannot tell from zero is zero.
pub struct Spectrum {
    /// Those of Z itself: min(N, D) values.
    pub uncentred: Vec<f64>,
    /// Those of Z minus its column means: min(N, D) values, of which min(N - 1, D) can be positive.
    pub centred: Vec<f64>,
    /// V / s for every positive singular value s of Z (D x rank).
    whitening: Mat<f64>,
}

impl Spectrum {
    /// Decomposes the rows; about 8 N D^2 operations.
    ///
    /// # Errors
    /// If all features are zero, or the solver does not converge.
    pub fn from_rows<T: Number>(rows: Rows<T>) -> Result<Self> {
        let failed = |error| anyhow!("label-free metrics: no singular values: {error:?}");
        let (count, width) = (rows.count(), rows.width());
        let triangle = triangle(rows);
        let height = triangle.nrows();
        let plain = triangle.as_ref().subcols(1, width).thin_svd().map_err(failed)?;
        let centred =
            triangle.as_ref().submatrix(1, 1, height - 1, width).singular_values().map_err(failed)?;

        let bound = count.min(width);
        let values: Vec<f64> = plain.S().column_vector().iter().copied().collect();
        // The rule by which NumPy's matrix_rank decides which values are zero.
        let zero = values[0] * count.max(width) as f64 * f64::EPSILON;
        let floor = |values: &[f64]| -> Vec<f64> {
            let mut kept: Vec<f64> =
                values.iter().map(|&value| if value > zero { value } else { 0.0 }).collect();
            kept.resize(bound, 0.0);
            kept
        };
        let (values, centred) = (floor(&values), floor(&centred));
        ensure!(values[0] > 0.0, "label-free metrics: all features are zero");
        let rank = values.iter().filter(|&&value| value > 0.0).count();
        let v = plain.V();
        let whitening = Mat::from_fn(width, rank, |row, column| v[(row, column)] / values[column]);
        Ok(Self { uncentred: values, centred, whitening })
    }

    /// Returns the eigenvalues of the centred covariance (divisor N - 1 or N, since only ratios are used).
    pub fn eigenvalues(&self) -> Vec<f64> {
        self.centred.iter().map(|value| value * value).collect()
    }

    /// Largest leverage of a row divided by the mean leverage: max_i |u_i|^2 N / r, with U (N x r) the left
    /// singular vectors of Z with positive singular values; 1 to N / r, small if no row stands out.
    ///
    /// Source: Tsitsulin, Munkhoeva and Perozzi, "Unsupervised Embedding Quality Evaluation", 2023.
    pub fn coherence<T: Number>(&self, rows: Rows<T>) -> f64 {
        let largest = rows
            .pieces()
            .into_par_iter()
            .map(|(first, count)| {
                let vectors = rows.matrix(first, count, |_| 1.0) * &self.whitening;
                let mut leverages = vec![0.0; count];
                for column in vectors.col_iter() {
                    for (leverage, u) in leverages.iter_mut().zip(column.iter()) {
                        *leverage += u * u;
                    }
                }
                leverages.into_iter().fold(0.0, f64::max)
            })
            .reduce(|| 0.0, f64::max);
        largest * rows.count() as f64 / self.whitening.ncols() as f64
    }
}

/// Largest number of pieces whose triangles are decomposed at once: up to this many, nothing is rounded twice.
/// Ours.
const AT_ONCE: usize = 32;
/// Triangles held at once if there are more pieces: they and the running triangle are reduced to one. Ours.
const HELD: usize = 8;

/// R of the QR decomposition of [1 | Z]: (min(N, D + 1), D + 1).
fn triangle<T: Number>(rows: Rows<T>) -> Mat<f64> {
    let width = rows.width() + 1;
    let of_piece = |&(first, count): &(usize, usize)| {
        let mut piece = Mat::from_fn(count, width, |_, _| 1.0);
        piece.as_mut().subcols_mut(1, width - 1).copy_from(rows.matrix(first, count, |_| 1.0));
        piece.qr().thin_R().to_owned()
    };
    let pieces = rows.pieces();
    let together = if pieces.len() <= AT_ONCE { AT_ONCE } else { HELD };
    let mut triangles: Vec<Mat<f64>> = Vec::new();
    for pieces in pieces.chunks(together) {
        if !triangles.is_empty() {
            triangles = vec![one_of(triangles)];
        }
        triangles.extend(pieces.par_iter().map(of_piece).collect::<Vec<_>>());
    }
    one_of(triangles)
}

/// Returns R of the QR decomposition of these triangles, stacked.
fn one_of(mut triangles: Vec<Mat<f64>>) -> Mat<f64> {
    if triangles.len() == 1 {
        return triangles.remove(0);
    }
    let mut stacked = Mat::zeros(triangles.iter().map(Mat::nrows).sum(), triangles[0].ncols());
    let mut first = 0;
    for triangle in triangles {
        stacked.as_mut().subrows_mut(first, triangle.nrows()).copy_from(&triangle);
        first += triangle.nrows();
    }
    stacked.qr().thin_R().to_owned()
}

/// exp(-sum_k p_k ln p_k), p_k = s_k / sum s + `epsilon`: between 1 and the number of values (a little more,
/// because the shares are not renormalised after `epsilon` is added). High if features fill the space.
///
/// RankMe with [`RANKME_EPSILON`] and the singular values of uncentred embeddings; the authors compare runs
/// of one method only. Source: Garrido, Balestriero, Najman and LeCun, "RankMe", ICML 2023.
pub fn rankme(singular_values: &[f64], epsilon: f64) -> f64 {
    let sum: f64 = singular_values.iter().sum();
    let entropy: f64 = singular_values
        .iter()
        .map(|value| if sum > 0.0 { value / sum + epsilon } else { epsilon })
        .filter(|&share| share > 0.0)
        .map(|share| -share * share.ln())
        .sum();
    entropy.exp()
}

/// RankMe without epsilon: the exponential of the shares' entropy, 1 to the number of values.
///
/// Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
pub fn effective_rank(singular_values: &[f64]) -> f64 {
    rankme(singular_values, 0.0)
}

/// sum s^2 / s_1^2 of uncentred features: 1 to the number of values; at least one must be positive.
pub fn stable_rank(singular_values: &[f64]) -> f64 {
    singular_values.iter().map(|value| (value / singular_values[0]).powi(2)).sum()
}

/// sum lambda / lambda_1 of the centred covariance: 1 to min(N - 1, D); `None` if all rows are equal.
///
/// Source: He and Ozay, "Exploring the gap between collapsed & whitened features", ICML 2022.
pub fn nesum(eigenvalues: &[f64]) -> Option<f64> {
    (eigenvalues[0] > 0.0).then(|| eigenvalues.iter().sum::<f64>() / eigenvalues[0])
}

/// (sum lambda)^2 / sum lambda^2 of the centred covariance: 1 to min(N - 1, D); `None` if all rows are equal.
///
/// Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement", 2017.
pub fn participation_ratio(eigenvalues: &[f64]) -> Option<f64> {
    let (sum, squares) = eigenvalues
        .iter()
        .map(|value| value / eigenvalues[0])
        .fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    (eigenvalues[0] > 0.0).then(|| sum * sum / squares)
}

/// s_1 / max(s_min, 1e-6) of centred features, s_min the last of min(N, D); low is good, 1 is the minimum.
///
/// Source: Tsitsulin et al. 2023, as in their code.
pub fn pseudo_condition_number(singular_values: &[f64]) -> f64 {
    singular_values[0] / singular_values.last().copied().unwrap_or(0.0).max(SMALLEST_VALUE)
}

/// RankMe as in the code of the study's authors: uncentred features of one mini-batch, epsilon 1e-6.
///
/// Cheap enough for every training step (256 x 512: some 4 ms): computed from the eigenvalues of Z^T Z or Z Z^T,
/// whichever is smaller, which changes it by less than 1e-4 of itself even for collapsed features and by 1e-9
/// otherwise. NaN if the solver fails.
pub fn rankme_released<T: Number>(batch: Rows<T>) -> f64 {
    let z = batch.matrix(0, batch.count(), |_| 1.0);
    let gram = if z.nrows() < z.ncols() { &z * z.transpose() } else { z.transpose() * &z };
    match gram.self_adjoint_eigenvalues(faer::Side::Lower) {
        Ok(values) => {
            let values: Vec<f64> = values.iter().map(|value| value.max(0.0).sqrt()).collect();
            rankme(&values, RELEASED_EPSILON)
        }
        Err(_) => f64::NAN,
    }
}
