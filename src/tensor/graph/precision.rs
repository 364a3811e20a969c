//! Mixed precision: numbers that flow are bf16; weights, statistics, sums and losses stay f32.
//!
//! The numbers of a batch decide. An operation on bf16 takes its weights in f32, rounds them for the product, adds in
//! f32 and answers in bf16; gradients by weights are f32. On a GPU kernels and tensor cores do so; on the CPU the
//! operation runs in f32 between roundings, which is the twin that a GPU is held to, and no faster than f32.
//!
//! Nothing overflows that would not in f32: bf16 has its exponents, so losses need no scale as in f16 (Kalamkar et
//! al., "A study of bfloat16 for deep learning training", 2019), and they widen what they are given first. Knows
//! nothing of layers.

use candle_core::{DType, Result, Tensor};

/// bf16 as f32, other numbers as they are: before sums and logarithms that must not be rounded on their way.
pub fn widen(numbers: &Tensor) -> Result<Tensor> {
    match numbers.dtype() {
        DType::BF16 => numbers.to_dtype(DType::F32),
        _ => Ok(numbers.clone()),
    }
}

/// Whether an operation runs in f32 between roundings.
pub(in crate::tensor) fn is_emulated(input: &Tensor) -> bool {
    input.dtype() == DType::BF16 && input.device().is_cpu()
}

/// `operation` of bf16 numbers, in f32 between roundings.
pub(in crate::tensor) fn emulate(
    input: &Tensor,
    operation: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    operation(&widen(input)?)?.to_dtype(DType::BF16)
}

/// f32 weights as bf16 has them; their gradient is not rounded.
pub(in crate::tensor) fn round(weights: &Tensor) -> Result<Tensor> {
    let exact = weights.detach();
    // The difference is exact, and so is the sum.
    let by = (exact.to_dtype(DType::BF16)?.to_dtype(DType::F32)? - &exact)?;
    weights + by
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use checks::{distance, normal};
    use rstest::rstest;

    use super::*;
    use crate::tensor::{
        Geometry, attention, batch_norm, batch_norm::Then, convolution, gelu, global_mean, layer_norm,
        linear, max_pool, pooling::Pool,
    };

    /// Operations on bf16 numbers (first) with f32 weights: near f32, and every gradient of its argument's type.
    #[rstest]
    fn numbers_flow_in_bf16_and_gradients_of_weights_in_f32(
        #[values(
            "linear",
            "without bias",
            "convolution",
            "batch norm",
            "layer norm",
            "attention",
            "gelu",
            "max pool",
            "global mean"
        )]
        name: &str,
    ) -> Result<()> {
        let shapes: Vec<Vec<usize>> = match name {
            "linear" => vec![vec![5, 24], vec![16, 24], vec![16]],
            "without bias" => vec![vec![2, 5, 24], vec![16, 24]],
            "convolution" => vec![vec![2, 6, 6, 8], vec![16, 8, 3, 3]],
            "batch norm" => vec![vec![2, 6, 6, 8], vec![8], vec![8]],
            "layer norm" => vec![vec![7, 24], vec![24], vec![24]],
            "attention" => vec![vec![2, 9, 48]],
            _ => vec![vec![2, 6, 6, 8]],
        };
        let operation = |x: &[Tensor]| match name {
            "linear" | "without bias" => linear(&x[0], &x[1], x.get(2)),
            "convolution" => convolution(&x[0], &x[1], Geometry { stride: 1, padding: 1 }),
            "batch norm" => {
                let then = Then { residual: Some(&x[0]), relu: false };
                Ok(batch_norm(&x[0], &x[1], &x[2], None, then)?.0)
            }
            "layer norm" => layer_norm(&x[0], &x[1], &x[2], 1e-6),
            "attention" => attention(&x[0], 2),
            "gelu" => gelu(&x[0]),
            "max pool" => max_pool(&x[0], Pool { kernel: 2, stride: 2, padding: 0 }),
            _ => global_mean(&x[0]),
        };
        let exact: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|(place, shape)| normal(&format!("argument {place}"), shape, DType::F32))
            .collect::<Result<_>>()?;
        // The f32 twin gets what bf16 leaves of the numbers.
        let flowing = Var::from_tensor(&exact[0].to_dtype(DType::BF16)?)?;
        exact[0].set(&flowing.to_dtype(DType::F32)?)?;
        let tensors = |first: &Var| -> Vec<Tensor> {
            let rest = exact[1..].iter().map(|variable| variable.as_tensor().clone());
            std::iter::once(first.as_tensor().clone()).chain(rest).collect()
        };
        let (found, expected) = (operation(&tensors(&flowing))?, operation(&tensors(&exact[0]))?);
        assert_eq!((found.dtype(), found.dims()), (DType::BF16, expected.dims()));
        // The maximum of rounded numbers is one of them, and so is its gradient; everything else must have been rounded.
        let rounds = name != "max pool";
        let assert_near = |found: &Tensor, expected: &Tensor, rounds: Option<bool>| -> Result<()> {
            let apart = distance(&widen(found)?, expected)?;
            let largest = f64::from(expected.abs()?.max_all()?.to_scalar::<f32>()?);
            assert!(apart < 0.01 * largest, "{apart} apart, of {largest} at most");
            assert!(rounds.is_none_or(|rounds| rounds == (apart > 0.0)), "{apart} apart");
            Ok(())
        };
        assert_near(&found, &expected, Some(rounds))?;
        let slope = normal("slope", expected.dims(), DType::F32)?.to_dtype(DType::BF16)?;
        let by_flowing = (widen(&found)? * widen(&slope)?)?.sum_all()?.backward()?;
        let by_exact = (&expected * widen(&slope)?)?.sum_all()?.backward()?;
        let gradient = by_flowing.get(&flowing).expect("a gradient");
        assert_eq!(gradient.dtype(), DType::BF16);
        assert_near(gradient, by_exact.get(&exact[0]).expect("a gradient"), Some(rounds))?;
        for weight in &exact[1..] {
            let gradient = by_flowing.get(weight).expect("a gradient");
            assert_eq!(gradient.dtype(), DType::F32);
            assert_near(gradient, by_exact.get(weight).expect("a gradient"), None)?;
        }
        Ok(())
    }

    #[test]
    fn rounding_is_to_even_and_passes_the_gradient_on() -> Result<()> {
        // 1 + 2^-8 lies between two numbers of bf16; the even one is 1. 1 + 3 2^-8 goes up.
        let weight =
            Var::new(&[1.0_f32 + 0.003_906_25, 1.0 + 3.0 * 0.003_906_25, 1e-40, 3e38], &Device::Cpu)?;
        let rounded = round(&weight)?;
        let expected = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        assert_eq!(rounded.to_vec1::<f32>()?, expected);
        assert_eq!(expected[..2], [1.0, 1.015_625]);
        let gradient = (rounded * 1.001)?.sum_all()?.backward()?.remove(&weight).expect("a gradient");
        assert_eq!(gradient.to_vec1::<f32>()?, [1.001_f32; 4]);
        Ok(())
    }
}
