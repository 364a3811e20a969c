//! Ten training steps of a method from weights, images and masks that a formula gives: another library makes the same ones, and
//! nothing but numbers of the end is carried from one to the other.
//!
//! PyTorch's are recorded in `fixtures/torch/trajectories.json`; formula and setting stand in `fixtures/torch/README.md`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, backprop::GradStore};

use crate::{
    backbone::{
        self, Architecture, Parameter, Parameters, Role, Stem, VitSize,
        heads::{DecoderSize, Heads},
    },
    loader::Batch,
    method::{
        self, Foundation, Method, Objective, Position, Step,
        barlow_twins::Decorrelation,
        byol::Bootstrap,
        dino::{Distillation, TeacherTemperature},
        mae::{Mae, Reconstruction, Supervision},
        simclr::Contrast,
        supervised::OnLabels,
        teacher::Momentum,
    },
    seed::Seed,
    tensor::backward,
    train::optimiser::{Group, Optimiser, Rule, Trust},
};

/// As many as are recorded.
pub const STEPS: usize = 10;
const IMAGES: usize = 8;
const SIDE: usize = 64;
const PATCHES: usize = 16;

/// splitmix64 over the [`hash`] of a name: uniform in [0, 1).
pub fn unit(hash: u64, n: usize) -> f64 {
    let mut z = hash.wrapping_add((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a of a name.
pub fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Uniform in [-1, 1).
fn around(hash: u64, n: usize) -> f64 {
    2.0 * unit(hash, n) - 1.0
}

/// Gives every variable the formula's first values; buffers keep theirs.
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

/// The batch of a step.
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

const MOMENTUM: Momentum = Momentum { start: 0.996, end: 0.999 };
const MAE: Reconstruction = Reconstruction {
    visible: 0.25,
    normalise_pixels: true,
    encoder_heads: None,
    supervision: Supervision::All,
};

/// A method with the head that its cells have at full scale, or DINO with a batch-normalised one.
#[derive(Clone, Copy)]
pub struct Case {
    pub method: method::Name,
    pub head_norm: bool,
}

impl Case {
    pub fn plain(method: method::Name) -> Self {
        Self { method, head_norm: false }
    }

    /// Its name in the fixture.
    pub fn id(self) -> String {
        format!("{}{}", self.method, if self.head_norm { "_head_norm" } else { "" })
    }
}

fn objective(case: Case) -> Result<Box<dyn Objective>> {
    Ok(match case.method {
        method::Name::Supervised => Box::new(OnLabels),
        method::Name::SimClr => Box::new(Contrast { temperature: 0.2 }),
        method::Name::Byol => Box::new(Bootstrap { momentum: MOMENTUM }),
        method::Name::BarlowTwins => Box::new(Decorrelation { off_diagonal_weight: 0.0051, scale: 0.024 }),
        method::Name::Dino => Box::new(Distillation {
            momentum: MOMENTUM,
            student_temperature: 0.1,
            teacher_temperature: TeacherTemperature { start: 0.04, end: 0.04, warm_up: 0.0 },
            centre_momentum: 0.9,
            head_norm: case.head_norm,
            frozen_epochs: 1,
        }),
        method::Name::Mae => Box::new(MAE),
        other => candle_core::bail!("{other}: PyTorch's steps were not recorded"),
    })
}

fn optimiser(method: method::Name, parameters: &Parameters) -> Result<Optimiser> {
    let lars = Rule::Lars { momentum: 0.9, trust: Trust::SumOfNorms { coefficient: 1e-3, clip: false } };
    let trainable = || parameters.trainable();
    let (rule, groups) = match method {
        method::Name::Supervised => (Rule::ADAMW, vec![Group::uniform(trainable(), 5e-4, 1e-4)]),
        method::Name::Dino => {
            (Rule::ADAMW, vec![Group { clip: Some(1.0), ..Group::uniform(trainable(), 5e-4, 1e-4) }])
        }
        method::Name::Mae => (
            Rule::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 },
            Group::by_kind(trainable(), 1e-3, 0.05).into(),
        ),
        method::Name::SimClr => (lars, Group::by_kind(trainable(), 0.3, 1e-6).into()),
        method::Name::Byol | method::Name::BarlowTwins => {
            (lars, Group::by_kind(trainable(), 0.2, 1.5e-6).into())
        }
        other => candle_core::bail!("{other}: PyTorch's steps were not recorded"),
    };
    Optimiser::new(rule, groups)
}

/// MAE is told its masks.
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
            Self::Mae(mae) => mae.step_with(&batch.images, batch.views, &masks(at.step)),
        }
    }
}

/// What steps leave.
pub struct Trajectory {
    pub losses: Vec<f64>,
    /// Lengths of the first step's gradients, by variable.
    pub gradients: BTreeMap<String, f64>,
    model: Model,
}

impl Trajectory {
    /// The method after the last step.
    pub fn method(&self) -> &dyn Method {
        self.model.method()
    }
}

/// Root mean square of how far losses are from others (as far as there are any), each relative to the other.
pub fn drift(losses: &[f64], from: &[f64]) -> f64 {
    let squares = losses.iter().zip(from).map(|(loss, from)| (loss / from - 1.0).powi(2));
    (squares.sum::<f64>() / losses.len() as f64).sqrt()
}

/// Euclidean length.
pub fn length(tensor: &Tensor) -> Result<f64> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.to_scalar()
}

fn lengths(parameters: &Parameters, gradients: &GradStore) -> Result<BTreeMap<String, f64>> {
    let of = |parameter: &Parameter| {
        let Some(gradient) = gradients.get(parameter.variable.as_tensor()) else {
            candle_core::bail!("{}: no gradient", parameter.name)
        };
        Ok((parameter.name.clone(), length(gradient)?))
    };
    parameters.trainable().map(of).collect()
}

/// Numbers of a trajectory: where they lie, weights' type, and images' type (bf16: mixed precision).
pub struct Numbers<'a> {
    pub device: &'a Device,
    pub weights: DType,
    pub images: DType,
}

/// The first `steps` of [`STEPS`].
///
/// # Errors
/// If the method is undefined on the backbone.
pub fn follow(case: Case, backbone: backbone::Name, numbers: &Numbers, steps: usize) -> Result<Trajectory> {
    let &Numbers { device, weights: dtype, images } = numbers;
    let method = case.method;
    let architecture = Architecture {
        name: backbone,
        resnet_width: 64,
        resnet_stem: Stem::ImageNet,
        vit: VitSize::TINY,
        side: SIDE,
    };
    let decoder = DecoderSize { width: 96, depth: 2, heads: 3 };
    let heads = Heads { hidden: 256, output: 64, prototypes: 512, decoder };
    let seed = Seed::root(0);
    let foundation = Foundation { architecture, heads, defect_weight: 3.0, seed, dtype, device };
    let model = match method {
        method::Name::Mae => Model::Mae(Box::new(Mae::new(MAE, &foundation)?)),
        _ => Model::Any(objective(case)?.build(&foundation)?),
    };
    let parameters = model.method().parameters();
    fill(parameters)?;
    if let Some(teacher) = model.method().teacher() {
        for follower in teacher.trainable() {
            let Some(student) = parameters.get(&follower.name) else {
                candle_core::bail!("{}: of the teacher only", follower.name)
            };
            follower.variable.set(&student.variable.as_detached_tensor())?;
        }
    }
    let mut optimiser = optimiser(method, parameters)?;
    let (mut losses, mut first) = (Vec::new(), BTreeMap::new());
    for step in 0..steps.min(STEPS) {
        let at = Position { step, steps: STEPS, epoch: step / 5, epochs: 2 };
        let output = model.step(&batch(step, objective(case)?.views(), images, device)?, at)?;
        losses.push(output.loss.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?);
        let gradients = backward(&output.loss)?;
        if step == 0 {
            first = lengths(parameters, &gradients)?;
        }
        optimiser.step_all_but(|name| model.method().is_frozen(name, at), &gradients, |base| base)?;
        model.method().after_step(at)?;
    }
    Ok(Trajectory { losses, gradients: first, model })
}
