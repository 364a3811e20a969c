//! Position embeddings of one grid of patches, moved to another.

use candle_core::{DType, Result, Tensor};

use crate::backbone::position;

/// Moved embeddings, and what is said of it.
pub struct Moved {
    /// (1, 1 + patches, width), in f32.
    pub tensor: Tensor,
    /// From which grid to which, and by which rule.
    pub told: String,
}

/// Embeddings (1, 1 + rows x rows, width), the class token's first, moved to the square grid of the `expected` shape, in
/// double precision; none where that is no matter of the grid: another width, or places that are no square and a class.
///
/// The rule is that of timm's `resample_abs_pos_embed`: bicubic with the filter widened where the grid shrinks
/// ([`position::interpolation`]); the class token's row stays as it is.
pub fn positions(found: &Tensor, expected: &[usize]) -> Result<Option<Moved>> {
    let (&[1, old, width], &[1, new, expected]) = (found.dims(), expected) else { return Ok(None) };
    let (Some(from), Some(to)) = (side(old), side(new)) else { return Ok(None) };
    if width != expected {
        return Ok(None);
    }
    let (class, places) = (found.narrow(1, 0, 1)?, found.narrow(1, 1, old - 1)?);
    let matrix = position::interpolation((from, from), (to, to), DType::F64, found.device())?;
    let places = matrix.matmul(&places.squeeze(0)?.to_dtype(DType::F64)?)?.to_dtype(DType::F32)?;
    let tensor = Tensor::cat(&[&class.to_dtype(DType::F32)?, &places.unsqueeze(0)?], 1)?;
    let told = format!(
        "position embeddings resampled from {from} x {from} patches to {to} x {to}, bicubic with antialiasing as timm's \
         resample_abs_pos_embed"
    );
    Ok(Some(Moved { tensor, told }))
}

/// Rows of the square grid that `count` embeddings are of, the class token's among them.
fn side(count: usize) -> Option<usize> {
    let patches = count.checked_sub(1).filter(|&patches| patches > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}
