//! What is stored for each cell: the only serialised types.
//!
//! Old records must stay readable and foreign ones must be refused, so every record begins with its schema number.
//! Adding an optional field keeps the number; any other change raises it.
//!
//! Schema 2 states settings as typed values under fixed names, the content of image files and the code; schema 1
//! had settings as text, and neither content nor code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Schema that this build writes.
pub const SCHEMA: u32 = 2;
/// The oldest schema that this build reads.
pub const OLDEST_SCHEMA: u32 = 1;

/// Everything measured of one cell, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Schema number of this file.
    pub schema: u32,
    /// The cell that was measured.
    pub cell: CellAxes,
    /// BLAKE3 of everything that determines the numbers ([`Identity`] and the content of the images): equal
    /// fingerprints mean the same experiment. In schema 1 it covers cell, settings and labels only.
    pub fingerprint: String,
    /// Every choice that affects what is computed.
    pub settings: Settings,
    /// The images that it was trained and scored on.
    pub data: Data,
    /// Training, epoch by epoch; empty if nothing was trained.
    pub curve: Vec<Epoch>,
    /// How the fit of the converged probe ended.
    pub probe: ProbeFit,
    /// Label-free metrics of training images in evaluation mode, by their subject (`features`, `embeddings`,
    /// `views`) and by name. Empty in older records.
    #[serde(default)]
    pub label_free: BTreeMap<String, BTreeMap<String, f64>>,
    /// One entry for each classifier and validation share.
    pub scores: Vec<Score>,
    /// Scores of the converged probe with fewer labels, the fewest first; empty in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_budgets: Vec<Budget>,
    /// Whether the converged probe's map points to defects; `None` if the data do not mark them, and in older
    /// records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointing: Option<Pointing>,
    /// The same for patches of middle features and PatchCore's distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointing_patches: Option<Pointing>,
    /// Files beside the record, by content ([`Part`](super::Part)); empty in older records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, FileDigest>,
    /// How long the cell took.
    pub cost: Cost,
    /// The code and machine that made the record.
    pub provenance: Provenance,
}

/// The axes of a cell, with the spelling used everywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellAxes {
    /// Unique name, also of the file: `table1/simclr-resnet18-share05-seed0`.
    pub id: String,
    /// `table1`, `extension`, an ablation, ...
    pub study: String,
    /// `none` if nothing was trained.
    pub method: String,
    /// `resnet18`, `vit_tiny`, or `pixels` if there is no network.
    pub backbone: String,
    /// What the study varies in addition: `side224`, `jitter0275-crop0395`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Requested share of defects in training, 0..1; null for the natural share.
    pub train_share: Option<f64>,
    /// Root of the cell's random streams.
    pub seed: u64,
}

/// Every choice that affects what is computed, by name. Flat, so that readers of other versions can still show and
/// compare it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `fixture`, `quick`, `small` or `full`; only `full` on Sewer-ML may be compared with the paper.
    pub scale: String,
    /// Name of the recipe: the source of the hyper-parameters.
    pub recipe: String,
    /// Values by dotted name (`optimisation.learning_rate`): numbers, texts, truth values, or lists of numbers. All
    /// text in schema 1.
    pub values: BTreeMap<String, Value>,
}

/// Everything that determines the numbers of a cell and is known before training. The content of image files is
/// added once they have been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cell's name.
    pub cell: String,
    /// Every choice that affects what is computed.
    pub settings: Settings,
    /// Digest of names and labels of the training images, in order.
    pub train_digest: String,
    /// The same for the validation split.
    pub validation_digest: String,
    /// Digest of the sources that compute numbers, and of the lock file.
    pub code: String,
    /// `cpu` or `cuda`.
    pub device: String,
}

/// The images that a cell was trained and scored on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `synthetic`, `elpv`, `sewer-ml`, `folder` or `csv`.
    pub source: String,
    /// BLAKE3 of names and labels of the training split, in order.
    pub train_digest: String,
    /// The same for the validation split.
    pub validation_digest: String,
    /// BLAKE3 of the bytes of every image file used; `None` if images are synthetic, and in schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Images of the training subset that could be read.
    pub train: Counts,
    /// Validation images that could be read, whatever the validation share.
    pub validation: Counts,
    /// Images left out because they could not be read (`--on-bad-image skip`).
    pub skipped: Vec<String>,
    /// What a reader must know before believing the numbers.
    pub limits: Vec<String>,
}

/// Numbers of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Images without a defect.
    pub normals: usize,
    /// Images with a defect.
    pub defects: usize,
}

/// One epoch of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the method over the epoch's steps.
    pub loss: f64,
    /// Mean label loss of the online probe; null for supervised training, where it is the loss.
    pub probe_loss: Option<f64>,
    /// Learning rate at the last step.
    pub learning_rate: f64,
    /// How long the epoch took.
    pub seconds: f64,
    /// Means over the epoch, by name: parts of the loss, ranks, spread (`train::monitor`). Empty in older records.
    #[serde(default)]
    pub monitors: BTreeMap<String, f64>,
}

/// How the fit of the converged logistic probe ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeFit {
    /// scikit-learn's C, chosen by cross-validation; `None` in older records, whose settings state it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<f64>,
    /// Newton steps.
    pub iterations: usize,
    /// Largest entry of the final gradient, relative to the largest that the features can give.
    pub gradient: f64,
}

/// One classifier on one validation share. Threshold: logit > 0. Positive: defect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// One of [`Classifier`](super::Classifier).
    pub classifier: String,
    /// Share of defects in the validation subset, 0..1; null for all validation images.
    pub validation_share: Option<f64>,
    /// Images without a defect.
    pub normals: usize,
    /// Images with a defect.
    pub defects: usize,
    /// F1 with the defect as the positive class, 0..1.
    pub f1: f64,
    /// F1 with the normal image as the positive class, 0..1.
    pub f1_normal: f64,
    /// Fraction of the images called defects that are defects, 0..1.
    pub precision: f64,
    /// Fraction of the defects that are called defects, 0..1.
    pub recall: f64,
    /// The same as recall, as the counterpart of the false-positive rate.
    pub true_positive_rate: f64,
    /// Fraction of the normal images that are called defects, 0..1.
    pub false_positive_rate: f64,
    /// Area under the ROC curve, 0..1; 0.5 is chance.
    pub auroc: f64,
    /// Standard error of AUROC over groups of validation images (Obuchowski 1997); `None` if images have no groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc_error: Option<f64>,
    /// Area under the precision-recall steps, 0..1; chance is the share of defects.
    pub average_precision: f64,
    /// Largest true-positive rate of a threshold that flags at most 5 % of normal images, 0..1; `None` in older
    /// records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpr_at_fpr_5: Option<f64>,
    /// Smallest false-positive rate of a threshold that flags at least 95 % of defects, 0..1; `None` in older
    /// records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpr_at_tpr_95: Option<f64>,
    /// Numbers of found and of all defects for each class that the data name, for all validation images only; empty
    /// if they name fewer than two.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recall_by_class: BTreeMap<String, [usize; 2]>,
    /// Area under the ROC curve of defects that show only this class against all normal images, for all validation
    /// images only; classes with too few such images are absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auroc_by_class: BTreeMap<String, f64>,
    /// F2_CIW by the oracle reading; null if the data have no Sewer-ML classes.
    pub f2_ciw_oracle: Option<f64>,
    /// F2_CIW of a detector whose flag counts as every class; null likewise.
    pub f2_ciw_multilabel: Option<f64>,
    /// Threshold, false-positive and true-positive rate of every threshold that can be the cheapest, for all validation
    /// images only; empty in older records. They are chosen on the images that they are measured on, so their rates are
    /// slightly too good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operating_points: Vec<[f64; 3]>,
}

/// Scores, on all validation images, of a converged probe and of neighbours' votes that use only some of the labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Labelled defects.
    pub defects: usize,
    /// Labelled normal images.
    pub normals: usize,
    /// Area under the ROC curve, one for each draw of the labels.
    pub auroc: Vec<f64>,
    /// Average precision, likewise.
    pub average_precision: Vec<f64>,
    /// Area under the ROC curve of neighbours' votes, likewise; empty in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours_auroc: Vec<f64>,
}

/// The pointing game on validation images with a defect: means over images, each 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointing {
    /// Images that were scored.
    pub images: usize,
    /// Fraction of the map's highest place that shows the defect.
    pub hit: f64,
    /// Fraction of the whole image that shows the defect: the hit rate of a random pixel.
    pub chance: f64,
    /// Fraction of the best place that shows the defect.
    pub ceiling: f64,
}

/// How long a cell took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Seconds of training.
    pub train_seconds: f64,
    /// Seconds of features, probes, scores and label-free metrics.
    pub evaluate_seconds: f64,
    /// Source images (not views) per second of training.
    pub images_per_second: f64,
    /// How often the cell was interrupted and resumed. Seconds are those of an uninterrupted run: work that was
    /// lost and repeated counts once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: usize,
    /// Seconds by activity: in training `data` (waiting for batches), `updates`, `monitors`, `checkpoints`; in
    /// evaluation `features`, `probe` (all classifiers, and scores at all shares), `pointing`, `label_free`. Empty
    /// in older records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
}

/// What a record states about a file beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: String,
    /// Number of images that it has a row for; `None` if it is not a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// The code and machine that produced a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Seconds since 1970 at which the cell started.
    pub started_unix: u64,
    /// Git revision, with `-dirty` added if the work tree differs from it; `unknown` outside git.
    pub revision: String,
    /// Digest of the sources that compute numbers, and of the lock file; `None` in schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Version of this program.
    pub skewbench: String,
    /// Versions of the crates that numbers depend on, from the lock file.
    pub crates: BTreeMap<String, String>,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The processor's own name.
    pub cpu: String,
    /// Threads of the thread pool.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
}

/// The commands that requested the records of a folder: one entry for each different command, build or machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Schema number of this file.
    pub schema: u32,
    /// Commands, in the order of their first run.
    pub runs: Vec<Run>,
}

/// One command that requested cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program arguments, quoted for a shell.
    pub command: String,
    /// Provenance of the first run.
    pub provenance: Provenance,
    /// How often the command was started: once, and again after each interruption.
    pub times: usize,
    /// Names of its cells, and for each the number of source images that training uses.
    pub cells: Vec<(String, usize)>,
}

/// The result of tuning: `tuning.json` of a results folder. All of it can be derived from the folder's records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Schema number of this file.
    pub schema: u32,
    /// Share of defects in training, 0..1; null for the natural share.
    pub train_share: Option<f64>,
    /// `synthetic`, `elpv`, `sewer-ml`, `folder` or `csv`.
    pub source: String,
    /// Digest of the images that were trained on; if they are synthetic, no study trains on them.
    pub train_digest: String,
    /// Digest of the images that choices were based on; no study is scored on them.
    pub validation_digest: String,
    /// Digest of the sources that compute numbers: trial 0 is the recipe in these sources.
    pub code: String,
    /// Each method on each backbone that was tuned.
    pub pairs: Vec<TunedPair>,
}

/// The trials of a method on a backbone, and which of them was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedPair {
    /// Name of the method as in records.
    pub method: String,
    /// Name of the backbone as in records.
    pub backbone: String,
    /// Name of the constant specific to the method; null if it has none.
    pub constant: Option<String>,
    /// Seeds with which finalists were trained.
    pub seeds: Vec<u64>,
    /// The finalist with the highest mean AUROC over these seeds.
    pub chosen: u16,
    /// Trials, in the order of their numbers.
    pub trials: Vec<Trial>,
}

/// A numbered point of the search space, and its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Number of the trial; 0 is the unchanged recipe.
    pub trial: u16,
    /// Learning rate for a batch of 256 images.
    pub learning_rate: f64,
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Name of the views.
    pub views: String,
    /// The constant specific to the method; null if it has none.
    pub constant: Option<f64>,
    /// AUROC of the converged probe on all validation images, 0..1, by seed. Seeds that failed are absent.
    pub auroc: BTreeMap<u64, f64>,
}

impl TunedPair {
    /// Returns the mean AUROC of a trial over all seeds of the finalists; `None` if it was not trained with each of
    /// them.
    pub fn mean(&self, trial: u16) -> Option<f64> {
        let found = self.trials.iter().find(|known| known.trial == trial)?;
        let scores: Option<Vec<f64>> = self.seeds.iter().map(|seed| found.auroc.get(seed).copied()).collect();
        scores
            .filter(|scores| !scores.is_empty())
            .map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    /// The mean is over the finalists' seeds only, and of the requested trial.
    #[test]
    fn a_trial_has_a_mean_if_all_seeds_were_trained() {
        let trial = |trial: u16, auroc: &[(u64, f64)]| Trial {
            trial,
            learning_rate: 0.1,
            weight_decay: 0.2,
            views: "whole".to_owned(),
            constant: None,
            auroc: auroc.iter().copied().collect(),
        };
        let pair = TunedPair {
            method: "simclr".to_owned(),
            backbone: "resnet18".to_owned(),
            constant: None,
            seeds: vec![3, 5],
            chosen: 4,
            trials: vec![
                trial(0, &[(0, 0.1), (3, 0.5), (5, 0.75)]),
                trial(4, &[(3, 0.25), (5, 0.5)]),
                trial(7, &[(0, 0.9), (5, 0.9)]),
            ],
        };
        let means = [0, 4, 7, 9].map(|trial| pair.mean(trial));
        assert_eq!(means, [Some(0.625), Some(0.375), None, None]);
        assert_eq!(TunedPair { seeds: Vec::new(), ..pair }.mean(0), None);
    }

    /// Every optional field: nothing is written for a missing one, and a record without it is read.
    #[test]
    fn what_a_record_does_not_have_is_not_written() {
        let mut record = example::record();
        record.scores = vec![example::score("converged", None)];
        let bare = serde_json::to_value(&record).unwrap();
        let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(
            keys(&bare),
            [
                "cell",
                "cost",
                "curve",
                "data",
                "fingerprint",
                "label_free",
                "probe",
                "provenance",
                "schema",
                "scores",
                "settings"
            ]
        );
        assert_eq!(keys(&bare["cost"]), ["evaluate_seconds", "images_per_second", "train_seconds"]);
        assert_eq!(keys(&bare["probe"]), ["gradient", "iterations"]);
        assert_eq!(keys(&bare["cell"]), ["backbone", "id", "method", "seed", "study", "train_share"]);
        let absent = [
            "auroc_error",
            "tpr_at_fpr_5",
            "fpr_at_tpr_95",
            "recall_by_class",
            "auroc_by_class",
            "operating_points",
        ];
        assert!(absent.iter().all(|name| bare["scores"][0].get(name).is_none()), "{bare}");
        assert!(bare["scores"][0]["f2_ciw_oracle"].is_null() && bare["data"].get("content").is_none());
        assert_eq!(serde_json::from_value::<Record>(bare.clone()).unwrap(), record);
        let mut older = bare;
        older.as_object_mut().unwrap().remove("label_free");
        assert_eq!(serde_json::from_value::<Record>(older.clone()).unwrap(), record);
        older.as_object_mut().unwrap().insert("accuracy".to_owned(), 1.into());
        assert!(serde_json::from_value::<Record>(older).is_err(), "a field that is not ours");
    }

    /// Every optional field of a record is written and read back.
    #[test]
    fn what_a_record_has_is_read_back() {
        let mut record = example::record();
        let of = |name: &str, value: f64| -> BTreeMap<String, f64> { [(name.to_owned(), value)].into() };
        let pointing = |images, hit| Pointing { images, hit, chance: 0.125, ceiling: 0.75 };
        record.cell.variant = Some("side064".to_owned());
        record.data.content = Some("abc".to_owned());
        record.label_free = [("views".to_owned(), of("lidar", 2.5))].into();
        record.probe.c = Some(0.01);
        record.curve = vec![Epoch {
            epoch: 1,
            loss: 0.5,
            probe_loss: Some(0.25),
            learning_rate: 0.125,
            seconds: 2.0,
            monitors: of("rankme", 3.5),
        }];
        record.label_budgets = vec![Budget {
            defects: 5,
            normals: 7,
            auroc: vec![0.5],
            average_precision: vec![0.25],
            neighbours_auroc: vec![0.75],
        }];
        (record.pointing, record.pointing_patches) = (Some(pointing(3, 0.5)), Some(pointing(4, 0.25)));
        record.beside =
            [("logits".to_owned(), FileDigest { bytes: 9, blake3: "ff".to_owned(), rows: Some(2) })].into();
        (record.cost.resumed, record.cost.parts) = (2, of("probe", 1.5));
        record.scores = vec![Score {
            auroc_error: Some(0.01),
            tpr_at_fpr_5: Some(0.02),
            fpr_at_tpr_95: Some(0.03),
            recall_by_class: [("crack".to_owned(), [1, 2])].into(),
            auroc_by_class: of("crack", 0.6),
            f2_ciw_oracle: Some(0.04),
            f2_ciw_multilabel: Some(0.05),
            operating_points: vec![[0.1, 0.2, 0.3]],
            ..example::score("converged", Some(0.05))
        }];
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["cost"]["resumed"], &value["pointing_patches"]["images"]), (&2.into(), &4.into()));
        assert_eq!((SCHEMA, OLDEST_SCHEMA), (2, 1));
    }
}
