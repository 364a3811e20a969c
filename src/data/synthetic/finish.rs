//! Converts light to bytes: the effects of camera, cable and recorder on a picture.
//!
//! Vignette, white balance, tone, blur, sensor noise, and then compression as in JPEG: 8 x 8 cosine blocks in luma
//! and (halved) chroma, quantised.

use super::{
    light::Light,
    noise::{hash, nearest, nearest_integer, saturate},
};

/// Settings of one camera and recorder.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Darkening towards the corners, 0..1.
    pub vignette: f32,
    /// Gain of red, green and blue.
    pub balance: [f32; 3],
    /// Stray light, added to every channel before the tone curve.
    pub haze: f32,
    /// Curvature of the tone curve: positive values lift the middle.
    pub tone: f32,
    /// Blur: 0 sharp .. 1 soft.
    pub blur: f32,
    /// Standard deviation of sensor noise, relative to full scale.
    pub noise: f32,
    /// Quantisation step of the coarsest luma coefficient, relative to full scale; 0 for no compression.
    pub quantiser: f32,
    /// Seed of the sensor noise.
    pub seed: u32,
}

const BLOCK: usize = 8;

/// The 8-point orthonormal cosine transform: row k is s_k cos(pi (2 i + 1) k / 16). The values are f32 literals, so
/// that no library function is used.
#[rustfmt::skip]
#[allow(clippy::excessive_precision)]
const COSINES: [[f32; BLOCK]; BLOCK] = [
    [0.35355339,  0.35355339,  0.35355339,  0.35355339,  0.35355339,  0.35355339,  0.35355339,  0.35355339],
    [0.49039264,  0.41573481,  0.27778512,  0.09754516, -0.09754516, -0.27778512, -0.41573481, -0.49039264],
    [0.46193977,  0.19134172, -0.19134172, -0.46193977, -0.46193977, -0.19134172,  0.19134172,  0.46193977],
    [0.41573481, -0.09754516, -0.49039264, -0.27778512,  0.27778512,  0.49039264,  0.09754516, -0.41573481],
    [0.35355339, -0.35355339, -0.35355339,  0.35355339,  0.35355339, -0.35355339, -0.35355339,  0.35355339],
    [0.27778512, -0.49039264,  0.09754516,  0.41573481, -0.41573481, -0.09754516,  0.49039264, -0.27778512],
    [0.19134172, -0.46193977,  0.46193977, -0.19134172, -0.19134172,  0.46193977, -0.46193977,  0.19134172],
    [0.09754516, -0.27778512,  0.41573481, -0.49039264,  0.49039264, -0.41573481,  0.27778512, -0.09754516],
];

impl Finish {
    /// Returns the bytes of a `side` x `side` picture whose linear light is `planes`.
    pub fn develop(&self, mut planes: Light, side: usize) -> Vec<u8> {
        self.expose(&mut planes, side);
        for (k, plane) in planes.iter_mut().enumerate() {
            // Analogue video has less detail in colour than in brightness.
            blur(plane, side, if k == 0 { 0.25 * self.blur } else { 0.25 });
        }
        self.add_noise(&mut planes);
        if self.quantiser > 0.0 {
            // A picture smaller than a video frame was scaled down after compression, which averages out the
            // artefacts.
            let strength = self.quantiser * (side as f32 / 256.0).clamp(0.25, 1.0);
            compress(&mut planes[0], side, strength);
            for chroma in &mut planes[1..] {
                compress_halved(chroma, side, 1.5 * strength);
            }
        }
        let [luma, blueness, redness] = &planes;
        let mut bytes = vec![0; side * side * 3];
        for (((y, b), r), pixel) in luma.iter().zip(blueness).zip(redness).zip(bytes.chunks_exact_mut(3)) {
            let (red, blue) = (y + r * (1.0 / 0.713), y + b * (1.0 / 0.564));
            let green = (y - 0.299 * red - 0.114 * blue) * (1.0 / 0.587);
            // Values that noise pushed out of range are clipped.
            let byte = |c: f32| nearest_integer(saturate(c) * 255.0) as u8;
            pixel.copy_from_slice(&[byte(red), byte(green), byte(blue)]);
        }
        bytes
    }

    /// Converts red, green and blue light to the brightness of a screen, as luma, blueness and redness.
    fn expose(&self, [red, green, blue]: &mut Light, side: usize) {
        let step = 2.0 / side as f32;
        let rows =
            red.chunks_exact_mut(side).zip(green.chunks_exact_mut(side)).zip(blue.chunks_exact_mut(side));
        for (row, ((red, green), blue)) in rows.enumerate() {
            let v = row as f32 * step - 1.0;
            for (column, ((red, green), blue)) in red.iter_mut().zip(green).zip(blue).enumerate() {
                let u = column as f32 * step - 1.0;
                let corner = 1.0 - self.vignette * 0.5 * (u * u + v * v);
                let tone = |light: f32, balance: f32| {
                    let c = (light * corner + self.haze) * balance;
                    // A soft shoulder, so that bright wall approaches white instead of clipping.
                    let c = saturate(c * (1.0 + 0.25 * c) / (1.0 + 0.55 * c * c));
                    c + self.tone * c * (1.0 - c)
                };
                let [r, g, b] = self.balance;
                let (r, g, b) = (tone(*red, r), tone(*green, g), tone(*blue, b));
                let y = 0.299 * r + 0.587 * g + 0.114 * b;
                (*red, *green, *blue) = (y, 0.564 * (b - y), 0.713 * (r - y));
            }
        }
    }

    /// Adds nearly normal noise: sums of four bytes in luma and of two in chroma, with standard deviations of 147.8
    /// and 104.5.
    fn add_noise(&self, [luma, blueness, redness]: &mut [Vec<f32>; 3]) {
        let (gain, chroma_gain) = (self.noise / 147.8, 0.6 * self.noise / 104.5);
        for (i, ((y, b), r)) in luma.iter_mut().zip(blueness).zip(redness).enumerate() {
            let [p, q, s, t] = hash(i as u32, 0, self.seed).to_le_bytes().map(i32::from);
            *y += (p + q + s + t - 510) as f32 * gain;
            let [p, q, s, t] = hash(i as u32, 1, self.seed).to_le_bytes().map(i32::from);
            *b += (p + q - 255) as f32 * chroma_gain;
            *r += (s + t - 255) as f32 * chroma_gain;
        }
    }
}

/// Three-tap blur (w, 1 - 2 w, w) along both axes, with edges repeated.
fn blur(plane: &mut [f32], side: usize, w: f32) {
    let centre = 1.0 - 2.0 * w;
    let mut line = vec![0.0; side + 2];
    for row in plane.chunks_exact_mut(side) {
        line[1..=side].copy_from_slice(row);
        (line[0], line[side + 1]) = (row[0], row[side - 1]);
        let neighbours = line.iter().zip(&line[2..]);
        for ((value, here), (left, right)) in row.iter_mut().zip(&line[1..]).zip(neighbours) {
            *value = centre * here + w * (left + right);
        }
    }
    line.truncate(side);
    let mut above = plane[..side].to_vec();
    for y in 0..side {
        line.copy_from_slice(&plane[y * side..][..side]);
        let below = (y + 1).min(side - 1) * side;
        for x in 0..side {
            plane[y * side + x] = centre * line[x] + w * (above[x] + plane[below + x]);
        }
        std::mem::swap(&mut above, &mut line);
    }
}

/// Quantises the cosine coefficients of every 8 x 8 block; the step grows with frequency.
fn compress(plane: &mut [f32], side: usize, strength: f32) {
    for top in (0..side).step_by(BLOCK) {
        for left in (0..side).step_by(BLOCK) {
            let mut block = [[0.0; BLOCK]; BLOCK];
            for (y, row) in block.iter_mut().enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = plane[(top + y).min(side - 1) * side + (left + x).min(side - 1)];
                }
            }
            let mut coefficients = transform(&transform(&block, false), false);
            for (v, row) in coefficients.iter_mut().enumerate() {
                for (u, c) in row.iter_mut().enumerate() {
                    let step = strength * (0.4 + 0.2 * (u + v) as f32);
                    *c = nearest(*c / step) * step;
                }
            }
            let block = transform(&transform(&coefficients, true), true);
            for (y, row) in block.iter().enumerate().take(side - top) {
                for (x, value) in row.iter().enumerate().take(side - left) {
                    plane[(top + y) * side + left + x] = *value;
                }
            }
        }
    }
}

/// Applies [`compress`] at half the resolution, as recorders do with chroma.
fn compress_halved(plane: &mut [f32], side: usize, strength: f32) {
    let half = side.div_ceil(2);
    let mut small = vec![0.0; half * half];
    for (row, values) in small.chunks_exact_mut(half).enumerate() {
        let upper = &plane[2 * row * side..][..side];
        let lower = &plane[(2 * row + 1).min(side - 1) * side..][..side];
        for (column, value) in values.iter_mut().enumerate() {
            let (left, right) = (2 * column, (2 * column + 1).min(side - 1));
            *value = 0.25 * (upper[left] + upper[right] + lower[left] + lower[right]);
        }
    }
    compress(&mut small, half, strength);
    for (row, values) in plane.chunks_exact_mut(side).enumerate() {
        let from = &small[row / 2 * half..][..half];
        for (column, value) in values.iter_mut().enumerate() {
            *value = from[column / 2];
        }
    }
}

/// Transforms the rows of a block (inversely if `inverse`) and transposes it; applied twice, it transforms both axes.
fn transform(block: &[[f32; BLOCK]; BLOCK], inverse: bool) -> [[f32; BLOCK]; BLOCK] {
    let mut out = [[0.0; BLOCK]; BLOCK];
    for (i, row) in block.iter().enumerate() {
        let mut sums = [0.0; BLOCK];
        for (j, &value) in row.iter().enumerate() {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum += value * if inverse { COSINES[j][k] } else { COSINES[k][j] };
            }
        }
        for (k, sum) in sums.into_iter().enumerate() {
            out[k][i] = sum;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_definition_and_invert() {
        for (k, row) in COSINES.iter().enumerate() {
            let norm = if k == 0 { 0.125_f64.sqrt() } else { 0.5 };
            for (i, &value) in row.iter().enumerate() {
                let angle = core::f64::consts::PI * ((2 * i + 1) * k) as f64 / 16.0;
                assert!((f64::from(value) - norm * libm::cos(angle)).abs() < 1e-7, "{k}, {i}");
            }
        }
        let mut block = [[0.0; BLOCK]; BLOCK];
        block[2][5] = 1.0;
        let there = transform(&transform(&block, false), false);
        let back = transform(&transform(&there, true), true);
        for (a, b) in back.iter().flatten().zip(block.iter().flatten()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn compression_changes_little_at_small_steps_and_flattens_at_large_ones() {
        let side = 20;
        let plane: Vec<f32> = (0..side * side).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let worst = |strength: f32| {
            let mut copy = plane.clone();
            compress(&mut copy, side, strength);
            copy.iter().zip(&plane).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!(worst(1e-4) < 1e-2, "{}", worst(1e-4));
        assert!(worst(2.0) > 0.3, "{}", worst(2.0));
    }

    /// A tile of 16 x 16 pixels away from the edges, of a picture of this side that repeats it.
    fn tile(side: usize, quantiser: f32) -> Vec<u8> {
        let finish = Finish {
            vignette: 0.0,
            balance: [1.0, 0.9, 0.8],
            haze: 0.02,
            tone: 0.3,
            blur: 0.5,
            noise: 0.0,
            quantiser,
            seed: 7,
        };
        let light = [31, 57, 83].map(|step| {
            let value = |place: usize| {
                let (row, column) = (place / side % 16, place % side % 16);
                ((row * step + column * 13 + row * column * 5) % 97) as f32 / 97.0
            };
            (0..side * side).map(value).collect::<Vec<f32>>()
        });
        let bytes = finish.develop(light, side);
        (16..32).flat_map(|row| bytes[3 * (row * side + 16)..][..3 * 16].to_vec()).collect()
    }

    /// Strength grows with the side, from a quarter at 64 pixels to all of it at 256, and stays there on both sides.
    #[test]
    fn compression_is_that_of_a_video_frame_scaled_down() {
        let [quarter, half, whole] = [0.05, 0.1, 0.2].map(|quantiser| tile(256, quantiser));
        assert!(quarter != half && half != whole && quarter != whole);
        assert!(tile(48, 0.2) == quarter && tile(64, 0.2) == quarter);
        assert!(tile(128, 0.2) == half);
        assert!(tile(272, 0.2) == whole && tile(320, 0.2) == whole);
        let none = tile(64, 0.0);
        assert!(none == tile(320, 0.0) && none != quarter);
    }
}
