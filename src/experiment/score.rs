//! One classifier's logits on the validation set, scored at every validation share.

use anyhow::{Context, Result};

use crate::{
    data::{ClassSet, Labels, Share, imbalance::Pool},
    evaluate::{
        detection::Detection,
        importance::{f2_ciw_multilabel_of_detector, f2_ciw_oracle},
    },
    results::record::Score,
    seed::Seed,
};

/// Shares of defects at which every model is scored: all validation images, then the paper's five.
const SHARES: [Share; 6] =
    [Share::NATURAL, Share::STUDY[0], Share::STUDY[1], Share::STUDY[2], Share::STUDY[3], Share::STUDY[4]];

/// Scores `logits` (one for each of `labels`) on six nested views of the same images: normal images
/// stay, defects are thinned out. `seed` chooses which defects, and must be the same for all models.
pub fn at_every_share(
    classifier: &str,
    logits: &[f64],
    labels: &[Labels],
    has_classes: bool,
    seed: &Seed,
) -> Result<Vec<Score>> {
    let pool = Pool::new(labels, seed);
    SHARES
        .iter()
        .map(|&share| {
            let view = pool.subset(share).with_context(|| format!("validation share {share}"))?;
            let logits: Vec<f64> = view.indices.iter().map(|&index| logits[index]).collect();
            let defects: Vec<bool> = view.indices.iter().map(|&index| labels[index].defect).collect();
            let Detection { counts, auroc, average_precision } = Detection::new(&logits, &defects)?;

            let flagged: Vec<bool> = logits.iter().map(|&logit| logit > 0.0).collect();
            let classes: Vec<ClassSet> = view.indices.iter().map(|&index| labels[index].classes).collect();
            let f2 = |metric: fn(&[bool], &[ClassSet]) -> Result<_>| -> Result<Option<f64>> {
                let importance: crate::evaluate::importance::Importance = metric(&flagged, &classes)?;
                Ok(has_classes.then_some(importance.f2_ciw))
            };
            Ok(Score {
                classifier: classifier.to_owned(),
                validation_share: share.fraction(),
                normals: view.normals,
                defects: view.defects,
                f1: counts.f1(),
                f1_normal: counts.f1_normal(),
                precision: counts.precision(),
                recall: counts.recall(),
                true_positive_rate: counts.recall(),
                false_positive_rate: counts.false_positive_rate(),
                auroc,
                average_precision,
                f2_ciw_oracle: f2(f2_ciw_oracle)?,
                f2_ciw_multilabel: f2(f2_ciw_multilabel_of_detector)?,
            })
        })
        .collect()
}
