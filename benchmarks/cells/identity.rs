//! What every cell is, before anything is trained: settings, training images, fingerprint.
//!
//! One table of all cells, in milliseconds: an error of wiring (a wrong share, a grid's axis swapped, a view's
//! size, a recipe's number) shows as the lines that it moves. So by default only some cells train.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use skewbench::{
    backbone::Name::{ResNet18, ViTTiny},
    data::{Share, Source},
    experiment::{self, Cell, Plan, Study, cell},
    method::{
        self,
        Name::{SimClr, Supervised},
    },
};

use crate::check;

/// Every cell that tests know: the paper's, floors, sizes, ablations.
pub fn cells() -> Vec<Cell> {
    [
        cell::at(&Share::STUDY, 0),
        cell::floors(&Share::STUDY, 0),
        cell::size_matched(0),
        cell::table2(0),
        cell::figure3(0),
        cell::ablations(0),
    ]
    .concat()
}

/// Whether a cell trains without `SKEWBENCH_TESTS=all`. Those that do cover each method on each backbone, each share,
/// both ends of the sides, the corners of Figure 3's grid, both ends of the matched sizes, each floor, each ablation.
pub fn trains_by_default(cell: &Cell) -> bool {
    let place = Share::STUDY.iter().position(|&share| share == cell.share);
    match cell.study {
        Study::Table1 => {
            let method = method::Name::ALL.iter().position(|&name| name == cell.method).unwrap();
            let first = if cell.backbone == ResNet18 { 0 } else { 2 };
            place == Some((first + method) % Share::STUDY.len())
        }
        Study::Table2 { side } => [(64, ResNet18), (512, ViTTiny)].contains(&(side, cell.backbone)),
        Study::Figure3 { jitter, crop } => {
            let ends = |values: &[u16], value| [values.first(), values.last()].contains(&Some(&value));
            ends(&cell::JITTERS, jitter) && ends(&cell::CROPS, crop)
        }
        Study::SizeMatched => [(Supervised, Some(4)), (SimClr, Some(0))].contains(&(cell.method, place)),
        Study::RandomWeights => place == Some(if cell.backbone == ResNet18 { 1 } else { 3 }),
        Study::Pixels => place == Some(2),
        Study::Ablation(_) => true,
        Study::Extension => false,
    }
}

/// Normal and defective images of a training set, as snapshots have them.
pub fn counts(normals: usize, defects: usize) -> String {
    format!("{normals} normals, {defects} defects")
}

/// Holds fingerprint and number of training images to those of the cell's snapshot.
#[track_caller]
pub fn assert_stored(cell: &Cell, plan: &Plan, source: &Source) {
    let name = format!("snapshots/cells/{}.snap", check::snapshot(cell));
    let stored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name))
        .unwrap_or_else(|error| panic!("{name}: {error}; SKEWBENCH_TESTS=all trains the cell and makes one"));
    let subset = experiment::training_subset(cell, plan, source).unwrap();
    for (field, found) in [
        ("fingerprint", experiment::fingerprint(cell, plan, source)),
        ("train", counts(subset.normals, subset.defects)),
    ] {
        let line = format!("{field} = {found} (exact)");
        assert!(stored.lines().any(|stored| stored == line), "{name}: no line '{line}'");
    }
}

#[test]
fn identities_of_all_cells() {
    let (plan, source) = check::fixture();
    let defined: Vec<Cell> = cells().into_iter().filter(|cell| cell.undefined().is_none()).collect();
    // Values of each setting, numbered in the order in which cells come.
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = String::new();
    for cell in &defined {
        let subset = experiment::training_subset(cell, &plan, source).unwrap();
        let mut digest = blake3::Hasher::new();
        subset.indices.iter().for_each(|&index| {
            digest.update(&(index as u64).to_le_bytes());
        });
        let [images, fingerprint] =
            [digest.finalize().to_hex().to_string(), experiment::fingerprint(cell, &plan, source)];
        let passes = experiment::image_passes(cell, &plan, source).unwrap();
        let evaluated = experiment::evaluation_passes(cell, &plan, source).unwrap();
        let trained_on = counts(subset.normals, subset.defects);
        write!(lines, "{cell}: {} | {trained_on}, {} |", &fingerprint[..16], &images[..16]).unwrap();
        write!(lines, " {passes} images trained on, {evaluated} evaluated |").unwrap();
        for (name, value) in experiment::settings(cell, &plan).values {
            let values = known.entry(name.clone()).or_default();
            let number = values.iter().position(|known| *known == value).unwrap_or_else(|| {
                values.push(value);
                values.len() - 1
            });
            write!(lines, " {name} {number}").unwrap();
        }
        lines.push('\n');
    }
    let mut text = String::from("# values of settings\n\n");
    for (name, values) in &known {
        for (number, value) in values.iter().enumerate() {
            writeln!(text, "{name} {number} = {value}").unwrap();
        }
    }
    write!(text, "\n# cells: fingerprint | training images, digest of which | passes | settings\n\n{lines}")
        .unwrap();
    check::text("identity", &text);
}

#[test]
fn what_trains_by_default_covers_every_axis() {
    let defined: Vec<Cell> = cells().into_iter().filter(|cell| cell.undefined().is_none()).collect();
    // The method, backbone, share and study of cells.
    let axes = |cells: &[&Cell]| {
        let of_each = |cell: &&Cell| {
            [
                format!("{} {} {}", cell.study.id(), cell.method(), cell.encoder()),
                format!("share {}", cell.share.id()),
            ]
        };
        cells.iter().flat_map(of_each).collect::<BTreeSet<_>>()
    };
    let chosen: Vec<&Cell> = defined.iter().filter(|cell| trains_by_default(cell)).collect();
    let mut missing = axes(&defined.iter().collect::<Vec<_>>());
    axes(&chosen).iter().for_each(|axis| assert!(missing.remove(axis)));
    // One of three methods on sets of one size; its code is that of the others.
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["size_matched barlow_twins resnet18"]);
    assert!((25..=45).contains(&chosen.len()), "{} cells train by default", chosen.len());
}
