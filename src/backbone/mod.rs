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

    /// Maps images to a feature map (batch, rows, columns, [`Self::width`]), in evaluation mode.
    ///
    /// Its mean over rows and columns is what [`Self::embed`] returns. `None` if the features are not such a mean.
    ///
    /// # Errors
    /// Those of [`Self::embed`].
    fn feature_map(&self, _images: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Maps images to two intermediate feature maps (batch, rows, columns, channels), the finer one first, in
    /// evaluation mode.
    ///
    /// They describe local appearance; later layers describe the image as a whole. `None` if the encoder has none.
    ///
    /// # Errors
    /// Those of [`Self::embed`].
    fn intermediate_maps(&self, _images: &Tensor) -> Result<Option<[Tensor; 2]>> {
        Ok(None)
    }

    /// Returns the length of a feature vector.
    fn width(&self) -> usize;

    /// Whether an image's features in training depend on the other images of its batch (batch normalisation). If so,
    /// it makes a difference whether two views share a forward pass.
    fn mixes_images(&self) -> bool;
}
