//! Table 1: ours below the paper's, with intervals. Knows nothing of other studies.

use maud::{Markup, html};

use super::{SHARES, cell};
use crate::{
    analysis::{Axes, Interval, Scored, cell::percent},
    backbone,
    claims::Evidence,
    method,
    report::Page,
    results::Metric,
};

/// Table 1 of the paper and ours, three scores.
pub fn table_1(page: &Page) -> Markup {
    html! {
        p {
            "Scores on all validation images of the classifier in training, as in the paper. "
            @if page.ours().is_some() { "Ours below the paper's; intervals of 95 % over seeds where more than one was \
                trained, with the spread of seeds pooled over all cells of the same training share." }
        }
        @for metric in [Metric::F1, Metric::F2Oracle, Metric::F1Normal] {
            @let title = if metric == Metric::F2Oracle { "F2_CIW, oracle-typed" } else { metric.label() };
            details open[metric == Metric::F1] {
                summary { (title) }
                div.wide { table {
                    caption { (title) " by method, backbone and share of defects in training" }
                    thead { tr {
                        th scope="col" { "Method" } th scope="col" { "Backbone" } th scope="col" { "Whose" }
                        @for share in SHARES { th.number scope="col" { (percent(share)) } }
                    } }
                    tbody {
                        @for backbone in backbone::Name::ALL { @for method in page.methods() {
                            (rows(page, metric, method, backbone))
                        } }
                    }
                } }
            }
        }
    }
}

/// The paper's row of a method, where it has one, and ours.
fn rows(page: &Page, metric: Metric, method: method::Name, backbone: backbone::Name) -> Markup {
    if let Some(reason) = method.undefined_on(backbone) {
        return html! { tr {
            th scope="row" { (method.label()) } td { (backbone.label()) }
            td colspan="6" { (reason) }
        } };
    }
    let bodies: Vec<&Evidence> =
        if method.is_the_papers() { page.bodies.iter().collect() } else { page.ours().into_iter().collect() };
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
                @for share in SHARES {
                    td.number {
                        @let at = Axes::table_1(method, backbone, share).in_training();
                        (cell(if is_the_papers { printed(body, metric, &at) } else { body.interval(metric, &at) }))
                    }
                }
            }
        }
    }
}

/// The paper's interval would be our assumption's, not its own.
fn printed(paper: &Evidence, metric: Metric, at: &Scored) -> Option<Interval> {
    paper.seeds(metric, at).first().map(|&estimate| Interval::unknown(estimate))
}
