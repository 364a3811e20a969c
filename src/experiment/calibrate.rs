//! The pace of this machine: times a few steps of a cell's own training, and discards the results.

use std::time::Instant;

use anyhow::Result;

use super::{Resolved, model::online_probe};
use crate::{
    augment::ViewRecipe,
    evaluate::features,
    loader::Loader,
    method::Method,
    train::{Optimisation, Progress, pretrain},
};

/// Seconds per image.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Per source image: all its views, one step forward and back.
    pub train: f64,
    /// Per view: through the encoder only.
    pub evaluate: f64,
}

/// Measures a cell's pace with batches that grow from 8 images until a step takes `enough` seconds or has the
/// cell's own size; returns the pace of the last one. If `again`, times the second pass, when all images are
/// cached.
///
/// # Errors
/// As [`super::run`].
pub fn pace(resolved: &Resolved, enough: f64, again: bool) -> Result<Pace> {
    let largest = resolved.scale.batch_size.min(resolved.subset.indices.len());
    let mut batch_size = largest.min(8);
    loop {
        let pace = pace_at(resolved, batch_size, again)?;
        if batch_size == largest || pace.train.max(pace.evaluate) * batch_size as f64 > enough {
            return Ok(pace);
        }
        batch_size = (2 * batch_size).min(largest);
    }
}

/// Returns the pace with batches of this many images, over two of them: the first also touches memory for the first
/// time.
fn pace_at(resolved: &Resolved, batch_size: usize, again: bool) -> Result<Pace> {
    let method = resolved.build(resolved.seed().child("model"))?;
    let whole = [ViewRecipe::whole(resolved.scale.side)];
    let all = resolved.loader();
    let loader =
        Loader { indices: &all.indices[..(2 * batch_size).min(all.indices.len())], batch_size, ..all };
    let frozen = Loader { views: &whole, ..loader };
    let timed = || -> Result<f64> {
        let begun = Instant::now();
        features::extract(method.encoder(), &frozen)?;
        Ok(begun.elapsed().as_secs_f64() / frozen.indices.len() as f64)
    };
    let mut evaluate = timed()?;
    if again {
        evaluate = timed()?;
    }
    let train = if resolved.scale.epochs > 0 { training(resolved, &*method, &loader, again)? } else { 0.0 };
    Ok(Pace { train, evaluate })
}

/// Returns seconds per training image.
fn training(resolved: &Resolved, method: &dyn Method, loader: &Loader, again: bool) -> Result<f64> {
    let mut probe = online_probe(resolved, method)?;
    let whole = [ViewRecipe::whole(resolved.scale.side)];
    let ranked = Loader { indices: &loader.indices[..2.min(loader.indices.len())], views: &whole, ..*loader };
    let loader = Loader { numbers: resolved.numbers, ..*loader };
    let optimisation = Optimisation { epochs: 2, ..resolved.recipe.optimisation(&resolved.scale) };
    let counted = usize::from(again);
    let (mut last, mut seconds, mut images) = (Instant::now(), 0.0, 0);
    pretrain(method, probe.as_mut(), &loader, &ranked, &optimisation, None, |progress| {
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
    Ok(seconds / images.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Share, synthetic},
        experiment::{Plan, Scale, cell},
        seed::Seed,
    };

    /// Where nothing is trained, training takes no time.
    #[test]
    fn training_and_evaluation_are_timed_apart() {
        let plan = Plan::new(Scale::fixture());
        let source = synthetic::source(Seed::root(0), 40, 40, plan.scale.side);
        let of = |cell| pace(&plan.resolve(&cell, &source).unwrap(), 0.0, true).unwrap();
        let floor = of(cell::floors(&[Share::NATURAL], 0)[0]);
        assert!(floor.train == 0.0 && floor.evaluate > 0.0, "{floor:?}");
        let trained = of(cell::at(&[Share::NATURAL], 0)[0]);
        assert!(trained.train > 0.0 && trained.evaluate > 0.0, "{trained:?}");
    }
}
