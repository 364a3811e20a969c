//! Maximum over windows, and mean over a whole map. Knows nothing of networks.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use super::{
    chain::apply1,
    precision::{emulate, is_emulated, widen},
    storage::{Real, constant, unsupported, unwritten, values, with_values},
    vector::vectorised,
};

/// Square windows of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub kernel: usize,
    pub stride: usize,
    /// Pixels around the image, which never are the maximum; at most half the kernel.
    pub padding: usize,
}

/// Maximum over windows of images (batch, height, width, channels), for each channel.
///
/// The gradient goes to the first maximum in reading order, as in PyTorch.
///
/// # Errors
/// If the windows do not fit the images.
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        let (height, width) = (images.dim(1)?, images.dim(2)?);
        return super::cuda::layers::max_pool(images, pool, pool.output(height, width)?);
    }
    if is_emulated(images) {
        return emulate(images, |images| max_pool(images, pool));
    }
    apply1(&images.contiguous()?, MaxPool { pool, winners: OnceLock::new() })
}

/// [`max_pool`] as the maximum of strided slices; ties share the gradient.
pub fn max_pool_plain(images: &Tensor, pool: Pool) -> Result<Tensor> {
    let Pool { kernel, stride, padding } = pool;
    let (_, height, width, _) = images.dims4()?;
    let (down, across) = pool.output(height, width)?;
    let border = |images: Tensor, dim: usize| -> Result<Tensor> {
        if padding == 0 {
            return Ok(images);
        }
        let mut shape = images.dims().to_vec();
        shape[dim] = padding;
        let border = Tensor::full(f64::NEG_INFINITY, shape, images.device())?.to_dtype(images.dtype())?;
        Tensor::cat(&[&border, &images, &border], dim)
    };
    let padded = border(border(images.clone(), 1)?, 2)?;
    let places = |offset: usize, count: usize| -> Result<Tensor> {
        let places: Vec<u32> = (0..count).map(|place| (place * stride + offset) as u32).collect();
        Tensor::new(places, images.device())
    };
    let mut best: Option<Tensor> = None;
    for row in 0..kernel {
        for column in 0..kernel {
            let rows = padded.index_select(&places(row, down)?, 1)?;
            let slice = rows.index_select(&places(column, across)?, 2)?;
            best = Some(match best {
                Some(best) => best.maximum(&slice)?,
                None => slice,
            });
        }
    }
    best.ok_or_else(|| candle_core::Error::Msg("max pool: the kernel is empty".to_owned()))
}

/// Mean over height and width: (batch, height, width, channels) to (batch, channels).
pub fn global_mean(images: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    let means = widen(images)?.reshape((batch, height * width, channels))?.mean(D::Minus2)?;
    means.to_dtype(images.dtype())
}

impl Pool {
    fn output(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let Self { kernel, stride, padding } = *self;
        if stride == 0 || kernel == 0 || kernel > 15 || 2 * padding > kernel {
            bail!("max pool: {self:?} needs kernel 1..=15, stride above 0, padding up to half the kernel")
        }
        if height + 2 * padding < kernel || width + 2 * padding < kernel {
            bail!("max pool: {self:?} does not fit a {height} x {width} map")
        }
        Ok(((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1))
    }
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use rstest::rstest;

    use super::*;
    use crate::tensor::check::{
        assert_differences, assert_thread_independent, assert_twins, differentiate, normal,
    };

    #[rstest]
    #[case::stem([3, 8, 8, 5], Pool { kernel: 3, stride: 2, padding: 1 })]
    #[case::odd([1, 7, 5, 9], Pool { kernel: 3, stride: 2, padding: 1 })]
    #[case::disjoint([2, 6, 4, 3], Pool { kernel: 2, stride: 2, padding: 0 })]
    #[case::dense([2, 5, 6, 2], Pool { kernel: 3, stride: 1, padding: 1 })]
    fn max_pool_equals_its_twin_and_its_differences(
        #[case] shape: [usize; 4],
        #[case] pool: Pool,
    ) -> Result<()> {
        let arguments = [normal("images", &shape, DType::F64)?];
        let function = |x: &[Tensor]| max_pool(&x[0], pool);
        assert_twins(&function, &|x| max_pool_plain(&x[0], pool), &arguments, 1e-12)?;
        assert_differences(&function, &arguments)
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() -> Result<()> {
        // PyTorch scans a window row by row and replaces only by something greater.
        let images = Var::zeros((1, 3, 3, 1), DType::F32, &Device::Cpu)?;
        let pooled = max_pool(&images, Pool { kernel: 3, stride: 1, padding: 0 })?;
        let gradient = pooled.sum_all()?.backward()?.remove(&images).expect("a gradient");
        assert_eq!(gradient.flatten_all()?.to_vec1::<f32>()?, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let arguments = [normal("images", &[5, 9, 9, 7], DType::F32)?];
            let pool = Pool { kernel: 3, stride: 2, padding: 1 };
            let (value, mut gradients) = differentiate(&|x| max_pool(&x[0], pool), &arguments)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    #[test]
    fn global_mean_averages_each_channel() -> Result<()> {
        let images = Tensor::arange(0_f32, 12.0, &Device::Cpu)?.reshape((1, 2, 3, 2))?;
        assert_eq!(global_mean(&images)?.to_vec2::<f32>()?, [[5.0, 6.0]]);
        Ok(())
    }
}
