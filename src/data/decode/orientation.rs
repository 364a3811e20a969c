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

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag 274 of a TIFF directory, in either order of bytes.
    fn exif(little: bool, value: u16) -> Vec<u8> {
        let two = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let four = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let start = if little { b"II" } else { b"MM" };
        let entry = [&two(274)[..], &two(3), &four(1), &two(value), &[0; 2]].concat();
        [&start[..], &two(42), &four(8), &two(1), &entry, &[0; 4]].concat()
    }

    #[test]
    fn each_number_is_an_orientation_and_four_of_them_exchange_the_sides() {
        use Orientation::{
            FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270,
            Rotate270FlipH,
        };
        let known = [
            NoTransforms,
            FlipHorizontal,
            Rotate180,
            FlipVertical,
            Rotate90FlipH,
            Rotate90,
            Rotate270FlipH,
            Rotate270,
        ];
        for (number, orientation) in (1..).zip(known) {
            for little in [false, true] {
                let chunk = exif(little, number);
                assert_eq!(from_exif(Some([b"Exif\0\0", &chunk[..]].concat())), orientation, "{number}");
                assert_eq!(from_exif(Some(chunk)), orientation, "{number}");
            }
            assert_eq!(swaps(orientation), number > 4, "{number}");
        }
        for none in
            [None, Some(Vec::new()), Some(b"Exif\0\0".to_vec()), Some(exif(true, 0)), Some(exif(true, 9))]
        {
            assert_eq!(from_exif(none.clone()), NoTransforms, "{none:?}");
        }
    }
}
