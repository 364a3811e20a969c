//! MAE: the encoder sees a quarter of the patches; a small decoder reconstructs the hidden ones.
//!
//! Loss: squared error of the hidden patches' pixels, each patch standardised to mean 0 and variance 1
//! (`loss::reconstruction`). Source: He et al., "Masked autoencoders are scalable vision learners", CVPR 2022.
//! Vision transformers only. Position embeddings are fixed sines and cosines in encoder and decoder. The feature
//! vector is the class token: of the visible patches in a training step, of the whole image in evaluation.
//!
//! [`Supervision::AsReleased`] is what the step of the paper's authors appears to compute: in a batch of two views
//! only two predictions get a gradient, and image i of the first view is compared with pixels of image i of the
//! second view, which is another crop. Each of these two deviations is also available alone. They are ablations,
//! not methods.

use candle_core::{DType, Device, IndexOp, Result, Tensor, Var, bail};
use serde_json::{Value, json};

use super::{Foundation, Method, Name, Objective, Position, Step, expect_views};
use crate::{
    backbone::{
        self, Backbone, Initialise, Parameters, Role,
        layers::{LayerNorm, Linear},
        position,
        vit::{TransformerBlock, Vit, VitInitialisation, VitSize, Weights},
    },
    loader::Batch,
    loss::reconstruction::{masked_mse, patchify},
    seed::Seed,
    tensor::{chain, pick_rows, widen},
};

/// MAE's constants.
#[derive(Clone, Copy, Debug)]
pub struct Reconstruction {
    /// Fraction of an image's patches that the encoder sees, 0..1.
    pub visible: f64,
    /// Whether a patch's pixels are standardised, patch by patch, before they are compared.
    pub normalise_pixels: bool,
    /// Attention heads of the encoder if they differ from the architecture's: the paper's authors and mae-lite
    /// divide ViT-Tiny's 192 features among 12 heads, timm among 3.
    pub encoder_heads: Option<usize>,
    /// Which predictions are compared with which pixels.
    pub supervision: Supervision,
}

/// Which predictions are compared with pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervision {
    /// Every hidden patch of every image, with its own pixels.
    All,
    /// The hidden patches of the first two images of a batch, with their own pixels.
    TwoPredictions,
    /// Every hidden patch of two views of every image, with the pixels of the other view.
    CrossedViews,
    /// The hidden patches of the first two images of a batch in one view, with the pixels of another view.
    AsReleased,
}

impl Objective for Reconstruction {
    fn settings(&self) -> Vec<(&'static str, Value)> {
        // The number of attention heads is among the encoder's settings.
        let Self { visible, normalise_pixels, encoder_heads: _, supervision } = self;
        let supervision = match supervision {
            Supervision::All => "all",
            Supervision::TwoPredictions => "two_predictions",
            Supervision::CrossedViews => "crossed_views",
            Supervision::AsReleased => "as_released",
        };
        vec![
            ("name", json!("mae")),
            ("visible", json!(visible)),
            ("normalise_pixels", json!(normalise_pixels)),
            ("supervision", json!(supervision)),
        ]
    }

    fn views(&self) -> usize {
        match self.supervision {
            Supervision::All | Supervision::TwoPredictions => 1,
            Supervision::CrossedViews | Supervision::AsReleased => 2,
        }
    }

    fn attention_heads(&self) -> Option<usize> {
        self.encoder_heads
    }

    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
        Ok(Box::new(Mae::new(*self, on)?))
    }
}

/// A ViT that sees some patches, and a decoder that predicts the pixels of the others.
pub struct Mae {
    encoder: Vit,
    decoder: Decoder,
    parameters: Parameters,
    constants: Reconstruction,
    patch: usize,
    masks: Seed,
}

impl Mae {
    /// Builds the untrained model.
    ///
    /// # Errors
    /// If the backbone is not a ViT, or sizes do not fit each other.
    pub fn new(constants: Reconstruction, on: &Foundation) -> Result<Self> {
        if let Some(reason) = Name::Mae.undefined_on(on.architecture.name) {
            bail!("{} on {}: {reason}", Name::Mae, on.architecture.name)
        }
        let mut size = on.architecture.vit;
        size.heads = constants.encoder_heads.unwrap_or(size.heads);
        let side = on.architecture.side;
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", on.seed, on.dtype, on.device);
        let encoder = Vit::new(&mut builder, size, side, VitInitialisation::MAE)?;
        let mut builder = parameters.builder("head", on.seed, on.dtype, on.device);
        let decoder = Decoder::new(&mut builder, on.heads.decoder, size, side)?;
        let masks = on.seed.unwrap_or(Seed::root(0)).child("masks");
        Ok(Self { encoder, decoder, parameters, constants, patch: size.patch, masks })
    }

    /// Computes the step for images (batch, side, side, 3). `noise` (batch, patches) ranks the patches of each image:
    /// those with the lowest values stay visible, in this order.
    pub fn step_with_noise(&self, images: &Tensor, views: usize, noise: &[Vec<f64>]) -> Result<Step> {
        let patches = noise[0].len();
        let visible = ((patches as f64 * self.constants.visible) as usize).max(1);
        let order: Vec<Vec<u32>> = noise.iter().map(|noise| argsort(noise)).collect();
        let kept: Vec<Vec<u32>> = order.iter().map(|order| order[..visible].to_vec()).collect();
        if visible >= patches {
            bail!("mae: the encoder sees all {patches} patches, so none is left to predict")
        }
        let tokens = self.encoder.tokens(images, Some(&Tensor::new(kept, &Device::Cpu)?))?;
        let predictions = self.decoder.forward(&tokens, &order)?;

        let pixels = patchify(images, self.patch)?;
        let own = pixels.dim(0)? / views;
        // Views are stored one after the other, so the other view of a row lies half of all rows away.
        let pixels = match self.constants.supervision {
            Supervision::All | Supervision::TwoPredictions => pixels,
            Supervision::CrossedViews | Supervision::AsReleased => {
                Tensor::cat(&[pixels.narrow(0, own, own)?, pixels.narrow(0, 0, own)?], 0)?
            }
        };
        let supervised = match self.constants.supervision {
            Supervision::All | Supervision::CrossedViews => views * own,
            Supervision::TwoPredictions | Supervision::AsReleased => own.min(2),
        };
        let loss = masked_mse(
            &predictions.narrow(0, 0, supervised)?,
            &hidden_patches(&pixels, &order[..supervised], visible)?,
            // Kept in main memory, where counting them does not have to wait for a GPU.
            &Tensor::ones((supervised, patches - visible), DType::F64, &Device::Cpu)?,
            self.constants.normalise_pixels,
        )?;
        Ok(Step { loss, features: tokens.i((.., 0))?, embeddings: None, parts: Vec::new() })
    }
}

impl Method for Mae {
    fn step(&self, batch: &Batch, at: Position) -> Result<Step> {
        expect_views(Name::Mae, batch, self.constants.views())?;
        let (rows, height, width, _) = batch.images.dims4()?;
        let patches = (height / self.patch) * (width / self.patch);
        let mut stream = self.masks.index(at.step).stream();
        let noise: Vec<Vec<f64>> = (0..rows).map(|_| (0..patches).map(|_| stream.unit()).collect()).collect();
        self.step_with_noise(&batch.images, batch.views, &noise)
    }

    fn encoder(&self) -> &dyn Backbone {
        &self.encoder
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

/// Returns the hidden patches (images, hidden, numbers) of the first images in `pixels` (batch, patches, numbers); the
/// first `visible` of each image's `order` are not hidden.
fn hidden_patches(pixels: &Tensor, order: &[Vec<u32>], visible: usize) -> Result<Tensor> {
    let (batch, patches, numbers) = pixels.dims3()?;
    let picks = order.iter().enumerate().flat_map(|(image, order)| {
        order[visible..].iter().map(move |&place| (image * patches) as u32 + place)
    });
    let rows = pixels.reshape((batch * patches, numbers))?;
    pick_rows(&rows, &picks.collect::<Vec<_>>())?.reshape((order.len(), patches - visible, numbers))
}

/// Returns positions of `noise`, lowest first; ties keep their order.
fn argsort(noise: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..noise.len() as u32).collect();
    order.sort_by(|&a, &b| noise[a as usize].total_cmp(&noise[b as usize]));
    order
}

/// Maps visible tokens to the pixels of all patches; variables have the names of MAE's original code.
struct Decoder {
    embed: Linear,
    mask_token: Var,
    /// Fixed position embeddings (1, 1 + patches, width).
    positions: Tensor,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    predict: Linear,
}

impl Decoder {
    fn new(
        builder: &mut backbone::Builder,
        size: backbone::heads::DecoderSize,
        encoder: VitSize,
        side: usize,
    ) -> Result<Self> {
        let linear = |builder: &mut backbone::Builder, name: &str, inputs, outputs| {
            let weights = Weights::Mae.linear(inputs, outputs);
            Linear::with_weights(&mut builder.scope(name), inputs, outputs, weights)
        };
        let embed = linear(builder, "decoder_embed", encoder.width, size.width)?;
        let shape = (1, 1, size.width);
        let mask_token =
            builder.variable("mask_token", shape, Initialise::Normal { std: 0.02 }, Role::Weight)?;
        let grid = (side / encoder.patch, side / encoder.patch);
        let positions = position::sinusoids(grid, size.width, mask_token.dtype(), mask_token.device())?;
        let mut scope = builder.scope("decoder_blocks");
        let blocks = (0..size.depth)
            .map(|number| {
                TransformerBlock::new(
                    &mut scope.scope(&number.to_string()),
                    size.width,
                    size.heads,
                    Weights::Mae,
                )
            })
            .collect::<Result<_>>()?;
        let norm = LayerNorm::new(&mut builder.scope("decoder_norm"), size.width)?;
        let predict = linear(builder, "decoder_pred", size.width, encoder.patch * encoder.patch * 3)?;
        Ok(Self { embed, mask_token, positions, blocks, norm, predict })
    }

    /// Maps tokens (batch, 1 + visible, encoder's width), whose patches are the first of `order` (batch, patches), to
    /// pixels of the hidden patches (batch, hidden, patch x patch x 3), in the rest of the order.
    fn forward(&self, tokens: &Tensor, order: &[Vec<u32>]) -> Result<Tensor> {
        let numbers = tokens.dtype();
        let tokens = widen(&self.embed.forward(tokens)?)?;
        let (batch, count, width) = tokens.dims3()?;
        let patches = order[0].len();
        let (visible, hidden) = (count - 1, patches + 1 - count);
        // Hidden patches come first in each image, then the class token, which is place 0, and the visible ones. Rows to
        // choose from: all tokens of the batch, then one mask token.
        let rows = Tensor::cat(&[&tokens.reshape((batch * count, width))?, &self.mask_token.squeeze(0)?], 0)?;
        let mut picks = Vec::with_capacity(batch * (1 + patches));
        let mut places = Vec::with_capacity(picks.capacity());
        for (image, order) in order.iter().enumerate() {
            let (seen, unseen) = order.split_at(visible);
            picks.extend(std::iter::repeat_n((batch * count) as u32, hidden));
            picks.extend((image * count) as u32..((image + 1) * count) as u32);
            places.extend(unseen.iter().map(|place| 1 + place));
            places.push(0);
            places.extend(seen.iter().map(|place| 1 + place));
        }
        let tokens = (pick_rows(&rows, &picks)? + pick_rows(&self.positions.squeeze(0)?, &places)?)?;
        let tokens = tokens.reshape((batch, 1 + patches, width))?.to_dtype(numbers)?;
        // The last block computes only what is compared with pixels.
        let tokens = chain(&tokens, |tokens| {
            self.norm.forward(&TransformerBlock::forward_to_first(&self.blocks, tokens, hidden)?)
        })?;
        self.predict.forward(&tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{
        Mode, Stem,
        architecture::Architecture,
        heads::{DecoderSize, Heads},
    };

    const SIDE: usize = 16;
    const IMAGES: usize = 3;

    fn model(supervision: Supervision) -> Mae {
        with_heads(supervision, 2, None)
    }

    /// With the backbone's number of attention heads, and the method's own number, if any.
    fn with_heads(supervision: Supervision, heads: usize, encoder_heads: Option<usize>) -> Mae {
        let constants = Reconstruction { visible: 0.5, normalise_pixels: true, encoder_heads, supervision };
        Mae::new(constants, &foundation(heads, 0)).unwrap()
    }

    fn foundation(heads: usize, seed: u64) -> Foundation<'static> {
        let decoder = DecoderSize { width: 8, depth: 1, heads: 2 };
        Foundation {
            architecture: Architecture {
                name: backbone::Name::ViTTiny,
                side: SIDE,
                resnet_width: 8,
                resnet_stem: Stem::ImageNet,
                vit: VitSize { patch: 4, width: 8, depth: 1, heads },
            },
            heads: Heads { hidden: 8, output: 8, prototypes: 8, decoder },
            defect_weight: 1.0,
            seed: Some(Seed::root(seed)),
            dtype: DType::F64,
            device: &Device::Cpu,
        }
    }

    fn images(count: usize) -> Tensor {
        let mut stream = Seed::root(1).stream();
        let pixels: Vec<f64> = (0..count * SIDE * SIDE * 3).map(|_| stream.unit()).collect();
        Tensor::from_vec(pixels, (count, SIDE, SIDE, 3), &Device::Cpu).unwrap()
    }

    /// Loss of views (view, image) drawn from these seeds. The mask depends on an image's position, not its pixels.
    fn loss(supervision: Supervision, seeds: [u64; 2 * IMAGES]) -> f64 {
        let views = Reconstruction::views(&model(supervision).constants);
        let pixels = |seed: u64| {
            let mut stream = Seed::root(seed).stream();
            (0..SIDE * SIDE * 3).map(move |_| stream.unit())
        };
        let rows = views * IMAGES;
        let images: Vec<f64> = seeds[..rows].iter().flat_map(|&seed| pixels(seed)).collect();
        let images = Tensor::from_vec(images, (rows, SIDE, SIDE, 3), &Device::Cpu).unwrap();
        // Both views of an image have the same mask, so that equal views have equal losses.
        let noise: Vec<Vec<f64>> = (0..rows)
            .map(|row| {
                let mut stream = Seed::root(100 + (row % IMAGES) as u64).stream();
                (0..16).map(|_| stream.unit()).collect()
            })
            .collect();
        model(supervision).step_with_noise(&images, views, &noise).unwrap().loss.to_scalar().unwrap()
    }

    #[test]
    fn every_step_hides_other_patches() {
        let model = model(Supervision::All);
        let batch = Batch {
            images: images(IMAGES),
            labels: Tensor::zeros(IMAGES, DType::F32, &Device::Cpu).unwrap(),
            views: 1,
            indices: (0..IMAGES).collect(),
            skipped: Vec::new(),
        };
        let loss = |step| -> f64 {
            let at = Position { step, steps: 4, epoch: step / 2, epochs: 2 };
            model.step(&batch, at).unwrap().loss.to_scalar().unwrap()
        };
        let losses: Vec<f64> = (0..4).map(loss).collect();
        for step in 0..4 {
            assert_eq!(loss(step), losses[step], "a step that is repeated");
            assert!(!losses[..step].contains(&losses[step]), "{losses:?}");
        }
    }

    #[test]
    fn all_images_are_supervised_by_themselves() {
        let base = loss(Supervision::All, [1, 2, 3, 0, 0, 0]);
        for seeds in [[9, 2, 3, 0, 0, 0], [1, 2, 9, 0, 0, 0]] {
            assert_ne!(loss(Supervision::All, seeds), base);
        }
    }

    #[test]
    fn two_predictions_are_those_of_the_first_two_images() {
        let base = loss(Supervision::TwoPredictions, [1, 2, 3, 0, 0, 0]);
        assert_ne!(loss(Supervision::TwoPredictions, [1, 9, 3, 0, 0, 0]), base);
        assert_eq!(loss(Supervision::TwoPredictions, [1, 2, 9, 0, 0, 0]), base, "the third has no loss");
    }

    #[test]
    fn crossed_views_are_each_others_targets() {
        let base = loss(Supervision::CrossedViews, [1, 2, 3, 1, 2, 3]);
        let own = loss(Supervision::All, [1, 2, 3, 0, 0, 0]);
        assert!((base - own).abs() < 1e-12, "equal views: {base}, without a second view {own}");
        // Pixels of another crop may be harder or easier to predict, but the loss is never the same.
        assert!((loss(Supervision::CrossedViews, [1, 2, 3, 4, 2, 3]) - own).abs() > 1e-6);
    }

    #[test]
    fn as_released_two_images_are_compared_with_their_second_view() {
        let base = loss(Supervision::AsReleased, [1, 2, 3, 4, 5, 6]);
        assert_ne!(loss(Supervision::AsReleased, [1, 2, 3, 4, 9, 6]), base, "a target");
        assert_eq!(loss(Supervision::AsReleased, [1, 2, 9, 4, 5, 6]), base, "the third image has no loss");
        assert_eq!(loss(Supervision::AsReleased, [1, 2, 3, 4, 5, 9]), base, "nor has its second view");
        let equal = loss(Supervision::AsReleased, [1, 2, 3, 1, 2, 3]);
        let two = loss(Supervision::TwoPredictions, [1, 2, 3, 0, 0, 0]);
        assert!((equal - two).abs() < 1e-12, "equal views: {equal}, two predictions {two}");
    }

    #[test]
    fn its_own_number_of_heads_takes_the_place_of_the_backbones() {
        let pixels: Vec<f64> = (0..SIDE * SIDE * 3).map(|place| (place * 31 % 97) as f64 / 97.0).collect();
        let images = Tensor::from_vec(pixels, (1, SIDE, SIDE, 3), &Device::Cpu).unwrap();
        let features = |heads, encoder_heads| -> Vec<f64> {
            let model = with_heads(Supervision::All, heads, encoder_heads);
            model.encoder.embed(&images, Mode::Evaluate).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(features(2, Some(4)), features(4, None));
        assert_ne!(features(2, Some(4)), features(2, None));
    }

    /// Xavier initialisation, as in MAE's original code: uniform within +-sqrt(6 / (inputs + outputs)), biases 0.
    #[test]
    fn the_decoder_begins_as_the_originals() {
        let model = model(Supervision::All);
        let values = |name: &str| {
            let variable = &model.parameters().get(name).unwrap().variable;
            variable.flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        // From the encoder's 8 features to the decoder's 8, and from these to a patch's 48 numbers.
        for (name, inputs, outputs) in [("decoder_embed", 8, 8), ("decoder_pred", 8, 48)] {
            let bound = (6.0 / f64::from(inputs + outputs)).sqrt();
            let weights = values(&format!("head.{name}.weight"));
            let largest = weights.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            assert_eq!(weights.len() as i32, inputs * outputs);
            assert!(0.85 * bound < largest && largest <= bound, "{name}: {largest} of {bound}");
            assert!(values(&format!("head.{name}.bias")).iter().all(|&value| value == 0.0), "{name}");
        }
        let token = values("head.mask_token");
        assert!(
            token.iter().any(|&value| value != 0.0) && token.iter().all(|value| value.abs() < 0.1),
            "{token:?}"
        );
    }

    /// Which patches are hidden depends on the seed, the step and the image, in this order; of sixteen patches, 4.8 are
    /// seen, rounded down.
    #[test]
    fn masks_are_drawn_by_the_seed_for_each_step_and_image() {
        let constants = Reconstruction {
            visible: 0.3,
            normalise_pixels: true,
            encoder_heads: None,
            supervision: Supervision::All,
        };
        let model = Mae::new(constants, &foundation(2, 5)).unwrap();
        let batch = Batch {
            images: images(IMAGES),
            labels: Tensor::zeros(IMAGES, DType::F32, &Device::Cpu).unwrap(),
            views: 1,
            indices: (0..IMAGES).collect(),
            skipped: Vec::new(),
        };
        let mut stream = Seed::root(5).child("masks").index(3).stream();
        let noise: Vec<Vec<f64>> = (0..IMAGES).map(|_| (0..16).map(|_| stream.unit()).collect()).collect();
        let at = Position { step: 3, steps: 8, epoch: 1, epochs: 2 };
        let number = |step: Step| step.loss.to_scalar::<f64>().unwrap();
        let found = number(model.step(&batch, at).unwrap());
        assert_eq!(found, number(model.step_with_noise(&batch.images, 1, &noise).unwrap()));
        // What is drawn for hidden patches makes no difference as long as they come after the four that are seen.
        let noise_of = |seen: usize| -> Vec<Vec<f64>> {
            let rank = |place: usize| if place < seen { place as f64 } else { 100.0 - place as f64 };
            vec![(0..16).map(rank).collect(); IMAGES]
        };
        let loss = |seen| number(model.step_with_noise(&batch.images, 1, &noise_of(seen)).unwrap());
        assert!((loss(4) - loss(16)).abs() < 1e-12 && (loss(3) - loss(16)).abs() > 1e-6);
    }

    #[test]
    fn nothing_to_predict_is_an_error() {
        let constants = Reconstruction { visible: 1.0, ..model(Supervision::All).constants };
        let noise = vec![vec![0.0; 16]; IMAGES];
        let model = Mae::new(constants, &foundation(2, 0)).unwrap();
        let error = model.step_with_noise(&images(IMAGES), 1, &noise).err().unwrap().to_string();
        assert!(error.contains("sees all 16 patches"), "{error}");
    }

    /// A batch may be a single image, although two are predicted.
    #[test]
    fn a_single_image_is_enough() {
        let noise = |rows: usize| -> Vec<Vec<f64>> {
            vec![(0..16).map(|place| f64::from(place * 7 % 16)).collect(); rows]
        };
        let loss = |supervision, views: usize| {
            let step = model(supervision).step_with_noise(&images(views), views, &noise(views)).unwrap();
            step.loss.to_scalar::<f64>().unwrap()
        };
        assert_eq!(loss(Supervision::TwoPredictions, 1), loss(Supervision::All, 1));
        // Its second view is the target: half of the loss of both, crossed.
        let (one, both) = (loss(Supervision::AsReleased, 2), loss(Supervision::CrossedViews, 2));
        assert!(one.is_finite() && one != both, "{one} {both}");
    }
}
