//! A cell: one trained model, and its identity.

use std::fmt;

use crate::{backbone, data::Share, method};

/// Which table or figure of the paper a cell belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Study {
    /// Table 1: methods and backbones, trained at five defect shares. Its models, scored at five
    /// validation shares, also make Figures 2, 4 and 5.
    Table1,
    /// Ours: training shares that the paper does not have, the data's own among them.
    Extension,
    /// Ours: one thing done as the authors' released code does it, where we do it otherwise.
    Ablation(Ablation),
}

/// What an ablation does as released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ablation {
    /// MAE's step supervises two predictions a batch, with the pixels of another view.
    MaeAsReleased,
    /// The classifier in training is scored on augmented validation images.
    AugmentedValidation,
    /// The online probe takes LARS steps.
    ProbeUnderLars,
}

impl Study {
    pub fn id(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Extension => "extension",
            Self::Ablation(Ablation::MaeAsReleased) => "mae_as_released",
            Self::Ablation(Ablation::AugmentedValidation) => "augmented_validation",
            Self::Ablation(Ablation::ProbeUnderLars) => "probe_under_lars",
        }
    }
}

/// One trained model: what is varied between experiments of a study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub study: Study,
    pub method: method::Name,
    pub backbone: backbone::Name,
    /// Share of defects in the training set.
    pub share: Share,
    /// Root of all of this cell's random streams.
    pub seed: u64,
}

impl Cell {
    /// Unique name, also of snapshots and record files: `table1/simclr-resnet18-share05-seed0`.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// Why the cell cannot be trained, where it cannot: a state that tables show, not a gap.
    pub fn undefined(&self) -> Option<&'static str> {
        self.method.undefined_on(self.backbone)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { study, method, backbone, share, seed } = self;
        write!(formatter, "{}/{method}-{backbone}-{}-seed{seed}", study.id(), share.id())
    }
}

/// Method x backbone x share for one seed, cells that are [undefined](Cell::undefined) among them.
///
/// For the paper's five shares the rstest attributes of `benchmarks/cells/table1_methods.rs` spell out
/// the same list, so that each cell is a named test; `tidy` fails when the two drift apart.
pub fn at(shares: &[Share], seed: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for backbone in backbone::Name::ALL {
        for method in method::Name::ALL {
            for &share in shares {
                let study = if Share::STUDY.contains(&share) { Study::Table1 } else { Study::Extension };
                cells.push(Cell { study, method, backbone, share, seed });
            }
        }
    }
    cells
}

/// What the authors' released code does otherwise, one at a time, at 45 % defects. The sound counterpart of
/// each is the cell of Table 1 with the same method and backbone.
pub fn ablations(seed: u64) -> Vec<Cell> {
    use backbone::Name::{ResNet18, ViTTiny};
    let cell = |ablation, method, backbone| Cell {
        study: Study::Ablation(ablation),
        method,
        backbone,
        share: Share::percent(45),
        seed,
    };
    vec![
        cell(Ablation::MaeAsReleased, method::Name::Mae, ViTTiny),
        cell(Ablation::AugmentedValidation, method::Name::Supervised, ResNet18),
        cell(Ablation::AugmentedValidation, method::Name::SimClr, ResNet18),
        cell(Ablation::ProbeUnderLars, method::Name::SimClr, ResNet18),
    ]
}
