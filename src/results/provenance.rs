//! The code, machine and time that a record comes from.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use super::record::Provenance;

/// Crates whose version can change a number.
const CRATES: [&str; 8] =
    ["candle-core", "candle-nn", "faer", "gemm", "image", "libm", "rand_chacha", "zune-jpeg"];

/// Describes this build on this machine at this time.
pub fn collect(device: &candle_core::Device) -> Provenance {
    Provenance {
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
        revision: revision().to_owned(),
        code: Some(CODE.to_owned()),
        skewbench: env!("CARGO_PKG_VERSION").to_owned(),
        crates: locked_versions(include_str!("../../Cargo.lock"), &CRATES),
        device: name(device).to_owned(),
        cpu: cpu_model(),
        threads: rayon::current_num_threads(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// BLAKE3 of the sources that compute numbers and of the lock file, taken when this program was built
/// (`src/build/code.rs`): equal digests compute equal bits on equal processors.
pub const CODE: &str = env!("SKEWBENCH_CODE");

/// Returns the name of a device in records.
pub fn name(device: &candle_core::Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// Returns the part of a digest that messages show.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Returns the commit of the code, determined once: a long run's later cells state the commit that it was started
/// from. Under cargo the program was just built from its checkout, which is asked; otherwise the build script's
/// result is used.
fn revision() -> &'static str {
    static REVISION: OnceLock<String> = OnceLock::new();
    REVISION.get_or_init(|| {
        let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
        let asked = by_cargo.then(|| revision_of(Path::new(env!("CARGO_MANIFEST_DIR")))).flatten();
        asked.unwrap_or_else(|| env!("SKEWBENCH_REVISION").to_owned())
    })
}

/// `None` if there is no checkout.
fn revision_of(checkout: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        // `status` would take the checkout's lock to store what it found, and block a concurrent commit.
        let output = Command::new("git")
            .arg("--no-optional-locks")
            .arg("-C")
            .arg(checkout)
            .args(arguments)
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => Some(head),
        _ => Some(format!("{head}-dirty")),
    }
}

/// Reads `name = "..."` / `version = "..."` pairs of a Cargo lock file.
fn locked_versions(lock: &str, wanted: &[&str]) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = Some(found.trim_matches('"'));
        } else if let (Some(found), Some(of)) = (line.strip_prefix("version = "), name.take())
            && wanted.contains(&of)
        {
            versions.insert(of.to_owned(), found.trim_matches('"').to_owned());
        }
    }
    versions
}

/// Returns the processor's own name; `unknown` if the system does not provide it.
pub fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_that_matters_is_in_the_lock_file() {
        let versions = locked_versions(include_str!("../../Cargo.lock"), &CRATES);
        assert_eq!(versions.len(), CRATES.len(), "{versions:?}");
        // Pinned exactly in Cargo.toml.
        assert_eq!(versions["candle-core"], "0.11.1");
    }
}
