//! Maximum over windows on the CPU, parallelised over output lines in the forward pass and images in the backward
//! pass.

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use super::window::Pool;
use crate::tensor::{
    cpu::{
        storage::{Number, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::max_pool`].
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    apply(&[&images.contiguous()?], MaxPool { pool, winners: OnceLock::new() })
}

/// Sizes of images and of the output.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    down: usize,
    across: usize,
}

impl Sizes {
    fn new(pool: Pool, images: &Shape) -> Result<Self> {
        let (batch, height, width, channels) = images.dims4()?;
        let (down, across) = pool.output(height, width)?;
        Ok(Self { batch, height, width, channels, down, across })
    }
}

struct MaxPool {
    pool: Pool,
    /// For every output number, the index of its maximum within the window, in reading order.
    winners: OnceLock<Vec<u8>>,
}

impl MaxPool {
    fn forward<T: Number>(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(self.pool, layout.shape())?;
        let Sizes { batch, height, width, channels, down, across } = sizes;
        let images = values::<T>(storage, layout)?;
        let (image, line) = (height * width * channels, across * channels);
        // SAFETY: a window's first pixel is written, and every window has one: the padding is less than the kernel.
        let mut out = unsafe { unwritten(batch * down * line) };
        let mut winners = vec![0_u8; out.len()];
        let lines = out.par_chunks_mut(line).zip(winners.par_chunks_mut(line));
        lines.enumerate().for_each(|(index, (out, winners))| {
            let image = &images[index / down * image..][..image];
            vectorised(
                #[inline(always)]
                || self.line(sizes, image, index % down, out, winners),
            );
        });
        // An operation is applied once; a second forward pass would find the same winners.
        let _ = self.winners.set(winners);
        Ok((T::to_cpu_storage_owned(out), (batch, down, across, channels).into()))
    }

    /// Computes the maxima of the windows of line `down` of an image, and the index of each maximum within its
    /// window.
    #[inline(always)]
    fn line<T: Number>(&self, sizes: Sizes, image: &[T], down: usize, out: &mut [T], winners: &mut [u8]) {
        let Pool { kernel, stride, padding } = self.pool;
        let Sizes { height, width, channels, .. } = sizes;
        let pixels = out.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
        for (column, (best, winners)) in pixels.enumerate() {
            let mut first = true;
            // Counted in two loops: divisions would take longer than the comparisons.
            for window_row in 0..kernel {
                let Some(row) = (down * stride + window_row).checked_sub(padding) else { continue };
                if row >= height {
                    continue;
                }
                for window_column in 0..kernel {
                    let place = (window_row * kernel + window_column) as u8;
                    let Some(column) = (column * stride + window_column).checked_sub(padding) else {
                        continue;
                    };
                    if column >= width {
                        continue;
                    }
                    let pixel = &image[(row * width + column) * channels..][..channels];
                    if first {
                        best.copy_from_slice(pixel);
                        winners.fill(place);
                        first = false;
                        continue;
                    }
                    keep_larger(best, winners, pixel, place);
                }
            }
        }
    }

    fn gradient<T: Number>(&self, images: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let sizes = Sizes::new(self.pool, images.shape())?;
        let Sizes { batch, height, width, channels, down, across } = sizes;
        let Some(winners) = self.winners.get() else { bail!("max pool: backward before forward") };
        let (image, pooled) = (height * width * channels, down * across * channels);
        // SAFETY: `image` writes every pixel.
        let mut by_images: Vec<T> = unsafe { unwritten(batch * image) };
        with_values::<T, _, _>([gradient], |[gradient]| {
            let given = gradient.par_chunks(pooled).zip(winners.par_chunks(pooled));
            by_images.par_chunks_mut(image).zip(given).for_each(|(by_image, (gradient, winners))| {
                vectorised(
                    #[inline(always)]
                    || self.image(sizes, gradient, winners, by_image),
                );
            });
            Ok(())
        })?;
        Ok(constant(by_images, images.shape()))
    }

    /// Writes the gradient with respect to an image: each pixel gets the sum over the windows in which it is the
    /// maximum.
    #[inline(always)]
    fn image<T: Number>(&self, sizes: Sizes, gradient: &[T], winners: &[u8], by_image: &mut [T]) {
        let Pool { kernel, stride, padding } = self.pool;
        let Sizes { width, channels, down, across, .. } = sizes;
        // Windows that cover a place along an axis with `count` windows.
        let over = |place: usize, count: usize| {
            (place + 1).saturating_sub(kernel).div_ceil(stride)..(place / stride + 1).min(count)
        };
        // The same for every row: divisions would take longer than the sums.
        let columns: Vec<_> =
            (padding..padding + width).map(|column| (column, over(column, across))).collect();
        for (row, by_line) in (padding..).zip(by_image.chunks_exact_mut(width * channels)) {
            let window_rows = over(row, down);
            for ((column, window_columns), by_pixel) in columns.iter().zip(by_line.chunks_exact_mut(channels))
            {
                for (group, by) in by_pixel.chunks_mut(LANES).enumerate() {
                    let mut sums = [T::Sum::ZERO; LANES];
                    for window_row in window_rows.clone() {
                        for window_column in window_columns.clone() {
                            let place =
                                (row - window_row * stride) * kernel + column - window_column * stride;
                            let start = (window_row * across + window_column) * channels + group * LANES;
                            let (gradient, winners) = (&gradient[start..], &winners[start..]);
                            match (gradient.first_chunk::<LANES>(), winners.first_chunk::<LANES>()) {
                                (Some(gradient), Some(winners)) => {
                                    add_won(&mut sums, gradient, winners, place as u8);
                                }
                                _ => add_won(&mut sums, gradient, winners, place as u8),
                            }
                        }
                    }
                    by.iter_mut().zip(sums).for_each(|(by, sum)| *by = T::narrow(sum));
                }
            }
        }
    }
}

/// Replaces the maxima so far that are smaller than a pixel's numbers, which lies at `place` of the window.
#[inline(always)]
fn keep_larger<T: Number>(best: &mut [T], winners: &mut [u8], pixel: &[T], place: u8) {
    for ((best, winner), &x) in best.iter_mut().zip(winners).zip(pixel) {
        #[expect(clippy::eq_op, reason = "not-a-number wins: it is seen, not lost")]
        let wins = x.widen() > best.widen() || x != x;
        *best = if wins { x } else { *best };
        *winner = if wins { place } else { *winner };
    }
}

/// Number of channels that are summed together.
const LANES: usize = 16;

/// Adds a window's gradient in those channels whose maximum is at `place`.
#[inline(always)]
fn add_won<T: Number>(sums: &mut [T::Sum; LANES], gradient: &[T], winners: &[u8], place: u8) {
    for ((sum, &gradient), &winner) in sums.iter_mut().zip(gradient).zip(winners) {
        *sum += if winner == place { gradient.widen() } else { T::Sum::ZERO };
    }
}

impl Operation for MaxPool {
    const NAME: &'static str = "max pool";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        match storage {
            CpuStorage::BF16(_) => self.forward::<bf16>(storage, layout),
            CpuStorage::F32(_) => self.forward::<f32>(storage, layout),
            CpuStorage::F64(_) => self.forward::<f64>(storage, layout),
            _ => unsupported(Self::NAME, storage.dtype()),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let by = match gradient.dtype() {
            DType::BF16 => self.gradient::<bf16>(arguments[0], gradient)?,
            DType::F32 => self.gradient::<f32>(arguments[0], gradient)?,
            DType::F64 => self.gradient::<f64>(arguments[0], gradient)?,
            other => return unsupported(Self::NAME, other),
        };
        Ok(vec![Some(by)])
    }
}
