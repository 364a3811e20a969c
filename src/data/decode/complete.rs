//! Detects truncated files: lenient decoders fill in what is missing and report success.

use std::io::Cursor;

use image::{ImageFormat, codecs::pnm::PnmDecoder};

use super::{jpeg, tiff};

/// Whether all bytes of an image exist, as far as its format reveals its end; bytes after the image are ignored. If
/// the header itself is damaged, this returns true and the decoder reports the error.
pub fn is_complete(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Bmp => bmp(bytes),
        ImageFormat::Jpeg => jpeg::is_complete(bytes),
        ImageFormat::Png => png(bytes),
        ImageFormat::Pnm => pnm(bytes),
        ImageFormat::Tiff => tiff::is_complete(bytes),
        ImageFormat::WebP => webp(bytes),
        _ => true,
    }
}

/// The little-endian 32-bit number at `place`.
fn number(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place..place + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Whether the rows, or the compressed data of the size stated in the header, end inside the file. The header also
/// states the size of the file, but in many files that is wrong.
fn bmp(bytes: &[u8]) -> bool {
    let field = |place| number(bytes, place).map(u64::from);
    let Some(head) = field(14) else { return false };
    if head < 40 {
        // The header of OS/2, which the decoder supports: its rows are never compressed.
        return bmp_os2(bytes);
    }
    let (Some(start), Some(width), Some(height), Some(bits), Some(compression), Some(size)) =
        (field(10), field(18), number(bytes, 22), field(26), field(30), field(34))
    else {
        return false;
    };
    // A negative height means that rows are stored from top to bottom.
    let height = u64::from((height as i32).unsigned_abs());
    let data = match compression {
        1 | 2 => size,
        _ => rows(width, height, bits >> 16),
    };
    start.saturating_add(data) <= bytes.len() as u64
}

fn bmp_os2(bytes: &[u8]) -> bool {
    let (Some(start), Some(size), Some(bits)) = (number(bytes, 10), number(bytes, 18), number(bytes, 22))
    else {
        return false;
    };
    let (width, height) = (u64::from(size & 0xffff), u64::from(size >> 16));
    u64::from(start) + rows(width, height, u64::from(bits >> 16)) <= bytes.len() as u64
}

/// Number of bytes of rows that are padded to multiples of four bytes.
fn rows(width: u64, height: u64, bits: u64) -> u64 {
    width.saturating_mul(bits).div_ceil(32).saturating_mul(4).saturating_mul(height)
}

/// Whether the chunks (length, type, data, checksum) lead to the end chunk inside the file.
fn png(bytes: &[u8]) -> bool {
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

/// Whether the file has as many samples as the header states. A text format whose last number is cut off is not
/// detected.
fn pnm(bytes: &[u8]) -> bool {
    let mut reader = Cursor::new(bytes);
    // An unreadable header is either truncated, or the decoder will report the error.
    let Ok(decoder) = PnmDecoder::new(&mut reader) else { return !pnm_head_is_torn(bytes) };
    let (_, header) = decoder.into_inner();
    let (width, height) = (u64::from(header.width()), u64::from(header.height()));
    let channels = match header.subtype().magic_constant() {
        b"P3" | b"P6" => 3,
        b"P7" => header.as_arbitrary().map_or(1, |header| u64::from(header.depth)),
        _ => 1,
    };
    let samples = width.saturating_mul(height).saturating_mul(channels);
    let rest = &bytes[(reader.position() as usize).min(bytes.len())..];
    let found = match header.subtype().magic_constant() {
        // Digits of a bitmap need no space between them.
        b"P1" => rest.iter().filter(|byte| byte.is_ascii_digit()).count(),
        b"P2" | b"P3" => rest.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty()).count(),
        _ => rest.len(),
    } as u64;
    let needed = match header.subtype().magic_constant() {
        b"P4" => width.div_ceil(8).saturating_mul(height),
        b"P5" | b"P6" | b"P7" if header.maximal_sample() > 255 => samples.saturating_mul(2),
        _ => samples,
    };
    found >= needed
}

/// Whether the file ends inside its header: four numbers, or lines up to `ENDHDR`.
fn pnm_head_is_torn(bytes: &[u8]) -> bool {
    /// Longer headers are considered damaged. Ours.
    const HEAD: usize = 4096;
    let mut words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let is_torn = match bytes.starts_with(b"P7") {
        true => !words.any(|word| word == b"ENDHDR"),
        false => words.count() < 4,
    };
    bytes.len() < HEAD && is_torn
}

/// Whether the container, whose header states its size, is complete.
fn webp(bytes: &[u8]) -> bool {
    number(bytes, 4).is_some_and(|size| 8 + u64::from(size) <= bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header that ends early counts as truncated; one that is complete but damaged is left to the decoder.
    #[test]
    fn heads_of_pnm_are_torn_or_damaged() {
        for (head, is_whole) in [
            (&b"P5 4 4"[..], false),
            (b"P5 x 4 255", true),
            (b"P5 x 4 255\n", true),
            (b"P4", false),
            (b"P7\nWIDTH 4\nHEIGHT", false),
            (b"P7\nWIDTH x\nENDHDR\n", true),
            (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n123456", true),
            (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n12345", false),
        ] {
            assert_eq!(is_complete(head, ImageFormat::Pnm), is_whole, "{}", String::from_utf8_lossy(head));
        }
        for (length, is_whole) in [(4095, false), (4096, true)] {
            let mut long = b"P5 4".to_vec();
            long.resize(length, b' ');
            assert_eq!(is_complete(&long, ImageFormat::Pnm), is_whole, "{length}");
        }
    }

    /// A file of this size is whole, and without its last byte it is not.
    fn just_enough(head: &[u8], data: usize, format: ImageFormat) {
        let mut bytes = head.to_vec();
        bytes.resize(head.len() + data, b'7');
        let what = format!("{:?} and {data} bytes", String::from_utf8_lossy(&head[..head.len().min(60)]));
        assert!(is_complete(&bytes, format), "{what}");
        assert!(is_complete(&[&bytes[..], b"more"].concat(), format), "{what}, and more");
        assert!(!is_complete(&bytes[..bytes.len() - 1], format), "{what} without the last");
    }

    /// Rows are padded to four bytes; compressed data have the size that the header states, other data may state any.
    #[test]
    fn bitmaps_are_as_long_as_their_rows() {
        for (width, height, bits, compression, stated, data) in [
            (5_u32, 3_i32, 24_u16, 0_u32, 0_u32, 16 * 3),
            (5, 3, 24, 0, 7, 16 * 3),
            (3, 5, 24, 0, 9_999, 12 * 5),
            (3, -5, 24, 0, 0, 12 * 5),
            (5, 7, 16, 3, 0, 12 * 7),
            (7, -5, 16, 3, 1, 16 * 5),
            (5, 3, 32, 3, 0, 20 * 3),
            (9, 2, 1, 0, 0, 4 * 2),
            (33, 2, 1, 0, 0, 8 * 2),
            (9, 5, 4, 0, 0, 8 * 5),
            (5, 3, 8, 0, 0, 8 * 3),
            (50, 30, 8, 1, 11, 11),
            (50, 30, 4, 2, 1_300, 1_300),
        ] {
            for start in [54_u32, 66, 1_078] {
                let sizes = [&40_u32.to_le_bytes()[..], &width.to_le_bytes(), &height.to_le_bytes()].concat();
                let kinds =
                    [&1_u16.to_le_bytes()[..], &bits.to_le_bytes(), &compression.to_le_bytes()].concat();
                let mut head =
                    [&b"BM"[..], &[9; 8], &start.to_le_bytes(), &sizes, &kinds, &stated.to_le_bytes()]
                        .concat();
                head.resize(start as usize, 0);
                just_enough(&head, data, ImageFormat::Bmp);
            }
        }
    }

    #[test]
    fn bitmaps_of_os_2_are_as_long_as_their_rows() {
        for (width, height, bits, data) in [
            (5_u16, 3_u16, 24_u16, 16 * 3),
            (3, 5, 24, 12 * 5),
            (9, 2, 1, 4 * 2),
            (9, 5, 4, 8 * 5),
            (10, 3, 8, 12 * 3),
        ] {
            for start in [26_u32, 74] {
                let about = [width, height, 1, bits].map(u16::to_le_bytes).concat();
                let mut head =
                    [&b"BM"[..], &[9; 8], &start.to_le_bytes(), &12_u32.to_le_bytes(), &about].concat();
                head.resize(start as usize, 0);
                just_enough(&head, data, ImageFormat::Bmp);
            }
        }
    }

    /// Samples above 255 take two bytes, in all binary formats; bits are packed row by row.
    #[test]
    fn files_of_pnm_are_as_long_as_their_samples() {
        let any = |depth: u32, largest: u32, kind: &str| {
            format!("P7\nWIDTH 3\nHEIGHT 2\nDEPTH {depth}\nMAXVAL {largest}\nTUPLTYPE {kind}\nENDHDR\n")
        };
        for (head, data) in [
            (any(1, 255, "GRAYSCALE"), 6),
            (any(1, 65_535, "GRAYSCALE"), 12),
            (any(2, 1_000, "GRAYSCALE_ALPHA"), 24),
            (any(3, 255, "RGB"), 18),
            (any(3, 256, "RGB"), 36),
            (any(4, 255, "RGB_ALPHA"), 24),
            (any(4, 65_535, "RGB_ALPHA"), 48),
            ("P4 9 5\n".to_owned(), 10),
            ("P4 16 3\n".to_owned(), 6),
            ("P5 3 2 255\n".to_owned(), 6),
            ("P5 3 2 256\n".to_owned(), 12),
            ("P6 3 2 255\n".to_owned(), 18),
            ("P6 3 2 4095\n".to_owned(), 36),
        ] {
            just_enough(head.as_bytes(), data, ImageFormat::Pnm);
        }
        for (text, torn) in [
            ("P1 3 2\n101\n010", "P1 3 2\n101\n01"),
            ("P2 3 2 300\n1 22 300\n4 5 66", "P2 3 2 300\n1 22 300\n4 5 "),
            ("P3 1 2 255\n1 2 3\n4 5 6\n", "P3 1 2 255\n1 2 3\n4 5\n"),
        ] {
            assert!(is_complete(text.as_bytes(), ImageFormat::Pnm), "{text}");
            assert!(!is_complete(torn.as_bytes(), ImageFormat::Pnm), "{torn}");
        }
    }
}
