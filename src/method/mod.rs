//! What a training step optimises: the paper's methods, behind one trait.
//!
//! A method owns its encoder and heads and turns a batch of views into a loss. It knows nothing of
//! data sets, optimisers or schedules. To add one: a file here, a variant of [`Name`], a recipe in
//! `experiment::recipe`.

pub mod simclr;
pub mod supervised;

use std::{fmt, str::FromStr};

use candle_core::{Result, Tensor, backprop::GradStore};

use crate::{
    backbone::{Backbone, Parameters},
    loader::Batch,
};

/// The methods of the paper that are built, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    Supervised,
    SimClr,
}

impl Name {
    pub const ALL: [Self; 2] = [Self::Supervised, Self::SimClr];

    /// The one spelling used in identifiers, records and file names.
    pub fn id(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::SimClr => "simclr",
        }
    }

    /// How the paper prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Supervised => "Supervised",
            Self::SimClr => "SimCLR",
        }
    }

    /// Whether labels reach the encoder.
    pub fn is_supervised(self) -> bool {
        self == Self::Supervised
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
            anyhow::anyhow!("no method called '{text}'; known: {}", known.join(", "))
        })
    }
}

/// Where in training a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Steps done before this one, over all epochs.
    pub step: usize,
    /// Steps of the whole training.
    pub steps: usize,
    /// Epochs done before this one.
    pub epoch: usize,
    pub epochs: usize,
}

/// What one step computes.
pub struct Step {
    /// Scalar to minimise.
    pub loss: Tensor,
    /// Encoder output (views x images, width), still attached to the graph.
    pub features: Tensor,
}

/// A way to train an encoder.
pub trait Method: Send {
    /// The loss of one batch, in training mode.
    fn step(&self, batch: &Batch, at: Position) -> Result<Step>;

    /// Changes gradients before the optimiser sees them: clipping, layers that are frozen for a while.
    fn edit_gradients(&self, _gradients: &mut GradStore, _at: Position) -> Result<()> {
        Ok(())
    }

    /// Follows the optimiser's step: teachers that are moving averages.
    fn after_step(&self, _at: Position) -> Result<()> {
        Ok(())
    }

    /// The encoder that is kept and evaluated.
    fn encoder(&self) -> &dyn Backbone;

    /// Every variable, encoder and heads; the encoder's are named as torchvision or timm name them,
    /// those of heads begin with `head.`.
    fn parameters(&self) -> &Parameters;

    /// Logits (images) of the method's own classifier on encoder features (images, width), where it
    /// has one.
    fn classify(&self, _features: &Tensor) -> Option<Result<Tensor>> {
        None
    }
}
