//! The encoders that are built, by name and size.

use candle_core::Result;

use super::{Backbone, Builder, ResNet, Stem, Vit, VitSize, vit::Start};
use crate::named::named;

named! {
    /// The encoders of the paper that are built.
    pub enum Name: "backbone" {
        /// He et al. 2016: a convolutional network of four stages; `backbone::resnet`.
        ResNet18 = "resnet18",
        /// Touvron et al. 2021 (DeiT-Ti): a transformer over patches; `backbone::vit`.
        ViTTiny = "vit_tiny",
    }
}

impl Name {
    /// How the paper prints it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ResNet18 => "ResNet-18",
            Self::ViTTiny => "ViT-Tiny",
        }
    }

    /// The same where there is little room.
    pub const fn short_label(self) -> &'static str {
        match self {
            Self::ResNet18 => "R-18",
            Self::ViTTiny => "ViT",
        }
    }
}

/// A name and the sizes that a scale chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Which encoder.
    pub name: Name,
    /// Channels of ResNet's first stage: 64 is the real network.
    pub resnet_width: usize,
    /// What stands before ResNet's first stage.
    pub resnet_stem: Stem,
    /// Sizes of the transformer.
    pub vit: VitSize,
    /// Of the images, in pixels: decides how many position embeddings a ViT has.
    pub side: usize,
}

impl Architecture {
    /// Makes the encoder's variables below `builder`.
    pub fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        match self.name {
            Name::ResNet18 => Ok(Box::new(ResNet::new(builder, self.resnet_width, self.resnet_stem)?)),
            Name::ViTTiny => Ok(Box::new(Vit::new(builder, self.vit, self.side, Start::TIMM)?)),
        }
    }
}
