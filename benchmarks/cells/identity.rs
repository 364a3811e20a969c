//! The cells known to tests, which of them are trained by default, and what identifies one in snapshots.

use std::{collections::BTreeSet, fs, path::Path};

use skewbench::{
    backbone::Name::{MobileNetV2, ResNet18, ViTTiny},
    data::Share,
    experiment::{Cell, Remedy, Resolved, Study, cell},
    method::{
        self,
        Name::{Mae, SimClr, Supervised},
    },
    results::record::Identity,
};

/// Returns every cell known to tests: the paper's, floors, sizes, ablations, remedies, fine-tuning, label budgets,
/// unseen classes.
pub fn cells() -> Vec<Cell> {
    [
        cell::paper_methods(&Share::STUDY, 0),
        cell::floors(&Share::STUDY, 0),
        cell::size_matched(0),
        cell::table2(0),
        cell::figure3(0),
        cell::ablations(0),
        cell::remedies(&Share::STUDY, 0),
        cell::fine_tuned(&[Share::percent(5)], 0),
        cell::label_budgets(&[Share::percent(45)], 0),
        cell::unseen(&[Share::percent(45)], 0),
    ]
    .concat()
}

/// Returns whether a cell is trained without `SKEWBENCH_TESTS=all`. Those that are cover each method on each
/// backbone, each share, the smallest and largest sides, the corners of Figure 3's grid, both ends of the matched
/// sizes, each floor, each ablation, each remedy.
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
        // One method on each backbone; the others run the same code.
        Study::FineTuned => cell.method == if cell.backbone == ResNet18 { SimClr } else { Mae },
        Study::LabelBudget { defects } => match cell.backbone {
            ResNet18 => (defects, cell.method) == (5, SimClr),
            ViTTiny => (defects, cell.method) == (20, Supervised),
            MobileNetV2 => false,
        },
        Study::Unseen { rank } => (rank, cell.method, cell.backbone) == (1, Supervised, ResNet18),
        Study::Remedy(remedy) => match cell.backbone {
            ResNet18 => place == Some(2),
            ViTTiny => place == Some(0) && remedy == Remedy::Oversampling,
            MobileNetV2 => false,
        },
        Study::Extension | Study::GivenWeights | Study::Tuning { .. } => false,
    }
}

/// Returns the name of a cell's snapshot, without folder and extension.
pub fn snapshot(cell: &Cell) -> String {
    cell.id().replace('/', "-")
}

/// Formats the normal and defective images of a training set, as in snapshots.
pub fn counts(normals: usize, defects: usize) -> String {
    format!("{normals} normals, {defects} defects")
}

/// Returns a digest of what determines a cell's numbers, except the code, so that snapshots stay valid when code
/// changes.
pub fn digest(identity: &Identity) -> String {
    identity.without_code().fingerprint(None)
}

/// Compares identity and number of training images with those of the cell's snapshot.
#[track_caller]
pub fn assert_stored(resolved: &Resolved) {
    let name = format!("snapshots/cells/{}.snap", snapshot(&resolved.cell));
    let stored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name))
        .unwrap_or_else(|error| panic!("{name}: {error}; SKEWBENCH_TESTS=all trains the cell and makes one"));
    for (field, found) in [
        ("identity", digest(&resolved.identity)),
        ("train", counts(resolved.subset.normals, resolved.subset.defects)),
    ] {
        let line = format!("{field} = {found} (exact)");
        assert!(stored.lines().any(|stored| stored == line), "{name}: no line '{line}'");
    }
}

#[test]
fn what_trains_by_default_covers_every_axis() {
    let defined: Vec<Cell> = cells().into_iter().filter(|cell| cell.undefined_reason().is_none()).collect();
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
    // One of three methods on sets of equal size; the others run the same code.
    let few = ["fine_tuned ", "label_budget ", "unseen "];
    missing.retain(|axis| !few.iter().any(|study| axis.starts_with(study)));
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["size_matched barlow_twins resnet18"]);
    assert!((25..=45).contains(&chosen.len()), "{} cells train by default", chosen.len());
}
