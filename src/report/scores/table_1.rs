//! Table 1: ours below the paper's, with intervals. Knows nothing of other studies.

use maud::{Markup, html};

use super::{METHODS, at, cell, interval, percent};
use crate::{
    analysis::Interval,
    claims::evidence::{BACKBONES, SHARES},
    report::{Page, figure::colour},
};

/// Table 1 of the paper and ours, three scores.
pub fn table_1(page: &Page) -> Markup {
    html! {
        p {
            "Scores on all validation images of the classifier in training, as in the paper. "
            @if page.ours().is_some() { "Ours below the paper's; intervals of 95 % over seeds where more than one was trained, with the spread of \
                seeds pooled over all cells." }
        }
        @for (metric, title) in [("f1", "F1"), ("f2_ciw_oracle", "F2_CIW, oracle-typed"), ("f1_normal", "F1_Normal")] {
            details open[metric == "f1"] {
                summary { (title) }
                div.wide { table {
                    caption { (title) " by method, backbone and share of defects in training" }
                    thead { tr {
                        th scope="col" { "Method" } th scope="col" { "Backbone" } th scope="col" { "Whose" }
                        @for share in SHARES { th.number scope="col" { (percent(share)) } }
                    } }
                    tbody {
                        @for backbone in BACKBONES { @for method in METHODS {
                            @if (method, backbone) == ("mae", "resnet18") {
                                tr { th scope="row" { "MAE" } td { "ResNet-18" } td colspan="6" { "not defined: MAE masks patches of a transformer" } }
                            } @else {
                                @for (place, body) in page.bodies.iter().enumerate() {
                                    tr.first[place == 0] {
                                        @if place == 0 {
                                            th scope="row" rowspan=(page.bodies.len()) { span.dot style={ "background:" (colour::of(method)) } {} (colour::label(method)) }
                                            td rowspan=(page.bodies.len()) { (colour::label(backbone)) }
                                        }
                                        td { (if place == 0 { "paper" } else { "ours" }) }
                                        @for share in SHARES {
                                            td.number {
                                                @let cell_at = at(method, backbone, share, None);
                                                // The paper's interval would be our assumption's, not its own.
                                                @if place == 0 { (cell(body.seeds(metric, &cell_at).first().map(|&estimate| Interval { estimate, low: f64::NEG_INFINITY, high: f64::INFINITY }))) }
                                                @else { (cell(interval(body, metric, &cell_at))) }
                                            }
                                        }
                                    }
                                }
                            }
                        } }
                    }
                } }
            }
        }
    }
}
