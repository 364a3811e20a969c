//! What is written down for each cell: the only serialised types.
//!
//! Old records must stay readable and foreign ones must be refused, so every record begins with its
//! schema number. Adding an optional field keeps the number; anything else raises it.
//!
//! Schema 2 states settings as typed values under fixed names, the content of image files and the code;
//! schema 1 had settings as text, and neither content nor code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Schema that this build writes.
pub const SCHEMA: u32 = 2;
/// The oldest schema that it reads.
pub const OLDEST_SCHEMA: u32 = 1;

/// Everything measured of one cell, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which form this file has.
    pub schema: u32,
    /// Which cell it is of.
    pub cell: CellAxes,
    /// BLAKE3 of everything that decides the numbers ([`Identity`] and the content of the images): equal
    /// fingerprints are the same experiment. In schema 1 of cell, settings and labels only.
    pub fingerprint: String,
    /// Every choice that decided what was computed.
    pub settings: Settings,
    /// What it was trained and scored on.
    pub data: Data,
    /// Training, epoch by epoch; empty where nothing was trained.
    pub curve: Vec<Epoch>,
    /// How the converged probe ended.
    pub probe: ProbeFit,
    /// Label-free metrics of training images in evaluation mode, by what they are of (`features`,
    /// `embeddings`, `views`) and by name. Empty in records from before they were kept.
    #[serde(default)]
    pub label_free: BTreeMap<String, BTreeMap<String, f64>>,
    /// One for each classifier and validation share.
    pub scores: Vec<Score>,
    /// What the converged probe gives of fewer labels, the fewest first; empty in records from before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_budgets: Vec<Budget>,
    /// Whether the converged probe's map points to defects; none where nobody knows where these are, and in records from
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointing: Option<Pointing>,
    /// The same by patches of middle features and PatchCore's distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointing_patches: Option<Pointing>,
    /// Files beside it, by what they hold ([`Part`](super::Part)); empty in records from before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Beside>,
    /// How long it took.
    pub cost: Cost,
    /// Which code and machine made it.
    pub provenance: Provenance,
}

/// The axes of a cell, spelt as everywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellAxes {
    /// Unique name, as of the file: `table1/simclr-resnet18-share05-seed0`.
    pub id: String,
    /// `table1`, `extension`, an ablation, ...
    pub study: String,
    /// `none` where nothing was trained.
    pub method: String,
    /// `resnet18`, `vit_tiny`, or `pixels` where there is no network.
    pub backbone: String,
    /// What the study varies besides: `side224`, `jitter0275-crop0395`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Share of defects asked for in training, 0..1; null for the data's own.
    pub train_share: Option<f64>,
    /// Root of the cell's random streams.
    pub seed: u64,
}

/// Every choice that decides what is computed, by name. Flat, so that a reader of another version can
/// still show and compare it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `fixture`, `small` or `full`; only `full` on Sewer-ML may be compared with the paper.
    pub scale: String,
    /// Name of the recipe: whose hyper-parameters these are.
    pub recipe: String,
    /// By dotted name (`optimisation.learning_rate`): numbers, texts, truth values, or lists of numbers. Text
    /// throughout in schema 1.
    pub values: BTreeMap<String, Value>,
}

/// What decides the numbers of a cell, as far as it is known before training. The content of image files
/// comes on top, once they have been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cell's name.
    pub cell: String,
    /// Every choice that decided what was computed.
    pub settings: Settings,
    /// Names and labels of the images, in order.
    pub train_digest: String,
    /// The same of the validation split.
    pub validation_digest: String,
    /// Digest of the sources that compute numbers, and of the lock file.
    pub code: String,
    /// `cpu` or `cuda`.
    pub device: String,
}

/// What a cell was trained and scored on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `synthetic`, `elpv`, `sewer-ml`, `folder` or `csv`.
    pub source: String,
    /// BLAKE3 of names and labels of the training split, in order.
    pub train_digest: String,
    /// The same of the validation split.
    pub validation_digest: String,
    /// BLAKE3 of the bytes of every image file used; none where images are drawn, and in schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Images trained on, after the share was made.
    pub train: Counts,
    /// The whole validation set that features are computed of.
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
    /// From 1.
    pub epoch: usize,
    /// Mean loss of the method over the epoch's steps.
    pub loss: f64,
    /// Mean label loss of the online probe; null for supervised training, where it is the loss.
    pub probe_loss: Option<f64>,
    /// Learning rate at the last step.
    pub learning_rate: f64,
    /// How long the epoch took.
    pub seconds: f64,
    /// Means over the epoch, by name: parts of the loss, ranks, spread (`train::monitor`). Empty in records
    /// from before they were kept.
    #[serde(default)]
    pub monitors: BTreeMap<String, f64>,
}

/// How the converged logistic probe ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeFit {
    /// scikit-learn's C that cross-validation chose; none in records from before, whose settings say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<f64>,
    /// Newton steps.
    pub iterations: usize,
    /// Largest entry of the gradient at the end, relative to the largest that the features can give.
    pub gradient: f64,
}

/// One classifier on one validation share. Threshold: logit > 0. Positive: defect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// One of [`Classifier`](super::Classifier).
    pub classifier: String,
    /// Share of defects in the validation view, 0..1; null for all validation images.
    pub validation_share: Option<f64>,
    /// Images without a defect.
    pub normals: usize,
    /// Images with a defect.
    pub defects: usize,
    /// F1 with the defect as the positive class, 0..1.
    pub f1: f64,
    /// F1 with the normal image as the positive class, 0..1.
    pub f1_normal: f64,
    /// Defects among what is called one, 0..1.
    pub precision: f64,
    /// Defects that are called one, 0..1.
    pub recall: f64,
    /// The same as recall, by the name that goes with the next.
    pub true_positive_rate: f64,
    /// Normal images that are called a defect, 0..1.
    pub false_positive_rate: f64,
    /// Area under the ROC curve, 0..1; 0.5 is chance.
    pub auroc: f64,
    /// Standard error of AUROC over groups of validation images (Obuchowski 1997); none where images have no groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc_error: Option<f64>,
    /// Area under the precision-recall steps, 0..1; the share of defects is chance.
    pub average_precision: f64,
    /// Largest true positive rate of a threshold that flags at most 5 % of normal images, 0..1; none in records from
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpr_at_fpr_5: Option<f64>,
    /// Smallest false positive rate of a threshold that flags at least 95 % of defects, 0..1; none as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpr_at_tpr_95: Option<f64>,
    /// Defects found and all defects of each class that the data name, of all validation images only; empty where they
    /// name fewer than two.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recall_by_class: BTreeMap<String, [usize; 2]>,
    /// Area under the ROC curve of defects of one class alone against all normal images, of all validation images only;
    /// classes of few such images have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auroc_by_class: BTreeMap<String, f64>,
    /// Null where the data has no Sewer-ML classes.
    pub f2_ciw_oracle: Option<f64>,
    /// F2_CIW of a detector that calls every class at once; null as above.
    pub f2_ciw_multilabel: Option<f64>,
    /// Threshold, false and true positive rate of every threshold that can be the cheapest, of all validation images
    /// only; empty in records from before. Chosen on the images that they are read on, so a little too good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operating_points: Vec<[f64; 3]>,
}

/// A converged probe fitted on some of the labels, and neighbours among these, on all validation images.
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
    /// Area under the ROC curve of neighbours' votes, likewise; empty in records from before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours_auroc: Vec<f64>,
}

/// The pointing game on validation images with a defect: means over images, each 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointing {
    /// Images that were pointed to.
    pub images: usize,
    /// Part of the map's highest place that shows the defect.
    pub hit: f64,
    /// Part of the whole image that does: what a pixel at random hits.
    pub chance: f64,
    /// Part of the best place that does.
    pub ceiling: f64,
}

/// How long a cell took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Of training.
    pub train_seconds: f64,
    /// Of features, probes, scores and label-free metrics.
    pub evaluate_seconds: f64,
    /// Source images (not views) that training went through a second.
    pub images_per_second: f64,
    /// How often the cell was interrupted and resumed. Seconds are those of one pass through: work that an
    /// interruption cost and that was done again counts once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: usize,
    /// Seconds by what they went to: in training `data` (batches waited for), `updates`, `monitors`, `checkpoints`; in
    /// evaluation `features`, `probe` (all classifiers, and scores at all shares), `pointing`, `label_free`. Empty in records from before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
}

/// What a file beside a record must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: String,
    /// Images that it has a row of; none where it is no table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Which code and machine produced a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Seconds since 1970 at which the cell started.
    pub started_unix: u64,
    /// Git revision, `-dirty` added when the work tree differs from it, `unknown` outside git.
    pub revision: String,
    /// Digest of the sources that compute numbers, and of the lock file; none in schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Version of this program.
    pub skewbench: String,
    /// Versions of the crates that numbers depend on, from the lock file.
    pub crates: BTreeMap<String, String>,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The processor's name for itself.
    pub cpu: String,
    /// Threads of the pool.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
}

/// Who asked for the records of a folder, and where: one entry for each different command, build or machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Which form this file has.
    pub schema: u32,
    /// In the order of their first time.
    pub runs: Vec<Run>,
}

/// One command that asked for cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Arguments, as a shell takes them.
    pub command: String,
    /// Of the first time.
    pub provenance: Provenance,
    /// How often it was begun: once, and again after each interruption.
    pub times: usize,
    /// Names of its cells, and the source images that training goes through for each.
    pub cells: Vec<(String, usize)>,
}

/// What tuning came to: `tuning.json` of a results folder. All of it stands in the folder's records too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Which form this file has.
    pub schema: u32,
    /// Share of defects in training, 0..1; null for the data's own.
    pub train_share: Option<f64>,
    /// `synthetic`, `elpv`, `sewer-ml`, `folder` or `csv`.
    pub source: String,
    /// Of the images that were trained on; no study trains on them where they are drawn.
    pub train_digest: String,
    /// Of the images that choices were made on; no study is scored on them.
    pub validation_digest: String,
    /// Digest of the sources that compute numbers: trial 0 is the recipe in them.
    pub code: String,
    /// Each method on each backbone that was tuned.
    pub pairs: Vec<TunedPair>,
}

/// The trials of a method on a backbone, and which of them was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedPair {
    /// As records spell it.
    pub method: String,
    /// As records spell it.
    pub backbone: String,
    /// Name of the method's own constant; null where it has none.
    pub constant: Option<String>,
    /// Seeds that finalists were trained with.
    pub seeds: Vec<u64>,
    /// The finalist with the highest mean AUROC over these seeds.
    pub chosen: u16,
    /// In the order of their numbers.
    pub trials: Vec<Trial>,
}

/// A numbered point of the search space, and what it scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// 0 is the recipe as it stood.
    pub trial: u16,
    /// For a batch of 256 images.
    pub learning_rate: f64,
    /// Per unit of learning rate.
    pub weight_decay: f64,
    /// Whose views.
    pub views: String,
    /// The method's own constant; null where it has none.
    pub constant: Option<f64>,
    /// AUROC of the converged probe on all validation images, 0..1, by seed. A seed that failed is not among them.
    pub auroc: BTreeMap<u64, f64>,
}

impl TunedPair {
    /// Mean AUROC of a trial over all seeds of the finalists; none if it was not trained with each.
    pub fn mean(&self, trial: u16) -> Option<f64> {
        let found = self.trials.iter().find(|known| known.trial == trial)?;
        let scores: Option<Vec<f64>> = self.seeds.iter().map(|seed| found.auroc.get(seed).copied()).collect();
        scores
            .filter(|scores| !scores.is_empty())
            .map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}
