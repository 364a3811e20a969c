//! Several of everything, unevenly: classes, seeds, shares, parts of a page, and yardsticks that some claims lack.

use super::{told::plain_text, *};
use crate::{
    analysis::{
        best::{chances_of_first, mean_ranks},
        noise::Weighed,
    },
    claims::Verdict,
    seed::Seed,
};

const DASH: &str = "\u{2013}";

/// A record with this AUROC of the converged probe.
fn at(study: &str, method: &str, backbone: &str, share: Option<f64>, seed: u64, auroc: f64) -> Record {
    let mut record = record(study, None, method, seed, &[("converged", scored(0.5, auroc))]);
    (record.cell.backbone, record.cell.train_share) = (backbone.to_owned(), share);
    record.cell.id = format!("{study}/{method}-{backbone}-{share:?}-seed{seed}");
    record
}

/// One record for each AUROC, with seeds from 0 on.
fn seeds(study: &str, method: &str, share: f64, aurocs: &[f64]) -> Vec<Record> {
    let one = |(seed, &auroc): (u64, &f64)| at(study, method, "resnet18", Some(share), seed, auroc);
    (0..).zip(aurocs).map(one).collect()
}

/// The number of a cell, without its interval.
fn numbers(row: &[String]) -> Vec<&str> {
    row.iter().map(|cell| cell.split(' ').next().unwrap()).collect()
}

/// Each class that was left out has a table of its own, with its own rank, detectors and comparison.
#[test]
fn every_class_that_was_left_out_has_its_own_table() {
    let seen = |seed: u64| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), seed, 0.99);
        let more = 0.02 * seed as f64;
        record.scores[0].auroc_by_class = [("crack", 0.9), ("roots", 0.8), ("sand", 0.7)]
            .map(|(class, at)| (class.to_owned(), at + more))
            .into();
        record
    };
    let of =
        |rank: u8, class: &str, (method, backbone): (&str, &str), seed: u64, [auroc, detector]: [f64; 2]| {
            let mut record = at("unseen", method, backbone, Some(0.05), seed, auroc);
            record.cell.variant = Some(format!("class{rank:02}"));
            record.cell.id += class;
            record.settings.values.insert("unseen.class".to_owned(), class.into());
            record.scores.push(Score { classifier: "normals_padim".into(), ..scored(0.5, detector) });
            record
        };
    let (simclr, byol) = (("simclr", "resnet18"), ("byol", "vit_tiny"));
    let html = scores::unseen(&page(vec![
        seen(0),
        seen(1),
        of(0, "roots", simclr, 0, [0.60, 0.55]),
        of(0, "roots", simclr, 1, [0.62, 0.56]),
        of(1, "crack", simclr, 0, [0.50, 0.45]),
        of(1, "crack", simclr, 1, [0.54, 0.44]),
        of(2, "sand", simclr, 0, [0.40, 0.35]),
        of(2, "sand", byol, 1, [0.30, 0.37]),
    ]))
    .into_string();
    let classes: Vec<&str> =
        html.split("AUROC on class ").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    assert_eq!(classes, ["crack", "roots", "sand"]);
    let table = |class: &str| -> Vec<Vec<String>> {
        let rows = rows(&html, &format!("AUROC on class {class},"));
        let told = |row: &Vec<String>| numbers(row).into_iter().map(str::to_owned).collect();
        rows.iter().map(told).collect()
    };
    let ours = |numbers: [&'static str; 3]| [&["SimCLR", "ResNet-18"][..], &numbers].concat();
    let best = |auroc: &'static str| vec!["best", DASH, auroc, DASH, DASH];
    assert_eq!(table("crack"), [ours(["0.520", "0.910", "-0.390"]), best("0.450")]);
    assert_eq!(table("roots"), [ours(["0.610", "0.810", "-0.200"]), best("0.560")]);
    // Seed 0 of the one has a model that has seen all; the other has none.
    let other = vec!["BYOL", "ViT-Tiny", "0.300", DASH, DASH];
    assert_eq!(table("sand"), [other, ours(["0.400", "0.700", "-0.300"]), best("0.370")]);
}

/// Arms with two to six seeds, and one without a converged probe at the second share.
fn unequal() -> Page {
    let without = |mut record: Record| {
        record.scores[0].classifier = "in_training".to_owned();
        record
    };
    page(
        [
            seeds("table1", "supervised", 0.05, &[0.60, 0.64]),
            seeds("table1", "supervised", 0.15, &[0.61, 0.66, 0.63, 0.64]),
            seeds("table1", "simclr", 0.05, &[0.66, 0.64, 0.69, 0.67, 0.63, 0.66]),
            seeds("table1", "simclr", 0.15, &[0.68, 0.63]),
            seeds("table1", "byol", 0.05, &[0.63, 0.67]),
            seeds("table1", "byol", 0.15, &[0.1, 0.9]).into_iter().map(without).collect(),
            seeds("random_weights", "none", 0.05, &[0.61, 0.58, 0.63]),
            seeds("random_weights", "none", 0.15, &[0.60, 0.62]),
        ]
        .concat(),
    )
}

/// What [`unequal`] has scored: mean AUROC and number of seeds.
fn known(method: &str, percent: u16) -> (Scored, f64, usize) {
    let (backbone, share) = (backbone::Name::ResNet18, Share::percent(percent));
    let cell = match method.parse::<method::Name>() {
        Ok(method) => Axes::trained(method, backbone, share),
        Err(_) => Axes::random_weights(backbone, share),
    };
    let (sum, count) = match (method, percent) {
        ("supervised", 5) => (1.24, 2),
        ("supervised", _) => (2.54, 4),
        ("simclr", 5) => (3.95, 6),
        ("simclr", _) => (1.31, 2),
        ("byol", _) => (1.30, 2),
        (_, 5) => (1.82, 3),
        _ => (1.22, 2),
    };
    (cell.converged(), sum / count as f64, count)
}

/// Each difference has the standard error of its own numbers of seeds; p values are multiplied by how many are as large
/// or larger, and at least as large as those of smaller ones (Holm).
#[test]
fn differences_know_their_seeds_and_all_comparisons() {
    let page = unequal();
    let noise = page.ours().unwrap().noise();
    let compared = [("byol", 5), ("simclr", 5), ("simclr", 15)].map(|(method, share)| {
        let [own, supervised] = [known(method, share), known("supervised", share)];
        let term = |weight: f64, of: (Scored, f64, usize)| Weighed { weight, scored: of.0, seeds: of.2 };
        let terms = [term(1.0, own), term(-1.0, supervised)];
        let error = noise.standard_error(&Metric::Auroc.into(), &terms).unwrap();
        let (difference, half) = (own.1 - supervised.1, error.tail_quantile(0.025));
        let told = format!("{difference:+.3} {:+.3} to {:+.3}", difference - half, difference + half);
        (told, error.p_value(difference, error.deviation))
    });
    let html = scores::ranking(&page).into_string();
    let table = "AUROC of the converged probe minus that of supervised training, ResNet-18; each";
    let found = rows(&html, table);
    let heads: Vec<[&str; 2]> = found.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
    assert_eq!(heads, [["BYOL", "5 %"], ["SimCLR", "5 %"], ["SimCLR", "15 %"]]);
    let holm = |p: f64| -> f64 {
        let smaller = compared.iter().map(|row| row.1).filter(|other| *other <= p);
        let times = |p: f64| compared.iter().filter(|row| row.1 >= p).count() as f64;
        smaller.map(|other| (times(other) * other).min(1.0)).fold(0.0, f64::max)
    };
    for (row, (told, p)) in found.iter().zip(&compared) {
        assert_eq!((row[2].as_str(), row[5].as_str()), (told.as_str(), format!("{:.3}", holm(*p)).as_str()));
    }
    let raw: Vec<String> = compared.iter().map(|row| format!("{:.3}", row.1)).collect();
    assert!(found.iter().zip(&raw).filter(|(row, raw)| row[5] != **raw).count() >= 2, "{raw:?}");
    assert!(compared.iter().all(|row| row.1 > 0.001 && row.1 < 0.9), "{compared:?}");
}

/// Chances and ranks are of means over different numbers of seeds; an arm that was not scored does not keep the others
/// from being ranked.
#[test]
fn chances_and_ranks_know_their_seeds() {
    let page = unequal();
    let noise = page.ours().unwrap().noise();
    let html = scores::ranking(&page).into_string();
    let mut stream = Seed::root(0).child("first").child("share05").stream();
    let arms = [known("byol", 5), known("simclr", 5)];
    let chances = chances_of_first(noise, &Metric::Auroc.into(), &arms, 2_000, &mut stream).unwrap();
    let [byol, simclr] = [0, 1].map(|place| format!("{:.0}", 100.0 * chances[place]));
    let figure = html.split("<title>Chance of the highest AUROC on ResNet-18").nth(1).expect("it is ranked");
    let told = texts(figure.split("</svg>").next().unwrap());
    assert_eq!(told[..6], ["defects in training", "5 %", "BYOL", &byol, "SimCLR", &simclr]);
    assert!(chances.iter().all(|chance| (0.02..0.98).contains(chance)), "{chances:?}");

    let contests =
        [5, 15].map(|share| ["random weights", "supervised", "simclr"].map(|arm| known(arm, share)).to_vec());
    let mut stream = Seed::root(0).child("ranks").stream();
    let ranks = mean_ranks(noise, &Metric::Auroc.into(), &contests, 2_000, &mut stream).unwrap();
    let text = plain_text(&html);
    for (name, colour, rank) in [
        ("random weights", "grey", ranks[0]),
        ("Supervised", "Supervised", ranks[1]),
        ("SimCLR", "SimCLR", ranks[2]),
    ] {
        let line =
            format!("{name}, ResNet-18: {:.2} ({colour}) [{:.2}, {:.2}]", rank.estimate, rank.low, rank.high);
        assert!(text.contains(&line), "no {line:?} in {text}");
    }
    assert!(ranks.iter().any(|rank| rank.low < rank.high), "{ranks:?}");
}

/// Shares below one per cent, and more of them than the paper has: each has its own card, anchor, row, column and
/// option.
#[test]
fn seven_shares_have_seven_of_everything() {
    let shares = [None, Some(0.001), Some(0.005), Some(0.01), Some(0.05), Some(0.15), Some(0.45)];
    let ids = ["natural", "share00_1", "share00_5", "share01", "share05", "share15", "share45"];
    let words = ["natural", "0.1 %", "0.5 %", "1 %", "5 %", "15 %", "45 %"];
    let auroc = |place: usize| 0.5 + 0.05 * place as f64;
    let one = |(place, share): (usize, &Option<f64>)| {
        let study = if (1..3).contains(&place) || place == 0 { "extension" } else { "table1" };
        at(study, "simclr", "resnet18", *share, 0, auroc(place))
    };
    let page = page(shares.iter().enumerate().map(one).collect());
    let tables = markdown::tables(&page);
    let lines: Vec<&str> = tables[0].1.lines().collect();
    assert_eq!((page.cards().len(), lines.len()), (7, 7));
    let html = decision::section(&page).into_string();
    let glance = rows(&html, "The answer at a glance");
    let articles: Vec<&str> = html.split("<article class=\"card\" ").skip(1).collect();
    assert_eq!((glance.len(), articles.len()), (7, 7));
    for (place, id) in ids.into_iter().enumerate() {
        let name =
            if place == 0 { "the data's own share".to_owned() } else { format!("{} defects", words[place]) };
        let told = format!("(AUROC {:.3}", auroc(place));
        let at =
            if place == 0 { "At the data's own share of defects".to_owned() } else { format!("At {name}") };
        assert!(
            lines[place].starts_with(&format!("- {at}: ")) && lines[place].contains(&told),
            "{}",
            lines[place]
        );
        let begin = format!("id=\"card-{id}\"><h3>Trained at {name}</h3>");
        assert!(articles[place].starts_with(&begin) && articles[place].contains(&told), "{begin}");
        let link = html.split("<a href=\"#").nth(place + 1).unwrap();
        assert!(link.starts_with(&format!("card-{id}\">")), "{link}");
        assert_eq!(glance[place][2], format!("{:.3}", auroc(place)));
    }
    let table = scores::table_1(&page).into_string();
    let expected: Vec<String> = (0..7).map(|place| format!("{:.3}", auroc(place))).collect();
    assert_eq!(row(&table, "AUROC of the converged probe by share", &["SimCLR"])[2..], expected);
    let head = table.split("<caption>AUROC of the converged probe by share").nth(1).unwrap();
    assert_eq!(texts(head.split("<tbody>").next().unwrap())[3..], words);
    let text = plain_text(&explorer::section(&page).into_string());
    for option in
        ["[value natural]the data's own share", "[value 0.001]0.1 % defects", "[value 0.005]0.5 % defects"]
    {
        assert!(text.contains(option), "no {option} in {text}");
    }
    let columns = "| Method | Backbone | natural | 0.1 % | 0.5 % | 1 % | 2 % | 5 % | 15 % | 45 % |\n";
    assert!(tables[2].1.contains(columns) && tables[3].1.contains(columns), "{}", tables[3].1);
}

/// Each part of a page says how far its own run has come, the later ones too.
#[test]
fn every_part_states_its_own_progress() {
    let part = |scale: &str, asked: &[&str]| {
        let mut own = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7);
        own.settings.scale = scale.to_owned();
        own.cell.id = format!("table1/{scale}");
        let cells = asked.iter().map(|&cell| cell.to_owned()).chain([own.cell.id.clone()]).collect();
        page(vec![own]).with_commands(vec![RecordedCommand { command: "reproduce".to_owned(), cells }])
    };
    let others =
        vec![part("two", &["table1/b", "table1/c"]), part("three", &[]), part("four", &["table1/d"])];
    let html = part("one", &["table1/a"]).with_others(others).body().into_string();
    let parts: Vec<&str> = html.split("<div class=\"part\"").collect();
    let told = |part: &str| -> Vec<String> {
        let status =
            part.split("role=\"status\">").skip(1).map(|rest| rest.split(" still missing.").next().unwrap());
        status.filter(|text| text.contains("trainings")).map(str::to_owned).collect()
    };
    assert_eq!(told(parts[0]), [""; 0], "the whole page has none");
    assert_eq!(told(parts[1]), ["1 of 2 trainings are finished; table1/a is"]);
    assert_eq!(told(parts[2]), ["1 of 3 trainings are finished; table1/b and 1 more are"]);
    assert_eq!(told(parts[3]), [""; 0]);
    assert_eq!(told(parts[4]), ["1 of 2 trainings are finished; table1/d is"]);
}

/// The images of Table 2 are others than those of all other studies, wherever its records stand.
#[test]
fn labels_are_not_those_of_table_2() {
    let of = |study: &str, digest: &str| {
        let mut record = at(study, "supervised", "resnet18", None, 0, 0.7);
        record.cell.variant = (study == "table2").then(|| "side128".to_owned());
        record.data.train_digest = format!("{digest}train0123");
        record.data.validation_digest = format!("{digest}valid0123");
        record
    };
    let (sized, own) = (of("table2", "2222"), of("extension", "1111"));
    for records in [vec![sized.clone(), own.clone()], vec![own, sized]] {
        let read = reading::from_memory(
            records.into_iter().map(|record| (record.cell.id.clone(), record)).collect(),
        );
        for turned in [false, true] {
            let mut filed: Vec<&FiledRecord> = read.records.iter().collect();
            if turned {
                filed.reverse();
            }
            let found = SettingSummary::of("a setting".to_owned(), &filed, false);
            assert_eq!(found.digests, ["1111trai", "1111vali"]);
        }
    }
}

/// Random weights stand beside the chosen model only if they are of its own network.
#[test]
fn the_glance_compares_with_random_weights_of_the_same_network() {
    let random = |backbone: &str, share: f64, auroc: f64| {
        at("random_weights", "none", backbone, Some(share), 0, auroc)
    };
    let html = decision::section(&page(vec![
        at("table1", "byol", "vit_tiny", Some(0.05), 0, 0.9),
        random("resnet18", 0.05, 0.31),
        random("vit_tiny", 0.05, 0.42),
        at("table1", "byol", "vit_tiny", Some(0.15), 0, 0.8),
        random("resnet18", 0.15, 0.33),
        at("table1", "byol", "resnet18", Some(0.45), 0, 0.7),
        random("resnet18", 0.45, 0.35),
        random("vit_tiny", 0.45, 0.46),
    ]))
    .into_string();
    let told: Vec<Vec<String>> =
        rows(&html, "The answer at a glance").into_iter().map(|row| row[1..4].to_vec()).collect();
    let expected = [
        ["BYOL, ViT-Tiny", "0.900", "0.420"],
        ["BYOL, ViT-Tiny", "0.800", DASH],
        ["BYOL, ResNet-18", "0.700", "0.350"],
    ];
    assert_eq!(told, expected);
}

/// A claim that was not judged by a yardstick counts nowhere under it, and has a dash there.
#[test]
fn claims_count_only_where_they_were_judged() {
    use Verdict::{Fails, Holds, Same, Undecided};
    use Yardstick::{Auroc, AurocAverage, Paper, PaperAverage};
    let any = claims::all()[0].judge(&claims::paper());
    let judged = |list: &[(Yardstick, Verdict)]| -> Judged {
        let one = |&(yardstick, verdict)| {
            let mut finding = any.clone();
            finding.verdict = verdict;
            finding.evidence.clear();
            finding.missing.clear();
            (yardstick, finding)
        };
        list.iter().map(one).collect()
    };
    let mut page = page(vec![at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7)]);
    let ways = [
        vec![judged(&[(Paper, Holds)]), judged(&[(Auroc, Fails), (AurocAverage, Same)])],
        vec![judged(&[]), judged(&[(Paper, Fails)])],
        vec![judged(&[(Paper, Undecided)]), judged(&[(Paper, Same), (PaperAverage, Undecided)])],
        vec![judged(&[(Paper, Fails)]), judged(&[(AurocAverage, Undecided)])],
    ];
    page.judged = claims::all().into_iter().zip(ways).collect();
    let html = findings::verdicts(&page).into_string();
    assert!(html.contains("On the paper's own printed numbers, 1 holds, 1 fails, 1 is undecided "), "{html}");
    let ours =
        "as strictly as the paper words them, 0 hold, 1 fails, 1 is the same, 0 are undecided; 3 of 4 are";
    assert!(html.contains(ours), "{html}");
    let table = html.split("<caption>Claims and their").nth(1).unwrap().split("</table>").next().unwrap();
    fn first(cell: &str) -> &str {
        cell.split('>').filter_map(|part| part.split('<').next()).find(|text| !text.is_empty()).unwrap()
    }
    let cells: Vec<Vec<&str>> =
        table.split("<tr>").skip(2).map(|row| row.split("<td>").skip(1).map(first).collect()).collect();
    let expected = [
        ["holds", DASH, DASH, "fails", "the same"],
        [DASH, "fails", DASH, DASH, DASH],
        ["undecided", "the same", "undecided", DASH, DASH],
        ["fails", DASH, DASH, DASH, "undecided"],
    ];
    assert_eq!(cells, expected);
    // Colours and signs of the style sheet go by these names; findings without numbers say so.
    for (class, count) in [("holds", 1), ("fails", 3), ("the-same", 2), ("undecided", 3)] {
        assert_eq!(table.matches(&format!("<span class=\"verdict {class}\">")).count(), count, "{class}");
        assert!(include_str!("../style.css").contains(&format!(".verdict.{class} {{ color: ")), "{class}");
    }
    assert_eq!(table.matches("<dd>none").count(), 9);
    let (_, text) = &markdown::tables(&page)[1];
    assert_eq!(text.lines().count(), 6);
    for (line, cells) in text.lines().skip(2).zip(expected) {
        let bold = |cell: &str| {
            if [DASH, "undecided"].contains(&cell) { cell.to_owned() } else { format!("**{cell}**") }
        };
        let end = format!(" | {} |", cells.map(bold).join(" | "));
        assert!(line.ends_with(&end), "no {end} in {line}");
    }
}

/// The axis reaches as far as the widest of all intervals, whichever comes first.
#[test]
fn the_axis_of_differences_on_the_same_images_fits_them_all() {
    let found = |method: method::Name, [low, estimate, high]: [f64; 3]| ImageDifference {
        method,
        backbone: backbone::Name::ViTTiny,
        share: Share::percent(5),
        difference: crate::analysis::Interval { estimate, low, high },
    };
    let list = || {
        vec![
            found(method::Name::Byol, [0.02, 0.05, 0.08]),
            found(method::Name::SimClr, [-0.45, -0.30, -0.15]),
            found(method::Name::Mae, [0.10, 0.35, 0.60]),
        ]
    };
    let records = vec![at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5)];
    let text = plain_text(&scores::ranking(&page(records).with_images(list())).into_string());
    for line in [
        "BYOL, ViT-Tiny: 0.05 (BYOL) [0.02, 0.08]",
        "SimCLR, ViT-Tiny: -0.30 (SimCLR) [-0.45, -0.15]",
        "MAE, ViT-Tiny: 0.35 (MAE) [0.10, 0.60]",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

/// Records that are older than a score do not count in its mean.
#[test]
fn scores_that_older_records_lack_do_not_count_as_nought() {
    let of = |seed: u64, found: Option<f64>, flagged: Option<f64>, oracle: Option<f64>| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), seed, 0.5);
        let trained = Score { classifier: "in_training".into(), f2_ciw_oracle: oracle, ..scored(0.5, 0.5) };
        (record.scores[0].tpr_at_fpr_5, record.scores[0].fpr_at_tpr_95) = (found, flagged);
        record.scores.push(trained);
        record
    };
    let page =
        page(vec![of(0, Some(0.4), None, Some(0.3)), of(1, None, Some(0.7), None), of(2, None, None, None)]);
    let html = scores::table_1(&page).into_string();
    for (caption, expected) in [
        ("TPR at 5 % FPR of the converged probe by share", "0.400"),
        ("FPR at 95 % TPR of the converged probe by share", "0.700"),
    ] {
        assert_eq!(numbers(&row(&html, caption, &["SimCLR"])), ["SimCLR", "ResNet-18", expected]);
    }
    let ours =
        rows(&html, "F2_CIW, oracle-typed by method").into_iter().find(|row| row[0] == "ours").unwrap();
    assert_eq!(numbers(&ours), ["ours", DASH, DASH, "0.300", DASH, DASH]);
}

/// Machines and builds are told apart by each of their five properties.
#[test]
fn every_property_of_a_machine_tells_it_apart() {
    let change: [fn(&mut crate::results::record::Provenance); 6] = [
        |_| (),
        |made| made.revision.push('x'),
        |made| made.skewbench.push('x'),
        |made| made.cpu.push('x'),
        |made| made.device.push('x'),
        |made| made.system.push('x'),
    ];
    let records = (0..).zip(change).flat_map(|(number, change)| {
        // One record of the first, two of the second, and so on.
        (0..=number).map(move |seed| {
            let mut record = at("table1", "simclr", "resnet18", Some(0.05), 10 * number + seed, 0.5);
            change(&mut record.provenance);
            record
        })
    });
    let html = sources::section(&page(records.collect())).into_string();
    let mut found = rows(&html, "Code and machines that made these records");
    found.sort();
    let usual = ["unknown", "0.1.0", "unknown", "cpu", "linux x86_64"];
    for (number, row) in found.iter().enumerate() {
        let expected =
            (0..5).map(|place| format!("{}{}", usual[place], if place + 1 == number { "x" } else { "" }));
        assert_eq!(row[0], (number + 1).to_string());
        assert_eq!(row[1..], expected.collect::<Vec<_>>());
    }
    assert_eq!(found.len(), 6);
}

/// Only protocols of the paper make it the paper's: Table 1 at full scale. Fifty problems are all listed.
#[test]
fn without_table_1_nothing_is_the_papers() {
    let mut own = at("extension", "simclr", "resnet18", Some(0.3), 0, 0.5);
    (own.settings.scale, own.data.source) = ("full".to_owned(), "sewer-ml".to_owned());
    let told = |records: Vec<Record>| plain_text(&page(records).banner().into_string());
    assert!(told(vec![own.clone()]).contains("They do not reproduce the paper"));
    let mut table_1 = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5);
    (table_1.settings.scale, table_1.data.source) = ("full".to_owned(), "sewer-ml".to_owned());
    assert!(told(vec![own, table_1]).contains("They follow the paper's protocol on the paper's data."));
    for (count, more) in [(50, None), (51, Some("and 1 more"))] {
        let mut reading = page(vec![at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5)]).reading;
        reading.problems = (0..count)
            .map(|place| reading::ReadingProblem {
                kind: reading::ProblemKind::NotANumber,
                place: "here".to_owned(),
                description: format!("cell {place}."),
            })
            .collect();
        let text = plain_text(&Page::new(reading, None).problems().into_string());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{count} things to know about these records"));
        assert_eq!(lines[50], "not a number: here: cell 49.");
        assert_eq!(lines.get(51).copied(), more);
    }
}

/// Names of others are no Markdown in the tables of documents.
#[test]
fn a_setting_with_marks_in_its_name_breaks_no_table() {
    let mut own = at("table1", "simclr", "resnet18", Some(0.05), 0, 0.5);
    own.settings.scale = "a|b <c> *d*".to_owned();
    let tables = markdown::tables(&page(vec![own]));
    let expected = "a\\|b &lt;c&gt; \\*d\\* scale, short recipe, synthetic\n\n| Method |";
    for (name, begin) in [("table1", "F1, "), ("auroc", "AUROC of the converged probe, ")] {
        let (_, text) = tables.iter().find(|(known, _)| *known == name).unwrap();
        assert!(text.starts_with(&format!("{begin}{expected}")), "{text}");
    }
}

/// Classes whose names begin alike are told apart, and one that a seed lacks is counted over the others.
#[test]
fn classes_are_whole_names_over_the_seeds_that_have_them() {
    let of = |seed: u64, classes: &[(&str, [usize; 2])]| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), seed, 0.8);
        record.scores[0].recall_by_class =
            classes.iter().map(|(name, counts)| ((*name).to_owned(), *counts)).collect();
        record
    };
    let page = page(vec![
        of(0, &[("crack", [20, 200]), ("crack, open", [150, 200])]),
        of(1, &[("crack", [60, 200]), ("crack, open", [170, 200]), ("roots", [30, 50])]),
    ]);
    let text = plain_text(&decision::section(&page).into_string());
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains("00): ") || line.contains("(50): ")).collect();
    let begins: Vec<&str> = lines.iter().map(|line| line.split(" (SimCLR)").next().unwrap()).collect();
    assert_eq!(begins, ["crack, open (200): 0.80", "roots (50): 0.60", "crack (200): 0.20"], "{text}");
}

/// Metrics that need no labels stand in the order of their strength, whatever their sign; one of few models has no
/// place.
#[test]
fn the_strongest_correlation_is_on_top() {
    // Order of ten models by each metric; AUROC rises from model to model.
    let orders = [
        ("nesum", [8, 9, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("rankme", [3, 0, 6, 1, 9, 2, 4, 8, 5, 7]),
        ("self_cluster", [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]),
    ];
    let one = |place: usize| {
        let share = [0.01, 0.02, 0.05, 0.15, 0.45][place / 2];
        let auroc = 0.5 + 0.01 * place as f64;
        let mut record = at("table1", "byol", "resnet18", Some(share), place as u64 % 2, auroc);
        let mut features: std::collections::BTreeMap<String, f64> =
            orders.iter().map(|(name, order)| ((*name).to_owned(), f64::from(order[place]))).collect();
        if place < 3 {
            features.insert("alpha_req".to_owned(), place as f64);
        }
        record.label_free = [("features".to_owned(), features)].into();
        // Models are those with a classifier in training.
        record.scores.push(Score { classifier: "in_training".into(), ..scored(0.5, 0.5) });
        record
    };
    let text = plain_text(&scores::label_free(&page((0..10).map(one).collect())).into_string());
    let (_, figure) = text.split_once("figure: Rank correlation of each label-free metric").unwrap();
    let lines: Vec<&str> = figure.lines().filter(|line| line.contains(" (grey) [")).collect();
    let begins: Vec<&str> = lines.iter().map(|line| line.split(" (grey)").next().unwrap()).collect();
    // 1 - 6 s / 990, with squares of differences of ranks that sum to 328, 10 and 82.
    let expected = ["NESum (features): -0.99", "self-clustering (features): 0.94", "RankMe (features): 0.50"];
    assert_eq!(begins, expected);
}

/// A network on which nothing was trained has no figure by share, even if pixels or random weights were scored.
#[test]
fn floors_alone_have_no_figure_by_share() {
    let page = page(vec![
        at("table1", "simclr", "resnet18", Some(0.05), 0, 0.7),
        at("pixels", "none", "pixels", Some(0.05), 0, 0.2),
        at("random_weights", "none", "vit_tiny", Some(0.05), 0, 0.3),
    ]);
    let plots = scores::by_share(&page, page.ours().unwrap(), Metric::Auroc);
    let told: Vec<(&str, Vec<&str>)> = plots
        .iter()
        .map(|(backbone, plot)| (backbone.label(), plot.series.iter().map(|series| &*series.name).collect()))
        .collect();
    assert_eq!(told, [("ResNet-18", vec!["raw pixels", "SimCLR"])]);
}

/// With several seeds but one self-supervised method at each share, there is nothing to rank, and the page says so.
#[test]
fn one_method_at_a_share_has_nothing_to_be_ranked_with() {
    let records = [
        seeds("table1", "supervised", 0.05, &[0.6, 0.61]),
        seeds("table1", "simclr", 0.05, &[0.7, 0.72]),
        seeds("table1", "byol", 0.15, &[0.5, 0.53]),
    ];
    let text = plain_text(&scores::ranking(&page(records.concat())).into_string());
    let expected = "No share has two self-supervised methods on one backbone, so there is nothing to rank. ";
    assert!(text.starts_with(expected) && !text.contains("Chance of the highest"), "{text}");
    assert!(text.contains("\nSimCLR, 5 %: 0.10 (") || text.contains("\nSimCLR, 5 %: 0.11 ("), "{text}");
}

/// Chance lies within the frame though all models are far above it, and intervals end where scores do.
#[test]
fn chance_is_shown_below_all_models() {
    let of = |seed: u64, hit: f64| {
        let mut record = at("table1", "simclr", "resnet18", Some(0.05), seed, 0.97 + 0.02 * seed as f64);
        let chance = 0.1 - 0.04 * seed as f64;
        record.pointing = Some(crate::results::record::Pointing { images: 9, hit, chance, ceiling: 0.95 });
        record
    };
    let page = page(vec![of(0, 0.81), of(1, 0.83)]);
    let text = plain_text(&scores::pointing(&page).into_string());
    assert!(text.contains("\nline at 0.08\nSimCLR: 0.82 (SimCLR) [0.69, 0.95]\n"), "{text}");
    // Half of the interval is 12.706 standard errors of 0.01.
    let table = scores::table_1(&page).into_string();
    let found = row(&table, "AUROC of the converged probe by share", &["SimCLR"]);
    assert_eq!(found[2], "0.980 0.853\u{2013}1.000");
}

/// With eight seeds, means that are two deviations of a seed apart are never in another order.
#[test]
fn ranks_of_many_seeds_are_certain() {
    let eight = |middle: f64| [-3.0, 1.0, 2.0, -1.0, 3.0, -2.0, 0.5, -0.5].map(|step| middle + 0.01 * step);
    let records = [0.05, 0.15].map(|share| {
        [
            seeds("random_weights", "none", share, &eight(0.6)),
            seeds("table1", "supervised", share, &eight(0.64)),
            seeds("table1", "simclr", share, &eight(0.68)),
        ]
        .concat()
    });
    let text = plain_text(&scores::ranking(&page(records.concat())).into_string());
    let (_, figure) = text.split_once("figure: Rank by AUROC").unwrap();
    let lines: Vec<&str> = figure.lines().filter(|line| line.contains(", ResNet-18: ")).take(3).collect();
    let expected = [
        "SimCLR, ResNet-18: 1.00 (SimCLR) [1.00, 1.00]",
        "Supervised, ResNet-18: 2.00 (Supervised) [2.00, 2.00]",
        "random weights, ResNet-18: 3.00 (grey) [3.00, 3.00]",
    ];
    assert_eq!(lines, expected);
}
