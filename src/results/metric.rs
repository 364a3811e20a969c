//! What is scored, by name: the scores of a classifier, and the classifiers. Knows nothing about how they are computed.

use super::record::Score;
use crate::named::named;

named! {
    /// A score of a classifier on validation images.
    pub enum Metric: "score" {
        /// F1 with the defect as the positive class.
        F1 = "f1",
        /// F1 with the normal image as the positive class.
        F1Normal = "f1_normal",
        /// F2_CIW where a flagged defect counts as all its true classes, as the paper's authors compute it.
        F2Oracle = "f2_ciw_oracle",
        /// F2_CIW of a detector that calls every class at once.
        F2Multilabel = "f2_ciw_multilabel",
        /// Defects among what is called one.
        Precision = "precision",
        /// Defects that are called one.
        Recall = "recall",
        /// The same as recall, beside the next.
        TruePositiveRate = "true_positive_rate",
        /// Normal images that are called a defect.
        FalsePositiveRate = "false_positive_rate",
        /// Area under the ROC curve.
        Auroc = "auroc",
        /// Area under the precision-recall steps.
        AveragePrecision = "average_precision",
        /// Defects that a threshold finds which flags at most 5 % of normal images.
        TprAtFpr5 = "tpr_at_fpr_5",
        /// Normal images that a threshold flags which finds at least 95 % of defects.
        FprAtTpr95 = "fpr_at_tpr_95",
    }
}

named! {
    /// Whose scores.
    pub enum Classifier: "classifier" {
        /// The supervised head, or the online linear probe: the paper's.
        InTraining = "in_training",
        /// The same on augmented validation images, of the ablation that has them.
        InTrainingAugmented = "in_training_augmented",
        /// The supervised head of training that weights nothing, less the log odds of its labels: logits of even odds, after
        /// the fact.
        InTrainingAdjusted = "in_training_adjusted",
        /// Logistic regression on frozen features, fitted after training.
        Converged = "converged",
        /// The most similar training images by frozen features, voting for their labels.
        Neighbours = "neighbours",
        /// Distance of frozen features from the nearest of normal training images; no defect was used.
        NormalsNeighbours = "normals_neighbours",
        /// Mahalanobis distance of frozen features from normal training images; no defect was used.
        NormalsMahalanobis = "normals_mahalanobis",
        /// Distance of patches of middle features from those of normal training images, PatchCore; no defect was used.
        NormalsPatchCore = "normals_patchcore",
        /// The same by a cloud at each place, PaDiM; no defect was used.
        NormalsPadim = "normals_padim",
    }
}

impl Classifier {
    /// Those that no defect is used for.
    pub const NORMALS_ONLY: [Self; 4] =
        [Self::NormalsNeighbours, Self::NormalsMahalanobis, Self::NormalsPatchCore, Self::NormalsPadim];
}

impl Metric {
    /// As tables print it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::F1Normal => "F1_Normal",
            Self::F2Oracle => "F2_CIW",
            Self::F2Multilabel => "F2_CIW, multi-label",
            Self::Precision => "Precision",
            Self::Recall => "Recall",
            Self::TruePositiveRate => "True positive rate",
            Self::FalsePositiveRate => "False positive rate",
            Self::Auroc => "AUROC",
            Self::AveragePrecision => "Average precision",
            Self::TprAtFpr5 => "TPR at 5 % FPR",
            Self::FprAtTpr95 => "FPR at 95 % TPR",
        }
    }

    /// Of all scores the same: parts of 1.
    pub const fn unit(self) -> &'static str {
        "1"
    }

    /// Its smallest and largest value.
    pub const fn bounds(self) -> (f64, f64) {
        (0.0, 1.0)
    }

    /// Whether more is better.
    pub const fn higher_is_better(self) -> bool {
        !matches!(self, Self::FalsePositiveRate | Self::FprAtTpr95)
    }

    /// Its value; none where the data have no Sewer-ML classes, which F2_CIW needs, or the record is from before it was
    /// kept.
    pub fn of(self, score: &Score) -> Option<f64> {
        match self {
            Self::F1 => Some(score.f1),
            Self::F1Normal => Some(score.f1_normal),
            Self::F2Oracle => score.f2_ciw_oracle,
            Self::F2Multilabel => score.f2_ciw_multilabel,
            Self::Precision => Some(score.precision),
            Self::Recall => Some(score.recall),
            Self::TruePositiveRate => Some(score.true_positive_rate),
            Self::FalsePositiveRate => Some(score.false_positive_rate),
            Self::Auroc => Some(score.auroc),
            Self::AveragePrecision => Some(score.average_precision),
            Self::TprAtFpr5 => score.tpr_at_fpr_5,
            Self::FprAtTpr95 => score.fpr_at_tpr_95,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    /// A metric's name is the field that it reads: what a record calls `recall` is recall.
    #[test]
    fn names_are_the_fields_of_a_score() {
        let score = Score {
            f1: 0.1,
            f1_normal: 0.2,
            precision: 0.3,
            recall: 0.4,
            true_positive_rate: 0.5,
            false_positive_rate: 0.6,
            auroc: 0.7,
            average_precision: 0.8,
            f2_ciw_oracle: Some(0.9),
            f2_ciw_multilabel: Some(0.95),
            tpr_at_fpr_5: Some(0.15),
            fpr_at_tpr_95: Some(0.25),
            ..example::score(Classifier::Converged.id(), None)
        };
        let fields = serde_json::to_value(&score).unwrap();
        for metric in Metric::ALL {
            assert_eq!(metric.of(&score), fields[metric.id()].as_f64(), "{metric}");
        }
    }
}
