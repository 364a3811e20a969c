//! Shared by unit tests of losses: the inputs on which the references ran, and comparisons.

use skewbench::candle_core::{DType, Device, Tensor, Var};

/// Returns a variable in double precision with `value(n)` at flat index n.
pub fn fill(shape: &[usize], value: impl Fn(f64) -> f64) -> Var {
    let values: Vec<f64> = (0..shape.iter().product()).map(|n: usize| value(n as f64)).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Returns a variable in double precision with `value(row, column)`.
pub fn matrix(rows: usize, columns: usize, value: impl Fn(f64, f64) -> f64) -> Var {
    let width = columns as f64;
    fill(&[rows, columns], |n| value((n / width).floor(), n % width))
}

/// Returns A_ij = sin(0.7 i + 0.3 j^2 + 0.1 i j) and B, the same with the phase advanced by 0.4 (j + 1) / 6 + 0.15
/// i, for 4 rows i and 6 columns j.
pub fn views() -> (Var, Var) {
    let phase = |i: f64, j: f64| 0.7 * i + 0.3 * j * j + 0.1 * i * j;
    (
        matrix(4, 6, |i, j| libm::sin(phase(i, j))),
        matrix(4, 6, |i, j| libm::sin(phase(i, j) + 0.4 * (j + 1.0) / 6.0 + 0.15 * i)),
    )
}

/// Returns the number in a scalar of any dtype.
pub fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// Returns all numbers of a tensor of any dtype.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Returns the gradient of `loss` with respect to `variable`, flat.
pub fn gradient(loss: &Tensor, variable: &Var) -> Vec<f64> {
    numbers(loss.backward().unwrap().get(variable).expect("the variable has a gradient"))
}

/// Asserts that `found` is within `tolerance` of `expected`; NaN never is.
pub fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} (+- {tolerance})");
}

/// Asserts that the first numbers of `found` equal those of `expected`.
pub fn assert_begins(found: &[f64], expected: &[f64], tolerance: f64) {
    assert!(found.len() >= expected.len(), "{} numbers, expected {}", found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_close(*found, *expected, tolerance);
    }
}

/// Asserts that the value of `loss` and its gradient with respect to each variable are finite.
pub fn assert_finite(loss: &Tensor, variables: &[&Var]) {
    assert!(scalar(loss).is_finite(), "loss {}", scalar(loss));
    for variable in variables {
        let gradient = gradient(loss, variable);
        assert!(gradient.iter().all(|slope| slope.is_finite()), "{gradient:?}");
    }
}

/// Asserts that no gradient of `loss` reaches `variable`.
pub fn assert_constant(loss: &Tensor, variable: &Var) {
    assert!(loss.backward().unwrap().get(variable).is_none(), "a gradient reaches a constant");
}

/// Returns a variable in single precision.
pub fn single(values: &[f32], shape: &[usize]) -> Var {
    Var::from_slice(values, shape, &Device::Cpu).unwrap()
}
