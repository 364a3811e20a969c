//! Which method is first, and how likely. Self-supervised methods only.

use maud::{Markup, html};

use super::{METHODS, at, percent};
use crate::{
    analysis::{comparison::ranks, intervals::mean},
    claims::{
        Evidence,
        evidence::{BACKBONES, SELF_SUPERVISED, SHARES},
    },
    report::{
        Page,
        figure::{
            colour,
            heatmap::Heatmap,
            plot::{Axis, Plot, Series},
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
