//! Layer normalisation (Ba et al. 2016): each row of the last axis by its own mean and biased variance,
//!
//! y = (x - mean) / sqrt(variance + epsilon) * weight + bias.
//!
//! Knows nothing of what the rows are.

use candle_core::{
    CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use super::{
    chain::apply3,
    precision::{emulate, is_emulated},
    storage::{Real, constant, unsupported, unwritten, values, with_values},
    vector::vectorised,
};

/// Normalises rows of `input` (..., width); `weight` and `bias` are (width).
///
/// # Errors
/// If shapes do not fit.
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return super::cuda::layers::layer_norm(input, weight, bias, epsilon);
    }
    if is_emulated(input) {
        return emulate(input, |input| layer_norm(input, weight, bias, epsilon));
    }
    apply3(&input.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, LayerNorm { epsilon })
}

/// [`layer_norm`] from Candle's own operations.
pub fn layer_norm_plain(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = input.broadcast_sub(&input.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Private sums of the gradients by weight and bias (ours).
const GROUPS: usize = 32;
/// Accumulators of a sum, so that it becomes vector code; the order of additions does not depend on the machine.
const LANES: usize = 16;

struct LayerNorm {
    epsilon: f64,
}

impl LayerNorm {
    fn forward<T: Real>(
        &self,
        input: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let shape = input.1.shape();
        let width = shape.dim(D::Minus1)?;
        if width == 0 || weight.1.dims() != [width] || bias.1.dims() != [width] {
            bail!(
                "layer norm: weight {:?} and bias {:?} do not fit an input of {shape:?}",
                weight.1.shape(),
                bias.1.shape()
            )
        }
        let [x, weight, bias] =
            [values::<T>(input.0, input.1)?, values(weight.0, weight.1)?, values(bias.0, bias.1)?];
        let mut out = unwritten(x.len());
        let piece = x.len().div_ceil(width).div_ceil(GROUPS).max(1) * width;
        out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let (mean, scale) = self.statistics(x);
                        for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                            *out = (x - mean) * scale * weight + bias;
                        }
                    }
                },
            );
        });
        Ok((T::to_cpu_storage_owned(out), shape.clone()))
    }

    fn backward<T: Real>(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let rows = input.elem_count() / width;
        let piece = rows.div_ceil(GROUPS).max(1) * width;
        let mut by_input = unwritten(rows * width);
        // For each group the sum of its gradients by weight, then by bias.
        let mut parts = vec![T::zero(); (rows * width).div_ceil(piece).max(1) * 2 * width];
        with_values::<T, _>(input, |x| {
            with_values::<T, _>(weight, |weight| {
                with_values::<T, _>(gradient, |dy| {
                    let given = x.par_chunks(piece).zip(dy.par_chunks(piece));
                    let made = by_input.par_chunks_mut(piece).zip(parts.par_chunks_mut(2 * width));
                    made.zip(given).for_each(|((dx, parts), (x, dy))| {
                        vectorised(
                            #[inline(always)]
                            || self.backward_rows(x, dy, weight, dx, parts),
                        );
                    });
                    Ok(())
                })
            })
        })?;
        let mut sums = parts[..2 * width].to_vec();
        for part in parts.chunks_exact(2 * width).skip(1) {
            sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        }
        let by_bias = sums.split_off(width);
        Ok((
            Some(constant(by_input, input.shape())),
            Some(constant(sums, weight.shape())),
            Some(constant(by_bias, bias.shape())),
        ))
    }

    /// With n the normalised row and g = dy weight: dx = scale (g - mean(g) - n mean(g n)).
    #[inline(always)]
    fn backward_rows<T: Real>(&self, x: &[T], dy: &[T], weight: &[T], dx: &mut [T], parts: &mut [T]) {
        let width = weight.len();
        let (by_weight, by_bias) = parts.split_at_mut(width);
        let one = T::one() / T::from_f64(width as f64);
        for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width))
        {
            let (mean, scale) = self.statistics(x);
            let sums = by_weight.iter_mut().zip(by_bias.iter_mut());
            for ((&x, &dy), (by_weight, by_bias)) in x.iter().zip(dy).zip(sums) {
                *by_weight += dy * ((x - mean) * scale);
                *by_bias += dy;
            }
            let g_mean = one
                * sum(
                    [dy, weight, x],
                    #[inline(always)]
                    |[dy, weight, _]| dy * weight,
                );
            let gn_mean = one
                * sum(
                    [dy, weight, x],
                    #[inline(always)]
                    |[dy, weight, x]| dy * weight * ((x - mean) * scale),
                );
            for (((dx, &x), &dy), &weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx = scale * (dy * weight - g_mean - (x - mean) * scale * gn_mean);
            }
        }
    }

    /// Mean, and 1 / sqrt(variance + epsilon).
    #[inline(always)]
    fn statistics<T: Real>(&self, row: &[T]) -> (T, T) {
        let one = T::one() / T::from_f64(row.len() as f64);
        let mean = one
            * sum(
                [row],
                #[inline(always)]
                |[x]| x,
            );
        let variance = one
            * sum(
                [row],
                #[inline(always)]
                |[x]| (x - mean) * (x - mean),
            );
        (mean, T::from_f64(1.0 / (variance.to_f64() + self.epsilon).sqrt()))
    }
}

/// Sum of `term` over equally long slices.
#[inline(always)]
fn sum<T: Real, const N: usize>(slices: [&[T]; N], term: impl Fn([T; N]) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let split = slices.map(|slice| slice.as_chunks::<LANES>());
    for index in 0..split[0].0.len() {
        let chunks = split.map(|(chunks, _)| &chunks[index]);
        for lane in 0..LANES {
            lanes[lane] += term(chunks.map(|chunk| chunk[lane]));
        }
    }
    for index in 0..split[0].1.len() {
        lanes[index] += term(split.map(|(_, rest)| rest[index]));
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = lanes[lane + half];
            lanes[lane] += other;
        }
        half /= 2;
    }
    lanes[0]
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match s1 {
            CpuStorage::F32(_) => self.forward::<f32>((s1, l1), (s2, l2), (s3, l3)),
            CpuStorage::F64(_) => self.forward::<f64>((s1, l1), (s2, l2), (s3, l3)),
            _ => unsupported(self.name(), s1.dtype()),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match input.dtype() {
            DType::F32 => self.backward::<f32>(input, weight, bias, gradient),
            DType::F64 => self.backward::<f64>(input, weight, bias, gradient),
            other => unsupported(self.name(), other),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use rstest::rstest;

    use super::*;
    use crate::tensor::check::{
        assert_differences, assert_thread_independent, assert_twins, differentiate, normal,
    };

    fn arguments(shape: &[usize], dtype: DType) -> Result<[Var; 3]> {
        let width = [shape[shape.len() - 1]];
        Ok([normal("input", shape, dtype)?, normal("weight", &width, dtype)?, normal("bias", &width, dtype)?])
    }

    #[rstest]
    fn equals_its_twin_and_its_differences(
        #[values(&[5], &[1, 3], &[1, 7, 16], &[3, 35, 33], &[2, 5, 192])] shape: &[usize],
    ) -> Result<()> {
        let arguments = arguments(shape, DType::F64)?;
        let function = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-6);
        assert_twins(&function, &|x| layer_norm_plain(&x[0], &x[1], &x[2], 1e-6), &arguments, 1e-11)?;
        assert_differences(&function, &arguments)
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
