//! Heads on top of features: projectors and predictors, DINO's prototypes.

use candle_core::{Result, Tensor, Var};

use super::{
    Builder, Initialise, Mode, Role,
    layers::{BatchNorm, Linear},
};
use crate::tensor::{batch_norm::Then, gelu, linear, unit_rows, widen};

/// How large heads are. The paper's authors: hidden 2048, output 256, 8192 prototypes, a decoder of
/// 192 x 12 with 12 heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Hidden layers of projectors, predictors and DINO's head.
    pub hidden: usize,
    /// Output of projectors and predictors, bottleneck of DINO's head.
    pub output: usize,
    /// Of DINO.
    pub prototypes: usize,
    /// Of MAE.
    pub decoder: DecoderSize,
}

/// MAE's decoder: a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderSize {
    /// Numbers a patch.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

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
    /// Left as it is.
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

    /// As [`Self::plain`], hidden layers batch-normalised: projectors of BYOL and Barlow Twins as solo-learn
    /// and the paper's authors make them.
    pub fn normalised(sizes: &'a [usize]) -> Self {
        Self { hidden_norm: true, ..Self::plain(sizes) }
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

/// DINO's head: a perceptron with GELU, a bottleneck brought to length 1, and its cosine with each prototype.
///
/// Variables are named as DINO's own: `mlp.{0,2,4}`, or with batch normalisation `mlp.{0,1,3,4,6}`, and
/// `last_layer.weight_v` (prototypes, bottleneck). The lengths `last_layer.weight_g` of its weight
/// normalisation are fixed at 1 and left out.
pub struct PrototypeHead {
    hidden: [(Linear, Option<BatchNorm>); 2],
    last: Linear,
    directions: Var,
}

impl PrototypeHead {
    /// Full name, below `head`, of the variable that DINO freezes at first.
    pub const LAST: &'static str = "head.last_layer.weight_v";

    /// Linear maps begin truncated normal with deviation 0.02 and no bias, prototypes as torch's linear
    /// layer. If `hidden_norm`, both hidden maps are followed by batch normalisation, and have no bias, which
    /// it would undo.
    pub fn new(builder: &mut Builder, width: usize, heads: Heads, hidden_norm: bool) -> Result<Self> {
        let normal = Initialise::TruncatedNormal { std: 0.02, limit: 2.0 };
        let mut mlp = builder.scope("mlp");
        let mut layer = |name: usize, inputs| -> Result<(Linear, Option<BatchNorm>)> {
            let mut scope = mlp.scope(&name.to_string());
            if !hidden_norm {
                return Ok((Linear::with_weights(&mut scope, inputs, heads.hidden, normal)?, None));
            }
            let linear = Linear::without_bias(&mut scope, inputs, heads.hidden, normal)?;
            let norm = BatchNorm::new(&mut mlp.scope(&(name + 1).to_string()), heads.hidden, true)?;
            Ok((linear, Some(norm)))
        };
        let second = if hidden_norm { 3 } else { 2 };
        let hidden = [layer(0, width)?, layer(second, heads.hidden)?];
        let last = (2 * second).to_string();
        let last = Linear::with_weights(&mut mlp.scope(&last), heads.hidden, heads.output, normal)?;
        let torch = Initialise::Uniform { bound: 1.0 / (heads.output as f64).sqrt() };
        let shape = (heads.prototypes, heads.output);
        let directions = builder.scope("last_layer").variable("weight_v", shape, torch, Role::Weight)?;
        Ok(Self { hidden, last, directions })
    }

    /// Whether rows are handled one by one, so that what shares a batch does not matter.
    pub fn is_rowwise(&self) -> bool {
        self.hidden.iter().all(|(_, norm)| norm.is_none())
    }

    /// Features (rows, width) to the bottleneck (rows, output), before it is brought to length 1.
    pub fn bottleneck(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut hidden = features.clone();
        for (linear, norm) in &self.hidden {
            hidden = linear.forward(&hidden)?;
            if let Some(norm) = norm {
                hidden = norm.forward(&hidden, mode, Then::default())?;
            }
            hidden = gelu(&hidden)?;
        }
        self.last.forward(&hidden)
    }

    /// Bottleneck rows to their cosines with the prototypes (rows, prototypes), in f32 at least: divided by
    /// small temperatures, few of them would differ in bf16.
    pub fn compare(&self, bottleneck: &Tensor) -> Result<Tensor> {
        linear(&unit_rows(&widen(bottleneck)?)?, &unit_rows(&self.directions)?, None)
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
        // and last linear maps have no bias before an affine BatchNorm), BYOL's projector, Barlow Twins'
        // projector.
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

    /// Numbers of a variable, the largest of them by size, and their deviation from 0.
    fn spread(parameters: &Parameters, name: &str) -> Result<(usize, f64, f64)> {
        let values = parameters.get(name).unwrap().variable.flatten_all()?.to_vec1::<f32>()?;
        let largest = values.iter().fold(0.0, |largest, value| f64::from(value.abs()).max(largest));
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        Ok((values.len(), largest, (squares / values.len() as f64).sqrt()))
    }

    /// torch's linear layers are uniform within one over the root of their inputs; DINO's are normal with deviation 0.02,
    /// but for the prototypes, and have no bias at first.
    #[test]
    fn first_values_are_those_of_torch_and_of_dino() -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(5), DType::F32, &Device::Cpu);
        Perceptron::new(&mut builder.scope("plain"), Layers::plain(&[100, 64, 16]))?;
        let decoder = DecoderSize { width: 8, depth: 1, heads: 1 };
        let heads = Heads { hidden: 64, output: 25, prototypes: 96, decoder };
        PrototypeHead::new(&mut builder.scope("dino"), 100, heads, false)?;
        for (name, bound) in [
            ("plain.0.weight", 0.1),
            ("plain.0.bias", 0.1),
            ("plain.2.weight", 0.125),
            ("dino.last_layer.weight_v", 0.2),
        ] {
            let (count, largest, deviation) = spread(&parameters, name)?;
            assert!(0.9 * bound < largest && largest <= bound, "{name}: {largest} of {bound}");
            // Six standard errors of a uniform deviation, bound / sqrt(3).
            let error = 6.0 / (5.0 * count as f64).sqrt();
            assert!((deviation * 3.0_f64.sqrt() / bound - 1.0).abs() < error, "{name}: {deviation}");
        }
        for layer in ["dino.mlp.0", "dino.mlp.2", "dino.mlp.4"] {
            let (count, _, deviation) = spread(&parameters, &format!("{layer}.weight"))?;
            assert!(
                (deviation / 0.02 - 1.0).abs() < 6.0 / (2.0 * count as f64).sqrt(),
                "{layer}: {deviation}"
            );
            assert_eq!(spread(&parameters, &format!("{layer}.bias"))?.1, 0.0, "{layer}");
        }
        Ok(())
    }
}
