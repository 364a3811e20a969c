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
mod tests;
