//! Records as a table for the terminal: mean over seeds, and how far they spread.

use skewbench::results::{
    Record,
    summary::{self, Group, deviation, mean},
};

/// Column: heading, and the number of a record that it shows.
type Column = (&'static str, fn(&Record) -> Option<f64>);

const COLUMNS: [Column; 7] = [
    ("F1 in-training", |record| all_images(record, "in_training").map(|score| score.f1)),
    ("F1 probe", |record| all_images(record, "converged").map(|score| score.f1)),
    ("F1_Normal", |record| all_images(record, "converged").map(|score| score.f1_normal)),
    ("F2_CIW oracle", |record| all_images(record, "converged").and_then(|score| score.f2_ciw_oracle)),
    ("AUROC", |record| all_images(record, "converged").map(|score| score.auroc)),
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
    for (group, records) in summary::groups(records) {
        let Group { method, backbone, train_share, .. } = &group;
        let share = train_share.percent().map_or("natural".to_owned(), |percent| format!("{percent} %"));
        let study = [group.study.as_str(), &group.variant].join(" ");
        let mut line = format!("{study:<30} {method:<12} {backbone:<10} {share:>8} {:>5}", records.len());
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

fn all_images<'a>(record: &'a Record, classifier: &str) -> Option<&'a skewbench::results::record::Score> {
    record.scores.iter().find(|score| score.classifier == classifier && score.validation_share.is_none())
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
