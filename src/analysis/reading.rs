//! Reads the records of results folders into one table, and reports every problem with them.
//!
//! A bad file does not stop the reading: it is named in [`Reading::problems`] and left out. Numbers that must not be
//! compared have different settings: scale, recipe, data, image side, epochs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::{
    cell::{Axes, Scored},
    frame::{Frame, FrameBuilder},
    measure::Measure,
    setting,
};
use crate::{
    backbone,
    data::Share,
    method,
    named::counted,
    results::{self, Classifier, Metric, Record, beside, lost::lost_numbers, provenance, record::Score},
    study::Study,
};

/// Everything that was read.
pub struct Reading {
    /// One row per score of every record that is not left out.
    pub frame: Frame,
    /// The records in the frame.
    pub records: Vec<FiledRecord>,
    /// All problems, ordered by kind.
    pub problems: Vec<ReadingProblem>,
}

/// A record, its axes, and the setting in which it may be compared.
#[derive(Clone, Debug)]
pub struct FiledRecord {
    /// The results folder that was read.
    pub folder: PathBuf,
    /// Path of its file, for opening.
    pub file: PathBuf,
    /// Path of its file, for display.
    pub place: String,
    /// Name of its setting: records may be compared only if it is equal.
    pub setting: String,
    /// Its typed axes.
    pub cell: Axes,
    /// The record itself; shared, because each part of a page has its own list of records.
    pub record: Arc<Record>,
}

/// A problem that readers of the numbers must be aware of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadingProblem {
    /// Its kind.
    pub kind: ProblemKind,
    /// The file, folder or setting.
    pub place: String,
    /// What is wrong.
    pub description: String,
}

/// Kind of problem, in the order of listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A folder or file that cannot be read: torn, of another schema, not a record, or with an unknown method. Left
    /// out.
    Unreadable,
    /// Files beside a record that belong to another record or are damaged. The record is kept.
    Foreign,
    /// A number that is not finite. The number is left out; if it was written as null, the whole file is.
    NotANumber,
    /// The same cell twice in one setting. One of the two is left out.
    Repeated,
    /// More than one setting in one folder. The settings stay separate.
    Mixed,
    /// Cells that a setting should have, judged by its other cells, or files that should lie beside records.
    Missing,
}

impl fmt::Display for ReadingProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ProblemKind::Unreadable => "not read",
            ProblemKind::Foreign => "wrong file",
            ProblemKind::NotANumber => "not a number",
            ProblemKind::Repeated => "repeated",
            ProblemKind::Mixed => "mixed",
            ProblemKind::Missing => "missing",
        };
        write!(formatter, "{kind}: {}: {}", self.place, self.description)
    }
}

/// A record, its axes, and where it comes from.
struct Located {
    folder: PathBuf,
    file: PathBuf,
    place: String,
    cell: Axes,
    record: Arc<Record>,
}

impl Located {
    fn placed(&self) -> setting::Placed<'_> {
        (&self.folder, &self.cell, &self.record)
    }
}

impl Reading {
    /// Returns the records of the accepted settings, without problems, which are reported for all records together.
    #[must_use]
    pub fn in_settings(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let records = self.records.iter().filter(|filed| wanted(&filed.setting)).cloned().collect();
        Self { frame: self.frame.in_settings(&wanted), records, problems: Vec::new() }
    }
}

/// Reads all records below the folders.
pub fn read(folders: &[PathBuf]) -> Reading {
    let mut problems = Vec::new();
    let mut records = Vec::new();
    for folder in folders {
        let place = folder.display().to_string();
        match results::files(folder) {
            Ok(files) if files.is_empty() => {
                problems.push(problem(ProblemKind::Unreadable, &place, "no records (*.json) here"));
            }
            Ok(files) => {
                let read = |file| {
                    let record = results::read(file)?;
                    Ok((beside::faults(file, &record), record))
                };
                let read: Vec<(_, anyhow::Result<_>)> =
                    files.par_iter().map(|file| (file, read(file))).collect();
                let mut missing = Vec::new();
                for (file, record) in read {
                    match record {
                        Ok((faults, record)) => {
                            problems.extend(not_its_own(file, faults, &mut missing));
                            records.push((folder.clone(), file.clone(), record));
                        }
                        Err(error) => problems.push(unreadable(file, &format!("{error:#}"))),
                    }
                }
                if let [first, ..] = &missing[..] {
                    let what = format!(
                        "{} beside records; the first is {first}",
                        counted(missing.len(), "file", "files")
                    );
                    problems.push(problem(ProblemKind::Missing, &place, &what));
                }
            }
            Err(error) => {
                let why = format!("{error:#}").replacen(&format!("{place}: "), "", 1);
                problems.push(problem(ProblemKind::Unreadable, &place, &why));
            }
        }
    }
    gather(records, problems)
}

/// Reads records that are already in memory, each with the name under which its problems are listed.
pub fn from_memory(records: Vec<(String, Record)>) -> Reading {
    let memory = |(place, record)| (PathBuf::from("memory"), PathBuf::from(place), record);
    gather(records.into_iter().map(memory).collect(), Vec::new())
}

/// Groups records by axes, whatever their setting.
pub fn by_cell<'a>(records: impl IntoIterator<Item = &'a FiledRecord>) -> BTreeMap<Axes, Vec<&'a Record>> {
    let mut cells: BTreeMap<Axes, Vec<&Record>> = BTreeMap::new();
    for filed in records {
        cells.entry(filed.cell).or_default().push(&filed.record);
    }
    cells
}

/// Folders whose records are of more than one setting, from the number of records of each.
fn mixed_settings(folders: BTreeMap<&Path, BTreeMap<&str, usize>>) -> Vec<ReadingProblem> {
    let mixed = folders.into_iter().filter(|(_, settings)| settings.len() > 1);
    mixed
        .map(|(folder, settings)| {
            let list: Vec<_> = settings.iter().map(|(name, count)| format!("{count} of [{name}]")).collect();
            let what = format!("{} settings, kept separate: {}", settings.len(), list.join("; "));
            problem(ProblemKind::Mixed, &folder.display().to_string(), &what)
        })
        .collect()
}

/// Folders whose records were made by more than one version of the code that computes numbers.
fn mixed_code<'a>(records: impl Iterator<Item = (&'a Path, &'a Record)>) -> Vec<ReadingProblem> {
    let mut codes: BTreeMap<&Path, BTreeMap<String, usize>> = BTreeMap::new();
    for (folder, record) in records {
        *codes.entry(folder).or_default().entry(code_of(record)).or_default() += 1;
    }
    let mixed = codes.into_iter().filter(|(_, codes)| codes.len() > 1);
    mixed
        .map(|(folder, codes)| {
            let list: Vec<_> = codes.iter().map(|(code, count)| format!("{count} by {code}")).collect();
            let what = format!("records by {} versions of the code: {}", codes.len(), list.join("; "));
            problem(ProblemKind::Mixed, &folder.display().to_string(), &what)
        })
        .collect()
}

/// Identifies the code that made a record: its short digest, or the revision if an old record states no digest.
pub fn code_of(record: &Record) -> String {
    let made = &record.provenance;
    match &made.code {
        Some(code) => format!("code {}", provenance::digest_prefix(code)),
        None => format!("revision {}", made.revision),
    }
}

/// Reports files beside a record that do not belong to it; files that do not exist are added to `missing`.
fn not_its_own(
    file: &Path,
    faults: anyhow::Result<Vec<beside::Fault>>,
    missing: &mut Vec<String>,
) -> Option<ReadingProblem> {
    let place = file.display().to_string();
    let faults = match faults {
        Ok(faults) => faults,
        Err(error) => return Some(problem(ProblemKind::Foreign, &place, &format!("{error:#}"))),
    };
    let (absent, foreign): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.is_missing);
    missing.extend(absent.iter().map(|fault| fault.part.path_beside(file).display().to_string()));
    let parts: Vec<&str> = foreign.iter().map(|fault| fault.part.id()).collect();
    let what = format!("the {} beside this record belong to another record or are damaged", parts.join(", "));
    (!parts.is_empty()).then(|| problem(ProblemKind::Foreign, &place, &what))
}

fn gather(records: Vec<(PathBuf, PathBuf, Record)>, mut problems: Vec<ReadingProblem>) -> Reading {
    let mut found = Vec::new();
    for (folder, file, record) in records {
        let place = file.display().to_string();
        match Axes::from_record(&record.cell).and_then(|cell| classifiers(&record).map(|()| cell)) {
            Ok(cell) => found.push(Located { folder, file, place, cell, record: Arc::new(record) }),
            Err(error) => {
                let why = format!("{error:#}").replacen(&format!("{place}: "), "", 1);
                problems.push(problem(ProblemKind::Unreadable, &place, &why));
            }
        }
    }
    let settings = setting::names(&found.iter().map(Located::placed).collect::<Vec<_>>());
    let mut kept: BTreeMap<(&str, &str), &Located> = BTreeMap::new();
    let mut folders: BTreeMap<&Path, BTreeMap<&str, usize>> = BTreeMap::new();
    for (setting, found) in settings.iter().zip(&found) {
        *folders.entry(&found.folder).or_default().entry(setting).or_default() += 1;
        let key = (setting.as_str(), found.record.cell.id.as_str());
        if let Some(other) = kept.get(&key).copied() {
            let same =
                if other.record.fingerprint == found.record.fingerprint { "the same" } else { "another" };
            let newer = found.record.provenance.started_unix > other.record.provenance.started_unix;
            let (out, stays) = if newer { (other, found) } else { (found, other) };
            let what = format!(
                "left out, because {} holds the same cell ({same} fingerprint) and is newer or was read first",
                stays.place
            );
            problems.push(problem(ProblemKind::Repeated, &out.place, &what));
            if !newer {
                continue;
            }
        }
        kept.insert(key, found);
    }
    problems.extend(mixed_settings(folders));
    problems.extend(mixed_code(kept.values().map(|found| (found.folder.as_path(), &*found.record))));
    let mut rows = FrameBuilder::default();
    for ((setting, _), found) in &kept {
        let bad = add_rows(&mut rows, setting, &found.cell, &found.record);
        if !bad.is_empty() {
            let list = bad.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(problem(ProblemKind::NotANumber, &found.place, &format!("left out: {list}")));
        }
    }
    let filed = |((setting, _), found): (&(&str, &str), &&Located)| FiledRecord {
        folder: found.folder.clone(),
        file: found.file.clone(),
        place: found.place.clone(),
        setting: (*setting).to_owned(),
        cell: found.cell,
        record: found.record.clone(),
    };
    let records: Vec<FiledRecord> = kept.iter().map(filed).collect();
    problems.extend(missing(&records));
    problems.sort();
    Reading { frame: rows.frame(), records, problems }
}

/// Checks that this build has every classifier and validation share of a record.
fn classifiers(record: &Record) -> anyhow::Result<()> {
    for score in &record.scores {
        score.classifier.parse::<Classifier>()?;
        Share::from_fraction(score.validation_share)?;
    }
    Ok(())
}

/// Reports cells of Table 1 that do not exist although their setting has other cells with that share and seed: one
/// problem per setting.
fn missing(records: &[FiledRecord]) -> Vec<ReadingProblem> {
    let mut settings: BTreeMap<&str, BTreeSet<(Axes, u64)>> = BTreeMap::new();
    for filed in records.iter().filter(|filed| filed.cell.study == Study::Table1) {
        settings.entry(&filed.setting).or_default().insert((filed.cell, filed.record.cell.seed));
    }
    let mut problems = Vec::new();
    for (setting, cells) in settings {
        let runs: BTreeSet<(Share, u64)> = cells.iter().map(|(cell, seed)| (cell.share, *seed)).collect();
        let (mut absent_in_all, mut arms) = (0, Vec::new());
        for backbone in backbone::Name::STUDY {
            for method in method::Name::PAPER {
                if method.undefined_on(backbone).is_some() {
                    continue;
                }
                let absent = runs
                    .iter()
                    .filter(|run| !cells.contains(&(Axes::table_1(method, backbone, run.0), run.1)))
                    .count();
                if absent > 0 {
                    absent_in_all += absent;
                    arms.push(format!("{method} on {backbone} {absent} of {}", runs.len()));
                }
            }
        }
        if absent_in_all > 0 {
            let what = format!(
                "{} not trained: {}",
                counted(absent_in_all, "cell of Table 1 was", "cells of Table 1 were"),
                arms.join(", ")
            );
            problems.push(problem(ProblemKind::Missing, setting, &what));
        }
    }
    problems
}

/// Adds a record's rows, one per score. Numbers that are not finite are left out, and their names are returned.
pub(super) fn add_rows(
    rows: &mut FrameBuilder,
    setting: &str,
    cell: &Axes,
    record: &Record,
) -> BTreeSet<String> {
    let once = once(record);
    let mut bad = BTreeSet::new();
    for score in &record.scores {
        let Some(at) = scored(cell, score) else { continue };
        rows.begin(setting, at, Some(record.cell.seed));
        let scores = Metric::ALL.map(|metric| (Measure::from(metric), metric.value(score)));
        let counts = [(Measure::NORMALS, score.normals), (Measure::DEFECTS, score.defects)]
            .map(|(measure, count)| (measure, Some(count as f64)));
        let once = once.iter().map(|(measure, value)| (measure.clone(), Some(*value)));
        let error = score.auroc_error.map(|error| (Measure::AUROC_ERROR, Some(error)));
        for (measure, value) in scores.into_iter().chain(counts).chain(error).chain(once) {
            let finite = value.filter(|value| value.is_finite());
            if finite != value {
                bad.insert(measure.id().to_owned());
            }
            rows.number(measure, finite);
        }
    }
    bad
}

/// What is scored; `None` if this build lacks the classifier, although such records were left out before.
fn scored(cell: &Axes, score: &Score) -> Option<Scored> {
    let classifier = score.classifier.parse().ok()?;
    Some(Scored { cell: *cell, classifier, validation: Share::from_fraction(score.validation_share).ok()? })
}

/// Values that a cell has only once; they are repeated in each of its rows.
fn once(record: &Record) -> Vec<(Measure, f64)> {
    let named = |name: &str| Measure::named(name.to_owned());
    let mut once = vec![
        (Measure::TRAIN_SECONDS, record.cost.train_seconds),
        (Measure::EVALUATE_SECONDS, record.cost.evaluate_seconds),
        (Measure::IMAGES_PER_SECOND, record.cost.images_per_second),
        (named("epochs"), record.curve.len() as f64),
        (Measure::EPOCH_SECONDS, record.cost.train_seconds / record.curve.len().max(1) as f64),
        (named("train_normals"), record.data.train.normals as f64),
        (named("train_defects"), record.data.train.defects as f64),
    ];
    for (prefix, epoch) in [("first_monitor", record.curve.first()), ("monitor", record.curve.last())] {
        for (name, &value) in epoch.into_iter().flat_map(|epoch| &epoch.monitors) {
            once.push((Measure::named(format!("{prefix}.{name}")), value));
        }
    }
    if let Some(last) = record.curve.last() {
        once.push((named("loss"), last.loss));
    }
    for (of, metrics) in &record.label_free {
        once.extend(metrics.iter().map(|(name, &value)| (Measure::named(format!("{of}.{name}")), value)));
    }
    once
}

fn unreadable(file: &Path, error: &str) -> ReadingProblem {
    let place = file.display().to_string();
    let lost = lost_numbers(file);
    if !lost.is_empty() {
        let what = format!("expected a number, found null: {}", lost.join(", "));
        return problem(ProblemKind::NotANumber, &place, &what);
    }
    problem(ProblemKind::Unreadable, &place, error.strip_prefix(&format!("{place}: ")).unwrap_or(error))
}

fn problem(kind: ProblemKind, place: &str, what: &str) -> ReadingProblem {
    ReadingProblem { kind, place: place.to_owned(), description: what.to_owned() }
}

#[cfg(test)]
mod tests;
