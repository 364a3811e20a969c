//! Figures 6 and 7: what is measured without labels, by epoch and against F1. Knows nothing of thresholds.

use maud::{Markup, html};

use super::{METHODS, at};
use crate::{
    analysis::correlation::Correlation,
    claims::{
        self, Evidence,
        evidence::{BACKBONES, SHARES},
    },
    report::{
        Page,
        figure::{
            colour,
            plot::{Axis, Plot, Row, Series, intervals},
        },
    },
    results::Record,
};

/// Figures 6 and 7, and which label-free metric orders models as F1 does.
pub fn label_free(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let records: Vec<&Record> = page.records().filter(|record| record.cell.study == "table1").collect();
    let mut board: Vec<Row> = claims::label_free::metrics_within(ours)
        .into_iter()
        .filter_map(|metric| {
            let found = claims::label_free::correlation(ours, &metric, true)?;
            Some(Row {
                method: String::new(),
                name: metric.replace('_', " ").replace('.', ": "),
                value: found.value.estimate,
                low: found.value.low,
                high: found.value.high,
            })
        })
        .collect();
    board.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let axis = Axis {
        label: "Spearman's correlation with F1".into(),
        low: -1.0,
        high: 1.0,
        decimals: 1,
        marks: Vec::new(),
    };
    html! {
        p {
            "RankMe needs no labels; the paper found that it does not follow F1. Here every label-free metric of every trained model, against \
             its F1: pooled as in Figure 7, and, what a practitioner needs, within one method on one backbone."
        }
        @if board.is_empty() { p { "No label-free metrics in these records, or too few models." } }
        @else { (intervals("Which label-free metric orders the models of one method and backbone as F1 does (95 % intervals, resampled models)", &axis, Some(0.0), &board)) }
        (coefficients(ours))
        div.figures.two {
            (scatter(ours, "monitor.rankme_released", "Figure 7: RankMe as released (mini-batches of features) against F1"))
            (scatter(ours, "features.rankme_normalised", "RankMe of features over its bound, against F1"))
            @for backbone in BACKBONES {
                (curves(&records, backbone, "rankme_released", "RankMe as released"))
                (curves(&records, backbone, "features_unit_deviation", "Spread of directions"))
            }
        }
    }
}

/// RankMe against F1 by both coefficients, pooled and within.
fn coefficients(ours: &Evidence) -> Markup {
    const RANKME: [(&str, &str); 3] = [
        ("monitor.rankme_released", "RankMe as released"),
        ("monitor.rankme", "RankMe as defined"),
        ("features.rankme_normalised", "RankMe of features over its bound"),
    ];
    let cell = |found: Option<Correlation>| {
        html! { td.number { @match found {
            None => "\u{2013}",
            Some(found) => {
                (format!("{:+.2}", found.value.estimate)) " "
                span.interval { (format!("{:+.2} to {:+.2}, p {:.3}", found.value.low, found.value.high, found.p_value)) }
            }
        } } }
    };
    html! { div.wide { table {
        caption { "RankMe and F1: 95 % intervals over resampled models, p over shuffled ones" }
        thead { tr {
            th scope="col" { "Metric" } th.number scope="col" { "Spearman, all models" } th.number scope="col" { "Kendall, all models" }
            th.number scope="col" { "Spearman, within one method and backbone" } th.number scope="col" { "Kendall, within" }
        } }
        tbody { @for (metric, name) in RANKME { tr {
            th scope="row" { (name) }
            @for inside in [false, true] {
                (cell(claims::label_free::correlation(ours, metric, inside)))
                (cell(claims::label_free::kendall(ours, metric, inside)))
            }
        } } }
    } } }
}

fn scatter(ours: &Evidence, metric: &str, caption: &str) -> Markup {
    let mut series = Vec::new();
    for method in METHODS {
        for backbone in BACKBONES {
            let points: Vec<(f64, f64)> = SHARES
                .iter()
                .flat_map(|&share| {
                    let cell = at(method, backbone, share, None);
                    ours.seeds(metric, &cell).into_iter().zip(ours.seeds("f1", &cell)).collect::<Vec<_>>()
                })
                .collect();
            if !points.is_empty() {
                let name = format!(
                    "{}, {}",
                    colour::label(method),
                    if backbone == "resnet18" { "R-18" } else { "ViT" }
                );
                series.push(Series {
                    method: method.into(),
                    name,
                    points,
                    joined: false,
                    dashed: backbone == "vit_tiny",
                });
            }
        }
    }
    let all = || series.iter().flat_map(|series| series.points.iter());
    Plot {
        caption: caption.to_owned(),
        x: Axis::about(
            "metric (filled: ResNet-18, hollow: ViT-Tiny)",
            all().map(|point| point.0),
            if metric.contains("normalised") { 2 } else { 0 },
        ),
        y: Axis::about("F1", all().map(|point| point.1), 2),
        series,
        legend: true,
    }
    .draw()
}

/// Figure 6: a monitor by epoch, at 45 % and the first seed.
fn curves(records: &[&Record], backbone: &str, monitor: &str, label: &str) -> Markup {
    let wanted = |record: &&&Record| {
        record.cell.backbone == backbone
            && record.cell.seed == 0
            && record.cell.train_share.is_some_and(|share| (share - 0.45).abs() < 1e-9)
    };
    let mut series: Vec<Series> = Vec::new();
    for method in METHODS {
        for record in records.iter().filter(wanted).filter(|record| record.cell.method == method) {
            let points = record
                .curve
                .iter()
                .filter_map(|epoch| Some((epoch.epoch as f64, *epoch.monitors.get(monitor)?)))
                .collect();
            series.push(Series {
                method: method.into(),
                name: colour::label(method).into(),
                points,
                joined: true,
                dashed: false,
            });
        }
    }
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return html! {};
    }
    let values: Vec<(f64, f64)> = series.iter().flat_map(|series| series.points.clone()).collect();
    Plot {
        caption: format!("Figure 6: {label} by epoch, {} at 45 %, seed 0", colour::label(backbone)),
        x: Axis::about("epoch", values.iter().map(|point| point.0), 0),
        y: Axis::about(
            label,
            values.iter().map(|point| point.1),
            if monitor.contains("rankme") { 0 } else { 2 },
        ),
        series,
        legend: true,
    }
    .draw()
}
