//! Detectors that no defect was used for, on each frozen encoder.

use maud::{Markup, html};

use super::{cell, own_table};
use crate::{
    analysis::{Axes, Scored},
    data::Share,
    evaluate::normals::NEIGHBOURS,
    report::Page,
    results::{Classifier, Metric},
};

/// AUROC of both, beside the table of the converged probe, which needs labels.
pub fn normals(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let table = |caption: &str, classifier: Classifier| {
        let auroc = |cell: Axes| {
            ours.interval(Metric::Auroc, &Scored { cell, classifier, validation: Share::NATURAL })
        };
        own_table(page, caption, auroc, cell)
    };
    html! {
        p {
            "How far an image's features lie from those of normal training images, without a single label of a defect: the first thing to try \
             where defects are so rare that none are at hand. Encoders are the same as above; the share of defects is that of the images that they \
             were pretrained on (95 % over seeds). Supervised training has seen the labels, so its rows are no detectors without them."
        }
        (table(&format!("AUROC of the mean distance to the {NEIGHBOURS} nearest normal images, by share of defects in pretraining"), Classifier::NormalsNeighbours))
        (table("AUROC of the Mahalanobis distance from normal images (covariance shrunken as Ledoit and Wolf 2004), likewise", Classifier::NormalsMahalanobis))
        (table("AUROC of PatchCore on the second and third stage (Roth et al. 2022), likewise", Classifier::NormalsPatchCore))
        (table("AUROC of PaDiM on the second and third stage (Defard et al. 2021), likewise", Classifier::NormalsPadim))
    }
}
