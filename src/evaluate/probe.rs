//! The converged linear probe: logistic regression on frozen features. Independent of networks and of how features
//! were computed. No learning rate is involved: it is fitted until the gradient is zero to rounding, or the fit is
//! an error.
//!
//! min over w, b:  (1/S) sum_i s_i softplus(-+(w . x_i + b)) + lambda/2 |w|^2,   S = sum_i s_i
//!
//! with weights s of defects and normal images, and lambda = 1 / (C S): the minimiser of scikit-learn's
//! `LogisticRegression` with the same C. The bias is not penalised. Newton's method, in f64; the optimum
//! is unique, so any other converged solver finds the same probe.

mod choice;
mod rows;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
pub use choice::{CANDIDATES, FEWEST_PER_LABEL, FOLDS, MOST_IMAGES};
use rayon::prelude::*;

pub(super) use self::rows::dots;
use self::rows::{DesignMatrix, ROWS, dot, solve};

/// Largest gradient entry of a converged fit, relative to the largest that these features can give.
pub const TOLERANCE: f64 = 1e-10;

/// Largest number of Newton steps; ten are usual, thirty are needed if C is huge and the classes separate.
const MOST_STEPS: usize = 100;

/// Weights of images in the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// Equal weights.
    Uniform,
    /// Equal sums of weights for both classes: n / (2 n_class), scikit-learn's `class_weight="balanced"`.
    Balanced,
    /// This weight for defects, 1 for normal images: `pos_weight` of the training loss.
    Defects(f64),
}

/// Options of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// scikit-learn's C: the inverse of the penalty, relative to the *sum* of losses; above 0.
    pub c: f64,
    /// Weight of each image by its class.
    pub weighting: Weighting,
    /// Whether features are first divided by their standard deviation (over the images fitted on), so that the
    /// penalty treats them alike. Constant features are not divided.
    pub standardise: bool,
}

/// A fitted probe. It takes unscaled features, whether or not the fit standardised them.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// One weight per feature.
    pub weights: Vec<f64>,
    /// Added to the weighted sum; not penalised in the fit.
    pub bias: f64,
    /// How the fit ended.
    pub convergence: Convergence,
}

/// How the fit ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convergence {
    /// Newton steps taken.
    pub steps: usize,
    /// Largest entry of the gradient, relative as in [`TOLERANCE`].
    pub gradient: f64,
    /// The minimum found.
    pub objective: f64,
}

impl Probe {
    /// Fits `features` (images, width), of any float type, to `defects`.
    ///
    /// # Errors
    /// If shapes or options make no sense, a feature is not finite, only one class is present, or the
    /// tolerance is not reached.
    pub fn fit(features: &Tensor, defects: &[bool], options: Options) -> Result<Self> {
        let fit = Fit::new(rows_of(features, defects)?, defects, options)?;
        let (weights, convergence) = fit.minimise(options.c, vec![0.0; fit.rows.width()], TOLERANCE)?;
        Ok(fit.probe(weights, convergence))
    }

    /// Fits with the C that best predicts held-out images: of [`CANDIDATES`], in ascending order, the one at which
    /// the loss over [`FOLDS`] folds stops falling. Images of one group (`groups`, one number per image) share a
    /// fold. If a label has fewer than [`FEWEST_PER_LABEL`] images, the C of `options` is used. Returns the chosen C
    /// too.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn cross_validated(
        features: &Tensor,
        defects: &[bool],
        groups: Option<&[u32]>,
        options: Options,
    ) -> Result<(Self, f64)> {
        let rows = rows_of(features, defects)?;
        let c = choice::choose(&rows, defects, groups, options)?.unwrap_or(options.c);
        let fit = Fit::new(rows, defects, options)?;
        let (weights, convergence) = fit.minimise(c, vec![0.0; fit.rows.width()], TOLERANCE)?;
        Ok((fit.probe(weights, convergence), c))
    }

    /// Returns the logit of one feature vector of the fit's width.
    pub fn logit(&self, features: &[f32]) -> f64 {
        let products = features.iter().zip(&self.weights).map(|(x, weight)| f64::from(*x) * weight);
        products.sum::<f64>() + self.bias
    }

    /// Returns logits of `features` (images, width): positive means defect.
    ///
    /// # Errors
    /// If the width is not that of the fit, or a feature is not finite.
    pub fn logits(&self, features: &Tensor) -> Result<Vec<f64>> {
        let rows = DesignMatrix::new(features)?;
        ensure!(
            rows.width() == self.weights.len() + 1,
            "probe: {} features, expected {} as in the fit",
            rows.width() - 1,
            self.weights.len()
        );
        let mut weights = self.weights.clone();
        weights.push(self.bias);
        rows.times(&weights)
    }
}

/// Returns the weight of each image in the loss.
fn importances(defects: &[bool], weighting: Weighting) -> Result<Vec<f64>> {
    let found = defects.iter().filter(|&&defect| defect).count();
    let normals = defects.len() - found;
    ensure!(
        found > 0 && normals > 0,
        "probe: {found} defective and {normals} normal images, expected at least one of each"
    );
    let all = defects.len() as f64;
    let (of_defect, of_normal) = match weighting {
        Weighting::Uniform => (1.0, 1.0),
        Weighting::Balanced => (all / (2.0 * found as f64), all / (2.0 * normals as f64)),
        Weighting::Defects(weight) => (weight, 1.0),
    };
    ensure!(
        of_defect > 0.0 && f64::is_finite(of_defect),
        "probe: a defect weighs {of_defect}, expected a number above 0"
    );
    Ok(defects.iter().map(|&defect| if defect { of_defect } else { of_normal }).collect())
}

/// Returns features as rows, one for each label.
fn rows_of(features: &Tensor, defects: &[bool]) -> Result<DesignMatrix> {
    let rows = DesignMatrix::new(features)?;
    ensure!(
        rows.count() == defects.len(),
        "probe: {} rows of features for {} labels, expected one each",
        rows.count(),
        defects.len()
    );
    Ok(rows)
}

fn normalised(mut numbers: Vec<f64>) -> Vec<f64> {
    let sum: f64 = numbers.iter().sum();
    numbers.iter_mut().for_each(|number| *number /= sum);
    numbers
}

/// The objective on one set of images, for any C.
struct Fit<'a> {
    /// Centred, and scaled if requested.
    rows: DesignMatrix,
    means: Vec<f64>,
    deviations: Vec<f64>,
    defects: &'a [bool],
    /// s / S: weights that add up to 1.
    importances: Vec<f64>,
    /// S, the sum of the weights.
    importance: f64,
}

impl<'a> Fit<'a> {
    fn new(mut rows: DesignMatrix, defects: &'a [bool], options: Options) -> Result<Self> {
        let importances = importances(defects, options.weighting)?;
        // Centring changes only the bias, which is not penalised, and avoids a large offset in Newton's matrix.
        let means = rows.centre()?;
        let deviations = if options.standardise { rows.scale(&means)? } else { vec![1.0; means.len()] };
        rows.hold()?;
        let importance = importances.iter().sum();
        Ok(Self { rows, means, deviations, defects, importances: normalised(importances), importance })
    }

    /// Returns the probe of these weights, for unscaled features.
    fn probe(&self, mut weights: Vec<f64>, convergence: Convergence) -> Probe {
        let mut bias = weights.pop().expect("the bias is the last of at least one weight");
        for ((weight, mean), deviation) in weights.iter_mut().zip(&self.means).zip(&self.deviations) {
            *weight /= deviation;
            bias -= *weight * mean;
        }
        Probe { weights, bias, convergence }
    }

    /// Newton's method from `weights`, each step halved until the objective falls enough. Ends when the largest
    /// gradient entry is at most `tolerance` times the largest possible one.
    fn minimise(&self, c: f64, mut weights: Vec<f64>, tolerance: f64) -> Result<(Vec<f64>, Convergence)> {
        ensure!(c > 0.0 && c.is_finite(), "probe: C is {c}, expected a number above 0");
        let penalty = 1.0 / (c * self.importance);
        let scale = self.largest_gradient()?;
        let mut margins = self.rows.times(&weights)?;
        let mut objective = self.objective(penalty, &weights, &margins);
        for steps in 0..=MOST_STEPS {
            let (slopes, curvatures) = self.derivatives(&margins);
            let mut gradient = self.rows.transposed_times(&slopes)?;
            self.penalised(&mut gradient).zip(&weights).for_each(|(g, w)| *g += penalty * w);
            let largest = gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs())) / scale;
            if largest <= tolerance {
                return Ok((weights, Convergence { steps, gradient: largest, objective }));
            }
            ensure!(
                steps < MOST_STEPS && largest.is_finite(),
                "probe: gradient is {largest:.1e} after {steps} Newton steps, expected {tolerance:.0e}; \
                 lower C, or standardise the features"
            );

            let step = self.newton_step(penalty, &curvatures, &gradient)?;
            let step_margins = self.rows.times(&step)?;
            let descent = dot(&gradient, &step);
            let mut share = 1.0;
            loop {
                let less = |from: &[f64], step: &[f64]| -> Vec<f64> {
                    from.iter().zip(step).map(|(from, step)| from - share * step).collect()
                };
                let (moved, moved_margins) = (less(&weights, &step), less(&margins, &step_margins));
                let value = self.objective(penalty, &moved, &moved_margins);
                // Once the expected decrease is below rounding error, rely on the gradient: take the full
                // step.
                let hidden = descent <= 1e-12 * objective;
                if hidden || value <= objective - 1e-4 * share * descent {
                    (weights, margins, objective) = (moved, moved_margins, value);
                    break;
                }
                share /= 2.0;
                ensure!(
                    share > 1e-9,
                    "probe: no step lowers the objective at gradient {largest:.1e}; lower C"
                );
            }
        }
        unreachable!("the last pass returns or fails")
    }

    fn objective(&self, penalty: f64, weights: &[f64], margins: &[f64]) -> f64 {
        let of_piece = |((margins, defects), importances): ((&[f64], &[bool]), &[f64])| -> f64 {
            let of_image = |((&margin, &defect), s): ((&f64, &bool), &f64)| {
                s * softplus(if defect { -margin } else { margin })
            };
            margins.iter().zip(defects).zip(importances).map(of_image).sum()
        };
        let pieces: Vec<f64> = margins
            .par_chunks(ROWS)
            .zip(self.defects.par_chunks(ROWS))
            .zip(self.importances.par_chunks(ROWS))
            .map(of_piece)
            .collect();
        let free = weights.len() - 1;
        pieces.iter().sum::<f64>() + penalty / 2.0 * dot(&weights[..free], &weights[..free])
    }

    /// Returns the first and second derivative of each image's loss with respect to its margin.
    fn derivatives(&self, margins: &[f64]) -> (Vec<f64>, Vec<f64>) {
        margins
            .par_iter()
            .with_min_len(ROWS)
            .zip(self.defects)
            .zip(&self.importances)
            .map(|((&margin, &defect), s)| {
                let p = 1.0 / (1.0 + libm::exp(-margin));
                (s * (p - f64::from(u8::from(defect))), s * p * (1.0 - p))
            })
            .unzip()
    }

    fn newton_step(&self, penalty: f64, curvatures: &[f64], gradient: &[f64]) -> Result<Vec<f64>> {
        let width = self.rows.width();
        let mut hessian = self.rows.weighted_gram(curvatures)?;
        for i in 0..width - 1 {
            hessian[i * width + i] += penalty;
        }
        // Keeps the matrix regular if every image is far from the boundary; changes the steps, not the optimum.
        hessian[width * width - 1] += f64::EPSILON;
        solve(&mut hessian, gradient.to_vec())
            .context("probe: features are too nearly dependent for this C; lower C, or standardise them")
    }

    /// Returns the largest entry that a gradient of the loss could have with these features.
    fn largest_gradient(&self) -> Result<f64> {
        let sums = self.rows.absolute_transposed_times(&self.importances)?;
        Ok(sums.into_iter().fold(0.0, f64::max))
    }

    /// Returns all entries except that of the bias.
    fn penalised<'v>(&self, vector: &'v mut [f64]) -> impl Iterator<Item = &'v mut f64> {
        vector.iter_mut().take(self.rows.width() - 1)
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde::Deserialize;

    use super::*;
    use crate::{evaluate::detection::Detection, seed::Seed};

    #[derive(Deserialize)]
    struct Case {
        c: f64,
        /// `null`, `"balanced"` or the weight of a defect.
        class_weight: serde_json::Value,
        standardise: bool,
        coefficients: Vec<f64>,
        intercept: f64,
        auroc: f64,
        average_precision: f64,
        f1: f64,
    }

    #[derive(Deserialize)]
    struct Fixture {
        probe: Vec<Case>,
    }

    /// 200 x 12 features and 21 defects by the formula of fixtures/scikit_learn/make.py.
    fn made_up() -> (Tensor, Vec<bool>) {
        let feature = |i: usize, j: usize| {
            let (i, j) = (i as f64, j as f64);
            libm::sin(0.37 * i * (j + 1.0) + 0.2 * j) * [0.5, 1.0, 2.0, 4.0][j as usize % 4] + 0.1 * j
        };
        let rows: Vec<[f64; 12]> = (0..200).map(|i| std::array::from_fn(|j| feature(i, j))).collect();
        let defects = rows
            .iter()
            .enumerate()
            .map(|(i, x)| x[0] + 0.5 * x[2] - 0.4 * x[5] + 2.0 * libm::sin(12.9898 * i as f64) > 2.1)
            .collect();
        (Tensor::from_vec(rows.concat(), (200, 12), &Device::Cpu).unwrap(), defects)
    }

    fn options(c: f64) -> Options {
        Options { c, weighting: Weighting::Balanced, standardise: true }
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let fixture: Fixture =
            serde_json::from_str(include_str!("../../fixtures/scikit_learn/expected.json")).unwrap();
        let (features, defects) = made_up();
        assert_eq!(fixture.probe.len(), 5);
        for case in fixture.probe {
            let weighting = match &case.class_weight {
                serde_json::Value::Null => Weighting::Uniform,
                serde_json::Value::Number(weight) => Weighting::Defects(weight.as_f64().unwrap()),
                _ => Weighting::Balanced,
            };
            let options = Options { c: case.c, weighting, standardise: case.standardise };
            let probe = Probe::fit(&features, &defects, options).unwrap();
            for (found, expected) in probe.weights.iter().zip(&case.coefficients) {
                assert!((found - expected).abs() < 1e-5, "{options:?}: {found} is not {expected}");
            }
            assert!((probe.bias - case.intercept).abs() < 1e-5, "{options:?}: bias {}", probe.bias);
            let scores = Detection::new(&probe.logits(&features).unwrap(), &defects).unwrap();
            for (found, expected) in [
                (scores.auroc, case.auroc),
                (scores.average_precision, case.average_precision),
                (scores.counts.f1(), case.f1),
            ] {
                assert!((found - expected).abs() < 1e-12, "{options:?}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn one_feature_by_hand() {
        // Three of four images at x = 1 are defects, one of four at x = -1. By symmetry b = 0, and without
        // penalty the probe gives the odds: w = ln 3.
        let features =
            Tensor::new(&[[1.0], [1.0], [1.0], [1.0], [-1.0], [-1.0], [-1.0], [-1.0]], &Device::Cpu);
        let defects = [true, true, true, false, true, false, false, false];
        let probe = Probe::fit(&features.unwrap(), &defects, options(1e9)).unwrap();
        assert!((probe.weights[0] - 3_f64.ln()).abs() < 1e-7 && probe.bias.abs() < 1e-7, "{probe:?}");
        assert!(probe.convergence.gradient <= TOLERANCE);
    }

    #[test]
    fn standardising_forgets_units_and_ignores_constants() {
        let (features, defects) = made_up();
        let probe = Probe::fit(&features, &defects, options(1.0)).unwrap();
        let in_other_units = ((&features * 1000.0).unwrap() + 50.0).unwrap();
        let constant = Tensor::full(0.1, (200, 1), &Device::Cpu).unwrap();
        let wider = Tensor::cat(&[&in_other_units, &constant], 1).unwrap();
        let other = Probe::fit(&wider, &defects, options(1.0)).unwrap();
        let logits = (probe.logits(&features).unwrap(), other.logits(&wider).unwrap());
        for (a, b) in logits.0.iter().zip(logits.1) {
            assert!((a - b).abs() < 1e-8, "{a} is not {b}");
        }
        assert!(other.weights[12].abs() < 1e-20, "what rounding leaves of a constant says nothing");
    }

    #[test]
    fn separable_classes_converge_under_a_penalty() {
        // 40 images in 60 dimensions are always separable; a weak penalty makes the optimum far and flat.
        let mut stream = Seed::root(4).child("separable").stream();
        let numbers: Vec<f32> = (0..40 * 60).map(|_| stream.normal() as f32).collect();
        let features = Tensor::from_vec(numbers, (40, 60), &Device::Cpu).unwrap();
        let defects: Vec<bool> = (0..40).map(|i| i % 10 == 0).collect();
        for c in [1e-6, 1.0, 1e6] {
            let probe = Probe::fit(&features, &defects, options(c)).unwrap();
            assert!(probe.convergence.gradient <= TOLERANCE, "C = {c}: {:?}", probe.convergence);
            let scores = Detection::new(&probe.logits(&features).unwrap(), &defects).unwrap();
            assert!(c < 1.0 || scores.auroc == 1.0, "C = {c}: {scores:?}");
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let mut stream = Seed::root(6).child("threads").stream();
        let numbers: Vec<f64> = (0..3000 * 20).map(|_| stream.normal()).collect();
        let features = Tensor::from_vec(numbers, (3000, 20), &Device::Cpu).unwrap();
        let defects: Vec<bool> = (0..3000).map(|_| stream.coin(0.1)).collect();
        let fit_on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Probe::fit(&features, &defects, options(1.0)).unwrap())
        };
        assert_eq!(fit_on(1), fit_on(3));
    }

    #[test]
    fn unusable_input_is_an_error() {
        let (features, defects) = made_up();
        let message = |features: &Tensor, defects: &[bool], c| {
            format!("{:#}", Probe::fit(features, defects, options(c)).unwrap_err())
        };
        assert!(message(&features, &[true; 200], 1.0).contains("200 defective and 0 normal"));
        assert!(message(&features, &defects[..199], 1.0).contains("200 rows of features for 199 labels"));
        let fewer = features.narrow(0, 0, 198).unwrap();
        assert!(message(&fewer, &defects, 1.0).contains("198 rows of features for 200 labels"));
        for c in [-1.0, f64::INFINITY, f64::NAN] {
            let expected = format!("probe: C is {c}, expected a number above 0");
            assert_eq!(message(&features, &defects, c), expected);
        }
        assert!(message(&features, &defects, 0.0).contains("C is 0"));
        let broken = Tensor::new(&[[1.0, 2.0], [3.0, f64::NAN]], &Device::Cpu).unwrap();
        assert!(message(&broken, &[true, false], 1.0).contains("feature 1 of image 1 is NaN"));
        let probe = Probe::fit(&features, &defects, options(1.0)).unwrap();
        let wider = Tensor::zeros((3, 13), candle_core::DType::F32, &Device::Cpu).unwrap();
        for (rows, width) in [(&broken.narrow(0, 0, 1).unwrap(), 2), (&wider, 13)] {
            let error = probe.logits(rows).unwrap_err().to_string();
            assert_eq!(error, format!("probe: {width} features, expected 12 as in the fit"));
        }
    }

    /// By hand, at the start all slopes are 1/2 of an image's weight, a quarter: the gradient is that of features of 4
    /// and -4, (4 + 4 + 4 + 4) / 8 = 2, half of the largest that they could give, 4. In other units it is half, too.
    #[test]
    fn a_gradient_is_relative_to_the_largest_one() {
        let defects = [true, true, false, false];
        for unit in [4.0, 2.0, 1e6] {
            let rows = [[unit], [unit], [-unit], [-unit]];
            let features = Tensor::new(&rows, &Device::Cpu).unwrap();
            let options = Options { standardise: false, ..options(1.0) };
            let fit = Fit::new(rows_of(&features, &defects).unwrap(), &defects, options).unwrap();
            let (weights, ended) = fit.minimise(1.0, vec![0.0; 2], 0.75).unwrap();
            // At zero the objective is ln 2, and that is near enough.
            assert_eq!((weights, ended.steps, ended.gradient), (vec![0.0; 2], 0, 0.5), "{unit}");
            assert!((ended.objective - 2_f64.ln()).abs() < 1e-15, "{ended:?}");
        }
    }

    /// Features of a collapsed encoder say nothing, whatever their constant value is: only the bias is fitted, to the
    /// odds.
    #[test]
    fn features_that_are_constant_give_the_odds_alone() {
        let defects = [true, false, false, false, true, false, false, false, false];
        for value in [0.0, 0.1, -0.1, -3.0, 1e9, -1e-9] {
            for standardise in [true, false] {
                let features = Tensor::full(value, (9, 2), &Device::Cpu).unwrap();
                let options = Options { c: 1.0, weighting: Weighting::Uniform, standardise };
                let probe = Probe::fit(&features, &defects, options).unwrap();
                let odds = (2.0_f64 / 7.0).ln();
                for logit in probe.logits(&features).unwrap() {
                    assert!((logit - odds).abs() < 1e-7, "{value}, {standardise}: {logit}, expected {odds}");
                }
                assert!(
                    probe.weights.iter().all(|weight| (weight * value).abs() < 1e-6),
                    "{value}: {probe:?}"
                );
            }
        }
    }

    /// Two defects among five images: balanced weights are 5/4 and 5/6.
    #[test]
    fn images_weigh_by_their_class() {
        let defects = [true, false, false, true, false];
        let of = |weighting| importances(&defects, weighting).unwrap();
        assert_eq!(of(Weighting::Uniform), [1.0; 5]);
        assert_eq!(of(Weighting::Balanced), [1.25, 5.0 / 6.0, 5.0 / 6.0, 1.25, 5.0 / 6.0]);
        assert_eq!(of(Weighting::Defects(7.0)), [7.0, 1.0, 1.0, 7.0, 1.0]);
        for weight in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            let error = importances(&defects, Weighting::Defects(weight)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("probe: a defect weighs {weight}")), "{error}");
        }
    }

    #[test]
    fn a_logit_is_a_weighted_sum_and_the_bias() {
        let convergence = Convergence { steps: 0, gradient: 0.0, objective: 0.0 };
        let probe = Probe { weights: vec![2.0, -3.0, 0.5], bias: 0.25, convergence };
        assert_eq!(probe.logit(&[1.0, 2.0, 4.0]), -1.75);
        let rows = Tensor::new(&[[1.0_f32, 2.0, 4.0], [0.0, -1.0, 2.0]], &Device::Cpu).unwrap();
        assert_eq!(probe.logits(&rows).unwrap(), [-1.75, 4.25]);
    }

    /// From a start on the wrong side a whole step overshoots, and is halved until the objective falls.
    #[test]
    fn a_step_that_is_too_long_is_halved() {
        let rows: [f64; 6] = [-1.0, -0.5, 0.5, 0.75, 1.5, 2.0];
        let features = Tensor::from_slice(&rows, (6, 1), &Device::Cpu).unwrap();
        let defects = [false, true, false, true, false, true];
        let fit = Fit::new(rows_of(&features, &defects).unwrap(), &defects, options(10.0)).unwrap();
        let start = vec![-6.0, 4.0];
        let penalty = 1.0 / (10.0 * fit.importance);
        let objective = |weights: &[f64]| fit.objective(penalty, weights, &fit.rows.times(weights).unwrap());
        let (slopes, curvatures) = fit.derivatives(&fit.rows.times(&start).unwrap());
        let mut gradient = fit.rows.transposed_times(&slopes).unwrap();
        gradient[0] += penalty * start[0];
        let step = fit.newton_step(penalty, &curvatures, &gradient).unwrap();
        let whole: Vec<f64> = start.iter().zip(&step).map(|(from, step)| from - step).collect();
        assert!(objective(&whole) > objective(&start), "a whole step would do");

        let (expected, near) = fit.minimise(10.0, vec![0.0; 2], TOLERANCE).unwrap();
        let (found, far) = fit.minimise(10.0, start, TOLERANCE).unwrap();
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?} {expected:?}");
        assert!((near.objective - far.objective).abs() < 1e-12 && far.steps < 30, "{near:?} {far:?}");
    }
}
