//! Losses: tensors in, one differentiable scalar out. Independent of networks, data and optimisers.
//!
//! Only operations with a correct gradient in Candle are used: no fused softmax (it has none), and no `abs` or
//! `relu` where a value may be exactly zero (their one-sided slopes differ from the derivative of the whole
//! expression).

use candle_core::Tensor;

pub mod classification;
pub mod contrastive;
pub mod cross_correlation;
pub mod distillation;
pub mod reconstruction;
pub mod regression;

/// A loss of several terms.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Scalar to minimise.
    pub total: Tensor,
    /// Named scalar parts that are logged as curves: constants, read on demand.
    pub parts: Vec<(&'static str, Tensor)>,
}
