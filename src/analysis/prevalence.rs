//! The effect of imbalance alone on a score: a detector with fixed rates, scored on more and more normal images.
//!
//! With the true-positive rate T, the false-positive rate F and the share p of defects (q = 1 - p):
//!
//! precision = p T / (p T + q F),   F1 = 2 p T / (p T + q F + p),
//! F1_Normal = 2 q (1 - F) / (q (1 - F) + q + p (1 - T))
//!
//! Thresholds, and therefore rates, do not depend on p: a model's F1 at 1 % follows from its confusion matrix at
//! 45 %. What remains of a printed row after fitting one pair of rates is rounding, sampling of the defects, or a real
//! effect. Independent of tables.

use super::intervals::mean;

/// Rates of a detector, independent of the share of defects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// True-positive rate: fraction of the defects that is flagged.
    pub true_positive: f64,
    /// False-positive rate: fraction of the normal images that is flagged.
    pub false_positive: f64,
}

/// Scores of one detector at one share of defects; `None` if not printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoresAtShare {
    /// Share of defects, 0..1.
    pub share: f64,
    /// F1 of defects.
    pub f1: Option<f64>,
    /// F1 of normal images.
    pub f1_normal: Option<f64>,
}

/// One pair of rates fitted to a row of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The fitted rates.
    pub rates: Rates,
    /// Printed minus predicted F1, share by share; `None` if not printed.
    pub residuals: Vec<Option<f64>>,
    /// The same residuals for F1_Normal.
    pub residuals_normal: Vec<Option<f64>>,
}

impl Rates {
    /// Returns the precision at a share of defects; 0 if nothing is flagged.
    pub fn precision(self, share: f64) -> f64 {
        let (hits, alarms) = (share * self.true_positive, (1.0 - share) * self.false_positive);
        if hits + alarms == 0.0 { 0.0 } else { hits / (hits + alarms) }
    }

    /// Returns F1 at a share of defects.
    pub fn f1(self, share: f64) -> f64 {
        let (hits, alarms) = (share * self.true_positive, (1.0 - share) * self.false_positive);
        2.0 * hits / (hits + alarms + share)
    }

    /// Returns F1 of normal images at a share of defects.
    pub fn f1_normal(self, share: f64) -> f64 {
        let normals = 1.0 - share;
        let passed = normals * (1.0 - self.false_positive);
        2.0 * passed / (passed + normals + share * (1.0 - self.true_positive))
    }

    /// Solves for the rates that have these two scores at a share: two linear equations in true and false positives.
    pub fn solve(share: f64, f1: f64, f1_normal: f64) -> Self {
        let normals = 1.0 - share;
        // (2 - F1) a - F1 b = F1 p and -G a + (2 - G) b = 2 q - G (1 + q), with a = p T, b = q F, G = F1_Normal.
        let determinant = (2.0 - f1) * (2.0 - f1_normal) - f1 * f1_normal;
        let (first, second) = (f1 * share, 2.0 * normals - f1_normal * (1.0 + normals));
        let hits = (first * (2.0 - f1_normal) + f1 * second) / determinant;
        let alarms = ((2.0 - f1) * second + f1_normal * first) / determinant;
        Self { true_positive: hits / share, false_positive: alarms / normals }
    }
}

impl Fit {
    /// Fits the rates to all printed scores by least squares, starting from the most balanced share: at few defects
    /// F1 hardly depends on T. `None` unless some share has both scores.
    pub fn least_squares(row: &[ScoresAtShare]) -> Option<Self> {
        let both = |printed: &ScoresAtShare| Some((printed.share, printed.f1?, printed.f1_normal?));
        let (share, f1, f1_normal) = row.iter().filter_map(both).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut rates = Rates::solve(share, f1, f1_normal);
        for _ in 0..20 {
            rates = newton(row, rates);
        }
        let residuals = |of: fn(&ScoresAtShare) -> Option<f64>, model: fn(Rates, f64) -> f64| {
            row.iter().map(|printed| Some(of(printed)? - model(rates, printed.share))).collect()
        };
        Some(Self {
            rates,
            residuals: residuals(|printed| printed.f1, Rates::f1),
            residuals_normal: residuals(|printed| printed.f1_normal, Rates::f1_normal),
        })
    }

    /// Returns the largest absolute residual.
    pub fn largest_residual(&self) -> f64 {
        self.residuals
            .iter()
            .chain(&self.residuals_normal)
            .flatten()
            .fold(0.0, |worst: f64, x| worst.max(x.abs()))
    }

    /// Returns the fraction of the variance of F1 over shares that the fixed rates explain; `None` with fewer than
    /// two scores.
    pub fn explained(&self, row: &[ScoresAtShare]) -> Option<f64> {
        let printed: Vec<f64> = row.iter().filter_map(|printed| printed.f1).collect();
        let middle = mean(&printed);
        let total: f64 = printed.iter().map(|f1| (f1 - middle).powi(2)).sum();
        let left: f64 = self.residuals.iter().flatten().map(|residual| residual.powi(2)).sum();
        (printed.len() > 1 && total > 0.0).then(|| 1.0 - left / total)
    }
}

/// One Gauss-Newton step, with numerical derivatives.
fn newton(row: &[ScoresAtShare], rates: Rates) -> Rates {
    const STEP: f64 = 1e-6;
    type ByShare = (fn(&ScoresAtShare) -> Option<f64>, fn(Rates, f64) -> f64);
    let models: [ByShare; 2] =
        [(|printed| printed.f1, Rates::f1), (|printed| printed.f1_normal, Rates::f1_normal)];
    // Normal equations of two unknowns.
    let (mut tt, mut tf, mut ff, mut t, mut f) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for printed in row {
        for (value, model) in models {
            let Some(value) = value(printed) else { continue };
            let now = model(rates, printed.share);
            let slope = |moved: Rates| (model(moved, printed.share) - now) / STEP;
            let by_hits = slope(Rates { true_positive: rates.true_positive + STEP, ..rates });
            let by_alarms = slope(Rates { false_positive: rates.false_positive + STEP, ..rates });
            tt += by_hits * by_hits;
            tf += by_hits * by_alarms;
            ff += by_alarms * by_alarms;
            t += by_hits * (value - now);
            f += by_alarms * (value - now);
        }
    }
    let determinant = tt * ff - tf * tf;
    if determinant.abs() < 1e-12 {
        return rates;
    }
    Rates {
        true_positive: (rates.true_positive + (t * ff - f * tf) / determinant).clamp(0.0, 1.0),
        false_positive: (rates.false_positive + (f * tt - t * tf) / determinant).clamp(0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{
        Metric,
        paper::{figure_2, figure_2_rates},
    };

    #[test]
    fn scores_by_hand() {
        // 100 images, 10 defects: 8 found, 9 false alarms. Precision 8/17, F1 16/27, F1_Normal 162/173.
        let rates = Rates { true_positive: 0.8, false_positive: 0.1 };
        assert!((rates.precision(0.1) - 8.0 / 17.0).abs() < 1e-15);
        assert!((rates.f1(0.1) - 16.0 / 27.0).abs() < 1e-15);
        assert!((rates.f1_normal(0.1) - 162.0 / 173.0).abs() < 1e-15);
        let solved = Rates::solve(0.1, 16.0 / 27.0, 162.0 / 173.0);
        assert!((solved.true_positive - 0.8).abs() < 1e-12 && (solved.false_positive - 0.1).abs() < 1e-12);
        assert_eq!(Rates { true_positive: 0.0, false_positive: 0.0 }.precision(0.1), 0.0);
    }

    /// Each of the fifteen rows of Figure 2 follows from one pair of rates to within 0.7 points. The expected pairs
    /// were solved from the 45 % column alone (`fixtures/paper`); rounding makes them uncertain by about a point.
    #[test]
    fn figure_2_is_arithmetic() {
        let cells = figure_2();
        for expected in figure_2_rates() {
            let mut row: Vec<ScoresAtShare> = Vec::new();
            for cell in &cells {
                if cell.method != expected.method || cell.train_share != expected.train_share {
                    continue;
                }
                let share = cell.validation_share.fraction().unwrap();
                let place = row.iter().position(|printed| printed.share == share);
                let place = place.unwrap_or_else(|| {
                    row.push(ScoresAtShare { share, f1: None, f1_normal: None });
                    row.len() - 1
                });
                match cell.metric {
                    Metric::F1 => row[place].f1 = cell.printed.score(),
                    Metric::F1Normal => row[place].f1_normal = cell.printed.score(),
                    _ => {}
                }
            }
            assert_eq!(row.len(), 5);
            let fit = Fit::least_squares(&row).unwrap();
            let name = format!("{} {}: {fit:?}", expected.method, expected.train_share);
            assert!((fit.rates.true_positive - expected.true_positive).abs() < 0.015, "{name}");
            assert!((fit.rates.false_positive - expected.false_positive).abs() < 0.005, "{name}");
            assert!(fit.largest_residual() < 0.007, "{name}");
            assert!(fit.explained(&row).unwrap() > 0.999, "{name}");
        }
    }

    #[test]
    fn a_row_without_both_scores_has_no_fit() {
        assert_eq!(
            Fit::least_squares(&[ScoresAtShare { share: 0.45, f1: Some(0.7), f1_normal: None }]),
            None
        );
    }

    /// Scores that only more than all defects could have are fitted by all of them, and so are normal images.
    #[test]
    fn rates_stay_between_none_and_all() {
        let row = |rates: Rates| {
            [0.45, 0.15].map(|share| ScoresAtShare {
                share,
                f1: Some(rates.f1(share)),
                f1_normal: Some(rates.f1_normal(share)),
            })
        };
        let fit = |true_positive, false_positive| {
            Fit::least_squares(&row(Rates { true_positive, false_positive })).unwrap().rates
        };
        let more = fit(1.02, 0.1);
        assert_eq!(more.true_positive, 1.0);
        assert!((more.false_positive - 0.1).abs() < 0.03, "{more:?}");
        let less = fit(0.7, -0.01);
        assert_eq!(less.false_positive, 0.0);
        assert!((less.true_positive - 0.7).abs() < 0.03, "{less:?}");
    }

    /// The largest residual is of either score and either sign; of one score nothing is explained.
    #[test]
    fn residuals_of_both_scores_count() {
        let rates = Rates { true_positive: 0.5, false_positive: 0.25 };
        let fit = |f1: &[f64], normal: &[f64]| Fit {
            rates,
            residuals: f1.iter().map(|x| Some(*x)).collect(),
            residuals_normal: normal.iter().map(|x| Some(*x)).chain([None]).collect(),
        };
        assert_eq!(fit(&[0.1, -0.2], &[0.05]).largest_residual(), 0.2);
        assert_eq!(fit(&[0.1], &[0.05, -0.4]).largest_residual(), 0.4);
        let at = |share: f64, f1: Option<f64>| ScoresAtShare { share, f1, f1_normal: None };
        // Around their mean 0.5 the scores vary by 0.02; 0.0025 of it is left.
        let explained = fit(&[0.05, 0.0], &[0.3, -0.2]).explained(&[
            at(0.1, Some(0.4)),
            at(0.2, Some(0.6)),
            at(0.3, None),
        ]);
        assert!((explained.unwrap() - 0.875).abs() < 1e-12, "{explained:?}");
        assert_eq!(fit(&[0.05], &[]).explained(&[at(0.1, Some(0.4)), at(0.3, None)]), None);
    }
}
