//! `claims`: what the paper says, judged on its own printed numbers and on records.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use skewbench::{
    analysis::reading,
    claims::{self, Claim, Evidence, Finding},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Results folders; without any, the paper's own numbers only
    folders: Vec<PathBuf>,
    /// With the numbers behind each verdict
    #[arg(long)]
    evidence: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut bodies = vec![claims::paper()];
    if !arguments.folders.is_empty() {
        let reading = reading::read(&arguments.folders);
        for problem in &reading.problems {
            eprintln!("{problem}");
        }
        let settings = reading.frame.settings();
        ensure!(!settings.is_empty(), "no records to judge on");
        for (setting, _) in settings {
            bodies.push(Evidence::measured(&setting, &reading.frame.setting(&setting)));
        }
    }
    let judged: Vec<(&Claim, Vec<Finding>)> = claims::all()
        .into_iter()
        .map(|claim| (claim, bodies.iter().map(|evidence| claim.judge(evidence)).collect()))
        .collect();
    if arguments.json {
        println!("{}", as_json(&judged, &bodies)?);
    } else {
        print(&judged, &bodies, arguments.evidence);
    }
    Ok(())
}

fn print(judged: &[(&Claim, Vec<Finding>)], bodies: &[Evidence], evidence: bool) {
    for (place, body) in bodies.iter().enumerate() {
        println!("({}) {}", place + 1, body.name);
    }
    let heads: String =
        (0..bodies.len()).map(|place| format!("{:<11}", format!("({})", place + 1))).collect();
    println!("{:<48}{heads}", "claim");
    for (claim, findings) in judged {
        let verdicts: String =
            findings.iter().map(|finding| format!("{:<11}", finding.verdict.id())).collect();
        println!("{:<48}{verdicts}", claim.id);
        if evidence {
            if !claim.quote.is_empty() {
                println!("    {}: \"{}\"", claim.section, claim.quote);
            }
            println!("    {}", claim.predicate);
            for (place, finding) in findings.iter().enumerate() {
                for line in finding.evidence.iter().take(5) {
                    println!("    ({}) {line}", place + 1);
                }
                if let Some(first) = finding.missing.first() {
                    println!(
                        "    ({}) not measured: {first} and {} more",
                        place + 1,
                        finding.missing.len() - 1
                    );
                }
            }
        }
    }
}

fn as_json(judged: &[(&Claim, Vec<Finding>)], bodies: &[Evidence]) -> Result<String> {
    let claims: Vec<_> = judged
        .iter()
        .map(|(claim, findings)| {
            let findings: BTreeMap<&str, _> = bodies
                .iter()
                .zip(findings)
                .map(|(body, finding)| {
                    let value = json!({
                        "verdict": finding.verdict.id(),
                        "evidence": finding.evidence,
                        "not_measured": finding.missing,
                    });
                    (body.name.as_str(), value)
                })
                .collect();
            json!({ "claim": claim.id, "section": claim.section, "quote": claim.quote,
                    "predicate": claim.predicate, "note": claim.note, "findings": findings })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&claims)?)
}
