//! A linear map of rows, y = x W^T + b. Knows nothing of layers.

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};
use rayon::prelude::*;

use super::{
    chain::{apply2, apply3},
    gradients::hand_over,
    matrix::{Matrix, Write, multiply_parallel},
    precision::{emulate, is_emulated, round},
    storage::{Real, constant, unsupported, unwritten, values, with_values},
    vector::vectorised,
};

/// Maps rows (..., in) to (..., out) by `weight` (out, in) and, if given, `bias` (out), which are f32 where rows are bf16.
///
/// No gradient is computed for an input or a weight that is a constant.
///
/// # Errors
/// If shapes do not fit.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return super::cuda::linear::linear(input, weight, bias);
    }
    if is_emulated(input) {
        return emulate(input, |input| linear(input, &round(weight)?, bias));
    }
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => apply3(&input, &weight, &bias.contiguous()?, Linear),
        None => apply2(&input, &weight, Linear),
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

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use rstest::rstest;

    use super::*;
    use crate::tensor::check::{
        assert_differences, assert_thread_independent, assert_twins, differentiate, normal,
    };

    fn arguments(shape: &[usize], outputs: usize, dtype: DType) -> Result<[Var; 3]> {
        let inputs = shape[shape.len() - 1];
        Ok([
            normal("input", shape, dtype)?,
            normal("weight", &[outputs, inputs], dtype)?,
            normal("bias", &[outputs], dtype)?,
        ])
    }

    #[rstest]
    fn equals_its_twin_and_its_differences(
        #[values(&[1, 1], &[1, 7], &[5, 3], &[2, 9, 17], &[3, 171, 20])] shape: &[usize],
        #[values(1, 5, 300)] outputs: usize,
        #[values(false, true)] bias: bool,
    ) -> Result<()> {
        let arguments = arguments(shape, outputs, DType::F64)?;
        let arguments = if bias { &arguments[..] } else { &arguments[..2] };
        let function = |x: &[Tensor]| linear(&x[0], &x[1], x.get(2));
        assert_twins(&function, &|x| linear_plain(&x[0], &x[1], x.get(2)), arguments, 1e-11)?;
        assert_differences(&function, arguments)
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
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let [_, weight, bias] = arguments(&[2, 3], 5, DType::F32)?;
        let input = normal("input", &[2, 4], DType::F32)?;
        let error = linear(&input, &weight, Some(&bias)).unwrap_err();
        assert!(error.to_string().contains("weight [5, 3]"), "{error}");
        Ok(())
    }
}
