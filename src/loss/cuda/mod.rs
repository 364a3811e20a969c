//! Losses on a GPU by kernels of our own. Their plain twins are [`super::contrastive`] and [`super::cross_correlation`],
//! which call them for tensors on a GPU; the kernels' text is tested without one in `benchmarks/cells/kernels.rs`.

mod barlow_twins;
mod nt_xent;

use candle_core::{DType, Tensor};

pub use self::{
    barlow_twins::{barlow_twins, has_barlow_twins},
    nt_xent::{has_nt_xent, nt_xent},
};

/// Whether kernels take this tensor as it is.
fn is_taken(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

#[cfg(test)]
mod tests;
