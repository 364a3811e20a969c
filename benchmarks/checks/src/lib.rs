//! One list of what is checked: the CPU's tests, the kernels' harness, a GPU (`gpu operations` and its
//! neighbours) and PyTorch (`fixtures/torch/*.py`) all go through it.
//!
//! A shape is a line of [`operations::cases`]; an operation is a function of `operations/define.rs` and its
//! lines there. What runs the cases is thin and lies with its runner:
//! `benchmarks/cells/{operations,kernels,trajectories}`, `xtask/src/gpu`.
//!
//! | module | what |
//! |---|---|
//! | [`operations`] | operations with their arguments, twins and bounds; every shape |
//! | [`losses`] | sizes at which losses are timed |
//! | [`updates`], [`views`] | the optimisers' updates; drawn views |
//! | [`trajectory`], [`formula`] | training steps from weights, images and masks that a formula gives |
//! | [`recorded`] | what PyTorch recorded of them, and holding ours to it |
//! | [`pytorch`] | the cases as the scripts in `fixtures/torch` read them |
//! | [`compare`], [`inputs`] | comparing tensors; named inputs |
//! | [`differences`], [`reference`] | helpers of unit tests |
//!
//! Test helpers take Candle's types only, so that unit tests of `skewbench` itself can use them.

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

/// Every method of the paper on every backbone that it is defined on. SimCLR and Barlow Twins come first: where time is
/// limited, what is cut off is the least asked for.
pub fn pairs() -> Vec<(method::Name, backbone::Name)> {
    const FIRST: [method::Name; 2] = [method::Name::SimClr, method::Name::BarlowTwins];
    let others = method::Name::PAPER.into_iter().filter(|method| !FIRST.contains(method));
    let on_each = |method: method::Name| {
        let defined = move |backbone: &backbone::Name| method.undefined_on(*backbone).is_none();
        backbone::Name::STUDY.into_iter().filter(defined).map(move |backbone| (method, backbone))
    };
    FIRST.into_iter().chain(others).flat_map(on_each).collect()
}
