//! The architecture invariants of `src/lib.rs` that a machine can check.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use skewbench::{
    data::Share,
    experiment::{Cell, cell},
};

/// Longest source file that a newcomer reads in one sitting.
const LONGEST_FILE: usize = 700;

/// Layers of `src/`, lowest first; a file may use only what stands in front of its own layer, and
/// within its own.
const LAYERS: [&[&str]; 11] = [
    &["seed", "schedule"],
    &["data", "tensor"],
    &["augment", "backbone"],
    &["loss", "loader", "label_free"],
    &["method"],
    &["train", "evaluate"],
    &["results"],
    &["analysis"],
    &["claims"],
    &["report"],
    &["experiment"],
];

/// Words that only these files may name, and why.
const RESERVED: [(&[&str], &[&str]); 10] = [
    // Randomness has one source.
    (&["rand_chacha::"], &["src/seed.rs"]),
    // Images are decoded in one place.
    (&["image::ImageReader", "image::open", "image::load"], &["src/data/decode.rs"]),
    // Serialised types are in one file; the rest of `results` reads and writes them.
    (&["Serialize", "Deserialize"], &["src/results/record.rs"]),
    (&["serde_json"], &["src/results/", "src/report/explorer.rs"]),
    // One shape of table, one source of distributions, one place that makes HTML.
    (&["polars::"], &["src/analysis/frame.rs"]),
    (&["statrs::"], &["src/analysis/intervals.rs"]),
    (&["maud::"], &["src/report/"]),
    // Scale and seeds are arguments: nothing below `experiment` reads the clock or the environment,
    // but for the place of the elpv cache, fixtures of unit tests and the build script.
    (
        &["std::env::", "env::var"],
        &[
            "src/experiment/",
            "src/results/provenance.rs",
            "src/data/elpv",
            "src/data/fixtures.rs",
            "src/tensor/gpu/compile.rs",
        ],
    ),
    (&["Instant", "SystemTime"], &["src/experiment/", "src/results/provenance.rs"]),
    (&["Tensor::rand", "rand_like", "Device::set_seed"], &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, as (path from the root, text without its unit tests).
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder}: no Rust files");
    found.sort();
    found
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn layers_are_respected() {
    let layer = |module: &str| LAYERS.iter().position(|modules| modules.contains(&module));
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let module = file.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{file}: '{module}' stands in no layer"));
        for other in crate_paths(without_tests(&text)) {
            let used =
                layer(&other).unwrap_or_else(|| panic!("{file}: uses '{other}', which stands in no layer"));
            if used > own || (used == own && other != module) {
                wrong.push(format!("{file} uses crate::{other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "layers, lowest first: {LAYERS:?}\n{}", wrong.join("\n"));
}

/// First segments of all `crate::...` paths, of grouped imports too.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in text.match_indices("crate::") {
        let rest = &text[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut name, mut fresh) = (0, String::new(), true);
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    letter if depth == 0 && fresh && (letter.is_alphanumeric() || letter == '_') => {
                        name.push(letter)
                    }
                    _ if !name.is_empty() => {
                        found.insert(std::mem::take(&mut name));
                        fresh = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.insert(
                rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect(),
            );
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

#[test]
fn crate_paths_are_found_in_grouped_imports() {
    let text = "use crate::{\n    data::{Labels, Image},\n    seed::Seed,\n};\nlet x = crate::tensor::y;";
    assert_eq!(crate_paths(text).into_iter().collect::<Vec<_>>(), ["data", "seed", "tensor"]);
}

#[test]
fn reserved_words_stay_in_their_files() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src").into_iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
        for (words, homes) in RESERVED {
            if homes.iter().any(|home| file.starts_with(home)) {
                continue;
            }
            for word in words.iter().filter(|word| without_tests(&text).contains(**word)) {
                wrong.push(format!("{file} names {word}; allowed: {homes:?}"));
            }
        }
    }
    for (file, text) in sources("benchmarks") {
        let may = ["check.rs", "within.rs", "tidy.rs"].iter().any(|name| file.ends_with(name));
        if text.contains("insta::") && !may {
            wrong.push(format!("{file} names insta; snapshots are compared in check.rs only"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: Vec<String> = ["src", "benchmarks", "xtask/src"]
        .into_iter()
        .flat_map(sources)
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|&(_, lines)| lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

/// The rstest attributes of all studies, read back from this very test binary, are the cells
/// that `cargo xtask reproduce` runs; and each has its snapshot (but those that are not defined), and no
/// snapshot is an orphan.
#[test]
fn cells_tests_and_snapshots_agree() {
    let cells: Vec<Cell> = [
        cell::at(&Share::STUDY, 0),
        cell::floors(&Share::STUDY, 0),
        cell::size_matched(0),
        cell::table2(0),
        cell::figure3(0),
        cell::ablations(0),
    ]
    .concat();
    let wanted: BTreeSet<String> = cells.iter().map(Cell::id).collect();
    assert_eq!(wanted.len(), cells.len(), "two cells share a name");

    let output = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let line = line.strip_suffix(": test")?;
            // `method_1_supervised::backbone_1_resnet18::...`: what follows an axis' name and number.
            let value = |axis: &str| axis.splitn(3, '_').nth(2).unwrap_or(axis).to_owned();
            let values = |axes: &str| axes.split("::").map(value).collect::<Vec<_>>();
            // Where a test's cells begin, and what of their names is no axis.
            let axes = [
                ("table1_methods::cell::", "table1/"),
                ("table2_resolution::cell::", "table2/supervised-"),
                ("figure3_augmentation::cell::", "figure3/supervised-resnet18-"),
                ("extensions::size_matched::", "size_matched/"),
                ("extensions::random_weights::", "random_weights/"),
                ("extensions::pixels::", "pixels/"),
            ];
            for (test, name) in axes {
                if let Some(axes) = line.strip_prefix(test) {
                    return Some(format!("{name}{}", values(axes).join("-")));
                }
            }
            // `case_1_mae_as_released__mae_vit_tiny`: study and cell, as far as an identifier can spell them.
            let case = value(line.strip_prefix("ablations::cell::")?);
            let spelt =
                |cell: &&Cell| format!("{}__{}_{}", cell.study.id(), cell.method, cell.backbone) == case;
            Some(cells.iter().find(spelt).map_or(case.clone(), Cell::id))
        })
        .collect();
    assert_eq!(listed, wanted, "rstest attributes (left) against experiment::cell (right)");

    let snapshots: BTreeSet<String> = fs::read_dir(root().join("snapshots/cells"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".snap").map(str::to_owned))
        .collect();
    let defined = cells.iter().filter(|cell| cell.undefined().is_none());
    let expected: BTreeSet<String> = defined.map(|cell| cell.id().replace('/', "-")).collect();
    assert_eq!(snapshots, expected, "snapshots (left) against cells (right)");
}

#[test]
fn the_readme_shows_the_method_that_is_tested() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let tested = read("benchmarks/cells/another_method.rs");
    let (_, rest) = tested.split_once("// README: begin\n").unwrap();
    let (example, _) = rest.split_once("// README: end\n").unwrap();
    let readme = read("benchmarks/README.md");
    assert!(readme.contains(&format!("```rust\n{example}```\n")), "copy the code between the marks");
}

#[test]
fn ci_runs_what_the_readme_tells() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for command in ["cargo test --workspace", "cargo xtask reproduce"] {
        assert!(readme.contains(command), "README.md does not tell `{command}`");
    }
    assert!(ci.contains("cargo test --workspace"), ".ci/run does not run the README's test command");
}
