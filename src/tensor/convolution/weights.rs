//! Memory orders of convolution weights. Variables have torchvision's order (out, in, kernel height, kernel width);
//! products need input channels innermost, as in pixels.

use rayon::prelude::*;

use crate::tensor::cpu::storage::{Real, unwritten};

/// Orders that products need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// (out, tap, in): a row for each output channel, matching a window of the input.
    OutputFirst,
    /// (mirrored tap, out, in): a row for each number in a window of the output's gradient. Mirroring turns the
    /// gradient with respect to the input of a stride-1 convolution into a convolution.
    MirroredTapFirst,
}

/// Lengths of the weights' axes, both kernel axes in one (`taps`).
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    pub outputs: usize,
    pub inputs: usize,
    pub taps: usize,
}

/// Output channels that one task reorders.
const OUTPUTS: usize = 16;

impl Axes {
    pub fn count(&self) -> usize {
        self.outputs * self.inputs * self.taps
    }

    /// Copies weights in torchvision's order into `order`.
    pub fn pack<T: Real>(&self, weights: &[T], order: Order) -> Vec<T> {
        // SAFETY: every run is written by the task that owns it.
        let mut packed = unsafe { unwritten(self.count()) };
        let Self { inputs, taps, .. } = *self;
        // A task gets one run of input channels for each tap of each of its output channels.
        let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
        tasks.resize_with(self.outputs.div_ceil(OUTPUTS), Vec::new);
        for (index, run) in packed.chunks_exact_mut(inputs).enumerate() {
            let output = match order {
                Order::OutputFirst => index / taps,
                Order::MirroredTapFirst => index % self.outputs,
            };
            tasks[output / OUTPUTS].push(run);
        }
        tasks.into_par_iter().zip(weights.par_chunks(OUTPUTS * inputs * taps)).for_each(|(runs, weights)| {
            let outputs = runs.len() / taps;
            for (index, run) in runs.into_iter().enumerate() {
                let (output, tap) = match order {
                    Order::OutputFirst => (index / taps, index % taps),
                    Order::MirroredTapFirst => (index % outputs, taps - 1 - index / outputs),
                };
                let source = weights[output * inputs * taps..].chunks_exact(taps);
                run.iter_mut().zip(source).for_each(|(packed, weights)| *packed = weights[tap]);
            }
        });
        packed
    }

    /// Returns the sum of `parts`, each in `order`, in torchvision's order.
    pub fn unpack_sum<T: Real>(&self, parts: &[T], order: Order) -> Vec<T> {
        let mut weights = vec![T::zero(); self.count()];
        let Self { inputs, taps, .. } = *self;
        weights.par_chunks_mut(inputs * taps).enumerate().for_each(|(output, weights)| {
            for part in parts.chunks_exact(self.count()) {
                for tap in 0..taps {
                    let run = match order {
                        Order::OutputFirst => output * taps + tap,
                        Order::MirroredTapFirst => (taps - 1 - tap) * self.outputs + output,
                    };
                    let target = weights.chunks_exact_mut(taps);
                    target.zip(&part[run * inputs..][..inputs]).for_each(|(sums, &x)| sums[tap] += x);
                }
            }
        });
        weights
    }
}
