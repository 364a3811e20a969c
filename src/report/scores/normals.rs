//! Detectors fitted without defects, on each frozen encoder.

use maud::{Markup, html};

use super::{cell, own_table};
use crate::{
    analysis::{Axes, Scored},
    data::Share,
    evaluate::normals::NEIGHBOURS,
    report::Page,
    results::{Classifier, Metric},
};

/// Their AUROC, for comparison with the table of the converged probe, which needs labels.
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
            "These detectors score an image by how far its features lie from those of normal training images. They need no labelled defect, so try \
             them first if you have none. Encoders are the same as above; columns are the share of defects in pretraining (95 % over seeds). \
             Supervised training used the labels, so its rows are not detectors without labels."
        }
        (table(&format!("AUROC of the mean distance to the {NEIGHBOURS} nearest normal images, by share of defects in pretraining"), Classifier::NormalsNeighbours))
        (table("AUROC of the Mahalanobis distance from normal images (covariance shrunk as in Ledoit and Wolf 2004), by share of defects in pretraining", Classifier::NormalsMahalanobis))
        (table("AUROC of PatchCore on the second and third stage (Roth et al. 2022), by share of defects in pretraining", Classifier::NormalsPatchCore))
        (table("AUROC of PaDiM on the second and third stage (Defard et al. 2021), by share of defects in pretraining", Classifier::NormalsPadim))
    }
}
