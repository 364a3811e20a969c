//! Compares two groups of values: is one above the other, and by how much? Independent of tables.
//!
//! - Difference of means, with Student's interval ([`super::intervals`]).
//! - Effect size: the difference divided by the standard deviation over seeds, so that "large" means large compared
//!   with what a new seed does. If the deviations of both groups differ, the root of their mean variance is used
//!   (Cohen, "Statistical power analysis for the behavioral sciences", 1988, 2.3.3).
//! - Probability of improvement: how often a run of the first group beats a run of the second (Agarwal et al., "Deep
//!   reinforcement learning at the edge of the statistical precipice", NeurIPS 2021). This is the Mann-Whitney
//!   statistic over all pairs; ties count half.

use super::intervals::{Interval, Uncertainty, mean};

/// Comparison of two groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Mean of the first group minus mean of the second.
    pub difference: Interval,
    /// The difference in standard deviations over seeds.
    pub effect: f64,
    /// Probability that a value of the first group exceeds one of the second.
    pub improvement: f64,
    /// Two-sided p-value of no difference.
    pub p_value: f64,
}

impl Comparison {
    /// Compares two groups of independent runs; neither may be empty.
    ///
    /// `spreads` are the uncertainties of one value of each group, `error` that of the difference of the means.
    pub fn between([first, second]: [&[f64]; 2], spreads: [Uncertainty; 2], error: Uncertainty) -> Self {
        let difference = error.interval_of_mean(mean(first) - mean(second), 1);
        let typical = spreads[0].deviation.hypot(spreads[1].deviation) / 2_f64.sqrt();
        Self {
            difference,
            effect: difference.estimate / typical,
            improvement: improvement(first, second),
            p_value: error.p_value(difference.estimate, error.deviation),
        }
    }
}

/// Fraction of all pairs in which the value of `first` exceeds that of `second`; ties count half.
pub fn improvement(first: &[f64], second: &[f64]) -> f64 {
    let wins: f64 = first
        .iter()
        .flat_map(|a| {
            second.iter().map(move |b| {
                if a > b {
                    1.0
                } else if a < b {
                    0.0
                } else {
                    0.5
                }
            })
        })
        .sum();
    wins / (first.len() * second.len()) as f64
}

/// Holm's correction of p-values for multiple testing, in the order given.
///
/// If hypotheses are rejected below a level, the probability of rejecting any true one is at most that level,
/// whatever their dependence.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &place) in order.iter().enumerate() {
        largest = largest.max((p_values.len() - rank) as f64 * p_values[place]).min(1.0);
        corrected[place] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy 1.17.1: `stats.mannwhitneyu(a, b).statistic / 12`, `stats.ttest_ind(a, b).pvalue`.
        let (first, second) = ([0.71, 0.74, 0.69], [0.66, 0.70, 0.75, 0.64]);
        let spread = Uncertainty::pooled([&first[..], &second]).unwrap();
        let error = spread.deviation * (1.0 / 3.0 + 1.0 / 4.0_f64).sqrt();
        let error = Uncertainty { deviation: error, ..spread };
        let found = Comparison::between([&first, &second], [spread; 2], error);
        assert!((found.improvement - 8.0 / 12.0).abs() < 1e-15);
        assert!((found.p_value - 0.4453298349373915).abs() < 1e-9);
        // `ttest_ind(a, b).confidence_interval()`.
        let Interval { estimate, low, high } = found.difference;
        let ends = [2.14 / 3.0 - 0.6875, -0.05435870358494624, 0.10602537025161277];
        for (found, expected) in [estimate, low, high].into_iter().zip(ends) {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        }
        assert!((found.effect - found.difference.estimate / spread.deviation).abs() < 1e-15);
        assert_eq!(improvement(&[1.0, 2.0], &[1.0]), 0.75);
    }

    #[test]
    fn holm_by_hand() {
        // Holm (1979): 4 x 0.005, 3 x 0.01, 2 x 0.03, then the running maximum.
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn an_effect_is_in_both_groups_deviations() {
        let error = Uncertainty { deviation: 1.0, ..Uncertainty::known(1.0) };
        let [three, four] = [3.0, 4.0].map(|deviation| Uncertainty { deviation, ..error });
        let found = Comparison::between([&[6.0], &[1.0]], [three, four], error);
        // The root of the mean of 9 and 16.
        assert!((found.effect - 5.0 / 12.5_f64.sqrt()).abs() < 1e-15, "{found:?}");
    }
}
