//! Reads whole files: regular ones only, up to a maximum size for each kind of file.
//!
//! Reading a named pipe would block, a device never ends, and an oversized file would exhaust memory. Therefore the
//! type of a file is checked before it is opened, and its size before it is read.

use std::{
    fs::{self, File, FileType},
    io::{Error, ErrorKind, Read, Result},
    path::Path,
};

/// Size limit of a kind of file.
#[derive(Clone, Copy, Debug)]
pub struct SizeLimit {
    bytes: u64,
    what: &'static str,
    advice: &'static str,
}

const MIB: u64 = 1 << 20;

/// Maximum size of an image file, and maximum memory for decoding a picture: 2^28 pixels of 4 bytes. Ours: about
/// 16,000 pixels squared, more than cameras in the field have.
pub const IMAGE_BYTES: u64 = 4 << 28;

impl SizeLimit {
    /// Limit for images.
    pub const IMAGE: Self =
        Self { bytes: IMAGE_BYTES, what: "an image", advice: "scale it down, or cut it into tiles" };
    /// Limit for tables of images: five times the 100 MB of Sewer-ML's 1.3 million rows.
    pub const TABLE: Self =
        Self { bytes: 512 * MIB, what: "a table", advice: "leave out columns that are not needed" };
    /// Limit for records and other JSON of a results folder; parsing takes about twenty times as much memory. The
    /// longest record has less than 1 MB.
    pub const RECORD: Self = Self {
        bytes: 64 * MIB,
        what: "a record",
        advice: "this file is not a record; move it out of the results folder",
    };
    /// Limit for weights, detectors and bundles: a ViT-L has 1.2 GB in f32.
    pub const WEIGHTS: Self = Self {
        bytes: 4096 * MIB,
        what: "a file of weights",
        advice: "use a supported network; `--help` of --init lists them",
    };
    /// Limit for checkpoints: weights, and the optimiser's state for each.
    pub const CHECKPOINT: Self = Self {
        bytes: 4 * Self::WEIGHTS.bytes,
        what: "a checkpoint",
        advice: "this file is not a checkpoint; move it away, and the cell starts from scratch",
    };
    /// Limit for documents into which tables are inserted.
    pub const DOCUMENT: Self =
        Self { bytes: 64 * MIB, what: "a document", advice: "give the Markdown file that has the tables" };
}

/// Names a type of file other than a regular file.
fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

/// Opens a regular file, or the regular file that a link leads to.
///
/// # Errors
/// If the file does not exist, or is a pipe, a device, a socket or a folder; these are not opened.
pub fn open(path: &Path) -> Result<File> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let found = kind(metadata.file_type());
        let message = format!("expected a regular file, found {found}; write its content to a file first");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    File::open(path)
}

/// Reads a whole file of a kind.
///
/// # Errors
/// Those of [`open`], or if the file exceeds the limit of its kind.
pub fn read(path: &Path, most: SizeLimit) -> Result<Vec<u8>> {
    read_open(&open(path)?, most)
}

/// Reads the whole content of an open file of a kind.
///
/// # Errors
/// Those of [`read`].
pub fn read_open(file: &File, most: SizeLimit) -> Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    let refuse = |bytes: u64| {
        let SizeLimit { bytes: limit, what, advice } = most;
        let found = bytes.div_ceil(MIB);
        let limit = limit / MIB;
        let message = format!("too large: {found} MiB; {what} may have at most {limit} MiB: {advice}");
        Err(Error::new(ErrorKind::FileTooLarge, message))
    };
    if bytes > most.bytes {
        return refuse(bytes);
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // The file may grow meanwhile, and some files state no size (those below /proc).
    let mut rest = file.take(most.bytes + 1);
    rest.read_to_end(&mut content)?;
    if content.len() as u64 > most.bytes { refuse(content.len() as u64) } else { Ok(content) }
}

/// Reads a whole text file of a kind.
///
/// # Errors
/// Those of [`read`], or if it is not UTF-8.
pub fn read_text(path: &Path, most: SizeLimit) -> Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: SizeLimit = SizeLimit { bytes: MIB, what: "a trifle", advice: "take less" };

    #[test]
    fn what_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        file.set_len(MIB).unwrap();
        assert_eq!(read(&path, FEW).unwrap().len() as u64, MIB);
        // A sparse file: it takes no space on disk and must take none in memory.
        file.set_len(1 << 40).unwrap();
        let error = read(&path, FEW).unwrap_err();
        assert_eq!(error.to_string(), "too large: 1048576 MiB; a trifle may have at most 1 MiB: take less");
        assert_eq!(read_text(Path::new("no such file"), FEW).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_folders_are_refused_unopened() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link, to_zero] = ["pipe", "link", "zero"].map(|name| folder.path().join(name));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &to_zero).unwrap();
        for (path, found) in [
            (pipe.as_path(), "a named pipe"),
            (&link, "a named pipe"),
            (&to_zero, "a device"),
            (folder.path(), "a folder"),
        ] {
            let error = read(path, FEW).unwrap_err().to_string();
            assert!(error.starts_with(&format!("expected a regular file, found {found};")), "{error}");
        }
    }

    /// A file one byte above the limit of its kind; it is sparse and takes no space on disk.
    #[test]
    fn every_kind_of_file_has_its_limit_and_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (most, mib, told) in [
            (
                SizeLimit::IMAGE,
                1024,
                "an image may have at most 1024 MiB: scale it down, or cut it into tiles",
            ),
            (
                SizeLimit::TABLE,
                512,
                "a table may have at most 512 MiB: leave out columns that are not needed",
            ),
            (
                SizeLimit::RECORD,
                64,
                "a record may have at most 64 MiB: this file is not a record; move it out of the results folder",
            ),
            (
                SizeLimit::WEIGHTS,
                4096,
                "a file of weights may have at most 4096 MiB: use a supported network; `--help` of --init lists them",
            ),
            (
                SizeLimit::CHECKPOINT,
                16384,
                "a checkpoint may have at most 16384 MiB: this file is not a checkpoint; move it away, and the cell starts from scratch",
            ),
            (
                SizeLimit::DOCUMENT,
                64,
                "a document may have at most 64 MiB: give the Markdown file that has the tables",
            ),
        ] {
            File::create(&path).unwrap().set_len((mib << 20) + 1).unwrap();
            let error = read(&path, most).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("too large: {} MiB; {told}", mib + 1));
        }
    }

    #[test]
    fn text_is_utf_8() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "\u{f6}1").unwrap();
        assert_eq!(read_text(&path, FEW).unwrap(), "\u{f6}1");
        fs::write(&path, [b'a', 0xff]).unwrap();
        assert_eq!(read_text(&path, FEW).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    /// Files below /proc report a size of 0 bytes.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_states_no_size_is_read_whole() {
        assert!(!read(Path::new("/proc/self/status"), FEW).unwrap().is_empty());
        let little = SizeLimit { bytes: 10, ..FEW };
        assert_eq!(read(Path::new("/proc/self/status"), little).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = read(&path, FEW).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "expected a regular file, found a socket; write its content to a file first"
        );
    }
}
