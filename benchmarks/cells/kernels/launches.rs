//! Compares launches in Rust with the kernels that they name.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::compiled::sources;

/// Splits at commas outside brackets.
fn split(text: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Returns the text between the bracket at the start of `text` and its partner.
fn in_brackets(text: &str) -> &str {
    let mut depth = 0;
    for (place, letter) in text.char_indices() {
        match letter {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..place];
        }
    }
    panic!("a bracket without its partner: {}", &text[..text.len().min(80)])
}

/// Returns the number of parameters of each kernel, by the part of its name before a type or a width.
fn kernels() -> BTreeMap<String, usize> {
    let mut kernels = BTreeMap::new();
    for path in sources("src", "cu") {
        // In macros, lines end in backslashes.
        let text = fs::read_to_string(&path).unwrap().replace('\\', " ");
        for found in text.split("extern \"C\" __global__ void").skip(1) {
            let found = found.split_once(')').unwrap().1.trim_start();
            let (name, rest) = found.split_once('(').unwrap();
            let stem = name.split("##").next().unwrap().trim().to_owned();
            kernels.insert(stem, split(in_brackets(&format!("({rest}"))).len());
        }
    }
    kernels
}

/// Returns files with the parts of each `launch!` in them.
fn launches() -> Vec<(PathBuf, Vec<String>)> {
    let mut launches = Vec::new();
    for path in sources("src", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        for (place, _) in text.match_indices("launch!(") {
            let mut parts = split(in_brackets(&text[place + "launch!".len()..]));
            if parts.get(1).is_some_and(|name| name == "name") {
                // A name used by two launches is defined just before.
                let made = text[..place].rfind("let name = ").expect("a name");
                parts[1] = text[made..].split(';').next().unwrap().to_owned();
            }
            launches.push((path.clone(), parts));
        }
    }
    launches
}

/// A launch with one argument too few makes the kernel read memory past the arguments: no compiler reports it, and
/// without a GPU nothing else would.
#[test]
fn every_launch_gives_its_kernel_as_many_arguments_as_it_takes() {
    let (kernels, launches) = (kernels(), launches());
    let counts = (kernels.len(), launches.len());
    assert!(counts.0 > 25 && counts.1 > 25, "{counts:?} kernels and launches");
    let mut nameless = 0;
    for (path, parts) in launches {
        let [_, name, _, arguments @ ..] = &parts[..] else { panic!("{}: {parts:?}", path.display()) };
        let Some(literal) = name.split('"').nth(1) else {
            // The kernel's name is in a variable.
            nameless += 1;
            continue;
        };
        let stem = match (literal.split_once('{'), name.contains("Self::kernel")) {
            (Some((stem, _)), _) => stem.to_owned(),
            (None, true) => format!("barlow_twins_{literal}_"),
            (None, false) => literal.to_owned(),
        };
        let taken = kernels.get(&stem).unwrap_or_else(|| panic!("{}: no kernel {stem}", path.display()));
        assert_eq!(arguments.len(), *taken, "{}: arguments of {stem}", path.display());
    }
    // The optimisers' updates, which are three kernels with the same arguments.
    assert_eq!(nameless, 1, "launches that are not checked");
}
