//! The features of a fit as rows of f64, and the products and the solver that Newton's method needs.
//!
//! Sums over rows are split at fixed positions, so results do not depend on the number of threads. A small matrix is
//! held in f64. A large one is converted from the features block by block whenever it is needed: this gives the same
//! bits without a copy in memory.

use std::borrow::Cow;

use anyhow::{Context, Result, bail};
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use rayon::prelude::*;

use crate::tensor::cpu::vector::vectorised;

/// Rows per block of a sum.
pub const ROWS: usize = 1024;

/// Largest number of values held in f64, 32 MiB. Ours.
const HELD: usize = 4 << 20;

/// Columns of a Gram matrix computed together: narrow enough to skip most of its upper triangle, wide
/// enough for a fast matrix product.
const PANEL: usize = 128;

/// Features, one row per image, each followed by a 1 for the bias.
pub struct DesignMatrix {
    /// (images, features) in f32 or f64, on the CPU, row-major.
    features: Tensor,
    /// The rows that are used, in this order; all of them if `None`.
    places: Option<Vec<usize>>,
    /// Number of features plus one.
    width: usize,
    /// Subtracted from each feature.
    means: Vec<f64>,
    /// Divide the centred features.
    deviations: Vec<f64>,
    /// All rows in f64, if they are held in memory.
    held: Option<Vec<f64>>,
}

impl DesignMatrix {
    /// Takes features (images, width) of any float type; the error names the first value that is not finite.
    pub fn new(features: &Tensor) -> Result<Self> {
        let (_, width) = features.dims2().context("probe: features are one row an image")?;
        let features =
            if features.dtype() == DType::F32 { features } else { &features.to_dtype(DType::F64)? };
        let features = features.to_device(&Device::Cpu)?.contiguous()?;
        let (means, deviations) = (vec![0.0; width], vec![1.0; width]);
        let matrix = Self { features, places: None, width: width + 1, means, deviations, held: None };
        for first in (0..matrix.count()).step_by(ROWS) {
            let rows = matrix.rows(first, ROWS.min(matrix.count() - first))?;
            if let Some(place) = rows.iter().position(|number| !number.is_finite()) {
                bail!(
                    "probe: feature {} of image {} is {}; the network has diverged, lower its learning rate",
                    place % matrix.width,
                    first + place / matrix.width,
                    rows[place]
                );
            }
        }
        Ok(matrix)
    }

    /// Returns the number of columns, including that of ones.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns some of the rows, in this order, neither centred nor scaled.
    pub fn select(&self, places: &[usize]) -> Self {
        let of = |&place: &usize| self.places.as_ref().map_or(place, |known| known[place]);
        Self {
            features: self.features.clone(),
            places: Some(places.iter().map(of).collect()),
            width: self.width,
            means: vec![0.0; self.width - 1],
            deviations: vec![1.0; self.width - 1],
            held: None,
        }
    }

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.places.as_ref().map_or_else(|| self.features.dims()[0], Vec::len)
    }

    /// Subtracts the mean from all columns except the last; returns the means.
    pub fn centre(&mut self) -> Result<Vec<f64>> {
        let count = self.count() as f64;
        let mut means = vec![0.0; self.width - 1];
        self.for_each_row(|row| means.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / count))?;
        self.means.clone_from(&means);
        Ok(means)
    }

    /// Divides all columns except the last, already centred by `means`, by their standard deviations, which it
    /// returns. A deviation that is only rounding error of a constant feature is replaced by 1.
    pub fn scale(&mut self, means: &[f64]) -> Result<Vec<f64>> {
        let count = self.count() as f64;
        let mut deviations = vec![0.0; self.width - 1];
        self.for_each_row(|row| {
            deviations.iter_mut().zip(row).for_each(|(variance, x)| *variance += x * x / count);
        })?;
        for (deviation, mean) in deviations.iter_mut().zip(means) {
            let root = deviation.sqrt();
            *deviation = if root > 1e-12 * mean.abs() { root } else { 1.0 };
        }
        self.deviations.clone_from(&deviations);
        Ok(deviations)
    }

    /// Converts the rows to f64 once and holds them in memory, if they are few.
    pub fn hold(&mut self) -> Result<()> {
        if self.count() * self.width <= HELD {
            self.held = Some(self.rows(0, self.count())?.into_owned());
        }
        Ok(())
    }

    /// Returns X v: one number per row.
    pub fn times(&self, vector: &[f64]) -> Result<Vec<f64>> {
        let mut products = vec![0.0; self.count()];
        let of_piece = |(piece, products): (usize, &mut [f64])| -> Result<()> {
            let rows = self.rows(piece * (ROWS / 4), products.len())?;
            dots(vector, &rows, products);
            Ok(())
        };
        products.par_chunks_mut(ROWS / 4).enumerate().try_for_each(of_piece)?;
        Ok(products)
    }

    /// Returns X^T v: one number per column.
    pub fn transposed_times(&self, vector: &[f64]) -> Result<Vec<f64>> {
        self.sums(vector, |x| x)
    }

    /// Returns |X|^T v, with absolute values of X.
    pub fn absolute_transposed_times(&self, vector: &[f64]) -> Result<Vec<f64>> {
        self.sums(vector, f64::abs)
    }

    /// Returns f(X)^T v.
    fn sums(&self, vector: &[f64], f: impl Fn(f64) -> f64 + Sync) -> Result<Vec<f64>> {
        let of_piece = |(piece, numbers): (usize, &[f64])| -> Result<Vec<f64>> {
            let rows = self.rows(piece * ROWS, numbers.len())?;
            let mut sums = vec![0.0; self.width];
            for (row, number) in rows.chunks_exact(self.width).zip(numbers) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f(*x) * number);
            }
            Ok(sums)
        };
        let pieces: Result<Vec<_>> = vector.par_chunks(ROWS).enumerate().map(of_piece).collect();
        Ok(sum_of(pieces?, self.width))
    }

    /// Returns X^T diag(v) X for non-negative v, row-major. Only the lower triangle is complete.
    pub fn weighted_gram(&self, vector: &[f64]) -> Result<Vec<f64>> {
        let mut gram = vec![0.0; self.width * self.width];
        for (piece, numbers) in vector.chunks(ROWS).enumerate() {
            let mut scaled = self.rows(piece * ROWS, numbers.len())?.into_owned();
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

    /// Calls `act` with each row in turn, as centred and scaled so far.
    fn for_each_row(&self, mut act: impl FnMut(&[f64])) -> Result<()> {
        for first in (0..self.count()).step_by(ROWS) {
            let rows = self.rows(first, ROWS.min(self.count() - first))?;
            rows.chunks_exact(self.width).for_each(&mut act);
        }
        Ok(())
    }

    /// Returns `count` rows from `first` on, as centred and scaled so far.
    fn rows(&self, first: usize, count: usize) -> Result<Cow<'_, [f64]>> {
        if let Some(held) = &self.held {
            return Ok(Cow::Borrowed(&held[first * self.width..][..count * self.width]));
        }
        let (storage, layout) = self.features.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().context("probe: rows of features have gaps")?;
        Ok(Cow::Owned(match &*storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => self.made(&numbers[start..end], first, count),
            Storage::Cpu(CpuStorage::F64(numbers)) => self.made(&numbers[start..end], first, count),
            _ => bail!("probe: features are on another device"),
        }))
    }

    /// Converts these rows of the features to f64, centred and scaled, each followed by a 1.
    fn made<T: Copy + Into<f64>>(&self, features: &[T], first: usize, count: usize) -> Vec<f64> {
        let width = self.width - 1;
        let mut rows = Vec::with_capacity(count * self.width);
        for row in first..first + count {
            let place = self.places.as_ref().map_or(row, |places| places[row]);
            let row = &features[place * width..][..width];
            let moved = row.iter().zip(&self.means).zip(&self.deviations);
            rows.extend(moved.map(|((x, mean), deviation)| ((*x).into() - mean) / deviation));
            rows.push(1.0);
        }
        rows
    }
}

/// Solves A x = b for symmetric positive definite A by Cholesky factorisation. Reads the lower triangle of A and
/// overwrites it; `None` if A is not positive definite within rounding.
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

/// Writes the dot product of `row` with each of `others`, stored one after the other.
pub fn dots(row: &[f64], others: &[f64], out: &mut [f64]) {
    vectorised(
        #[inline(always)]
        || {
            for (product, other) in out.iter_mut().zip(others.chunks_exact(row.len())) {
                *product = dot(other, row);
            }
        },
    );
}

/// Dot product in eight lanes, which the compiler can keep in vector registers.
#[inline(always)]
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
        // More columns than a panel and more rows than two pieces; whole numbers, so sums are exact.
        let (count, width) = (2 * ROWS + 3, PANEL + 5);
        let entry =
            |i: usize, j: usize| if j + 1 == width { 1.0 } else { ((3 * i + 5 * j) % 7) as f64 - 3.0 };
        let features: Vec<f64> = (0..count).flat_map(|i| (0..width - 1).map(move |j| entry(i, j))).collect();
        let features = Tensor::from_vec(features, (count, width - 1), &Device::Cpu).unwrap();
        let rows = DesignMatrix::new(&features).unwrap();
        assert_eq!((rows.count(), rows.width()), (count, width));

        let of_columns: Vec<f64> = (0..width).map(|j| (j % 4) as f64).collect();
        let of_rows: Vec<f64> = (0..count).map(|i| [0.0, 1.0, 4.0][i % 3]).collect();
        let times: Vec<f64> =
            (0..count).map(|i| (0..width).map(|j| entry(i, j) * of_columns[j]).sum()).collect();
        assert_eq!(rows.times(&of_columns).unwrap(), times);
        let transposed: Vec<f64> =
            (0..width).map(|j| (0..count).map(|i| entry(i, j) * of_rows[i]).sum()).collect();
        assert_eq!(rows.transposed_times(&of_rows).unwrap(), transposed);
        let absolute: Vec<f64> =
            (0..width).map(|j| (0..count).map(|i| entry(i, j).abs() * of_rows[i]).sum()).collect();
        assert_eq!(rows.absolute_transposed_times(&of_rows).unwrap(), absolute);

        let gram = rows.weighted_gram(&of_rows).unwrap();
        for (j, k) in (0..width).flat_map(|j| (0..=j).map(move |k| (j, k))) {
            let expected: f64 = (0..count).map(|i| entry(i, j) * of_rows[i] * entry(i, k)).sum();
            assert_eq!(gram[j * width + k], expected, "{j}, {k}");
        }
    }

    /// Features are looked at block by block; the message names the image among all of them.
    #[test]
    fn a_number_that_is_none_is_named_with_its_image() {
        for (image, feature) in [(3, 1), (ROWS + 7, 2), (2 * ROWS + 1, 0)] {
            let mut numbers = vec![0.5_f32; (2 * ROWS + 5) * 3];
            numbers[image * 3 + feature] = f32::NEG_INFINITY;
            let features = Tensor::from_vec(numbers, (2 * ROWS + 5, 3), &Device::Cpu).unwrap();
            let error = DesignMatrix::new(&features).err().unwrap().to_string();
            let expected =
                format!("probe: feature {feature} of image {image} is -inf; the network has diverged");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn rows_that_are_made_again_are_those_that_are_held() {
        let mut stream = crate::seed::Seed::root(0).child("held").stream();
        let (count, width) = (2 * ROWS + 7, 9);
        let numbers: Vec<f32> = (0..count * width).map(|_| (3.0 * stream.normal() + 1.0) as f32).collect();
        let all = Tensor::from_vec(numbers, (count, width), &Device::Cpu).unwrap();
        // Some of the rows, out of order, of features that begin in the middle of their storage.
        let some = DesignMatrix::new(&all.narrow(0, 5, count - 5).unwrap()).unwrap();
        let places: Vec<usize> = (0..some.count()).rev().step_by(2).collect();
        let [mut made, mut held] = [some.select(&places), some.select(&places)];
        for rows in [&mut made, &mut held] {
            let means = rows.centre().unwrap();
            rows.scale(&means).unwrap();
        }
        held.hold().unwrap();
        assert!(made.held.is_none() && held.held.is_some());
        let of_columns: Vec<f64> = (0..=width).map(|_| stream.normal()).collect();
        let of_rows: Vec<f64> = places.iter().map(|_| stream.unit()).collect();
        assert_eq!(made.times(&of_columns).unwrap(), held.times(&of_columns).unwrap());
        assert_eq!(made.weighted_gram(&of_rows).unwrap(), held.weighted_gram(&of_rows).unwrap());
        let sums = |rows: &DesignMatrix| rows.absolute_transposed_times(&of_rows).unwrap();
        assert_eq!(sums(&made), sums(&held));
        assert!(sums(&made)[width] > 0.0, "the ones count as well");
        let mean = made.transposed_times(&vec![1.0; places.len()]).unwrap();
        assert!(mean[..width].iter().all(|sum| sum.abs() < 1e-9), "centred: {mean:?}");
    }

    /// Rows of a selection, out of order and more than two blocks, of features that begin in the middle of their
    /// storage, against their definition.
    #[rstest::rstest]
    fn a_selection_is_centred_and_scaled_by_its_own_rows(
        #[values(DType::F32, DType::F64)] numbers_are: DType,
    ) {
        let mut stream = crate::seed::Seed::root(3).child("own").stream();
        let (all, width, skipped) = (3 * ROWS + 9, 5, 7);
        let mut numbers: Vec<f64> =
            (0..(all + skipped) * width).map(|place| (place % width) as f64 + stream.normal()).collect();
        numbers.iter_mut().for_each(|number| *number = f64::from(*number as f32));
        // A constant feature below 0, whose mean is only nearly itself.
        numbers.iter_mut().skip(2).step_by(width).for_each(|number| *number = f64::from(-0.1_f32));
        let features = Tensor::from_slice(&numbers, (all + skipped, width), &Device::Cpu).unwrap();
        let features = features.to_dtype(numbers_are).unwrap();
        let places: Vec<usize> = (0..all).rev().filter(|place| place % 4 != 1).collect();
        let entry = |row: usize, column: usize| numbers[(places[row] + skipped) * width + column];
        let count = places.len();
        assert!(count > 2 * ROWS && !count.is_multiple_of(ROWS));
        let mean_of = |number: &dyn Fn(usize) -> f64| (0..count).map(number).sum::<f64>() / count as f64;
        let means: Vec<f64> = (0..width).map(|column| mean_of(&|row| entry(row, column))).collect();
        let deviation = |column: usize| match column {
            2 => 1.0,
            _ => mean_of(&|row| (entry(row, column) - means[column]).powi(2)).sqrt(),
        };
        let deviations: Vec<f64> = (0..width).map(deviation).collect();

        let design = DesignMatrix::new(&features.narrow(0, skipped, all).unwrap()).unwrap();
        let mut own = design.select(&places);
        let near = |found: &[f64], expected: &[f64], within: f64| {
            assert_eq!(found.len(), expected.len());
            for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert!((found - expected).abs() < within, "{place}: {found}, expected {expected}");
            }
        };
        let found = own.centre().unwrap();
        near(&found, &means, 1e-12);
        near(&own.scale(&found).unwrap(), &deviations, 1e-12);
        let weights = [1.0, -2.0, 0.5, 0.25, 3.0, 0.75];
        let scaled = |row: usize, column: usize| (entry(row, column) - means[column]) / deviations[column];
        let times = |row| (0..width).map(|column| scaled(row, column) * weights[column]).sum::<f64>() + 0.75;
        near(&own.times(&weights).unwrap(), &(0..count).map(times).collect::<Vec<_>>(), 1e-10);
        let of_rows: Vec<f64> = (0..count).map(|row| (row % 7) as f64).collect();
        let sums = |of: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let column = |column| (0..count).map(|row| of(scaled(row, column)) * of_rows[row]).sum::<f64>();
            (0..width).map(column).chain([of_rows.iter().sum::<f64>()]).collect()
        };
        near(&own.transposed_times(&of_rows).unwrap(), &sums(&|x| x), 1e-8);
        near(&own.absolute_transposed_times(&of_rows).unwrap(), &sums(&f64::abs), 1e-8);
    }

    /// Why faer's `llt` is not used: it rounds differently, and committed numbers depend on every bit.
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

    /// Rows of a selection are counted within it.
    #[test]
    fn a_selection_can_be_made_of_a_selection() {
        let features =
            Tensor::from_vec((0..7).map(f64::from).collect::<Vec<_>>(), (7, 1), &Device::Cpu).unwrap();
        let some = DesignMatrix::new(&features).unwrap().select(&[6, 4, 1, 3]);
        let fewer = some.select(&[2, 0, 0]);
        assert_eq!((fewer.count(), fewer.times(&[1.0, 0.5]).unwrap()), (3, vec![1.5, 6.5, 6.5]));
    }
}
