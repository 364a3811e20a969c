//! `claims`: the paper's claims, judged on its own printed numbers and on records.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use serde_json::json;
use skewbench::{
    analysis::reading,
    claims::{self, Claim, Evidence, Finding, Verdict, Yardstick, evidence::MARGIN},
    data::foreign,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Results folders; without any, the paper's own numbers only
    folders: Vec<PathBuf>,
    /// Print the numbers behind each verdict
    #[arg(long)]
    evidence: bool,
    /// Scores that differ by less count as the same
    #[arg(long, value_name = "SCORE", default_value_t = MARGIN)]
    margin: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A column: the index of a body of numbers, and a yardstick.
type Column = (usize, Yardstick);
/// Every claim, and its findings by column.
type Judged = Vec<(&'static Claim, BTreeMap<Column, Finding>)>;

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.margin.is_finite() && arguments.margin >= 0.0,
        "--margin must be a difference of scores, 0 or more, found {}",
        arguments.margin
    );
    let mut bodies = vec![claims::paper().with_margin(arguments.margin)];
    if !arguments.folders.is_empty() {
        let reading = reading::read(&arguments.folders);
        for problem in &reading.problems {
            eprintln!("{}", foreign::escape_message(&problem.to_string()));
        }
        let settings = reading.frame.settings();
        ensure!(
            !settings.is_empty(),
            "no records to judge: name a results folder, or none for the paper's own numbers"
        );
        for (setting, _) in settings {
            let body = Evidence::measured(&setting, &reading.frame.setting(&setting));
            bodies.push(body.with_margin(arguments.margin));
        }
    }
    let judged: Judged = claims::all().into_iter().map(|claim| (claim, judge(claim, &bodies))).collect();
    if arguments.json {
        println!("{}", as_json(&judged, &bodies)?);
    } else {
        print(&judged, &bodies, arguments.evidence);
    }
    Ok(())
}

fn judge(claim: &Claim, bodies: &[Evidence]) -> BTreeMap<Column, Finding> {
    let on = |(place, body): (usize, &Evidence)| {
        claim.judge_all(body).into_iter().map(move |(yardstick, finding)| ((place, yardstick), finding))
    };
    bodies.iter().enumerate().flat_map(on).collect()
}

/// Returns the columns for which some claim has a finding.
fn columns(judged: &Judged) -> Vec<Column> {
    let columns: BTreeSet<Column> = judged.iter().flat_map(|(_, found)| found.keys().copied()).collect();
    columns.into_iter().collect()
}

fn print(judged: &Judged, bodies: &[Evidence], evidence: bool) {
    let columns = columns(judged);
    for (number, (place, yardstick)) in columns.iter().enumerate() {
        println!("({}) {}: {}", number + 1, bodies[*place].name, yardstick.label());
    }
    let heads: String = (1..=columns.len()).map(|number| format!("{:<10}", format!("({number})"))).collect();
    println!("\n{:<47}{heads}", "claim");
    for (claim, found) in judged {
        let verdict = |column: &Column| found.get(column).map_or("-", |finding| finding.verdict.id());
        let verdicts: String = columns.iter().map(|column| format!("{:<10}", verdict(column))).collect();
        println!("{:<47}{}", claim.id, verdicts.trim_end());
        if evidence {
            print_evidence(claim, &columns, found, bodies);
        }
    }
    for (number, column) in columns.iter().enumerate() {
        let of = |verdict| {
            let found = judged.iter().filter_map(|(_, found)| found.get(column));
            found.filter(|finding| finding.verdict == verdict).count()
        };
        let counts = Verdict::ALL.map(|verdict| format!("{} {}", of(verdict), verdict.id()));
        println!("{}({}) {}", if number == 0 { "\n" } else { "" }, number + 1, counts.join(", "));
    }
}

/// Prints the numbers behind the verdicts of a claim.
fn print_evidence(claim: &Claim, columns: &[Column], found: &BTreeMap<Column, Finding>, bodies: &[Evidence]) {
    if !claim.quote.is_empty() {
        println!("    {}: \"{}\"", claim.section, claim.quote);
    }
    println!("    {}", claim.predicate);
    for (number, column) in columns.iter().enumerate() {
        let Some(finding) = found.get(column) else { continue };
        let number = number + 1;
        for line in finding.evidence.iter().take(5) {
            println!("    ({number}) {line}");
        }
        if let Some(outlook) = finding.outlook(&bodies[column.0]) {
            println!("    ({number}) {}", outlook.sentence());
        }
        if let Some(first) = finding.missing.first() {
            let more = match finding.missing.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            println!("    ({number}) not measured: {first}{more}");
        }
    }
}

fn as_json(judged: &Judged, bodies: &[Evidence]) -> Result<String> {
    let finding = |((place, yardstick), finding): (&Column, &Finding)| {
        let outlook = finding.outlook(&bodies[*place]);
        let plan = outlook.as_ref().and_then(|outlook| outlook.plan.as_ref());
        json!({
            "numbers": bodies[*place].name,
            "yardstick": yardstick.id(),
            "verdict": finding.verdict.id(),
            "evidence": finding.evidence,
            "not_measured": finding.missing,
            "could_have_shown": outlook.as_ref().map(|outlook| outlook.detectable_difference),
            "would_decide": plan.map(|plan| json!({
                "seeds": plan.seeds, "cells": plan.cells.len(), "trainings": plan.trainings(),
                "minutes": plan.minutes, "chance": plan.chance,
            })),
        })
    };
    let claims: Vec<_> = judged
        .iter()
        .map(|(claim, found)| {
            json!({ "claim": claim.id, "section": claim.section, "quote": claim.quote,
                    "predicate": claim.predicate, "note": claim.note,
                    "findings": found.iter().map(finding).collect::<Vec<_>>() })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&claims)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;

    /// Judges every claim on the paper's own numbers, only by the paper's yardsticks.
    #[test]
    fn findings_are_told_by_body_and_yardstick() {
        let bodies = [claims::paper()];
        let judged: Judged = claims::all().into_iter().map(|claim| (claim, judge(claim, &bodies))).collect();
        let expected = [(0, Yardstick::Paper), (0, Yardstick::PaperAverage)];
        assert_eq!(columns(&judged), expected, "the paper prints no AUROC of a converged probe");
        let told: serde_json::Value = serde_json::from_str(&as_json(&judged, &bodies).unwrap()).unwrap();
        let all = told.as_array().unwrap();
        assert_eq!(all.len(), judged.len());
        for ((claim, found), told) in judged.iter().zip(all) {
            for (name, value) in [
                ("claim", claim.id),
                ("section", claim.section),
                ("quote", claim.quote),
                ("predicate", claim.predicate),
                ("note", claim.note),
            ] {
                assert_eq!(told[name], value, "{name} of {}", claim.id);
            }
            let findings = told["findings"].as_array().unwrap();
            assert_eq!(findings.len(), found.len(), "{}", claim.id);
            for (((_, yardstick), finding), told) in found.iter().zip(findings) {
                assert_eq!((&told["numbers"], &told["yardstick"]), (&json!("paper"), &json!(yardstick.id())));
                assert_eq!(told["verdict"], finding.verdict.id());
                assert_eq!(
                    (&told["evidence"], &told["not_measured"]),
                    (&json!(finding.evidence), &json!(finding.missing))
                );
                assert!(told["would_decide"].is_null(), "the paper's seeds are assumed");
            }
        }
    }

    use clap::Parser;

    use crate::support::print::captured;

    fn told(flags: &str) -> String {
        let arguments = Standalone::<Arguments>::parse_from(flags.split_whitespace()).arguments;
        captured::output(|| run(&arguments).unwrap())
    }

    const STUDY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/2026-11-29-small-study");

    /// The paper's numbers and those of a committed study.
    fn bodies(margin: f64) -> (Vec<Evidence>, Judged) {
        let reading = reading::read(&[PathBuf::from(STUDY)]);
        let mut bodies = vec![claims::paper().with_margin(margin)];
        for (setting, _) in reading.frame.settings() {
            bodies.push(Evidence::measured(&setting, &reading.frame.setting(&setting)).with_margin(margin));
        }
        let judged = claims::all().into_iter().map(|claim| (claim, judge(claim, &bodies))).collect();
        (bodies, judged)
    }

    #[test]
    fn verdicts_stand_in_the_columns_of_their_numbers_and_yardsticks() {
        let (bodies, judged) = bodies(MARGIN);
        let columns = columns(&judged);
        assert!(bodies.len() > 1 && columns.len() > 3, "{columns:?}");
        let told = told(STUDY);
        let mut lines = told.lines();
        for (number, (place, yardstick)) in (1..).zip(&columns) {
            let expected = format!("({number}) {}: {}", bodies[*place].name, yardstick.label());
            assert_eq!(lines.next(), Some(expected.as_str()));
        }
        assert_eq!(lines.next(), Some(""));
        let heads: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!((heads[0], heads[1], heads.len()), ("claim", "(1)", 1 + columns.len()));
        for (claim, found) in &judged {
            let line = lines.next().unwrap();
            assert!(line.starts_with(claim.id), "{line}");
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let expected: Vec<&str> = columns
                .iter()
                .map(|column| found.get(column).map_or("-", |finding| finding.verdict.id()))
                .collect();
            assert_eq!(words, expected.iter().flat_map(|verdict| verdict.split(' ')).collect::<Vec<_>>());
        }
        assert_eq!(lines.next(), Some(""));
        for (number, column) in (1..).zip(&columns) {
            let line = lines.next().unwrap();
            assert!(line.starts_with(&format!("({number}) ")), "{line}");
            for verdict in Verdict::ALL {
                let found = judged.iter().filter_map(|(_, found)| found.get(column));
                let count = found.filter(|finding| finding.verdict == verdict).count();
                assert!(line.contains(&format!(" {count} {}", verdict.id())), "{line}");
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn the_numbers_behind_verdicts_are_printed_if_asked_for() {
        let (bodies, judged) = bodies(MARGIN);
        let told = told(&format!("{STUDY} --evidence"));
        let columns = columns(&judged);
        let (mut outlooks, mut missing) = (0, 0);
        for (claim, found) in &judged {
            let begin = told.find(&format!("\n{}", claim.id)).expect(claim.id);
            let block: String = told[begin + 1..]
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with("    "))
                .map(|line| format!("{line}\n"))
                .collect();
            let mut expected = String::new();
            if !claim.quote.is_empty() {
                expected += &format!("    {}: \"{}\"\n", claim.section, claim.quote);
            }
            expected += &format!("    {}\n", claim.predicate);
            for (number, column) in (1..).zip(&columns) {
                let Some(finding) = found.get(column) else { continue };
                for line in &finding.evidence[..finding.evidence.len().min(5)] {
                    expected += &format!("    ({number}) {line}\n");
                }
                if let Some(outlook) = finding.outlook(&bodies[column.0]) {
                    outlooks += 1;
                    expected += &format!("    ({number}) {}\n", outlook.sentence());
                }
                match &finding.missing[..] {
                    [] => {}
                    [one] => expected += &format!("    ({number}) not measured: {one}\n"),
                    [first, rest @ ..] => {
                        expected +=
                            &format!("    ({number}) not measured: {first} and {} more\n", rest.len());
                    }
                }
                missing += finding.missing.len();
            }
            assert_eq!(block, expected, "{}", claim.id);
        }
        assert!(outlooks > 0 && missing > 0, "{outlooks} {missing}");
    }

    /// What cannot be read is told, and the rest is judged; a folder without records is refused.
    #[test]
    fn records_that_cannot_be_judged_are_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = skewbench::results::Folder::open(root.path()).unwrap();
        let line = root.path().display().to_string();
        let arguments = Standalone::<Arguments>::parse_from([&line]).arguments;
        let error = run(&arguments).unwrap_err().to_string();
        let expected = "no records to judge: name a results folder, or none for the paper's own numbers";
        assert_eq!(error, expected);
        folder.write(&crate::support::committed::record("table1", "simclr", 0)).unwrap();
        std::fs::write(root.path().join("table1/torn.json"), "{").unwrap();
        let errors = captured::errors(|| run(&arguments).unwrap());
        let output = captured::output(|| run(&arguments).unwrap());
        assert!(errors.lines().any(|line| line.contains("table1/torn.json")), "{errors}");
        let heads: Vec<&str> = output.lines().take_while(|line| !line.is_empty()).collect();
        assert!(heads.len() > 2 && heads[0].starts_with("(1) paper: "), "{output}");
    }

    /// Records of two settings are two bodies of numbers beside the paper's.
    #[test]
    fn every_setting_is_judged_and_by_the_margin_that_was_given() {
        let root = tempfile::tempdir().unwrap();
        let folder = skewbench::results::Folder::open(root.path()).unwrap();
        for (scale, seeds) in [("small", 0..2), ("quick", 2..4)] {
            for seed in seeds {
                let mut record = crate::support::committed::record("table1", "simclr", seed);
                record.settings.scale = scale.to_owned();
                folder.write(&record).unwrap();
            }
        }
        let reading = reading::read(&[root.path().to_owned()]);
        let mut bodies = vec![claims::paper().with_margin(0.25)];
        for (setting, _) in reading.frame.settings() {
            bodies.push(Evidence::measured(&setting, &reading.frame.setting(&setting)).with_margin(0.25));
        }
        assert_eq!(bodies.len(), 3);
        let judged: Judged = claims::all().into_iter().map(|claim| (claim, judge(claim, &bodies))).collect();
        let found = told(&format!("{} --json --margin 0.25", root.path().display()));
        assert_eq!(found, as_json(&judged, &bodies).unwrap() + "\n");
    }

    /// JSON keeps all but the last bit of a number.
    fn assert_near(told: &serde_json::Value, name: &str, expected: Option<f64>) {
        let apart = told[name].as_f64().zip(expected).map(|(found, expected)| (found - expected).abs());
        let agree = apart.map_or(told[name].is_null() && expected.is_none(), |apart| apart < 1e-9);
        assert!(agree, "{name}: {told}, expected {expected:?}");
    }

    #[test]
    fn a_margin_is_that_of_all_numbers_and_plans_are_told_field_by_field() {
        let told = |margin: &str| told(&format!("{STUDY} --json --margin {margin}"));
        let (bodies, judged) = bodies(0.25);
        assert_eq!(told("0.25"), as_json(&judged, &bodies).unwrap() + "\n");
        assert_ne!(told("0.25"), told("0.001"));
        let all: serde_json::Value = serde_json::from_str(&told("0.25")).unwrap();
        let mut plans = 0;
        for ((_, found), told) in judged.iter().zip(all.as_array().unwrap()) {
            for ((column, finding), told) in found.iter().zip(told["findings"].as_array().unwrap()) {
                let Some(outlook) = finding.outlook(&bodies[column.0]) else { continue };
                assert_near(told, "could_have_shown", Some(outlook.detectable_difference));
                let Some(plan) = outlook.plan else { continue };
                plans += 1;
                let told = &told["would_decide"];
                assert_eq!(
                    [&told["seeds"], &told["cells"], &told["trainings"]],
                    [&json!(plan.seeds), &json!(plan.cells.len()), &json!(plan.trainings())]
                );
                assert_near(told, "minutes", plan.minutes);
                assert_near(told, "chance", Some(plan.chance));
            }
        }
        assert!(plans > 0);
        for wrong in ["-1", "NaN", "inf"] {
            let arguments = Standalone::<Arguments>::parse_from([format!("--margin={wrong}")]).arguments;
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.starts_with("--margin must be a difference of scores, 0 or more"), "{error}");
        }
        let empty = tempfile::tempdir().unwrap();
        let arguments = Standalone::<Arguments>::parse_from([empty.path()]).arguments;
        assert!(run(&arguments).unwrap_err().to_string().starts_with("no records to judge"));
    }

    /// The same records twice, under two settings: both are judged alike.
    #[test]
    fn no_setting_has_a_margin_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let folders = ["small", "quick"].map(|scale| root.path().join(scale));
        folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let study = std::fs::read_dir(PathBuf::from(STUDY).join("table1")).unwrap();
        for entry in study.map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("-vit_tiny-")
                && ["seed0.json", "seed1.json"].iter().any(|end| name.ends_with(end))
            {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let other = text.replacen("\"scale\": \"small\"", "\"scale\": \"quick\"", 1);
                assert_ne!(other, text);
                folders.iter().zip([text, other]).for_each(|(folder, text)| {
                    std::fs::write(folder.join(&name), text).unwrap();
                });
            }
        }
        let [small, quick] = folders.map(|folder| folder.display().to_string());
        let told = told(&format!("{small} {quick} --json --margin 0.25"));
        let all: serde_json::Value = serde_json::from_str(&told).unwrap();
        let of = |scale: &str| -> Vec<(String, String, String, String)> {
            let mut found = Vec::new();
            for claim in all.as_array().unwrap() {
                let own = |finding: &&serde_json::Value| {
                    finding["numbers"].as_str().unwrap().starts_with(&format!("{scale} scale, "))
                };
                for finding in claim["findings"].as_array().unwrap().iter().filter(own) {
                    let text = |value: &serde_json::Value| value.to_string();
                    let [yardstick, verdict] = ["yardstick", "verdict"].map(|name| text(&finding[name]));
                    found.push((
                        text(&claim["claim"]),
                        yardstick,
                        verdict,
                        text(&finding["could_have_shown"]),
                    ));
                }
            }
            found
        };
        let (small, quick) = (of("small"), of("quick"));
        // Of two seeds no difference is known to be below 0.02, which would be the margin otherwise.
        let same = small.iter().filter(|(.., verdict, _)| verdict == "\"the same\"").count();
        assert!(same > 4, "{same} of {}", small.len());
        assert_eq!(small, quick);
    }
}
