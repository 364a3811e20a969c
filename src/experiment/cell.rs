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
}

impl Study {
    pub fn id(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Extension => "extension",
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
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { study, method, backbone, share, seed } = self;
        write!(formatter, "{}/{method}-{backbone}-{}-seed{seed}", study.id(), share.id())
    }
}

/// The cells that are built at these training shares: method x backbone x share, for one seed.
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
