//! A results folder: one JSON file a cell, written whole or not at all, never overwritten.

pub mod paper;
pub mod provenance;
pub mod record;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
pub use record::Record;

/// Where records are kept: `FOLDER/<study>/<cell>.json`.
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
    /// If the file is torn, of another schema, or of another experiment under the same name (other
    /// settings or data): nothing is overwritten, and the message says what differs.
    pub fn find(&self, cell: &str, fingerprint: &str) -> Result<Option<Record>> {
        let path = self.path(cell);
        if !path.exists() {
            return Ok(None);
        }
        let record = read(&path)?;
        ensure!(
            record.fingerprint == fingerprint,
            "{}: made with other settings, data or code: fingerprint {}, expected {}; choose another --out, \
             or move the file away to compute the cell again",
            path.display(),
            short(&record.fingerprint),
            short(fingerprint)
        );
        Ok(Some(record))
    }

    /// Writes a record under its cell's name: first to a temporary file beside it, then renamed, so
    /// that a kill or a full disk leaves no torn record.
    pub fn write(&self, record: &Record) -> Result<PathBuf> {
        let path = self.path(&record.cell.id);
        let write = || -> Result<()> {
            let folder = path.parent().context("a record's path has no folder")?;
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
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

/// Reads one record file.
pub fn read(path: &Path) -> Result<Record> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{}: cannot read the record", path.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| {
        format!("{}: torn or not JSON; move it away to compute the cell again", path.display())
    })?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(record::SCHEMA) => {}
        Some(found) => bail!(
            "{}: record schema {found}, this build reads {}; choose another --out",
            path.display(),
            record::SCHEMA
        ),
        None => bail!("{}: not a skewbench record: no number called 'schema'", path.display()),
    }
    serde_json::from_value(value)
        .with_context(|| format!("{}: not a record of schema {}", path.display(), record::SCHEMA))
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
