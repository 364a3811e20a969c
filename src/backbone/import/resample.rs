//! Interpolates position embeddings from one grid of patches to another.

use candle_core::{DType, Result, Tensor};

use crate::backbone::position;

/// Interpolated embeddings and their description.
pub struct Moved {
    /// (1, 1 + patches, width), in f32.
    pub tensor: Tensor,
    /// From which grid to which, and by which method.
    pub told: String,
}

/// Interpolates embeddings (1, 1 + rows x rows, width), the class token's first, to the square grid of the `expected`
/// shape, in double precision.
///
/// `None` if the difference is not one of grids: another width, or a number of rows that is not a square plus one.
/// The method is that of timm's `resample_abs_pos_embed`: bicubic with the filter widened if the grid shrinks
/// ([`position::interpolation`]); the class token's row is unchanged.
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

/// Side of the square grid with `count` embeddings, including the class token's.
fn side(count: usize) -> Option<usize> {
    let patches = count.checked_sub(1).filter(|&patches| patches > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}
