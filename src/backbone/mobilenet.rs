//! `MobileNetV2` (Sandler et al. 2018) of width 1, with torchvision's parameter names and behaviour in evaluation.
//!
//! Forward only: it is for published weights, and training it is an error. The classifier and the counters
//! `num_batches_tracked` are omitted.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::{
    Backbone, Builder, Initialise, Mode, Role,
    layers::{BatchNorm, Convolution},
};
use crate::tensor::{Geometry, add, batch_norm::Epilogue, depthwise, global_mean, relu6};

/// Channels after the first convolution.
pub const STEM_CHANNELS: usize = 32;
/// Length of a feature vector.
pub const WIDTH: usize = 1280;
/// Groups of inverted residuals: expansion factor, output channels, number of blocks, and stride of the first block.
/// Source: the paper, table 2; torchvision's `inverted_residual_setting`.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Sizes of one inverted residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// Input channels.
    pub inputs: usize,
    /// Channels between the first and the last convolution; if equal to `inputs`, there is no first convolution.
    pub hidden: usize,
    /// Output channels.
    pub outputs: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
}

impl Residual {
    /// Whether the input is added to the output.
    pub fn has_shortcut(self) -> bool {
        self.stride == 1 && self.inputs == self.outputs
    }

    /// Whether a first convolution expands the channels.
    pub fn expands(self) -> bool {
        self.hidden != self.inputs
    }
}

/// Returns the 17 inverted residuals, in order: `features.1` to `features.17`.
pub fn residuals() -> Vec<Residual> {
    let mut residuals = Vec::new();
    let mut inputs = STEM_CHANNELS;
    for (times, outputs, blocks, stride) in GROUPS {
        for number in 0..blocks {
            let stride = if number == 0 { stride } else { 1 };
            residuals.push(Residual { inputs, hidden: times * inputs, outputs, stride });
            inputs = outputs;
        }
    }
    residuals
}

/// The encoder, without the classifier.
pub struct MobileNet {
    first: Normed<Convolution>,
    blocks: Vec<Block>,
    last: Normed<Convolution>,
}

impl MobileNet {
    /// Creates all variables; convolutions are initialised as in torchvision: normal with variance 2 / fan-out.
    ///
    /// # Errors
    /// If a variable's name exists already.
    pub fn new(builder: &mut Builder) -> Result<Self> {
        let mut builder = builder.scope("features");
        let residuals = residuals();
        let before = residuals[residuals.len() - 1].outputs;
        let first = Geometry { stride: 2, padding: 1 };
        let first = Normed::convolution(&mut builder.scope("0"), ["0", "1"], (3, STEM_CHANNELS, 3), first)?;
        let block = |(number, &sizes): (usize, &Residual)| {
            Block::new(&mut builder.scope(&(number + 1).to_string()).scope("conv"), sizes)
        };
        let blocks = residuals.iter().enumerate().map(block).collect::<Result<_>>()?;
        let mut end = builder.scope(&(residuals.len() + 1).to_string());
        let last = Normed::convolution(&mut end, ["0", "1"], (before, WIDTH, 1), POINTWISE)?;
        Ok(Self { first, blocks, last })
    }

    /// Returns the maps before the global mean: (batch, height / 32, width / 32, 1280), rounded up.
    fn maps(&self, images: &Tensor) -> Result<Tensor> {
        let maps = relu6(&self.first.forward(images)?)?;
        let maps = self.blocks.iter().try_fold(maps, |maps, block| block.forward(&maps))?;
        relu6(&self.last.forward(&maps)?)
    }
}

impl Backbone for MobileNet {
    fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        if mode == Mode::Train {
            bail!("MobileNetV2 is forward only: it scores given weights and cannot be trained")
        }
        global_mean(&self.maps(images)?)
    }

    fn feature_map(&self, images: &Tensor) -> Result<Option<Tensor>> {
        self.maps(images).map(Some)
    }

    fn width(&self) -> usize {
        WIDTH
    }

    fn mixes_images(&self) -> bool {
        true
    }
}

/// Geometry of a 1 x 1 convolution.
const POINTWISE: Geometry = Geometry { stride: 1, padding: 0 };

/// Depthwise 3 x 3 convolution.
struct Depthwise {
    weight: Var,
    geometry: Geometry,
}

/// A convolution followed by batch normalisation.
struct Normed<C> {
    convolution: C,
    norm: BatchNorm,
}

impl Normed<Convolution> {
    /// Creates both layers, named `parts`; the tuple is (input channels, output channels, side of the kernel).
    fn convolution(
        builder: &mut Builder,
        parts: [&str; 2],
        (inputs, outputs, kernel): (usize, usize, usize),
        geometry: Geometry,
    ) -> Result<Self> {
        let convolution = Convolution::new(&mut builder.scope(parts[0]), inputs, outputs, kernel, geometry)?;
        Ok(Self { convolution, norm: BatchNorm::new(&mut builder.scope(parts[1]), outputs, true)? })
    }

    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.convolution.forward(maps)?, Mode::Evaluate, Epilogue::default())
    }
}

impl Normed<Depthwise> {
    fn depthwise(builder: &mut Builder, channels: usize, stride: usize) -> Result<Self> {
        let std = (2.0 / (channels * 9) as f64).sqrt();
        let mut scope = builder.scope("0");
        let weight =
            scope.variable("weight", (channels, 1, 3, 3), Initialise::Normal { std }, Role::Weight)?;
        let convolution = Depthwise { weight, geometry: Geometry { stride, padding: 1 } };
        Ok(Self { convolution, norm: BatchNorm::new(&mut builder.scope("1"), channels, true)? })
    }

    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let Depthwise { weight, geometry } = &self.convolution;
        self.norm.forward(&depthwise(maps, weight, *geometry)?, Mode::Evaluate, Epilogue::default())
    }
}

/// torchvision's `InvertedResidual`.
struct Block {
    expand: Option<Normed<Convolution>>,
    depthwise: Normed<Depthwise>,
    project: Normed<Convolution>,
    shortcut: bool,
}

impl Block {
    fn new(builder: &mut Builder, sizes: Residual) -> Result<Self> {
        let Residual { inputs, hidden, outputs, stride } = sizes;
        let mut part = 0;
        let expand = match sizes.expands() {
            true => {
                part = 1;
                let sizes = (inputs, hidden, 1);
                Some(Normed::convolution(&mut builder.scope("0"), ["0", "1"], sizes, POINTWISE)?)
            }
            false => None,
        };
        let each = Normed::depthwise(&mut builder.scope(&part.to_string()), hidden, stride)?;
        let [conv, norm] = [part + 1, part + 2].map(|part| part.to_string());
        let project = Normed::convolution(builder, [&conv, &norm], (hidden, outputs, 1), POINTWISE)?;
        Ok(Self { expand, depthwise: each, project, shortcut: sizes.has_shortcut() })
    }

    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let inner = match &self.expand {
            Some(expand) => relu6(&expand.forward(maps)?)?,
            None => maps.clone(),
        };
        let inner = self.project.forward(&relu6(&self.depthwise.forward(&inner)?)?)?;
        if self.shortcut { add(maps, &inner) } else { Ok(inner) }
    }
}

/// Two images sin(0.001 n) + 0.5 sin(0.37 n), where n counts (image, channel, row, column); the same images as in
/// `fixtures/torch/mobilenet.py`.
pub(in crate::backbone) fn formula_images(side: usize, dtype: DType) -> Result<Tensor> {
    let value = |n: usize| libm::sin(0.001 * n as f64) + 0.5 * libm::sin(0.37 * n as f64);
    let values: Vec<f64> = (0..2 * 3 * side * side).map(value).collect();
    let images = Tensor::from_vec(values, (2, 3, side, side), &Device::Cpu)?;
    images.permute((0, 2, 3, 1))?.contiguous()?.to_dtype(dtype)
}

/// Compares features with the summary printed by `mobilenet.py`: their sum, their sum of squares, and the first eight
/// of each image.
///
/// # Errors
/// If a number differs by `bound` or more, relative to the expected number's size if that is above 1.
pub(in crate::backbone) fn ensure_near(features: &Tensor, expected: &[f64], bound: f64) -> Result<()> {
    let rows = features.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let all = || rows.iter().flatten();
    let sums = [all().sum(), all().map(|x| x * x).sum()];
    let found: Vec<f64> =
        sums.into_iter().chain(rows.iter().flat_map(|row| row[..8].iter().copied())).collect();
    if found.len() != expected.len() {
        bail!("{} numbers, expected {}", found.len(), expected.len())
    }
    for (found, expected) in found.iter().zip(expected) {
        let apart = (found - expected).abs();
        if apart.is_nan() || apart >= bound * expected.abs().max(1.0) {
            bail!("{found}, torchvision has {expected}")
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use checks::assert_thread_independent;
    use rstest::rstest;

    use super::*;
    use crate::{backbone::Parameters, seed::Seed};

    fn build(dtype: DType) -> (MobileNet, Parameters) {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), dtype, &Device::Cpu);
        let network = MobileNet::new(&mut builder).unwrap();
        (network, parameters)
    }

    /// Fills variables by the rule of `fixtures/torch/mobilenet.py`: a sine of each number's position, where `index`
    /// counts entries of torchvision's `state_dict()` including `num_batches_tracked`.
    fn fill(parameters: &Parameters) {
        let mut index = 0.0;
        for parameter in parameters.all() {
            let variable = &parameter.variable;
            let fan = (variable.elem_count() / variable.dims()[0]) as f64;
            let of = |n: usize| -> f64 {
                let a = (n % 1009) as f64;
                let wave = (0.01 * a + index).sin();
                match parameter.name.rsplit('.').next() {
                    Some("running_var") => 1.0 + 0.5 * wave,
                    Some("weight") if variable.rank() == 1 => 1.0 + 0.1 * wave,
                    _ if variable.rank() == 1 => 0.1 * wave,
                    _ => 2.0 * (0.01 * a * a + index).sin() / fan.sqrt(),
                }
            };
            let values: Vec<f64> = (0..variable.elem_count()).map(of).collect();
            let values = Tensor::from_vec(values, variable.shape(), &Device::Cpu).unwrap();
            variable.set(&values.to_dtype(variable.dtype()).unwrap()).unwrap();
            index += if parameter.name.ends_with("running_var") { 2.0 } else { 1.0 };
        }
    }

    /// Double precision: to the printed digits. Single precision: PyTorch's own error is up to 2e-4.
    #[rstest]
    #[case(64, DType::F64, 1e-10)]
    #[case(64, DType::F32, 5e-4)]
    #[case(224, DType::F64, 1e-10)]
    fn values_are_those_of_torchvision(#[case] side: usize, #[case] dtype: DType, #[case] bound: f64) {
        let (network, parameters) = build(dtype);
        assert_eq!((parameters.all().len(), parameters.trainable_count()), (260, 2_223_872));
        fill(&parameters);
        let features = network.embed(&formula_images(side, dtype).unwrap(), Mode::Evaluate).unwrap();
        let expected = include_str!("../../fixtures/torch/mobilenet.json");
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        let expected = &expected[side.to_string()];
        let first = expected["first"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        let numbers = [&expected["sum"], &expected["squares"]].into_iter().chain(first);
        let numbers: Vec<f64> = numbers.map(|number| number.as_f64().unwrap()).collect();
        ensure_near(&features, &numbers, bound).unwrap();
    }

    #[test]
    fn features_are_the_mean_over_places() {
        let (network, _) = build(DType::F32);
        let images = formula_images(96, DType::F32).unwrap();
        let places = network.feature_map(&images).unwrap().unwrap();
        assert_eq!(places.dims(), [2, 3, 3, WIDTH]);
        let (mean, features) =
            (places.mean((1, 2)).unwrap(), network.embed(&images, Mode::Evaluate).unwrap());
        let apart = (mean - &features).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 1e-6, "{apart}");
        assert!(features.max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
    }

    #[test]
    fn training_is_refused() {
        let (network, _) = build(DType::F32);
        let error =
            network.embed(&formula_images(32, DType::F32).unwrap(), Mode::Train).unwrap_err().to_string();
        assert!(error.contains("forward only"), "{error}");
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        let (network, parameters) = build(DType::F32);
        fill(&parameters);
        assert_thread_independent(|| {
            Ok(vec![network.embed(&formula_images(64, DType::F32)?, Mode::Evaluate)?])
        })
    }
    /// Two rows of nine numbers: the sum and the sum of squares of all, then the first eight of each row.
    #[test]
    fn features_are_near_to_what_was_printed() -> Result<()> {
        let row = |first: f64| (0..9).map(|n| first + f64::from(n)).collect::<Vec<f64>>();
        let rows = [row(1.0), row(20.0)];
        let all = rows.concat();
        let features = Tensor::from_vec(all.clone(), (2, 9), &Device::Cpu)?;
        let mut expected = vec![all.iter().sum(), all.iter().map(|x| x * x).sum()];
        expected.extend(rows.iter().flat_map(|row| row[..8].to_vec()));
        ensure_near(&features, &expected, 1e-9)?;
        for place in 0..expected.len() {
            for (factor, is_near) in
                [(1.0 + 0.9e-3, true), (1.0 - 1.1e-3, false), (1.0 + 1.1e-3, false), (f64::NAN, false)]
            {
                let mut other = expected.clone();
                other[place] *= factor;
                assert_eq!(ensure_near(&features, &other, 1e-3).is_ok(), is_near, "{place}, {factor}");
            }
        }
        let error = ensure_near(&features, &expected[1..], 1e-3).unwrap_err().to_string();
        assert!(error.starts_with("18 numbers, expected 17"), "{error}");
        Ok(())
    }

    /// Each channel's kernel has nine weights, but fan-out counts those of all channels, as torchvision does.
    #[test]
    fn depthwise_kernels_are_drawn_by_their_channels() -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("x", Seed::root(7), DType::F64, &Device::Cpu);
        Normed::depthwise(&mut builder, 300, 1)?;
        let weight = &parameters.get("x.0.weight").expect("a kernel").variable;
        let variance = weight.sqr()?.mean_all()?.to_scalar::<f64>()?;
        assert!((variance * 2700.0 - 2.0).abs() < 0.2, "{variance}");
        assert_eq!(weight.dims(), [300, 1, 3, 3]);
        Ok(())
    }
}
