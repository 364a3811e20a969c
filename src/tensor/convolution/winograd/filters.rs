//! The transforms of weights (out, in, 3, 3) and of their gradients. Independent of images.

use super::{
    SUMS_OF_PLACE,
    lanes::Lanes,
    place_len,
    scheme::{Scheme, along_both},
};
use crate::tensor::cpu::{
    storage::{Number, Real},
    strips::STRIP,
    turn::{from_strip, into_strip},
    vector::{prefetch, vectorised},
};

/// Number of weights in a filter.
const TAPS: usize = 9;
/// Filters of a channel that are read at once.
const FILTERS: usize = 16;

/// Weights of a convolution or of its adjoint, the convolution from outputs back to inputs with mirrored filters.
#[derive(Clone, Copy)]
pub struct Filters<'a, T> {
    weights: &'a [T],
    /// Number of channels that are summed over.
    pub steps: usize,
    /// Number of channels of the result.
    pub channels: usize,
    adjoint: bool,
}

impl<'a, T: Real> Filters<'a, T> {
    /// Uses `weights` (outputs, inputs, 3, 3) as they are.
    pub fn new(weights: &'a [T], outputs: usize, inputs: usize) -> Self {
        Self { weights, steps: inputs, channels: outputs, adjoint: false }
    }

    /// Uses `weights` (outputs, inputs, 3, 3) for the gradient with respect to the input.
    pub fn adjoint(weights: &'a [T], outputs: usize, inputs: usize) -> Self {
        Self { weights, steps: outputs, channels: inputs, adjoint: true }
    }

    /// Writes G g G^T for strip `strip` of the output channels: one strip (steps x 16) for each place. The filters
    /// g are first rounded to `N`.
    pub fn pack<S: Scheme, N: Number<Sum = T>>(&self, strip: usize, packed: &mut [T]) {
        let Self { weights, steps, channels, adjoint } = *self;
        let (lane, step) = if adjoint { (TAPS, channels * TAPS) } else { (steps * TAPS, TAPS) };
        let count = STRIP.min(channels - strip * STRIP);
        let weights = &weights[strip * STRIP * lane..];
        let (packed, _) = packed.as_chunks_mut::<STRIP>();
        let apart = place_len(steps) / STRIP;
        // A few filters of each channel are turned at a time, so that lanes are channels.
        let mut turned = [[T::zero(); STRIP]; FILTERS * TAPS];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..steps).step_by(FILTERS) {
                    let end = steps.min(start + FILTERS);
                    // The filters of neighbouring steps are adjacent, or those of neighbouring channels.
                    let (together, runs) = if adjoint { (1, end - start) } else { (end - start, 1) };
                    for run in 0..runs {
                        let source = &weights[(start + run) * step..];
                        into_strip(source, count, lane, &mut turned[run * TAPS..][..together * TAPS]);
                    }
                    for index in start..end {
                        // One of the sixteen runs of numbers that come next.
                        let run = index - start;
                        let ahead = if adjoint { (end + run) * step } else { run * lane + end * step };
                        prefetch(weights.as_ptr().wrapping_add(ahead), FILTERS * TAPS);
                        let turned = &turned[(index - start) * TAPS..][..TAPS];
                        along_both(
                            3,
                            S::IN,
                            #[inline(always)]
                            |row, column| {
                                let tap = 3 * row + column;
                                let tap = if adjoint { TAPS - 1 - tap } else { tap };
                                Lanes::load(&turned[tap]).rounded::<N>()
                            },
                            #[inline(always)]
                            |axis| S::weights(axis),
                            #[inline(always)]
                            |row, column, lanes| {
                                packed[(row * S::IN + column) * apart + index] = lanes.into_array();
                            },
                        );
                    }
                }
            },
        );
    }
}

/// Writes G^T v G to the gradients of up to two strips of outputs, for the sixteen inputs beginning with `first`, or
/// adds it to them.
///
/// `gradients` (outputs, inputs, 3, 3) holds these outputs with all their inputs; `values` v are (place, 16 inputs,
/// 32 outputs), with a gap after each place.
pub fn write_gradient<S: Scheme, T: Real>(
    values: &[T],
    first: usize,
    inputs: usize,
    gradients: &mut [T],
    add: bool,
) {
    vectorised(
        #[inline(always)]
        || {
            let mut sums = [[T::zero(); STRIP]; STRIP * TAPS];
            let mut turned = [T::zero(); STRIP * STRIP * TAPS];
            let rows = STRIP.min(inputs - first);
            for (strip, gradients) in gradients.chunks_mut(STRIP * inputs * TAPS).enumerate() {
                for row in 0..rows {
                    along_both(
                        S::IN,
                        3,
                        #[inline(always)]
                        |down, across| {
                            let place = down * S::IN + across;
                            Lanes::load(&values[place * SUMS_OF_PLACE + (row * 2 + strip) * STRIP..])
                        },
                        #[inline(always)]
                        |axis| S::weights_gradient(axis),
                        #[inline(always)]
                        |down, across, lanes| sums[row * TAPS + 3 * down + across] = lanes.into_array(),
                    );
                }
                let taps = rows * TAPS;
                let outputs = gradients.len() / (inputs * TAPS);
                from_strip(&sums[..taps], outputs, taps, &mut turned);
                for (gradients, sums) in gradients.chunks_mut(inputs * TAPS).zip(turned.chunks_exact(taps)) {
                    let gradients = &mut gradients[first * TAPS..][..taps];
                    // The sum with 0 has no negative zeros, however many blocks there are.
                    for (gradient, &sum) in gradients.iter_mut().zip(sums) {
                        let before = if add { *gradient } else { T::zero() };
                        *gradient = before + sum;
                    }
                }
            }
        },
    );
}
