//! The kernels' source, compiled for the CPU, as a program that runs a kernel on request, and for an H100. The
//! results are kept below cargo's target folder, under a digest of all inputs.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{LazyLock, Mutex},
    thread,
};

use crate::skip::Tool;

/// The harness that runs kernels on the CPU, and what their sources share, relative to the root.
const HARNESS: &str = "benchmarks/kernels";
const SHARED: &str = "src/tensor/gpu";
/// Options for the CPU; products and sums are not contracted, as in the views' kernel on a GPU.
const FOR_THE_CPU: [&str; 7] =
    ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-ffp-contract=off"];
const FOR_A_GPU: [&str; 6] = ["-arch=sm_90", "-cubin", "-Xptxas", "-v", "-Werror", "all-warnings"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns all files with an extension below a folder, sorted.
pub fn sources(below: &str, extension: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder(below)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns a digest of a compiler's version and options, and of all sources of kernels and harness.
fn digest(compiler: &Path, options: &[&str]) -> String {
    let version = Command::new(compiler).arg("--version").output().unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&bytes.len().to_le_bytes()).update(bytes);
    };
    add(&version.stdout);
    options.iter().for_each(|option| add(option.as_bytes()));
    let text = ["cu", "cuh"].into_iter().flat_map(|extension| sources("src", extension));
    let harness = ["cpp", "h"].into_iter().flat_map(|extension| sources(HARNESS, extension));
    for path in text.chain(harness) {
        add(path.to_string_lossy().as_bytes());
        add(&fs::read(&path).unwrap());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Returns a file that `make` writes to the given path, unless an earlier run did; it is never incomplete.
fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
    let path = place.join(name);
    if !path.exists() {
        fs::create_dir_all(&place).unwrap();
        let unfinished = tempfile::Builder::new().prefix("unfinished").tempdir_in(&place).unwrap();
        let made = unfinished.path().join(name);
        make(&made);
        fs::rename(&made, &path).unwrap();
    }
    path
}

/// Returns the kernels compiled for the CPU, once for all tests; `None` without a compiler, which the summary
/// reports.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let compiler = Tool::Compiler.find("no kernel ran")?;
        Some(kept(&format!("on_cpu-{}", digest(&compiler, &FOR_THE_CPU)), |program| {
            let made = Command::new(&compiler)
                .args(FOR_THE_CPU)
                .arg("-I")
                .arg(folder(SHARED))
                .arg("-o")
                .args([program, &folder(HARNESS).join("on_cpu.cpp")])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }))
    });
    PROGRAM.as_deref()
}

/// Returns the program's output for an input, as numbers; checks that it is bit-identical whether threads and
/// blocks run forwards or backwards.
pub fn exchange(program: &Path, what: &str, input: &[u8]) -> Vec<f64> {
    let begin = |backwards: bool| {
        let mut command = Command::new(program);
        command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped());
        if backwards {
            command.env("ON_CPU_BACKWARDS", "1");
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child
    };
    let [forwards, backwards] = [begin(false), begin(true)].map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{what}: {}", output.status);
        output.stdout
    });
    assert!(forwards == backwards, "{what}: the order of threads matters; is a barrier missing?");
    forwards.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap()).into()).collect()
}

/// Returns every kernel file with the output of `ptxas` for an H100; `None` without `nvcc`.
pub fn told_by_ptxas() -> Option<Vec<(PathBuf, String)>> {
    let nvcc = Tool::Nvcc.find("no kernel was compiled for a GPU")?;
    let digest = digest(&nvcc, &FOR_A_GPU);
    let compile = |source: &Path| {
        let name = format!("{}-{digest}.txt", source.file_stem().unwrap().to_string_lossy());
        let told = kept(&name, |told| {
            let made = Command::new(&nvcc)
                .args(FOR_A_GPU)
                .arg("-I")
                .arg(folder(SHARED))
                .arg("-o")
                .args([&told.with_extension("cubin"), source])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "{}: {text}", source.display());
            fs::write(told, text.as_bytes()).unwrap();
        });
        fs::read_to_string(told).unwrap()
    };
    // One compiler per core.
    let waiting = Mutex::new(sources("src", "cu"));
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(source) = waiting.lock().unwrap().pop() else { return };
                    let told = compile(&source);
                    done.lock().unwrap().push((source, told));
                }
            });
        }
    });
    Some(done.into_inner().unwrap())
}
