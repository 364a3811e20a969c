//! Trains the cells of a run, one after the other.

use std::{
    cell::Cell,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    backbone::import::Weights,
    data::{Dataset, OnBadImage},
    experiment::{self, Checkpoint, Event, Finished, Pretrained, Resolved, Stopped},
    named::counted,
    results::{Folder, Lock, Part, Record, beside},
    train::Progress,
};

use super::{display::Display, watch::Watch};
use crate::{
    asked::abbreviate,
    support::stop::{self, Halt},
};

/// The work of a run.
pub struct Cells<'a> {
    pub resolved: &'a [&'a Resolved<'a>],
    pub folder: &'a Folder,
    pub keep: Keep<'a>,
    /// Called before a cell is trained; false refuses it.
    pub may_begin: &'a dyn Fn(&Resolved) -> bool,
    /// Called after each cell that was trained here. Its errors are reported, and stop nothing.
    pub trained: &'a dyn Fn() -> Result<()>,
}

/// What is stored for a cell besides its record and its logits.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// Whether to store its trained variables.
    pub weights: bool,
    /// Folder for TensorBoard's event files.
    pub tensorboard: Option<&'a Path>,
}

/// A cell without a record.
pub struct Failure {
    pub cell: String,
    pub reason: String,
}

/// Encoders stored in a results folder.
pub struct StoredEncoders(pub PathBuf);

impl Pretrained for StoredEncoders {
    fn encoder(&self, cell: &Resolved) -> Result<Weights> {
        let folder = Folder::existing(&self.0)?;
        let id = cell.cell.id();
        let record = folder.find(&id)?.with_context(|| {
            format!(
                "{}: not trained yet; the same command with --study table1 trains it",
                folder.record_path(&id).display()
            )
        })?;
        ensure_matches(&record, cell)
            .with_context(|| format!("cell {id}, from which it starts, belongs to another experiment"))?;
        let bytes = beside::read(&folder.record_path(&id), &record, Part::Weights)
            .context("fine-tuning starts from stored weights; train the cell again without --no-weights")?;
        Ok(Weights::read(&folder.weights_path(&id), &bytes)?)
    }
}

/// The state of a cell.
enum Standing {
    /// Not finished, or being trained by another process.
    Open,
    Finished,
    Failed,
    /// It may not start.
    Refused,
}

/// The result of one pass over all cells.
#[derive(Default)]
struct Pass {
    /// Whether something was finished.
    worked: bool,
    /// Number of cells that other processes work on.
    elsewhere: usize,
}

impl Cells<'_> {
    /// Checks the content of the folder before training: removes temporary files that dead processes left, and
    /// reports what cannot be read or does not belong to its record. Returns cells whose record cannot be read,
    /// with the reason: these are left alone, and the others are trained.
    ///
    /// # Errors
    /// If a record or a checkpoint belongs to another experiment under the same name. Nothing is overwritten.
    pub fn ensure_ours(&self) -> Result<Vec<Failure>> {
        self.folder.clean();
        let (mut foreign, mut unreadable) = (Vec::<(String, Vec<String>)>::new(), Vec::new());
        for resolved in self.resolved {
            let id = resolved.cell.id();
            let reason = match self.folder.find(&id) {
                Ok(Some(record)) => ensure_matches(&record, resolved).err(),
                Ok(None) => Checkpoint::new(self.folder, &id).ensure_belongs_to(resolved).err(),
                Err(error) => {
                    unreadable.push(Failure { cell: id, reason: format!("{error:#}") });
                    continue;
                }
            };
            if let Some(reason) = reason {
                let reason = format!("{reason:#}");
                match foreign.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, cells)) => cells.push(id),
                    None => foreign.push((reason, vec![id])),
                }
            }
        }
        if foreign.is_empty() {
            self.report_faults()?;
            return Ok(unreadable);
        }
        let lines: Vec<String> =
            foreign.iter().map(|(reason, cells)| format!("  {}: {reason}", abbreviate(cells))).collect();
        bail!(
            "the folder has results of another experiment under the same names:\n{}\nchoose another --out, or move \
             these files away to compute the cells again",
            lines.join("\n")
        )
    }

    /// Reports unreadable record files of other cells, and incomplete files beside finished records.
    fn report_faults(&self) -> Result<()> {
        let ids: Vec<String> = self.resolved.iter().map(|resolved| resolved.cell.id()).collect();
        for reason in self.folder.unreadable(ids.iter().map(String::as_str))? {
            eprintln!("not read: {reason}");
        }
        for record in ids.iter().filter_map(|id| self.folder.find(id).ok().flatten()) {
            let again = self.repairable_faults(&record)?;
            for fault in self.folder.faults(&record)? {
                let what = match again.contains(&fault) {
                    true => "the cell is computed again",
                    false => "it is not written again, because of --no-weights",
                };
                eprintln!("{}: {what}", fault.text);
            }
        }
        Ok(())
    }

    /// Returns the problems of the files beside a finished record that training the cell again would fix.
    fn repairable_faults(&self, record: &Record) -> Result<Vec<beside::Fault>> {
        let mut faults = self.folder.faults(record)?;
        faults.retain(|fault| self.keep.weights || fault.part == Part::Logits);
        Ok(faults)
    }

    /// Checks that all encoders from which fine-tuning starts exist, or will.
    ///
    /// # Errors
    /// Names the first cell whose starting point would be missing.
    pub fn ensure_pretrained(&self) -> Result<()> {
        let all: HashSet<String> = self.resolved.iter().map(|resolved| resolved.cell.id()).collect();
        for resolved in self.resolved {
            let id = resolved.cell.id();
            if let Some((pretraining, kept)) = &resolved.pretraining
                && self.folder.find(&id)?.is_none()
            {
                let from = pretraining.cell.id();
                let finished = self.folder.find(&from)?;
                let is_whole =
                    |record: &Record| Ok::<_, anyhow::Error>(self.repairable_faults(record)?.is_empty());
                if !all.contains(&from) || finished.as_ref().map(is_whole).transpose()?.unwrap_or(false) {
                    kept.encoder(pretraining).with_context(|| format!("cell {id}"))?;
                }
                ensure!(
                    self.keep.weights,
                    "cell {id} starts from the weights of {from}, but --no-weights stores none; leave out --no-weights"
                );
            }
        }
        Ok(())
    }

    /// Trains what is not finished yet, one cell after the other, and waits for cells that other processes work on:
    /// if one of those processes ends early, its cell is resumed here. Returns the records in the order of cells,
    /// without those that may not start, and the cells that failed.
    ///
    /// # Errors
    /// [`Halt`], if somebody asked this process to stop.
    pub fn train(&self, unreadable: Vec<Failure>) -> Result<(Vec<Record>, Vec<Failure>)> {
        /// Time between two checks of other processes.
        const LOOK: Duration = Duration::from_secs(1);
        let mut display =
            Display::new(self.resolved.iter().map(|resolved| resolved.image_passes()).sum::<usize>() as u64);
        let mut failed = Vec::new();
        let mut cells: Vec<Standing> = self.resolved.iter().map(|_| Standing::Open).collect();
        for failure in unreadable {
            display.line(&format!("{}: {}", failure.cell, failure.reason));
            if let Some(place) = self.resolved.iter().position(|resolved| resolved.cell.id() == failure.cell)
            {
                cells[place] = Standing::Failed;
            }
            failed.push(failure);
        }
        let mut waiting = false;
        loop {
            let Pass { worked, elsewhere } = self.pass(&mut cells, &mut failed, &mut display)?;
            if elsewhere == 0 {
                break;
            }
            if !worked {
                if !waiting {
                    let cells = counted(elsewhere, "cell", "cells");
                    display.line(&format!("waiting for {cells} in training by other processes"));
                    waiting = true;
                }
                std::thread::sleep(LOOK);
            }
        }
        display.close();
        // Remove what processes that were killed meanwhile have left.
        self.folder.clean();
        let records = self.read_back(&cells, &mut failed);
        Ok((records, failed))
    }

    /// Reads the records of finished cells from the folder: keeping hundreds of them would take memory from
    /// training.
    fn read_back(&self, cells: &[Standing], failed: &mut Vec<Failure>) -> Vec<Record> {
        let mut records = Vec::new();
        let finished = self.resolved.iter().zip(cells).filter(|(_, cell)| matches!(cell, Standing::Finished));
        for (resolved, _) in finished {
            let cell = resolved.cell.id();
            match self.folder.finished(&cell) {
                Ok((_, record)) => records.push(record),
                Err(error) => failed.push(Failure { cell, reason: format!("{error:#}") }),
            }
        }
        records
    }

    /// Works on every open cell once.
    fn pass(&self, cells: &mut [Standing], failed: &mut Vec<Failure>, display: &mut Display) -> Result<Pass> {
        let stop = stop::requested();
        let halt = |display: &mut Display, last: String| {
            display.close();
            let is_finished = |resolved: &&&Resolved| self.folder.record_path(&resolved.cell.id()).exists();
            // Includes cells finished by earlier commands and by other processes.
            let finished = self.resolved.iter().filter(is_finished).count();
            Halt { last, finished, all: self.resolved.len() }
        };
        let mut pass = Pass::default();
        for number in 0..cells.len() {
            if !matches!(cells[number], Standing::Open) {
                continue;
            }
            if stop.load(Relaxed) {
                bail!(halt(display, String::new()))
            }
            let before = self.pretrained_by(number).map(|place| &cells[place]);
            if matches!(before, Some(Standing::Open)) {
                // Another process still trains the cell that it starts from.
                pass.elsewhere += 1;
                continue;
            }
            let cell = self.resolved[number].cell.id();
            cells[number] = match self.work(number, display) {
                Ok(standing) => standing,
                Err(error) => {
                    if let Some(stopped) = error.downcast_ref::<Stopped>() {
                        bail!(halt(display, format!("{cell} {stopped}. ")))
                    }
                    display.line(&format!("failed: {error:#}"));
                    failed.push(Failure { cell, reason: format!("{error:#}") });
                    Standing::Failed
                }
            };
            match cells[number] {
                Standing::Open => pass.elsewhere += 1,
                _ => pass.worked = true,
            }
        }
        Ok(pass)
    }

    /// Returns the index, among these cells, of the one whose encoder a cell starts from.
    fn pretrained_by(&self, number: usize) -> Option<usize> {
        let (pretraining, _) = self.resolved[number].pretraining.as_ref()?;
        self.resolved.iter().position(|resolved| resolved.cell == pretraining.cell)
    }

    /// Trains a cell, or repairs the files beside its record, if needed. Returns whether it is finished, refused,
    /// or still open because another process works on it.
    fn work(&self, number: usize, display: &mut Display) -> Result<Standing> {
        let (resolved, folder) = (self.resolved[number], self.folder);
        let id = resolved.cell.id();
        let title = format!("[{}/{}] {id}", number + 1, self.resolved.len());
        let finished = folder.find(&id)?;
        let is_whole = |record: &Record| Ok::<_, anyhow::Error>(self.repairable_faults(record)?.is_empty());
        let whole = finished.as_ref().map(is_whole).transpose()?.unwrap_or(false);
        let locked = folder.lock_progress(&id)?;
        let leftovers = folder.checkpoint_path(&id).exists() || locked.is_some();
        let elsewhere = locked.is_some_and(|(_, held)| held);
        match finished {
            // If there is no time to repair its files, its numbers remain valid.
            Some(_) if !leftovers && (whole || !(self.may_begin)(resolved)) => {
                display.skip(&title, resolved.image_passes());
                return Ok(Standing::Finished);
            }
            None if !elsewhere && !(self.may_begin)(resolved) => return Ok(Standing::Refused),
            _ => {}
        }
        let Some(lock) = folder.lock(&id)? else { return Ok(Standing::Open) };
        // Another process may have finished it just before this one got the lock.
        let finished = folder.find(&id)?;
        if let Some(record) = &finished {
            ensure_matches(record, resolved).with_context(|| format!("cell {id}"))?;
        }
        let finished = match finished {
            Some(record) if self.repairable_faults(&record)?.is_empty() => {
                folder.finish(&id, lock)?;
                display.skip(&title, resolved.image_passes());
                return Ok(Standing::Finished);
            }
            finished => finished,
        };
        let next = self.resolved[number + 1..].iter().map(|next| next.cell.id());
        let next = next.into_iter().find(|id| !folder.record_path(id).exists());
        display.begin(&title, next.as_deref(), resolved.image_passes(), resolved.scale.epochs);
        let record = self.train_one(resolved, lock, display, finished)?;
        display.end(&title, &record);
        if let Err(error) = (self.trained)() {
            display.line(&format!("note: {error:#}"));
        }
        Ok(Standing::Finished)
    }

    /// Trains a cell. The files beside its record reach the disk before the record does, and the record before the
    /// checkpoint is removed. `before`: its existing record, if only the files beside it are to be written again.
    fn train_one(
        &self,
        resolved: &Resolved,
        mut lock: Lock,
        display: &mut Display,
        before: Option<Record>,
    ) -> Result<Record> {
        let (folder, id) = (self.folder, resolved.cell.id());
        let checkpoint = Checkpoint::new(folder, &id).with_stop_flag(&stop::requested());
        let events = self.keep.tensorboard.map(|folder| folder.join(&id));
        let mut watch = Watch::new(display, &mut lock, resolved.scale.epochs, events.as_deref())?;
        let images = Images { folder, resolved, known: Cell::new(0) };
        let finished = experiment::run_with_checkpoint(resolved, &checkpoint, &mut |event| {
            // After an epoch every training image has been read: save this in case the process ends.
            if matches!(event, Event::Training(Progress::Epoch { .. })) {
                watch.keep_first_error(images.write());
            }
            watch.observe(&event);
        })?;
        watch.keep_first_error(images.write());
        let mut record = self.write_beside(resolved, finished)?;
        let watched = watch.end(&record);
        match before {
            // The same bytes: the existing record describes them.
            Some(before) if agree(&before, &record) => record = before,
            before => {
                if before.is_some() {
                    let aside = folder.put_aside(&id)?;
                    display.line(&format!(
                        "{id}: computed again, and its numbers differ from before; the old record is kept as {}",
                        aside.display()
                    ));
                }
                folder.write(&record)?;
            }
        }
        folder.finish(&id, lock)?;
        watched?;
        Ok(record)
    }

    /// Writes the files beside a record, and lists them in it.
    fn write_beside(&self, resolved: &Resolved, finished: Finished) -> Result<Record> {
        let (folder, id) = (self.folder, resolved.cell.id());
        let Finished { mut record, logits, detector, method } = finished;
        let mut state = |part: Part, beside| record.beside.insert(part.id().to_owned(), beside);
        if self.keep.weights && !method.parameters().all().is_empty() {
            let notes = resolved.normalisation.notes();
            state(Part::Weights, folder.write_weights(&id, method.parameters(), &notes)?);
            if let Some(detector) = &detector {
                state(Part::Detector, folder.write_detector(&id, detector)?);
            }
        }
        state(Part::Logits, folder.write_logits(&id, &logits)?);
        Ok(record)
    }
}

/// Returns whether the repeated cell's files equal those that its earlier record lists.
fn agree(before: &Record, again: &Record) -> bool {
    again.beside.iter().all(|(part, beside)| before.beside.get(part) == Some(beside))
}

/// # Errors
/// If the record does not belong to this experiment; says what differs.
fn ensure_matches(record: &Record, resolved: &Resolved) -> Result<()> {
    record.ensure_belongs_to(&resolved.identity, resolved.content().as_deref())?;
    ensure_complete(record, resolved.on_bad_image)
}

/// # Errors
/// If the record leaves out images, and that was not asked for.
fn ensure_complete(record: &Record, on_bad_image: OnBadImage) -> Result<()> {
    if on_bad_image == OnBadImage::Fail
        && let [first, ..] = &record.data.skipped[..]
    {
        bail!(
            "the stored result leaves out {}, the first is {first}; --on-bad-image skip accepts that",
            counted(record.data.skipped.len(), "unreadable image", "unreadable images")
        )
    }
    Ok(())
}

/// The lists of a cell's images in the results folder.
struct Images<'a> {
    folder: &'a Folder,
    resolved: &'a Resolved<'a>,
    /// Number of files whose content was known when the lists were last written.
    known: Cell<usize>,
}

impl Images<'_> {
    /// Writes the lists if the content of more files is known than at the last time.
    fn write(&self) -> Result<()> {
        let source = self.resolved.source;
        let splits: [&dyn Dataset; 2] = [&*source.train, &*source.validation];
        let of = |dataset: &dyn Dataset| {
            let known = |files: &skewbench::data::files::Files| {
                (0..dataset.labels().len()).filter(|&index| files.file_digest(index).is_some()).count()
            };
            dataset.files().map_or(0, known)
        };
        let known = splits.into_iter().map(of).sum();
        if known > self.known.replace(known) {
            self.folder.write_images(source)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod whole;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::support::alone::Standalone;
    use crate::{
        asked::{Lists, Request, Run},
        support::{committed, print::captured},
    };

    /// Two seeds of SimCLR on ResNet-18 at 45 %, named as by `committed::record`.
    fn run(folder: &Path) -> Run {
        let flags = "--study table1 --only simclr-resnet18 --shares 45% --seeds 2 --quick";
        Standalone::<Request>::parse_from(flags.split(' ')).arguments.run(Lists::Read(folder)).unwrap()
    }

    fn with_cells<T>(root: &Path, weights: bool, test: impl FnOnce(&Cells) -> T) -> T {
        let run = run(root);
        let (resolved, folder) = (run.resolve().unwrap(), Folder::open(root).unwrap());
        let resolved: Vec<&Resolved> = resolved.iter().collect();
        let keep = Keep { weights, tensorboard: None };
        test(&Cells {
            resolved: &resolved,
            folder: &folder,
            keep,
            may_begin: &|_| false,
            trained: &|| panic!("nothing is trained"),
        })
    }

    #[test]
    fn records_of_another_experiment_are_told_once_for_each_reason() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for seed in 0..2 {
            folder.write(&committed::record("table1", "simclr", seed)).unwrap();
        }
        let error = with_cells(root.path(), true, |cells| cells.ensure_ours().map(drop).unwrap_err());
        let error = error.to_string();
        let begin = "the folder has results of another experiment under the same names:\n  \
                     table1/simclr-resnet18-share45-seed0";
        assert!(error.starts_with(begin), "{error}");
        assert!(
            error.ends_with("\nchoose another --out, or move these files away to compute the cells again"),
            "{error}"
        );
    }

    /// A record that cannot be read is left unchanged and reported as failed. A cell that may not begin is not
    /// trained, which is not a failure.
    #[test]
    fn a_record_that_cannot_be_read_is_a_failure_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let torn = root.path().join("table1/simclr-resnet18-share45-seed1.json");
        std::fs::create_dir_all(torn.parent().unwrap()).unwrap();
        std::fs::write(&torn, "{").unwrap();
        with_cells(root.path(), true, |cells| {
            let unreadable = cells.ensure_ours().unwrap();
            let [failure] = &unreadable[..] else { panic!("{} failures", unreadable.len()) };
            assert_eq!(failure.cell, "table1/simclr-resnet18-share45-seed1");
            assert!(failure.reason.contains("seed1.json"), "{}", failure.reason);
            let (records, failed) = cells.train(unreadable).unwrap();
            assert!(records.is_empty());
            let failed: Vec<&str> = failed.iter().map(|failure| failure.cell.as_str()).collect();
            assert_eq!(failed, ["table1/simclr-resnet18-share45-seed1"]);
        });
        assert_eq!(std::fs::read_to_string(&torn).unwrap(), "{");
    }

    /// The record lists weights, a detector and logits, none of which exists.
    #[test]
    fn files_beside_a_record_are_made_again_if_they_are_to_be_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut record = committed::record("table1", "simclr", 0);
        committed::state_files(&mut record);
        Folder::open(root.path()).unwrap().write(&record).unwrap();
        let told = |weights| {
            with_cells(root.path(), weights, |cells| {
                let again = cells.repairable_faults(&record).unwrap();
                let again: Vec<&str> = again.iter().map(|fault| fault.part.id()).collect();
                (again.join(" "), captured::errors(|| cells.report_faults().unwrap()))
            })
        };
        let mut all: Vec<&str> = record.beside.keys().map(String::as_str).collect();
        all.sort_unstable();
        assert_eq!(all, ["detector", "logits", "weights"]);
        let (again, errors) = told(true);
        let mut again: Vec<&str> = again.split(' ').collect();
        again.sort_unstable();
        assert_eq!(again, all);
        assert_eq!(errors.matches(": the cell is computed again\n").count(), 3, "{errors}");
        let (again, errors) = told(false);
        assert_eq!(again, "logits");
        assert_eq!(errors.matches(": the cell is computed again\n").count(), 1, "{errors}");
        assert_eq!(
            errors.matches(": it is not written again, because of --no-weights\n").count(),
            2,
            "{errors}"
        );
    }

    #[test]
    fn a_record_without_some_images_is_taken_only_if_that_is_accepted() {
        let mut record = committed::record("table1", "simclr", 0);
        assert!(ensure_complete(&record, OnBadImage::Fail).is_ok());
        record.data.skipped = vec!["b.png".to_owned(), "a.png".to_owned()];
        assert!(ensure_complete(&record, OnBadImage::Skip).is_ok());
        let error = ensure_complete(&record, OnBadImage::Fail).unwrap_err().to_string();
        let expected = "the stored result leaves out 2 unreadable images, the first is b.png; --on-bad-image skip accepts that";
        assert_eq!(error, expected);
    }

    /// A single file that differs is enough for a mismatch; a file that is no longer kept is not compared.
    #[test]
    fn a_repeated_cell_agrees_if_all_its_files_do() {
        let mut before = committed::record("table1", "simclr", 0);
        committed::state_files(&mut before);
        let mut again = before.clone();
        assert!(agree(&before, &again));
        let first = again.beside.keys().next().unwrap().clone();
        again.beside.get_mut(&first).unwrap().bytes += 1;
        assert!(!agree(&before, &again));
        again.beside.remove(&first);
        assert!(agree(&before, &again) && !again.beside.is_empty());
        assert!(!agree(&again, &before), "a file that was not there");
    }

    /// Two records differ from what is asked for in different things.
    #[test]
    fn each_record_of_another_experiment_is_told_with_its_own_difference() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for (seed, epochs) in [(0, 71), (1, 72)] {
            let mut record = committed::record("table1", "simclr", seed);
            record.settings.values.insert("epochs".to_owned(), epochs.into());
            folder.write(&record).unwrap();
        }
        let error = with_cells(root.path(), true, |cells| cells.ensure_ours().map(drop).unwrap_err());
        let error = error.to_string();
        for (seed, epochs) in [(0, 71), (1, 72)] {
            let begin = format!("  table1/simclr-resnet18-share45-seed{seed}: ");
            let line = error.lines().find(|line| line.starts_with(&begin));
            let line = line.unwrap_or_else(|| panic!("no '{begin}': {error}"));
            assert!(line.contains(&format!("epochs: {epochs} stored, ")), "{line}");
        }
    }
}
