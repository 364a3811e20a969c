//! Detectors fitted on normal images only: distances between feature vectors. They neither need nor use defects.
//!
//! Sources: mean distance to the nearest neighbours as Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining
//! outliers from large data sets", 2000; Mahalanobis distance with the shrunken covariance of Ledoit and Wolf, "A
//! well-conditioned estimator for large-dimensional covariance matrices", 2004, as in scikit-learn's `LedoitWolf`.

use anyhow::{Context, Result, ensure};
use faer::{Mat, Side, linalg::solvers::Llt, prelude::Solve};
use rayon::prelude::*;

use super::distance::squared_to_each;

/// Number of neighbours whose distances are averaged. Ours.
pub const NEIGHBOURS: usize = 5;
/// Largest number of normal images compared, evenly spaced. Ours: the cost grows with this number times that of the
/// validation images.
pub const MOST_IMAGES: usize = 10_000;
/// Fraction of the fitted normal images that get a logit below 0. Ours: without defects, the data do not determine a
/// threshold.
const BELOW: f64 = 0.95;

/// Returns the 95 % quantile of the normal images' own distances (at least one), at which the logit is 0.
pub(super) fn usual_distance(mut own: Vec<f64>) -> f64 {
    own.sort_by(f64::total_cmp);
    own[((BELOW * own.len() as f64) as usize).min(own.len() - 1)]
}

/// Feature vectors of equal length, one per image.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Copies rows of `width` numbers, stored one after the other.
    ///
    /// # Errors
    /// If there is no row, a row is incomplete, or a number is not finite.
    pub fn new(values: &[f32], width: usize) -> Result<Self> {
        ensure!(
            width > 0 && !values.is_empty() && values.len().is_multiple_of(width),
            "{} numbers are no rows of {width}",
            values.len()
        );
        ensure!(values.iter().all(|value| value.is_finite()), "a feature is not finite");
        Ok(Self { values: values.iter().map(|value| f64::from(*value)).collect(), width })
    }

    fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    fn len(&self) -> usize {
        self.values.len() / self.width
    }
}

/// Returns the mean Euclidean distance of each of `rows` to its `count` nearest of `normals`.
///
/// # Errors
/// If widths differ, or there are fewer than `count` normal images.
pub fn neighbour_distances(normals: &Rows, rows: &Rows, count: usize) -> Result<Vec<f64>> {
    ensure!(normals.width == rows.width, "{} features, expected {}", rows.width, normals.width);
    ensure!(
        (1..=normals.len()).contains(&count),
        "{count} neighbours of {} normal images: expected at least 1 and at most as many as there are",
        normals.len()
    );
    let mean = |row: &[f64]| {
        let mut squares = squared_to_each(row, &normals.values);
        squares.select_nth_unstable_by(count - 1, f64::total_cmp);
        squares[..count].iter().map(|square| square.sqrt()).sum::<f64>() / count as f64
    };
    Ok(rows.values.par_chunks_exact(rows.width).map(mean).collect())
}

/// The distribution of normal images: a mean and a covariance.
pub struct Cloud {
    mean: Vec<f64>,
    covariance: Mat<f64>,
    factors: Llt<f64>,
    /// Shrinkage of the covariance towards a multiple of the identity, 0..1.
    pub shrinkage: f64,
}

impl Cloud {
    /// Estimates the distribution from at least two normal images.
    ///
    /// # Errors
    /// If there are fewer, or they are all alike.
    pub fn fit(normals: &Rows) -> Result<Self> {
        let (count, width) = (normals.len() as f64, normals.width);
        ensure!(normals.len() > 1, "a covariance needs two normal images, found {}", normals.len());
        let mean: Vec<f64> =
            (0..width).map(|column| normals.iter().map(|row| row[column]).sum::<f64>() / count).collect();
        let centred = Mat::from_fn(normals.len(), width, |row, column| {
            normals.values[row * width + column] - mean[column]
        });
        let products = centred.transpose() * &centred;
        let squared = Mat::from_fn(normals.len(), width, |row, column| centred[(row, column)].powi(2));
        let fourth: f64 = sum(&(squared.transpose() * &squared), |value| value);
        let (trace, squares) = (
            (0..width).map(|place| products[(place, place)] / count).sum::<f64>(),
            sum(&products, |value| (value / count).powi(2)),
        );
        let sphere = trace / width as f64;
        ensure!(sphere > 0.0, "all normal images have the same features");
        let spread = (squares - 2.0 * sphere * trace + width as f64 * sphere.powi(2)) / width as f64;
        let error = ((fourth / count - squares) / (width as f64 * count)).min(spread);
        let shrinkage = if error == 0.0 { 0.0 } else { error / spread };
        let covariance = Mat::from_fn(width, width, |row, column| {
            let own = (1.0 - shrinkage) * products[(row, column)] / count;
            if row == column { own + shrinkage * sphere } else { own }
        });
        Self::new(mean, covariance, shrinkage)
    }

    fn new(mean: Vec<f64>, covariance: Mat<f64>, shrinkage: f64) -> Result<Self> {
        let factors =
            covariance.llt(Side::Lower).ok().context("the covariance of normal images is singular")?;
        Ok(Self { mean, covariance, factors, shrinkage })
    }

    /// Restores a distribution from its mean and [`Self::lower`]. The covariance already includes the shrinkage, so
    /// `shrinkage` is set to 0.
    ///
    /// # Errors
    /// If the numbers of values do not match, or the covariance is singular.
    pub fn from_parts(mean: Vec<f64>, lower: &[f64]) -> Result<Self> {
        let width = mean.len();
        ensure!(
            lower.len() == width * (width + 1) / 2,
            "a covariance of {width} features has {} numbers, found {}",
            width * (width + 1) / 2,
            lower.len()
        );
        let at = |row: usize, column: usize| lower[row * (row + 1) / 2 + column];
        let covariance = Mat::from_fn(width, width, |row, column| at(row.max(column), row.min(column)));
        Self::new(mean, covariance, 0.0)
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Returns the mean.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Returns the lower triangle of the covariance with its diagonal, row-major.
    pub fn lower(&self) -> Vec<f64> {
        let rows = (0..self.width()).flat_map(|row| (0..=row).map(move |column| (row, column)));
        rows.map(|at| self.covariance[at]).collect()
    }

    /// Returns the Mahalanobis distance of each row.
    ///
    /// # Errors
    /// If widths differ.
    pub fn distances(&self, rows: &Rows) -> Result<Vec<f64>> {
        let width = self.mean.len();
        ensure!(rows.width == width, "{} features, expected {width}", rows.width);
        let centred =
            Mat::from_fn(width, rows.len(), |row, column| rows.values[column * width + row] - self.mean[row]);
        let solved = self.factors.solve(&centred);
        let square =
            |column: usize| (0..width).map(|row| centred[(row, column)] * solved[(row, column)]).sum::<f64>();
        Ok((0..rows.len()).map(|column| square(column).max(0.0).sqrt()).collect())
    }
}

fn sum(matrix: &Mat<f64>, of: impl Fn(f64) -> f64) -> f64 {
    (0..matrix.ncols())
        .flat_map(|column| (0..matrix.nrows()).map(move |row| (row, column)))
        .map(|at| of(matrix[at]))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that NumPy computes identically.
    fn rows(count: usize, offset: f64) -> Rows {
        let value = |i: f64, j: f64| (1.7 * i + 0.9 * j * j + offset).sin() + 0.3 * (0.5 * i * j).cos();
        let values = (0..count).flat_map(|i| (0..5).map(move |j| value(i as f64, f64::from(j)))).collect();
        Rows { values, width: 5 }
    }

    fn close(found: &[f64], expected: &[f64]) {
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == expected.len() && apart < 1e-12, "{found:?}");
    }

    #[test]
    fn distances_are_scikit_learns() {
        // scikit-learn 1.9.1: LedoitWolf().fit(X), sqrt(mahalanobis(Y)), NearestNeighbors(n_neighbors=3) and its mean.
        let (normals, others) = (rows(12, 0.0), rows(3, 2.0));
        let cloud = Cloud::fit(&normals).unwrap();
        close(&[cloud.shrinkage], &[0.1680315752400376]);
        close(
            &cloud.distances(&others).unwrap(),
            &[1.7252068194889547, 2.1104683091533376, 1.3662939501884506],
        );
        let found = neighbour_distances(&normals, &others, 3).unwrap();
        close(&found, &[0.9109892337930005, 0.9193989652336353, 0.744247535262887]);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let normals = rows(4, 0.0);
        assert!(
            neighbour_distances(&normals, &normals, 5).is_err()
                && neighbour_distances(&normals, &normals, 0).is_err()
        );
        assert!(Cloud::fit(&rows(1, 0.0)).is_err());
        assert!(Cloud::fit(&Rows::new(&[1.0; 10], 5).unwrap()).is_err(), "all alike");
        assert!(Rows::new(&[1.0, f32::NAN], 1).is_err() && Rows::new(&[1.0; 3], 2).is_err());
        let message = |rows: Result<Rows>| rows.unwrap_err().to_string();
        assert_eq!(message(Rows::new(&[1.0; 3], 2)), "3 numbers are no rows of 2");
        assert_eq!(message(Rows::new(&[], 2)), "0 numbers are no rows of 2");
        assert_eq!(message(Rows::new(&[1.0; 3], 0)), "3 numbers are no rows of 0");
        assert_eq!(message(Rows::new(&[1.0, f32::NEG_INFINITY], 1)), "a feature is not finite");
        // More features than images: singular without shrinkage.
        let few = Cloud::fit(&rows(3, 1.0)).unwrap();
        assert!(
            few.shrinkage > 0.0
                && few.distances(&normals).unwrap().iter().all(|distance| distance.is_finite())
        );
    }

    /// Of the distances 0 to 99, in any order, 95 lie below the threshold.
    #[test]
    fn five_of_a_hundred_normal_images_are_unusual() {
        let own = (0..100).map(|place| f64::from(37 * place % 100)).collect();
        assert_eq!(usual_distance(own), 95.0);
        assert_eq!((usual_distance(vec![3.0]), usual_distance(vec![2.0, 7.0, 5.0])), (3.0, 7.0));
    }

    /// By hand: 2 is 2, 1, 3 and 7 away from 0, 1, 5 and 9; with two features, distances are Euclidean.
    #[test]
    fn neighbours_by_hand() {
        let rows = |values: &[f32], width| Rows::new(values, width).unwrap();
        let normals = rows(&[0.0, 9.0, 1.0, 5.0], 1);
        let of = |count| neighbour_distances(&normals, &rows(&[2.0, 20.0], 1), count).unwrap();
        assert_eq!((of(1), of(2), of(4)), (vec![1.0, 11.0], vec![1.5, 13.0], vec![3.25, 16.25]));
        let plane = neighbour_distances(&rows(&[3.0, 4.0, 6.0, 8.0], 2), &rows(&[0.0, 0.0], 2), 2).unwrap();
        assert_eq!(plane, [7.5]);
        let error = neighbour_distances(&normals, &rows(&[1.0, 2.0], 2), 1).unwrap_err().to_string();
        assert_eq!(error, "2 features, expected 1");
    }

    /// Neither fewer nor more features than were fitted, nor numbers of a covariance.
    #[test]
    fn another_width_is_refused() {
        let normals = rows(6, 0.0);
        let cloud = Cloud::fit(&normals).unwrap();
        for (width, numbers) in [(4, [1.0; 12]), (6, [1.0; 12])] {
            let others = Rows::new(&numbers, width).unwrap();
            let expected = format!("{width} features, expected 5");
            assert_eq!(cloud.distances(&others).unwrap_err().to_string(), expected);
            let error = neighbour_distances(&normals, &others, 1).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        let lower = cloud.lower();
        assert_eq!(lower.len(), 15);
        for numbers in [lower[..14].to_vec(), [&lower[..], &[1.0]].concat()] {
            let error = Cloud::from_parts(cloud.mean().to_vec(), &numbers).err().unwrap().to_string();
            let expected = format!("a covariance of 5 features has 15 numbers, found {}", numbers.len());
            assert_eq!(error, expected);
        }
    }
}
