//! Code that several verbs share.

// First, because its macros are used everywhere.
#[macro_use]
pub mod print;

pub mod alone;
pub mod card;
pub mod command;
#[cfg(test)]
pub mod committed;
pub mod examine;
pub mod likely;
pub mod notes;
pub mod pipe;
pub mod program;
pub mod pulse;
pub mod shared;
pub mod source;
pub mod stop;
pub mod table;
pub mod threads;
