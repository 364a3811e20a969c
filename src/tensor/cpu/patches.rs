//! Windows of an image as rows of a matrix (im2col) and back (col2im).
//!
//! A row holds one output pixel's window, ordered (kernel row, kernel column, channel). Windows are processed by
//! output line: a line is one row of output pixels of one image, numbered through the batch. Independent of
//! weights.

use std::ops::Range;

use super::{
    storage::{Number, Real},
    vector::vectorised,
};

/// The positions of windows in a batch of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub kernel: (usize, usize),
    pub stride: usize,
    /// Rows of zeros above and below, and columns left and right; fewer than the kernel has.
    pub padding: (usize, usize),
}

impl Windows {
    /// Returns the rows and columns of output pixels.
    pub fn output_size(&self) -> (usize, usize) {
        let length =
            |size: usize, padding: usize, kernel: usize| (size + 2 * padding - kernel) / self.stride + 1;
        let down = length(self.height, self.padding.0, self.kernel.0);
        (down, length(self.width, self.padding.1, self.kernel.1))
    }

    /// Returns the number of output lines of the whole batch.
    pub fn lines(&self) -> usize {
        self.batch * self.output_size().0
    }

    /// Returns the number of output pixels of the whole batch.
    pub fn pixels(&self) -> usize {
        self.lines() * self.output_size().1
    }

    /// Returns the number of elements in one window.
    pub fn window_len(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels
    }

    /// Returns the number of elements in one image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Returns whether every window is exactly one pixel, so that the images already are the matrix.
    pub fn are_pixels(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == (0, 0)
    }

    /// Copies the windows of `lines` into `rows` ((lines x output width) x size), zeros outside the image.
    ///
    /// # Panics
    /// If `rows` does not hold these windows.
    pub fn gather<T: Number>(&self, images: &[T], lines: Range<usize>, rows: &mut [T]) {
        let window = self.window_len();
        assert_eq!(
            rows.len(),
            lines.len() * self.output_size().1 * window,
            "numbers of the windows of {lines:?}"
        );
        if window == 0 {
            return;
        }
        vectorised(
            #[inline(always)]
            || {
                let rows = rows.chunks_exact_mut(self.output_size().1 * window);
                lines.clone().zip(rows).for_each(
                    #[inline(always)]
                    |(line, rows)| self.gather_line(images, line, rows),
                );
            },
        );
    }

    /// Copies the windows of one output line, kernel row by kernel row: neighbouring windows differ by one step.
    #[inline(always)]
    fn gather_line<T: Number>(&self, images: &[T], line: usize, rows: &mut [T]) {
        let (span, window) = (self.kernel.1 * self.channels, self.window_len());
        let (step, whole) = (self.stride * self.channels, self.whole_columns());
        for kernel_row in 0..self.kernel.0 {
            let parts = kernel_row * span..(kernel_row + 1) * span;
            let Some(start) = self.source(line, kernel_row) else {
                rows.chunks_exact_mut(window).for_each(|row| row[parts.clone()].fill(T::zero()));
                continue;
            };
            let edges = (0..whole.start).chain(whole.end..self.output_size().1);
            for column in edges {
                let (left, inside) = self.columns(column);
                let row = &mut rows[column * window..][parts.clone()];
                row[..inside.start].fill(T::zero());
                row[inside.end..].fill(T::zero());
                copy(&images[start + left..start + left + inside.len()], &mut row[inside]);
            }
            if whole.is_empty() {
                continue;
            }
            let from = &images[start + self.columns(whole.start).0..];
            let rows = rows[whole.start * window..whole.end * window].chunks_exact_mut(window);
            for (index, row) in rows.enumerate() {
                copy(&from[index * step..][..span], &mut row[parts.clone()]);
            }
        }
    }

    /// The adjoint of [`Self::gather`]: adds the windows of `lines` onto `images`, which starts with image `first`
    /// of the batch.
    pub fn scatter<T: Real>(&self, rows: &[T], lines: Range<usize>, first: usize, images: &mut [T]) {
        let (across, span) = (self.output_size().1, self.kernel.1 * self.channels);
        let offset = first * self.image_len();
        let mut rows = rows.chunks_exact(span);
        for line in lines {
            let sources: Vec<_> =
                (0..self.kernel.0).map(|kernel_row| self.source(line, kernel_row)).collect();
            for column in 0..across {
                let (left, inside) = self.columns(column);
                for source in &sources {
                    let row = rows.next().expect("`rows` holds every window of `lines`");
                    if let Some(start) = source {
                        let start = start + left - offset;
                        let target = &mut images[start..start + inside.len()];
                        target.iter_mut().zip(&row[inside.clone()]).for_each(|(sum, &x)| *sum += x);
                    }
                }
            }
        }
    }

    /// Returns the start, within the batch, of the image row under a kernel row at an output line; `None` in the
    /// padding.
    #[inline(always)]
    fn source(&self, line: usize, kernel_row: usize) -> Option<usize> {
        let down = self.output_size().0;
        let (image, line) = (line / down, line % down);
        let row = (line * self.stride + kernel_row).checked_sub(self.padding.0)?;
        (row < self.height).then(|| (image * self.height + row) * self.width * self.channels)
    }

    /// Returns the output columns whose windows lie within the width of the image.
    #[inline(always)]
    fn whole_columns(&self) -> Range<usize> {
        let across = self.output_size().1;
        let first = self.padding.1.div_ceil(self.stride).min(across);
        let room = (self.width + self.padding.1).checked_sub(self.kernel.1);
        let end = room.map_or(0, |room| (room / self.stride + 1).min(across));
        first..end.max(first)
    }

    /// For the window at output column `column`, returns where its part inside the image starts in an image row,
    /// and which numbers of a window row that part is.
    fn columns(&self, column: usize) -> (usize, Range<usize>) {
        let start = column * self.stride;
        let first = self.padding.1.saturating_sub(start).min(self.kernel.1);
        let last = (self.width + self.padding.1).saturating_sub(start).clamp(first, self.kernel.1);
        let left = (start + first).saturating_sub(self.padding.1);
        (left * self.channels, first * self.channels..last * self.channels)
    }
}

/// Copies a row of a window. The rows of ResNet's first layer have 21 numbers, for which a call of `memcpy` takes
/// longer than copying: they are copied in whole vectors, of which the last two overlap.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    const VECTOR: usize = 16;
    let length = to.len();
    if (VECTOR..4 * VECTOR).contains(&length) {
        for start in (0..length - VECTOR).step_by(VECTOR).chain([length - VECTOR]) {
            to[start..start + VECTOR].copy_from_slice(&from[start..start + VECTOR]);
        }
    } else {
        to.copy_from_slice(from);
    }
}
