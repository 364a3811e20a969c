//! JPEG: chooses the decoder that reads a file correctly, finds the end of a file, and checks that the picture is
//! complete ([`coded`]).
//!
//! The `image` crate's decoder (zune-jpeg 0.5.15) is faster. In a file with several scans that is not progressive, it
//! confuses the blocks of different scans, and reports success
//! (<https://github.com/etemesi254/zune-image/issues/422>). It is also wrong if luma is subsampled more than chroma,
//! and fails for three samples of luma per sample of chroma. The jpeg-decoder crate reads all of these correctly
//! (`fixtures/pixels` has them). It is no longer developed. Neither supports 12 bits per sample or arithmetic coding.

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

/// Properties of a file, from the segments before the coded data.
pub struct Head {
    pub width: u32,
    pub height: u32,
    /// The first segment of EXIF data.
    pub exif: Option<Vec<u8>>,
    components: u8,
    /// Whether the decoder must keep the coefficients of the whole picture until the last scan.
    keeps: bool,
    usual: bool,
}

impl Head {
    /// Returns the memory needed for decoding.
    pub fn room(&self) -> Room {
        let color = if self.components == 1 { ColorType::L8 } else { ColorType::Rgb8 };
        // Coefficients take two bytes. jpeg-decoder keeps the samples of each component before it combines them.
        let kept = if self.keeps { 2 * u64::from(self.components) } else { 0 };
        let beside = if self.usual { kept } else { 4 * u64::from(self.components) };
        Room { beside, ..Room::of(self.width, self.height, color) }
    }
}

/// Reads the segments before the coded data.
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
    bail!("expected the image's size in the JPEG header, found none")
}

/// Decodes a whole file.
///
/// # Errors
/// If blocks are missing or damaged, or neither decoder can read the file.
pub fn read(bytes: &[u8]) -> Result<DynamicImage> {
    let is_checked = coded::check(bytes)?;
    let image = if is_usual(bytes) { read_usual(bytes)? } else { read_unusual(bytes)? };
    ensure!(is_checked, coded::UNCHECKED);
    Ok(image)
}

fn read_usual(bytes: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg);
    // Limits are not needed: the memory was checked from the header.
    reader.no_limits();
    Ok(reader.decode()?)
}

/// Decodes a file that the usual decoder reads incorrectly; never a grey one, which has one component.
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

/// Whether the usual decoder reads the file correctly: each scan has all components, or the file is progressive; and
/// the first component is sampled at least as finely as the others, by a power of two.
fn is_usual(bytes: &[u8]) -> bool {
    let (mut components, mut progressive) = (0, false);
    for (marker, segment) in Segments::of(bytes) {
        match marker {
            // Precision, two sizes, the number of components, and for each component its name, sampling and table.
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

/// Whether the usual decoder handles these sampling factors, one byte per component: horizontal in the upper four bits,
/// vertical in the lower. A single component is never upsampled, whatever its factors.
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
    // If they ended at something that is not a marker, the decoder will report the error.
    segments.end() != Some(End::File)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;
