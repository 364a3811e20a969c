//! Loops of batch normalisation over rows of channels, forwards. Independent of tensors.

use candle_core::WithDType;
use rayon::prelude::*;

use super::statistics::EPSILON;
use crate::tensor::cpu::{
    storage::{Number, Real, unwritten},
    vector::vectorised,
};

/// Numbers that a task processes at a time: they stay in a core's fastest caches while they are read twice.
const TASK_NUMBERS: usize = 1 << 14;
/// Channels that are summed together in registers, where there are as many: memory is then read in runs.
pub const MANY_LANES: usize = 64;
/// Channels that are summed together otherwise.
pub const LANES: usize = 16;
/// About how many numbers a loop handles at least: loops over few channels would mostly begin and end.
const LOOP: usize = 256;
/// Largest number of rows of a task: with more, single-precision sums would lose digits.
const TASK_ROWS: usize = 256;

/// [`super::Statistics`] in the form that the CPU computes with.
#[derive(Clone)]
pub struct Moments {
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
}

/// Returns the mean and biased variance of each column of `x` (rows x channels).
pub fn statistics<N: Number>(x: &[N], channels: usize) -> Moments {
    let partial: Vec<Part<N::Sum>> =
        x.par_chunks(chunk_len(channels)).map(|x| Part::new(x, channels)).collect();
    let (mut count, mut mean, mut squares) = (0.0, vec![0.0; channels], vec![0.0; channels]);
    for part in partial {
        let total = count + part.rows;
        for channel in 0..channels {
            let rest = part.rest[channel].to_f64() / part.rows;
            let part_squares = part.squares[channel].to_f64() - part.rows * rest * rest;
            let shift = part.mean[channel].to_f64() + rest - mean[channel];
            mean[channel] += shift * part.rows / total;
            squares[channel] += part_squares + shift * shift * count * part.rows / total;
        }
        count = total;
    }
    Moments { mean, variance: squares.into_iter().map(|squares| squares / count).collect() }
}

/// Sums over some rows.
struct Part<T> {
    rows: f64,
    /// The mean, rounded to the type of sums.
    mean: Vec<T>,
    /// Sum of the deviations from the rounded mean: it corrects mean and squares.
    rest: Vec<T>,
    /// Sum of squared differences from the rounded mean.
    squares: Vec<T>,
}

impl<T: Real> Part<T> {
    fn new<N: Number<Sum = T>>(x: &[N], channels: usize) -> Self {
        let rows = (x.len() / channels) as f64;
        let mut mean = vec![T::zero(); channels];
        let (mut rest, mut squares) = (vec![T::zero(); channels], vec![T::zero(); channels]);
        let scale = T::from_f64(1.0 / rows);
        vectorised(
            #[inline(always)]
            || {
                let mut out = [&mut mean[..], &mut rest, &mut squares];
                let whole = channels / MANY_LANES * MANY_LANES;
                for first in (0..whole).step_by(MANY_LANES) {
                    copy_lanes(&moments::<N, MANY_LANES>(x, channels, first, scale), first, &mut out);
                }
                for first in (whole..channels).step_by(LANES) {
                    copy_lanes(&moments::<N, LANES>(x, channels, first, scale), first, &mut out);
                }
            },
        );
        Self { rows, mean, rest, squares }
    }
}

/// Returns the means of the channels from `first` on, and the sums of the differences from them and of their squares.
#[inline(always)]
fn moments<N: Number, const L: usize>(
    x: &[N],
    channels: usize,
    first: usize,
    scale: N::Sum,
) -> [[N::Sum; L]; 3] {
    let [mut mean, mut rest, mut squares] = [[N::Sum::ZERO; L]; 3];
    let rows = || x.chunks_exact(channels).map(|row| &row[first..]);
    for row in rows() {
        match row.first_chunk::<L>() {
            Some(row) => add_to(&mut mean, row),
            None => add_to(&mut mean, row),
        }
    }
    for mean in &mut mean {
        *mean *= scale;
    }
    for row in rows() {
        match row.first_chunk::<L>() {
            Some(row) => add_differences(&mut rest, &mut squares, row, &mean),
            None => add_differences(&mut rest, &mut squares, row, &mean),
        }
    }
    [mean, rest, squares]
}

/// Copies lanes to the channels from `first` on, as far as there are channels.
#[inline(always)]
pub fn copy_lanes<T: Copy, const L: usize, const K: usize>(
    lanes: &[[T; L]; K],
    first: usize,
    out: &mut [&mut [T]; K],
) {
    for (lanes, out) in lanes.iter().zip(out) {
        out[first..].iter_mut().zip(lanes).for_each(|(out, &lane)| *out = lane);
    }
}

#[inline(always)]
fn add_to<N: Number, const L: usize>(sums: &mut [N::Sum; L], row: &[N]) {
    for (sum, &x) in sums.iter_mut().zip(row) {
        *sum += x.widen();
    }
}

#[inline(always)]
fn add_differences<N: Number, const L: usize>(
    rest: &mut [N::Sum; L],
    squares: &mut [N::Sum; L],
    row: &[N],
    mean: &[N::Sum; L],
) {
    for (((rest, squares), &mean), &x) in rest.iter_mut().zip(squares).zip(mean).zip(row) {
        let difference = x.widen() - mean;
        *rest += difference;
        *squares += difference * difference;
    }
}

/// Returns each channel's factor and summand.
pub fn scale_and_shift<T: Real>(affine: &[T], statistics: &Moments) -> [Vec<T>; 2] {
    let channels = statistics.mean.len();
    let scale: Vec<f64> = deviations(statistics).zip(affine).map(|(d, weight)| weight.to_f64() / d).collect();
    let shift = (0..channels)
        .map(|c| T::from_f64(affine[channels + c].to_f64() - statistics.mean[c] * scale[c]))
        .collect();
    [scale.into_iter().map(T::from_f64).collect(), shift]
}

/// Returns `y = x scale + shift (+ residual)`, with ReLU applied if `relu`; `affine` has weights, then biases.
pub fn normalise<N: Number>(
    x: &[N],
    affine: &[N::Sum],
    statistics: &Moments,
    residual: Option<&[N]>,
    relu: bool,
) -> Vec<N> {
    let channels = statistics.mean.len();
    let [scale, shift] = scale_and_shift(affine, statistics).map(|constants| repeated(&constants));
    let together = scale.len();
    let floor = if relu { N::Sum::ZERO } else { N::Sum::from_f64(f64::NEG_INFINITY) };
    // SAFETY: rows are whole, and the loops write every one.
    let mut y = unsafe { unwritten(x.len()) };
    let size = chunk_len(channels);
    y.par_chunks_mut(size).enumerate().for_each(|(index, y)| {
        let x = &x[index * size..][..y.len()];
        let residual = residual.map(|residual| &residual[index * size..][..x.len()]);
        vectorised(
            #[inline(always)]
            || {
                let rows = y.chunks_mut(together).zip(x.chunks(together));
                match residual {
                    None => {
                        for (y, x) in rows {
                            for (((y, &x), &scale), &shift) in y.iter_mut().zip(x).zip(&scale).zip(&shift) {
                                *y = N::narrow(at_least(x.widen() * scale + shift, floor));
                            }
                        }
                    }
                    Some(residual) => {
                        for ((y, x), residual) in rows.zip(residual.chunks(together)) {
                            let affine = scale.iter().zip(&shift);
                            let numbers = y.iter_mut().zip(x).zip(residual);
                            for (((y, &x), &r), (&scale, &shift)) in numbers.zip(affine) {
                                *y = N::narrow(at_least(x.widen() * scale + shift + r.widen(), floor));
                            }
                        }
                    }
                }
            },
        );
    });
    y
}

/// Returns `x`, but at least `floor`; NaN stays NaN.
#[inline(always)]
fn at_least<T: Real>(x: T, floor: T) -> T {
    if x < floor { floor } else { x }
}

pub fn deviations(statistics: &Moments) -> impl Iterator<Item = f64> {
    statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt())
}

/// Repeats each channel's constants for as many rows as a loop handles at once.
pub fn repeated<T: Copy>(constants: &[T]) -> Vec<T> {
    constants.repeat(run_len(constants.len()) / constants.len().max(1))
}

/// Returns the number of elements in the rows that a loop handles at once.
pub fn run_len(channels: usize) -> usize {
    (LOOP / channels.max(1)).max(1) * channels
}

/// Returns the number of elements in a task's rows.
pub fn chunk_len(channels: usize) -> usize {
    (TASK_NUMBERS / channels).clamp(1, TASK_ROWS) * channels
}
