//! Labelled image files on disk, shared by all sources that read files.
//!
//! The root folder of a file is looked up when the file is first opened, and then remembered. Sources that list the
//! folders anyway pass the locations in advance ([`Locations`]). Files in zip archives are read from the archive.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result, bail, ensure};

use rayon::prelude::*;

use super::{
    content::{self, Content, DigestCache, FileDigest, Stamp},
    listing::Listing,
    names::NameIndex,
    packed::{self, ArchiveMember},
};
use crate::data::{Dataset, Header, Image, Labels, SampleBits, decode};

/// Maximum number of folders and archives together: a byte identifies one, and 0 means that it is unknown.
pub const MOST_ROOTS: usize = u8::MAX as usize - 1;

/// Locations of files that were found by listing folders and archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// Zip archives that hold some of the files; they are numbered after the folders.
    pub archives: Vec<PathBuf>,
    /// For each file, the number of its folder or archive plus one; 0 if it was not found.
    at: Vec<u8>,
    /// Locations of files inside archives; empty if there are no archives.
    packed: Vec<ArchiveMember>,
}

impl Locations {
    /// Creates a table for `files` files, all without a location.
    pub fn unknown(files: usize) -> Self {
        Self { archives: Vec::new(), at: vec![0; files], packed: Vec::new() }
    }

    /// Stores that the file at `index` is in the folder or archive with this number (less than [`MOST_ROOTS`]);
    /// `packed` is its location inside an archive. The first location is kept; returns whether this is the first.
    pub fn insert(&mut self, index: usize, number: usize, packed: Option<ArchiveMember>) -> bool {
        if self.at[index] != 0 {
            return false;
        }
        self.at[index] = number as u8 + 1;
        if let Some(packed) = packed {
            self.packed.resize(self.at.len(), ArchiveMember::default());
            self.packed[index] = packed;
        }
        true
    }

    /// Whether any file is in the folder or archive with this number.
    pub fn is_in(&self, number: usize) -> bool {
        self.at.iter().any(|&at| usize::from(at) == number + 1)
    }
}

/// Location of a file.
enum Location {
    /// A file of its own.
    Alone(PathBuf),
    /// A member of an archive; `path` is the path it would have if the archive were a folder.
    Packed { archive: PathBuf, packed: ArchiveMember, path: PathBuf },
}

impl Location {
    /// Path for messages.
    fn path(&self) -> &Path {
        match self {
            Self::Alone(path) | Self::Packed { path, .. } => path,
        }
    }

    fn stamp(&self) -> Result<Stamp> {
        match self {
            Self::Alone(path) => content::stamp(path),
            Self::Packed { archive, packed, path } => packed::stamp(archive, *packed)
                .with_context(|| format!("cannot read image {}", path.display())),
        }
    }

    /// Reads its bytes, and stores their digest in `memory` at `index`.
    fn read(&self, memory: &DigestCache, index: usize) -> Result<Vec<u8>> {
        match self {
            Self::Alone(path) => memory.read(index, path),
            Self::Packed { archive, packed, path } => {
                memory.read_by(index, path, || packed::read(archive, *packed))
            }
        }
    }

    /// Reads its header. If its samples have 16 bits and `bits` is set, also returns the number of significant bits.
    fn head(&self, bits: bool) -> Result<(Header, Option<SampleBits>)> {
        match self {
            Self::Alone(path) => {
                let used = if bits { decode::bits_in_use(path)? } else { None };
                Ok((decode::read_header(path)?, used))
            }
            Self::Packed { archive, packed, path } => {
                let read = packed::read(archive, *packed);
                let (bytes, _) = read.with_context(|| format!("cannot read image {}", path.display()))?;
                let head = decode::read_header_from_bytes(&bytes, path)?;
                let used = (bits && head.sixteen).then(|| decode::bits_in_bytes(&bytes, path)).transpose()?;
                Ok((head, used))
            }
        }
    }
}

/// A data set of image files.
pub struct Files {
    listing: Listing,
    roots: Vec<PathBuf>,
    /// Archives, numbered after the roots.
    archives: Vec<PathBuf>,
    /// For each image, the number of its root or archive plus one; 0 while unknown.
    found: Vec<AtomicU8>,
    /// Locations of images inside archives; empty if there are no archives.
    packed: Vec<ArchiveMember>,
    /// What is known about each file's bytes.
    pub(super) memory: DigestCache,
    /// Files that could not be decoded when they were examined, with the reason.
    unreadable: Mutex<BTreeMap<usize, String>>,
    /// The annotation table that row numbers refer to.
    table: Option<PathBuf>,
    digest: String,
    /// Number of significant bits in 16-bit samples; all 16 until set.
    sample_bits: OnceLock<SampleBits>,
}

impl Files {
    /// Creates a data set of files named relative to one of `roots`, which are searched in order.
    ///
    /// # Errors
    /// If there are no roots, or a root is not a directory. Files are not looked for yet.
    pub fn new(listing: Listing, roots: &[PathBuf], table: Option<&Path>, digest: String) -> Result<Self> {
        ensure!(
            (1..=MOST_ROOTS).contains(&roots.len()),
            "expected 1 to {MOST_ROOTS} image folders, found {}",
            roots.len()
        );
        for root in roots {
            ensure!(root.is_dir(), "{}: no such image folder", root.display());
        }
        let found = std::iter::repeat_with(AtomicU8::default).take(listing.len()).collect();
        let memory = DigestCache::new(listing.len());
        let (roots, table, sample_bits) = (roots.to_vec(), table.map(Path::to_owned), OnceLock::new());
        let (archives, packed) = Default::default();
        let unreadable = Mutex::default();
        Ok(Self { listing, roots, archives, found, packed, memory, unreadable, table, digest, sample_bits })
    }

    /// Adds locations of files; files without a location are still looked for in the roots.
    ///
    /// # Errors
    /// If there are too many folders and archives.
    pub fn with_locations(self, found: Locations) -> Result<Self> {
        let Locations { archives, at, packed } = found;
        let places = self.roots.len() + archives.len();
        ensure!(
            places <= MOST_ROOTS,
            "expected at most {MOST_ROOTS} image folders and archives, found {places}"
        );
        let found = at.into_iter().map(AtomicU8::new).collect();
        Ok(Self { archives, found, packed, ..self })
    }

    /// Returns the files at `indices`, in that order, as an independent data set. It starts with a copy of what is
    /// known about their content; later knowledge is not shared.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let listing = self.listing.select(indices);
        let digest = listing.digest();
        let selected = Self::new(listing, &self.roots, self.table.as_deref(), digest)?;
        for (place, &index) in indices.iter().enumerate() {
            if let Some(known) = self.memory.file_digest(index) {
                selected.memory.remember(place, known);
            }
            if self.memory.is_used(index) {
                selected.memory.confirm(place);
            }
        }
        let unreadable = self.unreadable();
        let places = indices.iter().enumerate();
        let unreadable = places.filter_map(|(place, index)| Some((place, unreadable.get(index)?.clone())));
        let unreadable = Mutex::new(unreadable.collect());
        let found = Locations {
            archives: self.archives.clone(),
            at: indices.iter().map(|&index| self.found[index].load(Relaxed)).collect(),
            packed: indices.iter().filter_map(|&index| self.packed.get(index).copied()).collect(),
        };
        let sample_bits = self.sample_bits.clone();
        Ok(Self { sample_bits, unreadable, ..selected.with_locations(found)? })
    }

    /// Assigns images to groups, such as pipes, by their names.
    ///
    /// # Errors
    /// Those of `group`, for any image.
    pub fn group_by(&mut self, group: impl Fn(&str) -> Result<String>) -> Result<()> {
        let names = self.listing.names().map(group).collect::<Result<Vec<String>>>()?;
        self.listing.set_groups(&names);
        let hash = blake3::Hasher::new()
            .update(self.digest.as_bytes())
            .update(names.join("\0").as_bytes())
            .finalize();
        self.digest = hash.to_hex().to_string();
        Ok(())
    }

    /// Returns the name of the group of the image at `index`; `None` if images have no groups.
    pub fn group(&self, index: usize) -> Option<&str> {
        self.listing.group(index)
    }

    /// Returns the name of the class of the image at `index`; `None` if it has none.
    pub fn class_name(&self, index: usize) -> Option<&str> {
        self.listing.class_name(index)
    }

    /// Returns the files that could not be decoded when they were examined, with the reason.
    pub fn unreadable(&self) -> BTreeMap<usize, String> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores that the file at `index` cannot be decoded.
    pub(super) fn cannot_read(&self, index: usize, reason: String) {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).insert(index, reason);
    }

    /// Returns the number of significant bits in 16-bit samples.
    pub fn sample_bits(&self) -> SampleBits {
        self.sample_bits.get().copied().unwrap_or(SampleBits::ALL)
    }

    /// Sets the number of significant bits in 16-bit samples, before any image is opened. Only the first call has an
    /// effect.
    pub fn set_sample_bits(&self, bits: SampleBits) {
        // A later value is ignored: images may have been decoded with the first one.
        let _ = self.sample_bits.set(bits);
    }

    /// Reads the header of the file at `index` and, for 16-bit samples, the number of significant bits. Its bytes do
    /// not count as used.
    ///
    /// # Errors
    /// If it cannot be found or read.
    pub fn header_and_sample_bits(&self, index: usize) -> Result<(Header, Option<SampleBits>)> {
        let lies = self.locate(index)?;
        self.explain(index, lies.head(true))
    }

    /// Returns a lookup of positions by name.
    pub fn name_index(&self) -> NameIndex<'_> {
        NameIndex::new(&self.listing)
    }

    /// Returns the number of files.
    pub fn len(&self) -> usize {
        self.listing.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.listing.is_empty()
    }

    /// Returns the name of the file at `index`, relative to its folder.
    pub fn name(&self, index: usize) -> &str {
        self.listing.name(index)
    }

    /// Returns the content of each file, in the order of `indices`, without reading files. Size and time of each file
    /// are checked at most once per process.
    pub fn contents(&self, indices: &[usize]) -> Vec<Content> {
        let look =
            |&index: &usize| self.memory.content(index, || self.locate(index).and_then(|lies| lies.stamp()));
        indices.par_iter().map(look).collect()
    }

    /// Returns the content of each file, in the order of `indices`, reading files whose bytes are not known.
    ///
    /// A file that cannot be read stays [`Content::Unread`]: training has left it out or stopped at it.
    pub fn read_contents(&self, indices: &[usize]) -> Vec<Content> {
        let unread =
            indices.iter().zip(self.contents(indices)).filter(|(_, content)| *content == Content::Unread);
        let unread: Vec<usize> = unread.map(|(&index, _)| index).collect();
        unread.par_iter().for_each(|&index| {
            // Errors are represented by `Unread`.
            let _ = self.locate(index).and_then(|lies| lies.read(&self.memory, index));
        });
        self.contents(indices)
    }

    /// Returns the digests of the files at `indices`; `None` where this process has not used the bytes.
    pub fn used_digests(&self, indices: &[usize]) -> Vec<Option<content::Digest>> {
        let used = |&index: &usize| {
            self.memory.file_digest(index).filter(|_| self.memory.is_used(index)).map(|known| known.digest)
        };
        indices.iter().map(used).collect()
    }

    /// Marks the known bytes of these files as used by this process.
    pub fn confirm(&self, indices: &[usize]) {
        indices.iter().for_each(|&index| self.memory.confirm(index));
    }

    /// Returns what is known about the bytes of the file at `index`.
    pub fn file_digest(&self, index: usize) -> Option<FileDigest> {
        self.memory.file_digest(index)
    }

    /// Stores what an earlier process knew about the file at `index`.
    pub fn remember(&self, index: usize, known: FileDigest) {
        self.memory.remember(index, known);
    }

    /// Location of the file at `index`: where it was found, or in the first root that has it.
    fn locate(&self, index: usize) -> Result<Location> {
        let name = self.listing.name(index);
        // Threads that get here find the same root, so their order does not matter.
        let known = usize::from(self.found[index].load(Relaxed));
        if known > self.roots.len() {
            let archive = self.archives[known - 1 - self.roots.len()].clone();
            let (packed, path) = (self.packed[index], archive.join(name));
            return Ok(Location::Packed { archive, packed, path });
        }
        if known > 0 {
            return Ok(Location::Alone(self.roots[known - 1].join(name)));
        }
        for (number, root) in self.roots.iter().enumerate() {
            let path = root.join(name);
            if path.is_file() {
                self.found[index].store(number as u8 + 1, Relaxed);
                return Ok(Location::Alone(path));
            }
        }
        // Something else than a file, such as a folder, is reported by the function that reads it.
        if let Some(path) = self.roots.iter().map(|root| root.join(name)).find(|path| path.exists()) {
            return Ok(Location::Alone(path));
        }
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
        bail!("{name}{}: no such file in {}", self.mention(index), roots.join(", "))
    }

    /// Reads all bytes of the file at `index`, marks them as used, and returns them with the path for messages.
    ///
    /// # Errors
    /// If it cannot be found or read.
    pub(super) fn bytes(&self, index: usize) -> Result<(PathBuf, Result<Vec<u8>>)> {
        let lies = self.locate(index)?;
        Ok((lies.path().to_owned(), lies.read(&self.memory, index)))
    }

    /// The image's row in the annotation table, as a suffix for messages: ` (labels.csv row 17)`.
    fn mention(&self, index: usize) -> String {
        match (&self.table, self.listing.row(index)) {
            (Some(table), Some(row)) => {
                let table = table.file_name().unwrap_or(table.as_os_str());
                format!(" ({} row {row})", table.display())
            }
            _ => String::new(),
        }
    }

    pub(super) fn explain<T>(&self, index: usize, result: Result<T>) -> Result<T> {
        match self.mention(index).trim_start() {
            "" => result,
            mention => result.map_err(|error| error.context(mention.to_owned())),
        }
    }
}

impl Dataset for Files {
    fn labels(&self) -> &[Labels] {
        self.listing.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        let lies = self.locate(index)?;
        let bytes = lies.read(&self.memory, index);
        let image = bytes.and_then(|bytes| decode::decode_bytes(&bytes, lies.path(), self.sample_bits()));
        self.explain(index, image)
    }

    fn header(&self, index: usize) -> Result<Header> {
        let lies = self.locate(index)?;
        self.explain(index, lies.head(false).map(|(head, _)| head))
    }

    fn location(&self, index: usize) -> String {
        let lies = self.locate(index);
        let path = lies.as_ref().map_or(Path::new(self.listing.name(index)), Location::path);
        format!("{}{}", path.display(), self.mention(index))
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn files(&self) -> Option<&Files> {
        Some(self)
    }

    fn files_mut(&mut self) -> Option<&mut Files> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::RgbImage;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_any_more_is_unread_not_an_error() {
        let folder = TempDir::new().unwrap();
        for name in ["a.png", "b.png"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let names = Listing::of_normals(&["a.png", "b.png", "none.png"]);
        let files = Files::new(names, &[folder.path().to_owned()], None, String::new()).unwrap();
        assert_eq!(files.contents(&[0, 1, 2]), [Content::Unread, Content::Unread, Content::Missing]);
        fs::remove_file(folder.path().join("b.png")).unwrap();
        let contents = files.read_contents(&[0, 1, 2]);
        assert!(
            matches!(contents[..], [Content::Bytes(_), Content::Unread, Content::Missing]),
            "{contents:?}"
        );
    }

    #[test]
    fn roots_are_searched_in_order_and_remembered() {
        let folder = TempDir::new().unwrap();
        let roots = ["first", "second"].map(|name| folder.path().join(name));
        for (width, root) in roots.iter().enumerate() {
            fs::create_dir(root).unwrap();
            RgbImage::new(1 + width as u32, 1).save(root.join("both.png")).unwrap();
        }
        RgbImage::new(7, 1).save(roots[1].join("late.png")).unwrap();
        let names = Listing::of_normals(&["both.png", "late.png", "none.png"]);
        let files = Files::new(names, &roots, Some(Path::new("/data/t.csv")), String::new()).unwrap();

        assert_eq!(files.open(0).unwrap().width, 1);
        assert_eq!(files.header(1).unwrap().width, 7);
        assert_eq!(files.location(1), format!("{} (t.csv row 3)", roots[1].join("late.png").display()));
        assert_eq!(files.found.iter().map(|root| root.load(Relaxed)).collect::<Vec<_>>(), [1, 2, 0]);

        let expected =
            format!("none.png (t.csv row 4): no such file in {}, {}", roots[0].display(), roots[1].display());
        assert_eq!(files.open(2).unwrap_err().to_string(), expected);
        assert_eq!(files.location(2), "none.png (t.csv row 4)");

        // A folder named like an image is found, but is none.
        fs::create_dir(roots[1].join("none.png")).unwrap();
        let error = format!("{:#}", files.open(2).unwrap_err());
        let place = roots[1].join("none.png").display().to_string();
        let start =
            format!("(t.csv row 4): cannot read image {place}: expected a regular file, found a folder");
        assert!(error.starts_with(&start), "{error}");

        // The location is remembered: a file that disappears later is reported missing there, not looked for
        // elsewhere.
        fs::remove_file(roots[0].join("both.png")).unwrap();
        let error = format!("{:#}", files.open(0).unwrap_err());
        assert!(error.starts_with("(t.csv row 2): cannot read image"), "{error}");
    }

    #[test]
    fn folders_must_exist() {
        let error =
            Files::new(Listing::of_normals(&["a"]), &["/nowhere".into()], None, String::new()).err().unwrap();
        assert_eq!(error.to_string(), "/nowhere: no such image folder");
        assert!(Files::new(Listing::of_normals(&["a"]), &[], None, String::new()).is_err());
    }

    fn text_files(folder: &TempDir, names: &[&str]) -> Files {
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        Files::new(
            Listing::of_normals(names),
            &[folder.path().to_owned()],
            Some(Path::new("/d/t.csv")),
            "of the table".to_owned(),
        )
        .unwrap()
    }

    #[test]
    fn a_selection_keeps_what_is_known_of_its_files() {
        let folder = TempDir::new().unwrap();
        let mut files = text_files(&folder, &["a.png", "b.png", "c.png", "d.png"]);
        files.group_by(|name| Ok(name[..1].to_uppercase())).unwrap();
        files.set_sample_bits("14".parse().unwrap());
        files.set_sample_bits("10".parse().unwrap());
        assert_eq!(files.sample_bits().bits(), 14, "the first call counts");
        files.read_contents(&[1, 2]);
        let known = files.file_digest(2).unwrap();
        files.cannot_read(3, "torn".to_owned());
        files.remember(0, known);
        let chosen = files.select(&[3, 0, 2]).unwrap();
        assert_eq!((0..3).map(|index| chosen.name(index)).collect::<Vec<_>>(), ["d.png", "a.png", "c.png"]);
        assert_eq!((0..3).map(|index| chosen.group(index).unwrap()).collect::<Vec<_>>(), ["D", "A", "C"]);
        assert_eq!(chosen.sample_bits().bits(), 14);
        assert_eq!(chosen.unreadable(), BTreeMap::from([(0, "torn".to_owned())]));
        assert_eq!([0, 1, 2].map(|index| chosen.file_digest(index)), [None, Some(known), Some(known)]);
        assert_eq!(chosen.used_digests(&[0, 1, 2]), [None, None, Some(known.digest)]);
        assert_eq!(
            files.used_digests(&[2, 0, 1]),
            [Some(known.digest), None, files.file_digest(1).map(|known| known.digest)]
        );
        files.confirm(&[0, 3]);
        assert_eq!(files.used_digests(&[0, 3]), [Some(known.digest), None]);
        assert!(chosen.location(2).ends_with("c.png (t.csv row 4)"), "{}", chosen.location(2));
        assert_eq!(
            (chosen.len(), chosen.is_empty(), files.select(&[]).unwrap().is_empty()),
            (3, false, true)
        );
        assert_eq!(files.name_index().find("c.png"), Some(2));
    }

    #[test]
    fn groups_are_part_of_the_identity() {
        let folder = TempDir::new().unwrap();
        let grouped = |group: fn(&str) -> Result<String>| {
            let mut files = text_files(&folder, &["a1.png", "a2.png", "b1.png"]);
            files
                .group_by(group)
                .map(|()| (files.digest(), [0, 1, 2].map(|index| files.group(index).unwrap().to_owned())))
        };
        assert_eq!(text_files(&folder, &["a1.png"]).digest(), "of the table");
        let (letters, groups) = grouped(|name| Ok(name[..1].to_owned())).unwrap();
        assert_eq!(groups, ["a", "a", "b"]);
        let (numbers, groups) = grouped(|name| Ok(name[1..2].to_owned())).unwrap();
        assert_eq!(groups, ["1", "2", "1"]);
        assert!(letters != numbers && letters != "of the table");
        assert_eq!(grouped(|name| Ok(name[..1].to_owned())).unwrap().0, letters);
        // Groups x, xy, y and groups xx, y, y are spelt by the same letters.
        let spelt = |groups: [&'static str; 3]| {
            let mut files = text_files(&folder, &["a1.png", "a2.png", "b1.png"]);
            let of = |name: &str| match name {
                "a1.png" => groups[0],
                "a2.png" => groups[1],
                _ => groups[2],
            };
            files.group_by(|name| Ok(of(name).to_owned())).unwrap();
            files.digest()
        };
        assert_ne!(spelt(["x", "xy", "y"]), spelt(["xx", "y", "y"]));
        let error =
            grouped(|name| if name == "b1.png" { bail!("none in {name}") } else { Ok("x".to_owned()) });
        assert_eq!(error.unwrap_err().to_string(), "none in b1.png");
    }

    #[test]
    fn the_first_location_is_kept() {
        let mut found = Locations::unknown(3);
        assert!(found.insert(1, 0, None) && found.insert(2, 4, None));
        assert!(!found.insert(1, 3, None), "it was found before");
        assert_eq!(found.at, [0, 1, 5]);
        assert_eq!([0, 1, 3, 4, 5].map(|number| found.is_in(number)), [true, false, false, true, false]);
        let folder = TempDir::new().unwrap();
        let most = |archives: usize| {
            let files = text_files(&folder, &["a.png", "b.png", "c.png"]);
            let archives = vec![PathBuf::from("x.zip"); archives];
            files
                .with_locations(Locations { archives, ..Locations::unknown(3) })
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(most(253), Ok(()));
        assert_eq!(most(254), Err("expected at most 254 image folders and archives, found 255".to_owned()));
        let roots = vec![folder.path().to_owned(); 255];
        let many = Files::new(Listing::of_normals(&["a"]), &roots, None, String::new()).err().unwrap();
        assert_eq!(many.to_string(), "expected 1 to 254 image folders, found 255");
    }

    /// The first file alone is in an archive: what follows it has no place there, in a selection of any order.
    #[test]
    fn a_selection_of_files_in_and_beside_archives_finds_them_all() {
        let folder = TempDir::new().unwrap();
        let archive = folder.path().join("some.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
        zip.start_file("a.png", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, b"in the archive").unwrap();
        zip.finish().unwrap();
        let files = text_files(&folder, &["a.png", "b.png", "c.png", "d.png"]);
        let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(4) };
        packed::list(&archive, &mut |_, packed| found.insert(0, 1, Some(packed))).unwrap();
        let files = files.with_locations(found).unwrap();
        for chosen in [&[0, 1, 2, 3][..], &[3, 0, 1], &[2, 1, 0], &[1, 3]] {
            let selected = files.select(chosen).unwrap();
            let bytes = (0..chosen.len()).map(|place| selected.bytes(place).unwrap());
            let found: Vec<(PathBuf, Vec<u8>)> = bytes.map(|(path, bytes)| (path, bytes.unwrap())).collect();
            let expected = chosen.iter().map(|&index| match index {
                0 => (archive.join("a.png"), b"in the archive".to_vec()),
                index => (folder.path().join(files.name(index)), files.name(index).as_bytes().to_vec()),
            });
            assert_eq!(found, expected.collect::<Vec<_>>(), "{chosen:?}");
        }
    }

    /// Headers, and the number of significant bits if it is requested, are the same for plain files and for members of
    /// archives.
    #[test]
    fn headers_are_those_of_the_file_wherever_it_lies() {
        let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
        let names = ["png-grey16-of-10.png", "jpeg-orientation6.jpg"];
        let folder = TempDir::new().unwrap();
        let archive = folder.path().join("all.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
        for name in names {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, &fs::read(pixels.join(name)).unwrap()).unwrap();
        }
        zip.finish().unwrap();
        let listing = || Listing::of_normals(&names);
        let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(2) };
        packed::list(&archive, &mut |name, packed| {
            found.insert(usize::from(name == names[1]), 1, Some(packed))
        })
        .unwrap();
        let zipped = Files::new(listing(), &[folder.path().to_owned()], None, String::new())
            .unwrap()
            .with_locations(found)
            .unwrap();
        let alone = Files::new(listing(), &[pixels], None, String::new()).unwrap();
        for files in [&zipped, &alone] {
            let deep = Header { width: 29, height: 23, turned: false, sixteen: true };
            let turned = Header { width: 23, height: 29, turned: true, sixteen: false };
            assert_eq!(files.header_and_sample_bits(0).unwrap(), (deep, Some("10".parse().unwrap())));
            assert_eq!(files.header_and_sample_bits(1).unwrap(), (turned, None));
            assert_eq!([0, 1].map(|index| files.header(index).unwrap()), [deep, turned]);
            assert_eq!(files.used_digests(&[0, 1]), [None, None], "a look is no use");
        }
        assert_eq!(zipped.read_contents(&[0, 1]), alone.read_contents(&[0, 1]));
        assert_eq!(zipped.open(1).unwrap(), alone.open(1).unwrap());
        assert_eq!(zipped.location(1), archive.join(names[1]).display().to_string());
    }

    #[test]
    fn archives_that_are_gone_and_members_that_are_no_pictures_are_named() {
        let folder = TempDir::new().unwrap();
        let archive = folder.path().join("all.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
        for (name, content) in [("a.png", &b"no picture"[..]), ("b.png", b"")] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, content).unwrap();
        }
        zip.finish().unwrap();
        let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(2) };
        let note = &mut |name: &str, packed| found.insert(usize::from(name == "b.png"), 1, Some(packed));
        packed::list(&archive, note).unwrap();
        let listing = Listing::of_normals(&["a.png", "b.png"]);
        let roots = [folder.path().to_owned()];
        let files = Files::new(listing, &roots, Some(Path::new("/d/t.csv")), String::new()).unwrap();
        let files = files.with_locations(found).unwrap();
        let error = |index| {
            let [head, deep] =
                [files.header(index), files.header_and_sample_bits(index).map(|found| found.0)]
                    .map(|result| format!("{:#}", result.unwrap_err()));
            assert_eq!(head, deep);
            head
        };
        let [first, second] = ["a.png", "b.png"].map(|name| archive.join(name).display().to_string());
        let none = "expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them";
        assert_eq!(error(0), format!("(t.csv row 2): cannot decode image {first}: {none}"));
        assert_eq!(error(1), format!("(t.csv row 3): cannot decode image {second}: the file has 0 bytes"));
        let opened = format!("{:#}", files.open(1).unwrap_err());
        assert_eq!(opened, error(1));
        assert!(matches!(files.contents(&[1, 0])[..], [Content::Bytes(_), Content::Unread]));

        fs::remove_file(&archive).unwrap();
        let files = files.select(&[1, 0]).unwrap();
        assert_eq!(files.contents(&[1]), [Content::Missing]);
        for (index, row, place) in [(0, 3, &second), (1, 2, &first)] {
            let expected = format!("(t.csv row {row}): cannot read image {place}: ");
            for found in [files.header(index).map(drop), files.open(index).map(drop)] {
                let found = format!("{:#}", found.unwrap_err());
                assert!(found.starts_with(&expected), "{found}");
            }
        }
    }
}
