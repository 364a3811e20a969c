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

/// Every view of some images, and their labels.
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
        /// As many images, half of them with a defect: images of the rarer label are repeated, each time in other
        /// views; of the other label some images are left out, different ones in each epoch.
        Balanced = "balanced",
    }
}

/// What is loaded, and how.
pub struct Loader<'a> {
    /// Where images come from.
    pub dataset: &'a dyn Dataset,
    /// Positions in `dataset` of the images to load.
    pub indices: &'a [usize],
    /// One recipe a view; all with the same side.
    pub views: &'a [ViewRecipe],
    /// Normalisation of the channels.
    pub normalisation: &'a Normalisation,
    /// Which of the images a training epoch contains.
    pub sampling: Sampling,
    /// How often a training epoch repeats the images, each time in other views: more than once if there are too few
    /// images for the steps of a training.
    pub repeats: usize,
    /// Images per batch, before views.
    pub batch_size: usize,
    /// What happens at an image that cannot be read.
    pub on_bad_image: OnBadImage,
    /// Device of the batches.
    pub device: &'a Device,
    /// f32, or bf16 for training in mixed precision.
    pub numbers: DType,
    /// Root of the streams for order and views.
    pub seed: Seed,
}

impl Loader<'_> {
    /// Returns the steps of one training epoch. A last, smaller batch is dropped, because contrastive losses need
    /// equal batches; if there are fewer images than one batch, all of them make one batch.
    pub fn steps(&self) -> usize {
        (self.indices.len() * self.repeats / self.batch_size).max(1)
    }

    /// Calls `consume` with the batches of a training epoch, in the epoch's own random order, while the next one is
    /// being prepared.
    ///
    /// # Errors
    /// The first error of loading (names the image) or of `consume`.
    pub fn epoch(&self, epoch: usize, consume: impl FnMut(Batch) -> Result<()>) -> Result<()> {
        self.rest_of_epoch(epoch, 0, consume)
    }

    /// Like [`Self::epoch`], without the epoch's first `done` batches; the others are the same.
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
        let order: Vec<Draw> = self.indices.iter().map(|&index| Draw { index, times: 0 }).collect();
        self.run(&order, self.seed.child("views"), consume)
    }

    /// Returns the draws of an epoch, in the epoch's own random order.
    fn order(&self, epoch: usize) -> Vec<Draw> {
        let mut stream = self.seed.child("order").index(epoch).stream();
        let mut order: Vec<Draw> = match self.sampling {
            Sampling::Each => (0..self.repeats)
                .flat_map(|times| self.indices.iter().map(move |&index| Draw { index, times }))
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
                    drawn.extend(
                        places
                            .map(|place| Draw { index: pass[place % pass.len()], times: place / pass.len() }),
                    );
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
                let mut maker = Maker::new(self);
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

    fn load(&self, seed: Seed, chunk: &[Draw], maker: &mut Maker) -> Result<Batch> {
        let (images, indices, skipped) = match maker {
            Maker::Here => {
                let (drawn, indices, skipped) =
                    self.read(chunk, |draw| self.draw(draw.seed(seed), draw.index))?;
                (self.assemble(&drawn)?, indices, skipped)
            }
            #[cfg(feature = "cuda")]
            Maker::There(upload) => {
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
                (upload.views(&images, &in_order, self.normalisation, self.numbers)?, indices, skipped)
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
            self.dataset.place(chunk[0].index)
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
        Ok(Tensor::from_vec(pixels, shape, self.device)?.to_dtype(self.numbers)?)
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
    times: usize,
}

impl Draw {
    /// Returns the seed of its views, which differs for each use.
    fn seed(self, epoch: Seed) -> Seed {
        let first = epoch.index(self.index);
        if self.times == 0 { first } else { first.child("again").index(self.times) }
    }
}

/// Where views are computed; the bytes are the same.
enum Maker {
    /// On this machine's cores.
    Here,
    /// On the GPU that trains, from images uploaded while it computes.
    #[cfg(feature = "cuda")]
    There(Box<Upload>),
}

impl Maker {
    fn new(loader: &Loader) -> Self {
        #[cfg(feature = "cuda")]
        if let Ok(device) = loader.device.as_cuda_device()
            && loader.views.iter().all(|view| Upload::fits(view.side))
        {
            return Self::There(Box::new(Upload::new(device)));
        }
        #[cfg(not(feature = "cuda"))]
        let _ = loader;
        Self::Here
    }
}

/// How long one of the pool's threads sleeps before it asks for work again. Ours.
const SLEEP: Duration = Duration::from_micros(200);

/// Receives the next batch; `None` after the last. One of the pool's own threads must not block: it may be the only
/// one that can load.
fn next(receiver: &Receiver<Result<Batch>>) -> Option<Result<Batch>> {
    if rayon::current_thread_index().is_none() {
        return receiver.recv().ok();
    }
    loop {
        match receiver.try_recv() {
            Ok(batch) => return Some(batch),
            Err(TryRecvError::Disconnected) => return None,
            // Help to load; with nothing to help with, sleep briefly.
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        augment::ViewSet,
        data::{ClassSet, Image, Labels},
    };

    /// Images of stripes, each brighter than the one before.
    struct Stripes(Vec<Labels>);

    impl Dataset for Stripes {
        fn labels(&self) -> &[Labels] {
            &self.0
        }

        fn open(&self, index: usize) -> Result<Image> {
            let byte = |place: usize| (20 * index + 9 * (place / 3 % 16) + place % 3) as u8;
            Ok(Image::new(16, 16, (0..16 * 16 * 3).map(byte).collect()))
        }

        fn place(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            String::new()
        }
    }

    /// Loads three images a batch.
    fn striped<'a>(dataset: &'a Stripes, indices: &'a [usize], views: &'a [ViewRecipe]) -> Loader<'a> {
        Loader {
            dataset,
            indices,
            views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 3,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            numbers: DType::F32,
            seed: Seed::root(0),
        }
    }

    /// Returns batches of `epoch` without its first `done`: positions, and the numbers of every view.
    fn batches(epoch: usize, done: usize) -> Vec<(Vec<usize>, Vec<Vec<f32>>)> {
        let label = |index| Labels { defect: index % 2 == 0, classes: ClassSet::EMPTY, stratum: 0 };
        let (dataset, views) = (Stripes((0..7).map(label).collect()), ViewSet::paper(8).views);
        let loader = Loader { batch_size: 2, ..striped(&dataset, &[0, 1, 2, 3, 4, 5, 6], &views) };
        let mut batches = Vec::new();
        loader
            .rest_of_epoch(epoch, done, |batch| {
                assert_eq!((batch.views, batch.images.dim(0)?), (2, 4));
                let defects: Vec<f32> =
                    batch.indices.iter().map(|index| f32::from(u8::from(index % 2 == 0))).collect();
                assert_eq!(batch.labels.to_vec1::<f32>()?, defects);
                batches.push((batch.indices, batch.images.flatten_from(1)?.to_vec2()?));
                Ok(())
            })
            .unwrap();
        batches
    }

    #[test]
    fn every_epoch_leaves_other_images_out() {
        let mut left_out = BTreeSet::new();
        for epoch in 0..40 {
            let seen: Vec<usize> = batches(epoch, 0).into_iter().flat_map(|batch| batch.0).collect();
            let distinct: BTreeSet<usize> = seen.iter().copied().collect();
            assert_eq!((seen.len(), distinct.len()), (6, 6), "three whole batches, no image twice");
            left_out.extend((0..7).filter(|index| !distinct.contains(index)));
        }
        // The probability that a given image is never left out in 40 epochs is (6 / 7)^40, a fifth of a per cent.
        assert_eq!(left_out.len(), 7, "{left_out:?}");
    }

    #[test]
    fn balanced_epochs_have_as_many_defects_and_show_them_in_other_views() {
        // One defect among nine.
        let label = |index| Labels { defect: index == 4, classes: ClassSet::EMPTY, stratum: 0 };
        let (dataset, views) = (Stripes((0..9).map(label).collect()), ViewSet::paper(8).views);
        let indices = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        let loader = Loader { sampling: Sampling::Balanced, ..striped(&dataset, &indices, &views) };
        let epoch = |epoch: usize| {
            let mut seen = Vec::new();
            loader
                .epoch(epoch, |batch| {
                    let views = batch.images.narrow(0, 0, 3)?.flatten_from(1)?.to_vec2::<f32>()?;
                    seen.extend(batch.indices.into_iter().zip(views));
                    Ok(())
                })
                .unwrap();
            seen
        };
        let seen = epoch(0);
        let defects: Vec<&Vec<f32>> =
            seen.iter().filter(|(index, _)| *index == 4).map(|(_, view)| view).collect();
        let normals: BTreeSet<usize> =
            seen.iter().map(|(index, _)| *index).filter(|&index| index != 4).collect();
        assert_eq!((defects.len(), normals.len()), (4, 5), "half of nine, and no normal image twice");
        for (place, view) in defects.iter().enumerate() {
            assert!(!defects[..place].contains(view), "the same view again");
        }
        assert!(epoch(0) == seen && epoch(1) != seen);
        let others: BTreeSet<usize> = (0..9).flat_map(&epoch).map(|(index, _)| index).collect();
        assert_eq!(others.len(), 9, "over epochs every image is gone through");
    }

    #[test]
    fn few_images_are_gone_through_again_in_other_views() {
        let label = |index| Labels { defect: index == 0, classes: ClassSet::EMPTY, stratum: 0 };
        let (dataset, views) = (Stripes((0..2).map(label).collect()), ViewSet::paper(8).views);
        let loader = Loader { repeats: 6, ..striped(&dataset, &[0, 1], &views) };
        assert_eq!(loader.steps(), 4, "of three images each");
        let mut seen: Vec<(usize, Vec<f32>)> = Vec::new();
        let see = |batch: Batch| {
            let views = batch.images.narrow(0, 0, 3)?.flatten_from(1)?.to_vec2::<f32>()?;
            seen.extend(batch.indices.into_iter().zip(views));
            Ok(())
        };
        loader.epoch(0, see).unwrap();
        for image in [0, 1] {
            let of: Vec<&Vec<f32>> =
                seen.iter().filter(|(index, _)| *index == image).map(|(_, view)| view).collect();
            assert_eq!(of.len(), 6);
            assert!((1..6).all(|place| !of[..place].contains(&of[place])), "the same view again");
        }
    }

    #[test]
    fn the_rest_of_an_epoch_is_what_is_left_of_it() {
        let whole = batches(3, 0);
        for done in 0..=whole.len() {
            assert!(batches(3, done) == whole[done..], "after {done} batches");
        }
        assert!(batches(4, 0) != whole, "another epoch has another order");
    }

    /// The first four images, of which one cannot be read.
    struct OneTorn(Stripes);

    impl Dataset for OneTorn {
        fn labels(&self) -> &[Labels] {
            self.0.labels()
        }

        fn open(&self, index: usize) -> Result<Image> {
            ensure!(index != 1, "torn");
            self.0.open(index)
        }

        fn place(&self, index: usize) -> String {
            self.0.place(index)
        }

        fn digest(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn a_skipped_image_takes_its_label_along() {
        let label = |defect| Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
        let loader = Loader {
            dataset: &OneTorn(Stripes([true, false, true, false].map(label).into())),
            indices: &[0, 1, 2, 3],
            views: &ViewSet::paper(8).views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 4,
            on_bad_image: OnBadImage::Skip,
            device: &Device::Cpu,
            numbers: DType::F32,
            seed: Seed::root(0),
        };
        let check = |batch: Batch| {
            assert_eq!((&batch.indices[..], &batch.skipped[..]), (&[0, 2, 3][..], &[1][..]));
            assert_eq!(batch.labels.to_vec1::<f32>()?, [1.0, 1.0, 0.0]);
            assert_eq!(batch.images.dim(0)?, 2 * 3);
            Ok(())
        };
        loader.once(check).unwrap();
        let error = Loader { on_bad_image: OnBadImage::Fail, ..loader }.once(check).unwrap_err();
        assert_eq!(error.root_cause().to_string(), "torn");
    }

    #[test]
    fn views_of_an_image_are_drawn_apart() {
        for (indices, images) in batches(0, 0) {
            let (first, second) = images.split_at(indices.len());
            assert!(first.iter().zip(second).all(|(first, second)| first != second), "{indices:?}");
        }
    }
}
