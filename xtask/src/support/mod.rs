//! What several verbs share.

pub mod card;
pub mod command;
pub mod examine;
pub mod pipe;
pub mod program;
pub mod pulse;
pub mod source;
pub mod stop;
pub mod table;
