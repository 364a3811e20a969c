//! Outlook: what an undecided claim could have shown, and what would decide it.
//!
//! The plan is a forecast. True means are drawn around the observed ones and new seeds around these; the claim is
//! then judged on old and new seeds together, 200 times for each number of seeds. Simulated studies check the
//! forecast (`benchmarks/cells/judge`).

use std::collections::BTreeMap;

use super::{
    Evidence, Verdict,
    contrast::{MeanContrast, Part},
    judging::{OpenComparisons, Reach, TAIL, decide},
};
use crate::{
    analysis::{Axes, Scored, intervals::Uncertainty},
    seed::{Seed, Stream},
};

/// Minimum probability with which a plan must decide the claim.
pub const CHANCE: f64 = 0.8;
/// Numbers of seeds per cell that are considered, in ascending order.
pub(super) const CONSIDERED: [usize; 9] = [3, 4, 5, 6, 8, 10, 15, 20, 30];

/// Outlook of an undecided claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The largest minimum detectable difference among its comparisons: a true difference of this size is detected in
    /// four of five such studies.
    pub detectable_difference: f64,
    /// The seeds that would probably decide it; `None` if even the largest considered number probably would not.
    pub plan: Option<Plan>,
}

/// Seeds that would probably decide a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of seeds that every compared cell has at least after the plan.
    pub seeds: usize,
    /// Cells, with their current number of seeds.
    pub cells: Vec<(Axes, usize)>,
    /// Probability that the plan decides the claim either way.
    pub chance: f64,
    /// Minutes in one process on the machine that made the records; `None` if these do not state times.
    pub minutes: Option<f64>,
}

impl Plan {
    /// Returns the number of trainings to be added.
    pub fn trainings(&self) -> usize {
        self.cells.iter().map(|(_, seeds)| self.seeds.saturating_sub(*seeds)).sum()
    }
}

impl Outlook {
    /// Computes the outlook; `None` if there are no open comparisons, or their noise is only assumed.
    pub(super) fn of(evidence: &Evidence, open: &OpenComparisons) -> Option<Self> {
        let could_have_shown = open.contrasts.iter().map(detectable).max_by(f64::total_cmp)?;
        if evidence.noise().is_assumed() {
            return None;
        }
        let forecast = Forecast::new(open);
        let most = forecast.parts.iter().map(|part| part.seeds).max().unwrap_or(0);
        let plan = CONSIDERED.into_iter().filter(|&seeds| seeds > most).find_map(|seeds| {
            let chance = forecast.chance(seeds);
            (chance >= CHANCE).then(|| Plan::new(evidence, forecast.cells(), seeds, chance))
        });
        Some(Self { detectable_difference: could_have_shown, plan })
    }

    /// Formats the outlook as one sentence.
    pub fn sentence(&self) -> String {
        let shown = format!(
            "these records show differences of {:.3} or more in four cases of five",
            self.detectable_difference
        );
        let Some(plan) = &self.plan else {
            return format!(
                "{shown}; {} seeds of each cell would probably not decide it",
                CONSIDERED[CONSIDERED.len() - 1]
            );
        };
        let minutes =
            plan.minutes.map_or_else(String::new, |minutes| format!(", about {} minutes", minutes.ceil()));
        format!(
            "{shown}; {} seeds of {} cells ({} more trainings{minutes}) would decide it with a chance of {:.0} %",
            plan.seeds,
            plan.cells.len(),
            plan.trainings(),
            100.0 * plan.chance
        )
    }
}

impl Plan {
    fn new(evidence: &Evidence, cells: Vec<(Axes, usize)>, seeds: usize, chance: f64) -> Self {
        let minutes = minutes(evidence, &cells, seeds);
        Self { seeds, cells, chance, minutes }
    }
}

/// Minutes in one process until these cells have `seeds` seeds each; `None` if records do not state times.
pub(super) fn minutes(evidence: &Evidence, cells: &[(Axes, usize)], seeds: usize) -> Option<f64> {
    let missing = |(cell, own): &(Axes, usize)| {
        evidence.seconds(cell).map(|seconds| seconds * seeds.saturating_sub(*own) as f64 / 60.0)
    };
    cells.iter().map(missing).sum()
}

/// Minimum detectable difference: the true difference that a contrast with this error detects in four of five
/// studies.
fn detectable(contrast: &MeanContrast) -> f64 {
    contrast.error.tail_quantile(TAIL) + contrast.error.tail_quantile(1.0 - CHANCE)
}

/// Open comparisons with more seeds.
struct Forecast<'a> {
    open: &'a OpenComparisons,
    /// The distinct means of all comparisons.
    parts: Vec<&'a Part>,
    /// For each comparison, its weights with the indices of their means.
    weights: Vec<Vec<(f64, usize)>>,
}

impl<'a> Forecast<'a> {
    const ROUNDS: usize = 200;

    fn new(open: &'a OpenComparisons) -> Self {
        let mut places: BTreeMap<&[Scored], usize> = BTreeMap::new();
        let mut parts = Vec::new();
        let mut place = |part: &'a Part| {
            *places.entry(&part.cells).or_insert_with(|| {
                parts.push(part);
                parts.len() - 1
            })
        };
        let mut weigh = |contrast: &'a MeanContrast| -> Vec<(f64, usize)> {
            contrast.parts.iter().map(|part| (part.weight, place(part))).collect()
        };
        let weights = open.contrasts.iter().map(&mut weigh).collect();
        Self { open, parts, weights }
    }

    /// Cells with their number of seeds.
    fn cells(&self) -> Vec<(Axes, usize)> {
        let cells = self.parts.iter().flat_map(|part| part.cells.iter().map(|at| (at.cell, part.seeds)));
        cells.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Fraction of draws in which the claim is decided with `seeds` seeds of each cell.
    fn chance(&self, seeds: usize) -> f64 {
        let reaches: Vec<Reach> =
            self.open.contrasts.iter().map(|contrast| self.reach(contrast, seeds)).collect();
        let decided = (0..Self::ROUNDS).filter(|&round| {
            let mut stream = Seed::root(0).child("outlook").index(seeds).index(round).stream();
            let means: Vec<f64> = self
                .parts
                .iter()
                .map(|part| draw_future_mean(part.mean, part.seeds, part.spread, seeds, &mut stream))
                .collect();
            let sum = |weights: &Vec<(f64, usize)>| {
                weights.iter().map(|&(weight, part)| weight * means[part]).sum()
            };
            let estimates: Vec<f64> = self.weights.iter().map(sum).collect();
            decide(self.open.says, &estimates, &reaches, self.open.margin, true) != Verdict::Undecided
        });
        decided.count() as f64 / Self::ROUNDS as f64
    }

    /// Reach of the interval with `seeds` seeds of each cell.
    fn reach(&self, contrast: &MeanContrast, seeds: usize) -> Reach {
        let variance: f64 = contrast
            .parts
            .iter()
            .map(|part| (part.weight * part.spread.deviation).powi(2) / part.seeds.max(seeds) as f64)
            .sum();
        let variance = variance + contrast.fixed.powi(2);
        let added = contrast.parts.iter().map(|part| seeds.saturating_sub(part.seeds)).min().unwrap_or(0);
        let error =
            Uncertainty { deviation: variance.sqrt(), freedom: contrast.error.freedom + added as f64 };
        let count = self.open.contrasts.len() as f64;
        Reach { alone: error.tail_quantile(TAIL), among_all: error.tail_quantile(TAIL / count) }
    }
}

/// Draws the mean of `seeds` seeds, given the mean of the first `old`: new seeds are drawn around a true mean that is
/// itself drawn around the old one.
pub(super) fn draw_future_mean(
    mean: f64,
    old: usize,
    spread: Uncertainty,
    seeds: usize,
    stream: &mut Stream,
) -> f64 {
    let (old, new) = (old as f64, seeds.saturating_sub(old) as f64);
    let truth = mean + spread.deviation / old.sqrt() * stream.normal();
    let added = new * truth + new.sqrt() * spread.deviation * stream.normal();
    (old * mean + added) / (old + new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Measure, claims::judging::Assertion, results::Metric};

    /// With a known error: 1.96 errors for significance on either side, and 0.8416 more for detection in four of five
    /// studies (scipy, `norm.isf(0.025)` and `norm.isf(0.2)`).
    #[test]
    fn what_could_have_been_shown_is_found_in_four_cases_of_five() {
        let error = Uncertainty::known(0.01);
        let contrast = MeanContrast {
            description: String::new(),
            measure: Measure::from(Metric::F1),
            value: error.interval_of_mean(0.0, 1),
            error,
            parts: Vec::new(),
            fixed: 0.0,
        };
        let found = detectable(&contrast);
        let expected = 0.01 * (1.959_964 + 0.841_621);
        assert!((found / expected - 1.0).abs() < 1e-3, "{found}, expected {expected}");
    }

    fn at(place: usize) -> Scored {
        use crate::{backbone::Name::ResNet18, data::Share, method::Name};
        Axes::table_1(Name::PAPER[place], ResNet18, Share::percent(5)).in_training()
    }

    fn part(place: usize, weight: f64, mean: f64, seeds: usize, deviation: f64) -> Part {
        Part { cells: vec![at(place)], weight, mean, seeds, spread: Uncertainty::known(deviation) }
    }

    fn contrast(parts: Vec<Part>, error: Uncertainty, fixed: f64) -> MeanContrast {
        let estimate = parts.iter().map(|part| part.weight * part.mean).sum();
        let (what, measure) = (String::new(), Measure::from(Metric::F1));
        MeanContrast {
            description: what,
            measure,
            value: error.interval_of_mean(estimate, 1),
            error,
            parts,
            fixed,
        }
    }

    #[test]
    fn an_outlook_is_one_sentence() {
        let plan = Plan {
            seeds: 8,
            cells: vec![(at(0).cell, 3), (at(1).cell, 5), (at(2).cell, 9)],
            chance: 0.874,
            minutes: Some(12.2),
        };
        assert_eq!(plan.trainings(), 5 + 3);
        let shown = "these records show differences of 0.043 or more in four cases of five";
        let outlook = |plan| Outlook { detectable_difference: 0.0429, plan }.sentence();
        assert_eq!(
            outlook(Some(plan.clone())),
            format!(
                "{shown}; 8 seeds of 3 cells (8 more trainings, about 13 minutes) would decide it with a chance of 87 %"
            )
        );
        assert_eq!(
            outlook(Some(Plan { minutes: None, ..plan })),
            format!("{shown}; 8 seeds of 3 cells (8 more trainings) would decide it with a chance of 87 %")
        );
        assert_eq!(outlook(None), format!("{shown}; 30 seeds of each cell would probably not decide it"));
    }

    /// By hand: variances of 4 x 0.02^2 / 4 and 0.04^2 / 5, where the second cell already has more seeds than planned,
    /// plus the part that seeds do not change.
    #[test]
    fn more_seeds_shorten_the_reach_of_their_own_cells() {
        let error = Uncertainty { deviation: 0.5, freedom: 6.0 };
        let parts = vec![part(0, 2.0, 0.5, 3, 0.02), part(1, -1.0, 0.4, 5, 0.04)];
        let open = OpenComparisons {
            says: Assertion::Above,
            contrasts: vec![contrast(parts, error, 0.01); 3],
            margin: None,
        };
        let forecast = Forecast::new(&open);
        let expected = |variance: f64, freedom: f64| {
            let error = Uncertainty { deviation: variance.sqrt(), freedom };
            Reach { alone: error.tail_quantile(0.025), among_all: error.tail_quantile(0.025 / 3.0) }
        };
        for (seeds, variance, freedom) in
            [(4, 0.0004 + 0.0016 / 5.0 + 0.0001, 6.0), (8, 0.0002 + 0.0002 + 0.0001, 9.0)]
        {
            let (found, expected) = (forecast.reach(&open.contrasts[1], seeds), expected(variance, freedom));
            assert!((found.alone / expected.alone - 1.0).abs() < 1e-9, "{seeds}: {found:?}, {expected:?}");
            assert!(
                (found.among_all / expected.among_all - 1.0).abs() < 1e-9,
                "{seeds}: {found:?}, {expected:?}"
            );
        }
    }

    /// A mean that two comparisons share is drawn once for both, and its cell is listed once.
    #[test]
    fn shared_means_count_once() {
        let error = Uncertainty::known(0.1);
        let first = contrast(vec![part(2, 1.0, 0.5, 3, 0.1), part(0, -1.0, 0.4, 4, 0.1)], error, 0.0);
        let second = contrast(vec![part(1, 1.0, 0.5, 5, 0.1), part(0, -0.5, 0.4, 4, 0.1)], error, 0.0);
        let open = OpenComparisons { says: Assertion::Above, contrasts: vec![first, second], margin: None };
        let forecast = Forecast::new(&open);
        assert_eq!(forecast.weights, [[(1.0, 0), (-1.0, 1)], [(1.0, 2), (-0.5, 1)]]);
        assert_eq!(forecast.parts.iter().map(|part| part.seeds).collect::<Vec<_>>(), [3, 4, 5]);
        let mut expected = [(at(2).cell, 3), (at(0).cell, 4), (at(1).cell, 5)];
        expected.sort();
        assert_eq!(forecast.cells(), expected);
    }

    /// A difference of three errors is decided by a few more seeds; the largest difference that might have been missed
    /// is that of the least certain comparison.
    #[test]
    fn a_plan_is_the_fewest_seeds_that_probably_decide() {
        use crate::analysis::frame::FrameBuilder;
        let mut rows = FrameBuilder::default();
        for (place, middle, minutes) in [(0, 0.5, 2.0), (1, 0.44, 4.0)] {
            for (seed, side) in (0..).zip([-0.05, 0.05, 0.0]) {
                rows.begin("x", at(place), Some(seed));
                rows.number(Metric::F1, Some(middle + side));
                rows.number(Measure::TRAIN_SECONDS, Some(60.0 * minutes));
                rows.number(Measure::EVALUATE_SECONDS, Some(0.0));
            }
        }
        let evidence = Evidence::measured("x", &rows.frame());
        let made = evidence.difference(Metric::F1, &at(0), &at(1)).unwrap();
        let certain = contrast(vec![part(0, 1.0, 0.5, 3, 0.001)], Uncertainty::known(0.001), 0.0);
        let open =
            OpenComparisons { says: Assertion::Above, contrasts: vec![made.clone(), certain], margin: None };
        let outlook = Outlook::of(&evidence, &open).unwrap();
        assert_eq!(outlook.detectable_difference, detectable(&made));
        let turned =
            OpenComparisons { contrasts: open.contrasts.iter().rev().cloned().collect(), ..open.clone() };
        assert_eq!(Outlook::of(&evidence, &turned).unwrap().detectable_difference, detectable(&made));
        let plan = outlook.plan.unwrap();
        assert_eq!(plan.cells, [(at(0).cell, 3), (at(1).cell, 3)]);
        let place = CONSIDERED.iter().position(|seeds| *seeds == plan.seeds).unwrap();
        let forecast = Forecast::new(&open);
        assert!(place > 0 && plan.chance >= CHANCE && plan.chance == forecast.chance(plan.seeds), "{plan:?}");
        assert!(CONSIDERED[1..place].iter().all(|seeds| forecast.chance(*seeds) < CHANCE), "{plan:?}");
        // Two and four minutes for each seed.
        assert_eq!(plan.minutes, Some(6.0 * (plan.seeds - 3) as f64));
        let assumed = Evidence::assumed("x", evidence.frame(), 0.1);
        assert_eq!(Outlook::of(&assumed, &open), None);
        let nothing = OpenComparisons { says: Assertion::Above, contrasts: Vec::new(), margin: None };
        assert_eq!(Outlook::of(&evidence, &nothing), None);
    }

    /// By hand, with a deviation of 0.1, two old seeds and six new ones: the old seeds determine the true mean to
    /// within 0.1 / sqrt 2, and the new seeds vary about it. The variance of their common mean is 0.75^2 x 0.01 / 2 +
    /// 0.01 x 6 / 64.
    #[test]
    fn new_seeds_stray_about_a_truth_that_is_not_known() {
        let mut stream = Seed::root(5).stream();
        let spread = Uncertainty::known(0.1);
        let draws: Vec<f64> = (0..20_000).map(|_| draw_future_mean(0.7, 2, spread, 8, &mut stream)).collect();
        let middle = crate::analysis::intervals::mean(&draws);
        let found = crate::analysis::intervals::deviation(&draws).unwrap();
        let expected = (0.75_f64.powi(2) * 0.01 / 2.0 + 0.01 * 6.0 / 64.0).sqrt();
        assert!((middle - 0.7).abs() < 4.0 * expected / 20_000_f64.sqrt(), "{middle}");
        assert!((found / expected - 1.0).abs() < 4.0 / 40_000_f64.sqrt(), "{found}, expected {expected}");
        assert_eq!(draw_future_mean(0.7, 5, spread, 3, &mut stream), 0.7, "no new seed");
    }

    /// By hand, with known deviations of 0.05 and 0.03: with ten seeds of each, the difference of 0.06 has a deviation of
    /// sqrt(0.49 x 0.0025 / 3 + 7 x 0.000025 + 0.36 x 0.0009 / 4 + 6 x 0.000009) = 0.0268 around it, and reaches 1.96 x
    /// sqrt(0.00034) = 0.0361. It is above 0 in 0.813 of studies, and below in none; within a margin of 0.1 in none but
    /// those. A difference of 0 lies within that margin in 0.983 of them, and is significant in 0.178.
    #[test]
    fn the_chance_of_a_plan_by_hand() {
        let chance = |first: f64, margin: Option<f64>, seeds: usize| {
            let parts = vec![part(0, 1.0, first, 3, 0.05), part(1, -1.0, 0.44, 4, 0.03)];
            let open = OpenComparisons {
                says: Assertion::Above,
                contrasts: vec![contrast(parts, Uncertainty::known(0.04), 0.0)],
                margin,
            };
            Forecast::new(&open).chance(seeds)
        };
        // Within four standard errors of 200 draws.
        for (first, margin, seeds, expected) in
            [(0.5, None, 10, 0.813), (0.44, None, 10, 0.178), (0.44, Some(0.1), 10, 0.983)]
        {
            let found = chance(first, margin, seeds);
            let error = f64::sqrt(expected * (1.0 - expected) / 200.0);
            assert!(
                (found - expected).abs() < 4.0 * error,
                "{first} {margin:?}: {found}, expected {expected}"
            );
        }
        // Without new seeds nothing changes: 0.07 is above its reach of 1.96 x sqrt(0.0025 / 3 + 0.0009 / 4), 0 is not.
        assert_eq!([chance(0.51, None, 3), chance(0.44, None, 3)], [1.0, 0.0]);
    }

    /// The mean of a pair is another than that of one of its cells.
    #[test]
    fn a_pair_and_its_first_cell_are_two_means() {
        let error = Uncertainty::known(0.1);
        let pair = Part { cells: vec![at(0), at(1)], ..part(0, 1.0, 0.02, 2, 0.1) };
        let first = contrast(vec![pair], error, 0.0);
        let second = contrast(vec![part(0, 1.0, 0.5, 2, 0.1), part(1, -1.0, 0.4, 6, 0.1)], error, 0.0);
        let open = OpenComparisons { says: Assertion::Above, contrasts: vec![first, second], margin: None };
        let forecast = Forecast::new(&open);
        assert_eq!(forecast.weights, [vec![(1.0, 0)], vec![(1.0, 1), (-1.0, 2)]]);
        assert_eq!(forecast.parts.iter().map(|part| part.mean).collect::<Vec<_>>(), [0.02, 0.5, 0.4]);
    }

    /// If the time of any cell is unknown, so is that of all.
    #[test]
    fn minutes_are_known_if_those_of_every_cell_are() {
        use crate::analysis::frame::FrameBuilder;
        let mut rows = FrameBuilder::default();
        for (place, seconds) in [(0, Some(120.0)), (1, None), (2, Some(30.0))] {
            rows.begin("x", at(place), Some(0));
            rows.number(Metric::F1, Some(0.5));
            rows.number(Measure::TRAIN_SECONDS, seconds);
            rows.number(Measure::EVALUATE_SECONDS, Some(60.0));
        }
        let evidence = Evidence::measured("x", &rows.frame());
        let cell = |place: usize, own: usize| (at(place).cell, own);
        assert_eq!(minutes(&evidence, &[cell(0, 1), cell(2, 4)], 5), Some(4.0 * 3.0 + 1.5));
        assert_eq!(minutes(&evidence, &[cell(0, 1), cell(1, 1), cell(2, 4)], 5), None);
        assert_eq!(minutes(&evidence, &[cell(0, 9)], 5), Some(0.0), "it has more already");
    }
}
