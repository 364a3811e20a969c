//! Scales, lists of cells, recipes, and what is decided about a cell before it is trained.

#[cfg(test)]
mod images;
#[cfg(test)]
mod recipes;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod whole;

use super::{cell, recipe, recipe::search, *};
use crate::{
    augment::{Framing, Jitter, Normalisation},
    backbone::{
        Name::{ResNet18, ViTTiny},
        Stem, VitSize,
        heads::{DecoderSize, Heads},
    },
    data::{OnBadImage, Share, Source, synthetic},
    evaluate::probe::Weighting,
    loader::Sampling,
    method::Name::{BarlowTwins, Byol, Dino, Mae, SimClr, SimSiam, Supervised},
    seed::Seed,
    train::{Decayed, optimiser::Rule},
};

/// The sizes of `quick` and `small`, as the guide and the page state them.
#[test]
fn sizes_of_a_laptop_are_written_down() {
    let decoder = DecoderSize { width: 32, depth: 1, heads: 2 };
    let quick = Scale {
        name: "quick".to_owned(),
        side: 48,
        synthetic_images: (1_500, 800),
        resnet_width: 12,
        resnet_stem: Stem::ImageNet,
        vit: VitSize { patch: 8, width: 36, depth: 3, heads: 3 },
        epochs: 3,
        batch_size: 32,
        heads: Heads { hidden: 128, output: 64, prototypes: 256, decoder },
        rank_images: 256,
        view_sample: (50, 6),
        sewer_ml_sample: (1, 1),
    };
    assert_eq!(Scale::quick(), quick);
    let small = Scale {
        name: "small".to_owned(),
        side: 64,
        synthetic_images: (5_000, 1_500),
        resnet_width: 16,
        vit: VitSize { patch: 8, width: 48, depth: 4, heads: 3 },
        epochs: 5,
        batch_size: 64,
        heads: Heads { hidden: 256, output: 64, prototypes: 512, decoder },
        rank_images: 512,
        view_sample: (100, 10),
        ..quick
    };
    assert_eq!(Scale::small(), small);
    assert_eq!((Scale::full().name.as_str(), Scale::full().view_sample), ("full", (1_000, 10)));
    assert_eq!(Scale::full().synthetic_images, (520_064, 65_023), "as many as the released sample");
}

#[test]
fn the_papers_scale_has_the_released_recipe_and_others_ours() {
    let plan = |scale: Scale| {
        let plan = Plan::new(scale);
        assert!(plan.init.is_none() && plan.frozen.is_none() && plan.pretrained.is_none());
        assert!(plan.augmentation.is_none() && plan.sample_bits.is_none() && !plan.mixed_precision);
        assert!(plan.on_bad_image == OnBadImage::Fail && plan.device.is_cpu());
        plan.recipe
    };
    assert_eq!(plan(Scale::full()), recipe::Name::AsReleased);
    for scale in [Scale::small(), Scale::quick(), Scale::fixture()] {
        assert_eq!(plan(scale), recipe::Name::Short);
    }
}

/// Names of cells of a list.
fn names(cells: &[Cell]) -> Vec<String> {
    cells.iter().map(Cell::id).collect()
}

const LOW: Share = Share::percent(2);
const HIGH: Share = Share::percent(15);

#[test]
fn few_labels_and_unseen_classes_are_at_the_largest_share() {
    // 45 % if it is listed, even beside a larger share; otherwise the largest.
    for (shares, expected) in [
        (vec![HIGH, LOW], "share15"),
        (vec![LOW, Share::percent(45), HIGH], "share45"),
        (vec![Share::percent(45), Share::percent(60)], "share45"),
    ] {
        for cells in [cell::label_budgets(&shares, 3), cell::unseen(&shares, 3)] {
            let end = format!("-{expected}-seed3");
            assert!(names(&cells).iter().all(|name| name.ends_with(&end)), "{:?}", names(&cells));
        }
        // Two backbones and six methods, of which MAE on ResNet-18 is undefined.
        let budgets = cell::label_budgets(&shares, 3);
        assert_eq!(budgets.len(), 2 * 6 * Study::BUDGETS.len());
        assert_eq!(cell::unseen(&shares, 3).len(), 2 * 6 * Study::UNSEEN.len());
        let first = names(&budgets).remove(0);
        assert_eq!(first, format!("label_budget/supervised-resnet18-defects0005-{expected}-seed3"));
    }
    assert!(cell::label_budgets(&[], 0).is_empty() && cell::unseen(&[], 0).is_empty());
    let [unseen, budgets] =
        [cell::unseen(&[HIGH], 3), cell::label_budgets(&[HIGH], 3)].map(|cells| names(&cells));
    let of = |study: &str, variants: [&str; 3], method: &str| {
        variants.map(|variant| format!("{study}/{method}-{variant}-share15-seed3"))
    };
    let (classes, counts) =
        (["class00", "class01", "class02"], ["defects0005", "defects0020", "defects0100"]);
    for method in ["supervised-resnet18", "dino-resnet18", "simclr-vit_tiny"] {
        let named =
            |names: &[String]| names.iter().filter(|name| name.contains(method)).cloned().collect::<Vec<_>>();
        assert_eq!(named(&unseen), of("unseen", classes, method));
        assert_eq!(named(&budgets), of("label_budget", counts, method));
    }
}

#[test]
fn lists_of_cells_have_every_share_and_the_seed() {
    let shares = [LOW, HIGH];
    let expected = [
        "pixels/none-pixels-share02-seed0",
        "random_weights/none-resnet18-share02-seed0",
        "random_weights/none-vit_tiny-share02-seed0",
        "pixels/none-pixels-share15-seed0",
        "random_weights/none-resnet18-share15-seed0",
        "random_weights/none-vit_tiny-share15-seed0",
    ];
    assert_eq!(names(&cell::floors(&shares, 0)), expected);
    let later: Vec<String> = expected
        .iter()
        .filter(|name| !name.starts_with("pixels"))
        .map(|name| name.replace("seed0", "seed7"))
        .collect();
    assert_eq!(names(&cell::floors(&shares, 7)), later, "nothing in pixels is random");
    let frozen = ["given_weights/none-vit_tiny-share02-seed0", "given_weights/none-vit_tiny-share15-seed0"];
    assert_eq!(names(&cell::frozen(ViTTiny, &shares, 0)), frozen);
    let others = names(&cell::other_methods(&[LOW, Share::NATURAL], 7));
    let expected = [
        "table1/simsiam-resnet18-share02-seed7",
        "extension/simsiam-resnet18-natural-seed7",
        "table1/simsiam-vit_tiny-share02-seed7",
        "extension/simsiam-vit_tiny-natural-seed7",
    ];
    assert_eq!(others, expected);
    let tuned = names(&cell::fine_tuned(&[LOW], 7));
    let methods = ["byol", "barlow_twins", "dino", "mae", "simclr"];
    let expected = ["resnet18", "vit_tiny"]
        .map(|backbone| methods.map(|method| format!("fine_tuned/{method}-{backbone}-share02-seed7")));
    assert_eq!(sorted(tuned), sorted(expected.concat()), "what learns from labels is not fine-tuned");
    let remedies = names(&cell::remedies(&[HIGH], 7));
    let words = ["unweighted", "focal_loss", "oversampling", "logit_adjustment"];
    let expected = ["resnet18", "vit_tiny"]
        .map(|backbone| words.map(|word| format!("remedy/supervised-{backbone}-{word}-share15-seed7")));
    assert_eq!(sorted(remedies), sorted(expected.concat()));
    let sizes = names(&cell::size_matched(7));
    assert_eq!((sizes.len(), sizes[0].as_str()), (15, "size_matched/supervised-resnet18-share01-seed7"));
    assert_eq!(sizes[14], "size_matched/simclr-resnet18-share45-seed7");
    let sides = names(&cell::table2(7));
    assert_eq!(
        sides[..2],
        ["table2/supervised-resnet18-side064-seed7", "table2/supervised-resnet18-side128-seed7"]
    );
    assert_eq!((sides.len(), sides[9].as_str()), (10, "table2/supervised-vit_tiny-side512-seed7"));
    let grid = names(&cell::figure3(7));
    assert_eq!((grid.len(), grid[1].as_str()), (35, "figure3/supervised-resnet18-jitter0100-crop0185-seed7"));
    assert_eq!(grid[34], "figure3/supervised-resnet18-jitter0800-crop0710-seed7");
    let trial = cell::tuning(4, HIGH, 7);
    assert!(
        trial.iter().all(|cell| cell.undefined_reason().is_none() && cell.seed == 7 && cell.share == HIGH)
    );
    assert_eq!(names(&trial)[0], "tuning/supervised-resnet18-trial04-share15-seed7");
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// What each ablation takes from the released code, and what it leaves as in the recipe.
#[test]
fn ablations_change_one_detail() {
    let plan = Plan::new(Scale::small());
    for cell in cell::ablations(2) {
        assert_eq!((cell.share, cell.seed), (Share::percent(45), 2), "{cell}");
        let before = plan.recipe(&Cell { study: Study::Table1, ..cell });
        let after = plan.recipe(&cell);
        let released = Recipe::for_method(recipe::Name::AsReleased, cell.method, cell.backbone);
        let Study::Ablation(ablation) = cell.study else { panic!("{cell}") };
        let (mut rule, mut rate, mut augmented) =
            (before.probe_rule, before.probe_learning_rate, before.augmented_validation);
        match ablation {
            Ablation::ProbeUnderLars => rule = released.probe_rule,
            Ablation::ProbeAsReleased => {
                (rule, rate) = (released.probe_rule, released.probe_learning_rate);
            }
            Ablation::AugmentedValidation => augmented = true,
            _ => {}
        }
        assert_eq!(after.probe_rule, rule, "{cell}");
        assert_eq!((after.probe_learning_rate, after.augmented_validation), (rate, augmented), "{cell}");
        assert_eq!((after.learning_rate, after.rule), (before.learning_rate, before.rule), "{cell}");
        let told = |recipe: &Recipe| -> std::collections::BTreeMap<&str, serde_json::Value> {
            recipe.objective.settings().into_iter().collect()
        };
        let (before, after) = (told(&before), told(&after));
        let changed: Vec<&str> =
            after.keys().filter(|name| before.get(*name) != after.get(*name)).copied().collect();
        match ablation {
            Ablation::MaeTwoPredictions | Ablation::MaeCrossedViews | Ablation::MaeAsReleased => {
                let words = match ablation {
                    Ablation::MaeTwoPredictions => "two_predictions",
                    Ablation::MaeCrossedViews => "crossed_views",
                    _ => "as_released",
                };
                assert_eq!((changed, after["supervision"].as_str()), (vec!["supervision"], Some(words)));
            }
            Ablation::DinoPlainHead => {
                assert_eq!((changed, after["head_norm"].as_bool()), (vec!["head_norm"], Some(false)));
            }
            _ => assert!(changed.is_empty(), "{cell}: {changed:?}"),
        }
    }
}

/// Fine-tuning is supervised training at a tenth of its rate; from random weights the rate is unchanged.
#[test]
fn fine_tuning_is_slower_supervised_training() {
    let plan = Plan::new(Scale::small());
    let cell = |study, method| Cell { study, method, backbone: ResNet18, share: HIGH, seed: 0 };
    let rate = |study, method| plan.recipe(&cell(study, method)).learning_rate;
    let scratch = rate(Study::Table1, Supervised);
    let budget = Study::LabelBudget { defects: 20 };
    for study in [Study::FineTuned, budget] {
        assert!((rate(study, Byol) - 0.1 * scratch).abs() < 1e-12, "{study:?}");
        assert_eq!(plan.views(&cell(study, Byol)), plan.views(&cell(Study::Table1, Supervised)), "{study:?}");
    }
    assert_eq!(rate(budget, Supervised), scratch);
    let before = |study, share| {
        let pretrained = Cell { share, ..cell(study, Byol) }.pretraining_cell().unwrap();
        (pretrained.id(), pretrained.trained_by())
    };
    assert_eq!(before(budget, HIGH), ("table1/byol-resnet18-share15-seed0".to_owned(), Byol));
    assert_eq!(
        before(Study::FineTuned, Share::NATURAL),
        ("extension/byol-resnet18-natural-seed0".to_owned(), Byol)
    );
}

/// A remedy replaces the weighting; only oversampling repeats images.
#[test]
fn remedies_replace_the_weighting() {
    let plan = Plan::new(Scale::small());
    let answer = |remedy| {
        let cell = Cell {
            study: Study::Remedy(remedy),
            method: Supervised,
            backbone: ViTTiny,
            share: HIGH,
            seed: 0,
        };
        let recipe = plan.recipe(&cell);
        (format!("{:?}", recipe.objective), recipe.sampling)
    };
    let told = Remedy::ALL.map(|remedy| (remedy, answer(remedy)));
    for (remedy, (words, sampling)) in &told {
        let balanced = if *remedy == Remedy::Oversampling { Sampling::Balanced } else { Sampling::Each };
        assert_eq!(*sampling, balanced, "{remedy:?}");
        let expected = match remedy {
            Remedy::Unweighted | Remedy::Oversampling => "Nothing",
            Remedy::FocalLoss => "Focal",
            Remedy::LogitAdjustment => "LogitAdjustment",
        };
        assert!(words.contains(expected), "{remedy:?}: {words}");
    }
}

/// Table 2 uses whole images; Figure 3 the paper's views with its own jitter and crop, on a quarter of the data.
#[test]
fn views_of_table_2_and_figure_3_are_their_own() {
    let plan = Plan::new(Scale::small());
    let of = |study| Cell { study, method: Supervised, backbone: ResNet18, share: Share::NATURAL, seed: 0 };
    let sized = of(Study::Table2 { side: 384 });
    let [view] = &plan.views(&sized)[..] else { panic!("one view") };
    assert_eq!(
        (view.side, view.framing, view.jitter.probability, view.flip),
        (112, Framing::FullFrame, 0.0, 0.0)
    );
    assert_eq!(
        (plan.scale_of(&sized).side, plan.drawn_side(&sized)),
        (112, 152),
        "drawn at the largest side"
    );
    let drawn = of(Study::Figure3 { jitter: 275, crop: 605 });
    let [view] = &plan.views(&drawn)[..] else { panic!("one view") };
    let jitter = view.jitter;
    assert_eq!(
        [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue],
        [0.275, 0.275, 0.275, 0.1375]
    );
    assert!(matches!(view.framing, Framing::Random { scale: (0.605, 1.0), .. }), "{:?}", view.framing);
    for jitter in cell::JITTERS {
        let Jitter { brightness, contrast, saturation, hue, .. } =
            plan.views(&of(Study::Figure3 { jitter, crop: 80 }))[0].jitter;
        let strength = f64::from(jitter) / 1e3;
        assert_eq!([brightness, contrast, saturation, hue], [strength, strength, strength, strength / 2.0]);
    }
    assert_eq!((plan.scale_of(&drawn).side, plan.drawn_side(&drawn)), (64, 64));
    assert_eq!(
        [plan.training_sample(&sized, "elpv"), plan.training_sample(&drawn, "elpv")],
        [(1, 1), (1, 4)]
    );
    let floor = of(Study::RandomWeights);
    assert_eq!((plan.scale_of(&floor).epochs, plan.scale_of(&sized).epochs), (0, 5));
}

/// What all recipes share, and numbers that no other test checks.
#[test]
fn recipes_share_the_converged_probe_and_their_own_constants() {
    for name in recipe::Name::ALL {
        for method in [Supervised, Byol, BarlowTwins, Dino, Mae, SimClr, SimSiam] {
            let recipe = Recipe::for_method(name, method, ViTTiny);
            let probe = recipe.converged_probe;
            assert_eq!(
                (probe.c, probe.weighting, probe.standardise),
                (0.1, Weighting::Balanced, true),
                "{method}"
            );
            assert_eq!(
                (recipe.name, recipe.sampling, recipe.augmented_validation),
                (name, Sampling::Each, false)
            );
        }
    }
    // The Sewer-ML authors' SGD; on the ViT, the released AdamW.
    let sewer = Recipe::for_method(recipe::Name::Reference, Supervised, ResNet18);
    assert_eq!(sewer.rule, Rule::Sgd { momentum: 0.9 });
    assert_eq!(
        [sewer.learning_rate, sewer.weight_decay, sewer.warm_up_start, sewer.warm_up],
        [0.1, 1e-4, 3e-5, 0.025]
    );
    let vit = Recipe::for_method(recipe::Name::Reference, Supervised, ViTTiny);
    assert_eq!((vit.rule, [vit.learning_rate, vit.weight_decay]), (Rule::ADAMW, [5e-4, 1e-4]));
    for method in [Supervised, Byol, BarlowTwins, Dino, Mae, SimClr] {
        for backbone in [ResNet18, ViTTiny] {
            let recipe = Recipe::for_method(recipe::Name::Reference, method, backbone);
            assert_eq!(recipe.probe_rule, Rule::ADAMW, "{method}");
            assert_eq!(
                (recipe.augmentation, recipe.probe_learning_rate),
                (Augmentation::Original, 1e-3),
                "{method}"
            );
        }
        let short = Recipe::for_method(recipe::Name::Short, method, ResNet18);
        assert_eq!(
            (short.rule, short.decayed, short.probe_rule, short.clip),
            (Rule::ADAMW, Decayed::Weights, Rule::ADAMW, None)
        );
        assert_eq!(
            [short.warm_up_start, short.warm_up, short.probe_learning_rate],
            [1e-5, 0.1, 2e-2],
            "{method}"
        );
    }
    let simsiam = Recipe::for_method(recipe::Name::AsReleased, SimSiam, ResNet18);
    assert_eq!(
        (simsiam.warm_up_start, simsiam.decayed),
        (0.05, Decayed::Everything),
        "no warm-up: the rate itself"
    );
    let short = Recipe::for_method(recipe::Name::Short, SimSiam, ResNet18);
    assert_eq!([short.learning_rate, short.weight_decay], [4e-3, 1e-2], "where all pairs started from");
}

/// What tuning may change, as `results/BIAS.md` describes it.
#[test]
fn the_search_space_is_written_down() {
    let range = |range: search::Range| [range.low, range.high];
    assert_eq!(range(search::LEARNING_RATE), [4e-3 / 8.0, 4e-3 * 4.0]);
    assert_eq!(range(search::WEIGHT_DECAY), [1e-4, 1e-1]);
    for (method, name, ends) in [
        (SimClr, "temperature", [0.05, 0.5]),
        (BarlowTwins, "off-diagonal weight", [0.005, 0.5]),
        (Byol, "start of momentum", [0.9, 0.998]),
        (Dino, "start of momentum", [0.9, 0.998]),
        (Mae, "visible part", [0.1, 0.6]),
    ] {
        let constant = search::constant(method).unwrap();
        assert_eq!((constant.name, range(constant.range)), (name, ends), "{method}");
        for (number, inside) in
            [(ends[0], true), (ends[1], true), (0.99 * ends[0], false), (1.01 * ends[1], false)]
        {
            assert_eq!(constant.range.contains(number), inside, "{method} {number}");
        }
    }
    assert!(search::constant(Supervised).is_none() && search::constant(SimSiam).is_none());
    use Augmentation::{Flip, Original, Paper};
    assert_eq!(search::views(Supervised), [Paper, Flip], "it was published with no views of its own");
    assert_eq!(search::views(Dino), [Paper, Original, Flip]);
}

#[test]
fn a_stopped_cell_says_how_far_it_came() {
    for (epochs, steps, expected) in [
        (0, 0, "stopped before its first step; its state is saved"),
        (3, 0, "stopped after epoch 3; its state is saved"),
        (0, 1, "stopped after 1 step of epoch 1; its state is saved"),
        (2, 1, "stopped after 1 step of epoch 3; its state is saved"),
        (2, 7, "stopped after 7 steps of epoch 3; its state is saved"),
    ] {
        assert_eq!(Stopped { epochs, steps }.to_string(), expected);
    }
}

/// A resolver caches subsets for later cells; what a cell leaves out must be part of the key.
#[test]
fn cells_that_are_resolved_together_have_the_images_of_cells_resolved_alone() {
    let source = drawn(400, 400);
    let plan = Plan::new(Scale::fixture());
    let unseen = |rank| Cell {
        study: Study::Unseen { rank },
        method: SimClr,
        backbone: ResNet18,
        share: Share::percent(15),
        seed: 0,
    };
    let all = Cell { study: Study::Table1, ..unseen(0) };
    let mut resolver = Resolver::new(&plan, &source);
    let mut subsets = Vec::new();
    for cell in [unseen(0), unseen(1), all, unseen(0)] {
        let together = resolver.resolve(&cell).unwrap().subset;
        assert_eq!(together.indices, plan.resolve(&cell, &source).unwrap().subset.indices, "{cell}");
        subsets.push(together.indices.clone());
    }
    assert!(subsets[0] != subsets[1] && subsets[1] != subsets[2] && subsets[2] != subsets[0]);
    assert_eq!(subsets[0], subsets[3]);
}

/// A resolver keeps images, pools and models for later cells: none of them belongs to cells of another study, share or
/// part of the data.
#[test]
fn cells_of_all_studies_are_resolved_together_as_alone() {
    let source = Source { name: "sewer-ml".to_owned(), ..drawn(1_800, 1_600) };
    let plan = Plan::new(Scale { sewer_ml_sample: (1, 2), ..Scale::fixture() });
    let cell = |study, share| Cell { study, method: Supervised, backbone: ResNet18, share, seed: 1 };
    let [low, high] = [Share::percent(15), Share::percent(45)];
    let figure = |share| cell(Study::Figure3 { jitter: 100, crop: 500 }, share);
    let cells = [
        cell(Study::Table1, high),
        cell(Study::Unseen { rank: 0 }, high),
        figure(high),
        cell(Study::SizeMatched, high),
        cell(Study::LabelBudget { defects: 5 }, high),
        cell(Study::Table1, low),
        figure(low),
        cell(Study::Unseen { rank: 1 }, high),
        cell(Study::SizeMatched, low),
        Cell { seed: 2, ..cell(Study::LabelBudget { defects: 5 }, high) },
        cell(Study::Table2 { side: 224 }, Share::NATURAL),
        cell(Study::RandomWeights, high),
    ];
    let mut resolver = Resolver::new(&plan, &source);
    let mut different = std::collections::BTreeSet::new();
    for cell in cells.iter().chain(cells.iter().rev()) {
        let (together, alone) = (resolver.resolve(cell).unwrap(), plan.resolve(cell, &source).unwrap());
        assert_eq!(together.subset.indices, alone.subset.indices, "{cell}");
        assert_eq!(together.validation, alone.validation, "{cell}");
        assert_eq!((together.repeats, &together.identity), (alone.repeats, &alone.identity), "{cell}");
        let defects =
            together.subset.indices.iter().filter(|&&index| source.train.labels()[index].defect).count();
        assert_eq!(
            (defects, together.subset.indices.len()),
            (together.subset.defects, defects + together.subset.normals)
        );
        different.insert(together.subset.indices.clone());
    }
    // A floor, and only a floor, has the images of its share's methods.
    assert_eq!(different.len(), cells.len() - 1);
    let validation = plan.resolve(&cells[0], &source).unwrap().validation;
    assert!((799..=800).contains(&validation.len()) && validation.is_sorted(), "half of 1,600");
}

/// A model of each kind is built once, as a check: one that fails is not hidden by those that did not.
#[test]
fn every_kind_of_model_is_checked_and_told_of_by_each_cell() {
    let source = drawn(80, 60);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let cell = |study, method, backbone| Cell { study, method, backbone, share: Share::NATURAL, seed: 1 };
    let plain = Plan::new(Scale::fixture());
    let encoder =
        build(&cell(Study::RandomWeights, Supervised, ResNet18), &plain, 1.0, Seed::root(9)).unwrap();
    std::fs::write(&path, encoder.parameters().to_safetensors(&Default::default()).unwrap()).unwrap();
    let init = Init::new(&path, None).unwrap();
    assert_eq!((init.normalisation, init.normalisation_from_header), (Normalisation::SEWER_ML, false));
    assert_eq!((init.name().as_str(), init.network().unwrap()), ("encoder.safetensors", ResNet18));
    assert_eq!(init.digest, blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string());
    let error = format!("{:#}", Init::new(&folder.path().join("none.pth"), None).unwrap_err());
    assert!(
        error.starts_with(&format!("{}: cannot read the weights", folder.path().join("none.pth").display()))
    );

    let half = folder.path().join("half.safetensors");
    for name in Normalisation::IMAGENET.notes().into_keys() {
        let notes = [(name.clone(), "0.5,0.5,0.5".to_owned())].into();
        std::fs::write(&half, encoder.parameters().to_safetensors(&notes).unwrap()).unwrap();
        let error = format!("{:#}", Init::new(&half, None).unwrap_err());
        assert!(error.starts_with(&format!("{}: its header: one of ", half.display())), "{error}");
    }

    let plan = Plan { init: Some(init.clone()), frozen: Some(init), ..Plan::new(Scale::fixture()) };
    let mut resolver = Resolver::new(&plan, &source);
    let mut notes = |cell: &Cell| resolver.resolve(cell).map(|resolved| resolved.weight_notes.to_vec());
    let first = notes(&cell(Study::Extension, SimClr, ResNet18)).unwrap();
    assert!(!first.is_empty(), "how the file was understood");
    for seed in [1, 2] {
        assert_eq!(notes(&Cell { seed, ..cell(Study::Extension, SimClr, ResNet18) }).unwrap(), first);
    }
    assert!(notes(&cell(Study::RandomWeights, SimClr, ResNet18)).unwrap().is_empty(), "a floor has none");
    assert_eq!(notes(&cell(Study::GivenWeights, SimClr, ResNet18)).unwrap(), first);
    // Weights of a ResNet do not fit a ViT, whoever asks for it.
    for (study, flag) in [(Study::Extension, "--init"), (Study::GivenWeights, "--frozen")] {
        let error = format!("{:#}", notes(&cell(study, SimClr, ViTTiny)).unwrap_err());
        let begin = format!("cell {}: {flag}: ", cell(study, SimClr, ViTTiny));
        assert!(error.starts_with(&begin), "{error}");
    }
}

/// Synthetic images of the fixture scale's size.
fn drawn(train: usize, validation: usize) -> Source {
    synthetic::source(Seed::root(0), train, validation, Scale::fixture().side)
}
