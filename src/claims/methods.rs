//! Comparisons of methods and backbones: claims about Table 1. Unless another is named, the paper's score is F1 of
//! the classifier in training on all validation images.

use super::{
    Claim, Evidence, Finding, Verdict, Yardstick,
    contrast::{MeanContrast, Term},
    judging::TAIL,
};
use crate::{
    analysis::{Axes, Scored, cell::percent, comparison::holm, intervals::mean, variance::Design},
    backbone::{
        self,
        Name::{ResNet18, ViTTiny},
    },
    data::Share,
    method::Name::{self, BarlowTwins, Byol, Dino, Mae, SimClr, Supervised},
    results::Metric,
    seed::Seed,
    study::{Ablation, Study},
};

const SHARES: [Share; 5] = Share::STUDY;
/// All yardsticks.
const ALL: &[Yardstick] = &Yardstick::ALL;

pub static CLAIMS: [Claim; 13] = [
    Claim {
        id: "joint_embedding_beats_mae",
        section: "abstract",
        quote: "the superiority of joint-embedding methods like SimCLR and Barlow Twins over reconstruction-based \
                approaches such as MAE",
        predicate: "on ViT-Tiny, F1 of SimCLR and of Barlow Twins is above MAE's at every training share",
        note: "The released MAE step appears to supervise two predictions a batch, against pixels of another view; see \
               mae_step_costs.",
        yardsticks: ALL,
        judge: |evidence, yardstick| {
            let pairs = [SimClr, BarlowTwins].map(|method| [vit(method), vit(Mae)]);
            evidence.all_above(evidence.compare(yardstick, Metric::F1, pairs, &SHARES))
        },
    },
    Claim {
        id: "mae_step_costs",
        section: "ours",
        quote: "",
        predicate: "MAE without the faults of the released code gives better features than the released code, at 45 \
                    % defects (AUROC of the converged probe)",
        note: "The paper has no MAE without these faults to compare with.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, _| {
            let sound = Axes { share: Share::percent(45), ..vit(Mae) };
            let released = sound.in_study(Study::Ablation(Ablation::MaeAsReleased));
            let what = "auroc of the converged probe: MAE without faults minus MAE as released";
            let pair = [&sound.converged(), &released.converged()];
            evidence.all_above(vec![evidence.paired_difference(what, Metric::Auroc, pair)])
        },
    },
    Claim {
        id: "mae_weakest_everywhere",
        section: "2.2",
        quote: "the Masked Autoencoder (MAE) delivers the weakest performance across all scenarios",
        predicate: "on ViT-Tiny, every other self-supervised method's F1 is above MAE's at every training share",
        note: "",
        yardsticks: ALL,
        judge: |evidence, yardstick| {
            let pairs = others_than(Mae).map(|method| [vit(method), vit(Mae)]);
            evidence.all_above(evidence.compare(yardstick, Metric::F1, pairs, &SHARES))
        },
    },
    Claim {
        id: "mae_weakest_at_45",
        section: "2.2",
        quote: "especially at higher imbalance levels (e.g., 45%)",
        predicate: "how far MAE's F1 lies below the mean of the other methods on ViT-Tiny is largest at 45 %",
        note: "45 % is the least imbalanced level of the five. Figure 2 gives MAE trained at 45 % an F1 of 70.8, Table 1 \
               0.024: the two cannot be one model.",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| {
            let measure = yardstick.measure(Metric::F1);
            let gap = |share: Share, sign: f64| {
                let at = |method| yardstick.scored(Axes { share, ..vit(method) }.in_training());
                let mut terms: Vec<Term> =
                    others_than(Mae).map(|method| evidence.term(sign / 4.0, &measure, &at(method))).collect();
                terms.push(evidence.term(-sign, &measure, &at(Mae)));
                terms
            };
            let smaller = SHARES[..4].iter().map(|&share| {
                let what = format!("{measure}: gap of MAE at 45 % minus gap at {}", percent(share));
                let terms = [gap(Share::percent(45), 1.0), gap(share, -1.0)].concat();
                evidence.contrast(what, &measure, &terms)
            });
            evidence.all_above(smaller.collect())
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
        yardsticks: ALL,
        judge: |evidence, yardstick| best(evidence, yardstick, Metric::F1, SimClr, &SHARES[3..]),
    },
    Claim {
        id: "byol_best_at_1",
        section: "2.2",
        quote: "with stronger distribution imbalances, particularly with 1%, BYOL and Resnet-18 have the best results",
        predicate: "on ResNet-18 at 1 %, BYOL's F1 is above every other self-supervised method's",
        note: "Only F2_CIW says so in Table 1; by F1 and F1_Normal Barlow Twins is first, as Appendix B says.",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| best(evidence, yardstick, Metric::F1, Byol, &SHARES[..1]),
    },
    Claim {
        id: "byol_best_at_1_f2",
        section: "ours",
        quote: "",
        predicate: "on ResNet-18 at 1 %, BYOL's F2_CIW (oracle) is above every other self-supervised method's",
        note: "Section 2.2 does not say by which score BYOL is best at 1 %; this claim uses the other one.",
        yardsticks: &Yardstick::PAPER_ONLY,
        judge: |evidence, yardstick| best(evidence, yardstick, Metric::F2Oracle, Byol, &SHARES[..1]),
    },
    Claim {
        id: "barlow_twins_at_extreme_imbalance",
        section: "appendix B",
        quote: "Barlow Twins variants trained on 1% and 2% defect proportions achieved the best performance among SSL \
                methods",
        predicate: "on ResNet-18, Barlow Twins' F1 is above every other self-supervised method's at 1 and 2 %",
        note: "The appendix means validation sets as imbalanced, which the paper shows as pictures only; here all \
               validation images.",
        yardsticks: ALL,
        judge: |evidence, yardstick| best(evidence, yardstick, Metric::F1, BarlowTwins, &SHARES[..2]),
    },
    Claim {
        id: "dino_fails_on_resnet_only",
        section: "2.2",
        quote: "performing poorly in 1% and 2% settings with ResNet-18, but not with ViT-Tiny",
        predicate: "DINO's F1 is below every other method's on ResNet-18 at 1 and 2 %, and lies further below their \
                    mean there than on ViT-Tiny (without MAE)",
        note: "",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| {
            let others = [Byol, BarlowTwins, SimClr];
            let (low, measure) = (&SHARES[..2], yardstick.measure(Metric::F1));
            let pairs = others.map(|method| [resnet(method), resnet(Dino)]);
            let mut contrasts = evidence.compare(yardstick, Metric::F1, pairs, low);
            for &share in low {
                let gap = |on: fn(Name) -> Axes, sign: f64| {
                    let at = |method| yardstick.scored(Axes { share, ..on(method) }.in_training());
                    let term = |weight, method| evidence.term(weight, &measure, &at(method));
                    let mut terms = others.map(|method| term(sign / 3.0, method)).to_vec();
                    terms.push(term(-sign, Dino));
                    terms
                };
                let what =
                    format!("{measure} at {}: DINO's gap on ResNet-18 minus on ViT-Tiny", percent(share));
                let terms = [gap(resnet, 1.0), gap(vit, -1.0)].concat();
                contrasts.push(evidence.contrast(what, &measure, &terms));
            }
            evidence.all_above(contrasts)
        },
    },
    Claim {
        id: "method_matters_more_than_backbone",
        section: "abstract",
        quote: "the SSL model choice is more critical than the backbone architecture",
        predicate: "among BYOL, Barlow Twins, DINO and SimCLR, methods explain more of F1's variance (per degree of \
                    freedom) than backbones do",
        note: "Without DINO it is the other way in the paper's own numbers: ResNet-18 minus ViT-Tiny is up to 0.09, while \
               the other three methods lie within 0.03 of each other on ResNet-18.",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| {
            method_against_backbone(evidence, yardstick, &[Byol, BarlowTwins, Dino, SimClr])
        },
    },
    Claim {
        id: "method_matters_more_than_backbone_without_dino",
        section: "ours",
        quote: "",
        predicate: "among BYOL, Barlow Twins and SimCLR, without DINO, methods explain more of F1's variance (per \
                    degree of freedom) than backbones do",
        note: "DINO's collapse at 1 and 2 % alone can make `method` the larger factor.",
        yardsticks: &Yardstick::SCORES,
        judge: |evidence, yardstick| {
            method_against_backbone(evidence, yardstick, &[Byol, BarlowTwins, SimClr])
        },
    },
    Claim {
        id: "no_backbone_is_always_better",
        section: "3",
        quote: "neither ViT-Tiny nor ResNet-18 consistently outperforms the other across all cases",
        predicate: "F1 of some method at some share is significantly higher on ResNet-18, and of some on ViT-Tiny",
        note: "",
        yardsticks: ALL,
        judge: no_backbone_is_always_better,
    },
    Claim {
        id: "supervised_beats_all",
        section: "appendix B",
        quote: "the supervised baseline consistently outperformed all SSL methods across every class imbalance",
        predicate: "supervised F1 is above every self-supervised method's on the same backbone at every training share",
        note: "The probes of the self-supervised methods are trained online and, under LARS, hardly move: part of the gap \
               is the probe's.",
        yardsticks: ALL,
        judge: |evidence, yardstick| {
            let pairs = backbone::Name::STUDY.into_iter().flat_map(|backbone| {
                let defined = Name::SELF_SUPERVISED
                    .into_iter()
                    .filter(move |method| method.undefined_on(backbone).is_none());
                defined.map(move |method| [Supervised, method].map(|method| on(method, backbone)))
            });
            evidence.all_above(evidence.compare(yardstick, Metric::F1, pairs, &SHARES))
        },
    },
];

/// Axes in Table 1; the share is set later.
fn on(method: Name, backbone: backbone::Name) -> Axes {
    Axes::table_1(method, backbone, Share::NATURAL)
}

fn resnet(method: Name) -> Axes {
    on(method, ResNet18)
}

fn vit(method: Name) -> Axes {
    on(method, ViTTiny)
}

/// The paper's self-supervised methods except one.
fn others_than(method: Name) -> impl Iterator<Item = Name> {
    Name::SELF_SUPERVISED.into_iter().filter(move |&other| other != method)
}

/// Whether `method` is above every other self-supervised method on ResNet-18.
fn best(
    evidence: &Evidence,
    yardstick: Yardstick,
    papers: Metric,
    method: Name,
    shares: &[Share],
) -> Finding {
    let others = others_than(method).filter(|&other| other != Mae);
    let pairs = others.map(|other| [resnet(method), resnet(other)]);
    evidence.all_above(evidence.compare(yardstick, papers, pairs, shares))
}

fn no_backbone_is_always_better(evidence: &Evidence, yardstick: Yardstick) -> Finding {
    let pairs = [Supervised, Byol, BarlowTwins, Dino, SimClr].map(|method| [resnet(method), vit(method)]);
    let contrasts = evidence.compare(yardstick, Metric::F1, pairs, &SHARES);
    let found: Vec<MeanContrast> = contrasts.into_iter().flatten().collect();
    let wins = |p: fn(&MeanContrast) -> f64| {
        let corrected = holm(&found.iter().map(p).collect::<Vec<_>>());
        corrected.iter().filter(|&&p| p < TAIL).count()
    };
    let (resnet_wins, vit_wins) = (wins(MeanContrast::p_value_above), wins(MeanContrast::p_value_below));
    let consistent = found.iter().all(|contrast| contrast.p_value_above() < TAIL)
        || found.iter().all(|contrast| contrast.p_value_below() < TAIL);
    let verdict = match (found.is_empty(), resnet_wins > 0 && vit_wins > 0, consistent) {
        (false, true, _) => Verdict::Holds,
        (false, _, true) => Verdict::Fails,
        _ => Verdict::Undecided,
    };
    let line = format!(
        "of {} pairs, ResNet-18 is significantly higher in {resnet_wins}, ViT-Tiny in {vit_wins}",
        found.len()
    );
    Finding::new(verdict, vec![line])
}

/// Mean scores of these methods on both backbones, with the number of seeds in each.
fn means(evidence: &Evidence, yardstick: Yardstick, methods: &[Name]) -> Vec<(Scored, f64, usize)> {
    let mut means = Vec::new();
    for &method in methods {
        for backbone in backbone::Name::STUDY {
            for share in SHARES {
                let at = yardstick.scored(Axes { share, ..on(method, backbone) }.in_training());
                let seeds = evidence.scores(yardstick.measure(Metric::F1), &at);
                if !seeds.is_empty() {
                    means.push((at, mean(&seeds), seeds.len()));
                }
            }
        }
    }
    means
}

/// Compares the variance between methods with that between backbones; the uncertainty comes from redrawing every
/// mean.
fn method_against_backbone(evidence: &Evidence, yardstick: Yardstick, methods: &[Name]) -> Finding {
    const ROUNDS: usize = 400;
    let (means, measure) = (means(evidence, yardstick, methods), yardstick.measure(Metric::F1));
    if means.len() < 2 * methods.len() {
        return Finding::unmeasured(format!("{measure}: these methods on both backbones"));
    }
    let levels: [fn(&Scored) -> String; 3] = [
        |at| at.cell.method_id().to_owned(),
        |at| at.cell.backbone_id().to_owned(),
        |at| at.cell.share.to_string(),
    ];
    let levels = levels.map(|level| means.iter().map(|(at, ..)| level(at)).collect::<Vec<_>>());
    let design = Design::new(means.len(), &levels);
    let freedom = (methods.len() - 1) as f64;
    let more = |values: &[f64]| {
        let parts = design.decompose(values);
        (parts.factors[0] / freedom - parts.factors[1], parts)
    };
    let Some(redraw) = evidence.noise().redraw(&measure, &means) else {
        return Finding::unmeasured(format!("{measure}: more than one seed of any cell"));
    };
    let mut wins = 0;
    for round in 0..ROUNDS {
        let mut stream = Seed::root(0).child("method against backbone").index(round).stream();
        wins += usize::from(more(&redraw.draw(&mut stream)).0 > 0.0);
    }
    let chance = wins as f64 / ROUNDS as f64;
    let verdict = match chance {
        chance if chance > 0.975 => Verdict::Holds,
        chance if chance < 0.025 => Verdict::Fails,
        _ => Verdict::Undecided,
    };
    let (difference, parts) = more(&means.iter().map(|(_, mean, _)| *mean).collect::<Vec<_>>());
    let share = |part: f64| 100.0 * part / parts.total;
    let variance = format!(
        "of the variance of {measure}: method {:.0} %, backbone {:.0} %, training share {:.0} %, pairs of them {:.0} %",
        share(parts.factors[0]),
        share(parts.factors[1]),
        share(parts.factors[2]),
        share(parts.interactions)
    );
    let draws = format!(
        "mean squares: method minus backbone {difference:.3}; above 0 in {:.0} % of draws of new seeds",
        100.0 * chance
    );
    Finding::new(verdict, vec![variance, draws])
}
