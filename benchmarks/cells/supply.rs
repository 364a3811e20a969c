//! The rules of `.cargo/deny.toml` on dependencies, as far as cargo alone can check them. `cargo deny check` checks
//! more: licence files, all platforms, and known vulnerabilities.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::compiled_once::cargo;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the quoted texts in the list that begins with `begin` in `.cargo/deny.toml`, without comments.
fn list(begin: &str) -> Vec<String> {
    let text = read(".cargo/deny.toml");
    let (_, rest) = text.split_once(&format!("\n{begin} = [\n")).expect(begin);
    let (inner, _) = rest.split_once("\n]").unwrap();
    let lines = inner.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| line.split('"').nth(1).expect("a text in each line").to_owned()).collect()
}

/// Returns the packages of `Cargo.lock` as `name@version`, with their sources.
fn locked() -> BTreeMap<String, Option<String>> {
    let text = read("Cargo.lock");
    let entries = text.split("\n[[package]]\n").skip(1).map(|entry| {
        let value = |key: &str| {
            let rest = entry.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
            Some(rest.trim_end_matches('"').to_owned())
        };
        (format!("{}@{}", value("name").unwrap(), value("version").unwrap()), value("source"))
    });
    entries.collect()
}

/// Returns packages with their licences, as compiled for the program on this machine: `name@version` and an
/// expression.
fn licences() -> BTreeMap<String, String> {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}\t{l}",
        "--no-dedupe",
    ]);
    let lines: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    let parsed = lines.into_iter().map(|line| {
        let (package, licence) = line.split_once('\t').expect("a package and its licence");
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        (format!("{name}@{}", version.trim_start_matches('v')), licence.to_owned())
    });
    parsed.collect()
}

/// Returns the names with several versions.
fn several<'a>(packages: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let (name, version) = package.split_once('@').unwrap();
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

/// Returns whether an SPDX expression is satisfied by licences of a list. `A OR B AND C` without parentheses, which
/// is not used, is read as `(A OR B) AND C`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|part| {
        part.split(" OR ").any(|choice| allowed.iter().any(|allowed| allowed.as_str() == choice.trim()))
    })
}

#[test]
fn everything_comes_from_one_registry() {
    let members = ["checks@", "skewbench@", "xtask@"];
    let packages = locked();
    assert!(packages.len() > 300, "{} packages were found", packages.len());
    for (package, source) in &packages {
        let is_own = members.iter().any(|member| package.starts_with(member));
        let expected = (!is_own).then_some("registry+https://github.com/rust-lang/crates.io-index");
        assert_eq!(source.as_deref(), expected, "{package}");
    }
}

#[test]
fn second_versions_are_listed_and_still_there() {
    let (skipped, locked) = (list("skip"), locked());
    let twice = several(locked.keys());
    for skip in &skipped {
        let (name, version) = skip.split_once('@').unwrap();
        let there = twice.get(name).is_some_and(|versions| versions.contains(version));
        assert!(there, ".cargo/deny.toml skips {skip}, which is no second version any more: take it out");
    }
    let licences = licences();
    for (name, versions) in several(licences.keys()) {
        let left: Vec<&String> =
            versions.iter().filter(|version| !skipped.contains(&format!("{name}@{version}"))).collect();
        assert!(
            left.len() <= 1,
            "{name} is compiled in versions {left:?}: ask for one, or list the others in .cargo/deny.toml with the reason"
        );
    }
}

#[test]
fn licences_are_among_those_that_are_allowed() {
    let (allowed, licences) = (list("allow"), licences());
    let refused: Vec<_> = licences.iter().filter(|(_, licence)| !is_allowed(licence, &allowed)).collect();
    assert!(refused.is_empty(), ".cargo/deny.toml does not allow {refused:#?}");
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("Unlicense/MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("LGPL-2.1-or-later OR MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("MIT-0", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
