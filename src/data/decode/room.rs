//! Memory needed for decoding, computed from the header before decoding.
//!
//! | Kind of file | Bytes per pixel |
//! |---|---|
//! | 8-bit colour without alpha: JPEG, PNG, BMP, PNM | 3 |
//! | 8-bit grey, grey palettes | 4 |
//! | with alpha, 8 bits | 5 if grey, else 7 |
//! | progressive JPEG, and JPEG with several scans, in colour | 9 to 19 |
//! | 16 bits | 9 to 14 |
//! | WebP | 10 or 11 |
//! | TIFF | 3 per channel plus 3; with 16 bits 4 per channel plus 6, at least 12 |
//!
//! Rotating a picture by a quarter turn takes twice the size of its decoded pixels, if that is more. The bytes of the
//! file take memory in addition, once or twice. Measured memory of whole processes at 4,096 x 4,096 pixels, including
//! the file, in bytes per pixel: JPEG 3.3, grey 4.3, rotated 6.3, progressive 9.3; PNG 3.5, grey 4.3, 16 bits 5.2,
//! alpha 7.5, colour with 16 bits 9.6; BMP and PNM 6.2; WebP 4.7, lossless 7.3, with alpha 10.7; TIFF 5.2 to 7.2 with
//! one channel, 12.2 in colour.

use anyhow::{Result, ensure};
use image::ColorType;

use crate::data::regular::IMAGE_BYTES;

/// Size of a decoded picture and of its decoder's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    pub width: u32,
    pub height: u32,
    /// Bytes per pixel that the decoder needs besides the pixels.
    pub beside: u64,
    /// Bytes per pixel of the decoder's output.
    pub given: u64,
    /// Whether the output is 8-bit RGB and needs no conversion.
    pub ready: bool,
    /// Whether samples have 16 bits.
    pub wide: bool,
    /// Whether the picture must be rotated by a quarter turn.
    pub turned: bool,
}

impl Room {
    /// Describes a decoder with this output that needs no other memory.
    pub fn of(width: u32, height: u32, color: ColorType) -> Self {
        let given = u64::from(color.bytes_per_pixel());
        let wide = color.bytes_per_pixel() / color.channel_count() > 1;
        Self { width, height, given, ready: color == ColorType::Rgb8, wide, ..Self::default() }
    }

    /// Maximum number of bytes per pixel.
    fn bytes_a_pixel(&self) -> u64 {
        let decoded = self.given + self.beside;
        let turned = if self.turned { 2 * self.given } else { 0 };
        // 16-bit samples are converted to RGB first, then to 8 bits.
        let made = match (self.ready, self.wide) {
            (true, _) => 0,
            (false, true) => (self.given + 6).max(9),
            (false, false) => self.given + 3,
        };
        decoded.max(turned).max(made)
    }

    /// Checks that decoding stays within the limit.
    ///
    /// # Errors
    /// If it would need more than [`IMAGE_BYTES`].
    pub fn ensure(&self) -> Result<()> {
        let (width, height, each) = (u64::from(self.width), u64::from(self.height), self.bytes_a_pixel());
        let needed = (width * height).saturating_mul(each);
        ensure!(
            needed <= IMAGE_BYTES,
            "too large: {width} x {height} pixels of this kind take {} MiB to decode ({each} bytes a pixel), {} MiB are \
             allowed; scale it down, or cut it into tiles",
            needed >> 20,
            IMAGE_BYTES >> 20
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decoding_takes_is_counted_for_each_kind() {
        let each = |color| Room::of(1, 1, color).bytes_a_pixel();
        assert_eq!([each(ColorType::Rgb8), each(ColorType::L8), each(ColorType::Rgba8)], [3, 4, 7]);
        assert_eq!([each(ColorType::L16), each(ColorType::Rgb16), each(ColorType::Rgba16)], [9, 12, 14]);
        let turned = Room { turned: true, ..Room::of(1, 1, ColorType::Rgb8) };
        assert_eq!(turned.bytes_a_pixel(), 6);

        assert!(Room::of(1 << 14, 1 << 14, ColorType::L8).ensure().is_ok(), "exactly the largest");
        let error = Room::of(1 << 14, (1 << 14) + 1, ColorType::L8).ensure().unwrap_err().to_string();
        let expected = "too large: 16384 x 16385 pixels of this kind take 1024 MiB to decode (4 bytes a pixel), 1024 MiB \
                        are allowed; scale it down, or cut it into tiles";
        assert_eq!(error, expected);
        assert!(Room::of(u32::MAX, u32::MAX, ColorType::Rgba16).ensure().is_err());
    }
}
