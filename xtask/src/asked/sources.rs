//! The data of a run, opened once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use skewbench::{
    data::{Dataset, Source, foreign},
    experiment::{Cell, Plan, Resolved, Scale},
    results::Folder,
};

use super::thousands;
use crate::support::{
    print::labelled,
    source::{CACHED_BYTES, Choice, Purpose, Reading},
};

/// Data sources, by the side of their drawn images in pixels. Data from files has a single entry.
pub struct Sources {
    by_side: BTreeMap<usize, Source>,
    drawn: bool,
}

impl Sources {
    /// Opens the data that the cells need.
    ///
    /// # Errors
    /// If annotations or folders cannot be read.
    pub fn open(
        choice: &Choice,
        purpose: Purpose,
        cells: &[Cell],
        plan: &Plan,
        reading: &Reading,
    ) -> Result<Self> {
        let drawn = *choice == Choice::Synthetic;
        let mut sides: BTreeSet<usize> = cells.iter().map(|cell| plan.drawn_side(cell)).collect();
        if !drawn {
            sides = BTreeSet::from([plan.scale.side]);
        }
        let open = |side| Ok((side, choice.open(&Scale { side, ..plan.scale.clone() }, purpose, reading)?));
        Ok(Self { by_side: sides.into_iter().map(open).collect::<Result<_>>()?, drawn })
    }

    /// Returns the data of a cell, and the side that it is stored under.
    ///
    /// # Errors
    /// If no data were opened for the cell.
    pub fn for_cell(&self, cell: &Cell, plan: &Plan) -> Result<(usize, &Source)> {
        let side = if self.drawn { plan.drawn_side(cell) } else { plan.scale.side };
        Ok((side, self.by_side.get(&side).context("no data was opened for this cell")?))
    }

    /// Returns all sources.
    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.by_side.values()
    }

    /// Returns whether all of a cell's training images stay in memory after the first epoch. Data from files is
    /// assumed to be too large.
    pub fn fits_in_memory(&self, resolved: &Resolved, plan: &Plan) -> bool {
        let (images, side) = (resolved.source.train.labels().len(), plan.drawn_side(&resolved.cell));
        self.drawn && images * side * side * 3 <= CACHED_BYTES
    }

    /// Writes the lists of all images.
    ///
    /// # Errors
    /// If a list cannot be written.
    pub fn write_lists(&self, folder: &Folder) -> Result<()> {
        self.all().try_for_each(|source| folder.write_images(source))
    }

    /// Returns the leaks that must stop training on the data, one line each.
    pub fn leaks(&self) -> Vec<String> {
        let leaks = self.all().flat_map(|source| &source.leaks);
        leaks
            .map(|leak| {
                format!("{leak}; --on-leak accept continues, and notes it in the records and on the page")
            })
            .collect()
    }

    /// Prints a line for each source, and which part of it `plan` uses.
    pub fn describe(&self, plan: &Plan) {
        let count = |dataset: &dyn Dataset| {
            let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
            let images = dataset.labels().len();
            let percent = 100.0 * defects as f64 / images.max(1) as f64;
            format!("{} images, {percent:.1} % defects", thousands(images))
        };
        for (side, source) in &self.by_side {
            let side = if self.drawn { format!(", {side} px") } else { String::new() };
            let (train, validation) = (count(&*source.train), count(&*source.validation));
            labelled("data", &format!("{}{side}: train {train}; validation {validation}", source.name));
            sampled(source, plan)
                .iter()
                .chain(&source.interpretation)
                .for_each(|line| labelled("", &foreign::escape_message(line)));
        }
    }
}

/// Describes which part of a source is used, and why; `None` if all of it is used.
pub fn sampled(source: &Source, plan: &Plan) -> Option<String> {
    let (part, of) = plan.scale.sample_of(&source.name);
    let used = |dataset: &dyn Dataset| {
        let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
        // Counted as the sample is drawn: normal images and defects separately.
        thousands((dataset.labels().len() - defects) * part / of + defects * part / of)
    };
    (part < of).then(|| {
        format!(
            "{part}/{of} of it is used, {} training and {} validation images: the sample of Sewer-ML that the \
             paper's released code uses (--full)",
            used(&*source.train),
            used(&*source.validation)
        )
    })
}

#[cfg(test)]
mod tests {
    use skewbench::{
        data::{Share, synthetic},
        experiment::cell,
        seed::Seed,
    };

    use super::*;

    /// At the paper's scale, half of Sewer-ML is used, counted separately for normal images and defects; other
    /// data is used in full.
    #[test]
    fn what_part_of_a_source_is_used_is_said_in_images() {
        let drawn = || synthetic::source(Seed::root(0), 31, 22, 32);
        let half = |dataset: &dyn Dataset| {
            let defects = dataset.labels().iter().filter(|labels| labels.defect).count();
            defects / 2 + (dataset.labels().len() - defects) / 2
        };
        let mut both_odd = 0;
        for (train, validation) in [(31, 22), (36, 24), (38, 26), (40, 28), (42, 30)] {
            let drawn = synthetic::source(Seed::root(0), train, validation, 32);
            let source = Source { name: "sewer-ml".to_owned(), ..drawn };
            let halves = [half(&*source.train), half(&*source.validation)];
            let told = sampled(&source, &Plan::new(Scale::full())).unwrap();
            let [first, second] = halves;
            let expected = format!("1/2 of it is used, {first} training and {second} validation images: ");
            assert!(told.starts_with(&expected), "{told}");
            both_odd += usize::from(first != train / 2) + usize::from(second != validation / 2);
        }
        assert!(both_odd > 0, "an odd number of either kind loses an image each");
        let source = Source { name: "sewer-ml".to_owned(), ..drawn() };
        assert_eq!(sampled(&drawn(), &Plan::new(Scale::full())), None);
        assert_eq!(sampled(&source, &Plan::new(Scale::small())), None);
    }

    /// 30,000 drawn images fit in memory at small scale but not at full scale; files are assumed not to fit.
    #[test]
    fn what_memory_holds_after_the_first_epoch() {
        let cell = cell::floors(&[Share::percent(45)], 0)[0];
        let remembers = |scale: Scale, drawn: bool| {
            let (images, side) = (scale.synthetic_images, scale.side);
            let plan = Plan::new(scale);
            let source = synthetic::source(Seed::root(0), images.0, images.1, side);
            let resolved = plan.resolve(&cell, &source).unwrap();
            let sources = Sources { by_side: BTreeMap::new(), drawn };
            sources.fits_in_memory(&resolved, &plan)
        };
        let many = (30_000, 100);
        assert!(remembers(Scale { synthetic_images: many, ..Scale::small() }, true));
        assert!(!remembers(Scale { synthetic_images: many, ..Scale::full() }, true));
        // Three bytes for each of 224 x 224 pixels: a GiB holds 7,133 images, whichever of them a cell trains on.
        for (images, fit) in [(7_133, true), (7_134, false)] {
            let scale = Scale { synthetic_images: (images, 100), ..Scale::full() };
            assert_eq!(remembers(scale, true), fit, "{images}");
        }
        assert!(!remembers(Scale::quick(), false));
    }

    /// Images are drawn once for each side that cells use; files are opened once, whatever the sides.
    #[test]
    fn cells_see_pictures_of_their_own_side() {
        let plan = Plan::new(Scale { synthetic_images: (20, 15), side: 48, ..Scale::small() });
        let cells = [cell::table2(3), cell::floors(&[Share::percent(45)], 3)].concat();
        let open = |choice: &Choice| {
            Sources::open(choice, Purpose::Study, &cells, &plan, &Reading::default()).unwrap()
        };
        let drawn = open(&Choice::Synthetic);
        let sides: BTreeSet<usize> = cells.iter().map(|cell| plan.drawn_side(cell)).collect();
        assert!(
            sides.len() == 2 && sides.first() == Some(&48),
            "those of Table 2 are drawn larger: {sides:?}"
        );
        assert_eq!(drawn.all().count(), sides.len());
        for cell in &cells {
            let (side, source) = drawn.for_cell(cell, &plan).unwrap();
            let picture = source.train.open(3).unwrap();
            assert_eq!((side, picture.width), (plan.drawn_side(cell), side), "{cell}");
        }
        let folder = tempfile::tempdir().unwrap();
        let data = crate::support::committed::pictures(folder.path(), [8, 8]);
        let files = open(&data.parse().unwrap());
        assert_eq!(files.all().count(), 1);
        assert!(cells.iter().all(|cell| files.for_cell(cell, &plan).unwrap().0 == 48));
    }

    #[test]
    fn data_are_described_with_their_side_and_leaks_with_a_way_out() {
        use crate::support::print::captured;
        let source = synthetic::source(Seed::root(0), 30, 20, 32);
        let percent = |dataset: &dyn Dataset| {
            let labels = dataset.labels();
            100.0 * labels.iter().filter(|labels| labels.defect).count() as f64 / labels.len() as f64
        };
        let (train, validation) = (percent(&*source.train), percent(&*source.validation));
        let source = Source {
            leaks: vec!["a leak".to_owned(), "another".to_owned()],
            interpretation: ["as understood", "and as suggested"].map(str::to_owned).to_vec(),
            ..source
        };
        let sources = |drawn, source| Sources { by_side: [(32, source)].into(), drawn };
        let sources = sources(true, source);
        let told = captured::output(|| sources.describe(&Plan::new(Scale::small())));
        let expected = format!(
            "data    synthetic, 32 px: train 30 images, {train:.1} % defects; validation 20 images, {validation:.1} % defects\n        \
             as understood\n        and as suggested\n"
        );
        assert_eq!(told, expected);
        let way = "--on-leak accept continues, and notes it in the records and on the page";
        assert_eq!(sources.leaks(), [format!("a leak; {way}"), format!("another; {way}")]);
    }

    /// Drawn pictures have a line and a pair of lists for each side.
    #[test]
    fn every_side_is_described() {
        use crate::support::print::captured;
        let plan = Plan::new(Scale { synthetic_images: (1_020, 515), side: 48, ..Scale::small() });
        let cells = [cell::table2(3), cell::floors(&[Share::percent(45)], 3)].concat();
        let sources =
            Sources::open(&Choice::Synthetic, Purpose::Study, &cells, &plan, &Reading::default()).unwrap();
        let largest = cell::SIDES.map(|side| plan.scale.side_like(side.into())).into_iter().max().unwrap();
        let told = captured::output(|| sources.describe(&plan));
        let begins: Vec<&str> = told.lines().map(|line| line.split(" images").next().unwrap()).collect();
        let line = |side: usize| format!("data    synthetic, {side} px: train 1 020");
        assert_eq!(begins, [line(48), line(largest)]);
        assert!(told.lines().all(|line| line.contains("; validation 515 images, ")), "{told}");
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        sources.write_lists(&folder).unwrap();
        for source in sources.all() {
            for (split, dataset) in [("train", &source.train), ("validation", &source.validation)] {
                assert!(folder.images(split, &**dataset).exists(), "{split}");
            }
        }
    }
}
