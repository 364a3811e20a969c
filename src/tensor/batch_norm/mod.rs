//! Batch normalisation with what follows it in a residual network, in one operation:
//!
//! y = relu( (x - mean) / sqrt(variance + epsilon) * weight + bias + residual )
//!
//! over all axes but the last (Ioffe & Szegedy 2015). Residual and ReLU are optional. Mean and biased
//! variance are those of the batch, or given. Sums run in the element type over a few hundred rows, beyond that in
//! double precision (Chan et al. 1979).

mod kernels;

use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor, Var, backend::BackendStorage,
    bail,
};

use super::{
    average::{Move, move_averages},
    chain::{apply2, apply3, join},
    precision::{is_emulated, widen},
    storage::{Real, constant, unsupported, values, with_values},
};

/// Added to variances, as in torchvision.
pub const EPSILON: f64 = 1e-5;

/// Mean and biased variance of each channel, (channels) each: constants where the numbers are, so that a GPU is not
/// waited for. Of a batch on the CPU f64, on a GPU f32.
#[derive(Clone, Debug)]
pub struct Statistics {
    pub mean: Tensor,
    pub variance: Tensor,
}

impl Statistics {
    /// Moves running statistics `share` (0..1) of the way to the mean and the unbiased variance of a batch of `rows`
    /// rows.
    pub fn move_running(&self, mean: &Var, variance: &Var, rows: usize, share: f64) -> Result<()> {
        let rows = rows as f64;
        if mean.device().is_cpu() {
            let moved = |running: &Var, batch: Vec<f64>| -> Result<()> {
                let all = numbers(running)?.into_iter().zip(batch);
                let moved: Vec<f64> =
                    all.map(|(running, batch)| (1.0 - share) * running + share * batch).collect();
                running.set(&Tensor::new(moved, running.device())?.to_dtype(running.dtype())?)
            };
            let unbiased = numbers(&self.variance)?.into_iter().map(|biased| biased * rows / (rows - 1.0));
            moved(mean, numbers(&self.mean)?)?;
            return moved(variance, unbiased.collect());
        }
        let unbiased = rows / (rows - 1.0);
        move_averages(&[
            Move { average: mean, value: &self.mean, keep: 1.0 - share, take: share },
            Move { average: variance, value: &self.variance, keep: 1.0 - share, take: share * unbiased },
        ])
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.detach().to_dtype(DType::F64)?.to_vec1()
}

/// [`Statistics`] as the CPU computes with them.
#[derive(Clone)]
struct Moments {
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// What follows normalisation.
#[derive(Clone, Copy, Default)]
pub struct Then<'a> {
    /// Added before the ReLU; of the input's shape.
    pub residual: Option<&'a Tensor>,
    pub relu: bool,
}

/// Normalises `input` (..., channels) with `given` statistics, or with its own where none are given, and returns
/// which ones it used. `weight` and `bias` are (channels).
///
/// # Errors
/// If shapes do not fit, or a batch of one row is to be normalised with its own statistics.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Then,
) -> Result<(Tensor, Statistics)> {
    let channels = input.dim(D::Minus1)?;
    if given.is_none() && input.elem_count() <= channels {
        bail!("batch norm: expected more than one row to take statistics of, found {:?}", input.shape())
    }
    if given
        .as_ref()
        .is_some_and(|given| given.mean.dims() != [channels] || given.variance.dims() != [channels])
    {
        bail!("batch norm: statistics given are not of {channels} channels")
    }
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return super::cuda::layers::batch_norm(input, weight, bias, given, then);
    }
    if is_emulated(input) {
        let residual = then.residual.map(widen).transpose()?;
        let then = Then { residual: residual.as_ref(), ..then };
        let (output, used) = batch_norm(&widen(input)?, weight, bias, given, then)?;
        return Ok((output.to_dtype(DType::BF16)?, used));
    }
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

/// [`batch_norm`] from Candle's own operations, whose ReLU passes the gradient at exactly 0.
pub fn batch_norm_plain(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Then,
) -> Result<(Tensor, Statistics)> {
    let channels = input.dim(D::Minus1)?;
    let rows = input.reshape(((), channels))?;
    let of_channels = |values: Tensor| values.reshape((1, channels))?.to_dtype(input.dtype());
    let (mean, variance) = match given {
        Some(Statistics { mean, variance }) => (of_channels(mean)?, of_channels(variance)?),
        None => {
            let mean = rows.mean_keepdim(0)?;
            let variance = rows.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?;
            (mean, variance)
        }
    };
    let deviation = (&variance + EPSILON)?.sqrt()?;
    let mut output = rows
        .broadcast_sub(&mean)?
        .broadcast_div(&deviation)?
        .broadcast_mul(weight)?
        .broadcast_add(bias)?
        .reshape(input.shape())?;
    if let Some(residual) = then.residual {
        output = (output + residual)?;
    }
    if then.relu {
        output = output.relu()?;
    }
    let values = |x: Tensor| x.detach().flatten_all()?.to_dtype(DType::F64);
    Ok((output, Statistics { mean: values(mean)?, variance: values(variance)? }))
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
            None => kernels::statistics(x, channels),
        });
        let output = kernels::normalise(x, affine, used, residual, self.relu);
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
                        let found = kernels::backward(x, affine, statistics, moving, y, dy, masked);
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

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rstest::rstest;

    use super::*;
    use crate::tensor::check::{
        assert_differences, assert_thread_independent, assert_twins, differentiate, distance, normal,
    };

    /// Statistics of each channel: mean and variance.
    fn of(channels: Vec<(f64, f64)>) -> Statistics {
        let (mean, variance): (Vec<f64>, Vec<f64>) = channels.into_iter().unzip();
        let there = |numbers: Vec<f64>| Tensor::new(numbers, &Device::Cpu).unwrap();
        Statistics { mean: there(mean), variance: there(variance) }
    }

    fn arguments(shape: &[usize], dtype: DType) -> Result<[Var; 4]> {
        let channels = [shape[shape.len() - 1]];
        Ok([
            normal("input", shape, dtype)?,
            normal("weight", &channels, dtype)?,
            normal("bias", &channels, dtype)?,
            normal("residual", shape, dtype)?,
        ])
    }

    #[rstest]
    fn equals_its_twin_and_its_differences(
        #[values(&[3, 4, 5, 7], &[2, 1, 1, 3], &[5, 6], &[1, 40, 30, 17])] shape: &[usize],
        #[values(false, true)] relu: bool,
        #[values(false, true)] residual: bool,
        #[values(false, true)] given: bool,
    ) -> Result<()> {
        let arguments = arguments(shape, DType::F64)?;
        let arguments = if residual { &arguments[..] } else { &arguments[..3] };
        let channels = shape[shape.len() - 1];
        let statistics = given.then(|| {
            of((0..channels).map(|channel| (0.3 * channel as f64 - 0.5, 0.2 + channel as f64)).collect())
        });
        let function = |x: &[Tensor]| {
            let then = Then { residual: x.get(3), relu };
            batch_norm(&x[0], &x[1], &x[2], statistics.clone(), then).map(|(output, _)| output)
        };
        let twin = |x: &[Tensor]| {
            let then = Then { residual: x.get(3), relu };
            batch_norm_plain(&x[0], &x[1], &x[2], statistics.clone(), then).map(|(output, _)| output)
        };
        assert_twins(&function, &twin, arguments, 1e-10)?;
        assert_differences(&function, arguments)
    }

    #[test]
    fn statistics_survive_a_large_mean_in_single_precision() -> Result<()> {
        // Sums of squares would leave nothing of a variance of 1 at a mean of 10,000 in f32.
        let [input, weight, bias, _] = arguments(&[32, 32, 32, 3], DType::F64)?;
        let input = (input.as_tensor() + 1e4)?.to_dtype(DType::F32)?;
        let exact = input.to_dtype(DType::F64)?;
        let (_, expected) = batch_norm_plain(&exact, &weight, &bias, None, Then::default())?;
        let (weight, bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
        let (_, found) = batch_norm(&input, &weight, &bias, None, Then::default())?;
        assert!(distance(&found.mean, &expected.mean)? < 2e-3);
        assert!(
            distance(&found.variance, &expected.variance)?
                < 1e-4 * expected.variance.min(0)?.to_scalar::<f64>()?
        );
        Ok(())
    }

    #[test]
    fn running_statistics_move_a_tenth_of_the_way() -> Result<()> {
        // Means of 2 and 4, biased variances of 1 and 9 over 4 rows: unbiased, 4/3 and 12.
        let rows = Tensor::new(&[[1_f32, 1.0], [3.0, 7.0], [1.0, 1.0], [3.0, 7.0]], &Device::Cpu)?;
        let (ones, zeros) =
            (Tensor::ones(2, DType::F32, &Device::Cpu)?, Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        let (_, used) = batch_norm(&rows, &ones, &zeros, None, Then::default())?;
        let (mean, variance) = (Var::from_tensor(&zeros)?, Var::from_tensor(&ones)?);
        used.move_running(&mean, &variance, 4, 0.1)?;
        assert_eq!(mean.to_vec1::<f32>()?, [0.2, 0.4]);
        assert_eq!(variance.to_vec1::<f32>()?, [0.9 + 0.1 * 4.0 / 3.0, 0.9 + 1.2]);
        Ok(())
    }

    #[test]
    fn relu_stops_the_gradient_at_zero() -> Result<()> {
        // As PyTorch does; Candle's own ReLU lets it through.
        let input = Var::zeros((4, 1), DType::F32, &Device::Cpu)?;
        let (weight, bias) =
            (Tensor::ones(1, DType::F32, &Device::Cpu)?, Tensor::zeros(1, DType::F32, &Device::Cpu)?);
        let given = Some(of(vec![(0.0, 1.0)]));
        let (output, _) = batch_norm(&input, &weight, &bias, given, Then { residual: None, relu: true })?;
        let gradient = output.sum_all()?.backward()?.remove(&input).expect("a gradient");
        assert_eq!(gradient.flatten_all()?.to_vec1::<f32>()?, [0.0; 4]);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let function = |x: &[Tensor]| {
                let then = Then { residual: Some(&x[3]), relu: true };
                batch_norm(&x[0], &x[1], &x[2], None, then).map(|(output, _)| output)
            };
            let (value, mut gradients) = differentiate(&function, &arguments(&[9, 16, 17, 24], DType::F32)?)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    #[test]
    fn one_row_has_no_statistics_of_its_own() -> Result<()> {
        let [input, weight, bias, _] = arguments(&[1, 3], DType::F32)?;
        let error = batch_norm(&input, &weight, &bias, None, Then::default()).unwrap_err();
        assert!(error.to_string().contains("more than one row"), "{error}");
        Ok(())
    }
}
