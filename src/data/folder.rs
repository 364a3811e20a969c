//! A folder of images, in one of the common layouts.
//!
//! - `normal/` and `defect/`, or both under `train/` and `validation/`, with any of the usual words (`words.rs`);
//! - `normal/` and one folder per kind of defect;
//! - MVTec AD: only normal images under `train/`, kinds of defects under `test/`, masks under `ground_truth/`. Its
//!   training images have no labels to learn from, so all images are pooled and split anew;
//! - `VisA`: `Data/Images/Normal` and `Anomaly`.
//!
//! Every image below these folders is used, sorted by name in byte order, so that positions do not depend on the file
//! system. The stratum is the first folder below that of the label, or the kind of defect. Without two splits, the
//! fixed split is used. [`Source::interpretation`] reports how the folder was interpreted and what was left out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::{
    ClassSet, Labels, Source, decode,
    files::Files,
    listing::Listing,
    names::ensure_apart,
    stratify,
    whole::{Opened, Unsplit},
    words,
};

/// Lists the folder; images are decoded only when they are opened.
///
/// # Errors
/// If a folder is missing or cannot be listed, no folder has a name for normal images, only one of two splits exists,
/// a link leads back to a folder above it, a name is not UTF-8, or a split has no images.
pub fn source(folder: &Path) -> Result<Source> {
    open(folder)?.split()
}

/// Like [`source`], but without splitting images that have no split.
///
/// # Errors
/// Those of [`source`].
pub fn open(folder: &Path) -> Result<Opened> {
    ensure!(folder.is_dir(), "{}: no such folder", folder.display());
    let mut seen = Seen::default();
    let base = base(folder, &mut seen)?;
    let limits = vec!["labels without defect classes: F2_CIW is not defined".to_owned()];
    let splits = match splits(&base, &mut seen)? {
        None => [vec![labels(&base, "", &mut seen)?], Vec::new()],
        Some([train, validation]) => {
            let [first, second] = [labels(&base, &train, &mut seen)?, labels(&base, &validation, &mut seen)?];
            if first.defects.is_empty() {
                seen.say(format!(
                    "{train} has normal images only, as in MVTec AD: all images are pooled and split anew"
                ));
                [vec![first, second], Vec::new()]
            } else {
                seen.say(format!("trained on {train}, scored on {validation}"));
                [vec![first], vec![second]]
            }
        }
    };
    let lists = splits.iter().filter(|parts| !parts.is_empty()).map(|parts| list(&base, parts, &mut seen));
    let lists = lists.collect::<Result<Vec<Listing>>>()?;
    let (left_out, understood) = (seen.left_out(), seen.told());
    let files = |listing: Listing| {
        let digest = listing.digest();
        Files::new(listing, std::slice::from_ref(&base), None, digest)
    };
    let name = "folder".to_owned();
    match <[Listing; 2]>::try_from(lists) {
        Ok([train, validation]) => {
            ensure_apart(&train, &validation).with_context(|| folder.display().to_string())?;
            let (train, validation) = (Box::new(files(train)?), Box::new(files(validation)?));
            let (has_classes, leaks) = (false, Vec::new());
            Ok(Opened::Split(Source {
                name,
                train,
                validation,
                has_classes,
                limits,
                interpretation: understood,
                left_out,
                leaks,
            }))
        }
        Err(lists) => {
            let whole = lists.into_iter().next().unwrap_or_default();
            ensure_both(&base, &whole)?;
            Ok(Opened::Unsplit(Unsplit {
                name,
                files: Box::new(files(whole)?),
                limits,
                interpretation: understood,
                left_out,
            }))
        }
    }
}

/// Lists every image below a folder, at any depth, for prediction; the labels are meaningless.
///
/// # Errors
/// If the folder cannot be listed, a link leads back to a folder above it, or a name is not UTF-8.
pub fn unlabelled(folder: &Path) -> Result<Files> {
    let mut names = Vec::new();
    walk(folder, ".", &mut vec![canonical(folder)?], &mut names, &mut Seen::default())?;
    names.sort_unstable();
    let mut listing = Listing::default();
    let unknown = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
    names.iter().for_each(|name| listing.push(name.trim_start_matches("./"), unknown, None));
    let digest = listing.digest();
    Files::new(listing, &[folder.to_owned()], None, digest)
}

/// Notes taken while listing: how folders were interpreted, and what was left out.
#[derive(Default)]
struct Seen {
    understood: Vec<String>,
    /// Folders that were left out.
    beside: Vec<String>,
    litter: Vec<String>,
    /// Files without an image's file name extension.
    foreign: Vec<String>,
}

impl Seen {
    fn say(&mut self, what: String) {
        self.understood.push(what);
    }

    /// Returns everything that was left out, with the reason.
    fn left_out(&self) -> Vec<[String; 2]> {
        let all = [
            (&self.beside, "a folder beside those of the labels"),
            (&self.litter, "left behind by a program"),
            (&self.foreign, "not an image by its name"),
        ];
        let mut left: Vec<[String; 2]> = all
            .into_iter()
            .flat_map(|(names, why)| names.iter().map(|name| [name.clone(), why.to_owned()]))
            .collect();
        left.sort();
        left.dedup();
        left
    }

    /// Returns messages for the user, one per line.
    fn told(self) -> Vec<String> {
        let mut told = self.understood;
        for (what, mut names) in [
            ("beside these folders, left out", self.beside),
            ("left behind by programs, left out", self.litter),
            ("not images by their names, left out", self.foreign),
        ] {
            // Without splits, the first folder is listed twice.
            names.sort();
            names.dedup();
            if let Some(first) = names.first() {
                let more =
                    if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
                told.push(format!("{what}: {first}{more}"));
            }
        }
        told
    }
}

/// Folders of one split, by label.
struct Labelled {
    /// Folders of normal images relative to the base, each with a trailing slash.
    normals: Vec<String>,
    /// Folders of defects, and whether the name is a kind of defect.
    defects: Vec<(String, bool)>,
}

/// Base of the layout: the folder itself, or the folder inside it where `VisA` keeps images.
fn base(folder: &Path, seen: &mut Seen) -> Result<PathBuf> {
    let visa = folder.join("Data").join("Images");
    let names = folders(folder, "", &mut Seen::default())?;
    let known = names.iter().any(|name| words::is_defect(name).is_some() || words::is_train(name).is_some());
    if !known && visa.is_dir() {
        seen.say("VisA's layout: images are those below Data/Images".to_owned());
        return Ok(visa);
    }
    Ok(folder.to_owned())
}

/// Names of the two split folders, each with a trailing slash; `None` without splits.
fn splits(base: &Path, seen: &mut Seen) -> Result<Option<[String; 2]>> {
    let names = folders(base, "", seen)?;
    let of = |list: &[&str]| {
        let mut found: Vec<(usize, &String)> =
            names.iter().filter_map(|name| Some((words::rank(name, list)?, name))).collect();
        found.sort();
        found.into_iter().map(|(_, name)| name.clone()).collect::<Vec<_>>()
    };
    let (train, validation) = (of(&words::TRAIN), of(&words::VALIDATION));
    match (&train[..], &validation[..]) {
        ([], []) => Ok(None),
        ([train], [validation, others @ ..]) => {
            let chosen = [train, validation];
            let rest = names.iter().filter(|name| !chosen.contains(name) && !others.contains(name));
            seen.beside.extend(rest.map(|name| format!("{name}/")));
            if !others.is_empty() {
                seen.say(format!(
                    "{}/ is not used: {validation}/ is the validation split",
                    others.join("/, ")
                ));
            }
            Ok(Some([format!("{train}/"), format!("{validation}/")]))
        }
        ([_, _, ..], _) => {
            bail!("{}: expected one folder to train on, found {}", base.display(), train.join(", "))
        }
        ([train], []) => bail!(
            "{}: found {train}/ but none of {}; rename the folder of images to score on, or put normal/ and defect/ side by \
             side for a random split",
            base.display(),
            words::VALIDATION.join("/, ")
        ),
        ([], _) => bail!("{}: found {}/ but no train/", base.display(), validation[0]),
    }
}

/// The label folders below `part`, which is empty or ends with a slash.
fn labels(base: &Path, part: &str, seen: &mut Seen) -> Result<Labelled> {
    let names = folders(base, part, seen)?;
    let with = |wanted| names.iter().filter(move |name| words::is_defect(name) == Some(wanted));
    let normals: Vec<String> = with(false).map(|name| format!("{part}{name}/")).collect();
    let mut defects: Vec<(String, bool)> = with(true).map(|name| (format!("{part}{name}/"), false)).collect();
    let unknown = || {
        let others = names.iter().filter(|name| words::is_defect(name).is_none());
        others.filter(|name| words::rank(name, &words::BESIDE).is_none())
    };
    let beside = names.iter().filter(|name| words::rank(name, &words::BESIDE).is_some());
    seen.beside.extend(beside.map(|name| format!("{part}{name}/")));
    if normals.is_empty() {
        let found: Vec<String> = names.iter().take(5).map(|name| format!("{name}/")).collect();
        let found = if found.is_empty() { "no folder".to_owned() } else { found.join(", ") };
        bail!(
            "{}: expected a folder of normal images (one of {}) beside the defects, found {found}; rename it",
            base.join(part).display(),
            words::NORMAL[..4].join(", ")
        );
    }
    if defects.is_empty() {
        defects = unknown().map(|name| (format!("{part}{name}/"), true)).collect();
        if !defects.is_empty() {
            let list: Vec<&str> = defects.iter().map(|(name, _)| name.as_str()).collect();
            seen.say(format!("kinds of defects: {}", list.join(", ")));
        }
    } else {
        seen.beside.extend(unknown().map(|name| format!("{part}{name}/")));
    }
    let words: Vec<&str> = normals.iter().map(String::as_str).collect();
    let defective: Vec<&str> =
        defects.iter().filter(|(_, kind)| !kind).map(|(name, _)| name.as_str()).collect();
    if !defective.is_empty() {
        seen.say(format!("normal: {}; defect: {}", words.join(", "), defective.join(", ")));
    }
    Ok(Labelled { normals, defects })
}

/// Checks that there are images, and defects among them.
///
/// # Errors
/// If there are no images, or none of them has a defect.
fn ensure_both(base: &Path, listing: &Listing) -> Result<()> {
    ensure!(!listing.is_empty(), "{}: no images in its folders", base.display());
    ensure!(
        listing.labels().iter().any(|labels| labels.defect),
        "{}: only normal images; expected a folder of defects beside them (one of {}, or one for each kind)",
        base.display(),
        words::DEFECT[..4].join(", ")
    );
    Ok(())
}

/// Lists the images of these folders, named relative to `base`: normal images first, sorted by the whole path in byte
/// order, so that the order does not depend on the depth of a file.
fn list(base: &Path, parts: &[Labelled], seen: &mut Seen) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut strata = Vec::new();
    let normals = parts.iter().flat_map(|part| part.normals.iter().map(|name| (name, false)));
    let defects = parts.iter().flat_map(|part| part.defects.iter().map(|(name, kind)| (name, *kind)));
    for (defect, folders) in [(false, normals.collect::<Vec<_>>()), (true, defects.collect())] {
        let mut names = Vec::new();
        for (start, kind) in folders {
            let mut found = Vec::new();
            let path = base.join(start);
            walk(&path, start.trim_end_matches('/'), &mut vec![canonical(&path)?], &mut found, seen)?;
            let stratum = |name: &str| match kind {
                true => start.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
                false => name[start.len()..].split_once('/').map_or("", |(group, _)| group).to_owned(),
            };
            names.extend(found.into_iter().map(|name| (stratum(&name), name)));
        }
        names.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        for (stratum, name) in names {
            listing.push(&name, Labels { defect, classes: ClassSet::EMPTY, stratum: 0 }, None);
            strata.push(stratum);
        }
    }
    let kinds = stratify::number_strata(listing.labels_mut(), &strata);
    listing.set_kinds(kinds);
    Ok(listing)
}

/// Names of the folders directly below `part`, in byte order.
fn folders(base: &Path, part: &str, seen: &mut Seen) -> Result<BTreeSet<String>> {
    let path = base.join(part);
    let mut names = BTreeSet::new();
    for (name, path) in entries(&path)? {
        match (words::is_litter(&name), path.is_dir()) {
            (true, _) => seen.litter.push(format!("{part}{name}")),
            (false, true) => {
                names.insert(name);
            }
            (false, false) => {}
        }
    }
    Ok(names)
}

/// Entries of a folder, with their paths.
fn entries(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = || format!("cannot list {}", path.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        match entry.file_name().into_string() {
            Ok(name) => entries.push((name, entry.path())),
            Err(_) => bail!("{}: the name is not UTF-8", entry.path().display()),
        }
    }
    Ok(entries)
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{}: this link or folder cannot be opened", path.display()))
}

/// Collects the images below a folder. `above` holds the resolved paths of the folder and its ancestors, to detect
/// links that lead back.
fn walk(
    path: &Path,
    below: &str,
    above: &mut Vec<PathBuf>,
    names: &mut Vec<String>,
    seen: &mut Seen,
) -> Result<()> {
    for (name, path) in entries(path)? {
        let whole = format!("{below}/{name}");
        if words::is_litter(&name) {
            seen.litter.push(whole);
        } else if path.is_dir() {
            let real = canonical(&path)?;
            ensure!(
                !above.contains(&real),
                "{}: a link that leads back to a folder above it; remove it",
                path.display()
            );
            above.push(real);
            walk(&path, &whole, above, names, seen)?;
            above.pop();
        } else if is_image(&name) {
            names.push(whole);
        } else {
            seen.foreign.push(whole);
        }
    }
    Ok(())
}

fn is_image(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default().to_ascii_lowercase();
    decode::EXTENSIONS.iter().any(|known| extension == *known)
}

#[cfg(test)]
mod tests;
