//! Layer normalisation on the CPU: tasks share the rows.

use candle_core::{
    CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        storage::{Real, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::chain::apply3,
};

/// As [`crate::tensor::layer_norm()`].
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    apply3(&input.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, LayerNorm { epsilon })
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
