//! The request for a run: the flags that `reproduce` and `doctor` share, some of which `choose` has too, and the
//! cells that they select.

mod setup;
mod sources;
mod study;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, bail, ensure};
use skewbench::{
    analysis::test_images::auroc_error,
    augment::Normalisation,
    data::{Share, Source, foreign, imbalance::OutOfReach},
    experiment::{Cell, Init, Plan, Resolved, Resolver, Scale, Study},
    named::counted,
};

use self::study::{Part, Study as Asks};
pub use self::{
    setup::{Lists, Setup},
    sources::{Sources, sampled},
};
use crate::support::print::labelled;

/// Which cells to train, on which data, and how.
#[derive(Clone, clap::Args)]
pub struct Request {
    #[command(flatten)]
    pub setup: Setup,

    #[arg(
        long,
        default_value = "table1,floors",
        value_name = "STUDY",
        value_delimiter = ',',
        long_help = Asks::HELP
    )]
    pub study: Vec<Asks>,

    /// Only cells whose name contains one of these texts, such as `simclr` or `share05`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub only: Vec<String>,

    /// How many seeds: 0, 1, ... of each cell [default: 1, with --quick 2, with --full 3]
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,

    /// Defect shares to train at, such as `1%,natural` [default: the paper's 1, 2, 5, 15 and 45 %;
    /// with --quick 45 and 5 %]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    pub shares: Vec<Share>,

    /// Only part K of N of these cells, for one of N processes: on a cluster without a shared --out, or to give each
    /// process its own cells. Cells that start from another cell's weights stay with it
    #[arg(long, value_name = "K/N")]
    pub part: Option<Part>,

    /// Also train variants that follow the authors' released code: adds `ablations` to --study
    #[arg(long)]
    pub ablations: bool,
}

/// A run with its data opened, before any cell is trained.
pub struct Run {
    pub plan: Plan,
    pub cells: Vec<Cell>,
    /// Cells that are undefined, such as MAE on ResNet-18; tables show them as such.
    pub undefined: Vec<Cell>,
    pub sources: Sources,
    /// Whether cells at shares that the data cannot provide are left out, because the user did not request these
    /// shares.
    pub skip_unreachable: bool,
}

/// The error for a part without cells. It is not a failure: with many tasks, some have nothing to do.
#[derive(Debug)]
pub struct Idle(String);

impl fmt::Display for Idle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Idle {}

/// The result of resolving every cell of a run.
pub struct Outcome<'a> {
    /// Cells that can be trained.
    pub resolved: Vec<Resolved<'a>>,
    /// Why other cells cannot be trained, one line per reason. Any of these stops the run.
    pub stopped: Vec<String>,
    /// Why further cells are left out without stopping the run, one line per reason.
    pub left_out: Vec<String>,
}

impl Request {
    /// Returns the same request for the CPU.
    pub fn without_gpu(&self) -> Self {
        Self { setup: Setup { gpu: false, ..self.setup.clone() }, ..self.clone() }
    }

    /// Opens the data and lists the cells.
    ///
    /// # Errors
    /// If flags contradict each other, or the data cannot be read; [`Idle`] if no cell is left for the requested
    /// part.
    pub fn run(&self, lists: Lists) -> Result<Run> {
        let mut studies = self.study.clone();
        if self.ablations {
            studies.push(Asks::Ablations);
        }
        let Setup { full, quick, .. } = self.setup;
        let shares: &[Share] = match &self.shares[..] {
            [] if quick => &[Share::percent(45), Share::percent(5)],
            [] => &Share::STUDY,
            asked => asked,
        };
        let seeds = self.seeds.unwrap_or(match (full, quick) {
            (true, _) => 3,
            (_, true) => 2,
            _ => 1,
        });
        let plan = self.setup.plan()?;
        let frozen = Setup::frozen(&plan)?;
        studies.extend(frozen.map(|_| Asks::Frozen));
        let mut cells = study::cells(&studies, shares, seeds, &self.only, frozen)?;
        let all = cells.len();
        if let Some(part) = self.part {
            part.keep(&mut cells);
            ensure!(
                !cells.is_empty(),
                Idle(format!(
                    "--part {part}: none of the {} is left for this part",
                    counted(all, "cell", "cells")
                ))
            );
        }
        let run = self.setup.run(plan, cells, lists)?;
        Ok(Run { skip_unreachable: self.shares.is_empty(), ..run })
    }
}

impl Run {
    /// Resolves every cell, and prints which ones are left out.
    ///
    /// # Errors
    /// If something would stop a cell: lists all such cells with the reasons.
    pub fn resolve(&self) -> Result<Vec<Resolved<'_>>> {
        let Outcome { resolved, stopped, left_out } = self.resolve_each()?;
        if stopped.is_empty() {
            left_out.iter().for_each(|line| println!("left out: {}", foreign::escape_message(line)));
            return Ok(resolved);
        }
        bail!("{}", stopped.join("\n"))
    }

    /// Resolves every cell that can be trained, and collects the reasons for the others.
    ///
    /// # Errors
    /// Only internal errors of the program.
    pub fn resolve_each(&self) -> Result<Outcome<'_>> {
        let mut resolvers: BTreeMap<usize, Resolver> = BTreeMap::new();
        let mut resolved = Vec::new();
        let leaks = self.sources.leaks();
        let (mut stopped, mut left_out): (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<String>>) =
            Default::default();
        for cell in &self.cells {
            let (side, source) = self.sources.for_cell(cell, &self.plan)?;
            let resolver = resolvers.entry(side).or_insert_with(|| Resolver::new(&self.plan, source));
            match resolver.resolve(cell) {
                Ok(cell) => resolved.push(cell),
                Err(error) => {
                    // The first context names the cell; a reason that several cells share is printed once. A cause
                    // may have a backtrace below its first line.
                    let causes = error
                        .chain()
                        .skip(1)
                        .filter_map(|cause| cause.to_string().lines().next().map(str::to_owned));
                    let reason = causes.collect::<Vec<_>>().join(": ");
                    // The user chose the study, but not its numbers of labels or its classes.
                    let unasked = matches!(cell.study, Study::LabelBudget { .. } | Study::Unseen { .. });
                    let left =
                        (self.skip_unreachable || unasked) && error.downcast_ref::<OutOfReach>().is_some();
                    let reasons = if left { &mut left_out } else { &mut stopped };
                    reasons.entry(reason).or_default().push(cell.id());
                }
            }
        }
        if resolved.is_empty() {
            stopped.append(&mut left_out);
        }
        let lines = |reasons: BTreeMap<String, Vec<String>>| -> Vec<String> {
            reasons.iter().map(|(reason, cells)| format!("{}: {reason}", abbreviate(cells))).collect()
        };
        Ok(Outcome { resolved, stopped: [leaks, lines(stopped)].concat(), left_out: lines(left_out) })
    }

    /// Describes how weight files are used: for each backbone and size the file, its normalisation, and what is
    /// stripped, ignored or resampled, one line each. Also reports an --init file that no cell uses.
    pub fn first_weights(&self, cells: &[Resolved]) -> Vec<String> {
        let understood = cells.iter().filter_map(|cell| {
            let init = cell.init.as_ref()?;
            let how = if cell.cell.is_floor() { ", scored as they are" } else { "" };
            let name = format!("{} into {}{how}", init.path.display(), cell.cell.backbone.label());
            Some((name, normalised_by(init), &cell.weight_notes))
        });
        let once: BTreeSet<_> = understood.collect();
        let begins = cells.iter().any(|cell| !cell.cell.is_floor() && cell.init.is_some());
        let unused = self.plan.init.as_ref().filter(|_| !begins).map(|init| {
            let path = init.path.display();
            format!("{path}: no cell of this run starts from these weights; --frozen scores them unchanged")
        });
        let used = once.into_iter().flat_map(|(name, normalised, lines)| {
            [name, normalised].into_iter().chain(lines.iter().cloned())
        });
        used.chain(unused).collect()
    }

    /// Prints data, initial weights, scale, number of cells and number of image passes.
    pub fn describe(&self, cells: &[Resolved]) {
        self.sources.describe(&self.plan);
        for (place, line) in self.first_weights(cells).iter().enumerate() {
            labelled(if place == 0 { "weights" } else { "" }, &foreign::escape_message(line));
        }
        let Scale { name, side, epochs, batch_size, resnet_width, vit, .. } = &self.plan.scale;
        let scale = format!(
            "{name}: {side} px, {epochs} epochs, batch {batch_size}, ResNet-18 width {resnet_width}, \
             ViT patch {} width {} depth {}, recipe {}",
            vit.patch, vit.width, vit.depth, self.plan.recipe
        );
        labelled("scale", &scale);
        let passes = cells.iter().map(Resolved::image_passes).sum();
        labelled("cells", &format!("{}, {} image passes", cells.len(), thousands(passes)));
        for line in self.sources.all().filter_map(too_few_validation_images).chain(self.too_few_steps(cells))
        {
            labelled("note", &line);
        }
    }

    /// Returns a warning if training is too short to learn anything, with a remedy.
    pub fn too_few_steps(&self, cells: &[Resolved]) -> Option<String> {
        /// Steps that a network needs to differ from random weights, and usual number of steps at small scale.
        /// Ours.
        const FEWEST: usize = 100;
        const USUAL: usize = 300;
        let Scale { epochs, batch_size, .. } = self.plan.scale;
        let steps = |cell: &Resolved| match cell.image_passes() {
            0 => None,
            passes => Some(passes.div_ceil(batch_size.min(cell.subset.indices.len().max(1)))),
        };
        let few: Vec<usize> = cells.iter().filter_map(steps).filter(|&steps| steps < FEWEST).collect();
        let &fewest = few.iter().min()?;
        let enough = (USUAL * epochs).div_ceil(fewest);
        Some(format!(
            "{} of {} cells train for fewer than {FEWEST} steps, the shortest for {fewest}. That teaches a network next to nothing: \
             do not choose a method by these scores. Take more images, or train longer: --epochs {enough} gives every \
             cell {USUAL} steps",
            few.len(),
            cells.len()
        ))
    }

    /// Prints a line for each undefined pair of method and backbone, with the reason.
    pub fn print_undefined(&self) {
        let line =
            |cell: &Cell| Some(format!("{} on {}: {}", cell.method, cell.backbone, cell.undefined_reason()?));
        let lines: BTreeSet<String> = self.undefined.iter().filter_map(line).collect();
        lines.iter().for_each(|line| println!("{line}"));
    }
}

/// Returns a warning if validation has too few images to measure an AUROC well. Differences between methods on the same
/// images are known better, by how much depends on the methods.
pub fn too_few_validation_images(source: &Source) -> Option<String> {
    /// The AUROC for which the interval is stated, and the widest half of an interval that goes without a warning. Ours.
    const AUROC: f64 = 0.8;
    const WIDEST: f64 = 0.05;
    let labels = source.validation.labels();
    let defects = labels.iter().filter(|labels| labels.defect).count();
    let normals = labels.len() - defects;
    let reach = 1.96 * auroc_error(AUROC, defects as f64, normals as f64)?;
    (reach > WIDEST).then(|| {
        format!(
            "validation has {} and {}: an AUROC of {AUROC} is known to within {reach:.2} at best (95 %), however many seeds \
             are trained. Take more validation images",
            counted(defects, "defect", "defects"),
            counted(normals, "normal image", "normal images")
        )
    })
}

/// Describes the normalisation of pixels for the weights of a file, and where it comes from.
fn normalised_by(init: &Init) -> String {
    let Normalisation { mean, std } = init.normalisation;
    let why = match init.normalisation_from_header {
        true => "as the file says",
        false if init.normalisation == Normalisation::SEWER_ML => {
            "as in all training here, since the file does not state it; --normalisation sets it"
        }
        false => "as --normalisation says",
    };
    format!("pixels normalised by mean {mean:?} and deviation {std:?}, {why}")
}

/// Formats a list of cells as its first one and the number of the others.
pub fn abbreviate(cells: &[String]) -> String {
    match cells {
        [] => "no cell".to_owned(),
        [cell] => cell.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// Formats 1234567 as `1 234 567`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
