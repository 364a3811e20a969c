//! Distances between rows of numbers.

use std::{
    iter::Sum,
    ops::{AddAssign, Mul, Sub},
};

/// Returns the squared distance of two rows, computed in eight lanes that the compiler can keep in vector
/// registers.
pub fn squared<T>(a: &[T], b: &[T]) -> T
where
    T: Copy + Default + AddAssign + Sub<Output = T> + Mul<Output = T> + Sum,
{
    const LANES: usize = 8;
    let mut lanes = [T::default(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (x - y) * (x - y);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&x, &y)| (x - y) * (x - y));
    lanes.into_iter().chain(rest).sum()
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
}
