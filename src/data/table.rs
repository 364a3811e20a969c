//! A table of images: one CSV file with the columns `path`, `label` and, if wanted, `class` and `split`.
//!
//! `label` is 0 / 1 or normal / defect. `class` is free text by which subsets and splits are
//! stratified (a pipe, a camera, a kind of defect); it is never scored. `split` is train / validation;
//! without it the fixed split is used. Paths are relative to the table.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::data::{
    ClassSet, Labels, Source,
    annotations::Annotations,
    files::{Files, Listing, ensure_apart},
    stratify,
};

/// Reads the table; images are not looked for until they are opened.
///
/// # Errors
/// If the file is missing or empty, a column or value is not as above, a path is repeated, or a split
/// has no images.
pub fn source(path: &Path) -> Result<Source> {
    let table = Annotations::read(path)?;
    let mut listing = Listing::default();
    let mut classes = Vec::new();
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    table.for_each_row(&["path", "label"], &["class", "split"], |row| {
        let defect = match row.filled(LABEL)? {
            "0" | "normal" => false,
            "1" | "defect" => true,
            other => bail!("column label: expected 0, 1, normal or defect, found '{other}'"),
        };
        match row.text(SPLIT)? {
            None => {}
            Some("train") => train.push(listing.len()),
            Some("validation") => validation.push(listing.len()),
            Some(other) => bail!("column split: expected train or validation, found '{other}'"),
        }
        classes.push(row.text(CLASS)?.unwrap_or_default().to_owned());
        let labels = Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
        listing.push(row.filled(PATH)?, labels, Some(row.line()));
        Ok(())
    })?;
    stratify::number_strata(listing.labels_mut(), &classes);
    listing.ensure_distinct().with_context(|| path.display().to_string())?;

    let mut limits = vec!["labels without defect classes: F2_CIW is not defined".to_owned()];
    if train.is_empty() && validation.is_empty() {
        (train, validation) = stratify::train_and_validation(listing.labels());
        limits.push(stratify::SPLIT_LIMIT.to_owned());
    }
    let (train, validation) = (listing.select(&train), listing.select(&validation));
    ensure_apart(&train, &validation).with_context(|| path.display().to_string())?;

    // A bare file name has an empty parent, which stands for the working directory.
    let root = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => ".".into(),
    };
    let files = |listing: Listing| {
        let digest = listing.digest();
        Files::new(listing, std::slice::from_ref(&root), Some(path), digest).map(Box::new)
    };
    Ok(Source {
        name: "csv".to_owned(),
        train: files(train)?,
        validation: files(validation)?,
        has_classes: false,
        limits,
    })
}

const PATH: usize = 0;
const LABEL: usize = 1;
const CLASS: usize = 2;
const SPLIT: usize = 3;

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
        // Strata number the classes in alphabetical order: crack, dark, plain.
        assert_eq!(summary(&*source.train), [(false, 2), (false, 1), (true, 0), (true, 1)]);
        assert_eq!(summary(&*source.validation), [(false, 2), (true, 0)]);
        assert!(source.train.place(0).ends_with("normal/1.png (images.csv row 2)"));
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
        "path,label\na,good\n",
        "t.csv, row 2: column label: expected 0, 1, normal or defect, found 'good'"
    )]
    #[case::split(
        "path,label,split\na,0,test\n",
        "t.csv, row 2: column split: expected train or validation, found 'test'"
    )]
    #[case::no_split(
        "path,label,split\na,0,\n",
        "t.csv, row 2: column split: expected train or validation, found ''"
    )]
    #[case::duplicate("path,label\na,0\nb,1\na,1\n", "t.csv: rows 2 and 4 name the same file, a")]
    #[case::no_path("path,label\n,0\n", "t.csv, row 2: column path is empty")]
    #[case::one_sided("path,label,split\na,0,train\n", "t.csv: no validation images")]
    #[case::unknown_column(
        "path,label,kind\na,0,x\n",
        "t.csv: unexpected header: missing columns: none; unexpected columns: kind; expected exactly path,label,[class],[split]"
    )]
    fn bad_tables_are_refused(#[case] text: &str, #[case] expected: &str) {
        let error = format!("{:#}", read(text).err().unwrap());
        let from = error.find("t.csv").unwrap();
        assert_eq!(&error[from..], expected);
    }
}
