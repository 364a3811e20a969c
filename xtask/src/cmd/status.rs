//! `cargo xtask status`: how far a results folder is, whoever works on it.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use skewbench::results::{self, Folder, Record};

use crate::support::pulse::{Pulse, duration, now};

/// Show finished cells, cells in training and what is left, with the time that it will take.
///
/// Reads the folder only: processes that train, here or on machines that share it, are not disturbed.
#[derive(clap::Args)]
pub struct Arguments {
    /// Results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Show it again every two seconds, until all cells are finished
    #[arg(long)]
    follow: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.folder.is_dir(), "{}: no such folder", arguments.folder.display());
    let folder = Folder::open(&arguments.folder)?;
    let mut lines = 0;
    loop {
        let (text, left) = look(&folder)?;
        // On a terminal the last state is written over.
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

/// A page, and how many cells are not finished.
fn look(folder: &Folder) -> Result<(String, usize)> {
    let runs = folder.runs()?;
    ensure!(!runs.is_empty(), "no environment.json: `cargo xtask reproduce --out` has not begun there");
    let mut cells: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (cell, passes) in runs.iter().flat_map(|run| &run.cells) {
        if cells.insert(cell, *passes).is_none() {
            order.push(cell);
        }
    }

    let (mut done, mut working, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    let (mut images_left, mut untouched) = (0.0, 0);
    for &cell in &order {
        let images = cells[cell] as f64;
        if folder.path(cell).exists() {
            done.push(results::read(&folder.path(cell))?);
            continue;
        }
        match folder.locked(cell)? {
            Some((text, true)) => {
                let pulse = Pulse::read(&text);
                images_left += images * (1.0 - part(&pulse));
                working.push((cell, pulse));
            }
            Some((text, false)) => {
                let pulse = Pulse::read(&text);
                images_left += images * (1.0 - part(&pulse));
                stopped.push((cell, pulse));
            }
            None => {
                images_left += images;
                untouched += 1;
            }
        }
    }

    let mut page = format!(
        "{} of {} cells finished, {} in training, {} interrupted, {untouched} not begun\n",
        done.len(),
        order.len(),
        working.len(),
        stopped.len()
    );
    for (cell, pulse) in &working {
        page += &format!("  training     {cell}: {}\n", line(pulse));
    }
    for (cell, pulse) in &stopped {
        page += &format!("  interrupted  {cell}: {}; the same command goes on with it\n", line(pulse));
    }
    let left = order.len() - done.len();
    if left > 0 {
        page += &match rate(&done, &working) {
            Some(rate) => {
                let processes = working.len().max(1);
                format!(
                    "about {} left with {processes} process{}, at {rate:.0} images/s each\n",
                    duration(images_left / rate / processes as f64),
                    if processes == 1 { "" } else { "es" }
                )
            }
            None => "no estimate yet\n".to_owned(),
        };
    }
    Ok((page, left))
}

/// Part of training that is done.
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
    text += &format!(
        ", {images_per_second:.0} images/s, {} to train; process {process}, {} ago",
        duration(pulse.seconds_left),
        duration(now() - pulse.unix as f64)
    );
    text
}

/// Source images a second and process, evaluation counted in; of cells in training where none is finished.
fn rate(done: &[Record], working: &[(&str, Pulse)]) -> Option<f64> {
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
