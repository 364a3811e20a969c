//! What happens when the validation set gets more imbalanced: claims about Figures 2, 4 and 5.

use super::{
    Claim, Evidence, Finding, Verdict,
    evidence::{At, BACKBONES, Contrast, Missing, SELF_SUPERVISED, SHARES, all_above, all_within},
    methods::percent,
};
use crate::analysis::prevalence::{Fit, Printed};

/// Scores are called stable when they stay within this of their value at 45 %. Ours.
const STABLE: f64 = 0.05;

pub static CLAIMS: [Claim; 6] = [
    Claim {
        id: "f1_falls_with_imbalance",
        section: "2.2",
        quote: "a clear and consistent decline in performance across most methods, as indicated by the F1 scores",
        predicate: "F1 is lower at 1 % defects in validation than at 45 %, for every model",
        note: "It must be: with fixed rates F1 falls with the share of defects, whatever was learnt. See \
               decline_is_arithmetic.",
        judge: |evidence| {
            let ends =
                rows(evidence, "f1").map(|at| evidence.above("f1", &seen(&at, 0.45), &seen(&at, 0.01)));
            all_above(ends.collect())
        },
    },
    Claim {
        id: "decline_is_arithmetic",
        section: "ours",
        quote: "",
        predicate: "one pair of true and false positive rates a model explains at least 99 % of how its F1 moves over \
                    validation shares, over all rows",
        note: "So the decline says nothing about a method: only the pair does.",
        judge: |evidence| {
            let (mut lines, mut left, mut total) = (Vec::new(), 0.0, 0.0);
            for at in rows(evidence, "f1") {
                let at_share = |share: f64| Printed {
                    share,
                    f1: first(evidence, "f1", &seen(&at, share)),
                    f1_normal: first(evidence, "f1_normal", &seen(&at, share)),
                };
                let row: Vec<Printed> = SHARES.map(at_share).into();
                if let Some(fit) = Fit::of(&row)
                    && let Some(explained) = fit.explained(&row)
                {
                    let squares: f64 = fit.residuals.iter().flatten().map(|residual| residual.powi(2)).sum();
                    left += squares;
                    total += squares / (1.0 - explained).max(f64::MIN_POSITIVE);
                    let name = format!("{} on {} at {} %", at.method, at.backbone, percent(at.train));
                    let line = format!(
                        "{name}: {:.2} % explained, largest residual {:.1} points",
                        100.0 * explained,
                        100.0 * fit.worst()
                    );
                    lines.push((explained, line));
                }
            }
            if lines.is_empty() {
                return Finding::unmeasured("F1 and F1_Normal at several validation shares");
            }
            lines.sort_by(|a, b| a.0.total_cmp(&b.0));
            let all = 1.0 - left / total;
            let verdict = if all >= 0.99 { Verdict::Holds } else { Verdict::Fails };
            let first = format!("all rows together: {:.2} % explained", 100.0 * all);
            let evidence = std::iter::once(first).chain(lines.into_iter().map(|(_, line)| line)).collect();
            Finding { verdict, evidence, missing: Vec::new() }
        },
    },
    Claim {
        id: "f2_stays_stable",
        section: "2.2",
        quote: "the F2 score remains relatively stable",
        predicate: "F2_CIW (oracle) stays within 5 points of its value at 45 %, for every model",
        note: "The oracle reading counts no false alarm: it is recall, weighted by class, which does not depend on the \
               share of defects. At 1 % it moves by chance, since rare classes are then a handful of images.",
        judge: |evidence| all_within(moves(evidence, "f2_ciw_oracle"), STABLE),
    },
    Claim {
        id: "f2_stable_because_of_weighted_loss",
        section: "2.2",
        quote: "likely due to the use of a weighted loss function based on defect proportions",
        predicate: "a score that counts false alarms (multi-label F2_CIW of the same detector) is as stable",
        note: "If the loss kept it stable, the score that counts false alarms would be stable too. The paper does not \
               give that one.",
        judge: |evidence| all_within(moves(evidence, "f2_ciw_multilabel"), STABLE),
    },
    Claim {
        id: "recall_stays_strong",
        section: "appendix B",
        quote: "the recall score remains consistently strong across all validation imbalance proportions, likely due to \
                the weighted loss choice",
        predicate: "recall stays within 5 points of its value at 45 %, for every model",
        note: "Recall of a fixed model does not depend on how many normal images stand beside the defects, whatever \
               the loss was. Figure 5 is a picture only.",
        judge: |evidence| all_within(moves(evidence, "recall"), STABLE),
    },
    Claim {
        id: "supervised_gap_widens",
        section: "appendix B",
        quote: "with the performance gap widening as the class imbalance in the validation set increased",
        predicate: "supervised F1 less SimCLR's is larger at 1 % defects in validation than at 45 %, at every training \
                    share on ResNet-18",
        note: "In proportion the gap widens (12.3 against 5.0 per cent is a factor of 2.5), in points it shrinks: all F1 \
               go to 0 with the share.",
        judge: |evidence| {
            let wider = SHARES.map(|train| {
                let cell = |method, validation| At {
                    method,
                    backbone: "resnet18",
                    train,
                    validation: Some(validation),
                };
                let term = |sign, method, share| (sign, evidence.seeds("f1", &cell(method, share)));
                let terms = [
                    term(1.0, "supervised", 0.01),
                    term(-1.0, "simclr", 0.01),
                    term(-1.0, "supervised", 0.45),
                    term(1.0, "simclr", 0.45),
                ];
                let what = format!("f1: gap at 1 % less gap at 45 %, trained at {} %", percent(train));
                evidence.contrast(what, &terms, evidence.spread("f1", Some(0.45)))
            });
            all_above(wider.into())
        },
    },
];

/// Models that have a score at 45 % in validation.
fn rows<'a>(evidence: &'a Evidence, metric: &'a str) -> impl Iterator<Item = At<'static>> + 'a {
    let methods = std::iter::once("supervised").chain(SELF_SUPERVISED);
    let cells = methods.flat_map(|method| {
        BACKBONES.into_iter().flat_map(move |backbone| {
            SHARES.into_iter().map(move |train| At { method, backbone, train, validation: None })
        })
    });
    cells.filter(move |at| !evidence.seeds(metric, &seen(at, 0.45)).is_empty())
}

fn seen<'a>(at: &At<'a>, validation: f64) -> At<'a> {
    At { validation: Some(validation), ..*at }
}

/// A score at every other validation share less the one at 45 %.
fn moves(evidence: &Evidence, metric: &str) -> Vec<Result<Contrast, Missing>> {
    let mut contrasts = Vec::new();
    for at in rows(evidence, metric) {
        for share in SHARES[..4].iter().copied() {
            // A cell that is lost in print is no gap in the claim.
            if !evidence.seeds(metric, &seen(&at, share)).is_empty() {
                contrasts.push(evidence.above(metric, &seen(&at, share), &seen(&at, 0.45)));
            }
        }
    }
    if contrasts.is_empty() {
        contrasts.push(Err(format!("{metric} at several validation shares").into()));
    }
    contrasts
}

/// The value of the first seed: one confusion matrix, not a mean of several.
fn first(evidence: &Evidence, metric: &str, at: &At) -> Option<f64> {
    evidence.seeds(metric, at).first().copied()
}
