//! The training loop. It is independent of how its method, data and hyper-parameters were chosen, and of when its
//! state is saved: it offers the state after every step, and resumes from any state that it offered.

pub mod checkpoint;
pub mod monitor;
pub mod online_probe;
pub mod optimiser;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use self::{
    checkpoint::{State, Tally},
    online_probe::OnlineProbe,
    optimiser::{Group, Optimiser, Rule},
};
use crate::{
    loader::{Batch, Loader},
    method::{Method, Position},
    schedule::LearningRate,
    tensor::{backward, gpu::KeptUploads},
};

/// How variables are updated, and with which learning rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimisation {
    /// The optimiser.
    pub rule: Rule,
    /// Base learning rate for this run's batch size.
    pub learning_rate: f64,
    /// Coefficient of weight decay, as the rule uses it; 0 for none.
    pub weight_decay: f64,
    /// Which parameters weight decay applies to.
    pub decayed: Decayed,
    /// Largest Euclidean norm of a variable's gradient.
    pub clip: Option<f64>,
    /// Linear warm-up, in epochs, from `warm_up_start`, then half a cosine to `end`.
    pub warm_up_epochs: f64,
    /// Learning rate that warm-up starts from.
    pub warm_up_start: f64,
    /// Learning rate that the cosine falls to.
    pub end: f64,
    /// Passes over the training images; 0 trains nothing.
    pub epochs: usize,
}

/// What weight decay (and the trust ratio of LARS) applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decayed {
    /// All trainable variables.
    Everything,
    /// Neither biases nor normalisation layers.
    Weights,
}

/// Reports to the caller during training.
pub enum Progress<'a> {
    /// A part of a step is complete.
    Part(Part),
    /// A step is complete.
    Step {
        /// Number of the epoch, from 0.
        epoch: usize,
        /// Completed steps of the epoch.
        step: usize,
        /// Steps of each epoch.
        steps: usize,
        /// Images of the step, before views.
        images: usize,
        /// The method's loss, before the update.
        loss: f64,
        /// Copies everything that the next step depends on.
        state: &'a dyn Fn() -> Result<State>,
    },
    /// An epoch is complete.
    Epoch {
        /// Its means, including monitors.
        epoch: &'a Epoch,
        /// Copies everything that the next step depends on.
        state: &'a dyn Fn() -> Result<State>,
    },
}

/// Parts of a step that a caller may want to time. The rest of the step, after the last part, is monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Waiting for a batch.
    Data,
    /// Loss, gradients and updates.
    Update,
}

/// Means over the steps of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// Number of the epoch, from 0.
    pub epoch: usize,
    /// Mean loss of the method.
    pub loss: f64,
    /// Mean loss of the online probe; `None` without one.
    pub probe_loss: Option<f64>,
    /// Learning rate at the last step.
    pub learning_rate: f64,
    /// Images seen.
    pub images: usize,
    /// Means of the values that `Monitor` measures, by name.
    pub monitors: BTreeMap<String, f64>,
}

/// The results of training, besides the variables of method and probe.
pub struct Trained {
    /// All epochs, in order.
    pub curve: Vec<Epoch>,
    /// Positions that were never seen because their image could not be read, ascending.
    pub skipped: Vec<usize>,
}

/// Trains `method` (and its online `probe`) on the batches of `loader`. After each epoch, computes the rank of the
/// embeddings of `sample`'s images. Resumes from the state `from`, if given; on the CPU, the result is bit-identical
/// to that of an uninterrupted run.
///
/// # Errors
/// If an image cannot be read, a loss is not finite, a variable gets no gradient, the state belongs to another model,
/// or `progress` fails.
pub fn pretrain(
    method: &dyn Method,
    mut probe: Option<&mut OnlineProbe>,
    loader: &Loader,
    sample: &Loader,
    optimisation: &Optimisation,
    from: Option<&State>,
    mut progress: impl FnMut(Progress) -> Result<()>,
) -> Result<Trained> {
    let steps = loader.steps();
    let schedule = LearningRate::solo_learn(
        steps * optimisation.epochs,
        (optimisation.warm_up_epochs * steps as f64).round() as usize,
        optimisation.warm_up_start,
        optimisation.end,
    );
    let mut optimiser = Optimiser::new(optimisation.rule, groups(method, optimisation))?;
    let tally = match from {
        Some(state) => state
            .restore(method, probe.as_deref_mut(), &mut optimiser)
            .context("the saved state does not fit this model")?,
        None => Tally::default(),
    };

    let mut training = Training { method, probe, optimiser, schedule, optimisation, steps, tally };
    let _kept = KeptUploads::new(loader.device);
    for epoch in training.tally.curve.len()..optimisation.epochs {
        loader
            .rest_of_epoch(epoch, training.tally.step, |batch| training.step(epoch, batch, &mut progress))?;
        let summary = training.close(epoch, sample)?;
        progress(Progress::Epoch { epoch: &summary, state: &|| training.state() })?;
    }
    let Tally { curve, skipped, .. } = training.tally;
    Ok(Trained { curve, skipped: skipped.into_iter().collect() })
}

/// The state of training between two steps.
struct Training<'a> {
    method: &'a dyn Method,
    probe: Option<&'a mut OnlineProbe>,
    optimiser: Optimiser,
    schedule: LearningRate,
    optimisation: &'a Optimisation,
    /// Steps per epoch.
    steps: usize,
    tally: Tally,
}

impl Training<'_> {
    /// Runs one step on one batch.
    fn step(
        &mut self,
        epoch: usize,
        batch: Batch,
        progress: &mut impl FnMut(Progress) -> Result<()>,
    ) -> Result<()> {
        progress(Progress::Part(Part::Data))?;
        let (method, epochs) = (self.method, self.optimisation.epochs);
        let at = Position {
            step: epoch * self.steps + self.tally.step,
            steps: self.steps * epochs,
            epoch,
            epochs,
        };
        let rate = |base| self.schedule.at(at.step, base);

        let output = method.step(&batch, at)?;
        let gradients = backward(&output.loss)?;
        // Waits for a GPU here, once all work before the update is queued.
        let loss = f64::from(output.loss.to_scalar::<f32>()?);
        ensure!(
            loss.is_finite(),
            "loss is {loss} at epoch {}, step {}; a lower learning rate may help",
            epoch + 1,
            self.tally.step + 1
        );
        self.optimiser.step_all_but(|name| method.is_frozen(name, at), &gradients, rate)?;
        method.after_step(at)?;
        if let Some(probe) = self.probe.as_deref_mut() {
            let labels = batch.labels.repeat(batch.views)?;
            self.tally.probe_loss += probe.step(&output.features, &labels, rate)?;
        }

        progress(Progress::Part(Part::Update))?;
        self.tally.monitor.add_step(&output, batch.views)?;

        self.tally.loss += loss;
        self.tally.images += batch.indices.len();
        self.tally.skipped.extend(batch.skipped);
        self.tally.step += 1;
        let (step, steps, images) = (self.tally.step, self.steps, batch.indices.len());
        progress(Progress::Step { epoch, step, steps, images, loss, state: &|| self.state() })
    }

    /// Ends an epoch: computes means over its steps, and the rank of the embeddings of `sample`.
    fn close(&mut self, epoch: usize, sample: &Loader) -> Result<Epoch> {
        let mut monitor = std::mem::take(&mut self.tally.monitor);
        monitor.add_sample(self.method, sample)?;
        let Tally { step, loss, probe_loss, images, .. } = self.tally;
        let summary = Epoch {
            epoch,
            loss: loss / step as f64,
            probe_loss: self.probe.is_some().then_some(probe_loss / step as f64),
            learning_rate: self.schedule.at(epoch * self.steps + step - 1, self.optimisation.learning_rate),
            images,
            monitors: monitor.means()?,
        };
        self.tally.close(summary.clone());
        Ok(summary)
    }

    /// Copies everything that the next step depends on.
    fn state(&self) -> Result<State> {
        State::capture(self.method, self.probe.as_deref(), &self.optimiser, &self.tally)
    }
}

/// Groups the trainable variables of a method by how the optimisation treats them.
pub fn groups(method: &dyn Method, optimisation: &Optimisation) -> Vec<Group> {
    let Optimisation { learning_rate, weight_decay, clip, .. } = *optimisation;
    let trainable = method.parameters().trainable();
    let mut groups: Vec<Group> = match optimisation.decayed {
        Decayed::Everything => vec![Group::uniform(trainable, learning_rate, weight_decay)],
        Decayed::Weights => Group::by_kind(trainable, learning_rate, weight_decay).into(),
    };
    groups.iter_mut().for_each(|group| group.clip = clip);
    groups
}

#[cfg(test)]
mod tests {
    mod skipped;

    use std::sync::Mutex;

    use candle_core::{DType, Device, Tensor, Var};

    use super::*;
    use crate::{
        augment::{Normalisation, ViewRecipe},
        backbone::{Backbone, Initialise, Parameters, Role, pixels::Pixels},
        data::{OnBadImage, Source, synthetic},
        loader::Sampling,
        method::Step,
        seed::Seed,
    };

    /// A method with a single weight, which is also its loss: the gradient is 1, and each step lowers the weight by
    /// the learning rate.
    struct Falling {
        parameters: Parameters,
        weight: Var,
        /// Number of epochs, from the first, in which the weight is frozen.
        frozen_epochs: usize,
        /// The weight before and after each update.
        seen: Mutex<Vec<(f32, f32)>>,
        /// Where each step and each call after a step was: its step of all, and its epoch of all.
        places: Mutex<Vec<[usize; 4]>>,
    }

    impl Falling {
        fn new() -> Self {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
            let weight = builder.variable("weight", 1, Initialise::Constant(0.0), Role::Weight).unwrap();
            let (seen, places) = Default::default();
            Self { parameters, weight, frozen_epochs: 0, seen, places }
        }

        fn note(&self, Position { step, steps, epoch, epochs }: Position) {
            self.places.lock().unwrap().push([step, steps, epoch, epochs]);
        }

        fn now(&self) -> candle_core::Result<f32> {
            Ok(self.weight.to_vec1::<f32>()?[0])
        }
    }

    impl Method for Falling {
        fn step(&self, batch: &Batch, at: Position) -> candle_core::Result<Step> {
            self.note(at);
            self.seen.lock().unwrap().push((self.now()?, f32::NAN));
            let features = Pixels.embed(&batch.images, crate::backbone::Mode::Train)?;
            let loss = Tensor::sum_all(&self.weight)?;
            Ok(Step { loss, features, embeddings: None, parts: Vec::new() })
        }

        fn is_frozen(&self, variable: &str, at: Position) -> bool {
            assert_eq!(variable, "weight");
            at.epoch < self.frozen_epochs
        }

        fn after_step(&self, at: Position) -> candle_core::Result<()> {
            self.note(at);
            let mut seen = self.seen.lock().unwrap();
            let after = &mut seen.last_mut().expect("a step before").1;
            assert!(after.is_nan(), "a step is followed once");
            *after = self.now()?;
            Ok(())
        }

        fn encoder(&self) -> &dyn Backbone {
            &Pixels
        }

        fn parameters(&self) -> &Parameters {
            &self.parameters
        }
    }

    /// Loads four images at a time.
    fn by_fours<'a>(source: &'a Source, indices: &'a [usize], views: &'a [ViewRecipe]) -> Loader<'a> {
        Loader {
            dataset: &*source.train,
            indices,
            views,
            normalisation: &Normalisation::SEWER_ML,
            sampling: Sampling::Each,
            repeats: 1,
            batch_size: 4,
            on_bad_image: OnBadImage::Fail,
            device: &Device::Cpu,
            dtype: DType::F32,
            seed: Seed::root(0),
        }
    }

    /// Trains for two epochs of four steps, with four images in each step.
    fn fall(learning_rate: f64) -> (Falling, Result<Trained>) {
        let (source, whole) = (synthetic::source(Seed::root(0), 16, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..16).collect();
        let loader = by_fours(&source, &indices, &whole);
        let optimisation = Optimisation {
            rule: Rule::Sgd { momentum: 0.0 },
            learning_rate,
            weight_decay: 0.0,
            decayed: Decayed::Everything,
            clip: None,
            warm_up_epochs: 0.5,
            warm_up_start: 0.1,
            end: 0.0,
            epochs: 2,
        };
        let method = Falling::new();
        let trained = pretrain(&method, None, &loader, &loader, &optimisation, None, |_| Ok(()));
        (method, trained)
    }

    #[test]
    fn every_step_has_the_rate_of_its_place_and_is_followed_after_it() {
        // By hand: eight steps, two of warm-up from 0.1 to 1, then 1, (1 + cos 30) / 2, (1 + cos 60) / 2, ...
        let root = |degrees: f64| (1.0 + degrees.to_radians().cos()) / 2.0;
        let rates = [0.1, 1.0, 1.0, root(30.0), 0.75, 0.5, 0.25, root(150.0)];
        let (method, trained) = fall(1.0);
        let trained = trained.unwrap();
        let seen = method.seen.lock().unwrap();
        assert_eq!((seen.len(), trained.curve.len()), (rates.len(), 2));
        let mut weight = 0.0;
        for (step, (&(before, after), rate)) in seen.iter().zip(rates).enumerate() {
            assert!(
                (f64::from(before) - weight).abs() < 1e-5,
                "step {step}: {before} before, {weight} expected"
            );
            weight -= rate;
            assert!(
                (f64::from(after) - weight).abs() < 1e-5,
                "step {step}: {after} after, {weight} expected"
            );
        }
        for (epoch, rate) in trained.curve.iter().zip([rates[3], rates[7]]) {
            assert!((epoch.learning_rate - rate).abs() < 1e-12, "the last step's: {epoch:?}");
            let losses = seen[4 * epoch.epoch..][..4].iter().map(|&(before, _)| f64::from(before));
            let mean = losses.sum::<f64>() / 4.0;
            assert!((epoch.loss - mean).abs() < 1e-6, "{mean} is the mean of its four steps: {epoch:?}");
            assert_eq!((epoch.images, epoch.probe_loss), (16, None));
            // Sixteen images of 8 x 8 pixels in three colours.
            let monitors = ["rankme_images", "rankme_bound"].map(|name| epoch.monitors[name]);
            assert_eq!(monitors, [16.0, 16.0], "no rank is above the number of images");
        }
    }

    /// In units of 1e38, the rates add up to 3.03 in the first epoch and to 3.78 one step later: beyond the largest
    /// f32, 3.4e38.
    #[test]
    fn a_loss_that_is_not_finite_is_named_by_its_place() {
        let error = format!("{:#}", fall(1e38).1.err().unwrap());
        assert!(error.contains("loss is -inf at epoch 2, step 2; a lower learning rate may help"), "{error}");
    }

    #[test]
    fn clipping_holds_for_all_that_is_trained() {
        let mut method = Falling::new();
        let mut builder = method.parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        for (name, kind) in [("bias", Role::Bias), ("norm", Role::Norm)] {
            builder.variable(name, 1, Initialise::Constant(0.0), kind).unwrap();
        }
        let optimisation = |decayed| Optimisation {
            rule: Rule::ADAMW,
            learning_rate: 1.0,
            weight_decay: 0.125,
            decayed,
            clip: Some(0.5),
            warm_up_epochs: 0.0,
            warm_up_start: 0.0,
            end: 0.0,
            epochs: 1,
        };
        let of = |decayed| groups(&method, &optimisation(decayed));
        let sizes = |groups: &[Group]| {
            groups.iter().map(|group| (group.parameters.len(), group.weight_decay)).collect::<Vec<_>>()
        };
        let (all, apart) = (of(Decayed::Everything), of(Decayed::Weights));
        assert_eq!((sizes(&all), sizes(&apart)), (vec![(3, 0.125)], vec![(1, 0.125), (2, 0.0)]));
        assert!(all.iter().chain(&apart).all(|group| group.clip == Some(0.5)));
    }

    #[test]
    fn a_loss_that_is_not_finite_is_told_with_its_place() {
        let (source, whole) = (synthetic::source(Seed::root(0), 8, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..8).collect();
        let loader = by_fours(&source, &indices, &whole);
        let optimisation = Optimisation {
            rule: Rule::Sgd { momentum: 0.0 },
            learning_rate: 1.0,
            weight_decay: 0.0,
            decayed: Decayed::Everything,
            clip: None,
            warm_up_epochs: 0.0,
            warm_up_start: 0.0,
            end: 0.0,
            epochs: 2,
        };
        let method = Falling::new();
        // Sets the weight to NaN after the first step of the second epoch.
        let spoil = |progress: Progress| {
            if matches!(progress, Progress::Step { epoch: 1, step: 1, .. }) {
                method.weight.set(&Tensor::new(&[f32::NAN], &Device::Cpu)?)?;
            }
            Ok(())
        };
        let error = pretrain(&method, None, &loader, &loader, &optimisation, None, spoil).err().unwrap();
        assert!(error.to_string().starts_with("loss is NaN at epoch 2, step 2;"), "{error}");
    }
    /// Plain SGD with a constant learning rate of 1.
    fn even(epochs: usize) -> Optimisation {
        Optimisation {
            rule: Rule::Sgd { momentum: 0.0 },
            learning_rate: 1.0,
            weight_decay: 0.0,
            decayed: Decayed::Everything,
            clip: None,
            warm_up_epochs: 0.0,
            warm_up_start: 0.0,
            end: 1.0,
            epochs,
        }
    }

    /// Eleven images make two batches of four in each epoch; the loss falls by 1 in each step.
    #[test]
    fn progress_tells_every_part_step_and_epoch() {
        let (source, views) = (synthetic::source(Seed::root(4), 11, 4, 8), [ViewRecipe::full_frame(8); 2]);
        let indices: Vec<usize> = (0..11).collect();
        let loader = by_fours(&source, &indices, &views);
        let mut told = Vec::new();
        let listen = |progress: Progress| {
            told.push(match progress {
                Progress::Part(part) => format!("{part:?}"),
                Progress::Step { epoch, step, steps, images, loss, state } => {
                    let state = state()?;
                    let (at, seen) = (state.position()?, state.images()?);
                    format!(
                        "epoch {epoch}, step {step} of {steps}: {images} images, loss {loss}; {at:?}, {seen}"
                    )
                }
                Progress::Epoch { epoch: Epoch { epoch, images, loss, .. }, state } => {
                    format!("epoch {epoch}: {images} images, loss {loss}; {:?}", state()?.position()?)
                }
            });
            Ok(())
        };
        pretrain(&Falling::new(), None, &loader, &loader, &even(2), None, listen).unwrap();
        let expected = [
            "Data",
            "Update",
            "epoch 0, step 1 of 2: 4 images, loss 0; (0, 1), 4",
            "Data",
            "Update",
            "epoch 0, step 2 of 2: 4 images, loss -1; (0, 2), 8",
            "epoch 0: 8 images, loss -0.5; (1, 0)",
            "Data",
            "Update",
            "epoch 1, step 1 of 2: 4 images, loss -2; (1, 1), 12",
            "Data",
            "Update",
            "epoch 1, step 2 of 2: 4 images, loss -3; (1, 2), 16",
            "epoch 1: 8 images, loss -2.5; (2, 0)",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_method_freezes_does_not_move() {
        let (source, whole) = (synthetic::source(Seed::root(4), 8, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..8).collect();
        let loader = by_fours(&source, &indices, &whole);
        let method = Falling { frozen_epochs: 2, ..Falling::new() };
        pretrain(&method, None, &loader, &loader, &even(3), None, |_| Ok(())).unwrap();
        let after: Vec<f32> = method.seen.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(after, [0.0, 0.0, 0.0, 0.0, -1.0, -2.0]);
    }

    /// Half of three steps is rounded to two steps of warm-up; the second has the full rate, and so has the third.
    #[test]
    fn a_part_of_a_step_of_warm_up_is_rounded() {
        let (source, whole) = (synthetic::source(Seed::root(4), 12, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..12).collect();
        let loader = by_fours(&source, &indices, &whole);
        let optimisation = Optimisation { warm_up_epochs: 0.5, warm_up_start: 0.25, end: 0.0, ..even(1) };
        let method = Falling::new();
        pretrain(&method, None, &loader, &loader, &optimisation, None, |_| Ok(())).unwrap();
        let after: Vec<f32> = method.seen.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(after, [-0.25, -1.25, -2.25]);
    }

    fn probe(seed: u64) -> OnlineProbe {
        let rule = Rule::Sgd { momentum: 0.9 };
        OnlineProbe::new(Pixels.width(), rule, 1.0, 3.0, Seed::root(seed), &Device::Cpu).unwrap()
    }

    fn numbers(parameters: &Parameters) -> Vec<Vec<f32>> {
        let of = |parameter: &crate::backbone::Parameter| {
            parameter.variable.flatten_all().unwrap().to_vec1().unwrap()
        };
        parameters.all().iter().map(of).collect()
    }

    /// The result is that of a probe trained by hand on both views of every batch, with the labels of its images.
    #[test]
    fn the_online_probe_learns_from_every_view() {
        let (source, views) =
            (synthetic::source(Seed::root(4), 8, 4, 8), [ViewRecipe::cropped(8, (0.2, 0.9)); 2]);
        let indices: Vec<usize> = (0..8).collect();
        let loader = by_fours(&source, &indices, &views);
        let (mut probe_of_training, mut by_hand) = (probe(7), probe(7));
        let method = Falling::new();
        let trained =
            pretrain(&method, Some(&mut probe_of_training), &loader, &loader, &even(2), None, |_| Ok(()))
                .unwrap();
        for epoch in 0..2 {
            let mut losses = Vec::new();
            let step = |batch: Batch| {
                let features = Pixels.embed(&batch.images, crate::backbone::Mode::Train)?;
                losses.push(by_hand.step(&features, &batch.labels.repeat(2)?, |base| base)?);
                Ok(())
            };
            loader.epoch(epoch, step).unwrap();
            assert_ne!(losses[0], losses[1]);
            assert_eq!(trained.curve[epoch].probe_loss, Some((losses[0] + losses[1]) / 2.0), "epoch {epoch}");
        }
        assert_eq!(numbers(probe_of_training.parameters()), numbers(by_hand.parameters()));
    }

    #[test]
    fn training_goes_on_from_every_state_that_it_offered() {
        let (source, whole) = (synthetic::source(Seed::root(4), 12, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..12).collect();
        let loader = by_fours(&source, &indices, &whole);
        let rule = Rule::Sgd { momentum: 0.5 };
        let optimisation =
            Optimisation { rule, warm_up_epochs: 1.0, warm_up_start: 0.25, end: 0.0, ..even(2) };
        let run = |seed: u64, from: Option<&State>, offered: &mut Vec<State>| {
            let (method, mut probe) = (Falling::new(), probe(seed));
            let keep = |progress: Progress| {
                if let Progress::Step { state, .. } | Progress::Epoch { state, .. } = progress {
                    offered.push(state()?);
                }
                Ok(())
            };
            let trained =
                pretrain(&method, Some(&mut probe), &loader, &loader, &optimisation, from, keep).unwrap();
            (trained.curve, numbers(&method.parameters), numbers(probe.parameters()))
        };
        let mut states = Vec::new();
        let whole = run(3, None, &mut states);
        // Three steps and the end of an epoch, twice.
        assert_eq!(states.len(), 8);
        for (place, state) in states.iter().enumerate() {
            // A probe with other initial weights, which resuming has to overwrite.
            assert_eq!(run(9, Some(state), &mut Vec::new()), whole, "state {place}");
        }
    }

    /// A method's constants may depend on the step among all steps, and on the epoch among all epochs.
    #[test]
    fn a_method_is_told_where_each_step_is() {
        let (source, views) = (synthetic::source(Seed::root(4), 12, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..12).collect();
        let loader = by_fours(&source, &indices, &views);
        let mut states = Vec::new();
        let expected: Vec<[usize; 4]> = (0..6).flat_map(|step| [[step, 6, step / 3, 2]; 2]).collect();
        let method = Falling::new();
        let keep = |progress: Progress| {
            if let Progress::Step { state, .. } = progress {
                states.push(state()?);
            }
            Ok(())
        };
        pretrain(&method, None, &loader, &loader, &even(2), None, keep).unwrap();
        assert_eq!(*method.places.lock().unwrap(), expected);
        for (place, state) in states.iter().enumerate() {
            let method = Falling::new();
            pretrain(&method, None, &loader, &loader, &even(2), Some(state), |_| Ok(())).unwrap();
            assert_eq!(*method.places.lock().unwrap(), expected[2 * (place + 1)..], "from step {place}");
        }
    }

    /// Training ends at once with the error of whoever listens, at whatever it is told.
    #[test]
    fn an_error_of_the_listener_ends_training() {
        let (source, views) = (synthetic::source(Seed::root(4), 8, 4, 8), [ViewRecipe::full_frame(8)]);
        let indices: Vec<usize> = (0..8).collect();
        let loader = by_fours(&source, &indices, &views);
        // Two epochs of two steps: data, update and the step itself, then the epoch.
        for last in 0..14 {
            let mut told = 0;
            let listen = |_: Progress| {
                told += 1;
                ensure!(told <= last, "stopped at {last}");
                Ok(())
            };
            let error =
                pretrain(&Falling::new(), None, &loader, &loader, &even(2), None, listen).err().unwrap();
            assert_eq!((format!("{error:#}"), told), (format!("stopped at {last}"), last + 1));
        }
    }
}
