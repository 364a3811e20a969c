//! Two-dimensional convolution (cross-correlation, as is usual in deep learning), without bias or groups:
//!
//! y[b, r, c, o] = sum over (i, k, l) of x[b, r s + k - p, c s + l - p, i] w[o, i, k, l]
//!
//! with stride s and padding p, x zero outside. Images are (batch, height, width, channels), weights torchvision's
//! (out, in, kernel height, kernel width). 3 x 3 kernels with stride 1 use an algorithm with fewer multiplications
//! (`winograd`); for others, windows are gathered into matrices and multiplied (`products`; Chellapilla et al.
//! 2006, im2col). Independent of layers.

mod cpu;
mod geometry;
#[cfg(feature = "cuda")]
mod gpu;
mod products;
mod weights;
mod winograd;

use candle_core::{Result, Tensor};

pub use self::geometry::Geometry;
#[cfg(feature = "cuda")]
use super::graph::precision::{emulate, round};

/// Convolves images (batch, height, width, in) with weights (out, in, kernel height, kernel width) to
/// (batch, height', width', out); both f32 or both f64, or images bf16 and weights f32.
///
/// No gradient is computed for images that are constants. In f32, values and gradients of 3 x 3 kernels with stride
/// 1 have errors of up to 4e-5 of their standard deviation (ours, tested up to 512 channels).
///
/// # Errors
/// If shapes do not fit each other, or the padding is as large as the kernel.
pub fn convolution(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        return on_gpu(images, weights, geometry);
    }
    cpu::convolution(images, weights, geometry)
}

/// Shapes that cuDNN refuses use Candle's convolution, which is slow.
#[cfg(feature = "cuda")]
fn on_gpu(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    match (gpu::convolution(images, weights, geometry)?, images.dtype()) {
        (Some(done), _) => Ok(done),
        (None, candle_core::DType::BF16) => {
            emulate(images, |images| convolution_plain(images, &round(weights)?, geometry))
        }
        (None, _) => convolution_plain(images, weights, geometry),
    }
}

/// [`convolution`] from Candle's own operations, with channels first internally.
pub fn convolution_plain(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let images = images.permute((0, 3, 1, 2))?.contiguous()?;
    images.conv2d(weights, geometry.padding, geometry.stride, 1, 1)?.permute((0, 2, 3, 1))?.contiguous()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_thread_independent, assert_twins, differentiate, normal};
    use rstest::rstest;

    use super::*;

    #[test]
    fn constant_images_cost_no_gradient() -> Result<()> {
        let geometry = Geometry { stride: 1, padding: 1 };
        let images = normal("images", &[2, 5, 5, 3], DType::F64)?;
        let weights = normal("weights", &[4, 3, 3, 3], DType::F64)?;
        let constant = |x: &[Tensor]| convolution(&images.as_detached_tensor(), &x[0], geometry);
        let twin = |x: &[Tensor]| convolution_plain(&images.as_detached_tensor(), &x[0], geometry);
        assert_twins(&constant, &twin, &[weights], 1e-11)
    }

    #[rstest]
    #[case::few_weights([9, 8, 8, 24], [40, 24, 3, 3], 1)]
    #[case::few_weights_stride_two([9, 8, 8, 24], [40, 24, 3, 3], 2)]
    #[case::many_weights([9, 3, 3, 256], [256, 256, 3, 3], 1)]
    #[case::many_weights_stride_two([9, 4, 4, 256], [256, 256, 3, 3], 2)]
    #[case::private([1, 64, 62, 20], [40, 20, 3, 3], 1)]
    fn threads_do_not_move_a_bit(
        #[case] images: [usize; 4],
        #[case] weights: [usize; 4],
        #[case] stride: usize,
    ) -> Result<()> {
        assert_thread_independent(|| {
            let geometry = Geometry { stride, padding: 1 };
            let arguments =
                [normal("images", &images, DType::F32)?, normal("weights", &weights, DType::F32)?];
            let function = |x: &[Tensor]| convolution(&x[0], &x[1], geometry);
            let (value, mut gradients) = differentiate(&function, &arguments)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    // Bounds are ours: about twice the largest errors found, 5e-6, 8e-6 and 2e-5.
    #[rstest]
    #[case::two([16, 2, 2, 512], 512, 1e-5)]
    #[case::four([2, 16, 16, 64], 64, 2e-5)]
    #[case::four_many([4, 7, 7, 512], 512, 4e-5)]
    fn single_precision_errs_by_little(
        #[case] shape: [usize; 4],
        #[case] outputs: usize,
        #[case] bound: f64,
    ) -> Result<()> {
        let geometry = Geometry { stride: 1, padding: 1 };
        let at = |dtype: DType| -> Result<Vec<Tensor>> {
            let images = normal("images", &shape, DType::F32)?;
            // Feature maps in a network have passed a ReLU.
            let images = Var::from_tensor(&images.relu()?.to_dtype(dtype)?)?;
            let weights = normal("weights", &[outputs, shape[3], 3, 3], DType::F32)?;
            let weights = Var::from_tensor(&weights.to_dtype(dtype)?)?;
            let output = convolution(&images, &weights, geometry)?;
            let factor = normal("weights of the sum", output.dims(), DType::F32)?;
            let gradients =
                (&output * &factor.as_detached_tensor().to_dtype(dtype)?)?.sum_all()?.backward()?;
            let gradient = |x: &Tensor| gradients.get(x).expect("a gradient").clone();
            Ok(vec![output.detach(), gradient(&images), gradient(&weights)])
        };
        for (index, (found, expected)) in at(DType::F32)?.iter().zip(at(DType::F64)?).enumerate() {
            let error = (found.to_dtype(DType::F64)? - &expected)?.abs()?.flatten_all()?.max(0)?;
            let scale = expected.flatten_all()?.var(0)?.to_scalar::<f64>()?.sqrt();
            let error = error.to_scalar::<f64>()? / scale;
            assert!(error < bound, "{index}: largest error is {error} of the standard deviation");
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let images = normal("images", &[1, 4, 4, 3], DType::F32)?;
        let weights = normal("weights", &[2, 5, 3, 3], DType::F32)?;
        let error = convolution(&images, &weights, Geometry { stride: 1, padding: 1 }).unwrap_err();
        assert!(error.to_string().contains("have 3 channels"), "{error}");
        Ok(())
    }
    /// One case for each algorithm: Winograd's tiles, strided windows, stride-1 windows, 1 x 1 kernels.
    #[rstest]
    #[case::winograd([2, 5, 5, 16], [17, 16, 3, 3], 1, 1)]
    #[case::strided([2, 5, 5, 3], [4, 3, 3, 3], 2, 1)]
    #[case::gathered([2, 5, 5, 3], [4, 3, 3, 3], 1, 1)]
    #[case::pixels([2, 5, 5, 3], [4, 3, 1, 1], 1, 0)]
    fn only_what_is_not_constant_gets_a_gradient(
        #[case] images: [usize; 4],
        #[case] weights: [usize; 4],
        #[case] stride: usize,
        #[case] padding: usize,
    ) -> Result<()> {
        let geometry = Geometry { stride, padding };
        let images = normal("images", &images, DType::F32)?;
        let weights = normal("weights", &weights, DType::F32)?;
        for (of, count) in [(images.as_detached_tensor(), 1), (images.as_tensor().clone(), 2)] {
            let gradients = convolution(&of, &weights, geometry)?.sum_all()?.backward()?;
            assert_eq!(gradients.get(&of).is_some(), count == 2);
            assert!(gradients.get(&weights).is_some());
        }
        Ok(())
    }

    /// Winograd's tiles: incomplete ones at every edge of oblong maps, channels that fill neither strips nor pairs of
    /// them; more tiles than blocks of a single task have, for two strips of inputs and two pairs of outputs.
    #[rstest]
    #[case::four([2, 7, 6, 17], [33, 17, 3, 3], 1)]
    #[case::four_inside([2, 9, 6, 17], [18, 17, 3, 3], 0)]
    #[case::four_around([2, 5, 6, 17], [18, 17, 3, 3], 2)]
    #[case::two([3, 2, 1, 17], [33, 17, 3, 3], 1)]
    #[case::many_tiles([5, 27, 26, 19], [35, 19, 3, 3], 1)]
    fn tiles_give_the_values_and_gradients_of_the_definition(
        #[case] images: [usize; 4],
        #[case] weights: [usize; 4],
        #[case] padding: usize,
    ) -> Result<()> {
        let geometry = Geometry { stride: 1, padding };
        let arguments = [normal("images", &images, DType::F64)?, normal("weights", &weights, DType::F64)?];
        let ours = |x: &[Tensor]| convolution(&x[0], &x[1], geometry);
        let plain = |x: &[Tensor]| convolution_plain(&x[0], &x[1], geometry);
        assert_twins(&ours, &plain, &arguments, 1e-9)
    }

    /// bf16 cannot represent 1 + 2^-9, so adding -1 leaves nothing, forwards as backwards.
    #[rstest]
    #[case::winograd([2, 5, 5, 16], [17, 16, 3, 3], 1, 1)]
    #[case::strided([2, 5, 5, 2], [2, 2, 3, 3], 2, 1)]
    #[case::gathered([2, 5, 5, 2], [2, 2, 3, 3], 1, 1)]
    #[case::pixels([2, 5, 5, 2], [2, 2, 1, 1], 1, 0)]
    fn weights_of_sixteen_bit_images_are_rounded(
        #[case] shape: [usize; 4],
        #[case] weights: [usize; 4],
        #[case] stride: usize,
        #[case] padding: usize,
    ) -> Result<()> {
        let [outputs, inputs, rows, columns] = weights;
        let taps = rows * columns;
        let value =
            |place: usize| match (place % taps == taps / 2, place / taps / inputs, place / taps % inputs) {
                (true, 0, 0) | (true, 1, 1) => 1.0 + 1.0 / 512.0,
                (true, 0, 1) | (true, 1, 0) => -1.0,
                _ => 0.0_f32,
            };
        let numbers: Vec<f32> = (0..outputs * inputs * taps).map(value).collect();
        let weights = Var::from_vec(numbers, (outputs, inputs, rows, columns), &Device::Cpu)?;
        for (dtype, expected) in [(DType::F32, 1.0 / 512.0), (DType::BF16, 0.0)] {
            let images = Var::ones(&shape, dtype, &Device::Cpu)?;
            let output = convolution(&images, &weights, Geometry { stride, padding })?;
            let gradients = output.to_dtype(DType::F32)?.sum_all()?.backward()?;
            for tensor in [&output, gradients.get(&images).expect("a gradient")] {
                let largest = tensor.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!((largest - expected).abs() < 1e-4, "{dtype:?}: {largest}");
            }
        }
        Ok(())
    }
}
