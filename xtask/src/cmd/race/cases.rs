//! The cases of a race. Sizes are ours: the paper's 224 pixels, and 64 as at small scale, in batches that fit on a
//! laptop.

use serde_json::json;
use skewbench::{
    backbone,
    backbone::Name::{MobileNetV2, ResNet18, ViTTiny},
    method,
    method::Name::{BarlowTwins, Byol, Dino, Mae, SimClr, Supervised},
};

/// One method on one backbone at one size.
pub struct Case {
    pub method: method::Name,
    pub backbone: backbone::Name,
    pub images: usize,
    pub side: usize,
}

const fn case(method: method::Name, backbone: backbone::Name, images: usize, side: usize) -> Case {
    Case { method, backbone, images, side }
}

/// Precision of the activations, equal on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Single,
    /// bf16, with weights in f32: `--mixed-precision` here, autocast in PyTorch.
    Mixed,
}

impl Precision {
    pub const ALL: [Self; 2] = [Self::Single, Self::Mixed];
}

/// PyTorch's options.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    pub channels_last: bool,
    /// Whether views share one batch.
    pub together: bool,
    /// Whether the forward pass and the loss use `torch.compile`.
    pub compiled: bool,
}

/// 32 views of 64 pixels or 16 of 224.
pub const CASES: [Case; 18] = [
    case(SimClr, ResNet18, 16, 64),
    case(SimClr, ResNet18, 8, 224),
    case(SimClr, ViTTiny, 8, 224),
    case(Supervised, ResNet18, 32, 64),
    case(Supervised, ResNet18, 16, 224),
    case(Supervised, ViTTiny, 16, 224),
    case(Byol, ResNet18, 16, 64),
    case(Byol, ResNet18, 8, 224),
    case(Byol, ViTTiny, 8, 224),
    case(BarlowTwins, ResNet18, 16, 64),
    case(BarlowTwins, ResNet18, 8, 224),
    case(BarlowTwins, ViTTiny, 8, 224),
    case(Dino, ResNet18, 16, 64),
    case(Dino, ResNet18, 8, 224),
    case(Dino, ViTTiny, 8, 224),
    case(Mae, ViTTiny, 16, 224),
    // Sixteen patches per image: the other extreme of a transformer's load.
    case(SimClr, ViTTiny, 16, 64),
    case(Supervised, ViTTiny, 32, 64),
];

impl Case {
    /// Returns `simclr-resnet18-16x64px`: method, backbone, images, side; with `-bf16` for mixed precision.
    pub fn name(&self, precision: Precision) -> String {
        let suffix = if precision == Precision::Mixed { "-bf16" } else { "" };
        format!("{}-{}-{}x{}px{suffix}", self.method, self.backbone, self.images, self.side)
    }

    /// Returns the number of views of an image in a step.
    pub fn views(&self) -> usize {
        if matches!(self.method, Supervised | Mae) { 1 } else { 2 }
    }

    /// Returns whether PyTorch may put both views in one batch: only if this changes nothing except speed. SimCLR
    /// itself does so; in other methods batch normalisation would mix both views.
    pub fn together(&self) -> &'static [bool] {
        match (self.method, self.backbone) {
            (SimClr, _) => &[true],
            (Supervised | Mae, _) => &[false],
            (_, ResNet18 | MobileNetV2) => &[false],
            (_, ViTTiny) => &[false, true],
        }
    }

    /// Returns the line that starts a worker.
    pub fn line(
        &self,
        precision: Precision,
        threads: usize,
        Setting { channels_last, together, compiled }: Setting,
    ) -> String {
        json!({
            "method": self.method.id(), "backbone": self.backbone.id(), "views_of_pixels": self.views(),
            "batch": self.images, "side": self.side, "threads": threads,
            "channels_last": channels_last, "together": together, "compiled": compiled,
            "mixed": precision == Precision::Mixed,
        })
        .to_string()
    }
}
