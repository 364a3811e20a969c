//! A method that the paper does not have, added as a newcomer would: SimSiam, the example of
//! `benchmarks/README.md`.
//!
//! It consists only of its file, its variant and its recipe lines (`tidy.rs` compares the README with them). Here
//! it is trained by the same run as every cell; `page.rs` tests that a page shows its records.

use skewbench::{
    analysis::reading,
    backbone,
    data::Share,
    experiment::{self, Cell, Study, cell},
    method,
};

use crate::check::fixture;

/// The cell of `--study methods` that is trained here.
fn simsiam() -> Cell {
    let (study, method, backbone) = (Study::Table1, method::Name::SimSiam, backbone::Name::ResNet18);
    Cell { study, method, backbone, share: Share::percent(45), seed: 0 }
}

#[test]
fn it_is_trained_and_read_as_any_other() {
    assert!(cell::other_methods(&Share::STUDY, 0).contains(&simsiam()), "--study methods trains it");
    assert!(!cell::paper_methods(&Share::STUDY, 0).contains(&simsiam()), "the paper has none");

    let (plan, source) = fixture();
    let record = experiment::run(&simsiam(), &plan, source, &mut |_| {}).unwrap().record;
    assert_eq!(record.cell.id, "table1/simsiam-resnet18-share45-seed0");
    // The loss is minus the mean of two cosines.
    assert!(record.curve.iter().all(|epoch| (-1.0..=1.0).contains(&epoch.loss)), "{:?}", record.curve);
    let (first, last) = (&record.curve[0], &record.curve[record.curve.len() - 1]);
    assert!(last.loss < first.loss, "loss went from {} to {}", first.loss, last.loss);
    let spread = last.monitors["features_unit_deviation"];
    assert!(spread > 0.01, "features collapsed: their deviation is {spread}");

    let reading = reading::from_memory(vec![("record".to_owned(), record)]);
    assert_eq!(reading.records[0].cell.method, Some(method::Name::SimSiam));
}
