//! Conversion of samples with more than 8 bits to 8 bits.
//!
//! Cameras with 10, 12 or 14 bits store samples in 16 bits, usually without scaling, so only a part of the range is
//! used. The number of significant bits is a property of the data set rather than of a file. It is therefore
//! determined once from many files, and every file is scaled alike: `value * 255 / (2^bits - 1)`, rounded. A file
//! that exceeds the range is an error, not a white picture.
//!
//! Formats that state their own maximum (PGM, PPM) are scaled by it.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Error, Result, bail};
use image::{DynamicImage, RgbImage};

/// Number of significant bits in 16-bit samples: 10, 12, 14 or 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleBits(u8);

impl SampleBits {
    /// All 16.
    pub const ALL: Self = Self(16);

    /// The values that are distinguished. Ours: those of common cameras.
    const KNOWN: [Self; 4] = [Self(10), Self(12), Self(14), Self::ALL];

    /// Returns the number of bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Returns the largest value of a sample.
    pub fn largest(self) -> u16 {
        u16::MAX >> (16 - self.0)
    }

    /// Returns the smallest of the known numbers of bits that can hold a value.
    pub fn holding(value: u16) -> Self {
        Self::KNOWN.into_iter().find(|bits| value <= bits.largest()).unwrap_or(Self::ALL)
    }
}

impl fmt::Display for SampleBits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SampleBits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = || Self::KNOWN.into_iter().find(|bits| bits.to_string() == text);
        known().with_context(|| format!("expected 10, 12, 14 or 16 bits, found '{text}'"))
    }
}

/// Whether the samples of an image have 16 bits.
pub fn is_sixteen(image: &DynamicImage) -> bool {
    use DynamicImage::{ImageLuma16, ImageLumaA16, ImageRgb16, ImageRgba16};
    matches!(image, ImageLuma16(_) | ImageLumaA16(_) | ImageRgb16(_) | ImageRgba16(_))
}

/// Returns the largest sample of a 16-bit image, ignoring alpha.
pub fn largest(image: DynamicImage) -> u16 {
    image.into_rgb16().iter().copied().max().unwrap_or(0)
}

/// Converts to 8-bit RGB: grey is repeated, alpha is dropped, 16-bit samples are scaled.
///
/// # Errors
/// If a 16-bit sample exceeds `bits`.
pub fn to_rgb8(image: DynamicImage, bits: SampleBits) -> Result<RgbImage> {
    if bits == SampleBits::ALL || !is_sixteen(&image) {
        return Ok(image.into_rgb8());
    }
    let wide = image.into_rgb16();
    let largest = u32::from(bits.largest());
    let (width, height) = wide.dimensions();
    let mut narrow = Vec::with_capacity(wide.len());
    for &sample in wide.iter() {
        let sample = u32::from(sample);
        if sample > largest {
            bail!(
                "a sample is {sample}, but {bits} bits, up to {largest}, are assumed (as requested, or as found in training \
                 images); give --sample-bits 16, or as many as the camera has"
            );
        }
        narrow.push(((sample * 255 + largest / 2) / largest) as u8);
    }
    RgbImage::from_raw(width, height, narrow).context("the number of samples does not fit the image's size")
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma};

    use super::*;

    fn grey(values: &[u16]) -> DynamicImage {
        let pixels: ImageBuffer<Luma<u16>, _> =
            ImageBuffer::from_raw(values.len() as u32, 1, values.to_vec()).unwrap();
        pixels.into()
    }

    fn scaled(values: &[u16], bits: &str) -> Result<Vec<u8>> {
        let rgb = to_rgb8(grey(values), bits.parse().unwrap())?;
        Ok(rgb.pixels().map(|pixel| pixel.0[0]).collect())
    }

    #[test]
    fn the_range_in_use_becomes_the_whole_range() {
        for (largest, bits) in [(0, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)] {
            assert_eq!(SampleBits::holding(largest).bits(), bits, "{largest}");
        }
        // 4095 / 255 = 16.06: values from the middle of a step are rounded up.
        assert_eq!(scaled(&[0, 8, 9, 16, 2048, 4095], "12").unwrap(), [0, 0, 1, 1, 128, 255]);
        assert_eq!(scaled(&[0, 2, 3, 1023], "10").unwrap(), [0, 0, 1, 255]);
        assert_eq!(scaled(&[0, 128, 129, 65535], "16").unwrap(), [0, 0, 1, 255]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = scaled(&[0, 4096], "12").unwrap_err().to_string();
        assert!(error.starts_with("a sample is 4096, but 12 bits, up to 4095"), "{error}");
        assert!(error.contains("--sample-bits 16"), "{error}");
        assert_eq!(
            "8".parse::<SampleBits>().unwrap_err().to_string(),
            "expected 10, 12, 14 or 16 bits, found '8'"
        );
    }

    /// Grey and colour, with and without alpha: alpha, which is at its maximum, counts for nothing.
    #[test]
    fn samples_of_every_kind_are_scaled_and_alpha_is_none() {
        use image::{GrayAlphaImage, LumaA, Rgb, Rgba};

        let deep = |samples: [u16; 3]| -> [DynamicImage; 4] {
            let [r, g, b] = samples;
            [
                ImageBuffer::from_pixel(2, 1, Luma([g])).into(),
                ImageBuffer::from_pixel(2, 1, LumaA([g, u16::MAX])).into(),
                ImageBuffer::from_pixel(2, 1, Rgb([r, g, b])).into(),
                ImageBuffer::from_pixel(2, 1, Rgba([r, g, b, u16::MAX])).into(),
            ]
        };
        // 16, 2,048 and 4,095 of 4,095 are 1, 128 and 255 of 255.
        let of_colours = [&[128; 3][..], &[128; 3], &[1, 128, 255], &[1, 128, 255]];
        for (image, expected) in deep([16, 2048, 4095]).into_iter().zip(of_colours) {
            assert!(is_sixteen(&image));
            let color = image.color();
            assert_eq!(largest(image.clone()), if color.has_color() { 4095 } else { 2048 }, "{color:?}");
            let rgb = to_rgb8(image, "12".parse().unwrap()).unwrap();
            assert_eq!((rgb.dimensions(), rgb.into_raw()), ((2, 1), expected.repeat(2)), "{color:?}");
        }
        for image in deep([5000, 5001, 5002]) {
            let (color, found) = (image.color(), largest(image.clone()));
            assert_eq!(found, if color.has_color() { 5002 } else { 5001 });
            let error = to_rgb8(image, "12".parse().unwrap()).unwrap_err().to_string();
            let first = if color.has_color() { 5000 } else { 5001 };
            assert!(error.starts_with(&format!("a sample is {first}, but 12 bits")), "{color:?}: {error}");
        }
        // Samples of 8 bits are left alone.
        let narrow: [DynamicImage; 2] = [
            GrayAlphaImage::from_pixel(1, 1, LumaA([200, 9])).into(),
            image::RgbaImage::from_pixel(1, 1, Rgba([3, 2, 1, 9])).into(),
        ];
        for (image, expected) in narrow.into_iter().zip([[200; 3], [3, 2, 1]]) {
            assert!(!is_sixteen(&image));
            assert_eq!(to_rgb8(image, "10".parse().unwrap()).unwrap().into_raw(), expected);
        }
    }
}
