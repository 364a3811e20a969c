//! Batches for training: seeded order, decode, augment, prefetch.
//!
//! An image's views depend on (stream, epoch, image, view) only, and are drawn in parallel: neither
//! the number of threads nor the batch size moves a pixel. A background thread stays one batch ahead.
//! Knows nothing of methods or losses.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::{
    augment::{Normalisation, ViewRecipe, to_normalised},
    data::{Dataset, OnBadImage},
    method::Batch,
    seed::Seed,
};

/// How an epoch is cut into batches.
pub struct Batches<'a> {
    pub dataset: &'a dyn Dataset,
    /// Positions in `dataset` to train on.
    pub indices: &'a [usize],
    pub views: &'a [ViewRecipe],
    pub normalisation: &'a Normalisation,
    /// Images a batch. A last, smaller batch is dropped, as contrastive losses need equal batches;
    /// a data set smaller than one batch makes one batch of all of it.
    pub batch_size: usize,
    pub on_bad_image: OnBadImage,
    pub device: &'a Device,
    pub seed: Seed,
}

/// A batch, and the images that were left out of it.
pub struct Loaded {
    pub batch: Batch,
    /// Positions whose image could not be read (only with [`OnBadImage::Skip`]).
    pub skipped: Vec<usize>,
}

impl Batches<'_> {
    /// Steps in one epoch.
    pub fn steps(&self) -> usize {
        (self.indices.len() / self.batch_size).max(1)
    }

    /// Runs `consume` on every batch of `epoch` while the next one is being made.
    ///
    /// # Errors
    /// The first error of loading (names the image) or of `consume`.
    pub fn for_each(
        &self,
        epoch: usize,
        mut consume: impl FnMut(usize, Loaded) -> Result<()>,
    ) -> Result<()> {
        ensure!(!self.indices.is_empty(), "no images to train on");
        let mut order = self.indices.to_vec();
        self.seed.child("order").index(epoch).stream().shuffle(&mut order);
        std::thread::scope(|scope| {
            let (sender, receiver): (SyncSender<Result<Loaded>>, Receiver<_>) = sync_channel(1);
            scope.spawn(move || {
                for chunk in order.chunks(self.batch_size).take(self.steps()) {
                    // A closed channel means that the consumer failed; its error is the one to report.
                    if sender.send(self.load(epoch, chunk)).is_err() {
                        return;
                    }
                }
            });
            receiver.into_iter().enumerate().try_for_each(|(step, loaded)| consume(step, loaded?))
        })
    }

    fn load(&self, epoch: usize, chunk: &[usize]) -> Result<Loaded> {
        let epoch_seed = self.seed.child("views").index(epoch);
        let drawn: Vec<Result<Vec<Vec<f32>>>> = chunk
            .par_iter()
            .map(|&index| {
                let image = self.dataset.open(index)?;
                let seed = epoch_seed.index(index);
                let views = self.views.iter().enumerate().map(|(view, recipe)| {
                    let drawn = recipe.draw(image.width, image.height, &mut seed.index(view).stream());
                    let augmented = drawn.apply(&image);
                    let mut values = vec![0.0; augmented.pixels.len()];
                    to_normalised(&augmented, self.normalisation, &mut values);
                    values
                });
                Ok(views.collect())
            })
            .collect();

        let mut kept = Vec::with_capacity(chunk.len());
        let mut labels = Vec::with_capacity(chunk.len());
        let mut skipped = Vec::new();
        for (&index, result) in chunk.iter().zip(drawn) {
            match (result, self.on_bad_image) {
                (Ok(views), _) => {
                    labels.push(f32::from(u8::from(self.dataset.labels()[index].defect)));
                    kept.push(views);
                }
                (Err(_), OnBadImage::Skip) => skipped.push(index),
                (Err(error), OnBadImage::Fail) => return Err(error),
            }
        }
        ensure!(!kept.is_empty(), "none of the {} images of a batch could be read", chunk.len());

        let side = self.views[0].side;
        let mut pixels = Vec::with_capacity(self.views.len() * kept.len() * side * side * 3);
        for view in 0..self.views.len() {
            for image in &kept {
                pixels.extend_from_slice(&image[view]);
            }
        }
        let images = Tensor::from_vec(pixels, (self.views.len() * kept.len(), side, side, 3), self.device)
            .context("cannot put a batch on the device")?;
        let labels = Tensor::new(labels, self.device)?;
        Ok(Loaded { batch: Batch { images, labels, views: self.views.len() }, skipped })
    }
}
