//! Networks that turn images into features. Knows nothing about methods, losses or data sets.

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

/// Which behaviour normalisation layers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics; running statistics move.
    Train,
    /// Running statistics; nothing moves.
    Evaluate,
}

/// An encoder: normalised images in, one feature vector an image out.
pub trait Backbone: Send + Sync {
    /// Images (batch, height, width, 3), normalised, to features (batch, [`Self::width`]).
    fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor>;

    /// Features of every place in the image (batch, rows, columns, [`Self::width`]), whose mean over places is what
    /// [`Self::embed`] gives in evaluation; none where features are no such mean.
    ///
    /// # Errors
    /// As [`Self::embed`].
    fn places(&self, _images: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Middle features (batch, rows, columns, channels) of two grids, the finer first, in evaluation: what says of a place
    /// how it looks, before features are of the image as a whole. None where there are no such.
    ///
    /// # Errors
    /// As [`Self::embed`].
    fn middle(&self, _images: &Tensor) -> Result<Option<[Tensor; 2]>> {
        Ok(None)
    }

    /// Length of a feature vector.
    fn width(&self) -> usize;

    /// Whether, in training, an image's features depend on the others of its batch (batch normalisation):
    /// then views must not share a pass.
    fn mixes_images(&self) -> bool;
}
