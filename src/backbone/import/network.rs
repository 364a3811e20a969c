//! Recognises a network by the shapes of its tensors, and suggests the flag that builds it.

use std::collections::BTreeMap;

use crate::backbone::{Name, VitSize, mobilenet};

/// A network, as far as the names and shapes of its tensors determine it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// ResNet-18 or a deeper one.
    ResNet {
        /// Which depth.
        kind: &'static str,
        /// Channels of the first stage.
        width: usize,
        /// Side of the first convolution's kernel.
        kernel: usize,
    },
    /// A vision transformer under timm's names.
    Vit {
        /// Side of a patch, pixels.
        patch: usize,
        /// Length of a token.
        width: usize,
        /// Number of blocks.
        depth: usize,
    },
    /// `MobileNetV2` under torchvision's names.
    MobileNet {
        /// Channels of the first convolution.
        first: usize,
    },
}

impl Network {
    /// Returns the available encoder of this kind.
    pub fn name(self) -> Name {
        match self {
            Self::ResNet { .. } => Name::ResNet18,
            Self::Vit { .. } => Name::ViTTiny,
            Self::MobileNet { .. } => Name::MobileNetV2,
        }
    }
}

/// Recognises a network by names and shapes; `None` if it is none of the available kinds.
pub fn recognise(shapes: &BTreeMap<&str, &[usize]>) -> Option<Network> {
    // If names have prefixes, the shortest match belongs to the network itself rather than to a block.
    let shape = |suffix: &str| {
        let ends =
            |name: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let named = shapes.iter().filter(|(name, _)| ends(name));
        named.min_by_key(|(name, _)| name.matches('.').count()).map(|(_, shape)| *shape)
    };
    let has = |part: &str| shapes.keys().any(|name| name.contains(part));
    if let Some(&[width, _, patch, _]) = shape("patch_embed.proj.weight") {
        let number = |name: &&str| name.split_once("blocks.")?.1.split('.').next()?.parse::<usize>().ok();
        let blocks = shapes.keys().filter(|name| !name.contains("decoder")).filter_map(number);
        return Some(Network::Vit { patch, width, depth: blocks.max().map_or(0, |last| last + 1) });
    }
    if let Some(&[first, _, 3, 3]) = shape("features.0.0.weight").filter(|_| has("features.1.conv.0.0.")) {
        return Some(Network::MobileNet { first });
    }
    let lightly = || shape("0.weight").filter(|_| has("4.0.conv1.") || has("2.0.conv1."));
    if let Some(&[width, _, kernel, _]) = shape("conv1.weight").filter(|_| has("layer1.")).or_else(lightly) {
        let kind = match () {
            () if has(".0.conv3.") => "ResNet-50 or a deeper one",
            () if has("layer1.2.") => "ResNet-34",
            () => "ResNet-18",
        };
        return Some(Network::ResNet { kind, width, kernel });
    }
    None
}

/// Formats a shape: `64 x 3 x 7 x 7`.
pub fn size(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Explains which network the file holds if it is not the expected one, and which flags to pass. The text begins
/// with a colon; it is empty if there is nothing to explain.
pub fn hint((found, expected): (Option<Network>, Option<Network>)) -> String {
    use Network::{MobileNet, ResNet, Vit};
    let advice = match (found, expected) {
        (None, Some(ResNet { .. })) => {
            return ": neither torchvision's nor lightly's names of a ResNet, nor timm's of a ViT".to_owned();
        }
        (None, Some(MobileNet { .. })) => return ": not torchvision's names of a MobileNetV2".to_owned(),
        (None, _) => return ": neither timm's names of a ViT nor names of a ResNet".to_owned(),
        (Some(MobileNet { first }), _) if first != mobilenet::STEM_CHANNELS => {
            "only its width 1 is supported".to_owned()
        }
        (Some(MobileNet { .. }), Some(ResNet { .. } | Vit { .. })) => {
            "it cannot be trained here; --frozen instead of --init scores it unchanged".to_owned()
        }
        (Some(MobileNet { .. }), _) => return String::new(),
        (Some(ResNet { .. } | Vit { .. }), Some(MobileNet { .. })) => "it is not a MobileNetV2".to_owned(),
        (Some(ResNet { .. }), Some(Vit { .. })) => "pass --only resnet18".to_owned(),
        (Some(Vit { .. }), Some(ResNet { .. })) => "pass --only vit_tiny".to_owned(),
        (Some(ResNet { kind, .. }), Some(ResNet { .. })) if kind != "ResNet-18" => {
            "only ResNet-18 and ViT-Tiny are supported".to_owned()
        }
        (Some(ResNet { width, kernel, .. }), Some(ResNet { width: built, kernel: stem, .. })) => {
            if kernel != stem {
                format!("no flag builds a first convolution of {kernel} x {kernel}; ours is {stem} x {stem}")
            } else if width != built {
                format!("pass --width {width}")
            } else {
                return String::new();
            }
        }
        (Some(found @ Vit { patch, width, depth }), Some(expected)) => {
            let VitSize { patch: full_patch, width: full_width, depth: full_depth, .. } = VitSize::TINY;
            if found == expected {
                return String::new();
            } else if (patch, width, depth) == (full_patch, full_width, full_depth) {
                "only --full builds it".to_owned()
            } else {
                format!("no flag builds it; this scale has {}", describe(expected))
            }
        }
        (Some(_), None) => return String::new(),
    };
    found
        .map_or_else(String::new, |found| format!(": these are the weights of {}; {advice}", describe(found)))
}

fn describe(network: Network) -> String {
    match network {
        Network::ResNet { kind: kind @ "ResNet-18", width, .. } => format!("a {kind} of width {width}"),
        Network::ResNet { kind, .. } => format!("a {kind}"),
        Network::MobileNet { first } => format!("a MobileNetV2 whose first convolution has {first} channels"),
        Network::Vit { patch, width, depth } => {
            format!("a ViT with patches of {patch} px, width {width} and {depth} blocks")
        }
    }
}

/// Recognises tensor names of libraries whose files are not supported, and says so.
pub fn unsupported_library<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    let has = |part: &str| names.clone().any(|name| name.contains(part));
    if has("attention.attention.query") {
        Some(
            "these are the names of Hugging Face's transformers; only timm's are supported (timm can save the same network)",
        )
    } else if has("encoder_layer_0.") || has("conv_proj.weight") {
        Some(
            "these are torchvision's names of a ViT; only timm's are supported (timm can save the same network)",
        )
    } else if has("resnet.embedder.") || has("encoder.stages.") {
        Some("these are the names of Hugging Face's transformers; only torchvision's are supported")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RESNET: Network = resnet("ResNet-18", 8, 7);
    const VIT: Network = vit(8, 24, 2);
    const MOBILENET: Network = Network::MobileNet { first: 32 };

    const fn resnet(kind: &'static str, width: usize, kernel: usize) -> Network {
        Network::ResNet { kind, width, kernel }
    }

    const fn vit(patch: usize, width: usize, depth: usize) -> Network {
        Network::Vit { patch, width, depth }
    }

    #[rstest]
    #[case(None, Some(RESNET), "neither torchvision's nor lightly's names of a ResNet, nor timm's of a ViT")]
    #[case(None, Some(MOBILENET), "not torchvision's names of a MobileNetV2")]
    #[case(None, Some(VIT), "neither timm's names of a ViT nor names of a ResNet")]
    #[case(None, None, "neither timm's names of a ViT nor names of a ResNet")]
    #[case(
        Some(Network::MobileNet { first: 16 }),
        Some(MOBILENET),
        "these are the weights of a MobileNetV2 whose first convolution has 16 channels; only its width 1 is supported"
    )]
    #[case(
        Some(MOBILENET),
        Some(VIT),
        "these are the weights of a MobileNetV2 whose first convolution has 32 channels; it cannot be trained here; \
         --frozen instead of --init scores it unchanged"
    )]
    #[case(Some(MOBILENET), Some(MOBILENET), "")]
    #[case(Some(MOBILENET), None, "")]
    #[case(
        Some(RESNET),
        Some(MOBILENET),
        "these are the weights of a ResNet-18 of width 8; it is not a MobileNetV2"
    )]
    #[case(
        Some(VIT),
        Some(MOBILENET),
        "these are the weights of a ViT with patches of 8 px, width 24 and 2 blocks; it is not a MobileNetV2"
    )]
    #[case(Some(RESNET), Some(VIT), "these are the weights of a ResNet-18 of width 8; pass --only resnet18")]
    #[case(
        Some(VIT),
        Some(RESNET),
        "these are the weights of a ViT with patches of 8 px, width 24 and 2 blocks; pass --only vit_tiny"
    )]
    #[case(
        Some(resnet("ResNet-34", 8, 7)),
        Some(RESNET),
        "these are the weights of a ResNet-34; only ResNet-18 and ViT-Tiny are supported"
    )]
    #[case(
        Some(resnet("ResNet-18", 16, 3)),
        Some(RESNET),
        "these are the weights of a ResNet-18 of width 16; no flag builds a first convolution of 3 x 3; ours is 7 x 7"
    )]
    #[case(
        Some(resnet("ResNet-18", 16, 7)),
        Some(RESNET),
        "these are the weights of a ResNet-18 of width 16; pass --width 16"
    )]
    #[case(Some(RESNET), Some(RESNET), "")]
    #[case(Some(RESNET), None, "")]
    #[case(Some(VIT), Some(VIT), "")]
    #[case(Some(VIT), None, "")]
    #[case(
        Some(vit(16, 192, 12)),
        Some(VIT),
        "these are the weights of a ViT with patches of 16 px, width 192 and 12 blocks; only --full builds it"
    )]
    #[case(
        Some(vit(16, 192, 6)),
        Some(VIT),
        "these are the weights of a ViT with patches of 16 px, width 192 and 6 blocks; no flag builds it; this scale has \
         a ViT with patches of 8 px, width 24 and 2 blocks"
    )]
    fn what_helps_is_said(
        #[case] found: Option<Network>,
        #[case] expected: Option<Network>,
        #[case] said: &str,
    ) {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        assert_eq!(hint((found, expected)), said);
    }

    #[rstest]
    #[case::vit(
        &[
            "net.patch_embed.proj.weight 24 x 3 x 8 x 9",
            "net.blocks.0.norm1.weight 24",
            "net.blocks.11.norm1.weight 24",
            "decoder_blocks.20.norm1.weight 16",
        ],
        Some(vit(8, 24, 12))
    )]
    #[case::without_blocks(&["patch_embed.proj.weight 24 x 3 x 8 x 8"], Some(vit(8, 24, 0)))]
    #[case::resnet_18(
        &[
            "layer1.0.conv1.weight 16 x 16 x 3 x 3",
            "layer1.1.conv1.weight 16 x 16 x 3 x 3",
            "conv1.weight 16 x 3 x 7 x 7",
        ],
        Some(resnet("ResNet-18", 16, 7))
    )]
    #[case::resnet_34(
        &["x.conv1.weight 16 x 3 x 5 x 5", "x.layer1.2.conv1.weight 16 x 16 x 3 x 3"],
        Some(resnet("ResNet-34", 16, 5))
    )]
    #[case::resnet_50(
        &[
            "conv1.weight 64 x 3 x 7 x 7",
            "layer1.0.conv3.weight 256 x 64 x 1 x 1",
            "layer1.2.conv1.weight 64 x 256 x 1 x 1",
        ],
        Some(resnet("ResNet-50 or a deeper one", 64, 7))
    )]
    #[case::numbers(
        &["0.weight 16 x 3 x 7 x 7", "4.0.conv1.weight 16 x 16 x 3 x 3"],
        Some(resnet("ResNet-18", 16, 7))
    )]
    #[case::other_numbers(
        &["b.0.weight 32 x 3 x 3 x 3", "b.2.0.conv1.weight 32 x 32 x 3 x 3"],
        Some(resnet("ResNet-18", 32, 3))
    )]
    #[case::mobilenet(
        &["features.0.0.weight 16 x 3 x 3 x 3", "features.1.conv.0.0.weight 16 x 1 x 3 x 3"],
        Some(Network::MobileNet { first: 16 })
    )]
    #[case::no_blocks_of_a_mobilenet(&["features.0.0.weight 16 x 3 x 3 x 3"], None)]
    #[case::no_stages(&["conv1.weight 16 x 3 x 7 x 7"], None)]
    #[case::perceptron(&["0.weight 16 x 3"], None)]
    fn networks_are_known_by_names_and_shapes(
        #[case] tensors: &[&'static str],
        #[case] expected: Option<Network>,
    ) {
        let sizes = |text: &str| text.split(" x ").map(|side| side.parse().unwrap()).collect::<Vec<usize>>();
        let named =
            |text: &&'static str| text.split_once(' ').map(|(name, text)| (name, sizes(text))).unwrap();
        let tensors: Vec<(&str, Vec<usize>)> = tensors.iter().map(named).collect();
        assert_eq!(
            recognise(&tensors.iter().map(|(name, sizes)| (*name, sizes.as_slice())).collect()),
            expected
        );
    }

    #[test]
    fn names_of_other_libraries_are_known() {
        let of = |name: &'static str| unsupported_library(["x", name].into_iter());
        let said = |name: &'static str| of(name).unwrap_or_default();
        assert!(said("vit.layer.0.attention.attention.query.weight").contains("transformers; only timm's"));
        for name in ["encoder.layers.encoder_layer_0.mlp.0.weight", "conv_proj.weight"] {
            assert!(said(name).starts_with("these are torchvision's names of a ViT"), "{name}");
        }
        for name in ["resnet.embedder.embedder.convolution.weight", "encoder.stages.0.layers.0.weight"] {
            assert!(said(name).ends_with("transformers; only torchvision's are supported"), "{name}");
        }
        assert_eq!(of("layer1.0.conv1.weight"), None);
    }

    #[test]
    fn sizes_and_encoders_have_names() {
        assert_eq!([size(&[64, 3, 7, 8]), size(&[5]), size(&[])], ["64 x 3 x 7 x 8", "5", ""]);
        let names = [RESNET, VIT, MOBILENET].map(Network::name);
        assert_eq!(names, [Name::ResNet18, Name::ViTTiny, Name::MobileNetV2]);
    }
}
