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
//! - **Training subset**: training images chosen so that defects have a cell's share. **Validation subset**:
//!   the same of validation images; every model is scored on several.
//! - **Scale**: how large everything is: `fixture` (tests), `small` (a laptop), `full` (the paper's).
//! - **Recipe**: hyper-parameters, each with its source. **Objective**: the part of them that is the method's
//!   own.
//! - **View**: one augmented version of an image. **View set**: the distributions that a method's views come
//!   from.
//!
//! What is scored:
//! - **Features**: what an encoder makes of an image. **Embeddings**: what a loss compares, a projector's
//!   output.
//! - **Probe**: a linear classifier on features. *Online*: trained beside the method. *Converged*: fitted to
//!   frozen features until its gradient vanishes, with the C that cross-validation chooses.
//! - **Place**: a part of an image that a backbone has features of: a place of its last map, or a patch.
//! - **Label budget**: how many labelled defects a probe is fitted on, or all weights are trained on.
//! - **Logit**: what a classifier says of an image; above 0 it calls it a defect.
//! - **Floor**: what costs no training and must be beaten: pixels, random weights, weights from a file.
//! - **Group**: images that belong together, such as all of a pipe. **Leak**: what is on both sides of a split.
//!
//! What is kept:
//! - **Bundle**: a detector in one file: encoder, probe, threshold, calibration, and pictures that check it.
//! - **Record**: what a cell measured, and which code, data and machine measured it.
//! - **Identity**: all that decides a cell's numbers: settings, content of the images, code, device,
//!   precision. **Fingerprint**: its digest.
//! - **Checkpoint**: a cell's state while it trains. **Resume**: continue from it, to the same bits.
//! - **Lock**: a file that says which process works on a cell.
//! - **Skip**: leave out an image that cannot be read, and count it.
//!
//! What is said:
//! - **Claim**: a sentence of the paper, or a question of ours, as a predicate on records.
//! - **Yardstick**: how a claim is judged: by the paper's score or AUROC, at every share or on average.
//! - **Verdict**: what a claim comes to: holds, fails, the same or undecided.
//! - **Outlook**: what an undecided claim could have shown, and how many seeds would decide it.
//! - **Noise**: how far a score moves when nothing but the seed changes, cell by cell.
//! - **Margin**: scores that differ by less are the same.
//! - **Arm**: a method on a backbone, trained at one share, its encoder frozen or fine-tuned: what there is to choose
//!   between. **Card**: what to take of
//!   the arms at a share, how sure that is, and what to run next.
//! - **Trial**: a numbered point of the space that tuning searches.
//! - **Look**: a comparison of the arms after a round of seeds.
//! - **Twin**: an operation written with Candle's own operations, which ours is tested against.
//!
//! # Layers
//! A file uses only what stands below its layer:
//!
//! ```text
//! xtask, benchmarks     commands; cells and checks as tests; timings
//! experiment            one cell's walk; cells, scales, recipes
//! report                one page: verdicts, figures, tables, the explorer (knows nothing of experiment)
//! claims                what the paper says, as predicates with a verdict
//! bundle                a detector in one file, that checks itself
//! analysis              many records as one table; intervals, comparisons, correlations
//! results               records, provenance, the paper's numbers
//! train     evaluate    the one training loop; features, probes, scores
//! method                what a training step optimises
//! loss      loader      losses as plain tensor formulas; images to batches of views
//! label_free            what features tell without labels (beside loss and loader)
//! augment   backbone    views of an image; encoders, heads, their parameters, read from files too
//! data      tensor      where images come from; operations with a backward of their own
//! durable               files that are whole or not there, after a power cut too
//! seed      schedule    streams by name: the only source of randomness; values that change with the step
//! study                 which table or question a cell belongs to
//! named                 enums whose variants have one spelling
//! ```
//!
//! # One cell's walk
//! [`experiment::Plan::resolve`] decides everything about a [`experiment::Cell`] before it is trained: a subset
//! of the training images with the wanted share ([`data::imbalance`]), validation images, views, recipe, sizes,
//! first weights, settings, and with them its identity ([`results::record::Identity`]); whatever could stop the
//! cell is found there. [`experiment::run`] then goes through short stages over it, top to bottom: batches of
//! views ([`loader`], [`augment`]); training ([`train::pretrain`]) of a method ([`method`]) with its online probe;
//! features of frozen images, once ([`evaluate::features`]); a converged probe on them ([`evaluate::probe`]), and what
//! else can be made of them (`experiment/frozen.rs`): neighbours' votes, detectors without defects
//! ([`evaluate::detectors`], from [`evaluate::normals`] and [`evaluate::patches`]), probes on few labels; scores at six validation shares
//! ([`evaluate::detection`], [`evaluate::importance`]); whether the probe looks at the defect
//! ([`evaluate::pointing`]); what features tell without labels ([`label_free`]); a record ([`results::record`]), and beside
//! it what scores further images ([`evaluate::scorer`], [`results::detector`]). Nothing returns to an earlier file.
//! [`experiment::run_kept`] is the same walk with its state kept on disk ([`train::checkpoint`]): killed at any
//! moment and resumed, it ends with the same numbers. A state or record of another identity is refused, by name of
//! what differs; the content of image files is part of it ([`data::content`]), and so is the code
//! (`src/build/code.rs`).
//!
//! # Invariants
//! Enforced by `benchmarks/cells/tidy.rs` unless marked:
//! 1. The layers above.
//! 2. Only `seed.rs` makes a generator; only `data/decode/` decodes images; only `results/record.rs` and
//!    `bundle/` have serialised types; only `check.rs` of the cells compares snapshots.
//! 3. Nothing below `experiment` reads the clock or the environment: scale and seeds are arguments.
//! 4. A layer returns values; the only callbacks are progress reports (which offer training's state).
//! 5. Every trainable variable of every method has a finite, non-zero gradient (`gradients.rs`).
//! 6. Each cell is one rstest case, one entry of `experiment::cell`, and one snapshot.
//! 7. On the CPU equal seeds give equal bytes, with one thread or two (tests beside the
//!    operations, and `repeat.rs`), interrupted or not.
//!
//! # Where is ...?
//! A method's loss and heads: `method/<name>.rs`. Its numbers: `experiment/recipe/`. A metric's formula: `evaluate/`,
//! without labels `label_free/`. What the paper prints: `fixtures/paper/`, read by [`results::paper`]. A sentence of
//! the paper: `claims/`; how sure a verdict is: `benchmarks/cells/judge`; how far seeds spread: `analysis/noise.rs` and
//! `analysis/moderated.rs`. What to take, for any data and shares: `claims/decision/`. How the best arm is found:
//! `analysis/elimination.rs`; how often that errs and what it saves: `benchmarks/cells/choose.rs`. What was tuned for
//! whom: `results/BIAS.md`; what tuning may move: `experiment/recipe/search.rs`. A verb of the program:
//! `xtask/src/cmd/<verb>.rs`; how verbs train cells one after the other: `xtask/src/training/`. What people call
//! labels, splits and columns: `data/words.rs` and `data/table.rs`. Where Sewer-ML lies: `data/sewer_ml/find.rs`; files
//! in zip archives: `data/packed.rs`; packed stores: `data/store/`; how large a file may be: `data/regular.rs`, and a picture: `data/decode/room.rs`;
//! whether all of a JPEG is there: `data/decode/jpeg/coded.rs`; where a name stands among a million: `data/names.rs`;
//! pictures that are nearly equal among as many: `data/examine/close.rs`; names on their way to terminals and tables:
//! `data/foreign.rs`; files in Python packages: `data/package.rs`. Weights that others made:
//! `backbone/import/`; how ours are written: `backbone/safe.rs`. Copies, groups and shortcuts: `data/examine/` and `data/groups.rs`. A detector
//! and its threshold: `bundle/`; what runs it: `xtask/src/cmd/predict/`; the same as ONNX: `bundle/onnx/`. Which pictures a
//! cell is trained on, few labels and unseen classes among them: `experiment/resolve/images.rs`; what it begins with:
//! `experiment/plan.rs`. Which records may be compared: `analysis/setting.rs`. How files survive a
//! power cut: `durable.rs`; whether what lies beside a record is its own: `results/beside.rs`. Printing that ends
//! nothing: `xtask/src/support/print.rs`.
//!
//! Figures of documents: `report/figure/picture.rs`; what saves those of the page: `report/save.js`. What readers of
//! files make of damaged bytes: `benchmarks/fuzz/`. Seconds and memory at a million rows: `benchmarks/scale/`; what the
//! paper would cost by such rates: `xtask/src/cmd/cost/`, which writes `results/COST.md`.
//!
//! The drawn sewer, `data/synthetic/`: what a picture shows in `scene.rs`, how it is drawn from a seed in
//! `sample.rs`, the dice in `draws.rs`. Its contact sheet: `xtask/src/cmd/data/contact_sheet.rs`. The made-up
//! frames of `fixtures/`: `benchmarks/cells/frames.rs`.
//!
//! An operation's folder, `tensor/<operation>/`: its face with a plain twin in `mod.rs`, then `cpu.rs`, `gpu.rs`
//! and its CUDA kernels (`.cu`; feature `cuda`; tested on the CPU, never run on a GPU yet). Losses and views with
//! kernels have `gpu.rs` and `.cu` beside them, too. What kernels share: `tensor/gpu/`; what runs them on the CPU:
//! `benchmarks/kernels/`. cuDNN's convolution: `tensor/convolution/gpu.rs`. What is rounded to bf16 and what not:
//! `tensor/graph/precision.rs`. Products of matrices on the CPU: `tensor/cpu/matrix.rs` (how they are cut), `strips.rs` (f32
//! kernels), `pairs.rs` (bf16). How gradients go back through a backbone: `tensor/graph/chain.rs`. What is
//! checked at which shapes, on the CPU, by kernels, on a GPU and by PyTorch, and the steps that are compared
//! with PyTorch's: `benchmarks/checks`.

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

/// The tensor library, so that callers name the same version.
pub use candle_core;
