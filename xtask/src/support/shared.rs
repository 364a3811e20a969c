//! Whether several machines can share a folder, which depends on the locks of its file system.

use std::{fs, path::Path};

/// File systems whose locks silently work only between processes of one machine. sshfs was tested: two mounts of
/// one folder can lock the same file at the same time.
const OF_ONE_MACHINE: [&str; 7] =
    ["fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.blobfuse2", "vboxsf"];

/// Returns a warning if several machines should not write to this folder; `None` if no problem is known, or if the
/// system does not report the folder's file system.
pub fn warning(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    warning_from_mounts(&folder, &fs::read_to_string("/proc/self/mounts").ok()?)
}

/// Finds the warning from the lines of `/proc/self/mounts`.
fn warning_from_mounts(folder: &Path, mounts: &str) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        // The system writes a space in a name as an octal escape.
        let at = words.get(1)?.replace("\\040", " ");
        folder.starts_with(&at).then_some((at.len(), *words.get(2)?, *words.get(3)?))
    });
    // Among equal mount points, the last one covers the others.
    let (_, kind, options) = mounts.max_by_key(|(length, ..)| *length)?;
    let has = |option: &str| options.split(',').any(|known| known == option);
    let why = match kind {
        kind if OF_ONE_MACHINE.contains(&kind) => String::new(),
        "nfs" | "nfs4" => {
            let local =
                ["nolock", "local_lock=all", "local_lock=flock"].into_iter().find(|option| has(option))?;
            format!(" mounted with {local}")
        }
        "lustre" if !has("flock") => " mounted without flock".to_owned(),
        "cifs" | "smb3" if has("nobrl") => " mounted with nobrl".to_owned(),
        _ => return None,
    };
    Some(format!(
        "{}: on {kind}{why}, where a lock holds on one machine only: let only processes of one machine share it, or \
         give each machine its own cells (--part K/N); otherwise a cell may be trained twice",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_locks_on_one_machine_only_is_named() {
        let mounts = "overlay / overlay rw 0 0\n\
                      host:/a /data nfs4 rw,vers=4.2,local_lock=none 0 0\n\
                      host:/b /data/old nfs rw,vers=3,local_lock=flock 0 0\n\
                      me@host:/c /home/me/far\\040away fuse.sshfs rw 0 0\n\
                      x@tcp:/d /scratch lustre rw,flock,lazystatfs 0 0\n\
                      x@tcp:/d /fast lustre rw,localflock 0 0\n\
                      host:/v /shared fuse.glusterfs rw 0 0\n";
        let why = |folder: &str| warning_from_mounts(Path::new(folder), mounts);
        for sound in ["/results", "/data/study", "/scratch/me", "/shared/x", "/database"] {
            assert_eq!(why(sound), None, "{sound}");
        }
        for (folder, found) in [
            ("/data/old/study", "on nfs mounted with local_lock=flock,"),
            ("/home/me/far away/x", "on fuse.sshfs,"),
            ("/fast", "on lustre mounted without flock,"),
        ] {
            let said = why(folder).unwrap();
            assert!(said.starts_with(folder) && said.contains(found), "{said}");
        }
        assert_eq!(warning_from_mounts(Path::new("/x"), ""), None);
    }

    #[test]
    fn options_that_make_locks_local_are_known_and_the_last_mount_counts() {
        let why = |mounts: &str| warning_from_mounts(Path::new("/d/x"), mounts);
        for (mount, found) in [
            ("h:/a /d nfs rw,nolock 0 0", Some("on nfs mounted with nolock,")),
            ("h:/a /d nfs4 rw,local_lock=all 0 0", Some("on nfs4 mounted with local_lock=all,")),
            ("h:/a /d nfs rw,local_lock=posix 0 0", None),
            ("//h/a /d cifs rw,nobrl 0 0", Some("on cifs mounted with nobrl,")),
            ("//h/a /d smb3 rw,nobrl 0 0", Some("on smb3 mounted with nobrl,")),
            ("//h/a /d cifs rw,nobrl2 0 0", None),
            ("s3 /d fuse.s3fs rw 0 0", Some("on fuse.s3fs,")),
            ("v /d vboxsf rw 0 0", Some("on vboxsf,")),
            ("h:/a /d nfs rw,nolock 0 0\n/dev/a /d ext4 rw 0 0", None),
            ("/dev/a /d ext4 rw 0 0\nh:/a /d nfs rw,nolock 0 0", Some("on nfs mounted with nolock,")),
        ] {
            let said = why(mount);
            match found {
                None => assert_eq!(said, None, "{mount}"),
                Some(found) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(found)), "{mount}: {said:?}")
                }
            }
        }
    }

    /// A mount covers the folders below it, not those whose names merely begin like it; the longest one counts.
    #[test]
    fn a_mount_covers_its_own_folders_only() {
        let mounts = "h:/a /d nfs rw,nolock 0 0\n/dev/a / ext4 rw 0 0\n/dev/b /d/local ext4 rw 0 0\n";
        let why = |folder: &str| warning_from_mounts(Path::new(folder), mounts);
        for sound in ["/data", "/dx/y", "/", "/x/d", "/d/local", "/d/local/x"] {
            assert_eq!(why(sound), None, "{sound}");
        }
        let expected = "/d/locals: on nfs mounted with nolock, where a lock holds on one machine only: let only processes of \
                        one machine share it, or give each machine its own cells (--part K/N); otherwise a cell may be \
                        trained twice";
        assert_eq!(why("/d/locals").as_deref(), Some(expected));
        assert!(why("/d").is_some_and(|said| said.starts_with("/d: on nfs")));
    }
}
