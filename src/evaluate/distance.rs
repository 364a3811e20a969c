//! Distances between rows of numbers.

use std::{
    iter::Sum,
    ops::{AddAssign, Mul, Sub},
};

use crate::tensor::cpu::vector::vectorised;

/// What the numbers of a row must be able to do.
pub trait Number: Copy + Default + AddAssign + Sub<Output = Self> + Mul<Output = Self> + Sum {}

impl Number for f32 {}
impl Number for f64 {}

/// Returns the squared distance of `row` to each of `others`, stored one after the other.
pub fn squared_to_each<T: Number>(row: &[T], others: &[T]) -> Vec<T> {
    vectorised(
        #[inline(always)]
        || others.chunks_exact(row.len()).map(|other| squared(row, other)).collect(),
    )
}

/// Returns the squared distance of two rows, computed in eight lanes that the compiler can keep in vector
/// registers.
#[inline(always)]
pub fn squared<T: Number>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 8;
    let mut lanes = [T::default(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (x - y) * (x - y);
        }
    }
    let mut sum: T = lanes.into_iter().sum();
    for (&x, &y) in a_rest.iter().zip(b_rest) {
        sum += (x - y) * (x - y);
    }
    sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_number_counts_once() {
        // Differences 1 to 19: two full blocks of eight lanes, and a rest of three.
        let (a, b): (Vec<f32>, Vec<f32>) = (1..20).map(|n| (3.0 * n as f32, 2.0 * n as f32)).unzip();
        assert_eq!(super::squared(&a, &b), (19 * 20 * 39 / 6) as f32);
        assert_eq!(super::squared::<f64>(&[], &[]), 0.0);
    }

    /// On whatever vectors this machine has, the bits are those of one distance at a time.
    #[test]
    fn distances_to_many_rows_are_those_to_each() {
        let mut stream = crate::seed::Seed::root(3).child("distances").stream();
        for width in [1, 7, 8, 19, 128] {
            let row: Vec<f32> = (0..width).map(|_| stream.normal() as f32).collect();
            let others: Vec<f32> = (0..5 * width).map(|_| stream.normal() as f32).collect();
            let expected: Vec<f32> = others.chunks(width).map(|other| super::squared(&row, other)).collect();
            assert_eq!(super::squared_to_each(&row, &others), expected, "{width}");
            let [row, others] =
                [&row, &others].map(|of| of.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>());
            let expected: Vec<f64> = others.chunks(width).map(|other| super::squared(&row, other)).collect();
            assert_eq!(super::squared_to_each(&row, &others), expected, "{width}");
        }
    }
}
