//! The race of loaders: decoding and two of the paper's views at 224 px, on one thread, from the same files.
//!
//! The files are drawn pipes of 720 x 576 pixels, the size of Sewer-ML's frames, as PNG and as JPEG of
//! quality 90; a third case reads ours from a packed store of the JPEG files, theirs from the files.

use std::{fs, io::BufWriter, path::Path};

use anyhow::{Context, Result, ensure};
use image::{ImageEncoder, codecs, imageops};
use serde_json::json;
use skewbench::{
    augment::{Normalisation, ViewSet, resize::shrunk},
    candle_core::{DType, Device},
    data::{
        self, OnBadImage, Source,
        store::{self, Form, Packing},
    },
    loader::{Loader, Sampling},
    seed::Seed,
};

use super::{Outcome, child::Child};

/// File formats, as cases of the race.
pub const KINDS: [&str; 3] = ["png", "jpeg", PACKED];
const PACKED: &str = "packed";

const IMAGES: usize = 16;
const SIDE: usize = 224;
/// Shorter side of packed images. Ours.
const PACKED_SIDE: usize = 256;

/// Seconds an image, with both its views.
pub fn race(kind: &str, python: &Path, pairs: u32) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let (files, store) = (folder.path().join("files"), folder.path().join("store"));
    write(&files, if kind == PACKED { "jpeg" } else { kind })?;
    if kind == PACKED {
        pack(&files, &store)?;
    }
    let line = |from: &Path| json!({ "loader": from, "side": SIDE }).to_string();
    let mut ours = Child::ours(&line(if kind == PACKED { &store } else { &files }), 1)?;
    let mut theirs = Child::python(python, "race_loader.py", &line(&files), 1)?;
    ours.step()?;
    theirs.step()?;
    let (mut our_blocks, mut their_blocks) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        our_blocks.push(ours.step()? / IMAGES as f64);
        their_blocks.push(theirs.step()? / IMAGES as f64);
    }
    Ok(Outcome {
        name: if kind == PACKED {
            format!("packed at {PACKED_SIDE} px of 720x576 (theirs: jpeg), two views of {SIDE} px")
        } else {
            format!("{kind} 720x576, two views of {SIDE} px")
        },
        setting: "Pillow, torchvision".to_owned(),
        ours: our_blocks,
        theirs: their_blocks,
        memory: None,
    })
}

fn write(folder: &Path, kind: &str) -> Result<()> {
    let drawn = data::synthetic::source(Seed::root(0), IMAGES, 1, 720);
    for (split, label) in
        [("train", "normal"), ("train", "defect"), ("validation", "normal"), ("validation", "defect")]
    {
        fs::create_dir_all(folder.join(split).join(label))?;
    }
    for index in 0..IMAGES {
        let image = drawn.train.open(index)?;
        let (width, height) = (image.width as u32, image.height as u32);
        let image =
            image::RgbImage::from_raw(width, height, image.pixels).context("pixels fill the image")?;
        let frame = imageops::crop_imm(&image, 0, (height - 576) / 2, width, 576).to_image();
        let label = if drawn.train.labels()[index].defect { "defect" } else { "normal" };
        let path = folder.join(format!("train/{label}/{index:02}.{kind}"));
        let file = BufWriter::new(fs::File::create(&path)?);
        let (pixels, rgb) = (frame.as_raw().as_slice(), image::ExtendedColorType::Rgb8);
        if kind == "png" {
            codecs::png::PngEncoder::new(file).write_image(pixels, width, 576, rgb)?;
        } else {
            codecs::jpeg::JpegEncoder::new_with_quality(file, 90).write_image(pixels, width, 576, rgb)?;
        }
    }
    // A source has a validation split; this one's is not read.
    let first = fs::read_dir(folder.join("train/normal"))?.next().context("no normal image was drawn")??;
    fs::copy(first.path(), folder.join("validation/normal").join(first.file_name()))?;
    Ok(())
}

fn pack(files: &Path, store: &Path) -> Result<()> {
    let packing = Packing {
        source: &data::folder::source(files)?,
        folder: store,
        form: Form::Pixels(PACKED_SIDE),
        shrink: &|image| shrunk(&image, PACKED_SIDE),
        on_bad_image: OnBadImage::Fail,
    };
    packing.pack(&|| {}).map(|_| ())
}

/// Our side: every image of a folder, with two views.
pub struct Worker {
    source: Source,
    indices: Vec<usize>,
    recipe: ViewSet,
    pass: usize,
}

impl Worker {
    pub fn new(folder: &Path, side: usize) -> Result<Self> {
        let source =
            if folder.ends_with("store") { store::open(folder)? } else { data::folder::source(folder)? };
        let indices: Vec<usize> = (0..source.train.labels().len()).collect();
        ensure!(indices.len() == IMAGES, "{}: {} images, expected {IMAGES}", folder.display(), indices.len());
        let mut recipe = ViewSet::paper(side);
        recipe.views.push(recipe.views[0]);
        recipe.views.truncate(2);
        Ok(Self { source, indices, recipe, pass: 0 })
    }

    /// One pass over all images, in one batch: nothing is loaded ahead.
    pub fn step(&mut self) -> Result<f32> {
        let loader = Loader {
            dataset: &*self.source.train,
            indices: &self.indices,
            views: &self.recipe.views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: IMAGES,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            numbers: DType::F32,
            seed: Seed::root(0),
        };
        self.pass += 1;
        let mut mean = f32::NAN;
        loader.epoch(self.pass, |batch| {
            mean = batch.images.mean_all()?.to_scalar()?;
            Ok(())
        })?;
        Ok(mean)
    }
}
