//! Annotation tables, read by column name; every error message names file, row and value.
//!
//! Columns may be in any order, and a byte-order mark is accepted. Rows are numbered like lines in an editor: the
//! header is row 1. Tables of a data set with a known format are read strictly ([`Annotations::for_each_row`]).
//! Tables made by users are read leniently ([`Annotations::read_header`]): separated by `,`, `;` or tabs, in UTF-8 or
//! UTF-16, with the usual names of columns in any case, and with further columns.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    str,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::regular::{self, SizeLimit};

/// One table in memory, as bytes.
pub struct Annotations {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// A column that a table may have.
pub struct Column {
    /// Name of the column in this program.
    pub name: &'static str,
    /// Accepted names in lower case; if a table has several, the first in this list is used.
    pub known: &'static [&'static str],
    /// Whether a table without this column is an error.
    pub required: bool,
}

/// How a table's header was interpreted.
pub struct HeaderLayout {
    delimiter: u8,
    positions: Vec<Option<usize>>,
    names: Vec<&'static str>,
    fields: usize,
    /// Messages for the user, one per line: columns that were renamed or are not used, and the delimiter.
    pub messages: Vec<String>,
}

impl Annotations {
    /// Reads the whole file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = regular::read(path, SizeLimit::TABLE)
            .with_context(|| format!("cannot read annotations {}", path.display()))?;
        ensure!(!bytes.is_empty(), "{}: the file has 0 bytes, expected a header and rows", path.display());
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the BLAKE3 of the unchanged file, in hex (as printed by `b3sum`).
    pub fn digest(&self) -> String {
        blake3::hash(&self.bytes).to_hex().to_string()
    }

    /// Calls `visit` for every row, in order. Columns are numbered by their position in `required` followed by
    /// `optional`, not by their position in the file.
    ///
    /// # Errors
    /// If a column is missing, unexpected or repeated, a row has too many or too few fields, there are no rows, or
    /// `visit` fails; the message names the file and row.
    pub fn for_each_row(
        &self,
        required: &[&'static str],
        optional: &[&'static str],
        visit: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        let text = self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
        let header = reader.byte_headers().with_context(|| self.path.display().to_string())?.clone();
        let names = [required, optional].concat();
        let positions = locate(&header, &names, required.len())
            .with_context(|| format!("{}: unexpected header", self.path.display()))?;

        let form =
            HeaderLayout { delimiter: b',', positions, names, fields: header.len(), messages: Vec::new() };
        self.rows(text, &form, visit)
    }

    /// Interprets the table's header.
    ///
    /// # Errors
    /// If no accepted name of a required column is in the header; the message lists the names that are.
    pub fn read_header(&self, columns: &[Column]) -> Result<HeaderLayout> {
        let text = text_of(&self.bytes).with_context(|| self.path.display().to_string())?;
        let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let count = |delimiter: u8| first.iter().filter(|&&byte| byte == delimiter).count();
        // Ties go to the first delimiter: a table with a single column counts as comma-separated.
        let delimiter = [b',', b';', b'\t'].into_iter().rev().max_by_key(|&delimiter| count(delimiter));
        let delimiter = delimiter.unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(&*text);
        let header = reader.byte_headers().with_context(|| self.path.display().to_string())?;
        let header: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        form(&header, columns, delimiter).with_context(|| self.path.display().to_string())
    }

    /// Calls `visit` for every row of an interpreted table; columns are numbered as in the argument of
    /// [`Self::read_header`].
    ///
    /// # Errors
    /// If a row has too many or too few fields, there are no rows, or `visit` fails; the message names the file and
    /// row.
    pub fn for_each(&self, form: &HeaderLayout, visit: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        let text = text_of(&self.bytes).with_context(|| self.path.display().to_string())?;
        self.rows(&text, form, visit)
    }

    fn rows(
        &self,
        text: &[u8],
        form: &HeaderLayout,
        mut visit: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(form.delimiter).from_reader(text);
        reader.byte_headers().with_context(|| self.path.display().to_string())?;
        let mut fields = csv::ByteRecord::new();
        let mut rows = 0;
        loop {
            let (start, line) = (reader.position().byte() as usize, reader.position().line());
            if !reader.read_byte_record(&mut fields).with_context(|| self.path.display().to_string())? {
                break;
            }
            // The reader's position is before the line breaks that precede the row.
            let breaks = text[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let line = line as usize + breaks.filter(|&&byte| byte == b'\n').count();
            let row = Row { line, fields: &fields, positions: &form.positions, names: &form.names };
            let visited = match fields.len() == form.fields {
                true => visit(&row),
                false => Err(anyhow::anyhow!("expected {} fields, found {}", form.fields, fields.len())),
            };
            visited.with_context(|| format!("{}, row {line}", self.path.display()))?;
            rows += 1;
        }
        ensure!(rows > 0, "{}: no rows below the header", self.path.display());
        Ok(())
    }
}

/// One row of a table.
pub struct Row<'a> {
    line: usize,
    fields: &'a csv::ByteRecord,
    positions: &'a [Option<usize>],
    names: &'a [&'static str],
}

impl Row<'_> {
    /// Returns the row's line number in the file; the header is line 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the text of a column, `None` if the file lacks this (optional) column.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn text(&self, column: usize) -> Result<Option<&str>> {
        self.positions[column]
            .map(|position| {
                str::from_utf8(&self.fields[position])
                    .with_context(|| format!("column {} is not UTF-8", self.names[column]))
            })
            .transpose()
    }

    /// Returns the text of a required column that must not be empty.
    ///
    /// # Errors
    /// If it is empty or not UTF-8.
    pub fn filled(&self, column: usize) -> Result<&str> {
        match self.text(column)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => bail!("column {} is empty", self.names[column]),
        }
    }

    /// Returns the value of a required column of zeros and ones.
    ///
    /// # Errors
    /// If it holds anything else.
    pub fn flag(&self, column: usize) -> Result<bool> {
        match self.positions[column].map(|position| &self.fields[position]) {
            Some(b"0") => Ok(false),
            Some(b"1") => Ok(true),
            found => bail!(
                "column {}: expected 0 or 1, found '{}'",
                self.names[column],
                String::from_utf8_lossy(found.unwrap_or_default())
            ),
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The table without its byte-order mark; UTF-16 is converted to UTF-8. Other bytes are not validated here.
///
/// # Errors
/// If it begins with a UTF-16 byte-order mark but is not valid UTF-16.
fn text_of(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Ok(Cow::Borrowed(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes))),
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    ensure!(rest.is_empty(), "UTF-16 by its first bytes, but of an odd length");
    let text = char::decode_utf16(pairs.iter().map(|&pair| unit(pair)));
    let text =
        text.collect::<Result<String, _>>().context("UTF-16 by its first bytes, but not by the others")?;
    Ok(Cow::Owned(text.into_bytes()))
}

/// Matches the columns with the header.
///
/// # Errors
/// If a required one is missing.
fn form(header: &[String], columns: &[Column], delimiter: u8) -> Result<HeaderLayout> {
    let lower: Vec<String> = header.iter().map(|name| name.to_lowercase()).collect();
    let place =
        |column: &Column| column.known.iter().find_map(|known| lower.iter().position(|name| name == known));
    let positions: Vec<Option<usize>> = columns.iter().map(place).collect();
    let (mut told, mut missing) = (Vec::new(), Vec::new());
    for (column, position) in columns.iter().zip(&positions) {
        match position {
            Some(position) if header[*position] != column.name => {
                told.push(format!("column {} read as {}", header[*position], column.name));
            }
            None if column.required => {
                missing.push(format!("{} (or {})", column.name, column.known.join(", ")))
            }
            _ => {}
        }
    }
    let found: Vec<&str> = header.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    ensure!(
        missing.is_empty(),
        "no column {}; found {}; rename one",
        missing.join(", and none "),
        if found.is_empty() { "no names".to_owned() } else { found.join(", ") }
    );
    // pandas writes row numbers into a column without a name.
    let index = |name: &str| name.is_empty() || name.starts_with("Unnamed: ");
    let unused =
        header.iter().enumerate().filter(|(place, name)| !positions.contains(&Some(*place)) && !index(name));
    let unused: Vec<&str> = unused.map(|(_, name)| name.as_str()).collect();
    if !unused.is_empty() {
        told.push(format!("columns not used: {}", unused.join(", ")));
    }
    if delimiter != b',' {
        told.push(format!("fields separated by {}", if delimiter == b';' { "semicolons" } else { "tabs" }));
    }
    let names = columns.iter().map(|column| column.name).collect();
    Ok(HeaderLayout { delimiter, positions, names, fields: header.len(), messages: told })
}

/// Position of each of `names` in the header; the first `required` names must exist.
fn locate(header: &csv::ByteRecord, names: &[&'static str], required: usize) -> Result<Vec<Option<usize>>> {
    let mut positions = vec![None; names.len()];
    let mut unexpected = Vec::new();
    for (position, found) in header.iter().enumerate() {
        match names.iter().position(|name| name.as_bytes() == found) {
            Some(column) => {
                ensure!(positions[column].is_none(), "column {} occurs twice", names[column]);
                positions[column] = Some(position);
            }
            None => unexpected.push(String::from_utf8_lossy(found)),
        }
    }
    let missing: Vec<&str> =
        (0..required).filter(|&column| positions[column].is_none()).map(|column| names[column]).collect();
    let list = |names: &[&str]| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    ensure!(
        missing.is_empty() && unexpected.is_empty(),
        "missing columns: {}; unexpected columns: {}; expected exactly {}",
        list(&missing),
        list(&unexpected.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        names
            .iter()
            .enumerate()
            .map(|(i, name)| if i < required { (*name).to_owned() } else { format!("[{name}]") })
            .collect::<Vec<_>>()
            .join(",")
    );
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Line, column a, flag b and optional column c.
    type Found = (usize, String, bool, Option<String>);

    /// All rows, or the complete error message.
    fn read(text: &str) -> Result<Vec<Found>, String> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let mut rows = Vec::new();
        Annotations::read(&path)
            .and_then(|table| {
                table.for_each_row(&["a", "b"], &["c"], |row| {
                    let c = row.text(2)?.map(str::to_owned);
                    rows.push((row.line(), row.filled(0)?.to_owned(), row.flag(1)?, c));
                    Ok(())
                })
            })
            .map_err(|error| format!("{error:#}").replace(&format!("{}", path.display()), "t.csv"))?;
        Ok(rows)
    }

    #[test]
    fn columns_are_found_by_name() {
        let expected = vec![(2, "x".to_owned(), true, None), (3, "y".to_owned(), false, None)];
        for text in ["a,b\nx,1\ny,0\n", "b,a\n1,x\n0,y", "\u{feff}a,b\nx,1\ny,0", "a,b\r\nx,1\r\ny,0\r\n"] {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text:?}");
        }
        assert_eq!(read("c,b,a\nz,1,x\n"), Ok(vec![(2, "x".to_owned(), true, Some("z".to_owned()))]));
    }

    #[test]
    fn rows_are_counted_as_an_editor_does() {
        for text in ["a,b\n\n\nx,1\n\n\"y\nz\",0\nw,1", "a,b\r\n\r\n\r\nx,1\r\n\r\n\"y\r\nz\",0\r\nw,1\r\n"] {
            let lines: Vec<usize> = read(text).unwrap().iter().map(|row| row.0).collect();
            assert_eq!(lines, [4, 6, 8], "{text:?}");
        }
    }

    #[test]
    fn complaints_name_file_row_and_value() {
        for (text, expected) in [
            ("", "t.csv: the file has 0 bytes, expected a header and rows"),
            ("a,b\n", "t.csv: no rows below the header"),
            (
                "a,d\nx,1\n",
                "t.csv: unexpected header: missing columns: b; unexpected columns: d; expected exactly a,b,[c]",
            ),
            ("a,b,a\nx,1,y\n", "t.csv: unexpected header: column a occurs twice"),
            ("a,b\nx,1\ny\n", "t.csv, row 3: expected 2 fields, found 1"),
            ("a,b\nx,2\n", "t.csv, row 2: column b: expected 0 or 1, found '2'"),
            ("a,b\nx,\n", "t.csv, row 2: column b: expected 0 or 1, found ''"),
            ("a,b\nw,0\nx, 1\n", "t.csv, row 3: column b: expected 0 or 1, found ' 1'"),
            ("a,b\nx,01\n", "t.csv, row 2: column b: expected 0 or 1, found '01'"),
            ("a,b\n,1\n", "t.csv, row 2: column a is empty"),
            ("c,b,a\nz,1,\n", "t.csv, row 2: column a is empty"),
            ("c,b,a\n0,x,1\n", "t.csv, row 2: column b: expected 0 or 1, found 'x'"),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text:?}");
        }
    }

    const TWO: [Column; 3] = [
        Column { name: "path", known: &["path", "file", "name"], required: true },
        Column { name: "label", known: &["label", "y"], required: true },
        Column { name: "class", known: &["class"], required: false },
    ];

    /// The messages about a table, and for each row its line and three columns; or the full error message.
    fn understood(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, bytes).unwrap();
        let mut rows = Vec::new();
        let mut read = || -> Result<Vec<String>> {
            let table = Annotations::read(&path)?;
            let form = table.read_header(&TWO)?;
            table.for_each(&form, |row| {
                let class = row.text(2)?.unwrap_or("none");
                rows.push(format!("{} {} {} {class}", row.line(), row.filled(0)?, row.filled(1)?));
                Ok(())
            })?;
            Ok(form.messages)
        };
        let told =
            read().map_err(|error| format!("{error:#}").replace(&format!("{}", path.display()), "t.csv"))?;
        Ok((told, rows))
    }

    #[test]
    fn the_first_known_name_counts_and_the_rest_is_said() {
        let (told, rows) = understood(b"name;y;File;camera;Unnamed: 4;;date\nn;1;f;c;u;v;d\n").unwrap();
        assert_eq!(rows, ["2 f 1 none"]);
        assert_eq!(
            told,
            [
                "column File read as path",
                "column y read as label",
                "columns not used: name, camera, date",
                "fields separated by semicolons",
            ]
        );
        let (told, rows) = understood(b"label\tpath\tclass\n0\ta,b;c\tx\n\n1\td\ty\n").unwrap();
        assert_eq!(
            (told, rows),
            (
                vec!["fields separated by tabs".to_owned()],
                vec!["2 a,b;c 0 x".to_owned(), "4 d 1 y".to_owned()]
            )
        );
        let (told, _) = understood(b"path,label,a;b;c\nx,1,2\n").unwrap();
        assert_eq!(told, ["columns not used: a;b;c"], "commas are preferred");
    }

    #[test]
    fn tables_that_are_not_understood_say_why() {
        for (bytes, expected) in [
            (
                &b"class,camera\nx,1\n"[..],
                "t.csv: no column path (or path, file, name), and none label (or label, y); found class, camera; rename one",
            ),
            (
                b",\n1,2\n",
                "t.csv: no column path (or path, file, name), and none label (or label, y); found no names; rename one",
            ),
            (b"path,label\n", "t.csv: no rows below the header"),
            (b"path,label\na,1\nb,1,2\n", "t.csv, row 3: expected 2 fields, found 3"),
            (b"path,label\na,\n", "t.csv, row 2: column label is empty"),
            (
                b"path,label\n\xff,1\n",
                "t.csv, row 2: column path is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0",
            ),
            (
                b"camera,class,label,path\n0,a,1,\xff\n",
                "t.csv, row 2: column path is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0",
            ),
            (
                b"path,camera,class,label\nb,0,a\xfe,1\n",
                "t.csv, row 2: column class is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1",
            ),
            (b"class,camera,label,path\na,0,,b\n", "t.csv, row 2: column label is empty"),
            (b"\xff\xfea", "t.csv: UTF-16 by its first bytes, but of an odd length"),
            (
                b"\xff\xfe\x00\xd8a\x00",
                "t.csv: UTF-16 by its first bytes, but not by the others: unpaired surrogate found: d800",
            ),
        ] {
            assert_eq!(understood(bytes), Err(expected.to_owned()), "{bytes:?}");
        }
        let missing = Annotations::read(Path::new("/nowhere/t.csv")).err().unwrap().to_string();
        assert_eq!(missing, "cannot read annotations /nowhere/t.csv");
    }

    #[test]
    fn a_table_is_known_by_its_bytes() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, "\u{feff}a,b\nx,1\n").unwrap();
        let table = Annotations::read(&path).unwrap();
        assert_eq!(table.path(), path);
        assert_eq!(table.digest(), blake3::hash("\u{feff}a,b\nx,1\n".as_bytes()).to_hex().to_string());
        let header = read("b,c\n1,x\n");
        let expected = "t.csv: unexpected header: missing columns: a; unexpected columns: none; expected exactly a,b,[c]";
        assert_eq!(header, Err(expected.to_owned()));
        let unexpected = read("a,b,d,e\nx,1,2,3\n").unwrap_err();
        assert!(
            unexpected.contains("missing columns: none; unexpected columns: d, e; expected"),
            "{unexpected}"
        );
    }

    /// Names of files may have more commas than the header has semicolons.
    #[test]
    fn fields_are_separated_as_in_the_header() {
        let (told, rows) = understood(b"path;label\na,b,c.png;1\nd,e,f,g.png;0\n").unwrap();
        assert_eq!(rows, ["2 a,b,c.png 1 none", "3 d,e,f,g.png 0 none"]);
        assert_eq!(told, ["fields separated by semicolons"]);
        let (told, rows) = understood(b"label,path\n1,a;b;c;d\n0,\"e\tf\tg\"\n").unwrap();
        assert_eq!(
            (told.len(), rows),
            (0, vec!["2 a;b;c;d 1 none".to_owned(), "3 e\tf\tg 0 none".to_owned()])
        );
    }
}
