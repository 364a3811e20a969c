//! PNG: decodes pixels while ignoring other content of the file, and reads chunks that the decoder does not expose.

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

use anyhow::Result;
use image::{ColorType, DynamicImage, ImageDecoder as _, Limits, codecs::png::PngDecoder};

use super::room::Room;

/// Memory that the decoder may use besides pixels, for rows and metadata. A colour profile, which is parsed but not
/// used, may unpack to a thousand times its size; above this limit it is skipped.
const BESIDE: u64 = 16 << 20;

fn decoder<R: BufRead + Seek>(reader: R) -> Result<PngDecoder<R>> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(BESIDE);
    Ok(PngDecoder::with_limits(reader, limits)?)
}

/// Returns the memory that the picture takes, and whether its samples have 16 bits.
///
/// # Errors
/// If the header is damaged.
pub fn head<R: BufRead + Seek>(reader: R) -> Result<(Room, bool)> {
    use ColorType::{L16, La16, Rgb16, Rgba16};
    let decoder = decoder(reader)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    Ok((Room::of(width, height, color), matches!(color, L16 | La16 | Rgb16 | Rgba16)))
}

/// Decodes a whole file.
///
/// # Errors
/// If a checksum is wrong, or there are fewer pixels than the header states.
pub fn read(bytes: &[u8]) -> Result<DynamicImage> {
    Ok(DynamicImage::from_decoder(decoder(Cursor::new(bytes))?)?)
}

/// Returns the first chunk of a kind, wherever it is; `None` if there is none or the file is damaged.
pub fn chunk<R: Read + Seek>(mut reader: R, kind: [u8; 4]) -> Option<Vec<u8>> {
    reader.seek(SeekFrom::Start(8)).ok()?;
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if head[4..] == kind {
            let mut content = Vec::new();
            reader.take(u64::from(length).min(BESIDE)).read_to_end(&mut content).ok()?;
            return Some(content);
        }
        // A checksum follows the content.
        reader.seek_relative(i64::from(length) + 4).ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::tests::{chunk as chunk_of, packed, png_of};

    /// A profile of 1 MiB is unpacked; one of 40 MiB, in a small file, exceeds the decoder's memory and is skipped.
    #[test]
    fn the_decoder_has_its_own_limit_of_memory() {
        for (size, is_kept) in [(1 << 20, true), (40 << 20, false)] {
            let content = [&b"x\0\0"[..], &packed(&vec![7; size])].concat();
            let bytes = png_of(64, &chunk_of(b"iCCP", &content));
            assert!(bytes.len() < 1 << 20);
            let profile = decoder(Cursor::new(&bytes)).unwrap().icc_profile().unwrap();
            assert_eq!(profile.map(|profile| profile.len()), is_kept.then_some(size));
            assert_eq!(read(&bytes).unwrap(), read(&png_of(64, b"")).unwrap(), "{size}");
            let (room, wide) = head(Cursor::new(&bytes)).unwrap();
            assert_eq!((room.width, room.height, room.given, wide), (64, 64, 1, false));
        }
    }

    /// A chunk has exactly its content, wherever it is, and the first of two counts.
    #[test]
    fn a_chunk_is_found_before_and_behind_the_pixels() {
        let two =
            [chunk_of(b"tEXt", b"one"), chunk_of(b"eXIf", b"four"), chunk_of(b"eXIf", b"fifth")].concat();
        let before = png_of(64, &two);
        let mut behind = png_of(64, b"");
        let end = behind.len() - 12;
        behind.splice(end..end, two);
        for bytes in [before, behind] {
            let of = |kind: &[u8; 4]| chunk(Cursor::new(&bytes), *kind);
            assert_eq!([of(b"eXIf"), of(b"tEXt")], [Some(b"four".to_vec()), Some(b"one".to_vec())]);
            assert_eq!((of(b"IEND"), of(b"sBIT")), (Some(Vec::new()), None));
            assert_eq!(of(b"IHDR").unwrap()[..8], [0, 0, 0, 64, 0, 0, 0, 64]);
        }
        assert_eq!(chunk(Cursor::new(b"\x89PNG\r\n\x1a\n"), *b"IEND"), None, "no chunk at all");
    }
}
