//! Outlook: what an undecided claim could have shown, and what would decide it.
//!
//! The plan is a forecast. True means are drawn around the observed ones and new seeds around these; the claim is
//! then judged on old and new seeds together, 200 times for each number of seeds. Simulated studies check the
//! forecast (`benchmarks/cells/judge`).

use std::collections::BTreeMap;

use super::{
    Evidence, Verdict,
    contrast::{MeanContrast, Part},
    judging::{Open, Reach, TAIL, decide},
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
    pub could_have_shown: f64,
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
    pub(super) fn of(evidence: &Evidence, open: &Open) -> Option<Self> {
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
        Some(Self { could_have_shown, plan })
    }

    /// Formats the outlook as one sentence.
    pub fn sentence(&self) -> String {
        let shown = format!(
            "these records show differences of {:.3} or more in four cases of five",
            self.could_have_shown
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
    contrast.error.beyond(TAIL) + contrast.error.beyond(1.0 - CHANCE)
}

/// Open comparisons with more seeds.
struct Forecast<'a> {
    open: &'a Open,
    /// The distinct means of all comparisons.
    parts: Vec<&'a Part>,
    /// For each comparison, its weights with the indices of their means.
    weights: Vec<Vec<(f64, usize)>>,
}

impl<'a> Forecast<'a> {
    const ROUNDS: usize = 200;

    fn new(open: &'a Open) -> Self {
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
                .map(|part| foretold(part.mean, part.seeds, part.spread, seeds, &mut stream))
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
        Reach { alone: error.beyond(TAIL), among_all: error.beyond(TAIL / count) }
    }
}

/// Draws the mean of `seeds` seeds, given the mean of the first `old`: new seeds are drawn around a true mean that is
/// itself drawn around the old one.
pub(super) fn foretold(mean: f64, old: usize, spread: Uncertainty, seeds: usize, stream: &mut Stream) -> f64 {
    let (old, new) = (old as f64, seeds.saturating_sub(old) as f64);
    let truth = mean + spread.deviation / old.sqrt() * stream.normal();
    let added = new * truth + new.sqrt() * spread.deviation * stream.normal();
    (old * mean + added) / (old + new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Measure, results::Metric};

    /// With a known error: 1.96 errors for significance on either side, and 0.8416 more for detection in four of five
    /// studies (scipy, `norm.isf(0.025)` and `norm.isf(0.2)`).
    #[test]
    fn what_could_have_been_shown_is_found_in_four_cases_of_five() {
        let error = Uncertainty::known(0.01);
        let contrast = MeanContrast {
            what: String::new(),
            measure: Measure::from(Metric::F1),
            value: error.about(0.0, 1),
            error,
            parts: Vec::new(),
            fixed: 0.0,
        };
        let found = detectable(&contrast);
        let expected = 0.01 * (1.959_964 + 0.841_621);
        assert!((found / expected - 1.0).abs() < 1e-3, "{found}, expected {expected}");
    }
}
