//! Metrics of several views of each image: alignment and LiDAR.

use anyhow::{Result, anyhow, ensure};
use faer::{Mat, Par, linalg::triangular_solve::solve_lower_triangular_in_place};
use rayon::prelude::*;

use super::{
    rows::{Number, Rows},
    spectrum::effective_rank,
};

/// Added to the diagonal of the within-class covariance (stable-pretraining's default).
const DELTA: f64 = 1e-4;
/// Added to each eigenvalue (stable-pretraining's default, too).
const EPSILON: f64 = 1e-8;

/// Rows ordered by (image, view): all views of the first image, then all of the second.
#[derive(Clone, Copy, Debug)]
pub struct Views<'a, T> {
    rows: Rows<'a, T>,
    views: usize,
}

/// Metrics from several views of each image.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewMetrics {
    /// N, at least 2.
    pub images: usize,
    /// Views per image, at least 2.
    pub views: usize,
    /// [`Views::alignment`]: 0 to 4, low is good.
    pub alignment: f64,
    /// [`Views::lidar`]: 1 to min(D, images - 1), high is good.
    pub lidar: f64,
    /// `lidar` divided by its largest possible value.
    pub lidar_normalised: f64,
}

impl<'a, T: Number> Views<'a, T> {
    /// Treats every `views` consecutive rows as the views of one image.
    ///
    /// # Errors
    /// If there are fewer than two views or two images, or some rows are left over.
    pub fn new(rows: Rows<'a, T>, views: usize) -> Result<Self> {
        ensure!(
            views >= 2 && rows.count().is_multiple_of(views) && rows.count() >= 2 * views,
            "label-free metrics: {} rows in {views} views, expected at least two images in two views",
            rows.count()
        );
        Ok(Self { rows, views })
    }

    /// Computes both metrics.
    ///
    /// # Errors
    /// If LiDAR's solver fails.
    pub fn metrics(&self) -> Result<ViewMetrics> {
        let (images, lidar) = (self.images(), self.lidar()?);
        let bound = self.rows.width().min(images - 1) as f64;
        let lidar_normalised = lidar / bound;
        Ok(ViewMetrics { images, views: self.views, alignment: self.alignment(), lidar, lidar_normalised })
    }

    fn images(&self) -> usize {
        self.rows.count() / self.views
    }

    /// Mean of |x - y|^2 over all pairs of views of an image, rows of unit length: 0 to 4, low if views agree.
    /// Source: Wang and Isola, ICML 2020, with their alpha = 2.
    pub fn alignment(&self) -> f64 {
        let sums: Vec<f64> = (0..self.images())
            .into_par_iter()
            .map(|image| {
                let first = image * self.views;
                let unit = self
                    .rows
                    .matrix(first, self.views, |row| self.rows.unit_scale(row))
                    .transpose()
                    .to_owned();
                let mut sum = 0.0;
                for right in 1..self.views {
                    for left in 0..right {
                        sum += (unit.col(left) - unit.col(right)).squared_norm_l2();
                    }
                }
                sum
            })
            .collect();
        let pairs = self.images() * self.views * (self.views - 1) / 2;
        sums.iter().sum::<f64>() / pairs as f64
    }

    /// LiDAR: the exponential of the entropy of lambda + 1e-8, normalised, where lambda are the D
    /// eigenvalues of S_w^-1/2 S_b S_w^-1/2, S_b the covariance of image means (divisor n - 1) and S_w the
    /// mean covariance within an image (divisor n (q - 1)) + 1e-4 I. 1 to min(D, n - 1), high is good.
    ///
    /// The lambda are computed as squared singular values of L^-1 M, where S_w = L L^T and M M^T = S_b.
    ///
    /// Source: Thilak et al., "LiDAR: sensing linear probing performance in joint embedding SSL
    /// architectures", ICLR 2024; constants as in stable-pretraining.
    ///
    /// # Errors
    /// If the solver does not converge.
    pub fn lidar(&self) -> Result<f64> {
        let (n, q, width) = (self.images(), self.views, self.rows.width());
        let mut means = Mat::<f64>::zeros(width, n);
        for image in 0..n {
            for view in 0..q {
                let row = self.rows.row(image * q + view);
                means.col_mut(image).iter_mut().zip(row).for_each(|(sum, x)| *sum += x / q as f64);
            }
        }
        let mut within = self.scatter(&means);
        within *= faer::Scale(1.0 / (n * (q - 1)) as f64);
        for place in 0..width {
            within[(place, place)] += DELTA;
        }
        let root = within
            .llt(faer::Side::Lower)
            .map_err(|error| anyhow!("lidar: no root of the covariance within images: {error:?}"))?;

        let mut between = means;
        for row in 0..width {
            let mean = between.row(row).iter().sum::<f64>() / n as f64;
            between.row_mut(row).iter_mut().for_each(|x| *x = (*x - mean) / ((n - 1) as f64).sqrt());
        }
        solve_lower_triangular_in_place(root.L(), between.as_mut(), Par::Seq);
        let mut eigenvalues: Vec<f64> = between
            .singular_values()
            .map_err(|error| anyhow!("lidar: no singular values: {error:?}"))?
            .into_iter()
            .map(|value| value * value)
            .collect();
        eigenvalues.resize(width, 0.0);
        eigenvalues.iter_mut().for_each(|value| *value += EPSILON);
        Ok(effective_rank(&eigenvalues))
    }

    /// Returns the sum over rows of the outer products of their deviations from their image's mean (D x D).
    fn scatter(&self, means: &Mat<f64>) -> Mat<f64> {
        self.rows.gram(|first, count| {
            let mut piece = self.rows.matrix(first, count, |_| 1.0);
            for (index, mut row) in piece.row_iter_mut().enumerate() {
                row -= means.col((first + index) / self.views).transpose();
            }
            piece
        })
    }
}
