//! What a caller is told while a cell is being worked on.

use crate::train::Progress;

/// Something that happened in a cell.
pub enum Event<'a> {
    /// A stage begins: `training`, `features`, `probe`, `label-free`.
    Stage(&'static str),
    /// A part of training is done.
    Training(Progress<'a>),
    /// Training resumes after so many epochs, steps of the next, and images in all.
    Resumed {
        /// Epochs done.
        epoch: usize,
        /// Steps done of the next epoch.
        step: usize,
        /// Images seen so far, over all epochs.
        images: usize,
    },
    /// What a person should know, such as a checkpoint that cannot be resumed.
    Note(&'a str),
}
