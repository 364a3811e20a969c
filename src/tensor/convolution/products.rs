//! Convolution as products of windows and weights (im2col), on slices.
//!
//! There are two algorithms, chosen by the number of weights. With few, work is parallelised over pixels, and each
//! task keeps its windows in its core's cache. With many (deep layers on small maps), windows are gathered once and
//! each product is parallelised, because partial sums of weight gradients for each task would not fit in memory.
//! Independent of tensors and of automatic differentiation.

use rayon::prelude::*;

use super::weights::{Axes, Order};
use crate::tensor::cpu::{
    factor::{Factor, Threads},
    operands::{Matrix, Write},
    patches::Windows,
    storage::{Number, resize_unwritten, unwritten},
};

/// With more weights than this, each product is parallelised instead of the pixels (ours, by measurement).
const MANY_WEIGHTS: usize = 1 << 18;
/// Numbers in the windows that one task holds at a time: half of a 2 MiB cache in f32 (ours, by measurement).
const TASK_NUMBERS: usize = 1 << 18;
/// Numbers in the windows that are gathered at a time for all tasks (ours; bounds memory).
const SHARED_NUMBERS: usize = 1 << 23;
/// Largest number of tasks that compute partial sums of weight gradients.
const GROUPS: usize = 8;

/// `out = windows(images) weights^T`; weights (out, tap, in), out (pixels, out).
pub fn forward<N: Factor>(windows: &Windows, images: &[N], weights: &[N::Sum], out: &mut [N]) {
    let (size, outputs) = (windows.window_len(), weights.len() / windows.window_len());
    let few = size * outputs <= MANY_WEIGHTS;
    let weights = N::prepare(Matrix::new(weights, outputs, size).transposed());
    let across = windows.output_size().1;
    if windows.are_pixels() {
        N::multiply(out, images, &weights, Write::Replace, Threads::All);
    } else if few {
        let lines = lines_within(TASK_NUMBERS, windows);
        out.par_chunks_mut(lines * across * outputs).enumerate().for_each_init(
            Vec::new,
            |rows, (index, out)| {
                let pixels = out.len() / outputs;
                // SAFETY: `gather` writes whole windows.
                unsafe { resize_unwritten(rows, pixels * size) };
                windows.gather(images, index * lines..index * lines + pixels / across, rows);
                N::multiply(out, rows, &weights, Write::Replace, Threads::One);
            },
        );
    } else {
        let lines = lines_within(SHARED_NUMBERS, windows);
        let mut rows = Vec::new();
        for (index, out) in out.chunks_mut(lines * across * outputs).enumerate() {
            let pixels = out.len() / outputs;
            gather_parallel(windows, images, index * lines, pixels / across, &mut rows);
            N::multiply(out, &rows, &weights, Write::Replace, Threads::All);
        }
    }
}

/// Returns the gradients of a stride-1 convolution with respect to images and to weights (in torchvision's order).
///
/// Windows are gathered only once: with D the windows of the output's gradient, `dX = D W` and `dW = D^T X` for
/// mirrored weights W.
///
/// `windows` are those of the output's gradient, as large as the kernel and padded so that there is one for each
/// pixel of `images`; `weights` are (mirrored tap, out, in).
pub fn backward_stride_one<N: Factor>(
    windows: &Windows,
    images: &[N],
    gradient: &[N],
    weights: &[N::Sum],
    axes: Axes,
) -> (Vec<N>, Vec<N::Sum>) {
    let (size, inputs) = (windows.window_len(), axes.inputs);
    let (down, across) = windows.output_size();
    let few = size * inputs <= MANY_WEIGHTS;
    let weights = N::prepare(Matrix::new(weights, size, inputs));
    // SAFETY: products write every pixel's channels.
    let mut by_images = unsafe { unwritten(images.len()) };
    let image = down * across * inputs;
    let parts = if few {
        let group = windows.batch.div_ceil(GROUPS);
        // SAFETY: every task first writes its own part.
        let mut parts = unsafe { unwritten(windows.batch.div_ceil(group) * size * inputs) };
        let tasks = parts
            .par_chunks_mut(size * inputs)
            .zip(by_images.par_chunks_mut(group * image))
            .zip(images.par_chunks(group * image));
        tasks.enumerate().for_each(|(index, ((by_weights, by_images), images))| {
            by_weights.fill(N::Sum::ZERO);
            let lines = lines_within(TASK_NUMBERS, windows);
            let mut rows = Vec::new();
            let chunk = lines * across * inputs;
            for (step, (by_images, images)) in
                by_images.chunks_mut(chunk).zip(images.chunks(chunk)).enumerate()
            {
                let pixels = images.len() / inputs;
                let first = index * group * down + step * lines;
                // SAFETY: `gather` writes whole windows.
                unsafe { resize_unwritten(&mut rows, pixels * size) };
                windows.gather(gradient, first..first + pixels / across, &mut rows);
                N::multiply(by_images, &rows, &weights, Write::Replace, Threads::One);
                N::multiply_transposed(by_weights, &rows, images, (size, inputs), true, Threads::One);
            }
        });
        parts
    } else {
        let mut by_weights = vec![N::Sum::ZERO; size * inputs];
        let lines = lines_within(SHARED_NUMBERS, windows);
        let chunk = lines * across * inputs;
        let mut rows = Vec::new();
        for (step, (by_images, images)) in by_images.chunks_mut(chunk).zip(images.chunks(chunk)).enumerate() {
            let pixels = images.len() / inputs;
            gather_parallel(windows, gradient, step * lines, pixels / across, &mut rows);
            N::multiply(by_images, &rows, &weights, Write::Replace, Threads::All);
            N::multiply_transposed(&mut by_weights, &rows, images, (size, inputs), true, Threads::All);
        }
        by_weights
    };
    (by_images, axes.unpack_sum(&parts, Order::MirroredTapFirst))
}

/// Returns the gradients of any convolution: `dW = dY^T windows(X)`, and `dX` is `dY W` scattered onto images.
///
/// The gradient with respect to images is not computed if `weights` (out, tap, in) is `None`.
pub fn backward<N: Factor>(
    windows: &Windows,
    images: &[N],
    gradient: &[N],
    weights: Option<&[N::Sum]>,
    axes: Axes,
) -> (Option<Vec<N>>, Vec<N::Sum>) {
    let (size, outputs) = (windows.window_len(), axes.outputs);
    let weights = weights.map(|weights| N::prepare(Matrix::new(weights, outputs, size)));
    // SAFETY: every task first writes its own images.
    let mut by_images = unsafe { unwritten(if weights.is_some() { images.len() } else { 0 }) };
    let few = size * outputs <= MANY_WEIGHTS;
    // Number of images that one task scatters onto, one after another.
    let group = if few { windows.batch.div_ceil(GROUPS) } else { 1 };
    let mut groups: Vec<&mut [N::Sum]> = match weights {
        Some(_) => by_images.chunks_mut(group * windows.image_len()).collect(),
        None => (0..windows.batch.div_ceil(group)).map(|_| &mut [][..]).collect(),
    };
    let given = BackwardArguments { windows, images, gradient, weights: weights.as_ref(), outputs };
    let parts = if few { given.share_pixels(group, &mut groups) } else { given.share_channels(&mut groups) };
    (weights.is_some().then(|| N::narrow_all(by_images)), axes.unpack_sum(&parts, Order::OutputFirst))
}

/// The arguments of [`backward`].
struct BackwardArguments<'a, 'w, N: Factor> {
    windows: &'a Windows,
    images: &'a [N],
    gradient: &'a [N],
    weights: Option<&'a N::Right<'w>>,
    outputs: usize,
}

impl<N: Factor> BackwardArguments<'_, '_, N> {
    /// Returns each task's partial sum of the gradient with respect to weights, concatenated, and writes the
    /// gradient with respect to images. Each task handles a group of `group` images.
    fn share_pixels(&self, group: usize, groups: &mut [&mut [N::Sum]]) -> Vec<N::Sum> {
        let &Self { windows, images, weights, outputs, .. } = self;
        let (size, (down, across)) = (windows.window_len(), windows.output_size());
        // SAFETY: every task first writes its own part.
        let mut parts = unsafe { unwritten(groups.len() * size * outputs) };
        let tasks = parts
            .par_chunks_mut(size * outputs)
            .zip(groups)
            .zip(self.gradient.par_chunks(group * down * across * outputs));
        tasks.enumerate().for_each(|(index, ((by_weights, by_images), gradient))| {
            by_weights.fill(N::Sum::ZERO);
            by_images.fill(N::Sum::ZERO);
            let lines = lines_within(TASK_NUMBERS, windows);
            let (mut rows, mut by_rows) = (Vec::new(), Vec::new());
            for (step, gradient) in gradient.chunks(lines * across * outputs).enumerate() {
                let pixels = gradient.len() / outputs;
                let first = index * group * down + step * lines;
                let range = first..first + pixels / across;
                // SAFETY: `gather` writes whole windows.
                unsafe { resize_unwritten(&mut rows, pixels * size) };
                windows.gather(images, range.clone(), &mut rows);
                N::multiply_transposed(by_weights, gradient, &rows, (outputs, size), true, Threads::One);
                if let Some(weights) = weights {
                    // SAFETY: the product writes every number.
                    unsafe { resize_unwritten(&mut by_rows, pixels * size) };
                    N::multiply_wide(&mut by_rows, gradient, weights, Threads::One);
                    windows.scatter(&by_rows, range, index * group, by_images);
                }
            }
        });
        parts
    }

    /// Returns the gradient with respect to weights, and writes the gradient with respect to images. Here each
    /// group is a single image.
    fn share_channels(&self, groups: &mut [&mut [N::Sum]]) -> Vec<N::Sum> {
        let &Self { windows, images, weights, outputs, .. } = self;
        let (size, (down, across)) = (windows.window_len(), windows.output_size());
        let mut by_weights = vec![N::Sum::ZERO; size * outputs];
        let together = (SHARED_NUMBERS / (down * across * size)).max(1);
        let (mut rows, mut by_rows) = (Vec::new(), Vec::new());
        let chunks = self.gradient.chunks(together * down * across * outputs);
        for (step, (gradient, groups)) in chunks.zip(groups.chunks_mut(together)).enumerate() {
            let (pixels, first) = (gradient.len() / outputs, step * together);
            gather_parallel(windows, images, first * down, pixels / across, &mut rows);
            N::multiply_transposed(&mut by_weights, gradient, &rows, (outputs, size), true, Threads::All);
            if let Some(weights) = weights {
                // SAFETY: the product writes every number.
                unsafe { resize_unwritten(&mut by_rows, pixels * size) };
                N::multiply_wide(&mut by_rows, gradient, weights, Threads::All);
                let rows = by_rows.par_chunks(down * across * size);
                rows.zip(groups).enumerate().for_each(|(index, (rows, by_image))| {
                    let image = first + index;
                    by_image.fill(N::Sum::ZERO);
                    windows.scatter(rows, image * down..(image + 1) * down, image, by_image);
                });
            }
        }
        by_weights
    }
}

/// Returns the number of output lines whose windows hold about `numbers` numbers.
fn lines_within(numbers: usize, windows: &Windows) -> usize {
    (numbers / (windows.output_size().1 * windows.window_len())).clamp(1, windows.lines())
}

/// Gathers the windows of `lines` lines beginning with `first`, in parallel, like [`Windows::gather`].
fn gather_parallel<N: Number>(
    windows: &Windows,
    images: &[N],
    first: usize,
    lines: usize,
    rows: &mut Vec<N>,
) {
    let line = windows.output_size().1 * windows.window_len();
    // SAFETY: `gather` writes whole windows.
    unsafe { resize_unwritten(rows, lines * line) };
    rows.par_chunks_mut(line).enumerate().for_each(|(index, rows)| {
        windows.gather(images, first + index..first + index + 1, rows);
    });
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};
    use rstest::rstest;

    use crate::tensor::{Geometry, backward, convolution};

    /// Whole numbers, whose sums f32 holds exactly, however they are added up.
    fn whole(shape: [usize; 4], step: usize) -> Vec<f32> {
        let count: usize = shape.iter().product();
        (0..count).map(|n| ((n * step + n * n % 1009) % 5) as f32 - 2.0).collect()
    }

    /// Adds up a convolution number by number; `each` gets the places in the output, in the images and in the weights.
    fn each_product(
        [batch, height, width, channels]: [usize; 4],
        [outputs, _, rows, columns]: [usize; 4],
        Geometry { stride, padding }: Geometry,
        mut each: impl FnMut(usize, usize, usize),
    ) {
        let size = |length: usize, kernel: usize| (length + 2 * padding - kernel) / stride + 1;
        let (down, across) = (size(height, rows), size(width, columns));
        let places = (0..batch * down * across).map(|place| {
            (place, place / (down * across), place / across % down * stride, place % across * stride)
        });
        for (place, image, top, left) in places {
            for tap in 0..rows * columns {
                let (row, column) = (top + tap / columns, left + tap % columns);
                if !(padding..height + padding).contains(&row)
                    || !(padding..width + padding).contains(&column)
                {
                    continue;
                }
                let pixel = ((image * height + row - padding) * width + column - padding) * channels;
                for output in 0..outputs {
                    for channel in 0..channels {
                        let weight = (output * channels + channel) * rows * columns + tap;
                        each(place * outputs + output, pixel + channel, weight);
                    }
                }
            }
        }
    }

    /// Windows of so many numbers that they are gathered in several rounds: for a task's pixels, or for all tasks.
    #[rstest]
    #[case::pixels_strided([9, 96, 96, 3], [2, 3, 7, 7], 2, 3)]
    #[case::pixels([17, 64, 64, 1], [2, 1, 5, 5], 1, 2)]
    #[case::oblong([3, 6, 7, 2], [3, 2, 2, 4], 1, 1)]
    #[case::oblong_strided([3, 9, 8, 2], [3, 2, 5, 2], 2, 1)]
    #[case::all_strided([65, 2, 2, 14_600], [2, 14_600, 3, 3], 2, 1)]
    #[case::all([33, 2, 1, 2], [14_600, 2, 3, 3], 1, 1)]
    fn several_rounds_are_the_definition(
        #[case] shape: [usize; 4],
        #[case] weights_shape: [usize; 4],
        #[case] stride: usize,
        #[case] padding: usize,
    ) -> Result<()> {
        let geometry = Geometry { stride, padding };
        let (pixels, filters) = (whole(shape, 1), whole(weights_shape, 3));
        let images = Var::from_vec(pixels.clone(), &shape, &Device::Cpu)?;
        let weights = Var::from_vec(filters.clone(), &weights_shape, &Device::Cpu)?;
        let output = convolution(&images, &weights, geometry)?;
        let (a, b, c, d) = output.dims4()?;
        let slopes = whole([a, b, c, d], 2);
        let slope = Tensor::from_vec(slopes.clone(), output.dims(), &Device::Cpu)?;
        let gradients = backward(&(&output * &slope)?.sum_all()?)?;
        let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();

        let mut value = vec![0.0; slopes.len()];
        let (mut by_images, mut by_weights) = (vec![0.0; pixels.len()], vec![0.0; filters.len()]);
        each_product(shape, weights_shape, geometry, |place, pixel, weight| {
            value[place] += pixels[pixel] * filters[weight];
            by_images[pixel] += slopes[place] * filters[weight];
            by_weights[weight] += slopes[place] * pixels[pixel];
        });
        assert!(numbers(&output)? == value, "the value differs");
        assert!(numbers(gradients.get(&images).expect("by images"))? == by_images, "by images");
        assert!(numbers(gradients.get(&weights).expect("by weights"))? == by_weights, "by weights");
        // Without a gradient of the images, that of the weights is the same.
        let output = convolution(&images.as_detached_tensor(), &weights, geometry)?;
        let gradients = backward(&(&output * slope)?.sum_all()?)?;
        assert!(numbers(gradients.get(&weights).expect("by weights"))? == by_weights, "by weights alone");
        Ok(())
    }
}
