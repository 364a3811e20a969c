//! Choice of the C that a probe is fitted with, by cross-validation.
//!
//! Images are split into folds. For each candidate, starting with the strongest penalty and stopping when a weaker one
//! no longer helps, the probe is fitted on all folds but one and its loss is computed on that fold. The loss decides,
//! not AUROC: a fold with two defects has few possible values of AUROC, and logits of different folds must not be
//! ranked together (Airola et al., "An experimental comparison of cross-validation techniques for estimating the area
//! under the ROC curve", 2011).

use anyhow::Result;
use rayon::prelude::*;

use super::{DesignMatrix, Fit, Options, importances, softplus};
use crate::{evaluate::folds::deal, seed::Seed};

/// Candidates for C. Ours: at the low end a standardised feature has almost no effect, at the high end almost its full
/// effect.
pub const CANDIDATES: [f64; 5] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Number of folds. Ours.
pub const FOLDS: usize = 5;
/// Fewest images of each label for a choice: two per fold. Ours.
pub const FEWEST_PER_LABEL: usize = 2 * FOLDS;
/// Largest number of images that a choice is based on, evenly spaced. Ours: it takes folds x candidates fits.
pub const MOST_IMAGES: usize = 20_000;

/// Relative gradient at which a candidate's fit may end: its loss is then more precise than the comparison needs.
const TOLERANCE: f64 = 1e-6;

/// Returns the C at which the loss on held-out folds stops falling. `None` if a label has too few images, a fold is
/// empty, or the images outside a fold all have one label.
pub(super) fn choose(
    rows: &DesignMatrix,
    defects: &[bool],
    groups: Option<&[u32]>,
    options: Options,
) -> Result<Option<f64>> {
    let all = defects.len();
    let kept: Vec<usize> =
        (0..all.min(MOST_IMAGES)).map(|place| place * all / all.min(MOST_IMAGES)).collect();
    let labels: Vec<bool> = kept.iter().map(|&place| defects[place]).collect();
    let groups: Option<Vec<u32>> = groups.map(|groups| kept.iter().map(|&place| groups[place]).collect());
    let found = labels.iter().filter(|&&defect| defect).count();
    if found.min(labels.len() - found) < FEWEST_PER_LABEL {
        return Ok(None);
    }
    let folds = deal(&labels, groups.as_deref(), FOLDS, &Seed::root(0).child("probe folds"));
    let places: Vec<[Vec<usize>; 2]> = (0..FOLDS)
        .map(|fold| {
            let (inside, outside) = (0..labels.len()).partition(|&at| folds[at] == fold);
            [inside, outside]
        })
        .collect();
    let weights = importances(&labels, options.weighting)?;
    let one_label = |of: &[usize]| of.iter().all(|&at| labels[at] == labels[of[0]]);
    if places.iter().any(|[inside, outside]| inside.is_empty() || one_label(outside)) {
        return Ok(None);
    }
    let all = Known { rows, kept: &kept, labels: &labels, weights: &weights };
    let known: Vec<Vec<bool>> =
        places.iter().map(|[_, outside]| outside.iter().map(|&at| labels[at]).collect()).collect();
    let mut held_out = places
        .par_iter()
        .zip(&known)
        .map(|(places, known)| Fold::new(&all, places, known, options))
        .collect::<Result<Vec<Fold>>>()?;
    let mut best: Option<(f64, f64)> = None;
    for c in CANDIDATES {
        let losses = held_out.par_iter_mut().map(|fold| fold.loss(c, &all)).collect::<Result<Vec<f64>>>()?;
        let loss: f64 = losses.iter().sum();
        if best.is_some_and(|(least, _)| loss >= least) {
            break;
        }
        best = Some((loss, c));
    }
    Ok(best.map(|(_, c)| c))
}

/// The images that a choice is based on.
struct Known<'a> {
    rows: &'a DesignMatrix,
    /// Positions of these images in `rows`.
    kept: &'a [usize],
    labels: &'a [bool],
    /// Weight of each image in the loss.
    weights: &'a [f64],
}

/// A fold, and the fit on all other folds.
struct Fold<'a> {
    inside: &'a [usize],
    held_out: DesignMatrix,
    fit: Fit<'a>,
    /// Where the next fit starts: the previous solution, which is only a few steps away.
    start: Vec<f64>,
}

impl<'a> Fold<'a> {
    fn new(
        all: &Known,
        [inside, outside]: &'a [Vec<usize>; 2],
        known: &'a [bool],
        options: Options,
    ) -> Result<Self> {
        let select = |of: &[usize]| {
            let places: Vec<usize> = of.iter().map(|&at| all.kept[at]).collect();
            all.rows.select(&places)
        };
        let fit = Fit::new(select(outside), known, options)?;
        Ok(Self { inside, held_out: select(inside), fit, start: vec![0.0; all.rows.width()] })
    }

    /// Returns the loss of the fold's images under the fit on all other folds.
    fn loss(&mut self, c: f64, all: &Known) -> Result<f64> {
        let (fitted, convergence) = self.fit.minimise(c, std::mem::take(&mut self.start), TOLERANCE)?;
        let probe = self.fit.probe(fitted.clone(), convergence);
        self.start = fitted;
        let line: Vec<f64> = probe.weights.iter().copied().chain([probe.bias]).collect();
        let of_image = |(&at, logit): (&usize, f64)| {
            all.weights[at] * softplus(if all.labels[at] { -logit } else { logit })
        };
        Ok(self.inside.iter().zip(self.held_out.times(&line)?).map(of_image).sum())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::{Probe, Weighting};
    use super::*;

    const OPTIONS: Options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };

    /// Random images, one in five a defect; the first `telling` of their `width` features are informative.
    fn drawn(images: usize, width: usize, telling: usize, apart: f64) -> (Tensor, Vec<bool>) {
        let mut stream = Seed::root(8).child("choice").stream();
        let defects: Vec<bool> = (0..images).map(|image| image % 5 == 0).collect();
        let numbers = (0..images * width).map(|place| {
            let tells = defects[place / width] && place % width < telling;
            stream.normal() + if tells { apart } else { 0.0 }
        });
        let features = Tensor::from_vec(numbers.collect::<Vec<f64>>(), (images, width), &Device::Cpu);
        (features.unwrap(), defects)
    }

    #[test]
    fn noise_takes_a_small_c_and_plain_features_a_large_one() {
        let chosen = |(features, defects): &(Tensor, Vec<bool>)| {
            Probe::cross_validated(features, defects, None, OPTIONS).unwrap().1
        };
        let (noise, plain) = (drawn(150, 60, 1, 0.3), drawn(2_000, 3, 3, 2.0));
        assert!(chosen(&noise) <= 1e-3 && chosen(&plain) == 1.0, "{} {}", chosen(&noise), chosen(&plain));
    }

    /// The loss on held-out images from complete fits, each started at zero and run to full tolerance. Each fold is
    /// held out in turn; if `swapped`, everything except the fold is held out.
    fn loss(features: &Tensor, defects: &[bool], c: f64, swapped: bool) -> f64 {
        let folds = deal(defects, None, FOLDS, &Seed::root(0).child("probe folds"));
        let found = defects.iter().filter(|&&defect| defect).count() as f64;
        let count = defects.len() as f64;
        let of_fold = |fold: usize| -> f64 {
            let of = |inside: bool| -> (Tensor, Vec<bool>) {
                let places = (0..defects.len()).filter(|&at| (folds[at] == fold) == inside);
                let places: Vec<u32> = places.map(|at| at as u32).collect();
                let rows = Tensor::new(places.as_slice(), &Device::Cpu).unwrap();
                let labels = places.iter().map(|&at| defects[at as usize]).collect();
                (features.index_select(&rows, 0).unwrap(), labels)
            };
            let ((known, labels), (held_out, truth)) = (of(swapped), of(!swapped));
            let probe = Probe::fit(&known, &labels, Options { c, ..OPTIONS }).unwrap();
            let of_image = |(logit, &defect): (f64, &bool)| match defect {
                true => count / (2.0 * found) * (1.0 + (-logit).exp()).ln(),
                false => count / (2.0 * (count - found)) * (1.0 + logit.exp()).ln(),
            };
            probe.logits(&held_out).unwrap().into_iter().zip(&truth).map(of_image).sum()
        };
        (0..FOLDS).map(of_fold).sum()
    }

    /// A fold's loss is the sum over its images, so that each image counts equally whatever the sizes of folds.
    #[test]
    fn a_fold_counts_by_its_images() {
        let (features, labels) = drawn(60, 3, 1, 1.0);
        let rows = DesignMatrix::new(&features).unwrap();
        let (kept, weights) =
            ((0..60).collect::<Vec<usize>>(), importances(&labels, OPTIONS.weighting).unwrap());
        let all = Known { rows: &rows, kept: &kept, labels: &labels, weights: &weights };
        for count in [3, 11, 25] {
            let places: [Vec<usize>; 2] = [(2..2 + count).collect(), (0..2).chain(2 + count..60).collect()];
            let known: Vec<bool> = places[1].iter().map(|&at| labels[at]).collect();
            let mut fold = Fold::new(&all, &places, &known, OPTIONS).unwrap();
            let of = |places: &[usize]| {
                let places: Vec<u32> = places.iter().map(|&at| at as u32).collect();
                features.index_select(&Tensor::new(places.as_slice(), &Device::Cpu).unwrap(), 0).unwrap()
            };
            for c in [1e-3, 1.0] {
                let probe = Probe::fit(&of(&places[1]), &known, Options { c, ..OPTIONS }).unwrap();
                let logits = probe.logits(&of(&places[0])).unwrap();
                let of_image = |(&at, logit): (&usize, f64)| {
                    weights[at] * (1.0 + (if labels[at] { -logit } else { logit }).exp()).ln()
                };
                let expected: f64 = places[0].iter().zip(logits).map(of_image).sum();
                let found = fold.loss(c, &all).unwrap();
                assert!((found - expected).abs() < 1e-4 * expected, "{count}, {c}: {found}, {expected}");
            }
        }
    }

    /// Groups are those of the images that decide: here one for each label, so that there is nothing to choose by.
    #[test]
    fn of_too_many_images_those_that_decide_have_their_own_groups() {
        let (features, _) = drawn(2 * MOST_IMAGES, 2, 2, 2.0);
        let labels: Vec<bool> = (0..2 * MOST_IMAGES).map(|image| image % 5 == 0).collect();
        let group =
            |image: usize| if image.is_multiple_of(2) { u32::from(labels[image]) } else { image as u32 };
        let groups: Vec<u32> = (0..2 * MOST_IMAGES).map(group).collect();
        let rows = DesignMatrix::new(&features).unwrap();
        assert_eq!(choose(&rows, &labels, Some(&groups), OPTIONS).unwrap(), None);
    }

    #[test]
    fn shortcuts_do_not_move_the_choice() {
        let mut told_apart = 0;
        let sets =
            [drawn(150, 60, 1, 0.3), drawn(400, 30, 4, 0.7), drawn(300, 5, 2, 1.5), drawn(200, 60, 20, 0.7)];
        for (features, defects) in sets {
            let best = |swapped: bool| {
                let losses = CANDIDATES.map(|c| (loss(&features, &defects, c, swapped), c));
                losses.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap().1
            };
            let (_, c) = Probe::cross_validated(&features, &defects, None, OPTIONS).unwrap();
            assert_eq!(c, best(false));
            told_apart += usize::from(best(true) != best(false));
        }
        assert!(told_apart > 0, "fitted on one fold, scored on four, nothing would be chosen otherwise");
    }

    #[test]
    fn the_chosen_probe_is_the_fit_with_that_c() {
        let (features, defects) = drawn(300, 20, 2, 1.0);
        let (probe, c) = Probe::cross_validated(&features, &defects, None, OPTIONS).unwrap();
        assert!(CANDIDATES.contains(&c));
        assert_eq!(probe, Probe::fit(&features, &defects, Options { c, ..OPTIONS }).unwrap());
        // One group per label: no fold can be predicted from another.
        let groups: Vec<u32> = defects.iter().map(|&defect| defect.into()).collect();
        let (_, c) = Probe::cross_validated(&features, &defects, Some(&groups), OPTIONS).unwrap();
        assert_eq!(c, OPTIONS.c, "nothing to choose by");
        let few = features.narrow(0, 0, 45).unwrap();
        assert_eq!(
            Probe::cross_validated(&few, &defects[..45], None, OPTIONS).unwrap().1,
            OPTIONS.c,
            "9 defects"
        );
    }

    #[test]
    fn pictures_of_one_group_are_predicted_together() {
        // Every image appears twice: without groups, its copy in another fold gives its label away, so a larger C wins
        // than with groups.
        let (features, defects) = drawn(100, 90, 1, 0.2);
        let twice = Tensor::cat(&[&features, &features], 0).unwrap();
        let labels = [defects.clone(), defects].concat();
        let groups: Vec<u32> = (0..200).map(|image| image % 100).collect();
        let chosen =
            |groups: Option<&[u32]>| Probe::cross_validated(&twice, &labels, groups, OPTIONS).unwrap().1;
        assert!(chosen(None) > chosen(Some(&groups)), "{} {}", chosen(None), chosen(Some(&groups)));
    }

    /// Of twice as many images as are compared, every second one decides: with its own features and label.
    #[test]
    fn of_too_many_images_every_second_one_decides() {
        let (noise, defects) = drawn(MOST_IMAGES, 2, 0, 0.0);
        let (plain, _) = drawn(MOST_IMAGES, 2, 2, 2.0);
        let labels: Vec<bool> = defects.iter().flat_map(|&defect| [defect, defect]).collect();
        let mixed = |first: &Tensor, second: &Tensor| {
            let both = Tensor::stack(&[first, second], 1).unwrap().reshape((2 * MOST_IMAGES, 2)).unwrap();
            Probe::cross_validated(&both, &labels, None, OPTIONS).unwrap().1
        };
        let alone = |features: &Tensor| Probe::cross_validated(features, &defects, None, OPTIONS).unwrap().1;
        let expected = (alone(&noise), alone(&plain));
        assert!(expected.0 < expected.1, "{expected:?}");
        assert_eq!((mixed(&noise, &plain), mixed(&plain, &noise)), expected);
    }
}
