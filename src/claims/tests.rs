//! Simulated records in which a claim is true, or its opposite is. For claims about numbers that the paper does not
//! print, this is the only check of the direction of their comparisons.

mod comparisons;

use super::*;
use crate::{
    analysis::{Axes, Measure, Scored, frame::FrameBuilder},
    backbone::{
        self,
        Name::{ResNet18, ViTTiny},
    },
    data::Share,
    method::Name::{self, BarlowTwins, Byol, Dino, Mae, SimClr, Supervised},
    results::{Classifier, Metric},
    seed::{Seed, Stream},
    study::{Ablation, Study},
};

const MOST: Share = Share::percent(45);
const LEAST: Share = Share::percent(1);

/// Scores with three seeds each and a deviation of 0.001.
struct World(FrameBuilder, Stream);

impl World {
    fn new() -> Self {
        Self(FrameBuilder::default(), Seed::root(0).stream())
    }

    fn add(&mut self, at: Scored, numbers: &[(Measure, f64)]) {
        for seed in 0..3 {
            self.0.begin("world", at, Some(seed));
            for (measure, value) in numbers {
                self.0.number(measure, Some(value + 0.001 * self.1.normal()));
            }
        }
    }

    fn f1(&mut self, at: Scored, f1: f64) {
        self.add(at, &[(Metric::F1.into(), f1)]);
    }

    fn verdict(self, id: &str) -> Verdict {
        let claim = all().into_iter().find(|claim| claim.id == id).expect(id);
        claim.judge(&Evidence::measured("world", &self.0.frame())).verdict
    }
}

fn cell(method: Name, backbone: backbone::Name) -> Axes {
    Axes::table_1(method, backbone, MOST)
}

fn natural(study: Study, backbone: backbone::Name) -> Scored {
    Axes::table_1(Supervised, backbone, Share::NATURAL).in_study(study).in_training()
}

/// F1 rises (`way` 1) or falls (-1) with the side.
fn sides(way: f64) -> World {
    let mut world = World::new();
    for backbone in backbone::Name::STUDY {
        for (place, side) in (0..).zip(Study::SIDES) {
            world.f1(natural(Study::Table2 { side }, backbone), 0.5 + way * 0.05 * f64::from(place));
        }
    }
    world
}

/// Cells on the border of the region, which belong to it, score higher than all others; those in its interior score
/// lower.
fn region(way: f64) -> World {
    let mut world = World::new();
    for jitter in [100, 275, 450, 625, 800] {
        for crop in [80, 185, 290, 395, 500, 605, 710] {
            let moved = match (jitter, crop) {
                (100 | 275, 500) => -0.3,
                (100 | 275, 395 | 605) | (450, 395 | 500 | 605) => 0.3,
                _ => 0.0,
            };
            world.f1(natural(Study::Figure3 { jitter, crop }, ResNet18), 0.5 + way * moved);
        }
    }
    world
}

/// `sound` is above (`way` 1) or below `released`.
fn beside(way: f64, metric: Metric, pairs: &[[Scored; 2]]) -> World {
    let mut world = World::new();
    for [sound, released] in pairs {
        world.add(*sound, &[(metric.into(), 0.7 + way * 0.1)]);
        world.add(*released, &[(metric.into(), 0.7)]);
    }
    world
}

fn augmented(way: f64) -> World {
    let pair = |method| {
        let sound = cell(method, ResNet18);
        let released = sound.in_study(Study::Ablation(Ablation::AugmentedValidation)).in_training();
        [sound.in_training(), Scored { classifier: Classifier::InTrainingAugmented, ..released }]
    };
    beside(way, Metric::F1, &[pair(Supervised), pair(SimClr)])
}

fn head(way: f64) -> World {
    let of = |ablation| cell(Dino, ResNet18).in_study(Study::Ablation(ablation)).in_training();
    beside(way, Metric::F1, &[[of(Ablation::DinoHeadNorm), of(Ablation::DinoPlainHead)]])
}

fn probe(way: f64) -> World {
    let sound = cell(SimClr, ResNet18);
    let released = sound.in_study(Study::Ablation(Ablation::ProbeAsReleased));
    beside(way, Metric::F1, &[[sound.in_training(), released.in_training()]])
}

fn step(way: f64) -> World {
    let sound = cell(Mae, ViTTiny);
    let released = sound.in_study(Study::Ablation(Ablation::MaeAsReleased));
    beside(way, Metric::Auroc, &[[sound.converged(), released.converged()]])
}

/// Equal at all validation shares, or far lower at the lowest.
fn stable(way: f64, metric: Metric) -> World {
    let mut world = World::new();
    for share in Share::STUDY {
        let fallen = if share == LEAST && way < 0.0 { 0.3 } else { 0.0 };
        world.add(cell(SimClr, ResNet18).in_training().on(share), &[(metric.into(), 0.7 - fallen)]);
    }
    world
}

/// The gap between supervised training and SimCLR is larger or smaller at the lowest validation share than at the
/// highest.
fn gap(way: f64) -> World {
    let mut world = World::new();
    for train in Share::STUDY {
        for (share, gap) in [(LEAST, 0.1 + way * 0.08), (MOST, 0.1)] {
            for (method, f1) in [(Supervised, 0.5 + gap), (SimClr, 0.5)] {
                world.f1(Axes::table_1(method, ResNet18, train).in_training().on(share), f1);
            }
        }
    }
    world
}

fn ranks(way: f64, measure: &Measure) -> World {
    let mut world = World::new();
    for method in [Byol, BarlowTwins, Dino, SimClr] {
        for share in Share::STUDY {
            for (backbone, rank) in [(ResNet18, 0.5 + way * 0.2), (ViTTiny, 0.5)] {
                world.add(Axes::table_1(method, backbone, share).in_training(), &[(measure.clone(), rank)]);
            }
        }
    }
    world
}

/// Methods differ and backbones do not, or the other way round.
fn matters(way: f64) -> World {
    let mut world = World::new();
    for (place, method) in (0..).zip([Supervised, Byol, BarlowTwins, Dino, Mae, SimClr]) {
        for (backbone, moved) in [(ResNet18, 0.3), (ViTTiny, 0.0)] {
            for share in Share::STUDY {
                let f1 = if way > 0.0 { 0.3 + 0.1 * f64::from(place) } else { 0.5 + moved };
                world.f1(Axes::table_1(method, backbone, share).in_training(), f1);
            }
        }
    }
    world
}

/// ViT-Tiny is better for one method of five, or ResNet-18 for all.
fn backbones(way: f64) -> World {
    let mut world = World::new();
    for method in [Supervised, Byol, BarlowTwins, Dino, SimClr] {
        let vit = if method == Dino && way > 0.0 { 0.8 } else { 0.4 };
        for (backbone, f1) in [(ResNet18, 0.6), (ViTTiny, vit)] {
            for share in Share::STUDY {
                world.f1(Axes::table_1(method, backbone, share).in_training(), f1);
            }
        }
    }
    world
}

/// All scores follow from one pair of rates (0.8 of defects found, 0.1 of normal images flagged), or fewer defects are
/// found at the lowest share.
fn rates(way: f64) -> World {
    let mut world = World::new();
    for share in Share::STUDY {
        let hits = if way < 0.0 && share == LEAST { 0.2 } else { 0.8 };
        let defects = share.fraction().expect("a share in validation");
        let (found, alarms) = (defects * hits, (1.0 - defects) * 0.1);
        let f1 = 2.0 * found / (found + alarms + defects);
        let passed = 1.0 - defects - alarms;
        let f1_normal = 2.0 * passed / (passed + 1.0 - defects + defects - found);
        let numbers = [(Metric::F1.into(), f1), (Metric::F1Normal.into(), f1_normal)];
        world.add(cell(SimClr, ResNet18).in_training().on(share), &numbers);
    }
    world
}

#[test]
fn claims_hold_where_they_are_true_and_fail_where_the_opposite_is() {
    type Drawn = fn(f64) -> World;
    let worlds: [(&str, Drawn); 14] = [
        ("larger_images_score_higher", sides),
        ("augmentation_optimum", region),
        ("validation_on_augmented_images", augmented),
        ("dino_head_norm", head),
        ("probe_under_lars", probe),
        ("mae_step_costs", step),
        ("f2_stable_because_of_weighted_loss", |way| stable(way, Metric::F2Multilabel)),
        ("recall_stays_strong", |way| stable(way, Metric::Recall)),
        ("supervised_gap_widens", gap),
        ("method_matters_more_than_backbone", matters),
        ("no_backbone_is_always_better", backbones),
        ("decline_is_arithmetic", rates),
        ("resnet_has_higher_rankme", |way| ranks(way, &Measure::RANKME_RELEASED)),
        ("resnet_has_higher_rankme_normalised", |way| ranks(way, &Measure::RANKME_NORMALISED)),
    ];
    for (id, world) in worlds {
        assert_eq!(world(1.0).verdict(id), Verdict::Holds, "{id} is true");
        assert_eq!(world(-1.0).verdict(id), Verdict::Fails, "the opposite of {id} is true");
    }
}

/// Methods whose ranks differ, and methods whose ranks do not.
#[test]
fn methods_differ_in_rank_where_they_do() {
    let verdict = |apart: f64| {
        let mut world = World::new();
        for backbone in backbone::Name::STUDY {
            for (place, method) in (0..).zip([Byol, BarlowTwins, Dino, SimClr]) {
                for share in Share::STUDY {
                    let at = Axes::table_1(method, backbone, share).in_training();
                    let rank = 20.0 + apart * f64::from(place);
                    world.add(at, &[(Measure::RANKME_RELEASED, rank), (Metric::F1.into(), 0.5)]);
                }
            }
        }
        world.verdict("rankme_differs_by_method")
    };
    assert_eq!(verdict(5.0), Verdict::Holds);
    assert_ne!(verdict(0.0), Verdict::Holds);
}

/// The knee of F1 against seconds is at 224 pixels, or at 128.
#[test]
fn the_best_trade_is_where_the_knee_is() {
    let verdict = |f1: [f64; 5]| {
        let mut world = World::new();
        for backbone in backbone::Name::STUDY {
            for ((side, f1), seconds) in Study::SIDES.into_iter().zip(f1).zip([10.0, 20.0, 30.0, 60.0, 100.0])
            {
                let numbers = [(Metric::F1.into(), f1), (Measure::EPOCH_SECONDS, seconds)];
                world.add(natural(Study::Table2 { side }, backbone), &numbers);
            }
        }
        world.verdict("best_trade_at_224")
    };
    assert_eq!(verdict([0.5, 0.6, 0.9, 0.91, 0.92]), Verdict::Holds);
    assert_eq!(verdict([0.5, 0.9, 0.91, 0.92, 0.93]), Verdict::Fails);
}

/// All methods on both backbones at all shares: `best` leads (`way` 1) or lags on the backbone `ground` at `shares`,
/// and does the opposite elsewhere. Supervised training is above all others and must be ignored.
fn ranked(way: f64, metric: Metric, best: Name, ground: backbone::Name, shares: &[Share]) -> World {
    let mut world = World::new();
    for method in [Supervised, Byol, BarlowTwins, Dino, Mae, SimClr] {
        for backbone in backbone::Name::STUDY {
            for share in Share::STUDY {
                let there = backbone == ground && shares.contains(&share);
                let score = match method {
                    Supervised => 0.9,
                    _ if method == best && there => 0.6 + way * 0.1,
                    _ if method == best => 0.6 - way * 0.1,
                    _ => 0.6,
                };
                let at = Axes::table_1(method, backbone, share).in_training();
                world.add(at, &[(metric.into(), score)]);
            }
        }
    }
    world
}

/// On ViT-Tiny, MAE is below these methods and above all others (`way` 1), or the reverse.
fn below(way: f64, methods: &[Name]) -> World {
    let mut world = World::new();
    for method in [Byol, BarlowTwins, Dino, SimClr] {
        let side = if methods.contains(&method) { way } else { -way };
        for share in Share::STUDY {
            world.f1(Axes::table_1(method, ViTTiny, share).in_training(), 0.5 + side * 0.1);
        }
    }
    for share in Share::STUDY {
        world.f1(Axes::table_1(Mae, ViTTiny, share).in_training(), 0.5);
    }
    world
}

/// One method lags behind the others by `gap`, which depends on backbone and share; all others score alike.
fn lags(way: f64, method: Name, gap: fn(backbone::Name, Share, f64) -> f64) -> World {
    let mut world = World::new();
    for backbone in backbone::Name::STUDY {
        for share in Share::STUDY {
            for other in [Byol, BarlowTwins, Dino, Mae, SimClr] {
                let lag = if other == method { gap(backbone, share, way) } else { 0.0 };
                world.f1(Axes::table_1(other, backbone, share).in_training(), 0.6 - lag);
            }
        }
    }
    world
}

/// Supervised training is above or below the others on both networks at every share.
fn labelled(way: f64) -> World {
    let mut world = World::new();
    for method in [Supervised, Byol, BarlowTwins, Dino, Mae, SimClr] {
        for backbone in backbone::Name::STUDY {
            for share in Share::STUDY {
                let f1 = if method == Supervised { 0.6 + way * 0.1 } else { 0.6 };
                world.f1(Axes::table_1(method, backbone, share).in_training(), f1);
            }
        }
    }
    world
}

/// F1 at the lowest validation share is below or above that at the highest, for two models.
fn falls(way: f64) -> World {
    let mut world = World::new();
    for method in [SimClr, Supervised] {
        for (share, f1) in [(LEAST, 0.5 - way * 0.1), (MOST, 0.5)] {
            world.f1(cell(method, ResNet18).in_training().on(share), f1);
        }
    }
    world
}

#[test]
fn claims_of_table_1_hold_where_they_are_true_and_fail_where_the_opposite_is() {
    type Drawn = fn(f64) -> World;
    let worlds: [(&str, Drawn); 12] = [
        ("joint_embedding_beats_mae", |way| below(way, &[SimClr, BarlowTwins])),
        ("mae_weakest_everywhere", |way| below(way, &[Byol, BarlowTwins, Dino, SimClr])),
        ("mae_weakest_at_45", |way| {
            lags(way, Mae, |_, share, way| if share == MOST { 0.1 + way * 0.05 } else { 0.1 })
        }),
        ("simclr_best_from_5", |way| ranked(way, Metric::F1, SimClr, ResNet18, &Share::STUDY[3..])),
        ("byol_best_at_1", |way| ranked(way, Metric::F1, Byol, ResNet18, &[LEAST])),
        ("byol_best_at_1_f2", |way| ranked(way, Metric::F2Oracle, Byol, ResNet18, &[LEAST])),
        ("barlow_twins_at_extreme_imbalance", |way| {
            ranked(way, Metric::F1, BarlowTwins, ResNet18, &Share::STUDY[..2])
        }),
        ("dino_fails_on_resnet_only", |way| {
            lags(way, Dino, |backbone, share, way| match (backbone, share.in_percent()) {
                (ResNet18, Some(..3.0)) => way * 0.2,
                (ResNet18, _) => -0.1,
                _ => 0.02,
            })
        }),
        ("supervised_beats_all", labelled),
        ("f1_falls_with_imbalance", falls),
        ("f2_stays_stable", |way| stable(way, Metric::F2Oracle)),
        ("method_matters_more_than_backbone_without_dino", matters),
    ];
    for (id, world) in worlds {
        assert_eq!(world(1.0).verdict(id), Verdict::Holds, "{id} is true");
        assert_eq!(world(-1.0).verdict(id), Verdict::Fails, "the opposite of {id} is true");
    }
}

/// Only DINO and the backbones differ: with DINO the method is the larger factor, without it the backbone.
#[test]
fn dino_is_left_out_where_the_claim_says_so() {
    let world = || {
        let mut world = World::new();
        for method in [Byol, BarlowTwins, Dino, SimClr] {
            for (backbone, moved) in [(ResNet18, 0.05), (ViTTiny, 0.0)] {
                for share in Share::STUDY {
                    let f1 = if method == Dino { 0.1 } else { 0.7 };
                    world.f1(Axes::table_1(method, backbone, share).in_training(), f1 + moved);
                }
            }
        }
        world
    };
    assert_eq!(world().verdict("method_matters_more_than_backbone"), Verdict::Holds);
    assert_eq!(world().verdict("method_matters_more_than_backbone_without_dino"), Verdict::Fails);
}

/// Every cell that a claim needs, with two seeds of the score that `numbers` chooses for each classifier.
fn everything(numbers: impl Fn(Classifier) -> Option<Metric>) -> Evidence {
    let mut cells: Vec<Axes> = Vec::new();
    for method in [Supervised, Byol, BarlowTwins, Dino, Mae, SimClr] {
        for backbone in backbone::Name::STUDY {
            cells.extend(Share::STUDY.map(|share| Axes::table_1(method, backbone, share)));
        }
    }
    for backbone in backbone::Name::STUDY {
        let natural = Axes::table_1(Supervised, backbone, Share::NATURAL);
        cells.extend(Study::SIDES.map(|side| natural.in_study(Study::Table2 { side })));
        cells.extend([100, 800].map(|jitter| natural.in_study(Study::Figure3 { jitter, crop: 395 })));
    }
    cells.extend(Ablation::ALL.map(|ablation| cell(Dino, ResNet18).in_study(Study::Ablation(ablation))));
    let (mut rows, mut stream) = (FrameBuilder::default(), Seed::root(2).stream());
    for (place, cell) in cells.into_iter().enumerate() {
        for seed in 0..2 {
            for at in [cell.in_training(), cell.converged()] {
                rows.begin("everything", at, Some(seed));
                rows.number(Measure::EPOCH_SECONDS, Some(1.0 + place as f64));
                for rank in [Measure::RANKME_RELEASED, Measure::RANKME] {
                    rows.number(rank, Some(5.0 + stream.normal()));
                }
                if let Some(metric) = numbers(at.classifier) {
                    rows.number(metric, Some(0.5 + 0.1 * stream.normal()));
                }
            }
        }
    }
    Evidence::measured("everything", &rows.frame())
}

/// The paper's score is F1 of the classifier in training, the other is AUROC of the converged probe; no claim confuses
/// the scores or the classifiers.
#[test]
fn every_claim_is_judged_by_the_score_of_its_yardstick() {
    use Classifier::{Converged, InTraining};
    let papers = everything(|classifier| (classifier == InTraining).then_some(Metric::F1));
    let ours = everything(|classifier| (classifier == Converged).then_some(Metric::Auroc));
    let crossed = everything(|classifier| match classifier {
        InTraining => Some(Metric::Auroc),
        _ => Some(Metric::F1),
    });
    let claims = all().into_iter().filter(|claim| claim.yardsticks.contains(&Yardstick::Auroc));
    let claims: Vec<&Claim> = claims.collect();
    assert_eq!(claims.len(), 19);
    for claim in claims {
        for &yardstick in claim.yardsticks {
            let is_known = |evidence: &Evidence| {
                let finding = claim.judge_by(evidence, yardstick);
                finding.missing.is_empty()
                    && !finding.evidence.iter().any(|line| line.starts_with("of 0 pairs"))
            };
            let found = (is_known(&papers), is_known(&ours), is_known(&crossed));
            let expected = (!yardstick.is_auroc(), yardstick.is_auroc(), false);
            assert_eq!(found, expected, "{} by {yardstick}", claim.id);
        }
    }
}

/// Claims that have all yardsticks compare each pair once if they average, and otherwise once at each of their shares.
#[test]
fn averages_are_over_the_shares_that_are_otherwise_compared_one_by_one() {
    let evidence = everything(|classifier| match classifier {
        Classifier::InTraining => Some(Metric::F1),
        _ => Some(Metric::Auroc),
    });
    for (id, pairs, shares) in [
        ("joint_embedding_beats_mae", 2, 5),
        ("mae_weakest_everywhere", 4, 5),
        ("simclr_best_from_5", 3, 2),
        ("barlow_twins_at_extreme_imbalance", 3, 2),
        ("supervised_beats_all", 9, 5),
    ] {
        let claim = all().into_iter().find(|claim| claim.id == id).unwrap();
        let judged = claim.judge_all(&evidence);
        let yardsticks: Vec<Yardstick> = judged.iter().map(|(yardstick, _)| *yardstick).collect();
        assert_eq!(yardsticks, Yardstick::ALL, "{id}");
        for (yardstick, finding) in judged {
            let lines = finding.evidence;
            let averaged =
                lines.iter().filter(|line| line.contains(&format!("average over {shares} shares")));
            let count = averaged.count();
            match yardstick.averages() {
                true => assert_eq!((lines.len(), count), (pairs, pairs), "{id} by {yardstick}"),
                false => assert_eq!((lines.len(), count), (pairs * shares, 0), "{id} by {yardstick}"),
            }
        }
    }
}

/// The paper prints no AUROC, so its numbers are judged by its own score only; records are judged by all yardsticks.
#[test]
fn the_papers_numbers_are_judged_by_its_own_scores() {
    let paper = paper();
    assert!(paper.name == PAPER && paper.noise().is_assumed());
    let claim = all()[0];
    let by = |evidence: &Evidence| -> Vec<Yardstick> {
        claim.judge_all(evidence).into_iter().map(|(yardstick, _)| yardstick).collect()
    };
    assert_eq!(by(&paper), [Yardstick::Paper, Yardstick::PaperAverage]);
    assert_eq!(by(&Evidence::measured("ours", paper.frame())), Yardstick::ALL);
    let ids: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.id()).collect();
    assert_eq!(ids, ["holds", "fails", "the same", "undecided"]);
}

/// Every claim has a unique name, a quote and a condition; our own questions have no quote.
#[test]
fn claims_have_names_of_their_own() {
    let claims = all();
    let ids: std::collections::BTreeSet<&str> = claims.iter().map(|claim| claim.id).collect();
    assert_eq!((claims.len(), ids.len()), (33, 33));
    for claim in &claims {
        assert_eq!(claim.quote.is_empty(), claim.section == "ours", "{}", claim.id);
        assert!(claim.predicate.len() > 20 && claim.yardsticks[0] == Yardstick::Paper, "{}", claim.id);
    }
    let order = [0, 13, 19, 26].map(|place| claims[place].id);
    assert_eq!(
        order,
        [
            "joint_embedding_beats_mae",
            "f1_falls_with_imbalance",
            "rankme_does_not_correlate",
            "larger_images_score_higher"
        ]
    );
}

/// A cell, its seed and its scores.
type Row<'a> = (Scored, u64, &'a [(Measure, f64)]);

/// The finding of a claim on these rows of one seed or more: axes, seed and measures.
fn finding(id: &str, name: &str, rows: &[Row]) -> Finding {
    let mut frame = FrameBuilder::default();
    for (at, seed, numbers) in rows {
        frame.begin("found", *at, Some(*seed));
        numbers.iter().for_each(|(measure, value)| frame.number(measure, Some(*value)));
    }
    let claim = all().into_iter().find(|claim| claim.id == id).expect(id);
    claim.judge(&Evidence::measured(name, &frame.frame()))
}

/// Claims that are judged by their own means say what they lack.
#[test]
fn claims_say_what_they_lack() {
    let f1 = |value: f64| [(Measure::from(Metric::F1), value)];
    let told = |id: &str, rows: &[Row]| {
        let found = finding(id, "ours", rows);
        assert_eq!((found.verdict, found.evidence.len()), (Verdict::Undecided, 0), "{id}");
        found.missing
    };
    assert_eq!(told("method_matters_more_than_backbone", &[]), ["f1: these methods on both backbones"]);
    // Three methods on both backbones at one share have six means, which is as many as are needed.
    let numbers: Vec<[(Measure, f64); 1]> = (0..6).map(|place| f1(0.5 + 0.1 * f64::from(place))).collect();
    let cells = [Byol, BarlowTwins, SimClr]
        .into_iter()
        .flat_map(|method| backbone::Name::STUDY.map(|backbone| cell(method, backbone).in_training()));
    let rows: Vec<Row> = cells.zip(&numbers).map(|(at, numbers)| (at, 0, &numbers[..])).collect();
    let without = "method_matters_more_than_backbone_without_dino";
    assert_eq!(told(without, &rows[..5]), ["f1: these methods on both backbones"]);
    assert_eq!(told(without, &rows), ["f1: more than one seed of any cell"]);
    // Ranks of one self-supervised method: supervised training does not count as another.
    let both = [(Measure::from(Metric::F1), 0.5), (Measure::RANKME_RELEASED, 20.0)];
    let ranked: Vec<Row> = [Byol, Supervised]
        .into_iter()
        .map(|method| (cell(method, ResNet18).in_training(), 0, &both[..]))
        .collect();
    assert_eq!(told("rankme_differs_by_method", &ranked), ["RankMe of several methods"]);
    let sides = "f1 and seconds an epoch at five sides";
    assert_eq!(told("best_trade_at_224", &[]), [sides, sides]);
    let dino = Axes::table_1(Dino, ResNet18, LEAST).in_training();
    let lacking = "f1, f1_normal and f2_ciw_oracle of DINO on ResNet-18 at 1 %";
    let printed = [(Metric::F1, 0.049), (Metric::F1Normal, 0.689), (Metric::F2Oracle, 0.566)];
    let printed = printed.map(|(metric, value)| (Measure::from(metric), value));
    let id = "dino_at_1_percent_is_one_model";
    assert_eq!(told(id, &[(dino, 0, &printed[..2])]), [lacking]);
    assert_eq!(told(id, &[(dino, 0, &printed[..])]), ["asked of the paper's own numbers only"]);
    let papers = finding(id, PAPER, &[(dino, 0, &printed[..])]);
    assert_eq!((papers.verdict, papers.missing.len()), (Verdict::Fails, 0));
    let line = &papers.evidence[0];
    assert!(
        line.starts_with("F1 and F1_Normal give a recall of 0.02") && line.ends_with("printed is 0.566"),
        "{line}"
    );
    let smaller = [&printed[..2], &[(Measure::from(Metric::F2Oracle), 0.5)]].concat();
    assert_eq!(finding(id, PAPER, &[(dino, 0, &smaller[..])]).verdict, Verdict::Holds);
}

/// If one backbone is better in every case, the claim fails, whichever it is.
#[test]
fn a_backbone_that_is_always_better_is_one_whichever_it_is() {
    for (resnet, vit, wins) in [(0.6, 0.4, [25, 0]), (0.4, 0.6, [0, 25])] {
        let mut world = World::new();
        for method in [Supervised, Byol, BarlowTwins, Dino, SimClr] {
            for share in Share::STUDY {
                world.f1(Axes::table_1(method, ResNet18, share).in_training(), resnet);
                world.f1(Axes::table_1(method, ViTTiny, share).in_training(), vit);
            }
        }
        let claim = all().into_iter().find(|claim| claim.id == "no_backbone_is_always_better").unwrap();
        let found = claim.judge(&Evidence::measured("world", &world.0.frame()));
        let [first, second] = wins;
        let line = format!("of 25 pairs, ResNet-18 is significantly higher in {first}, ViT-Tiny in {second}");
        assert_eq!((found.verdict, found.evidence), (Verdict::Fails, vec![line]));
    }
    let nothing = finding("no_backbone_is_always_better", "ours", &[]);
    assert_eq!(nothing.verdict, Verdict::Undecided);
    assert_eq!(nothing.evidence, ["of 0 pairs, ResNet-18 is significantly higher in 0, ViT-Tiny in 0"]);
}

/// Ranks that are all equal have no variance for methods to make.
#[test]
fn equal_ranks_are_nobodys_making() {
    let numbers = [(Measure::from(Metric::F1), 0.5), (Measure::RANKME_RELEASED, 20.0)];
    let cells = [Byol, Dino, SimClr]
        .into_iter()
        .flat_map(|method| backbone::Name::STUDY.map(|backbone| cell(method, backbone).in_training()));
    let rows: Vec<Row> = cells.map(|at| (at, 0, &numbers[..])).collect();
    let found = finding("rankme_differs_by_method", "ours", &rows);
    assert_eq!(found.verdict, Verdict::Undecided);
    assert_eq!(found.evidence, ["method makes 0 % of RankMe's variance, p 1.000"]);
}
