//! Checks of hand-written gradients for unit tests: against automatic differentiation of a twin, and against
//! central finite differences.

use skewbench::{
    candle_core::{DType, Device, Result, Tensor, Var},
    seed::Seed,
};

use crate::inputs::normal;

/// Step of central differences.
const STEP: f64 = 1e-5;
/// Number of positions of each argument at which differences are computed.
const PLACES: usize = 12;

/// Returns the largest absolute difference.
///
/// # Errors
/// If Candle cannot compute it.
///
/// # Panics
/// If shapes or types differ.
pub fn distance(left: &Tensor, right: &Tensor) -> Result<f64> {
    assert_eq!((left.shape(), left.dtype()), (right.shape(), right.dtype()));
    (left - right)?.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar()
}

/// A function of some variables, in the form that tests differentiate.
pub type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Returns value and gradients of `sum(weights * function)` with fixed normal weights.
///
/// # Errors
/// If the function fails.
///
/// # Panics
/// If an argument gets no gradient.
pub fn differentiate(function: Function, arguments: &[Var]) -> Result<(Tensor, Vec<Tensor>)> {
    let tensors: Vec<Tensor> = arguments.iter().map(|x| x.as_tensor().clone()).collect();
    let value = function(&tensors)?;
    let weights = normal("weights", value.dims(), value.dtype())?.detach();
    let gradients = (&value * weights)?.sum_all()?.backward()?;
    let gradients = arguments
        .iter()
        .map(|x| Ok(gradients.get(x).expect("every argument gets a gradient").clone()))
        .collect::<Result<_>>()?;
    Ok((value.detach(), gradients))
}

/// Asserts that both functions agree in value and in every gradient within `tolerance`.
///
/// # Errors
/// If a function fails.
///
/// # Panics
/// If they do not agree.
pub fn assert_twins(function: Function, twin: Function, arguments: &[Var], tolerance: f64) -> Result<()> {
    let (value, gradients) = differentiate(function, arguments)?;
    let (twin_value, twin_gradients) = differentiate(twin, arguments)?;
    let apart = distance(&value, &twin_value)?;
    assert!(apart <= tolerance, "values differ by {apart}");
    for (index, (gradient, expected)) in gradients.iter().zip(&twin_gradients).enumerate() {
        let apart = distance(gradient, expected)?;
        assert!(apart <= tolerance, "gradients of argument {index} differ by {apart}");
    }
    Ok(())
}

/// Asserts, in double precision, that gradients equal central differences at a few positions.
///
/// # Errors
/// If the function fails.
///
/// # Panics
/// If they do not.
pub fn assert_differences(function: Function, arguments: &[Var]) -> Result<()> {
    let (_, gradients) = differentiate(function, arguments)?;
    let loss = |arguments: &[Tensor]| -> Result<f64> {
        let value = function(arguments)?;
        let weights = normal("weights", value.dims(), value.dtype())?;
        (value * weights.as_tensor())?.sum_all()?.to_scalar()
    };
    let mut stream = Seed::root(0).child("places").stream();
    for (index, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        for _ in 0..PLACES {
            let place = stream.below(gradient.len());
            let moved = |step: f64| -> Result<f64> {
                let mut tensors: Vec<Tensor> = arguments.iter().map(|x| x.as_detached_tensor()).collect();
                let mut values = tensors[index].flatten_all()?.to_vec1::<f64>()?;
                values[place] += step;
                tensors[index] = Tensor::from_vec(values, tensors[index].shape(), &Device::Cpu)?;
                loss(&tensors)
            };
            let expected = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
            let apart = (gradient[place] - expected).abs();
            assert!(
                apart <= 1e-6 * (1.0 + expected.abs()),
                "argument {index} at {place}: gradient {}, differences {expected}",
                gradient[place]
            );
        }
    }
    Ok(())
}

/// Runs `body` on pools of one and two threads and asserts equal bits.
///
/// # Errors
/// If the body fails.
///
/// # Panics
/// If a bit differs.
pub fn assert_thread_independent(body: impl Fn() -> Result<Vec<Tensor>> + Send + Sync) -> Result<()> {
    let on = |threads: usize| -> Result<Vec<Vec<f32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| body()?.iter().map(|tensor| tensor.flatten_all()?.to_vec1::<f32>()).collect())
    };
    let bits = |tensors: Vec<Vec<f32>>| -> Vec<Vec<u32>> {
        tensors.into_iter().map(|tensor| tensor.into_iter().map(f32::to_bits).collect()).collect()
    };
    assert_eq!(bits(on(1)?), bits(on(2)?));
    Ok(())
}
