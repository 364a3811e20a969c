//! Records as a table for the terminal: one block for each training share, the highest AUROC first.

use std::collections::{BTreeMap, BTreeSet};

use skewbench::{
    analysis::{Axes, Interval, Reading, cell::percent, reading},
    claims::Evidence,
    data::Share,
    results::{Classifier, Metric, Record},
    study::Study,
};

/// A heading, and the function that returns a cell's value below it.
type Column = (&'static str, fn(&Evidence, Axes) -> Option<Interval>);

const COLUMNS: [Column; 3] = [
    ("AUROC", |from, cell| from.interval(Metric::Auroc, &cell.converged())),
    ("F1", |from, cell| from.interval(Metric::F1, &cell.converged())),
    ("F1 in training", |from, cell| from.interval(Metric::F1, &cell.in_training())),
];

/// Scores on all validation images, averaged over seeds. At most 80 columns wide, unless a name is long.
pub fn render(records: &[Record]) -> String {
    let named = records.iter().map(|record| (record.cell.id.clone(), record.clone()));
    let reading = reading::from_memory(named.collect());
    let settings: BTreeSet<&str> = reading.records.iter().map(|filed| filed.setting.as_str()).collect();
    let mut lines = vec![
        "Scores on all validation images. AUROC and F1 are of the converged probe on".to_owned(),
        "frozen features, F1 in training of the classifier trained beside the method, as".to_owned(),
        "in the paper. Several seeds: mean, and half of its 95 % interval over seeds.".to_owned(),
    ];
    for setting in settings {
        let evidence = Evidence::measured(setting, &reading.frame.setting(setting));
        lines.extend(blocks(&reading, setting, &evidence));
    }
    lines.join("\n")
}

/// Returns the cells of a setting, by training share, the largest first.
fn blocks(reading: &Reading, setting: &str, evidence: &Evidence) -> Vec<String> {
    let mut shares: BTreeMap<Share, Vec<(String, Axes)>> = BTreeMap::new();
    let cells: BTreeSet<Axes> =
        reading.records.iter().filter(|filed| filed.setting == setting).map(|filed| filed.cell).collect();
    for cell in cells {
        shares.entry(cell.share).or_default().push((name(&cell), cell));
    }
    let longest = shares.values().flatten().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (share, mut cells) in shares.into_iter().rev() {
        let auroc =
            |cell: &Axes| COLUMNS[0].1(evidence, *cell).map_or(f64::NEG_INFINITY, |found| found.estimate);
        cells.sort_by(|a, b| auroc(&b.1).total_cmp(&auroc(&a.1)));
        let head = match share {
            Share::NATURAL => "trained at the data's own share".to_owned(),
            share => format!("trained at {} defects", percent(share)),
        };
        let headings: String = COLUMNS.iter().map(|(heading, _)| format!("{heading:>15}")).collect();
        lines.push(String::new());
        lines.push(format!("{head:<longest$} seeds{headings}", longest = longest + 2));
        for (name, cell) in cells {
            let seeds = evidence.scores(Metric::Auroc, &cell.converged()).len();
            let numbers: String =
                COLUMNS.iter().map(|(_, number)| format!("{:>15}", shown(number(evidence, cell)))).collect();
            lines.push(format!("  {name:<longest$} {seeds:>5}{numbers}"));
        }
    }
    lines
}

/// Returns `SimCLR, ResNet-18`, `random weights, ResNet-18`, `raw pixels`; for other studies with their name.
fn name(cell: &Axes) -> String {
    let what = match (cell.study, cell.method) {
        (Study::Pixels, _) => return "raw pixels".to_owned(),
        (Study::GivenWeights, _) => "given weights, frozen",
        (_, None) => "random weights",
        (_, Some(method)) => method.label(),
    };
    let backbone = cell.backbone.map_or("", |backbone| backbone.label());
    if cell.is_an_arm() || cell.is_floor() {
        return format!("{what}, {backbone}");
    }
    let study = [cell.study.id(), cell.study.variant().as_deref().unwrap_or_default()].join(" ");
    format!("{what}, {backbone} ({})", study.trim_end())
}

/// Returns a score of a record's classifier on all validation images.
pub fn all_images(record: &Record, classifier: Classifier, metric: Metric) -> Option<f64> {
    let wanted = |score: &&skewbench::results::record::Score| {
        score.classifier == classifier.id() && score.validation_share.is_none()
    };
    record.scores.iter().find(wanted).and_then(|score| metric.value(score))
}

/// Formats `0.742`, with several seeds `0.742 ±0.012`; a dash if not measured.
fn shown(number: Option<Interval>) -> String {
    let Some(Interval { estimate, low, high }) = number else { return "\u{2013}".to_owned() };
    let half = (high - low) / 2.0;
    if half.is_finite() && half > 0.0 {
        format!("{estimate:.3} ±{half:.3}")
    } else {
        format!("{estimate:.3}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_highest_auroc_comes_first_and_lines_fit_a_terminal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-25-small-study");
        let records: Vec<Record> =
            reading::read(&[folder]).records.into_iter().map(|filed| (*filed.record).clone()).collect();
        let table = render(&records);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");
        let begin = lines.iter().position(|line| line.starts_with("trained at 45 % defects")).unwrap();
        assert!(
            lines[begin].ends_with("F1 in training")
                && lines[begin + 1].starts_with("  Supervised, ResNet-18 ")
        );
        let block: Vec<f64> = lines[begin + 1..]
            .iter()
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let number = line.split_whitespace().find(|word| word.starts_with("0.")).unwrap();
                number.parse().unwrap()
            })
            .collect();
        assert_eq!(block.len(), 14, "eleven arms, three floors: {table}");
        assert!(block.is_sorted_by(|a, b| a >= b), "{block:?}");
    }

    /// Computed by hand: each number is under its heading, with a dash for what was not measured.
    #[test]
    fn numbers_stand_under_their_headings() {
        use crate::support::committed;
        let record = committed::scored();
        let mut floor = committed::record("random_weights", "none", 0);
        floor.scores.retain(|score| score.classifier == "converged");
        floor.scores.iter_mut().for_each(|score| (score.auroc, score.f1) = (0.75, 0.125));
        let told = render(&[floor, record]);
        let words = |begin: &str| -> Vec<String> {
            let line = told.lines().find(|line| line.trim_start().starts_with(begin)).expect(begin);
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("SimCLR"), ["SimCLR,", "ResNet-18", "1", "0.875", "0.250", "0.500"]);
        assert_eq!(words("random"), ["random", "weights,", "ResNet-18", "1", "0.750", "0.125", "\u{2013}"]);
        assert!(told.contains("trained at 45 % defects"), "{told}");
    }

    /// The probe of BYOL has no scores, and that of the floor the lowest.
    #[test]
    fn what_has_no_auroc_comes_last() {
        use crate::support::committed;
        let mut unscored = committed::record("table1", "byol", 0);
        unscored.scores.retain(|score| score.classifier == "in_training");
        let mut floor = committed::record("random_weights", "none", 0);
        floor.scores.iter_mut().for_each(|score| score.auroc = 0.125);
        let told = render(&[unscored, floor, committed::scored()]);
        let rows = told.lines().filter(|line| line.contains(", ResNet-18 "));
        let names: Vec<&str> = rows.map(|line| line.trim().split(',').next().unwrap()).collect();
        assert_eq!(names, ["SimCLR", "random weights", "BYOL"], "{told}");
    }

    #[test]
    fn half_of_an_interval_stands_behind_its_number() {
        let interval = |low, high| Some(Interval { estimate: 0.5, low, high });
        assert_eq!(shown(interval(0.4, 0.65)), "0.500 ±0.125");
        assert_eq!(shown(interval(0.5, 0.5)), "0.500", "of what no seed moves");
        assert_eq!(shown(interval(f64::NEG_INFINITY, f64::INFINITY)), "0.500");
        assert_eq!(shown(None), "\u{2013}");
    }

    #[test]
    fn cells_are_called_by_what_they_are() {
        use skewbench::{
            backbone::Name::{MobileNetV2, ResNet18},
            method::Name::SimClr,
            study::Remedy,
        };
        let share = Share::percent(5);
        let arm = Axes::table_1(SimClr, ResNet18, share);
        for (cell, expected) in [
            (arm, "SimCLR, ResNet-18"),
            (Axes::trained(SimClr, ResNet18, Share::NATURAL), "SimCLR, ResNet-18"),
            (Axes::pixels(share), "raw pixels"),
            (Axes::random_weights(ResNet18, share), "random weights, ResNet-18"),
            (Axes::given_weights(MobileNetV2, share), "given weights, frozen, MobileNetV2"),
            (arm.in_study(Study::FineTuned), "SimCLR, ResNet-18 (fine_tuned)"),
            (arm.in_study(Study::Remedy(Remedy::FocalLoss)), "SimCLR, ResNet-18 (remedy focal_loss)"),
        ] {
            assert_eq!(name(&cell), expected);
        }
    }

    /// Shares from the largest down, the data's own last; within a share the highest AUROC first; settings apart.
    #[test]
    fn every_setting_and_share_has_a_block_of_its_own() {
        use crate::support::committed;
        let record = |scale: &str, share: Option<f64>, method: &str, seed: u64, auroc: f64| {
            let study = if share.is_some() { "table1" } else { "extension" };
            let mut record = committed::record(study, method, seed);
            record.settings.scale = scale.to_owned();
            record.cell.train_share = share;
            let name = share.map_or("natural".to_owned(), |share| format!("share{:02.0}", 100.0 * share));
            record.cell.id = format!("{study}/{method}-resnet18-{name}-seed{seed}");
            let scores = record.scores.iter_mut().filter(|score| score.validation_share.is_none());
            scores.for_each(|score| (score.auroc, score.f1) = (auroc, auroc / 2.0));
            record
        };
        let told = render(&[
            record("small", Some(0.05), "byol", 0, 0.5),
            record("small", None, "simclr", 0, 0.625),
            record("small", Some(0.45), "byol", 0, 0.5),
            record("small", Some(0.45), "simclr", 0, 0.75),
            record("small", Some(0.45), "simclr", 1, 0.75),
            record("small", Some(0.45), "dino", 0, 0.875),
            record("quick", Some(0.45), "simclr", 3, 0.25),
        ]);
        let lines: Vec<Vec<&str>> =
            told.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        let head =
            |words: &[&'static str]| [words, &["seeds", "AUROC", "F1", "F1", "in", "training"][..]].concat();
        let row = |method, seeds, auroc, f1| vec![method, "ResNet-18", seeds, auroc, f1, f1];
        let empty = Vec::new;
        let expected = [
            empty(),
            head(&["trained", "at", "45", "%", "defects"]),
            row("SimCLR,", "1", "0.250", "0.125"),
            empty(),
            head(&["trained", "at", "45", "%", "defects"]),
            row("DINO,", "1", "0.875", "0.438"),
            row("SimCLR,", "2", "0.750", "0.375"),
            row("BYOL,", "1", "0.500", "0.250"),
            empty(),
            head(&["trained", "at", "5", "%", "defects"]),
            row("BYOL,", "1", "0.500", "0.250"),
            empty(),
            head(&["trained", "at", "the", "data's", "own", "share"]),
            row("SimCLR,", "1", "0.625", "0.312"),
        ];
        assert_eq!(lines, expected, "{told}");
    }

    #[test]
    fn a_score_is_of_all_images_and_of_its_classifier() {
        let record = crate::support::committed::scored();
        let of = |classifier, metric| all_images(&record, classifier, metric);
        assert_eq!(of(Classifier::Converged, Metric::Auroc), Some(0.875));
        assert_eq!(of(Classifier::Converged, Metric::F1), Some(0.25));
        assert_eq!(of(Classifier::InTraining, Metric::Auroc), Some(0.125));
        assert_eq!(of(Classifier::InTrainingAdjusted, Metric::Auroc), None);
    }

    /// Seeds that agree closely are still several.
    #[test]
    fn a_small_interval_is_shown() {
        let interval = Some(Interval { estimate: 0.5, low: 0.4999, high: 0.5001 });
        assert_eq!(shown(interval), "0.500 \u{b1}0.000");
    }
}
