//! Standard error of AUROC over samples of groups (pipes, videos, modules).
//!
//! Source: Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997, equation 4. If each
//! image is its own group, it is close to the estimate of DeLong, DeLong and Clarke-Pearson (1988).

use std::collections::BTreeMap;

use super::detection::auroc;

/// Returns the standard error of AUROC over groups. `groups` holds the group number of each image. `None` if a label
/// has fewer than two groups, or the scores cannot be ranked.
pub fn auroc_error(scores: &[f64], defects: &[bool], groups: &[u32]) -> Option<f64> {
    let area = auroc(scores, defects).ok()?;
    let of = |wanted: bool| -> Vec<f64> {
        let mut sorted: Vec<f64> = scores
            .iter()
            .zip(defects)
            .filter(|(_, defect)| **defect == wanted)
            .map(|(score, _)| *score)
            .collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (normals, positives) = (of(false), of(true));
    // Fraction of the other label's images whose score is below this one, ties counted half.
    let below = |sorted: &[f64], score: f64| {
        let [less, upto] =
            [sorted.partition_point(|&other| other < score), sorted.partition_point(|&other| other <= score)];
        (less + upto) as f64 / 2.0 / sorted.len() as f64
    };
    // For each group, the summed deviations of its defects and of its normal images from the area; `None` without
    // any.
    let mut strayed: BTreeMap<u32, [Option<f64>; 2]> = BTreeMap::new();
    for ((&score, &defect), &group) in scores.iter().zip(defects).zip(groups) {
        let place = if defect { below(&normals, score) } else { 1.0 - below(&positives, score) };
        *strayed.entry(group).or_default()[usize::from(!defect)].get_or_insert(0.0) += place - area;
    }
    let spread = |label: usize, images: usize| {
        let sums: Vec<f64> = strayed.values().filter_map(|group| group[label]).collect();
        let count = sums.len() as f64;
        let squares: f64 = sums.iter().map(|sum| sum.powi(2)).sum();
        (sums.len() > 1).then(|| count / (count - 1.0) * squares / (images as f64).powi(2))
    };
    let count = strayed.len() as f64;
    let both: f64 = strayed.values().filter_map(|[defects, normals]| Some((*defects)? * (*normals)?)).sum();
    let both = 2.0 * count / (count - 1.0) * both / (positives.len() * normals.len()) as f64;
    let variance = spread(0, positives.len())? + spread(1, normals.len())? + both;
    Some(variance.max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn single_images_give_delongs_error() {
        // DeLong's formula by hand: placements of the defects are 2/4, 3/4, 1 (mean 0.75), of the normal images 1, 1,
        // 2/3, 1/3 (mean 0.75).
        let scores = [1.0, 2.0, 3.0, 4.5, 2.5, 4.0, 5.0];
        let defects = [false, false, false, false, true, true, true];
        let groups = [0, 1, 2, 3, 4, 5, 6];
        let of_defects = (0.25_f64.powi(2) + 0.25_f64.powi(2)) / 2.0 / 3.0;
        let third = 1.0 / 12.0;
        let of_normals = (2.0 * 0.25_f64.powi(2) + third * third + (5.0 * third).powi(2)) / 3.0 / 4.0;
        let expected = (of_defects + of_normals).sqrt();
        assert!((auroc_error(&scores, &defects, &groups).unwrap() - expected).abs() < 1e-12);
    }

    /// Pipes that differ in appearance: the error must equal the spread over many studies of as many pipes, and
    /// exceed the one computed from single images.
    #[test]
    fn the_error_is_the_spread_of_repeated_studies() {
        let study = |number: u64| {
            let mut stream = Seed::root(number).stream();
            let (mut scores, mut defects, mut groups) = (Vec::new(), Vec::new(), Vec::new());
            for pipe in 0..30_u32 {
                let look = stream.normal();
                for frame in 0..10 {
                    let defect = pipe % 2 == 0 && frame < 5;
                    scores.push(look + 0.5 * stream.normal() + f64::from(u8::from(defect)));
                    defects.push(defect);
                    groups.push(pipe);
                }
            }
            let singles: Vec<u32> = (0..groups.len() as u32).collect();
            let area = auroc(&scores, &defects).unwrap();
            let [grouped, single] =
                [&groups, &singles].map(|units| auroc_error(&scores, &defects, units).unwrap());
            (area, grouped, single)
        };
        let studies: Vec<_> = (0..400).map(study).collect();
        let mean = |of: fn(&(f64, f64, f64)) -> f64| studies.iter().map(of).sum::<f64>() / 400.0;
        let middle = mean(|study| study.0);
        let spread = (studies.iter().map(|study| (study.0 - middle).powi(2)).sum::<f64>() / 399.0).sqrt();
        let (grouped, single) = (mean(|study| study.1), mean(|study| study.2));
        assert!((grouped / spread - 1.0).abs() < 0.1, "{grouped}, spread {spread}");
        assert!(single < 0.7 * spread, "{single}, spread {spread}");
    }

    #[test]
    fn one_group_of_a_label_says_nothing() {
        assert_eq!(auroc_error(&[1.0, 2.0, 3.0], &[false, false, true], &[0, 1, 2]), None);
        assert_eq!(auroc_error(&[1.0, 2.0], &[true, true], &[0, 1]), None);
    }

    /// By hand: three of four pairs are in order, so the area is 3/4. Each image deviates by 1/4: both of the first
    /// group upwards, both of the second downwards. That makes a variance of 1/16 for each label, plus twice a
    /// covariance of 1/16.
    #[test]
    fn defects_and_normal_images_of_a_group_stray_together() {
        let (scores, defects) = ([4.0, 1.0, 2.0, 3.0], [true, false, true, false]);
        let error = |groups: [u32; 4]| auroc_error(&scores, &defects, &groups).unwrap();
        assert!((error([0, 0, 1, 1]) - 0.5).abs() < 1e-12, "{}", error([0, 0, 1, 1]));
        // Grouped the other way, the deviations within a group cancel, and the error is 0.
        assert!(error([0, 1, 1, 0]).abs() < 1e-12, "{}", error([0, 1, 1, 0]));
    }

    /// By hand: of six pairs five are in order, so the area is 5/6. Defects 3 and 1 deviate by 1/6 and -1/6, the normal
    /// images 2, 0 and 0 by -1/3, 1/6 and 1/6. Only the first of four groups has both labels, the defect 1 and the
    /// normal image 2; yet all four count.
    #[test]
    fn groups_of_one_label_count_too() {
        let (scores, defects) = ([1.0, 2.0, 3.0, 0.0, 0.0], [true, false, true, false, false]);
        let error = auroc_error(&scores, &defects, &[7, 7, 1, 4, 5]).unwrap();
        let of_defects: f64 = 2.0 * (2.0 / 36.0) / 4.0;
        let of_normals: f64 = 3.0 / 2.0 * (1.0 / 9.0 + 2.0 / 36.0) / 9.0;
        let of_both: f64 = 2.0 * 4.0 / 3.0 * (1.0 / 18.0) / 6.0;
        let expected = (of_defects + of_normals + of_both).sqrt();
        assert!((error - expected).abs() < 1e-12, "{error}, expected {expected}");
    }

    /// By hand: defects score 2 and 1, normal images 1 and 0. Placements are 1 and 3/4 for either label, the area is 7/8;
    /// each deviates by 1/8, so that each label's variance is 1/64.
    #[test]
    fn a_tie_counts_half() {
        let error = auroc_error(&[2.0, 1.0, 1.0, 0.0], &[true, true, false, false], &[0, 1, 2, 3]).unwrap();
        assert!((error - (2.0_f64 / 64.0).sqrt()).abs() < 1e-12, "{error}");
    }
}
