//! The architecture invariants of `src/lib.rs` that a machine can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use skewbench::experiment::Cell;

use crate::identity;

/// Longest source file that a newcomer can read in one sitting.
const LONGEST_FILE: usize = 700;
/// Longest function of the library, lines.
const LONGEST_FUNCTION: usize = 60;

/// Words that only these files may name, and why.
const RESERVED: [(&[&str], &[&str]); 11] = [
    // There is one source of randomness.
    (&["rand_chacha::"], &["src/seed.rs"]),
    // Images are decoded in one place.
    (&["image::ImageReader", "image::open", "image::load"], &["src/data/decode/"]),
    // Serialised types are in one file, and in bundles; the rest of `results` reads and writes them, and settings
    // consist of JSON values.
    (&["Serialize", "Deserialize"], &["src/results/record.rs", "src/bundle/"]),
    (
        &["serde_json"],
        &["src/results/", "src/bundle/", "src/report/explorer.rs", "src/experiment/", "src/method/"],
    ),
    // Tables and distributions belong to the analysis; HTML is generated in one place.
    (&["polars::"], &["src/analysis/"]),
    (&["statrs::"], &["src/analysis/"]),
    (&["maud::"], &["src/report/"]),
    // Scale and seeds are arguments: nothing below `experiment` reads the clock or the environment, except for the
    // cache folder and the build script.
    (
        &["std::env::", "env::var"],
        &[
            "src/experiment/",
            "src/results/provenance.rs",
            "src/data/package.rs",
            "src/tensor/gpu/compile.rs",
            "src/build/",
        ],
    ),
    (&["Instant", "SystemTime"], &["src/experiment/", "src/results/provenance.rs"]),
    (&["Tensor::rand", "rand_like", "Device::set_seed"], &[]),
    // Files that a power cut must not damage are written in one place. Event files are appended to; caches appear
    // by one rename.
    (
        &["fs::write", "File::create", "NamedTempFile"],
        &[
            "src/durable.rs",
            "src/results/tensorboard.rs",
            "src/data/package.rs",
            "src/backbone/import/mobilenet.rs",
            "src/tensor/gpu/compile.rs",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of these endings, as (path from the root, text).
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|&known| ending == known)) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let found = files(folder, &["rs"]);
    assert!(!found.is_empty(), "{folder}: no Rust files");
    found
}

/// The library's own Rust files as (path from the root, text), without unit tests and the build script.
fn library() -> Vec<(String, String)> {
    let all = sources("src");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let script = between(&manifest, "\nbuild = \"", "\"").next().expect("Cargo.toml names a build script");
    let folder = script.trim_end_matches("main.rs");
    let (_, text) = all.iter().find(|(file, _)| file == script).expect("the build script");
    let mut apart: BTreeSet<String> =
        between(text, "#[path = \"", "\"").map(|path| beside(script, path)).collect();
    for (file, text) in &all {
        // Files declared as tests are beside, or below, the file that declares them.
        for module in between(text, "#[cfg(test)]\nmod ", ";") {
            let folder = module_path(file).iter().fold("src".to_owned(), |path, part| path + "/" + part);
            apart.extend([format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]);
        }
    }
    let own = all.into_iter().filter(|(file, _)| !file.starts_with(folder) && !apart.contains(file));
    own.map(|(file, text)| (file, without_tests(&text).to_owned())).collect()
}

/// Returns the texts between each `begin` and the `end` that follows it.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| rest.split_once(end).map(|(found, _)| found))
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// `src/data/mod.rs` is `["data"]`, `src/data/files.rs` is `["data", "files"]`, `src/lib.rs` is `[]`.
fn module_path(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| !["mod", "lib"].contains(part)).collect()
}

/// Returns the layers of `src/`, lowest first, as in the map of `src/lib.rs`: each line has modules, then their
/// purpose. Lines without modules (commands, benchmarks) are above the library.
fn layers() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: BTreeSet<&str> = between(&text, "pub mod ", ";").collect();
    let map = between(&text, "//! ```text\n", "//! ```").next().expect("src/lib.rs: no map between ```text");
    let layers: Vec<Vec<String>> = map
        .lines()
        .rev()
        .map(|line| {
            let words = line.trim_start_matches("//!").split_whitespace();
            words.take_while(|word| modules.contains(word)).map(str::to_owned).collect()
        })
        .filter(|layer: &Vec<String>| !layer.is_empty())
        .collect();
    let mut drawn = layers.concat();
    drawn.sort();
    assert!(drawn.iter().eq(&modules), "the map of src/lib.rs has {drawn:?}, its modules are {modules:?}");
    layers
}

/// Layers, which forbid files to use anything that is not below them.
struct Walls(Vec<Vec<String>>);

impl Walls {
    fn layer(&self, file: &str, module: &str) -> usize {
        let stands = |layer: &Vec<String>| layer.iter().any(|known| known == module);
        self.0.iter().position(stands).unwrap_or_else(|| panic!("{file}: '{module}' stands in no layer"))
    }

    /// Returns whether `file` must not use `other`, a module of the library.
    fn forbids(&self, file: &str, other: &str) -> bool {
        let module = module_path(file)[0];
        other != module && self.layer(file, other) >= self.layer(file, module)
    }
}

#[test]
fn layers_are_respected() {
    let walls = Walls(layers());
    let mut wrong = Vec::new();
    for (file, text) in library().into_iter().filter(|(file, _)| file != "src/lib.rs") {
        for other in modules_used(&text, module_path(&file).len()) {
            if walls.forbids(&file, &other) {
                wrong.push(format!("{file} uses crate::{other}"));
            }
        }
    }
    // A harness that runs kernels on the CPU includes kernels of several layers; it belongs outside the library.
    let kernels = files("src", &["cu", "cuh", "cpp", "h"]);
    for (file, text) in &kernels {
        for included in between(text, "#include \"", "\"") {
            let target = included_file(file, included, &kernels);
            if walls.forbids(file, module_path(&target)[0]) {
                wrong.push(format!("{file} includes {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "layers, lowest first: {:?}\n{}", walls.0, wrong.join("\n"));
}

/// Resolves the path `relative` against the folder of `file`.
fn beside(file: &str, relative: &str) -> String {
    let mut path: Vec<&str> = file.split('/').collect();
    path.pop();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.join("/")
}

/// Returns the file of ours that an `#include` names: relative to the including file's folder, or in any other
/// folder.
fn included_file(file: &str, included: &str, kernels: &[(String, String)]) -> String {
    let here = beside(file, included);
    let tail = format!("/{}", included.trim_start_matches("../"));
    let known =
        |wanted: &dyn Fn(&str) -> bool| kernels.iter().map(|(name, _)| name).find(|name| wanted(name));
    known(&|name| name == here)
        .or_else(|| known(&|name| name.ends_with(&tail)))
        .unwrap_or_else(|| panic!("{file}: no file {included}"))
        .clone()
}

/// Returns the root modules of the crate that a file uses, including grouped imports: what follows `crate::`, or as
/// many `super::` as the file is `deep`.
fn modules_used(text: &str, deep: usize) -> BTreeSet<String> {
    let supers = "super::".repeat(deep);
    let in_crate = text.match_indices("crate::").map(|(start, found)| &text[start + found.len()..]);
    let above = text.match_indices(&supers).map(|(start, found)| &text[start + found.len()..]);
    let mut found: BTreeSet<String> = in_crate.chain(above).flat_map(first_segments).collect();
    found.retain(|name| name != "super" && name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// Returns the first segments of the paths at the start of `rest`: of one path, or of a group in braces.
fn first_segments(rest: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|&letter| is_name(letter)).collect()];
    };
    let (mut depth, mut found, mut fresh) = (0, vec![String::new()], true);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                fresh = true;
            }
            letter if depth == 0 && fresh && is_name(letter) => found.last_mut().unwrap().push(letter),
            letter => fresh &= letter.is_whitespace(),
        }
    }
    found
}

#[test]
fn modules_are_found_in_every_kind_of_path() {
    let used = |text, deep| modules_used(text, deep).into_iter().collect::<Vec<_>>();
    let text = "use crate::{\n    data::{Labels, Image},\n    seed::Seed,\n};\nlet x = crate::tensor::y;";
    assert_eq!(used(text, 3), ["data", "seed", "tensor"]);
    // From `loss/gpu/sums.rs` two steps up lead to `loss`, three to the root.
    let text = "use super::super::{Tensor, rows};\nuse super::super::super::{report::Page, seed};";
    assert_eq!(used(text, 3), ["report", "seed"]);
    assert_eq!(used("use super::claims::all;", 1), ["claims"]);
}

#[test]
fn the_map_of_the_library_is_read() {
    let layers = layers();
    assert_eq!(layers[..3].concat(), ["named", "study", "seed", "schedule"]);
    assert_eq!(layers.last().unwrap(), &["experiment"]);
    let walls = Walls(layers);
    assert!(walls.forbids("src/loss/mod.rs", "loader"), "beside each other");
    assert!(walls.forbids("src/data/files.rs", "report"), "above");
    assert!(!walls.forbids("src/report/mod.rs", "data") && !walls.forbids("src/report/page.rs", "report"));
    let kernels = ["src/tensor/gpu/common.h", "src/loss/nt_xent.cu"].map(|name| (name.into(), String::new()));
    for included in ["common.h", "../tensor/gpu/common.h"] {
        assert_eq!(included_file("src/loss/nt_xent.cu", included, &kernels), "src/tensor/gpu/common.h");
    }
}

#[test]
fn reserved_words_stay_in_their_files() {
    let mut wrong = Vec::new();
    for (file, text) in library() {
        for (words, homes) in RESERVED {
            if homes.iter().any(|home| file.starts_with(home)) {
                continue;
            }
            for word in words.iter().filter(|word| text.contains(**word)) {
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

/// Returns the functions in a text formatted by `rustfmt`, as (name, lines): a body ends at a brace with the same
/// indentation as its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<&str> = line.split([' ', '(', '<']).filter(|word| !word.is_empty()).collect();
        let Some(place) = words.iter().position(|&word| word == "fn") else { continue };
        let qualifiers = ["pub", "const", "unsafe", "extern", "async"];
        let is_qualifier =
            |word: &&str| qualifiers.contains(word) || word.starts_with('"') || word.ends_with(')');
        if !words[..place].iter().all(is_qualifier) {
            continue;
        }
        // A declaration without a body ends in a semicolon, a short function on its first line.
        let signature = lines[begin..].iter().position(|line| line.ends_with(['{', ';', '}'])).unwrap();
        if !lines[begin + signature].ends_with('{') {
            continue;
        }
        let end = format!("{indent}}}");
        let body = lines[begin..].iter().position(|line| *line == end).expect("a function that ends");
        found.push((words[place + 1].to_owned(), body + 1));
    }
    found
}

#[test]
fn functions_fit_on_a_screen() {
    // The longest function of each name in each file.
    let mut lengths: BTreeMap<String, usize> = BTreeMap::new();
    for (file, text) in library() {
        for (name, lines) in functions(&text) {
            let longest = lengths.entry(format!("{file}: {name}")).or_default();
            *longest = lines.max(*longest);
        }
    }
    assert!(lengths.len() > 500, "{} functions were found", lengths.len());
    let mut wrong: Vec<String> = Vec::new();
    for (name, lines) in lengths.iter().filter(|(_, lines)| **lines > LONGEST_FUNCTION) {
        wrong.push(format!("{name} has {lines} lines, {LONGEST_FUNCTION} at most"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub fn one(\n        a: u8,\n    ) -> u8 {\n        {\n        }\n    }\n    \
                fn none();\n}\nfn line() {}\npub(crate) unsafe fn two() {\n}\n// A fn that is none {\n";
    assert_eq!(functions(text), [("one".to_owned(), 6), ("two".to_owned(), 2)]);
}

/// The rstest attributes of all studies, read back from this test binary, equal the cells that `cargo xtask
/// reproduce` runs. Each cell except undefined ones has a snapshot, and no snapshot is an orphan.
#[test]
fn cells_tests_and_snapshots_agree() {
    let cells = identity::cells();
    let wanted: BTreeSet<String> = cells.iter().map(Cell::id).collect();
    assert_eq!(wanted.len(), cells.len(), "two cells share a name");

    let output = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let line = line.strip_suffix(": test")?;
            // `method_1_supervised::backbone_1_resnet18::...`: the value follows an axis' name and number.
            let value = |axis: &str| axis.splitn(3, '_').nth(2).unwrap_or(axis).to_owned();
            let values = |axes: &str| axes.split("::").map(value).collect::<Vec<_>>();
            // The test of each study, and the part of its cells' names that is not an axis.
            let axes = [
                ("table1_methods::cell::", "table1/"),
                ("table2_resolution::cell::", "table2/supervised-"),
                ("figure3_augmentation::cell::", "figure3/supervised-resnet18-"),
                ("extensions::size_matched::", "size_matched/"),
                ("extensions::remedies::", "remedy/"),
                ("extensions::fine_tuned::", "fine_tuned/"),
                ("extensions::label_budgets::", "label_budget/"),
                ("extensions::unseen::", "unseen/"),
                ("extensions::random_weights::", "random_weights/"),
                ("extensions::pixels::", "pixels/"),
            ];
            for (test, name) in axes {
                if let Some(axes) = line.strip_prefix(test) {
                    return Some(format!("{name}{}", values(axes).join("-")));
                }
            }
            // `case_1_mae_as_released__mae_vit_tiny`: study and cell, as far as an identifier can express them.
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
    let defined = cells.iter().filter(|cell| cell.undefined_reason().is_none());
    let expected: BTreeSet<String> = defined.map(|cell| cell.id().replace('/', "-")).collect();
    assert_eq!(snapshots, expected, "snapshots (left) against cells (right)");
}

#[test]
fn the_readme_shows_the_method_that_is_tested() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let readme = read("benchmarks/README.md");
    let (_, added) = readme.split_once("**Add a method.**").unwrap();
    let (added, _) = added.split_once("**Add a score.**").unwrap();
    let blocks: Vec<&str> = added.split("```").skip(1).step_by(2).collect();
    let code = |block: &str| block.strip_prefix("rust\n").expect("a block of Rust").to_owned();
    let [file, lines @ ..] = &blocks[..] else { panic!("no code") };
    let method = read("src/method/simsiam.rs");
    let (_, example) = method.split_once("// README: begin\n").unwrap();
    let (example, _) = example.split_once("// README: end\n").unwrap();
    assert_eq!(code(file), example, "copy the code between the marks of src/method/simsiam.rs");
    // Of the other files only some lines are shown, each block after its file's name.
    for block in lines {
        let block = code(block);
        let mut lines = block.lines();
        let path = lines.next().unwrap().strip_prefix("// ").expect("the file that the lines are of");
        let file = read(path);
        for line in lines {
            assert!(file.contains(line.trim()), "{path} has no line '{}'", line.trim());
        }
    }
    assert!(lines.len() >= 3, "variant, look, recipes");
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
