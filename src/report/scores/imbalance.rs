//! Figures 2, 4 and 5: scores by share of defects in validation. Nothing is trained or fitted here.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::{
    analysis::{Axes, cell::percent},
    backbone,
    claims::Evidence,
    data::Share,
    report::{Page, figure::heatmap::Heatmap},
    results::Metric,
};

/// Scores of the paper's Figure 2.
const FIGURE_2: [Metric; 3] = [Metric::F1, Metric::F2Oracle, Metric::F1Normal];
/// Scores of the paper's Figure 5.
const FIGURE_5: [Metric; 3] = [Metric::Precision, Metric::Recall, Metric::Auroc];

/// Figures 2, 4 and 5.
pub fn imbalance(page: &Page) -> Markup {
    html! {
        p {
            "The same models, scored at smaller and smaller shares of defects in validation (Figures 2, 4 and 5). F1 and precision must \
             fall: with a true-positive rate T and a false-positive rate F, F1 = 2pT / (pT + (1 \u{2212} p)F + p) at a share p of defects. Recall, AUROC \
             and the oracle-typed F2_CIW do not depend on p; they change only by chance."
        }
        h3 { "Figure 2 as the paper prints it" }
        div.figures { @for metric in FIGURE_2 {
            @if let Some(figure) = map(page, page.paper(), None, metric) { (figure) }
        } }
        @if let Some(ours) = page.ours() {
            @for backbone in backbone::Name::STUDY {
                h3 { "Our measurements, " (backbone.label()) }
                div.figures { @for metric in FIGURE_2.into_iter().chain(FIGURE_5) {
                    @if let Some(figure) = map(page, ours, Some(backbone), metric) { (figure) }
                } }
            }
        }
    }
}

/// A heat map of models by training share against validation shares, on one backbone or on all; `None` if nothing
/// was measured.
fn map(page: &Page, body: &Evidence, only: Option<backbone::Name>, metric: Metric) -> Option<Markup> {
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    let (trained, scored) = shares(page, body);
    for method in page.methods() {
        let backbones = backbone::Name::STUDY.into_iter();
        for backbone in backbones.filter(|known| only.is_none_or(|wanted| wanted == *known)) {
            for &train in &trained {
                let at = Axes::trained(method, backbone, train).in_training();
                let row: Vec<Option<f64>> =
                    scored.iter().map(|&share| body.mean(metric, &at.on(share))).collect();
                if row.iter().any(Option::is_some) {
                    rows.push((Some(method), format!("{} {}", method.label(), percent(train))));
                    cells.push(row);
                }
            }
        }
    }
    let whose = if is_the_papers(page, body) { "the paper" } else { "ours" };
    let place = only.map_or(String::new(), |backbone| format!(", {}", backbone.label()));
    (!rows.is_empty()).then(|| {
        Heatmap {
            caption: format!("{}, {whose}{place}", metric.label()),
            row_axis: "method and defects in training".into(),
            column_axis: "defects in validation".into(),
            rows,
            columns: scored.into_iter().map(percent).collect(),
            cells,
            range: metric.bounds(),
            percent_decimals: 1,
        }
        .draw()
    })
}

fn is_the_papers(page: &Page, body: &Evidence) -> bool {
    std::ptr::eq(body, page.paper())
}

/// Returns the shares in training and in validation: the paper's, or those in the records. The natural share of
/// validation is excluded, because it is not a step of imbalance.
fn shares(page: &Page, body: &Evidence) -> (Vec<Share>, Vec<Share>) {
    if is_the_papers(page, body) {
        return (Share::STUDY.into(), Share::STUDY.into());
    }
    let scored: BTreeSet<Share> = body.frame().axes().into_iter().map(|at| at.validation).collect();
    (page.shares(), scored.into_iter().filter(|share| *share != Share::NATURAL).collect())
}
