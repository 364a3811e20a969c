//! Colour adjustments on bytes, equal to Pillow's `ImageEnhance` and torchvision's PIL path.
//!
//! Brightness, contrast and saturation by a factor f are d + f (x - d) for a "degenerate" d: black,
//! the image's mean grey, each pixel's own grey. Hue turns the colour circle in 256 steps.
//!
//! Source: Pillow 13.0.0 (`src/libImaging/Blend.c`, `Convert.c`), torchvision 0.29
//! (`transforms/_functional_pil.py`). Knows nothing of randomness, nor of the order of adjustments.

use crate::data::Image;

/// Blends with black; `factor` >= 0, 1 changes nothing.
pub fn brightness(image: &mut Image, factor: f64) {
    map_bytes(image, |x| blend(0, x, factor as f32));
}

/// Blends with the mean grey of the image, rounded to a byte.
pub fn contrast(image: &mut Image, factor: f64) {
    let mean = mean_grey(image);
    map_bytes(image, |x| blend(mean, x, factor as f32));
}

/// Blends every pixel with its own grey.
pub fn saturation(image: &mut Image, factor: f64) {
    map_pixels(image, |[r, g, b]| {
        let d = grey(r, g, b);
        [blend(d, r, factor as f32), blend(d, g, factor as f32), blend(d, b, factor as f32)]
    });
}

/// Turns hue by `turn` of the circle, in [-1/2, 1/2], truncated to steps of 1/255. Colours pass
/// through 8-bit HSV, so even a turn of 0 changes some.
pub fn hue(image: &mut Image, turn: f64) {
    let steps = (turn * 255.0) as i32 as u8;
    map_pixels(image, |rgb| {
        let [h, s, v] = rgb_to_hsv(rgb);
        hsv_to_rgb([h.wrapping_add(steps), s, v])
    });
}

/// Makes the three channels equal.
pub fn greyscale(image: &mut Image) {
    map_pixels(image, |[r, g, b]| [grey(r, g, b); 3]);
}

/// Inverts bytes from 128 up.
pub fn solarise(image: &mut Image) {
    map_bytes(image, |x| if x < 128 { x } else { 255 - x });
}

#[inline(always)]
fn map_bytes(image: &mut Image, map: impl Fn(u8) -> u8) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for byte in &mut image.pixels {
                *byte = map(*byte);
            }
        },
    );
}

#[inline(always)]
fn map_pixels(image: &mut Image, map: impl Fn([u8; 3]) -> [u8; 3]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for pixel in image.pixels.as_chunks_mut::<3>().0 {
                *pixel = map(*pixel);
            }
        },
    );
}

/// d + f (x - d) in single precision, truncated; a cast to `u8` also clips, which blends with
/// 0 <= f <= 1 never need.
#[inline(always)]
fn blend(degenerate: u8, x: u8, factor: f32) -> u8 {
    let degenerate = f32::from(degenerate);
    (degenerate + factor * (f32::from(x) - degenerate)) as u8
}

/// ITU-R 601 luma, 16 fractional bits, rounded.
#[inline(always)]
fn grey(r: u8, g: u8, b: u8) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + (1 << 15)) >> 16) as u8
}

fn mean_grey(image: &Image) -> u8 {
    let sum = pulp::Arch::new().dispatch(
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

/// Hue, saturation and value as bytes. Branch-free, so that it runs on vectors: greys divide 0 by 0,
/// and the cast of NaN to `u8` is the 0 they should have.
#[inline(always)]
fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let red = f32::from(max - r) / range;
    let green = f32::from(max - g) / range;
    let blue = f32::from(max - b) / range;
    // The reference computes in double and stores in single precision; both roundings show.
    let (sector, plus, minus) = if r == max {
        (0.0, blue, green)
    } else if g == max {
        (2.0, red, blue)
    } else {
        (4.0, green, red)
    };
    let sixths = (sector + f64::from(plus) - f64::from(minus)) as f32;
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let hue = (turns - f64::from(turns as i32)) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// The inverse up to rounding.
#[inline(always)]
fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths as i32;
    let f = f64::from((sixths - f64::from(sector)) as f32);
    let s = f64::from((f64::from(s) / 255.0) as f32);
    let value = f64::from(v);
    let p = (value * (1.0 - s) + 0.5) as u8;
    let q = (value * (1.0 - s * f) + 0.5) as u8;
    let t = (value * (1.0 - s * (1.0 - f)) + 0.5) as u8;
    match sector % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
