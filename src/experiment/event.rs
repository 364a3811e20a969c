//! What a caller is told while a cell is being worked on.

use crate::train::Progress;

/// Something that happened in a cell.
pub enum Event<'a> {
    /// A stage begins: `training`, `features`, `probe`, `label-free`.
    Stage(&'static str),
    Training(Progress<'a>),
    /// Training resumes after so many epochs, steps of the next, and images in all.
    Resumed {
        epoch: usize,
        step: usize,
        images: usize,
    },
    /// What a person should know, such as a checkpoint that cannot be resumed.
    Note(&'a str),
}
