//! Figures 6 and 7: what is measured without labels, by epoch and against F1. Knows nothing about thresholds.

use maud::{Markup, html};

use crate::{
    analysis::{Axes, Filed, Measure, cell::percent, correlation::Correlation},
    backbone,
    claims::{self, Evidence, Yardstick},
    report::{
        Page,
        figure::plot::{NamedInterval, Plot, PlotAxis, Series, intervals},
        main_share,
    },
    results::Metric,
};

/// Figures 6 and 7, and which label-free metric orders models as F1 does.
pub fn label_free(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let mut board: Vec<NamedInterval> = claims::label_free::metrics_within(ours)
        .into_iter()
        .filter_map(|metric| {
            let found = claims::label_free::correlation(ours, Yardstick::Auroc, &metric, true)?;
            let name = metric.id().replace('_', " ").replace('.', ": ");
            Some(NamedInterval { method: None, name, value: found.value })
        })
        .collect();
    board.sort_by(|a, b| b.value.estimate.abs().total_cmp(&a.value.estimate.abs()));
    let axis = PlotAxis {
        label: "Spearman's correlation with AUROC".into(),
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
        @else { (intervals("Which label-free metric orders the models of one method and backbone as AUROC of the converged probe does (95 % intervals, resampled models)", &axis, Some(0.0), &board)) }
        (coefficients(ours))
        div.figures.two {
            (scatter(page, ours, &Measure::RANKME_RELEASED, "Figure 7: RankMe as released (mini-batches of features) against F1"))
            (scatter(page, ours, &Measure::RANKME_NORMALISED, "RankMe of features over its bound, against F1"))
            @for backbone in backbone::Name::STUDY {
                (curves(page, backbone, "rankme_released", "RankMe as released"))
                (curves(page, backbone, "features_unit_deviation", "Uncertainty of directions"))
            }
        }
    }
}

/// RankMe against F1 by both coefficients, pooled and within.
fn coefficients(ours: &Evidence) -> Markup {
    const RANKME: [(Measure, &str); 3] = [
        (Measure::RANKME_RELEASED, "RankMe as released"),
        (Measure::RANKME, "RankMe as defined"),
        (Measure::RANKME_NORMALISED, "RankMe of features over its bound"),
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
                (cell(claims::label_free::correlation(ours, Yardstick::Paper, &metric, inside)))
                (cell(claims::label_free::kendall(ours, Yardstick::Paper, &metric, inside)))
            }
        } } }
    } } }
}

fn scatter(page: &Page, ours: &Evidence, metric: &Measure, caption: &str) -> Markup {
    let mut series = Vec::new();
    for method in page.methods() {
        for backbone in backbone::Name::STUDY {
            let both = |share| {
                let at = Axes::trained(method, backbone, share).in_training();
                ours.seeds(metric, &at).into_iter().zip(ours.seeds(Metric::F1, &at)).collect::<Vec<_>>()
            };
            let points: Vec<(f64, f64)> = page.shares().into_iter().flat_map(both).collect();
            if !points.is_empty() {
                series.push(Series {
                    method: Some(method),
                    name: format!("{}, {}", method.label(), backbone.short_label()),
                    points,
                    bars: Vec::new(),
                    joined: false,
                    dashed: backbone == backbone::Name::ViTTiny,
                });
            }
        }
    }
    let all = || series.iter().flat_map(|series| series.points.iter());
    Plot {
        caption: caption.to_owned(),
        x: PlotAxis::about(
            "metric (filled: ResNet-18, hollow: ViT-Tiny)",
            all().map(|point| point.0),
            if metric.is_normalised() { 2 } else { 0 },
        ),
        y: PlotAxis::about(Metric::F1.label(), all().map(|point| point.1), 2),
        series,
        legend: true,
    }
    .draw()
}

/// Figure 6: a monitor by epoch, at 45 % or the largest share, and the first seed.
fn curves(page: &Page, backbone: backbone::Name, monitor: &str, label: &str) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! {} };
    let mut series: Vec<Series> = Vec::new();
    for method in page.methods() {
        let cell = Axes::trained(method, backbone, share);
        let first = |filed: &&Filed| filed.cell == cell && filed.record.cell.seed == 0;
        for filed in page.records().filter(first) {
            let epochs = filed.record.curve.iter();
            let points = epochs.filter_map(|epoch| Some((epoch.epoch as f64, *epoch.monitors.get(monitor)?)));
            series.push(Series {
                method: Some(method),
                name: method.label().into(),
                points: points.collect(),
                bars: Vec::new(),
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
        caption: format!("Figure 6: {label} by epoch, {} at {}, seed 0", backbone.label(), percent(share)),
        x: PlotAxis::about("epoch", values.iter().map(|point| point.0), 0),
        y: PlotAxis::about(
            label,
            values.iter().map(|point| point.1),
            if monitor.contains("rankme") { 0 } else { 2 },
        ),
        series,
        legend: true,
    }
    .draw()
}
