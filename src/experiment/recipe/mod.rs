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
    /// Per unit of learning rate, as in PyTorch.
    pub weight_decay: f64,
    /// Which parameters weight decay applies to.
    pub decayed: Decayed,
    /// Largest norm of a variable's gradient.
    pub clip: Option<f64>,
    /// Learning rate at the first step; as in the released code, not scaled, and the same for the probe.
    pub warm_up_start: f64,
    /// Part of all epochs that are warm-up.
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
    pub fn of(name: Name, method: method::Name, backbone: backbone::Name) -> Self {
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
        short::at(method, backbone, search::point(method, backbone, trial))
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

    #[test]
    fn methods_get_as_many_views_of_any_augmentation_as_they_compare() {
        for augmentation in Augmentation::ALL {
            for name in Name::ALL {
                for method in method::Name::ALL {
                    let recipe = Recipe::of(name, method, backbone::Name::ViTTiny);
                    let recipe = Recipe { augmentation, ..recipe };
                    let expected = match method {
                        method::Name::Supervised | method::Name::Mae => 1,
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
}
