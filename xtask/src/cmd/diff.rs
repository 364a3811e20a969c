//! `cargo xtask diff`: two results folders beside each other, or one beside the paper.

use std::path::Path;

use anyhow::{Result, ensure};
use skewbench::results::{
    Record,
    compare::{self, Difference, Verdict},
    summary::{self, Level},
};

/// Show which scores moved between two results folders, or between the paper and one.
///
/// Noise is what seeds alone do to a difference, at the odds of 3 standard deviations: from their spread, pooled over
/// cells of one kind in both folders. With one seed everywhere nothing is said.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask diff results/A results/B
  cargo xtask diff paper results/B        needs records of --full on Sewer-ML to mean anything")]
pub struct Arguments {
    /// Results folder, or `paper`
    #[arg(value_name = "A|paper")]
    before: String,

    /// Results folder
    #[arg(value_name = "B")]
    after: String,

    /// Also scores at the five validation shares
    #[arg(long)]
    shares: bool,

    /// Also what did not move
    #[arg(long)]
    all: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.after != "paper", "the paper comes first: cargo xtask diff paper {}", arguments.before);
    let after = read(&arguments.after)?;
    let differences = if arguments.before == "paper" {
        if let Some(other) =
            after.iter().find(|record| record.settings.scale != "full" || record.data.source != "sewer-ml")
        {
            println!(
                "note: {} is {} scale on {}: how it differs from the paper says nothing about the paper\n",
                other.cell.id, other.settings.scale, other.data.source
            );
        }
        compare::with_paper(&after)
    } else {
        let wanted = |place: &summary::Place| arguments.shares || place.1 == Level::new(None);
        compare::compare(&read(&arguments.before)?, &after, wanted)
    };
    ensure!(!differences.is_empty(), "no cell is in both");

    let count = |verdict| differences.iter().filter(|difference| difference.verdict == verdict).count();
    let mut shown: Vec<&Difference> = differences
        .iter()
        .filter(|difference| arguments.all || difference.verdict == Verdict::MovedBeyondNoise)
        .collect();
    shown.sort_by(|a, b| a.verdict.cmp(&b.verdict).then(surprise(b).total_cmp(&surprise(a))));
    if !shown.is_empty() {
        println!(
            "{:<64} {:<22} {:>8} {:>8} {:>8} {:>8}",
            "cells, classifier, validation share", "score", "A", "B", "moved", "noise"
        );
    }
    for difference in shown {
        let Difference { group, place, metric, before, after, noise, .. } = difference;
        let variant = if group.variant.is_empty() { String::new() } else { format!("-{}", group.variant) };
        let cells = format!(
            "{}/{}-{}{variant} {}, {} at {}",
            group.study, group.method, group.backbone, group.train_share, place.0, place.1
        );
        let noise = noise.map_or_else(|| "?".to_owned(), |noise| format!("{noise:.3}"));
        println!("{cells:<64} {metric:<22} {before:>8.3} {after:>8.3} {:>+8.3} {noise:>8}", after - before);
    }
    println!(
        "\n{} scores: {} moved beyond noise, {} within noise, {} equal to the bit, {} undecided{}",
        differences.len(),
        count(Verdict::MovedBeyondNoise),
        count(Verdict::WithinNoise),
        count(Verdict::Equal),
        count(Verdict::Undecided),
        if count(Verdict::Undecided) > 0 { " (one seed: --seeds 3 tells noise)" } else { "" }
    );
    Ok(())
}

/// How many times its noise a score moved.
fn surprise(difference: &Difference) -> f64 {
    let moved = (difference.after - difference.before).abs();
    difference.noise.map_or(moved, |noise| moved / noise.max(1e-12))
}

fn read(folder: &str) -> Result<Vec<Record>> {
    ensure!(Path::new(folder).is_dir(), "{folder}: no such folder");
    let records = summary::read_all(Path::new(folder))?;
    ensure!(!records.is_empty(), "{folder}: no records");
    Ok(records)
}
