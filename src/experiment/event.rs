//! Progress reports of a cell to its caller.

use crate::train::Progress;

/// Something that happened in a cell.
pub enum Event<'a> {
    /// A stage begins: `training`, `features`, `probe`, `pointing`, `label-free`.
    Stage(&'static str),
    /// Training has progressed.
    Training(Progress<'a>),
    /// Training resumes from a checkpoint.
    Resumed {
        /// Completed epochs.
        epoch: usize,
        /// Completed steps of the next epoch.
        step: usize,
        /// Images seen so far, over all epochs.
        images: usize,
    },
    /// A message for the user, for example that a checkpoint cannot be resumed.
    Note(&'a str),
}
