//! What a training step optimises: the paper's methods, behind one trait.
//!
//! A method owns its encoder and heads and turns a batch of views into a loss. It is independent of data sets,
//! optimisers and learning rates. To add one: a file here with its [`Method`] and its [`Objective`], a variant of
//! [`Name`], a recipe in `experiment::recipe` (`benchmarks/README.md` shows it).

pub mod barlow_twins;
pub mod byol;
pub mod dino;
pub mod mae;
pub mod simclr;
pub mod simsiam;
pub mod supervised;
pub mod teacher;
pub mod untrained;

use std::fmt;

use candle_core::{DType, Device, Result, Tensor};
use serde_json::Value;

use crate::{
    backbone::{self, Architecture, Backbone, Mode, Parameters, heads::Heads},
    loader::Batch,
    named::named,
    seed::Seed,
};

named! {
    /// The methods: the paper's in the order of its Table 1, then others.
    pub enum Name: "method" {
        /// Cross-entropy on the labels.
        Supervised = "supervised",
        /// Grill et al. 2020.
        Byol = "byol",
        /// Zbontar et al. 2021.
        BarlowTwins = "barlow_twins",
        /// Caron et al. 2021.
        Dino = "dino",
        /// He et al. 2022.
        Mae = "mae",
        /// Chen et al. 2020.
        SimClr = "simclr",
        /// Chen and He 2021. Not the paper's: the example of `benchmarks/README.md`.
        SimSiam = "simsiam",
    }
}

impl Name {
    /// The paper's methods, about which its claims are judged; tables and figures show every method in the records.
    pub const PAPER: [Self; 6] =
        [Self::Supervised, Self::Byol, Self::BarlowTwins, Self::Dino, Self::Mae, Self::SimClr];

    /// The paper's methods that learn without labels.
    pub const SELF_SUPERVISED: [Self; 5] =
        [Self::Byol, Self::BarlowTwins, Self::Dino, Self::Mae, Self::SimClr];

    /// Returns its printed name, its colour, and the SVG path of its marker, centred on (0, 0) and about 8 wide.
    ///
    /// Colours are those of Okabe and Ito, which remain distinct for readers with red-green colour blindness;
    /// markers are for print in grey.
    const fn appearance(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Supervised => ("Supervised", "#5f6368", "M-4 -4H4V4H-4Z"),
            Self::Byol => ("BYOL", "#0072b2", "M0 -5L5 4H-5Z"),
            Self::BarlowTwins => ("Barlow Twins", "#d55e00", "M0 5L5 -4H-5Z"),
            Self::Dino => ("DINO", "#009e73", "M0 -5.5L5.5 0L0 5.5L-5.5 0Z"),
            Self::Mae => ("MAE", "#cc79a7", "M-4 -4L4 4M4 -4L-4 4"),
            Self::SimClr => ("SimCLR", "#b58900", "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z"),
            Self::SimSiam => ("SimSiam", "#3a98d0", "M-5 0H5M0 -5V5"),
        }
    }

    /// Returns the name that the paper prints.
    pub const fn label(self) -> &'static str {
        self.appearance().0
    }

    /// Returns its colour in figures, as CSS.
    pub const fn colour(self) -> &'static str {
        self.appearance().1
    }

    /// Returns its marker in figures: an SVG path centred on (0, 0), about 8 wide.
    pub const fn marker(self) -> &'static str {
        self.appearance().2
    }

    /// Returns whether it is one of the paper's methods.
    pub fn is_from_paper(self) -> bool {
        Self::PAPER.contains(&self)
    }

    /// Returns whether the encoder is trained on labels.
    pub fn is_supervised(self) -> bool {
        self == Self::Supervised
    }

    /// Returns why the method is not defined on this backbone, or `None` if it is. Such cells are reported, not left
    /// out. Backbones that no method can train are not considered here.
    pub fn undefined_on(self, backbone: backbone::Name) -> Option<&'static str> {
        match (self, backbone) {
            (Self::Mae, backbone::Name::ResNet18) => {
                Some("not defined: MAE drops patches before the encoder, and a convolution needs every pixel")
            }
            _ => None,
        }
    }
}

/// What every method is built from.
#[derive(Clone, Copy)]
pub struct Foundation<'a> {
    /// The encoder.
    pub architecture: Architecture,
    /// Sizes of heads.
    pub heads: Heads,
    /// Weight of a defect in losses on labels: normals/defects of the training set.
    pub defect_weight: f64,
    /// Initial values of all variables are drawn from it; without a seed they are 0, which suffices to check sizes.
    pub seed: Option<Seed>,
    /// `f32` to train, `f64` to check.
    pub dtype: DType,
    /// Device of the variables.
    pub device: &'a Device,
}

/// A method's constants.
pub trait Objective: fmt::Debug + Send + Sync {
    /// Returns the constants under fixed names, and the method's name under `name`; part of an experiment's identity.
    fn settings(&self) -> Vec<(&'static str, Value)>;

    /// Returns how many views of each image a step takes.
    fn views(&self) -> usize {
        2
    }

    /// Returns the attention heads of a ViT encoder if the method's recipe differs from the architecture.
    fn attention_heads(&self) -> Option<usize> {
        None
    }

    /// Builds the untrained model.
    ///
    /// # Errors
    /// If the method is not defined on the backbone, or sizes do not fit each other.
    fn build(&self, on: &Foundation) -> Result<Box<dyn Method>>;
}

/// The position of a step in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Steps completed before this one, over all epochs.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// Epochs completed before this one.
    pub epoch: usize,
    /// Epochs of the whole training.
    pub epochs: usize,
}

/// The result of one training step.
pub struct Step {
    /// Scalar to minimise.
    pub loss: Tensor,
    /// Encoder output (views x images, width), still attached to the graph.
    pub features: Tensor,
    /// What the loss compares (views x images, width): a projector's output; `None` if it compares labels or
    /// pixels.
    pub embeddings: Option<Tensor>,
    /// Named scalar parts of the loss that are logged as curves.
    pub parts: Vec<(&'static str, Tensor)>,
}

/// A way to train an encoder.
pub trait Method: Send {
    /// Computes the loss of one batch, in training mode.
    fn step(&self, batch: &Batch, at: Position) -> Result<Step>;

    /// Returns whether the optimiser must not update this variable at a step.
    fn is_frozen(&self, _variable: &str, _at: Position) -> bool {
        false
    }

    /// Runs after the optimiser's step, to update teachers that are moving averages.
    fn after_step(&self, _at: Position) -> Result<()> {
        Ok(())
    }

    /// Returns the encoder that is kept and evaluated.
    fn encoder(&self) -> &dyn Backbone;

    /// Returns every variable that the optimiser updates, and the buffers beside them; the encoder's have the names
    /// of torchvision or timm, those of heads begin with `head.`.
    fn parameters(&self) -> &Parameters;

    /// Returns the teacher's variables, if the method has a teacher. They are not optimised, but follow the student's
    /// variables of the same names.
    fn teacher(&self) -> Option<&Parameters> {
        None
    }

    /// Returns logits (images) of the method's own classifier on encoder features (images, width), if it has one.
    fn classify(&self, _features: &Tensor) -> Option<Result<Tensor>> {
        None
    }

    /// Returns what the loss compares, (images, output), from encoder features (images, width) in evaluation mode.
    fn embed(&self, _features: &Tensor) -> Option<Result<Tensor>> {
        None
    }
}

/// Returns an error unless a batch has this many views.
fn expect_views(method: Name, batch: &Batch, expected: usize) -> Result<()> {
    if batch.views != expected {
        candle_core::bail!("{method}: expected {expected} views of an image, found {}", batch.views)
    }
    Ok(())
}

/// Computes the features of each view of a batch, in training mode. Views share a forward pass if the encoder treats
/// images independently, because fewer and larger matrix products are faster.
fn features_of_views(encoder: &dyn Backbone, batch: &Batch) -> Result<Vec<Tensor>> {
    if encoder.mixes_images() {
        split_views(batch)?.iter().map(|view| encoder.embed(view, Mode::Train)).collect()
    } else {
        encoder.embed(&batch.images, Mode::Train)?.chunk(batch.views, 0)
    }
}

/// Splits a batch's images by view.
fn split_views(batch: &Batch) -> Result<Vec<Tensor>> {
    batch.images.chunk(batch.views, 0)
}

#[cfg(test)]
mod tests;
