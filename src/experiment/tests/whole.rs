//! Whole cells: what a record and its detector say about images, and which numbers come from which.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{augment::ViewRecipe, data::folder, results::detector::EXAMPLES};

/// Training images are 40 x 24 pixels, those of validation 24 x 40; one of each split is torn.
fn source(root: &Path) -> Source {
    for (split, counts, [width, height]) in [("train", [14, 10], [40, 24]), ("test", [12, 7], [24, 40])] {
        for (kind, count) in ["good", "crack"].into_iter().zip(counts) {
            let into = root.join(split).join(kind);
            fs::create_dir_all(&into).unwrap();
            for number in 0..count {
                let mut stream = Seed::root(7).child(split).child(kind).index(number).stream();
                let path = into.join(format!("{number:02}.png"));
                let draw = |_, _| image::Rgb([0; 3].map(|_: u8| stream.below(256) as u8));
                // The first of each kind has a size of its own.
                let [width, height] = if number == 0 { [30, 28] } else { [width, height] };
                image::RgbImage::from_fn(width, height, draw).save(&path).unwrap();
                if number == 3 && (split == "train") == (kind == "good") {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                }
            }
        }
    }
    let source = folder::source(root).unwrap();
    for dataset in [&source.train, &source.validation] {
        let all: Vec<usize> = (0..dataset.labels().len()).collect();
        dataset.files().unwrap().examine(&all, &|| ());
    }
    source
}

fn floor(backbone: crate::backbone::Name) -> Cell {
    Cell { study: Study::RandomWeights, method: Supervised, backbone, share: Share::NATURAL, seed: 1 }
}

#[test]
fn a_record_and_its_detector_describe_the_images_that_were_used() {
    let root = tempfile::tempdir().unwrap();
    let source = Source { limits: vec!["a limit of the data".to_owned()], ..source(root.path()) };
    let plan = Plan { on_bad_image: OnBadImage::Skip, ..Plan::new(Scale::fixture()) };
    let resolved = plan.resolve(&floor(ResNet18), &source).unwrap();
    let finished = run(&floor(ResNet18), &plan, &source, &mut |_| {}).unwrap();
    let (record, data) = (&finished.record, &finished.record.data);
    assert_eq!((data.source.as_str(), [data.train.normals, data.train.defects]), ("folder", [13, 10]));
    assert_eq!([data.validation.normals, data.validation.defects], [12, 6]);
    let torn = |dataset: &dyn crate::data::Dataset, end: &str| {
        let mut places = (0..dataset.labels().len()).map(|index| dataset.location(index));
        places.find(|place| place.ends_with(end)).unwrap()
    };
    let skipped = [torn(&*source.train, "good/03.png"), torn(&*source.validation, "crack/03.png")];
    assert_eq!(data.skipped, skipped, "training first");
    assert_eq!(
        (&data.train_digest, &data.validation_digest),
        (&source.train.digest(), &source.validation.digest())
    );
    assert_eq!(data.content, resolved.content());
    assert!(data.content.is_some() && data.limits[0] == "a limit of the data", "{:?}", data.limits);
    assert!(data.limits[1].starts_with("no scores at validation share 1%"), "{:?}", data.limits);
    assert_eq!(record.fingerprint, resolved.identity.fingerprint(data.content.as_deref()));
    assert_eq!((&record.settings, record.schema), (&resolved.identity.settings, 2));

    // Positions of images that were read, without the torn one; names and labels are those of validation.
    let images = &finished.logits.images;
    let positions: Vec<usize> = images.iter().map(|image| image.position).collect();
    assert_eq!(positions, **resolved.validation);
    assert!(images.len() == 18 && !(0..18).eq(positions.iter().copied()), "one is left out: {positions:?}");
    for image in images {
        assert_eq!(image.name, source.validation.name(image.position));
        assert_eq!(image.labels, source.validation.labels()[image.position]);
    }
    let detector = finished.detector.unwrap();
    assert_eq!(detector.usual_size, Some([40, 24]), "that of training images, width first");
    let whole = ViewRecipe::full_frame(plan.scale.side);
    assert_eq!(detector.pictures.len(), EXAMPLES);
    for (place, picture) in detector.pictures.iter().enumerate() {
        let image = source.validation.open(positions[place * 18 / EXAMPLES]).unwrap();
        let view = whole.draw(image.width, image.height, &mut Seed::root(0).stream());
        assert_eq!(*picture, view.apply(&image), "{place}");
    }
    // Pixels have no encoder, so no detector.
    let pixels = Cell { study: Study::Pixels, ..floor(ResNet18) };
    assert!(run(&pixels, &plan, &source, &mut |_| {}).unwrap().detector.is_none());
}

/// Names of the classifiers of a cell with their logits, in order.
fn classifiers(cell: &Cell, source: &Source) -> Vec<(String, Vec<f64>)> {
    let plan = Plan::new(Scale { epochs: 1, ..Scale::fixture() });
    run(cell, &plan, source, &mut |_| {}).unwrap().logits.classifiers
}

/// Post-hoc logit adjustment adds the logarithm of normals/defects to each logit.
#[test]
fn adjusted_and_augmented_logits_stand_beside_the_plain_ones() {
    let source = drawn(60, 40);
    let normals_only = ["normals_neighbours", "normals_mahalanobis", "normals_patchcore", "normals_padim"];
    let cell = Cell { study: Study::Remedy(Remedy::Unweighted), ..floor(ResNet18) };
    let found = classifiers(&cell, &source);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let own = ["in_training", "converged", "in_training_adjusted", "neighbours"];
    assert_eq!(names, [own, normals_only].concat());
    let defects = source.train.labels().iter().filter(|labels| labels.defect).count();
    let odds = ((60 - defects) as f64 / defects as f64).ln();
    assert!(odds.abs() > 0.1, "{defects} of 60");
    for (plain, adjusted) in found[0].1.iter().zip(&found[2].1) {
        assert!((adjusted - plain - odds).abs() < 1e-9, "{adjusted} {plain} {odds}");
    }
    assert!(found.iter().all(|(_, logits)| logits.len() == 40));

    let cell = Cell { study: Study::Ablation(Ablation::AugmentedValidation), ..floor(ResNet18) };
    let found = classifiers(&cell, &source);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let own = ["in_training", "converged", "in_training_augmented", "neighbours"];
    assert_eq!(names, [own, normals_only].concat());
    let different =
        found[0].1.iter().zip(&found[2].1).filter(|(plain, augmented)| plain != augmented).count();
    // The views of supervised training are mirrored with probability one half.
    assert!((10..=30).contains(&different), "{different} of 40 images are mirrored");
}

/// Both maps point for themselves, at the defects of all validation images.
#[test]
fn each_scorer_points_for_itself() {
    let plan = Plan::new(Scale { side: 64, ..Scale::fixture() });
    let source = synthetic::source(Seed::root(0), 60, 40, 64);
    let resolved = plan.resolve(&floor(ResNet18), &source).unwrap();
    let finished = run(&floor(ResNet18), &plan, &source, &mut |_| {}).unwrap();
    let detector = finished.detector.unwrap();
    let labels = source.validation.labels();
    let defects: Vec<usize> = (0..40).filter(|&index| labels[index].defect).collect();
    let pointed = |name: &str| {
        let (scorer, _) = detector.scorers.iter().find(|(scorer, _)| scorer.name() == name).unwrap();
        pointing::score(finished.method.encoder(), scorer, &defects, &resolved).unwrap()
    };
    let record = &finished.record;
    assert_eq!(
        [&record.pointing, &record.pointing_patches],
        [&pointed("converged"), &pointed("normals_patchcore")]
    );
    let [by_probe, by_patches] =
        [&record.pointing, &record.pointing_patches].map(|found| found.as_ref().unwrap());
    assert_eq!((by_probe.images, by_patches.images), (defects.len(), defects.len()));
    assert!(by_probe.hit != by_patches.hit, "{by_probe:?} {by_patches:?}");
    assert!(by_probe.chance > 0.0 && by_probe.chance < by_probe.ceiling, "{by_probe:?}");
}

/// Metrics of features, of the projector's outputs, and of four views of 32 images.
#[test]
fn label_free_metrics_are_of_features_embeddings_and_views() {
    let plan = Plan::new(Scale { epochs: 0, ..Scale::fixture() });
    let cell = Cell { study: Study::Extension, method: SimClr, ..floor(ResNet18) };
    let source = drawn(60, 40);
    let finished = run(&cell, &plan, &source, &mut |_| {}).unwrap();
    let found = finished.record.label_free;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["embeddings", "features", "views"]);
    // Eight channels in the first of four stages, doubled three times; 32 outputs of the projector.
    for (subject, width) in [("features", 64.0), ("embeddings", 32.0)] {
        assert_eq!((found[subject]["rows"], found[subject]["width"]), (60.0, width), "{subject}");
    }
    assert_ne!(found["features"]["rankme"], found["embeddings"]["rankme"]);
    let views = &found["views"];
    assert_eq!((views["images"], views["views"]), (32.0, 4.0));
    // At most as many dimensions as embeddings have, and one fewer than images.
    assert!((views["lidar_normalised"] - views["lidar"] / 31.0).abs() < 1e-12, "{views:?}");
    assert!(views["alignment"] > 0.0 && views["alignment"] < 4.0, "views differ: {views:?}");
    let names: BTreeSet<&str> = views.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["alignment", "images", "lidar", "lidar_normalised", "views"]));
    // Supervised training has no embeddings.
    let cell = Cell { method: Supervised, ..cell };
    let found = run(&cell, &plan, &source, &mut |_| {}).unwrap().record;
    assert_eq!(found.label_free.keys().collect::<Vec<_>>(), ["features", "views"]);
    assert!(found.curve.is_empty() && found.scores[0].classifier == "converged", "nothing was trained");
}

/// After an epoch the rank is that of whole images, which is known again from the trained model.
#[test]
fn the_rank_after_an_epoch_is_that_of_whole_images() {
    let source = drawn(60, 40);
    for (method, subject, bound) in [(SimClr, "embeddings", 32.0), (Supervised, "features", 60.0)] {
        let cell = Cell { study: Study::Extension, method, ..floor(ResNet18) };
        let plan = Plan::new(Scale { epochs: 1, ..Scale::fixture() });
        let record = run(&cell, &plan, &source, &mut |_| {}).unwrap().record;
        let last = &record.curve[0].monitors;
        assert_eq!((last["rankme_images"], last["rankme_bound"]), (60.0, bound), "{method}");
        let ratio = last["rankme"] / record.label_free[subject]["rankme"];
        assert!((ratio - 1.0).abs() < 1e-3, "{method}: {ratio}");
        let plan = Plan::new(Scale { epochs: 1, rank_images: 20, ..Scale::fixture() });
        let record = run(&cell, &plan, &source, &mut |_| {}).unwrap().record;
        assert_eq!(record.curve[0].monitors["rankme_images"], 20.0, "{method}");
    }
}
