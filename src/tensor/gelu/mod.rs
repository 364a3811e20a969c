//! The Gaussian error linear unit in its exact form (Hendrycks & Gimpel 2016):
//!
//! y = x C(x),  dy/dx = C(x) + x D(x),
//!
//! with C and D the standard normal distribution function and its density. Independent of layers.

pub(super) mod cpu;
#[cfg(feature = "cuda")]
mod gpu;

use candle_core::{Result, Tensor};

/// Returns x C(x) of every number. In f32 the relative error of the value is below 6e-7, the absolute error of the
/// gradient below 3e-7.
pub fn gelu(input: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if input.device().is_cuda() {
        return gpu::gelu(input);
    }
    cpu::gelu(input)
}

/// [`gelu`] from Candle's own operations.
pub fn gelu_plain(input: &Tensor) -> Result<Tensor> {
    let doubled = ((input * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?;
    (input * 0.5)?.mul(&doubled)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use checks::{assert_thread_independent, differentiate, normal};

    use super::{cpu::Normal, *};

    #[test]
    fn error_in_single_precision_is_as_stated() -> Result<()> {
        // Compared with libm's double-precision error function, from -13 (below, values are smaller than 1e-36) to
        // 13.
        let inputs: Vec<f32> = (0..260_001).map(|step| -13.0 + 1e-4 * step as f32).collect();
        let input = Var::from_tensor(&Tensor::new(inputs.as_slice(), &Device::Cpu)?)?;
        let output = gelu(&input)?;
        let gradient = output.backward()?.remove(&input).expect("a gradient");
        let (output, gradient) = (output.to_vec1::<f32>()?, gradient.to_vec1::<f32>()?);
        for ((&x, value), slope) in inputs.iter().zip(output).zip(gradient) {
            let x = f64::from(x);
            let (distribution, density) = x.distribution_and_density();
            let (exact, exact_slope) = (x * distribution, distribution + x * density);
            let (value, slope) = (f64::from(value), f64::from(slope));
            assert!((value - exact).abs() <= 6e-7 * exact.abs(), "gelu({x}): {value}, exactly {exact}");
            assert!((slope - exact_slope).abs() <= 3e-7, "slope at {x}: {slope}, exactly {exact_slope}");
        }
        Ok(())
    }

    #[test]
    fn far_out_it_is_the_identity_or_zero() -> Result<()> {
        let input = Tensor::new(&[-1e20_f32, -50.0, -0.0, 0.0, 50.0, 1e20, f32::NAN], &Device::Cpu)?;
        let output = gelu(&input)?.to_vec1::<f32>()?;
        assert!(output[0].abs() < 1e-15 && output[1].abs() < 1e-30, "{output:?}");
        assert_eq!(output[2..6], [0.0, 0.0, 50.0, 1e20]);
        assert!(output[6].is_nan());
        Ok(())
    }

    #[test]
    fn threads_do_not_move_a_bit() -> Result<()> {
        assert_thread_independent(|| {
            let arguments = [normal("input", &[9, 5001], DType::F32)?];
            let (value, mut gradients) = differentiate(&|x| gelu(&x[0]), &arguments)?;
            gradients.push(value);
            Ok(gradients)
        })
    }
}
