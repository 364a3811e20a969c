//! JPEG: which of two decoders reads a file right, and where a file ends.
//!
//! The `image` crate's decoder (zune-jpeg 0.5.15) is the faster one and reads all but files of several scans that are
//! not progressive: it takes their blocks for those of one scan and reports success
//! (<https://github.com/etemesi254/zune-image/issues/422>). The jpeg-decoder crate reads those right.

use std::io::Cursor;

use anyhow::{Result, bail};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Decodes a whole file.
///
/// # Errors
/// If neither decoder can read it.
pub fn read(bytes: &[u8]) -> Result<DynamicImage> {
    if is_scan_by_scan(bytes) {
        return read_scans(bytes);
    }
    Ok(image::load_from_memory_with_format(bytes, ImageFormat::Jpeg)?)
}

/// Decodes a file whose components are not all in one scan.
fn read_scans(bytes: &[u8]) -> Result<DynamicImage> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let pixels = decoder.decode()?;
    let Some(info) = decoder.info() else { bail!("the file has no frame") };
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        other => bail!("{other:?} in several scans is not read; save it as RGB"),
    };
    match image {
        Some(image) => Ok(image),
        None => bail!("the decoder gave fewer pixels than {width} x {height}"),
    }
}

/// Whether a sequential file has a scan with some of its components only.
fn is_scan_by_scan(bytes: &[u8]) -> bool {
    let mut components = 0;
    for (marker, segment) in Segments::of(bytes) {
        match marker {
            // Sequential frames: precision, two sizes, number of components.
            0xc0 | 0xc1 => components = segment.get(5).copied().unwrap_or(0),
            0xc2 => return false,
            START_OF_SCAN => return segment.first().is_some_and(|&scanned| scanned < components),
            _ => {}
        }
    }
    false
}

/// Markers of a file, each with the bytes of its segment. Segments are walked, not searched: an embedded thumbnail has
/// markers of its own.
struct Segments<'a> {
    bytes: &'a [u8],
    position: usize,
    /// What ends the walk.
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The end-of-image marker.
    Image,
    /// The end of the file.
    File,
    /// Something that is no marker.
    Foreign,
}

impl<'a> Segments<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 2, end: None }
    }

    fn stop<T>(&mut self, end: End) -> Option<T> {
        self.end = Some(end);
        None
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        loop {
            let Some(&[first, marker]) = self.bytes.get(self.position..self.position + 2) else {
                return self.stop(End::File);
            };
            match (first, marker) {
                (0xff, END_OF_IMAGE) => return self.stop(End::Image),
                // Fill byte, or a marker without a segment (restart, temporary).
                (0xff, 0xff) => self.position += 1,
                (0xff, 0x01 | 0xd0..=0xd8) => self.position += 2,
                (0xff, _) => break,
                _ => return self.stop(End::Foreign),
            }
        }
        let (marker, start) = (self.bytes[self.position + 1], self.position + 4);
        let Some(&[high, low]) = self.bytes.get(start - 2..start) else { return self.stop(End::File) };
        self.position += 2 + usize::from(u16::from_be_bytes([high, low]));
        let segment = self.bytes.get(start..self.position).unwrap_or_default();
        if marker == START_OF_SCAN {
            // Coded data: 0xff is followed by 0 (an escape) or a restart marker within it.
            let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
            match self.bytes.get(self.position..).and_then(|data| data.windows(2).position(ends)) {
                Some(length) => self.position += length,
                // The scan is given once more; what follows is the end of the file.
                None => self.position = self.bytes.len(),
            }
        }
        Some((marker, segment))
    }
}

/// Whether the segments lead to the end-of-image marker inside the file.
pub fn is_complete(bytes: &[u8]) -> bool {
    let mut segments = Segments::of(bytes);
    segments.by_ref().for_each(drop);
    // Not at a marker: the decoder will say what it thinks of that.
    segments.end != Some(End::File)
}
