//! A run with every kind of record, and everything that its page states.

use super::{told::plain_text, *};
use crate::results::record::{Budget, Pointing};

/// Study, variant, method, backbone, share and the score that all others follow from.
type Line = (&'static str, Option<&'static str>, &'static str, &'static str, Option<f64>, f64);

/// Records of two seeds.
#[rustfmt::skip]
const RUN: [Line; 26] = [
    ("table1",           None,                        "supervised", "resnet18", Some(0.05), 0.40),
    ("table1",           None,                        "supervised", "resnet18", Some(0.45), 0.50),
    ("table1",           None,                        "supervised", "vit_tiny", Some(0.45), 0.35),
    ("table1",           None,                        "simclr",     "resnet18", Some(0.05), 0.30),
    ("table1",           None,                        "simclr",     "resnet18", Some(0.45), 0.60),
    ("table1",           None,                        "byol",       "resnet18", Some(0.45), 0.59),
    ("table1",           None,                        "byol",       "vit_tiny", Some(0.45), 0.55),
    ("table1",           None,                        "mae",        "vit_tiny", Some(0.45), 0.45),
    ("random_weights",   None,                        "none",       "resnet18", Some(0.05), 0.15),
    ("random_weights",   None,                        "none",       "resnet18", Some(0.45), 0.20),
    ("pixels",           None,                        "none",       "pixels",   Some(0.45), 0.10),
    ("given_weights",    None,                        "none",       "vit_tiny", Some(0.45), 0.25),
    ("fine_tuned",       None,                        "simclr",     "resnet18", Some(0.45), 0.65),
    ("remedy",           Some("focal_loss"),          "supervised", "resnet18", Some(0.45), 0.52),
    ("remedy",           Some("oversampling"),        "supervised", "vit_tiny", Some(0.45), 0.33),
    ("probe_under_lars", None,                        "simclr",     "resnet18", Some(0.45), 0.48),
    ("mae_crossed_views", None,                       "mae",        "vit_tiny", Some(0.45), 0.47),
    ("table2",           Some("side128"),             "supervised", "resnet18", None,       0.32),
    ("table2",           Some("side384"),             "supervised", "vit_tiny", None,       0.34),
    ("figure3",          Some("jitter0100-crop0500"), "supervised", "resnet18", None,       0.36),
    ("figure3",          Some("jitter0800-crop0080"), "supervised", "resnet18", None,       0.38),
    ("label_budget",     Some("defects0005"),         "supervised", "resnet18", Some(0.45), 0.28),
    ("label_budget",     Some("defects0005"),         "byol",       "vit_tiny", Some(0.45), 0.29),
    ("label_budget",     Some("defects0020"),         "byol",       "vit_tiny", Some(0.45), 0.31),
    ("unseen",           Some("class00"),             "simclr",     "resnet18", Some(0.45), 0.56),
    ("unseen",           Some("class00"),             "supervised", "resnet18", Some(0.45), 0.46),
];

/// Scores of one classifier, all different; `at` is the F1.
fn all_scores(classifier: &str, share: Option<f64>, at: f64) -> Score {
    Score {
        normals: 500,
        defects: 400,
        f1: at,
        f1_normal: at + 0.011,
        f2_ciw_oracle: Some(at + 0.022),
        auroc: 0.1 + 0.9 * at,
        average_precision: 0.06 + 0.95 * at,
        tpr_at_fpr_5: Some(at + 0.055),
        fpr_at_tpr_95: Some(at + 0.066),
        precision: at + 0.077,
        recall: at + 0.088,
        true_positive_rate: at + 0.09,
        false_positive_rate: at / 10.0,
        ..example::score(classifier, share)
    }
}

/// The record of one seed; `number` is the index of its line in [`RUN`].
fn one(number: usize, seed: u64) -> Record {
    let (study, variant, method, backbone, share, base) = RUN[number];
    let at = base + 0.004 * (1 + 3 * number % 7) as f64 * seed as f64;
    let mut record = record(study, variant, method, seed, &[]);
    (record.cell.backbone, record.cell.train_share) = (backbone.to_owned(), share);
    record.cell.id = format!("{study}/{method}-{backbone}-{variant:?}-{share:?}-seed{seed}");
    record.data.train = crate::results::record::Counts { normals: 1_100, defects: 900 };
    let all = |classifier: &str, at: f64| all_scores(classifier, None, at);
    record.scores = vec![
        all("converged", at + 0.1),
        all("neighbours", at + 0.05),
        all("normals_neighbours", at - 0.01),
        all("normals_mahalanobis", at - 0.02),
        all("normals_patchcore", at - 0.03),
        all("normals_padim", at - 0.04),
    ];
    if !["random_weights", "pixels", "given_weights"].contains(&study) {
        record.scores.push(all("in_training", at));
        record.scores.push(all_scores("in_training", Some(0.05), at - 0.05));
        record.scores.push(all_scores("in_training", Some(0.15), at - 0.03));
        record.curve = (1..=2).map(|epoch| an_epoch(epoch, number, seed)).collect();
    }
    record.scores[0].recall_by_class =
        [("crack".to_owned(), [40 + number + seed as usize, 100]), ("roots".to_owned(), [150 + number, 300])]
            .into();
    record.scores[0].auroc_by_class = [("crack".to_owned(), at + 0.123)].into();
    record.scores[0].operating_points = vec![[1.5, at / 20.0, at], [-0.5, at / 5.0, at + 0.2]];
    record.settings.values.insert("unseen.class".to_owned(), "crack".into());
    record.label_free = [(
        "features".to_owned(),
        [("rankme".to_owned(), 100.0 * at), ("rankme_normalised".to_owned(), 90.0 - 50.0 * at)].into(),
    )]
    .into();
    if study == "label_budget" {
        record.data.train.defects = variant.unwrap()[9..].parse().unwrap();
    } else {
        record.label_budgets = [5, 20].map(|defects| a_budget(defects, at + 0.001 * defects as f64)).into();
    }
    let has_places = study != "pixels";
    record.pointing = has_places.then_some(Pointing { images: 9, hit: at, chance: 0.11, ceiling: 0.83 });
    record.pointing_patches =
        has_places.then_some(Pointing { images: 9, hit: at / 2.0, chance: 0.07, ceiling: 0.61 });
    record.cost.train_seconds = 100.0 * (number + 1) as f64 + 10.0 * seed as f64;
    record.cost.evaluate_seconds = 7.0 * (number + 1) as f64;
    record.cost.images_per_second = 1_000.0 - 10.0 * number as f64;
    record
}

fn an_epoch(epoch: usize, number: usize, seed: u64) -> Epoch {
    let rank = (10 * number + 3 * epoch) as f64 + seed as f64;
    Epoch {
        epoch,
        loss: 1.0,
        probe_loss: None,
        learning_rate: 0.1,
        seconds: 20.0 + number as f64,
        monitors: [
            ("rankme_released".to_owned(), rank),
            ("rankme".to_owned(), 60.0 - rank / 10.0),
            ("rankme_normalised".to_owned(), rank / 1_000.0),
            ("features_unit_deviation".to_owned(), 1.0 - rank / 500.0),
        ]
        .into(),
    }
}

fn a_budget(defects: usize, auroc: f64) -> Budget {
    Budget {
        defects,
        normals: 2 * defects,
        auroc: vec![auroc - 0.03, auroc + 0.01],
        average_precision: vec![0.1; 2],
        neighbours_auroc: vec![auroc - 0.07, auroc - 0.05],
    }
}

/// The page of the whole run; pixels and given weights involve nothing random, so they have one seed.
pub(super) fn whole() -> Page {
    let seeds = |study: &str| if ["pixels", "given_weights"].contains(&study) { 1 } else { 2 };
    let lines =
        RUN.iter().enumerate().flat_map(|(number, line)| (0..seeds(line.0)).map(move |seed| (number, seed)));
    page(lines.map(|(number, seed)| one(number, seed)).collect())
}

/// Reads an expected text, which is stored beside this file.
fn kept(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/tests");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The text of all sections but verdicts and pictures.
fn all_sections(page: &Page) -> String {
    let sections = page.sections().into_iter().filter(|(id, ..)| !["verdicts", "pictures"].contains(id));
    sections
        .map(|(id, title, body)| format!("== {id}: {title}\n{}\n\n", plain_text(&body.into_string())))
        .collect()
}

/// What the page tells depends neither on the order of records and of their scores, nor on other classifiers' scores at
/// shares of defects in validation, nor on records of another setting.
#[test]
fn order_and_what_is_not_asked_for_change_nothing() {
    let filed = whole().reading.records;
    let mut records: Vec<Record> = filed.iter().map(|filed| (*filed.record).clone()).collect();
    let mut others: Vec<Record> = records[..14].to_vec();
    for record in &mut others {
        record.settings.scale = "other".to_owned();
        record.cell.id += "-other";
        record.cost.train_seconds = 1e6;
        record.label_budgets = vec![a_budget(7, 0.99)];
        record.provenance.cpu = "another".to_owned();
        for score in &mut record.scores {
            *score = all_scores(&score.classifier, score.validation_share, 0.9 - score.f1);
        }
        if record.cell.train_share.is_some() {
            record.cell.study = record.cell.study.replace("table1", "extension");
            record.cell.train_share = Some(0.3);
        }
    }
    for record in &mut records {
        let at_a_share = |score: &Score| Score {
            recall_by_class: [("crack".to_owned(), [1, 7]), ("sand".to_owned(), [2, 9])].into(),
            auroc_by_class: [("crack".to_owned(), 0.01)].into(),
            operating_points: vec![[0.5, 0.11, 0.12]],
            ..all_scores(&score.classifier, Some(0.15), 0.8 - score.f1)
        };
        let own = record.scores.iter().filter(|score| score.classifier != "in_training");
        let more: Vec<Score> = own.map(at_a_share).collect();
        record.scores.extend(more);
        record.scores.reverse();
        record.label_budgets.reverse();
    }
    records.extend(others);
    records.reverse();
    let (found, expected) = (all_sections(&page(records)), kept("everything.txt"));
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "{differs:?}");
}

/// The text of all sections but verdicts and pictures; if the test fails, it prints the current text. Numbers follow
/// from those of the run above: means over two seeds, the second of which is 0.004 to 0.028 higher.
#[test]
fn every_section_tells_the_run() {
    let (found, expected) = (all_sections(&whole()), kept("everything.txt"));
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "{differs:?} in:\n{found}");
}

/// Tables of documents: each number in its row and column, with half of its interval's width.
#[test]
fn tables_of_documents_tell_the_run() {
    let tables = markdown::tables(&whole());
    let text = |name: &str| tables.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    assert_eq!(
        tables.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["card", "verdicts", "table1", "auroc"]
    );
    let found =
        format!("== card\n{}\n== table1\n{}\n== auroc\n{}", text("card"), text("table1"), text("auroc"));
    assert_eq!(found, kept("documents.txt"));
    let none = markdown::tables(&page(Vec::new()));
    for name in ["card", "table1", "auroc"] {
        assert_eq!(none.iter().find(|(known, _)| *known == name).unwrap().1, "No records.\n");
    }
    let verdicts = &none[1].1;
    let (head, rest) = verdicts.split_once("\n").unwrap();
    assert_eq!(
        (head, rest.split_once('\n').unwrap().0),
        ("| Claim | Paper | Its numbers |", "|---|---|---|")
    );
}

/// Everything around the sections: a page of two settings, the second with problems, and a third left out.
#[test]
fn a_page_of_two_settings_has_two_parts_with_their_own_anchors() {
    let of = |scale: &str, places: &[(usize, u64)]| -> Vec<Record> {
        let one = |&(number, seed): &(usize, u64)| {
            let mut record = one(number, seed);
            scale.clone_into(&mut record.settings.scale);
            let digest = |letter: &str| letter.repeat(4) + &record.settings.scale.repeat(4);
            (record.data.train_digest, record.data.validation_digest) = (digest("t"), digest("v"));
            record.data.validation = crate::results::record::Counts { normals: 70 + number, defects: 30 };
            record.cell.id = format!("{}-{scale}", record.cell.id);
            record
        };
        places.iter().map(one).collect()
    };
    let [large, small, least] =
        [of("small", &[(0, 0), (1, 0), (3, 0)]), of("other", &[(4, 0), (4, 1)]), of("least", &[(5, 0)])];
    let made = RecordedCommand {
        command: "cargo xtask reproduce".to_owned(),
        cells: vec![large[0].cell.id.clone(), "table1/not-yet".to_owned()],
    };
    let all = page([large, small.clone(), least].concat()).with_commands(vec![made]);
    let alone = plain_text(&all.body().into_string());
    let (head, _) = alone.split_once("\n[id decision]").unwrap();
    let both = all.with_others(vec![page(small)]);
    let together = both.body().into_string();
    let (top, rest) = together.split_once("<section ").unwrap();
    let second = rest.split("id=\"part-2\"").nth(1).unwrap().split("<section ").next().unwrap();
    let foot = rest.split("</main>").nth(1).unwrap().split("<script>").next().unwrap();
    let found =
        [head, &plain_text(top), &plain_text(&format!("<div id=\"part-2\"{second}")), &plain_text(foot)]
            .join("\n-----\n");
    assert_eq!(found, kept("around.txt").trim_end());
    // Every link leads to an anchor of its own.
    let text = plain_text(&together);
    for link in text.split("[href #").skip(1).map(|link| link.split(']').next().unwrap()) {
        assert_eq!(text.matches(&format!("[id {link}]")).count(), 1, "#{link}");
    }
}

/// A claim's row: what it says, how it is judged, and the numbers behind each verdict.
#[test]
fn the_numbers_behind_a_verdict_are_one_click_away() {
    let mut page = whole();
    let place =
        page.judged.iter().position(|(claim, _)| !claim.note.is_empty() && !claim.quote.is_empty()).unwrap();
    let (claim, mut ways) = page.judged.swap_remove(place);
    for (body, judged) in ways.iter_mut().enumerate() {
        for (way, (_, finding)) in judged.iter_mut().enumerate() {
            finding.verdict = claims::Verdict::Holds;
            let lines = if body == 0 { 2 } else { 8 + way };
            finding.evidence = (0..lines).map(|line| format!("line {line} of {body} {way}")).collect();
            finding.missing = (0..way).map(|line| format!("cell {line} of {body} {way}")).collect();
        }
    }
    let yardsticks = [&ways[0], &ways[1]].map(|ways| ways.iter().map(|(way, _)| *way).collect::<Vec<_>>());
    assert!(yardsticks[1].len() == 4 && yardsticks[0].len() < 4, "{yardsticks:?}");
    page.judged = vec![(claim, ways)];
    let html = findings::verdicts(&page).into_string();
    let row = html.split("<tbody>").nth(1).unwrap().split("</dl>").next().unwrap();
    let found = plain_text(row);
    let mut expected = vec![
        format!("[id claim-{}]", claim.id),
        format!("{} {}", claim.quote, claim.section),
        "Judged as".to_owned(),
        claim.predicate.to_owned(),
        "Note".to_owned(),
        claim.note.to_owned(),
    ];
    for (body, whose) in ["The paper's numbers", "Ours"].into_iter().enumerate() {
        for (way, yardstick) in yardsticks[body].iter().enumerate() {
            expected.push(format!("{whose}: {}: holds", yardstick.label()));
            let lines = if body == 0 { 2 } else { 8 };
            expected.extend((0..lines).map(|line| format!("line {line} of {body} {way}")));
            expected.extend((body == 1 && way > 0).then(|| format!("and {way} more")));
            expected.extend((way == 1).then(|| format!("Not measured: cell 0 of {body} {way}")));
            let more =
                (way > 1).then(|| format!("Not measured: cell 0 of {body} {way}, and {} more", way - 1));
            expected.extend(more);
        }
    }
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// The figure of documents: one drawing for each backbone, under its name.
#[test]
fn the_picture_of_documents_is_auroc_by_share() {
    let [(name, svg)] = &whole().pictures(Theme::Light)[..] else { panic!("one picture") };
    assert_eq!(*name, "auroc");
    let texts = texts(svg);
    assert!(
        texts[0].starts_with("AUROC of the converged probe by training share, small scale"),
        "{}",
        texts[0]
    );
    let titles: Vec<&str> =
        svg.split("class=\"name\">").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(titles, ["ResNet-18", "ViT-Tiny"]);
    let [resnet, vit] = [1, 2].map(|part| svg.split("class=\"name\">").nth(part).unwrap());
    assert!(
        resnet.contains(">SimCLR<")
            && !resnet.contains(">MAE<")
            && vit.contains(">MAE<")
            && !vit.contains(">SimCLR<")
    );
    assert!(page(Vec::new()).pictures(Theme::Light).is_empty());
    // What is drawn is AUROC, as on the page; other scores of the run differ from it everywhere.
    let page = whole();
    let plots = |metric: Metric| scores::by_share(&page, page.ours().unwrap(), metric);
    for (part, (_, plot)) in [resnet, vit].iter().zip(plots(Metric::Auroc)) {
        assert!(part.contains(&plot.drawing().content.into_string()), "{part}");
    }
    for (part, (_, plot)) in [resnet, vit].iter().zip(plots(Metric::AveragePrecision)) {
        assert!(!part.contains(&plot.drawing().content.into_string()), "{part}");
    }
}

/// The data that the page's script computes with: one entry per arm and share, with its colour, rates and counts.
#[test]
fn the_explorers_data_name_arm_and_share() {
    let html = explorer::section(&whole()).into_string();
    let data = html.split("id=\"explorer-data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let between = |text: &str, begin: &str, end: &str| -> String {
        text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect(begin).0.to_owned()
    };
    let told: Vec<String> = data
        .split("},{")
        .map(|entry| {
            let text = |name: &str| between(entry, &format!("\"{name}\":\""), "\"");
            assert!(entry.contains("\"defects\":400.0,") && entry.contains("\"normals\":500.0,"), "{entry}");
            let whose = method::Name::ALL.into_iter().find(|name| name.label() == text("method")).unwrap();
            assert_eq!(text("colour"), whose.colour());
            let rates = between(entry, "\"rates\":[[", "]");
            let rates = rates.split(',').map(|rate| format!("{:.3}", rate.parse::<f64>().unwrap()));
            let (rates, points) =
                (rates.collect::<Vec<_>>().join(" "), between(entry, "\"points\":[[", "]]"));
            format!("{} {} {}: {rates}, [{points}]]", text("method"), text("backbone"), text("train"))
        })
        .collect();
    // Seed 0: F1 of the converged probe is 0.1 above the run's number, its true-positive rate is 0.09 above that F1,
    // and its false-positive rate is a tenth of it.
    let expected = [
        "Supervised ResNet-18 0.05: 0.590 0.050, [[0.4,0.02],[0.6,0.08]]",
        "Supervised ResNet-18 0.45: 0.690 0.060, [[0.5,0.025],[0.7,0.1]]",
        "BYOL ResNet-18 0.45: 0.780 0.069, [[0.59,0.0295],[0.79,0.118]]",
        "SimCLR ResNet-18 0.05: 0.490 0.040, [[0.3,0.015],[0.5,0.06]]",
        "SimCLR ResNet-18 0.45: 0.790 0.070, [[0.6,0.03],[0.8,0.12]]",
        "Supervised ViT-Tiny 0.45: 0.540 0.045, [[0.35,0.0175],[0.55,0.07]]",
        "BYOL ViT-Tiny 0.45: 0.740 0.065, [[0.55,0.0275],[0.75,0.11]]",
        "MAE ViT-Tiny 0.45: 0.640 0.055, [[0.45,0.0225],[0.65,0.09]]",
    ];
    assert_eq!(told, expected);
}

/// The verdicts that chance alone decides, and the reliability of verdicts: sums and rows of the judge's own table.
#[test]
fn the_judges_table_stands_on_the_page() {
    let page = whole();
    let html = findings::verdicts(&page).into_string();
    let table = include_str!("../../../snapshots/judge.snap");
    let (wrong, power) = table.split_once("power with").unwrap();
    let split = |line: &str| -> Option<(Vec<String>, Vec<f64>)> {
        let (head, rest) = line.split_once(": ")?;
        let numbers = rest.split(", ").map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>()?;
        Some((head.split(", ").map(str::to_owned).collect(), numbers))
    };
    let words = |head: &[String]| {
        let yardstick: Yardstick = head[1].parse().unwrap();
        vec![head[0].replace('_', " "), yardstick.label().to_owned()]
    };
    let (mut rates, mut chance) = (Vec::new(), 0.0);
    for (head, numbers) in wrong.lines().filter_map(split).filter(|(head, _)| head.len() == 3) {
        match head[2].as_str() {
            "2" => chance += numbers.iter().copied().fold(0.0, f64::max),
            "3" => rates.push(
                [words(&head), numbers.iter().map(|rate| format!("{:.1} %", 100.0 * rate)).collect()]
                    .concat(),
            ),
            _ => {}
        }
    }
    assert_eq!(rows(&html, "Wrong verdicts where there is no real effect, three seeds"), rates);
    let lines = power.lines().filter_map(split);
    let powers: Vec<Vec<String>> = lines
        .map(|(head, numbers)| {
            [words(&head), numbers.iter().map(|power| format!("{:.0} %", 100.0 * power)).collect()].concat()
        })
        .collect();
    assert_eq!(rows(&html, "Power: how often a true claim is judged to hold"), powers);
    let ways: usize = page.judged.iter().map(|(_, judged)| judged[1].len()).sum();
    let expected = format!(
        "about {chance:.0} of these {ways} verdicts would be decided by chance alone (simulated studies with 2 seeds"
    );
    assert!(html.contains(&expected), "{expected}");
    let scenarios =
        ["equal", "by share", "by share and method", "heavy tails", "collapse", "shared shift", "holes"];
    let head = html.split("Wrong verdicts where").nth(1).unwrap().split("<tbody>").next().unwrap();
    assert_eq!(texts(head)[1..], [&["Claim", "Judged by"][..], &scenarios].concat());
    assert!(html.contains("<p class=\"small\">power with an effect planted (0.15 of F1, 0.06 of AUROC), spread by share and method.</p>"));
}

#[test]
fn every_picture_has_its_own_words() {
    let of = |uri: &str, shows: &str| vec![Example { uri: uri.into(), shows: shows.into(), logit: 1.0 }];
    let examples = Examples {
        cell: "table1/of-these".into(),
        hits: of("data:hit", "RB"),
        misses: of("data:miss", "FS"),
        false_alarms: of("data:alarm", "normal"),
        passed: of("data:passed", "normal"),
    };
    let html = pictures::section(Some(&examples)).into_string();
    assert!(html.contains("How the converged probe of <code>table1/of-these</code> classified"), "{html}");
    let images: Vec<&str> =
        html.split("<img src=\"").skip(1).map(|image| image.split('>').next().unwrap()).collect();
    let expected =
        [("hit", "RB"), ("miss", "FS"), ("alarm", "normal"), ("passed", "normal")].map(|(uri, shows)| {
            format!(
                "data:{uri}\" width=\"96\" height=\"96\" loading=\"lazy\" alt=\"drawn sewer pipe: {shows}\""
            )
        });
    assert_eq!(images, expected);
}

/// Ten copies of an image are not ten images: if groups are known, other images would move the difference more.
#[test]
fn whole_groups_are_drawn_where_there_are_groups() {
    let columns = |logit: fn(u32) -> u32, grouped: bool| -> Vec<(String, Vec<f64>)> {
        let picture = |image: u32| image / 10;
        let of =
            |value: &dyn Fn(u32) -> u32| (0..120).map(|image| f64::from(value(image))).collect::<Vec<f64>>();
        let mut columns = vec![
            ("position".to_owned(), of(&|image| image)),
            ("defect".to_owned(), of(&|image| u32::from(picture(image).is_multiple_of(3)))),
            ("converged".to_owned(), of(&|image| logit(picture(image)))),
        ];
        columns.extend(grouped.then(|| ("group".to_owned(), of(&picture))));
        columns
    };
    let width = |grouped: bool| {
        let [first, second] =
            [columns(|picture| 7 * picture % 12, grouped), columns(|picture| 5 * picture % 12, grouped)];
        let found = images::auroc_difference(&first, &second).unwrap();
        (found.estimate, found.high - found.low)
    };
    let (alone, together) = (width(false), width(true));
    assert_eq!(alone.0, together.0);
    assert!(together.1 > 1.5 * alone.1, "{alone:?} {together:?}");
    let mut moved = columns(|picture| picture, false);
    moved[0].1.swap(3, 4);
    let error = images::auroc_difference(&columns(|picture| picture, false), &moved).unwrap_err();
    assert_eq!(error.to_string(), "column 'position' differs: expected logits of the same test images");
}

/// The margin of an axis is 6 % of its range, or a thousandth of a single value.
#[test]
fn axes_have_some_air() {
    let ends = |values: &[f64]| {
        let axis = figure::plot::PlotAxis::spanning("what", values.iter().copied(), 3);
        assert_eq!((axis.label.as_str(), axis.decimals, axis.marks.len()), ("what", 3, 0));
        [axis.low, axis.high]
    };
    for (values, expected) in [
        (&[1.0, 2.0, f64::NAN, 1.5, f64::INFINITY][..], [0.94, 2.06]),
        (&[3.0], [2.997, 3.003]),
        (&[], [-0.06, 1.06]),
    ] {
        assert!(
            ends(values).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9),
            "{values:?}"
        );
    }
    assert_eq!(
        [0.0, 0.345, 1.0, 2.0].map(figure::colour::heat)[1],
        "color-mix(in oklab, var(--heat) 35%, var(--page))"
    );
    assert_eq!(figure::colour::heat(2.0), figure::colour::heat(1.0));
}
