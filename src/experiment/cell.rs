//! A cell: one trained model, and its name.

use std::fmt;

pub use crate::study::{Ablation, Remedy, Study};
use crate::{backbone, data::Share, method};

/// One trained model, described by what varies between the experiments of a study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The study that the cell belongs to.
    pub study: Study,
    /// The method that trains it.
    pub method: method::Name,
    /// The encoder.
    pub backbone: backbone::Name,
    /// Share of defects in the training set.
    pub share: Share,
    /// Root of all random streams of the cell.
    pub seed: u64,
}

impl Cell {
    /// Returns the unique name, also used for snapshots and record files: `table1/simclr-resnet18-share05-seed0`.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// Returns the method's name in records; `none` for floors.
    pub fn method(&self) -> &'static str {
        if self.is_floor() { "none" } else { self.method.id() }
    }

    /// Returns the encoder's name in records.
    pub fn encoder(&self) -> &'static str {
        if self.study == Study::Pixels { "pixels" } else { self.backbone.id() }
    }

    /// Returns whether the cell is a floor, which trains nothing.
    pub fn is_floor(&self) -> bool {
        self.study.is_floor()
    }

    /// Returns the method whose loss the training steps optimise: the supervised one if the cell's method only
    /// pretrained the encoder.
    pub fn trained_by(&self) -> method::Name {
        match self.study {
            Study::FineTuned | Study::LabelBudget { .. } => method::Name::Supervised,
            _ => self.method,
        }
    }

    /// Returns the cell whose encoder is the starting point of this one; `None` if there is none.
    pub fn pretraining_cell(&self) -> Option<Self> {
        let study = if Share::STUDY.contains(&self.share) { Study::Table1 } else { Study::Extension };
        let begins = self.trained_by() != self.method;
        begins.then_some(Self { study, ..*self })
    }

    /// Returns why the cell cannot be trained, or `None` if it can. Tables state the reason instead of leaving a
    /// gap.
    pub fn undefined_reason(&self) -> Option<&'static str> {
        match self.study {
            Study::GivenWeights => None,
            _ => self.backbone.why_untrainable().or_else(|| self.method.undefined_on(self.backbone)),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}-{}", self.study.id(), self.method(), self.encoder())?;
        match self.study.variant() {
            // Studies of the paper that have variants train on the data's natural share only.
            Some(variant) if self.share == Share::NATURAL => write!(formatter, "-{variant}")?,
            Some(variant) => write!(formatter, "-{variant}-{}", self.share.id())?,
            None => write!(formatter, "-{}", self.share.id())?,
        }
        write!(formatter, "-seed{}", self.seed)
    }
}

/// Returns the cells of the paper's methods, method x backbone x share for one seed, including
/// [undefined](Cell::undefined_reason) cells.
///
/// For the paper's five shares the rstest attributes of `benchmarks/cells/table1_methods.rs` list the same cells,
/// so that each is a named test; the tests of `tidy.rs` fail if the two differ.
pub fn paper_methods(shares: &[Share], seed: u64) -> Vec<Cell> {
    trained_by(&method::Name::PAPER, shares, seed)
}

/// Like [`paper_methods`], for methods that the paper does not have.
pub fn other_methods(shares: &[Share], seed: u64) -> Vec<Cell> {
    let others: Vec<_> = method::Name::ALL.into_iter().filter(|method| !method.is_from_paper()).collect();
    trained_by(&others, shares, seed)
}

fn trained_by(methods: &[method::Name], shares: &[Share], seed: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for backbone in backbone::Name::STUDY {
        for &method in methods {
            for &share in shares {
                let study = if Share::STUDY.contains(&share) { Study::Table1 } else { Study::Extension };
                cells.push(Cell { study, method, backbone, share, seed });
            }
        }
    }
    cells
}

/// Returns the floors at each share: pixels (for seed 0 only, because nothing in them is random), and both
/// backbones with random weights.
pub fn floors(shares: &[Share], seed: u64) -> Vec<Cell> {
    let (method, resnet) = (method::Name::Supervised, backbone::Name::ResNet18);
    let mut cells = Vec::new();
    for &share in shares {
        if seed == 0 {
            cells.push(Cell { study: Study::Pixels, method, backbone: resnet, share, seed });
        }
        for backbone in backbone::Name::STUDY {
            cells.push(Cell { study: Study::RandomWeights, method, backbone, share, seed });
        }
    }
    cells
}

/// Returns the cells of a backbone with the weights of a file (`--frozen`), which are not trained, at each share;
/// for seed 0 only, because nothing in them is random.
pub fn frozen(backbone: backbone::Name, shares: &[Share], seed: u64) -> Vec<Cell> {
    let (study, method) = (Study::GivenWeights, method::Name::Supervised);
    let shares = shares.iter().filter(|_| seed == 0);
    shares.map(|&share| Cell { study, method, backbone, share, seed }).collect()
}

/// Sides of Table 2, pixels.
pub const SIDES: [u16; 5] = Study::SIDES;

/// Returns the cells of Table 2: both backbones at five resolutions.
pub fn table2(seed: u64) -> Vec<Cell> {
    let (method, share) = (method::Name::Supervised, Share::NATURAL);
    let at =
        |backbone| SIDES.map(|side| Cell { study: Study::Table2 { side }, method, backbone, share, seed });
    backbone::Name::STUDY.into_iter().flat_map(at).collect()
}

/// Strengths of jitter in Figure 3, thousandths. The paper names the ends, 100 and 800, and the values 275 and 450:
/// this is the coarsest even grid that contains all four.
pub const JITTERS: [u16; 5] = [100, 275, 450, 625, 800];
/// Smallest crops in Figure 3, thousandths of the area: chosen likewise, from 80, 395, 605 and 710.
pub const CROPS: [u16; 7] = [80, 185, 290, 395, 500, 605, 710];

/// Returns the cells of Figure 3: jitter x smallest crop.
pub fn figure3(seed: u64) -> Vec<Cell> {
    let (method, backbone, share) = (method::Name::Supervised, backbone::Name::ResNet18, Share::NATURAL);
    let cell = |jitter, crop| Cell { study: Study::Figure3 { jitter, crop }, method, backbone, share, seed };
    JITTERS.into_iter().flat_map(|jitter| CROPS.map(|crop| cell(jitter, crop))).collect()
}

/// Methods that are also trained on sets of equal size: the ceiling, the paper's best method at low shares, and
/// ours.
pub const SIZE_MATCHED: [method::Name; 3] =
    [method::Name::Supervised, method::Name::BarlowTwins, method::Name::SimClr];

/// Returns the cells with training sets of equal size, at the five shares, on ResNet-18.
pub fn size_matched(seed: u64) -> Vec<Cell> {
    let (study, backbone) = (Study::SizeMatched, backbone::Name::ResNet18);
    let at = |method| Share::STUDY.map(|share| Cell { study, method, backbone, share, seed });
    SIZE_MATCHED.into_iter().flat_map(at).collect()
}

/// Returns the ablations at 45 % defects: each changes one detail to that of the authors' released code. Its
/// counterpart is the cell of Table 1 with the same method and backbone, or for DINO's head the other ablation.
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
        cell(Ablation::MaeTwoPredictions, method::Name::Mae, ViTTiny),
        cell(Ablation::MaeCrossedViews, method::Name::Mae, ViTTiny),
        cell(Ablation::MaeAsReleased, method::Name::Mae, ViTTiny),
        cell(Ablation::DinoPlainHead, method::Name::Dino, ResNet18),
        cell(Ablation::DinoHeadNorm, method::Name::Dino, ResNet18),
        cell(Ablation::AugmentedValidation, method::Name::Supervised, ResNet18),
        cell(Ablation::AugmentedValidation, method::Name::SimClr, ResNet18),
        cell(Ablation::ProbeUnderLars, method::Name::SimClr, ResNet18),
        cell(Ablation::ProbeAsReleased, method::Name::SimClr, ResNet18),
    ]
}

/// Returns the cells with alternatives to weighting defects, for supervised training on both backbones at each
/// share. They are compared with Table 1's supervised cells.
pub fn remedies(shares: &[Share], seed: u64) -> Vec<Cell> {
    let method = method::Name::Supervised;
    let mut cells = Vec::new();
    for backbone in backbone::Name::STUDY {
        for remedy in Remedy::ALL {
            let study = Study::Remedy(remedy);
            cells.extend(shares.iter().map(|&share| Cell { study, method, backbone, share, seed }));
        }
    }
    cells
}

/// Returns the cells that fine-tune the encoder that each of the paper's methods has pretrained without labels, at each
/// share.
pub fn fine_tuned(shares: &[Share], seed: u64) -> Vec<Cell> {
    let cells = paper_methods(shares, seed).into_iter().filter(|cell| !cell.method.is_supervised());
    cells.map(|cell| Cell { study: Study::FineTuned, ..cell }).collect()
}

/// Returns the cells that train all weights on few labels, from random weights and from the encoder that each of the
/// paper's methods has pretrained, at 45 %, or the largest share if 45 % is not among them: other shares have even
/// fewer labels.
pub fn label_budgets(shares: &[Share], seed: u64) -> Vec<Cell> {
    let at_budget =
        |cell: Cell| Study::BUDGETS.map(|defects| Cell { study: Study::LabelBudget { defects }, ..cell });
    paper_methods(largest(shares).as_slice(), seed).into_iter().flat_map(at_budget).collect()
}

/// Returns the cells that leave out each of the most frequent classes from training, at the share of
/// [`label_budgets`].
pub fn unseen(shares: &[Share], seed: u64) -> Vec<Cell> {
    let without = |cell: Cell| Study::UNSEEN.map(|rank| Cell { study: Study::Unseen { rank }, ..cell });
    paper_methods(largest(shares).as_slice(), seed).into_iter().flat_map(without).collect()
}

/// Returns 45 %, the largest of the paper's shares, if it is among `shares`, otherwise the largest.
fn largest(shares: &[Share]) -> Option<Share> {
    const MOST: Share = Share::percent(45);
    if shares.contains(&MOST) { Some(MOST) } else { shares.iter().copied().max() }
}

/// Returns one trial of tuning: every pair of the paper's methods with a backbone that it is defined on.
pub fn tuning(trial: u16, share: Share, seed: u64) -> Vec<Cell> {
    let study = Study::Tuning { trial };
    let cells = paper_methods(&[share], seed).into_iter().map(|cell| Cell { study, ..cell });
    cells.filter(|cell| cell.undefined_reason().is_none()).collect()
}
