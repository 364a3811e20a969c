//! Which images are used: the part of a split that is used at all, and the validation images at every share.

use anyhow::Result;

use crate::{
    data::{Dataset, Labels, Share, Subset, imbalance::Pool, stratify},
    seed::Seed,
};

/// Root of the streams that choose subsets: the same images for every cell, whatever its seed, as the
/// paper's authors fix theirs. The number is ours.
const SUBSET_SEED: u64 = 0;

/// Shares of defects at which every model is scored: all validation images, then the paper's five.
const SHARES: [Share; 6] =
    [Share::NATURAL, Share::STUDY[0], Share::STUDY[1], Share::STUDY[2], Share::STUDY[3], Share::STUDY[4]];

/// The validation images at every share that there are defects enough for.
pub struct ValidationSubsets {
    pub subsets: Vec<(Share, Subset)>,
    /// Why other shares are missing.
    pub missing: Vec<String>,
}

impl ValidationSubsets {
    /// Nested subsets of `labels`: normal images stay, defects are thinned out, the same for all models.
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

/// The `part` of a split that is used at all, stratified.
pub(super) fn sample(labels: &[Labels], part: (usize, usize), split: &str) -> Vec<usize> {
    stratify::cut(labels, part, &subset_seed("sample").child(split)).0
}

/// The stream that chooses subsets of one kind.
pub(super) fn subset_seed(name: &str) -> Seed {
    Seed::root(SUBSET_SEED).child("subsets").child(name)
}

pub(super) fn labels_of(dataset: &dyn Dataset, indices: &[usize]) -> Vec<Labels> {
    indices.iter().map(|&index| dataset.labels()[index]).collect()
}
