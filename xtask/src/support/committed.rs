//! A committed record for unit tests.

use std::path::Path;

use image::{Rgb, RgbImage};

use skewbench::results::{self, Part, Record, record::FileDigest};

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

/// Returns the same record with scores that differ on all validation images, and 0 elsewhere: AUROC 0.875 for the
/// converged probe and 0.125 for the classifier in training, F1 0.25 and 0.5.
pub fn scored() -> Record {
    let mut record = record("table1", "simclr", 0);
    for score in &mut record.scores {
        let all = score.validation_share.is_none();
        (score.auroc, score.f1) = match score.classifier.as_str() {
            "converged" if all => (0.875, 0.25),
            "in_training" if all => (0.125, 0.5),
            _ => (0.0, 0.0),
        };
    }
    record
}

/// Writes noise images, all different, below `normal` and `defect`; returns the value of `--data` for them.
pub fn pictures(folder: &Path, [normals, defects]: [u32; 2]) -> String {
    for (kind, numbers) in [("normal", 0..normals), ("defect", normals..normals + defects)] {
        std::fs::create_dir_all(folder.join(kind)).unwrap();
        for number in numbers {
            let mut state = 2_654_435_761_u32.wrapping_mul(number + 1);
            let picture = RgbImage::from_fn(32, 32, |_, _| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 20) as u8])
            });
            picture.save(folder.join(kind).join(format!("{number:03}.png"))).unwrap();
        }
    }
    format!("folder={}", folder.display())
}

/// Lists all kinds of files beside a record; none of them exists.
pub fn state_files(record: &mut Record) {
    for (part, bytes) in Part::ALL.into_iter().zip(100..) {
        let beside = FileDigest { bytes, blake3: "0".repeat(64), rows: None };
        record.beside.insert(part.id().to_owned(), beside);
    }
}
