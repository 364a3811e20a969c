//! Which images are used: a stratified part of a split, and the validation images at every share.

use anyhow::Result;

use crate::{
    data::{Dataset, Labels, Share, Subset, imbalance::Pool, stratify},
    seed::Seed,
};

/// Root of the streams that choose subsets: the same images for every cell, whatever its seed. The paper's authors
/// fix their subsets too. The number is ours.
const SUBSET_SEED: u64 = 0;

/// Shares of defects at which every model is scored: all validation images, then the paper's five.
const SHARES: [Share; 6] =
    [Share::NATURAL, Share::STUDY[0], Share::STUDY[1], Share::STUDY[2], Share::STUDY[3], Share::STUDY[4]];

/// The validation subsets of every share that has enough defects.
pub struct ValidationSubsets {
    pub subsets: Vec<(Share, Subset)>,
    /// Reasons why the other shares are missing.
    pub missing: Vec<String>,
}

impl ValidationSubsets {
    /// Cuts nested subsets of `labels`, the same for all models: all normal images with fewer defects or, if there are
    /// too few defects for a share, all defects with fewer normal images.
    ///
    /// # Errors
    /// If not even all images together can be scored: too few defects, or no normal image.
    pub fn new(labels: &[Labels]) -> Result<Self> {
        let pool = Pool::new(labels, &subset_seed("views"));
        let (mut subsets, mut missing) = (Vec::new(), Vec::new());
        for share in SHARES {
            match pool.subset(share) {
                Ok(subset) => subsets.push((share, subset)),
                Err(error) if share == Share::NATURAL => return Err(error.context("validation images")),
                Err(error) => missing.push(format!("no scores at validation share {share}: {error:#}")),
            }
        }
        Ok(Self { subsets, missing })
    }
}

/// Returns the used `part` of a split, stratified.
pub(super) fn sample(labels: &[Labels], part: (usize, usize), split: &str) -> Vec<usize> {
    stratify::split_by_fraction(labels, part, &subset_seed("sample").child(split)).0
}

/// Returns the stream that chooses subsets of one kind.
pub(super) fn subset_seed(name: &str) -> Seed {
    Seed::root(SUBSET_SEED).child("subsets").child(name)
}

pub(super) fn labels_of(dataset: &dyn Dataset, indices: &[usize]) -> Vec<Labels> {
    indices.iter().map(|&index| dataset.labels()[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClassSet;

    fn labels(normals: usize, defects: usize) -> Vec<Labels> {
        let label = |defect| Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
        [vec![label(false); normals], vec![label(true); defects]].concat()
    }

    /// By hand: beside 100 normal images, 1 % are 1 defect, too few; 2 % are 2, 5 % are 5, 15 % are 17; at 45 %, 20
    /// defects go with 24 normal images.
    #[test]
    fn validation_is_cut_for_every_share_that_has_enough_defects() {
        let labels = labels(100, 20);
        let found = ValidationSubsets::new(&labels).unwrap();
        let told: Vec<_> = found
            .subsets
            .iter()
            .map(|(share, subset)| (share.to_string(), subset.normals, subset.defects))
            .collect();
        let expected =
            [("natural", 100, 20), ("2%", 100, 2), ("5%", 100, 5), ("15%", 100, 17), ("45%", 24, 20)];
        assert_eq!(told, expected.map(|(share, normals, defects)| (share.to_owned(), normals, defects)));
        assert_eq!(found.missing.len(), 1);
        assert!(found.missing[0].starts_with("no scores at validation share 1%: "), "{:?}", found.missing);
        assert_eq!(found.subsets[0].1.indices, (0..120).collect::<Vec<_>>());
        let again = ValidationSubsets::new(&labels).unwrap();
        assert!(found.subsets.iter().zip(&again.subsets).all(|(a, b)| a.1.indices == b.1.indices));
        for pair in found.subsets[1..4].windows(2) {
            assert!(pair[0].1.indices.iter().all(|index| pair[1].1.indices.contains(index)), "nested");
        }
        let error = format!("{:#}", ValidationSubsets::new(&self::labels(30, 1)).map(drop).unwrap_err());
        assert!(error.starts_with("validation images: "), "{error}");
    }

    /// Each choice has a stream of its own, which no cell's seed changes: records of different runs have equal images.
    #[test]
    fn choices_have_streams_of_their_own() {
        let labels = labels(60, 30);
        let own = |name: &str| Seed::root(0).child("subsets").child(name);
        let cut = |seed: &Seed| Pool::new(&labels, seed).subset(Share::percent(5)).unwrap().indices;
        let found = ValidationSubsets::new(&labels).unwrap();
        let five = Share::percent(5);
        let (_, of_five) = found.subsets.iter().find(|(share, _)| *share == five).unwrap();
        assert_eq!(of_five.indices, cut(&own("views")));
        assert_ne!(of_five.indices, cut(&own("train")));
        let of_third =
            |name: &str| stratify::split_by_fraction(&labels, (1, 3), &own(name).child("validation")).0;
        assert_eq!(sample(&labels, (1, 3), "validation"), of_third("sample"));
        assert_ne!(of_third("sample"), of_third("train"));
        let mut order: Vec<usize> = (60..90).collect();
        own("label budgets").index(2).stream().shuffle(&mut order);
        let defects: Vec<bool> = labels.iter().map(|labels| labels.defect).collect();
        assert_eq!(crate::experiment::budgets::draw(&defects, 2)[0], order);
    }

    /// A part of each split is drawn on its own.
    #[test]
    fn a_sample_is_a_part_of_each_kind() {
        let labels = labels(60, 30);
        let [train, validation] = ["train", "validation"].map(|split| sample(&labels, (1, 3), split));
        for sample in [&train, &validation] {
            let defects = sample.iter().filter(|&&index| labels[index].defect).count();
            assert_eq!((sample.len(), defects, sample.is_sorted()), (30, 10, true));
        }
        assert_ne!(train, validation);
        assert_eq!(sample(&labels, (1, 1), "train"), (0..90).collect::<Vec<_>>());
    }
}
