//! The paper's printed numbers in the shape of records: the setting names the table or figure, and there is no seed.
//! Independent of our own measurements.

use super::{
    cell::{Axes, Scored},
    frame::{Frame, FrameBuilder},
    measure::Measure,
};
use crate::{
    backbone::Name::{ResNet18, ViTTiny},
    data::Share,
    method::Name::{Mae, Supervised},
    results::{
        Metric,
        paper::{Printed, figure_2, table_1, table_2},
    },
    study::Study,
};

/// Setting of the rows of Table 1.
pub const TABLE_1: &str = "paper, Table 1";
/// Setting of the rows of Figure 2.
pub const FIGURE_2: &str = "paper, Figure 2";
/// Setting of the rows of Table 2.
pub const TABLE_2: &str = "paper, Table 2";

/// Tables 1 and 2 and Figure 2: one row per legible score. The MAE rows of Figure 2 are listed under ViT-Tiny, the
/// only network for which Table 1 has MAE, although the caption says ResNet-18.
pub fn frame() -> Frame {
    let mut rows = FrameBuilder::default();
    for cell in table_1() {
        let at = Axes::table_1(cell.method, cell.backbone, cell.train_share).in_training();
        row(&mut rows, TABLE_1, at, cell.metric, cell.printed);
    }
    for cell in figure_2() {
        let backbone = if cell.method == Mae { ViTTiny } else { ResNet18 };
        let at = Axes::table_1(cell.method, backbone, cell.train_share).in_training();
        row(&mut rows, FIGURE_2, at.on(cell.validation_share), cell.metric, cell.printed);
    }
    for column in table_2() {
        for (backbone, f1) in [(ResNet18, column.resnet18_f1), (ViTTiny, column.vit_tiny_f1)] {
            let study = Study::Table2 { side: column.resolution };
            let cell = Axes::table_1(Supervised, backbone, Share::NATURAL).in_study(study);
            rows.begin(TABLE_2, cell.in_training(), None);
            rows.number(Metric::F1, Some(f1));
            rows.number(Measure::EPOCH_SECONDS, Some(60.0 * column.minutes_per_epoch));
        }
    }
    rows.frame()
}

fn row(rows: &mut FrameBuilder, setting: &str, at: Scored, metric: Metric, printed: Printed) {
    if let Some(score) = printed.score() {
        rows.begin(setting, at, None);
        rows.number(metric, Some(score));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Name::Dino;

    #[test]
    fn every_readable_number_is_a_point() {
        // 180 cells minus 15 dashes and 4 illegible; 225 minus 13 illegible (`results::paper`).
        let frame = frame();
        assert_eq!(frame.setting(TABLE_1).height(), 180 - 15 - 4);
        assert_eq!(frame.setting(FIGURE_2).height(), 225 - 13);
        let dino = |at: &Scored| (at.cell.method, at.cell.backbone) == (Some(Dino), Some(ResNet18));
        let points = frame.setting(TABLE_1).filter_axes(dino).points(&Metric::F1.into());
        let mut f1: Vec<f64> = points.iter().map(|point| point.value).collect();
        f1.sort_by(f64::total_cmp);
        assert_eq!(f1, [0.032, 0.049, 0.673, 0.719, 0.727]);
    }

    /// Values of the last column of Table 2, as printed: ViT-Tiny 0.90, ResNet-18 0.909, 69 minutes per epoch.
    #[test]
    fn table_2_has_seconds_and_each_backbones_own_score() {
        let frame = frame().setting(TABLE_2);
        for (backbone, f1) in [(ViTTiny, 0.90), (ResNet18, 0.909)] {
            let study = Study::Table2 { side: 512 };
            let at = Axes::table_1(Supervised, backbone, Share::NATURAL).in_study(study).in_training();
            let of = |measure: Measure| {
                frame.points_of(&measure, |found| *found == at).iter().map(|point| point.value).collect()
            };
            let found: [Vec<f64>; 2] = [of(Metric::F1.into()), of(Measure::EPOCH_SECONDS)];
            assert_eq!(found, [vec![f1], vec![4_140.0]], "{backbone}");
        }
        // Table 1 has MAE on ViT-Tiny only; Figure 2 is read the same way, although its caption says ResNet-18.
        let mae = super::frame().setting(FIGURE_2).filter_axes(|at| at.cell.method == Some(Mae)).axes();
        assert!(!mae.is_empty() && mae.iter().all(|at| at.cell.backbone == Some(ViTTiny)));
    }

    /// F1 in Figure 2, in per cent: supervised training at 45 % has 18.3 on validation images with 1 % defects,
    /// training at 1 % has 83.2 on those with 45 %; SimCLR at 2 % has 12.5 on those with 2 %, and an illegible number
    /// on those with 15 %.
    #[test]
    fn figure_2_has_the_share_of_training_and_that_of_validation() {
        use crate::method::Name::SimClr;
        let frame = frame().setting(FIGURE_2);
        let f1 = |method, train, validation| -> Vec<f64> {
            let at = Axes::table_1(method, ResNet18, Share::percent(train)).in_training();
            let at = at.on(Share::percent(validation));
            frame
                .points_of(&Metric::F1.into(), |found| *found == at)
                .iter()
                .map(|point| point.value)
                .collect()
        };
        for (method, train, validation, expected) in [
            (Supervised, 45, 1, vec![0.183]),
            (Supervised, 1, 45, vec![0.832]),
            (SimClr, 2, 2, vec![0.125]),
            (SimClr, 2, 15, vec![]),
        ] {
            let found = f1(method, train, validation);
            assert!(
                found.len() == expected.len()
                    && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12),
                "{method} {train} {validation}: {found:?}"
            );
        }
        assert!(frame.points(&Metric::F1.into()).iter().all(|point| point.seed.is_none()));
    }

    /// Dino on ResNet-18 at 1 %, whose three scores are printed in three blocks of Table 1.
    #[test]
    fn each_score_of_table_1_is_its_own() {
        let at = Axes::table_1(Dino, ResNet18, Share::percent(1)).in_training();
        let frame = frame().setting(TABLE_1);
        let of = |metric: Metric| frame.points_of(&metric.into(), |found| *found == at)[0].value;
        assert_eq!([Metric::F1, Metric::F1Normal, Metric::F2Oracle].map(of), [0.049, 0.689, 0.566]);
    }
}
