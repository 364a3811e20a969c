//! Small data sets of a few pictures, and the reports about them.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use image::{GrayImage, ImageBuffer, Luma, RgbImage};

use super::*;
use crate::{
    data::{ClassSet, Image, Labels, Source, listing::Listing, synthetic},
    seed::Seed,
};

const NORMAL: Labels = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };

/// Distinct random pictures.
fn drawn(count: usize) -> Vec<Image> {
    let source = synthetic::source(Seed::root(3), count, 2, 64);
    (0..count).map(|index| source.train.open(index).unwrap()).collect()
}

fn files(root: &Path, split: &str, pictures: &[Image]) -> Box<Files> {
    let mut listing = Listing::default();
    for (index, Image { width, height, pixels }) in pictures.iter().enumerate() {
        let name = format!("{split}{index}.png");
        let picture = RgbImage::from_raw(*width as u32, *height as u32, pixels.clone()).unwrap();
        picture.save(root.join(&name)).unwrap();
        listing.push(&name, NORMAL, None);
    }
    let files = Files::new(listing, &[root.to_owned()], None, String::new()).unwrap();
    files.examine(&(0..pictures.len()).collect::<Vec<_>>(), &|| ());
    Box::new(files)
}

fn source(root: &Path, train: &[Image], validation: &[Image]) -> Source {
    let (limits, understood, left_out, leaks) = Default::default();
    Source {
        name: "folder".to_owned(),
        train: files(root, "train", train),
        validation: files(root, "validation", validation),
        has_classes: false,
        limits,
        understood,
        left_out,
        leaks,
    }
}

/// Leaks name the training image for each validation image: with equal bytes, and with all but one pixel equal.
#[test]
fn leaks_name_validation_images_by_the_training_images_that_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = drawn(6);
    let mut nearly = pictures[2].clone();
    nearly.pixels[0] ^= 1;
    let validation = [&pictures[4], &pictures[5], &pictures[1], &nearly].map(Image::clone);
    let leaks = Leaks::of(&source(folder.path(), &pictures[..4], &validation));
    assert_eq!((leaks.equal.clone(), leaks.near.clone()), ([(2, 1)].into(), [(3, 2)].into()));
    let lines = leaks.lines(4);
    let such = |of: [usize; 2]| format!("validation{}.png, which is {}", of[0], folder.path().display());
    for ((line, of), how) in lines.iter().zip([[2, 1], [3, 2]]).zip(["has the same bytes", "is nearly equal"])
    {
        assert!(line.starts_with(&format!("1 of 4 validation images {how}")), "{line}");
        assert!(line.contains(&such(of)) && line.contains(&format!("train{}.png", of[1])), "{line}");
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
}

/// A network sees the whole picture resized to a square, so the shorter side is enlarged most.
#[test]
fn small_and_empty_pictures_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let patterned = |width: usize, height: usize| {
        Image::new(width, height, (0..width * height * 3).map(|n| (n * 31 % 251) as u8).collect())
    };
    let narrow = [patterned(20, 90), patterned(64, 64), patterned(90, 20)];
    let flat = [patterned(64, 64), Image::new(64, 64, vec![9; 64 * 64 * 3])];
    let lines = source(folder.path(), &narrow, &flat).seen(64);
    for (what, first) in [
        ("2 of 3 training images are enlarged more than twice to reach 64 px", "train0.png"),
        ("1 of 2 validation images are of one colour throughout", "validation1.png"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(line.ends_with(first), "{line}");
    }
}

/// Whoever waits is told of every file, also of those that are known already.
#[test]
fn every_file_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), "train", &drawn(5));
    for indices in [&[0, 1, 2, 3, 4][..], &[2, 3]] {
        let done = AtomicUsize::new(0);
        files.examine(indices, &|| {
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(done.into_inner(), indices.len());
    }
}

/// What a picture of 16-bit samples is like holds as long as they are scaled as then.
#[test]
fn a_sketch_is_of_samples_as_they_are_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let sketched = |deep: bool| {
        let name = if deep { "deep.png" } else { "plain.png" };
        let path = folder.path().join(name);
        match deep {
            true => ImageBuffer::from_fn(40, 40, |x, y| Luma([(x * y) as u16])).save(path).unwrap(),
            false => GrayImage::from_fn(40, 40, |x, y| Luma([(x * y / 8) as u8])).save(path).unwrap(),
        }
        let with = |bits: &str| {
            let mut listing = Listing::default();
            listing.push(name, NORMAL, None);
            let files = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
            files.set_sample_bits(bits.parse().unwrap());
            files
        };
        let first = with("12");
        first.examine(&[0], &|| ());
        let known = first.known(0).unwrap();
        let later = |bits| {
            let files = with(bits);
            files.remember(0, known);
            files.sketch(0).map(|sketch| sketch.bits)
        };
        [later("12"), later("16")]
    };
    assert_eq!(sketched(true), [Some(12), None]);
    assert_eq!(sketched(false), [Some(0), Some(0)], "8 bits are not scaled");
}
