//! Hyper-parameters as data, each with its source.
//!
//! The paper prints no optimisation settings. [`Name::AsReleased`] is what its authors' public code runs;
//! [`Name::Reference`] is each method's own standard on small backbones; [`Name::Short`] is ours, for runs of
//! minutes: within a few hundred steps, LARS with the released numbers hardly leaves its starting point.

mod as_released;
mod reference;
pub mod search;
mod short;

use std::sync::Arc;

use crate::{
    augment::{self, ViewRecipe},
    backbone,
    evaluate::probe::{Options, Weighting},
    loader::Sampling,
    method::{self, Objective, dino::Distillation, mae::Reconstruction},
    named::named,
    train::{
        Decayed, Optimisation,
        optimiser::{Rule, Trust},
    },
};

use super::Scale;

/// All choices of a cell except sizes.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The source of these numbers.
    pub name: Name,
    /// The method with its constants.
    pub objective: Arc<dyn Objective>,
    /// The method's optimiser.
    pub rule: Rule,
    /// Learning rate for a batch of 256 images; scaled in proportion.
    pub learning_rate: f64,
    /// Weight decay; multiplied by the learning rate, as in PyTorch.
    pub weight_decay: f64,
    /// Which parameters weight decay applies to.
    pub decayed: Decayed,
    /// Largest norm of a variable's gradient; `None` does not clip.
    pub clip: Option<f64>,
    /// Learning rate at the first step; as in the released code, not scaled, and the same for the probe.
    pub warm_up_start: f64,
    /// Fraction of all epochs that are warm-up.
    pub warm_up: f64,
    /// Optimiser of the online probe.
    pub probe_rule: Rule,
    /// Learning rate of the online probe for a batch of 256 images.
    pub probe_learning_rate: f64,
    /// The source of the views.
    pub augmentation: Augmentation,
    /// Which images an epoch contains.
    pub sampling: Sampling,
    /// Whether the classifier in training is also scored on augmented views, as the released code does.
    pub augmented_validation: bool,
    /// Options of the converged probe on frozen features.
    pub converged_probe: Options,
}

named! {
    /// Sources of a recipe's numbers.
    pub enum Name: "recipe" {
        /// The paper's authors' public code.
        AsReleased = "as_released",
        /// Each method's own standard on small backbones.
        Reference = "reference",
        /// Ours, for runs of minutes.
        Short = "short",
    }
}

named! {
    /// Sources of the views that a method is trained on.
    pub enum Augmentation: "augmentation" {
        /// The paper's, the same for all methods.
        Paper = "paper",
        /// Those that the method was published with; the paper's for supervised training.
        Original = "original",
        /// The whole image, mirrored with probability one half.
        Flip = "flip",
        /// The unchanged whole image.
        None = "none",
    }
}

/// The batch size that learning rates are given for, in the released code and in the references.
pub const BATCH: usize = 256;
/// End value of every cosine (from the released code; references end at 0 or 1e-6).
const END: f64 = 1e-6;
/// LARS that scales everything except biases and norms, with momentum 0.9 and coefficient 1e-3: as released.
const LARS: Rule = Rule::Lars { momentum: 0.9, trust: Trust::SumOfNorms { coefficient: 1e-3, clip: false } };

/// Ours: the released code has no probe after training. It is weighted like the training loss, on standardised
/// features, so that methods with small and large features are treated alike. C is that of label budgets, and of
/// training sets too small to choose it on
/// ([`Probe::cross_validated`](crate::evaluate::probe::Probe::cross_validated)).
const CONVERGED_PROBE: Options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };

impl Recipe {
    /// Returns the recipe of `name` for a method on a backbone.
    pub fn for_method(name: Name, method: method::Name, backbone: backbone::Name) -> Self {
        match name {
            Name::AsReleased => as_released::recipe(method),
            Name::Reference => reference::recipe(method, backbone),
            Name::Short => short::recipe(method, backbone),
        }
    }

    /// Returns the constants of DINO in the recipe of `name`.
    pub fn distillation(name: Name, backbone: backbone::Name) -> Distillation {
        match name {
            Name::AsReleased => as_released::DINO,
            Name::Reference => reference::DINO,
            Name::Short => short::dino(backbone),
        }
    }

    /// Returns the constants of MAE in the recipe of `name`.
    pub fn reconstruction(name: Name, backbone: backbone::Name) -> Reconstruction {
        match name {
            Name::AsReleased => as_released::MAE,
            Name::Reference => reference::MAE,
            Name::Short => short::mae(backbone),
        }
    }

    /// Returns the [short](Name::Short) recipe at a numbered point of the [search space](search).
    pub fn trial(method: method::Name, backbone: backbone::Name, trial: u16) -> Self {
        short::at_point(method, backbone, search::point(method, backbone, trial))
    }

    /// Returns the method's optimisation settings at a scale.
    pub fn optimisation(&self, scale: &Scale) -> Optimisation {
        Optimisation {
            rule: self.rule,
            learning_rate: self.learning_rate * scale.batch_size as f64 / BATCH as f64,
            weight_decay: self.weight_decay,
            decayed: self.decayed,
            clip: self.clip,
            warm_up_epochs: self.warm_up * scale.epochs as f64,
            warm_up_start: self.warm_up_start,
            end: END,
            epochs: scale.epochs,
        }
    }

    /// Returns the view recipes of a training image, as many as the method compares.
    pub fn views(&self, method: method::Name, side: usize) -> Vec<ViewRecipe> {
        let recipe = match (self.augmentation, method) {
            (Augmentation::Paper, _) | (Augmentation::Original, method::Name::Supervised) => {
                augment::ViewSet::paper(side)
            }
            (Augmentation::Original, method::Name::SimClr) => augment::ViewSet::simclr(side, 1.0),
            (Augmentation::Original, method::Name::Byol) => augment::ViewSet::byol(side),
            (Augmentation::Original, method::Name::BarlowTwins) => augment::ViewSet::barlow_twins(side),
            (Augmentation::Original, method::Name::Dino) => augment::ViewSet::dino(side, side, 0),
            (Augmentation::Original, method::Name::Mae) => augment::ViewSet::mae(side),
            // MoCo v2's views, which are SimCLR's at half strength except for crops: these begin at 0.08, MoCo's at
            // 0.2.
            (Augmentation::Original, method::Name::SimSiam) => augment::ViewSet::simclr(side, 0.5),
            (Augmentation::Flip, _) => augment::ViewSet::flip(side),
            (Augmentation::None, _) => augment::ViewSet::none(side),
        };
        let last = recipe.views[recipe.views.len() - 1];
        recipe.views.into_iter().chain(std::iter::repeat(last)).take(self.objective.views()).collect()
    }

    /// Returns the probe's base learning rate at a scale.
    pub fn probe_rate(&self, scale: &Scale) -> f64 {
        self.probe_learning_rate * scale.batch_size as f64 / BATCH as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::Name::{ResNet18, ViTTiny};
    use method::Name::{BarlowTwins, Byol, Dino, Mae, SimClr, SimSiam, Supervised};

    #[test]
    fn methods_get_as_many_views_of_any_augmentation_as_they_compare() {
        for augmentation in Augmentation::ALL {
            for name in Name::ALL {
                for method in method::Name::ALL {
                    let recipe = Recipe::for_method(name, method, ViTTiny);
                    let recipe = Recipe { augmentation, ..recipe };
                    let expected = match method {
                        Supervised | Mae => 1,
                        _ => 2,
                    };
                    assert_eq!(recipe.views(method, 32).len(), expected, "{method} {}", augmentation.id());
                }
            }
            assert_eq!(augmentation.id().parse::<Augmentation>().unwrap(), augmentation);
        }
        assert!("crop".parse::<Augmentation>().unwrap_err().to_string().contains("paper, original"));
        assert!("best".parse::<Name>().unwrap_err().to_string().contains("as_released, reference, short"));
    }

    const ADAMW: Rule = Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    const ADAMW_095: Rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };

    fn lars(coefficient: f64, clip: bool) -> Rule {
        Rule::Lars { momentum: 0.9, trust: Trust::SumOfNorms { coefficient, clip } }
    }

    /// Constants of the method, as in the settings.
    fn constants(recipe: &Recipe) -> std::collections::BTreeMap<&'static str, serde_json::Value> {
        recipe.objective.settings().into_iter().collect()
    }

    /// Optimiser, learning rate, weight decay and first rate of the warm-up, as in the settings of the paper's authors.
    #[test]
    fn released_numbers_are_those_of_the_authors_code() {
        for (method, rule, numbers) in [
            (Supervised, ADAMW, [5e-4, 1e-4, 3e-5]),
            (SimClr, lars(1e-3, false), [0.3, 1e-6, 0.15]),
            (BarlowTwins, lars(1e-3, false), [0.2, 1.5e-6, 0.1]),
            (Byol, lars(1e-3, false), [0.2, 1.5e-6, 0.1]),
            (Dino, ADAMW, [5e-4, 1e-4, 3e-5]),
            (Mae, ADAMW, [1e-3, 0.05, 5e-4]),
        ] {
            let recipe = Recipe::for_method(Name::AsReleased, method, ViTTiny);
            assert_eq!(recipe.rule, rule, "{method}");
            assert_eq!(
                [recipe.learning_rate, recipe.weight_decay, recipe.warm_up_start],
                numbers,
                "{method}"
            );
            // 45 epochs, ten of warm-up, down to 1e-6; LARS leaves biases and norms alone.
            let optimisation = recipe.optimisation(&Scale::full());
            assert!((optimisation.warm_up_epochs - 10.0).abs() < 1e-9, "{method}");
            assert_eq!((optimisation.epochs, optimisation.end), (45, 1e-6), "{method}");
            let decayed = if rule == ADAMW { Decayed::Everything } else { Decayed::Weights };
            assert_eq!((optimisation.decayed, recipe.probe_rule), (decayed, rule), "{method}");
            assert_eq!(optimisation.clip, (method == Dino).then_some(1.0), "{method}");
            assert_eq!(
                (recipe.augmentation, recipe.probe_learning_rate),
                (Augmentation::Paper, 1e-3),
                "{method}"
            );
        }
        let of = |method| constants(&Recipe::for_method(Name::AsReleased, method, ViTTiny));
        for (method, name, expected) in [
            (SimClr, "temperature", 0.2),
            (BarlowTwins, "off_diagonal_weight", 0.0051),
            (BarlowTwins, "scale", 0.024),
            (Byol, "momentum.start", 0.996),
            (Byol, "momentum.end", 0.999),
            (Dino, "momentum.start", 0.996),
            (Dino, "momentum.end", 0.999),
            (Dino, "student_temperature", 0.1),
            (Dino, "teacher_temperature.start", 0.04),
            (Dino, "teacher_temperature.end", 0.07),
            (Dino, "teacher_temperature.warm_up", 1.0 / 3.0),
            (Dino, "centre_momentum", 0.9),
            (Mae, "visible", 0.25),
        ] {
            let found = of(method)[name].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-12, "{method} {name}: {found}");
        }
        assert_eq!(
            (of(Dino)["head_norm"].as_bool(), of(Dino)["frozen_epochs"].as_u64()),
            (Some(false), Some(1))
        );
        assert_eq!(Recipe::for_method(Name::AsReleased, Mae, ViTTiny).objective.attention_heads(), Some(12));
    }

    /// solo-learn's `scripts/pretrain/imagenet-100/*.yaml` on ResNet-18 and DINO on ViT-Tiny, mae-lite, and
    /// stable-pretraining's Barlow Twins on a ViT: rate, decay, first rate of the warm-up, and its fraction of all
    /// epochs.
    #[test]
    fn reference_numbers_are_those_of_their_libraries() {
        let solo = lars(0.02, true);
        for (method, backbone, rule, numbers) in [
            (SimClr, ResNet18, solo, [0.3, 1e-4, 3e-5, 0.025]),
            (Byol, ResNet18, solo, [0.5, 1e-6, 3e-5, 0.025]),
            (BarlowTwins, ResNet18, solo, [0.3, 1e-4, 3e-5, 0.025]),
            (Dino, ResNet18, solo, [0.3, 1e-6, 3e-5, 0.025]),
            (BarlowTwins, ViTTiny, ADAMW_095, [5e-4, 0.05, 3e-5, 0.025]),
            (Dino, ViTTiny, ADAMW, [5e-3, 1e-4, 1e-5, 0.025]),
            (Mae, ViTTiny, ADAMW_095, [1.5e-4, 0.05, 0.0, 0.1]),
        ] {
            let recipe = Recipe::for_method(Name::Reference, method, backbone);
            let found = [recipe.learning_rate, recipe.weight_decay, recipe.warm_up_start, recipe.warm_up];
            assert_eq!((recipe.rule, found), (rule, numbers), "{method} {backbone}");
            assert_eq!((recipe.clip, recipe.name), (None, Name::Reference), "{method} {backbone}");
        }
        let of = |method| constants(&Recipe::for_method(Name::Reference, method, ResNet18));
        for (method, name, expected) in [
            (SimClr, "temperature", 0.2),
            (Byol, "momentum.start", 0.99),
            (Byol, "momentum.end", 1.0),
            (BarlowTwins, "off_diagonal_weight", 0.0051),
            (BarlowTwins, "scale", 0.1),
            (Dino, "momentum.start", 0.9995),
            (Dino, "momentum.end", 1.0),
            (Dino, "teacher_temperature.warm_up", 0.125),
        ] {
            assert_eq!(of(method)[name].as_f64(), Some(expected), "{method} {name}");
        }
    }

    /// solo-learn exempts them only in LARS, the Sewer-ML authors and the released code never do, MAE's code always
    /// does.
    #[test]
    fn biases_and_norms_decay_in_a_reference_as_in_its_source() {
        let everything = [(Supervised, ResNet18), (Supervised, ViTTiny), (Dino, ViTTiny)];
        for method in [Supervised, SimClr, Byol, BarlowTwins, Dino, Mae] {
            for backbone in [ResNet18, ViTTiny] {
                let decayed = Recipe::for_method(Name::Reference, method, backbone).decayed;
                let expected = everything.contains(&(method, backbone));
                assert_eq!(decayed == Decayed::Everything, expected, "{method} {backbone}");
            }
        }
    }

    /// Chen and He 2021, section 4: SGD of momentum 0.9 and decay 1e-4, 0.05 for a batch of 256, no warm-up.
    #[test]
    fn simsiam_has_its_papers_numbers() {
        for name in [Name::AsReleased, Name::Reference] {
            let recipe = Recipe::for_method(name, SimSiam, ResNet18);
            assert_eq!((recipe.rule, recipe.name), (Rule::Sgd { momentum: 0.9 }, name));
            assert_eq!([recipe.learning_rate, recipe.weight_decay, recipe.warm_up], [0.05, 1e-4, 0.0]);
        }
    }

    /// Rates are for a batch of 256 images: with an eighth of the batch, the rates of method and probe are an eighth.
    #[test]
    fn rates_are_in_proportion_to_the_batch_and_warm_up_to_the_epochs() {
        let recipe = Recipe {
            learning_rate: 0.5,
            probe_learning_rate: 0.25,
            warm_up: 0.1,
            rule: lars(0.02, true),
            weight_decay: 0.03,
            decayed: Decayed::Everything,
            clip: Some(0.7),
            warm_up_start: 2e-4,
            ..short::recipe(SimClr, ResNet18)
        };
        let scale = Scale { batch_size: 32, epochs: 20, ..Scale::small() };
        let optimisation = recipe.optimisation(&scale);
        assert_eq!((optimisation.learning_rate, recipe.probe_rate(&scale)), (0.0625, 0.03125));
        assert_eq!((optimisation.warm_up_epochs, optimisation.epochs), (2.0, 20));
        // All else is handed on.
        assert_eq!(
            [optimisation.weight_decay, optimisation.warm_up_start, optimisation.end],
            [0.03, 2e-4, 1e-6]
        );
        assert_eq!((optimisation.rule, optimisation.clip), (lars(0.02, true), Some(0.7)));
        assert_eq!(optimisation.decayed, Decayed::Everything);
    }

    #[test]
    fn each_method_has_the_views_that_it_was_published_with() {
        use augment::ViewSet;
        for (method, expected) in [
            (Supervised, ViewSet::paper(64).first_view()),
            (Byol, ViewSet::byol(64)),
            (BarlowTwins, ViewSet::barlow_twins(64)),
            (Dino, ViewSet::dino(64, 64, 0)),
            (Mae, ViewSet::mae(64)),
            (SimClr, ViewSet::simclr(64, 1.0)),
            (SimSiam, ViewSet::simclr(64, 0.5)),
        ] {
            let recipe = Recipe { augmentation: Augmentation::Original, ..short::recipe(method, ViTTiny) };
            assert_eq!(recipe.views(method, 64), expected.views, "{method}");
            let flip = Recipe { augmentation: Augmentation::Flip, ..recipe.clone() }.views(method, 64);
            assert!(flip.iter().all(|view| *view == ViewSet::flip(64).views[0]), "{method}");
            let none = Recipe { augmentation: Augmentation::None, ..recipe }.views(method, 64);
            assert!(none.iter().all(|view| *view == ViewSet::none(64).views[0]), "{method}");
        }
    }
}
