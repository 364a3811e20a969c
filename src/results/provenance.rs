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
        code: Some(CODE_DIGEST.to_owned()),
        skewbench: env!("CARGO_PKG_VERSION").to_owned(),
        crates: locked_versions(include_str!("../../Cargo.lock"), &CRATES),
        device: device_name(device).to_owned(),
        cpu: cpu_model(),
        threads: rayon::current_num_threads(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// BLAKE3 of the sources that compute numbers and of the lock file, taken when this program was built
/// (`src/build/code.rs`): equal digests compute equal bits on equal processors.
pub const CODE_DIGEST: &str = env!("SKEWBENCH_CODE");

/// Returns the name of a device in records.
pub fn device_name(device: &candle_core::Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// Returns the first 12 characters of a digest, for messages.
pub fn digest_prefix(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Returns the commit of the code, determined once: a long run's later cells state the commit that it was started from.
/// Under cargo, the program was just built from its checkout, so git is asked there; otherwise the build script's
/// result is used.
fn revision() -> &'static str {
    static REVISION: OnceLock<String> = OnceLock::new();
    REVISION.get_or_init(|| {
        let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
        let asked = by_cargo.then(|| revision_of(Path::new(env!("CARGO_MANIFEST_DIR")))).flatten();
        asked.unwrap_or_else(|| env!("SKEWBENCH_REVISION").to_owned())
    })
}

/// Returns the commit of a checkout, with `-dirty` if tracked files differ from it; `None` if there is no commit.
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

    #[test]
    fn versions_are_those_of_the_names_above_them() {
        let lock = "[[package]]\nname = \"faer\"\nversion = \"0.1\"\n\n[[package]]\nname = \"gem\"\nversion = \"0.2\"\n\n\
                    [[package]]\nname = \"gemm\"\nversion = \"0.3\"\nversion = \"0.4\"\n";
        let found = locked_versions(lock, &["gemm", "faer", "image"]);
        let expected = [("faer", "0.1"), ("gemm", "0.3")];
        assert!(
            found.iter().map(|(name, version)| (name.as_str(), version.as_str())).eq(expected),
            "{found:?}"
        );
    }

    #[test]
    fn a_record_says_what_made_it() {
        let made = collect(&candle_core::Device::Cpu);
        assert_eq!(made.device, "cpu");
        assert_eq!(made.code.as_deref(), Some(CODE_DIGEST));
        assert_eq!(made.skewbench, env!("CARGO_PKG_VERSION"));
        assert_eq!(made.crates.len(), CRATES.len());
        assert_eq!(made.threads, rayon::current_num_threads());
        assert_eq!(made.cpu, cpu_model());
        assert_eq!(made.system, format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
        // After this was written, and before the next ice age.
        assert!(made.started_unix > 1_750_000_000 && made.started_unix < 100_000_000_000, "{made:?}");
        assert!(!made.revision.is_empty());
    }

    #[test]
    fn digests_are_shown_by_their_beginning() {
        assert_eq!(digest_prefix("0123456789abcdef"), "0123456789ab");
        assert_eq!(digest_prefix("0123456789ab"), "0123456789ab");
        assert_eq!(digest_prefix("xyz"), "xyz");
    }

    /// Runs git in a folder. Whoever cloned this repository has it.
    fn git(folder: &Path, arguments: &[&str]) {
        let done = Command::new("git").arg("-C").arg(folder).args(arguments).output();
        let done = done.expect("this test needs git: install it");
        assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Commits a file `a` in a repository without commits.
    fn commit(folder: &Path) {
        std::fs::write(folder.join("a"), "1").unwrap();
        git(folder, &["add", "a"]);
        let who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"];
        git(folder, &[&who[..], &["commit", "-q", "-m", "a"]].concat());
    }

    /// A commit, marked if tracked files differ from it; untracked files do not count.
    #[test]
    fn a_revision_says_whether_files_differ_from_it() {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        assert_eq!(revision_of(folder.path()), None, "no commit yet");
        commit(folder.path());
        let clean = revision_of(folder.path()).unwrap();
        assert!(clean.len() == 12 && clean.bytes().all(|digit| digit.is_ascii_hexdigit()), "{clean}");
        std::fs::write(folder.path().join("b"), "2").unwrap();
        assert_eq!(revision_of(folder.path()), Some(clean.clone()));
        std::fs::write(folder.path().join("a"), "3").unwrap();
        assert_eq!(revision_of(folder.path()), Some(format!("{clean}-dirty")));
    }

    /// The processor is named as the system names the first of them.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_processor_has_the_systems_name() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut rows = info.split('\n').map(|line| line.splitn(2, ':').map(str::trim).collect::<Vec<_>>());
        let named = rows.find(|row| row[0] == "model name").map_or("unknown", |row| row[1]);
        assert_eq!(cpu_model(), named);
    }

    /// If git cannot tell whether files differ, here because its own list of them is damaged, the commit is not called
    /// clean.
    #[test]
    fn a_commit_that_cannot_be_compared_is_not_called_clean() {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        commit(folder.path());
        let clean = revision_of(folder.path()).unwrap();
        std::fs::write(folder.path().join(".git/index"), "torn").unwrap();
        assert_eq!(revision_of(folder.path()), Some(format!("{clean}-dirty")));
    }

    /// Crates whose names begin alike have versions of their own, in whatever order they stand.
    #[test]
    fn versions_are_those_of_whole_names() {
        let package = |name: &str, version: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n")
        };
        let lock = [
            package("gemm-common", "0.1"),
            package("image", "0.2"),
            package("image-webp", "0.3"),
            package("image_hasher", "0.4"),
            package("gemm", "0.5"),
            package("my-gemm", "0.6"),
            package("Gemm", "0.7"),
        ]
        .concat();
        let found = locked_versions(&lock, &["image", "gemm", "libm"]);
        let expected = [("gemm", "0.5"), ("image", "0.2")];
        assert!(
            found.iter().map(|(name, version)| (name.as_str(), version.as_str())).eq(expected),
            "{found:?}"
        );
        // The same of this build's own lock file.
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in locked_versions(lock, &CRATES) {
            assert!(
                lock.contains(&format!("\nname = \"{name}\"\nversion = \"{version}\"\n")),
                "{name} {version}"
            );
        }
    }

    /// Threads are those that this computation may use, however many processors there are.
    #[test]
    fn threads_are_those_that_are_used() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| collect(&candle_core::Device::Cpu).threads), threads);
        }
    }
}
