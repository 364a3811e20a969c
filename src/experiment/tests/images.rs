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

/// Pixels are normalised as for the weights that the encoder descends from, which the pretraining cell began with.
#[test]
fn what_is_fine_tuned_sees_the_pixels_of_its_pretraining() {
    let (source, folder) = (drawn(60, 40), tempfile::tempdir().unwrap());
    let path = folder.path().join("encoder.safetensors");
    let cell = |study| Cell { study, method: SimClr, ..floor() };
    let encoder = build(&floor(), &Plan::new(Scale::fixture()), 1.0, Seed::root(9)).unwrap();
    let notes = Normalisation::IMAGENET.notes();
    fs::write(&path, encoder.parameters().encoder().to_safetensors(&notes).unwrap()).unwrap();
    let init = Some(Init::new(&path, None).unwrap());
    let plan = Plan { init, pretrained: Some(Arc::new(Nobody)), ..Plan::new(Scale::fixture()) };
    for study in [Study::Extension, Study::FineTuned, Study::LabelBudget { defects: 5 }] {
        let resolved = plan.resolve(&cell(study), &source).unwrap();
        assert_eq!(resolved.normalisation, Normalisation::IMAGENET, "{study:?}");
        assert_eq!(*resolved.loader().normalisation, Normalisation::IMAGENET, "{study:?}");
        // The weights themselves are those that pretraining left.
        assert_eq!(resolved.init.is_some(), study == Study::Extension, "{study:?}");
        if let Some((before, _)) = &resolved.pretraining {
            assert!(before.init.is_some() && before.normalisation == Normalisation::IMAGENET, "{study:?}");
        }
    }
    assert_eq!(plan.resolve(&floor(), &source).unwrap().normalisation, Normalisation::SEWER_ML);
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
    // Nor all: that is training on all labels.
    let budget = |defects| cell(Study::LabelBudget { defects }, Supervised);
    let message = failure(&plan, &budget(defects as u16), &source);
    let expected =
        format!("{defects} labelled defects were requested, but the training set has only {defects}");
    assert!(message.ends_with(&expected), "{message}");
    let almost = plan.resolve(&budget(defects as u16 - 1), &source).unwrap();
    assert_eq!(almost.subset.defects, defects - 1);
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

/// Whole repetitions, as many as it takes to reach all labels or more.
#[test]
fn repetitions_of_few_labels_are_rounded_up() {
    let plan = Plan::new(Scale::fixture());
    let mut rests = Vec::new();
    for train in [80, 87, 94] {
        let source = drawn(train, 60);
        let cell = Cell { study: Study::LabelBudget { defects: 5 }, method: Supervised, ..floor() };
        let few = plan.resolve(&cell, &source).unwrap();
        let (count, repeated) = (few.subset.indices.len(), few.subset.indices.len() * few.repeats);
        assert!((train..train + count).contains(&repeated), "{count} of {train}, {} times", few.repeats);
        rests.push(repeated - train);
    }
    assert!(rests.iter().any(|rest| *rest > 0), "{rests:?}");
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

/// What is left out is part of the identity by its positions in each split, not only by its number.
#[test]
fn which_images_are_left_out_is_part_of_the_settings() {
    let stated = |torn: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let source = pictures(folder.path(), 99);
        for name in torn {
            fs::write(folder.path().join(name), "no picture").unwrap();
        }
        for dataset in [&source.train, &source.validation] {
            let all: Vec<usize> = (0..dataset.labels().len()).collect();
            dataset.files().unwrap().examine(&all, &|| ());
        }
        let plan = skipping();
        let identity = plan.resolve(&floor(), &source).unwrap().identity;
        identity.settings.text("left_out")
    };
    assert_eq!(stated(&[]), None);
    let [first, second, validation, both] = [
        &["train/good/02.png"][..],
        &["train/good/03.png"],
        &["test/good/02.png"],
        &["train/good/02.png", "test/good/02.png"],
    ]
    .map(|torn| stated(torn).unwrap());
    assert_eq!(stated(&["train/good/02.png"]), Some(first.clone()));
    assert!([&first, &second, &validation].iter().all(|said| said.starts_with("1 unreadable images, ")));
    assert!(both.starts_with("2 unreadable images, "), "{both}");
    assert!(first != second && first != validation && second != validation);
}

/// An image of the class that is left out, or another, is not scored if it cannot be read.
#[test]
fn validation_of_an_unseen_class_is_cut_from_the_images_that_are_left() {
    let folder = tempfile::tempdir().unwrap();
    for (split, counts) in [("train", [20, 9, 6]), ("test", [12, 8, 7])] {
        for (kind, count) in ["good", "crack", "root"].into_iter().zip(counts) {
            let into = folder.path().join(split).join(kind);
            fs::create_dir_all(&into).unwrap();
            for image in 0..count {
                let shade = image::Rgb([10 * image as u8, split.len() as u8, kind.len() as u8]);
                image::RgbImage::from_pixel(32, 32, shade)
                    .save(into.join(format!("{image:02}.png")))
                    .unwrap();
            }
        }
    }
    for torn in ["test/good/05.png", "test/crack/01.png", "test/root/02.png", "train/root/04.png"] {
        fs::write(folder.path().join(torn), "no picture").unwrap();
    }
    let source = folder::source(folder.path()).unwrap();
    for dataset in [&source.train, &source.validation] {
        let all: Vec<usize> = (0..dataset.labels().len()).collect();
        dataset.files().unwrap().examine(&all, &|| ());
    }
    let plan = skipping();
    let unseen = |rank| Cell { study: Study::Unseen { rank }, ..floor() };
    let kinds = |dataset: &dyn crate::data::Dataset, indices: &[usize]| {
        let count = |kind| indices.iter().filter(|&&index| dataset.class_name(index) == kind).count();
        [None, Some("crack"), Some("root")].map(count)
    };
    let mut resolver = Resolver::new(&plan, &source);
    let all = resolver.resolve(&floor()).unwrap();
    assert_eq!(kinds(&*source.validation, &all.validation), [11, 7, 6]);
    for (rank, class, train, validation) in
        [(0, "crack", [20, 0, 5], [11, 7, 0]), (1, "root", [20, 9, 0], [11, 0, 6])]
    {
        let resolved = resolver.resolve(&unseen(rank)).unwrap();
        assert_eq!(kinds(&*source.train, &resolved.subset.indices), train, "{class}");
        assert_eq!(kinds(&*source.validation, &resolved.validation), validation, "{class}");
        assert_eq!(resolved.identity.settings.text("unseen.class").as_deref(), Some(class));
        assert_eq!([resolved.subset.normals, resolved.subset.defects], [20, train[1] + train[2]]);
    }
    // The class that is left out of one cell is in the others.
    let again = resolver.resolve(&floor()).unwrap();
    assert_eq!(kinds(&*source.validation, &again.validation), [11, 7, 6]);
    assert_eq!(kinds(&*source.train, &again.subset.indices), [20, 9, 5]);
    let record = run(&unseen(1), &plan, &source, &mut |_| {}).unwrap().record;
    let limit = "in cells of study `unseen`, class 'root' was left out of training, and validation has no other defects";
    assert!(record.data.limits.iter().any(|line| line == limit), "{:?}", record.data.limits);
}

/// A cell goes on only with the pictures that it began with.
#[test]
fn a_state_belongs_to_the_pictures_that_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (plan, source) = (Plan::new(Scale::fixture()), pictures(&data, 99));
    let cell = Cell { study: Study::Extension, ..floor() };
    let resolved = plan.resolve(&cell, &source).unwrap();
    let checkpoint = Checkpoint {
        path: folder.path().join("a.checkpoint"),
        every: std::time::Duration::from_secs(300),
        stop: Arc::new(true.into()),
    };
    run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).map(drop).unwrap_err();
    let again = || {
        let source = folder::source(&data).unwrap();
        let resolved = plan.resolve(&cell, &source).unwrap();
        checkpoint.ensure_belongs_to(&resolved).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(again(), Ok(()));
    let used = resolved.used_digests();
    let place = used.chunks(16).position(|digest| digest.iter().any(|&byte| byte != 0)).unwrap();
    let index = resolved.subset.indices[place];
    let path = std::path::PathBuf::from(source.train.location(index));
    assert!(path.starts_with(&data) && path.is_file(), "{path:?}");
    image::RgbImage::from_pixel(32, 32, image::Rgb([1, 2, 3])).save(&path).unwrap();
    let error = again().unwrap_err();
    assert!(error.starts_with("images have changed since training began: 1 of the "), "{error}");
    assert!(error.ends_with(&format!("the first is {}", source.train.location(index))), "{error}");
}

/// Files of either split that were used count; others, and the order of the splits, do not matter.
#[test]
fn images_that_were_used_and_changed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(Scale::fixture());
    let source = pictures(folder.path(), 99);
    let resolved = plan.resolve(&floor(), &source).unwrap();
    assert!(resolved.used_digests().iter().all(|&byte| byte == 0), "nothing is used yet");
    let place = |dataset: &dyn crate::data::Dataset, end: &str| {
        (0..dataset.labels().len()).find(|&index| dataset.name(index).ends_with(end)).unwrap()
    };
    let used = ["good/03.png", "good/07.png", "crack/02.png"].map(|end| place(&*source.train, end));
    used.iter().for_each(|&index| drop(source.train.open(index).unwrap()));
    source.validation.open(place(&*source.validation, "good/05.png")).unwrap();
    let before = resolved.used_digests();
    assert_eq!(before.len(), 16 * (42 + 28), "sixteen bytes for each image");
    assert_eq!(before.chunks(16).filter(|digest| digest.iter().any(|&byte| byte != 0)).count(), 4);

    // The next process has used nothing; it reads what the earlier one used.
    let next = |change: &dyn Fn()| {
        change();
        let source = folder::source(folder.path()).unwrap();
        let resolved = plan.resolve(&floor(), &source).unwrap();
        let found = resolved.ensure_unchanged(&before).map_err(|error| error.to_string());
        (found, resolved.used_digests() == before)
    };
    assert_eq!(next(&|| ()), (Ok(()), true));
    let copy = |from: &str, to: &str| {
        fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    };
    assert_eq!(
        next(&|| copy("train/good/00.png", "train/good/01.png")),
        (Ok(()), true),
        "nobody has used it"
    );
    let told = |count: usize, of: usize, dataset: &dyn crate::data::Dataset, end: &str| {
        let first = dataset.location(place(dataset, end));
        format!(
            "images have changed since training began: {count} of the {of} files used so far, the first is {first}"
        )
    };
    let (found, _) = next(&|| copy("test/good/00.png", "test/good/05.png"));
    assert_eq!(found, Err(told(1, 1, &*source.validation, "good/05.png")));
    let (found, _) = next(&|| {
        copy("train/good/00.png", "train/good/07.png");
        fs::write(folder.path().join("train/crack/02.png"), "no picture").unwrap();
    });
    let first =
        used.into_iter().filter(|&index| !source.train.name(index).ends_with("03.png")).min().unwrap();
    let end = source.train.name(first).to_owned();
    assert_eq!(found, Err(told(2, 3, &*source.train, &end)));
}

/// An image that another process has used, and that lies there no longer, is one that has changed.
#[test]
fn images_that_were_used_and_are_gone_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, first) = (Plan::new(Scale::fixture()), pictures(folder.path(), 99));
    let used: Vec<usize> =
        (0..first.train.labels().len()).filter(|&index| first.train.name(index).ends_with("2.png")).collect();
    used.iter().for_each(|&index| drop(first.train.open(index).unwrap()));
    let before = plan.resolve(&floor(), &first).unwrap().used_digests();
    assert!(used.len() > 2);

    let next = folder::source(folder.path()).unwrap();
    let resolved = plan.resolve(&floor(), &next).unwrap();
    fs::remove_file(folder.path().join(next.train.name(used[1]))).unwrap();
    assert_eq!(
        resolved.ensure_unchanged(&before).unwrap_err().to_string(),
        format!(
            "images have changed since training began: 1 of the {} files used so far, the first is {}",
            used.len(),
            next.train.location(used[1])
        )
    );
}

/// A picture that turns out to be torn while its cell is computed ends the cell, and the message names both.
#[test]
fn a_cell_that_fails_is_named_with_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 99);
    let path = folder.path().join("train/good/07.png");
    fs::write(&path, "no picture").unwrap();
    let error = run(&floor(), &Plan::new(Scale::fixture()), &source, &mut |_| {}).map(drop).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("cell random_weights/none-resnet18-natural-seed3: "), "{error}");
    assert!(error.contains("train/good/07.png"), "{error}");
    let skipped = run(&floor(), &skipping(), &source, &mut |_| {}).unwrap().record.data;
    assert_eq!((skipped.skipped.len(), skipped.train.normals, skipped.train.defects), (1, 29, 12));
    assert!(skipped.skipped[0].ends_with("train/good/07.png"), "{:?}", skipped.skipped);
}

/// Two defects are just enough to train on, and one normal image.
#[test]
fn as_many_images_as_are_needed_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let source = pictures(folder.path(), 99);
    for image in 2..12 {
        fs::remove_file(folder.path().join(format!("train/crack/{image:02}.png"))).unwrap();
    }
    assert_eq!(
        skipping().resolve(&floor(), &source).unwrap().subset.indices.len(),
        42,
        "two defects are left"
    );
    let again = pictures(&folder.path().join("again"), 99);
    (2..12).for_each(|image| {
        fs::remove_file(folder.path().join(format!("again/train/crack/{image:02}.png"))).unwrap()
    });
    (0..30).for_each(|image| {
        fs::remove_file(folder.path().join(format!("again/train/good/{image:02}.png"))).unwrap()
    });
    let message = failure(&skipping(), &floor(), &again);
    assert!(message.contains("40 of 42 files are missing, the first is "), "{message}");
    assert!(message.ends_with("; the remaining 2 defects and 0 normal images are too few"), "{message}");
}
