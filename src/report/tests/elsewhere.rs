//! Shares and methods that the paper does not have, seeds that differ in number, and records of several folders.

use super::{told::plain_text, *};
use crate::results::record::Counts;

const DASH: &str = "\u{2013}";

/// A record at a share of its own; without a share, at the data's own, a quarter.
fn at(study: &str, variant: Option<&str>, method: &str, share: Option<f64>, seed: u64) -> Record {
    let mut record = record(study, variant, method, seed, &[]);
    record.cell.train_share = share;
    record.cell.id = format!("{}{share:?}", record.cell.id);
    record.data.train = Counts { normals: 900, defects: 300 };
    record
}

/// Two seeds with this F1 and AUROC in training, and this AUROC of the converged probe; the second seed's are 0.01
/// higher.
fn two(
    (study, variant, method): (&str, Option<&str>, &str),
    share: Option<f64>,
    [f1, auroc, frozen]: [f64; 3],
) -> Vec<Record> {
    let one = |seed: u64| {
        let more = 0.01 * seed as f64;
        let mut record = at(study, variant, method, share, seed);
        let own = |classifier: &str, f1: f64, auroc: f64| Score {
            average_precision: auroc - 0.2,
            ..Score { classifier: classifier.into(), ..scored(f1, auroc) }
        };
        record.scores =
            vec![own("in_training", f1 + more, auroc + more), own("converged", 0.5, frozen + more)];
        record
    };
    vec![one(0), one(1)]
}

/// Trained at the data's own share and at 30 %, with a method that the paper does not have.
fn run() -> Page {
    let (natural, thirty) = (None, Some(0.3));
    page(
        [
            two(("extension", None, "supervised"), natural, [0.40, 0.50, 0.55]),
            two(("extension", None, "supervised"), thirty, [0.41, 0.52, 0.57]),
            two(("extension", None, "simsiam"), natural, [0.30, 0.33, 0.65]),
            two(("extension", None, "simclr"), natural, [0.31, 0.34, 0.85]),
            two(("extension", None, "simclr"), thirty, [0.32, 0.35, 0.70]),
            two(("random_weights", None, "none"), natural, [0.1, 0.1, 0.42]),
            two(("remedy", Some("oversampling"), "supervised"), natural, [0.47, 0.53, 0.2]),
            two(("fine_tuned", None, "simsiam"), natural, [0.36, 0.62, 0.2]),
        ]
        .concat(),
    )
}

/// The number of a cell, without its interval.
fn numbers(row: &[String]) -> Vec<&str> {
    row.iter().map(|cell| cell.split(' ').next().unwrap()).collect()
}

#[test]
fn tables_have_a_column_for_each_share_that_was_trained() {
    let page = run();
    assert_eq!(page.shares(), [Share::NATURAL, Share::percent(30)]);
    let labels = scores::labels(&page).into_string();
    for (caption, begin, expected) in [
        ("F1 by remedy, minus that of weighted training", "oversampling", "+0.070"),
        ("AUROC by remedy, minus that of weighted training", "oversampling", "+0.030"),
        ("minus that of supervised training from scratch", "SimSiam", "+0.120"),
        ("minus that of the converged probe on the frozen encoder", "SimSiam", "-0.030"),
    ] {
        let found = row(&labels, caption, &[begin]);
        assert_eq!(numbers(&found), [begin, "ResNet-18", expected, DASH], "{caption}");
        let head = labels.split(caption).nth(1).unwrap().split("<tbody>").next().unwrap();
        assert_eq!(texts(head)[texts(head).len() - 2..], ["natural", "30 %"], "{caption}");
    }
    let protocol = scores::protocol(&page).into_string();
    let above = "minus that of random weights on the same backbone";
    for (method, expected) in [("Supervised", "+0.130"), ("SimSiam", "+0.230"), ("SimCLR", "+0.430")] {
        assert_eq!(numbers(&row(&protocol, above, &[method]))[1..], ["ResNet-18", expected, DASH]);
    }
    let table = scores::table_1(&page).into_string();
    // The method that is not the paper's has our numbers only, beside the paper's shares.
    let found = row(&table, "F1 by method, backbone", &["SimSiam", "ResNet-18"]);
    assert_eq!(numbers(&found)[2..], ["ours", "0.305", DASH, DASH, DASH, DASH, DASH, DASH]);
    let head = table.split("<caption>F1 by method").nth(1).unwrap().split("<tbody>").next().unwrap();
    assert_eq!(texts(head)[4..], ["natural", "1 %", "2 %", "5 %", "15 %", "30 %", "45 %"]);
    let frozen = row(&table, "AUROC of the converged probe by share", &["SimCLR"]);
    assert_eq!(numbers(&frozen), ["SimCLR", "ResNet-18", "0.855", "0.705"]);
}

/// The data's own share stands where it was counted, a quarter; the figure is drawn at both shares.
#[test]
fn the_datas_own_share_has_its_place_in_figures() {
    let page = run();
    let plots = scores::by_share(&page, page.ours().unwrap(), Metric::Auroc);
    let [(backbone::Name::ResNet18, plot)] = &plots[..] else { panic!("one backbone") };
    let quarter = 0.25_f64.log10();
    let marks: Vec<(f64, &str)> = plot.x.marks.iter().map(|(place, name)| (*place, name.as_str())).collect();
    assert_eq!(marks, [(quarter, "natural"), (0.3_f64.log10(), "30 %")]);
    assert!(
        (plot.x.low - (quarter - 0.1)).abs() < 1e-12 && (plot.x.high - (0.3_f64.log10() + 0.1)).abs() < 1e-12
    );
    let told: Vec<(&str, Vec<f64>)> = plot
        .series
        .iter()
        .map(|series| (series.name.as_str(), series.points.iter().map(|point| point.1).collect()))
        .collect();
    let expected: [(&str, &[f64]); 4] = [
        ("random weights", &[0.425]),
        ("Supervised", &[0.555, 0.575]),
        ("SimCLR", &[0.855, 0.705]),
        ("SimSiam", &[0.655]),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((name, found), (whose, values)) in told.iter().zip(expected) {
        assert_eq!((*name, found.len()), (whose, values.len()));
        assert!(found.iter().zip(values).all(|(x, y)| (x - y).abs() < 1e-12), "{name}: {found:?}");
    }
    let ranking = scores::ranking(&page).into_string();
    // Only the data's own share has two self-supervised methods; SimCLR is 0.2 above SimSiam.
    let figure = ranking.split("<title>Chance of the highest average precision on ResNet-18").nth(1).unwrap();
    let told = texts(figure.split("</svg>").next().unwrap());
    let expected = ["defects in training", "natural", "SimCLR", "100", "SimSiam", "0"];
    assert_eq!(told[..6], expected, "{told:?}");
    let table = "AUROC of the converged probe minus that of supervised training, ResNet-18; each";
    let compared = rows(&ranking, table);
    let begins: Vec<Vec<&str>> = compared.iter().map(|row| numbers(row)[..3].to_vec()).collect();
    let expected =
        [["SimCLR", "natural", "+0.300"], ["SimCLR", "30", "+0.130"], ["SimSiam", "natural", "+0.100"]];
    assert_eq!(begins, expected);
    // All differences are above 0, and yet the line of 0 lies within the frame.
    let figure = ranking.split("minus that of supervised training on ResNet-18, by share").nth(1).unwrap();
    let zero = attribute(figure, "class=\"zero\" x1=\"");
    // Names take 126.8; of the 288 of the frame, 6 parts of 112 are air.
    assert!((zero - (126.8 + 288.0 * 6.0 / 112.0)).abs() < 0.1, "{zero}");
    // Only Supervised and SimCLR were trained at both shares, and two arms have no ranks.
    assert!(!ranking.contains("Rank by AUROC"), "{ranking}");
}

/// The detector that is suggested is that of the last card with a choice, from the first of the folders.
#[test]
fn a_detector_is_suggested_of_the_first_folder_and_the_last_share() {
    let made = |command: &str| RecordedCommand { command: command.to_owned(), cells: Vec::new() };
    let told = |commands: &[&str]| {
        let mut floor = at("pixels", None, "none", Some(0.45), 0);
        floor.cell.backbone = "pixels".to_owned();
        floor.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.5) }];
        let mut page =
            page([two(("extension", None, "simclr"), None, [0.3, 0.3, 0.8]), vec![floor]].concat());
        page.contents.as_mut().unwrap().folders = ["second".into(), "first".into()].into();
        let page = page.with_commands(commands.iter().map(|command| made(command)).collect());
        plain_text(&decision::section(&page).into_string())
    };
    let text = told(&["reproduce", "reproduce --no-weights"]);
    let expected = "To make a detector of one of these models, here the one trained at the data's own share, and score new images \
                    with it:\ncargo xtask bundle first --best detector.skewbench --share natural\ncargo xtask predict \
                    detector.skewbench NEW-IMAGES --out predictions\n";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("kept no weights"), "one of them did: {text}");
    assert!(
        told(&["reproduce --no-weights", "reproduce --gpu --no-weights"])
            .contains("These runs kept no weights")
    );
    assert!(!told(&[]).contains("kept no weights"));
}

/// Converged probes with these points of operation, by share and seed; a share without scores is one that was only
/// trained.
fn explored(cells: &[(f64, u64, &[[f64; 3]])]) -> Page {
    let one = |&(share, seed, points): &(f64, u64, &[[f64; 3]])| {
        let mut record = at("table1", None, "simclr", Some(share), seed);
        let rates = (0.5 + share, 0.1 + 0.01 * seed as f64);
        record.scores = vec![Score {
            classifier: "converged".into(),
            true_positive_rate: rates.0,
            false_positive_rate: rates.1,
            operating_points: points.to_vec(),
            ..scored(0.5, 0.5)
        }];
        record
    };
    page(cells.iter().map(one).collect())
}

#[test]
fn thresholds_can_be_chosen_only_where_every_model_has_its_points() {
    const POINTS: &[[f64; 3]] = &[[0.5, 0.1, 0.6], [-0.5, 0.3, 0.9]];
    let hint = "The cheapest threshold is chosen on the images on which its rates are measured";
    let single = "There is one seed per cell, so intervals cover the test images only.";
    for (cells, points, several) in [
        (vec![(0.05, 0, POINTS), (0.15, 0, POINTS)], true, false),
        (vec![(0.05, 0, POINTS), (0.15, 0, &[][..])], false, false),
        // Points are paired with rates seed by seed, so one seed without points leaves none.
        (vec![(0.05, 0, POINTS), (0.05, 1, &[][..])], false, true),
        (vec![(0.05, 0, POINTS), (0.05, 1, POINTS)], true, true),
        (vec![(0.05, 0, POINTS), (0.05, 1, POINTS), (0.15, 0, POINTS)], true, false),
    ] {
        let html = explorer::section(&explored(&cells)).into_string();
        let text = plain_text(&html);
        assert_eq!(text.contains(hint), points, "{text}");
        assert_eq!(text.contains("[value cheapest][disabled]"), !points, "{text}");
        assert_eq!(text.contains(single), !several, "{text}");
        if !points && several {
            assert!(html.contains("\"points\":[],"), "{html}");
        }
    }
}

/// The main share of the records has no converged probe, so the largest share that has one is shown.
#[test]
fn the_explorer_begins_with_a_share_that_it_knows() {
    let mut trained = at("table1", None, "simclr", Some(0.45), 0);
    trained.scores = vec![Score { classifier: "in_training".into(), ..scored(0.5, 0.5) }];
    let known = explored(&[(0.02, 0, &[]), (0.05, 0, &[]), (0.15, 0, &[])]);
    let mut records: Vec<Record> =
        known.reading.records.iter().map(|filed| (*filed.record).clone()).collect();
    records.push(trained);
    let page = page(records);
    assert_eq!(main_share(page.reading()), Some(Share::percent(45)));
    let html = explorer::section(&page).into_string();
    let text = plain_text(&html);
    assert!(text.contains("[value 0.15][selected]15 % defects") && !text.contains("45 %"), "{text}");
    // A recall of 0.5 and 15 points; a false-positive rate of 0.1.
    let found = rows(&html, "Per 1,000 images of your site");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0][6].as_str(), found[0][3].as_str()), ("0.650", "3.5"));
}

/// Recall by class is of the converged probe on all images; scores at other shares of defects do not count.
#[test]
fn classes_are_counted_on_all_validation_images() {
    let mut record = at("table1", None, "simclr", Some(0.05), 0);
    let of = |classifier: &str, share: Option<f64>, found: usize| Score {
        recall_by_class: [("crack".to_owned(), [found, 200])].into(),
        ..Score { classifier: classifier.into(), validation_share: share, ..scored(0.5, 0.8) }
    };
    record.scores =
        vec![of("converged", Some(0.01), 10), of("in_training", None, 20), of("converged", None, 150)];
    let text = plain_text(&decision::section(&page(vec![record])).into_string());
    // Wilson's interval of 150 in 200: 0.686 to 0.805.
    assert!(text.contains("\ncrack (200): 0.75 (SimCLR) [0.69, 0.80]\n"), "{text}");
}

/// Each study has its own settings, and each machine its own row.
#[test]
fn settings_are_listed_study_by_study() {
    let with = |study: &str, method: &str, seed: u64, (name, value): (&str, u64), device: &str| {
        let mut record = at(study, None, method, Some(0.05), seed);
        record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.5) }];
        record.settings.values.insert(name.to_owned(), value.into());
        record.provenance.device = device.to_owned();
        record
    };
    let html = sources::section(&page(vec![
        with("table1", "simclr", 0, ("warmup", 5), "cpu"),
        with("table1", "simclr", 1, ("batch", 7), "cuda"),
        with("fine_tuned", "simclr", 0, ("warmup", 9), "cuda"),
    ]))
    .into_string();
    let settings = rows(&html, "Where values differ within a study");
    assert_eq!(
        settings,
        [["fine_tuned", "warmup", "9"], ["table1", "batch", "7"], ["table1", "warmup", "5"]]
    );
    let machines = rows(&html, "Code and machines that made these records");
    let told: Vec<[&str; 2]> = machines.iter().map(|row| [row[0].as_str(), row[4].as_str()]).collect();
    assert_eq!(told, [["1", "cpu"], ["2", "cuda"]]);
    // Only arms have a row among costs, but all records count in the sum.
    assert!(
        html.contains("3 models, 0.0 hours") && rows(&html, "Mean seconds per model").len() == 1,
        "{html}"
    );
}

/// A setting with trials and with arms is no setting of trials only.
#[test]
fn trials_beside_arms_do_not_hide_their_setting() {
    let of = |study: &str, variant: Option<&str>, scale: &str, seed: u64| {
        let mut record = at(study, variant, "simclr", Some(0.05), seed);
        record.settings.scale = scale.to_owned();
        record.cell.id += scale;
        record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.5) }];
        record
    };
    let trial = |number: u64| of("tuning", Some("trial03"), "small", number);
    let all = page(vec![trial(0), trial(1), of("table1", None, "other", 0)]);
    assert!(all.setting().unwrap().starts_with("other scale"), "trials alone are not shown");
    let told: Vec<bool> =
        setting_summaries(all.reading()).iter().map(|contents| contents.is_tuning).collect();
    assert_eq!(told, [true, false]);
    let both = page(vec![trial(0), trial(1), of("table1", None, "small", 0), of("table1", None, "other", 0)]);
    assert!(both.setting().unwrap().starts_with("small scale"), "{:?}", both.setting());
}

/// Records of an unseen class that do not say which, or that have no converged probe, have no row.
#[test]
fn an_unseen_class_needs_its_name_and_its_probe() {
    let of = |class: Option<&str>, classifier: &str, seed: u64| {
        let mut record = at("unseen", Some("class00"), "simclr", Some(0.05), seed);
        record.scores = vec![Score { classifier: classifier.into(), ..scored(0.5, 0.75) }];
        if let Some(class) = class {
            record.settings.values.insert("unseen.class".to_owned(), class.into());
        }
        record
    };
    let none = vec![of(None, "converged", 0), of(Some("RB"), "in_training", 1)];
    let html = scores::unseen(&page(none.clone())).into_string();
    assert!(html.contains("Not measured in these records") && !html.contains("RB"), "{html}");
    let html = scores::unseen(&page([none, vec![of(Some("FS"), "converged", 2)]].concat())).into_string();
    // The class was not seen by any other model, and no detector without labels was fitted.
    assert_eq!(rows(&html, "AUROC on class FS"), [["SimCLR", "ResNet-18", "0.750", DASH, DASH]]);
    assert!(!html.contains("RB"), "{html}");
}

/// A budget without draws has no place, and figures of one seed say that they have no intervals.
#[test]
fn budgets_that_were_not_drawn_have_no_column() {
    let mut record = at("table1", None, "simclr", Some(0.05), 0);
    record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.75) }];
    let budget = |defects: usize, auroc: &[f64], neighbours: &[f64]| crate::results::record::Budget {
        defects,
        normals: defects,
        auroc: auroc.to_vec(),
        average_precision: Vec::new(),
        neighbours_auroc: neighbours.to_vec(),
    };
    record.label_budgets =
        vec![budget(5, &[0.6, 0.7], &[]), budget(20, &[], &[0.5]), budget(50, &[0.8], &[0.6])];
    record.curve = vec![Epoch {
        epoch: 1,
        loss: 1.0,
        probe_loss: None,
        learning_rate: 0.1,
        seconds: 1.0,
        monitors: [("rankme_released".to_owned(), 7.0)].into(),
    }];
    let page = page(vec![record]);
    let html = scores::budgets(&page).into_string();
    let head = |caption: &str| {
        let table = html.split(&format!("<caption>{caption}")).nth(1).unwrap();
        texts(table.split("<tbody>").next().unwrap())[3..].to_vec()
    };
    assert_eq!(head("AUROC of the probe by"), ["5", "50", "300"]);
    assert_eq!(rows(&html, "<caption>AUROC of the probe by")[0][2..], ["0.650", "0.800", "0.750"]);
    assert_eq!(head("AUROC of nearest neighbours by"), ["20", "50"]);
    assert_eq!(rows(&html, "<caption>AUROC of nearest neighbours by")[0][2..], ["0.500", "0.600"]);
    let curves = scores::label_free(&page).into_string();
    let expected = "Figure 6: RankMe as released by epoch, ResNet-18 at 5 % (one seed: no intervals)";
    assert!(
        curves.contains(expected) && !curves.contains("Figure 6: Spread of feature directions"),
        "{curves}"
    );
}

/// Given weights of any network have a row; its columns are all shares of the paper and ours.
#[test]
fn documents_have_given_weights_of_every_network() {
    let given = |backbone: &str, auroc: f64| {
        let mut record = at("given_weights", None, "none", Some(0.05), 0);
        (record.cell.backbone, record.cell.id) = (backbone.to_owned(), backbone.to_owned());
        record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, auroc) }];
        record
    };
    let arm = two(("extension", None, "simsiam"), Some(0.3), [0.31, 0.5, 0.7]);
    let page = page([arm, vec![given("mobilenet_v2", 0.62), given("resnet18", 0.61)]].concat());
    let tables = markdown::tables(&page);
    let text = |name: &str| tables.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let auroc = text("auroc");
    let begins = |begin: &str| auroc.lines().find(|line| line.starts_with(begin)).map(str::to_owned);
    for (network, auroc) in [("ResNet-18", "0.610"), ("MobileNetV2", "0.620")] {
        // Weights that no seed changes have an interval of no width.
        let found = begins(&format!("| given weights, frozen | {network} |")).expect(network);
        assert_eq!(found.matches(DASH).count(), 5, "{found}");
        assert!(found.contains(&format!("| {auroc} \u{b1}0.000 |")), "{found}");
    }
    let own = begins("| SimSiam | ResNet-18 |").expect("its row");
    assert!(own.starts_with(&format!("| SimSiam | ResNet-18 |{}", format!(" {DASH} |").repeat(4))), "{own}");
    assert!(own.contains("| 0.705 \u{b1}"), "{own}");
    assert!(auroc.contains("\n| Method | Backbone | 1 % | 2 % | 5 % | 15 % | 30 % | 45 % |\n"), "{auroc}");
    let f1 = text("table1");
    assert!(
        f1.contains(&format!("| SimSiam | ResNet-18 |{} 0.315 \u{b1}", format!(" {DASH} |").repeat(4))),
        "{f1}"
    );
}

/// Intervals end where scores do, in the table at a glance, too.
#[test]
fn the_glance_has_no_impossible_scores() {
    let mut records = two(("table1", None, "simclr"), Some(0.05), [0.5, 0.5, 0.985]);
    records.extend(two(("random_weights", None, "none"), Some(0.05), [0.5, 0.5, 0.005]));
    let html = decision::section(&page(records)).into_string();
    let found = row(&html, "The answer at a glance", &["5\u{a0}%"]);
    assert_eq!(found[1], "SimCLR, ResNet-18");
    assert!(found[2].starts_with("0.990 ") && found[2].ends_with("\u{2013}1.000"), "{found:?}");
    assert!(found[3].starts_with("0.010 0.000\u{2013}"), "{found:?}");
}

/// A setting states all folders that its records lie in, and what is left out counts record by record.
#[test]
fn what_is_left_out_counts_all_its_records_and_folders() {
    let of = |scale: &str, seed: u64| {
        let mut record = at("table1", None, "simclr", Some(0.05), seed);
        record.settings.scale = scale.to_owned();
        record.cell.id += scale;
        record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.5) }];
        record
    };
    let mut reading =
        page(vec![of("small", 0), of("small", 1), of("small", 2), of("other", 0), of("other", 1)]).reading;
    for (filed, folder) in reading.records.iter_mut().zip(["b", "a", "y", "x", "y"]) {
        filed.folder = folder.into();
    }
    let page = Page::new(reading, None);
    let text = plain_text(&parts::overview(&page).into_string());
    assert!(
        text.starts_with("Not on this page: 2 records of other settings.\n2 records of other scale, "),
        "{text}"
    );
    assert!(text.contains("; from a, bcargo xtask report 'a' 'b' --setting 'other scale, "), "{text}");
    assert_eq!(page.contents().unwrap().folders, ["x".into(), "y".into()].into());
    // What another setting has finished is still missing here.
    let cells = ["small", "other"].map(|scale| of(scale, 0).cell.id);
    let made = RecordedCommand { command: "reproduce".to_owned(), cells: cells.to_vec() };
    let progress = page.with_commands(vec![made]).progress().unwrap();
    let expected = format!("1 of 2 trainings are finished; {} is still missing.", cells[1]);
    assert!(progress.starts_with(&expected), "{progress}");
}

/// Chance and the best place are means over all models and seeds of a figure.
#[test]
fn chance_is_the_mean_of_all_that_were_looked_at() {
    let of = |seed: u64, chance: f64, ceiling: f64| {
        let mut record = at("table1", None, "simclr", Some(0.05), seed);
        record.scores = vec![Score { classifier: "converged".into(), ..scored(0.5, 0.5) }];
        record.pointing = Some(crate::results::record::Pointing { images: 9, hit: 0.4, chance, ceiling });
        record
    };
    let html = scores::pointing(&page(vec![of(0, 0.1, 0.6), of(1, 0.3, 0.9)])).into_string();
    assert!(html.contains("probe, ResNet-18 (chance 0.20, best place 0.75)"), "{html}");
    assert!(html.contains("(trained at 5 % defects)"), "{html}");
}
