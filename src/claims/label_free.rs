//! Label-free metrics of features: claims about RankMe, Figures 6 and 7. The paper shows these numbers in figures
//! only, so its own evidence is `undecided`.

use std::collections::HashMap;

use super::{Claim, Evidence, Finding, Verdict, Yardstick, contrast::Contrasts, judging::interval};
use crate::{
    analysis::{
        Axes, Measure, Point, Scored,
        cell::percent,
        comparison::holm,
        correlation::{Coefficient, Correlation, LEAST, within_groups},
        variance::Design,
    },
    backbone,
    data::Share,
    method::Name::{BarlowTwins, Byol, Dino, SimClr},
    results::{Classifier, Metric},
    seed::Seed,
    study::Study,
};

/// A correlation is considered absent if its interval stays within this distance of 0. Ours.
const NONE: f64 = 0.3;
const ROUNDS: usize = 500;
/// RankMe as the authors computed it.
const RELEASED: Measure = Measure::RANKME_RELEASED;

/// Claims about label-free metrics.
pub static CLAIMS: [Claim; 7] = [
    Claim {
        id: "rankme_does_not_correlate",
        section: "appendix D",
        quote: "RankMe does not correlate with downstream performance",
        predicate: "Spearman's correlation of RankMe (as released, last epoch) with F1 over all models lies within 0.3 \
                    of 0; fails if it is significant and beyond",
        note: "Pooled, as in Figure 7. RankMe's own paper warns against comparing it across architectures.",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| uncorrelated(evidence, yardstick, &RELEASED, false),
    },
    Claim {
        id: "rankme_does_not_correlate_within",
        section: "ours",
        quote: "",
        predicate: "RankMe (as released, last epoch) does not correlate with F1 within each method and backbone either",
        note: "This is what a practitioner needs to know: can it choose between runs of one kind?",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| uncorrelated(evidence, yardstick, &RELEASED, true),
    },
    Claim {
        id: "rankme_as_defined_does_not_correlate",
        section: "ours",
        quote: "",
        predicate: "RankMe as its own paper defines it (embeddings of many images) does not correlate with F1 over all models",
        note: "",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| uncorrelated(evidence, yardstick, &Measure::RANKME, false),
    },
    Claim {
        id: "no_label_free_metric_correlates",
        section: "1",
        quote: "making cross-validation without labels currently impossible on such task and dataset",
        predicate: "no label-free metric of features correlates with F1 within methods and backbones, after Holm's \
                    correction over all of them; fails if one does",
        note: "A metric that chooses runs of one method need not choose between methods.",
        yardsticks: &Yardstick::SCORES,
        judge: leaderboard_claim,
    },
    Claim {
        id: "resnet_has_higher_rankme",
        section: "appendix D",
        quote: "ResNet models consistently achieve higher RankMe scores than ViT-T",
        predicate: "RankMe (as released, last epoch) is higher on ResNet-18 for every method and training share",
        note: "Its bound is the smaller of batch and width: 512 features against 192.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_above(by_backbone(evidence, &RELEASED)),
    },
    Claim {
        id: "resnet_has_higher_rankme_normalised",
        section: "ours",
        quote: "",
        predicate: "RankMe of features divided by its maximum is higher on ResNet-18 for every method and training \
                    share",
        note: "",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| evidence.all_above(by_backbone(evidence, &Measure::RANKME_NORMALISED)),
    },
    Claim {
        id: "rankme_differs_by_method",
        section: "appendix D",
        quote: "interesting trends emerge when examining RankMe across different architectures and SSL methods",
        predicate: "methods explain more of RankMe's variance than shuffled method names do (1 of 20 at most), \
                    within backbones",
        note: "",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| differs_by_method(evidence),
    },
];

/// Whether a row is a model of Table 1; every such row repeats the model's label-free measures.
fn is_a_model(at: &Scored) -> bool {
    let whole = (at.classifier, at.validation) == (Classifier::InTraining, Share::NATURAL);
    at.cell.study == Study::Table1 && whole
}

/// Pairs of metric and score, model by model.
fn pairs(evidence: &Evidence, yardstick: Yardstick, metric: &Measure) -> Vec<(Point, f64)> {
    let score = yardstick.measure(Metric::F1);
    let models = evidence.frame().axes().into_iter().filter(is_a_model);
    let scores: HashMap<(Scored, Option<u64>), f64> = models
        .flat_map(|at| {
            evidence
                .seed_scores(&score, &yardstick.scored(at))
                .into_iter()
                .map(move |(seed, score)| ((at, seed), score))
        })
        .collect();
    let with_score = |point: Point| scores.get(&(point.scored, point.seed)).map(|&score| (point, score));
    evidence.frame().points_of(metric, is_a_model).into_iter().filter_map(with_score).collect()
}

/// Returns the correlation of a label-free metric with a score: pooled, or within method and backbone.
pub fn correlation(
    evidence: &Evidence,
    yardstick: Yardstick,
    metric: &Measure,
    inside: bool,
) -> Option<Correlation> {
    evidence.correlation((yardstick, metric.clone(), inside), || {
        correlate(evidence, yardstick, metric, inside, Coefficient::Spearman)
    })
}

/// Like [`correlation`], with Kendall's coefficient, which needs every pair of models; `None` for more than a
/// thousand.
pub fn kendall(
    evidence: &Evidence,
    yardstick: Yardstick,
    metric: &Measure,
    inside: bool,
) -> Option<Correlation> {
    (pairs(evidence, yardstick, metric).len() <= 1_000)
        .then(|| correlate(evidence, yardstick, metric, inside, Coefficient::Kendall))
        .flatten()
}

fn correlate(
    evidence: &Evidence,
    yardstick: Yardstick,
    metric: &Measure,
    inside: bool,
    coefficient: Coefficient,
) -> Option<Correlation> {
    let mut groups: Vec<(_, Vec<(f64, f64)>)> = Vec::new();
    for (point, score) in pairs(evidence, yardstick, metric) {
        let name = inside.then_some((point.scored.cell.method, point.scored.cell.backbone));
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push((point.value, score)),
            None => groups.push((name, vec![(point.value, score)])),
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    let rounds = rounds(groups.iter().map(Vec::len).sum());
    within_groups(&groups, coefficient, rounds, Seed::root(0).child(metric.id()))
}

/// Number of resamples: fewer for thousands of models, whose intervals are narrow anyway.
fn rounds(models: usize) -> usize {
    (500_000 / models.max(1)).clamp(100, ROUNDS)
}

/// Returns the label-free metrics in the records that may rank the models of one method and backbone.
pub fn metrics_within(evidence: &Evidence) -> Vec<Measure> {
    let mut measures = evidence.frame().measures();
    measures.retain(Measure::is_label_free_within);
    measures
}

fn uncorrelated(evidence: &Evidence, yardstick: Yardstick, metric: &Measure, inside: bool) -> Finding {
    let Some(found) = correlation(evidence, yardstick, metric, inside) else {
        let score = yardstick.measure(Metric::F1);
        return Finding::unmeasured(format!("{metric} and {score} of the same {LEAST} models or more"));
    };
    let verdict = if found.p_value < 0.05 && found.value.estimate.abs() > NONE {
        Verdict::Fails
    } else if found.value.low > -NONE && found.value.high < NONE {
        Verdict::Holds
    } else {
        Verdict::Undecided
    };
    Finding::new(verdict, vec![line(metric, &found)])
}

fn line(metric: &Measure, found: &Correlation) -> String {
    let (points, groups) = (found.points, found.groups);
    format!(
        "{metric}: Spearman {}, p {:.3}, {points} models in {groups} groups",
        interval(&found.value),
        found.p_value
    )
}

fn leaderboard_claim(evidence: &Evidence, yardstick: Yardstick) -> Finding {
    let mut found: Vec<(Measure, Correlation)> = metrics_within(evidence)
        .into_iter()
        .filter_map(|metric| Some((metric.clone(), correlation(evidence, yardstick, &metric, true)?)))
        .collect();
    if found.is_empty() {
        let score = yardstick.measure(Metric::F1);
        return Finding::unmeasured(format!(
            "label-free metrics and {score} of the same {LEAST} models or more"
        ));
    }
    let corrected = holm(&found.iter().map(|(_, found)| found.p_value).collect::<Vec<_>>());
    let verdict = if corrected.iter().any(|&p| p < 0.05) { Verdict::Fails } else { Verdict::Undecided };
    found.sort_by(|a, b| b.1.value.estimate.abs().total_cmp(&a.1.value.estimate.abs()));
    Finding::new(verdict, found.iter().map(|(metric, found)| line(metric, found)).collect())
}

/// ResNet-18 minus ViT-Tiny, by method and training share.
fn by_backbone(evidence: &Evidence, metric: &Measure) -> Contrasts {
    let mut contrasts = Vec::new();
    for method in [Byol, BarlowTwins, Dino, SimClr] {
        for share in Share::STUDY {
            let term = |weight, backbone| {
                evidence.term(weight, metric, &Axes::table_1(method, backbone, share).in_training())
            };
            let what = format!("{metric}: {method} at {}, ResNet-18 minus ViT-Tiny", percent(share));
            let terms = [term(1.0, backbone::Name::ResNet18), term(-1.0, backbone::Name::ViTTiny)];
            contrasts.push(evidence.contrast(what, metric, &terms));
        }
    }
    contrasts
}

fn differs_by_method(evidence: &Evidence) -> Finding {
    let rows: Vec<Point> =
        pairs(evidence, Yardstick::Paper, &RELEASED).into_iter().map(|(point, _)| point).collect();
    let rows: Vec<Point> = rows
        .into_iter()
        .filter(|point| {
            point.scored.cell.method.is_some_and(|method| method.is_from_paper() && !method.is_supervised())
        })
        .collect();
    let methods: Vec<String> = rows.iter().map(|point| point.scored.cell.method_id().to_owned()).collect();
    if methods.iter().all(|method| Some(method) == methods.first()) {
        return Finding::unmeasured("RankMe of several methods");
    }
    let backbones: Vec<String> =
        rows.iter().map(|point| point.scored.cell.backbone_id().to_owned()).collect();
    let values: Vec<f64> = rows.iter().map(|point| point.value).collect();
    let part = |methods: Vec<String>| {
        let parts = Design::new(values.len(), &[methods, backbones.clone()]).decompose(&values);
        if parts.total > 0.0 { parts.factors[0] / parts.total } else { 0.0 }
    };
    let found = part(methods.clone());
    let rounds = rounds(rows.len());
    let as_large = (0..rounds).filter(|&round| {
        let mut stream = Seed::root(0).child("names of methods").index(round).stream();
        let mut shuffled = methods.clone();
        // Names are shuffled within their backbone only.
        for backbone in backbone::Name::STUDY {
            let places: Vec<usize> =
                (0..rows.len()).filter(|&place| rows[place].scored.cell.backbone == Some(backbone)).collect();
            let mut names: Vec<String> = places.iter().map(|&place| methods[place].clone()).collect();
            stream.shuffle(&mut names);
            places.into_iter().zip(names).for_each(|(place, name)| shuffled[place] = name);
        }
        part(shuffled) >= found - 1e-12
    });
    let p = (as_large.count() + 1) as f64 / (rounds + 1) as f64;
    let verdict = if p < 0.05 { Verdict::Holds } else { Verdict::Undecided };
    Finding::new(verdict, vec![format!("method makes {:.0} % of RankMe's variance, p {p:.3}", 100.0 * found)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::frame::FrameBuilder, method::Name};

    /// Twelve models whose F1 and RankMe rise together, oppositely, or independently.
    #[test]
    fn a_correlation_of_either_sign_is_one() {
        let verdict = |rankme: fn(u32) -> f64| {
            let mut rows = FrameBuilder::default();
            let cells = Name::PAPER.iter().flat_map(|&method| {
                [1, 45].map(|share| {
                    Axes::table_1(method, backbone::Name::ViTTiny, Share::percent(share)).in_training()
                })
            });
            for (at, place) in cells.zip(0..) {
                rows.begin("test", at, Some(0));
                rows.number(Metric::F1, Some(0.01 * f64::from(place)));
                rows.number(RELEASED, Some(rankme(place)));
            }
            let evidence = Evidence::measured("test", &rows.frame());
            uncorrelated(&evidence, Yardstick::Paper, &RELEASED, false).verdict
        };
        assert_eq!(verdict(f64::from), Verdict::Fails);
        assert_eq!(verdict(|place| -f64::from(place)), Verdict::Fails);
        // 5 x place modulo 12 has no order; with twelve models the interval extends beyond 0.3.
        assert_eq!(verdict(|place| f64::from(5 * place % 12)), Verdict::Undecided);
    }

    /// Two methods with twelve models each: four seeds at three shares. Within a method RankMe falls as scores rise,
    /// between the methods it rises. F1 of the classifier in training and AUROC of the converged probe move in opposite
    /// directions. Rows of other studies, validation shares and classifiers must not count.
    fn two_groups() -> Evidence {
        let mut rows = FrameBuilder::default();
        for (method, base) in [(Byol, 0.2), (SimClr, 0.7)] {
            for (place, share) in Share::STUDY[..3].iter().enumerate() {
                for seed in 0..4 {
                    let step = f64::from(4 * place as u32 + seed as u32);
                    let cell = Axes::table_1(method, backbone::Name::ResNet18, *share);
                    let f1 = base + 0.01 * step;
                    rows.begin("test", cell.in_training(), Some(seed));
                    rows.number(Metric::F1, Some(f1));
                    rows.number(RELEASED, Some(100.0 * base - step));
                    rows.begin("test", cell.converged(), Some(seed));
                    rows.number(Metric::Auroc, Some(1.0 - f1));
                    rows.number(Metric::F1, Some(0.5 * step.sin()));
                    rows.number(RELEASED, Some(9.0 + step.cos()));
                    for other in [
                        cell.in_training().on(Share::percent(1)),
                        cell.in_study(Study::SizeMatched).in_training(),
                    ] {
                        rows.begin("test", other, Some(seed));
                        rows.number(Metric::F1, Some(0.3));
                        rows.number(RELEASED, Some(1.0 + step.cos()));
                    }
                }
            }
        }
        Evidence::measured("test", &rows.frame())
    }

    #[test]
    fn models_are_correlated_over_all_or_within_their_kind() {
        let evidence = two_groups();
        let of = |yardstick, inside| {
            let found = correlation(&evidence, yardstick, &RELEASED, inside).unwrap();
            (found.value.estimate, found.points, found.groups)
        };
        // Pooled: 24 ranks, two blocks of twelve that are each reversed: 1 - 6 x 2 x (sum of d^2 in one block) / (24 x
        // 575). Within: -1.
        let squares: f64 = (0..12).map(|place| f64::from(11 - 2 * place).powi(2)).sum();
        let pooled = 1.0 - 6.0 * 2.0 * squares / (24.0 * 575.0);
        let near = |found: (f64, usize, usize), expected: (f64, usize, usize)| {
            assert!((found.0 - expected.0).abs() < 1e-9, "{found:?}, expected {expected:?}");
            assert_eq!((found.1, found.2), (expected.1, expected.2));
        };
        near(of(Yardstick::Paper, false), (pooled, 24, 1));
        near(of(Yardstick::Paper, true), (-1.0, 24, 2));
        near(of(Yardstick::Auroc, false), (-pooled, 24, 1));
        near(of(Yardstick::Auroc, true), (1.0, 24, 2));
        let tau = kendall(&evidence, Yardstick::Paper, &RELEASED, true).unwrap();
        assert!((tau.value.estimate + 1.0).abs() < 1e-12, "{tau:?}");
        // Of 276 pairs 144 lie between the methods and agree, 132 within and do not.
        let tau = kendall(&evidence, Yardstick::Paper, &RELEASED, false).unwrap();
        assert!((tau.value.estimate - 12.0 / 276.0).abs() < 1e-12, "{tau:?}");
        assert_eq!(correlation(&evidence, Yardstick::Paper, &Measure::RANKME, false), None);
    }

    #[test]
    fn findings_say_metric_coefficient_and_models() {
        let evidence = two_groups();
        let inside = uncorrelated(&evidence, Yardstick::Paper, &RELEASED, true);
        assert_eq!(inside.verdict, Verdict::Fails);
        assert!(
            inside.evidence[0].starts_with("monitor.rankme_released: Spearman -1.000 [-1.000, -")
                && inside.evidence[0].ends_with("24 models in 2 groups"),
            "{:?}",
            inside.evidence
        );
        let missing = uncorrelated(&evidence, Yardstick::Auroc, &Measure::RANKME, false);
        assert_eq!(missing.missing, ["monitor.rankme and auroc of the same 10 models or more"]);
        let found = Correlation {
            value: crate::analysis::Interval { estimate: 0.12, low: -0.34, high: 0.56 },
            p_value: 0.0789,
            points: 30,
            groups: 4,
        };
        assert_eq!(
            line(&Measure::RANKME, &found),
            "monitor.rankme: Spearman 0.120 [-0.340, 0.560], p 0.079, 30 models in 4 groups"
        );
    }

    /// Metrics are ranked by the distance of their correlation from 0; sizes and normalised metrics are left out.
    #[test]
    fn metrics_that_choose_within_a_kind_are_ranked() {
        let mut rows = FrameBuilder::default();
        let named = crate::analysis::measure::of_name;
        for seed in 0..16 {
            let step = f64::from(seed as u32);
            rows.begin(
                "test",
                Axes::table_1(Byol, backbone::Name::ResNet18, Share::percent(5)).in_training(),
                Some(seed),
            );
            rows.number(Metric::F1, Some(0.01 * step));
            rows.number(named("features.noise"), Some((5.0 * step) % 16.0));
            rows.number(named("views.falls"), Some(-step));
            rows.number(named("features.rows"), Some(step));
            rows.number(named("features.x_normalised"), Some(step));
        }
        let evidence = Evidence::measured("test", &rows.frame());
        let ids: Vec<String> =
            metrics_within(&evidence).iter().map(|metric| metric.id().to_owned()).collect();
        assert_eq!(ids, ["features.noise", "views.falls"]);
        let finding = leaderboard_claim(&evidence, Yardstick::Paper);
        assert_eq!(finding.verdict, Verdict::Fails);
        let starts: Vec<&str> = finding.evidence.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(starts, ["views.falls", "features.noise"]);
        let missing = leaderboard_claim(&evidence, Yardstick::Auroc).missing;
        assert_eq!(missing, ["label-free metrics and auroc of the same 10 models or more"]);
    }

    /// Half a million resampled models in all, but at least 100 and at most 500 rounds.
    #[test]
    fn many_models_are_resampled_less_often() {
        assert_eq!(
            [0, 10, 1_000, 2_000, 4_999, 5_001, 100_000].map(rounds),
            [500, 500, 500, 250, 100, 100, 100]
        );
    }

    /// If many models show no correlation, the interval lies within 0.3 of 0.
    #[test]
    fn many_models_without_a_relation_do_not_correlate() {
        let mut rows = FrameBuilder::default();
        let mut stream = Seed::root(3).stream();
        for share in Share::STUDY {
            for seed in 0..80 {
                rows.begin(
                    "test",
                    Axes::table_1(Byol, backbone::Name::ResNet18, share).in_training(),
                    Some(seed),
                );
                rows.number(Metric::F1, Some(stream.normal()));
                rows.number(RELEASED, Some(stream.normal()));
            }
        }
        let evidence = Evidence::measured("test", &rows.frame());
        assert_eq!(uncorrelated(&evidence, Yardstick::Paper, &RELEASED, false).verdict, Verdict::Holds);
    }

    /// Sixty models with a weak negative order (57 x modulo 61): a correlation beyond -0.3 is possible, none beyond 0.3 is,
    /// so neither answer is shown.
    #[test]
    fn what_may_correlate_on_one_side_is_undecided() {
        let mut rows = FrameBuilder::default();
        for seed in 0..60 {
            let at = Axes::table_1(Byol, backbone::Name::ResNet18, Share::percent(5)).in_training();
            rows.begin("test", at, Some(seed));
            rows.number(Metric::F1, Some(0.01 * (seed + 1) as f64));
            rows.number(RELEASED, Some((57 * (seed + 1) % 61) as f64));
        }
        let evidence = Evidence::measured("test", &rows.frame());
        let found = correlation(&evidence, Yardstick::Paper, &RELEASED, false).unwrap().value;
        assert!(found.low < -NONE && found.estimate > -NONE && found.high < NONE, "{found:?}");
        assert_eq!(uncorrelated(&evidence, Yardstick::Paper, &RELEASED, false).verdict, Verdict::Undecided);
    }

    /// A kind is a method on one backbone: on each, RankMe falls as F1 rises, and it rises from one to the other.
    #[test]
    fn backbones_of_a_method_are_kinds_of_their_own() {
        let mut rows = FrameBuilder::default();
        for (backbone, base) in [(backbone::Name::ResNet18, 0.2), (backbone::Name::ViTTiny, 0.7)] {
            for seed in 0..12 {
                let at = Axes::table_1(Byol, backbone, Share::percent(5)).in_training();
                let step = seed as f64;
                rows.begin("test", at, Some(seed));
                rows.number(Metric::F1, Some(base + 0.01 * step));
                rows.number(RELEASED, Some(100.0 * base - step));
            }
        }
        let evidence = Evidence::measured("test", &rows.frame());
        let found = correlation(&evidence, Yardstick::Paper, &RELEASED, true).unwrap();
        assert!((found.value.estimate + 1.0).abs() < 1e-9 && found.groups == 2, "{found:?}");
    }

    /// Metrics are ranked within kinds: of the two groups RankMe falls as F1 rises in each, and rises between them.
    #[test]
    fn the_ranking_of_metrics_is_within_kinds() {
        let finding = leaderboard_claim(&two_groups(), Yardstick::Paper);
        let [line] = &finding.evidence[..] else { panic!("{finding:?}") };
        assert!(line.starts_with("monitor.rankme_released: Spearman -1.000 "), "{line}");
        assert!(line.ends_with(" 24 models in 2 groups"), "{line}");
    }

    /// Twelve models in the order of one metric (Spearman 0.629, p about 0.03) and in none of six others: alone that
    /// metric correlates, among seven it does not.
    #[test]
    fn of_many_metrics_one_must_be_further_from_chance() {
        const ORDER: [u32; 12] = [6, 5, 2, 3, 4, 1, 0, 7, 9, 8, 10, 11];
        let named = crate::analysis::measure::of_name;
        let judge = |factors: &[u32]| {
            let mut rows = FrameBuilder::default();
            for (seed, place) in (0..).zip(ORDER) {
                let at = Axes::table_1(Byol, backbone::Name::ResNet18, Share::percent(5)).in_training();
                rows.begin("test", at, Some(seed));
                rows.number(Metric::F1, Some(0.01 * seed as f64));
                rows.number(named("features.order"), Some(place.into()));
                for factor in factors {
                    let value = factor * (seed as u32 + 1) % 13;
                    rows.number(named(&format!("features.noise{factor}")), Some(value.into()));
                }
            }
            leaderboard_claim(&Evidence::measured("test", &rows.frame()), Yardstick::Paper)
        };
        let (alone, among) = (judge(&[]), judge(&[3, 4, 5, 8, 9, 10]));
        assert_eq!((alone.evidence.len(), among.evidence.len()), (1, 7));
        for found in [&alone, &among] {
            let line = &found.evidence[0];
            let p = line.split(", p ").nth(1).unwrap().split(',').next().unwrap();
            assert!(line.starts_with("features.order: Spearman 0.629 ["), "{line}");
            assert!((0.0072..0.05).contains(&p.parse::<f64>().unwrap()), "{line}");
        }
        assert_eq!((alone.verdict, among.verdict), (Verdict::Fails, Verdict::Undecided));
    }

    /// Of a thousand models, a correlation of 0.15 is certain, but it lies within 0.3 of 0.
    #[test]
    fn a_weak_correlation_is_none_however_certain() {
        for side in [1.0, -1.0] {
            let (mut rows, mut stream) = (FrameBuilder::default(), Seed::root(9).stream());
            for seed in 0..1_000 {
                let at = Axes::table_1(Byol, backbone::Name::ResNet18, Share::percent(5)).in_training();
                let f1 = stream.normal();
                rows.begin("test", at, Some(seed));
                rows.number(Metric::F1, Some(f1));
                rows.number(RELEASED, Some(side * 0.15 * f1 + stream.normal()));
            }
            let evidence = Evidence::measured("test", &rows.frame());
            let found = correlation(&evidence, Yardstick::Paper, &RELEASED, false).unwrap();
            assert!(found.p_value < 0.05 && (found.value.estimate - side * 0.15).abs() < 0.1, "{found:?}");
            let verdict = uncorrelated(&evidence, Yardstick::Paper, &RELEASED, false).verdict;
            assert_eq!(verdict, Verdict::Holds, "{found:?}");
        }
    }
}
