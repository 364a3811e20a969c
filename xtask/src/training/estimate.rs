//! `--dry-run`: what would be trained, and how long that takes on this machine.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::{Context, Result};
use skewbench::experiment::{
    Cell, Resolved, Study,
    calibrate::{self, Pace},
};

use crate::{
    asked::{Run, thousands},
    support::pulse::duration,
};

/// Batches of the calibration grow until a step takes about this many seconds.
const ENOUGH: f64 = 0.5;

/// Cells of one kind, which take equally long per image.
#[derive(Default)]
struct Kind<'a> {
    cells: Vec<&'a Resolved<'a>>,
    train: usize,
    evaluate: usize,
}

impl Kind<'_> {
    /// Returns the seconds of training and of evaluation.
    fn seconds(&self, pace: Pace) -> [f64; 2] {
        [self.train as f64 * pace.train, self.evaluate as f64 * pace.evaluate]
    }

    /// Returns its row of the table.
    fn line(&self, name: &str, pace: Pace) -> String {
        let [train, evaluate] = self.seconds(pace);
        let rate = if pace.train > 0.0 { format!("{:.1}", 1.0 / pace.train) } else { "-".to_owned() };
        format!(
            "{name:<44} {:>5} {:>15} {rate:>12} {:>14} {:>14}",
            self.cells.len(),
            thousands(self.train),
            duration(train),
            duration(evaluate)
        )
    }
}

/// Groups cells by kind.
fn kinds<'a>(cells: &'a [Resolved<'a>]) -> BTreeMap<String, Kind<'a>> {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for resolved in cells {
        let cell = &resolved.cell;
        let variant = match cell.study {
            // Steps of Figure 3 differ only in their views, those of trials hardly more.
            Study::Figure3 { .. } | Study::Tuning { .. } => None,
            _ => cell.study.variant(),
        };
        let variant = variant.map_or_else(String::new, |variant| format!(" {variant}"));
        let name = format!("{} {} {}{variant}", cell.study.id(), cell.method(), cell.encoder());
        let kind = kinds.entry(name).or_default();
        kind.cells.push(resolved);
        kind.train += resolved.image_passes();
        kind.evaluate += resolved.evaluation_passes();
    }
    kinds
}

/// Prints cells, image passes and hours, kind by kind.
///
/// # Errors
/// As for training.
pub fn print(cells: &[Resolved], run: &Run) -> Result<()> {
    let kinds = kinds(cells);
    println!(
        "\n{:<44} {:>5} {:>15} {:>12} {:>14} {:>14}",
        "kind", "cells", "image passes", "images/s", "training", "evaluation"
    );
    let (mut training, mut evaluation) = (0.0, 0.0);
    let mut paces = BTreeMap::new();
    for (name, kind) in &kinds {
        let cell = kind.cells.first().context("a kind without cells")?;
        let pace = match paces.entry(timing_key(&cell.cell)) {
            Entry::Occupied(timed) => *timed.get(),
            Entry::Vacant(new) => {
                *new.insert(calibrate::pace(cell, ENOUGH, run.sources.fits_in_memory(cell, &run.plan))?)
            }
        };
        println!("{}", kind.line(name, pace));
        let [train, evaluate] = kind.seconds(pace);
        training += train;
        evaluation += evaluate;
    }
    println!("\n{}", in_all(training, evaluation));
    Ok(())
}

/// Formats the total estimate. Arguments in seconds.
fn in_all(training: f64, evaluation: f64) -> String {
    format!(
        "estimate for this machine, one process: {} ({} training, {} evaluation; a few steps of each kind were timed; \
         probes and label-free metrics take additional time)",
        duration(training + evaluation),
        duration(training),
        duration(evaluation)
    )
}

/// Returns the properties that determine the time per image. Studies that change only labels, initial weights or
/// the weight of a loss have the same steps, and are timed once.
fn timing_key(cell: &Cell) -> String {
    let variant = match cell.study {
        Study::Figure3 { .. }
        | Study::Tuning { .. }
        | Study::FineTuned
        | Study::LabelBudget { .. }
        | Study::Remedy(_)
        | Study::Unseen { .. } => None,
        study => study.variant(),
    };
    let floor = cell.is_floor().then(|| cell.study.id());
    format!("{} {} {variant:?} {floor:?}", cell.trained_by(), cell.encoder())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;

    #[test]
    fn training_and_evaluation_have_a_pace_each() {
        let kind = Kind { cells: Vec::new(), train: 10, evaluate: 400 };
        assert_eq!(kind.seconds(Pace { train: 3.0, evaluate: 0.25 }), [30.0, 100.0]);
    }

    /// Cells with the same steps are timed once; the others separately.
    #[test]
    fn what_has_the_same_steps_is_timed_once() {
        use skewbench::{backbone::Name as Backbone, data::Share, method::Name as Method, study::Remedy};
        let cell = |study, method, backbone| {
            timing_key(&Cell { study, method, backbone, share: Share::percent(5), seed: 0 })
        };
        let of = |study| cell(study, Method::Supervised, Backbone::ResNet18);
        let plain = of(Study::Table1);
        for study in [
            Study::FineTuned,
            Study::LabelBudget { defects: 5 },
            Study::Remedy(Remedy::FocalLoss),
            Study::Unseen { rank: 0 },
            Study::Tuning { trial: 3 },
        ] {
            assert_eq!(of(study), plain, "{study:?}");
        }
        // Fine-tuning has the steps of supervised training, whichever method pretrained.
        assert_eq!(cell(Study::FineTuned, Method::SimClr, Backbone::ResNet18), plain);
        let others = [
            of(Study::Table2 { side: 64 }),
            of(Study::Table2 { side: 512 }),
            of(Study::RandomWeights),
            of(Study::Pixels),
            cell(Study::Table1, Method::SimClr, Backbone::ResNet18),
            cell(Study::Table1, Method::Supervised, Backbone::ViTTiny),
            plain,
        ];
        let different: std::collections::BTreeSet<&String> = others.iter().collect();
        assert_eq!(different.len(), others.len(), "{others:?}");
    }

    /// Computed by hand: each number is in its own column.
    #[test]
    fn a_kind_is_told_with_its_counts_rate_and_times() {
        let kind = Kind { cells: Vec::new(), train: 12_000, evaluate: 7_000 };
        let line = kind.line("table1 simclr resnet18", Pace { train: 0.025, evaluate: 0.01 });
        let expected = format!(
            "{:<44} {:>5} {:>15} {:>12} {:>14} {:>14}",
            "table1 simclr resnet18", 0, "12 000", "40.0", "5 min 00 s", "1 min 10 s"
        );
        assert_eq!(line, expected);
        let floor = Kind { train: 0, ..kind }.line("x", Pace { train: 0.0, evaluate: 0.01 });
        assert_eq!(floor.split_whitespace().collect::<Vec<_>>()[1..4], ["0", "0", "-"]);
        assert!(in_all(3_000.0, 900.0).starts_with(
            "estimate for this machine, one process: 1 h 05 min (50 min training, 15 min evaluation; "
        ));
    }

    #[test]
    fn cells_of_one_kind_are_counted_together() {
        use clap::Parser;

        use crate::asked::{Lists, Request};
        let root = tempfile::tempdir().unwrap();
        let flags = "--study table1,floors,remedies --only supervised-resnet18,none-resnet18 --seeds 3 --quick --shares 45%";
        let run = Standalone::<Request>::parse_from(flags.split(' '))
            .arguments
            .run(Lists::Read(root.path()))
            .unwrap();
        let resolved = run.resolve().unwrap();
        let kinds = kinds(&resolved);
        let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
        assert_eq!(
            names[..2],
            ["random_weights none resnet18", "remedy supervised resnet18 focal_loss"],
            "{names:?}"
        );
        assert_eq!(names.last(), Some(&"table1 supervised resnet18"));
        for (name, kind) in &kinds {
            let passes = kind.cells.iter().map(|cell| [cell.image_passes(), cell.evaluation_passes()]);
            let [train, evaluate] = passes.fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]]);
            assert_eq!((kind.cells.len(), kind.train, kind.evaluate), (3, train, evaluate), "{name}");
            assert_eq!(train > 0, !name.starts_with("random_weights"), "{name}");
        }
    }

    /// Two remedies have the steps of supervised training, so all three are timed once: their rates are the same text.
    #[test]
    fn every_kind_has_a_row_and_equal_steps_are_timed_once() {
        use clap::Parser;

        use crate::{
            asked::{Lists, Request},
            support::{committed, print::captured},
        };
        let root = tempfile::tempdir().unwrap();
        let data = committed::pictures(&root.path().join("data"), [24, 12]);
        let flags = format!(
            "--data {data} --side 32 --width 2 --shares natural --epochs 2 --batch-size 4 --study table1,remedies,floors \
             --only supervised-resnet18-natural,unweighted,focal_loss,pixels"
        );
        let asked = Standalone::<Request>::parse_from(flags.split_whitespace()).arguments;
        let run = asked.run(Lists::Read(root.path())).unwrap();
        let mut resolved = run.resolve().unwrap();
        resolved.retain(|resolved| resolved.cell.encoder() != "vit_tiny");
        let told = captured::output(|| print(&resolved, &run).unwrap());
        let lines: Vec<&str> = told.lines().collect();
        let head: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(head, ["kind", "cells", "image", "passes", "images/s", "training", "evaluation"]);
        let names = [
            "extension supervised resnet18",
            "pixels none pixels",
            "remedy supervised resnet18 focal_loss",
            "remedy supervised resnet18 unweighted",
        ];
        let rest: Vec<Vec<&str>> = names
            .iter()
            .zip(&lines[2..])
            .map(|(name, line)| line.strip_prefix(name).unwrap().split_whitespace().collect())
            .collect();
        // 27 images, two epochs of six whole batches of four.
        assert!(rest.iter().all(|row| row[0] == "1"), "{told}");
        assert_eq!([0, 1, 2, 3].map(|kind| rest[kind][1]), ["48", "0", "48", "48"]);
        assert_eq!((rest[0][2], rest[1][2]), (rest[2][2], "-"));
        assert_eq!(rest[2][2], rest[3][2], "timed once: {told}");
        assert!(
            lines[2 + 4].is_empty() && lines[7].starts_with("estimate for this machine, one process: "),
            "{told}"
        );

        // Figure 3 is one kind, whatever its views.
        let flags = "--study figure3 --quick";
        let run = Standalone::<Request>::parse_from(flags.split(' '))
            .arguments
            .run(Lists::Read(root.path()))
            .unwrap();
        let resolved = run.resolve().unwrap();
        let kinds = kinds(&resolved);
        let told: Vec<(&str, usize)> =
            kinds.iter().map(|(name, kind)| (name.as_str(), kind.cells.len())).collect();
        assert_eq!(told, [("figure3 supervised resnet18", 70)], "35 of each of two seeds");
    }
}
