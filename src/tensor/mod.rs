//! Differentiable operations on images laid out as (batch, height, width, channels), on tokens (batch, tokens,
//! width) and on rows.
//!
//! Each operation is a folder. `mod.rs` has its interface and its twin, a reference version made of plain Candle
//! operations, against which it is tested. `cpu.rs` has a Candle custom operation with its own backward pass for
//! the CPU; `gpu.rs` has one for a GPU, with its kernels in a `.cu` file. Code that operations share is in `cpu`,
//! in [`gpu`] and, for Candle's graph, in [`graph`].
//!
//! Work is split into pieces whose size depends only on shapes, and partial sums are added in a fixed order, so
//! results are bit-identical for any number of threads. A [`chain()`] combines operations into one node of Candle's
//! graph. Independent of networks, parameters and losses.

pub mod attention;
pub mod batch_norm;
pub mod convolution;
pub(crate) mod cpu;
pub mod depthwise;
pub mod gelu;
pub mod gpu;
pub mod graph;
pub mod layer_norm;
pub mod linear;
pub mod pooling;
mod rows;
#[cfg(test)]
mod tests;
pub mod unit_rows;
pub(crate) mod updates;

pub use attention::{attention, attention_of_first};
pub use batch_norm::{Statistics, batch_norm};
pub use convolution::{Geometry, convolution};
pub use depthwise::{depthwise, relu6};
pub use gelu::gelu;
pub use graph::{
    chain::{chain, without_gradients},
    gradients::backward,
    pair::add,
    precision::widen,
};
pub use layer_norm::layer_norm;
pub use linear::{linear, linear_of_gelu};
pub use pooling::{global_mean, max_pool};
pub use rows::{first_tokens, pick_rows};
pub use unit_rows::unit_rows;
pub use updates::{AverageUpdate, move_average_plain, move_averages};
