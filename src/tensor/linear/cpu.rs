//! Linear maps on the CPU, as products of matrices.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        matrix::{Matrix, Write, multiply_parallel},
        storage::{Real, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::{apply2, apply3},
        gradients::hand_over,
    },
};

/// As [`crate::tensor::linear()`].
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => apply3(&input, &weight, &bias.contiguous()?, Linear),
        None => apply2(&input, &weight, Linear),
    }
}

/// Private sums of the gradient by the bias (ours).
const GROUPS: usize = 32;

struct Linear;

/// Gradients by input, weight and bias.
type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl Linear {
    fn forward(
        input: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        match input.0 {
            CpuStorage::F32(_) => Self::forward_of::<f32>(input, weight, bias),
            CpuStorage::F64(_) => Self::forward_of::<f64>(input, weight, bias),
            other => unsupported("linear", other.dtype()),
        }
    }

    fn forward_of<T: Real>(
        input: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
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
        let mut out = unwritten(rows * outputs);
        let weight = Matrix::new(weight, outputs, inputs).transposed();
        let write = bias.map_or(Write::Replace, Write::WithRow);
        multiply_parallel(&mut out, Matrix::new(x, rows, inputs), weight, write);
        Ok((T::to_cpu_storage_owned(out), shape.into()))
    }

    fn backward(
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        match input.dtype() {
            DType::F32 => Self::backward_of::<f32>(input, weight, bias, gradient),
            DType::F64 => Self::backward_of::<f64>(input, weight, bias, gradient),
            other => unsupported("linear", other),
        }
    }

    fn backward_of<T: Real>(
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let (outputs, inputs) = weight.dims2()?;
        let rows = input.dims()[..input.rank() - 1].iter().product();
        with_values::<T, _>(gradient, |dy| {
            let gradient = Matrix::new(dy, rows, outputs);
            let by_input = match input.track_op() {
                true => Some(with_values::<T, _>(weight, |weight| {
                    let mut out = unwritten(rows * inputs);
                    let weight = Matrix::new(weight, outputs, inputs);
                    multiply_parallel(&mut out, gradient, weight, Write::Replace);
                    Ok(constant(out, input.shape()))
                })?),
                false => None,
            };
            let by_weight = match weight.track_op() {
                true => Some(with_values::<T, _>(input, |x| {
                    let mut out = unwritten(outputs * inputs);
                    let x = Matrix::new(x, rows, inputs);
                    multiply_parallel(&mut out, gradient.transposed(), x, Write::Replace);
                    Ok(constant(out, weight.shape()))
                })?),
                false => None,
            };
            let by_bias = bias.map(|bias| constant(column_sums(dy, outputs), bias.shape()));
            Ok((
                hand_over(input, by_input)?,
                hand_over(weight, by_weight)?,
                match bias {
                    Some(bias) => hand_over(bias, by_bias)?,
                    None => None,
                },
            ))
        })
    }
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

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::forward((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (by_input, by_weight, _) = Self::backward(input, weight, None, gradient)?;
        Ok((by_input, by_weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
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
        Self::forward((s1, l1), (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        Self::backward(input, weight, Some(bias), gradient)
    }
}
