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
        outlook::{CHANCE, CONSIDERED, draw_future_mean, minutes},
    },
    seed::Seed,
};

/// What to do before choosing an arm.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// There is nothing to compare.
    Nothing,
    /// Run nothing: the choice is settled.
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

impl NextAction {
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
            let spread = evidence.noise().seed_spread(&auroc(), &arm.scored)?;
            Some(Open { at: arm.scored, mean: arm.mean, seeds: arm.seeds, spread, is_open: arm.may_be_best })
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
        let rules = Rules::simulate(&self.arms.iter().map(spread).collect::<Vec<_>>(), ALPHA, CRITICAL);
        let settled = (0..Self::ROUNDS).filter(|&round| {
            let mut stream = Seed::root(0).child("next").index(seeds).index(round).stream();
            let mut mean = |arm: &Open| match arm.is_open {
                true => draw_future_mean(arm.mean, arm.seeds, arm.spread, later(arm), &mut stream),
                false => arm.mean,
            };
            let arms: Vec<_> = self.arms.iter().map(|arm| (arm.at, mean(arm), later(arm))).collect();
            rules.contest(&arms).is_settled(self.margin)
        });
        settled.count() as f64 / Self::ROUNDS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Measure, frame::FrameBuilder},
        backbone::Name::ResNet18,
        data::Share,
        method::Name,
        results::Metric,
    };

    fn at(place: usize) -> Axes {
        Axes::trained(Name::PAPER[place], ResNet18, Share::percent(5))
    }

    /// Arms with the AUROC of each seed; a training of the first takes one minute, of the second two, and so on.
    fn evidence(arms: &[Vec<f64>], margin: f64) -> Evidence {
        let mut rows = FrameBuilder::default();
        for (place, scores) in arms.iter().enumerate() {
            for (seed, score) in (0..).zip(scores) {
                rows.begin("x", at(place).converged(), Some(seed));
                rows.number(Metric::Auroc, Some(*score));
                rows.number(Measure::TRAIN_SECONDS, Some(60.0 * (place + 1) as f64));
                rows.number(Measure::EVALUATE_SECONDS, Some(0.0));
            }
        }
        Evidence::measured("x", &rows.frame()).with_margin(margin)
    }

    fn next(evidence: &Evidence, arms: usize) -> NextAction {
        let standings: Vec<Standing> =
            (0..arms).map(|place| Standing::of(evidence, at(place)).unwrap()).collect();
        let entries: Vec<_> =
            standings.iter().map(|arm| (arm.cell.converged(), arm.auroc.estimate, arm.seeds)).collect();
        let contest = Contest::compare(evidence.noise(), &auroc(), &entries, ALPHA);
        NextAction::of(evidence, &standings, contest.as_ref())
    }

    #[test]
    fn first_seeds_are_asked_of_every_arm() {
        let evidence = evidence(&[vec![0.5], vec![0.6]], 0.02);
        let expected =
            Step { seeds: 3, cells: vec![(at(0), 1), (at(1), 1)], chance: None, minutes: Some(2.0 * 3.0) };
        assert_eq!(next(&evidence, 2), NextAction::First(expected.clone()));
        assert_eq!(expected.trainings(), 4);
        assert_eq!(next(&evidence, 0), NextAction::Nothing);
        // Eight equal seeds show no spread; ten are the next number.
        let still = self::evidence(&[vec![0.5; 8], vec![0.6]], 0.02);
        let NextAction::First(step) = next(&still, 2) else { panic!("{:?}", next(&still, 2)) };
        assert_eq!((step.seeds, step.trainings(), step.minutes), (10, 2 + 9, Some(2.0 + 18.0)));
    }

    /// Equal means are never told apart without a margin, however many seeds there are.
    #[test]
    fn what_no_number_of_seeds_settles_is_beyond_the_largest() {
        let scores = |seeds: usize| (0..seeds).map(|seed| if seed % 2 == 0 { 0.5 } else { 0.7 }).collect();
        let equal = |seeds: usize| evidence(&[scores(seeds), scores(seeds)], 0.0);
        assert_eq!(next(&equal(4), 2), NextAction::Beyond(30));
        assert_eq!(next(&equal(40), 2), NextAction::Beyond(40));
        assert_eq!(next(&evidence(&[scores(4), scores(4)], 0.9), 2), NextAction::Settled);
        assert_eq!(next(&evidence(&[scores(4)], 0.0), 1), NextAction::Nothing);
    }

    /// Arms that cannot be the best get no more seeds; the fewest seeds that probably settle the choice are taken.
    #[test]
    fn only_open_arms_get_seeds() {
        let found = evidence(&[vec![0.80, 0.84, 0.82], vec![0.3, 0.31, 0.32], vec![0.79, 0.81, 0.84]], 0.02);
        let NextAction::Seeds(step) = next(&found, 3) else { panic!("{:?}", next(&found, 3)) };
        assert_eq!(step.cells, [(at(0), 3), (at(2), 3)]);
        // One minute of the first, three of the third.
        assert_eq!(step.minutes, Some(4.0 * (step.seeds - 3) as f64));
        let contest = |evidence: &Evidence| {
            let entries: Vec<_> = (0..3)
                .map(|place| Standing::of(evidence, at(place)).unwrap())
                .map(|arm| (arm.cell.converged(), arm.auroc.estimate, arm.seeds))
                .collect();
            Contest::compare(evidence.noise(), &auroc(), &entries, ALPHA).unwrap()
        };
        let forecast = Forecast::of(&found, &contest(&found)).unwrap();
        assert_eq!(Some(forecast.chance(step.seeds)), step.chance);
        let fewer = CONSIDERED.into_iter().filter(|seeds| (4..step.seeds).contains(seeds));
        assert!(fewer.into_iter().all(|seeds| forecast.chance(seeds) < CHANCE), "{step:?}");
        // A chance rises with seeds and with the margin.
        let wide =
            Forecast::of(&found, &contest(&found)).map(|forecast| Forecast { margin: 0.05, ..forecast });
        let wide = wide.unwrap();
        assert!(forecast.chance(30) >= forecast.chance(4) && wide.chance(4) > forecast.chance(4));
    }

    /// Two arms of two seeds, 0.06 apart, with a deviation of 0.05 that is known with one degree of freedom. New seeds make
    /// it better known: with n seeds there are n - 1 degrees. Simulated independently (40,000 draws): 0.006, 0.216 and
    /// 0.833 of choices are settled with 3, 4 and 30 seeds; with one degree 0.143 with 30, with known deviations 0.388
    /// with 3.
    #[test]
    fn new_seeds_also_tell_how_much_seeds_spread() {
        let open = |place: usize, mean: f64| Open {
            at: at(place).converged(),
            mean,
            seeds: 2,
            spread: Uncertainty { deviation: 0.05, freedom: 1.0 },
            is_open: true,
        };
        let forecast = Forecast { arms: vec![open(0, 0.56), open(1, 0.5)], margin: 0.0 };
        for (seeds, expected, within) in [(3, 0.006, 0.04), (4, 0.216, 0.1), (30, 0.833, 0.1)] {
            let found = forecast.chance(seeds);
            assert!((found - expected).abs() < within, "{seeds}: {found}, expected {expected}");
        }
        // An arm that is beaten keeps its seeds, and what is known of it.
        let beaten = Open { is_open: false, ..open(2, 0.1) };
        let with = Forecast { arms: vec![open(0, 0.56), open(1, 0.5), beaten], margin: 0.0 };
        assert_eq!(with.cells(), [(at(0), 2), (at(1), 2)]);
    }
}
