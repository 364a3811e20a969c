//! Inspects every image of a data set before a long run uses it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rayon::prelude::*;

use crate::data::{Dataset, Header, files::Files};

/// How thoroughly to inspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Find the file and read its size from the header: takes seconds, but misses truncated files.
    Header,
    /// Decode every pixel.
    Pixels,
}

/// Result of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Number of inspected images: all of them.
    pub checked: usize,
    /// Images that a run could not use, by position.
    pub bad: Vec<BadImage>,
    /// Number of intact images for each (width, height).
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Number of intact images that are rotated or mirrored according to their EXIF data.
    pub turned: usize,
    /// Number of intact images with 16-bit samples.
    pub sixteen: usize,
}

/// An image that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadImage {
    /// Position in the data set.
    pub index: usize,
    /// Path, with the row in the annotation file.
    pub location: String,
    /// What is wrong, outermost cause first.
    pub error: String,
}

impl Inspection {
    /// Counts an intact image.
    fn count(&mut self, head: &Header) {
        *self.sizes.entry((head.width, head.height)).or_default() += 1;
        self.turned += usize::from(head.turned);
        self.sixteen += usize::from(head.sixteen);
    }

    /// Merges a later inspection of the same data set.
    fn and(mut self, later: Self) -> Self {
        self.bad.extend(later.bad);
        for (size, count) in later.sizes {
            *self.sizes.entry(size).or_default() += count;
        }
        self.turned += later.turned;
        self.sixteen += later.sixteen;
        self
    }

    /// Returns the results of examining files.
    pub fn from_examined(files: &Files) -> Self {
        let bad = files.unreadable().into_iter();
        let bad =
            bad.map(|(index, error)| BadImage { index, location: files.location(index), error }).collect();
        let mut inspection =
            Self { checked: files.len(), bad, sizes: BTreeMap::new(), turned: 0, sixteen: 0 };
        for sketch in (0..files.len()).filter_map(|index| files.sketch(index)) {
            *inspection.sizes.entry((sketch.width as usize, sketch.height as usize)).or_default() += 1;
            inspection.turned += usize::from(sketch.turned);
            inspection.sixteen += usize::from(sketch.bits > 0);
        }
        inspection
    }
}

/// Inspects all images on all cores. `progress` is called from many threads with the number of images done.
pub fn inspect(dataset: &dyn Dataset, depth: Depth, progress: &(dyn Fn(usize) + Sync)) -> Inspection {
    let checked = dataset.labels().len();
    let done = AtomicUsize::new(0);
    let nothing = || Inspection { checked, bad: Vec::new(), sizes: BTreeMap::new(), turned: 0, sixteen: 0 };
    let seen = |mut so_far: Inspection, index| {
        let head = match depth {
            Depth::Header => dataset.header(index),
            Depth::Pixels => dataset.open(index).and_then(|_| dataset.header(index)),
        };
        progress(1 + done.fetch_add(1, Relaxed));
        match head {
            Ok(head) => so_far.count(&head),
            Err(error) => {
                let (place, error) = (dataset.location(index), format!("{error:#}"));
                so_far.bad.push(BadImage { index, location: place, error });
            }
        }
        so_far
    };
    let all = (0..checked).into_par_iter().fold(nothing, seen).reduce(nothing, Inspection::and);
    debug_assert!(all.bad.is_sorted_by_key(|bad| bad.index));
    all
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Mutex};

    use tempfile::TempDir;

    use super::*;
    use crate::data::{folder, sewer_ml};

    #[test]
    fn the_fixture_is_sound() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sewer_ml");
        let source = sewer_ml::open(&fixture).unwrap();
        for depth in [Depth::Header, Depth::Pixels] {
            let heard = Mutex::new(Vec::new());
            let inspection = inspect(&*source.train, depth, &|done| heard.lock().unwrap().push(done));
            let sizes = BTreeMap::from([((32, 24), 28)]);
            let expected = Inspection { checked: 28, bad: Vec::new(), sizes, turned: 0, sixteen: 0 };
            assert_eq!(inspection, expected);
            let mut heard = heard.into_inner().unwrap();
            heard.sort_unstable();
            assert_eq!(heard, (1..=28).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bad_images_are_listed_by_position() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder/normal/1.png");
        let whole = fs::read(fixture).unwrap();
        let folder = TempDir::new().unwrap();
        for part in ["train", "validation"] {
            for label in ["normal", "defect"] {
                let path = folder.path().join(part).join(label);
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join("1.png"), &whole).unwrap();
                fs::write(path.join("2.png"), &whole[..whole.len() - 20]).unwrap();
                fs::write(path.join("3.png"), b"").unwrap();
            }
        }
        let source = folder::source(folder.path()).unwrap();
        let bad = |depth| {
            let inspection = inspect(&*source.train, depth, &|_| {});
            assert_eq!(inspection.sizes.values().sum::<usize>() + inspection.bad.len(), 6);
            inspection.bad
        };
        assert_eq!(bad(Depth::Pixels).iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2, 4, 5]);
        // A header does not reveal that the end is missing.
        assert_eq!(bad(Depth::Header).iter().map(|bad| bad.index).collect::<Vec<_>>(), [2, 5]);
        let torn = &bad(Depth::Pixels)[0];
        assert!(torn.location.ends_with("train/normal/2.png"), "{}", torn.location);
        assert!(torn.error.contains("truncated"), "{}", torn.error);
    }

    /// Copies fixtures of all sizes and kinds, and one file that is not a picture; returns them as a data set.
    fn gallery(folder: &Path) -> Files {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
        let names = [
            "jpeg-orientation6.jpg",
            "png-grey16-of-12.png",
            "torn.png",
            "jpeg-size17x9.jpg",
            "tiff-orientation3.tif",
            "tiff-grey16-of-12.tif",
            "png-orientation8.png",
        ];
        for name in names {
            match name {
                "torn.png" => fs::write(folder.join(name), b"no picture").unwrap(),
                name => drop(fs::copy(fixtures.join(name), folder.join(name)).unwrap()),
            }
        }
        let listing = crate::data::listing::Listing::of_normals(&names);
        let files = Files::new(listing, &[folder.to_owned()], None, String::new()).unwrap();
        files.set_sample_bits("12".parse().unwrap());
        files
    }

    /// Two pictures rotated by 90 degrees, one of 17 x 9, and three of the upright size, one of them rotated by 180
    /// degrees.
    #[test]
    fn sizes_turned_and_deep_pictures_are_counted_however_they_are_looked_at() {
        let folder = TempDir::new().unwrap();
        let files = gallery(folder.path());
        let sizes = BTreeMap::from([((17, 9), 1), ((23, 29), 2), ((29, 23), 3)]);
        for depth in [Depth::Header, Depth::Pixels] {
            let found = inspect(&files, depth, &|_| ());
            assert_eq!(
                (found.checked, &found.sizes, found.turned, found.sixteen),
                (7, &sizes, 3, 2),
                "{depth:?}"
            );
            let [torn] = &found.bad[..] else { panic!("{:?}", found.bad) };
            let path = folder.path().join("torn.png").display().to_string();
            let error = format!(
                "cannot decode image {path}: expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them"
            );
            assert_eq!(*torn, BadImage { index: 2, location: path, error });
        }
        files.examine(&[0, 1, 2, 3, 4, 5, 6], &|| ());
        assert_eq!(Inspection::from_examined(&files), inspect(&files, Depth::Pixels, &|_| ()));
        // However few of the 16 bits are in use.
        let fixtures = [Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels")];
        let listing = crate::data::listing::Listing::of_normals(&["png-grey16-of-10.png", "png-grey8.png"]);
        let few = Files::new(listing, &fixtures, None, String::new()).unwrap();
        few.set_sample_bits("10".parse().unwrap());
        few.examine(&[0, 1], &|| ());
        let found = Inspection::from_examined(&few);
        assert_eq!((found.sixteen, found.sizes), (1, BTreeMap::from([((29, 23), 2)])));
    }

    #[test]
    fn inspections_of_two_parts_are_added_up() {
        let bad = |index| BadImage { index, location: format!("{index}.png"), error: String::new() };
        let [first, second] =
            [(1, [((4, 3), 2), ((5, 5), 1)], 3, 5), (6, [((4, 3), 7), ((9, 8), 4)], 10, 20)].map(
                |(index, sizes, turned, sixteen)| Inspection {
                    checked: 50,
                    bad: vec![bad(index)],
                    sizes: sizes.into(),
                    turned,
                    sixteen,
                },
            );
        let sizes = BTreeMap::from([((4, 3), 9), ((5, 5), 1), ((9, 8), 4)]);
        let expected = Inspection { checked: 50, bad: vec![bad(1), bad(6)], sizes, turned: 13, sixteen: 25 };
        assert_eq!(first.and(second), expected);
    }
}
