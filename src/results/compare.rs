//! Two sets of records beside each other, or one beside the paper: what moved, and whether beyond noise.
//!
//! Noise is the spread of seeds: the standard deviation sd of a score over seeds, pooled over all methods and backbones
//! that were trained at one share (one study, one classifier, one validation share), in both sets. A difference of
//! means over n and m seeds has moved beyond it when it is larger than t sd sqrt(1/n + 1/m), where t is
//! what Student's t exceeds as seldom as a normal variable exceeds 3 deviations: with many cells 3, with few more, since
//! sd itself is then uncertain. The 3 is ours: a few of a thousand comparisons pass it by chance. Where no cell has two
//! seeds nothing is known of noise, and nothing is said. What it leaves out: another set of validation images would
//! give other scores.

use std::collections::BTreeMap;

use super::{
    paper::{self, Metric as Printed},
    record::Record,
    summary::{Group, Level, METRICS, Metric, Place, deviation, groups, mean, places, values},
};

/// Degrees of freedom, and what Student's t with so many exceeds with the probability (both sides, 0.27 %) with which a
/// normal variable exceeds 3 (scipy 1.16, `t.isf(norm.sf(3), degrees)`).
const BEYOND: [(usize, f64); 13] = [
    (1, 235.801),
    (2, 19.207),
    (3, 9.219),
    (4, 6.62),
    (5, 5.507),
    (6, 4.904),
    (8, 4.277),
    (10, 3.957),
    (15, 3.586),
    (20, 3.422),
    (30, 3.27),
    (60, 3.13),
    (120, 3.064),
];

/// What became of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    MovedBeyondNoise,
    WithinNoise,
    /// Nothing is known of noise: no cell of its kind has two seeds.
    Undecided,
    /// To the bit, seed by seed.
    Equal,
}

/// One score of one group of cells in both sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub group: Group,
    pub place: Place,
    pub metric: &'static str,
    pub before: f64,
    pub after: f64,
    /// What the difference must exceed.
    pub noise: Option<f64>,
    pub verdict: Verdict,
}

/// Scores of the groups that both sets have, at the `wanted` places.
pub fn compare(before: &[Record], after: &[Record], wanted: impl Fn(&Place) -> bool) -> Vec<Difference> {
    let (old, new) = (groups(before), groups(after));
    let noise = Noise::of(&[&old, &new]);
    let mut differences = Vec::new();
    for (group, before) in &old {
        let Some(after) = new.get(group) else { continue };
        for place in places(before).iter().filter(|place| wanted(place)) {
            for metric in &METRICS {
                let (a, b) = (values(before, place, metric), values(after, place, metric));
                if !a.is_empty() && !b.is_empty() {
                    let noise = noise.of_means(group, place, metric, a.len(), b.len());
                    differences.push(difference(group, place, metric.0, &a, &b, noise));
                }
            }
        }
    }
    differences
}

/// Scores of Tables 1 and 2 as printed (`before`), beside those of the classifier in training. The paper has one
/// seed, whose spread is taken to be ours.
pub fn with_paper(records: &[Record]) -> Vec<Difference> {
    let ours = groups(records);
    let noise = Noise::of(&[&ours]);
    let place = ("in_training".to_owned(), Level::new(None));
    let mut differences = Vec::new();
    let mut add = |group: Group, name: &str, printed: f64| {
        let Some(metric) = METRICS.iter().find(|metric| metric.0 == name) else { return };
        let Some(found) = ours.get(&group).map(|records| values(records, &place, metric)) else { return };
        if !found.is_empty() {
            let noise = noise.of_means(&group, &place, metric, 1, found.len());
            differences.push(difference(&group, &place, metric.0, &[printed], &found, noise));
        }
    };
    for cell in paper::table_1() {
        let name = match cell.metric {
            Printed::F1 => "f1",
            Printed::F2Ciw => "f2_ciw_oracle",
            Printed::F1Normal => "f1_normal",
        };
        if let Some(printed) = cell.printed.score() {
            let group = Group {
                study: "table1".into(),
                method: cell.method,
                backbone: cell.backbone,
                variant: String::new(),
                train_share: Level::new(Some(cell.train_share)),
            };
            add(group, name, printed);
        }
    }
    for column in paper::table_2() {
        for (backbone, printed) in [("resnet18", column.resnet18_f1), ("vit_tiny", column.vit_tiny_f1)] {
            let group = Group {
                study: "table2".into(),
                method: "supervised".into(),
                backbone: backbone.into(),
                variant: format!("side{:03}", column.resolution),
                train_share: Level::new(None),
            };
            add(group, "f1", printed);
        }
    }
    differences
}

fn difference(
    group: &Group,
    place: &Place,
    metric: &'static str,
    before: &[f64],
    after: &[f64],
    noise: Option<f64>,
) -> Difference {
    let (old, new) = (mean(before), mean(after));
    let verdict = match noise {
        _ if before == after => Verdict::Equal,
        None => Verdict::Undecided,
        Some(noise) if (new - old).abs() > noise => Verdict::MovedBeyondNoise,
        Some(_) => Verdict::WithinNoise,
    };
    Difference { group: group.clone(), place: place.clone(), metric, before: old, after: new, noise, verdict }
}

/// Pooled variances: by study, training share, place and metric, sum of squares and degrees of freedom.
struct Noise(BTreeMap<(String, Level, Place, &'static str), (f64, usize)>);

impl Noise {
    fn of(sets: &[&BTreeMap<Group, Vec<&Record>>]) -> Self {
        let mut pooled: BTreeMap<_, (f64, usize)> = BTreeMap::new();
        for (group, records) in sets.iter().flat_map(|groups| groups.iter()) {
            for place in places(records) {
                for metric in &METRICS {
                    let values = values(records, &place, metric);
                    if let Some(deviation) = deviation(&values) {
                        let (squares, freedom) =
                            pooled.entry(Self::kind(group, &place, metric.0)).or_default();
                        *squares += deviation.powi(2) * (values.len() - 1) as f64;
                        *freedom += values.len() - 1;
                    }
                }
            }
        }
        Self(pooled)
    }

    fn kind(group: &Group, place: &Place, metric: &'static str) -> (String, Level, Place, &'static str) {
        (group.study.clone(), group.train_share, place.clone(), metric)
    }

    /// Of the difference of means over `n` and `m` seeds.
    fn of_means(&self, group: &Group, place: &Place, metric: &Metric, n: usize, m: usize) -> Option<f64> {
        let (squares, freedom) = self.0.get(&Self::kind(group, place, metric.0))?;
        let deviation = (squares / *freedom as f64).sqrt();
        // Of the next smaller number of degrees that is listed: rather too much noise than too little.
        let (_, beyond) = BEYOND.iter().rev().find(|(degrees, _)| degrees <= freedom)?;
        Some(beyond * deviation * (1.0 / n as f64 + 1.0 / m as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{example, record::Score};

    fn record(method: &str, seed: u64, f1: f64) -> Record {
        let mut record = example::record();
        record.cell.method = method.to_owned();
        record.cell.seed = seed;
        record.scores = vec![Score { f1, ..example::score("in_training", None) }];
        record
    }

    fn verdicts(differences: &[Difference]) -> Vec<(&str, Verdict)> {
        let f1 = differences.iter().filter(|difference| difference.metric == "f1");
        f1.map(|difference| (difference.group.method.as_str(), difference.verdict)).collect()
    }

    #[test]
    fn what_moved_is_judged_by_the_spread_of_seeds() {
        // Spread known from BYOL alone, which both sets have: variance of 0.60, 0.62 is 0.0002, with 2 degrees of
        // freedom. SimCLR has one seed in each set: noise 19.207 x 0.014142 x sqrt(2) = 0.38414.
        let byol = [record("byol", 0, 0.60), record("byol", 1, 0.62)];
        let with = |f1: f64| [byol.as_slice(), &[record("simclr", 0, f1)]].concat();
        let before = with(0.40);
        let found = compare(&before, &with(0.78), |_| true);
        assert_eq!(verdicts(&found), [("byol", Verdict::Equal), ("simclr", Verdict::WithinNoise)]);
        let noise =
            found.iter().find(|d| d.group.method == "simclr" && d.metric == "f1").unwrap().noise.unwrap();
        assert!((noise - 0.384_14).abs() < 1e-5, "{noise}");

        let moved = with(0.79);
        let found = compare(&before, &moved, |_| true);
        assert_eq!(verdicts(&found), [("byol", Verdict::Equal), ("simclr", Verdict::MovedBeyondNoise)]);
        let alone = [record("simclr", 0, 0.5)];
        let other = [record("simclr", 0, 0.6), record("mae", 0, 0.5)];
        assert_eq!(verdicts(&compare(&alone, &other, |_| true)), [("simclr", Verdict::Undecided)]);
        assert!(compare(&before, &moved, |place| place.0 == "converged").is_empty());
    }

    #[test]
    fn the_paper_is_compared_with_the_classifier_in_training() {
        // Table 1 prints F1 of supervised ResNet-18 at 5 %.
        let printed = paper::table_1().into_iter().find(|cell| {
            (cell.metric, cell.backbone.as_str(), cell.method.as_str())
                == (Printed::F1, "resnet18", "supervised")
                && cell.train_share == 0.05
        });
        let printed = printed.unwrap().printed.score().unwrap();
        let seeds = [(0, 0.300), (1, 0.302), (2, 0.301), (3, 0.301)];
        let records = seeds.map(|(seed, lower)| record("supervised", seed, printed - lower));
        let found = with_paper(&records);
        assert_eq!(verdicts(&found), [("supervised", Verdict::MovedBeyondNoise)]);
        let f1 = found.iter().find(|difference| difference.metric == "f1").unwrap();
        assert!((f1.before - printed).abs() < 1e-12 && (f1.after - printed + 0.301).abs() < 1e-12);
    }
}
