//! `--hours`: which trainings still fit into the time.

use std::{cell::RefCell, time::Instant};

use anyhow::Result;
use skewbench::{
    experiment::{Cell, Resolved, calibrate},
    results::Folder,
};

use crate::{asked::Run, support::pulse::duration};

/// The remaining time, and how long a training takes.
pub struct Clock<'a> {
    begun: Instant,
    /// The time limit, in seconds.
    limit: Option<f64>,
    folder: &'a Folder,
    run: &'a Run,
    /// Largest number of seeds of an arm.
    seeds: usize,
    refused: RefCell<Option<Refusal>>,
}

/// The first training that did not fit into the time.
#[derive(Clone)]
pub struct Refusal {
    pub cell: String,
    /// Seconds that the training would take.
    pub takes: f64,
    /// Seconds that were left.
    pub left: f64,
    /// Seconds of the time limit.
    pub limit: f64,
}

impl<'a> Clock<'a> {
    pub fn new(hours: Option<f64>, folder: &'a Folder, run: &'a Run, seeds: usize) -> Self {
        let limit = hours.map(|hours| hours * 3_600.0);
        Self { begun: Instant::now(), limit, folder, run, seeds, refused: RefCell::default() }
    }

    /// Returns whether a training fits. After the first that does not fit, none does, because an incomplete round
    /// is useless.
    pub fn admits(&self, resolved: &Resolved) -> bool {
        let Some(limit) = self.limit else { return true };
        if self.refused.borrow().is_some() {
            return false;
        }
        // A training that cannot be timed will fail as well: let it start and report why.
        let Ok(takes) = self.estimate(resolved) else { return true };
        let left = limit - self.begun.elapsed().as_secs_f64();
        if takes > left {
            *self.refused.borrow_mut() = Some(Refusal { cell: resolved.cell.id(), takes, left, limit });
        }
        takes <= left
    }

    /// Returns the first training that did not fit, if any.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.borrow().clone()
    }

    /// Returns the mean seconds per finished seed of an arm; `None` if none is finished.
    pub fn mean_seconds(&self, arm: &Cell) -> Option<f64> {
        let find = |seed| self.folder.find(&Cell { seed, ..*arm }.id()).ok().flatten();
        let finished = (0..self.seeds as u64).filter_map(find);
        let seconds: Vec<f64> =
            finished.map(|record| record.cost.train_seconds + record.cost.evaluate_seconds).collect();
        (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
    }

    /// Estimates the seconds of a training: from other seeds of its arm, or by timing a few of its steps. The
    /// latter overestimates on a busy machine, and is limited to twice the slowest arm so far.
    fn estimate(&self, resolved: &Resolved) -> Result<f64> {
        /// Extra time for probes and label-free metrics, relative to the timed steps. Ours.
        const ON_TOP: f64 = 1.25;
        /// How much slower than the slowest arm so far an arm may be. Ours: about how much methods' costs differ.
        const SLOWER: f64 = 2.0;
        /// The timed steps grow until one takes about this many seconds.
        const ENOUGH: f64 = 0.25;
        if let Some(known) = self.mean_seconds(&resolved.cell) {
            return Ok(known);
        }
        let pace =
            calibrate::pace(resolved, ENOUGH, self.run.sources.fits_in_memory(resolved, &self.run.plan))?;
        let (train, evaluate) = (resolved.image_passes() as f64, resolved.evaluation_passes() as f64);
        let timed = ON_TOP * (pace.train * train + pace.evaluate * evaluate);
        let arms = self.run.cells.iter().filter(|cell| cell.seed == 0 && !cell.is_floor());
        let slowest = arms.filter_map(|arm| self.mean_seconds(arm)).reduce(f64::max);
        Ok(slowest.map_or(timed, |slowest| timed.min(SLOWER * slowest)))
    }
}

impl Refusal {
    pub fn in_words(&self) -> String {
        let [takes, left, limit] = [self.takes, self.left, self.limit].map(duration);
        format!("{} takes about {takes}, but only {left} of {limit} are left", self.cell)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::support::alone::Standalone;
    use crate::{
        asked::{Lists, Request},
        support::committed,
    };

    #[test]
    fn a_training_begins_if_it_ends_in_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let flags = "--study table1 --only simclr-resnet18 --shares 45% --seeds 3 --quick";
        let asked = Standalone::<Request>::parse_from(flags.split_whitespace()).arguments;
        let run = asked.run(Lists::Read(root.path())).unwrap();
        let resolved = run.resolve().unwrap();
        let next = &resolved[2];
        // 36 and 40 minutes, including evaluation.
        for (seed, train, evaluate) in [(0, 2_000.0, 160.0), (1, 2_100.0, 300.0)] {
            let mut record = committed::record("table1", "simclr", seed);
            (record.cost.train_seconds, record.cost.evaluate_seconds) = (train, evaluate);
            folder.write(&record).unwrap();
        }
        let clock = |hours| Clock::new(hours, &folder, &run, 3);
        assert_eq!(clock(None).mean_seconds(&next.cell), Some(2_280.0), "the mean of both");
        assert!(clock(None).admits(next) && clock(None).refused().is_none());
        assert!(clock(Some(1.0)).admits(next), "38 minutes of 60");
        let short = clock(Some(0.5));
        assert!(!short.admits(next), "38 minutes of 30");
        let refused = short.refused().unwrap();
        assert_eq!((refused.takes, refused.limit), (2_280.0, 1_800.0));
        let said = Refusal { left: 1_200.0, ..refused.clone() }.in_words();
        assert_eq!(
            said,
            "table1/simclr-resnet18-share45-seed2 takes about 38 min, but only 20 min of 30 min are left"
        );
        // An incomplete round is useless: after a training that did not fit, none starts.
        let fast = Clock { limit: Some(1e9), ..short };
        assert!(!fast.admits(next));
        // A third seed does not count if arms are limited to two.
        let mut slow = committed::record("table1", "simclr", 2);
        slow.cost.train_seconds = 1e6;
        folder.write(&slow).unwrap();
        assert_eq!(Clock::new(None, &folder, &run, 2).mean_seconds(&next.cell), Some(2_280.0));
        let other = Cell { backbone: skewbench::backbone::Name::ViTTiny, ..next.cell };
        assert_eq!(clock(None).mean_seconds(&other), None, "another arm");
    }

    /// Without a record, an arm is estimated from its own steps, but at no more than twice the slowest arm's time.
    /// Floors, which may take long on many images, and faster arms do not count.
    #[test]
    fn no_arm_is_taken_to_be_much_slower_than_the_slowest() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let only = "supervised-resnet18,simclr-resnet18,byol-resnet18,none-resnet18";
        let flags = format!("--study table1,floors --only {only} --shares 45% --quick --side 32 --width 4");
        let asked = Standalone::<Request>::parse_from(flags.split_whitespace()).arguments;
        let run = asked.run(Lists::Read(root.path())).unwrap();
        let resolved = run.resolve().unwrap();
        let other = resolved.iter().find(|cell| cell.cell.id().contains("supervised")).unwrap();
        let clock = Clock::new(None, &folder, &run, 3);
        for (study, method, seconds) in [("random_weights", "none", 1e9), ("table1", "byol", 1e-7)] {
            let mut record = committed::record(study, method, 0);
            (record.cost.train_seconds, record.cost.evaluate_seconds) = (seconds, seconds);
            folder.write(&record).unwrap();
            assert!(run.cells.iter().any(|cell| cell.id() == record.cell.id), "{}", record.cell.id);
        }
        let mut record = committed::record("table1", "simclr", 0);
        for (train, evaluate, expected) in [(1e-6, 0.5e-6, Some(3e-6)), (1e9, 0.0, None)] {
            (record.cost.train_seconds, record.cost.evaluate_seconds) = (train, evaluate);
            folder.write(&record).unwrap();
            let found = clock.estimate(other).unwrap();
            std::fs::remove_file(folder.record_path(&record.cell.id)).unwrap();
            match expected {
                Some(expected) => assert!((found - expected).abs() < 1e-12, "{found}"),
                None => assert!(found > 1e-3 && found < 1e6, "its own steps: {found}"),
            }
        }
    }
}
