//! Sewer-ML: annotation tables of the published form, frames in one folder or several.
//!
//! An image is a defect where `Defect` is 1, which must say the same as any of the 17 class columns.
//! `ND` (no annotation nearby), `VA` (a water-level event) and `WaterLevel` take no part: a frame with
//! `VA` = 1, `ND` = 0 and no class is normal.
//!
//! Source: Haurum and Moeslund, "Sewer-ML", CVPR 2021, section 3.2 and Table 1; column names as in the
//! published files. Archives have to be extracted first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::data::{
    ClassSet, DefectClass, Labels, Source,
    annotations::Annotations,
    files::{Files, Listing, ensure_apart},
};

/// Name of this source in records and reports.
pub const NAME: &str = "sewer-ml";
/// Annotation table of the training split, as published.
pub const TRAIN: &str = "SewerML_Train.csv";
/// Annotation table of the validation split, as published.
pub const VALIDATION: &str = "SewerML_Val.csv";
/// File names of the test split, whose labels are not published.
pub const TEST: &str = "SewerML_Test.csv";

/// The data in a folder as people keep it: both tables, and frames in `images/`, beside the tables, or in
/// folders called `train*` and `valid*` (searched in this order).
///
/// # Errors
/// As [`source`].
pub fn open(folder: &Path) -> Result<Source> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if (name.starts_with("train") || name.starts_with("valid")) && path.is_dir() {
            parts.push(path);
        }
    }
    parts.sort();
    let mut roots = vec![folder.join("images"), folder.to_owned()];
    roots.retain(|root| root.is_dir());
    roots.extend(parts);
    source(folder, &roots)
}

/// The training and validation split, with tables in the folder `annotations` and frames in
/// `image_roots` (searched in order). Frames are not looked for until they are opened.
///
/// # Errors
/// If a table or folder is missing, a header or value is not as published, `Defect` contradicts the
/// classes, or a file name is repeated within or between the tables.
pub fn source(annotations: &Path, image_roots: &[PathBuf]) -> Result<Source> {
    let (train, train_table) = read(&annotations.join(TRAIN))?;
    let (validation, validation_table) = read(&annotations.join(VALIDATION))?;
    ensure_apart(&train, &validation)
        .with_context(|| format!("{TRAIN} and {VALIDATION} in {}", annotations.display()))?;
    let files = |listing, table: &Annotations| {
        Files::new(listing, image_roots, Some(table.path()), table.digest()).map(Box::new)
    };
    Ok(Source {
        name: NAME.to_owned(),
        train: files(train, &train_table)?,
        validation: files(validation, &validation_table)?,
        understood: Vec::new(),
        left_out: Vec::new(),
        leaks: Vec::new(),
        has_classes: true,
        limits: [
            "labels of the test split are withheld: scores are on the validation split",
            "'defect' includes planned construction (branch pipes, connections), as in the annotations",
            "consecutive frames come from one video: there is less evidence than the image count suggests",
            "licence CC BY-NC-SA 4.0: non-commercial use only",
        ]
        .map(str::to_owned)
        .to_vec(),
    })
}

/// File names of a table without labels (`SewerML_Test.csv`, whose only column is `Filename`), in order:
/// something to predict on, and nothing to score with.
///
/// # Errors
/// If the file is missing or empty, has other columns, or repeats a name.
pub fn read_filenames(path: &Path) -> Result<Vec<String>> {
    let table = Annotations::read(path)?;
    let unlabelled = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
    let mut listing = Listing::default();
    table.for_each_row(&COLUMNS[FILENAME..=FILENAME], &[], |row| {
        listing.push(row.filled(0)?, unlabelled, Some(row.line()));
        Ok(())
    })?;
    listing.ensure_distinct().with_context(|| path.display().to_string())?;
    Ok(listing.names().map(str::to_owned).collect())
}

/// Columns of the training and validation table, in the order of the published files.
#[rustfmt::skip]
const COLUMNS: [&str; 22] = [
    "Filename", "WaterLevel", "VA",
    "RB", "OB", "PF", "DE", "FS", "IS", "RO", "IN", "AF", "BE", "FO", "GR", "PH", "PB", "OS", "OP", "OK",
    "ND", "Defect",
];
const FILENAME: usize = 0;
const FIRST_CLASS: usize = 3;
const DEFECT: usize = 21;

fn read(path: &Path) -> Result<(Listing, Annotations)> {
    let table = Annotations::read(path)?;
    let mut listing = Listing::default();
    table.for_each_row(&COLUMNS, &[], |row| {
        let mut classes = ClassSet::EMPTY;
        for class in DefectClass::ALL {
            if row.flag(FIRST_CLASS + class as usize)? {
                classes = classes.with(class);
            }
        }
        let defect = row.flag(DEFECT)?;
        if defect == classes.is_empty() {
            let codes: Vec<_> = classes.iter().map(DefectClass::code).collect();
            bail!(
                "expected Defect = {} (any of the 17 classes; set here: {}), found Defect = {}",
                u8::from(!classes.is_empty()),
                if codes.is_empty() { "none".to_owned() } else { codes.join(", ") },
                u8::from(defect)
            );
        }
        let labels = Labels { defect, classes, stratum: classes.bits() };
        listing.push(row.filled(FILENAME)?, labels, Some(row.line()));
        Ok(())
    })?;
    listing.ensure_distinct().with_context(|| path.display().to_string())?;
    Ok((listing, table))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sewer_ml")
    }

    /// A row of the published form.
    fn row(name: &str, codes: &[DefectClass], defect: u8) -> String {
        let set = ClassSet::from_iter(codes.iter().copied());
        let flags = DefectClass::ALL.map(|class| u8::from(set.contains(class)).to_string()).join(",");
        format!("{name},10,0,{flags},{},{defect}\n", 1 - defect)
    }

    fn table(rows: &[String]) -> String {
        format!("{}\n{}", COLUMNS.join(","), rows.concat())
    }

    /// The complaint about a training table, beside a sound validation table and an image folder.
    fn complaint(train: &str) -> String {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(TRAIN), train).unwrap();
        fs::write(folder.path().join(VALIDATION), table(&[row("9.png", &[], 0)])).unwrap();
        let error = open(folder.path()).err().map_or("none".to_owned(), |error| format!("{error:#}"));
        let folder = folder.path().display().to_string();
        error.replace(&format!("{folder}/"), "").replace(&folder, "DIR")
    }

    #[test]
    fn the_columns_are_the_published_classes() {
        assert_eq!(COLUMNS[FIRST_CLASS..FIRST_CLASS + 17], DefectClass::ALL.map(DefectClass::code));
        assert_eq!((COLUMNS[FILENAME], COLUMNS[DEFECT]), ("Filename", "Defect"));
    }

    #[test]
    fn the_fixture_is_read_whole() {
        let source = open(&fixture()).unwrap();
        assert_eq!((source.name.as_str(), source.has_classes), ("sewer-ml", true));
        for dataset in [&source.train, &source.validation] {
            for index in 0..dataset.labels().len() {
                let image = dataset.open(index).unwrap();
                assert_eq!((image.width, image.height), (32, 24));
                let head = dataset.head(index).unwrap();
                assert_eq!((head.width, head.height), (32, 24));
            }
        }
        let defects = |labels: &[Labels]| labels.iter().filter(|label| label.defect).count();
        assert_eq!((source.train.labels().len(), defects(source.train.labels())), (28, 9));
        assert_eq!((source.validation.labels().len(), defects(source.validation.labels())), (12, 5));

        // The first training row is VA = 1, ND = 0 without a class: normal, though something is annotated.
        let text = fs::read_to_string(fixture().join(TRAIN)).unwrap();
        assert_eq!(text.lines().nth(1), Some("00000001.png,10,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"));
        assert_eq!(source.train.labels()[0], Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 });
        assert!(source.train.place(0).ends_with("images/00000001.png (SewerML_Train.csv row 2)"));
        // Half of the validation frames lie in a root of their own.
        assert!(source.validation.place(11).contains("/valid00/"), "{}", source.validation.place(11));
    }

    #[test]
    fn the_digest_is_that_of_the_table() {
        let source = open(&fixture()).unwrap();
        let bytes = fs::read(fixture().join(TRAIN)).unwrap();
        assert_eq!(source.train.digest(), blake3::hash(&bytes).to_hex().to_string());
        assert_ne!(source.train.digest(), source.validation.digest());
    }

    #[test]
    fn classes_are_kept() {
        let folder = TempDir::new().unwrap();
        let codes = [DefectClass::RB, DefectClass::OK];
        let rows = [row("1.png", &codes, 1), row("2.png", &[], 0)];
        fs::write(folder.path().join(TRAIN), format!("\u{feff}{}", table(&rows))).unwrap();
        let (listing, _) = read(&folder.path().join(TRAIN)).unwrap();
        let expected = ClassSet::from_iter(codes);
        let defect = Labels { defect: true, classes: expected, stratum: expected.bits() };
        assert_eq!(listing.labels()[0], defect);
        assert_eq!(listing.names().collect::<Vec<_>>(), ["1.png", "2.png"]);
    }

    #[rstest]
    #[case::contradiction(
        table(&[row("1.png", &[], 0), row("2.png", &[DefectClass::RB, DefectClass::OK], 0)]),
        "SewerML_Train.csv, row 3: expected Defect = 1 (any of the 17 classes; set here: RB, OK), found Defect = 0"
    )]
    #[case::contradiction_the_other_way(
        table(&[row("1.png", &[], 1)]),
        "SewerML_Train.csv, row 2: expected Defect = 0 (any of the 17 classes; set here: none), found Defect = 1"
    )]
    #[case::missing_column(
        table(&[row("1.png", &[], 0)]).replacen(",RB,", ",", 1),
        &format!(
            "SewerML_Train.csv: unexpected header: missing columns: RB; unexpected columns: none; expected exactly {}",
            COLUMNS.join(",")
        )
    )]
    #[case::extra_column(
        table(&[row("1.png", &[], 0)]).replacen(",RB,", ",RB,rb,", 1),
        &format!(
            "SewerML_Train.csv: unexpected header: missing columns: none; unexpected columns: rb; expected exactly {}",
            COLUMNS.join(",")
        )
    )]
    #[case::value_2(
        table(&[row("1.png", &[], 0).replacen(",0,0,", ",0,2,", 1)]),
        "SewerML_Train.csv, row 2: column RB: expected 0 or 1, found '2'"
    )]
    #[case::duplicate(
        table(&[row("1.png", &[], 0), row("2.png", &[], 0), row("1.png", &[], 0)]),
        "SewerML_Train.csv: rows 2 and 4 name the same file, 1.png"
    )]
    #[case::leak(
        table(&[row("1.png", &[], 0), row("9.png", &[], 0)]),
        "SewerML_Train.csv and SewerML_Val.csv in DIR: 9.png (training row 3) is both a training and a validation image"
    )]
    #[case::no_rows(table(&[]), "SewerML_Train.csv: no rows below the header")]
    #[case::empty("", "SewerML_Train.csv: the file has 0 bytes, expected a header and rows")]
    #[case::sound(table(&[row("1.png", &[], 0)]), "none")]
    fn bad_tables_are_refused(#[case] train: impl AsRef<str>, #[case] expected: &str) {
        assert_eq!(complaint(train.as_ref()), expected);
    }

    #[test]
    fn missing_folders_and_tables_are_named() {
        let error = open(Path::new("/nowhere")).err().unwrap().to_string();
        assert_eq!(error, "cannot list /nowhere");
        let folder = TempDir::new().unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(error.ends_with(TRAIN) && error.starts_with("cannot read annotations"), "{error}");
        let error = source(&fixture(), &["/nowhere".into()]).err().unwrap().to_string();
        assert_eq!(error, "/nowhere: no such image folder");
    }

    #[test]
    fn a_missing_frame_is_an_error_when_opened() {
        let source = source(&fixture(), &[fixture()]).unwrap();
        let error = source.train.open(0).unwrap_err().to_string();
        assert!(error.starts_with("00000001.png (SewerML_Train.csv row 2): no such file in"), "{error}");
    }

    #[test]
    fn the_test_table_is_a_list_of_names() {
        assert_eq!(read_filenames(&fixture().join(TEST)).unwrap(), ["00000041.png", "00000042.png"]);
        let error = format!("{:#}", read_filenames(&fixture().join(TRAIN)).unwrap_err());
        assert!(error.contains("unexpected columns: WaterLevel, VA, RB"), "{error}");
    }
}
