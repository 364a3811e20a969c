//! The paper's printed numbers in the shape of records: `source` is `paper`, `setting` names the table or
//! figure, there is no seed. Knows nothing of what we measured.

use super::{Frame, frame::Rows};
use crate::results::paper::{Metric, Printed, figure_2, table_1, table_2};

/// Setting of the rows of Table 1.
pub const TABLE_1: &str = "paper, Table 1";
/// Setting of the rows of Figure 2.
pub const FIGURE_2: &str = "paper, Figure 2";

/// Setting of the rows of Table 2.
pub const TABLE_2: &str = "paper, Table 2";

/// Tables 1 and 2 and Figure 2, one row a metric that can be read. The MAE rows of Figure 2 stand under ViT-Tiny,
/// the only network of which Table 1 has MAE, though the caption says ResNet-18.
pub fn frame() -> Frame {
    let mut rows = Rows::default();
    for cell in table_1() {
        let axes = (cell.method.as_str(), cell.backbone.as_str(), cell.train_share, None);
        row(&mut rows, TABLE_1, axes, cell.metric, cell.printed);
    }
    for cell in figure_2() {
        let backbone = if cell.method == "mae" { "vit_tiny" } else { "resnet18" };
        let axes = (cell.method.as_str(), backbone, cell.train_share, Some(cell.validation_share));
        row(&mut rows, FIGURE_2, axes, cell.metric, cell.printed);
    }
    for column in table_2() {
        for (backbone, f1) in [("resnet18", column.resnet18_f1), ("vit_tiny", column.vit_tiny_f1)] {
            begin(&mut rows, TABLE_2, "table2", ("supervised", backbone));
            rows.text("variant", &format!("side{:03}", column.resolution));
            rows.number("f1", Some(f1));
            rows.number("cost.epoch_seconds", Some(60.0 * column.minutes_per_epoch));
        }
    }
    rows.frame()
}

fn row(
    rows: &mut Rows,
    setting: &str,
    (method, backbone, train_share, validation_share): (&str, &str, f64, Option<f64>),
    metric: Metric,
    printed: Printed,
) {
    let Some(score) = printed.score() else { return };
    begin(rows, setting, "table1", (method, backbone));
    rows.number("train_share", Some(train_share));
    rows.number("validation_share", validation_share);
    let column = match metric {
        Metric::F1 => "f1",
        Metric::F2Ciw => "f2_ciw_oracle",
        Metric::F1Normal => "f1_normal",
    };
    rows.number(column, Some(score));
}

fn begin(rows: &mut Rows, setting: &str, study: &str, (method, backbone): (&str, &str)) {
    rows.begin(None);
    for (column, text) in [
        ("source", "paper"),
        ("setting", setting),
        ("study", study),
        ("data", "Sewer-ML"),
        ("scale", "full"),
        ("method", method),
        ("backbone", backbone),
        ("classifier", "in_training"),
    ] {
        rows.text(column, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_readable_number_is_a_point() {
        // 180 cells less 15 dashes and 4 lost; 225 less 13 lost (`results::paper`).
        let frame = frame();
        assert_eq!(frame.of("setting", TABLE_1).height(), 180 - 15 - 4);
        assert_eq!(frame.of("setting", FIGURE_2).height(), 225 - 13);
        let points = frame.of("setting", TABLE_1).of("method", "dino").of("backbone", "resnet18");
        let mut f1: Vec<f64> = points.points("f1").iter().map(|point| point.value).collect();
        f1.sort_by(f64::total_cmp);
        assert_eq!(f1, [0.032, 0.049, 0.673, 0.719, 0.727]);
    }
}
