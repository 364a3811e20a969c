//! Detectors fitted on normal images only: they score an image by its distance from those, and can score further
//! images.

use anyhow::Result;
use candle_core::Device;
use rayon::prelude::*;

use super::{
    normals::{self, Cloud, NEIGHBOURS, Rows, neighbour_distances, usual_distance},
    patches::{self, Padim, PatchCore, Patches, describe_patches},
    scorer::Scorer,
};
use crate::{backbone::Backbone, loader::Loader, seed::Seed};

/// Images whose distances are computed at once; this bounds the memory for their f64 copies. Ours.
const TOGETHER: usize = 20_000;

/// Largest number of fitted images whose own distances set the threshold of patch detectors. Ours.
const USUAL_IMAGES: usize = 200;

/// Logits from a detector fitted on normal images only, and the detector itself if it is kept.
pub struct DetectorOutput {
    /// Name of its column of logits.
    pub name: &'static str,
    /// One logit per image.
    pub logits: Vec<f64>,
    /// Scores further images; `None` if it is not kept.
    pub scorer: Option<Scorer>,
}

/// Fits nearest neighbours and Mahalanobis distance on the rows of `train` at the positions `normals`, and scores each
/// row of `rows`: its distance minus the 95 % quantile of the normal images' own distances. Rows have `width` features.
/// Returns an empty list if there are too few normal images.
///
/// # Errors
/// If a row is incomplete, a number is not finite, or all normal images are alike.
pub fn detect_by_features(
    train: &[f32],
    normals: &[usize],
    rows: &[f32],
    width: usize,
) -> Result<Vec<DetectorOutput>> {
    if normals.len() <= NEIGHBOURS {
        return Ok(Vec::new());
    }
    let kept = thinned(normals).flat_map(|row| train[row * width..(row + 1) * width].iter().copied());
    let normals = Rows::new(&kept.collect::<Vec<f32>>(), width)?;
    // An image is its own nearest neighbour, at distance 0.
    let own = neighbour_distances(&normals, &normals, NEIGHBOURS + 1)?;
    let own: Vec<f64> = own.iter().map(|mean| mean * (NEIGHBOURS + 1) as f64 / NEIGHBOURS as f64).collect();
    let cloud = Cloud::fit(&normals)?;
    let [mut near, mut central] = [Vec::new(), Vec::new()];
    for block in rows.chunks(TOGETHER * width) {
        let block = Rows::new(block, width)?;
        near.extend(neighbour_distances(&normals, &block, NEIGHBOURS)?);
        central.extend(cloud.distances(&block)?);
    }
    let less =
        |distances: Vec<f64>, usual: f64| distances.into_iter().map(|distance| distance - usual).collect();
    let neighbours =
        DetectorOutput { name: "normals_neighbours", logits: less(near, usual_distance(own)), scorer: None };
    let usual = usual_distance(cloud.distances(&normals)?);
    let scorer = Scorer::Mahalanobis { cloud, usual };
    let mahalanobis =
        DetectorOutput { name: scorer.name(), logits: less(central, usual), scorer: Some(scorer) };
    Ok(vec![neighbours, mahalanobis])
}

/// Returns all of these, or [`normals::MOST_IMAGES`] of them, evenly spaced.
fn thinned(normals: &[usize]) -> impl Iterator<Item = usize> {
    let (all, kept) = (normals.len(), normals.len().min(normals::MOST_IMAGES));
    (0..kept).map(move |place| normals[place * all / kept])
}

/// Fits PatchCore and PaDiM on the normal images of `normals`, and scores each image of `rows`: its distance minus the
/// 95 % quantile of the normal images' own distances. Returns an empty list if the encoder has no middle features, or
/// there are fewer than two normal images.
///
/// # Errors
/// If an image cannot be read, or all normal images are alike.
pub fn detect_by_patches(
    encoder: &dyn Backbone,
    normals: &Loader,
    rows: &Loader,
    seed: &Seed,
) -> Result<Vec<DetectorOutput>> {
    let (all, kept) = (normals.indices.len(), normals.indices.len().min(patches::MOST_IMAGES));
    let indices: Vec<usize> = (0..kept).map(|place| normals.indices[place * all / kept]).collect();
    let mut images = Vec::new();
    let fits = for_each_image(encoder, &Loader { indices: &indices, ..*normals }, |patches| {
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
        usual_distance(own.par_iter().map(|patches| distance(patches)).collect())
    };
    let levels = [level(&|patches| core.distance(patches)), level(&|patches| padim.distance(patches))];
    drop(images);
    let mut found = [Vec::new(), Vec::new()];
    for_each_image(encoder, rows, |patches| {
        found[0].push(core.distance(&patches) - levels[0]);
        found[1].push(padim.distance(&patches) - levels[1]);
        Ok(())
    })?;
    let [logits, of_padim] = found;
    let scorer = Scorer::PatchCore { core, usual: levels[0] };
    Ok(vec![
        DetectorOutput { name: scorer.name(), logits, scorer: Some(scorer) },
        DetectorOutput { name: "normals_padim", logits: of_padim, scorer: None },
    ])
}

/// Calls a closure with the patches of every image, in order. Returns false if the encoder has no middle features.
fn for_each_image(
    encoder: &dyn Backbone,
    loader: &Loader,
    mut take: impl FnMut(Patches) -> Result<()>,
) -> Result<bool> {
    let mut fits = true;
    loader.once(|batch| {
        let Some(middle) = encoder.intermediate_maps(&batch.images)? else {
            fits = false;
            return Ok(());
        };
        let [second, third] = middle.map(|maps| maps.detach().to_device(&Device::Cpu));
        describe_patches(&second?, &third?)?.into_iter().try_for_each(&mut take)
    })?;
    Ok(fits)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::*;
    use crate::{
        augment::{Normalisation, ViewRecipe},
        backbone::{Architecture, Mode, Name, Parameters, Stem, VitSize},
        data::{ClassSet, Dataset, Image, Labels, OnBadImage, synthetic},
        loader::Sampling,
    };

    #[test]
    fn what_lies_far_from_normal_images_is_flagged() {
        let mut stream = Seed::root(2).stream();
        let mut drawn = |count: usize, far: f64| {
            (0..count * 8).map(|_| (stream.normal() + far) as f32).collect::<Vec<f32>>()
        };
        let (normals, others, defects) = (drawn(400, 0.0), drawn(400, 0.0), drawn(50, 3.0));
        let places: Vec<usize> = (0..400).collect();
        let flagged = |rows: &[f32], detector: usize| {
            let logits = &detect_by_features(&normals, &places, rows, 8).unwrap()[detector].logits;
            logits.iter().filter(|logit| **logit > 0.0).count() as f64 / logits.len() as f64
        };
        for detector in [0, 1] {
            // By construction, 5 % of the fitted images are flagged; new normal images lie a little further out.
            let (alarms, found) = (flagged(&others, detector), flagged(&defects, detector));
            assert!(alarms > 0.01 && alarms < 0.11 && found == 1.0, "{detector}: {alarms} {found}");
        }
        assert!(detect_by_features(&normals, &places[..5], &defects, 8).unwrap().is_empty(), "too few");
        let many: Vec<usize> = (0..3 * normals::MOST_IMAGES).collect();
        assert!(thinned(&many).eq((0..normals::MOST_IMAGES).map(|place| 3 * place)));
    }

    /// Each detector's own distances set its logit 0: of twenty normal images, the farthest has logit 0.
    #[test]
    fn each_detector_is_usual_by_its_own_distances() {
        let source = synthetic::source(Seed::root(0), 60, 2, 16);
        let normals: Vec<usize> =
            (0..60).filter(|&index| !source.train.labels()[index].defect).take(20).collect();
        let vit = VitSize { patch: 8, width: 24, depth: 2, heads: 3 };
        let architecture =
            Architecture { name: Name::ResNet18, side: 16, resnet_width: 8, resnet_stem: Stem::Small, vit };
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(3), DType::F32, &Device::Cpu);
        let encoder = architecture.build(&mut builder).unwrap();
        let loader = Loader {
            dataset: &*source.train,
            indices: &normals,
            views: &[ViewRecipe::full_frame(16)],
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 8,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            dtype: DType::F32,
            seed: Seed::root(0),
        };
        let found = detect_by_patches(&*encoder, &loader, &loader, &Seed::root(1)).unwrap();
        assert_eq!(
            found.iter().map(|one| one.name).collect::<Vec<_>>(),
            ["normals_patchcore", "normals_padim"]
        );
        for DetectorOutput { name, logits, .. } in found {
            // 0.95 x 20 = 19: the last of twenty, counted from 0.
            let farthest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!((logits.len(), farthest), (20, 0.0), "{name}: {logits:?}");
        }
    }

    /// By hand: the normal features are 0, 1, 2, 4, 7, 11 and 16. Their mean distances to their five nearest others are
    /// 5, 4.2, 3.8, 3.8, 5, 7 and 11; the largest is the threshold. 3 has mean distance 2.2 from its five nearest, 30
    /// has 22. From the mean, 41/7, the farthest is 71/7 away, 3 is 20/7 and 30 is 169/7, all in units of the deviation
    /// sqrt(447/7 - (41/7)^2). The other rows of `train` are not normal images.
    #[test]
    fn distances_from_normal_images_by_hand() {
        let train = [0.0, 100.0, 1.0, 2.0, 4.0, -50.0, 7.0, 11.0, 16.0];
        let found = detect_by_features(&train, &[0, 2, 3, 4, 6, 7, 8], &[3.0, 30.0], 1).unwrap();
        let [near, central] = &found[..] else { panic!("{} detectors", found.len()) };
        assert_eq!((near.name, central.name), ("normals_neighbours", "normals_mahalanobis"));
        let close = |found: &[f64], expected: [f64; 2]| {
            let apart = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
            assert!(found.len() == 2 && apart.fold(0.0, f64::max) < 1e-9, "{found:?}, expected {expected:?}");
        };
        close(&near.logits, [2.2 - 11.0, 22.0 - 11.0]);
        let deviation = (447.0 / 7.0 - (41.0_f64 / 7.0).powi(2)).sqrt();
        close(&central.logits, [(20.0 - 71.0) / 7.0 / deviation, (169.0 - 71.0) / 7.0 / deviation]);
        let Some(Scorer::Mahalanobis { usual, .. }) = &central.scorer else { panic!("it is kept") };
        assert!(near.scorer.is_none() && (usual - 71.0 / 7.0 / deviation).abs() < 1e-9, "{usual}");
        // Five neighbours need a sixth image.
        assert!(detect_by_features(&train, &[0, 2, 3, 4, 6], &[3.0], 1).unwrap().is_empty());
        assert_eq!(detect_by_features(&train, &[0, 2, 3, 4, 6, 7], &[3.0], 1).unwrap().len(), 2);
    }

    /// Middle features that are the pixels of an image, and their mean.
    struct Plain;

    impl Backbone for Plain {
        fn embed(&self, images: &Tensor, _: Mode) -> candle_core::Result<Tensor> {
            images.mean((1, 2))
        }

        fn intermediate_maps(&self, images: &Tensor) -> candle_core::Result<Option<[Tensor; 2]>> {
            Ok(Some([images.clone(), images.mean_keepdim((1, 2))?]))
        }

        fn width(&self) -> usize {
            3
        }

        fn mixes_images(&self) -> bool {
            false
        }
    }

    /// Images of 2 x 2 pixels that all differ.
    struct Tiny(Vec<Labels>);

    impl Dataset for Tiny {
        fn labels(&self) -> &[Labels] {
            &self.0
        }

        fn open(&self, index: usize) -> Result<Image> {
            let mut stream = Seed::root(17).index(index).stream();
            Ok(Image::new(2, 2, (0..12).map(|_| stream.below(256) as u8).collect()))
        }

        fn location(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            "tiny".to_owned()
        }
    }

    fn tiny() -> Tiny {
        Tiny(vec![Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 }; 2_010])
    }

    fn loader<'a>(tiny: &'a Tiny, indices: &'a [usize], views: &'a [ViewRecipe]) -> Loader<'a> {
        Loader {
            dataset: tiny,
            indices,
            views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 64,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            dtype: DType::F32,
            seed: Seed::root(0),
        }
    }

    /// Of 2,001 normal images a thousand are fitted, evenly spaced; every fifth of these sets logit 0. Other images are
    /// scored.
    #[test]
    fn of_many_normal_images_a_thousand_are_fitted() {
        let (tiny, views, seed) = (tiny(), [ViewRecipe::full_frame(2)], Seed::root(6));
        let (normals, rows): (Vec<usize>, _) = ((5..2_006).collect(), [2_008, 1, 2_006, 0]);
        let found =
            detect_by_patches(&Plain, &loader(&tiny, &normals, &views), &loader(&tiny, &rows, &views), &seed)
                .unwrap();

        let patches = |indices: &[usize]| -> Vec<Patches> {
            let mut all = Vec::new();
            let take = |batch: crate::loader::Batch| {
                let mean = batch.images.mean_keepdim((1, 2))?;
                all.extend(describe_patches(&batch.images, &mean)?);
                Ok(())
            };
            loader(&tiny, indices, &views).once(take).unwrap();
            all
        };
        let kept: Vec<usize> = (0..1_000).map(|place| 5 + place * 2_001 / 1_000).collect();
        let (fitted, others) = (patches(&kept), patches(&rows));
        let (core, padim) = (PatchCore::fit(&fitted, &seed).unwrap(), Padim::fit(&fitted, &seed).unwrap());
        let logits = |distance: &dyn Fn(&Patches) -> f64| -> Vec<f64> {
            let usual = usual_distance(fitted.iter().step_by(5).map(distance).collect());
            others.iter().map(|patches| distance(patches) - usual).collect()
        };
        let expected = [
            ("normals_patchcore", logits(&|patches| core.distance(patches))),
            ("normals_padim", logits(&|patches| padim.distance(patches))),
        ];
        let named: Vec<_> = found.iter().map(|found| (found.name, found.logits.clone())).collect();
        assert_eq!(named, expected);
        let Some(Scorer::PatchCore { core: kept, usual }) = &found[0].scorer else { panic!("it is kept") };
        assert_eq!(kept.rows(), core.rows());
        assert_eq!(core.distance(&others[1]) - usual, found[0].logits[1]);
        assert!(found[1].scorer.is_none());
    }

    #[test]
    fn without_middle_features_or_two_normal_images_there_is_no_patch_detector() {
        let (tiny, views, seed) = (tiny(), [ViewRecipe::full_frame(8)], Seed::root(6));
        let found = |encoder: &dyn Backbone, normals: &[usize]| {
            let rows = loader(&tiny, &[7, 8, 9], &views);
            detect_by_patches(encoder, &loader(&tiny, normals, &views), &rows, &seed).unwrap().len()
        };
        assert_eq!((found(&Plain, &[3, 4]), found(&Plain, &[3])), (2, 0));
        assert_eq!(found(&crate::backbone::pixels::Pixels, &[3, 4]), 0);
    }

    /// More rows than are compared at once get the distances that they have alone.
    #[test]
    fn many_rows_are_scored_one_by_one() {
        let train: Vec<f32> = (0..14).map(|n: i32| ((n * n) % 23) as f32).collect();
        let rows: Vec<f32> = (0..2 * (TOGETHER + 3)).map(|n| (n % 1009) as f32 * 0.25).collect();
        let of = |rows: &[f32]| {
            let found = detect_by_features(&train, &[0, 1, 2, 3, 4, 6], rows, 2).unwrap();
            found.into_iter().map(|found| found.logits).collect::<Vec<_>>()
        };
        let (all, last) = (of(&rows), of(&rows[2 * TOGETHER - 4..]));
        for (all, last) in all.iter().zip(&last) {
            assert_eq!((all.len(), last.len()), (TOGETHER + 3, 5));
            assert_eq!(all[TOGETHER - 2..], last[..]);
        }
    }
}
