//! The data of a run, opened once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use skewbench::{
    data::{Dataset, Source},
    experiment::{Cell, Plan, Resolved, Scale},
    results::Folder,
};

use super::thousands;
use crate::support::source::{CACHED_BYTES, Choice, Purpose};

/// Data by the side that drawn pictures have; other data has one source.
pub struct Sources {
    by_side: BTreeMap<usize, Source>,
    drawn: bool,
}

impl Sources {
    /// Opens what the cells need.
    ///
    /// # Errors
    /// If annotations or folders cannot be read. Images are not opened yet.
    pub fn open(choice: &Choice, purpose: Purpose, cells: &[Cell], plan: &Plan) -> Result<Self> {
        let drawn = *choice == Choice::Synthetic;
        let mut sides: BTreeSet<usize> = cells.iter().map(|cell| plan.drawn_side(cell)).collect();
        if !drawn {
            sides = BTreeSet::from([plan.scale.side]);
        }
        let open =
            |side| Ok((side, choice.open(&Scale { side, ..plan.scale.clone() }, purpose, plan.sample_bits)?));
        Ok(Self { by_side: sides.into_iter().map(open).collect::<Result<_>>()?, drawn })
    }

    /// Data of a cell, and the side that it is kept under.
    ///
    /// # Errors
    /// If the cell is none of those that were opened for.
    pub fn of(&self, cell: &Cell, plan: &Plan) -> Result<(usize, &Source)> {
        let side = if self.drawn { plan.drawn_side(cell) } else { plan.scale.side };
        Ok((side, self.by_side.get(&side).context("no data was opened for this cell")?))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.by_side.values()
    }

    /// Whether memory holds all of a cell's pictures after the first epoch. Files are taken to be too large.
    pub fn remembers(&self, resolved: &Resolved, plan: &Plan) -> bool {
        let (images, side) = (resolved.source.train.labels().len(), plan.drawn_side(&resolved.cell));
        self.drawn && images * side * side * 3 <= CACHED_BYTES
    }

    /// Takes over what earlier processes that wrote to `folder` knew of the image files.
    pub fn remember(&self, folder: &Folder) {
        for source in self.all() {
            folder.remember_images("train", &*source.train);
            folder.remember_images("validation", &*source.validation);
        }
    }

    /// Prints a line for each source, and what part of it `plan` uses.
    pub fn describe(&self, plan: &Plan) {
        let count = |dataset: &dyn Dataset| {
            let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
            let images = dataset.labels().len();
            let percent = 100.0 * defects as f64 / images.max(1) as f64;
            format!("{} images, {percent:.1} % defects", thousands(images))
        };
        for (side, source) in &self.by_side {
            println!(
                "data    {}{}: train {}; validation {}",
                source.name,
                if self.drawn { format!(", {side} px") } else { String::new() },
                count(&*source.train),
                count(&*source.validation)
            );
            sampled(source, plan)
                .iter()
                .chain(&source.understood)
                .for_each(|line| println!("        {line}"));
        }
    }
}

/// What part of a source is used, and why; none where it is used whole.
pub fn sampled(source: &Source, plan: &Plan) -> Option<String> {
    let (part, of) = plan.scale.sample_of(&source.name);
    let used = |dataset: &dyn Dataset| {
        let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
        // As it is cut: normal images and defects by themselves.
        thousands((dataset.labels().len() - defects) * part / of + defects * part / of)
    };
    (part < of).then(|| {
        format!(
            "{part}/{of} of it is used, {} training and {} validation images: the sample of Sewer-ML that the paper's \
             released code takes (--full)",
            used(&*source.train),
            used(&*source.validation)
        )
    })
}
