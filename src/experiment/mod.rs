//! Cells of the study: decided ([`Plan::resolve`]), then walked through ([`run`]).
//!
//! Knows everything below and nothing above: neither snapshots, nor reports, nor a command line.

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
pub use run::{Finished, run, run_kept};
pub use scale::Scale;
