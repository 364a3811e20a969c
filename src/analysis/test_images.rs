//! Standard error of AUROC due to the choice of test images, which intervals over seeds do not include.

/// Returns the standard error of an AUROC (0..1) measured on this many defects and normal images, as samples of
/// infinite populations; `None` if there are no defects or no normal images, or if an argument is not a number.
///
/// Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
/// Radiology 1982, equations 1 and 2. They assume exponentially distributed logits; the error for other distributions
/// is small.
pub fn auroc_error(auroc: f64, defects: f64, normals: f64) -> Option<f64> {
    if !((0.0..=1.0).contains(&auroc) && defects >= 1.0 && normals >= 1.0) {
        return None;
    }
    // Probabilities that two defects both score above one normal image, and that one defect scores above two normal
    // images.
    let (two_defects, two_normals) = (auroc / (2.0 - auroc), 2.0 * auroc.powi(2) / (1.0 + auroc));
    let square = auroc.powi(2);
    let variance = (auroc * (1.0 - auroc)
        + (defects - 1.0) * (two_defects - square)
        + (normals - 1.0) * (two_normals - square))
        / (defects * normals);
    Some(variance.max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_papers_example() {
        // The paper's 51 abnormal and 58 normal tomograms, area 0.893: by hand 0.0325 (0.032 by its other estimate).
        let error = auroc_error(0.893, 51.0, 58.0).unwrap();
        assert!((error - 0.0325).abs() < 5e-5, "{error}");
        // One image of each class: a fair coin, sqrt(1/4).
        assert_eq!(auroc_error(0.5, 1.0, 1.0), Some(0.5));
        assert_eq!(auroc_error(1.0, 20.0, 30.0), Some(0.0));
    }

    #[test]
    fn what_is_no_number_has_no_error() {
        for (auroc, defects, normals) in
            [(f64::NAN, 5.0, 5.0), (0.8, 0.0, 5.0), (0.8, 5.0, f64::NAN), (1.2, 5.0, 5.0)]
        {
            assert_eq!(auroc_error(auroc, defects, normals), None);
        }
    }
}
