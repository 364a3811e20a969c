//! Cross-correlation to the identity, the loss of Barlow Twins. Knows nothing of projectors.
//!
//! For the embeddings a, b of N images in two views, each column standardised over the batch:
//!
//! C = a^T b / N,   L = sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2
//!
//! Source: Zbontar et al., "Barlow Twins", ICML 2021, equations 1 and 2. References disagree on the
//! standardisation: the authors' code, lightly and solo-learn use a batch norm without affine (biased
//! variance, epsilon inside the root); stable-pretraining and MONAI the unbiased deviation, but still
//! divide by N, so that their diagonal cannot exceed (N - 1) / N and two equal views have a loss. This
//! is the authors'. They also disagree on a factor in front (1 in the authors' code, 0.024 to 0.1 in
//! solo-learn), which belongs to the recipe: the caller scales.

use candle_core::{DType, Error, Result, Tensor};

use super::Loss;

/// Added to the variance inside the root, as in PyTorch's `BatchNorm1d`.
const EPSILON: f64 = 1e-5;

/// Barlow Twins' loss of two views, with parts `on_diagonal` and `off_diagonal` (already weighted).
///
/// `first` and `second` are (N, width) embeddings, row i of both from image i. The terms are sums over
/// entries of C, so the total is of the order of the width when training starts.
///
/// # Errors
/// If the shapes differ or there are fewer than two rows, which have no correlation.
pub fn barlow_twins(first: &Tensor, second: &Tensor, off_diagonal_weight: f64) -> Result<Loss> {
    let (images, _) = first.dims2()?;
    if first.dims() != second.dims() || images < 2 {
        return Err(Error::Msg(format!(
            "barlow_twins: views have shapes {:?} and {:?}, expected equal shapes with at least two rows",
            first.dims(),
            second.dims()
        )));
    }
    let (first, second) = (standardise(first)?, standardise(second)?);
    let per_image = 1.0 / images as f64;
    let correlation = (first.t()?.matmul(&second)? * per_image)?;
    let diagonal = ((first * second)?.sum(0)? * per_image)?;
    let on_diagonal = (&diagonal - 1.0)?.sqr()?.sum_all()?;
    // All entries less the diagonal: a mask would be as large as C. Rows first, so that f32 adds
    // numbers of like size.
    let everything = correlation.sqr()?.sum(1)?.sum_all()?;
    let off_diagonal = ((everything - diagonal.sqr()?.sum_all()?)? * off_diagonal_weight)?;
    Ok(Loss {
        total: (&on_diagonal + &off_diagonal)?,
        parts: vec![("on_diagonal", value(&on_diagonal)?), ("off_diagonal", value(&off_diagonal)?)],
    })
}

/// Columns less their mean, over the root of their biased variance plus [`EPSILON`].
fn standardise(rows: &Tensor) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)
}

fn value(scalar: &Tensor) -> Result<f64> {
    scalar.to_dtype(DType::F64)?.to_scalar()
}
