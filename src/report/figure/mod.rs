//! Figures as SVG: labelled axes, text that stays text, colours from the page's theme.

pub mod colour;
pub mod heatmap;
pub mod plot;

use maud::{Markup, html};

/// A figure with its caption, and a title and description for those who do not see it.
pub fn framed(caption: &str, title: &str, width: f64, height: f64, content: Markup) -> Markup {
    html! {
        figure {
            svg viewBox={ "0 0 " (round(width)) " " (round(height)) } role="img" style={ "max-width:" (round(width)) "px" }
                preserveAspectRatio="xMidYMid meet" {
                title { (title) }
                (content)
            }
            figcaption { (caption) }
        }
    }
}

/// At most one decimal: pixels need no more.
pub fn round(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

/// Text at a point; `anchor`: `start`, `middle` or `end`.
pub fn text(x: f64, y: f64, anchor: &str, class: &str, content: &str) -> Markup {
    html! { text x=(round(x)) y=(round(y)) text-anchor=(anchor) class=(class) { (content) } }
}
