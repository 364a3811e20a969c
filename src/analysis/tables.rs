//! Every table and figure as CSV: rows are groups of cells, numbers are means over seeds, and `..._sd` is the
//! standard deviation over seeds (empty for one seed). Independent of what the paper prints.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{
    cell::{Axes, Scored},
    frame::{Aggregate, Summary},
    intervals::mean,
    measure::Measure,
    reading::{FiledRecord, Reading, by_cell},
};
use crate::{
    data::Share,
    results::{Classifier, Folder, Metric, Record, record::Score},
    study::Study,
};

/// Writes `tables/*.csv` below the folder, each file atomically.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Folder, reading: &Reading) -> Result<()> {
    for (name, rows) in all(reading)? {
        folder.write_file(&format!("tables/{name}.csv"), rows.as_bytes())?;
    }
    Ok(())
}

/// Returns name and text of every table that has rows.
///
/// # Errors
/// Does not fail in practice: text is written to memory.
pub fn all(reading: &Reading) -> Result<Vec<(&'static str, String)>> {
    use Study::{
        Ablation, Extension, Figure3, FineTuned, LabelBudget, Remedy, SizeMatched, Table1, Table2, Tuning,
        Unseen,
    };
    let all_images = |at: &Scored| at.validation == Share::NATURAL;
    let of = |wanted: fn(Study) -> bool| move |at: &Scored| wanted(at.cell.study) && all_images(at);
    let every: Vec<&FiledRecord> = reading.records.iter().collect();
    let arms: Vec<&FiledRecord> = every.iter().copied().filter(|filed| filed.cell.is_an_arm()).collect();
    let tables = [
        ("table1", scores(reading, of(|study| matches!(study, Table1 | Extension) || study.is_floor()))?),
        ("figures2_4_5", scores(reading, |at| at.cell.is_an_arm())?),
        ("table2", scores(reading, of(|study| matches!(study, Table2 { .. })))?),
        ("figure3", scores(reading, of(|study| matches!(study, Figure3 { .. })))?),
        ("figure6", monitors(&arms)?),
        ("figure7", ranks(&arms)?),
        ("size_matched", scores(reading, of(|study| matches!(study, Table1 | SizeMatched)))?),
        ("ablations", scores(reading, of(|study| matches!(study, Table1 | Ablation(_))))?),
        ("fine_tuned", scores(reading, of(|study| matches!(study, Table1 | Extension | FineTuned)))?),
        ("label_budgets", scores(reading, of(|study| matches!(study, LabelBudget { .. })))?),
        ("unseen", scores(reading, of(|study| matches!(study, Unseen { .. })))?),
        ("remedies", scores(reading, of(|study| matches!(study, Table1 | Remedy(_))))?),
        ("tuning", scores(reading, of(|study| matches!(study, Tuning { .. })))?),
        ("label_free", label_free(&every)?),
        ("cost", cost(&every)?),
    ];
    Ok(tables.into_iter().filter(|(_, text)| text.lines().count() > 1).collect())
}

const GROUP: [&str; 6] = ["study", "method", "backbone", "variant", "train_share", "seeds"];

fn group_columns(cell: &Axes, seeds: usize) -> Vec<String> {
    vec![
        cell.study.id().to_owned(),
        cell.method_id().to_owned(),
        cell.backbone_id().to_owned(),
        cell.study.variant().unwrap_or_default(),
        cell.share.to_string(),
        seeds.to_string(),
    ]
}

/// Mean and deviation as text.
fn statistics(aggregate: &Aggregate) -> [String; 2] {
    let number = |value: f64| format!("{value:.6}");
    [
        if aggregate.count == 0 { String::new() } else { number(aggregate.mean) },
        aggregate.deviation.map_or_else(String::new, number),
    ]
}

fn text(head: &[&str], rows: Vec<Vec<String>>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Table with one row for everything scored that `wanted` accepts.
fn scores(reading: &Reading, wanted: impl Fn(&Scored) -> bool) -> Result<String> {
    let mut head = GROUP.map(str::to_owned).to_vec();
    head.extend(["classifier", "validation_share"].map(str::to_owned));
    for metric in Metric::ALL {
        head.extend([metric.id().to_owned(), format!("{metric}_sd")]);
    }
    head.extend(["seconds_per_epoch".to_owned(), "images_per_second".to_owned()]);
    let paces: BTreeMap<Axes, [String; 2]> =
        by_cell(&reading.records).into_iter().map(|(cell, records)| (cell, pace(&records))).collect();
    let row = |Summary { scored: at, rows, aggregates }: Summary| {
        let mut row = group_columns(&at.cell, rows);
        row.extend([at.classifier.to_string(), at.validation.to_string()]);
        aggregates.iter().for_each(|aggregate| row.extend(statistics(aggregate)));
        row.extend(paces[&at.cell].clone());
        row
    };
    let summaries = reading.frame.filter_axes(wanted).summaries(&Metric::ALL.map(Measure::from));
    text(&head.iter().map(String::as_str).collect::<Vec<_>>(), summaries.into_iter().map(row).collect())
}

/// Seconds of the median epoch and images per second, each a mean over the trained records.
fn pace(records: &[&Record]) -> [String; 2] {
    let of = |number: fn(&Record) -> f64| {
        let trained: Vec<f64> =
            records.iter().filter(|record| !record.curve.is_empty()).map(|record| number(record)).collect();
        if trained.is_empty() { String::new() } else { format!("{:.6}", mean(&trained)) }
    };
    [of(median_epoch), of(|record| record.cost.images_per_second)]
}

/// Seconds of the median epoch; the first epoch may draw or decode images that later epochs find cached.
fn median_epoch(record: &Record) -> f64 {
    let mut seconds: Vec<f64> = record.curve.iter().map(|epoch| epoch.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Table with one row per cell, epoch and monitor.
fn monitors(records: &[&FiledRecord]) -> Result<String> {
    let head = ["cell", "epoch", "monitor", "value"];
    let mut rows = Vec::new();
    for FiledRecord { record, .. } in records {
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

/// Table with one row per cell: both definitions of rank after the last epoch, and F1 of both classifiers on all
/// images.
fn ranks(records: &[&FiledRecord]) -> Result<String> {
    let head = ["cell", "rankme", "rankme_bound", "rankme_released", "f1_in_training", "f1_converged"];
    let row = |FiledRecord { record, .. }: &&FiledRecord| {
        let last = record.curve.last()?;
        let monitor = |name: &str| last.monitors.get(name).map_or_else(String::new, f64::to_string);
        let f1 = |classifier: Classifier| {
            let wanted =
                |score: &&Score| score.classifier == classifier.id() && score.validation_share.is_none();
            record.scores.iter().find(wanted).map_or_else(String::new, |score| score.f1.to_string())
        };
        Some(vec![
            record.cell.id.clone(),
            monitor("rankme"),
            monitor("rankme_bound"),
            monitor("rankme_released"),
            f1(Classifier::InTraining),
            f1(Classifier::Converged),
        ])
    };
    text(&head, records.iter().filter_map(row).collect())
}

/// Table with one row per cell and label-free metric.
fn label_free(records: &[&FiledRecord]) -> Result<String> {
    let mut rows = Vec::new();
    for FiledRecord { record, .. } in records {
        for (of, metrics) in &record.label_free {
            for (name, value) in metrics {
                rows.push(vec![record.cell.id.clone(), of.clone(), name.clone(), value.to_string()]);
            }
        }
    }
    text(&["cell", "of", "metric", "value"], rows)
}

/// Table with one row per cell: seconds, by purpose.
fn cost(records: &[&FiledRecord]) -> Result<String> {
    const PARTS: [&str; 7] =
        ["data", "updates", "monitors", "checkpoints", "features", "probe", "label_free"];
    let head =
        [&["cell", "images", "epochs", "images_per_second", "train_seconds", "evaluate_seconds"][..], &PARTS];
    let row = |FiledRecord { record, .. }: &&FiledRecord| {
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
    use crate::{
        analysis::reading,
        results::{example, record::Epoch},
    };

    #[test]
    fn seeds_are_taken_together_and_variants_are_not() {
        let score = |f1| Score { f1, ..example::score("converged", None) };
        let record = |id: &str, variant: Option<&str>, f1| {
            let mut record = example::record();
            record.cell.id = id.to_owned();
            record.cell.variant = variant.map(str::to_owned);
            record.cell.study = if variant.is_some() { "table2".into() } else { "table1".into() };
            record.cell.seed = u64::from(id == "b");
            record.scores = vec![score(f1)];
            record
        };
        let records = [
            record("a", None, 0.5),
            record("b", None, 0.7),
            record("c", Some("side064"), 0.1),
            record("d", Some("side224"), 0.9),
        ];
        let named = records.map(|record| (record.cell.id.clone(), record));
        let tables: BTreeMap<_, _> = all(&reading::from_memory(named.into())).unwrap().into_iter().collect();
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

    /// Numbers of a table's only row, by column name.
    fn by_head(tables: &BTreeMap<&str, String>, name: &str) -> BTreeMap<String, String> {
        let mut reader = csv::Reader::from_reader(tables[name].as_bytes());
        let head = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        let [row] = &rows[..] else { panic!("{name}: {} rows", rows.len()) };
        head.iter().zip(row).map(|(head, cell)| (head.to_owned(), cell.to_owned())).collect()
    }

    #[test]
    fn every_score_stands_under_its_head() {
        let score = |classifier: &str, step: f64| Score {
            f1: 0.1 + step,
            f1_normal: 0.2 + step,
            precision: 0.3 + step,
            recall: 0.4 + step,
            true_positive_rate: 0.4 + step,
            false_positive_rate: 0.5 + step,
            auroc: 0.6 + step,
            average_precision: 0.7 + step,
            tpr_at_fpr_5: Some(0.8 + step),
            fpr_at_tpr_95: Some(0.9 + step),
            ..example::score(classifier, None)
        };
        let mut record = example::record();
        record.scores = vec![score("in_training", 0.01), score("converged", 0.02)];
        let monitors = [("rankme", 3.5), ("rankme_bound", 4.5), ("rankme_released", 5.5)];
        record.curve = vec![Epoch {
            epoch: 1,
            loss: 2.5,
            probe_loss: Some(1.5),
            learning_rate: 0.125,
            seconds: 7.0,
            monitors: monitors.map(|(name, value)| (name.to_owned(), value)).into(),
        }];
        let tables: BTreeMap<_, _> =
            all(&reading::from_memory(vec![("a".into(), record)])).unwrap().into_iter().collect();
        let ranks = by_head(&tables, "figure7");
        let expected = [
            ("rankme", "3.5"),
            ("rankme_bound", "4.5"),
            ("rankme_released", "5.5"),
            ("f1_in_training", "0.11"),
            ("f1_converged", "0.12000000000000001"),
        ];
        for (head, value) in expected {
            assert_eq!(ranks[head], value, "{head}");
        }
        let found = tables["figure6"].lines().skip(1).map(|line| line.split_once(",1,").unwrap().1);
        let found: Vec<&str> = found.collect();
        assert_eq!(
            found,
            ["loss,2.5", "probe_loss,1.5", "rankme,3.5", "rankme_bound,4.5", "rankme_released,5.5"]
        );
        let mut reader = csv::Reader::from_reader(tables["table1"].as_bytes());
        let head = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 2);
        for row in &rows {
            let at = |name: &str| &row[head.iter().position(|head| head == name).unwrap()];
            let step = if at("classifier") == "converged" { 0.02 } else { 0.01 };
            let expected = [
                ("f1", 0.1),
                ("f1_normal", 0.2),
                ("precision", 0.3),
                ("recall", 0.4),
                ("auroc", 0.6),
                ("average_precision", 0.7),
            ];
            for (name, value) in expected {
                assert_eq!(at(name), format!("{:.6}", value + step), "{name}");
            }
            assert_eq!((at("seconds_per_epoch"), at("images_per_second")), ("7.000000", "100.000000"));
        }
    }

    #[test]
    fn what_a_cell_cost_stands_under_its_head() {
        let mut record = example::record();
        let cost = &mut record.cost;
        (cost.train_seconds, cost.evaluate_seconds, cost.images_per_second) = (12.5, 3.25, 80.0);
        cost.parts = [("data", 1.5), ("probe", 0.75)].map(|(part, s)| (part.to_owned(), s)).into();
        let tables: BTreeMap<_, _> =
            all(&reading::from_memory(vec![("a".into(), record)])).unwrap().into_iter().collect();
        let lines: Vec<Vec<&str>> = tables["cost"].lines().map(|line| line.split(',').collect()).collect();
        let [head, row] = &lines[..] else { panic!("{lines:?}") };
        let found: Vec<(&str, &str)> =
            head.iter().copied().zip(row.iter().copied()).filter(|(_, cell)| !cell.is_empty()).collect();
        let expected = [
            ("cell", "table1/simclr-resnet18-share05-seed0"),
            // 95 normal images and 5 defects.
            ("images", "100"),
            ("epochs", "0"),
            ("images_per_second", "80.0"),
            ("train_seconds", "12.500"),
            ("evaluate_seconds", "3.250"),
            ("data", "1.500"),
            ("probe", "0.750"),
        ];
        assert_eq!(found, expected);
    }

    /// Which tables have rows of a study, and for which validation images.
    #[test]
    fn every_study_has_its_own_tables() {
        let of = |study: &str, variant: Option<&str>, method: &str| -> Vec<String> {
            let mut record = example::record();
            (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
            record.cell.variant = variant.map(str::to_owned);
            if study == "pixels" {
                record.cell.backbone = "pixels".to_owned();
            }
            record.scores = vec![example::score("converged", None), example::score("converged", Some(0.05))];
            let tables = all(&reading::from_memory(vec![("a".into(), record)])).unwrap();
            let rows = |text: &str| text.lines().filter(|line| line.contains(study)).count();
            let named = tables.iter().filter(|(name, text)| *name != "cost" && rows(text) > 0);
            named.map(|(name, text)| format!("{name} {}", rows(text))).collect()
        };
        let arm = ["table1 1", "figures2_4_5 2"];
        let beside = ["size_matched 1", "ablations 1", "fine_tuned 1", "remedies 1"];
        assert_eq!(of("table1", None, "simclr"), [&arm[..], &beside].concat());
        assert_eq!(of("extension", None, "simclr"), [&arm[..], &["fine_tuned 1"]].concat());
        for floor in ["random_weights", "given_weights", "pixels"] {
            assert_eq!(of(floor, None, "none"), ["table1 1"], "{floor}");
        }
        for (study, variant, table) in [
            ("table2", Some("side128"), "table2 1"),
            ("figure3", Some("jitter0100-crop0500"), "figure3 1"),
            ("size_matched", None, "size_matched 1"),
            ("probe_under_lars", None, "ablations 1"),
            ("fine_tuned", None, "fine_tuned 1"),
            ("label_budget", Some("defects0005"), "label_budgets 1"),
            ("unseen", Some("class00"), "unseen 1"),
            ("remedy", Some("focal_loss"), "remedies 1"),
            ("tuning", Some("trial03"), "tuning 1"),
        ] {
            assert_eq!(of(study, variant, "supervised"), [table], "{study}");
        }
    }

    /// Monitors and ranks are listed for arms only; label-free metrics for every cell, with what they are computed
    /// on.
    #[test]
    fn label_free_metrics_stand_beside_what_they_are_of() {
        let mut record = example::record();
        let of = |name: &str, value: f64| [(name.to_owned(), value)].into();
        record.label_free =
            [("features".to_owned(), of("rankme", 3.5)), ("views".to_owned(), of("lidar", 4.5))].into();
        let epoch = |epoch, seconds| Epoch {
            epoch,
            loss: 1.0,
            probe_loss: None,
            learning_rate: 0.1,
            seconds,
            monitors: BTreeMap::new(),
        };
        // The median of three epochs, whatever their order.
        record.curve = vec![epoch(1, 90.0), epoch(2, 4.0), epoch(3, 5.0)];
        record.scores = vec![example::score("converged", None)];
        let mut floor = record.clone();
        (floor.cell.study, floor.cell.method) = ("random_weights".to_owned(), "none".to_owned());
        floor.cell.id = "random_weights/none-resnet18".to_owned();
        let reading = reading::from_memory(vec![("a".into(), record.clone()), ("b".into(), floor)]);
        let tables: BTreeMap<_, _> = all(&reading).unwrap().into_iter().collect();
        let (arm, floor) = (record.cell.id.as_str(), "random_weights/none-resnet18");
        let expected: Vec<String> = [floor, arm]
            .iter()
            .flat_map(|cell| [format!("{cell},features,rankme,3.5"), format!("{cell},views,lidar,4.5")])
            .collect();
        let mut found: Vec<&str> = tables["label_free"].lines().skip(1).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert!(tables["cost"].contains(arm) && tables["cost"].contains(floor), "{}", tables["cost"]);
        for name in ["figure6", "figure7"] {
            assert!(tables[name].contains(arm) && !tables[name].contains(floor), "{name}");
        }
        assert!(
            tables["table1"].lines().nth(1).unwrap().ends_with(",5.000000,100.000000"),
            "{}",
            tables["table1"]
        );
    }

    /// The columns of every table, and where they are written.
    #[test]
    fn tables_are_files_with_these_columns() {
        let mut record = example::record();
        record.scores = vec![example::score("converged", None)];
        record.label_free = [("views".to_owned(), [("lidar".to_owned(), 4.5)].into())].into();
        record.curve = vec![Epoch {
            epoch: 1,
            loss: 2.5,
            probe_loss: None,
            learning_rate: 0.125,
            seconds: 7.0,
            monitors: BTreeMap::new(),
        }];
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        write(&folder, &reading::from_memory(vec![("a".into(), record)])).unwrap();
        let head = |name: &str| -> String {
            let text = std::fs::read_to_string(root.path().join(format!("tables/{name}.csv"))).unwrap();
            text.lines().next().unwrap().to_owned()
        };
        assert_eq!(
            head("table1"),
            "study,method,backbone,variant,train_share,seeds,classifier,validation_share,f1,f1_sd,f1_normal,f1_normal_sd,\
             f2_ciw_oracle,f2_ciw_oracle_sd,f2_ciw_multilabel,f2_ciw_multilabel_sd,precision,precision_sd,recall,recall_sd,\
             true_positive_rate,true_positive_rate_sd,false_positive_rate,false_positive_rate_sd,auroc,auroc_sd,\
             average_precision,average_precision_sd,tpr_at_fpr_5,tpr_at_fpr_5_sd,fpr_at_tpr_95,fpr_at_tpr_95_sd,\
             seconds_per_epoch,images_per_second"
        );
        assert_eq!(head("remedies"), head("table1"));
        assert_eq!(head("figure6"), "cell,epoch,monitor,value");
        assert_eq!(head("figure7"), "cell,rankme,rankme_bound,rankme_released,f1_in_training,f1_converged");
        assert_eq!(head("label_free"), "cell,of,metric,value");
        assert_eq!(
            head("cost"),
            "cell,images,epochs,images_per_second,train_seconds,evaluate_seconds,data,updates,monitors,checkpoints,features,\
             probe,label_free"
        );
    }

    /// The mean over the seeds that were trained: 2 and 4 seconds per epoch, 100 and 300 images per second.
    #[test]
    fn the_pace_of_a_cell_is_that_of_its_trained_seeds() {
        let record = |seed: u64, epochs: &[f64], pace: f64| {
            let mut record = example::record();
            record.cell.id = format!("{seed}");
            (record.cell.seed, record.cost.images_per_second) = (seed, pace);
            let epoch = |(epoch, &seconds): (usize, &f64)| Epoch {
                epoch,
                loss: 1.0,
                probe_loss: None,
                learning_rate: 0.1,
                seconds,
                monitors: BTreeMap::new(),
            };
            record.curve = (1..).zip(epochs).map(epoch).collect();
            record
        };
        let records = [record(0, &[50.0, 2.0, 1.0], 100.0), record(1, &[4.0], 300.0), record(2, &[], 7.0)];
        let all: Vec<&Record> = records.iter().collect();
        assert_eq!(pace(&all), ["3.000000", "200.000000"]);
        assert_eq!(pace(&all[2..]), ["", ""]);
        assert!(median_epoch(&records[2]).is_nan());
    }

    /// Every variant is a group of its own, named in its column.
    #[test]
    fn variants_stand_in_their_column() {
        let one = |(study, variant, seed): (&str, Option<&str>, u64)| {
            let mut record = example::record();
            (record.cell.study, record.cell.seed) = (study.to_owned(), seed);
            (record.cell.method, record.cell.backbone) = ("supervised".to_owned(), "vit_tiny".to_owned());
            record.cell.variant = variant.map(str::to_owned);
            record.cell.id = format!("{study}{variant:?}{seed}");
            record.scores = vec![example::score("in_training", None)];
            (record.cell.id.clone(), record)
        };
        let of = |study: &str, variants: [&str; 2], table: &str| {
            let [first, second] = variants.map(Some);
            let records = [(study, first, 0), (study, first, 1), (study, second, 0)].map(one);
            let tables: BTreeMap<_, _> =
                all(&reading::from_memory(records.into())).unwrap().into_iter().collect();
            let begin = |line: &str| line.split(',').take(8).collect::<Vec<_>>().join(",");
            tables[table].lines().skip(1).map(begin).collect::<Vec<_>>()
        };
        for (study, variants, table) in [
            ("figure3", ["jitter0100-crop0500", "jitter0800-crop0080"], "figure3"),
            ("label_budget", ["defects0005", "defects0020"], "label_budgets"),
            ("unseen", ["class00", "class03"], "unseen"),
            ("remedy", ["focal_loss", "oversampling"], "remedies"),
            ("tuning", ["trial03", "trial12"], "tuning"),
        ] {
            let line = |variant: &str, seeds: usize| {
                format!("{study},supervised,vit_tiny,{variant},5%,{seeds},in_training,natural")
            };
            let mut found = of(study, variants, table);
            found.sort();
            let mut expected = [line(variants[0], 2), line(variants[1], 1)];
            expected.sort();
            assert_eq!(found, expected);
        }
    }

    /// Ranks are those after the last epoch, curves those of every epoch, and scores those of all validation images.
    #[test]
    fn ranks_are_of_the_last_epoch_and_curves_of_all() {
        let mut record = example::record();
        let epoch = |epoch: usize| Epoch {
            epoch,
            loss: 9.5 - epoch as f64,
            probe_loss: (epoch > 1).then_some(0.25),
            learning_rate: 0.1,
            seconds: 1.0,
            monitors: [("rankme".to_owned(), 10.5 + epoch as f64)].into(),
        };
        record.curve = (1..=3).map(epoch).collect();
        let of =
            |classifier: &str, share: Option<f64>, f1: f64| Score { f1, ..example::score(classifier, share) };
        record.scores = vec![
            of("converged", Some(0.05), 0.1),
            of("converged", None, 0.2),
            of("in_training", Some(0.05), 0.3),
            of("in_training", None, 0.4),
        ];
        let cell = record.cell.id.clone();
        let tables: BTreeMap<_, _> =
            all(&reading::from_memory(vec![("a".into(), record)])).unwrap().into_iter().collect();
        assert_eq!(tables["figure7"].lines().nth(1), Some(format!("{cell},13.5,,,0.4,0.2").as_str()));
        let curves: Vec<&str> = tables["figure6"].lines().skip(1).collect();
        let expected = [
            "1,loss,8.5",
            "1,rankme,11.5",
            "2,loss,7.5",
            "2,probe_loss,0.25",
            "2,rankme,12.5",
            "3,loss,6.5",
            "3,probe_loss,0.25",
            "3,rankme,13.5",
        ];
        assert_eq!(curves, expected.map(|rest| format!("{cell},{rest}")));
    }
}
