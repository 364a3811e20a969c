//! How many labels it takes.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::{backbone_label, cell, method_label};
use crate::{
    analysis::{
        Axes, Interval,
        intervals::{Uncertainty, mean, of_seeds},
    },
    backbone,
    report::{
        Page,
        figure::plot::{Plot, PlotAxis, Series},
        main_share, share_in_words,
    },
};

/// AUROC of the probe by labelled defects: a figure, and the numbers with their intervals over seeds.
pub fn budgets(page: &Page) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! { p { "No records." } } };
    let curves: BTreeMap<Axes, BTreeMap<usize, Interval>> = page
        .records()
        .map(|filed| filed.cell)
        .filter(|at| at.share == share)
        .map(|at| (at, curve(page, &at)))
        .collect();
    let curves: BTreeMap<Axes, BTreeMap<usize, Interval>> = curves
        .into_iter()
        .filter(|(at, curve)| (at.is_an_arm() || at.is_floor()) && !curve.is_empty())
        .collect();
    if curves.is_empty() {
        return html! { p { "Not measured in these records." } };
    }
    let counts: BTreeSet<usize> = curves.values().flat_map(|curve| curve.keys().copied()).collect();
    html! {
        p {
            "The converged probe on the same frozen features, fitted on k labelled defects and normal images in proportion, trained at "
            (share_in_words(share)) ". Pretraining saw all images and no label. Supervised training saw all labels: its curve says what its \
             features are worth, not what training on so few labels would give. Five draws of the labels a model; 95 % over seeds."
        }
        div.figures.two { @for backbone in backbone::Name::ALL { (figure(backbone, &curves, &counts)) } }
        div.wide { table {
            caption { "AUROC of the probe by labelled defects" }
            thead { tr {
                th scope="col" { "Method" } th scope="col" { "Backbone" }
                @for count in &counts { th.number scope="col" { (count) } }
            } }
            tbody { @for (at, curve) in &curves { tr {
                th scope="row" { (label(at)) } td { (backbone_label(at.backbone)) }
                @for count in &counts { td.number { (cell(curve.get(count).copied())) } }
            } } }
        } }
    }
}

/// By number of labelled defects, over seeds.
fn curve(page: &Page, at: &Axes) -> BTreeMap<usize, Interval> {
    let mut scores: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for filed in page.records().filter(|filed| filed.cell == *at) {
        for budget in &filed.record.label_budgets {
            scores.entry(budget.defects).or_default().push(mean(&budget.auroc));
        }
    }
    scores
        .into_iter()
        .map(|(count, seeds)| (count, of_seeds(&seeds, Uncertainty::pooled([&seeds[..]]))))
        .collect()
}

fn label(at: &Axes) -> String {
    match (at.backbone, at.method) {
        (None, _) => "raw pixels".to_owned(),
        (_, None) => "random weights".to_owned(),
        (_, method) => method_label(method).to_owned(),
    }
}

fn figure(
    backbone: backbone::Name,
    curves: &BTreeMap<Axes, BTreeMap<usize, Interval>>,
    counts: &BTreeSet<usize>,
) -> Markup {
    let place = |count: usize| (count as f64).log10();
    let series: Vec<Series> = curves
        .iter()
        .filter(|(at, _)| at.backbone == Some(backbone))
        .map(|(at, curve)| Series {
            method: at.method,
            name: label(at),
            points: curve.iter().map(|(count, value)| (place(*count), value.estimate)).collect(),
            joined: true,
            dashed: at.method.is_none(),
        })
        .collect();
    if series.is_empty() {
        return html! {};
    }
    let values: Vec<f64> =
        series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).collect();
    let marks = counts.iter().map(|&count| (place(count), count.to_string())).collect();
    let x = PlotAxis::about("labelled defects", counts.iter().map(|&count| place(count)), 0);
    Plot {
        caption: format!("How many labels it takes, {}", backbone.label()),
        x: PlotAxis { marks, ..x },
        y: PlotAxis::about("AUROC", values, 2),
        series,
        legend: true,
    }
    .draw()
}
