//! End-to-end training on labels: the paper's baseline.
//!
//! Loss: binary cross-entropy with logits, defects weighted by normals/defects of the training set (the paper's
//! "weighted loss based on defect proportions"), or another way to handle rare defects. One linear unit on encoder
//! features. Uses one view; several views would be averaged.

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{Foundation, Method, Objective, Position, Step};
use crate::{
    backbone::{Backbone, Mode, Parameters, layers::Linear},
    loader::Batch,
    loss::classification::{binary_cross_entropy, focal},
};

/// How the loss handles rare defects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RarityHandling {
    /// A defect weighs normals/defects times as much as a normal image: the paper's choice.
    #[default]
    Weight,
    /// Every image has the same weight.
    Nothing,
    /// Easy images have less weight.
    Focal {
        /// Weight of a defect, 0..1; that of a normal image is 1 minus this.
        of_defects: f64,
        /// How fast the weight of an easy image falls.
        focus: f64,
    },
    /// Training adds the log odds of a defect to the logits. Evaluation leaves them out, so its logits are those at
    /// even odds.
    LogitAdjustment,
}

impl RarityHandling {
    /// The numbers of Lin et al. 2017, section 4.1.
    pub const FOCAL: Self = Self::Focal { of_defects: 0.25, focus: 2.0 };
}

/// Supervised training, and how it handles rare defects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classification {
    /// How the loss handles rare defects.
    pub rarity: RarityHandling,
}

impl Objective for Classification {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self { rarity: answer } = self;
        let mut settings = vec![("name", json!("supervised"))];
        match answer {
            RarityHandling::Weight => settings.push(("rarity", json!("weight"))),
            RarityHandling::Nothing => settings.push(("rarity", json!("nothing"))),
            RarityHandling::LogitAdjustment => settings.push(("rarity", json!("logit_adjustment"))),
            RarityHandling::Focal { of_defects, focus } => settings.extend([
                ("rarity", json!("focal_loss")),
                ("rarity.of_defects", json!(of_defects)),
                ("rarity.focus", json!(focus)),
            ]),
        }
        settings
    }

    fn views(&self) -> usize {
        1
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(Supervised::new(on, self.rarity)?))
    }
}

/// Encoder and a linear classifier, trained on labels.
pub struct Supervised {
    encoder: Box<dyn Backbone>,
    head: Linear,
    parameters: Parameters,
    answer: RarityHandling,
    /// Normals/defects of the training set.
    defect_weight: f64,
}

impl Supervised {
    /// Builds the untrained model.
    ///
    /// # Errors
    /// If sizes do not fit each other.
    pub fn new(on: &Foundation, answer: RarityHandling) -> Result<Self> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        let mut builder = parameters.builder("head", on.seed, on.dtype, on.device);
        let head = Linear::new(&mut builder, encoder.width(), 1, true)?;
        Ok(Self { encoder, head, parameters, answer, defect_weight: on.defect_weight })
    }
}

impl Method for Supervised {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        let features = self.encoder.embed(&batch.images, Mode::Train)?;
        let logits = self.head.forward(&features)?.squeeze(1)?;
        let labels = batch.labels.repeat(batch.views)?.to_dtype(logits.dtype())?;
        let loss = match self.answer {
            RarityHandling::Weight => binary_cross_entropy(&logits, &labels, self.defect_weight)?,
            RarityHandling::Nothing => binary_cross_entropy(&logits, &labels, 1.0)?,
            RarityHandling::Focal { of_defects, focus } => focal(&logits, &labels, of_defects, focus)?,
            RarityHandling::LogitAdjustment => {
                binary_cross_entropy(&(&logits - self.defect_weight.ln())?, &labels, 1.0)?
            }
        };
        Ok(Step { loss, features, embeddings: None, parts: Vec::new() })
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn classify(&self, features: &Tensor) -> Option<Result<Tensor>> {
        Some(self.head.forward(features).and_then(|logits| logits.squeeze(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    use crate::{
        backbone::{
            Architecture, Name as Network, Stem, VitSize,
            heads::{DecoderSize, Heads},
        },
        seed::Seed,
    };

    /// The loss of an image, from its logit and whether it is a defect.
    type Cost<'a> = &'a dyn Fn(f64, bool) -> f64;

    /// Each loss by its formula, on four images, one of them a defect: its weight is 3, logits are shifted by ln 3.
    #[test]
    fn every_answer_to_rarity_has_its_loss() {
        let vit = VitSize { patch: 8, width: 24, depth: 1, heads: 3 };
        let (name, resnet_stem) = (Network::ViTTiny, Stem::Small);
        let on = Foundation {
            architecture: Architecture { name, resnet_width: 8, resnet_stem, vit, side: 16 },
            heads: Heads {
                hidden: 8,
                output: 4,
                prototypes: 6,
                decoder: DecoderSize { width: 8, depth: 1, heads: 1 },
            },
            defect_weight: 3.0,
            seed: Some(Seed::root(2)),
            dtype: DType::F32,
            device: &Device::Cpu,
        };
        let mut stream = Seed::root(1).stream();
        let pixels: Vec<f32> = (0..4 * 16 * 16 * 3).map(|_| 3.0 * stream.normal() as f32).collect();
        let labels = [0.0_f32, 1.0, 0.0, 0.0];
        let batch = Batch {
            images: Tensor::from_vec(pixels, (4, 16, 16, 3), &Device::Cpu).unwrap(),
            labels: Tensor::new(&labels, &Device::Cpu).unwrap(),
            views: 1,
            indices: (0..4).collect(),
            skipped: Vec::new(),
        };
        let at = Position { step: 0, steps: 1, epoch: 0, epochs: 1 };
        // Cross-entropy of an image from its logit, signed so that a higher one is more correct.
        let cost = |right: f64| (1.0 + (-right).exp()).ln();
        let side = |defect: bool| if defect { 1.0 } else { -1.0 };
        let answers: [(RarityHandling, Cost); 4] = [
            (RarityHandling::Weight, &|x, defect| if defect { 3.0 * cost(x) } else { cost(-x) }),
            (RarityHandling::Nothing, &|x, defect| cost(side(defect) * x)),
            (RarityHandling::LogitAdjustment, &|x, defect| cost(side(defect) * (x - 3.0_f64.ln()))),
            (RarityHandling::FOCAL, &|x, defect| {
                let right = side(defect) * x;
                let missed = 1.0 - 1.0 / (1.0 + (-right).exp());
                if defect { 0.25 * missed.powi(2) * cost(right) } else { 0.75 * missed.powi(2) * cost(right) }
            }),
        ];
        for (answer, cost) in answers {
            let method = Supervised::new(&on, answer).unwrap();
            let step = method.step(&batch, at).unwrap();
            let logits = method.classify(&step.features).unwrap().unwrap().to_vec1::<f32>().unwrap();
            let costs = logits.iter().zip(labels).map(|(&x, label)| cost(f64::from(x), label > 0.5));
            let (expected, found) =
                (costs.sum::<f64>() / 4.0, f64::from(step.loss.to_scalar::<f32>().unwrap()));
            assert!((found - expected).abs() < 1e-5 * expected, "{answer:?}: {found}, expected {expected}");
        }
    }
}
