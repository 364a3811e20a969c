//! Every number of the recipes that are taken from others' code and papers.

use super::*;
use crate::train::optimiser::Trust;

fn rule(rule: Rule) -> String {
    match rule {
        Rule::Sgd { momentum } => format!("SGD {momentum}"),
        Rule::AdamW { beta1, beta2, epsilon } => format!("AdamW {beta1} {beta2} {epsilon:e}"),
        Rule::Lars { momentum, trust: Trust::SumOfNorms { coefficient, clip } } => {
            format!("LARS {momentum} {coefficient} {}", if clip { "clipped" } else { "plain" })
        }
        Rule::Lars { momentum, trust: Trust::NormOfSum { coefficient } } => {
            format!("LARS {momentum} {coefficient} of the sum")
        }
    }
}

/// The optimisation of a recipe as two lines: the method's, and all else.
fn optimisation(recipe: &Recipe) -> [String; 2] {
    let Recipe { learning_rate, weight_decay, decayed, clip, warm_up_start, warm_up, .. } = recipe;
    [
        format!("{}, {learning_rate:e}, {weight_decay:e}, {decayed:?}, {clip:?}", rule(recipe.rule)),
        format!(
            "{warm_up_start:e} for {warm_up:.4}, probe {} {:e}, {}, {:?}",
            rule(recipe.probe_rule),
            recipe.probe_learning_rate,
            recipe.augmentation,
            recipe.sampling
        ),
    ]
}

const ADAMW: &str = "AdamW 0.9 0.999 1e-8";
const ADAMW_095: &str = "AdamW 0.9 0.95 1e-8";

/// Rule, rate and decay for a batch of 256, which weights decay, clipping; warm-up, probe and views.
#[test]
fn references_have_every_number_of_their_sources() {
    let solo = "LARS 0.9 0.02 clipped";
    let usual = "3e-5 for 0.0250";
    for (method, backbone, moves, warm_up) in [
        (Supervised, ResNet18, "SGD 0.9, 1e-1, 1e-4, Everything, None".to_owned(), usual),
        (Supervised, ViTTiny, format!("{ADAMW}, 5e-4, 1e-4, Everything, None"), usual),
        (SimClr, ResNet18, format!("{solo}, 3e-1, 1e-4, Weights, None"), usual),
        (SimClr, ViTTiny, format!("{solo}, 3e-1, 1e-4, Weights, None"), usual),
        (Byol, ResNet18, format!("{solo}, 5e-1, 1e-6, Weights, None"), usual),
        (Byol, ViTTiny, format!("{solo}, 5e-1, 1e-6, Weights, None"), usual),
        (BarlowTwins, ResNet18, format!("{solo}, 3e-1, 1e-4, Weights, None"), usual),
        (BarlowTwins, ViTTiny, format!("{ADAMW_095}, 5e-4, 5e-2, Weights, None"), usual),
        (Dino, ResNet18, format!("{solo}, 3e-1, 1e-6, Weights, None"), usual),
        (Dino, ViTTiny, format!("{ADAMW}, 5e-3, 1e-4, Everything, None"), "1e-5 for 0.0250"),
        (Mae, ViTTiny, format!("{ADAMW_095}, 1.5e-4, 5e-2, Weights, None"), "0e0 for 0.1000"),
        (SimSiam, ResNet18, "SGD 0.9, 5e-2, 1e-4, Everything, None".to_owned(), "5e-2 for 0.0000"),
        (SimSiam, ViTTiny, "SGD 0.9, 5e-2, 1e-4, Everything, None".to_owned(), "5e-2 for 0.0000"),
    ] {
        let recipe = Recipe::for_method(recipe::Name::Reference, method, backbone);
        let rest = format!("{warm_up}, probe {ADAMW} 1e-3, original, Each");
        assert_eq!(optimisation(&recipe), [moves, rest], "{method} {backbone}");
        assert_eq!(recipe.name, recipe::Name::Reference);
    }
}

/// The paper's authors' code, on either backbone; `SimSiam`, which it does not have, as its own paper says.
#[test]
fn released_recipes_have_every_number_of_the_authors_code() {
    let lars = "LARS 0.9 0.001 plain";
    for (method, moves, warm_up, probe) in [
        (Supervised, format!("{ADAMW}, 5e-4, 1e-4, Everything, None"), "3e-5 for 0.2222", ADAMW),
        (SimClr, format!("{lars}, 3e-1, 1e-6, Weights, None"), "1.5e-1 for 0.2222", lars),
        (Byol, format!("{lars}, 2e-1, 1.5e-6, Weights, None"), "1e-1 for 0.2222", lars),
        (BarlowTwins, format!("{lars}, 2e-1, 1.5e-6, Weights, None"), "1e-1 for 0.2222", lars),
        (Dino, format!("{ADAMW}, 5e-4, 1e-4, Everything, Some(1.0)"), "3e-5 for 0.2222", ADAMW),
        (Mae, format!("{ADAMW}, 1e-3, 5e-2, Everything, None"), "5e-4 for 0.2222", ADAMW),
        (SimSiam, "SGD 0.9, 5e-2, 1e-4, Everything, None".to_owned(), "5e-2 for 0.0000", ADAMW),
    ] {
        for backbone in [ResNet18, ViTTiny] {
            let recipe = Recipe::for_method(recipe::Name::AsReleased, method, backbone);
            let rest = format!("{warm_up}, probe {probe} 1e-3, paper, Each");
            assert_eq!(optimisation(&recipe), [moves.clone(), rest], "{method} {backbone}");
        }
    }
}

/// All constants of the methods' own, by the names that settings have.
#[test]
fn methods_have_every_constant_of_their_sources() {
    let dino = |start: f64, end: f64, warm_up: f64| {
        format!(
            "momentum.start={start:?} momentum.end={end:?} student_temperature=0.1 teacher_temperature.start=0.04 \
             teacher_temperature.end=0.07 teacher_temperature.warm_up={warm_up:?} centre_momentum=0.9 head_norm=false \
             frozen_epochs=1"
        )
    };
    let mae = "visible=0.25 normalise_pixels=true supervision=\"all\"".to_owned();
    let [released, reference] = [recipe::Name::AsReleased, recipe::Name::Reference];
    for (name, method, expected) in [
        (released, Supervised, "rarity=\"weight\"".to_owned()),
        (released, SimClr, "temperature=0.2".to_owned()),
        (released, Byol, "momentum.start=0.996 momentum.end=0.999".to_owned()),
        (released, BarlowTwins, "off_diagonal_weight=0.0051 scale=0.024".to_owned()),
        (released, Dino, dino(0.996, 0.999, 15.0 / 45.0)),
        (released, Mae, mae.clone()),
        (released, SimSiam, String::new()),
        (reference, Supervised, "rarity=\"weight\"".to_owned()),
        (reference, SimClr, "temperature=0.2".to_owned()),
        (reference, Byol, "momentum.start=0.99 momentum.end=1.0".to_owned()),
        (reference, BarlowTwins, "off_diagonal_weight=0.0051 scale=0.1".to_owned()),
        (reference, Dino, dino(0.9995, 1.0, 0.125)),
        (reference, Mae, mae),
        (reference, SimSiam, String::new()),
    ] {
        for backbone in [ResNet18, ViTTiny] {
            let recipe = Recipe::for_method(name, method, backbone);
            let settings = recipe.objective.settings();
            let (first, rest) = settings.split_first().unwrap();
            assert_eq!(*first, ("name", method.id().into()), "{name}");
            let told: Vec<String> = rest.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(told.join(" "), expected, "{name} {method} {backbone}");
            let heads = (method == Mae).then_some(12);
            assert_eq!(recipe.objective.attention_heads(), heads, "{name} {method}");
        }
    }
    // The constants that ablations change one detail of.
    for (name, warm_up) in [(released, 15.0 / 45.0), (reference, 0.125)] {
        assert_eq!(Recipe::distillation(name, ViTTiny).teacher_temperature.warm_up, warm_up);
        assert_eq!(Recipe::reconstruction(name, ViTTiny).encoder_heads, Some(12));
    }
}

/// Our recipe: rate, decay, views and constants of each pair; all else is the same for all.
#[test]
fn short_recipes_have_every_number_that_was_tuned() {
    let byol = |start: &str| format!("momentum.start={start} momentum.end=1.0");
    let dino = |start: &str, head_norm: bool| {
        format!(
            "{} student_temperature=0.1 teacher_temperature.start=0.04 teacher_temperature.end=0.04 \
             teacher_temperature.warm_up=0.0 centre_momentum=0.9 head_norm={head_norm} frozen_epochs=1",
            byol(start)
        )
    };
    let supervised = || "rarity=\"weight\"".to_owned();
    let twins = || "off_diagonal_weight=0.05 scale=0.024".to_owned();
    let mae = "visible=0.39 normalise_pixels=true supervision=\"all\"".to_owned();
    for (method, backbone, moves, views, constants) in [
        (Supervised, ResNet18, "7.1e-3, 4e-4", "flip", supervised()),
        (Supervised, ViTTiny, "4.9e-3, 5.8e-2", "flip", supervised()),
        (SimClr, ResNet18, "4e-3, 1e-2", "paper", "temperature=0.2".to_owned()),
        (SimClr, ViTTiny, "9e-4, 4.1e-2", "paper", "temperature=0.12".to_owned()),
        (Byol, ResNet18, "3e-3, 2.9e-2", "flip", byol("0.996")),
        (Byol, ViTTiny, "4e-3, 1e-2", "paper", byol("0.98")),
        (BarlowTwins, ResNet18, "4e-3, 1e-2", "paper", twins()),
        (BarlowTwins, ViTTiny, "4e-3, 1e-2", "paper", twins()),
        (Dino, ResNet18, "5.8e-3, 5.9e-3", "flip", dino("0.997", true)),
        (Dino, ViTTiny, "4e-3, 1e-2", "paper", dino("0.98", false)),
        (Mae, ViTTiny, "3.7e-3, 1.7e-3", "original", mae),
        (SimSiam, ResNet18, "4e-3, 1e-2", "paper", String::new()),
        (SimSiam, ViTTiny, "4e-3, 1e-2", "paper", String::new()),
    ] {
        let recipe = Recipe::for_method(recipe::Name::Short, method, backbone);
        let expected = [
            format!("{ADAMW}, {moves}, Weights, None"),
            format!("1e-5 for 0.1000, probe {ADAMW} 2e-2, {views}, Each"),
        ];
        assert_eq!(optimisation(&recipe), expected, "{method} {backbone}");
        let settings = recipe.objective.settings();
        let (first, rest) = settings.split_first().unwrap();
        assert_eq!(*first, ("name", method.id().into()), "{method} {backbone}");
        let told: Vec<String> = rest.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told.join(" "), constants, "{method} {backbone}");
        // As many heads as the encoder has.
        assert_eq!(recipe.objective.attention_heads(), None, "{method} {backbone}");
    }
}

/// Each number of a trial comes from a stream of its own: no two ranges are filled in the same order.
#[test]
fn numbers_of_a_trial_do_not_move_together() {
    let points: Vec<_> = (1..=300).map(|trial| search::point(SimClr, ResNet18, trial)).collect();
    let part = |range: search::Range, value: f64| (value / range.low).ln() / (range.high / range.low).ln();
    let constant = search::constant(SimClr).unwrap().range;
    let columns: [Vec<f64>; 4] = [
        points.iter().map(|point| part(search::LEARNING_RATE, point.learning_rate)).collect(),
        points.iter().map(|point| part(search::WEIGHT_DECAY, point.weight_decay)).collect(),
        points.iter().map(|point| part(constant, point.constant.unwrap())).collect(),
        points.iter().map(|point| f64::from(u8::from(point.augmentation == Augmentation::Paper))).collect(),
    ];
    for right in 1..columns.len() {
        for left in 0..right {
            let mean = |column: &[f64]| column.iter().sum::<f64>() / column.len() as f64;
            let (a, b) = (&columns[left], &columns[right]);
            let product = |a: &[f64], b: &[f64]| -> f64 {
                a.iter().zip(b).map(|(x, y)| (x - mean(a)) * (y - mean(b))).sum()
            };
            let correlation = product(a, b) / (product(a, a) * product(b, b)).sqrt();
            // Four standard errors of 300 independent draws.
            assert!(correlation.abs() < 4.0 / 300_f64.sqrt(), "{left} {right}: {correlation}");
        }
    }
    let views = [Augmentation::Paper, Augmentation::Original, Augmentation::Flip];
    for view in views {
        let count = points.iter().filter(|point| point.augmentation == view).count();
        assert!((70..=130).contains(&count), "{view}: {count} of 300");
    }
    // Trials of other pairs are others.
    let other = search::point(SimClr, ViTTiny, 1);
    assert_ne!(other.learning_rate, points[0].learning_rate);
    assert_ne!(search::point(Byol, ResNet18, 1).learning_rate, points[0].learning_rate);
}

/// `MobileNetV2` is only scored: it has the views of supervised training, like the other floors.
#[test]
fn a_network_that_is_not_trained_has_the_views_of_the_other_floors() {
    let mobile = crate::backbone::Name::MobileNetV2;
    let recipe = Recipe::for_method(recipe::Name::Short, Supervised, mobile);
    assert_eq!((recipe.learning_rate, recipe.weight_decay), (7.1e-3, 4.0e-4));
    assert_eq!(recipe.augmentation, Augmentation::Flip);
    let plan = Plan { recipe: recipe::Name::AsReleased, ..Plan::new(Scale::fixture()) };
    let cell = |method| Cell { study: Study::Table1, method, backbone: ViTTiny, share: HIGH, seed: 0 };
    let clip = |method| plan.settings(&cell(method), "elpv").values.get("optimisation.clip").cloned();
    assert_eq!(
        [clip(Dino), clip(SimClr)],
        [Some(1.0.into()), None],
        "where gradients are clipped, that is stated"
    );
}

/// MAE drops patches, which a convolutional network cannot, whichever study its cell belongs to.
#[test]
fn what_cannot_be_pretrained_cannot_be_trained_in_any_study() {
    let studies = [
        Study::Table1,
        Study::Extension,
        Study::SizeMatched,
        Study::FineTuned,
        Study::LabelBudget { defects: 5 },
        Study::Unseen { rank: 1 },
        Study::Tuning { trial: 3 },
    ];
    for study in studies {
        for method in crate::method::Name::ALL {
            for backbone in [ResNet18, ViTTiny] {
                let cell = Cell { study, method, backbone, share: HIGH, seed: 0 };
                let expected = method.undefined_on(backbone);
                assert_eq!(expected.is_some(), (method, backbone) == (Mae, ResNet18));
                assert_eq!(cell.undefined_reason(), expected, "{cell}");
            }
        }
    }
}

/// `--augmentation` replaces the views of recipes, but not those that a study is about.
#[test]
fn studies_of_views_keep_their_own() {
    use Augmentation::{Flip, Original, Paper};
    for given in [Original, Flip, Paper] {
        let plan = Plan { augmentation: Some(given), ..Plan::new(Scale::fixture()) };
        let of = |study| {
            let (method, backbone, share) = (Supervised, ResNet18, Share::NATURAL);
            plan.recipe(&Cell { study, method, backbone, share, seed: 0 }).augmentation
        };
        for study in [Study::Table1, Study::Extension, Study::FineTuned, Study::Remedy(Remedy::FocalLoss)] {
            assert_eq!(of(study), given, "{study:?}");
        }
        assert_eq!(of(Study::Table2 { side: 64 }), Augmentation::None);
        assert_eq!(of(Study::Figure3 { jitter: 100, crop: 80 }), Paper);
        for trial in 0..9 {
            let expected = search::point(Supervised, ResNet18, trial).augmentation;
            assert_eq!(of(Study::Tuning { trial }), expected, "{trial}");
        }
    }
}
