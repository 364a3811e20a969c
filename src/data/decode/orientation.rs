//! How a picture is to be turned, as its EXIF data say.

use image::metadata::Orientation;

/// The orientation that EXIF data note; upright where they note none, or none that is defined.
pub fn of(exif: Option<Vec<u8>>) -> Orientation {
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
