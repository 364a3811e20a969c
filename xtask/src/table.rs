//! Records as a table for the terminal: mean over seeds, and how far they spread.

use std::collections::BTreeMap;

use skewbench::results::Record;

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
    let mut groups: BTreeMap<(String, String, String, u64, Option<String>), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let share = record.cell.train_share.map_or(u64::MAX, |share| (share * 1e4).round() as u64);
        groups
            .entry((
                record.cell.study.clone(),
                record.cell.method.clone(),
                record.cell.backbone.clone(),
                share,
                record.cell.variant.clone(),
            ))
            .or_default()
            .push(record);
    }

    let mut lines = vec![
        std::iter::once(format!(
            "{:<30} {:<12} {:<10} {:>8} {:>5}",
            "study", "method", "backbone", "trained", "seeds"
        ))
        .chain(COLUMNS.iter().map(|(heading, _)| format!("{heading:>15}")))
        .collect::<String>(),
    ];
    for ((study, method, backbone, _, variant), records) in &groups {
        let share = match records[0].cell.train_share {
            Some(share) => format!("{} %", share * 100.0),
            None => "natural".to_owned(),
        };
        let study = variant.as_ref().map_or(study.clone(), |variant| format!("{study} {variant}"));
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
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let digits = if mean.abs() >= 10.0 { 1 } else { 3 };
    match values.len() {
        0 => "-".to_owned(),
        1 => format!("{mean:.digits$}"),
        _ => {
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            format!("{mean:.digits$} ±{:.digits$}", variance.sqrt())
        }
    }
}
