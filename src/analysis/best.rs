//! Multiple comparisons with the best: which of several arms may be the best, and how much better the others might
//! be.
//!
//! Method: comparison with the best (Hsu, "Constrained simultaneous confidence intervals for multiple comparisons
//! with the best", 1984), with a standard deviation for each arm. For arm j, let c_j be the value that the largest of
//! (e_b - e_j) / se_jb over all other arms b exceeds with probability alpha, where e are the errors of the means. Arm
//! j is excluded when some other mean exceeds its own by more than c_j se_jb, so the set of arms that remain contains
//! the truly best one with probability at least 1 - alpha. By the same argument, if j is the best, it is above arm i
//! by at most m_j - m_i + c_j se_ji; choosing i therefore loses at most the largest of these bounds over all j that
//! remain. Independent of methods.

use super::{
    Interval, Measure, Noise, Scored,
    intervals::{Uncertainty, quantile},
    noise::Weighed,
};
use crate::seed::{Seed, Stream};

/// Probability with which the true best may be excluded.
pub const ALPHA: f64 = 0.05;

/// One arm compared with all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// What is scored.
    pub scored: Scored,
    /// Mean score over seeds.
    pub mean: f64,
    /// Number of seeds in the mean.
    pub seeds: usize,
    /// Whether no other arm is significantly above it.
    pub may_be_best: bool,
    /// Upper bound of how far its true mean is above the leader's; 0 for the leader itself.
    pub above_leader: f64,
    /// Upper bound of how far the true best is above it; at least 0.
    pub may_lose: f64,
}

/// All arms, sorted by mean in descending order.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest(pub Vec<Arm>);

/// Standard error of each pairwise difference, and critical value of each arm. Neither depends on the arms' means.
pub struct Rules {
    errors: Vec<Vec<f64>>,
    critical: Vec<f64>,
}

impl Contest {
    /// Compares arms given as (arm, mean, number of seeds), where higher is better.
    ///
    /// The true best is excluded from the candidates in at most `alpha` of studies. Returns `None` if there are no
    /// arms or the spread of one of them is unknown.
    pub fn compare(
        noise: &Noise,
        measure: &Measure,
        arms: &[(Scored, f64, usize)],
        alpha: f64,
    ) -> Option<Self> {
        const ROUNDS: usize = 4_000;
        let mut arms = arms.to_vec();
        arms.sort_by(|a, b| b.1.total_cmp(&a.1));
        let spread = |arm: &(Scored, f64, usize)| Some((noise.seed_spread(measure, &arm.0)?, arm.2));
        let spreads: Vec<_> = arms.iter().map(spread).collect::<Option<_>>()?;
        (!arms.is_empty()).then(|| Rules::simulate(&spreads, alpha, ROUNDS).contest(&arms))
    }

    /// As [`Self::compare`], but with a critical value for each pair: Student's quantile at `alpha` divided by the
    /// number of other arms (Bonferroni; Dunn, "Multiple comparisons among means", 1961).
    ///
    /// [`Self::compare`] uses one critical value for all pairs of an arm, which is as large as its least certain pair
    /// requires. If arms have few or unequal numbers of seeds, the pairwise values are sharper, and they are cheap to
    /// compute.
    pub fn pairwise(
        noise: &Noise,
        measure: &Measure,
        arms: &[(Scored, f64, usize)],
        alpha: f64,
    ) -> Option<Self> {
        let tail = alpha / arms.len().saturating_sub(1).max(1) as f64;
        let reaches = of_pairs(noise, measure, arms, |error| error.tail_quantile(tail))?;
        (!arms.is_empty()).then(|| bounded(arms, |own, other| reaches[own][other]))
    }

    /// Returns the arm with the highest mean.
    pub fn leader(&self) -> &Arm {
        &self.0[0]
    }

    /// Returns every arm that cannot be distinguished from the best, the leader first.
    pub fn candidates(&self) -> impl Iterator<Item = &Arm> {
        self.0.iter().filter(|arm| arm.may_be_best)
    }

    /// Whether no arm is above the leader by more than `margin`, so that choosing the leader loses no more than that.
    pub fn settled_within(&self, margin: f64) -> bool {
        self.0.iter().all(|arm| arm.above_leader <= margin)
    }

    /// Returns the candidates that lose at most `margin` even if they are not the best, the leader first.
    pub fn safe_within(&self, margin: f64) -> impl Iterator<Item = &Arm> {
        self.candidates().filter(move |arm| arm.may_lose <= margin)
    }

    /// Whether the choice is settled: only one arm may be the best, or choosing some arm loses no more than `margin`.
    pub fn is_settled(&self, margin: f64) -> bool {
        self.safe_within(margin).next().is_some()
    }
}

impl Rules {
    /// Computes the rules for arms given as (deviation of one seed, number of seeds), from `rounds` random draws.
    pub fn simulate(spreads: &[(Uncertainty, usize)], alpha: f64, rounds: usize) -> Self {
        let error = |(spread, seeds): &(Uncertainty, usize)| spread.deviation / (*seeds as f64).sqrt();
        let own: Vec<f64> = spreads.iter().map(error).collect();
        let errors: Vec<Vec<f64>> =
            own.iter().map(|first| own.iter().map(|second| first.hypot(*second)).collect()).collect();
        let critical = critical(spreads, &errors, alpha, rounds);
        Self { errors, critical }
    }

    /// Compares arms by their means; the arms must be in the order in which the rules were computed.
    pub fn contest(&self, arms: &[(Scored, f64, usize)]) -> Contest {
        bounded(arms, |own, other| self.critical[own] * self.errors[own][other])
    }
}

/// Compares arms; `reach(own, other)` bounds the error of the difference between their means.
fn bounded(arms: &[(Scored, f64, usize)], reach: impl Fn(usize, usize) -> f64) -> Contest {
    let mut order: Vec<usize> = (0..arms.len()).collect();
    order.sort_by(|&a, &b| arms[b].1.total_cmp(&arms[a].1));
    let bound = |own: usize, other: usize| arms[own].1 - arms[other].1 + reach(own, other);
    let others = |own: usize| (0..arms.len()).filter(move |&other| other != own);
    let may_be_best: Vec<bool> =
        (0..arms.len()).map(|own| others(own).all(|other| bound(own, other) >= 0.0)).collect();
    let arm = |place: usize| Arm {
        scored: arms[place].0,
        mean: arms[place].1,
        seeds: arms[place].2,
        may_be_best: may_be_best[place],
        above_leader: if place == order[0] { 0.0 } else { bound(place, order[0]) },
        may_lose: others(place)
            .filter(|&other| may_be_best[other])
            .map(|other| bound(other, place))
            .fold(0.0, f64::max),
    };
    Contest(order.iter().map(|&place| arm(place)).collect())
}

/// Applies `of` to the error of each pairwise difference; `None` if the spread of any arm is unknown.
fn of_pairs(
    noise: &Noise,
    measure: &Measure,
    arms: &[(Scored, f64, usize)],
    of: impl Fn(Uncertainty) -> f64,
) -> Option<Vec<Vec<f64>>> {
    let weigh = |weight, place: usize| Weighed { weight, scored: arms[place].0, seeds: arms[place].2 };
    let mut found = vec![vec![0.0; arms.len()]; arms.len()];
    let pairs = (0..arms.len()).flat_map(|first| (0..first).map(move |second| (first, second)));
    for (first, second) in pairs {
        let error = of(noise.standard_error(measure, &[weigh(1.0, first), weigh(-1.0, second)])?);
        (found[first][second], found[second][first]) = (error, error);
    }
    Some(found)
}

/// Critical value of each arm: if all arms were truly equal, its largest standardised lag would exceed this in
/// `alpha` of draws.
fn critical(spreads: &[(Uncertainty, usize)], errors: &[Vec<f64>], alpha: f64, rounds: usize) -> Vec<f64> {
    let mut lags = vec![Vec::with_capacity(rounds); spreads.len()];
    let mut stream = Seed::root(0).child("comparison with the best").stream();
    for _ in 0..rounds {
        let draw = |(spread, seeds): &(Uncertainty, usize)| spread.draw_mean(0.0, *seeds, &mut stream);
        let drawn: Vec<f64> = spreads.iter().map(draw).collect();
        for (own, lags) in lags.iter_mut().enumerate() {
            let others = (0..drawn.len()).filter(|&other| other != own && errors[own][other] > 0.0);
            let lag = others.map(|other| (drawn[other] - drawn[own]) / errors[own][other]);
            lags.push(lag.fold(f64::NEG_INFINITY, f64::max));
        }
    }
    let at = |mut lags: Vec<f64>| {
        lags.sort_by(f64::total_cmp);
        quantile(&lags, 1.0 - alpha).max(0.0)
    };
    lags.into_iter().map(at).collect()
}

/// Probability that each arm has the highest mean if all were retrained with new seeds.
///
/// Means are drawn around the observed ones according to each arm's own spread. `None` if the spread of one arm is
/// unknown.
pub fn chances_of_first(
    noise: &Noise,
    measure: &Measure,
    arms: &[(Scored, f64, usize)],
    rounds: usize,
    stream: &mut Stream,
) -> Option<Vec<f64>> {
    let mut wins = vec![0_usize; arms.len()];
    let means = noise.redraw(measure, arms)?;
    for _ in 0..rounds {
        let drawn = means.draw(stream);
        let first = (0..drawn.len()).max_by(|&a, &b| drawn[a].total_cmp(&drawn[b]))?;
        wins[first] += 1;
    }
    Some(wins.into_iter().map(|count| count as f64 / rounds as f64).collect())
}

/// Mean rank of each arm over several contests (1 is the highest mean), with a 95 % interval over new seeds.
///
/// Every contest lists the same arms in the same order. For the interval, means are drawn around the observed ones
/// according to each arm's own spread. `None` if there is no contest or the spread of one arm is unknown.
pub fn mean_ranks(
    noise: &Noise,
    measure: &Measure,
    contests: &[Vec<(Scored, f64, usize)>],
    rounds: usize,
    stream: &mut Stream,
) -> Option<Vec<Interval>> {
    let found: Vec<Vec<f64>> =
        contests.iter().map(|arms| arms.iter().map(|(_, mean, _)| *mean).collect()).collect();
    let mut drawn = vec![Vec::with_capacity(rounds); found.first()?.len()];
    let redraws: Vec<_> = contests.iter().map(|arms| noise.redraw(measure, arms)).collect::<Option<_>>()?;
    for _ in 0..rounds {
        let means: Vec<Vec<f64>> = redraws.iter().map(|means| means.draw(stream)).collect();
        drawn.iter_mut().zip(averaged_ranks(&means)).for_each(|(drawn, rank)| drawn.push(rank));
    }
    let interval = |(estimate, mut drawn): (f64, Vec<f64>)| {
        drawn.sort_by(f64::total_cmp);
        Interval { estimate, low: quantile(&drawn, 0.025), high: quantile(&drawn, 0.975) }
    };
    Some(averaged_ranks(&found).into_iter().zip(drawn).map(interval).collect())
}

/// Mean rank of each column over all rows; ties share the mean of their ranks.
fn averaged_ranks(rows: &[Vec<f64>]) -> Vec<f64> {
    let rank = |row: &[f64], own: f64| {
        let above = row.iter().filter(|&&other| other > own).count();
        let equal = row.iter().filter(|&&other| other == own).count();
        above as f64 + (equal + 1) as f64 / 2.0
    };
    let places = rows.first().map_or(0, Vec::len);
    let mean_of =
        |place: usize| rows.iter().map(|row| rank(row, row[place])).sum::<f64>() / rows.len() as f64;
    (0..places).map(mean_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Axes, frame::FrameBuilder},
        backbone::Name::ResNet18,
        data::Share,
        method::Name,
        results::Metric,
        seed::Stream,
    };

    const PAPER: [Name; 6] = Name::PAPER;

    /// Five arms of three seeds with the given means and deviations, judged with both kinds of critical value.
    fn contest(means: [f64; 5], deviations: [f64; 5], stream: &mut Stream) -> [Contest; 2] {
        let mut frame = FrameBuilder::default();
        let mut arms = Vec::new();
        for ((method, mean), deviation) in PAPER.into_iter().zip(means).zip(deviations) {
            let at = Axes::table_1(method, ResNet18, Share::NATURAL).converged();
            let seeds: Vec<f64> = (0..3).map(|_| mean + deviation * stream.normal()).collect();
            for (seed, score) in seeds.iter().enumerate() {
                frame.begin("test", at, Some(seed as u64));
                frame.number(Metric::Auroc, Some(*score));
            }
            arms.push((at, seeds.iter().sum::<f64>() / 3.0, 3));
        }
        let (noise, auroc) = (Noise::measured(&frame.frame()), Metric::Auroc.into());
        [Contest::compare, Contest::pairwise].map(|of| of(&noise, &auroc, &arms, ALPHA).unwrap())
    }

    #[test]
    fn pairs_have_students_bound() {
        // By hand: two arms with a known deviation of 0.01 and four seeds, so the standard error of the difference is
        // 0.01 / sqrt 2; the bound for one of two arms is 1.6449 of these (scipy 1.17.1, `norm.isf(0.05)`).
        let at = |method| Axes::table_1(method, ResNet18, Share::NATURAL).converged();
        let arms = [(at(PAPER[0]), 0.70, 4), (at(PAPER[1]), 0.72, 4)];
        let found = Contest::pairwise(&Noise::assumed(0.01), &Metric::Auroc.into(), &arms, ALPHA).unwrap();
        assert_eq!(found.leader().scored, at(PAPER[1]));
        let expected = -0.02 + 1.644_853_6 * 0.01 / 2_f64.sqrt();
        assert!((found.0[1].above_leader - expected).abs() < 1e-6, "{found:?}");
        assert!(!found.0[1].may_be_best);
    }

    #[test]
    fn what_is_far_behind_is_left_out_and_what_is_near_is_not() {
        let mut stream = Seed::root(1).stream();
        for found in contest([0.8, 0.9, 0.6, 0.899, 0.5], [0.005; 5], &mut stream) {
            let best: Vec<_> = found.candidates().map(|arm| arm.scored.cell.method.unwrap()).collect();
            assert_eq!(best.len(), 2, "{found:?}");
            assert!(best.contains(&PAPER[1]) && best.contains(&PAPER[3]));
            assert!(found.settled_within(0.05) && !found.settled_within(0.0), "{found:?}");
            assert!(found.is_settled(0.05) && !found.is_settled(0.0), "{found:?}");
            // Choosing the last arm loses exactly the distance to the best.
            assert!((found.0[4].may_lose - 0.4).abs() < 0.05 && found.0[0].may_lose < 0.05, "{found:?}");
            assert!(found.0[4].above_leader < -0.3, "{found:?}");
        }
    }

    /// The true best is excluded in at most 5 % of studies, whether or not all arms spread equally.
    #[test]
    fn the_true_best_is_seldom_left_out() {
        for deviations in [[0.02; 5], [0.01, 0.03, 0.005, 0.02, 0.04]] {
            let mut lost = [0; 2];
            for study in 0..200 {
                let mut stream = Seed::root(study).stream();
                // The best arm is hardest to keep when its lead is tiny.
                let found = contest([0.8, 0.8, 0.801, 0.8, 0.79], deviations, &mut stream);
                for (lost, found) in lost.iter_mut().zip(found) {
                    *lost +=
                        usize::from(!found.candidates().any(|arm| arm.scored.cell.method == Some(PAPER[2])));
                }
            }
            assert!(lost.iter().all(|&lost| lost <= 16), "{lost:?} of 200: 10 and two deviations");
        }
    }

    #[test]
    fn one_arm_is_settled() {
        let at = Axes::table_1(PAPER[0], ResNet18, Share::NATURAL).converged();
        let noise = Noise::assumed(0.01);
        let found = Contest::compare(&noise, &Metric::Auroc.into(), &[(at, 0.8, 2)], ALPHA).unwrap();
        assert!(found.is_settled(0.0) && found.leader().may_lose == 0.0, "{found:?}");
        assert_eq!(Contest::compare(&noise, &Metric::Auroc.into(), &[], ALPHA), None);
    }

    #[test]
    fn chances_are_sure_of_what_is_far_apart_only() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.5, 1), (at(1), 0.9, 1), (at(2), 0.9, 1)];
        let chances = |noise: &Noise| {
            let mut stream = Seed::root(0).stream();
            chances_of_first(noise, &Metric::Auroc.into(), &arms, 4_000, &mut stream)
        };
        let known = chances(&Noise::assumed(0.01)).unwrap();
        assert_eq!(known[0], 0.0);
        assert!((known[1] - 0.5).abs() < 0.03 && (known[1] + known[2] - 1.0).abs() < 1e-9, "{known:?}");
        // Each arm has its own deviation: of two arms with equal means, the one that spreads more is as often first
        // as last.
        let mut frame = FrameBuilder::default();
        for (place, spread) in [(0, 0.001), (1, 0.001), (2, 0.1)] {
            for (seed, side) in (0..).zip([-1.0, 0.0, 1.0]) {
                frame.begin("test", at(place), Some(seed));
                frame.number(Metric::Auroc, Some(arms[place].1 + side * spread));
            }
        }
        let own = chances(&Noise::measured(&frame.frame())).unwrap();
        assert!(own[0] < 0.02 && (own[2] - 0.5).abs() < 0.05, "{own:?}");
        let nothing = Noise::measured(&FrameBuilder::default().frame());
        assert_eq!(chances(&nothing), None);
    }

    #[test]
    fn ranks_are_averaged_and_as_sure_as_seeds_allow() {
        // By hand: the second is first twice; the others tie once, then are third and second.
        assert_eq!(averaged_ranks(&[vec![0.5, 0.9, 0.5], vec![0.6, 0.8, 0.7]]), [2.75, 1.0, 2.25]);
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let contest = vec![(at(0), 0.50, 1), (at(1), 0.90, 1), (at(2), 0.905, 1)];
        let ranks = |noise: &Noise, contests: &[Vec<_>]| {
            mean_ranks(noise, &Metric::Auroc.into(), contests, 2_000, &mut Seed::root(0).stream())
        };
        let found = ranks(&Noise::assumed(0.01), &[contest.clone(), contest.clone()]).unwrap();
        assert_eq!((found[0].low, found[0].high), (3.0, 3.0), "far below: {found:?}");
        assert_eq!((found[2].low, found[2].estimate, found[2].high), (1.0, 1.0, 2.0), "{found:?}");
        assert_eq!(ranks(&Noise::measured(&FrameBuilder::default().frame()), &[contest]), None);
        assert_eq!(ranks(&Noise::assumed(0.01), &[]), None);
    }

    /// An arm that cannot be the best does not raise the possible loss, however uncertain its difference is.
    #[test]
    fn nothing_is_lost_to_an_arm_that_cannot_be_the_best() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.9, 3), (at(1), 0.8, 3), (at(2), 0.5, 3)];
        // The last arm is 0.3 below the second, give or take 0.6, and 0.4 below the first, give or take 0.1.
        let reach = |own: usize, other: usize| match own + other {
            1 => 0.15,
            2 => 0.1,
            _ => 0.6,
        };
        let found = bounded(&arms, reach);
        let [best, second, last] = &found.0[..] else { panic!("{found:?}") };
        assert!(best.may_be_best && second.may_be_best && !last.may_be_best, "{found:?}");
        assert!((second.may_lose - 0.25).abs() < 1e-12, "0.1 and 0.15 to the first: {found:?}");
        assert!((best.may_lose - 0.05).abs() < 1e-12, "-0.1 and 0.15 to the second: {found:?}");
    }

    /// Two equal arms each rank first half of the time, so over 400 shares the mean rank has the normal 95 % interval.
    #[test]
    fn mean_ranks_have_intervals_of_95_percent() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let contests = vec![vec![(at(0), 0.7, 1), (at(1), 0.7, 1)]; 400];
        let (noise, mut stream) = (Noise::assumed(0.01), Seed::root(0).stream());
        let found = mean_ranks(&noise, &Metric::Auroc.into(), &contests, 2_000, &mut stream).unwrap();
        let half = 1.96 * 0.5 / 400_f64.sqrt();
        for interval in found {
            let ends = [interval.low - (1.5 - half), interval.high - (1.5 + half)];
            assert!(ends.iter().all(|off| off.abs() < 0.004), "{interval:?}, half a width is {half}");
        }
    }

    #[test]
    fn equal_values_share_the_middle_of_their_ranks() {
        let ranks = averaged_ranks(&[vec![0.3, 0.1, 0.2], vec![0.5, 0.5, 0.1]]);
        assert_eq!(ranks, [1.25, 2.25, 2.5]);
    }

    /// Each arm keeps its own mean and number of seeds. By hand, with errors of 0.3 between the first two, 0.2 between
    /// the last two and 0.01 between the others: the third may be above the leader by 0.2 - 0.05, the first by 0.3 -
    /// 0.2, but it is certainly below the third.
    #[test]
    fn arms_are_ordered_by_mean_with_their_own_numbers() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.70, 2), (at(1), 0.90, 5), (at(2), 0.85, 3)];
        let reach = |own: usize, other: usize| match own + other {
            1 => 0.3,
            2 => 0.01,
            _ => 0.2,
        };
        let found = bounded(&arms, reach);
        let told: Vec<(Scored, f64, usize, bool)> =
            found.0.iter().map(|arm| (arm.scored, arm.mean, arm.seeds, arm.may_be_best)).collect();
        // The last is 0.15 below the one before it, give or take 0.01.
        assert_eq!(told, [(at(1), 0.90, 5, true), (at(2), 0.85, 3, true), (at(0), 0.70, 2, false)]);
        let numbers: Vec<[f64; 2]> = found.0.iter().map(|arm| [arm.above_leader, arm.may_lose]).collect();
        let expected = [[0.0, 0.15], [0.15, 0.25], [0.1, 0.5]];
        for (found, expected) in numbers.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-12, "{numbers:?}");
        }
        let safe = |margin: f64| found.safe_within(margin).map(|arm| arm.scored).collect::<Vec<_>>();
        assert_eq!((safe(0.14), safe(0.16), safe(0.6)), (vec![], vec![at(1)], vec![at(1), at(2)]));
        assert_eq!([0.14, 0.16].map(|margin| found.is_settled(margin)), [false, true]);
        assert_eq!([0.14, 0.16].map(|margin| found.settled_within(margin)), [false, true]);
    }

    #[test]
    fn nobody_is_first_among_none() {
        let (noise, mut stream) = (Noise::assumed(0.01), Seed::root(0).stream());
        assert_eq!(chances_of_first(&noise, &Metric::Auroc.into(), &[], 10, &mut stream), None);
    }

    /// Two arms with a known deviation: the critical value of one side at 5 % is 1.645 errors, to within five standard
    /// errors of 4,000 draws; at half of that level it would be 1.96.
    #[test]
    fn the_critical_value_is_of_one_side_at_the_level() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.70, 4), (at(1), 0.72, 4)];
        let error = 0.01 / 2_f64.sqrt();
        for (alpha, expected) in [(0.05, 1.644_854), (0.2, 0.841_621)] {
            let found = Contest::compare(&Noise::assumed(0.01), &Metric::Auroc.into(), &arms, alpha).unwrap();
            let critical = (found.0[1].above_leader + 0.02) / error;
            assert!((critical - expected).abs() < 0.17, "{alpha}: {critical}");
        }
    }

    /// By hand, with known deviations of 0.01, with 25, 1 and 4 seeds, and the quantile at 5 % divided by the two other
    /// arms, 1.959964.
    #[test]
    fn pairs_of_arms_have_their_own_seeds() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.70, 25), (at(1), 0.71, 1), (at(2), 0.69, 4)];
        let found = Contest::pairwise(&Noise::assumed(0.01), &Metric::Auroc.into(), &arms, ALPHA).unwrap();
        let reach = |first: f64, second: f64| 0.019_599_64 * (1.0 / first + 1.0 / second).sqrt();
        let (first, second, third) = (reach(25.0, 1.0), reach(25.0, 4.0), reach(1.0, 4.0));
        let told: Vec<_> =
            found.0.iter().map(|arm| (arm.scored, arm.mean, arm.seeds, arm.may_be_best)).collect();
        assert_eq!(
            told,
            [(at(1), 0.71, 1, true), (at(0), 0.70, 25, true), (at(2), 0.69, 4, true)],
            "{found:?}"
        );
        let expected = [
            [0.0, first - 0.01],
            [first - 0.01, (first + 0.01).max(second - 0.01)],
            [third - 0.02, (third + 0.02).max(second + 0.01)],
        ];
        for (arm, expected) in found.0.iter().zip(expected) {
            for (found, expected) in [arm.above_leader, arm.may_lose].into_iter().zip(expected) {
                assert!((found - expected).abs() < 5e-6, "{arm:?}, expected {expected}");
            }
        }
    }

    /// The critical value of each arm is that of its own lags, simulated once more with other draws; arms with equal
    /// means may lose what the others reach.
    #[test]
    fn every_arm_has_its_own_critical_value_and_seeds() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let seeds = [1_u32, 4, 25];
        let error = |place: usize| 0.01 / f64::from(seeds[place]).sqrt();
        let between = |own: usize, other: usize| error(own).hypot(error(other));
        let mut stream = Seed::root(77).stream();
        let mut lags = [const { Vec::new() }; 3];
        for _ in 0..20_000 {
            let drawn = [0, 1, 2].map(|place| error(place) * stream.normal());
            for (own, lags) in lags.iter_mut().enumerate() {
                let lag = |other: usize| (drawn[other] - drawn[own]) / between(own, other);
                let others = (0..3).filter(|&other| other != own).map(lag);
                lags.push(others.fold(f64::NEG_INFINITY, f64::max));
            }
        }
        let critical = lags.map(|mut lags| {
            lags.sort_by(f64::total_cmp);
            quantile(&lags, 0.95)
        });
        let arms = [0, 1, 2].map(|place| (at(place), 0.7, seeds[place] as usize));
        let found = Contest::compare(&Noise::assumed(0.01), &Metric::Auroc.into(), &arms, ALPHA).unwrap();
        let reach = |own: usize, other: usize| critical[own] * between(own, other);
        for (place, arm) in found.0.iter().enumerate() {
            assert_eq!((arm.scored, arm.seeds), (at(place), seeds[place] as usize));
            let others = (0..3).filter(|&other| other != place);
            let lost = others.map(|other| reach(other, place)).fold(0.0, f64::max);
            assert!((arm.may_lose / lost - 1.0).abs() < 0.07, "{arm:?}, expected {lost}");
            if place > 0 {
                let above = reach(place, 0);
                assert!((arm.above_leader / above - 1.0).abs() < 0.07, "{arm:?}, expected {above}");
            }
        }
    }

    /// How far a difference reaches may depend on which of the two may be the best. By hand, from the means and these
    /// reaches: the first is at most 0.19 and 0.05 above the others, the second 0.01 and 0.08, the third 0.07 and 0.23.
    #[test]
    fn an_arm_may_lose_what_the_others_reach() {
        const REACH: [[f64; 3]; 3] = [[9.0, 0.04, 0.10], [0.16, 9.0, 0.28], [0.02, 0.03, 9.0]];
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.85, 3), (at(1), 0.70, 4), (at(2), 0.90, 5)];
        let told = |second_over_first: f64| -> Vec<(Scored, bool, [i32; 2])> {
            let found = bounded(&arms, |own, other| match (own, other) {
                (1, 0) => second_over_first,
                _ => REACH[own][other],
            });
            let thousandths = |value: f64| (1_000.0 * value).round() as i32;
            let of =
                |arm: &Arm| (arm.scored, arm.may_be_best, [arm.above_leader, arm.may_lose].map(thousandths));
            found.0.iter().map(of).collect()
        };
        assert_eq!(told(0.16), [(at(2), true, [0, 80]), (at(0), true, [50, 70]), (at(1), true, [80, 230])]);
        // If it is certainly below the first, nothing is lost to the second.
        assert_eq!(told(0.14), [(at(2), true, [0, 50]), (at(0), true, [50, 70]), (at(1), false, [80, 230])]);
    }

    /// Two arms whose means are nearly certain share the half that the third, with one seed, leaves.
    #[test]
    fn means_are_redrawn_with_their_own_seeds() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let (noise, mut stream) = (Noise::assumed(0.01), Seed::root(3).stream());
        let arms = [(at(0), 0.9, 1_000_000), (at(1), 0.9, 1), (at(2), 0.9, 1_000_000)];
        let found = chances_of_first(&noise, &Metric::Auroc.into(), &arms, 4_000, &mut stream).unwrap();
        for (found, expected) in found.iter().zip([0.25, 0.5, 0.25]) {
            assert!((found - expected).abs() < 0.035, "{found}, expected {expected}");
        }
        let ends = |seeds: usize| {
            let contest = vec![(at(0), 0.50, seeds), (at(1), 0.51, seeds)];
            let noise = Noise::assumed(0.05);
            let mut stream = Seed::root(3).stream();
            let found = mean_ranks(&noise, &Metric::Auroc.into(), &[contest], 1_000, &mut stream).unwrap();
            found.iter().map(|rank| [rank.low, rank.estimate, rank.high]).collect::<Vec<_>>()
        };
        assert_eq!(ends(1), [[1.0, 2.0, 2.0], [1.0, 1.0, 2.0]]);
        assert_eq!(ends(1_000_000), [[2.0; 3], [1.0; 3]]);
    }

    /// By hand: ranks 3, 1, 2, then 1, 3, 2, then 3, 2, 1; seeds hardly move them.
    #[test]
    fn a_mean_rank_is_over_all_contests() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let contests = [[0.5, 0.9, 0.7], [0.8, 0.6, 0.7], [0.5, 0.7, 0.9]]
            .map(|means| (0..3).map(|place| (at(place), means[place], 2)).collect::<Vec<_>>());
        let (noise, mut stream) = (Noise::assumed(1e-6), Seed::root(1).stream());
        let found = mean_ranks(&noise, &Metric::Auroc.into(), &contests, 50, &mut stream).unwrap();
        for (rank, expected) in found.iter().zip([7.0 / 3.0, 2.0, 5.0 / 3.0]) {
            let all = [rank.low, rank.estimate, rank.high];
            assert!(all.iter().all(|found| (found - expected).abs() < 1e-12), "{rank:?}, {expected}");
        }
    }
}
