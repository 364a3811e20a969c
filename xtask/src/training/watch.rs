//! Observers of a cell in training: the display, the cell's lock, TensorBoard.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use skewbench::{
    experiment::Event,
    results::{Lock, Record, tensorboard::EventFile},
    train::Progress,
};

use super::display::Display;
use crate::support::pulse::{Pulse, now};

/// Forwards the events of one cell. Errors are kept until the end, because training must not stop for them.
pub struct Watch<'a> {
    display: &'a mut Display,
    lock: &'a mut Lock,
    pulse: Pulse,
    lock_written: Option<Instant>,
    events: Option<EventFile>,
    failure: Result<()>,
}

impl<'a> Watch<'a> {
    /// Minimum time between two updates of the lock.
    const EVERY: Duration = Duration::from_secs(1);

    /// Builds the observer. `tensorboard`: folder for the cell's event file.
    pub fn new(
        display: &'a mut Display,
        lock: &'a mut Lock,
        epochs: usize,
        tensorboard: Option<&Path>,
    ) -> Result<Self> {
        let pulse = Pulse { process: std::process::id(), epochs, ..Pulse::default() };
        let events = tensorboard.map(|folder| EventFile::new(folder, now())).transpose()?;
        Ok(Self { display, lock, pulse, lock_written: None, events, failure: Ok(()) })
    }

    pub fn observe(&mut self, event: &Event) {
        self.display.show(event);
        let pulse = &mut self.pulse;
        match event {
            Event::Stage(stage) => {
                pulse.stage = (*stage).to_owned();
                self.lock_written = None;
            }
            Event::Resumed { epoch, step, .. } => (pulse.epoch, pulse.step) = (*epoch, *step),
            Event::Training(Progress::Step { epoch, step, steps, loss, .. }) => {
                (pulse.epoch, pulse.step, pulse.steps) = (*epoch, *step, *steps);
                pulse.loss = Some(*loss);
            }
            Event::Training(Progress::Epoch { epoch, .. }) => {
                (pulse.epoch, pulse.step) = (epoch.epoch + 1, 0);
                pulse.rankme = epoch.monitors.get("rankme").copied();
                let own = [
                    ("training/loss", Some(epoch.loss)),
                    ("training/probe_loss", epoch.probe_loss),
                    ("training/learning_rate", Some(epoch.learning_rate)),
                ];
                let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                let monitors =
                    epoch.monitors.iter().map(|(name, &value)| (format!("monitors/{name}"), value));
                let scalars: Vec<_> = own.chain(monitors).collect();
                self.scalars(epoch.epoch + 1, &scalars);
            }
            Event::Training(Progress::Part(_)) | Event::Note(_) => return,
        }
        if self.lock_written.is_none_or(|told| told.elapsed() >= Self::EVERY) {
            self.lock_written = Some(Instant::now());
            let rate = self.display.rate();
            self.pulse.images_per_second = rate;
            self.pulse.seconds_left = self.display.left() as f64 / rate.max(1e-9);
            self.pulse.unix = now() as u64;
            let told = self.lock.write_progress(&self.pulse.text());
            self.keep_first_error(told);
        }
    }

    /// Writes the scores to TensorBoard too.
    ///
    /// # Errors
    /// The first error since [`Self::new`], if there was any.
    pub fn end(mut self, record: &Record) -> Result<()> {
        let of_all = record.scores.iter().filter(|score| score.validation_share.is_none());
        let scalars: Vec<_> = of_all
            .flat_map(|score| {
                [("f1", score.f1), ("auroc", score.auroc), ("f1_normal", score.f1_normal)]
                    .map(|(name, value)| (format!("{}/{name}", score.classifier), value))
            })
            .collect();
        self.scalars(record.curve.len(), &scalars);
        self.failure
    }

    fn scalars(&mut self, step: usize, scalars: &[(String, f64)]) {
        if let Some(events) = &mut self.events {
            let written =
                events.scalars(now(), step, scalars.iter().map(|(name, value)| (name.as_str(), *value)));
            self.keep_first_error(written);
        }
    }

    /// Keeps the first error.
    pub fn keep_first_error(&mut self, result: Result<()>) {
        if self.failure.is_ok() {
            self.failure = result;
        }
    }
}

#[cfg(test)]
mod tests {
    use skewbench::{results::Folder, train::Epoch};

    use super::*;
    use crate::support::committed;

    /// The content of the lock after each event.
    #[test]
    fn a_lock_says_how_far_its_cell_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (mut display, mut lock) = (Display::new(100), folder.lock("cell").unwrap().unwrap());
        display.begin("[1/1] cell", None, 100, 3);
        let events = root.path().join("events");
        let mut watch = Watch::new(&mut display, &mut lock, 3, Some(events.as_path())).unwrap();
        let state = || -> Result<skewbench::train::checkpoint::State> { anyhow::bail!("not asked for") };
        let step = |step| {
            let (epoch, steps, images, loss) = (1, 8, 10, 0.5);
            Event::Training(Progress::Step { epoch, step, steps, images, loss, state: &state })
        };
        let mut told = |event: &Event| {
            watch.lock_written = None;
            watch.observe(event);
            Pulse::read(&folder.lock_progress("cell").unwrap().unwrap().0)
        };
        let begun = told(&Event::Stage("training"));
        assert_eq!((begun.stage.as_str(), begun.epochs, begun.process), ("training", 3, std::process::id()));
        let resumed = told(&Event::Resumed { epoch: 1, step: 5, images: 0 });
        assert_eq!((resumed.epoch, resumed.step), (1, 5));
        let within = told(&step(6));
        assert_eq!((within.epoch, within.step, within.steps, within.loss), (1, 6, 8, Some(0.5)));
        assert!(within.images_per_second > 0.0);
        let epoch = Epoch {
            epoch: 1,
            loss: 0.25,
            probe_loss: None,
            learning_rate: 0.1,
            images: 10,
            monitors: [("rankme".to_owned(), 7.5)].into(),
        };
        let ended = told(&Event::Training(Progress::Epoch { epoch: &epoch, state: &state }));
        assert_eq!((ended.epoch, ended.step, ended.rankme), (2, 0, Some(7.5)), "the second of three is done");
        watch.keep_first_error(Err(anyhow::anyhow!("the first")));
        watch.keep_first_error(Err(anyhow::anyhow!("the second")));
        let error = watch.end(&committed::record("table1", "simclr", 0)).unwrap_err();
        assert_eq!(error.to_string(), "the first");
        let file = std::fs::read_dir(&events).unwrap().next().expect("TensorBoard has its file").unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        // A name is followed by a byte and its number.
        let number = |name: &str| {
            let place = bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect(name);
            f32::from_le_bytes(bytes[place + name.len() + 1..][..4].try_into().unwrap())
        };
        for (name, expected) in
            [("training/loss", 0.25), ("training/learning_rate", 0.1), ("monitors/rankme", 7.5)]
        {
            assert_eq!(number(name), expected, "{name}");
        }
        let record = committed::record("table1", "simclr", 0);
        let of_all = |score: &&skewbench::results::record::Score| {
            score.classifier == "converged" && score.validation_share.is_none()
        };
        let score = record.scores.iter().find(of_all).unwrap();
        assert_eq!(number("converged/auroc"), score.auroc as f32);
        assert_eq!(number("converged/f1_normal"), score.f1_normal as f32);
    }

    /// Writing the lock at every step would be slow; a new stage is written at once.
    #[test]
    fn a_lock_is_written_once_a_second_and_at_every_stage() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (mut display, mut lock) = (Display::new(100), folder.lock("cell").unwrap().unwrap());
        display.begin("[1/1] cell", None, 100, 3);
        let mut watch = Watch::new(&mut display, &mut lock, 3, None).unwrap();
        let state = || -> Result<skewbench::train::checkpoint::State> { anyhow::bail!("not asked for") };
        let step = |step| {
            let (epoch, steps, images, loss) = (1, 8, 10, 0.5);
            Event::Training(Progress::Step { epoch, step, steps, images, loss, state: &state })
        };
        let kept = || Pulse::read(&folder.lock_progress("cell").unwrap().unwrap().0);
        watch.observe(&step(1));
        assert_eq!(kept().step, 1);
        assert!(watch.lock_written.is_some(), "the moment is kept");
        watch.lock_written = Some(Instant::now());
        watch.observe(&step(2));
        assert_eq!(kept().step, 1, "a moment later");
        watch.observe(&Event::Stage("probe"));
        assert_eq!((kept().stage.as_str(), kept().step), ("probe", 2));
        watch.lock_written = Instant::now().checked_sub(Duration::from_millis(1_001));
        watch.observe(&step(3));
        assert_eq!(kept().step, 3, "a second later");
        // Thirty of a hundred images are done.
        let expected = 70.0 / watch.pulse.images_per_second;
        assert!((watch.pulse.seconds_left / expected - 1.0).abs() < 1e-9);
        assert!(kept().unix.abs_diff(now() as u64) <= 1);
    }

    /// Every scalar that TensorBoard gets, with its step, by its own name.
    #[test]
    fn tensorboard_has_every_number_under_its_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (mut display, mut lock) = (Display::new(100), folder.lock("cell").unwrap().unwrap());
        let events = root.path().join("events");
        let mut watch = Watch::new(&mut display, &mut lock, 3, Some(events.as_path())).unwrap();
        let state = || -> Result<skewbench::train::checkpoint::State> { anyhow::bail!("not asked for") };
        let epoch = Epoch {
            epoch: 4,
            loss: 0.25,
            probe_loss: Some(0.75),
            learning_rate: 0.125,
            images: 10,
            monitors: [("rankme".to_owned(), 7.5), ("spread".to_owned(), 8.5)].into(),
        };
        watch.observe(&Event::Training(Progress::Epoch { epoch: &epoch, state: &state }));
        let mut record = committed::scored();
        record.scores.retain(|score| ["converged", "in_training"].contains(&score.classifier.as_str()));
        for score in &mut record.scores {
            score.f1_normal = if score.classifier == "converged" { 0.0625 } else { 0.03125 };
        }
        let epochs = record.curve.len();
        watch.end(&record).unwrap();
        let file = std::fs::read_dir(&events).unwrap().next().unwrap().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        // Each record has its length, a checksum, the data and another checksum; the first says only which format it is.
        let (mut at, mut told) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..][..8].try_into().unwrap()) as usize;
            told.push(&bytes[at + 12..][..length]);
            at += length + 16;
        }
        assert_eq!(told.len(), 3);
        let expected = [
            vec![
                ("training/loss", 0.25),
                ("training/probe_loss", 0.75),
                ("training/learning_rate", 0.125),
                ("monitors/rankme", 7.5),
                ("monitors/spread", 8.5),
            ],
            vec![
                ("in_training/f1", 0.5),
                ("in_training/auroc", 0.125),
                ("in_training/f1_normal", 0.03125),
                ("converged/f1", 0.25),
                ("converged/auroc", 0.875),
                ("converged/f1_normal", 0.0625),
            ],
        ];
        for ((data, step), expected) in told[1..].iter().zip([5, epochs]).zip(expected) {
            // A time of eight bytes behind its key, then the step behind its own.
            assert_eq!((data[9], usize::from(data[10])), (2 << 3, step));
            let mut found = Vec::new();
            let mut rest = &data[11..];
            while let Some(place) = rest.iter().position(|&byte| byte == 10).filter(|_| rest.len() > 2) {
                let length = usize::from(rest[place + 1]);
                let name =
                    rest.get(place + 2..place + 2 + length).and_then(|name| std::str::from_utf8(name).ok());
                match name.filter(|name| name.contains('/') && name.bytes().all(|letter| letter > b' ')) {
                    Some(name) => {
                        let number = &rest[place + 3 + length..][..4];
                        found.push((name, f32::from_le_bytes(number.try_into().unwrap())));
                        rest = &rest[place + 7 + length..];
                    }
                    None => rest = &rest[place + 1..],
                }
            }
            found.sort_by(|a, b| a.0.cmp(b.0));
            let mut expected = expected;
            expected.sort_by(|a, b| a.0.cmp(b.0));
            assert_eq!(found, expected);
        }
    }
}
