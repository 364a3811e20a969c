//! `--study`: the tables whose cells are trained.

use std::{cmp::Reverse, fmt, str::FromStr};

use anyhow::{Result, anyhow, ensure};
use skewbench::{
    backbone,
    data::Share,
    experiment::{Cell, Study as CellStudy, cell},
};

use crate::support::likely;

/// A set of cells, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Study {
    Table1,
    Floors,
    Frozen,
    Table2,
    Figure3,
    SizeMatched,
    Extensions,
    Ablations,
    Remedies,
    FineTuned,
    LabelBudgets,
    Unseen,
    Methods,
    All,
}

impl Study {
    pub const HELP: &'static str = "\
Which cells:
  table1        methods x backbones x shares; makes Figures 2, 4, 5, 6 and 7 too
  floors        pixels and random weights at the same shares: what a method must beat
  frozen        the unchanged weights of --frozen FILE, as a floor; that flag adds it
  table2        supervised at five resolutions
  figure3       supervised at 35 strengths of augmentation, on a quarter of the data
  size_matched  training sets of one size at the paper's five shares
  extensions    floors and size_matched
  ablations     each difference of the authors' released code, one at a time
  remedies      supervised training with other ways to handle rare defects than class weights
  fine_tuned    all weights trained on labels after pretraining; starts from the
                weights of table1, in --out or trained by the same command
  label_budgets all weights trained on the labels of 5, 20 and 100 defects, from
                random and from pretrained weights, at the largest share
  unseen        one of the three most frequent classes of defects left out of
                training, at the largest share
  methods       methods that the paper does not have, at the same shares
  all           all of these except frozen";

    const NAMES: [(&'static str, Self); 14] = [
        ("table1", Self::Table1),
        ("floors", Self::Floors),
        ("frozen", Self::Frozen),
        ("table2", Self::Table2),
        ("figure3", Self::Figure3),
        ("size_matched", Self::SizeMatched),
        ("extensions", Self::Extensions),
        ("ablations", Self::Ablations),
        ("remedies", Self::Remedies),
        ("fine_tuned", Self::FineTuned),
        ("label_budgets", Self::LabelBudgets),
        ("unseen", Self::Unseen),
        ("methods", Self::Methods),
        ("all", Self::All),
    ];

    fn cells(self, shares: &[Share], seed: u64, frozen: Option<backbone::Name>) -> Vec<Cell> {
        match self {
            Self::Table1 => cell::paper_methods(shares, seed),
            Self::Floors => cell::floors(shares, seed),
            Self::Frozen => {
                frozen.into_iter().flat_map(|backbone| cell::frozen(backbone, shares, seed)).collect()
            }
            Self::Table2 => cell::table2(seed),
            Self::Figure3 => cell::figure3(seed),
            Self::SizeMatched => cell::size_matched(seed),
            Self::Extensions => [cell::floors(shares, seed), cell::size_matched(seed)].concat(),
            Self::Ablations => cell::ablations(seed),
            Self::Remedies => cell::remedies(shares, seed),
            Self::FineTuned => cell::fine_tuned(shares, seed),
            Self::LabelBudgets => cell::label_budgets(shares, seed),
            Self::Unseen => cell::unseen(shares, seed),
            Self::Methods => cell::other_methods(shares, seed),
            Self::All => Self::NAMES
                .into_iter()
                .filter(|(_, study)| !matches!(study, Self::All | Self::Extensions | Self::Frozen))
                .flat_map(|(_, study)| study.cells(shares, seed, frozen))
                .collect(),
        }
    }
}

impl FromStr for Study {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::NAMES.into_iter().find(|(name, _)| *name == text).map(|(_, study)| study).ok_or_else(|| {
            anyhow!("no study called '{text}'; known: {}", Self::NAMES.map(|(name, _)| name).join(", "))
        })
    }
}

/// Sort key, most informative cells first: for each seed the floors, then all methods at one share, then the next
/// share; studies beyond the table come after it. The largest share is most informative, because F1 and AUROC have
/// the least noise there.
fn order(cell: &Cell) -> (u64, bool, Reverse<u16>, bool) {
    let tells = match cell.study {
        CellStudy::Table1 | CellStudy::Extension => true,
        study => study.is_floor(),
    };
    // The value of the natural share is unknown here. It comes first, because it is the share of the user's own
    // data.
    let thousandths = cell.share.fraction().map_or(u16::MAX, |fraction| (1000.0 * fraction).round() as u16);
    (cell.seed, !tells, Reverse(thousandths), !cell.is_floor())
}

/// One of several parts that the cells are divided into, for several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the part, from 1.
    number: usize,
    total: usize,
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = || anyhow!("expected K/N with K of 1 to N, such as 3/8, found '{text}'");
        let (number, of) = text.split_once('/').ok_or_else(expected)?;
        let [number, of] =
            [number.parse::<usize>(), of.parse::<usize>()].map(|of| of.map_err(|_| expected()));
        let (number, of) = (number?, of?);
        ensure!((1..=of).contains(&number), expected());
        Ok(Self { number, total: of })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.total)
    }
}

impl Part {
    /// Keeps the cells of this part. Cells are dealt out in order; a cell that starts from another's weights is in
    /// the same part as that one.
    pub fn keep(self, cells: &mut Vec<Cell>) {
        let mut dealt: Vec<Cell> = Vec::new();
        cells.retain(|cell| {
            let first = cell.pretraining_cell().unwrap_or(*cell);
            let place = dealt.iter().position(|known| *known == first).unwrap_or_else(|| {
                dealt.push(first);
                dealt.len() - 1
            });
            place % self.total == self.number - 1
        });
    }
}

/// Returns the cells of some studies whose names contain one of the texts `only`, if any are given; each once, seed
/// by seed. `frozen`: the encoder of the given weights, if a file was given.
pub fn cells(
    studies: &[Study],
    shares: &[Share],
    seeds: u64,
    only: &[String],
    frozen: Option<backbone::Name>,
) -> Result<Vec<Cell>> {
    ensure!(seeds > 0, "--seeds must be at least 1");
    ensure!(
        frozen.is_some() || !studies.contains(&Study::Frozen),
        "--study frozen scores the weights of a file as they are: --frozen FILE names it"
    );
    let mut cells: Vec<Cell> = Vec::new();
    for seed in 0..seeds {
        for cell in studies.iter().flat_map(|study| study.cells(shares, seed, frozen)) {
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
    }
    let known: Vec<String> = cells.iter().map(Cell::id).collect();
    cells.sort_by_key(order);
    if !only.is_empty() {
        cells.retain(|cell| only.iter().any(|text| cell.id().contains(&text.to_lowercase())));
    }
    ensure!(!cells.is_empty(), "{}; --study chooses other cells", likely::no_cell(only, &known));
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_share_is_whole_before_the_next() {
        let shares = [Share::percent(1), Share::percent(45), Share::NATURAL];
        let cells = cells(&[Study::Remedies, Study::Table1, Study::Floors], &shares, 2, &[], None).unwrap();
        let first: Vec<Share> = cells.iter().take(14 * 3).map(|cell| cell.share).collect();
        // Two floors of random weights, one of pixels, eleven arms; MAE on ResNet-18 is undefined.
        let per_share = cells.iter().filter(|cell| cell.seed == 0 && cell.share == Share::NATURAL).count();
        assert!(per_share > 14 && first[..14].iter().all(|share| *share == Share::NATURAL), "{first:?}");
        let place = |wanted: &str| cells.iter().position(|cell| cell.id().contains(wanted)).unwrap();
        assert!(
            place("random_weights/none-vit_tiny-share45-seed0")
                < place("table1/simclr-resnet18-share45-seed0")
        );
        assert!(
            place("table1/simclr-vit_tiny-share45-seed0") < place("table1/simclr-resnet18-share01-seed0")
        );
        assert!(place("table1/simclr-resnet18-share01-seed0") < place("remedy/"), "the table first");
        assert!(cells.iter().is_sorted_by_key(|cell| cell.seed));
    }

    #[test]
    fn parts_are_whole_together_and_keep_what_begins_with_another() {
        let all = || {
            let shares = [Share::percent(5), Share::percent(45)];
            let studies = [Study::Table1, Study::FineTuned, Study::LabelBudgets, Study::Floors];
            cells(&studies, &shares, 2, &[], None).unwrap()
        };
        for of in [1, 2, 5, 1000] {
            let mut found = Vec::new();
            for number in 1..=of {
                let mut part = all();
                format!("{number}/{of}").parse::<Part>().unwrap().keep(&mut part);
                for before in part.iter().filter_map(Cell::pretraining_cell) {
                    assert!(part.contains(&before), "{before} is in another part of {of}");
                }
                found.extend(part);
            }
            found.sort_by_key(Cell::id);
            let mut expected = all();
            expected.sort_by_key(Cell::id);
            assert_eq!(found, expected, "{of} parts");
        }
        for wrong in ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2"] {
            let error = wrong.parse::<Part>().unwrap_err().to_string();
            assert!(error.contains("expected K/N"), "{error}");
        }
    }

    /// The number of cells that each study name selects at two shares, counted by hand, and their studies.
    #[test]
    fn every_name_stands_for_its_own_cells() {
        let shares = [Share::percent(45), Share::NATURAL];
        let frozen = Some(backbone::Name::ResNet18);
        // Six methods on two backbones; MAE on ResNet-18 is counted, and is undefined.
        for (name, count, studies) in [
            ("table1", 24, &["extension", "table1"][..]),
            ("floors", 6, &["pixels", "random_weights"]),
            ("frozen", 2, &["given_weights"]),
            ("table2", 10, &["table2"]),
            ("figure3", 35, &["figure3"]),
            ("size_matched", 15, &["size_matched"]),
            ("extensions", 21, &["pixels", "random_weights", "size_matched"]),
            ("remedies", 16, &["remedy"]),
            ("fine_tuned", 20, &["fine_tuned"]),
            ("label_budgets", 36, &["label_budget"]),
            ("unseen", 36, &["unseen"]),
            ("methods", 4, &["extension", "table1"]),
        ] {
            let cells = name.parse::<Study>().unwrap().cells(&shares, 0, frozen);
            let found: std::collections::BTreeSet<&str> = cells.iter().map(|cell| cell.study.id()).collect();
            assert_eq!(
                (cells.len(), found.into_iter().collect::<Vec<_>>()),
                (count, studies.to_vec()),
                "{name}"
            );
            assert!(cells.iter().all(|cell| cell.seed == 0), "{name}");
            // Pixels and given weights have no randomness, and so one seed.
            let later = name.parse::<Study>().unwrap().cells(&shares, 3, frozen);
            let with_seeds =
                cells.iter().filter(|cell| !["pixels", "given_weights"].contains(&cell.study.id()));
            assert_eq!(later.len(), with_seeds.count(), "{name}");
            assert!(later.iter().all(|cell| cell.seed == 3), "{name}");
        }
        for study in [Study::LabelBudgets, Study::Unseen] {
            let cells = study.cells(&[Share::percent(5), Share::percent(15)], 0, None);
            assert!(cells.iter().all(|cell| cell.share == Share::percent(15)), "the largest of these shares");
        }
        let ablations = Study::Ablations.cells(&shares, 3, None);
        assert!(ablations.len() == 9 && ablations.iter().all(|cell| cell.seed == 3));
        let all = Study::All.cells(&shares, 0, frozen);
        assert_eq!(all.len(), 24 + 6 + 10 + 35 + 15 + 9 + 16 + 20 + 36 + 36 + 4, "all but frozen, each once");
        for (name, _) in Study::NAMES {
            assert!(Study::HELP.contains(&format!("\n  {name} ")), "the help does not say what {name} is");
        }
        assert!("table3".parse::<Study>().unwrap_err().to_string().contains("known: table1, floors"));
    }

    #[test]
    fn texts_choose_cells_whatever_their_case_and_studies_that_overlap_are_trained_once() {
        let share = [Share::percent(5)];
        let of = |studies: &[Study], seeds: u64, only: &[&str]| {
            let only: Vec<String> = only.iter().map(|&text| text.to_owned()).collect();
            cells(studies, &share, seeds, &only, None)
                .map(|cells| cells.iter().map(Cell::id).collect::<Vec<_>>())
        };
        assert_eq!(of(&[Study::Floors, Study::Extensions, Study::Floors], 1, &["none"]).unwrap().len(), 3);
        let two = of(&[Study::Table1], 2, &["SimCLR-ResNet18", "byol-resnet"]).unwrap();
        let expected = [("byol", 0), ("simclr", 0), ("byol", 1), ("simclr", 1)]
            .map(|(method, seed)| format!("table1/{method}-resnet18-share05-seed{seed}"));
        assert_eq!(two, expected);
        for (studies, seeds, only, told) in [
            (Study::Table1, 0, "", "--seeds must be at least 1"),
            (Study::Frozen, 1, "", "--frozen FILE names it"),
            (Study::Table1, 1, "moco", "no cell's name contains 'moco'"),
        ] {
            let only: &[&str] = if only.is_empty() { &[] } else { &[only] };
            let error = of(&[studies], seeds, only).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    /// Three budgets of labels begin with each pretraining, which is not among the cells itself.
    #[test]
    fn cells_of_one_pretraining_are_in_one_part() {
        use std::collections::{BTreeMap, BTreeSet};
        let all = cells(&[Study::LabelBudgets], &[Share::percent(45)], 2, &[], None).unwrap();
        let (mut parts, mut sizes) = (BTreeMap::<String, BTreeSet<usize>>::new(), Vec::new());
        for number in 1..=4 {
            let mut part = all.clone();
            Part { number, total: 4 }.keep(&mut part);
            sizes.push(part.len());
            for before in part.iter().filter_map(Cell::pretraining_cell) {
                parts.entry(before.id()).or_default().insert(number);
            }
        }
        assert!(parts.len() > 4 && parts.values().all(|parts| parts.len() == 1), "{parts:?}");
        assert_eq!(sizes.iter().sum::<usize>(), all.len());
        assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
    }
}
