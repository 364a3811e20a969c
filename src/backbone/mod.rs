//! Networks that map images to features. Independent of methods, losses and data sets.

pub mod architecture;
pub mod heads;
pub mod import;
pub mod layers;
pub mod mobilenet;
pub mod parameters;
pub mod pixels;
pub mod position;
pub mod resnet;
pub mod safe;
pub mod vit;

pub use architecture::{Architecture, Name};
pub use mobilenet::MobileNet;
pub use parameters::{Builder, Initialise, Parameter, Parameters, Role};
pub use resnet::{ResNet, Stem};
pub use vit::{Vit, VitSize};

use candle_core::{Result, Tensor};

/// Behaviour of normalisation layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Uses batch statistics and updates running statistics.
    Train,
    /// Uses running statistics without updating them.
    Evaluate,
}

/// An encoder: maps each normalised image to one feature vector.
pub trait Backbone: Send + Sync {
    /// Maps normalised images (batch, height, width, 3) to features (batch, [`Self::width`]).
    fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor>;

    /// Maps images to features of every place (batch, rows, columns, [`Self::width`]), whose mean over places is what
    /// [`Self::embed`] returns in evaluation; `None` if features are not such a mean.
    ///
    /// # Errors
    /// Those of [`Self::embed`].
    fn places(&self, _images: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Maps images to intermediate features (batch, rows, columns, channels) of two grids, the finer first, in
    /// evaluation.
    ///
    /// They describe what each place looks like, before features describe the image as a whole. `None` if the encoder
    /// has none.
    ///
    /// # Errors
    /// Those of [`Self::embed`].
    fn middle(&self, _images: &Tensor) -> Result<Option<[Tensor; 2]>> {
        Ok(None)
    }

    /// Returns the length of a feature vector.
    fn width(&self) -> usize;

    /// Whether an image's features in training depend on the other images of its batch (batch normalisation). If so,
    /// the two views must not share a pass.
    fn mixes_images(&self) -> bool;
}
