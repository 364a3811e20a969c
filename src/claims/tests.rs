//! Simulated records in which a claim is true, or its opposite is. For claims about numbers that the paper does not
//! print, this is the only check of the direction of their comparisons.

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

/// The border of the region, which belongs to it, is above everything else, and its inside below.
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

/// One pair of rates, 0.8 of defects found and 0.1 of normal images flagged, makes every score, or the hits of rare
/// defects are fewer.
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

/// Methods with different ranks, and methods without.
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
