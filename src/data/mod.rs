//! Where images and labels come from. Knows nothing of tensors, methods or scores.
//!
//! Every source gives the same thing: a [`Dataset`] to train on and one to validate on.

pub mod classes;
pub mod contact_sheet;
pub mod synthetic;

use anyhow::Result;
pub use classes::{ClassSet, DefectClass};

/// An 8-bit RGB image, rows top to bottom, channels interleaved (height x width x 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Image {
    /// Wraps interleaved RGB bytes.
    ///
    /// # Panics
    /// If `pixels` is not `width * height * 3` long.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), width * height * 3, "{width} x {height} RGB image");
        Self { width, height, pixels }
    }
}

/// What is known of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The binary label that everything is trained and scored on.
    pub defect: bool,
    /// Which of the 17 Sewer-ML classes are present; empty when normal, and in data without classes.
    pub classes: ClassSet,
    /// Groups within which splits and subsets are stratified (a class combination, a cell type).
    pub stratum: u32,
}

/// Labelled images, addressed by position. Labels are in memory; images are opened one by one.
pub trait Dataset: Send + Sync {
    /// Labels of all images, in order.
    fn labels(&self) -> &[Labels];

    /// Decodes (or draws) the image at `index`; the error names its file and row.
    fn open(&self, index: usize) -> Result<Image>;

    /// Where a person finds the image at `index`: a path, with its row in the annotation file.
    fn place(&self, index: usize) -> String;

    /// BLAKE3 of what defines this data set (annotations, or generator version and seed), in hex.
    /// Two runs with equal digests saw the same labels in the same order.
    fn digest(&self) -> String;
}

/// One source of data, split for the benchmark.
pub struct Source {
    /// Name in records and reports: `synthetic`, `sewer-ml`, `elpv`, `folder`, `csv`.
    pub name: String,
    pub train: Box<dyn Dataset>,
    pub validation: Box<dyn Dataset>,
    /// True where images carry the 17 Sewer-ML classes, so that F2_CIW is defined.
    pub has_classes: bool,
    /// What a reader must know before believing numbers from this data; printed with every table.
    pub limits: Vec<String>,
}
