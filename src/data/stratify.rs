//! Seeded orders in which every prefix is a proportional sample of the strata, and splits based on them.
//!
//! Item j of a stratum with m items gets the place (j + u) / m, and all strata are merged in order of place. Every
//! prefix up to place q then has q m items of every stratum, rounded up or down. The offsets u of the strata follow the
//! golden-ratio sequence (Weyl's low-discrepancy sequence), ordered by size of stratum, so that the many strata with a
//! single image are neither all early nor all late: a common random offset, or the centre 1/2, would exclude every
//! rare class combination from all small subsets.

use std::collections::{BTreeMap, BTreeSet};

use crate::{data::Labels, seed::Seed};

/// Returns `members` (positions in `labels`) in a seeded order in which every prefix has the strata in proportion, to
/// within about one image per stratum.
pub fn order(labels: &[Labels], members: &[usize], seed: &Seed) -> Vec<usize> {
    let mut shuffled = members.to_vec();
    seed.child("order within strata").stream().shuffle(&mut shuffled);
    // The sort is stable, so each stratum keeps its shuffled order.
    shuffled.sort_by_key(|&index| labels[index].stratum);

    let mut strata: Vec<&[usize]> =
        shuffled.chunk_by(|&a, &b| labels[a].stratum == labels[b].stratum).collect();
    strata.sort_by_key(|stratum| stratum.len());

    let start = seed.child("offset of strata").stream().unit();
    let mut placed = Vec::with_capacity(shuffled.len());
    for (rank, stratum) in strata.into_iter().enumerate() {
        let offset = (start + rank as f64 * GOLDEN_RATIO).fract();
        let size = stratum.len() as f64;
        placed
            .extend(stratum.iter().enumerate().map(|(j, &index)| ((j as f64 + offset) / size, rank, index)));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    placed.into_iter().map(|(_, _, index)| index).collect()
}

/// Returns the fixed split for sources without a split: three quarters of the normal images and of the defects
/// (rounded down) for training, the rest for validation, both stratified and in the order of `labels`.
///
/// It does not depend on the seed of an experiment: all runs are validated on the same images.
pub fn train_and_validation(labels: &[Labels]) -> (Vec<usize>, Vec<usize>) {
    split_by_fraction(labels, (3, 4), &Seed::root(SPLIT_SEED).child("train and validation"))
}

/// Cuts all images into two stratified parts, each in the order of `labels`. The first gets numerator/denominator of
/// the normal images and of the defects (both rounded down), the second gets the rest.
pub fn split_by_fraction(
    labels: &[Labels],
    (numerator, denominator): (usize, usize),
    seed: &Seed,
) -> (Vec<usize>, Vec<usize>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (defect, name) in [(false, "normal"), (true, "defect")] {
        let ordered = order(labels, &positions(labels, defect), &seed.child(name));
        let (head, tail) = ordered.split_at(ordered.len() * numerator / denominator);
        first.extend_from_slice(head);
        second.extend_from_slice(tail);
    }
    first.sort_unstable();
    second.sort_unstable();
    (first, second)
}

/// Limitation of results on [`train_and_validation_of_units`] if groups are known.
pub const GROUPED_LIMIT: &str =
    "split at random into training and validation images (about 3 to 1, fixed), each group whole on one side";

/// Limitation of results on [`train_and_validation`].
pub const SPLIT_LIMIT: &str = "split at random into training and validation images (3 to 1, fixed): \
                               images of one object or video may be on both sides";

/// Sets each stratum to the rank of its name among the distinct names, in byte order; returns the distinct names.
///
/// # Panics
/// If the number of names differs from the number of labels.
pub fn number_strata(labels: &mut [Labels], names: &[String]) -> Vec<String> {
    assert_eq!(labels.len(), names.len(), "one stratum for every image");
    let (numbers, distinct) = numbered(names);
    labels.iter_mut().zip(numbers).for_each(|(label, number)| label.stratum = number);
    distinct
}

/// Returns the rank of each name among the distinct names, in byte order, and the distinct names.
pub fn numbered(names: &[String]) -> (Vec<u32>, Vec<String>) {
    let distinct: BTreeSet<&String> = names.iter().collect();
    let rank: BTreeMap<&String, u32> = distinct.iter().copied().zip(0..).collect();
    (names.iter().map(|name| rank[name]).collect(), distinct.into_iter().cloned().collect())
}

/// Returns the fixed split if images with equal `units` must stay on one side. Validation gets a quarter, as nearly
/// as the units allow, of the normal images, of the defects and of each stratum.
///
/// Units are dealt to four folds, the largest first, each to the fold that makes the folds most even, like
/// scikit-learn's `StratifiedGroupKFold`; one fold is for validation. If every unit is a single image, the split is
/// that of [`train_and_validation`].
pub fn train_and_validation_of_units(labels: &[Labels], units: &[u32]) -> (Vec<usize>, Vec<usize>) {
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (image, &unit) in units.iter().enumerate() {
        members.entry(unit).or_default().push(image);
    }
    if members.len() == labels.len() {
        return train_and_validation(labels);
    }
    // An image counts for its label and for its stratum.
    let kinds_of =
        |image: usize| [(labels[image].defect, None), (labels[image].defect, Some(labels[image].stratum))];
    let mut totals: BTreeMap<(bool, Option<u32>), f64> = BTreeMap::new();
    (0..labels.len()).flat_map(kinds_of).for_each(|kind| *totals.entry(kind).or_default() += 1.0);

    let mut units: Vec<Vec<usize>> = members.into_values().collect();
    Seed::root(SPLIT_SEED).child("train and validation").child("units").stream().shuffle(&mut units);
    units.sort_by_key(|unit| std::cmp::Reverse(unit.len()));
    let mut folds = [(); FOLDS].map(|()| (BTreeMap::<(bool, Option<u32>), f64>::new(), Vec::new()));
    for unit in units {
        // Increase of the sum of squared fractions of each kind when the unit is added; the sum is minimal if folds
        // are even.
        let cost = |(held, images): &(BTreeMap<_, f64>, Vec<usize>)| {
            let added = unit.iter().flat_map(|&image| kinds_of(image));
            let cost: f64 = added.map(|kind| held.get(&kind).unwrap_or(&0.0) / totals[&kind].powi(2)).sum();
            (cost, images.len())
        };
        let costs = folds.each_ref().map(cost);
        let best =
            (0..FOLDS).min_by(|&a, &b| costs[a].0.total_cmp(&costs[b].0).then(costs[a].1.cmp(&costs[b].1)));
        let (held, images) = &mut folds[best.unwrap_or(0)];
        unit.iter().flat_map(|&image| kinds_of(image)).for_each(|kind| *held.entry(kind).or_default() += 1.0);
        images.extend(unit);
    }
    let [(_, mut validation), rest @ ..] = folds;
    let mut train: Vec<usize> = rest.into_iter().flat_map(|(_, images)| images).collect();
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

/// Returns the positions of all defects, or of all normal images, ascending.
pub fn positions(labels: &[Labels], defect: bool) -> Vec<usize> {
    (0..labels.len()).filter(|&index| labels[index].defect == defect).collect()
}

/// Number of folds in a split by units, one of which is for validation: 3 to 1.
const FOLDS: usize = 4;

/// Root seed of the fixed split.
const SPLIT_SEED: u64 = 0;

/// Fractional part of the golden ratio, (sqrt 5 - 1) / 2.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::data::ClassSet;

    fn labels_of(strata: &[(u32, usize)]) -> Vec<Labels> {
        strata
            .iter()
            .flat_map(|&(stratum, size)| {
                (0..size).map(move |_| Labels { defect: true, classes: ClassSet::EMPTY, stratum })
            })
            .collect()
    }

    #[test]
    fn every_prefix_is_proportional() {
        // One large stratum, two medium ones, and 200 of a single image: the shape of Sewer-ML's class combinations.
        let mut sizes = vec![(0, 600), (1, 150), (2, 50)];
        sizes.extend((3..203).map(|stratum| (stratum, 1)));
        let labels = labels_of(&sizes);
        let members: Vec<usize> = (0..labels.len()).collect();
        for seed in 0..20 {
            let ordered = order(&labels, &members, &Seed::root(seed));
            let mut counts: HashMap<u32, usize> = HashMap::new();
            let mut singles = 0;
            for (taken, &index) in ordered.iter().enumerate() {
                let stratum = labels[index].stratum;
                *counts.entry(stratum).or_default() += 1;
                singles += usize::from(stratum >= 3);
                let fraction = (taken + 1) as f64 / ordered.len() as f64;
                for &(stratum, size) in &sizes[..3] {
                    let found = counts.get(&stratum).copied().unwrap_or(0) as f64;
                    assert!((found - fraction * size as f64).abs() < 4.0, "stratum {stratum} at {taken}");
                }
                assert!((singles as f64 - fraction * 200.0).abs() < 4.0, "{singles} singles at {taken}");
            }
        }
    }

    #[test]
    fn an_order_is_a_permutation_fixed_by_its_seed() {
        let labels = labels_of(&[(5, 10), (9, 3), (1, 30)]);
        let members: Vec<usize> = (0..labels.len()).step_by(2).collect();
        let ordered = order(&labels, &members, &Seed::root(1));
        assert_eq!(ordered, order(&labels, &members, &Seed::root(1)));
        assert_ne!(ordered, order(&labels, &members, &Seed::root(2)));
        let mut sorted = ordered;
        sorted.sort_unstable();
        assert_eq!(sorted, members);
    }

    #[test]
    fn units_stay_whole_and_sides_stay_fair() {
        // 40 pipes of 5 to 14 frames; every third pipe has defects, in two of three frames.
        let (mut labels, mut units) = (Vec::new(), Vec::new());
        for pipe in 0..40_u32 {
            for frame in 0..5 + pipe % 10 {
                let defect = pipe % 3 == 0 && frame % 3 != 0;
                labels.push(Labels {
                    defect,
                    classes: ClassSet::EMPTY,
                    stratum: u32::from(defect) * (1 + pipe % 2),
                });
                units.push(pipe);
            }
        }
        let (train, validation) = train_and_validation_of_units(&labels, &units);
        let side = |part: &[usize]| part.iter().map(|&image| units[image]).collect::<BTreeSet<u32>>();
        assert!(side(&train).is_disjoint(&side(&validation)));
        assert_eq!(train.len() + validation.len(), labels.len());
        for stratum in 0..3 {
            let count = |part: &[usize]| {
                part.iter().filter(|&&image| labels[image].stratum == stratum).count() as f64
            };
            let part = count(&validation) / (count(&validation) + count(&train));
            assert!((part - 0.25).abs() < 0.08, "stratum {stratum}: {part}");
        }
        let singles: Vec<u32> = (0..labels.len() as u32).rev().collect();
        assert_eq!(train_and_validation_of_units(&labels, &singles), train_and_validation(&labels));
    }

    #[test]
    fn the_split_is_disjoint_complete_and_stratified() {
        let mut labels = labels_of(&[(0, 40), (1, 8)]);
        labels.extend(labels_of(&[(2, 100)]).into_iter().map(|label| Labels { defect: false, ..label }));
        let (train, validation) = train_and_validation(&labels);
        let count = |part: &[usize], stratum| part.iter().filter(|&&i| labels[i].stratum == stratum).count();
        assert_eq!([0, 1, 2].map(|s| count(&train, s)), [30, 6, 75]);
        assert_eq!([0, 1, 2].map(|s| count(&validation, s)), [10, 2, 25]);
        let mut all: Vec<usize> = train.iter().chain(&validation).copied().collect();
        assert!(train.is_sorted() && validation.is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
    }

    /// Nine normal images and seven defects, in some strata.
    fn sixteen() -> Vec<Labels> {
        let strata = [0, 0, 0, 0, 0, 0, 5, 5, 5, 1, 2, 1, 1, 2, 1, 7];
        let label = |(index, stratum)| Labels { defect: index >= 9, classes: ClassSet::EMPTY, stratum };
        (0..16).zip(strata).map(label).collect()
    }

    /// Computed in Python from the definitions, with `blake3` and ChaCha8 written out: a change here changes every
    /// random split.
    #[test]
    fn splits_are_pinned() {
        let labels = sixteen();
        assert_eq!(positions(&labels, true), [9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(positions(&labels, false), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let validation = vec![1, 4, 8, 12, 14];
        let train = (0..16).filter(|index| !validation.contains(index)).collect();
        assert_eq!(train_and_validation(&labels), (train, validation));
        let rest = vec![0, 1, 8, 9, 11, 15];
        let two_thirds = (0..16).filter(|index| !rest.contains(index)).collect();
        assert_eq!(split_by_fraction(&labels, (2, 3), &Seed::root(4)), (two_thirds, rest));
        let units = [0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 7, 8];
        let validation = vec![5, 8, 9, 10, 11];
        let train = (0..16).filter(|index| !validation.contains(index)).collect();
        assert_eq!(train_and_validation_of_units(&labels, &units), (train, validation));

        // Units of two neighbouring images, for which another order of dealing gives another split.
        let label = |index: u32| Labels {
            defect: index.is_multiple_of(3),
            classes: ClassSet::EMPTY,
            stratum: index % 5,
        };
        let labels: Vec<Labels> = (0..36).map(label).collect();
        let units: Vec<u32> = (0..36).map(|index| index / 2).collect();
        let (train, validation) = train_and_validation_of_units(&labels, &units);
        assert_eq!((train.len(), validation), (26, vec![6, 7, 8, 9, 10, 11, 14, 15, 32, 33]));
    }

    #[test]
    fn strata_are_numbered_by_their_names() {
        let names = ["b", "a", "b", "", "c", "a"].map(str::to_owned);
        let mut labels = vec![Labels { defect: true, classes: ClassSet::EMPTY, stratum: 9 }; 6];
        let distinct = number_strata(&mut labels, &names);
        assert_eq!(distinct, ["", "a", "b", "c"]);
        assert_eq!(labels.iter().map(|label| label.stratum).collect::<Vec<_>>(), [2, 1, 2, 0, 3, 1]);
        assert_eq!(numbered(&names), (vec![2, 1, 2, 0, 3, 1], distinct));
    }
}
