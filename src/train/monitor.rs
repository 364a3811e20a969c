//! Label-free measurements during training, epoch by epoch: ranks, spread, parts of the loss.
//!
//! RankMe has two definitions here. `rankme_released` is that of the code that the paper's authors released: on
//! backbone features of each mini-batch and view in training mode, epsilon 1e-6, averaged over the epoch; it cannot
//! exceed the batch size. `rankme` is that of its own paper (Garrido et al., ICML 2023): on embeddings of a fixed
//! sample in evaluation mode, epsilon 1e-7, with the number of images stated. Neither is comparable between widths
//! without normalisation.

use std::{cell::RefCell, collections::BTreeMap, thread::JoinHandle};

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

use crate::{
    backbone::Mode,
    label_free::{
        Rows, rankme_released,
        spectrum::{RANKME_EPSILON, Spectrum, rankme},
        spread,
    },
    loader::Loader,
    method::{Method, Step},
};

/// Sums over an epoch's steps.
#[derive(Default)]
pub struct Monitor {
    sums: RefCell<BTreeMap<String, (f64, usize)>>,
    /// The thread that still computes the values of the last step, if any.
    pending: RefCell<Option<JoinHandle<Result<Measured>>>>,
}

/// Values of one step, by name, in the order in which they are added up.
type Measured = Vec<(String, f64)>;

/// Values of one step, copied to main memory.
struct StepValues {
    parts: Measured,
    features: HostRows,
    embeddings: Option<HostRows>,
    views: usize,
}

/// A matrix in main memory.
struct HostRows {
    values: Vec<f32>,
    width: usize,
}

impl Monitor {
    /// Adds a step of `views` views. If training runs on a GPU, its values are computed during the next step.
    ///
    /// # Errors
    /// If features or embeddings of this step (on a GPU, of the previous step) are not finite.
    pub fn add_step(&mut self, step: &Step, views: usize) -> Result<()> {
        let part = |(name, value): &(&str, Tensor)| {
            Ok(((*name).to_owned(), value.to_dtype(DType::F64)?.to_scalar()?))
        };
        let seen = StepValues {
            parts: step.parts.iter().map(part).collect::<Result<_>>()?,
            features: HostRows::from_tensor(&step.features)?,
            embeddings: step.embeddings.as_ref().map(HostRows::from_tensor).transpose()?,
            views,
        };
        self.join_pending()?;
        if step.features.device().is_cpu() {
            self.add_all(seen.measure()?);
        } else {
            let thread = std::thread::Builder::new().spawn(move || seen.measure());
            *self.pending.get_mut() =
                Some(thread.context("cannot start a thread to measure a training step")?);
        }
        Ok(())
    }

    /// Adds RankMe as in its paper, computed at the end of an epoch on a fixed sample: on its embeddings, or on its
    /// features if the method has no embeddings.
    ///
    /// # Errors
    /// If an image cannot be read, or features are not finite.
    pub fn add_sample(&mut self, method: &dyn Method, sample: &Loader) -> Result<()> {
        let (mut values, mut width, mut rows) = (Vec::new(), 0, 0);
        sample.once(|batch| {
            let features = method.encoder().embed(&batch.images, Mode::Evaluate)?;
            let embeddings = method.embed(&features).transpose()?.unwrap_or(features);
            (rows, width) = (rows + embeddings.dim(0)?, embeddings.dim(1)?);
            values.extend(HostRows::from_tensor(&embeddings)?.values);
            Ok(())
        })?;
        // A network whose embeddings are all zero has no rank; training and the record continue without one.
        if values.iter().any(|&value| value != 0.0) {
            let spectrum = Spectrum::from_rows(Rows::new(&values, width)?)?;
            self.add("rankme", rankme(&spectrum.uncentred, RANKME_EPSILON));
        }
        self.add("rankme_images", rows as f64);
        self.add("rankme_bound", rows.min(width) as f64);
        Ok(())
    }

    /// Returns the mean of the values added under each name; means that are not finite are left out.
    ///
    /// # Errors
    /// If features or embeddings of the last step are not finite.
    pub fn means(self) -> Result<BTreeMap<String, f64>> {
        let means = self.sums()?.into_iter().map(|(name, (sum, count))| (name, sum / count as f64));
        Ok(means.filter(|(_, mean)| mean.is_finite()).collect())
    }

    /// Returns the sum and the number of the values added under each name.
    pub(super) fn sums(&self) -> Result<BTreeMap<String, (f64, usize)>> {
        self.join_pending()?;
        Ok(self.sums.borrow().clone())
    }

    /// Restores a monitor from another's sums.
    pub(super) fn from_sums(sums: BTreeMap<String, (f64, usize)>) -> Self {
        Self { sums: RefCell::new(sums), pending: RefCell::default() }
    }

    /// Waits for values that are still being computed.
    fn join_pending(&self) -> Result<()> {
        if let Some(pending) = self.pending.take() {
            match pending.join() {
                Ok(measured) => self.add_all(measured?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    fn add_all(&self, measured: Measured) {
        measured.into_iter().for_each(|(name, value)| self.add(&name, value));
    }

    fn add(&self, name: &str, value: f64) {
        let mut sums = self.sums.borrow_mut();
        let (sum, count) = sums.entry(name.to_owned()).or_default();
        *sum += value;
        *count += 1;
    }
}

impl StepValues {
    fn measure(self) -> Result<Measured> {
        let mut measured = self.parts;
        let HostRows { values, width } = &self.features;
        for view in values.chunks((values.len() / self.views).max(1)) {
            if view.len() > *width {
                measured.push(("rankme_released".to_owned(), rankme_released(Rows::new(view, *width)?)));
            }
        }
        self.features.spread("features", &mut measured)?;
        if let Some(embeddings) = &self.embeddings {
            embeddings.spread("embeddings", &mut measured)?;
        }
        Ok(measured)
    }
}

impl HostRows {
    fn from_tensor(rows: &Tensor) -> candle_core::Result<Self> {
        let width = rows.dim(1)?;
        Ok(Self { values: rows.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, width })
    }

    fn spread(&self, name: &str, measured: &mut Measured) -> Result<()> {
        let spread = spread(Rows::new(&self.values, self.width)?);
        measured.push((format!("{name}_mean"), spread.mean));
        measured.push((format!("{name}_deviation"), spread.deviation));
        measured.push((format!("{name}_unit_mean"), spread.unit_mean));
        measured.push((format!("{name}_unit_deviation"), spread.unit_deviation));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        augment::{Normalisation, ViewRecipe},
        backbone::{Backbone, Parameters},
        data::{OnBadImage, synthetic},
        loader::{Batch, Sampling},
        method::Position,
        seed::Seed,
    };

    /// A step of two views of four images: the first view's features are all equal, the second view's orthogonal.
    fn step(part: f32) -> Step {
        let row =
            |place: usize| (0..4).map(|column| f32::from(u8::from(column == place))).collect::<Vec<_>>();
        let rows: Vec<f32> = [0, 0, 0, 0, 0, 1, 2, 3].into_iter().flat_map(row).collect();
        let features = Tensor::from_vec(rows, (8, 4), &Device::Cpu).unwrap();
        let embeddings = Some((&features * 2.0).unwrap());
        let part = Tensor::new(part, &Device::Cpu).unwrap();
        Step { loss: part.clone(), features, embeddings, parts: vec![("invariance", part)] }
    }

    /// Ranks are those of each view, 1 and 4, not of both views together; values are averaged over steps.
    #[test]
    fn ranks_are_of_each_view_and_values_are_means_over_steps() {
        let mut monitor = Monitor::default();
        for part in [1.0, 4.0] {
            monitor.add_step(&step(part), 2).unwrap();
        }
        let means = monitor.means().unwrap();
        assert!((means["rankme_released"] - 2.5).abs() < 1e-3, "{means:?}");
        assert_eq!(means["invariance"], 2.5);
        // A quarter of all features are 1, of all embeddings 2.
        assert!((means["features_mean"] - 0.25).abs() < 1e-6, "{means:?}");
        assert!((means["embeddings_mean"] - 0.5).abs() < 1e-6, "{means:?}");
        assert!((means["embeddings_unit_mean"] - means["features_unit_mean"]).abs() < 1e-6, "{means:?}");
        let twice = means["embeddings_deviation"] / means["features_deviation"];
        assert!((twice - 2.0).abs() < 1e-6, "{means:?}");
    }

    #[test]
    fn a_value_that_is_not_finite_has_no_mean() {
        let (mut monitor, mut other) = (Monitor::default(), Monitor::default());
        for part in [1.0, f32::INFINITY] {
            monitor.add_step(&step(part), 2).unwrap();
            other = Monitor::from_sums(monitor.sums().unwrap());
        }
        for monitor in [monitor, other] {
            let means = monitor.means().unwrap();
            assert!(!means.contains_key("invariance") && means.contains_key("rankme_released"), "{means:?}");
        }
    }
    /// Rows of a wave, no two alike.
    fn wave(rows: usize, width: usize, phase: f32) -> Vec<f32> {
        (0..rows * width).map(|place| (0.7 * place as f32 + phase).sin() + 0.3 * phase).collect()
    }

    #[test]
    fn every_moment_has_its_own_name() {
        let (features, embeddings) = (wave(6, 4, 1.0), wave(6, 3, 2.0));
        let tensor =
            |values: &[f32], width: usize| Tensor::from_slice(values, (6, width), &Device::Cpu).unwrap();
        let scalar = |value: f32| Tensor::new(value, &Device::Cpu).unwrap();
        let mut monitor = Monitor::default();
        let step = Step {
            loss: scalar(9.0),
            features: tensor(&features, 4),
            embeddings: Some(tensor(&embeddings, 3)),
            parts: vec![("entropy", scalar(5.0)), ("divergence", scalar(6.0))],
        };
        monitor.add_step(&step, 1).unwrap();
        let released = rankme_released(Rows::new(&features, 4).unwrap());
        let mut expected = vec![("entropy", 5.0), ("divergence", 6.0), ("rankme_released", released)];
        let of = spread(Rows::new(&features, 4).unwrap());
        expected.extend([
            ("features_mean", of.mean),
            ("features_deviation", of.deviation),
            ("features_unit_mean", of.unit_mean),
            ("features_unit_deviation", of.unit_deviation),
        ]);
        let of = spread(Rows::new(&embeddings, 3).unwrap());
        expected.extend([
            ("embeddings_mean", of.mean),
            ("embeddings_deviation", of.deviation),
            ("embeddings_unit_mean", of.unit_mean),
            ("embeddings_unit_deviation", of.unit_deviation),
        ]);
        let expected: BTreeMap<String, f64> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(monitor.means().unwrap(), expected);
    }

    /// A view of a single image has no rank.
    #[test]
    fn a_view_of_one_image_is_left_out() {
        let features = Tensor::from_vec(wave(2, 4, 1.0), (2, 4), &Device::Cpu).unwrap();
        let loss = Tensor::new(0_f32, &Device::Cpu).unwrap();
        let mut monitor = Monitor::default();
        monitor.add_step(&Step { loss, features, embeddings: None, parts: Vec::new() }, 2).unwrap();
        let names: Vec<String> = monitor.means().unwrap().into_keys().collect();
        assert_eq!(
            names,
            ["features_deviation", "features_mean", "features_unit_deviation", "features_unit_mean"]
        );
    }

    /// An encoder for evaluation only: the first six numbers of an image.
    struct Six;

    impl Backbone for Six {
        fn embed(&self, images: &Tensor, mode: Mode) -> candle_core::Result<Tensor> {
            assert_eq!(mode, Mode::Evaluate, "a sample is seen in evaluation");
            images.flatten_from(1)?.narrow(1, 0, 6)
        }

        fn width(&self) -> usize {
            6
        }

        fn mixes_images(&self) -> bool {
            false
        }
    }

    /// Embeds the last three of the six, shifted and cut off at 0, or nothing.
    struct OfSix {
        embeds: bool,
        shift: f32,
        parameters: Parameters,
    }

    impl Method for OfSix {
        fn step(&self, _: &Batch, _: Position) -> candle_core::Result<Step> {
            candle_core::bail!("it is not trained")
        }

        fn encoder(&self) -> &dyn Backbone {
            &Six
        }

        fn parameters(&self) -> &Parameters {
            &self.parameters
        }

        fn embed(&self, features: &Tensor) -> Option<candle_core::Result<Tensor>> {
            self.embeds.then(|| features.narrow(1, 3, 3)?.affine(1.0, f64::from(self.shift))?.relu())
        }
    }

    /// Five images, in batches of two: more than the three columns of embeddings, some of which are exactly 0, fewer
    /// than the six of features. Embeddings that are all 0 have no rank.
    #[test]
    fn a_sample_is_ranked_by_embeddings_if_there_are_some() {
        let (source, views) = (synthetic::source(Seed::root(2), 5, 2, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..5).collect();
        let loader = Loader {
            dataset: &*source.train,
            indices: &indices,
            views: &views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 2,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            dtype: DType::F32,
            seed: Seed::root(0),
        };
        let mut middle = 0.0;
        for (embeds, first, width, bound) in [(false, 0, 6, 5.0), (true, 3, 3, 3.0)] {
            let mut rows: Vec<f32> = Vec::new();
            let keep = |batch: Batch| {
                let rows_of_batch = batch.images.flatten_from(1)?.narrow(1, first, width)?.contiguous()?;
                rows.extend(rows_of_batch.flatten_all()?.to_vec1::<f32>()?);
                Ok(())
            };
            loader.once(keep).unwrap();
            if embeds {
                let mut sorted = rows.clone();
                sorted.sort_by(f32::total_cmp);
                middle = sorted[7];
                rows.iter_mut().for_each(|number| *number = (*number - middle).max(0.0));
                let zeros = rows.iter().filter(|number| **number == 0.0).count();
                assert!((1..15).contains(&zeros), "{rows:?}");
            }
            let spectrum = Spectrum::from_rows(Rows::new(&rows, width).unwrap()).unwrap();
            let mut monitor = Monitor::default();
            let method = |shift| OfSix { embeds, shift, parameters: Parameters::default() };
            monitor.add_sample(&method(-middle), &loader).unwrap();
            let means = monitor.means().unwrap();
            assert_eq!(means["rankme"], rankme(&spectrum.uncentred, 1e-7), "embeds: {embeds}");
            assert_eq!((means["rankme_images"], means["rankme_bound"], means.len()), (5.0, bound, 3));
            if embeds {
                let mut monitor = Monitor::default();
                monitor.add_sample(&method(-1e9), &loader).unwrap();
                let names: Vec<String> = monitor.means().unwrap().into_keys().collect();
                assert_eq!(names, ["rankme_bound", "rankme_images"]);
            }
        }
    }
}
