//! Records as a table for the terminal: mean over seeds, and how far they spread.

use skewbench::{
    analysis::{
        cell::percent,
        intervals::{deviation, mean},
        reading::{self, by_cell},
    },
    results::{Classifier, Metric, Record},
};

/// Column: heading, and the number of a record that it shows.
type Column = (&'static str, fn(&Record) -> Option<f64>);

const COLUMNS: [Column; 7] = [
    ("F1 in-training", |record| all_images(record, Classifier::InTraining, Metric::F1)),
    ("F1 probe", |record| all_images(record, Classifier::Converged, Metric::F1)),
    ("F1_Normal", |record| all_images(record, Classifier::Converged, Metric::F1Normal)),
    ("F2_CIW oracle", |record| all_images(record, Classifier::Converged, Metric::F2Oracle)),
    ("AUROC", |record| all_images(record, Classifier::Converged, Metric::Auroc)),
    ("images/s", |record| trained(record).then_some(record.cost.images_per_second)),
    ("s/epoch", |record| trained(record).then(|| record.cost.train_seconds / record.curve.len() as f64)),
];

/// One line a cell, seeds taken together; scores are of all validation images, the last five columns
/// but two of the converged probe on frozen features.
pub fn render(records: &[Record]) -> String {
    let mut lines = vec![
        std::iter::once(format!(
            "{:<30} {:<12} {:<10} {:>8} {:>5}",
            "study", "method", "backbone", "trained", "seeds"
        ))
        .chain(COLUMNS.iter().map(|(heading, _)| format!("{heading:>15}")))
        .collect::<String>(),
    ];
    let named = records.iter().map(|record| (record.cell.id.clone(), record.clone()));
    let reading = reading::of(named.collect());
    for (cell, records) in by_cell(&reading.records) {
        let study = [cell.study.id(), cell.study.variant().as_deref().unwrap_or_default()].join(" ");
        let mut line = format!(
            "{study:<30} {:<12} {:<10} {:>8} {:>5}",
            cell.method_id(),
            cell.backbone_id(),
            percent(cell.share),
            records.len()
        );
        for (_, number) in COLUMNS {
            let values: Vec<f64> = records.iter().filter_map(|record| number(record)).collect();
            line += &format!("{:>15}", mean_and_spread(&values));
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn trained(record: &Record) -> bool {
    !record.curve.is_empty()
}

/// A number of a record's classifier on all validation images.
pub fn all_images(record: &Record, classifier: Classifier, metric: Metric) -> Option<f64> {
    let wanted = |score: &&skewbench::results::record::Score| {
        score.classifier == classifier.id() && score.validation_share.is_none()
    };
    record.scores.iter().find(wanted).and_then(|score| metric.of(score))
}

/// `mean` of one value, `mean +-sd` (sample standard deviation) of several.
fn mean_and_spread(values: &[f64]) -> String {
    let middle = mean(values);
    let digits = if middle.abs() >= 10.0 { 1 } else { 3 };
    match deviation(values) {
        _ if values.is_empty() => "-".to_owned(),
        None => format!("{middle:.digits$}"),
        Some(deviation) => format!("{middle:.digits$} ±{deviation:.digits$}"),
    }
}
