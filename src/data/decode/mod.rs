//! Image files to 8-bit RGB: BMP, JPEG, PNG, PNM, TIFF (its first page) and WebP, told apart by content.
//!
//! Grey is repeated over the channels, alpha is dropped, samples of more than 8 bits are scaled ([`depth`]), a turn
//! noted in EXIF data is applied. Colour profiles are not. Files are checked for completeness first, because lenient
//! decoders fill what is missing with grey and report success; the coded data of JPEG are read over, block by block
//! (`jpeg/coded.rs`). What would take too much memory is refused before ([`room`]).
//!
//! What formats show of damage: PNG has a checksum of each chunk, and its data must be as many as its pixels. In JPEG a
//! changed bit that leaves codes as they were, about one in six that change a picture visibly, is not seen. BMP, PNM, TIFF
//! and WebP have no checksums: there only what lacks is seen.

mod complete;
mod depth;
mod jpeg;
#[cfg(test)]
mod oracle;
mod orientation;
mod png;
mod room;
mod tiff;

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
    regular::{self, Most},
};

/// Ends of names under which people keep images of the formats that are read, in lower case.
pub const EXTENSIONS: [&str; 10] = ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "ppm", "tif", "tiff", "webp"];

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Pixels a row, after turning.
    pub width: usize,
    /// Rows, after turning.
    pub height: usize,
    /// Whether the file says that the picture is to be turned or mirrored.
    pub turned: bool,
    /// Whether samples have 16 bits of which fewer may be in use.
    pub sixteen: bool,
}

/// Reads a whole image, in which all bits of 16 are in use.
///
/// # Errors
/// Names the file and what is wrong with it: missing, 0 bytes, none of the formats, truncated, corrupt.
pub fn decode(path: &Path) -> Result<Image> {
    let bytes =
        regular::read(path, Most::IMAGE).with_context(|| format!("cannot read image {}", path.display()))?;
    decode_bytes(&bytes, path, SampleBits::ALL)
}

/// Reads a whole image from the bytes of the file at `path`, in which `bits` of 16 are in use.
///
/// # Errors
/// As [`decode`]; and if a sample does not fit into `bits`.
pub fn decode_bytes(bytes: &[u8], path: &Path, bits: SampleBits) -> Result<Image> {
    Ok(seen(bytes, path, bits)?.0)
}

/// As [`decode_bytes`], with the file's head and its format.
///
/// # Errors
/// As there.
pub fn seen(bytes: &[u8], path: &Path, bits: SampleBits) -> Result<(Image, Head, ImageFormat)> {
    // Decoders of other people have panicked at damaged files; a file is no reason to end.
    let read = || from_bytes(bytes, bits);
    let read = std::panic::catch_unwind(read).unwrap_or_else(|_| bail!("corrupt: the decoder broke down"));
    read.with_context(|| format!("cannot decode image {}", path.display()))
}

/// Reads the head of the file; does not notice if the rest is damaged.
///
/// # Errors
/// As [`decode`], for what can be seen in the head.
pub fn head(path: &Path) -> Result<Head> {
    let file = regular::open(path).with_context(|| format!("cannot read image {}", path.display()))?;
    let read = || {
        ensure!(file.metadata()?.len() > 0, "the file has 0 bytes");
        let mut reader = BufReader::new(&file);
        let format = check_format(format_of(reader.fill_buf()?))?;
        head_of(reader, format)
    };
    read().with_context(|| format!("cannot decode image {}", path.display()))
}

/// Reads the head of a file from all its bytes; `path` is where people find it.
///
/// # Errors
/// As [`head`].
pub fn head_of_bytes(bytes: &[u8], path: &Path) -> Result<Head> {
    let read = || {
        ensure!(!bytes.is_empty(), "the file has 0 bytes");
        head_of(Cursor::new(bytes), check_format(format_of(bytes))?)
    };
    read().with_context(|| format!("cannot decode image {}", path.display()))
}

/// How many bits the samples of the file at `path` use; none where they have no 16. What the file itself states is
/// believed where its samples do not exceed it.
///
/// # Errors
/// As [`decode`].
pub fn bits_in_use(path: &Path) -> Result<Option<SampleBits>> {
    if !head(path)?.sixteen {
        return Ok(None);
    }
    let bytes =
        regular::read(path, Most::IMAGE).with_context(|| format!("cannot read image {}", path.display()))?;
    bits_in_bytes(&bytes, path).map(Some)
}

/// How many bits the 16-bit samples of a file use, from all its bytes; `path` is where people find it.
///
/// # Errors
/// As [`bits_in_use`].
pub fn bits_in_bytes(bytes: &[u8], path: &Path) -> Result<SampleBits> {
    let used = || -> Result<SampleBits> {
        let format = whole(bytes)?;
        let largest = depth::largest(pixels(bytes, format)?.0);
        let stated = match format {
            // Significant bits, for each channel.
            ImageFormat::Png => png::chunk(Cursor::new(bytes), *b"sBIT")
                .and_then(|bits| bits.into_iter().max())
                .filter(|bits| (1..=16).contains(bits))
                .map(|bits| u16::MAX >> (16 - bits)),
            ImageFormat::Tiff => tiff::page(Cursor::new(bytes))?.0.largest,
            _ => None,
        };
        // PNG asks writers to spread samples over all 16 bits and to note in sBIT how many there were before. If they
        // exceed what is noted, they were spread.
        Ok(match stated {
            Some(stated) if largest > stated => SampleBits::ALL,
            Some(stated) => SampleBits::holding(stated),
            None => SampleBits::holding(largest),
        })
    };
    used().with_context(|| format!("cannot decode image {}", path.display()))
}

fn from_bytes(bytes: &[u8], bits: SampleBits) -> Result<(Image, Head, ImageFormat)> {
    let format = whole(bytes)?;
    let (mut pixels, seen) = pixels(bytes, format)?;
    pixels.apply_orientation(seen.orientation);
    let bits = if format == ImageFormat::Pnm { SampleBits::ALL } else { bits };
    let rgb = depth::to_rgb8(pixels, bits)?;
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok((Image::new(width, height, rgb.into_raw()), seen.head(), format))
}

/// The format of a file that is all there.
fn whole(bytes: &[u8]) -> Result<ImageFormat> {
    ensure!(!bytes.is_empty(), "the file has 0 bytes");
    let format = check_format(format_of(bytes))?;
    ensure!(complete::is_complete(bytes, format), "{}", torn(bytes));
    Ok(format)
}

fn torn(bytes: &[u8]) -> String {
    format!("truncated: the file ends after {} bytes, before the image does", bytes.len())
}

/// Pixels as they are stored, and what the head says.
fn pixels(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Seen)> {
    let seen = see(Cursor::new(bytes), format)?;
    seen.room.ensure()?;
    let read = match format {
        ImageFormat::Jpeg => jpeg::read(bytes),
        ImageFormat::Png => png::read(bytes),
        ImageFormat::Tiff => tiff::read(bytes),
        _ => {
            let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
            // There is room, as was found above.
            reader.no_limits();
            reader.decode().map_err(Error::from)
        }
    };
    match read {
        // Without a head that tells where they end, files show it to the decoder only.
        Err(error) if format != ImageFormat::Png && ended(&error) => bail!("{}", torn(bytes)),
        read => Ok((read?, seen)),
    }
}

/// Whether a decoder came to the end of the file. What it met there is within its own error, and not the cause of it.
fn ended(error: &Error) -> bool {
    let met = |cause: &(dyn std::error::Error + 'static)| match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ImageError::IoError(met)), _) | (_, Some(TiffError::IoError(met))) => Some(met.kind()),
        _ => cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind),
    };
    error.chain().any(|cause| met(cause) == Some(ErrorKind::UnexpectedEof))
}

/// What is seen of a file before its pixels are.
struct Seen {
    room: Room,
    orientation: Orientation,
    sixteen: bool,
}

impl Seen {
    fn head(&self) -> Head {
        let (width, height) = (self.room.width as usize, self.room.height as usize);
        let swaps = orientation::swaps(self.orientation);
        let (width, height) = if swaps { (height, width) } else { (width, height) };
        Head { width, height, turned: self.orientation != Orientation::NoTransforms, sixteen: self.sixteen }
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
            (head.room(), orientation::of(head.exif), false)
        }
        ImageFormat::Png => {
            let (room, wide) = png::head(&mut reader)?;
            // A decoder sees only what stands before the pixels.
            (room, orientation::of(png::chunk(reader, *b"eXIf")), wide)
        }
        _ => {
            let mut reader = ImageReader::with_format(&mut reader, format);
            reader.no_limits();
            let mut decoder = reader.into_decoder()?;
            let (width, height) = decoder.dimensions();
            let mut room = Room::of(width, height, decoder.color_type());
            if format == ImageFormat::WebP {
                // Its planes, or its four channels, and what is predicted from.
                room.beside = 7;
            }
            // Damaged notes about a picture do not make the picture worthless. PNM states its own maximum.
            (room, orientation::of(decoder.exif_metadata().ok().flatten()), false)
        }
    };
    let turned = orientation::swaps(orientation);
    Ok(Seen { room: Room { turned, ..room }, orientation, sixteen })
}

fn head_of<R: BufRead + Seek>(reader: R, format: ImageFormat) -> Result<Head> {
    see(reader, format).map(|seen| seen.head())
}

/// Not by the file's name: where the content says nothing, a name would be believed.
fn format_of(start: &[u8]) -> Option<ImageFormat> {
    // TIFF of more than 4 GiB, which the `image` crate does not know.
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
