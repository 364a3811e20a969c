//! Decodes image files to 8-bit RGB: BMP, JPEG, PNG, PNM, TIFF (the first page) and WebP, recognised by content.
//!
//! Grey is repeated over the channels, alpha is dropped, samples of more than 8 bits are scaled (`depth`), and the
//! rotation stated in EXIF data is applied. Colour profiles are ignored. Files are first checked for completeness,
//! because lenient decoders fill in missing parts with grey and report success; the coded data of JPEG are parsed
//! block by block (`jpeg/coded.rs`). Files that would take too much memory are rejected before decoding (`room`).
//!
//! Detection of damage depends on the format. PNG has a checksum per chunk, and the amount of its data must match its
//! number of pixels. In JPEG, a changed bit that leaves the codes intact is not detected; that is about one in six of
//! the changes that visibly alter a picture. BMP, PNM, TIFF and WebP have no checksums: only missing data are
//! detected.

mod complete;
mod depth;
mod jpeg;
#[cfg(test)]
mod oracle;
mod orientation;
mod png;
mod room;
mod tiff;
#[cfg(test)]
mod tiles;

use std::{
    io::{BufRead, BufReader, Cursor, ErrorKind, Seek},
    path::Path,
};

use ::tiff::TiffError;
use anyhow::{Context as _, Error, Result, bail, ensure};
pub use depth::SampleBits;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, metadata::Orientation};
use room::Room;

use crate::data::{
    Image,
    regular::{self, SizeLimit},
};

/// File name extensions of the supported formats, in lower case.
pub const EXTENSIONS: [&str; 10] = ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "ppm", "tif", "tiff", "webp"];

/// Properties from the header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels per row, after rotation.
    pub width: usize,
    /// Number of rows, after rotation.
    pub height: usize,
    /// Whether the file states that the picture must be rotated or mirrored.
    pub turned: bool,
    /// Whether samples have 16 bits, of which fewer may be significant.
    pub sixteen: bool,
}

/// Decodes an image, assuming that all bits of 16-bit samples are significant.
///
/// # Errors
/// If the file is missing, empty, of another format, truncated or corrupt; the message names the file.
pub fn decode(path: &Path) -> Result<Image> {
    let bytes = regular::read(path, SizeLimit::IMAGE)
        .with_context(|| format!("cannot read image {}", path.display()))?;
    decode_bytes(&bytes, path, SampleBits::ALL)
}

/// Decodes an image from the bytes of the file at `path`, where `bits` of 16 are significant.
///
/// # Errors
/// Those of [`decode`], or if a sample exceeds `bits`.
pub fn decode_bytes(bytes: &[u8], path: &Path, bits: SampleBits) -> Result<Image> {
    Ok(decode_with_header(bytes, path, bits)?.0)
}

/// Like [`decode_bytes`], and also returns the header and the format of the file.
///
/// # Errors
/// Those of [`decode_bytes`].
pub fn decode_with_header(
    bytes: &[u8],
    path: &Path,
    bits: SampleBits,
) -> Result<(Image, Header, ImageFormat)> {
    // Third-party decoders have panicked on damaged files; a bad file must not end the program.
    let read = || from_bytes(bytes, bits);
    let read = std::panic::catch_unwind(read).unwrap_or_else(|_| bail!("corrupt: the decoder failed"));
    read.with_context(|| format!("cannot decode image {}", path.display()))
}

/// Reads the header of a file; damage to the rest is not detected.
///
/// # Errors
/// Those of [`decode`] that the header reveals.
pub fn read_header(path: &Path) -> Result<Header> {
    let file = regular::open(path).with_context(|| format!("cannot read image {}", path.display()))?;
    let read = || {
        ensure!(file.metadata()?.len() > 0, "the file has 0 bytes");
        let mut reader = BufReader::new(&file);
        let format = check_format(format_of(reader.fill_buf()?))?;
        head_of(reader, format)
    };
    read().with_context(|| format!("cannot decode image {}", path.display()))
}

/// Reads the header from all bytes of a file; `path` is its path in messages.
///
/// # Errors
/// Those of [`read_header`].
pub fn read_header_from_bytes(bytes: &[u8], path: &Path) -> Result<Header> {
    let read = || {
        ensure!(!bytes.is_empty(), "the file has 0 bytes");
        head_of(Cursor::new(bytes), check_format(format_of(bytes))?)
    };
    read().with_context(|| format!("cannot decode image {}", path.display()))
}

/// Returns the number of significant bits in the samples of the file at `path`; `None` if samples do not have 16
/// bits. The number that the file itself states is used unless its samples exceed it.
///
/// # Errors
/// Those of [`decode`].
pub fn bits_in_use(path: &Path) -> Result<Option<SampleBits>> {
    if !read_header(path)?.sixteen {
        return Ok(None);
    }
    let bytes = regular::read(path, SizeLimit::IMAGE)
        .with_context(|| format!("cannot read image {}", path.display()))?;
    bits_in_bytes(&bytes, path).map(Some)
}

/// Returns the number of significant bits in the 16-bit samples of a file, from all its bytes; `path` is its path in
/// messages.
///
/// # Errors
/// Those of [`bits_in_use`].
pub fn bits_in_bytes(bytes: &[u8], path: &Path) -> Result<SampleBits> {
    let used = || -> Result<SampleBits> {
        let format = format_of_complete(bytes)?;
        let largest = depth::largest(pixels(bytes, format)?.0);
        let stated = match format {
            // The number of significant bits for each channel.
            ImageFormat::Png => png::chunk(Cursor::new(bytes), *b"sBIT")
                .and_then(|bits| bits.into_iter().max())
                .filter(|bits| (1..=16).contains(bits))
                .map(|bits| u16::MAX >> (16 - bits)),
            ImageFormat::Tiff => tiff::page(Cursor::new(bytes))?.0.largest,
            _ => None,
        };
        // PNG requires writers to scale samples to all 16 bits and to state the original number of bits in sBIT. If
        // samples exceed the stated number, they were scaled.
        Ok(match stated {
            Some(stated) if largest > stated => SampleBits::ALL,
            Some(stated) => SampleBits::holding(stated),
            None => SampleBits::holding(largest),
        })
    };
    used().with_context(|| format!("cannot decode image {}", path.display()))
}

fn from_bytes(bytes: &[u8], bits: SampleBits) -> Result<(Image, Header, ImageFormat)> {
    let format = format_of_complete(bytes)?;
    let (mut pixels, seen) = pixels(bytes, format)?;
    pixels.apply_orientation(seen.orientation);
    let bits = if format == ImageFormat::Pnm { SampleBits::ALL } else { bits };
    let rgb = depth::to_rgb8(pixels, bits)?;
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok((Image::new(width, height, rgb.into_raw()), seen.head(), format))
}

/// Format of a complete file.
fn format_of_complete(bytes: &[u8]) -> Result<ImageFormat> {
    ensure!(!bytes.is_empty(), "the file has 0 bytes");
    let format = check_format(format_of(bytes))?;
    ensure!(complete::is_complete(bytes, format), "{}", torn(bytes));
    Ok(format)
}

fn torn(bytes: &[u8]) -> String {
    format!("truncated: the file ends after {} bytes, before the image does", bytes.len())
}

/// Returns pixels as stored, and the properties from the header.
fn pixels(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Seen)> {
    let seen = see(Cursor::new(bytes), format)?;
    seen.room.ensure()?;
    let read = match format {
        ImageFormat::Jpeg => jpeg::read(bytes),
        ImageFormat::Png => png::read(bytes),
        ImageFormat::Tiff => tiff::read(bytes),
        _ => {
            let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
            // Limits are not needed: the required memory was checked above.
            reader.no_limits();
            reader.decode().map_err(Error::from)
        }
    };
    match read {
        // In formats whose header does not reveal the end, only the decoder detects truncation.
        Err(error) if format != ImageFormat::Png && ended(&error) => bail!("{}", torn(bytes)),
        read => Ok((read?, seen)),
    }
}

/// Whether a decoder reached the end of the file. Decoders keep the I/O error inside their own, not as its cause.
fn ended(error: &Error) -> bool {
    let met = |cause: &(dyn std::error::Error + 'static)| match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ImageError::IoError(met)), _) | (_, Some(TiffError::IoError(met))) => Some(met.kind()),
        _ => cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind),
    };
    error.chain().any(|cause| met(cause) == Some(ErrorKind::UnexpectedEof))
}

/// Properties of a file that are known before its pixels are decoded.
struct Seen {
    room: Room,
    orientation: Orientation,
    sixteen: bool,
}

impl Seen {
    fn head(&self) -> Header {
        let (width, height) = (self.room.width as usize, self.room.height as usize);
        let swaps = orientation::swaps(self.orientation);
        let (width, height) = if swaps { (height, width) } else { (width, height) };
        Header { width, height, turned: self.orientation != Orientation::NoTransforms, sixteen: self.sixteen }
    }
}

fn see<R: BufRead + Seek>(mut reader: R, format: ImageFormat) -> Result<Seen> {
    let (room, orientation, sixteen) = match format {
        ImageFormat::Tiff => {
            let (page, room) = tiff::page(reader)?;
            (room, page.orientation, page.bits == 16)
        }
        ImageFormat::Jpeg => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            let head = jpeg::head(&bytes)?;
            (head.room(), orientation::from_exif(head.exif), false)
        }
        ImageFormat::Png => {
            let (room, wide) = png::head(&mut reader)?;
            // The decoder reports only chunks before the pixels.
            (room, orientation::from_exif(png::chunk(reader, *b"eXIf")), wide)
        }
        _ => {
            let mut reader = ImageReader::with_format(&mut reader, format);
            reader.no_limits();
            let mut decoder = reader.into_decoder()?;
            let (width, height) = decoder.dimensions();
            let mut room = Room::of(width, height, decoder.color_type());
            if format == ImageFormat::WebP {
                // Memory for its planes or its four channels, and for the pixels used for prediction.
                room.beside = 7;
            }
            // Damaged metadata do not invalidate the picture. PNM states its own maximum.
            (room, orientation::from_exif(decoder.exif_metadata().ok().flatten()), false)
        }
    };
    let turned = orientation::swaps(orientation);
    Ok(Seen { room: Room { turned, ..room }, orientation, sixteen })
}

fn head_of<R: BufRead + Seek>(reader: R, format: ImageFormat) -> Result<Header> {
    see(reader, format).map(|seen| seen.head())
}

/// Recognises the format by content. The file name is not used: the `image` crate would trust it if the content is
/// unknown.
fn format_of(start: &[u8]) -> Option<ImageFormat> {
    // BigTIFF (files above 4 GiB), which the `image` crate does not recognise.
    if start.starts_with(b"II+\0") || start.starts_with(b"MM\0+") {
        return Some(ImageFormat::Tiff);
    }
    image::guess_format(start).ok()
}

fn check_format(format: Option<ImageFormat>) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Jpeg, Png, Pnm, Tiff, WebP};
    const EXPECTED: &str = "expected BMP, JPEG, PNG, PNM, TIFF or WebP";
    match format {
        Some(format @ (Bmp | Jpeg | Png | Pnm | Tiff | WebP)) => Ok(format),
        Some(format) => bail!("{EXPECTED}, found {format:?}"),
        None => bail!("{EXPECTED}, found none of them"),
    }
}

#[cfg(test)]
mod tests;
