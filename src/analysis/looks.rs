//! Group-sequential testing: the error level for repeated looks at seeds that arrive one after another.
//!
//! Testing after every seed and stopping at will errs more often than the level of a single look. Pocock ("Group
//! sequential methods in the design and analysis of clinical trials", 1977) tests at all looks with one lower level,
//! chosen so that all looks together have the intended error rate. Looks share their seeds, so this costs less than
//! dividing the level by the number of looks. The probability that a mean exceeds its bound at any look is integrated
//! look by look (Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data", 1969). It is exact
//! for means with known deviation; if deviations are estimated, Student's quantile at the same level replaces the
//! bound, as Pocock does.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// Number of points of the density's grid; odd, as Simpson's rule requires.
const PLACES: usize = 161;
/// Sums more than this many deviations below 0 are neglected.
const LOWEST: f64 = 6.0;

/// Returns the one-sided level of each look after `first`, `first + 1`, ... `last` seeds that gives all looks
/// together the error rate `tail`.
///
/// # Panics
/// If there is no look, or the tail is not in (0, 0.5).
pub fn level(tail: f64, first: usize, last: usize) -> f64 {
    assert!(0 < first && first <= last && 0.0 < tail && tail < 0.5, "{tail} over {first}..={last}");
    let (mut low, mut high) = (tail / (last - first + 1) as f64, tail);
    while high / low > 1.0 + 1e-6 {
        let middle = (low * high).sqrt();
        if ever_beyond(standard().inverse_cdf(1.0 - middle), first, last) > tail {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

/// Probability that a sum of standard normal draws exceeds `bound` times its own deviation at any number of draws
/// from `first` to `last`.
fn ever_beyond(bound: f64, first: usize, last: usize) -> f64 {
    let normal = standard();
    let deviation = |draws: usize| (draws as f64).sqrt();
    let mut beyond = 1.0 - normal.cdf(bound);
    let mut sums = Grid::new(deviation(first), bound);
    let mut density: Vec<f64> =
        sums.at.iter().map(|sum| normal.pdf(sum / deviation(first)) / deviation(first)).collect();
    for draws in first + 1..=last {
        let leaves = |sum: f64| 1.0 - normal.cdf(bound * deviation(draws) - sum);
        beyond += sums.integral(|place| density[place] * leaves(sums.at[place]));
        let next = Grid::new(deviation(draws), bound);
        let arrives = |sum: &f64| sums.integral(|place| density[place] * normal.pdf(sum - sums.at[place]));
        density = next.at.iter().map(arrives).collect();
        sums = next;
    }
    beyond
}

fn standard() -> Normal {
    Normal::standard()
}

/// Equidistant grid from the neglected range to a bound, with Simpson's weights.
struct Grid {
    at: Vec<f64>,
    step: f64,
}

impl Grid {
    fn new(deviation: f64, bound: f64) -> Self {
        let step = (LOWEST + bound) * deviation / (PLACES - 1) as f64;
        Self { at: (0..PLACES).map(|place| step * place as f64 - LOWEST * deviation).collect(), step }
    }

    fn integral(&self, of: impl Fn(usize) -> f64) -> f64 {
        let weight = |place: usize| match place {
            0 => 1.0,
            last if last == PLACES - 1 => 1.0,
            odd if odd % 2 == 1 => 4.0,
            _ => 2.0,
        };
        (0..PLACES).map(|place| weight(place) * of(place)).sum::<f64>() * self.step / 3.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn levels_are_pococks() {
        // Jennison and Turnbull, "Group sequential methods with applications to clinical trials" (2000), table 2.1:
        // constants for 5 % two-sided. They differ from 2.5 % one-sided by paths that cross both bounds, which is
        // negligible.
        for (looks, constant) in [(1, 1.960), (2, 2.178), (3, 2.289), (5, 2.413), (10, 2.555)] {
            let found = standard().inverse_cdf(1.0 - level(0.025, 1, looks));
            assert!((found - constant).abs() < 2e-3, "{looks} looks: {found}, printed {constant}");
        }
    }

    #[test]
    fn looks_that_begin_later_share_more() {
        let tail = 0.005;
        let found = level(tail, 2, 8);
        assert!(found > level(tail, 1, 7) && found < tail && found > tail / 7.0, "{found}");
        // Simulated: 40,000 walks, to within four standard errors.
        let bound = standard().inverse_cdf(1.0 - level(0.05, 2, 8));
        let mut stream = Seed::root(5).stream();
        let beyond = (0..40_000).filter(|_| {
            let mut sum = stream.normal();
            let mut ever = false;
            for draws in 2..=8 {
                sum += stream.normal();
                ever |= sum > bound * f64::from(draws).sqrt();
            }
            ever
        });
        let part = beyond.count() as f64 / 40_000.0;
        assert!((part - 0.05).abs() < 4.0 * (0.05 * 0.95 / 40_000_f64).sqrt(), "{part}");
    }
}
