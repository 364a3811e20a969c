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

use crate::{
    analysis::{Interval, intervals::of_seeds},
    claims::{
        Evidence,
        evidence::{At, SELF_SUPERVISED},
    },
};

pub const METHODS: [&str; 6] = [
    "supervised",
    SELF_SUPERVISED[0],
    SELF_SUPERVISED[1],
    SELF_SUPERVISED[2],
    SELF_SUPERVISED[3],
    SELF_SUPERVISED[4],
];

pub fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 100.0)
}

pub fn at<'a>(method: &'a str, backbone: &'a str, train: f64, validation: Option<f64>) -> At<'a> {
    At { method, backbone, train, validation }
}

pub fn interval(evidence: &Evidence, metric: &str, cell: &At) -> Option<Interval> {
    let seeds = evidence.seeds(metric, cell);
    (!seeds.is_empty()).then(|| of_seeds(&seeds, evidence.spread(metric, cell.validation)))
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
