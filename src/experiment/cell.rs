//! A cell: one trained model, and its identity.

use std::fmt;

pub use crate::study::{Ablation, Remedy, Study};
use crate::{backbone, data::Share, method};

/// One trained model: what is varied between experiments of a study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// What the cell belongs to.
    pub study: Study,
    /// How it is trained.
    pub method: method::Name,
    /// Which encoder.
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

    /// Name of the method in records; `none` of the floors.
    pub fn method(&self) -> &'static str {
        if self.is_floor() { "none" } else { self.method.id() }
    }

    /// Name of the encoder in records.
    pub fn encoder(&self) -> &'static str {
        if self.study == Study::Pixels { "pixels" } else { self.backbone.id() }
    }

    /// Whether nothing is trained: what methods have to beat.
    pub fn is_floor(&self) -> bool {
        self.study.is_floor()
    }

    /// What its training steps optimise: labels, where its method has only pretrained the encoder.
    pub fn trained_by(&self) -> method::Name {
        match self.study {
            Study::FineTuned | Study::LabelBudget { .. } => method::Name::Supervised,
            _ => self.method,
        }
    }

    /// The cell whose encoder this one begins with; none where it begins with its own.
    pub fn pretrained_by(&self) -> Option<Self> {
        let study = if Share::STUDY.contains(&self.share) { Study::Table1 } else { Study::Extension };
        let begins = self.trained_by() != self.method;
        begins.then_some(Self { study, ..*self })
    }

    /// Why the cell cannot be trained, where it cannot: a state that tables show, not a gap.
    pub fn undefined(&self) -> Option<&'static str> {
        match self.study {
            Study::GivenWeights => None,
            _ => self.backbone.untrained().or_else(|| self.method.undefined_on(self.backbone)),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}-{}", self.study.id(), self.method(), self.encoder())?;
        match self.study.variant() {
            // Studies of the paper that have variants train on the data's own share only.
            Some(variant) if self.share == Share::NATURAL => write!(formatter, "-{variant}")?,
            Some(variant) => write!(formatter, "-{variant}-{}", self.share.id())?,
            None => write!(formatter, "-{}", self.share.id())?,
        }
        write!(formatter, "-seed{}", self.seed)
    }
}

/// Method x backbone x share for one seed, cells that are [undefined](Cell::undefined) among them.
///
/// For the paper's five shares the rstest attributes of `benchmarks/cells/table1_methods.rs` spell out
/// the same list, so that each cell is a named test; `tidy` fails when the two drift apart.
pub fn at(shares: &[Share], seed: u64) -> Vec<Cell> {
    trained_by(&method::Name::PAPER, shares, seed)
}

/// As [`at`], of methods that the paper does not have.
pub fn other_methods(shares: &[Share], seed: u64) -> Vec<Cell> {
    let others: Vec<_> = method::Name::ALL.into_iter().filter(|method| !method.is_the_papers()).collect();
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

/// The floors at each share: pixels (for seed 0 only: nothing of them is random), and both backbones with random
/// weights.
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

/// A backbone with the weights of a file (`--frozen`), which nothing trains, at each share; for seed 0 only,
/// as nothing of them is random.
pub fn frozen(backbone: backbone::Name, shares: &[Share], seed: u64) -> Vec<Cell> {
    let (study, method) = (Study::GivenWeights, method::Name::Supervised);
    let shares = shares.iter().filter(|_| seed == 0);
    shares.map(|&share| Cell { study, method, backbone, share, seed }).collect()
}

/// Sides of Table 2, pixels.
pub const SIDES: [u16; 5] = Study::SIDES;

/// Table 2: both backbones at five resolutions.
pub fn table2(seed: u64) -> Vec<Cell> {
    let (method, share) = (method::Name::Supervised, Share::NATURAL);
    let at =
        |backbone| SIDES.map(|side| Cell { study: Study::Table2 { side }, method, backbone, share, seed });
    backbone::Name::STUDY.into_iter().flat_map(at).collect()
}

/// Strengths of jitter in Figure 3, thousandths. The paper names the ends, 100 and 800, and the values 275 and 450:
/// this is the coarsest even grid that has all four.
pub const JITTERS: [u16; 5] = [100, 275, 450, 625, 800];
/// Smallest crops in Figure 3, thousandths of the area: likewise, from 80, 395, 605 and 710.
pub const CROPS: [u16; 7] = [80, 185, 290, 395, 500, 605, 710];

/// Figure 3: jitter x smallest crop.
pub fn figure3(seed: u64) -> Vec<Cell> {
    let (method, backbone, share) = (method::Name::Supervised, backbone::Name::ResNet18, Share::NATURAL);
    let cell = |jitter, crop| Cell { study: Study::Figure3 { jitter, crop }, method, backbone, share, seed };
    JITTERS.into_iter().flat_map(|jitter| CROPS.map(|crop| cell(jitter, crop))).collect()
}

/// Methods that are also trained on sets of one size: the ceiling, the paper's best of low shares, and ours.
pub const SIZE_MATCHED: [method::Name; 3] =
    [method::Name::Supervised, method::Name::BarlowTwins, method::Name::SimClr];

/// Training sets of one size, at the five shares, on ResNet-18.
pub fn size_matched(seed: u64) -> Vec<Cell> {
    let (study, backbone) = (Study::SizeMatched, backbone::Name::ResNet18);
    let at = |method| Share::STUDY.map(|share| Cell { study, method, backbone, share, seed });
    SIZE_MATCHED.into_iter().flat_map(at).collect()
}

/// What the authors' released code does otherwise, one at a time, at 45 % defects. The sound counterpart of
/// each is the cell of Table 1 with the same method and backbone, or for DINO's head its own.
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

/// Other answers to rarity than weights, of supervised training on both backbones at each share. What they are compared
/// with are Table 1's cells of supervised training.
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

/// Fine-tuning of what each of the paper's methods has pretrained without labels, at each share.
pub fn fine_tuned(shares: &[Share], seed: u64) -> Vec<Cell> {
    let cells = at(shares, seed).into_iter().filter(|cell| !cell.method.is_supervised());
    cells.map(|cell| Cell { study: Study::FineTuned, ..cell }).collect()
}

/// All weights trained on few labels, from random weights and from what each of the paper's methods has pretrained, at
/// 45 %, or the largest share where that is not among them: other shares have fewer labels yet.
pub fn label_budgets(shares: &[Share], seed: u64) -> Vec<Cell> {
    let at_budget =
        |cell: Cell| Study::BUDGETS.map(|defects| Cell { study: Study::LabelBudget { defects }, ..cell });
    at(largest(shares).as_slice(), seed).into_iter().flat_map(at_budget).collect()
}

/// Each of the most frequent classes left out of training, at the share of [`label_budgets`].
pub fn unseen(shares: &[Share], seed: u64) -> Vec<Cell> {
    let without = |cell: Cell| Study::UNSEEN.map(|rank| Cell { study: Study::Unseen { rank }, ..cell });
    at(largest(shares).as_slice(), seed).into_iter().flat_map(without).collect()
}

/// 45 %, the largest of the paper's, or the largest there is.
fn largest(shares: &[Share]) -> Option<Share> {
    const MOST: Share = Share::percent(45);
    if shares.contains(&MOST) { Some(MOST) } else { shares.iter().copied().max() }
}

/// One trial of tuning: every pair of the paper's methods with a backbone that it is defined on.
pub fn tuning(trial: u16, share: Share, seed: u64) -> Vec<Cell> {
    let study = Study::Tuning { trial };
    let cells = at(&[share], seed).into_iter().map(|cell| Cell { study, ..cell });
    cells.filter(|cell| cell.undefined().is_none()).collect()
}
