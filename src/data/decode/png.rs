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
