//! Orientation of a picture according to its EXIF data.

use image::metadata::Orientation;

/// Returns the orientation in EXIF data; upright if there is none, or it is undefined.
pub fn from_exif(exif: Option<Vec<u8>>) -> Orientation {
    exif.and_then(|exif| {
        // The prefix of a JPEG segment, which some programs write into other formats, too.
        Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
    })
    .unwrap_or(Orientation::NoTransforms)
}

/// Whether an orientation exchanges width and height.
pub fn swaps(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}
