//! One classifier's logits on the validation set, scored at every validation share: trained once, one
//! feature matrix, five shares.

use anyhow::Result;

use super::subsets::ValidationSubsets;
use crate::{
    data::{ClassSet, Labels, Share, Subset},
    evaluate::{
        detection::{Detection, operating_points},
        importance::{Importance, f2_ciw_multilabel_of_detector, f2_ciw_oracle},
    },
    results::record::Score,
};

/// Scores `logits`, one for each of `labels`, on every subset.
pub fn at_every_share(
    classifier: &str,
    logits: &[f64],
    labels: &[Labels],
    has_classes: bool,
    subsets: &ValidationSubsets,
) -> Result<Vec<Score>> {
    let score = |(share, subset): &(Share, Subset)| {
        let logits: Vec<f64> = subset.indices.iter().map(|&index| logits[index]).collect();
        let defects: Vec<bool> = subset.indices.iter().map(|&index| labels[index].defect).collect();
        let Detection { counts, auroc, average_precision } = Detection::new(&logits, &defects)?;

        let flagged: Vec<bool> = logits.iter().map(|&logit| logit > 0.0).collect();
        let classes: Vec<ClassSet> = subset.indices.iter().map(|&index| labels[index].classes).collect();
        let f2 = |metric: fn(&[bool], &[ClassSet]) -> Result<Importance>| {
            has_classes.then(|| metric(&flagged, &classes)).transpose()
        };
        Ok(Score {
            classifier: classifier.to_owned(),
            validation_share: share.fraction(),
            normals: subset.normals,
            defects: subset.defects,
            f1: counts.f1(),
            f1_normal: counts.f1_normal(),
            precision: counts.precision(),
            recall: counts.recall(),
            true_positive_rate: counts.recall(),
            false_positive_rate: counts.false_positive_rate(),
            auroc,
            average_precision,
            f2_ciw_oracle: f2(f2_ciw_oracle)?.map(|importance| importance.f2_ciw),
            f2_ciw_multilabel: f2(f2_ciw_multilabel_of_detector)?.map(|importance| importance.f2_ciw),
            operating_points: match *share {
                Share::NATURAL => operating_points(&logits, &defects)?
                    .into_iter()
                    .map(|point| [point.threshold, point.false_positive_rate, point.true_positive_rate])
                    .collect(),
                _ => Vec::new(),
            },
        })
    };
    subsets.subsets.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DefectClass::{self, OB, RB};

    #[test]
    fn scores_at_a_share_are_of_its_images() {
        // Six images, of which a share holds the last four: RB found, OB missed, one false alarm, one normal passed.
        let of = |classes: &[DefectClass]| Labels {
            defect: !classes.is_empty(),
            classes: ClassSet::from_iter(classes.iter().copied()),
            stratum: 0,
        };
        let labels = [of(&[OB]), of(&[OB]), of(&[RB]), of(&[OB]), of(&[]), of(&[])];
        let logits = [-1.0, 1.0, 2.0, -2.0, 1.0, -1.0];
        let subset = Subset { indices: vec![2, 3, 4, 5], defects: 2, normals: 2 };
        let subsets = ValidationSubsets { subsets: vec![(Share::percent(45), subset)], missing: Vec::new() };
        let scores = at_every_share("x", &logits, &labels, true, &subsets).unwrap();
        let [score] = &scores[..] else { panic!("{} scores of one share", scores.len()) };
        assert_eq!((score.validation_share, score.normals, score.defects), (Some(0.45), 2, 2));
        // One hit, one miss, one alarm, one passed. Logits of defects 2 and -2, of the others 1 and -1: 2 of 4 pairs.
        for found in [score.f1, score.f1_normal, score.precision, score.recall, score.false_positive_rate] {
            assert_eq!(found, 0.5);
        }
        assert_eq!(score.auroc, 0.5);
        // F2 of RB is 1, of all other classes 0.
        let weights: f64 = DefectClass::ALL.into_iter().map(DefectClass::importance).sum();
        assert!((score.f2_ciw_oracle.unwrap() - RB.importance() / weights).abs() < 1e-12);
        assert!(score.operating_points.is_empty(), "of all images only");
    }
}
