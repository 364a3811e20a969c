//! A committed record for unit tests.

use std::path::Path;

use skewbench::results::{self, Record};

/// Returns a committed record of SimCLR on ResNet-18 at 45 % defects, which has everything that a trained cell has;
/// study, method and seed can be replaced.
pub fn record(study: &str, method: &str, seed: u64) -> Record {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-29-small-study/table1");
    let mut record = results::read(&folder.join("simclr-resnet18-share45-seed0.json")).unwrap();
    (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
    (record.cell.seed, record.cell.train_share) = (seed, Some(0.45));
    record.cell.id = format!("{study}/{method}-resnet18-share45-seed{seed}");
    record
}
