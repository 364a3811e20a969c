//! The decision card as plain lines that fit a terminal.

use skewbench::{claims::Card, claims::decision::RecordedCommand};

use super::program;

/// Columns of a plain terminal.
const WIDTH: usize = 80;

/// Returns the lines of all cards, one card below the other. `setting`: the setting of the records.
pub fn lines(cards: &[Card], setting: Option<&str>, made: &[RecordedCommand]) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(setting) = setting.filter(|_| !cards.is_empty()) else { return lines };
    lines.extend(wrapped(&format!("What to take ({setting})"), "", ""));
    for card in cards {
        lines.push(String::new());
        lines.extend(wrapped(&card.sentence(), "", ""));
        for line in card.evidence().into_iter().chain(card.what_next()) {
            lines.extend(wrapped(&program::as_typed(&line), "- ", "  "));
        }
        for command in card.commands(made) {
            lines.extend(continued(&program::as_typed(&command)));
        }
        if let Some(line) = card.what_is_missing() {
            lines.extend(wrapped(&line, "- ", "  "));
        }
    }
    lines
}

/// Wraps text into lines of at most [`WIDTH`] characters; only a longer word makes a longer line.
pub fn wrapped(text: &str, first: &str, rest: &str) -> Vec<String> {
    broken(text.split(' '), [first, rest], "")
}

/// Breaks a command into lines that a shell reads as one, keeping flags with their values. A comment needs no
/// continuation: it ends the command.
fn continued(command: &str) -> Vec<String> {
    let (command, comment) = match command.split_once(" # ") {
        Some((command, comment)) => (command, Some(comment)),
        None => (command, None),
    };
    let flags = command.replace(" --", "\n--");
    let mut lines = broken(flags.lines(), ["    ", "      "], " \\");
    lines.extend(comment.into_iter().flat_map(|comment| wrapped(comment, "    # ", "    # ")));
    lines
}

/// Joins pieces into lines of at most [`WIDTH`] characters; only a longer piece makes a longer line. `begin`: what
/// the first line and the others start with. All lines except the last end in `end`.
fn broken<'a>(pieces: impl Iterator<Item = &'a str>, begin: [&str; 2], end: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = begin[0].to_owned();
    let mut is_empty = true;
    for piece in pieces {
        let needed = line.chars().count() + 1 + piece.chars().count() + end.chars().count();
        if !is_empty && needed > WIDTH {
            lines.push(std::mem::replace(&mut line, begin[1].to_owned()) + end);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += piece;
        is_empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_lose_no_word() {
        let text = "word ".repeat(60);
        let found = wrapped(text.trim_end(), "- ", "  ");
        assert!(found.len() > 3 && found.iter().all(|line| line.chars().count() <= WIDTH), "{found:?}");
        assert!(found[0].starts_with("- word") && found[1].starts_with("  word"), "{found:?}");
        assert_eq!(found.join(" ").matches("word").count(), 60);
        let flag = format!("--only {}", "x".repeat(50));
        let command = continued(&format!("cargo xtask reproduce {flag} {flag} # and more"));
        assert_eq!(
            command,
            [
                "    cargo xtask reproduce \\".to_owned(),
                format!("      {flag} \\"),
                format!("      {flag}"),
                "    # and more".to_owned()
            ]
        );
    }

    /// Only a sign behind a space begins a comment.
    #[test]
    fn a_sign_in_a_name_is_no_comment() {
        let found = continued("cargo xtask reproduce --data folder=a#1 --out x # and more");
        assert_eq!(found, ["    cargo xtask reproduce --data folder=a#1 --out x", "    # and more"]);
    }

    /// With committed records: the lines contain everything that a card says, in order, and nothing else.
    #[test]
    fn a_card_is_shown_as_a_whole() {
        use skewbench::{
            analysis::reading,
            claims::{Evidence, decision},
        };
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-29-small-study");
        let reading = reading::read(&[root]);
        let (setting, _) = reading.frame.settings().into_iter().next().unwrap();
        let mut cards = decision::cards(&Evidence::measured(&setting, &reading.frame.setting(&setting)));
        for (number, card) in cards.iter_mut().enumerate() {
            card.missing = vec![format!("what card {number} lacks"), "more".to_owned()];
        }
        let cells = reading.records.iter().map(|filed| filed.record.cell.id.clone()).collect();
        let made = [RecordedCommand { command: "cargo xtask reproduce --out x".to_owned(), cells }];
        let found = lines(&cards, Some(&setting), &made);
        let words = |text: &str| -> Vec<String> {
            text.split_whitespace()
                .filter(|word| !["-", "\\", "#"].contains(word))
                .map(str::to_owned)
                .collect()
        };
        let mut expected = words(&format!("What to take ({setting})"));
        for card in &cards {
            expected.extend(words(&card.sentence()));
            card.evidence().iter().for_each(|line| expected.extend(words(&program::as_typed(line))));
            card.what_next().iter().for_each(|line| expected.extend(words(&program::as_typed(line))));
            card.commands(&made).iter().for_each(|line| expected.extend(words(&program::as_typed(line))));
            card.what_is_missing().iter().for_each(|line| expected.extend(words(line)));
        }
        assert!(cards.len() > 1 && expected.len() > 100);
        assert_eq!(words(&found.join("\n")), expected);
        let bullets = found.iter().filter(|line| line.starts_with("- ")).count();
        assert!(bullets >= cards.len(), "evidence stands in a list: {bullets}");
        assert!(lines(&cards, None, &made).is_empty() && lines(&[], Some(&setting), &made).is_empty());
    }

    /// 78 characters leave room for the continuation, 79 do not.
    #[test]
    fn a_continued_line_fits_with_its_backslash() {
        let begin = "    cargo xtask reproduce --out ";
        for (width, lines) in [(78, 2), (79, 3)] {
            let value = "x".repeat(width - begin.len());
            let command = format!("{}{value} --seeds {}", begin.trim_start(), "3".repeat(60));
            let found = continued(&command);
            assert!(found.iter().all(|line| line.chars().count() <= WIDTH), "{width}: {found:?}");
            assert_eq!(found.len(), lines, "{width}: {found:?}");
            let joined: Vec<&str> = found.iter().map(|line| line.trim().trim_end_matches(" \\")).collect();
            assert_eq!(joined.join(" "), command);
        }
    }

    /// The cells of a step were made by different commands, and each is continued by its own.
    #[test]
    fn a_step_of_several_commands_is_shown_with_all() {
        use skewbench::{
            analysis::reading,
            claims::{Evidence, decision},
        };
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-29-small-study");
        let reading = reading::read(&[root]);
        let (setting, _) = reading.frame.settings().into_iter().next().unwrap();
        let cards = decision::cards(&Evidence::measured(&setting, &reading.frame.setting(&setting)));
        let cells = reading.records.iter().map(|filed| filed.record.cell.id.clone());
        let own = |cell: String| {
            let out = cell.replace('/', "-");
            RecordedCommand { command: format!("skewbench reproduce --out {out}"), cells: vec![cell] }
        };
        let made: Vec<RecordedCommand> = cells.map(own).collect();
        let most = cards.iter().max_by_key(|card| card.commands(&made).len()).unwrap();
        let expected = most.commands(&made);
        assert!(expected.len() > 1, "{expected:?}");
        let found = lines(std::slice::from_ref(most), Some(&setting), &made);
        let begins = found.iter().filter(|line| line.starts_with("    skewbench reproduce")).count();
        assert_eq!(begins, expected.len(), "{found:?}");
        for command in expected {
            let out = command.split_whitespace().skip_while(|word| *word != "--out").nth(1).unwrap();
            assert!(found.iter().any(|line| line.contains(&format!("--out {out}"))), "{out}: {found:?}");
        }
    }
}
