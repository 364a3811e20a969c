//! Heat maps in the paper's layout: rows are trained models, columns validation shares (or two settings).

use maud::{Markup, html};

use super::{Drawing, colour, round, text};
use crate::method::Name;

/// A table of numbers as coloured cells that also show the numbers.
pub struct Heatmap {
    /// Caption below the figure.
    pub caption: String,
    /// What the rows are.
    pub row_axis: String,
    /// What the columns are.
    pub column_axis: String,
    /// Method of each row, if any, and its name.
    pub rows: Vec<(Option<Name>, String)>,
    /// Names of columns.
    pub columns: Vec<String>,
    /// Values row by row; `None` if not measured.
    pub cells: Vec<Vec<Option<f64>>>,
    /// Values of the palest and of the strongest colour.
    pub range: (f64, f64),
    /// Decimals of the numbers, which are percentages.
    pub percent_decimals: usize,
}

const CELL: (f64, f64) = (58.0, 22.0);
const LEFT: f64 = 150.0;
const TOP: f64 = 44.0;
const NARROWEST: f64 = 330.0;

impl Heatmap {
    /// Draws the figure.
    pub fn draw(&self) -> Markup {
        let gap = |row: usize| {
            // A small gap between methods.
            let changes = (1..=row).filter(|&row| self.rows[row].0 != self.rows[row - 1].0).count();
            6.0 * changes as f64
        };
        // With few columns the captions need a minimum width.
        let width = (LEFT + CELL.0 * self.columns.len() as f64 + 8.0).max(NARROWEST);
        let last = self.rows.len().saturating_sub(1);
        let height =
            TOP + CELL.1 * self.rows.len() as f64 + if self.rows.is_empty() { 0.0 } else { gap(last) } + 26.0;
        let (low, high) = self.range;
        let content = html! {
            (text(LEFT + CELL.0 * self.columns.len() as f64 / 2.0, 14.0, "middle", "axis", &self.column_axis))
            @for (column, name) in self.columns.iter().enumerate() {
                (text(LEFT + CELL.0 * (column as f64 + 0.5), TOP - 8.0, "middle", "tick", name))
            }
            @for (row, (group, name)) in self.rows.iter().enumerate() {
                @let y = TOP + CELL.1 * row as f64 + gap(row);
                rect x="2" y=(round(y + 2.0)) width="4" height=(CELL.1 - 4.0) fill=(colour::of_method(*group)) {}
                (text(LEFT - 8.0, y + 15.0, "end", "tick", name))
                @for (column, cell) in self.cells[row].iter().enumerate() {
                    @let x = LEFT + CELL.0 * column as f64;
                    @match cell {
                        Some(value) => {
                            @let part = (value - low) / (high - low).max(f64::MIN_POSITIVE);
                            rect x=(round(x)) y=(round(y)) width=(CELL.0 - 1.0) height=(CELL.1 - 1.0)
                                style={ "fill:" (colour::heat(0.08 + 0.92 * part)) } {}
                            (text(x + CELL.0 / 2.0, y + 15.0, "middle", "cell",
                                &format!("{:.*}", self.percent_decimals, 100.0 * value)))
                        }
                        None => {
                            rect.none x=(round(x)) y=(round(y)) width=(CELL.0 - 1.0) height=(CELL.1 - 1.0) {}
                            (text(x + CELL.0 / 2.0, y + 15.0, "middle", "cell", "\u{2013}"))
                        }
                    }
                }
            }
            (text(2.0, height - 8.0, "start", "axis", &format!("rows: {}; numbers in per cent", self.row_axis)))
        };
        Drawing { caption: self.caption.clone(), width, height, content }.framed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the colours of a row of cells.
    fn colours(range: (f64, f64), cells: &[f64]) -> Vec<String> {
        let map = Heatmap {
            caption: String::new(),
            row_axis: String::new(),
            column_axis: String::new(),
            rows: vec![(None, "row".to_owned())],
            columns: cells.iter().map(f64::to_string).collect(),
            cells: vec![cells.iter().copied().map(Some).collect()],
            range,
            percent_decimals: 1,
        };
        let drawn = map.draw().into_string();
        drawn.split("style=\"fill:").skip(1).map(|part| part.split('"').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn colours_are_those_of_the_place_in_the_range() {
        let whole = colours((0.0, 1.0), &[0.0, 0.5, 1.0]);
        assert!(whole[0] != whole[1] && whole[1] != whole[2], "{whole:?}");
        assert_eq!(whole[2], colour::heat(1.0), "the highest is the strongest");
        assert_eq!(colours((0.5, 0.75), &[0.5, 0.625, 0.75]), whole);
    }

    /// Numbers are in their row and column; what was not measured is a dash; methods are separated.
    #[test]
    fn numbers_stand_in_their_row_and_column() {
        let map = Heatmap {
            caption: String::new(),
            row_axis: "models".to_owned(),
            column_axis: "shares".to_owned(),
            rows: vec![(Some(Name::Byol), "first".to_owned()), (Some(Name::Mae), "second".to_owned())],
            columns: vec!["left".to_owned(), "right".to_owned()],
            cells: vec![vec![Some(0.125), None], vec![Some(0.25), Some(0.9)]],
            range: (0.0, 1.0),
            percent_decimals: 1,
        };
        let drawn = map.draw().into_string();
        // Columns are 58 wide and begin at 150; rows are 22 high and begin at 44, with 6 between methods.
        for (text, x, y) in [
            ("left", 179, 36),
            ("right", 237, 36),
            ("first", 142, 59),
            ("second", 142, 87),
            ("12.5", 179, 59),
            ("\u{2013}", 237, 59),
            ("25.0", 179, 87),
            ("90.0", 237, 87),
        ] {
            let (begin, _) =
                drawn.split_once(&format!(">{text}<")).unwrap_or_else(|| panic!("{text}: {drawn}"));
            let place = begin.rsplit("<text ").next().unwrap();
            assert!(place.starts_with(&format!("x=\"{x}\" y=\"{y}\"")), "{text} at {place}");
        }
        // Both rows begin with their method's colour, in order.
        let places = [Name::Byol, Name::Mae].map(|name| drawn.find(&format!("fill=\"{}\"", name.colour())));
        assert!(places[0].is_some() && places[0] < places[1], "{places:?}");
        assert!(drawn.contains("rows: models; numbers in per cent") && drawn.contains(">shares<"), "{drawn}");
    }

    /// The figure is as high as its rows, the gaps between methods, its heads and its caption, and as wide as its columns;
    /// all its texts lie within.
    #[test]
    fn a_map_has_room_for_all_its_rows_and_columns() {
        let drawn = |rows: &[Option<Name>], columns: usize| {
            let map = Heatmap {
                caption: String::new(),
                row_axis: String::new(),
                column_axis: String::new(),
                rows: rows.iter().map(|row| (*row, "row".to_owned())).collect(),
                columns: vec!["column".to_owned(); columns],
                cells: vec![vec![Some(0.5); columns]; rows.len()],
                range: (0.0, 1.0),
                percent_decimals: 1,
            };
            map.draw().into_string()
        };
        let three = [Some(Name::Byol), Some(Name::Byol), Some(Name::Mae), None];
        for (rows, columns, size) in [
            // Heads of 44, rows of 22, gaps of 6 and a foot of 26; names of 150, columns of 58 and an edge of 8.
            (&three[..], 4, "390 170"),
            (&three[..2], 5, "448 114"),
            (&three[..1], 1, "330 92"),
            (&[], 0, "330 70"),
        ] {
            let figure = drawn(rows, columns);
            assert!(figure.contains(&format!("viewBox=\"0 0 {size}\"")), "{size}: {figure}");
            let height: f64 = size.split_once(' ').unwrap().1.parse().unwrap();
            for text in figure.split("<text ").skip(1) {
                let y = text.split("y=\"").nth(1).unwrap().split('"').next().unwrap();
                assert!(y.parse::<f64>().unwrap() < height, "{text}");
            }
        }
    }
}
