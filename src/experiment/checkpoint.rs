//! When a cell's state is kept while it trains, and whether a kept one is gone on from.
//!
//! Seconds after a resume: those of the state that is gone on from plus those since. What was done after that
//! state was kept is done again and counts once, and the time between two processes does not count: seconds
//! of epochs, and of training, are what one process would have taken.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::Event;
use crate::{
    results::{self, Folder, provenance, record::Provenance},
    train::{Part, Progress, checkpoint::State},
};

/// Where the state of a cell is kept while it trains, and how often.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub path: PathBuf,
    /// Besides at the end of every epoch.
    pub every: Duration,
}

impl Checkpoint {
    /// Ours: what a kill costs at most.
    const EVERY: Duration = Duration::from_secs(300);

    /// In a results folder.
    pub fn new(folder: &Folder, cell: &str) -> Self {
        Self { path: folder.checkpoint(cell), every: Self::EVERY }
    }
}

/// Keeps the state of one cell, and the time that it took.
pub(super) struct Keeper<'a> {
    checkpoint: Option<&'a Checkpoint>,
    /// What every state of this cell says of itself.
    notes: BTreeMap<String, String>,
    pub from: Option<State>,
    /// Seconds up to the state gone on from.
    before: f64,
    begun: Instant,
    kept: Instant,
    /// Seconds from the beginning of training to the end of each epoch.
    pub epoch_ends: Vec<f64>,
    /// Seconds by what they went to.
    pub parts: BTreeMap<String, f64>,
    /// When the last of these ended.
    lap: Instant,
    /// Processes that worked on the cell before this one and left a state.
    pub resumed: usize,
    /// Other machines that worked on it.
    pub elsewhere: Option<String>,
}

/// Names under which this file keeps its own.
const EPOCH_ENDS: &str = "clock/epoch_ends";
const ELAPSED: &str = "clock/elapsed";
const PARTS: &str = "clock_part";
const FINGERPRINT: &str = "fingerprint";
const BUILD: &str = "build";
const MACHINE: &str = "machine";
const RESUMED: &str = "resumed";

impl<'a> Keeper<'a> {
    /// Takes up what is kept of the cell, if it is this experiment's, whole, and of this very build. A torn one, and
    /// one of another build (whose sums might round otherwise), is put aside and told of: the cell begins anew.
    ///
    /// # Errors
    /// If a whole one is of another experiment under the same name: it may be somebody's day of work.
    pub fn open(
        checkpoint: Option<&'a Checkpoint>,
        fingerprint: &str,
        provenance: &Provenance,
        progress: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let machine = format!("{}, {}", provenance.device, provenance.cpu);
        let own = [(FINGERPRINT, fingerprint), (BUILD, provenance::build()), (MACHINE, &machine)];
        let notes = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let now = Instant::now();
        let mut keeper = Self {
            checkpoint,
            notes,
            from: None,
            before: 0.0,
            begun: now,
            kept: now,
            epoch_ends: Vec::new(),
            parts: BTreeMap::new(),
            lap: now,
            resumed: 0,
            elsewhere: None,
        };
        let Some(Checkpoint { path, .. }) = checkpoint.filter(|checkpoint| checkpoint.path.exists()) else {
            return Ok(keeper);
        };
        let (state, notes) = match State::read(path) {
            Ok(found) => found,
            Err(error) => {
                keeper.put_aside(&format!("{error:#}"), progress)?;
                return Ok(keeper);
            }
        };
        let note = |name: &str| notes.get(name).cloned().unwrap_or_default();
        ensure!(
            note(FINGERPRINT) == fingerprint,
            "{}: training began with other settings or data: fingerprint {}, expected {}; choose another \
             --out, or remove the file to train the cell anew",
            path.display(),
            results::short(&note(FINGERPRINT)),
            results::short(fingerprint)
        );
        if note(BUILD) != provenance::build() {
            keeper.put_aside("training began with another build of skewbench", progress)?;
            return Ok(keeper);
        }
        keeper.epoch_ends = state.numbers(EPOCH_ENDS)?;
        keeper.before = state.numbers(ELAPSED)?.first().copied().context("no time in the checkpoint")?;
        for (part, seconds) in state.under(PARTS)? {
            keeper.parts.insert(part, seconds.first().copied().unwrap_or(0.0));
        }
        keeper.resumed = 1 + note(RESUMED).parse::<usize>().unwrap_or(0);
        keeper.notes.insert(RESUMED.to_owned(), keeper.resumed.to_string());
        if note(MACHINE) != machine {
            keeper.elsewhere = Some(note(MACHINE));
            // Kept for the record, however often the cell is interrupted again.
            keeper.notes.insert(MACHINE.to_owned(), note(MACHINE));
        }
        let (epoch, step) = state.position()?;
        progress(Event::Resumed { epoch, step, images: state.images()? });
        keeper.from = Some(state);
        Ok(keeper)
    }

    fn put_aside(&self, reason: &str, progress: &mut dyn FnMut(Event)) -> Result<()> {
        if let Some(Checkpoint { path, .. }) = self.checkpoint {
            let aside = path.with_extension("checkpoint-unused");
            fs::rename(path, &aside).with_context(|| format!("{}: cannot be put aside", path.display()))?;
            progress(Event::Note(&format!(
                "begins anew: {reason}; the old state is kept as {}",
                aside.display()
            )));
        }
        Ok(())
    }

    /// Training begins now.
    pub fn start(&mut self) {
        self.begun = Instant::now();
        self.kept = self.begun;
        self.lap = self.begun;
    }

    /// Counts the time since the last call, or since [`Self::start`], towards `part`.
    pub fn lap(&mut self, part: &str) {
        let now = Instant::now();
        let seconds = now.duration_since(self.lap).as_secs_f64();
        *self.parts.entry(part.to_owned()).or_default() += seconds;
        self.lap = now;
    }

    /// Seconds of training so far.
    pub fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Keeps the state at the end of an epoch, and when it was last kept long ago.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn see(&mut self, progress: &Progress) -> Result<()> {
        let (state, due) = match progress {
            Progress::Part(part) => {
                self.lap(match part {
                    Part::Data => "data",
                    Part::Update => "updates",
                });
                return Ok(());
            }
            Progress::Epoch { state, .. } => {
                self.epoch_ends.push(self.seconds());
                (state, true)
            }
            Progress::Step { state, .. } => {
                (state, self.checkpoint.is_some_and(|checkpoint| self.kept.elapsed() >= checkpoint.every))
            }
        };
        self.lap("monitors");
        if let Some(checkpoint) = self.checkpoint.filter(|_| due) {
            let mut state = state()?;
            for (part, &seconds) in &self.parts {
                state.set_numbers(&format!("{PARTS}/{part}"), &[seconds])?;
            }
            state.set_numbers(EPOCH_ENDS, &self.epoch_ends)?;
            state.set_numbers(ELAPSED, &[self.seconds()])?;
            results::write_checkpoint(&checkpoint.path, &state, &self.notes)?;
            self.kept = Instant::now();
            self.lap("checkpoints");
        }
        Ok(())
    }
}
