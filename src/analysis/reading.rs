//! Records of results folders as one table, and everything that is wrong with them.
//!
//! Reading never stops at a bad file: it is named in [`Reading::problems`] and left out. Numbers that may
//! not be compared are kept apart by the column `setting`: scale, recipe, data, image side, epochs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{Frame, frame::Rows};
use crate::{
    backbone, method,
    results::{self, Record, record::Score},
};

/// What was read.
pub struct Reading {
    pub frame: Frame,
    /// Records in the frame, each with its setting.
    pub records: Vec<(String, Record)>,
    pub problems: Vec<Problem>,
}

/// Something that a reader of the numbers has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub kind: Kind,
    /// The file, folder or setting.
    pub place: String,
    pub what: String,
}

/// What kind of problem, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A folder or file that cannot be read: torn, of another schema, not a record. Left out.
    Unreadable,
    /// A number that is not finite. It is left out; a whole file of which a number was written as null, too.
    NotANumber,
    /// One cell twice in one setting. One is left out.
    Repeated,
    /// More than one setting in one folder. Kept apart.
    Mixed,
    /// Cells that the other axes of a setting ask for.
    Missing,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Unreadable => "not read",
            Kind::NotANumber => "not a number",
            Kind::Repeated => "repeated",
            Kind::Mixed => "mixed",
            Kind::Missing => "missing",
        };
        write!(formatter, "{kind}: {}: {}", self.place, self.what)
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
                problems.push(problem(Kind::Unreadable, &place, "no records (*.json) here"));
            }
            Ok(files) => {
                let read: Vec<_> = files.par_iter().map(|file| (file, results::read(file))).collect();
                for (file, record) in read {
                    match record {
                        Ok(record) => records.push((folder.as_path(), file.display().to_string(), record)),
                        Err(error) => problems.push(unreadable(file, &format!("{error:#}"))),
                    }
                }
            }
            Err(error) => problems.push(problem(Kind::Unreadable, &place, &format!("{error:#}"))),
        }
    }
    gather(&records, problems)
}

/// Records that are in memory already, each with the name that a problem shall be told under.
pub fn of(records: Vec<(String, Record)>) -> Reading {
    let records: Vec<_> =
        records.into_iter().map(|(place, record)| (Path::new("memory"), place, record)).collect();
    gather(&records, Vec::new())
}

/// What must be equal for two records to be compared, and is short enough to be a heading.
pub fn setting(record: &Record) -> String {
    let (settings, source) = (&record.settings, &record.data.source);
    // Only what training rounded names its precision.
    let mixed = if settings.mixed_precision() { ", mixed precision" } else { "" };
    format!("{} scale, {} recipe, {source}{mixed}", settings.scale, settings.recipe)
}

/// What must be equal besides, where a study does not vary it itself: data, image side, epochs.
fn detail(record: &Record) -> Option<String> {
    // Table 2 varies the side, and draws its pictures for the largest; floors are not trained.
    if matches!(record.cell.study.as_str(), "table2" | "random_weights" | "pixels") {
        return None;
    }
    let value = |name: &str| record.settings.text(name).unwrap_or_else(|| "?".to_owned());
    let digest = |text: &str| text.get(..8).unwrap_or(text).to_owned();
    Some(format!(
        "data {} {}, sample {}, {} px, {} epochs",
        digest(&record.data.train_digest),
        digest(&record.data.validation_digest),
        value("sample"),
        value("side"),
        value("epochs"),
    ))
}

fn gather(records: &[(&Path, String, Record)], mut problems: Vec<Problem>) -> Reading {
    // Details are part of a setting's name only where there is more than one.
    let mut details: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, _, record) in records {
        details.entry(setting(record)).or_default().extend(detail(record));
    }
    let setting = |record: &Record| {
        let name = setting(record);
        match detail(record).filter(|_| details[&name].len() > 1) {
            Some(detail) => format!("{name}, {detail}"),
            None => name,
        }
    };
    let mut kept: BTreeMap<(String, &str), &(&Path, String, Record)> = BTreeMap::new();
    let mut folders: BTreeMap<&Path, BTreeMap<String, usize>> = BTreeMap::new();
    for entry in records {
        let (folder, place, record) = entry;
        let setting = setting(record);
        *folders.entry(folder).or_default().entry(setting.clone()).or_default() += 1;
        let key = (setting, record.cell.id.as_str());
        if let Some(other) = kept.get(&key).copied() {
            let same = if other.2.fingerprint == record.fingerprint { "equal" } else { "other" };
            let newer = record.provenance.started_unix > other.2.provenance.started_unix;
            let (out, stays) = if newer { (&other.1, place) } else { (place, &other.1) };
            let what = format!("{same} fingerprint, left out for the newer or first {stays}");
            problems.push(problem(Kind::Repeated, out, &what));
            if !newer {
                continue;
            }
        }
        kept.insert(key, entry);
    }
    for (folder, settings) in folders {
        if settings.len() > 1 {
            let list: Vec<_> = settings.iter().map(|(name, count)| format!("{count} of [{name}]")).collect();
            let what = format!("{} settings, kept apart: {}", settings.len(), list.join("; "));
            problems.push(problem(Kind::Mixed, &folder.display().to_string(), &what));
        }
    }
    problems.extend(missing(&kept));

    let mut rows = Rows::default();
    for ((setting, _), (_, place, record)) in &kept {
        add(&mut rows, setting, place, record, &mut problems);
    }
    problems.sort();
    let records = kept.into_iter().map(|((setting, _), (_, _, record))| (setting, record.clone())).collect();
    Reading { frame: rows.frame(), records, problems }
}

/// Cells of Table 1 that are not there although their setting has other cells of that share and seed.
fn missing(kept: &BTreeMap<(String, &str), &(&Path, String, Record)>) -> Vec<Problem> {
    /// Shares in hundredths of a percent, so that they can be keys.
    type Key<'a> = (&'a str, &'a str, Option<u64>, u64);
    let mut settings: BTreeMap<&str, BTreeSet<Key>> = BTreeMap::new();
    for ((setting, _), (_, _, record)) in kept {
        let cell = &record.cell;
        if cell.study == "table1" {
            let share = cell.train_share.map(|share| (1e4 * share).round() as u64);
            settings.entry(setting).or_default().insert((&cell.method, &cell.backbone, share, cell.seed));
        }
    }
    let mut problems = Vec::new();
    for (setting, cells) in settings {
        let runs: BTreeSet<_> = cells.iter().map(|&(_, _, share, seed)| (share, seed)).collect();
        for backbone in backbone::Name::ALL {
            for method in method::Name::ALL {
                if method.undefined_on(backbone).is_some() {
                    continue;
                }
                let there =
                    |run: &&(Option<u64>, u64)| cells.contains(&(method.id(), backbone.id(), run.0, run.1));
                let absent = runs.len() - runs.iter().filter(there).count();
                if absent > 0 {
                    let what = format!("{method} on {backbone}: {absent} of {} cells", runs.len());
                    problems.push(problem(Kind::Missing, setting, &what));
                }
            }
        }
    }
    problems
}

fn add(rows: &mut Rows, setting: &str, place: &str, record: &Record, problems: &mut Vec<Problem>) {
    let mut bad = BTreeSet::new();
    let mut once: Vec<(String, f64)> = vec![
        ("cost.train_seconds".into(), record.cost.train_seconds),
        ("cost.evaluate_seconds".into(), record.cost.evaluate_seconds),
        ("cost.images_per_second".into(), record.cost.images_per_second),
        ("epochs".into(), record.curve.len() as f64),
        ("cost.epoch_seconds".into(), record.cost.train_seconds / record.curve.len().max(1) as f64),
        ("train_normals".into(), record.data.train.normals as f64),
        ("train_defects".into(), record.data.train.defects as f64),
    ];
    for (prefix, epoch) in [("first_monitor", record.curve.first()), ("monitor", record.curve.last())] {
        for (name, &value) in epoch.into_iter().flat_map(|epoch| &epoch.monitors) {
            once.push((format!("{prefix}.{name}"), value));
        }
    }
    if let Some(last) = record.curve.last() {
        once.push(("loss".into(), last.loss));
    }
    for (of, metrics) in &record.label_free {
        once.extend(metrics.iter().map(|(name, &value)| (format!("{of}.{name}"), value)));
    }
    for score in &record.scores {
        rows.begin(Some(record.cell.seed));
        for (column, text) in [
            ("source", "records"),
            ("setting", setting),
            ("place", place),
            ("study", &record.cell.study),
            ("method", &record.cell.method),
            ("backbone", &record.cell.backbone),
            ("scale", &record.settings.scale),
            ("recipe", &record.settings.recipe),
            ("data", &record.data.source),
            ("train_digest", &record.data.train_digest),
            ("validation_digest", &record.data.validation_digest),
            ("fingerprint", &record.fingerprint),
            ("classifier", &score.classifier),
        ] {
            rows.text(column, text);
        }
        if let Some(variant) = &record.cell.variant {
            rows.text("variant", variant);
        }
        rows.number("train_share", record.cell.train_share);
        rows.number("validation_share", score.validation_share);
        let scores = numbers(score).map(|(name, value)| (name.to_owned(), value));
        let once = once.iter().map(|(name, value)| (name.clone(), Some(*value)));
        for (name, value) in scores.into_iter().chain(once) {
            let finite = value.filter(|value| value.is_finite());
            rows.number(&name, finite);
            if finite != value {
                bad.insert(name);
            }
        }
    }
    if !bad.is_empty() {
        let list = bad.into_iter().collect::<Vec<_>>().join(", ");
        problems.push(problem(Kind::NotANumber, place, &format!("left out: {list}")));
    }
}

fn numbers(score: &Score) -> [(&'static str, Option<f64>); 12] {
    [
        ("normals", Some(score.normals as f64)),
        ("defects", Some(score.defects as f64)),
        ("f1", Some(score.f1)),
        ("f1_normal", Some(score.f1_normal)),
        ("precision", Some(score.precision)),
        ("recall", Some(score.recall)),
        ("true_positive_rate", Some(score.true_positive_rate)),
        ("false_positive_rate", Some(score.false_positive_rate)),
        ("auroc", Some(score.auroc)),
        ("average_precision", Some(score.average_precision)),
        ("f2_ciw_oracle", score.f2_ciw_oracle),
        ("f2_ciw_multilabel", score.f2_ciw_multilabel),
    ]
}

fn unreadable(file: &Path, error: &str) -> Problem {
    // JSON has no NaN: it is written as null, which no record may have in place of a number.
    let kind = if error.contains("null, expected f64") { Kind::NotANumber } else { Kind::Unreadable };
    let place = file.display().to_string();
    let what = error.strip_prefix(&format!("{place}: ")).unwrap_or(error);
    problem(kind, &place, what)
}

fn problem(kind: Kind, place: &str, what: &str) -> Problem {
    Problem { kind, place: place.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Folder, example};

    /// The example with a score.
    fn scored() -> Record {
        Record { scores: vec![example::score("in_training", None)], ..example::record() }
    }

    fn kinds(reading: &Reading) -> Vec<Kind> {
        reading.problems.iter().map(|problem| problem.kind).collect()
    }

    #[test]
    fn a_good_folder_is_one_setting_and_says_what_is_missing() {
        let reading = of(vec![("a.json".into(), scored())]);
        assert_eq!(reading.records.len(), 1);
        assert_eq!(reading.frame.distinct("setting").len(), 1);
        // Ten other pairs of method and backbone.
        assert_eq!(kinds(&reading), [Kind::Missing; 10]);
        assert!(reading.problems[0].what.ends_with("1 of 1 cells"), "{}", reading.problems[0]);
    }

    #[test]
    fn what_may_not_be_compared_is_kept_apart_and_named() {
        let first = scored();
        let mut other = first.clone();
        other.cell.id += "x";
        other.settings.scale = "full".into();
        let mut digest = first.clone();
        digest.cell.id += "y";
        digest.data.train_digest = "0000".into();
        let folder = vec![("a".into(), first), ("b".into(), other), ("c".into(), digest)];
        let reading = of(folder);
        assert_eq!(reading.frame.distinct("setting").len(), 3);
        let mixed = reading.problems.iter().find(|problem| problem.kind == Kind::Mixed).unwrap();
        assert!(mixed.what.starts_with("3 settings, kept apart"), "{mixed}");
    }

    #[test]
    fn mixed_precision_is_kept_apart() {
        let (exact, mut rounded) = (scored(), scored());
        rounded.settings.values.insert("precision".into(), "bf16 with f32 weights".into());
        let reading = of(vec![("a".into(), exact), ("b".into(), rounded)]);
        assert_eq!(reading.records.len(), 2);
        let settings = reading.frame.distinct("setting");
        assert!(settings.iter().any(|setting| setting.ends_with("mixed precision")), "{settings:?}");
    }

    #[test]
    fn a_cell_twice_counts_once() {
        let (first, mut second) = (scored(), scored());
        second.provenance.started_unix += 1;
        second.fingerprint = "other".into();
        let reading = of(vec![("old".into(), first.clone()), ("new".into(), second)]);
        assert_eq!(reading.frame.height(), first.scores.len());
        let repeated = reading.problems.iter().find(|problem| problem.kind == Kind::Repeated).unwrap();
        assert_eq!(repeated.place, "old");
        assert!(repeated.what.contains("other fingerprint"), "{repeated}");
    }

    #[test]
    fn torn_foreign_and_nan_files_are_named_and_the_rest_is_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let record = scored();
        let good = folder.write(&record).unwrap();
        let text = std::fs::read_to_string(&good).unwrap();
        let f1 = text.lines().find(|line| line.contains("\"f1\":")).unwrap().to_owned();
        let beside = |name: &str| good.with_file_name(name);
        std::fs::write(beside("torn.json"), &text[..text.len() / 2]).unwrap();
        std::fs::write(beside("nan.json"), text.replace(&f1, "\"f1\": null,")).unwrap();
        std::fs::write(beside("foreign.json"), "{\"accuracy\": 1}").unwrap();
        std::fs::write(root.path().join("environment.json"), "{}").unwrap();
        let reading = read(&[root.path().to_owned(), root.path().join("nowhere")]);
        assert_eq!(reading.records.len(), 1);
        let told: Vec<String> = reading.problems.iter().map(Problem::to_string).collect();
        for (name, what) in [
            ("torn.json", "torn or not JSON"),
            ("nan.json", "null"),
            ("foreign.json", "no number"),
            ("nowhere", ""),
        ] {
            assert!(told.iter().any(|line| line.contains(name) && line.contains(what)), "{name}: {told:?}");
        }
        assert!(kinds(&reading).contains(&Kind::NotANumber), "{told:?}");
    }

    #[test]
    fn a_number_that_is_none_is_left_out_of_its_column_only() {
        let mut record = scored();
        record.scores[0].f1 = f64::NAN;
        let reading = of(vec![("a".into(), record.clone())]);
        assert_eq!(reading.frame.height(), record.scores.len());
        assert_eq!(reading.frame.numbers("f1")[0], None);
        let problem = reading.problems.iter().find(|problem| problem.kind == Kind::NotANumber).unwrap();
        assert_eq!(problem.what, "left out: f1");
    }
}
