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
}
