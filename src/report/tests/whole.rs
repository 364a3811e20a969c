//! Everything around the sections: which setting and share are shown, verdicts, parts, example images, provenance.

use super::*;
use crate::claims::Verdict;

fn at_share(method: &str, share: Option<f64>) -> Record {
    let mut record = record("table1", None, method, 0, &[("converged", scored(0.5, 0.5))]);
    record.cell.train_share = share;
    if share.is_none() {
        record.cell.study = "extension".to_owned();
    }
    record.cell.id = format!("{}{share:?}", record.cell.id);
    record
}

#[test]
fn figures_of_one_share_show_the_papers_largest_or_ours() {
    let main = |shares: &[Option<f64>]| {
        let records = shares.iter().map(|share| at_share("simclr", *share)).collect();
        main_share(page(records).reading())
    };
    assert_eq!(main(&[Some(0.01), Some(0.05)]), Some(Share::percent(5)));
    assert_eq!(main(&[Some(0.01), Some(0.45), Some(0.05)]), Some(Share::percent(45)));
    assert_eq!(main(&[]), None);
    // The share of a floor does not count as trained.
    let mut floor = at_share("none", Some(0.15));
    floor.cell.study = "random_weights".to_owned();
    assert_eq!(
        main_share(page(vec![at_share("simclr", Some(0.02)), floor]).reading()),
        Some(Share::percent(2))
    );
}

#[test]
fn only_the_papers_data_at_full_scale_are_the_papers() {
    let is = |scale: &str, source: &str| {
        let mut record = at_share("simclr", Some(0.05));
        (record.settings.scale, record.data.source) = (scale.to_owned(), source.to_owned());
        page(vec![record]).is_the_papers()
    };
    assert!(is("full", "sewer-ml"));
    assert!(!is("small", "sewer-ml") && !is("full", "elpv") && !page(Vec::new()).is_the_papers());
    let html = page(vec![at_share("simclr", Some(0.05))]).html();
    assert!(html.contains("They do not reproduce the paper"), "drawn pictures do not");
}

#[test]
fn the_datas_own_share_is_counted() {
    let mut natural = at_share("simclr", None);
    (natural.data.train.normals, natural.data.train.defects) = (600, 200);
    let page = page(vec![natural]);
    assert_eq!(page.fraction(Share::NATURAL), Some(0.25));
    assert_eq!(page.fraction(Share::percent(15)), Some(0.15), "what was asked for is no count");
    assert_eq!(page.shares(), [Share::NATURAL]);
    let of_none = super::page(Vec::new());
    assert_eq!((of_none.fraction(Share::NATURAL), of_none.fraction(Share::percent(2))), (None, Some(0.02)));
    let words = [Share::NATURAL, Share::percent(5)].map(share_in_words);
    assert_eq!(words, ["the data's own share", "5 % defects"]);
}

#[test]
fn problems_are_counted_and_the_first_are_listed() {
    let told = |count: usize| {
        let mut reading = page(vec![at_share("simclr", Some(0.05))]).reading;
        reading.problems.clear();
        reading.problems.extend((0..count).map(|place| reading::ReadingProblem {
            kind: reading::ProblemKind::Missing,
            place: "here".to_owned(),
            description: format!("cell {place}."),
        }));
        Page::new(reading, None).problems().into_string()
    };
    assert_eq!(told(0), "");
    assert!(told(1).contains("1 thing to know"), "{}", told(1));
    let many = told(53);
    assert!(many.contains("53 things to know") && many.contains("and 3 more"), "{many}");
    assert!(many.contains("cell 49.") && !many.contains("cell 50."), "{many}");
}

/// A page whose claims have these verdicts: on the paper's numbers, then on ours by each yardstick.
fn judged(verdicts: &[(Verdict, [Verdict; 4])]) -> Page {
    let any = claims::all()[0].judge(&claims::paper());
    let finding = |verdict| {
        let mut finding = any.clone();
        finding.verdict = verdict;
        finding
    };
    let mut page = page(vec![at_share("simclr", Some(0.05))]);
    let one = |(claim, (paper, ours)): (&'static Claim, &(Verdict, [Verdict; 4]))| {
        let ours = Yardstick::ALL.into_iter().zip(ours.map(finding)).collect();
        (claim, vec![vec![(Yardstick::Paper, finding(*paper))], ours])
    };
    page.judged = claims::all().into_iter().zip(verdicts).map(one).collect();
    page
}

#[test]
fn verdicts_stand_under_whose_they_are() {
    use Verdict::{Fails, Holds, Same, Undecided};
    let page = judged(&[
        (Holds, [Fails, Same, Undecided, Holds]),
        (Undecided, [Undecided, Undecided, Undecided, Fails]),
        (Holds, [Same, Undecided, Undecided, Undecided]),
        (Fails, [Undecided; 4]),
    ]);
    let html = findings::verdicts(&page).into_string();
    let paper = "On the paper's own printed numbers, 2 hold, 1 fails, 1 is undecided ";
    assert!(html.contains(paper), "{html}");
    let ours = "taken as strictly as the paper words them, 0 hold, 1 fails, 1 is the same, 2 are undecided; \
                3 of 4 are decided by at least one of the four ways of judging";
    assert!(html.contains(ours), "{html}");
    let table = html.split("<caption>Claims and their").nth(1).unwrap();
    let heads: Vec<&str> = texts(table.split("<tbody>").next().unwrap())[1..].to_vec();
    let expected = [
        "Claim",
        "Paper's numbers",
        "Ours: paper's score, every share",
        "Ours: paper's score, average of shares",
        "Ours: AUROC, every share",
        "Ours: AUROC, average of shares",
    ];
    assert_eq!(heads, expected);
    let first = table.split("<tbody>").nth(1).unwrap().split("</tr>").next().unwrap();
    let cells: Vec<&str> = first.split("<td>").skip(1).map(|cell| *texts(cell).first().unwrap()).collect();
    assert_eq!(cells, ["holds", "fails", "the same", "undecided", "holds"]);
    // The same verdicts as Markdown.
    let [_, (name, text), ..] = &markdown::tables(&page)[..] else { panic!("no verdicts") };
    let line = text.lines().nth(2).unwrap();
    assert_eq!(*name, "verdicts");
    assert!(line.ends_with("| **holds** | **fails** | **the same** | undecided | **holds** |"), "{line}");
}

/// The number of verdicts decided by chance is stated for simulated studies with as many seeds or fewer.
#[test]
fn chance_is_told_of_simulated_studies_of_no_more_seeds() {
    let text = |seeds: u64| {
        let mut records = vec![at_share("simclr", Some(0.05)); seeds as usize];
        for (seed, record) in (0..).zip(&mut records) {
            record.cell.seed = seed;
            record.cell.id = format!("{}-{seed}", record.cell.id);
        }
        findings::verdicts(&page(records)).into_string()
    };
    for (seeds, simulated) in [(2, 2), (4, 3), (9, 5)] {
        let expected = format!("(simulated studies with {simulated} seeds and ");
        assert!(text(seeds).contains(&expected), "{seeds} seeds");
    }
    assert!(!text(1).contains("by chance alone"), "one seed was not simulated");
}

#[test]
fn a_setting_is_told_by_its_largest_records() {
    let of = |folder: &str, study: &str, train: [usize; 2], validation: [usize; 2], digest: &str| {
        let mut record = at_share("simclr", Some(0.05));
        record.cell.study = study.to_owned();
        if study == "table2" {
            (record.cell.variant, record.cell.method) = (Some("side128".to_owned()), "supervised".to_owned());
        }
        record.cell.id = format!("{study}{folder}");
        (record.data.train.normals, record.data.train.defects) = (train[0], train[1]);
        (record.data.validation.normals, record.data.validation.defects) = (validation[0], validation[1]);
        record.data.train_digest = format!("{digest}aaaa0123456789");
        record.data.validation_digest = format!("{digest}bbbb0123456789");
        record
    };
    let records = [
        of("it's", "table2", [10, 5], [9, 9], "2222"),
        of("it's", "table1", [90, 10], [3, 4], "1111"),
        of("other", "table1", [99, 0], [7, 8], "1111"),
    ];
    let read =
        reading::from_memory(records.iter().map(|record| (record.cell.id.clone(), record.clone())).collect());
    let filed: Vec<&FiledRecord> = read.records.iter().collect();
    let found = SettingSummary::of("a setting".to_owned(), &filed, false);
    // By hand: 100 images are more than 99, 18 more than 15; Table 2 draws images of its own.
    let sentence = found.sentence();
    let expected = "3 records of a setting: at most 90 normal images and 10 defects to train on (labels 1111aaaa), \
                    9 normal images and 9 defects to score on (labels 1111bbbb)";
    assert!(sentence.starts_with(expected), "{sentence}");
    let there = SettingSummary { folders: ["it's".into(), "other".into()].into(), ..found };
    assert_eq!(there.how_to_show(), "cargo xtask report 'it'\\''s' 'other' --setting 'a setting'");
    assert!(there.sentence().ends_with("; from it's, other"), "{}", there.sentence());
    let trials = SettingSummary { is_tuning: true, records: 1, ..there };
    assert!(
        trials.how_to_show().starts_with("these are trials of `tune`")
            && trials.sentence().starts_with("1 record of")
    );
}

#[test]
fn pictures_stand_under_what_was_said_of_them() {
    let of = |shows: &str, logit: f64| vec![Example { uri: "data:,".into(), shows: shows.into(), logit }];
    let examples = Examples {
        cell: "table1/a".into(),
        hits: of("RB", 2.27),
        misses: of("FS", -1.04),
        false_alarms: of("normal", 0.5),
        passed: Vec::new(),
    };
    let html = pictures::section(Some(&examples)).into_string();
    let kinds: Vec<Vec<&str>> = html.split("<h3>").skip(1).map(texts).collect();
    let expected = [
        ["Defects found, most confident", "RB, +2.3"],
        ["Defects missed, worst", "FS, -1.0"],
        ["False alarms, worst", "normal, +0.5"],
        ["Normal images passed, most confident", "None."],
    ];
    assert_eq!(kinds, expected);
    assert!(pictures::section(None).into_string().contains("No example images"));
}

#[test]
fn code_machines_and_settings_are_listed() {
    let mut records: Vec<Record> = [("b", 1), ("a", 2), ("a", 2)]
        .into_iter()
        .enumerate()
        .map(|(place, (revision, size))| {
            let mut record = at_share("simclr", Some(0.05));
            record.cell.id = format!("{}{place}", record.cell.id);
            record.provenance.revision = revision.to_owned();
            record.provenance.device = "cuda".to_owned();
            record.provenance.cpu = "a processor".to_owned();
            record.settings.values.insert("batch_size".to_owned(), size.into());
            record
        })
        .collect();
    records[0].data.limits = vec!["drawn".to_owned()];
    let html = sources::section(&page(records)).into_string();
    let machine = |count: &str, revision: &str| {
        [count, revision, "0.1.0", "a processor", "cuda", "linux x86_64"].map(str::to_owned)
    };
    let found = rows(&html, "Code and machines that made these records");
    assert_eq!(found, [machine("2", "a"), machine("1", "b")]);
    let setting = rows(&html, "Where values differ within a study");
    assert_eq!(setting, [["table1", "batch_size", "2 (2 records; 1 other values)"]]);
    assert!(html.contains("<li>drawn</li>"), "{html}");
}

/// The card's figure: the highest on top, candidates for the best with a star.
#[test]
fn arms_and_floors_stand_in_order_and_candidates_have_a_star() {
    let of = |study: &str, method: &str, seed: u64, auroc: f64| {
        record(study, None, method, seed, &[("converged", scored(0.5, auroc))])
    };
    let mut records = Vec::new();
    for seed in 0..3 {
        let off = 0.001 * seed as f64;
        records.push(of("random_weights", "none", seed, 0.7 + off));
        records.push(of("table1", "byol", seed, 0.5 + off));
        records.push(of("table1", "simclr", seed, 0.9 + off));
        records.push(of("fine_tuned", "simclr", seed, 0.8 + off));
    }
    let html = decision::section(&page(records)).into_string();
    let figure = html.split("AUROC of the converged probe (95 % over seeds)").nth(1).unwrap();
    let names: Vec<&str> = texts(figure.split("</svg>").next().unwrap())
        .into_iter()
        .filter(|text| text.contains("ResNet-18"))
        .collect();
    let expected = [
        "SimCLR, ResNet-18 \u{2605}",
        "SimCLR, fine-tuned, ResNet-18",
        "random weights, ResNet-18",
        "BYOL, ResNet-18",
    ];
    assert_eq!(names, expected);
    let one = decision::section(&page(vec![of("table1", "simclr", 0, 0.5)])).into_string();
    assert!(one.contains("(one seed: no intervals)"), "{one}");
}

#[test]
fn a_figure_shows_the_score_that_it_is_asked_for() {
    let records = [0.05, 0.45].map(|share| {
        let mut record = at_share("simclr", Some(share));
        for score in &mut record.scores {
            (score.auroc, score.average_precision) = (0.5 + share, 0.2 + share);
        }
        record
    });
    let page = page(records.to_vec());
    let shown = |metric| -> Vec<f64> {
        let plots = scores::by_share(&page, page.ours().unwrap(), metric);
        let [(_, plot)] = &plots[..] else { panic!("one backbone") };
        plot.series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).collect()
    };
    assert_eq!(shown(Metric::Auroc), [0.55, 0.95]);
    assert_eq!(shown(Metric::AveragePrecision), [0.25, 0.65]);
}

#[test]
fn images_of_training_stand_before_those_of_validation() {
    let [one, mut other] = [0.05, 0.45].map(|share| at_share("simclr", Some(share)));
    other.settings.scale = "other".to_owned();
    (other.data.train.normals, other.data.train.defects) = (600, 200);
    (other.data.validation.normals, other.data.validation.defects) = (30, 40);
    let html = page(vec![one]).with_others(vec![page(vec![other])]).html();
    let found = rows(&html, "Contents of the parts");
    let other = found.iter().find(|row| row[0].contains("other")).expect("its row");
    assert_eq!(other[1], "1", "records");
    assert_eq!(other[2..4], ["600 normal images and 200 defects", "30 normal images and 40 defects"]);
}

/// Where all records are Table 2's, the labels are those of the first of them.
#[test]
fn a_setting_of_table_2_alone_states_its_own_labels() {
    let sized = |side: &str, digest: &str| {
        let mut record = at_share("supervised", None);
        (record.cell.study, record.cell.variant) = ("table2".to_owned(), Some(side.to_owned()));
        record.cell.id = side.to_owned();
        (record.data.train_digest, record.data.validation_digest) =
            (format!("{digest}aaaa0123"), format!("{digest}bbbb0123"));
        record
    };
    let page = page(vec![sized("side064", "1111"), sized("side128", "2222")]);
    let contents = page.contents().unwrap();
    assert_eq!(
        (contents.records, contents.digests.clone()),
        (2, ["1111aaaa", "1111bbbb"].map(str::to_owned))
    );
}

/// Our own questions have no quote, but they have notes; what has no note has no head for one.
#[test]
fn our_own_questions_have_their_notes() {
    let html = findings::verdicts(&page(Vec::new())).into_string();
    for claim in claims::all() {
        let begin = format!("<details id=\"claim-{}\">", claim.id);
        let own = html.split(&begin).nth(1).unwrap().split("</details>").next().unwrap();
        let told = texts(own);
        let said = if claim.quote.is_empty() { claim.predicate } else { claim.quote };
        let section = if claim.quote.is_empty() { "our own question" } else { claim.section };
        assert_eq!(
            (told[0].trim(), told[told.iter().position(|text| *text == section).unwrap()]),
            (said, section)
        );
        let after = |head: &str| told.iter().position(|text| *text == head).map(|place| told[place + 1]);
        let [judged, note] = ["Judged as", "Note"].map(after);
        assert_eq!(judged, Some(claim.predicate).filter(|_| !claim.quote.is_empty()), "{}", claim.id);
        assert_eq!(note, Some(claim.note).filter(|note| !note.is_empty()), "{}", claim.id);
    }
}
