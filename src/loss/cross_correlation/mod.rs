//! Cross-correlation to the identity, the loss of Barlow Twins.
//!
//! For the embeddings a, b of N images in two views, each column standardised over the batch:
//!
//! C = a^T b / N,   L = sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2
//!
//! Source: Zbontar et al., "Barlow Twins", ICML 2021, equations 1 and 2. Implementations differ in the
//! standardisation: the authors' code, lightly and solo-learn use a batch norm without affine (biased variance,
//! epsilon inside the root); stable-pretraining and MONAI use the unbiased deviation but still divide by N, so that
//! their diagonal cannot exceed (N - 1) / N and two equal views have a positive loss. This is the authors' version.
//! They also differ in a factor in front (1 in the authors' code, 0.024 to 0.1 in solo-learn), which belongs to the
//! recipe: the caller scales.
//!
//! The sum of all C_ij^2 is also sum_nm (a a^T)_nm (b b^T)_nm / N^2, so with fewer images than columns no width x
//! width matrix is computed: 2 N^2 width operations instead of N width^2.

#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{Error, Result, Tensor};

use super::Loss;
use crate::tensor::{linear, widen};

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
    #[cfg(feature = "cuda")]
    if gpu::supports(first) {
        let [total, on_diagonal, off_diagonal] = gpu::barlow_twins(first, second, off_diagonal_weight)?;
        return Ok(Loss { total, parts: parts(&on_diagonal, &off_diagonal) });
    }
    let (first, second) = (standardise(&widen(first)?)?, standardise(&widen(second)?)?);
    let per_image = 1.0 / images as f64;
    let everything = sum_of_squares(&first, &second)?;
    let diagonal = ((first * second)?.sum(0)? * per_image)?;
    let on_diagonal = (&diagonal - 1.0)?.sqr()?.sum_all()?;
    // All entries minus the diagonal: a mask would be as large as C.
    let off_diagonal = ((everything - diagonal.sqr()?.sum_all()?)? * off_diagonal_weight)?;
    Ok(Loss { total: (&on_diagonal + &off_diagonal)?, parts: parts(&on_diagonal, &off_diagonal) })
}

fn parts(on_diagonal: &Tensor, off_diagonal: &Tensor) -> Vec<(&'static str, Tensor)> {
    vec![("on_diagonal", on_diagonal.detach()), ("off_diagonal", off_diagonal.detach())]
}

/// Returns the sum of squares of all entries of C, from standardised embeddings.
fn sum_of_squares(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let (images, width) = first.dims2()?;
    if images < width { by_images(first, second) } else { by_columns(first, second) }
}

fn by_columns(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    // Candle's product is not used: ours gives equal bits on every processor.
    let correlation = (linear(&first.t()?, &second.t()?, None)? * (1.0 / first.dim(0)? as f64))?;
    // Rows are summed first, so that f32 adds numbers of similar size.
    correlation.sqr()?.sum(1)?.sum_all()
}

fn by_images(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let per_image = 1.0 / first.dim(0)? as f64;
    let [first, second] = [first, second].map(|rows| linear(rows, rows, None)? * per_image);
    (first? * second?)?.sum(1)?.sum_all()
}

/// Returns columns minus their mean, divided by the root of their biased variance plus [`EPSILON`].
fn standardise(rows: &Tensor) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{
        assert_differences, normal,
        reference::{assert_finite, assert_begins, assert_close, gradient, scalar, single, views},
    };
    use rstest::rstest;

    use super::*;

    fn rows<const ROWS: usize, const COLUMNS: usize>(rows: &[[f64; COLUMNS]; ROWS]) -> Tensor {
        Tensor::new(rows, &Device::Cpu).unwrap()
    }

    // Values of lightly 1.6.0 and solo-learn 9187ea39 (whose scale is 0.1) in float64 with torch 2.15.0. The first
    // three slopes of A are central differences of the formula in 50-digit arithmetic (mpmath); the ten digits
    // noted from lightly agree, except for the last slope at 0.0051, which is 2e-10 further from 0.
    #[rstest]
    #[case(0.005, 0.275079008343818, [0.019110818094883, -0.33609005911535, -0.0021973268148819])]
    #[case(0.0051, 0.2765703034853798, [0.019142678832499, -0.33630082550577, -0.0021627756439137])]
    #[case(0.0051, 10.0 * 0.0276570303485380, [0.019142678832499, -0.33630082550577, -0.0021627756439137])]
    fn agrees_with_lightly(#[case] weight: f64, #[case] value: f64, #[case] slopes: [f64; 3]) {
        let (a, b) = views();
        let loss = barlow_twins(&a, &b, weight).unwrap();
        assert_close(scalar(&loss.total), value, 1e-14);
        assert_begins(&gradient(&loss.total, &a), &slopes, 1e-13);
        let parts: f64 = loss.parts.iter().map(|(_, part)| scalar(part)).sum();
        assert_close(parts, value, 1e-14);
    }

    #[test]
    fn equal_views_agree_with_lightly() {
        // As above, ten digits.
        let (a, _) = views();
        assert_close(scalar(&barlow_twins(&a, &a, 0.005).unwrap().total), 0.0815678730, 1e-10);
    }

    #[test]
    fn agrees_with_lightly_on_the_inputs_of_monai() {
        // The inputs of MONAI's tests/losses/test_barlow_twins_loss.py; values of lightly 1.6.0 on them,
        // six digits. MONAI's own (5.2562, 5.0015, 1.4736 for the last three) have the unbiased deviation.
        let third = 1.0 / 3.0;
        let ones = rows(&[[1.0, 1.0, 0.0, 0.0]; 2]);
        let cases = [
            (ones.clone(), ones.clone(), 5e-3, 4.0),
            (rows(&[[0.0, 0.0, 1.0, 1.0]; 2]), ones, 5e-3, 4.0),
            (
                rows(&[[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]]),
                rows(&[[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]]),
                5e-3,
                7.024838,
            ),
            (
                rows(&[[2.0, 3.0, 1.0, 2.0], [0.0, 1.0, 2.0, 5.0]]),
                rows(&[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]),
                5e-4,
                8.005950,
            ),
            (
                rows(&[[1.0, 2.0, 1.0, 1.0], [3.0, 1.0, 1.0, 2.0], [1.0; 4], [2.0, 1.0, 1.0, 0.0]]),
                rows(&[
                    [0.0, 1.0, -1.0, 0.0],
                    [third, 0.0, -2.0 * third, third],
                    [-2.0 * third, -1.0, 7.0 * third, third],
                    [third, 0.0, third, -2.0 * third],
                ]),
                5e-3,
                1.122752,
            ),
        ];
        for (first, second, weight, expected) in cases {
            assert_close(scalar(&barlow_twins(&first, &second, weight).unwrap().total), expected, 1e-6);
        }
    }

    #[rstest]
    #[case::fewer_images([5, 19])]
    #[case::fewer_columns([23, 4])]
    fn both_sums_of_squares_are_one(#[case] shape: [usize; 2]) -> Result<()> {
        let sums = [by_columns, by_images].map(|sum| -> Result<_> {
            let views = [normal("first", &shape, DType::F64)?, normal("second", &shape, DType::F64)?];
            let value = sum(&views[0], &views[1])?;
            Ok((scalar(&value), gradient(&value, &views[0]), gradient(&value, &views[1])))
        });
        let [columns, images] = sums;
        let (columns, images) = (columns?, images?);
        assert_close(images.0, columns.0, 1e-12);
        assert_begins(&images.1, &columns.1, 1e-12);
        assert_begins(&images.2, &columns.2, 1e-12);
        Ok(())
    }

    #[test]
    fn a_shift_and_a_scale_change_nothing() {
        // The property of lightly's tests/loss/test_barlow_twins_loss.py, at torch.allclose's tolerance
        // (epsilon is not scaled, so it is not exact).
        let x = normal("x", &[32, 64], DType::F64).unwrap();
        let moved = x.affine(2.0, 4.0).unwrap();
        let equal = scalar(&barlow_twins(&x, &x, 0.005).unwrap().total);
        let apart = scalar(&barlow_twins(&x, &moved, 0.005).unwrap().total);
        assert_close(apart, equal, 1e-5 * equal);
        assert!(equal > 0.1, "{equal}: the off-diagonal of 32 rows is not small");
    }

    #[test]
    fn orthogonal_columns_by_hand() {
        // Columns of +-1 have mean 0, variance 1 and no correlation, so C is the identity, or for exchanged columns
        // the exchange matrix, divided by 1 + epsilon.
        let first = rows(&[[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]);
        let second = rows(&[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]);
        let entry = 1.0 / (1.0 + 1e-5);
        let equal = barlow_twins(&first, &first, 0.3).unwrap();
        assert_eq!(
            equal.parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["on_diagonal", "off_diagonal"]
        );
        assert_close(scalar(&equal.parts[0].1), 2.0 * (entry - 1.0) * (entry - 1.0), 1e-15);
        assert_close(scalar(&equal.parts[1].1), 0.0, 1e-15);
        let exchanged = barlow_twins(&first, &second, 0.3).unwrap();
        assert_close(scalar(&exchanged.parts[0].1), 2.0, 1e-15);
        assert_close(scalar(&exchanged.parts[1].1), 0.3 * 2.0 * entry * entry, 1e-15);
        assert_close(scalar(&exchanged.total), 2.0 + 0.6 * entry * entry, 1e-15);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let views = ["first", "second"].map(|name| normal(name, &[6, 5], DType::F64).unwrap());
        assert_differences(&|x| Ok(barlow_twins(&x[0], &x[1], 0.3)?.total), &views).unwrap();
    }

    #[rstest]
    fn single_precision_stays_finite(#[values(0.0, 1e-38, 1e-6, 1e6, 1e18, 1e30)] size: f32) {
        // A constant column, one of the given size, and an ordinary one.
        let values = [1.0, size, 0.3, 1.0, -size, 0.1, 1.0, size, -0.8];
        let (first, second) = (single(&values, &[3, 3]), single(&values.map(|x| -x), &[3, 3]));
        let loss = barlow_twins(&first, &second, 0.005).unwrap();
        assert_finite(&loss.total, &[&first, &second]);
    }

    #[test]
    fn single_precision_keeps_a_small_off_diagonal() {
        // Wide embeddings, for which the diagonal's squares are nearly the whole sum of squares: within 1e-3 of
        // double precision.
        let x = normal("wide", &[2048, 64], DType::F64).unwrap();
        let part = |x: &Tensor| scalar(&barlow_twins(x, x, 1.0).unwrap().parts[1].1);
        let (double, narrow) = (part(&x), part(&x.to_dtype(DType::F32).unwrap()));
        assert_close(narrow, double, 1e-3 * double);
        assert!(double < 64.0 / 8.0, "{double} is not small beside 64");
    }

    #[test]
    fn unusable_input_is_an_error() {
        let (a, b) = views();
        let error = barlow_twins(&a, &b.narrow(0, 0, 3).unwrap(), 0.005).unwrap_err().to_string();
        assert!(error.contains("[4, 6]") && error.contains("[3, 6]"), "{error}");
        let one = Var::zeros((1, 6), DType::F64, &Device::Cpu).unwrap();
        assert!(barlow_twins(&one, &one, 0.005).unwrap_err().to_string().contains("at least two rows"));
    }
}
