//! Inputs and statistics of batch normalisation. Independent of how it is computed.

use candle_core::{DType, Result, Tensor, Var};

use crate::tensor::updates::{AverageUpdate, move_averages};

/// Added to variances, as in torchvision.
pub const EPSILON: f64 = 1e-5;

/// Mean and biased variance of each channel.
///
/// They are constants on the device of the input, so that nothing waits for a GPU: f64 for a batch on the CPU, f32
/// for one on a GPU.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// (channels).
    pub mean: Tensor,
    /// Biased variance, (channels).
    pub variance: Tensor,
}

impl Statistics {
    /// Moves running statistics by `share` (0..1) of the distance towards the mean and the unbiased variance of a
    /// batch of `rows` rows.
    pub fn move_running(&self, mean: &Var, variance: &Var, rows: usize, share: f64) -> Result<()> {
        let rows = rows as f64;
        if mean.device().is_cpu() {
            let moved = |running: &Var, batch: Vec<f64>| -> Result<()> {
                let all = to_f64_vec(running)?.into_iter().zip(batch);
                let moved: Vec<f64> =
                    all.map(|(running, batch)| (1.0 - share) * running + share * batch).collect();
                running.set(&Tensor::new(moved, running.device())?.to_dtype(running.dtype())?)
            };
            let unbiased = to_f64_vec(&self.variance)?.into_iter().map(|biased| biased * rows / (rows - 1.0));
            moved(mean, to_f64_vec(&self.mean)?)?;
            return moved(variance, unbiased.collect());
        }
        let unbiased = rows / (rows - 1.0);
        move_averages(&[
            AverageUpdate { average: mean, value: &self.mean, keep: 1.0 - share, take: share },
            AverageUpdate {
                average: variance,
                value: &self.variance,
                keep: 1.0 - share,
                take: share * unbiased,
            },
        ])
    }
}

/// Returns the numbers on the CPU, in double precision.
pub(super) fn to_f64_vec(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.detach().to_dtype(DType::F64)?.to_vec1()
}

/// Optional steps after normalisation, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added before the ReLU; of the input's shape.
    pub residual: Option<&'a Tensor>,
    /// Whether negative numbers are set to 0.
    pub relu: bool,
}
