//! Which method is first, and how likely. Self-supervised methods only.

use maud::{Markup, html};

use super::{METHODS, at, percent};
use crate::{
    analysis::{
        comparison::{Comparison, holm, ranks},
        intervals::{Spread, mean},
    },
    claims::{
        Evidence,
        evidence::{BACKBONES, SELF_SUPERVISED, SHARES},
    },
    report::{
        Page,
        figure::{
            colour,
            heatmap::Heatmap,
            plot::{Axis, Plot, Row, Series, intervals},
        },
    },
    seed::Seed,
};

/// How likely each method is first, by share: F1, ours.
pub fn ranking(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let Some(spread) = ours.spread("f1", None) else {
        return html! {
            p { "One seed a cell: nothing is known of how far another seed would lie, so no ranking is given. " code { "--seeds 3" } " trains three." }
            (lines(ours))
            (on_images(page))
        };
    };
    html! {
        p {
            "Chance that a method has the highest F1 of the self-supervised ones, if every cell were trained with new seeds: means are drawn \
             about those found, by the spread of seeds (" (format!("{:.3}", spread.deviation)) " over all cells)."
        }
        div.figures { @for backbone in BACKBONES {
            @let methods: Vec<&str> = SELF_SUPERVISED.into_iter().filter(|method| SHARES.iter().all(|&share| !ours.seeds("f1", &at(method, backbone, share, None)).is_empty())).collect();
            @if methods.len() > 1 {
                @let chances: Vec<Vec<f64>> = SHARES.iter().map(|&share| {
                    let seeds: Vec<Vec<f64>> = methods.iter().map(|method| ours.seeds("f1", &at(method, backbone, share, None))).collect();
                    let groups: Vec<&[f64]> = seeds.iter().map(Vec::as_slice).collect();
                    ranks(&groups, spread, 2_000, Seed::root(0)).into_iter().map(|ranks| ranks[0]).collect()
                }).collect();
                (Heatmap {
                    caption: format!("Chance of the highest F1 on {}", colour::label(backbone)),
                    row_axis: "method".into(),
                    column_axis: "defects in training".into(),
                    rows: methods.iter().map(|method| ((*method).to_owned(), colour::label(method).to_owned())).collect(),
                    columns: SHARES.map(percent).into(),
                    cells: (0..methods.len()).map(|method| chances.iter().map(|chances| Some(chances[method])).collect()).collect(),
                    range: (0.0, 1.0),
                    percent_decimals: 0,
                }.draw())
            }
        } }
        (lines(ours))
        (comparisons(ours, spread))
        (on_images(page))
    }
}

/// Differences of single models on the same test images, where logits lie beside records.
fn on_images(page: &Page) -> Markup {
    let rows: Vec<Row> = page
        .on_images
        .iter()
        .map(|found| Row {
            method: found.method.clone(),
            name: format!("{}, {}", colour::label(&found.method), colour::label(&found.backbone)),
            value: found.difference.estimate,
            low: found.difference.low,
            high: found.difference.high,
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let ends = rows.iter().flat_map(|row| [row.low, row.high]).chain([0.0]).collect::<Vec<_>>();
    html! {
        p { "Other test images would move scores too, without any new seed: one model each at 45 %, seed 0, drawn again 400 times from the same images for both models." }
        (intervals("AUROC less supervised training's on the same test images (converged probe, 95 %)", &Axis::about("difference of AUROC", ends, 2), Some(0.0), &rows))
    }
}

/// Every self-supervised method beside supervised training: by how much, in deviations of a seed, and how often a run of
/// it is above. One correction for all of a backbone.
fn comparisons(ours: &Evidence, spread: Spread) -> Markup {
    let found = |backbone: &'static str| -> Vec<(&'static str, f64, Comparison)> {
        let pairs = SELF_SUPERVISED.into_iter().flat_map(|method| SHARES.map(|share| (method, share)));
        let compared = pairs.filter_map(|(method, share)| {
            let [own, supervised] =
                [method, "supervised"].map(|method| ours.seeds("f1", &at(method, backbone, share, None)));
            let both = !own.is_empty() && !supervised.is_empty();
            both.then(|| (method, share, Comparison::of(&own, &supervised, spread)))
        });
        compared.collect()
    };
    html! {
        details {
            summary { "Each method beside supervised training" }
            @for backbone in BACKBONES {
                @let rows = found(backbone);
                @let corrected = holm(&rows.iter().map(|row| row.2.p_value).collect::<Vec<_>>());
                div.wide { table {
                    caption { "F1 less supervised F1, " (colour::label(backbone)) "; p of no difference, corrected for all of the table (Holm)" }
                    thead { tr { th scope="col" { "Method" } th.number scope="col" { "Defects in training" } th.number scope="col" { "Difference" }
                        th.number scope="col" { "In deviations of a seed" } th.number scope="col" { "Chance that a run is above" } th.number scope="col" { "p" } } }
                    tbody { @for ((method, share, compared), p) in rows.iter().zip(corrected) { tr {
                        th scope="row" { span.dot style={ "background:" (colour::of(method)) } {} (colour::label(method)) }
                        td.number { (percent(*share)) }
                        td.number { (format!("{:+.3}", compared.difference.estimate)) " " span.interval { (format!("{:+.3} to {:+.3}", compared.difference.low, compared.difference.high)) } }
                        td.number { (format!("{:+.1}", compared.effect)) } td.number { (format!("{:.0} %", 100.0 * compared.improvement)) } td.number { (if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }) }
                    } } }
                } }
            }
        }
    }
}

/// AUROC and F1 against the training share.
fn lines(ours: &Evidence) -> Markup {
    let plot = |backbone: &str, metric: &str, label: &str| {
        let series: Vec<Series> = METHODS
            .into_iter()
            .map(|method| Series {
                method: method.to_owned(),
                name: colour::label(method).to_owned(),
                points: SHARES
                    .iter()
                    .filter_map(|&share| {
                        let seeds = ours.seeds(metric, &at(method, backbone, share, None));
                        (!seeds.is_empty()).then(|| (share.log10(), mean(&seeds)))
                    })
                    .collect(),
                joined: true,
                dashed: false,
            })
            .filter(|series| !series.points.is_empty())
            .collect();
        let values =
            series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).collect::<Vec<_>>();
        Plot {
            caption: format!("{label} by training share, {}", colour::label(backbone)),
            x: Axis {
                label: "defects in training, logarithmic".into(),
                low: -2.1,
                high: -0.25,
                decimals: 1,
                marks: SHARES.map(|share| (share.log10(), percent(share))).into(),
            },
            y: Axis::about(label, values, 2),
            series,
            legend: true,
        }
        .draw()
    };
    html! { div.figures.two { @for backbone in BACKBONES { (plot(backbone, "f1", "F1")) (plot(backbone, "auroc", "AUROC")) } } }
}
