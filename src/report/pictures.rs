//! Example images with the model's logits: drawn images only. Images of other sources never enter a page, whatever
//! their licence.

use maud::{Markup, html};

/// One validation image and a model's logit of it.
pub struct Example {
    /// `data:image/png;base64,...`
    pub uri: String,
    /// What the image shows, in words: `normal`, or class codes.
    pub shows: String,
    /// Above 0 the image is called a defect.
    pub logit: f64,
}

/// Examples of one model: those with the largest logits of each kind.
pub struct Examples {
    /// Id of the cell.
    pub cell: String,
    /// Defects that were found.
    pub hits: Vec<Example>,
    /// Defects that were missed.
    pub misses: Vec<Example>,
    /// Normal images that were flagged.
    pub false_alarms: Vec<Example>,
    /// Normal images that were not flagged.
    pub passed: Vec<Example>,
}

pub fn section(examples: Option<&Examples>) -> Markup {
    let Some(examples) = examples else {
        return html! { p {
            "No example images: they are shown only for drawn images, and only if the logits are stored beside the \
             records."
        } };
    };
    let kinds = [
        ("Defects found, most confident", &examples.hits),
        ("Defects missed, worst", &examples.misses),
        ("False alarms, worst", &examples.false_alarms),
        ("Normal images passed, most confident", &examples.passed),
    ];
    html! {
        p { "How the converged probe of " code { (examples.cell) } " classified validation images, which skewbench has drawn. Below each image: what it shows, and the logit (above 0 means defect)." }
        div.kinds { @for (title, list) in kinds { div {
            h3 { (title) }
            @if list.is_empty() { p { "None." } }
            ul.pictures { @for example in list { li {
                img src=(example.uri) width="96" height="96" loading="lazy" alt={ "drawn sewer pipe: " (example.shows) };
                span { (example.shows) ", " (format!("{:+.1}", example.logit)) }
            } } }
        } } }
    }
}
