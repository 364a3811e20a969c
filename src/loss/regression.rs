//! Squared distance of directions, the loss of BYOL. Knows nothing of predictors or moving averages.
//!
//! For a prediction q and a target z of the same image, averaged over the images:
//!
//! L = || q / |q| - z / |z| ||^2 = 2 - 2 cos(q, z)
//!
//! Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, equation 2. References disagree on
//! what becomes of the two directions: the authors' code and solo-learn add them (0 to 8), lightly adds
//! or halves the negative cosines. This is one direction (0 to 4); the caller adds both, as the authors
//! do, for the learning rates that we follow are set for the sum.

use candle_core::{D, Error, Result, Tensor};

use super::contrastive::l2_normalise;

/// 2 - 2 cos of predictions and targets, the mean over rows.
///
/// `predictions` and `targets` are (rows, width), row i of both from image i; they need not be
/// normalised. No gradient reaches `targets`. The result is a scalar, 0 for equal directions, 4 for
/// opposite ones.
///
/// # Errors
/// If the shapes differ or there are no rows.
pub fn cosine_distance(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, _) = predictions.dims2()?;
    if predictions.dims() != targets.dims() || rows == 0 {
        return Err(Error::Msg(format!(
            "cosine_distance: predictions {:?} and targets {:?}, expected equal shapes with at least one row",
            predictions.dims(),
            targets.dims()
        )));
    }
    let (predictions, targets) = (l2_normalise(predictions)?, l2_normalise(&targets.detach())?);
    (predictions * targets)?.sum(D::Minus1)?.mean_all()?.affine(-2.0, 2.0)
}
