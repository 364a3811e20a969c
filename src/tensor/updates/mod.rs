//! Updates of variables in place: exponential moving averages, a = keep a + take x, mostly with take = 1 - keep; on
//! a GPU also an optimiser's step, in one launch for all variables. Independent of networks.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;

use candle_core::{Result, Tensor, Var, bail};

/// A variable, the value it moves towards, and the weights of both: a = keep a + take x.
pub struct AverageUpdate<'a> {
    /// a: the average, updated in place.
    pub average: &'a Var,
    /// x: the value that it moves towards.
    pub value: &'a Tensor,
    /// Weight of a.
    pub keep: f64,
    /// Weight of x.
    pub take: f64,
}

/// Moves every `average` towards its `value`, of equal shape and type; on a GPU in one launch.
///
/// # Errors
/// If shapes differ.
pub fn move_averages(moves: &[AverageUpdate]) -> Result<()> {
    for AverageUpdate { average, value, .. } in moves {
        if average.shape() != value.shape() {
            bail!("moving average: of shape {:?}, towards {:?}", average.shape(), value.shape())
        }
    }
    #[cfg(feature = "cuda")]
    if moves.iter().all(|one| gpu::supports(&[one.average, one.value])) {
        let updates = moves.iter().map(|&AverageUpdate { average, value, keep, take }| gpu::Update {
            p: average,
            moments: &[],
            g: value.detach(),
            constants: vec![keep, take],
        });
        return gpu::update("move_averages", &updates.collect::<Vec<_>>());
    }
    moves.iter().try_for_each(|&AverageUpdate { average, value, keep, take }| {
        if !average.device().is_cpu() {
            return move_average_plain(average, value, keep, take);
        }
        cpu::move_average(average, value, keep, take)
    })
}

/// Moves one average with Candle's own operations, as in [`move_averages`].
pub fn move_average_plain(average: &Var, value: &Tensor, keep: f64, take: f64) -> Result<()> {
    average.set(&((average.as_detached_tensor() * keep)? + (value.detach() * take)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use checks::{distance, normal};
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn equals_its_twin(#[values(DType::F32, DType::F64)] dtype: DType) -> Result<()> {
        // More than one piece, and not a whole number of pieces.
        let shape = [3, 12_345];
        let (average, value) = (normal("average", &shape, dtype)?, normal("value", &shape, dtype)?);
        let twin = Var::from_tensor(&average.as_detached_tensor().copy()?)?;
        for keep in [0.0, 0.996, 1.0] {
            let take = 1.0 - keep;
            move_averages(&[AverageUpdate { average: &average, value: value.as_tensor(), keep, take }])?;
            move_average_plain(&twin, value.as_tensor(), keep, take)?;
            assert!(distance(average.as_tensor(), twin.as_tensor())? < 1e-6);
        }
        // After a momentum of 0 the average is the value itself.
        assert!(distance(average.as_tensor(), value.as_tensor())? < 1e-6);
        Ok(())
    }

    /// As many numbers are not enough; and nothing moves before all are known to fit.
    #[test]
    fn an_average_of_another_shape_is_refused() -> Result<()> {
        let device = &candle_core::Device::Cpu;
        let (first, second) =
            (Var::new(&[1.0], device)?, Var::new(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device)?);
        let ones = Tensor::ones(1, DType::F64, device)?;
        for shape in [[3, 2], [6, 1], [2, 2]] {
            let value = Tensor::zeros(&shape, DType::F64, device)?;
            let moves = [
                AverageUpdate { average: &first, value: &ones, keep: 0.0, take: 9.0 },
                AverageUpdate { average: &second, value: &value, keep: 0.5, take: 0.5 },
            ];
            let error = move_averages(&moves).unwrap_err().to_string();
            let expected = format!("moving average: of shape [2, 3], towards {shape:?}");
            assert!(error.starts_with(&expected), "{error}");
        }
        assert_eq!((first.to_vec1::<f64>()?, second.to_vec2::<f64>()?[1][2]), (vec![1.0], 6.0));
        Ok(())
    }

    #[test]
    fn a_worked_average() -> Result<()> {
        let average = Var::new(&[1.0, -2.0], &candle_core::Device::Cpu)?;
        let other = Var::new(&[3.0], average.device())?;
        let (value, ones) = (Tensor::new(&[2.0, 2.0], average.device())?, other.ones_like()?);
        move_averages(&[
            AverageUpdate { average: &average, value: &value, keep: 0.75, take: 0.25 },
            AverageUpdate { average: &other, value: &ones, keep: 0.5, take: 1.0 },
        ])?;
        assert_eq!(average.to_vec1::<f64>()?, [1.25, -1.0]);
        assert_eq!(other.to_vec1::<f64>()?, [2.5]);
        Ok(())
    }
}
