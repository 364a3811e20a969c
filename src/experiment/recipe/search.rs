//! The search space of tuning: what may change in the [short](super::Name::Short) recipe, and how far, with equal
//! ranges for every pair of method and backbone.
//!
//! A *trial* is a numbered `Point`. Trial 0 is the unchanged recipe. All others are drawn independently: random
//! search (Bergstra and Bengio 2012), from a stream that depends only on method, backbone and number, so that a
//! longer search contains the trials of a shorter one. All pairs search learning rate, weight decay and views, over
//! the same ranges, and one [`constant`] specific to the method. Supervised training has no such constant (the
//! weight of a defect is normals / defects by definition), so its space has one dimension less and its trials cover
//! it more densely. All ranges are ours.

use super::{
    Augmentation,
    short::{self, Point},
};
use crate::{backbone, method, seed::Seed};

/// A range from which a number is drawn, ends included. Numbers have two digits: finer ones would make no
/// measurable difference, and these can be typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
    spread: Spread,
}

/// The scale on which draws are uniform.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    /// The number itself.
    Number,
    /// Its logarithm.
    Logarithm,
    /// The logarithm of its difference from 1.
    LogarithmOfRest,
}

/// Ours: from an eighth of the recipe's 4e-3 to four times it.
pub const LEARNING_RATE: Range = Range { low: 5e-4, high: 1.6e-2, spread: Spread::Logarithm };
/// Ours: from almost none to ten times the recipe's 1e-2.
pub const WEIGHT_DECAY: Range = Range { low: 1e-4, high: 1e-1, spread: Spread::Logarithm };

/// A constant specific to a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// Name of the constant.
    pub name: &'static str,
    /// Range that it is drawn from.
    pub range: Range,
}

/// Returns the constant specific to a method; `None` for supervised training, which has none, and for `SimSiam`,
/// which is not tuned.
pub fn constant(method: method::Name) -> Option<Constant> {
    let (name, low, high, spread) = match method {
        method::Name::Supervised | method::Name::SimSiam => return None,
        // Ours: the paper's 0.2 lies between; SimCLR's authors tried 0.05 to 1, the upper end of which is worst.
        method::Name::SimClr => ("temperature", 0.05, 0.5, Spread::Logarithm),
        // Ours: from the published 0.0051 to ten times the value that suits 64 columns.
        method::Name::BarlowTwins => ("off-diagonal weight", 0.005, 0.5, Spread::Logarithm),
        // Ours: over the 240 steps of small scale at 15 % defects, a teacher keeps nothing of its initial weights
        // with 0.9, a tenth with 0.98, four fifths with 0.998.
        method::Name::Byol | method::Name::Dino => ("start of momentum", 0.9, 0.998, Spread::LogarithmOfRest),
        // Ours: around MAE's 0.25; a tenth of 64 patches is only six.
        method::Name::Mae => ("visible part", 0.1, 0.6, Spread::Number),
    };
    Some(Constant { name, range: Range { low, high, spread } })
}

/// Returns the views that a method is tried with: the paper's, those that it was published with, or the whole
/// image, mirrored with probability one half. Supervised training was published with none of its own.
pub fn views(method: method::Name) -> &'static [Augmentation] {
    match method {
        method::Name::Supervised => &[Augmentation::Paper, Augmentation::Flip],
        _ => &[Augmentation::Paper, Augmentation::Original, Augmentation::Flip],
    }
}

/// Root of the streams that trials are drawn from. Ours.
const SEED: u64 = 0;

/// Returns a trial of a method on a backbone.
pub fn point(method: method::Name, backbone: backbone::Name, trial: u16) -> Point {
    if trial == 0 {
        return short::point(method, backbone);
    }
    let pair = Seed::root(SEED).child("tuning").child(method.id()).child(backbone.id());
    let seed = pair.index(trial.into());
    let views = views(method);
    Point {
        learning_rate: LEARNING_RATE.draw(seed.child("learning rate")),
        weight_decay: WEIGHT_DECAY.draw(seed.child("weight decay")),
        augmentation: views[seed.child("views").stream().below(views.len())],
        constant: constant(method).map(|constant| constant.range.draw(seed.child("constant"))),
    }
}

impl Range {
    /// Returns whether the range contains the number.
    pub fn contains(&self, number: f64) -> bool {
        (self.low..=self.high).contains(&number)
    }

    fn draw(&self, seed: Seed) -> f64 {
        let Self { low, high, spread } = *self;
        let mut stream = seed.stream();
        // Rounds to two digits through the decimal text, so that the number equals the one a person would type.
        let digits = |number: f64| format!("{number:.1e}").parse().unwrap_or(number);
        let number = match spread {
            Spread::Number => digits(stream.uniform(low, high)),
            Spread::Logarithm => digits(libm::exp(stream.uniform(libm::log(low), libm::log(high)))),
            Spread::LogarithmOfRest => {
                let rest = libm::exp(stream.uniform(libm::log(1.0 - high), libm::log(1.0 - low)));
                ((1.0 - rest) * 1e3).round() / 1e3
            }
        };
        number.clamp(low, high)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::{Recipe, cell, recipe::Name};

    /// Returns method and backbone of every cell that is tuned.
    fn pairs() -> Vec<(method::Name, backbone::Name)> {
        let cells = cell::tuning(0, crate::data::Share::percent(15), 0);
        cells.into_iter().map(|cell| (cell.method, cell.backbone)).collect()
    }

    fn is_in_range(method: method::Name, point: &Point) -> bool {
        let constant_fits = match (constant(method), point.constant) {
            (Some(constant), Some(value)) => constant.range.contains(value),
            (None, None) => true,
            _ => false,
        };
        LEARNING_RATE.contains(point.learning_rate)
            && WEIGHT_DECAY.contains(point.weight_decay)
            && views(method).contains(&point.augmentation)
            && constant_fits
    }

    #[test]
    fn all_points_lie_in_their_ranges() {
        assert_eq!(pairs().len(), 11);
        for method in method::Name::ALL {
            for backbone in backbone::Name::STUDY {
                for trial in 0..200 {
                    let point = point(method, backbone, trial);
                    assert!(is_in_range(method, &point), "{method} {backbone} {trial}: {point:?}");
                }
            }
        }
    }

    #[test]
    fn trial_0_is_the_recipe_and_others_are_others() {
        let text = |recipe: &Recipe| format!("{recipe:?}");
        for (method, backbone) in pairs() {
            let recipe = text(&Recipe::for_method(Name::Short, method, backbone));
            assert_eq!(text(&Recipe::trial(method, backbone, 0)), recipe);
            // One of the other trials may be what the recipe has adopted.
            for trial in 1..=20 {
                let taken = point(method, backbone, trial) == short::point(method, backbone);
                let same = text(&Recipe::trial(method, backbone, trial)) == recipe;
                assert_eq!(same, taken, "{method} {backbone} {trial}");
            }
        }
    }

    #[test]
    fn every_trial_of_every_pair_is_another_point() {
        let mut seen = BTreeSet::new();
        for (method, backbone) in pairs() {
            for trial in 1..=20 {
                let drawn = point(method, backbone, trial);
                assert_eq!(drawn, point(method, backbone, trial), "drawn twice");
                assert!(seen.insert(format!("{drawn:?}")), "{method} {backbone} {trial}: {drawn:?}");
            }
        }
    }

    /// However many there are: no trial repeats one that is a power of two before it.
    #[test]
    fn late_trials_repeat_no_earlier_one() {
        for (method, backbone) in pairs() {
            let drawn = [1, 257, 513, 1_025, 4_097, 32_769].map(|trial| point(method, backbone, trial));
            for (place, later) in drawn.iter().enumerate() {
                assert!(!drawn[..place].contains(later), "{method} {backbone}: {later:?}");
            }
            assert_ne!(point(method, backbone, 256), short::point(method, backbone), "{method} {backbone}");
        }
    }

    #[test]
    fn draws_fill_their_ranges_evenly() {
        // The middle of each range on its own scale: about half of the draws lie below it.
        let middles = [(LEARNING_RATE, (5e-4_f64 * 1.6e-2).sqrt()), (WEIGHT_DECAY, (1e-4_f64 * 1e-1).sqrt())];
        let own = [(method::Name::Byol, 1.0 - (0.1_f64 * 0.002).sqrt()), (method::Name::Mae, 0.35)];
        let own = own.map(|(method, middle)| (constant(method).unwrap().range, middle));
        for (range, middle) in middles.into_iter().chain(own) {
            let draws = (0..1_000).map(|index| range.draw(Seed::root(5).index(index)));
            let below = draws.filter(|&number| number < middle).count();
            // Four standard deviations of a thousand coin tosses, and rounding.
            assert!((430..=570).contains(&below), "{below} of 1000 below {middle}");
        }
    }
}
