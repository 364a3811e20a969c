//! The second of several: parts, commands, networks, floors and shares, and what refers to what on a page.

use super::{told::plain_text, *};
use crate::results::record::{Counts, Pointing};

/// A record with this AUROC of the converged probe.
fn at(study: &str, method: &str, backbone: &str, share: Option<f64>, seed: u64, auroc: f64) -> Record {
    let mut record = record(study, None, method, seed, &[("converged", scored(0.5, auroc))]);
    (record.cell.backbone, record.cell.train_share) = (backbone.to_owned(), share);
    record.cell.id = format!("{study}/{method}-{backbone}-{share:?}-seed{seed}");
    record
}

/// Two seeds that are this far from each other.
fn two(study: &str, method: &str, share: f64, [auroc, apart]: [f64; 2]) -> [Record; 2] {
    [0, 1].map(|seed| at(study, method, "resnet18", Some(share), seed, auroc + apart * (seed as f64 - 0.5)))
}

/// Given weights count whatever their network, also one that nothing is trained on.
#[test]
fn given_weights_of_every_network_have_a_row() {
    let given = |backbone: &str, auroc: f64| at("given_weights", "none", backbone, Some(0.05), 0, auroc);
    let page = page(vec![
        at("table1", "simclr", "resnet18", Some(0.05), 0, 0.8),
        given("resnet18", 0.61),
        given("vit_tiny", 0.62),
        given("mobilenet_v2", 0.63),
    ]);
    let html = scores::table_1(&page).into_string();
    for (network, auroc) in [("ResNet-18", "0.610"), ("ViT-Tiny", "0.620"), ("MobileNetV2", "0.630")] {
        let found = row(&html, "AUROC of the converged probe by share", &["given weights, frozen", network]);
        assert!(found[2].starts_with(auroc), "{found:?}");
    }
    assert_eq!(rows(&html, "AUROC of the converged probe by share").len(), 4);
}

/// Records that only PatchCore's map was scored for have its figure.
#[test]
fn patches_alone_are_shown() {
    let mut record = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5);
    record.pointing_patches = Some(Pointing { images: 9, hit: 0.4, chance: 0.1, ceiling: 0.7 });
    let html = scores::pointing(&page(vec![record])).into_string();
    assert!(
        html.contains("Where a detector looks: patches, ResNet-18 (chance 0.10, best place 0.70)"),
        "{html}"
    );
    assert!(!html.contains("Where a detector looks: probe"), "{html}");
}

/// All differences are above 0 or all below, and yet the line of 0 lies within the frame.
#[test]
fn differences_on_the_same_images_are_seen_from_zero() {
    for (low, high, zero) in [(0.25, 0.5, 0.03 / 0.56), (-0.5, -0.25, 0.53 / 0.56)] {
        let difference = crate::analysis::Interval { estimate: (low + high) / 2.0, low, high };
        let found = ImageDifference {
            method: method::Name::Byol,
            backbone: backbone::Name::ViTTiny,
            share: Share::percent(5),
            difference,
        };
        let records = vec![at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5)];
        let html = scores::ranking(&page(records).with_images(vec![found])).into_string();
        let figure = html.split("minus that of supervised training on the same test images").nth(1).unwrap();
        // "BYOL, ViT-Tiny" takes 14 x 6.8 + 18; the frame is 288 wide, with 6 parts of air to 100 of values.
        let expected = 113.2 + 288.0 * zero;
        assert!((attribute(figure, "class=\"zero\" x1=\"") - expected).abs() < 0.1, "{low}: {figure}");
    }
}

/// Models that were trained at a share that the paper does not have are scored at smaller shares, too.
#[test]
fn maps_have_rows_for_all_shares_that_were_trained() {
    let of = |share: f64, f1: [f64; 2]| {
        let study = if share == 0.3 { "extension" } else { "table1" };
        let mut record = at(study, "byol", "vit_tiny", Some(share), 0, 0.5);
        record.scores = [0.02, 0.3]
            .into_iter()
            .zip(f1)
            .map(|(share, f1)| Score { f1, ..example::score("in_training", Some(share)) })
            .collect();
        record
    };
    let html = scores::imbalance(&page(vec![of(0.3, [0.11, 0.12]), of(0.45, [0.13, 0.14])])).into_string();
    let figure = html.split("<title>F1, ours, ViT-Tiny</title>").nth(1).unwrap();
    let told = texts(figure.split("</svg>").next().unwrap());
    let expected =
        ["defects in validation", "2 %", "30 %", "BYOL 30 %", "11.0", "12.0", "BYOL 45 %", "13.0", "14.0"];
    assert_eq!(told[..9], expected);
}

/// Ranks are averaged over shares, so one share has none, however many arms there are.
#[test]
fn one_share_has_no_average_rank() {
    let arms = |share: f64| {
        [("supervised", 0.6), ("simclr", 0.8), ("byol", 0.4)]
            .into_iter()
            .flat_map(move |(method, auroc)| two("table1", method, share, [auroc, 0.01]))
    };
    let ranked =
        |records: Vec<Record>| scores::ranking(&page(records)).into_string().contains("Rank by AUROC");
    assert!(!ranked(arms(0.05).collect()));
    assert!(ranked(arms(0.05).chain(arms(0.15)).collect()));
}

/// Cells that any command asked for count, each once, whichever command it was.
#[test]
fn a_run_of_several_commands_is_counted_as_one() {
    let finished = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5);
    let own = finished.cell.id.clone();
    let asked = |names: &[&str]| RecordedCommand {
        command: "reproduce".to_owned(),
        cells: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let page = page(vec![finished]);
    let page = page.with_commands(vec![
        asked(&["table1/b", &own]),
        asked(&["table1/c", "table1/b"]),
        asked(&[&own]),
    ]);
    let told = page.progress().unwrap();
    let expected = "1 of 3 trainings are finished; table1/b and 1 more are still missing.";
    assert!(told.starts_with(expected), "{told}");
}

/// A share of no defects has no place on a logarithmic scale; the others keep theirs.
#[test]
fn a_share_of_no_defects_is_not_drawn() {
    let mut natural = at("extension", "simclr", "resnet18", None, 0, 0.9);
    natural.data.train = Counts { normals: 80, defects: 0 };
    let page = page(vec![natural, at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7)]);
    assert_eq!(page.shares().len(), 2);
    let plots = scores::by_share(&page, page.ours().unwrap(), Metric::Auroc);
    let [(_, plot)] = &plots[..] else { panic!("one backbone") };
    assert_eq!(plot.x.marks, [(0.05_f64.log10(), "5 %".to_owned())]);
    assert!((plot.x.low - (0.05_f64.log10() - 0.1)).abs() < 1e-12 && plot.x.high.is_finite());
    let points: Vec<usize> = plot.series.iter().map(|series| series.points.len()).collect();
    assert_eq!(points, [1]);
}

/// The margin that was asked for is that of the paper's numbers and of ours, of every card and of the page's words.
#[test]
fn a_page_has_the_margin_that_was_asked_for() {
    let records = || {
        two("table1", "simclr", 0.05, [0.8, 0.02]).into_iter().chain(two(
            "table1",
            "byol",
            0.05,
            [0.79, 0.03],
        ))
    };
    let reading = |records: Vec<Record>| {
        reading::from_memory(records.into_iter().map(|record| (record.cell.id.clone(), record)).collect())
    };
    let page = Page::new_with_margin(0.125, reading(records().collect()), None);
    assert_eq!((page.paper().margin(), page.ours().unwrap().margin()), (0.125, 0.125));
    assert_eq!(page.cards().iter().map(|card| card.margin).collect::<Vec<_>>(), [0.125]);
    let words = findings::verdicts(&page).into_string();
    assert!(words.contains("all differences are known to be smaller than 0.125."), "{words}");
    let usual = Page::new(reading(records().collect()), None);
    assert_eq!((usual.paper().margin(), usual.cards()[0].margin), (0.02, 0.02));
}

/// The table at a glance says what its intervals are over only if it has any.
#[test]
fn the_glance_has_intervals_or_says_that_it_has_none() {
    let caption = |records: Vec<Record>| {
        let html = decision::section(&page(records)).into_string();
        let caption = html.split("The answer at a glance: ").nth(1).unwrap().split('<').next().unwrap();
        caption.trim_start_matches("AUROC of the converged probe, ").to_owned()
    };
    let one = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.8);
    assert_eq!(caption(vec![one]), "one seed: no intervals");
    assert_eq!(caption(two("table1", "simclr", 0.05, [0.8, 0.02]).into()), "with 95 % intervals over seeds");
}

/// Cards share one axis. A wide interval counts to 0.2 on each side of its estimate, and no further than scores go: the
/// ends are 0 and 1, or 0.4 and 0.9, and 6 % of the range more. Bars are cut there.
#[test]
fn wide_intervals_do_not_stretch_the_axis_of_the_cards() {
    for (low, high, axis) in [(0.15, 0.9, [-0.06, 1.06]), (0.6, 0.7, [0.37, 0.93])] {
        let records =
            [two("table1", "simclr", 0.05, [low, 0.2]), two("table1", "byol", 0.45, [high, 0.2])].concat();
        let page = page(records);
        let text = plain_text(&decision::section(&page).into_string());
        for (card, (name, value)) in page.cards().iter().zip([("SimCLR", low), ("BYOL", high)]) {
            let whole = card.arms[0].auroc;
            assert!(whole.low < value - 0.4 && whole.high > value + 0.4, "{whole:?}");
            let [begin, end] = [whole.low.max(axis[0]), whole.high.min(axis[1])];
            let expected =
                format!("\n{name}, ResNet-18 \u{2605}: {value:.2} ({name}) [{begin:.2}, {end:.2}]\n");
            assert!(text.contains(&expected), "no {expected:?} in {text}");
        }
    }
}

/// An open claim says what would decide it, from our own seeds.
#[test]
fn an_open_claim_says_what_would_decide_it() {
    let of = |study: &str, seed: u64, f1: f64| {
        let mut record = at(study, "simclr", "resnet18", Some(0.45), seed, 0.5);
        record.scores = vec![Score { classifier: "in_training".into(), ..scored(f1, 0.5) }];
        record
    };
    let page = page(vec![
        of("table1", 0, 0.70),
        of("table1", 1, 0.74),
        of("table1", 2, 0.71),
        of("probe_as_released", 0, 0.69),
        of("probe_as_released", 1, 0.69),
        of("probe_as_released", 2, 0.71),
    ]);
    let (_, judged) = page.judged.iter().find(|(claim, _)| claim.id == "probe_under_lars").unwrap();
    let outlook = judged[1][0].1.outlook(page.ours().unwrap()).expect("it is open");
    let html = findings::verdicts(&page).into_string();
    let own = html.split("<details id=\"claim-probe_under_lars\">").nth(1).unwrap();
    let own = plain_text(&format!("<p>{}", own.split("</details>").next().unwrap()));
    let lines: Vec<&str> = own.lines().collect();
    let ours =
        lines.iter().position(|line| *line == "Ours: the paper's score, every share: undecided").unwrap();
    assert!(
        lines[ours + 1].starts_with("f1: simclr on resnet18 corrected minus probe_as_released: 0.020 ["),
        "{own}"
    );
    assert_eq!(lines[ours + 2], format!("What would decide it: {}.", outlook.sentence()));
    // The paper prints nothing of the kind.
    let papers = lines.iter().position(|line| line.starts_with("The paper's numbers:")).unwrap();
    assert_eq!(
        lines[papers + 1],
        "Not measured: f1: simclr on resnet18 corrected minus probe_as_released (no legible number in print)"
    );
}

/// On a page of two parts every anchor is unique, and whatever refers to one refers to one of its own part.
#[test]
fn what_refers_to_an_element_finds_it_in_its_own_part() {
    let of = |scale: &str| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7);
        record.settings.scale = scale.to_owned();
        record.cell.id += scale;
        record
    };
    let html = page(vec![of("one")]).with_others(vec![page(vec![of("two")]), page(vec![of("three")])]).html();
    let of = |text: &str, name: &str| -> Vec<String> {
        let begin = format!(" {name}=\"");
        text.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let body = html.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let parts: Vec<&str> = body.split("<div class=\"part\"").skip(1).collect();
    assert_eq!(parts.len(), 3);
    let all = of(body, "id");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    for (part, label) in parts.iter().zip(["Sections", "Sections of part 2", "Sections of part 3"]) {
        let own = of(&format!("<div{part}"), "id");
        let refer: Vec<String> = ["for", "aria-labelledby", "aria-describedby"]
            .iter()
            .flat_map(|name| of(part, name))
            .chain(of(part, "href").into_iter().map(|link| link.trim_start_matches('#').to_owned()))
            .collect();
        assert!(refer.len() > 36, "{refer:?}");
        for id in refer {
            assert!(own.contains(&id), "{id} in {own:?}");
        }
        assert!(part.contains(&format!("<nav aria-label=\"{label}\">")), "{label}");
        // Sections are labelled by their own heads.
        for section in part.split("<section ").skip(1) {
            let label = of(&format!(" {section}"), "aria-labelledby").remove(0);
            let (_, rest) = section.split_once('>').unwrap();
            assert!(rest.starts_with(&format!("<h2 id=\"{label}\">")), "{label}");
        }
    }
}

/// A page is one file: its style and its scripts are in it, whole.
#[test]
fn a_page_brings_its_style_and_its_scripts() {
    let html = page(Vec::new()).html();
    for own in [include_str!("../style.css"), include_str!("../script.js"), include_str!("../save.js")] {
        assert_eq!(html.matches(own).count(), 1);
    }
    assert!(
        html.starts_with("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"),
        "{}",
        &html[..80]
    );
    assert!(!html.contains("src=\"http") && !html.contains("@import"), "nothing is loaded from elsewhere");
}

/// The picture for documents has the theme that was asked for.
#[test]
fn pictures_of_documents_have_their_theme() {
    let page = page(vec![at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7)]);
    for (theme, ground) in [(Theme::Light, "#ffffff"), (Theme::Dark, "#14171a")] {
        let [(_, svg)] = &page.pictures(theme)[..] else { panic!("one picture") };
        assert!(
            svg.contains(&format!("<rect width=\"100%\" height=\"100%\" fill=\"{ground}\">")),
            "{theme}: {svg}"
        );
    }
}

/// The data's own share is that of the training images of arms; floors may have counted others.
#[test]
fn the_datas_own_share_is_that_of_what_was_trained() {
    let counted = |study: &str, method: &str, backbone: &str, normals: usize, defects: usize, seed: u64| {
        let mut record = at(study, method, backbone, None, seed, 0.7);
        record.data.train = Counts { normals, defects };
        record
    };
    let page = page(vec![
        counted("pixels", "none", "pixels", 100, 900, 0),
        counted("random_weights", "none", "resnet18", 100, 900, 0),
        counted("extension", "simclr", "resnet18", 600, 200, 0),
        counted("extension", "byol", "resnet18", 900, 100, 0),
    ]);
    assert!(
        (page.fraction(Share::NATURAL).unwrap() - 0.175).abs() < 1e-12,
        "{:?}",
        page.fraction(Share::NATURAL)
    );
}

/// A method that only another setting has trained has no row here, and another share that it has no column.
#[test]
fn methods_and_shares_are_those_of_the_pages_setting() {
    let mut other = at("extension", "simsiam", "resnet18", Some(0.3), 0, 0.9);
    other.settings.scale = "other".to_owned();
    let own = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7);
    let page = page(vec![own, at("table1", "byol", "resnet18", Some(0.05), 0, 0.6), other]);
    assert!(page.setting().unwrap().starts_with("small scale"));
    assert_eq!(page.methods(), method::Name::PAPER);
    assert_eq!(page.shares(), [Share::percent(5)]);
    let sections = page.sections().into_iter().filter(|(id, ..)| *id != "verdicts");
    let text: String = sections.map(|(.., body)| body.into_string()).collect();
    assert!(!text.contains("SimSiam") && !text.contains("30 %"), "of another setting");
}

/// Supervised training with few labels is compared with probes on its own backbone.
#[test]
fn each_backbone_has_its_own_training_from_scratch() {
    use crate::results::record::Budget;
    let budget = |defects: usize, auroc: f64| Budget {
        defects,
        normals: defects,
        auroc: vec![auroc],
        average_precision: vec![0.1],
        neighbours_auroc: Vec::new(),
    };
    let mut records = Vec::new();
    for (backbone, scratch) in [("resnet18", [0.5, 0.55]), ("vit_tiny", [0.95, 0.96])] {
        let mut arm = at("table1", "byol", backbone, Some(0.05), 0, 0.9);
        arm.data.train.defects = 80;
        arm.label_budgets = vec![budget(5, 0.8), budget(20, 0.85)];
        records.push(arm);
        for (defects, auroc) in [5, 20].into_iter().zip(scratch) {
            let mut few = at("label_budget", "supervised", backbone, Some(0.05), 0, 0.1);
            few.cell.variant = Some(format!("defects{defects:04}"));
            few.cell.id += &format!("-{defects}");
            few.data.train.defects = defects;
            few.scores = vec![Score { classifier: "in_training".into(), ..scored(0.5, auroc) }];
            records.push(few);
        }
    }
    let text = plain_text(&scores::budgets(&page(records)).into_string());
    let told: Vec<&str> =
        text.lines().filter(|line| line.starts_with("Supervised training from scratch")).collect();
    assert_eq!(
        told,
        [
            "Supervised training from scratch does not overtake the probe on BYOL, ResNet-18 with all 20 labelled defects (one seed).",
            "Supervised training from scratch is ahead of the probe on BYOL, ViT-Tiny from 5 labelled defects on (one seed).",
        ]
    );
}

/// Limits of the data are those of all records, each once.
#[test]
fn limits_of_every_record_are_listed_once() {
    let of = |seed: u64, limits: &[&str]| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), seed, 0.7);
        record.data.limits = limits.iter().map(|limit| (*limit).to_owned()).collect();
        record
    };
    let page = page(vec![of(0, &["b", "first"]), of(1, &["first", "a"]), of(2, &["c"])]);
    let text = plain_text(&sources::section(&page).into_string());
    let (_, rest) = text.split_once("Limits of the data\n").unwrap();
    assert_eq!(rest.lines().take(5).collect::<Vec<_>>(), ["a", "b", "c", "first", "Every setting, by study"]);
}

/// All choices of the released code cost something, and yet the line of 0 lies within the frame.
#[test]
fn ablations_are_seen_from_zero() {
    let of = |study: &str, f1: f64| {
        let mut record = at(study, "simclr", "resnet18", Some(0.45), 0, 0.5);
        record.scores = vec![Score { classifier: "in_training".into(), ..scored(f1, 0.5) }];
        record
    };
    let records = vec![of("table1", 0.8), of("probe_under_lars", 0.5), of("probe_as_released", 0.3)];
    let html = scores::protocol(&page(records)).into_string();
    let figure = html.split("Difference in F1 that each choice of the released code makes").nth(1).unwrap();
    // -0.5 to 0, with air of 0.03; the longest name has 46 letters.
    let expected = 46.0 * 6.8 + 18.0 + 288.0 * 0.53 / 0.56;
    assert!((attribute(figure, "class=\"zero\" x1=\"") - expected).abs() < 0.1, "{expected}: {figure}");
}

/// Neighbours' votes have a table if any record has them, whatever else it has.
#[test]
fn tables_are_of_classifiers_that_were_scored() {
    let with = |classifier: &str| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7);
        record.scores.push(Score {
            tpr_at_fpr_5: Some(0.2),
            classifier: classifier.into(),
            ..scored(0.5, 0.6)
        });
        scores::table_1(&page(vec![record])).into_string()
    };
    for (classifier, votes) in [("neighbours", true), ("normals_padim", false), ("in_training", false)] {
        let html = with(classifier);
        assert_eq!(html.contains("AUROC by nearest neighbours, ours"), votes, "{classifier}");
        assert!(!html.contains("TPR at 5 % FPR of the converged probe"), "only of {classifier}");
    }
}
