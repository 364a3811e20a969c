//! Lookup of positions by name, for millions of names.

use std::hash::{BuildHasher, RandomState};

use anyhow::{Result, bail, ensure};

use super::listing::Listing;

/// Position of each name in a listing: a hash table of a few bytes per name, cheap to keep for millions of lookups.
pub struct NameIndex<'a> {
    listing: &'a Listing,
    /// Positions, each at its name's hash or in the next free slot; at least twice as many slots as names.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl<'a> NameIndex<'a> {
    /// An empty slot.
    const FREE: u32 = u32::MAX;

    /// Builds the lookup; if a name occurs repeatedly, its first position is used.
    pub fn new(listing: &'a Listing) -> Self {
        let slots = vec![Self::FREE; (2 * listing.len()).next_power_of_two().max(2)];
        let mut places = Self { listing, slots, hasher: RandomState::new() };
        for (index, name) in (0..).zip(listing.names()) {
            let slot = places.slot(name);
            if places.slots[slot] == Self::FREE {
                places.slots[slot] = index;
            }
        }
        places
    }

    /// Returns the position of the image with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let found = self.slots[self.slot(name)];
        (found != Self::FREE).then_some(found as usize)
    }

    /// The slot that holds this name, or would hold it.
    fn slot(&self, name: &str) -> usize {
        let last = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & last;
        while self.slots[slot] != Self::FREE && self.listing.name(self.slots[slot] as usize) != name {
            slot = (slot + 1) & last;
        }
        slot
    }
}

/// Checks that a split is valid.
///
/// # Errors
/// If either part has no images, or an image is in both: scores would be worthless.
pub fn ensure_apart(train: &Listing, validation: &Listing) -> Result<()> {
    for (part, name) in [(train, "training"), (validation, "validation")] {
        ensure!(!part.is_empty(), "no {name} images");
    }
    let known = NameIndex::new(validation);
    match train.names().enumerate().find(|(_, name)| known.find(name).is_some()) {
        Some((index, name)) => {
            let row = train.row(index).map_or(String::new(), |row| format!(" (training row {row})"));
            bail!("{name}{row} is both a training and a validation image")
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ClassSet, Labels};

    #[test]
    fn every_name_is_found_at_its_place() {
        let names: Vec<String> = (0..1_000).map(|number| format!("{:08}.png", 7 * number)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut listing = Listing::default();
        let normal = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
        names.iter().for_each(|name| listing.push(name, normal, None));
        let places = NameIndex::new(&listing);
        assert!(names.iter().enumerate().all(|(place, name)| places.find(name) == Some(place)));
        assert_eq!(["00000001.png", "", "7000.png"].map(|name| places.find(name)), [None; 3]);
        assert_eq!(NameIndex::new(&Listing::default()).find("a"), None);
    }

    #[test]
    fn images_of_both_splits_are_found() {
        let error =
            ensure_apart(&Listing::of_normals(&["a", "b"]), &Listing::of_normals(&["c", "b"])).unwrap_err();
        assert_eq!(error.to_string(), "b (training row 3) is both a training and a validation image");
        assert!(ensure_apart(&Listing::of_normals(&["a"]), &Listing::of_normals(&["c"])).is_ok());
        let error = ensure_apart(&Listing::of_normals(&["a"]), &Listing::of_normals(&[])).unwrap_err();
        assert_eq!(error.to_string(), "no validation images");
    }

    #[test]
    fn the_first_of_equal_names_is_found() {
        let listing = Listing::of_normals(&["b", "a", "c", "a", "b"]);
        let places = NameIndex::new(&listing);
        assert_eq!(["a", "b", "c", "d"].map(|name| places.find(name)), [Some(1), Some(0), Some(2), None]);
        let error = ensure_apart(&Listing::of_normals(&[]), &Listing::of_normals(&["a"])).unwrap_err();
        assert_eq!(error.to_string(), "no training images");
        let mut unnumbered = Listing::default();
        unnumbered.push("a", Labels { defect: true, classes: ClassSet::EMPTY, stratum: 0 }, None);
        let error = ensure_apart(&unnumbered, &Listing::of_normals(&["b", "a"])).unwrap_err();
        assert_eq!(error.to_string(), "a is both a training and a validation image");
    }
}
