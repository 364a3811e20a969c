//! Labelled files that may not have a split yet.

use anyhow::{Context as _, Result};

use super::{Source, examine::Divided, files::Files, groups::GroupBy, stratify};

/// Opened data, before a split is chosen.
pub enum Opened {
    /// The data define their own split.
    Split(Source),
    /// The data have no split.
    Unsplit(Unsplit),
}

/// Images without a split.
pub struct Unsplit {
    /// Name, as in [`Source::name`].
    pub name: String,
    /// All images.
    pub files: Box<Files>,
    /// Limitations, as in [`Source::limits`], except those of the split.
    pub limits: Vec<String>,
    /// How the data were interpreted, as in [`Source::interpretation`].
    pub interpretation: Vec<String>,
    /// Files that are not used, as in [`Source::left_out`].
    pub left_out: Vec<[String; 2]>,
}

impl Opened {
    /// Converts the data to a source. Images without a split get the fixed one; groups stay on one side, and so do
    /// examined images that are equal or nearly equal.
    ///
    /// # Errors
    /// If too few images are left on one side.
    pub fn split(self) -> Result<Source> {
        match self {
            Self::Split(source) => Ok(source),
            Self::Unsplit(whole) => whole.divide(),
        }
    }

    /// Assigns images to groups.
    ///
    /// # Errors
    /// If the rule finds no group in a name.
    pub fn group_by(&mut self, rule: &GroupBy) -> Result<()> {
        self.files_mut().into_iter().try_for_each(|files| files.group_by(|name| rule.group_of(name)))
    }

    /// Returns all files, training images first; empty if images are drawn.
    pub fn files(&self) -> Vec<&Files> {
        match self {
            Self::Split(source) => {
                [&source.train, &source.validation].into_iter().filter_map(|of| of.files()).collect()
            }
            Self::Unsplit(whole) => vec![&whole.files],
        }
    }

    fn files_mut(&mut self) -> Vec<&mut Files> {
        match self {
            Self::Split(source) => {
                let splits = [&mut source.train, &mut source.validation];
                splits.into_iter().filter_map(|of| of.files_mut()).collect()
            }
            Self::Unsplit(whole) => vec![&mut whole.files],
        }
    }
}

impl Unsplit {
    fn divide(self) -> Result<Source> {
        let Self { name, files, mut limits, interpretation: mut understood, left_out } = self;
        let Divided { train, validation, kept_together } = files.divide().context("a random split")?;
        let grouped = files.group(0).is_some();
        limits.push(if grouped { stratify::GROUPED_LIMIT } else { stratify::SPLIT_LIMIT }.to_owned());
        if kept_together > 0 {
            understood.push(format!(
                "{kept_together} of {} images are equal or nearly equal to another: the split keeps them on one side",
                files.len()
            ));
        }
        let part = |indices: &[usize]| files.select(indices).map(Box::new);
        Ok(Source {
            name,
            train: part(&train)?,
            validation: part(&validation)?,
            has_classes: false,
            limits,
            interpretation: understood,
            left_out,
            leaks: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::folder;

    /// Sixteen files, of which three normal ones have the same bytes. None of them is a valid picture.
    fn opened(root: &std::path::Path) -> Opened {
        for label in ["normal", "defect"] {
            fs::create_dir(root.join(label)).unwrap();
            for image in 0..8 {
                let bytes = if label == "normal" && image < 3 {
                    "same".to_owned()
                } else {
                    format!("{label} {image}")
                };
                fs::write(root.join(label).join(format!("p{}_{image}.png", image / 4)), bytes).unwrap();
            }
        }
        fs::write(root.join("normal/notes.txt"), "").unwrap();
        folder::open(root).unwrap()
    }

    #[test]
    fn what_has_no_split_gets_one_that_keeps_copies_together() {
        let root = tempfile::tempdir().unwrap();
        let whole = opened(root.path());
        let [files] = whole.files()[..] else { panic!("one list") };
        assert_eq!(files.len(), 16);
        files.read_contents(&(0..16).collect::<Vec<_>>());
        let source = whole.split().unwrap();
        assert_eq!((source.name.as_str(), source.has_classes), ("folder", false));
        assert_eq!(
            source.limits,
            ["labels without defect classes: F2_CIW is not defined", stratify::SPLIT_LIMIT]
        );
        let last = "3 of 16 images are equal or nearly equal to another: the split keeps them on one side";
        assert_eq!(source.interpretation.last().unwrap(), last);
        assert_eq!(source.left_out, [["normal/notes.txt", "not an image by its name"].map(str::to_owned)]);
        let sizes = [&source.train, &source.validation].map(|of| of.labels().len());
        // Validation: the three copies, which are more than a quarter of the normal images, and two of eight defects.
        assert_eq!(sizes, [11, 5]);
        let copies = |of: &dyn crate::data::Dataset| {
            (0..of.labels().len())
                .filter(|&index| {
                    ["normal/p0_0.png", "normal/p0_1.png", "normal/p0_2.png"]
                        .contains(&of.name(index).as_str())
                })
                .count()
        };
        assert_eq!((copies(&*source.train), copies(&*source.validation)), (0, 3));
    }

    #[test]
    fn groups_are_named_in_both_forms() {
        let root = tempfile::tempdir().unwrap();
        let mut whole = opened(root.path());
        let rule: GroupBy = "(p[0-9])".parse().unwrap();
        whole.group_by(&rule).unwrap();
        assert_eq!([0, 15].map(|index| whole.files()[0].group(index)), [Some("p0"), Some("p1")]);
        let error = whole.group_by(&"x".parse().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("--group-by 'x': no group found in '"), "{error}");
        let source = whole.split().unwrap();
        assert_eq!(source.limits.last().unwrap(), stratify::GROUPED_LIMIT);
        assert_eq!([&source.train, &source.validation].map(|of| of.labels().len()), [8, 8]);
        assert_ne!(source.train.group(0), source.validation.group(0));

        let within = tempfile::tempdir().unwrap();
        let mut split = Opened::Split(opened(within.path()).split().unwrap());
        split.group_by(&rule).unwrap();
        let lists = split.files();
        assert_eq!(
            lists.iter().map(|files| files.len()).collect::<Vec<_>>(),
            [12, 4],
            "training images first"
        );
        assert!(lists.iter().all(|files| files.group(0).is_some()));
        let drawn = crate::data::synthetic::source(crate::seed::Seed::root(1), 2, 2, 32);
        assert!(Opened::Split(drawn).files().is_empty());
    }
}
