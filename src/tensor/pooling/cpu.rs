//! Maximum over windows on the CPU: tasks share lines forward, images backward.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use super::window::Pool;
use crate::tensor::{
    cpu::{
        storage::{Real, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::chain::apply1,
};

/// As [`crate::tensor::max_pool`].
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    apply1(&images.contiguous()?, MaxPool { pool, winners: OnceLock::new() })
}

struct MaxPool {
    pool: Pool,
    /// For every output number, the place of its maximum in the window, in reading order.
    winners: OnceLock<Vec<u8>>,
}

impl MaxPool {
    fn forward<T: Real>(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, height, width, channels) = layout.shape().dims4()?;
        let images = values::<T>(storage, layout)?;
        let Pool { kernel, stride, padding } = self.pool;
        let (down, across) = self.pool.output(height, width)?;
        let line = across * channels;
        let mut out = unwritten(batch * down * line);
        let mut winners = vec![0_u8; out.len()];
        out.par_chunks_mut(line).zip(winners.par_chunks_mut(line)).enumerate().for_each(
            |(index, (out, winners))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let image =
                            &images[index / down * height * width * channels..][..height * width * channels];
                        let pixels = out.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
                        for (column, (best, winners)) in pixels.enumerate() {
                            let mut first = true;
                            for place in 0..kernel * kernel {
                                let row = (index % down * stride + place / kernel).checked_sub(padding);
                                let column = (column * stride + place % kernel).checked_sub(padding);
                                let (Some(row), Some(column)) = (row, column) else { continue };
                                if row >= height || column >= width {
                                    continue;
                                }
                                let pixel = &image[(row * width + column) * channels..][..channels];
                                if first {
                                    best.copy_from_slice(pixel);
                                    winners.fill(place as u8);
                                    first = false;
                                    continue;
                                }
                                for ((best, winner), &x) in best.iter_mut().zip(winners.iter_mut()).zip(pixel)
                                {
                                    #[expect(
                                        clippy::eq_op,
                                        reason = "not-a-number wins: it is seen, not lost"
                                    )]
                                    let wins = x > *best || x != x;
                                    *best = if wins { x } else { *best };
                                    *winner = if wins { place as u8 } else { *winner };
                                }
                            }
                        }
                    },
                );
            },
        );
        // The operation is made for one application; a second forward pass would find the same winners.
        let _ = self.winners.set(winners);
        Ok((T::to_cpu_storage_owned(out), (batch, down, across, channels).into()))
    }

    fn backward<T: Real>(&self, images: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = images.dims4()?;
        let Pool { kernel, stride, padding } = self.pool;
        let (down, across) = self.pool.output(height, width)?;
        let Some(winners) = self.winners.get() else { bail!("max pool: backward before forward") };
        let mut by_images = vec![T::zero(); batch * height * width * channels];
        with_values::<T, _>(gradient, |gradient| {
            by_images
                .par_chunks_mut(height * width * channels)
                .zip(gradient.par_chunks(down * across * channels))
                .zip(winners.par_chunks(down * across * channels))
                .for_each(|((by_image, gradient), winners)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            let pixels = gradient.chunks_exact(channels).zip(winners.chunks_exact(channels));
                            for (pixel, (gradient, winners)) in pixels.enumerate() {
                                for place in 0..kernel * kernel {
                                    // Negative numbers wrap around to large ones.
                                    let row =
                                        (pixel / across * stride + place / kernel).wrapping_sub(padding);
                                    let column =
                                        (pixel % across * stride + place % kernel).wrapping_sub(padding);
                                    if row >= height || column >= width {
                                        continue;
                                    }
                                    let sums = &mut by_image[(row * width + column) * channels..][..channels];
                                    for ((sum, &gradient), &winner) in
                                        sums.iter_mut().zip(gradient).zip(winners)
                                    {
                                        let won = winner == place as u8;
                                        *sum += if won { gradient } else { T::zero() };
                                    }
                                }
                            }
                        },
                    );
                });
            Ok(())
        })?;
        Ok(constant(by_images, images.shape()))
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match storage {
            CpuStorage::F32(_) => self.forward::<f32>(storage, layout),
            CpuStorage::F64(_) => self.forward::<f64>(storage, layout),
            _ => unsupported(self.name(), storage.dtype()),
        }
    }

    fn bwd(&self, images: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        match images.dtype() {
            DType::F32 => self.backward::<f32>(images, gradient).map(Some),
            DType::F64 => self.backward::<f64>(images, gradient).map(Some),
            other => unsupported(self.name(), other),
        }
    }
}
