//! Splits of images into folds for cross-validation.

use std::collections::{BTreeMap, BTreeSet};

use crate::seed::Seed;

/// Assigns a fold, 0..`count`, to each image; both labels are spread evenly, and images of one group stay together.
pub fn deal(defects: &[bool], groups: Option<&[u32]>, count: usize, seed: &Seed) -> Vec<usize> {
    let unit = |image: usize| groups.map_or(image as u32, |groups| groups[image]);
    let mut order: Vec<u32> = (0..defects.len()).map(unit).collect::<BTreeSet<u32>>().into_iter().collect();
    seed.stream().shuffle(&mut order);
    let with_defect: BTreeSet<u32> = (0..defects.len()).filter(|&image| defects[image]).map(unit).collect();
    order.sort_by_key(|unit| with_defect.contains(unit));
    let fold: BTreeMap<u32, usize> =
        order.into_iter().enumerate().map(|(place, unit)| (unit, place % count)).collect();
    (0..defects.len()).map(|image| fold[&unit(image)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_even_in_both_labels_and_groups_stay_whole() {
        let defects: Vec<bool> = (0..103).map(|image| image % 7 == 0).collect();
        let seed = Seed::root(0).child("folds");
        let folds = deal(&defects, None, 5, &seed);
        for wanted in [true, false] {
            let count = |fold: usize| (0..103).filter(|&i| folds[i] == fold && defects[i] == wanted).count();
            let counts: Vec<usize> = (0..5).map(count).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{wanted}: {counts:?}");
        }
        assert_eq!(folds, deal(&defects, None, 5, &seed), "always alike");
        let groups: Vec<u32> = (0..103).map(|image| image / 3).collect();
        let folds = deal(&defects, Some(&groups), 5, &seed);
        assert!((1..103).all(|image| groups[image] != groups[image - 1] || folds[image] == folds[image - 1]));
    }
}
