//! Other uses of labels: fine-tuning after pretraining, and alternatives to weighting rare defects.

use maud::{Markup, html};

use super::{difference, own_table};
use crate::{
    analysis::{Axes, Interval, Scored, cell::percent},
    backbone,
    claims::Evidence,
    method::Name::Supervised,
    report::Page,
    results::Metric,
    study::{Remedy, Study},
};

/// Fine-tuning, and the remedies of supervised training.
pub fn labels(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    html! { (fine_tuning(page, ours)) (remedies(page, ours)) }
}

/// Returns the first cell's score minus the second's, paired by seed if possible; `None` if one was not measured.
fn less(ours: &Evidence, metric: Metric, cells: [Scored; 2]) -> Option<Interval> {
    let [Some(first), Some(second)] = cells.map(|cell| ours.mean(metric, &cell)) else { return None };
    let paired = ours.paired_difference("", metric, [&cells[0], &cells[1]]);
    Some(paired.map_or_else(|_| Interval::unknown(first - second), |contrast| contrast.value))
}

/// Whether weights pretrained without labels are a better start for supervised training than random ones.
fn fine_tuning(page: &Page, ours: &Evidence) -> Markup {
    let tuned = |arm: Axes| Some(arm.in_study(Study::FineTuned).in_training()).filter(|_| arm.is_an_arm());
    let scratch = |arm: Axes| -> Option<Interval> {
        let from_scratch = Axes::trained(Supervised, arm.backbone?, arm.share).in_training();
        less(ours, Metric::Auroc, [tuned(arm)?, from_scratch])
    };
    let frozen = |arm: Axes| less(ours, Metric::Auroc, [tuned(arm)?, arm.converged()]);
    let measured = page.records().any(|filed| filed.cell.study == Study::FineTuned);
    html! {
        h3 { "Fine-tuning" }
        @if !measured { p { "Not measured in these records. To measure it: " code { "cargo xtask reproduce --study table1,fine_tuned" } "." } }
        @else {
            p {
                "All weights are trained on the labels, starting from what a method has pretrained on the same images. Scores are of the classifier in \
                 training; runs with the same seed are paired."
            }
            (own_table(page, "AUROC after fine-tuning minus that of supervised training from scratch, by share of defects in training", scratch, difference))
            (own_table(page, "AUROC after fine-tuning minus that of the converged probe on the frozen encoder, by share of defects in training", frozen, difference))
        }
    }
}

/// Alternatives of supervised training for rare defects, minus Table 1's weighting.
fn remedies(page: &Page, ours: &Evidence) -> Markup {
    let shares = page.shares();
    let gained = |remedy, backbone, share, metric: Metric| -> Option<Interval> {
        let table_1 = Axes::trained(Supervised, backbone, share);
        let cells = [table_1.in_study(Study::Remedy(remedy)), table_1];
        less(ours, metric, cells.map(Axes::in_training))
    };
    let words = |remedy| match remedy {
        Remedy::Unweighted => "nothing",
        Remedy::FocalLoss => "focal loss",
        Remedy::Oversampling => "oversampling",
        Remedy::LogitAdjustment => "logit adjustment",
    };
    let rows = |metric: Metric| -> Vec<(Remedy, backbone::Name, Vec<Option<Interval>>)> {
        let pairs =
            Remedy::ALL.into_iter().flat_map(|remedy| backbone::Name::STUDY.map(|name| (remedy, name)));
        let row = |(remedy, name)| {
            let found = shares.iter().map(|&share| gained(remedy, name, share, metric));
            (remedy, name, found.collect::<Vec<_>>())
        };
        pairs.map(row).filter(|(.., found)| found.iter().any(Option::is_some)).collect()
    };
    let tables = [Metric::Auroc, Metric::F1].map(|metric| (metric, rows(metric)));
    html! {
        h3 { "Other ways for supervised training to deal with rare defects" }
        @if tables[0].1.is_empty() { p { "Not measured in these records. To measure it: " code { "cargo xtask reproduce --study table1,remedies" } "." } }
        @else {
            p {
                "Scores of the classifier in training, minus those of the same training with defects weighted by normals/defects, as in the \
                 paper. F1 is taken at a logit of 0. This means even odds where defects are weighted, oversampled or adjusted for, and the odds \
                 of the training images where nothing is done. Adjusting logits after training changes F1 only; the records have it as "
                code { "in_training_adjusted" } "."
            }
            @for (metric, rows) in &tables { div.wide { table {
                caption { (metric.label()) " by remedy, minus that of weighted training" }
                thead { tr {
                    th scope="col" { "Remedy" } th scope="col" { "Backbone" }
                    @for share in &shares { th.number scope="col" { (percent(*share)) } }
                } }
                tbody { @for (remedy, name, found) in rows { tr {
                    th scope="row" { (words(*remedy)) } td { (name.label()) }
                    @for &value in found { td.number { (difference(value)) } }
                } } }
            } } }
        }
    }
}
