//! `cargo xtask reproduce`: the main job.

use std::{
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use skewbench::{
    data::{OnBadImage, Share, Source},
    experiment::{self, Cell, Event, Plan, Scale, cell},
    results::{Folder, Record},
};

use crate::{source::Choice, table};

/// Train, probe and score the cells of the study.
///
/// Without flags: the built cells of the paper's Table 1 at small scale, on drawn sewer pipes, on the
/// CPU. Finished cells are kept: stop it at any moment (Ctrl-C) and run the same command to go on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask reproduce                                  all cells, a few minutes, nothing to install
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

    /// Passes over the training set
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Images a step, before views
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Channels of ResNet-18's first stage; 64 is the real network
    #[arg(long, value_name = "CHANNELS")]
    width: Option<usize>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let scale = scale(arguments)?;
    let cells = cells(arguments)?;
    let plan = Plan { scale, on_bad_image: arguments.on_bad_image, device: candle_device() };
    let source = arguments.data.open(&plan.scale)?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        PathBuf::from("results/local").join(format!("{}-{}", plan.scale.name, arguments.data.name()))
    });

    // Every subset is made before the first is trained on: too few defects must not stop a long run half-way.
    let passes = cells.iter().map(|cell| experiment::image_passes(cell, &plan, &source)).collect::<Result<Vec<_>>>()?;
    describe(&plan, &source, cells.len(), passes.iter().sum());
    if arguments.dry_run {
        for (cell, passes) in cells.iter().zip(&passes) {
            println!("{:<44} {:>14} image passes", cell.id(), thousands(*passes));
        }
        return Ok(());
    }

    let folder = Folder::open(&out)?;
    let records = train(&cells, &passes, &plan, &source, &folder)?;
    println!("\n{}", table::render(&records));
    for limit in &source.limits {
        println!("note: {limit}");
    }
    println!("\nrecords: {}", out.display());
    Ok(())
}
