//! The pixel floor: the image itself at low resolution, without a network. Every encoder must beat the score of a
//! probe on these features.
//!
//! Feature (row, column, channel) is the mean of that colour over a cell of an 8 x 8 grid; if 8 does not divide the
//! side, neighbouring cells share border pixels. The mean colours of the whole image are linear combinations of these
//! features, so a linear probe can use them, too. The grid is ours. There are no variables and nothing to train.

use candle_core::{DType, Device, Result, Tensor};

use super::{Backbone, Mode};

/// Number of cells along each side.
const GRID: usize = 8;

/// Encoder without variables: maps (batch, height, width, 3) to (batch, 192).
pub struct Pixels;

impl Backbone for Pixels {
    fn embed(&self, images: &Tensor, _mode: Mode) -> Result<Tensor> {
        let (batch, height, width, channels) = images.dims4()?;
        let rows = means(height, images.dtype(), images.device())?;
        let columns = means(width, images.dtype(), images.device())?;
        // Average over rows first, with columns and channels as one axis; then over columns.
        let flat = images.reshape((batch, height, width * channels))?;
        let narrow = rows.broadcast_matmul(&flat)?.reshape((batch * GRID, width, channels))?;
        columns.broadcast_matmul(&narrow)?.reshape((batch, self.width()))
    }

    fn mixes_images(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        GRID * GRID * 3
    }
}

/// Matrix (8, length) that averages over each cell.
fn means(length: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut weights = vec![0.0; GRID * length];
    for (cell, row) in weights.chunks_exact_mut(length).enumerate() {
        let (begin, end) = (cell * length / GRID, ((cell + 1) * length).div_ceil(GRID));
        row[begin..end].fill(1.0 / (end - begin) as f64);
    }
    Tensor::from_vec(weights, (GRID, length), device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_means_of_cells() {
        // In an image whose pixel (y, x) of channel c is 100 y + x + 1000 c, a cell's mean is the value at its
        // centre.
        let of = |side: usize| {
            let value = |at: usize| (100 * (at / 3 / side) + at / 3 % side + 1_000 * (at % 3)) as f32;
            let pixels: Vec<f32> = (0..side * side * 3).map(value).collect();
            let image = Tensor::from_vec(pixels, (1, side, side, 3), &Device::Cpu).unwrap();
            Pixels.embed(&image, Mode::Evaluate).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        // 16 px: cells of 2 px with centres at 0.5, 2.5, ...; feature ((row 1, column 2), channel 1).
        let features = of(16);
        assert_eq!(features.len(), 192);
        assert_eq!(features[0], 50.5);
        assert_eq!(features[(8 + 2) * 3 + 1], 250.0 + 4.5 + 1_000.0);
        // 12 px: cells [0, 2), [1, 3), [3, 5), ...
        assert_eq!(of(12)[(8 + 2) * 3], 150.0 + 3.5);
    }
}
