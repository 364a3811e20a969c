//! Which method, which backbone: claims about Table 1. F1 of the classifier in training, all validation images, unless
//! another score is named.

use super::{
    Claim, Evidence, Finding, Verdict,
    evidence::{At, BACKBONES, Contrast, Missing, SELF_SUPERVISED, SHARES, all_above, interval},
};
use crate::{analysis::variance, seed::Seed};

pub static CLAIMS: [Claim; 13] = [
    Claim {
        id: "joint_embedding_beats_mae",
        section: "abstract",
        quote: "the superiority of joint-embedding methods like SimCLR and Barlow Twins over reconstruction-based \
                approaches such as MAE",
        predicate: "on ViT-Tiny, F1 of SimCLR and of Barlow Twins is above MAE's at every training share",
        note: "The released MAE step appears to supervise two predictions a batch, against pixels of another view; see \
               mae_step_costs.",
        judge: |evidence| {
            let over = |method| move |share| evidence.above("f1", &vit(method, share), &vit("mae", share));
            let [simclr, barlow] = ["simclr", "barlow_twins"].map(|method| SHARES.map(over(method)));
            all_above(simclr.into_iter().chain(barlow).collect())
        },
    },
    Claim {
        id: "mae_step_costs",
        section: "ours",
        quote: "",
        predicate: "the features of MAE done soundly are above those of the step as released, at 45 % defects (AUROC of the \
                    converged probe)",
        note: "The paper has no sound MAE to compare with.",
        judge: |evidence| {
            let cell = vit("mae", 0.45);
            let [sound, released] =
                ["table1", "mae_as_released"].map(|study| evidence.converged_runs_of(study, "auroc", &cell));
            let what = "auroc of the converged probe: MAE soundly less MAE as released";
            all_above(vec![evidence.paired(what, [&sound, &released], None)])
        },
    },
    Claim {
        id: "mae_weakest_everywhere",
        section: "2.2",
        quote: "the Masked Autoencoder (MAE) delivers the weakest performance across all scenarios",
        predicate: "on ViT-Tiny, every other self-supervised method's F1 is above MAE's at every training share",
        note: "",
        judge: |evidence| {
            let others = SELF_SUPERVISED.into_iter().filter(|&method| method != "mae");
            let pairs = others.flat_map(|method| SHARES.map(|share| (method, share)));
            all_above(
                pairs
                    .map(|(method, share)| evidence.above("f1", &vit(method, share), &vit("mae", share)))
                    .collect(),
            )
        },
    },
    Claim {
        id: "mae_weakest_at_45",
        section: "2.2",
        quote: "especially at higher imbalance levels (e.g., 45%)",
        predicate: "how far MAE's F1 lies below the mean of the other methods on ViT-Tiny is largest at 45 %",
        note: "45 % is the least imbalanced level of the five. Figure 2 gives MAE trained at 45 % an F1 of 70.8, Table 1 \
               0.024: the two cannot be one model.",
        judge: |evidence| {
            let gap = |share: f64, sign: f64| {
                let others = SELF_SUPERVISED.into_iter().filter(|&method| method != "mae");
                let mut terms: Vec<(f64, Vec<f64>)> =
                    others.map(|method| (sign / 4.0, evidence.seeds("f1", &vit(method, share)))).collect();
                terms.push((-sign, evidence.seeds("f1", &vit("mae", share))));
                terms
            };
            let smaller = SHARES[..4].iter().map(|&share| {
                let what = format!("f1: gap of MAE at 45 % less gap at {} %", percent(share));
                let terms = [gap(0.45, 1.0), gap(share, -1.0)].concat();
                evidence.contrast(what, &terms, evidence.spread("f1", None))
            });
            all_above(smaller.collect())
        },
    },
    Claim {
        id: "simclr_best_from_5",
        section: "2.2",
        quote: "SimCLR achieves the best overall results especially when paired with ResNet-18 and defect proportion is \
                higher than 5%",
        predicate: "on ResNet-18, SimCLR's F1 is above every other self-supervised method's at 15 and 45 %",
        note: "By F2_CIW it is not: BYOL has 0.825 at 15 %, SimCLR and Barlow Twins 0.822. On ViT-Tiny SimCLR leads all \
               scores in all columns but for one tie, so `especially` points the wrong way.",
        judge: |evidence| all_above(best(evidence, "f1", "simclr", &[0.15, 0.45])),
    },
    Claim {
        id: "byol_best_at_1",
        section: "2.2",
        quote: "with stronger distribution imbalances, particularly with 1%, BYOL and Resnet-18 have the best results",
        predicate: "on ResNet-18 at 1 %, BYOL's F1 is above every other self-supervised method's",
        note: "Only F2_CIW says so in Table 1; by F1 and F1_Normal Barlow Twins is first, as Appendix B says.",
        judge: |evidence| all_above(best(evidence, "f1", "byol", &[0.01])),
    },
    Claim {
        id: "byol_best_at_1_f2",
        section: "ours",
        quote: "",
        predicate: "on ResNet-18 at 1 %, BYOL's F2_CIW (oracle) is above every other self-supervised method's",
        note: "What section 2.2 says of BYOL at 1 % does not name a score; this is the other one.",
        judge: |evidence| all_above(best(evidence, "f2_ciw_oracle", "byol", &[0.01])),
    },
    Claim {
        id: "barlow_twins_at_extreme_imbalance",
        section: "appendix B",
        quote: "Barlow Twins variants trained on 1% and 2% defect proportions achieved the best performance among SSL \
                methods",
        predicate: "on ResNet-18, Barlow Twins' F1 is above every other self-supervised method's at 1 and 2 %",
        note: "The appendix means validation sets as imbalanced, which the paper shows as pictures only; here all \
               validation images.",
        judge: |evidence| all_above(best(evidence, "f1", "barlow_twins", &[0.01, 0.02])),
    },
    Claim {
        id: "dino_fails_on_resnet_only",
        section: "2.2",
        quote: "performing poorly in 1% and 2% settings with ResNet-18, but not with ViT-Tiny",
        predicate: "DINO's F1 is below every other method's on ResNet-18 at 1 and 2 %, and lies further below their \
                    mean there than on ViT-Tiny (without MAE)",
        note: "",
        judge: |evidence| {
            const OTHERS: [&str; 3] = ["byol", "barlow_twins", "simclr"];
            let low = [0.01, 0.02];
            let pairs = OTHERS.into_iter().flat_map(|method| low.map(|share| (method, share)));
            let mut contrasts: Vec<_> = pairs
                .map(|(method, share)| evidence.above("f1", &resnet(method, share), &resnet("dino", share)))
                .collect();
            for share in low {
                let gap = |backbone: &'static str, sign: f64| {
                    let mut terms: Vec<_> = OTHERS
                        .iter()
                        .map(|method| (sign / 3.0, evidence.seeds("f1", &at(method, backbone, share))))
                        .collect();
                    terms.push((-sign, evidence.seeds("f1", &at("dino", backbone, share))));
                    terms
                };
                let what = format!("f1 at {} %: DINO's gap on ResNet-18 less on ViT-Tiny", percent(share));
                let terms = [gap("resnet18", 1.0), gap("vit_tiny", -1.0)].concat();
                contrasts.push(evidence.contrast(what, &terms, evidence.spread("f1", None)));
            }
            all_above(contrasts)
        },
    },
    Claim {
        id: "method_matters_more_than_backbone",
        section: "abstract",
        quote: "the SSL model choice is more critical than the backbone architecture",
        predicate: "over BYOL, Barlow Twins, DINO and SimCLR, methods make more of F1's variance (per degree of \
                    freedom) than backbones do",
        note: "Without DINO it is the other way in the paper's own numbers: ResNet-18 less ViT-Tiny is up to 0.09, while \
               the other three methods lie within 0.03 of each other on ResNet-18.",
        judge: |evidence| method_against_backbone(evidence, &["byol", "barlow_twins", "dino", "simclr"]),
    },
    Claim {
        id: "method_matters_more_than_backbone_without_dino",
        section: "ours",
        quote: "",
        predicate: "over BYOL, Barlow Twins and SimCLR, without DINO, methods make more of F1's variance (per degree of \
                    freedom) than backbones do",
        note: "DINO's collapse at 1 and 2 % alone can make `method` the larger factor.",
        judge: |evidence| method_against_backbone(evidence, &["byol", "barlow_twins", "simclr"]),
    },
    Claim {
        id: "no_backbone_is_always_better",
        section: "3",
        quote: "neither ViT-Tiny nor ResNet-18 consistently outperforms the other across all cases",
        predicate: "F1 of some method at some share is significantly higher on ResNet-18, and of some on ViT-Tiny",
        note: "",
        judge: |evidence| {
            let mut found: Vec<Contrast> = Vec::new();
            for method in ["supervised", "byol", "barlow_twins", "dino", "simclr"] {
                let pairs =
                    SHARES.map(|share| evidence.above("f1", &resnet(method, share), &vit(method, share)));
                found.extend(pairs.into_iter().flatten());
            }
            let corrected = |p: fn(&Contrast) -> f64| {
                crate::analysis::comparison::holm(&found.iter().map(p).collect::<Vec<_>>())
            };
            let resnet_wins = corrected(|contrast| contrast.not_above).iter().filter(|&&p| p < 0.025).count();
            let vit_wins = corrected(|contrast| contrast.not_below).iter().filter(|&&p| p < 0.025).count();
            let consistent = found.iter().all(|contrast| contrast.not_above < 0.025)
                || found.iter().all(|contrast| contrast.not_below < 0.025);
            let verdict = match (found.is_empty(), resnet_wins > 0 && vit_wins > 0, consistent) {
                (false, true, _) => Verdict::Holds,
                (false, _, true) => Verdict::Fails,
                _ => Verdict::Undecided,
            };
            let line = format!(
                "of {} pairs, ResNet-18 is significantly higher in {resnet_wins}, ViT-Tiny in {vit_wins}",
                found.len()
            );
            Finding { verdict, evidence: vec![line], missing: Vec::new() }
        },
    },
    Claim {
        id: "supervised_beats_all",
        section: "appendix B",
        quote: "the supervised baseline consistently outperformed all SSL methods across every class imbalance",
        predicate: "supervised F1 is above every self-supervised method's on the same backbone at every training share",
        note: "The probes of the self-supervised methods are trained online and, under LARS, hardly move: part of the gap \
               is the probe's.",
        judge: |evidence| {
            let mut contrasts = Vec::new();
            for backbone in BACKBONES {
                for method in
                    SELF_SUPERVISED.into_iter().filter(|method| (*method, backbone) != ("mae", "resnet18"))
                {
                    contrasts.extend(SHARES.map(|share| {
                        evidence.above("f1", &at("supervised", backbone, share), &at(method, backbone, share))
                    }));
                }
            }
            all_above(contrasts)
        },
    },
];

pub fn at<'a>(method: &'a str, backbone: &'a str, train: f64) -> At<'a> {
    At { method, backbone, train, validation: None }
}

fn resnet(method: &str, train: f64) -> At<'_> {
    at(method, "resnet18", train)
}

fn vit(method: &str, train: f64) -> At<'_> {
    at(method, "vit_tiny", train)
}

pub fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 100.0
}

/// `method` against every other self-supervised one, on ResNet-18.
fn best(evidence: &Evidence, metric: &str, method: &str, shares: &[f64]) -> Vec<Result<Contrast, Missing>> {
    let others = SELF_SUPERVISED.into_iter().filter(|&other| other != method && other != "mae");
    let pairs = others.flat_map(|other| shares.iter().map(move |&share| (other, share)));
    pairs
        .map(|(other, share)| evidence.above(metric, &resnet(method, share), &resnet(other, share)))
        .collect()
}

/// A cell of the study `sound` above the same cell with something done as released.
pub fn ablation(evidence: &Evidence, (sound, released): (&str, &str), cell: &At) -> Finding {
    let soundly = if sound == "table1" { "soundly" } else { sound };
    let what = format!("f1: {} on {} {soundly} less {released}", cell.method, cell.backbone);
    let runs = [sound, released].map(|study| evidence.runs_of(study, "f1", cell));
    all_above(vec![evidence.paired(what, [&runs[0], &runs[1]], evidence.spread("f1", None))])
}

/// Whose level means vary more, method's or backbone's; how sure, by drawing every mean anew.
fn method_against_backbone(evidence: &Evidence, methods: &[&str]) -> Finding {
    const ROUNDS: usize = 400;
    let Some(spread) = evidence.spread("f1", None) else {
        return Finding::unmeasured("f1: more than one seed of any cell");
    };
    let mut cells = Vec::new();
    for &method in methods {
        for backbone in BACKBONES {
            for share in SHARES {
                let seeds = evidence.seeds("f1", &at(method, backbone, share));
                if !seeds.is_empty() {
                    cells.push((
                        method,
                        backbone,
                        share,
                        crate::analysis::intervals::mean(&seeds),
                        seeds.len(),
                    ));
                }
            }
        }
    }
    if cells.len() < 2 * methods.len() {
        return Finding::unmeasured("f1: these methods on both backbones");
    }
    let levels: Vec<Vec<String>> = vec![
        cells.iter().map(|cell| cell.0.to_owned()).collect(),
        cells.iter().map(|cell| cell.1.to_owned()).collect(),
        cells.iter().map(|cell| cell.2.to_string()).collect(),
    ];
    let freedom = (methods.len() - 1) as f64;
    let more = |values: &[f64]| {
        let parts = variance::parts(values, &levels);
        (parts.factors[0] / freedom - parts.factors[1], parts)
    };
    let values: Vec<f64> = cells.iter().map(|cell| cell.3).collect();
    let (difference, parts) = more(&values);
    let wins = (0..ROUNDS).filter(|&round| {
        let mut stream = Seed::root(0).child("method against backbone").index(round).stream();
        let drawn: Vec<f64> = cells
            .iter()
            .map(|cell| cell.3 + spread.deviation / (cell.4 as f64).sqrt() * stream.normal())
            .collect();
        more(&drawn).0 > 0.0
    });
    let chance = wins.count() as f64 / ROUNDS as f64;
    let verdict = match chance {
        chance if chance > 0.975 => Verdict::Holds,
        chance if chance < 0.025 => Verdict::Fails,
        _ => Verdict::Undecided,
    };
    let share = |part: f64| 100.0 * part / parts.total;
    let mean_square =
        interval(&crate::analysis::Interval { estimate: difference, low: f64::NAN, high: f64::NAN });
    let mean_square = mean_square.split(' ').next().unwrap_or_default().to_owned();
    Finding {
        verdict,
        evidence: vec![
            format!(
                "of F1's variance: method {:.0} %, backbone {:.0} %, training share {:.0} %, pairs of them {:.0} %",
                share(parts.factors[0]),
                share(parts.factors[1]),
                share(parts.factors[2]),
                share(parts.interactions)
            ),
            format!(
                "mean squares: method less backbone {mean_square}; above 0 in {:.0} % of draws of new seeds",
                100.0 * chance
            ),
        ],
        missing: Vec::new(),
    }
}
