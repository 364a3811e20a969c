//! The deployment explorer: what a model's rates mean at a reader's own share of defects.
//!
//! Each method's rates (true and false positives at its own threshold, seed by seed) are embedded in the page as
//! numbers, and so are the corners of its receiver operating characteristic, which include any cheapest threshold;
//! the script turns them into precision, recall, alarms, misses and costs at any share of defects. Intervals come
//! from resampling a seed and, for the finite test set, from binomial draws of the rates; with one seed they cover
//! the test images only, and the page says so. The table for the first setting is part of the HTML, for print and
//! for readers without scripts.

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

use super::{Page, main_share, share_in_words};
use crate::{
    analysis::{Axes, Measure, intervals::mean, prevalence::Rates},
    backbone,
    data::Share,
    method,
    results::{Classifier, Metric},
};

/// Initial values of the page. Ours: one defect in a hundred images, a miss as expensive as a hundred false alarms.
const DEFECTS: f64 = 0.01;
const MISS: f64 = 100.0;
const ALARM: f64 = 1.0;

struct Entry {
    method: method::Name,
    backbone: backbone::Name,
    train: Share,
    /// True and false positive rate, seed by seed.
    rates: Vec<(f64, f64)>,
    /// The same at other thresholds, seed by seed; empty if the records have none.
    points: Vec<Vec<(f64, f64)>>,
    /// Number of validation images with a defect.
    defects: f64,
    normals: f64,
}

fn entries(page: &Page) -> Vec<Entry> {
    let Some(ours) = page.ours() else { return Vec::new() };
    let mut entries = Vec::new();
    for backbone in backbone::Name::STUDY {
        for method in page.methods() {
            for train in page.shares() {
                let cell = Axes::trained(method, backbone, train);
                let rate = |metric: Metric| ours.scores(metric, &cell.converged());
                let rates: Vec<(f64, f64)> =
                    rate(Metric::TruePositiveRate).into_iter().zip(rate(Metric::FalsePositiveRate)).collect();
                if !rates.is_empty() {
                    let points = points(page, &cell);
                    let points = if points.len() == rates.len() { points } else { Vec::new() };
                    let count = |measure: Measure| ours.mean(measure, &cell.converged()).unwrap_or(f64::NAN);
                    let (defects, normals) = (count(Measure::DEFECTS), count(Measure::NORMALS));
                    entries.push(Entry { method, backbone, train, rates, points, defects, normals });
                }
            }
        }
    }
    entries
}

/// Returns the true- and false-positive rates at the operating points of each record of a cell.
fn points(page: &Page, cell: &Axes) -> Vec<Vec<(f64, f64)>> {
    let records = page.records().filter(|filed| filed.cell == *cell);
    let scores = records.flat_map(|filed| &filed.record.scores);
    // Five digits exceed the precision that the test images allow, and keep the page short.
    let short = |rate: f64| (rate * 1e5).round() / 1e5;
    let converged = scores
        .filter(|score| score.classifier == Classifier::Converged.id() && score.validation_share.is_none());
    converged
        .filter(|score| !score.operating_points.is_empty())
        .map(|score| {
            score.operating_points.iter().map(|&[_, alarms, found]| (short(found), short(alarms))).collect()
        })
        .collect()
}

fn json(entries: &[Entry]) -> String {
    let list: Vec<_> = entries
        .iter()
        .map(|entry| {
            serde_json::json!({
                "method": entry.method.label(), "backbone": entry.backbone.label(),
                "train": value(entry.train), "colour": entry.method.colour(), "rates": entry.rates,
                "points": entry.points, "defects": entry.defects, "normals": entry.normals,
            })
        })
        .collect();
    // Text in a script element must not contain its end tag.
    serde_json::Value::from(list).to_string().replace("</", "<\\/")
}

/// Returns a training share as spelt in links and the script: `0.05`, `natural`.
fn value(share: Share) -> String {
    share.fraction().map_or_else(|| "natural".to_owned(), |fraction| fraction.to_string())
}

pub fn section(page: &Page) -> Markup {
    let entries = entries(page);
    if entries.is_empty() {
        return html! { p { "Not measured: these records have no true and false positive rates of a converged probe." } };
    }
    let has_points = entries.iter().all(|entry| !entry.points.is_empty());
    let seeds = entries.iter().map(|entry| entry.rates.len()).min().unwrap_or_default();
    let shares: BTreeSet<Share> = entries.iter().map(|entry| entry.train).collect();
    let Some(train) =
        main_share(&page.reading).filter(|share| shares.contains(share)).or(shares.last().copied())
    else {
        return html! {};
    };
    html! {
        p {
            "Set how rare defects are on your own site, and what a missed defect and a false alarm cost. The table applies each model's true and "
            "false positive rates, measured with the converged probe on the validation images, to your share of defects. This is right as "
            "long as your images are of the same kind. "
            @if has_points { "The cheapest threshold is chosen on the images on which its rates are measured, so its cost is slightly too low. " }
            @if seeds < 2 { "There is one seed per cell, so intervals cover the test images only." }
        }
        form.explorer aria-label="Your site" onsubmit="return false" {
            p {
                label for=(page.id("share")) { "Defects among images" }
                input type="range" id=(page.id("share")) min="-4" max="-0.301" step="0.01" value=(DEFECTS.log10()) aria-describedby=(page.id("share-text"));
                output id=(page.id("share-text")) for=(page.id("share")) { (format!("{} %", 100.0 * DEFECTS)) }
            }
            p { label for=(page.id("miss")) { "Cost of a missed defect" } input type="number" id=(page.id("miss")) min="0" step="any" value=(MISS); }
            p { label for=(page.id("alarm")) { "Cost of a false alarm" } input type="number" id=(page.id("alarm")) min="0" step="any" value=(ALARM); }
            p {
                label for=(page.id("train")) { "Trained at" }
                select id=(page.id("train")) { @for share in shares {
                    option value=(value(share)) selected[share == train] { (share_in_words(share)) }
                } }
            }
            p {
                label for=(page.id("threshold")) { "Threshold" }
                select id=(page.id("threshold")) {
                    option value="own" selected { "the probe's own" }
                    option value="cheapest" disabled[!has_points] { "cheapest for these costs" }
                }
            }
        }
        p.choice id=(page.id("choice")) role="status" aria-live="polite" { "Sorted by expected cost." }
        div.wide { table id=(page.id("explorer-table")) {
            caption { "Per 1,000 images of your site" }
            thead { tr {
                th scope="col" { "Method" } th scope="col" { "Backbone" } th.number scope="col" { "Expected cost" } th.number scope="col" { "Misses" } th.number scope="col" { "Alarms" }
                th.number scope="col" { "False alarms" } th.number scope="col" { "Recall" } th.number scope="col" { "Precision" } th.number scope="col" { "F1" }
            } }
            tbody { (rows(&entries, train)) }
        } }
        script type="application/json" id=(page.id("explorer-data")) { (PreEscaped(json(&entries))) }
    }
}

fn rows(entries: &[Entry], train: Share) -> Markup {
    let mut rows: Vec<(f64, Markup)> = entries
        .iter()
        .filter(|entry| entry.train == train)
        .map(|entry| {
            let of = |side: fn(&(f64, f64)) -> f64| mean(&entry.rates.iter().map(side).collect::<Vec<_>>());
            let rates = Rates { true_positive: of(|rates| rates.0), false_positive: of(|rates| rates.1) };
            let hits = 1e3 * DEFECTS * rates.true_positive;
            let (false_alarms, misses) = (1e3 * (1.0 - DEFECTS) * rates.false_positive, 1e3 * DEFECTS - hits);
            let cost = MISS * misses + ALARM * false_alarms;
            let row = html! { tr {
                th scope="row" { span.dot style={ "background:" (entry.method.colour()) } {} (entry.method.label()) }
                td { (entry.backbone.label()) }
                td.number { (format!("{cost:.0}")) } td.number { (format!("{misses:.1}")) } td.number { (format!("{:.0}", hits + false_alarms)) }
                td.number { (format!("{false_alarms:.0}")) } td.number { (format!("{:.3}", rates.true_positive)) }
                td.number { (format!("{:.3}", rates.precision(DEFECTS))) } td.number { (format!("{:.3}", rates.f1(DEFECTS))) }
            } };
            (cost, row)
        })
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    html! { @for (_, row) in rows { (row) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::reading,
        results::{example, record::Score},
    };

    #[test]
    fn rates_and_corners_are_hits_then_alarms() {
        let mut record = example::record();
        record.scores = vec![Score {
            true_positive_rate: 0.75,
            false_positive_rate: 0.125,
            normals: 40,
            defects: 12,
            // Threshold, false positive rate, true positive rate.
            operating_points: vec![[2.0, 0.01, 0.5], [-1.0, 0.25, 0.9876543]],
            ..example::score("converged", None)
        }];
        let page = Page::new(reading::from_memory(vec![("a".into(), record)]), None);
        let entries = entries(&page);
        let [entry] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert_eq!(entry.rates, [(0.75, 0.125)]);
        assert_eq!(entry.points, [vec![(0.5, 0.01), (0.98765, 0.25)]]);
        let data: serde_json::Value = serde_json::from_str(&json(&entries)).unwrap();
        assert_eq!((&data[0]["normals"], &data[0]["defects"]), (&40.0.into(), &12.0.into()));
        assert_eq!(data[0]["rates"], serde_json::json!([[0.75, 0.125]]));
        assert_eq!(data[0]["points"], serde_json::json!([[[0.5, 0.01], [0.98765, 0.25]]]));
    }
}
