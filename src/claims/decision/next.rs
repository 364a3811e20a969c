//! Which seeds would settle what is open: a forecast.
//!
//! As [`super::super::outlook`] does for claims: true means are drawn about those found, new seeds about those, and the
//! arms are compared again on old and new seeds together, 200 times for each number of seeds. Only arms that are still
//! open get new seeds. *Settled*: one arm alone may be the best, or some arm loses no more than the margin.

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

/// What to do before taking an arm.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// There is nothing to compare.
    Nothing,
    /// Nothing: it is settled.
    Settled,
    /// Nothing is known of seeds: these come first.
    First(Step),
    /// This would probably settle it.
    Seeds(Step),
    /// Even the most seeds that are considered would probably not settle it.
    Beyond(usize),
}

/// More seeds of some cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Every cell has as many afterwards.
    pub seeds: usize,
    /// Cells and the seeds that each has now.
    pub cells: Vec<(Axes, usize)>,
    /// That it is then settled, 0..1; none where nothing can be foretold.
    pub chance: Option<f64>,
    /// On the machine that made the records, one process; none where they do not say.
    pub minutes: Option<f64>,
}

impl Step {
    fn of(evidence: &Evidence, cells: Vec<(Axes, usize)>, seeds: usize, chance: Option<f64>) -> Self {
        let minutes = minutes(evidence, &cells, seeds);
        Self { seeds, cells, chance, minutes }
    }

    /// Trainings that are missing.
    pub fn trainings(&self) -> usize {
        self.cells.iter().map(|(_, own)| self.seeds.saturating_sub(*own)).sum()
    }
}

impl Next {
    /// What to do about these arms. `contest`: theirs; none where nothing is known of seeds.
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

/// Arms with more seeds of those that are open.
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

    /// Part of draws in which it is settled once all open arms have so many seeds.
    fn chance(&self, seeds: usize) -> f64 {
        /// Draws that tell what chance does; fewer than where it counts.
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
