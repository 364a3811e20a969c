//! Mean squared error of hidden patches, the loss of MAE.
//!
//! For prediction y and pixels x, of n numbers in each patch of a batch, with h = 1 for hidden patches, otherwise
//! 0:
//!
//! L = sum_p [ h_p mean_n (y_pn - t_pn)^2 ] / sum_p h_p
//! t = x,  or per patch (x - mean) / sqrt(variance + 1e-6), with the unbiased variance
//!
//! Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3 and the authors'
//! code. Implementations differ in the targets: the authors, solo-learn and mae-lite normalise them, lightly's
//! benchmark uses raw pixels; both are available here. As in all of them, the mean is over the hidden patches of
//! the batch, not over images.

use candle_core::{D, DType, Error, Result, Tensor};

use crate::tensor::widen;

/// Added to a patch's variance inside the root, as in the authors' code.
const EPSILON: f64 = 1e-6;

/// Cuts images into square patches, (batch, patches, patch * patch * channels).
///
/// `images` is (batch, height, width, channels). Patches go row by row; within one the order is row,
/// column, channel, the channel fastest.
///
/// # Errors
/// If `patch` does not divide height and width, or is 0.
pub fn patchify(images: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    if patch == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
        return Err(Error::Msg(format!(
            "patchify: patches of {patch} in images {:?}, expected (batch, height, width, channels) with \
             height and width multiples of the patch",
            images.dims()
        )));
    }
    let (rows, columns) = (height / patch, width / patch);
    images.reshape(&[batch, rows, patch, columns, patch, channels])?.transpose(2, 3)?.reshape((
        batch,
        rows * columns,
        patch * patch * channels,
    ))
}

/// Mean squared error over hidden patches.
///
/// `predictions` and `targets` are (batch, patches, n). `hidden` is (batch, patches), of any dtype: 1 if the
/// encoder did not see the patch, otherwise 0. It is best stored in main memory, because its sum is read there.
/// With `normalise` each patch of `targets` is first scaled to mean 0 and variance 1. No gradient reaches
/// `targets`. The result is a scalar.
///
/// # Errors
/// If shapes do not fit, no patch is hidden, or n < 2 with `normalise`.
pub fn masked_mse(
    predictions: &Tensor,
    targets: &Tensor,
    hidden: &Tensor,
    normalise: bool,
) -> Result<Tensor> {
    let (batch, patches, numbers) = predictions.dims3()?;
    if predictions.dims() != targets.dims() || hidden.dims() != [batch, patches] {
        return Err(Error::Msg(format!(
            "masked_mse: predictions {:?}, targets {:?} and hidden {:?}, expected (batch, patches, n) twice \
             and (batch, patches)",
            predictions.dims(),
            targets.dims(),
            hidden.dims()
        )));
    }
    if numbers < 1 + usize::from(normalise) {
        return Err(Error::Msg(format!(
            "masked_mse: {numbers} numbers in a patch, expected at least one, or two to normalise"
        )));
    }
    let hidden_patches: f64 = hidden.to_dtype(DType::F64)?.sum_all()?.to_scalar()?;
    if hidden_patches <= 0.0 {
        return Err(Error::Msg("masked_mse: no patch is hidden, expected at least one".into()));
    }
    let (predictions, targets) = (widen(predictions)?, widen(&targets.detach())?);
    let targets = if normalise { normalise_patches(&targets)? } else { targets };
    let costs = (predictions - targets)?.sqr()?.mean(D::Minus1)?;
    let hidden = hidden.detach().to_dtype(costs.dtype())?.to_device(costs.device())?;
    (costs * hidden)?.sum_all()? / hidden_patches
}

/// Returns patches minus their mean, divided by the root of their unbiased variance plus [`EPSILON`].
fn normalise_patches(patches: &Tensor) -> Result<Tensor> {
    let numbers = patches.dim(D::Minus1)?;
    let centred = patches.broadcast_sub(&patches.mean_keepdim(D::Minus1)?)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / (numbers - 1) as f64)?;
    centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use checks::{
        assert_differences, normal,
        reference::{assert_constant, assert_finite, assert_begins, assert_close, fill, gradient, numbers, scalar, single},
    };
    use rstest::rstest;

    use super::*;

    fn mask<const IMAGES: usize>(values: &[[u8; 4]; IMAGES]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    // MAE's models_mae.py and stable-pretraining in float64 with torch 2.15.0: images (2, 3, 8, 8) =
    // sin(0.1 n), predictions (2, 4, 48) = cos(0.05 n) over the flat index n, patches of 4.
    #[rstest]
    #[case(true, 1.39993977814561)]
    #[case(false, 0.7711017675286115)]
    fn agrees_with_mae(#[case] normalise: bool, #[case] expected: f64) {
        let images = fill(&[2, 3, 8, 8], |n| libm::sin(0.1 * n)).permute((0, 2, 3, 1)).unwrap();
        let targets = patchify(&images, 4).unwrap();
        let second = numbers(&targets.get(0).unwrap().get(1).unwrap());
        assert_begins(&second, &[0.3894183, 0.4941134, 0.5920735, 0.4794255], 1e-7);
        let predictions = fill(&[2, 4, 48], |n| libm::cos(0.05 * n));
        let hidden = mask(&[[1, 0, 1, 1], [0, 1, 1, 1]]);
        let loss = masked_mse(&predictions, &targets, &hidden, normalise).unwrap();
        assert_close(scalar(&loss), expected, 1e-14);
    }

    #[test]
    fn patches_go_by_row_column_and_channel() {
        // Each number encodes its position: 1000 row + 10 column + channel, in images of 4 x 6.
        let images = fill(&[1, 4, 6, 3], |n| {
            let (row, column, channel) = ((n / 18.0).floor(), (n % 18.0 / 3.0).floor(), n % 3.0);
            1000.0 * row + 10.0 * column + channel
        });
        let patches = patchify(&images, 2).unwrap();
        assert_eq!(patches.dims(), [1, 6, 12]);
        let second_row_last: Vec<f64> = numbers(&patches.get(0).unwrap().get(5).unwrap());
        let corner = [2040.0, 2041.0, 2042.0, 2050.0, 2051.0, 2052.0];
        assert_eq!(second_row_last[..6], corner);
        assert_eq!(second_row_last[6..], corner.map(|place| place + 1000.0));
        let first_of_each: Vec<f64> = numbers(&patches.narrow(2, 0, 1).unwrap());
        assert_eq!(first_of_each, [0.0, 20.0, 40.0, 2000.0, 2020.0, 2040.0]);
    }

    #[test]
    fn values_and_slopes_by_hand() {
        // Mean squares 5/2 | visible || 9/2 | 8, over three hidden patches; slopes 2 e / (2 * 3). One image
        // hides one patch, the other two: a mean over images first would give 4.375, not 5.
        let targets = fill(&[2, 2, 2], |n| n);
        let errors = [[[1.0, 2.0], [5.0, 7.0]], [[0.0, 3.0], [4.0, 0.0]]];
        let errors = Tensor::new(&errors, &Device::Cpu).unwrap();
        let predictions = Var::from_tensor(&(targets.as_tensor() + errors).unwrap()).unwrap();
        let hidden = Tensor::new(&[[1.0, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
        let loss = masked_mse(&predictions, &targets, &hidden, false).unwrap();
        assert_close(scalar(&loss), 5.0, 1e-14);
        let third = 1.0 / 3.0;
        let slopes = [third, 2.0 * third, 0.0, 0.0, 0.0, 1.0, 4.0 * third, 0.0];
        assert_begins(&gradient(&loss, &predictions), &slopes, 1e-15);
        assert_constant(&loss, &targets);
    }

    #[test]
    fn normalised_targets_by_hand() {
        // (1, 3) has mean 2 and unbiased variance 2: -+ 1 / sqrt(2 + 1e-6). (5, 5) has 0: zeros.
        let targets = Tensor::new(&[[[1.0, 3.0], [5.0, 5.0]]], &Device::Cpu).unwrap();
        let half = 1.0 / (2.0_f64 + 1e-6).sqrt();
        let exact = Tensor::new(&[[[-half, half], [0.0, 0.0]]], &Device::Cpu).unwrap();
        let hidden = Tensor::new(&[[1_u8, 1]], &Device::Cpu).unwrap();
        assert_close(scalar(&masked_mse(&exact, &targets, &hidden, true).unwrap()), 0.0, 1e-30);
        let zeros = exact.zeros_like().unwrap();
        assert_close(scalar(&masked_mse(&zeros, &targets, &hidden, true).unwrap()), half * half / 2.0, 1e-15);
    }

    #[rstest]
    fn gradients_are_finite_differences(#[values(true, false)] normalise: bool) {
        let predictions = normal("predictions", &[2, 4, 6], DType::F64).unwrap();
        let targets = normal("targets", &[2, 4, 6], DType::F64).unwrap();
        let hidden = mask(&[[1, 0, 1, 1], [0, 1, 1, 0]]);
        assert_differences(&|x| masked_mse(&x[0], &targets, &hidden, normalise), &[predictions]).unwrap();
    }

    #[rstest]
    fn single_precision_stays_finite(
        #[values(true, false)] normalise: bool,
        #[values(0.0, 1e-38, 1e-6, 1e15)] size: f32,
    ) {
        // A constant patch, and one with both signs.
        let targets = single(&[size, size, size, size, -size, 0.0], &[1, 2, 3]);
        let predictions = single(&[-size, 0.0, 1.0, 2.0, size, -1.0], &[1, 2, 3]);
        let hidden = Tensor::new(&[[1_u8, 1]], &Device::Cpu).unwrap();
        let loss = masked_mse(&predictions, &targets, &hidden, normalise).unwrap();
        assert_finite(&loss, &[&predictions]);
    }

    #[test]
    fn unusable_input_is_an_error() {
        let images = fill(&[1, 4, 6, 3], |n| n);
        for patch in [0, 3, 4] {
            let error = patchify(&images, patch).unwrap_err().to_string();
            assert!(error.contains("[1, 4, 6, 3]") && error.contains(&format!("of {patch}")), "{error}");
        }
        let patches = fill(&[1, 4, 2], |n| n);
        let message = |predictions: &Tensor, targets: &Tensor, hidden: &Tensor| {
            masked_mse(predictions, targets, hidden, true).unwrap_err().to_string()
        };
        let hidden = mask(&[[1, 0, 1, 1]]);
        let narrow = patches.narrow(2, 0, 1).unwrap();
        assert!(message(&patches, &narrow, &hidden).contains("[1, 4, 1]"));
        assert!(message(&patches, &patches, &hidden.t().unwrap()).contains("[4, 1]"));
        assert!(message(&narrow, &narrow, &hidden).contains("1 numbers"));
        assert!(message(&patches, &patches, &mask(&[[0; 4]])).contains("no patch is hidden"));
        masked_mse(&narrow, &narrow, &hidden, false).unwrap();
    }
}
