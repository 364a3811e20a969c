//! Batch normalisation and the residual and ReLU that follow it in a residual network, in one operation:
//!
//! y = relu( (x - mean) / sqrt(variance + epsilon) * weight + bias + residual )
//!
//! over all axes but the last (Ioffe & Szegedy 2015). Residual and ReLU are optional. Mean and biased variance are
//! computed from the batch, or given.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod gpu;
mod loops;
mod statistics;

use candle_core::{D, DType, Result, Tensor, bail};

pub use self::statistics::{EPSILON, Epilogue, Statistics};

/// Normalises `input` (..., channels) with the `given` statistics, or with its own if none are given, and returns
/// the ones used. `weight` and `bias` are (channels).
///
/// # Errors
/// If shapes do not fit each other, or a batch of one row is to be normalised with its own statistics.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Epilogue,
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
    let fits = |residual: &Tensor| residual.shape() == input.shape();
    if weight.dims() != [channels] || bias.dims() != [channels] || !then.residual.is_none_or(fits) {
        bail!("batch norm: weight, bias or residual do not fit an input of {:?}", input.shape())
    }
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return gpu::batch_norm(input, weight, bias, given, then);
    }
    cpu::batch_norm(input, weight, bias, given, then)
}

/// [`batch_norm`] from Candle's own operations, whose ReLU passes the gradient at exactly 0.
pub fn batch_norm_plain(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Epilogue,
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use checks::{assert_thread_independent, assert_twins, differentiate, distance, normal};
    use rstest::rstest;

    use super::*;

    /// Returns statistics from the (mean, variance) of each channel.
    fn channel_statistics(channels: Vec<(f64, f64)>) -> Statistics {
        let (mean, variance): (Vec<f64>, Vec<f64>) = channels.into_iter().unzip();
        let to_tensor = |numbers: Vec<f64>| Tensor::new(numbers, &Device::Cpu).unwrap();
        Statistics { mean: to_tensor(mean), variance: to_tensor(variance) }
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

    #[test]
    fn statistics_survive_a_large_mean_in_single_precision() -> Result<()> {
        // In f32, a difference of sums of squares would lose a variance of 1 at a mean of 10,000 completely.
        let [input, weight, bias, _] = arguments(&[32, 32, 32, 3], DType::F64)?;
        let input = (input.as_tensor() + 1e4)?.to_dtype(DType::F32)?;
        let exact = input.to_dtype(DType::F64)?;
        let (_, expected) = batch_norm_plain(&exact, &weight, &bias, None, Epilogue::default())?;
        let (weight, bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
        let (_, found) = batch_norm(&input, &weight, &bias, None, Epilogue::default())?;
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
        let (_, used) = batch_norm(&rows, &ones, &zeros, None, Epilogue::default())?;
        let (mean, variance) = (Var::from_tensor(&zeros)?, Var::from_tensor(&ones)?);
        used.move_running(&mean, &variance, 4, 0.1)?;
        assert_eq!(mean.to_vec1::<f32>()?, [0.2, 0.4]);
        assert_eq!(variance.to_vec1::<f32>()?, [0.9 + 0.1 * 4.0 / 3.0, 0.9 + 1.2]);
        Ok(())
    }

    #[test]
    fn relu_stops_the_gradient_at_zero() -> Result<()> {
        // As in PyTorch; Candle's own ReLU passes the gradient.
        let input = Var::zeros((4, 1), DType::F32, &Device::Cpu)?;
        let (weight, bias) =
            (Tensor::ones(1, DType::F32, &Device::Cpu)?, Tensor::zeros(1, DType::F32, &Device::Cpu)?);
        let given = Some(channel_statistics(vec![(0.0, 1.0)]));
        let (output, _) = batch_norm(&input, &weight, &bias, given, Epilogue { residual: None, relu: true })?;
        let gradient = output.sum_all()?.backward()?.remove(&input).expect("a gradient");
        assert_eq!(gradient.flatten_all()?.to_vec1::<f32>()?, [0.0; 4]);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let function = |x: &[Tensor]| {
                let then = Epilogue { residual: Some(&x[3]), relu: true };
                batch_norm(&x[0], &x[1], &x[2], None, then).map(|(output, _)| output)
            };
            let (value, mut gradients) = differentiate(&function, &arguments(&[9, 16, 17, 24], DType::F32)?)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    /// More rows than a task has, whose mean drifts; with own and with given statistics; a few channels, and more than
    /// are summed at a time.
    #[rstest]
    fn values_and_gradients_are_those_of_the_formula(
        #[values(false, true)] given: bool,
        #[values(false, true)] with_residual: bool,
        #[values(false, true)] relu: bool,
        #[values(3, 64, 85)] channels: usize,
    ) -> Result<()> {
        let shape = [2, 150, 2, channels];
        let [input, weight, bias, residual] = arguments(&shape, DType::F64)?;
        let drift: Vec<f64> = (0..600 * channels).map(|place| (place / channels) as f64 * 0.01).collect();
        let drift = Tensor::from_vec(drift, &shape, &Device::Cpu)?;
        let input = Var::from_tensor(&(input.as_detached_tensor() + drift)?)?;
        let of_channel = |channel: usize| [(0.5, 2.0), (-1.0, 0.3), (3.0, 9.0)][channel % 3];
        let statistics = || given.then(|| channel_statistics((0..channels).map(of_channel).collect()));
        let all = [input, weight, bias, residual];
        let used = if with_residual { &all[..] } else { &all[..3] };
        let ours = |x: &[Tensor]| {
            let then = Epilogue { residual: x.get(3), relu };
            batch_norm(&x[0], &x[1], &x[2], statistics(), then).map(|(output, _)| output)
        };
        let plain = |x: &[Tensor]| {
            let then = Epilogue { residual: x.get(3), relu };
            batch_norm_plain(&x[0], &x[1], &x[2], statistics(), then).map(|(output, _)| output)
        };
        assert_twins(&ours, &plain, used, 1e-11)?;
        let [input, weight, bias, _] = &all;
        let (_, found) = batch_norm(input, weight, bias, statistics(), Epilogue::default())?;
        let (_, expected) = batch_norm_plain(input, weight, bias, statistics(), Epilogue::default())?;
        assert!(distance(&found.mean, &expected.mean)? < 1e-12);
        assert!(distance(&found.variance, &expected.variance)? < 1e-11);
        Ok(())
    }

    #[test]
    fn one_row_has_no_statistics_of_its_own() -> Result<()> {
        let [input, weight, bias, _] = arguments(&[1, 3], DType::F32)?;
        let error = batch_norm(&input, &weight, &bias, None, Epilogue::default()).unwrap_err();
        assert!(error.to_string().contains("more than one row"), "{error}");
        Ok(())
    }
}
