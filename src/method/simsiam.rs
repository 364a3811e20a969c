//! SimSiam: each view predicts the other, which gets no gradient; there is neither a teacher nor negatives. Not one of
//! the paper's methods: it shows how to add one (`benchmarks/README.md`).
//!
//! Loss: L = D(p1, z2) / 2 + D(p2, z1) / 2 with D(p, z) = -cos(p, stopgrad(z)). Source: Chen and He, "Exploring simple
//! Siamese representation learning", CVPR 2021, equations 1 to 4. Projector and predictor are those of their code
//! (facebookresearch/simsiam, `simsiam/builder.py`): the projector has three layers, all batch-normalised, the last
//! without scale and shift; the predictor has one hidden layer of a quarter of its width and no normalisation at its
//! output. Views pass through the networks one after the other, as in that code.

// README: begin
use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::{Foundation, Method, Name, Objective, Position, Step, expect_views, features_of_views};
use crate::{
    backbone::{
        Backbone, Mode, Parameters,
        heads::{LastNorm, Layers, Perceptron},
    },
    loader::Batch,
    loss::regression::cosine_distance,
};

/// SimSiam's constants: it has none.
#[derive(Clone, Copy, Debug)]
pub struct StopGradient;

impl Objective for StopGradient {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("name", json!("simsiam"))]
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        let mut parameters = Parameters::default();
        let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
        let (hidden, output) = (on.heads.hidden, on.heads.output);
        let sizes = [encoder.width(), hidden, hidden, output];
        let projector = Layers { last_norm: LastNorm::Plain, ..unbiased(&sizes) };
        let predictor = [output, output.div_ceil(4), output];
        let predictor = Layers { last_bias: true, ..unbiased(&predictor) };
        let mut head = |name: &str, layers: Layers| {
            Perceptron::new(&mut parameters.builder(name, on.seed, on.dtype, on.device), layers)
        };
        let (projector, predictor) = (head("head.projector", projector)?, head("head.predictor", predictor)?);
        Ok(Box::new(SimSiam { encoder, projector, predictor, parameters }))
    }
}

/// Batch normalisation follows, which would undo a bias.
fn unbiased<'a>(sizes: &'a [usize]) -> Layers<'a> {
    Layers { hidden_bias: false, last_bias: false, ..Layers::normalised(sizes) }
}

struct SimSiam {
    encoder: Box<dyn Backbone>,
    projector: Perceptron,
    predictor: Perceptron,
    parameters: Parameters,
}

impl Method for SimSiam {
    fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
        expect_views(Name::SimSiam, batch, 2)?;
        let features = features_of_views(&*self.encoder, batch)?;
        let project = |view: &Tensor| self.projector.forward(view, Mode::Train);
        let (first, second) = (project(&features[0])?, project(&features[1])?);
        let predict = |view: &Tensor| self.predictor.forward(view, Mode::Train);
        let loss = loss([&predict(&first)?, &predict(&second)?], [&first, &second])?;
        let embeddings = Some(Tensor::cat(&[first, second], 0)?);
        Ok(Step { loss, features: Tensor::cat(&features, 0)?, embeddings, parts: Vec::new() })
    }

    fn encoder(&self) -> &dyn Backbone {
        &*self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn embed(&self, features: &Tensor) -> Option<Result<Tensor>> {
        Some(self.projector.forward(features, Mode::Evaluate))
    }
}

/// Minus the mean cosine of each view's predictions with the other's projections, (images, width) each, which get no
/// gradient: -1 to 1. A cosine distance is 2 - 2 cos.
fn loss([p1, p2]: [&Tensor; 2], [z1, z2]: [&Tensor; 2]) -> Result<Tensor> {
    (cosine_distance(p1, z2)? + cosine_distance(p2, z1)?)?.affine(0.25, -1.0)
}
// README: end

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_differences, normal};

    use super::*;

    fn scalar(tensor: &Tensor) -> f64 {
        tensor.to_scalar::<f64>().unwrap()
    }

    /// By hand: the cosines of (3, 4) with (1, 0) and (0, 1) are 3/5 and 4/5, so the loss is -(0.6 + 0.8) / 2. The
    /// gradient of a cosine at q is (z - cos q / |q|) / |q|. At q = (3, 4) it is (0.128, -0.096) for z = (1, 0) and
    /// (-0.096, 0.072) for z = (0, 1).
    #[test]
    fn values_and_slopes_by_hand() {
        let row = |values: [f64; 2]| Var::new(&[values], &Device::Cpu).unwrap();
        let (p1, p2) = (row([3.0, 4.0]), row([3.0, 4.0]));
        let (z1, z2) = (row([0.0, 2.0]), row([5.0, 0.0]));
        let found = loss([p1.as_tensor(), p2.as_tensor()], [z1.as_tensor(), z2.as_tensor()]).unwrap();
        assert!((scalar(&found) + 0.7).abs() < 1e-15);
        let gradients = found.backward().unwrap();
        for (p, expected) in [(&p1, [-0.064, 0.048]), (&p2, [0.048, -0.036])] {
            let slopes = gradients.get(p).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for (found, expected) in slopes.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{slopes:?}");
            }
        }
        // The other view gets no gradient.
        assert!(gradients.get(&z1).is_none() && gradients.get(&z2).is_none());
    }

    /// lightly 1.6.0's `NegativeCosineSimilarity` of the two views of `loss::check`: -0.894703405714667. With the same
    /// prediction and target in both directions, the mean of the two is the value of one.
    #[test]
    fn agrees_with_lightly() {
        let view = |advance: fn(f64, f64) -> f64| {
            let phase = |i: f64, j: f64| 0.7 * i + 0.3 * j * j + 0.1 * i * j + advance(i, j);
            let entry = |place: i32| libm::sin(phase(f64::from(place / 6), f64::from(place % 6)));
            Var::from_vec((0..24).map(entry).collect::<Vec<f64>>(), (4, 6), &Device::Cpu).unwrap()
        };
        let (a, b) = (view(|_, _| 0.0), view(|i, j| 0.4 * (j + 1.0) / 6.0 + 0.15 * i));
        let found = loss([a.as_tensor(), a.as_tensor()], [b.as_tensor(), b.as_tensor()]).unwrap();
        assert!((scalar(&found) + 0.894703405714667).abs() < 1e-14, "{found}");
    }

    #[test]
    fn gradients_are_finite_differences() {
        let inputs = ["p1", "p2"].map(|name| normal(name, &[5, 7], DType::F64).unwrap());
        let targets = ["z1", "z2"].map(|name| normal(name, &[5, 7], DType::F64).unwrap());
        let of = |x: &[Tensor]| loss([&x[0], &x[1]], [targets[0].as_tensor(), targets[1].as_tensor()]);
        assert_differences(&of, &inputs).unwrap();
    }
}
