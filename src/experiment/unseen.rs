//! A class of defects that training never sees: tests whether a model finds defects of an unknown kind.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::data::{ClassSet, Dataset, DefectClass, Source, imbalance::OutOfReach};

/// Fewest validation defects that show only the class. Ours.
const FEWEST: usize = 5;

/// A class of defects, as the data name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// One of Sewer-ML's.
    Sewer(DefectClass),
    /// A folder or word of the user's own data.
    Kind(String),
}

impl Class {
    /// Returns the class with this rank by its number of training images, 0 the most frequent. Ties are in the column
    /// order of Sewer-ML's classes, or by name.
    ///
    /// # Errors
    /// If the data name too few classes.
    pub fn of_rank(source: &Source, rank: usize) -> Result<Self> {
        let dataset = &*source.train;
        let mut counts: BTreeMap<Self, usize> = BTreeMap::new();
        for (index, labels) in dataset.labels().iter().enumerate().filter(|(_, labels)| labels.defect) {
            let kind = dataset.class_name(index).map(|kind| Self::Kind(kind.to_owned()));
            let sewer = labels.classes.iter().map(Self::Sewer).filter(|_| kind.is_none());
            sewer.chain(kind.clone()).for_each(|class| *counts.entry(class).or_default() += 1);
        }
        let known = counts.len();
        let mut ranked: Vec<(Self, usize)> = counts.into_iter().collect();
        ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        match ranked.into_iter().nth(rank) {
            // Without its only class there would be no defects to train on.
            Some((class, _)) if known > 1 => Ok(class),
            _ => bail!(OutOfReach::classes(rank, known)),
        }
    }

    /// Returns the name in the data's own words.
    pub fn name(&self) -> &str {
        match self {
            Self::Sewer(class) => class.code(),
            Self::Kind(name) => name,
        }
    }

    /// Returns whether an image shows the class, possibly beside others.
    pub fn is_in(&self, dataset: &dyn Dataset, index: usize) -> bool {
        match self {
            Self::Sewer(class) => dataset.labels()[index].classes.contains(*class),
            Self::Kind(name) => dataset.class_name(index) == Some(name),
        }
    }

    /// Returns whether an image shows the class and nothing else.
    fn is_alone_in(&self, dataset: &dyn Dataset, index: usize) -> bool {
        match self {
            Self::Sewer(class) => dataset.labels()[index].classes == ClassSet::EMPTY.with(*class),
            Self::Kind(_) => self.is_in(dataset, index),
        }
    }

    /// Returns those of the validation images that are normal or show only the class.
    ///
    /// # Errors
    /// If too few show only the class.
    pub fn validation(&self, dataset: &dyn Dataset, indices: &[usize]) -> Result<Vec<usize>> {
        let kept = |&index: &usize| !dataset.labels()[index].defect || self.is_alone_in(dataset, index);
        let kept: Vec<usize> = indices.iter().copied().filter(kept).collect();
        let defects = kept.iter().filter(|&&index| dataset.labels()[index].defect).count();
        if defects < FEWEST {
            bail!(OutOfReach::unseen(self.name(), defects, FEWEST))
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data::synthetic, seed::Seed};

    #[test]
    fn the_class_is_in_no_training_image_and_alone_in_validation() {
        let source = synthetic::source(Seed::root(0), 400, 400, 32);
        let count = |class: &Class| (0..400).filter(|&index| class.is_in(&*source.train, index)).count();
        let classes: Vec<Class> = (0..4).map(|rank| Class::of_rank(&source, rank).unwrap()).collect();
        assert!(classes.windows(2).all(|pair| count(&pair[0]) >= count(&pair[1])), "the most frequent first");
        let all: Vec<usize> = (0..400).collect();
        let kept = classes[0].validation(&*source.validation, &all).unwrap();
        let labels = source.validation.labels();
        let normals = labels.iter().filter(|labels| !labels.defect).count();
        assert!(kept.len() >= normals + FEWEST);
        for index in kept {
            let classes_in: Vec<&str> = labels[index].classes.iter().map(DefectClass::code).collect();
            assert!(classes_in.is_empty() || classes_in == [classes[0].name()], "{classes_in:?}");
        }
        let error = Class::of_rank(&source, 99).unwrap_err();
        assert!(error.downcast_ref::<OutOfReach>().is_some(), "{error}");
        let rare = Class::of_rank(&source, 14).unwrap();
        assert!(
            rare.validation(&*source.validation, &all).unwrap_err().downcast_ref::<OutOfReach>().is_some()
        );
    }

    /// With the user's own folders: roots and cracks are equally frequent, so cracks come first by name; holes are
    /// rarest.
    #[test]
    fn kinds_of_ones_own_are_ranked_and_left_out_alike() {
        let folder = tempfile::tempdir().unwrap();
        let split = |name: &str, kinds: &[(&str, usize)]| {
            for (kind, count) in kinds {
                let into = folder.path().join(name).join(kind);
                std::fs::create_dir_all(&into).unwrap();
                (0..*count).for_each(|image| std::fs::write(into.join(format!("{image}.png")), "").unwrap());
            }
        };
        split("train", &[("good", 9), ("root", 4), ("hole", 2), ("cracked pipe", 4)]);
        split("test", &[("good", 7), ("root", 6), ("hole", 3), ("cracked pipe", 5)]);
        let source = crate::data::folder::source(folder.path()).unwrap();
        let classes: Vec<Class> = (0..3).map(|rank| Class::of_rank(&source, rank).unwrap()).collect();
        assert_eq!(classes.iter().map(Class::name).collect::<Vec<_>>(), ["cracked pipe", "root", "hole"]);
        let count = source.train.labels().len();
        let left_out = (0..count).filter(|&index| classes[1].is_in(&*source.train, index)).count();
        assert_eq!((count, left_out), (19, 4));
        let all: Vec<usize> = (0..source.validation.labels().len()).collect();
        let kept = classes[1].validation(&*source.validation, &all).unwrap();
        let kinds = kept.iter().map(|&index| source.validation.class_name(index)).collect::<Vec<_>>();
        assert_eq!(kinds.len(), 7 + 6);
        assert!(kinds.iter().all(|kind| kind.is_none_or(|kind| kind == "root")), "{kinds:?}");
        // Five are just enough, of some images as of all.
        assert_eq!(classes[0].validation(&*source.validation, &all).unwrap().len(), 7 + 5);
        let some: Vec<usize> = all.iter().copied().filter(|&index| index != kept[2]).collect();
        let fewer = classes[1].validation(&*source.validation, &some).unwrap();
        assert_eq!(fewer, [&kept[..2], &kept[3..]].concat());
        let error = classes[2].validation(&*source.validation, &all).unwrap_err();
        assert!(error.downcast_ref::<OutOfReach>().is_some(), "three holes are too few: {error}");
        assert!(Class::of_rank(&source, 3).is_err());
    }
}
