//! `--data`: which source of images a command works on.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail};
use skewbench::{
    data::{self, SampleBits, Source, cached::Cached, elpv::install},
    experiment::Scale,
    seed::Seed,
};

/// Root of the stream that the synthetic sewer is drawn from: the same pictures for every cell. Ours.
pub const SYNTHETIC_SEED: u64 = 0;

/// The same where numbers are chosen: no study is scored on these pictures. Ours.
const TUNING_SEED: u64 = 1;

/// Pixels of training images that are kept in memory. Ours: a quarter of a small laptop's.
pub const CACHED_BYTES: usize = 1 << 30;

/// What images are for: what is chosen must not be scored on what it was chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be trained and scored on.
    Study,
    /// To choose numbers on: drawn from another seed, or training images alone.
    Tuning,
}

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
  sewer-ml=DIR   Sewer-ML: DIR holds SewerML_Train.csv, SewerML_Val.csv (or a folder
                 in it does) and the frames, in folders or still in their zips
  folder=DIR     your own: DIR/normal and DIR/defect (good, bad, OK, NG ...),
                 or both under DIR/train and DIR/validation (val, test ...),
                 or MVTec AD's or VisA's layout; doctor says how it is read
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

    /// Reads annotations; images are opened later, one by one, and remembered while memory lasts. Of their 16-bit samples,
    /// if they have such, `sample_bits` are in use; without it those that a look at some of them shows.
    pub fn open(&self, scale: &Scale, purpose: Purpose, sample_bits: Option<SampleBits>) -> Result<Source> {
        let source = self.read(scale, purpose)?.with_pixels_understood(sample_bits);
        Ok(Source {
            train: Box::new(Cached::new(source.train, CACHED_BYTES)),
            validation: Box::new(Cached::new(source.validation, CACHED_BYTES / 4)),
            ..source
        })
    }

    fn read(&self, scale: &Scale, purpose: Purpose) -> Result<Source> {
        let source = match self {
            Self::Synthetic => return Ok(drawn(scale, purpose)),
            Self::Elpv => data::elpv::source(&install::folder_in(&install::cache_folder()?))
                .context("fetch the photographs once with `cargo xtask data elpv`")?,
            Self::SewerMl(folder) => data::sewer_ml::open(folder)?,
            Self::Folder(folder) => data::folder::source(folder)?,
            Self::Csv(file) => data::table::source(file)?,
        };
        match purpose {
            Purpose::Study => Ok(source),
            Purpose::Tuning => source.within_training(),
        }
    }
}

/// The drawn sewer.
fn drawn(scale: &Scale, purpose: Purpose) -> Source {
    let (train, validation) = scale.synthetic_images;
    let of = |seed| data::synthetic::source(Seed::root(seed), train, validation, scale.side);
    match purpose {
        Purpose::Study => of(SYNTHETIC_SEED),
        Purpose::Tuning => {
            let mut source = of(TUNING_SEED);
            source.limits.push(format!(
                "drawn from seed {TUNING_SEED} to choose numbers on; studies are scored on pictures of seed \
                 {SYNTHETIC_SEED}"
            ));
            source
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
