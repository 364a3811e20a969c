//! One cell's walk, top to bottom: subset, training, features, probe, scores, record.
//!
//! Knows everything below and nothing above: neither snapshots, nor reports, nor a command line.

pub mod cell;
pub mod recipe;
pub mod scale;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use candle_core::Device;
pub use cell::{Cell, Study};
pub use recipe::Recipe;
pub use scale::Scale;

use crate::{
    augment::{self, Normalisation, ViewRecipe},
    backbone::{self, Architecture},
    data::{OnBadImage, Share, Source, Subset, imbalance::Pool},
    evaluate::{self, Classifier, features},
    loader::Loader,
    loss::classification::balancing_weight,
    method::{self, Method, simclr::SimClr, supervised::Supervised},
    results::record::{self, Record},
    seed::Seed,
    train::{self, Progress, online_probe::OnlineProbe, pretrain},
};
