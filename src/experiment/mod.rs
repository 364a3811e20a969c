//! Cells of a study: [`Plan::resolve`] decides everything about a cell, [`run()`] then trains and scores it.
//!
//! Uses every layer below and none above: no snapshots, reports or command line.

mod budgets;
pub mod calibrate;
pub mod cell;
mod checkpoint;
mod event;
mod frozen;
mod label_free;
mod model;
mod plan;
mod pointing;
pub mod recipe;
mod resolve;
mod run;
pub mod scale;
mod score;
mod settings;
mod subsets;
mod unseen;

pub use cell::{Ablation, Cell, Remedy, Study};
pub use checkpoint::{Checkpoint, Stopped};
pub use event::Event;
pub use plan::{Init, Plan, Pretrained};
pub use recipe::{Augmentation, Recipe};
pub use resolve::{Resolved, Resolver, build};
pub use run::{Finished, run, run_with_checkpoint};
pub use scale::Scale;

#[cfg(test)]
mod tests;
