//! The verdicts on all claims; the evidence of each is one click away.

use maud::{Markup, html};

use super::{Judged, Page};
use crate::{
    claims::{Claim, Evidence, Finding, Verdict, Yardstick},
    named::counted,
};

/// Largest number of evidence lines shown per finding.
const LINES: usize = 8;

pub fn verdicts(page: &Page) -> Markup {
    html! {
        p {
            "Every sentence of the paper that can be checked is checked here. On the paper's own printed numbers, "
            (count(page, 0, Yardstick::Paper)) " (the paper has one run per cell; a spread of half a point over seeds is assumed). "
            @if page.ours().is_some() {
                "On our measurements, taken as strictly as the paper words them, " (count(page, 1, Yardstick::Paper)) "; "
                (decided(page)) " of " (page.judged.len()) " are decided by at least one of the four ways of judging. "
                (chance(page))
            }
        }
        p.small {
            "\u{201c}Holds\u{201d}: every comparison that the claim makes comes out as claimed, by more than new \
             seeds could change. \u{201c}Fails\u{201d}: at least one comparison comes out significantly the other \
             way, or the numbers are impossible. \u{201c}The same\u{201d}: all differences are known to be smaller \
             than " (margin(page)) ". \
             \u{201c}Undecided\u{201d}: too few seeds, or never measured; open a claim to see what would decide it. The paper's score is F1 of \
             the classifier in training; AUROC is that of the converged probe."
        }
        div.wide { table.claims {
            caption { "Claims and their verdicts" }
            thead { tr {
                th scope="col" { "Claim" }
                th scope="col" { "Paper's numbers" }
                @if page.ours().is_some() { @for yardstick in Yardstick::ALL { th scope="col" { (head(yardstick)) } } }
            } }
            tbody { @for (claim, judged) in &page.judged { (row(page, claim, judged)) } }
        } }
        (judge())
    }
}

fn margin(page: &Page) -> String {
    page.ours().map_or_else(String::new, |ours| ours.margin().to_string())
}

/// Returns the heading of a column.
fn head(yardstick: Yardstick) -> &'static str {
    match yardstick {
        Yardstick::Paper => "Ours: paper's score, every share",
        Yardstick::PaperAverage => "Ours: paper's score, average of shares",
        Yardstick::Auroc => "Ours: AUROC, every share",
        Yardstick::AurocAverage => "Ours: AUROC, average of shares",
    }
}

/// Returns the finding on a body of numbers by a yardstick, if the claim has it.
fn finding(judged: &[Judged], body: usize, yardstick: Yardstick) -> Option<&Finding> {
    judged.get(body)?.iter().find(|(known, _)| *known == yardstick).map(|(_, finding)| finding)
}

/// Formats the number of claims with each verdict: `3 hold, 4 fail, 1 is the same, 25 are undecided`.
fn count(page: &Page, body: usize, yardstick: Yardstick) -> String {
    let of = |verdict: Verdict| {
        let found = page.judged.iter().filter_map(|(_, judged)| finding(judged, body, yardstick));
        found.filter(|finding| finding.verdict == verdict).count()
    };
    let [holds, fails, same, undecided] = Verdict::ALL.map(of);
    let same = match same {
        0 => String::new(),
        same => format!(" {} the same,", counted(same, "is", "are")),
    };
    format!(
        "{}, {},{same} {} undecided",
        counted(holds, "holds", "hold"),
        counted(fails, "fails", "fail"),
        counted(undecided, "is", "are")
    )
}

/// Counts the claims that are decided on our numbers by some yardstick.
fn decided(page: &Page) -> usize {
    let any = |judged: &[Judged]| {
        judged
            .get(1)
            .is_some_and(|ways| ways.iter().any(|(_, finding)| finding.verdict != Verdict::Undecided))
    };
    page.judged.iter().filter(|(_, judged)| any(judged)).count()
}

/// States how many verdicts chance alone would decide, from simulated studies with as many seeds.
fn chance(page: &Page) -> Markup {
    let ways: Vec<(&str, Yardstick)> = page
        .judged
        .iter()
        .flat_map(|(claim, judged)| {
            judged.get(1).into_iter().flatten().map(|(yardstick, _)| (claim.id, *yardstick))
        })
        .collect();
    let rates = rates();
    let seeds = page.records().map(|filed| filed.record.cell.seed + 1).max().unwrap_or(1);
    let Some(simulated) =
        rates.iter().map(|rate| rate.seeds).filter(|&known| u64::from(known) <= seeds).max()
    else {
        return html! {};
    };
    let of = |(claim, yardstick): &(&str, Yardstick)| {
        let own = rates
            .iter()
            .find(|rate| (rate.claim, rate.yardstick, rate.seeds) == (*claim, *yardstick, simulated));
        own.map_or(0.0, |rate| rate.wrong.iter().copied().fold(0.0, f64::max))
    };
    html! {
        "If there were no real effect, about " (format!("{:.0}", ways.iter().map(of).sum::<f64>())) " of these " (ways.len())
        " verdicts would be decided by chance alone (simulated studies with " (simulated) " seeds and the worst kind of noise for each claim)."
    }
}

/// Error rates of the verdicts in simulated studies; `benchmarks/cells/judge` writes and checks this table.
const JUDGED: &str = include_str!("../../snapshots/judge.snap");

/// Rates of wrong verdicts on a claim without a real effect.
struct Rate<'a> {
    claim: &'a str,
    yardstick: Yardstick,
    seeds: u32,
    /// One rate per scenario.
    wrong: Vec<f64>,
}

/// A claim, a yardstick, and the power with two, three and five seeds.
type Power<'a> = (&'a str, Yardstick, Vec<f64>);

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split(", ").map(|part| part.parse().ok()).collect()
}

fn rates() -> Vec<Rate<'static>> {
    let line = |line: &'static str| {
        let (head, wrong) = line.split_once(": ")?;
        let mut head = head.split(", ");
        let (claim, yardstick, seeds) =
            (head.next()?, head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        Some(Rate { claim, yardstick, seeds, wrong: numbers(wrong)? })
    };
    JUDGED.lines().filter_map(line).collect()
}

fn powers() -> Vec<Power<'static>> {
    let line = |line: &'static str| {
        let (head, power) = line.split_once(": ")?;
        let (claim, yardstick) = head.split_once(", ")?;
        Some((claim, yardstick.parse().ok()?, numbers(power)?))
    };
    JUDGED.lines().filter_map(line).collect()
}

/// Returns the headings of the table's two parts.
fn heads() -> Vec<&'static str> {
    JUDGED.lines().filter(|line| line.starts_with("wrong verdicts") || line.starts_with("power")).collect()
}

fn judge() -> Markup {
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    let scenarios: Vec<&str> = heads()
        .first()
        .and_then(|head| head.split_once(": "))
        .map_or(Vec::new(), |(_, list)| list.split(", ").collect());
    html! {
        details {
            summary { "How reliable these verdicts are" }
            p {
                "The same code judges simulated studies whose truth is known. If a study has no real effect, any other verdict is wrong, and at most \
                 one in twenty may be wrong. The columns are kinds of noise: seeds spread equally everywhere, by share, by share and method as \
                 measured, with heavy tails, with one seed in ten at chance level, with each seed shifting all cells, and with missing seeds. Rates \
                 are over 200 studies each, and over 20 for claims about correlations."
            }
            div.wide { table {
                caption { "Wrong verdicts where there is no real effect, three seeds" }
                thead { tr { th scope="col" { "Claim" } th scope="col" { "Judged by" } @for scenario in &scenarios { th.number scope="col" { (scenario) } } } }
                tbody { @for rate in rates().iter().filter(|rate| rate.seeds == 3) { tr {
                    th scope="row" { (rate.claim.replace('_', " ")) } td { (rate.yardstick.label()) }
                    @for &wrong in &rate.wrong { td.number { (percent(wrong)) } }
                } } }
            } }
            @if let Some(head) = heads().get(1) { p.small { (head.split(';').next().unwrap_or_default()) "." } }
            div.wide { table {
                caption { "Power: how often a true claim is judged to hold" }
                thead { tr { th scope="col" { "Claim" } th scope="col" { "Judged by" } @for seeds in [2, 3, 5] { th.number scope="col" { (seeds) " seeds" } } } }
                tbody { @for (claim, yardstick, power) in powers() { tr {
                    th scope="row" { (claim.replace('_', " ")) } td { (yardstick.label()) }
                    @for power in power { td.number { (format!("{:.0} %", 100.0 * power)) } }
                } } }
            } }
        }
    }
}

fn row(page: &Page, claim: &Claim, judged: &[Judged]) -> Markup {
    html! {
        tr {
            th scope="row" {
                details id=(page.id(&format!("claim-{}", claim.id))) {
                    summary {
                        @if claim.quote.is_empty() { (claim.predicate) " " span.section { "our own question" } }
                        @else { q { (claim.quote) } " " span.section { (claim.section) } }
                    }
                    dl {
                        @if !claim.quote.is_empty() { dt { "Judged as" } dd { (claim.predicate) } }
                        @if !claim.note.is_empty() { dt { "Note" } dd { (claim.note) } }
                        @for (body, ways) in page.bodies.iter().zip(judged) { @for (yardstick, finding) in ways {
                            dt { (if body.name == crate::claims::PAPER { "The paper's numbers: " } else { "Ours: " }) (yardstick.label()) ": " (finding.verdict.id()) }
                            dd { (numbers_behind(body, finding)) }
                        } }
                    }
                }
            }
            (verdict(finding(judged, 0, Yardstick::Paper)))
            @if page.ours().is_some() { @for yardstick in Yardstick::ALL { (verdict(finding(judged, 1, yardstick))) } }
        }
    }
}

fn verdict(finding: Option<&Finding>) -> Markup {
    html! { td { @match finding {
        None => "\u{2013}",
        Some(finding) => span class={ "verdict " (finding.verdict.id().replace(' ', "-")) } { (finding.verdict.id()) },
    } } }
}

fn numbers_behind(body: &Evidence, finding: &Finding) -> Markup {
    html! {
        @if finding.evidence.is_empty() && finding.missing.is_empty() { "none" }
        @if !finding.evidence.is_empty() {
            ul { @for line in finding.evidence.iter().take(LINES) { li { (line) } } }
            @if finding.evidence.len() > LINES { p { "and " (finding.evidence.len() - LINES) " more" } }
        }
        @if let Some(outlook) = finding.outlook(body) { p { "What would decide it: " (outlook.sentence()) "." } }
        @if let Some(first) = finding.missing.first() {
            p {
                "Not measured: " (first)
                @if finding.missing.len() > 1 { ", and " (finding.missing.len() - 1) " more" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_table_is_read_whole() {
        let (rates, powers, heads) = (rates(), powers(), heads());
        assert_eq!(heads.len(), 2, "{heads:?}");
        let lines = JUDGED.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit())).count();
        assert_eq!(rates.len() + powers.len(), lines);
        assert!(rates.iter().all(|rate| rate.wrong.len() == 7));
        // Claims about correlations are judged on only twenty studies, of which four may be wrong by chance.
        assert!(rates.iter().flat_map(|rate| &rate.wrong).all(|wrong| *wrong <= 0.2));
        assert!(powers.iter().all(|power| power.2.len() == 3));
    }
}
