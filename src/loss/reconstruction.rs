//! Mean squared error of hidden patches, the loss of MAE. Knows nothing of encoders or of which patches
//! to hide.
//!
//! For prediction y and target x of n numbers in each of a batch's patches, h = 1 where hidden, else 0:
//!
//! L = sum_p [ h_p mean_n (y_pn - t_pn)^2 ] / sum_p h_p
//! t = x,  or per patch (x - mean) / sqrt(variance + 1e-6), with the unbiased variance
//!
//! Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3 and the
//! authors' code. References disagree on the targets: the authors, solo-learn and mae-lite normalise
//! them, lightly's benchmark takes raw pixels; both are here. The mean is over the batch's hidden
//! patches, as in all of them, not over images.

use candle_core::{D, DType, Error, Result, Tensor};

/// Added to a patch's variance inside the root, as in the authors' code.
const EPSILON: f64 = 1e-6;

/// Images cut into square patches, (batch, patches, patch * patch * channels).
///
/// `images` is (batch, height, width, channels). Patches go row by row; within one the order is row,
/// column, channel, the channel fastest.
///
/// # Errors
/// If `patch` does not divide height and width, or is 0.
pub fn patchify(images: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    if patch == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
        return Err(Error::Msg(format!(
            "patchify: patches of {patch} in images {:?}, expected (batch, height, width, channels) with \
             height and width multiples of the patch",
            images.dims()
        )));
    }
    let (rows, columns) = (height / patch, width / patch);
    images.reshape(&[batch, rows, patch, columns, patch, channels])?.transpose(2, 3)?.reshape((
        batch,
        rows * columns,
        patch * patch * channels,
    ))
}

/// Mean squared error over hidden patches.
///
/// `predictions` and `targets` are (batch, patches, n), `hidden` is (batch, patches), 1 where the
/// encoder did not see the patch, else 0, of any dtype. With `normalise` each patch of `targets` gets
/// mean 0 and variance 1 first. No gradient reaches `targets`. The result is a scalar.
///
/// # Errors
/// If shapes do not fit, no patch is hidden, or n < 2 with `normalise`.
pub fn masked_mse(
    predictions: &Tensor,
    targets: &Tensor,
    hidden: &Tensor,
    normalise: bool,
) -> Result<Tensor> {
    let (batch, patches, numbers) = predictions.dims3()?;
    if predictions.dims() != targets.dims() || hidden.dims() != [batch, patches] {
        return Err(Error::Msg(format!(
            "masked_mse: predictions {:?}, targets {:?} and hidden {:?}, expected (batch, patches, n) twice \
             and (batch, patches)",
            predictions.dims(),
            targets.dims(),
            hidden.dims()
        )));
    }
    if numbers < 1 + usize::from(normalise) {
        return Err(Error::Msg(format!(
            "masked_mse: {numbers} numbers in a patch, expected at least one, or two to normalise"
        )));
    }
    let hidden_patches: f64 = hidden.to_dtype(DType::F64)?.sum_all()?.to_scalar()?;
    if hidden_patches <= 0.0 {
        return Err(Error::Msg("masked_mse: no patch is hidden, expected at least one".into()));
    }
    let targets = targets.detach();
    let targets = if normalise { normalise_patches(&targets)? } else { targets };
    let costs = (predictions - targets)?.sqr()?.mean(D::Minus1)?;
    let hidden = hidden.detach().to_dtype(costs.dtype())?;
    (costs * hidden)?.sum_all()? / hidden_patches
}

/// Patches less their mean, over the root of their unbiased variance plus [`EPSILON`].
fn normalise_patches(patches: &Tensor) -> Result<Tensor> {
    let numbers = patches.dim(D::Minus1)?;
    let centred = patches.broadcast_sub(&patches.mean_keepdim(D::Minus1)?)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / (numbers - 1) as f64)?;
    centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)
}
