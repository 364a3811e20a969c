//! Scores of detectors and of features. Know nothing of networks or training.

pub mod detection;
pub mod features;
pub mod grouped;
pub mod importance;
pub mod normals;
pub mod probe;
