//! Squared distance between directions (normalised vectors), the loss of BYOL.
//!
//! For a prediction q and a target z of the same image, averaged over the images:
//!
//! L = || q / |q| - z / |z| ||^2 = 2 - 2 cos(q, z)
//!
//! Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, equation 2. Implementations differ in how they
//! combine the two directions: the authors' code and solo-learn add them (0 to 8), lightly adds or averages the
//! negative cosines. This function computes one direction (0 to 4); the caller adds both, as the authors do,
//! because the learning rates that we follow are set for the sum.

use candle_core::{D, Error, Result, Tensor};

use crate::tensor::{unit_rows, widen};

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
    let (predictions, targets) = (unit_rows(&widen(predictions)?)?, unit_rows(&widen(&targets.detach())?)?);
    (predictions * targets)?.sum(D::Minus1)?.mean_all()?.affine(-2.0, 2.0)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use checks::{
        assert_differences, normal,
        reference::{assert_constant, assert_finite, assert_begins, assert_close, gradient, matrix, scalar, single, views},
    };
    use rstest::rstest;

    use super::*;

    #[test]
    fn agrees_with_solo_learn() {
        // solo-learn 9187ea39 in float64 with torch 2.15.0: its value for one direction, 2 + 2 times
        // lightly 1.6.0's negative cosine, and the first three slopes of A.
        let (a, b) = views();
        let loss = cosine_distance(&a, &b).unwrap();
        assert_close(scalar(&loss), 0.210593188570666, 1e-14);
        assert_close(scalar(&loss), 2.0 + 2.0 * -0.894703405714667, 1e-14);
        assert_begins(&gradient(&loss, &a), &[-0.0110587701, -0.0214247843, -0.0113184050], 1e-10);
        assert_constant(&loss, &b);
    }

    // By hand: 0, 2 and 4 for equal, orthogonal and opposite directions of any length; cos = 3/5
    // between (3, 4) and (1, 0).
    #[rstest]
    #[case([3.0, 4.0], [6.0, 8.0], 0.0)]
    #[case([3.0, 4.0], [-4.0, 3.0], 2.0)]
    #[case([3.0, 4.0], [-0.3, -0.4], 4.0)]
    #[case([3.0, 4.0], [1.0, 0.0], 0.8)]
    fn angles_by_hand(#[case] prediction: [f64; 2], #[case] target: [f64; 2], #[case] expected: f64) {
        let row = |values: [f64; 2]| Tensor::new(&[values], &Device::Cpu).unwrap();
        assert_close(scalar(&cosine_distance(&row(prediction), &row(target)).unwrap()), expected, 1e-15);
    }

    #[test]
    fn slopes_by_hand() {
        // -2 (z - cos q / |q|) / |q| with q = (3, 4), z = (1, 0): -2 (0.2 - 0.072, -0.096); half of it
        // for the mean of two rows, the other of which has the target's direction and so no slope.
        let q = matrix(2, 2, |i, j| if i == 0.0 { 3.0 + j } else { j });
        let z = matrix(2, 2, |i, j| if i == j { 1.0 } else { 0.0 });
        let loss = cosine_distance(&q, &z).unwrap();
        assert_close(scalar(&loss), 0.4, 1e-15);
        assert_begins(&gradient(&loss, &q), &[-0.128, 0.096, 0.0, 0.0], 1e-15);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let predictions = normal("predictions", &[5, 7], DType::F64).unwrap();
        let targets = normal("targets", &[5, 7], DType::F64).unwrap();
        assert_differences(&|x| cosine_distance(&x[0], &targets), &[predictions]).unwrap();
    }

    #[rstest]
    fn single_precision_stays_finite(
        #[values(0.0, 1e-38, 1e-13, 1e-6, 1e18, 1e30)] prediction: f32,
        #[values(0.0, 1e-38, 1.0, 1e30)] target: f32,
    ) {
        let predictions = single(&[prediction, -prediction, 0.0, 1.0], &[2, 2]);
        let targets = single(&[target, target, 2.0, target], &[2, 2]);
        assert_finite(&cosine_distance(&predictions, &targets).unwrap(), &[&predictions]);
    }

    #[test]
    fn unusable_input_is_an_error() {
        let (a, b) = views();
        let error = cosine_distance(&a, &b.narrow(0, 0, 3).unwrap()).unwrap_err().to_string();
        assert!(error.contains("[4, 6]") && error.contains("[3, 6]"), "{error}");
        let empty = Tensor::zeros((0, 6), DType::F64, &Device::Cpu).unwrap();
        assert!(cosine_distance(&empty, &empty).unwrap_err().to_string().contains("at least one row"));
    }
}
