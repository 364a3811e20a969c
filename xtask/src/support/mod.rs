//! What several verbs share.

pub mod program;
pub mod pulse;
pub mod source;
pub mod table;
