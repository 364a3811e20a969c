//! Image files to 8-bit RGB: BMP, JPEG, PNG, PNM, TIFF (its first page) and WebP, told apart by content.
//!
//! Grey is repeated over the channels, alpha is dropped, samples of more than 8 bits are scaled ([`depth`]), a turn
//! noted in EXIF data is applied. Colour profiles are not. Files are checked for completeness first, because lenient
//! decoders fill what is missing with grey and report success.

mod complete;
mod depth;
mod jpeg;
#[cfg(test)]
mod oracle;
mod orientation;
mod png;
mod tiff;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Cursor, ErrorKind, Seek},
    path::Path,
};

use anyhow::{Context as _, Error, Result, bail, ensure};
pub use depth::SampleBits;
use image::{ColorType, DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, metadata::Orientation};

use crate::data::Image;

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
    let bytes = fs::read(path).with_context(|| format!("cannot read image {}", path.display()))?;
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
    let file = File::open(path).with_context(|| format!("cannot read image {}", path.display()))?;
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
    let bytes = fs::read(path).with_context(|| format!("cannot read image {}", path.display()))?;
    bits_in_bytes(&bytes, path).map(Some)
}

/// How many bits the 16-bit samples of a file use, from all its bytes; `path` is where people find it.
///
/// # Errors
/// As [`bits_in_use`].
pub fn bits_in_bytes(bytes: &[u8], path: &Path) -> Result<SampleBits> {
    let used = || -> Result<SampleBits> {
        let format = whole(bytes)?;
        let largest = depth::largest(pixels(bytes, format)?);
        let stated = match format {
            // Significant bits, for each channel.
            ImageFormat::Png => png::chunk(Cursor::new(bytes), *b"sBIT")
                .and_then(|bits| bits.into_iter().max())
                .filter(|bits| (1..=16).contains(bits))
                .map(|bits| u16::MAX >> (16 - bits)),
            ImageFormat::Tiff => tiff::page(Cursor::new(bytes))?.largest,
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
    let mut pixels = pixels(bytes, format)?;
    let (head, orientation) = head_and_orientation(Cursor::new(bytes), format)?;
    pixels.apply_orientation(orientation);
    let bits = if format == ImageFormat::Pnm { SampleBits::ALL } else { bits };
    let rgb = depth::to_rgb8(pixels, bits)?;
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok((Image::new(width, height, rgb.into_raw()), head, format))
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

/// Pixels as they are stored.
fn pixels(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage> {
    let read = match format {
        ImageFormat::Jpeg => jpeg::read(bytes),
        ImageFormat::Tiff => tiff::read(bytes),
        _ => image::load_from_memory_with_format(bytes, format).map_err(Error::from),
    };
    let ended = |error: &Error| {
        let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        causes.any(|cause| cause.kind() == ErrorKind::UnexpectedEof)
    };
    match read {
        // Without a head that tells where they end, files show it to the decoder only.
        Err(error) if format != ImageFormat::Png && ended(&error) => bail!("{}", torn(bytes)),
        Err(error) if matches!(error.downcast_ref(), Some(image::ImageError::Limits(_))) => bail!(
            "too large: decoded it takes more than 512 MiB (some 178 million pixels in colour); scale it down, or cut it into \
             tiles"
        ),
        read => read,
    }
}

fn head_of<R: BufRead + Seek>(reader: R, format: ImageFormat) -> Result<Head> {
    head_and_orientation(reader, format).map(|(head, _)| head)
}

fn head_and_orientation<R: BufRead + Seek>(
    mut reader: R,
    format: ImageFormat,
) -> Result<(Head, Orientation)> {
    let (width, height, orientation, sixteen) = match format {
        ImageFormat::Tiff => {
            let page = tiff::page(reader)?;
            (page.width, page.height, page.orientation, page.bits == 16)
        }
        ImageFormat::Jpeg => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            let head = jpeg::head(&bytes)?;
            (head.width, head.height, orientation::of(head.exif), false)
        }
        _ => {
            use ColorType::{L16, La16, Rgb16, Rgba16};
            let mut decoder = ImageReader::with_format(&mut reader, format).into_decoder()?;
            let (width, height) = decoder.dimensions();
            // PNM states its own maximum.
            let wide =
                matches!(decoder.color_type(), L16 | La16 | Rgb16 | Rgba16) && format != ImageFormat::Pnm;
            // Damaged notes about a picture do not make the picture worthless.
            let exif = decoder.exif_metadata().ok().flatten();
            drop(decoder);
            let exif = match format {
                // Its decoder sees only what stands before the pixels.
                ImageFormat::Png => png::chunk(reader, *b"eXIf"),
                _ => exif,
            };
            (width, height, orientation::of(exif), wide)
        }
    };
    let (width, height) = if orientation::swaps(orientation) { (height, width) } else { (width, height) };
    let turned = orientation != Orientation::NoTransforms;
    Ok((Head { width: width as usize, height: height as usize, turned, sixteen }, orientation))
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
