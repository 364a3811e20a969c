//! Vision transformer (Dosovitskiy et al. 2021) with timm's parameter names, initialisation and behaviour:
//!
//! t = [class; patches] + positions;  t = t + attend(norm1(t)), t = t + mlp(norm2(t)) in every block;
//!
//! followed by a final normalisation. Features are the class token's row. There is no dropout and no layer scale. The
//! classifier `head` is omitted.

mod places;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use candle_core::{Result, Tensor, Var, bail};

use super::{
    Backbone, Builder, Initialise, Mode, Role,
    layers::{LayerNorm, Linear},
    position::{self, Grid},
};
use crate::tensor::{add, attention, attention_of_first, chain, first_tokens, linear, pick_rows, widen};

/// Size of a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitSize {
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Length of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads per block; each gets `width / heads` of a token's features.
    pub heads: usize,
}

impl VitSize {
    /// timm's `vit_tiny_patch16`.
    pub const TINY: Self = Self { patch: 16, width: 192, depth: 12, heads: 3 };
}

/// Kind of position embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionEmbedding {
    /// A trainable variable, initialised as truncated normal with standard deviation 0.02.
    Learned,
    /// MAE's fixed sines and cosines ([`position`]): saved like a variable, but never trained.
    Fixed,
}

/// Initialisation of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Linear layers truncated normal with standard deviation 0.02, the class token normal with 1e-6, the patch
    /// projection like torch's convolution.
    Timm,
    /// Linear layers and patch projection Xavier-uniform, the class token normal with standard deviation 0.02.
    Mae,
}

impl Weights {
    /// Returns the initialisation of a linear layer's matrix; its bias is 0 in both cases.
    pub fn linear(self, inputs: usize, outputs: usize) -> Initialise {
        match self {
            Self::Timm => Initialise::TruncatedNormal { std: 0.02, limit: 2.0 },
            Self::Mae => Initialise::Uniform { bound: (6.0 / (inputs + outputs) as f64).sqrt() },
        }
    }
}

/// Initialisation of a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitInitialisation {
    /// Kind of position embeddings.
    pub position: PositionEmbedding,
    /// Initialisation of everything else.
    pub weights: Weights,
}

impl VitInitialisation {
    /// As in timm's `vit_tiny_patch16_224`.
    pub const TIMM: Self = Self { position: PositionEmbedding::Learned, weights: Weights::Timm };
    /// As in MAE's original code.
    pub const MAE: Self = Self { position: PositionEmbedding::Fixed, weights: Weights::Mae };
}

/// The encoder, without the classifier.
pub struct Vit {
    size: VitSize,
    /// The grid that position embeddings are created for.
    grid: Grid,
    class_token: Var,
    positions: Positions,
    /// timm's convolution kernel (width, 3, patch, patch).
    patch_weight: Var,
    patch_bias: Var,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    /// Cached matrices that interpolate position embeddings to other grids.
    interpolations: Mutex<BTreeMap<Grid, Tensor>>,
}

/// The variable `pos_embed`; only learned embeddings receive gradients.
enum Positions {
    Learned(Var),
    Fixed(Var),
}

impl Vit {
    /// Creates all variables, with position embeddings for square images of `side` pixels.
    ///
    /// # Errors
    /// If the side is not a multiple of the patch, or the width is not a multiple of the number of heads.
    pub fn new(builder: &mut Builder, size: VitSize, side: usize, start: VitInitialisation) -> Result<Self> {
        let VitSize { patch, width, depth, heads } = size;
        if patch == 0 || side == 0 || !side.is_multiple_of(patch) {
            bail!("vit: patches of {patch} px do not fill images of {side} px")
        }
        let grid = (side / patch, side / patch);
        let class = match start.weights {
            Weights::Timm => 1e-6,
            Weights::Mae => 0.02,
        };
        let class = Initialise::Normal { std: class };
        let class_token = builder.variable("cls_token", (1, 1, width), class, Role::Weight)?;
        let shape = (1, 1 + grid.0 * grid.1, width);
        let positions = match start.position {
            PositionEmbedding::Learned => {
                let initialise = Initialise::TruncatedNormal { std: 0.02, limit: 2.0 };
                Positions::Learned(builder.variable("pos_embed", shape, initialise, Role::Weight)?)
            }
            PositionEmbedding::Fixed => {
                let fixed = builder.variable("pos_embed", shape, Initialise::Constant(0.0), Role::Buffer)?;
                fixed.set(&position::sinusoids(grid, width, fixed.dtype(), fixed.device())?)?;
                Positions::Fixed(fixed)
            }
        };
        let inputs = 3 * patch * patch;
        let torch = Initialise::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
        let mut projection = builder.scope("patch_embed");
        let mut projection = projection.scope("proj");
        let weights = match start.weights {
            Weights::Timm => torch,
            Weights::Mae => start.weights.linear(inputs, width),
        };
        let patch_weight = projection.variable("weight", (width, 3, patch, patch), weights, Role::Weight)?;
        // MAE, too, keeps torch's initialisation of this bias.
        let patch_bias = projection.variable("bias", width, torch, Role::Bias)?;
        let mut scope = builder.scope("blocks");
        let blocks = (0..depth)
            .map(|number| {
                TransformerBlock::new(&mut scope.scope(&number.to_string()), width, heads, start.weights)
            })
            .collect::<Result<_>>()?;
        let norm = LayerNorm::new(&mut builder.scope("norm"), width)?;
        let interpolations = Mutex::default();
        Ok(Self {
            size,
            grid,
            class_token,
            positions,
            patch_weight,
            patch_bias,
            blocks,
            norm,
            interpolations,
        })
    }

    /// Returns the tokens after the final normalisation (batch, 1 + patches, width), the class token first.
    ///
    /// With `kept` (batch, kept), of type u32, only these patches pass through the blocks, in the given order;
    /// patches are numbered in row-major order.
    ///
    /// # Errors
    /// If the sides of the images are not multiples of the patch.
    pub fn tokens(&self, images: &Tensor, kept: Option<&Tensor>) -> Result<Tensor> {
        chain(&self.embed_patches(images, kept)?, |tokens| {
            self.norm.forward(&TransformerBlock::forward_all(&self.blocks, tokens)?)
        })
    }

    /// Computes the input of the first block (batch, 1 + patches, width).
    fn embed_patches(&self, images: &Tensor, kept: Option<&Tensor>) -> Result<Tensor> {
        let (batch, height, width, channels) = images.dims4()?;
        let patch = self.size.patch;
        let grid @ (down, across) = (height / patch, width / patch);
        if channels != 3 || (down * patch, across * patch) != (height, width) || down * across == 0 {
            bail!("vit: patches of {patch} px in 3 channels do not fill images {:?}", images.shape())
        }
        // Pixels of a patch are ordered as (row, column, channel), and so are the kernel's weights.
        let pixels = images
            .reshape((batch, down, patch, across, patch, 3))?
            .permute((0, 1, 3, 2, 4, 5))?
            .reshape((batch, down * across, patch * patch * 3))?;
        let weight = self.patch_weight.permute((0, 2, 3, 1))?.reshape((self.size.width, ()))?;
        // Positions are added in full precision, before rounding.
        let patches = widen(&linear(&pixels, &weight, Some(&self.patch_bias))?)?;
        let (class, places) = self.positions(grid)?;
        let mut patches = patches.broadcast_add(&places)?;
        if let Some(kept) = kept {
            patches = select(&patches, kept)?;
        }
        let class = (self.class_token.as_tensor() + class)?.broadcast_as((batch, 1, self.size.width))?;
        Tensor::cat(&[&class, &patches], 1)?.to_dtype(images.dtype())
    }

    /// Position embeddings of the class token (1, 1, width) and of the grid's patches (1, patches, width).
    fn positions(&self, grid: Grid) -> Result<(Tensor, Tensor)> {
        let all = match &self.positions {
            Positions::Learned(variable) => variable.as_tensor().clone(),
            Positions::Fixed(variable) => variable.as_detached_tensor(),
        };
        let (class, places) = (all.narrow(1, 0, 1)?, all.narrow(1, 1, self.grid.0 * self.grid.1)?);
        if grid == self.grid {
            return Ok((class, places));
        }
        let mut known = self.interpolations.lock().unwrap_or_else(PoisonError::into_inner);
        let matrix = match known.get(&grid) {
            Some(matrix) => matrix.clone(),
            None => {
                let matrix = position::interpolation(self.grid, grid, all.dtype(), all.device())?;
                known.insert(grid, matrix.clone());
                matrix
            }
        };
        Ok((class, matrix.matmul(&places.squeeze(0)?)?.unsqueeze(0)?))
    }
}

impl Backbone for Vit {
    fn embed(&self, images: &Tensor, _: Mode) -> Result<Tensor> {
        let first = chain(&self.embed_patches(images, None)?, |tokens| {
            // The other tokens are not needed after the last block.
            self.norm.forward(&TransformerBlock::forward_to_first(&self.blocks, tokens, 1)?)
        })?;
        first.squeeze(1)
    }

    fn feature_map(&self, images: &Tensor) -> Result<Option<Tensor>> {
        self.patch_features(images).map(Some)
    }

    fn mixes_images(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        self.size.width
    }
}

/// Selects the tokens `kept` (batch, kept) among the tokens (batch, tokens, width) of each image.
fn select(tokens: &Tensor, kept: &Tensor) -> Result<Tensor> {
    let (batch, count, width) = tokens.dims3()?;
    let (rows, kept_count) = kept.dims2()?;
    if rows != batch {
        bail!("vit: patches to keep are given for {rows} of {batch} images")
    }
    let mut places = kept.to_vec2::<u32>()?;
    for (image, places) in places.iter_mut().enumerate() {
        for place in places {
            if *place as usize >= count {
                bail!("vit: patch {place} to keep, of {count}")
            }
            *place += (image * count) as u32;
        }
    }
    let rows = tokens.reshape((batch * count, width))?;
    pick_rows(&rows, &places.concat())?.reshape((batch, kept_count, width))
}

/// A transformer block: attention among tokens and a perceptron on each, both on normalised tokens with a shortcut.
pub struct TransformerBlock {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

impl TransformerBlock {
    /// Creates `norm1`, `attn.qkv`, `attn.proj`, `norm2`, `mlp.fc1` and `mlp.fc2`; the perceptron's hidden layer is
    /// four times as wide.
    ///
    /// # Errors
    /// If the width is not a multiple of the number of heads.
    pub fn new(builder: &mut Builder, width: usize, heads: usize, weights: Weights) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            bail!("vit: a width of {width} is not a multiple of {heads} heads")
        }
        let linear = |builder: &mut Builder, name: &str, inputs: usize, outputs: usize| {
            Linear::with_weights(&mut builder.scope(name), inputs, outputs, weights.linear(inputs, outputs))
        };
        let norm1 = LayerNorm::new(&mut builder.scope("norm1"), width)?;
        let mut attention = builder.scope("attn");
        let qkv = linear(&mut attention, "qkv", width, 3 * width)?;
        let proj = linear(&mut attention, "proj", width, width)?;
        let norm2 = LayerNorm::new(&mut builder.scope("norm2"), width)?;
        let mut perceptron = builder.scope("mlp");
        let fc1 = linear(&mut perceptron, "fc1", width, 4 * width)?;
        let fc2 = linear(&mut perceptron, "fc2", 4 * width, width)?;
        Ok(Self { norm1, qkv, proj, norm2, fc1, fc2, heads })
    }

    /// Maps (batch, tokens, width) to the same shape.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        self.finish(tokens, &attention(&self.join(tokens)?, self.heads)?)
    }

    /// Applies several blocks in sequence.
    pub fn forward_all(blocks: &[Self], tokens: &Tensor) -> Result<Tensor> {
        blocks.iter().try_fold(tokens.clone(), |tokens, block| block.forward(&tokens))
    }

    /// Returns the first `count` tokens (batch, count, width) of [`Self::forward_all`], without computing the others in
    /// the last block.
    pub fn forward_to_first(blocks: &[Self], tokens: &Tensor, count: usize) -> Result<Tensor> {
        let [blocks @ .., last] = blocks else { return first_tokens(tokens, count) };
        let tokens = Self::forward_all(blocks, tokens)?;
        let attended = attention_of_first(&last.join(&tokens)?, last.heads, count)?;
        last.finish(&first_tokens(&tokens, count)?, &attended)
    }

    /// Returns queries, keys and values, side by side.
    fn join(&self, tokens: &Tensor) -> Result<Tensor> {
        self.qkv.forward(&self.norm1.forward(tokens)?)
    }

    fn finish(&self, tokens: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let tokens = add(tokens, &self.proj.forward(attended)?)?;
        let inner = self.fc1.forward(&self.norm2.forward(&tokens)?)?;
        add(&tokens, &self.fc2.forward_of_gelu(&inner)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Device, IndexOp};
    use checks::{distance, normal};
    use rstest::rstest;

    use super::*;
    use crate::{backbone::Parameters, seed::Seed, tensor::backward};

    const SMALL: VitSize = VitSize { patch: 4, width: 12, depth: 2, heads: 3 };

    fn vit(size: VitSize, side: usize, start: VitInitialisation, dtype: DType) -> Result<(Parameters, Vit)> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), dtype, &Device::Cpu);
        let vit = Vit::new(&mut builder, size, side, start)?;
        Ok((parameters, vit))
    }

    fn values(tensor: &Tensor) -> Result<Vec<f64>> {
        tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            // The references are printed to nine digits.
            assert!((found - expected).abs() < 2e-9, "found {found}, expected {expected}");
        }
    }

    /// Fills variables by the reference's rule: each entry of timm's `state_dict()`, in order, gets a sine of its
    /// position.
    fn fill(parameters: &Parameters) -> Result<()> {
        for (index, parameter) in parameters.all().iter().enumerate() {
            let (variable, index) = (&parameter.variable, index as f64);
            let fan = match parameter.name.as_str() {
                "cls_token" | "pos_embed" => 2500.0,
                _ => (variable.elem_count() / variable.dims()[0]) as f64,
            };
            let of = |n: usize| -> f64 {
                let a = (n % 1009) as f64;
                match (variable.rank(), parameter.name.ends_with("weight")) {
                    (1, true) => 1.0 + 0.1 * (0.01 * a + index).sin(),
                    (1, false) => 0.1 * (0.01 * a + index).sin(),
                    _ => (0.01 * a * a + index).sin() / fan.sqrt(),
                }
            };
            let values: Vec<f64> = (0..variable.elem_count()).map(of).collect();
            variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    #[test]
    fn values_are_those_of_timm() -> Result<()> {
        // timm's vit_tiny_patch16_224 in float64, filled by the rule above; two images sin(0.001 n) + 0.5 sin(0.37
        // n), where n counts (image, channel, row, column).
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu);
        let vit = Vit::new(&mut builder, VitSize::TINY, 224, VitInitialisation::TIMM)?;
        let classifier = Linear::new(&mut builder.scope("head"), 192, 1000, true)?;
        fill(&parameters)?;
        let images: Vec<f64> = (0..2 * 3 * 224 * 224)
            .map(f64::from)
            .map(|n| (0.001 * n).sin() + 0.5 * (0.37 * n).sin())
            .collect();
        let images = Tensor::from_vec(images, (2, 3, 224, 224), &Device::Cpu)?.permute((0, 2, 3, 1))?;

        let tokens = vit.tokens(&images, None)?;
        assert_eq!(tokens.dims(), [2, 197, 192]);
        assert_close(&values(&tokens.i((0, 0))?)?, &[0.281506377, 0.627070315, -0.475998444, -0.226449957]);
        assert_close(&values(&tokens.i((0, 196))?)?, &[-0.297144492, 0.72523438, -0.691849251]);

        let features = vit.embed(&images, Mode::Evaluate)?;
        let logits = classifier.forward(&features)?;
        let rows = logits.to_vec2::<f64>()?;
        assert_close(&rows[0], &[0.0678453986, -0.00536742589, 0.693238934, -0.0230031867, -0.139989064]);
        assert_close(&rows[1], &[0.0266753699, 0.067294357, 0.860737545]);
        let mean = logits.mean_all()?.to_scalar::<f64>()?;
        let std = (logits.sqr()?.mean_all()?.to_scalar::<f64>()? - mean * mean) * 2000.0 / 1999.0;
        assert_close(&[mean, std.sqrt()], &[0.02298709506, 0.65461087524]);
        Ok(())
    }

    #[test]
    fn parameters_are_those_of_timm() -> Result<()> {
        // timm's vit_tiny_patch16_224 without head: 5,524,416 parameters in 150 entries.
        let (parameters, vit) = vit(VitSize::TINY, 224, VitInitialisation::TIMM, DType::F32)?;
        assert_eq!(vit.width(), 192);
        assert_eq!(parameters.trainable_count(), 5_524_416);
        assert_eq!(parameters.all().len(), 150);
        let names: Vec<&str> = parameters.all().iter().map(|p| p.name.as_str()).collect();
        let expected = "cls_token pos_embed patch_embed.proj.weight patch_embed.proj.bias \
                        blocks.0.norm1.weight blocks.0.norm1.bias blocks.0.attn.qkv.weight blocks.0.attn.qkv.bias \
                        blocks.0.attn.proj.weight blocks.0.attn.proj.bias blocks.0.norm2.weight blocks.0.norm2.bias \
                        blocks.0.mlp.fc1.weight blocks.0.mlp.fc1.bias blocks.0.mlp.fc2.weight blocks.0.mlp.fc2.bias";
        assert_eq!(names[..16], expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!(names[148..], ["norm.weight", "norm.bias"]);
        let shape = |name: &str| parameters.get(name).expect("a variable").variable.dims().to_vec();
        assert_eq!(shape("patch_embed.proj.weight"), [192, 3, 16, 16]);
        assert_eq!(shape("pos_embed"), [1, 197, 192]);
        assert_eq!(shape("blocks.11.mlp.fc1.weight"), [768, 192]);
        Ok(())
    }

    #[test]
    fn first_values_are_those_of_timm_and_of_mae() -> Result<()> {
        // Standard deviations of the references' initialisers: normal 0.02, uniform +-1/sqrt(768) for patches,
        // Xavier's +-sqrt(6/(in + out)); within six standard errors of the draws.
        let uniform = |bound: f64| bound / 3.0_f64.sqrt();
        let cases = [
            (VitInitialisation::TIMM, 1e-6, uniform(0.03608439), 0.02),
            (
                VitInitialisation::MAE,
                0.02,
                uniform((6.0_f64 / 960.0).sqrt()),
                uniform((6.0_f64 / 768.0).sqrt()),
            ),
        ];
        for (start, class, patches, qkv) in cases {
            let (parameters, _) = vit(VitSize::TINY, 32, start, DType::F32)?;
            let get = |name: &str| values(&parameters.get(name).expect("a variable").variable);
            let names = ["cls_token", "patch_embed.proj.weight", "blocks.3.attn.qkv.weight"];
            for (name, expected) in names.into_iter().zip([class, patches, qkv]) {
                let values = get(name)?;
                let count = values.len() as f64;
                let std = (values.iter().map(|x| x * x).sum::<f64>() / count).sqrt();
                assert!((std / expected - 1.0).abs() < 6.0 / (2.0 * count).sqrt(), "{start:?} {name}: {std}");
            }
            assert!(get("blocks.0.attn.qkv.bias")?.iter().all(|&x| x == 0.0));
            assert!(get("patch_embed.proj.bias")?.iter().all(|&x| x != 0.0 && x.abs() <= 0.0361));
            let positions = parameters.get("pos_embed").expect("a variable");
            let fixed = start.position == PositionEmbedding::Fixed;
            assert_eq!(positions.kind, if fixed { Role::Buffer } else { Role::Weight });
            if fixed {
                let waves = position::sinusoids((2, 2), 192, DType::F32, &Device::Cpu)?;
                assert_eq!(distance(positions.variable.as_tensor(), &waves)?, 0.0);
            }
        }
        Ok(())
    }

    #[test]
    fn keeping_every_patch_changes_nothing_and_order_is_kept() -> Result<()> {
        let (_, vit) = vit(SMALL, 8, VitInitialisation::MAE, DType::F64)?;
        let images = normal("images", &[2, 8, 8, 3], DType::F64)?.as_detached_tensor();
        let all = vit.tokens(&images, None)?;
        let order = Tensor::new(&[[0_u32, 1, 2, 3], [3, 1, 0, 2]], &Device::Cpu)?;
        let kept = vit.tokens(&images, Some(&order))?;
        assert!(distance(&all.i((0, ..))?, &kept.i((0, ..))?)? < 1e-12);
        for (place, token) in [(0, 0), (1, 4), (2, 2), (3, 1), (4, 3)] {
            assert!(distance(&all.i((1, token))?, &kept.i((1, place))?)? < 1e-12);
        }
        let few = vit.tokens(&images, Some(&order.narrow(1, 0, 2)?))?;
        assert_eq!(few.dims(), [2, 3, 12]);
        let beyond = Tensor::new(&[[4_u32], [0]], &Device::Cpu)?;
        let error = vit.tokens(&images, Some(&beyond)).unwrap_err();
        assert!(error.to_string().contains("patch 4 to keep, of 4"), "{error}");
        Ok(())
    }

    #[test]
    fn features_are_the_first_of_the_tokens() -> Result<()> {
        let (_, vit) = vit(SMALL, 16, VitInitialisation::MAE, DType::F64)?;
        let images = normal("images", &[3, 16, 16, 3], DType::F64)?.as_detached_tensor();
        let tokens = vit.tokens(&images, None)?;
        let features = vit.embed(&images, Mode::Train)?;
        assert!(distance(&features, &tokens.i((.., 0))?)? < 1e-12);
        Ok(())
    }

    #[rstest]
    #[case::timm(VitInitialisation::TIMM, 16, None)]
    #[case::smaller(VitInitialisation::TIMM, 8, None)]
    #[case::larger(VitInitialisation::TIMM, 20, None)]
    #[case::mae(VitInitialisation::MAE, 16, Some(3))]
    fn every_trainable_variable_gets_a_gradient(
        #[case] start: VitInitialisation,
        #[case] side: usize,
        #[case] kept: Option<u32>,
    ) -> Result<()> {
        let (parameters, vit) = vit(SMALL, 16, start, DType::F32)?;
        let images = normal("images", &[3, side, side, 3], DType::F32)?.as_detached_tensor();
        let features = match kept {
            None => vit.embed(&images, Mode::Train)?,
            Some(count) => {
                let kept: Vec<u32> = (0..3 * count).map(|index| index * 5 % 16).collect();
                vit.tokens(&images, Some(&Tensor::from_vec(kept, (3, count as usize), &Device::Cpu)?))?
            }
        };
        // Random weights, because the squares of normalised tokens always sum to the same constant.
        let weights = normal("weights", features.dims(), DType::F32)?.as_detached_tensor();
        let gradients = backward(&(features * weights)?.sum_all()?)?;
        for parameter in parameters.trainable() {
            let gradient = gradients.get(&parameter.variable).expect(&parameter.name);
            assert_eq!(gradient.shape(), parameter.variable.shape(), "{}", parameter.name);
            let size = gradient.sqr()?.sum_all()?.to_scalar::<f32>()?;
            assert!(size.is_finite() && size > 0.0, "{}: squared gradient {size}", parameter.name);
            if parameter.name == "pos_embed" {
                // That of the class token and those of all places, also if they are interpolated.
                let places = gradient.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
                assert!(places.len() == 17 && places.iter().all(|&size| size > 0.0), "{places:?}");
            }
        }
        let fixed = parameters.all().iter().filter(|parameter| parameter.kind == Role::Buffer);
        for parameter in fixed {
            assert!(gradients.get(&parameter.variable).is_none(), "{}", parameter.name);
        }
        Ok(())
    }

    #[test]
    fn moved_positions_are_those_of_now() -> Result<()> {
        let images = normal("images", &[2, 8, 8, 3], DType::F64)?.as_detached_tensor();
        let learn = |parameters: &Parameters| {
            let positions = &parameters.get("pos_embed").expect("a variable").variable;
            positions.set(&normal("positions", positions.dims(), DType::F64)?.as_detached_tensor())
        };
        let (parameters, old) = vit(SMALL, 16, VitInitialisation::TIMM, DType::F64)?;
        let before = old.embed(&images, Mode::Evaluate)?;
        learn(&parameters)?;
        let after = old.embed(&images, Mode::Evaluate)?;
        // A network that has cached no interpolation for images of this side.
        let (parameters, new) = vit(SMALL, 16, VitInitialisation::TIMM, DType::F64)?;
        learn(&parameters)?;
        assert_eq!(distance(&after, &new.embed(&images, Mode::Evaluate)?)?, 0.0);
        assert!(distance(&before, &after)? > 1e-3, "positions make no difference");
        Ok(())
    }

    #[test]
    fn images_that_patches_do_not_fill_are_named() -> Result<()> {
        let (_, vit) = vit(SMALL, 8, VitInitialisation::TIMM, DType::F32)?;
        let images = normal("images", &[1, 8, 10, 3], DType::F32)?.as_detached_tensor();
        let error = vit.embed(&images, Mode::Evaluate).unwrap_err();
        assert!(error.to_string().contains("patches of 4 px"), "{error}");
        Ok(())
    }
    #[test]
    fn sizes_that_do_not_fit_each_other_are_named() {
        let error = |size: VitSize, side: usize| {
            vit(size, side, VitInitialisation::TIMM, DType::F32)
                .err()
                .unwrap()
                .to_string()
                .lines()
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(error(SMALL, 10), "vit: patches of 4 px do not fill images of 10 px");
        assert_eq!(error(SMALL, 0), "vit: patches of 4 px do not fill images of 0 px");
        assert_eq!(
            error(VitSize { patch: 0, ..SMALL }, 8),
            "vit: patches of 0 px do not fill images of 8 px"
        );
        assert_eq!(
            error(VitSize { heads: 5, ..SMALL }, 8),
            "vit: a width of 12 is not a multiple of 5 heads"
        );
        assert_eq!(
            error(VitSize { heads: 0, ..SMALL }, 8),
            "vit: a width of 12 is not a multiple of 0 heads"
        );
        let (_, vit) = vit(SMALL, 8, VitInitialisation::TIMM, DType::F32).unwrap();
        let images = |shape: [usize; 4]| Tensor::zeros(&shape, DType::F32, &Device::Cpu).unwrap();
        for shape in [[1, 8, 8, 1], [1, 6, 8, 3], [1, 2, 2, 3]] {
            let error = vit.embed(&images(shape), Mode::Evaluate).unwrap_err().to_string();
            assert!(error.contains("patches of 4 px in 3 channels do not fill images"), "{error}");
        }
        let kept = Tensor::new(&[[0_u32]], &Device::Cpu).unwrap();
        let error = vit.tokens(&images([2, 8, 8, 3]), Some(&kept)).unwrap_err().to_string();
        assert!(error.contains("patches to keep are given for 1 of 2 images"), "{error}");
        assert!(vit.intermediate_maps(&images([1, 8, 8, 3])).unwrap().is_none() && !vit.mixes_images());
    }

    /// Positions are interpolated for each grid by itself, whichever grids came before.
    #[test]
    fn every_grid_has_its_own_positions() -> Result<()> {
        let vit = || vit(SMALL, 16, VitInitialisation::TIMM, DType::F64).map(|(_, vit)| vit);
        let seen = vit()?;
        for (height, width) in [(8, 16), (16, 8), (16, 16), (8, 12), (20, 16), (8, 16)] {
            let images = normal("images", &[2, height, width, 3], DType::F64)?.as_detached_tensor();
            let (found, fresh) = (seen.tokens(&images, None)?, vit()?.tokens(&images, None)?);
            assert_eq!(found.dims(), [2, 1 + height * width / 16, 12]);
            assert_eq!(distance(&found, &fresh)?, 0.0, "{height} x {width}");
        }
        Ok(())
    }
}
