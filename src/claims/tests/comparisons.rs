//! Which comparisons each claim makes, and with which weights.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SHARES: [&str; 5] = ["1 %", "2 %", "5 %", "15 %", "45 %"];
const LEARNT: [&str; 4] = ["byol", "barlow_twins", "dino", "simclr"];

/// What a claim lacks if nothing was measured: all its comparisons.
fn asked(id: &str, yardstick: Yardstick) -> BTreeSet<String> {
    let claim = all().into_iter().find(|claim| claim.id == id).expect(id);
    let nothing = Evidence::measured("nothing", &FrameBuilder::default().frame());
    let found = claim.judge_by(&nothing, yardstick);
    let missing: BTreeSet<String> = found.missing.iter().cloned().collect();
    assert_eq!(
        (missing.len(), found.verdict),
        (found.missing.len(), Verdict::Undecided),
        "{id}: {missing:?}"
    );
    missing
}

/// Comparisons of pairs of arms at these shares.
fn pairs(measure: &str, pairs: &[(String, String)], shares: &[&str]) -> BTreeSet<String> {
    let at = |(first, second): &(String, String), share: &&str| {
        format!("{measure}: {first} at {share} minus {second} at {share}")
    };
    pairs.iter().flat_map(|pair| shares.iter().map(move |share| at(pair, share))).collect()
}

/// A method beside each of these others on a backbone.
fn beside(method: &str, others: &[&str], backbone: &str) -> Vec<(String, String)> {
    let on = |method: &str| format!("{method} on {backbone}");
    others.iter().filter(|other| **other != method).map(|other| (on(method), on(other))).collect()
}

fn set(texts: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    texts.into_iter().collect()
}

fn turned(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(first, second)| (second, first)).collect()
}

/// Every pair of arms at every share that the claim's sentence names, and no other, by both scores.
#[test]
fn every_pair_that_a_claim_names_is_compared() {
    let all_learnt = |backbone: &str| -> Vec<&str> {
        if backbone == "vit_tiny" { [&LEARNT[..], &["mae"]].concat() } else { LEARNT.to_vec() }
    };
    let supervised: Vec<(String, String)> = ["resnet18", "vit_tiny"]
        .iter()
        .flat_map(|backbone| beside("supervised", &all_learnt(backbone), backbone))
        .collect();
    assert_eq!(supervised.len(), 9);
    let best = |method: &str| beside(method, &LEARNT, "resnet18");
    let claims = [
        (
            "joint_embedding_beats_mae",
            turned(beside("mae", &["simclr", "barlow_twins"], "vit_tiny")),
            &SHARES[..],
        ),
        ("mae_weakest_everywhere", turned(beside("mae", &LEARNT, "vit_tiny")), &SHARES),
        ("simclr_best_from_5", best("simclr"), &SHARES[3..]),
        ("byol_best_at_1", best("byol"), &SHARES[..1]),
        ("barlow_twins_at_extreme_imbalance", best("barlow_twins"), &SHARES[..2]),
        ("supervised_beats_all", supervised, &SHARES),
    ];
    for (id, arms, shares) in claims {
        for (yardstick, measure) in
            [(Yardstick::Paper, "f1"), (Yardstick::Auroc, "auroc of the converged probe")]
        {
            assert_eq!(asked(id, yardstick), pairs(measure, &arms, shares), "{id} by {yardstick}");
        }
    }
    let oracle = pairs("f2_ciw_oracle", &best("byol"), &SHARES[..1]);
    assert_eq!(asked("byol_best_at_1_f2", Yardstick::Paper), oracle);
    for (yardstick, pair, plain) in
        [(Yardstick::Paper, "f1", "f1"), (Yardstick::Auroc, "auroc of the converged probe", "auroc")]
    {
        let mut dino = pairs(pair, &turned(beside("dino", &LEARNT, "resnet18")), &SHARES[..2]);
        dino.extend(
            SHARES[..2]
                .iter()
                .map(|share| format!("{plain} at {share}: DINO's gap on ResNet-18 minus on ViT-Tiny")),
        );
        assert_eq!(asked("dino_fails_on_resnet_only", yardstick), dino);
    }
}

/// The other comparisons: of gaps, of sides, of steps of the released code, of ranks, and of validation shares.
#[test]
fn every_other_comparison_is_made() {
    let paper = |id: &str| asked(id, Yardstick::Paper);
    for (yardstick, score) in [(Yardstick::Paper, "f1"), (Yardstick::Auroc, "auroc")] {
        let gap = |share: &&str| format!("{score}: gap of MAE at 45 % minus gap at {share}");
        assert_eq!(asked("mae_weakest_at_45", yardstick), set(SHARES[..4].iter().map(gap)));
        let sides = [(64, 128), (128, 224), (224, 384), (384, 512)];
        let steps = ["resnet18", "vit_tiny"].iter().flat_map(|backbone| {
            sides.map(|(small, large)| format!("{score}: {large} minus {small} on {backbone}"))
        });
        assert_eq!(asked("larger_images_score_higher", yardstick), set(steps));
        let heads = set([format!("{score}: dino on resnet18 dino_head_norm minus dino_plain_head")]);
        assert_eq!(asked("dino_head_norm", yardstick), heads);
    }
    let validation = ["supervised", "simclr"]
        .map(|method| format!("f1: {method} on resnet18 corrected minus augmented_validation"));
    assert_eq!(paper("validation_on_augmented_images"), set(validation));
    let probe = "f1: simclr on resnet18 corrected minus probe_as_released";
    assert_eq!(paper("probe_under_lars"), set([probe.to_owned()]));
    let step = "auroc of the converged probe: MAE without faults minus MAE as released";
    assert_eq!(paper("mae_step_costs"), set([step.to_owned()]));
    for (id, measure) in [
        ("resnet_has_higher_rankme", "monitor.rankme_released"),
        ("resnet_has_higher_rankme_normalised", "features.rankme_normalised"),
    ] {
        let by_method = LEARNT.iter().flat_map(|method| {
            SHARES.map(|share| format!("{measure}: {method} at {share}, ResNet-18 minus ViT-Tiny"))
        });
        assert_eq!(paper(id), set(by_method), "{id}");
    }
    assert_eq!(paper("f1_falls_with_imbalance"), set(["f1 at 45 % minus at 1 %".to_owned()]));
    for (id, measure) in [
        ("f2_stays_stable", "f2_ciw_oracle"),
        ("f2_stable_because_of_weighted_loss", "f2_ciw_multilabel"),
        ("recall_stays_strong", "recall"),
    ] {
        let moves = SHARES[..4].iter().map(|share| format!("{measure} at {share} minus at 45 %"));
        assert_eq!(paper(id), set(moves), "{id}");
    }
    let arms = [("supervised on resnet18".to_owned(), "simclr on resnet18".to_owned())];
    let gaps = pairs("f1 at 1 % minus at 45 %", &arms, &SHARES);
    assert_eq!(paper("supervised_gap_widens"), gaps);
}

/// F1 of every method on every backbone at every share, no two alike.
fn table() -> BTreeMap<(Name, backbone::Name, Share), f64> {
    let mut table = BTreeMap::new();
    let mut stream = Seed::root(8).stream();
    for method in Name::PAPER {
        for backbone in backbone::Name::STUDY {
            for share in Share::STUDY {
                table.insert((method, backbone, share), 0.5 + 0.1 * stream.normal());
            }
        }
    }
    table
}

/// The estimates in a finding, by what they are of.
fn estimates(id: &str, table: &BTreeMap<(Name, backbone::Name, Share), f64>) -> BTreeMap<String, f64> {
    let mut rows = FrameBuilder::default();
    for (&(method, backbone, share), f1) in table {
        rows.begin("x", Axes::table_1(method, backbone, share).in_training(), None);
        rows.number(Metric::F1, Some(*f1));
    }
    let claim = all().into_iter().find(|claim| claim.id == id).expect(id);
    let found = claim.judge(&Evidence::assumed("x", &rows.frame(), 0.01));
    let estimate = |line: &String| {
        let (what, number) = line.split(" [").next().unwrap().rsplit_once(": ").unwrap();
        (what.to_owned(), number.parse().unwrap())
    };
    found.evidence.iter().map(estimate).collect()
}

/// A gap is the mean of the others minus the method; one gap is compared with another.
#[test]
fn gaps_are_of_the_mean_of_all_others() {
    let table = table();
    let gap = |method: Name, others: &[Name], backbone: backbone::Name, share: Share| {
        let of = |method: Name| table[&(method, backbone, share)];
        others.iter().map(|other| of(*other)).sum::<f64>() / others.len() as f64 - of(method)
    };
    let near = |found: f64, expected: f64, what: &str| {
        assert!((found - expected).abs() < 0.000_51, "{what}: {found}, expected {expected}");
    };
    let found = estimates("mae_weakest_at_45", &table);
    assert_eq!(found.len(), 4);
    let mae = |share: Share| gap(Mae, &[Byol, BarlowTwins, Dino, SimClr], ViTTiny, share);
    for (share, name) in Share::STUDY.into_iter().zip(SHARES).take(4) {
        let what = format!("f1: gap of MAE at 45 % minus gap at {name}");
        near(found[&what], mae(MOST) - mae(share), &what);
    }
    let found = estimates("dino_fails_on_resnet_only", &table);
    assert_eq!(found.len(), 8);
    for (share, name) in Share::STUDY.into_iter().zip(SHARES).take(2) {
        let dino = |backbone| gap(Dino, &[Byol, BarlowTwins, SimClr], backbone, share);
        let what = format!("f1 at {name}: DINO's gap on ResNet-18 minus on ViT-Tiny");
        near(found[&what], dino(ResNet18) - dino(ViTTiny), &what);
        for (other, id) in [(Byol, "byol"), (BarlowTwins, "barlow_twins"), (SimClr, "simclr")] {
            let what = format!("f1: {id} on resnet18 at {name} minus dino on resnet18 at {name}");
            let expected = table[&(other, ResNet18, share)] - table[&(Dino, ResNet18, share)];
            near(found[&what], expected, &what);
        }
    }
}

/// By hand, from sums of effects: methods 0, 0.1 and 0.3 (SS 10 x 0.04667, two degrees), backbones 0 and 0.2 (SS 15 x
/// 0.02), shares 0 to 0.04 (SS 6 x 0.001). Per degree of freedom methods explain less than backbones; in all, more.
#[test]
fn methods_and_backbones_are_compared_by_their_mean_squares() {
    let mut rows = FrameBuilder::default();
    for (method, own) in [(Byol, 0.0), (BarlowTwins, 0.1), (SimClr, 0.3)] {
        for (backbone, ground) in [(ResNet18, 0.0), (ViTTiny, 0.2)] {
            for (place, share) in (0..).zip(Share::STUDY) {
                rows.begin("x", Axes::table_1(method, backbone, share).in_training(), None);
                rows.number(Metric::F1, Some(0.2 + own + ground + 0.01 * f64::from(place)));
            }
        }
    }
    let id = "method_matters_more_than_backbone_without_dino";
    let claim = all().into_iter().find(|claim| claim.id == id).unwrap();
    let found = claim.judge(&Evidence::assumed("x", &rows.frame(), 0.001));
    assert_eq!(
        found.evidence,
        [
            "of the variance of f1: method 60 %, backbone 39 %, training share 1 %, pairs of them 0 %",
            "mean squares: method minus backbone -0.067; above 0 in 0 % of draws of new seeds"
        ]
    );
    assert_eq!(found.verdict, Verdict::Fails);
}

/// One backbone is a little better in all cases, by less than one error: that is no evidence for either answer.
#[test]
fn a_backbone_that_may_be_better_decides_nothing() {
    for side in [0.03, -0.03] {
        let mut rows = FrameBuilder::default();
        for method in [Supervised, Byol, BarlowTwins, Dino, SimClr] {
            for share in Share::STUDY {
                for (backbone, f1) in [(ResNet18, 0.5 + side), (ViTTiny, 0.5)] {
                    rows.begin("x", Axes::table_1(method, backbone, share).in_training(), None);
                    rows.number(Metric::F1, Some(f1));
                }
            }
        }
        let claim = all().into_iter().find(|claim| claim.id == "no_backbone_is_always_better").unwrap();
        let found = claim.judge(&Evidence::assumed("x", &rows.frame(), 0.05));
        assert_eq!(found.verdict, Verdict::Undecided);
        assert_eq!(found.evidence, ["of 25 pairs, ResNet-18 is significantly higher in 0, ViT-Tiny in 0"]);
    }
}

/// Methods that were trained on one backbone only differ in rank there, whichever backbone it is.
#[test]
fn ranks_differ_by_method_on_either_backbone() {
    for backbone in backbone::Name::STUDY {
        let mut world = World::new();
        for (place, method) in (0..).zip([Byol, BarlowTwins, Dino, SimClr]) {
            for share in Share::STUDY {
                let at = Axes::table_1(method, backbone, share).in_training();
                let rank = 20.0 + 5.0 * f64::from(place);
                world.add(at, &[(Measure::RANKME_RELEASED, rank), (Metric::F1.into(), 0.5)]);
            }
        }
        assert_eq!(world.verdict("rankme_differs_by_method"), Verdict::Holds, "{backbone}");
    }
}

/// The knee must lie at 224 pixels on both backbones; the finding states both.
#[test]
fn each_backbone_has_its_own_knee() {
    let at_224 = [0.5, 0.6, 0.9, 0.91, 0.92];
    let at_128 = [0.5, 0.9, 0.91, 0.92, 0.93];
    for (resnet, vit, holds) in [(at_224, at_224, true), (at_224, at_128, false), (at_128, at_224, false)] {
        let mut world = World::new();
        for (backbone, f1) in [(ResNet18, resnet), (ViTTiny, vit)] {
            for ((side, f1), seconds) in Study::SIDES.into_iter().zip(f1).zip([10.0, 20.0, 30.0, 60.0, 100.0])
            {
                let numbers = [(Metric::F1.into(), f1), (Measure::EPOCH_SECONDS, seconds)];
                world.add(natural(Study::Table2 { side }, backbone), &numbers);
            }
        }
        let claim = all().into_iter().find(|claim| claim.id == "best_trade_at_224").unwrap();
        let found = claim.judge(&Evidence::measured("world", &world.0.frame()));
        let expected = if holds { Verdict::Holds } else { Verdict::Fails };
        assert_eq!(found.verdict, expected);
        let place = |f1: [f64; 5]| if f1 == at_224 { "224 px 100 %" } else { "128 px 100 %" };
        for (line, (name, f1)) in found.evidence.iter().zip([("resnet18", resnet), ("vit_tiny", vit)]) {
            assert!(
                line.starts_with(&format!("{name}: the knee lies at ")) && line.contains(place(f1)),
                "{line}"
            );
        }
        assert_eq!(found.evidence.len(), 2);
    }
}

/// The verdict on backbones, and in how many of 25 pairs each is significantly higher; ResNet-18 is above ViT-Tiny by
/// so many errors.
fn backbones_apart(errors: impl Fn(usize) -> f64) -> (Verdict, String) {
    let mut rows = FrameBuilder::default();
    let methods = [Supervised, Byol, BarlowTwins, Dino, SimClr].into_iter();
    let pairs = methods.flat_map(|method| Share::STUDY.map(|share| (method, share)));
    for (place, (method, share)) in pairs.enumerate() {
        for (backbone, f1) in [(ResNet18, 0.5 + errors(place) * 0.01 * 2_f64.sqrt()), (ViTTiny, 0.5)] {
            rows.begin("x", Axes::table_1(method, backbone, share).in_training(), None);
            rows.number(Metric::F1, Some(f1));
        }
    }
    let claim = all().into_iter().find(|claim| claim.id == "no_backbone_is_always_better").unwrap();
    let found = claim.judge(&Evidence::assumed("x", &rows.frame(), 0.01));
    let numbers = found.evidence[0].strip_prefix("of 25 pairs, ResNet-18 is significantly higher in ");
    (found.verdict, numbers.unwrap().to_owned())
}

/// Wins are counted after Holm's correction: of 25 pairs the first needs 3.09 errors (2.5 % / 25), the next 3.08. That
/// one backbone is better in all pairs needs no correction: 1.96 errors in each.
#[test]
fn a_backbone_must_win_after_the_correction() {
    use Verdict::{Fails, Holds, Undecided};
    let few = |errors: &'static [f64]| backbones_apart(|place| errors.get(place).copied().unwrap_or(0.0));
    for (errors, verdict, wins) in [
        (&[2.3, 0.0, -2.5][..], Undecided, "0, ViT-Tiny in 0"),
        (&[0.0, 3.085], Undecided, "0, ViT-Tiny in 0"),
        (&[0.0, -3.2], Undecided, "0, ViT-Tiny in 1"),
        (&[3.085, 0.0, 3.2], Undecided, "2, ViT-Tiny in 0"),
        (&[-3.2, 3.2, 2.5], Holds, "1, ViT-Tiny in 1"),
        (&[-3.2, 3.2, -3.085], Holds, "1, ViT-Tiny in 2"),
    ] {
        assert_eq!(few(errors), (verdict, wins.to_owned()), "{errors:?}");
    }
    let none = "0, ViT-Tiny in 0".to_owned();
    assert_eq!(backbones_apart(|_| 2.3), (Fails, none.clone()));
    assert_eq!(backbones_apart(|_| -2.3), (Fails, none.clone()));
    assert_eq!(backbones_apart(|place| if place == 17 { 1.5 } else { 2.3 }), (Undecided, none));
}

/// Two methods with two models each on one backbone, whose ranks they explain; a third on the other. Two of the six
/// ways to give these four models their names explain as much, so p is a third. Names of the other backbone are not
/// among them: with those, hardly any way would.
#[test]
fn names_of_methods_are_shuffled_on_their_own_backbone() {
    let mut rows = FrameBuilder::default();
    for (method, backbone, seeds, rank) in
        [(Byol, ResNet18, 2, 10.0), (SimClr, ResNet18, 2, 20.0), (Dino, ViTTiny, 12, 15.0)]
    {
        for seed in 0..seeds {
            rows.begin("x", cell(method, backbone).in_training(), Some(seed));
            rows.number(Metric::F1, Some(0.5));
            rows.number(Measure::RANKME_RELEASED, Some(rank));
        }
    }
    let claim = all().into_iter().find(|claim| claim.id == "rankme_differs_by_method").unwrap();
    let found = claim.judge(&Evidence::measured("x", &rows.frame()));
    let (what, p) = found.evidence[0].rsplit_once(' ').unwrap();
    assert_eq!((what, found.verdict), ("method makes 100 % of RankMe's variance, p", Verdict::Undecided));
    // Four standard errors of 500 shuffles.
    assert!((p.parse::<f64>().unwrap() - 1.0 / 3.0).abs() < 0.085, "{p}");
}

/// Means are redrawn with their own seeds. By hand, of methods 0, 0.03 and 0.06 and backbones 0 and 0.02, with a known
/// deviation of 0.05: mean squares of 0.009 and 0.003. A single seed adds chance of about their size, a hundred seeds a
/// tenth of it.
#[test]
fn more_seeds_make_surer_what_matters_more() {
    let id = "method_matters_more_than_backbone_without_dino";
    let claim = all().into_iter().find(|claim| claim.id == id).unwrap();
    for (seeds, verdict) in [(1, Verdict::Undecided), (100, Verdict::Holds)] {
        let mut rows = FrameBuilder::default();
        for (method, own) in [(Byol, 0.0), (BarlowTwins, 0.03), (SimClr, 0.06)] {
            for (backbone, ground) in [(ResNet18, 0.02), (ViTTiny, 0.0)] {
                for (share, seed) in
                    Share::STUDY.into_iter().flat_map(|at| (0..seeds).map(move |seed| (at, seed)))
                {
                    rows.begin("x", Axes::table_1(method, backbone, share).in_training(), Some(seed));
                    rows.number(Metric::F1, Some(0.5 + own + ground));
                }
            }
        }
        let found = claim.judge(&Evidence::assumed("x", &rows.frame(), 0.05));
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert!(found.evidence[1].starts_with("mean squares: method minus backbone 0.006; "), "{found:?}");
    }
}
