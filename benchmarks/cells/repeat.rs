//! Same seed, same bytes: a repeated cell is bit-identical, with one thread or two.

use skewbench::{
    backbone,
    data::Share,
    experiment::{self, Cell, Study},
    method,
    results::Record,
};

use crate::check::fixture;

fn run(threads: usize, seed: u64) -> Record {
    let (plan, source) = fixture();
    let cell = Cell {
        study: Study::Table1,
        method: method::Name::SimClr,
        backbone: backbone::Name::ResNet18,
        share: Share::percent(15),
        seed,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| experiment::run(&cell, &plan, &source, &mut |_| {})).unwrap().record
}

/// Everything of a record that is computed, not timed.
fn computed(record: &Record) -> String {
    let losses: Vec<_> = record.curve.iter().map(|epoch| (epoch.loss.to_bits(), epoch.probe_loss)).collect();
    format!("{} {losses:?} {:?} {:?}", record.fingerprint, record.probe, record.scores)
}

#[test]
fn a_cell_is_bit_identical_when_repeated_and_whatever_the_threads() {
    let first = computed(&run(1, 0));
    assert_eq!(first, computed(&run(1, 0)), "repeated");
    assert_eq!(first, computed(&run(2, 0)), "two threads");
    assert_ne!(first, computed(&run(1, 1)), "another seed must give another run");
}
