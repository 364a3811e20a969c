//! Differentiable operations on images laid out as (batch, height, width, channels), on tokens (batch, tokens,
//! width) and on rows.
//!
//! Each is a Candle custom operation with a backward pass of its own, and keeps a twin made of
//! plain Candle operations beside it as the oracle of its tests. Work is cut into pieces whose size
//! depends on shapes only, and partial sums are added in a fixed order, so one thread and many give
//! equal bits. In a [`chain()`] they are noted for one node of Candle's graph. Knows nothing of networks, parameters or losses.

pub mod attention;
mod average;
pub mod batch_norm;
pub mod chain;
pub mod convolution;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod exponential;
pub mod gelu;
pub mod gpu;
pub mod gradients;
pub mod layer_norm;
pub mod linear;
mod matrix;
mod patches;
pub mod pooling;
pub mod precision;
mod rows;
mod storage;
mod strips;
pub(crate) mod vector;

#[cfg(test)]
pub(crate) mod check;

pub use attention::attention;
pub use average::{Move, move_average_plain, move_averages};
pub use batch_norm::{Statistics, batch_norm};
pub use chain::{add, chain};
pub use convolution::{Geometry, convolution};
pub use gelu::gelu;
pub use gradients::backward;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use pooling::{global_mean, max_pool};
pub use precision::widen;
pub use rows::pick_rows;
