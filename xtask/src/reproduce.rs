//! `cargo xtask reproduce`: the main job.

use std::{
    collections::BTreeSet,
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use skewbench::{
    data::{OnBadImage, Share, Source},
    experiment::{self, Augmentation, Cell, Checkpoint, Event, Finished, Init, Plan, Scale, cell, recipe},
    results::{Folder, Record},
};

use crate::{source::Choice, table};

/// Train, probe and score the cells of the study.
///
/// Without flags: the built cells of the paper's Table 1 at small scale, on drawn sewer pipes, on the
/// CPU. Stop it at any moment (Ctrl-C, a kill, a power cut) and run the same command: finished cells are kept,
/// and the one that was being trained goes on where it was, to the same numbers. Several processes may share
/// a results folder: each takes cells that no other works on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask reproduce                                  all cells, half an hour or more, nothing to install
  cargo xtask reproduce --only simclr --seeds 3          one method, three seeds
  cargo xtask reproduce --data elpv --shares natural     real solar-cell photographs
  cargo xtask reproduce --data folder=my-pipes --side 128
  cargo xtask reproduce --full --data sewer-ml=DIR --dry-run")]
pub struct Arguments {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    data: Choice,

    /// The paper's protocol (224 px, 45 epochs, its released hyper-parameters) instead of small scale
    #[arg(long)]
    full: bool,

    /// Only cells whose name contains one of these texts, such as `simclr` or `share05`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,

    /// How many seeds: 0, 1, ... of each cell
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u64,

    /// Defect shares to train at, such as `1%,natural` [default: the paper's 1, 2, 5, 15 and 45 %]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    shares: Vec<Share>,

    /// Results folder [default: results/local/<scale>-<data>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Show what would be trained, then stop
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

    /// Also train what the authors' released code does otherwise, one thing at a time
    #[arg(long)]
    ablations: bool,

    /// Keep no weights beside the records
    #[arg(long)]
    no_weights: bool,

    /// Views of a training image [default: those of each method's recipe]
    #[arg(long, value_name = "paper|original|flip|none")]
    augmentation: Option<Augmentation>,

    /// Channels of ResNet-18's first stage; 64 is the real network
    #[arg(long, value_name = "CHANNELS")]
    width: Option<usize>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let scale = scale(arguments)?;
    let cells = cells(arguments)?;
    let mut plan = Plan::new(scale);
    plan.augmentation = arguments.augmentation;
    plan.on_bad_image = arguments.on_bad_image;
    plan.recipe = arguments.recipe.unwrap_or(plan.recipe);
    plan.init = arguments.init.as_deref().map(Init::new).transpose()?;
    let source = arguments.data.open(&plan.scale)?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        PathBuf::from("results/local").join(format!("{}-{}", plan.scale.name, arguments.data.name()))
    });

    // Every subset is made before the first is trained on: too few defects must not stop a long run half-way.
    let (cells, undefined): (Vec<Cell>, Vec<Cell>) =
        cells.into_iter().partition(|cell| cell.undefined().is_none());
    let passes = cells
        .iter()
        .map(|cell| experiment::image_passes(cell, &plan, &source))
        .collect::<Result<Vec<_>>>()?;
    describe(&plan, &source, cells.len(), passes.iter().sum());
    if arguments.dry_run {
        for (cell, passes) in cells.iter().zip(&passes) {
            println!("{:<52} {:>14} image passes", cell.id(), thousands(*passes));
        }
        print_undefined(&undefined);
        return Ok(());
    }

    let folder = Folder::open(&out)?;
    let records = train(&cells, &passes, &plan, &source, &folder, !arguments.no_weights)?;
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
    println!("\nrecords: {}", out.display());
    Ok(())
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

fn cells(arguments: &Arguments) -> Result<Vec<Cell>> {
    let shares: &[Share] = if arguments.shares.is_empty() { &Share::STUDY } else { &arguments.shares };
    ensure!(arguments.seeds > 0, "--seeds must be at least 1");
    let seeds = 0..arguments.seeds;
    let mut cells: Vec<Cell> = seeds.clone().flat_map(|seed| cell::at(shares, seed)).collect();
    if arguments.ablations {
        cells.extend(seeds.flat_map(cell::ablations));
    }
    let known = cells.iter().map(|cell| cell.id()).collect::<Vec<_>>().join("\n  ");
    if !arguments.only.is_empty() {
        cells.retain(|cell| arguments.only.iter().any(|text| cell.id().contains(text.as_str())));
    }
    ensure!(
        !cells.is_empty(),
        "no cell's name contains '{}'; cells are:\n  {known}",
        arguments.only.join("' or '")
    );
    Ok(cells)
}

fn describe(plan: &Plan, source: &Source, cells: usize, passes: usize) {
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
    println!(
        "data    {}: train {}; validation {}",
        source.name,
        count(&*source.train),
        count(&*source.validation)
    );
    println!(
        "scale   {name}: {side} px, {epochs} epochs, batch {batch_size}, ResNet-18 width {resnet_width}, \
         ViT patch {} width {} depth {}, recipe {}",
        vit.patch, vit.width, vit.depth, plan.recipe
    );
    println!("cells   {cells}, {} image passes", thousands(passes));
}

/// Runs what is not finished yet, one cell after the other, and waits for cells that other processes work on: should
/// one of those end early, its cell is gone on with here.
fn train(
    cells: &[Cell],
    passes: &[usize],
    plan: &Plan,
    source: &Source,
    folder: &Folder,
    keep_weights: bool,
) -> Result<Vec<Record>> {
    /// How often others are looked at.
    const LOOK: Duration = Duration::from_secs(1);
    let mut display = Display::new(passes.iter().sum::<usize>() as u64);
    let mut records: Vec<Option<Record>> = vec![None; cells.len()];
    let mut told = false;
    loop {
        let (mut worked, mut elsewhere) = (false, 0);
        for (number, (cell, &passes)) in cells.iter().zip(passes).enumerate() {
            if records[number].is_some() {
                continue;
            }
            let title = format!("[{}/{}] {cell}", number + 1, cells.len());
            let job = Job { cell, title: &title, passes, plan, source, folder, keep_weights };
            match job.work(&mut display)? {
                Some(record) => {
                    records[number] = Some(record);
                    worked = true;
                }
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

/// One cell to be done.
struct Job<'a> {
    cell: &'a Cell,
    title: &'a str,
    passes: usize,
    plan: &'a Plan,
    source: &'a Source,
    folder: &'a Folder,
    keep_weights: bool,
}

impl Job<'_> {
    /// The cell's record, finished earlier or now; none if another process works on it.
    fn work(&self, display: &mut Display) -> Result<Option<Record>> {
        let Self { cell, title, passes, plan, source, folder, keep_weights } = *self;
        let (id, fingerprint) = (cell.id(), experiment::fingerprint(cell, plan, source));
        let finished = folder.find(&id, &fingerprint)?;
        let leftovers = folder.checkpoint(&id).exists() || folder.claimed(&id)?.is_some();
        if finished.is_some() && !leftovers {
            display.skip(title, passes);
            return Ok(finished);
        }
        let Some(claim) = folder.claim(&id)? else { return Ok(None) };
        // Another process may have finished it just before the claim.
        if let Some(record) = folder.find(&id, &fingerprint)? {
            folder.finish(&id, claim)?;
            display.skip(title, passes);
            return Ok(Some(record));
        }
        display.begin(title, passes);
        let checkpoint = Checkpoint::new(folder, &id);
        let Finished { record, logits, method } =
            experiment::run_kept(cell, plan, source, &checkpoint, &mut |event| display.show(&event))?;
        if keep_weights {
            folder.write_weights(&id, method.parameters())?;
        }
        folder.write_logits(&id, &logits)?;
        folder.write(&record)?;
        folder.finish(&id, claim)?;
        display.end(title, &record);
        Ok(Some(record))
    }
}

/// Progress: two bars on a terminal, plain lines elsewhere.
struct Display {
    all: ProgressBar,
    cell: ProgressBar,
    bars: MultiProgress,
    terminal: bool,
    begun: Instant,
    /// When a plain line was last written.
    spoken: Instant,
    title: String,
}

impl Display {
    /// A plain line at most this often.
    const PLAIN_EVERY: Duration = Duration::from_secs(20);

    fn new(passes: u64) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = |template| ProgressStyle::with_template(template).expect("the template is a literal");
        let all = bars.add(ProgressBar::new(passes)).with_style(style(
            "all cells  {wide_bar} {percent:>3} %  {per_sec}  {elapsed_precise}, {eta_precise} left",
        ));
        let cell = bars
            .add(ProgressBar::new(1))
            .with_style(style("{prefix}\n           {wide_bar} {percent:>3} %  {msg}"));
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { all, cell, bars, terminal, begun: now, spoken: now, title: String::new() }
    }

    fn skip(&mut self, title: &str, passes: usize) {
        // Finished work must not count towards the rate.
        self.all.set_length(self.all.length().unwrap_or(0).saturating_sub(passes as u64));
        self.line(&format!("{title}: finished earlier"));
    }

    fn begin(&mut self, title: &str, passes: usize) {
        self.title = title.to_owned();
        self.begun = Instant::now();
        self.cell.reset();
        self.cell.set_length(passes as u64);
        self.cell.set_prefix(title.to_owned());
    }

    fn show(&mut self, event: &Event) {
        use skewbench::train::Progress;
        match event {
            Event::Stage(stage) => self.cell.set_message(*stage),
            Event::Training(Progress::Step { epoch, images, loss, .. }) => {
                self.all.inc(*images as u64);
                self.cell.inc(*images as u64);
                let rate = self.cell.position() as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
                self.cell.set_message(format!("epoch {}, loss {loss:.4}, {rate:.0} images/s", epoch + 1));
            }
            Event::Resumed { epoch, step, images } => {
                // Done earlier: it must not count towards the rate.
                self.all.set_length(self.all.length().unwrap_or(0).saturating_sub(*images as u64));
                self.cell.set_length(self.cell.length().unwrap_or(0).saturating_sub(*images as u64));
                self.line(&format!("{}: goes on after {epoch} epochs and {step} steps", self.title));
            }
            Event::Note(text) => self.line(&format!("{}: {text}", self.title)),
            Event::Training(Progress::Epoch { epoch, .. }) => {
                if !self.terminal && self.spoken.elapsed() >= Self::PLAIN_EVERY {
                    self.spoken = Instant::now();
                    let left = indicatif::HumanDuration(self.all.eta());
                    eprintln!(
                        "{}: epoch {}, loss {:.4}; about {left:#} left in all",
                        self.title,
                        epoch.epoch + 1,
                        epoch.loss
                    );
                }
            }
        }
    }

    fn end(&mut self, title: &str, record: &Record) {
        let f1 = record
            .scores
            .iter()
            .find(|score| score.validation_share.is_none())
            .map_or(f64::NAN, |score| score.f1);
        let cost = &record.cost;
        self.line(&format!(
            "{title}: F1 {f1:.3}, {:.0} s, {:.0} images/s",
            cost.train_seconds + cost.evaluate_seconds,
            cost.images_per_second
        ));
    }

    fn close(&mut self) {
        self.cell.finish_and_clear();
        self.all.finish_and_clear();
    }

    fn line(&mut self, text: &str) {
        if self.terminal {
            // A bar may have been closed already; then there is nothing to write above.
            let _ = self.bars.println(text);
        } else {
            self.spoken = Instant::now();
            eprintln!("{text}");
        }
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
