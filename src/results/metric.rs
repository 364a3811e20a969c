//! Names of scores and of classifiers. Independent of how they are computed.

use super::record::Score;
use crate::named::named;

named! {
    /// A score of a classifier on validation images.
    pub enum Metric: "score" {
        /// F1 with the defect as the positive class.
        F1 = "f1",
        /// F1 with the normal image as the positive class.
        F1Normal = "f1_normal",
        /// F2_CIW where a flagged defect counts as exactly its true classes, as computed by the paper's authors.
        F2Oracle = "f2_ciw_oracle",
        /// F2_CIW of a detector whose flag counts as every class.
        F2Multilabel = "f2_ciw_multilabel",
        /// Fraction of the images called defects that are defects.
        Precision = "precision",
        /// Fraction of the defects that are called defects.
        Recall = "recall",
        /// The same as recall, as the counterpart of the false-positive rate.
        TruePositiveRate = "true_positive_rate",
        /// Fraction of the normal images that are called defects.
        FalsePositiveRate = "false_positive_rate",
        /// Area under the ROC curve.
        Auroc = "auroc",
        /// Area under the precision-recall steps.
        AveragePrecision = "average_precision",
        /// Largest fraction of defects found by a threshold that flags at most 5 % of normal images.
        TprAtFpr5 = "tpr_at_fpr_5",
        /// Smallest fraction of normal images flagged by a threshold that finds at least 95 % of defects.
        FprAtTpr95 = "fpr_at_tpr_95",
    }
}

named! {
    /// The classifier that a score belongs to.
    pub enum Classifier: "classifier" {
        /// The supervised head, or the online linear probe: the paper's.
        InTraining = "in_training",
        /// The same on augmented validation images, in the ablation that uses them.
        InTrainingAugmented = "in_training_augmented",
        /// The supervised head of unweighted training, its logits minus the log odds of a defect in training: post-hoc
        /// logit adjustment.
        InTrainingAdjusted = "in_training_adjusted",
        /// Logistic regression on frozen features, fitted after training.
        Converged = "converged",
        /// Votes of the training images with the most similar frozen features.
        Neighbours = "neighbours",
        /// Distance of frozen features from the nearest of normal training images; no defect was used.
        NormalsNeighbours = "normals_neighbours",
        /// Mahalanobis distance of frozen features from normal training images; no defect was used.
        NormalsMahalanobis = "normals_mahalanobis",
        /// Distance of patches of middle features from those of normal training images, PatchCore; no defect was used.
        NormalsPatchCore = "normals_patchcore",
        /// The same with a Gaussian at each place, PaDiM; no defect was used.
        NormalsPadim = "normals_padim",
    }
}

impl Classifier {
    /// The classifiers fitted without defects.
    pub const NORMALS_ONLY: [Self; 4] =
        [Self::NormalsNeighbours, Self::NormalsMahalanobis, Self::NormalsPatchCore, Self::NormalsPadim];
}

impl Metric {
    /// Returns the name in tables.
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

    /// Returns the unit, the same for all scores: fractions of 1.
    pub const fn unit(self) -> &'static str {
        "1"
    }

    /// Returns the smallest and the largest possible value.
    pub const fn bounds(self) -> (f64, f64) {
        (0.0, 1.0)
    }

    /// Returns whether a higher value is better.
    pub const fn higher_is_better(self) -> bool {
        !matches!(self, Self::FalsePositiveRate | Self::FprAtTpr95)
    }

    /// Returns its value in `score`; `None` if the data have no Sewer-ML classes, which F2_CIW needs, or the record
    /// is older than the score.
    pub fn value(self, score: &Score) -> Option<f64> {
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

    /// A metric has the name of the field that it reads: what a record calls `recall` is recall.
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
            assert_eq!(metric.value(&score), fields[metric.id()].as_f64(), "{metric}");
        }
    }

    #[test]
    fn scores_have_these_labels() {
        let told: Vec<String> = Metric::ALL
            .iter()
            .map(|metric| {
                let side = if metric.higher_is_better() { "higher" } else { "lower" };
                format!("{metric}: {}, {side}", metric.label())
            })
            .collect();
        assert_eq!(
            told,
            [
                "f1: F1, higher",
                "f1_normal: F1_Normal, higher",
                "f2_ciw_oracle: F2_CIW, higher",
                "f2_ciw_multilabel: F2_CIW, multi-label, higher",
                "precision: Precision, higher",
                "recall: Recall, higher",
                "true_positive_rate: True positive rate, higher",
                "false_positive_rate: False positive rate, lower",
                "auroc: AUROC, higher",
                "average_precision: Average precision, higher",
                "tpr_at_fpr_5: TPR at 5 % FPR, higher",
                "fpr_at_tpr_95: FPR at 95 % TPR, lower",
            ]
        );
        assert!(Metric::ALL.iter().all(|metric| metric.bounds() == (0.0, 1.0) && metric.unit() == "1"));
        let unlabelled = Classifier::NORMALS_ONLY.map(Classifier::id);
        assert_eq!(
            unlabelled,
            ["normals_neighbours", "normals_mahalanobis", "normals_patchcore", "normals_padim"]
        );
        let others = Classifier::ALL.iter().filter(|classifier| !unlabelled.contains(&classifier.id()));
        assert_eq!(
            others.map(|classifier| classifier.id()).collect::<Vec<_>>(),
            ["in_training", "in_training_augmented", "in_training_adjusted", "converged", "neighbours"]
        );
    }

    /// A score that a record does not have is not 0.
    #[test]
    fn what_was_not_measured_has_no_value() {
        let bare = example::score("converged", None);
        let absent: Vec<Metric> =
            Metric::ALL.into_iter().filter(|metric| metric.value(&bare).is_none()).collect();
        assert_eq!(absent, [Metric::F2Oracle, Metric::F2Multilabel, Metric::TprAtFpr5, Metric::FprAtTpr95]);
        // Each of them has only its own value.
        let one = Score { tpr_at_fpr_5: Some(0.0), ..bare };
        assert_eq!(
            absent.iter().map(|metric| metric.value(&one)).collect::<Vec<_>>(),
            [None, None, Some(0.0), None]
        );
    }
}
