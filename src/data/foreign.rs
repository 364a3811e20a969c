//! Escapes text from elsewhere, such as names of files and classes, for terminals, Markdown and tables that may be
//! opened in a spreadsheet.

use std::borrow::Cow;

/// Whether a terminal interprets a character as a control code, or it changes the direction of text.
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

/// Escapes a name for display: characters that a terminal would interpret are written as `\n`, `\u{1b}` and so on.
pub fn escape_name(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Escapes a message with names in it for display: like [`escape_name`], but keeps line breaks and tabs.
pub fn escape_message(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| matches!(letter, '\n' | '\t'))
}

/// Characters with a special meaning in Markdown or in HTML inside it.
const MARKUP: &str = "\\`*_[]<>|&~$";

/// Escapes text for a line of Markdown or a cell of a table, so that it is displayed literally.
pub fn escape_markdown(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter: char| MARKUP.contains(letter) || is_order(letter)) {
        return text.into();
    }
    let mut shown = String::new();
    for letter in escape_name(text).chars() {
        match letter {
            // Entities are used because a backslash does not escape these characters everywhere.
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

/// First characters that make spreadsheets interpret a cell as a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Escapes text for a cell of a CSV file, with a leading apostrophe if a spreadsheet would interpret it as a formula.
///
/// [`unescape_cell`] restores the text: it removes one leading apostrophe if one of `= + - @`, a tab or a carriage
/// return follows, possibly after further apostrophes.
pub fn escape_cell(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(FORMULA) { format!("'{text}").into() } else { text.into() }
}

/// Restores the text that [`escape_cell`] escaped.
pub fn unescape_cell(text: &str) -> &str {
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
        assert_eq!(escape_name(title), "\\u{1b}]0;title\\u{7}a\\r\\nb\\u{9b}31m\\u{202e}gnp.png");
        assert_eq!(escape_message("a\tb\nc\u{1b}[2J"), "a\tb\nc\\u{1b}[2J");
        for plain in ["crack 1.png", "Größe/\u{30d2}\u{30d3}.png", "C:\\a"] {
            assert!(matches!(escape_name(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn markdown_of_names_is_shown_as_it_stands() {
        assert_eq!(
            escape_markdown("a | b\n<script>`x`</script>"),
            "a \\| b\\\\n&lt;script&gt;\\`x\\`&lt;/script&gt;"
        );
        assert_eq!(escape_markdown("[a](b) &amp; *c*"), "\\[a\\](b) &amp;amp; \\*c\\*");
        assert_eq!(escape_markdown("deep crack"), "deep crack");
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
            assert_eq!(escape_cell(text), expected);
            assert_eq!(unescape_cell(&escape_cell(text)), text);
        }
        // Every text of up to four of these letters.
        let letters = ["", "'", "=", "-", "a", "\r"];
        for number in 0..6_usize.pow(4) {
            let text: String = (0..4).map(|place| letters[number / 6_usize.pow(place) % 6]).collect();
            assert_eq!(unescape_cell(&escape_cell(&text)), text);
            assert!(!escape_cell(&text).starts_with(FORMULA), "{text:?}");
        }
    }

    #[test]
    fn letters_that_turn_text_around_are_shown() {
        for letter in
            "\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".chars()
        {
            let expected = format!("a\\u{{{:x}}}b", u32::from(letter));
            assert_eq!(escape_name(&format!("a{letter}b")), expected);
            assert_eq!(escape_message(&format!("a{letter}b")), expected);
            assert_eq!(
                escape_markdown(&format!("a{letter}b")),
                format!("a\\\\u{{{:x}}}b", u32::from(letter))
            );
        }
        for plain in ["\u{200d}", "\u{2010}", "\u{2029}", "\u{202f}", "\u{2065}", "\u{206a}"] {
            assert_eq!(escape_name(plain), plain, "{plain:?}");
        }
        assert_eq!(escape_markdown("a_b`c~d$e\\f*"), "a\\_b\\`c\\~d\\$e\\\\f\\*");
        for begin in ['=', '+', '-', '@', '\t', '\r'] {
            assert_eq!(escape_cell(&format!("{begin}1")), format!("'{begin}1"));
        }
    }
}
