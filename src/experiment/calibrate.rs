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
    /// Per source image in training: forward and backward pass of all its views.
    pub train: f64,
    /// Per view in evaluation: forward pass of the encoder only.
    pub evaluate: f64,
}

/// Measures a cell's pace with batches that grow from 8 images until a step takes `enough` seconds or has the cell's
/// own size; returns the pace of the last one. The last argument selects the second pass, when all images are cached.
///
/// # Errors
/// As [`super::run()`].
pub fn pace(resolved: &Resolved, enough: f64, second_pass: bool) -> Result<Pace> {
    let largest = resolved.scale.batch_size.min(resolved.subset.indices.len());
    let mut batch_size = largest.min(8);
    loop {
        let pace = pace_at(resolved, batch_size, second_pass)?;
        if batch_size == largest || pace.train.max(pace.evaluate) * batch_size as f64 > enough {
            return Ok(pace);
        }
        batch_size = (2 * batch_size).min(largest);
    }
}

/// Returns the mean pace over two batches of this size; the first of them also touches memory for the first time.
fn pace_at(resolved: &Resolved, batch_size: usize, again: bool) -> Result<Pace> {
    let method = resolved.build(resolved.seed().child("model"))?;
    let whole = [ViewRecipe::full_frame(resolved.scale.side)];
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
    let whole = [ViewRecipe::full_frame(resolved.scale.side)];
    let ranked = Loader { indices: &loader.indices[..2.min(loader.indices.len())], views: &whole, ..*loader };
    let loader = Loader { dtype: resolved.training_dtype, ..*loader };
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;
    use crate::{
        data::{Dataset, Image, Labels, Share, Source, synthetic},
        experiment::{Cell, Plan, Scale, cell},
        seed::Seed,
    };

    /// Synthetic images that count how often they are opened.
    struct Counting(Box<dyn Dataset>, Arc<AtomicUsize>);

    impl Dataset for Counting {
        fn labels(&self) -> &[Labels] {
            self.0.labels()
        }

        fn open(&self, index: usize) -> Result<Image> {
            self.1.fetch_add(1, Relaxed);
            self.0.open(index)
        }

        fn location(&self, index: usize) -> String {
            self.0.location(index)
        }

        fn digest(&self) -> String {
            self.0.digest()
        }
    }

    /// The pace of a cell with forty images, and how often images were opened for it.
    fn counted(cell: Cell, enough: f64, again: bool) -> (Pace, usize) {
        let plan = Plan::new(Scale::fixture());
        let source = synthetic::source(Seed::root(0), 40, 40, plan.scale.side);
        let opened = Arc::new(AtomicUsize::new(0));
        let source = Source { train: Box::new(Counting(source.train, opened.clone())), ..source };
        let resolved = plan.resolve(&cell, &source).unwrap();
        opened.store(0, Relaxed);
        let pace = pace(&resolved, enough, again).unwrap();
        (pace, opened.load(Relaxed))
    }

    /// Two batches of 8 images are timed; if that is too fast, two of 16, then batches of 32, of which 40 images do not
    /// fill two.
    #[test]
    fn batches_grow_until_they_take_long_enough() {
        let floor = cell::floors(&[Share::NATURAL], 0)[0];
        assert_eq!(
            [(0.0, false), (0.0, true)].map(|(enough, again)| counted(floor, enough, again).1),
            [16, 32]
        );
        assert_eq!(counted(floor, 1e9, false).1, 16 + 32 + 40);
        let (pace, _) = counted(floor, 0.0, false);
        assert!(pace.train == 0.0 && pace.evaluate > 0.0, "nothing is trained: {pace:?}");
    }

    /// Evaluation opens the sixteen images once; training opens them in each of two epochs, and ranks two after each.
    /// Sixteen images at the measured pace take less than the whole.
    #[test]
    fn a_training_image_takes_its_part_of_the_time() {
        let begun = Instant::now();
        let (pace, opened) = counted(cell::paper_methods(&[Share::NATURAL], 0)[0], 0.0, false);
        let whole = begun.elapsed().as_secs_f64();
        assert_eq!(opened, 16 + 2 * (16 + 2));
        assert!(pace.train > 0.0 && 16.0 * pace.train < whole, "{pace:?} in {whole} s");
        assert!(pace.evaluate > 0.0 && 16.0 * pace.evaluate < whole, "{pace:?} in {whole} s");
    }
}
