//! A linear probe trained alongside the method; no gradient flows from it into the features.
//!
//! This is how the paper's authors score self-supervised methods: weighted binary cross-entropy on features of the
//! augmented training views, while the encoder is still being trained.

use candle_core::{DType, Device, Result, Tensor};

use super::optimiser::{Group, Optimiser, Rule};
use crate::{
    backbone::{Parameters, layers::Linear},
    loss::classification::binary_cross_entropy,
    seed::Seed,
    tensor::widen,
};

/// A linear unit with its own optimiser.
pub struct OnlineProbe {
    linear: Linear,
    parameters: Parameters,
    optimiser: Optimiser,
    defect_weight: f64,
}

impl OnlineProbe {
    /// Builds a probe on features of `width` numbers. `defect_weight`: normals/defects of the training set.
    pub fn new(
        width: usize,
        rule: Rule,
        learning_rate: f64,
        defect_weight: f64,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::default();
        let linear =
            Linear::new(&mut parameters.builder("online_probe", seed, DType::F32, device), width, 1, true)?;
        // No weight decay, as in the authors' code.
        let group = Group::uniform(parameters.trainable(), learning_rate, 0.0);
        let optimiser = Optimiser::new(rule, vec![group])?;
        Ok(Self { linear, parameters, optimiser, defect_weight })
    }

    /// Runs one step on features (rows, width) and labels (rows); returns the loss before it.
    pub fn step(
        &mut self,
        features: &Tensor,
        labels: &Tensor,
        learning_rate: impl Fn(f64) -> f64,
    ) -> Result<f64> {
        let logits = self.logits(&features.detach())?;
        let loss = binary_cross_entropy(&logits, labels, self.defect_weight)?;
        self.optimiser.step(&loss.backward()?, learning_rate)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    /// Returns logits (rows) of features (rows, width).
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        self.linear.forward(&widen(features)?)?.squeeze(1)
    }

    /// Returns its weights (1, width) and bias (1).
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    pub(super) fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    pub(super) fn optimiser_mut(&mut self) -> &mut Optimiser {
        &mut self.optimiser
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feature; a defect of some weight and a normal image, for both of which the feature is 1 and z = w + b. By
    /// hand, dL/dz is weight (s - 1) / 2 for the defect and s / 2 for the normal image, with s = sigmoid(z).
    #[rstest::rstest]
    fn a_step_weighs_defects_and_decays_nothing(#[values(3.0, 0.25)] weight: f64) {
        let rule = Rule::Sgd { momentum: 0.0 };
        let mut probe = OnlineProbe::new(1, rule, 0.5, weight, Seed::root(3), &Device::Cpu).unwrap();
        let numbers = |probe: &OnlineProbe| {
            ["online_probe.weight", "online_probe.bias"].map(|name| {
                let variable = &probe.parameters().get(name).unwrap().variable;
                f64::from(variable.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0])
            })
        };
        let before = numbers(&probe);
        let z = before[0] + before[1];
        let s = 1.0 / (1.0 + (-z).exp());
        let (features, labels) = (
            Tensor::new(&[[1_f32], [1.0]], &Device::Cpu).unwrap(),
            Tensor::new(&[1_f32, 0.0], &Device::Cpu).unwrap(),
        );
        let loss = probe.step(&features, &labels, |base| base / 2.0).unwrap();
        // The loss is that before the step; the learning rate is half of 0.5.
        assert!((loss - (-weight * s.ln() - (1.0 - s).ln()) / 2.0).abs() < 1e-6, "{loss}");
        let slope = (weight * (s - 1.0) + s) / 2.0;
        for (after, before) in numbers(&probe).into_iter().zip(before) {
            assert!((after - (before - 0.25 * slope)).abs() < 1e-6, "{after} from {before}");
        }
        let logits = probe.logits(&features).unwrap().to_vec1::<f32>().unwrap();
        assert!((f64::from(logits[0]) - (z - 0.5 * slope)).abs() < 1e-6, "{logits:?}");
    }
}
