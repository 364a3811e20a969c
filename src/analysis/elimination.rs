//! Successive elimination: finds the best of several arms seed by seed, dropping arms that cannot be the best.
//!
//! After every round (two seeds per arm in the first, one more in each later round) the remaining arms are compared
//! with the best of them ([`super::best`]). An arm is dropped for good when another arm is significantly above it, or
//! when it cannot be above the leader by more than a margin: choosing the leader then loses no more than the margin.
//! Such races go back to Maron and Moore ("Hoeffding races", 1994) and Even-Dar, Mannor and Mansour ("Action
//! elimination and stopping conditions", 2006). Our bounds are Student's, with a deviation for each arm: bounds that
//! assume only a range are too wide for a handful of seeds.
//!
//! Error rate: over all looks together, the true best is dropped as beaten in at most [`ALPHA`] of choices. Each look
//! is judged at Pocock's level ([`super::looks`]), which the remaining arms share. Two things are not proven. First,
//! an arm's part of the level grows as other arms are dropped, as if they had been dropped for reasons other than
//! chance. Second, an arm that was dropped because it was within the margin of one leader is not compared with a
//! later leader; in the worst case it is above the later one by another margin. `benchmarks/cells/choose.rs` measures
//! the effect of both where means are hardest to tell apart.
//!
//! Independent of methods, and trains nothing: the caller trains what [`Elimination::pending`] lists.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::{
    Measure, Noise, Scored,
    best::{ALPHA, Arm, Contest},
    frame::FrameBuilder,
    intervals::{mean, quantile},
    looks,
};
use crate::results::Metric;

/// Seeds before the first look: a single seed does not reveal its spread, and may be one that collapsed.
pub const FIRST: usize = 2;

/// When arms are dropped and when the race stops.
#[derive(Clone, Debug)]
pub struct Rule {
    most: usize,
    margin: f64,
    /// Error level of each look, for all arms together.
    level: f64,
}

/// Why the race ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every other arm is beaten.
    Decided,
    /// No remaining arm is above the leader by more than the margin.
    Equivalent,
    /// Every open arm has the maximum number of seeds.
    Seeds,
}

/// Result of one round.
#[derive(Clone, Debug)]
pub struct Look {
    /// Seeds of every remaining arm.
    pub seeds: usize,
    /// The arms that remained before this look, sorted by mean in descending order.
    pub contest: Contest,
    /// The arms dropped at this look.
    pub dropped: Vec<Arm>,
    /// The arms that may be above the leader by more than the margin.
    pub open: Vec<Arm>,
    /// Why this look was the last; `None` if it was not.
    pub end: Option<End>,
}

/// Arms with their scores so far.
#[derive(Clone, Debug)]
pub struct Elimination {
    rule: Rule,
    arms: Vec<Scored>,
    /// Scores of each arm, by seed.
    scores: BTreeMap<Scored, Vec<f64>>,
    looks: Vec<Look>,
}

impl Rule {
    /// `arms` is the number of arms, `most` the maximum number of seeds per arm; scores that differ by less than
    /// `margin` are considered equal.
    ///
    /// # Errors
    /// If there are fewer than two arms or than [`FIRST`] seeds, or the margin is negative or not finite.
    pub fn new(arms: usize, most: usize, margin: f64) -> Result<Self> {
        ensure!(arms >= 2, "nothing to choose from: {arms} arm");
        ensure!(
            most >= FIRST,
            "at least {FIRST} seeds are needed, found {most}: a single seed has no spread"
        );
        ensure!(margin.is_finite() && margin >= 0.0, "expected a margin of at least 0, found {margin}");
        // The level is found for one pair among all arms. A look would get a larger fraction of a larger tail, so the
        // level stays conservative as arms are dropped.
        let tail = ALPHA / (arms - 1) as f64;
        Ok(Self { most, margin, level: ALPHA * looks::level(tail, FIRST, most) / tail })
    }

    /// Returns the error level of each look, for all arms together.
    pub fn level(&self) -> f64 {
        self.level
    }
}

impl Elimination {
    /// Starts a race without scores.
    pub fn new(arms: &[Scored], rule: Rule) -> Self {
        let scores = arms.iter().map(|&at| (at, Vec::new())).collect();
        Self { rule, arms: arms.to_vec(), scores, looks: Vec::new() }
    }

    /// Returns the (arm, seed) pairs whose scores the next look needs, seed by seed; empty after the last look.
    pub fn pending(&self) -> Vec<(Scored, u64)> {
        if self.end().is_some() {
            return Vec::new();
        }
        let (begin, end) = self.looks.last().map_or((0, FIRST), |look| (look.seeds, look.seeds + 1));
        let left = self.left();
        (begin..end).flat_map(|seed| left.iter().map(move |&at| (at, seed as u64))).collect()
    }

    /// Judges the arms by new scores, given in the order of [`Self::pending`]; higher is better.
    ///
    /// # Errors
    /// If the number of scores differs from what is wanted, a score is not finite, or all seeds of all arms scored
    /// alike.
    pub fn judge_scores(&mut self, scores: &[f64]) -> Result<&Look> {
        let wanted = self.pending();
        ensure!(scores.len() == wanted.len(), "expected {} scores, found {}", wanted.len(), scores.len());
        for ((at, seed), &score) in wanted.iter().zip(scores) {
            ensure!(score.is_finite(), "seed {seed} of {at:?} scored {score}");
            self.scores.entry(*at).or_default().push(score);
        }
        let left: Vec<(Scored, f64, usize)> =
            self.left().iter().map(|at| (*at, mean(&self.scores[at]), self.scores[at].len())).collect();
        let contest = Contest::pairwise(&self.noise(), &Metric::Auroc.into(), &left, self.rule.level)
            .context("no seed moved any score, so the spread over seeds is unknown")?;
        let is_open = |arm: &&Arm| arm.may_be_best && arm.above_leader > self.rule.margin;
        let others = || contest.0.iter().skip(1);
        let open: Vec<Arm> = others().filter(is_open).copied().collect();
        let dropped: Vec<Arm> = others().filter(|arm| !is_open(arm)).copied().collect();
        let seeds = left[0].2;
        let beaten = self.dropped().chain(&dropped).all(|arm| !arm.may_be_best);
        let end = match (open.is_empty(), beaten) {
            (true, true) => Some(End::Decided),
            (true, false) => Some(End::Equivalent),
            (false, _) => (seeds == self.rule.most).then_some(End::Seeds),
        };
        self.looks.push(Look { seeds, contest, dropped, open, end });
        Ok(&self.looks[self.looks.len() - 1])
    }

    /// Returns why the race ended; `None` while it runs.
    pub fn end(&self) -> Option<End> {
        self.looks.last().and_then(|look| look.end)
    }

    /// Returns all looks so far.
    pub fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// Returns all dropped arms, each as it was judged when it was dropped.
    pub fn dropped(&self) -> impl Iterator<Item = &Arm> {
        self.looks.iter().flat_map(|look| &look.dropped)
    }

    /// Returns the scores of an arm, by seed.
    pub fn scores(&self, at: &Scored) -> &[f64] {
        self.scores.get(at).map_or(&[], Vec::as_slice)
    }

    /// Returns the number of scores so far, over all arms.
    pub fn trainings(&self) -> usize {
        self.scores.values().map(Vec::len).sum()
    }

    /// Returns how many more scores may be needed if no further arm is dropped.
    pub fn max_remaining(&self) -> usize {
        let seeds = self.looks.last().map_or(0, |look| look.seeds);
        if self.end().is_some() { 0 } else { self.left().len() * (self.rule.most - seeds) }
    }

    /// Returns the arm to choose; `None` before the first look.
    ///
    /// At the end this is the leader. If the race is open or ran out of seeds, it is the highest median among the
    /// leader and the open arms: a single collapsed seed moves the mean of a few seeds far more than their median.
    pub fn pick(&self) -> Option<Scored> {
        let look = self.looks.last()?;
        let leader = look.contest.leader().scored;
        if matches!(look.end, Some(End::Decided | End::Equivalent)) {
            return Some(leader);
        }
        let candidates = std::iter::once(leader).chain(look.open.iter().map(|arm| arm.scored));
        candidates.max_by(|first, second| self.median(first).total_cmp(&self.median(second)))
    }

    /// Estimates how many seeds the leader and an open arm need until that arm is dropped, if means and deviations
    /// stay the same (errors shrink with the square root of the number of seeds). `None` if the means are equal and
    /// the margin is 0.
    pub fn seeds_to_settle(&self, arm: &Arm) -> Option<f64> {
        let lag = self.looks.last()?.contest.leader().mean - arm.mean;
        let (error, room) = (arm.above_leader + lag, lag + self.rule.margin);
        (room > 0.0).then(|| (arm.seeds as f64 * (error / room).powi(2)).ceil())
    }

    fn median(&self, at: &Scored) -> f64 {
        let mut scores = self.scores[at].clone();
        scores.sort_by(f64::total_cmp);
        quantile(&scores, 0.5)
    }

    /// Arms that are not dropped, in the original order.
    fn left(&self) -> Vec<Scored> {
        let is_left = |at: &&Scored| self.dropped().all(|arm| arm.scored != **at);
        self.arms.iter().filter(is_left).copied().collect()
    }

    /// Noise estimated from all scores: those of dropped arms, too, inform the spread of the others.
    fn noise(&self) -> Noise {
        let mut frame = FrameBuilder::default();
        for (at, scores) in &self.scores {
            for (seed, &score) in (0..).zip(scores) {
                frame.begin("choice", *at, Some(seed));
                frame.number(Measure::from(Metric::Auroc), Some(score));
            }
        }
        Noise::measured(&frame.frame())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Axes, backbone::Name::ResNet18, data::Share, method::Name};

    const ARMS: [Name; 4] = [Name::Supervised, Name::SimClr, Name::Byol, Name::Dino];

    fn at(method: Name) -> Scored {
        Axes::table_1(method, ResNet18, Share::NATURAL).converged()
    }

    /// Runs a race with deterministic scores.
    fn run(most: usize, score: impl Fn(Name, u64) -> f64) -> Elimination {
        let rule = Rule::new(ARMS.len(), most, 0.02).unwrap();
        let mut elimination = Elimination::new(&ARMS.map(at), rule);
        while elimination.end().is_none() {
            let wanted = elimination.pending();
            let scores: Vec<f64> =
                wanted.iter().map(|(at, seed)| score(at.cell.method.unwrap(), *seed)).collect();
            let left = elimination.max_remaining();
            elimination.judge_scores(&scores).unwrap();
            assert!(elimination.max_remaining() <= left - wanted.len());
        }
        assert_eq!(elimination.pending(), []);
        elimination
    }

    /// Deterministic fluctuation.
    fn wave(method: Name, seed: u64) -> f64 {
        libm::sin(1.0 + 7.0 * method as usize as f64 + 2.4 * seed as f64)
    }

    #[test]
    fn who_is_beaten_is_not_trained_again() {
        let found = run(8, |method, seed| {
            let mean = match method {
                Name::SimClr => 0.9,
                Name::Byol => 0.85,
                _ => 0.6,
            };
            mean + 0.004 * wave(method, seed)
        });
        assert_eq!((found.end(), found.pick()), (Some(End::Decided), Some(at(Name::SimClr))));
        let first: Vec<Scored> = found.looks()[0].dropped.iter().map(|arm| arm.scored).collect();
        assert!(first.contains(&at(Name::Supervised)) && first.contains(&at(Name::Dino)), "{found:?}");
        assert_eq!(found.scores(&at(Name::Dino)).len(), FIRST);
        assert!(found.trainings() < 4 * 8);
    }

    #[test]
    fn equals_end_as_equals() {
        let found = run(20, |method, seed| 0.8 + 0.004 * wave(method, seed));
        assert_eq!(found.end(), Some(End::Equivalent));
        assert!(found.dropped().all(|arm| arm.above_leader <= 0.02));
    }

    #[test]
    fn who_was_given_up_as_an_equal_is_remembered() {
        // BYOL equals SimCLR, which is recognised early; DINO is beaten only later.
        let found = run(12, |method, seed| match method {
            Name::SimClr | Name::Byol => 0.9 + 0.002 * wave(method, seed),
            Name::Dino => 0.86 + 0.05 * wave(method, seed),
            _ => 0.5 + 0.002 * wave(method, seed),
        });
        let looks: Vec<Vec<Scored>> =
            found.looks().iter().map(|look| look.dropped.iter().map(|arm| arm.scored).collect()).collect();
        let [earlier @ .., last] = &looks[..] else { panic!("no look") };
        let equals = [at(Name::SimClr), at(Name::Byol)];
        assert!(earlier.iter().flatten().any(|dropped| equals.contains(dropped)), "{looks:?}");
        assert_eq!(last, &[at(Name::Dino)]);
        assert_eq!(found.end(), Some(End::Equivalent));
    }

    #[test]
    fn what_is_open_at_the_last_seed_is_said() {
        let found = run(3, |method, seed| 0.8 + 0.05 * wave(method, seed));
        assert_eq!(found.end(), Some(End::Seeds));
        let look = found.looks().last().unwrap();
        assert_eq!(look.seeds, 3);
        for arm in &look.open {
            // By hand: with that many seeds the error equals what the margin leaves.
            let seeds = found.seeds_to_settle(arm).unwrap();
            let lag = look.contest.leader().mean - arm.mean;
            let bound = |seeds: f64| (arm.above_leader + lag) * (3.0 / seeds).sqrt() - lag;
            assert!(bound(seeds) <= 0.02 && bound(seeds - 1.0) > 0.02, "{seeds}");
        }
    }

    #[test]
    fn a_collapsed_seed_does_not_lose_the_guess() {
        let found = run(5, |method, seed| match (method, seed) {
            (Name::SimClr, 1) => 0.5,
            (Name::SimClr, _) => 0.9 + 0.005 * wave(method, seed),
            _ => 0.85 + 0.005 * wave(method, seed),
        });
        assert_eq!((found.end(), found.pick()), (Some(End::Seeds), Some(at(Name::SimClr))));
        assert_ne!(found.looks().last().unwrap().contest.leader().scored, at(Name::SimClr));
    }

    #[test]
    fn what_cannot_be_chosen_from_is_refused() {
        for (rule, expected) in [
            (Rule::new(1, 5, 0.02), "nothing to choose from: 1 arm"),
            (Rule::new(11, 1, 0.02), "at least 2 seeds are needed, found 1"),
            (Rule::new(11, 5, f64::NAN), "expected a margin of at least 0"),
            (Rule::new(11, 5, f64::INFINITY), "expected a margin of at least 0, found inf"),
            (Rule::new(11, 5, -0.25), "expected a margin of at least 0, found -0.25"),
        ] {
            let error = rule.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let mut same = Elimination::new(&ARMS.map(at), Rule::new(ARMS.len(), 3, 0.02).unwrap());
        assert!(same.judge_scores(&[0.5; 3]).unwrap_err().to_string().contains("expected 8 scores, found 3"));
        assert!(same.judge_scores(&[0.5; 8]).unwrap_err().to_string().contains("no seed moved any score"));
    }

    #[test]
    fn looks_share_the_level() {
        let level = |most| Rule::new(11, most, 0.02).unwrap().level();
        assert!((level(2) - ALPHA).abs() < 1e-6, "one look has all of it");
        assert!(level(8) < level(3) && level(8) > ALPHA / 7.0, "{}", level(8));
    }

    /// Trainings are listed seed by seed, and within a seed in the order of the arms; each later look needs one more
    /// seed of every remaining arm.
    #[test]
    fn what_is_wanted_and_what_it_costs_is_told_look_by_look() {
        let rule = Rule::new(ARMS.len(), 4, 0.02).unwrap();
        let mut race = Elimination::new(&ARMS.map(at), rule);
        assert_eq!((race.pick(), race.end(), race.trainings(), race.max_remaining()), (None, None, 0, 16));
        let wanted = |race: &Elimination| -> Vec<(Name, u64)> {
            race.pending().iter().map(|(at, seed)| (at.cell.method.unwrap(), *seed)).collect()
        };
        let [a, b, c, d] = ARMS;
        assert_eq!(wanted(&race), [(a, 0), (b, 0), (c, 0), (d, 0), (a, 1), (b, 1), (c, 1), (d, 1)]);
        // The third is beaten at once; the others are too uncertain to be.
        race.judge_scores(&[0.80, 0.83, 0.10, 0.81, 0.84, 0.80, 0.101, 0.86]).unwrap();
        assert_eq!(race.scores(&at(a)), [0.80, 0.84]);
        assert_eq!(race.scores(&at(d)), [0.81, 0.86]);
        let dropped: Vec<Scored> = race.dropped().map(|arm| arm.scored).collect();
        assert_eq!((dropped, race.looks()[0].seeds), (vec![at(c)], 2));
        assert_eq!((race.trainings(), race.max_remaining()), (8, 6));
        assert_eq!(wanted(&race), [(a, 2), (b, 2), (d, 2)]);
        assert_eq!(race.pick(), Some(at(d)), "the highest median among those that are open");
        let error = race.judge_scores(&[0.8, f64::NAN, 0.8]).unwrap_err().to_string();
        assert!(
            error.starts_with("seed 2 of ") && error.contains("SimClr") && error.ends_with("scored NaN"),
            "{error}"
        );
    }

    /// With equal means and no margin, no number of seeds tells which is better.
    #[test]
    fn what_is_exactly_equal_is_never_settled_without_a_margin() {
        let race = |margin: f64| {
            let mut race = Elimination::new(&ARMS.map(at)[..2], Rule::new(2, 5, margin).unwrap());
            race.judge_scores(&[0.5, 0.75, 0.75, 0.5]).unwrap();
            race.seeds_to_settle(&race.looks()[0].open[0].clone())
        };
        assert_eq!(race(0.0), None);
        // Error e and margin m with two seeds: 2 (e / m)^2; a tenth of the margin needs a hundred times as many.
        let (coarse, fine) = (race(0.02).unwrap(), race(0.002).unwrap());
        assert!(coarse > 2.0 && (fine / coarse / 100.0 - 1.0).abs() < 0.01, "{coarse} {fine}");
    }

    /// Before the first look nothing is known of the seeds that an arm needs. Each look is judged at the rule's level: an
    /// arm that is beaten at 5 % in one look alone stays.
    #[test]
    fn one_look_of_many_beats_less_than_a_single_one() {
        let arms = ARMS.map(at);
        let scores = [0.80, 0.70, 0.83, 0.72];
        let dropped = |most: usize| {
            let mut race = Elimination::new(&arms[..2], Rule::new(2, most, 0.0).unwrap());
            let arm = Arm {
                scored: arms[0],
                mean: 0.5,
                seeds: 2,
                may_be_best: true,
                above_leader: 0.1,
                may_lose: 0.1,
            };
            assert_eq!(race.seeds_to_settle(&arm), None);
            let look = race.judge_scores(&scores).unwrap();
            let bound = look.contest.0[1].above_leader;
            let expected = {
                let noise = race.noise();
                let left = [(arms[0], 0.815, 2), (arms[1], 0.71, 2)];
                let level = Rule::new(2, most, 0.0).unwrap().level();
                Contest::pairwise(&noise, &Metric::Auroc.into(), &left, level).unwrap().0[1].above_leader
            };
            assert!((bound - expected).abs() < 1e-12, "{bound} {expected}");
            bound
        };
        // The more looks there are, the wider is the bound of each.
        assert!(dropped(2) < dropped(3) && dropped(3) < dropped(12), "{} {}", dropped(2), dropped(12));
    }

    /// The spread over seeds is estimated from all arms, also from those that were dropped.
    #[test]
    fn who_was_dropped_still_tells_how_seeds_spread() {
        let rule = Rule::new(ARMS.len(), 4, 0.02).unwrap();
        let level = rule.level();
        let mut race = Elimination::new(&ARMS.map(at), rule);
        race.judge_scores(&[0.80, 0.83, 0.10, 0.81, 0.84, 0.80, 0.101, 0.86]).unwrap();
        let found = race.judge_scores(&[0.79, 0.85, 0.83]).unwrap().contest.clone();
        let all = [&[0.80, 0.84, 0.79][..], &[0.83, 0.80, 0.85], &[0.10, 0.101], &[0.81, 0.86, 0.83]];
        let bounds = |known: &[usize]| -> Vec<f64> {
            let mut frame = FrameBuilder::default();
            for &arm in known {
                for (seed, score) in (0..).zip(all[arm]) {
                    frame.begin("choice", at(ARMS[arm]), Some(seed));
                    frame.number(Measure::from(Metric::Auroc), Some(*score));
                }
            }
            let left: Vec<_> = [0, 1, 3].map(|arm| (at(ARMS[arm]), mean(all[arm]), 3)).into();
            let noise = Noise::measured(&frame.frame());
            let contest = Contest::pairwise(&noise, &Metric::Auroc.into(), &left, level).unwrap();
            contest.0.iter().map(|arm| arm.above_leader).collect()
        };
        let (whole, part) = (bounds(&[0, 1, 2, 3]), bounds(&[0, 1, 3]));
        for (arm, (expected, other)) in found.0.iter().zip(whole.iter().zip(part)).skip(1) {
            assert!((arm.above_leader - expected).abs() < 1e-9, "{found:?}, expected {whole:?}");
            assert!((arm.above_leader - other).abs() > 1e-4, "the dropped arm is calmer: {found:?}");
        }
    }
}
