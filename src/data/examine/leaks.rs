//! Leaks of a split, which make its scores misleading: images that are on both sides, groups on both sides, and equal
//! images with both labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Source,
    twins::{digests, near_pairs},
};
use crate::{
    data::{Dataset, content::Digest, files::Files},
    named::counted,
};

/// Leaks of a source, by positions in training and validation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Maps validation images to a training image with equal bytes.
    pub equal: BTreeMap<usize, usize>,
    /// Maps other validation images to a nearly equal training image.
    pub near: BTreeMap<usize, usize>,
    /// Groups with images on both sides.
    pub groups: BTreeSet<String>,
    /// Pairs of files with equal bytes but different labels, one pair for each such image.
    pub both_labels: Vec<[String; 2]>,
    /// For equal and nearly equal images, the locations of one pair as an example.
    named: BTreeMap<&'static str, [String; 2]>,
}

impl Leaks {
    /// Finds the leaks of a source whose files were examined; empty if images are drawn.
    pub fn find(source: &Source) -> Self {
        let (Some(train), Some(validation)) = (source.train.files(), source.validation.files()) else {
            return Self::default();
        };
        let known: HashMap<Digest, usize> = digests(train).map(|(index, digest)| (digest, index)).collect();
        let equal: BTreeMap<usize, usize> =
            digests(validation).filter_map(|(index, digest)| Some((index, *known.get(&digest)?))).collect();
        let pairs = near_pairs(train, validation).into_iter().map(|(one, other)| (other, one));
        let near: BTreeMap<usize, usize> = pairs.filter(|(index, _)| !equal.contains_key(index)).collect();
        let groups = |files: &Files| -> BTreeSet<String> {
            (0..files.len()).filter_map(|index| files.group(index)).map(str::to_owned).collect()
        };
        let groups = groups(train).intersection(&groups(validation)).cloned().collect();
        let pair = |pairs: &BTreeMap<usize, usize>| {
            let (other, one) = pairs.first_key_value()?;
            Some([source.train.location(*one), source.validation.location(*other)])
        };
        let named = [("equal", pair(&equal)), ("near", pair(&near))];
        let named = named.into_iter().filter_map(|(kind, pair)| Some((kind, pair?))).collect();
        Self { equal, near, groups, both_labels: both_labels(&[train, validation]), named }
    }

    /// Whether there are no leaks.
    pub fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.near.is_empty() && self.groups.is_empty() && self.both_labels.is_empty()
    }

    /// Describes the leaks, one per line; `images` is the number of validation images.
    pub fn lines(&self, images: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let such_as = |kind: &str| {
            self.named
                .get(kind)
                .map_or_else(String::new, |[one, other]| format!(", such as {other}, which is {one}"))
        };
        if !self.equal.is_empty() {
            let count = self.equal.len();
            lines.push(format!(
                "{count} of {images} validation images {} the same bytes as a training image{}: scores on them \
                 measure memorisation",
                if count == 1 { "has" } else { "have" },
                such_as("equal")
            ));
        }
        if !self.near.is_empty() {
            let count = self.near.len();
            lines.push(format!(
                "{count} of {images} validation images {} nearly equal to a training image of the same label{}: \
                 scores on them measure memorisation",
                if count == 1 { "is" } else { "are" },
                such_as("near")
            ));
        }
        if let Some(first) = self.groups.first() {
            let groups = counted(self.groups.len(), "group has", "groups have");
            lines.push(format!(
                "{groups} images on both sides of the split, the first is {first}: scores do not show how well a \
                 model does on new groups"
            ));
        }
        if let [[one, other], ..] = &self.both_labels[..] {
            let images = counted(self.both_labels.len(), "image has", "images have");
            lines.push(format!("{images} both labels, such as {one} and {other}"));
        }
        lines
    }
}

/// Finds files with equal bytes but different labels.
fn both_labels(splits: &[&Files]) -> Vec<[String; 2]> {
    let mut first: HashMap<Digest, (bool, &Files, usize)> = HashMap::new();
    let mut found: BTreeMap<Digest, [String; 2]> = BTreeMap::new();
    for files in splits {
        for (index, digest) in digests(files) {
            let label = files.labels()[index].defect;
            let &mut (known, of, place) = first.entry(digest).or_insert((label, files, index));
            if known != label {
                found.entry(digest).or_insert_with(|| [of.location(place), files.location(index)]);
            }
        }
    }
    found.into_values().collect()
}
