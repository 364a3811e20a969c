//! Tracks the content of image files without reading any of them twice.
//!
//! A file's digest is computed when the file is read for training anyway. It is stored with the file's size and
//! modification time, which later show whether the file is unchanged. Once a process has used a file's bytes, the
//! file must not change while the process runs.

use std::{
    fs::Metadata,
    path::Path,
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail};

use super::{
    examine::sketch::Sketch,
    regular::{self, SizeLimit},
};

/// The first 16 bytes of a file's BLAKE3.
pub type Digest = [u8; 16];

/// State of an image file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The file does not exist.
    Missing,
    /// The file exists, but its bytes have not been read since it last changed.
    Unread,
    /// The bytes have been read and have this digest.
    Bytes(Digest),
}

/// A file's digest, with its size and modification time when the digest was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Size and time of the file when its digest was computed.
    pub stamp: Stamp,
    /// Digest of all its bytes.
    pub digest: Digest,
    /// Sketch of its picture, once it has been decoded.
    pub sketch: Option<Sketch>,
}

/// Properties of a file that cheaply reveal changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Modification time in nanoseconds since 1970, at the file system's precision.
    pub modified: i64,
}

impl Stamp {
    /// Stamp of an archive member with this many bytes.
    pub(super) fn for_archive_member(metadata: &Metadata, bytes: u64) -> Self {
        Self { bytes, ..Self::of(metadata) }
    }

    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|elapsed| i64::try_from(elapsed.as_nanos()).ok());
        Self { bytes: metadata.len(), modified: modified.unwrap_or(0) }
    }
}

/// What this process knows about the files of one data set, by position.
pub struct DigestCache(Mutex<Entries>);

struct Entries {
    states: Vec<State>,
    /// Empty until anything is known, then one entry per file: for a million unread files it would use 100 MB.
    known: Vec<Option<FileDigest>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// The file has not been looked at.
    #[default]
    Untouched,
    Missing,
    /// The file exists; the flag is whether its stamp equals the stored one.
    Seen {
        unchanged: bool,
    },
    /// This process has used the bytes.
    Used,
}

impl Entries {
    fn known(&self, index: usize) -> Option<FileDigest> {
        self.known.get(index).copied().flatten()
    }

    fn know(&mut self, index: usize, known: FileDigest) {
        if self.known.is_empty() {
            self.known = vec![None; self.states.len()];
        }
        self.known[index] = Some(known);
    }

    fn content(&self, index: usize) -> Content {
        match (self.states[index], self.known(index)) {
            (State::Missing, _) => Content::Missing,
            (State::Used | State::Seen { unchanged: true }, Some(known)) => Content::Bytes(known.digest),
            _ => Content::Unread,
        }
    }
}

impl DigestCache {
    /// Creates an empty memory for `files` files.
    pub fn new(files: usize) -> Self {
        Self(Mutex::new(Entries { states: vec![State::default(); files], known: Vec::new() }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entries) -> T) -> T {
        // Entries are plain values, so a panic cannot leave one half-written.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores what an earlier process knew about the file at `index`. [`Self::content`] checks whether it still holds.
    pub fn remember(&self, index: usize, known: FileDigest) {
        self.with(|entries| {
            if entries.states[index] != State::Used {
                entries.know(index, known);
                entries.states[index] = State::Untouched;
            }
        });
    }

    /// Returns what is known about the file at `index`, if its bytes were ever read.
    pub fn file_digest(&self, index: usize) -> Option<FileDigest> {
        self.with(|entries| entries.known(index))
    }

    /// Stores a sketch of the file at `index`, whose bytes are known.
    pub fn set_sketch(&self, index: usize, sketch: Sketch) {
        self.with(|entries| {
            if let Some(Some(known)) = entries.known.get_mut(index) {
                known.sketch = Some(sketch);
            }
        });
    }

    /// Whether this process has used the bytes of the file at `index`.
    pub fn is_used(&self, index: usize) -> bool {
        self.with(|entries| entries.states[index] == State::Used)
    }

    /// Marks the known bytes of the file at `index` as used: from now on the file must not change.
    pub fn confirm(&self, index: usize) {
        self.with(|entries| {
            if entries.known(index).is_some() {
                entries.states[index] = State::Used;
            }
        });
    }

    /// Returns the content of the file at `index`. Calls `stamp` for its size and time at most once per process.
    pub fn content(&self, index: usize, stamp: impl FnOnce() -> Result<Stamp>) -> Content {
        let before = self.with(|entries| (entries.states[index], entries.content(index)));
        if before.0 != State::Untouched {
            return before.1;
        }
        let found = stamp();
        self.with(|entries| {
            if entries.states[index] == State::Untouched {
                let known = entries.known(index);
                entries.states[index] = match found {
                    Ok(stamp) => State::Seen { unchanged: known.is_some_and(|known| known.stamp == stamp) },
                    Err(_) => State::Missing,
                };
            }
            entries.content(index)
        })
    }

    /// Reads the file at `index`, whose path is `path`, and stores its digest.
    ///
    /// # Errors
    /// If it cannot be read, or its bytes differ from those that this process has used before.
    pub fn read(&self, index: usize, path: &Path) -> Result<Vec<u8>> {
        let read = || {
            let file = regular::open(path)?;
            let stamp = Stamp::of(&file.metadata()?);
            Ok((regular::read_open(&file, SizeLimit::IMAGE)?, stamp))
        };
        self.read_by(index, path, read)
    }

    /// Reads the file at `index` by calling `read`, and stores its digest; `path` is its path in messages.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub(super) fn read_by(
        &self,
        index: usize,
        path: &Path,
        read: impl FnOnce() -> std::io::Result<(Vec<u8>, Stamp)>,
    ) -> Result<Vec<u8>> {
        let (bytes, stamp) = read().with_context(|| format!("cannot read image {}", path.display()))?;
        if self.file_digest(index).is_some_and(|known| known.stamp == stamp) {
            self.with(|entries| entries.states[index] = State::Used);
            return Ok(bytes);
        }
        let digest = digest(&bytes);
        self.with(|entries| {
            if let (State::Used, Some(known)) = (entries.states[index], entries.known(index))
                && known.digest != digest
            {
                bail!(
                    "{}: the file changed while it was in use ({} bytes, then {}); start again when no other program writes to it",
                    path.display(),
                    known.stamp.bytes,
                    stamp.bytes
                )
            }
            entries.know(index, FileDigest { stamp, digest, sketch: None });
            entries.states[index] = State::Used;
            Ok(())
        })?;
        Ok(bytes)
    }
}

/// Returns size and modification time of the file at `path`.
///
/// # Errors
/// If the file does not exist.
pub fn stamp(path: &Path) -> Result<Stamp> {
    let metadata =
        std::fs::metadata(path).with_context(|| format!("cannot read image {}", path.display()))?;
    Ok(Stamp::of(&metadata))
}

fn digest(bytes: &[u8]) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_are_known_once_read_and_as_long_as_size_and_time_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let memory = DigestCache::new(1);
        assert_eq!(memory.content(0, || stamp(&path)), Content::Missing);

        fs::write(&path, b"abc").unwrap();
        let memory = DigestCache::new(1);
        assert_eq!(memory.content(0, || stamp(&path)), Content::Unread);
        assert_eq!(memory.read(0, &path).unwrap(), b"abc");
        // printf abc | b3sum
        let digest =
            [0x64, 0x37, 0xb3, 0xac, 0x38, 0x46, 0x51, 0x33, 0xff, 0xb6, 0x3b, 0x75, 0x27, 0x3a, 0x8d, 0xb5];
        assert_eq!(memory.content(0, || panic!("looked twice")), Content::Bytes(digest));

        // Another process needs only size and time, until the file changes.
        let known = memory.file_digest(0).unwrap();
        let later = DigestCache::new(1);
        later.remember(0, known);
        assert_eq!(later.content(0, || stamp(&path)), Content::Bytes(digest));
        fs::write(&path, b"abcd").unwrap();
        let later = DigestCache::new(1);
        later.remember(0, known);
        assert_eq!(later.content(0, || stamp(&path)), Content::Unread);
        later.read(0, &path).unwrap();
        assert_ne!(later.content(0, || panic!("looked twice")), Content::Bytes(digest));

        // Same length, but a later modification time: the bytes are read again.
        fs::write(&path, b"xyz").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
        let later = DigestCache::new(1);
        later.remember(0, known);
        assert_eq!(later.read(0, &path).unwrap(), b"xyz");
        assert_eq!(later.file_digest(0).unwrap().digest, super::digest(b"xyz"));
        fs::write(&path, b"abcd").unwrap();

        // A file must not change once this process has used it.
        let error = memory.read(0, &path).unwrap_err().to_string();
        assert!(error.contains("a.png: the file changed while it was in use (3 bytes, then 4)"), "{error}");
        // Rewriting the same bytes does not count as a change.
        fs::write(&path, b"abc").unwrap();
        assert_eq!(memory.read(0, &path).unwrap(), b"abc");
    }

    #[test]
    fn only_known_bytes_count_as_used() {
        let known = |byte| FileDigest {
            stamp: Stamp { bytes: 1, modified: 2 },
            digest: digest(&[byte]),
            sketch: None,
        };
        let memory = DigestCache::new(2);
        memory.remember(0, known(1));
        assert!(!memory.is_used(0), "known is not used");
        (0..2).for_each(|index| memory.confirm(index));
        assert!(memory.is_used(0) && !memory.is_used(1), "nothing is known of the second");
        // The knowledge of an earlier process does not replace bytes that this process has used.
        memory.remember(0, known(3));
        assert_eq!(memory.file_digest(0), Some(known(1)));
    }

    fn sketch() -> Sketch {
        let (format, pixels) = (crate::data::examine::Format::Jpeg, crate::data::examine::Pixels::Grey);
        Sketch { hash: [7; 32], width: 5, height: 3, format, pixels, turned: true, bits: 12 }
    }

    #[test]
    fn a_sketch_is_kept_until_the_bytes_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, b"abc").unwrap();
        let memory = DigestCache::new(3);
        memory.set_sketch(1, sketch());
        assert_eq!(memory.file_digest(1), None, "nothing is known that it could be a sketch of");
        memory.read(1, &path).unwrap();
        memory.set_sketch(1, sketch());
        memory.set_sketch(2, sketch());
        let known = memory.file_digest(1).unwrap();
        assert_eq!(
            (known.sketch, memory.file_digest(0), memory.file_digest(2)),
            (Some(sketch()), None, None)
        );
        let later = DigestCache::new(3);
        later.remember(1, known);
        later.read(1, &path).unwrap();
        assert_eq!(later.file_digest(1), Some(known), "the same bytes");
        fs::write(&path, b"abcd").unwrap();
        let later = DigestCache::new(3);
        later.remember(1, known);
        later.read(1, &path).unwrap();
        assert_eq!(later.file_digest(1).unwrap().sketch, None);
    }

    #[test]
    fn a_stamp_is_size_and_time_in_nanoseconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, b"abcde").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::new(1_234_567, 89_000_000)).unwrap();
        let modified = 1_234_567_089_000_000;
        assert_eq!(stamp(&path).unwrap(), Stamp { bytes: 5, modified });
        assert_eq!(Stamp::for_archive_member(&file.metadata().unwrap(), 77), Stamp { bytes: 77, modified });
        let memory = DigestCache::new(1);
        memory.read(0, &path).unwrap();
        assert_eq!(memory.file_digest(0).unwrap().stamp, Stamp { bytes: 5, modified });
        let error = stamp(&folder.path().join("b.png")).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read image {}", folder.path().join("b.png").display()));
    }

    /// What an earlier process knew is trusted only after size and time of the file were checked.
    #[test]
    fn a_look_decides_whether_what_was_known_holds() {
        let known = FileDigest { stamp: Stamp { bytes: 1, modified: 2 }, digest: digest(b"x"), sketch: None };
        let after = |found: Result<Stamp>| {
            let memory = DigestCache::new(2);
            memory.remember(1, known);
            let seen = memory.content(1, || found);
            assert_eq!(memory.content(1, || panic!("looked twice")), seen);
            assert!(!memory.is_used(1));
            seen
        };
        assert_eq!(after(Ok(known.stamp)), Content::Bytes(known.digest));
        assert_eq!(after(Ok(Stamp { bytes: 3, ..known.stamp })), Content::Unread);
        assert_eq!(after(Ok(Stamp { modified: 3, ..known.stamp })), Content::Unread);
        assert_eq!(after(Err(anyhow::anyhow!("gone"))), Content::Missing);
    }

    /// Bytes that an earlier process knew count as used once this one has read them, and must not change from then on.
    #[test]
    fn known_bytes_are_used_once_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, b"abc").unwrap();
        let earlier = DigestCache::new(1);
        earlier.read(0, &path).unwrap();
        let known = earlier.file_digest(0).unwrap();
        let later = DigestCache::new(2);
        later.remember(1, known);
        assert!(!later.is_used(1));
        later.read(1, &path).unwrap();
        assert!(later.is_used(1) && !later.is_used(0));
        assert_eq!(later.content(1, || panic!("looked at again")), Content::Bytes(known.digest));
        fs::write(&path, b"abcde").unwrap();
        let error = later.read(1, &path).unwrap_err().to_string();
        assert!(error.contains("the file changed while it was in use (3 bytes, then 5)"), "{error}");
    }

    /// With another number of bits in use, a picture is sketched anew.
    #[test]
    fn a_later_sketch_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, b"abc").unwrap();
        let memory = DigestCache::new(2);
        memory.read(1, &path).unwrap();
        let later = Sketch { bits: 14, hash: [8; 32], ..sketch() };
        for sketch in [sketch(), later, sketch()] {
            memory.set_sketch(1, sketch);
            assert_eq!(memory.file_digest(1).unwrap().sketch, Some(sketch));
        }
    }
}
