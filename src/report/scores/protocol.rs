//! Table 2, Figure 3, ablations and floors: effects other than that of the method. No claim is judged here.

use maud::{Markup, html};

use super::{difference, own_table};
use crate::{
    analysis::{Axes, Interval, Measure, Scored},
    backbone,
    claims::Evidence,
    data::Share,
    method::Name::Supervised,
    report::{
        Page,
        figure::{
            heatmap::Heatmap,
            plot::{NamedInterval, PlotAxis, intervals},
        },
    },
    results::{Classifier, Metric},
    study::{Ablation, Study},
};

/// Table 2, Figure 3, ablations and floors.
pub fn protocol(page: &Page) -> Markup {
    html! {
        (table_2(page))
        @if let Some(ours) = page.ours() { (figure_3(ours)) (ablations(page, ours)) (floors(page, ours)) }
        @else { p { "No records." } }
    }
}

fn table_2(page: &Page) -> Markup {
    let sized = |backbone, side| {
        Axes::table_1(Supervised, backbone, Share::NATURAL).in_study(Study::Table2 { side }).in_training()
    };
    html! {
        h3 { "Table 2: image size" }
        div.wide { table {
            caption { "Supervised training without augmentation: F1 and seconds per epoch. Our image sides are scaled down in the same proportion." }
            thead { tr {
                th scope="col" { "Backbone" } th scope="col" { "Whose" }
                @for side in Study::SIDES { th.number scope="col" { (side) " px" } }
            } }
            tbody { @for backbone in backbone::Name::STUDY { @for (place, body) in page.bodies.iter().enumerate() { tr {
                th scope="row" { (backbone.label()) }
                td { (if place == 0 { "paper" } else { "ours" }) }
                @for side in Study::SIDES { td.number {
                    @match body.mean(Metric::F1, &sized(backbone, side)) {
                        None => "\u{2013}",
                        Some(f1) => {
                            (format!("{f1:.3}"))
                            @if let Some(seconds) = body.mean(Measure::EPOCH_SECONDS, &sized(backbone, side)) {
                                " " span.interval { (format!("{seconds:.0} s")) }
                            }
                        }
                    }
                } }
            } } } }
        } }
    }
}

/// Returns the cells of Figure 3 by jitter and smallest crop.
fn grid(ours: &Evidence) -> Vec<((u16, u16), Scored)> {
    let whole = |at: &Scored| (at.classifier, at.validation) == (Classifier::InTraining, Share::NATURAL);
    let cells = ours.frame().filter_axes(whole).axes().into_iter();
    let placed = cells.filter_map(|at| match at.cell.study {
        Study::Figure3 { jitter, crop } => Some(((jitter, crop), at)),
        _ => None,
    });
    placed.collect()
}

fn figure_3(ours: &Evidence) -> Markup {
    let grid = grid(ours);
    if grid.is_empty() {
        return html! { h3 { "Figure 3: augmentation" } p { "Not measured in these records. To measure it (35 cells): " code { "cargo xtask reproduce --study figure3" } "." } };
    }
    let sorted = |mut values: Vec<u16>| {
        values.sort_unstable();
        values.dedup();
        values
    };
    let jitters = sorted(grid.iter().map(|(place, _)| place.0).collect());
    let crops = sorted(grid.iter().map(|(place, _)| place.1).collect());
    let f1 = |jitter, crop| {
        let (_, at) = grid.iter().find(|(place, _)| *place == (jitter, crop))?;
        ours.mean(Metric::F1, at)
    };
    let cells: Vec<Vec<Option<f64>>> =
        crops.iter().map(|&crop| jitters.iter().map(|&jitter| f1(jitter, crop)).collect()).collect();
    let axis = PlotAxis::spanning("", cells.iter().flatten().flatten().copied().collect::<Vec<_>>(), 2);
    let decimal = |thousandths: &u16| format!("{}", f64::from(*thousandths) / 1e3);
    html! {
        h3 { "Figure 3: augmentation" }
        (Heatmap {
            caption: "F1 of supervised ResNet-18 on a quarter of the data; the paper prints no numbers for this figure".into(),
            row_axis: "smallest part of the image that a crop shows".into(),
            column_axis: "strength of the colour jitter".into(),
            rows: crops.iter().map(|crop| (None, decimal(crop))).collect(),
            columns: jitters.iter().map(decimal).collect(),
            cells,
            range: (axis.low, axis.high),
            percent_decimals: 1,
        }.draw())
    }
}

/// Returns the study that an ablation is compared with, and a description; `None` for DINO's normalised head, which
/// is the reference of another ablation.
fn described(ablation: Ablation) -> Option<(Study, &'static str)> {
    let sound = match ablation {
        Ablation::DinoPlainHead => Study::Ablation(Ablation::DinoHeadNorm),
        _ => Study::Table1,
    };
    let words = match ablation {
        Ablation::MaeTwoPredictions => "two predictions a batch",
        Ablation::MaeCrossedViews => "pixels of another view",
        Ablation::MaeAsReleased => "both, as released",
        Ablation::DinoPlainHead => "head without batch normalisation",
        Ablation::DinoHeadNorm => return None,
        Ablation::AugmentedValidation => "validation on augmented images",
        Ablation::ProbeUnderLars => "online probe under LARS",
        Ablation::ProbeAsReleased => "online probe under LARS, released rate",
    };
    Some((sound, words))
}

fn ablations(page: &Page, ours: &Evidence) -> Markup {
    let mut rows = Vec::new();
    for ablation in Ablation::ALL {
        let Some((sound, words)) = described(ablation) else { continue };
        for method in page.methods() {
            for backbone in backbone::Name::STUDY {
                let cell = Axes::table_1(method, backbone, Share::percent(45));
                let cells =
                    [Study::Ablation(ablation), sound].map(|study| cell.in_study(study).in_training());
                let means = cells.map(|cell| ours.mean(Metric::F1, &cell));
                let [Some(released), Some(soundly)] = means else { continue };
                let paired = ours.paired_difference("", Metric::F1, [&cells[0], &cells[1]]);
                let unknown = |_| Interval::unknown(released - soundly);
                rows.push(NamedInterval {
                    method: Some(method),
                    name: format!("{}: {words}", method.label()),
                    value: paired.map_or_else(unknown, |contrast| contrast.value),
                });
            }
        }
    }
    html! {
        h3 { "The released code against a corrected version" }
        @if rows.is_empty() { p { "Not measured in these records. To measure it: " code { "cargo xtask reproduce --study table1,ablations --shares 45%" } "." } }
        @else {
            @let ends = rows.iter().flat_map(|row| [row.value.estimate, row.value.low, row.value.high]).chain([0.0]).collect::<Vec<_>>();
            (intervals("Difference in F1 that each choice of the released code makes, at 45 % defects (95 %; runs with the same seed are paired)", &PlotAxis::spanning("F1 as released minus F1 corrected", ends, 2), Some(0.0), &rows))
        }
    }
}

/// Differences between every arm and the floors, at each training share. Each interval is for a single comparison;
/// those of the card are corrected for choosing among arms.
fn floors(page: &Page, ours: &Evidence) -> Markup {
    let above = |arm: Axes, floor: Axes| -> Option<Interval> {
        if !arm.is_an_arm() {
            return None;
        }
        let [own, other] = [arm, floor].map(Axes::converged);
        let both = ours.mean(Metric::Auroc, &own).zip(ours.mean(Metric::Auroc, &other))?;
        let unknown = |_| Interval::unknown(both.0 - both.1);
        Some(ours.difference(Metric::Auroc, &own, &other).map_or_else(unknown, |contrast| contrast.value))
    };
    let random = |arm: Axes| above(arm, Axes::random_weights(arm.backbone?, arm.share));
    let pixels = |arm: Axes| above(arm, Axes::pixels(arm.share));
    html! {
        h3 { "What a method must beat" }
        (own_table(page, "AUROC of the converged probe minus that of random weights on the same backbone, by share of defects in training", random, difference))
        details {
            summary { "Compared with raw pixels" }
            (own_table(page, "AUROC of the converged probe minus that of raw pixels of the small image, by share of defects in training", pixels, difference))
        }
    }
}
