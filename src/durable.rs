//! Atomic file writes: after a crash or a power cut a file is either complete or absent.
//!
//! The bytes are written to a temporary file in the same folder and synced to disk. The temporary file is then
//! renamed to its final name, and the folder, which holds that name, is synced as well. A later reader finds either
//! the new file or the earlier one. While it is being written, the temporary file holds an operating-system lock,
//! which is released when its process ends: an unlocked temporary file was left by a process that has died.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

/// Prefix of the names of temporary files. No other program uses it, so leftovers of dead processes can be removed
/// safely.
const PREFIX: &str = ".tmp-skewbench-";

/// Writes a file atomically, replacing an earlier one; creates missing folders. Temporary files that dead processes
/// left beside it are removed.
///
/// # Errors
/// If the file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    clean(folder_of(path));
    write(path, bytes, IfExists::Replace).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Like [`write_whole`], but takes the bytes from a callback that writes them piece by piece: for large files.
///
/// # Errors
/// As for [`write_whole`], and any error of `write`.
pub fn write_by(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    clean(folder_of(path));
    let mut said = Ok(());
    let written = put(path, IfExists::Replace, |file| {
        let mut file = io::BufWriter::new(file);
        said = write(&mut file);
        match &said {
            Ok(()) => file.flush(),
            // Return an error, so that no earlier file is replaced.
            Err(_) => Err(ErrorKind::Other.into()),
        }
    });
    said.and(written.map_err(anyhow::Error::from))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// Like [`write_whole`], but never replaces a file.
///
/// # Errors
/// If the file cannot be written, or already exists.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    clean(folder_of(path));
    match write(path, bytes, IfExists::Fail) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{}: already exists; --overwrite replaces it", path.display())
        }
        written => written.with_context(|| format!("{}: cannot be written", path.display())),
    }
}

/// What may already exist at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// Another file, which is replaced.
    Replace,
    /// No file of that name.
    Fail,
}

/// Writes a file, and creates the folders that it lies in if they are missing.
///
/// # Errors
/// If the file cannot be written, or a file exists that must not be replaced. An earlier file is left unchanged.
pub(crate) fn write(path: &Path, bytes: &[u8], before: IfExists) -> io::Result<()> {
    put(path, before, |file| file.write_all(bytes))
}

/// Like [`write()`], but takes the bytes from a callback.
fn put(path: &Path, before: IfExists, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    match fs::metadata(path) {
        // A pipe, or a device such as /dev/stdout: it is written to directly, because renaming would replace it.
        Ok(there) if !there.is_file() && !there.is_dir() => {
            return write(&mut File::options().write(true).open(path)?);
        }
        _ => {}
    }
    // Follow a symbolic link, so that it stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(path);
    make(folder)?;
    let mut file = temporary(folder)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    match before {
        IfExists::Replace => file.persist(path),
        IfExists::Fail => file.persist_noclobber(path),
    }
    .map_err(|error| error.error)?;
    sync(folder)
}

/// Renames a file, replacing an earlier one.
///
/// # Errors
/// If the file cannot be renamed.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(folder_of(to))
}

/// Removes the temporary files that dead processes left in a folder. Files that cannot be locked or removed stay.
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

/// Creates and locks a temporary file, with the permissions that the user's umask allows.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // By default `tempfile` makes the file private to the user.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            Ok(()) if is_at(file.as_file(), file.path()) => return Ok(file),
            // Between creation and locking, another process's clean-up may have taken the file for a leftover.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // Some network file systems have no locks; there is no clean-up there either.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Creates a folder and its missing parents.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    make(parent)?;
    match fs::create_dir(folder) {
        // Another process may have created the folder first. If the path is not a folder, writing to it will fail
        // and say so.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

/// Returns the folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Syncs a folder, and so the names in it, to disk.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems cannot sync folders, and some folders are writable but not readable: sync where it is
        // possible.
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

/// Folders cannot be opened for syncing on this platform.
#[cfg(not(unix))]
fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns whether `path` still names `file`: another process may have removed it between opening and locking.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let node = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    node(file.metadata()).is_some_and(|locked| node(fs::metadata(path)) == Some(locked))
}

/// An open file cannot be removed on this platform.
#[cfg(not(unix))]
pub(crate) fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Returns an unused name beside `path`: `x.json-torn`, `x.json-torn-2`, ...
pub(crate) fn unused_name(path: &Path, ending: &str) -> PathBuf {
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
        write(&path, b"one", IfExists::Fail).unwrap();
        assert_eq!(write(&path, b"two", IfExists::Fail).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"three", IfExists::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        let folder = path.join("d");
        assert!(write(&folder, b"below a file", IfExists::Replace).is_err());
        assert!(write(path.parent().unwrap(), b"over a folder", IfExists::Replace).is_err());
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
        write(&link, b"new", IfExists::Replace).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        write(Path::new("/dev/null"), b"nothing", IfExists::Replace).unwrap();
        write_new(Path::new("/dev/null"), b"nothing").unwrap();
        write_whole(Path::new("/dev/null"), b"nothing").unwrap();
        write_by(Path::new("/dev/null"), &mut |file| Ok(file.write_all(b"nothing")?)).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    /// Two processes may write the same file at the same time; only the first to finish may, whoever looked first.
    #[test]
    fn a_file_that_appears_while_another_is_written_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let writing = |file: &mut File| {
            fs::write(&path, "first")?;
            file.write_all(b"second")
        };
        let error = put(&path, IfExists::Fail, writing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(root.path()), ["a"]);
        put(&path, IfExists::Replace, writing).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
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
                        write(&path, format!("{round}").as_bytes(), IfExists::Replace).unwrap();
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
            let aside = unused_name(&path, "torn");
            assert_eq!(aside, root.path().join(expected));
            fs::write(aside, "").unwrap();
        }
    }

    /// Leaves a temporary file as if its process had died.
    fn leftover(folder: &Path) -> PathBuf {
        let (dead, path) = temporary(folder).unwrap().keep().unwrap();
        drop(dead);
        assert!(path.file_name().unwrap().to_string_lossy().starts_with(".tmp-skewbench-"));
        path
    }

    #[test]
    fn every_way_to_write_says_what_failed_and_clears_leftovers() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.json");
        let left = leftover(root.path());
        write_new(&path, b"new").unwrap();
        assert!(!left.exists());
        let error = write_new(&path, b"again").unwrap_err().to_string();
        assert_eq!(error, format!("{}: already exists; --overwrite replaces it", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let left = leftover(root.path());
        write_whole(&path, b"whole").unwrap();
        assert!(!left.exists() && fs::read(&path).unwrap() == b"whole");
        let left = leftover(root.path());
        write_by(&path, &mut |file| {
            Ok(["by ", "and "].iter().try_for_each(|part| file.write_all(part.as_bytes()))?)
        })
        .unwrap();
        assert!(!left.exists() && fs::read(&path).unwrap() == b"by and ");

        let below = path.join("y");
        for error in [
            write_new(&below, b"").unwrap_err(),
            write_whole(&below, b"").unwrap_err(),
            write_by(&below, &mut |_| Ok(())).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), format!("{}: cannot be written", below.display()));
        }
    }

    #[test]
    fn what_fails_half_way_leaves_the_earlier_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.json");
        fs::write(&path, "earlier").unwrap();
        let error = write_by(&path, &mut |file| {
            file.write_all(b"half")?;
            bail!("the source has ended")
        })
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("{}: cannot be written: the source has ended", path.display())
        );
        assert_eq!(fs::read(&path).unwrap(), b"earlier");
        assert_eq!(names(root.path()), ["x.json"]);
    }

    /// What is buffered may fail only at the end.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_noticed_by_every_way_to_write() {
        let full = Path::new("/dev/full");
        for error in [
            write_by(full, &mut |file| Ok(file.write_all(b"a few bytes")?)).unwrap_err(),
            write_whole(full, b"a few bytes").unwrap_err(),
            write_new(full, b"a few bytes").unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "/dev/full: cannot be written");
            let cause = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
            assert_eq!(cause, Some(ErrorKind::StorageFull), "{error:#}");
        }
    }

    #[test]
    fn a_file_renamed_replaces_the_one_there() {
        let root = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| root.path().join(name));
        fs::write(&from, "one").unwrap();
        fs::write(&to, "two").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!((names(root.path()), fs::read(&to).unwrap()), (vec!["to".to_owned()], b"one".to_vec()));
        assert_eq!(rename(&from, &to).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            ["a", "b/a", "/a", "b/c/a"].map(|path| folder_of(Path::new(path))),
            [".", "b", "/", "b/c"].map(Path::new)
        );
    }

    /// A written file has the same permissions as any other file of the user.
    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let [here, usual] = ["here", "usual"].map(|name| root.path().join(name));
        write(&here, b"", IfExists::Replace).unwrap();
        File::create(&usual).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&here), mode(&usual));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path));
        fs::write(&path, "").unwrap();
        assert!(!is_at(&file, &path), "another of the same name");
        // A dangling link occupies its name, too.
        std::os::unix::fs::symlink("/nowhere", root.path().join("a-torn")).unwrap();
        assert_eq!(unused_name(&path, "torn"), root.path().join("a-torn-2"));
    }

    /// A link to a file elsewhere is followed: that file is replaced, and its folder gets the temporary one.
    #[cfg(unix)]
    #[test]
    fn what_a_link_names_is_replaced_where_it_lies() {
        let root = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| root.path().join(name));
        for folder in [&here, &there] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(there.join("file"), "old").unwrap();
        std::os::unix::fs::symlink(there.join("file"), here.join("link")).unwrap();
        let error = write_new(&here.join("link"), b"new").unwrap_err().to_string();
        assert!(error.ends_with("link: already exists; --overwrite replaces it"), "{error}");
        write_by(&here.join("link"), &mut |file| {
            assert_eq!(names(&there).len(), 2, "the temporary file lies beside the file");
            Ok(file.write_all(b"new")?)
        })
        .unwrap();
        assert_eq!(fs::read(there.join("file")).unwrap(), b"new");
        assert_eq!((names(&here), names(&there)), (vec!["link".to_owned()], vec!["file".to_owned()]));
        // A pipe is written to, and stays a pipe.
        let pipe = root.path().join("pipe");
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read(pipe).unwrap()
            });
            write_whole(&pipe, b"through").unwrap();
            assert_eq!(reader.join().unwrap(), b"through");
            assert!(!fs::metadata(&pipe).unwrap().is_file());
        }
    }
}
