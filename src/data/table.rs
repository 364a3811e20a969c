//! A table of images: a file with a column of paths, a column of labels and optional columns of classes, groups and
//! splits, under their usual names ([`COLUMNS`]).
//!
//! Labels and splits are the usual words (`words.rs`), including 0 and 1. A class is free text (a kind of defect);
//! subsets and splits are stratified by it, and recall is reported for it. A group (a pipe, a video, a module) stays
//! on one side of a split. Without splits, the fixed split is used. Paths are absolute or relative to the table;
//! backslashes count as slashes. The apostrophe that prevents spreadsheets from interpreting text as a formula
//! ([`foreign::escape_cell`]) is removed.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    data::{
        ClassSet, Labels, Source,
        annotations::{Annotations, Column, Row},
        files::Files,
        foreign,
        listing::Listing,
        names::ensure_apart,
        stratify,
        whole::{Opened, Unsplit},
        words,
    },
    named::counted,
};

const PATH: usize = 0;
const LABEL: usize = 1;
const CLASS: usize = 2;
const SPLIT: usize = 3;
const GROUP: usize = 4;

/// The columns of a table, with the names that are accepted for them.
pub const COLUMNS: [Column; 5] = [
    Column {
        name: "path",
        known: &[
            "path",
            "image_path",
            "img_path",
            "file_path",
            "filepath",
            "filename",
            "file_name",
            "file",
            "image",
            "img",
            "image_name",
            "name",
        ],
        required: true,
    },
    Column {
        name: "label",
        known: &[
            "label",
            "labels",
            "target",
            "defect",
            "is_defect",
            "defective",
            "anomaly",
            "y",
            "ground_truth",
        ],
        required: true,
    },
    Column {
        name: "class",
        known: &["class", "class_name", "category", "defect_type", "type", "kind"],
        required: false,
    },
    Column { name: "split", known: &["split", "set", "subset", "partition", "phase"], required: false },
    Column {
        name: "group",
        known: &[
            "group",
            "group_id",
            "pipe",
            "pipe_id",
            "video",
            "video_id",
            "module",
            "module_id",
            "patient",
            "patient_id",
            "part",
            "part_id",
            "serial",
            "serial_number",
        ],
        required: false,
    },
];

/// Reads the table; images are looked for only when they are opened.
///
/// # Errors
/// If the file is missing or empty, a column is missing, a value is not one of the known words, a path is repeated,
/// or a split has no images.
pub fn source(path: &Path) -> Result<Source> {
    open(path)?.split()
}

/// Like [`source`], but without splitting images that have no split.
///
/// # Errors
/// Those of [`source`].
pub fn open(path: &Path) -> Result<Opened> {
    let table = Annotations::read(path)?;
    let mut form = table.read_header(&COLUMNS)?;
    let root = folder_of(path);
    let mut images = Images::below(&root);
    table.for_each(&form, |row| images.push(row))?;
    if images.backslashes > 0 {
        form.messages
            .push(format!("backslashes read as slashes in {}", counted(images.backslashes, "path", "paths")));
    }
    let Images { mut listing, classes, groups, train, mut validation, mut tests, .. } = images;
    let kinds = stratify::number_strata(listing.labels_mut(), &classes);
    listing.set_kinds(kinds);
    if !groups.is_empty() {
        listing.set_groups(&groups);
    }
    listing.ensure_distinct().with_context(|| path.display().to_string())?;

    let files = |listing: Listing| {
        let digest = listing.digest();
        Files::new(listing, std::slice::from_ref(&root), Some(path), digest)
    };
    let limits = vec!["labels without defect classes: F2_CIW is not defined".to_owned()];
    let (name, understood, left_out) = ("csv".to_owned(), form.messages, Vec::new());
    if train.is_empty() && validation.is_empty() && tests.is_empty() {
        return Ok(Opened::Unsplit(Unsplit {
            name,
            files: Box::new(files(listing)?),
            limits,
            interpretation: understood,
            left_out,
        }));
    }
    if validation.is_empty() {
        validation.append(&mut tests);
    }
    let why = "of a test split; there is a validation split";
    let left_out = tests.iter().map(|&index| [listing.name(index).to_owned(), why.to_owned()]).collect();
    let mut understood = understood;
    if !tests.is_empty() {
        understood.push(format!(
            "{} not used, because there is a validation split",
            counted(tests.len(), "row of a test split is", "rows of a test split are")
        ));
    }
    let (train, validation) = (listing.select(&train), listing.select(&validation));
    ensure_apart(&train, &validation).with_context(|| path.display().to_string())?;
    let (train, validation) = (Box::new(files(train)?), Box::new(files(validation)?));
    let (has_classes, leaks) = (false, Vec::new());
    Ok(Opened::Split(Source {
        name,
        train,
        validation,
        has_classes,
        limits,
        interpretation: understood,
        left_out,
        leaks,
    }))
}

/// Lists every path of a table, for prediction; the labels are meaningless.
///
/// # Errors
/// If the table cannot be read, has no column of paths, or repeats one.
pub fn unlabelled(path: &Path) -> Result<Files> {
    let table = Annotations::read(path)?;
    let form = table.read_header(&COLUMNS[PATH..=PATH])?;
    let root = folder_of(path);
    let mut images = Images::below(&root);
    let unknown = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
    table.for_each(&form, |row| {
        let name = images.name(row.filled(PATH)?.trim());
        images.listing.push(&name, unknown, Some(row.line()));
        Ok(())
    })?;
    let listing = images.listing;
    listing.ensure_distinct().with_context(|| path.display().to_string())?;
    let digest = listing.digest();
    Files::new(listing, &[root], Some(path), digest)
}

/// The folder of a table. A bare file name has an empty parent, which stands for the working directory.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => ".".into(),
    }
}

/// Rows read so far.
struct Images {
    /// Components of the table's folder with all links resolved, to recognise absolute paths inside it.
    root: Option<PathBuf>,
    listing: Listing,
    classes: Vec<String>,
    /// One group per row, or none at all.
    groups: Vec<String>,
    train: Vec<usize>,
    validation: Vec<usize>,
    /// Rows of a test split, which are not used if there is a validation split.
    tests: Vec<usize>,
    backslashes: usize,
}

impl Images {
    fn below(root: &Path) -> Self {
        Self {
            root: root.canonicalize().ok(),
            listing: Listing::default(),
            classes: Vec::new(),
            groups: Vec::new(),
            train: Vec::new(),
            validation: Vec::new(),
            tests: Vec::new(),
            backslashes: 0,
        }
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        let label = row.filled(LABEL)?;
        let defect = words::is_defect(label).ok_or_else(|| {
            anyhow!(
                "column label: expected {} or {}, found '{label}'",
                words::NORMAL.join(", "),
                words::DEFECT.join(", ")
            )
        })?;
        if let Some(split) = row.text(SPLIT)? {
            let tests = words::rank(split, &["test", "testing"]).is_some();
            let places = match words::is_train(split) {
                Some(true) => &mut self.train,
                Some(false) if tests => &mut self.tests,
                Some(false) => &mut self.validation,
                None => {
                    return Err(anyhow!(
                        "column split: expected train, {}, found '{split}'",
                        words::VALIDATION.join(", ")
                    ));
                }
            };
            places.push(self.listing.len());
        }
        self.classes.push(foreign::unescape_cell(row.text(CLASS)?.unwrap_or_default()).to_owned());
        if row.text(GROUP)?.is_some() {
            self.groups.push(foreign::unescape_cell(row.filled(GROUP)?.trim()).to_owned());
        }
        let labels = Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
        let name = self.name(row.filled(PATH)?.trim());
        self.listing.push(&name, labels, Some(row.line()));
        Ok(())
    }

    /// Normalises a path so that each file has one spelling: without `./` and without the table's own folder.
    fn name(&mut self, path: &str) -> String {
        let path = foreign::unescape_cell(path);
        let slashed = path.replace('\\', "/");
        self.backslashes += usize::from(slashed != path);
        let path = Path::new(&slashed);
        let path = self.root.as_deref().and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts.collect::<PathBuf>().to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    fn read(text: &str) -> Result<Source> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        source(&path)
    }

    #[test]
    fn the_fixture_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
        let source = source(&folder.join("images.csv")).unwrap();
        assert_eq!((source.name.as_str(), source.has_classes), ("csv", false));
        let summary = |dataset: &dyn crate::data::Dataset| -> Vec<(bool, u32)> {
            (0..dataset.labels().len())
                .map(|index| {
                    dataset.open(index).unwrap();
                    (dataset.labels()[index].defect, dataset.labels()[index].stratum)
                })
                .collect()
        };
        // Strata are the ranks of classes in alphabetical order: crack, dark, plain.
        assert_eq!(summary(&*source.train), [(false, 2), (false, 1), (true, 0), (true, 1)]);
        assert_eq!(summary(&*source.validation), [(false, 2), (true, 0)]);
        assert!(source.train.location(0).ends_with("normal/1.png (images.csv row 2)"));
        assert_ne!(source.train.digest(), source.validation.digest());
    }

    #[test]
    fn without_a_split_the_fixed_one_is_used() {
        let rows: String = (0..40).map(|i| format!("{i}.png,{}\n", i % 2)).collect();
        let source = read(&format!("path,label\n{rows}")).unwrap();
        assert_eq!((source.train.labels().len(), source.validation.labels().len()), (30, 10));
        assert_eq!(source.validation.labels().iter().filter(|label| label.defect).count(), 5);
        assert!(source.limits.iter().any(|limit| limit == stratify::SPLIT_LIMIT));
    }

    #[rstest]
    #[case::label(
        "path,label\na,crack\n",
        "t.csv, row 2: column label: expected normal, normals, good, ok, negative, no_defect, non_defective, nondefective, \
         defect_free, 0, 0.0, false or defect, defects, defective, bad, ng, not_ok, nok, positive, abnormal, anomaly, \
         anomalies, anomalous, 1, 1.0, true, found 'crack'"
    )]
    #[case::split(
        "path,label,split\na,0,holdout\n",
        "t.csv, row 2: column split: expected train, validation, valid, val, dev, test, testing, found 'holdout'"
    )]
    #[case::no_split(
        "path,label,split\na,0,\n",
        "t.csv, row 2: column split: expected train, validation, valid, val, dev, test, testing, found ''"
    )]
    #[case::duplicate("path,label\na,0\nb,1\na,1\n", "t.csv: rows 2 and 4 name the same file, a")]
    #[case::duplicate_in_a_split(
        "path,label,split\na,0,val\nb,0,train\nc,1,val\nb,1,train\n",
        "t.csv: rows 3 and 5 name the same file, b"
    )]
    #[case::both_splits(
        "path,label,split\na,0,val\nb,0,train\nc,1,val\na,1,train\n",
        "t.csv: rows 2 and 5 name the same file, a"
    )]
    #[case::no_path("path,label\n,0\n", "t.csv, row 2: column path is empty")]
    #[case::one_sided("path,label,split\na,0,train\n", "t.csv: no validation images")]
    #[case::tests_alone("path,label,split\na,0,test\nb,1,test\nc,0,testing\n", "t.csv: no training images")]
    #[case::no_training("path,label,split\na,0,val\nb,1,test\nc,0,val\n", "t.csv: no training images")]
    #[case::spelt_twice(
        "path,label\na.png,0\nb.png,1\n./a.png,1\n",
        "t.csv: rows 2 and 4 name the same file, a.png"
    )]
    #[case::no_label(
        "path,kind\na,x\n",
        "t.csv: no column label (or label, labels, target, defect, is_defect, defective, anomaly, y, ground_truth); \
         found path, kind; rename one"
    )]
    fn bad_tables_are_refused(#[case] text: &str, #[case] expected: &str) {
        let error = format!("{:#}", read(text).err().unwrap());
        let from = error.find("t.csv").unwrap();
        assert_eq!(&error[from..], expected);
    }

    /// Different common forms of one table.
    #[rstest]
    #[case::pandas(",path,label\n0,a.png,0\n1,b.png,1\n")]
    #[case::further_columns("path,label,camera\na.png,normal,1\nb.png,defect,2\n")]
    #[case::header_in_capitals("Image_Path,Label\na.png,Normal\nb.png,Defect\n")]
    #[case::semicolons("filename;target\na.png;0.0\nb.png;1.0\n")]
    #[case::tabs("file\tdefect\r\na.png\tFalse\r\nb.png\tTrue\r\n")]
    #[case::good_and_bad("\u{feff}path,label\n./a.png,good\n.\\b.png,bad\n")]
    #[case::ok_and_ng("path,label\na.png,OK\nb.png,NG\n")]
    fn tables_of_the_field_are_understood(#[case] text: &str) {
        let rows = |text: &str| {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("t.csv");
            fs::write(&path, text).unwrap();
            let table = Annotations::read(&path).unwrap();
            let mut images = Images::below(folder.path());
            table.for_each(&table.read_header(&COLUMNS).unwrap(), |row| images.push(row)).unwrap();
            let names: Vec<String> = images.listing.names().map(str::to_owned).collect();
            (names, images.listing.labels().iter().map(|labels| labels.defect).collect::<Vec<_>>())
        };
        let expected = (vec!["a.png".to_owned(), "b.png".to_owned()], vec![false, true]);
        assert_eq!(rows(text), expected);
    }

    #[test]
    fn what_was_kept_from_spreadsheets_is_read_as_it_was() {
        let names = ["=1+1.png", "'=2.png", "-3.png", "'4.png"];
        let rows = names.map(|name| {
            format!("{},0,{},{}\n", foreign::escape_cell(name), foreign::escape_cell("@a"), name)
        });
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, format!("path,label,class,group\n{}", rows.concat())).unwrap();
        let table = Annotations::read(&path).unwrap();
        let mut images = Images::below(folder.path());
        table.for_each(&table.read_header(&COLUMNS).unwrap(), |row| images.push(row)).unwrap();
        assert_eq!(images.listing.names().collect::<Vec<_>>(), names);
        assert!(images.classes.iter().all(|class| class == "@a"), "{:?}", images.classes);
        assert_eq!(images.groups, ["=1+1.png", "=2.png", "-3.png", "'4.png"]);
    }

    #[test]
    fn utf_16_is_read() {
        let text = "path,label\n\u{f6}.png,0\n";
        for (mark, bytes) in
            [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)]
        {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("t.csv");
            fs::write(
                &path,
                mark.into_iter().chain(text.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>(),
            )
            .unwrap();
            let table = Annotations::read(&path).unwrap();
            let mut images = Images::below(folder.path());
            table.for_each(&table.read_header(&COLUMNS).unwrap(), |row| images.push(row)).unwrap();
            assert_eq!(images.listing.name(0), "\u{f6}.png");
        }
    }

    #[test]
    fn what_was_understood_is_said() {
        let rows: String = (0..8).map(|i| format!("{i};{}.png;{};x\n", i, i % 2)).collect();
        let source = read(&format!("Unnamed: 0;File;label;camera\n{rows}")).unwrap();
        assert_eq!(
            source.interpretation,
            ["column File read as path", "columns not used: camera", "fields separated by semicolons"]
        );
        let split = "path,label,split\na,0,train\nb,1,train\nc,0,val\nd,1,val\ne,0,test\n";
        let source = read(split).unwrap();
        assert_eq!((source.train.labels().len(), source.validation.labels().len()), (2, 2));
        assert_eq!(
            source.interpretation,
            ["1 row of a test split is not used, because there is a validation split"]
        );
        let tested = read("path,label,split\na,0,train\nb,1,train\nc,0,test\nd,1,test\n").unwrap();
        assert_eq!(tested.validation.labels().len(), 2);
    }

    /// A table for prediction needs only paths: its other columns are ignored, whatever they contain.
    #[test]
    fn a_table_without_labels_names_its_images_in_order() {
        use crate::data::Dataset;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            unlabelled(&path)
        };
        let files = read("label,Image_Path\ncrack,b.png\n,./sub\\a.png\n").unwrap();
        assert_eq!((0..2).map(|index| files.name(index)).collect::<Vec<_>>(), ["b.png", "sub/a.png"]);
        assert!(files.location(1).ends_with("sub/a.png (t.csv row 3)"), "{}", files.location(1));
        assert!(files.labels().iter().all(|labels| !labels.defect));
        for (text, expected) in [
            ("path\na\nb\n./a\n", "t.csv: rows 2 and 4 name the same file, a"),
            ("label\n1\n", "no column path"),
            ("path,label\n,1\n", "row 2: column path is empty"),
        ] {
            let error = format!("{:#}", read(text).map(drop).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn classes_and_groups_are_those_of_their_rows() {
        use crate::data::Dataset;
        let text = "path,label,class,split,group\na,0,,train,p2\nb,1,crack,train,p1\nc,0,plain,val,p3\nd,1,hole,val,p4\n";
        let source = read(text).unwrap();
        let of = |dataset: &dyn Dataset| {
            let one = |index| {
                (
                    dataset.name(index),
                    dataset.class_name(index).map(str::to_owned),
                    dataset.group(index).map(str::to_owned),
                )
            };
            (0..dataset.labels().len()).map(one).collect::<Vec<_>>()
        };
        let row = |name: &str, kind: Option<&str>, group: &str| {
            (name.to_owned(), kind.map(str::to_owned), Some(group.to_owned()))
        };
        assert_eq!(of(&*source.train), [row("a", None, "p2"), row("b", Some("crack"), "p1")]);
        assert_eq!(of(&*source.validation), [row("c", Some("plain"), "p3"), row("d", Some("hole"), "p4")]);
    }

    #[test]
    fn names_of_columns_are_the_usual_ones() {
        let known = COLUMNS.map(|column| (column.name, column.known.len(), column.required));
        assert_eq!(
            known,
            [
                ("path", 12, true),
                ("label", 9, true),
                ("class", 6, false),
                ("split", 5, false),
                ("group", 14, false)
            ]
        );
        let place = |name: &str| COLUMNS.iter().position(|column| column.name == name);
        assert_eq!(
            [PATH, LABEL, CLASS, SPLIT, GROUP].map(Some),
            ["path", "label", "class", "split", "group"].map(place)
        );
        assert!(COLUMNS.iter().all(|column| column.known[0] == column.name));
        let mut all: Vec<&str> = COLUMNS.iter().flat_map(|column| column.known).copied().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "no name has two meanings");
    }

    #[test]
    fn rows_of_a_test_split_are_left_out_by_name() {
        let text = "path,label,split\na,0,train\nb,1,Training\nc,0,test\nd,1,dev\ne,0,Testing\n";
        let source = read(text).unwrap();
        let names = |dataset: &dyn crate::data::Dataset| {
            (0..dataset.labels().len()).map(|index| dataset.name(index)).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&*source.train), names(&*source.validation)),
            (vec!["a".to_owned(), "b".to_owned()], vec!["d".to_owned()])
        );
        let why = "of a test split; there is a validation split";
        assert_eq!(source.left_out, [["c", why], ["e", why]].map(|pair| pair.map(str::to_owned)));
        assert_eq!(
            source.interpretation,
            ["2 rows of a test split are not used, because there is a validation split"]
        );
        assert_eq!(source.limits, ["labels without defect classes: F2_CIW is not defined"]);
        assert!(
            source.train.location(1).ends_with("b (t.csv row 3)")
                && source.validation.location(0).ends_with("d (t.csv row 5)")
        );
        let tests = read("path,label,split\na,0,train\nb,1,test\n").unwrap();
        assert!(
            tests.left_out.is_empty() && tests.interpretation.is_empty(),
            "there is nothing else to score on"
        );
    }

    #[test]
    fn a_path_has_one_spelling() {
        let folder = TempDir::new().unwrap();
        let inside = folder.path().canonicalize().unwrap().join("x/y.png").display().to_string();
        let mut images = Images::below(folder.path());
        for (path, expected) in [
            ("a.png", "a.png"),
            ("./a/./b.png", "a/b.png"),
            ("a\\b.png", "a/b.png"),
            (inside.as_str(), "x/y.png"),
            ("/elsewhere/c.png", "/elsewhere/c.png"),
            ("../d.png", "../d.png"),
            ("'=e.png", "=e.png"),
        ] {
            assert_eq!(images.name(path), expected);
        }
        assert_eq!(images.backslashes, 1);
        assert_eq!(
            ["t.csv", "a/t.csv", "/t.csv"].map(|path| folder_of(Path::new(path))),
            [".", "a", "/"].map(PathBuf::from)
        );
        let told = read("path,label,split\na\\b.png,0,train\nc.png,1,train\nd\\e.png,1,val\n")
            .unwrap()
            .interpretation;
        assert_eq!(told, ["backslashes read as slashes in 2 paths"]);
    }

    #[test]
    fn groups_of_a_table_must_be_filled_in() {
        let complaint = |text| format!("{:#}", read(text).err().unwrap());
        let error = complaint("path,label,split,pipe\na,0,train,p1\nb,1,val,\n");
        assert!(error.ends_with("t.csv, row 3: column group is empty"), "{error}");
        let whole: String = (0..12).map(|i| format!("{i}.png,{},p{}\n", i % 2, i / 2)).collect();
        let source = read(&format!("path,label,video\n{whole}")).unwrap();
        assert_eq!(source.interpretation, ["column video read as group"]);
        let side = |dataset: &dyn crate::data::Dataset| {
            (0..dataset.labels().len())
                .map(|index| dataset.group(index).unwrap().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert!(side(&*source.train).is_disjoint(&side(&*source.validation)));
        assert_eq!(source.limits.last().unwrap(), stratify::GROUPED_LIMIT);
    }

    #[test]
    fn spaces_around_names_and_values_do_not_count() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        let text = " path , label ,class,Group \n a.png , good ,crack, p1 \nb.png,NG,hole,p1\n";
        fs::write(&path, text).unwrap();
        let table = Annotations::read(&path).unwrap();
        let form = table.read_header(&COLUMNS).unwrap();
        assert_eq!(form.messages, ["column Group read as group"]);
        let mut images = Images::below(folder.path());
        table.for_each(&form, |row| images.push(row)).unwrap();
        assert_eq!(images.listing.names().collect::<Vec<_>>(), ["a.png", "b.png"]);
        assert_eq!(
            images.listing.labels().iter().map(|label| label.defect).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(
            (images.groups, images.classes),
            (vec!["p1".to_owned(); 2], ["crack", "hole"].map(str::to_owned).into())
        );
        let files = unlabelled(&path).unwrap();
        assert_eq!([0, 1].map(|index| files.name(index)), ["a.png", "b.png"]);
    }
}
