//! One cell's walk, top to bottom: subset, training, features, probe, scores, record.
//!
//! Knows everything below and nothing above: neither snapshots, nor reports, nor a command line.

pub mod calibrate;
pub mod cell;
mod checkpoint;
mod label_free;
mod plan;
pub mod recipe;
pub mod scale;
mod score;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
pub use cell::{Ablation, Cell, Study};
pub use checkpoint::Checkpoint;
use checkpoint::Keeper;
pub use plan::{Init, Plan, settings};
pub use recipe::{Augmentation, Recipe};
pub use scale::Scale;
use score::Views;

use crate::{
    augment::{Normalisation, ViewRecipe},
    backbone::Architecture,
    data::{Dataset, Labels, Share, Source, Subset, imbalance::Pool, stratify},
    evaluate::{
        features::{self, Features},
        probe::Probe,
    },
    loader::Loader,
    loss::classification::balancing_weight,
    method::{Foundation, Method, untrained::Untrained},
    results::{
        Logits, provenance,
        record::{CellAxes, Cost, Counts, Data, Epoch, ProbeFit, Record, SCHEMA},
    },
    seed::Seed,
    train::{Progress, online_probe::OnlineProbe, pretrain},
};

/// Root of the streams that choose subsets: the same images for every cell, whatever its seed, as the
/// paper's authors fix theirs. The number is ours.
const SUBSET_SEED: u64 = 0;

/// What a caller is told while a cell goes on.
pub enum Event<'a> {
    /// A stage begins: `training`, `features`, `probe`, `label-free`.
    Stage(&'static str),
    Training(Progress<'a>),
    /// Training goes on after so many epochs, steps of the next, and images in all.
    Resumed {
        epoch: usize,
        step: usize,
        images: usize,
    },
    /// What a person should know, such as a checkpoint that cannot be gone on from.
    Note(&'a str),
}

/// Source images that training a cell goes through, all epochs together. Asked of every cell before the
/// first is trained, it also finds what would stop one.
///
/// # Errors
/// If the data has too few defects for the cell's share, or to be scored at all.
pub fn image_passes(cell: &Cell, plan: &Plan, source: &Source) -> Result<usize> {
    if let Some(reason) = cell.undefined() {
        bail!("cell {cell}: {reason}")
    }
    let validation = sample(source.validation.labels(), plan.scale.sample, "validation");
    Views::new(&labels_of(&*source.validation, &validation), &subset_seed("views"))?;
    let (images, scale) = (training_subset(cell, plan, source)?.indices.len(), plan.scale_of(cell));
    // An epoch drops a last, smaller batch; images fewer than a batch are one.
    Ok(if images < scale.batch_size { images } else { images - images % scale.batch_size } * scale.epochs)
}

/// Images that go through the encoder of a cell to be evaluated, its monitors too: views of training images each
/// epoch, then training and validation images once, then views that label-free metrics compare.
///
/// # Errors
/// As [`image_passes`].
pub fn evaluation_passes(cell: &Cell, plan: &Plan, source: &Source) -> Result<usize> {
    let scale = plan.scale_of(cell);
    let training = training_subset(cell, plan, source)?.indices.len();
    let validation = sample(source.validation.labels(), scale.sample, "validation").len();
    let (images, views) = scale.view_sample;
    Ok(scale.epochs * scale.rank_images.min(training) + training + validation + images.min(training) * views)
}

/// A digest of everything that decides a cell's numbers: settings, data, schema.
pub fn fingerprint(cell: &Cell, plan: &Plan, source: &Source) -> String {
    let settings = settings(cell, plan);
    let digests = [source.train.digest(), source.validation.digest()];
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        // Lengths first, so that no two lists of texts run together to the same bytes.
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    [SCHEMA.to_string(), cell.id(), settings.scale, settings.recipe].iter().for_each(|text| add(text));
    settings.values.iter().for_each(|(name, value)| {
        add(name);
        add(value);
    });
    digests.iter().for_each(|text| add(text));
    hasher.finalize().to_hex().to_string()
}

/// A cell's end: what is written down, and the trained model.
pub struct Finished {
    pub record: Record,
    pub logits: Logits,
    pub method: Box<dyn Method>,
}

/// Trains, probes and scores one cell.
///
/// # Errors
/// Names the cell and what went wrong in it: an unreadable image, too few defects, a loss that is not
/// finite, a probe that does not converge.
pub fn run(cell: &Cell, plan: &Plan, source: &Source, progress: &mut dyn FnMut(Event)) -> Result<Finished> {
    walk(cell, plan, source, None, progress).with_context(|| format!("cell {cell}"))
}

/// [`run`] that keeps its state in a file while it trains, and goes on from that file if it is there. However
/// often it was interrupted, on the CPU the end is the same to the bit. The file stays; who writes the record
/// removes it.
///
/// # Errors
/// As [`run`], and if the state cannot be written, or is of another experiment.
pub fn run_kept(
    cell: &Cell,
    plan: &Plan,
    source: &Source,
    checkpoint: &Checkpoint,
    progress: &mut dyn FnMut(Event),
) -> Result<Finished> {
    walk(cell, plan, source, Some(checkpoint), progress).with_context(|| format!("cell {cell}"))
}

fn walk(
    cell: &Cell,
    plan: &Plan,
    source: &Source,
    checkpoint: Option<&Checkpoint>,
    progress: &mut dyn FnMut(Event),
) -> Result<Finished> {
    let provenance = provenance::collect(&plan.device);
    let fingerprint = fingerprint(cell, plan, source);
    let mut keeper = Keeper::open(checkpoint, &fingerprint, &provenance, progress)?;
    let (scale, recipe, seed) = (&plan.scale_of(cell), plan.recipe(cell), Seed::root(cell.seed));
    let subset = training_subset(cell, plan, source)?;
    let defect_weight = balancing_weight(subset.normals, subset.defects)?;

    let method = build(cell, plan, defect_weight, seed.child("model"))?;
    let mut online_probe = match cell.method.is_supervised() {
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

    progress(Event::Stage("training"));
    keeper.start();
    let training_views = plan.views(cell);
    let loader = Loader {
        dataset: &*source.train,
        indices: &subset.indices,
        views: &training_views,
        normalisation: &Normalisation::SEWER_ML,
        batch_size: scale.batch_size,
        on_bad_image: plan.on_bad_image,
        device: &plan.device,
        numbers: DType::F32,
        seed: seed.child("training"),
    };
    let whole = [ViewRecipe::whole(scale.side)];
    let evenly = |count: usize| -> Vec<usize> {
        let all = &subset.indices;
        let count = count.min(all.len());
        (0..count).map(|place| all[place * all.len() / count]).collect()
    };
    let ranked = evenly(scale.rank_images);
    let rank_sample = Loader { indices: &ranked, views: &whole, ..loader };
    let optimisation = recipe.optimisation(scale);
    let from = keeper.from.take();
    let (probe, from) = (online_probe.as_mut(), from.as_ref());
    let trained_on = Loader { numbers: plan.numbers(), ..loader };
    let trained = pretrain(&*method, probe, &trained_on, &rank_sample, &optimisation, from, |step| {
        keeper.see(&step)?;
        progress(Event::Training(step));
        Ok(())
    })?;
    let train_seconds = keeper.seconds();

    progress(Event::Stage("features"));
    keeper.start();
    let begun = Instant::now();
    let validation_indices = sample(source.validation.labels(), scale.sample, "validation");
    let frozen = |dataset, indices| -> Result<Features> {
        features::extract(method.encoder(), &Loader { dataset, indices, views: &whole, ..loader })
    };
    let train = frozen(&*source.train, &subset.indices)?;
    let validation = frozen(&*source.validation, &validation_indices)?;

    keeper.lap("features");
    progress(Event::Stage("probe"));
    let labels = labels_of(&*source.validation, &validation.indices);
    let validation_rows = validation.tensor(&plan.device)?;
    // A classifier that was never trained is none.
    let classifies = !trained.curve.is_empty();
    let classify = |rows: &Tensor| -> Result<Vec<f64>> {
        let logits = match &online_probe {
            Some(probe) => probe.logits(rows)?,
            None => method.classify(rows).context("a supervised method has no classifier")??,
        };
        Ok(logits.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
    };
    let defects: Vec<bool> = labels_of(&*source.train, &train.indices).iter().map(|l| l.defect).collect();
    let fit = Probe::fit(&train.tensor(&plan.device)?, &defects, recipe.converged_probe)?;
    let converged = fit.logits(&validation_rows)?;
    let views = Views::new(&labels, &subset_seed("views"))?;
    let mut classifiers = Vec::new();
    if classifies {
        classifiers.push(("in_training".to_owned(), classify(&validation_rows)?));
    }
    classifiers.push(("converged".to_owned(), converged));
    if recipe.augmented_validation && classifies {
        // As released: training's augmentation on validation images. One view each; the released code
        // counts both views of methods that compare two: more rows of the same kind.
        let augmented = Loader {
            dataset: &*source.validation,
            indices: &validation.indices,
            views: &training_views[..1],
            seed: seed.child("augmented validation"),
            ..loader
        };
        let rows = features::extract(method.encoder(), &augmented)?.tensor(&plan.device)?;
        classifiers.push(("in_training_augmented".to_owned(), classify(&rows)?));
    }
    let mut scores = Vec::new();
    for (name, logits) in &classifiers {
        scores.extend(score::at_every_share(name, logits, &labels, source.has_classes, &views)?);
    }
    let images = validation.indices.iter().copied().zip(labels.iter().copied()).collect();
    let logits = Logits { images, classifiers };
    keeper.lap("probe");
    progress(Event::Stage("label-free"));
    let (viewed_images, views_of_each) = scale.view_sample;
    let seen = evenly(viewed_images);
    let viewed = Loader { indices: &seen, seed: seed.child("label_free"), ..loader };
    let label_free =
        label_free::of(&*method, &train, &viewed, training_views[0], views_of_each, &plan.device)?;
    keeper.lap("label_free");
    let evaluate_seconds = begun.elapsed().as_secs_f64();

    let images: usize = trained.curve.iter().map(|epoch| epoch.images).sum();
    let skipped = |dataset: &dyn Dataset, indices: &[usize]| -> Vec<String> {
        indices.iter().map(|&index| dataset.place(index)).collect()
    };
    let elsewhere =
        keeper.elsewhere.iter().map(|machine| format!("training began on another machine: {machine}"));
    let elsewhere = elsewhere.collect::<Vec<_>>();
    let record = Record {
        schema: SCHEMA,
        cell: CellAxes {
            id: cell.id(),
            study: cell.study.id().to_owned(),
            method: cell.method().to_owned(),
            backbone: cell.encoder().to_owned(),
            variant: cell.study.variant(),
            train_share: cell.share.fraction(),
            seed: cell.seed,
        },
        fingerprint,
        settings: settings(cell, plan),
        data: Data {
            source: source.name.clone(),
            train_digest: source.train.digest(),
            validation_digest: source.validation.digest(),
            train: count(&labels_of(&*source.train, &train.indices)),
            validation: count(&labels),
            // Features are made of every training image, so this names all that training skipped.
            skipped: [
                skipped(&*source.train, &train.skipped),
                skipped(&*source.validation, &validation.skipped),
            ]
            .concat(),
            limits: [source.limits.clone(), views.missing, elsewhere].concat(),
        },
        curve: curve(&trained.curve, &keeper.epoch_ends),
        probe: ProbeFit { iterations: fit.convergence.steps, gradient: fit.convergence.gradient },
        label_free,
        scores,
        cost: Cost {
            train_seconds,
            evaluate_seconds,
            images_per_second: images as f64 / train_seconds,
            resumed: keeper.resumed,
            parts: keeper.parts,
        },
        provenance,
    };
    Ok(Finished { record, logits, method })
}

/// The training images of a cell.
///
/// # Errors
/// If there are too few of either kind for the cell's share.
pub fn training_subset(cell: &Cell, plan: &Plan, source: &Source) -> Result<Subset> {
    let kept = sample(source.train.labels(), plan.training_sample(cell), "train");
    let labels = labels_of(&*source.train, &kept);
    let pool = Pool::new(&labels, &subset_seed("train"));
    let mut subset = match (cell.study, Share::STUDY.iter().position(|&share| share == cell.share)) {
        (Study::SizeMatched, Some(place)) => pool.size_matched(&Share::STUDY)?.swap_remove(place),
        (Study::SizeMatched, None) => bail!("sizes are matched over the study's five shares"),
        _ => pool.subset(cell.share)?,
    };
    subset.indices.iter_mut().for_each(|index| *index = kept[*index]);
    Ok(subset)
}

/// The `part` of a split that is used at all, stratified.
fn sample(labels: &[Labels], part: (usize, usize), split: &str) -> Vec<usize> {
    stratify::cut(labels, part, &subset_seed("sample").child(split)).0
}

fn subset_seed(name: &str) -> Seed {
    Seed::root(SUBSET_SEED).child("subsets").child(name)
}

/// The untrained model of a cell. `defect_weight`: normals/defects of its training set.
///
/// # Errors
/// If the cell is not defined, or the plan's initial weights do not fit.
pub fn build(cell: &Cell, plan: &Plan, defect_weight: f64, seed: Seed) -> Result<Box<dyn Method>> {
    let Scale { resnet_width, resnet_stem, vit, side, heads, .. } = plan.scale_of(cell);
    let architecture = Architecture { name: cell.backbone, resnet_width, resnet_stem, vit, side };
    let foundation =
        Foundation { architecture, heads, defect_weight, seed, dtype: DType::F32, device: &plan.device };
    let method: Box<dyn Method> = match cell.study {
        Study::Pixels => return Ok(Box::new(Untrained::pixels())),
        Study::RandomWeights => Box::new(Untrained::weights(&foundation)?),
        _ => plan.recipe(cell).objective.build(&foundation)?,
    };
    if let Some(Init { path, .. }) = &plan.init {
        let encoder = method.parameters().encoder();
        encoder.load(path).context("other weights than this backbone's? --only chooses cells")?;
    }
    Ok(method)
}

fn labels_of(dataset: &dyn Dataset, indices: &[usize]) -> Vec<Labels> {
    indices.iter().map(|&index| dataset.labels()[index]).collect()
}

fn count(labels: &[Labels]) -> Counts {
    let defects = labels.iter().filter(|labels| labels.defect).count();
    Counts { normals: labels.len() - defects, defects }
}

fn curve(epochs: &[crate::train::Epoch], ends: &[f64]) -> Vec<Epoch> {
    let begins = std::iter::once(&0.0).chain(ends);
    epochs
        .iter()
        .zip(ends.iter().zip(begins))
        .map(|(epoch, (end, begin))| Epoch {
            epoch: epoch.epoch + 1,
            loss: epoch.loss,
            probe_loss: epoch.probe_loss,
            learning_rate: epoch.learning_rate,
            seconds: end - begin,
            monitors: epoch.monitors.clone(),
        })
        .collect()
}
