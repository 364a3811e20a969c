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
