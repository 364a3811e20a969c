//! skewbench: when defects are rare, which self-supervised method should I pretrain with, and can I
//! trust the number that tells me?
//!
//! A harness that reproduces, audits and extends "Anomaly Detection In The Wild: Can SSL Handle Strong
//! Distribution Imbalances?" (Otero, Mateus and Balestriero, 2024). This page is the map.
//!
//! # Vocabulary
//! - **Cell**: one trained model: method x backbone x training share x seed.
//! - **Share**: defects among all images, 0..1; `natural` is the data's own.
//! - **Scale**: how large everything is: `fixture` (tests), `small` (a laptop), `full` (the paper's).
//! - **Recipe**: hyper-parameters, each with its source.
//! - **View**: one augmented version of an image.
//! - **Record**: what a cell measured, and which code, data and machine measured it.
//!
//! # Layers
//! A file uses only what stands below its layer:
//!
//! ```text
//! xtask, benchmarks     commands; cells and checks as tests; timings
//! experiment            one cell's walk; cells, scales, recipes
//! report                one page: verdicts, figures, tables, the explorer (knows nothing of experiment)
//! claims                what the paper says, as predicates with a verdict
//! analysis              many records as one table; intervals, comparisons, correlations
//! results               records, provenance, the paper's numbers
//! train     evaluate    the one training loop; features, probes, scores
//! method                what a training step optimises
//! loss      loader      losses as plain tensor formulas; images to batches of views
//! label_free            what features tell without labels (beside loss and loader)
//! augment   backbone    views of an image; encoders, heads, their parameters
//! data      tensor      where images come from; operations with a backward of their own
//! seed      schedule    named streams: the only source of randomness; values that change with the step
//! ```
//!
//! # One cell's walk
//! [`experiment::run`] takes a [`experiment::Cell`] and goes through, top to bottom: a subset of the
//! training images with the wanted share ([`data::imbalance`]); batches of views ([`loader`],
//! [`augment`]); training ([`train::pretrain`]) of a method ([`method`]) with its online probe; features
//! of frozen images, once ([`evaluate::features`]); a converged probe on them ([`evaluate::probe`]);
//! scores at six validation shares ([`evaluate::detection`], [`evaluate::importance`]); what they tell
//! without labels ([`label_free`]); a record ([`results::record`]). Nothing returns to an earlier file.
//! [`experiment::run_kept`] is the same walk with its state kept on disk ([`train::checkpoint`]): killed at any
//! moment, it ends with the same numbers.
//!
//! # Invariants
//! Enforced by `benchmarks/cells/tidy.rs` unless marked:
//! 1. The layers above.
//! 2. Only `seed.rs` makes a generator; only `data/decode.rs` decodes images; only `results/record.rs`
//!    has serialised types; only `check.rs` of the cells compares snapshots.
//! 3. Nothing below `experiment` reads the clock or the environment: scale and seeds are arguments.
//! 4. A layer returns values; the only callbacks are progress reports (which offer training's state).
//! 5. Every trainable variable of every method has a finite, non-zero gradient (`gradients.rs`).
//! 6. Each cell is one rstest case, one entry of `experiment::cell`, and one snapshot.
//! 7. On the CPU equal seeds give equal bytes, with one thread or two (tests beside the
//!    operations, and `repeat.rs`), interrupted or not.
//!
//! # Where is ...?
//! A method's loss and heads: `method/<name>.rs`. Its numbers: `experiment/recipe/`. A metric's
//! formula: `evaluate/`, without labels `label_free/`. What the paper prints: `fixtures/paper/`, read by
//! [`results::paper`]. A sentence of the paper: `claims/`; how sure a verdict is: `benchmarks/cells/judge.rs`.
//! CUDA kernels (feature `cuda`; tested on the CPU, never run on a GPU yet) and what launches them:
//! `.cu` and `gpu.rs` beside what they compute, in a folder of `tensor/`, `loss/` or `augment/`; what they share:
//! `tensor/gpu/`; cuDNN's convolution: `tensor/convolution/gpu.rs`. What is rounded to bf16 and what not:
//! `tensor/graph/precision.rs`. How gradients go back through a backbone:
//! `tensor/graph/chain.rs`. What is checked at which shapes, on the CPU, a GPU and by PyTorch, and the steps that are
//! held to PyTorch's: `benchmarks/checks`.

pub mod analysis;
pub mod augment;
pub mod backbone;
pub mod claims;
pub mod data;
pub mod evaluate;
pub mod experiment;
pub mod label_free;
pub mod loader;
pub mod loss;
pub mod method;
pub mod report;
pub mod results;
pub mod schedule;
pub mod seed;
pub mod tensor;
pub mod train;

/// The tensor library, so that callers name the same version.
pub use candle_core;
