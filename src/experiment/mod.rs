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

/// Shares of defects at which every model is scored: all validation images, and the paper's five.
const VALIDATION_SHARES: [Share; 6] = [
    Share::NATURAL,
    Share::percent(1),
    Share::percent(2),
    Share::percent(5),
    Share::percent(15),
    Share::percent(45),
];

/// Root of the streams that choose subsets: the same images for every cell, whatever its seed. Ours.
const SUBSET_SEED: u64 = 0;

/// What all cells of a run share.
pub struct Plan {
    pub scale: Scale,
    pub on_bad_image: OnBadImage,
    pub device: Device,
}

/// What a caller is told while a cell goes on.
pub enum Event<'a> {
    /// A stage begins: `training`, `features`, `probe`.
    Stage(&'static str),
    Training(Progress<'a>),
}

/// Source images that training a cell goes through, all epochs together.
pub fn image_passes(cell: &Cell, plan: &Plan, source: &Source) -> Result<usize> {
    Ok(training_subset(cell, plan, source)?.indices.len() * plan.scale.epochs)
}

/// Names everything that decides a cell's numbers.
pub fn fingerprint(cell: &Cell, plan: &Plan, source: &Source) -> String {
    let mut hasher = blake3::Hasher::new();
    let settings = settings(cell, plan);
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    add(&record::SCHEMA.to_string());
    add(&cell.id());
    add(&settings.scale);
    add(&settings.recipe);
    for (name, value) in &settings.values {
        add(name);
        add(value);
    }
    add(&source.train.digest());
    add(&source.validation.digest());
    hasher.finalize().to_hex().to_string()
}

/// Trains, probes and scores one cell.
///
/// # Errors
/// Names the cell; see the parts for causes.
pub fn run(cell: &Cell, plan: &Plan, source: &Source, progress: &mut dyn FnMut(Event)) -> Result<Record> {
    walk(cell, plan, source, progress).with_context(|| format!("cell {cell}"))
}

fn walk(cell: &Cell, plan: &Plan, source: &Source, progress: &mut dyn FnMut(Event)) -> Result<Record> {
    let provenance = crate::results::provenance::collect(&plan.device);
    let (scale, recipe) = (&plan.scale, Recipe::at(&plan.scale, cell.method));
    let seed = Seed::root(cell.seed);
    let subset = training_subset(cell, plan, source)?;
    let defect_weight = balancing_weight(subset.normals, subset.defects)?;

    let method = build(cell, plan, &recipe, defect_weight, seed.child("model"))?;
    let mut probe = match cell.method.is_supervised() {
        true => None,
        false => Some(OnlineProbe::new(
            method.encoder().width(),
            recipe.probe_rule,
            recipe.probe_rate(scale),
            defect_weight,
            seed.child("probe"),
            &plan.device,
        )?),
    };

    let views = cell.method.views(scale.side);
    let normalisation = Normalisation::SEWER_ML;
    let loader = Loader {
        dataset: &*source.train,
        indices: &subset.indices,
        views: &views,
        normalisation: &normalisation,
        batch_size: scale.batch_size,
        on_bad_image: plan.on_bad_image,
        device: &plan.device,
        seed: seed.child("training"),
    };
    progress(Event::Stage("training"));
    let started = Instant::now();
    let mut epoch_ends = Vec::new();
    let trained =
        pretrain(&*method, probe.as_mut(), &loader, &recipe.optimisation(scale), |step| {
            if let Progress::Epoch(_) = step {
                epoch_ends.push(started.elapsed().as_secs_f64());
            }
            progress(Event::Training(step));
        })?;
    let train_seconds = started.elapsed().as_secs_f64();

    progress(Event::Stage("features"));
    let started = Instant::now();
    let evaluation = [ViewRecipe::evaluation(scale.side)];
    let evaluated = |dataset, indices| Loader { dataset, indices, views: &evaluation, ..loader };
    let validation_indices: Vec<usize> = validation_sample(plan, source)?;
    let train = features::extract(method.encoder(), &evaluated(&*source.train, &subset.indices))?;
    let validation =
        features::extract(method.encoder(), &evaluated(&*source.validation, &validation_indices))?;

    progress(Event::Stage("probe"));
    let validation_features = validation.tensor(&plan.device)?;
    let in_training = match &probe {
        Some(probe) => probe.logits(&validation_features)?,
        None => method.classify(&validation_features).context("a supervised method has no classifier")??,
    };
    Ok(todo)
}
