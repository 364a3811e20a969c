//! Pictures that are there twice: files of equal bytes, and pictures that are nearly equal.
//!
//! Nearly equal are two pictures of one label whose hashes differ in at most [`HASH_BITS`](super::sketch::HASH_BITS) of 256 bits and whose grey
//! pictures of 32 x 32 pixels correlate at [`ALIKE`] or more: the same photograph saved again, scaled, brightened. A
//! picture that was cropped, shifted by much, turned or drawn upon is not found. Nearly equal pictures of different
//! labels are left alone: a defect may be all that tells them apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::{
    close::{self, Hash},
    sketch::{ALIKE, Likeness, Pixels, words},
};
use crate::data::{
    Dataset,
    content::{Content, Digest},
    files::Files,
    imbalance::Pool,
};

/// Pairs of positions in one data set.
pub struct Twins {
    /// Files of equal bytes, each with the first that has them.
    pub equal: Vec<(usize, usize)>,
    /// Pictures that are nearly equal.
    pub near: Vec<(usize, usize)>,
}

impl Twins {
    /// Those among files that were examined.
    pub fn among(files: &Files) -> Self {
        let mut first: HashMap<Digest, usize> = HashMap::new();
        let mut equal = Vec::new();
        for (index, digest) in digests(files) {
            match first.get(&digest) {
                Some(&known) => equal.push((known, index)),
                None => drop(first.insert(digest, index)),
            }
        }
        let alone: BTreeSet<usize> = first.into_values().collect();
        let near = near(files, files).into_iter().filter(|(a, b)| alone.contains(a) && alone.contains(b));
        Self { equal, near: near.collect() }
    }

    /// How many images have their like among the others.
    pub fn images(&self) -> usize {
        let pairs = self.equal.iter().chain(&self.near);
        pairs.flat_map(|&(a, b)| [a, b]).collect::<BTreeSet<usize>>().len()
    }

    /// For each image the number of the unit that must stay on one side of a split: its group, and whatever is its
    /// like.
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

    /// # Errors
    /// If there are so few images, or groups so large, that a side of the split has too few of either label.
    pub(super) fn ensure_enough(&self, files: &Files, sides: [&[usize]; 2]) -> Result<()> {
        for (side, name) in sides.into_iter().zip(["train", "validate"]) {
            ensure!(!side.is_empty(), "{} images are too few: none is left to {name} on", files.len());
            let defects = side.iter().filter(|&&index| files.labels()[index].defect).count();
            let normals = side.len() - defects;
            ensure!(
                files.group(0).is_none() || (defects >= Pool::FEWEST_DEFECTS && normals > 0),
                "groups, and pictures that are alike, are kept whole, and so {defects} defects and {normals} normal images are left to {name} on: \
                 give smaller groups, more of them, or a split of your own"
            );
        }
        Ok(())
    }
}

/// The one that stands for the unit of `index`.
fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

/// Positions whose bytes are known, with their digests.
pub(super) fn digests(files: &Files) -> impl Iterator<Item = (usize, Digest)> {
    let all: Vec<usize> = (0..files.len()).collect();
    files.look(&all).into_iter().enumerate().filter_map(|(index, content)| match content {
        Content::Bytes(digest) => Some((index, digest)),
        _ => None,
    })
}

/// Pairs of a picture of `first` and one of `second` that are nearly equal and of one label; of one data set with
/// itself each pair once, and no picture with itself.
pub fn near(first: &Files, second: &Files) -> Vec<(usize, usize)> {
    let itself = std::ptr::eq(first, second);
    let (places, hashes) = known_hashes(first);
    let (others, other_hashes) = if itself { (places.clone(), hashes.clone()) } else { known_hashes(second) };
    let pairs = close::pairs(&hashes, &other_hashes, itself).into_iter();
    let pairs = pairs.map(|(one, other)| (places[one], others[other]));
    let of_one_label =
        |(one, other): &(usize, usize)| first.labels()[*one].defect == second.labels()[*other].defect;
    confirm(first, second, &pairs.filter(of_one_label).collect::<Vec<_>>())
}

/// Positions and hashes of the pictures that are known, but for those of one colour, which are all alike.
fn known_hashes(files: &Files) -> (Vec<usize>, Vec<Hash>) {
    let of = |index| {
        let sketch = files.sketch(index).filter(|sketch| sketch.pixels != Pixels::Constant)?;
        Some((index, words(&sketch.hash)))
    };
    (0..files.len()).filter_map(of).unzip()
}

/// Those of `pairs` whose small grey pictures are alike. What can no longer be opened is like nothing.
fn confirm(first: &Files, second: &Files, pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let likenesses = |files: &Files, wanted: BTreeSet<usize>| -> HashMap<usize, Likeness> {
        let of = |index| Some((index, Likeness::of(&files.open(index).ok()?)));
        wanted.into_par_iter().filter_map(of).collect()
    };
    let a = likenesses(first, pairs.iter().map(|pair| pair.0).collect());
    let b = likenesses(second, pairs.iter().map(|pair| pair.1).collect());
    let alike = |(one, other): &&(usize, usize)| match (a.get(one), b.get(other)) {
        (Some(one), Some(other)) => one.correlation(other) >= ALIKE,
        _ => false,
    };
    pairs.par_iter().filter(alike).copied().collect()
}
