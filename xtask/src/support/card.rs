//! The decision card as plain lines that fit a terminal.

use skewbench::{claims::Card, claims::decision::Made};

use super::program;

/// Columns of a plain terminal.
const WIDTH: usize = 80;

/// Every card, one below the other; nothing of none. `setting`: what records they are of.
pub fn lines(cards: &[Card], setting: Option<&str>, made: &[Made]) -> Vec<String> {
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

/// Words in lines of at most [`WIDTH`] letters, where words allow.
fn wrapped(text: &str, first: &str, rest: &str) -> Vec<String> {
    broken(text, first, rest, "", WIDTH)
}

/// A command in lines that a shell takes as one. A comment needs none: it ends the command.
fn continued(command: &str) -> Vec<String> {
    let (command, comment) = match command.split_once(" # ") {
        Some((command, comment)) => (command, Some(comment)),
        None => (command, None),
    };
    let mut lines = broken(command, "    ", "      ", " \\", WIDTH);
    lines.extend(comment.into_iter().flat_map(|comment| wrapped(comment, "    # ", "    # ")));
    lines
}

/// Words in lines of at most `width` letters, where words allow; all lines but the last end in `end`.
fn broken(text: &str, first: &str, rest: &str, end: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        let needed = line.chars().count() + 1 + word.chars().count() + end.chars().count();
        if !is_empty && needed > width {
            lines.push(std::mem::replace(&mut line, rest.to_owned()) + end);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
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
        let text = "one two three four five six seven";
        let found = broken(text, "- ", "  ", "", 12);
        assert_eq!(found, ["- one two", "  three four", "  five six", "  seven"]);
        let command = broken(text, "", "  ", " \\", 14);
        assert_eq!(command, ["one two \\", "  three four \\", "  five six \\", "  seven"]);
        let long = wrapped(&"word ".repeat(60), "- ", "  ");
        assert!(long.iter().all(|line| line.chars().count() <= WIDTH), "{long:?}");
        assert_eq!(continued("a b # c"), ["    a b", "    # c"]);
    }
}
