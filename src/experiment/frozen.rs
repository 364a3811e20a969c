//! Features of the frozen encoder, and the classifiers that use them.

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::{
    Remedy, Resolved, Study, budgets,
    model::Model,
    score,
    subsets::{ValidationSubsets, labels_of},
};
use crate::{
    augment::ViewRecipe,
    data::{Dataset, Labels, stratify},
    evaluate::{
        detectors::{self, DetectorOutput},
        features::{self, Features},
        neighbours,
        probe::Probe,
        scorer::Scorer,
    },
    loader::Loader,
    method::Method,
    results::{
        logits::ValidationImage,
        record::{Budget, Pointing, ProbeFit, Score},
    },
    train::Trained,
};

/// Features of the frozen encoder on whole images.
pub(super) struct Frozen {
    pub train: Features,
    pub validation: Features,
    /// Validation images that could be read.
    pub images: Vec<ValidationImage>,
    /// Labels of these images.
    pub labels: Vec<Labels>,
}

impl Frozen {
    pub fn extract(resolved: &Resolved, method: &dyn Method) -> Result<Self> {
        let whole = [ViewRecipe::full_frame(resolved.scale.side)];
        let loader = Loader { views: &whole, ..resolved.loader() };
        let source = resolved.source;
        let extract =
            |dataset, indices| features::extract(method.encoder(), &Loader { dataset, indices, ..loader });
        let train = extract(&*source.train, &resolved.subset.indices)?;
        let validation = extract(&*source.validation, &resolved.validation)?;
        let images = validation
            .indices
            .iter()
            .map(|&position| ValidationImage::from_dataset(&*source.validation, position));
        let labels = labels_of(&*source.validation, &validation.indices);
        Ok(Self { train, images: images.collect(), validation, labels })
    }
}

/// Logits of all classifiers on the validation images, and their scores.
pub(super) struct ProbeResults {
    pub classifiers: Vec<(String, Vec<f64>)>,
    pub scores: Vec<Score>,
    pub budgets: Vec<Budget>,
    /// Scorers that are kept, to score further images.
    pub scorers: Vec<Scorer>,
    pub fit: ProbeFit,
    /// Why there are no scores at some validation shares.
    pub missing: Vec<String>,
}

pub(super) fn probe(
    resolved: &Resolved,
    model: &Model,
    trained: &Trained,
    frozen: &Frozen,
) -> Result<ProbeResults> {
    let device = &resolved.device;
    let rows = frozen.validation.tensor(device)?;
    // Without training there is no online classifier to score.
    let classifies = !trained.curve.is_empty();
    let mut classifiers = Vec::new();
    if classifies {
        classifiers.push(("in_training".to_owned(), classify(model, &rows)?));
    }
    let train = labels_of(&*resolved.source.train, &frozen.train.indices);
    let defects: Vec<bool> = train.iter().map(|labels| labels.defect).collect();
    let features = frozen.train.tensor(device)?;
    let groups = groups(&*resolved.source.train, &frozen.train.indices);
    let options = resolved.recipe.converged_probe;
    let (fit, c) = Probe::cross_validated(&features, &defects, groups.as_deref(), options)?;
    // Frees a copy of all training features.
    drop(features);
    classifiers.push(("converged".to_owned(), fit.logits(&rows)?));
    if resolved.recipe.augmented_validation && classifies {
        let rows = augmented(resolved, model, frozen)?.tensor(device)?;
        classifiers.push(("in_training_augmented".to_owned(), classify(model, &rows)?));
    }
    if resolved.cell.study == Study::Remedy(Remedy::Unweighted) {
        let odds = resolved.defect_weight.ln();
        let adjusted = classify(model, &rows)?.into_iter().map(|logit| logit + odds).collect();
        classifiers.push(("in_training_adjusted".to_owned(), adjusted));
    }
    let Features { rows: known, width, .. } = &frozen.train;
    let votes = neighbours::votes(known, &defects, &frozen.validation.rows, *width)?;
    classifiers.push(("neighbours".to_owned(), votes));
    let mut scorers = vec![Scorer::Probe { weights: fit.weights.clone(), bias: fit.bias }];
    for detected in without_defects(resolved, &*model.method, frozen, &defects)? {
        classifiers.push((detected.name.to_owned(), detected.logits));
        scorers.extend(detected.scorer);
    }
    let subsets = ValidationSubsets::new(&frozen.labels)?;
    let mut scores = Vec::new();
    for (name, logits) in &classifiers {
        let has_classes = resolved.source.has_classes;
        scores.extend(score::at_every_share(name, logits, &frozen.images, has_classes, &subsets)?);
    }
    let truth: Vec<bool> = frozen.labels.iter().map(|labels| labels.defect).collect();
    let budgets = budgets::score(&frozen.train, &defects, &rows, &truth, options)?;
    let ended = fit.convergence;
    let fit = ProbeFit { c: Some(c), iterations: ended.steps, gradient: ended.gradient };
    Ok(ProbeResults { classifiers, scores, budgets, scorers, fit, missing: subsets.missing })
}

/// Fits the detectors that use normal images only, and returns their logits on the validation images.
fn without_defects(
    resolved: &Resolved,
    method: &dyn Method,
    frozen: &Frozen,
    defects: &[bool],
) -> Result<Vec<DetectorOutput>> {
    let Features { rows, width, indices, .. } = &frozen.train;
    let normal = |of: &(usize, &bool)| !*of.1;
    let places: Vec<usize> = defects.iter().enumerate().filter(normal).map(|(place, _)| place).collect();
    let mut found = detectors::detect_by_features(rows, &places, &frozen.validation.rows, *width)?;

    let whole = [ViewRecipe::full_frame(resolved.scale.side)];
    let loader = Loader { views: &whole, ..resolved.loader() };
    let normals: Vec<usize> = places.iter().map(|&place| indices[place]).collect();
    let normals = Loader { indices: &normals, ..loader };
    let validation = &frozen.validation.indices;
    let validation = Loader { dataset: &*resolved.source.validation, indices: validation, ..loader };
    found.extend(detectors::detect_by_patches(
        method.encoder(),
        &normals,
        &validation,
        &resolved.seed().child("patches"),
    )?);
    Ok(found)
}

/// Returns the group of each image as a number; `None` if some image has no group.
fn groups(dataset: &dyn Dataset, indices: &[usize]) -> Option<Vec<u32>> {
    let names = indices.iter().map(|&index| dataset.group(index).map(str::to_owned));
    names.collect::<Option<Vec<String>>>().map(|names| stratify::numbered(&names).0)
}

/// Scores how well the named scorer's map points at the defects of validation images; `None` if the scorer was not kept
/// or has no maps, or the data do not mark defects.
pub(super) fn pointing(
    resolved: &Resolved,
    method: &dyn Method,
    (scorers, name): (&[Scorer], &str),
    frozen: &Frozen,
) -> Result<Option<Pointing>> {
    let Some(scorer) = scorers.iter().find(|scorer| scorer.name() == name) else { return Ok(None) };
    let images = frozen.images.iter().filter(|image| image.labels.defect);
    let defects: Vec<usize> = images.map(|image| image.position).collect();
    super::pointing::score(method.encoder(), scorer, &defects, resolved)
}

/// Returns the logits of the online classifier (the online probe, or a supervised method's own) on features (images,
/// width).
fn classify(model: &Model, features: &Tensor) -> Result<Vec<f64>> {
    let logits = match &model.online_probe {
        Some(probe) => probe.logits(features)?,
        None => model.method.classify(features).context("a supervised method has no classifier")??,
    };
    Ok(logits.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// Extracts features of validation images under training's augmentation, as the released code does. One view per image:
/// for methods that compare two views the released code counts both, which only adds rows of the same kind.
fn augmented(resolved: &Resolved, model: &Model, frozen: &Frozen) -> Result<Features> {
    let loader = Loader {
        dataset: &*resolved.source.validation,
        indices: &frozen.validation.indices,
        views: &resolved.views[..1],
        seed: resolved.seed().child("augmented validation"),
        ..resolved.loader()
    };
    features::extract(model.method.encoder(), &loader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::Name::ResNet18,
        data::{ClassSet, Image, Share, Source},
        experiment::{self, Cell, Plan, Scale},
        method::Name::Supervised,
        seed::Seed,
    };

    /// Five copies of each picture form a group; pictures carry no information about labels.
    struct Copies {
        labels: Vec<Labels>,
        /// Each image's group, if groups are known.
        groups: Option<Vec<String>>,
        seed: Seed,
    }

    impl Copies {
        fn new(pictures: usize, grouped: bool, seed: Seed) -> Box<Self> {
            let label = |image: usize| Labels {
                defect: (image / 5).is_multiple_of(2),
                classes: ClassSet::EMPTY,
                stratum: 0,
            };
            let labels: Vec<Labels> = (0..5 * pictures).map(label).collect();
            let groups = (0..labels.len()).map(|image| format!("pipe {}", image / 5)).collect();
            Box::new(Self { labels, groups: grouped.then_some(groups), seed })
        }
    }

    impl Dataset for Copies {
        fn labels(&self) -> &[Labels] {
            &self.labels
        }

        fn open(&self, index: usize) -> Result<Image> {
            let mut stream = self.seed.index(index / 5).stream();
            Ok(Image::new(8, 8, (0..8 * 8 * 3).map(|_| stream.below(256) as u8).collect()))
        }

        fn location(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            String::new()
        }

        fn group(&self, index: usize) -> Option<&str> {
            self.groups.as_ref().map(|groups| groups[index].as_str())
        }
    }

    /// Of two views it is the first, drawn by a stream of its own from the cell's seed, of the validation images.
    #[test]
    fn augmented_validation_has_the_first_view_of_training() {
        let plan = Plan::new(Scale::fixture());
        let source = crate::data::synthetic::source(Seed::root(1), 60, 30, plan.scale.side);
        let (study, method) = (Study::Extension, crate::method::Name::SimClr);
        let cell = Cell { study, method, backbone: ResNet18, share: Share::NATURAL, seed: 7 };
        let mut resolved = plan.resolve(&cell, &source).unwrap();
        assert_eq!(resolved.views.len(), 2);
        resolved.views[1] = ViewRecipe::full_frame(plan.scale.side);
        let model = Model::new(&resolved).unwrap();
        let frozen = Frozen::extract(&resolved, &*model.method).unwrap();
        let found = augmented(&resolved, &model, &frozen).unwrap();
        let rows = |seed: u64| {
            let loader = Loader {
                dataset: &*source.validation,
                indices: &resolved.validation,
                views: &resolved.views[..1],
                seed: Seed::root(seed).child("augmented validation"),
                ..resolved.loader()
            };
            features::extract(model.method.encoder(), &loader).unwrap().rows
        };
        assert_eq!((&found.rows, found.indices.len()), (&rows(7), 30));
        assert!(found.rows != rows(0) && found.rows != frozen.validation.rows);
    }

    /// Patches are those of the normal images of training, whole. There are more than fit into a bank, with more
    /// numbers than a Gaussian takes: either is drawn by the seed of the cell.
    #[test]
    fn patches_are_of_normal_images_of_training() {
        let plan = Plan::new(Scale { resnet_width: 24, ..Scale::fixture() });
        let source = crate::data::synthetic::source(Seed::root(1), 90, 30, plan.scale.side);
        let study = Study::RandomWeights;
        let cell = Cell { study, method: Supervised, backbone: ResNet18, share: Share::NATURAL, seed: 7 };
        let resolved = plan.resolve(&cell, &source).unwrap();
        let model = Model::new(&resolved).unwrap();
        let frozen = Frozen::extract(&resolved, &*model.method).unwrap();
        let labels = labels_of(&*source.train, &frozen.train.indices);
        let defects: Vec<bool> = labels.iter().map(|labels| labels.defect).collect();
        let found = without_defects(&resolved, &*model.method, &frozen, &defects).unwrap();

        let normal = |index: &usize| !source.train.labels()[*index].defect;
        let normals: Vec<usize> = resolved.subset.indices.iter().copied().filter(normal).collect();
        let whole = [ViewRecipe::full_frame(plan.scale.side)];
        let normals = Loader { indices: &normals, views: &whole, ..resolved.loader() };
        let indices = &resolved.validation;
        let validation = Loader { dataset: &*source.validation, indices, ..normals };
        let by = |seed: u64| {
            let seed = Seed::root(seed).child("patches");
            let found = detectors::detect_by_patches(model.method.encoder(), &normals, &validation, &seed);
            found.unwrap().into_iter().map(|found| (found.name, found.logits)).collect::<Vec<_>>()
        };
        let found: Vec<_> = found.into_iter().map(|found| (found.name, found.logits)).collect();
        assert_eq!(found[2..], by(7));
        for (own, other) in found[2..].iter().zip(by(0)) {
            assert_ne!(*own, other, "drawn by another seed");
        }
    }

    /// A probe predicts copies from copies, unless their group keeps them in one fold: then there is nothing to learn,
    /// and a stronger penalty is best. AUROC has a standard error if groups are known.
    #[test]
    fn groups_stay_together_where_the_probe_is_chosen() {
        let plan = Plan::new(Scale::fixture());
        let study = Study::Pixels;
        let cell = Cell { study, method: Supervised, backbone: ResNet18, share: Share::NATURAL, seed: 0 };
        let run = |grouped: bool| {
            let source = Source {
                name: "folder".to_owned(),
                train: Copies::new(16, grouped, Seed::root(1)),
                validation: Copies::new(6, grouped, Seed::root(2)),
                has_classes: false,
                limits: Vec::new(),
                interpretation: Vec::new(),
                left_out: Vec::new(),
                leaks: Vec::new(),
            };
            experiment::run(&cell, &plan, &source, &mut |_| {}).unwrap().record
        };
        let [alone, together] = [run(false), run(true)];
        let c = |record: &crate::results::Record| record.probe.c.unwrap();
        assert!(c(&together) < c(&alone), "{} with groups, {} without", c(&together), c(&alone));
        let errors = [&alone, &together].map(|record| record.scores[0].auroc_error.is_some());
        assert_eq!(errors, [false, true]);
    }
}
