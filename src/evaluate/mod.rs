//! Scores of detectors and of features. Independent of networks and training.

pub mod detection;
pub mod detectors;
mod distance;
pub mod features;
pub mod folds;
pub mod grouped;
pub mod importance;
pub mod neighbours;
pub mod normals;
pub mod patches;
pub mod pointing;
pub mod probe;
pub mod scorer;
