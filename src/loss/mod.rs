//! Losses: tensors in, one differentiable scalar out. Independent of networks, data and optimisers.
//!
//! Only operations with a correct gradient in Candle are used: no fused softmax (it has none), and no `abs` or
//! `relu` where a value may be exactly zero (their one-sided slopes differ from the derivative of the whole
//! expression).

use candle_core::Tensor;

pub mod classification;
pub mod contrastive;
pub mod cross_correlation;
pub mod distillation;
pub mod reconstruction;
pub mod regression;

/// A loss of several terms.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Scalar to minimise.
    pub total: Tensor,
    /// Named scalar parts that are logged as curves: constants, read on demand.
    pub parts: Vec<(&'static str, Tensor)>,
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result};
    use checks::normal;

    use super::{
        classification::{binary_cross_entropy, focal},
        contrastive::nt_xent,
        cross_correlation::barlow_twins,
        distillation::{dino, next_centre},
        reconstruction::masked_mse,
        regression::cosine_distance,
        *,
    };

    type Of = fn(&[Tensor]) -> Result<Tensor>;

    /// Numbers in sixteen bits are widened first, and everything is computed in f32: the result is that of equal
    /// numbers in f32, to the bit.
    #[test]
    fn losses_of_sixteen_bits_are_computed_in_single_precision() -> Result<()> {
        let losses: [(&str, Of); 9] = [
            ("nt_xent", |x| nt_xent(&x[0], &x[1], 0.2)),
            ("barlow_twins", |x| Ok(barlow_twins(&x[0], &x[1], 0.05)?.total)),
            ("cosine_distance", |x| cosine_distance(&x[0], &x[1])),
            ("dino", |x| Ok(dino(&x[..2], &x[2..], &centre(&x[0])?, 0.1, 0.07)?.total)),
            ("next_centre", |x| next_centre(&centre(&x[0])?, &x[1..], 0.9)?.sqr()?.sum_all()),
            ("masked_mse", |x| masked_mse(&patches(&x[0])?, &patches(&x[1])?, &mask(&x[0])?, false)),
            ("normalised masked_mse", |x| {
                masked_mse(&patches(&x[0])?, &patches(&x[1])?, &mask(&x[0])?, true)
            }),
            ("binary_cross_entropy", |x| binary_cross_entropy(&first(&x[0])?, &labels_of(&x[0])?, 2.5)),
            ("focal", |x| focal(&first(&x[0])?, &labels_of(&x[0])?, 0.3, 2.0)),
        ];
        let narrow = ["first", "second", "third"].map(|name| {
            let numbers = normal(name, &[6, 5], DType::F32).unwrap().as_detached_tensor();
            (numbers * 3.0).unwrap().to_dtype(DType::BF16).unwrap()
        });
        let wide = narrow.each_ref().map(|numbers| numbers.to_dtype(DType::F32).unwrap());
        for (name, loss) in losses {
            let (found, expected) = (loss(&narrow)?, loss(&wide)?);
            assert_eq!(found.dtype(), DType::F32, "{name}");
            assert_eq!(found.to_scalar::<f32>()?, expected.to_scalar::<f32>()?, "{name}");
        }
        Ok(())
    }

    /// Each loss names what it was given and what it needs.
    #[test]
    fn what_has_no_loss_is_named() {
        let rows = |rows: usize| Tensor::ones((rows, 3), DType::F32, &candle_core::Device::Cpu).unwrap();
        let (four, two, none) = (rows(4), rows(2), rows(0));
        let flat = |rows: &Tensor| rows.flatten_all().unwrap();
        let told = |loss: Result<Tensor>| loss.unwrap_err().to_string();
        for (first, second) in [(&four, &two), (&two, &four), (&none, &none)] {
            let [a, b] = [first, second].map(|rows| rows.dims());
            let ending = "expected equal shapes with at least one row";
            let expected = format!("nt_xent: views have shapes {a:?} and {b:?}, {ending}");
            assert_eq!(told(nt_xent(first, second, 0.2)), expected);
            let expected = format!("cosine_distance: predictions {a:?} and targets {b:?}, {ending}");
            assert_eq!(told(cosine_distance(first, second)), expected);
            let ending = "expected equal shapes with at least two rows";
            let expected = format!("barlow_twins: views have shapes {a:?} and {b:?}, {ending}");
            assert_eq!(told(barlow_twins(first, second, 0.1).map(|loss| loss.total)), expected);
            let (first, second) = (flat(first), flat(second));
            let [a, b] = [&first, &second].map(|rows| rows.dims());
            let ending = "expected equal shapes that are not empty";
            let expected = format!("binary_cross_entropy: logits {a:?} and labels {b:?}, {ending}");
            assert_eq!(told(binary_cross_entropy(&first, &second, 2.0)), expected);
            let expected = format!("focal: logits {a:?} and labels {b:?}, {ending}");
            assert_eq!(told(focal(&first, &second, 0.3, 2.0)), expected);
        }
        for temperature in [0.0, 1e-9, -1e-9, f64::NAN] {
            let expected = format!("nt_xent: temperature {temperature}, expected |temperature| >= 1e-8");
            assert_eq!(told(nt_xent(&four, &four, temperature)), expected);
        }
        assert!(nt_xent(&rows(1), &rows(1), 1e-8).is_ok() && cosine_distance(&rows(1), &rows(1)).is_ok());
        assert!(barlow_twins(&rows(1), &rows(1), 0.1).is_err() && barlow_twins(&two, &two, 0.1).is_ok());
    }

    /// A centre in single precision, as it is kept.
    fn centre(rows: &Tensor) -> Result<Tensor> {
        Tensor::new(&[[0.1_f32, -0.3, 0.7, 0.01, 1.3]], rows.device())
    }

    /// Two images of three patches of five numbers.
    fn patches(rows: &Tensor) -> Result<Tensor> {
        rows.reshape((2, 3, 5))
    }

    fn mask(rows: &Tensor) -> Result<Tensor> {
        Tensor::new(&[[1_u8, 0, 1], [0, 1, 1]], rows.device())
    }

    fn first(rows: &Tensor) -> Result<Tensor> {
        rows.narrow(1, 0, 1)?.squeeze(1)
    }

    fn labels_of(rows: &Tensor) -> Result<Tensor> {
        Tensor::new(&[1_f32, 0.0, 1.0, 0.0, 0.0, 1.0], rows.device())?.to_dtype(rows.dtype())
    }
}
