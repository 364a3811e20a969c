//! Properties of pixels that must be known for a whole data set before decoding: the number of significant bits in
//! 16-bit samples.

use anyhow::Result;
use rayon::prelude::*;

use super::{Header, SampleBits, Source, files::Files, whole::Opened};

/// Maximum number of images that are sampled, evenly spread over the training images, or over all images if there is
/// no split. Ours: with so many, the range that all samples fit into is that of the camera.
const LOOKED_AT: usize = 256;

impl Source {
    /// Determines how 16-bit samples of training and validation images are scaled: by `asked`, or by the smallest
    /// number of bits that the samples of 256 training images fit into. Reports it in [`Self::interpretation`]. Must be
    /// called before any image is opened.
    #[must_use]
    pub fn with_sample_bits(mut self, asked: Option<SampleBits>) -> Self {
        let splits = [&self.train, &self.validation];
        let said = understand(
            &splits.into_iter().filter_map(|of| of.files()).collect::<Vec<_>>(),
            asked,
            "training ",
        );
        self.interpretation.extend(said);
        self
    }

    /// Returns the number of significant bits in 16-bit samples; `None` if all are significant.
    pub fn sample_bits(&self) -> Option<SampleBits> {
        self.train.files().map(Files::sample_bits).filter(|&bits| bits != SampleBits::ALL)
    }
}

impl Opened {
    /// Like [`Source::with_sample_bits`], but samples from all images, since there is no split.
    #[must_use]
    pub fn with_sample_bits(self, asked: Option<SampleBits>) -> Self {
        match self {
            Self::Split(source) => Self::Split(source.with_sample_bits(asked)),
            Self::Unsplit(mut whole) => {
                let said = understand(&[&whole.files], asked, "");
                whole.interpretation.extend(said);
                Self::Unsplit(whole)
            }
        }
    }
}

/// Sets the scale of 16-bit samples for all files, by sampling or as `asked`, and returns messages about it.
fn understand(files: &[&Files], asked: Option<SampleBits>, which: &str) -> Vec<String> {
    let Some(first) = files.first() else { return Vec::new() };
    let seen = look(first);
    let turned = seen.iter().filter(|(head, _)| head.turned).count();
    let found: Vec<SampleBits> = seen.iter().filter_map(|&(_, bits)| bits).collect();
    let bits = asked.or(found.iter().copied().max()).unwrap_or(SampleBits::ALL);
    files.iter().for_each(|files| files.set_sample_bits(bits));
    let mut said = Vec::new();
    if turned > 0 {
        let all = seen.len();
        said.push(format!(
            "turned as their EXIF orientation says: {turned} of {all} {which}images looked at"
        ));
    }
    if !found.is_empty() {
        let why = match asked {
            Some(_) => "as asked".to_owned(),
            None => format!("as {} {which}images show", found.len()),
        };
        said.push(format!(
            "16-bit samples with {bits} bits in use, {why}: value * 255 / {}, rounded; give --sample-bits if that is wrong",
            bits.largest()
        ));
    }
    said
}

/// Headers of evenly spread files. Unreadable files are ignored here: training stops at them or leaves them out.
fn look(files: &Files) -> Vec<(Header, Option<SampleBits>)> {
    let images = files.len();
    let step = images.div_ceil(LOOKED_AT).max(1);
    let indices: Vec<usize> = (0..images).step_by(step).collect();
    indices.into_par_iter().map(|index| files.header_and_sample_bits(index)).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{ImageBuffer, Luma};
    use tempfile::TempDir;

    use crate::data::{SampleBits, Source, folder};

    fn write(folder: &Path, name: &str, value: u16) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        ImageBuffer::from_pixel(4, 3, Luma([value])).save(path).unwrap();
    }

    /// Twelve images of each label, with this largest sample.
    fn source(largest: u16, asked: Option<SampleBits>) -> (TempDir, Source) {
        let folder = folder_of(largest);
        let source = folder::source(folder.path()).unwrap().with_sample_bits(asked);
        (folder, source)
    }

    fn folder_of(largest: u16) -> TempDir {
        let folder = TempDir::new().unwrap();
        for part in ["train", "validation"] {
            for label in ["normal", "defect"] {
                for i in 0..12 {
                    let value = if i == 11 { largest } else { 100 * i };
                    write(folder.path(), &format!("{part}/{label}/{i:02}.png"), value);
                }
            }
        }
        folder
    }

    #[test]
    fn twelve_bits_are_noticed_said_and_scaled() {
        let (_folder, source) = source(4095, None);
        assert_eq!(source.sample_bits().map(SampleBits::bits), Some(12));
        assert_eq!(source.train.open(11).unwrap().pixels[0], 255);
        assert_eq!(source.validation.open(10).unwrap().pixels[0], 62, "1000 * 255 / 4095 = 62.3");
        let said = "16-bit samples with 12 bits in use, as 24 training images show: value * 255 / 4095, rounded; \
                    give --sample-bits if that is wrong";
        assert_eq!(source.interpretation.last().unwrap(), said);
        let files = source.train.files().unwrap();
        assert_eq!(files.select(&[11]).unwrap().sample_bits().bits(), 12);
        assert!(files.used_digests(&[0]).iter().all(Option::is_none), "a look is no use");
    }

    #[test]
    fn a_later_file_that_does_not_fit_is_named() {
        let (folder, source) = source(4095, None);
        write(folder.path(), "validation/normal/05.png", 5000);
        let error = format!("{:#}", source.validation.open(5).unwrap_err());
        assert!(error.contains("normal/05.png: a sample is 5000, but 12 bits"), "{error}");
    }

    #[test]
    fn all_bits_and_asked_bits() {
        let (_folder, all) = source(40_000, None);
        assert_eq!(all.sample_bits(), None);
        assert_eq!(all.train.open(11).unwrap().pixels[0], 156, "40000 / 257 = 155.6");
        let (_folder, asked) = source(4095, Some("14".parse().unwrap()));
        assert_eq!(asked.sample_bits().map(SampleBits::bits), Some(14));
        assert_eq!(asked.train.open(11).unwrap().pixels[0], 64, "4095 * 255 / 16383 = 63.7");
    }

    #[test]
    fn turned_pictures_are_said() {
        let folder = folder_of(4095);
        let turned = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels/tiff-orientation6.tif");
        for name in ["normal/03.png", "defect/05.png"] {
            std::fs::copy(&turned, folder.path().join("train").join(name)).unwrap();
        }
        let source = folder::source(folder.path()).unwrap().with_sample_bits(None);
        let said = "turned as their EXIF orientation says: 2 of 24 training images looked at";
        assert!(source.interpretation.iter().any(|line| line == said), "{:?}", source.interpretation);
        // Neither of these two has 16 bits.
        let said = "16-bit samples with 12 bits in use, as 22 training images show: value * 255 / 4095, rounded; give \
                    --sample-bits if that is wrong";
        assert_eq!(source.interpretation.last().unwrap(), said);
        std::fs::write(folder.path().join("train/normal/00.png"), "torn").unwrap();
        let source = folder::source(folder.path()).unwrap().with_sample_bits(None);
        let said = "turned as their EXIF orientation says: 2 of 23 training images looked at";
        assert!(source.interpretation.iter().any(|line| line == said), "{:?}", source.interpretation);
        let (_folder, none) = self::source(4095, None);
        assert!(!none.interpretation.iter().any(|line| line.contains("turned")), "{:?}", none.interpretation);
    }

    #[test]
    fn images_without_a_split_are_all_looked_at() {
        use crate::data::whole::Opened;
        let folder = TempDir::new().unwrap();
        for (label, value) in [("normal", 900), ("defect", 300)] {
            (0..6).for_each(|i| write(folder.path(), &format!("{label}/{i}.png"), value + i));
        }
        let understood = |asked: Option<&str>| {
            let asked = asked.map(|bits| bits.parse().unwrap());
            let Opened::Unsplit(whole) = folder::open(folder.path()).unwrap().with_sample_bits(asked) else {
                panic!("no split")
            };
            (whole.files.sample_bits().bits(), whole.interpretation.last().unwrap().clone())
        };
        let rest = "rounded; give --sample-bits if that is wrong";
        let said =
            format!("16-bit samples with 10 bits in use, as 12 images show: value * 255 / 1023, {rest}");
        assert_eq!(understood(None), (10, said));
        let said = format!("16-bit samples with 14 bits in use, as asked: value * 255 / 16383, {rest}");
        assert_eq!(understood(Some("14")), (14, said));
    }

    /// Of 600 images, every third is sampled.
    #[test]
    fn a_look_is_spread_over_many_images() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "0.png", 1);
        let names: Vec<String> = (0..600).map(|i| format!("{i:03}.png")).collect();
        for name in &names {
            std::fs::copy(folder.path().join("0.png"), folder.path().join(name)).unwrap();
        }
        // The last one that is sampled, and one that is not.
        write(folder.path(), "597.png", 4000);
        write(folder.path(), "598.png", 60_000);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let listing = crate::data::listing::Listing::of_normals(&names);
        let root = [folder.path().to_owned()];
        let files = crate::data::files::Files::new(listing, &root, None, String::new()).unwrap();
        let seen = super::look(&files);
        assert_eq!((seen.len(), seen.iter().filter_map(|found| found.1).max().unwrap().bits()), (200, 12));
        assert_eq!(super::look(&files.select(&(0..256).collect::<Vec<_>>()).unwrap()).len(), 256);
        assert_eq!(super::look(&files.select(&(0..257).collect::<Vec<_>>()).unwrap()).len(), 129);
    }
}
