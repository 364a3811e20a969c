//! The long table: one row a classifier and validation share of a cell.
//!
//! Columns are the axes (`source`, `setting`, `study`, `method`, `backbone`, `train_share`, `seed`,
//! `classifier`, `validation_share`), everything a score holds by its name in the record (`f1`, ...), and
//! by dotted name what a cell has once and each of its rows repeats: `monitor.rankme` (last epoch),
//! `first_monitor.rankme` (first epoch), `features.rankme` (label-free), `cost.train_seconds`. A value
//! that was not measured is null, never a number. Knows nothing of files.

use std::collections::BTreeMap;

use polars::prelude::{
    BooleanChunked, ChunkCompareEq, Column, DataFrame, DataType, NamedFrom, PolarsResult, Series,
};

/// Rows of cells, all in one shape.
#[derive(Clone, Debug)]
pub struct Frame(DataFrame);

/// One number with the axes of the cell that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub method: String,
    pub backbone: String,
    /// 0..1; none for the data's own.
    pub train_share: Option<f64>,
    /// 0..1; none for all validation images.
    pub validation_share: Option<f64>,
    /// None in the paper, which has one run a cell.
    pub seed: Option<u64>,
    pub value: f64,
}

impl Frame {
    /// The table itself, for whoever wants more of polars than is here.
    pub fn table(&self) -> &DataFrame {
        &self.0
    }

    pub fn height(&self) -> usize {
        self.0.height()
    }

    /// Rows whose text in `column` is `value`; none where there is no such column.
    #[must_use]
    pub fn of(&self, column: &str, value: &str) -> Self {
        self.filtered(|table| Ok(table.column(column)?.str()?.equal(value)))
    }

    /// Rows whose number in `column` lies within 1e-9 of `value`, or is missing where `value` is none.
    #[must_use]
    pub fn at(&self, column: &str, value: Option<f64>) -> Self {
        self.filtered(|table| {
            let numbers = table.column(column)?.f64()?;
            Ok(numbers
                .iter()
                .map(|number| match (number, value) {
                    (Some(number), Some(value)) => (number - value).abs() < 1e-9,
                    (number, value) => number.is_none() && value.is_none(),
                })
                .collect())
        })
    }

    /// Texts of a column, row by row.
    pub fn texts(&self, column: &str) -> Vec<Option<String>> {
        match self.0.column(column).and_then(|column| column.str().cloned()) {
            Ok(texts) => texts.iter().map(|text| text.map(str::to_owned)).collect(),
            Err(_) => vec![None; self.height()],
        }
    }

    /// Numbers of a column, row by row; all missing where there is no such column.
    pub fn numbers(&self, column: &str) -> Vec<Option<f64>> {
        match self.0.column(column).and_then(|column| column.f64().cloned()) {
            Ok(numbers) => numbers.iter().collect(),
            Err(_) => vec![None; self.height()],
        }
    }

    /// Different texts of a column, sorted.
    pub fn distinct(&self, column: &str) -> Vec<String> {
        let mut texts: Vec<String> = self.texts(column).into_iter().flatten().collect();
        texts.sort();
        texts.dedup();
        texts
    }

    /// Names of the columns of numbers, sorted.
    pub fn measures(&self) -> Vec<String> {
        let numbers = self.0.columns().iter().filter(|column| column.dtype() == &DataType::Float64);
        let mut names: Vec<String> = numbers.map(|column| column.name().to_string()).collect();
        names.retain(|name| !matches!(name.as_str(), "train_share" | "validation_share"));
        names.sort();
        names
    }

    /// The finite numbers of a column with their axes. Which rows are meant is for the caller to choose
    /// first, by [`Self::of`] and [`Self::at`]: nothing is averaged here.
    pub fn points(&self, column: &str) -> Vec<Point> {
        let (methods, backbones) = (self.texts("method"), self.texts("backbone"));
        let (train, validation) = (self.numbers("train_share"), self.numbers("validation_share"));
        let seeds: Vec<Option<u64>> = match self.0.column("seed").and_then(|column| column.u64().cloned()) {
            Ok(seeds) => seeds.iter().collect(),
            Err(_) => vec![None; self.height()],
        };
        let point = |(row, value): (usize, Option<f64>)| {
            Some(Point {
                method: methods[row].clone()?,
                backbone: backbones[row].clone()?,
                train_share: train[row],
                validation_share: validation[row],
                seed: seeds[row],
                value: value.filter(|value| value.is_finite())?,
            })
        };
        self.numbers(column).into_iter().enumerate().filter_map(point).collect()
    }

    /// Both tables below each other; a column that one lacks is missing in its rows.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = polars::functions::concat_df_diagonal(&[self.0.clone(), other.0.clone()]);
        Self(both.expect("columns of one name have one type in every frame"))
    }

    fn filtered(&self, mask: impl Fn(&DataFrame) -> PolarsResult<BooleanChunked>) -> Self {
        let none = || BooleanChunked::new("none".into(), vec![false; self.height()]);
        let mask = mask(&self.0).unwrap_or_else(|_| none());
        Self(self.0.filter(&mask).expect("a mask is as long as its table"))
    }
}

/// Columns while rows are being added.
#[derive(Default)]
pub struct Rows {
    texts: BTreeMap<String, Vec<Option<String>>>,
    numbers: BTreeMap<String, Vec<Option<f64>>>,
    seeds: Vec<Option<u64>>,
}

impl Rows {
    /// Begins a row; texts and numbers then go into it.
    pub fn begin(&mut self, seed: Option<u64>) {
        self.seeds.push(seed);
    }

    /// Sets a text of the current row.
    pub fn text(&mut self, column: &str, value: &str) {
        set(&mut self.texts, column, self.seeds.len(), value.to_owned());
    }

    /// Sets a number of the current row, where there is one.
    pub fn number(&mut self, column: &str, value: Option<f64>) {
        match value {
            Some(value) => set(&mut self.numbers, column, self.seeds.len(), value),
            // The column is there even if nobody has measured it.
            None => drop(self.numbers.entry(column.to_owned()).or_default()),
        }
    }

    pub fn frame(self) -> Frame {
        let height = self.seeds.len();
        let mut columns = Vec::new();
        for (name, mut texts) in self.texts {
            texts.resize(height, None);
            columns.push(Column::from(Series::new(name.as_str().into(), texts)));
        }
        columns.push(Column::from(Series::new("seed".into(), self.seeds)));
        for (name, mut numbers) in self.numbers {
            numbers.resize(height, None);
            columns.push(Column::from(Series::new(name.as_str().into(), numbers)));
        }
        Frame(DataFrame::new(height, columns).expect("columns are of one length and differ in name"))
    }
}

fn set<T: Clone>(columns: &mut BTreeMap<String, Vec<Option<T>>>, name: &str, height: usize, value: T) {
    // Not `entry`: it would copy the name for every number.
    if !columns.contains_key(name) {
        columns.insert(name.to_owned(), Vec::new());
    }
    if let Some(column) = columns.get_mut(name) {
        column.resize(height, None);
        column[height - 1] = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let mut rows = Rows::default();
        for (method, share, seed, f1) in [
            ("simclr", Some(0.05), 0, Some(0.5)),
            ("byol", None, 1, None),
            ("simclr", None, 1, Some(f64::NAN)),
        ] {
            rows.begin(Some(seed));
            rows.text("method", method);
            rows.text("backbone", "resnet18");
            rows.number("train_share", share);
            rows.number("f1", f1);
        }
        rows.frame()
    }

    #[test]
    fn rows_are_chosen_by_text_and_by_number() {
        let frame = frame();
        assert_eq!(frame.of("method", "simclr").height(), 2);
        assert_eq!(frame.of("method", "simclr").at("train_share", None).height(), 1);
        assert_eq!(frame.at("train_share", Some(0.05)).height(), 1);
        assert_eq!(frame.of("nothing", "simclr").height(), 0);
        assert_eq!(frame.distinct("method"), ["byol", "simclr"]);
        assert_eq!(frame.numbers("nothing"), [None; 3]);
    }

    #[test]
    fn what_is_missing_or_not_a_number_is_no_point() {
        let points = frame().points("f1");
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].seed, points[0].train_share, points[0].value), (Some(0), Some(0.05), 0.5));
    }

    #[test]
    fn tables_of_other_columns_go_below_each_other() {
        let mut rows = Rows::default();
        rows.begin(None);
        rows.text("method", "mae");
        rows.number("auroc", Some(0.7));
        let both = frame().and(&rows.frame());
        assert_eq!(both.height(), 4);
        assert_eq!(both.numbers("auroc"), [None, None, None, Some(0.7)]);
        assert_eq!(both.numbers("f1")[3], None);
    }
}
