//! When a cell's training state is saved, and whether a saved state is resumed.
//!
//! After a resume, times are those of the saved state plus those measured since. Work that was lost and repeated
//! counts once, and the time between two processes does not count: the seconds of epochs, and of training, are
//! those that a single process would have taken.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{Event, Resolved};
use crate::{
    results::{
        self, Folder,
        record::{Identity, Provenance},
    },
    train::{Part, Progress, checkpoint::State},
};

/// Where and how often the state of a cell is saved during training.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file.
    pub path: PathBuf,
    /// Interval between saves, in addition to those at the end of every epoch.
    pub every: Duration,
    /// Once it is true, the state is saved after the current step, and the cell ends with [`Stopped`].
    pub stop: Arc<AtomicBool>,
}

/// The error of a cell that was asked to stop; its state is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Completed epochs.
    pub epochs: usize,
    /// Completed steps of the next epoch.
    pub steps: usize,
}

impl fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.epochs + 1;
        match (self.epochs, self.steps) {
            (0, 0) => formatter.write_str("stopped before its first step; its state is saved"),
            (done, 0) => write!(formatter, "stopped after epoch {done}; its state is saved"),
            (_, 1) => write!(formatter, "stopped after 1 step of epoch {next}; its state is saved"),
            (_, steps) => {
                write!(formatter, "stopped after {steps} steps of epoch {next}; its state is saved")
            }
        }
    }
}

impl std::error::Error for Stopped {}

impl Checkpoint {
    /// The most training time that a kill can cost. Ours.
    const EVERY: Duration = Duration::from_secs(300);

    /// Returns the checkpoint of a cell in a results folder.
    pub fn new(folder: &Folder, cell: &str) -> Self {
        Self { path: folder.checkpoint_path(cell), every: Self::EVERY, stop: Arc::default() }
    }

    /// Returns the same checkpoint, which also ends the cell once `stop` is true.
    #[must_use]
    pub fn with_stop_flag(self, stop: &Arc<AtomicBool>) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    fn is_to_stop(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Checks that the saved state, if there is one, belongs to this experiment.
    ///
    /// # Errors
    /// If there is a complete state that belongs to another experiment; the error says what differs. A torn one is not
    /// an error: the cell then starts from scratch.
    pub fn ensure_belongs_to(&self, resolved: &Resolved) -> Result<()> {
        match State::read(&self.path) {
            Ok((state, notes)) => ensure_of(&state, &notes, resolved),
            Err(_) => Ok(()),
        }
    }
}

/// Checks that a state belongs to this experiment.
///
/// # Errors
/// If it does not; the error says what differs.
fn ensure_of(state: &State, notes: &BTreeMap<String, String>, resolved: &Resolved) -> Result<()> {
    let identity = notes.get(IDENTITY).map_or("", String::as_str);
    let there: Identity =
        serde_json::from_str(identity).context("written by another version of skewbench")?;
    let differences = there.differences(&resolved.identity);
    ensure!(
        differences.is_empty(),
        "the saved training differs from the requested one: {}",
        differences.join("; ")
    );
    resolved.ensure_unchanged(&state.bytes(FILES)?)
}

/// Saves the state of one cell and the time that it took.
pub(super) struct Keeper<'a> {
    checkpoint: Option<&'a Checkpoint>,
    resolved: &'a Resolved<'a>,
    /// Notes in every saved state of this cell: its identity, the machines, and how often it was resumed.
    notes: BTreeMap<String, String>,
    /// The state that training resumes from, if any.
    pub resume_from: Option<State>,
    /// Seconds of training up to the state that was resumed.
    before: f64,
    begun: Instant,
    /// When the state was last saved.
    kept: Instant,
    /// Seconds from the beginning of training to the end of each epoch.
    pub epoch_ends: Vec<f64>,
    /// Seconds of training by activity.
    pub parts: BTreeMap<String, f64>,
    /// End of the last activity.
    lap: Instant,
    /// Number of earlier processes that worked on the cell and left a state.
    pub resumed: usize,
    /// All machines on which the cell was trained, in the order of their first use; this one is among them.
    machines: Vec<String>,
    machine: String,
}

/// Names of the keeper's own values within the checkpoint file.
const EPOCH_ENDS: &str = "clock/epoch_ends";
const ELAPSED: &str = "clock/elapsed";
const PARTS: &str = "clock_part";
const IDENTITY: &str = "identity";
/// Digests of the image files used so far.
const FILES: &str = "files";
const MACHINE: &str = "machine";
const RESUMED: &str = "resumed";

impl<'a> Keeper<'a> {
    /// Loads the cell's saved state if it is complete and of this experiment. A torn one is renamed and reported,
    /// and the cell starts from scratch.
    ///
    /// # Errors
    /// If a complete state belongs to another experiment under the same name (other settings, labels, images, code or
    /// device): it is not overwritten, since it may hold a day of work. The error says what differs.
    pub fn open(
        checkpoint: Option<&'a Checkpoint>,
        resolved: &'a Resolved<'a>,
        provenance: &Provenance,
        progress: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let machine = format!("{}, {}", provenance.device, provenance.cpu);
        let mut keeper = Self::new(checkpoint, resolved, &machine)?;
        let Some(Checkpoint { path, .. }) = checkpoint.filter(|checkpoint| checkpoint.path.exists()) else {
            return Ok(keeper);
        };
        match State::read(path) {
            Ok((state, notes)) => {
                keeper.resume(&state, &notes).with_context(|| {
                    format!(
                        "{}: cannot be resumed; choose another --out, or remove the file to train the cell anew",
                        path.display()
                    )
                })?;
                let (epoch, step) = state.position()?;
                progress(Event::Resumed { epoch, step, images: state.images()? });
                keeper.resume_from = Some(state);
            }
            Err(error) => keeper.put_aside(&format!("{error:#}"), progress)?,
        }
        Ok(keeper)
    }

    fn new(checkpoint: Option<&'a Checkpoint>, resolved: &'a Resolved<'a>, machine: &str) -> Result<Self> {
        let own = [(IDENTITY, serde_json::to_string(&resolved.identity)?), (MACHINE, machine.to_owned())];
        let now = Instant::now();
        Ok(Self {
            checkpoint,
            resolved,
            notes: own.map(|(name, value)| (name.to_owned(), value)).into(),
            resume_from: None,
            before: 0.0,
            begun: now,
            kept: now,
            epoch_ends: Vec::new(),
            parts: BTreeMap::new(),
            lap: now,
            resumed: 0,
            machines: vec![machine.to_owned()],
            machine: machine.to_owned(),
        })
    }

    fn resume(&mut self, state: &State, notes: &BTreeMap<String, String>) -> Result<()> {
        let note = |name: &str| notes.get(name).cloned().unwrap_or_default();
        ensure_of(state, notes, self.resolved)?;
        self.epoch_ends = state.numbers(EPOCH_ENDS)?;
        self.before =
            state.numbers(ELAPSED)?.first().copied().context("no elapsed time in the checkpoint")?;
        for (part, seconds) in state.numbers_under(PARTS)? {
            self.parts.insert(part, seconds.first().copied().unwrap_or(0.0));
        }
        self.resumed = 1 + note(RESUMED).parse::<usize>().unwrap_or(0);
        self.notes.insert(RESUMED.to_owned(), self.resumed.to_string());
        // All of them are kept for the record, even if the cell is interrupted again.
        self.machines = note(MACHINE).lines().map(str::to_owned).collect();
        if !self.machines.contains(&self.machine) {
            self.machines.push(self.machine.clone());
        }
        self.notes.insert(MACHINE.to_owned(), self.machines.join("\n"));
        Ok(())
    }

    /// Returns what a reader of the record must know about how the cell was trained.
    pub fn limits(&self) -> Vec<String> {
        let elsewhere = self.machines.iter().enumerate().filter(|(_, machine)| **machine != self.machine);
        let described = elsewhere.map(|(place, machine)| match place {
            0 => format!("training began on another machine: {machine}"),
            _ => format!("a part of the training ran on another machine: {machine}"),
        });
        described.collect()
    }

    fn put_aside(&self, reason: &str, progress: &mut dyn FnMut(Event)) -> Result<()> {
        if let Some(Checkpoint { path, .. }) = self.checkpoint {
            let aside = path.with_extension("checkpoint-unused");
            fs::rename(path, &aside).with_context(|| format!("{}: cannot be renamed", path.display()))?;
            progress(Event::Note(&format!(
                "starts from scratch: {reason}; the old state is kept as {}",
                aside.display()
            )));
        }
        Ok(())
    }

    /// Starts the clock of training.
    pub fn start(&mut self) {
        self.begun = Instant::now();
        self.kept = self.begun;
        self.lap = self.begun;
    }

    /// Adds the time since the last call, or since [`Self::start`], to `part`.
    pub fn lap(&mut self, part: &str) {
        let now = Instant::now();
        let seconds = now.duration_since(self.lap).as_secs_f64();
        *self.parts.entry(part.to_owned()).or_default() += seconds;
        self.lap = now;
    }

    /// Returns the seconds of training so far.
    pub fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Reports the start of a stage after training. Training's last state is already saved.
    ///
    /// # Errors
    /// [`Stopped`], if the cell is to stop.
    pub fn stage(&self, name: &'static str, progress: &mut dyn FnMut(Event)) -> Result<()> {
        let wanted = !self.checkpoint.is_some_and(Checkpoint::is_to_stop);
        ensure!(wanted, Stopped { epochs: self.epoch_ends.len(), steps: 0 });
        progress(Event::Stage(name));
        Ok(())
    }

    /// Saves the state at the end of an epoch, when the interval has passed, and when the cell is to stop.
    ///
    /// # Errors
    /// If it cannot be written; [`Stopped`], if the cell is to stop.
    pub fn on_progress(&mut self, progress: &Progress) -> Result<()> {
        let stops = self.checkpoint.is_some_and(Checkpoint::is_to_stop);
        let (state, due, done) = match progress {
            Progress::Part(part) => {
                self.lap(match part {
                    Part::Data => "data",
                    Part::Update => "updates",
                });
                return Ok(());
            }
            Progress::Epoch { state, .. } => {
                self.epoch_ends.push(self.seconds());
                (state, true, 0)
            }
            Progress::Step { state, step, .. } => {
                let long_ago = |checkpoint: &Checkpoint| self.kept.elapsed() >= checkpoint.every;
                (state, stops || self.checkpoint.is_some_and(long_ago), *step)
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
            state.set_bytes(FILES, self.resolved.used_digests())?;
            results::write_checkpoint(&checkpoint.path, &state, &self.notes)?;
            self.kept = Instant::now();
            self.lap("checkpoints");
        }
        ensure!(!stops, Stopped { epochs: self.epoch_ends.len(), steps: done });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::Name::ResNet18,
        data::{Share, synthetic},
        experiment::{Cell, Plan, Scale, Study, run_with_checkpoint},
        method::Name::Supervised,
        results::provenance,
        seed::Seed,
    };

    fn cell() -> Cell {
        Cell {
            study: Study::Extension,
            method: Supervised,
            backbone: ResNet18,
            share: Share::NATURAL,
            seed: 2,
        }
    }

    /// Runs `test` with a cell, and the state of its first step in a file.
    fn with_state(test: impl FnOnce(&Resolved, Checkpoint)) {
        let plan = Plan::new(Scale::fixture());
        let source = synthetic::source(Seed::root(0), 80, 36, plan.scale.side);
        let resolved = plan.resolve(&cell(), &source).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.checkpoint");
        let checkpoint = Checkpoint { path, every: Duration::from_secs(300), stop: Arc::default() };
        checkpoint.stop.store(true, Relaxed);
        run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).map(drop).unwrap_err();
        checkpoint.stop.store(false, Relaxed);
        test(&resolved, checkpoint);
    }

    /// A state is saved at the end of an epoch, at the first step after the interval, and at a stop; at no other step.
    #[test]
    fn a_state_is_saved_when_it_is_due_and_the_clock_starts_anew() {
        with_state(|resolved, checkpoint| {
            let first = checkpoint.path.with_extension("first");
            fs::rename(&checkpoint.path, &first).unwrap();
            let state = || -> Result<State> { Ok(State::read(&first)?.0) };
            let step =
                |step| Progress::Step { epoch: 1, step, steps: 9, images: 32, loss: 0.5, state: &state };
            let mut keeper = Keeper::new(Some(&checkpoint), resolved, "this machine").unwrap();
            keeper.start();
            let saved = || fs::remove_file(&checkpoint.path).is_ok();
            keeper.on_progress(&Progress::Part(Part::Data)).unwrap();
            keeper.on_progress(&Progress::Part(Part::Update)).unwrap();
            keeper.on_progress(&step(1)).unwrap();
            assert!(!saved(), "not due yet");
            keeper.kept = Instant::now().checked_sub(Duration::from_secs(301)).unwrap();
            keeper.before = 500.0;
            keeper.on_progress(&step(2)).unwrap();
            let elapsed = State::read(&checkpoint.path).unwrap().0.numbers(ELAPSED).unwrap()[0];
            assert!((500.0..=keeper.seconds()).contains(&elapsed), "{elapsed}, in the middle of an epoch");
            assert!(saved(), "five minutes later");
            keeper.on_progress(&step(3)).unwrap();
            assert!(!saved(), "just saved");
            let epoch = crate::train::Epoch {
                epoch: 0,
                images: 64,
                loss: 0.5,
                probe_loss: None,
                learning_rate: 0.1,
                monitors: BTreeMap::new(),
            };
            keeper.on_progress(&Progress::Epoch { epoch: &epoch, state: &state }).unwrap();
            let (kept, notes) = State::read(&checkpoint.path).unwrap();
            assert_eq!(
                (kept.numbers(EPOCH_ENDS).unwrap(), keeper.epoch_ends.len()),
                (keeper.epoch_ends.clone(), 1)
            );
            let elapsed = kept.numbers(ELAPSED).unwrap()[0];
            assert!(elapsed >= keeper.epoch_ends[0] && elapsed <= keeper.seconds());
            let parts: Vec<String> = kept.numbers_under(PARTS).unwrap().into_keys().collect();
            assert_eq!(parts, ["checkpoints", "data", "monitors", "updates"]);
            let identity: Identity = serde_json::from_str(&notes[IDENTITY]).unwrap();
            assert_eq!((&identity, notes[MACHINE].as_str()), (&resolved.identity, "this machine"));
            assert!(!notes.contains_key(RESUMED) && saved());

            keeper.stage("features", &mut |_| {}).unwrap();
            checkpoint.stop.store(true, Relaxed);
            let stopped = |error: anyhow::Error| error.downcast_ref::<Stopped>().copied();
            let error = keeper.on_progress(&step(4)).unwrap_err();
            assert_eq!((stopped(error), saved()), (Some(Stopped { epochs: 1, steps: 4 }), true));
            let error = keeper.stage("probe", &mut |_| panic!("it stops before")).unwrap_err();
            assert_eq!(stopped(error), Some(Stopped { epochs: 1, steps: 0 }));
        });
    }

    /// Times of training go on where they were, and every machine is remembered.
    #[test]
    fn a_resumed_clock_goes_on_where_it_was() {
        with_state(|resolved, checkpoint| {
            let (mut state, mut notes) = State::read(&checkpoint.path).unwrap();
            state.set_numbers(EPOCH_ENDS, &[10.0, 30.0]).unwrap();
            state.set_numbers(ELAPSED, &[1_000.0]).unwrap();
            state.set_numbers(&format!("{PARTS}/data"), &[7.0]).unwrap();
            let first = notes[MACHINE].clone();
            let began = format!("training began on another machine: {first}");
            let ran = "a part of the training ran on another machine: second".to_owned();
            for (resumed, machine, limits) in
                [(1, "second", vec![began.clone()]), (2, "third", vec![began.clone(), ran])]
            {
                let mut keeper = Keeper::new(Some(&checkpoint), resolved, machine).unwrap();
                keeper.resume(&state, &notes).unwrap();
                assert_eq!((&keeper.epoch_ends[..], keeper.parts["data"]), (&[10.0, 30.0][..], 7.0));
                keeper.start();
                assert!((1_000.0..1_100.0).contains(&keeper.seconds()), "{}", keeper.seconds());
                keeper.lap("data");
                assert!(keeper.parts["data"] > 7.0);
                assert_eq!(keeper.resumed, resumed);
                assert_eq!(keeper.limits(), limits);
                notes.clone_from(&keeper.notes);
            }
            let machines = format!("{first}\nsecond\nthird");
            assert_eq!((notes[MACHINE].as_str(), notes[RESUMED].as_str()), (machines.as_str(), "2"));
            notes.remove(IDENTITY);
            let error = format!("{:#}", ensure_of(&state, &notes, resolved).unwrap_err());
            assert!(error.starts_with("written by another version of skewbench"), "{error}");
        });
    }

    /// A complete state of another experiment stays as it is.
    #[test]
    fn a_state_of_another_experiment_is_neither_resumed_nor_replaced() {
        with_state(|resolved, checkpoint| {
            let other =
                Plan { scale: Scale { batch_size: 16, ..Scale::fixture() }, ..Plan::new(Scale::fixture()) };
            let other = other.resolve(&cell(), resolved.source).unwrap();
            let before = fs::read(&checkpoint.path).unwrap();
            let here = provenance::collect(&other.device);
            let error = Keeper::open(Some(&checkpoint), &other, &here, &mut |_| panic!("no event"));
            let error = format!("{:#}", error.map(drop).unwrap_err());
            let expected = format!(
                "{}: cannot be resumed; choose another --out, or remove the file to train the cell anew: the saved training \
                 differs from the requested one: batch_size: 32 stored, 16 requested",
                checkpoint.path.display()
            );
            assert_eq!(error, expected);
            assert_eq!(fs::read(&checkpoint.path).unwrap(), before);
            let none = Keeper::open(None, &other, &here, &mut |_| panic!("no event")).unwrap();
            assert!(none.resume_from.is_none() && none.resumed == 0);
        });
    }
}
