//! Which of several arms is the best, which others cannot be told apart from it, and by how much they might be above it.
//!
//! Comparison with the best (Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best",
//! 1984), with a deviation for each arm. For arm j let c_j be what the largest of (e_b - e_j) / se_jb over all other arms b
//! exceeds as seldom as the level says, where e are the errors of means. Whichever arm is truly the best, the set of
//! those that may be it then holds it as often as the level says: j is left out when some other mean is more than
//! c_j se_jb above its own. For the same reason j is truly above arm i by at most m_j - m_i + c_j se_ji, if it is the
//! best: taking i loses no more than the largest of these over all that may be. Knows nothing about methods.

use super::{
    Interval, Measure, Noise, Scored,
    intervals::{Uncertainty, quantile},
    noise::Weighed,
};
use crate::seed::{Seed, Stream};

/// How often the true best may be left out.
pub const ALPHA: f64 = 0.05;

/// One arm beside all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// What is scored.
    pub at: Scored,
    /// Over seeds.
    pub mean: f64,
    /// Behind the mean.
    pub seeds: usize,
    /// Whether no other arm is above it beyond what seeds do.
    pub may_be_best: bool,
    /// How far it may truly be above the leader at most; 0 of the leader.
    pub above_leader: f64,
    /// How far the true best may be above it at most; at least 0.
    pub may_lose: f64,
}

/// All arms, the highest mean first.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest(pub Vec<Arm>);

/// What seeds let one say of arms, whatever their means: the error of each difference, and how large a lag is chance.
pub struct Rules {
    errors: Vec<Vec<f64>>,
    critical: Vec<f64>,
}

impl Contest {
    /// Arms with their means and seeds, higher being better; none where nothing is known of the seeds of one, or there
    /// are none. The true best is left out of those that may be it in at most `alpha` of studies.
    pub fn of(noise: &Noise, measure: &Measure, arms: &[(Scored, f64, usize)], alpha: f64) -> Option<Self> {
        const ROUNDS: usize = 4_000;
        let mut arms = arms.to_vec();
        arms.sort_by(|a, b| b.1.total_cmp(&a.1));
        let spread = |arm: &(Scored, f64, usize)| Some((noise.of(measure, &arm.0)?, arm.2));
        let spreads: Vec<_> = arms.iter().map(spread).collect::<Option<_>>()?;
        (!arms.is_empty()).then(|| Rules::of(&spreads, alpha, ROUNDS).contest(&arms))
    }

    /// As [`Self::of`], but with a critical value for each pair: Student's, at `alpha` over the number of others
    /// (Bonferroni; Dunn, "Multiple comparisons among means", 1961). One value for all pairs of an arm is as large as
    /// the least known of them asks for; where arms have few or unlike numbers of seeds these are sharper, and cheap.
    pub fn pairwise(
        noise: &Noise,
        measure: &Measure,
        arms: &[(Scored, f64, usize)],
        alpha: f64,
    ) -> Option<Self> {
        let tail = alpha / arms.len().saturating_sub(1).max(1) as f64;
        let reaches = of_pairs(noise, measure, arms, |error| error.beyond(tail))?;
        (!arms.is_empty()).then(|| bounded(arms, |own, other| reaches[own][other]))
    }

    /// The highest mean.
    pub fn leader(&self) -> &Arm {
        &self.0[0]
    }

    /// Every arm that cannot be told from the best, the leader first.
    pub fn candidates(&self) -> impl Iterator<Item = &Arm> {
        self.0.iter().filter(|arm| arm.may_be_best)
    }

    /// Whether no arm is above the leader by more than a margin: whoever takes the leader loses no more than that.
    pub fn settled_within(&self, margin: f64) -> bool {
        self.0.iter().all(|arm| arm.above_leader <= margin)
    }

    /// Arms that may be the best and lose no more than a margin if they are not, the leader first.
    pub fn safe_within(&self, margin: f64) -> impl Iterator<Item = &Arm> {
        self.candidates().filter(move |arm| arm.may_lose <= margin)
    }

    /// Whether there is nothing left to find out: one arm alone may be the best, or taking some arm loses no more than a
    /// margin.
    pub fn is_settled(&self, margin: f64) -> bool {
        self.safe_within(margin).next().is_some()
    }
}

impl Rules {
    /// Of arms by the deviation of one seed and the number of seeds. `rounds`: draws that tell what chance does.
    pub fn of(spreads: &[(Uncertainty, usize)], alpha: f64, rounds: usize) -> Self {
        let error = |(spread, seeds): &(Uncertainty, usize)| spread.deviation / (*seeds as f64).sqrt();
        let own: Vec<f64> = spreads.iter().map(error).collect();
        let errors: Vec<Vec<f64>> =
            own.iter().map(|first| own.iter().map(|second| first.hypot(*second)).collect()).collect();
        let critical = critical(spreads, &errors, alpha, rounds);
        Self { errors, critical }
    }

    /// Arms in the order of the rules, with their means.
    pub fn contest(&self, arms: &[(Scored, f64, usize)]) -> Contest {
        bounded(arms, |own, other| self.critical[own] * self.errors[own][other])
    }
}

/// Arms, the highest mean first, where `reach` says how far the difference of two means may be off.
fn bounded(arms: &[(Scored, f64, usize)], reach: impl Fn(usize, usize) -> f64) -> Contest {
    let mut order: Vec<usize> = (0..arms.len()).collect();
    order.sort_by(|&a, &b| arms[b].1.total_cmp(&arms[a].1));
    let bound = |own: usize, other: usize| arms[own].1 - arms[other].1 + reach(own, other);
    let others = |own: usize| (0..arms.len()).filter(move |&other| other != own);
    let may_be_best: Vec<bool> =
        (0..arms.len()).map(|own| others(own).all(|other| bound(own, other) >= 0.0)).collect();
    let arm = |place: usize| Arm {
        at: arms[place].0,
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

/// Of the error of each pair's difference what `of` takes from it; none where nothing is known of one.
fn of_pairs(
    noise: &Noise,
    measure: &Measure,
    arms: &[(Scored, f64, usize)],
    of: impl Fn(Uncertainty) -> f64,
) -> Option<Vec<Vec<f64>>> {
    let weigh = |weight, place: usize| Weighed { weight, at: arms[place].0, seeds: arms[place].2 };
    let mut found = vec![vec![0.0; arms.len()]; arms.len()];
    let pairs = (0..arms.len()).flat_map(|first| (0..first).map(move |second| (first, second)));
    for (first, second) in pairs {
        let error = of(noise.error(measure, &[weigh(1.0, first), weigh(-1.0, second)])?);
        (found[first][second], found[second][first]) = (error, error);
    }
    Some(found)
}

/// Of each arm, what its largest standardised lag behind another exceeds in `alpha` of draws, were all truly equal.
fn critical(spreads: &[(Uncertainty, usize)], errors: &[Vec<f64>], alpha: f64, rounds: usize) -> Vec<f64> {
    let mut lags = vec![Vec::with_capacity(rounds); spreads.len()];
    let mut stream = Seed::root(0).child("comparison with the best").stream();
    for _ in 0..rounds {
        let draw = |(spread, seeds): &(Uncertainty, usize)| spread.redrawn(0.0, *seeds, &mut stream);
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

/// How likely each arm has the highest mean if all were trained with new seeds: means are drawn about those found, each
/// as far as its own seeds spread. None where nothing is known of the seeds of one.
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

/// The rank of each arm among all, 1 having the highest mean, averaged over contests of the same arms in one order; and
/// where 95 % of these averages lie if all were trained with new seeds: means are drawn about those found, each as far
/// as its own seeds spread. None where nothing is known of the seeds of one, or there is no contest.
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

/// Of each place, the mean over rows of its rank in the row; equal values share the middle of their ranks.
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

    /// Five arms of three seeds with these means and deviations, by either kind of critical value.
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
        [Contest::of, Contest::pairwise].map(|of| of(&noise, &auroc, &arms, ALPHA).unwrap())
    }

    #[test]
    fn pairs_have_students_bound() {
        // By hand: two arms of known deviation 0.01 and four seeds, so that the difference has a standard error of
        // 0.01 / sqrt 2; 1.6449 of them (scipy 1.17.1, `norm.isf(0.05)`) is what one of two arms may be off.
        let at = |method| Axes::table_1(method, ResNet18, Share::NATURAL).converged();
        let arms = [(at(PAPER[0]), 0.70, 4), (at(PAPER[1]), 0.72, 4)];
        let found = Contest::pairwise(&Noise::assumed(0.01), &Metric::Auroc.into(), &arms, ALPHA).unwrap();
        assert_eq!(found.leader().at, at(PAPER[1]));
        let expected = -0.02 + 1.644_853_6 * 0.01 / 2_f64.sqrt();
        assert!((found.0[1].above_leader - expected).abs() < 1e-6, "{found:?}");
        assert!(!found.0[1].may_be_best);
    }

    #[test]
    fn what_is_far_behind_is_left_out_and_what_is_near_is_not() {
        let mut stream = Seed::root(1).stream();
        for found in contest([0.8, 0.9, 0.6, 0.899, 0.5], [0.005; 5], &mut stream) {
            let best: Vec<_> = found.candidates().map(|arm| arm.at.cell.method.unwrap()).collect();
            assert_eq!(best.len(), 2, "{found:?}");
            assert!(best.contains(&PAPER[1]) && best.contains(&PAPER[3]));
            assert!(found.settled_within(0.05) && !found.settled_within(0.0), "{found:?}");
            assert!(found.is_settled(0.05) && !found.is_settled(0.0), "{found:?}");
            // Nobody loses by taking the last but what the best is above it.
            assert!((found.0[4].may_lose - 0.4).abs() < 0.05 && found.0[0].may_lose < 0.05, "{found:?}");
            assert!(found.0[4].above_leader < -0.3, "{found:?}");
        }
    }

    /// The true best is left out in at most one study of twenty, whether arms spread alike or not.
    #[test]
    fn the_true_best_is_seldom_left_out() {
        for deviations in [[0.02; 5], [0.01, 0.03, 0.005, 0.02, 0.04]] {
            let mut lost = [0; 2];
            for study in 0..200 {
                let mut stream = Seed::root(study).stream();
                // The best by a hair is the hardest to keep.
                let found = contest([0.8, 0.8, 0.801, 0.8, 0.79], deviations, &mut stream);
                for (lost, found) in lost.iter_mut().zip(found) {
                    *lost += usize::from(!found.candidates().any(|arm| arm.at.cell.method == Some(PAPER[2])));
                }
            }
            assert!(lost.iter().all(|&lost| lost <= 16), "{lost:?} of 200: 10 and two deviations");
        }
    }

    #[test]
    fn one_arm_is_settled() {
        let at = Axes::table_1(PAPER[0], ResNet18, Share::NATURAL).converged();
        let noise = Noise::assumed(0.01);
        let found = Contest::of(&noise, &Metric::Auroc.into(), &[(at, 0.8, 2)], ALPHA).unwrap();
        assert!(found.is_settled(0.0) && found.leader().may_lose == 0.0, "{found:?}");
        assert_eq!(Contest::of(&noise, &Metric::Auroc.into(), &[], ALPHA), None);
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
        // Each by its own deviation: of two of one mean, the one that spreads is as often first as last.
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
        // By hand: the second is first twice; the others share two places once, and are third and second.
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

    /// Whoever cannot be the best does not say what is lost, however uncertain it is beside the arm that is taken.
    #[test]
    fn nothing_is_lost_to_an_arm_that_cannot_be_the_best() {
        let at = |place: usize| Axes::table_1(PAPER[place], ResNet18, Share::NATURAL).converged();
        let arms = [(at(0), 0.9, 3), (at(1), 0.8, 3), (at(2), 0.5, 3)];
        // The last lies within 0.6 of the second, and 0.4 below the first within 0.1.
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

    /// Of two equal arms each is first as often as a coin falls; over 400 shares the mean rank has a normal's 95 %.
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
}
