//! Batch normalisation on the CPU. Up to a few hundred rows are summed in f32 (for f64 inputs in f64); these
//! partial sums are combined in double precision (Chan et al. 1979).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, D, DType, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;

use super::{
    backward::{BackwardArguments, Relu, backward},
    loops::{self, Moments},
    statistics::{Epilogue, Statistics, to_f64_vec},
};
use crate::tensor::{
    cpu::storage::{Number, constant, unsupported, values, with_values},
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
        pair::join,
    },
};

/// Like [`crate::tensor::batch_norm()`], which has checked the input and the given statistics.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Epilogue,
) -> Result<(Tensor, Statistics)> {
    let given = match given {
        Some(given) => {
            Some(Moments { mean: to_f64_vec(&given.mean)?, variance: to_f64_vec(&given.variance)? })
        }
        None => None,
    };
    let used = Arc::new(OnceLock::new());
    let affine = join(weight, bias)?;
    let has_residual = then.residual.is_some();
    let operation = BatchNorm { relu: then.relu, has_residual, given, used: used.clone() };
    let input = input.contiguous()?;
    let output = match then.residual {
        Some(residual) => apply(&[&input, &affine, &residual.contiguous()?], operation)?,
        None => apply(&[&input, &affine], operation)?,
    };
    match used.get() {
        Some(Moments { mean, variance }) => {
            let to_tensor = |numbers: &Vec<f64>| Tensor::new(numbers.as_slice(), input.device());
            Ok((output, Statistics { mean: to_tensor(mean)?, variance: to_tensor(variance)? }))
        }
        None => bail!("batch norm: the operation left no statistics"),
    }
}

struct BatchNorm {
    relu: bool,
    has_residual: bool,
    given: Option<Moments>,
    used: Arc<OnceLock<Moments>>,
}

impl BatchNorm {
    /// Arguments are the input, weight and bias as one matrix (2, channels), and the residual if there is one.
    fn forward<N: Number>(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (input, affine, residual) = (arguments[0], arguments[1], arguments.get(2));
        let shape = input.1.shape();
        let channels = shape.dim(D::Minus1)?;
        let (x, affine) = (values::<N>(input.0, input.1)?, values::<N::Sum>(affine.0, affine.1)?);
        let residual = residual.map(|(storage, layout)| values::<N>(storage, layout)).transpose()?;
        // An operation is applied once; a second forward pass would compute the same statistics.
        let used = self.used.get_or_init(|| match &self.given {
            Some(given) => given.clone(),
            None => loops::statistics(x, channels),
        });
        let output = loops::normalise(x, affine, used, residual, self.relu);
        Ok((N::to_cpu_storage_owned(output), shape.clone()))
    }

    fn gradients<N: Number>(
        &self,
        arguments: &[&Tensor],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let Some(statistics) = self.used.get() else { bail!("batch norm: backward before forward") };
        let (input, affine, residual) = (arguments[0], arguments[1], arguments.get(2));
        // If the output is not read, it may have been freed.
        let output = if self.reads_result() { output } else { gradient };
        let found = with_values::<N, _, _>([input, output, gradient], |[x, y, dy]| {
            with_values::<N::Sum, _, _>([affine], |[affine]| {
                Ok(backward(BackwardArguments {
                    x,
                    affine,
                    statistics,
                    uses_batch_statistics: self.given.is_none(),
                    relu: match (self.relu, self.has_residual) {
                        (false, _) => Relu::Absent,
                        (true, false) => Relu::OfInput,
                        (true, true) => Relu::OfOutput(y),
                    },
                    dy,
                    residual: residual.is_some_and(|residual| residual.track_op()),
                }))
            })
        })?;
        let by_input = constant(found.input, input.shape());
        let by_affine = constant(found.affine, affine.shape());
        let by_residual = found.residual.map(|residual| constant(residual, input.shape()));
        let mut by = vec![Some(by_input), Some(by_affine)];
        by.extend(residual.map(|_| by_residual));
        Ok(by)
    }
}

impl Operation for BatchNorm {
    const NAME: &'static str = "batch norm";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        match arguments[0].0 {
            CpuStorage::BF16(_) => self.forward::<bf16>(arguments),
            CpuStorage::F32(_) => self.forward::<f32>(arguments),
            CpuStorage::F64(_) => self.forward::<f64>(arguments),
            other => unsupported(Self::NAME, other.dtype()),
        }
    }

    fn reads(&self, argument: usize) -> bool {
        argument != 2
    }

    fn reads_result(&self) -> bool {
        self.relu && self.has_residual
    }

    fn backward(&self, arguments: &[&Tensor], output: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        match gradient.dtype() {
            DType::BF16 => self.gradients::<bf16>(arguments, output, gradient),
            DType::F32 => self.gradients::<f32>(arguments, output, gradient),
            DType::F64 => self.gradients::<f64>(arguments, output, gradient),
            other => unsupported(Self::NAME, other),
        }
    }
}
