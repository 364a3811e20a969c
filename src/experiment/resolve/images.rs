//! Which images a cell is trained and scored on.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context, Result, bail, ensure};

use super::{
    super::{
        Cell, Study, budgets,
        subsets::{ValidationSubsets, labels_of, sample, subset_seed},
        unseen::Class,
    },
    Resolver,
};
use crate::{
    data::{
        Dataset, OnBadImage, Share, Subset,
        content::Content,
        files::Files,
        foreign,
        imbalance::{OutOfReach, Pool},
    },
    named::counted,
};

/// The images of a cell.
pub(super) struct Images {
    /// The class that is left out of training, if any.
    pub class: Option<Class>,
    pub subset: Arc<Subset>,
    /// How often an epoch repeats the images.
    pub repeats: usize,
    pub validation: Arc<Vec<usize>>,
}

/// Key of a training set: whether sizes are matched, the share, the part of the images, and the class left out.
pub(super) type SubsetKey = (bool, Share, (usize, usize), Option<Class>);

/// Training images from which the subsets of every share are cut.
pub(super) struct TrainingPool {
    /// Their positions in the data set, ascending.
    kept: Vec<usize>,
    /// The pool that subsets are cut from; its positions are those in `kept`.
    pool: Pool,
}

/// Key of [`TrainingPool`]: the part of the images, and the class left out.
pub(super) type PoolKey = ((usize, usize), Option<Class>);

impl Resolver<'_, '_> {
    /// Returns the images of a cell; unreadable ones may be left out.
    pub(super) fn images(&mut self, cell: &Cell) -> Result<Images> {
        let source = self.source;
        let class = match cell.study {
            Study::Unseen { rank } => Some(Class::of_rank(source, rank.into())?),
            _ => None,
        };
        let validation = self.validation()?;
        let validation = match &class {
            Some(class) => Arc::new(class.validation(&*source.validation, &validation)?),
            None => validation,
        };
        let whole = self.subset(cell, class.as_ref())?;
        let (subset, repeats) = match cell.study {
            Study::LabelBudget { defects } => {
                let few = self.few(&whole, usize::from(defects), cell.seed)?;
                // Repeated so that training has as many steps as with all labels.
                let repeats = whole.indices.len().div_ceil(few.indices.len());
                (Arc::new(few), repeats)
            }
            _ => (whole, 1),
        };
        Ok(Images { class, subset, repeats, validation })
    }

    /// Returns the validation images, the same for all cells.
    fn validation(&mut self) -> Result<Arc<Vec<usize>>> {
        if let Some(known) = &self.validation {
            return Ok(known.clone());
        }
        let dataset = &*self.source.validation;
        let part = self.plan.scale.sample_of(&self.source.name);
        let mut indices = sample(dataset.labels(), part, "validation");
        self.leave_out(1, &mut indices);
        ValidationSubsets::new(&labels_of(dataset, &indices))?;
        self.ensure_there(dataset, &indices).context("validation images")?;
        Ok(self.validation.insert(Arc::new(indices)).clone())
    }

    /// Returns the training images of a cell, without those of a class that it leaves out.
    fn subset(&mut self, cell: &Cell, without: Option<&Class>) -> Result<Arc<Subset>> {
        let part = self.plan.training_sample(cell, &self.source.name);
        let key = (cell.study == Study::SizeMatched, cell.share, part, without.cloned());
        if let Some(known) = self.subsets.get(&key) {
            return Ok(known.clone());
        }
        let TrainingPool { kept, pool } = &*self.training_pool(part, without);
        let mut subset = match (cell.study, Share::STUDY.iter().position(|&share| share == cell.share)) {
            (Study::SizeMatched, Some(place)) => pool.size_matched(&Share::STUDY)?.swap_remove(place),
            (Study::SizeMatched, None) => bail!("sizes are matched over the study's five shares"),
            _ => pool.subset(cell.share)?,
        };
        subset.indices.iter_mut().for_each(|index| *index = kept[*index]);
        self.ensure_there(&*self.source.train, &subset.indices).context("training images")?;
        let subset = Arc::new(subset);
        self.subsets.insert(key, subset.clone());
        Ok(subset)
    }

    /// Returns the training images from which subsets of every share are cut: a part of all, without a class.
    fn training_pool(&mut self, part: (usize, usize), without: Option<&Class>) -> Arc<TrainingPool> {
        let key = (part, without.cloned());
        if let Some(known) = self.pools.get(&key) {
            return known.clone();
        }
        let dataset = &*self.source.train;
        let mut kept = sample(dataset.labels(), part, "train");
        self.leave_out(0, &mut kept);
        kept.retain(|&index| without.is_none_or(|class| !class.is_in(dataset, index)));
        let pool = Pool::new(&labels_of(dataset, &kept), &subset_seed("train"));
        self.pools.entry(key).or_insert(Arc::new(TrainingPool { kept, pool })).clone()
    }

    /// Returns a training set with the given number of labelled defects, and normal images in proportion. It is the
    /// draw numbered by the seed, on which probes on few labels are fitted too.
    fn few(&self, whole: &Subset, defects: usize, seed: u64) -> Result<Subset> {
        let labels = labels_of(&*self.source.train, &whole.indices);
        let labels: Vec<bool> = labels.iter().map(|labels| labels.defect).collect();
        if defects >= whole.defects {
            bail!(OutOfReach::budget(defects, whole.defects))
        }
        let [of_defects, of_normals] = budgets::draw(&labels, seed as usize);
        let normals = budgets::proportional_normals(defects, whole.defects, whole.normals);
        let rows = of_defects[..defects].iter().chain(&of_normals[..normals]);
        let mut indices: Vec<usize> = rows.map(|&row| whole.indices[row]).collect();
        indices.sort_unstable();
        Ok(Subset { indices, defects, normals })
    }

    /// Removes images of training (0) or validation (1) that are known to be unreadable, if the plan allows that.
    fn leave_out(&self, split: usize, indices: &mut Vec<usize>) {
        if self.plan.on_bad_image == OnBadImage::Skip {
            indices.retain(|index| !self.unreadable[split].contains_key(index));
        }
    }

    /// Checks that these images can be used.
    ///
    /// # Errors
    /// If files are missing or known to be unreadable although the plan requires them, or if too few are left to train
    /// on or to score. Each file is looked up once.
    fn ensure_there(&self, dataset: &dyn Dataset, indices: &[usize]) -> Result<()> {
        let Some(files) = dataset.files() else { return Ok(()) };
        let looks = files.contents(indices);
        let missing = indices.iter().zip(&looks).filter(|(_, look)| **look == Content::Missing);
        let missing: Vec<usize> = missing.map(|(&index, _)| index).collect();
        let Some(&first) = missing.first() else { return ensure_readable(files, indices) };
        ensure!(
            self.plan.on_bad_image == OnBadImage::Skip,
            "{} of {} files are missing, the first is {}; --on-bad-image skip leaves them out and reports them",
            missing.len(),
            indices.len(),
            foreign::escape_name(&dataset.location(first))
        );
        let gone: HashSet<usize> = missing.iter().copied().collect();
        let left = |defect: bool| {
            let of_kind =
                |index: &&usize| dataset.labels()[**index].defect == defect && !gone.contains(*index);
            indices.iter().filter(of_kind).count()
        };
        ensure!(
            left(true) >= Pool::FEWEST_DEFECTS && left(false) > 0,
            "{} of {} files are missing, the first is {}; the remaining {} and {} are too few",
            missing.len(),
            indices.len(),
            foreign::escape_name(&dataset.location(first)),
            counted(left(true), "defect", "defects"),
            counted(left(false), "normal image", "normal images")
        );
        Ok(())
    }
}

/// Checks that none of these files is known to be unreadable.
///
/// # Errors
/// If one is.
fn ensure_readable(files: &Files, indices: &[usize]) -> Result<()> {
    let unreadable = files.unreadable();
    let bad: Vec<usize> = indices.iter().copied().filter(|index| unreadable.contains_key(index)).collect();
    let Some(first) = bad.first() else { return Ok(()) };
    // Keep the message on one line: the file's name may contain line breaks.
    let reason = unreadable[first].replace(&files.location(*first), "");
    let reason = foreign::escape_name(reason.trim_start_matches(": ")).into_owned();
    bail!(
        "{} of {} files cannot be read, the first is {}: {reason}; --on-bad-image skip leaves them out and reports \
         them",
        bad.len(),
        indices.len(),
        foreign::escape_name(&files.location(*first))
    )
}
