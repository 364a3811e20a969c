//! How evenly rows of unit length cover the sphere.

use rayon::prelude::*;

use super::rows::{Number, Rows};
use crate::seed::Seed;

/// Largest number of rows whose pairs uniformity compares; ours.
const SAMPLE: usize = 2000;

/// (A - E) / (N^2 - E), A = ||Z Z^T||_F^2 of unit rows, E = N + N (N - 1) / D its mean for uniform rows.
///
/// 1: collapsed to a line; about 0: uniformly random; below 0: more even than that. Source: Tsitsulin et al. 2023.
pub fn self_cluster<T: Number>(rows: Rows<T>) -> f64 {
    let (n, d) = (rows.count() as f64, rows.width() as f64);
    let expected = n + n * (n - 1.0) / d;
    (squared_similarities(rows) - expected) / (n * n - expected)
}

/// Returns ||Z Z^T||_F^2 of unit rows, which equals ||Z^T Z||_F^2, computed from the smaller matrix.
fn squared_similarities<T: Number>(rows: Rows<T>) -> f64 {
    let unit = |first, count| rows.matrix(first, count, |index| rows.unit_scale(index));
    let gram = if rows.count() < rows.width() {
        let z = unit(0, rows.count());
        &z * z.transpose()
    } else {
        rows.gram(unit)
    };
    gram.col_iter().map(|column| column.iter().map(|x| x * x).sum::<f64>()).sum()
}

/// ln mean exp(-2 |x_i - x_j|^2) over pairs i < j of unit rows (at most 2,000 rows drawn by `seed`).
///
/// 0: collapsed; [`uniformity_of_the_sphere`]: uniform. Source: Wang and Isola, "Understanding contrastive
/// representation learning through alignment and uniformity on the hypersphere", ICML 2020, with their t = 2.
pub fn uniformity<T: Number>(rows: Rows<T>, seed: &Seed) -> f64 {
    let sample = rows.sample(SAMPLE, seed);
    let sample = sample.rows();
    let unit: Vec<f64> = sample
        .iter()
        .flat_map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            row.iter().map(move |x| x / length)
        })
        .collect();
    let z = faer::MatRef::from_row_major_slice(&unit, sample.len(), rows.width());
    let cosines = z * z.transpose();
    // The computed lengths, not 1: a row of zeros keeps its length.
    let squares: Vec<f64> = (0..sample.len()).map(|i| cosines[(i, i)]).collect();
    let sums: Vec<f64> = (0..sample.len())
        .into_par_iter()
        .map(|j| (0..j).map(|i| (-2.0 * (squares[i] + squares[j] - 2.0 * cosines[(i, j)])).exp()).sum())
        .collect();
    let pairs = sample.len() * (sample.len() - 1) / 2;
    (sums.iter().sum::<f64>() / pairs as f64).ln()
}

/// Uniformity of the uniform distribution on the unit sphere of `width` dimensions, the minimum: -4 + ln 0F1(width / 2;
/// 4), because the mean of exp(4 cos) over directions is that hypergeometric series. Sampling noise may put a finite
/// sample below it.
pub fn uniformity_of_the_sphere(width: usize) -> f64 {
    let half = width as f64 / 2.0;
    let (mut term, mut sum) = (1.0, 1.0);
    // The terms fall faster than 4^n / n!^2: forty are far more than f64 can resolve.
    for n in 0..40 {
        let n = f64::from(n);
        term *= 4.0 / ((half + n) * (n + 1.0));
        sum += term;
    }
    sum.ln() - 4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Four unit rows along the axes of the plane, after scaling: each has one opposite (distance 2) and
        // two at distance sqrt 2. Similarities are 1 or -1 eight times, 0 otherwise: A = 8, and E = 4 + 12 /
        // 2.
        let cross = [3.0, 0.0, -0.5, 0.0, 0.0, 2.0, 0.0, -7.0];
        let rows = Rows::new(&cross, 2).unwrap();
        assert!((self_cluster(rows) + 1.0 / 3.0).abs() < 1e-14);
        let expected = ((2.0 * (-8.0_f64).exp() + 4.0 * (-4.0_f64).exp()) / 6.0).ln();
        assert!((uniformity(rows, &Seed::root(1)) - expected).abs() < 1e-14);
        // Collapsed to one direction.
        let line = Rows::new(&[1.0, 2.0, 2.0, 4.0, 0.5, 1.0], 2).unwrap();
        assert!((self_cluster(line) - 1.0).abs() < 1e-14);
        assert!(uniformity(line, &Seed::root(1)).abs() < 1e-14);
    }

    #[test]
    fn the_sphere_by_hand() {
        // On the sphere cos is uniform in -1..1, so the mean of exp(4 cos) is sinh(4) / 4; on a line
        // it is cosh(4).
        assert!((uniformity_of_the_sphere(3) - (4.0_f64.sinh() / 4.0).ln() + 4.0).abs() < 1e-14);
        assert!((uniformity_of_the_sphere(1) - 4.0_f64.cosh().ln() + 4.0).abs() < 1e-14);
    }

    #[test]
    fn normal_rows_are_nearly_uniform() {
        let mut stream = Seed::root(5).stream();
        let values: Vec<f32> = (0..3000 * 6).map(|_| stream.normal() as f32).collect();
        let rows = Rows::new(&values, 6).unwrap();
        let found = uniformity(rows, &Seed::root(6));
        assert!((found - uniformity_of_the_sphere(6)).abs() < 0.01, "{found}");
        assert!(self_cluster(rows).abs() < 1e-3);
    }
}
