//! Labelled files that nobody has split yet.

use anyhow::{Context as _, Result};

use super::{Source, examine::Divided, files::Files, groups::GroupBy, stratify};

/// What lies on disk, as it was understood.
pub enum Opened {
    /// It says what is to be trained on and what to be scored on.
    Split(Source),
    /// It does not.
    Whole(Whole),
}

/// Images without a split.
pub struct Whole {
    /// As [`Source::name`].
    pub name: String,
    /// All of them.
    pub files: Box<Files>,
    /// As [`Source::limits`], what goes for the split aside.
    pub limits: Vec<String>,
    /// As [`Source::understood`].
    pub understood: Vec<String>,
    /// As [`Source::left_out`].
    pub left_out: Vec<[String; 2]>,
}

impl Opened {
    /// A source; images without a split get the fixed one, groups whole on one side, and pictures that were examined
    /// and are equal or nearly so too.
    ///
    /// # Errors
    /// If a side is left with too few images.
    pub fn split(self) -> Result<Source> {
        match self {
            Self::Split(source) => Ok(source),
            Self::Whole(whole) => whole.divide(),
        }
    }

    /// Says which images belong together.
    ///
    /// # Errors
    /// If a name does not say its group.
    pub fn group_by(&mut self, rule: &GroupBy) -> Result<()> {
        self.files_mut().into_iter().try_for_each(|files| files.group_by(|name| rule.of(name)))
    }

    /// All files, those to train on first; none where images are drawn.
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
