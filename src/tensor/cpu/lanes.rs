//! Sums in a fixed order that suits vector instructions, equal on every machine. Plain slices.

use super::storage::Real;

/// Number of accumulators of a sum.
pub const LANES: usize = 16;

/// Returns the sum of `term` over equally long slices. To be called in [`super::vector::vectorised`].
#[inline(always)]
pub fn sum<T: Copy, S: Real, const N: usize>(slices: [&[T]; N], term: impl Fn([T; N]) -> S) -> S {
    let mut lanes = [S::zero(); LANES];
    let split = slices.map(|slice| slice.as_chunks::<LANES>());
    for index in 0..split[0].0.len() {
        let chunks = split.map(|(chunks, _)| &chunks[index]);
        for lane in 0..LANES {
            lanes[lane] += term(chunks.map(|chunk| chunk[lane]));
        }
    }
    for index in 0..split[0].1.len() {
        lanes[index] += term(split.map(|(_, rest)| rest[index]));
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = lanes[lane + half];
            lanes[lane] += other;
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_sum_once() {
        // Integers, whose sums are exact: 1 + 4 + ... + n^2 = n (n + 1) (2n + 1) / 6.
        for count in [0, 1, 15, 16, 17, 40, 64, 100] {
            let numbers: Vec<f32> = (1..=count).map(|number| number as f32).collect();
            let found: f32 = sum([&numbers, &numbers], |[x, y]| x * y);
            assert_eq!(found, (count * (count + 1) * (2 * count + 1) / 6) as f32, "{count}");
        }
    }
}
