//! NT-Xent, the loss of SimCLR.
//!
//! For the 2N L2-normalised projections z of N images in two views, with p(i) the other view of i:
//!
//! s_ij = z_i . z_j / tau,   L = mean_i [ log sum_{j != i} exp(s_ij) - s_i,p(i) ]
//!
//! Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
//! equation 1. Implementations differ in the reduction: Google's code adds the means of both directions, which is
//! twice the mean over 2N anchors used by the paper, lightly and solo-learn. This is the mean: the learning rate of
//! the authors' recipe, which we follow, is set for it.

#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{D, DType, Device, Error, Result, Tensor};

use crate::tensor::{linear, unit_rows, widen};

/// NT-Xent of two views.
///
/// `first` and `second` are (N, width) projections, row i of both from image i; they need not be
/// normalised. The result is a scalar, ln(2N - 1) when all projections point the same way.
///
/// # Errors
/// If the shapes differ, there are no rows, or |`temperature`| < 1e-8.
pub fn nt_xent(first: &Tensor, second: &Tensor, temperature: f64) -> Result<Tensor> {
    let (images, _) = first.dims2()?;
    if first.dims() != second.dims() || images == 0 {
        return Err(Error::Msg(format!(
            "nt_xent: views have shapes {:?} and {:?}, expected equal shapes with at least one row",
            first.dims(),
            second.dims()
        )));
    }
    if temperature.is_nan() || temperature.abs() < 1e-8 {
        return Err(Error::Msg(format!(
            "nt_xent: temperature {temperature}, expected |temperature| >= 1e-8"
        )));
    }
    #[cfg(feature = "cuda")]
    if gpu::supports(first) {
        return gpu::nt_xent(first, second, temperature);
    }
    let (first, second) = (unit_rows(&widen(first)?)?, unit_rows(&widen(second)?)?);
    let all = Tensor::cat(&[&first, &second], 0)?;
    // Candle's product is not used: ours gives equal bits on every processor.
    let similarity = (linear(&all, &all, None)? / temperature)?;
    let others = similarity.broadcast_add(&anchor_mask(2 * images, all.dtype(), all.device())?)?;
    let positive = ((first * second)?.sum(D::Minus1)? / temperature)?;
    log_sum_exp(&others)?.mean_all()? - positive.mean_all()?
}

/// Returns 0, with -inf on the diagonal: an anchor is never its own negative.
fn anchor_mask(size: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut mask = vec![0_f32; size * size];
    for anchor in mask.iter_mut().step_by(size + 1) {
        *anchor = f32::NEG_INFINITY;
    }
    Tensor::from_vec(mask, (size, size), device)?.to_dtype(dtype)
}

/// log sum exp over the last dimension. The shift is a constant to the gradient: its own gradient cancels, and
/// Candle would assign the whole of it to every tied maximum.
pub(super) fn log_sum_exp(rows: &Tensor) -> Result<Tensor> {
    let shift = rows.detach().max_keepdim(D::Minus1)?;
    rows.broadcast_sub(&shift)?.exp()?.sum(D::Minus1)?.log()? + shift.squeeze(D::Minus1)?
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use checks::reference::{assert_close, scalar, views};
    use rstest::rstest;

    use super::*;
    use crate::seed::Seed;

    // lightly 1.6.0 and solo-learn 9187ea39 run in float64 with torch 2.15.0; both give these values
    // and these gradients with respect to the first three entries of A.
    #[rstest]
    #[case(0.1, 0.5785477910677932, [0.0209473232, 0.0204424230, 0.0078004835])]
    #[case(0.2, 0.7039721076982604, [0.0398302006, 0.0393400107, 0.0155056568])]
    #[case(0.5, 1.0642598996668895, [0.0425549652, 0.0405527453, 0.0152850056])]
    fn agrees_with_lightly(#[case] temperature: f64, #[case] value: f64, #[case] gradient: [f64; 3]) {
        let (a, b) = views();
        let loss = nt_xent(&a, &b, temperature).unwrap();
        assert_close(scalar(&loss), value, 1e-12);
        let found: Vec<Vec<f64>> = loss.backward().unwrap().get(&a).unwrap().to_vec2().unwrap();
        for (found, expected) in found[0].iter().zip(gradient) {
            assert_close(*found, expected, 1e-10);
        }
    }

    #[rstest]
    fn equal_directions_give_the_log_of_the_others(
        #[values(1, 2, 8, 16)] images: usize,
        #[values(0.1, 1.0, -0.5)] temperature: f64,
    ) {
        // Closed form: all similarities are equal, so each anchor guesses among 2N - 1. Rows differ only in length,
        // which must have no effect.
        let rows: Vec<f64> = (0..images).flat_map(|i| [0.3, -2.0, 1.1].map(|x| x * (i + 1) as f64)).collect();
        let views = Tensor::from_vec(rows, (images, 3), &Device::Cpu).unwrap();
        let loss = nt_xent(&views, &(&views * 2.0).unwrap(), temperature).unwrap();
        assert_close(scalar(&loss), ((2 * images - 1) as f64).ln(), 1e-12);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let mut stream = Seed::root(3).child("nt_xent").stream();
        let values: Vec<f64> = (0..30).map(|_| stream.normal()).collect();
        let second =
            Tensor::from_vec((0..30).map(|_| stream.normal()).collect::<Vec<_>>(), (5, 6), &Device::Cpu)
                .unwrap();
        let at = |values: &[f64]| Var::from_slice(values, (5, 6), &Device::Cpu).unwrap();
        let first = at(&values);
        let gradients = nt_xent(&first, &second, 0.2).unwrap().backward().unwrap();
        let found: Vec<f64> = gradients.get(&first).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let step = 1e-6;
        for i in 0..values.len() {
            let moved = |by: f64| {
                let mut values = values.clone();
                values[i] += by;
                scalar(&nt_xent(&at(&values), &second, 0.2).unwrap())
            };
            assert_close(found[i], (moved(step) - moved(-step)) / (2.0 * step), 1e-8);
        }
    }

    #[test]
    fn views_are_interchangeable_and_a_small_temperature_stays_finite() {
        let (a, b) = views();
        assert_close(scalar(&nt_xent(&a, &b, 0.1).unwrap()), scalar(&nt_xent(&b, &a, 0.1).unwrap()), 1e-14);
        // exp(1 / 0.001) overflows even f64; the shifted sum does not.
        let narrow = (a.to_dtype(DType::F32).unwrap(), b.to_dtype(DType::F32).unwrap());
        assert!(scalar(&nt_xent(&narrow.0, &narrow.1, 0.001).unwrap()).is_finite());
    }

    #[test]
    fn a_row_of_zeros_has_finite_gradient() {
        let rows = Var::from_vec(vec![0.0, 0.0, 1.0, 2.0], (2, 2), &Device::Cpu).unwrap();
        let other = Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0], (2, 2), &Device::Cpu).unwrap();
        let loss = nt_xent(&rows, &other, 0.5).unwrap();
        let gradient: Vec<f64> =
            loss.backward().unwrap().get(&rows).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(scalar(&loss).is_finite() && gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }

    #[test]
    fn unusable_input_is_an_error() {
        let (a, b) = views();
        for temperature in [0.0, 9e-9, -9e-9, f64::NAN] {
            assert!(nt_xent(&a, &b, temperature).unwrap_err().to_string().contains("temperature"));
        }
        assert!(nt_xent(&a, &b, 1e-8).is_ok() && nt_xent(&a, &b, -1e-8).is_ok());
        assert!(nt_xent(&a, &b.narrow(0, 0, 3).unwrap(), 0.1).unwrap_err().to_string().contains("[3, 6]"));
    }
}
