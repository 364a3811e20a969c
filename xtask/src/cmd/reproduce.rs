//! `cargo xtask reproduce`: the main command.

use std::{
    cell::Cell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, bail};
use skewbench::{
    analysis::{reading, tables},
    data::foreign,
    experiment::Resolved,
    named::counted,
    results::{Folder, Record, provenance, record},
};

use super::report;
use crate::{
    asked::{Idle, Lists, Request, Run},
    support::{notes, program, table},
    training::{Cells, Keep, estimate},
};

/// Train, probe and score the cells of the study.
///
/// Without flags: the cells of the paper's Table 1 and the floors, at small scale, on drawn sewer pipes, on the
/// CPU. Stop it at any moment (Ctrl-C, a kill, a power cut) and run the same command: finished cells are kept, and
/// the interrupted one resumes and ends with the same numbers. Several processes may share a results folder: each
/// trains cells that no other process is training. A closed terminal does not stop it. `report.html` in the
/// results folder is kept current: all methods are trained at the largest share first, then at the next, so it is
/// worth opening early.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask reproduce                                  all cells, about half an hour on two idle cores
  cargo xtask reproduce --quick                          all methods in miniature, minutes
  cargo xtask reproduce --only simclr --seeds 3          one method, three seeds
  cargo xtask reproduce --study all                      every table and figure, and more than the paper has
  cargo xtask reproduce --data elpv --shares natural     real solar-cell photographs
  cargo xtask reproduce --data folder=my-pipes --side 128
  cargo xtask reproduce --data elpv --shares natural --frozen mobilenet_v2.safetensors
                                                         also scores ImageNet weights
  cargo xtask reproduce --full --data sewer-ml=DIR --dry-run")]
pub struct Arguments {
    #[command(flatten)]
    asked: Request,

    #[command(flatten)]
    output: Output,

    /// Show what would be trained and how long that takes on this machine, then stop
    #[arg(long)]
    pub dry_run: bool,
}

impl Arguments {
    /// Returns which cells to train, and the results folder.
    pub fn request(&self) -> (&Request, PathBuf) {
        (&self.asked, self.asked.setup.out(self.output.out.as_deref()))
    }
}

/// What is stored, and where.
#[derive(clap::Args)]
pub struct Output {
    /// Results folder [default: results/local/<scale>-<data>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Also write event files for TensorBoard below this folder, one run per cell
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// Store no weights beside the records; then no detector or encoder can be written from them
    #[arg(long)]
    pub no_weights: bool,
}

impl Output {
    /// Returns what is stored for each cell.
    pub fn keep(&self) -> Keep<'_> {
        Keep { weights: !self.no_weights, tensorboard: self.tensorboard.as_deref() }
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let asked = &arguments.asked;
    let out = asked.setup.out(arguments.output.out.as_deref());
    let run = match asked.run(if arguments.dry_run { Lists::Read(&out) } else { Lists::Kept(&out) }) {
        Err(error) if error.is::<Idle>() => {
            println!("{error}: nothing to do");
            return Ok(());
        }
        run => run?,
    };
    // Every problem that could stop a cell is found here, before the first is trained.
    let resolved = run.resolve()?;
    run.describe(&resolved);
    if arguments.dry_run {
        estimate::print(&resolved, &run)?;
        run.print_undefined();
        return Ok(());
    }
    let folder = Folder::open(&out)?;
    let all: Vec<&Resolved> = resolved.iter().collect();
    let keep = arguments.output.keep();
    let current = Current::new(&out);
    let cells =
        Cells { resolved: &all, folder: &folder, keep, may_begin: &|_| true, trained: &|| current.renew() };
    let unreadable = cells.ensure_ours()?;
    cells.ensure_pretrained()?;
    run.sources.write_lists(&folder)?;
    note_run(
        &folder,
        record::Run {
            command: program::command(),
            provenance: provenance::collect(&run.plan.device),
            times: 1,
            cells: resolved.iter().map(|cell| (cell.cell.id(), cell.image_passes())).collect(),
        },
    )?;
    let (records, failed) = cells.train(unreadable)?;
    sum_up(&folder, &out, (&run, &resolved), &records)?;
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} cells failed; the others are finished, and the same command tries these again:\n  {}",
        failed.len(),
        resolved.len(),
        failed.iter().map(|failure| failure.reason.as_str()).collect::<Vec<_>>().join("\n  ")
    )
}

/// The page of a run in progress.
pub struct Current {
    out: PathBuf,
    /// Earliest time of the next update.
    next: Cell<Instant>,
}

impl Current {
    /// Time between two updates, as a multiple of the time to write one: they take at most 2 % of the run. Ours.
    const REST: u32 = 50;

    pub fn new(out: &Path) -> Self {
        Self { out: out.to_owned(), next: Cell::new(Instant::now()) }
    }

    /// Writes the page, unless it was written recently.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn renew(&self) -> Result<()> {
        let begun = Instant::now();
        if begun >= self.next.get() {
            report::renew(&self.out, &self.out.join("report.html"))?;
            self.next.set(Instant::now() + begun.elapsed() * Self::REST);
        }
        Ok(())
    }
}

/// Notes in the folder which command asks for cells, and reports if the notes of earlier commands could not be
/// read.
pub fn note_run(folder: &Folder, run: record::Run) -> Result<()> {
    if let Some(aside) = folder.note_run(run)? {
        eprintln!(
            "environment.json could not be read, as after a power cut, and is kept as {}; no number depends on it",
            aside.display()
        );
    }
    Ok(())
}

fn sum_up(folder: &Folder, out: &Path, (run, cells): (&Run, &[Resolved]), records: &[Record]) -> Result<()> {
    println!("\n{}", table::render(records));
    run.print_undefined();
    if let Some(line) = run.too_few_steps(cells) {
        println!("note: {line}");
    }
    write_up(folder, out, records)
}

/// Prints notes on some records, then tables, and writes the page, of the whole folder: other commands may have
/// added cells.
pub fn write_up(folder: &Folder, out: &Path, records: &[Record]) -> Result<()> {
    tables::write(folder, &reading::read(&[out.to_owned()]))?;
    let limits: BTreeSet<&String> = records.iter().flat_map(|record| &record.data.limits).collect();
    for limit in notes::merge(limits) {
        println!("note: {}", foreign::escape_message(&limit));
    }
    let skipped = records.iter().map(|record| record.data.skipped.len()).max().unwrap_or(0);
    if skipped > 0 {
        println!(
            "note: up to {} left out of a cell; its record names them",
            counted(skipped, "unreadable image was", "unreadable images were")
        );
    }
    println!("\nrecords: {}; tables: {}", out.display(), out.join("tables").display());
    report::write(&[out.to_owned()], &out.join("report.html"))?.print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;
    use crate::support::committed;

    /// The page is written at once, then not again before some time has passed.
    #[test]
    fn the_page_of_a_run_is_renewed_now_and_then() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        folder.write(&committed::record("table1", "simclr", 0)).unwrap();
        let page = root.path().join("report.html");
        let current = Current::new(root.path());
        current.renew().unwrap();
        assert!(std::fs::read_to_string(&page).unwrap().contains("SimCLR"));
        std::fs::remove_file(&page).unwrap();
        current.renew().unwrap();
        assert!(!page.exists(), "it was written a moment ago");
        current.next.set(Instant::now());
        current.renew().unwrap();
        assert!(page.exists());
    }

    use clap::Parser;

    use crate::support::print::captured;

    #[test]
    fn what_is_kept_and_where_is_what_was_asked_for() {
        let arguments = |flags: &str| Standalone::<Arguments>::parse_from(flags.split_whitespace()).arguments;
        let plain = arguments("--quick");
        assert!(plain.output.keep().weights && plain.output.keep().tensorboard.is_none());
        assert_eq!(plain.request().1, Path::new("results/local/quick-synthetic"));
        let other = arguments("--out o --tensorboard t --no-weights --seeds 7");
        let keep = other.output.keep();
        assert_eq!((keep.weights, keep.tensorboard), (false, Some(Path::new("t"))));
        assert_eq!((other.request().0.seeds, other.request().1), (Some(7), "o".into()));
    }

    /// Each limit is printed once; for images left out, the largest number of any cell.
    #[test]
    fn a_run_ends_with_notes_and_with_the_paths_of_everything() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let records: Vec<Record> = (0..3)
            .map(|seed| {
                let mut record = committed::record("table1", "simclr", seed);
                record.data.limits = vec!["drawn".to_owned(), format!("limit {}", seed / 2)];
                record.data.skipped = (0..2 * seed % 5).map(|image| format!("{image}.png")).collect();
                record
            })
            .collect();
        records.iter().for_each(|record| drop(folder.write(record).unwrap()));
        let told = captured::output(|| write_up(&folder, root.path(), &records).unwrap());
        let out = root.path().display();
        let expected = format!(
            "note: drawn\nnote: limit 0\nnote: limit 1\n\
             note: up to 4 unreadable images were left out of a cell; its record names them\n\n\
             records: {out}; tables: {out}/tables\nreport  {out}/report.html (3 records"
        );
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains("\nWhat to take ("), "the decision comes last: {told}");
        assert!(root.path().join("tables/table1.csv").exists() && root.path().join("report.html").exists());
        let told = captured::output(|| write_up(&folder, root.path(), &records[..1]).unwrap());
        assert!(!told.contains("unreadable") && !told.contains("limit 1"), "of these cells alone: {told}");
    }

    #[test]
    fn notes_of_earlier_commands_that_are_torn_are_put_aside() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let run = || record::Run {
            command: "reproduce".to_owned(),
            provenance: provenance::collect(&skewbench::candle_core::Device::Cpu),
            times: 1,
            cells: vec![("x".to_owned(), 7)],
        };
        assert_eq!(captured::errors(|| note_run(&folder, run()).unwrap()), "");
        std::fs::write(root.path().join("environment.json"), "{").unwrap();
        let told = captured::errors(|| note_run(&folder, run()).unwrap());
        assert!(told.contains("is kept as ") && told.contains("environment.json-torn"), "{told}");
        assert_eq!(folder.runs().unwrap()[0].cells, [("x".to_owned(), 7)]);
    }

    /// By hand: all 27 images fill 13 batches of two, 104 in eight epochs; the 20 images at 45 % fill 10, 80 in all.
    #[test]
    fn a_short_training_is_noted_at_the_end_whichever_cell_it_is() {
        let root = tempfile::tempdir().unwrap();
        let data = committed::pictures(&root.path().join("data"), [24, 12]);
        let flags = format!(
            "--data {data} --side 32 --width 2 --study table1 --only supervised-resnet18,mae-resnet18 --shares \
             natural,45% --epochs 8 --batch-size 2"
        );
        let asked = Standalone::<Request>::parse_from(flags.split_whitespace()).arguments;
        let run = asked.run(Lists::Read(root.path())).unwrap();
        let resolved = run.resolve().unwrap();
        let steps: Vec<usize> = resolved.iter().map(|cell| cell.image_passes() / 2).collect();
        assert_eq!(steps, [104, 80]);
        let out = root.path().join("out");
        let folder = Folder::open(&out).unwrap();
        let records = [committed::scored()];
        folder.write(&records[0]).unwrap();
        let told = captured::output(|| sum_up(&folder, &out, (&run, &resolved), &records).unwrap());
        let lines: Vec<&str> = told.lines().collect();
        let place = |begin: &str| {
            let found = lines.iter().position(|line| line.starts_with(begin));
            found.unwrap_or_else(|| panic!("no '{begin}': {told}"))
        };
        let order = [
            "Scores on all validation images.",
            "  SimCLR, ResNet-18 ",
            "mae on resnet18: ",
            "note: 1 of 2 cells train for fewer than 100 steps, the shortest for 80. ",
            "records: ",
            "report  ",
        ];
        assert!(order.map(place).is_sorted(), "{told}");
    }
}
