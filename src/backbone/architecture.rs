//! The available encoders, by name and size.

use candle_core::Result;

use super::{Backbone, Builder, MobileNet, ResNet, Stem, Vit, VitSize, vit::Start};
use crate::named::named;

named! {
    /// The available encoders: the paper's, which can be trained, and one that is only read from files.
    pub enum Name: "backbone" {
        /// He et al. 2016: a convolutional network of four stages; `backbone::resnet`.
        ResNet18 = "resnet18",
        /// Touvron et al. 2021 (DeiT-Ti): a transformer over patches; `backbone::vit`.
        ViTTiny = "vit_tiny",
        /// Sandler et al. 2018, forward only, for published weights; `backbone::mobilenet`.
        MobileNetV2 = "mobilenet_v2",
    }
}

impl Name {
    /// The encoders of the paper, which can be trained; its tables, claims and figures refer to these.
    pub const STUDY: [Self; 2] = [Self::ResNet18, Self::ViTTiny];

    /// Returns the name as the paper prints it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ResNet18 => "ResNet-18",
            Self::ViTTiny => "ViT-Tiny",
            Self::MobileNetV2 => "MobileNetV2",
        }
    }

    /// Returns a short label for narrow columns.
    pub const fn short_label(self) -> &'static str {
        match self {
            Self::ResNet18 => "R-18",
            Self::ViTTiny => "ViT",
            Self::MobileNetV2 => "MN-V2",
        }
    }

    /// Returns why no method trains this encoder; `None` if it can be trained.
    pub fn untrained(self) -> Option<&'static str> {
        let trained = Self::STUDY.contains(&self);
        (!trained).then_some("not defined: MobileNetV2 is forward only; `--frozen FILE` scores given weights")
    }
}

/// An encoder's name, and the sizes that a scale chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Which encoder.
    pub name: Name,
    /// Channels of ResNet's first stage: 64 in the published network.
    pub resnet_width: usize,
    /// Layers before ResNet's first stage.
    pub resnet_stem: Stem,
    /// Sizes of the transformer.
    pub vit: VitSize,
    /// Side of the images, in pixels; determines how many position embeddings a ViT has.
    pub side: usize,
}

impl Architecture {
    /// Lower bound of the number of parameters; files with fewer can be rejected before memory is allocated.
    pub fn fewest_numbers(&self) -> usize {
        let product = |factors: &[usize]| {
            factors.iter().fold(1, |all: usize, &factor| all.saturating_mul(factor.max(1)))
        };
        match self.name {
            // First convolution of a block.
            Name::ResNet18 => product(&[9, self.resnet_width, self.resnet_width]),
            Name::ViTTiny => {
                let VitSize { patch, width, depth, .. } = self.vit;
                let across = self.side / patch.max(1);
                // Matrices of the blocks, and position embeddings.
                product(&[12, depth, width, width]).saturating_add(product(&[across, across, width]))
            }
            Name::MobileNetV2 => 0,
        }
    }

    /// Builds the encoder with its variables below `builder`.
    pub fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        match self.name {
            Name::ResNet18 => Ok(Box::new(ResNet::new(builder, self.resnet_width, self.resnet_stem)?)),
            Name::ViTTiny => Ok(Box::new(Vit::new(builder, self.vit, self.side, Start::TIMM)?)),
            Name::MobileNetV2 => Ok(Box::new(MobileNet::new(builder)?)),
        }
    }
}
