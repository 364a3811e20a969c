//! Linear maps on the CPU, as products of matrices.

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, backend::BackendStorage, bail};
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        matrix::{Matrix, Write, multiply_parallel},
        storage::{Real, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// As [`crate::tensor::linear()`].
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => apply(&[&input, &weight, &bias.contiguous()?], Linear),
        None => apply(&[&input, &weight], Linear),
    }
}

/// Private sums of the gradient by the bias (ours).
const GROUPS: usize = 32;

struct Linear;

impl Linear {
    /// Of rows, weight and, if there is one, bias.
    fn forward<T: Real>(arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
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
        let (x, weight) = (values::<T>(input.0, input.1)?, values::<T>(weight.0, weight.1)?);
        let bias = bias.map(|(storage, layout)| values::<T>(storage, layout)).transpose()?;
        let weight = Matrix::new(weight, outputs, inputs).transposed();
        let out = product(Matrix::new(x, rows, inputs), weight, bias);
        Ok((T::to_cpu_storage_owned(out), shape.into()))
    }

    fn gradients<T: Real>(arguments: &[&Tensor], gradient: &Tensor) -> Result<Gradients> {
        let (input, weight) = (arguments[0], arguments[1]);
        let (outputs, inputs) = weight.dims2()?;
        let rows = input.dims()[..input.rank() - 1].iter().product();
        let mut by = with_values::<T, _, _>([input, weight, gradient], |[x, w, dy]| {
            let gradient = Matrix::new(dy, rows, outputs);
            let by_input = input.track_op().then(|| {
                let weight = Matrix::new(w, outputs, inputs);
                constant(product(gradient, weight, None), input.shape())
            });
            let by_weight = weight.track_op().then(|| {
                let x = Matrix::new(x, rows, inputs);
                constant(product(gradient.transposed(), x, None), weight.shape())
            });
            let by_bias = arguments.get(2).map(|bias| constant(column_sums(dy, outputs), bias.shape()));
            Ok([by_input, by_weight, by_bias])
        })?;
        arguments.iter().zip(&mut by).map(|(of, by)| hand_over(of, by.take())).collect()
    }
}

/// `left right`, with `added` to each of its rows.
fn product<T: Real>(left: Matrix<T>, right: Matrix<T>, added: Option<&[T]>) -> Vec<T> {
    // SAFETY: the product writes every number.
    let mut out = unsafe { unwritten(left.rows * right.columns) };
    multiply_parallel(&mut out, left, right, added.map_or(Write::Replace, Write::WithRow));
    out
}

/// Sums of the columns of a row-major matrix.
fn column_sums<T: Real>(matrix: &[T], columns: usize) -> Vec<T> {
    let piece = (matrix.len() / columns.max(1)).div_ceil(GROUPS).max(1) * columns.max(1);
    let mut parts = vec![T::zero(); matrix.len().div_ceil(piece).max(1) * columns];
    parts.par_chunks_mut(columns.max(1)).zip(matrix.par_chunks(piece)).for_each(|(sums, matrix)| {
        vectorised(
            #[inline(always)]
            || {
                for row in matrix.chunks_exact(columns) {
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
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
            CpuStorage::F32(_) => Self::forward::<f32>(arguments),
            CpuStorage::F64(_) => Self::forward::<f64>(arguments),
            other => unsupported(Self::NAME, other.dtype()),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        match gradient.dtype() {
            DType::F32 => Self::gradients::<f32>(arguments, gradient),
            DType::F64 => Self::gradients::<f64>(arguments, gradient),
            other => unsupported(Self::NAME, other),
        }
    }
}
