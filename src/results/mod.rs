//! A results folder: one JSON file per cell, written atomically and never overwritten.

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
    durable::{self, IfExists},
    train::checkpoint::State,
};

/// A results folder. Records are at `FOLDER/<study>/<cell>.json`; during training, a cell's lock and checkpoint are
/// there too.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens a folder and creates it if necessary.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("{}: cannot make the results folder", root.display()))?;
        Ok(Self { root: root.to_owned() })
    }

    /// Opens an existing folder.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn existing(root: &Path) -> Result<Self> {
        ensure!(root.is_dir(), "{}: no such folder", root.display());
        Ok(Self { root: root.to_owned() })
    }

    /// Removes temporary files that dead processes left here or in the folders below.
    pub fn clean(&self) {
        durable::clean(&self.root);
        let inner = fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        inner
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .for_each(|folder| durable::clean(&folder));
    }

    /// Returns the record file of the cell with this id.
    pub fn record_path(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.json"))
    }

    /// Returns the finished record of a cell, if there is one.
    ///
    /// # Errors
    /// If the file is torn or has a schema that this build does not read.
    pub fn find(&self, cell: &str) -> Result<Option<Record>> {
        let path = self.record_path(cell);
        // A dangling link exists, but is not a record.
        if fs::symlink_metadata(&path).is_ok() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Returns the finished record of a cell, and its file.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it belongs to another cell.
    pub fn finished(&self, cell: &str) -> Result<(PathBuf, Record)> {
        let path = self.record_path(cell);
        let record = read(&path)?;
        ensure!(
            record.cell.id == cell,
            "{}: this is the record of another cell, {}",
            path.display(),
            record.cell.id
        );
        Ok((path, record))
    }

    /// Returns the problems of the files beside a record of this folder ([`beside::faults`]).
    ///
    /// # Errors
    /// If a file exists and cannot be inspected.
    pub fn faults(&self, record: &Record) -> Result<Vec<beside::Fault>> {
        beside::faults(&self.record_path(&record.cell.id), record)
    }

    /// Returns the readable records of the folder.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn records(&self) -> Result<Vec<Record>> {
        Ok(files(&self.root)?.iter().filter_map(|file| read(file).ok()).collect())
    }

    /// Lists the record files of the folder that cannot be read, with the reason, except those of the given cells.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn unreadable<'a>(&self, but: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
        let but: BTreeSet<PathBuf> = but.into_iter().map(|cell| self.record_path(cell)).collect();
        let others = files(&self.root)?.into_iter().filter(|file| !but.contains(file));
        Ok(others.filter_map(|file| read(&file).err()).map(|error| format!("{error:#}")).collect())
    }

    /// Returns the file of trained variables of the cell with this id.
    pub fn weights_path(&self, cell: &str) -> PathBuf {
        Part::Weights.path_beside(&self.record_path(cell))
    }

    /// Returns the checkpoint file of the cell with this id.
    pub fn checkpoint_path(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.checkpoint"))
    }

    /// Locks a cell for this process; `None` if another works on it. Look for its record after that: the other may
    /// just have finished.
    ///
    /// # Errors
    /// If the lock cannot be created.
    pub fn lock(&self, cell: &str) -> Result<Option<Lock>> {
        Lock::acquire(&self.lock_file(cell))
    }

    /// Returns the progress written by the process that works on a cell, or last did, and whether it still does.
    ///
    /// # Errors
    /// If the lock exists and cannot be read.
    pub fn lock_progress(&self, cell: &str) -> Result<Option<(String, bool)>> {
        lock::read_progress(&self.lock_file(cell))
    }

    fn lock_file(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.lock"))
    }

    /// Ends the work on a cell after its record is written: removes its checkpoint and its lock.
    ///
    /// # Errors
    /// If the checkpoint cannot be removed.
    pub fn finish(&self, cell: &str, lock: Lock) -> Result<()> {
        let path = self.checkpoint_path(cell);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
        lock.finish();
        Ok(())
    }

    /// Writes a cell's trained variables, including heads, with `notes` in the header, beside the path of its record.
    /// This happens before the record is written: only a cell with a record is finished, and weights without one are
    /// written again. Returns what the record states about the file.
    pub fn write_weights(
        &self,
        cell: &str,
        parameters: &Parameters,
        notes: &BTreeMap<String, String>,
    ) -> Result<record::FileDigest> {
        self.write_beside(cell, Part::Weights, &parameters.to_safetensors(notes)?, None)
    }

    /// Returns the file that, with the encoder's weights, makes the cell's detector.
    pub fn detector_path(&self, cell: &str) -> PathBuf {
        Part::Detector.path_beside(&self.record_path(cell))
    }

    /// Writes the cell's detector; like its weights, before its record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_detector(&self, cell: &str, detector: &Detector) -> Result<record::FileDigest> {
        self.write_beside(cell, Part::Detector, &detector.serialised()?, None)
    }

    /// Returns the file with each classifier's logits of the validation images.
    pub fn logits_path(&self, cell: &str) -> PathBuf {
        Part::Logits.path_beside(&self.record_path(cell))
    }

    /// Writes a cell's logits beside the path of its record; like its weights, before the record.
    pub fn write_logits(&self, cell: &str, logits: &Logits) -> Result<record::FileDigest> {
        self.write_beside(cell, Part::Logits, &logits.csv()?, Some(logits.images.len()))
    }

    fn write_beside(
        &self,
        cell: &str,
        part: Part,
        bytes: &[u8],
        rows: Option<usize>,
    ) -> Result<record::FileDigest> {
        let path = part.path_beside(&self.record_path(cell));
        let help = if part == Part::Logits {
            "make the path writable and run the same command again"
        } else {
            "make the path writable, or use --no-weights, which writes none"
        };
        durable::write(&path, bytes, IfExists::Replace).with_context(|| {
            format!("{}: cannot write the {part}; finished cells are kept; {help}", path.display())
        })?;
        Ok(record::FileDigest::from_bytes(bytes, rows))
    }

    /// Writes a file below the folder atomically, replacing an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        durable::write_whole(&self.root.join(name), bytes)
    }

    /// Writes a record under its cell's name atomically, and never over another.
    ///
    /// # Errors
    /// If it cannot be written, or one exists.
    pub fn write(&self, record: &Record) -> Result<PathBuf> {
        let path = self.record_path(&record.cell.id);
        let text = serde_json::to_string_pretty(record)? + "\n";
        durable::write(&path, text.as_bytes(), IfExists::Fail).map_err(|error| {
            let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
            let help = match is_there {
                // Two processes on one machine exclude each other; see `lock.rs`.
                true => "another process has finished this cell meanwhile, and its lock did not hold here (perhaps it runs on another machine, and the file system does not share locks): its record is kept, and this one is discarded",
                false => "finished cells are kept; make the path writable and run the same command again",
            };
            anyhow::Error::from(error).context(format!("{}: cannot write the record; {help}", path.display()))
        })?;
        Ok(path)
    }

    /// Renames a cell's record, so that it can be computed again. Returns the new name.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn put_aside(&self, cell: &str) -> Result<PathBuf> {
        put_aside(&self.record_path(cell), "unused")
    }
}

/// Renames a file to an unused name with `ending`.
fn put_aside(path: &Path, ending: &str) -> Result<PathBuf> {
    let aside = durable::unused_name(path, ending);
    durable::rename(path, &aside).with_context(|| format!("{}: cannot be renamed", path.display()))?;
    Ok(aside)
}

/// Writes a checkpoint atomically, replacing an earlier one.
///
/// # Errors
/// If it cannot be written; an earlier one then stays.
pub fn write_checkpoint(path: &Path, state: &State, notes: &BTreeMap<String, String>) -> Result<()> {
    let bytes = state.to_safetensors(notes)?;
    durable::write(path, &bytes, IfExists::Replace).with_context(|| {
        format!(
            "{}: cannot write the checkpoint; finished cells are kept; make the path writable and run the same \
             command again",
            path.display()
        )
    })
}

/// `race.json`, `race-2.json`, ...: timings, not records.
fn is_race(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("race"))
}

/// Files of a results folder that are JSON but not records.
const BESIDE_RECORDS: [&str; 3] = [environment::ENVIRONMENT, environment::TUNING, "timings.json"];
/// Largest size of a record, 64 MiB: hundreds of times the size of any. Ours.
const LARGEST: u64 = 64 << 20;

/// Lists all record files below a folder, in order of their paths: every `.json` except those about the run itself.
///
/// # Errors
/// If a folder cannot be listed.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    // Links can make a folder contain itself.
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

/// Reads the text of a JSON file.
///
/// # Errors
/// If it is not a regular file, is larger than any record, or is not text.
fn json_text(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let found = fs::metadata(path)?;
        ensure!(found.is_file(), "not a file, but a folder, a pipe or a device");
        ensure!(found.len() <= LARGEST, "{} bytes, expected at most {LARGEST}", found.len());
        let mut text = String::new();
        // The file may grow while it is read.
        File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        Ok(text)
    };
    read().with_context(|| format!("{}: cannot be read", path.display()))
}

/// Reads one record file.
///
/// # Errors
/// If it is torn, not a record, or of a schema that this build does not read.
pub fn read(path: &Path) -> Result<Record> {
    let text = json_text(path)?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| {
        format!("{}: truncated or not JSON; move it away to compute the cell again", path.display())
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
mod tests;
