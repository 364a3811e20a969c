//! Antialiased resampling, byte-identical to Pillow's.
//!
//! The output pixel at x has its centre at c = (x + 1/2) in/out in the input. It is the sum over input pixels k,
//! weighted by f((k - c + 1/2) / s) / sum with s = max(in/out, 1): the filter widens when the image shrinks. Weights
//! are rounded to 22 fractional bits. One axis is resampled after the other, with rounding to bytes in between.
//!
//! Source: Pillow 13.0.0, `src/libImaging/Resample.c`. Torch's `interpolate(antialias=True)` is the
//! same filter without the rounding in between.

use std::ops::Range;

use crate::{data::Image, tensor::cpu::vector::vectorised};

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First column, from 0.
    pub left: usize,
    /// First row, from 0.
    pub top: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
}

impl CropBox {
    /// Returns the rectangle of a whole `width` x `height` image.
    pub fn full_frame(width: usize, height: usize) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// Interpolation kernels f(t), named as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle: max(0, 1 - |t|).
    Bilinear,
    /// Keys' cubic with a = -1/2 (Torch's kernel without antialiasing has a = -3/4).
    Bicubic,
}

impl Filter {
    /// Half the kernel's width, in pixels of the coarser grid.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// Maximum number of input pixels per output pixel when `input` pixels become `output` pixels.
    pub(super) fn max_taps(self, input: usize, output: usize) -> usize {
        let widening = (input as f64 / output as f64).max(1.0);
        (2.0 * self.support() * widening).ceil() as usize + 1
    }

    fn value_at(self, t: f64) -> f64 {
        const A: f64 = -0.5;
        let t = t.abs();
        match self {
            Self::Bilinear if t < 1.0 => 1.0 - t,
            Self::Bicubic if t < 1.0 => ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0,
            Self::Bicubic if t < 2.0 => (((t - 5.0) * t + 8.0) * t - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// Cuts out `crop` and resamples it to `width` x `height`; pixels outside the crop have no influence.
///
/// # Panics
/// If `crop` is empty or reaches beyond the image, or if the output is empty.
pub fn resize(image: &Image, crop: CropBox, width: usize, height: usize, filter: Filter) -> Image {
    assert!(
        crop.width > 0
            && crop.height > 0
            && crop.left + crop.width <= image.width
            && crop.top + crop.height <= image.height,
        "{crop:?} in a {} x {} image",
        image.width,
        image.height
    );
    assert!(width > 0 && height > 0, "resize to {width} x {height}");
    let source = Region::of(image, crop);
    let rows = || FilterWindows::new(crop.width, width, filter);
    let columns = || FilterWindows::new(crop.height, height, filter);
    match (crop.width == width, crop.height == height) {
        (true, true) => source.to_image(),
        (false, true) => source.resample_rows(&rows()),
        (true, false) => source.resample_columns(&columns()),
        (false, false) if columns_first(crop, width, height) => {
            Region::all(&source.resample_columns(&columns())).resample_rows(&rows())
        }
        (false, false) => Region::all(&source.resample_rows(&rows())).resample_columns(&columns()),
    }
}

/// Returns the whole image, bicubically shrunk so that its shorter side has at most `side` pixels.
pub fn shrink_shorter_side(image: &Image, side: usize) -> Image {
    let shorter = image.width.min(image.height);
    if shorter <= side {
        return image.clone();
    }
    let scaled = |of: usize| (of * side + shorter / 2) / shorter;
    let whole = CropBox::full_frame(image.width, image.height);
    resize(image, whole, scaled(image.width), scaled(image.height), Filter::Bicubic)
}

/// Pillow's order of passes since 13.0.0: columns first if the height shrinks, and shrinks by more than twice as many
/// pixels as the width. Older versions always begin with rows.
fn columns_first(crop: CropBox, width: usize, height: usize) -> bool {
    crop.height > height && crop.height + 2 * width > height + 2 * crop.width
}

/// Resamples the whole image so that its shorter side becomes `side`; the longer side becomes floor(side * longer /
/// shorter), as in torchvision's `Resize(side)`.
pub fn resize_shorter_side(image: &Image, side: usize, filter: Filter) -> Image {
    let shorter = image.width.min(image.height);
    let crop = CropBox::full_frame(image.width, image.height);
    resize(image, crop, side * image.width / shorter, side * image.height / shorter, filter)
}

/// Fractional bits of a weight: 32, minus 8 for a byte, minus 2 for kernels that overshoot.
const FRACTION: u32 = 22;
const HALF: i32 = 1 << (FRACTION - 1);

/// Number of rows resampled together, so that one weight multiplies whole vector registers.
const ROWS: usize = 8;
/// Bytes of one pixel in [`ROWS`] rows, padded to four channels.
const LANES: usize = 4 * ROWS;
/// Bytes of a row (32 pixels) whose column sums stay in registers together.
const STRIP: usize = 96;

/// For each output pixel along one axis: its input pixels and their fixed-point weights.
struct FilterWindows {
    windows: Vec<Window>,
    weights: Vec<i32>,
}

struct Window {
    /// First input pixel.
    first: usize,
    /// Range of the weights in [`FilterWindows::weights`].
    weights: Range<usize>,
}

impl FilterWindows {
    /// Performs every operation in the reference's order, so that rounding is the same.
    fn new(input: usize, output: usize, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let step = 1.0 / widening;
        let mut windows = Vec::with_capacity(output);
        let mut weights = Vec::new();
        let mut exact = Vec::new();
        for x in 0..output {
            let centre = (x as f64 + 0.5) * scale;
            // Casting a negative number to `usize` gives 0, the image's border.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..end).map(|k| filter.value_at((k as f64 - centre + 0.5) * step)));
            let sum: f64 = exact.iter().sum();
            let start = weights.len();
            weights.extend(exact.iter().map(|weight| fixed_point(weight / sum)));
            windows.push(Window { first, weights: start..weights.len() });
        }
        Self { windows, weights }
    }

    /// Number of output pixels.
    fn len(&self) -> usize {
        self.windows.len()
    }

    /// Yields (first input pixel, weights) of every output pixel.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.windows.iter().map(|window| (window.first, &self.weights[window.weights.clone()]))
    }
}

/// Rounds half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << FRACTION);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

/// A rectangle of an image, the input of a resampling pass.
#[derive(Clone, Copy)]
struct Region<'a> {
    width: usize,
    height: usize,
    /// Distance between rows, in bytes.
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> Region<'a> {
    fn of(image: &'a Image, crop: CropBox) -> Self {
        let stride = 3 * image.width;
        let bytes = &image.pixels[stride * crop.top + 3 * crop.left..];
        Self { width: crop.width, height: crop.height, stride, bytes }
    }

    fn all(image: &'a Image) -> Self {
        Self::of(image, CropBox::full_frame(image.width, image.height))
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[self.stride * y..][..3 * self.width]
    }

    fn to_image(self) -> Image {
        let pixels = (0..self.height).flat_map(|y| self.row(y)).copied().collect();
        Image::new(self.width, self.height, pixels)
    }

    /// Resamples horizontally.
    fn resample_rows(self, windows: &FilterWindows) -> Image {
        let width = windows.len();
        let mut pixels = vec![0; 3 * width * self.height];
        let mut wide = vec![[0; LANES]; self.width];
        let mut narrow = vec![[0; LANES]; width];
        vectorised(
            #[inline(always)]
            || {
                for (group, output) in pixels.chunks_mut(ROWS * 3 * width).enumerate() {
                    for lane in 0..ROWS {
                        // The last group may repeat the last row; the repetition is not read.
                        spread(self.row((group * ROWS + lane).min(self.height - 1)), lane, &mut wide);
                    }
                    for (pixel, (first, weights)) in narrow.iter_mut().zip(windows.iter()) {
                        *pixel = weigh(&wide[first..first + weights.len()], weights);
                    }
                    for (lane, row) in output.chunks_exact_mut(3 * width).enumerate() {
                        gather(&narrow, lane, row);
                    }
                }
            },
        );
        Image::new(width, self.height, pixels)
    }

    /// Resamples vertically.
    fn resample_columns(self, windows: &FilterWindows) -> Image {
        let mut pixels = vec![0; 3 * self.width * windows.len()];
        vectorised(
            #[inline(always)]
            || {
                for (output, (first, weights)) in pixels.chunks_exact_mut(3 * self.width).zip(windows.iter())
                {
                    let rows = &self.bytes[self.stride * first..];
                    let (strips, rest) = output.as_chunks_mut::<STRIP>();
                    let start_of_rest = strips.len() * STRIP;
                    for (index, strip) in strips.iter_mut().enumerate() {
                        *strip = weigh_strip(&rows[index * STRIP..], self.stride, weights);
                    }
                    for (index, pixel) in rest.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                        *pixel = weigh_strip(&rows[start_of_rest + 3 * index..], self.stride, weights);
                    }
                }
            },
        );
        Image::new(self.width, windows.len(), pixels)
    }
}

/// Writes the pixels of one row to their lanes. A pixel is copied as four bytes, so the fourth channel holds the next
/// pixel's red; it is resampled with the others but never read.
#[inline(always)]
fn spread(row: &[u8], lane: usize, columns: &mut [[u8; LANES]]) {
    let lanes = 4 * lane..4 * lane + 4;
    let (last, others) = columns.split_last_mut().expect("crops are not empty");
    for (column, four) in others.iter_mut().zip(row.windows(4).step_by(3)) {
        column[lanes.clone()].copy_from_slice(four);
    }
    last[4 * lane..4 * lane + 3].copy_from_slice(&row[row.len() - 3..]);
}

/// Reads one row from its lane.
#[inline(always)]
fn gather(columns: &[[u8; LANES]], lane: usize, row: &mut [u8]) {
    for (rgb, column) in row.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
        rgb.copy_from_slice(&column[4 * lane..4 * lane + 3]);
    }
}

/// Computes one output pixel in [`ROWS`] rows.
#[inline(always)]
fn weigh(columns: &[[u8; LANES]], weights: &[i32]) -> [u8; LANES] {
    let mut sums = [HALF; LANES];
    for (column, &weight) in columns.iter().zip(weights) {
        for (sum, &byte) in sums.iter_mut().zip(column) {
            *sum += weight * i32::from(byte);
        }
    }
    sums.map(to_byte)
}

/// Computes `N` neighbouring bytes of one output row, from rows that are `stride` apart.
#[inline(always)]
fn weigh_strip<const N: usize>(rows: &[u8], stride: usize, weights: &[i32]) -> [u8; N] {
    let mut sums = [HALF; N];
    for (row, &weight) in rows.chunks(stride).zip(weights) {
        for (sum, &byte) in sums.iter_mut().zip(&row[..N]) {
            *sum += weight * i32::from(byte);
        }
    }
    sums.map(to_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_shrink_in_proportion_and_never_grow() {
        let image = Image::new(72, 58, vec![7; 72 * 58 * 3]);
        let small = shrink_shorter_side(&image, 29);
        assert_eq!((small.width, small.height), (36, 29));
        assert!(small.pixels.iter().all(|&byte| byte == 7));
        assert!(shrink_shorter_side(&image, 58) == image && shrink_shorter_side(&image, 500) == image);
        // Half of 73 is 36.5, half of 71 is 35.5: rounded in both orientations.
        for (longer, rounded) in [(73, 37), (71, 36)] {
            let [wide, tall] = [(longer, 58), (58, longer)].map(|(width, height)| {
                shrink_shorter_side(&Image::new(width, height, vec![7; width * height * 3]), 29)
            });
            assert_eq!(
                ((wide.width, wide.height), (tall.width, tall.height)),
                ((rounded, 29), (29, rounded))
            );
        }
    }

    #[test]
    fn taps_cover_the_widened_kernel() {
        // Four pixels become one: a bicubic kernel is 4 x 4 wide, a bilinear one 2 x 4.
        assert_eq!([Filter::Bicubic, Filter::Bilinear].map(|filter| filter.max_taps(100, 25)), [17, 9]);
        // Enlarged, a kernel keeps its width.
        assert_eq!([Filter::Bicubic, Filter::Bilinear].map(|filter| filter.max_taps(10, 25)), [5, 3]);
    }
    #[test]
    fn images_are_shrunk_bicubically() {
        let image = Image::new(20, 16, (0..20 * 16 * 3).map(|n: usize| (n * n * 7 % 251) as u8).collect());
        let by = |filter| resize(&image, CropBox::full_frame(20, 16), 10, 8, filter);
        assert!(shrink_shorter_side(&image, 8) == by(Filter::Bicubic));
        assert!(by(Filter::Bicubic) != by(Filter::Bilinear), "they can be told apart");
    }
}
