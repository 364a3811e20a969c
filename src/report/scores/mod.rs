//! Tables and figures of scores, ours beside the paper's if it prints them.

mod budgets;
mod by_share;
mod imbalance;
mod label_free;
mod labels;
mod normals;
mod pointing;
mod protocol;
mod ranking;
mod table_1;
mod unseen;

use maud::{Markup, html};

pub use self::{
    budgets::budgets, by_share::by_share, imbalance::imbalance, label_free::label_free, labels::labels,
    normals::normals, pointing::pointing, protocol::protocol, ranking::ranking, table_1::table_1,
    unseen::unseen,
};

use super::{Page, figure::colour};
use crate::{
    analysis::{Axes, Interval, cell::percent},
    backbone,
    data::Share,
    method,
    study::Study,
};

/// Returns the printed name of a method; `none` for no method.
pub fn method_label(method: Option<method::Name>) -> &'static str {
    method.map_or("none", method::Name::label)
}

/// Returns the printed name of a backbone; `pixels` for no network.
pub fn backbone_label(backbone: Option<backbone::Name>) -> &'static str {
    backbone.map_or("pixels", backbone::Name::label)
}

/// A table of floors and arms by the training shares in the records. `number` returns a cell's value, which `show`
/// formats; rows without any value are left out.
fn own_table(
    page: &Page,
    caption: &str,
    number: impl Fn(Axes) -> Option<Interval>,
    show: fn(Option<Interval>) -> Markup,
) -> Markup {
    let shares = page.shares();
    // Rows are identified by their axes at an arbitrary share.
    let (any, backbones) = (Share::NATURAL, backbone::Name::ALL);
    let random = backbones.map(|backbone| Axes::random_weights(backbone, any));
    let given = backbones.map(|backbone| Axes::given_weights(backbone, any));
    let arms = backbones.into_iter().flat_map(|backbone| {
        page.methods().into_iter().map(move |method| Axes::trained(method, backbone, any))
    });
    let axes = |of: Axes, share| match (of.method, of.backbone) {
        (Some(method), Some(backbone)) => Axes::trained(method, backbone, share),
        _ => Axes { share, ..of },
    };
    let row = |of: Axes| {
        let cells: Vec<_> = shares.iter().map(|&share| number(axes(of, share))).collect();
        cells.iter().any(Option::is_some).then_some((of, cells))
    };
    let rows: Vec<_> =
        std::iter::once(Axes::pixels(any)).chain(random).chain(given).chain(arms).filter_map(row).collect();
    if rows.is_empty() {
        return html! { p { "Not measured in these records: " (caption) "." } };
    }
    html! { div.wide { table {
        caption { (caption) }
        thead { tr {
            th scope="col" { "Method" } th scope="col" { "Backbone" }
            @for share in &shares { th.number scope="col" { (percent(*share)) } }
        } }
        tbody { @for (of, cells) in rows { tr {
            th scope="row" {
                span.dot style={ "background:" (colour::of_method(of.method)) } {}
                (match (of.study, of.method) {
                    (Study::Pixels, _) => "raw pixels",
                    (Study::GivenWeights, _) => "given weights, frozen",
                    (_, None) => "random weights",
                    (_, Some(method)) => method.label(),
                })
            }
            td { (of.backbone.map_or("\u{2013}", backbone::Name::label)) }
            @for found in cells { td.number { (show(found)) } }
        } } }
    } } }
}

/// Formats `0.742`, and below it the interval if there is one.
fn cell(interval: Option<Interval>) -> Markup {
    html! {
        @match interval {
            None => "\u{2013}",
            Some(interval) => {
                (format!("{:.3}", interval.estimate))
                @if interval.low.is_finite() {
                    " " span.interval { (format!("{:.3}\u{2013}{:.3}", interval.low.max(0.0), interval.high.min(1.0))) }
                }
            }
        }
    }
}

/// Formats `+0.050`, and below it the interval if there is one.
fn difference(interval: Option<Interval>) -> Markup {
    html! {
        @match interval {
            None => "\u{2013}",
            Some(interval) => {
                (format!("{:+.3}", interval.estimate))
                @if interval.low.is_finite() {
                    " " span.interval { (format!("{:+.3} to {:+.3}", interval.low, interval.high)) }
                }
            }
        }
    }
}
