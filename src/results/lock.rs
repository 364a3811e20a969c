//! Locks on cells. The operating system releases them however their holder ends.
//!
//! Two processes on one folder share its cells: one that finds a cell locked takes the next. The file contains its
//! holder's progress, for people and for `cargo xtask status`; what counts is the system's lock on it, not the
//! file. A holder that has finished removes the file, so a lock counts only while its path still names the file
//! that was locked.
//!
//! Several machines need a file system on which `flock` works across all of them: NFS 4, Lustre mounted with
//! `flock`, GPFS, CephFS, GlusterFS. Local disks and GlusterFS 10 were tested, the latter by two mounts of one
//! volume, as on two machines: of 20 cells one process trained 11 and the other 9. On sshfs, also tested, two
//! mounts can lock one file at the same time without an error: cells were trained twice. `cargo xtask doctor`
//! recognises some file systems of that kind and says so. NFS could not be tested. If a lock works on one machine
//! only, or not at all, no number is lost or mixed: a record is never overwritten, and files are written
//! atomically. But a cell may be trained twice, unless each machine has cells of its own (`--part K/N`).

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::durable::is_at;

/// Exclusive access to a cell while this value lives.
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Locks the cell whose lock file is at `path`; `None` if another process holds it.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(super) fn acquire(path: &Path) -> Result<Option<Self>> {
        let open = || -> std::io::Result<Option<File>> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            loop {
                let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
                match file.try_lock() {
                    Ok(()) if !is_at(&file, path) => {}
                    Ok(()) => return Ok(Some(file)),
                    Err(TryLockError::WouldBlock) => return Ok(None),
                    // Some network file systems have no locks: working without locks is better than not working at all.
                    Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                        return Ok(Some(file));
                    }
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        let file = open().with_context(|| format!("{}: cannot lock the cell", path.display()))?;
        Ok(file.map(|file| Self { path: path.to_owned(), file }))
    }

    /// Writes the progress of the work into the file, one `name = value` per line.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_progress(&mut self, text: &str) -> Result<()> {
        let write = |file: &mut File| -> std::io::Result<()> {
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        write(&mut self.file).with_context(|| format!("{}: cannot be written", self.path.display()))
    }

    /// Releases the lock and removes its file.
    pub(super) fn finish(self) {
        // A file that stays is harmless: its lock is free.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the text of the lock file at `path`, and whether somebody holds the lock; `None` without a file.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read_progress(path: &Path) -> Result<Option<(String, bool)>> {
    let read = || -> std::io::Result<(String, bool)> {
        let mut file = File::open(path)?;
        let held = match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ => {
                file.unlock()?;
                false
            }
        };
        let mut bytes = Vec::new();
        // On Windows, a locked file cannot be read by others.
        let read = file.read_to_end(&mut bytes).map(|_| ());
        if !held {
            read?;
        }
        Ok((String::from_utf8_lossy(&bytes).into_owned(), held))
    };
    match read() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn a_cell_has_one_holder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("table1/x.lock");
        assert_eq!(read_progress(&path).unwrap(), None);
        let mut lock = Lock::acquire(&path).unwrap().expect("nobody has it");
        // Locks belong to open files, so this process can play both.
        assert!(Lock::acquire(&path).unwrap().is_none(), "locked twice");
        lock.write_progress("epoch = 10\n").unwrap();
        lock.write_progress("epoch = 2\n").unwrap();
        assert_eq!(read_progress(&path).unwrap(), Some(("epoch = 2\n".to_owned(), true)));

        // A holder that dies leaves the file, but not the lock.
        drop(lock);
        assert_eq!(read_progress(&path).unwrap(), Some(("epoch = 2\n".to_owned(), false)));
        let lock = Lock::acquire(&path).unwrap().expect("its holder is gone");
        lock.finish();
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_on_a_removed_file_is_none() {
        // Each holder removes the file that others have just opened.
        let root = tempfile::tempdir().unwrap();
        let (path, holders) = (root.path().join("x.lock"), AtomicUsize::new(0));
        let work = || {
            for _ in 0..10_000 {
                if let Some(lock) = Lock::acquire(&path).unwrap() {
                    assert_eq!(holders.fetch_add(1, SeqCst), 0, "locked twice");
                    std::thread::yield_now();
                    holders.fetch_sub(1, SeqCst);
                    lock.finish();
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    }

    #[test]
    fn a_lock_that_cannot_be_made_or_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let below = root.path().join("file/x.lock");
        let error = Lock::acquire(&below).err().unwrap().to_string();
        assert_eq!(error, format!("{}: cannot lock the cell", below.display()));
        let error = read_progress(root.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read", root.path().display()));
        let path = root.path().join("file");
        let mut lock = Lock { file: File::open(&path).unwrap(), path };
        let error = lock.write_progress("epoch = 1\n").unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be written", lock.path.display()));
    }
}
