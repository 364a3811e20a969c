//! Which changes make two builds different code: the build script's digest of everything that computes numbers.

use std::{fs, path::Path};

use skewbench::results::provenance;

#[path = "../../src/build/code.rs"]
#[allow(dead_code, reason = "the build script's own messages")]
mod build;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the digest of a copy of the sources after `edit` of one file.
fn digest_after(file: &str, edit: impl Fn(&str) -> String) -> String {
    let copy = tempfile::tempdir().unwrap();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(copy.path().join(folder.strip_prefix(root()).unwrap())).unwrap();
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => drop(fs::copy(&path, copy.path().join(path.strip_prefix(root()).unwrap())).unwrap()),
            }
        }
    }
    fs::copy(root().join("Cargo.lock"), copy.path().join("Cargo.lock")).unwrap();
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let edited = edit(&text);
    assert_ne!(text, edited, "{file}: nothing was edited");
    fs::write(&path, edited).unwrap();
    build::digest(copy.path())
}

#[test]
fn only_what_computes_numbers_is_in_the_digest() {
    let now = build::digest(root());
    assert_eq!(now, provenance::CODE_DIGEST, "this program was built from these sources");

    let page = fs::read_dir(root().join("src/report")).unwrap().map(|entry| entry.unwrap().path());
    let style =
        page.into_iter().find(|path| path.extension().is_some_and(|end| end == "css")).expect("a style");
    let style = style.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let softer = |text: &str| format!("{text}\nbody {{ color: teal; }}\n");
    assert_eq!(digest_after(&style, softer), now, "the page's style moves no number");
    let comment = |text: &str| format!("// Why.\n{text}");
    assert_eq!(digest_after("src/loss/contrastive/mod.rs", comment), now, "nor does a comment");
    let document = |text: &str| text.replacen("/// ", "/// Really: ", 1);
    assert_eq!(digest_after("src/schedule.rs", document), now, "nor documentation");
    let tests = |text: &str| text.replacen("#[test]", "#[test]\n    #[should_panic]", 1);
    assert_eq!(digest_after("src/seed.rs", tests), now, "nor a unit test");

    let number = |text: &str| text.replacen("use std::f64::consts::PI;", "const PI: f64 = 3.0;", 1);
    let kernel = |text: &str| text.replacen('+', "-", 1);
    let version = |text: &str| text.replacen("version = \"", "version = \"9", 1);
    assert_ne!(digest_after("src/schedule.rs", number), now, "a number does");
    assert_ne!(digest_after("src/loss/contrastive/nt_xent.cu", kernel), now, "a kernel does");
    assert_ne!(digest_after("Cargo.lock", version), now, "a package does");
}
