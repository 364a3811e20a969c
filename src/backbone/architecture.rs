//! The available encoders, by name and size.

use candle_core::Result;

use super::{Backbone, Builder, MobileNet, ResNet, Stem, Vit, VitSize, vit::VitInitialisation};
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
    pub fn why_untrainable(self) -> Option<&'static str> {
        let trained = Self::STUDY.contains(&self);
        (!trained).then_some("not defined: MobileNetV2 is forward only; `--frozen FILE` scores given weights")
    }
}

/// An encoder's name and its sizes, which depend on the scale.
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
    pub fn min_parameters(&self) -> usize {
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
            Name::ViTTiny => Ok(Box::new(Vit::new(builder, self.vit, self.side, VitInitialisation::TIMM)?)),
            Name::MobileNetV2 => Ok(Box::new(MobileNet::new(builder)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{backbone::Parameters, seed::Seed};

    const VIT: VitSize = VitSize { patch: 8, width: 12, depth: 3, heads: 2 };

    fn small(name: Name) -> Architecture {
        Architecture { name, resnet_width: 5, resnet_stem: Stem::Small, vit: VIT, side: 32 }
    }

    #[test]
    fn encoders_are_called_as_in_the_paper() {
        let expected = [
            ("resnet18", "ResNet-18", "R-18", true),
            ("vit_tiny", "ViT-Tiny", "ViT", true),
            ("mobilenet_v2", "MobileNetV2", "MN-V2", false),
        ];
        let found = Name::ALL
            .map(|name| (name.id(), name.label(), name.short_label(), name.why_untrainable().is_none()));
        assert_eq!(found, expected);
        assert_eq!(Name::STUDY, [Name::ResNet18, Name::ViTTiny]);
        assert!(
            Name::MobileNetV2.why_untrainable().unwrap().contains("`--frozen FILE` scores given weights")
        );
    }

    /// By hand. ResNet: one 3 x 3 convolution of the first stage. ViT: three blocks of 12 width^2 weights, and sixteen
    /// position embeddings.
    #[test]
    fn the_fewest_numbers_are_a_lower_bound() {
        for (name, fewest, width) in [
            (Name::ResNet18, 9 * 5 * 5, 8 * 5),
            (Name::ViTTiny, 12 * 3 * 12 * 12 + 4 * 4 * 12, 12),
            (Name::MobileNetV2, 0, 1280),
        ] {
            let architecture = small(name);
            assert_eq!(architecture.min_parameters(), fewest, "{name}");
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
            assert_eq!(architecture.build(&mut builder).unwrap().width(), width, "{name}");
            assert!(parameters.trainable_count() >= fewest, "{name}");
        }
        // A file may state any sizes: they must cause neither overflow nor division by zero.
        let vit = VitSize { patch: 0, width: usize::MAX, depth: 2, heads: 0 };
        assert_eq!(Architecture { vit, ..small(Name::ViTTiny) }.min_parameters(), usize::MAX);
        assert_eq!(
            Architecture { resnet_width: usize::MAX, ..small(Name::ResNet18) }.min_parameters(),
            usize::MAX
        );
    }

    #[test]
    fn the_stem_is_the_one_that_was_asked_for() {
        for (stem, kernel) in [(Stem::ImageNet, 7), (Stem::Small, 3)] {
            let mut parameters = Parameters::default();
            let mut builder = parameters.builder("x", Seed::root(0), DType::F32, &Device::Cpu);
            Architecture { resnet_stem: stem, ..small(Name::ResNet18) }.build(&mut builder).unwrap();
            let weight = &parameters.get("x.conv1.weight").unwrap().variable;
            assert_eq!(weight.dims(), [5, 3, kernel, kernel]);
        }
    }
}
