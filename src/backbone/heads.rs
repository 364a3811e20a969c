//! Heads on top of features: projectors, predictors and DINO's prototypes.

use candle_core::{Result, Tensor, Var};

use super::{
    Builder, Initialise, Mode, Role,
    layers::{BatchNorm, Linear},
};
use crate::tensor::{batch_norm::Epilogue, gelu, linear, unit_rows, widen};

/// Sizes of heads. The paper's authors use hidden 2048, output 256, 8192 prototypes, and a decoder of width 192,
/// depth 12 and 12 heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Width of the hidden layers of projectors, predictors and DINO's head.
    pub hidden: usize,
    /// Output width of projectors and predictors; width of the bottleneck of DINO's head.
    pub output: usize,
    /// Number of DINO's prototypes.
    pub prototypes: usize,
    /// Size of MAE's decoder.
    pub decoder: DecoderSize,
}

/// Size of MAE's decoder, a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderSize {
    /// Length of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads per block.
    pub heads: usize,
}

/// Layers of a perceptron. Hidden layers end in ReLU; the last layer is linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers<'a> {
    /// Widths of the input, of every hidden layer and of the output; at least two.
    pub sizes: &'a [usize],
    /// Whether batch normalisation precedes every hidden ReLU.
    pub hidden_norm: bool,
    /// Whether hidden linear layers have a bias.
    pub hidden_bias: bool,
    /// Whether the last linear layer has a bias.
    pub last_bias: bool,
    /// Batch normalisation of the output.
    pub last_norm: LastNorm,
}

/// Whether and how a perceptron's output is batch-normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastNorm {
    /// No normalisation.
    None,
    /// Normalised to zero mean and unit variance, without learnable parameters.
    Plain,
    /// Normalised, with learnable scale and shift.
    Affine,
}

impl<'a> Layers<'a> {
    /// Linear layers with biases and ReLU, without normalisation. With sizes (features, 2048, 256) this is the SimCLR
    /// projector of the paper's authors.
    pub fn plain(sizes: &'a [usize]) -> Self {
        Self { sizes, hidden_norm: false, hidden_bias: true, last_bias: true, last_norm: LastNorm::None }
    }

    /// Like [`Self::plain`], with batch normalisation of hidden layers: the projectors of BYOL and Barlow Twins in
    /// solo-learn and in the code of the paper's authors.
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
    /// Creates `0.weight`, `0.bias`, `1.weight`, ..., numbered like a torch `Sequential` of Linear, BatchNorm1d and
    /// ReLU.
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
            // The ReLU that follows has an index, too.
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

    /// Maps (batch, first size) to (batch, last size).
    pub fn forward(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut hidden = features.clone();
        for (linear, norm) in &self.hidden {
            hidden = linear.forward(&hidden)?;
            hidden = match norm {
                Some(norm) => norm.forward(&hidden, mode, Epilogue { residual: None, relu: true })?,
                None => hidden.relu()?,
            };
        }
        let output = self.last.forward(&hidden)?;
        match &self.last_norm {
            Some(norm) => norm.forward(&output, mode, Epilogue::default()),
            None => Ok(output),
        }
    }
}

/// DINO's head: a perceptron with GELU, a bottleneck normalised to unit length, and its cosine similarity with each
/// prototype.
///
/// Variables have DINO's names: `mlp.{0,2,4}`, or `mlp.{0,1,3,4,6}` with batch normalisation, and
/// `last_layer.weight_v` (prototypes, bottleneck). The norms `last_layer.weight_g` of its weight normalisation are
/// fixed at 1 and omitted.
pub struct PrototypeHead {
    hidden: [(Linear, Option<BatchNorm>); 2],
    last: Linear,
    directions: Var,
}

impl PrototypeHead {
    /// Full name of the variable that DINO freezes for the first epochs, if the head is built below `head`.
    pub const LAST_LAYER: &'static str = "head.last_layer.weight_v";

    /// Initialises linear layers as truncated normal with standard deviation 0.02 and zero bias, prototypes like
    /// torch's linear layer.
    ///
    /// If `hidden_norm`, batch normalisation follows both hidden layers; these have no bias, since it would have no
    /// effect.
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

    /// Whether rows are processed independently, so that results do not depend on the rest of the batch.
    pub fn is_rowwise(&self) -> bool {
        self.hidden.iter().all(|(_, norm)| norm.is_none())
    }

    /// Maps features (rows, width) to the bottleneck (rows, output), before normalisation to unit length.
    pub fn bottleneck(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut hidden = features.clone();
        for (linear, norm) in &self.hidden {
            hidden = linear.forward(&hidden)?;
            if let Some(norm) = norm {
                hidden = norm.forward(&hidden, mode, Epilogue::default())?;
            }
            hidden = gelu(&hidden)?;
        }
        self.last.forward(&hidden)
    }

    /// Maps bottlenecks (rows, output) to cosine similarities with the prototypes (rows, prototypes), in f32 at
    /// least: after division by small temperatures, bf16 would leave few distinct values.
    pub fn cosines(&self, bottleneck: &Tensor) -> Result<Tensor> {
        linear(&unit_rows(&widen(bottleneck)?)?, &unit_rows(&self.directions)?, None)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use checks::{distance, normal};

    use super::*;
    use crate::{backbone::Parameters, seed::Seed};

    #[test]
    fn parameter_counts_are_the_references() -> Result<()> {
        // Counted on PyTorch modules with 512 features: lightly's SimCLR projector (its linear layers have no bias
        // before an affine BatchNorm), BYOL's projector, Barlow Twins' projector.
        let lightly = Layers {
            sizes: &[512, 2048, 128],
            hidden_norm: true,
            hidden_bias: false,
            last_bias: false,
            last_norm: LastNorm::Affine,
        };
        let byol = Layers { sizes: &[512, 4096, 256], last_bias: true, last_norm: LastNorm::None, ..lightly };
        let barlow = Layers { sizes: &[512, 2048, 2048, 2048], ..byol };
        // By hand: 512 x 2048 + 2048 + 2048 x 256 + 256, and twice 2048 for the scale and shift between them.
        let sizes = [512, 2048, 256];
        let plain = (Layers::plain(&sizes), 1_575_168);
        let normalised = (Layers::normalised(&sizes), 1_579_264);
        for (layers, expected) in
            [(lightly, 1_315_072), (byol, 3_154_176), (barlow, 9_447_424), plain, normalised]
        {
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

    const HEADS: Heads =
        Heads { hidden: 5, output: 2, prototypes: 3, decoder: DecoderSize { width: 8, depth: 1, heads: 2 } };

    /// Numbered as in DINO's `DINOHead`, with and without `use_bn`.
    #[test]
    fn names_are_those_of_dinos_head() -> Result<()> {
        for (hidden_norm, expected) in [
            (false, "mlp.0.weight mlp.0.bias mlp.2.weight mlp.2.bias mlp.4.weight mlp.4.bias"),
            (
                true,
                "mlp.0.weight mlp.1.weight mlp.1.bias mlp.1.running_mean mlp.1.running_var mlp.3.weight mlp.4.weight \
                 mlp.4.bias mlp.4.running_mean mlp.4.running_var mlp.6.weight mlp.6.bias",
            ),
        ] {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("head", Seed::root(0), DType::F32, &Device::Cpu);
            let head = PrototypeHead::new(&mut builder, 4, HEADS, hidden_norm)?;
            assert_eq!(head.is_rowwise(), !hidden_norm);
            let names: Vec<&str> = parameters.all().iter().map(|parameter| parameter.name.as_str()).collect();
            let expected = expected.split_whitespace().map(|name| format!("head.{name}"));
            assert_eq!(names, expected.chain([PrototypeHead::LAST_LAYER.to_owned()]).collect::<Vec<_>>());
        }
        Ok(())
    }

    #[test]
    fn rows_are_compared_with_prototypes_by_their_cosine() -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("head", Seed::root(0), DType::F64, &Device::Cpu);
        let head = PrototypeHead::new(&mut builder, 4, HEADS, false)?;
        head.directions.set(&Tensor::new(&[[3.0, 0.0], [0.0, -0.5], [4.0, 3.0]], &Device::Cpu)?)?;
        let cosines =
            head.cosines(&Tensor::new(&[[0.0, 7.0], [1.5, 2.0]], &Device::Cpu)?)?.to_vec2::<f64>()?;
        for (found, expected) in cosines.concat().iter().zip([0.0, -1.0, 0.6, 0.6, -0.8, 0.96]) {
            assert!((found - expected).abs() < 1e-12, "{cosines:?}");
        }
        Ok(())
    }

    /// Returns a variable's number of values, their largest absolute value and their root mean square.
    fn spread(parameters: &Parameters, name: &str) -> Result<(usize, f64, f64)> {
        let values = parameters.get(name).unwrap().variable.flatten_all()?.to_vec1::<f32>()?;
        let largest = values.iter().fold(0.0, |largest, value| f64::from(value.abs()).max(largest));
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        Ok((values.len(), largest, (squares / values.len() as f64).sqrt()))
    }

    /// torch's linear layers are uniform within +-1/sqrt(inputs). DINO's are normal with standard deviation 0.02 and
    /// zero bias, except for the prototypes, which are initialised like torch's.
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
            // The standard deviation of a uniform variable is bound / sqrt(3); within six standard errors.
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
    /// By hand: the ReLU turns (2, -5) into (2, 0), which gives 2 + 0.5, and (-1, 4) into (0, 4), which gives
    /// -12 + 0.5.
    #[test]
    fn hidden_layers_end_in_a_relu_and_the_last_does_not() -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu);
        let perceptron = Perceptron::new(&mut builder, Layers::plain(&[2, 2, 1]))?;
        let set = |name: &str, values: &[f64]| {
            let variable = &parameters.get(name).unwrap().variable;
            variable.set(&Tensor::from_slice(values, variable.shape(), &Device::Cpu)?)
        };
        set("0.weight", &[1.0, 0.0, 0.0, 1.0])?;
        set("0.bias", &[0.0, 0.0])?;
        set("2.weight", &[1.0, -3.0])?;
        set("2.bias", &[0.5])?;
        let rows = Tensor::new(&[[2.0, -5.0], [-1.0, 4.0]], &Device::Cpu)?;
        for mode in [Mode::Train, Mode::Evaluate] {
            assert_eq!(perceptron.forward(&rows, mode)?.to_vec2::<f64>()?, [[2.5], [-11.5]]);
        }
        Ok(())
    }

    /// Means and biased variances of columns.
    fn moments(rows: &Tensor) -> Result<[Vec<f64>; 2]> {
        let mean = rows.mean_keepdim(0)?;
        let variance = rows.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        Ok([mean.squeeze(0)?.to_vec1()?, variance.to_vec1()?])
    }

    #[test]
    fn outputs_are_normalised_as_asked_and_in_training_only() -> Result<()> {
        let rows = normal("rows", &[9, 3], DType::F64)?.as_detached_tensor();
        for (last_norm, expected) in [
            (LastNorm::None, None),
            (LastNorm::Plain, Some((0.0, 1.0))),
            (LastNorm::Affine, Some((3.0, 4.0))),
        ] {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("", Seed::root(1), DType::F64, &Device::Cpu);
            let layers = Layers { last_norm, ..Layers::normalised(&[3, 5, 2]) };
            let perceptron = Perceptron::new(&mut builder, layers)?;
            if last_norm == LastNorm::Affine {
                for (name, value) in [("4.weight", 2.0), ("4.bias", 3.0)] {
                    let variable = &parameters.get(name).unwrap().variable;
                    variable.set(&Tensor::full(value, 2, &Device::Cpu)?)?;
                }
            }
            let trained = perceptron.forward(&rows, Mode::Train)?;
            if let Some((mean, variance)) = expected {
                let [means, variances] = moments(&trained)?;
                assert!(means.iter().all(|found| (found - mean).abs() < 1e-12), "{last_norm:?}: {means:?}");
                let near = |found: &f64| (found / variance - 1.0).abs() < 0.01;
                assert!(variances.iter().all(near), "{last_norm:?}: {variances:?}");
            }
            // In evaluation no row depends on others: the running statistics of training are used, not updated.
            let all = perceptron.forward(&rows, Mode::Evaluate)?;
            let alone = perceptron.forward(&rows.narrow(0, 4, 1)?, Mode::Evaluate)?;
            assert!(distance(&alone, &all.narrow(0, 4, 1)?)? < 1e-12, "{last_norm:?}");
            assert!(distance(&trained, &all)? > 1e-3, "{last_norm:?}");
        }
        Ok(())
    }

    #[test]
    fn bottlenecks_of_a_normalised_head_are_of_each_row_in_evaluation() -> Result<()> {
        let rows = normal("rows", &[9, 4], DType::F64)?.as_detached_tensor();
        for hidden_norm in [false, true] {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("", Seed::root(1), DType::F64, &Device::Cpu);
            let head = PrototypeHead::new(&mut builder, 4, HEADS, hidden_norm)?;
            let trained = head.bottleneck(&rows, Mode::Train)?;
            let all = head.bottleneck(&rows, Mode::Evaluate)?;
            let alone = head.bottleneck(&rows.narrow(0, 4, 1)?, Mode::Evaluate)?;
            assert!(distance(&alone, &all.narrow(0, 4, 1)?)? < 1e-12);
            assert_eq!(distance(&trained, &all)? > 1e-6, hidden_norm);
        }
        Ok(())
    }
}
