//! Is one group of values above another, by how much, and which of many is first. Knows nothing of tables.
//!
//! Difference: of means, with Student's interval ([`super::intervals`]). Effect size: that difference over the
//! deviation of seeds, so that "large" means large beside what a new seed does. Probability of improvement: how often
//! a run of one beats a run of the other (Agarwal et al., "Deep reinforcement learning at the edge of the statistical
//! precipice", NeurIPS 2021), which is the Mann-Whitney statistic over all pairs; ties count half.

use super::intervals::{Interval, Uncertainty, mean};
use crate::seed::Seed;

/// Two groups beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// First less second.
    pub difference: Interval,
    /// The difference in standard deviations of a seed.
    pub effect: f64,
    /// That a value of the first exceeds one of the second.
    pub improvement: f64,
    /// Of no difference, both sides.
    pub p_value: f64,
}

impl Comparison {
    /// Compares runs that share nothing but the spread of seeds. Neither group may be empty.
    pub fn of(first: &[f64], second: &[f64], spread: Uncertainty) -> Self {
        let difference = spread.of_difference(first, second);
        let error = spread.deviation * (1.0 / first.len() as f64 + 1.0 / second.len() as f64).sqrt();
        Self {
            difference,
            effect: difference.estimate / spread.deviation,
            improvement: improvement(first, second),
            p_value: spread.p_value(difference.estimate, error),
        }
    }
}

/// Part of all pairs in which the first exceeds the second; ties count half.
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

/// Holm's correction: p-values in their order, each as if it had been the only one asked. The chance that any true
/// null among them is rejected is then at most the level, whatever their dependence.
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

/// How likely each group is at each rank, best first: `chances[group][rank]`. Means are drawn around what was found,
/// as far apart as new seeds would be; with a spread that is not well known, by Student's t.
pub fn ranks(groups: &[&[f64]], spread: Uncertainty, rounds: usize, seed: Seed) -> Vec<Vec<f64>> {
    let mut counts = vec![vec![0_usize; groups.len()]; groups.len()];
    for round in 0..rounds {
        let mut stream = seed.child("ranks").index(round).stream();
        // The deviation itself is uncertain: one draw a round.
        let scale = spread.drawn_scale(&mut stream);
        let mut drawn: Vec<(f64, usize)> = groups
            .iter()
            .enumerate()
            .map(|(place, values)| {
                let error = scale * spread.deviation / (values.len() as f64).sqrt();
                (mean(values) + error * stream.normal(), place)
            })
            .collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (rank, (_, place)) in drawn.into_iter().enumerate() {
            counts[place][rank] += 1;
        }
    }
    counts
        .into_iter()
        .map(|row| row.into_iter().map(|count| count as f64 / rounds as f64).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy 1.17.1: `stats.mannwhitneyu(a, b).statistic / 12`, `stats.ttest_ind(a, b).pvalue`.
        let (first, second) = ([0.71, 0.74, 0.69], [0.66, 0.70, 0.75, 0.64]);
        let spread = Uncertainty::pooled([&first[..], &second]).unwrap();
        let found = Comparison::of(&first, &second, spread);
        assert!((found.improvement - 8.0 / 12.0).abs() < 1e-15);
        assert!((found.p_value - 0.4453298349373915).abs() < 1e-9);
        assert!((found.effect - found.difference.estimate / spread.deviation).abs() < 1e-15);
        assert_eq!(improvement(&[1.0, 2.0], &[1.0]), 0.75);
    }

    #[test]
    fn holm_by_hand() {
        // Holm (1979): 4 x 0.005, 3 x 0.01, 2 x 0.03, then not below the one before.
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn ranks_are_sure_of_what_is_far_apart_only() {
        let groups: [&[f64]; 3] = [&[0.5], &[0.9], &[0.9]];
        let chances = ranks(&groups, Uncertainty::known(0.01), 4_000, Seed::root(0));
        assert_eq!(chances[0][2], 1.0);
        assert!((chances[1][0] - 0.5).abs() < 0.03 && (chances[2][0] - 0.5).abs() < 0.03, "{chances:?}");
        for group in &chances {
            assert!((group.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        // Two degrees of freedom have long tails: even far apart is not sure.
        let unsure = ranks(&groups, Uncertainty { deviation: 0.1, freedom: 2.0 }, 4_000, Seed::root(0));
        assert!(unsure[0][2] < 0.98, "{unsure:?}");
    }
}
