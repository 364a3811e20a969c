//! alpha-ReQ: how fast the spectrum of the covariance falls.
//!
//! ln lambda_j = c - alpha ln j, by least squares; good representations are said to have alpha near 1.
//!
//! Source: Agrawal, Mondal, Ghosh and Richards, "alpha-ReQ: assessing representation quality in
//! self-supervised learning by measuring eigenspectrum decay", NeurIPS 2022.

use std::ops::RangeInclusive;

/// Numbers of the eigenvalues that the authors' later code fits, counted from 1 (`numpy.arange(11, 100)`, counted from
/// 0): the same for every width, so alpha of 192 and of 512 features can be compared.
pub const RELEASED_RANGE: RangeInclusive<usize> = 12..=100;

/// Weight of an eigenvalue's squared distance from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// 1: ordinary least squares.
    Equal,
    /// 1 / j, as in the authors' code: equal weight for every octave of j.
    Inverse,
}

/// Returns alpha, from the positive eigenvalues (largest first) whose numbers, from 1, are in `range`; `None` if
/// there are fewer than two.
pub fn alpha_req(eigenvalues: &[f64], range: RangeInclusive<usize>, weight: Weight) -> Option<f64> {
    let points: Vec<(f64, f64, f64)> = eigenvalues
        .iter()
        .enumerate()
        .map(|(index, &value)| (index + 1, value))
        .filter(|&(j, value)| range.contains(&j) && value > 0.0)
        .map(|(j, value)| {
            let j = j as f64;
            (if weight == Weight::Inverse { 1.0 / j } else { 1.0 }, j.ln(), value.ln())
        })
        .collect();
    if points.len() < 2 {
        return None;
    }
    let mean = |of: fn(&(f64, f64, f64)) -> f64| {
        points.iter().map(|point| point.0 * of(point)).sum::<f64>()
            / points.iter().map(|point| point.0).sum::<f64>()
    };
    let (x_mean, y_mean) = (mean(|point| point.1), mean(|point| point.2));
    let slope =
        |of: fn(f64, f64) -> f64| points.iter().map(|&(w, x, y)| w * of(x - x_mean, y - y_mean)).sum::<f64>();
    Some(-slope(|x, y| x * y) / slope(|x, _| x * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_found_whatever_the_weights() {
        let eigenvalues: Vec<f64> = (1..=120).map(|j| 7.0 * f64::from(j).powf(-1.25)).collect();
        for weight in [Weight::Equal, Weight::Inverse] {
            for range in [1..=120, RELEASED_RANGE] {
                let alpha = alpha_req(&eigenvalues, range, weight).unwrap();
                assert!((alpha - 1.25).abs() < 1e-12, "{alpha}");
            }
        }
        assert_eq!(alpha_req(&eigenvalues[..12], RELEASED_RANGE, Weight::Equal), None);
        // A bend outside the range has no effect; zeros are left out.
        let mut bent = eigenvalues;
        bent[..11].fill(10.0);
        bent[100..].fill(0.0);
        assert!((alpha_req(&bent, RELEASED_RANGE, Weight::Inverse).unwrap() - 1.25).abs() < 1e-12);
        assert_eq!(
            alpha_req(&bent, 12..=120, Weight::Inverse),
            alpha_req(&bent, RELEASED_RANGE, Weight::Inverse)
        );
    }
}
