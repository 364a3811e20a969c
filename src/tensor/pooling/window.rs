//! The positions of a pool's windows.

use candle_core::{Result, bail};

/// The square windows of a max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Pixels per side, 1 to 15.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels around the image, which are never the maximum; at most half the kernel.
    pub padding: usize,
}

impl Pool {
    /// Returns the rows and columns of the output for a `height` x `width` map.
    ///
    /// # Errors
    /// If the windows do not fit the map.
    pub(super) fn output(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let Self { kernel, stride, padding } = *self;
        if stride == 0 || kernel == 0 || kernel > 15 || 2 * padding > kernel {
            bail!("max pool: {self:?} needs kernel 1..=15, stride above 0, padding up to half the kernel")
        }
        if height + 2 * padding < kernel || width + 2 * padding < kernel {
            bail!("max pool: {self:?} does not fit a {height} x {width} map")
        }
        Ok(((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1))
    }
}
