//! Tables and figures of scores, ours beside the paper's where it prints them.

mod imbalance;
mod label_free;
mod protocol;
mod ranking;
mod table_1;

use maud::{Markup, html};

pub use self::{
    imbalance::imbalance, label_free::label_free, protocol::protocol, ranking::ranking, table_1::table_1,
};

use crate::{analysis::Interval, backbone, data::Share, method};

/// Shares of defects in training and validation.
const SHARES: [Share; 5] = Share::STUDY;

/// How the paper prints a method; `none` of no method.
pub fn method_label(method: Option<method::Name>) -> &'static str {
    method.map_or("none", method::Name::label)
}

/// How the paper prints a backbone; `pixels` of no network.
pub fn backbone_label(backbone: Option<backbone::Name>) -> &'static str {
    backbone.map_or("pixels", backbone::Name::label)
}

/// `0.742`, and below it the interval where there is one.
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
