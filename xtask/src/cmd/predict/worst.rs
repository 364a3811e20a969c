//! The most suspicious images, as the page shows them.

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

/// Longer side of a picture on the page, pixels. Ours.
const THUMBNAIL: u32 = 192;

/// An image and its scores, ordered by logit.
#[derive(Clone, Debug)]
pub struct Worth {
    pub path: String,
    pub logit: f64,
    pub probability: f64,
    pub flagged: bool,
}

/// Some images, the worst first.
pub struct Worst(Vec<Worth>);

/// One of them with its picture.
pub struct Shown {
    pub worth: Worth,
    /// `data:image/jpeg;base64,...`
    pub uri: String,
    /// Rows of places, as the scorer sees them; empty where it sees none.
    pub places: Vec<Vec<f64>>,
}

/// The least logit is the greatest, so that a heap gives it away first.
struct Least(Worth);

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
    /// The `most` highest logits. Memory does not grow with the number of rows.
    pub fn of(rows: &Rows, most: usize) -> Result<Self> {
        let mut heap = BinaryHeap::new();
        for row in rows.read()? {
            let row = row?;
            if let Some((logit, probability, flagged)) = row.score {
                heap.push(Least(Worth { path: row.path, logit, probability, flagged }));
                if heap.len() > most {
                    heap.pop();
                }
            }
        }
        Ok(Self(heap.into_sorted_vec().into_iter().map(|Least(worth)| worth).collect()))
    }

    /// With their pictures; one that cannot be opened any more is left out.
    pub fn shown(&self, bundle: &Bundle, files: &Files) -> Result<Vec<Shown>> {
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
            let seen = if pictures.is_empty() { Vec::new() } else { bundle.see(&pictures, true)? };
            let of = opened.into_iter().zip(seen);
            shown.extend(of.map(|((worth, _, uri), seen)| Shown {
                worth: worth.clone(),
                uri,
                places: seen.places,
            }));
        }
        Ok(shown)
    }
}

/// A small JPEG as a page carries it.
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
