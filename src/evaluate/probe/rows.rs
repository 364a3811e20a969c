//! The features of a fit as rows of f64, and the few products and the solver that Newton's method needs.
//!
//! Sums over rows are cut at fixed places: results do not depend on the number of threads.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// Rows whose contributions are summed together.
pub const ROWS: usize = 1024;

/// Columns of a Gram matrix computed together: narrow enough to skip most of its upper triangle, wide
/// enough for a fast matrix product.
const PANEL: usize = 128;

/// Features, each row with a 1 at its end that the bias multiplies.
pub struct DesignMatrix {
    numbers: Vec<f64>,
    /// Features and the 1.
    width: usize,
}

impl DesignMatrix {
    /// Takes features (images, width) of any float type; the error names the first that is not finite.
    pub fn new(features: &Tensor) -> Result<Self> {
        let (_, width) = features.dims2().context("probe: features are one row an image")?;
        let plain: Vec<f64> = features.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        if let Some(place) = plain.iter().position(|number| !number.is_finite()) {
            bail!(
                "probe: feature {} of image {} is {}; the network has diverged, lower its learning rate",
                place % width,
                place / width,
                plain[place]
            );
        }
        let mut numbers = Vec::with_capacity(plain.len() / width.max(1) * (width + 1));
        for row in plain.chunks_exact(width.max(1)) {
            numbers.extend_from_slice(row);
            numbers.push(1.0);
        }
        Ok(Self { numbers, width: width + 1 })
    }

    /// Columns, that of ones included.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The same with every number made positive.
    pub fn absolute(&self) -> Self {
        Self { numbers: self.numbers.iter().map(|x| x.abs()).collect(), width: self.width }
    }

    /// Some of the rows, in this order.
    pub fn select(&self, places: &[usize]) -> Self {
        let row = |&place: &usize| self.numbers[place * self.width..(place + 1) * self.width].iter().copied();
        Self { numbers: places.iter().flat_map(row).collect(), width: self.width }
    }

    /// Rows.
    pub fn count(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Takes their mean from all columns but the last; returns the means.
    pub fn centre(&mut self) -> Vec<f64> {
        let (width, count) = (self.width, self.count() as f64);
        let mut means = vec![0.0; width - 1];
        for row in self.numbers.chunks_exact(width) {
            means.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / count);
        }
        for row in self.numbers.chunks_exact_mut(width) {
            row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean);
        }
        means
    }

    /// Divides all columns but the last, which must be centred from `means`, by their standard deviations;
    /// returns these. What rounding alone leaves of a constant feature is no deviation: 1 there.
    pub fn scale(&mut self, means: &[f64]) -> Vec<f64> {
        let (width, count) = (self.width, self.count() as f64);
        let mut deviations = vec![0.0; width - 1];
        for row in self.numbers.chunks_exact(width) {
            deviations.iter_mut().zip(row).for_each(|(variance, x)| *variance += x * x / count);
        }
        for (deviation, mean) in deviations.iter_mut().zip(means) {
            let root = deviation.sqrt();
            *deviation = if root > 1e-12 * mean.abs() { root } else { 1.0 };
        }
        for row in self.numbers.chunks_exact_mut(width) {
            row.iter_mut().zip(&deviations).for_each(|(x, deviation)| *x /= deviation);
        }
        deviations
    }

    /// X v: one number a row.
    pub fn times(&self, vector: &[f64]) -> Vec<f64> {
        self.numbers.par_chunks_exact(self.width).with_min_len(ROWS / 4).map(|row| dot(row, vector)).collect()
    }

    /// X^T v: one number a column.
    pub fn transposed_times(&self, vector: &[f64]) -> Vec<f64> {
        let of_piece = |(rows, numbers): (&[f64], &[f64])| {
            let mut sums = vec![0.0; self.width];
            for (row, number) in rows.chunks_exact(self.width).zip(numbers) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * number);
            }
            sums
        };
        let pieces = self.numbers.par_chunks(ROWS * self.width).zip(vector.par_chunks(ROWS));
        sum_of(pieces.map(of_piece).collect(), self.width)
    }

    /// X^T diag(v) X for v that is not negative, row by row: its lower triangle, and some of the upper.
    pub fn weighted_gram(&self, vector: &[f64]) -> Result<Vec<f64>> {
        let mut gram = vec![0.0; self.width * self.width];
        for (rows, numbers) in self.numbers.chunks(ROWS * self.width).zip(vector.chunks(ROWS)) {
            let mut scaled = rows.to_vec();
            for (row, number) in scaled.chunks_exact_mut(self.width).zip(numbers) {
                let root = number.sqrt();
                row.iter_mut().for_each(|x| *x *= root);
            }
            let scaled = Tensor::from_vec(scaled, (numbers.len(), self.width), &Device::Cpu)?;
            for first in (0..self.width).step_by(PANEL) {
                let count = PANEL.min(self.width - first);
                let panel = scaled.narrow(1, first, count)?.t()?;
                let product = panel.matmul(&scaled.narrow(1, 0, first + count)?)?.to_vec2::<f64>()?;
                for (sums, row) in gram.chunks_exact_mut(self.width).skip(first).zip(product) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            }
        }
        Ok(gram)
    }
}

/// Solves A x = b for symmetric positive definite A by Cholesky factors. Reads the lower triangle of A and
/// overwrites it; `None` if A is not positive definite to rounding.
pub fn solve(matrix: &mut [f64], mut vector: Vec<f64>) -> Option<Vec<f64>> {
    let size = vector.len();
    for i in 0..size {
        let (done, rest) = matrix.split_at_mut(i * size);
        let row = &mut rest[..size];
        for j in 0..i {
            let other = &done[j * size..][..size];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        row[i] = pivot.sqrt();
        vector[i] = (vector[i] - dot(&row[..i], &vector[..i])) / row[i];
    }
    for i in (0..size).rev() {
        vector[i] /= matrix[i * size + i];
        let solved = vector[i];
        vector[..i].iter_mut().zip(&matrix[i * size..]).for_each(|(x, factor)| *x -= factor * solved);
    }
    Some(vector)
}

/// Dot product in eight lanes, which the compiler can keep in vector registers.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f64>()
}

fn sum_of(pieces: Vec<Vec<f64>>, width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for piece in pieces {
        sums.iter_mut().zip(piece).for_each(|(sum, x)| *sum += x);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_the_sums_they_stand_for() {
        // More columns than a panel and more rows than a piece; whole numbers, so sums are exact.
        let (count, width) = (ROWS + 3, PANEL + 5);
        let entry =
            |i: usize, j: usize| if j + 1 == width { 1.0 } else { ((3 * i + 5 * j) % 7) as f64 - 3.0 };
        let features: Vec<f64> = (0..count).flat_map(|i| (0..width - 1).map(move |j| entry(i, j))).collect();
        let rows = DesignMatrix::new(&Tensor::from_vec(features, (count, width - 1), &Device::Cpu).unwrap())
            .unwrap();
        assert_eq!((rows.count(), rows.width()), (count, width));

        let of_columns: Vec<f64> = (0..width).map(|j| (j % 4) as f64).collect();
        let of_rows: Vec<f64> = (0..count).map(|i| [0.0, 1.0, 4.0][i % 3]).collect();
        let times: Vec<f64> =
            (0..count).map(|i| (0..width).map(|j| entry(i, j) * of_columns[j]).sum()).collect();
        assert_eq!(rows.times(&of_columns), times);
        let transposed: Vec<f64> =
            (0..width).map(|j| (0..count).map(|i| entry(i, j) * of_rows[i]).sum()).collect();
        assert_eq!(rows.transposed_times(&of_rows), transposed);

        let gram = rows.weighted_gram(&of_rows).unwrap();
        for (j, k) in (0..width).flat_map(|j| (0..=j).map(move |k| (j, k))) {
            let expected: f64 = (0..count).map(|i| entry(i, j) * of_rows[i] * entry(i, k)).sum();
            assert_eq!(gram[j * width + k], expected, "{j}, {k}");
        }
    }

    /// Why this is not faer's `llt`: it rounds otherwise, and committed numbers are these to the bit.
    #[test]
    fn solutions_are_faers_but_for_rounding() {
        const SIZE: usize = 65;
        let mut stream = crate::seed::Seed::root(0).child("solve").stream();
        let factor = faer::Mat::from_fn(SIZE, SIZE, |_, _| stream.normal());
        let matrix = &factor * factor.transpose() + faer::Mat::<f64>::identity(SIZE, SIZE);
        let vector: Vec<f64> = (0..SIZE).map(|_| stream.normal()).collect();
        let mut entries: Vec<f64> =
            (0..SIZE * SIZE).map(|place| matrix[(place / SIZE, place % SIZE)]).collect();
        let ours = solve(&mut entries, vector.clone()).unwrap();
        let right = faer::Mat::from_fn(SIZE, 1, |row, _| vector[row]);
        let theirs = faer::linalg::solvers::Solve::solve(&matrix.llt(faer::Side::Lower).unwrap(), &right);
        let largest = ours.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let differ = (0..SIZE).filter(|&row| ours[row] != theirs[(row, 0)]).count();
        assert!(differ > 0, "faer's solution is this one to the bit: it can take its place");
        for row in 0..SIZE {
            assert!((ours[row] - theirs[(row, 0)]).abs() < 1e-12 * largest, "{row}: {differ} differ");
        }
    }

    #[test]
    fn solves_by_hand_and_refuses_what_is_not_definite() {
        // [[4, 2], [2, 5]] x = [8, 12] at x = [1, 2]; the upper entry is not read.
        assert_eq!(solve(&mut [4.0, f64::NAN, 2.0, 5.0], vec![8.0, 12.0]).unwrap(), [1.0, 2.0]);
        assert_eq!(solve(&mut [1.0, 1.0, 1.0, 1.0], vec![1.0, 1.0]), None);
        assert_eq!(solve(&mut [f64::NAN], vec![1.0]), None);
    }
}
