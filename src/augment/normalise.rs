//! Normalisation of bytes to network inputs: y = (x / 255 - mean) / std, per channel.
//!
//! Uses the same single-precision operations as torchvision's `ToTensor` and `Normalize`, but channels stay last.

use std::{collections::BTreeMap, str::FromStr};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{data::Image, tensor::cpu::vector::vectorised};

/// Mean and standard deviation of each channel, red, green, blue, for values in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Divides each channel after subtraction; not 0.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Channel statistics of Sewer-ML's training split at 224 x 224.
    ///
    /// The data set's authors average the standard deviations of the images, which gives less than the pooled
    /// deviation. Source: Sewer-ML repository, README; the paper's authors use the same.
    pub const SEWER_ML: Self = Self { mean: [0.523, 0.453, 0.345], std: [0.210, 0.199, 0.154] };

    /// ImageNet's customary constants. Source: torchvision model recipes.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Help text for the command line.
    pub const HELP: &'static str = "\
Normalisation of pixels for the weights of a file; use the one that they were trained with:
  sewer-ml        statistics of Sewer-ML, used for everything that is trained here
  imagenet        0.485,0.456,0.406/0.229,0.224,0.225
  MEAN/DEVIATION  three numbers each, red, green, blue, for values in 0..1
[default: stated in the header of files by `export` and `data mobilenet`; otherwise sewer-ml]";

    /// Names of the notes that state it in the header of a weights file.
    const NOTES: [&str; 2] = ["normalisation_mean", "normalisation_std"];

    /// Returns it as notes for the header of a weights file.
    pub fn notes(&self) -> BTreeMap<String, String> {
        let list = |values: [f32; 3]| format!("{values:?}");
        let notes = Self::NOTES.into_iter().zip([list(self.mean), list(self.std)]);
        notes.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Parses the notes that `find` returns by name; `None` if neither exists.
    ///
    /// # Errors
    /// If only one of the notes exists, or they are not valid numbers for normalising.
    pub fn from_notes<'a>(find: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>> {
        match Self::NOTES.map(find) {
            [None, None] => Ok(None),
            [Some(mean), Some(std)] => {
                let bare = |list: &str| list.trim_matches(['[', ']']).to_owned();
                Self::from_lists(&bare(mean), &bare(std)).map(Some)
            }
            _ => bail!("one of {} and {} is missing", Self::NOTES[0], Self::NOTES[1]),
        }
    }

    fn from_lists(mean: &str, std: &str) -> Result<Self> {
        let three = |list: &str| -> Result<[f32; 3]> {
            let numbers = list.split(',').map(|number| number.trim().parse::<f32>());
            let numbers: Option<Vec<f32>> = numbers.map(Result::ok).collect();
            let numbers = numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite()));
            let three = numbers.and_then(|numbers| numbers.try_into().ok());
            three.with_context(|| format!("expected three comma-separated numbers, found '{list}'"))
        };
        let (mean, std) = (three(mean)?, three(std)?);
        ensure!(std.iter().all(|&std| std > 0.0), "deviations must be above 0, found {std:?}");
        ensure!(
            mean.iter().chain(&std).all(|number| number.abs() <= 2.0),
            "expected numbers for values in 0..1, found {mean:?} and {std:?}; if they refer to bytes, divide them by 255"
        );
        Ok(Self { mean, std })
    }
}

impl FromStr for Normalisation {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.split_once('/')) {
            ("sewer-ml", _) => Ok(Self::SEWER_ML),
            ("imagenet", _) => Ok(Self::IMAGENET),
            (_, Some((mean, std))) => Self::from_lists(mean, std),
            _ => bail!("expected sewer-ml, imagenet or MEAN/DEVIATION, three numbers each, found '{text}'"),
        }
    }
}

/// Writes the normalised `image` to `out` (height x width x 3).
///
/// # Panics
/// If the length of `out` differs from the number of bytes in the image.
pub fn to_normalised(image: &Image, normalisation: &Normalisation, out: &mut [f32]) {
    assert_eq!(out.len(), image.pixels.len(), "one number for each of the image's bytes");
    let Normalisation { mean, std } = normalisation;
    vectorised(
        #[inline(always)]
        || {
            for (out, rgb) in out.as_chunks_mut::<3>().0.iter_mut().zip(image.pixels.as_chunks::<3>().0) {
                *out = std::array::from_fn(|c| (f32::from(rgb[c]) / 255.0 - mean[c]) / std[c]);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torch_gives_the_same_bits() {
        // The formula evaluated by numpy in float32, operation by operation as torchvision applies it.
        let image = Image::new(2, 1, vec![0, 128, 255, 37, 91, 53]);
        let mut out = [0.0; 6];
        to_normalised(&image, &Normalisation::SEWER_ML, &mut out);
        assert_eq!(out.map(f32::to_bits), EXPECTED);
    }

    #[test]
    fn what_a_file_says_of_itself_is_read_back() {
        for given in [Normalisation::SEWER_ML, Normalisation::IMAGENET] {
            let notes = given.notes();
            let found = Normalisation::from_notes(|name| notes.get(name).map(String::as_str));
            assert_eq!(found.unwrap(), Some(given));
        }
        assert_eq!(Normalisation::from_notes(|_| None).unwrap(), None);
        let one = Normalisation::from_notes(|name| name.ends_with("mean").then_some("[0.5, 0.5, 0.5]"));
        assert!(one.unwrap_err().to_string().contains("normalisation_std is missing"));
    }

    #[test]
    fn it_is_asked_for_by_name_or_by_numbers() {
        assert_eq!("imagenet".parse::<Normalisation>().unwrap(), Normalisation::IMAGENET);
        let half = Normalisation { mean: [0.5, 0.4, 0.3], std: [1.0; 3] };
        assert_eq!("0.5,0.4, 0.3/1,1,1".parse::<Normalisation>().unwrap(), half);
        for (text, expected) in [
            ("coco", "expected sewer-ml"),
            ("0.5,0.5/1,1,1", "three comma-separated numbers"),
            ("0,0,nan/1,1,1", "three comma-separated numbers"),
            ("0.1,0.2,0.3/0.4,x,0.5", "three comma-separated numbers, found '0.4,x,0.5'"),
            ("0,0,0/1,1,0", "above 0"),
            ("123.7,116.3,103.5/58.4,57.1,57.4", "divide them by 255"),
        ] {
            let error = text.parse::<Normalisation>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    const EXPECTED: [u32; 6] = [0xc01f63f7, 0x3e7bf063, 0x40881a99, 0xbfe6571b, 0xbef7591e, 0xbf640042];
    /// Printed in the training recipes of torchvision, and in the help.
    #[test]
    fn imagenets_are_the_customary_numbers() {
        let expected = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
        assert_eq!(Normalisation::IMAGENET, expected);
        let line =
            Normalisation::HELP.lines().find_map(|line| line.trim().strip_prefix("imagenet ")).unwrap();
        assert_eq!(line.trim().parse::<Normalisation>().unwrap(), expected);
        assert_eq!("sewer-ml".parse::<Normalisation>().unwrap(), Normalisation::SEWER_ML);
    }

    #[test]
    fn notes_name_means_and_deviations() {
        let given = Normalisation { mean: [0.125, 0.25, 0.5], std: [1.0, 2.0, 0.75] };
        let notes = given.notes();
        assert_eq!(notes["normalisation_mean"], "[0.125, 0.25, 0.5]");
        assert_eq!(notes["normalisation_std"], "[1.0, 2.0, 0.75]");
        assert_eq!(notes.len(), 2);
        let bad = |name: &str| Some(if name.ends_with("mean") { "[0, 0]" } else { "[1, 1, 1]" });
        assert!(Normalisation::from_notes(bad).unwrap_err().to_string().contains("found '0, 0'"));
    }
}
