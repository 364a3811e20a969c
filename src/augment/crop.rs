//! Random crop geometry: torchvision's `RandomResizedCrop.get_params`.
//!
//! The area is uniform over a range of shares, the logarithm of the aspect ratio r (width / height) is uniform; width
//! = round(sqrt(A r)), height = round(sqrt(A / r)). Source: torchvision 0.29, `transforms/transforms.py`.

use super::resize::CropBox;
use crate::seed::Stream;

/// Range of aspect ratios used by every method here: torchvision's default.
pub const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

const TRIES: usize = 10;

/// Draws a crop whose area is a share in `scale` of the image and whose width / height is in `ratio`.
///
/// A draw that does not fit is repeated, ten times in all; after that, the largest centred crop with a ratio in the
/// range is used.
pub fn draw_crop(
    width: usize,
    height: usize,
    scale: (f64, f64),
    ratio: (f64, f64),
    stream: &mut Stream,
) -> CropBox {
    let area = (width * height) as f64;
    // Single precision, as in torchvision.
    let log = |ratio: f64| f64::from(libm::log(f64::from(ratio as f32)) as f32);
    for _ in 0..TRIES {
        let area = area * stream.uniform(scale.0, scale.1);
        let ratio = libm::exp(stream.uniform(log(ratio.0), log(ratio.1)));
        let crop_width = (area * ratio).sqrt().round_ties_even() as usize;
        let crop_height = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = stream.below(height - crop_height + 1);
            let left = stream.below(width - crop_width + 1);
            return CropBox { left, top, width: crop_width, height: crop_height };
        }
    }
    centred_crop(width, height, ratio)
}

/// The largest centred crop whose width / height is in `ratio`, at least one pixel wide and high.
fn centred_crop(width: usize, height: usize, ratio: (f64, f64)) -> CropBox {
    let image_ratio = width as f64 / height as f64;
    let rounded = |length: f64| (length.round_ties_even() as usize).max(1);
    let (crop_width, crop_height) = if image_ratio < ratio.0 {
        (width, rounded(width as f64 / ratio.0))
    } else if image_ratio > ratio.1 {
        (rounded(height as f64 * ratio.1), height)
    } else {
        (width, height)
    };
    CropBox {
        left: (width - crop_width) / 2,
        top: (height - crop_height) / 2,
        width: crop_width,
        height: crop_height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn crops_obey_their_bounds() {
        let mut stream = Seed::root(3).child("crops").stream();
        for (width, height) in [(720, 576), (352, 288), (64, 48), (5, 7), (1, 1)] {
            for _ in 0..2000 {
                let crop = draw_crop(width, height, (0.395, 1.0), RATIO, &mut stream);
                assert!(crop.width > 0 && crop.left + crop.width <= width, "{crop:?}");
                assert!(crop.height > 0 && crop.top + crop.height <= height, "{crop:?}");
                // Both sides are rounded, by at most half a pixel.
                let (w, h) = (crop.width as f64, crop.height as f64);
                assert!((w + 0.5) * (h + 0.5) >= 0.395 * (width * height) as f64, "{crop:?}");
                assert!((w + 0.5) / (h - 0.5) >= RATIO.0 && (w - 0.5) / (h + 0.5) <= RATIO.1, "{crop:?}");
            }
        }
    }

    #[test]
    fn small_crops_have_uniform_area_and_log_ratio() {
        // Crops of up to 20 % of a 4 : 3 image fit with any ratio, so nothing is rejected.
        let mut stream = Seed::root(4).stream();
        let n = 20_000;
        let (mut area, mut log_ratio, mut place) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let crop = draw_crop(800, 600, (0.08, 0.2), RATIO, &mut stream);
            area += (crop.width * crop.height) as f64 / 480_000.0;
            log_ratio += (crop.width as f64 / crop.height as f64).ln();
            place += crop.left as f64 / (800 - crop.width) as f64;
        }
        // Six standard errors of a uniform mean, width / sqrt(12 n).
        let error = 6.0 / (12.0 * f64::from(n)).sqrt();
        let n = f64::from(n);
        assert!((area / n - 0.14).abs() < 0.12 * error, "{}", area / n);
        assert!((log_ratio / n).abs() < 2.0 * (4.0_f64 / 3.0).ln() * error, "{}", log_ratio / n);
        assert!((place / n - 0.5).abs() < error, "{}", place / n);
    }

    /// One pixel of twelve: a quarter of the crops in each of four columns, a third in each of three rows.
    #[test]
    fn every_place_is_as_likely_as_any_other() {
        let mut stream = Seed::root(6).stream();
        let mut counts = [[0.0_f64; 4]; 3];
        for _ in 0..6000 {
            let crop = draw_crop(4, 3, (1.0 / 12.0, 1.0 / 12.0), (1.0, 1.0), &mut stream);
            assert_eq!((crop.width, crop.height), (1, 1));
            counts[crop.top][crop.left] += 1.0;
        }
        // Chi-squared with 11 degrees of freedom: above 42 once in 60,000 seeds.
        let statistic: f64 = counts.iter().flatten().map(|count| (count - 500.0).powi(2) / 500.0).sum();
        assert!(statistic < 42.0, "{counts:?}");
    }

    #[test]
    fn long_images_fall_back_to_the_centre() {
        // A crop of the whole area of a 100 x 10 image never has a ratio below 4/3. By torchvision's rule: width
        // round(10 * 4/3) = 13, left (100 - 13) / 2 = 43; for upright images likewise.
        let mut stream = Seed::root(5).stream();
        let wide = draw_crop(100, 10, (1.0, 1.0), RATIO, &mut stream);
        assert_eq!(wide, CropBox { left: 43, top: 0, width: 13, height: 10 });
        let high = draw_crop(10, 100, (1.0, 1.0), RATIO, &mut stream);
        assert_eq!(high, CropBox { left: 0, top: 43, width: 10, height: 13 });
    }

    #[test]
    fn halves_round_to_even() {
        // Python: round(9 / 0.75) = 12; round(2.5) = 2 and round(7.5) = 8.
        assert_eq!(centred_crop(100, 5, (0.5, 0.5)).width, 2);
        assert_eq!(centred_crop(100, 15, (0.5, 0.5)).width, 8);
    }

    #[test]
    fn ten_draws_are_tried() {
        let (mut stream, mut counted) = (Seed::root(6).stream(), Seed::root(6).stream());
        draw_crop(100, 10, (1.0, 1.0), RATIO, &mut stream);
        // An area and a ratio each, as torchvision's `get_params` draws.
        for _ in 0..20 {
            counted.uniform(0.0, 1.0);
        }
        assert_eq!(stream.uniform(0.0, 1.0), counted.uniform(0.0, 1.0));
    }
}
