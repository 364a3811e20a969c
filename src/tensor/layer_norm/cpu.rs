//! Layer normalisation on the CPU, parallelised over rows.

use candle_core::{CpuStorage, D, DType, Result, Shape, Tensor, WithDType, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        lanes::sum,
        storage::{Number, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::layer_norm()`].
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    apply(&[&input.contiguous()?, &weight.contiguous()?, &bias.contiguous()?], LayerNorm { epsilon })
}

/// Largest number of tasks, each with its own partial sums of the gradients with respect to weight and bias (ours).
const GROUPS: usize = 32;

struct LayerNorm {
    epsilon: f64,
}

impl LayerNorm {
    fn forward<N: Number>(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (input, weight, bias) = (arguments[0], arguments[1], arguments[2]);
        let shape = input.1.shape();
        let width = shape.dim(D::Minus1)?;
        if width == 0 || weight.1.dims() != [width] || bias.1.dims() != [width] {
            bail!(
                "layer norm: weight {:?} and bias {:?} do not fit an input of {shape:?}",
                weight.1.shape(),
                bias.1.shape()
            )
        }
        let x = values::<N>(input.0, input.1)?;
        let [weight, bias] = [weight, bias].map(|(storage, layout)| values::<N::Sum>(storage, layout));
        let (weight, bias) = (weight?, bias?);
        // SAFETY: rows are whole, and the loop writes every one.
        let mut out = unsafe { unwritten(x.len()) };
        let piece = x.len().div_ceil(width).div_ceil(GROUPS).max(1) * width;
        out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let (mean, scale) = self.statistics(x);
                        for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                            *out = N::narrow((x.widen() - mean) * scale * weight + bias);
                        }
                    }
                },
            );
        });
        Ok((N::to_cpu_storage_owned(out), shape.clone()))
    }

    fn gradients<N: Number>(&self, arguments: &[&Tensor], gradient: &Tensor) -> Result<Gradients> {
        let (input, weight, bias) = (arguments[0], arguments[1], arguments[2]);
        let width = weight.elem_count();
        let rows = input.elem_count() / width;
        let piece = rows.div_ceil(GROUPS).max(1) * width;
        // SAFETY: as above.
        let mut by_input: Vec<N> = unsafe { unwritten(rows * width) };
        // For each task, the partial sum of the gradient with respect to weight, then to bias.
        let mut parts = vec![N::Sum::ZERO; (rows * width).div_ceil(piece).max(1) * 2 * width];
        with_values::<N, _, _>([input, gradient], |[x, dy]| {
            with_values::<N::Sum, _, _>([weight], |[weight]| {
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
        })?;
        let mut sums = parts[..2 * width].to_vec();
        for part in parts.chunks_exact(2 * width).skip(1) {
            sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        }
        let by_bias = sums.split_off(width);
        Ok(vec![
            Some(constant(by_input, input.shape())),
            Some(constant(sums, weight.shape())),
            Some(constant(by_bias, bias.shape())),
        ])
    }

    /// With n the normalised row and g = dy weight: dx = scale (g - mean(g) - n mean(g n)).
    #[inline(always)]
    fn backward_rows<N: Number>(
        &self,
        x: &[N],
        dy: &[N],
        weight: &[N::Sum],
        dx: &mut [N],
        parts: &mut [N::Sum],
    ) {
        let width = weight.len();
        let (by_weight, by_bias) = parts.split_at_mut(width);
        let one = N::Sum::from_f64(1.0) / N::Sum::from_f64(width as f64);
        // Rows of 16-bit numbers are widened once.
        let mut wide = [vec![N::Sum::ZERO; width], vec![N::Sum::ZERO; width]];
        let [wide_x, wide_dy] = &mut wide;
        for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width))
        {
            wide_x.iter_mut().zip(x).for_each(|(wide, &x)| *wide = x.widen());
            wide_dy.iter_mut().zip(dy).for_each(|(wide, &dy)| *wide = dy.widen());
            let (x, dy) = (&*wide_x, &*wide_dy);
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
                *dx = N::narrow(scale * (dy * weight - g_mean - (x - mean) * scale * gn_mean));
            }
        }
    }

    /// Returns the mean, and 1 / sqrt(variance + epsilon).
    #[inline(always)]
    fn statistics<N: Number>(&self, row: &[N]) -> (N::Sum, N::Sum) {
        let one = N::Sum::from_f64(1.0) / N::Sum::from_f64(row.len() as f64);
        let mean = one
            * sum(
                [row],
                #[inline(always)]
                |[x]| x.widen(),
            );
        let variance = one
            * sum(
                [row],
                #[inline(always)]
                |[x]| (x.widen() - mean) * (x.widen() - mean),
            );
        (mean, N::Sum::from_f64(1.0 / (variance.to_f64() + self.epsilon).sqrt()))
    }
}

impl Operation for LayerNorm {
    const NAME: &'static str = "layer norm";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        match arguments[0].0 {
            CpuStorage::BF16(_) => self.forward::<bf16>(arguments),
            CpuStorage::F32(_) => self.forward::<f32>(arguments),
            CpuStorage::F64(_) => self.forward::<f64>(arguments),
            other => unsupported(Self::NAME, other.dtype()),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        match gradient.dtype() {
            DType::BF16 => self.gradients::<bf16>(arguments, gradient),
            DType::F32 => self.gradients::<f32>(arguments, gradient),
            DType::F64 => self.gradients::<f64>(arguments, gradient),
            other => unsupported(Self::NAME, other),
        }
    }
}
