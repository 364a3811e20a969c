//! Layer normalisation (Ba et al. 2016) of each row of the last axis by its own mean and biased variance:
//!
//! y = (x - mean) / sqrt(variance + epsilon) * weight + bias.
//!
//! Independent of what the rows are.

mod cpu;
#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{D, Result, Tensor};

/// Normalises rows of `input` (..., width); `weight` and `bias` are (width).
///
/// # Errors
/// If shapes do not fit each other.
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return gpu::layer_norm(input, weight, bias, epsilon);
    }
    cpu::layer_norm(input, weight, bias, epsilon)
}

/// [`layer_norm`] from Candle's own operations.
pub fn layer_norm_plain(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = input.broadcast_sub(&input.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};
    use checks::{assert_thread_independent, differentiate, normal};

    use super::*;

    fn arguments(shape: &[usize], dtype: DType) -> Result<[Var; 3]> {
        let width = [shape[shape.len() - 1]];
        Ok([normal("input", shape, dtype)?, normal("weight", &width, dtype)?, normal("bias", &width, dtype)?])
    }

    #[test]
    fn epsilon_counts() -> Result<()> {
        // By hand: the row (-1, 1) has variance 1, so an epsilon of 3 halves it; weights 2 and 4, biases 0 and 1.
        let tensor = |values: &[f64]| Tensor::new(values, &candle_core::Device::Cpu);
        let output = layer_norm(&tensor(&[-1.0, 1.0])?, &tensor(&[2.0, 4.0])?, &tensor(&[0.0, 1.0])?, 3.0)?;
        assert_eq!(output.to_vec1::<f64>()?, [-1.0, 3.0]);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let function = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-6);
            let (value, mut gradients) = differentiate(&function, &arguments(&[7, 61, 50], DType::F32)?)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let [input, weight, _] = arguments(&[2, 3], DType::F32)?;
        let bias = normal("bias", &[4], DType::F32)?;
        let error = layer_norm(&input, &weight, &bias, 1e-6).unwrap_err();
        assert!(error.to_string().contains("do not fit an input of [2, 3]"), "{error}");
        Ok(())
    }
}
