//! Forecasts which seeds would settle an open choice.
//!
//! As in [`super::super::outlook`], true means are drawn around the observed ones and new seeds around these; the
//! arms are then compared again on old and new seeds together, 200 times for each number of seeds. Only arms that are
//! still open get new seeds. *Settled*: only one arm may be the best, or some arm loses no more than the margin.

use super::{Standing, auroc};
use crate::{
    analysis::{
        Axes, Scored,
        best::{ALPHA, Contest, Rules},
        intervals::Uncertainty,
    },
    claims::{
        Evidence,
        outlook::{CHANCE, CONSIDERED, foretold, minutes},
    },
    seed::Seed,
};

/// What to do before choosing an arm.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// There is nothing to compare.
    Nothing,
    /// Nothing: the choice is settled.
    Settled,
    /// The spread over seeds is unknown; these seeds come first.
    First(Step),
    /// These seeds would probably settle the choice.
    Seeds(Step),
    /// Even this many seeds, the largest number considered, would probably not settle it.
    Beyond(usize),
}

/// Additional seeds of some cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Number of seeds that every cell has afterwards.
    pub seeds: usize,
    /// Cells, with their current number of seeds.
    pub cells: Vec<(Axes, usize)>,
    /// Probability that the choice is then settled, 0..1; `None` without a forecast.
    pub chance: Option<f64>,
    /// Minutes in one process on the machine that made the records; `None` if these do not state times.
    pub minutes: Option<f64>,
}

impl Step {
    fn of(evidence: &Evidence, cells: Vec<(Axes, usize)>, seeds: usize, chance: Option<f64>) -> Self {
        let minutes = minutes(evidence, &cells, seeds);
        Self { seeds, cells, chance, minutes }
    }

    /// Returns the number of trainings to be added.
    pub fn trainings(&self) -> usize {
        self.cells.iter().map(|(_, own)| self.seeds.saturating_sub(*own)).sum()
    }
}

impl Next {
    /// Decides what to do about these arms; `contest` is their comparison, `None` if the spread over seeds is
    /// unknown.
    pub(super) fn of(evidence: &Evidence, arms: &[Standing], contest: Option<&Contest>) -> Self {
        let most = arms.iter().map(|arm| arm.seeds).max();
        let Some(most) = most else { return Self::Nothing };
        let mut considered = CONSIDERED.into_iter().filter(|&seeds| seeds > most);
        let beyond = Self::Beyond(CONSIDERED[CONSIDERED.len() - 1].max(most));
        let Some(contest) = contest else {
            let cells = arms.iter().map(|arm| (arm.cell, arm.seeds)).collect();
            return considered
                .next()
                .map_or(beyond, |seeds| Self::First(Step::of(evidence, cells, seeds, None)));
        };
        if contest.is_settled(evidence.margin()) {
            return if arms.len() == 1 { Self::Nothing } else { Self::Settled };
        }
        let Some(forecast) = Forecast::of(evidence, contest) else { return beyond };
        let found = considered.find_map(|seeds| {
            let chance = forecast.chance(seeds);
            (chance >= CHANCE).then(|| Step::of(evidence, forecast.cells(), seeds, Some(chance)))
        });
        found.map_or(beyond, Self::Seeds)
    }
}

/// Arms, with more seeds for those that are open.
struct Forecast {
    arms: Vec<Open>,
    margin: f64,
}

struct Open {
    at: Scored,
    mean: f64,
    seeds: usize,
    spread: Uncertainty,
    /// Whether it gets new seeds.
    is_open: bool,
}

impl Forecast {
    const ROUNDS: usize = 200;

    fn of(evidence: &Evidence, contest: &Contest) -> Option<Self> {
        let open = |arm: &crate::analysis::best::Arm| {
            let spread = evidence.noise().of(&auroc(), &arm.at)?;
            Some(Open { at: arm.at, mean: arm.mean, seeds: arm.seeds, spread, is_open: arm.may_be_best })
        };
        let arms = contest.0.iter().map(open).collect::<Option<_>>()?;
        Some(Self { arms, margin: evidence.margin() })
    }

    fn cells(&self) -> Vec<(Axes, usize)> {
        self.arms.iter().filter(|arm| arm.is_open).map(|arm| (arm.at.cell, arm.seeds)).collect()
    }

    /// Fraction of draws in which the choice is settled once all open arms have `seeds` seeds.
    fn chance(&self, seeds: usize) -> f64 {
        /// Random draws for critical values; fewer than for the card itself, since they are repeated.
        const CRITICAL: usize = 1_000;
        let later = |arm: &Open| if arm.is_open { seeds.max(arm.seeds) } else { arm.seeds };
        let spread = |arm: &Open| {
            let added = (later(arm) - arm.seeds) as f64;
            (Uncertainty { freedom: arm.spread.freedom + added, ..arm.spread }, later(arm))
        };
        let rules = Rules::of(&self.arms.iter().map(spread).collect::<Vec<_>>(), ALPHA, CRITICAL);
        let settled = (0..Self::ROUNDS).filter(|&round| {
            let mut stream = Seed::root(0).child("next").index(seeds).index(round).stream();
            let mut mean = |arm: &Open| match arm.is_open {
                true => foretold(arm.mean, arm.seeds, arm.spread, later(arm), &mut stream),
                false => arm.mean,
            };
            let arms: Vec<_> = self.arms.iter().map(|arm| (arm.at, mean(arm), later(arm))).collect();
            rules.contest(&arms).is_settled(self.margin)
        });
        settled.count() as f64 / Self::ROUNDS as f64
    }
}
