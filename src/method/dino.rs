//! DINO: the student's distribution over prototypes follows the teacher's, which is centred and sharpened.
//!
//! Loss: cross-entropy of the teacher's view t and the student's view s, over pairs s != t (`loss::distillation`).
//! Source: Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021. Two global views
//! and no local ones, as in the experiments of the paper's authors. The centre starts at zero and is updated after
//! the loss has used it (stable-pretraining sets it to the first batch's). Batch normalisation in the head is a
//! constant: the paper's authors have none on either backbone, lightly normalises on ResNet-18. The norms of the
//! last layer's weights are fixed at 1, and their directions are frozen, too, for the first epochs.

use candle_core::{Result, Tensor, Var};
use serde_json::{Value, json};

use super::{
    Foundation, Method, Name, Objective, Position, Step, expect_views, features_of_views, split_views,
    teacher::{Momentum, Teacher},
};
use crate::{
    backbone::{Backbone, Initialise, Mode, Parameters, Role, heads::PrototypeHead},
    loader::Batch,
    loss::distillation::{dino, next_centre},
    tensor::without_gradients,
};

/// DINO's constants.
#[derive(Clone, Copy, Debug)]
pub struct Distillation {
    /// Momentum of the teacher.
    pub momentum: Momentum,
    /// Divides the student's logits; above 0.
    pub student_temperature: f64,
    /// Divides the teacher's logits.
    pub teacher_temperature: TeacherTemperature,
    /// Fraction of itself that the centre keeps in each step, 0..1.
    pub centre_momentum: f64,
    /// Batch normalisation of the head's hidden layers, each view separately: DINO's `use_bn_in_head`.
    pub head_norm: bool,
    /// Number of epochs, from the first, in which the last layer is frozen.
    pub frozen_epochs: usize,
}

/// A temperature that rises linearly from epoch to epoch, then stays constant.
#[derive(Clone, Copy, Debug)]
pub struct TeacherTemperature {
    /// Value in the first epoch; above 0.
    pub start: f64,
    /// Value after the rise.
    pub end: f64,
    /// Fraction of all epochs over which it rises.
    pub warm_up: f64,
}

impl TeacherTemperature {
    /// start + (end - start) epoch / (warm-up epochs - 1), `end` afterwards: DINO's `linspace`.
    fn at(self, at: Position) -> f64 {
        let epochs = (self.warm_up * at.epochs as f64).round();
        if at.epoch as f64 >= epochs {
            return self.end;
        }
        self.start + (self.end - self.start) * at.epoch as f64 / (epochs - 1.0).max(1.0)
    }
}

impl Objective for Distillation {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self {
            momentum: Momentum { start, end },
            student_temperature,
            teacher_temperature: TeacherTemperature { start: first, end: last, warm_up },
            centre_momentum,
            head_norm,
            frozen_epochs,
        } = self;
        vec![
            ("name", json!("dino")),
            ("momentum.start", json!(start)),
            ("momentum.end", json!(end)),
            ("student_temperature", json!(student_temperature)),
            ("teacher_temperature.start", json!(first)),
            ("teacher_temperature.end", json!(last)),
            ("teacher_temperature.warm_up", json!(warm_up)),
            ("centre_momentum", json!(centre_momentum)),
            ("head_norm", json!(head_norm)),
            ("frozen_epochs", json!(frozen_epochs)),
        ]
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(Dino::new(*self, on)?))
    }
}

/// A student and a teacher, each an encoder with a prototype head, and the centre of the teacher's logits.
pub struct Dino {
    encoder: Box<dyn Backbone>,
    head: PrototypeHead,
    parameters: Parameters,
    teacher_encoder: Box<dyn Backbone>,
    teacher_head: PrototypeHead,
    teacher: Teacher,
    /// Moving average of the teacher's logits (1, prototypes).
    centre: Var,
    constants: Distillation,
}

impl Dino {
    /// Builds the untrained model; the teacher starts as a copy of the student.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(constants: Distillation, on: &Foundation) -> Result<Self> {
        let branch = |parameters: &mut Parameters| -> Result<(Box<dyn Backbone>, PrototypeHead)> {
            let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
            let mut builder = parameters.builder("head", on.seed, on.dtype, on.device);
            let head = PrototypeHead::new(&mut builder, encoder.width(), on.heads, constants.head_norm)?;
            Ok((encoder, head))
        };
        let (mut parameters, mut followers) = (Parameters::default(), Parameters::default());
        let (encoder, head) = branch(&mut parameters)?;
        let (teacher_encoder, teacher_head) = branch(&mut followers)?;
        let teacher = Teacher::new(followers, &parameters, constants.momentum)?;
        let shape = (1, on.heads.prototypes);
        let centre = parameters.builder("head", on.seed, on.dtype, on.device).variable(
            "centre",
            shape,
            Initialise::Constant(0.0),
            Role::Buffer,
        )?;
        Ok(Self { encoder, head, parameters, teacher_encoder, teacher_head, teacher, centre, constants })
    }
}

impl Method for Dino {
    fn step(&self, batch: &Batch, at: Position) -> Result<Step> {
        expect_views(Name::Dino, batch, 2)?;
        let features = features_of_views(&*self.encoder, batch)?;
        let mut taught = Vec::new();
        for view in split_views(batch)? {
            taught.push(without_gradients(|| self.teacher_encoder.embed(&view, Mode::Train))?);
        }
        let embeddings = bottlenecks(&self.head, &features)?;
        let features = Tensor::cat(&features, 0)?;
        let student = self.head.cosines(&embeddings)?.chunk(batch.views, 0)?;
        let teacher =
            without_gradients(|| self.teacher_head.cosines(&bottlenecks(&self.teacher_head, &taught)?))?;
        let teacher = teacher.chunk(batch.views, 0)?;
        let Distillation { student_temperature, teacher_temperature, centre_momentum, .. } = self.constants;
        let centre = self.centre.as_detached_tensor();
        let loss = dino(&student, &teacher, &centre, student_temperature, teacher_temperature.at(at))?;
        self.centre.set(&next_centre(&centre, &teacher, centre_momentum)?)?;
        Ok(Step { loss: loss.total, features, embeddings: Some(embeddings), parts: loss.parts })
    }

    fn is_frozen(&self, variable: &str, at: Position) -> bool {
        at.epoch < self.constants.frozen_epochs && variable == PrototypeHead::LAST_LAYER
    }

    fn after_step(&self, at: Position) -> Result<()> {
        self.teacher.follow(at)
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn teacher(&self) -> Option<&Parameters> {
        Some(self.teacher.parameters())
    }

    fn embed(&self, features: &Tensor) -> Option<Result<Tensor>> {
        Some(self.head.bottleneck(features, Mode::Evaluate))
    }
}

/// Maps the features of each view to bottlenecks (views x images, output), in training mode.
fn bottlenecks(head: &PrototypeHead, features: &[Tensor]) -> Result<Tensor> {
    if head.is_rowwise() {
        // Views share one pass, whose cost is dominated by reading the weights.
        return head.bottleneck(&Tensor::cat(features, 0)?, Mode::Train);
    }
    let views = features.iter().map(|view| head.bottleneck(view, Mode::Train));
    Tensor::cat(&views.collect::<Result<Vec<_>>>()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teacher_warms_up_as_the_released_code() {
        // numpy.linspace(0.04, 0.07, 15), then 0.07 for the rest of 45 epochs.
        let temperature = TeacherTemperature { start: 0.04, end: 0.07, warm_up: 15.0 / 45.0 };
        let expected = [(0, 0.04), (1, 0.042142857142857), (7, 0.055), (14, 0.07), (15, 0.07), (44, 0.07)];
        for (epoch, expected) in expected {
            let found = temperature.at(Position { step: 0, steps: 1, epoch, epochs: 45 });
            assert!((found - expected).abs() < 1e-12, "epoch {epoch}: {found} is not {expected}");
        }
    }

    #[test]
    fn only_the_directions_are_frozen_and_for_so_many_epochs() {
        use crate::backbone::{
            Architecture, Name as Network, Stem, VitSize,
            heads::{DecoderSize, Heads},
        };
        let vit = VitSize { patch: 8, width: 24, depth: 1, heads: 3 };
        let constants = Distillation {
            momentum: Momentum { start: 0.99, end: 1.0 },
            student_temperature: 0.1,
            teacher_temperature: TeacherTemperature { start: 0.04, end: 0.04, warm_up: 0.0 },
            centre_momentum: 0.9,
            head_norm: false,
            frozen_epochs: 2,
        };
        let dino = constants
            .build(&Foundation {
                architecture: Architecture {
                    name: Network::ViTTiny,
                    resnet_width: 8,
                    resnet_stem: Stem::Small,
                    vit,
                    side: 16,
                },
                heads: Heads {
                    hidden: 8,
                    output: 4,
                    prototypes: 6,
                    decoder: DecoderSize { width: 8, depth: 1, heads: 1 },
                },
                defect_weight: 1.0,
                seed: Some(crate::seed::Seed::root(0)),
                dtype: candle_core::DType::F32,
                device: &candle_core::Device::Cpu,
            })
            .unwrap();
        for epoch in 0..4 {
            let at = Position { step: 0, steps: 1, epoch, epochs: 4 };
            let all = dino.parameters().all().iter().map(|parameter| parameter.name.as_str());
            let frozen: Vec<&str> = all.filter(|name| dino.is_frozen(name, at)).collect();
            let expected: &[&str] = if epoch < 2 { &[PrototypeHead::LAST_LAYER] } else { &[] };
            assert_eq!(frozen, expected, "epoch {epoch}");
        }
    }
}
