//! Shell commands for the next seeds: the commands that made an arm's records, with other cells and seeds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Card, NextAction, words};
use crate::{analysis::Axes, backbone, data::Share, method, study::Study};

/// A command that made records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCommand {
    /// The command without its selection of cells (`--study`, `--only`, `--shares`, `--seeds`).
    pub command: String,
    /// Names of the cells that it made.
    pub cells: Vec<String>,
}

/// Placeholder if the command that made an arm is unknown; a shell ignores what follows `#`.
const UNKNOWN: &str = "# and the other flags of the run that made these records";

impl Card {
    /// Returns the shell commands for the next step, one for each command that made its arms; empty if nothing is to
    /// be run. If several commands made an arm, the last one counts.
    pub fn commands(&self, made: &[RecordedCommand]) -> Vec<String> {
        let (NextAction::First(step) | NextAction::Seeds(step)) = &self.next else { return Vec::new() };
        let mut arms: BTreeMap<Option<&str>, Vec<Axes>> = BTreeMap::new();
        for (cell, _) in &step.cells {
            let own = format!("{}-seed", cell.stem());
            let by = made.iter().rev().find(|made| made.cells.iter().any(|name| name.starts_with(&own)));
            arms.entry(by.map(|made| made.command.as_str())).or_default().push(*cell);
        }
        let line = |(command, cells): (Option<&str>, Vec<Axes>)| {
            let asked = self.asked(&cells, step.seeds);
            match command {
                Some(command) => format!("{command} {asked}"),
                None => format!("cargo xtask reproduce {asked} {UNKNOWN}"),
            }
        };
        arms.into_iter().map(line).collect()
    }

    /// Flags that select exactly these cells at the share, including the cells that fine-tuned ones start from.
    fn asked(&self, cells: &[Axes], seeds: usize) -> String {
        let papers = |cell: &Axes| cell.method.is_some_and(method::Name::is_from_paper);
        let mut study = if cells.iter().all(papers) { "table1" } else { "table1,methods" }.to_owned();
        let tuned = |cell: &Axes| cell.study == Study::FineTuned;
        let only = if cells.iter().any(tuned) {
            study += ",fine_tuned";
            let plain = if Share::STUDY.contains(&self.share) { Study::Table1 } else { Study::Extension };
            let begins = cells.iter().filter(|cell| tuned(cell)).map(|cell| cell.in_study(plain));
            let all: BTreeSet<Axes> = cells.iter().copied().chain(begins).collect();
            only(all.iter().map(|cell| format!("{}/{}", cell.study.id(), words::short_name(cell))))
        } else if study == "table1" && cells.len() == in_table_1() {
            String::new()
        } else {
            only(cells.iter().map(words::short_name))
        };
        let only = if only.is_empty() { only } else { format!(" {only}") };
        format!("--study {study}{only} --shares {} --seeds {seeds}", self.share)
    }
}

/// Number of the pairs of method and backbone that the paper trains.
fn in_table_1() -> usize {
    let papers = method::Name::ALL.into_iter().filter(|method| method.is_from_paper());
    let backbones = |method: method::Name| {
        backbone::Name::STUDY.into_iter().filter(move |&backbone| method.undefined_on(backbone).is_none())
    };
    papers.flat_map(backbones).count()
}

/// Formats `--only a,b --only c`, in lists that fit a line of a terminal.
fn only(names: impl Iterator<Item = String>) -> String {
    const LONGEST: usize = 56;
    let mut lists: Vec<String> = Vec::new();
    for name in names {
        match lists.last_mut() {
            Some(list) if list.len() + 1 + name.len() <= LONGEST => *list += &format!(",{name}"),
            _ => lists.push(name),
        }
    }
    lists.into_iter().map(|list| format!("--only {list}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::Name::{ResNet18, ViTTiny},
        claims::{
            Evidence,
            decision::{Step, cards},
        },
        method::Name::{self, Byol, Dino, SimClr, Supervised},
        results::Metric,
    };

    const FIVE: Share = Share::percent(5);

    /// A card whose next step is these seeds of these cells.
    fn card(share: Share, cells: &[Axes], seeds: usize) -> Card {
        let mut rows = crate::analysis::frame::FrameBuilder::default();
        rows.begin("x", Axes::trained(SimClr, ResNet18, share).converged(), Some(0));
        rows.number(Metric::Auroc, Some(0.5));
        let mut card = cards(&Evidence::measured("x", &rows.frame())).remove(0);
        let cells = cells.iter().map(|cell| (*cell, 1)).collect();
        card.next = NextAction::Seeds(Step { seeds, cells, chance: None, minutes: None });
        card
    }

    fn arm(method: Name) -> Axes {
        Axes::trained(method, ResNet18, FIVE)
    }

    #[test]
    fn commands_ask_for_exactly_the_cells_of_a_step() {
        let unknown = "# and the other flags of the run that made these records";
        let commands = |card: &Card| card.commands(&[]);
        assert_eq!(
            commands(&card(FIVE, &[arm(Byol), Axes::trained(Dino, ViTTiny, FIVE)], 7)),
            [format!(
                "cargo xtask reproduce --study table1 --only byol-resnet18,dino-vit_tiny --shares 5% --seeds 7 {unknown}"
            )]
        );
        // All eleven pairs of the paper (MAE has no ResNet) need no selection; ten do.
        let pairs =
            Name::PAPER.iter().flat_map(|&method| [ResNet18, ViTTiny].map(|backbone| (method, backbone)));
        let pairs = pairs.filter(|pair| *pair != (Name::Mae, ResNet18));
        let all: Vec<Axes> = pairs.map(|(method, backbone)| Axes::trained(method, backbone, FIVE)).collect();
        assert_eq!(
            commands(&card(FIVE, &all, 3)),
            [format!("cargo xtask reproduce --study table1 --shares 5% --seeds 3 {unknown}")]
        );
        assert_eq!(all.len(), 11);
        let most = commands(&card(FIVE, &all[1..], 3));
        assert!(
            most[0].contains("--study table1 --only ") && !most[0].contains(&words::short_name(&all[0])),
            "{most:?}"
        );
        // Methods that the paper does not have are asked for by their own study.
        let ours = Name::ALL.into_iter().find(|method| !method.is_from_paper()).unwrap();
        let natural = Axes::trained(ours, ResNet18, Share::NATURAL);
        assert_eq!(
            commands(&card(Share::NATURAL, &[natural], 4)),
            [format!(
                "cargo xtask reproduce --study table1,methods --only {ours}-resnet18 --shares natural --seeds 4 {unknown}"
            )]
        );
        // A fine-tuned encoder needs the cell that it starts from.
        let tuned = arm(SimClr).in_study(Study::FineTuned);
        assert_eq!(
            commands(&card(FIVE, &[arm(Supervised), tuned], 5)),
            [format!(
                "cargo xtask reproduce --study table1,fine_tuned --only table1/supervised-resnet18,table1/simclr-resnet18 --only \
                 fine_tuned/simclr-resnet18 --shares 5% --seeds 5 {unknown}"
            )]
        );
        let thirty = Share::percent(30);
        let tuned = Axes::trained(SimClr, ResNet18, thirty).in_study(Study::FineTuned);
        assert_eq!(
            commands(&card(thirty, &[tuned], 5)),
            [format!(
                "cargo xtask reproduce --study table1,fine_tuned --only extension/simclr-resnet18,fine_tuned/simclr-resnet18 \
                 --shares 30% --seeds 5 {unknown}"
            )]
        );
    }

    /// One of our methods among the paper's needs both studies, and a selection even beside all pairs of the paper.
    #[test]
    fn one_method_of_ours_among_the_papers_needs_both_studies() {
        let ours = Name::ALL.into_iter().find(|method| !method.is_from_paper()).unwrap();
        let [pair] = &card(FIVE, &[arm(Byol), arm(ours)], 4).commands(&[])[..] else { panic!("one command") };
        let asked =
            format!("--study table1,methods --only byol-resnet18,{ours}-resnet18 --shares 5% --seeds 4");
        assert_eq!(pair.split(" #").next(), Some(format!("cargo xtask reproduce {asked}").as_str()));
        let papers = Name::PAPER.into_iter().flat_map(|method| {
            let backbones = [ResNet18, ViTTiny].into_iter();
            backbones.filter(move |&on| method.undefined_on(on).is_none()).map(move |on| (method, on))
        });
        let papers = papers.map(|(method, on)| Axes::trained(method, on, FIVE));
        let all: Vec<Axes> = papers.chain([arm(ours)]).collect();
        let more = &card(FIVE, &all, 4).commands(&[])[0];
        assert_eq!(all.len(), 12);
        assert!(more.contains("--study table1,methods --only ") && more.contains(ours.id()), "{more}");
    }

    /// If two commands made an arm, the last one continues it; cells whose names merely begin alike are not that arm.
    #[test]
    fn the_last_command_that_made_an_arm_continues_it() {
        let made = |command: &str, cells: &[String]| RecordedCommand {
            command: command.to_owned(),
            cells: cells.to_vec(),
        };
        let seed = |cell: Axes, seed: usize| format!("{}-seed{seed}", cell.stem());
        let card = card(FIVE, &[arm(Byol), arm(SimClr)], 3);
        let commands = card.commands(&[
            made("first", &[seed(arm(Byol), 0), seed(arm(SimClr), 0)]),
            made("second", &[seed(arm(Dino), 0), seed(arm(Byol), 1)]),
            made("third", &[format!("{}x-seed0", arm(SimClr).stem())]),
        ]);
        let asked = |only: &str| format!("--study table1 --only {only} --shares 5% --seeds 3");
        assert_eq!(
            commands,
            [format!("first {}", asked("simclr-resnet18")), format!("second {}", asked("byol-resnet18"))]
        );
        for next in [NextAction::Nothing, NextAction::Settled, NextAction::Beyond(30)] {
            assert!(Card { next, ..card.clone() }.commands(&[]).is_empty());
        }
        let NextAction::Seeds(step) = card.next.clone() else { panic!() };
        assert_eq!(Card { next: NextAction::First(step), ..card }.commands(&[]).len(), 1);
    }

    /// Lists have at most 56 characters.
    #[test]
    fn long_lists_are_cut_to_fit_a_line() {
        let names = ["a".repeat(27), "b".repeat(28), "c".repeat(55), "d".to_owned(), "e".repeat(60)];
        let [a, b, c, d, e] = &names;
        assert_eq!(only(names.iter().cloned()), format!("--only {a},{b} --only {c} --only {d} --only {e}"));
        assert_eq!(only(["x".to_owned(), "y".to_owned()].into_iter()), "--only x,y");
    }
}
