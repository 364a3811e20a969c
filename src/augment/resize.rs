//! Antialiased resampling, equal to Pillow's byte for byte.
//!
//! An output pixel at x has its centre at c = (x + 1/2) in/out and is the sum over input pixels k of
//! f((k - c + 1/2) / s) / sum, s = max(in/out, 1): the filter widens when the image shrinks. Weights
//! are rounded to 22 fractional bits; one axis after the other, rounded to bytes in between.
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
    /// All of a `width` x `height` image.
    pub fn whole(width: usize, height: usize) -> Self {
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

    /// Most input pixels that make one output pixel, of `input` that become `output`.
    pub(super) fn most_taps(self, input: usize, output: usize) -> usize {
        let widening = (input as f64 / output as f64).max(1.0);
        (2.0 * self.support() * widening).ceil() as usize + 1
    }

    fn at(self, t: f64) -> f64 {
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

/// Cuts `crop` out and resamples it to `width` x `height`; the filter sees no pixel outside the crop.
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

/// The whole image, bicubic, with a shorter side of so many pixels where it has more.
pub fn shrunk(image: &Image, side: usize) -> Image {
    let shorter = image.width.min(image.height);
    if shorter <= side {
        return image.clone();
    }
    let scaled = |of: usize| (of * side + shorter / 2) / shorter;
    let whole = CropBox::whole(image.width, image.height);
    resize(image, whole, scaled(image.width), scaled(image.height), Filter::Bicubic)
}

/// Pillow's order of passes since 13.0.0: columns come first where the height shrinks, and by more than
/// twice as many pixels as the width. Older versions always begin with rows.
fn columns_first(crop: CropBox, width: usize, height: usize) -> bool {
    crop.height > height && crop.height + 2 * width > height + 2 * crop.width
}

/// Resamples the whole image so that its shorter side becomes `side`; the longer one is
/// floor(side * longer / shorter), as torchvision's `Resize(side)`.
pub fn resize_shorter_side(image: &Image, side: usize, filter: Filter) -> Image {
    let shorter = image.width.min(image.height);
    let crop = CropBox::whole(image.width, image.height);
    resize(image, crop, side * image.width / shorter, side * image.height / shorter, filter)
}

/// Fractional bits of a weight: 32, less 8 of a byte, less 2 for kernels that overshoot.
const FRACTION: u32 = 22;
const HALF: i32 = 1 << (FRACTION - 1);

/// Rows that are resampled together, so that one weight multiplies whole vector registers.
const ROWS: usize = 8;
/// Bytes of one pixel in [`ROWS`] rows, padded to four channels.
const LANES: usize = 4 * ROWS;
/// Bytes of a row whose column sums stay in registers together; 32 pixels.
const STRIP: usize = 96;

/// Which input pixels make each output pixel, and with which fixed-point weights, along one axis.
struct FilterWindows {
    windows: Vec<Window>,
    weights: Vec<i32>,
}

struct Window {
    /// First input pixel.
    first: usize,
    /// Where the weights lie in [`FilterWindows::weights`].
    weights: Range<usize>,
}

impl FilterWindows {
    /// Every operation is in the reference's order, for equal rounding.
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
            // Casts of negative numbers to `usize` give 0, which is the image's border.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..end).map(|k| filter.at((k as f64 - centre + 0.5) * step)));
            let sum: f64 = exact.iter().sum();
            let start = weights.len();
            weights.extend(exact.iter().map(|weight| fixed_point(weight / sum)));
            windows.push(Window { first, weights: start..weights.len() });
        }
        Self { windows, weights }
    }

    /// Output pixels.
    fn len(&self) -> usize {
        self.windows.len()
    }

    /// (first input pixel, weights) of every output pixel.
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

/// A rectangle of an image, as the passes read it.
#[derive(Clone, Copy)]
struct Region<'a> {
    width: usize,
    height: usize,
    /// Bytes from one row to the next.
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
        Self::of(image, CropBox::whole(image.width, image.height))
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[self.stride * y..][..3 * self.width]
    }

    fn to_image(self) -> Image {
        let pixels = (0..self.height).flat_map(|y| self.row(y)).copied().collect();
        Image::new(self.width, self.height, pixels)
    }

    /// The horizontal pass.
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
                        // The last group may repeat the last row; it is not read.
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

    /// The vertical pass.
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

/// Writes the pixels of one row to their lanes. A pixel moves as four bytes, so the fourth channel
/// holds the next pixel's red: it is resampled with the others and never read.
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

/// One output pixel in [`ROWS`] rows.
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

/// `N` neighbouring bytes of one output row, from rows that are `stride` apart.
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
        let small = shrunk(&image, 29);
        assert_eq!((small.width, small.height), (36, 29));
        assert!(small.pixels.iter().all(|&byte| byte == 7));
        assert!(shrunk(&image, 58) == image && shrunk(&image, 500) == image);
        // Half of 73 is 36.5, of 71 35.5: rounded, either way round.
        for (longer, rounded) in [(73, 37), (71, 36)] {
            let [wide, tall] = [(longer, 58), (58, longer)]
                .map(|(width, height)| shrunk(&Image::new(width, height, vec![7; width * height * 3]), 29));
            assert_eq!(
                ((wide.width, wide.height), (tall.width, tall.height)),
                ((rounded, 29), (29, rounded))
            );
        }
    }

    #[test]
    fn no_window_has_more_than_the_most_taps() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (input, output) in [(7, 32), (32, 32), (33, 32), (100, 32), (720, 224), (1000, 7)] {
                let windows = FilterWindows::new(input, output, filter);
                let longest = windows.iter().map(|(_, weights)| weights.len()).max().unwrap();
                let most = filter.most_taps(input, output);
                assert!((longest..longest + 3).contains(&most), "{input} to {output}: {longest} of {most}");
            }
        }
    }
}
