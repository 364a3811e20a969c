//! Maximum over windows, and mean over a whole map. Independent of networks.

mod cpu;
#[cfg(feature = "cuda")]
mod gpu;
mod window;

use candle_core::{D, Result, Tensor};

pub use self::window::Pool;
use super::graph::precision::widen;

/// Returns the maximum over windows of images (batch, height, width, channels), for each channel.
///
/// The gradient goes to the first maximum in reading order, as in PyTorch.
///
/// # Errors
/// If the windows do not fit the images.
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        return gpu::max_pool(images, pool);
    }
    cpu::max_pool(images, pool)
}

/// [`max_pool`] from Candle's own operations, which select among strided slices.
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
    let mut slices = Vec::with_capacity(kernel * kernel);
    for row in 0..kernel {
        let rows = padded.index_select(&places(row, down)?, 1)?;
        for column in 0..kernel {
            slices.push(rows.index_select(&places(column, across)?, 2)?);
        }
    }
    let slices = Tensor::stack(&slices, 0)?;
    // The first of equal values wins.
    let winners = slices.detach().argmax_keepdim(0)?;
    slices.gather(&winners, 0)?.squeeze(0)
}

/// Returns the mean over height and width: (batch, height, width, channels) to (batch, channels).
pub fn global_mean(images: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    let means = widen(images)?.reshape((batch, height * width, channels))?.mean(D::Minus2)?;
    means.to_dtype(images.dtype())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_thread_independent, assert_twins, differentiate, normal};
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() -> Result<()> {
        // PyTorch scans a window row by row and replaces the maximum only by a greater value.
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

    /// Windows that overlap and reach beyond every edge; a few channels, and more than are handled at a time.
    #[rstest]
    fn values_and_gradients_are_those_of_the_definition(
        #[values(5, 64, 77)] channels: usize,
        #[values((3, 2, 1), (2, 2, 0), (3, 1, 1))] (kernel, stride, padding): (usize, usize, usize),
    ) -> Result<()> {
        let pool = Pool { kernel, stride, padding };
        let images = normal("images", &[2, 7, 6, channels], DType::F64)?;
        let ours = |x: &[Tensor]| max_pool(&x[0], pool);
        let plain = |x: &[Tensor]| max_pool_plain(&x[0], pool);
        assert_twins(&ours, &plain, &[images], 1e-12)
    }

    #[test]
    fn a_number_that_is_none_wins_and_keeps_its_place() -> Result<()> {
        let images = Var::new(&[1_f32, f32::NAN, 3.0, 2.0], &Device::Cpu)?;
        let pooled = max_pool(&images.reshape((1, 2, 2, 1))?, Pool { kernel: 2, stride: 2, padding: 0 })?;
        assert!(pooled.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        let gradient = pooled.sum_all()?.backward()?.remove(&images).expect("a gradient");
        assert_eq!(gradient.to_vec1::<f32>()?, [0.0, 1.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn global_mean_averages_each_channel() -> Result<()> {
        let images = Tensor::arange(0_f32, 12.0, &Device::Cpu)?.reshape((1, 2, 3, 2))?;
        assert_eq!(global_mean(&images)?.to_vec2::<f32>()?, [[5.0, 6.0]]);
        // Sums of 16 bits would stop at 256.
        let ones = Tensor::ones((1, 40, 40, 2), DType::BF16, &Device::Cpu)?;
        let means = global_mean(&ones)?;
        assert_eq!(means.dtype(), DType::BF16);
        assert_eq!(means.to_dtype(DType::F32)?.to_vec2::<f32>()?, [[1.0; 2]]);
        Ok(())
    }
}
