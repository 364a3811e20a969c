//! Tables as Markdown, and their insertion into a document: cards, verdicts, AUROC and Table 1, for documents that
//! must agree with the records.
//!
//! A table's place is everything between `<!-- begin NAME: COMMAND -->` and `<!-- end NAME -->`; the command is the
//! one that fills it. Independent of HTML.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::{Judged, Page};
use crate::{
    analysis::{Axes, Interval, cell::percent},
    backbone,
    claims::{Card, Verdict, Yardstick},
    data::{Share, foreign},
    results::Metric,
};

/// Returns names and texts of all tables of a page.
pub fn tables(page: &Page) -> Vec<(&'static str, String)> {
    vec![
        ("card", cards(page)),
        ("verdicts", verdicts(page)),
        ("table1", table_1(page)),
        ("auroc", auroc(page)),
    ]
}

/// Inserts each table at its place in `document`. Tables without a place are ignored.
///
/// # Errors
/// If the document has no place for any table, or a place has no end.
pub fn splice(document: &str, tables: &[(&str, String)]) -> Result<String> {
    let mut spliced = document.to_owned();
    let mut places = 0;
    for (name, table) in tables {
        let Some(begin) = spliced.find(&format!("<!-- begin {name}: ")) else { continue };
        let end = format!("<!-- end {name} -->");
        let end = begin
            + spliced[begin..].find(&end).with_context(|| {
                format!("expected '{end}' after the line that begins the table, found none")
            })?;
        let first =
            begin + spliced[begin..end].find("-->\n").context("expected '-->' at the end of the line")? + 4;
        spliced.replace_range(first..end, &format!("\n{table}\n"));
        places += 1;
    }
    let names: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
    ensure!(
        places > 0,
        "expected '<!-- begin NAME: COMMAND -->' for one of {}, found none",
        names.join(", ")
    );
    Ok(spliced)
}

/// Returns a list of what to take, with one line per training share.
fn cards(page: &Page) -> String {
    let line = |card: &Card| format!("- {}\n", card.sentence());
    if page.cards().is_empty() { "No records.\n".to_owned() } else { page.cards().iter().map(line).collect() }
}

/// Returns a table with one line per claim: the claim, its place in the paper, and the verdict on each body of
/// numbers.
fn verdicts(page: &Page) -> String {
    let mut text = "| Claim | Paper | Its numbers |".to_owned();
    text += if page.ours().is_some() {
        " Ours, paper's score | on average | Ours, AUROC | on average |\n|---|---|---|---|---|---|---|\n"
    } else {
        "\n|---|---|---|\n"
    };
    for (claim, judged) in &page.judged {
        let said = if claim.quote.is_empty() {
            claim.predicate.to_owned()
        } else {
            format!("\u{201c}{}\u{201d}", claim.quote)
        };
        let _ = write!(text, "| {} | {} |", said.replace('|', "\\|"), claim.section);
        let verdict = |judged: &Judged, yardstick: Yardstick| {
            let found = judged.iter().find(|(known, _)| *known == yardstick);
            match found.map(|(_, finding)| finding.verdict) {
                None => "\u{2013}".to_owned(),
                Some(Verdict::Undecided) => "undecided".to_owned(),
                Some(decided) => format!("**{}**", decided.id()),
            }
        };
        for (body, judged) in judged.iter().enumerate() {
            let shown = if body == 0 { &Yardstick::PAPER_ONLY[..] } else { &Yardstick::ALL };
            for &yardstick in shown {
                let _ = write!(text, " {} |", verdict(judged, yardstick));
            }
        }
        text.push('\n');
    }
    text
}

/// Returns our F1 of the classifier in training on all validation images: mean and half width of its 95 % interval.
fn table_1(page: &Page) -> String {
    let Some(ours) = page.ours() else { return "No records.\n".to_owned() };
    let (mut rows, shares) = (Vec::new(), page.shares_and_the_papers());
    for backbone in backbone::Name::STUDY {
        for method in page.methods() {
            let cell = |share| Axes::trained(method, backbone, share).in_training();
            let cells = shares.iter().map(|&share| ours.interval(Metric::F1, &cell(share)));
            rows.push((method.label(), backbone, cells.collect()));
        }
    }
    format!("F1, {}\n\n{}", foreign::escape_markdown(&ours.name), by_share(&shares, &rows))
}

/// Returns our AUROC of the converged probe on all validation images, preceded by that of random and of given
/// weights.
fn auroc(page: &Page) -> String {
    let Some(ours) = page.ours() else { return "No records.\n".to_owned() };
    let (mut rows, shares) = (Vec::new(), page.shares_and_the_papers());
    for backbone in backbone::Name::ALL {
        let given = |share| Axes::given_weights(backbone, share).converged();
        let given = shares.iter().map(|&share| ours.interval(Metric::Auroc, &given(share)));
        rows.push(("given weights, frozen", backbone, given.collect()));
    }
    for backbone in backbone::Name::STUDY {
        let floor = |share| Axes::random_weights(backbone, share).converged();
        let floors = shares.iter().map(|&share| ours.interval(Metric::Auroc, &floor(share)));
        rows.push(("random weights", backbone, floors.collect()));
        for method in page.methods() {
            let cell = |share| Axes::trained(method, backbone, share).converged();
            let cells = shares.iter().map(|&share| ours.interval(Metric::Auroc, &cell(share)));
            rows.push((method.label(), backbone, cells.collect()));
        }
    }
    format!(
        "AUROC of the converged probe, {}\n\n{}",
        foreign::escape_markdown(&ours.name),
        by_share(&shares, &rows)
    )
}

/// Formats rows with a number for each training share; rows without any number are left out.
fn by_share(shares: &[Share], rows: &[(&str, backbone::Name, Vec<Option<Interval>>)]) -> String {
    let mut text = "| Method | Backbone |".to_owned();
    for share in shares {
        let _ = write!(text, " {} |", percent(*share));
    }
    let _ = write!(text, "\n|---|---|{}\n", "---|".repeat(shares.len()));
    for (method, backbone, cells) in rows {
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "| {method} | {} |", backbone.label());
        for cell in cells {
            let _ = write!(text, " {} |", cell.map_or("\u{2013}".to_owned(), number));
        }
        text.push('\n');
    }
    text
}

/// Formats an estimate with half the width of its interval: `0.742 \u{b1}0.012`.
fn number(interval: Interval) -> String {
    let half = (interval.high - interval.low) / 2.0;
    if half.is_finite() {
        format!("{:.3} \u{b1}{half:.3}", interval.estimate)
    } else {
        format!("{:.3}", interval.estimate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_make_no_markdown() {
        let table = format!("F1, {}\n", foreign::escape_markdown("small | x\n<!-- end table1 --><b>`"));
        assert_eq!(table, "F1, small \\| x\\\\n&lt;!-- end table1 --&gt;&lt;b&gt;\\`\n");
        let document = "<!-- begin table1: c -->\n<!-- end table1 -->\n";
        let once = splice(document, &[("table1", table.clone())]).unwrap();
        assert_eq!(splice(&once, &[("table1", table)]).unwrap(), once, "its end is where it was");
    }

    #[test]
    fn tables_replace_what_is_between_their_marks() {
        let document = "a\n<!-- begin x: command -->\nold\n<!-- end x -->\nb\n";
        let spliced = splice(document, &[("x", "| new |\n".to_owned()), ("y", String::new())]).unwrap();
        assert_eq!(spliced, "a\n<!-- begin x: command -->\n\n| new |\n\n<!-- end x -->\nb\n");
        assert_eq!(splice(&spliced, &[("x", "| new |\n".to_owned())]).unwrap(), spliced, "again");
    }

    #[test]
    fn places_that_are_not_there_are_named() {
        let error = splice("text", &[("x", String::new())]).unwrap_err();
        assert!(error.to_string().contains("for one of x, found none"), "{error}");
        let error = splice("<!-- begin x: c -->\n", &[("x", String::new())]).unwrap_err();
        assert!(error.to_string().contains("expected '<!-- end x -->'"), "{error}");
    }

    /// A table that the document does not have is passed over, wherever it stands among the others; an end before the
    /// beginning is none, and the line that begins a table must end.
    #[test]
    fn each_table_finds_its_own_place() {
        let tables = [("x", "1\n".to_owned()), ("y", "2\n".to_owned()), ("z", "3\n".to_owned())];
        let document = "<!-- begin z: c -->\n<!-- end z -->\n<!-- begin y: d -->\n<!-- end y -->\n";
        let spliced = splice(document, &tables).unwrap();
        assert_eq!(
            spliced,
            "<!-- begin z: c -->\n\n3\n\n<!-- end z -->\n<!-- begin y: d -->\n\n2\n\n<!-- end y -->\n"
        );
        let error = |document: &str| splice(document, &tables).unwrap_err().to_string();
        let missing = "expected '<!-- end y -->' after the line that begins the table, found none";
        assert_eq!(error("<!-- end y -->\n<!-- begin y: d -->\nold\n"), missing);
        assert_eq!(error("<!-- begin y: d\n<!-- end y -->\n"), "expected '-->' at the end of the line");
        assert_eq!(error("text"), "expected '<!-- begin NAME: COMMAND -->' for one of x, y, z, found none");
    }
}
