//! Memory orders of convolution weights. Variables have torchvision's order (out, in, kernel height, kernel width);
//! products need input channels innermost, as in pixels.

use rayon::prelude::*;

use crate::tensor::cpu::{
    storage::{Real, unwritten},
    strips::STRIP,
    turn::{from_strip, into_strip},
};

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
            let (mut runs, outputs) = (runs, weights.len() / (inputs * taps));
            let mut turned = vec![[T::zero(); STRIP]; taps];
            for (output, weights) in weights.chunks_exact(inputs * taps).enumerate() {
                for first in (0..inputs).step_by(STRIP) {
                    let count = STRIP.min(inputs - first);
                    into_strip(&weights[first * taps..], count, taps, &mut turned);
                    for (tap, lanes) in turned.iter().enumerate() {
                        let run = match order {
                            Order::OutputFirst => output * taps + tap,
                            Order::MirroredTapFirst => (taps - 1 - tap) * outputs + output,
                        };
                        runs[run][first..][..count].copy_from_slice(&lanes[..count]);
                    }
                }
            }
        });
        packed
    }

    /// Returns the sum of `parts`, each in `order`, in torchvision's order.
    pub fn unpack_sum<T: Real>(&self, parts: &[T], order: Order) -> Vec<T> {
        let Self { inputs, taps, .. } = *self;
        // SAFETY: every task writes the weights of its output.
        let mut weights = unsafe { unwritten(self.count()) };
        weights.par_chunks_mut(inputs * taps).enumerate().for_each(|(output, weights)| {
            let mut turned = vec![[T::zero(); STRIP]; taps];
            for first in (0..inputs).step_by(STRIP) {
                let count = STRIP.min(inputs - first);
                for (tap, lanes) in turned.iter_mut().enumerate() {
                    let run = match order {
                        Order::OutputFirst => output * taps + tap,
                        Order::MirroredTapFirst => (taps - 1 - tap) * self.outputs + output,
                    };
                    lanes.fill(T::zero());
                    for part in parts.chunks_exact(self.count()) {
                        let numbers = &part[run * inputs + first..][..count];
                        lanes.iter_mut().zip(numbers).for_each(|(sum, &x)| *sum += x);
                    }
                }
                from_strip(&turned, count, taps, &mut weights[first * taps..]);
            }
        });
        weights
    }
}
