//! How well scores separate defects from normal images. Independent of defect classes and networks.
//!
//! Thresholded scores (F1, F1_Normal, precision) change with the share of defects even when the
//! detector does not; [`f1_at`] and [`f1_normal_at`] say by how much. The true and false positive rate,
//! AUROC and recall do not; average precision does.

use std::ops::Range;

use anyhow::{Result, bail, ensure};

/// Confusion counts; positive means defect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Defects called defects.
    pub true_positives: u64,
    /// Normal images called defects.
    pub false_positives: u64,
    /// Normal images called normal.
    pub true_negatives: u64,
    /// Defects called normal.
    pub false_negatives: u64,
}

/// All scores of one detector on one set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// At threshold 0 of the logit.
    pub counts: Confusion,
    /// Probability that a defect scores above a normal image, ties counted half.
    pub auroc: f64,
    /// Area under the precision-recall curve, as steps: see [`average_precision`].
    pub average_precision: f64,
}

impl Detection {
    /// Scores `logits` against `defects`, given in the same order.
    ///
    /// # Errors
    /// If the lengths differ, a logit is NaN, or only one class is present.
    pub fn new(logits: &[f64], defects: &[bool]) -> Result<Self> {
        Ok(Self {
            counts: Confusion::new(logits, defects)?,
            auroc: auroc(logits, defects)?,
            average_precision: average_precision(logits, defects)?,
        })
    }
}

impl Confusion {
    /// Counts with a defect predicted where the logit is above 0 (strictly: probability above one half).
    ///
    /// # Errors
    /// If the lengths differ or a logit is NaN.
    pub fn new(logits: &[f64], defects: &[bool]) -> Result<Self> {
        check(logits, defects)?;
        let mut counts = Self::default();
        for (&logit, &defect) in logits.iter().zip(defects) {
            *match (logit > 0.0, defect) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, false) => &mut counts.true_negatives,
                (false, true) => &mut counts.false_negatives,
            } += 1;
        }
        Ok(counts)
    }

    /// 2 tp / (2 tp + fp + fn). 0 where there is neither a defect nor an alarm, as in torchmetrics.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }

    /// F1 with normal as the positive class: 2 tn / (2 tn + fn + fp); 0 where that is 0 / 0.
    pub fn f1_normal(&self) -> f64 {
        ratio(2 * self.true_negatives, 2 * self.true_negatives + self.false_negatives + self.false_positives)
    }

    /// tp / (tp + fp); 0 where nothing is flagged.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// tp / (tp + fn), the true positive rate; 0 where there is no defect.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// fp / (fp + tn); 0 where there is no normal image.
    pub fn false_positive_rate(&self) -> f64 {
        ratio(self.false_positives, self.false_positives + self.true_negatives)
    }
}

/// Area under the receiver operating characteristic: of all pairs of a defect and a normal image, the
/// share in which the defect scores higher, ties counted half. Computed in whole numbers.
///
/// # Errors
/// If the lengths differ, a score is NaN, or only one class is present.
pub fn auroc(scores: &[f64], defects: &[bool]) -> Result<f64> {
    let ranking = Ranking::new(scores, defects)?;
    let (mut normals_above, mut doubled_wins) = (0_u128, 0_u128);
    for (defects, normals) in ranking.ties() {
        let normals_below = ranking.normals as u128 - normals_above - normals as u128;
        doubled_wins += defects as u128 * (2 * normals_below + normals as u128);
        normals_above += normals as u128;
    }
    Ok(doubled_wins as f64 / (2.0 * ranking.defects as f64 * ranking.normals as f64))
}

/// Average precision: sum over thresholds of precision times the recall gained, from high scores to low, with one
/// threshold for equal scores. No interpolation; scikit-learn's `average_precision_score`.
///
/// # Errors
/// If the lengths differ, a score is NaN, or only one class is present.
pub fn average_precision(scores: &[f64], defects: &[bool]) -> Result<f64> {
    let ranking = Ranking::new(scores, defects)?;
    let (mut found, mut flagged, mut area) = (0, 0, 0.0);
    for (defects, normals) in ranking.ties() {
        found += defects;
        flagged += defects + normals;
        area += defects as f64 * (found as f64 / flagged as f64);
    }
    Ok(area / ranking.defects as f64)
}

/// Returns the largest true-positive rate of all thresholds whose false-positive rate is at most `most`; 0 if every
/// threshold flags more.
///
/// # Errors
/// If the lengths differ, a score is NaN, or only one class is present.
pub fn true_positive_rate_at(scores: &[f64], defects: &[bool], most: f64) -> Result<f64> {
    let ranking = Ranking::new(scores, defects)?;
    let kept = ranking.rates().into_iter().filter(|(alarms, _)| *alarms <= most);
    Ok(kept.fold(0.0, |best, (_, found)| best.max(found)))
}

/// Returns the smallest false-positive rate of all thresholds whose true-positive rate is at least `least`.
///
/// # Errors
/// If the lengths differ, a score is NaN, or only one class is present.
pub fn false_positive_rate_at(scores: &[f64], defects: &[bool], least: f64) -> Result<f64> {
    let ranking = Ranking::new(scores, defects)?;
    let kept = ranking.rates().into_iter().filter(|(_, found)| *found >= least);
    Ok(kept.fold(1.0, |best, (alarms, _)| best.min(alarms)))
}

/// A threshold that is optimal for some costs, and the rates at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingPoint {
    /// Images with this logit or a higher one are called defects.
    pub threshold: f64,
    /// Fraction of normal images that the threshold flags, 0..1.
    pub false_positive_rate: f64,
    /// Fraction of defects that the threshold flags, 0..1.
    pub true_positive_rate: f64,
}

/// Returns the corners of the upper convex hull of the receiver operating characteristic, from the highest
/// threshold to the lowest, without those that flag nothing or everything. Whatever defects cost and however rare
/// they are, a cheapest threshold is one of these, or one of the two left out (Provost and Fawcett 2001).
///
/// # Errors
/// If the lengths differ, a score is NaN, or only one class is present.
pub fn operating_points(scores: &[f64], defects: &[bool]) -> Result<Vec<OperatingPoint>> {
    let ranking = Ranking::new(scores, defects)?;
    // Counts flagged up to each threshold, defects and normal images: whole numbers, so that turns are exact.
    let (mut found, mut alarms) = (0_u64, 0_u64);
    let mut hull: Vec<(f64, u64, u64)> = vec![(f64::INFINITY, 0, 0)];
    for (tie, (defects, normals)) in ranking.ties.iter().zip(ranking.ties()) {
        (found, alarms) = (found + defects, alarms + normals);
        while let [.., (_, t1, f1), (_, t2, f2)] = hull[..] {
            // Not a right turn: the corner lies on or below the line past it.
            let bends =
                u128::from(t2 - t1) * u128::from(alarms - f2) > u128::from(found - t2) * u128::from(f2 - f1);
            if bends {
                break;
            }
            hull.pop();
        }
        hull.push((ranking.scores[tie.start], found, alarms));
    }
    // A record cannot hold an infinite threshold: if a logit overflows, the other corners are kept.
    let corners = hull.into_iter().filter(|&(threshold, hits, false_alarms)| {
        threshold.is_finite() && hits + false_alarms > 0 && hits + false_alarms < found + alarms
    });
    let rate = |count: u64, of: u64| count as f64 / of as f64;
    Ok(corners
        .map(|(threshold, found, alarms)| OperatingPoint {
            threshold,
            false_positive_rate: rate(alarms, ranking.normals),
            true_positive_rate: rate(found, ranking.defects),
        })
        .collect())
}

/// F1 of a detector with these rates where a share p of images shows a defect:
/// 2pT / (2pT + (1 - p)F + p(1 - T)); 0 where that is 0 / 0.
pub fn f1_at(true_positive_rate: f64, false_positive_rate: f64, share: f64) -> f64 {
    let [found, missed, alarms, _] = expected(true_positive_rate, false_positive_rate, share);
    if found > 0.0 { 2.0 * found / (2.0 * found + alarms + missed) } else { 0.0 }
}

/// F1_Normal of a detector with these rates where a share p of images shows a defect:
/// 2(1 - p)(1 - F) / (2(1 - p)(1 - F) + p(1 - T) + (1 - p)F); 0 where that is 0 / 0.
pub fn f1_normal_at(true_positive_rate: f64, false_positive_rate: f64, share: f64) -> f64 {
    let [_, missed, alarms, passed] = expected(true_positive_rate, false_positive_rate, share);
    if passed > 0.0 { 2.0 * passed / (2.0 * passed + missed + alarms) } else { 0.0 }
}

/// Expected shares of found and missed defects, of false alarms, and of normal images passed.
fn expected(true_positive_rate: f64, false_positive_rate: f64, share: f64) -> [f64; 4] {
    [
        share * true_positive_rate,
        share * (1.0 - true_positive_rate),
        (1.0 - share) * false_positive_rate,
        (1.0 - share) * (1.0 - false_positive_rate),
    ]
}

/// Labels from the highest score to the lowest.
struct Ranking {
    scores: Vec<f64>,
    labels: Vec<bool>,
    ties: Vec<Range<usize>>,
    defects: u64,
    normals: u64,
}

impl Ranking {
    fn new(scores: &[f64], defects: &[bool]) -> Result<Self> {
        check(scores, defects)?;
        let found = defects.iter().filter(|&&defect| defect).count() as u64;
        let normals = defects.len() as u64 - found;
        ensure!(
            found > 0 && normals > 0,
            "{found} defective and {normals} normal images, expected at least one of each to rank"
        );
        let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(defects.iter().copied()).collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut ties = Vec::new();
        let mut start = 0;
        // `==` and not the sorting order, which distinguishes 0 from -0.
        for tie in order.chunk_by(|a, b| a.0 == b.0) {
            ties.push(start..start + tie.len());
            start += tie.len();
        }
        let (scores, labels) = order.into_iter().unzip();
        Ok(Self { scores, labels, ties, defects: found, normals })
    }

    /// False and true positive rate of each threshold, from high to low.
    fn rates(&self) -> Vec<(f64, f64)> {
        let (mut alarms, mut found) = (0, 0);
        let at = |(defects, normals): (u64, u64)| {
            (alarms, found) = (alarms + normals, found + defects);
            (alarms as f64 / self.normals as f64, found as f64 / self.defects as f64)
        };
        self.ties().map(at).collect()
    }

    /// Numbers of defects and of normal images at each score, from high to low.
    fn ties(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ties.iter().map(|tie| {
            let defects = self.labels[tie.clone()].iter().filter(|&&defect| defect).count();
            (defects as u64, (tie.len() - defects) as u64)
        })
    }
}

fn check(scores: &[f64], defects: &[bool]) -> Result<()> {
    if scores.len() != defects.len() {
        bail!("{} scores for {} labels, expected one each", scores.len(), defects.len());
    }
    if let Some(image) = scores.iter().position(|score| score.is_nan()) {
        bail!("score of image {image} is NaN; the network has diverged, lower its learning rate");
    }
    Ok(())
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::results::{
        Metric,
        paper::{Printed, figure_2, figure_2_rates},
    };

    #[test]
    fn rates_at_fixed_rates_by_hand() {
        // Down from the highest score: defect, normal, defect and normal at one score, defect, normal, normal.
        let scores = [5.0, 4.0, 3.0, 3.0, 2.0, 1.0, 0.0];
        let defects = [true, false, true, false, true, false, false];
        let found = |most: f64| true_positive_rate_at(&scores, &defects, most).unwrap();
        assert_eq!(
            [0.0, 0.24, 0.25, 0.49, 0.5, 1.0].map(found),
            [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0, 1.0]
        );
        let alarms = |least: f64| false_positive_rate_at(&scores, &defects, least).unwrap();
        assert_eq!([0.3, 0.34, 0.67, 1.0].map(alarms), [0.0, 0.5, 0.5, 0.5]);
        // The highest score is a false alarm.
        assert_eq!(true_positive_rate_at(&[1.0, 0.0], &[false, true], 0.05).unwrap(), 0.0);
        assert_eq!(false_positive_rate_at(&[1.0, 0.0], &[false, true], 0.95).unwrap(), 1.0);
        assert!(true_positive_rate_at(&scores, &[true; 7], 0.05).is_err());
    }

    #[test]
    fn hand_worked_counts() {
        // A logit of exactly 0 is not an alarm.
        let logits = [2.0, 0.5, -1.0, 0.0, 3.0, -0.1, 1e-300];
        let defects = [true, true, true, true, false, false, false];
        let counts = Confusion::new(&logits, &defects).unwrap();
        assert_eq!(
            counts,
            Confusion { true_positives: 2, false_positives: 2, true_negatives: 1, false_negatives: 2 }
        );
        assert_eq!((counts.f1(), counts.precision(), counts.recall()), (0.5, 0.5, 0.5));
        assert_eq!((counts.f1_normal(), counts.false_positive_rate()), (2.0 / 6.0, 2.0 / 3.0));
    }

    #[test]
    fn empty_denominators_give_zero() {
        let counts = Confusion::default();
        let scores = [
            counts.f1(),
            counts.f1_normal(),
            counts.precision(),
            counts.recall(),
            counts.false_positive_rate(),
            f1_at(0.0, 0.0, 0.5),
            f1_normal_at(0.5, 1.0, 0.5),
        ];
        assert_eq!(scores, [0.0; 7]);
    }

    #[test]
    fn hand_worked_operating_points() {
        // From high to low: defect, defect, normal, defect, normal, normal. Corners (false alarms of 3, found of 3):
        // (0, 2), (1, 3); the point (1, 2) lies below the line between them, (2, 3), on the line to (3, 3), raises more
        // false alarms for no gain.
        let points =
            operating_points(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], &[true, true, false, true, false, false])
                .unwrap();
        let found: Vec<_> = points
            .iter()
            .map(|point| (point.threshold, point.false_positive_rate, point.true_positive_rate))
            .collect();
        assert_eq!(found, [(4.0, 0.0, 2.0 / 3.0), (2.0, 1.0 / 3.0, 1.0)]);
        // A separating score needs one threshold; a constant score has none, except to flag nothing or everything.
        let separating = operating_points(&[3.0, 2.0, 1.0], &[true, true, false]).unwrap();
        assert_eq!(separating.len(), 1);
        assert_eq!((separating[0].threshold, separating[0].true_positive_rate), (2.0, 1.0));
        assert_eq!(operating_points(&[1.0; 4], &[true, false, true, false]).unwrap(), []);
        let overflowed = operating_points(&[f64::INFINITY, 1.0, 0.0], &[true, true, false]).unwrap();
        assert!(overflowed.len() == 1 && overflowed[0].threshold == 1.0, "{overflowed:?}");
    }

    #[test]
    fn hand_worked_rankings() {
        // Pairs won: 3 > 2, 3 > 1, 2 = 2 (half), 2 > 1: 3.5 of 4. Steps: 1/1 for the first defect,
        // then 2 of 3 at the tied score.
        let (scores, defects) = ([3.0, 2.0, 2.0, 1.0], [true, true, false, false]);
        assert_eq!(auroc(&scores, &defects).unwrap(), 3.5 / 4.0);
        assert_eq!(average_precision(&scores, &defects).unwrap(), (1.0 + 2.0 / 3.0) / 2.0);
        // All equal: AUROC is that of a coin, average precision the share of defects.
        assert_eq!(auroc(&[0.0, -0.0, 0.0, 0.0], &[true, false, false, false]).unwrap(), 0.5);
        assert_eq!(average_precision(&[1.0; 4], &[true, false, false, false]).unwrap(), 0.25);
        let infinite = [f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(auroc(&infinite, &[true, false]).unwrap(), 1.0);
        assert_eq!(auroc(&infinite, &[false, true]).unwrap(), 0.0);
    }

    #[derive(Deserialize)]
    struct Expected {
        auroc: f64,
        average_precision: f64,
        f1: f64,
        f1_normal: f64,
        precision: f64,
        recall: f64,
    }

    #[derive(Deserialize)]
    struct Fixture {
        detection: Expected,
    }

    #[test]
    fn agrees_with_scikit_learn() {
        // fixtures/scikit_learn/make.py: 500 scores on 17 levels, so nearly all of them tied.
        let fixture: Fixture =
            serde_json::from_str(include_str!("../../fixtures/scikit_learn/expected.json")).unwrap();
        let expected = fixture.detection;
        let scores: Vec<f64> = (0..500_u32).map(|i| f64::from((31 * i * i + 7 * i) % 17) - 8.0).collect();
        let defects: Vec<bool> = (0..500_u32).map(|i| (i * i + 3 * i) % 11 < 2).collect();
        let Detection { counts, auroc, average_precision } = Detection::new(&scores, &defects).unwrap();
        for (name, found, expected) in [
            ("auroc", auroc, expected.auroc),
            ("average precision", average_precision, expected.average_precision),
            ("f1", counts.f1(), expected.f1),
            ("f1 normal", counts.f1_normal(), expected.f1_normal),
            ("precision", counts.precision(), expected.precision),
            ("recall", counts.recall(), expected.recall),
        ] {
            assert!((found - expected).abs() < 1e-12, "{name}: {found} is not {expected}");
        }
    }

    #[test]
    fn rates_at_a_share_are_the_counts_there() {
        let counts =
            Confusion { true_positives: 30, false_positives: 7, true_negatives: 63, false_negatives: 10 };
        let (t, f, p) = (counts.recall(), counts.false_positive_rate(), 40.0 / 110.0);
        assert!((f1_at(t, f, p) - counts.f1()).abs() < 1e-15);
        assert!((f1_normal_at(t, f, p) - counts.f1_normal()).abs() < 1e-15);
    }

    #[test]
    fn figure_2_of_the_paper_is_one_detector_at_five_shares() {
        // Each row's rates are solved from its 45 % column. They leave 0.6 points of F1 and 0.2 of F1_Normal
        // unexplained elsewhere; if rounded to three digits, as in the file, 0.68 and 0.24.
        let mut compared = 0;
        for rates in figure_2_rates() {
            for cell in figure_2() {
                if (&cell.method, cell.train_share) != (&rates.method, rates.train_share) {
                    continue;
                }
                let (t, f) = (rates.true_positive, rates.false_positive);
                let p = cell.validation_share.fraction().unwrap();
                let (predicted, tolerance) = match cell.metric {
                    Metric::F1 => (f1_at(t, f, p), 0.007),
                    Metric::F1Normal => (f1_normal_at(t, f, p), 0.0025),
                    _ => continue,
                };
                let expected = match cell.printed {
                    Printed::Score(score) => score,
                    _ => cell.derived.unwrap(),
                };
                compared += 1;
                assert!(
                    (predicted - expected).abs() <= tolerance,
                    "{:?} {} {} at {p}: {predicted} is not {expected}",
                    cell.metric,
                    cell.method,
                    cell.train_share
                );
            }
        }
        assert_eq!(compared, 150);
    }

    #[test]
    fn unusable_scores_are_an_error() {
        let message =
            |scores: &[f64], defects: &[bool]| Detection::new(scores, defects).unwrap_err().to_string();
        assert!(message(&[1.0, f64::NAN], &[true, false]).contains("image 1 is NaN"));
        assert!(message(&[1.0], &[true, false]).contains("1 scores for 2 labels"));
        assert!(message(&[1.0, 2.0, 3.0], &[true, false]).contains("3 scores for 2 labels"));
        assert!(message(&[1.0, 2.0], &[true, true]).contains("2 defective and 0 normal"));
    }

    /// Four true, three false positives; two false, five true negatives.
    #[test]
    fn each_count_is_of_its_own_kind() {
        let counts =
            Confusion { true_positives: 4, false_positives: 3, true_negatives: 5, false_negatives: 2 };
        let rates = [
            counts.f1(),
            counts.f1_normal(),
            counts.precision(),
            counts.recall(),
            counts.false_positive_rate(),
        ];
        assert_eq!(rates, [8.0 / 13.0, 10.0 / 15.0, 4.0 / 7.0, 4.0 / 6.0, 3.0 / 8.0]);
        let logits = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, -1.0, -2.0, -3.0, -4.0, -5.0, -1.0, -2.0];
        let defects =
            [true, true, true, true, false, false, false, false, false, false, false, false, true, true];
        assert_eq!(Confusion::new(&logits, &defects).unwrap(), counts);
    }

    /// A corner at an infinite logit is left out, and the others stay.
    #[test]
    fn a_threshold_is_finite() {
        let scores = [f64::INFINITY, 1.0, 0.5, 0.0, -1.0];
        let found = operating_points(&scores, &[true, false, true, false, false]).unwrap();
        let expected =
            OperatingPoint { threshold: 0.5, false_positive_rate: 1.0 / 3.0, true_positive_rate: 1.0 };
        assert_eq!(found, [expected]);
    }
}
