//! Losses: tensors in, one differentiable scalar out. Know nothing of networks, data or optimisers.
//!
//! Only operations whose Candle gradient is right are used: no fused softmax (it has none), and no
//! `abs` or `relu` at a point where a value may be exactly zero (their one-sided slopes differ from
//! the derivative of the whole).

pub mod classification;
pub mod contrastive;
