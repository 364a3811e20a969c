//! Training: what moves the variables, and how fast. Knows nothing of data sets or scores.

pub mod optimiser;
pub mod schedule;
