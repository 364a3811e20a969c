//! Where images and labels come from. Knows nothing about tensors, methods or scores.
//!
//! Every source gives the same thing: a [`Dataset`] to train on and one to validate on.

pub mod annotations;
pub mod cached;
pub mod classes;
pub mod content;
pub mod decode;
pub mod elpv;
pub mod examine;
pub mod files;
pub mod folder;
pub mod foreign;
pub mod groups;
pub mod imbalance;
pub mod inspect;
pub mod listing;
pub mod names;
pub mod package;
pub mod packed;
pub mod pixels;
pub mod regular;
pub mod sewer_ml;
pub mod store;
pub mod stratify;
pub mod synthetic;
pub mod table;
pub mod whole;
pub mod words;

use anyhow::{Context, Result};
pub use classes::{ClassSet, DefectClass};
pub use decode::{Head, SampleBits};
pub use imbalance::{Share, Subset};

use crate::named::named;

/// An 8-bit RGB image, rows top to bottom, channels interleaved (height x width x 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes, `height * width * 3` of them.
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

/// Which pixels of an image show a defect, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// True on the defect.
    pub pixels: Vec<bool>,
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

    /// Width, height and more of the image at `index`; from the file's header where there is one, which is
    /// cheaper than [`Self::open`] and finds missing, empty and foreign files, but not torn ones.
    fn head(&self, index: usize) -> Result<Head> {
        let Image { width, height, .. } = self.open(index)?;
        Ok(Head { width, height, turned: false, sixteen: false })
    }

    /// Where a person finds the image at `index`: a path, with its row in the annotation file.
    fn place(&self, index: usize) -> String;

    /// BLAKE3 of what defines this data set (annotations, or generator version and seed), in hex.
    /// Two runs with equal digests saw the same labels in the same order. What lies in image files is not in
    /// it ([`Self::files`]).
    fn digest(&self) -> String;

    /// What the image at `index` is called in lists: its path below the data's folder, or its place where it is drawn.
    fn name(&self, index: usize) -> String {
        self.files().map_or_else(|| self.place(index), |files| files.name(index).to_owned())
    }

    /// The group of the image at `index`, such as its pipe; none where images have no groups.
    fn group(&self, index: usize) -> Option<&str> {
        self.files()?.group(index)
    }

    /// The class of the image at `index` in the data's own words; none where it has none.
    fn kind(&self, index: usize) -> Option<&str> {
        self.files()?.kind(index)
    }

    /// Which pixels of the image at `index` show its defect; none where nobody knows.
    ///
    /// # Errors
    /// If there is no such image.
    fn mask(&self, _index: usize) -> Result<Option<Mask>> {
        Ok(None)
    }

    /// The files behind the images; none where they are drawn, since then the digest defines them.
    fn files(&self) -> Option<&files::Files> {
        None
    }

    /// The same, to be changed before they are used.
    fn files_mut(&mut self) -> Option<&mut files::Files> {
        None
    }
}

named! {
    /// What a loader does with an image that cannot be decoded.
    #[derive(Default)]
    pub enum OnBadImage: "policy for bad images" {
        /// Stop, naming the file: a silently smaller data set is another data set.
        #[default]
        Fail = "fail",
        /// Leave the image out and count it; the count is reported with the result.
        Skip = "skip",
    }
}

named! {
    /// What happens where a split has leaks: images or groups on both sides, or equal images under both labels.
    #[derive(Default)]
    pub enum OnLeak: "policy for leaks" {
        /// Stop, and say what they are: such scores are not what they seem.
        #[default]
        Stop = "stop",
        /// Go on; records and page say what they are.
        Accept = "accept",
    }
}

/// One source of data, split for the benchmark.
pub struct Source {
    /// Name in records and reports: `synthetic`, `sewer-ml`, `elpv`, `folder`, `csv`.
    pub name: String,
    /// Images to train on; subsets are drawn from them.
    pub train: Box<dyn Dataset>,
    /// Images to score on; none of them is in `train`.
    pub validation: Box<dyn Dataset>,
    /// True where images carry the 17 Sewer-ML classes, so that F2_CIW is defined.
    pub has_classes: bool,
    /// What a reader must know before believing numbers from this data; printed with every table.
    pub limits: Vec<String>,
    /// How what lies on disk was understood, and what of it was left out; empty where nothing was to be understood.
    pub understood: Vec<String>,
    /// Files that are no images of it, and why not.
    pub left_out: Vec<[String; 2]>,
    /// What makes scores say less than they seem to, as [`examine::Leaks`] words it; empty before files were examined.
    pub leaks: Vec<String>,
}

impl Source {
    /// The training images alone, split once more into images to train and to validate on, 3 to 1 and always alike:
    /// for choices that are to be scored on this source's validation images, none of which is in it.
    ///
    /// # Errors
    /// If images are drawn: draw others instead.
    pub fn within_training(self) -> Result<Self> {
        let files = self.train.files().context("drawn images are not split: draw others instead")?;
        let examine::Divided { train, validation, .. } = files.divide()?;
        let [train, validation] = [files.select(&train)?, files.select(&validation)?];
        let mut limits = self.limits;
        limits.push("a part of the training images alone, to choose numbers on".to_owned());
        Ok(Self { train: Box::new(train), validation: Box::new(validation), limits, ..self })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn what_choices_are_made_on_is_split_off_the_training_images() {
        let folder = tempfile::tempdir().unwrap();
        for (part, normals, defects) in [("train", 40, 12), ("validation", 8, 4)] {
            for (label, count) in [("normal", normals), ("defect", defects)] {
                fs::create_dir_all(folder.path().join(part).join(label)).unwrap();
                for image in 0..count {
                    fs::write(folder.path().join(part).join(label).join(format!("{image:02}.png")), b"")
                        .unwrap();
                }
            }
        }
        let within = || folder::source(folder.path()).unwrap().within_training().unwrap();
        let source = within();
        let names =
            |of: &dyn Dataset| (0..of.labels().len()).map(|index| of.name(index)).collect::<BTreeSet<_>>();
        let (train, validation) = (names(&*source.train), names(&*source.validation));
        assert!(train.iter().chain(&validation).all(|name| name.starts_with("train/")), "{validation:?}");
        assert!(train.is_disjoint(&validation) && train.len() + validation.len() == 52);
        let defects = |of: &dyn Dataset| of.labels().iter().filter(|labels| labels.defect).count();
        assert_eq!((validation.len(), defects(&*source.validation)), (13, 3), "a quarter of each label");
        assert_eq!(source.validation.digest(), within().validation.digest(), "always alike");
        assert!(source.limits.iter().any(|limit| limit.starts_with("a part of the training images alone")));

        let drawn = synthetic::source(crate::seed::Seed::root(0), 20, 20, 32);
        assert!(drawn.within_training().is_err(), "other pictures can be drawn");
    }

    #[test]
    fn policies_for_bad_images_are_read_as_written() {
        for policy in [OnBadImage::Fail, OnBadImage::Skip] {
            assert_eq!(policy.to_string().parse::<OnBadImage>().unwrap(), policy);
        }
        let error = "ignore".parse::<OnBadImage>().unwrap_err();
        assert_eq!(error.to_string(), "no policy for bad images called 'ignore'; known: fail, skip");
    }
}
