//! Every table and figure as a CSV: rows are groups of cells, numbers are means over seeds, `..._sd` how far seeds
//! spread (empty for one seed). Knows nothing of what the paper prints.

use anyhow::Result;

use super::{
    Folder,
    record::Record,
    summary::{Group, Level, METRICS, Place, deviation, groups, mean, places, values},
};

/// Writes `tables/*.csv` of `records` below the folder, each whole or not at all.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Folder, records: &[Record]) -> Result<()> {
    for (name, rows) in all(records)? {
        folder.write_file(&format!("tables/{name}.csv"), rows.as_bytes())?;
    }
    Ok(())
}

/// Ablations, and what they are compared with.
const ABLATIONS: [&str; 9] = [
    "table1",
    "mae_two_predictions",
    "mae_crossed_views",
    "mae_as_released",
    "dino_plain_head",
    "dino_head_norm",
    "augmented_validation",
    "probe_under_lars",
    "probe_as_released",
];

/// Name and text of every table that has rows.
///
/// # Errors
/// None that is known: text is written to memory.
pub fn all(records: &[Record]) -> Result<Vec<(&'static str, String)>> {
    let natural = |place: &Place| place.1 == Level::new(None);
    let of = |studies: &[&str]| -> Vec<&Record> {
        records.iter().filter(|record| studies.contains(&record.cell.study.as_str())).collect()
    };
    let table_1 = ["table1", "extension", "random_weights", "pixels"];
    let tables = [
        ("table1", scores(&of(&table_1), natural)?),
        ("figures2_4_5", scores(&of(&["table1"]), |_| true)?),
        ("table2", scores(&of(&["table2"]), natural)?),
        ("figure3", scores(&of(&["figure3"]), natural)?),
        ("figure6", monitors(&of(&["table1"]))?),
        ("figure7", ranks(&of(&["table1"]))?),
        ("size_matched", scores(&of(&["table1", "size_matched"]), natural)?),
        ("ablations", scores(&of(&ABLATIONS), natural)?),
        ("label_free", label_free(&records.iter().collect::<Vec<_>>())?),
        ("cost", cost(&records.iter().collect::<Vec<_>>())?),
    ];
    Ok(tables.into_iter().filter(|(_, text)| text.lines().count() > 1).collect())
}

const GROUP: [&str; 6] = ["study", "method", "backbone", "variant", "train_share", "seeds"];

fn group_columns(group: &Group, seeds: usize) -> Vec<String> {
    let Group { study, method, backbone, variant, train_share, .. } = group;
    vec![
        study.clone(),
        method.clone(),
        backbone.clone(),
        variant.clone(),
        train_share.to_string(),
        seeds.to_string(),
    ]
}

/// Mean and deviation as cells.
fn statistics(values: &[f64]) -> [String; 2] {
    let number = |value: f64| format!("{value:.6}");
    [
        if values.is_empty() { String::new() } else { number(mean(values)) },
        deviation(values).map_or_else(String::new, number),
    ]
}

fn text(head: &[&str], rows: Vec<Vec<String>>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// One row a group, classifier and validation share that is wanted.
fn scores(records: &[&Record], wanted: impl Fn(&Place) -> bool) -> Result<String> {
    let mut head = GROUP.map(str::to_owned).to_vec();
    head.extend(["classifier", "validation_share"].map(str::to_owned));
    for (name, _) in METRICS {
        head.extend([name.to_owned(), format!("{name}_sd")]);
    }
    head.extend(["seconds_per_epoch".to_owned(), "images_per_second".to_owned()]);
    let mut rows = Vec::new();
    for (group, records) in groups(records.iter().copied()) {
        let pace = |of: fn(&Record) -> f64| {
            let trained: Vec<f64> =
                records.iter().filter(|record| !record.curve.is_empty()).map(|record| of(record)).collect();
            statistics(&trained)[0].clone()
        };
        for place in places(&records).iter().filter(|place| wanted(place)) {
            let mut row = group_columns(&group, records.len());
            row.extend([place.0.clone(), place.1.to_string()]);
            METRICS.iter().for_each(|metric| row.extend(statistics(&values(&records, place, metric))));
            row.push(pace(median_epoch));
            row.push(pace(|record| record.cost.images_per_second));
            rows.push(row);
        }
    }
    text(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// Seconds of the middle epoch: the first may have drawn or decoded what later ones find in memory.
fn median_epoch(record: &Record) -> f64 {
    let mut seconds: Vec<f64> = record.curve.iter().map(|epoch| epoch.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// One row a cell, epoch and monitor.
fn monitors(records: &[&Record]) -> Result<String> {
    let head = ["cell", "epoch", "monitor", "value"];
    let mut rows = Vec::new();
    for record in records {
        for epoch in &record.curve {
            let own = [("loss", Some(epoch.loss)), ("probe_loss", epoch.probe_loss)];
            let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let monitors = epoch.monitors.iter().map(|(name, &value)| (name.as_str(), value));
            for (name, value) in own.chain(monitors) {
                let row =
                    [record.cell.id.clone(), epoch.epoch.to_string(), name.to_owned(), value.to_string()];
                rows.push(row.into());
            }
        }
    }
    text(&head, rows)
}

/// One row a cell: rank in both definitions after the last epoch, and F1 of both classifiers on all images.
fn ranks(records: &[&Record]) -> Result<String> {
    let head = ["cell", "rankme", "rankme_bound", "rankme_released", "f1_in_training", "f1_converged"];
    let row = |record: &&Record| {
        let last = record.curve.last()?;
        let monitor = |name: &str| last.monitors.get(name).map_or_else(String::new, f64::to_string);
        let f1 = |classifier: &str| {
            let place = (classifier.to_owned(), Level::new(None));
            values(&[record], &place, &METRICS[0]).first().map_or_else(String::new, f64::to_string)
        };
        Some(vec![
            record.cell.id.clone(),
            monitor("rankme"),
            monitor("rankme_bound"),
            monitor("rankme_released"),
            f1("in_training"),
            f1("converged"),
        ])
    };
    text(&head, records.iter().filter_map(row).collect())
}

/// One row a cell and label-free metric.
fn label_free(records: &[&Record]) -> Result<String> {
    let mut rows = Vec::new();
    for record in records {
        for (of, metrics) in &record.label_free {
            for (name, value) in metrics {
                rows.push(vec![record.cell.id.clone(), of.clone(), name.clone(), value.to_string()]);
            }
        }
    }
    text(&["cell", "of", "metric", "value"], rows)
}

/// One row a cell: seconds, by what they went to.
fn cost(records: &[&Record]) -> Result<String> {
    const PARTS: [&str; 7] =
        ["data", "updates", "monitors", "checkpoints", "features", "probe", "label_free"];
    let head =
        [&["cell", "images", "epochs", "images_per_second", "train_seconds", "evaluate_seconds"][..], &PARTS];
    let row = |record: &&Record| {
        let (cost, train) = (&record.cost, &record.data.train);
        let mut row = vec![
            record.cell.id.clone(),
            (train.normals + train.defects).to_string(),
            record.curve.len().to_string(),
            format!("{:.1}", cost.images_per_second),
            format!("{:.3}", cost.train_seconds),
            format!("{:.3}", cost.evaluate_seconds),
        ];
        row.extend(PARTS.map(|part| cost.parts.get(part).map_or_else(String::new, |s| format!("{s:.3}"))));
        row
    };
    text(&head.concat(), records.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{example, record::Score};

    #[test]
    fn seeds_are_taken_together_and_variants_are_not() {
        let score = |f1| Score { f1, ..example::score("converged", None) };
        let record = |id: &str, variant: Option<&str>, f1| {
            let mut record = example::record();
            record.cell.id = id.to_owned();
            record.cell.variant = variant.map(str::to_owned);
            record.cell.study = if variant.is_some() { "table2".into() } else { "table1".into() };
            record.scores = vec![score(f1)];
            record
        };
        let records = [
            record("a", None, 0.5),
            record("b", None, 0.7),
            record("c", Some("side064"), 0.1),
            record("d", Some("side224"), 0.9),
        ];
        let tables: std::collections::BTreeMap<_, _> = all(&records).unwrap().into_iter().collect();
        let rows = |name: &str| -> Vec<Vec<String>> {
            tables[name].lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
        };
        // Mean of 0.5 and 0.7; deviation sqrt(2 x 0.1^2 / 1).
        let table_1 = rows("table1");
        assert_eq!(table_1.len(), 1);
        assert_eq!(
            table_1[0][..10].join(","),
            "table1,simclr,resnet18,,5%,2,converged,natural,0.600000,0.141421"
        );
        let table_2: Vec<String> =
            rows("table2").iter().map(|row| format!("{} {} {}", row[3], row[8], row[9])).collect();
        assert_eq!(table_2, ["side064 0.100000 ", "side224 0.900000 "]);
        assert!(!tables.contains_key("figure3"), "no table without rows");
    }
}
