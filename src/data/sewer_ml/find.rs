//! Finds Sewer-ML on disk: its tables, folders of frames, and archives that were not extracted.
//!
//! Folders and archives are listed once, without a request to the file system for each frame. Only the location of
//! each frame in the tables is kept, no names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{TRAIN, VALIDATION};
use crate::data::{
    files::{Locations, MOST_ROOTS},
    listing::Listing,
    names::NameIndex,
    packed,
};

/// Maximum depth of frames below the folder: `images/train/train00/`.
const DEEPEST: usize = 3;

/// Prefixes of names of folders that may hold frames, in lower case.
const FRAMES: [&str; 10] =
    ["train", "val", "test", "image", "img", "frame", "png", "archive", "zip", "sewer"];

/// Finds the training and the validation table, in the folder or in one of its subfolders.
///
/// # Errors
/// If a folder cannot be listed, or a table is not found.
pub(super) fn tables(folder: &Path) -> Result<[PathBuf; 2]> {
    let mut found = [None, None];
    let mut below = look_for_tables(folder, &mut found)?;
    // Tables are rarely in folders of frames, which take long to list, so these come last.
    below.sort_by_key(|name| may_hold_frames(name));
    for name in below {
        if found.iter().all(Option::is_some) {
            break;
        }
        look_for_tables(&folder.join(name), &mut found)?;
    }
    let expected = |table: Option<PathBuf>, name: &str| {
        table.with_context(|| {
            format!(
                "{}: expected {name} in it or in a folder such as annotations/, found none; Sewer-ML's tables come with \
                 its archives",
                folder.display()
            )
        })
    };
    let [train, validation] = found;
    Ok([expected(train, TRAIN)?, expected(validation, VALIDATION)?])
}

/// Stores tables in a folder, unless they were found before; returns the names of its subfolders.
fn look_for_tables(folder: &Path, found: &mut [Option<PathBuf>; 2]) -> Result<Vec<String>> {
    let mut here: [Vec<String>; 2] = Default::default();
    let below = list(folder, &mut |name| {
        if let Some(split) = table(name) {
            here[split].push(name.to_owned());
        }
        Ok(())
    })?;
    for ((known, mut names), published) in found.iter_mut().zip(here).zip([TRAIN, VALIDATION]) {
        names.sort_by_key(|name| (name != published, name.clone()));
        *known = known.take().or(names.first().map(|name| folder.join(name)));
    }
    Ok(below)
}

/// Recognises a table by the name of its file, in any spelling: 0 for the training split, 1 for the validation split.
fn table(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    let letters: String = name.strip_suffix(".csv")?.chars().filter(char::is_ascii_alphanumeric).collect();
    match letters.as_str() {
        "sewermltrain" => Some(0),
        "sewermlval" | "sewermlvalid" | "sewermlvalidation" => Some(1),
        _ => None,
    }
}

fn may_hold_frames(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FRAMES.iter().any(|begin| name.starts_with(begin))
}

/// Calls `file` with the name of each file in a folder; returns the sorted names of its subfolders.
fn list(folder: &Path, file: &mut dyn FnMut(&str) -> Result<()>) -> Result<Vec<String>> {
    let unlisted = || format!("cannot list {}", folder.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).with_context(unlisted)? {
        let entry = entry.with_context(unlisted)?;
        // Sewer-ML's names are ASCII.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().with_context(unlisted)?;
        // Links named like frames or tables are not resolved, since there may be a million.
        let is_folder = kind.is_dir()
            || kind.is_symlink() && !has_ending(&name, &["png", "csv"]) && entry.path().is_dir();
        if is_folder {
            folders.push(name);
        } else {
            file(&name)?;
        }
    }
    folders.sort();
    Ok(folders)
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Locations of the frames of one split.
struct Split<'a> {
    listing: &'a Listing,
    places: NameIndex<'a>,
    found: Locations,
    count: usize,
}

impl<'a> Split<'a> {
    fn new(listing: &'a Listing) -> Self {
        Self { listing, places: NameIndex::new(listing), found: Locations::unknown(listing.len()), count: 0 }
    }

    /// Stores that a frame is in the folder or archive with this number, unless it was found before. Returns whether
    /// it was new; `None` if it is not a frame of this split.
    fn note(&mut self, name: &str, number: usize, packed: Option<packed::ArchiveMember>) -> Option<bool> {
        let is_new = self.found.insert(self.places.find(name)?, number, packed);
        self.count += usize::from(is_new);
        Some(is_new)
    }
}

/// Locations of the frames of both tables.
pub(super) struct Frames {
    /// Folders that hold frames; the folder itself comes first.
    pub roots: Vec<PathBuf>,
    /// Locations of the frames of the training table and of the validation table.
    pub found: [Locations; 2],
    /// Messages about how the data were interpreted, one per line.
    pub understood: Vec<String>,
}

/// Looks for all frames of the two tables: in the folder, in subfolders that may hold frames and, if some frames are
/// still missing, in archives beside them.
///
/// # Errors
/// If a folder cannot be listed, an archive cannot be read, or frames are in too many of them.
pub(super) fn frames(folder: &Path, listings: [&Listing; 2]) -> Result<Frames> {
    let mut search = Search {
        splits: listings.map(Split::new),
        roots: vec![folder.to_owned()],
        archives: Vec::new(),
        used: Vec::new(),
    };
    search.visit(folder, DEEPEST)?;
    search.unpack()?;
    let understood = search.understood(folder);
    let Search { splits, roots, used, .. } = search;
    let found = splits.map(|mut split| {
        split.found.archives.clone_from(&used);
        split.found
    });
    Ok(Frames { roots, found, understood })
}

struct Search<'a> {
    splits: [Split<'a>; 2],
    roots: Vec<PathBuf>,
    /// Archives that were seen.
    archives: Vec<PathBuf>,
    /// Archives that frames are read from.
    used: Vec<PathBuf>,
}

impl Search<'_> {
    /// Stores that a frame is in a folder or archive; returns whether it is to be read from there.
    fn note(&mut self, name: &str, number: usize, packed: Option<packed::ArchiveMember>) -> bool {
        self.splits.iter_mut().find_map(|split| split.note(name, number, packed)).unwrap_or(false)
    }

    fn missing(&self) -> usize {
        self.splits.iter().map(|split| split.listing.len() - split.count).sum()
    }

    fn visit(&mut self, folder: &Path, deeper: usize) -> Result<()> {
        let number = if self.roots[0] == folder { 0 } else { self.roots.len() };
        let (mut some, mut archives) = (false, Vec::new());
        let below = list(folder, &mut |name| {
            if has_ending(name, &["zip"]) {
                archives.push(folder.join(name));
            } else if number < MOST_ROOTS {
                some |= self.note(name, number, None);
            } else {
                ensure!(
                    self.splits.iter_mut().all(|split| split.note(name, 0, None).is_none()),
                    "{}: expected at most {MOST_ROOTS} folders of frames, found more; move frames together",
                    self.roots[0].display()
                );
            }
            Ok(())
        })?;
        if some && number > 0 {
            self.roots.push(folder.to_owned());
        }
        archives.sort();
        self.archives.extend(archives);
        for name in below.iter().filter(|name| deeper > 0 && may_hold_frames(name)) {
            self.visit(&folder.join(name), deeper - 1)?;
        }
        Ok(())
    }

    /// Looks for missing frames in archives, one after another, those of the test split last.
    fn unpack(&mut self) -> Result<()> {
        let is_test = |archive: &PathBuf| {
            let name = archive.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            name.starts_with("test")
        };
        let mut archives = self.archives.clone();
        archives.sort_by_key(is_test);
        for archive in archives {
            if self.missing() == 0 {
                break;
            }
            let number = self.roots.len() + self.used.len();
            ensure!(
                number < MOST_ROOTS,
                "{}: expected at most {MOST_ROOTS} folders and archives of frames, found more; extract archives together",
                self.roots[0].display()
            );
            let mut some = false;
            packed::list(&archive, &mut |name, packed| {
                let is_new = self.note(name, number, Some(packed));
                some |= is_new;
                is_new
            })?;
            if some {
                self.used.push(archive);
            }
        }
        Ok(())
    }

    fn understood(&self, folder: &Path) -> Vec<String> {
        let below = |path: &PathBuf| match path.strip_prefix(folder) {
            Ok(rest) if rest.as_os_str().is_empty() => "the folder itself".to_owned(),
            Ok(rest) => rest.display().to_string(),
            Err(_) => path.display().to_string(),
        };
        let [train, validation] = &self.splits;
        let counted = |split: &Split| match split.count == split.listing.len() {
            true => format!("all {}", split.count),
            false => format!("{} of {}", split.count, split.listing.len()),
        };
        let mut places = Vec::new();
        // The folder itself is always searched, whether or not it holds frames.
        let roots =
            if self.splits.iter().any(|split| split.found.is_in(0)) { &self.roots } else { &self.roots[1..] };
        for (places_of, what) in [(roots, ["folder", "folders"]), (&self.used, ["archive", "archives"])] {
            let what = what[usize::from(places_of.len() != 1)];
            places.extend(match places_of {
                [] => None,
                [only] => Some(format!("1 {what} ({})", below(only))),
                [first, .., last] => {
                    Some(format!("{} {what} ({} ... {})", places_of.len(), below(first), below(last)))
                }
            });
        }
        let places = if places.is_empty() { "no folder".to_owned() } else { places.join(" and ") };
        let mut lines = vec![format!(
            "frames: {} of the training table and {} of the validation table, in {places}",
            counted(train),
            counted(validation)
        )];
        if !self.used.is_empty() {
            lines.push("archives are read as they are: nothing is extracted".to_owned());
        }
        if self.missing() == self.splits.iter().map(|split| split.listing.len()).sum::<usize>() {
            lines.push(format!(
                "looked for frames in the folder itself, in archives, and {DEEPEST} deep in folders called {}...",
                FRAMES.join("..., ")
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_the_letters_of_its_name() {
        for (name, split) in [
            ("SewerML_Train.csv", Some(0)),
            ("sewer-ml train.CSV", Some(0)),
            ("SewerML_Val.csv", Some(1)),
            ("sewerml_valid.csv", Some(1)),
            ("SewerML-Validation.csv", Some(1)),
            ("SewerML_Test.csv", None),
            ("SewerML_Train.csv.bak", None),
            ("SewerML_Train2.csv", None),
            ("SewerML_Train", None),
        ] {
            assert_eq!(table(name), split, "{name}");
        }
    }

    #[test]
    fn frames_are_looked_for_in_folders_of_these_names() {
        for name in [
            "train00",
            "Val",
            "validation",
            "TEST",
            "images",
            "img",
            "frames",
            "png",
            "archives",
            "zips",
            "Sewer-ML",
        ] {
            assert!(may_hold_frames(name), "{name}");
        }
        for name in ["annotations", "labels", "mytrain", "other", "im", ""] {
            assert!(!may_hold_frames(name), "{name}");
        }
        assert!(has_ending("a.ZIP", &["png", "zip"]) && has_ending("a.b.zip", &["zip"]));
        assert!(!has_ending("zip", &["zip"]) && !has_ending("a.zipx", &["zip"]));
    }

    /// Tables in the folder itself are preferred, then those in its subfolders in order, with folders of frames last.
    #[test]
    fn of_several_tables_the_nearest_is_read_and_the_published_spelling() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let found = || tables(root.path()).map_err(|error| error.to_string());
        let expected = |name: &str| {
            Err(format!(
                "{}: expected {name} in it or in a folder such as annotations/, found none; Sewer-ML's tables come with its \
                 archives",
                root.path().display()
            ))
        };
        for folder in ["images", "tables", "zz"] {
            fs::create_dir(path(folder)).unwrap();
        }
        let write = |name: &str| fs::write(path(name), "").unwrap();
        assert_eq!(found(), expected("SewerML_Train.csv"));
        write("images/SewerML_Train.csv");
        assert_eq!(found(), expected("SewerML_Val.csv"));
        write("images/SewerML_Val.csv");
        assert_eq!(found(), Ok([TRAIN, VALIDATION].map(|name| path("images").join(name))));
        write("zz/SewerML_Train.csv");
        write("zz/a_sewerml.csv");
        assert_eq!(found(), Ok([path("zz/SewerML_Train.csv"), path("images/SewerML_Val.csv")]));
        write("tables/sewerml_train.csv");
        write("tables/Sewer-ML-Valid.csv");
        assert_eq!(found(), Ok([path("tables/sewerml_train.csv"), path("tables/Sewer-ML-Valid.csv")]));
        write("tables/SewerML_Val.csv");
        write("SEWERML_train.csv");
        assert_eq!(found(), Ok([path("SEWERML_train.csv"), path("tables/SewerML_Val.csv")]));
    }

    /// Links to folders are followed, except those named like frames; other links, and names that are not ASCII, are
    /// files like any other.
    #[cfg(target_os = "linux")]
    #[test]
    fn linked_folders_hold_frames_and_links_named_like_frames_are_frames() {
        use std::os::unix::{ffi::OsStrExt, fs::symlink};
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| root.path().join(name);
        fs::write(elsewhere.path().join("a.png"), "").unwrap();
        symlink(elsewhere.path(), path("train00")).unwrap();
        symlink(elsewhere.path(), path("b.png")).unwrap();
        symlink("/nowhere/at/all", path("val")).unwrap();
        symlink(elsewhere.path(), path("other")).unwrap();
        fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"train\xff")), "").unwrap();
        let listings = [&["a.png", "b.png"][..], &["c.png", "val"]].map(Listing::of_normals);
        let found = frames(root.path(), [&listings[0], &listings[1]]).unwrap();
        assert_eq!(found.roots, [root.path().to_owned(), path("train00")]);
        let [mut train, mut validation] = [2, 2].map(Locations::unknown);
        assert!(train.insert(0, 1, None) && train.insert(1, 0, None) && validation.insert(1, 0, None));
        assert_eq!(found.found, [train, validation]);
        assert_eq!(
            found.understood,
            [
                "frames: all 2 of the training table and 1 of 2 of the validation table, in 2 folders (the folder itself \
              ... train00)"
            ]
        );
    }

    /// An archive without a frame that is missing, between two that have one.
    #[test]
    fn archives_without_frames_are_not_counted() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for (archive, frame) in [("a.zip", "1.png"), ("b.zip", "other.png"), ("c.zip", "2.png")] {
            let mut zip = zip::ZipWriter::new(fs::File::create(path(archive)).unwrap());
            zip.start_file(frame, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, archive.as_bytes()).unwrap();
            zip.finish().unwrap();
        }
        let listings = [&["1.png"][..], &["2.png", "3.png"]].map(Listing::of_normals);
        let found = frames(root.path(), [&listings[0], &listings[1]]).unwrap();
        let used = [path("a.zip"), path("c.zip")];
        assert!(found.found.iter().all(|found| found.archives == used), "{:?}", found.found);
        assert_eq!(
            found.understood,
            [
                "frames: all 1 of the training table and 1 of 2 of the validation table, in 2 archives (a.zip ... c.zip)",
                "archives are read as they are: nothing is extracted"
            ]
        );
        let [train, validation] = found.found;
        assert!(!train.is_in(2) && train.is_in(1) && validation.is_in(2) && !validation.is_in(1));
    }
}
