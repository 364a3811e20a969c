//! Layers with variables: convolution, batch and layer normalisation, linear layers.
//!
//! Initialised like torchvision and torch unless stated otherwise.

use candle_core::{D, Result, Tensor, Var};

use super::{Builder, Initialise, Mode, Role};
use crate::tensor::{
    Geometry, Statistics, batch_norm, batch_norm::Epilogue, convolution, layer_norm, linear, linear_of_gelu,
};

/// A convolution without bias.
pub struct Convolution {
    weight: Var,
    geometry: Geometry,
}

impl Convolution {
    /// Creates `weight` (out, in, kernel, kernel), normal with variance 2 / (out kernel^2): Kaiming initialisation
    /// for ReLU, by fan-out.
    pub fn new(
        builder: &mut Builder,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        geometry: Geometry,
    ) -> Result<Self> {
        let std = (2.0 / (outputs * kernel * kernel) as f64).sqrt();
        let shape = (outputs, inputs, kernel, kernel);
        let weight = builder.variable("weight", shape, Initialise::Normal { std }, Role::Weight)?;
        Ok(Self { weight, geometry })
    }

    /// Maps images (batch, height, width, in) to (batch, height', width', out).
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        convolution(images, &self.weight, self.geometry)
    }
}

/// Batch normalisation with running statistics, over all axes but the last.
pub struct BatchNorm {
    /// Scale and shift; `None` corresponds to torch's `affine=False`.
    affine: Option<(Var, Var)>,
    running_mean: Var,
    running_var: Var,
}

impl BatchNorm {
    /// Step size of running statistics in training: torch's `momentum`.
    const MOMENTUM: f64 = 0.1;

    /// Creates `weight` = 1 and `bias` = 0 (if `affine`), `running_mean` = 0 and `running_var` = 1.
    pub fn new(builder: &mut Builder, channels: usize, affine: bool) -> Result<Self> {
        let mut constant =
            |name, value, kind| builder.variable(name, channels, Initialise::Constant(value), kind);
        Ok(Self {
            affine: match affine {
                true => Some((constant("weight", 1.0, Role::Norm)?, constant("bias", 0.0, Role::Norm)?)),
                false => None,
            },
            running_mean: constant("running_mean", 0.0, Role::Buffer)?,
            running_var: constant("running_var", 1.0, Role::Buffer)?,
        })
    }

    /// Normalises `input` (..., channels), then applies `then`. In training, running statistics move towards the
    /// batch's mean and unbiased variance.
    pub fn forward(&self, input: &Tensor, mode: Mode, then: Epilogue) -> Result<Tensor> {
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (weight.as_tensor().clone(), bias.as_tensor().clone()),
            None => (self.running_mean.ones_like()?.detach(), self.running_mean.zeros_like()?.detach()),
        };
        let given = match mode {
            Mode::Train => None,
            Mode::Evaluate => Some(Statistics {
                mean: self.running_mean.as_detached_tensor(),
                variance: self.running_var.as_detached_tensor(),
            }),
        };
        let (output, used) = batch_norm(input, &weight, &bias, given, then)?;
        if mode == Mode::Train {
            let rows = input.elem_count() / self.running_mean.elem_count();
            used.move_running(&self.running_mean, &self.running_var, rows, Self::MOMENTUM)?;
        }
        Ok(output)
    }
}

/// Layer normalisation over the last axis.
pub struct LayerNorm {
    weight: Var,
    bias: Var,
}

impl LayerNorm {
    /// Added to variances: the value of timm and MAE for vision transformers (torch's default is 1e-5).
    pub const EPSILON: f64 = 1e-6;

    /// Creates `weight` = 1 and `bias` = 0, both (width).
    pub fn new(builder: &mut Builder, width: usize) -> Result<Self> {
        let mut constant =
            |name, value| builder.variable(name, width, Initialise::Constant(value), Role::Norm);
        Ok(Self { weight: constant("weight", 1.0)?, bias: constant("bias", 0.0)? })
    }

    /// Normalises the rows of `input` (..., width).
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        layer_norm(input, &self.weight, &self.bias, Self::EPSILON)
    }

    /// Normalises rows of `parts` (batch, rows, width) with the variance of `whole` (batch, 1, width): subtracts each
    /// row's own mean and divides by the standard deviation of `whole`. This is linear: if the mean over rows is
    /// `whole`, the mean of the results is [`Self::forward`] of `whole`. For evaluation only, as weight and bias get no
    /// gradients.
    pub fn forward_with_variance_of(&self, parts: &Tensor, whole: &Tensor) -> Result<Tensor> {
        let centred = whole.broadcast_sub(&whole.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + Self::EPSILON)?.sqrt()?;
        let parts = parts.broadcast_sub(&parts.mean_keepdim(D::Minus1)?)?.broadcast_div(&deviation)?;
        let (weight, bias) = (self.weight.as_detached_tensor(), self.bias.as_detached_tensor());
        parts.broadcast_mul(&weight)?.broadcast_add(&bias)
    }
}

/// Linear layer `y = x W^T + b`.
pub struct Linear {
    weight: Var,
    bias: Option<Var>,
}

impl Linear {
    /// Creates `weight` (out, in) and, if requested, `bias` (out), both uniform within +-1/sqrt(in): torch's default.
    pub fn new(builder: &mut Builder, inputs: usize, outputs: usize, bias: bool) -> Result<Self> {
        let initialise = Initialise::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
        let weight = builder.variable("weight", (outputs, inputs), initialise, Role::Weight)?;
        let bias = match bias {
            true => Some(builder.variable("bias", outputs, initialise, Role::Bias)?),
            false => None,
        };
        Ok(Self { weight, bias })
    }

    /// Creates `weight` (out, in), initialised by `weights`, and `bias` (out) = 0.
    pub fn with_weights(
        builder: &mut Builder,
        inputs: usize,
        outputs: usize,
        weights: Initialise,
    ) -> Result<Self> {
        let Self { weight, .. } = Self::without_bias(builder, inputs, outputs, weights)?;
        let bias = builder.variable("bias", outputs, Initialise::Constant(0.0), Role::Bias)?;
        Ok(Self { weight, bias: Some(bias) })
    }

    /// Creates `weight` (out, in), initialised by `weights`, without bias.
    pub fn without_bias(
        builder: &mut Builder,
        inputs: usize,
        outputs: usize,
        weights: Initialise,
    ) -> Result<Self> {
        let weight = builder.variable("weight", (outputs, inputs), weights, Role::Weight)?;
        Ok(Self { weight, bias: None })
    }

    /// Maps rows (..., in) to (..., out).
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        linear(input, &self.weight, self.bias.as_deref())
    }

    /// Applies [`Self::forward`] to GELU of the input.
    pub fn forward_of_gelu(&self, input: &Tensor) -> Result<Tensor> {
        linear_of_gelu(input, &self.weight, self.bias.as_deref())
    }

    /// Computes `x W^T` without the bias, for terms of a sum to which the bias is added only once.
    pub fn forward_without_bias(&self, input: &Tensor) -> Result<Tensor> {
        linear(input, &self.weight, None)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use checks::{distance, normal};

    use super::*;
    use crate::{backbone::Parameters, seed::Seed, tensor::gelu};

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// What `build` makes, with names, roles and numbers of its variables.
    fn built<T>(build: impl FnOnce(&mut Builder) -> Result<T>) -> (T, Vec<(String, Role, Vec<f64>)>) {
        let mut parameters = Parameters::default();
        let layer = build(&mut parameters.builder("x", Seed::root(5), DType::F64, &Device::Cpu)).unwrap();
        let told = parameters.all().iter().map(|parameter| {
            (parameter.name.clone(), parameter.kind, numbers(parameter.variable.as_tensor()))
        });
        (layer, told.collect())
    }

    /// Two images of 1 x 2 pixels: four rows of two channels, whose means are 3 and 1 and whose variances are 5 and 4.
    #[test]
    fn running_statistics_count_every_pixel() {
        for affine in [true, false] {
            let (norm, told) = built(|builder| BatchNorm::new(builder, 2, affine));
            let named: Vec<(&str, Role, &[f64])> =
                told.iter().map(|(name, role, values)| (name.as_str(), *role, &values[..])).collect();
            let expected: [(&str, Role, &[f64]); 4] = [
                ("x.weight", Role::Norm, &[1.0; 2]),
                ("x.bias", Role::Norm, &[0.0; 2]),
                ("x.running_mean", Role::Buffer, &[0.0; 2]),
                ("x.running_var", Role::Buffer, &[1.0; 2]),
            ];
            assert_eq!(named, expected[if affine { 0 } else { 2 }..]);
            let rows = [0.0, -1.0, 2.0, 3.0, 4.0, -1.0, 6.0, 3.0];
            let images = Tensor::new(&rows, &Device::Cpu).unwrap().reshape((2, 1, 2, 2)).unwrap();
            let output = norm.forward(&images, Mode::Train, Epilogue::default()).unwrap();
            let expected = rows.iter().enumerate().map(|(place, x)| match place % 2 {
                0 => (x - 3.0) / (5.0_f64 + 1e-5).sqrt(),
                _ => (x - 1.0) / (4.0_f64 + 1e-5).sqrt(),
            });
            for (found, expected) in numbers(&output).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
            }
            // A tenth of each mean, and of each variance over three instead of four.
            let running = [&norm.running_mean, &norm.running_var].map(|of| numbers(of.as_tensor()));
            let expected = [[0.3, 0.1], [0.9 + 0.1 * 20.0 / 3.0, 0.9 + 0.1 * 16.0 / 3.0]];
            for (found, expected) in running.concat().iter().zip(expected.concat()) {
                assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
            }
            // In evaluation these are used, and stay.
            let output = norm.forward(&images, Mode::Evaluate, Epilogue::default()).unwrap();
            let of_first = -0.3 / (0.9 + 2.0 / 3.0 + 1e-5_f64).sqrt();
            assert!((numbers(&output)[0] - of_first).abs() < 1e-12, "{output:?}");
            assert_eq!([&norm.running_mean, &norm.running_var].map(|of| numbers(of.as_tensor())), running);
        }
    }

    #[test]
    fn layer_norm_is_of_each_row() {
        let (norm, told) = built(|builder| LayerNorm::new(builder, 3));
        let expected = [("x.weight", vec![1.0; 3]), ("x.bias", vec![0.0; 3])];
        assert_eq!(told, expected.map(|(name, values)| (name.to_owned(), Role::Norm, values)));
        // Variances of 2/3 and 2/3 of a millionth, beside which the constant of a millionth counts.
        let rows = Tensor::new(&[[1.0, 2.0, 3.0], [0.001, 0.002, 0.003]], &Device::Cpu).unwrap();
        let found = numbers(&norm.forward(&rows).unwrap());
        let [first, second] = [1.0 / (2.0 / 3.0 + 1e-6_f64).sqrt(), 1e-3 / (5.0e-6 / 3.0_f64).sqrt()];
        for (found, expected) in found.iter().zip([-first, 0.0, first, -second, 0.0, second]) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    /// Uniform within a half for four inputs; given weights, a bias of 0, or none.
    #[test]
    fn linear_layers_begin_as_they_are_asked_to() {
        let given = Initialise::Constant(0.75);
        let weight = |value: Option<f64>| (("x.weight".to_owned(), Role::Weight), value, 200 * 4);
        let bias = |value: Option<f64>| (("x.bias".to_owned(), Role::Bias), value, 200);
        for (found, expected) in [
            (built(|builder| Linear::new(builder, 4, 200, true)).1, vec![weight(None), bias(None)]),
            (built(|builder| Linear::new(builder, 4, 200, false)).1, vec![weight(None)]),
            (
                built(|builder| Linear::with_weights(builder, 4, 200, given)).1,
                vec![weight(Some(0.75)), bias(Some(0.0))],
            ),
            (built(|builder| Linear::without_bias(builder, 4, 200, given)).1, vec![weight(Some(0.75))]),
        ] {
            assert_eq!(found.len(), expected.len());
            for ((name, role, values), (told, value, count)) in found.into_iter().zip(expected) {
                assert_eq!(((name, role), values.len()), (told, count));
                let largest = values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
                match value {
                    Some(value) => assert!(values.iter().all(|x| *x == value), "{values:?}"),
                    None => assert!(largest <= 0.5 && largest > 0.45, "{largest}"),
                }
            }
        }
    }

    #[test]
    fn linear_layers_map_rows() -> Result<()> {
        let (layer, told) = built(|builder| Linear::new(builder, 3, 2, true));
        let rows = normal("rows", &[2, 5, 3], DType::F64)?.as_detached_tensor();
        let (weights, bias) = (&told[0].2, &told[1].2);
        let by_hand = |rows: &Tensor, with_bias: bool| -> Result<Tensor> {
            let mut mapped = Vec::new();
            for row in numbers(rows).chunks(3) {
                for (weights, bias) in weights.chunks(3).zip(bias) {
                    let sum: f64 = row.iter().zip(weights).map(|(x, weight)| x * weight).sum();
                    mapped.push(sum + if with_bias { *bias } else { 0.0 });
                }
            }
            Tensor::from_vec(mapped, (2, 5, 2), &Device::Cpu)
        };
        assert!(distance(&layer.forward(&rows)?, &by_hand(&rows, true)?)? < 1e-12);
        assert!(distance(&layer.forward_without_bias(&rows)?, &by_hand(&rows, false)?)? < 1e-12);
        assert!(distance(&layer.forward_of_gelu(&rows)?, &by_hand(&gelu(&rows)?, true)?)? < 1e-12);
        Ok(())
    }

    /// By fan-out: 50 kernels of 9 weights, whatever the number of inputs.
    #[test]
    fn convolutions_are_drawn_by_their_outputs() -> Result<()> {
        let geometry = Geometry { stride: 2, padding: 1 };
        let (layer, told) = built(|builder| Convolution::new(builder, 20, 50, 3, geometry));
        let (name, role, weights) = &told[0];
        assert_eq!((name.as_str(), *role, weights.len()), ("x.weight", Role::Weight, 50 * 20 * 9));
        let variance = weights.iter().map(|x| x * x).sum::<f64>() / weights.len() as f64;
        assert!((variance * 450.0 - 2.0).abs() < 0.1, "{variance}");
        let images = normal("images", &[1, 5, 8, 20], DType::F64)?.as_detached_tensor();
        assert_eq!(layer.forward(&images)?.dims(), [1, 3, 4, 50]);
        Ok(())
    }
}
