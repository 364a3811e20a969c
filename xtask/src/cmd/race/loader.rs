//! The race of loaders: decoding and two of the paper's views, on one thread, from the same images.
//!
//! The images are drawn pipes of 720 x 576 pixels, the size of Sewer-ML's frames, as PNG and as JPEG of quality 90.
//! In further cases ours reads a packed store of the JPEG files, theirs the files.

use std::{fs, io::BufWriter, path::Path};

use anyhow::{Context, Result};
use image::{ImageEncoder, RgbImage, codecs, imageops};
use serde_json::json;
use skewbench::{
    augment::{Normalisation, ViewSet, resize::shrink_shorter_side},
    candle_core::{DType, Device},
    data::{
        self, OnBadImage, Source,
        store::{self, Form, Packing},
    },
    loader::{Loader, Sampling},
    seed::Seed,
};
use tempfile::TempDir;

use super::{Outcome, child::Child};

/// Format of the images, and side of the views in pixels.
pub const CASES: [(&str, usize); 6] =
    [("png", 64), ("jpeg", 64), (PACKED, 64), ("png", 224), ("jpeg", 224), (PACKED, 224)];
const PACKED: &str = "packed";
const FORMATS: [&str; 2] = ["png", "jpeg"];

/// Largest number of images per batch.
const BATCH: usize = 16;

/// Shorter side of packed images: the smallest crop is then about as large as a view. Ours.
fn packed_side(side: usize) -> usize {
    if side <= 64 { 96 } else { 256 }
}

/// Returns the name of a case.
pub fn name((kind, side): (&str, usize)) -> String {
    match kind {
        PACKED => {
            format!("packed at {} px of 720x576 (theirs: jpeg), two views of {side} px", packed_side(side))
        }
        kind => format!("{kind} 720x576, two views of {side} px"),
    }
}

/// Images to load, and the opponent.
pub struct Race<'a> {
    folder: TempDir,
    images: usize,
    python: &'a Path,
    /// The opponent's script, and its description.
    script: (&'static str, &'static str),
}

impl<'a> Race<'a> {
    /// Draws `images` images, and writes each in both formats. `pillow`: race against the substitute for
    /// torchvision.
    pub fn new(python: &'a Path, images: usize, pillow: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write(folder.path(), images)?;
        let script = match pillow {
            true => ("race_pillow.py", "Pillow and NumPy, standing in for torchvision"),
            false => ("race_loader.py", "Pillow, torchvision"),
        };
        Ok(Self { folder, images, python, script })
    }

    /// Returns seconds per image, with both its views.
    pub fn run(&self, (kind, side): (&str, usize), pairs: u32) -> Result<Outcome> {
        let files = self.folder.path().join(if kind == PACKED { "jpeg" } else { kind });
        let store = self.folder.path().join(format!("store-{side}"));
        if kind == PACKED {
            pack(&files, &store, packed_side(side))?;
        }
        let line = |from: &Path| json!({ "loader": from, "side": side, "batch": BATCH }).to_string();
        let mut ours = Child::ours(&line(if kind == PACKED { &store } else { &files }), 1)?;
        let mut theirs = Child::python(self.python, self.script.0, &line(&files), 1)?;
        ours.step()?;
        theirs.step()?;
        let (mut our_blocks, mut their_blocks) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            our_blocks.push(ours.step()? / self.images as f64);
            their_blocks.push(theirs.step()? / self.images as f64);
        }
        let (name, setting) = (name((kind, side)), self.script.1.to_owned());
        Ok(Outcome { name, setting, ours: our_blocks, theirs: their_blocks, memory: None })
    }
}

fn write(folder: &Path, images: usize) -> Result<()> {
    let drawn = data::synthetic::source(Seed::root(0), images, 1, 720);
    for index in 0..images {
        let image = drawn.train.open(index)?;
        let (width, height) = (image.width as u32, image.height as u32);
        let image = RgbImage::from_raw(width, height, image.pixels).context("pixels fill the image")?;
        let frame = imageops::crop_imm(&image, 0, (height - 576) / 2, width, 576).to_image();
        let label = if drawn.train.labels()[index].defect { "defect" } else { "normal" };
        save(&folder.join(format!("png/train/{label}/{index:04}.png")), &frame)?;
        save(&folder.join(format!("jpeg/train/{label}/{index:04}.jpeg")), &frame)?;
    }
    // A source needs a validation split with both labels; this one's is not read.
    for kind in FORMATS {
        for label in ["normal", "defect"] {
            let mut known = fs::read_dir(folder.join(kind).join("train").join(label))
                .with_context(|| format!("no {label} image was drawn: give a larger --images"))?;
            let first = known.next().context("an empty folder")??;
            let copy = folder.join(kind).join("validation").join(label);
            fs::create_dir_all(&copy)?;
            fs::copy(first.path(), copy.join(first.file_name()))?;
        }
    }
    Ok(())
}

fn save(path: &Path, frame: &RgbImage) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
    let file = BufWriter::new(fs::File::create(path)?);
    let ((width, height), rgb) = (frame.dimensions(), image::ExtendedColorType::Rgb8);
    if path.extension().is_some_and(|ending| ending == "png") {
        codecs::png::PngEncoder::new(file).write_image(frame.as_raw(), width, height, rgb)?;
    } else {
        codecs::jpeg::JpegEncoder::new_with_quality(file, 90).write_image(
            frame.as_raw(),
            width,
            height,
            rgb,
        )?;
    }
    Ok(())
}

fn pack(files: &Path, store: &Path, side: usize) -> Result<()> {
    let packing = Packing {
        source: &data::folder::source(files)?,
        folder: store,
        form: Form::Pixels(side),
        shrink: &|image| shrink_shorter_side(&image, side),
        on_bad_image: OnBadImage::Fail,
    };
    packing.pack(&|| {}).map(|_| ())
}

/// Our side: loads every image of a folder, with two views.
pub struct Worker {
    source: Source,
    indices: Vec<usize>,
    recipe: ViewSet,
    batch: usize,
    pass: usize,
}

impl Worker {
    pub fn new(folder: &Path, side: usize, batch: usize) -> Result<Self> {
        let source =
            if folder.join("train").exists() { data::folder::source(folder)? } else { store::open(folder)? };
        let indices: Vec<usize> = (0..source.train.labels().len()).collect();
        let mut recipe = ViewSet::paper(side);
        recipe.views.push(recipe.views[0]);
        recipe.views.truncate(2);
        Ok(Self { source, indices, recipe, batch, pass: 0 })
    }

    /// Runs one pass over all images.
    pub fn step(&mut self) -> Result<f32> {
        let loader = Loader {
            dataset: &*self.source.train,
            indices: &self.indices,
            views: &self.recipe.views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: self.batch,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            dtype: DType::F32,
            seed: Seed::root(0),
        };
        self.pass += 1;
        let mut mean = 0.0;
        loader.epoch(self.pass, |batch| {
            mean += batch.images.mean_all()?.to_scalar::<f32>()?;
            Ok(())
        })?;
        Ok(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides read the same images, in the format that the case names.
    #[test]
    fn pictures_are_written_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let frame = RgbImage::from_fn(32, 24, |x, y| image::Rgb([8 * x as u8, 10 * y as u8, 128]));
        let mut written = Vec::new();
        for (name, format) in [("a/x.png", image::ImageFormat::Png), ("b/x.jpeg", image::ImageFormat::Jpeg)] {
            let path = folder.path().join(name);
            save(&path, &frame).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
            written.push(image::load_from_memory(&bytes).unwrap().into_rgb8());
        }
        assert!(written[0] == frame, "PNG loses nothing");
        let apart = written[1].iter().zip(frame.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(apart > 0 && apart < 40, "JPEG loses a little: {apart}");
        // The first step of the table of quality 90 is a fifth of the standard's 16.
        let bytes = fs::read(folder.path().join("b/x.jpeg")).unwrap();
        let table = bytes.windows(2).position(|mark| mark == [0xff, 0xdb]).unwrap();
        assert_eq!(bytes[table + 5], 3);
        let names = [name(("jpeg", 64)), name((PACKED, 64)), name((PACKED, 224))];
        let expected = [
            "jpeg 720x576, two views of 64 px",
            "packed at 96 px of 720x576 (theirs: jpeg), two views of 64 px",
            "packed at 256 px of 720x576 (theirs: jpeg), two views of 224 px",
        ];
        assert_eq!(names, expected);
    }

    /// Every image gets two of the paper's views, whatever the source.
    #[test]
    fn a_worker_loads_every_picture_twice() {
        let folder = tempfile::tempdir().unwrap();
        crate::support::committed::pictures(&folder.path().join("train"), [5, 3]);
        crate::support::committed::pictures(&folder.path().join("validation"), [1, 1]);
        let mut worker = Worker::new(folder.path(), 32, 3).unwrap();
        assert_eq!(worker.indices, (0..8).collect::<Vec<_>>());
        let paper = ViewSet::paper(32).views[0];
        assert_eq!(worker.recipe.views, [paper, paper]);
        let (first, second) = (worker.step().unwrap(), worker.step().unwrap());
        assert!(first.is_finite() && first != second, "views of the next pass are others: {first}");
        assert_eq!(worker.pass, 2);
        let store = folder.path().join("store");
        pack(folder.path(), &store, 24).unwrap();
        let packed = Worker::new(&store, 32, 3).unwrap();
        assert_eq!(packed.indices.len(), 8);
        assert_eq!(store::shorter_side(&store).unwrap(), Some(24));
        let picture = packed.source.train.open(7).unwrap();
        assert_eq!((picture.width, picture.height), (24, 24), "the pictures of 32 pixels are shrunk");
    }
}
