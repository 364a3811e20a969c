//! A k-nearest-neighbour classifier on the cosine similarity of features.
//!
//! Source: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", 2018, section
//! 3.4, with the temperature of DINO's protocol (Caron et al. 2021, section 4.1): of the k training images with the
//! largest cosine c, each votes for its label with weight exp(c / 0.07).

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::probe::dots;

/// Number of neighbours that vote: DINO's 20.
pub const NEIGHBOURS: usize = 20;
/// Temperature that divides the cosines: DINO's 0.07.
pub const TEMPERATURE: f64 = 0.07;
/// Largest number of training images compared, evenly spaced. Ours: the cost grows with this number times that of the
/// validation images.
pub const MOST_IMAGES: usize = 20_000;

/// Returns the weighted fraction of votes for a defect, minus one half, for each row of `rows`: above 0, the image is
/// called a defect. `train` and `rows` are row-major with `width` features per row; a zero vector has cosine 0 with any
/// other.
///
/// # Errors
/// If a row is incomplete, there is not one label per training row, or a number is not finite.
pub fn votes(train: &[f32], defects: &[bool], rows: &[f32], width: usize) -> Result<Vec<f64>> {
    ensure!(
        width > 0 && train.len() == defects.len() * width && rows.len().is_multiple_of(width),
        "{} and {} numbers are not {} rows and whole rows of {width}",
        train.len(),
        rows.len(),
        defects.len()
    );
    ensure!(!defects.is_empty(), "no training image to be a neighbour");
    ensure!(train.iter().chain(rows).all(|number| number.is_finite()), "a feature is not finite");
    let (all, kept) = (defects.len(), defects.len().min(MOST_IMAGES));
    let places: Vec<usize> = (0..kept).map(|place| place * all / kept).collect();
    let known: Vec<f64> =
        places.iter().flat_map(|row| direction(&train[row * width..(row + 1) * width])).collect();
    let vote = |row: &[f32]| {
        let row = direction(row);
        let mut cosines = vec![0.0; kept];
        dots(&row, &known, &mut cosines);
        let mut cosines: Vec<(f64, usize)> = cosines.into_iter().zip(0..).collect();
        let count = NEIGHBOURS.min(kept);
        // Of equal cosines the earlier image is taken, so that the result is deterministic.
        cosines.select_nth_unstable_by(count - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let nearest = &mut cosines[..count];
        nearest.sort_by_key(|(_, place)| *place);
        let weights =
            nearest.iter().map(|(cosine, place)| (libm::exp(cosine / TEMPERATURE), defects[places[*place]]));
        let (defect, all) =
            weights.fold((0.0, 0.0), |(defect, all), (w, d)| (defect + if d { w } else { 0.0 }, all + w));
        defect / all - 0.5
    };
    Ok(rows.par_chunks_exact(width).map(vote).collect())
}

/// Scales the row to length 1.
fn direction(row: &[f32]) -> Vec<f64> {
    let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|x| if length > 0.0 { f64::from(*x) / length } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_those_of_dinos_code() {
        // Numbers that NumPy computes identically.
        let value = |i: usize, j: usize, offset: f64| {
            let (i, j) = (i as f64, j as f64);
            ((1.7 * i + 0.9 * j * j + offset).sin() + 0.3 * (0.5 * i * j).cos()) as f32
        };
        let rows = |count: usize, offset: f64| -> Vec<f32> {
            (0..count).flat_map(|i| (0..5).map(move |j| value(i, j, offset))).collect()
        };
        let defects: Vec<bool> = (0..60).map(|i| i % 3 == 0).collect();
        let found = votes(&rows(60, 0.0), &defects, &rows(4, 2.0), 5).unwrap();
        // knn_classifier of DINO's eval_knn.py, line by line in NumPy 2 with k = 20 and T = 0.07, f64.
        let expected =
            [-0.26981904199643986, -0.18844908919816306, -0.1593577618235582, -0.20387840083118874];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
    }

    #[test]
    fn images_that_are_kept_of_too_many_keep_their_labels() {
        // With twice the largest number of images, every second one is used: these are the defects, which all point in
        // one direction.
        let (train, defects): (Vec<[f32; 2]>, Vec<bool>) = (0..2 * MOST_IMAGES)
            .map(|row| if row % 2 == 0 { ([1.0, 0.0], true) } else { ([0.0, 1.0], false) })
            .unzip();
        let found = votes(train.as_flattened(), &defects, &[1.0, 0.0], 2).unwrap();
        assert_eq!(found, [0.5]);
    }

    #[test]
    fn few_images_and_zeros_are_no_trouble() {
        let found = votes(&[1.0, 0.0, 0.0, 1.0], &[true, false], &[2.0, 0.0, 0.0, 0.0], 2).unwrap();
        assert!(found[0] > 0.49 && found[1] == 0.0, "{found:?}");
        assert!(votes(&[], &[], &[1.0], 1).is_err());
        assert!(votes(&[1.0, 2.0], &[true], &[1.0, 2.0], 1).is_err());
        assert!(votes(&[f32::NAN], &[true], &[1.0], 1).is_err());
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let error = |train: &[f32], defects: &[bool], rows: &[f32], width: usize| {
            votes(train, defects, rows, width).unwrap_err().to_string()
        };
        let two = [1.0, 0.0];
        assert_eq!(
            error(&two, &[true], &[1.0, 2.0, 3.0], 2),
            "2 and 3 numbers are not 1 rows and whole rows of 2"
        );
        assert_eq!(error(&two, &[true; 2], &two, 2), "2 and 2 numbers are not 2 rows and whole rows of 2");
        assert_eq!(error(&[1.0; 4], &[true], &two, 2), "4 and 2 numbers are not 1 rows and whole rows of 2");
        assert_eq!(error(&[], &[true], &[], 0), "0 and 0 numbers are not 1 rows and whole rows of 0");
        assert_eq!(error(&[], &[], &two, 2), "no training image to be a neighbour");
        assert_eq!(error(&two, &[true], &[f32::INFINITY, 0.0], 2), "a feature is not finite");
    }

    /// Of 25 images in the same direction, the first twenty vote: one defect less than there are.
    #[test]
    fn of_equal_neighbours_the_earlier_vote() {
        let defects: Vec<bool> = (0..25).map(|image| image >= 4 && image != 7).collect();
        let train: Vec<f32> = (0..25).flat_map(|image| [image as f32 + 1.0, 0.0]).collect();
        let found = votes(&train, &defects, &[3.0, 0.0], 2).unwrap();
        assert!((found[0] - (15.0 / 20.0 - 0.5)).abs() < 1e-12, "{found:?}");
    }
}
