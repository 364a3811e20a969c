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
