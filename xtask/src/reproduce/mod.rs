//! `cargo xtask reproduce`: the main job.

mod display;
mod estimate;
mod study;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use skewbench::{
    analysis::{reading, tables},
    data::{OnBadImage, Share, Source},
    experiment::{self, Augmentation, Cell, Checkpoint, Finished, Init, Plan, Scale, recipe},
    results::{Folder, Record, provenance, record::Run},
};

use self::{display::Display, study::Study, watch::Watch};
use crate::{source::Choice, table};

/// Train, probe and score the cells of the study.
///
/// Without flags: the cells of the paper's Table 1, and floors beside them, at small scale, on drawn sewer pipes,
/// on the CPU. Stop it at any moment (Ctrl-C, a kill, a power cut) and run the same command: finished cells are kept,
/// and the one that was being trained goes on where it was, to the same numbers. Several processes may share
/// a results folder: each takes cells that no other works on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask reproduce                                  all cells, half an hour or more, nothing to install
  cargo xtask reproduce --only simclr --seeds 3          one method, three seeds
  cargo xtask reproduce --study all                      every table and figure, and what the paper left out
  cargo xtask reproduce --data elpv --shares natural     real solar-cell photographs
  cargo xtask reproduce --data folder=my-pipes --side 128
  cargo xtask reproduce --full --data sewer-ml=DIR --dry-run")]
pub struct Arguments {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    data: Choice,

    /// The paper's protocol (224 px, 45 epochs, its released hyper-parameters) instead of small scale
    #[arg(long)]
    full: bool,

    #[arg(
        long,
        default_value = "table1,floors",
        value_name = "STUDY",
        value_delimiter = ',',
        long_help = Study::HELP
    )]
    study: Vec<Study>,

    /// Only cells whose name contains one of these texts, such as `simclr` or `share05`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,

    /// How many seeds: 0, 1, ... of each cell [default: 1 at small scale, 3 with --full]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,

    /// Defect shares to train at, such as `1%,natural` [default: the paper's 1, 2, 5, 15 and 45 %]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    shares: Vec<Share>,

    /// Results folder [default: results/local/<scale>-<data>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Show what would be trained and how long that takes on this machine, then stop
    #[arg(long)]
    dry_run: bool,

    /// What to do about an image that is missing or torn: stop and name it, or leave it out and count it
    #[arg(long, default_value = "fail", value_name = "fail|skip")]
    on_bad_image: OnBadImage,

    /// Side of the network's input, pixels
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,

    /// Passes over the training set; 0 scores the untrained network, the floor of every method
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Images a step, before views
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Whose hyper-parameters [default: short at small scale, as_released with --full]
    #[arg(long, value_name = "short|reference|as_released")]
    recipe: Option<recipe::Name>,

    /// Encoder weights to begin with: a safetensors file under torchvision's or timm's names
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// Also train what the authors' released code does otherwise: adds `ablations` to --study
    #[arg(long)]
    ablations: bool,

    /// Also write event files for TensorBoard below this folder, one run a cell
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,

    /// Keep no weights beside the records
    #[arg(long)]
    no_weights: bool,

    /// Views of a training image [default: those of each method's recipe]
    #[arg(long, value_name = "paper|original|flip|none")]
    augmentation: Option<Augmentation>,

    /// Train on the first NVIDIA GPU; needs a build with the feature `cuda`. No GPU has run it yet
    #[arg(long)]
    gpu: bool,

    /// Train in bf16 with weights, sums and losses in f32; faster on a GPU, slower on the CPU, which emulates it
    #[arg(long)]
    mixed_precision: bool,

    /// Channels of ResNet-18's first stage; 64 is the real network
    #[arg(long, value_name = "CHANNELS")]
    width: Option<usize>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let scale = scale(arguments)?;
    let mut studies = arguments.study.clone();
    if arguments.ablations {
        studies.push(Study::Ablations);
    }
    let shares: &[Share] = if arguments.shares.is_empty() { &Share::STUDY } else { &arguments.shares };
    let seeds = arguments.seeds.unwrap_or(if arguments.full { 3 } else { 1 });
    let cells = study::cells(&studies, shares, seeds, &arguments.only)?;
    let mut plan = Plan::new(scale);
    if arguments.gpu {
        plan.device = skewbench::tensor::gpu::open()?;
    }
    plan.mixed_precision = arguments.mixed_precision;
    plan.augmentation = arguments.augmentation;
    plan.on_bad_image = arguments.on_bad_image;
    plan.recipe = arguments.recipe.unwrap_or(plan.recipe);
    plan.init = arguments.init.as_deref().map(Init::new).transpose()?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        PathBuf::from("results/local").join(format!("{}-{}", plan.scale.name, arguments.data.name()))
    });

    // Every subset is made before the first is trained on: too few defects must not stop a long run half-way.
    let (cells, undefined): (Vec<Cell>, Vec<Cell>) =
        cells.into_iter().partition(|cell| cell.undefined().is_none());
    let sources = Sources::open(&arguments.data, &cells, &plan)?;
    let passes = cells
        .iter()
        .map(|cell| experiment::image_passes(cell, &plan, sources.of(cell, &plan)?))
        .collect::<Result<Vec<_>>>()?;
    describe(&plan, &sources, cells.len(), passes.iter().sum());
    if arguments.dry_run {
        estimate::print(&cells, &passes, &plan, &sources)?;
        print_undefined(&undefined);
        return Ok(());
    }

    let folder = Folder::open(&out)?;
    folder.note_run(Run {
        command: command(),
        provenance: provenance::collect(&plan.device),
        times: 1,
        cells: cells.iter().map(Cell::id).zip(passes.iter().copied()).collect(),
    })?;
    let all =
        All { cells: &cells, passes: &passes, plan: &plan, sources: &sources, folder: &folder, arguments };
    let records = all.train()?;
    // Tables are of the whole folder: other commands may have put cells there.
    tables::write(&folder, &reading::read(std::slice::from_ref(&out)))?;
    println!("\n{}", table::render(&records));
    print_undefined(&undefined);
    let limits: BTreeSet<&String> = records.iter().flat_map(|record| &record.data.limits).collect();
    for limit in limits {
        println!("note: {limit}");
    }
    let skipped = records.iter().map(|record| record.data.skipped.len()).max().unwrap_or(0);
    if skipped > 0 {
        println!("note: up to {skipped} unreadable images were left out of a cell; records name them");
    }
    println!("\nrecords: {}; tables: {}", out.display(), out.join("tables").display());
    crate::report::write(std::slice::from_ref(&out), &out.join("report.html"))?;
    Ok(())
}

/// This command as a shell takes it.
fn command() -> String {
    let quoted = |argument: String| {
        let plain = |letter: char| letter.is_alphanumeric() || "-_=,./%:+".contains(letter);
        if argument.chars().all(plain) { argument } else { format!("'{}'", argument.replace('\'', "'\\''")) }
    };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

/// Data by the side that drawn pictures have; other data has one source.
struct Sources {
    by_side: BTreeMap<usize, Source>,
    drawn: bool,
}

impl Sources {
    fn open(choice: &Choice, cells: &[Cell], plan: &Plan) -> Result<Self> {
        let drawn = *choice == Choice::Synthetic;
        let mut sides: BTreeSet<usize> = cells.iter().map(|cell| plan.drawn_side(cell)).collect();
        if !drawn {
            sides = BTreeSet::from([plan.scale.side]);
        }
        let open = |side| Ok((side, choice.open(&Scale { side, ..plan.scale.clone() })?));
        Ok(Self { by_side: sides.into_iter().map(open).collect::<Result<_>>()?, drawn })
    }

    /// Data of a cell.
    fn of(&self, cell: &Cell, plan: &Plan) -> Result<&Source> {
        let side = if self.drawn { plan.drawn_side(cell) } else { plan.scale.side };
        self.by_side.get(&side).context("no data was opened for this cell")
    }

    /// Whether memory holds all of a cell's pictures after the first epoch. Files are taken to be too large.
    fn remembers(&self, cell: &Cell, plan: &Plan) -> Result<bool> {
        let (images, side) = (self.of(cell, plan)?.train.labels().len(), plan.drawn_side(cell));
        Ok(self.drawn && images * side * side * 3 <= crate::source::CACHED_BYTES)
    }
}

/// A line for each pair of method and backbone that has no cell, with the reason.
fn print_undefined(cells: &[Cell]) {
    let lines: BTreeSet<String> = cells
        .iter()
        .filter_map(|cell| Some(format!("{} on {}: {}", cell.method, cell.backbone, cell.undefined()?)))
        .collect();
    lines.iter().for_each(|line| println!("{line}"));
}

fn scale(arguments: &Arguments) -> Result<Scale> {
    let mut scale = if arguments.full { Scale::full() } else { Scale::small() };
    let positive = |name: &str, value: usize| {
        ensure!(value > 0, "--{name} must be at least 1");
        Ok(value)
    };
    if let Some(side) = arguments.side {
        ensure!(
            side >= 32,
            "--side must be at least 32 pixels, found {side}: the network halves it five times"
        );
        scale.side = side;
    }
    if let Some(epochs) = arguments.epochs {
        scale.epochs = epochs;
    }
    if let Some(batch_size) = arguments.batch_size {
        ensure!(batch_size >= 2, "--batch-size must be at least 2: batch statistics need two images");
        scale.batch_size = batch_size;
    }
    if let Some(width) = arguments.width {
        scale.resnet_width = positive("width", width)?;
    }
    Ok(scale)
}

fn describe(plan: &Plan, sources: &Sources, cells: usize, passes: usize) {
    let count = |dataset: &dyn skewbench::data::Dataset| {
        let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
        let images = dataset.labels().len();
        format!(
            "{} images, {:.1} % defects",
            thousands(images),
            100.0 * defects as f64 / images.max(1) as f64
        )
    };
    let Scale { name, side, epochs, batch_size, resnet_width, vit, .. } = &plan.scale;
    for (side, source) in &sources.by_side {
        println!(
            "data    {}{}: train {}; validation {}",
            source.name,
            if sources.drawn { format!(", {side} px") } else { String::new() },
            count(&*source.train),
            count(&*source.validation)
        );
    }
    println!(
        "scale   {name}: {side} px, {epochs} epochs, batch {batch_size}, ResNet-18 width {resnet_width}, \
         ViT patch {} width {} depth {}, recipe {}",
        vit.patch, vit.width, vit.depth, plan.recipe
    );
    println!("cells   {cells}, {} image passes", thousands(passes));
}

/// Everything that is to be done.
struct All<'a> {
    cells: &'a [Cell],
    /// Source images that training goes through, parallel to `cells`.
    passes: &'a [usize],
    plan: &'a Plan,
    sources: &'a Sources,
    folder: &'a Folder,
    arguments: &'a Arguments,
}

impl All<'_> {
    /// Runs what is not finished yet, one cell after the other, and waits for cells that other processes work on: should
    /// one of those end early, its cell is gone on with here.
    fn train(&self) -> Result<Vec<Record>> {
        /// How often others are looked at.
        const LOOK: Duration = Duration::from_secs(1);
        let mut display = Display::new(self.passes.iter().sum::<usize>() as u64);
        let mut records: Vec<Option<Record>> = vec![None; self.cells.len()];
        let mut told = false;
        loop {
            let (mut worked, mut elsewhere) = (false, 0);
            for (number, record) in records.iter_mut().enumerate().filter(|(_, record)| record.is_none()) {
                *record = self.work(number, &mut display)?;
                match record {
                    Some(_) => worked = true,
                    None => elsewhere += 1,
                }
            }
            if elsewhere == 0 {
                break;
            }
            if !worked {
                if !told {
                    display.line(&format!("waiting for {elsewhere} cells that other processes work on"));
                    told = true;
                }
                std::thread::sleep(LOOK);
            }
        }
        display.close();
        Ok(records.into_iter().flatten().collect())
    }

    /// A cell's record, finished earlier or now; none if another process works on it.
    fn work(&self, number: usize, display: &mut Display) -> Result<Option<Record>> {
        let Self { cells, passes, plan, sources, folder, arguments } = *self;
        let (cell, passes) = (&cells[number], passes[number]);
        let title = format!("[{}/{}] {cell}", number + 1, cells.len());
        let source = sources.of(cell, plan)?;
        let (id, fingerprint) = (cell.id(), experiment::fingerprint(cell, plan, source));
        let finished = folder.find(&id, &fingerprint)?;
        let leftovers = folder.checkpoint(&id).exists() || folder.claimed(&id)?.is_some();
        if finished.is_some() && !leftovers {
            display.skip(&title, passes);
            return Ok(finished);
        }
        let Some(mut claim) = folder.claim(&id)? else { return Ok(None) };
        // Another process may have finished it just before the claim.
        if let Some(record) = folder.find(&id, &fingerprint)? {
            folder.finish(&id, claim)?;
            display.skip(&title, passes);
            return Ok(Some(record));
        }

        display.begin(&title, passes);
        let checkpoint = Checkpoint::new(folder, &id);
        let events = arguments.tensorboard.as_ref().map(|folder: &PathBuf| folder.join(Path::new(&id)));
        let epochs = plan.scale_of(cell).epochs;
        let mut watch = Watch::new(display, &mut claim, epochs, events.as_deref())?;
        let Finished { record, logits, method } =
            experiment::run_kept(cell, plan, source, &checkpoint, &mut |event| watch.see(&event))?;
        if !arguments.no_weights && !method.parameters().all().is_empty() {
            folder.write_weights(&id, method.parameters())?;
        }
        folder.write_logits(&id, &logits)?;
        let told = watch.end(&record);
        folder.write(&record)?;
        folder.finish(&id, claim)?;
        display.end(&title, &record);
        told?;
        Ok(Some(record))
    }
}

/// 1234567 as `1 234 567`.
fn thousands(number: usize) -> String {
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
