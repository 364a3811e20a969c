//! Every experiment cell and every check that needs more than one layer: one test binary.
//!
//! See `benchmarks/README.md` for how to read, run and add a cell.

mod ablations;
mod another_method;
mod check;
mod compiled_once;
mod extensions;
mod figure3_augmentation;
mod gradients;
mod identity;
mod judge;
mod kernels;
mod learns;
mod operations;
mod page;
mod repeat;
mod skip;
mod table1_methods;
mod table2_resolution;
mod tidy;
mod trajectories;
mod within;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
