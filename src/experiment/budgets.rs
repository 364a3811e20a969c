//! Label budgets: scores of the converged probe and of neighbours' votes on the same frozen features, with only k
//! labelled defects and normal images in proportion.
//!
//! A draw is a random order of the training images, the same for every cell that trains on them; the budgets of one
//! draw are nested. Pretraining has used all images, because it needs no labels. Supervised training has used all
//! labels: its curve measures its features, not training on so few labels.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::subsets::subset_seed;
use crate::{
    evaluate::{
        detection::{auroc, average_precision},
        features::Features,
        neighbours,
        probe::{Options, Probe},
    },
    results::record::Budget,
};

/// Numbers of labelled defects; only those below the number in the training set are used. Ours.
const DEFECTS: [usize; 9] = [2, 5, 10, 20, 50, 100, 200, 500, 1_000];
/// Number of draws; each budget is taken from each of them. Ours.
pub const DRAWS: usize = 5;

/// Scores every budget. `labels` are those of the rows of `train`, `truth` those of `validation`.
///
/// # Errors
/// If scores cannot be ranked.
pub fn score(
    train: &Features,
    labels: &[bool],
    validation: &Tensor,
    truth: &[bool],
    options: Options,
) -> Result<Vec<Budget>> {
    let draws: Vec<[Vec<usize>; 2]> = (0..DRAWS).map(|number| draw(labels, number)).collect();
    let [defects, normals] = &draws[0];
    let validated = validation.flatten_all()?.to_vec1::<f32>()?;
    let mut budgets = Vec::new();
    for count in DEFECTS.into_iter().filter(|&count| count < defects.len()) {
        let others = proportional_normals(count, defects.len(), normals.len());
        let mut budget = Budget { defects: count, normals: others, ..Budget::default() };
        for [defects, normals] in &draws {
            let rows = [&defects[..count], &normals[..others]].concat();
            let known: Vec<bool> = rows.iter().map(|&row| labels[row]).collect();
            let values = picked(train, &rows);
            let shape = (rows.len(), train.width);
            let few = Tensor::from_slice(&values, shape, &Device::Cpu)?;
            let logits = Probe::fit(&few, &known, options)?.logits(validation)?;
            budget.auroc.push(auroc(&logits, truth)?);
            budget.average_precision.push(average_precision(&logits, truth)?);
            let votes = neighbours::votes(&values, &known, &validated, train.width)?;
            budget.neighbours_auroc.push(auroc(&votes, truth)?);
        }
        budgets.push(budget);
    }
    Ok(budgets)
}

/// Returns a seeded order of the images with a defect and of those without; budgets take the first of each.
pub(super) fn draw(labels: &[bool], number: usize) -> [Vec<usize>; 2] {
    let mut stream = subset_seed("label budgets").index(number).stream();
    [true, false].map(|wanted| {
        let mut order: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == wanted).collect();
        stream.shuffle(&mut order);
        order
    })
}

/// Returns how many normal images accompany `count` labelled defects, in the proportion of `normals` to `defects`,
/// rounded up; at least two, if there are two.
pub(super) fn proportional_normals(count: usize, defects: usize, normals: usize) -> usize {
    (count * normals).div_ceil(defects).clamp(2.min(normals), normals)
}

/// Returns the given rows of features, row-major.
fn picked(features: &Features, rows: &[usize]) -> Vec<f32> {
    let width = features.width;
    rows.iter().flat_map(|row| features.rows[row * width..(row + 1) * width].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::probe::Weighting, seed::Seed};

    /// Rows of four features, of which the first separates defects.
    fn drawn(count: usize, seed: u64) -> (Features, Vec<bool>) {
        let mut stream = Seed::root(seed).stream();
        let labels: Vec<bool> = (0..count).map(|row| row % 5 == 0).collect();
        let rows = labels.iter().flat_map(|defect| {
            let first = stream.normal() + if *defect { 2.0 } else { 0.0 };
            let others: Vec<f64> = (0..3).map(|_| stream.normal()).collect();
            std::iter::once(first).chain(others).map(|value| value as f32).collect::<Vec<_>>()
        });
        let features =
            Features { rows: rows.collect(), width: 4, indices: (0..count).collect(), skipped: Vec::new() };
        (features, labels)
    }

    #[test]
    fn normal_images_stand_beside_labelled_defects_in_proportion() {
        // 5 of 7 defects, with 10 normal images: 50 / 7 is 7.1, rounded up.
        assert_eq!(
            [proportional_normals(5, 7, 10), proportional_normals(7, 7, 10), proportional_normals(2, 8, 12)],
            [8, 10, 3]
        );
        // At least two, if there are two.
        assert_eq!([proportional_normals(1, 10, 4), proportional_normals(1, 10, 1)], [2, 1]);
    }

    #[test]
    fn budgets_are_nested_draws_of_each_kind() {
        assert_eq!((DEFECTS, DRAWS), ([2, 5, 10, 20, 50, 100, 200, 500, 1_000], 5));
        let labels: Vec<bool> = (0..40).map(|row| row % 4 == 1).collect();
        let [first, second] = [0, 1].map(|number| draw(&labels, number));
        for [defects, normals] in [&first, &second] {
            assert_eq!((defects.len(), normals.len()), (10, 30));
            assert!(defects.iter().all(|&row| labels[row]) && normals.iter().all(|&row| !labels[row]));
        }
        assert_ne!(first, second, "each draw is another order");
        // So are those of cells whose seed is beyond the draws that probes are fitted on.
        let all: std::collections::BTreeSet<[Vec<usize>; 2]> =
            (0..40).map(|number| draw(&labels, number)).collect();
        assert_eq!(all.len(), 40);
        assert_eq!(first, draw(&labels, 0));
        assert!(!first[0].is_sorted() && !first[1].is_sorted());
    }

    #[test]
    fn more_labels_give_more_and_all_give_the_probe() {
        let (train, labels) = drawn(1_000, 1);
        let (validation, truth) = drawn(1_000, 2);
        let rows = validation.tensor(&Device::Cpu).unwrap();
        let options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };
        let budgets = score(&train, &labels, &rows, &truth, options).unwrap();
        let sizes: Vec<_> = budgets.iter().map(|budget| (budget.defects, budget.normals)).collect();
        assert_eq!(sizes, [(2, 8), (5, 20), (10, 40), (20, 80), (50, 200), (100, 400)]);
        assert!(budgets.iter().all(|budget| budget.neighbours_auroc.len() == DRAWS));
        let mean = |budget: &Budget| budget.auroc.iter().sum::<f64>() / DRAWS as f64;
        assert!(mean(&budgets[0]) + 0.03 < mean(&budgets[5]), "{budgets:?}");
        let whole = Probe::fit(&train.tensor(&Device::Cpu).unwrap(), &labels, options).unwrap();
        let whole = auroc(&whole.logits(&rows).unwrap(), &truth).unwrap();
        assert!((mean(&budgets[5]) - whole).abs() < 0.01, "half of the labels: {budgets:?}, all {whole}");
        assert_eq!(budgets, score(&train, &labels, &rows, &truth, options).unwrap(), "always alike");
    }

    /// Defects lie at both ends of one direction, normal images at both ends of another: no line tells them apart, but
    /// neighbours do.
    #[test]
    fn probe_and_neighbours_are_scored_by_themselves() {
        let drawn = |seed: u64| {
            let mut stream = Seed::root(seed).stream();
            let labels: Vec<bool> = (0..400).map(|row| row % 5 == 0).collect();
            let rows = labels.iter().flat_map(|&defect| {
                let end = if stream.coin(0.5) { 1.0 } else { -1.0 };
                let [along, across] = [end + 0.1 * stream.normal(), 0.1 * stream.normal()];
                if defect { [along, across] } else { [across, along] }
            });
            let rows = rows.map(|value| value as f32).collect();
            (Features { rows, width: 2, indices: (0..400).collect(), skipped: Vec::new() }, labels)
        };
        let ((train, labels), (validation, truth)) = (drawn(3), drawn(4));
        let rows = validation.tensor(&Device::Cpu).unwrap();
        let options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };
        let budgets = score(&train, &labels, &rows, &truth, options).unwrap();
        let Budget { auroc, average_precision, neighbours_auroc, .. } = &budgets[budgets.len() - 1];
        assert!(auroc.iter().all(|&auroc| auroc < 0.75), "{auroc:?}");
        let apart = auroc.iter().zip(average_precision).map(|(auroc, precision)| (auroc - precision).abs());
        assert!(apart.into_iter().all(|apart| apart > 0.02), "{auroc:?} {average_precision:?}");
        assert!(neighbours_auroc.iter().all(|&auroc| auroc > 0.95), "{neighbours_auroc:?}");
    }

    /// Scores of the third and fifth draws, computed from their own rows by hand; each draw has others.
    #[test]
    fn each_draw_is_scored_on_its_own_rows() {
        let ((train, labels), (validation, truth)) = (drawn(150, 5), drawn(200, 6));
        let rows = validation.tensor(&Device::Cpu).unwrap();
        let options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };
        let budgets = score(&train, &labels, &rows, &truth, options).unwrap();
        let sizes: Vec<_> = budgets.iter().map(|budget| (budget.defects, budget.normals)).collect();
        assert_eq!(sizes, [(2, 8), (5, 20), (10, 40), (20, 80)]);
        let budget = &budgets[1];
        for number in [2, 4] {
            let [defects, normals] = draw(&labels, number);
            let few: Vec<usize> = defects.into_iter().take(5).chain(normals.into_iter().take(20)).collect();
            let known: Vec<bool> = few.iter().map(|row| row % 5 == 0).collect();
            let values: Vec<f32> =
                few.iter().flat_map(|row| train.rows[4 * row..4 * row + 4].to_vec()).collect();
            let fit = Probe::fit(
                &Tensor::new(&values[..], &Device::Cpu).unwrap().reshape((25, 4)).unwrap(),
                &known,
                options,
            );
            let logits = fit.unwrap().logits(&rows).unwrap();
            let votes = neighbours::votes(&values, &known, &validation.rows, 4).unwrap();
            assert_eq!(budget.auroc[number], auroc(&logits, &truth).unwrap());
            assert_eq!(budget.average_precision[number], average_precision(&logits, &truth).unwrap());
            assert_eq!(budget.neighbours_auroc[number], auroc(&votes, &truth).unwrap());
        }
        for scores in [&budget.auroc, &budget.average_precision, &budget.neighbours_auroc] {
            let different: std::collections::BTreeSet<u64> =
                scores.iter().map(|score| score.to_bits()).collect();
            assert_eq!((scores.len(), different.len()), (DRAWS, DRAWS), "{scores:?}");
        }
    }
}
