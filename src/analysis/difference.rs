//! Compares two sets of records, or one set with the paper: which scores moved beyond noise.
//!
//! A difference of means over n and m seeds is beyond noise ([`super::noise`], measured on both sets) when it exceeds
//! the quantile of Student's t whose tail equals that of a normal variable at 3 deviations: 3 with many cells, more
//! with few, since the deviation itself is then uncertain. The 3 is ours: a few of a thousand comparisons exceed it
//! by chance. If the noise is unknown, the comparison is undecided.

use std::collections::BTreeMap;

use super::{
    cell::{Axes, Scored},
    frame::{Frame, FrameBuilder},
    intervals::{THREE_DEVIATIONS, mean},
    noise::{Noise, Weighed},
    reading::{FiledRecord, add_rows},
};
use crate::{
    backbone::Name::{ResNet18, ViTTiny},
    data::Share,
    method::Name::Supervised,
    results::{
        Metric,
        paper::{table_1, table_2},
    },
    study::Study,
};

/// How a score changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It moved further than new seeds would move it.
    MovedBeyondNoise,
    /// It moved no further than new seeds would move it.
    WithinNoise,
    /// The noise is unknown: no cell of its kind has two seeds.
    Undecided,
    /// Bit-identical, seed by seed.
    Equal,
}

/// One score of one group of cells in both sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// What is scored.
    pub scored: Scored,
    /// Which score.
    pub metric: Metric,
    /// Mean over seeds in the first set.
    pub before: f64,
    /// Mean over seeds in the second set.
    pub after: f64,
    /// What the difference must exceed to be beyond noise; `None` if unknown.
    pub noise: Option<f64>,
    /// How the score changed.
    pub change: Change,
}

/// Scores of every seed, by what is scored.
type Scores = BTreeMap<Scored, Vec<f64>>;

/// Settings of the two sets in the table that noise is measured on: each set has its own mean for a cell.
const SETS: [&str; 2] = ["before", "after"];

/// Compares every score that both sets have.
pub fn between(before: &[FiledRecord], after: &[FiledRecord]) -> Vec<Difference> {
    let frame = table(&[before, after]);
    let noise = Noise::measured(&frame);
    let [before, after] = SETS.map(|set| frame.setting(set));
    let mut differences = Vec::new();
    for metric in Metric::ALL {
        let (old, new) = (scores(&before, metric), scores(&after, metric));
        for (at, old) in &old {
            let Some(new) = new.get(at) else { continue };
            differences.push(difference(&noise, *at, metric, old, new));
        }
    }
    differences.sort_by_key(|difference| difference.scored);
    differences
}

/// Compares Tables 1 and 2 as printed (`before`) with our classifier in training. The paper has one seed, whose spread
/// is assumed to equal ours.
pub fn with_paper(records: &[FiledRecord]) -> Vec<Difference> {
    let frame = table(&[records]);
    let noise = Noise::measured(&frame);
    let ours: BTreeMap<Metric, Scores> = Metric::ALL.map(|metric| (metric, scores(&frame, metric))).into();
    let beside = |at: Scored, metric: Metric, printed: f64| {
        let found = ours[&metric].get(&at)?;
        Some(difference(&noise, at, metric, &[printed], found))
    };
    let mut differences = Vec::new();
    for cell in table_1() {
        let at = Axes::table_1(cell.method, cell.backbone, cell.train_share).in_training();
        differences.extend(cell.printed.score().and_then(|printed| beside(at, cell.metric, printed)));
    }
    for column in table_2() {
        for (backbone, printed) in [(ResNet18, column.resnet18_f1), (ViTTiny, column.vit_tiny_f1)] {
            let study = Study::Table2 { side: column.resolution };
            let cell = Axes::table_1(Supervised, backbone, Share::NATURAL).in_study(study);
            differences.extend(beside(cell.in_training(), Metric::F1, printed));
        }
    }
    differences
}

/// Table of the records of up to two sets, whatever their settings.
fn table(sets: &[&[FiledRecord]]) -> Frame {
    let mut rows = FrameBuilder::default();
    for (set, records) in SETS.into_iter().zip(sets) {
        for filed in *records {
            // Non-finite values are left out; they were reported when the records were read.
            let _ = add_rows(&mut rows, set, &filed.cell, &filed.record);
        }
    }
    rows.frame()
}

fn scores(frame: &Frame, metric: Metric) -> Scores {
    let mut runs: BTreeMap<Scored, Vec<(Option<u64>, f64)>> = BTreeMap::new();
    for point in frame.points(&metric.into()) {
        runs.entry(point.scored).or_default().push((point.seed, point.value));
    }
    let in_order = |(at, mut runs): (Scored, Vec<(Option<u64>, f64)>)| {
        runs.sort_by_key(|run| run.0);
        (at, runs.into_iter().map(|run| run.1).collect())
    };
    runs.into_iter().map(in_order).collect()
}

fn difference(noise: &Noise, at: Scored, metric: Metric, before: &[f64], after: &[f64]) -> Difference {
    let (old, new) = (mean(before), mean(after));
    let weigh = |weight, seeds| Weighed { weight, scored: at, seeds };
    let error = noise.standard_error(&metric.into(), &[weigh(-1.0, before.len()), weigh(1.0, after.len())]);
    let noise = error.map(|error| error.tail_quantile(THREE_DEVIATIONS));
    let change = match noise {
        _ if before == after => Change::Equal,
        None => Change::Undecided,
        Some(noise) if (new - old).abs() > noise => Change::MovedBeyondNoise,
        Some(_) => Change::WithinNoise,
    };
    Difference { scored: at, metric, before: old, after: new, noise, change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::reading,
        method::Name::{Byol, SimClr},
        results::{Record, example, record::Score},
    };

    fn record(method: &str, seed: u64, f1: f64) -> Record {
        let mut record = example::record();
        record.cell.id = format!("table1/{method}-{seed}");
        record.cell.method = method.to_owned();
        record.cell.seed = seed;
        record.scores = vec![Score { f1, ..example::score("in_training", None) }];
        record
    }

    fn filed(records: &[Record]) -> Vec<FiledRecord> {
        reading::from_memory(records.iter().map(|record| (record.cell.id.clone(), record.clone())).collect())
            .records
    }

    fn changes(differences: &[Difference]) -> Vec<(crate::method::Name, Change)> {
        let f1 = differences.iter().filter(|difference| difference.metric == Metric::F1);
        f1.map(|difference| (difference.scored.cell.method.unwrap(), difference.change)).collect()
    }

    #[test]
    fn what_moved_is_judged_by_the_spread_of_seeds() {
        // BYOL is in both sets; SimCLR has one seed in each, so its spread is estimated from BYOL's: the variance of
        // 0.60, 0.62 is 0.0002, with 2 degrees of freedom (each set has its own mean). The noise, 19.207 x 0.014142 x
        // sqrt(2), is 0.38414 at those degrees; a prediction cannot be worth more degrees of freedom than the cells
        // that it comes from.
        let byol = [record("byol", 0, 0.60), record("byol", 1, 0.62)];
        let with = |f1: f64| filed(&[byol.as_slice(), &[record("simclr", 0, f1)]].concat());
        let before = with(0.40);
        let found = between(&before, &with(0.42));
        assert_eq!(changes(&found), [(Byol, Change::Equal), (SimClr, Change::WithinNoise)]);
        let simclr = |d: &&Difference| (d.scored.cell.method, d.metric) == (Some(SimClr), Metric::F1);
        let noise = found.iter().find(simclr).unwrap().noise.unwrap();
        assert!(noise > 0.3, "{noise}");

        let found = between(&before, &with(0.42 + 1.1 * noise));
        assert_eq!(changes(&found), [(Byol, Change::Equal), (SimClr, Change::MovedBeyondNoise)]);
        let alone = filed(&[record("simclr", 0, 0.5)]);
        let other = filed(&[record("simclr", 0, 0.6), record("mae", 0, 0.5)]);
        assert_eq!(changes(&between(&alone, &other)), [(SimClr, Change::Undecided)]);
    }

    #[test]
    fn the_paper_is_compared_with_the_classifier_in_training() {
        // Table 1 prints F1 of supervised ResNet-18 at 5 %.
        let printed = table_1().into_iter().find(|cell| {
            (cell.metric, cell.backbone, cell.method, cell.train_share)
                == (Metric::F1, ResNet18, Supervised, Share::percent(5))
        });
        let printed = printed.unwrap().printed.score().unwrap();
        let seeds = [(0, 0.300), (1, 0.302), (2, 0.301), (3, 0.301)];
        let records = seeds.map(|(seed, lower)| record("supervised", seed, printed - lower));
        let found = with_paper(&filed(&records));
        assert_eq!(changes(&found), [(Supervised, Change::MovedBeyondNoise)]);
        let f1 = found.iter().find(|difference| difference.metric == Metric::F1).unwrap();
        assert!((f1.before - printed).abs() < 1e-12 && (f1.after - printed + 0.301).abs() < 1e-12);
    }

    /// With a known deviation of 0.01 and one seed against four, the noise is 3 x 0.01 x sqrt(1 + 1/4).
    #[test]
    fn each_side_has_its_own_number_of_seeds() {
        let at = Axes::table_1(SimClr, ResNet18, Share::percent(5)).in_training();
        let noise = Noise::assumed(0.01);
        for (before, after) in [(&[0.5][..], &[0.6, 0.6, 0.6, 0.6][..]), (&[0.5; 4], &[0.6])] {
            let found = difference(&noise, at, Metric::F1, before, after).noise.unwrap();
            assert!((found - 3.0 * 0.01 * 1.25_f64.sqrt()).abs() < 1e-6, "{found} of {before:?}, {after:?}");
        }
    }

    /// Means are over each set's own seeds, in any order of records; a score that only one set has is not compared.
    #[test]
    fn a_difference_is_from_the_first_set_to_the_second() {
        let first = filed(&[record("byol", 1, 0.30), record("byol", 0, 0.20), record("mae", 0, 0.9)]);
        let second = filed(&[record("byol", 0, 0.50), record("byol", 1, 0.80), record("simclr", 0, 0.1)]);
        let found = between(&first, &second);
        let f1: Vec<&Difference> =
            found.iter().filter(|difference| difference.metric == Metric::F1).collect();
        let [byol] = f1[..] else { panic!("{f1:?}") };
        assert_eq!(byol.scored, Axes::table_1(Byol, ResNet18, Share::percent(5)).in_training());
        assert!((byol.before - 0.25).abs() < 1e-12 && (byol.after - 0.65).abs() < 1e-12, "{byol:?}");
        // The same seeds in another order are equal; the same scores of exchanged seeds are not.
        let again = filed(&[record("byol", 0, 0.20), record("byol", 1, 0.30)]);
        let exchanged = filed(&[record("byol", 0, 0.30), record("byol", 1, 0.20)]);
        assert_eq!(changes(&between(&first, &again)), [(Byol, Change::Equal)]);
        assert_eq!(changes(&between(&first, &exchanged)), [(Byol, Change::WithinNoise)]);
    }

    /// All scores of a cell are compared, cell by cell in the order of tables.
    #[test]
    fn every_score_of_a_cell_is_compared_beside_the_others() {
        let set = |f1: f64| filed(&[record("simclr", 0, f1), record("byol", 0, f1)]);
        let found = between(&set(0.3), &set(0.3));
        let with_f1 = |place: usize| (found[place].scored.cell.method.unwrap(), found[place].metric);
        // The example has eight of the twelve scores: it lacks both versions of F2_CIW and both rates at a fixed rate.
        assert_eq!(found.len(), 16, "{found:?}");
        assert_eq!((with_f1(0), with_f1(8)), ((Byol, Metric::F1), (SimClr, Metric::F1)));
        assert!(found.iter().all(|difference| difference.change == Change::Equal));
    }

    /// Table 2 prints 0.885 for ViT-Tiny and 0.892 for ResNet-18 at 128 pixels.
    #[test]
    fn table_2_is_compared_by_backbone_and_side() {
        let sized = |backbone: &str, f1: f64| {
            let mut record = record("supervised", 0, f1);
            (record.cell.study, record.cell.backbone) = ("table2".to_owned(), backbone.to_owned());
            (record.cell.variant, record.cell.train_share) = (Some("side128".to_owned()), None);
            record.cell.id = format!("table2/{backbone}");
            record
        };
        let found = with_paper(&filed(&[sized("resnet18", 0.5), sized("vit_tiny", 0.4)]));
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.scored.cell.backbone.unwrap(), found.metric, found.before, found.after))
            .collect();
        assert_eq!(told, [(ResNet18, Metric::F1, 0.892, 0.5), (ViTTiny, Metric::F1, 0.885, 0.4)]);
    }

    /// Both sets inform the noise, so there are two degrees of freedom: 19.207 deviations of 0.014142 for a difference of
    /// two single seeds; with one set alone it would be 235.8 of them.
    #[test]
    fn noise_is_measured_on_both_sets() {
        let set = |f1: f64, byol: f64| {
            filed(&[record("byol", 0, byol), record("byol", 1, byol + 0.02), record("simclr", 0, f1)])
        };
        let found = between(&set(0.40, 0.60), &set(0.45, 0.70));
        let simclr = |d: &&Difference| (d.scored.cell.method, d.metric) == (Some(SimClr), Metric::F1);
        let noise = found.iter().find(simclr).unwrap().noise.unwrap();
        assert!((noise - 19.207 * 0.0002_f64.sqrt() * 2_f64.sqrt()).abs() < 2e-3, "{noise}");
    }

    /// The mean did not change, but each seed did: that is not the same run.
    #[test]
    fn equal_means_of_other_scores_are_not_equal() {
        let first = filed(&[record("byol", 0, 0.25), record("byol", 1, 0.75)]);
        let second = filed(&[record("byol", 0, 0.375), record("byol", 1, 0.625)]);
        let found = between(&first, &second);
        let byol = found.iter().find(|difference| difference.metric == Metric::F1).unwrap();
        assert_eq!((byol.before, byol.after, byol.change), (0.5, 0.5, Change::WithinNoise));
    }

    /// Each score of Table 1 is compared with the same score of ours, on its own backbone and at its own share.
    #[test]
    fn all_three_scores_of_table_1_are_compared() {
        let of = |method: &str, backbone: &str, share: f64| {
            let mut record = record(method, 0, 0.31);
            (record.cell.backbone, record.cell.train_share) = (backbone.to_owned(), Some(share));
            record.cell.id = format!("table1/{method}-{backbone}-{share}");
            let score = &mut record.scores[0];
            (score.f1_normal, score.f2_ciw_oracle) = (0.32, Some(0.33));
            record
        };
        let found = with_paper(&filed(&[of("byol", "resnet18", 0.02), of("mae", "vit_tiny", 0.45)]));
        assert_eq!(found.len(), 6);
        for difference in found {
            let cell = difference.scored.cell;
            let printed = table_1().into_iter().find(|printed| {
                (printed.metric, Some(printed.backbone), Some(printed.method), printed.train_share)
                    == (difference.metric, cell.backbone, cell.method, cell.share)
            });
            let ours = match difference.metric {
                Metric::F1 => 0.31,
                Metric::F1Normal => 0.32,
                _ => 0.33,
            };
            let printed = printed.unwrap().printed.score();
            assert_eq!((Some(difference.before), difference.after), (printed, ours), "{difference:?}");
            assert_eq!((difference.noise, difference.change), (None, Change::Undecided));
        }
    }
}
