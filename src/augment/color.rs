//! Colour adjustments on bytes, equal to Pillow's `ImageEnhance` and torchvision's PIL path.
//!
//! Brightness, contrast and saturation by a factor f compute d + f (x - d), where the "degenerate" d is black, the
//! image's mean grey or the pixel's own grey. Hue rotates the colour circle in 256 steps.
//!
//! Source: Pillow 13.0.0 (`src/libImaging/Blend.c`, `Convert.c`), torchvision 0.29
//! (`transforms/_functional_pil.py`).

use crate::{data::Image, tensor::cpu::vector::vectorised};

/// Blends with black; `factor` >= 0, and 1 changes nothing.
pub fn brightness(image: &mut Image, factor: f64) {
    blend_with(image, 0, factor as f32);
}

/// Blends with the mean grey of the image, rounded to a byte.
pub fn contrast(image: &mut Image, factor: f64) {
    let mean = mean_grey(image);
    blend_with(image, mean, factor as f32);
}

/// Blends every pixel with its own grey.
pub fn saturation(image: &mut Image, factor: f64) {
    map_pixels(
        image,
        #[inline(always)]
        |[r, g, b]| {
            let d = grey(r, g, b);
            [blend(d, r, factor as f32), blend(d, g, factor as f32), blend(d, b, factor as f32)]
        },
    );
}

/// Rotates the hue by `turn` of the colour circle, in [-1/2, 1/2], truncated to steps of 1/255. Colours pass through
/// 8-bit HSV, so even a rotation by 0 changes some.
pub fn hue(image: &mut Image, turn: f64) {
    let steps = (turn * 255.0) as i32 as u8;
    map_pixels(
        image,
        #[inline(always)]
        |rgb| {
            let [h, s, v] = rgb_to_hsv(rgb);
            hsv_to_rgb([h.wrapping_add(steps), s, v])
        },
    );
}

/// Replaces the three channels of each pixel by its luma.
pub fn greyscale(image: &mut Image) {
    map_pixels(
        image,
        #[inline(always)]
        |[r, g, b]| [grey(r, g, b); 3],
    );
}

/// Inverts bytes of 128 and more.
pub fn solarise(image: &mut Image) {
    vectorised(
        #[inline(always)]
        || {
            for byte in &mut image.pixels {
                *byte = if *byte < 128 { *byte } else { 255 - *byte };
            }
        },
    );
}

/// Blends every byte with the byte `degenerate`, using a lookup table.
fn blend_with(image: &mut Image, degenerate: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|x| blend(degenerate, x as u8, factor));
    for byte in &mut image.pixels {
        *byte = table[usize::from(*byte)];
    }
}

/// Number of pixels that are mapped together.
const BLOCK: usize = 64;

/// Maps every pixel. A `map` without branches is vectorised.
#[inline(always)]
fn map_pixels(image: &mut Image, map: impl Fn([u8; 3]) -> [u8; 3]) {
    vectorised(
        #[inline(always)]
        || {
            let (blocks, rest) = image.pixels.as_chunks_mut();
            for block in blocks {
                map_block(block, &map);
            }
            let mut block = [0; 3 * BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            map_block(&mut block, &map);
            rest.copy_from_slice(&block[..rest.len()]);
        },
    );
}

/// Maps one block plane by plane: the compiler does not vectorise interleaved channels.
#[inline(always)]
fn map_block(block: &mut [u8; 3 * BLOCK], map: &impl Fn([u8; 3]) -> [u8; 3]) {
    let [mut red, mut green, mut blue] = [[0; BLOCK]; 3];
    for (i, &[r, g, b]) in block.as_chunks::<3>().0.iter().enumerate() {
        (red[i], green[i], blue[i]) = (r, g, b);
    }
    for i in 0..BLOCK {
        [red[i], green[i], blue[i]] = map([red[i], green[i], blue[i]]);
    }
    for (i, pixel) in block.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [red[i], green[i], blue[i]];
    }
}

/// d + f (x - d) in single precision, clipped and truncated.
#[inline(always)]
fn blend(degenerate: u8, x: u8, factor: f32) -> u8 {
    let degenerate = f32::from(degenerate);
    (degenerate + factor * (f32::from(x) - degenerate)).clamp(0.0, 255.0) as i32 as u8
}

/// ITU-R 601 luma, 16 fractional bits, rounded.
#[inline(always)]
fn grey(r: u8, g: u8, b: u8) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + (1 << 15)) >> 16) as u8
}

fn mean_grey(image: &Image) -> u8 {
    let sum = vectorised(
        #[inline(always)]
        || {
            let rows = image.pixels.chunks(3 * image.width);
            let row_sum = |row: &[u8]| -> u32 {
                row.as_chunks::<3>().0.iter().map(|&[r, g, b]| u32::from(grey(r, g, b))).sum()
            };
            rows.map(|row| u64::from(row_sum(row))).sum::<u64>()
        },
    );
    (sum as f64 / (image.width * image.height) as f64 + 0.5) as u8
}

/// Converts to hue, saturation and value as bytes, without branches, so that it is vectorised. Greys divide 0 by 0,
/// and the cast of NaN to `i32` gives the required 0.
///
/// Precision is mixed as in the reference, which computes in double and stores in single precision.
#[inline(always)]
pub(super) fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let (red_leads, green_leads) = (r == max, g == max);
    let sector = if red_leads {
        0.0
    } else if green_leads {
        2.0
    } else {
        4.0
    };
    let plus = if red_leads {
        b
    } else if green_leads {
        r
    } else {
        g
    };
    let minus = if red_leads {
        g
    } else if green_leads {
        b
    } else {
        r
    };
    let plus = f64::from(f32::from(max - plus) / range);
    let minus = f64::from(f32::from(max - minus) / range);
    let sixths = (sector + plus - minus) as f32;
    let turns = f64::from(sixths) / 6.0 + 1.0;
    // `turns` lies in [5/6, 11/6), so fmod(turns, 1) is at most one subtraction.
    let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    [(f64::from(hue) * 255.0) as i32 as u8, (f64::from(saturation) * 255.0) as i32 as u8, max]
}

/// Inverts [`rgb_to_hsv`] up to rounding: each channel is V (1 - S k), where k rises from 0 to 1 and falls back
/// within a third of the circle on either side of a position specific to the channel.
#[inline(always)]
pub(super) fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let saturation = f64::from(f32::from(s) / 255.0);
    // Sixths of the circle, in 255ths.
    let place = 6 * i32::from(h);
    let channel = |k: i32| {
        let k = f64::from(k.clamp(0, 255) as f32 / 255.0);
        (f64::from(v) * (1.0 - saturation * k) + 0.5) as i32 as u8
    };
    [
        channel(510 - (place - 765).abs()),
        channel((place - 510).abs() - 255),
        channel((place - 1020).abs() - 255),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_pillow_s() {
        // Pillow 12, `Image.new("RGB", (1, 1), colour).convert("L")`; the first is 96.4986 before it is rounded.
        assert_eq!([grey(0, 144, 105), grey(0, 144, 106), grey(255, 255, 255)], [96, 97, 255]);
    }
}
