//! Rank correlation of two numbers, over all points and within groups.
//!
//! Spearman: the linear correlation of ranks, ties at their mean rank. Kendall: tau-b. Ranks assume no scale. A
//! correlation pooled over methods and backbones may only reflect the difference between two backbones; *within*
//! groups, ranks are computed in each group before they are pooled, and shuffles stay inside their group. Independent
//! of tables.

use rayon::prelude::*;

use super::intervals::{Interval, LEVEL, mean, quantile};
use crate::seed::Seed;

/// Coefficient of rank correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coefficient {
    /// The linear correlation of ranks.
    Spearman,
    /// Tau-b: agreeing minus disagreeing pairs, normalised for ties.
    Kendall,
}

/// A correlation, its interval and its p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// Between -1 and 1, with percentiles over resampled points (resampled within their group).
    pub value: Interval,
    /// Fraction of shuffles (within groups) whose coefficient is at least as far from 0; never 0.
    pub p_value: f64,
    /// Number of pairs that were correlated.
    pub points: usize,
    /// Number of groups.
    pub groups: usize,
}

/// Fewest points for which a correlation is reported (ours): two points always give 1 or -1.
pub const LEAST: usize = 10;

/// Correlates pairs within groups; a single group gives the pooled correlation.
///
/// `rounds` is the number of resamples and of shuffles. `None` with fewer than [`LEAST`] points, or if either side is
/// constant.
pub fn within_groups(
    groups: &[Vec<(f64, f64)>],
    coefficient: Coefficient,
    rounds: usize,
    seed: Seed,
) -> Option<Correlation> {
    let original: Vec<Vec<Pair>> =
        groups.iter().filter(|group| group.len() > 1).map(|group| numbered(group)).collect();
    let points = original.iter().map(Vec::len).sum();
    let of = |groups: &[Vec<Pair>]| together(groups, coefficient);
    let estimate = of(&original).filter(|_| points >= LEAST)?;

    // Every round has its own streams, so results do not depend on how threads share the work.
    let drawn: Vec<(Option<f64>, bool)> = (0..rounds)
        .into_par_iter()
        .map(|round| {
            let mut stream = seed.child("resample").index(round).stream();
            let drawn: Vec<Vec<Pair>> = original
                .iter()
                .map(|group| group.iter().map(|_| group[stream.below(group.len())]).collect())
                .collect();

            let mut stream = seed.child("shuffle").index(round).stream();
            let shuffled: Vec<Vec<Pair>> = original
                .iter()
                .map(|group| {
                    let mut second: Vec<u32> = group.iter().map(|pair| pair.1).collect();
                    stream.shuffle(&mut second);
                    group.iter().zip(second).map(|(pair, second)| (pair.0, second)).collect()
                })
                .collect();
            let is_extreme = of(&shuffled).is_some_and(|value| value.abs() >= estimate.abs() - 1e-12);
            (of(&drawn), is_extreme)
        })
        .collect();
    let extreme = drawn.iter().filter(|(_, is_extreme)| *is_extreme).count();
    // A constant resample has no coefficient.
    let mut resampled: Vec<f64> = drawn.into_iter().filter_map(|(value, _)| value).collect();
    resampled.sort_by(f64::total_cmp);
    let [low, high] = [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|part| quantile(&resampled, part));
    Some(Correlation {
        value: Interval { estimate, low, high },
        p_value: (extreme + 1) as f64 / (rounds + 1) as f64,
        points,
        groups: original.len(),
    })
}

/// The positions of a pair's numbers among the distinct values of their side and group: all that rank coefficients
/// need. Values are sorted once here instead of in thousands of resamples.
type Pair = (u32, u32);

fn numbered(group: &[(f64, f64)]) -> Vec<Pair> {
    let side = |of: fn(&(f64, f64)) -> f64| places(&group.iter().map(of).collect::<Vec<_>>());
    side(|pair| pair.0).into_iter().zip(side(|pair| pair.1)).collect()
}

/// Position of each value among the distinct values, from 0.
fn places(values: &[f64]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut places = vec![0; values.len()];
    for (run, number) in order.chunk_by(|&a, &b| values[a] == values[b]).zip(0..) {
        run.iter().for_each(|&place| places[place] = number);
    }
    places
}

/// Coefficient of pairs in groups; `None` if one side is constant.
fn together(groups: &[Vec<Pair>], coefficient: Coefficient) -> Option<f64> {
    match coefficient {
        Coefficient::Spearman => {
            // Ranks are centred and divided by the size of their group, so groups weigh by their number of points.
            let mut ranked = Vec::with_capacity(groups.iter().map(Vec::len).sum());
            for group in groups {
                let side = |of: fn(&Pair) -> u32| ranks(&group.iter().map(of).collect::<Vec<_>>());
                let (first, second) = (side(|pair| pair.0), side(|pair| pair.1));
                let (middle, width) = ((group.len() + 1) as f64 / 2.0, group.len() as f64);
                let scaled = |rank: f64| (rank - middle) / width;
                ranked.extend(first.into_iter().zip(second).map(|(a, b)| (scaled(a), scaled(b))));
            }
            linear(&ranked)
        }
        Coefficient::Kendall => {
            let (mut agree, mut first_differs, mut second_differs) = (0.0, 0.0, 0.0);
            for group in groups {
                for (place, a) in group.iter().enumerate() {
                    for b in &group[..place] {
                        let (first, second) = (sign(a.0, b.0), sign(a.1, b.1));
                        agree += first * second;
                        first_differs += first.abs();
                        second_differs += second.abs();
                    }
                }
            }
            let scale = f64::sqrt(first_differs * second_differs);
            (scale > 0.0).then(|| agree / scale)
        }
    }
}

/// Ranks from 1 for the smallest; ties share the mean of their ranks. `places` are small numbers, so a counting sort
/// is enough.
fn ranks(places: &[u32]) -> Vec<f64> {
    let mut counts = vec![0_usize; places.iter().max().map_or(0, |&most| most as usize + 1)];
    places.iter().for_each(|&place| counts[place as usize] += 1);
    let mut before = 0;
    let mut rank = |count: &usize| {
        let rank = before as f64 + (count + 1) as f64 / 2.0;
        before += count;
        rank
    };
    let by_place: Vec<f64> = counts.iter().map(&mut rank).collect();
    places.iter().map(|&place| by_place[place as usize]).collect()
}

fn linear(pairs: &[(f64, f64)]) -> Option<f64> {
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (a, b) = (mean(&first), mean(&second));
    let product = |of: fn(f64, f64) -> f64| pairs.iter().map(|pair| of(pair.0 - a, pair.1 - b)).sum::<f64>();
    let scale = (product(|x, _| x * x) * product(|_, y| y * y)).sqrt();
    (scale > 0.0).then(|| product(|x, y| x * y) / scale)
}

/// Sign of a - b: 1, 0 or -1.
fn sign(a: u32, b: u32) -> f64 {
    f64::from(i8::from(a > b) - i8::from(a < b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs with ties on both sides, as in the scipy run below.
    fn pairs() -> Vec<(f64, f64)> {
        let first = [0.0, 1.0, -0.3, -0.9, 0.5, 0.8, -0.7, -0.6, 0.9, 0.4, -1.0, -0.1];
        let second = [1.0, 1.1, -0.4, -1.4, -0.6, 0.2, 0.3, 0.7, 1.0, 0.0, -1.4, -1.0];
        first.into_iter().zip(second).collect()
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy 1.17.1, `stats.spearmanr(x, y)`, `stats.kendalltau(x, y)`.
        for (coefficient, expected) in
            [(Coefficient::Spearman, 0.614038867594691), (Coefficient::Kendall, 0.4923659639173309)]
        {
            let found = within_groups(&[pairs()], coefficient, 2_000, Seed::root(0)).unwrap();
            assert!((found.value.estimate - expected).abs() < 1e-12, "{found:?}");
            assert!(found.value.low < expected && found.value.high > expected);
            // scipy's p-values are 0.0338 (Student's t) and 0.0296 (normal); shuffles assume neither distribution.
            assert!((found.p_value - 0.035).abs() < 0.012, "{found:?}");
        }
    }

    #[test]
    fn what_lies_between_groups_is_not_within_them() {
        // Inside each group the second number falls as the first rises; between groups it is the other way round.
        let group =
            |shift: f64| (0..8).map(|i| (f64::from(i) + shift, shift - f64::from(i))).collect::<Vec<_>>();
        let (low, high) = (group(0.0), group(100.0));
        let pooled = [low.clone(), high.clone()].concat();
        let spearman = |groups: &[Vec<(f64, f64)>]| {
            within_groups(groups, Coefficient::Spearman, 200, Seed::root(1)).unwrap()
        };
        assert!(spearman(&[pooled]).value.estimate > 0.4);
        let inside = spearman(&[low, high]);
        assert!((inside.value.estimate + 1.0).abs() < 1e-12, "{inside:?}");
        assert_eq!((inside.points, inside.groups), (16, 2));
    }

    #[test]
    fn nothing_that_varies_is_nothing_to_correlate() {
        let flat = vec![(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)];
        assert_eq!(within_groups(&[flat], Coefficient::Kendall, 10, Seed::root(0)), None);
        assert_eq!(
            within_groups(&[vec![(1.0, 2.0)], vec![(3.0, 4.0)]], Coefficient::Spearman, 10, Seed::root(0)),
            None
        );
    }

    /// Without any relation, the p-value is below 0.05 in 5 % of studies.
    #[test]
    fn p_values_of_nothing_are_uniform() {
        let mut stream = Seed::root(3).stream();
        let studies = 300;
        let small = (0..studies).filter(|study| {
            let groups: Vec<Vec<(f64, f64)>> =
                (0..2).map(|_| (0..6).map(|_| (stream.normal(), stream.normal())).collect()).collect();
            within_groups(&groups, Coefficient::Spearman, 99, Seed::root(*study)).unwrap().p_value <= 0.05
        });
        let part = small.count() as f64 / 300.0;
        assert!(part < 0.09, "{part}");
    }

    /// Centred ranks divided by the size of their group have a sum of squares of (n^2 - 1) / (12 n): 0.3125 for the
    /// four rising points, 0.9931 for the twelve falling ones.
    #[test]
    fn groups_weigh_by_their_points() {
        let group = |points: i32, side: f64| -> Vec<(f64, f64)> {
            (0..points).map(|place| (f64::from(place), side * f64::from(place))).collect()
        };
        let found =
            within_groups(&[group(4, 1.0), group(12, -1.0)], Coefficient::Spearman, 10, Seed::root(0))
                .unwrap();
        let (rising, falling) = (15.0 / 48.0, 143.0 / 144.0);
        let expected = (rising - falling) / (rising + falling);
        assert!((found.value.estimate - expected).abs() < 1e-12, "{found:?}, expected {expected}");
    }

    /// Ten points are enough and nine are not; a group with a single point is ignored.
    #[test]
    fn ten_points_are_correlated_and_nine_are_not() {
        let rising = |points: i32| (0..points).map(|place| (f64::from(place), f64::from(place))).collect();
        let of = |points| {
            within_groups(&[rising(points), vec![(7.0, 7.0)]], Coefficient::Spearman, 99, Seed::root(4))
        };
        assert_eq!(of(9), None);
        let found = of(10).unwrap();
        assert_eq!((found.points, found.groups, found.value.estimate), (10, 1, 1.0));
        // No shuffle of ten points is as ordered as the original, so p = (0 + 1) / (99 + 1).
        assert!((found.p_value - 0.01).abs() < 1e-12, "{found:?}");
        assert!((found.value.high - 1.0).abs() < 1e-12 && found.value.low > 0.9, "{found:?}");
    }

    /// P-values are two-sided: a falling relation is as unlikely by chance as a rising one.
    #[test]
    fn p_values_are_of_both_sides() {
        let of = |side: f64| {
            let pairs = pairs().into_iter().map(|(first, second)| (first, side * second)).collect();
            within_groups(&[pairs], Coefficient::Kendall, 400, Seed::root(1)).unwrap()
        };
        let (rising, falling) = (of(1.0), of(-1.0));
        assert!((rising.value.estimate + falling.value.estimate).abs() < 1e-12);
        assert!(rising.p_value < 0.1 && falling.p_value < 0.1, "{rising:?} {falling:?}");
        assert!((rising.value.low + falling.value.high).abs() < 1e-12, "{rising:?} {falling:?}");
    }

    #[test]
    fn places_and_ranks_by_hand() {
        assert_eq!(places(&[0.5, -1.0, 0.5, 9.0, -1.0]), [1, 0, 1, 2, 0]);
        // Two share ranks 1 and 2, two share 3 and 4, one has 5.
        assert_eq!(ranks(&[1, 0, 1, 2, 0]), [3.5, 1.5, 3.5, 5.0, 1.5]);
    }

    /// No shuffle of twelve values is as ordered as the values themselves, but the values themselves count as one. A group
    /// of one point has no order.
    #[test]
    fn the_smallest_p_value_counts_the_records_themselves() {
        let rising: Vec<(f64, f64)> = (0..12).map(|x| (f64::from(x), f64::from(x * x))).collect();
        let groups = [rising, vec![(3.0, 5.0)]];
        let found = within_groups(&groups, Coefficient::Spearman, 99, Seed::root(4)).unwrap();
        assert_eq!((found.p_value, found.points, found.groups), (0.01, 12, 1));
        assert!((found.value.estimate - 1.0).abs() < 1e-12);
    }

    /// Five groups of two points that rise inside and fall from group to group. A shuffle turns each with probability
    /// 1/2, so it is as far from 0 with probability 2 / 32; a resample of a group rises like the group, or is constant.
    #[test]
    fn shuffles_and_resamples_stay_inside_their_group() {
        let pair = |group: i32| {
            let middle = f64::from(group);
            vec![(middle, -middle), (middle + 0.25, 0.25 - middle)]
        };
        let groups: Vec<Vec<(f64, f64)>> = (0..5).map(pair).collect();
        for coefficient in [Coefficient::Spearman, Coefficient::Kendall] {
            let found = within_groups(&groups, coefficient, 2_000, Seed::root(6)).unwrap();
            let Interval { estimate, low, high } = found.value;
            assert!([estimate, low, high].iter().all(|value| (value - 1.0).abs() < 1e-12), "{found:?}");
            assert_eq!((found.points, found.groups), (10, 5));
            // Four standard errors of 2,000 shuffles.
            assert!((found.p_value - 0.0625).abs() < 0.022, "{found:?}");
        }
    }
}
