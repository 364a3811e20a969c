//! Interpolates position embeddings from one grid of patches to another.

use candle_core::{DType, Result, Tensor};

use crate::backbone::position;

/// Interpolated embeddings and their description.
pub struct Resampled {
    /// (1, 1 + patches, width), in f32.
    pub tensor: Tensor,
    /// Reports the grids and the method of interpolation.
    pub report: String,
}

/// Interpolates embeddings (1, 1 + rows x rows, width), the class token's first, to the square grid of the `expected`
/// shape, in double precision.
///
/// `None` if the shapes differ in more than the grid: another width, or a number of tokens that is not a square plus
/// one. The method is that of timm's `resample_abs_pos_embed`: bicubic, with a wider filter if the grid shrinks
/// ([`position::interpolation`]); the class token's row is unchanged.
pub fn positions(found: &Tensor, expected: &[usize]) -> Result<Option<Resampled>> {
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
    Ok(Some(Resampled { tensor, report: told }))
}

/// Side of the square grid with `count` embeddings, including the class token's.
fn side(count: usize) -> Option<usize> {
    let patches = count.checked_sub(1).filter(|&patches| patches > 0)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn only_square_grids_of_one_width_are_resampled() {
        let found = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let told =
            |from: &[usize], to: &[usize]| positions(&found(from), to).unwrap().map(|moved| moved.report);
        let whole = told(&[1, 10, 4], &[1, 17, 4]).unwrap();
        assert!(whole.starts_with("position embeddings resampled from 3 x 3 patches to 4 x 4, "), "{whole}");
        for (from, to) in [
            (&[1, 10, 4][..], &[1, 17, 5][..]),
            (&[1, 11, 4], &[1, 17, 4]),
            (&[1, 10, 4], &[1, 16, 4]),
            (&[1, 1, 4], &[1, 17, 4]),
            (&[2, 10, 4], &[1, 17, 4]),
            (&[10, 4], &[1, 17, 4]),
        ] {
            assert_eq!(told(from, to), None, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn the_class_token_stays_and_a_constant_map_too() {
        let class = Tensor::full(7_f32, (1, 1, 2), &Device::Cpu).unwrap();
        let places = Tensor::full(3_f32, (1, 9, 2), &Device::Cpu).unwrap();
        let moved = positions(&Tensor::cat(&[&class, &places], 1).unwrap(), &[1, 5, 2]).unwrap().unwrap();
        let rows = moved.tensor.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!((rows.len(), &rows[0]), (5, &vec![7.0; 2]));
        assert!(rows[1..].iter().flatten().all(|value| (value - 3.0).abs() < 1e-6), "{rows:?}");
    }
}
