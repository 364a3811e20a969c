//! From bytes to the numbers that a network sees: y = (x / 255 - mean) / std, per channel.
//!
//! The same single-precision operations as torchvision's `ToTensor` and `Normalize`, but channels stay
//! last. Knows nothing of tensors.

use crate::{data::Image, tensor::cpu::vector::vectorised};

/// Mean and standard deviation of each channel, red, green, blue, for values in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Normalisation {
    /// Channel statistics of Sewer-ML's training split at 224 x 224. The data set's authors average
    /// the images' standard deviations, which is less than the pooled one.
    /// Source: Sewer-ML repository, README; the paper's authors use the same.
    pub const SEWER_ML: Self = Self { mean: [0.523, 0.453, 0.345], std: [0.210, 0.199, 0.154] };

    /// ImageNet's customary constants. Source: torchvision model recipes.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

/// Writes `image` normalised to `out`, height x width x 3.
///
/// # Panics
/// If `out` has another length than the image has bytes.
pub fn to_normalised(image: &Image, normalisation: &Normalisation, out: &mut [f32]) {
    assert_eq!(out.len(), image.pixels.len(), "one number for each of the image's bytes");
    let Normalisation { mean, std } = normalisation;
    vectorised(
        #[inline(always)]
        || {
            for (out, rgb) in out.as_chunks_mut::<3>().0.iter_mut().zip(image.pixels.as_chunks::<3>().0) {
                *out = std::array::from_fn(|c| (f32::from(rgb[c]) / 255.0 - mean[c]) / std[c]);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torch_gives_the_same_bits() {
        // The formula evaluated by numpy in float32, operation by operation as torchvision applies it.
        let image = Image::new(2, 1, vec![0, 128, 255, 37, 91, 53]);
        let mut out = [0.0; 6];
        to_normalised(&image, &Normalisation::SEWER_ML, &mut out);
        assert_eq!(out.map(f32::to_bits), EXPECTED);
    }

    const EXPECTED: [u32; 6] = [0xc01f63f7, 0x3e7bf063, 0x40881a99, 0xbfe6571b, 0xbef7591e, 0xbf640042];
}
