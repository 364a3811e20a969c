//! What a run is asked for: the flags that `reproduce` and `doctor` share, and what becomes of them.

mod sources;
mod study;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Result, bail, ensure};
use skewbench::{
    data::{OnBadImage, Share},
    experiment::{Augmentation, Cell, Init, Plan, Resolved, Resolver, Scale, recipe},
};

pub use self::sources::Sources;
use self::study::Study;
use crate::support::source::{Choice, Purpose};

/// Which cells, on which data, how.
#[derive(clap::Args)]
pub struct Asked {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    pub data: Choice,

    /// The paper's protocol (224 px, 45 epochs, its released hyper-parameters) instead of small scale
    #[arg(long)]
    pub full: bool,

    #[arg(
        long,
        default_value = "table1,floors",
        value_name = "STUDY",
        value_delimiter = ',',
        long_help = Study::HELP
    )]
    pub study: Vec<Study>,

    /// Only cells whose name contains one of these texts, such as `simclr` or `share05`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub only: Vec<String>,

    /// How many seeds: 0, 1, ... of each cell [default: 1 at small scale, 3 with --full]
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,

    /// Defect shares to train at, such as `1%,natural` [default: the paper's 1, 2, 5, 15 and 45 %]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    pub shares: Vec<Share>,

    /// What to do about an image that is missing or torn: stop and name it, or leave it out and count it
    #[arg(long, default_value = "fail", value_name = "fail|skip")]
    pub on_bad_image: OnBadImage,

    /// Side of the network's input, pixels
    #[arg(long, value_name = "PIXELS")]
    pub side: Option<usize>,

    /// Passes over the training set; 0 scores the untrained network, the floor of every method
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,

    /// Images a step, before views
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,

    /// Whose hyper-parameters [default: short at small scale, as_released with --full]
    #[arg(long, value_name = "short|reference|as_released")]
    pub recipe: Option<recipe::Name>,

    /// Encoder weights to begin with: a safetensors file under torchvision's or timm's names
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,

    /// Also train what the authors' released code does otherwise: adds `ablations` to --study
    #[arg(long)]
    pub ablations: bool,

    /// Views of a training image [default: those of each method's recipe]
    #[arg(long, value_name = "paper|original|flip|none")]
    pub augmentation: Option<Augmentation>,

    /// Train on the first NVIDIA GPU; needs a build with the feature `cuda`. No GPU has run it yet
    #[arg(long)]
    pub gpu: bool,

    /// Train in bf16 with weights, sums and losses in f32; faster on a GPU, slower on the CPU, which emulates it
    #[arg(long)]
    pub mixed_precision: bool,

    /// Channels of ResNet-18's first stage; 64 is the real network
    #[arg(long, value_name = "CHANNELS")]
    pub width: Option<usize>,
}

/// A run, before anything of it is done.
pub struct Run {
    pub plan: Plan,
    pub cells: Vec<Cell>,
    /// Cells that cannot be trained by definition; tables show them as such.
    pub undefined: Vec<Cell>,
    pub sources: Sources,
}

impl Asked {
    /// Opens the data and says which cells are meant.
    ///
    /// # Errors
    /// If flags contradict each other, or the data cannot be read.
    pub fn run(&self) -> Result<Run> {
        let mut studies = self.study.clone();
        if self.ablations {
            studies.push(Study::Ablations);
        }
        let shares: &[Share] = if self.shares.is_empty() { &Share::STUDY } else { &self.shares };
        let seeds = self.seeds.unwrap_or(if self.full { 3 } else { 1 });
        let cells = study::cells(&studies, shares, seeds, &self.only)?;
        let plan = self.plan()?;
        let (cells, undefined): (Vec<Cell>, Vec<Cell>) =
            cells.into_iter().partition(|cell| cell.undefined().is_none());
        let sources = Sources::open(&self.data, Purpose::Study, &cells, &plan)?;
        Ok(Run { plan, cells, undefined, sources })
    }

    fn plan(&self) -> Result<Plan> {
        let mut plan = Plan::new(self.scale()?);
        if self.gpu {
            plan.device = skewbench::tensor::gpu::open()?;
        }
        plan.mixed_precision = self.mixed_precision;
        plan.augmentation = self.augmentation;
        plan.on_bad_image = self.on_bad_image;
        plan.recipe = self.recipe.unwrap_or(plan.recipe);
        plan.init = self.init.as_deref().map(Init::new).transpose()?;
        Ok(plan)
    }

    fn scale(&self) -> Result<Scale> {
        let mut scale = if self.full { Scale::full() } else { Scale::small() };
        let positive = |name: &str, value: usize| {
            ensure!(value > 0, "--{name} must be at least 1");
            Ok(value)
        };
        if let Some(side) = self.side {
            ensure!(
                side >= 32,
                "--side must be at least 32 pixels, found {side}: the network halves it five times"
            );
            scale.side = side;
        }
        if let Some(epochs) = self.epochs {
            scale.epochs = epochs;
        }
        if let Some(batch_size) = self.batch_size {
            ensure!(batch_size >= 2, "--batch-size must be at least 2: batch statistics need two images");
            scale.batch_size = batch_size;
        }
        if let Some(width) = self.width {
            scale.resnet_width = positive("width", width)?;
        }
        Ok(scale)
    }
}

impl Run {
    /// Every cell with everything decided.
    ///
    /// # Errors
    /// If something would stop one: all such cells are named, with what would stop them.
    pub fn resolve(&self) -> Result<Vec<Resolved<'_>>> {
        let (resolved, stopped) = self.resolve_each()?;
        if stopped.is_empty() {
            return Ok(resolved);
        }
        bail!("{}", stopped.join("\n"))
    }

    /// Every cell that can be trained, and a line for each reason that others cannot.
    ///
    /// # Errors
    /// None but those of the program itself.
    pub fn resolve_each(&self) -> Result<(Vec<Resolved<'_>>, Vec<String>)> {
        let mut resolvers: BTreeMap<usize, Resolver> = BTreeMap::new();
        let mut resolved = Vec::new();
        let mut stopped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for cell in &self.cells {
            let (side, source) = self.sources.of(cell, &self.plan)?;
            let resolver = resolvers.entry(side).or_insert_with(|| Resolver::new(&self.plan, source));
            match resolver.resolve(cell) {
                Ok(cell) => resolved.push(cell),
                Err(error) => {
                    // The first context names the cell, which is said once for all that share a reason. A cause
                    // may have a backtrace below its first line.
                    let causes = error
                        .chain()
                        .skip(1)
                        .filter_map(|cause| cause.to_string().lines().next().map(str::to_owned));
                    let reason = causes.collect::<Vec<_>>().join(": ");
                    stopped.entry(reason).or_default().push(cell.id());
                }
            }
        }
        Ok((resolved, stopped.iter().map(|(reason, cells)| format!("{}: {reason}", some(cells))).collect()))
    }

    /// Prints data, scale, number of cells and of images that they train on.
    pub fn describe(&self, cells: &[Resolved]) {
        self.sources.describe();
        let Scale { name, side, epochs, batch_size, resnet_width, vit, .. } = &self.plan.scale;
        println!(
            "scale   {name}: {side} px, {epochs} epochs, batch {batch_size}, ResNet-18 width {resnet_width}, \
             ViT patch {} width {} depth {}, recipe {}",
            vit.patch, vit.width, vit.depth, self.plan.recipe
        );
        let passes = cells.iter().map(Resolved::image_passes).sum();
        println!("cells   {}, {} image passes", cells.len(), thousands(passes));
    }

    /// Prints a line for each pair of method and backbone that has no cell, with the reason.
    pub fn print_undefined(&self) {
        let line = |cell: &Cell| Some(format!("{} on {}: {}", cell.method, cell.backbone, cell.undefined()?));
        let lines: BTreeSet<String> = self.undefined.iter().filter_map(line).collect();
        lines.iter().for_each(|line| println!("{line}"));
    }
}

/// The first of some cells, and how many more there are.
pub fn some(cells: &[String]) -> String {
    match cells {
        [] => "no cell".to_owned(),
        [cell] => cell.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// 1234567 as `1 234 567`.
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
