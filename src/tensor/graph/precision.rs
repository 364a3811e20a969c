//! Mixed precision: activations are bf16; weights, statistics, sums and losses stay f32.
//!
//! The number type of a batch selects the precision. An operation on bf16 takes its weights in f32, rounds them for
//! the product, adds in f32 and returns bf16; gradients with respect to weights are f32. On a GPU this is done by
//! kernels and tensor cores; on the CPU by loops that widen what they read and round what they write, and by
//! `vdpbf16ps` if the machine has it (`cpu/pairs.rs`). The twin of both is `emulate`: the operation in f32 on bf16
//! numbers, with its result rounded to bf16. Attention on the CPU does not round intermediate results: with rounded
//! probabilities, the cosine similarity of its gradients to those in f32 would be less than 0.98.
//!
//! Nothing overflows that would not in f32: bf16 has the same exponent range, so losses need no scaling, unlike in
//! f16 (Kalamkar et al., "A study of bfloat16 for deep learning training", 2019), and losses widen their input
//! first. Independent of layers.

use candle_core::{DType, Result, Tensor};

/// Converts bf16 to f32 and leaves other numbers unchanged. Used before sums and logarithms whose intermediate
/// results must not be rounded.
pub fn widen(numbers: &Tensor) -> Result<Tensor> {
    match numbers.dtype() {
        DType::BF16 => numbers.to_dtype(DType::F32),
        _ => Ok(numbers.clone()),
    }
}

/// Applies `operation` in f32 to bf16 numbers, and rounds the result to bf16.
#[cfg(any(test, feature = "cuda"))]
pub(in crate::tensor) fn emulate(
    input: &Tensor,
    operation: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    operation(&widen(input)?)?.to_dtype(DType::BF16)
}

/// Rounds f32 weights to bf16; their gradient is not rounded.
#[cfg(any(test, feature = "cuda"))]
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
        Geometry, attention, batch_norm, batch_norm::Epilogue, convolution, gelu, global_mean, layer_norm,
        linear, max_pool, pooling::Pool,
    };

    /// How closely an operation on bf16 numbers (its first argument) with f32 weights must match its twin.
    #[derive(Clone, Copy, PartialEq)]
    enum Twin {
        /// Bit-identical.
        Equal,
        /// Close: sums are added in another order.
        Near,
        /// Close, with an additional rounding of one of two gradients.
        Twice,
    }

    #[rstest]
    #[case::linear("linear", Twin::Near)]
    #[case::odd("odd", Twin::Near)]
    #[case::without_bias("without bias", Twin::Near)]
    #[case::winograd("winograd", Twin::Equal)]
    #[case::few_channels("few channels", Twin::Near)]
    #[case::strided("strided", Twin::Near)]
    #[case::many_weights("many weights", Twin::Near)]
    #[case::many_weights_strided("many weights strided", Twin::Near)]
    #[case::batch_norm("batch norm", Twin::Equal)]
    #[case::residual("residual", Twin::Twice)]
    #[case::layer_norm("layer norm", Twin::Equal)]
    #[case::attention("attention", Twin::Equal)]
    #[case::gelu("gelu", Twin::Equal)]
    #[case::max_pool("max pool", Twin::Equal)]
    #[case::global_mean("global mean", Twin::Equal)]
    fn numbers_flow_in_bf16_and_gradients_of_weights_in_f32(
        #[case] name: &str,
        #[case] twin: Twin,
    ) -> Result<()> {
        let shapes: Vec<Vec<usize>> = match name {
            "linear" => vec![vec![35, 24], vec![40, 24], vec![40]],
            "odd" => vec![vec![5, 23], vec![17, 23], vec![17]],
            "without bias" => vec![vec![2, 5, 24], vec![16, 24]],
            "winograd" => vec![vec![2, 6, 6, 24], vec![16, 24, 3, 3]],
            "few channels" => vec![vec![2, 6, 6, 8], vec![16, 8, 3, 3]],
            "strided" => vec![vec![9, 7, 7, 3], vec![16, 3, 5, 5]],
            "many weights" => vec![vec![2, 3, 3, 520], vec![512, 520, 1, 1]],
            "many weights strided" => vec![vec![2, 5, 5, 180], vec![180, 180, 3, 3]],
            "batch norm" | "residual" => vec![vec![2, 6, 6, 8], vec![8], vec![8]],
            "layer norm" => vec![vec![7, 24], vec![24], vec![24]],
            "attention" => vec![vec![2, 9, 48]],
            _ => vec![vec![2, 6, 6, 8]],
        };
        let convolved =
            |x: &[Tensor], stride, padding| convolution(&x[0], &x[1], Geometry { stride, padding });
        let operation = |x: &[Tensor]| match name {
            "linear" | "odd" | "without bias" => linear(&x[0], &x[1], x.get(2)),
            "winograd" | "few channels" => convolved(x, 1, 1),
            "many weights" => convolved(x, 1, 0),
            "strided" | "many weights strided" => convolved(x, 2, 1),
            "batch norm" | "residual" => {
                let residual = (name == "residual").then_some(&x[0]);
                let then = Epilogue { residual, relu: true };
                Ok(batch_norm(&x[0], &x[1], &x[2], None, then)?.0)
            }
            "layer norm" => layer_norm(&x[0], &x[1], &x[2], 1e-6),
            "attention" => attention(&x[0], 2),
            "gelu" => gelu(&x[0]),
            "max pool" => max_pool(&x[0], Pool { kernel: 3, stride: 2, padding: 1 }),
            _ => global_mean(&x[0]),
        };
        let rounds_weights = !matches!(name, "batch norm" | "residual" | "layer norm");
        let emulated = |x: &[Tensor]| {
            emulate(&x[0], |first| {
                let rest = x[1..].iter().enumerate().map(|(place, weight)| {
                    // A bias is added without rounding.
                    if rounds_weights && place == 0 { round(weight) } else { Ok(weight.clone()) }
                });
                let all: Result<Vec<_>> = std::iter::once(Ok(first.clone())).chain(rest).collect();
                operation(&all?)
            })
        };
        let exact: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|(place, shape)| normal(&format!("argument {place}"), shape, DType::F32))
            .collect::<Result<_>>()?;
        let flowing = Var::from_tensor(&exact[0].to_dtype(DType::BF16)?)?;
        let arguments: Vec<Tensor> = std::iter::once(flowing.as_tensor().clone())
            .chain(exact[1..].iter().map(|variable| variable.as_tensor().clone()))
            .collect();
        let (found, expected) = (operation(&arguments)?, emulated(&arguments)?);
        assert_eq!((found.dtype(), found.dims()), (DType::BF16, expected.dims()));
        let assert_alike = |what: &str, found: &Tensor, expected: &Tensor| -> Result<()> {
            assert_eq!(found.dtype(), expected.dtype(), "{what}");
            let (found, expected) = (widen(found)?, widen(expected)?);
            let apart = distance(&found, &expected)?;
            let largest = f64::from(expected.abs()?.max_all()?.to_scalar::<f32>()?);
            let bound = match twin {
                Twin::Equal => 0.0,
                // Allows a rounding to the neighbouring bf16 number.
                Twin::Near => 0.004,
                Twin::Twice => 0.01,
            };
            assert!(apart <= bound * largest, "{what}: {apart} apart, of {largest} at most");
            Ok(())
        };
        assert_alike("output", &found, &expected)?;
        let slope = normal("slope", expected.dims(), DType::F32)?.to_dtype(DType::BF16)?;
        let gradients = |output: &Tensor| (widen(output)? * widen(&slope)?)?.sum_all()?.backward();
        let (by_found, by_expected) = (gradients(&found)?, gradients(&expected)?);
        let both =
            |of: &Var| (by_found.get(of).expect("a gradient"), by_expected.get(of).expect("a gradient"));
        let (found, expected) = both(&flowing);
        assert_eq!(found.dtype(), DType::BF16);
        assert_alike("gradient by numbers", found, expected)?;
        for weight in &exact[1..] {
            let (found, expected) = both(weight);
            assert_eq!(found.dtype(), DType::F32);
            assert_alike("gradient by a weight", found, expected)?;
        }
        Ok(())
    }

    #[test]
    fn rounding_is_to_even_and_passes_the_gradient_on() -> Result<()> {
        // 1 + 2^-8 lies between two bf16 numbers; the even one is 1. 1 + 3 2^-8 is rounded up.
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
