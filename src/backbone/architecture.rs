//! The encoders that are built, by name and size.

use std::{fmt, str::FromStr};

use anyhow::anyhow;
use candle_core::Result;

use super::{Backbone, Builder, ResNet, Stem, Vit, VitSize, vit::Start};

/// The encoders of the paper that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// He et al. 2016: a convolutional network of four stages; `backbone::resnet`.
    ResNet18,
    /// Touvron et al. 2021 (DeiT-Ti): a transformer over patches; `backbone::vit`.
    ViTTiny,
}

impl Name {
    /// In the order in which tables show them.
    pub const ALL: [Self; 2] = [Self::ResNet18, Self::ViTTiny];

    /// The one spelling used in identifiers, records and file names.
    pub fn id(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ViTTiny => "vit_tiny",
        }
    }

    /// How the paper prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ResNet18 => "ResNet-18",
            Self::ViTTiny => "ViT-Tiny",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.id())
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|name| name.id() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|name| name.id()).collect();
            anyhow!("no backbone called '{text}'; known: {}", known.join(", "))
        })
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
