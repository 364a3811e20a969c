//! Binary cross-entropy on logits, with a higher weight for defects; and the focal loss.
//!
//! For logit x, label y in {0, 1} and weight w of a defect, with softplus(x) = ln(1 + e^x):
//!
//! L = mean [ w y softplus(-x) + (1 - y) softplus(x) ]
//!
//! Source: the formula of PyTorch's `BCEWithLogitsLoss` with `pos_weight`; the weight normals / defects
//! is that of the Sewer-ML reference training (Haurum and Moeslund, CVPR 2021, section 4.2).

use candle_core::{Error, Result, Tensor};

use crate::tensor::widen;

/// Weighted binary cross-entropy.
///
/// `logits` and `defects` (1 where the image shows a defect, 0 where not) have one shape and dtype.
/// The result is a scalar: the mean over all entries, not divided by the sum of the weights.
///
/// # Errors
/// If the shapes differ or there are no entries.
pub fn binary_cross_entropy(logits: &Tensor, defects: &Tensor, defect_weight: f64) -> Result<Tensor> {
    if logits.dims() != defects.dims() || logits.elem_count() == 0 {
        return Err(Error::Msg(format!(
            "binary_cross_entropy: logits {:?} and labels {:?}, expected equal shapes that are not empty",
            logits.dims(),
            defects.dims()
        )));
    }
    let (logits, defects) = (&widen(logits)?, &widen(defects)?);
    let of_defects = (defects * softplus(&logits.neg()?)?)?;
    let of_normals = (defects.affine(-1.0, 1.0)? * softplus(logits)?)?;
    (of_defects * defect_weight)?.add(&of_normals)?.mean_all()
}

/// Focal loss.
///
/// With z the logit of a defect, or the negative logit of a normal image, p = sigmoid(z) the probability of the
/// right label, and g = `focus`:
///
/// L = mean [ a (1 - p)^g softplus(-z) ],  a = `of_defects` for a defect and 1 - `of_defects` for a normal image.
///
/// Source: Lin et al., "Focal loss for dense object detection", 2017, equation 5; averaged over images as in
/// torchvision's `sigmoid_focal_loss`.
///
/// # Errors
/// If the shapes differ or there are no entries.
pub fn focal(logits: &Tensor, defects: &Tensor, of_defects: f64, focus: f64) -> Result<Tensor> {
    if logits.dims() != defects.dims() || logits.elem_count() == 0 {
        return Err(Error::Msg(format!(
            "focal: logits {:?} and labels {:?}, expected equal shapes that are not empty",
            logits.dims(),
            defects.dims()
        )));
    }
    let (logits, defects) = (&widen(logits)?, &widen(defects)?);
    let right = (logits * defects.affine(2.0, -1.0)?)?;
    let weights = defects.affine(2.0 * of_defects - 1.0, 1.0 - of_defects)?;
    // (1 - p)^g = exp(-g softplus(z)), which is finite for every logit.
    let easy = (softplus(&right)? * -focus)?.exp()?;
    ((weights * easy)? * softplus(&right.neg()?)?)?.mean_all()
}

/// Returns the weight for which all defects together count as much as all normal images: normals / defects.
///
/// # Errors
/// If there is no defect, so that the weight would be infinite; or no normal image, so that it would be 0.
pub fn balancing_weight(normals: usize, defects: usize) -> Result<f64> {
    if normals == 0 || defects == 0 {
        return Err(Error::Msg(format!(
            "{normals} normal and {defects} defective training images, expected at least one of each; \
             raise the share or the size of the subset"
        )));
    }
    Ok(normals as f64 / defects as f64)
}

/// ln(1 + e^x) as m + ln(e^-m + e^(x - m)) with m = max(x, 0), treated as a constant by the gradient, so that
/// neither exponential overflows and the slope is the sigmoid everywhere, including at zero.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let shift = x.detach().relu()?;
    (shift.neg()?.exp()? + (x - &shift)?.exp()?)?.log()? + shift
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn loss_and_gradient(logits: &[f64], defects: &[f64], weight: f64, dtype: DType) -> (f64, Vec<f64>) {
        let logits = Tensor::new(logits, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let logits = Var::from_tensor(&logits).unwrap();
        let defects = Tensor::new(defects, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let loss = binary_cross_entropy(&logits, &defects, weight).unwrap();
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&logits).unwrap().to_dtype(DType::F64).unwrap();
        (loss.to_dtype(DType::F64).unwrap().to_scalar().unwrap(), gradient.to_vec1().unwrap())
    }

    #[test]
    fn hand_worked_values() {
        // softplus(0) = ln 2; e^x = 3 at x = ln 3, so softplus(-ln 3) = ln(4/3), softplus(ln 3) = ln 4.
        // Slopes: -w sigmoid(-x) for a defect, sigmoid(x) for a normal image, over the 4 entries.
        let ln3 = 3_f64.ln();
        let (loss, gradient) =
            loss_and_gradient(&[0.0, 0.0, ln3, ln3], &[1.0, 0.0, 1.0, 0.0], 5.0, DType::F64);
        let expected = (6.0 * 2_f64.ln() + 5.0 * (4.0_f64 / 3.0).ln() + 4_f64.ln()) / 4.0;
        assert!((loss - expected).abs() < 1e-14, "{loss} is not {expected}");
        for (found, expected) in gradient.iter().zip([-2.5 / 4.0, 0.5 / 4.0, -1.25 / 4.0, 0.75 / 4.0]) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let (logits, defects) = ([-3.0, -0.4, 0.2, 1.7, 6.0], [1.0, 0.0, 1.0, 0.0, 1.0]);
        let (_, gradient) = loss_and_gradient(&logits, &defects, 2.5, DType::F64);
        for i in 0..logits.len() {
            let moved = |by: f64| {
                let mut logits = logits;
                logits[i] += by;
                loss_and_gradient(&logits, &defects, 2.5, DType::F64).0
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((gradient[i] - expected).abs() < 1e-9, "{i}: {} is not {expected}", gradient[i]);
        }
    }

    #[test]
    fn focal_loss_is_torchvisions() {
        // torchvision's sigmoid_focal_loss line by line in NumPy, f64, alpha 0.25 and gamma 2. Without focus and
        // with even weights it is half of cross-entropy.
        let logits = Var::new(&[-3.0, -0.4, 0.2, 1.7, 6.0], &Device::Cpu).unwrap();
        let defects = Tensor::new(&[1.0, 0.0, 1.0, 0.0, 1.0], &Device::Cpu).unwrap();
        let loss = focal(&logits, &defects, 0.25, 2.0).unwrap();
        assert!((loss.to_scalar::<f64>().unwrap() - 0.35706809284193475).abs() < 1e-14, "{loss}");
        let gradient = loss.backward().unwrap().get(&logits).unwrap().to_vec1::<f64>().unwrap();
        for (i, found) in gradient.iter().enumerate() {
            let moved = |by: f64| -> f64 {
                let mut values = logits.to_vec1::<f64>().unwrap();
                values[i] += by;
                let values = Tensor::new(values, &Device::Cpu).unwrap();
                focal(&values, &defects, 0.25, 2.0).unwrap().to_scalar().unwrap()
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((found - expected).abs() < 1e-9, "{i}: {found} is not {expected}");
        }
        let plain = focal(&logits, &defects, 0.5, 0.0).unwrap().to_scalar::<f64>().unwrap();
        let entropy = binary_cross_entropy(&logits, &defects, 1.0).unwrap().to_scalar::<f64>().unwrap();
        assert!((2.0 * plain - entropy).abs() < 1e-14, "{plain} {entropy}");
        let far = Tensor::new(&[1000.0_f32, -1000.0], &Device::Cpu).unwrap();
        let wrong = Tensor::new(&[0.0_f32, 1.0], &Device::Cpu).unwrap();
        assert_eq!(focal(&far, &wrong, 0.25, 2.0).unwrap().to_scalar::<f32>().unwrap(), 500.0);
        assert!(focal(&far, &defects, 0.25, 2.0).is_err());
    }

    #[test]
    fn extreme_logits_stay_exact() {
        // At |x| = 1000 the loss of a wrong answer is |x| itself, with slope 1; that of a right one is 0, with
        // slope 0.
        for dtype in [DType::F32, DType::F64] {
            let (loss, gradient) =
                loss_and_gradient(&[1000.0, -1000.0, 1000.0, -1000.0], &[1.0, 0.0, 0.0, 1.0], 3.0, dtype);
            assert_eq!(loss, 1000.0, "{dtype:?}");
            assert_eq!(gradient, [0.0, 0.0, 0.25, -0.75], "{dtype:?}");
        }
    }

    #[test]
    fn weight_balances_the_classes() {
        assert_eq!(balancing_weight(99, 1).unwrap(), 99.0);
        assert_eq!(balancing_weight(55, 45).unwrap(), 55.0 / 45.0);
        assert!(balancing_weight(10, 0).unwrap_err().to_string().contains("0 defective"));
        assert!(balancing_weight(0, 10).unwrap_err().to_string().contains("0 normal"));
    }

    #[test]
    fn other_shapes_are_an_error() {
        let logits = Tensor::zeros((4, 1), DType::F32, &Device::Cpu).unwrap();
        let defects = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
        assert!(binary_cross_entropy(&logits, &defects, 1.0).unwrap_err().to_string().contains("[4, 1]"));
    }
}
