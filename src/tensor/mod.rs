//! Differentiable operations on images laid out as (batch, height, width, channels).
//!
//! Each is a Candle custom operation with a backward pass of its own, and keeps a twin made of
//! plain Candle operations beside it as the oracle of its tests. Work is cut into pieces whose size
//! depends on shapes only, and partial sums are added in a fixed order, so one thread and many give
//! equal bits. Knows nothing of networks, parameters or losses.

pub mod batch_norm;
pub mod convolution;
mod matrix;
mod patches;
pub mod pooling;
mod storage;

#[cfg(test)]
pub(crate) mod check;

pub use batch_norm::{Statistics, batch_norm};
pub use convolution::{Geometry, convolution};
pub use pooling::{global_mean, max_pool};
