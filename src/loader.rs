//! From positions in a data set to tensors: seeded order, decode, augment, prefetch.
//!
//! An image's views depend only on (stream, epoch, image, view), and are drawn in parallel: neither the number of
//! threads nor the batch size changes a pixel. A background thread stays one batch ahead. Independent of methods
//! and losses.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::augment::gpu::Upload;
use crate::{
    augment::{Normalisation, ViewRecipe, to_normalised},
    data::{Dataset, OnBadImage},
    named::named,
    seed::Seed,
};

/// All views of a few images, and their labels.
pub struct Batch {
    /// (views x images, side, side, 3), normalised; all images of view 0, then all of view 1. The number type is
    /// that of all activations computed from them ([`crate::tensor::graph::precision`]).
    pub images: Tensor,
    /// (images), 1 for a defect and 0 for normal.
    pub labels: Tensor,
    /// Views of each image.
    pub views: usize,
    /// Positions in the data set, in batch order.
    pub indices: Vec<usize>,
    /// Positions left out because their image could not be read (only with [`OnBadImage::Skip`]).
    pub skipped: Vec<usize>,
}

named! {
    /// Which images a training epoch contains.
    #[derive(Default)]
    pub enum Sampling: "sampling" {
        /// Every image once.
        #[default]
        Each = "each",
        /// As many images as there are, half of them with a defect: images of the rarer label are repeated, each time
        /// with new views, and some images of the other label are left out, different ones in each epoch.
        Balanced = "balanced",
    }
}

/// What is loaded, and how.
pub struct Loader<'a> {
    /// Where images come from.
    pub dataset: &'a dyn Dataset,
    /// Positions in `dataset` of the images to load.
    pub indices: &'a [usize],
    /// One recipe per view; all have the same side.
    pub views: &'a [ViewRecipe],
    /// Normalisation of the channels.
    pub normalisation: &'a Normalisation,
    /// Which of the images a training epoch contains.
    pub sampling: Sampling,
    /// How many times a training epoch goes through the images, each time with new views: more than once if there are
    /// too few images for the planned number of steps.
    pub repeats: usize,
    /// Images per batch, before views.
    pub batch_size: usize,
    /// What happens if an image cannot be read.
    pub on_bad_image: OnBadImage,
    /// Device of the batches.
    pub device: &'a Device,
    /// f32, or bf16 for training in mixed precision.
    pub dtype: DType,
    /// Root of the streams for order and views.
    pub seed: Seed,
}

impl Loader<'_> {
    /// Returns the steps of one training epoch. An incomplete last batch is dropped, because contrastive losses need
    /// batches of equal size; if there are fewer images than a batch needs, all of them form one batch.
    pub fn steps(&self) -> usize {
        (self.indices.len() * self.repeats / self.batch_size).max(1)
    }

    /// Calls `consume` with each batch of a training epoch, in the epoch's own random order, while the next batch is
    /// being prepared.
    ///
    /// # Errors
    /// The first error from loading (it names the image) or from `consume`.
    pub fn epoch(&self, epoch: usize, consume: impl FnMut(Batch) -> Result<()>) -> Result<()> {
        self.rest_of_epoch(epoch, 0, consume)
    }

    /// Like [`Self::epoch`], but skips the first `done` batches; the others are the same.
    ///
    /// # Errors
    /// As [`Self::epoch`].
    pub fn rest_of_epoch(
        &self,
        epoch: usize,
        done: usize,
        consume: impl FnMut(Batch) -> Result<()>,
    ) -> Result<()> {
        let mut order = self.order(epoch);
        order.truncate(self.steps() * self.batch_size);
        let left = order.get(done * self.batch_size..).unwrap_or_default();
        if done > 0 && left.is_empty() {
            return Ok(());
        }
        self.run(left, self.seed.child("views").index(epoch), consume)
    }

    /// Calls `consume` once with every image, in order; the last batch may be smaller.
    ///
    /// # Errors
    /// As [`Self::epoch`].
    pub fn once(&self, consume: impl FnMut(Batch) -> Result<()>) -> Result<()> {
        let order: Vec<Draw> = self.indices.iter().map(|&index| Draw { index, earlier_uses: 0 }).collect();
        self.run(&order, self.seed.child("views"), consume)
    }

    /// Returns the draws of an epoch, in the epoch's own random order.
    fn order(&self, epoch: usize) -> Vec<Draw> {
        let mut stream = self.seed.child("order").index(epoch).stream();
        let mut order: Vec<Draw> = match self.sampling {
            Sampling::Each => (0..self.repeats)
                .flat_map(|times| self.indices.iter().map(move |&index| Draw { index, earlier_uses: times }))
                .collect(),
            Sampling::Balanced => {
                let labels = self.dataset.labels();
                let all = self.indices.len() * self.repeats;
                let mut drawn = Vec::with_capacity(all);
                for (wanted, count) in [(true, all / 2), (false, all - all / 2)] {
                    let of_label = self.indices.iter().filter(|&&index| labels[index].defect == wanted);
                    let mut pass: Vec<usize> = of_label.copied().collect();
                    stream.shuffle(&mut pass);
                    let places = (0..count).filter(|_| !pass.is_empty());
                    drawn.extend(places.map(|place| Draw {
                        index: pass[place % pass.len()],
                        earlier_uses: place / pass.len(),
                    }));
                }
                drawn
            }
        };
        stream.shuffle(&mut order);
        order
    }

    fn run(&self, order: &[Draw], seed: Seed, mut consume: impl FnMut(Batch) -> Result<()>) -> Result<()> {
        ensure!(!order.is_empty(), "no images to load");
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let load = move || {
                let mut maker = ViewMaker::new(self);
                for chunk in order.chunks(self.batch_size) {
                    // A closed channel means that the consumer failed: its error is the one to report.
                    if sender.send(self.load(seed, chunk, &mut maker)).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, load)
                .context("cannot start a thread to load images: the system or its user has too many")?;
            while let Some(batch) = next(&receiver) {
                consume(batch?)?;
            }
            Ok(())
        })
    }

    fn load(&self, seed: Seed, chunk: &[Draw], maker: &mut ViewMaker) -> Result<Batch> {
        let (images, indices, skipped) = match maker {
            ViewMaker::Cpu => {
                let (drawn, indices, skipped) =
                    self.read(chunk, |draw| self.draw(draw.seed(seed), draw.index))?;
                (self.assemble(&drawn)?, indices, skipped)
            }
            #[cfg(feature = "cuda")]
            ViewMaker::Gpu(upload) => {
                let open = |draw: Draw| {
                    let image = self.dataset.open(draw.index)?;
                    let seed = draw.seed(seed);
                    let views = self.views.iter().enumerate().map(|(view, recipe)| {
                        recipe.draw(image.width, image.height, &mut seed.index(view).stream())
                    });
                    let views = views.collect::<Vec<_>>();
                    Ok((image, views))
                };
                let (opened, indices, skipped) = self.read(chunk, open)?;
                let (images, drawn): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
                let in_order = (0..self.views.len()).flat_map(|view| {
                    drawn.iter().enumerate().map(move |(image, views)| (image, views[view].clone()))
                });
                let in_order = in_order.collect::<Vec<_>>();
                (upload.views(&images, &in_order, self.normalisation, self.dtype)?, indices, skipped)
            }
        };
        let labels: Vec<f32> =
            indices.iter().map(|&index| f32::from(u8::from(self.dataset.labels()[index].defect))).collect();
        let labels = Tensor::new(labels, self.device)?;
        Ok(Batch { images, labels, views: self.views.len(), indices, skipped })
    }

    /// Returns the results of `open` for the images of `chunk`, computed in parallel, with the positions of these
    /// images and of those that cannot be read.
    fn read<T: Send>(
        &self,
        chunk: &[Draw],
        open: impl Fn(Draw) -> Result<T> + Sync,
    ) -> Result<(Vec<T>, Vec<usize>, Vec<usize>)> {
        let opened: Vec<Result<T>> = chunk.par_iter().map(|&draw| open(draw)).collect();
        let mut kept = Vec::with_capacity(chunk.len());
        let mut indices = Vec::with_capacity(chunk.len());
        let mut skipped = Vec::new();
        for (&Draw { index, .. }, result) in chunk.iter().zip(opened) {
            match (result, self.on_bad_image) {
                (Ok(of_image), _) => {
                    kept.push(of_image);
                    indices.push(index);
                }
                (Err(_), OnBadImage::Skip) => skipped.push(index),
                (Err(error), OnBadImage::Fail) => {
                    return Err(error).context("an image is missing or damaged (--on-bad-image skip leaves such images out and counts them)");
                }
            }
        }
        ensure!(
            !kept.is_empty(),
            "none of the {} images of a batch can be read, the first is {}",
            chunk.len(),
            self.dataset.location(chunk[0].index)
        );
        Ok((kept, indices, skipped))
    }

    /// Joins the views of all images into one tensor, view by view.
    fn assemble(&self, images: &[Vec<Vec<f32>>]) -> Result<Tensor> {
        let (views, side) = (self.views.len(), self.views[0].side);
        let mut pixels = Vec::with_capacity(views * images.len() * side * side * 3);
        for view in 0..views {
            for image in images {
                pixels.extend_from_slice(&image[view]);
            }
        }
        let shape = (views * images.len(), side, side, 3);
        Ok(Tensor::from_vec(pixels, shape, self.device)?.to_dtype(self.dtype)?)
    }

    fn draw(&self, seed: Seed, index: usize) -> Result<Vec<Vec<f32>>> {
        let image = self.dataset.open(index)?;
        let views = self.views.iter().enumerate().map(|(view, recipe)| {
            let drawn = recipe.draw(image.width, image.height, &mut seed.index(view).stream());
            let augmented = drawn.apply(&image);
            let mut values = vec![0.0; augmented.pixels.len()];
            to_normalised(&augmented, self.normalisation, &mut values);
            values
        });
        Ok(views.collect())
    }
}

/// One use of an image in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Draw {
    /// Position in the data set.
    index: usize,
    /// How often the epoch has used the image before.
    earlier_uses: usize,
}

impl Draw {
    /// Returns the seed of its views, which differs for each use.
    fn seed(self, epoch: Seed) -> Seed {
        let first = epoch.index(self.index);
        if self.earlier_uses == 0 { first } else { first.child("again").index(self.earlier_uses) }
    }
}

/// Where views are computed; the bytes are the same.
enum ViewMaker {
    /// On this machine's cores.
    Cpu,
    /// On the GPU that trains, from images uploaded while it computes.
    #[cfg(feature = "cuda")]
    Gpu(Box<Upload>),
}

impl ViewMaker {
    fn new(loader: &Loader) -> Self {
        #[cfg(feature = "cuda")]
        if let Ok(device) = loader.device.as_cuda_device()
            && loader.views.iter().all(|view| Upload::fits(view.side))
        {
            return Self::Gpu(Box::new(Upload::new(device)));
        }
        #[cfg(not(feature = "cuda"))]
        let _ = loader;
        Self::Cpu
    }
}

/// How long a thread of the pool sleeps before it looks for work again. Ours.
const SLEEP: Duration = Duration::from_micros(200);

/// Receives the next batch; `None` after the last. A thread of rayon's pool must not block here, since it may be the
/// only one that can load images.
fn next(receiver: &Receiver<Result<Batch>>) -> Option<Result<Batch>> {
    if rayon::current_thread_index().is_none() {
        return receiver.recv().ok();
    }
    loop {
        match receiver.try_recv() {
            Ok(batch) => return Some(batch),
            Err(TryRecvError::Disconnected) => return None,
            // Help with loading; if there is nothing to do, sleep briefly.
            Err(TryRecvError::Empty) => {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    match receiver.recv_timeout(SLEEP) {
                        Ok(batch) => return Some(batch),
                        Err(RecvTimeoutError::Disconnected) => return None,
                        Err(RecvTimeoutError::Timeout) => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
