//! Sketches: what is stored about a picture after decoding it, enough to find equal pictures and to describe it.

use std::sync::LazyLock;

use image::{
    GrayImage,
    imageops::{FilterType, thumbnail},
};
use image_hasher::{HashAlg, Hasher, HasherConfig};

use crate::{data::Image, named::named};

/// Bytes in a hash.
pub const HASH: usize = 32;
/// 64-bit words in a hash.
pub const WORDS: usize = HASH / 8;
/// Largest number of different bits between the hashes of nearly equal pictures. Ours: of 400 drawn sewers, no two
/// differ in fewer than 74, and JPEG with quality 50 at 224 px changes at most 16 in 95 % of them. Among elpv's 2,624
/// cells, which are cut out and aligned, neighbours in a module that reach the correlation [`MIN_CORRELATION`] differ
/// in 18 or more.
pub const MAX_HASH_DISTANCE: u32 = 15;
/// Smallest correlation between nearly equal pictures, as computed by [`Likeness`]. Ours: high, because photographs
/// of one product by one camera are similar, too; elpv has no pair that satisfies both bounds.
pub const MIN_CORRELATION: f32 = 0.998;
/// Shorter side to which larger pictures are reduced before hashing. Ours: four times the resolution of the hash.
const ENOUGH: u32 = 128;
/// Side of the grey pictures that are compared, in pixels. Ours.
const SIDE: usize = 32;

/// What is stored about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Perceptual hash: one bit for each of the 16 x 16 lowest frequencies (discrete cosine transform of 32 x 32 grey
    /// pixels), set if the coefficient is above their median.
    pub hash: [u8; HASH],
    /// Pixels per row, after rotation.
    pub width: u32,
    /// Number of rows, after rotation.
    pub height: u32,
    /// Format of the file, according to its content.
    pub format: Format,
    /// Kind of its pixels.
    pub pixels: Pixels,
    /// Whether the file states that the picture must be rotated or mirrored.
    pub turned: bool,
    /// Number of bits assumed to be significant in 16-bit samples; 0 for 8-bit samples.
    pub bits: u8,
}

named! {
    /// Format of an image file.
    pub enum Format: "image format" {
        /// Windows bitmap.
        Bmp = "bmp",
        /// JPEG.
        Jpeg = "jpeg",
        /// PNG.
        Png = "png",
        /// Portable anymap.
        Pnm = "pnm",
        /// TIFF.
        Tiff = "tiff",
        /// WebP.
        WebP = "webp",
    }
}

named! {
    /// Kind of pixels in a picture.
    pub enum Pixels: "kind of pixels" {
        /// One value in all pixels: nothing can be learned from it.
        Constant = "constant",
        /// Red, green and blue are equal in every pixel.
        Grey = "grey",
        /// Red, green and blue differ in some pixel.
        Colour = "colour",
    }
}

impl Pixels {
    /// Determines the kind of an image's pixels.
    pub fn of(image: &Image) -> Self {
        let (pixels, _) = image.pixels.as_chunks::<3>();
        if pixels.iter().all(|pixel| *pixel == pixels[0]) {
            return Self::Constant;
        }
        match pixels.iter().all(|[red, green, blue]| red == green && green == blue) {
            true => Self::Grey,
            false => Self::Colour,
        }
    }
}

/// Returns the hash of an image ([`Sketch::hash`]).
pub fn hash(image: &Image) -> [u8; HASH] {
    // Created once: planning the transform takes time.
    static HASHER: LazyLock<Hasher> = LazyLock::new(|| {
        let config = HasherConfig::new().hash_size(16, 16).hash_alg(HashAlg::Median).preproc_dct();
        config.resize_filter(FilterType::Triangle).to_hasher()
    });
    let mut hash = [0; HASH];
    hash.copy_from_slice(HASHER.hash_image(&grey(image)).as_bytes());
    hash
}

/// Returns a hash in machine words.
pub fn words(hash: &[u8; HASH]) -> [u64; WORDS] {
    let (words, _) = hash.as_chunks::<8>();
    std::array::from_fn(|place| u64::from_le_bytes(words[place]))
}

/// Returns the number of bits in which two hashes differ.
#[inline(always)]
pub fn distance(a: &[u64; WORDS], b: &[u64; WORDS]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// A small grey picture, normalised to mean 0 and length 1, so that brightness and contrast do not matter.
pub struct Likeness(Vec<f32>);

impl Likeness {
    /// Computes the small picture of an image.
    pub fn of(image: &Image) -> Self {
        let small = image::imageops::resize(&grey(image), SIDE as u32, SIDE as u32, FilterType::Triangle);
        let values: Vec<f32> = small.as_raw().iter().map(|&value| f32::from(value)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let length = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>().sqrt();
        Self(values.iter().map(|value| (value - mean) / length.max(f32::MIN_POSITIVE)).collect())
    }

    /// Returns the correlation of two pictures, -1..1.
    pub fn correlation(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

/// Luma with the weights of BT.601, rounded. Large pictures are first reduced by averaging whole boxes, which is
/// fast, to a shorter side of at least [`ENOUGH`] pixels.
fn grey(image: &Image) -> GrayImage {
    let luma = |&[red, green, blue]: &[u8; 3]| {
        ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u8
    };
    let (pixels, _) = image.pixels.as_chunks::<3>();
    let (width, height) = (image.width as u32, image.height as u32);
    let grey = GrayImage::from_raw(width, height, pixels.iter().map(luma).collect());
    let grey = grey.unwrap_or_default();
    match width.min(height) / ENOUGH {
        0 | 1 => grey,
        boxes => thumbnail(&grey, width / boxes, height / boxes),
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage, codecs::jpeg::JpegEncoder, imageops};
    use rstest::rstest;

    use super::*;
    use crate::{data::synthetic, seed::Seed};

    fn of(image: RgbImage) -> Image {
        Image::new(image.width() as usize, image.height() as usize, image.into_raw())
    }

    fn as_jpeg(image: &RgbImage, quality: u8) -> RgbImage {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).unwrap();
        image::load_from_memory(&bytes).unwrap().to_rgb8()
    }

    /// Common changes that keep the content of a picture.
    #[rstest]
    #[case::jpeg_75(|image: RgbImage| as_jpeg(&image, 75), 36)]
    #[case::jpeg_50(|image: RgbImage| as_jpeg(&image, 50), 30)]
    #[case::half_the_size(|image| imageops::resize(&image, 64, 64, FilterType::CatmullRom), 38)]
    #[case::twice_the_size(|image| imageops::resize(&image, 256, 256, FilterType::CatmullRom), 38)]
    #[case::brighter(|image| DynamicImage::from(image).brighten(25).to_rgb8(), 38)]
    fn changed_pictures_are_alike_and_others_are_not(
        #[case] change: fn(RgbImage) -> RgbImage,
        #[case] least: usize,
    ) {
        let source = synthetic::source(Seed::root(0), 40, 10, 128);
        let images: Vec<Image> = (0..40).map(|index| source.train.open(index).unwrap()).collect();
        let changed: Vec<Image> = images
            .iter()
            .map(|image| of(change(RgbImage::from_raw(128, 128, image.pixels.clone()).unwrap())))
            .collect();
        let alike = |a: &Image, b: &Image| {
            distance(&words(&hash(a)), &words(&hash(b))) <= MAX_HASH_DISTANCE
                && Likeness::of(a).correlation(&Likeness::of(b)) >= MIN_CORRELATION
        };
        let found = (0..40).filter(|&place| alike(&images[place], &changed[place])).count();
        assert!(found >= least, "{found} of 40");
        let wrong = (0..40).flat_map(|a| (0..a).map(move |b| (a, b)));
        assert_eq!(wrong.filter(|&(a, b)| alike(&images[a], &changed[b])).count(), 0);
    }

    #[test]
    fn pixels_are_told_apart() {
        let pixels = |values: [u8; 6]| Pixels::of(&Image::new(2, 1, values.to_vec()));
        assert_eq!(pixels([3, 4, 5, 3, 4, 5]), Pixels::Constant);
        assert_eq!(pixels([3, 3, 3, 4, 4, 4]), Pixels::Grey);
        assert_eq!(pixels([3, 3, 3, 4, 4, 5]), Pixels::Colour);
        let flat = Image::new(8, 8, vec![7; 192]);
        assert_eq!(Likeness::of(&flat).correlation(&Likeness::of(&flat)), 0.0, "nothing to compare");
    }

    /// Computed by hand with 0.299, 0.587 and 0.114 (ITU-R BT.601), for colours at which an error of 0.001 in any of
    /// them changes the result.
    #[test]
    fn luma_is_rounded() {
        for (rgb, expected) in [
            ([255, 0, 0], 76),
            ([246, 0, 0], 74),
            ([0, 241, 0], 141),
            ([0, 236, 0], 139),
            ([0, 0, 232], 26),
            ([0, 0, 250], 29),
            ([255, 255, 255], 255),
        ] {
            assert_eq!(grey(&Image::new(1, 1, rgb.to_vec())).as_raw(), &[expected], "{rgb:?}");
        }
    }

    #[test]
    fn large_pictures_are_made_smaller_by_whole_boxes() {
        for (width, height, smaller) in
            [(255, 400, (255, 400)), (256, 256, (128, 128)), (300, 260, (150, 130)), (600, 384, (200, 128))]
        {
            let grey = grey(&Image::new(width, height, vec![9; 3 * width * height]));
            assert_eq!(grey.dimensions(), smaller);
            assert!(grey.as_raw().iter().all(|&value| value == 9));
        }
    }

    /// Half of all coefficients are above their median. Stored hashes are compared with new ones, so this stays as it is.
    #[test]
    fn half_of_the_bits_of_a_hash_are_set() {
        let source = synthetic::source(Seed::root(2), 6, 2, 64);
        for index in 0..6 {
            let hash = hash(&source.train.open(index).unwrap());
            let set: u32 = hash.iter().map(|byte| byte.count_ones()).sum();
            assert!((126..=130).contains(&set), "image {index}: {set}");
        }
    }

    /// Computed by this code. Hashes of earlier runs are kept and compared with new ones, so they must not change.
    #[test]
    fn hashes_are_pinned() {
        let wave = |width: usize, height: usize| {
            let value = |place: usize| {
                let (y, x) = (place / 3 / width, place / 3 % width);
                ((x * x / 7 + 5 * y + x * y / 11) * (1 + place % 3) / 2) as u8
            };
            Image::new(width, height, (0..3 * width * height).map(value).collect())
        };
        for (width, height, expected) in [
            (90, 70, "814de060804de0607dcc0066fcb3aa8200f0fdff781308875ff32095def7bfff"),
            (40, 130, "c9b63059c8a63cf9c22678fd9ca2645db5aa5449c0f77e783e858e5bc5ac40d2"),
            (400, 300, "b9ed00c954f200d208c800000000a0fefcffefffe9ff00000000eeffffffffff"),
        ] {
            let expected: [u8; HASH] = std::array::from_fn(|place| {
                u8::from_str_radix(&expected[2 * place..2 * place + 2], 16).unwrap()
            });
            // Transforms of other processors may differ in the last digit, and so coefficients near the median.
            let apart = distance(&words(&hash(&wave(width, height))), &words(&expected));
            assert!(apart <= 4, "{width} x {height}: {apart} bits");
        }
    }

    #[test]
    fn likeness_is_of_shapes_not_of_brightness() {
        let picture = |value: &dyn Fn(usize, usize) -> u32| {
            let values = (0..64 * 48).map(|place| value(place % 64, place / 64) as u8);
            Image::new(64, 48, values.flat_map(|value| [value; 3]).collect())
        };
        let shape = |x: usize, y: usize| (x * y % 60 + x / 2) as u32;
        let plain = Likeness::of(&picture(&shape));
        let near = |other: Likeness, expected: f32| {
            let found = plain.correlation(&other);
            assert!((found - expected).abs() < 2e-3, "{found}, not {expected}");
        };
        near(Likeness::of(&picture(&shape)), 1.0);
        near(Likeness::of(&picture(&|x, y| 40 + 2 * shape(x, y))), 1.0);
        near(Likeness::of(&picture(&|x, y| 255 - shape(x, y))), -1.0);
        let turned = plain.correlation(&Likeness::of(&picture(&|x, y| shape(63 - x, y))));
        assert!(turned.abs() < 0.9, "{turned}");
    }
}
