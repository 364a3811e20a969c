//! Sections of scores: which number appears in which table, row and column.

use super::*;
use crate::results::record::{Budget, Pointing};

/// A score whose fields all differ.
fn told_apart(from: f64) -> Score {
    Score {
        f1: from,
        f1_normal: from + 0.01,
        f2_ciw_oracle: Some(from + 0.02),
        auroc: from + 0.03,
        average_precision: from + 0.04,
        tpr_at_fpr_5: Some(from + 0.05),
        fpr_at_tpr_95: Some(from + 0.06),
        precision: from + 0.07,
        recall: from + 0.08,
        ..example::score("", None)
    }
}

/// Returns the row of a table that contains a text, beginning with that text.
fn from(html: &str, caption: &str, begin: &str) -> Vec<String> {
    let rows = rows(html, caption);
    let row = rows.iter().find(|row| row.iter().any(|cell| cell == begin));
    let row = row.unwrap_or_else(|| panic!("no {begin} in {rows:?}"));
    row[row.iter().position(|cell| cell == begin).unwrap()..].to_vec()
}

#[test]
fn every_score_stands_in_its_own_table() {
    let scores =
        [("in_training", told_apart(0.1)), ("converged", told_apart(0.3)), ("neighbours", told_apart(0.5))];
    let html = scores::table_1(&page(vec![record("table1", None, "simclr", 0, &scores)])).into_string();
    // A record at 5 %, the third of the paper's shares.
    for (caption, expected) in [
        ("F1 by method, backbone", "0.100"),
        ("F2_CIW, oracle-typed by method", "0.120"),
        ("F1_Normal by method", "0.110"),
    ] {
        let dash = "\u{2013}";
        assert_eq!(from(&html, caption, "ours"), ["ours", dash, dash, expected, dash, dash], "{caption}");
    }
    for (caption, expected) in [
        ("AUROC of the converged probe by share", "0.330"),
        ("Average precision of the converged probe by share", "0.340"),
        ("TPR at 5 % FPR of the converged probe by share", "0.350"),
        ("FPR at 95 % TPR of the converged probe by share", "0.360"),
        ("training images with the most similar features", "0.530"),
    ] {
        assert_eq!(from(&html, caption, "SimCLR"), ["SimCLR", "ResNet-18", expected], "{caption}");
    }
}

#[test]
fn every_detector_without_defects_stands_in_its_own_table() {
    let of = |auroc: f64| scored(0.5, auroc);
    let scores = [
        ("normals_neighbours", of(0.61)),
        ("normals_mahalanobis", of(0.62)),
        ("normals_patchcore", of(0.63)),
        ("normals_padim", of(0.64)),
        ("converged", of(0.9)),
    ];
    let html = scores::normals(&page(vec![record("table1", None, "simclr", 0, &scores)])).into_string();
    for (caption, expected) in [
        ("nearest normal images", "0.610"),
        ("Mahalanobis distance", "0.620"),
        ("PatchCore on the second", "0.630"),
        ("PaDiM on the second", "0.640"),
    ] {
        assert_eq!(from(&html, caption, "SimCLR"), ["SimCLR", "ResNet-18", expected], "{caption}");
    }
}

/// Floors are listed above what was trained, each under its own name.
#[test]
fn rows_are_named_after_what_they_are_of() {
    let converged = |auroc: f64| [("converged", scored(0.5, auroc))];
    let mut pixels = record("pixels", None, "none", 0, &converged(0.5));
    pixels.cell.backbone = "pixels".to_owned();
    let page = page(vec![
        pixels,
        record("random_weights", None, "none", 0, &converged(0.6)),
        record("given_weights", None, "none", 0, &converged(0.7)),
        record("table1", None, "simclr", 0, &converged(0.8)),
    ]);
    let html = scores::table_1(&page).into_string();
    let dash = "\u{2013}";
    let expected = [
        ["raw pixels", dash, "0.500"],
        ["random weights", "ResNet-18", "0.600"],
        ["given weights, frozen", "ResNet-18", "0.700"],
        ["SimCLR", "ResNet-18", "0.800"],
    ];
    let mut found = rows(&html, "AUROC of the converged probe by share");
    // Without seeds the interval is one point.
    found.iter_mut().for_each(|row| row[2] = row[2].split(' ').next().unwrap_or_default().to_owned());
    assert_eq!(found, expected);
}

#[test]
fn maps_have_training_shares_as_rows_and_validation_shares_as_columns() {
    let on = |share: f64, f1: f64, precision: f64, recall: f64| {
        let score = Score { f1, precision, recall, ..example::score("in_training", Some(share)) };
        ("in_training", score)
    };
    let trained = |share: f64, scores: &[(&str, Score)]| {
        let mut record = record("table1", None, "simclr", 0, scores);
        record.cell.train_share = Some(share);
        record.cell.id = format!("{}{share}", record.cell.id);
        record
    };
    let page = page(vec![
        trained(0.05, &[on(0.02, 0.11, 0.21, 0.31), on(0.45, 0.12, 0.22, 0.32)]),
        trained(0.15, &[on(0.02, 0.13, 0.23, 0.33), on(0.45, 0.14, 0.24, 0.34)]),
    ]);
    let html = scores::imbalance(&page).into_string();
    for (caption, numbers) in [
        ("F1, ours, ResNet-18", ["11.0", "12.0", "13.0", "14.0"]),
        ("Precision, ours, ResNet-18", ["21.0", "22.0", "23.0", "24.0"]),
        ("Recall, ours, ResNet-18", ["31.0", "32.0", "33.0", "34.0"]),
    ] {
        let figure = html.split(&format!("<title>{caption}</title>")).nth(1).unwrap();
        let texts = texts(figure.split("</svg>").next().unwrap());
        let [a, b, c, d] = numbers;
        let expected = ["defects in validation", "2 %", "45 %", "SimCLR 5 %", a, b, "SimCLR 15 %", c, d];
        assert_eq!(texts[..9], expected, "{caption}");
    }
}

#[test]
fn methods_are_compared_with_supervised_training_and_the_best_is_on_top() {
    let of = |method: &str, seed: u64, auroc: f64| {
        record(method_study(method), None, method, seed, &[("converged", scored(0.5, auroc))])
    };
    let mut records = Vec::new();
    for (method, aurocs) in [
        ("supervised", [0.60, 0.61]),
        ("simclr", [0.80, 0.81]),
        ("byol", [0.40, 0.41]),
        ("none", [0.50, 0.51]),
    ] {
        for share in [0.05, 0.15] {
            for (seed, auroc) in (0..).zip(aurocs) {
                let mut record = of(method, seed, auroc);
                record.cell.train_share = Some(share);
                record.cell.id = format!("{}{share}", record.cell.id);
                records.push(record);
            }
        }
    }
    let html = scores::ranking(&page(records)).into_string();
    let table = "AUROC of the converged probe minus that of supervised training, ResNet-18; each";
    for (method, difference, chance) in [("SimCLR", "+0.200", "100 %"), ("BYOL", "-0.200", "0 %")] {
        let row = row(&html, table, &[method, "5 %"]);
        assert!(row[2].starts_with(difference), "{row:?}");
        assert_eq!(row[3].starts_with('+'), difference.starts_with('+'), "{row:?}");
        assert_eq!(row[4], chance);
        assert!(row[5].starts_with("&lt; 0.0") || row[5].starts_with("0.0"), "far apart: {row:?}");
    }
    // Ranks 1 to 4, the first at the top.
    let ranks = html.split("averaged over 2 training shares").nth(1).unwrap().split("</svg>").next().unwrap();
    let names: Vec<&str> = texts(ranks).into_iter().filter(|text| text.ends_with(", ResNet-18")).collect();
    let expected =
        ["SimCLR", "Supervised", "random weights", "BYOL"].map(|name| format!("{name}, ResNet-18"));
    assert_eq!(names, expected);
}

fn method_study(method: &str) -> &'static str {
    if method == "none" { "random_weights" } else { "table1" }
}

#[test]
fn differences_on_the_same_images_are_drawn_where_there_are_some() {
    let records = || vec![record("table1", None, "simclr", 0, &[("converged", scored(0.5, 0.5))])];
    assert!(!scores::ranking(&page(records())).into_string().contains("on the same test images"));
    let difference = crate::analysis::Interval { estimate: 0.1, low: -0.3, high: 0.5 };
    let (method, backbone) = (method::Name::Byol, backbone::Name::ViTTiny);
    let found = ImageDifference { method, backbone, share: Share::percent(5), difference };
    let html = scores::ranking(&page(records()).with_images(vec![found])).into_string();
    assert!(html.contains("two models at a time (trained at 5 % defects, seed 0)"), "{html}");
    let figure = html.split("minus that of supervised training on the same test images").nth(1).unwrap();
    let figure = figure.split("</svg>").next().unwrap();
    assert!(figure.contains("BYOL, ViT-Tiny"), "{figure}");
    // Positions are compared with that of -0.2, which is a mark on the axis.
    let line = figure.split("stroke-width=\"2.5\"").next().unwrap().rsplit("<line").next().unwrap();
    let [low, high] = ["x1=\"", "x2=\""].map(|end| attribute(line, end));
    let zero = attribute(figure, "class=\"zero\" x1=\"");
    assert!((zero - (low + 0.375 * (high - low))).abs() < 0.2, "{low}, {zero}, {high}");
}

/// Figure 6 is the mean over seeds, of one monitor; Figure 7 pairs each model's metric with its own F1.
#[test]
fn monitors_are_drawn_by_epoch_and_against_f1() {
    let run = |seed: u64, f1: f64, rankme: [f64; 3]| {
        let mut run = record("table1", None, "simclr", seed, &[("in_training", scored(f1, 0.5))]);
        let epoch = |(epoch, rankme): (usize, f64)| Epoch {
            epoch,
            loss: 1.0,
            probe_loss: None,
            learning_rate: 0.1,
            seconds: 1.0,
            monitors: [("rankme_released".to_owned(), rankme), ("features_unit_deviation".to_owned(), 0.5)]
                .into(),
        };
        run.curve = (1..).zip(rankme).map(epoch).collect();
        run
    };
    // Ranks are 10, 25 and 40 on average; the higher one has the lower F1.
    let page = page(vec![run(0, 0.75, [10.0, 20.0, 30.0]), run(1, 0.25, [10.0, 30.0, 50.0])]);
    let html = scores::label_free(&page).into_string();
    let drawn = |caption: &str| -> Vec<[f64; 2]> {
        let figure = html.split(&format!("<title>{caption}")).nth(1).unwrap_or_else(|| panic!("{caption}"));
        let places = figure.split("</svg>").next().unwrap().split("translate(").skip(1);
        let place = |text: &str| {
            let [x, y] = text.split(')').next().unwrap().split_once(' ').map(|(x, y)| [x, y]).unwrap();
            [x, y].map(|number| number.parse().unwrap())
        };
        // The last one belongs to the legend.
        let places: Vec<[f64; 2]> = places.map(place).collect();
        places[..places.len() - 1].to_vec()
    };
    let curve = drawn("Figure 6: RankMe as released by epoch, ResNet-18 at 5 % (mean of seeds");
    let [first, second, third] = curve[..] else { panic!("{curve:?}") };
    assert!(first[0] < second[0] && second[0] < third[0], "{curve:?}");
    assert!((2.0 * second[1] - first[1] - third[1]).abs() < 0.3 && third[1] < first[1], "{curve:?}");
    let flat = drawn("Figure 6: Spread of feature directions by epoch, ResNet-18 at 5 % (mean of seeds");
    assert!(flat.len() == 3 && flat.iter().all(|place| place[1] == flat[0][1]), "{flat:?}");
    let scatter = drawn("Figure 7: RankMe as released");
    let [left, right] = scatter[..] else { panic!("{scatter:?}") };
    assert!(left[0] < right[0] && left[1] < right[1], "the higher rank is the lower F1: {scatter:?}");
}

#[test]
fn where_it_looks_is_of_the_main_share_the_best_on_top() {
    let at = |study: &str, method: &str, seed: u64, share: f64, hit: f64| {
        let mut record = record(study, None, method, seed, &[("converged", scored(0.5, 0.5))]);
        record.cell.train_share = Some(share);
        record.cell.id = format!("{}{share}", record.cell.id);
        record.pointing = Some(Pointing { images: 9, hit, chance: 0.125, ceiling: 0.75 });
        record
    };
    let page = page(vec![
        at("table1", "simclr", 0, 0.45, 0.2),
        at("table1", "simclr", 1, 0.45, 0.4),
        at("random_weights", "none", 0, 0.45, 0.5),
        at("fine_tuned", "simclr", 0, 0.45, 0.6),
        at("table1", "byol", 0, 0.05, 0.7),
    ]);
    let html = scores::pointing(&page).into_string();
    let figure = html.split("</svg>").next().unwrap();
    let names = ["SimCLR, fine-tuned", "random weights", "SimCLR"];
    let found: Vec<&str> = texts(figure).into_iter().filter(|text| names.contains(text)).collect();
    assert_eq!(found, names);
    assert!(!html.contains("BYOL"), "that was trained at another share");
    // The mean of both seeds is twice as far below the middle mark as the middle is below the highest.
    let marks: Vec<f64> =
        figure.split("translate(").skip(1).map(|text| attribute(&format!("({text}"), "(")).collect();
    let [top, middle, mean] = marks[..] else { panic!("{marks:?}") };
    assert!((middle - mean - 2.0 * (top - middle)).abs() < 0.3, "0.6, 0.5 and 0.3: {marks:?}");
}

#[test]
fn labels_are_counted_in_columns_of_three_tables() {
    let budget = |defects: usize, auroc: f64| Budget {
        defects,
        normals: 2 * defects,
        auroc: vec![auroc, auroc + 0.1],
        average_precision: vec![0.1; 2],
        neighbours_auroc: vec![auroc - 0.2; 2],
    };
    let mut simclr = record("table1", None, "simclr", 0, &[("converged", scored(0.5, 0.9))]);
    simclr.data.train.defects = 80;
    simclr.label_budgets = vec![budget(5, 0.6), budget(20, 0.7)];
    let trained = |study: &str, variant: Option<&str>, method: &str, defects: usize, auroc: f64| {
        let scores = [("in_training", scored(0.5, auroc)), ("converged", scored(0.5, 0.99))];
        let mut record = record(study, variant, method, 0, &scores);
        record.data.train.defects = defects;
        record
    };
    let page = page(vec![
        simclr,
        trained("table1", None, "supervised", 80, 0.81),
        trained("label_budget", Some("defects0005"), "supervised", 5, 0.51),
        trained("label_budget", Some("defects0005"), "simclr", 5, 0.52),
        trained("fine_tuned", None, "simclr", 80, 0.82),
    ]);
    let html = scores::budgets(&page).into_string();
    let expected = ["SimCLR", "ResNet-18", "0.650", "0.750", "0.900"];
    assert_eq!(row(&html, "<caption>AUROC of the probe by labelled", &["SimCLR"]), expected);
    let votes = ["SimCLR", "ResNet-18", "0.400", "0.500"];
    assert_eq!(row(&html, "<caption>AUROC of nearest neighbours", &["SimCLR"]), votes);
    for (method, few, all) in [("from scratch", "0.510", "0.810"), ("SimCLR, fine-tuned", "0.520", "0.820")] {
        let expected = [method, "ResNet-18", few, all];
        assert_eq!(row(&html, "<caption>AUROC with all weights trained", &[method]), expected);
    }
}

#[test]
fn unseen_classes_are_paired_by_seed_and_detectors_are_without_labels() {
    let of = |study: &str, method: &str, seed: u64, auroc: f64, seen: f64, without: f64| {
        let auroc_by_class = [("RB".to_owned(), seen), ("FS".to_owned(), 0.11)].into();
        let scores = [
            ("converged", Score { auroc_by_class, ..scored(0.5, auroc) }),
            ("normals_patchcore", scored(0.5, without)),
            ("normals_padim", scored(0.5, 0.2)),
        ];
        let variant = (study == "unseen").then_some("class00");
        let mut record = record(study, variant, method, seed, &scores);
        record.settings.values.insert("unseen.class".to_owned(), "RB".into());
        record
    };
    let html = scores::unseen(&page(vec![
        of("table1", "simclr", 1, 0.1, 0.9, 0.1),
        of("unseen", "simclr", 0, 0.5, 0.0, 0.61),
        of("unseen", "simclr", 1, 0.7, 0.0, 0.62),
        of("unseen", "supervised", 0, 0.3, 0.0, 0.95),
    ]))
    .into_string();
    let found = row(&html, "AUROC on class RB", &["SimCLR"]);
    // Unseen in both seeds, seen only in the second: the difference is from one seed.
    assert!(found[2].starts_with("0.600 "), "{found:?}");
    assert_eq!(found[3..], ["0.900", "-0.200"]);
    let dash = "\u{2013}";
    let best = ["best detector without labelled defects, of all models and seeds", dash, "0.620", dash, dash];
    assert_eq!(rows(&html, "AUROC on class RB").last().unwrap()[..], best);
}

/// Each remedy and each ablation has its own description, beside what it is compared with.
#[test]
fn remedies_and_ablations_go_by_their_own_words() {
    let of = |study: &str, variant: Option<&str>, method: &str, f1: f64| {
        let mut record = record(study, variant, method, 0, &[("in_training", scored(f1, 0.5))]);
        record.cell.train_share = Some(0.45);
        record
    };
    let remedies = [
        ("unweighted", "nothing", 0.51, "+0.010"),
        ("focal_loss", "focal loss", 0.52, "+0.020"),
        ("oversampling", "oversampling", 0.53, "+0.030"),
        ("logit_adjustment", "logit adjustment", 0.54, "+0.040"),
    ];
    let mut records: Vec<Record> =
        remedies.iter().map(|(id, _, f1, _)| of("remedy", Some(id), "supervised", *f1)).collect();
    let ablations = [
        ("dino_plain_head", "dino"),
        ("dino_head_norm", "dino"),
        ("augmented_validation", "simclr"),
        ("probe_under_lars", "simclr"),
        ("probe_as_released", "simclr"),
    ];
    records.extend(ablations.map(|(id, method)| of(id, None, method, 0.4)));
    for record in records.iter_mut().filter(|record| record.cell.study == "augmented_validation") {
        record.scores[0].classifier = "in_training_augmented".to_owned();
    }
    records.extend(["supervised", "simclr"].map(|method| of("table1", None, method, 0.5)));
    let page = page(records);
    let html = scores::labels(&page).into_string();
    for (_, words, _, expected) in remedies {
        let found = row(&html, "F1 by remedy, minus that of weighted training", &[words]);
        assert_eq!(found, [words, "ResNet-18", expected]);
    }
    let html = scores::protocol(&page).into_string();
    let figure = html.split("Difference in F1 that each choice of the released code makes").nth(1).unwrap();
    let names: Vec<&str> = texts(figure.split("</svg>").next().unwrap())
        .into_iter()
        .filter(|text| text.contains(": "))
        .collect();
    // DINO has no run in Table 1: its plain head is compared with the other head.
    let expected = [
        "DINO: head without batch normalisation",
        "SimCLR: validation on augmented images",
        "SimCLR: online probe under LARS",
        "SimCLR: online probe under LARS, released rate",
    ];
    assert_eq!(names, expected);
    let zero = attribute(figure, "class=\"zero\" x1=\"");
    let marks: Vec<f64> = figure
        .split("</svg>")
        .next()
        .unwrap()
        .split("translate(")
        .skip(1)
        .map(|at| attribute(&format!("({at}"), "("))
        .collect();
    assert!((marks[0] - zero).abs() < 0.2, "both heads score alike: {marks:?}, {zero}");
    assert!(marks[1..].iter().all(|mark| *mark < zero), "{marks:?}, {zero}");
}

/// MAE's ablations use a ViT.
#[test]
fn ablations_of_mae_go_by_their_own_words() {
    let of = |study: &str, f1: f64| {
        let mut record = record(study, None, "mae", 0, &[("in_training", scored(f1, 0.5))]);
        (record.cell.train_share, record.cell.backbone) = (Some(0.45), "vit_tiny".to_owned());
        record
    };
    let ids = ["mae_two_predictions", "mae_crossed_views", "mae_as_released"];
    let mut records: Vec<Record> = ids.map(|id| of(id, 0.4)).into();
    records.push(of("table1", 0.5));
    let html = scores::protocol(&page(records)).into_string();
    let figure = html.split("Difference in F1 that each choice of the released code makes").nth(1).unwrap();
    let names: Vec<&str> = texts(figure.split("</svg>").next().unwrap())
        .into_iter()
        .filter(|text| text.contains(": "))
        .collect();
    let expected = ["MAE: two predictions a batch", "MAE: pixels of another view", "MAE: both, as released"];
    assert_eq!(names, expected);
}
