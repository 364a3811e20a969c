//! Whether models find a class of defects that was not in their training.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::{backbone_label, cell, difference, method_label};
use crate::{
    analysis::{
        Axes, FiledRecord, Interval,
        intervals::{Uncertainty, interval_over_seeds},
    },
    report::Page,
    results::{
        Classifier,
        record::{Record, Score},
    },
    study::Study,
};

/// Results for the classes that were left out.
#[derive(Default)]
struct Found {
    /// By class and arm, seed by seed: AUROC on the unseen class, and after training on everything (NaN if not
    /// measured).
    pairs: BTreeMap<(String, Axes), BTreeMap<u64, [f64; 2]>>,
    /// By class the best AUROC of a detector fitted without defects.
    without: BTreeMap<String, f64>,
}

impl Found {
    fn of(page: &Page) -> Self {
        let mut found = Self::default();
        page.records().filter(|filed| matches!(filed.cell.study, Study::Unseen { .. })).for_each(|filed| {
            found.add(page, filed);
        });
        found
    }

    fn add(&mut self, page: &Page, filed: &FiledRecord) -> Option<()> {
        let (record, seed) = (&filed.record, filed.record.cell.seed);
        let class = record.settings.text("unseen.class")?;
        let method = filed.cell.method?;
        let arm = Axes::trained(method, filed.cell.backbone?, filed.cell.share);
        let seen = page.records().find(|other| other.cell == arm && other.record.cell.seed == seed);
        let seen =
            seen.and_then(|other| score(&other.record, Classifier::Converged)?.auroc_by_class.get(&class));
        let pair = [score(record, Classifier::Converged)?.auroc, seen.copied().unwrap_or(f64::NAN)];
        self.pairs.entry((class.clone(), arm)).or_default().insert(seed, pair);
        // Supervised features depend on the other classes' labels.
        if method.is_supervised() {
            return Some(());
        }
        let best = self.without.entry(class).or_insert(0.0);
        let detectors = Classifier::NORMALS_ONLY.into_iter().filter_map(|name| score(record, name));
        *best = detectors.map(|score| score.auroc).fold(*best, f64::max);
        Some(())
    }
}

/// AUROC on the class that was left out, compared with the same images after training on everything.
pub fn unseen(page: &Page) -> Markup {
    let found = Found::of(page);
    if found.pairs.is_empty() {
        return html! { p { "Not measured in these records. To measure it: " code { "cargo xtask reproduce --study table1,unseen" } "." } };
    }
    let classes: BTreeSet<&String> = found.pairs.keys().map(|(class, _)| class).collect();
    html! {
        p {
            "One class of defects was left out of all training, pretraining included. The model is scored on normal images and on defects of this \
             class alone, and compared with a model that was trained on everything, on the same images (converged probe; 95 % over seeds)."
        }
        @for class in classes { div.wide { table {
            caption { "AUROC on class " (class) ", which was left out of training" }
            thead { tr {
                th scope="col" { "Method" } th scope="col" { "Backbone" }
                th.number scope="col" { "unseen" } th.number scope="col" { "seen" } th.number scope="col" { "lost" }
            } }
            tbody {
                @for ((_, at), seeds) in found.pairs.iter().filter(|((of, _), _)| of == class) { tr {
                    th scope="row" { (method_label(at.method)) } td { (backbone_label(at.backbone)) }
                    td.number { (cell(over(seeds, |[unseen, _]| unseen))) }
                    td.number { (cell(over(seeds, |[_, seen]| seen))) }
                    td.number { (difference(over(seeds, |[unseen, seen]| unseen - seen))) }
                } }
                @if let Some(best) = found.without.get(class).filter(|best| **best > 0.0) { tr {
                    th scope="row" { "best detector without labelled defects, of all models and seeds" } td { "\u{2013}" }
                    td.number { (format!("{best:.3}")) } td.number { "\u{2013}" } td.number { "\u{2013}" }
                } }
            }
        } } }
    }
}

/// Returns the score on all validation images of the cell.
fn score(record: &Record, classifier: Classifier) -> Option<&Score> {
    let of = |score: &&Score| score.classifier == classifier.id() && score.validation_share.is_none();
    record.scores.iter().find(of)
}

fn over(seeds: &BTreeMap<u64, [f64; 2]>, of: fn([f64; 2]) -> f64) -> Option<Interval> {
    let values: Vec<f64> = seeds.values().map(|pair| of(*pair)).filter(|value| value.is_finite()).collect();
    (!values.is_empty()).then(|| interval_over_seeds(&values, Uncertainty::pooled([&values[..]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::reading, results::example};

    #[test]
    fn unseen_stands_beside_seen() {
        let record = |study: &str, variant: Option<&str>, auroc: f64| {
            let mut record = example::record();
            (record.cell.study, record.cell.method) = (study.to_owned(), "simclr".to_owned());
            record.cell.variant = variant.map(str::to_owned);
            let variant = variant.map(|variant| format!("-{variant}")).unwrap_or_default();
            record.cell.id = format!("{study}/simclr-resnet18{variant}-share05-seed0");
            let auroc_by_class = [("RB".to_owned(), 0.9)].into();
            record.scores.push(Score { auroc, auroc_by_class, ..example::score("converged", None) });
            record.scores.push(Score { auroc: 0.625, ..example::score("normals_padim", None) });
            if study == "unseen" {
                record.settings.values.insert("unseen.class".to_owned(), "RB".into());
            }
            (record.cell.id.clone(), record)
        };
        let shown = |records| unseen(&Page::new(reading::from_memory(records), None)).into_string();
        assert!(shown(vec![record("table1", None, 0.8)]).contains("Not measured in these records"));
        let text = shown(vec![record("table1", None, 0.8), record("unseen", Some("class00"), 0.7)]);
        for part in ["AUROC on class RB", "0.700", "0.900", "-0.200", "0.625"] {
            assert!(text.contains(part), "no {part}: {text}");
        }
    }
}
