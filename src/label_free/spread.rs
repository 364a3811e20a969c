//! The spread of features, the cheapest sign of collapse.

use super::rows::{Number, Rows};

/// Moments of features and of their rows scaled to unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Mean of all features.
    pub mean: f64,
    /// Mean over columns of the standard deviation over rows (divisor N - 1).
    pub deviation: f64,
    /// Mean of all features of unit rows, times sqrt(D): -1 to 1.
    pub unit_mean: f64,
    /// Like `deviation`, but of unit rows and times sqrt(D): about 1 if directions are isotropic, 0 if all are
    /// equal, for any D. lightly's `std_of_l2_normalized` times sqrt(D).
    pub unit_deviation: f64,
}

/// Computes the spread of rows; cheap enough for every training step.
pub fn spread<T: Number>(rows: Rows<T>) -> Spread {
    let root = (rows.width() as f64).sqrt();
    let scales: Vec<f64> = (0..rows.count()).map(|index| rows.unit_scale(index)).collect();
    let (mean, deviation) = moments(rows, |_| 1.0);
    let (unit_mean, unit_deviation) = moments(rows, |index| scales[index]);
    Spread { mean, deviation, unit_mean: root * unit_mean, unit_deviation: root * unit_deviation }
}

/// Returns the mean of the columns' means and that of their standard deviations.
fn moments<T: Number>(rows: Rows<T>, scale: impl Fn(usize) -> f64) -> (f64, f64) {
    let (count, width) = (rows.count() as f64, rows.width() as f64);
    let mut means = vec![0.0; rows.width()];
    for index in 0..rows.count() {
        let factor = scale(index) / count;
        means.iter_mut().zip(rows.row(index)).for_each(|(mean, x)| *mean += factor * x);
    }
    let mut squares = vec![0.0; rows.width()];
    for index in 0..rows.count() {
        let factor = scale(index);
        for ((square, mean), x) in squares.iter_mut().zip(&means).zip(rows.row(index)) {
            let distance = factor * x - mean;
            *square += distance * distance;
        }
    }
    let deviations: f64 = squares.iter().map(|square| (square / (count - 1.0)).sqrt()).sum();
    (means.iter().sum::<f64>() / width, deviations / width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Columns 3, 0 and 4, 2: means 1.5 and 3, deviations 3 / sqrt 2 and sqrt 2. Unit rows
        // (0.6, 0.8) and (0, 1): means 0.3 and 0.9, deviations 0.6 / sqrt 2 and 0.2 / sqrt 2.
        let found = spread(Rows::new(&[3.0_f32, 4.0, 0.0, 2.0], 2).unwrap());
        let root = 2.0_f64.sqrt();
        assert!((found.mean - 2.25).abs() < 1e-15);
        assert!((found.deviation - (1.5 / root + root / 2.0)).abs() < 1e-15);
        assert!((found.unit_mean - 0.6 * root).abs() < 1e-15);
        assert!((found.unit_deviation - 0.4).abs() < 1e-15);
    }

    #[test]
    fn lightly_agrees() {
        // lightly's std_of_l2_normalized of sin(0.7 i + 0.3 j^2 + 0.1 i j), 4 x 6, in float64.
        let values: Vec<f64> = (0..24)
            .map(|place| (f64::from(place / 6), f64::from(place % 6)))
            .map(|(i, j)| (0.7 * i + 0.3 * j * j + 0.1 * i * j).sin())
            .collect();
        let found = spread(Rows::new(&values, 6).unwrap()).unit_deviation / 6.0_f64.sqrt();
        assert!((found - 0.364_606_137_806_178_7).abs() < 1e-15, "{found}");
    }

    #[test]
    fn isotropic_is_one_and_collapsed_zero() {
        let mut stream = crate::seed::Seed::root(1).stream();
        let values: Vec<f32> = (0..500 * 64).map(|_| stream.normal() as f32).collect();
        let found = spread(Rows::new(&values, 64).unwrap());
        assert!((found.unit_deviation - 1.0).abs() < 0.01 && found.unit_mean.abs() < 0.05, "{found:?}");
        // All rows have the same direction and different lengths.
        let values: Vec<f32> = (0..32).map(|place| [1.0, 2.0][place % 2] * (1 + place / 2) as f32).collect();
        let found = spread(Rows::new(&values, 2).unwrap());
        assert!(found.unit_deviation < 1e-7 && found.deviation > 1.0, "{found:?}");
    }
}
