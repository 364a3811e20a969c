//! Detectors fitted on normal images only, from distances between patches of middle features. They neither need nor use
//! defects. A *place* is one position of a feature map.
//!
//! Sources: PatchCore (Roth et al., "Towards total recall in industrial anomaly detection", 2022) and PaDiM (Defard et
//! al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization", 2021), both applied to
//! two stages of the encoder here. Ours: the numbers of images and patches are bounded; PatchCore's greedy choice of
//! patches omits its random projection, which only saves time; PaDiM's largest distance is taken without smoothing,
//! because its maps are only a few places wide here.

mod padim;
mod patchcore;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
pub use padim::{DIMENSIONS, Padim};
pub use patchcore::{BANK, CANDIDATES, PatchCore};

/// Largest number of normal images that both are fitted on, evenly spaced. Ours.
pub const MOST_IMAGES: usize = 1_000;
/// Features of all places of an image, as (places, width).
pub struct Patches {
    /// Values, row-major.
    pub values: Vec<f32>,
    /// Features per place.
    pub width: usize,
}

impl Patches {
    fn places(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

/// Returns the features of each place of the finer map, image by image. Both maps (batch, rows, columns, channels) are
/// averaged over 3 x 3 places (with zero padding, as in anomalib 2.7); the coarser one is resampled bilinearly to the
/// finer grid, and both are concatenated.
///
/// # Errors
/// If the batch sizes differ, or a feature is not finite.
pub fn describe_patches(fine: &Tensor, coarse: &Tensor) -> Result<Vec<Patches>> {
    let (batch, rows, columns, channels) = fine.dims4()?;
    let (others, few_rows, few_columns, further) = coarse.dims4()?;
    ensure!(batch == others, "maps of {batch} and of {others} images");
    let moved = Tensor::from_vec(
        bilinear((few_rows, few_columns), (rows, columns)),
        (rows * columns, few_rows * few_columns),
        &Device::Cpu,
    )?;
    let coarse = smoothed(coarse)?.reshape((batch, few_rows * few_columns, further))?;
    let coarse = moved.broadcast_left(batch)?.contiguous()?.matmul(&coarse)?;
    let fine = smoothed(fine)?.reshape((batch, rows * columns, channels))?;
    let joined = Tensor::cat(&[&fine, &coarse], 2)?;
    let width = channels + further;
    let values = joined.flatten_all()?.to_vec1::<f32>()?;
    ensure!(values.iter().all(|value| value.is_finite()), "a middle feature is not finite");
    let images = values.chunks_exact(rows * columns * width);
    Ok(images.map(|values| Patches { values: values.to_vec(), width }).collect())
}

/// Averages over 3 x 3 places, with zero padding.
fn smoothed(maps: &Tensor) -> Result<Tensor> {
    let (_, rows, columns, _) = maps.dims4()?;
    let padded = maps.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let mut sum = maps.zeros_like()?;
    for (down, across) in (0..9).map(|place| (place / 3, place % 3)) {
        sum = (sum + padded.narrow(1, down, rows)?.narrow(2, across, columns)?)?;
    }
    Ok((sum / 9.0)?)
}

/// Returns the matrix (places of `to`) x (places of `from`) of bilinear resampling, as in torch with
/// `align_corners=False`.
fn bilinear(from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let line = |from: usize, to: usize| -> Vec<Vec<f64>> {
        (0..to)
            .map(|place| {
                let at = ((place as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
                let low = (at as usize).min(from - 1);
                let high = (low + 1).min(from - 1);
                let mut weights = vec![0.0; from];
                weights[low] += 1.0 - (at - low as f64);
                weights[high] += at - low as f64;
                weights
            })
            .collect()
    };
    let (down, across) = (line(from.0, to.0), line(from.1, to.1));
    down.iter()
        .flat_map(|row| across.iter().map(move |column| (row, column)))
        .flat_map(|(row, column)| row.iter().flat_map(move |a| column.iter().map(move |b| (a * b) as f32)))
        .collect()
}

#[cfg(test)]
mod tests;
