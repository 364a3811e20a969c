//! Ratios of running times of two programs that alternate on one machine, with their spread.
//!
//! Other load on the machine affects both programs of a pair, so ratios are computed pair by pair. Independent of
//! what is timed.

use anyhow::{Result, ensure};

use super::intervals::quantile;

/// Their time divided by ours, pair by pair: above 1 if we are faster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Median over pairs.
    pub median: f64,
    /// First and third quartile over pairs.
    pub quartiles: [f64; 2],
    /// Smallest ratio of any pair.
    pub least: f64,
    /// Largest ratio of any pair.
    pub largest: f64,
}

impl Ratio {
    /// Computes the ratios of times in any unit, given in the order of measurement.
    ///
    /// # Errors
    /// If there are no pairs, the numbers of times differ, or a time is not positive and finite.
    pub fn from_times(ours: &[f64], theirs: &[f64]) -> Result<Self> {
        ensure!(ours.len() == theirs.len(), "{} of our times, {} of theirs", ours.len(), theirs.len());
        ensure!(!ours.is_empty(), "no times to compare");
        for &time in ours.iter().chain(theirs) {
            ensure!(time > 0.0 && time.is_finite(), "expected a positive time, found {time}");
        }
        let ratios = ascending(theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours));
        Ok(Self {
            median: quantile(&ratios, 0.5),
            quartiles: [quantile(&ratios, 0.25), quantile(&ratios, 0.75)],
            least: ratios[0],
            largest: ratios[ratios.len() - 1],
        })
    }
}

/// Returns the median: the middle value, or the mean of the two middle ones; NaN without values.
pub fn median(values: &[f64]) -> f64 {
    quantile(&ascending(values.iter().copied()), 0.5)
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // By hand: ratios 3, 1.5, 2, 1.25, 4. The machine was twice as slow in the second half, for both.
        let ratio = Ratio::from_times(&[1.0, 2.0, 2.0, 4.0, 2.0], &[3.0, 3.0, 4.0, 5.0, 8.0]).unwrap();
        let expected = Ratio { median: 2.0, quartiles: [1.5, 3.0], least: 1.25, largest: 4.0 };
        assert_eq!(ratio, expected);
        assert_eq!(Ratio::from_times(&[2.0], &[3.0]).unwrap().quartiles, [1.5, 1.5]);
    }

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(&[8.0, 1.0, 4.0, 2.0]), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let message = |ours: &[f64], theirs: &[f64]| Ratio::from_times(ours, theirs).unwrap_err().to_string();
        assert_eq!(message(&[], &[]), "no times to compare");
        assert_eq!(message(&[1.0], &[1.0, 2.0]), "1 of our times, 2 of theirs");
        assert_eq!(message(&[1.0, 0.0], &[1.0, 1.0]), "expected a positive time, found 0");
        assert!(message(&[1.0], &[f64::NAN]).contains("found NaN"));
    }

    #[test]
    fn no_time_is_infinite() {
        for times in [[1.0, f64::INFINITY], [f64::INFINITY, 1.0]] {
            for [ours, theirs] in [[times, [2.0, 3.0]], [[2.0, 3.0], times]] {
                let error = Ratio::from_times(&ours, &theirs).unwrap_err().to_string();
                assert_eq!(error, "expected a positive time, found inf");
            }
        }
    }
}
