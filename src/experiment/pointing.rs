//! Whether a scorer's map points to the defect, for data that mark where defects are.

use anyhow::Result;

use super::Resolved;
use crate::{
    augment::ViewRecipe,
    backbone::Backbone,
    evaluate::{
        pointing::{PointingScores, score_pointing},
        scorer::Scorer,
    },
    loader::Loader,
    results::record::Pointing,
};

/// Largest number of validation images with a defect that are used, evenly spaced. Ours.
pub const MOST_IMAGES: usize = 300;

/// Scores how well the scorer's map points at the defects of the validation images at these positions; `None` if the
/// data do not mark defects, or the scorer gives no scores for places.
///
/// # Errors
/// If an image cannot be read.
pub fn score(
    encoder: &dyn Backbone,
    scorer: &Scorer,
    defects: &[usize],
    resolved: &Resolved,
) -> Result<Option<Pointing>> {
    let dataset = &*resolved.source.validation;
    let known = defects.first().map(|&index| dataset.mask(index)).transpose()?.flatten();
    if known.is_none() {
        return Ok(None);
    }
    let indices = some(defects);
    let whole = [ViewRecipe::full_frame(resolved.scale.side)];
    let loader = Loader { dataset, indices: &indices, views: &whole, ..resolved.loader() };
    let mut pointed = Vec::new();
    loader.once(|batch| {
        let seen = scorer.score(encoder, &batch.images, true)?;
        for (seen, index) in seen.iter().zip(&batch.indices).filter(|(seen, _)| !seen.places.is_empty()) {
            if let Some(mask) = dataset.mask(*index)? {
                pointed.extend(score_pointing(&seen.places, &mask)?);
            }
        }
        Ok(())
    })?;
    Ok(summed(&pointed))
}

/// Returns at most [`MOST_IMAGES`] of these images, evenly spaced.
fn some(defects: &[usize]) -> Vec<usize> {
    let (all, kept) = (defects.len(), defects.len().min(MOST_IMAGES));
    (0..kept).map(|place| defects[place * all / kept]).collect()
}

fn summed(pointed: &[PointingScores]) -> Option<Pointing> {
    let count = pointed.len() as f64;
    let mean = |of: fn(&PointingScores) -> f64| pointed.iter().map(of).sum::<f64>() / count;
    (!pointed.is_empty()).then(|| Pointing {
        images: pointed.len(),
        hit: mean(|pointed| pointed.hit),
        chance: mean(|pointed| pointed.chance),
        ceiling: mean(|pointed| pointed.ceiling),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_spread_over_all_defects() {
        let many: Vec<usize> = (0..1_200).map(|place| 3 * place + 1).collect();
        let found = some(&many);
        assert_eq!((found.len(), found[0], found[1], found[299]), (300, 1, 13, 3_589));
        assert_eq!(some(&many[..300]), many[..300]);
        assert_eq!((some(&many[..7]), some(&[])), (many[..7].to_vec(), Vec::new()));
    }

    /// One found, one missed, one half found.
    #[test]
    fn pointing_is_averaged_over_images() {
        let pointed = [(1.0, 0.1, 1.0), (0.0, 0.2, 0.5), (0.5, 0.6, 0.75)]
            .map(|(hit, chance, ceiling)| PointingScores { hit, chance, ceiling });
        let found = summed(&pointed).unwrap();
        assert_eq!((found.images, found.hit, found.ceiling), (3, 0.5, 0.75));
        assert!((found.chance - 0.3).abs() < 1e-12, "{found:?}");
        assert!(summed(&[]).is_none(), "of no image there is no mean");
    }
}
