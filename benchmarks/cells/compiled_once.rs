//! Packages are compiled once for all commands.
//!
//! Cargo recompiles a package when a command requests other features of it, and a command that names one package
//! requests what that package needs, not what the workspace does. Candle and polars take minutes. The root's
//! `Cargo.toml` equalises the features in one place; this test compares the commands.

use std::{collections::BTreeSet, env, process::Command};

/// Runs a cargo command that neither compiles nor downloads, and returns its output.
pub fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns packages with the features that a command requests: of `which` (one package, or all), along `edges`.
fn packages(which: &[&str], edges: &str) -> BTreeSet<String> {
    let arguments =
        [&["tree", "--prefix", "none", "--format", "{p} [{f}]", "--edges", edges], which].concat();
    cargo(&arguments).lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn commands_ask_for_the_same_features() {
    let (build, test) = ("normal,build", "normal,build,dev");
    let expected = packages(&["--workspace"], test);
    assert!(expected.iter().any(|package| package.starts_with("candle-core v")), "{expected:?}");
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let members =
        metadata["packages"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap());
    let mut commands = vec![(vec!["--workspace"], build)];
    for member in members {
        commands.extend([build, test].map(|edges| (vec!["--package", member], edges)));
    }
    for (which, edges) in commands {
        let other: Vec<String> = packages(&which, edges).difference(&expected).cloned().collect();
        assert!(other.is_empty(), "{which:?} along {edges} compiles again: {other:#?}");
    }
}
