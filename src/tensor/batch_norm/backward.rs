//! Loops of batch normalisation over rows of channels, backwards. Independent of tensors.

use candle_core::WithDType;
use rayon::prelude::*;

use super::loops::{
    LANES, MANY_LANES, Moments, chunk_len, copy_lanes, deviations, repeated, run_len, scale_and_shift,
};
use crate::tensor::cpu::{
    storage::{Number, unwritten},
    vector::vectorised,
};

/// The result of [`backward`].
pub struct Gradients<N: Number> {
    pub input: Vec<N>,
    /// With respect to weights, then to biases.
    pub affine: Vec<N::Sum>,
    pub residual: Option<Vec<N>>,
}

/// Where the output's gradient passes.
#[derive(Clone, Copy)]
pub enum Relu<'a, N> {
    /// There was no ReLU.
    Absent,
    /// Where the output, which was computed from the input alone, is above 0: it is computed again, which is faster
    /// than reading it.
    OfInput,
    /// Where this output is above 0.
    OfOutput(&'a [N]),
}

/// The arguments of [`backward`].
pub struct BackwardArguments<'a, N: Number> {
    pub x: &'a [N],
    /// Weights, then biases.
    pub affine: &'a [N::Sum],
    pub statistics: &'a Moments,
    /// Whether the statistics are the batch's own, and so depend on `x`.
    pub uses_batch_statistics: bool,
    pub relu: Relu<'a, N>,
    pub dy: &'a [N],
    /// Whether there is a residual that needs its gradient.
    pub residual: bool,
}

/// Returns the gradients.
///
/// Let g be the output's gradient where ReLU passes it, n = (x - mean) / deviation, and let means and sums be over
/// rows. Then dx = weight / deviation (g - mean(g) - n mean(g n)) if the statistics are the batch's own, otherwise
/// weight / deviation g; dweight = sum(g n); dbias = sum(g); dresidual = g.
pub fn backward<N: Number>(given: BackwardArguments<N>) -> Gradients<N> {
    let BackwardArguments { x, affine, statistics, uses_batch_statistics: moving, dy, residual, .. } = given;
    let mean: Vec<N::Sum> = statistics.mean.iter().map(|&mean| N::Sum::from_f64(mean)).collect();
    let gate = Gate::new(&given);
    // SAFETY: `sums` writes every number.
    let mut masked = unsafe { unwritten(if residual { dy.len() } else { 0 }) };
    let (sum, product) = sums(&given, &gate, &mean, &mut masked);
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
    let input = match residual {
        true => by_input(x, &masked, &Gate { relu: Relu::Absent, constants: gate.constants }, &slopes),
        false => by_input(x, dy, &gate, &slopes),
    };
    Gradients { input, affine: by_affine, residual: residual.then_some(masked) }
}

/// Lets the output's gradient pass where ReLU does.
struct Gate<'a, N: Number> {
    relu: Relu<'a, N>,
    /// Factors and summands that give the output from the input, repeated; empty if they are not needed.
    constants: [Vec<N::Sum>; 2],
}

impl<'a, N: Number> Gate<'a, N> {
    fn new(given: &BackwardArguments<'a, N>) -> Self {
        let constants = match given.relu {
            Relu::OfInput => scale_and_shift(given.affine, given.statistics).map(|x| repeated(&x)),
            _ => [Vec::new(), Vec::new()],
        };
        Self { relu: given.relu, constants }
    }

    /// Writes `dy` to `g` where it passes and zeros elsewhere. All are equally long runs of numbers: `x` of the
    /// input, the first of which is number `at` of the whole and belongs to `channel`.
    #[inline(always)]
    fn pass(&self, g: &mut [N], dy: &[N], x: &[N], at: usize, channel: usize) {
        let count = g.len();
        let (dy, x) = (&dy[..count], &x[..count]);
        match self.relu {
            Relu::Absent => g.copy_from_slice(dy),
            Relu::OfOutput(y) => {
                for ((g, &dy), &y) in g.iter_mut().zip(dy).zip(&y[at..][..count]) {
                    *g = if y.widen() > N::Sum::ZERO { dy } else { N::ZERO };
                }
            }
            Relu::OfInput => {
                let [scale, shift] = &self.constants;
                let constants = scale[channel..][..count].iter().zip(&shift[channel..][..count]);
                for (((g, &dy), &x), (&scale, &shift)) in g.iter_mut().zip(dy).zip(x).zip(constants) {
                    let y = N::narrow(x.widen() * scale + shift);
                    *g = if y.widen() > N::Sum::ZERO { dy } else { N::ZERO };
                }
            }
        }
    }
}

/// Returns sums of g and of g (x - mean) for each channel. Writes g to `masked` if a residual needs it.
fn sums<N: Number>(
    given: &BackwardArguments<N>,
    gate: &Gate<N>,
    mean: &[N::Sum],
    masked: &mut [N],
) -> (Vec<f64>, Vec<f64>) {
    let &BackwardArguments { x, dy, residual, .. } = given;
    let channels = mean.len();
    let size = chunk_len(channels);
    let rows = dy.par_chunks(size).zip(x.par_chunks(size)).enumerate();
    let partial: Vec<[Vec<N::Sum>; 2]> = if residual {
        let rows = masked.par_chunks_mut(size).zip(rows);
        rows.map(|(g, (index, (dy, x)))| sums_of_rows(gate, (dy, x), index * size, mean, g)).collect()
    } else {
        rows.map(|(index, (dy, x))| sums_of_rows(gate, (dy, x), index * size, mean, &mut [])).collect()
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

/// Like [`sums`], over few rows, in the type of sums; these rows start with number `at` of the whole.
fn sums_of_rows<N: Number>(
    gate: &Gate<N>,
    rows: (&[N], &[N]),
    at: usize,
    mean: &[N::Sum],
    masked: &mut [N],
) -> [Vec<N::Sum>; 2] {
    let channels = mean.len();
    let (mut sum, mut product) = (vec![N::Sum::ZERO; channels], vec![N::Sum::ZERO; channels]);
    vectorised(
        #[inline(always)]
        || {
            let mut out = [&mut sum[..], &mut product];
            let whole = channels / MANY_LANES * MANY_LANES;
            for first in (0..whole).step_by(MANY_LANES) {
                let found = sums_of_lanes::<N, MANY_LANES>(gate, rows, (at, first), mean, masked);
                copy_lanes(&found, first, &mut out);
            }
            if whole == 0 {
                sums_of_narrow(gate, rows, at, mean, masked, &mut out);
                return;
            }
            for first in (whole..channels).step_by(LANES) {
                let found = sums_of_lanes::<N, LANES>(gate, rows, (at, first), mean, masked);
                copy_lanes(&found, first, &mut out);
            }
        },
    );
    [sum, product]
}

/// Like [`sums_of_rows`], of at most `L` channels from `first` on.
#[inline(always)]
fn sums_of_lanes<N: Number, const L: usize>(
    gate: &Gate<N>,
    (dy, x): (&[N], &[N]),
    (at, first): (usize, usize),
    mean: &[N::Sum],
    masked: &mut [N],
) -> [[N::Sum; L]; 2] {
    let [mut sums, mut products, mut means] = [[N::Sum::ZERO; L]; 3];
    let channels = mean.len();
    let count = L.min(channels - first);
    means[..count].copy_from_slice(&mean[first..][..count]);
    for (row, (dy, x)) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)).enumerate() {
        let (dy, x, start) = (&dy[first..], &x[first..], row * channels + first);
        let mut g = [N::ZERO; L];
        match (dy.first_chunk::<L>(), x.first_chunk::<L>()) {
            (Some(dy), Some(x)) => {
                gate.pass(&mut g, dy, x, at + start, first);
                add_products(&mut sums, &mut products, (&g, x), &means);
            }
            _ => {
                gate.pass(&mut g[..count], dy, x, at + start, first);
                add_products(&mut sums, &mut products, (&g[..count], x), &means);
            }
        }
        if !masked.is_empty() {
            masked[start..][..count].copy_from_slice(&g[..count]);
        }
    }
    [sums, products]
}

/// Like [`sums_of_rows`], for rows so narrow that the gate takes several at a time.
#[inline(always)]
fn sums_of_narrow<N: Number>(
    gate: &Gate<N>,
    (dy, x): (&[N], &[N]),
    at: usize,
    mean: &[N::Sum],
    masked: &mut [N],
    out: &mut [&mut [N::Sum]; 2],
) {
    let channels = mean.len();
    let mut buffer = Vec::new();
    let g: &mut [N] = match masked.is_empty() {
        true => {
            // SAFETY: the gate writes every number.
            buffer = unsafe { unwritten(dy.len()) };
            &mut buffer
        }
        false => masked,
    };
    let together = run_len(channels);
    let runs = g.chunks_mut(together).zip(dy.chunks(together)).zip(x.chunks(together));
    for (run, ((g, dy), x)) in runs.enumerate() {
        gate.pass(g, dy, x, at + run * together, 0);
    }
    for first in (0..channels).step_by(LANES) {
        let [mut sums, mut products, mut means] = [[N::Sum::ZERO; LANES]; 3];
        let count = LANES.min(channels - first);
        means[..count].copy_from_slice(&mean[first..][..count]);
        for (g, x) in g.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let (g, x) = (&g[first..], &x[first..]);
            match (g.first_chunk::<LANES>(), x.first_chunk::<LANES>()) {
                (Some(g), Some(x)) => add_products(&mut sums, &mut products, (g, x), &means),
                _ => add_products(&mut sums, &mut products, (g, x), &means),
            }
        }
        copy_lanes(&[sums, products], first, out);
    }
    drop(buffer);
}

#[inline(always)]
fn add_products<N: Number, const L: usize>(
    sums: &mut [N::Sum; L],
    products: &mut [N::Sum; L],
    (g, x): (&[N], &[N]),
    mean: &[N::Sum; L],
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

/// Returns the gradient with respect to `x`; g is what the gate lets pass of `dy`.
fn by_input<N: Number>(x: &[N], dy: &[N], gate: &Gate<N>, slopes: &Slopes<N::Sum>) -> Vec<N> {
    let Slopes { mean, scale, slope, offset } = slopes;
    let size = chunk_len(mean.len());
    let [mean, scale, slope, offset] = [mean, scale, slope, offset].map(|constants| repeated(constants));
    let together = mean.len();
    // SAFETY: rows are whole, and the loop writes every one.
    let mut by_input = unsafe { unwritten(x.len()) };
    let tasks = by_input.par_chunks_mut(size).zip(x.par_chunks(size)).zip(dy.par_chunks(size));
    tasks.enumerate().for_each_init(
        || vec![N::ZERO; together],
        |g, (index, ((dx, x), dy))| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = dx.chunks_mut(together).zip(x.chunks(together)).zip(dy.chunks(together));
                    for (run, ((dx, x), dy)) in rows.enumerate() {
                        let g = match gate.relu {
                            Relu::Absent => dy,
                            _ => {
                                gate.pass(&mut g[..dx.len()], dy, x, index * size + run * together, 0);
                                &g[..dx.len()]
                            }
                        };
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
