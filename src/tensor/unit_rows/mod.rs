//! Rows scaled to length 1, as in torch's `normalize`: y = x / n with n = max(|x|, 1e-12), and backwards
//!
//! dx = (dy - y (y . dy)) / n,  or dy / n if the row is shorter than 1e-12.
//!
//! Independent of what rows are compared with.

mod cpu;

use candle_core::{D, Result, Tensor};

/// Smallest length that a row is divided by.
pub const SMALLEST_NORM: f64 = 1e-12;

/// Returns rows (..., width) divided by max(their Euclidean length, [`SMALLEST_NORM`]); a row of zeros stays zero,
/// and has a finite gradient.
///
/// # Errors
/// If `rows` is a scalar.
pub fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    match rows.device().is_cpu() {
        true => cpu::unit_rows(rows),
        false => unit_rows_plain(rows),
    }
}

/// [`unit_rows`] from Candle's own operations.
///
/// The bound is applied to the squared length, so that a row of zeros has gradient 0 through its length: a square root
/// at zero would give NaN.
pub fn unit_rows_plain(rows: &Tensor) -> Result<Tensor> {
    let squared = rows.sqr()?.sum_keepdim(D::Minus1)?;
    rows.broadcast_div(&squared.maximum(SMALLEST_NORM * SMALLEST_NORM)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_thread_independent, assert_twins, differentiate, normal};

    use super::*;

    #[test]
    fn lengths_and_slopes_by_hand() -> Result<()> {
        // (3, 4) has length 5. For the first number of y: dx = (1 - 0.6^2, -0.6 * 0.8) / 5.
        let rows = Var::new(&[[3.0_f64, 4.0], [0.0, 0.0], [0.0, -3e-13]], &Device::Cpu)?;
        let lengths = unit_rows(&rows)?;
        assert_eq!(lengths.to_vec2::<f64>()?, [[0.6, 0.8], [0.0, 0.0], [0.0, -0.3]]);
        let gradient = lengths.narrow(1, 0, 1)?.sum_all()?.backward()?.remove(&rows).expect("a gradient");
        let gradient = gradient.to_vec2::<f64>()?;
        assert!((gradient[0][0] - 0.128).abs() < 1e-15 && (gradient[0][1] + 0.096).abs() < 1e-15);
        // Rows shorter than the bound are only divided by it.
        assert_eq!(gradient[1..], [[1e12, 0.0], [1e12, 0.0]]);
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let arguments = [normal("rows", &[301, 70], DType::F32)?];
            let (value, mut gradients) = differentiate(&|x| unit_rows(&x[0]), &arguments)?;
            gradients.push(value);
            Ok(gradients)
        })
    }

    /// More rows than one task takes, the last task's fewer; and rows that are longer than a task's numbers.
    #[test]
    fn many_rows_and_long_ones_are_the_twins() -> Result<()> {
        for shape in [[701, 70], [3, 20_000]] {
            let arguments = [normal("rows", &shape, DType::F64)?];
            assert_twins(&|x| unit_rows(&x[0]), &|x| unit_rows_plain(&x[0]), &arguments, 1e-12)?;
        }
        Ok(())
    }
}
