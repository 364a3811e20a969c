//! How a picture is to be turned, as its EXIF data say.

use std::io::{Read, Seek};

use image::{ImageDecoder, ImageFormat, metadata::Orientation};

use super::png;

/// EXIF data, as far as the decoder sees them.
pub fn exif(decoder: &mut impl ImageDecoder) -> Option<Vec<u8>> {
    // Damaged notes about a picture do not make the picture worthless.
    decoder.exif_metadata().ok().flatten()
}

/// The orientation that a file notes; upright where it notes none, or none that is defined.
pub fn of<R: Read + Seek>(format: ImageFormat, reader: R, exif: Option<Vec<u8>>) -> Orientation {
    let exif = match format {
        // Its decoder sees only what stands before the pixels.
        ImageFormat::Png => png::chunk(reader, *b"eXIf"),
        _ => exif,
    };
    exif.and_then(|exif| {
        // A JPEG segment's own beginning, which some programs write into other formats too.
        Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
    })
    .unwrap_or(Orientation::NoTransforms)
}

/// Whether width and height change places.
pub fn swaps(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}
