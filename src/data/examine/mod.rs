//! Examines every image of a data set once before training: which are unreadable, which occur twice, and what else
//! would make scores misleading.

mod close;
mod leaks;
mod shortcuts;
pub(super) mod sketch;
mod twins;

use anyhow::Result;
use image::ImageFormat;
pub use leaks::Leaks;
use rayon::prelude::*;
pub use sketch::{Format, HASH, Pixels, Sketch};
pub use twins::{Twins, near_pairs};

use super::{Dataset as _, Source, content::Content, decode, files::Files, stratify};

impl Files {
    /// Decodes the files at `indices` that have no sketch yet, on all cores, and stores their sketches. For files
    /// that cannot be decoded, the reason is stored ([`Self::unreadable`]). `done` is called once per file, from many
    /// threads.
    pub fn examine(&self, indices: &[usize], done: &(dyn Fn() + Sync)) {
        indices.par_iter().for_each(|&index| {
            if self.sketch(index).is_none() {
                match self.see(index) {
                    Ok(sketch) => self.memory.set_sketch(index, sketch),
                    Err(error) => self.cannot_read(index, format!("{error:#}")),
                }
            }
            done();
        });
    }

    /// Returns the sketch of the image at `index`, if one is stored that matches the file's current bytes and the
    /// current number of significant bits.
    pub fn sketch(&self, index: usize) -> Option<Sketch> {
        let [Content::Bytes(_)] = self.contents(&[index])[..] else { return None };
        let bits = self.sample_bits().bits();
        self.file_digest(index)?.sketch.filter(|sketch| [0, bits].contains(&sketch.bits))
    }

    fn see(&self, index: usize) -> Result<Sketch> {
        let (path, bytes) = self.bytes(index)?;
        let seen = bytes.and_then(|bytes| decode::decode_with_header(&bytes, &path, self.sample_bits()));
        let (image, head, format) = self.explain(index, seen)?;
        Ok(Sketch {
            hash: sketch::hash(&image),
            width: image.width as u32,
            height: image.height as u32,
            format: match format {
                ImageFormat::Bmp => Format::Bmp,
                ImageFormat::Jpeg => Format::Jpeg,
                ImageFormat::Pnm => Format::Pnm,
                ImageFormat::Tiff => Format::Tiff,
                ImageFormat::WebP => Format::WebP,
                _ => Format::Png,
            },
            pixels: Pixels::of(&image),
            turned: head.turned,
            bits: if head.sixteen { self.sample_bits().bits() } else { 0 },
        })
    }

    /// Returns the fixed split of these files; groups, and images that are equal or nearly equal, stay on one side.
    ///
    /// # Errors
    /// If too few images for training or scoring are left on one side.
    pub fn divide(&self) -> Result<Divided> {
        let twins = Twins::find(self);
        let units = twins.units(self);
        let (train, validation) = stratify::train_and_validation_of_units(self.labels(), &units);
        twins.ensure_enough(self, [&train, &validation])?;
        Ok(Divided { train, validation, kept_together: twins.images() })
    }
}

/// A split.
pub struct Divided {
    /// Positions of training images.
    pub train: Vec<usize>,
    /// Positions of validation images.
    pub validation: Vec<usize>,
    /// Number of images that are equal or nearly equal to another.
    pub kept_together: usize,
}

#[cfg(test)]
mod tests;
