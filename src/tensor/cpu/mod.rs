//! Engines that operations share on the CPU: products, vector code, windows, room for numbers. Plain slices,
//! but for [`storage`]. Knows nothing about automatic differentiation.

pub mod exponential;
pub mod matrix;
pub mod patches;
pub mod storage;
pub mod strips;
pub mod vector;
