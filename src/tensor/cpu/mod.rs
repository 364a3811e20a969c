//! Building blocks that operations share on the CPU: products, vector code, windows, memory for results. They use
//! plain slices, except [`storage`]. Independent of automatic differentiation.

#[cfg(target_arch = "x86_64")]
pub mod broadcast;
pub mod exponential;
pub mod factor;
pub(super) mod groups;
pub mod lanes;
mod library;
pub mod matrix;
pub mod operands;
pub mod packed;
pub mod pairs;
pub mod patches;
pub mod storage;
pub mod strips;
pub(super) mod turn;
pub mod vector;
