//! Records of equal cells taken together: means over seeds, and how far seeds spread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

use super::record::{Record, Score};

/// What cells share that differ in their seed only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub study: String,
    pub method: String,
    /// `resnet18`, `vit_tiny` or `pixels`.
    pub backbone: String,
    /// Empty where the study varies nothing else.
    pub variant: String,
    pub train_share: Level,
}

/// A share of defects in hundredths of a percent; none, which comes last, for the data's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u64);

impl Level {
    pub fn new(share: Option<f64>) -> Self {
        Self(share.map_or(u64::MAX, |share| (share * 1e4).round() as u64))
    }

    /// In percent, none for the data's own.
    pub fn percent(self) -> Option<f64> {
        (self.0 != u64::MAX).then_some(self.0 as f64 / 100.0)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.percent() {
            Some(percent) => write!(formatter, "{percent}%"),
            None => formatter.write_str("natural"),
        }
    }
}

impl Group {
    pub fn of(record: &Record) -> Self {
        let cell = &record.cell;
        Self {
            study: cell.study.clone(),
            method: cell.method.clone(),
            backbone: cell.backbone.clone(),
            variant: cell.variant.clone().unwrap_or_default(),
            train_share: Level::new(cell.train_share),
        }
    }
}

/// Records by group, in the order of groups.
pub fn groups<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<Group, Vec<&'a Record>> {
    let mut groups: BTreeMap<Group, Vec<&Record>> = BTreeMap::new();
    for record in records {
        groups.entry(Group::of(record)).or_default().push(record);
    }
    groups
}

/// A score by the name that it has in records.
pub type Metric = (&'static str, fn(&Score) -> Option<f64>);

/// All scores.
pub const METRICS: [Metric; 10] = [
    ("f1", |score| Some(score.f1)),
    ("f1_normal", |score| Some(score.f1_normal)),
    ("f2_ciw_oracle", |score| score.f2_ciw_oracle),
    ("f2_ciw_multilabel", |score| score.f2_ciw_multilabel),
    ("precision", |score| Some(score.precision)),
    ("recall", |score| Some(score.recall)),
    ("true_positive_rate", |score| Some(score.true_positive_rate)),
    ("false_positive_rate", |score| Some(score.false_positive_rate)),
    ("auroc", |score| Some(score.auroc)),
    ("average_precision", |score| Some(score.average_precision)),
];

/// What is scored: a classifier on a validation share.
pub type Place = (String, Level);

/// All classifiers and validation shares of some records.
pub fn places(records: &[&Record]) -> BTreeSet<Place> {
    let of = |score: &Score| (score.classifier.clone(), Level::new(score.validation_share));
    records.iter().flat_map(|record| record.scores.iter().map(of)).collect()
}

/// A metric's values at a place, one a record that has it.
pub fn values(records: &[&Record], place: &Place, metric: &Metric) -> Vec<f64> {
    let at = |score: &&Score| (score.classifier == place.0) && Level::new(score.validation_share) == place.1;
    records.iter().filter_map(|record| record.scores.iter().find(at).and_then(metric.1)).collect()
}

/// Mean; not a number of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation; none of fewer than two.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// All records below a folder, in the order of their names.
///
/// # Errors
/// If the folder, or one of its records, cannot be read.
pub fn read_all(root: &Path) -> Result<Vec<Record>> {
    let list = |folder: &Path| -> Result<Vec<_>> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let mut records = Vec::new();
    // `<study>/<cell>.json`: other files lie at the top.
    for folder in list(root)?.iter().filter(|path| path.is_dir()) {
        for path in list(folder)?.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
            records.push(super::read(path)?);
        }
    }
    Ok(records)
}
