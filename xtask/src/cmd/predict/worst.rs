//! The most suspicious images of the triage page.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
    io::Cursor,
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use image::{ImageFormat, RgbImage, imageops::FilterType};
use rayon::prelude::*;
use skewbench::{
    bundle::Bundle,
    data::{Dataset, Image, files::Files},
};

use super::{picture, rows::Rows};

/// Longer side of an image on the page, pixels. Ours.
const THUMBNAIL: u32 = 192;

/// An image and its scores, ordered by logit.
#[derive(Clone, Debug)]
pub struct ScoredImage {
    pub path: String,
    pub logit: f64,
    pub probability: f64,
    pub flagged: bool,
}

/// The most suspicious images, the worst first.
pub struct Worst(Vec<ScoredImage>);

/// An image for the page.
pub struct PageImage {
    pub worth: ScoredImage,
    /// `data:image/jpeg;base64,...`
    pub uri: String,
    /// Scores by rows of places; empty if the scorer gives none.
    pub places: Vec<Vec<f64>>,
}

/// Reversed order, so that a heap removes the lowest logit first.
struct Least(ScoredImage);

impl Ord for Least {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.logit.total_cmp(&self.0.logit).then_with(|| self.0.path.cmp(&other.0.path))
    }
}

impl PartialOrd for Least {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Least {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Least {}

impl Worst {
    /// Finds the `most` highest logits. Memory does not grow with the number of rows.
    pub fn from_rows(rows: &Rows, most: usize) -> Result<Self> {
        let mut heap = BinaryHeap::new();
        for row in rows.read()? {
            let row = row?;
            if let Some((logit, probability, flagged)) = row.score {
                heap.push(Least(ScoredImage { path: row.path, logit, probability, flagged }));
                if heap.len() > most {
                    heap.pop();
                }
            }
        }
        Ok(Self(heap.into_sorted_vec().into_iter().map(|Least(worth)| worth).collect()))
    }

    /// Adds the images; one that can no longer be opened is left out.
    pub fn page_images(&self, bundle: &Bundle, files: &Files) -> Result<Vec<PageImage>> {
        let places: HashMap<&str, usize> = (0..files.len()).map(|index| (files.name(index), index)).collect();
        let mut shown = Vec::new();
        for worst in self.0.chunks(super::BATCH) {
            let opened: Vec<_> = worst
                .par_iter()
                .filter_map(|worth| {
                    let index = *places.get(worth.path.as_str())?;
                    let (small, _) = picture(files, index, bundle.manifest.side).ok()?;
                    Some((worth, small, thumbnail(&files.open(index).ok()?).ok()?))
                })
                .collect();
            let pictures: Vec<Image> = opened.iter().map(|(_, small, _)| small.clone()).collect();
            let seen = if pictures.is_empty() { Vec::new() } else { bundle.score(&pictures, true)? };
            let of = opened.into_iter().zip(seen);
            shown.extend(of.map(|((worth, _, uri), seen)| PageImage {
                worth: worth.clone(),
                uri,
                places: seen.places,
            }));
        }
        Ok(shown)
    }
}

/// Returns a small JPEG as a data URI.
fn thumbnail(image: &Image) -> Result<String> {
    let (width, height) = (image.width as u32, image.height as u32);
    let picture =
        RgbImage::from_raw(width, height, image.pixels.clone()).context("a picture of another size")?;
    let scale = f64::from(THUMBNAIL) / f64::from(width.max(height));
    let side = |of: u32| ((f64::from(of) * scale).round() as u32).max(1);
    let small = image::imageops::resize(&picture, side(width), side(height), FilterType::Triangle);
    let mut bytes = Cursor::new(Vec::new());
    small.write_to(&mut bytes, ImageFormat::Jpeg)?;
    Ok(format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(bytes.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::predict::rows::Row;

    #[test]
    fn the_highest_logits_come_first_and_no_more_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Rows::open(folder.path(), "b", 0.1).unwrap();
        for (path, logit) in [("a", -1.0), ("b", 3.0), ("c", 0.5), ("d", 3.0), ("e", 2.0)] {
            let score = Some((logit, 0.1 * logit, logit > 1.0));
            rows.push(Row { path: path.to_owned(), score, skipped: String::new() }).unwrap();
        }
        rows.push(Row { path: "torn".to_owned(), score: None, skipped: "torn".to_owned() }).unwrap();
        rows.flush().unwrap();
        let worst = |most| Worst::from_rows(&rows, most).unwrap().0;
        let paths = |most| worst(most).into_iter().map(|worth| worth.path).collect::<Vec<_>>();
        assert_eq!(paths(3), ["b", "d", "e"]);
        assert_eq!(paths(9), ["b", "d", "e", "c", "a"], "what was skipped has no logit");
        assert!(paths(0).is_empty());
        let first = &worst(1)[0];
        assert_eq!((first.logit, first.flagged), (3.0, true));
        assert!((first.probability - 0.3).abs() < 1e-12);
        assert!(!worst(9)[3].flagged);
    }

    #[test]
    fn pictures_are_small_and_keep_their_shape() {
        let image = Image::new(400, 100, [200, 30, 10].repeat(400 * 100));
        let uri = thumbnail(&image).unwrap();
        let bytes = BASE64_STANDARD.decode(uri.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let small = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(small.dimensions(), (192, 48));
        // A JPEG of one colour nearly keeps it: red stays red.
        let [red, green, blue] = small.get_pixel(90, 20).0;
        assert!(red > 180 && green < 60 && blue < 40, "{red} {green} {blue}");
        let row = [[200_u8, 30, 10].repeat(200), [10, 30, 200].repeat(200)].concat();
        let uri = thumbnail(&Image::new(400, 100, row.repeat(100))).unwrap();
        let bytes = BASE64_STANDARD.decode(uri.split(',').nth(1).unwrap()).unwrap();
        let small = image::load_from_memory(&bytes).unwrap().into_rgb8();
        for y in [2, 24, 46] {
            let ([left, ..], [.., right]) = (small.get_pixel(40, y).0, small.get_pixel(150, y).0);
            assert!(left > 180 && right > 180, "red on the left, blue on the right: {left}, {right}");
        }
        let tall = Image::new(3, 1_000, vec![0; 9_000]);
        let uri = thumbnail(&tall).unwrap();
        let bytes = BASE64_STANDARD.decode(uri.split(',').nth(1).unwrap()).unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().into_rgb8().dimensions(), (1, 192));
    }
}
