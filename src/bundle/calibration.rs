//! Calibration: converts logits to probabilities of a defect, for any rate of defects.
//!
//! Platt scaling ("Probabilistic outputs for support vector machines", 1999): a logistic regression of validation
//! labels on logits, with both labels weighted equally in sum, so that it gives log odds for as many defects as
//! normal images. For a site with other odds, the log odds are shifted (Saerens, Latinne and Decaestecker, "Adjusting
//! the outputs of a classifier to new a priori probabilities", 2002).

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    evaluate::{
        folds::deal,
        probe::{Options, Probe, Weighting},
    },
    seed::Seed,
};

/// Folds of the validation images; each fold is predicted from the others. Ours.
const FOLDS: usize = 5;
/// Bins of equal weight in which probabilities are compared with observed labels. Ours.
const BINS: usize = 10;

/// A linear map from logits to balanced log odds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Log odds per unit of the logit.
    pub slope: f64,
    /// Log odds at logit 0.
    pub intercept: f64,
    /// Expected calibration error, 0..1, at the stated rate: the distance of probabilities from observed frequencies,
    /// on images that were held out of the fit.
    pub error: f64,
}

impl Calibration {
    /// Fits the logits of validation images. `rate` is the rate of defects that the error refers to; images of one
    /// group are held out together.
    ///
    /// # Errors
    /// If a label is missing, or a fit does not converge.
    pub fn fit(logits: &[f64], defects: &[bool], groups: Option<&[u32]>, rate: f64) -> Result<Self> {
        ensure!(0.0 < rate && rate < 1.0, "a rate of defects lies between 0 and 100 %, found {rate}");
        let (slope, intercept) = line(logits, defects)?;
        let fitted = Self { slope, intercept, error: f64::NAN };
        let folds = deal(defects, groups, FOLDS, &Seed::root(0).child("calibration"));
        let mut probabilities = vec![f64::NAN; logits.len()];
        for fold in 0..FOLDS {
            let (inside, outside): (Vec<usize>, Vec<usize>) =
                (0..logits.len()).partition(|&image| folds[image] == fold);
            let (known, labels): (Vec<f64>, Vec<bool>) =
                outside.iter().map(|&image| (logits[image], defects[image])).unzip();
            // If there are too few images to hold some out, the fit on all images is used.
            let (slope, intercept) = line(&known, &labels).unwrap_or((slope, intercept));
            let from_others = Self { slope, intercept, error: 0.0 };
            inside
                .iter()
                .for_each(|&image| probabilities[image] = from_others.probability(logits[image], rate));
        }
        Ok(Self { error: error(&probabilities, defects, rate), ..fitted })
    }

    /// Returns the probability of a defect if a fraction `rate` of images has one.
    pub fn probability(&self, logit: f64, rate: f64) -> f64 {
        1.0 / (1.0 + (-self.log_odds(logit, rate)).exp())
    }

    /// Log odds of that probability.
    pub(super) fn log_odds(&self, logit: f64, rate: f64) -> f64 {
        self.slope * logit + self.intercept + (rate / (1.0 - rate)).ln()
    }

    /// Returns the logit that has this probability at this rate.
    ///
    /// # Errors
    /// If probabilities do not increase with logits.
    pub fn logit_at(&self, probability: f64, rate: f64) -> Result<f64> {
        ensure!(
            self.slope > 0.0,
            "on validation images, the odds of a defect do not rise with the logits of this detector (slope {:.3}): a \
             threshold cannot be chosen by costs",
            self.slope
        );
        Ok(((probability / (1.0 - probability)).ln() - (rate / (1.0 - rate)).ln() - self.intercept)
            / self.slope)
    }
}

/// Fits slope and intercept.
fn line(logits: &[f64], defects: &[bool]) -> Result<(f64, f64)> {
    let rows = Tensor::from_slice(logits, (logits.len(), 1), &Device::Cpu)?;
    // The penalty is so weak that it matters only if the labels are perfectly separable.
    let options = Options { c: 1.0, weighting: Weighting::Balanced, standardise: true };
    let fitted = Probe::fit(&rows, defects, options)?;
    Ok((fitted.weights[0], fitted.bias))
}

/// Mean distance of probabilities from observed frequencies, over bins of equal weight; images are weighted so that a
/// fraction `rate` of them has a defect.
fn error(probabilities: &[f64], defects: &[bool], rate: f64) -> f64 {
    let count = |wanted: bool| defects.iter().filter(|defect| **defect == wanted).count() as f64;
    let (normals, positives) = (count(false), count(true));
    let weight = |image: usize| if defects[image] { rate / positives } else { (1.0 - rate) / normals };
    let mut order: Vec<usize> = (0..defects.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let (mut bins, mut reached) = ([[0.0; 2]; BINS], 0.0);
    for image in order {
        let bin = ((reached * BINS as f64) as usize).min(BINS - 1);
        let [said, happened] = &mut bins[bin];
        *said += weight(image) * probabilities[image];
        *happened += weight(image) * f64::from(u8::from(defects[image]));
        reached += weight(image);
    }
    bins.iter().map(|[said, happened]| (said - happened).abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images whose log odds of a defect are twice a normal variable x; their logits scale and shift x, like a probe
    /// that is badly scaled.
    fn drawn(count: usize) -> (Vec<f64>, Vec<bool>) {
        let mut stream = Seed::root(4).stream();
        (0..count)
            .map(|place| {
                // Normal densities with means -1 and 1 and variance 1 have log odds of 2 x.
                let defect = place % 4 == 0;
                let x = stream.normal() + if defect { 1.0 } else { -1.0 };
                (3.0 * x + 5.0, defect)
            })
            .unzip()
    }

    #[test]
    fn probabilities_are_what_happens_at_any_rate() {
        let (logits, defects) = drawn(8_000);
        let calibration = Calibration::fit(&logits, &defects, None, 0.25).unwrap();
        // Log odds 2 x = 2 (logit - 5) / 3.
        assert!((calibration.slope - 2.0 / 3.0).abs() < 0.04, "{calibration:?}");
        assert!((calibration.intercept + 10.0 / 3.0).abs() < 0.2, "{calibration:?}");
        assert!(calibration.error < 0.02, "{calibration:?}");
        for rate in [0.01, 0.25] {
            let logit = calibration.logit_at(0.3, rate).unwrap();
            assert!((calibration.probability(logit, rate) - 0.3).abs() < 1e-12);
        }
        // Without calibration, the same logits are far off.
        let raw: Vec<f64> = logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
        assert!(error(&raw, &defects, 0.25) > 0.2);
    }

    /// If logits are unrelated to labels, a fit has a larger error on held-out images than on its own. Copies of
    /// images in other folds hide that, unless groups keep copies together.
    #[test]
    fn the_error_is_that_on_images_that_were_not_fitted() {
        let mut stream = Seed::root(5).stream();
        let [mut own, mut unseen, mut hidden, mut grouped] = [0.0; 4];
        for _ in 0..20 {
            let logits: Vec<f64> = (0..30).map(|_| stream.normal()).collect();
            let defects: Vec<bool> = (0..30).map(|image| image % 2 == 0).collect();
            let fitted = Calibration::fit(&logits, &defects, None, 0.5).unwrap();
            let said: Vec<f64> = logits.iter().map(|&logit| fitted.probability(logit, 0.5)).collect();
            own += error(&said, &defects, 0.5);
            unseen += fitted.error;
            let (logits, defects) = (logits.repeat(5), defects.repeat(5));
            let groups: Vec<u32> = (0..150).map(|image| image % 30).collect();
            let of = |groups| Calibration::fit(&logits, &defects, groups, 0.5).unwrap().error;
            hidden += of(None);
            grouped += of(Some(&groups[..]));
        }
        assert!(unseen > 1.1 * own, "{unseen} of images that were not fitted, {own} of those that were");
        assert!(grouped > 1.1 * hidden, "{grouped} with copies together, {hidden} without");
    }

    #[test]
    fn separate_labels_and_few_images_are_no_trouble() {
        let calibration =
            Calibration::fit(&[-2.0, -1.0, 1.0, 2.0], &[false, false, true, true], None, 0.5).unwrap();
        assert!(calibration.slope.is_finite() && calibration.probability(2.0, 0.5) > 0.5, "{calibration:?}");
        assert!(Calibration::fit(&[0.0, 1.0], &[true, true], None, 0.5).is_err());
        assert!(Calibration::fit(&[0.0, 1.0], &[false, true], None, 1.0).is_err());
    }

    /// Four images, each in its own bin, by hand: each error is the distance of probability from label, weighted
    /// according to the rate.
    #[test]
    fn the_error_weighs_images_as_the_rate_does() {
        let (probabilities, defects) = ([0.3, 0.1, 0.9, 0.6], [true, false, true, false]);
        let even = 0.25 * (0.7 + 0.1 + 0.1 + 0.6);
        assert!((error(&probabilities, &defects, 0.5) - even).abs() < 1e-12);
        // A fifth are defects: each defect has weight 0.1, each normal image 0.4.
        let rare = 0.1 * (0.7 + 0.1) + 0.4 * (0.1 + 0.6);
        assert!((error(&probabilities, &defects, 0.2) - rare).abs() < 1e-12);
    }

    #[test]
    fn a_probability_has_a_logit_where_odds_rise_with_logits() {
        let of = |slope| Calibration { slope, intercept: 1.0, error: 0.0 };
        // Even odds at even rates: 2 x + 1 = 0. Odds of 3 where one in four is a defect: 2 x + 1 - ln 3 = ln 3.
        assert!((of(2.0).logit_at(0.5, 0.5).unwrap() + 0.5).abs() < 1e-12);
        assert!((of(2.0).logit_at(0.75, 0.25).unwrap() - (3.0_f64.ln() - 0.5)).abs() < 1e-12);
        for slope in [0.0, -2.0, f64::NAN] {
            let error = of(slope).logit_at(0.5, 0.5).unwrap_err().to_string();
            assert!(error.contains("the odds of a defect do not rise with the logits"), "{error}");
        }
    }
    /// Sixteen images of equal weight: bins of a tenth hold two images or one. Within a bin, errors of opposite sign
    /// cancel.
    #[test]
    fn the_error_is_of_ten_bins() {
        let probabilities: Vec<f64> = (1..=16).map(|place| f64::from(place * place) / 300.0).collect();
        let defects: Vec<bool> = (0..16).map(|place| place % 2 == 1).collect();
        let apart = |place: usize| probabilities[place] - f64::from(u8::from(defects[place]));
        let bins: [&[usize]; 10] =
            [&[0, 1], &[2, 3], &[4], &[5, 6], &[7], &[8, 9], &[10, 11], &[12], &[13, 14], &[15]];
        let expected: f64 =
            bins.iter().map(|bin| bin.iter().map(|&place| apart(place)).sum::<f64>().abs()).sum();
        assert!((error(&probabilities, &defects, 0.5) - expected / 16.0).abs() < 1e-12);
        // The order of images does not matter.
        let turned = |values: &[f64]| values.iter().rev().copied().collect::<Vec<_>>();
        let defects: Vec<bool> = defects.into_iter().rev().collect();
        assert!((error(&turned(&probabilities), &defects, 0.5) - expected / 16.0).abs() < 1e-12);
    }

    #[test]
    fn odds_at_a_rate_are_those_of_even_rates_times_the_sites() {
        let calibration = Calibration { slope: 2.0, intercept: -1.0, error: 0.5 };
        // Log odds 2 x 3 - 1 = 5 at even rates; one defect to three normal images: less ln 3.
        assert!((calibration.log_odds(3.0, 0.5) - 5.0).abs() < 1e-12);
        assert!((calibration.log_odds(3.0, 0.25) - (5.0 - 3_f64.ln())).abs() < 1e-12);
        let odds = 5_f64.exp() / 3.0;
        assert!((calibration.probability(3.0, 0.25) - odds / (1.0 + odds)).abs() < 1e-12);
        for rate in [0.0, 1.0, -0.5, f64::NAN] {
            let error = Calibration::fit(&[0.0, 1.0], &[false, true], None, rate).unwrap_err().to_string();
            assert!(error.starts_with("a rate of defects lies between 0 and 100 %, found"), "{error}");
        }
    }

    /// Without the one image of a label nothing can be fitted, so the fit on all images stands in.
    #[test]
    fn one_image_of_each_label_is_judged_by_the_fit_on_both() {
        let (logits, defects) = ([-1.0, 2.0], [false, true]);
        let fitted = Calibration::fit(&logits, &defects, None, 0.3).unwrap();
        let said = logits.map(|logit| fitted.probability(logit, 0.3));
        assert!(said[0] > 0.001 && said[1] < 0.999, "{said:?}");
        assert!((fitted.error - error(&said, &defects, 0.3)).abs() < 1e-12, "{fitted:?} of {said:?}");
    }
}
