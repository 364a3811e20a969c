//! Windows of an image as rows of a matrix (im2col) and back (col2im).
//!
//! A row holds one output pixel's window, ordered (kernel row, kernel column, channel). Windows are processed by
//! output line: a line is one row of output pixels of one image, numbered through the batch. Independent of
//! weights.

use std::ops::Range;

use super::storage::{Number, Real};

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
    pub fn gather<T: Number>(&self, images: &[T], lines: Range<usize>, rows: &mut [T]) {
        let (across, span) = (self.output_size().1, self.kernel.1 * self.channels);
        let mut rows = rows.chunks_exact_mut(span);
        for line in lines {
            let sources = self.sources(line);
            for column in 0..across {
                let (left, inside) = self.columns(column);
                for source in &sources {
                    let row = rows.next().expect("`rows` holds every window of `lines`");
                    match source {
                        Some(start) => {
                            row[..inside.start].fill(T::zero());
                            row[inside.end..].fill(T::zero());
                            let length = inside.len();
                            copy(&images[start + left..start + left + length], &mut row[inside.clone()]);
                        }
                        None => row.fill(T::zero()),
                    }
                }
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
            let sources = self.sources(line);
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

    /// Returns the start, within the batch, of the image row under each kernel row at an output line; `None` in the
    /// padding.
    fn sources(&self, line: usize) -> Vec<Option<usize>> {
        let down = self.output_size().0;
        let (image, line) = (line / down, line % down);
        let source = |kernel_row: usize| {
            let row = (line * self.stride + kernel_row).checked_sub(self.padding.0)?;
            (row < self.height).then(|| (image * self.height + row) * self.width * self.channels)
        };
        (0..self.kernel.0).map(source).collect()
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
