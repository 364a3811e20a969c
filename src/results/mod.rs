//! A results folder: one JSON file a cell, written whole or not at all, never overwritten.

pub mod detector;
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
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
pub use detector::Detector;
pub use lock::Lock;
pub use logits::Logits;
pub use metric::{Classifier, Metric};
pub use record::Record;
use record::{Environment, Provenance, Run, Tuning};

use crate::{
    backbone::Parameters,
    data::regular::{self, Most},
    train::checkpoint::State,
};

/// Name of the file that says who asked for a folder's records.
const ENVIRONMENT: &str = "environment";
/// Name of the file that says what tuning came to.
const TUNING: &str = "tuning.json";

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
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// File of the trained variables of the cell with this id.
    pub fn weights(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.safetensors"))
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
    /// again.
    pub fn write_weights(
        &self,
        cell: &str,
        parameters: &Parameters,
        notes: &BTreeMap<String, String>,
    ) -> Result<()> {
        let path = self.weights(cell);
        let write = || -> Result<()> {
            let file = temporary(&path)?;
            parameters.save(file.path(), notes)?;
            settle(file, &path)
        };
        write().with_context(|| {
            format!(
                "{}: cannot write the weights; finished cells are kept, --no-weights goes without",
                path.display()
            )
        })
    }

    /// File of what makes a cell a detector, beside its encoder's weights.
    pub fn detector(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.detector.safetensors"))
    }

    /// Writes what makes a cell a detector, before its record, like its weights.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_detector(&self, cell: &str, detector: &Detector) -> Result<()> {
        let path = self.detector(cell);
        let file = temporary(&path)?;
        detector.write(file.path())?;
        settle(file, &path)
    }

    /// File of what classifiers say of each validation image.
    pub fn logits(&self, cell: &str) -> PathBuf {
        self.root.join(format!("{cell}.logits.csv"))
    }

    /// Writes a cell's logits beside where its record goes, and before it, like its weights.
    pub fn write_logits(&self, cell: &str, logits: &Logits) -> Result<()> {
        let path = self.logits(cell);
        let write = || -> Result<()> {
            let file = temporary(&path)?;
            logits.write(file.as_file())?;
            settle(file, &path)
        };
        write().with_context(|| {
            format!(
                "{}: cannot write the logits; finished cells are kept, free the path and run again",
                path.display()
            )
        })
    }

    /// Writes a file below the folder whole or not at all, over an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.root.join(name), bytes)
    }

    /// Notes in `environment.json` who asks for cells: a command like one before, of the same code on the same
    /// machine, is counted, another one added.
    ///
    /// # Errors
    /// If the file is torn or cannot be written.
    pub fn note_run(&self, run: Run) -> Result<()> {
        // Others may begin at the same moment.
        let lock = loop {
            match self.lock(ENVIRONMENT)? {
                Some(lock) => break lock,
                None => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        };
        let mut runs = self.runs()?;
        let same = |known: &&mut Run| {
            let who =
                |run: &Run| (run.command.clone(), Provenance { started_unix: 0, ..run.provenance.clone() });
            who(known) == who(&run)
        };
        match runs.iter_mut().find(same) {
            Some(known) => {
                known.times += run.times;
                known.cells = run.cells;
            }
            None => runs.push(run),
        }
        let text = serde_json::to_string_pretty(&Environment { schema: record::SCHEMA, runs })?;
        self.write_file(&format!("{ENVIRONMENT}.json"), format!("{text}\n").as_bytes())?;
        lock.finish();
        Ok(())
    }

    /// What `environment.json` holds; nothing where there is none.
    ///
    /// # Errors
    /// If it is torn or of another schema.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let path = self.root.join(format!("{ENVIRONMENT}.json"));
        if !path.exists() {
            return Ok(Vec::new());
        }
        let read = || -> Result<Environment> {
            Ok(serde_json::from_str(&regular::read_text(&path, Most::RECORD)?)?)
        };
        Ok(read().with_context(|| format!("{}: torn, or not of this build", path.display()))?.runs)
    }

    /// Writes what the folder's trials came to, over an earlier file: records stay as they are.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_tuning(&self, tuning: &Tuning) -> Result<()> {
        self.write_file(TUNING, format!("{}\n", serde_json::to_string_pretty(tuning)?).as_bytes())
    }

    /// What the folder's trials came to.
    ///
    /// # Errors
    /// If there is no such file, or it is torn or of another schema.
    pub fn tuning(&self) -> Result<Tuning> {
        let path = self.root.join(TUNING);
        let read =
            || -> Result<Tuning> { Ok(serde_json::from_str(&regular::read_text(&path, Most::RECORD)?)?) };
        read().with_context(|| format!("{}: not there, torn, or not of this build", path.display()))
    }

    /// Writes a record under its cell's name: first to a temporary file beside it, then renamed, so
    /// that a kill or a full disk leaves no torn record.
    pub fn write(&self, record: &Record) -> Result<PathBuf> {
        let path = self.path(&record.cell.id);
        let write = || -> Result<()> {
            let mut file = temporary(&path)?;
            serde_json::to_writer_pretty(&mut file, record)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&path)?;
            Ok(())
        };
        write().with_context(|| {
            format!(
                "{}: cannot write the record; finished cells are kept, free the path and run again",
                path.display()
            )
        })?;
        Ok(path)
    }
}

/// Writes a checkpoint whole or not at all, over an earlier one.
///
/// # Errors
/// If it cannot be written; an earlier one then stays.
pub fn write_checkpoint(path: &Path, state: &State, notes: &BTreeMap<String, String>) -> Result<()> {
    let write = || -> Result<()> {
        // One name, not a new one each time: a kill between two steps must not leave a file for each try.
        let partial = path.with_extension("checkpoint-partial");
        state.save(&partial, notes)?;
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(&partial, path)?;
        Ok(())
    };
    write().with_context(|| {
        format!(
            "{}: cannot write the checkpoint; finished cells are kept, free the path and run again",
            path.display()
        )
    })
}

/// Writes a file whole or not at all, over an earlier one.
///
/// # Errors
/// If it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let mut file = temporary(path)?;
        file.write_all(bytes)?;
        settle(file, path)
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))
}

/// Gives a temporary file its name once its bytes are on the disk: a record that stands after a power cut must
/// not stand alone.
fn settle(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    // By name: what was written may be another file under the temporary's name.
    fs::File::open(file.path())?.sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A file beside `path`, to be renamed to it; others may read it as far as the user's umask lets them.
fn temporary(path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = path.parent().context("the path has no folder")?;
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // `tempfile` would make it private to the user.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    Ok(builder.tempfile_in(folder)?)
}

/// `race.json`, `race-2.json`, ...: timings, not records.
fn is_race(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("race"))
}

/// Files of a results folder that are JSON and no records.
const BESIDE_RECORDS: [&str; 2] = ["environment.json", TUNING];

/// All record files below a folder, in order of their paths: every `.json` but those that tell of the run itself.
///
/// # Errors
/// If a folder cannot be listed.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
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

/// Reads one record file.
pub fn read(path: &Path) -> Result<Record> {
    let text = regular::read_text(path, Most::RECORD)
        .with_context(|| format!("{}: cannot read the record", path.display()))?;
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
