//! The positions of a convolution's windows. Independent of the numbers.

use candle_core::{Result, Shape, bail};

use super::weights::Axes;
use crate::tensor::cpu::patches::Windows;

/// Stride and padding of a convolution, equal in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the images, in pixels.
    pub padding: usize,
}

impl Geometry {
    /// Returns the windows of images (batch, height, width, in), and the axes of weights (out, in, kernel height,
    /// kernel width).
    ///
    /// # Errors
    /// If shapes do not fit each other, or the padding is as large as the kernel.
    pub(super) fn plan(self, images: &Shape, weights: &Shape) -> Result<(Windows, Axes)> {
        let Geometry { stride, padding } = self;
        let (batch, height, width, channels) = images.dims4()?;
        let (outputs, inputs, rows, columns) = weights.dims4()?;
        if channels != inputs {
            bail!(
                "convolution: images {images:?} have {channels} channels, weights {weights:?} expect {inputs}"
            )
        }
        if padding >= rows.min(columns) || rows > height + 2 * padding || columns > width + 2 * padding {
            bail!("convolution: kernel {rows} x {columns} with padding {padding} does not fit {images:?}")
        }
        let kernel = (rows, columns);
        let windows = Windows { batch, height, width, channels, kernel, stride, padding: (padding, padding) };
        Ok((windows, Axes { outputs, inputs, taps: rows * columns }))
    }
}
