//! `cargo xtask doctor`: what would go wrong later, found now.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use skewbench::{
    data::{
        Dataset, Share, Source,
        imbalance::Pool,
        inspect::{Depth, Inspection, inspect},
    },
    experiment::Scale,
    seed::Seed,
};

use crate::support::source::Choice;

/// Check machine, data and results folder before hours of training.
///
/// Every image is decoded once (`--quick` reads headers only). Ends with exit code 1 if something would
/// stop a run.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    data: Choice,

    /// Read only the headers of images: finds missing and foreign files, not torn ones
    #[arg(long)]
    quick: bool,

    /// Results folder that a run would write to
    #[arg(long, default_value = "results/local", value_name = "DIR")]
    out: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    machine();
    let mut troubles = Vec::new();
    if let Err(error) = writable(&arguments.out) {
        troubles.push(format!("{error:#}"));
    } else {
        println!("results  {}: can be written", arguments.out.display());
    }

    let source = arguments.data.open(&Scale::small())?;
    shares(&source, &mut troubles);
    let depth = if arguments.quick { Depth::Header } else { Depth::Pixels };
    for (split, dataset) in [("train", &source.train), ("validation", &source.validation)] {
        let found = look(split, &**dataset, depth)?;
        report(split, &found, &mut troubles);
    }
    for limit in &source.limits {
        println!("note     {limit}");
    }

    if troubles.is_empty() {
        println!("nothing stands in the way");
        return Ok(());
    }
    for trouble in &troubles {
        println!("TROUBLE  {trouble}");
    }
    bail!(
        "{} found; see above",
        if troubles.len() == 1 { "1 trouble".into() } else { format!("{} troubles", troubles.len()) }
    )
}

fn machine() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let kernels = if cfg!(target_arch = "x86_64") {
        let features: [(&str, bool); 3] = [
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ];
        let names: Vec<_> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        if names.is_empty() { "no vector extensions: slow".to_owned() } else { names.join(", ") }
    } else {
        std::env::consts::ARCH.to_owned()
    };
    println!("machine  {threads} threads, {kernels}; device cpu");
}

fn writable(folder: &PathBuf) -> Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::tempfile_in(folder).map(drop))
        .with_context(|| format!("{}: results cannot be written there", folder.display()))
}

/// Which shares of the study the data has defects enough for.
fn shares(source: &Source, troubles: &mut Vec<String>) {
    for (split, dataset) in [("train", &source.train), ("validation", &source.validation)] {
        let labels = dataset.labels();
        let defects = labels.iter().filter(|labels| labels.defect).count();
        println!("data     {} {split}: {} normals, {defects} defects", source.name, labels.len() - defects);
        let pool = Pool::new(labels, &Seed::root(0));
        for share in Share::STUDY {
            match pool.subset(share) {
                Ok(subset) => println!(
                    "         at {share}: {} images, {} of them defects",
                    subset.indices.len(),
                    subset.defects
                ),
                Err(error) => troubles.push(format!("{split} at {share}: {error:#}")),
            }
        }
    }
}

fn look(split: &str, dataset: &dyn Dataset, depth: Depth) -> Result<Inspection> {
    let bar = ProgressBar::new(dataset.labels().len() as u64).with_style(ProgressStyle::with_template(
        "{prefix:<8} {wide_bar} {pos}/{len} images  {per_sec}  {eta_precise} left",
    )?);
    bar.set_prefix(split.to_owned());
    let found = inspect(dataset, depth, &|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(found)
}

fn report(split: &str, found: &Inspection, troubles: &mut Vec<String>) {
    /// Bad images that are named one by one.
    const NAMED: usize = 20;
    let mut sizes: Vec<_> = found.sizes.iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let common: Vec<String> = sizes
        .iter()
        .take(4)
        .map(|((width, height), count)| format!("{count} of {width} x {height}"))
        .collect();
    println!("images   {split}: {} looked at, {} bad; {}", found.checked, found.bad.len(), common.join(", "));
    for bad in found.bad.iter().take(NAMED) {
        troubles.push(format!("{}: {}", bad.place, bad.error));
    }
    if found.bad.len() > NAMED {
        troubles.push(format!("and {} bad images more in {split}", found.bad.len() - NAMED));
    }
}
