//! Sources of images and labels. Independent of tensors, methods and scores.
//!
//! Every source provides two [`Dataset`]s: one for training and one for validation.

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
pub use decode::{Header, SampleBits};
pub use imbalance::{Share, Subset};

use crate::named::named;

/// An 8-bit RGB image, rows top to bottom, channels interleaved (height x width x 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `height * width * 3` bytes.
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

/// Mask of the pixels that show a defect, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// True on the defect.
    pub pixels: Vec<bool>,
}

/// Labels of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The binary label that is used for all training and scoring.
    pub defect: bool,
    /// Which of the 17 Sewer-ML classes are present; empty for normal images and in data without classes.
    pub classes: ClassSet,
    /// Stratum for splits and subsets (a class combination, a cell type).
    pub stratum: u32,
}

/// Labelled images, addressed by position. Labels are in memory; images are opened individually.
pub trait Dataset: Send + Sync {
    /// Returns the labels of all images, in order.
    fn labels(&self) -> &[Labels];

    /// Decodes (or draws) the image at `index`; errors name its file and row.
    fn open(&self, index: usize) -> Result<Image>;

    /// Returns size, rotation and sample depth of the image at `index`. For files, only the header is read: this is
    /// cheaper than [`Self::open`] and detects missing, empty and unsupported files, but not truncated ones.
    fn header(&self, index: usize) -> Result<Header> {
        let Image { width, height, .. } = self.open(index)?;
        Ok(Header { width, height, turned: false, sixteen: false })
    }

    /// Returns the location of the image at `index` for messages: a path, with its row in the annotation file.
    fn location(&self, index: usize) -> String;

    /// Returns the BLAKE3 of what defines this data set (annotations, or generator version and seed), in hex.
    ///
    /// Runs with equal digests used the same labels in the same order. The content of image files is not included
    /// ([`Self::files`]).
    fn digest(&self) -> String;

    /// Returns the name under which the image at `index` is listed: its path relative to the data folder, or
    /// [`Self::location`] if it has no file.
    fn name(&self, index: usize) -> String {
        self.files().map_or_else(|| self.location(index), |files| files.name(index).to_owned())
    }

    /// Returns the group of the image at `index`, such as its pipe; `None` if images have no groups.
    fn group(&self, index: usize) -> Option<&str> {
        self.files()?.group(index)
    }

    /// Returns the class name that the data give the image at `index`; `None` if it has no class.
    fn class_name(&self, index: usize) -> Option<&str> {
        self.files()?.class_name(index)
    }

    /// Returns the pixels of the image at `index` that show its defect; `None` if unknown.
    ///
    /// # Errors
    /// If there is no such image.
    fn mask(&self, _index: usize) -> Result<Option<Mask>> {
        Ok(None)
    }

    /// Returns the files of the images; `None` if images are synthetic and therefore defined by the digest.
    fn files(&self) -> Option<&files::Files> {
        None
    }

    /// Returns the files for modification, which must precede their first use.
    fn files_mut(&mut self) -> Option<&mut files::Files> {
        None
    }
}

named! {
    /// Policy for images that cannot be decoded.
    #[derive(Default)]
    pub enum OnBadImage: "policy for bad images" {
        /// Stop, naming the file: a data set must not shrink silently.
        #[default]
        Fail = "fail",
        /// Leave the image out and count it; the count is reported with the result.
        Skip = "skip",
    }
}

named! {
    /// Policy for leaks: images or groups on both sides of a split, or equal images with both labels.
    #[derive(Default)]
    pub enum OnLeak: "policy for leaks" {
        /// Stop, and report the leaks: scores would be misleading.
        #[default]
        Stop = "stop",
        /// Continue; records and page report the leaks.
        Accept = "accept",
    }
}

/// A source of data, split for the benchmark.
pub struct Source {
    /// Name in records and reports: `synthetic`, `sewer-ml`, `elpv`, `folder`, `csv`.
    pub name: String,
    /// Training images; subsets are drawn from them.
    pub train: Box<dyn Dataset>,
    /// Validation images; none of them is in `train`.
    pub validation: Box<dyn Dataset>,
    /// True if images have the 17 Sewer-ML classes, so that F2_CIW is defined.
    pub has_classes: bool,
    /// Limitations of this data that readers must be aware of; printed with every table.
    pub limits: Vec<String>,
    /// How the files on disk were interpreted, and what was left out; empty if there was nothing to interpret.
    pub interpretation: Vec<String>,
    /// Files that are not used as images, each with the reason.
    pub left_out: Vec<[String; 2]>,
    /// Leaks that make scores misleading, as described by [`examine::Leaks`]; empty until files are examined.
    pub leaks: Vec<String>,
}

impl Source {
    /// Splits the training images into new training and validation images (3 to 1, always the same split), for tuning
    /// without this source's validation images.
    ///
    /// # Errors
    /// If images are synthetic: more of them can be drawn instead.
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
        fs::write(folder.path().join("train/normal/notes.txt"), "").unwrap();
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
        // All that is known of the data stays, and one limit is added.
        let limits = [
            "labels without defect classes: F2_CIW is not defined",
            "a part of the training images alone, to choose numbers on",
        ];
        assert_eq!(
            (source.name.as_str(), source.has_classes, &source.limits[..]),
            ("folder", false, &limits.map(str::to_owned)[..])
        );
        assert_eq!(source.interpretation, folder::source(folder.path()).unwrap().interpretation);
        assert_eq!(source.interpretation.len(), 4);
        let left_out = ["train/normal/notes.txt", "not an image by its name"].map(str::to_owned);
        assert_eq!(source.left_out, [left_out]);

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

    /// A data set that generates images instead of reading files.
    struct Drawn;

    impl Dataset for Drawn {
        fn labels(&self) -> &[Labels] {
            &[]
        }

        fn open(&self, index: usize) -> Result<Image> {
            Ok(Image::new(3, 2 + index, vec![0; 9 * (2 + index)]))
        }

        fn location(&self, index: usize) -> String {
            format!("picture {index}")
        }

        fn digest(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn a_data_set_without_files_has_what_its_pictures_say() {
        let head = Header { width: 3, height: 4, turned: false, sixteen: false };
        assert_eq!(Drawn.header(2).unwrap(), head);
        assert_eq!(
            (Drawn.name(1), Drawn.group(1), Drawn.class_name(1)),
            ("picture 1".to_owned(), None, None)
        );
        assert!(
            Drawn.mask(0).unwrap().is_none() && Drawn.files().is_none() && { Drawn }.files_mut().is_none()
        );
    }

    #[test]
    fn policies_are_strict_unless_told_otherwise() {
        assert_eq!((OnBadImage::default(), OnLeak::default()), (OnBadImage::Fail, OnLeak::Stop));
        assert_eq!(OnLeak::ALL.map(OnLeak::id), ["stop", "accept"]);
        let error = "go on".parse::<OnLeak>().unwrap_err();
        assert_eq!(error.to_string(), "no policy for leaks called 'go on'; known: stop, accept");
    }

    #[test]
    #[should_panic(expected = "3 x 2 RGB image")]
    fn an_image_has_three_bytes_a_pixel() {
        Image::new(3, 2, vec![0; 17]);
    }
}
