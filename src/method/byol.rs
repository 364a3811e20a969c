//! BYOL: the student predicts, from one view, a slowly moving teacher's projection of the other.
//!
//! Loss: 2 - 2 cos of the prediction and the teacher's projection, summed over both directions
//! (`loss::regression`). Source: Grill et al., "Bootstrap your own latent", NeurIPS 2020. Implementations differ in
//! the reduction: this is the original's and solo-learn's; lightly's small benchmarks take half the mean, which
//! gives a quarter of the gradient. Projector and predictor have two layers, the hidden one batch-normalised, with
//! biases everywhere, as in solo-learn and the code of the paper's authors. Views pass through the networks one after
//! the other, as in the original.

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{
    Foundation, Method, Name, Objective, Position, Step, expect_views, features_of_views, split_views,
    teacher::{Momentum, Teacher},
};
use crate::{
    backbone::{
        Backbone, Mode, Parameters,
        heads::{Layers, Perceptron},
    },
    loader::Batch,
    loss::regression::cosine_distance,
    tensor::without_gradients,
};

/// BYOL's constants.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// Momentum of the teacher.
    pub momentum: Momentum,
}

impl Objective for Bootstrap {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self { momentum: Momentum { start, end } } = self;
        vec![("name", json!("byol")), ("momentum.start", json!(start)), ("momentum.end", json!(end))]
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(Byol::new(self, on)?))
    }
}

/// A student with projector and predictor, and the teacher whose projections it predicts.
pub struct Byol {
    encoder: Box<dyn Backbone>,
    projector: Perceptron,
    predictor: Perceptron,
    parameters: Parameters,
    teacher_encoder: Box<dyn Backbone>,
    teacher_projector: Perceptron,
    teacher: Teacher,
}

impl Byol {
    /// Builds the untrained model; the teacher starts as a copy of the student.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(constants: &Bootstrap, on: &Foundation) -> Result<Self> {
        let branch = |parameters: &mut Parameters| -> Result<(Box<dyn Backbone>, Perceptron)> {
            let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
            let sizes = [encoder.width(), on.heads.hidden, on.heads.output];
            let mut builder = parameters.builder("head.projector", on.seed, on.dtype, on.device);
            let projector = Perceptron::new(&mut builder, Layers::normalised(&sizes))?;
            Ok((encoder, projector))
        };
        let (mut parameters, mut followers) = (Parameters::default(), Parameters::default());
        let (encoder, projector) = branch(&mut parameters)?;
        let (teacher_encoder, teacher_projector) = branch(&mut followers)?;
        let teacher = Teacher::new(followers, &parameters, constants.momentum)?;
        let sizes = [on.heads.output, on.heads.hidden, on.heads.output];
        let mut builder = parameters.builder("head.predictor", on.seed, on.dtype, on.device);
        let predictor = Perceptron::new(&mut builder, Layers::normalised(&sizes))?;
        Ok(Self { encoder, projector, predictor, parameters, teacher_encoder, teacher_projector, teacher })
    }
}

impl Method for Byol {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        expect_views(Name::Byol, batch, 2)?;
        let features = features_of_views(&*self.encoder, batch)?;
        let (mut embeddings, mut predictions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (of_view, view) in features.iter().zip(split_views(batch)?) {
            let embedding = self.projector.forward(of_view, Mode::Train)?;
            predictions.push(self.predictor.forward(&embedding, Mode::Train)?);
            embeddings.push(embedding);
            targets.push(without_gradients(|| {
                let of_view = self.teacher_encoder.embed(&view, Mode::Train)?;
                self.teacher_projector.forward(&of_view, Mode::Train)
            })?);
        }
        let loss = (cosine_distance(&predictions[0], &targets[1])?
            + cosine_distance(&predictions[1], &targets[0])?)?;
        Ok(Step {
            loss,
            features: Tensor::cat(&features, 0)?,
            embeddings: Some(Tensor::cat(&embeddings, 0)?),
            parts: Vec::new(),
        })
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
        Some(self.projector.forward(features, Mode::Evaluate))
    }
}
