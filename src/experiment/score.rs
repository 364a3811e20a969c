//! Scores of one classifier's logits on the validation set at every validation share: one training, one feature
//! matrix, all shares.

use anyhow::Result;

use super::subsets::ValidationSubsets;
use std::collections::BTreeMap;

use crate::{
    data::{ClassSet, Share, Subset, stratify},
    evaluate::{
        detection::{Detection, auroc, false_positive_rate_at, operating_points, true_positive_rate_at},
        grouped::auroc_error,
        importance::{Importance, f2_ciw_multilabel_of_detector, f2_ciw_oracle},
    },
    results::{logits::ValidationImage, record::Score},
};

/// Scores `logits`, one for each of `images`, on every subset.
pub fn at_every_share(
    classifier: &str,
    logits: &[f64],
    images: &[ValidationImage],
    has_classes: bool,
    subsets: &ValidationSubsets,
) -> Result<Vec<Score>> {
    let score = |(share, subset): &(Share, Subset)| {
        let logits: Vec<f64> = subset.indices.iter().map(|&index| logits[index]).collect();
        let images: Vec<&ValidationImage> = subset.indices.iter().map(|&index| &images[index]).collect();
        let defects: Vec<bool> = images.iter().map(|image| image.labels.defect).collect();
        let Detection { counts, auroc: area, average_precision } = Detection::new(&logits, &defects)?;

        let flagged: Vec<bool> = logits.iter().map(|&logit| logit > 0.0).collect();
        let classes: Vec<ClassSet> = images.iter().map(|image| image.labels.classes).collect();
        let groups: Option<Vec<String>> = images.iter().map(|image| image.group.clone()).collect();
        let groups = groups.map(|names| stratify::numbered(&names).0);
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
            auroc: area,
            auroc_error: groups.and_then(|groups| auroc_error(&logits, &defects, &groups)),
            average_precision,
            tpr_at_fpr_5: Some(true_positive_rate_at(&logits, &defects, 0.05)?),
            fpr_at_tpr_95: Some(false_positive_rate_at(&logits, &defects, 0.95)?),
            recall_by_class: match *share {
                Share::NATURAL => recall_by_class(&flagged, &images),
                _ => BTreeMap::new(),
            },
            auroc_by_class: match *share {
                Share::NATURAL => auroc_by_class(&logits, &images)?,
                _ => BTreeMap::new(),
            },
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

/// Fewest images that show only one class for an AUROC of that class. Ours.
const FEWEST_ALONE: usize = 5;

/// Returns the AUROC of defects that show exactly one class, by class, against all normal images.
fn auroc_by_class(logits: &[f64], images: &[&ValidationImage]) -> Result<BTreeMap<String, f64>> {
    let mut of_class: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut normals = Vec::new();
    for (&logit, image) in logits.iter().zip(images) {
        match image.sole_class() {
            Some(class) => of_class.entry(class).or_default().push(logit),
            None if !image.labels.defect => normals.push(logit),
            None => {}
        }
    }
    of_class.retain(|_, logits| logits.len() >= FEWEST_ALONE);
    let score = |(class, logits): (String, Vec<f64>)| {
        let defects: Vec<bool> = normals.iter().map(|_| false).chain(logits.iter().map(|_| true)).collect();
        Ok((class, auroc(&[&normals[..], &logits].concat(), &defects)?))
    };
    of_class.into_iter().map(score).collect()
}

/// Returns the numbers of found and of all defects for each class that the data name; empty if they name fewer than
/// two.
fn recall_by_class(flagged: &[bool], images: &[&ValidationImage]) -> BTreeMap<String, [usize; 2]> {
    let mut recall: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (flagged, image) in flagged.iter().zip(images).filter(|(_, image)| image.labels.defect) {
        if let Some(kind) = &image.kind {
            let [found, all] = recall.entry(kind.clone()).or_default();
            *found += usize::from(*flagged);
            *all += 1;
        }
    }
    if recall.len() < 2 { BTreeMap::new() } else { recall }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{
        DefectClass::{self, OB, RB},
        Labels,
    };

    #[test]
    fn scores_at_a_share_are_of_its_images() {
        // Six images; the share has the last four: RB found, OB missed, one false alarm, one normal passed.
        let of = |classes: &[DefectClass]| Labels {
            defect: !classes.is_empty(),
            classes: ClassSet::from_iter(classes.iter().copied()),
            stratum: 0,
        };
        let labels = [of(&[OB]), of(&[OB]), of(&[RB]), of(&[OB]), of(&[]), of(&[])];
        let images: Vec<ValidationImage> = labels
            .into_iter()
            .enumerate()
            .map(|(position, labels)| {
                let kind = labels.defect.then(|| if position == 2 { "broken" } else { "worn" }.to_owned());
                ValidationImage {
                    position,
                    name: String::new(),
                    labels,
                    kind,
                    group: Some((position / 2).to_string()),
                }
            })
            .collect();
        let logits = [-1.0, 1.0, 2.0, -2.0, 1.0, -1.0];
        let subset = Subset { indices: vec![2, 3, 4, 5], defects: 2, normals: 2 };
        let subsets = ValidationSubsets { subsets: vec![(Share::percent(45), subset)], missing: Vec::new() };
        let scores = at_every_share("x", &logits, &images, true, &subsets).unwrap();
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
        assert!(score.operating_points.is_empty() && score.recall_by_class.is_empty(), "of all images only");
        let all = Subset { indices: (0..6).collect(), defects: 4, normals: 2 };
        let all = ValidationSubsets { subsets: vec![(Share::NATURAL, all)], missing: Vec::new() };
        let scores = at_every_share("x", &logits, &images, true, &all).unwrap();
        let expected = BTreeMap::from([("broken".to_owned(), [1, 1]), ("worn".to_owned(), [1, 3])]);
        assert_eq!(scores[0].recall_by_class, expected);
        // Above 2 nothing is flagged; from 2 on, one defect of four and no normal image. All later corners lie
        // below the line from there to everything flagged.
        assert_eq!(
            scores[0].operating_points,
            [[2.0, 0.0, 0.25]],
            "threshold, false positives, true positives"
        );
    }

    /// Each class alone against normal images: images with several classes are on neither side, and too few give no
    /// score.
    #[test]
    fn a_class_is_scored_alone_against_normal_images() {
        let image = |(classes, logit): (&[DefectClass], f64)| {
            let classes = ClassSet::from_iter(classes.iter().copied());
            let labels = Labels { defect: !classes.is_empty(), classes, stratum: 0 };
            (ValidationImage { position: 0, name: String::new(), labels, kind: None, group: None }, logit)
        };
        let alone = std::iter::repeat_n((&[RB][..], 1.0), FEWEST_ALONE);
        let few = std::iter::repeat_n((&[OB][..], 9.0), FEWEST_ALONE - 1);
        let mixed = std::iter::repeat_n((&[RB, OB][..], 5.0), 3);
        let normals = [0.0, 0.0, 0.5, 2.0].map(|logit| (&[][..], logit));
        let (images, logits): (Vec<ValidationImage>, Vec<f64>) =
            alone.chain(few).chain(mixed).chain(normals).map(image).unzip();
        let images: Vec<&ValidationImage> = images.iter().collect();
        // RB scores above three of four normal images.
        let expected = BTreeMap::from([("RB".to_owned(), 0.75)]);
        assert_eq!(auroc_by_class(&logits, &images).unwrap(), expected);
    }

    /// Four of five defects are found, three of eight normal images are flagged: no two scores are the same number.
    #[test]
    fn every_score_stands_in_its_own_field() {
        let defects = [9.0, 8.0, 2.5, 2.0, -1.0];
        let normals = [7.0, 1.0, 0.5, -0.5, -1.5, -2.0, -3.0, -4.0];
        let image = |defect| {
            let labels = Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
            ValidationImage { position: 0, name: String::new(), labels, kind: None, group: None }
        };
        let images = [vec![image(true); 5], vec![image(false); 8]].concat();
        let all = Subset { indices: (0..13).collect(), defects: 5, normals: 8 };
        let subsets = ValidationSubsets { subsets: vec![(Share::NATURAL, all)], missing: Vec::new() };
        let logits = [&defects[..], &normals].concat();
        let score = at_every_share("x", &logits, &images, false, &subsets).unwrap().remove(0);
        // Counts are 4, 1, 3 and 5. Pairs won: 8, 8, 7, 7 and 4 of 40. Precision at the defects, from the highest:
        // 1, 1, 3/4, 4/5, 5/9. Two defects lie above every normal image; four normal images lie below every defect.
        for (name, found, expected) in [
            ("f1", score.f1, 8.0 / 12.0),
            ("f1_normal", score.f1_normal, 10.0 / 14.0),
            ("precision", score.precision, 4.0 / 7.0),
            ("recall", score.recall, 0.8),
            ("true_positive_rate", score.true_positive_rate, 0.8),
            ("false_positive_rate", score.false_positive_rate, 0.375),
            ("auroc", score.auroc, 34.0 / 40.0),
            ("average_precision", score.average_precision, (1.0 + 1.0 + 0.75 + 0.8 + 5.0 / 9.0) / 5.0),
            ("tpr_at_fpr_5", score.tpr_at_fpr_5.unwrap(), 0.4),
            ("fpr_at_tpr_95", score.fpr_at_tpr_95.unwrap(), 0.5),
        ] {
            assert!((found - expected).abs() < 1e-12, "{name}: {found}, expected {expected}");
        }
        assert_eq!((score.normals, score.defects, score.validation_share), (8, 5, None));
        assert_eq!((score.f2_ciw_oracle, score.auroc_error), (None, None), "neither classes nor groups");
    }

    /// Rates at a bound are those of the last threshold that keeps it: one false alarm of twenty, 19 hits of twenty.
    #[test]
    fn rates_are_taken_at_one_and_at_nineteen_twentieths() {
        let image = |defect| {
            let labels = Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
            ValidationImage { position: 0, name: String::new(), labels, kind: None, group: None }
        };
        let images = [vec![image(true); 20], vec![image(false); 20]].concat();
        let all = Subset { indices: (0..40).collect(), defects: 20, normals: 20 };
        let subsets = ValidationSubsets { subsets: vec![(Share::NATURAL, all)], missing: Vec::new() };
        let defects = (1..=20).map(f64::from);
        let normals = [9.5, 8.5, 2.5, 1.5].into_iter().chain((1..=16).map(|below| -f64::from(below)));
        let logits: Vec<f64> = defects.chain(normals).collect();
        let score = at_every_share("x", &logits, &images, false, &subsets).unwrap().remove(0);
        // Twelve defects lie above 8.5, eleven above 9.5. Above all but the last defect are three normal images.
        assert_eq!((score.tpr_at_fpr_5, score.fpr_at_tpr_95), (Some(0.6), Some(0.15)));
    }

    /// Classes and groups are those of the images of each share; what needs all images is absent elsewhere.
    #[test]
    fn classes_and_groups_are_scored_on_the_images_of_their_share() {
        let image = |position: usize| {
            // Six defects of one class, six of both, then twelve normal images; three images of each group.
            let classes = match position {
                0..6 => ClassSet::EMPTY.with(RB),
                6..12 => ClassSet::EMPTY.with(RB).with(OB),
                _ => ClassSet::EMPTY,
            };
            let labels = Labels { defect: position < 12, classes, stratum: 0 };
            let group = Some((position * 7 % 24 / 3).to_string());
            ValidationImage { position, name: String::new(), labels, kind: None, group }
        };
        let images: Vec<ValidationImage> = (0..24).map(image).collect();
        let logits: Vec<f64> = (0..24).map(|position: u32| f64::from(position * 11 % 24) - 9.5).collect();
        let all = Subset { indices: (0..24).collect(), defects: 12, normals: 12 };
        let some = Subset { indices: (4..22).collect(), defects: 8, normals: 10 };
        let subsets = vec![(Share::NATURAL, all), (Share::percent(45), some)];
        let subsets = ValidationSubsets { subsets, missing: Vec::new() };
        let scores = at_every_share("x", &logits, &images, true, &subsets).unwrap();
        for (score, rows) in scores.iter().zip([0..24, 4..22]) {
            let flagged: Vec<bool> = logits[rows.clone()].iter().map(|&logit| logit > 0.0).collect();
            let classes: Vec<ClassSet> =
                images[rows.clone()].iter().map(|image| image.labels.classes).collect();
            let defects: Vec<bool> = rows.clone().map(|row| row < 12).collect();
            let groups: Vec<u32> = rows.clone().map(|row| row as u32 * 7 % 24 / 3).collect();
            let oracle = f2_ciw_oracle(&flagged, &classes).unwrap().f2_ciw;
            let multilabel = f2_ciw_multilabel_of_detector(&flagged, &classes).unwrap().f2_ciw;
            assert_eq!((score.f2_ciw_oracle, score.f2_ciw_multilabel), (Some(oracle), Some(multilabel)));
            assert!((oracle - multilabel).abs() > 1e-3, "{oracle} {multilabel}");
            let expected = auroc_error(&logits[rows.clone()], &defects, &groups).unwrap();
            assert!((score.auroc_error.unwrap() - expected).abs() < 1e-12 && expected > 0.0);
            assert_eq!(score.auroc, auroc(&logits[rows], &defects).unwrap());
        }
        // An image without a group, in any place: then nobody knows how many independent images there are.
        for unknown in [5, 13, 20] {
            let mut images = images.clone();
            images[unknown].group = None;
            let scores = at_every_share("x", &logits, &images, true, &subsets).unwrap();
            assert!(scores.iter().all(|score| score.auroc_error.is_none()), "{unknown}");
        }
        let alone: Vec<f64> = (0..6).chain(12..24).map(|row| logits[row]).collect();
        let defects: Vec<bool> = (0..18).map(|row| row < 6).collect();
        let expected = BTreeMap::from([(RB.code().to_owned(), auroc(&alone, &defects).unwrap())]);
        assert_eq!((&scores[0].auroc_by_class, scores[1].auroc_by_class.len()), (&expected, 0));
        assert!(scores[1].operating_points.is_empty(), "of all images only");
    }

    /// A logit of 0 calls no defect, neither of a class nor in any score.
    #[test]
    fn a_logit_of_zero_is_no_flag() {
        let image = |(kind, class): (Option<&str>, Option<DefectClass>)| {
            let classes = class.map_or(ClassSet::EMPTY, |class| ClassSet::EMPTY.with(class));
            let labels = Labels { defect: class.is_some(), classes, stratum: 0 };
            let kind = kind.map(str::to_owned);
            ValidationImage { position: 0, name: String::new(), labels, kind, group: None }
        };
        let images: Vec<ValidationImage> =
            [(Some("a"), Some(RB)), (Some("a"), Some(RB)), (Some("b"), Some(OB)), (None, None), (None, None)]
                .map(image)
                .to_vec();
        let all = Subset { indices: (0..5).collect(), defects: 3, normals: 2 };
        let subsets = ValidationSubsets { subsets: vec![(Share::NATURAL, all)], missing: Vec::new() };
        let logits = [0.0, 1.0, 0.0, 0.0, -1.0];
        let score = at_every_share("x", &logits, &images, true, &subsets).unwrap().remove(0);
        let expected = BTreeMap::from([("a".to_owned(), [1, 2]), ("b".to_owned(), [0, 1])]);
        assert_eq!(score.recall_by_class, expected);
        assert!((score.recall - 1.0 / 3.0).abs() < 1e-12 && score.false_positive_rate == 0.0, "{score:?}");
        let flagged = [false, true, false, false, false];
        let classes: Vec<ClassSet> = images.iter().map(|image| image.labels.classes).collect();
        assert_eq!(score.f2_ciw_oracle, Some(f2_ciw_oracle(&flagged, &classes).unwrap().f2_ciw));
    }
}
