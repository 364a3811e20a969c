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

    fn location(&self, index: usize) -> String {
        index.to_string()
    }

    fn digest(&self) -> String {
        String::new()
    }
}

/// Loads three images per batch.
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
        dtype: DType::F32,
        seed: Seed::root(0),
    }
}

/// Returns the batches of `epoch` after its first `done`: positions, and the values of every view.
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
    let normals: BTreeSet<usize> = seen.iter().map(|(index, _)| *index).filter(|&index| index != 4).collect();
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

/// A data set whose second image cannot be read.
struct OneTorn(Stripes);

impl Dataset for OneTorn {
    fn labels(&self) -> &[Labels] {
        self.0.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        ensure!(index != 1, "torn");
        self.0.open(index)
    }

    fn location(&self, index: usize) -> String {
        self.0.location(index)
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
        dtype: DType::F32,
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

/// Labels of `images` images, with defects at the given positions.
fn labels_with(images: usize, defects: &[usize]) -> Vec<Labels> {
    let label = |index| Labels { defect: defects.contains(&index), classes: ClassSet::EMPTY, stratum: 0 };
    (0..images).map(label).collect()
}

/// Loads every image once and returns the values of all its views.
fn loaded(loader: &Loader) -> Vec<(usize, Vec<Vec<f32>>)> {
    let mut seen = Vec::new();
    let see = |batch: Batch| {
        let images = batch.indices.len();
        let all = batch.images.to_dtype(DType::F32)?.flatten_from(1)?.to_vec2::<f32>()?;
        assert_eq!(batch.views * images, all.len());
        let of = |place: usize| (0..batch.views).map(|view| all[view * images + place].clone()).collect();
        seen.extend(batch.indices.iter().enumerate().map(|(place, &index)| (index, of(place))));
        Ok(())
    };
    loader.once(see).unwrap();
    seen
}

/// Runs are repeatable only as long as the seed of a view is derived in exactly this way.
#[test]
fn a_view_is_drawn_from_seed_epoch_image_and_view() {
    let (dataset, views) = (Stripes(labels_with(7, &[2])), ViewSet::paper(8).views);
    let indices = [5, 1, 6];
    let loader = Loader { seed: Seed::root(9), repeats: 2, ..striped(&dataset, &indices, &views) };
    let expected = |seed: Seed, index: usize| -> Vec<Vec<f32>> {
        let image = dataset.open(index).unwrap();
        let view = |view: usize| {
            let mut stream = seed.index(view).stream();
            let drawn = views[view].draw(16, 16, &mut stream).apply(&image);
            let mut values = vec![0.0; 8 * 8 * 3];
            to_normalised(&drawn, &Normalisation::SEWER_ML, &mut values);
            values
        };
        (0..views.len()).map(view).collect()
    };
    let root = Seed::root(9).child("views");
    let once = indices.map(|index| (index, expected(root.index(index), index)));
    assert!(loaded(&loader) == once);

    let mut times = [0; 7];
    let see = |batch: Batch| {
        let all = batch.images.flatten_from(1)?.to_vec2::<f32>()?;
        for (place, &index) in batch.indices.iter().enumerate() {
            let first = root.index(4).index(index);
            let found: Vec<Vec<f32>> =
                (0..2).map(|view| all[view * batch.indices.len() + place].clone()).collect();
            let is_of = |seed: Seed| found == expected(seed, index);
            assert!(is_of(first) || is_of(first.child("again").index(1)), "image {index}");
            times[index] += if is_of(first) { 1 } else { 10 };
        }
        Ok(())
    };
    loader.epoch(4, see).unwrap();
    assert_eq!(times, [0, 11, 0, 0, 0, 11, 11], "each image as it is first, and again");
}

#[test]
fn neither_batches_nor_threads_change_a_pixel() {
    let (dataset, views) = (Stripes(labels_with(7, &[2])), ViewSet::paper(8).views);
    let indices = [6, 0, 3, 4, 2];
    let loader = || Loader { batch_size: 2, ..striped(&dataset, &indices, &views) };
    let expected = loaded(&loader());
    assert_eq!(
        expected.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        indices,
        "in order, none left out"
    );
    assert!(loaded(&Loader { batch_size: 4, ..loader() }) == expected);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| loaded(&loader())) == expected, "{threads} threads");
    }
    assert!(loaded(&Loader { seed: Seed::root(1), ..loader() }) != expected, "another seed");
    let other = Normalisation::IMAGENET;
    assert!(loaded(&Loader { normalisation: &other, ..loader() }) != expected, "other numbers");
}

#[test]
fn batches_have_the_numbers_that_were_asked_for() {
    let (dataset, views) = (Stripes(labels_with(4, &[1, 3])), ViewSet::paper(8).views);
    let indices = [3, 0, 1];
    let loader = Loader { dtype: DType::BF16, ..striped(&dataset, &indices, &views) };
    loader
        .once(|batch| {
            assert_eq!((batch.images.dtype(), batch.images.dims()), (DType::BF16, &[6, 8, 8, 3][..]));
            assert_eq!(batch.labels.to_vec1::<f32>()?, [1.0, 0.0, 1.0]);
            Ok(())
        })
        .unwrap();
}

/// Columns: images, repeats, batch size; expected are the steps, and the images in each step.
#[test]
fn steps_are_whole_batches() {
    let dataset = Stripes(labels_with(7, &[2]));
    let views = &ViewSet::paper(8).views[..1];
    let indices = [0, 1, 2, 3, 4, 5, 6];
    for (images, repeats, batch_size, steps, each) in
        [(7, 1, 2, 3, 2), (7, 1, 7, 1, 7), (7, 1, 8, 1, 7), (7, 3, 4, 5, 4), (1, 5, 2, 2, 2), (6, 1, 3, 2, 3)]
    {
        let loader = Loader { repeats, batch_size, ..striped(&dataset, &indices[..images], views) };
        let mut sizes = Vec::new();
        let count = |batch: Batch| {
            sizes.push(batch.indices.len());
            Ok(())
        };
        loader.epoch(1, count).unwrap();
        assert_eq!(
            (loader.steps(), sizes),
            (steps, vec![each; steps]),
            "{images} x {repeats} by {batch_size}"
        );
        loader.rest_of_epoch(1, steps, |_| panic!("nothing is left")).unwrap();
    }
}

#[test]
fn an_order_has_every_use_of_every_image() {
    let dataset = Stripes(labels_with(9, &[4, 7]));
    let sorted = |loader: &Loader, epoch| {
        let mut order: Vec<(usize, usize)> =
            loader.order(epoch).iter().map(|draw| (draw.index, draw.earlier_uses)).collect();
        order.sort_unstable();
        order
    };
    let loader = |indices, sampling| Loader {
        sampling,
        repeats: 2,
        seed: Seed::root(2),
        ..striped(&dataset, indices, &[])
    };
    let each = loader(&[8, 4, 1], Sampling::Each);
    assert_eq!(sorted(&each, 0), [(1, 0), (1, 1), (4, 0), (4, 1), (8, 0), (8, 1)]);
    assert_ne!(each.order(0), each.order(1));
    assert_ne!(each.order(0), Loader { seed: Seed::root(3), ..loader(&[8, 4, 1], Sampling::Each) }.order(0));
    // Ten uses: five of the two defects, five of the three normal images.
    let drawn = sorted(&loader(&[8, 4, 1, 7, 0], Sampling::Balanced), 0);
    let uses = |index| drawn.iter().filter(|draw| draw.0 == index).map(|draw| draw.1).collect::<Vec<_>>();
    let (mut defects, mut normals) = ([4, 7].map(uses), [0, 1, 8].map(uses));
    defects.sort();
    normals.sort();
    assert_eq!(defects, [vec![0, 1], vec![0, 1, 2]]);
    assert_eq!(normals, [vec![0], vec![0, 1], vec![0, 1]]);
    let alone = sorted(&loader(&[0, 1], Sampling::Balanced), 0);
    assert_eq!(alone, [(0, 0), (1, 0)], "no defect to repeat");
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let dataset = OneTorn(Stripes(labels_with(4, &[2])));
    let views = ViewSet::paper(8).views;
    let stripes = Stripes(labels_with(4, &[2]));
    let loader = |indices, on_bad_image| Loader {
        dataset: &dataset,
        on_bad_image,
        ..striped(&stripes, indices, &views)
    };
    let error = |loader: Loader| format!("{:#}", loader.once(|_| Ok(())).unwrap_err());
    assert_eq!(
        error(loader(&[1], OnBadImage::Skip)),
        "none of the 1 images of a batch can be read, the first is 1"
    );
    assert_eq!(
        error(loader(&[0, 1], OnBadImage::Fail)),
        "an image is missing or damaged (--on-bad-image skip leaves such images out and counts them): torn"
    );
    assert_eq!(error(loader(&[], OnBadImage::Fail)), "no images to load");
    let mut batches = 0;
    let stop = |_: Batch| {
        batches += 1;
        anyhow::bail!("enough")
    };
    let few = Loader { batch_size: 1, ..loader(&[0, 2, 3], OnBadImage::Fail) };
    assert_eq!(few.once(stop).unwrap_err().to_string(), "enough");
    assert_eq!(batches, 1);
}

#[test]
fn every_image_once_is_the_default() {
    assert_eq!(Sampling::default(), Sampling::Each);
    assert_eq!(Sampling::ALL.map(Sampling::id), ["each", "balanced"]);
}

/// Images that take a while, some of which cannot be read.
struct Slow {
    stripes: Stripes,
    torn: &'static [usize],
    takes: Duration,
}

impl Dataset for Slow {
    fn labels(&self) -> &[Labels] {
        self.stripes.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        std::thread::sleep(self.takes);
        ensure!(!self.torn.contains(&index), "torn");
        self.stripes.open(index)
    }

    fn location(&self, index: usize) -> String {
        self.stripes.location(index)
    }

    fn digest(&self) -> String {
        String::new()
    }
}

/// Columns: batch size, and for each batch the images, their labels, and the images that were left out.
#[test]
fn every_image_of_a_batch_that_cannot_be_read_is_counted() {
    let stripes = || Stripes(labels_with(8, &[0, 3, 6]));
    let dataset = Slow { stripes: stripes(), torn: &[1, 2, 5], takes: Duration::ZERO };
    let (plain, views) = (stripes(), ViewSet::paper(8).views);
    let indices = [6, 5, 0, 2, 1, 4, 3];
    for (batch_size, expected) in [
        (7, vec![(vec![6, 0, 4, 3], vec![1.0, 1.0, 0.0, 1.0], vec![5, 2, 1])]),
        (
            3,
            vec![
                (vec![6, 0], vec![1.0, 1.0], vec![5]),
                (vec![4], vec![0.0], vec![2, 1]),
                (vec![3], vec![1.0_f32], vec![]),
            ],
        ),
    ] {
        let loader = Loader {
            dataset: &dataset,
            batch_size,
            on_bad_image: OnBadImage::Skip,
            ..striped(&plain, &indices, &views)
        };
        let mut seen = Vec::new();
        let see = |batch: Batch| {
            assert_eq!(batch.images.dim(0)?, 2 * batch.indices.len());
            seen.push((batch.indices, batch.labels.to_vec1::<f32>()?, batch.skipped));
            Ok(())
        };
        loader.once(see).unwrap();
        assert_eq!(seen, expected, "batches of {batch_size}");
        let whole =
            loaded(&Loader { on_bad_image: OnBadImage::Fail, ..striped(&plain, &[6, 0, 4, 3], &views) });
        assert!(loaded(&loader) == whole, "the views are those of the images that are left");
    }
}

/// Loading takes longer than a thread of a pool sleeps before it looks for work again.
#[test]
fn a_slow_batch_is_waited_for() {
    let stripes = || Stripes(labels_with(5, &[0, 3]));
    let (plain, views) = (stripes(), ViewSet::paper(8).views);
    let slow = Slow { stripes: stripes(), torn: &[], takes: 15 * SLEEP };
    let indices = [4, 2, 0, 3, 1];
    let expected = loaded(&striped(&plain, &indices, &views));
    let loader = || Loader { dataset: &slow, batch_size: 2, ..striped(&plain, &indices, &views) };
    assert!(loaded(&loader()) == expected);
    assert!(rayon::scope(|_| loaded(&loader())) == expected, "in the pool that loads");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| loaded(&loader())) == expected, "in a pool of {threads} threads");
    }
    let torn = Slow { stripes: stripes(), torn: &[3], takes: 15 * SLEEP };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let error = pool.install(|| Loader { dataset: &torn, ..loader() }.once(|_| Ok(())).unwrap_err());
    assert_eq!(error.root_cause().to_string(), "torn");
}
