//! What training verbs share: training cells one after the other, the progress display, and time estimates.

mod cells;
mod display;
pub mod estimate;
mod watch;

pub use cells::{Cells, Failure, Keep, StoredEncoders};
