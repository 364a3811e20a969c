//! Differences between tensors and their expected values, and the first position that differs.

use std::fmt;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skewbench::candle_core::{DType, Device, Tensor};

/// Numbers are compared relative to the largest of their tensor, or to this if all are smaller: if gradients
/// cancel, only rounding errors are left.
pub const SMALLEST: f64 = 1e-3;
/// The same for a single number: a loss near zero is a difference of numbers around one.
pub const SMALLEST_ALONE: f64 = 1.0;

/// A named tensor; when compared, in double precision and on the CPU.
pub type Named = (String, Tensor);

/// The first number of a tensor that differs too much from its expected value.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub tensor: String,
    pub shape: Vec<usize>,
    /// Position in the tensor, one index per dimension.
    pub at: Vec<usize>,
    pub found: f64,
    pub expected: f64,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, shape, at, found, expected } = self;
        write!(formatter, "{tensor} {shape:?} first differs at {at:?}: {found:e}, expected {expected:e}")
    }
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The largest difference, relative to its tensor's largest number.
    pub apart: f64,
    /// `None` if no number differs by more than the bound.
    pub first: Option<Difference>,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.first.is_none()
    }

    /// Converts it for the results of a check.
    pub fn to_json(&self) -> Value {
        let mut value = json!({ "apart": self.apart, "equal": self.is_equal() });
        if let Some(first) = &self.first {
            value["first_difference"] = json!({
                "tensor": first.tensor, "shape": first.shape, "at": first.at,
                // JSON has no NaN.
                "found": format!("{:e}", first.found), "expected": format!("{:e}", first.expected),
            });
        }
        value
    }
}

/// Compares tensors of equal names in order; numbers differ if they are further apart than `bound`, relative to the
/// largest expected number of their tensor. NaN always differs.
///
/// # Errors
/// If names or shapes differ from the expected ones.
pub fn compare(found: &[Named], expected: &[Named], bound: f64) -> Result<Comparison> {
    let names = |tensors: &[Named]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    ensure!(names(found) == names(expected), "found {:?}, expected {:?}", names(found), names(expected));
    let mut comparison = Comparison { apart: 0.0, first: None };
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let (found_shape, shape) = (found.dims(), expected.dims());
        ensure!(found_shape == shape, "{name} is {found_shape:?}, expected {shape:?}");
        let (found, expected) = (numbers(found)?, numbers(expected)?);
        let smallest = if shape.is_empty() { SMALLEST_ALONE } else { SMALLEST };
        let largest = expected.iter().fold(smallest, |largest, x| largest.max(x.abs()));
        for (place, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            let apart = (found - expected).abs() / largest;
            // In this order NaN is the largest number.
            if apart.total_cmp(&comparison.apart).is_gt() {
                comparison.apart = apart;
            }
            // Written so that NaN counts as different.
            let near = apart <= bound;
            if !near && comparison.first.is_none() {
                let (tensor, shape, at) = (name.clone(), shape.to_vec(), indices(place, shape));
                comparison.first = Some(Difference { tensor, shape, at, found, expected });
            }
        }
    }
    Ok(comparison)
}

/// Returns all numbers of a tensor, in double precision.
///
/// # Errors
/// If Candle cannot copy them.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(to_cpu_f64(tensor)?.flatten_all()?.to_vec1()?)
}

/// Returns a tensor in double precision, on the CPU.
///
/// # Errors
/// If Candle cannot copy it.
pub fn to_cpu_f64(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// Returns the indices of a flat position.
fn indices(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = place % size;
            place /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[f64]) -> Vec<Named> {
        let tensor = Tensor::new(values, &Device::Cpu).and_then(|tensor| tensor.reshape((2, ())));
        vec![("by x".to_owned(), tensor.expect("an even number of values"))]
    }

    #[test]
    fn the_first_difference_is_told_with_its_place_and_values() -> Result<()> {
        let expected = named(&[1.0, 2.0, 3.0, -4.0, 5.0, 6.0]);
        assert_eq!(compare(&expected, &expected, 0.0)?, Comparison { apart: 0.0, first: None });
        let found = compare(&named(&[1.0, 2.0, 3.0, -4.3, 5.0, 9.0]), &expected, 0.01)?;
        let first = found.first.expect("a difference");
        assert_eq!((found.apart, first.at, first.found, first.expected), (0.5, vec![1, 0], -4.3, -4.0));
        // Within a tenth of the largest number, 6.
        let found = compare(&named(&[1.5, 2.0, 3.0, -4.0, 5.0, 6.0]), &expected, 0.1)?;
        assert!(found.is_equal());
        Ok(())
    }

    #[test]
    fn nan_and_other_shapes_differ() -> Result<()> {
        let expected = named(&[1.0, 2.0]);
        let found = compare(&named(&[1.0, f64::NAN]), &expected, 1e9)?;
        assert!(!found.is_equal() && found.apart.is_nan());
        assert!(compare(&named(&[1.0, 2.0, 3.0, 4.0]), &expected, 1e9).is_err());
        Ok(())
    }
}
