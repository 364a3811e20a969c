//! `gpu imitation`: CUDA's driver and libraries as skewbench calls them, made for the CPU, so that what needs a GPU runs without one.
//!
//! Our kernels and Candle's run from their own text, thread by thread; products and convolutions are plain loops. `driver.cpp`
//! says what it is strict about. Nothing is learnt of speed; threads that do not wait where they should are looked for by
//! `benchmarks/cells/kernels.rs`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::package;
use crate::support::program;

/// Libraries by the name that a program asks for, with the source beside this file.
const LIBRARIES: [(&str, &str); 4] = [
    ("libcublas.so.13", "cublas"),
    ("libcublasLt.so.13", "cublas"),
    ("libcudnn.so.9", "cudnn"),
    ("libcurand.so.10", "cudnn"),
];
const DRIVER: &str = "libcuda.so.1";
/// What our kernels share, and what runs them on the CPU, from the root.
const SHARED: [&str; 2] = ["src/tensor/gpu", "benchmarks/kernels"];
/// Candle's files of kernels that its operations use.
const CANDLES: [&str; 10] =
    ["affine", "binary", "cast", "conv", "fill", "indexing", "reduce", "sort", "ternary", "unary"];
/// As much of a compiler's errors as is told.
const LINES: usize = 20;
/// What a preprocessed kernel begins with.
const MARK: &str = "IMITATED_KERNEL";

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder; is made, or its files are replaced
    #[arg(default_value = "target/gpu-imitation")]
    out: PathBuf,
    /// Then build this program for a GPU, and hold operations, losses and views on the imitation to the CPU's, at small sizes
    #[arg(long)]
    run: bool,
}

/// What is run: every kernel of ours, through its place in the program.
const CHECKS: [&str; 3] = ["operations", "losses", "views"];
/// Where the imitated driver writes which kernels were launched, and how often.
const LAUNCHED: &str = "IMITATED_GPU_LAUNCHED";

pub fn run(arguments: &Arguments) -> Result<()> {
    let kernels = make(&arguments.out)?;
    let out = arguments.out.display();
    println!("{out}: made; with LD_LIBRARY_PATH={out}:$CUDA_HOME/lib a program finds a GPU that is none");
    if arguments.run { check(&arguments.out, &kernels) } else { Ok(()) }
}

/// Runs the program's checks of a GPU on the imitation.
fn check(out: &Path, kernels: &[String]) -> Result<()> {
    let program = package::build()?;
    let file = tempfile::NamedTempFile::new()?;
    let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    // CUDA's runtime is NVIDIA's.
    let toolkit = toolkit()?;
    let folders = [out.canonicalize()?, toolkit.join("lib64"), toolkit.join("lib")];
    let folders = env::join_paths(folders.into_iter().chain(env::split_paths(&others)))?;
    let mut failed = Vec::new();
    for what in CHECKS {
        let mut command = Command::new(&program);
        command.args(["gpu", what, "--small"]).env("LD_LIBRARY_PATH", &folders).env(LAUNCHED, file.path());
        if !command.status()?.success() {
            failed.push(what);
        }
    }
    let told = fs::read_to_string(file.path())?;
    let launched: BTreeSet<&str> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    let left: Vec<&str> =
        kernels.iter().map(String::as_str).filter(|name| !launched.contains(name)).collect();
    println!("{} of our {} kernels were launched", kernels.len() - left.len(), kernels.len());
    ensure!(failed.is_empty(), "not as on the CPU, or failed: {}", failed.join(", "));
    ensure!(left.is_empty(), "never launched: {}", left.join(", "));
    Ok(())
}

/// Makes the libraries in a folder; the names of our kernels.
///
/// # Errors
/// If there is no compiler, or CUDA's headers or Candle's sources are not found.
fn make(out: &Path) -> Result<Vec<String>> {
    let root = program::checkout()?;
    let here = root.join("xtask/src/cmd/gpu/imitation");
    let headers = toolkit()?.join("include");
    let compiler = Compiler {
        folders: [here.clone(), headers.clone(), headers.join("cccl")]
            .into_iter()
            .chain(SHARED.map(|folder| root.join(folder)))
            .collect(),
        work: tempfile::tempdir()?,
    };
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;

    let (mut sources, mut folders) = (Vec::new(), vec![root.join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                sources.push((path, "kernels.h"));
            }
        }
    }
    let candle = candle_kernels(&root)?;
    sources.extend(CANDLES.map(|name| (candle.join(name).with_extension("cu"), "candle.h")));
    let ours = sources.len() - CANDLES.len();
    let compiled = sources.par_iter().map(|(source, before)| compiler.kernels(source, before));
    let compiled = compiled.collect::<Result<Vec<_>>>()?;
    let names = compiled[..ours].iter().flat_map(|(_, names)| names.clone()).collect();
    let mut objects: Vec<PathBuf> = compiled.into_iter().map(|(object, _)| object).collect();
    objects.push(compiler.object("driver", &here.join("driver.cpp"))?);
    compiler.link(&out.join(DRIVER), &objects, &[])?;
    for (library, source) in LIBRARIES {
        let object = compiler.object(source, &here.join(source).with_extension("cpp"))?;
        compiler.link(&out.join(library), &[object], &[&out.join(DRIVER)])?;
    }
    Ok(names)
}

/// CUDA's folder: `CUDA_HOME`, or that of the nvcc on the PATH.
fn toolkit() -> Result<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let beside = env::var_os("PATH").unwrap_or_default();
    let beside = env::split_paths(&beside).filter(|folder| folder.join("nvcc").exists());
    let mut found = homes.chain(beside.map(|folder| folder.join("..")));
    found
        .find(|home| home.join("include/cuda.h").exists())
        .context("no include/cuda.h: set CUDA_HOME to a toolkit of CUDA 13")
}

/// The sources of the package candle-kernels, as cargo has them.
fn candle_kernels(root: &Path) -> Result<PathBuf> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let told = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--features", "cuda"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        told.status.success(),
        "cargo metadata failed; build with feature cuda first, so that the sources are there"
    );
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).context("what cargo metadata says")?;
    let packages = told["packages"].as_array().into_iter().flatten();
    let mut found = packages.filter(|package| package["name"] == "candle-kernels");
    let manifest = found.next().and_then(|package| package["manifest_path"].as_str());
    let manifest =
        manifest.context("cargo metadata names no candle-kernels; build with feature cuda first")?;
    Ok(Path::new(manifest).with_file_name("src"))
}

struct Compiler {
    /// Of what is included.
    folders: Vec<PathBuf>,
    work: tempfile::TempDir,
}

impl Compiler {
    fn command(&self) -> Command {
        let mut command = Command::new("g++");
        command.args(["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]);
        for folder in &self.folders {
            command.arg("-I").arg(folder);
        }
        command
    }

    fn made(mut command: Command, what: &Path) -> Result<()> {
        let made = command.output().context("g++ cannot be run")?;
        let told = String::from_utf8_lossy(&made.stderr);
        let first = told.lines().take(LINES).collect::<Vec<_>>().join("\n");
        ensure!(made.status.success(), "{}: {first}", what.display());
        Ok(())
    }

    fn object(&self, name: &str, source: &Path) -> Result<PathBuf> {
        let object = self.work.path().join(name).with_extension("o");
        let mut command = self.command();
        command.args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]);
        // Sums of products in any order, as on a GPU.
        command.args(["-O3", "-ffast-math", "-march=native", "-c", "-o"]).args([&object, source]);
        Self::made(command, source)?;
        Ok(object)
    }

    /// A file of kernels, whose first include is `before`, with a list of them; and their names.
    fn kernels(&self, source: &Path, before: &str) -> Result<(PathBuf, Vec<String>)> {
        let name = source.file_stem().expect("a file").to_string_lossy().into_owned();
        let at = |extension| self.work.path().join(&name).with_extension(extension);
        let (wrapped, expanded) = (at("cc"), at("ii"));
        // Files have functions of equal names, and each its own threads.
        fs::write(
            &wrapped,
            format!("#include \"{before}\"\nnamespace {{\n#include \"{}\"\n}}\n", source.display()),
        )?;
        let mut command = self.command();
        command
            .args(["-E", "-P"])
            .arg(format!("-DON_CPU_KERNEL={MARK}"))
            .arg("-o")
            .args([&expanded, &wrapped]);
        Self::made(command, source)?;

        let text = fs::read_to_string(&expanded)?;
        let (text, kernels) = named(&text).with_context(|| source.display().to_string())?;
        let places: String =
            kernels.iter().map(|kernel| format!("{{\"{kernel}\", kernel_of({kernel})}},")).collect();
        let added = format!("static const bool added = (imitation::add(\"{name}\", {{{places}}}), true);");
        let listed = at("cpp");
        fs::write(&listed, format!("{text}\n{added}\n"))?;
        let object = at("o");
        let mut command = self.command();
        // A read of sixteen bytes from elsewhere, or past the end of an array, ends the program.
        command.args(["-fsanitize=alignment,bounds", "-fno-sanitize-recover=all", "-w", "-c", "-o"]);
        command.args([&object, &listed]);
        Self::made(command, source)?;
        Ok((object, kernels))
    }

    fn link(&self, library: &Path, objects: &[PathBuf], others: &[&Path]) -> Result<()> {
        let name = library.file_name().expect("a file").to_string_lossy().into_owned();
        let mut command = self.command();
        command
            .args(["-shared", "-fsanitize=alignment,bounds", "-o"])
            .arg(library)
            .args(objects)
            .args(others);
        command.arg(format!("-Wl,-soname,{name}"));
        if !others.is_empty() {
            // Programs ask for functions of a version that is called as the library.
            let versions = self.work.path().join("versions");
            fs::write(&versions, format!("{name} {{ global: *; }};"))?;
            command.arg(format!("-Wl,--version-script={},-rpath,$ORIGIN", versions.display()));
        }
        Self::made(command, library)
    }
}

/// A preprocessed file with its kernels as functions of its own, and their names.
fn named(text: &str) -> Result<(String, Vec<String>)> {
    let begin = format!("extern \"C\" {MARK} void ");
    let mut parts = text.split(&begin);
    let mut result = parts.next().unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for part in parts {
        let Some((name, _)) = part.split_once('(') else { bail!("a kernel without parameters") };
        names.push(name.trim().to_owned());
        result.push_str("static void ");
        result.push_str(part);
    }
    ensure!(!result.contains(MARK), "a kernel that is not extern \"C\" and void");
    // Memory that a launch gives the size of.
    while let Some(start) = result.find("extern static ") {
        let end = start + result[start..].find(';').context("a declaration without an end")?;
        let declared = result[start..end].trim_start_matches("extern static ").trim_end_matches("[]");
        let (kind, name) = declared.rsplit_once(' ').context("a declaration without a name")?;
        let here = format!("{kind} *{name} = ({kind} *)on_cpu::dynamic_shared.data()");
        result.replace_range(start..end, &here);
    }
    Ok((result, names))
}
