//! A linear map of rows, y = x W^T + b. Independent of layers.

mod cpu;
#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{Result, Tensor};

use super::gelu;
#[cfg(feature = "cuda")]
use super::graph::precision::{emulate, round};

/// Maps rows (..., in) to (..., out) by `weight` (out, in) and, if given, `bias` (out), which are f32 if rows are
/// bf16.
///
/// No gradient is computed for an input or a weight that is a constant.
///
/// # Errors
/// If shapes do not fit each other.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return on_gpu(input, weight, bias);
    }
    cpu::linear(input, weight, bias, false)
}

/// Applies GELU and then [`linear`], as in a transformer's MLP. On the CPU this takes less memory than two
/// operations, since the result of GELU is not kept.
///
/// # Errors
/// As for [`linear`].
pub fn linear_of_gelu(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match input.device().is_cpu() {
        true => cpu::linear(input, weight, bias, true),
        false => linear(&gelu(input)?, weight, bias),
    }
}

/// f32 uses Candle's own product, without tensor cores. So do bf16 rows of unsupported sizes, such as a
/// classifier's single output; they are multiplied in f32 and the result is rounded.
#[cfg(feature = "cuda")]
fn on_gpu(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if gpu::supports(input, weight) {
        return gpu::linear(input, weight, bias);
    }
    match input.dtype() {
        candle_core::DType::BF16 => emulate(input, |input| linear_plain(input, &round(weight)?, bias)),
        _ => linear_plain(input, weight, bias),
    }
}

/// [`linear`] from Candle's own operations.
pub fn linear_plain(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = input.dims().to_vec();
    let inputs = shape.pop().unwrap_or_default();
    shape.push(weight.dim(0)?);
    let output = input.reshape(((), inputs))?.matmul(&weight.t()?)?;
    let output = match bias {
        Some(bias) => output.broadcast_add(bias)?,
        None => output,
    };
    output.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_thread_independent, differentiate, normal};

    use super::*;
    use crate::tensor::widen;

    fn arguments(shape: &[usize], outputs: usize, dtype: DType) -> Result<[Var; 3]> {
        let inputs = shape[shape.len() - 1];
        Ok([
            normal("input", shape, dtype)?,
            normal("weight", &[outputs, inputs], dtype)?,
            normal("bias", &[outputs], dtype)?,
        ])
    }

    #[test]
    fn constants_cost_no_gradient() -> Result<()> {
        let [input, weight, bias] = arguments(&[4, 5], 3, DType::F64)?;
        let output = linear(&input.as_detached_tensor(), &weight, Some(&bias))?;
        assert_eq!(output.backward()?.get_ids().count(), 2);
        let output = linear(&input, &weight.as_detached_tensor(), Some(&bias))?;
        assert_eq!(output.backward()?.get_ids().count(), 2);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let function = |x: &[Tensor]| linear(&x[0], &x[1], Some(&x[2]));
            let (value, mut gradients) =
                differentiate(&function, &arguments(&[3, 117, 40], 130, DType::F32)?)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    #[test]
    fn of_gelu_is_the_map_of_gelu_to_the_bit() -> Result<()> {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let weights = if dtype == DType::BF16 { DType::F32 } else { dtype };
            let [_, weight, bias] = arguments(&[3, 37, 40], 130, weights)?;
            let input = Var::from_tensor(&normal("input", &[3, 37, 40], DType::F64)?.to_dtype(dtype)?)?;
            for input in [input.as_tensor(), &input.as_detached_tensor()] {
                let both = [
                    linear_of_gelu(input, &weight, Some(&bias))?,
                    linear(&gelu(input)?, &weight, Some(&bias))?,
                ];
                let bits = |of: Option<&Tensor>| -> Result<Option<Vec<f64>>> {
                    of.map(|of| of.to_dtype(DType::F64)?.flatten_all()?.to_vec1()).transpose()
                };
                assert_eq!(bits(Some(&both[0]))?, bits(Some(&both[1]))?, "{dtype:?}");
                let [found, expected] = both.map(|output| widen(&output)?.sqr()?.sum_all()?.backward());
                let (found, expected) = (found?, expected?);
                for of in [input, weight.as_tensor(), bias.as_tensor()] {
                    assert_eq!(bits(found.get(of))?, bits(expected.get(of))?, "{dtype:?}");
                }
                assert_eq!(found.get(input).is_some(), input.is_variable());
                assert!(found.get(&weight).is_some());
            }
        }
        Ok(())
    }

    #[test]
    fn weights_of_sixteen_bit_rows_are_rounded() -> Result<()> {
        // bf16 cannot represent 1 + 2^-9, so adding -1 leaves nothing.
        let rows = Tensor::new(&[[1.0_f32, 1.0]], &Device::Cpu)?;
        let weight = Tensor::new(&[[1.0_f32 + 1.0 / 512.0, -1.0]], &Device::Cpu)?;
        let found = |rows: &Tensor| linear(rows, &weight, None)?.to_dtype(DType::F32)?.to_vec2::<f32>();
        assert_eq!(found(&rows)?, [[1.0 / 512.0]]);
        assert_eq!(found(&rows.to_dtype(DType::BF16)?)?, [[0.0]]);
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let [_, weight, bias] = arguments(&[2, 3], 5, DType::F32)?;
        let input = normal("input", &[2, 4], DType::F32)?;
        let error = linear(&input, &weight, Some(&bias)).unwrap_err();
        assert!(error.to_string().contains("weight [5, 3]"), "{error}");
        Ok(())
    }
}
