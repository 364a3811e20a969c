//! `cargo xtask tune`: chooses the hyper-parameters of the short recipe with equal effort for every method on every
//! backbone.

mod choice;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Result, bail, ensure};
use skewbench::{
    analysis::{reading, tables},
    data::Share,
    experiment::{Cell, Plan, Resolved, Scale, Study, cell},
    results::{Folder, provenance, record},
};

use self::choice::Finalist;
use super::reproduce;
use crate::{
    asked::{Run, Sources},
    support::{
        program,
        source::{Choice, Purpose, Reading},
    },
    training::{Cells, Failure, Keep, estimate},
};

/// Choose learning rate, weight decay, views and one constant of each method on each backbone, by random search.
///
/// Stage one trains equally many trials of every pair with seed 0, trial 0 being the unchanged recipe; stage two
/// trains the best of each pair again with more seeds. The trial with the highest mean AUROC of the converged probe
/// is chosen. No study is scored on these images: drawn ones have a seed of their own, and of other data a part of
/// the training images is held out. Stop it at any moment and run the same command: it resumes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask tune --dry-run                      what would be trained, and how long that takes
  cargo xtask tune                                all pairs
  cargo xtask tune --only resnet18 --trials 16    one backbone, more trials
  cargo xtask tune --data elpv --out results/local/tuning-elpv")]
pub struct Arguments {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    data: Choice,

    /// Trials of each pair with seed 0; the first is the unchanged recipe
    #[arg(long, default_value_t = 8, value_name = "N")]
    trials: u16,

    /// Trials of each pair that are trained with more seeds; trial 0 is added for comparison
    #[arg(long, default_value_t = 3, value_name = "N")]
    finalists: u16,

    /// Seeds of each finalist: 0, 1, ...
    #[arg(long, default_value_t = 2, value_name = "N")]
    seeds: u64,

    /// Defect share to train at
    #[arg(long, default_value = "15%", value_name = "SHARE")]
    share: Share,

    /// Only pairs whose name contains one of these texts, such as `simclr` or `byol-vit`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,

    /// Number of drawn training images; three tenths as many are drawn for validation [default: 5000]
    #[arg(long, value_name = "N")]
    images: Option<usize>,

    /// Passes over the training set [default: small scale's]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Results folder
    #[arg(long, default_value = "results/local/tuning", value_name = "DIR")]
    out: PathBuf,

    /// Show what would be trained and how long that takes on this machine, then stop
    #[arg(long)]
    pub dry_run: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.ensure_sound()?;
    let run = arguments.open()?;
    // Every problem that could stop a trial of either stage is found here, before the first is trained.
    let (mut first, mut later): (Vec<_>, Vec<_>) =
        run.resolve()?.into_iter().partition(|resolved| resolved.cell.seed == 0);
    if arguments.dry_run {
        // The finalists are not known yet: the first trials represent them, and one more for trial 0.
        later.retain(|resolved| trial(&resolved.cell) <= arguments.finalists);
        first.append(&mut later);
        run.describe(&first);
        return estimate::print(&first, &run);
    }
    let folder = Folder::open(&arguments.out)?;
    stage_cells(&later.iter().collect::<Vec<_>>(), &folder).ensure_ours()?;
    run.sources.write_lists(&folder)?;
    println!("stage 1 of 2: {} trials of each pair, seed 0", arguments.trials);
    run.describe(&first);
    let mut failed = train(&first, &folder, &[])?;

    let pairs = choice::pairs(arguments, &run)?;
    let finalists: BTreeSet<Finalist> = choice::finalists(&pairs, arguments.finalists.into());
    later.retain(|resolved| finalists.contains(&choice::finalist(&resolved.cell)));
    if !later.is_empty() {
        println!("stage 2 of 2: the best {} of each pair, and trial 0, with more seeds", arguments.finalists);
        run.describe(&later);
        failed.extend(train(&later, &folder, &first)?);
    }
    sum_up(arguments, &run, &folder, &failed)
}

/// Writes the table for programs and prints one for people.
fn sum_up(arguments: &Arguments, run: &Run, folder: &Folder, failed: &[Failure]) -> Result<()> {
    tables::write(folder, &reading::read(std::slice::from_ref(&arguments.out)))?;
    let pairs = choice::pairs(arguments, run)?;
    let (_, source) = run.sources.for_cell(&run.cells[0], &run.plan)?;
    folder.write_tuning(&record::Tuning {
        schema: record::SCHEMA,
        train_share: arguments.share.fraction(),
        source: source.name.clone(),
        train_digest: source.train.digest(),
        validation_digest: source.validation.digest(),
        code: provenance::CODE_DIGEST.to_owned(),
        pairs: pairs.clone(),
    })?;
    print!("{}", choice::text(&pairs));
    println!("\nrecords and tuning.json: {}", arguments.out.display());
    if failed.is_empty() {
        return Ok(());
    }
    let reasons: Vec<&str> = failed.iter().map(|failure| failure.reason.as_str()).collect();
    bail!(
        "{} trials failed and were not chosen from; the same command tries them again:\n  {}",
        failed.len(),
        reasons.join("\n  ")
    )
}

/// Returns the number of a trial.
fn trial(cell: &Cell) -> u16 {
    match cell.study {
        Study::Tuning { trial } => trial,
        _ => 0,
    }
}

fn stage_cells<'a>(resolved: &'a [&'a Resolved<'a>], folder: &'a Folder) -> Cells<'a> {
    // Encoders of trials are not needed later.
    let keep = Keep { weights: false, tensorboard: None };
    Cells { resolved, folder, keep, may_begin: &|_| true, trained: &|| Ok(()) }
}

/// Trains the cells of a stage, and notes in the folder that this command requested them in addition to the cells
/// `before`. Returns cells that failed: a learning rate that is too high is a result, and the other trials remain
/// valid.
fn train(resolved: &[Resolved], folder: &Folder, before: &[Resolved]) -> Result<Vec<Failure>> {
    let all: Vec<&Resolved> = resolved.iter().collect();
    let cells = stage_cells(&all, folder);
    let unreadable = cells.ensure_ours()?;
    let asked = record::Run {
        command: program::command(),
        provenance: provenance::collect(&resolved[0].device),
        times: usize::from(before.is_empty()),
        cells: before.iter().chain(resolved).map(|cell| (cell.cell.id(), cell.image_passes())).collect(),
    };
    reproduce::note_run(folder, asked)?;
    Ok(cells.train(unreadable)?.1)
}

impl Arguments {
    fn ensure_sound(&self) -> Result<()> {
        let Self { trials, finalists, seeds, .. } = self;
        ensure!(*trials > 0, "--trials must be at least 1: trial 0 is the unchanged recipe");
        ensure!(*finalists > 0, "--finalists must be at least 1");
        ensure!(finalists <= trials, "--finalists must be at most --trials {trials}, found {finalists}");
        ensure!(*seeds > 0, "--seeds must be at least 1");
        ensure!(self.epochs != Some(0), "--epochs must be at least 1: untrained, all trials are alike");
        ensure!(
            self.images.is_none() || self.data == Choice::Synthetic,
            "--images sets how many images are drawn; '{}' is not drawn, and all its training images are used",
            self.data.name()
        );
        Ok(())
    }

    /// Opens the data for every cell that may be trained: all trials with all seeds.
    fn open(&self) -> Result<Run> {
        let mut scale = Scale::small();
        if let Some(images) = self.images {
            scale.synthetic_images = (images, images * 3 / 10);
        }
        scale.epochs = self.epochs.unwrap_or(scale.epochs);
        let plan = Plan::new(scale);
        let cells = self.cells()?;
        let known = Some(self.out.clone());
        let reading = Reading { known, examine: !self.dry_run, ..Reading::default() };
        let sources = Sources::open(&self.data, Purpose::Tuning, &cells, &plan, &reading)?;
        Ok(Run { plan, cells, undefined: Vec::new(), sources, skip_unreachable: false })
    }

    fn cells(&self) -> Result<Vec<Cell>> {
        let wanted = |cell: &Cell| {
            let pair = pair(cell);
            self.only.is_empty() || self.only.iter().any(|text| pair.contains(text.as_str()))
        };
        let all = cell::tuning(0, self.share, 0);
        for text in &self.only {
            ensure!(
                all.iter().any(|cell| pair(cell).contains(text.as_str())),
                "no pair's name contains '{text}'; pairs are:\n  {}",
                all.iter().map(pair).collect::<Vec<_>>().join("\n  ")
            );
        }
        // Trial by trial, so that the time left is estimated well from the beginning.
        let trials = (0..self.seeds).flat_map(|seed| (0..self.trials).map(move |trial| (trial, seed)));
        Ok(trials.flat_map(|(trial, seed)| cell::tuning(trial, self.share, seed)).filter(wanted).collect())
    }
}

/// Returns `simclr-resnet18`.
fn pair(cell: &Cell) -> String {
    format!("{}-{}", cell.method, cell.backbone)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::support::alone::Standalone;

    fn arguments(line: &str) -> Arguments {
        Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let error = |line: &str| arguments(line).ensure_sound().unwrap_err().to_string();
        assert!(error("--trials 0 --finalists 0").starts_with("--trials must be at least 1"));
        assert!(error("--finalists 0").starts_with("--finalists must be at least 1"));
        assert!(
            error("--trials 4 --finalists 5").starts_with("--finalists must be at most --trials 4, found 5")
        );
        assert!(error("--seeds 0").starts_with("--seeds must be at least 1"));
        assert!(error("--epochs 0").starts_with("--epochs must be at least 1"));
        assert!(
            error("--images 9 --data folder=x")
                .starts_with("--images sets how many images are drawn; 'folder' is not drawn")
        );
        assert!(arguments("--trials 3 --finalists 3 --seeds 1 --epochs 1 --images 9").ensure_sound().is_ok());
    }

    #[test]
    fn every_text_must_mean_some_pair() {
        let error = arguments("--only simclr,moco").cells().unwrap_err().to_string();
        assert!(
            error.starts_with("no pair's name contains 'moco'; pairs are:\n  supervised-resnet18\n"),
            "{error}"
        );
        // Eight trials with two seeds of every pair of method and backbone.
        let all = arguments("").cells().unwrap();
        let pairs: BTreeSet<String> = all.iter().map(pair).collect();
        assert_eq!(all.len(), 16 * pairs.len());
        let trials: BTreeSet<u16> = all.iter().map(trial).collect();
        assert_eq!(trials, (0..8).collect());
        assert!(all.iter().all(|cell| cell.share == Share::percent(15)));
    }

    /// Three tenths, rounded down once: 32 of 109, and 2 of 9.
    #[test]
    fn validation_has_three_tenths_as_many_images() {
        let folder = tempfile::tempdir().unwrap();
        for (images, validation) in [(109, 32), (59, 17), (100, 30)] {
            let line =
                format!("--images {images} --only supervised-resnet18 --out {}", folder.path().display());
            let run = arguments(&line).open().unwrap();
            assert_eq!(run.plan.scale.synthetic_images, (images, validation));
            let source = run.sources.all().next().unwrap();
            assert_eq!((source.train.labels().len(), source.validation.labels().len()), (images, validation));
        }
    }
}
