//! `predictions.csv`: one row per image, stored as soon as it is known. Paths that a spreadsheet would take for
//! formulas are prefixed by an apostrophe.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{data::foreign, durable};

const HEADER: &str = "path,logit,probability,flagged,why_skipped";

/// The result for an image.
pub struct Row {
    pub path: String,
    /// Logit, probability and whether it is flagged; `None` if the image was skipped.
    pub score: Option<(f64, f64, bool)>,
    /// Why the image was skipped; empty if it was scored.
    pub skipped: String,
}

/// Numbers of images.
#[derive(Debug, Default)]
pub struct Summary {
    pub scored: usize,
    pub flagged: usize,
    pub skipped: usize,
}

/// The file, open at its end.
pub struct Rows {
    path: PathBuf,
    /// Digests of paths, because the names of a million images would take too much memory.
    done: HashSet<[u8; 16]>,
    to: BufWriter<File>,
}

impl Rows {
    /// Opens the rows of an earlier run, or a new file.
    ///
    /// # Errors
    /// If the folder has rows of another bundle or rate, or the file cannot be written.
    pub fn open(folder: &Path, bundle: &str, rate: f64) -> Result<Self> {
        let (path, about) = (folder.join("predictions.csv"), folder.join("predictions.bundle"));
        let asked = format!("bundle {bundle}\nrate {rate}\n");
        match fs::read_to_string(&about) {
            Ok(found) if found != asked => bail!(
                "{}: has predictions of another bundle or rate; choose another --out, or remove them",
                folder.display()
            ),
            Ok(_) => {}
            Err(_) => {
                ensure!(!path.exists(), "{}: already exists, from another source", path.display());
                durable::write_whole(&about, asked.as_bytes())?;
            }
        }
        let done = if path.exists() { keep_whole_rows(&path)? } else { None };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        if done.is_none() {
            writeln!(file, "{HEADER}")?;
        }
        Ok(Self { path, done: done.unwrap_or_default(), to: BufWriter::new(file) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether an earlier run has a row for this image.
    pub fn has(&self, path: &str) -> bool {
        self.done.contains(&digest(path))
    }

    pub fn push(&mut self, row: Row) -> Result<()> {
        let [logit, probability, flagged] = match row.score {
            Some((logit, probability, flagged)) => {
                [logit.to_string(), probability.to_string(), u8::from(flagged).to_string()]
            }
            None => Default::default(),
        };
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(&mut self.to);
        let [path, skipped] = [&row.path, &row.skipped].map(|text| foreign::escape_cell(text));
        writer.write_record([&*path, &logit, &probability, &flagged, &*skipped])?;
        writer.flush()?;
        Ok(())
    }

    pub fn flush(&mut self) -> Result<()> {
        self.to.flush().with_context(|| format!("{}: cannot be written", self.path.display()))
    }

    /// Returns every row of the file, one after the other.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<Row>>> {
        let reader = csv::Reader::from_reader(BufReader::new(File::open(&self.path)?));
        Ok(reader.into_records().map(|row| row_of(&row?)))
    }

    pub fn summary(&self) -> Result<Summary> {
        let mut summary = Summary::default();
        for row in self.read()? {
            match row?.score {
                None => summary.skipped += 1,
                Some((.., flagged)) => {
                    summary.scored += 1;
                    summary.flagged += usize::from(flagged);
                }
            }
        }
        Ok(summary)
    }
}

fn row_of(row: &csv::StringRecord) -> Result<Row> {
    ensure!(row.len() == 5, "expected 5 columns, found {}", row.len());
    let score = match &row[1] {
        "" => None,
        logit => Some((logit.parse()?, row[2].parse()?, &row[3] == "1")),
    };
    let [path, skipped] = [&row[0], &row[4]].map(|text| foreign::unescape_cell(text).to_owned());
    Ok(Row { path, score, skipped })
}

/// Cuts off a row that was incomplete when the program was stopped. Returns the images of the other rows; `None` if
/// not even the header is complete.
fn keep_whole_rows(path: &Path) -> Result<Option<HashSet<[u8; 16]>>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(&file));
    let length = file.metadata()?.len();
    let header = reader.headers().map(|header| header.iter().collect::<Vec<_>>().join(",")).ok();
    let mut end = reader.position().byte();
    if header.as_deref() != Some(HEADER) || (end >= length && !is_whole(path, 0)?) {
        file.set_len(0)?;
        return Ok(None);
    }
    let mut done = HashSet::new();
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).unwrap_or(false) {
        let next = reader.position().byte();
        // The last row counts only if its line break exists.
        let Ok(Row { path: name, .. }) = row_of(&row) else { break };
        if next >= length && !is_whole(path, end)? {
            break;
        }
        done.insert(digest(&name));
        end = next;
    }
    file.set_len(end.min(length))?;
    Ok(Some(done))
}

/// Returns whether the text from `from` on ends in a line break outside quotes.
fn is_whole(path: &Path, from: u64) -> Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let quotes = rest.iter().filter(|&&byte| byte == b'"').count();
    Ok(rest.last() == Some(&b'\n') && quotes.is_multiple_of(2))
}

fn digest(path: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str) -> Row {
        Row { path: path.to_owned(), score: Some((1.5, 0.25, true)), skipped: String::new() }
    }

    #[test]
    fn a_row_that_was_cut_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Rows::open(folder.path(), "b", 0.1).unwrap();
        let mut rows = open();
        rows.push(row("a, \"b\".png")).unwrap();
        rows.push(Row { path: "c.png".to_owned(), score: None, skipped: "torn,\nit ends".to_owned() })
            .unwrap();
        rows.push(row("=d.png")).unwrap();
        rows.flush().unwrap();
        let whole = fs::read(rows.path()).unwrap();
        assert!(String::from_utf8_lossy(&whole).contains("\n'=d.png,1.5,"), "no formula");
        assert!(rows.read().unwrap().any(|row| row.unwrap().path == "=d.png"), "read back as it was");
        let ends: Vec<usize> = (0..whole.len()).filter(|&place| whole[place] == b'\n').collect();
        for cut in 0..=whole.len() {
            fs::write(rows.path(), &whole[..cut]).unwrap();
            let mut again = open();
            for name in ["a, \"b\".png", "c.png", "=d.png"] {
                if !again.has(name) {
                    let skipped = if name == "c.png" { "torn,\nit ends" } else { "" };
                    let score = skipped.is_empty().then_some((1.5, 0.25, true));
                    again.push(Row { path: name.to_owned(), score, skipped: skipped.to_owned() }).unwrap();
                }
            }
            again.flush().unwrap();
            assert_eq!(
                fs::read(again.path()).unwrap(),
                whole,
                "cut after {cut} bytes; lines end at {ends:?}"
            );
        }
        let summary = open().summary().unwrap();
        assert_eq!((summary.scored, summary.flagged, summary.skipped), (2, 2, 1));
        let error = Rows::open(folder.path(), "other", 0.1).err().unwrap().to_string();
        assert!(error.contains("predictions of another bundle or rate"), "{error}");
    }

    /// Each number is in its own column; another rate needs another folder.
    #[test]
    fn numbers_stand_under_their_heads() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Rows::open(folder.path(), "b", 0.1).unwrap();
        rows.push(Row { path: "x".to_owned(), score: Some((-1.5, 0.25, false)), skipped: String::new() })
            .unwrap();
        rows.push(Row { path: "y".to_owned(), score: Some((2.5, 0.75, true)), skipped: String::new() })
            .unwrap();
        rows.push(Row { path: "z".to_owned(), score: None, skipped: "torn".to_owned() }).unwrap();
        rows.flush().unwrap();
        let text = fs::read_to_string(rows.path()).unwrap();
        assert_eq!(
            text,
            "path,logit,probability,flagged,why_skipped\nx,-1.5,0.25,0,\ny,2.5,0.75,1,\nz,,,,torn\n"
        );
        let summary = rows.summary().unwrap();
        assert_eq!((summary.scored, summary.flagged, summary.skipped), (2, 1, 1));
        assert!(Rows::open(folder.path(), "b", 0.1).is_ok(), "the same command resumes");
        let error = Rows::open(folder.path(), "b", 0.2).err().unwrap().to_string();
        assert!(error.contains("predictions of another bundle or rate"), "{error}");
        fs::remove_file(folder.path().join("predictions.bundle")).unwrap();
        let error = Rows::open(folder.path(), "b", 0.1).err().unwrap().to_string();
        assert!(error.contains("already exists, from another source"), "{error}");
    }

    /// A line break ends a row, unless it is inside quotes: then an odd number of quotes precedes it.
    #[test]
    fn a_row_is_whole_at_a_line_break_outside_quotes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, from, expected) in [
            ("ab,c\n", 0, true),
            ("ab,c", 0, false),
            ("a,\"b\n", 0, false),
            ("a,\"b\nc\"\n", 0, true),
            ("\"x\na,\"b\"\n", 3, true),
            ("", 0, false),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(is_whole(file.path(), from).unwrap(), expected, "{text:?}");
        }
    }

    /// Capitals and spaces are parts of a name, also at its ends.
    #[test]
    fn names_are_kept_letter_by_letter() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            ["Pipe A/IMG_7.PNG", "img_8.png ", " x.png", "=1.png", "\u{c4}, \"b\".png", "'y.png", "+"];
        let mut rows = Rows::open(folder.path(), "b", 0.1).unwrap();
        names.iter().for_each(|name| rows.push(row(name)).unwrap());
        rows.flush().unwrap();
        let again = Rows::open(folder.path(), "b", 0.1).unwrap();
        let read: Vec<String> = again.read().unwrap().map(|row| row.unwrap().path).collect();
        assert_eq!(read, names);
        for name in names {
            assert!(again.has(name), "{name}");
        }
        for other in ["pipe a/img_7.png", "img_8.png", "x.png", "1.png", "'=1.png", "y.png", ""] {
            assert!(!again.has(other), "{other}");
        }
    }
}
