//! Digest of the code that computes numbers, for the build script.
//!
//! Records and checkpoints store it, so that results of different code are never confused. Comments, documentation
//! and unit tests do not count, since they do not change any number; neither do the layers above `experiment`
//! (report, claims, commands).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Files and folders whose code computes numbers.
const NUMERIC: [&str; 13] = [
    "src/seed.rs",
    "src/schedule.rs",
    "src/loader.rs",
    "src/data",
    "src/tensor",
    "src/augment",
    "src/backbone",
    "src/loss",
    "src/method",
    "src/train",
    "src/evaluate",
    "src/label_free",
    "src/experiment",
];

/// Passes the digest and the commit to the program as environment variables.
pub fn tell() {
    NUMERIC.iter().for_each(|place| println!("cargo::rerun-if-changed={place}"));
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rustc-env=SKEWBENCH_CODE={}", digest(Path::new("")));
    println!("cargo::rustc-env=SKEWBENCH_REVISION={}", revision());
}

/// Returns the BLAKE3 of the numeric code and the lock file below `root`, in hex.
pub fn digest(root: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |name: &Path, bytes: &[u8]| {
        let name = name.strip_prefix(root).unwrap_or(name).to_string_lossy().into_owned();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    for path in NUMERIC.iter().flat_map(|place| files(&root.join(place))) {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match path.extension().is_some_and(|extension| extension == "rs") {
            true => add(&path, code_of(&path, &bytes).as_bytes()),
            false => add(&path, &bytes),
        }
    }
    let lock = root.join("Cargo.lock");
    add(&lock, &fs::read(&lock).unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}

/// All files below a folder, or the file itself, sorted by path.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| files(path)).collect()
}

/// A source file, without the parts that do not affect numbers.
fn code_of(path: &Path, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut code = String::new();
    write(tokens, &mut code);
    code
}

/// Writes tokens without documentation and without code that only tests compile.
fn write(tokens: TokenStream, to: &mut String) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#') {
            let inner =
                tokens.next_if(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'));
            if let Some(TokenTree::Group(attribute)) = tokens.peek() {
                let attribute = attribute.stream().to_string();
                if attribute.starts_with("doc") {
                    tokens.next();
                    continue;
                }
                if attribute.replace(' ', "") == "cfg(test)" {
                    // An item ends with its body or, without one, with a semicolon.
                    tokens.find(|next| match next {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(mark) => mark.as_char() == ';',
                        _ => false,
                    });
                    continue;
                }
            }
            to.push('#');
            to.extend(inner.map(|_| '!'));
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                to.push_str(open);
                write(group.stream(), to);
                to.push_str(close);
            }
            other => to.push_str(&other.to_string()),
        }
        to.push(' ');
    }
}

/// The commit that is built, with `-dirty` if tracked files differed from it; `unknown` without git.
///
/// It is not updated at every commit, which would recompile everything: commands that cargo runs query their checkout
/// themselves.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        // `status` would take the repository's lock to refresh the index, and could block a concurrent commit.
        let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}-dirty"),
    }
}
