//! Figures 6 and 7: label-free metrics by epoch and against F1. Independent of thresholds.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::{
    analysis::{
        Axes, Interval, Measure,
        cell::percent,
        correlation::Correlation,
        intervals::{Uncertainty, interval_over_seeds},
    },
    backbone,
    claims::{self, Evidence, Yardstick},
    data::Share,
    method,
    report::{
        Page,
        figure::plot::{NamedInterval, Plot, PlotAxis, Series, intervals},
        main_share,
    },
    results::Metric,
};

/// Figures 6 and 7, and which label-free metric ranks models as AUROC does.
pub fn label_free(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let mut board: Vec<NamedInterval> = claims::label_free::metrics_within(ours)
        .into_iter()
        .filter_map(|metric| {
            let found = claims::label_free::correlation(ours, Yardstick::Auroc, &metric, true)?;
            let name = in_words(metric.id());
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
            "RankMe needs no labels; the paper found that it does not correlate with F1. Here every label-free metric of every trained model is \
             compared with its score: over all models, as in Figure 7, and within one method on one backbone, which is what helps in practice."
        }
        @if board.is_empty() { p { "No label-free metrics in these records, or too few models." } }
        @else { (intervals("Rank correlation of each label-free metric with AUROC of the converged probe, within one method and backbone (95 % over resampled models)", &axis, Some(0.0), &board)) }
        (coefficients(ours))
        div.figures.two {
            (scatter(page, ours, &Measure::RANKME_RELEASED, "Figure 7: RankMe as released (mini-batches of features) against F1"))
            (scatter(page, ours, &Measure::RANKME_NORMALISED, "RankMe of features divided by its maximum, against F1"))
            (curves(page, "rankme_released", "RankMe as released"))
            (curves(page, "features_unit_deviation", "Spread of feature directions"))
        }
    }
}

/// Returns a readable name: `RankMe (embeddings)` for `embeddings.rankme`.
fn in_words(id: &str) -> String {
    let (rows, name) = id.split_once('.').unwrap_or(("", id));
    let name = match name {
        "rankme" => "RankMe",
        "rankme_released" => "RankMe as released",
        "nesum" => "NESum",
        "alpha_req" => "alpha-ReQ",
        "alpha_req_all" => "alpha-ReQ of all eigenvalues",
        "lidar" => "LiDAR",
        "self_cluster" => "self-clustering",
        "mean" => "mean value",
        "deviation" => "standard deviation",
        "unit_mean" => "mean direction",
        "unit_deviation" => "spread of directions",
        name => &name.replace('_', " "),
    };
    let rows = if rows == "monitor" { "last epoch" } else { rows };
    if rows.is_empty() { name.to_owned() } else { format!("{name} ({rows})") }
}

/// A table of both correlation coefficients of RankMe and F1, over all models and within a method and backbone.
fn coefficients(ours: &Evidence) -> Markup {
    const RANKME: [(Measure, &str); 3] = [
        (Measure::RANKME_RELEASED, "RankMe as released"),
        (Measure::RANKME, "RankMe as defined"),
        (Measure::RANKME_NORMALISED, "RankMe of features divided by its maximum"),
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
        caption { "RankMe and F1: 95 % intervals from resampled models, p values from shuffled models" }
        thead { tr {
            th scope="col" { "Metric" } th.number scope="col" { "Spearman, all models" } th.number scope="col" { "Kendall, all models" }
            th.number scope="col" { "Spearman, within one method and backbone" } th.number scope="col" { "Kendall, within" }
        } }
        tbody { @for (metric, name) in RANKME { tr {
            th scope="row" { (name) }
            @for found in with_f1(ours, &metric) { (cell(found)) }
        } } }
    } } }
}

/// Returns Spearman's and Kendall's coefficients of a metric and F1, over all models, then within one method and
/// backbone.
fn with_f1(ours: &Evidence, metric: &Measure) -> [Option<Correlation>; 4] {
    let of = |inside| {
        [
            claims::label_free::correlation(ours, Yardstick::Paper, metric, inside),
            claims::label_free::kendall(ours, Yardstick::Paper, metric, inside),
        ]
    };
    let ([a, b], [c, d]) = (of(false), of(true));
    [a, b, c, d]
}

fn scatter(page: &Page, ours: &Evidence, metric: &Measure, caption: &str) -> Markup {
    let mut series = Vec::new();
    for method in page.methods() {
        for backbone in backbone::Name::STUDY {
            let both = |share| {
                let at = Axes::trained(method, backbone, share).in_training();
                ours.scores(metric, &at).into_iter().zip(ours.scores(Metric::F1, &at)).collect::<Vec<_>>()
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
        x: PlotAxis::spanning(
            "metric (filled: ResNet-18, hollow: ViT-Tiny)",
            all().map(|point| point.0),
            if metric.is_normalised() { 2 } else { 0 },
        ),
        y: PlotAxis::spanning(Metric::F1.label(), all().map(|point| point.1), 2),
        series,
        legend: true,
    }
    .draw()
}

/// Figure 6: a monitor by epoch, at 45 % or the largest share, on each backbone, over seeds; one scale for all
/// plots.
fn curves(page: &Page, monitor: &str, label: &str) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! {} };
    let drawn = backbone::Name::STUDY.map(|backbone| (backbone, by_epoch(page, backbone, share, monitor)));
    let all = || drawn.iter().flat_map(|(_, series)| series);
    let ends = |series: &Series| -> Vec<f64> {
        let bars = series.bars.iter().flat_map(|(_, ends)| *ends).filter(|end| end.is_finite());
        series.points.iter().map(|point| point.1).chain(bars).collect()
    };
    let decimals = if monitor.contains("rankme") { 0 } else { 2 };
    let y = PlotAxis::spanning(label, all().flat_map(ends), decimals);
    let x = PlotAxis::spanning("epoch", all().flat_map(|series| &series.points).map(|point| point.0), 0);
    let several = all().any(|series| series.bars.iter().any(|(_, ends)| ends[0].is_finite()));
    let how = if several { "mean of seeds; bars: 95 % over seeds" } else { "one seed: no intervals" };
    let plot = |(backbone, series): (backbone::Name, Vec<Series>)| Plot {
        caption: format!("Figure 6: {label} by epoch, {} at {} ({how})", backbone.label(), percent(share)),
        x: x.clone(),
        y: y.clone(),
        series,
        legend: true,
    };
    let plots: Vec<Plot> = drawn.into_iter().filter(|(_, series)| !series.is_empty()).map(plot).collect();
    html! { @for plot in plots { (plot.draw()) } }
}

/// Returns a monitor of every method by epoch, shifted slightly sideways so that bars do not overlap.
fn by_epoch(page: &Page, backbone: backbone::Name, share: Share, monitor: &str) -> Vec<Series> {
    const STEP: f64 = 0.03;
    let methods = page.methods();
    let middle = (methods.len() - 1) as f64 / 2.0;
    let one = |(place, method): (usize, &method::Name)| {
        let cell = Axes::trained(*method, backbone, share);
        let mut epochs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for filed in page.records().filter(|filed| filed.cell == cell) {
            for epoch in &filed.record.curve {
                if let Some(&value) = epoch.monitors.get(monitor) {
                    epochs.entry(epoch.epoch).or_default().push(value);
                }
            }
        }
        let over = |(epoch, values): (usize, Vec<f64>)| {
            let x = epoch as f64 + STEP * (place as f64 - middle);
            (x, interval_over_seeds(&values, Uncertainty::pooled([&values[..]])))
        };
        let found: Vec<(f64, Interval)> = epochs.into_iter().map(over).collect();
        Series {
            method: Some(*method),
            name: method.label().into(),
            points: found.iter().map(|(x, interval)| (*x, interval.estimate)).collect(),
            bars: found.iter().map(|(x, interval)| (*x, [interval.low, interval.high])).collect(),
            joined: true,
            dashed: false,
        }
    };
    methods.iter().enumerate().map(one).filter(|series| !series.points.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::FrameBuilder;

    #[test]
    fn metrics_are_told_in_words_with_what_they_are_of() {
        for (id, expected) in [
            ("features.rankme", "RankMe (features)"),
            ("monitor.rankme", "RankMe (last epoch)"),
            ("monitor.rankme_released", "RankMe as released (last epoch)"),
            ("features.nesum", "NESum (features)"),
            ("embeddings.alpha_req", "alpha-ReQ (embeddings)"),
            ("features.alpha_req_all", "alpha-ReQ of all eigenvalues (features)"),
            ("views.lidar", "LiDAR (views)"),
            ("features.self_cluster", "self-clustering (features)"),
            ("embeddings.mean", "mean value (embeddings)"),
            ("features.deviation", "standard deviation (features)"),
            ("features.unit_mean", "mean direction (features)"),
            ("features.unit_deviation", "spread of directions (features)"),
            ("views.some_other_name", "some other name (views)"),
            ("rankme", "RankMe"),
            ("no_dot", "no dot"),
        ] {
            assert_eq!(in_words(id), expected, "{id}");
        }
    }

    /// F1 of the classifier in training rises with RankMe, and AUROC of the converged probe falls.
    #[test]
    fn rankme_is_compared_with_f1_by_both_coefficients() {
        let mut rows = FrameBuilder::default();
        for (share, place) in Share::STUDY.into_iter().zip(0..) {
            for seed in 0..3 {
                let step = f64::from(3 * place) + seed as f64;
                let cell = Axes::table_1(method::Name::Byol, backbone::Name::ResNet18, share);
                rows.begin("test", cell.in_training(), Some(seed));
                rows.number(Metric::F1, Some(0.01 * step));
                rows.number(Measure::RANKME, Some(10.0 + step));
                rows.begin("test", cell.converged(), Some(seed));
                rows.number(Metric::Auroc, Some(1.0 - 0.01 * step));
            }
        }
        let evidence = Evidence::measured("test", &rows.frame());
        let found = with_f1(&evidence, &Measure::RANKME).map(|found| found.unwrap().value.estimate);
        assert_eq!(found, [1.0; 4]);
    }
}
