//! Figures 2, 4 and 5: scores by share of defects in validation. Trains nothing and fits nothing.

use maud::{Markup, html};

use super::{METHODS, at, percent};
use crate::{
    analysis::intervals::mean,
    claims::{
        Evidence,
        evidence::{BACKBONES, SHARES},
    },
    report::{
        Page,
        figure::{colour, heatmap::Heatmap},
    },
};

/// Figures 2, 4 and 5.
pub fn imbalance(page: &Page) -> Markup {
    let map =
        |body: &Evidence, whose: &str, backbone: Option<&str>, metric: &str, title: &str| -> Option<Markup> {
            let mut rows = Vec::new();
            let mut cells = Vec::new();
            for method in METHODS {
                for backbone in
                    BACKBONES.into_iter().filter(|known| backbone.is_none_or(|wanted| wanted == *known))
                {
                    for train in SHARES {
                        let row: Vec<Option<f64>> = SHARES
                            .iter()
                            .map(|&share| {
                                let seeds = body.seeds(metric, &at(method, backbone, train, Some(share)));
                                (!seeds.is_empty()).then(|| mean(&seeds))
                            })
                            .collect();
                        if row.iter().any(Option::is_some) {
                            rows.push((
                                method.to_owned(),
                                format!("{} {}", colour::label(method), percent(train)),
                            ));
                            cells.push(row);
                        }
                    }
                }
            }
            let place = backbone.map_or(String::new(), |backbone| format!(", {}", colour::label(backbone)));
            (!rows.is_empty()).then(|| {
                Heatmap {
                    caption: format!("{title}, {whose}{place}"),
                    row_axis: "method and defects in training".into(),
                    column_axis: "defects in validation".into(),
                    rows,
                    columns: SHARES.map(percent).into(),
                    cells,
                    range: (0.0, 1.0),
                    percent_decimals: 1,
                }
                .draw()
            })
        };
    const FIGURE_2: [(&str, &str); 3] =
        [("f1", "F1"), ("f2_ciw_oracle", "F2_CIW"), ("f1_normal", "F1_Normal")];
    const FIGURE_5: [(&str, &str); 3] =
        [("precision", "Precision"), ("recall", "Recall"), ("auroc", "AUROC")];
    html! {
        p {
            "The same model, scored with more and more normal images beside the same kind of defects (Figures 2, 4 and 5). F1 and precision must \
             fall: with a true positive rate T and a false positive rate F, F1 = 2pT / (pT + (1 \u{2212} p)F + p) at a share p of defects. Recall, AUROC \
             and the oracle-typed F2_CIW do not depend on p; what they move is chance."
        }
        h3 { "As printed: Figure 2" }
        div.figures { @for (metric, title) in FIGURE_2 { @if let Some(figure) = map(page.paper(), "the paper", None, metric, title) { (figure) } } }
        @if let Some(ours) = page.ours() {
            @for backbone in BACKBONES {
                h3 { "Ours, " (colour::label(backbone)) }
                div.figures { @for (metric, title) in FIGURE_2.into_iter().chain(FIGURE_5) {
                    @if let Some(figure) = map(ours, "ours", Some(backbone), metric, title) { (figure) }
                } }
            }
        }
    }
}
