//! Duplicates: files of equal bytes, and pictures that are nearly equal.
//!
//! Two pictures of the same label are nearly equal if their hashes differ in at most
//! [`MAX_HASH_DISTANCE`](super::sketch::MAX_HASH_DISTANCE) of 256 bits and their grey pictures of 32 x 32 pixels
//! correlate at [`MIN_CORRELATION`] or more: the same photograph saved again, scaled or brightened. Cropped, strongly
//! shifted, rotated or retouched pictures are not found. Nearly equal pictures with different labels are not reported,
//! since a defect may be the only difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::{
    close::{self, Hash},
    sketch::{Likeness, MIN_CORRELATION, Pixels, words},
};
use crate::{
    data::{
        Dataset,
        content::{Content, Digest},
        files::Files,
        imbalance::Pool,
    },
    named::counted,
};

/// Pairs of duplicates in one data set, by positions.
pub struct Twins {
    /// Files of equal bytes, each paired with the first one.
    pub equal: Vec<(usize, usize)>,
    /// Pairs of nearly equal pictures.
    pub near: Vec<(usize, usize)>,
}

impl Twins {
    /// Finds duplicates among the examined files.
    pub fn find(files: &Files) -> Self {
        let mut first: HashMap<Digest, usize> = HashMap::new();
        let mut equal = Vec::new();
        for (index, digest) in digests(files) {
            match first.get(&digest) {
                Some(&known) => equal.push((known, index)),
                None => drop(first.insert(digest, index)),
            }
        }
        let alone: BTreeSet<usize> = first.into_values().collect();
        let near =
            near_pairs(files, files).into_iter().filter(|(a, b)| alone.contains(a) && alone.contains(b));
        Self { equal, near: near.collect() }
    }

    /// Returns the number of images that have a duplicate.
    pub fn images(&self) -> usize {
        let pairs = self.equal.iter().chain(&self.near);
        pairs.flat_map(|&(a, b)| [a, b]).collect::<BTreeSet<usize>>().len()
    }

    /// Returns for each image the index of the unit that must stay on one side of a split: its group, together with
    /// all duplicates.
    pub fn units(&self, files: &Files) -> Vec<u32> {
        let mut parent: Vec<usize> = (0..files.len()).collect();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let mut pairs: Vec<(usize, usize)> = self.equal.iter().chain(&self.near).copied().collect();
        for index in 0..files.len() {
            if let Some(group) = files.group(index) {
                pairs.push((*groups.entry(group).or_insert(index), index));
            }
        }
        for (a, b) in pairs {
            let (a, b) = (root(&mut parent, a), root(&mut parent, b));
            parent[a.max(b)] = a.min(b);
        }
        (0..files.len()).map(|index| root(&mut parent, index) as u32).collect()
    }

    /// Checks the sides of a split.
    ///
    /// # Errors
    /// If one side has no images or, where images have groups, too few defects or no normal image.
    pub(super) fn ensure_enough(&self, files: &Files, sides: [&[usize]; 2]) -> Result<()> {
        for (side, name) in sides.into_iter().zip(["train", "validate"]) {
            ensure!(!side.is_empty(), "{} images are too few: no image is left to {name} on", files.len());
            let defects = side.iter().filter(|&&index| files.labels()[index].defect).count();
            let normals = side.len() - defects;
            ensure!(
                files.group(0).is_none() || (defects >= Pool::FEWEST_DEFECTS && normals > 0),
                "groups and images that are alike are kept whole, which leaves {} and {} to {name} on: give smaller \
                 groups, more of them, or a split of your own",
                counted(defects, "defect", "defects"),
                counted(normals, "normal image", "normal images")
            );
        }
        Ok(())
    }
}

/// Representative of the unit of `index` (union-find).
fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

/// Positions and digests of the files whose bytes are known.
pub(super) fn digests(files: &Files) -> impl Iterator<Item = (usize, Digest)> {
    let all: Vec<usize> = (0..files.len()).collect();
    files.contents(&all).into_iter().enumerate().filter_map(|(index, content)| match content {
        Content::Bytes(digest) => Some((index, digest)),
        _ => None,
    })
}

/// Returns pairs of a picture in `first` and one in `second` that are nearly equal and have the same label. If both
/// are the same data set, each pair is returned once, and no picture is paired with itself.
pub fn near_pairs(first: &Files, second: &Files) -> Vec<(usize, usize)> {
    let itself = std::ptr::eq(first, second);
    let (places, hashes) = known_hashes(first);
    let (others, other_hashes) = if itself { (places.clone(), hashes.clone()) } else { known_hashes(second) };
    let pairs = close::pairs(&hashes, &other_hashes, itself).into_iter();
    let pairs = pairs.map(|(one, other)| (places[one], others[other]));
    let of_one_label =
        |(one, other): &(usize, usize)| first.labels()[*one].defect == second.labels()[*other].defect;
    confirm(first, second, &pairs.filter(of_one_label).collect::<Vec<_>>())
}

/// Positions and hashes of the known pictures, except those of a single colour, whose hashes are all alike.
fn known_hashes(files: &Files) -> (Vec<usize>, Vec<Hash>) {
    let of = |index| {
        let sketch = files.sketch(index).filter(|sketch| sketch.pixels != Pixels::Constant)?;
        Some((index, words(&sketch.hash)))
    };
    (0..files.len()).filter_map(of).unzip()
}

/// The `pairs` whose small grey pictures correlate at [`MIN_CORRELATION`] or more. Pictures that can no longer be
/// opened match nothing.
fn confirm(first: &Files, second: &Files, pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let likenesses = |files: &Files, wanted: BTreeSet<usize>| -> HashMap<usize, Likeness> {
        let of = |index| Some((index, Likeness::of(&files.open(index).ok()?)));
        wanted.into_par_iter().filter_map(of).collect()
    };
    let a = likenesses(first, pairs.iter().map(|pair| pair.0).collect());
    let b = likenesses(second, pairs.iter().map(|pair| pair.1).collect());
    let alike = |(one, other): &&(usize, usize)| match (a.get(one), b.get(other)) {
        (Some(one), Some(other)) => one.correlation(other) >= MIN_CORRELATION,
        _ => false,
    };
    pairs.par_iter().filter(alike).copied().collect()
}
