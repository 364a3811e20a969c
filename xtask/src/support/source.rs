//! `--data`: which source of images a command works on.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail};
use skewbench::{
    data::{self, Source, cached::Cached, elpv::install},
    experiment::Scale,
    seed::Seed,
};

/// Root of the stream that the synthetic sewer is drawn from: the same pictures for every cell. Ours.
pub const SYNTHETIC_SEED: u64 = 0;

/// Pixels of training images that are kept in memory. Ours: a quarter of a small laptop's.
pub const CACHED_BYTES: usize = 1 << 30;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Synthetic,
    Elpv,
    SewerMl(PathBuf),
    Folder(PathBuf),
    Csv(PathBuf),
}

impl Choice {
    pub const HELP: &'static str = "\
Where images come from:
  synthetic      sewer pipes drawn by skewbench itself; no files needed
  elpv           solar-cell photographs; fetch them once with `cargo xtask data elpv`
  sewer-ml=DIR   Sewer-ML: DIR holds SewerML_Train.csv, SewerML_Val.csv and the images
  folder=DIR     your own: DIR/normal and DIR/defect, or those two under DIR/train and DIR/validation
  csv=FILE       your own: columns path,label and optionally class,split";

    /// Name in records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Synthetic => "synthetic",
            Self::Elpv => "elpv",
            Self::SewerMl(_) => "sewer-ml",
            Self::Folder(_) => "folder",
            Self::Csv(_) => "csv",
        }
    }

    /// Reads annotations; images are opened later, one by one, and remembered while memory lasts.
    pub fn open(&self, scale: &Scale) -> Result<Source> {
        let source = self.read(scale)?;
        Ok(Source {
            train: Box::new(Cached::new(source.train, CACHED_BYTES)),
            validation: Box::new(Cached::new(source.validation, CACHED_BYTES / 4)),
            ..source
        })
    }

    fn read(&self, scale: &Scale) -> Result<Source> {
        match self {
            Self::Synthetic => {
                let (train, validation) = scale.synthetic_images;
                Ok(data::synthetic::source(Seed::root(SYNTHETIC_SEED), train, validation, scale.side))
            }
            Self::Elpv => data::elpv::source(&install::folder_in(&install::cache_folder()?))
                .context("fetch the photographs once with `cargo xtask data elpv`"),
            Self::SewerMl(folder) => data::sewer_ml::open(folder),
            Self::Folder(folder) => data::folder::source(folder),
            Self::Csv(file) => data::table::source(file),
        }
    }
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, place) = match text.split_once('=') {
            Some((name, place)) => (name, Some(PathBuf::from(place))),
            None => (text, None),
        };
        Ok(match (name, place) {
            ("synthetic", None) => Self::Synthetic,
            ("elpv", None) => Self::Elpv,
            ("sewer-ml", Some(folder)) => Self::SewerMl(folder),
            ("folder", Some(folder)) => Self::Folder(folder),
            ("csv", Some(file)) => Self::Csv(file),
            ("synthetic" | "elpv", Some(_)) => bail!("'{name}' takes no path, found '{text}'"),
            ("sewer-ml" | "folder", None) => bail!("'{name}' needs its folder: {name}=DIR"),
            ("csv", None) => bail!("'csv' needs its file: csv=FILE"),
            _ => bail!("no data called '{text}'; known: synthetic, elpv, sewer-ml=DIR, folder=DIR, csv=FILE"),
        })
    }
}
