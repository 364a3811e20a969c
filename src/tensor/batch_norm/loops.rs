//! Loops of batch normalisation over rows of channels. Independent of tensors.

use candle_core::WithDType;
use rayon::prelude::*;

use super::statistics::EPSILON;
use crate::tensor::cpu::{
    storage::{Number, Real, resize_unwritten, unwritten},
    vector::vectorised,
};

/// Numbers that a task processes at a time: they stay in a core's fastest caches while they are read twice.
const TASK_NUMBERS: usize = 1 << 14;
/// Channels that are summed together, in registers.
const LANES: usize = 16;
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
                for first in (0..channels).step_by(LANES) {
                    let [means, differences, squared] = moments::<N>(x, channels, first, scale);
                    let group = first..channels.min(first + LANES);
                    mean[group.clone()].copy_from_slice(&means[..group.len()]);
                    rest[group.clone()].copy_from_slice(&differences[..group.len()]);
                    squares[group.clone()].copy_from_slice(&squared[..group.len()]);
                }
            },
        );
        Self { rows, mean, rest, squares }
    }
}

/// Returns the means of the channels from `first` on, and the sums of the differences from them and of their squares.
#[inline(always)]
fn moments<N: Number>(x: &[N], channels: usize, first: usize, scale: N::Sum) -> [[N::Sum; LANES]; 3] {
    let [mut mean, mut rest, mut squares] = [[N::Sum::ZERO; LANES]; 3];
    let rows = || x.chunks_exact(channels).map(|row| &row[first..]);
    for row in rows() {
        match row.first_chunk::<LANES>() {
            Some(row) => add_to(&mut mean, row),
            None => add_to(&mut mean, row),
        }
    }
    for mean in &mut mean {
        *mean *= scale;
    }
    for row in rows() {
        match row.first_chunk::<LANES>() {
            Some(row) => add_differences(&mut rest, &mut squares, row, &mean),
            None => add_differences(&mut rest, &mut squares, row, &mean),
        }
    }
    [mean, rest, squares]
}

#[inline(always)]
fn add_to<N: Number>(sums: &mut [N::Sum; LANES], row: &[N]) {
    for (sum, &x) in sums.iter_mut().zip(row) {
        *sum += x.widen();
    }
}

#[inline(always)]
fn add_differences<N: Number>(
    rest: &mut [N::Sum; LANES],
    squares: &mut [N::Sum; LANES],
    row: &[N],
    mean: &[N::Sum; LANES],
) {
    for (((rest, squares), &mean), &x) in rest.iter_mut().zip(squares).zip(mean).zip(row) {
        let difference = x.widen() - mean;
        *rest += difference;
        *squares += difference * difference;
    }
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
    let scale: Vec<f64> = deviations(statistics).zip(affine).map(|(d, weight)| weight.to_f64() / d).collect();
    let shift: Vec<N::Sum> = (0..channels)
        .map(|c| N::Sum::from_f64(affine[channels + c].to_f64() - statistics.mean[c] * scale[c]))
        .collect();
    let scale: Vec<N::Sum> = scale.into_iter().map(N::Sum::from_f64).collect();
    let [scale, shift] = [scale, shift].map(|constants| repeated(&constants));
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

/// The result of [`backward`].
pub struct Gradients<N: Number> {
    pub input: Vec<N>,
    /// With respect to weights, then to biases.
    pub affine: Vec<N::Sum>,
    pub residual: Option<Vec<N>>,
}

/// The arguments of [`backward`].
pub struct BackwardArguments<'a, N: Number> {
    pub x: &'a [N],
    /// Weights, then biases.
    pub affine: &'a [N::Sum],
    pub statistics: &'a Moments,
    /// Whether the statistics are the batch's own, and so depend on `x`.
    pub uses_batch_statistics: bool,
    /// The output, if ReLU was applied.
    pub y: Option<&'a [N]>,
    pub dy: &'a [N],
    /// Whether there is a residual that needs its gradient.
    pub residual: bool,
}

/// Returns the gradients.
///
/// Let g be the output's gradient where the output `y` is above 0 (everywhere without `y`), n = (x - mean) /
/// deviation, and let means and sums be over rows. Then dx = weight / deviation (g - mean(g) - n mean(g n)) if the
/// statistics are the batch's own, otherwise weight / deviation g; dweight = sum(g n); dbias = sum(g); dresidual =
/// g.
pub fn backward<N: Number>(given: BackwardArguments<N>) -> Gradients<N> {
    let BackwardArguments { x, affine, statistics, uses_batch_statistics: moving, dy, residual, .. } = given;
    let mean: Vec<N::Sum> = statistics.mean.iter().map(|&mean| N::Sum::from_f64(mean)).collect();
    // SAFETY: `sums` writes every number.
    let mut masked = unsafe { unwritten(if residual { dy.len() } else { 0 }) };
    let (sum, product) = sums(&given, &mean, &mut masked);
    let rows = (x.len() / mean.len()) as f64;
    let mut slopes = Slopes { mean, scale: Vec::new(), slope: Vec::new(), offset: Vec::new() };
    let mut by_affine = Vec::new();
    for (channel, deviation) in deviations(statistics).enumerate() {
        let weight = affine[channel].to_f64() / deviation;
        slopes.scale.push(N::Sum::from_f64(weight));
        let share = if moving { weight / rows } else { 0.0 };
        slopes.slope.push(N::Sum::from_f64(share * product[channel] / (deviation * deviation)));
        slopes.offset.push(N::Sum::from_f64(share * sum[channel]));
        by_affine.push(N::Sum::from_f64(product[channel] / deviation));
    }
    by_affine.extend(sum.into_iter().map(N::Sum::from_f64));
    let input = by_input(&given, &slopes, &masked);
    Gradients { input, affine: by_affine, residual: residual.then_some(masked) }
}

/// Returns sums of g and of g (x - mean) for each channel. Writes g to `masked` if a residual needs it.
fn sums<N: Number>(given: &BackwardArguments<N>, mean: &[N::Sum], masked: &mut [N]) -> (Vec<f64>, Vec<f64>) {
    let &BackwardArguments { x, dy, residual, .. } = given;
    let (channels, y) = (mean.len(), given.y.unwrap_or(&[]));
    let size = chunk_len(channels);
    let partial: Vec<[Vec<N::Sum>; 2]> = if residual {
        let rows = masked.par_chunks_mut(size).zip(dy.par_chunks(size)).zip(x.par_chunks(size));
        rows.enumerate()
            .map(|(index, ((g, dy), x))| {
                mask(g, dy, y.get(index * size..).unwrap_or(&[]));
                sums_of_rows(g, x, mean)
            })
            .collect()
    } else {
        let rows = dy.par_chunks(size).zip(x.par_chunks(size));
        rows.enumerate()
            .map_init(Vec::new, |g, (index, (dy, x))| {
                // SAFETY: `mask` writes every number.
                unsafe { resize_unwritten(g, dy.len()) };
                mask(g, dy, y.get(index * size..).unwrap_or(&[]));
                sums_of_rows(g, x, mean)
            })
            .collect()
    };
    let (mut sum, mut product) = (vec![0.0; channels], vec![0.0; channels]);
    for [part_sum, part_product] in partial {
        for channel in 0..channels {
            sum[channel] += part_sum[channel].to_f64();
            product[channel] += part_product[channel].to_f64();
        }
    }
    (sum, product)
}

/// Like [`sums`], over few rows, in the type of sums.
fn sums_of_rows<N: Number>(g: &[N], x: &[N], mean: &[N::Sum]) -> [Vec<N::Sum>; 2] {
    let channels = mean.len();
    let (mut sum, mut product) = (vec![N::Sum::ZERO; channels], vec![N::Sum::ZERO; channels]);
    vectorised(
        #[inline(always)]
        || {
            for first in (0..channels).step_by(LANES) {
                let (mut sums, mut products) = ([N::Sum::ZERO; LANES], [N::Sum::ZERO; LANES]);
                let mut means = [N::Sum::ZERO; LANES];
                let group = first..channels.min(first + LANES);
                means[..group.len()].copy_from_slice(&mean[group.clone()]);
                for (g, x) in g.chunks_exact(channels).zip(x.chunks_exact(channels)) {
                    let (g, x) = (&g[first..], &x[first..]);
                    match (g.first_chunk::<LANES>(), x.first_chunk::<LANES>()) {
                        (Some(g), Some(x)) => add_products(&mut sums, &mut products, (g, x), &means),
                        _ => add_products(&mut sums, &mut products, (g, x), &means),
                    }
                }
                sum[group.clone()].copy_from_slice(&sums[..group.len()]);
                product[group.clone()].copy_from_slice(&products[..group.len()]);
            }
        },
    );
    [sum, product]
}

#[inline(always)]
fn add_products<N: Number>(
    sums: &mut [N::Sum; LANES],
    products: &mut [N::Sum; LANES],
    (g, x): (&[N], &[N]),
    mean: &[N::Sum; LANES],
) {
    for ((((sum, product), &g), &x), &mean) in sums.iter_mut().zip(products).zip(g).zip(x).zip(mean) {
        *sum += g.widen();
        *product += g.widen() * (x.widen() - mean);
    }
}

/// Constants of each channel: dx = g scale - (x - mean) slope - offset.
struct Slopes<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    slope: Vec<T>,
    offset: Vec<T>,
}

/// Returns the gradient with respect to `x`; `masked` is g if a residual needed it.
fn by_input<N: Number>(given: &BackwardArguments<N>, slopes: &Slopes<N::Sum>, masked: &[N]) -> Vec<N> {
    let &BackwardArguments { x, dy, residual, .. } = given;
    let Slopes { mean, scale, slope, offset } = slopes;
    let (channels, y) = (mean.len(), given.y.unwrap_or(&[]));
    let size = chunk_len(channels);
    let [mean, scale, slope, offset] = [mean, scale, slope, offset].map(|constants| repeated(constants));
    let together = mean.len();
    // SAFETY: rows are whole, and the loop writes every one.
    let mut by_input = unsafe { unwritten(x.len()) };
    by_input.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate().for_each_init(
        Vec::new,
        |g, (index, (dx, x))| {
            let g: &[N] = if residual {
                &masked[index * size..][..dx.len()]
            } else {
                // SAFETY: `mask` writes every number.
                unsafe { resize_unwritten(g, dx.len()) };
                mask(g, &dy[index * size..], y.get(index * size..).unwrap_or(&[]));
                g
            };
            vectorised(
                #[inline(always)]
                || {
                    let rows = dx.chunks_mut(together).zip(x.chunks(together)).zip(g.chunks(together));
                    for ((dx, x), g) in rows {
                        let constants = mean.iter().zip(&scale).zip(&slope).zip(&offset);
                        let numbers = dx.iter_mut().zip(x).zip(g);
                        for (((dx, &x), &g), (((&mean, &scale), &slope), &offset)) in numbers.zip(constants) {
                            *dx = N::narrow(g.widen() * scale - (x.widen() - mean) * slope - offset);
                        }
                    }
                },
            );
        },
    );
    by_input
}

/// Copies `dy` to `g` where `y` is above 0, and zeros elsewhere; copies all of `dy` if `y` is empty.
fn mask<N: Number>(g: &mut [N], dy: &[N], y: &[N]) {
    if y.is_empty() {
        g.copy_from_slice(&dy[..g.len()]);
        return;
    }
    vectorised(
        #[inline(always)]
        || {
            for ((g, &dy), &y) in g.iter_mut().zip(dy).zip(y) {
                *g = if y.widen() > N::Sum::ZERO { dy } else { N::ZERO };
            }
        },
    );
}

/// Returns `x`, but at least `floor`; NaN stays NaN.
#[inline(always)]
fn at_least<T: Real>(x: T, floor: T) -> T {
    if x < floor { floor } else { x }
}

fn deviations(statistics: &Moments) -> impl Iterator<Item = f64> {
    statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt())
}

/// Repeats each channel's constants for as many rows as a loop handles at once.
fn repeated<T: Copy>(constants: &[T]) -> Vec<T> {
    constants.repeat((LOOP / constants.len().max(1)).max(1))
}

/// Returns the number of elements in a task's rows.
fn chunk_len(channels: usize) -> usize {
    (TASK_NUMBERS / channels).clamp(1, TASK_ROWS) * channels
}
