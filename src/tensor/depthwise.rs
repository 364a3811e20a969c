//! Convolution of each channel separately, and ReLU6, as used by mobile networks. Forward only: for automatic
//! differentiation, results are constants. The CPU runs plain loops; other devices run Candle's own operations,
//! which are the twins.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::{
    Geometry,
    cpu::{
        storage::{Real, constant, with_values},
        vector::vectorised,
    },
};

/// Number of elements that a task of [`relu6`] processes.
const PIECE: usize = 1 << 14;

/// Convolves each channel of images (batch, height, width, channels) with its own kernel of `weights` (channels, 1,
/// rows, columns). On the CPU each window is summed in reading order, whatever the number of threads.
///
/// # Errors
/// If shapes do not fit each other, or numbers on the CPU are neither f32 nor f64.
pub fn depthwise(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    if !images.device().is_cpu() {
        return depthwise_plain(images, weights, geometry);
    }
    match images.dtype() {
        DType::F32 => on_cpu::<f32>(images, weights, geometry),
        DType::F64 => on_cpu::<f64>(images, weights, geometry),
        found => bail!("depthwise convolution: expected f32 or f64, found {found:?}"),
    }
}

/// [`depthwise`] by Candle's convolution in groups of one channel.
pub fn depthwise_plain(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let Geometry { stride, padding } = geometry;
    let channels = weights.dim(0)?;
    let first = images.detach().permute((0, 3, 1, 2))?.contiguous()?;
    first.conv2d(&weights.detach(), padding, stride, 1, channels)?.permute((0, 2, 3, 1))?.contiguous()
}

/// Clamps numbers to 0..6.
///
/// # Errors
/// If they are not floating-point numbers, or on the CPU neither f32 nor f64.
pub fn relu6(numbers: &Tensor) -> Result<Tensor> {
    if !numbers.device().is_cpu() {
        return relu6_plain(numbers);
    }
    match numbers.dtype() {
        DType::F32 => clip::<f32>(numbers),
        DType::F64 => clip::<f64>(numbers),
        found => bail!("ReLU6: expected f32 or f64, found {found:?}"),
    }
}

/// [`relu6`] by Candle's `clamp`.
pub fn relu6_plain(numbers: &Tensor) -> Result<Tensor> {
    numbers.detach().clamp(0.0, 6.0)
}

fn clip<T: Real + PartialOrd>(numbers: &Tensor) -> Result<Tensor> {
    let six = T::from_f64(6.0);
    with_values::<T, _, _>([numbers], |[numbers_in]| {
        let mut out = numbers_in.to_vec();
        out.par_chunks_mut(PIECE).for_each(|piece| {
            vectorised(
                #[inline(always)]
                || {
                    for value in piece.iter_mut() {
                        // NaN stays NaN, so that it is noticed.
                        *value = if *value < T::zero() { T::zero() } else { *value };
                        *value = if *value > six { six } else { *value };
                    }
                },
            );
        });
        Ok(constant(out, numbers.shape()))
    })
}

/// Sizes of images, of the output and of a kernel.
#[derive(Clone, Copy)]
struct Sizes {
    height: usize,
    width: usize,
    channels: usize,
    down: usize,
    across: usize,
    rows: usize,
    columns: usize,
    geometry: Geometry,
}

impl Sizes {
    fn new(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<(usize, Self)> {
        let (batch, height, width, channels) = images.dims4()?;
        let (kernels, one, rows, columns) = weights.dims4()?;
        let Geometry { stride, padding } = geometry;
        let fits = rows <= height + 2 * padding && columns <= width + 2 * padding && stride > 0;
        if kernels != channels || one != 1 || !fits {
            bail!("depthwise convolution: kernels {:?} do not fit {:?}", weights.shape(), images.shape())
        }
        let down = (height + 2 * padding - rows) / stride + 1;
        let across = (width + 2 * padding - columns) / stride + 1;
        Ok((batch, Self { height, width, channels, down, across, rows, columns, geometry }))
    }

    /// Computes line `down` of the output of an image; `taps` are (rows, columns, channels).
    #[inline(always)]
    fn line<T: Real>(&self, image: &[T], taps: &[T], down: usize, out: &mut [T]) {
        let Geometry { stride, padding } = self.geometry;
        for (column, sums) in out.chunks_exact_mut(self.channels).enumerate() {
            for (place, tap) in taps.chunks_exact(self.channels).enumerate() {
                // Negative numbers wrap around to large ones.
                let row = (down * stride + place / self.columns).wrapping_sub(padding);
                let column = (column * stride + place % self.columns).wrapping_sub(padding);
                if row >= self.height || column >= self.width {
                    continue;
                }
                let pixel = &image[(row * self.width + column) * self.channels..][..self.channels];
                for ((sum, &x), &w) in sums.iter_mut().zip(pixel).zip(tap) {
                    *sum += x * w;
                }
            }
        }
    }
}

fn on_cpu<T: Real>(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let (batch, sizes) = Sizes::new(images, weights, geometry)?;
    let Sizes { height, width, channels, down, across, rows, columns, .. } = sizes;
    let taps = weights.detach().reshape((channels, rows * columns))?.t()?.contiguous()?;
    with_values::<T, _, _>([images, &taps], |[images, taps]| {
        let (image, line) = (height * width * channels, across * channels);
        let mut out = vec![T::zero(); batch * down * line];
        out.par_chunks_mut(line).enumerate().for_each(|(index, out)| {
            let image = &images[index / down * image..][..image];
            vectorised(
                #[inline(always)]
                || sizes.line(image, taps, index % down, out),
            );
        });
        Ok(constant(out, (batch, down, across, channels)))
    })
}

#[cfg(test)]
mod tests {
    use checks::{assert_thread_independent, distance, normal};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1, 1, 3)]
    #[case(2, 1, 3)]
    #[case(2, 0, 2)]
    #[case(3, 2, 5)]
    fn channels_are_convolved_as_by_candle(
        #[case] stride: usize,
        #[case] padding: usize,
        #[case] kernel: usize,
    ) -> Result<()> {
        let geometry = Geometry { stride, padding };
        for dtype in [DType::F32, DType::F64] {
            let images = normal("images", &[2, 9, 6, 5], dtype)?;
            let weights = normal("weights", &[5, 1, kernel, kernel], dtype)?;
            let (found, plain) =
                (depthwise(&images, &weights, geometry)?, depthwise_plain(&images, &weights, geometry)?);
            assert_eq!(found.shape(), plain.shape());
            let bound = if dtype == DType::F32 { 1e-6 } else { 1e-14 };
            assert!(distance(&found, &plain)? < bound, "{}", distance(&found, &plain)?);
        }
        Ok(())
    }

    #[test]
    fn kernels_of_other_channels_are_refused() -> Result<()> {
        let images = normal("images", &[1, 8, 8, 4], DType::F32)?;
        let weights = normal("weights", &[5, 1, 3, 3], DType::F32)?;
        let error = depthwise(&images, &weights, Geometry { stride: 1, padding: 1 }).unwrap_err().to_string();
        assert!(error.contains("do not fit"), "{error}");
        Ok(())
    }

    #[test]
    fn numbers_are_clipped_at_0_and_6() -> Result<()> {
        let numbers = (normal("numbers", &[3, 50_000], DType::F32)?.as_tensor() * 5.0)?;
        let (found, plain) = (relu6(&numbers)?, relu6_plain(&numbers)?);
        assert_eq!(found.to_vec2::<f32>()?, plain.to_vec2::<f32>()?);
        let largest = found.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert_eq!((largest, found.flatten_all()?.min(0)?.to_scalar::<f32>()?), (6.0, 0.0));
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let images = normal("images", &[3, 17, 13, 40], DType::F32)?;
            let weights = normal("weights", &[40, 1, 3, 3], DType::F32)?;
            Ok(vec![relu6(&depthwise(&images, &weights, Geometry { stride: 2, padding: 1 })?)?])
        })
    }
    #[rstest]
    #[case(2, 3, 1, 0)]
    #[case(3, 1, 2, 1)]
    #[case(1, 4, 1, 1)]
    fn kernels_need_not_be_square(
        #[case] rows: usize,
        #[case] columns: usize,
        #[case] stride: usize,
        #[case] padding: usize,
    ) -> Result<()> {
        let geometry = Geometry { stride, padding };
        let images = normal("images", &[2, 9, 6, 5], DType::F64)?;
        let weights = normal("weights", &[5, 1, rows, columns], DType::F64)?;
        let (found, plain) =
            (depthwise(&images, &weights, geometry)?, depthwise_plain(&images, &weights, geometry)?);
        assert_eq!(found.shape(), plain.shape());
        assert!(distance(&found, &plain)? < 1e-14);
        Ok(())
    }
}
