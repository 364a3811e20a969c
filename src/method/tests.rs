//! Checks what all methods have in common, and how they describe themselves.

use std::collections::BTreeSet;

use checks::{distance, normal};
use serde_json::json;

use super::{
    barlow_twins::Decorrelation,
    byol::Bootstrap,
    dino::{Distillation, TeacherTemperature},
    mae::{Reconstruction, Supervision},
    simclr::Contrast,
    simsiam::StopGradient,
    supervised::{Classification, RarityHandling, Supervised},
    teacher::Momentum,
    untrained::Untrained,
    *,
};
use crate::{
    backbone::{
        Role, Stem, VitSize,
        heads::{DecoderSize, Layers, Perceptron, PrototypeHead},
    },
    loss::{distillation::dino, regression::cosine_distance},
};

const MOMENTUM: Momentum = Momentum { start: 0.75, end: 0.875 };
const AT: Position = Position { step: 3, steps: 8, epoch: 1, epochs: 4 };
const IMAGES: usize = 3;

const DINO: Distillation = Distillation {
    momentum: MOMENTUM,
    student_temperature: 0.125,
    teacher_temperature: TeacherTemperature { start: 0.25, end: 0.5, warm_up: 0.0625 },
    centre_momentum: 0.9,
    head_norm: false,
    frozen_epochs: 2,
};
const MAE: Reconstruction = Reconstruction {
    visible: 0.5,
    normalise_pixels: true,
    encoder_heads: Some(6),
    supervision: Supervision::All,
};

fn objectives() -> [(Name, Box<dyn Objective>); 7] {
    [
        (Name::Supervised, Box::new(Classification::default())),
        (Name::Byol, Box::new(Bootstrap { momentum: MOMENTUM })),
        (Name::BarlowTwins, Box::new(Decorrelation { off_diagonal_weight: 0.005, scale: 0.1 })),
        (Name::Dino, Box::new(DINO)),
        (Name::Mae, Box::new(MAE)),
        (Name::SimClr, Box::new(Contrast { temperature: 0.2 })),
        (Name::SimSiam, Box::new(StopGradient)),
    ]
}

/// A transformer of 12 features and heads of 4 outputs.
fn foundation(name: backbone::Name) -> Foundation<'static> {
    let vit = VitSize { patch: 8, width: 12, depth: 1, heads: 3 };
    Foundation {
        architecture: Architecture { name, side: 16, resnet_width: 4, resnet_stem: Stem::Small, vit },
        heads: Heads {
            hidden: 8,
            output: 4,
            prototypes: 6,
            decoder: DecoderSize { width: 8, depth: 1, heads: 2 },
        },
        defect_weight: 3.0,
        seed: Some(Seed::root(3)),
        dtype: DType::F64,
        device: &Device::Cpu,
    }
}

fn batch(views: usize) -> Batch {
    Batch {
        images: normal("images", &[views * IMAGES, 16, 16, 3], DType::F64).unwrap().as_detached_tensor(),
        labels: Tensor::new(&[0_f32, 1.0, 0.0], &Device::Cpu).unwrap(),
        views,
        indices: (0..IMAGES).collect(),
        skipped: Vec::new(),
    }
}

fn build(objective: &dyn Objective) -> Box<dyn Method> {
    objective.build(&foundation(backbone::Name::ViTTiny)).unwrap()
}

#[test]
fn names_are_those_of_the_paper() {
    use backbone::Name::{MobileNetV2, ResNet18, ViTTiny};
    let expected = [
        ("supervised", "Supervised", true),
        ("byol", "BYOL", true),
        ("barlow_twins", "Barlow Twins", true),
        ("dino", "DINO", true),
        ("mae", "MAE", true),
        ("simclr", "SimCLR", true),
        ("simsiam", "SimSiam", false),
    ];
    assert_eq!(Name::ALL.map(|name| (name.id(), name.label(), name.is_from_paper())), expected);
    assert_eq!(Name::PAPER, Name::ALL[..6]);
    assert_eq!(Name::SELF_SUPERVISED, Name::ALL[1..6]);
    for name in Name::ALL {
        assert_eq!(name.is_supervised(), name.id() == "supervised");
        assert_eq!(name.undefined_on(ResNet18).is_some(), name == Name::Mae, "{name}");
        assert!(name.undefined_on(ViTTiny).is_none() && name.undefined_on(MobileNetV2).is_none(), "{name}");
    }
}

/// Colours of Okabe and Ito; no two methods look alike.
#[test]
fn methods_can_be_told_apart_in_figures() {
    let palette = [Name::Byol, Name::BarlowTwins, Name::Dino, Name::Mae].map(Name::colour);
    assert_eq!(palette, ["#0072b2", "#d55e00", "#009e73", "#cc79a7"], "blue, vermilion, green, purple");
    for of in [Name::colour, Name::marker, Name::label] {
        let different: BTreeSet<&str> = Name::ALL.into_iter().map(of).collect();
        assert_eq!(different.len(), Name::ALL.len(), "{different:?}");
    }
    assert!(Name::ALL.iter().all(|name| name.colour().starts_with('#') && name.marker().starts_with('M')));
}

#[test]
fn constants_are_stated_under_their_names() {
    let settings: Vec<Value> = objectives()
        .iter()
        .map(|(_, objective)| {
            objective.settings().into_iter().map(|(name, value)| json!([name, value])).collect()
        })
        .collect();
    let expected = json!([
        [["name", "supervised"], ["rarity", "weight"]],
        [["name", "byol"], ["momentum.start", 0.75], ["momentum.end", 0.875]],
        [["name", "barlow_twins"], ["off_diagonal_weight", 0.005], ["scale", 0.1]],
        [
            ["name", "dino"],
            ["momentum.start", 0.75],
            ["momentum.end", 0.875],
            ["student_temperature", 0.125],
            ["teacher_temperature.start", 0.25],
            ["teacher_temperature.end", 0.5],
            ["teacher_temperature.warm_up", 0.0625],
            ["centre_momentum", 0.9],
            ["head_norm", false],
            ["frozen_epochs", 2]
        ],
        [["name", "mae"], ["visible", 0.5], ["normalise_pixels", true], ["supervision", "all"]],
        [["name", "simclr"], ["temperature", 0.2]],
        [["name", "simsiam"]]
    ]);
    assert_eq!(Value::from(settings), expected);
    let stated = |objective: &dyn Objective, at: usize| objective.settings().swap_remove(at).1;
    for (supervision, name, views) in [
        (Supervision::All, "all", 1),
        (Supervision::TwoPredictions, "two_predictions", 1),
        (Supervision::CrossedViews, "crossed_views", 2),
        (Supervision::AsReleased, "as_released", 2),
    ] {
        let objective = Reconstruction { supervision, ..MAE };
        assert_eq!((stated(&objective, 3), objective.views()), (json!(name), views));
    }
    for (rarity, name) in [
        (RarityHandling::Nothing, "nothing"),
        (RarityHandling::FOCAL, "focal_loss"),
        (RarityHandling::LogitAdjustment, "logit_adjustment"),
    ] {
        assert_eq!(stated(&Classification { rarity }, 1), json!(name));
    }
    let focal = Classification { rarity: RarityHandling::FOCAL }.settings();
    assert_eq!(focal[2..], [("rarity.of_defects", json!(0.25)), ("rarity.focus", json!(2.0))]);
}

#[test]
fn every_step_gives_what_its_method_compares() {
    for (name, objective) in objectives() {
        let (method, views) = (build(&*objective), objective.views());
        let compares = !matches!(name, Name::Supervised | Name::Mae);
        let (parts, teaches): (&[&str], bool) = match name {
            Name::BarlowTwins => (&["on_diagonal", "off_diagonal"], false),
            Name::Dino => (&["teacher_entropy", "divergence"], true),
            Name::Byol => (&[], true),
            _ => (&[], false),
        };
        assert_eq!(views, if compares { 2 } else { 1 }, "{name}");
        assert_eq!(objective.attention_heads(), (name == Name::Mae).then_some(6), "{name}");
        let step = method.step(&batch(views), AT).unwrap();
        assert!(step.loss.to_scalar::<f64>().unwrap().is_finite(), "{name}");
        assert_eq!(step.features.dims(), [views * IMAGES, 12], "{name}");
        let embeddings = step.embeddings.as_ref().map(|rows| rows.dims().to_vec());
        assert_eq!(embeddings, compares.then_some(vec![views * IMAGES, 4]), "{name}");
        assert_eq!(step.parts.iter().map(|part| part.0).collect::<Vec<_>>(), parts, "{name}");
        assert_eq!((method.teacher().is_some(), method.encoder().width()), (teaches, 12), "{name}");
        let logits = method.classify(&step.features).map(|logits| logits.unwrap().dims().to_vec());
        assert_eq!(logits, (name == Name::Supervised).then_some(vec![IMAGES]), "{name}");
        let frozen = method.parameters().all().iter().filter(|variable| method.is_frozen(&variable.name, AT));
        assert_eq!(frozen.count(), usize::from(name == Name::Dino), "{name}: in the second epoch of four");
    }
}

/// Embeddings in evaluation, which are monitored after each epoch: each row depends on its own features only.
#[test]
fn embeddings_in_evaluation_are_of_each_row() {
    let features = normal("features", &[5, 12], DType::F64).unwrap().as_detached_tensor();
    for (name, objective) in objectives() {
        let method = build(&*objective);
        let Some(all) = method.embed(&features) else {
            assert!(matches!(name, Name::Supervised | Name::Mae), "{name}");
            continue;
        };
        let (all, one) = (all.unwrap(), features.narrow(0, 2, 1).unwrap());
        assert_eq!(all.dims(), [5, 4], "{name}");
        let alone = method.embed(&one).unwrap().unwrap();
        assert!(distance(&alone, &all.narrow(0, 2, 1).unwrap()).unwrap() < 1e-12, "{name}");
        // Predictors and prototypes come after the embeddings, which therefore do not depend on them.
        let behind = |name: &str| name.contains("predictor") || name.contains("last_layer");
        for parameter in method.parameters().all().iter().filter(|parameter| behind(&parameter.name)) {
            parameter.variable.set(&parameter.variable.zeros_like().unwrap()).unwrap();
        }
        assert_eq!(distance(&method.embed(&features).unwrap().unwrap(), &all).unwrap(), 0.0, "{name}");
        if matches!(name, Name::SimClr | Name::Dino) {
            // Without normalisation, training and evaluation are the same.
            let method = build(&*objective);
            let step = method.step(&batch(2), AT).unwrap();
            let embedded = method.embed(&step.features).unwrap().unwrap();
            assert!(distance(&embedded, &step.embeddings.unwrap()).unwrap() < 1e-12, "{name}");
        }
    }
}

#[test]
fn another_number_of_views_is_refused() {
    for (name, objective) in objectives().into_iter().filter(|(name, _)| *name != Name::Supervised) {
        let (expected, found) = (objective.views(), 3 - objective.views());
        let error = build(&*objective).step(&batch(found), AT).err().unwrap().to_string();
        let expected = format!("{name}: expected {expected} views of an image, found {found}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

/// Supervised training takes any number of views, whose losses it averages.
#[test]
fn views_of_labelled_images_are_averaged() {
    let method = build(&Classification::default());
    let loss = |batch: &Batch| method.step(batch, AT).unwrap().loss.to_scalar::<f64>().unwrap();
    let both = batch(2);
    let of_view = |view: usize| {
        let images = both.images.narrow(0, view * IMAGES, IMAGES).unwrap();
        loss(&Batch { images, ..batch(1) })
    };
    let views = [of_view(0), of_view(1)];
    assert!((views[0] - views[1]).abs() > 1e-6, "{views:?}");
    assert!((loss(&both) - (views[0] + views[1]) / 2.0).abs() < 1e-12, "{views:?}");
}

#[test]
fn a_pair_that_is_not_defined_is_not_built() {
    let error = MAE.build(&foundation(backbone::Name::ResNet18)).err().unwrap().to_string();
    assert!(error.starts_with("mae on resnet18: not defined: MAE drops patches"), "{error}");
}

/// The random-weights floor has the initial weights of supervised training with the same seed.
#[test]
fn untrained_weights_are_those_that_training_begins_with() {
    let values = |parameters: &Parameters| -> Vec<(String, Vec<f64>)> {
        let of = |parameter: &backbone::Parameter| {
            (parameter.name.clone(), parameter.variable.flatten_all().unwrap().to_vec1().unwrap())
        };
        parameters.all().iter().map(of).collect()
    };
    for name in backbone::Name::STUDY {
        let on = foundation(name);
        let (untrained, supervised) =
            (Untrained::weights(&on).unwrap(), Supervised::new(&on, RarityHandling::default()).unwrap());
        assert_eq!(values(untrained.parameters()), values(&supervised.parameters().encoder()), "{name}");
        let error = untrained.step(&batch(1), AT).err().unwrap().to_string();
        assert!(error.starts_with("an untrained encoder has no training step"), "{error}");
        assert_eq!(untrained.encoder().width(), supervised.encoder().width());
    }
    let pixels = Untrained::pixels();
    assert_eq!((pixels.encoder().width(), pixels.parameters().all().len()), (192, 0));
    assert!(pixels.embed(&batch(1).images).is_none() && pixels.classify(&batch(1).images).is_none());
}

/// Names and numbers of a method's variables, and of its teacher's.
fn variables(method: &dyn Method) -> Vec<(String, Role, Vec<f64>)> {
    let of = |variable: &backbone::Parameter| {
        let numbers = variable.variable.flatten_all().unwrap().to_vec1().unwrap();
        (variable.name.clone(), variable.kind, numbers)
    };
    let teacher = method.teacher().map(Parameters::all).unwrap_or_default();
    method.parameters().all().iter().chain(teacher).map(of).collect()
}

/// Whatever is drawn depends on the seed, and is 0 without one; all else is a constant.
#[test]
fn every_variable_is_drawn_by_the_seed_or_constant() {
    for backbone in backbone::Name::STUDY {
        for (name, objective) in objectives() {
            if name.undefined_on(backbone).is_some() {
                continue;
            }
            let with = |seed: Option<u64>| {
                let on = Foundation { seed: seed.map(Seed::root), ..foundation(backbone) };
                variables(&*objective.build(&on).unwrap())
            };
            let (all, again, other, without) = (with(Some(3)), with(Some(3)), with(Some(4)), with(None));
            assert_eq!(all, again, "{name}");
            for ((one, two), none) in all.iter().zip(&other).zip(&without) {
                let all_are = |value: f64| one.2.iter().all(|number| *number == value);
                let fixed = all_are(0.0) || all_are(1.0) || one.1 == Role::Buffer;
                assert_eq!(one.2 == two.2, fixed, "{name} on {backbone}: {}", one.0);
                let expected = if fixed { one.2.clone() } else { vec![0.0; one.2.len()] };
                assert_eq!(none.2, expected, "{name} on {backbone}: {}", one.0);
            }
        }
    }
}

/// Sizes of the matrices of all heads, for 12 features, 8 hidden numbers, 4 outputs and 6 prototypes; MAE's patches have
/// 8 x 8 pixels.
#[test]
fn heads_have_the_sizes_of_their_layers() {
    let matrices = |objective: &dyn Objective| -> Vec<String> {
        let method = build(objective);
        let heads = method.parameters().all().iter().filter(|variable| variable.name.starts_with("head."));
        let of = |variable: &backbone::Parameter| match variable.variable.dims() {
            &[rows, columns] => Some(format!("{} {rows} x {columns}", &variable.name["head.".len()..])),
            _ => None,
        };
        heads.filter_map(of).collect()
    };
    let expected: [&[&str]; 7] = [
        &["weight 1 x 12"],
        &[
            "projector.0.weight 8 x 12",
            "projector.3.weight 4 x 8",
            "predictor.0.weight 8 x 4",
            "predictor.3.weight 4 x 8",
        ],
        &["projector.0.weight 8 x 12", "projector.3.weight 8 x 8", "projector.6.weight 4 x 8"],
        &[
            "mlp.0.weight 8 x 12",
            "mlp.2.weight 8 x 8",
            "mlp.4.weight 4 x 8",
            "last_layer.weight_v 6 x 4",
            "centre 1 x 6",
        ],
        &[
            "decoder_embed.weight 8 x 12",
            "decoder_blocks.0.attn.qkv.weight 24 x 8",
            "decoder_blocks.0.attn.proj.weight 8 x 8",
            "decoder_blocks.0.mlp.fc1.weight 32 x 8",
            "decoder_blocks.0.mlp.fc2.weight 8 x 32",
            "decoder_pred.weight 192 x 8",
        ],
        &["projector.0.weight 8 x 12", "projector.2.weight 4 x 8"],
        &[
            "projector.0.weight 8 x 12",
            "projector.3.weight 8 x 8",
            "projector.6.weight 4 x 8",
            "predictor.0.weight 1 x 4",
            "predictor.3.weight 4 x 1",
        ],
    ];
    for ((name, objective), expected) in objectives().iter().zip(expected) {
        assert_eq!(matrices(&**objective), expected, "{name}");
    }
}

/// The constants reach the losses: Barlow Twins' is scaled, SimCLR's has the temperature.
#[test]
fn losses_have_their_constants() {
    let number = |tensor: &Tensor| tensor.to_scalar::<f64>().unwrap();
    let twins = |off_diagonal_weight: f64, scale: f64| {
        let step = build(&Decorrelation { off_diagonal_weight, scale }).step(&batch(2), AT).unwrap();
        (number(&step.loss), [number(&step.parts[0].1), number(&step.parts[1].1)])
    };
    let (plain, [on, off]) = twins(0.005, 1.0);
    assert!((plain - (on + off)).abs() < 1e-12 * plain, "{plain} is not {on} and {off}");
    let (scaled, parts) = twins(0.02, 0.25);
    assert!(
        (parts[0] - on).abs() < 1e-12 * on && (parts[1] - 4.0 * off).abs() < 1e-12,
        "{parts:?}, {on}, {off}"
    );
    assert!((scaled - 0.25 * (on + 4.0 * off)).abs() < 1e-12, "{scaled}");
    for temperature in [0.05, 0.2, 0.7] {
        let step = build(&Contrast { temperature }).step(&batch(2), AT).unwrap();
        let embeddings = step.embeddings.unwrap();
        let views = [0, 1].map(|view| embeddings.narrow(0, view * IMAGES, IMAGES).unwrap());
        let expected = crate::loss::contrastive::nt_xent(&views[0], &views[1], temperature).unwrap();
        assert_eq!(number(&step.loss), number(&expected), "{temperature}");
    }
}

/// DINO's centre follows what the teacher says, whatever the student says.
#[test]
fn the_centre_is_of_the_teacher() {
    let centre_after = |spoil: bool| -> Vec<f64> {
        let method = build(&DINO);
        let variable = |name: &str| &method.parameters().get(name).unwrap().variable;
        if spoil {
            let directions = variable("head.last_layer.weight_v");
            directions.set(&normal("directions", directions.dims(), DType::F64).unwrap()).unwrap();
        }
        method.step(&batch(2), AT).unwrap();
        variable("head.centre").flatten_all().unwrap().to_vec1().unwrap()
    };
    let (expected, found) = (centre_after(false), centre_after(true));
    assert_eq!(found, expected);
    // A tenth of a mean of cosines.
    assert!(found.iter().all(|number| *number != 0.0 && number.abs() < 0.1), "{found:?}");
}

/// The loss depends on every matrix, kernel and token of a student, and of its teacher.
#[test]
fn every_weight_matters_to_the_loss() {
    for backbone in backbone::Name::STUDY {
        for (name, objective) in objectives() {
            if name.undefined_on(backbone).is_some() {
                continue;
            }
            // The place of the weight that is drawn anew, if there are so many.
            let loss = |changed: Option<usize>| -> Option<(String, f64)> {
                let method = objective.build(&foundation(backbone)).unwrap();
                let teacher = method.teacher().map(Parameters::all).unwrap_or_default();
                let all = method.parameters().all().iter().chain(teacher);
                let mut weights = all.filter(|parameter| parameter.kind == Role::Weight);
                let mut told = String::new();
                if let Some(place) = changed {
                    let backbone::Parameter { name, variable, .. } = weights.nth(place)?;
                    variable.set(&normal("other weights", variable.dims(), DType::F64).unwrap()).unwrap();
                    told = name.clone();
                }
                let step = method.step(&batch(objective.views()), AT).unwrap();
                Some((told, step.loss.to_scalar().unwrap()))
            };
            let (_, before) = loss(None).unwrap();
            let mut count = 0;
            while let Some((variable, after)) = loss(Some(count)) {
                let moved = (after - before).abs();
                assert!(
                    moved > 1e-9,
                    "{name} on {backbone}: variable {count}, {variable}, moves it by {moved}"
                );
                count += 1;
            }
            assert!(count > 5, "{name} on {backbone}: {count} weights");
        }
    }
}

/// What is not of rank 1 is a weight, which decays; biases, scales and shifts are not.
#[test]
fn matrices_kernels_and_tokens_are_weights() {
    for backbone in backbone::Name::STUDY {
        for (name, objective) in objectives() {
            if name.undefined_on(backbone).is_some() {
                continue;
            }
            let method = objective.build(&foundation(backbone)).unwrap();
            for backbone::Parameter { name: variable, kind, variable: numbers, .. } in
                method.parameters().trainable()
            {
                let is_bias = variable.ends_with(".bias");
                let told = format!("{name} on {backbone}: {variable} is {kind:?}");
                assert_eq!(*kind == Role::Weight, numbers.rank() > 1, "{told}");
                assert!(is_bias || *kind != Role::Bias, "{told}");
            }
        }
    }
}

/// A teacher takes as much of the student as its momentum says at the step, whichever method it teaches.
#[test]
fn teachers_have_the_momentum_of_their_method() {
    let objectives: [Box<dyn Objective>; 2] = [Box::new(Bootstrap { momentum: MOMENTUM }), Box::new(DINO)];
    for objective in objectives {
        let method = build(&*objective);
        let teacher = method.teacher().unwrap();
        let numbers = |variable: &backbone::Parameter| -> Vec<f64> {
            variable.variable.flatten_all().unwrap().to_vec1().unwrap()
        };
        let before: Vec<Vec<f64>> = teacher.all().iter().map(numbers).collect();
        for student in method.parameters().trainable() {
            student.variable.set(&(student.variable.as_tensor() + 1.0).unwrap()).unwrap();
        }
        // Half of the steps: halfway from 0.75 to 0.875.
        method.after_step(Position { step: 4, ..AT }).unwrap();
        assert!(before.len() > 10, "{}", before.len());
        for (variable, before) in teacher.all().iter().zip(before) {
            let moved = if variable.kind == Role::Buffer { 0.0 } else { 1.0 - 0.8125 };
            for (now, before) in numbers(variable).iter().zip(before) {
                assert!((now - before - moved).abs() < 1e-12, "{}: {before} to {now}", variable.name);
            }
        }
    }
}

/// Each of DINO's constants reaches the loss or the centre.
#[test]
fn dino_computes_with_its_constants() {
    let run = |constants: Distillation, epoch: usize| -> (f64, Vec<f64>) {
        let method = build(&constants);
        let step = method.step(&batch(2), Position { epoch, ..AT }).unwrap();
        let centre = &method.parameters().get("head.centre").unwrap().variable;
        (step.loss.to_scalar().unwrap(), centre.flatten_all().unwrap().to_vec1().unwrap())
    };
    let teacher_temperature = TeacherTemperature { start: 0.25, end: 0.5, warm_up: 0.75 };
    let rising = Distillation { teacher_temperature, ..DINO };
    let mut losses = Vec::new();
    // Three of four epochs.
    for (epoch, now) in [(0, 0.25), (1, 0.375), (2, 0.5), (3, 0.5)] {
        let teacher_temperature = TeacherTemperature { start: now, end: now, warm_up: 0.0 };
        let (expected, _) = run(Distillation { teacher_temperature, ..DINO }, 0);
        assert_eq!(run(rising, epoch).0, expected, "epoch {epoch}");
        losses.push(expected);
    }
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");
    let (loss, centre) = run(DINO, 3);
    assert_ne!(run(Distillation { student_temperature: 0.25, ..DINO }, 3).0, loss);
    assert_ne!(run(Distillation { head_norm: true, ..DINO }, 3).0, loss);
    // It begins at 0, so that it is what it takes of the teacher's mean: a tenth, or four tenths.
    let (same, other) = run(Distillation { centre_momentum: 0.6, ..DINO }, 3);
    assert_eq!(same, loss);
    for (other, centre) in other.iter().zip(centre) {
        assert!((other - 4.0 * centre).abs() < 1e-12, "{other} {centre}");
    }
}

/// Xavier's uniform numbers within sqrt(6 / (inputs + outputs)), as in MAE's code; biases are 0.
#[test]
fn maes_decoder_begins_as_in_its_code() {
    let on = foundation(backbone::Name::ViTTiny);
    let decoder = DecoderSize { width: 96, depth: 1, heads: 2 };
    let method = MAE.build(&Foundation { heads: Heads { decoder, ..on.heads }, ..on }).unwrap();
    let numbers = |name: &str| numbers_of(&*method, &format!("head.{name}"));
    let xavier = |inputs: f64, outputs: f64| (2.0 / (inputs + outputs)).sqrt();
    for (name, count, expected) in [
        ("mask_token", 96, 0.02),
        ("decoder_embed.weight", 12 * 96, xavier(12.0, 96.0)),
        ("decoder_blocks.0.attn.qkv.weight", 96 * 288, xavier(96.0, 288.0)),
        ("decoder_blocks.0.attn.proj.weight", 96 * 96, xavier(96.0, 96.0)),
        ("decoder_blocks.0.mlp.fc1.weight", 96 * 384, xavier(96.0, 384.0)),
        ("decoder_blocks.0.mlp.fc2.weight", 384 * 96, xavier(384.0, 96.0)),
        ("decoder_pred.weight", 96 * 192, xavier(96.0, 192.0)),
    ] {
        let numbers = numbers(name);
        assert_eq!(numbers.len(), count, "{name}");
        let std = (numbers.iter().map(|x| x * x).sum::<f64>() / count as f64).sqrt();
        // Within six standard errors of the draws.
        assert!((std / expected - 1.0).abs() < 6.0 / (2.0 * count as f64).sqrt(), "{name}: {std}");
        if let Some(layer) = name.strip_suffix(".weight") {
            let largest = numbers.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(largest <= 3.0_f64.sqrt() * expected, "{name}: {largest}");
            let biases = numbers_of(&*method, &format!("head.{layer}.bias"));
            assert!(biases.iter().all(|x| *x == 0.0), "{name}: {biases:?}");
        }
    }
}

fn numbers_of(method: &dyn Method, name: &str) -> Vec<f64> {
    method.parameters().get(name).unwrap().variable.flatten_all().unwrap().to_vec1().unwrap()
}

/// Everything that normalises by its batch does so in a step, in all networks and heads, of students as of teachers: all
/// running statistics move.
#[test]
fn a_step_normalises_by_its_batch_everywhere() {
    for (name, objective) in objectives() {
        if name.undefined_on(backbone::Name::ResNet18).is_some() {
            continue;
        }
        let method = objective.build(&foundation(backbone::Name::ResNet18)).unwrap();
        let before = variables(&*method);
        method.step(&batch(objective.views()), AT).unwrap();
        let mut count = 0;
        for ((variable, kind, before), (_, _, after)) in before.iter().zip(variables(&*method)) {
            if *kind == Role::Buffer {
                assert_ne!(*before, after, "{name}: {variable}");
                count += 1;
            } else {
                assert_eq!(*before, after, "{name}: {variable}");
            }
        }
        assert!(count >= 40, "{name}: {count}");
    }
}

/// At the start a teacher is its student, in training as well: it says of each view what the student's projection is,
/// and the student predicts that of the other view.
#[test]
fn a_student_predicts_what_its_teacher_says_of_the_other_view() {
    let on = foundation(backbone::Name::ResNet18);
    let step = Bootstrap { momentum: MOMENTUM }.build(&on).unwrap().step(&batch(2), AT).unwrap();
    let views = step.embeddings.unwrap().chunk(2, 0).unwrap();
    let mut parameters = Parameters::default();
    let mut builder = parameters.builder("head.predictor", on.seed, on.dtype, on.device);
    let predictor = Perceptron::new(&mut builder, Layers::normalised(&[4, 8, 4])).unwrap();
    let distance = |from: usize, to: usize| -> f64 {
        let prediction = predictor.forward(&views[from], Mode::Train).unwrap();
        cosine_distance(&prediction, &views[to]).unwrap().to_scalar().unwrap()
    };
    let (expected, found) = (distance(0, 1) + distance(1, 0), step.loss.to_scalar::<f64>().unwrap());
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    assert!((found - distance(0, 0) - distance(1, 1)).abs() > 1e-6, "views differ");

    let constants = Distillation { head_norm: true, ..DINO };
    let step = constants.build(&on).unwrap().step(&batch(2), AT).unwrap();
    let mut parameters = Parameters::default();
    let mut builder = parameters.builder("head", on.seed, on.dtype, on.device);
    let head = PrototypeHead::new(&mut builder, step.features.dim(1).unwrap(), on.heads, true).unwrap();
    let logits = head.cosines(&step.embeddings.unwrap()).unwrap().chunk(2, 0).unwrap();
    let centre = Tensor::zeros((1, 6), DType::F64, &Device::Cpu).unwrap();
    // In the second epoch of four, after a warm-up of a sixteenth of them.
    let expected = dino(&logits, &logits, &centre, 0.125, 0.5).unwrap().total.to_scalar::<f64>().unwrap();
    let found = step.loss.to_scalar::<f64>().unwrap();
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}
