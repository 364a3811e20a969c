//! One list of checks, which the CPU's tests, the kernels' harness, a GPU (`gpu operations` and related commands)
//! and PyTorch (`fixtures/torch/*.py`) all use.
//!
//! A shape is a line of [`operations::cases`]; an operation is a function of `operations/define.rs` and its lines
//! there. The code that runs the cases is short and belongs to its runner:
//! `benchmarks/cells/{operations,kernels,trajectories}`, `xtask/src/cmd/gpu`.
//!
//! | module | what |
//! |---|---|
//! | [`operations`] | operations with their arguments, twins and bounds; every shape |
//! | [`losses`] | sizes at which losses are timed |
//! | [`updates`], [`views`] | the optimisers' updates; drawn views |
//! | [`trajectory`], [`formula`] | training steps from weights, images and masks defined by a formula |
//! | [`recorded`] | what PyTorch recorded of them, and comparing ours with it |
//! | [`pytorch`] | the cases in the format of the scripts in `fixtures/torch` |
//! | [`compare`], [`inputs`] | comparing tensors; named inputs |
//! | [`differences`], [`mod@reference`] | helpers for unit tests |
//!
//! Test helpers take only Candle's types, so that unit tests of `skewbench` itself can use them.

pub mod compare;
pub mod differences;
pub mod formula;
pub mod inputs;
pub mod losses;
pub mod operations;
pub mod pytorch;
pub mod recorded;
pub mod reference;
pub mod trajectory;
pub mod updates;
pub mod views;

pub use differences::{assert_differences, assert_thread_independent, assert_twins, differentiate, distance};
pub use inputs::normal;
use skewbench::{backbone, method};

/// Returns every method of the paper on every backbone that it is defined on. SimCLR and Barlow Twins come first:
/// if time is limited, the least important pairs are cut off.
pub fn pairs() -> Vec<(method::Name, backbone::Name)> {
    const FIRST: [method::Name; 2] = [method::Name::SimClr, method::Name::BarlowTwins];
    let others = method::Name::PAPER.into_iter().filter(|method| !FIRST.contains(method));
    let on_each = |method: method::Name| {
        let defined = move |backbone: &backbone::Name| method.undefined_on(*backbone).is_none();
        backbone::Name::STUDY.into_iter().filter(defined).map(move |backbone| (method, backbone))
    };
    FIRST.into_iter().chain(others).flat_map(on_each).collect()
}
