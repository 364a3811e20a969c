//! Random views of images for self-supervised training.
//!
//! [`ViewSet`] holds the distributions, [`Drawn`] the values drawn from them, and [`Drawn::apply`] makes the view;
//! for the same values every byte equals the output of Pillow and torchvision's PIL path. [`to_normalised`] then
//! converts bytes to floating-point numbers. Independent of data sets, tensors and methods.

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
