//! Pillow's `GaussianBlur`: three extended box blurs along rows, then three along columns.
//!
//! A box of radius r = R + a (whole and fractional part) gives 2R + 1 pixels full weight and the next pixel on either
//! side weight a; r is chosen so that three boxes have the Gaussian's variance. Each blur rounds to bytes; border
//! pixels are repeated. The result is not a sampled Gaussian: torchvision's blur, and those of the TensorFlow and JAX
//! codes, differ visibly.
//!
//! Source: Pillow 13.0.0, `src/libImaging/BoxBlur.c`, after Gwosdek et al., SSVM 2011, eqs. 7, 11, 14.

use crate::{data::Image, tensor::cpu::vector::vectorised};

/// Number of box blurs along each axis.
const PASSES: usize = 3;
const HALF: u32 = 1 << 23;

/// Blurs in place with standard deviation `sigma` >= 0, in pixels; with 0 the image is unchanged.
pub fn gaussian_blur(image: &mut Image, sigma: f64) {
    let Some(kernel) = Kernel::from_sigma(sigma) else { return };
    for _ in 0..PASSES {
        kernel.along_rows(image);
    }
    for _ in 0..PASSES {
        kernel.along_columns(image);
    }
}

/// Radius of the box whose variance is a third of `sigma` squared, in single precision where the reference uses it.
fn box_radius(sigma: f32) -> f32 {
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    whole + fraction / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)))
}

/// A box kernel: fixed-point weights with 24 fractional bits.
pub(super) struct Kernel {
    /// Pixels on either side with full weight.
    pub(super) radius: usize,
    pub(super) full: u32,
    /// Weight of the pixel beyond `radius` on either side.
    pub(super) edge: u32,
}

impl Kernel {
    /// Returns the box for a blur of `sigma`; `None` if it changes nothing.
    pub(super) fn from_sigma(sigma: f64) -> Option<Self> {
        let radius = box_radius(sigma as f32);
        (radius != 0.0).then(|| Self::new(radius))
    }

    fn new(radius: f32) -> Self {
        let whole = radius as u32;
        let full = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let edge = ((1 << 24) - (2 * whole + 1) * full) / 2;
        Self { radius: whole as usize, full, edge }
    }

    /// Blurs each row as a vector: sums shifted copies of the padded row.
    fn along_rows(&self, image: &mut Image) {
        let padding = 3 * (self.radius + 1);
        let length = 3 * image.width;
        let mut padded = vec![0; length + 2 * padding];
        let mut sums = vec![0; length];
        for row in image.pixels.chunks_exact_mut(length) {
            padded[padding..padding + length].copy_from_slice(row);
            for side in padded[..padding].chunks_exact_mut(3) {
                side.copy_from_slice(&row[..3]);
            }
            for side in padded[padding + length..].chunks_exact_mut(3) {
                side.copy_from_slice(&row[length - 3..]);
            }
            let shifted = padded.windows(length).step_by(3);
            self.blend(shifted, &mut sums, row);
        }
    }

    /// Replaces each row by a weighted sum of rows above and below.
    fn along_columns(&self, image: &mut Image) {
        let length = 3 * image.width;
        let source = image.pixels.clone();
        let mut sums = vec![0; length];
        let reach = self.radius as isize + 1;
        for (y, row) in image.pixels.chunks_exact_mut(length).enumerate() {
            let neighbours = (-reach..=reach).map(|offset| {
                let y = y.saturating_add_signed(offset).min(image.height - 1);
                &source[length * y..length * (y + 1)]
            });
            self.blend(neighbours, &mut sums, row);
        }
    }

    /// Writes the weighted sum of 2 radius + 3 rows; the first and last have the edge weight.
    fn blend<'a>(
        &self,
        mut rows: impl DoubleEndedIterator<Item = &'a [u8]>,
        sums: &mut [u32],
        output: &mut [u8],
    ) {
        let (Some(first), Some(last)) = (rows.next(), rows.next_back()) else {
            unreachable!("a box has at least three rows")
        };
        vectorised(
            #[inline(always)]
            || {
                sums.fill(0);
                for row in &mut rows {
                    for (sum, &byte) in sums.iter_mut().zip(row) {
                        *sum += u32::from(byte);
                    }
                }
                for (((output, &sum), &a), &b) in output.iter_mut().zip(&*sums).zip(first).zip(last) {
                    let edges = u32::from(a) + u32::from(b);
                    *output = ((self.full * sum + self.edge * edges + HALF) >> 24) as u8;
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radius_has_the_gaussians_variance() {
        // Values of Pillow 13.0.0's formula at four sigmas, to six places.
        for (sigma, radius) in [(0.5, 0.045455), (1.0, 0.25), (1.5, 1.038462), (2.0, 1.375)] {
            assert!((box_radius(sigma) - radius).abs() < 1e-6, "sigma {sigma}: {}", box_radius(sigma));
        }
    }

    /// The smallest sigma that is drawn is not 0, so it blurs a little.
    #[test]
    fn without_a_sigma_nothing_is_blurred() {
        let pixels: Vec<u8> = (0..5 * 4 * 3).map(|n| (n * 37 % 251) as u8).collect();
        let blurred = |sigma| {
            let mut image = Image::new(5, 4, pixels.clone());
            gaussian_blur(&mut image, sigma);
            image.pixels
        };
        assert_eq!(blurred(0.0), pixels);
        assert_ne!(blurred(0.3), pixels);
    }
}
