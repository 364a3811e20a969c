//! Sewer-ML: annotation tables in the published format, frames in one or several folders.
//!
//! An image is a defect if `Defect` is 1, which must agree with whether any of the 17 class columns is set. `ND` (no
//! annotation nearby), `VA` (a water-level event) and `WaterLevel` are ignored: a frame with `VA` = 1, `ND` = 0 and
//! no class is normal.
//!
//! Source: Haurum and Moeslund, "Sewer-ML", CVPR 2021, section 3.2 and Table 1; column names as in the published
//! files. For supported locations of tables and frames see [`open`].

mod find;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::data::{
    ClassSet, DefectClass, Labels, Source,
    annotations::Annotations,
    files::{Files, Locations},
    listing::Listing,
    names::ensure_apart,
};

/// Name of this source in records and reports.
pub const NAME: &str = "sewer-ml";
/// Annotation table of the training split, as published.
pub const TRAIN: &str = "SewerML_Train.csv";
/// Annotation table of the validation split, as published.
pub const VALIDATION: &str = "SewerML_Val.csv";
/// File names of the test split, whose labels are not published.
pub const TEST: &str = "SewerML_Test.csv";

/// Opens the data in a folder, in any common arrangement.
///
/// Both tables are in the folder or in a subfolder (`annotations/`), with any spelling of their names. Frames are in
/// the folder, in `images/`, in folders named after a split (`train/`, `Val/`) or an archive (`train00/`), up to
/// three levels deep; frames found in none of these are read from zip archives there. A frame in two places is read
/// from the first: folders before archives, outer before inner, in order of names.
///
/// # Errors
/// Those of [`source`], or if frames are in too many folders, or a required archive cannot be read.
pub fn open(folder: &Path) -> Result<Source> {
    let [train_path, validation_path] = find::tables(folder)?;
    let tables = Tables::read(&train_path, &validation_path)?;
    let frames = find::frames(folder, [&tables.train.0, &tables.validation.0])?;
    let below = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let mut understood = vec![format!("tables: {} and {}", below(&train_path), below(&validation_path))];
    understood.extend(frames.understood);
    Ok(Source { interpretation: understood, ..tables.source(&frames.roots, frames.found.map(Some))? })
}

/// Opens the training and validation split, with tables in the folder `annotations` and frames in `image_roots`
/// (searched in order). Frames are looked for only when they are opened.
///
/// # Errors
/// If a table or folder is missing, a header or value differs from the published format, `Defect` contradicts the
/// classes, or a file name is repeated within or between the tables.
pub fn source(annotations: &Path, image_roots: &[PathBuf]) -> Result<Source> {
    Tables::read(&annotations.join(TRAIN), &annotations.join(VALIDATION))?.source(image_roots, [None, None])
}

/// Both tables.
struct Tables {
    train: (Listing, Annotations),
    validation: (Listing, Annotations),
}

impl Tables {
    fn read(train: &Path, validation: &Path) -> Result<Self> {
        let tables = Self { train: read(train)?, validation: read(validation)? };
        ensure_apart(&tables.train.0, &tables.validation.0)
            .with_context(|| format!("{} and {}", train.display(), validation.display()))?;
        Ok(tables)
    }

    /// Builds the source; `found` holds the locations of frames, if they were looked for.
    fn source(self, roots: &[PathBuf], found: [Option<Locations>; 2]) -> Result<Source> {
        let files = |(listing, table): (Listing, Annotations), found: Option<Locations>| {
            let files = Files::new(listing, roots, Some(table.path()), table.digest())?;
            Ok::<_, anyhow::Error>(Box::new(match found {
                Some(found) => files.with_locations(found)?,
                None => files,
            }))
        };
        let [train_found, validation_found] = found;
        Ok(Source {
            name: NAME.to_owned(),
            train: files(self.train, train_found)?,
            validation: files(self.validation, validation_found)?,
            interpretation: Vec::new(),
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
}

/// Reads the file names of a table without labels (`SewerML_Test.csv`, whose only column is `Filename`), in order,
/// for prediction without scoring.
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
    use std::{collections::BTreeMap, fs, io::Write as _};

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;
    use crate::data::Dataset as _;

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sewer_ml")
    }

    /// A row in the published format.
    fn row(name: &str, codes: &[DefectClass], defect: u8) -> String {
        let set = ClassSet::from_iter(codes.iter().copied());
        let flags = DefectClass::ALL.map(|class| u8::from(set.contains(class)).to_string()).join(",");
        format!("{name},10,0,{flags},{},{defect}\n", 1 - defect)
    }

    fn table(rows: &[String]) -> String {
        format!("{}\n{}", COLUMNS.join(","), rows.concat())
    }

    /// Error for a training table, beside a valid validation table and an image folder.
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
                let head = dataset.header(index).unwrap();
                assert_eq!((head.width, head.height), (32, 24));
            }
        }
        let defects = |labels: &[Labels]| labels.iter().filter(|label| label.defect).count();
        assert_eq!((source.train.labels().len(), defects(source.train.labels())), (28, 9));
        assert_eq!((source.validation.labels().len(), defects(source.validation.labels())), (12, 5));

        // The first training row has VA = 1, ND = 0 and no class: normal, although something is annotated.
        let text = fs::read_to_string(fixture().join(TRAIN)).unwrap();
        assert_eq!(text.lines().nth(1), Some("00000001.png,10,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"));
        assert_eq!(source.train.labels()[0], Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 });
        assert!(source.train.location(0).ends_with("images/00000001.png (SewerML_Train.csv row 2)"));
        // Half of the validation frames are in another root.
        assert!(source.validation.location(11).contains("/valid00/"), "{}", source.validation.location(11));
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
        "SewerML_Train.csv and SewerML_Val.csv: 9.png (training row 3) is both a training and a validation image"
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
        fs::write(folder.path().join(VALIDATION), table(&[row("9.png", &[], 0)])).unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(
            error.contains(": expected SewerML_Train.csv in it or in a folder such as annotations/"),
            "{error}"
        );
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

    /// Copies the fixture's files to the paths that `place` returns; paths inside an archive (`a.zip/b`) are zipped.
    fn laid_out(place: impl Fn(&str) -> String) -> TempDir {
        let folder = TempDir::new().unwrap();
        let mut archives: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
        for within in ["", "images", "valid00"] {
            for entry in fs::read_dir(fixture().join(within)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if !path.is_file() || name.ends_with(".md") {
                    continue;
                }
                let place = place(&name);
                if let Some((archive, inside)) = place.split_once(".zip/") {
                    archives.entry(archive.to_owned()).or_default().push((inside.to_owned(), path));
                    continue;
                }
                let target = folder.path().join(place);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(path, target).unwrap();
            }
        }
        for (archive, files) in archives {
            let path = folder.path().join(format!("{archive}.zip"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
            let stored = zip::write::SimpleFileOptions::default();
            for (name, file) in files {
                let stored = stored.compression_method(zip::CompressionMethod::Stored);
                zip.start_file(name, stored).unwrap();
                zip.write_all(&fs::read(file).unwrap()).unwrap();
            }
            zip.finish().unwrap();
        }
        folder
    }

    /// Whether a name belongs to a training frame of the fixture: the first 28.
    fn is_train(name: &str) -> bool {
        name.split('.').next().unwrap().parse::<u32>().is_ok_and(|number| number <= 28)
    }

    /// Folder of a frame, with names of splits, each split divided in two.
    fn part(name: &str, train: &str, validation: &str) -> String {
        let half = u8::from(name.as_bytes()[7].is_multiple_of(2));
        format!("{}{half:02}", if is_train(name) { train } else { validation })
    }

    /// Checks that every image and the identity of the data equal those of the fixture.
    fn is_the_fixture(source: &Source) {
        let expected = open(&fixture()).unwrap();
        let splits = [(&source.train, &expected.train), (&source.validation, &expected.validation)];
        for (found, expected) in splits {
            assert_eq!(found.digest(), expected.digest());
            let all: Vec<usize> = (0..expected.labels().len()).collect();
            for &index in &all {
                assert_eq!(
                    found.open(index).unwrap(),
                    expected.open(index).unwrap(),
                    "{}",
                    found.location(index)
                );
                assert_eq!(found.header(index).unwrap(), expected.header(index).unwrap());
            }
            let [found, expected] = [found, expected].map(|dataset| dataset.files().unwrap());
            assert_eq!(
                found.read_contents(&all),
                expected.read_contents(&all),
                "bytes are the same wherever they lie"
            );
        }
    }

    #[rstest]
    #[case::flat(|name: &str| name.to_owned(), "in 1 folder (the folder itself)")]
    #[case::authors(
        |name: &str| if name.ends_with("csv") { format!("annotations/{name}") } else { format!("images/{name}") },
        "in 1 folder (images)"
    )]
    #[case::small_letters(
        |name: &str| match name {
            TRAIN => "Annotations/sewerml_train.csv".to_owned(),
            VALIDATION => "Annotations/SewerML_Valid.CSV".to_owned(),
            name => format!("{}/{name}", if is_train(name) { "Train" } else { "Val" }),
        },
        "in 2 folders (Train ... Val)"
    )]
    #[case::archives(
        |name: &str| if name.ends_with("csv") { name.to_owned() } else { format!("{}/{name}", part(name, "train", "valid")) },
        "in 4 folders (train00 ... valid01)"
    )]
    #[case::as_an_unzipper_leaves_them(
        |name: &str| {
            let part = part(name, "train", "valid");
            if name.ends_with("csv") { name.to_owned() } else { format!("{part}/{part}/{name}") }
        },
        "in 4 folders (train00/train00 ... valid01/valid01)"
    )]
    #[case::deep(
        |name: &str| if name.ends_with("csv") {
            format!("labels/{name}")
        } else {
            format!("Images/{}/{name}", part(name, "train/TRAIN", "val/valid"))
        },
        "in 4 folders (Images/train/TRAIN00 ... Images/val/valid01)"
    )]
    #[case::beside_a_folder(
        |name: &str| if name.ends_with("csv") || is_train(name) { name.to_owned() } else { format!("val/{name}") },
        "in 2 folders (the folder itself ... val)"
    )]
    #[case::zips(
        |name: &str| if name.ends_with("csv") { name.to_owned() } else { format!("{}.zip/{name}", part(name, "train", "valid")) },
        "in 4 archives (train00.zip ... valid01.zip)"
    )]
    #[case::some_extracted(
        |name: &str| match part(name, "train", "valid") {
            _ if name.ends_with("csv") => format!("annotations/{name}"),
            part if is_train(name) => format!("{part}/{name}"),
            part => format!("zips/{part}.zip/{part}/{name}"),
        },
        "in 2 folders (train00 ... train01) and 2 archives (zips/valid00.zip ... zips/valid01.zip)"
    )]
    fn frames_are_found_wherever_people_keep_them(
        #[case] place: impl Fn(&str) -> String,
        #[case] expected: &str,
    ) {
        let folder = laid_out(place);
        let source = open(folder.path()).unwrap();
        let [tables, frames, ..] = &source.interpretation[..] else { panic!("{:?}", source.interpretation) };
        assert!(tables.starts_with("tables: "), "{tables}");
        let all = "frames: all 28 of the training table and all 12 of the validation table, ";
        assert_eq!(*frames, format!("{all}{expected}"));
        is_the_fixture(&source);
    }

    #[test]
    fn frames_that_are_missing_are_counted_and_looked_for_again() {
        let folder =
            laid_out(|name| format!("{}{name}", if name == "00000003.png" { "elsewhere/" } else { "" }));
        let source = open(folder.path()).unwrap();
        assert!(
            source.interpretation[1].starts_with("frames: 27 of 28 of the training table"),
            "{:?}",
            source.interpretation
        );
        let row = (0..28).find(|&index| source.train.location(index).starts_with("00000003.png")).unwrap();
        assert!(source.train.open(row).is_err());
        fs::rename(folder.path().join("elsewhere/00000003.png"), folder.path().join("00000003.png")).unwrap();
        assert!(source.train.open(row).is_ok(), "put back since");
    }

    #[test]
    fn frames_are_looked_for_three_folders_deep() {
        let below = |folders: &str| {
            let folder = laid_out(|name| match name.ends_with("csv") {
                true => name.to_owned(),
                false => format!("{folders}/{name}"),
            });
            open(folder.path()).unwrap().interpretation[1].clone()
        };
        let deep = below("images/train/train00");
        assert!(deep.starts_with("frames: all 28 of the training table"), "{deep}");
        for too_deep in [below("images/train/train00/png"), below("other")] {
            let none =
                "frames: 0 of 28 of the training table and 0 of 12 of the validation table, in no folder";
            assert_eq!(too_deep, none);
        }
    }

    #[test]
    fn a_frame_in_two_places_is_read_where_it_was_extracted() {
        let folder = laid_out(|name| match name.ends_with("csv") {
            true => name.to_owned(),
            false => format!("all.zip/{name}"),
        });
        fs::create_dir(folder.path().join("train")).unwrap();
        for name in ["00000001.png", "00000002.png"] {
            fs::copy(fixture().join("images").join(name), folder.path().join("train").join(name)).unwrap();
        }
        let source = open(folder.path()).unwrap();
        assert!(
            source.interpretation[1].ends_with(", in 1 folder (train) and 1 archive (all.zip)"),
            "{:?}",
            source.interpretation
        );
        assert!(source.train.location(0).contains("train/00000001.png"), "{}", source.train.location(0));
        assert!(source.train.location(5).contains("all.zip/"), "{}", source.train.location(5));
        // A subset keeps the locations of its files.
        let files = source.train.files().unwrap();
        let few = files.select(&[5, 0]).unwrap();
        assert_eq!(few.open(0).unwrap(), source.train.open(5).unwrap());
        assert_eq!(few.location(1), source.train.location(0));
    }

    #[test]
    fn torn_archives_and_too_many_folders_are_named() {
        let folder = laid_out(|name| match name {
            TRAIN | VALIDATION => name.to_owned(),
            name if is_train(name) => format!("train/{name}"),
            name => format!("elsewhere/{name}"),
        });
        fs::write(folder.path().join("train00.zip"), "half of it").unwrap();
        let error = format!("{:#}", open(folder.path()).err().unwrap());
        assert!(error.contains("train00.zip: cannot be read as a zip archive; download it again"), "{error}");

        let folder = TempDir::new().unwrap();
        let name = |number: usize| format!("{number:08}.png");
        let rows: Vec<String> = (0..255).map(|number| row(&name(number), &[], 0)).collect();
        fs::write(folder.path().join(TRAIN), table(&rows)).unwrap();
        fs::write(folder.path().join(VALIDATION), table(&[row("9.png", &[], 0)])).unwrap();
        for number in 0..255 {
            let part = folder.path().join(format!("train{number:03}"));
            fs::create_dir(&part).unwrap();
            fs::write(part.join(name(number)), "").unwrap();
        }
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(
            error.ends_with(": expected at most 254 folders of frames, found more; move frames together"),
            "{error}"
        );
    }

    #[test]
    fn all_that_is_said_of_the_data() {
        let zipped = laid_out(|name| match name.ends_with("csv") {
            true => format!("annotations/{name}"),
            false => format!("{}.zip/{name}", part(name, "train", "valid")),
        });
        let source = open(zipped.path()).unwrap();
        assert_eq!(
            source.interpretation,
            [
                "tables: annotations/SewerML_Train.csv and annotations/SewerML_Val.csv",
                "frames: all 28 of the training table and all 12 of the validation table, in 4 archives (train00.zip ... valid01.zip)",
                "archives are read as they are: nothing is extracted",
            ]
        );
        assert_eq!(
            source.limits,
            [
                "labels of the test split are withheld: scores are on the validation split",
                "'defect' includes planned construction (branch pipes, connections), as in the annotations",
                "consecutive frames come from one video: there is less evidence than the image count suggests",
                "licence CC BY-NC-SA 4.0: non-commercial use only",
            ]
        );
        assert!(source.left_out.is_empty() && source.leaks.is_empty());
        let none =
            laid_out(|name| if name.ends_with("csv") { name.to_owned() } else { format!("other/{name}") });
        let source = open(none.path()).unwrap();
        assert_eq!(
            source.interpretation[1..],
            [
                "frames: 0 of 28 of the training table and 0 of 12 of the validation table, in no folder",
                "looked for frames in the folder itself, in archives, and 3 deep in folders called train..., val..., test..., \
                 image..., img..., frame..., png..., archive..., zip..., sewer...",
            ]
        );
    }

    /// Archives of the test split are listed only if frames are still missing.
    #[test]
    fn archives_of_the_test_split_come_last() {
        let folder = laid_out(|name| match name {
            TRAIN | VALIDATION => name.to_owned(),
            name if is_train(name) => format!("b.zip/{name}"),
            name => format!("zz.zip/{name}"),
        });
        fs::write(folder.path().join("Test00.zip"), "torn").unwrap();
        let source = open(folder.path()).unwrap();
        assert!(
            source.interpretation[1].ends_with("in 2 archives (b.zip ... zz.zip)"),
            "{:?}",
            source.interpretation
        );
        fs::remove_file(folder.path().join("b.zip")).unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("Test00.zip: cannot be read as a zip archive"), "{error}");
    }

    #[test]
    fn names_without_labels_are_read_in_order_and_once() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(TEST);
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read_filenames(&path)
                .map_err(|error| format!("{error:#}").replace(&path.display().to_string(), "t.csv"))
        };
        assert_eq!(read("Filename\nb.png\na.png\n"), Ok(vec!["b.png".to_owned(), "a.png".to_owned()]));
        assert_eq!(read("Filename\nb\na\nb\n"), Err("t.csv: rows 2 and 4 name the same file, b".to_owned()));
        assert_eq!(read("Filename\n\"\"\n"), Err("t.csv, row 2: column Filename is empty".to_owned()));
    }

    /// One folder and 253 archives use up all numbers; one more archive is an error.
    #[test]
    fn too_many_archives_are_named() {
        let folder = TempDir::new().unwrap();
        let rows: Vec<String> = (0..254).map(|number| row(&format!("{number}.png"), &[], 0)).collect();
        fs::write(folder.path().join(TRAIN), table(&rows)).unwrap();
        fs::write(folder.path().join(VALIDATION), table(&[row("v.png", &[], 0)])).unwrap();
        fs::write(folder.path().join("v.png"), "").unwrap();
        let zipped = |number: usize| {
            let file = fs::File::create(folder.path().join(format!("train{number:03}.zip"))).unwrap();
            let mut zip = zip::ZipWriter::new(file);
            zip.start_file(format!("{number}.png"), zip::write::SimpleFileOptions::default()).unwrap();
            zip.finish().unwrap();
        };
        (0..253).for_each(zipped);
        let source = open(folder.path()).unwrap();
        assert_eq!(
            source.interpretation[1],
            "frames: 253 of 254 of the training table and all 1 of the validation table, in 1 folder (the folder itself) and \
             253 archives (train000.zip ... train252.zip)"
        );
        zipped(253);
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(
            error.ends_with(
                ": expected at most 254 folders and archives of frames, found more; extract archives together"
            ),
            "{error}"
        );
    }
}
