//! Image files to 8-bit RGB: PNG and JPEG, told apart by content.
//!
//! Grey is repeated over the channels, alpha is dropped, 16 bits are scaled to 8. A rotation noted in a
//! photo's metadata is not applied. Files are checked for completeness first, because lenient JPEG
//! decoders fill what is missing with grey and report success.

use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use image::{ImageFormat, ImageReader};

use crate::data::Image;

/// Reads a whole image.
///
/// # Errors
/// Names the file and what is wrong with it: missing, 0 bytes, neither PNG nor JPEG, truncated, corrupt.
pub fn decode(path: &Path) -> Result<Image> {
    let bytes = fs::read(path).with_context(|| format!("cannot read image {}", path.display()))?;
    decode_bytes(&bytes, path)
}

/// Reads a whole image from the bytes of the file at `path`.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8], path: &Path) -> Result<Image> {
    from_bytes(bytes).with_context(|| format!("cannot decode image {}", path.display()))
}

/// Reads width and height from the head of the file; does not notice if the rest is damaged.
///
/// # Errors
/// As [`decode`], for what can be seen in the head.
pub fn dimensions(path: &Path) -> Result<(usize, usize)> {
    let file = File::open(path).with_context(|| format!("cannot read image {}", path.display()))?;
    let read = || {
        // Not `ImageReader::open`, which believes the extension where the content says nothing.
        let reader = ImageReader::new(BufReader::new(&file)).with_guessed_format()?;
        ensure!(file.metadata()?.len() > 0, "the file has 0 bytes");
        check_format(reader.format())?;
        Ok(reader.into_dimensions()?)
    };
    let (width, height) = read().with_context(|| format!("cannot decode image {}", path.display()))?;
    Ok((width as usize, height as usize))
}

fn from_bytes(bytes: &[u8]) -> Result<Image> {
    ensure!(!bytes.is_empty(), "the file has 0 bytes");
    let format = check_format(image::guess_format(bytes).ok())?;
    let complete = match format {
        ImageFormat::Png => png_is_complete(bytes),
        _ => jpeg_is_complete(bytes),
    };
    ensure!(complete, "truncated: the file ends after {} bytes, before the image does", bytes.len());
    let rgb = image::load_from_memory_with_format(bytes, format)?.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Image::new(width, height, rgb.into_raw()))
}

fn check_format(format: Option<ImageFormat>) -> Result<ImageFormat> {
    match format {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok(format),
        Some(format) => bail!("expected PNG or JPEG, found {format:?}"),
        None => bail!("expected PNG or JPEG, found neither"),
    }
}

/// Whether the chunks (length, type, data, checksum) lead to the end chunk inside the file.
fn png_is_complete(bytes: &[u8]) -> bool {
    let mut chunk = 8;
    while let Some(head) = bytes.get(chunk..chunk + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        chunk += 12 + length;
        if &head[4..] == b"IEND" {
            return chunk <= bytes.len();
        }
    }
    false
}

/// Whether the segments lead to the end-of-image marker inside the file. Segments are walked, not
/// searched: an embedded thumbnail has an end marker of its own.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    let mut position = 2;
    while let Some(&[first, marker]) = bytes.get(position..position + 2) {
        if first != 0xff {
            // Not at a marker: the decoder will say what it thinks of that.
            return true;
        }
        match marker {
            END_OF_IMAGE => return true,
            // Fill byte, or a marker without a segment (restart, temporary).
            0xff => position += 1,
            0x01 | 0xd0..=0xd8 => position += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(position + 2..position + 4) else { return false };
                position += 2 + usize::from(u16::from_be_bytes([high, low]));
                if marker == START_OF_SCAN {
                    // Coded data: 0xff is followed by 0 (an escape) or a restart marker within it.
                    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
                    match bytes.get(position..).and_then(|data| data.windows(2).position(ends)) {
                        Some(length) => position += length,
                        None => return false,
                    }
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, path::PathBuf};

    use image::{DynamicImage, GrayImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};
    use tempfile::TempDir;

    use super::*;

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn frame() -> RgbImage {
        RgbImage::from_fn(32, 24, |x, y| Rgb([8 * x as u8, 10 * y as u8, (x * y % 251) as u8]))
    }

    fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Both readers' complaints about a file, and that they name it.
    fn complaint(error: anyhow::Error, name: &str) -> String {
        assert!(error.to_string().ends_with(name), "{error}");
        format!("{:#}", error.source().map_or(error.to_string(), ToString::to_string))
    }

    #[test]
    fn png_pixels_come_out_as_they_went_in() {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "frame.png", &encode(&frame().into(), ImageFormat::Png));
        let image = decode(&path).unwrap();
        assert_eq!(image, Image::new(32, 24, frame().into_raw()));
        assert_eq!(dimensions(&path).unwrap(), (32, 24));
    }

    #[test]
    fn jpeg_is_known_by_content_under_any_name() {
        let folder = TempDir::new().unwrap();
        let smooth = RgbImage::from_fn(32, 24, |x, _| Rgb([4 * x as u8, 100, 200]));
        let path = write(&folder, "frame.png", &encode(&smooth.clone().into(), ImageFormat::Jpeg));
        let image = decode(&path).unwrap();
        assert_eq!((image.width, image.height), (32, 24));
        let worst = image.pixels.iter().zip(smooth.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst < Some(16), "JPEG error {worst:?}");
        assert_eq!(dimensions(&path).unwrap(), (32, 24));
    }

    #[test]
    fn grey_alpha_and_16_bit_become_rgb() {
        let folder = TempDir::new().unwrap();
        let images: [(DynamicImage, [u8; 3]); 4] = [
            (GrayImage::from_pixel(2, 2, image::Luma([77])).into(), [77; 3]),
            (RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0])).into(), [1, 2, 3]),
            // 257 v is the 16-bit value of 8-bit v: 65,535 = 257 * 255.
            (ImageBuffer::from_pixel(2, 2, image::Luma([257_u16 * 99])).into(), [99; 3]),
            (ImageBuffer::from_pixel(2, 2, Rgb([257_u16, 257 * 128, 257 * 255])).into(), [1, 128, 255]),
        ];
        for (i, (source, expected)) in images.into_iter().enumerate() {
            let path = write(&folder, &format!("{i}.png"), &encode(&source, ImageFormat::Png));
            assert_eq!(decode(&path).unwrap().pixels, expected.repeat(4), "{i}");
        }
    }

    #[test]
    fn every_torn_file_is_called_truncated() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encode(&frame().into(), format);
            assert!(from_bytes(&whole).is_ok());
            // Below 8 bytes the format itself cannot be seen.
            for length in 8..whole.len() {
                let error = from_bytes(&whole[..length]).unwrap_err().to_string();
                let expected =
                    format!("truncated: the file ends after {length} bytes, before the image does");
                assert_eq!(error, expected, "{format:?} cut at {length}");
            }
            // A download that reserved its space and stopped half way.
            let mut hollow = whole.clone();
            hollow[whole.len() / 2..].fill(0);
            assert!(from_bytes(&hollow).is_err(), "{format:?}");
        }
    }

    #[test]
    fn a_restart_is_not_the_end_of_the_image() {
        // Blocks between restarts are coded alike, so a block and itself again are an image of two.
        let block = GrayImage::from_fn(8, 8, |x, y| image::Luma([(20 * x + 3 * y) as u8]));
        let mut bytes = encode(&block.into(), ImageFormat::Jpeg);
        let single = from_bytes(&bytes).unwrap();
        let find = |marker: u8| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
        let (frame, scan, end) = (find(0xc0), find(0xda), bytes.len() - 2);
        bytes[frame + 8] = 16;
        let data = bytes[scan + 2 + usize::from(bytes[scan + 3])..end].to_vec();
        bytes.splice(end..end, [&[0xff, 0xd0][..], &data].concat());
        bytes.splice(scan..scan, [0xff, 0xdd, 0, 4, 0, 1]);

        let double = from_bytes(&bytes).unwrap();
        assert_eq!((double.width, double.height), (16, 8));
        for (pair, row) in double.pixels.chunks(48).zip(single.pixels.chunks(24)) {
            assert_eq!(pair, row.repeat(2));
        }
        for length in 8..bytes.len() {
            let error = from_bytes(&bytes[..length]).unwrap_err().to_string();
            assert!(error.starts_with("truncated: "), "cut at {length} of {}: {error}", bytes.len());
        }
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let mut bytes = encode(&frame().into(), ImageFormat::Jpeg);
        // An application segment of 6 bytes, length included, that holds a whole tiny "image".
        bytes.splice(2..2, [0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9]);
        assert!(from_bytes(&bytes).is_ok());
        assert!(from_bytes(&bytes[..bytes.len() - 2]).unwrap_err().to_string().starts_with("truncated"));
    }

    #[test]
    fn data_behind_the_image_does_no_harm() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let mut bytes = encode(&frame().into(), format);
            bytes.extend_from_slice(b"\n\n");
            assert!(from_bytes(&bytes).is_ok(), "{format:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let folder = TempDir::new().unwrap();
        let mut corrupt = encode(&frame().into(), ImageFormat::Png);
        corrupt[60] ^= 0xff;
        for (name, bytes, expected) in [
            ("empty.png", &b""[..], "the file has 0 bytes"),
            ("text.png", b"not an image at all", "expected PNG or JPEG, found neither"),
            ("moving.jpg", b"GIF89a..............", "expected PNG or JPEG, found Gif"),
        ] {
            let path = write(&folder, name, bytes);
            assert_eq!(complaint(decode(&path).unwrap_err(), name), expected);
            assert_eq!(complaint(dimensions(&path).unwrap_err(), name), expected);
        }
        let path = write(&folder, "corrupt.png", &corrupt);
        let found = complaint(decode(&path).unwrap_err(), "corrupt.png");
        assert!(found.starts_with("Format error decoding Png"), "{found}");

        let missing = folder.path().join("missing.png");
        for error in [decode(&missing).unwrap_err(), dimensions(&missing).unwrap_err()] {
            assert!(error.to_string().starts_with("cannot read image"), "{error}");
            assert!(error.to_string().ends_with("missing.png"), "{error}");
        }
    }
}
