//! The transforms of weights (out, in, 3, 3) and of their gradients. Knows nothing of images.

use super::{
    lanes::Lanes,
    scheme::{Scheme, along_both},
};
use crate::tensor::{storage::Real, strips::STRIP, vector::vectorised};

/// Numbers of a filter.
const TAPS: usize = 9;

/// Weights as a convolution reads them: its own, or those of its adjoint, a convolution from outputs back to
/// inputs with mirrored filters.
#[derive(Clone, Copy)]
pub struct Filters<'a, T> {
    weights: &'a [T],
    /// Channels that are summed over, and channels that come out.
    pub steps: usize,
    pub channels: usize,
    adjoint: bool,
}

impl<'a, T: Real> Filters<'a, T> {
    /// `weights` are (outputs, inputs, 3, 3).
    pub fn new(weights: &'a [T], outputs: usize, inputs: usize) -> Self {
        Self { weights, steps: inputs, channels: outputs, adjoint: false }
    }

    /// Those that turn the output's gradient into the input's.
    pub fn adjoint(weights: &'a [T], outputs: usize, inputs: usize) -> Self {
        Self { weights, steps: outputs, channels: inputs, adjoint: true }
    }

    /// G g G^T of the filters of strip `strip` of the channels that come out: a strip (steps x 16) for each place.
    pub fn pack<S: Scheme>(&self, strip: usize, packed: &mut [T]) {
        let Self { weights, steps, channels, adjoint } = *self;
        let (lane, step) = if adjoint { (TAPS, channels * TAPS) } else { (steps * TAPS, TAPS) };
        let count = STRIP.min(channels - strip * STRIP);
        let weights = &weights[strip * STRIP * lane..];
        vectorised(
            #[inline(always)]
            || {
                for index in 0..steps {
                    along_both(
                        3,
                        S::IN,
                        #[inline(always)]
                        |row, column| {
                            let tap = 3 * row + column;
                            let source = index * step + if adjoint { TAPS - 1 - tap } else { tap };
                            Lanes::load_strided(&weights[source..], lane, count)
                        },
                        #[inline(always)]
                        |axis| S::weights(axis),
                        #[inline(always)]
                        |row, column, lanes| {
                            lanes.store(&mut packed[((row * S::IN + column) * steps + index) * STRIP..]);
                        },
                    );
                }
            },
        );
    }
}

/// Adds G^T v G to the gradients (outputs, inputs, 3, 3) of up to two strips of outputs, given whole, and of the
/// sixteen inputs from `first` on; `values` are (place, 16 inputs, 32 outputs).
pub fn collect<S: Scheme, T: Real>(values: &[T], first: usize, inputs: usize, gradients: &mut [T]) {
    vectorised(
        #[inline(always)]
        || {
            for (strip, gradients) in gradients.chunks_mut(STRIP * inputs * TAPS).enumerate() {
                for row in 0..STRIP.min(inputs - first) {
                    along_both(
                        S::IN,
                        3,
                        #[inline(always)]
                        |down, across| {
                            let place = down * S::IN + across;
                            Lanes::load(&values[((place * STRIP + row) * 2 + strip) * STRIP..])
                        },
                        #[inline(always)]
                        |axis| S::weights_gradient(axis),
                        #[inline(always)]
                        |down, across, lanes| {
                            let place = (first + row) * TAPS + 3 * down + across;
                            for (lane, sum) in
                                gradients[place..].iter_mut().step_by(inputs * TAPS).enumerate()
                            {
                                *sum += lanes.get(lane);
                            }
                        },
                    );
                }
            }
        },
    );
}
