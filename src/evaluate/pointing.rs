//! The pointing game (Zhang et al., "Top-down neural attention by excitation backprop", 2018): does the maximum of
//! a map lie on the object that it should show?
//!
//! Places of the map are coarse here, so a place scores the fraction of its pixels that lie on the defect: the expected
//! hit rate of a random pixel in it. Chance is that fraction of the whole image; the ceiling is that of the best place.

use anyhow::{Result, ensure};

use crate::data::Mask;

/// Pointing scores of one image, each 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointingScores {
    /// Score of the map's highest place.
    pub hit: f64,
    /// Score of a random pixel of the image.
    pub chance: f64,
    /// Score of the best place.
    pub ceiling: f64,
}

/// Returns the fraction of the pixels in a rectangle (bounds in pixels) that lie on the defect.
fn part(mask: &Mask, [left, right]: [usize; 2], [top, bottom]: [usize; 2]) -> f64 {
    let rows = (top..bottom).map(|row| &mask.pixels[row * mask.width + left..row * mask.width + right]);
    let found = rows.flatten().filter(|&&defect| defect).count();
    found as f64 / ((right - left) * (bottom - top)).max(1) as f64
}

/// Scores a map (rows of places) on an image; `None` if no pixel shows a defect. Ties go to the first place.
///
/// # Errors
/// If the map is empty, ragged or finer than the image.
pub fn score_pointing(map: &[Vec<f64>], mask: &Mask) -> Result<Option<PointingScores>> {
    let (rows, columns) = (map.len(), map.first().map_or(0, Vec::len));
    ensure!(
        rows > 0 && columns > 0 && map.iter().all(|row| row.len() == columns),
        "a map of {rows} rows, of which the first has {columns} places"
    );
    ensure!(
        rows <= mask.height && columns <= mask.width,
        "a map of {rows} x {columns} places on {} x {} pixels",
        mask.height,
        mask.width
    );
    let chance = part(mask, [0, mask.width], [0, mask.height]);
    if chance == 0.0 {
        return Ok(None);
    }
    let cut =
        |pixels: usize, place: usize, places: usize| [place * pixels / places, (place + 1) * pixels / places];
    let (mut highest, mut hit, mut ceiling) = (f64::NEG_INFINITY, 0.0, 0.0_f64);
    for (row, values) in map.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            let part = part(mask, cut(mask.width, column, columns), cut(mask.height, row, rows));
            ceiling = ceiling.max(part);
            if value > highest {
                (highest, hit) = (value, part);
            }
        }
    }
    Ok(Some(PointingScores { hit, chance, ceiling }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_for_its_part_of_the_defect() {
        // 4 x 4 pixels, of which the lower right quarter shows a defect, except for one pixel.
        let defect = |place: usize| place / 4 >= 2 && place % 4 >= 2 && place != 15;
        let mask = Mask { width: 4, height: 4, pixels: (0..16).map(defect).collect() };
        let pointed = |map: &[Vec<f64>]| score_pointing(map, &mask).unwrap().unwrap();
        let found = pointed(&[vec![0.0, 1.0], vec![2.0, 3.0]]);
        assert_eq!(found, PointingScores { hit: 0.75, chance: 3.0 / 16.0, ceiling: 0.75 });
        assert_eq!(pointed(&[vec![0.0, 1.0], vec![2.0, -3.0]]).hit, 0.0);
        assert_eq!(
            pointed(&[vec![-1.0]]),
            PointingScores { hit: 3.0 / 16.0, chance: 3.0 / 16.0, ceiling: 3.0 / 16.0 }
        );
        // Three places divide four columns of pixels unevenly: 0, 1, and 2 to 3.
        assert_eq!(pointed(&[vec![0.0, 0.0, 1.0]]).hit, 3.0 / 8.0);
        let nothing = Mask { pixels: vec![false; 16], ..mask.clone() };
        assert_eq!(score_pointing(&[vec![0.0]], &nothing).unwrap(), None);
        assert!(score_pointing(&[], &mask).is_err() && score_pointing(&[vec![0.0], vec![]], &mask).is_err());
        assert!(score_pointing(&vec![vec![0.0; 4]; 5], &mask).is_err());
    }

    /// An image of 6 x 2 pixels: the right two of the upper row and the left one of the lower row show the defect.
    /// Places are 2 x 1 pixels.
    #[test]
    fn a_map_lies_on_a_picture_that_is_wider_than_high() {
        let defect = |place: usize| matches!(place, 4..=6);
        let mask = Mask { width: 6, height: 2, pixels: (0..12).map(defect).collect() };
        let pointed = |map: &[Vec<f64>]| score_pointing(map, &mask).unwrap().unwrap();
        let found = pointed(&[vec![0.1, 0.2, 0.3], vec![0.9, 0.5, 0.6]]);
        assert_eq!(found, PointingScores { hit: 0.5, chance: 0.25, ceiling: 1.0 });
        assert_eq!(pointed(&[vec![0.1, 0.2, 0.9], vec![0.3, 0.5, 0.6]]).hit, 1.0);
        assert_eq!(pointed(&[vec![0.0; 3], vec![0.0; 3]]).hit, 0.0, "of equal places the first");
        assert_eq!(pointed(&[vec![0.0; 6], vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]).hit, 0.0);
        let error = |map: &[Vec<f64>]| score_pointing(map, &mask).unwrap_err().to_string();
        assert_eq!(
            error(&[vec![0.0; 3], vec![0.0; 3], vec![0.0; 3]]),
            "a map of 3 x 3 places on 2 x 6 pixels"
        );
        assert_eq!(error(&[vec![0.0; 7]]), "a map of 1 x 7 places on 2 x 6 pixels");
        assert_eq!(error(&[vec![0.0; 2], vec![0.0; 3]]), "a map of 2 rows, of which the first has 2 places");
    }
}
