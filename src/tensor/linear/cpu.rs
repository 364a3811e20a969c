//! Linear maps on the CPU, as matrix products.

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        factor::{Factor, Threads},
        operands::{Matrix, Write},
        storage::{Number, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    gelu::cpu::{Normal, gelu_and_gradient, gelu_slice},
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::linear()`], or like [`crate::tensor::linear_of_gelu`] if the last argument is true.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, of_gelu: bool) -> Result<Tensor> {
    let (input, weight, operation) =
        (input.contiguous()?, weight.contiguous()?, Linear { applies_gelu: of_gelu });
    match bias {
        Some(bias) => apply(&[&input, &weight, &bias.contiguous()?], operation),
        None => apply(&[&input, &weight], operation),
    }
}

/// Largest number of tasks, each with its own partial sums of the gradient with respect to the bias (ours).
const GROUPS: usize = 32;

struct Linear {
    /// Whether GELU is applied to the input first. Its result is not kept: the backward pass gets it at no cost
    /// when it computes the derivative.
    applies_gelu: bool,
}

impl Linear {
    /// Arguments are rows, weight and, if there is one, bias.
    fn forward<N: Factor<Sum: Normal>>(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (input, weight, bias) = (arguments[0], arguments[1], arguments.get(2));
        let (outputs, inputs) = weight.1.shape().dims2()?;
        let mut shape = input.1.dims().to_vec();
        if shape.pop() != Some(inputs) || bias.is_some_and(|(_, layout)| layout.dims() != [outputs]) {
            bail!(
                "linear: weight {:?} and its bias do not fit an input of {:?}",
                weight.1.shape(),
                input.1.shape()
            )
        }
        let rows = shape.iter().product::<usize>();
        shape.push(outputs);
        let (x, weight) = (values::<N>(input.0, input.1)?, values::<N::Sum>(weight.0, weight.1)?);
        let bias = bias.map(|(storage, layout)| values::<N::Sum>(storage, layout)).transpose()?;
        let weight = Matrix::new(weight, outputs, inputs).transposed();
        let out = match self.applies_gelu {
            true => product(&gelu_slice(x), weight, rows, bias),
            false => product(x, weight, rows, bias),
        };
        Ok((N::to_cpu_storage_owned(out), shape.into()))
    }

    fn gradients<N: Factor<Sum: Normal>>(
        &self,
        arguments: &[&Tensor],
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let (input, weight) = (arguments[0], arguments[1]);
        let (outputs, inputs) = weight.dims2()?;
        let rows = input.dims()[..input.rank() - 1].iter().product();
        let mut by = with_values::<N, _, _>([input, gradient], |[x, dy]| {
            let mut by_input = match input.track_op() {
                true => with_values::<N::Sum, _, _>([weight], |[weight]| {
                    Ok(Some(product(dy, Matrix::new(weight, outputs, inputs), rows, None)))
                })?,
                false => None,
            };
            let active = match (self.applies_gelu, &mut by_input) {
                (false, _) => None,
                (true, Some(by_input)) => Some(gelu_and_gradient(x, by_input)),
                (true, None) => Some(gelu_slice(x)),
            };
            let by_weight = weight.track_op().then(|| {
                let x = active.as_deref().unwrap_or(x);
                // SAFETY: the product writes every number.
                let mut by_weight = unsafe { unwritten(outputs * inputs) };
                N::multiply_transposed(&mut by_weight, dy, x, (outputs, inputs), false, Threads::All);
                constant(by_weight, weight.shape())
            });
            let by_input = by_input.map(|by_input| constant::<N>(by_input, input.shape()));
            let by_bias = arguments.get(2).map(|bias| constant(column_sums(dy, outputs), bias.shape()));
            Ok([by_input, by_weight, by_bias])
        })?;
        arguments.iter().zip(&mut by).map(|(of, by)| hand_over(of, by.take())).collect()
    }
}

/// Returns the `rows` rows of `left right`, plus `added` in each row if given.
fn product<N: Factor>(left: &[N], right: Matrix<N::Sum>, rows: usize, added: Option<&[N::Sum]>) -> Vec<N> {
    // SAFETY: the product writes every number.
    let mut out = unsafe { unwritten(rows * right.columns) };
    let write = added.map_or(Write::Replace, Write::WithRow);
    N::multiply(&mut out, left, &N::prepare(right), write, Threads::All);
    out
}

/// Returns the sums of the columns of a row-major matrix.
fn column_sums<N: Number>(matrix: &[N], columns: usize) -> Vec<N::Sum> {
    let piece = (matrix.len() / columns.max(1)).div_ceil(GROUPS).max(1) * columns.max(1);
    let mut parts = vec![N::Sum::ZERO; matrix.len().div_ceil(piece).max(1) * columns];
    parts.par_chunks_mut(columns.max(1)).zip(matrix.par_chunks(piece)).for_each(|(sums, matrix)| {
        vectorised(
            #[inline(always)]
            || {
                for row in matrix.chunks_exact(columns) {
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x.widen());
                }
            },
        );
    });
    let mut sums = parts[..columns].to_vec();
    for part in parts.chunks_exact(columns.max(1)).skip(1) {
        sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
    }
    sums
}

impl Operation for Linear {
    const NAME: &'static str = "linear";

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
