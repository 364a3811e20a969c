//! ResNet-18 (He et al. 2016) of any width, with torchvision's parameter names, initialisation and behaviour.
//!
//! The classifier `fc` is omitted, since heads are separate, and so are the counters `num_batches_tracked` (torch
//! restores them when they are missing).

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{
    Backbone, Builder, Mode,
    layers::{BatchNorm, Convolution},
};
use crate::tensor::{Geometry, batch_norm::Epilogue, chain, global_mean, max_pool, pooling::Pool};

/// The layers before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 7 x 7 convolution with stride 2, then 3 x 3 max pooling with stride 2: torchvision's, for 224 px.
    ImageNet,
    /// 3 x 3 convolution with stride 1, without pooling: for images of about 32 px.
    Small,
}

/// The encoder, without the classifier.
pub struct ResNet {
    stem: Stem,
    conv1: Convolution,
    bn1: BatchNorm,
    blocks: Vec<BasicBlock>,
    width: usize,
}

impl ResNet {
    /// Creates all variables. `width` is the number of channels of the first stage: 64 for ResNet-18, less for small
    /// scales. Features have length `8 * width`.
    pub fn new(builder: &mut Builder, width: usize, stem: Stem) -> Result<Self> {
        let (kernel, geometry) = match stem {
            Stem::ImageNet => (7, Geometry { stride: 2, padding: 3 }),
            Stem::Small => (3, Geometry { stride: 1, padding: 1 }),
        };
        let conv1 = Convolution::new(&mut builder.scope("conv1"), 3, width, kernel, geometry)?;
        let bn1 = BatchNorm::new(&mut builder.scope("bn1"), width, true)?;
        let mut blocks = Vec::new();
        let mut inputs = width;
        for stage in 0..4 {
            let mut builder = builder.scope(&format!("layer{}", stage + 1));
            let outputs = width << stage;
            for number in 0..2 {
                let stride = if stage > 0 && number == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new(
                    &mut builder.scope(&number.to_string()),
                    inputs,
                    outputs,
                    stride,
                )?);
                inputs = outputs;
            }
        }
        Ok(Self { stem, conv1, bn1, blocks, width: inputs })
    }

    /// Returns the feature maps before the global mean, of 8 x `width` channels: (batch, height / 32, width / 32) with
    /// the ImageNet stem, (batch, height / 8, width / 8) with the small stem, rounded up.
    pub fn maps(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        chain(images, |images| self.compute_maps(images, mode))
    }

    fn compute_maps(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.stage(&self.stem(images, mode)?, 0..4, mode)
    }

    fn stem(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let maps = self.conv1.forward(images)?;
        let maps = self.bn1.forward(&maps, mode, Epilogue { residual: None, relu: true })?;
        match self.stem {
            Stem::ImageNet => max_pool(&maps, Pool { kernel: 3, stride: 2, padding: 1 }),
            Stem::Small => Ok(maps),
        }
    }

    /// Applies some of the four stages.
    fn stage(&self, maps: &Tensor, stages: Range<usize>, mode: Mode) -> Result<Tensor> {
        let blocks = &self.blocks[2 * stages.start..2 * stages.end];
        blocks.iter().try_fold(maps.clone(), |maps, block| block.forward(&maps, mode))
    }
}

impl Backbone for ResNet {
    fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        global_mean(&self.maps(images, mode)?)
    }

    fn feature_map(&self, images: &Tensor) -> Result<Option<Tensor>> {
        self.maps(images, Mode::Evaluate).map(Some)
    }

    /// Returns the maps of the second and third stage.
    fn intermediate_maps(&self, images: &Tensor) -> Result<Option<[Tensor; 2]>> {
        let second = self.stage(&self.stem(images, Mode::Evaluate)?, 0..2, Mode::Evaluate)?;
        let third = self.stage(&second, 2..3, Mode::Evaluate)?;
        Ok(Some([second, third]))
    }

    fn width(&self) -> usize {
        self.width
    }

    fn mixes_images(&self) -> bool {
        true
    }
}

/// torchvision's `BasicBlock`: two 3 x 3 convolutions and a shortcut.
struct BasicBlock {
    conv1: Convolution,
    bn1: BatchNorm,
    conv2: Convolution,
    bn2: BatchNorm,
    /// 1 x 1 convolution and normalisation, if the shape changes.
    downsample: Option<(Convolution, BatchNorm)>,
}

impl BasicBlock {
    fn new(builder: &mut Builder, inputs: usize, outputs: usize, stride: usize) -> Result<Self> {
        let first = Geometry { stride, padding: 1 };
        let second = Geometry { stride: 1, padding: 1 };
        Ok(Self {
            conv1: Convolution::new(&mut builder.scope("conv1"), inputs, outputs, 3, first)?,
            bn1: BatchNorm::new(&mut builder.scope("bn1"), outputs, true)?,
            conv2: Convolution::new(&mut builder.scope("conv2"), outputs, outputs, 3, second)?,
            bn2: BatchNorm::new(&mut builder.scope("bn2"), outputs, true)?,
            downsample: if stride == 1 && inputs == outputs {
                None
            } else {
                let mut builder = builder.scope("downsample");
                let shortcut = Geometry { stride, padding: 0 };
                Some((
                    Convolution::new(&mut builder.scope("0"), inputs, outputs, 1, shortcut)?,
                    BatchNorm::new(&mut builder.scope("1"), outputs, true)?,
                ))
            },
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor> {
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(&conv.forward(input)?, mode, Epilogue::default())?,
            None => input.clone(),
        };
        let inner = self.conv1.forward(input)?;
        let inner = self.bn1.forward(&inner, mode, Epilogue { residual: None, relu: true })?;
        let inner = self.conv2.forward(&inner)?;
        self.bn2.forward(&inner, mode, Epilogue { residual: Some(&shortcut), relu: true })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use checks::normal;
    use rstest::rstest;

    use super::*;
    use crate::{
        backbone::{Parameters, layers::Linear},
        seed::Seed,
        tensor::backward,
    };

    /// Fills variables by the reference's rule: each entry of torchvision's `state_dict()`, in order, gets a sine of
    /// its position, where `index` also counts `num_batches_tracked`.
    fn fill(parameters: &Parameters) -> Result<()> {
        let mut index = 0.0;
        for parameter in parameters.all() {
            let variable = &parameter.variable;
            let rows = variable.dims()[0];
            let fan = (variable.elem_count() / rows) as f64;
            let of = |n: usize| -> f64 {
                let a = (n % 1009) as f64;
                let wave = (0.01 * a + index).sin();
                match parameter.name.rsplit('.').next() {
                    Some("running_var") => 1.0 + 0.5 * wave,
                    Some("weight") if variable.rank() == 1 => 1.0 + 0.1 * wave,
                    _ if variable.rank() == 1 => 0.1 * wave,
                    _ => (0.01 * a * a + index).sin() / fan.sqrt(),
                }
            };
            let values: Vec<f64> = (0..variable.elem_count()).map(of).collect();
            variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu)?)?;
            // `num_batches_tracked` follows `running_var`.
            index += if parameter.name.ends_with("running_var") { 2.0 } else { 1.0 };
        }
        Ok(())
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            // The references are printed to nine digits.
            assert!((found - expected).abs() < 2e-9, "found {found}, expected {expected}");
        }
    }

    #[test]
    fn values_are_those_of_torchvision() -> Result<()> {
        // torchvision's resnet18 in float64, filled by the rule above, in evaluation mode and then in training mode;
        // two images sin(0.001 n) + 0.5 sin(0.37 n), where n counts (image, channel, row, column).
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu);
        let resnet = ResNet::new(&mut builder, 64, Stem::ImageNet)?;
        let classifier = Linear::new(&mut builder.scope("fc"), 512, 1000, true)?;
        fill(&parameters)?;
        let images: Vec<f64> = (0..2 * 3 * 224 * 224)
            .map(f64::from)
            .map(|n| (0.001 * n).sin() + 0.5 * (0.37 * n).sin())
            .collect();
        let images = Tensor::from_vec(images, (2, 3, 224, 224), &Device::Cpu)?.permute((0, 2, 3, 1))?;

        let features = resnet.embed(&images, Mode::Evaluate)?;
        let rows = features.to_vec2::<f64>()?;
        assert_close(&rows[0], &[0.359225882, 0.341627089, 0.406665676, 0.36447853]);
        assert_close(&[features.sqr()?.sum_all()?.sqrt()?.to_scalar()?], &[5.961470275]);
        let logits = classifier.forward(&features)?;
        let rows = logits.to_vec2::<f64>()?;
        assert_close(&rows[0], &[0.237694546, 0.271713379, 0.126763661, 0.254816322, 0.041341026]);
        assert_close(&rows[1], &[0.236059173, 0.267629287, 0.12915707]);
        let mean = logits.mean_all()?.to_scalar::<f64>()?;
        let std = (logits.sqr()?.mean_all()?.to_scalar::<f64>()? - mean * mean) * 2000.0 / 1999.0;
        assert_close(&[mean, std.sqrt()], &[0.02836265143, 0.12301236196]);

        let logits = classifier.forward(&resnet.embed(&images, Mode::Train)?)?;
        assert_close(&logits.to_vec2::<f64>()?[0], &[0.841073171, 0.376706476, 0.628536421]);
        let buffer = |name: &str| parameters.get(name).expect("a buffer").variable.to_vec1::<f64>();
        assert_close(&buffer("bn1.running_mean")?, &[0.0130675932, 0.0119476104, 0.0112444913]);
        assert_close(&buffer("bn1.running_var")?, &[0.573338344, 0.560771586, 0.574639725]);
        Ok(())
    }

    #[test]
    fn parameters_are_those_of_torchvision() -> Result<()> {
        // torchvision's resnet18 without fc: 11,176,512 trainable parameters; 120 entries in the state dictionary, 20
        // of which are counters.
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let resnet = ResNet::new(&mut builder, 64, Stem::ImageNet)?;
        assert_eq!(resnet.width(), 512);
        assert_eq!(parameters.trainable_count(), 11_176_512);
        assert_eq!(parameters.all().len(), 100);
        // Standard deviation sqrt(2 / (64 x 49)), within six standard errors of 9,408 draws.
        let conv1 =
            parameters.get("conv1.weight").expect("the stem").variable.flatten_all()?.to_vec1::<f32>()?;
        let std = (conv1.iter().map(|x| f64::from(x * x)).sum::<f64>() / conv1.len() as f64).sqrt();
        assert!((std / 0.02525 - 1.0).abs() < 6.0 / (2.0 * conv1.len() as f64).sqrt(), "{std}");
        assert!(parameters.get("layer4.0.downsample.1.running_var").is_some());
        assert!(parameters.get("layer1.0.downsample.0.weight").is_none());
        Ok(())
    }

    #[rstest]
    fn every_variable_gets_a_gradient(
        #[values(Stem::ImageNet, Stem::Small)] stem: Stem,
        #[values(Mode::Train, Mode::Evaluate)] mode: Mode,
    ) -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let resnet = ResNet::new(&mut builder, 8, stem)?;
        let images = normal("images", &[4, 32, 32, 3], DType::F32)?.as_detached_tensor();
        let features = resnet.embed(&images, mode)?;
        assert_eq!(features.dims(), [4, 64]);
        let gradients = backward(&features.sqr()?.sum_all()?)?;
        for parameter in parameters.trainable() {
            let gradient = gradients.get(&parameter.variable).expect(&parameter.name);
            assert_eq!(gradient.shape(), parameter.variable.shape(), "{}", parameter.name);
            let size = gradient.sqr()?.sum_all()?.to_scalar::<f32>()?;
            assert!(size.is_finite() && size > 0.0, "{}: squared gradient {size}", parameter.name);
        }
        Ok(())
    }
    /// Applying the remaining stages to either intermediate map gives the last map.
    #[rstest]
    #[case(Stem::ImageNet, [8, 4], 2)]
    #[case(Stem::Small, [32, 16], 8)]
    fn middle_features_are_those_of_the_second_and_third_stage(
        #[case] stem: Stem,
        #[case] sides: [usize; 2],
        #[case] last: usize,
    ) -> Result<()> {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu);
        let resnet = ResNet::new(&mut builder, 4, stem)?;
        fill(&parameters)?;
        let images = normal("images", &[2, 64, 64, 3], DType::F64)?.as_detached_tensor();
        let before: Vec<Vec<f64>> =
            parameters.all().iter().map(|p| p.variable.flatten_all()?.to_vec1()).collect::<Result<_>>()?;
        let [second, third] = resnet.intermediate_maps(&images)?.unwrap();
        assert_eq!(second.dims(), [2, sides[0], sides[0], 8]);
        assert_eq!(third.dims(), [2, sides[1], sides[1], 16]);
        let places = resnet.feature_map(&images)?.unwrap();
        assert_eq!(places.dims(), [2, last, last, 32]);
        for (maps, stages) in [(&second, 2..4), (&third, 3..4)] {
            assert!(checks::distance(&resnet.stage(maps, stages, Mode::Evaluate)?, &places)? < 1e-12);
        }
        let mean = places.mean((1, 2))?;
        assert!(checks::distance(&mean, &resnet.embed(&images, Mode::Evaluate)?)? < 1e-12);
        // None of these calls trains: parameters and running statistics are unchanged.
        for (parameter, before) in parameters.all().iter().zip(before) {
            assert_eq!(parameter.variable.flatten_all()?.to_vec1::<f64>()?, before, "{}", parameter.name);
        }
        Ok(())
    }
}
