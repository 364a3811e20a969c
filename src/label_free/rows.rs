//! The matrix that every metric reads, and operations that several of them share.

use anyhow::{Result, ensure};
use faer::Mat;
use rayon::prelude::*;

use crate::seed::Seed;

/// Smallest length that a row is divided by, as in PyTorch's `normalize`.
const SMALLEST_NORM: f64 = 1e-12;

/// Number types of features; all arithmetic is in `f64`.
pub trait Number: Copy + Into<f64> + Sync {}

impl Number for f32 {}
impl Number for f64 {}

/// Features or embeddings, one row per image (or view of an image), all finite.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    values: &'a [T],
    width: usize,
}

impl<'a, T: Number> Rows<'a, T> {
    /// Wraps numbers in row-major order.
    ///
    /// # Errors
    /// If there are fewer than two complete rows, fewer than two columns, or a number is not finite.
    pub fn new(values: &'a [T], width: usize) -> Result<Self> {
        ensure!(width >= 2, "label-free metrics: {width} columns, expected at least 2");
        ensure!(
            values.len().is_multiple_of(width) && values.len() >= 2 * width,
            "label-free metrics: {} numbers, expected at least two rows of {width}",
            values.len()
        );
        if let Some(place) = values.iter().position(|&value| !value.into().is_finite()) {
            let (row, column, value) = (place / width, place % width, values[place].into());
            anyhow::bail!(
                "label-free metrics: column {column} of row {row} is {value}, expected finite numbers"
            );
        }
        Ok(Self { values, width })
    }

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// Returns the number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn row(&self, index: usize) -> impl Iterator<Item = f64> {
        self.values[index * self.width..][..self.width].iter().map(|&value| value.into())
    }

    /// Returns the factor that scales row `index` to unit length.
    pub(super) fn unit_scale(&self, index: usize) -> f64 {
        1.0 / self.row(index).map(|x| x * x).sum::<f64>().sqrt().max(SMALLEST_NORM)
    }

    /// Returns pieces of rows that are processed independently, as (first, count). Their size depends only on the
    /// width: tall enough for fast products of a piece, small enough that two fit beside the features.
    pub(super) fn pieces(&self) -> Vec<(usize, usize)> {
        let tall = 6 * (self.width + 1);
        (0..self.count()).step_by(tall).map(|first| (first, tall.min(self.count() - first))).collect()
    }

    /// Returns a piece as a matrix, each row multiplied by its `scale`.
    pub(super) fn matrix(&self, first: usize, count: usize, scale: impl Fn(usize) -> f64) -> Mat<f64> {
        let mut matrix = Mat::zeros(count, self.width);
        for index in 0..count {
            let factor = scale(first + index);
            for (out, x) in matrix.row_mut(index).iter_mut().zip(self.row(first + index)) {
                *out = factor * x;
            }
        }
        matrix
    }

    /// Returns the sum of X^T X (D x D) over all pieces X, which `piece` computes from (first, count).
    pub(super) fn gram(&self, piece: impl Fn(usize, usize) -> Mat<f64> + Sync) -> Mat<f64> {
        /// Products held at once; ours. They are added in order, so the sum does not depend on this number.
        const TOGETHER: usize = 8;
        let of_piece = |&(first, count): &(usize, usize)| {
            let x = piece(first, count);
            x.transpose() * &x
        };
        let mut sum = Mat::zeros(self.width, self.width);
        for pieces in self.pieces().chunks(TOGETHER) {
            let parts: Vec<Mat<f64>> = pieces.par_iter().map(of_piece).collect();
            sum = parts.into_iter().fold(sum, |sum, part| sum + part);
        }
        sum
    }

    /// Draws at most `most` rows without replacement, in random order.
    pub(super) fn sample(&self, most: usize, seed: &Seed) -> Sample {
        let mut order: Vec<usize> = (0..self.count()).collect();
        seed.stream().shuffle(&mut order);
        order.truncate(most);
        let values = order.iter().flat_map(|&index| self.row(index)).collect();
        Sample { values, width: self.width }
    }
}

/// Some rows in `f64`, for metrics that compare all pairs.
pub(super) struct Sample {
    values: Vec<f64>,
    width: usize,
}

impl Sample {
    pub fn rows(&self) -> Vec<&[f64]> {
        self.values.chunks_exact(self.width).collect()
    }
}

/// Squared Euclidean distance, computed from differences: close rows keep their digits.
pub(super) fn squared_distance(left: &[f64], right: &[f64]) -> f64 {
    // Eight sums let the compiler use vectors, in an order that is the same everywhere.
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (left, right) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
    for (left, right) in left.zip(right) {
        for lane in 0..LANES {
            let difference = left[lane] - right[lane];
            sums[lane] += difference * difference;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_checked() {
        let message = |values: &[f64], width| Rows::new(values, width).unwrap_err().to_string();
        assert!(message(&[1.0; 5], 2).contains("5 numbers, expected at least two rows of 2"));
        assert!(message(&[1.0; 2], 2).contains("2 numbers"));
        assert!(message(&[1.0; 4], 1).contains("1 columns, expected at least 2"));
        assert!(message(&[1.0, 2.0, 3.0, f64::NAN], 2).contains("column 1 of row 1 is NaN"));
        assert!(message(&[1.0, 2.0, 3.0, 4.0, -f64::INFINITY, 6.0], 2).contains("column 0 of row 2 is -inf"));
    }

    #[test]
    fn a_sample_draws_each_row_once() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let rows = Rows::new(&values, 2).unwrap();
        let drawn = |most| -> Vec<f64> {
            rows.sample(most, &Seed::root(3)).rows().iter().map(|row| row[0] / 2.0).collect()
        };
        assert_eq!(drawn(7), drawn(20)[..7]);
        let mut all = drawn(100);
        assert_ne!(all, (0..20).map(f64::from).collect::<Vec<_>>());
        all.sort_by(f64::total_cmp);
        assert_eq!(all, (0..20).map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn distance_by_hand() {
        // 1 + 4 + 9 + ... + 121 and, below eight columns, 3^2 + 4^2.
        let steps: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(squared_distance(&steps, &[0.0; 11]), 506.0);
        assert_eq!(squared_distance(&[1.0, 5.0], &[4.0, 1.0]), 25.0);
    }
}
