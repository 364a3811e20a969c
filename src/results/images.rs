//! Lists of the images of a split, with what is known about their files, as CSVs in the results folder.
//!
//! `images-<split>-<digest>.csv` has a row for each image of the split, in the order in which logits and records
//! count positions. The digest in its name is that of names and labels, so that two data sets in one folder have a
//! file each. At the next start, sizes and modification times show whether a file must be read again for its
//! content, and decoded again for its properties. `images-left-out-<digest>.csv` lists the files that are not
//! images of the data, with the reason. Names that a spreadsheet would take for formulas are prefixed by an
//! apostrophe ([`foreign::escape_cell`]).

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{Folder, provenance::digest_prefix};
use crate::{
    data::{
        Dataset, Source,
        content::{Digest, FileDigest, Stamp},
        examine::{HASH, Sketch},
        files::Files,
        foreign,
        names::NameIndex,
        regular,
    },
    durable,
};

const COLUMNS: [&str; 17] = [
    "position",
    "split",
    "path",
    "defect",
    "class",
    "group",
    "left_out",
    "bytes",
    "modified",
    "blake3_16",
    "width",
    "height",
    "format",
    "pixels",
    "turned",
    "bits",
    "dct_hash",
];
/// Index of the first of [`COLUMNS`] with properties of the file.
const KNOWN: usize = 7;

impl Folder {
    /// Returns the path of the list of a split's images (`train` or `validation`).
    pub fn images(&self, split: &str, dataset: &dyn Dataset) -> PathBuf {
        self.root.join(format!("images-{split}-{}.csv", digest_prefix(&dataset.digest())))
    }

    /// Writes the lists of a source, with what is known about its files so far.
    ///
    /// # Errors
    /// If a list cannot be written.
    pub fn write_images(&self, source: &Source) -> Result<()> {
        for (split, dataset) in [("train", &*source.train), ("validation", &*source.validation)] {
            durable::write_by(&self.images(split, dataset), &mut |file| list(file, split, dataset))?;
        }
        self.forget_known();
        if source.left_out.is_empty() {
            return Ok(());
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["path", "left_out"])?;
        let rows = source.left_out.iter();
        rows.map(|row| row.each_ref().map(|text| foreign::escape_cell(text).into_owned()))
            .try_for_each(|row| writer.write_record(row))?;
        self.write_file(&file_name(&self.images("left-out", &*source.train))?, &writer.into_inner()?)
    }

    /// Writes what is known about files that have no split yet, or are still being examined.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_known(&self, files: &Files) -> Result<()> {
        durable::write_by(&self.images("looked-at", files), &mut |file| list(file, "", files))
    }

    /// Loads what earlier processes found out about these files from the lists in this folder; from a torn list, its
    /// complete part. A file is identified by its path below its root, whatever split and labels it had then; its size
    /// and modification time show later whether it has changed.
    pub fn remember_images(&self, files: &[&Files]) {
        let lists = lists(&self.root);
        if lists.is_empty() {
            return;
        }
        let places: Vec<NameIndex> = files.iter().map(|files| files.name_index()).collect();
        let mut remember = |name: &str, known: FileDigest| {
            for (files, places) in files.iter().zip(&places) {
                if let Some(index) = places.find(name) {
                    files.remember(index, known);
                }
            }
        };
        for list in lists {
            // Files missing from the lists are read again: slower, never wrong.
            let _ = read(&list, &mut remember);
        }
    }
}

impl Folder {
    /// Removes the files of [`Self::write_known`]: the lists of the splits contain their content.
    fn forget_known(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        for entry in
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("images-looked-at-"))
        {
            // A list that remains does no harm: it is read again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn file_name(path: &Path) -> Result<String> {
    Ok(path.file_name().context("the path has no file name")?.to_string_lossy().into_owned())
}

/// Writes the list of a split.
fn list(file: &mut dyn Write, split: &str, dataset: &dyn Dataset) -> Result<()> {
    let unreadable = dataset.files().map(Files::unreadable).unwrap_or_default();
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(COLUMNS)?;
    for (index, labels) in dataset.labels().iter().enumerate() {
        let codes: Vec<&str> = labels.classes.iter().map(|class| class.code()).collect();
        let class = dataset.class_name(index).map_or_else(|| codes.join("+"), str::to_owned);
        let own = [
            index.to_string(),
            split.to_owned(),
            foreign::escape_cell(&dataset.name(index)).into_owned(),
            u8::from(labels.defect).to_string(),
            foreign::escape_cell(&class).into_owned(),
            foreign::escape_cell(dataset.group(index).unwrap_or_default()).into_owned(),
            foreign::escape_cell(unreadable.get(&index).map_or("", String::as_str)).into_owned(),
        ];
        let known = dataset.files().and_then(|files| files.file_digest(index));
        writer.write_record(own.into_iter().chain(written(known)))?;
    }
    Ok(writer.flush()?)
}

/// Returns the cells from column [`KNOWN`] on; empty if nothing is known.
fn written(known: Option<FileDigest>) -> [String; COLUMNS.len() - KNOWN] {
    let Some(FileDigest { stamp: Stamp { bytes, modified }, digest, sketch }) = known else {
        return Default::default();
    };
    let [bytes, modified, digest] = [bytes.to_string(), modified.to_string(), hex(&digest)];
    let Some(Sketch { hash, width, height, format, pixels, turned, bits }) = sketch else {
        let [width, height, format, pixels, turned, bits, hash] = Default::default();
        return [bytes, modified, digest, width, height, format, pixels, turned, bits, hash];
    };
    let (width, height, turned) = (width.to_string(), height.to_string(), u8::from(turned).to_string());
    let (format, pixels, bits) = (format.to_string(), pixels.to_string(), bits.to_string());
    [bytes, modified, digest, width, height, format, pixels, turned, bits, hex(&hash)]
}

/// Returns the lists in a folder.
fn lists(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let is_list = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("images-") && name.ends_with(".csv")
    };
    entries.map(|entry| entry.path()).filter(is_list).collect()
}

/// Calls `known` with the path and the properties of each file in a list whose properties are known.
fn read(list: &Path, known: &mut dyn FnMut(&str, FileDigest)) -> Result<()> {
    let mut reader = csv::Reader::from_reader(regular::open(list)?);
    let header = reader.headers()?.clone();
    let column = |name: &str| header.iter().position(|known| known == name);
    let columns = COLUMNS[KNOWN..].iter().map(|name| column(name)).collect::<Vec<_>>();
    let path = column("path").context("no paths")?;
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row)? {
        let cell = |place: usize| columns[place].and_then(|column| row.get(column)).unwrap_or_default();
        if !cell(2).is_empty() {
            let stamp = Stamp { bytes: cell(0).parse()?, modified: cell(1).parse()? };
            let sketch = (!cell(9).is_empty()).then(|| sketch(cell)).transpose()?;
            let digest = unhex::<{ size_of::<Digest>() }>(cell(2))?;
            known(
                foreign::unescape_cell(row.get(path).unwrap_or_default()),
                FileDigest { stamp, digest, sketch },
            );
        }
    }
    Ok(())
}

fn sketch<'c>(cell: impl Fn(usize) -> &'c str) -> Result<Sketch> {
    Ok(Sketch {
        width: cell(3).parse()?,
        height: cell(4).parse()?,
        format: cell(5).parse()?,
        pixels: cell(6).parse()?,
        turned: cell(7) == "1",
        bits: cell(8).parse()?,
        hash: unhex::<HASH>(cell(9))?,
    })
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const BYTES: usize>(text: &str) -> Result<[u8; BYTES]> {
    let digits = 2 * BYTES;
    ensure!(text.len() == digits && text.is_ascii(), "expected {digits} digits, found '{text}'");
    let mut digest = [0; BYTES];
    for (byte, place) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{self, content::Content};

    #[test]
    fn a_list_that_was_written_spares_the_next_process_the_reading() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        for (folder, name, bytes) in
            [("normal", "a.png", "1"), ("normal", "b, \"c\".png", "22"), ("defect", "d.png", "333")]
        {
            for part in ["train", "validation"] {
                let folder = data.join(part).join(folder);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
        let results = Folder::open(&root.path().join("results")).unwrap();
        let open = || data::folder::source(&data).unwrap();
        let first = open();
        let contents = first.train.files().unwrap().read_contents(&[0, 1]);
        results.write_images(&first).unwrap();

        let second = open();
        let files = second.train.files().unwrap();
        results.remember_images(&[files]);
        assert_eq!(files.contents(&[0, 1, 2]), [contents[0], contents[1], Content::Unread]);
        assert_eq!(files.used_digests(&[0]), [None], "known is not used");
        assert!(matches!(contents[0], Content::Bytes(digest) if unhex(&hex(&digest)).unwrap() == digest));

        // A row of another image is not applied to this one.
        let path = results.images("train", &*second.train);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("normal/a.png", "normal/x.png")).unwrap();
        let third = open();
        let files = third.train.files().unwrap();
        results.remember_images(&[files]);
        assert_eq!(files.contents(&[0]), [Content::Unread]);
    }

    /// After an interrupted examination, the next process knows what was found, until the lists contain it.
    #[test]
    fn what_was_looked_at_before_a_stop_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
        let results = Folder::open(&root.path().join("results")).unwrap();
        let files = || data::folder::source(&fixture).unwrap();
        let stopped = files();
        let seen = stopped.train.files().unwrap();
        seen.examine(&[0, 1], &|| {});
        results.write_known(seen).unwrap();

        let again = files();
        let known = again.train.files().unwrap();
        results.remember_images(&[known]);
        assert!(known.sketch(0).is_some() && known.sketch(0) == seen.sketch(0) && known.sketch(1).is_some());
        assert_eq!(known.sketch(2), None, "not looked at yet");
        let looked_at = results.images("looked-at", seen);
        assert!(looked_at.exists());
        results.write_images(&again).unwrap();
        assert!(!looked_at.exists() && results.images("train", known).exists());
    }

    #[test]
    fn lists_say_what_images_are_and_why_some_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder/normal/1.png");
        for part in ["train", "validation"] {
            for name in ["normal/p1_1.png", "defect/crack/p2_1.png", "defect/torn.png", "normal/notes.txt"] {
                let path = root.path().join("data").join(part).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let whole = fs::read(&fixture).unwrap();
                fs::write(path, if name.contains("torn") { &whole[..40] } else { &whole[..] }).unwrap();
            }
        }
        let source = data::folder::source(&root.path().join("data")).unwrap();
        let files = source.train.files().unwrap();
        files.examine(&[0, 1, 2], &|| {});
        let results = Folder::open(&root.path().join("results")).unwrap();
        results.write_images(&source).unwrap();
        let text = fs::read_to_string(results.images("train", &*source.train)).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(rows[0][..6], ["0", "train", "train/normal/p1_1.png", "0", "", ""]);
        assert_eq!(rows[1][..6], ["1", "train", "train/defect/crack/p2_1.png", "1", "crack", ""]);
        assert_eq!(rows[0][10..16], ["32", "24", "png", "colour", "0", "0"]);
        assert!(rows[2][6].contains("truncated"), "{}", rows[2][6]);
        let left_out = fs::read_to_string(results.images("left-out", &*source.train)).unwrap();
        assert!(left_out.contains("train/normal/notes.txt,not an image by its name"), "{left_out}");

        // The next process loads the properties of the images.
        let again = data::folder::source(&root.path().join("data")).unwrap();
        let files = again.train.files().unwrap();
        results.remember_images(&[files]);
        assert_eq!(files.sketch(0), source.train.files().unwrap().sketch(0));
        assert!(files.sketch(0).is_some() && files.sketch(2).is_none());
    }

    /// Known properties of a file, with a different number in each column.
    #[test]
    fn what_is_known_of_a_file_is_written_and_read_back_column_by_column() {
        use crate::data::examine::{Format, Pixels};
        let known = FileDigest {
            stamp: Stamp { bytes: 123, modified: 456 },
            digest: std::array::from_fn(|place| place as u8),
            sketch: Some(Sketch {
                hash: std::array::from_fn(|place| 0xff - place as u8),
                width: 640,
                height: 480,
                format: Format::Jpeg,
                pixels: Pixels::Grey,
                turned: true,
                bits: 12,
            }),
        };
        let row = written(Some(known));
        let told: Vec<String> =
            COLUMNS[KNOWN..].iter().zip(&row).map(|(name, cell)| format!("{name} {cell}")).collect();
        let hash: String = (0..HASH).map(|place| format!("{:02x}", 0xff - place)).collect();
        assert_eq!(
            told,
            [
                "bytes 123",
                "modified 456",
                "blake3_16 000102030405060708090a0b0c0d0e0f",
                "width 640",
                "height 480",
                "format jpeg",
                "pixels grey",
                "turned 1",
                "bits 12",
                &format!("dct_hash {hash}"),
            ]
        );
        let plain = FileDigest { sketch: None, ..known };
        assert_eq!(written(Some(plain))[..3], row[..3]);
        assert!(written(Some(plain))[3..].iter().chain(&written(None)).all(String::is_empty));

        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("images-x.csv");
        // Columns are found by name, whatever their order; rows without known properties are skipped.
        let columns: Vec<&str> = COLUMNS[KNOWN..].iter().rev().copied().chain(["path"]).collect();
        let line = |cells: [String; COLUMNS.len() - KNOWN], name: &str| {
            cells.into_iter().rev().chain([name.to_owned()]).collect::<Vec<_>>().join(",")
        };
        let lines = [
            columns.join(","),
            line(row, "a.png"),
            line(written(None), "b.png"),
            line(written(Some(plain)), "'-c.png"),
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let mut found = Vec::new();
        read(&path, &mut |name, known| found.push((name.to_owned(), known))).unwrap();
        assert_eq!(found, [("a.png".to_owned(), known), ("-c.png".to_owned(), plain)]);
    }

    /// Lists of both splits are named by their split and the digest of their own images.
    #[test]
    fn each_split_has_its_own_list() {
        let root = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
        let source = data::folder::source(&fixture).unwrap();
        let results = Folder::open(root.path()).unwrap();
        results.write_images(&source).unwrap();
        for (split, dataset) in [("train", &source.train), ("validation", &source.validation)] {
            let path = results.images(split, &**dataset);
            let name = format!("images-{split}-{}.csv", &dataset.digest()[..12]);
            assert_eq!(path, root.path().join(name));
            let text = fs::read_to_string(path).unwrap();
            let mut lines = text.lines();
            assert_eq!(
                lines.next(),
                Some(
                    "position,split,path,defect,class,group,left_out,bytes,modified,blake3_16,width,height,format,pixels,\
                     turned,bits,dct_hash"
                )
            );
            let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
            assert_eq!(rows.len(), dataset.labels().len());
            for (index, (row, labels)) in rows.iter().zip(dataset.labels()).enumerate() {
                let defect = u8::from(labels.defect).to_string();
                assert_eq!(row[..4], [&index.to_string(), split, &dataset.name(index), &defect]);
            }
        }
    }

    #[test]
    fn digits_of_another_length_are_no_digest() {
        assert_eq!(unhex::<2>("0aff").unwrap(), [0x0a, 0xff]);
        assert_eq!(hex(&[0x0a, 0xff, 1]), "0aff01");
        assert_eq!(unhex::<2>("0af").unwrap_err().to_string(), "expected 4 digits, found '0af'");
        assert!(unhex::<2>("0axx").is_err() && unhex::<1>("ä").is_err());
    }

    /// Lists are read for all data sets that are open, whichever split they were in; of a torn list, the complete part.
    #[test]
    fn what_is_known_is_remembered_for_every_split() {
        let root = tempfile::tempdir().unwrap();
        for (split, count) in [("train", 300), ("validation", 20)] {
            for (label, numbers) in [("normal", 0..count / 2), ("defect", count / 2..count)] {
                let folder = root.path().join("data").join(split).join(label);
                fs::create_dir_all(&folder).unwrap();
                for number in numbers {
                    fs::write(folder.join(format!("{number:03}.png")), format!("{split}{number}")).unwrap();
                }
            }
        }
        let results = Folder::open(&root.path().join("results")).unwrap();
        let open = || data::folder::source(&root.path().join("data")).unwrap();
        let all = |dataset: &dyn Dataset| (0..dataset.labels().len()).collect::<Vec<_>>();
        let first = open();
        let [train, validation] = [&first.train, &first.validation].map(|dataset| dataset.files().unwrap());
        let contents = [train, validation].map(|files| files.read_contents(&all(files)));
        results.write_images(&first).unwrap();
        let known = || {
            let next = open();
            let files = [&next.train, &next.validation].map(|dataset| dataset.files().unwrap());
            results.remember_images(&files);
            files.map(|files| files.contents(&all(files)))
        };
        assert_eq!(known(), contents);
        // Another process has split the same files otherwise.
        let path = results.images("train", &*first.train);
        let text = fs::read_to_string(&path).unwrap();
        fs::rename(&path, path.with_file_name("images-validation-0123456789ab.csv")).unwrap();
        assert_eq!(known(), contents);
        // The list of training images is torn in the row of its 280th.
        fs::remove_file(path.with_file_name("images-validation-0123456789ab.csv")).unwrap();
        let place = text.match_indices('\n').nth(280).unwrap().0;
        fs::write(&path, &text[..place - 30]).unwrap();
        let [train, validation] = known();
        assert_eq!((&train[..279], &validation), (&contents[0][..279], &contents[1]));
        assert!(train[280..].iter().all(|content| *content == Content::Unread));
        // A file without a column of paths, and one that is no list, are passed over.
        fs::write(path.with_file_name("images-a.csv"), "position,bytes\n0,1\n").unwrap();
        fs::write(path.with_file_name("other.csv"), &text).unwrap();
        assert_eq!(known()[0][..279], contents[0][..279]);
        assert_eq!(known()[0][290], Content::Unread);
    }

    /// Text of others is escaped in every column, and files that are no images are listed with their reasons.
    #[test]
    fn names_classes_and_groups_are_no_formulas() {
        let root = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder/normal/1.png");
        let data = root.path().join("data");
        fs::create_dir_all(&data).unwrap();
        let mut table = "path,label,class,split,group\n".to_owned();
        for (number, split) in
            ["train", "train", "train", "validation", "validation", "validation"].iter().enumerate()
        {
            fs::copy(&fixture, data.join(format!("-{number}.png"))).unwrap();
            let (label, class) = if number % 3 == 0 { ("normal", "") } else { ("defect", "=root") };
            table += &format!("-{number}.png,{label},{class},{split},@pipe {number}\n");
        }
        fs::write(data.join("table.csv"), table).unwrap();
        let opened = data::table::open(&data.join("table.csv")).unwrap();
        let source = opened.split().unwrap();
        let left_out =
            vec![["=1.txt".to_owned(), "+a reason".to_owned()], ["b.txt".to_owned(), "another".to_owned()]];
        let source = Source { left_out, ..source };
        let results = Folder::open(&root.path().join("results")).unwrap();
        results.write_images(&source).unwrap();
        for (split, dataset, first) in [("train", &source.train, 0), ("validation", &source.validation, 3)] {
            let text = fs::read_to_string(results.images(split, &**dataset)).unwrap();
            let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
            assert_eq!(rows.len(), 3);
            for (place, row) in rows.iter().enumerate() {
                let number = first + place;
                let (defect, class) = if place == 0 { ("0", "") } else { ("1", "'=root") };
                let [position, name, group] =
                    [place.to_string(), format!("'-{number}.png"), format!("'@pipe {number}")];
                assert_eq!(row[..7], [&position, split, &name, defect, class, &group, ""]);
                assert!(row[7..].iter().all(|cell| cell.is_empty()), "nothing is known yet: {row:?}");
            }
        }
        let list = fs::read_to_string(results.images("left-out", &*source.train)).unwrap();
        assert_eq!(list, "path,left_out\n'=1.txt,'+a reason\nb.txt,another\n");
    }

    /// Drawn pictures have no files, but several classes.
    #[test]
    fn classes_of_an_image_are_joined() {
        let source = data::synthetic::source(crate::seed::Seed::root(0), 200, 20, 32);
        let root = tempfile::tempdir().unwrap();
        let results = Folder::open(root.path()).unwrap();
        results.write_images(&source).unwrap();
        let text = fs::read_to_string(results.images("train", &*source.train)).unwrap();
        let found: Vec<&str> = text.lines().skip(1).map(|line| line.split(',').nth(4).unwrap()).collect();
        let labels = source.train.labels().iter();
        let expected: Vec<String> = labels
            .map(|labels| labels.classes.iter().map(data::DefectClass::code).collect::<Vec<_>>().join("+"))
            .collect();
        assert_eq!(found, expected);
        assert!(
            expected.iter().any(|classes| classes.contains('+')) && expected.iter().any(String::is_empty)
        );
        assert!(!root.path().join("images-left-out").exists() && lists(root.path()).len() == 2);
    }

    /// Only lists of what was looked at are removed; those of other data in the folder, and files of others, stay.
    #[test]
    fn lists_of_other_data_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let results = Folder::open(root.path()).unwrap();
        let names = [
            "images-left-out-0123456789ab.csv",
            "images-train-0123456789ab.csv",
            "images-validation-0123456789ab.csv",
            "images-looked.csv",
            "my-images-looked-at-0123456789ab.csv",
        ];
        let old = ["images-looked-at-0123456789ab.csv", "images-looked-at-ba9876543210.csv"];
        for name in names.iter().chain(&old) {
            fs::write(root.path().join(name), name).unwrap();
        }
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
        results.write_images(&data::folder::source(&fixture).unwrap()).unwrap();
        for name in names {
            assert_eq!(fs::read_to_string(root.path().join(name)).ok().as_deref(), Some(name));
        }
        assert_eq!(old.map(|name| root.path().join(name).exists()), [false; 2]);
    }
}
