//! Moving averages on the CPU. Pieces have a fixed size, and every number is computed by one thread.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, backend::BackendStorage, bail};
use rayon::prelude::*;

use crate::tensor::cpu::{
    storage::{Real, unsupported, values},
    vector::vectorised,
};

/// Number of elements that one thread processes at a time (ours: two such pieces of f32 fit into a second-level
/// cache).
const PIECE: usize = 32_768;

/// Moves one average, as in [`crate::tensor::move_averages`].
pub fn move_average(average: &Var, value: &Tensor, keep: f64, take: f64) -> Result<()> {
    average.inplace_op2(&value.detach().contiguous()?, &Average { keep, take })
}

struct Average {
    keep: f64,
    take: f64,
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
        let (keep, take) = (T::from_f64(self.keep), T::from_f64(self.take));
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
