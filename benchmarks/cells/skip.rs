//! What ran and what did not, reported after the last test of this binary.
//!
//! libtest shows a test's output only if the test fails, so a test that returns early would look as if it had
//! passed. Here it leaves a note, and all notes are printed when the process ends. A missing program is only a note
//! on a newcomer's machine; if `SKEWBENCH_REQUIRE=browser,c++,nvcc` names it, as `.ci/run` does for what it
//! installs, the test fails.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, Once, PoisonError},
};

/// A program that some tests need and that `cargo` does not install.
#[derive(Clone, Copy, Debug)]
pub enum Tool {
    /// Opens the report like a reader.
    Browser,
    /// Compiles the source of CUDA kernels for the CPU.
    Compiler,
    /// Compiles CUDA kernels for a GPU.
    Nvcc,
}

impl Tool {
    /// Returns the spelling in `SKEWBENCH_REQUIRE`.
    fn id(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Compiler => "c++",
            Self::Nvcc => "nvcc",
        }
    }

    /// Returns names of the program, in order of preference.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Browser => {
                &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
            }
            Self::Compiler => &["c++"],
            Self::Nvcc => &["nvcc"],
        }
    }

    /// Returns how to install it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Browser => "install Chromium (Debian: apt-get install chromium)",
            Self::Compiler => "install a C++ compiler (Debian: apt-get install g++)",
            Self::Nvcc => "install the CUDA toolkit",
        }
    }

    /// Returns the path of the program. If it is not found, the summary says so and names `unchecked`; the caller
    /// then returns.
    ///
    /// # Panics
    /// If it is not found and `SKEWBENCH_REQUIRE` names it.
    pub fn find(self, unchecked: &str) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = self.programs().iter().find_map(|program| first(&path, program));
        if found.is_none() {
            let lack = format!("SKIPPED, no {}: {unchecked}; {}", self.id(), self.remedy());
            let required = env::var("SKEWBENCH_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|id| id == self.id()), "{lack}");
            note(lack);
        }
        found
    }
}

/// Returns a program's file in the first of the folders, joined as in `PATH`, that has it.
fn first(folders: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(folders).map(|folder| folder.join(program)).find(|path| Path::is_file(path))
}

/// Lines of the summary, each once however often it was added.
struct Summary {
    trained: BTreeSet<String>,
    by_identity: BTreeSet<String>,
    notes: BTreeSet<String>,
}

static SUMMARY: Mutex<Summary> =
    Mutex::new(Summary { trained: BTreeSet::new(), by_identity: BTreeSet::new(), notes: BTreeSet::new() });

/// Adds a line to the summary.
pub fn note(line: String) {
    with_summary(|summary| summary.notes.insert(line));
}

/// Notes that a cell was trained.
pub fn note_trained(cell: String) {
    with_summary(|summary| summary.trained.insert(cell));
}

/// Notes that only a cell's identity was checked.
pub fn note_identity_checked(cell: String) {
    with_summary(|summary| summary.by_identity.insert(cell));
}

fn with_summary(add: impl FnOnce(&mut Summary) -> bool) {
    static AT_THE_END: Once = Once::new();
    AT_THE_END.call_once(|| {
        // SAFETY: `atexit` is from the C library, with which every program using Rust's standard library is linked;
        // `print_all` has C's calling convention, no arguments and no result.
        let refused = unsafe { atexit(print_all) };
        assert_eq!(refused, 0, "the C library takes no more functions to call at the end");
    });
    add(&mut SUMMARY.lock().unwrap_or_else(PoisonError::into_inner));
}

unsafe extern "C" {
    fn atexit(at_the_end: extern "C" fn()) -> i32;
}

/// Prints the summary without libtest capturing it, which affects only `println!` and similar macros.
extern "C" fn print_all() {
    let text = SUMMARY.lock().unwrap_or_else(PoisonError::into_inner).to_string();
    // If this fails, the error cannot be reported anywhere.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\nsummary of the cells:")?;
        if !self.trained.is_empty() {
            let names = self.trained.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            writeln!(out, "  trained at fixture scale, {}: {names}", self.trained.len())?;
        }
        if !self.by_identity.is_empty() {
            writeln!(
                out,
                "  not trained, {}: only their settings and training images were checked \
                 (SKEWBENCH_TESTS=all trains them)",
                self.by_identity.len()
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
    }
}

#[test]
fn the_first_folder_that_has_a_program_is_taken() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().join("tool")).collect();
    let joined = env::join_paths(folders.iter().map(tempfile::TempDir::path)).unwrap();
    assert_eq!(first(&joined, "tool"), None);
    // A folder with that name is not a program.
    std::fs::create_dir(&paths[0]).unwrap();
    paths[1..].iter().for_each(|path| std::fs::write(path, "").unwrap());
    assert_eq!(first(&joined, "tool").as_ref(), Some(&paths[1]));
}

#[test]
fn the_summary_says_what_ran_and_what_did_not() {
    let set = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
    let summary =
        Summary { trained: set(&["b", "a"]), by_identity: set(&["c"]), notes: set(&["SKIPPED, no nvcc"]) };
    let text = summary.to_string();
    for part in ["trained at fixture scale, 2: a b\n", "not trained, 1: ", "\n  SKIPPED, no nvcc\n"] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
}
