//! The long table: one row per seed of what is scored.
//!
//! A row has its axes ([`Scored`]), its setting and seed, and every score under its name in the record. Values that a
//! cell has only once are repeated in each of its rows under a dotted name: `monitor.rankme` (last epoch),
//! `first_monitor.rankme` (first epoch), `features.rankme` (label-free), `cost.train_seconds`. A value that was not
//! measured is null. Polars filters, groups and aggregates; its table holds axes as numbers, so that they stay typed.
//! Independent of files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use polars::prelude::{
    BooleanChunked, ChunkCompareEq, Column, DataFrame, DataType, GroupsIndicator, NamedFrom, PolarsResult,
    Series,
};

use super::{
    cell::{Scored, percent},
    measure::Measure,
};
use crate::data::Share;

/// The long table of many records.
#[derive(Clone, Debug)]
pub struct Frame {
    table: DataFrame,
    /// The axes that the numbers in column [`AT`] refer to.
    axes: Arc<Vec<Scored>>,
}

/// One value of a measure, with the axes of its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What is scored.
    pub scored: Scored,
    /// `None` for the paper, which has one run per cell.
    pub seed: Option<u64>,
    /// Finite.
    pub value: f64,
}

/// A measure aggregated over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregate {
    /// Seeds that have the measure.
    pub count: usize,
    /// NaN if no seed has the measure.
    pub mean: f64,
    /// Sample standard deviation; `None` with fewer than two seeds.
    pub deviation: Option<f64>,
}

impl Aggregate {
    const NONE: Self = Self { count: 0, mean: f64::NAN, deviation: None };
}

/// What is scored in one setting, aggregated over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What is scored.
    pub scored: Scored,
    /// Number of seeds.
    pub rows: usize,
    /// One aggregate per requested measure.
    pub aggregates: Vec<Aggregate>,
}

const AT: &str = "at";
const SETTING: &str = "setting";
const SEED: &str = "seed";

impl Frame {
    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.table.height()
    }

    /// Returns the settings with their number of rows, the largest first.
    pub fn settings(&self) -> Vec<(String, usize)> {
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        let settings = self.column(SETTING).str().expect("settings are texts");
        for setting in settings.iter().flatten() {
            *rows.entry(setting.to_owned()).or_default() += 1;
        }
        let mut settings: Vec<_> = rows.into_iter().collect();
        settings.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        settings
    }

    /// Returns the rows of one setting.
    #[must_use]
    pub fn setting(&self, setting: &str) -> Self {
        self.filtered(|table| Ok(table.column(SETTING)?.str()?.equal(setting)))
    }

    /// Returns the rows of the settings that `wanted` accepts.
    #[must_use]
    pub fn in_settings(&self, wanted: impl Fn(&str) -> bool) -> Self {
        self.filtered(|table| {
            Ok(table.column(SETTING)?.str()?.iter().map(|setting| setting.is_some_and(&wanted)).collect())
        })
    }

    /// Returns the rows whose axes `wanted` accepts.
    #[must_use]
    pub fn filter_axes(&self, wanted: impl Fn(&Scored) -> bool) -> Self {
        let wanted: Vec<bool> = self.axes.iter().map(wanted).collect();
        self.filtered(|table| {
            Ok(table.column(AT)?.u32()?.iter().map(|at| at.is_some_and(|at| wanted[at as usize])).collect())
        })
    }

    /// Returns the distinct axes of the rows, in order.
    pub fn axes(&self) -> BTreeSet<Scored> {
        let mut there = vec![false; self.axes.len()];
        self.numbers_of_axes().for_each(|number| there[number] = true);
        self.axes.iter().zip(there).filter(|(_, there)| *there).map(|(at, _)| *at).collect()
    }

    /// Returns the measures that have a column, in order of their names.
    pub fn measures(&self) -> Vec<Measure> {
        let numbers = self.table.columns().iter().filter(|column| column.dtype() == &DataType::Float64);
        let mut measures: Vec<_> = numbers.map(|column| Measure::named(column.name().to_string())).collect();
        measures.sort();
        measures
    }

    /// Returns a measure for every row, `None` where it was not measured.
    pub fn numbers(&self, measure: &Measure) -> Vec<Option<f64>> {
        // A missing column means that no row has this measure; a [`Measure`] cannot be misspelt.
        match self.table.column(measure.id()).and_then(|column| column.f64().cloned()) {
            Ok(numbers) => numbers.iter().collect(),
            Err(_) => vec![None; self.height()],
        }
    }

    /// Returns the finite values of a measure with their axes, row by row, without averaging.
    pub fn points(&self, measure: &Measure) -> Vec<Point> {
        self.points_of(measure, |_| true)
    }

    /// Returns [`Self::points`] of the rows whose axes `wanted` accepts.
    pub fn points_of(&self, measure: &Measure, wanted: impl Fn(&Scored) -> bool) -> Vec<Point> {
        let wanted: Vec<bool> = self.axes.iter().map(wanted).collect();
        let mut points = Vec::new();
        self.each(measure, |number, seed, value| {
            if wanted[number] {
                points.push(Point { scored: self.axes[number], seed, value });
            }
        });
        points
    }

    /// Returns the seeds and finite values of a measure, row by row, grouped by axes.
    pub fn runs(&self, measure: &Measure) -> BTreeMap<Scored, Vec<(Option<u64>, f64)>> {
        let mut runs: Vec<Vec<(Option<u64>, f64)>> = vec![Vec::new(); self.axes.len()];
        self.each(measure, |number, seed, value| runs[number].push((seed, value)));
        self.axes.iter().copied().zip(runs).filter(|(_, runs)| !runs.is_empty()).collect()
    }

    /// Calls `act` with the index of the axes, the seed and the value of each row whose value is finite.
    fn each(&self, measure: &Measure, mut act: impl FnMut(usize, Option<u64>, f64)) {
        // A missing column means that no row has this measure; a [`Measure`] cannot be misspelt.
        let Ok(column) = self.table.column(measure.id()) else { return };
        let Ok(numbers) = column.f64() else { return };
        let seeds = self.column(SEED).u64().expect("seeds are whole numbers");
        for ((number, seed), value) in self.numbers_of_axes().zip(seeds.iter()).zip(numbers.iter()) {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                act(number, seed, value);
            }
        }
    }

    /// Computes how a measure of each model changes between two validation shares: the first minus the second, seed
    /// by seed.
    ///
    /// Returns the name of the difference and a table that holds it in the rows for all validation images.
    pub fn change_between(&self, measure: &Measure, [first, second]: [Share; 2]) -> (Measure, Self) {
        let name = Measure::named(format!("{measure} at {} minus at {}", percent(first), percent(second)));
        let seconds: HashMap<(Scored, Option<u64>), f64> = self
            .points(measure)
            .into_iter()
            .filter(|point| point.scored.validation == second)
            .map(|point| ((point.scored.on(Share::NATURAL), point.seed), point.value))
            .collect();
        let mut rows = FrameBuilder::default();
        for point in self.points(measure).into_iter().filter(|point| point.scored.validation == first) {
            let at = point.scored.on(Share::NATURAL);
            if let Some(second) = seconds.get(&(at, point.seed)) {
                rows.begin("moved", at, point.seed);
                rows.number(name.clone(), Some(point.value - second));
            }
        }
        (name, rows.frame())
    }

    /// Returns aggregates over seeds, setting by setting, in the order of axes.
    pub fn summaries(&self, measures: &[Measure]) -> Vec<Summary> {
        if self.height() == 0 {
            return Vec::new();
        }
        let there = || measures.iter().map(Measure::id).filter(|id| self.table.column(id).is_ok());
        let grouped = self.table.group_by_stable([SETTING, AT]).expect("both columns are in every frame");
        let grouped = grouped.select(there());
        let rows: Vec<Vec<usize>> = grouped.get_groups().iter().map(positions).collect();
        // Polars' lazy engine, which replaces these two, would add a dozen crates.
        #[allow(deprecated)]
        let [means, deviations] = [grouped.mean(), grouped.std(1)];
        let statistic = |table: &PolarsResult<DataFrame>, id: &str, end: &str| -> Vec<Option<f64>> {
            let table = table.as_ref().expect("columns of numbers can be aggregated");
            let column =
                table.column(&format!("{id}_{end}")).expect("an aggregate is named after its column");
            column.f64().expect("an aggregate of numbers is a number").iter().collect()
        };
        let columns: BTreeMap<&str, Vec<Aggregate>> = there()
            .map(|id| {
                let numbers = self.column(id).f64().expect("measures are numbers");
                let measured =
                    |rows: &Vec<usize>| rows.iter().filter(|&&row| numbers.get(row).is_some()).count();
                let of = statistic(&means, id, "mean").into_iter().zip(statistic(&deviations, id, "agg_std"));
                let of = of.zip(&rows).map(|((mean, deviation), rows)| Aggregate {
                    count: measured(rows),
                    mean: mean.unwrap_or(f64::NAN),
                    deviation,
                });
                (id, of.collect())
            })
            .collect();
        let keys: Vec<u32> = self.column(AT).u32().expect("axes are numbered").iter().flatten().collect();
        let summary = |(group, rows): (usize, &Vec<usize>)| Summary {
            scored: self.axes[keys[rows[0]] as usize],
            rows: rows.len(),
            aggregates: measures
                .iter()
                .map(|measure| columns.get(measure.id()).map_or(Aggregate::NONE, |column| column[group]))
                .collect(),
        };
        let mut summaries: Vec<Summary> = rows.iter().enumerate().map(summary).collect();
        summaries.sort_by_key(|summary| summary.scored);
        summaries
    }

    /// Index of the axes of each row.
    fn numbers_of_axes(&self) -> impl Iterator<Item = usize> {
        let numbers = self.column(AT).u32().expect("axes are numbered");
        numbers.iter().map(|number| number.expect("every row has axes") as usize)
    }

    fn column(&self, name: &str) -> &Column {
        self.table.column(name).expect("this column is in every frame")
    }

    fn filtered(&self, mask: impl Fn(&DataFrame) -> PolarsResult<BooleanChunked>) -> Self {
        let mask = mask(&self.table).expect("masks are made of columns that are in every frame");
        if mask.all() {
            return self.clone();
        }
        let table = self.table.filter(&mask).expect("a mask is as long as its table");
        Self { table, axes: self.axes.clone() }
    }
}

/// Row numbers of a group.
fn positions(group: GroupsIndicator<'_>) -> Vec<usize> {
    match group {
        GroupsIndicator::Idx((_, rows)) => rows.iter().map(|&row| row as usize).collect(),
        GroupsIndicator::Slice([first, length]) => (first as usize..(first + length) as usize).collect(),
    }
}

/// Builder that collects rows into columns.
#[derive(Default)]
pub struct FrameBuilder {
    axes: Vec<Scored>,
    numbered: HashMap<Scored, u32>,
    at: Vec<u32>,
    settings: Vec<String>,
    seeds: Vec<Option<u64>>,
    numbers: BTreeMap<Measure, Vec<Option<f64>>>,
}

impl FrameBuilder {
    /// Begins a row; [`Self::number`] then fills it.
    pub fn begin(&mut self, setting: &str, at: Scored, seed: Option<u64>) {
        let next = self.axes.len() as u32;
        let number = *self.numbered.entry(at).or_insert(next);
        if number == next {
            self.axes.push(at);
        }
        self.at.push(number);
        self.settings.push(setting.to_owned());
        self.seeds.push(seed);
    }

    /// Sets a number of the current row, or leaves it null. The column is created even if no row has a value.
    pub fn number(&mut self, measure: impl Into<Measure>, value: Option<f64>) {
        let column = self.numbers.entry(measure.into()).or_default();
        if let Some(value) = value {
            column.resize(self.seeds.len(), None);
            column[self.seeds.len() - 1] = Some(value);
        }
    }

    /// Builds the table of all rows.
    pub fn frame(self) -> Frame {
        let height = self.seeds.len();
        let mut columns = vec![
            Column::from(Series::new(AT.into(), self.at)),
            Column::from(Series::new(SETTING.into(), self.settings)),
            Column::from(Series::new(SEED.into(), self.seeds)),
        ];
        for (measure, mut numbers) in self.numbers {
            numbers.resize(height, None);
            columns.push(Column::from(Series::new(measure.id().into(), numbers)));
        }
        let table = DataFrame::new(height, columns).expect("columns are of one length and differ in name");
        Frame { table, axes: Arc::new(self.axes) }
    }
}

/// Table of F1 for tests, from (what is scored, seed, F1).
#[cfg(test)]
pub(crate) fn f1_frame(rows: &[(Scored, u64, f64)]) -> Frame {
    let mut table = FrameBuilder::default();
    for &(at, seed, f1) in rows {
        table.begin("test", at, Some(seed));
        table.number(crate::results::Metric::F1, Some(f1));
    }
    table.frame()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::cell::Axes,
        backbone::Name::ResNet18,
        data::Share,
        method::Name::{Byol, SimClr},
        results::Metric,
    };

    const SIMCLR: Scored = Axes::table_1(SimClr, ResNet18, Share::percent(5)).in_training();

    fn frame() -> Frame {
        let mut rows = FrameBuilder::default();
        let byol = Axes::table_1(Byol, ResNet18, Share::NATURAL).in_training();
        for (setting, at, seed, f1) in [
            ("small", SIMCLR, 0, Some(0.5)),
            ("small", byol, 1, None),
            ("full", SIMCLR, 0, Some(f64::NAN)),
            ("small", SIMCLR, 1, Some(0.7)),
        ] {
            rows.begin(setting, at, Some(seed));
            rows.number(Metric::F1, f1);
            rows.number(Measure::RANKME, None);
        }
        rows.frame()
    }

    #[test]
    fn rows_are_chosen_by_setting_and_by_axes() {
        let frame = frame();
        assert_eq!(frame.settings(), [("small".to_owned(), 3), ("full".to_owned(), 1)]);
        assert_eq!(frame.setting("small").height(), 3);
        assert_eq!(frame.setting("nowhere").height(), 0);
        assert_eq!(frame.filter_axes(|at| at.cell.method == Some(SimClr)).height(), 3);
        assert_eq!(frame.filter_axes(|at| at.cell.share == Share::NATURAL).axes().len(), 1);
        assert_eq!(frame.measures(), [Metric::F1.into(), Measure::RANKME]);
        assert_eq!(frame.numbers(&Measure::EPOCH_SECONDS), [None; 4]);
    }

    #[test]
    fn measures_are_in_the_order_of_names() {
        let mut rows = FrameBuilder::default();
        rows.begin("small", SIMCLR, Some(0));
        rows.number(Measure::RANKME, Some(1.0));
        rows.number(Metric::F1, Some(0.5));
        rows.number(Metric::Auroc, Some(0.5));
        assert_eq!(rows.frame().measures(), [Metric::Auroc.into(), Metric::F1.into(), Measure::RANKME]);
    }

    #[test]
    fn what_is_missing_or_not_a_number_is_no_point() {
        let points = frame().points(&Metric::F1.into());
        assert_eq!(
            points,
            [
                Point { scored: SIMCLR, seed: Some(0), value: 0.5 },
                Point { scored: SIMCLR, seed: Some(1), value: 0.7 }
            ]
        );
    }

    #[test]
    fn a_model_is_compared_with_itself_seed_by_seed() {
        let mut rows = FrameBuilder::default();
        let (rare, many) = (Share::percent(1), Share::percent(45));
        for (validation, seed, f1) in
            [(rare, 0, 0.1), (many, 0, 0.7), (many, 1, 0.9), (rare, 2, 0.2), (many, 2, 0.5)]
        {
            rows.begin("small", SIMCLR.on(validation), Some(seed));
            rows.number(Metric::F1, Some(f1));
        }
        let (measure, moved) = rows.frame().change_between(&Metric::F1.into(), [rare, many]);
        assert_eq!(measure.id(), "f1 at 1 % minus at 45 %");
        let found: Vec<(Option<u64>, f64)> = moved
            .points(&measure)
            .iter()
            .map(|point| (point.seed, (10.0 * point.value).round() / 10.0))
            .collect();
        assert_eq!(found, [(Some(0), -0.6), (Some(2), -0.3)], "seed 1 has no partner");
        assert!(moved.axes().into_iter().eq([SIMCLR]));
    }

    #[test]
    fn seeds_are_taken_together_within_a_setting() {
        let found = frame().setting("small").summaries(&[Metric::F1.into(), Measure::EPOCH_SECONDS]);
        assert_eq!(found.len(), 2);
        // Mean of 0.5 and 0.7; deviation sqrt(2 x 0.1^2 / 1).
        let f1 = found.iter().find(|summary| summary.scored == SIMCLR).unwrap();
        assert_eq!((f1.rows, f1.aggregates[0].count, f1.aggregates[1].count), (2, 2, 0));
        assert!((f1.aggregates[0].mean - 0.6).abs() < 1e-15);
        assert!((f1.aggregates[0].deviation.unwrap() - 0.02_f64.sqrt()).abs() < 1e-15);
        let byol = found.iter().find(|summary| summary.scored != SIMCLR).unwrap();
        assert_eq!((byol.rows, byol.aggregates[0].count, byol.aggregates[0].deviation), (1, 0, None));
        assert!(byol.aggregates[0].mean.is_nan());
        assert!(frame().setting("nowhere").summaries(&[Metric::F1.into()]).is_empty());
    }

    /// Changes are of one classifier of one cell, and of the two shares alone.
    #[test]
    fn a_change_is_of_one_classifier_of_one_cell() {
        let [rare, some, many] = [1, 5, 45].map(Share::percent);
        let byol = Axes::table_1(Byol, ResNet18, Share::percent(5)).in_training();
        let mut rows = FrameBuilder::default();
        for (at, scores) in [
            (SIMCLR, [0.125, 0.9, 0.75]),
            (SIMCLR.cell.converged(), [0.25, 0.9, 0.5]),
            (byol, [0.375, 0.9, 0.4375]),
        ] {
            for seed in 0..2_u32 {
                for (validation, score) in
                    [many, rare, some].into_iter().zip([scores[2], scores[0], scores[1]])
                {
                    rows.begin("small", at.on(validation), Some(seed.into()));
                    let extra = if validation == rare { f64::from(seed) / 64.0 } else { 0.0 };
                    rows.number(Metric::F1, Some(score + extra));
                }
            }
        }
        let frame = rows.frame();
        let changes = |shares: [Share; 2]| {
            let (measure, moved) = frame.change_between(&Metric::F1.into(), shares);
            moved.runs(&measure)
        };
        let of = |first: f64, side: f64| vec![(Some(0), first), (Some(1), first + side / 64.0)];
        let [training, converged] = [SIMCLR, SIMCLR.cell.converged()];
        let expected: BTreeMap<_, _> =
            [(training, of(-0.625, 1.0)), (converged, of(-0.25, 1.0)), (byol, of(-0.0625, 1.0))].into();
        assert_eq!(changes([rare, many]), expected);
        let turned: BTreeMap<_, _> =
            [(training, of(0.625, -1.0)), (converged, of(0.25, -1.0)), (byol, of(0.0625, -1.0))].into();
        assert_eq!(changes([many, rare]), turned);
    }

    /// A summary is of one setting and one classifier of a cell; each measure counts the seeds that have it.
    #[test]
    fn every_setting_of_a_cell_has_its_own_summary() {
        let byol = Axes::table_1(Byol, ResNet18, Share::percent(5)).in_training();
        let mut rows = FrameBuilder::default();
        for (setting, at, seed, f1, auroc) in [
            ("small", SIMCLR, 0, Some(0.5), None),
            ("full", SIMCLR, 0, Some(0.3), Some(0.9)),
            ("small", SIMCLR, 1, Some(0.7), Some(0.6)),
            ("full", byol, 0, Some(0.1), None),
            ("small", byol, 3, None, Some(0.2)),
            ("full", SIMCLR, 1, Some(0.4), Some(0.8)),
            ("full", SIMCLR, 2, Some(0.8), None),
        ] {
            rows.begin(setting, at, Some(seed));
            rows.number(Metric::F1, f1);
            rows.number(Metric::Auroc, auroc);
        }
        let millionths = |value: f64| (1e6 * value).round();
        type Told = (Scored, usize, Vec<(usize, f64, Option<f64>)>);
        let told = |found: Vec<Summary>| -> Vec<Told> {
            let of = |of: &Aggregate| (of.count, millionths(of.mean), of.deviation.map(millionths));
            let of = |found: Summary| (found.scored, found.rows, found.aggregates.iter().map(of).collect());
            found.into_iter().map(of).collect()
        };
        let mut expected = vec![
            // Deviations sqrt(0.02), sqrt(0.005), and the root of (0.04 + 0.01 + 0.09) / 2.
            (SIMCLR, 2, vec![(1, 600_000.0, None), (2, 600_000.0, Some(141_421.0))]),
            (SIMCLR, 3, vec![(2, 850_000.0, Some(70_711.0)), (3, 500_000.0, Some(264_575.0))]),
        ];
        let frame = rows.frame();
        let measures = [Metric::Auroc.into(), Metric::F1.into()];
        let simclr = frame.filter_axes(|at| *at == SIMCLR).summaries(&measures);
        assert_eq!(told(simclr), expected);
        let all = told(frame.summaries(&[Metric::F1.into(), Metric::Auroc.into()]));
        expected.iter_mut().for_each(|(_, _, both)| both.reverse());
        let own: Vec<_> = all.iter().filter(|found| found.0 == SIMCLR).cloned().collect();
        assert_eq!(own, expected);
        let others: Vec<_> =
            all.iter().filter(|found| found.0 == byol).map(|found| (found.1, found.2[0].0)).collect();
        assert_eq!((others, all.len()), (vec![(1, 1), (1, 0)], 4));
    }
}
