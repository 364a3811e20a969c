//! `cargo xtask diff`: compares two results folders, or one with the paper.

use std::path::Path;

use anyhow::{Result, ensure};
use skewbench::{
    analysis::{
        FiledRecord,
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
    differences.retain(|difference| arguments.shares || difference.scored.validation == Share::NATURAL);
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
    for Difference { scored: at, metric, before, after, noise, .. } in shown {
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

fn read(folder: &str) -> Result<Vec<FiledRecord>> {
    ensure!(Path::new(folder).is_dir(), "{folder}: no such folder");
    let reading = reading::read(&[folder.into()]);
    // Missing cells do not matter when two folders are compared.
    for problem in reading.problems.iter().filter(|problem| problem.kind != ProblemKind::Missing) {
        eprintln!("{}", foreign::escape_message(&problem.to_string()));
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
    use crate::support::alone::Standalone;

    /// Sorted by the size of the change relative to its noise; if the noise is unknown, by the change itself.
    #[test]
    fn what_moved_most_is_what_moved_most_beside_its_noise() {
        let moved = |before, after, noise| {
            let at = Axes::table_1(SimClr, ResNet18, Share::percent(5)).converged();
            let (metric, change) = (Metric::F1, Change::WithinNoise);
            surprise(&Difference { scored: at, metric, before, after, noise, change })
        };
        assert_eq!(moved(0.5, 0.75, Some(0.125)), 2.0);
        assert_eq!(moved(0.75, 0.5, Some(0.125)), 2.0);
        assert_eq!(moved(0.5, 0.75, None), 0.25);
        assert!(moved(0.5, 0.75, Some(0.0)).is_finite());
    }

    use clap::Parser;

    use crate::support::{committed, print::captured};

    fn difference(share: u16, values: [f64; 2], noise: Option<f64>, change: Change) -> Difference {
        let at = Axes::table_1(SimClr, ResNet18, Share::percent(share)).converged();
        let [before, after] = values;
        Difference { scored: at, metric: Metric::F1, before, after, noise, change }
    }

    /// Three seeds each: AUROC of two methods falls by far more than its spread, F1 of one rises by far less, and
    /// nothing else differs.
    #[test]
    fn changes_are_counted_by_their_kind() {
        let root = tempfile::tempdir().unwrap();
        let made = |name: &str, auroc: f64, f1: f64| {
            let path = root.path().join(name);
            let folder = skewbench::results::Folder::open(&path).unwrap();
            for (method, seed) in
                ["simclr", "byol"].into_iter().flat_map(|of| (0..3).map(move |seed| (of, seed)))
            {
                let f1 = if method == "byol" { 0.25 } else { f1 };
                let mut record = committed::record("table1", method, seed);
                record.scores.retain(|score| score.classifier == "converged");
                for score in record.scores.iter_mut().filter(|score| score.validation_share.is_none()) {
                    (score.auroc, score.f1) = (auroc + 0.001 * seed as f64, f1 + 0.1 * seed as f64);
                }
                folder.write(&record).unwrap();
            }
            path.display().to_string()
        };
        let (first, second) = (made("a", 0.9, 0.5), made("b", 0.6, 0.51));
        let told = |flags: &[&str]| {
            let arguments =
                Standalone::<Arguments>::parse_from([&[first.as_str(), &second][..], flags].concat())
                    .arguments;
            captured::output(|| run(&arguments).unwrap())
        };
        let mut all = Vec::new();
        let read = || all = difference::between(&read(&first).unwrap(), &read(&second).unwrap());
        assert_eq!(captured::errors(read), "", "cells that neither folder has do not matter");
        let natural = all.iter().filter(|one| one.scored.validation == Share::NATURAL).count();
        assert!(natural > 2 && all.len() > natural, "{natural} of {}", all.len());
        let end = |count: usize| {
            let equal = count - 3;
            format!(
                "\n{count} scores: 2 changed beyond noise, 1 within noise, {equal} bit-identical, 0 undecided\n"
            )
        };
        let plain = told(&[]);
        assert!(plain.ends_with(&end(natural)) && plain.contains("   0.901    0.601   -0.300"), "{plain}");
        assert_eq!(plain.lines().count(), 3 + 2, "a head, what moved, an empty line and the counts: {plain}");
        let shares = told(&["--shares"]);
        assert!(shares.ends_with(&end(all.len())), "{shares}");
    }

    /// Only changes beyond noise are listed, unless all are requested; the largest relative to its noise comes
    /// first.
    #[test]
    fn scores_are_listed_with_what_moved_most_first() {
        let all = [
            difference(1, [0.5, 0.625], Some(0.25), Change::WithinNoise),
            difference(2, [0.5, 0.75], Some(0.125), Change::MovedBeyondNoise),
            difference(5, [0.75, 0.25], Some(0.125), Change::MovedBeyondNoise),
            difference(15, [0.5, 0.625], Some(0.015625), Change::MovedBeyondNoise),
            difference(45, [0.25, 0.375], None, Change::Undecided),
        ];
        let rows = |told: &str| -> Vec<Vec<String>> {
            told.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let told = rows(&captured::output(|| print(&all, false)));
        assert_eq!(told[0].join(" "), "cells, classifier, validation share score A B change noise");
        let cells = |share: &str| format!("table1/simclr-resnet18 {share}, converged at natural");
        let f1 = Metric::F1.to_string();
        let row = |share: &str, numbers: &str| format!("{} {f1} {numbers}", cells(share));
        let joined: Vec<String> = told[1..].iter().map(|row| row.join(" ")).collect();
        let moved = [
            row("15%", "0.500 0.625 +0.125 0.016"),
            row("5%", "0.750 0.250 -0.500 0.125"),
            row("2%", "0.500 0.750 +0.250 0.125"),
        ];
        assert_eq!(joined, moved);
        let told = rows(&captured::output(|| print(&all, true)));
        let joined: Vec<String> = told[1..].iter().map(|row| row.join(" ")).collect();
        let rest = [row("1%", "0.500 0.625 +0.125 0.250"), row("45%", "0.250 0.375 +0.125 ?")];
        assert_eq!(joined, [&moved[..], &rest].concat());
        assert_eq!(captured::output(|| print(&all[..1], false)), "", "no head without rows");
    }

    /// Cells of a study with variants are told apart by them.
    #[test]
    fn a_variant_is_named() {
        use skewbench::{backbone::Name::ViTTiny, method::Name::Byol, study::Study};
        let cell = Axes {
            study: Study::Tuning { trial: 3 },
            method: Some(Byol),
            backbone: Some(ViTTiny),
            share: Share::percent(15),
        };
        let (metric, change) = (Metric::Auroc, Change::MovedBeyondNoise);
        let of = Difference {
            scored: cell.converged(),
            metric,
            before: 0.25,
            after: 0.5,
            noise: Some(0.125),
            change,
        };
        let told = captured::output(|| print(&[of], false));
        let row = told.lines().nth(1).unwrap();
        assert!(row.starts_with("tuning/byol-vit_tiny-trial03 15%, converged at natural "), "{told}");
    }

    /// The paper prints only F1, of the classifier in training.
    #[test]
    fn records_of_another_scale_say_nothing_about_the_paper() {
        let root = tempfile::tempdir().unwrap();
        let folder = skewbench::results::Folder::open(root.path()).unwrap();
        let mut record = committed::record("table1", "simclr", 0);
        let mut told = |scale: &str, source: &str| {
            record.settings.scale = scale.to_owned();
            record.data.source = source.to_owned();
            let file = folder.record_path(&record.cell.id);
            let _ = std::fs::remove_file(&file);
            folder.write(&record).unwrap();
            let out = root.path().display().to_string();
            let arguments = Standalone::<Arguments>::parse_from(["paper", &out, "--all"]).arguments;
            captured::output(|| run(&arguments).unwrap())
        };
        let note = |scale: &str, source: &str| {
            format!(
                "note: table1/simclr-resnet18-share45-seed0 has {scale} scale and the data {source}, unlike the paper, \
                 so these differences say nothing about the paper\n"
            )
        };
        for (scale, source) in [("small", "sewer-ml"), ("full", "folder")] {
            let told = told(scale, source);
            assert!(told.starts_with(&note(scale, source)), "{told}");
        }
        let told = told("full", "sewer-ml");
        assert!(!told.contains("note: ") && told.contains(", in_training at natural"), "{told}");
    }

    #[test]
    fn two_folders_are_compared_and_differences_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let made = |name: &str, auroc: f64| {
            let path = root.path().join(name);
            let folder = skewbench::results::Folder::open(&path).unwrap();
            let mut record = committed::record("table1", "simclr", 0);
            record.scores.retain(|score| score.classifier == "converged" && score.validation_share.is_none());
            record.scores.iter_mut().for_each(|score| score.auroc = auroc);
            folder.write(&record).unwrap();
            path.display().to_string()
        };
        let (first, second) = (made("a", 0.875), made("b", 0.75));
        let told = |flags: &[&str]| {
            let arguments = Standalone::<Arguments>::parse_from(flags).arguments;
            captured::output(|| run(&arguments).unwrap())
        };
        let count = difference::between(&read(&first).unwrap(), &read(&second).unwrap()).len();
        assert!(count > 2);
        // With one seed each, the noise is unknown, so whatever is not equal is undecided.
        let expected = format!(
            "\n{count} scores: 0 changed beyond noise, 0 within noise, {} bit-identical, 1 undecided \
             (with one seed there is no measure of noise: use --seeds 3)\n",
            count - 1
        );
        assert_eq!(told(&[&first, &second]), expected);
        let all = told(&[&first, &second, "--all"]);
        assert!(all.contains("   0.875    0.750   -0.125        ?\n"), "A first: {all}");
        let error = |flags: &[&str]| {
            run(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap_err().to_string()
        };
        assert_eq!(
            error(&[&first, "paper"]),
            format!("the paper comes first: cargo xtask diff paper {first}")
        );
        assert_eq!(error(&[&first, "/nowhere"]), "/nowhere: no such folder");
        let empty = root.path().display().to_string() + "/c";
        std::fs::create_dir(&empty).unwrap();
        assert!(error(&[&first, &empty]).starts_with(&format!("{empty}: nothing to compare")));
    }

    /// A cell that is there twice is told; cells that are missing do not matter.
    #[test]
    fn what_is_left_out_of_a_comparison_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = skewbench::results::Folder::open(root.path()).unwrap();
        let record = committed::record("table1", "simclr", 0);
        folder.write(&record).unwrap();
        let path = folder.record_path(&record.cell.id);
        std::fs::copy(&path, path.with_file_name("copy.json")).unwrap();
        std::fs::write(path.with_file_name("torn.json"), "{").unwrap();
        let mut found = 0;
        let out = root.path().display().to_string();
        let told = captured::errors(|| found = read(&out).unwrap().len());
        let begins: Vec<&str> = told.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!((begins, found), (vec!["not read", "repeated"], 1), "{told}");
    }
}
