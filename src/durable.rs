//! Files that are there whole or not at all, after a power cut too.
//!
//! Bytes go into a file of another name in the same folder, and from there to the disk. Then the file gets its name, and
//! the folder, which holds the name, goes to the disk as well. Who comes after that finds the file, or one that was there
//! before. While it is written, the system's lock is on it, which ends with its process: a file under such a name that
//! nobody has locked was left by a process that is dead.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

/// Names of files that are being written begin so. Nobody else's do, so what is dead can be removed.
const PREFIX: &str = ".tmp-skewbench-";

/// Writes a file whole or not at all, over an earlier one; folders that are missing are made. What dead processes were
/// writing beside it is removed.
///
/// # Errors
/// If it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    clean(folder_of(path));
    write(path, bytes, Before::Anything).with_context(|| format!("{}: cannot be written", path.display()))
}

/// As [`write_whole`], of what `write` writes, little by little: for what is large.
///
/// # Errors
/// As there, and those of `write`.
pub fn write_by(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    clean(folder_of(path));
    let mut said = Ok(());
    let written = put(path, Before::Anything, |file| {
        let mut file = io::BufWriter::new(file);
        said = write(&mut file);
        match &said {
            Ok(()) => file.flush(),
            // Nothing is put in place of an earlier file.
            Err(_) => Err(ErrorKind::Other.into()),
        }
    });
    said.and(written.map_err(anyhow::Error::from))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// As [`write_whole`], but never over a file.
///
/// # Errors
/// If it cannot be written, or one is there.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    clean(folder_of(path));
    match write(path, bytes, Before::Nothing) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{}: is there already; --overwrite writes over it", path.display())
        }
        written => written.with_context(|| format!("{}: cannot be written", path.display())),
    }
}

/// What may be there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Another file, which is replaced.
    Anything,
    /// No file of that name.
    Nothing,
}

/// Writes a file, and the folders that it lies in where they are missing.
///
/// # Errors
/// If it cannot be written, or a file is there that may not be. An earlier one is then as it was.
pub(crate) fn write(path: &Path, bytes: &[u8], before: Before) -> io::Result<()> {
    put(path, before, |file| file.write_all(bytes))
}

/// As [`write`], of what `write` writes.
fn put(path: &Path, before: Before, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    match fs::metadata(path) {
        // A pipe, or a device such as /dev/stdout: what counts is what comes out of it, not its name.
        Ok(there) if !there.is_file() && !there.is_dir() => {
            return write(&mut File::options().write(true).open(path)?);
        }
        _ => {}
    }
    // A link stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(path);
    make(folder)?;
    let mut file = temporary(folder)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    match before {
        Before::Anything => file.persist(path),
        Before::Nothing => file.persist_noclobber(path),
    }
    .map_err(|error| error.error)?;
    sync(folder)
}

/// Gives a file another name, over an earlier one.
///
/// # Errors
/// If it cannot be renamed.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(folder_of(to))
}

/// Removes what dead processes left in a folder. What cannot be removed, or be locked, stays.
pub(crate) fn clean(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        if file.try_lock().is_ok() && is_at(&file, &path) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// A locked file to be renamed; others may read it as far as the user's umask lets them.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // `tempfile` would make it private to the user.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            Ok(()) if is_at(file.as_file(), file.path()) => return Ok(file),
            // Between making and locking it a process that cleans took it for a dead one's.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // Some network file systems have no locks; there nothing is cleaned either.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Makes a folder and those that it lies in, where they are missing.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    make(parent)?;
    match fs::create_dir(folder) {
        // Another process was faster; or it is no folder, which whoever writes there is told.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Brings the names in a folder to the disk.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems cannot do that, and some folders may be written to and not be read: what can be done is done.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Folders cannot be opened here.
#[cfg(not(unix))]
fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether `path` still names `file`: another process may have removed it between opening and locking.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let node = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    node(file.metadata()).is_some_and(|locked| node(fs::metadata(path)) == Some(locked))
}

/// An open file cannot be removed here.
#[cfg(not(unix))]
pub(crate) fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// A name beside `path` that nothing has: `x.json-torn`, `x.json-torn-2`, ...
pub(crate) fn aside(path: &Path, ending: &str) -> PathBuf {
    let named = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{ending}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let mut number = 1;
    while fs::symlink_metadata(named(number)).is_ok() {
        number += 1;
    }
    named(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_whole_over_another_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c.txt");
        write(&path, b"one", Before::Nothing).unwrap();
        assert_eq!(write(&path, b"two", Before::Nothing).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"three", Before::Anything).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        let folder = path.join("d");
        assert!(write(&folder, b"below a file", Before::Anything).is_err());
        assert!(write(path.parent().unwrap(), b"over a folder", Before::Anything).is_err());
        assert_eq!(names(path.parent().unwrap()), ["c.txt"], "no temporary file is left behind");
        assert_eq!(names(&root.path().join("a")), ["b"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let root = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "file"].map(|name| root.path().join(name));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new", Before::Anything).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        write(Path::new("/dev/null"), b"nothing", Before::Anything).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn only_what_dead_processes_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let living = temporary(root.path()).unwrap();
        let (dead, path) = temporary(root.path()).unwrap().keep().unwrap();
        drop(dead);
        fs::write(root.path().join(".tmp-foreign"), "").unwrap();
        clean(root.path());
        assert!(living.path().exists() && !path.exists());
        assert_eq!(names(root.path()).len(), 2);
    }

    #[test]
    fn those_who_write_and_those_who_clean_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let path = |number: usize| root.path().join(format!("{number}"));
        std::thread::scope(|scope| {
            for number in 0..3 {
                let path = path(number);
                scope.spawn(move || {
                    (0..100).for_each(|round| {
                        write(&path, format!("{round}").as_bytes(), Before::Anything).unwrap();
                    });
                });
            }
            scope.spawn(|| (0..2_000).for_each(|_| clean(root.path())));
        });
        assert_eq!(names(root.path()), ["0", "1", "2"]);
        assert!((0..3).all(|number| fs::read(path(number)).unwrap() == b"99"));
    }

    #[test]
    fn what_is_put_aside_takes_no_name_of_another() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.json");
        for expected in ["x.json-torn", "x.json-torn-2", "x.json-torn-3"] {
            let aside = aside(&path, "torn");
            assert_eq!(aside, root.path().join(expected));
            fs::write(aside, "").unwrap();
        }
    }
}
