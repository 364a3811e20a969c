//! Two models on the same test images: how far other images would change the difference of their AUROC.
//!
//! The interval does not cover seeds: it applies to the two given models. Normal images and defects are resampled
//! separately, or whole groups if images have them, the same for both models ([`interval_over_images`]). Independent of
//! where logits are stored.

use anyhow::{Context, Result, ensure};

use crate::{
    analysis::{Interval, intervals::interval_over_images},
    backbone,
    data::Share,
    evaluate::detection::auroc,
    method,
    seed::Seed,
};

/// Number of resamples of the test images.
const ROUNDS: usize = 400;

/// Difference between a method's model and the supervised one on the same backbone.
pub struct ImageDifference {
    /// Method of the first model.
    pub method: method::Name,
    /// Backbone of both models.
    pub backbone: backbone::Name,
    /// Share of defects in their training.
    pub share: Share,
    /// Difference in AUROC of the converged probes, on all validation images.
    pub difference: Interval,
}

/// Columns of a file of logits by name, as `results::logits` reads them.
pub type Columns = [(String, Vec<f64>)];

/// Returns the AUROC of the first converged probe minus that of the second, on the images of both files.
///
/// # Errors
/// If a column is missing, or the files are about different images.
pub fn auroc_difference(first: &Columns, second: &Columns) -> Result<Interval> {
    let column = |columns: &'_ Columns, name: &str| -> Result<Vec<f64>> {
        let found = columns.iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("expected a column '{name}', found none"))?.1.clone())
    };
    for name in ["position", "defect"] {
        ensure!(
            column(first, name)? == column(second, name)?,
            "column '{name}' differs: expected logits of the same test images"
        );
    }
    let defects: Vec<bool> = column(first, "defect")?.into_iter().map(|defect| defect > 0.5).collect();
    let logits = [column(first, "converged")?, column(second, "converged")?];
    // Fails if a class is absent, since no resample could be ranked then.
    auroc(&logits[0], &defects)?;
    let groups = first.iter().any(|(name, _)| name == "group").then(|| column(first, "group")).transpose()?;
    let groups = groups.map(|groups| groups.into_iter().map(|group| group as u32).collect::<Vec<u32>>());
    Ok(interval_over_images(&defects, groups.as_deref(), ROUNDS, Seed::root(0), |positions| {
        let labels: Vec<bool> = positions.iter().map(|&position| defects[position]).collect();
        let of = |logits: &[f64]| {
            let drawn: Vec<f64> = positions.iter().map(|&position| logits[position]).collect();
            auroc(&drawn, &labels).unwrap_or(f64::NAN)
        };
        of(&logits[0]) - of(&logits[1])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(converged: &[f64], defects: &[f64]) -> Vec<(String, Vec<f64>)> {
        let positions = (0..defects.len()).map(|position| position as f64).collect();
        vec![
            ("position".to_owned(), positions),
            ("defect".to_owned(), defects.to_vec()),
            ("converged".to_owned(), converged.to_vec()),
        ]
    }

    #[test]
    fn differences_are_paired() {
        let defects: Vec<f64> = (0..60).map(|image| f64::from(u8::from(image % 3 == 0))).collect();
        let logits: Vec<f64> = (0..60).map(|image| f64::from(image * 37 % 60)).collect();
        // By hand: AUROC does not change if logits are shifted and scaled, whatever images are drawn.
        let same: Vec<f64> = logits.iter().map(|logit| 3.0 * logit - 7.0).collect();
        let interval = auroc_difference(&columns(&same, &defects), &columns(&logits, &defects)).unwrap();
        assert_eq!((interval.estimate, interval.low, interval.high), (0.0, 0.0, 0.0));
        // A model whose logits equal the labels has AUROC 1 in every draw: the interval is that of the other model,
        // and above 0.
        let interval = auroc_difference(&columns(&defects, &defects), &columns(&logits, &defects)).unwrap();
        let truth: Vec<bool> = defects.iter().map(|defect| *defect > 0.5).collect();
        assert!((interval.estimate - (1.0 - auroc(&logits, &truth).unwrap())).abs() < 1e-12);
        assert!(interval.low > 0.0 && interval.low < interval.estimate && interval.estimate < interval.high);
    }

    #[test]
    fn files_of_other_images_are_refused() {
        let [first, second] = [[1.0, 0.0], [0.0, 1.0]].map(|defects| columns(&[0.5, 0.6], &defects));
        let error = auroc_difference(&first, &second).unwrap_err();
        assert!(error.to_string().contains("column 'defect' differs"), "{error}");
        let error = auroc_difference(&first[..2], &first).unwrap_err();
        assert!(error.to_string().contains("expected a column 'converged'"), "{error}");
    }

    /// Images of one class cannot be ranked, and other images are other images though their labels agree.
    #[test]
    fn images_of_one_class_are_refused() {
        let all = columns(&[0.5, 0.6, 0.7], &[1.0, 1.0, 1.0]);
        let error = auroc_difference(&all, &all).unwrap_err().to_string();
        assert!(!error.contains("column"), "{error}");
        let of = |name: &str| auroc_difference(&all[1..], &all).unwrap_err().to_string().contains(name);
        assert!(of(&all[0].0), "a column is missing");
        let both = columns(&[0.5, 0.6], &[1.0, 0.0]);
        let error =
            |first: &Columns, second: &Columns| auroc_difference(first, second).unwrap_err().to_string();
        for (second, name) in [(&both[..2], "converged"), (&both[1..], "position"), (&both[..1], "defect")] {
            assert_eq!(error(&both, second), format!("expected a column '{name}', found none"));
        }
    }
}
