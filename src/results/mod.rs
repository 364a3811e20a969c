//! A results folder: one JSON file a cell, written whole or not at all, never overwritten.

pub mod beside;
pub mod detector;
mod environment;
#[cfg(test)]
pub(crate) mod example;
mod identity;
pub mod images;
mod lock;
pub mod logits;
pub mod lost;
pub mod metric;
pub mod paper;
pub mod provenance;
pub mod record;
pub mod tensorboard;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
pub use beside::Part;
pub use detector::Detector;
pub use lock::Lock;
pub use logits::Logits;
pub use metric::{Classifier, Metric};
pub use record::Record;

use crate::{
    backbone::Parameters,
    durable::{self, Before},
    train::checkpoint::State,
};

/// Where records are kept: `FOLDER/<study>/<cell>.json`. While a cell trains, its lock and its checkpoint lie
/// there too.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens a folder, making it if need be.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("{}: cannot make the results folder", root.display()))?;
        Ok(Self { root: root.to_owned() })
    }

    /// Opens a folder that is there.
    ///
    /// # Errors
    /// If it is not.
    pub fn existing(root: &Path) -> Result<Self> {
        ensure!(root.is_dir(), "{}: no such folder", root.display());
        Ok(Self { root: root.to_owned() })
    }

    /// Removes files that were being written, here or in the folders in it, when their processes died.
    pub fn clean(&self) {
        durable::clean(&self.root);
        let inner = fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        inner
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .for_each(|folder| durable::clean(&folder));
    }

    /// File of the cell with this id.
    pub fn path(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.json"))
    }

    /// The finished record of a cell, if there is one.
    ///
    /// # Errors
    /// If the file is torn or of a schema that this build does not read.
    pub fn find(&self, cell: &str) -> Result<Option<Record>> {
        let path = self.path(cell);
        // A link to nowhere is there, and is no record.
        if fs::symlink_metadata(&path).is_ok() { read(&path).map(Some) } else { Ok(None) }
    }

    /// The finished record of a cell, and its file.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it is of another cell.
    pub fn finished(&self, cell: &str) -> Result<(PathBuf, Record)> {
        let path = self.path(cell);
        let record = read(&path)?;
        ensure!(record.cell.id == cell, "{}: the record of another cell, {}", path.display(), record.cell.id);
        Ok((path, record))
    }

    /// What is wrong with the files beside a record of this folder ([`beside::faults`]).
    ///
    /// # Errors
    /// If one is there and cannot be looked at.
    pub fn faults(&self, record: &Record) -> Result<Vec<beside::Fault>> {
        beside::faults(&self.path(&record.cell.id), record)
    }

    /// Records of the folder that can be read.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn records(&self) -> Result<Vec<Record>> {
        Ok(files(&self.root)?.iter().filter_map(|file| read(file).ok()).collect())
    }

    /// Record files of the folder that cannot be read, with the reason, but for those of these cells.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn unreadable<'a>(&self, but: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
        let but: BTreeSet<PathBuf> = but.into_iter().map(|cell| self.path(cell)).collect();
        let others = files(&self.root)?.into_iter().filter(|file| !but.contains(file));
        Ok(others.filter_map(|file| read(&file).err()).map(|error| format!("{error:#}")).collect())
    }

    /// File of the trained variables of the cell with this id.
    pub fn weights(&self, cell: &str) -> PathBuf {
        Part::Weights.of(&self.path(cell))
    }

    /// File of the state of the cell with this id, while it trains.
    pub fn checkpoint(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.checkpoint"))
    }

    /// Locks a cell for this process; none if another works on it. Ask for its record after that: the other
    /// may just have finished.
    ///
    /// # Errors
    /// If the lock cannot be made.
    pub fn lock(&self, cell: &str) -> Result<Option<Lock>> {
        Lock::new(&self.lock_file(cell))
    }

    /// What the process that works on a cell, or last did, says of it, and whether it still works on it.
    ///
    /// # Errors
    /// If the lock is there and cannot be read.
    pub fn locked(&self, cell: &str) -> Result<Option<(String, bool)>> {
        lock::look(&self.lock_file(cell))
    }

    fn lock_file(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.lock"))
    }

    /// Ends the work on a cell: its record stands, so its checkpoint and its lock are not needed any more.
    ///
    /// # Errors
    /// If the checkpoint cannot be removed.
    pub fn finish(&self, cell: &str, lock: Lock) -> Result<()> {
        let path = self.checkpoint(cell);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
        lock.finish();
        Ok(())
    }

    /// Writes a cell's trained variables, heads too, with `notes` in the header, beside where its record
    /// goes. Before the record: only a cell that has one is finished, and weights without one are written
    /// again. Returns what the record states of the file.
    pub fn write_weights(
        &self,
        cell: &str,
        parameters: &Parameters,
        notes: &BTreeMap<String, String>,
    ) -> Result<record::Beside> {
        self.write_beside(cell, Part::Weights, &parameters.serialised(notes)?, None)
    }

    /// File of what makes a cell a detector, beside its encoder's weights.
    pub fn detector(&self, cell: &str) -> PathBuf {
        Part::Detector.of(&self.path(cell))
    }

    /// Writes what makes a cell a detector, before its record, like its weights.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_detector(&self, cell: &str, detector: &Detector) -> Result<record::Beside> {
        self.write_beside(cell, Part::Detector, &detector.serialised()?, None)
    }

    /// File of what classifiers say of each validation image.
    pub fn logits(&self, cell: &str) -> PathBuf {
        Part::Logits.of(&self.path(cell))
    }

    /// Writes a cell's logits beside where its record goes, and before it, like its weights.
    pub fn write_logits(&self, cell: &str, logits: &Logits) -> Result<record::Beside> {
        self.write_beside(cell, Part::Logits, &logits.csv()?, Some(logits.images.len()))
    }

    fn write_beside(
        &self,
        cell: &str,
        part: Part,
        bytes: &[u8],
        rows: Option<usize>,
    ) -> Result<record::Beside> {
        let path = part.of(&self.path(cell));
        let help =
            if part == Part::Logits { "free the path and run again" } else { "--no-weights goes without" };
        durable::write(&path, bytes, Before::Anything).with_context(|| {
            format!("{}: cannot write the {part}; finished cells are kept, {help}", path.display())
        })?;
        Ok(record::Beside::of(bytes, rows))
    }

    /// Writes a file below the folder whole or not at all, over an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::write_whole(&self.root.join(name), bytes)
    }

    /// Writes a record under its cell's name, whole or not at all, and never over another.
    ///
    /// # Errors
    /// If it cannot be written, or one is there.
    pub fn write(&self, record: &Record) -> Result<PathBuf> {
        let path = self.path(&record.cell.id);
        let text = serde_json::to_string_pretty(record)? + "\n";
        durable::write(&path, text.as_bytes(), Before::Nothing).map_err(|error| {
            let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
            let help = match is_there {
                // Two processes of one machine exclude each other; see `lock`.
                true => "another process has trained this cell meanwhile, whose lock did not hold here (another machine, on \
                         a file system that does not share locks?): its record stays, and this one is not kept",
                false => "finished cells are kept, free the path and run again",
            };
            anyhow::Error::from(error).context(format!("{}: cannot write the record; {help}", path.display()))
        })?;
        Ok(path)
    }

    /// Gives a cell's record another name, so that it can be written anew. Returns that name.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn put_aside(&self, cell: &str) -> Result<PathBuf> {
        put_aside(&self.path(cell), "unused")
    }
}

/// Gives a file a name that nothing has, with `ending`.
fn put_aside(path: &Path, ending: &str) -> Result<PathBuf> {
    let aside = durable::aside(path, ending);
    durable::rename(path, &aside).with_context(|| format!("{}: cannot be put aside", path.display()))?;
    Ok(aside)
}

/// Writes a checkpoint whole or not at all, over an earlier one.
///
/// # Errors
/// If it cannot be written; an earlier one then stays.
pub fn write_checkpoint(path: &Path, state: &State, notes: &BTreeMap<String, String>) -> Result<()> {
    let bytes = state.serialised(notes)?;
    durable::write(path, &bytes, Before::Anything).with_context(|| {
        format!(
            "{}: cannot write the checkpoint; finished cells are kept, free the path and run again",
            path.display()
        )
    })
}

/// `race.json`, `race-2.json`, ...: timings, not records.
fn is_race(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("race"))
}

/// Files of a results folder that are JSON and no records.
const BESIDE_RECORDS: [&str; 3] = [environment::ENVIRONMENT, environment::TUNING, "timings.json"];
/// Bytes that a record may have, 64 MiB: hundreds of times what any has. Ours.
const LARGEST: u64 = 64 << 20;

/// All record files below a folder, in order of their paths: every `.json` but those that tell of the run itself.
///
/// # Errors
/// If a folder cannot be listed.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    // By links a folder can lie in itself.
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        if !seen.insert(fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone())) {
            continue;
        }
        let entries =
            fs::read_dir(&folder).with_context(|| format!("{}: cannot list the folder", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json")
                && !BESIDE_RECORDS.iter().any(|name| path.ends_with(name))
                && !is_race(&path)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a file of JSON.
///
/// # Errors
/// If it is no regular file, is larger than any record, or is no text.
fn json_text(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let found = fs::metadata(path)?;
        ensure!(found.is_file(), "not a file, but a folder, a pipe or a device");
        ensure!(found.len() <= LARGEST, "{} bytes, expected at most {LARGEST}", found.len());
        let mut text = String::new();
        // It may grow meanwhile.
        File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        Ok(text)
    };
    read().with_context(|| format!("{}: cannot be read", path.display()))
}

/// Reads one record file.
///
/// # Errors
/// If it is torn, no record, or of a schema that this build does not read.
pub fn read(path: &Path) -> Result<Record> {
    let text = json_text(path)?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| {
        format!("{}: torn or not JSON; move it away to compute the cell again", path.display())
    })?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if (record::OLDEST_SCHEMA.into()..=record::SCHEMA.into()).contains(&found) => {}
        Some(found) => bail!(
            "{}: record schema {found}, this build reads {} to {}; choose another --out",
            path.display(),
            record::OLDEST_SCHEMA,
            record::SCHEMA
        ),
        None => bail!("{}: not a skewbench record: no number called 'schema'", path.display()),
    }
    let schema = value["schema"].clone();
    serde_json::from_value(value)
        .with_context(|| format!("{}: not a record of schema {schema}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{example::record, *};

    fn message(result: Result<Option<Record>>) -> String {
        format!("{:#}", result.expect_err("a bad record is refused"))
    }

    #[test]
    fn a_record_reads_back_and_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let (folder, record) = (Folder::open(root.path()).unwrap(), record());
        let id = record.cell.id.clone();
        assert_eq!(folder.find(&id).unwrap(), None);
        let path = folder.write(&record).unwrap();
        assert_eq!(folder.find(&id).unwrap(), Some(record.clone()));

        let before = fs::read(&path).unwrap();
        let other = Record { fingerprint: "fedcba9876543210".into(), ..record };
        assert!(folder.write(&other).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no temporary file is left behind");

        // As readable as any file that this process makes.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            folder.write_weights("x", &Parameters::default(), &BTreeMap::new()).unwrap();
            let ordinary = root.path().join("ordinary");
            fs::write(&ordinary, "").unwrap();
            assert_eq!(mode(&path), mode(&ordinary));
            assert_eq!(mode(&folder.weights("x")), mode(&ordinary));
        }
    }

    #[test]
    fn bad_records_are_named_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let (folder, record) = (Folder::open(root.path()).unwrap(), record());
        let id = record.cell.id.clone();
        let path = folder.write(&record).unwrap();
        let text = fs::read_to_string(&path).unwrap();

        for (changed, expected) in [
            (text[..text.len() / 2].to_owned(), "torn or not JSON"),
            (text.replace("\"schema\": 2", "\"schema\": 99"), "record schema 99, this build reads 1 to 2"),
            ("{\"accuracy\": 0.9}".to_owned(), "no number called 'schema'"),
            (text.replace("\"seed\"", "\"sead\""), "not a record of schema 2"),
        ] {
            fs::write(&path, &changed).unwrap();
            let error = message(folder.find(&id));
            assert!(error.contains(expected) && error.contains("share05-seed0.json"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), changed, "a bad record is not touched");
        }
    }
}
