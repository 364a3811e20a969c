//! skewbench: when defects are rare, which self-supervised method should I pretrain with, and can I
//! trust the number that tells me?
//!
//! A harness that re-implements, checks and extends "Anomaly Detection In The Wild: Can SSL Handle Strong
//! Distribution Imbalances?" (Otero, Mateus and Balestriero, 2024). This page is the map.
//!
//! # Glossary
//! One name for one thing, in code, records, pages and documents.
//!
//! What is trained:
//! - **Cell**: one trained model: study x method x backbone x training share x seed.
//! - **Study**: the cells that answer one question: a table or figure of the paper, a floor, an ablation.
//! - **Share**: defects among all images, 0..1. **Natural share**: the data's own, with nothing left out.
//! - **Training subset**: training images chosen so that a cell's share of them shows a defect. **Validation
//!   subset**: the same for validation images; every model is scored on several.
//! - **Scale**: the size of everything: `fixture` (tests), `small` (a laptop), `full` (the paper's).
//! - **Recipe**: hyper-parameters, each with its source. **Objective**: the hyper-parameters that are specific to
//!   the method.
//! - **View**: one augmented version of an image. **View set**: the distributions that a method's views are drawn
//!   from.
//!
//! What is scored:
//! - **Features**: what an encoder computes from an image. **Embeddings**: what a loss compares: a projector's
//!   output.
//! - **Probe**: a linear classifier on features. *Online*: trained alongside the method. *Converged*: fitted to
//!   frozen features until its gradient vanishes, with the C that cross-validation chooses.
//! - **Place**: a part of an image for which a backbone gives features: a position of its last feature map, or a
//!   patch.
//! - **Label budget**: the number of labelled defects that a probe, or all weights, are trained on.
//! - **Logit**: a classifier's score of an image; above 0 the image is called a defect.
//! - **Floor**: a baseline that costs no training and must be beaten: pixels, random weights, weights from a file.
//! - **Group**: images that belong together, such as all images of one pipe. **Leak**: images on both sides of a
//!   split.
//!
//! What is kept:
//! - **Bundle**: a detector in one file: encoder, probe, threshold, calibration, and images that check it.
//! - **Record**: what a cell measured, and the code, data and machine that it was measured with.
//! - **Identity**: everything that determines a cell's numbers: settings, content of the images, code, device,
//!   precision. **Fingerprint**: its digest.
//! - **Checkpoint**: a cell's state during training. **Resume**: continue from a checkpoint; the results are
//!   bit-identical to those of an uninterrupted run.
//! - **Lock**: a file that says which process works on a cell.
//! - **Skip**: leave out an image that cannot be read, and count it.
//!
//! What is said:
//! - **Claim**: a sentence of the paper, or a question of our own, as a predicate on records.
//! - **Yardstick**: the score that a claim is judged by (the paper's, or AUROC), at every share or on average.
//! - **Verdict**: the result of judging a claim: holds, fails, the same or undecided.
//! - **Outlook**: what an undecided claim could have shown, and how many seeds would decide it.
//! - **Noise**: how far a score moves when only the seed changes, cell by cell.
//! - **Margin**: two scores that differ by less count as the same.
//! - **Arm**: a method on a backbone, trained at one share, its encoder frozen or fine-tuned: one of the
//!   alternatives to choose between. **Card**: which arms to choose at a share, how certain that choice is, and
//!   what to run next.
//! - **Trial**: a numbered point of the search space that tuning explores.
//! - **Look**: a comparison of the arms after a round of seeds.
//! - **Twin**: an operation composed of Candle's own operations, against which ours is tested.
//!
//! # Layers
//! A file uses only layers below its own:
//!
//! ```text
//! xtask, benchmarks     commands; cells and checks as tests; timings
//! experiment            one cell's walk; cells, scales, recipes
//! report                one page: verdicts, figures, tables, the explorer (independent of experiment)
//! claims                what the paper says, as predicates with a verdict
//! bundle                a detector in one file that checks itself
//! analysis              many records as one table; intervals, comparisons, correlations
//! results               records, provenance, the paper's numbers
//! train     evaluate    the one training loop; features, probes, scores
//! method                what a training step optimises
//! loss      loader      losses as plain tensor formulas; images to batches of views
//! label_free            metrics of features that need no labels (beside loss and loader)
//! augment   backbone    views of an image; encoders, heads, their parameters, read from files too
//! data      tensor      where images come from; operations with a backward of their own
//! durable               atomic file writes: complete or absent, even after a power cut
//! seed      schedule    streams by name: the only source of randomness; values that change with the step
//! study                 which table or question a cell belongs to
//! named                 enums whose variants have one spelling
//! ```
//!
//! # One cell's walk
//! [`experiment::Plan::resolve`] decides everything about a [`experiment::Cell`] before it is trained: a subset of
//! the training images with the wanted share ([`data::imbalance`]), validation images, views, recipe, sizes,
//! initial weights and settings, and with them its identity ([`results::record::Identity`]). Every problem that
//! could stop the cell is found at this point. [`experiment::run`] then runs through short stages, top to bottom:
//!
//! - batches of views ([`loader`], [`augment`]);
//! - training ([`train::pretrain`]) of a method ([`method`]) with its online probe;
//! - features of frozen images, computed once ([`evaluate::features`]);
//! - a converged probe on them ([`evaluate::probe`]), and the other classifiers that frozen features allow
//!   (`experiment/frozen.rs`): neighbours' votes, detectors fitted without defects ([`evaluate::detectors`], from
//!   [`evaluate::normals`] and [`evaluate::patches`]), probes on few labels;
//! - scores at six validation shares ([`evaluate::detection`], [`evaluate::importance`]);
//! - whether the probe looks at the defect ([`evaluate::pointing`]);
//! - label-free metrics of the features ([`label_free`]);
//! - a record ([`results::record`]), and beside it what is needed to score further images ([`evaluate::scorer`],
//!   [`results::detector`]).
//!
//! No stage calls back into an earlier one. [`experiment::run_with_checkpoint`] is the same walk with its state kept on
//! disk ([`train::checkpoint`]): killed at any moment and resumed, it ends with the same numbers. A checkpoint or
//! record of another identity is refused, and the message names what differs; the content of image files is part of the
//! identity ([`data::content`]), and so is the code (`src/build/code.rs`).
//!
//! # Invariants
//! Enforced by `benchmarks/cells/tidy.rs` unless marked:
//! 1. The layers above.
//! 2. Only `seed.rs` makes a generator; only `data/decode/` decodes images; only `results/record.rs` and
//!    `bundle/` have serialised types; only `check.rs` of the cells compares snapshots.
//! 3. Nothing below `experiment` reads the clock or the environment: scale and seeds are arguments.
//! 4. A layer returns values; the only callbacks are progress reports (which also offer the training state).
//! 5. Every trainable variable of every method has a finite, non-zero gradient (`gradients.rs`).
//! 6. Each cell is one rstest case, one entry of `experiment::cell`, and one snapshot.
//! 7. On the CPU equal seeds give equal bytes, with one thread or two, interrupted or not (tests beside the
//!    operations, and `repeat.rs`).
//!
//! # Where is ...?
//! - Methods: a method's loss and heads: `method/<name>.rs`; its hyper-parameters: `experiment/recipe/`; what was
//!   tuned for which method: `results/BIAS.md`; what tuning may change: `experiment/recipe/search.rs`.
//! - Metrics: `evaluate/`; those without labels: `label_free/`.
//! - The paper: its printed numbers: `fixtures/paper/`, read by [`results::paper`]; its sentences: `claims/`.
//! - Statistics: how reliable a verdict is: `benchmarks/cells/judge`; the spread of seeds: `analysis/noise.rs` and
//!   `analysis/moderated.rs`; which records may be compared: `analysis/setting.rs`.
//! - Choosing: which arm to use, for any data and shares: `claims/decision/`; how the best arm is found:
//!   `analysis/elimination.rs`; its error rate and savings: `benchmarks/cells/choose.rs`.
//! - Commands: `xtask/src/cmd/<verb>.rs`; how they train cells one after the other: `xtask/src/training/`; printing
//!   that never ends the program: `xtask/src/support/print.rs`.
//! - Reading data: common names of labels, splits and columns: `data/words.rs` and `data/table.rs`; finding
//!   Sewer-ML: `data/sewer_ml/find.rs`; files in zip archives: `data/packed.rs`; packed stores: `data/store/`;
//!   files in Python packages: `data/package.rs`; fast look-up of a name among a million: `data/names.rs`; safe
//!   display of foreign names: `data/foreign.rs`.
//! - Limits and damage: the largest file: `data/regular.rs`; the largest image: `data/decode/room.rs`; whether a
//!   JPEG is complete: `data/decode/jpeg/coded.rs`; readers given damaged bytes: `benchmarks/fuzz/`.
//! - Checks of data: copies, groups and shortcuts: `data/examine/` and `data/groups.rs`; near-duplicates among a
//!   million images: `data/examine/close.rs`.
//! - A cell's inputs: its training images, including few labels and unseen classes: `experiment/resolve/images.rs`;
//!   its initial weights: `experiment/plan.rs`.
//! - Weights: other libraries' files: `backbone/import/`; our own: `backbone/safe.rs`.
//! - Detectors: a detector and its threshold: `bundle/`; as ONNX: `bundle/onnx/`; applying one:
//!   `xtask/src/cmd/predict/`.
//! - Files: surviving a power cut: `durable.rs`; whether the files beside a record belong to it:
//!   `results/beside.rs`.
//! - Costs: seconds and memory at a million rows: `benchmarks/scale/`; what the paper would cost at the measured
//!   rates: `xtask/src/cmd/cost/`, which writes `results/COST.md`.
//! - Figures: those of documents: `report/figure/picture.rs`; saving those of the page: `report/save.js`.
//!
//! The drawn sewer, `data/synthetic/`: what an image shows: `scene.rs`; how it is drawn from a seed: `sample.rs`;
//! the random draws: `draws.rs`. Its contact sheet: `xtask/src/cmd/data/contact_sheet.rs`. The synthetic frames of
//! `fixtures/`: `benchmarks/cells/frames.rs`.
//!
//! An operation's folder, `tensor/<operation>/`: its interface with a plain twin in `mod.rs`, then `cpu.rs`,
//! `gpu.rs` and its CUDA kernels (`.cu`; feature `cuda`; tested on the CPU, never run on a GPU yet). Losses and
//! views with kernels have `gpu.rs` and `.cu` beside them, too. What kernels share: `tensor/gpu/`; what runs them
//! on the CPU: `benchmarks/kernels/`. cuDNN's convolution: `tensor/convolution/gpu.rs`. What is rounded to bf16 and
//! what is not: `tensor/graph/precision.rs`. Matrix products on the CPU: `tensor/cpu/matrix.rs` (how they are
//! split), `strips.rs` (f32 kernels), `pairs.rs` (bf16). How gradients flow back through a backbone:
//! `tensor/graph/chain.rs`. The shapes at which operations are checked on the CPU, by kernels, on a GPU and by
//! PyTorch, and the training steps compared with PyTorch's: `benchmarks/checks`.

// A library returns what it finds; only the program prints.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod analysis;
pub mod augment;
pub mod backbone;
pub mod bundle;
pub mod claims;
pub mod data;
pub mod durable;
pub mod evaluate;
pub mod experiment;
pub mod label_free;
pub mod loader;
pub mod loss;
pub mod method;
pub mod named;
pub mod report;
pub mod results;
pub mod schedule;
pub mod seed;
pub mod study;
pub mod tensor;
pub mod train;

/// The tensor library, re-exported so that callers use the same version.
pub use candle_core;
