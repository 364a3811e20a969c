//! Verdicts first, the numbers behind each one click away.

use maud::{Markup, html};

use super::Page;
use crate::claims::{Claim, Finding, Verdict};

/// Lines of evidence shown of each finding.
const LINES: usize = 8;

pub fn verdicts(page: &Page) -> Markup {
    let of = |place: usize, verdict: Verdict| {
        page.judged
            .iter()
            .filter(|(_, findings)| findings.get(place).is_some_and(|found| found.verdict == verdict))
            .count()
    };
    let count = |place: usize| {
        format!(
            "{} hold, {} fail, {} are undecided",
            of(place, Verdict::Holds),
            of(place, Verdict::Fails),
            of(place, Verdict::Undecided)
        )
    };
    html! {
        p {
            "Each sentence of the paper that can be true or false is a predicate, judged twice. On the paper's own printed numbers: "
            (count(0)) " (it has one run a cell; seeds are assumed to spread by half a point). "
            @if page.ours().is_some() { "On ours: " (count(1)) "." }
        }
        p.small {
            "\u{201c}Holds\u{201d}: every comparison that the claim makes is beyond what new seeds do. \u{201c}Fails\u{201d}: one is significantly the \
             other way, or the numbers are impossible. \u{201c}Undecided\u{201d} is an answer: too few seeds, or never measured."
        }
        table.claims {
            caption { "Claims, and what became of them" }
            thead { tr {
                th scope="col" { "Claim" }
                th scope="col" { "Paper's numbers" }
                @if page.ours().is_some() { th scope="col" { "Ours" } }
            } }
            tbody { @for (claim, findings) in &page.judged { (row(page, claim, findings)) } }
        }
        (judge())
    }
}

/// What simulated studies say of the verdicts: `benchmarks/cells/judge.rs` writes this table and checks it.
const JUDGED: &str = include_str!("../../snapshots/judge.snap");

/// Of a claim: seeds, and the parts of studies in which it held, failed, and stayed undecided.
type Judged<'a> = (&'a str, &'a str, u32, [f64; 3]);

fn judged() -> Vec<Judged<'static>> {
    let line = |line: &'static str| -> Option<Judged<'static>> {
        let (head, parts) = line.split_once(": ")?;
        let mut head = head.split(", ");
        let (claim, truth, seeds) = (head.next()?, head.next()?, head.next()?.parse().ok()?);
        let parts: Vec<f64> = parts.split(", ").filter_map(|part| part.parse().ok()).collect();
        Some((claim, truth, seeds, parts.try_into().ok()?))
    };
    JUDGED.lines().filter_map(line).collect()
}

fn judge() -> Markup {
    let judged = judged();
    let mut claims: Vec<&str> = judged.iter().map(|found| found.0).collect();
    claims.dedup();
    let of = |claim: &str, truth: &str, seeds: u32| {
        judged.iter().find(|found| (found.0, found.1, found.2) == (claim, truth, seeds)).map(|found| found.3)
    };
    let part =
        |value: Option<f64>| value.map_or("\u{2013}".to_owned(), |value| format!("{:.1} %", 100.0 * value));
    html! {
        details {
            summary { "How far the judge can be trusted" }
            p {
                "Simulated studies of which the truth is known, 200 each, seeds spread by 0.02. With nothing planted, any verdict but \u{201c}undecided\u{201d} is \
                 wrong; with an effect of three deviations of a seed planted, the part that says so is the power."
            }
            div.wide { table {
                caption { "Wrong verdicts where nothing is planted, and power" }
                thead { tr { th scope="col" { "Claim" } @for seeds in [2, 3, 5] { th.number scope="col" { "Wrong, " (seeds) " seeds" } }
                    @for seeds in [2, 3, 5] { th.number scope="col" { "Power, " (seeds) " seeds" } } } }
                tbody { @for claim in claims {
                    // The claim of no correlation is true where nothing is planted, and false where something is.
                    @let nothing = of(claim, "nothing", 2).is_some();
                    tr {
                        th scope="row" { (claim.replace('_', " ")) }
                        @for seeds in [2, 3, 5] { td.number { (part(if nothing { of(claim, "nothing", seeds).map(|found| found[0] + found[1]) }
                            else { of(claim, "true", seeds).map(|found| found[1]) })) } }
                        @for seeds in [2, 3, 5] { td.number { (part(if nothing { of(claim, "true", seeds).map(|found| found[0]) }
                            else { of(claim, "false", seeds).map(|found| found[1]) })) } }
                    }
                } }
            } }
        }
    }
}

fn row(page: &Page, claim: &Claim, findings: &[Finding]) -> Markup {
    html! {
        tr {
            th scope="row" {
                details id={ "claim-" (claim.id) } {
                    summary {
                        @if claim.quote.is_empty() { (claim.predicate) " " span.section { "a question of ours" } }
                        @else { q { (claim.quote) } " " span.section { (claim.section) } }
                    }
                    dl {
                        @if !claim.quote.is_empty() { dt { "Judged as" } dd { (claim.predicate) } }
                        @if !claim.note.is_empty() { dt { "Known besides" } dd { (claim.note) } }
                        @for (body, finding) in page.bodies.iter().zip(findings) {
                            dt { "Evidence, " (if body.name == crate::claims::PAPER { "the paper" } else { "ours" }) }
                            dd {
                                @if finding.evidence.is_empty() && finding.missing.is_empty() { "none" }
                                @if !finding.evidence.is_empty() {
                                    ul { @for line in finding.evidence.iter().take(LINES) { li { (line) } } }
                                    @if finding.evidence.len() > LINES { p { "and " (finding.evidence.len() - LINES) " more" } }
                                }
                                @if let Some(first) = finding.missing.first() {
                                    p {
                                        "Not measured: " (first)
                                        @if finding.missing.len() > 1 { ", and " (finding.missing.len() - 1) " more" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @for finding in findings { td { span class={ "verdict " (finding.verdict.id()) } { (finding.verdict.id()) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_table_is_read_whole() {
        let judged = judged();
        assert_eq!(
            judged.len(),
            JUDGED.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit())).count()
        );
        assert!(judged.iter().all(|found| (found.3.iter().sum::<f64>() - 1.0).abs() < 0.002));
    }
}
