//! A folder of images: `normal/` and `defect/`, or both of them under `train/` and `validation/`.
//!
//! Every PNG and JPEG below them is an image, by name in byte order, so that positions do not depend on
//! the file system. The first folder below `normal/` or `defect/` is the stratum (`defect/crack/..`).
//! Without `train/` and `validation/` the fixed split is used.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::{
    ClassSet, Labels, Source,
    files::{Files, Listing, ensure_apart},
    stratify,
};

/// Lists the folder; images are not decoded until they are opened. Files that are not called `.png`,
/// `.jpg` or `.jpeg` are left out and counted in the limits.
///
/// # Errors
/// If a folder is missing or cannot be listed, only one of `train/` and `validation/` is there, a name
/// is not UTF-8, or a split has no images.
pub fn source(folder: &Path) -> Result<Source> {
    ensure!(folder.is_dir(), "{}: no such folder", folder.display());
    let mut ignored = Vec::new();
    let mut limits = vec!["labels without defect classes: F2_CIW is not defined".to_owned()];
    let (train, validation) = match ["train", "validation"].map(|part| folder.join(part).is_dir()) {
        [true, true] => (list(folder, "train/", &mut ignored)?, list(folder, "validation/", &mut ignored)?),
        [false, false] => {
            let listing = list(folder, "", &mut ignored)?;
            let (train, validation) = stratify::train_and_validation(listing.labels());
            limits.push(stratify::SPLIT_LIMIT.to_owned());
            (listing.select(&train), listing.select(&validation))
        }
        _ => bail!("{}: expected both train/ and validation/ or neither, found one", folder.display()),
    };
    ensure_apart(&train, &validation).with_context(|| folder.display().to_string())?;
    if let Some(first) = ignored.first() {
        limits
            .push(format!("{} files that are no images were left out, the first is {first}", ignored.len()));
    }
    let files = |listing: Listing| {
        let digest = listing.digest();
        Files::new(listing, &[folder.to_owned()], None, digest).map(Box::new)
    };
    Ok(Source {
        name: "folder".to_owned(),
        train: files(train)?,
        validation: files(validation)?,
        has_classes: false,
        limits,
    })
}

/// Images of one split, named relative to `folder`; `part` is empty or ends in a slash.
fn list(folder: &Path, part: &str, ignored: &mut Vec<String>) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut groups = Vec::new();
    for (label, defect) in [("normal", false), ("defect", true)] {
        let start = format!("{part}{label}");
        ensure!(
            folder.join(&start).is_dir(),
            "{}: no such folder, expected normal/ and defect/ (or both under train/ and validation/)",
            folder.join(&start).display()
        );
        let mut names = Vec::new();
        walk(folder, &start, &mut names)?;
        // Whole paths in byte order: the order must not depend on how deep a file lies.
        names.sort_unstable();
        for name in names {
            if !is_image(&name) {
                ignored.push(name);
                continue;
            }
            let below = &name[start.len() + 1..];
            groups.push(below.split_once('/').map_or("", |(group, _)| group).to_owned());
            listing.push(&name, Labels { defect, classes: ClassSet::EMPTY, stratum: 0 }, None);
        }
    }
    stratify::number_strata(listing.labels_mut(), &groups);
    Ok(listing)
}

fn walk(folder: &Path, below: &str, names: &mut Vec<String>) -> Result<()> {
    let path = folder.join(below);
    let failed = || format!("cannot list {}", path.display());
    for entry in fs::read_dir(&path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{below}/{name}")) else {
            bail!("{}: the name is not UTF-8", entry.path().display())
        };
        match entry.path().is_dir() {
            true => walk(folder, &name, names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

fn is_image(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default().to_ascii_lowercase();
    ["png", "jpg", "jpeg"].iter().any(|known| extension == *known)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::data::Dataset;

    fn folder_with(names: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    fn places(folder: &TempDir, dataset: &dyn Dataset) -> Vec<String> {
        let prefix = format!("{}/", folder.path().display());
        (0..dataset.labels().len()).map(|index| dataset.place(index).replace(&prefix, "")).collect()
    }

    #[test]
    fn the_fixture_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
        let source = source(&folder).unwrap();
        assert_eq!((source.train.labels().len(), source.validation.labels().len()), (4, 2));
        for dataset in [&source.train, &source.validation] {
            for index in 0..dataset.labels().len() {
                assert_eq!(dataset.open(index).unwrap().width, 32);
                assert_eq!(dataset.labels()[index].defect, dataset.place(index).contains("/defect/"));
            }
        }
    }

    #[test]
    fn images_are_found_at_any_depth_and_sorted() {
        let folder = folder_with(&[
            "train/normal/b.png",
            "train/normal/a.JPG",
            "train/normal/deep/er/c.jpeg",
            "train/normal/notes.txt",
            "train/defect/crack/1.png",
            "train/defect/hole/1.png",
            "validation/normal/z.png",
            "validation/defect/hole/9.png",
            "read me.md",
        ]);
        let source = source(folder.path()).unwrap();
        assert_eq!(
            places(&folder, &*source.train),
            [
                "train/normal/a.JPG",
                "train/normal/b.png",
                "train/normal/deep/er/c.jpeg",
                "train/defect/crack/1.png",
                "train/defect/hole/1.png"
            ]
        );
        let labels: Vec<(bool, u32)> = source.train.labels().iter().map(|l| (l.defect, l.stratum)).collect();
        // Groups in alphabetical order: none, crack, deep, hole.
        assert_eq!(labels, [(false, 0), (false, 0), (false, 2), (true, 1), (true, 3)]);
        assert_eq!(
            places(&folder, &*source.validation),
            ["validation/normal/z.png", "validation/defect/hole/9.png"]
        );
        assert_eq!(
            source.limits.last().unwrap(),
            "1 files that are no images were left out, the first is train/normal/notes.txt"
        );
        // Empty files are found when they are opened.
        let error = format!("{:#}", source.train.open(0).unwrap_err());
        assert!(error.ends_with("a.JPG: the file has 0 bytes"), "{error}");
    }

    #[test]
    fn bad_folders_are_refused() {
        let complaint = |folder: &Path| format!("{:#}", source(folder).err().unwrap());
        assert_eq!(complaint(Path::new("/nowhere")), "/nowhere: no such folder");
        for (names, expected) in [
            (&["normal/a.png"][..], "/defect: no such folder, expected normal/ and defect/"),
            (&["train/normal/a.png"], "expected both train/ and validation/ or neither, found one"),
            (&["normal/a.txt", "defect/b.txt"], ": no training images"),
        ] {
            let folder = folder_with(names);
            let complaint = complaint(folder.path());
            assert!(complaint.contains(expected), "{complaint}");
        }
    }
}
