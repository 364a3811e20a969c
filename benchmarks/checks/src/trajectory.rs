//! Ten training steps of a method from weights, images and masks defined by [`crate::formula`]: another library
//! computes the same ones, and only final numbers are exchanged.
//!
//! PyTorch's are recorded in `fixtures/torch/trajectories.json` ([`crate::recorded`]); the setting is described in
//! `fixtures/torch/README.md`. Optimisation and losses are those that the paper's authors released.

use std::{collections::BTreeMap, sync::Arc};

use skewbench::{
    backbone::{
        self, Architecture, Parameter, Parameters, Role, Stem, VitSize,
        heads::{DecoderSize, Heads},
    },
    candle_core::{DType, Device, Result, Tensor, backprop::GradStore, bail},
    experiment::{Recipe, Scale, recipe},
    loader::Batch,
    method::{
        self, Foundation, Method, Objective, Position, Step,
        dino::{Distillation, TeacherTemperature},
        mae::{Mae, Reconstruction, Supervision},
    },
    seed::Seed,
    tensor::backward,
    train::{Decayed, groups, optimiser::Optimiser},
};

use crate::formula::{around, hash, unit};

/// Number of steps, as recorded, over two epochs.
pub const STEPS: usize = 10;
pub const STEPS_AN_EPOCH: usize = 5;
pub const IMAGES: usize = 8;
pub const SIDE: usize = 64;
const PATCHES: usize = 16;
const DEFECT_WEIGHT: f64 = 3.0;
pub const HEADS: Heads = Heads {
    hidden: 256,
    output: 64,
    prototypes: 512,
    decoder: DecoderSize { width: 96, depth: 2, heads: 3 },
};

/// Sets every variable to the formula's initial values; buffers are unchanged.
fn fill(parameters: &Parameters) -> Result<()> {
    for parameter in parameters.trainable() {
        let (name, variable) = (parameter.name.as_str(), &parameter.variable);
        let key = hash(name);
        let fan = variable.elem_count() / variable.dims()[0];
        let is_token = ["cls_token", "pos_embed", "head.mask_token"].contains(&name);
        let value = |n: usize| match parameter.kind {
            Role::Norm if name.ends_with("weight") => 1.0 + 0.1 * around(key, n),
            Role::Norm | Role::Bias => 0.1 * around(key, n),
            _ if is_token => 0.05 * around(key, n),
            _ => (3.0 / fan as f64).sqrt() * around(key, n),
        };
        let values: Vec<f64> = (0..variable.elem_count()).map(value).collect();
        let tensor = Tensor::from_vec(values, variable.shape(), &Device::Cpu)?.to_dtype(variable.dtype())?;
        variable.set(&tensor.to_device(variable.device())?)?;
    }
    Ok(())
}

/// Returns the batch of a step.
fn batch(step: usize, views: usize, numbers: DType, device: &Device) -> Result<Batch> {
    let shared = hash(&format!("image.{step}"));
    let count = IMAGES * SIDE * SIDE * 3;
    let mut pixels = Vec::with_capacity(views * count);
    for view in 0..views {
        let own = hash(&format!("view.{step}.{view}"));
        pixels.extend((0..count).map(|n| 1.5 * around(shared, n) + 0.5 * around(own, n)));
    }
    let images =
        Tensor::from_vec(pixels, (views * IMAGES, SIDE, SIDE, 3), &Device::Cpu)?.to_dtype(numbers)?;
    let labels: Vec<f32> = (0..IMAGES).map(|image| f32::from(u8::from(image % 4 == 0))).collect();
    let (images, labels) = (images.to_device(device)?, Tensor::new(labels, device)?);
    Ok(Batch { images, labels, views, indices: (0..IMAGES).collect(), skipped: Vec::new() })
}

fn masks(step: usize) -> Vec<Vec<f64>> {
    let key = hash(&format!("mask.{step}"));
    (0..IMAGES).map(|image| (0..PATCHES).map(|patch| unit(key, PATCHES * image + patch)).collect()).collect()
}

/// A method on a backbone, with the head that its cells have at full scale; or DINO with a batch-normalised head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub method: method::Name,
    pub backbone: backbone::Name,
    pub head_norm: bool,
}

/// Returns every defined pair; and DINO on ResNet-18 with the head of our small scales and of lightly.
pub fn cases() -> Vec<Case> {
    let pairs = crate::pairs().into_iter();
    let plain = pairs.map(|(method, backbone)| Case { method, backbone, head_norm: false });
    let normalised = Case { method: method::Name::Dino, backbone: backbone::Name::ResNet18, head_norm: true };
    plain.chain([normalised]).collect()
}

impl Case {
    /// Returns the method's name in the fixture.
    pub fn id(self) -> String {
        format!("{}{}", self.method, if self.head_norm { "_head_norm" } else { "" })
    }

    /// Returns the name for messages and results.
    pub fn name(self) -> String {
        format!("{} {}", self.id(), self.backbone)
    }

    /// Returns the released recipe, simplified for the comparison: DINO's temperature is constant, MAE's encoder
    /// has as many heads as timm's, and its optimiser is that of its own authors.
    pub fn recipe(self) -> Recipe {
        let of = |name| Recipe::for_method(name, self.method, self.backbone);
        let released = of(recipe::Name::AsReleased);
        match self.method {
            method::Name::Dino => Recipe { objective: Arc::new(self.distillation()), ..released },
            method::Name::Mae => Recipe {
                objective: Arc::new(MAE),
                rule: of(recipe::Name::Reference).rule,
                decayed: Decayed::Weights,
                ..released
            },
            _ => released,
        }
    }

    fn distillation(self) -> Distillation {
        Distillation {
            teacher_temperature: TeacherTemperature { start: 0.04, end: 0.04, warm_up: 0.0 },
            head_norm: self.head_norm,
            ..Recipe::distillation(recipe::Name::AsReleased, self.backbone)
        }
    }
}

const MAE: Reconstruction = Reconstruction {
    visible: 0.25,
    normalise_pixels: true,
    encoder_heads: None,
    supervision: Supervision::All,
};

/// A method; or MAE, which gets its masks as arguments.
enum Model {
    Any(Box<dyn Method>),
    Mae(Box<Mae>),
}

impl Model {
    fn method(&self) -> &dyn Method {
        match self {
            Self::Any(method) => &**method,
            Self::Mae(mae) => &**mae,
        }
    }

    fn step(&self, batch: &Batch, at: Position) -> Result<Step> {
        match self {
            Self::Any(method) => method.step(batch, at),
            Self::Mae(mae) => mae.step_with_noise(&batch.images, batch.views, &masks(at.step)),
        }
    }
}

/// The result of the steps.
pub struct Trajectory {
    pub losses: Vec<f64>,
    /// Norms of the first step's gradients, by variable.
    pub gradients: BTreeMap<String, f64>,
    model: Model,
}

impl Trajectory {
    /// Returns the method after the last step.
    pub fn method(&self) -> &dyn Method {
        self.model.method()
    }
}

/// Returns the root mean square of the losses' relative deviations from others, over as many as both have.
pub fn drift(losses: &[f64], from: &[f64]) -> f64 {
    let squares = losses.iter().zip(from).map(|(loss, from)| (loss / from - 1.0).powi(2));
    (squares.sum::<f64>() / losses.len() as f64).sqrt()
}

/// Returns the Euclidean norm.
pub fn length(tensor: &Tensor) -> Result<f64> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.to_scalar()
}

fn lengths(parameters: &Parameters, gradients: &GradStore) -> Result<BTreeMap<String, f64>> {
    let of = |parameter: &Parameter| {
        let Some(gradient) = gradients.get(parameter.variable.as_tensor()) else {
            bail!("{}: no gradient", parameter.name)
        };
        Ok((parameter.name.clone(), length(gradient)?))
    };
    parameters.trainable().map(of).collect()
}

/// Number types of a trajectory: device, weights' type, and images' type (bf16: mixed precision).
pub struct Numbers<'a> {
    pub device: &'a Device,
    pub weights: DType,
    pub images: DType,
}

/// Runs the first `steps` of the [`STEPS`] training steps.
///
/// # Errors
/// If the method is undefined on the backbone.
pub fn run_steps(case: Case, numbers: &Numbers, steps: usize) -> Result<Trajectory> {
    let &Numbers { device, images, .. } = numbers;
    let recipe = case.recipe();
    let model = first(case, &*recipe.objective, numbers)?;
    let parameters = model.method().parameters();
    let mut optimiser = optimiser(&recipe, model.method())?;
    let (mut losses, mut lengths_of_first) = (Vec::new(), BTreeMap::new());
    for step in 0..steps.min(STEPS) {
        let (epoch, epochs) = (step / STEPS_AN_EPOCH, STEPS / STEPS_AN_EPOCH);
        let at = Position { step, steps: STEPS, epoch, epochs };
        let output = model.step(&batch(step, recipe.objective.views(), images, device)?, at)?;
        losses.push(output.loss.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?);
        let gradients = backward(&output.loss)?;
        if step == 0 {
            lengths_of_first = lengths(parameters, &gradients)?;
        }
        optimiser.step_all_but(|name| model.method().is_frozen(name, at), &gradients, |base| base)?;
        model.method().after_step(at)?;
    }
    Ok(Trajectory { losses, gradients: lengths_of_first, model })
}

/// Returns the model with its initial values.
fn first(case: Case, objective: &dyn Objective, numbers: &Numbers) -> Result<Model> {
    let architecture = Architecture {
        name: case.backbone,
        resnet_width: 64,
        resnet_stem: Stem::ImageNet,
        vit: VitSize::TINY,
        side: SIDE,
    };
    let foundation = Foundation {
        architecture,
        heads: HEADS,
        defect_weight: DEFECT_WEIGHT,
        seed: Some(Seed::root(0)),
        dtype: numbers.weights,
        device: numbers.device,
    };
    let model = match case.method {
        method::Name::Mae => Model::Mae(Box::new(Mae::new(MAE, &foundation)?)),
        _ => Model::Any(objective.build(&foundation)?),
    };
    let parameters = model.method().parameters();
    fill(parameters)?;
    if let Some(teacher) = model.method().teacher() {
        for follower in teacher.trainable() {
            let Some(student) = parameters.get(&follower.name) else {
                bail!("{}: of the teacher only", follower.name)
            };
            follower.variable.set(&student.variable.as_detached_tensor())?;
        }
    }
    Ok(model)
}

/// Returns the recipe's optimiser at unscaled rates: for a batch of 256 images.
fn optimiser(recipe: &Recipe, method: &dyn Method) -> Result<Optimiser> {
    let scale = Scale { batch_size: recipe::BATCH, ..Scale::full() };
    Optimiser::new(recipe.rule, groups(method, &recipe.optimisation(&scale)))
}
