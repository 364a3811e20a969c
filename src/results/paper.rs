//! The numbers that the paper prints, as typed rows: Tables 1 and 2 and Figure 2 of Otero, Mateus and Balestriero,
//! "Anomaly Detection In The Wild" (2024). The numbers are stored in `fixtures/paper`, whose README says how they
//! were read. Independent of our measurements.

use std::{collections::HashMap, str::FromStr};

use super::metric::Metric;
use crate::{backbone, data::Share, method};

/// Content of a printed table cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Printed {
    /// A score, 0 to 1 (Figure 2 prints percent).
    Score(f64),
    /// A dash: not trained.
    Dash,
    /// Printed, but illegible in the text available to us.
    Lost,
}

/// A cell of Table 1: scores on the published validation split.
#[derive(Clone, Debug, PartialEq)]
pub struct Table1Cell {
    /// F1, F1_Normal or the oracle-typed F2_CIW.
    pub metric: Metric,
    /// Encoder.
    pub backbone: backbone::Name,
    /// Training method.
    pub method: method::Name,
    /// Share of defects in training.
    pub train_share: Share,
    /// The printed content.
    pub printed: Printed,
}

/// A column of Table 2: supervised training at one resolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Table2Column {
    /// Side of the square image, in pixels.
    pub resolution: u16,
    /// Best validation F1 of ViT-Tiny.
    pub vit_tiny_f1: f64,
    /// Best validation F1 of ResNet-18.
    pub resnet18_f1: f64,
    /// Minutes of training per epoch.
    pub minutes_per_epoch: f64,
}

/// A cell of Figure 2: scores at several shares of defects in validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure2Cell {
    /// F1, F1_Normal or the oracle-typed F2_CIW.
    pub metric: Metric,
    /// MAE, SimCLR or supervised training.
    pub method: method::Name,
    /// Share of defects in training.
    pub train_share: Share,
    /// Share of defects in validation.
    pub validation_share: Share,
    /// The printed content.
    pub printed: Printed,
    /// The value of a lost cell, if [`SolvedRates`] determine it. Not read from the paper.
    pub derived: Option<f64>,
}

/// Rates behind one row of Figure 2, solved from its 45 % column. Not printed in the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct SolvedRates {
    /// Training method.
    pub method: method::Name,
    /// Share of defects in training.
    pub train_share: Share,
    /// Fraction of the defects that is flagged.
    pub true_positive: f64,
    /// Fraction of the normal images that is flagged.
    pub false_positive: f64,
}

impl Printed {
    /// Returns the score, if one can be read.
    pub fn score(self) -> Option<f64> {
        if let Self::Score(score) = self { Some(score) } else { None }
    }
}

/// Returns Table 1, row by row.
pub fn table_1() -> Vec<Table1Cell> {
    let sheet = PrintedSheet::new(include_str!("../../fixtures/paper/table_1.csv"));
    let mut cells = Vec::new();
    for row in &sheet.rows {
        for (share, cell) in sheet.head.iter().zip(row).skip(3) {
            cells.push(Table1Cell {
                metric: metric(&row[0]),
                backbone: parsed(&row[1]),
                method: parsed(&row[2]),
                train_share: parsed(share),
                printed: printed(cell, 1.0),
            });
        }
    }
    cells
}

/// Returns Table 2, from low resolution to high.
pub fn table_2() -> Vec<Table2Column> {
    let sheet = PrintedSheet::new(include_str!("../../fixtures/paper/table_2.csv"));
    (1..sheet.head.len())
        .map(|column| Table2Column {
            resolution: parsed(&sheet.head[column]),
            vit_tiny_f1: parsed(&sheet.rows[0][column]),
            resnet18_f1: parsed(&sheet.rows[1][column]),
            minutes_per_epoch: parsed(&sheet.rows[2][column]),
        })
        .collect()
}

/// Returns Figure 2, row by row.
pub fn figure_2() -> Vec<Figure2Cell> {
    let derived: HashMap<[String; 4], f64> =
        PrintedSheet::new(include_str!("../../fixtures/paper/figure_2_derived.csv"))
            .rows
            .into_iter()
            .map(|row| {
                let [metric, method, train, validation, value] =
                    <[String; 5]>::try_from(row).expect("the embedded file has five columns");
                ([metric, method, train, validation], parsed::<f64>(&value) / 100.0)
            })
            .collect();
    let sheet = PrintedSheet::new(include_str!("../../fixtures/paper/figure_2.csv"));
    let mut cells = Vec::new();
    for row in &sheet.rows {
        for (share, cell) in sheet.head.iter().zip(row).skip(3) {
            let key = [row[0].clone(), row[1].clone(), row[2].clone(), share.clone()];
            cells.push(Figure2Cell {
                metric: metric(&row[0]),
                method: parsed(&row[1]),
                train_share: parsed(&row[2]),
                validation_share: parsed(share),
                printed: printed(cell, 100.0),
                derived: derived.get(&key).copied(),
            });
        }
    }
    cells
}

/// Returns the fifteen pairs of rates behind Figure 2.
pub fn figure_2_rates() -> Vec<SolvedRates> {
    PrintedSheet::new(include_str!("../../fixtures/paper/figure_2_rates.csv"))
        .rows
        .iter()
        .map(|row| SolvedRates {
            method: parsed(&row[0]),
            train_share: parsed(&row[1]),
            true_positive: parsed(&row[2]),
            false_positive: parsed(&row[3]),
        })
        .collect()
}

/// One embedded file. Reading cannot fail at run time: the text is fixed when this is compiled, and
/// the tests read all of it.
struct PrintedSheet {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl PrintedSheet {
    fn new(text: &str) -> Self {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let cells = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        Self {
            head: cells(reader.headers().expect("the embedded file is well-formed")),
            rows: reader
                .records()
                .map(|record| cells(&record.expect("the embedded file is well-formed")))
                .collect(),
        }
    }
}

fn metric(name: &str) -> Metric {
    match name {
        "f1" => Metric::F1,
        "f2_ciw" => Metric::F2Oracle,
        "f1_normal" => Metric::F1Normal,
        _ => panic!("fixtures/paper: metric '{name}', expected f1, f2_ciw or f1_normal"),
    }
}

fn printed(cell: &str, full: f64) -> Printed {
    match cell {
        "" => Printed::Lost,
        "-" => Printed::Dash,
        _ => Printed::Score(parsed::<f64>(cell) / full),
    }
}

fn parsed<T: FromStr>(cell: &str) -> T {
    cell.parse().unwrap_or_else(|_| panic!("fixtures/paper: '{cell}' is not what stands in its place"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::Name::{ResNet18, ViTTiny},
        method::Name::{Mae, SimClr, Supervised},
    };

    fn count(cells: impl Iterator<Item = Printed>, wanted: Printed) -> usize {
        cells.filter(|&cell| cell == wanted).count()
    }

    #[test]
    fn every_cell_is_there() {
        // 3 scores x 2 backbones x 6 methods x 5 shares; 15 dashes of MAE, 4 cells of SimCLR lost.
        let table = table_1();
        assert_eq!(table.len(), 180);
        assert_eq!(count(table.iter().map(|cell| cell.printed), Printed::Dash), 15);
        assert_eq!(count(table.iter().map(|cell| cell.printed), Printed::Lost), 4);
        assert!(table.iter().filter_map(|cell| cell.printed.score()).all(|score| score > 0.0 && score < 1.0));
        // 3 scores x 3 methods x 5 x 5 shares; 13 lost, of which 2 (F2_CIW) cannot be derived.
        let figure = figure_2();
        assert_eq!(figure.len(), 225);
        assert_eq!(count(figure.iter().map(|cell| cell.printed), Printed::Lost), 13);
        let underivable: Vec<_> = figure
            .iter()
            .filter(|cell| cell.printed == Printed::Lost && cell.derived.is_none())
            .map(|cell| (cell.metric, cell.method, cell.train_share, cell.validation_share))
            .collect();
        let lost = |train| (Metric::F2Oracle, Mae, Share::percent(train), Share::percent(2));
        assert_eq!(underivable, [lost(2), lost(15)]);
        assert!(figure.iter().all(|cell| cell.derived.is_none() || cell.printed == Printed::Lost));
        assert_eq!(figure_2_rates().len(), 15);
    }

    #[test]
    fn figure_2_differs_from_table_1_as_noted() {
        // Figure 2 at 45 % minus Table 1 (ResNet-18, for MAE ViT-Tiny), in points, for F1, F2_CIW and F1_Normal,
        // computed from an independent transcription of both.
        const LOST: f64 = f64::NAN;
        #[rustfmt::skip]
        let noted = [
            (Supervised, ResNet18, [[0.1, -2.3, 1.8], [0.2, 0.1, 1.7], [0.0, -1.5, 1.2], [0.1, -1.8, 1.1], [-0.1, 0.8, 0.8]]),
            (Supervised, ViTTiny, [[6.4, -2.2, 9.4], [6.4, 3.8, 8.4], [3.4, 3.4, 4.7], [2.5, 1.6, 3.6], [1.9, 0.6, 2.6]]),
            (SimClr, ResNet18, [[0.3, 6.1, 0.3], [LOST, LOST, 0.9], [LOST, LOST, 1.0], [-1.3, -1.2, 1.1], [-1.5, -2.6, 0.7]]),
            (SimClr, ViTTiny, [[-1.9, 7.0, -2.7], [0.5, 2.1, 2.1], [1.4, 2.4, 3.0], [1.6, 0.9, 4.4], [1.3, -0.1, 3.3]]),
            (Mae, ViTTiny, [[12.9, 0.1, 26.2], [8.1, 9.6, 41.8], [15.2, 0.6, 23.6], [16.0, 4.1, 39.5], [68.4, 66.0, 11.4]]),
        ];
        let (table, figure) = (table_1(), figure_2());
        for (method, backbone, rows) in noted {
            for (share, row) in Share::STUDY.into_iter().zip(rows) {
                for (metric, expected) in
                    [Metric::F1, Metric::F2Oracle, Metric::F1Normal].into_iter().zip(row)
                {
                    let in_table = table.iter().find(|cell| {
                        (cell.metric, cell.backbone, cell.method, cell.train_share)
                            == (metric, backbone, method, share)
                    });
                    let in_figure = figure.iter().find(|cell| {
                        (cell.metric, cell.method, cell.train_share, cell.validation_share)
                            == (metric, method, share, Share::percent(45))
                    });
                    let scores = in_table.unwrap().printed.score().zip(in_figure.unwrap().printed.score());
                    match scores {
                        Some((table, figure)) => {
                            let found = 100.0 * (figure - table);
                            assert!((found - expected).abs() < 1e-9, "{method} {backbone} {share}: {found}");
                        }
                        None => assert!(expected.is_nan(), "{method} {backbone} {share} is lost"),
                    }
                }
            }
        }
    }

    #[test]
    fn resolutions_rise() {
        let columns = table_2();
        let resolutions: Vec<_> = columns.iter().map(|column| column.resolution).collect();
        assert_eq!(resolutions, [64, 128, 224, 384, 512]);
        assert!(columns.is_sorted_by_key(|column| column.resnet18_f1));
        assert_eq!(columns[2].minutes_per_epoch, 37.0);
        assert_eq!((columns[2].vit_tiny_f1, columns[2].resnet18_f1), (0.894, 0.901));
    }

    /// Every printed number is in its own cell: written back, the cells make the file that they were read from.
    #[test]
    fn cells_written_back_make_the_file() {
        let name = |metric: Metric| match metric {
            Metric::F1 => "f1",
            Metric::F1Normal => "f1_normal",
            _ => "f2_ciw",
        };
        // The last column ends the row.
        let add = |found: &mut String, begin: String, share: Share, cell: String| {
            if share == Share::STUDY[0] {
                *found += &begin;
            }
            *found += &format!(",{cell}");
            if share == Share::STUDY[4] {
                found.push('\n');
            }
        };
        let shown = |printed: Printed, decimals: usize, full: f64| match printed {
            Printed::Score(score) => format!("{:.decimals$}", full * score),
            Printed::Dash => "-".to_owned(),
            Printed::Lost => String::new(),
        };
        // Table 1 has three decimals, some of which are printed as two.
        let numbers = |text: &str, decimals: usize| -> String {
            let cell = |cell: &str| match cell.parse::<f64>() {
                Ok(number) => format!("{number:.decimals$}"),
                Err(_) => cell.to_owned(),
            };
            let line = |line: &str| line.split(',').map(cell).collect::<Vec<_>>().join(",") + "\n";
            text.lines().skip(1).map(line).collect()
        };
        let mut found = String::new();
        for Table1Cell { metric, backbone, method, train_share, printed } in table_1() {
            let begin = format!("{},{backbone},{method}", name(metric));
            add(&mut found, begin, train_share, shown(printed, 3, 1.0));
        }
        assert_eq!(found, numbers(include_str!("../../fixtures/paper/table_1.csv"), 3));

        let (mut found, mut derived) = (String::new(), Vec::new());
        for Figure2Cell { metric, method, train_share, validation_share, printed, derived: solved } in
            figure_2()
        {
            let begin = format!("{},{method},{train_share}", name(metric));
            add(&mut found, begin.clone(), validation_share, shown(printed, 1, 100.0));
            derived.extend(solved.map(|solved| format!("{begin},{validation_share},{:.1}", 100.0 * solved)));
        }
        assert_eq!(found, numbers(include_str!("../../fixtures/paper/figure_2.csv"), 1));
        let file = include_str!("../../fixtures/paper/figure_2_derived.csv");
        let mut expected: Vec<&str> = file.lines().skip(1).collect();
        derived.sort();
        expected.sort_unstable();
        assert_eq!(derived, expected);

        let rates: String = figure_2_rates()
            .into_iter()
            .map(|SolvedRates { method, train_share, true_positive, false_positive }| {
                format!("{method},{train_share},{true_positive:.3},{false_positive:.3}\n")
            })
            .collect();
        assert_eq!(rates, numbers(include_str!("../../fixtures/paper/figure_2_rates.csv"), 3));
        let columns = table_2();
        let minutes: Vec<f64> = columns.iter().map(|column| column.minutes_per_epoch).collect();
        let [vit, resnet] =
            [|column: &Table2Column| column.vit_tiny_f1, |column: &Table2Column| column.resnet18_f1]
                .map(|of| columns.iter().map(of).collect::<Vec<f64>>());
        assert_eq!(minutes, [28.0, 31.0, 37.0, 52.0, 69.0]);
        assert_eq!(vit, [0.866, 0.885, 0.894, 0.897, 0.90]);
        assert_eq!(resnet, [0.877, 0.892, 0.901, 0.907, 0.909]);
    }
}
