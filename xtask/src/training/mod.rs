//! What verbs that train share: cells one after the other, what a person sees of them, and how long they take.

mod cells;
mod display;
pub mod estimate;
mod watch;

pub use cells::{Cells, Failure, Keep, Kept};
