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
