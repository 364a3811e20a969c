//! elpv: 2,624 electroluminescence images of solar cells, a real inspection task with subtle defects.
//!
//! Annotators gave each cell a defect probability of 0, 1/3, 2/3 or 1; a cell above 1/2 is a defect. The stratum is
//! the pair of probability and cell type, so splits and subsets keep the proportions of both.
//!
//! Source: the papers in [`CITATIONS`]; the format of `labels.csv` from the package elpv-dataset 1.0.0.post1.

pub mod install;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::{
    ClassSet, Labels, Source,
    files::Files,
    listing::Listing,
    regular::{self, SizeLimit},
    whole::{Opened, Unsplit},
};

/// Licence under which the authors publish the data.
pub const LICENCE: &str =
    "images and labels: CC BY-NC-SA 4.0 (non-commercial; derived images under the same licence)";

/// The papers that the authors ask users of the data to cite.
pub const CITATIONS: [&str; 3] = [
    "Buerhop-Lutz, Deitsch, Maier, Gallwitz, Berger, Doll, Hauch, Camus and Brabec, \"A Benchmark for \
     Visual Identification of Defective Solar Cells in Electroluminescence Imagery\", EU PVSEC 2018, \
     doi:10.4229/35thEUPVSEC20182018-5CV.3.15",
    "Deitsch, Christlein, Berger, Buerhop-Lutz, Maier, Gallwitz and Riess, \"Automatic classification of \
     defective photovoltaic module cells in electroluminescence images\", Solar Energy 185 (2019) 455-468, \
     doi:10.1016/j.solener.2019.02.067",
    "Deitsch, Buerhop-Lutz, Sovetkin, Steland, Maier, Gallwitz and Riess, \"Segmentation of photovoltaic \
     module cells in uncalibrated electroluminescence images\", Machine Vision and Applications 32(4) (2021), \
     doi:10.1007/s00138-021-01191-9",
];

/// Reads `labels.csv` in `folder` (see [`install::install`]); images are opened later.
///
/// # Errors
/// If the file is missing, a line is not "path probability type", or the counts differ from the published ones.
pub fn source(folder: &Path) -> Result<Source> {
    open(folder)?.split()
}

/// Like [`source`], but without a split.
///
/// # Errors
/// Those of [`source`].
pub fn open(folder: &Path) -> Result<Opened> {
    let table = folder.join("labels.csv");
    let text = regular::read_text(&table, SizeLimit::TABLE).with_context(|| {
        format!("cannot read {}; 'cargo xtask data elpv' installs the data", table.display())
    })?;
    let listing = read(&text).with_context(|| table.display().to_string())?;
    check_counts(listing.labels()).with_context(|| table.display().to_string())?;

    let digest = listing.digest();
    Ok(Opened::Unsplit(Unsplit {
        name: "elpv".to_owned(),
        files: Box::new(Files::new(listing, &[folder.to_owned()], Some(&table), digest)?),
        interpretation: Vec::new(),
        left_out: Vec::new(),
        limits: [
            "the 2,624 cells come from 44 modules and the labels do not say from which: cells of one module may \
             be on both sides of the split",
            // Found with our perceptual hash: these pairs differ in 4 to 20 of 256 bits; other cells whose numbers
            // are equally far apart differ in 100 or more.
            "cells 1735 to 1784 and 2277 to 2326 are one module that was photographed twice, and 3 of these 50 pairs have \
             two labels: a random split trains on some of them and scores on the others",
            "no defect classes: F2_CIW is not defined",
            "grey images: colour jitter reduces to brightness and contrast",
            "about 600 defects to train on: at 1 % a dozen remain, so only the spread over seeds \
             means anything",
            LICENCE,
        ]
        .into_iter()
        .chain(CITATIONS)
        .map(str::to_owned)
        .collect(),
    }))
}

/// Numbers of images by probability (0, 1/3, 2/3, 1) and type (mono, poly): the stratum is 2 level + type. Counted in
/// the package's labels.csv; the sum is the published 2,624.
const COUNTS: [usize; 8] = [588, 920, 117, 178, 56, 50, 313, 402];
const TYPES: [&str; 2] = ["mono", "poly"];

fn read(text: &str) -> Result<Listing> {
    let mut listing = Listing::default();
    for (line, number) in text.lines().zip(1..) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [] => {}
            [path, probability, kind] => {
                let stratum = stratum(probability, kind).with_context(|| format!("row {number}"))?;
                // Levels 2 and 3 are 2/3 and 1.
                let labels = Labels { defect: stratum / 2 >= 2, classes: ClassSet::EMPTY, stratum };
                listing.push(path, labels, Some(number));
            }
            _ => bail!("row {number}: expected 'path probability type', found '{line}'"),
        }
    }
    listing.ensure_distinct()?;
    Ok(listing)
}

fn stratum(probability: &str, kind: &str) -> Result<u32> {
    let level = probability
        .parse::<f64>()
        .ok()
        .and_then(|value| (0..=3).find(|&level| (value * 3.0 - f64::from(level)).abs() < 1e-6));
    let kind_number = TYPES.iter().position(|&known| known == kind);
    match (level, kind_number) {
        (Some(level), Some(number)) => Ok(2 * level + number as u32),
        (None, _) => bail!("expected a probability of 0, 1/3, 2/3 or 1, found '{probability}'"),
        (_, None) => bail!("expected the type mono or poly, found '{kind}'"),
    }
}

fn check_counts(labels: &[Labels]) -> Result<()> {
    let mut wrong = Vec::new();
    for (stratum, expected) in (0_u32..).zip(COUNTS) {
        let found = labels.iter().filter(|label| label.stratum == stratum).count();
        if found != expected {
            let (level, kind) = (stratum / 2, TYPES[stratum as usize % 2]);
            wrong.push(format!("probability {level}/3 {kind}: expected {expected}, found {found}"));
        }
    }
    ensure!(wrong.is_empty(), "not the published data: {}", wrong.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Labels with the published counts in a made-up order, aligned as in the package.
    fn table() -> String {
        let mut lines = String::new();
        for (stratum, count) in COUNTS.into_iter().enumerate() {
            let probability = ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"][stratum / 2];
            for i in 0..count {
                lines +=
                    &format!("images/cell{stratum}{i:03}.png  {probability:<18}  {}\n", TYPES[stratum % 2]);
            }
        }
        lines
    }

    fn open(text: &str) -> Result<Source> {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("labels.csv"), text).unwrap();
        source(folder.path())
    }

    #[test]
    fn defects_are_the_cells_above_one_half() {
        let source = open(&table()).unwrap();
        let defects = |labels: &[Labels]| labels.iter().filter(|label| label.defect).count();
        let (train, validation) = (source.train.labels(), source.validation.labels());
        assert_eq!(train.len() + validation.len(), 2_624);
        // 821 of 2,624: 56 + 50 + 313 + 402. Three quarters of 821 and of 1,803, rounded down, are for training.
        assert_eq!((defects(train), defects(validation)), (615, 206));
        assert_eq!((train.len(), validation.len()), (615 + 1_352, 206 + 451));
        for (stratum, count) in (0_u32..).zip(COUNTS) {
            let found = train.iter().filter(|label| label.stratum == stratum).count() as f64;
            assert!((found - 0.75 * count as f64).abs() < 2.0, "{found} of {count} in stratum {stratum}");
        }
        assert_ne!(source.train.digest(), source.validation.digest());
        assert_eq!(source.train.digest(), open(&table()).unwrap().train.digest());
    }

    #[test]
    fn other_labels_are_refused() {
        for (from, to, expected) in [
            ("images/cell0000.png  0.0", "", "row 1: expected 'path probability type', found '"),
            (
                "images/cell0000.png  0.0               ",
                "images/cell0000.png  1.0 ",
                "not the published data: probability 0/3 mono: expected 588, found 587; probability 3/3 mono: \
                 expected 313, found 314",
            ),
            (
                "images/cell3000.png  0.3333333333333333  poly",
                "images/cell3000.png  0.3333333333333333  mono",
                "not the published data: probability 1/3 mono: expected 117, found 118; probability 1/3 poly: expected \
                 178, found 177",
            ),
            ("0.0 ", "0.5 ", "row 1: expected a probability of 0, 1/3, 2/3 or 1, found '0.5'"),
            ("0.0 ", "0.4 ", "row 1: expected a probability of 0, 1/3, 2/3 or 1, found '0.4'"),
            ("0.0 ", "0.33", "row 1: expected a probability of 0, 1/3, 2/3 or 1, found '0.33'"),
            (
                "0.0 ",
                "1.3333333333333333 ",
                "row 1: expected a probability of 0, 1/3, 2/3 or 1, found '1.3333333333333333'",
            ),
            (
                "0.0 ",
                "-0.3333333333333333 ",
                "row 1: expected a probability of 0, 1/3, 2/3 or 1, found '-0.3333333333333333'",
            ),
            ("mono", "thin", "row 1: expected the type mono or poly, found 'thin'"),
            ("cell0001", "cell0000", "rows 1 and 2 name the same file, images/cell0000.png"),
        ] {
            let error = format!("{:#}", open(&table().replacen(from, to, 1)).err().unwrap());
            assert!(error.contains(expected), "{error}");
        }
        let error = source(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(error.starts_with("cannot read /nowhere/labels.csv"), "{error}");
    }

    #[test]
    fn a_stratum_is_probability_and_type() {
        let kinds = ["mono", "poly"];
        for (level, probability) in
            ["0", "0.3333333333333333", "0.6666666666666666", "1.0"].into_iter().enumerate()
        {
            for (number, kind) in kinds.into_iter().enumerate() {
                assert_eq!(stratum(probability, kind).unwrap() as usize, 2 * level + number);
            }
        }
        let listing =
            read("images/a.png 0.6666666666666666 poly\n\nimages/b.png 0.3333333333333333 mono\n").unwrap();
        let labels: Vec<(bool, u32)> =
            listing.labels().iter().map(|labels| (labels.defect, labels.stratum)).collect();
        assert_eq!(labels, [(true, 5), (false, 2)]);
        assert_eq!(listing.names().collect::<Vec<_>>(), ["images/a.png", "images/b.png"]);
        assert_eq!([0, 1].map(|index| listing.row(index)), [Some(1), Some(3)]);
    }

    #[test]
    fn limits_name_licence_and_papers() {
        let source = open(&table()).unwrap();
        assert_eq!((source.name.as_str(), source.has_classes), ("elpv", false));
        let [cells, twice, classes, grey, few, licence, papers @ .., split] = &source.limits[..] else {
            panic!("few")
        };
        for (limit, begin) in [
            (cells, "the 2,624 cells come from 44 modules"),
            (twice, "cells 1735 to 1784 and 2277 to 2326 are one module"),
            (classes, "no defect classes: F2_CIW is not defined"),
            (grey, "grey images: colour jitter reduces"),
            (few, "about 600 defects to train on"),
        ] {
            assert!(limit.starts_with(begin), "{limit}");
        }
        assert_eq!((licence.as_str(), split.as_str()), (LICENCE, crate::data::stratify::SPLIT_LIMIT));
        assert_eq!(papers, CITATIONS);
        assert!(
            source.train.location(0).ends_with(" (labels.csv row 1)")
                || source.validation.location(0).ends_with(" (labels.csv row 1)")
        );
    }
}
