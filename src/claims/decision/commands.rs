//! Shell commands for the next seeds: the commands that made an arm's records, with other cells and seeds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Card, Next, words};
use crate::{analysis::Axes, data::Share, study::Study};

/// A command that made records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
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
    pub fn commands(&self, made: &[Made]) -> Vec<String> {
        let (Next::First(step) | Next::Seeds(step)) = &self.next else { return Vec::new() };
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
        let papers = |cell: &Axes| cell.method.is_some_and(crate::method::Name::is_the_papers);
        let mut study = if cells.iter().all(papers) { "table1" } else { "table1,methods" }.to_owned();
        let tuned = |cell: &Axes| cell.study == Study::FineTuned;
        let only = if cells.iter().any(tuned) {
            study += ",fine_tuned";
            let plain = if Share::STUDY.contains(&self.share) { Study::Table1 } else { Study::Extension };
            let begins = cells.iter().filter(|cell| tuned(cell)).map(|cell| cell.in_study(plain));
            let all: BTreeSet<Axes> = cells.iter().copied().chain(begins).collect();
            only(all.iter().map(|cell| format!("{}/{}", cell.study.id(), words::short_name(cell))))
        } else {
            only(cells.iter().map(words::short_name))
        };
        format!("--study {study} {only} --shares {} --seeds {seeds}", self.share)
    }
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
