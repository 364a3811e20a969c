//! The effect of a more imbalanced validation set: claims about Figures 2, 4 and 5.

use super::{
    Claim, Evidence, Finding, Verdict, Yardstick,
    contrast::{Contrasts, name},
};
use crate::{
    analysis::{
        Axes, Measure, Scored,
        cell::percent,
        intervals::mean,
        prevalence::{Fit, ScoresAtShare},
    },
    backbone,
    data::Share,
    method::Name::{self, SimClr, Supervised},
    results::Metric,
};

const SHARES: [Share; 5] = Share::STUDY;
/// Highest share of defects in validation; the others are compared with it.
const MOST: Share = Share::percent(45);
/// Lowest share of defects in validation.
const LEAST: Share = Share::percent(1);

/// Scores within this distance of their value at 45 % are called stable. Ours.
const STABLE: f64 = 0.05;

pub static CLAIMS: [Claim; 6] = [
    Claim {
        id: "f1_falls_with_imbalance",
        section: "2.2",
        quote: "a clear and consistent decline in performance across most methods, as indicated by the F1 scores",
        predicate: "F1 is lower at 1 % defects in validation than at 45 %, for every model",
        note: "This must be so: with fixed rates F1 falls with the share of defects, whatever the model has learnt. See decline_is_arithmetic.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_above(moved(evidence, Metric::F1, [MOST, LEAST])),
    },
    Claim {
        id: "decline_is_arithmetic",
        section: "ours",
        quote: "",
        predicate: "one pair of true-positive and false-positive rates per model explains at least 99 % of how its \
                    F1 changes over validation shares, over all models",
        note: "So the decline says nothing about a method; only the pair of rates does.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| arithmetic(evidence),
    },
    Claim {
        id: "f2_stays_stable",
        section: "2.2",
        quote: "the F2 score remains relatively stable",
        predicate: "F2_CIW (oracle) stays within 5 points of its value at 45 %, for every model",
        note: "The oracle reading counts no false alarm: it is recall, weighted by class, which does not depend on the \
               share of defects. At 1 % it moves by chance, since rare classes are then a handful of images.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_within(moves(evidence, Metric::F2Oracle), STABLE),
    },
    Claim {
        id: "f2_stable_because_of_weighted_loss",
        section: "2.2",
        quote: "likely due to the use of a weighted loss function based on defect proportions",
        predicate: "a score that counts false alarms (multi-label F2_CIW of the same detector) is as stable",
        note: "If the loss kept it stable, the score that counts false alarms would be stable too. The paper does not \
               give that one.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_within(moves(evidence, Metric::F2Multilabel), STABLE),
    },
    Claim {
        id: "recall_stays_strong",
        section: "appendix B",
        quote: "the recall score remains consistently strong across all validation imbalance proportions, likely due to \
                the weighted loss choice",
        predicate: "recall stays within 5 points of its value at 45 %, for every model",
        note: "Recall of a fixed model does not depend on how many normal images stand beside the defects, whatever \
               the loss was. Figure 5 is a picture only.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_within(moves(evidence, Metric::Recall), STABLE),
    },
    Claim {
        id: "supervised_gap_widens",
        section: "appendix B",
        quote: "with the performance gap widening as the class imbalance in the validation set increased",
        predicate: "supervised F1 minus SimCLR's is larger at 1 % defects in validation than at 45 %, at every \
                    training share on ResNet-18",
        note: "In proportion the gap widens (12.3 against 5.0 per cent is a factor of 2.5), in points it shrinks: all F1 \
               go to 0 with the share.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| {
            let (measure, gaps) = change(evidence, Metric::F1, [LEAST, MOST]);
            let wider = SHARES.map(|train| {
                let at = |method| Axes::table_1(method, backbone::Name::ResNet18, train).in_training();
                gaps.difference(&measure, &at(Supervised), &at(SimClr))
            });
            gaps.all_above(wider.into())
        },
    },
];

/// Fits one pair of rates to every model: how much of the decline of F1 is arithmetic.
fn arithmetic(evidence: &Evidence) -> Finding {
    let (mut lines, mut left, mut total) = (Vec::new(), 0.0, 0.0);
    for at in rows(evidence, Metric::F1) {
        // The first seed only: one confusion matrix, not a mean of several.
        let first = |metric, at: Scored| evidence.scores(metric, &at).first().copied();
        let scores = |share: Share| {
            let (f1, f1_normal) = (first(Metric::F1, at.on(share)), first(Metric::F1Normal, at.on(share)));
            Some(ScoresAtShare { share: share.fraction()?, f1, f1_normal })
        };
        let row: Vec<ScoresAtShare> = SHARES.into_iter().filter_map(scores).collect();
        if let Some(fit) = Fit::least_squares(&row)
            && let Some(explained) = fit.explained(&row)
        {
            let squares: f64 = fit.residuals.iter().flatten().map(|residual| residual.powi(2)).sum();
            left += squares;
            let f1: Vec<f64> = row.iter().filter_map(|printed| printed.f1).collect();
            let middle = mean(&f1);
            total += f1.iter().map(|f1| (f1 - middle).powi(2)).sum::<f64>();
            let line = format!(
                "{} on {} at {}: {:.2} % explained, largest residual {:.1} points",
                at.cell.method_id(),
                at.cell.backbone_id(),
                percent(at.cell.share),
                100.0 * explained,
                100.0 * fit.largest_residual()
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
    Finding::new(verdict, std::iter::once(first).chain(lines.into_iter().map(|(_, line)| line)).collect())
}

/// Models of the paper's methods that have a score at 45 % defects in validation.
fn rows(evidence: &Evidence, metric: Metric) -> impl Iterator<Item = Scored> {
    let cells = Name::PAPER.into_iter().flat_map(|method| {
        backbone::Name::STUDY.into_iter().flat_map(move |backbone| {
            SHARES.into_iter().map(move |train| Axes::table_1(method, backbone, train).in_training())
        })
    });
    cells.filter(move |at| !evidence.scores(metric, &at.on(MOST)).is_empty())
}

/// A score at every other validation share minus the score at 45 %.
fn moves(evidence: &Evidence, metric: Metric) -> Contrasts {
    let others = SHARES.into_iter().filter(|share| *share != MOST);
    others.flat_map(|share| moved(evidence, metric, [share, MOST])).collect()
}

/// A score at one validation share minus the same model's score at another, for every model that has both. Cells that
/// are illegible in print do not count as missing.
fn moved(evidence: &Evidence, metric: Metric, shares: [Share; 2]) -> Contrasts {
    let (measure, changes) = change(evidence, metric, shares);
    let both = rows(evidence, metric).filter(|at| !changes.scores(&measure, at).is_empty());
    let contrast = |at: Scored| {
        if evidence.noise().is_assumed() {
            // The assumed deviation of a score depends on its validation share.
            return evidence.difference(metric, &at.on(shares[0]), &at.on(shares[1]));
        }
        let term = [changes.term(1.0, &measure, &at)];
        let contrast = changes.contrast(format!("{measure}: {}", name(&at)), &measure, &term)?;
        Ok(contrast.with_known_deviation(sampling(evidence, metric, &at.on(shares[0]))))
    };
    let mut contrasts: Contrasts = both.map(contrast).collect();
    if contrasts.is_empty() {
        contrasts.push(Err(measure.to_string().into()));
    }
    contrasts
}

/// Binomial standard deviation due to drawing few defects, for scores that are fractions of the defects.
///
/// All seeds are scored on the same images, so their spread does not include it. F2_CIW weights such fractions by
/// class, each with fewer defects, so this is a lower bound. F1 changes by far more than this where claims ask for
/// it.
fn sampling(evidence: &Evidence, metric: Metric, at: &Scored) -> f64 {
    let of_defects = matches!(metric, Metric::Recall | Metric::F2Oracle | Metric::F2Multilabel);
    let (Some(recall), Some(defects), true) =
        (evidence.mean(Metric::Recall, at), evidence.mean(Measure::DEFECTS, at), of_defects)
    else {
        return 0.0;
    };
    (recall * (1.0 - recall) / defects.max(1.0)).sqrt()
}

/// The change of a score between two validation shares, model by model. Two scores of one model share the effect of
/// its seed, so their difference spreads less than either.
fn change(evidence: &Evidence, metric: Metric, shares: [Share; 2]) -> (Measure, Evidence) {
    let (measure, frame) = evidence.frame().change_between(&metric.into(), shares);
    (measure, evidence.with_frame(&frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::FrameBuilder;

    /// If 0.8 of fifty defects are found, the deviation is sqrt(0.8 x 0.2 / 50); scores that are not fractions of the
    /// defects have none.
    #[test]
    fn defects_that_are_drawn_spread_as_a_part_of_them_does() {
        let at = Axes::table_1(SimClr, backbone::Name::ResNet18, MOST).in_training().on(LEAST);
        let mut rows = FrameBuilder::default();
        for (seed, recall) in [(0, 0.75), (1, 0.85)] {
            rows.begin("test", at, Some(seed));
            rows.number(Metric::Recall, Some(recall));
            rows.number(Measure::DEFECTS, Some(50.0));
        }
        let evidence = Evidence::measured("test", &rows.frame());
        for metric in [Metric::Recall, Metric::F2Oracle, Metric::F2Multilabel] {
            let found = sampling(&evidence, metric, &at);
            assert!((found - (0.8_f64 * 0.2 / 50.0).sqrt()).abs() < 1e-12, "{metric}: {found}");
        }
        assert_eq!(sampling(&evidence, Metric::F1, &at), 0.0);
        assert_eq!(sampling(&evidence, Metric::Recall, &at.on(MOST)), 0.0, "nothing was measured there");
    }

    /// A change is the score at the first share minus that at the second, for the same seed; its error includes the
    /// draw of the first share's defects.
    #[test]
    fn a_change_is_of_one_model_and_spreads_as_its_defects_are_drawn() {
        let at = Axes::table_1(SimClr, backbone::Name::ResNet18, Share::percent(5)).in_training();
        let mut rows = FrameBuilder::default();
        for (seed, least, most) in [(0, 0.5, 0.8), (1, 0.7, 0.9), (2, 0.6, 1.0)] {
            for (share, recall, defects) in [(LEAST, least, 20.0), (MOST, most, 900.0)] {
                rows.begin("test", at.on(share), Some(seed));
                rows.number(Metric::Recall, Some(recall));
                rows.number(Metric::F1, Some(recall / 2.0));
                rows.number(Measure::DEFECTS, Some(defects));
            }
        }
        let evidence = Evidence::measured("test", &rows.frame());
        let of = |metric, shares| {
            let [Ok(found)] = &moved(&evidence, metric, shares)[..] else { panic!("one model") };
            found.clone()
        };
        let found = of(Metric::Recall, [LEAST, MOST]);
        assert_eq!(found.description, "recall at 1 % minus at 45 %: simclr on resnet18 at 5 %");
        // -0.3, -0.2 and -0.4: a deviation of 0.1, and sqrt(0.6 x 0.4 / 20) of the defects drawn.
        assert!((found.value.estimate + 0.3).abs() < 1e-12, "{found:?}");
        assert!((found.fixed - 0.012_f64.sqrt()).abs() < 1e-12, "{found:?}");
        assert!((found.error.deviation - (0.01 / 3.0 + 0.012_f64).sqrt()).abs() < 1e-9, "{found:?}");
        let other = of(Metric::F1, [MOST, LEAST]);
        assert_eq!(
            (other.description.as_str(), other.fixed),
            ("f1 at 45 % minus at 1 %: simclr on resnet18 at 5 %", 0.0)
        );
        assert!((other.value.estimate - 0.15).abs() < 1e-12, "{other:?}");
        // Four shares are compared with the highest; three of them were not measured.
        let all = moves(&evidence, Metric::Recall);
        let told: Vec<String> = all
            .into_iter()
            .map(|found| found.map_or_else(|missing| missing.description, |found| found.description))
            .collect();
        assert_eq!(
            told,
            [
                "recall at 1 % minus at 45 %: simclr on resnet18 at 5 %",
                "recall at 2 % minus at 45 %",
                "recall at 5 % minus at 45 %",
                "recall at 15 % minus at 45 %"
            ]
        );
    }

    /// Two models whose first seed's scores at five shares follow from one pair of rates; the second model has one
    /// score that is 3 points off.
    #[test]
    fn what_is_arithmetic_is_told_model_by_model_the_worst_first() {
        use crate::analysis::prevalence::Rates;
        let mut rows = FrameBuilder::default();
        let rates = Rates { true_positive: 0.8, false_positive: 0.1 };
        for (method, off) in [(SimClr, 0.0), (Supervised, 0.03)] {
            let at = Axes::table_1(method, backbone::Name::ViTTiny, Share::percent(2)).in_training();
            for share in SHARES {
                let part = share.fraction().unwrap();
                let off = if share == Share::percent(15) { off } else { 0.0 };
                for (seed, off) in [(0, off), (1, 0.3)] {
                    rows.begin("test", at.on(share), Some(seed));
                    rows.number(Metric::F1, Some(rates.f1(part) + off));
                    rows.number(Metric::F1Normal, Some(rates.f1_normal(part)));
                }
            }
        }
        let finding = arithmetic(&Evidence::measured("test", &rows.frame()));
        assert_eq!((finding.verdict, finding.evidence.len()), (Verdict::Holds, 3));
        let starts: Vec<&str> = finding.evidence.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            starts,
            ["all rows together", "supervised on vit_tiny at 2 %", "simclr on vit_tiny at 2 %"]
        );
        assert!(
            finding.evidence[2].ends_with(": 100.00 % explained, largest residual 0.0 points"),
            "{finding:?}"
        );
        let part = |share: Share| share.fraction().unwrap();
        let off = |share| if share == Share::percent(15) { 0.03 } else { 0.0 };
        let row = SHARES.map(|share| ScoresAtShare {
            share: part(share),
            f1: Some(rates.f1(part(share)) + off(share)),
            f1_normal: Some(rates.f1_normal(part(share))),
        });
        let fit = Fit::least_squares(&row).unwrap();
        let [explained, largest] = [fit.explained(&row).unwrap(), fit.largest_residual()].map(|x| 100.0 * x);
        assert!((90.0..99.99).contains(&explained) && (1.0..3.0).contains(&largest), "{fit:?}");
        assert!(
            finding.evidence[1]
                .ends_with(&format!(": {explained:.2} % explained, largest residual {largest:.1} points")),
            "{finding:?}"
        );
        let nothing = arithmetic(&Evidence::measured("test", &FrameBuilder::default().frame()));
        assert_eq!(nothing.missing, ["F1 and F1_Normal at several validation shares"]);
    }

    /// One score of ten is a tenth off: most of the variance is explained, but not 99 %.
    #[test]
    fn nearly_arithmetic_is_not_arithmetic() {
        use crate::analysis::prevalence::Rates;
        let rates = Rates { true_positive: 0.8, false_positive: 0.1 };
        let at = Axes::table_1(SimClr, backbone::Name::ResNet18, Share::percent(5)).in_training();
        let mut rows = FrameBuilder::default();
        for share in SHARES {
            let part = share.fraction().unwrap();
            let off = if share == Share::percent(15) { 0.1 } else { 0.0 };
            rows.begin("test", at.on(share), Some(0));
            rows.number(Metric::F1, Some(rates.f1(part) + off));
            rows.number(Metric::F1Normal, Some(rates.f1_normal(part)));
        }
        let found = arithmetic(&Evidence::measured("test", &rows.frame()));
        let line = &found.evidence[0];
        let explained: f64 = line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((92.0..98.9).contains(&explained), "{line}");
        assert_eq!(found.verdict, Verdict::Fails);
    }

    /// What is explained of all rows is one part of all their squares together, not a mean over rows: here one model falls
    /// far and exactly, the other hardly and with an error.
    #[test]
    fn rows_count_by_how_far_their_scores_fall() {
        use crate::analysis::prevalence::Rates;
        let mut rows = FrameBuilder::default();
        let (mut left, mut total) = (0.0, 0.0);
        for (method, rates, off) in [
            (SimClr, Rates { true_positive: 0.9, false_positive: 0.2 }, 0.0),
            (Supervised, Rates { true_positive: 0.95, false_positive: 0.001 }, 0.02),
        ] {
            let at = Axes::table_1(method, backbone::Name::ResNet18, Share::percent(5)).in_training();
            let row: Vec<ScoresAtShare> = SHARES
                .into_iter()
                .map(|share| {
                    let part = share.fraction().unwrap();
                    let off = if share == Share::percent(5) { off } else { 0.0 };
                    let (f1, f1_normal) = (rates.f1(part) + off, rates.f1_normal(part));
                    rows.begin("test", at.on(share), Some(0));
                    rows.number(Metric::F1, Some(f1));
                    rows.number(Metric::F1Normal, Some(f1_normal));
                    ScoresAtShare { share: part, f1: Some(f1), f1_normal: Some(f1_normal) }
                })
                .collect();
            let f1: Vec<f64> = row.iter().filter_map(|printed| printed.f1).collect();
            let fit = Fit::least_squares(&row).unwrap();
            left += fit.residuals.iter().flatten().map(|residual| residual.powi(2)).sum::<f64>();
            let middle = mean(&f1);
            total += f1.iter().map(|f1| (f1 - middle).powi(2)).sum::<f64>();
        }
        let all = 100.0 * (1.0 - left / total);
        assert!((99.0..99.99).contains(&all), "{all}");
        let found = arithmetic(&Evidence::measured("test", &rows.frame()));
        assert_eq!(found.evidence[0], format!("all rows together: {all:.2} % explained"));
        assert_eq!(found.verdict, Verdict::Holds);
    }

    /// Of two printed numbers each has the assumed deviation; F2_CIW at 1 % also that of drawing rare classes, 0.032.
    #[test]
    fn printed_changes_are_differences_of_two_numbers() {
        let at = Axes::table_1(SimClr, backbone::Name::ResNet18, Share::percent(5)).in_training();
        let mut rows = FrameBuilder::default();
        for (share, recall, f2) in [(LEAST, 0.5, 0.4), (MOST, 0.8, 0.6)] {
            rows.begin("paper", at.on(share), None);
            rows.number(Metric::Recall, Some(recall));
            rows.number(Metric::F2Oracle, Some(f2));
            rows.number(Measure::DEFECTS, Some(20.0));
        }
        let evidence = Evidence::assumed("paper", &rows.frame(), 0.005);
        for (metric, estimate, variance) in
            [(Metric::Recall, -0.3, 0.000_05), (Metric::F2Oracle, -0.2, 0.000_05 + 0.032 * 0.032)]
        {
            let [Ok(found)] = &moved(&evidence, metric, [LEAST, MOST])[..] else { panic!("one model") };
            let name = |share: &str| format!("simclr on resnet18 at 5 %, validation {share} %");
            assert_eq!(found.description, format!("{metric}: {} minus {}", name("1"), name("45")));
            assert!((found.value.estimate - estimate).abs() < 1e-12, "{found:?}");
            assert!((found.error.deviation - f64::sqrt(variance)).abs() < 1e-9, "{found:?}");
            assert_eq!((found.fixed, found.parts.len()), (0.0, 2));
        }
    }
}
