//! All stages of one resolved cell, in order: training, features, probe and scores, pointing, label-free metrics,
//! record.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};

use super::{
    Cell, Checkpoint, Event, Plan, Resolved,
    checkpoint::Keeper,
    frozen::{Frozen, pointing, probe},
    label_free,
    model::Model,
    subsets::labels_of,
};
use crate::{
    augment::ViewRecipe,
    data::{Dataset, Labels, Source},
    evaluate::scorer::Scorer,
    loader::Loader,
    method::Method,
    results::{
        Detector, Logits,
        detector::EXAMPLES,
        provenance,
        record::{CellAxes, Cost, Counts, Data, Epoch, Record, SCHEMA},
    },
    train::{Trained, pretrain},
};

/// The result of a cell: what is recorded, and the trained model.
pub struct Finished {
    /// The measurements. The files beside the record are not yet listed in it.
    pub record: Record,
    /// Each classifier's logit of each validation image.
    pub logits: Logits,
    /// Scores further images, with images that check it; `None` without an encoder.
    pub detector: Option<Detector>,
    /// The trained model.
    pub method: Box<dyn Method>,
}

/// Resolves, trains, probes and scores one cell.
///
/// # Errors
/// Names the cell and what went wrong in it: an unreadable image, too few defects, a loss that is not
/// finite, a probe that does not converge.
pub fn run(cell: &Cell, plan: &Plan, source: &Source, progress: &mut dyn FnMut(Event)) -> Result<Finished> {
    let resolved = plan.resolve(cell, source)?;
    walk(&resolved, None, progress).with_context(|| format!("cell {cell}"))
}

/// Trains, probes and scores a cell, saves its state in a file during training, and resumes from that file if it
/// exists. On the CPU the result is bit-identical however often the cell was interrupted. The file stays, until the
/// writer of the record removes it.
///
/// # Errors
/// As for [`run`], and if the state cannot be written, or belongs to another experiment.
pub fn run_with_checkpoint(
    resolved: &Resolved,
    checkpoint: &Checkpoint,
    progress: &mut dyn FnMut(Event),
) -> Result<Finished> {
    walk(resolved, Some(checkpoint), progress).with_context(|| format!("cell {}", resolved.cell))
}

fn walk(
    resolved: &Resolved,
    checkpoint: Option<&Checkpoint>,
    progress: &mut dyn FnMut(Event),
) -> Result<Finished> {
    let provenance = provenance::collect(&resolved.device);
    let mut keeper = Keeper::open(checkpoint, resolved, &provenance, progress)?;
    let mut model = Model::new(resolved)?;

    progress(Event::Stage("training"));
    keeper.start();
    let trained = train(resolved, &mut model, &mut keeper, progress)?;
    let train_seconds = keeper.seconds();

    keeper.stage("features", progress)?;
    keeper.start();
    let begun = Instant::now();
    let frozen = Frozen::extract(resolved, &*model.method)?;
    keeper.lap("features");

    keeper.stage("probe", progress)?;
    let probed = probe(resolved, &model, &trained, &frozen)?;
    keeper.lap("probe");

    keeper.stage("pointing", progress)?;
    let pointed = |name| pointing(resolved, &*model.method, (&probed.scorers, name), &frozen);
    let (by_probe, by_patches) = (pointed("converged")?, pointed("normals_patchcore")?);
    keeper.lap("pointing");

    keeper.stage("label-free", progress)?;
    let label_free = label_free::compute(&*model.method, &frozen.train, resolved)?;
    keeper.lap("label_free");

    let cost = cost(&trained, &mut keeper, train_seconds, begun);
    let detector = if model.method.parameters().all().is_empty() {
        None
    } else {
        Some(detector(resolved, probed.scorers, &probed.classifiers, &frozen)?)
    };
    let logits = Logits { images: frozen.images.clone(), classifiers: probed.classifiers };
    let content = resolved.content();
    let record = Record {
        schema: SCHEMA,
        cell: axes(&resolved.cell),
        fingerprint: resolved.identity.fingerprint(content.as_deref()),
        settings: resolved.identity.settings.clone(),
        data: data(resolved, content, &frozen, [probed.missing, keeper.limits()].concat()),
        curve: curve(&trained.curve, &keeper.epoch_ends),
        probe: probed.fit,
        label_free,
        scores: probed.scores,
        label_budgets: probed.budgets,
        pointing: by_probe,
        pointing_patches: by_patches,
        beside: BTreeMap::new(),
        cost,
        provenance,
    };
    Ok(Finished { record, logits, detector, method: model.method })
}

/// Returns the cell's cost: `train_seconds`, and the time since its evaluation has `begun`.
fn cost(trained: &Trained, keeper: &mut Keeper, train_seconds: f64, begun: Instant) -> Cost {
    let images: usize = trained.curve.iter().map(|epoch| epoch.images).sum();
    Cost {
        train_seconds,
        evaluate_seconds: begun.elapsed().as_secs_f64(),
        images_per_second: images as f64 / train_seconds,
        resumed: keeper.resumed,
        parts: std::mem::take(&mut keeper.parts),
    }
}

fn train(
    resolved: &Resolved,
    model: &mut Model,
    keeper: &mut Keeper,
    progress: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let loader = resolved.loader();
    let whole = [ViewRecipe::full_frame(resolved.scale.side)];
    let ranked = resolved.evenly(resolved.scale.rank_images);
    let rank_sample = Loader { indices: &ranked, views: &whole, ..loader };
    let loader = Loader { dtype: resolved.training_dtype, ..loader };
    let optimisation = resolved.recipe.optimisation(&resolved.scale);
    let from = keeper.resume_from.take();
    let probe = model.online_probe.as_mut();
    pretrain(&*model.method, probe, &loader, &rank_sample, &optimisation, from.as_ref(), |step| {
        keeper.on_progress(&step)?;
        progress(Event::Training(step));
        Ok(())
    })
}

/// Returns the scorers, with evenly spaced validation images and their scores.
fn detector(
    resolved: &Resolved,
    scorers: Vec<Scorer>,
    classifiers: &[(String, Vec<f64>)],
    frozen: &Frozen,
) -> Result<Detector> {
    let (rows, whole) = (frozen.images.len(), ViewRecipe::full_frame(resolved.scale.side));
    let count = EXAMPLES.min(rows);
    let examples: Vec<usize> = (0..count).map(|place| place * rows / count).collect();
    let picture = |&row: &usize| {
        let image = resolved.source.validation.open(frozen.images[row].position)?;
        // The view of a whole image has no random part.
        let view = whole.draw(image.width, image.height, &mut resolved.seed().child("examples").stream());
        Ok(view.apply(&image))
    };
    let with_logits = |scorer: Scorer| {
        let (_, logits) = classifiers.iter().find(|(name, _)| name == scorer.name())?;
        Some((scorer, examples.iter().map(|&row| logits[row]).collect()))
    };
    Ok(Detector {
        scorers: scorers.into_iter().filter_map(with_logits).collect(),
        pictures: examples.iter().map(picture).collect::<Result<_>>()?,
        usual_size: usual_size(&*resolved.source.train, &resolved.subset.indices),
    })
}

/// Returns the most frequent width and height of these images, among those whose size is known.
fn usual_size(dataset: &dyn Dataset, indices: &[usize]) -> Option<[usize; 2]> {
    let files = dataset.files()?;
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    for sketch in indices.iter().filter_map(|&index| files.sketch(index)) {
        *counts.entry([sketch.width as usize, sketch.height as usize]).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(size, _)| size)
}

fn axes(cell: &Cell) -> CellAxes {
    CellAxes {
        id: cell.id(),
        study: cell.study.id().to_owned(),
        method: cell.method().to_owned(),
        backbone: cell.encoder().to_owned(),
        variant: cell.study.variant(),
        train_share: cell.share.fraction(),
        seed: cell.seed,
    }
}

fn data(resolved: &Resolved, content: Option<String>, frozen: &Frozen, limits: Vec<String>) -> Data {
    let Source { name, train, validation, limits: known, .. } = resolved.source;
    let places = |dataset: &dyn Dataset, indices: &[usize]| -> Vec<String> {
        indices.iter().map(|&index| dataset.location(index)).collect()
    };
    Data {
        source: name.clone(),
        train_digest: resolved.identity.train_digest.clone(),
        validation_digest: resolved.identity.validation_digest.clone(),
        content,
        train: count(&labels_of(&**train, &frozen.train.indices)),
        validation: count(&frozen.labels),
        // Features are computed for every training image, so this lists everything that training skipped.
        skipped: [
            resolved.left_out.to_vec(),
            places(&**train, &frozen.train.skipped),
            places(&**validation, &frozen.validation.skipped),
        ]
        .concat(),
        limits: [known.clone(), left_out(resolved), limits].concat(),
    }
}

/// Notes that a class of defects was left out of training.
fn left_out(resolved: &Resolved) -> Vec<String> {
    let class = resolved.identity.settings.text("unseen.class");
    let line = |class| {
        format!(
            "in cells of study `unseen`, class '{class}' was left out of training, and validation has no other defects"
        )
    };
    class.map(line).into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone,
        data::{ClassSet, Share, files::Files, listing::Listing, synthetic},
        evaluate::features::Features,
        experiment::{Scale, Study},
        method::Name::Supervised,
        seed::Seed,
    };

    #[test]
    fn a_record_names_what_was_skipped_and_counts_what_was_not() {
        let plan = Plan::new(Scale::fixture());
        let source = synthetic::source(Seed::root(0), 60, 40, plan.scale.side);
        let (study, backbone) = (Study::RandomWeights, backbone::Name::ResNet18);
        let cell = Cell { study, method: Supervised, backbone, share: Share::NATURAL, seed: 0 };
        let resolved = plan.resolve(&cell, &source).unwrap();
        let features = |indices, skipped| Features { rows: Vec::new(), width: 1, indices, skipped };
        let (train, validation) = (vec![0, 1, 3], vec![0, 1, 2, 3]);
        let labels = labels_of(&*source.validation, &validation);
        let counts = |labels: &[Labels]| {
            let defects = labels.iter().filter(|labels| labels.defect).count();
            Counts { normals: labels.len() - defects, defects }
        };
        let expected = [counts(&labels_of(&*source.train, &train)), counts(&labels)];
        let frozen = Frozen {
            train: features(train, vec![2]),
            validation: features(validation, vec![4, 5]),
            images: Vec::new(),
            labels,
        };
        let found = data(&resolved, None, &frozen, vec!["a limit".to_owned()]);
        let places = [source.train.location(2), source.validation.location(4), source.validation.location(5)];
        assert_eq!((found.skipped, [found.train, found.validation]), (places.to_vec(), expected));
        assert!(found.limits.contains(&"a limit".to_owned()));
    }

    #[test]
    fn the_usual_size_is_that_of_most_images() {
        let folder = tempfile::tempdir().unwrap();
        let mut listing = Listing::default();
        for (index, (width, height)) in [(90, 90), (30, 20), (30, 20), (20, 30)].into_iter().enumerate() {
            let name = format!("{index}.png");
            image::RgbImage::new(width, height).save(folder.path().join(&name)).unwrap();
            listing.push(&name, Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 }, None);
        }
        let files = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
        files.examine(&[0, 1, 2, 3], &|| ());
        assert_eq!(usual_size(&files, &[0, 1, 2, 3]), Some([30, 20]), "width, then height");
        assert_eq!(usual_size(&files, &[3]), Some([20, 30]), "of the images that are trained on");
    }

    /// Records count epochs from 1; each has the time since the previous one ended.
    #[test]
    fn a_curve_has_the_seconds_of_each_epoch() {
        let epoch = |epoch: usize| crate::train::Epoch {
            epoch,
            images: 10,
            loss: 1.0 + epoch as f64,
            probe_loss: Some(2.0 + epoch as f64),
            learning_rate: 3.0 + epoch as f64,
            monitors: BTreeMap::from([("rankme".to_owned(), 4.0 + epoch as f64)]),
        };
        let found = curve(&[epoch(0), epoch(1), epoch(2)], &[3.0, 10.0, 12.0]);
        let told: Vec<(usize, f64)> = found.iter().map(|epoch| (epoch.epoch, epoch.seconds)).collect();
        assert_eq!(told, [(1, 3.0), (2, 7.0), (3, 2.0)]);
        let last = &found[2];
        assert_eq!((last.loss, last.probe_loss, last.learning_rate), (3.0, Some(4.0), 5.0));
        assert_eq!(last.monitors["rankme"], 6.0);
    }

    #[test]
    fn a_record_spells_its_axes_as_its_cell_does() {
        let cell = |study, share| {
            axes(&Cell { study, method: Supervised, backbone: backbone::Name::ViTTiny, share, seed: 7 })
        };
        let arm = cell(Study::Table1, Share::percent(5));
        assert_eq!(arm.id, "table1/supervised-vit_tiny-share05-seed7");
        assert_eq!([arm.study.as_str(), &arm.method, &arm.backbone], ["table1", "supervised", "vit_tiny"]);
        assert_eq!((arm.variant, arm.train_share, arm.seed), (None, Some(0.05), 7));
        let sized = cell(Study::Table2 { side: 128 }, Share::NATURAL);
        assert_eq!((sized.variant.as_deref(), sized.train_share), (Some("side128"), None));
        // What is fine-tuned has the name of the method that pretrained it.
        for study in [Study::FineTuned, Study::LabelBudget { defects: 20 }] {
            let (method, backbone) = (crate::method::Name::SimClr, backbone::Name::ResNet18);
            let share = Share::percent(45);
            let tuned = axes(&Cell { study, method, backbone, share, seed: 2 });
            assert_eq!(
                [tuned.study.as_str(), &tuned.method, &tuned.backbone],
                [study.id(), "simclr", "resnet18"]
            );
            assert!(tuned.id.contains("/simclr-resnet18-"), "{}", tuned.id);
        }
        let pixels = cell(Study::Pixels, Share::NATURAL);
        assert_eq!([pixels.method.as_str(), &pixels.backbone], ["none", "pixels"]);
    }
}
