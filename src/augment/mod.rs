//! Random views of images, the raw material of self-supervision.
//!
//! [`ViewSet`] says what is random, [`Drawn`] what came of it, and [`Drawn::apply`] makes the view; with
//! equal draws every byte equals what Pillow and torchvision's PIL path give. [`to_normalised`] then
//! makes numbers of bytes. Knows nothing about data sets, tensors or methods.

pub mod blur;
pub mod color;
pub mod crop;
mod draw;
#[cfg(feature = "cuda")]
pub mod gpu;
mod normalise;
pub mod packed;
mod recipe;
pub mod resize;

pub use draw::{Adjustment, Drawn, flip};
pub use normalise::{Normalisation, to_normalised};
pub use recipe::{Blur, Framing, Jitter, ViewRecipe, ViewSet};

#[cfg(test)]
mod tests;
