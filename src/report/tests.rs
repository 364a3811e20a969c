//! Records whose numbers are easy to compute by hand, and where the page must show them.

mod elsewhere;
mod everything;
mod frames;
mod missing;
mod sections;
mod several;
mod told;
mod uneven;
mod whole;

use super::*;
use crate::{
    analysis::reading,
    results::{
        Record, example,
        record::{Epoch, Score},
    },
};

/// A record of a study and variant, with the given scores by classifier.
fn record(study: &str, variant: Option<&str>, method: &str, seed: u64, scores: &[(&str, Score)]) -> Record {
    let mut record = example::record();
    let named = variant.unwrap_or("plain");
    record.cell.id = format!("{study}/{method}-resnet18-{named}-seed{seed}");
    (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
    (record.cell.variant, record.cell.seed) = (variant.map(str::to_owned), seed);
    let own =
        |(classifier, score): &(&str, Score)| Score { classifier: (*classifier).into(), ..score.clone() };
    record.scores = scores.iter().map(own).collect();
    record
}

/// A score with this F1 and AUROC.
fn scored(f1: f64, auroc: f64) -> Score {
    Score { f1, auroc, ..example::score("", None) }
}

fn page(records: Vec<Record>) -> Page {
    Page::new(
        reading::from_memory(records.into_iter().map(|record| (record.cell.id.clone(), record)).collect()),
        None,
    )
}

/// Returns the text of each cell in the rows of a table, row headings included; the table is found by a part of its
/// caption.
fn rows(html: &str, caption: &str) -> Vec<Vec<String>> {
    let table = html.split("<table").find(|table| table.contains(caption)).expect(caption);
    let body =
        table.split("</table>").next().and_then(|table| table.split("<tbody>").nth(1)).expect("a body");
    let bare = |cell: &str| {
        let parts = cell.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        parts.collect::<String>().trim().to_owned()
    };
    let cells = |row: &str| {
        let cells = row.split("</td>").flat_map(|part| part.split("</th>"));
        cells.map(bare).filter(|text| !text.is_empty()).collect::<Vec<_>>()
    };
    body.split("</tr>").map(cells).filter(|row| !row.is_empty()).collect()
}

/// Returns the row of a table that begins with these cells.
fn row(html: &str, caption: &str, begin: &[&str]) -> Vec<String> {
    let rows = rows(html, caption);
    let found =
        rows.iter().find(|row| row.len() >= begin.len() && row.iter().zip(begin).all(|(a, b)| a == b));
    found.unwrap_or_else(|| panic!("no {begin:?} in {rows:?}")).clone()
}

/// Returns the texts between tags, which include the numbers of figures.
fn texts(html: &str) -> Vec<&str> {
    html.split('>').filter_map(|part| part.split('<').next()).filter(|text| !text.is_empty()).collect()
}

#[test]
fn a_run_that_goes_on_is_counted_by_what_was_asked() {
    let score = [("converged", scored(0.5, 0.5))];
    let finished = ["simclr", "byol"].map(|method| record("table1", None, method, 0, &score));
    let asked = |names: &[&str]| RecordedCommand {
        command: "reproduce".to_owned(),
        cells: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let told = |names: &[&str]| page(finished.to_vec()).with_commands(vec![asked(names)]).progress();
    let own = finished[0].cell.id.as_str();
    // Of three requested cells one is finished; the other record was not requested.
    let text = told(&[own, "table1/b", "table1/a"]).unwrap();
    assert!(
        text.starts_with("1 of 3 trainings are finished; table1/a and 1 more are still missing."),
        "{text}"
    );
    assert_eq!(told(&[own]), None);
}

#[test]
fn cost_is_training_and_evaluation() {
    let mut records: Vec<Record> = (0..2)
        .map(|seed| record("table1", None, "simclr", seed, &[("converged", scored(0.5, 0.5))]))
        .collect();
    // 1 hour and half an hour, twice 18 minutes.
    for (record, (train, evaluate)) in records.iter_mut().zip([(3_600.0, 1_080.0), (1_800.0, 1_080.0)]) {
        (record.cost.train_seconds, record.cost.evaluate_seconds) = (train, evaluate);
    }
    records[0].cost.images_per_second = 300.0;
    let html = sources::section(&page(records)).into_string();
    assert!(html.contains("2 models, 2.1 hours of training and evaluation in all."), "{html}");
    let expected = ["SimCLR", "ResNet-18", "2", "2700.0", "1080.0", "200"];
    assert_eq!(row(&html, "Mean seconds per model, over shares and seeds", &["SimCLR"]), expected);
}

#[test]
fn table_2_has_scores_and_seconds_of_an_epoch() {
    let mut sized =
        record("table2", Some("side128"), "supervised", 0, &[("in_training", scored(0.625, 0.5))]);
    sized.cell.train_share = None;
    sized.cost.train_seconds = 40.0;
    let epoch = |epoch| Epoch {
        epoch,
        loss: 1.0,
        probe_loss: None,
        learning_rate: 0.1,
        seconds: 20.0,
        monitors: std::collections::BTreeMap::new(),
    };
    sized.curve = vec![epoch(1), epoch(2)];
    // The time of an epoch excludes evaluation.
    sized.cost.evaluate_seconds = 600.0;
    let html = scores::protocol(&page(vec![sized])).into_string();
    let rows = rows(&html, "Supervised training without augmentation");
    let ours: Vec<_> = rows.iter().filter(|row| row[..2] == ["ResNet-18", "ours"]).collect();
    assert_eq!(ours, [&["ResNet-18", "ours", "\u{2013}", "0.625 20 s", "\u{2013}", "\u{2013}", "\u{2013}"]]);
}

#[test]
fn figure_3_has_crops_as_rows_and_jitter_as_columns() {
    let steps = [("jitter0100-crop0500", 0.25), ("jitter0800-crop0500", 0.5), ("jitter0100-crop0080", 0.75)];
    let cells = steps.map(|(variant, f1)| {
        let mut step = record("figure3", Some(variant), "supervised", 0, &[("in_training", scored(f1, 0.5))]);
        step.cell.train_share = None;
        step
    });
    let html = scores::protocol(&page(cells.to_vec())).into_string();
    let figure = html.split("Figure 3: augmentation").nth(1).unwrap().split("</svg>").next().unwrap();
    let texts = texts(figure);
    let from = texts.iter().position(|text| *text == "strength of the colour jitter").unwrap();
    // Columns, then each row with its numbers in per cent, the weakest crops last.
    let expected = ["0.1", "0.8", "0.08", "75.0", "\u{2013}", "0.5", "25.0", "50.0"];
    assert_eq!(texts[from + 1..][..8], expected, "{texts:?}");
}

#[test]
fn an_ablation_costs_what_the_released_code_has_less() {
    let at = |study: &str, seed: u64, f1: f64| {
        let mut record = record(study, None, "simclr", seed, &[("in_training", scored(f1, 0.5))]);
        record.cell.train_share = Some(0.45);
        record
    };
    // Differences -0.2 and -0.1: mean -0.15, with one degree of freedom.
    let records = vec![
        at("table1", 0, 0.7),
        at("table1", 1, 0.7),
        at("probe_under_lars", 0, 0.5),
        at("probe_under_lars", 1, 0.6),
    ];
    let page = page(records);
    let found = scores::protocol(&page).into_string();
    let figure = found.split("Difference in F1 that each choice of the released code makes").nth(1).unwrap();
    assert!(figure.contains("SimCLR: online probe under LARS"), "{figure}");
    // The zero line lies to the right of the mark.
    let zero: f64 = attribute(figure, "class=\"zero\" x1=\"");
    let mark: f64 = attribute(figure, "translate(");
    assert!(mark < zero, "{mark} is not left of {zero}: {figure}");
}

/// Parses the number that follows the first occurrence of `begin`.
fn attribute(text: &str, begin: &str) -> f64 {
    let rest = text.split(begin).nth(1).unwrap_or_else(|| panic!("no {begin}: {text}"));
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap();
    rest[..end].parse().unwrap()
}

#[test]
fn what_labels_can_do_is_a_difference_from_what_it_stands_beside() {
    let of = |study: &str, variant: Option<&str>, method: &str, f1: f64, auroc: f64, frozen: f64| {
        let scores = [("in_training", scored(f1, auroc)), ("converged", scored(0.5, frozen))];
        record(study, variant, method, 0, &scores)
    };
    let page = page(vec![
        of("table1", None, "supervised", 0.4, 0.75, 0.5),
        of("table1", None, "simclr", 0.1, 0.2, 0.625),
        of("fine_tuned", None, "simclr", 0.1, 0.875, 0.5),
        of("remedy", Some("focal_loss"), "supervised", 0.65, 0.5, 0.5),
    ]);
    let html = scores::labels(&page).into_string();
    let value = |caption: &str, begin: &[&str]| row(&html, caption, begin)[begin.len()].clone();
    let arm = ["SimCLR", "ResNet-18"];
    assert_eq!(value("minus that of supervised training from scratch", &arm), "+0.125");
    assert_eq!(value("minus that of the converged probe on the frozen encoder", &arm), "+0.250");
    let remedy = ["focal loss", "ResNet-18"];
    assert_eq!(value("AUROC by remedy, minus that of weighted training", &remedy), "-0.250");
    assert_eq!(value("F1 by remedy, minus that of weighted training", &remedy), "+0.250");
}

#[test]
fn floors_are_taken_from_what_was_trained() {
    let converged = |auroc: f64| [("converged", scored(0.5, auroc))];
    let random = record("random_weights", None, "none", 0, &converged(0.5));
    let mut pixels = record("pixels", None, "none", 0, &converged(0.375));
    pixels.cell.backbone = "pixels".to_owned();
    let page = page(vec![random, pixels, record("table1", None, "simclr", 0, &converged(0.75))]);
    let html = scores::protocol(&page).into_string();
    let arm = ["SimCLR", "ResNet-18"];
    assert_eq!(row(&html, "minus that of random weights on the same backbone", &arm)[2], "+0.250");
    assert_eq!(row(&html, "minus that of raw pixels of the small image", &arm)[2], "+0.375");
}

#[test]
fn the_explorer_counts_a_thousand_images_of_the_site() {
    let mut rates = scored(0.5, 0.5);
    (rates.true_positive_rate, rates.false_positive_rate) = (0.75, 0.125);
    let html = explorer::section(&page(vec![record("table1", None, "simclr", 0, &[("converged", rates)])]));
    // Of 10 defects 7.5 are found; of 990 normal images 123.75 are flagged. A miss costs 100, a false alarm 1.
    // Precision 7.5 / 131.25; F1 15 / (15 + 123.75 + 2.5).
    let expected =
        ["SimCLR", "ResNet-18", "374", "2.5", "131", "124", "0.750", "0.057", "0.106"].map(str::to_owned);
    assert_eq!(rows(&html.into_string(), "Per 1,000 images of your site"), [expected]);
}

#[test]
fn a_class_is_found_as_often_as_seeds_find_it_on_average() {
    let seed = |seed: u64, found: usize| {
        let recall_by_class = [("crack".to_owned(), [found, 10]), ("roots".to_owned(), [0, 4])].into();
        record(
            "table1",
            None,
            "simclr",
            seed,
            &[("converged", Score { recall_by_class, ..scored(0.5, 0.5) })],
        )
    };
    let html = decision::section(&page(vec![seed(0, 3), seed(1, 5)])).into_string();
    let figure =
        html.split("by class of defect: converged probe").nth(1).unwrap().split("</svg>").next().unwrap();
    let texts = texts(figure);
    let place =
        |name: &str| texts.iter().position(|text| *text == name).unwrap_or_else(|| panic!("{texts:?}"));
    assert!(place("crack (10)") < place("roots (4)"), "what is found most often comes first");
    // 0.4 of the way between the marks of 0.0 and 1.0; seeds found 3 and 5 of 10.
    let mark: f64 = attribute(figure.split("crack (10)").nth(1).unwrap(), "translate(");
    let tick = |name: &str| {
        let line = figure.split("<text ").find(|text| text.contains(&format!(">{name}<"))).unwrap();
        attribute(line, "x=\"")
    };
    let (low, high) = (tick("0.0"), tick("1.0"));
    assert!((mark - (low + 0.4 * (high - low))).abs() < 0.2, "{mark} between {low} and {high}");
}
