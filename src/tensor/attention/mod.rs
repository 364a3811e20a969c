//! Scaled dot-product attention of all heads (Vaswani et al. 2017): for each image and head
//!
//! P = softmax(Q K^T / sqrt(head width)),  O = P V,
//!
//! and backwards, with D the row sums of P (dO V^T), which equal those of dO O: dV = P^T dO, dS = P (dO V^T - D) /
//! sqrt(head width), dQ = dS K, dK = dS^T Q. Independent of what tokens are.

mod cpu;
#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{D, Result, Tensor};

use super::rows::first_tokens;

/// Attends within each image: `joined` (batch, tokens, 3 width) holds queries, keys and values, each split into
/// `heads` in order, as in timm's `qkv`; the result is (batch, tokens, width).
///
/// Probabilities are not kept for the backward pass, which recomputes them.
///
/// # Errors
/// If shapes do not fit each other.
pub fn attention(joined: &Tensor, heads: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if gpu::supports(joined, heads) {
        return gpu::attention(joined, heads);
    }
    if !joined.device().is_cpu() {
        return attention_plain(joined, heads);
    }
    cpu::attention(joined, heads, joined.dim(1)?)
}

/// Returns the first `count` tokens (batch, count, width) of [`attention`]'s result, without computing the others on
/// the CPU.
///
/// # Errors
/// If shapes do not fit each other, or there are fewer tokens.
pub fn attention_of_first(joined: &Tensor, heads: usize, count: usize) -> Result<Tensor> {
    match joined.device().is_cpu() {
        true => cpu::attention(joined, heads, count),
        false => first_tokens(&attention(joined, heads)?, count),
    }
}

/// [`attention`] from Candle's own operations.
pub fn attention_plain(joined: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = joined.dims3()?;
    let width = width / 3;
    let split = joined.reshape((batch, tokens, 3, heads, width / heads))?.permute((2, 0, 3, 1, 4))?;
    let part = |index: usize| split.get(index)?.contiguous();
    let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
    let scores = (queries.matmul(&keys.t()?)? / ((width / heads) as f64).sqrt())?;
    // The largest score is subtracted as a constant: it cancels.
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let probabilities = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
    probabilities.matmul(&values)?.transpose(1, 2)?.reshape((batch, tokens, width))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};
    use checks::{assert_thread_independent, differentiate, distance, normal};
    use rstest::rstest;

    use super::*;
    use crate::tensor::widen;

    #[test]
    fn single_precision_is_near_double() -> Result<()> {
        let joined = normal("joined", &[2, 197, 192], DType::F64)?;
        let single = attention(&joined.to_dtype(DType::F32)?, 1)?.to_dtype(DType::F64)?;
        assert!(distance(&single, &attention(&joined, 1)?)? < 2e-6);
        Ok(())
    }

    #[test]
    fn large_scores_do_not_overflow() -> Result<()> {
        // By hand: queries and keys of 1e4 and -1e4 in one channel; each token attends only to its own kind.
        let joined: [[f32; 3]; 3] = [[1e4, 1e4, 1.0], [-1e4, -1e4, 2.0], [1e4, 1e4, 5.0]];
        let joined = Tensor::new(&[joined], &candle_core::Device::Cpu)?;
        assert_eq!(attention(&joined, 1)?.flatten_all()?.to_vec1::<f32>()?, [3.0, 2.0, 3.0]);
        Ok(())
    }

    /// By hand: all queries agree with one key so much more than with the others that only its value counts.
    #[test]
    fn any_token_may_have_the_largest_score() -> Result<()> {
        const TOKENS: usize = 37;
        for place in 0..TOKENS {
            let key = |token: usize| if token == place { 1e4 } else { 0.0 };
            let joined: Vec<f32> =
                (0..TOKENS).flat_map(|token| [1e4, key(token), token as f32 + 1.0]).collect();
            let joined = Tensor::from_vec(joined, (1, TOKENS, 3), &candle_core::Device::Cpu)?;
            for dtype in [DType::F32, DType::F64] {
                let found = attention(&joined.to_dtype(dtype)?, 1)?.to_dtype(DType::F64)?;
                let found = found.flatten_all()?.to_vec1::<f64>()?;
                assert_eq!(found, [place as f64 + 1.0; TOKENS], "{dtype:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let arguments = [normal("joined", &[3, 29, 60], DType::F32)?];
            let (value, mut gradients) = differentiate(&|x| attention(&x[0], 2), &arguments)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    #[test]
    fn heads_that_do_not_fit_are_named() -> Result<()> {
        let joined = normal("joined", &[1, 4, 12], DType::F32)?;
        let error = attention(&joined, 3).unwrap_err();
        assert!(error.to_string().contains("a multiple of 3 heads"), "{error}");
        Ok(())
    }

    /// Some tokens that attend: the same values, and the same gradients as if the other results were not used.
    #[rstest]
    fn the_first_tokens_alone_attend_as_among_all(#[values(1, 2, 14, 21)] count: usize) -> Result<()> {
        let joined = normal("joined", &[3, 21, 60], DType::F64)?;
        // In f64 products are summed in another order if they have other shapes.
        for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 0.0), (DType::BF16, 0.0)] {
            let arguments = [Var::from_tensor(&joined.to_dtype(dtype)?)?];
            let alone = |x: &[Tensor]| attention_of_first(&x[0], 2, count);
            let among = |x: &[Tensor]| attention(&x[0], 2)?.narrow(1, 0, count)?.contiguous();
            let ((found, by_found), (expected, by_expected)) =
                (differentiate(&alone, &arguments)?, differentiate(&among, &arguments)?);
            assert_eq!(found.dims(), [3, count, 20]);
            assert!(distance(&widen(&found)?, &widen(&expected)?)? <= bound, "{dtype:?}");
            assert!(distance(&widen(&by_found[0])?, &widen(&by_expected[0])?)? <= bound, "{dtype:?}");
        }
        Ok(())
    }
}
