//! Commands that a results folder remembers, and how to reuse them for other cells.

use std::path::{Path, PathBuf};

use skewbench::{
    claims::decision::RecordedCommand,
    results::{Folder, record},
};

use super::program::quoted;

/// Flags with a value that select cells, or that only `choose` has; a follow-up command selects its own cells.
const CHOICES: [&str; 8] =
    ["--study", "--only", "--shares", "--share", "--seeds", "--part", "--hours", "--margin"];
/// Verbs that train cells of a study, with the same flags for data, training and results folder.
const VERBS: [&str; 2] = ["reproduce", "choose"];
/// Flags without a value that a follow-up command does not take over either.
const SWITCHES: [&str; 2] = ["--ablations", "--dry-run"];

/// Returns the commands that made the records of these folders, without the flags that select cells. For records of
/// `choose` it is the `reproduce` command that trains more of the same. Other verbs are left out, because they take
/// other flags; so are folders without commands, or with a torn list.
pub fn reproduce_commands(folders: &[PathBuf]) -> Vec<RecordedCommand> {
    let runs = |folder: &PathBuf| -> Vec<record::Run> {
        let is_there = |folder: &Path| folder.is_dir();
        let folder = is_there(folder).then(|| Folder::open(folder).ok()).flatten();
        folder.and_then(|folder| folder.runs().ok()).unwrap_or_default()
    };
    let made = |run: record::Run| RecordedCommand {
        command: as_reproduce(&run.command),
        cells: run.cells.into_iter().map(|(name, _)| name).collect(),
    };
    let trains = |run: &record::Run| words(&run.command).iter().any(|word| VERBS.contains(&word.as_str()));
    folders.iter().flat_map(runs).filter(trains).map(made).collect()
}

/// Removes from a command the flags that choose cells, and makes `reproduce` its verb.
fn as_reproduce(command: &str) -> String {
    let mut words = words(command).into_iter();
    let mut kept: Vec<String> = Vec::new();
    let mut has_verb = false;
    while let Some(mut word) = words.next() {
        if !has_verb && VERBS.contains(&word.as_str()) {
            (word, has_verb) = ("reproduce".to_owned(), true);
        }
        if CHOICES.contains(&word.as_str()) {
            words.next();
        } else if !SWITCHES.contains(&word.as_str())
            && !CHOICES.iter().any(|flag| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
        {
            kept.push(quoted(&word));
        }
    }
    kept.join(" ")
}

/// Splits a command that [`quoted`] wrote into its arguments.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut inside, mut begun) = (Vec::new(), String::new(), false, false);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => (inside, begun) = (!inside, true),
            '\\' if !inside => word.extend(letters.next()),
            ' ' if !inside => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_read_back() {
        let arguments = ["reproduce", "--out", "a b", "it's", "", "csv=x,y"];
        let command = arguments.map(quoted).join(" ");
        assert_eq!(command, "reproduce --out 'a b' 'it'\\''s' '' csv=x,y");
        assert_eq!(words(&command), arguments);
    }

    #[test]
    fn what_chooses_cells_is_left_out() {
        let command = "cargo xtask reproduce --study table1,floors --seeds=3 --data 'folder=my pipes' --only simclr \
                       --ablations --shares 5% --out x";
        assert_eq!(as_reproduce(command), "cargo xtask reproduce --data 'folder=my pipes' --out x");
        let command = "skewbench choose --data folder=choose --share natural --hours 8 --margin=0.01 --seeds 5 --side 96";
        assert_eq!(as_reproduce(command), "skewbench reproduce --data folder=choose --side 96");
        let command = "skewbench choose --out choose --only a --margin 1 --share 5%";
        assert_eq!(as_reproduce(command), "skewbench reproduce --out choose", "only the first is a verb");
    }

    /// Returns commands that train with their cells, folder by folder; other verbs are left out.
    #[test]
    fn a_folder_remembers_what_made_its_records() {
        use skewbench::{candle_core::Device, results::provenance};
        let root = tempfile::tempdir().unwrap();
        let noted = |name: &str, command: &str, cell: &str| {
            let path = root.path().join(name);
            let provenance = provenance::collect(&Device::Cpu);
            let cells = vec![(cell.to_owned(), 7)];
            let run = record::Run { command: command.to_owned(), provenance, times: 1, cells };
            Folder::open(&path).unwrap().note_run(run).unwrap();
            path
        };
        let first = noted("a", "skewbench reproduce --seeds 3 --side 96", "x");
        noted("a", "skewbench choose --side 48 --share 5%", "y");
        noted("a", "skewbench tune --side 96", "z");
        let second = noted("b", "skewbench reproduce", "z");
        let found = reproduce_commands(&[first, root.path().join("nowhere"), second]);
        let told: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|made| (made.command.as_str(), made.cells.iter().map(String::as_str).collect()))
            .collect();
        let expected = [
            ("skewbench reproduce --side 96", vec!["x"]),
            ("skewbench reproduce --side 48", vec!["y"]),
            ("skewbench reproduce", vec!["z"]),
        ];
        assert_eq!(told, expected);
    }
}
