//! Images that are missing or broken, too few labels, and what a cell descends from.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Result, bail};

use super::*;
use crate::{backbone::import::Weights, data::folder};

/// Writes a folder with both splits; every `broken`th training image of each kind is truncated.
fn pictures(folder: &Path, broken: usize) -> Source {
    for (split, counts) in [("train", [30, 12]), ("test", [20, 8])] {
        for (kind, count) in ["good", "crack"].into_iter().zip(counts) {
            let into = folder.join(split).join(kind);
            fs::create_dir_all(&into).unwrap();
            for image in 0..count {
                let path = into.join(format!("{image:02}.png"));
                let shade = if kind == "good" { 40 } else { 180 } + image as u8;
                image::RgbImage::from_pixel(32, 32, image::Rgb([shade, split.len() as u8, 9]))
                    .save(&path)
                    .unwrap();
                if split == "train" && image % broken == broken - 1 {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                }
            }
        }
    }
    folder::source(folder).unwrap()
}

fn floor() -> Cell {
    Cell {
        study: Study::RandomWeights,
        method: Supervised,
        backbone: ResNet18,
        share: Share::NATURAL,
        seed: 3,
    }
}

/// Returns the full message of a failure.
fn failure(plan: &Plan, cell: &Cell, source: &Source) -> String {
    format!("{:#}", plan.resolve(cell, source).map(drop).unwrap_err())
}

fn skipping() -> Plan {
    Plan { on_bad_image: OnBadImage::Skip, ..Plan::new(Scale::fixture()) }
}

/// Four of 42 training images are truncated: every tenth of thirty and of twelve.
#[test]
fn torn_images_stop_a_run_or_are_left_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 10);
    for dataset in [&source.train, &source.validation] {
        let all: Vec<usize> = (0..dataset.labels().len()).collect();
        dataset.files().unwrap().examine(&all, &|| ());
    }
    let torn: Vec<usize> = source.train.files().unwrap().unreadable().into_keys().collect();
    assert_eq!((source.train.labels().len(), torn.len()), (42, 4));
    let message = failure(&Plan::new(Scale::fixture()), &floor(), &source);
    let place = source.train.location(torn[0]);
    let begin = format!(
        "cell random_weights/none-resnet18-natural-seed3: training images: 4 of 42 files cannot be read, the first is {place}: "
    );
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.ends_with("; --on-bad-image skip leaves them out and reports them"), "{message}");
    assert_eq!(message.matches(&place).count(), 1, "{message}");
    let plan = skipping();
    let resolved = plan.resolve(&floor(), &source).unwrap();
    let expected: Vec<String> = torn.iter().map(|&index| source.train.location(index)).collect();
    assert_eq!(*resolved.left_out, expected);
    assert_eq!((resolved.subset.normals, resolved.subset.defects, resolved.validation.len()), (27, 11, 28));
    assert!(torn.iter().all(|index| !resolved.subset.indices.contains(index)));
    let said = resolved.identity.settings.text("left_out").unwrap();
    assert!(said.starts_with("4 unreadable images, ") && said.len() > 25, "{said}");
}

/// Truncated validation images are reported as such, and left out of validation.
#[test]
fn torn_validation_images_are_those_of_validation() {
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 99);
    let path = folder.path().join("test/good/04.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..40]).unwrap();
    let all: Vec<usize> = (0..source.validation.labels().len()).collect();
    source.validation.files().unwrap().examine(&all, &|| ());
    let message = failure(&Plan::new(Scale::fixture()), &floor(), &source);
    assert!(
        message.contains(": validation images: 1 of 28 files cannot be read, the first is "),
        "{message}"
    );
    let plan = skipping();
    let resolved = plan.resolve(&floor(), &source).unwrap();
    assert_eq!((resolved.subset.indices.len(), resolved.validation.len()), (42, 27));
    assert!(
        resolved.left_out[0].contains("04.png") && resolved.left_out.len() == 1,
        "{:?}",
        resolved.left_out
    );
}

#[test]
fn missing_images_are_counted_and_too_few_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 99);
    for image in [5, 6] {
        fs::remove_file(folder.path().join(format!("train/good/{image:02}.png"))).unwrap();
    }
    let message = failure(&Plan::new(Scale::fixture()), &floor(), &source);
    assert!(message.contains("training images: 2 of 42 files are missing, the first is "), "{message}");
    assert!(message.contains("05.png; --on-bad-image skip leaves them out and reports them"), "{message}");
    assert_eq!(
        skipping().resolve(&floor(), &source).unwrap().subset.indices.len(),
        42,
        "counted while training"
    );
    for image in 1..12 {
        fs::remove_file(folder.path().join(format!("train/crack/{image:02}.png"))).unwrap();
    }
    // One defect and 28 normal images are left.
    let source = folder::source(folder.path()).unwrap();
    assert_eq!(source.train.labels().len(), 29, "another listing has what is there");
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 99);
    (1..12).for_each(|image| {
        fs::remove_file(folder.path().join(format!("train/crack/{image:02}.png"))).unwrap()
    });
    let message = failure(&skipping(), &floor(), &source);
    assert!(message.contains("11 of 42 files are missing, the first is "), "{message}");
    assert!(message.ends_with("; the remaining 1 defect and 30 normal images are too few"), "{message}");
}

/// A cell's content digest covers its own files, training first; missing files are marked.
#[test]
fn content_changes_with_every_file_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let content = || {
        let source = pictures(folder.path(), 99);
        let plan = skipping();
        plan.resolve(&floor(), &source).unwrap().content().unwrap()
    };
    let first = content();
    assert_eq!(first, content());
    let path = |name: &str| folder.path().join(name);
    let source = pictures(folder.path(), 99);
    let plan = skipping();
    let of = |source: &Source| plan.resolve(&floor(), source).unwrap().content().unwrap();
    fs::copy(path("test/good/00.png"), path("test/good/01.png")).unwrap();
    let changed = of(&source);
    assert_ne!(changed, first);
    let source = pictures(folder.path(), 99);
    fs::remove_file(path("train/crack/03.png")).unwrap();
    let gone = of(&source);
    assert!(gone != first && gone != changed);
    assert!(plan.resolve(&floor(), &drawn(40, 40)).unwrap().content().is_none(), "drawn images have none");
}

/// Encoders that nobody has trained.
struct Nobody;

impl Pretrained for Nobody {
    fn encoder(&self, cell: &Resolved) -> Result<Weights> {
        bail!("nobody trained {}", cell.cell)
    }
}

/// A fine-tuned cell names the cell that pretrained its encoder, and that cell's fingerprint.
#[test]
fn what_is_fine_tuned_knows_what_it_descends_from() {
    let source = drawn(60, 40);
    let cell = |study, share| Cell { study, method: SimClr, backbone: ResNet18, share, seed: 4 };
    let tuned = cell(Study::FineTuned, Share::percent(45));
    let message = failure(&Plan::new(Scale::fixture()), &tuned, &source);
    let expected = "it is fine-tuned from table1/simclr-resnet18-share45-seed4, but no results folder with that cell was given";
    assert!(message.ends_with(expected), "{message}");
    let plan = Plan { pretrained: Some(Arc::new(Nobody)), ..Plan::new(Scale::fixture()) };
    let resolved = plan.resolve(&tuned, &source).unwrap();
    let before = plan.resolve(&cell(Study::Table1, Share::percent(45)), &source).unwrap();
    let settings = &resolved.identity.settings;
    assert_eq!(settings.text("pretraining.cell").as_deref(), Some("table1/simclr-resnet18-share45-seed4"));
    let fingerprint = before.identity.without_code().fingerprint(None);
    assert_eq!(settings.text("pretraining.fingerprint"), Some(fingerprint));
    let method = resolved.build(Seed::root(0)).unwrap();
    let error = resolved.begin_with_pretrained(&*method).unwrap_err().to_string();
    assert_eq!(error, "nobody trained table1/simclr-resnet18-share45-seed4");
    assert!(before.pretraining.is_none() && before.begin_with_pretrained(&*method).is_ok());
}

#[test]
fn what_cannot_be_trained_says_why() {
    let source = drawn(60, 40);
    let plan = Plan::new(Scale::fixture());
    let cell = |study, method| Cell { study, method, backbone: ResNet18, share: Share::NATURAL, seed: 0 };
    let message = failure(&plan, &cell(Study::Extension, Mae), &source);
    assert!(
        message.starts_with("cell extension/mae-resnet18-natural-seed0: ") && message.contains("convolution"),
        "{message}"
    );
    let released = Plan { recipe: recipe::Name::AsReleased, ..Plan::new(Scale::fixture()) };
    let message = failure(&released, &cell(Study::Tuning { trial: 1 }, SimClr), &source);
    assert!(
        message.ends_with("expected the recipe `short`, the only one with a search space, found as_released"),
        "{message}"
    );
    let defects = source.train.labels().iter().filter(|labels| labels.defect).count();
    let message = failure(&plan, &cell(Study::LabelBudget { defects: 100 }, Supervised), &source);
    let expected = format!("100 labelled defects were requested, but the training set has only {defects}");
    assert!(message.ends_with(&expected), "{message}");
    let message =
        failure(&plan, &Cell { share: Share::percent(3), ..cell(Study::SizeMatched, SimClr) }, &source);
    assert!(message.ends_with("sizes are matched over the study's five shares"), "{message}");
    let mut sized = Plan::new(Scale::fixture());
    sized.scale.side = 33;
    let message = failure(&sized, &Cell { backbone: ViTTiny, ..cell(Study::Extension, SimClr) }, &source);
    assert!(message.contains("cannot build vit_tiny for images of 33 px (--side)"), "{message}");
}

/// Few labels are repeated until an epoch has as many steps as with all.
#[test]
fn few_labels_are_repeated_and_counted() {
    let source = drawn(80, 60);
    let plan = Plan::new(Scale::fixture());
    let of = |study| plan.resolve(&Cell { study, method: Supervised, ..floor() }, &source).unwrap();
    let (few, all) = (of(Study::LabelBudget { defects: 5 }), of(Study::Extension));
    let (normals, defects) = (all.subset.normals, all.subset.defects);
    assert_eq!((few.subset.defects, few.subset.normals), (5, (5 * normals).div_ceil(defects)));
    let count = few.subset.indices.len();
    assert_eq!((few.repeats, all.repeats), (80_usize.div_ceil(count), 1));
    assert!(few.repeats > 1 && few.loader().repeats == few.repeats);
    assert!(
        few.subset.indices.is_sorted()
            && few.subset.indices.iter().all(|index| all.subset.indices.contains(index))
    );
    let labels = source.train.labels();
    assert_eq!(few.subset.indices.iter().filter(|&&index| labels[index].defect).count(), 5);
    // Two epochs of whole batches of 32.
    assert_eq!(few.image_passes(), 2 * (count * few.repeats / 32 * 32));
    assert_eq!(all.image_passes(), 2 * 64);
    assert_eq!(few.evaluation_passes(), 2 * count + count + 60 + count.min(32) * 4);
    assert_eq!(all.evaluation_passes(), 2 * 80 + 80 + 60 + 32 * 4);
    let weight = normals as f64 / defects as f64;
    assert!((all.defect_weight - weight).abs() < 1e-12, "{} {weight}", all.defect_weight);
    // With sixty images, a share of 1 % has fewer than two defects.
    let lines = all.shares_without_scores();
    assert!(lines[0].starts_with("no scores at validation share 1%: "), "{lines:?}");
    assert!(lines.len() < 5 && !lines.iter().any(|line| line.contains("45%")), "{lines:?}");
}

/// A loader has the cell's own sizes, images and policy; only training may use bf16 activations.
#[test]
fn a_loader_has_what_was_decided() {
    let source = drawn(60, 40);
    let plan = Plan { mixed_precision: true, ..skipping() };
    let cell = Cell { study: Study::Remedy(Remedy::Oversampling), method: Supervised, ..floor() };
    let resolved = plan.resolve(&cell, &source).unwrap();
    let loader = resolved.loader();
    assert_eq!((loader.batch_size, loader.repeats, loader.sampling), (32, 1, Sampling::Balanced));
    assert!(loader.on_bad_image == OnBadImage::Skip && loader.indices == resolved.subset.indices);
    assert!(*loader.normalisation == Normalisation::SEWER_ML && loader.views == resolved.views);
    assert_eq!((loader.dtype, resolved.training_dtype), (candle_core::DType::F32, candle_core::DType::BF16));
    assert_eq!(
        std::ptr::from_ref(loader.dataset).cast::<u8>(),
        std::ptr::from_ref(&*source.train).cast::<u8>()
    );
}
