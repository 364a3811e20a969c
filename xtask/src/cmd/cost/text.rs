//! The text of the document.

use std::fmt::Write as _;

use anyhow::Result;
use skewbench::{backbone::Name::ResNet18, experiment::Scale, method::Name as Method};

use super::{
    Given,
    grid::{Arm, Grid},
    rates::{LOADER, Rates, SCALE, STEPS},
};
use crate::asked::thousands;

/// Mean bytes of a frame of Sewer-ML as PNG: 340 GB of archives with 1,300,201 frames.
const PNG: f64 = 340e9 / 1_300_201.0;
/// Bytes of a frame of 720 x 576 pixels in a packed store, at a shorter side of 256.
const PACKED: f64 = (320 * 256 * 3) as f64;
/// Bytes of a row of Sewer-ML's table; `data/regular.rs` has the largest table that is read.
const ROW: f64 = 56.0;
const LARGEST_TABLE: f64 = (512_u64 << 20) as f64;
/// Number of images of the generated tables, and of the features.
const IMAGES: f64 = 1_170_175.0;
const FEATURES: f64 = 130_046.0;
const WIDTH: f64 = 512.0;
/// More images than any site has.
const MANY: f64 = 100e6;
/// Images per second for which requirements are stated: a unit, not a measurement.
const UNIT: f64 = 1_000.0;

/// Returns the seconds of two cores for an arm: steps, loading, and forward passes of evaluation.
fn seconds(rates: &Rates, arm: &Arm) -> Result<[f64; 3]> {
    let load = rates.load("png")? / rates.threads;
    let (train, evaluate) = (arm.train as f64, arm.evaluate as f64);
    // A step takes one forward pass and about two for the backward pass.
    let forward = rates.step(Method::Supervised, arm.backbone)? / 3.0;
    Ok([train * rates.step(arm.method, arm.backbone)?, (train + evaluate) * load, evaluate * forward])
}

/// Returns the document.
pub fn of(rates: &Rates, grid: &Grid, given: Given) -> Result<String> {
    let mut text = String::from(
        "# What it costs\n\n\
         Written by `cargo xtask cost` from rates that were measured; a test compares. Nothing here was run as a whole, and \
         nobody on this project has Sewer-ML: its counts are the published ones.\n",
    );
    on_cores(&mut text, rates, grid, given)?;
    on_a_gpu(&mut text, rates, grid, given)?;
    of_many(&mut text, rates, given)?;
    what_breaks(&mut text, rates)?;
    Ok(text)
}

fn on_cores(text: &mut String, rates: &Rates, grid: &Grid, given: Given) -> Result<()> {
    writeln!(
        text,
        "\n## The paper's grid on two CPU cores\n\n\
         Table 1: eleven pairs of method and backbone at five shares, 224 px, {} epochs, half of Sewer-ML. Steps are those \
         of [the race]({}) ({}, {} threads); loading is {:.1} ms a PNG of 720 x 576 with two views on one thread ([measured]({})), \
         for every method; to evaluate takes a third of a supervised step, an estimate. Probes and label-free metrics come \
         on top: [below](#what-breaks-first).\n",
        Scale::full().epochs,
        link(STEPS),
        rates.cpu,
        rates.threads,
        1e3 * rates.load("png")?,
        link(LOADER),
    )?;
    text.push_str("| method | images/s in steps | hours of steps | of loading | of evaluation | all |\n|---|---|---|---|---|---|\n");
    let mut all = 0.0;
    for arm in &grid.arms {
        let parts = seconds(rates, arm)?.map(|seconds| seconds / 3_600.0);
        let sum: f64 = parts.iter().sum();
        all += sum;
        let rate = 1.0 / rates.step(arm.method, arm.backbone)?;
        let [steps, load, evaluate] = parts.map(whole);
        writeln!(
            text,
            "| {} on {} | {rate:.1} | {steps} | {load} | {evaluate} | {} |",
            arm.method.label(),
            arm.backbone.label(),
            whole(sum)
        )?;
    }
    let price = if given.price.is_some() { " price |" } else { "" };
    writeln!(
        text,
        "\n| seeds | cells | image passes in training | hours | years |{price}\n|---|---|---|---|---|{}",
        if price.is_empty() { "" } else { "---|" }
    )?;
    for seeds in [1, 3, 10] {
        let hours = all * f64::from(seeds);
        let times = seeds as usize;
        let cost = given.price.map_or_else(String::new, |price| format!(" {} |", whole(hours * price)));
        writeln!(
            text,
            "| {seeds} | {} | {} | {} | {:.1} |{cost}",
            grid.cells() * times,
            thousands(grid.train() * times),
            whole(hours),
            hours / 24.0 / 365.25
        )?;
    }
    text.push_str(
        "\nThe paper has one seed. With N machines of two cores it takes an Nth of the time (`submit --slurm`), down to the \
         longest cell. Multiply hours by what an hour costs you; `--price` does.\n",
    );
    Ok(())
}

fn on_a_gpu(text: &mut String, rates: &Rates, grid: &Grid, given: Given) -> Result<()> {
    let passes = (grid.train() + grid.evaluate()) as f64;
    writeln!(
        text,
        "\n## On a GPU\n\n\
         **No GPU has been measured**: its rate R, images a second in training, is yours to give (`--gpu-rate R --gpu-price \
         P`; `cargo xtask gpu` measures it). One seed of the grid goes through {} images: hours = {} / R, for the slowest \
         of steps, loading and the network. What each {} images/s need, from rates measured on CPUs:\n",
        thousands(passes as usize),
        whole(passes / 3_600.0),
        thousands(UNIT as usize)
    )?;
    text.push_str("| read from | network or disk, MB/s | files opened a second | CPU cores that decode and augment |\n|---|---|---|---|\n");
    for (name, kind, bytes, files) in [
        ("PNG files", "png", Some(PNG), UNIT),
        ("JPEG files (quality 90)", "jpeg", None, UNIT),
        ("a packed store at 256 px", "packed", Some(PACKED), 0.0),
    ] {
        let bytes = bytes.map_or_else(|| "-".to_owned(), |bytes| whole(UNIT * bytes / 1e6));
        writeln!(text, "| {name} | {bytes} | {} | {:.0} |", whole(files), (UNIT * rates.load(kind)?).ceil())?;
    }
    text.push_str(
        "\nViews by the GPU's own kernel would leave decoding to the cores, or nothing with a packed store; that was never \
         timed on a GPU.\n",
    );
    if let Some(rate) = given.gpu_rate {
        let price = if given.gpu_price.is_some() { " price |" } else { "" };
        writeln!(
            text,
            "\nAt {} images/s, as given:\n\n| seeds | hours |{price}\n|---|---|{}",
            whole(rate),
            if price.is_empty() { "" } else { "---|" }
        )?;
        for seeds in [1.0, 3.0, 10.0] {
            let hours = seeds * passes / rate / 3_600.0;
            let cost =
                given.gpu_price.map_or_else(String::new, |price| format!(" {} |", whole(hours * price)));
            writeln!(text, "| {seeds} | {} |{cost}", whole(hours))?;
        }
    }
    Ok(())
}

fn of_many(text: &mut String, rates: &Rates, given: Given) -> Result<()> {
    let epochs = Scale::full().epochs as f64;
    let step = rates.step(Method::SimClr, ResNet18)? + rates.load("packed")? / rates.threads;
    let hours = MANY * step / 3_600.0;
    writeln!(
        text,
        "\n## 100 million images\n\n\
         One cell, SimCLR on ResNet-18, from a packed store: {} hours a pass on two cores, {} ({:.0} years) for {epochs} \
         passes; on a GPU of R images/s {} / R hours a pass. As PNG they are {:.0} TB, packed at 256 px {:.0} TB; 512 \
         features of each are {:.0} GB.",
        whole(hours),
        whole(epochs * hours),
        epochs * hours / 24.0 / 365.25,
        whole(MANY / 3_600.0),
        MANY * PNG / 1e12,
        MANY * PACKED / 1e12,
        MANY * WIDTH * 4.0 / 1e9
    )?;
    if let Some(rate) = given.gpu_rate {
        writeln!(
            text,
            "At {} images/s, as given: {} hours a pass.",
            whole(rate),
            whole(MANY / rate / 3_600.0)
        )?;
    }
    Ok(())
}

fn what_breaks(text: &mut String, rates: &Rates) -> Result<()> {
    writeln!(
        text,
        "\n## What breaks first\n\n\
         Measured at Sewer-ML's size ([timings]({})) and carried on in proportion, which is a guess.\n\n\
         | what | measured | at 100 million images |\n|---|---|---|",
        link(SCALE)
    )?;
    let mut row =
        |what: &str, measured: String, many: String| writeln!(text, "| {what} | {measured} | {many} |");
    row(
        "table of images",
        format!("{:.0} MB for 1.17 million", IMAGES * ROW / 1e6),
        format!(
            "**refused first**: {:.1} GB, and at most {:.0} MB are read, some {:.0} million rows",
            MANY * ROW / 1e9,
            LARGEST_TABLE / 1e6,
            LARGEST_TABLE / ROW / 1e6
        ),
    )?;
    let resolve = rates.stage("resolve")?;
    row(
        "index, subsets, 15 cells",
        format!("{:.1} s, {:.0} MiB", resolve.processor, resolve.peak),
        format!(
            "{} s, {:.0} GiB",
            whole(resolve.processor * MANY / IMAGES),
            resolve.peak * MANY / IMAGES / 1024.0
        ),
    )?;
    let doctor = rates.stage("doctor_again")?;
    row(
        "each start, all pictures known",
        format!("{:.0} s, {:.0} MiB", doctor.seconds, doctor.peak),
        format!(
            "{} s, {:.0} GiB",
            whole(doctor.seconds * MANY / IMAGES),
            doctor.peak * MANY / IMAGES / 1024.0
        ),
    )?;
    for (name, what) in [("probe", "the converged probe"), ("label_free", "label-free metrics")] {
        let stage = rates.stage(name)?;
        let features = FEATURES * WIDTH * 4.0 / f64::from(1 << 20);
        row(
            what,
            format!(
                "{:.0} s, {:.0} MiB for 130,046 x 512, of which {features:.0} are the features",
                stage.seconds, stage.peak
            ),
            format!(
                "{:.0} hours; {:.0} GB of features would have to be in memory",
                stage.seconds * MANY / FEATURES / 3_600.0,
                MANY * WIDTH * 4.0 / 1e9
            ),
        )?;
    }
    row("small files", "one opened an image and epoch".to_owned(), "a packed store opens none".to_owned())?;
    let page = rates.stage("page")?;
    row(
        "the page, of 10,000 records",
        format!("{:.1} s, {:.0} MiB", page.seconds, page.peak),
        "does not depend on images".to_owned(),
    )?;
    text.push_str(
        "\nIn training the network is met first where pictures are PNG: the table above says from which rate on. On CPUs it is \
         never the network: eleven methods take at most 20 images a second and machine.\n",
    );
    Ok(())
}

/// Converts a path below `results/` into a link of the document.
fn link(path: &str) -> &str {
    path.trim_start_matches("results/")
}

/// Formats a whole number with thin spaces between groups.
fn whole(number: f64) -> String {
    thousands(number.round() as usize)
}
