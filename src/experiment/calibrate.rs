//! How long this machine takes: a few steps of a cell's very training, timed. Nothing of it is kept.

use std::time::Instant;

use anyhow::Result;
use candle_core::DType;

use super::{Cell, Plan, build, training_subset};
use crate::{
    augment::{Normalisation, ViewRecipe},
    data::Source,
    evaluate::features,
    loader::Loader,
    loss::classification::balancing_weight,
    seed::Seed,
    train::{Progress, online_probe::OnlineProbe, pretrain},
};

/// Seconds that one image takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Source image, all its views, one step forward and back.
    pub train: f64,
    /// View, through the encoder alone.
    pub evaluate: f64,
}

/// Measures a cell's pace with batches that grow from 8 images until a step takes `enough` seconds or has the cell's
/// own size; the pace is that of the last. Where `again`, images are gone through a second time, and that time
/// counts: how it is when memory holds all of them.
///
/// # Errors
/// As [`super::run`].
pub fn pace(cell: &Cell, plan: &Plan, source: &Source, enough: f64, again: bool) -> Result<Pace> {
    let (scale, recipe, seed) = (plan.scale_of(cell), plan.recipe(cell), Seed::root(cell.seed));
    let subset = training_subset(cell, plan, source)?;
    let defect_weight = balancing_weight(subset.normals, subset.defects)?;
    let views = plan.views(cell);
    let whole = [ViewRecipe::whole(scale.side)];
    let largest = scale.batch_size.min(subset.indices.len());
    let mut batch_size = largest.min(8);
    loop {
        let method = build(cell, plan, defect_weight, seed.child("model"))?;
        let mut probe = match cell.method.is_supervised() {
            true => None,
            false => Some(OnlineProbe::new(
                method.encoder().width(),
                recipe.probe_rule,
                recipe.probe_rate(&scale),
                defect_weight,
                seed.child("probe"),
                &plan.device,
            )?),
        };
        // Two steps, the first of which also touches memory for the first time.
        let count = (2 * batch_size).min(subset.indices.len());
        let loader = Loader {
            dataset: &*source.train,
            indices: &subset.indices[..count],
            views: &views,
            normalisation: &Normalisation::SEWER_ML,
            batch_size,
            on_bad_image: plan.on_bad_image,
            device: &plan.device,
            numbers: DType::F32,
            seed: seed.child("training"),
        };
        let ranked = Loader { indices: &subset.indices[..2.min(count)], views: &whole, ..loader };
        let timed = |loader: &Loader| -> Result<f64> {
            let begun = Instant::now();
            features::extract(method.encoder(), loader)?;
            Ok(begun.elapsed().as_secs_f64() / loader.indices.len() as f64)
        };
        let frozen = Loader { views: &whole, ..loader };
        let mut evaluate = timed(&frozen)?;
        if again {
            evaluate = timed(&frozen)?;
        }
        let mut train = 0.0;
        let trained_on = Loader { numbers: plan.numbers(), ..loader };
        if scale.epochs > 0 {
            let optimisation = crate::train::Optimisation { epochs: 2, ..recipe.optimisation(&scale) };
            let counted = usize::from(again);
            let (mut last, mut seconds, mut images) = (Instant::now(), 0.0, 0);
            pretrain(&*method, probe.as_mut(), &trained_on, &ranked, &optimisation, None, |progress| {
                match progress {
                    Progress::Step { epoch, images: seen, .. } => {
                        if epoch == counted {
                            seconds += last.elapsed().as_secs_f64();
                            images += seen;
                        }
                        last = Instant::now();
                    }
                    Progress::Epoch { .. } => last = Instant::now(),
                    Progress::Part(_) => {}
                }
                Ok(())
            })?;
            train = seconds / f64::from(u32::try_from(images.max(1))?);
        }
        if batch_size == largest || train.max(evaluate) * batch_size as f64 > enough {
            return Ok(Pace { train, evaluate });
        }
        batch_size = (2 * batch_size).min(largest);
    }
}
