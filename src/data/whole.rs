//! Labelled files that may not have a split yet.

use anyhow::{Context as _, Result};

use super::{Source, examine::Divided, files::Files, groups::GroupBy, stratify};

/// Opened data, before a split is chosen.
pub enum Opened {
    /// The data define their own split.
    Split(Source),
    /// The data have no split.
    Whole(Whole),
}

/// Images without a split.
pub struct Whole {
    /// Name, as in [`Source::name`].
    pub name: String,
    /// All images.
    pub files: Box<Files>,
    /// Limitations, as in [`Source::limits`], except those of the split.
    pub limits: Vec<String>,
    /// How the data were interpreted, as in [`Source::understood`].
    pub understood: Vec<String>,
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
            Self::Whole(whole) => whole.divide(),
        }
    }

    /// Assigns images to groups.
    ///
    /// # Errors
    /// If the rule finds no group in a name.
    pub fn group_by(&mut self, rule: &GroupBy) -> Result<()> {
        self.files_mut().into_iter().try_for_each(|files| files.group_by(|name| rule.of(name)))
    }

    /// Returns all files, training images first; empty if images are drawn.
    pub fn files(&self) -> Vec<&Files> {
        match self {
            Self::Split(source) => {
                [&source.train, &source.validation].into_iter().filter_map(|of| of.files()).collect()
            }
            Self::Whole(whole) => vec![&whole.files],
        }
    }

    fn files_mut(&mut self) -> Vec<&mut Files> {
        match self {
            Self::Split(source) => {
                let splits = [&mut source.train, &mut source.validation];
                splits.into_iter().filter_map(|of| of.files_mut()).collect()
            }
            Self::Whole(whole) => vec![&mut whole.files],
        }
    }
}

impl Whole {
    fn divide(self) -> Result<Source> {
        let Self { name, files, mut limits, mut understood, left_out } = self;
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
            understood,
            left_out,
            leaks: Vec::new(),
        })
    }
}
