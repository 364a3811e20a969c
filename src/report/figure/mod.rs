//! Figures as SVG: labelled axes, selectable text, colours from the page's theme.

pub mod colour;
pub mod heatmap;
mod picture;
pub mod plot;

use maud::{Markup, html};

pub use self::picture::{Theme, picture};

/// Content of a figure, before it becomes part of the page or a file of its own.
pub struct Drawing {
    /// Caption below the figure, and its title for screen readers.
    pub caption: String,
    /// Width of the drawing, pixels.
    pub width: f64,
    /// Height of the drawing, pixels.
    pub height: f64,
    /// Elements of the drawing, relative to (0, 0).
    pub content: Markup,
}

impl Drawing {
    /// Frames the drawing as a figure of the page, with its caption.
    pub fn framed(&self) -> Markup {
        let (width, height) = (round(self.width), round(self.height));
        html! {
            figure {
                svg viewBox={ "0 0 " (width) " " (height) } role="img" style={ "max-width:" (width) "px" }
                    preserveAspectRatio="xMidYMid meet" {
                    title { (self.caption) }
                    (self.content)
                }
                figcaption { (self.caption) }
            }
        }
    }
}

/// Rounds to one decimal: pixels need no more.
pub fn round(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

/// Text at a point; `anchor`: `start`, `middle` or `end`.
pub fn text(x: f64, y: f64, anchor: &str, class: &str, content: &str) -> Markup {
    html! { text x=(round(x)) y=(round(y)) text-anchor=(anchor) class=(class) { (content) } }
}
