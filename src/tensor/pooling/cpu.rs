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
    apply(&[&images.contiguous()?], MaxPool { pool, found: OnceLock::new() })
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
    /// What the forward pass leaves for the backward pass.
    found: OnceLock<Found>,
}

struct Found {
    sizes: Sizes,
    /// For every output number, the index of its maximum within the window, in reading order.
    winners: Vec<u8>,
}

/// Largest number of channels that are handled together. Loops over them are written for any number: if the compiler
/// knows it, it takes the channels one by one.
const GROUP: usize = 64;

/// A pixel that a window covers, or a window that covers a pixel: where its channels start, and its place in the
/// window, in reading order.
#[derive(Clone, Copy, Default)]
struct Cover {
    start: usize,
    place: u32,
}

/// Largest number of pixels in a window.
const MOST: usize = 15 * 15;

impl MaxPool {
    fn forward<T: Number>(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(self.pool, layout.shape())?;
        let Sizes { batch, height, width, channels, down, across } = sizes;
        let images = values::<T>(storage, layout)?;
        let (image, line) = (height * width * channels, across * channels);
        // SAFETY: `line` writes every number.
        let (mut out, mut winners) =
            unsafe { (unwritten(batch * down * line), unwritten::<u8>(batch * down * line)) };
        let lines = out.par_chunks_mut(line).zip(winners.par_chunks_mut(line));
        lines.enumerate().for_each(|(index, (out, winners))| {
            let image = &images[index / down * image..][..image];
            vectorised(
                #[inline(always)]
                || self.line(sizes, image, index % down, out, winners),
            );
        });
        // An operation is applied once; a second forward pass would find the same.
        let _ = self.found.set(Found { sizes, winners });
        Ok((T::to_cpu_storage_owned(out), (batch, down, across, channels).into()))
    }

    /// Computes the maxima of the windows of line `down` of an image, and the index of each maximum within its
    /// window.
    #[inline(always)]
    fn line<T: Number>(&self, sizes: Sizes, image: &[T], down: usize, out: &mut [T], winners: &mut [u8]) {
        let Pool { kernel, stride, padding } = self.pool;
        let Sizes { height, width, channels, .. } = sizes;
        // Which of the kernel's places lie inside an axis of `length` pixels, for the window at `place`.
        let inside = |place: usize, length: usize| {
            padding.saturating_sub(place * stride)..(length + padding - place * stride).min(kernel)
        };
        let rows = inside(down, height);
        let mut covers = [Cover::default(); MOST];
        let pixels = out.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
        for (column, (best, winners)) in pixels.enumerate() {
            let mut count = 0;
            for window_row in rows.clone() {
                for window_column in inside(column, width) {
                    let row = down * stride + window_row - padding;
                    let pixel = row * width + column * stride + window_column - padding;
                    let place = (window_row * kernel + window_column) as u32;
                    covers[count] = Cover { start: pixel * channels, place };
                    count += 1;
                }
            }
            let groups = best.chunks_mut(GROUP).zip(winners.chunks_mut(GROUP));
            for (group, (best, winners)) in groups.enumerate() {
                largest(image, &covers[..count], group * GROUP, best, winners);
            }
        }
    }

    fn gradient<T: Number>(&self, gradient: &Tensor) -> Result<Tensor> {
        let Some(Found { sizes, winners }) = self.found.get() else {
            bail!("max pool: backward before forward")
        };
        let Sizes { batch, height, width, channels, down, across } = *sizes;
        let (image, pooled) = (height * width * channels, down * across * channels);
        // SAFETY: `image` writes every pixel.
        let mut by_images: Vec<T> = unsafe { unwritten(batch * image) };
        with_values::<T, _, _>([gradient], |[gradient]| {
            let given = gradient.par_chunks(pooled).zip(winners.par_chunks(pooled));
            by_images.par_chunks_mut(image).zip(given).for_each(|(by_image, (gradient, winners))| {
                vectorised(
                    #[inline(always)]
                    || self.image(*sizes, gradient, winners, by_image),
                );
            });
            Ok(())
        })?;
        Ok(constant(by_images, (batch, height, width, channels)))
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
        let mut covers = [Cover::default(); MOST];
        for (row, by_line) in (padding..).zip(by_image.chunks_exact_mut(width * channels)) {
            let window_rows = over(row, down);
            for ((column, window_columns), by_pixel) in columns.iter().zip(by_line.chunks_exact_mut(channels))
            {
                let mut count = 0;
                for window_row in window_rows.clone() {
                    for window_column in window_columns.clone() {
                        let place = (row - window_row * stride) * kernel + column - window_column * stride;
                        let start = (window_row * across + window_column) * channels;
                        covers[count] = Cover { start, place: place as u32 };
                        count += 1;
                    }
                }
                for (group, by) in by_pixel.chunks_mut(GROUP).enumerate() {
                    sum_won(gradient, winners, &covers[..count], group * GROUP, by);
                }
            }
        }
    }
}

/// Finds the largest of the covered pixels' numbers, for as many channels from `first` on as `best` has.
#[inline(always)]
fn largest<T: Number>(image: &[T], covers: &[Cover], first: usize, best: &mut [T], winners: &mut [u8]) {
    let count = best.len();
    let mut largest = [T::Sum::ZERO; GROUP];
    // As wide as the numbers, so that both are chosen by the same vector instructions.
    let mut places = [0_u32; GROUP];
    let (largest, places) = (&mut largest[..count], &mut places[..count]);
    for (index, cover) in covers.iter().enumerate() {
        let pixel = &image[cover.start + first..][..count];
        if index == 0 {
            largest.iter_mut().zip(pixel).for_each(|(largest, &x)| *largest = x.widen());
            places.fill(cover.place);
            continue;
        }
        for ((largest, place), &x) in largest.iter_mut().zip(&mut *places).zip(pixel) {
            let x = x.widen();
            #[expect(clippy::eq_op, reason = "not-a-number wins: it is seen, not lost")]
            let wins = (x > *largest) | (x != x);
            *largest = if wins { x } else { *largest };
            // As arithmetic: for a choice, the compiler takes the channels one by one.
            let mask = u32::from(wins).wrapping_neg();
            *place = cover.place & mask | *place & !mask;
        }
    }
    best.iter_mut().zip(&*largest).for_each(|(best, &x)| *best = T::narrow(x));
    winners.iter_mut().zip(&*places).for_each(|(winner, &place)| *winner = place as u8);
}

/// Sums the gradients of those windows whose maximum is the pixel that they cover, for as many channels from `first`
/// on as `by` has.
#[inline(always)]
fn sum_won<T: Number>(gradient: &[T], winners: &[u8], covers: &[Cover], first: usize, by: &mut [T]) {
    let count = by.len();
    let mut sums = [T::Sum::ZERO; GROUP];
    let sums = &mut sums[..count];
    for &Cover { start, place } in covers {
        let (gradient, winners) = (&gradient[start + first..][..count], &winners[start + first..][..count]);
        for ((sum, &gradient), &winner) in sums.iter_mut().zip(gradient).zip(winners) {
            *sum += if u32::from(winner) == place { gradient.widen() } else { T::Sum::ZERO };
        }
    }
    by.iter_mut().zip(sums).for_each(|(by, sum)| *by = T::narrow(*sum));
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

    fn reads(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let by = match gradient.dtype() {
            DType::BF16 => self.gradient::<bf16>(gradient)?,
            DType::F32 => self.gradient::<f32>(gradient)?,
            DType::F64 => self.gradient::<f64>(gradient)?,
            other => return unsupported(Self::NAME, other),
        };
        Ok(vec![Some(by)])
    }
}
