//! Exponential moving averages of variables, in place: a = momentum a + (1 - momentum) x.
//!
//! Pieces have a fixed size, and every number is computed by one thread. Knows nothing of networks.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, backend::BackendStorage, bail};
use rayon::prelude::*;

use super::{
    storage::{Real, unsupported, values},
    vector::vectorised,
};

/// Numbers that one thread works on at a time (ours: two such pieces of f32 fit a second-level cache).
const PIECE: usize = 32_768;

/// [`move_average`] of many variables and what they follow; on a GPU in one launch.
///
/// # Errors
/// As [`move_average`].
pub fn move_averages(pairs: &[(Var, Var)], momentum: f64) -> Result<()> {
    #[cfg(feature = "cuda")]
    if pairs.iter().all(|(average, value)| super::cuda::updates::is_taken(&[average, value])) {
        use super::cuda::updates::{Update, update};
        let constants = vec![momentum, 1.0 - momentum];
        let updates = pairs.iter().map(|(average, value)| {
            let constants = constants.clone();
            Update { p: average, moments: &[], g: value.as_detached_tensor(), constants }
        });
        return update("move_averages", &updates.collect::<Vec<_>>());
    }
    pairs.iter().try_for_each(|(average, value)| move_average(average, value.as_tensor(), momentum))
}

/// Moves `average` towards `value`, of equal shape and type, keeping `momentum` (0..1) of itself.
///
/// # Errors
/// If shapes differ.
pub fn move_average(average: &Var, value: &Tensor, momentum: f64) -> Result<()> {
    if average.shape() != value.shape() {
        bail!("moving average: of shape {:?}, towards {:?}", average.shape(), value.shape())
    }
    let value = value.detach().contiguous()?;
    #[cfg(feature = "cuda")]
    if super::cuda::updates::is_taken(&[average, &value]) {
        use super::cuda::updates::{Update, update};
        let constants = vec![momentum, 1.0 - momentum];
        return update("move_averages", &[Update { p: average, moments: &[], g: value, constants }]);
    }
    match average.device().is_cpu() {
        true => average.inplace_op2(&value, &Average { momentum }),
        false => move_average_plain(average, &value, momentum),
    }
}

/// [`move_average`] from Candle's own operations.
pub fn move_average_plain(average: &Var, value: &Tensor, momentum: f64) -> Result<()> {
    average.set(&((average.as_detached_tensor() * momentum)? + (value.detach() * (1.0 - momentum))?)?)
}

struct Average {
    momentum: f64,
}

impl Average {
    fn apply<T: Real>(
        &self,
        average: &mut [T],
        layout: &Layout,
        value: &CpuStorage,
        of: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("moving average: expected a contiguous variable, found strides {:?}", layout.stride())
        };
        let (keep, take) = (T::from_f64(self.momentum), T::from_f64(1.0 - self.momentum));
        let value = values::<T>(value, of)?;
        average[start..end].par_chunks_mut(PIECE).zip(value.par_chunks(PIECE)).for_each(
            |(average, value)| {
                vectorised(
                    #[inline(always)]
                    || average.iter_mut().zip(value).for_each(|(a, &x)| *a = keep * *a + take * x),
                );
            },
        );
        Ok(())
    }
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "moving average"
    }

    fn cpu_fwd(&self, average: &mut CpuStorage, l1: &Layout, value: &CpuStorage, l2: &Layout) -> Result<()> {
        match average {
            CpuStorage::F32(average) => self.apply::<f32>(average, l1, value, l2),
            CpuStorage::F64(average) => self.apply::<f64>(average, l1, value, l2),
            other => unsupported(self.name(), other.dtype()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rstest::rstest;

    use super::*;
    use crate::tensor::check::{distance, normal};

    #[rstest]
    fn equals_its_twin(#[values(DType::F32, DType::F64)] dtype: DType) -> Result<()> {
        // More than one piece, and not a multiple of one.
        let shape = [3, 12_345];
        let (average, value) = (normal("average", &shape, dtype)?, normal("value", &shape, dtype)?);
        let twin = Var::from_tensor(&average.as_detached_tensor().copy()?)?;
        for momentum in [0.0, 0.996, 1.0] {
            move_average(&average, value.as_tensor(), momentum)?;
            move_average_plain(&twin, value.as_tensor(), momentum)?;
            assert!(distance(average.as_tensor(), twin.as_tensor())? < 1e-6);
        }
        // After a momentum of 0 the average is the value itself.
        assert!(distance(average.as_tensor(), value.as_tensor())? < 1e-6);
        Ok(())
    }

    #[test]
    fn a_worked_average() -> Result<()> {
        let average = Var::new(&[1.0, -2.0], &candle_core::Device::Cpu)?;
        move_average(&average, &Tensor::new(&[2.0, 2.0], average.device())?, 0.75)?;
        assert_eq!(average.to_vec1::<f64>()?, [1.25, -1.0]);
        Ok(())
    }
}
