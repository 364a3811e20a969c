//! `cargo xtask diff`: compares two results folders, or one with the paper.

use std::path::Path;

use anyhow::{Result, ensure};
use skewbench::{
    analysis::{
        Filed,
        difference::{self, Change, Difference},
        reading::{self, ProblemKind},
    },
    data::{Share, foreign},
};

/// Show which scores moved between two results folders, or between the paper and one.
///
/// Noise is the change of a difference when only the seeds change, at 3 standard deviations, estimated cell by cell
/// from the spread in both folders. With one seed everywhere, no verdict is given.
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

    /// Also show scores at the five validation shares
    #[arg(long)]
    shares: bool,

    /// Also show what did not change
    #[arg(long)]
    all: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.after != "paper", "the paper comes first: cargo xtask diff paper {}", arguments.before);
    let after = read(&arguments.after)?;
    let mut differences = if arguments.before == "paper" {
        let other = after
            .iter()
            .map(|filed| &filed.record)
            .find(|record| record.settings.scale != "full" || record.data.source != "sewer-ml");
        if let Some(other) = other {
            println!(
                "note: {} has {} scale and the data {}, unlike the paper, so these differences say nothing about the \
                 paper\n",
                other.cell.id, other.settings.scale, other.data.source
            );
        }
        difference::with_paper(&after)
    } else {
        difference::between(&read(&arguments.before)?, &after)
    };
    differences.retain(|difference| arguments.shares || difference.at.validation == Share::NATURAL);
    ensure!(!differences.is_empty(), "no cell is in both {} and {}", arguments.before, arguments.after);

    print(&differences, arguments.all);
    let count = |change| differences.iter().filter(|difference| difference.change == change).count();
    println!(
        "\n{} scores: {} changed beyond noise, {} within noise, {} bit-identical, {} undecided{}",
        differences.len(),
        count(Change::MovedBeyondNoise),
        count(Change::WithinNoise),
        count(Change::Equal),
        count(Change::Undecided),
        if count(Change::Undecided) > 0 {
            " (with one seed there is no measure of noise: use --seeds 3)"
        } else {
            ""
        }
    );
    Ok(())
}

/// Prints one line per score, the largest changes first; unless `all`, only changes beyond noise.
fn print(differences: &[Difference], all: bool) {
    let mut shown: Vec<&Difference> = differences
        .iter()
        .filter(|difference| all || difference.change == Change::MovedBeyondNoise)
        .collect();
    shown.sort_by(|a, b| a.change.cmp(&b.change).then(surprise(b).total_cmp(&surprise(a))));
    if !shown.is_empty() {
        println!(
            "{:<64} {:<22} {:>8} {:>8} {:>8} {:>8}",
            "cells, classifier, validation share", "score", "A", "B", "change", "noise"
        );
    }
    for Difference { at, metric, before, after, noise, .. } in shown {
        let cell = at.cell;
        let variant = cell.study.variant().map_or_else(String::new, |variant| format!("-{variant}"));
        let cells = format!(
            "{}/{}-{}{variant} {}, {} at {}",
            cell.study.id(),
            cell.method_id(),
            cell.backbone_id(),
            cell.share,
            at.classifier,
            at.validation
        );
        let noise = noise.map_or_else(|| "?".to_owned(), |noise| format!("{noise:.3}"));
        println!("{cells:<64} {metric:<22} {before:>8.3} {after:>8.3} {:>+8.3} {noise:>8}", after - before);
    }
}

/// Returns a score's change divided by its noise.
fn surprise(difference: &Difference) -> f64 {
    let moved = (difference.after - difference.before).abs();
    difference.noise.map_or(moved, |noise| moved / noise.max(1e-12))
}

fn read(folder: &str) -> Result<Vec<Filed>> {
    ensure!(Path::new(folder).is_dir(), "{folder}: no such folder");
    let reading = reading::read(&[folder.into()]);
    // It does not matter which cells other folders have.
    for problem in reading.problems.iter().filter(|problem| problem.kind != ProblemKind::Missing) {
        eprintln!("{}", foreign::message(&problem.to_string()));
    }
    ensure!(
        !reading.records.is_empty(),
        "{folder}: nothing to compare; name a results folder that has records"
    );
    Ok(reading.records)
}

#[cfg(test)]
mod tests {
    use skewbench::{analysis::Axes, backbone::Name::ResNet18, method::Name::SimClr, results::Metric};

    use super::*;

    /// Sorted by the size of the change relative to its noise; if the noise is unknown, by the change itself.
    #[test]
    fn what_moved_most_is_what_moved_most_beside_its_noise() {
        let moved = |before, after, noise| {
            let at = Axes::table_1(SimClr, ResNet18, Share::percent(5)).converged();
            let (metric, change) = (Metric::F1, Change::WithinNoise);
            surprise(&Difference { at, metric, before, after, noise, change })
        };
        assert_eq!(moved(0.5, 0.75, Some(0.125)), 2.0);
        assert_eq!(moved(0.75, 0.5, Some(0.125)), 2.0);
        assert_eq!(moved(0.5, 0.75, None), 0.25);
        assert!(moved(0.5, 0.75, Some(0.0)).is_finite());
    }
}
