//! Hyper-parameters as data, each with its source.
//!
//! `as_released` is what the paper's authors ran, read from their public code (the paper itself
//! prints none of it); `short` is ours, for runs of minutes, where LARS with the released numbers
//! would hardly leave its starting point.

use crate::{
    augment::{Normalisation, ViewRecipe},
    method,
    train::{optimiser::Algorithm, schedule::WarmupCosine},
};
