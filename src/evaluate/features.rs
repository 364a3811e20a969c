//! Frozen encoder features of a whole split: computed once, scored many times.

use anyhow::Result;
use candle_core::Tensor;

use crate::{
    backbone::{Backbone, Mode},
    loader::Loader,
    tensor::without_gradients,
};

/// One row of features per image.
pub struct Features {
    /// (images x width), row-major.
    pub rows: Vec<f32>,
    /// Number of features of an image.
    pub width: usize,
    /// Position of each row's image in the data set.
    pub indices: Vec<usize>,
    /// Positions of images that have no row, because they could not be read.
    pub skipped: Vec<usize>,
}

impl Features {
    /// Returns the rows as a tensor (images, width).
    pub fn tensor(&self, device: &candle_core::Device) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&self.rows, (self.indices.len(), self.width), device)
    }
}

/// Runs the encoder in evaluation mode on all images of `loader`, in its order.
pub fn extract(encoder: &dyn Backbone, loader: &Loader) -> Result<Features> {
    let mut features =
        Features { rows: Vec::new(), width: encoder.width(), indices: Vec::new(), skipped: Vec::new() };
    loader.once(|batch| {
        let rows = without_gradients(|| encoder.embed(&batch.images, Mode::Evaluate))?;
        features.rows.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        features.indices.extend(batch.indices);
        features.skipped.extend(batch.skipped);
        Ok(())
    })?;
    Ok(features)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::loader::Sampling;
    use crate::{
        augment::{Normalisation, ViewRecipe},
        backbone::{Architecture, Name, Parameters, Stem, VitSize},
        data::{OnBadImage, synthetic},
        seed::Seed,
    };

    #[test]
    fn an_images_features_do_not_depend_on_its_batch() {
        let vit = VitSize { patch: 4, width: 8, depth: 1, heads: 2 };
        let architecture =
            Architecture { name: Name::ResNet18, side: 32, resnet_width: 8, resnet_stem: Stem::Small, vit };
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let encoder = architecture.build(&mut builder).unwrap();
        let values = || -> Vec<Vec<f32>> {
            let all = parameters.all().iter();
            all.map(|parameter| parameter.variable.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let before = values();
        let source = synthetic::source(Seed::root(0), 7, 2, 32);
        let rows = |batch_size| {
            let loader = Loader {
                dataset: &*source.train,
                indices: &[6, 0, 2, 3, 5],
                views: &[ViewRecipe::full_frame(32)],
                normalisation: &Normalisation::SEWER_ML,
                sampling: Sampling::Each,
                repeats: 1,
                batch_size,
                on_bad_image: OnBadImage::Fail,
                device: &Device::Cpu,
                dtype: DType::F32,
                seed: Seed::root(0),
            };
            let features = extract(&*encoder, &loader).unwrap();
            assert_eq!(features.indices, [6, 0, 2, 3, 5]);
            assert_eq!((features.rows.len(), features.width), (5 * encoder.width(), encoder.width()));
            features.rows
        };
        let (alone, together) = (rows(1), rows(3));
        let largest = alone.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
        let apart = alone.iter().zip(&together).fold(0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(largest > 0.0 && apart <= 1e-5 * largest, "{apart} apart, {largest} the largest");
        assert!(values() == before, "nothing of the encoder moves, running statistics neither");
    }

    /// Striped images that all differ; the third cannot be read.
    struct Torn(Vec<crate::data::Labels>);

    impl crate::data::Dataset for Torn {
        fn labels(&self) -> &[crate::data::Labels] {
            &self.0
        }

        fn open(&self, index: usize) -> Result<crate::data::Image> {
            anyhow::ensure!(index != 2, "torn");
            let pixels =
                (0..32 * 32 * 3).map(|place| if place % (index + 3) == 0 { 200 } else { 30 }).collect();
            Ok(crate::data::Image::new(32, 32, pixels))
        }

        fn location(&self, index: usize) -> String {
            index.to_string()
        }

        fn digest(&self) -> String {
            "torn".to_owned()
        }
    }

    #[test]
    fn an_image_that_cannot_be_read_has_no_row() {
        let vit = VitSize { patch: 4, width: 8, depth: 1, heads: 2 };
        let architecture =
            Architecture { name: Name::ResNet18, side: 32, resnet_width: 8, resnet_stem: Stem::Small, vit };
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let encoder = architecture.build(&mut builder).unwrap();
        let labels = crate::data::Labels { defect: false, classes: crate::data::ClassSet::EMPTY, stratum: 0 };
        let torn = Torn(vec![labels; 4]);
        let of = |indices: &[usize]| {
            let loader = Loader {
                dataset: &torn,
                indices,
                views: &[ViewRecipe::full_frame(32)],
                normalisation: &Normalisation::SEWER_ML,
                sampling: Sampling::Each,
                repeats: 1,
                batch_size: 2,
                on_bad_image: OnBadImage::Skip,
                device: &Device::Cpu,
                dtype: DType::F32,
                seed: Seed::root(0),
            };
            extract(&*encoder, &loader).unwrap()
        };
        let found = of(&[3, 2, 0, 1]);
        assert_eq!((&found.indices[..], &found.skipped[..]), (&[3, 0, 1][..], &[2][..]));
        assert_eq!(found.rows.len(), 3 * found.width);
        let rows = found.tensor(&Device::Cpu).unwrap();
        assert_eq!(rows.dims(), [3, found.width]);
        // Each image has its own row.
        for (row, image) in rows.to_vec2::<f32>().unwrap().iter().zip([3, 0, 1]) {
            let alone = of(&[image]).rows;
            let largest = alone.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let apart = row.iter().zip(&alone).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(largest > 0.0 && apart <= 1e-5 * largest, "{image}: {apart} of {largest}");
            let other = of(&[(image + 1) % 2]).rows;
            assert!(row.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-3 * largest), "images differ");
        }
    }
}
