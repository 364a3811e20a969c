//! The text of the document.

use std::fmt::Write as _;

use anyhow::Result;
use skewbench::{backbone::Name::ResNet18, experiment::Scale, method::Name as Method};

use super::{
    UserRates,
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
pub fn render(rates: &Rates, grid: &Grid, given: UserRates) -> Result<String> {
    let mut text = String::from(
        "# What the paper's full grid costs\n\n\
         `cargo xtask cost` calculates this page from measured rates; a test checks that the page is up to date. The \
         grid itself has never been run. This project does not have Sewer-ML either; its image counts are the \
         published \
         ones.\n",
    );
    on_cores(&mut text, rates, grid, given)?;
    on_a_gpu(&mut text, rates, grid, given)?;
    of_many(&mut text, rates, given)?;
    what_breaks(&mut text, rates)?;
    Ok(text)
}

fn on_cores(text: &mut String, rates: &Rates, grid: &Grid, given: UserRates) -> Result<()> {
    writeln!(
        text,
        "\n## The paper's grid on two CPU cores\n\n\
         The grid is the paper's Table 1: eleven pairs of method and backbone at five shares, 224 px, {} epochs, half \
         of Sewer-ML. The times of training steps come from [the comparison with PyTorch]({}) ({}, {} threads). \
         Loading a PNG of 720 x 576 and making two views of it takes {:.1} ms on one thread ([measured]({})); the \
         table uses this for every method. Evaluating an image is estimated to take a third of a supervised training \
         step. Probes and label-free \
         metrics take additional time: see [below](#what-breaks-first).\n",
        Scale::full().epochs,
        link(STEPS),
        rates.cpu,
        rates.threads,
        1e3 * rates.load("png")?,
        link(LOADER),
    )?;
    text.push_str("| method | images/s in training steps | hours of training steps | hours of loading | hours of evaluation | hours in all |\n|---|---|---|---|---|---|\n");
    let mut all = 0.0;
    for arm in &grid.arms {
        let parts = seconds(rates, arm)?.map(|seconds| seconds / 3_600.0);
        let sum: f64 = parts.iter().sum();
        all += sum;
        let rate = 1.0 / rates.step(arm.method, arm.backbone)?;
        let [steps, load, evaluate] = parts.map(whole_number);
        writeln!(
            text,
            "| {} on {} | {rate:.1} | {steps} | {load} | {evaluate} | {} |",
            arm.method.label(),
            arm.backbone.label(),
            whole_number(sum)
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
        let cost =
            given.price.map_or_else(String::new, |price| format!(" {} |", whole_number(hours * price)));
        writeln!(
            text,
            "| {seeds} | {} | {} | {} | {:.1} |{cost}",
            grid.cells() * times,
            thousands(grid.train() * times),
            whole_number(hours),
            hours / 24.0 / 365.25
        )?;
    }
    text.push_str(
        "\nThe paper trained one seed. N machines of two cores each need one Nth of the time (`submit --slurm`), but \
         never less than the longest cell takes. `--price` multiplies the hours by the price of an hour.\n",
    );
    Ok(())
}

fn on_a_gpu(text: &mut String, rates: &Rates, grid: &Grid, given: UserRates) -> Result<()> {
    let passes = (grid.train() + grid.evaluate()) as f64;
    writeln!(
        text,
        "\n## On a GPU\n\n\
         **No GPU has been measured yet.** `cargo xtask gpu` measures the rate R of a GPU in training, in images per \
         second; `--gpu-rate R --gpu-price P` applies it here. One seed of the grid processes {} images and takes {} \
         / R hours, where R is the lowest of three rates: training steps, loading, and the network or disk. The table \
         shows what \
         {} images/s require, according to rates measured on CPUs:\n",
        thousands(passes as usize),
        whole_number(passes / 3_600.0),
        thousands(UNIT as usize)
    )?;
    text.push_str("| read from | network or disk, MB/s | files opened per second | CPU cores for decoding and augmentation |\n|---|---|---|---|\n");
    for (name, kind, bytes, files) in [
        ("PNG files", "png", Some(PNG), UNIT),
        ("JPEG files (quality 90)", "jpeg", None, UNIT),
        ("a packed store at 256 px", "packed", Some(PACKED), 0.0),
    ] {
        let bytes = bytes.map_or_else(|| "-".to_owned(), |bytes| whole_number(UNIT * bytes / 1e6));
        writeln!(
            text,
            "| {name} | {bytes} | {} | {:.0} |",
            whole_number(files),
            (UNIT * rates.load(kind)?).ceil()
        )?;
    }
    text.push_str(
        "\nIf a GPU makes the views with its own kernel, the CPU cores only have to decode, and with a packed store \
         not even that. This has never been timed on a GPU.\n",
    );
    if let Some(rate) = given.gpu_rate {
        let price = if given.gpu_price.is_some() { " price |" } else { "" };
        writeln!(
            text,
            "\nAt the given rate of {} images/s:\n\n| seeds | hours |{price}\n|---|---|{}",
            whole_number(rate),
            if price.is_empty() { "" } else { "---|" }
        )?;
        for seeds in [1.0, 3.0, 10.0] {
            let hours = seeds * passes / rate / 3_600.0;
            let cost = given
                .gpu_price
                .map_or_else(String::new, |price| format!(" {} |", whole_number(hours * price)));
            writeln!(text, "| {seeds} | {} |{cost}", whole_number(hours))?;
        }
    }
    Ok(())
}

fn of_many(text: &mut String, rates: &Rates, given: UserRates) -> Result<()> {
    let epochs = Scale::full().epochs as f64;
    let step = rates.step(Method::SimClr, ResNet18)? + rates.load("packed")? / rates.threads;
    let hours = MANY * step / 3_600.0;
    writeln!(
        text,
        "\n## 100 million images\n\n\
         One cell, SimCLR on ResNet-18 from a packed store, takes {} hours per epoch on two cores and {} hours ({:.0} \
         years) for {epochs} epochs. A GPU that trains on R images/s takes {} / R hours per epoch. The images take \
         {:.0} TB as PNG and {:.0} TB packed at 256 px; 512 features of each image take {:.0} GB.",
        whole_number(hours),
        whole_number(epochs * hours),
        epochs * hours / 24.0 / 365.25,
        whole_number(MANY / 3_600.0),
        MANY * PNG / 1e12,
        MANY * PACKED / 1e12,
        MANY * WIDTH * 4.0 / 1e9
    )?;
    if let Some(rate) = given.gpu_rate {
        writeln!(
            text,
            "At the given rate of {} images/s, an epoch takes {} hours.",
            whole_number(rate),
            whole_number(MANY / rate / 3_600.0)
        )?;
    }
    Ok(())
}

fn what_breaks(text: &mut String, rates: &Rates) -> Result<()> {
    writeln!(
        text,
        "\n## What breaks first\n\n\
         These are measurements at the size of Sewer-ML ([timings]({})). The last column assumes that time and memory \
         grow in proportion to the number of images, which has not been tested.\n\n\
         | what | measured | at 100 million images |\n|---|---|---|",
        link(SCALE)
    )?;
    let mut row =
        |what: &str, measured: String, many: String| writeln!(text, "| {what} | {measured} | {many} |");
    row(
        "table of images",
        format!("{:.0} MB for 1.17 million", IMAGES * ROW / 1e6),
        format!(
            "**fails first**: {:.1} GB, but a table may have {:.0} MB at most, about {:.0} million rows",
            MANY * ROW / 1e9,
            LARGEST_TABLE / 1e6,
            LARGEST_TABLE / ROW / 1e6
        ),
    )?;
    let resolve = rates.stage("resolve")?;
    row(
        "reading the index, drawing subsets, resolving 15 cells",
        format!("{:.1} s, {:.0} MiB", resolve.processor, resolve.peak),
        format!(
            "{} s, {:.0} GiB",
            whole_number(resolve.processor * MANY / IMAGES),
            resolve.peak * MANY / IMAGES / 1024.0
        ),
    )?;
    let doctor = rates.stage("doctor_again")?;
    row(
        "each start, with every image examined before",
        format!("{:.0} s, {:.0} MiB", doctor.seconds, doctor.peak),
        format!(
            "{} s, {:.0} GiB",
            whole_number(doctor.seconds * MANY / IMAGES),
            doctor.peak * MANY / IMAGES / 1024.0
        ),
    )?;
    for (name, what) in [("probe", "the converged probe"), ("label_free", "label-free metrics")] {
        let stage = rates.stage(name)?;
        let features = FEATURES * WIDTH * 4.0 / f64::from(1 << 20);
        row(
            what,
            format!(
                "{:.0} s, {:.0} MiB for 130,046 images with 512 features each; the features alone are {features:.0} \
                 MiB",
                stage.seconds, stage.peak
            ),
            format!(
                "{:.0} hours; {:.0} GB of features must fit in memory",
                stage.seconds * MANY / FEATURES / 3_600.0,
                MANY * WIDTH * 4.0 / 1e9
            ),
        )?;
    }
    row(
        "small files",
        "each epoch opens one file per image".to_owned(),
        "a packed store opens none of them".to_owned(),
    )?;
    let page = rates.stage("page")?;
    row(
        "writing the page of 10,000 records",
        format!("{:.1} s, {:.0} MiB", page.seconds, page.peak),
        "does not depend on the number of images".to_owned(),
    )?;
    text.push_str(
        "\nWhen training reads PNG files over a network, the network is the first limit; the table of a GPU's \
         requirements above gives the rate that it needs. Training on CPUs never reaches that limit: no pair of \
         method and backbone trains on more than 20 images per second on one machine.\n",
    );
    Ok(())
}

/// Converts a path below `results/` into a link of the document.
fn link(path: &str) -> &str {
    path.trim_start_matches("results/")
}

/// Formats a whole number with thin spaces between groups.
fn whole_number(number: f64) -> String {
    thousands(number.round() as usize)
}
