//! Names looked up by the million: where each stands in a listing.

use std::hash::{BuildHasher, RandomState};

use anyhow::{Result, bail, ensure};

use super::listing::Listing;

/// Where each name of a listing stands: a few bytes a name, for as long as a million of them are looked up.
pub struct Places<'a> {
    listing: &'a Listing,
    /// Positions, each at its name's hash or the next free slot after it; twice as many slots as names or more.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl<'a> Places<'a> {
    /// No position.
    const FREE: u32 = u32::MAX;

    /// Of a listing whose names are distinct; of others the first stands.
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

    /// Position of the image of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let found = self.slots[self.slot(name)];
        (found != Self::FREE).then_some(found as usize)
    }

    /// The slot that has this name, or would have it.
    fn slot(&self, name: &str) -> usize {
        let last = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & last;
        while self.slots[slot] != Self::FREE && self.listing.name(self.slots[slot] as usize) != name {
            slot = (slot + 1) & last;
        }
        slot
    }
}

/// # Errors
/// If one of the two has no images, or an image of one is in the other: such scores would be worthless.
pub fn ensure_apart(train: &Listing, validation: &Listing) -> Result<()> {
    for (part, name) in [(train, "training"), (validation, "validation")] {
        ensure!(!part.is_empty(), "no {name} images");
    }
    let known = Places::new(validation);
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
        let places = Places::new(&listing);
        assert!(names.iter().enumerate().all(|(place, name)| places.find(name) == Some(place)));
        assert_eq!(["00000001.png", "", "7000.png"].map(|name| places.find(name)), [None; 3]);
        assert_eq!(Places::new(&Listing::default()).find("a"), None);
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
}
