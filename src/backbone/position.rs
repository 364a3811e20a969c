//! Position embeddings of patches on a grid: MAE's fixed sinusoids, and interpolation of learned ones to another
//! grid.

use candle_core::{DType, Device, Result, Tensor, bail};

/// Numbers of rows and columns of patches.
pub type Grid = (usize, usize);

/// Returns MAE's fixed embedding (1, 1 + rows x columns, width); the class token's row is all zeros.
///
/// The first half of each row encodes the patch's column, the second half its row, each as sin(w p) followed by cos(w
/// p) for `width / 4` frequencies w = 10000^(-4k / width). Source: MAE's code, `util/pos_embed.py`.
///
/// # Errors
/// If the width is not a multiple of 4.
pub fn sinusoids((rows, columns): Grid, width: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    if !width.is_multiple_of(4) {
        bail!("position embedding: expected a width divisible by 4, found {width}")
    }
    let quarter = width / 4;
    let mut values = vec![0.0; (1 + rows * columns) * width];
    for (place, embedding) in values.chunks_exact_mut(width).skip(1).enumerate() {
        for (half, position) in
            embedding.chunks_exact_mut(2 * quarter).zip([place % columns, place / columns])
        {
            let (sines, cosines) = half.split_at_mut(quarter);
            for (k, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
                let angle = position as f64 * libm::pow(10_000.0, -(k as f64) / quarter as f64);
                (*sine, *cosine) = (libm::sin(angle), libm::cos(angle));
            }
        }
    }
    Tensor::from_vec(values, (1, 1 + rows * columns, width), device)?.to_dtype(dtype)
}

/// Returns the matrix (patches of `to`, patches of `from`) that interpolates a map between two grids: bicubic, with
/// a wider filter if the map shrinks (antialiasing).
///
/// This is timm's variant: `interpolate(mode="bicubic", antialias=True)`, whose kernel is Keys' cubic with a = -1/2,
/// as in Pillow.
pub fn interpolation(from: Grid, to: Grid, dtype: DType, device: &Device) -> Result<Tensor> {
    let (down, across) = (axis_weights(from.0, to.0), axis_weights(from.1, to.1));
    let mut values = Vec::with_capacity(to.0 * to.1 * from.0 * from.1);
    for row in &down {
        for column in &across {
            values.extend(row.iter().flat_map(|row| column.iter().map(move |column| row * column)));
        }
    }
    Tensor::from_vec(values, (to.0 * to.1, from.0 * from.1), device)?.to_dtype(dtype)
}

/// Weights of all `from` positions for each of the `to` positions along one axis.
fn axis_weights(from: usize, to: usize) -> Vec<Vec<f64>> {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.0);
    let weights = |place: usize| -> Vec<f64> {
        let centre = (place as f64 + 0.5) * ratio;
        let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
        let last = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
        let mut weights = vec![0.0; from];
        for (index, weight) in weights.iter_mut().enumerate().take(last).skip(first) {
            *weight = keys_cubic((index as f64 - centre + 0.5) / stretch);
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        weights
    };
    (0..to).map(weights).collect()
}

/// Keys' cubic kernel with a = -1/2.
fn keys_cubic(t: f64) -> f64 {
    let t = t.abs();
    if t < 1.0 {
        (1.5 * t - 2.5) * t * t + 1.0
    } else if t < 2.0 {
        ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn waves_are_those_of_mae() -> Result<()> {
        // `get_2d_sincos_pos_embed(192, 14, cls_token=True)` of MAE's code.
        let waves = sinusoids((14, 14), 192, DType::F64, &Device::Cpu)?.squeeze(0)?.to_vec2::<f64>()?;
        assert_eq!((waves.len(), waves[0].len()), (197, 192));
        let expected = [0.8414710, 0.7348220, 0.6297972, 0.5331684];
        for (dimension, expected) in expected.into_iter().enumerate() {
            // Row 0 and column 1, then row 1 and column 0.
            assert!((waves[2][dimension] - expected).abs() < 5e-8);
            assert!((waves[15][96 + dimension] - expected).abs() < 5e-8);
            assert_eq!((waves[2][96 + dimension], waves[15][dimension]), (0.0, 0.0));
        }
        assert_eq!(waves[0], [0.0; 192]);
        let sum: f64 = waves.iter().flatten().sum();
        assert!((sum - 17277.5542).abs() < 5e-5, "{sum}");
        Ok(())
    }

    #[rstest]
    #[case::smaller(6, [0.3527449749, 0.7161098397, 0.9509749337], -0.1460062664, -1.164121624)]
    #[case::larger(20, [-0.0299872607, 0.0760104111, 0.2306028852], 0.2452012301, -12.562323984)]
    fn interpolation_is_that_of_timm(
        #[case] side: usize,
        #[case] first: [f64; 3],
        #[case] last: f64,
        #[case] sum: f64,
    ) -> Result<()> {
        // sin(0.3 row + 0.2 column) from 14 x 14, resampled in float64 by the `interpolate` of PyTorch 2.15 that
        // timm's `resample_abs_pos_embed` calls.
        let map: Vec<f64> =
            (0..196).map(|place| (0.3 * f64::from(place / 14) + 0.2 * f64::from(place % 14)).sin()).collect();
        let map = Tensor::from_vec(map, (196, 1), &Device::Cpu)?;
        let matrix = interpolation((14, 14), (side, side), DType::F64, &Device::Cpu)?;
        let found = matrix.matmul(&map)?.flatten_all()?.to_vec1::<f64>()?;
        for (found, expected) in found.iter().zip(first) {
            assert!((found - expected).abs() < 1e-9, "found {found}, expected {expected}");
        }
        assert!((found[side * side - 1] - last).abs() < 1e-9);
        assert!((found.iter().sum::<f64>() - sum).abs() < 1e-8);
        Ok(())
    }

    #[test]
    fn interpolation_to_the_same_grid_changes_nothing() -> Result<()> {
        let matrix = interpolation((3, 4), (3, 4), DType::F64, &Device::Cpu)?.to_vec2::<f64>()?;
        for (row, weights) in matrix.iter().enumerate() {
            for (column, &weight) in weights.iter().enumerate() {
                assert_eq!(weight, if row == column { 1.0 } else { 0.0 });
            }
        }
        Ok(())
    }
    /// Two rows of three columns: the column's sinusoids come first, and a width of 4 has a single frequency, 1.
    #[test]
    fn waves_tell_rows_from_columns() -> Result<()> {
        let waves = sinusoids((2, 3), 4, DType::F64, &Device::Cpu)?.squeeze(0)?.to_vec2::<f64>()?;
        let mut expected = vec![[0.0; 4]];
        for row in [0.0_f64, 1.0] {
            for column in [0.0_f64, 1.0, 2.0] {
                expected.push([column.sin(), column.cos(), row.sin(), row.cos()]);
            }
        }
        assert_eq!(waves.len(), expected.len());
        for (found, expected) in waves.iter().zip(&expected) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?} {expected:?}");
        }
        let error = sinusoids((2, 3), 6, DType::F64, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("expected a width divisible by 4, found 6"), "{error}");
        Ok(())
    }

    /// A map that varies only from row to row is interpolated in that direction only, and likewise one that varies
    /// only from column to column.
    #[test]
    fn axes_are_interpolated_apart() -> Result<()> {
        let (from, to) = ((3, 5), (4, 2));
        let matrix = interpolation(from, to, DType::F64, &Device::Cpu)?.to_vec2::<f64>()?;
        assert_eq!((matrix.len(), matrix[0].len()), (4 * 2, 3 * 5));
        let weigh = |map: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            let of = |weights: &Vec<f64>| {
                weights.iter().enumerate().map(|(place, weight)| weight * map(place / 5, place % 5)).sum()
            };
            matrix.iter().map(of).collect()
        };
        let values = [1.0, 10.0, -3.0, 7.0, 2.0];
        let along = |axis: Vec<Vec<f64>>| -> Vec<f64> {
            axis.iter()
                .map(|weights| weights.iter().zip(values).map(|(weight, x)| weight * x).sum())
                .collect()
        };
        let (by_row, by_column) = (along(axis_weights(3, 4)), along(axis_weights(5, 2)));
        for (place, (found_row, found_column)) in
            weigh(&|row, _| values[row]).iter().zip(weigh(&|_, column| values[column])).enumerate()
        {
            assert!((found_row - by_row[place / 2]).abs() < 1e-12, "{place}");
            assert!((found_column - by_column[place % 2]).abs() < 1e-12, "{place}");
        }
        Ok(())
    }
}
