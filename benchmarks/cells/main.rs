//! Every experiment cell and every check that needs more than one layer, in one test binary.
//!
//! See `benchmarks/README.md` for how to read, run and add a cell.

// A test or timing may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod ablations;
mod another_method;
mod check;
mod choose;
mod code;
mod compiled_once;
mod extensions;
mod figure3_augmentation;
mod frames;
mod gradients;
mod identities;
mod identity;
mod judge;
mod kernels;
mod learns;
mod operations;
mod page;
mod readers;
mod repeat;
mod skip;
mod supply;
mod table1_methods;
mod table2_resolution;
mod tidy;
mod trajectories;
mod tuned;
mod twins;
mod within;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
