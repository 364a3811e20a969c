//! JPEG: which of two decoders reads a file right, where a file ends, and whether all of the picture is there
//! ([`coded`]).
//!
//! The `image` crate's decoder (zune-jpeg 0.5.15) is the faster one. It takes the blocks of several scans for those of one
//! where a file is not progressive, and reports success (<https://github.com/etemesi254/zune-image/issues/422>); where
//! luma is sampled more coarsely than chroma, it is wrong too, and at three samples of luma to one of chroma it stops. The
//! jpeg-decoder crate reads all of these right (`fixtures/pixels` has them). It is no longer developed, and reads
//! neither 12 bits a sample nor arithmetic coding; nor does the other.

mod bits;
mod blocks;
pub mod coded;
mod segments;
mod standard;

use std::io::Cursor;

use anyhow::{Result, bail, ensure};
use image::{ColorType, DynamicImage, ImageFormat, ImageReader, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};
use segments::{End, START_OF_SCAN, Segments};

use super::room::Room;

/// What the segments before the pixels say.
pub struct Head {
    pub width: u32,
    pub height: u32,
    /// The first segment of EXIF data.
    pub exif: Option<Vec<u8>>,
    components: u8,
    /// Whether coefficients of the whole picture are kept until the last scan.
    keeps: bool,
    usual: bool,
}

impl Head {
    /// What decoding takes.
    pub fn room(&self) -> Room {
        let color = if self.components == 1 { ColorType::L8 } else { ColorType::Rgb8 };
        // Coefficients have two bytes. The other decoder keeps each component's samples, and puts them together.
        let kept = if self.keeps { 2 * u64::from(self.components) } else { 0 };
        let beside = if self.usual { kept } else { 4 * u64::from(self.components) };
        Room { beside, ..Room::of(self.width, self.height, color) }
    }
}

/// Reads what the segments before the pixels say.
///
/// # Errors
/// If none of them describes a frame.
pub fn head(bytes: &[u8]) -> Result<Head> {
    let mut exif = None;
    for (marker, segment) in Segments::of(bytes) {
        match (marker, segment) {
            (0xe1, [b'E', b'x', b'i', b'f', 0, 0, data @ ..]) if exif.is_none() => exif = Some(data.to_vec()),
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, &[_, y1, y0, x1, x0, components, ..]) => {
                let [width, height] = [[x1, x0], [y1, y0]].map(|size| u32::from(u16::from_be_bytes(size)));
                let (keeps, usual) = (marker == 0xc2, is_usual(bytes));
                return Ok(Head { width, height, exif, components, keeps, usual });
            }
            (START_OF_SCAN, _) => break,
            _ => {}
        }
    }
    bail!("a JPEG without the size of its picture")
}

/// Decodes a whole file.
///
/// # Errors
/// If blocks of the picture lack or are damaged, or neither decoder can read it.
pub fn read(bytes: &[u8]) -> Result<DynamicImage> {
    let is_checked = coded::check(bytes)?;
    let image = if is_usual(bytes) { read_usual(bytes)? } else { read_unusual(bytes)? };
    ensure!(is_checked, coded::UNCHECKED);
    Ok(image)
}

fn read_usual(bytes: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg);
    // There is room, as the head has shown.
    reader.no_limits();
    Ok(reader.decode()?)
}

/// Decodes what the usual decoder gets wrong: never grey, which has one component.
fn read_unusual(bytes: &[u8]) -> Result<DynamicImage> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let pixels = decoder.decode()?;
    let Some(info) = decoder.info() else { bail!("the file has no frame") };
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let image = match info.pixel_format {
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        other => {
            bail!("JPEG of {other:?} is not read if it has several scans or unusual sampling; save it as RGB")
        }
    };
    match image {
        Some(image) => Ok(image),
        None => bail!("the decoder gave fewer pixels than {width} x {height}"),
    }
}

/// Whether the usual decoder is right: all components in each scan, or a progressive file; and the first component at least
/// as finely sampled as the others, by a power of two.
fn is_usual(bytes: &[u8]) -> bool {
    let (mut components, mut progressive) = (0, false);
    for (marker, segment) in Segments::of(bytes) {
        match marker {
            // Precision, two sizes, number of components, and of each its name, sampling and table.
            0xc0..=0xc2 => {
                progressive = marker == 0xc2;
                components = segment.get(5).copied().unwrap_or(0);
                let sampling: Vec<u8> = segment.iter().skip(7).step_by(3).copied().collect();
                if !is_usually_sampled(&sampling) {
                    return false;
                }
            }
            START_OF_SCAN => {
                return progressive || segment.first().is_none_or(|&scanned| scanned >= components);
            }
            _ => {}
        }
    }
    true
}

/// Each number has the horizontal factor in its upper half, the vertical one in its lower. One component alone is never
/// spread, whatever its factors say.
fn is_usually_sampled(sampling: &[u8]) -> bool {
    let [first, others @ ..] = sampling else { return true };
    let halves = |factors: u8| [factors >> 4, factors & 15];
    let divides = |&other: &u8| {
        let mut pairs = halves(*first).into_iter().zip(halves(other));
        pairs.all(|(first, other)| other > 0 && first % other == 0 && (first / other).is_power_of_two())
    };
    others.iter().all(divides)
}

/// Whether the segments lead to the end-of-image marker inside the file.
pub fn is_complete(bytes: &[u8]) -> bool {
    let mut segments = Segments::of(bytes);
    segments.by_ref().for_each(drop);
    // Not at a marker: the decoder will say what it thinks of that.
    segments.end() != Some(End::File)
}

#[cfg(test)]
mod tests;
