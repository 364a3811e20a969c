//! What is known of the bytes of image files, without reading any of them twice.
//!
//! A file's bytes are digested when they are read for training anyway. The digest is remembered by the file's
//! size and time of change, so that a later look at the two says whether the file is still the same. Once its
//! bytes have been used, a file must not change as long as the process runs.

use std::{
    fs::Metadata,
    path::Path,
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail};

use super::{
    examine::sketch::Sketch,
    regular::{self, Most},
};

/// The first 16 bytes of a file's BLAKE3.
pub type Digest = [u8; 16];

/// What a look at an image file says of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is no such file.
    Missing,
    /// There is one; its bytes have not been read, or not since it changed.
    Unread,
    /// They have been read, and this is their digest.
    Bytes(Digest),
}

/// A file's digest, and its size and time of change when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of the file when its digest was taken.
    pub stamp: Stamp,
    /// Of all its bytes.
    pub digest: Digest,
    /// What its picture is like, once it has been seen.
    pub sketch: Option<Sketch>,
}

/// What shows cheaply whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length of the file.
    pub bytes: u64,
    /// Nanoseconds since 1970, as far as the file system keeps them.
    pub modified: i64,
}

impl Stamp {
    /// Of a part of a file that has this many bytes.
    pub(super) fn of_part(metadata: &Metadata, bytes: u64) -> Self {
        Self { bytes, ..Self::of(metadata) }
    }

    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|elapsed| i64::try_from(elapsed.as_nanos()).ok());
        Self { bytes: metadata.len(), modified: modified.unwrap_or(0) }
    }
}

/// What a process knows of the files of one data set, by position.
pub struct Memory(Mutex<Entries>);

struct Entries {
    states: Vec<State>,
    /// As many, once anything is known of a file: of a million files that nobody has read it would be 100 MB of nothing.
    known: Vec<Option<Known>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// Nobody has looked at the file yet.
    #[default]
    Untouched,
    Missing,
    /// The file is there; whether its stamp is the known one.
    Seen {
        unchanged: bool,
    },
    /// This process has used the bytes.
    Used,
}

impl Entries {
    fn known(&self, index: usize) -> Option<Known> {
        self.known.get(index).copied().flatten()
    }

    fn know(&mut self, index: usize, known: Known) {
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

impl Memory {
    /// Nothing is known yet of `files` files.
    pub fn new(files: usize) -> Self {
        Self(Mutex::new(Entries { states: vec![State::default(); files], known: Vec::new() }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entries) -> T) -> T {
        // Entries are plain values: no panic can leave one half written.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an earlier process knew of the file at `index`; a later look says whether it still holds.
    pub fn remember(&self, index: usize, known: Known) {
        self.with(|entries| {
            if entries.states[index] != State::Used {
                entries.know(index, known);
                entries.states[index] = State::Untouched;
            }
        });
    }

    /// What is known of the file at `index`, if its bytes were ever read.
    pub fn known(&self, index: usize) -> Option<Known> {
        self.with(|entries| entries.known(index))
    }

    /// Adds what the picture of the file at `index` is like, whose bytes are known.
    pub fn draw(&self, index: usize, sketch: Sketch) {
        self.with(|entries| {
            if let Some(Some(known)) = entries.known.get_mut(index) {
                known.sketch = Some(sketch);
            }
        });
    }

    /// Whether this process has used the bytes of the file at `index`.
    pub fn used(&self, index: usize) -> bool {
        self.with(|entries| entries.states[index] == State::Used)
    }

    /// Counts the known bytes of the file at `index` as used: from now on it must not change.
    pub fn confirm(&self, index: usize) {
        self.with(|entries| {
            if entries.known(index).is_some() {
                entries.states[index] = State::Used;
            }
        });
    }

    /// The content of the file at `index`; looks at its size and time once in a process, through `stamp`.
    pub fn look(&self, index: usize, stamp: impl FnOnce() -> Result<Stamp>) -> Content {
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

    /// Reads the file at `index`, whose path is `path`, and notes its content.
    ///
    /// # Errors
    /// If it cannot be read, or its bytes are others than this process has used before.
    pub fn read(&self, index: usize, path: &Path) -> Result<Vec<u8>> {
        let read = || {
            let file = regular::open(path)?;
            let stamp = Stamp::of(&file.metadata()?);
            Ok((regular::read_open(&file, Most::IMAGE)?, stamp))
        };
        self.read_by(index, path, read)
    }

    /// Reads the file at `index`, which people find at `path`, by `read`, and notes its content.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn read_by(
        &self,
        index: usize,
        path: &Path,
        read: impl FnOnce() -> std::io::Result<(Vec<u8>, Stamp)>,
    ) -> Result<Vec<u8>> {
        let (bytes, stamp) = read().with_context(|| format!("cannot read image {}", path.display()))?;
        if self.known(index).is_some_and(|known| known.stamp == stamp) {
            self.with(|entries| entries.states[index] = State::Used);
            return Ok(bytes);
        }
        let digest = digest(&bytes);
        self.with(|entries| {
            if let (State::Used, Some(known)) = (entries.states[index], entries.known(index))
                && known.digest != digest
            {
                bail!(
                    "{}: the file changed while it was in use ({} bytes, then {}); start again when nobody writes there",
                    path.display(),
                    known.stamp.bytes,
                    stamp.bytes
                )
            }
            entries.know(index, Known { stamp, digest, sketch: None });
            entries.states[index] = State::Used;
            Ok(())
        })?;
        Ok(bytes)
    }
}

/// Size and time of the file at `path`.
///
/// # Errors
/// If there is no such file.
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
        let memory = Memory::new(1);
        assert_eq!(memory.look(0, || stamp(&path)), Content::Missing);

        fs::write(&path, b"abc").unwrap();
        let memory = Memory::new(1);
        assert_eq!(memory.look(0, || stamp(&path)), Content::Unread);
        assert_eq!(memory.read(0, &path).unwrap(), b"abc");
        // printf abc | b3sum
        let digest =
            [0x64, 0x37, 0xb3, 0xac, 0x38, 0x46, 0x51, 0x33, 0xff, 0xb6, 0x3b, 0x75, 0x27, 0x3a, 0x8d, 0xb5];
        assert_eq!(memory.look(0, || panic!("looked twice")), Content::Bytes(digest));

        // Another process: a look is enough, until the file changes.
        let known = memory.known(0).unwrap();
        let later = Memory::new(1);
        later.remember(0, known);
        assert_eq!(later.look(0, || stamp(&path)), Content::Bytes(digest));
        fs::write(&path, b"abcd").unwrap();
        let later = Memory::new(1);
        later.remember(0, known);
        assert_eq!(later.look(0, || stamp(&path)), Content::Unread);
        later.read(0, &path).unwrap();
        assert_ne!(later.look(0, || panic!("looked twice")), Content::Bytes(digest));

        // As many bytes, but written later: they are read as what they are now.
        fs::write(&path, b"xyz").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
        let later = Memory::new(1);
        later.remember(0, known);
        assert_eq!(later.read(0, &path).unwrap(), b"xyz");
        assert_eq!(later.known(0).unwrap().digest, super::digest(b"xyz"));
        fs::write(&path, b"abcd").unwrap();

        // Under a process that has used it, a file must stay.
        let error = memory.read(0, &path).unwrap_err().to_string();
        assert!(error.contains("a.png: the file changed while it was in use (3 bytes, then 4)"), "{error}");
        // Written again with the same bytes, it has not changed.
        fs::write(&path, b"abc").unwrap();
        assert_eq!(memory.read(0, &path).unwrap(), b"abc");
    }

    #[test]
    fn only_known_bytes_count_as_used() {
        let known =
            |byte| Known { stamp: Stamp { bytes: 1, modified: 2 }, digest: digest(&[byte]), sketch: None };
        let memory = Memory::new(2);
        memory.remember(0, known(1));
        assert!(!memory.used(0), "known is not used");
        (0..2).for_each(|index| memory.confirm(index));
        assert!(memory.used(0) && !memory.used(1), "nothing is known of the second");
        // What is used is what it was when it was used.
        memory.remember(0, known(3));
        assert_eq!(memory.known(0), Some(known(1)));
    }
}
