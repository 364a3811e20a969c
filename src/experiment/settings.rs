//! Every choice that affects a cell's numbers, by a fixed name.
//!
//! Names and values are written out here and destructured field by field: renaming a field in Rust changes no
//! fingerprint, and a new field does not compile until it is named. What cannot change a number (where the data
//! are, what happens at an unreadable image) is not included.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Cell, Plan, Recipe, Scale, Study, budgets::DRAWS, pointing};
use crate::{
    augment::{Blur, Framing, Jitter, Normalisation, ViewRecipe, resize::Filter},
    backbone::{
        self, Stem, VitSize,
        heads::{DecoderSize, Heads},
    },
    evaluate::{
        neighbours, normals, patches,
        probe::{CANDIDATES, FOLDS, MOST_IMAGES, Options, Weighting},
    },
    loader::Sampling,
    results::record::Settings,
    train::{
        Decayed,
        optimiser::{Rule, Trust},
    },
};

/// Settings under construction.
#[derive(Default)]
struct Values(BTreeMap<String, Value>);

impl Values {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Adds `values`, their names prefixed by `prefix.`.
    fn under<N: AsRef<str>>(&mut self, prefix: &str, values: impl IntoIterator<Item = (N, Value)>) {
        for (name, value) in values {
            self.0.insert(format!("{prefix}.{}", name.as_ref()), value);
        }
    }
}

/// Returns the settings of a cell in a run on the source called `source`.
pub(super) fn of_cell(cell: &Cell, plan: &Plan, source: &str) -> Settings {
    let (scale, recipe, views) = (plan.scale_of(cell), plan.recipe(cell), plan.views(cell));
    let mut values = Values::default();
    // Other fields of a scale are set below, or are sizes of synthetic data, which the data's digest covers.
    let Scale { side, epochs, batch_size, rank_images, view_sample, heads, .. } = scale;
    let (sample, training_sample) = (scale.sample_of(source), plan.training_sample(cell, source));
    values.set("side", side);
    values.set("epochs", epochs);
    values.set("batch_size", batch_size);
    values.set("sample", pair(sample));
    values.set("label_free.ranked_images", rank_images);
    values.set("label_free.viewed_images", view_sample.0);
    values.set("label_free.views_of_each", view_sample.1);
    if training_sample != sample {
        values.set("training_sample", pair(training_sample));
    }
    encoder(&mut values, cell, &scale, &recipe);
    if !cell.is_floor() {
        values.under("objective", recipe.objective.settings());
        values.under("optimisation", optimisation(&recipe));
        values.set("precision", if plan.mixed_precision { "bf16 with f32 weights" } else { "f32" });
    }
    if recipe.sampling != Sampling::Each {
        values.set("sampling", recipe.sampling.id());
    }
    if let Some(init) = plan.init_of(cell) {
        values.set("init.name", init.name());
        values.set("init.blake3", init.digest.clone());
    }
    for (number, recipe) in views.iter().enumerate() {
        values.under(&format!("view{}", number + 1), view(recipe));
    }
    let Normalisation { mean, std } = plan.normalisation(cell);
    values.set("normalisation.mean", mean.map(plain).to_vec());
    values.set("normalisation.deviation", std.map(plain).to_vec());
    values.under("converged_probe", probe(&recipe.converged_probe));
    values.set("converged_probe.candidates", CANDIDATES.to_vec());
    values.set("converged_probe.folds", FOLDS);
    values.set("converged_probe.most_images", MOST_IMAGES);
    values.set("neighbours.count", neighbours::NEIGHBOURS);
    values.set("neighbours.temperature", neighbours::TEMPERATURE);
    values.set("neighbours.most_images", neighbours::MOST_IMAGES);
    values.set("label_budgets.draws", DRAWS);
    values.set("normals_only.neighbours", normals::NEIGHBOURS);
    values.set("normals_only.most_images", normals::MOST_IMAGES);
    values.set("normals_only.patch_images", patches::MOST_IMAGES);
    values.set("normals_only.patch_candidates", patches::CANDIDATES);
    values.set("normals_only.patch_bank", patches::BANK);
    values.set("normals_only.patch_dimensions", patches::DIMENSIONS);
    values.set("pointing.most_images", pointing::MOST_IMAGES);
    if !cell.trained_by().is_supervised() {
        values.under("online_probe", rule(recipe.probe_rule));
        values.set("online_probe.learning_rate", recipe.probe_learning_rate);
        values.under("heads", head_sizes(heads));
    }
    if recipe.augmented_validation {
        values.set("in_training_validation", "augmented");
    }
    Settings { scale: scale.name.clone(), recipe: recipe.name.id().to_owned(), values: values.0 }
}

fn encoder(values: &mut Values, cell: &Cell, scale: &Scale, recipe: &Recipe) {
    match cell.backbone {
        _ if cell.study == Study::Pixels => {}
        backbone::Name::ResNet18 => {
            values.set("resnet.width", scale.resnet_width);
            values.set(
                "resnet.stem",
                match scale.resnet_stem {
                    Stem::ImageNet => "imagenet",
                    Stem::Small => "small",
                },
            );
        }
        backbone::Name::ViTTiny => {
            let VitSize { patch, width, depth, heads } = scale.vit;
            values.set("vit.patch", patch);
            values.set("vit.width", width);
            values.set("vit.depth", depth);
            values.set("vit.heads", recipe.objective.attention_heads().unwrap_or(heads));
        }
        // It has one size only.
        backbone::Name::MobileNetV2 => {}
    }
}

/// Learning rates are those for a batch of 256 images; how they are scaled is part of the code.
fn optimisation(recipe: &Recipe) -> Vec<(String, Value)> {
    let Recipe {
        name: _,
        objective: _,
        rule: moves,
        learning_rate,
        weight_decay,
        decayed,
        clip,
        warm_up_start,
        warm_up,
        probe_rule: _,
        probe_learning_rate: _,
        augmentation: _,
        sampling: _,
        augmented_validation: _,
        converged_probe: _,
    } = recipe;
    let decayed = match decayed {
        Decayed::Everything => "everything",
        Decayed::Weights => "weights",
    };
    let mut values = vec![
        ("learning_rate".to_owned(), json!(learning_rate)),
        ("weight_decay".to_owned(), json!(weight_decay)),
        ("decayed".to_owned(), json!(decayed)),
        ("warm_up_start".to_owned(), json!(warm_up_start)),
        ("warm_up".to_owned(), json!(warm_up)),
    ];
    values.extend(clip.map(|clip| ("clip".to_owned(), json!(clip))));
    values.extend(rule(*moves));
    values
}

fn rule(rule: Rule) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    let mut set = |name: &str, value: Value| values.push((name.to_owned(), value));
    match rule {
        Rule::Sgd { momentum } => {
            set("rule", json!("sgd"));
            set("momentum", json!(momentum));
        }
        Rule::AdamW { beta1, beta2, epsilon } => {
            set("rule", json!("adamw"));
            set("beta1", json!(beta1));
            set("beta2", json!(beta2));
            set("epsilon", json!(epsilon));
        }
        Rule::Lars { momentum, trust } => {
            set("rule", json!("lars"));
            set("momentum", json!(momentum));
            match trust {
                Trust::SumOfNorms { coefficient, clip } => {
                    set("trust", json!("sum_of_norms"));
                    set("trust_coefficient", json!(coefficient));
                    set("trust_clip", json!(clip));
                }
                Trust::NormOfSum { coefficient } => {
                    set("trust", json!("norm_of_sum"));
                    set("trust_coefficient", json!(coefficient));
                }
            }
        }
    }
    values
}

fn view(recipe: &ViewRecipe) -> Vec<(String, Value)> {
    let &ViewRecipe { side, filter, framing, jitter, flip, grey, blur, solarise } = recipe;
    let Jitter { probability, brightness, contrast, saturation, hue } = jitter;
    let Blur { probability: blurred, sigma } = blur;
    let filter = match filter {
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
    };
    let mut values = vec![
        ("side", json!(side)),
        ("filter", json!(filter)),
        ("flip", json!(flip)),
        ("grey", json!(grey)),
        ("solarise", json!(solarise)),
        ("jitter.probability", json!(probability)),
        ("jitter.brightness", json!(brightness)),
        ("jitter.contrast", json!(contrast)),
        ("jitter.saturation", json!(saturation)),
        ("jitter.hue", json!(hue)),
        ("blur.probability", json!(blurred)),
        ("blur.sigma", json!([sigma.0, sigma.1])),
    ];
    match framing {
        Framing::FullFrame => values.push(("crop", json!("whole"))),
        Framing::Random { scale, ratio } => {
            values.push(("crop", json!("random")));
            values.push(("crop.area", json!([scale.0, scale.1])));
            values.push(("crop.ratio", json!([ratio.0, ratio.1])));
        }
    }
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn probe(options: &Options) -> Vec<(&'static str, Value)> {
    let &Options { c, weighting, standardise } = options;
    let mut values = vec![("c", json!(c)), ("standardise", json!(standardise))];
    match weighting {
        Weighting::Uniform => values.push(("weighting", json!("uniform"))),
        Weighting::Balanced => values.push(("weighting", json!("balanced"))),
        Weighting::Defects(weight) => {
            values.push(("weighting", json!("defects")));
            values.push(("weight_of_defects", json!(weight)));
        }
    }
    values
}

fn head_sizes(heads: Heads) -> [(&'static str, Value); 6] {
    let Heads { hidden, output, prototypes, decoder: DecoderSize { width, depth, heads } } = heads;
    [
        ("hidden", json!(hidden)),
        ("output", json!(output)),
        ("prototypes", json!(prototypes)),
        ("decoder.width", json!(width)),
        ("decoder.depth", json!(depth)),
        ("decoder.heads", json!(heads)),
    ]
}

fn pair((part, of): (usize, usize)) -> String {
    format!("{part}/{of}")
}

/// Returns a single-precision number by its own shortest decimals, 0.523 and not 0.5230000019073486.
fn plain(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().unwrap_or(f64::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::Share,
        experiment::{cell, recipe::search},
        method,
    };

    /// What a table of settings shows, and what a fingerprint is computed from: fixed names and values.
    #[test]
    fn settings_are_named_once_and_for_all() {
        let plan = Plan::new(Scale::small());
        let cell = Cell {
            study: Study::Table1,
            method: method::Name::SimClr,
            backbone: backbone::Name::ViTTiny,
            share: Share::percent(5),
            seed: 0,
        };
        let values = plan.settings(&cell, "synthetic").values;
        for (name, expected) in [
            ("side", json!(64)),
            ("epochs", json!(5)),
            ("vit.heads", json!(3)),
            ("objective.temperature", json!(0.12)),
            ("optimisation.rule", json!("adamw")),
            ("optimisation.learning_rate", json!(9e-4)),
            ("view2.crop.area", json!([0.395, 1.0])),
            ("normalisation.mean", json!([0.523, 0.453, 0.345])),
            ("precision", json!("f32")),
            ("sample", json!("1/1")),
        ] {
            assert_eq!(values.get(name), Some(&expected), "{name}");
        }
        assert!(!values.contains_key("on_bad_image"));
    }

    /// MAE's authors give its encoder twelve heads; the others have as many as the scale says.
    #[test]
    fn heads_of_attention_are_those_of_the_method() {
        let mut plan = Plan::new(Scale::small());
        plan.recipe = crate::experiment::recipe::Name::AsReleased;
        let heads = |method| {
            let share = Share::percent(5);
            let cell =
                Cell { study: Study::Table1, method, backbone: backbone::Name::ViTTiny, share, seed: 0 };
            plan.settings(&cell, "synthetic").values["vit.heads"].clone()
        };
        assert_eq!([heads(method::Name::Mae), heads(method::Name::SimClr)], [json!(12), json!(3)]);
    }

    /// A trial is an ordinary cell: its name and settings distinguish it from others, and trial 0 is the recipe.
    #[test]
    fn a_trial_is_named_and_stated() {
        let plan = Plan::new(Scale::small());
        let tuning = |trial| cell::tuning(trial, Share::percent(15), 0);
        assert_eq!((tuning(0).len(), tuning(3).len()), (11, 11));
        let id = "tuning/simclr-resnet18-trial03-share15-seed0";
        let cell = tuning(3).into_iter().find(|cell| cell.id() == id).expect("a trial of SimCLR");
        let point = search::point(cell.method, cell.backbone, 3);
        let values = plan.settings(&cell, "synthetic").values;
        assert_eq!(values["optimisation.learning_rate"], json!(point.learning_rate));
        assert_eq!(values["optimisation.weight_decay"], json!(point.weight_decay));
        assert_eq!(values["objective.temperature"], json!(point.constant));
        for cell in tuning(0) {
            let table_1 = Cell { study: Study::Table1, ..cell };
            assert_eq!(plan.settings(&cell, "elpv"), plan.settings(&table_1, "elpv"), "{cell}");
        }
    }

    /// Every ablation, side and augmentation of the studies has settings of its own.
    #[test]
    fn cells_of_other_training_have_other_settings() {
        let plan = Plan::new(Scale::small());
        let studies = [cell::table2(0), cell::figure3(0), cell::ablations(0)].concat();
        let mut seen = BTreeMap::new();
        for cell in &studies {
            let text =
                format!("{} {} {:?}", cell.method, cell.backbone, plan.settings(cell, "synthetic").values);
            if let Some(other) = seen.insert(text, cell.id()) {
                // Table 1 is not in this list, since an ablation that the recipe already contains equals its cell
                // there.
                panic!("{other} and {} have the same settings", cell.id());
            }
        }
    }

    /// All numbers differ here, so each must be under its own name.
    #[test]
    fn every_number_stands_under_its_name() {
        let of = |values: Vec<(String, Value)>| values.into_iter().collect::<BTreeMap<_, _>>();
        let found = of(view(&ViewRecipe {
            side: 32,
            filter: Filter::Bilinear,
            framing: Framing::Random { scale: (0.1, 0.9), ratio: (0.5, 2.0) },
            jitter: Jitter {
                probability: 0.7,
                brightness: 0.11,
                contrast: 0.12,
                saturation: 0.13,
                hue: 0.14,
            },
            flip: 0.4,
            grey: 0.3,
            blur: Blur { probability: 0.6, sigma: (0.2, 1.5) },
            solarise: 0.15,
        }));
        for (name, expected) in [
            ("side", json!(32)),
            ("filter", json!("bilinear")),
            ("crop", json!("random")),
            ("crop.area", json!([0.1, 0.9])),
            ("crop.ratio", json!([0.5, 2.0])),
            ("jitter.probability", json!(0.7)),
            ("jitter.brightness", json!(0.11)),
            ("jitter.contrast", json!(0.12)),
            ("jitter.saturation", json!(0.13)),
            ("jitter.hue", json!(0.14)),
            ("flip", json!(0.4)),
            ("grey", json!(0.3)),
            ("blur.probability", json!(0.6)),
            ("blur.sigma", json!([0.2, 1.5])),
            ("solarise", json!(0.15)),
        ] {
            assert_eq!(found[name], expected, "{name}");
        }
        let whole = of(view(&ViewRecipe::full_frame(32)));
        assert_eq!((&whole["filter"], &whole["crop"]), (&json!("bicubic"), &json!("whole")));

        let decoder = DecoderSize { width: 4, depth: 5, heads: 6 };
        let sizes = head_sizes(Heads { hidden: 1, output: 2, prototypes: 3, decoder });
        let names = ["hidden", "output", "prototypes", "decoder.width", "decoder.depth", "decoder.heads"];
        assert_eq!(sizes, [1, 2, 3, 4, 5, 6].map(|size| (names[size - 1], json!(size))));

        let lars = |trust| of(rule(Rule::Lars { momentum: 0.8, trust }));
        let clipped = lars(Trust::SumOfNorms { coefficient: 0.02, clip: true });
        let plain = lars(Trust::NormOfSum { coefficient: 0.03 });
        assert_eq!(clipped["trust_clip"], json!(true));
        assert_eq!(
            [&clipped["trust_coefficient"], &plain["trust_coefficient"]],
            [&json!(0.02), &json!(0.03)]
        );
        assert_ne!(clipped["trust"], plain["trust"]);
        let adamw = of(rule(Rule::AdamW { beta1: 0.1, beta2: 0.2, epsilon: 0.3 }));
        assert_eq!(
            ["beta1", "beta2", "epsilon"].map(|name| &adamw[name]),
            [&json!(0.1), &json!(0.2), &json!(0.3)]
        );
    }

    /// What `--mixed-precision`, `--augmentation` and another recipe change shows in the settings.
    #[test]
    fn what_is_asked_for_is_stated() {
        let cell = cell::paper_methods(&[Share::percent(5)], 0)[0];
        let plain = Plan::new(Scale::small());
        let before = plain.settings(&cell, "synthetic").values;
        let moved = |plan: Plan| {
            let after = plan.settings(&cell, "synthetic").values;
            let names =
                before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
            names.cloned().collect::<std::collections::BTreeSet<String>>()
        };
        let mixed = moved(Plan { mixed_precision: true, ..Plan::new(Scale::small()) });
        assert_eq!(mixed.into_iter().collect::<Vec<_>>(), ["precision"]);
        assert!(plain.recipe(&cell).augmentation != crate::experiment::recipe::Augmentation::None);
        let augmentation = Some(crate::experiment::recipe::Augmentation::None);
        let views = moved(Plan { augmentation, ..Plan::new(Scale::small()) });
        assert!(!views.is_empty() && views.iter().all(|name| name.starts_with("view1.")), "{views:?}");
        let recipe = crate::experiment::recipe::Name::Reference;
        let other = moved(Plan { recipe, ..Plan::new(Scale::small()) });
        assert!(
            other.contains("optimisation.learning_rate") && other.contains("optimisation.rule"),
            "{other:?}"
        );
    }

    /// Rules, weightings and encoders that no cell of the default run has.
    #[test]
    fn choices_that_are_rarely_made_are_stated_too() {
        let text = |values: Vec<(String, Value)>| -> String {
            values.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(rule(Rule::Sgd { momentum: 0.7 })), r#"rule="sgd" momentum=0.7"#);
        let lars = |trust| text(rule(Rule::Lars { momentum: 0.8, trust }));
        assert_eq!(
            lars(Trust::SumOfNorms { coefficient: 0.02, clip: false }),
            r#"rule="lars" momentum=0.8 trust="sum_of_norms" trust_coefficient=0.02 trust_clip=false"#
        );
        assert_eq!(
            lars(Trust::NormOfSum { coefficient: 0.03 }),
            r#"rule="lars" momentum=0.8 trust="norm_of_sum" trust_coefficient=0.03"#
        );
        let probed = |weighting, standardise| {
            let values = probe(&Options { c: 0.25, weighting, standardise });
            text(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        assert_eq!(probed(Weighting::Uniform, true), r#"c=0.25 standardise=true weighting="uniform""#);
        assert_eq!(probed(Weighting::Balanced, false), r#"c=0.25 standardise=false weighting="balanced""#);
        assert_eq!(
            probed(Weighting::Defects(3.5), true),
            r#"c=0.25 standardise=true weighting="defects" weight_of_defects=3.5"#
        );
        let mut plan = Plan::new(Scale { resnet_stem: Stem::Small, ..Scale::fixture() });
        let share = Share::percent(5);
        let encoder = |plan: &Plan, study, backbone| {
            let cell = Cell { study, method: method::Name::Supervised, backbone, share, seed: 0 };
            let values = plan.settings(&cell, "synthetic").values.into_iter();
            text(values.filter(|(name, _)| name.starts_with("resnet.") || name.starts_with("vit.")).collect())
        };
        let [resnet, vit, mobile] =
            [backbone::Name::ResNet18, backbone::Name::ViTTiny, backbone::Name::MobileNetV2];
        assert_eq!(encoder(&plan, Study::Table1, resnet), r#"resnet.stem="small" resnet.width=8"#);
        plan.scale.resnet_stem = Stem::ImageNet;
        assert_eq!(encoder(&plan, Study::Table1, resnet), r#"resnet.stem="imagenet" resnet.width=8"#);
        assert_eq!(
            encoder(&plan, Study::RandomWeights, vit),
            "vit.depth=2 vit.heads=3 vit.patch=8 vit.width=24"
        );
        assert_eq!(
            [encoder(&plan, Study::GivenWeights, mobile), encoder(&plan, Study::Pixels, resnet)],
            ["", ""]
        );
    }

    /// All that the settings of a cell state beside views and optimisation; floors state less.
    #[test]
    fn settings_that_all_cells_share_have_their_values() {
        let plan = Plan::new(Scale::fixture());
        let cell = |study, method, backbone| Cell { study, method, backbone, share: Share::NATURAL, seed: 0 };
        let values = |cell| -> BTreeMap<String, Value> {
            let other = ["view1.", "view2.", "optimisation.", "objective.", "normalisation."];
            let values = plan.settings(&cell, "elpv").values.into_iter();
            values.filter(|(name, _)| !other.iter().any(|other| name.starts_with(other))).collect()
        };
        let pixels = cell(Study::Pixels, method::Name::Supervised, backbone::Name::ResNet18);
        let shared = json!({
            "side": 32,
            "epochs": 0,
            "batch_size": 32,
            "sample": "1/1",
            "label_free.ranked_images": 128,
            "label_free.viewed_images": 32,
            "label_free.views_of_each": 4,
            "converged_probe.c": 0.1,
            "converged_probe.standardise": true,
            "converged_probe.weighting": "balanced",
            "converged_probe.candidates": [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
            "converged_probe.folds": 5,
            "converged_probe.most_images": 20_000,
            "neighbours.count": 20,
            "neighbours.temperature": 0.07,
            "neighbours.most_images": 20_000,
            "label_budgets.draws": 5,
            "normals_only.neighbours": 5,
            "normals_only.most_images": 10_000,
            "normals_only.patch_images": 1_000,
            "normals_only.patch_candidates": 20_000,
            "normals_only.patch_bank": 500,
            "normals_only.patch_dimensions": 100,
            "pointing.most_images": 300,
        });
        assert_eq!(json!(values(pixels)), shared);
        let trained = cell(Study::Extension, method::Name::SimClr, backbone::Name::ResNet18);
        let mut expected = shared;
        for (name, value) in [
            ("epochs", json!(2)),
            ("precision", json!("f32")),
            ("resnet.width", json!(8)),
            ("resnet.stem", json!("imagenet")),
            ("online_probe.rule", json!("adamw")),
            ("online_probe.beta1", json!(0.9)),
            ("online_probe.beta2", json!(0.999)),
            ("online_probe.epsilon", json!(1e-8)),
            ("online_probe.learning_rate", json!(0.02)),
            ("heads.hidden", json!(64)),
            ("heads.output", json!(32)),
            ("heads.prototypes", json!(64)),
            ("heads.decoder.width", json!(16)),
            ("heads.decoder.depth", json!(1)),
            ("heads.decoder.heads", json!(2)),
        ] {
            expected[name] = value;
        }
        assert_eq!(json!(values(trained)), expected);
    }
}
