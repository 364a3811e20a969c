//! Table 1: ours below the paper's, with intervals. Independent of other studies.

use maud::{Markup, html};

use super::{cell, own_table};
use crate::{
    analysis::{Axes, Interval, Scored, cell::percent},
    backbone,
    claims::Evidence,
    data::Share,
    evaluate::neighbours::NEIGHBOURS,
    method,
    report::Page,
    results::{Classifier, Metric},
};

/// Table 1 of the paper and ours, for three scores.
pub fn table_1(page: &Page) -> Markup {
    let shares = page.shares_and_the_papers();
    html! {
        p {
            "Scores of the classifier in training on all validation images, as in the paper. "
            @if page.ours().is_some() { "Our scores stand below the paper's, with 95 % intervals where more than one seed was \
                trained; each cell has its own spread over seeds." }
        }
        @for metric in [Metric::F1, Metric::F2Oracle, Metric::F1Normal] {
            @let title = if metric == Metric::F2Oracle { "F2_CIW, oracle-typed" } else { metric.label() };
            details open[metric == Metric::F1] {
                summary { (title) ", beside the paper's" }
                div.wide { table {
                    caption { (title) " by method, backbone and share of defects in training" }
                    thead { tr {
                        th scope="col" { "Method" } th scope="col" { "Backbone" } th scope="col" { "Whose" }
                        @for share in &shares { th.number scope="col" { (percent(*share)) } }
                    } }
                    tbody {
                        @for backbone in backbone::Name::STUDY { @for method in page.methods() {
                            (rows(page, metric, method, backbone, &shares))
                        } }
                    }
                } }
            }
        }
        @for metric in [Metric::Auroc, Metric::AveragePrecision] {
            details { summary { (metric.label()) " of the converged probe, ours" } (converged(page, metric)) }
        }
        @for metric in [Metric::TprAtFpr5, Metric::FprAtTpr95] {
            @if measured(page, metric, Classifier::Converged) {
                details { summary { (metric.label()) " of the converged probe, ours" } (converged(page, metric)) }
            }
        }
        @if measured(page, Metric::Auroc, Classifier::Neighbours) {
            details { summary { "AUROC by nearest neighbours, ours" } (neighbours(page)) }
        }
    }
}

/// Returns the paper's row of a method, if it has one, and ours.
fn rows(
    page: &Page,
    metric: Metric,
    method: method::Name,
    backbone: backbone::Name,
    shares: &[Share],
) -> Markup {
    if let Some(reason) = method.undefined_on(backbone) {
        return html! { tr {
            th scope="row" { (method.label()) } td { (backbone.label()) }
            td colspan=(shares.len() + 1) { (reason) }
        } };
    }
    let measured = |body: &&Evidence| {
        let at = |share: &Share| Axes::trained(method, backbone, *share).in_training();
        shares.iter().any(|share| body.mean(metric, &at(share)).is_some())
    };
    let papers = method.is_from_paper().then(|| page.paper()).into_iter();
    let bodies: Vec<&Evidence> = papers.chain(page.ours().filter(measured)).collect();
    html! {
        @for (place, body) in bodies.iter().enumerate() {
            @let is_the_papers = std::ptr::eq(*body, page.paper());
            tr.first[place == 0] {
                @if place == 0 {
                    th scope="row" rowspan=(bodies.len()) {
                        span.dot style={ "background:" (method.colour()) } {} (method.label())
                    }
                    td rowspan=(bodies.len()) { (backbone.label()) }
                }
                td { (if is_the_papers { "paper" } else { "ours" }) }
                @for &share in shares {
                    td.number {
                        @let at = Axes::trained(method, backbone, share).in_training();
                        (cell(if is_the_papers { printed(body, metric, &at) } else { body.interval(metric, &at) }))
                    }
                }
            }
        }
    }
}

/// A table of a score of the converged probe, which the paper does not print: floors first.
fn converged(page: &Page, metric: Metric) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let caption = format!("{} of the converged probe by share of defects in training", metric.label());
    own_table(page, &caption, |at| ours.interval(metric, &at.converged()), cell)
}

/// Returns whether any record has the score.
fn measured(page: &Page, metric: Metric, classifier: Classifier) -> bool {
    let scores = page.records().flat_map(|filed| &filed.record.scores);
    scores.filter(|score| score.classifier == classifier.id()).any(|score| metric.value(score).is_some())
}

/// A table of AUROC of the votes of the most similar training images: DINO's protocol, which fits nothing.
fn neighbours(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let caption = format!(
        "AUROC of the votes of the {NEIGHBOURS} training images with the most similar features, by share of defects in training"
    );
    let at = |cell| Scored { cell, classifier: Classifier::Neighbours, validation: Share::NATURAL };
    own_table(page, &caption, |cell| ours.interval(Metric::Auroc, &at(cell)), cell)
}

/// Returns the paper's score without an interval, which would only reflect our assumption.
fn printed(paper: &Evidence, metric: Metric, at: &Scored) -> Option<Interval> {
    paper.scores(metric, at).first().map(|&estimate| Interval::unknown(estimate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Reading, frame::FrameBuilder},
        results::paper,
    };

    /// Text of the cells of each row of a table's body.
    fn rows_of(table: &str) -> Vec<Vec<String>> {
        let text =
            |cell: &str| cell.split_once('>').map_or("", |cell| cell.1).split('<').next().unwrap().to_owned();
        let body = table.split("<tbody>").nth(1).unwrap();
        body.split("<tr").skip(1).map(|row| row.split("<td").skip(1).map(text).collect()).collect()
    }

    #[test]
    fn the_papers_numbers_stand_under_their_shares() {
        let reading =
            Reading { frame: FrameBuilder::default().frame(), records: Vec::new(), problems: Vec::new() };
        let html = table_1(&Page::new(reading, None)).into_string();
        let table = html.split("<caption>F1 by method").nth(1).unwrap().split("</table>").next().unwrap();
        let heads: Vec<&str> = table.split("<th class=\"number\" scope=\"col\">").skip(1).collect();
        let heads: Vec<&str> = heads.iter().map(|head| head.split('<').next().unwrap()).collect();
        assert_eq!(heads, ["1 %", "2 %", "5 %", "15 %", "45 %"]);
        // Table 1 as printed: F1 of DINO and of BYOL on ResNet-18.
        let rows = rows_of(table);
        let printed = |method: method::Name| -> Vec<f64> {
            let cells = paper::table_1().into_iter();
            let own = |cell: &paper::Table1Cell| {
                (cell.metric, cell.backbone, cell.method) == (Metric::F1, backbone::Name::ResNet18, method)
            };
            cells.filter(own).filter_map(|cell| cell.printed.score()).collect()
        };
        for method in [method::Name::Dino, method::Name::Byol] {
            let expected: Vec<String> = printed(method).iter().map(|f1| format!("{f1:.3}")).collect();
            assert_eq!(expected.len(), 5);
            assert!(
                rows.iter().any(|row| row.ends_with(&expected)),
                "{}: {expected:?} in {rows:?}",
                method.label()
            );
        }
    }
}
