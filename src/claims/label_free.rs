//! What features tell without labels: claims about RankMe, Figures 6 and 7. Numbers of the paper are in pictures only,
//! so its own evidence is `undecided`.

use std::collections::HashMap;

use super::{
    Claim, Evidence, Finding, Verdict,
    evidence::{At, Contrast, Missing, SHARES, all_above, interval},
    methods::percent,
};
use crate::{
    analysis::{
        Point,
        correlation::{Coefficient, Correlation, within},
        variance,
    },
    seed::Seed,
};

/// A correlation is called none when its interval stays within this of 0. Ours.
const NONE: f64 = 0.3;
const ROUNDS: usize = 500;
/// RankMe as the authors computed it: of mini-batches of backbone features.
const RELEASED: &str = "monitor.rankme_released";

pub static CLAIMS: [Claim; 7] = [
    Claim {
        id: "rankme_does_not_correlate",
        section: "appendix D",
        quote: "RankMe does not correlate with downstream performance",
        predicate: "Spearman's correlation of RankMe (as released, last epoch) with F1 over all models lies within 0.3 \
                    of 0; fails if it is significant and beyond",
        note: "Pooled, as in Figure 7. RankMe's own paper warns against comparing it across architectures.",
        judge: |evidence| uncorrelated(evidence, RELEASED, false),
    },
    Claim {
        id: "rankme_does_not_correlate_within",
        section: "ours",
        quote: "",
        predicate: "RankMe (as released, last epoch) does not correlate with F1 within each method and backbone either",
        note: "What a practitioner needs: does it choose between runs of one kind?",
        judge: |evidence| uncorrelated(evidence, RELEASED, true),
    },
    Claim {
        id: "rankme_as_defined_does_not_correlate",
        section: "ours",
        quote: "",
        predicate: "RankMe as its own paper defines it (embeddings of many images) does not correlate with F1 over all models",
        note: "",
        judge: |evidence| uncorrelated(evidence, "monitor.rankme", false),
    },
    Claim {
        id: "no_label_free_metric_correlates",
        section: "1",
        quote: "making cross-validation without labels currently impossible on such task and dataset",
        predicate: "no label-free metric of features correlates with F1 within methods and backbones, after Holm's \
                    correction over all of them; fails if one does",
        note: "A metric that chooses runs of one method need not choose between methods.",
        judge: leaderboard_claim,
    },
    Claim {
        id: "resnet_has_higher_rankme",
        section: "appendix D",
        quote: "ResNet models consistently achieve higher RankMe scores than ViT-T",
        predicate: "RankMe (as released, last epoch) is higher on ResNet-18 for every method and training share",
        note: "Its bound is the smaller of batch and width: 512 features against 192.",
        judge: |evidence| all_above(by_backbone(evidence, RELEASED)),
    },
    Claim {
        id: "resnet_has_higher_rankme_normalised",
        section: "ours",
        quote: "",
        predicate: "RankMe of features divided by its bound is higher on ResNet-18 for every method and training share",
        note: "",
        judge: |evidence| all_above(by_backbone(evidence, "features.rankme_normalised")),
    },
    Claim {
        id: "rankme_differs_by_method",
        section: "appendix D",
        quote: "interesting trends emerge when examining RankMe across different architectures and SSL methods",
        predicate: "methods make more of RankMe's variance than shuffled method names do (1 of 20 at most), within \
                    backbones",
        note: "",
        judge: differs_by_method,
    },
];

/// Metric against F1, model by model.
fn pairs(evidence: &Evidence, metric: &str) -> Vec<(Point, f64)> {
    let rows = evidence.study("table1").at("validation_share", None);
    let key = |point: &Point| {
        let share = point.train_share.map_or(0, |share| (share * 1e4).round() as u64);
        (point.method.clone(), point.backbone.clone(), share, point.seed)
    };
    let scores: HashMap<_, f64> =
        rows.points("f1").into_iter().map(|point| (key(&point), point.value)).collect();
    let with_f1 = |point: Point| scores.get(&key(&point)).map(|&f1| (point, f1));
    rows.points(metric).into_iter().filter_map(with_f1).collect()
}

/// The correlation of a label-free metric with F1: pooled, or within method and backbone.
pub fn correlation(evidence: &Evidence, metric: &str, inside: bool) -> Option<Correlation> {
    evidence.correlation(metric, inside, || correlate(evidence, metric, inside, Coefficient::Spearman))
}

/// [`correlation`] by Kendall's coefficient, which looks at every pair of models: none of more than a thousand.
pub fn kendall(evidence: &Evidence, metric: &str, inside: bool) -> Option<Correlation> {
    (pairs(evidence, metric).len() <= 1_000)
        .then(|| correlate(evidence, metric, inside, Coefficient::Kendall))
        .flatten()
}

fn correlate(
    evidence: &Evidence,
    metric: &str,
    inside: bool,
    coefficient: Coefficient,
) -> Option<Correlation> {
    let mut groups: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for (point, f1) in pairs(evidence, metric) {
        let name = if inside { format!("{} {}", point.method, point.backbone) } else { String::new() };
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push((point.value, f1)),
            None => groups.push((name, vec![(point.value, f1)])),
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    // Thousands of models have narrow intervals anyway.
    let models: usize = groups.iter().map(Vec::len).sum();
    let rounds = (500_000 / models.max(1)).clamp(100, ROUNDS);
    within(&groups, coefficient, rounds, Seed::root(0).child(metric))
}

/// [`metrics`] that may order the models of one method and backbone: over its bound, which is one there, a metric orders
/// them as it does itself.
pub fn metrics_within(evidence: &Evidence) -> Vec<String> {
    let mut names = metrics(evidence);
    names.retain(|name| !name.ends_with("_normalised") && !name.ends_with(".rows"));
    names
}

/// Label-free metrics of features and embeddings that the records have.
pub fn metrics(evidence: &Evidence) -> Vec<String> {
    let mut names = evidence.study("table1").measures();
    names.retain(|name| {
        ["features.", "embeddings.", "views."].iter().any(|part| name.starts_with(part))
            || name.starts_with("monitor.rankme")
    });
    names.retain(|name| !["images", "bound", "views.views"].iter().any(|part| name.contains(part)));
    names
}

fn uncorrelated(evidence: &Evidence, metric: &str, inside: bool) -> Finding {
    let Some(found) = correlation(evidence, metric, inside) else {
        return Finding::unmeasured(format!("{metric} and F1 of the same models"));
    };
    let verdict = if found.p_value < 0.05 && found.value.estimate.abs() > NONE {
        Verdict::Fails
    } else if found.value.low > -NONE && found.value.high < NONE {
        Verdict::Holds
    } else {
        Verdict::Undecided
    };
    Finding { verdict, evidence: vec![line(metric, &found)], missing: Vec::new() }
}

fn line(metric: &str, found: &Correlation) -> String {
    let (points, groups) = (found.points, found.groups);
    format!(
        "{metric}: Spearman {}, p {:.3}, {points} models in {groups} groups",
        interval(&found.value),
        found.p_value
    )
}

fn leaderboard_claim(evidence: &Evidence) -> Finding {
    let mut found: Vec<(String, Correlation)> = metrics_within(evidence)
        .into_iter()
        .filter_map(|metric| Some((metric.clone(), correlation(evidence, &metric, true)?)))
        .collect();
    if found.is_empty() {
        return Finding::unmeasured("label-free metrics and F1 of the same models");
    }
    let corrected =
        crate::analysis::comparison::holm(&found.iter().map(|(_, found)| found.p_value).collect::<Vec<_>>());
    let verdict = if corrected.iter().any(|&p| p < 0.05) { Verdict::Fails } else { Verdict::Undecided };
    found.sort_by(|a, b| b.1.value.estimate.abs().total_cmp(&a.1.value.estimate.abs()));
    let evidence = found.iter().map(|(metric, found)| line(metric, found)).collect();
    Finding { verdict, evidence, missing: Vec::new() }
}

/// ResNet-18 less ViT-Tiny, by method and training share.
fn by_backbone(evidence: &Evidence, metric: &str) -> Vec<Result<Contrast, Missing>> {
    let mut contrasts = Vec::new();
    for method in ["byol", "barlow_twins", "dino", "simclr"] {
        for share in SHARES {
            let seeds =
                |backbone| evidence.seeds(metric, &At { method, backbone, train: share, validation: None });
            let what = format!("{metric}: {method} at {} %, ResNet-18 less ViT-Tiny", percent(share));
            let terms = [(1.0, seeds("resnet18")), (-1.0, seeds("vit_tiny"))];
            contrasts.push(evidence.contrast(what, &terms, evidence.spread(metric, None)));
        }
    }
    contrasts
}

fn differs_by_method(evidence: &Evidence) -> Finding {
    let rows: Vec<(Point, f64)> = pairs(evidence, RELEASED);
    let rows: Vec<Point> =
        rows.into_iter().map(|(point, _)| point).filter(|point| point.method != "supervised").collect();
    let methods: Vec<String> = rows.iter().map(|point| point.method.clone()).collect();
    if methods.iter().all(|method| Some(method) == methods.first()) {
        return Finding::unmeasured("RankMe of several methods");
    }
    let backbones: Vec<String> = rows.iter().map(|point| point.backbone.clone()).collect();
    let values: Vec<f64> = rows.iter().map(|point| point.value).collect();
    let part = |methods: Vec<String>| {
        let parts = variance::parts(&values, &[methods, backbones.clone()]);
        if parts.total > 0.0 { parts.factors[0] / parts.total } else { 0.0 }
    };
    let found = part(methods.clone());
    let as_large = (0..ROUNDS).filter(|&round| {
        let mut stream = Seed::root(0).child("names of methods").index(round).stream();
        let mut shuffled = methods.clone();
        // Names move within their backbone only.
        for backbone in ["resnet18", "vit_tiny"] {
            let places: Vec<usize> = (0..rows.len()).filter(|&place| backbones[place] == backbone).collect();
            let mut names: Vec<String> = places.iter().map(|&place| methods[place].clone()).collect();
            stream.shuffle(&mut names);
            places.into_iter().zip(names).for_each(|(place, name)| shuffled[place] = name);
        }
        part(shuffled) >= found - 1e-12
    });
    let p = (as_large.count() + 1) as f64 / (ROUNDS + 1) as f64;
    Finding {
        verdict: if p < 0.05 { Verdict::Holds } else { Verdict::Undecided },
        evidence: vec![format!("method makes {:.0} % of RankMe's variance, p {p:.3}", 100.0 * found)],
        missing: Vec::new(),
    }
}
