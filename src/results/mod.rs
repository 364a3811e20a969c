//! Numbers after they were measured, and those that others printed. Knows nothing of how to train.

pub mod paper;
