//! Batch normalisation on the CPU. Sums run in the element type over a few hundred rows, beyond that in double precision
//! (Chan et al. 1979).

use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};

use super::{
    loops::{self, Moments},
    statistics::{Statistics, Then, numbers},
};
use crate::tensor::{
    cpu::storage::{Real, constant, unsupported, values, with_values},
    graph::chain::{apply2, apply3, join},
};

/// As [`crate::tensor::batch_norm()`], which has checked shapes.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Then,
) -> Result<(Tensor, Statistics)> {
    let given = match given {
        Some(given) => Some(Moments { mean: numbers(&given.mean)?, variance: numbers(&given.variance)? }),
        None => None,
    };
    let used = Arc::new(OnceLock::new());
    let affine = join(weight, bias)?;
    let operation = BatchNorm { relu: then.relu, given, used: used.clone() };
    let input = input.contiguous()?;
    let output = match then.residual {
        Some(residual) => apply3(&input, &affine, &residual.contiguous()?, operation)?,
        None => apply2(&input, &affine, operation)?,
    };
    match used.get() {
        Some(Moments { mean, variance }) => {
            let there = |numbers: &Vec<f64>| Tensor::new(numbers.as_slice(), input.device());
            Ok((output, Statistics { mean: there(mean)?, variance: there(variance)? }))
        }
        None => bail!("batch norm: the operation left no statistics"),
    }
}

struct BatchNorm {
    relu: bool,
    given: Option<Moments>,
    used: Arc<OnceLock<Moments>>,
}

/// Gradients by input, by weight and bias (2, channels), and by the residual.
type Gradients = (Tensor, Tensor, Option<Tensor>);

impl BatchNorm {
    fn forward(
        &self,
        input: (&CpuStorage, &Layout),
        affine: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        match input.0 {
            CpuStorage::F32(_) => self.forward_of::<f32>(input, affine, residual),
            CpuStorage::F64(_) => self.forward_of::<f64>(input, affine, residual),
            other => unsupported("batch norm", other.dtype()),
        }
    }

    fn forward_of<T: Real>(
        &self,
        input: (&CpuStorage, &Layout),
        affine: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = input.1.shape();
        let channels = shape.dim(D::Minus1)?;
        if affine.1.dims() != [2, channels] || residual.is_some_and(|residual| residual.1.shape() != shape) {
            bail!("batch norm: weight, bias or residual do not fit an input of {shape:?}")
        }
        let (x, affine) = (values::<T>(input.0, input.1)?, values::<T>(affine.0, affine.1)?);
        let residual = residual.map(|(storage, layout)| values::<T>(storage, layout)).transpose()?;
        // The operation is made for one application; a second forward pass would find the same statistics.
        let used = self.used.get_or_init(|| match &self.given {
            Some(given) => given.clone(),
            None => loops::statistics(x, channels),
        });
        let output = loops::normalise(x, affine, used, residual, self.relu);
        Ok((T::to_cpu_storage_owned(output), shape.clone()))
    }

    fn backward(
        &self,
        input: &Tensor,
        affine: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        match input.dtype() {
            DType::F32 => self.backward_of::<f32>(input, affine, residual, output, gradient),
            DType::F64 => self.backward_of::<f64>(input, affine, residual, output, gradient),
            other => unsupported("batch norm", other),
        }
    }

    fn backward_of<T: Real>(
        &self,
        input: &Tensor,
        affine: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let Some(statistics) = self.used.get() else { bail!("batch norm: backward before forward") };
        let moving = self.given.is_none();
        let masked = residual.is_some_and(Tensor::track_op);
        with_values::<T, _>(input, |x| {
            with_values::<T, _>(affine, |affine| {
                with_values::<T, _>(output, |y| {
                    with_values::<T, _>(gradient, |dy| {
                        let y = self.relu.then_some(y);
                        let found = loops::backward(x, affine, statistics, moving, y, dy, masked);
                        let shape = input.shape();
                        Ok((
                            constant(found.input, shape),
                            constant(found.affine, (2, statistics.mean.len())),
                            found.residual.map(|residual| constant(residual, shape)),
                        ))
                    })
                })
            })
        })
    }
}

impl CustomOp2 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        input: &Tensor,
        affine: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (by_input, by_affine, _) = self.backward(input, affine, None, output, gradient)?;
        Ok((Some(by_input), Some(by_affine)))
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm with residual"
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
        self.forward((s1, l1), (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        input: &Tensor,
        affine: &Tensor,
        residual: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (by_input, by_affine, by_residual) =
            self.backward(input, affine, Some(residual), output, gradient)?;
        Ok((Some(by_input), Some(by_affine), by_residual))
    }
}
