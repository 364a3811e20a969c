//! Whether the converged probe's map points to the defect, where the data know where that is.

use anyhow::Result;

use super::Resolved;
use crate::{
    augment::ViewRecipe,
    backbone::Backbone,
    evaluate::{
        pointing::{Pointed, point},
        probe::Probe,
    },
    loader::Loader,
    results::record::Pointing,
};

/// Validation images with a defect that are pointed to at most, evenly spread. Ours.
pub const MOST_IMAGES: usize = 300;

/// Points to defects of the validation images at these positions; none where nobody knows where defects are, or the
/// encoder has no features of places.
///
/// # Errors
/// If an image cannot be read.
pub fn of(
    encoder: &dyn Backbone,
    probe: &Probe,
    defects: &[usize],
    resolved: &Resolved,
) -> Result<Option<Pointing>> {
    let dataset = &*resolved.source.validation;
    let known = defects.first().map(|&index| dataset.mask(index)).transpose()?.flatten();
    let (all, kept) = (defects.len(), defects.len().min(MOST_IMAGES));
    if known.is_none() {
        return Ok(None);
    }
    let indices: Vec<usize> = (0..kept).map(|place| defects[place * all / kept]).collect();
    let whole = [ViewRecipe::whole(resolved.scale.side)];
    let loader = Loader { dataset, indices: &indices, views: &whole, ..resolved.loader() };
    let mut pointed = Vec::new();
    loader.once(|batch| {
        let Some(places) = encoder.places(&batch.images)? else { return Ok(()) };
        let (_, rows, columns, width) = places.dims4()?;
        let values = places.detach().flatten_all()?.to_vec1::<f32>()?;
        for (image, index) in values.chunks_exact(rows * columns * width).zip(&batch.indices) {
            let logits: Vec<f64> = image.chunks_exact(width).map(|place| probe.logit(place)).collect();
            let map: Vec<Vec<f64>> = logits.chunks_exact(columns).map(<[f64]>::to_vec).collect();
            if let Some(mask) = dataset.mask(*index)? {
                pointed.extend(point(&map, &mask)?);
            }
        }
        Ok(())
    })?;
    Ok(summed(&pointed))
}

fn summed(pointed: &[Pointed]) -> Option<Pointing> {
    let count = pointed.len() as f64;
    let mean = |of: fn(&Pointed) -> f64| pointed.iter().map(of).sum::<f64>() / count;
    (!pointed.is_empty()).then(|| Pointing {
        images: pointed.len(),
        hit: mean(|pointed| pointed.hit),
        chance: mean(|pointed| pointed.chance),
        ceiling: mean(|pointed| pointed.ceiling),
    })
}
