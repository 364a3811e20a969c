//! One classifier's logits on the validation set, scored at every validation share: trained once, one
//! feature matrix, five shares.

use anyhow::Result;

use super::resolve::subset_seed;
use crate::{
    data::{ClassSet, Labels, Share, Subset, imbalance::Pool},
    evaluate::{
        detection::{Detection, operating_points},
        importance::{Importance, f2_ciw_multilabel_of_detector, f2_ciw_oracle},
    },
    results::record::Score,
};

/// Shares of defects at which every model is scored: all validation images, then the paper's five.
const SHARES: [Share; 6] =
    [Share::NATURAL, Share::STUDY[0], Share::STUDY[1], Share::STUDY[2], Share::STUDY[3], Share::STUDY[4]];

/// The validation images at every share that there are defects enough for.
pub struct ValidationSubsets {
    pub subsets: Vec<(Share, Subset)>,
    /// Why other shares are missing.
    pub missing: Vec<String>,
}

impl ValidationSubsets {
    /// Nested subsets of `labels`: normal images stay, defects are thinned out, the same for all models.
    ///
    /// # Errors
    /// If not even all images together can be scored: too few defects, or no normal image.
    pub fn new(labels: &[Labels]) -> Result<Self> {
        let pool = Pool::new(labels, &subset_seed("views"));
        let (mut subsets, mut missing) = (Vec::new(), Vec::new());
        for share in SHARES {
            match pool.subset(share) {
                Ok(subset) => subsets.push((share, subset)),
                Err(error) if share == Share::NATURAL => return Err(error.context("validation images")),
                Err(error) => missing.push(format!("no scores at validation share {share}: {error:#}")),
            }
        }
        Ok(Self { subsets, missing })
    }
}

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
