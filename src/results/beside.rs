//! Files beside a record, and checks that they belong to it.
//!
//! A record states size and digest of each file, and the number of rows of a table. A check of a whole folder
//! compares sizes, and digests only of files that were changed after their record: the others were written before
//! it, and this program never changes them again. Code that reads a file always compares its digest. Older records
//! state nothing; their logits must have a row for each image that the record scores.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Record,
    provenance::digest_prefix,
    record::{self, CellAxes},
};
use crate::{
    data::regular::{self, SizeLimit},
    named::{counted, named},
};

named! {
    /// The content of a file beside a record.
    pub enum Part: "file beside a record" {
        /// Trained variables.
        Weights = "weights",
        /// Scorers and examples that, with the weights, make a detector.
        Detector = "detector",
        /// Each classifier's logits of the validation images.
        Logits = "logits",
    }
}

impl Part {
    /// Returns the path of this file beside a record.
    pub fn path_beside(self, record: &Path) -> PathBuf {
        record.with_extension(match self {
            Self::Weights => "safetensors",
            Self::Detector => "detector.safetensors",
            Self::Logits => "logits.csv",
        })
    }
}

impl record::FileDigest {
    /// Returns what a record states about these bytes; `rows` is the number of rows of a table.
    pub(super) fn from_bytes(bytes: &[u8], rows: Option<usize>) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string(), rows }
    }
}

/// A problem with a file beside a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The expected content of the file.
    pub part: Part,
    /// Whether the file is missing.
    pub is_missing: bool,
    /// The file, and what is wrong with it.
    pub text: String,
}

/// Checks the files that the record in the file `at` states: whether they exist, their sizes, and the digests of
/// those that were changed after the record.
///
/// # Errors
/// If a file exists and cannot be inspected.
pub fn faults(at: &Path, record: &Record) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for part in Part::ALL {
        let path = part.path_beside(at);
        let Some(stated) = record.beside.get(part.id()) else { continue };
        let cannot = || format!("{}: cannot be read", path.display());
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("{}: missing, although the record lists it", path.display());
                faults.push(Fault { part, is_missing: true, text });
                continue;
            }
            found => found.with_context(cannot)?,
        };
        let is_newer = || -> std::io::Result<bool> { Ok(found.modified()? > fs::metadata(at)?.modified()?) };
        let is_own = found.is_file()
            && found.len() == stated.bytes
            && (!is_newer().unwrap_or(true)
                || own(stated, &regular::read(&path, SizeLimit::WEIGHTS).with_context(cannot)?, part)
                    .is_ok());
        if !is_own {
            let text = format!("{}: differs from the {part} that its record describes", path.display());
            faults.push(Fault { part, is_missing: false, text });
        }
    }
    Ok(faults)
}

/// Reads a file beside the record in the file `at`.
///
/// # Errors
/// If it is missing, or does not belong to this record: says what the record states and what was found.
pub fn read(at: &Path, record: &Record, part: Part) -> Result<Vec<u8>> {
    let path = part.path_beside(at);
    let known = || format!("{}: {}", path.display(), remedy(&record.cell));
    let load = || -> Result<Vec<u8>> {
        ensure!(fs::metadata(&path)?.is_file(), "not a file, but a folder, a pipe or a device");
        Ok(regular::read(&path, SizeLimit::WEIGHTS)?)
    };
    let bytes = load().with_context(|| format!("{}: cannot be read", path.display()))?;
    match record.beside.get(part.id()) {
        Some(stated) => own(stated, &bytes, part).with_context(known)?,
        None if !record.beside.is_empty() => {
            bail!("{}: does not belong to its record, which was made without {part}", path.display())
        }
        None if part == Part::Logits => ensure_rows(scored(record), rows(&bytes)).with_context(known)?,
        None => {}
    }
    Ok(bytes)
}

fn remedy(cell: &CellAxes) -> String {
    format!(
        "does not belong to its record, {}; run the command that made the cell to write it again",
        cell.id
    )
}

/// Checks that these bytes are those that the record states.
///
/// # Errors
/// If they are not.
fn own(stated: &record::FileDigest, bytes: &[u8], part: Part) -> Result<()> {
    if part == Part::Logits {
        ensure_rows(stated.rows, rows(bytes))?;
    }
    let found = record::FileDigest::from_bytes(bytes, None);
    ensure!(found.bytes == stated.bytes, "{} bytes, but the record states {}", found.bytes, stated.bytes);
    ensure!(
        found.blake3 == stated.blake3,
        "digest {}, but the record states {}",
        digest_prefix(&found.blake3),
        digest_prefix(&stated.blake3)
    );
    Ok(())
}

fn ensure_rows(stated: Option<usize>, found: usize) -> Result<()> {
    let Some(stated) = stated else { return Ok(()) };
    ensure!(found == stated, "{}, but the record states {stated}", counted(found, "row", "rows"));
    Ok(())
}

/// Returns how many images a record scores in total.
fn scored(record: &Record) -> Option<usize> {
    let all = record.scores.iter().find(|score| score.validation_share.is_none());
    all.map(|score| score.normals + score.defects)
}

/// Counts complete rows below the header of a CSV.
fn rows(bytes: &[u8]) -> usize {
    csv::Reader::from_reader(bytes).byte_records().filter(Result::is_ok).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Folder, example};

    fn message(result: Result<Vec<u8>>) -> String {
        format!("{:#}", result.expect_err("a file of another is refused"))
    }

    const TABLE: &[u8] = b"position,defect\n0,1\n1,0\n";

    #[test]
    fn files_of_others_are_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let mut record = example::record();
        record.beside.insert("logits".into(), record::FileDigest::from_bytes(TABLE, Some(2)));
        record.beside.insert("weights".into(), record::FileDigest::from_bytes(b"weights", None));
        let at = folder.record_path(&record.cell.id);
        let [logits, weights] = [Part::Logits, Part::Weights].map(|part| part.path_beside(&at));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&logits, TABLE).unwrap();
        fs::write(&weights, b"weights").unwrap();
        folder.write(&record).unwrap();
        assert_eq!(faults(&at, &record).unwrap(), []);
        assert_eq!(read(&at, &record, Part::Logits).unwrap(), TABLE);

        // Same size, but written after the record.
        let later = fs::metadata(&at).unwrap().modified().unwrap() + std::time::Duration::from_secs(1);
        fs::write(&weights, b"Weights").unwrap();
        let touched = fs::File::options().write(true).open(&weights).unwrap();
        touched.set_modified(later).unwrap();
        let found = faults(&at, &record).unwrap();
        assert_eq!((found.len(), found[0].part, found[0].is_missing), (1, Part::Weights, false));
        assert!(message(read(&at, &record, Part::Weights)).contains("the record states"));
        // Only the time has changed.
        fs::write(&weights, b"weights").unwrap();
        fs::File::options().write(true).open(&weights).unwrap().set_modified(later).unwrap();
        assert_eq!(faults(&at, &record).unwrap(), []);

        fs::write(&logits, &TABLE[..TABLE.len() - 4]).unwrap();
        assert!(message(read(&at, &record, Part::Logits)).contains("1 row, but the record states 2"));
        fs::remove_file(&logits).unwrap();
        let found = faults(&at, &record).unwrap();
        assert_eq!((found.len(), found[0].part, found[0].is_missing), (1, Part::Logits, true));

        // A file that was not written with the record.
        let detector = Part::Detector.path_beside(&at);
        fs::write(&detector, b"x").unwrap();
        assert!(message(read(&at, &record, Part::Detector)).contains("made without detector"));
    }

    #[test]
    fn of_old_records_the_rows_of_logits_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("x.json");
        let mut record = example::record();
        let mut score = example::score("converged", None);
        (score.normals, score.defects) = (1, 1);
        record.scores = vec![score];
        fs::write(Part::Logits.path_beside(&at), TABLE).unwrap();
        fs::write(Part::Weights.path_beside(&at), b"weights").unwrap();
        assert_eq!(faults(&at, &record).unwrap(), []);
        assert_eq!(read(&at, &record, Part::Logits).unwrap(), TABLE);
        assert_eq!(read(&at, &record, Part::Weights).unwrap(), b"weights");
        record.scores[0].normals = 5;
        assert!(message(read(&at, &record, Part::Logits)).contains("2 rows, but the record states 6"));
    }

    #[test]
    fn parts_lie_beside_their_record() {
        let at = Path::new("out/table1/a.b-seed0.json");
        let paths = Part::ALL.map(|part| (part.id(), part.path_beside(at)));
        assert_eq!(
            paths,
            [
                ("weights", PathBuf::from("out/table1/a.b-seed0.safetensors")),
                ("detector", PathBuf::from("out/table1/a.b-seed0.detector.safetensors")),
                ("logits", PathBuf::from("out/table1/a.b-seed0.logits.csv")),
            ]
        );
        // BLAKE3 of nothing, from its specification.
        let nothing = record::FileDigest::from_bytes(b"", Some(0));
        assert_eq!((nothing.bytes, nothing.rows), (0, Some(0)));
        assert_eq!(nothing.blake3, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    /// The messages about a file of another size, about another file of the same size, and about a missing one.
    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("x.json");
        let mut record = example::record();
        record.beside.insert("detector".into(), record::FileDigest::from_bytes(b"detector", None));
        fs::write(&at, "").unwrap();
        let path = Part::Detector.path_beside(&at);
        let said = || message(read(&at, &record, Part::Detector));
        assert!(said().starts_with(&format!("{}: cannot be read", path.display())), "{}", said());
        let told = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.text).collect::<Vec<_>>();
        assert_eq!(
            told(faults(&at, &record).unwrap()),
            [format!("{}: missing, although the record lists it", path.display())]
        );
        fs::write(&path, b"short").unwrap();
        let remedy = "does not belong to its record, table1/simclr-resnet18-share05-seed0; run the command that made the \
                      cell to write it again";
        assert_eq!(said(), format!("{}: {remedy}: 5 bytes, but the record states 8", path.display()));
        assert_eq!(
            told(faults(&at, &record).unwrap()),
            [format!("{}: differs from the detector that its record describes", path.display())]
        );
        fs::write(&path, b"Detector").unwrap();
        let [found, stated] =
            [b"Detector", b"detector"].map(|bytes| blake3::hash(bytes).to_hex().to_string());
        assert_eq!(
            said(),
            format!(
                "{}: {remedy}: digest {}, but the record states {}",
                path.display(),
                &found[..12],
                &stated[..12]
            )
        );
        // A file that is older than its record is compared by its size only.
        let earlier = fs::metadata(&at).unwrap().modified().unwrap() - std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        assert_eq!(faults(&at, &record).unwrap(), []);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(said().ends_with("not a file, but a folder, a pipe or a device"), "{}", said());
    }

    /// A path that cannot even be looked at is an error, not a missing file.
    #[test]
    fn a_file_that_cannot_be_inspected_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("file/x.json");
        fs::write(root.path().join("file"), "").unwrap();
        let mut record = example::record();
        assert_eq!(faults(&at, &record).unwrap(), [], "nothing is stated");
        record.beside.insert("weights".into(), record::FileDigest::from_bytes(b"weights", None));
        let error = faults(&at, &record).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read", Part::Weights.path_beside(&at).display()));
    }

    /// All parts of a record are inspected, in order.
    #[test]
    fn every_part_that_is_stated_is_inspected() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("x.json");
        let mut record = example::record();
        for part in Part::ALL {
            record
                .beside
                .insert(part.id().to_owned(), record::FileDigest::from_bytes(part.id().as_bytes(), None));
        }
        fs::write(Part::Detector.path_beside(&at), "another size").unwrap();
        fs::write(&at, "").unwrap();
        let told: Vec<(Part, bool)> =
            faults(&at, &record).unwrap().iter().map(|fault| (fault.part, fault.is_missing)).collect();
        assert_eq!(told, [(Part::Weights, true), (Part::Detector, false), (Part::Logits, true)]);
    }

    /// A row that was cut off in its middle is no row.
    #[test]
    fn a_torn_row_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("x.json");
        let mut record = example::record();
        let mut score = example::score("converged", None);
        (score.normals, score.defects) = (2, 1);
        record.scores = vec![example::score("converged", Some(0.05)), score];
        let path = Part::Logits.path_beside(&at);
        for (text, told) in [
            ("position,defect\n0,1\n1,0\n2", "2 rows, but the record states 3"),
            ("position,defect\n0,1\n1\n2", "1 row, but the record states 3"),
            ("position,defect\n", "0 rows, but the record states 3"),
        ] {
            fs::write(&path, text).unwrap();
            let error = message(read(&at, &record, Part::Logits));
            assert!(error.ends_with(told), "{error}");
        }
        fs::write(&path, "position,defect\n0,1\n1,0\n2,1").unwrap();
        assert!(read(&at, &record, Part::Logits).is_ok(), "the last line needs no end");
    }
}
