//! Repeated looks at seeds that come in one after the other: at which level each is to be judged.
//!
//! Whoever judges after every seed, and stops when it suits, errs more often than each look says. Pocock ("Group
//! sequential methods in the design and analysis of clinical trials", 1977) judges all looks at one level that is so
//! much lower that all of them together err as seldom as wanted. Looks share their seeds, so this costs less than
//! dividing by their number. The chance that a mean strays beyond its bound at any look is integrated look by look
//! (Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data", 1969). It is exact for means of
//! known deviation; where deviations are estimated, Student's quantile at the same level takes the bound's place, as
//! Pocock does.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// Places at which a density is kept; an odd number, for Simpson's rule.
const PLACES: usize = 161;
/// What lies this many deviations below 0 is left out.
const LOWEST: f64 = 6.0;

/// The level, on one side, of each look after `first`, `first + 1`, ... `last` seeds so that all together have `tail`.
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

/// The chance that a sum of standard normal draws is ever above `bound` of its own deviations, at any number of draws
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

/// Even places between what is left out and a bound, with Simpson's weights.
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
        // constants for 5 % on both sides. On one side, 2.5 %, they differ by what crosses both bounds: nothing to
        // speak of.
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
        // Drawn: 40,000 walks, four deviations.
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
