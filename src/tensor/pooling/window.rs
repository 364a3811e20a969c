//! Where the windows of a pool lie.

use candle_core::{Result, bail};

/// Square windows of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub kernel: usize,
    pub stride: usize,
    /// Pixels around the image, which never are the maximum; at most half the kernel.
    pub padding: usize,
}

impl Pool {
    /// Rows and columns of the output of a `height` x `width` map.
    ///
    /// # Errors
    /// If the windows do not fit.
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
