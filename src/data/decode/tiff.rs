//! TIFF: the first page, 1 to 16 bits, grey, RGB, CMYK and palettes, in strips, tiles or planes.
//!
//! The tiff crate decompresses the data. Samples are interpreted here, since the `image` crate rejects palettes,
//! samples of few bits, and grey with alpha. Floating-point and signed samples have no known range and are rejected.

use std::{
    borrow::Cow,
    io::{Cursor, ErrorKind, Read, Seek},
};

use anyhow::{Context as _, Result, bail, ensure};
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage, metadata::Orientation};
use tiff::{
    ColorType, TiffError,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

use super::{jpeg::coded, room::Room};
use crate::data::regular::IMAGE_BYTES;

const PALETTE: u16 = 3;

/// Tags of the offsets and lengths of a page's parts.
const PARTS: [(Tag, Tag); 2] =
    [(Tag::StripOffsets, Tag::StripByteCounts), (Tag::TileOffsets, Tag::TileByteCounts)];

/// Properties of a page according to its tags.
#[derive(Clone, Debug)]
pub struct Page {
    pub width: u32,
    pub height: u32,
    /// Bits per sample.
    pub bits: u8,
    pub orientation: Orientation,
    /// The largest possible sample, if the file states one.
    pub largest: Option<u16>,
    photometric: u16,
}

/// Reads the properties of the first page, and the memory needed for decoding it.
///
/// # Errors
/// If it cannot be read, or its samples are not unsigned integers.
pub fn page<R: Read + Seek>(reader: R) -> Result<(Page, Room)> {
    let mut decoder = Decoder::new(reader)?;
    let page = page_of(&mut decoder)?;
    let samples: Option<u16> = decoder.find_tag_unsigned(Tag::SamplesPerPixel)?;
    let samples = u64::from(samples.unwrap_or(1));
    // Stored samples, samples widened to 16 bits, and the result exist at the same time.
    let (wide, made) = if page.bits == 16 { (2, 6) } else { (1, 3) };
    let (given, beside) = (made, samples * (wide + 2));
    let (width, height) = (page.width, page.height);
    Ok((page, Room { width, height, given, beside, wide: wide > 1, ..Room::default() }))
}

/// Creates a decoder without limits of its own, since [`page`] has checked the memory.
fn decoder(bytes: &[u8]) -> Result<Decoder<Cursor<Cow<'_, [u8]>>>> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = IMAGE_BYTES as usize;
    limits.intermediate_buffer_size = IMAGE_BYTES as usize;
    Ok(Decoder::new(Cursor::new(as_grey(bytes)?))?.with_limits(limits))
}

fn page_of<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<Page> {
    let (width, height) = decoder.dimensions()?;
    let formats: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::SampleFormat)?;
    match formats.and_then(|formats| formats.first().copied()).unwrap_or(1) {
        // Undefined (4) is interpreted as in libtiff.
        1 | 4 => {}
        2 => bail!(
            "signed samples in TIFF are not read: their range is not known; save it as 8 or 16 bits without sign"
        ),
        3 => bail!(
            "floating-point samples in TIFF are not read: their range is not known; save it as 8 or 16 bits, all images \
             by one scale"
        ),
        other => bail!("expected whole numbers in TIFF, found samples of format {other}"),
    }
    let bits: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::BitsPerSample)?;
    let bits = bits.and_then(|bits| bits.first().copied()).unwrap_or(1);
    ensure!(
        matches!(bits, 1 | 2 | 4 | 8 | 16),
        "expected 1, 2, 4, 8 or 16 bits a sample in TIFF, found {bits}"
    );
    let orientation: Option<u8> = decoder.find_tag_unsigned(Tag::Orientation)?;
    let largest: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::Unknown(281)).unwrap_or_default();
    Ok(Page {
        width,
        height,
        bits: bits as u8,
        orientation: orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms),
        largest: largest.and_then(|largest| largest.into_iter().max()).filter(|&largest| largest > 0),
        photometric: decoder.find_tag_unsigned(Tag::PhotometricInterpretation)?.unwrap_or(1),
    })
}

/// Whether all strips or tiles of the first page are inside the file. Errors in the header are left to [`read`].
pub fn is_complete(bytes: &[u8]) -> bool {
    let ends = || -> Result<bool, TiffError> {
        let mut decoder = Decoder::new(Cursor::new(as_grey(bytes)?))?;
        for (offsets, lengths) in PARTS {
            let offsets: Option<Vec<u64>> = decoder.find_tag_unsigned_vec(offsets)?;
            let lengths: Option<Vec<u64>> = decoder.find_tag_unsigned_vec(lengths)?;
            let (offsets, lengths) = (offsets.unwrap_or_default(), lengths.unwrap_or_default());
            let end = |(offset, length): (&u64, &u64)| offset.saturating_add(*length);
            if offsets.iter().zip(&lengths).map(end).any(|end| end > bytes.len() as u64) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match ends() {
        Ok(complete) => complete,
        Err(TiffError::IoError(error)) => error.kind() != ErrorKind::UnexpectedEof,
        Err(_) => true,
    }
}

/// Decodes the first page.
///
/// # Errors
/// If its compression or colour space is not supported; the message names it.
pub fn read(bytes: &[u8]) -> Result<DynamicImage> {
    let mut decoder = decoder(bytes)?;
    check_jpeg(&mut decoder, bytes)?;
    let page = Page { photometric: photometric(bytes).unwrap_or(1), ..page_of(&mut decoder)? };
    let color = decoder.colortype()?;
    let channels = match color {
        ColorType::Gray(_) => 1,
        ColorType::GrayA(_) => 2,
        ColorType::RGB(_) | ColorType::YCbCr(_) => 3,
        ColorType::RGBA(_) | ColorType::CMYK(_) => 4,
        ColorType::CMYKA(_) => 5,
        ColorType::Multiband { num_samples, .. } => usize::from(num_samples),
        other => bail!("expected grey, RGB, CMYK or a palette in TIFF, found {other:?}"),
    };
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples)?;
    ensure!(samples.as_buffer(0).byte_len() >= layout.complete_len, "the image is too large to be decoded");
    let pixels = (page.width as usize) * (page.height as usize);
    let wide = match samples {
        DecodingResult::U8(bytes) if page.bits < 8 => unpack(&bytes, &page, channels)?,
        DecodingResult::U8(bytes) => bytes.into_iter().map(u16::from).collect(),
        DecodingResult::U16(samples) => samples,
        _ => bail!("expected 8 or 16 bits a sample in TIFF"),
    };
    ensure!(wide.len() >= pixels * channels, "fewer samples than {} x {}", page.width, page.height);
    let planes = layout.planes > 1;
    // Index of a pixel's sample, in interleaved or planar layout.
    let place =
        |pixel: usize, channel| if planes { channel * pixels + pixel } else { pixel * channels + channel };
    let sample = |pixel, channel| wide[place(pixel, channel)];
    if page.photometric == PALETTE {
        return palette(&mut decoder, &page, (0..pixels).map(|pixel| sample(pixel, 0)));
    }
    match color {
        ColorType::RGB(_) | ColorType::RGBA(_) => {
            build(&page, (0..pixels).flat_map(|pixel| [0, 1, 2].map(|channel| sample(pixel, channel))), true)
        }
        ColorType::YCbCr(_) => build(
            &page,
            (0..pixels)
                .flat_map(|pixel| from_luma_and_chroma([0, 1, 2].map(|channel| sample(pixel, channel)))),
            true,
        ),
        ColorType::CMYK(_) | ColorType::CMYKA(_) => {
            let full = if page.bits == 16 { u32::from(u16::MAX) } else { 255 };
            let ink = |pixel, channel| full - u32::from(sample(pixel, channel));
            let mixed =
                move |pixel, channel| ((ink(pixel, channel) * ink(pixel, 3) + full / 2) / full) as u16;
            build(&page, (0..pixels).flat_map(|pixel| [0, 1, 2].map(|channel| mixed(pixel, channel))), true)
        }
        _ => build(&page, (0..pixels).map(|pixel| sample(pixel, 0)), false),
    }
}

/// Checks the parts of the page that are JPEG.
///
/// # Errors
/// If one is damaged.
fn check_jpeg<R: Read + Seek>(decoder: &mut Decoder<R>, bytes: &[u8]) -> Result<()> {
    const JPEG: u16 = 7;
    let compression: Option<u16> = decoder.find_tag_unsigned(Tag::Compression)?;
    if compression != Some(JPEG) {
        return Ok(());
    }
    let tables = decoder.find_tag(Tag::JPEGTables)?.map(|tables| tables.into_u8_vec()).transpose()?;
    for (offsets, lengths) in PARTS {
        let offsets: Option<Vec<u64>> = decoder.find_tag_unsigned_vec(offsets)?;
        let lengths: Option<Vec<u64>> = decoder.find_tag_unsigned_vec(lengths)?;
        for (offset, length) in offsets.into_iter().flatten().zip(lengths.into_iter().flatten()) {
            let part = bytes.get(offset as usize..offset.saturating_add(length) as usize);
            let tables = tables.as_deref().unwrap_or_default();
            ensure!(coded::check_with(tables, part.unwrap_or_default())?, coded::UNCHECKED);
        }
    }
    Ok(())
}

/// Offset and value of the tag for the interpretation of samples, and whether numbers are little-endian.
fn meaning(bytes: &[u8]) -> Option<(usize, u16, bool)> {
    let little = bytes.starts_with(b"II");
    let number = |place: usize, length: usize| -> Option<u64> {
        let field = bytes.get(place..place.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) })
    };
    let (at, counted, entry, field) = match number(2, 2)? {
        42 => (number(4, 4)?, 2, 12, 8),
        43 => (number(8, 8)?, 8, 20, 12),
        _ => return None,
    };
    let at = usize::try_from(at).ok()?;
    let entries = number(at, counted)?.min(4096) as usize;
    let first = at.checked_add(counted)?;
    let place =
        (0..entries).map(|index| first + entry * index).find(|&place| number(place, 2) == Some(262))?;
    Some((place + field, number(place + field, 2)? as u16, little))
}

fn photometric(bytes: &[u8]) -> Option<u16> {
    meaning(bytes).map(|(_, value, _)| value)
}

/// The file with a palette relabelled as grey, which the tiff crate can read; other files are unchanged.
fn as_grey(bytes: &[u8]) -> Result<Cow<'_, [u8]>, TiffError> {
    Ok(match meaning(bytes) {
        Some((place, PALETTE, little)) => {
            let mut grey = bytes.to_vec();
            grey[place..place + 2].copy_from_slice(&if little {
                1_u16.to_le_bytes()
            } else {
                1_u16.to_be_bytes()
            });
            grey.into()
        }
        _ => bytes.into(),
    })
}

/// Unpacks samples of 1, 2 or 4 bits, where each row begins with a new byte. Grey is scaled to 0..=255, palette
/// indices are not.
fn unpack(bytes: &[u8], page: &Page, channels: usize) -> Result<Vec<u16>> {
    ensure!(channels == 1, "expected one channel of {} bits in TIFF, found {channels}", page.bits);
    let (width, bits) = (page.width as usize, usize::from(page.bits));
    let largest = (1_u16 << bits) - 1;
    let spread = if page.photometric == PALETTE { 1 } else { 255 / largest };
    let rows = bytes.chunks((width * bits).div_ceil(8).max(1));
    let at = |row: &[u8], x: usize| {
        let start = x * bits;
        row.get(start / 8).map_or(0, |byte| u16::from(*byte) >> (8 - bits - start % 8) & largest)
    };
    Ok(rows.flat_map(|row| (0..width).map(move |x| spread * at(row, x))).collect())
}

/// Maps palette indices to colours; the upper 8 of their 16 bits are used.
fn palette<R: Read + Seek>(
    decoder: &mut Decoder<R>,
    page: &Page,
    numbers: impl Iterator<Item = u16>,
) -> Result<DynamicImage> {
    let map: Vec<u16> = decoder.find_tag_unsigned_vec(Tag::ColorMap)?.context("a palette without colours")?;
    let colours = map.len() / 3;
    let mut rgb = Vec::with_capacity(3 * (page.width as usize) * (page.height as usize));
    for number in numbers {
        let number = usize::from(number);
        ensure!(
            number < colours,
            "expected a colour number below {colours}, the size of the palette, found {number}"
        );
        rgb.extend([0, 1, 2].map(|channel| (map[channel * colours + number] >> 8) as u8));
    }
    RgbImage::from_raw(page.width, page.height, rgb)
        .map(Into::into)
        .context("the decoded size differs from the size in the header")
}

/// Converts JPEG's colours inside TIFF (ITU-R BT.601, full range), as in JFIF.
fn from_luma_and_chroma([luma, blue, red]: [u16; 3]) -> [u16; 3] {
    let (luma, blue, red) = (f32::from(luma), f32::from(blue) - 128.0, f32::from(red) - 128.0);
    let mixed = [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
    mixed.map(|value| value.round().clamp(0.0, 255.0) as u16)
}

/// Builds an image of these samples, grey or RGB.
fn build(page: &Page, samples: impl Iterator<Item = u16>, colour: bool) -> Result<DynamicImage> {
    let (width, height) = (page.width, page.height);
    let image: Option<DynamicImage> = match (page.bits == 16, colour) {
        (true, true) => {
            ImageBuffer::<Rgb<u16>, _>::from_raw(width, height, samples.collect()).map(Into::into)
        }
        (true, false) => {
            ImageBuffer::<Luma<u16>, _>::from_raw(width, height, samples.collect()).map(Into::into)
        }
        (false, true) => {
            RgbImage::from_raw(width, height, samples.map(|sample| sample as u8).collect()).map(Into::into)
        }
        (false, false) => {
            GrayImage::from_raw(width, height, samples.map(|sample| sample as u8).collect()).map(Into::into)
        }
    };
    image.context("the decoded size differs from the size in the header")
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, ops::Range};

    use super::*;

    /// The bytes of the first strip.
    pub fn strip(bytes: &[u8]) -> Range<usize> {
        let mut decoder = Decoder::new(Cursor::new(bytes)).unwrap();
        let mut of = |tag| decoder.get_tag_u64_vec(tag).unwrap()[0] as usize;
        let (offset, length) = (of(Tag::StripOffsets), of(Tag::StripByteCounts));
        offset..offset + length
    }

    /// An uncompressed page of 8-bit samples in one strip, with these additional tags.
    fn page(width: u16, height: u16, samples: u16, tags: &[(u16, u16)], data: &[u8]) -> Vec<u8> {
        let size = [(256, vec![width]), (257, vec![height]), (278, vec![height])];
        let kept = [(258, vec![8; usize::from(samples)]), (277, vec![samples]), (259, vec![1])];
        let mut all: BTreeMap<u16, Vec<u16>> = size.into_iter().chain(kept).collect();
        all.extend(tags.iter().map(|&(tag, value)| (tag, vec![value])));
        // A header, the number of tags, 12 bytes per tag, and the offset of the next page.
        let begin = 8 + 2 + 12 * (all.len() + 2) + 4;
        all.insert(273, vec![begin as u16]);
        all.entry(279).or_insert(vec![data.len() as u16]);
        let mut file = [b"II*\0\x08\0\0\0", &(all.len() as u16).to_le_bytes()[..]].concat();
        let mut behind = data.to_vec();
        for (tag, values) in all {
            let mut field: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if field.len() > 4 {
                let place = begin + behind.len();
                behind.append(&mut field);
                field = (place as u32).to_le_bytes().to_vec();
            }
            field.resize(4, 0);
            file.extend(
                [&tag.to_le_bytes()[..], &[3, 0], &(values.len() as u32).to_le_bytes(), &field].concat(),
            );
        }
        [file, vec![0; 4], behind].concat()
    }

    fn rgb(bytes: &[u8]) -> Vec<u8> {
        read(bytes).unwrap().to_rgb8().into_raw()
    }

    const PHOTOMETRIC: u16 = 262;

    /// Pillow 13.0.0's output for these CMYK values; the alpha channel after them is ignored.
    #[test]
    fn inks_with_alpha_are_pillows() {
        let inks = [[10, 200, 90, 40], [255, 0, 128, 64], [30, 60, 90, 255]];
        let data: Vec<u8> = inks.iter().flat_map(|&[c, m, y, k]| [c, m, y, k, 77]).collect();
        let found = rgb(&page(3, 1, 5, &[(PHOTOMETRIC, 5), (338, 2)], &data));
        assert_eq!(found, [207, 46, 139, 0, 191, 95, 0, 0, 0]);
    }

    /// Pillow 13.0.0's output for these colours, up to rounding.
    #[test]
    fn luma_and_chroma_are_pillows() {
        let colours = [
            ([76, 85, 255], [254, 0, 0]),
            ([150, 44, 21], [0, 255, 1]),
            ([29, 255, 107], [0, 0, 254]),
            ([200, 60, 190], [255, 179, 79]),
            ([16, 200, 90], [0, 18, 143]),
            ([180, 140, 100], [140, 195, 201]),
            ([128, 128, 128], [128, 128, 128]),
        ];
        let data = colours.map(|(stored, _)| stored).concat();
        // Chroma is not subsampled.
        let mut bytes = page(7, 1, 3, &[(PHOTOMETRIC, 6), (530, 1)], &data);
        let place = bytes.windows(4).position(|four| four == [18, 2, 3, 0]).unwrap();
        bytes[place + 4..place + 12].copy_from_slice(&[2, 0, 0, 0, 1, 0, 1, 0]);
        for (found, (stored, expected)) in rgb(&bytes).chunks(3).zip(colours) {
            let apart = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            assert!(apart <= Some(1), "{stored:?}: {found:?}, not {expected:?}");
        }
    }

    /// Files that begin with `II` are little-endian, files that begin with `MM` big-endian.
    #[test]
    fn palettes_are_read_in_either_order_of_bytes() {
        // Three colours in a palette of 256.
        let mut colours = vec![0_u16; 3 * 256];
        for (index, colour) in [[10, 20, 30], [200, 100, 50], [0, 255, 128]].iter().enumerate() {
            (0..3).for_each(|channel| colours[256 * channel + index] = colour[channel] * 257);
        }
        let fields: [(u16, u16, u32, u32); 9] = [
            (256, 3, 1, 3),
            (257, 3, 1, 1),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 3),
            (273, 4, 1, 122),
            (278, 3, 1, 1),
            (279, 4, 1, 3),
            (320, 3, 768, 126),
        ];
        let file = |little: bool| -> Vec<u8> {
            let two = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
            let four = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
            let mut file = if little { b"II".to_vec() } else { b"MM".to_vec() };
            file.extend([&two(42)[..], &four(8), &two(fields.len() as u16)].concat());
            for (tag, kind, count, value) in fields {
                file.extend([&two(tag)[..], &two(kind), &four(count)].concat());
                match (kind, count) {
                    (3, 1) => file.extend([two(value as u16), [0; 2]].concat()),
                    _ => file.extend(four(value)),
                }
            }
            file.extend([0; 4]);
            assert_eq!(file.len(), 122);
            file.extend([1, 2, 0, 0]);
            colours.iter().for_each(|&colour| file.extend(two(colour)));
            file
        };
        for little in [true, false] {
            assert_eq!(rgb(&file(little)), [200, 100, 50, 0, 255, 128, 10, 20, 30], "{little}");
        }
    }

    #[test]
    fn a_page_is_what_its_tags_say() {
        let of = |tags: &[(u16, u16)]| {
            let tags = [&[(PHOTOMETRIC, 1)], tags].concat();
            super::page(Cursor::new(page(3, 2, 1, &tags, &[0; 6])))
        };
        let (found, room) = of(&[(274, 6), (281, 1000), (PHOTOMETRIC, 0)]).unwrap();
        assert_eq!((found.width, found.height, found.bits), (3, 2, 8));
        assert_eq!(
            (found.orientation, found.largest, found.photometric),
            (Orientation::Rotate90, Some(1000), 0)
        );
        assert_eq!((room.width, room.height, room.given, room.beside, room.wide), (3, 2, 3, 3, false));
        let (plain, _) = of(&[(274, 9), (281, 0), (339, 4)]).unwrap();
        assert_eq!(
            (plain.orientation, plain.largest, plain.photometric),
            (Orientation::NoTransforms, None, 1)
        );
        let complaint = |tags: &[(u16, u16)]| of(tags).unwrap_err().to_string();
        assert_eq!(complaint(&[(258, 12)]), "expected 1, 2, 4, 8 or 16 bits a sample in TIFF, found 12");
        assert_eq!(complaint(&[(339, 5)]), "expected whole numbers in TIFF, found samples of format 5");
        assert!(complaint(&[(339, 2)]).starts_with("signed samples in TIFF are not read"));
        assert!(complaint(&[(339, 3)]).starts_with("floating-point samples in TIFF are not read"));
    }

    /// Samples of 1, 2 and 4 bits are packed from the highest bit down, and each row begins with a new byte.
    #[test]
    fn samples_of_few_bits_are_unpacked_row_by_row() {
        let about = |bits: u8, photometric| Page {
            width: 3,
            height: 2,
            bits,
            orientation: Orientation::NoTransforms,
            largest: None,
            photometric,
        };
        let of = |bytes: &[u8], bits, photometric| unpack(bytes, &about(bits, photometric), 1).unwrap();
        assert_eq!(of(&[0b1010_0000, 0b0110_0000], 1, 1), [255, 0, 255, 0, 255, 255]);
        assert_eq!(of(&[0b0110_1100, 0b1100_0100], 2, 1), [85, 170, 255, 255, 0, 85]);
        assert_eq!(of(&[0x12, 0xf0, 0x45, 0x60], 4, 1), [17, 34, 255, 68, 85, 102]);
        assert_eq!(of(&[0x12, 0xf0, 0x45, 0x60], 4, PALETTE), [1, 2, 15, 4, 5, 6], "indices are not spread");
        let error = unpack(&[0; 4], &about(4, 1), 2).unwrap_err().to_string();
        assert_eq!(error, "expected one channel of 4 bits in TIFF, found 2");
    }

    /// A pixel is (1 - ink) (1 - black), in 65,535ths; numbers by exact fractions in Python.
    #[test]
    fn deep_inks_are_mixed_in_sixteen_bits() {
        let inks: [[u16; 4]; 3] =
            [[0, 65_535, 32_768, 0], [13_107, 26_214, 52_428, 32_768], [1_000, 300, 20, 60_000]];
        let data: Vec<u8> = inks.iter().flatten().flat_map(|ink| ink.to_le_bytes()).collect();
        let mut bytes = page(3, 1, 4, &[(PHOTOMETRIC, 5)], &data);
        // The numbers of bits of the four samples are last.
        let bits = bytes.len() - 8;
        assert_eq!(bytes[bits..], [8, 0, 8, 0, 8, 0, 8, 0]);
        (0..4).for_each(|sample| bytes[bits + 2 * sample] = 16);
        let image = read(&bytes).unwrap();
        assert!(super::super::depth::is_sixteen(&image));
        assert_eq!(image.into_rgb16().into_raw(), [65535, 0, 32767, 26214, 19660, 6553, 5451, 5510, 5533]);
    }

    /// BigTIFF has numbers of eight bytes where TIFF has two or four.
    #[test]
    fn palettes_of_big_files_are_read_in_either_order_of_bytes() {
        let colours = [[10_u16, 20, 30], [200, 100, 50], [0, 255, 128]];
        let fields: [(u16, u64, u64); 9] = [
            (256, 1, 3),
            (257, 1, 1),
            (258, 1, 8),
            (259, 1, 1),
            (262, 1, 3),
            (273, 1, 212),
            (278, 1, 1),
            (279, 1, 3),
            (320, 768, 216),
        ];
        let file = |little: bool| -> Vec<u8> {
            let two = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
            let eight = |number: u64| if little { number.to_le_bytes() } else { number.to_be_bytes() };
            let mut file = if little { b"II".to_vec() } else { b"MM".to_vec() };
            file.extend([&two(43)[..], &two(8), &two(0), &eight(16), &eight(fields.len() as u64)].concat());
            for (tag, count, value) in fields {
                file.extend([&two(tag)[..], &two(3), &eight(count)].concat());
                match count {
                    1 => file.extend([&two(value as u16)[..], &[0; 6]].concat()),
                    _ => file.extend(eight(value)),
                }
            }
            file.extend([0; 8]);
            assert_eq!(file.len(), 212);
            file.extend([1, 2, 0, 0]);
            for channel in 0..3 {
                for index in 0..256 {
                    let value = colours.get(index).map_or(0, |colour| colour[channel] * 257);
                    file.extend(two(value));
                }
            }
            file
        };
        for little in [true, false] {
            assert_eq!(rgb(&file(little)), [200, 100, 50, 0, 255, 128, 10, 20, 30], "{little}");
        }
    }

    /// A part may state any number of bytes up to the largest size of a file, and take as many decoded: the decoder has
    /// no lower limits. Its own are 128 and 256 MiB.
    #[test]
    fn the_decoder_has_no_limit_below_that_of_files() {
        let mut bytes = page(3, 2, 1, &[(PHOTOMETRIC, 1)], &[9, 8, 7, 6, 5, 4]);
        let place = bytes.windows(4).position(|four| four == [23, 1, 3, 0]).unwrap();
        // Tag 279 as a number of 32 bits: 200 MiB.
        bytes[place + 2] = 4;
        bytes[place + 8..place + 12].copy_from_slice(&(200_u32 << 20).to_le_bytes());
        assert_eq!(read(&bytes).unwrap().to_luma8().into_raw(), [9, 8, 7, 6, 5, 4]);
        assert!(!is_complete(&bytes));
        // More than 256 MiB of pixels, of which the file has none.
        let error = read(&page(16_400, 16_400, 1, &[(PHOTOMETRIC, 1)], &[])).unwrap_err();
        let met = error.downcast_ref::<TiffError>();
        assert!(
            matches!(met, Some(TiffError::IoError(met)) if met.kind() == ErrorKind::UnexpectedEof),
            "{error:#}"
        );
    }

    /// The largest of the samples' maxima counts, whichever is stated first.
    #[test]
    fn the_largest_possible_sample_is_that_of_all_channels() {
        for largest in [[1000_u16, 4095, 300], [4095, 20, 1000], [7, 9, 4095]] {
            let mut bytes = page(3, 2, 3, &[(PHOTOMETRIC, 2), (281, 7)], &[0; 18]);
            let place = bytes.windows(4).position(|four| four == [25, 1, 3, 0]).unwrap();
            let end = bytes.len() as u32;
            bytes[place + 4..place + 8].copy_from_slice(&3_u32.to_le_bytes());
            bytes[place + 8..place + 12].copy_from_slice(&end.to_le_bytes());
            bytes.extend(largest.iter().flat_map(|value| value.to_le_bytes()));
            let (found, room) = super::page(Cursor::new(&bytes)).unwrap();
            assert_eq!((found.largest, found.bits, found.photometric), (Some(4095), 8, 2), "{largest:?}");
            assert_eq!((room.given, room.beside), (3, 9));
        }
    }

    /// By the decimals of ITU-R BT.601: 1.402 red, 0.344136 blue, 0.714136 red, 1.772 blue.
    #[test]
    fn colours_are_mixed_by_the_coefficients_of_the_standard() {
        for (stored, expected) in [
            ([10, 128, 255], [188, 0, 10]),
            ([100, 255, 128], [100, 56, 255]),
            ([10, 255, 128], [10, 0, 235]),
            ([200, 128, 1], [22, 255, 200]),
            ([150, 128, 255], [255, 59, 150]),
            ([240, 1, 128], [240, 255, 15]),
            ([100, 20, 220], [229, 71, 0]),
            ([77, 128, 128], [77, 77, 77]),
        ] {
            assert_eq!(from_luma_and_chroma(stored), expected, "{stored:?}");
        }
    }

    /// If strips lie inside the file by what they state, only the decoder finds that samples or colours are missing.
    #[test]
    fn what_the_decoder_of_tiff_finds_torn_is_called_truncated() {
        use super::super::{SampleBits, decode_bytes};
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
        // Six samples, of which the file has four, and the strip states two.
        let mut samples = page(3, 2, 1, &[(PHOTOMETRIC, 1)], &[9, 8, 7, 6, 5, 4]);
        let place = samples.windows(4).position(|four| four == [23, 1, 3, 0]).unwrap();
        assert_eq!(samples[place + 8], 6);
        samples[place + 8] = 2;
        samples.truncate(samples.len() - 2);
        // The colours of a palette would begin ten bytes before the end.
        let mut colours = std::fs::read(folder.join("tiff-palette.tif")).unwrap();
        let place = colours.windows(4).position(|four| four == [64, 1, 3, 0]).unwrap();
        let begin = colours.len() as u32 - 10;
        colours[place + 8..place + 12].copy_from_slice(&begin.to_le_bytes());
        for bytes in [samples, colours] {
            assert!(is_complete(&bytes));
            let error = decode_bytes(&bytes, std::path::Path::new("x.tif"), SampleBits::ALL).unwrap_err();
            let expected = format!(
                "cannot decode image x.tif: truncated: the file ends after {} bytes, before the image does",
                bytes.len()
            );
            assert_eq!(format!("{error:#}"), expected);
        }
    }
}
