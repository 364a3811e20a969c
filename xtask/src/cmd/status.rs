//! `cargo xtask status`: shows the progress of a results folder, whoever works on it.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use skewbench::{
    analysis::reading,
    results::{Folder, Record},
};

use super::submit::slurm;
use crate::support::pulse::{Pulse, duration, now};

/// Show finished cells, cells in training and the rest, with the time that it will take.
///
/// Only reads the folder: processes that train, here or on machines that share it, are not disturbed.
#[derive(clap::Args)]
pub struct Arguments {
    /// Results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Refresh every two seconds until all cells are finished
    #[arg(long)]
    follow: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = Folder::existing(&arguments.folder)?;
    let mut lines = 0;
    loop {
        let (mut text, left) = render(&folder)?;
        for state in slurm::states(&arguments.folder) {
            text += &format!("  slurm        {state}\n");
        }
        // On a terminal, overwrite the previous output.
        let back = if lines > 0 { format!("\x1b[{lines}A\x1b[J") } else { String::new() };
        print!("{back}{text}");
        std::io::stdout().flush()?;
        if !arguments.follow || left == 0 {
            return Ok(());
        }
        lines = text.lines().count();
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// The state of the requested cells in a results folder.
#[derive(Default)]
struct FolderState {
    cells: usize,
    done: Vec<Record>,
    /// Why records of requested cells cannot be read.
    unreadable: Vec<String>,
    /// Why other files cannot be read.
    foreign: Vec<String>,
    /// Files beside finished records that are missing or belong to other records.
    faults: Vec<String>,
    working: Vec<(String, Pulse)>,
    interrupted: Vec<(String, Pulse)>,
    untouched: usize,
    /// Source images that remain to be trained on.
    images_left: f64,
}

impl FolderState {
    fn read(folder: &Folder) -> Result<Self> {
        let mut found = Self::default();
        let cells = match folder.runs() {
            Ok(runs) => runs.into_iter().flat_map(|run| run.cells).collect(),
            Err(error) => {
                found.foreign.push(format!("{error:#}; cells without a record are not known"));
                BTreeMap::new()
            }
        };
        found.foreign.extend(folder.unreadable(cells.keys().map(String::as_str))?);
        if cells.is_empty() {
            found.done = folder.records()?;
        }
        ensure!(
            !(cells.is_empty() && found.done.is_empty() && found.foreign.is_empty()),
            "no run has begun in this folder: it has neither records nor environment.json; \
             `cargo xtask reproduce --out` begins one"
        );
        found.cells = cells.len().max(found.done.len());
        for (cell, passes) in cells {
            found.add(folder, cell, passes);
        }
        for record in &found.done {
            match folder.faults(record) {
                Ok(faults) => found.faults.extend(faults.into_iter().map(|fault| fault.text)),
                Err(error) => found.faults.push(format!("{error:#}")),
            }
        }
        Ok(found)
    }

    /// Adds the state of a cell.
    fn add(&mut self, folder: &Folder, cell: String, passes: usize) {
        match folder.find(&cell) {
            Ok(Some(record)) => return self.done.push(record),
            Ok(None) => {}
            Err(error) => return self.unreadable.push(format!("{error:#}")),
        }
        match folder.lock_progress(&cell) {
            Ok(None) => {
                self.images_left += passes as f64;
                self.untouched += 1;
            }
            Ok(Some((text, held))) => {
                let pulse = Pulse::read(&text);
                self.images_left += passes as f64 * (1.0 - part(&pulse));
                if held { &mut self.working } else { &mut self.interrupted }.push((cell, pulse));
            }
            Err(error) => self.unreadable.push(format!("{error:#}")),
        }
    }

    /// Returns the number of unfinished cells.
    fn left(&self) -> usize {
        self.cells - self.done.len() - self.unreadable.len()
    }

    /// Returns how many records each version of the code made, if there is more than one.
    fn codes(&self) -> Option<String> {
        let mut codes: BTreeMap<String, usize> = BTreeMap::new();
        self.done.iter().for_each(|record| *codes.entry(reading::code_of(record)).or_default() += 1);
        let list: Vec<_> = codes.iter().map(|(code, count)| format!("{count} by {code}")).collect();
        (codes.len() > 1).then(|| list.join("; "))
    }
}

/// Returns the output, and the number of unfinished cells.
fn render(folder: &Folder) -> Result<(String, usize)> {
    let found = FolderState::read(folder)?;
    let mut page = format!(
        "{} of {} cells finished, {} in training, {} interrupted, {} not begun\n",
        found.done.len(),
        found.cells,
        found.working.len(),
        found.interrupted.len(),
        found.untouched
    );
    for (cell, pulse) in &found.working {
        page += &format!("  training     {cell}: {}\n", line(pulse));
    }
    for (cell, pulse) in &found.interrupted {
        page += &format!("  interrupted  {cell}: {}; the same command resumes it\n", line(pulse));
    }
    for reason in found.unreadable.iter().chain(&found.foreign) {
        page += &format!("  not read     {reason}\n");
    }
    for fault in &found.faults {
        page += &format!("  incomplete   {fault}\n");
    }
    if let Some(codes) = found.codes() {
        page += &format!("  mixed        records by several versions of the code: {codes}\n");
    }
    if found.left() > 0 {
        page += &match rate(&found.done, &found.working) {
            Some(rate) => {
                let processes = found.working.len().max(1);
                format!(
                    "about {} left with {processes} process{}, at {rate:.0} images/s each\n",
                    duration(found.images_left / rate / processes as f64),
                    if processes == 1 { "" } else { "es" }
                )
            }
            None => "no estimate yet\n".to_owned(),
        };
    }
    Ok((page, found.left()))
}

/// Returns the completed fraction of training.
fn part(pulse: &Pulse) -> f64 {
    let within = if pulse.steps > 0 { pulse.step as f64 / pulse.steps as f64 } else { 0.0 };
    ((pulse.epoch as f64 + within) / pulse.epochs.max(1) as f64).min(1.0)
}

fn line(pulse: &Pulse) -> String {
    let Pulse { process, stage, epoch, epochs, step, steps, images_per_second, .. } = pulse;
    let mut text = format!("{stage}, {epoch} of {epochs} epochs and {step} of {steps} steps");
    if let Some(loss) = pulse.loss {
        text += &format!(", loss {loss:.4}");
    }
    if let Some(rank) = pulse.rankme {
        text += &format!(", RankMe {rank:.1}");
    }
    // The rate is unknown before the first step.
    if *images_per_second > 0.0 {
        text += &format!(", {images_per_second:.0} images/s, {} to train", duration(pulse.seconds_left));
    }
    text + &format!("; process {process}, {} ago", duration(now() - pulse.unix as f64))
}

/// Returns source images per second and process, including evaluation; from cells in training if none is finished.
fn rate(done: &[Record], working: &[(String, Pulse)]) -> Option<f64> {
    let trained = done.iter().filter(|record| !record.curve.is_empty());
    let (images, seconds) = trained.fold((0.0, 0.0), |(images, seconds), record| {
        let cost = &record.cost;
        (
            images + cost.images_per_second * cost.train_seconds,
            seconds + cost.train_seconds + cost.evaluate_seconds,
        )
    });
    if seconds > 0.0 {
        return Some(images / seconds);
    }
    let rates: Vec<f64> = working.iter().map(|(_, pulse)| pulse.images_per_second).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    (mean > 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use skewbench::results;

    use super::*;
    use crate::support::committed;

    /// The rate of a committed record, computed by hand.
    #[test]
    fn evaluation_counts_as_time_that_a_cell_takes() {
        let study = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/2026-11-29-small-study");
        let file = results::files(study.as_ref())
            .unwrap()
            .into_iter()
            .find(|file| file.to_string_lossy().contains("table1/simclr-resnet18"))
            .unwrap();
        let record = results::read(&file).unwrap();
        let cost = record.cost.clone();
        assert!(cost.evaluate_seconds > 0.0 && cost.train_seconds > 0.0);
        let images = cost.images_per_second * cost.train_seconds;
        let expected = images / (cost.train_seconds + cost.evaluate_seconds);
        let found = rate(&[record.clone(), record], &[]).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} images/s, expected {expected}");
        assert_eq!(rate(&[], &[]), None);
    }

    #[test]
    fn an_epoch_counts_by_its_steps() {
        let pulse = |epoch, epochs, step, steps| Pulse { epoch, epochs, step, steps, ..Pulse::default() };
        for (pulse, expected) in [
            (pulse(0, 4, 0, 0), 0.0),
            (pulse(1, 4, 0, 10), 0.25),
            (pulse(1, 4, 5, 10), 0.375),
            (pulse(4, 4, 3, 10), 1.0),
            (pulse(0, 0, 0, 0), 0.0),
        ] {
            assert_eq!(part(&pulse), expected, "{pulse:?}");
        }
    }

    #[test]
    fn a_line_says_how_far_a_cell_is() {
        let pulse = Pulse {
            process: 7,
            stage: "training".to_owned(),
            epoch: 2,
            epochs: 5,
            step: 3,
            steps: 40,
            loss: Some(0.25),
            rankme: Some(12.34),
            images_per_second: 50.0,
            seconds_left: 90.0,
            unix: now() as u64 - 600,
        };
        let expected = "training, 2 of 5 epochs and 3 of 40 steps, loss 0.2500, RankMe 12.3, 50 images/s, \
                        1 min 30 s to train; process 7, 10 min ago";
        // Reads back what was written.
        assert_eq!(line(&Pulse::read(&pulse.text())), expected);
        let begun = Pulse { loss: None, rankme: None, images_per_second: 0.0, ..pulse };
        assert_eq!(line(&begun), "training, 2 of 5 epochs and 3 of 40 steps; process 7, 10 min ago");
    }

    /// If no cell is finished, the rate is the mean over cells in training; cells without training have no rate.
    #[test]
    fn the_rate_is_of_what_was_trained() {
        let pulse = |images_per_second| (String::new(), Pulse { images_per_second, ..Pulse::default() });
        assert_eq!(rate(&[], &[pulse(10.0), pulse(30.0)]), Some(20.0));
        let mut floor = committed::record("random_weights", "none", 0);
        floor.curve.clear();
        assert_eq!(rate(&[floor], &[pulse(0.0)]), None);
    }

    #[test]
    fn cells_are_counted_by_how_far_they_are() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert!(render(&folder).unwrap_err().to_string().contains("no run has begun"));
        let mut done = committed::record("table1", "simclr", 0);
        // 400 images took 8 seconds of training and 2 of evaluation.
        (done.cost.images_per_second, done.cost.train_seconds, done.cost.evaluate_seconds) = (50.0, 8.0, 2.0);
        folder.write(&done).unwrap();
        let names = ["simclr-0", "byol-0", "byol-1", "mae-0", "torn"];
        let mut cells: Vec<(String, usize)> = names.map(|name| (format!("table1/{name}"), 4_000)).into();
        cells[0].0.clone_from(&done.cell.id);
        std::fs::write(folder.record_path("table1/torn"), "{").unwrap();
        let provenance = results::provenance::collect(&skewbench::candle_core::Device::Cpu);
        let run = results::record::Run { command: "reproduce".to_owned(), provenance, times: 1, cells };
        folder.note_run(run).unwrap();
        let half = Pulse { epoch: 1, epochs: 2, stage: "training".to_owned(), ..Pulse::default() };
        let mut working = folder.lock("table1/byol-0").unwrap().unwrap();
        working.write_progress(&half.text()).unwrap();
        let mut interrupted = folder.lock("table1/byol-1").unwrap().unwrap();
        interrupted.write_progress(&half.text()).unwrap();
        drop(interrupted);

        let (page, left) = render(&folder).unwrap();
        let first = "1 of 5 cells finished, 1 in training, 1 interrupted, 1 not begun\n";
        assert!(page.starts_with(first), "{page}");
        assert!(page.contains("  training     table1/byol-0: training, 1 of 2 epochs"), "{page}");
        assert!(page.contains("  interrupted  table1/byol-1: training, 1 of 2 epochs"), "{page}");
        assert!(page.contains("  not read     ") && page.contains("torn.json"), "{page}");
        // Half of 4,000 images twice, and once all, at 40 per second: 200 seconds.
        assert!(page.ends_with("about 3 min 20 s left with 1 process, at 40 images/s each\n"), "{page}");
        assert_eq!(left, 3);
        drop(working);
        let (page, _) = render(&folder).unwrap();
        assert!(
            page.starts_with("1 of 5 cells finished, 0 in training, 2 interrupted, 1 not begun\n"),
            "{page}"
        );
    }

    #[test]
    fn records_of_several_versions_of_the_code_are_told() {
        let of = |code: &str| {
            let mut record = committed::record("table1", "simclr", 0);
            record.provenance.code = Some(code.repeat(12));
            record
        };
        let found = FolderState { done: vec![of("b"), of("a"), of("b")], ..FolderState::default() };
        assert_eq!(found.codes().unwrap(), "1 by code aaaaaaaaaaaa; 2 by code bbbbbbbbbbbb");
        assert_eq!(FolderState { done: vec![of("b"), of("b")], ..FolderState::default() }.codes(), None);
    }

    /// Returns a folder in which these cells were requested, each with 1,200 images.
    fn asked(root: &std::path::Path, names: &[&str]) -> Folder {
        let folder = Folder::open(root).unwrap();
        let cells = names.iter().map(|name| (format!("table1/{name}"), 1_200)).collect();
        let provenance = results::provenance::collect(&skewbench::candle_core::Device::Cpu);
        let run = results::record::Run { command: "reproduce".to_owned(), provenance, times: 1, cells };
        folder.note_run(run).unwrap();
        folder
    }

    /// Without a finished cell, the rate is that of the running processes: two processes train 2,400 images and
    /// half of 1,200, at 20 per second each.
    #[test]
    fn processes_share_what_is_left() {
        let root = tempfile::tempdir().unwrap();
        let folder = asked(root.path(), &["a", "b", "c"]);
        let (page, left) = render(&folder).unwrap();
        assert_eq!(
            page,
            "0 of 3 cells finished, 0 in training, 0 interrupted, 3 not begun\nno estimate yet\n"
        );
        assert_eq!(left, 3);
        let pulse =
            |images_per_second, epoch| Pulse { epoch, epochs: 2, images_per_second, ..Pulse::default() };
        let mut locks = [("table1/a", pulse(10.0, 0)), ("table1/b", pulse(30.0, 1))].map(|(cell, pulse)| {
            let mut lock = folder.lock(cell).unwrap().unwrap();
            lock.write_progress(&pulse.text()).unwrap();
            lock
        });
        let (page, _) = render(&folder).unwrap();
        assert!(page.ends_with("about 1 min 15 s left with 2 processes, at 20 images/s each\n"), "{page}");
        locks[0].write_progress(&pulse(0.0, 0).text()).unwrap();
    }

    #[test]
    fn what_is_missing_beside_records_and_mixed_code_are_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for (seed, code) in [(0, "a"), (1, "b")] {
            let mut record = committed::record("table1", "simclr", seed);
            record.provenance.code = Some(code.repeat(12));
            committed::state_files(&mut record);
            folder.write(&record).unwrap();
        }
        let (page, left) = render(&folder).unwrap();
        // Records that no command requested count as requested.
        assert!(
            page.starts_with("2 of 2 cells finished, 0 in training, 0 interrupted, 0 not begun\n"),
            "{page}"
        );
        assert_eq!((left, page.matches("  incomplete   ").count()), (0, 6), "three files of each: {page}");
        let mixed = "  mixed        records by several versions of the code: 1 by code aaaaaaaaaaaa; 1 by code bbbbbbbbbbbb\n";
        assert!(page.ends_with(mixed), "{page}");
    }

    /// Two commands on one folder, of which the second repeats a cell of the first.
    #[test]
    fn cells_of_every_command_count_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = asked(root.path(), &["a", "b"]);
        let cells = ["b", "c", "d"].map(|name| (format!("table1/{name}"), 1_200)).to_vec();
        let provenance = results::provenance::collect(&skewbench::candle_core::Device::Cpu);
        let run = results::record::Run { command: "choose".to_owned(), provenance, times: 1, cells };
        folder.note_run(run).unwrap();
        let (page, left) = render(&folder).unwrap();
        let begin = "0 of 4 cells finished, 0 in training, 0 interrupted, 4 not begun\n";
        assert!(page.starts_with(begin) && left == 4, "{page}");
    }

    /// Three images in five seconds are a rate, too.
    #[test]
    fn a_slow_cell_has_a_rate_and_a_time() {
        let pulse = Pulse {
            stage: "training".to_owned(),
            images_per_second: 0.6,
            seconds_left: 7_200.0,
            unix: now() as u64 - 600,
            ..Pulse::default()
        };
        let expected = "training, 0 of 0 epochs and 0 of 0 steps, 1 images/s, 2 h 00 min to train; process 0, 10 min ago";
        assert_eq!(line(&pulse), expected);
    }
}
