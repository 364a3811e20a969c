//! Labelled names of images, independent of where the files are.
//!
//! A million images must need little memory, so all names are stored in one string: Sewer-ML's training split takes
//! 37 bytes per image, including labels.

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::data::{Labels, stratify};

/// Labelled names, in order.
#[derive(Default)]
pub struct Listing {
    labels: Vec<Labels>,
    /// All names, concatenated; name i ends before `ends[i]`.
    text: String,
    ends: Vec<usize>,
    /// Rows of the annotation table; empty if names were not read from a table.
    rows: Vec<u32>,
    /// Index of each image's group; empty without groups.
    groups: Vec<u32>,
    group_names: Arc<Vec<String>>,
    /// Names of strata, by their number; empty if strata have no names.
    kinds: Arc<Vec<String>>,
}

impl Listing {
    /// Appends an image; `row` is its row in a table (given for all images or for none).
    pub fn push(&mut self, name: &str, labels: Labels, row: Option<usize>) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
        self.labels.push(labels);
        self.rows.extend(row.map(|row| row as u32));
    }

    /// Assigns images to groups, such as pipes: one name per image.
    ///
    /// # Panics
    /// If the number of names differs from the number of images.
    pub fn set_groups(&mut self, names: &[String]) {
        assert_eq!(names.len(), self.len(), "one group for every image");
        let (groups, distinct) = stratify::numbered(names);
        (self.groups, self.group_names) = (groups, Arc::new(distinct));
    }

    /// Sets the names of strata, by their number.
    pub fn set_kinds(&mut self, names: Vec<String>) {
        self.kinds = Arc::new(names);
    }

    /// Returns the name of the group of the image at `index`.
    pub fn group(&self, index: usize) -> Option<&str> {
        self.groups.get(index).map(|&group| self.group_names[group as usize].as_str())
    }

    /// Returns the name of the stratum of the image at `index`.
    pub fn class_name(&self, index: usize) -> Option<&str> {
        let name = self.kinds.get(self.labels[index].stratum as usize)?;
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether no image is listed.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the labels of all images, in order.
    pub fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// Returns the labels for modification.
    pub fn labels_mut(&mut self) -> &mut [Labels] {
        &mut self.labels
    }

    /// Returns the name of the image at `index`, relative to the folder that holds it.
    pub fn name(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// Returns all names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.name(index))
    }

    /// Returns the row in the annotation table.
    pub fn row(&self, index: usize) -> Option<usize> {
        self.rows.get(index).map(|&row| row as usize)
    }

    /// Returns the images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut selected = Self::default();
        for &index in indices {
            selected.push(self.name(index), self.labels[index], self.row(index));
            selected.groups.extend(self.groups.get(index));
        }
        (selected.group_names, selected.kinds) = (self.group_names.clone(), self.kinds.clone());
        selected
    }

    /// Returns the BLAKE3 of names, labels and groups in order, in hex: for sources that are not defined by one
    /// table.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, labels) in self.names().zip(&self.labels) {
            hasher.update(name.as_bytes()).update(&[0, u8::from(labels.defect)]);
            hasher.update(&labels.classes.bits().to_le_bytes()).update(&labels.stratum.to_le_bytes());
        }
        for group in &self.groups {
            hasher.update(self.group_names[*group as usize].as_bytes()).update(&[0]);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Checks that all names differ.
    ///
    /// # Errors
    /// If a name occurs twice; the message states both rows.
    pub fn ensure_distinct(&self) -> Result<()> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_key(|&index| self.name(index as usize));
        for pair in order.windows(2) {
            let (first, second) = (pair[0] as usize, pair[1] as usize);
            if self.name(first) == self.name(second) {
                match (self.row(first), self.row(second)) {
                    (Some(a), Some(b)) => bail!("rows {a} and {b} name the same file, {}", self.name(first)),
                    _ => bail!("{} is listed twice", self.name(first)),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Listing {
    /// Normal images with these names, in consecutive rows of a table.
    pub fn of_normals(names: &[&str]) -> Self {
        let mut listing = Self::default();
        let normal = Labels { defect: false, classes: crate::data::ClassSet::EMPTY, stratum: 0 };
        (2..).zip(names).for_each(|(row, name)| listing.push(name, normal, Some(row)));
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_place() {
        let listing = Listing::of_normals(&["b.png", "", "a/ö.png"]);
        assert_eq!(listing.names().collect::<Vec<_>>(), ["b.png", "", "a/ö.png"]);
        let selected = listing.select(&[2, 0]);
        assert_eq!(selected.names().collect::<Vec<_>>(), ["a/ö.png", "b.png"]);
        assert_eq!((selected.row(0), selected.row(1)), (Some(4), Some(2)));
        assert_ne!(listing.digest(), selected.digest());
        assert_eq!(selected.digest(), listing.select(&[2, 0]).digest());
        let mut grouped = listing;
        grouped.set_groups(&["pipe 7", "pipe 2", "pipe 1"].map(str::to_owned));
        let selected = grouped.select(&[2, 0]);
        assert_eq!([0, 1].map(|index| selected.group(index)), [Some("pipe 1"), Some("pipe 7")]);
    }

    #[test]
    fn a_name_that_stands_twice_is_found() {
        let names = Listing::of_normals(&["c", "a", "b", "a"]);
        assert_eq!(names.ensure_distinct().unwrap_err().to_string(), "rows 3 and 5 name the same file, a");
        assert!(Listing::of_normals(&["c", "a", "b"]).ensure_distinct().is_ok());
    }

    /// Each property that defines a source affects its digest by itself.
    #[test]
    fn a_digest_is_of_names_labels_and_groups() {
        use crate::data::{ClassSet, DefectClass};
        let normal = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
        let with = |names: [&str; 2], labels: Labels, row: Option<usize>, groups: &[&str]| {
            let mut listing = Listing::default();
            listing.push(names[0], labels, row);
            listing.push(names[1], normal, row.map(|row| row + 1));
            if let [first, second] = groups {
                listing.set_groups(&[first, second].map(|group| (*group).to_owned()));
            }
            listing.digest()
        };
        let all = [
            with(["a", "b"], normal, None, &[]),
            with(["b", "a"], normal, None, &[]),
            with(["ab", ""], normal, None, &[]),
            with(["a", "b"], Labels { defect: true, ..normal }, None, &[]),
            with(["a", "b"], Labels { classes: ClassSet::EMPTY.with(DefectClass::RO), ..normal }, None, &[]),
            with(["a", "b"], Labels { stratum: 3, ..normal }, None, &[]),
            with(["a", "b"], normal, None, &["p", "q"]),
            with(["a", "b"], normal, None, &["q", "p"]),
            with(["a", "b"], normal, None, &["p", "p"]),
            with(["a", "b"], normal, None, &["pq", "r"]),
            with(["a", "b"], normal, None, &["p", "qr"]),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert_eq!(with(["a", "b"], normal, Some(7), &[]), all[0], "rows are not");
    }

    #[test]
    fn kinds_are_names_of_strata_and_may_lack() {
        let mut listing = Listing::of_normals(&["a", "b", "c", "d"]);
        listing
            .labels_mut()
            .iter_mut()
            .zip([2, 0, 1, 3])
            .for_each(|(labels, stratum)| labels.stratum = stratum);
        assert_eq!((listing.class_name(0), listing.group(0)), (None, None));
        listing.set_kinds(["", "crack", "hole"].map(str::to_owned).into());
        assert_eq!(
            [0, 1, 2, 3].map(|index| listing.class_name(index)),
            [Some("hole"), None, Some("crack"), None]
        );
        let selected = listing.select(&[2, 3, 0]);
        assert_eq!([0, 1, 2].map(|index| selected.class_name(index)), [Some("crack"), None, Some("hole")]);
        assert_eq!(selected.labels().iter().map(|labels| labels.stratum).collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!((selected.len(), selected.is_empty(), Listing::default().is_empty()), (3, false, true));
        let mut unnumbered = Listing::default();
        (0..2).for_each(|_| unnumbered.push("x", listing.labels()[0], None));
        assert_eq!(unnumbered.ensure_distinct().unwrap_err().to_string(), "x is listed twice");
    }

    #[test]
    fn groups_given_later_take_the_place_of_earlier_ones() {
        let mut listing = Listing::of_normals(&["a", "b", "c"]);
        let mut once = Listing::of_normals(&["a", "b", "c"]);
        listing.set_groups(&["q", "p", "p"].map(str::to_owned));
        let later = ["x", "z", "y"].map(str::to_owned);
        for list in [&mut listing, &mut once] {
            list.set_groups(&later);
            assert_eq!([0, 1, 2].map(|index| list.group(index)), [Some("x"), Some("z"), Some("y")]);
        }
        assert_eq!(listing.digest(), once.digest());
        assert_eq!(listing.select(&[2, 1]).group(0), Some("y"));
    }
}
