//! Detectors that are fitted on normal images alone and look at places: how far a patch of middle features lies from
//! those of normal images. No defect is needed, and none is used.
//!
//! Sources: PatchCore (Roth et al., "Towards total recall in industrial anomaly detection", 2022) and PaDiM (Defard et
//! al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization", 2021), both on two
//! stages here. Ours: bounds on images and patches; PatchCore's greedy choice of patches without its random projection,
//! which only saves time; PaDiM's largest distance without smoothing, as its maps are a few places wide here.

mod padim;
mod patchcore;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
pub use padim::{DIMENSIONS, Padim};
pub use patchcore::{BANK, CANDIDATES, PatchCore};
use rayon::prelude::*;

use super::{
    normals::usual,
    scorer::{Detected, Scorer},
};
use crate::{backbone::Backbone, loader::Loader, seed::Seed};

/// Normal images that both are fitted on at most, evenly spread. Ours.
pub const MOST_IMAGES: usize = 1_000;
/// Of these the images whose own distances say what is usual. Ours.
const USUAL_IMAGES: usize = 200;

/// Features of all places of an image, as (places, width).
pub struct Patches {
    /// Row by row.
    pub values: Vec<f32>,
    /// Numbers of a place.
    pub width: usize,
}

impl Patches {
    fn places(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

/// Both detectors by name, fitted on the normal images of `normals`: for each image of `rows` its distance less the one
/// that 95 % of them keep. None where the encoder has no middle features, or there are fewer than two normal images.
///
/// # Errors
/// If an image cannot be read, or normal images are all alike.
pub fn detectors(
    encoder: &dyn Backbone,
    normals: &Loader,
    rows: &Loader,
    seed: &Seed,
) -> Result<Vec<Detected>> {
    let (all, kept) = (normals.indices.len(), normals.indices.len().min(MOST_IMAGES));
    let indices: Vec<usize> = (0..kept).map(|place| normals.indices[place * all / kept]).collect();
    let mut images = Vec::new();
    let fits = each(encoder, &Loader { indices: &indices, ..*normals }, |patches| {
        images.push(patches);
        Ok(())
    })?;
    if !fits || images.len() < 2 {
        return Ok(Vec::new());
    }
    let core = PatchCore::fit(&images, seed)?;
    let padim = Padim::fit(&images, seed)?;
    let count = images.len().min(USUAL_IMAGES);
    let own: Vec<&Patches> = (0..count).map(|place| &images[place * images.len() / count]).collect();
    let level = |distance: &(dyn Fn(&Patches) -> f64 + Sync)| -> f64 {
        usual(own.par_iter().map(|patches| distance(patches)).collect())
    };
    let levels = [level(&|patches| core.distance(patches)), level(&|patches| padim.distance(patches))];
    drop(images);
    let mut found = [Vec::new(), Vec::new()];
    each(encoder, rows, |patches| {
        found[0].push(core.distance(&patches) - levels[0]);
        found[1].push(padim.distance(&patches) - levels[1]);
        Ok(())
    })?;
    let [logits, of_padim] = found;
    let scorer = Scorer::PatchCore { core, usual: levels[0] };
    Ok(vec![
        Detected { name: scorer.name(), logits, scorer: Some(scorer) },
        Detected { name: "normals_padim", logits: of_padim, scorer: None },
    ])
}

/// Goes through patches of every image, in order. Whether there are such.
fn each(
    encoder: &dyn Backbone,
    loader: &Loader,
    mut take: impl FnMut(Patches) -> Result<()>,
) -> Result<bool> {
    let mut fits = true;
    loader.once(|batch| {
        let Some(middle) = encoder.middle(&batch.images)? else {
            fits = false;
            return Ok(());
        };
        let [second, third] = middle.map(|maps| maps.detach().to_device(&Device::Cpu));
        described(&second?, &third?)?.into_iter().try_for_each(&mut take)
    })?;
    Ok(fits)
}

/// What is known of each place of the finer grid: both maps (batch, rows, columns, channels) averaged over 3 x 3 places
/// (zeros outside, as anomalib 2.7), the coarser moved to the finer grid bilinearly, side by side.
///
/// # Errors
/// If the maps are of different images.
pub fn described(fine: &Tensor, coarse: &Tensor) -> Result<Vec<Patches>> {
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

/// Means over 3 x 3 places, zeros outside.
fn smoothed(maps: &Tensor) -> Result<Tensor> {
    let (_, rows, columns, _) = maps.dims4()?;
    let padded = maps.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let mut sum = maps.zeros_like()?;
    for (down, across) in (0..9).map(|place| (place / 3, place % 3)) {
        sum = (sum + padded.narrow(1, down, rows)?.narrow(2, across, columns)?)?;
    }
    Ok((sum / 9.0)?)
}

/// Weights (places of `to`) x (places of `from`) of a bilinear change of grid, centres as torch's
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
