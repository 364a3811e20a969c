//! Multi-layer perceptrons on top of features: projectors, predictors, classifiers.
//! Knows nothing of what their outputs are compared with.

use candle_core::{Result, Tensor};

use super::{
    Builder, Mode,
    layers::{BatchNorm, Linear},
};
use crate::tensor::batch_norm::Then;

/// How a perceptron's layers are made. Hidden layers end in ReLU, the last is linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers<'a> {
    /// Lengths of the input, of every hidden layer and of the output: at least two.
    pub sizes: &'a [usize],
    /// Batch normalisation before every hidden ReLU.
    pub hidden_norm: bool,
    /// Biases of hidden linear maps.
    pub hidden_bias: bool,
    /// Bias of the last linear map.
    pub last_bias: bool,
    /// Batch normalisation of the output.
    pub last_norm: LastNorm,
}

/// Whether and how a perceptron's output is batch-normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastNorm {
    None,
    /// Zero mean and unit variance, nothing learnt.
    Plain,
    /// With learnt scale and shift.
    Affine,
}

impl<'a> Layers<'a> {
    /// Linear maps with biases and ReLU, no normalisation: with sizes (features, 2048, 256) the SimCLR
    /// projector of the paper's authors.
    pub fn plain(sizes: &'a [usize]) -> Self {
        Self { sizes, hidden_norm: false, hidden_bias: true, last_bias: true, last_norm: LastNorm::None }
    }
}

/// A multi-layer perceptron.
pub struct Perceptron {
    hidden: Vec<(Linear, Option<BatchNorm>)>,
    last: Linear,
    last_norm: Option<BatchNorm>,
}

impl Perceptron {
    /// Makes `0.weight`, `0.bias`, `1.weight`, ...: numbered as torch's `Sequential` of Linear, BatchNorm1d
    /// and ReLU numbers them.
    ///
    /// # Panics
    /// If there are fewer than two sizes.
    pub fn new(builder: &mut Builder, layers: Layers) -> Result<Self> {
        let [hidden_sizes @ .., outputs] = layers.sizes else { panic!("a perceptron needs sizes") };
        assert!(!hidden_sizes.is_empty(), "a perceptron needs an input and an output size");
        let mut number = 0;
        let mut next = |modules| {
            let name = usize::to_string(&number);
            number += modules;
            name
        };
        let mut hidden = Vec::new();
        for pair in hidden_sizes.windows(2) {
            let linear = Linear::new(&mut builder.scope(&next(1)), pair[0], pair[1], layers.hidden_bias)?;
            // The ReLU after it takes a number too.
            let norm = match layers.hidden_norm {
                true => Some(BatchNorm::new(&mut builder.scope(&next(2)), pair[1], true)?),
                false => {
                    next(1);
                    None
                }
            };
            hidden.push((linear, norm));
        }
        let inputs = hidden_sizes[hidden_sizes.len() - 1];
        let last = Linear::new(&mut builder.scope(&next(1)), inputs, *outputs, layers.last_bias)?;
        let mut norm = |affine| BatchNorm::new(&mut builder.scope(&next(1)), *outputs, affine);
        let last_norm = match layers.last_norm {
            LastNorm::None => None,
            LastNorm::Plain => Some(norm(false)?),
            LastNorm::Affine => Some(norm(true)?),
        };
        Ok(Self { hidden, last, last_norm })
    }

    /// (batch, first size) to (batch, last size).
    pub fn forward(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut hidden = features.clone();
        for (linear, norm) in &self.hidden {
            hidden = linear.forward(&hidden)?;
            hidden = match norm {
                Some(norm) => norm.forward(&hidden, mode, Then { residual: None, relu: true })?,
                None => hidden.relu()?,
            };
        }
        let output = self.last.forward(&hidden)?;
        match &self.last_norm {
            Some(norm) => norm.forward(&output, mode, Then::default()),
            None => Ok(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{backbone::Parameters, seed::Seed};

    #[test]
    fn parameter_counts_are_the_references() -> Result<()> {
        // Counted on the PyTorch modules, on 512 features: lightly's SimCLR projector (its hidden
        // and last linear maps have no bias before an affine BatchNorm), BYOL's projector, Barlow Twins' projector.
        let lightly = Layers {
            sizes: &[512, 2048, 128],
            hidden_norm: true,
            hidden_bias: false,
            last_bias: false,
            last_norm: LastNorm::Affine,
        };
        let byol = Layers { sizes: &[512, 4096, 256], last_bias: true, last_norm: LastNorm::None, ..lightly };
        let barlow = Layers { sizes: &[512, 2048, 2048, 2048], ..byol };
        for (layers, expected) in [(lightly, 1_315_072), (byol, 3_154_176), (barlow, 9_447_424)] {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
            Perceptron::new(&mut builder, layers)?;
            assert_eq!(parameters.trainable_count(), expected, "{layers:?}");
        }
        Ok(())
    }

    #[test]
    fn names_are_those_of_a_torch_sequential() -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("head", Seed::root(0), DType::F32, &Device::Cpu);
        let layers = Layers { hidden_norm: true, last_norm: LastNorm::Plain, ..Layers::plain(&[3, 4, 2]) };
        Perceptron::new(&mut builder, layers)?;
        let names: Vec<&str> = parameters.all().iter().map(|parameter| parameter.name.as_str()).collect();
        let expected = "head.0.weight head.0.bias head.1.weight head.1.bias head.1.running_mean \
                        head.1.running_var head.3.weight head.3.bias head.4.running_mean head.4.running_var";
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
        Ok(())
    }
}
