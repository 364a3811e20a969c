//! Text that others wrote, such as names of files and classes, on its way to where it could do something: to a terminal,
//! into Markdown, or into a table that a spreadsheet opens.

use std::borrow::Cow;

/// Whether a terminal takes a character for an order, or shows what follows in another order than it stands.
fn is_order(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || letter.is_control()
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|letter| is_order(letter) && !keep(letter)) {
        return text.into();
    }
    let mut shown = String::new();
    for letter in text.chars() {
        match is_order(letter) && !keep(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown.into()
}

/// A name as it may be shown: characters that a terminal would obey are written as `\n`, `\u{1b}` and so on.
pub fn name(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// A message with names in it, as it may be shown: as [`name`], but for ends of lines and tabs, which messages have.
pub fn message(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| matches!(letter, '\n' | '\t'))
}

/// What Markdown, or HTML in it, would take for more than a letter.
const MARKUP: &str = "\\`*_[]<>|&~$";

/// Text within a line of Markdown, or a cell of a table: shown as it stands.
pub fn markdown(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter: char| MARKUP.contains(letter) || is_order(letter)) {
        return text.into();
    }
    let mut shown = String::new();
    for letter in name(text).chars() {
        match letter {
            // Entities: a backslash does not hold these back everywhere.
            '<' => shown += "&lt;",
            '>' => shown += "&gt;",
            '&' => shown += "&amp;",
            '|' => shown += "\\|",
            letter if MARKUP.contains(letter) => shown.extend(['\\', letter]),
            letter => shown.push(letter),
        }
    }
    shown.into()
}

/// Beginnings of a cell that spreadsheets take for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Text as a cell of a CSV file: with an apostrophe in front where a spreadsheet would take it for a formula. Whoever reads
/// the file by [`of_cell`], or takes off one apostrophe in front of one of `= + - @`, a tab, a carriage return or further
/// apostrophes before one of these, has the text again.
pub fn cell(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(FORMULA) { format!("'{text}").into() } else { text.into() }
}

/// The text that [`cell`] made a cell of.
pub fn of_cell(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let title = "\u{1b}]0;title\u{7}a\r\nb\u{9b}31m\u{202e}gnp.png";
        assert_eq!(name(title), "\\u{1b}]0;title\\u{7}a\\r\\nb\\u{9b}31m\\u{202e}gnp.png");
        assert_eq!(message("a\tb\nc\u{1b}[2J"), "a\tb\nc\\u{1b}[2J");
        for plain in ["crack 1.png", "Größe/\u{30d2}\u{30d3}.png", "C:\\a"] {
            assert!(matches!(name(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn markdown_of_names_is_shown_as_it_stands() {
        assert_eq!(
            markdown("a | b\n<script>`x`</script>"),
            "a \\| b\\\\n&lt;script&gt;\\`x\\`&lt;/script&gt;"
        );
        assert_eq!(markdown("[a](b) &amp; *c*"), "\\[a\\](b) &amp;amp; \\*c\\*");
        assert_eq!(markdown("deep crack"), "deep crack");
    }

    #[test]
    fn cells_are_no_formulas_and_come_back() {
        for (text, expected) in [
            ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\tb", "'\tb"),
            ("'=a", "''=a"),
            ("'a", "'a"),
            ("", ""),
            ("'", "'"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(cell(text), expected);
            assert_eq!(of_cell(&cell(text)), text);
        }
        // Every text of up to four of these letters.
        let letters = ["", "'", "=", "-", "a", "\r"];
        for number in 0..6_usize.pow(4) {
            let text: String = (0..4).map(|place| letters[number / 6_usize.pow(place) % 6]).collect();
            assert_eq!(of_cell(&cell(&text)), text);
            assert!(!cell(&text).starts_with(FORMULA), "{text:?}");
        }
    }
}
