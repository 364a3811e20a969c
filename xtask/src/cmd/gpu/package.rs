//! `gpu package`: a folder for a machine that has a GPU but no Rust.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::support::program;

/// Files beside the program, included from their sources.
const FILES: [(&str, &str); 5] = [
    ("run.sh", include_str!("run.sh")),
    ("gpu_losses.py", include_str!("../../../../fixtures/torch/gpu_losses.py")),
    ("gpu_operations.py", include_str!("../../../../fixtures/torch/gpu_operations.py")),
    ("gpu_table.py", include_str!("../../../../fixtures/torch/gpu_table.py")),
    ("gpu_steps.py", include_str!("../../../../fixtures/torch/gpu_steps.py")),
];
const MIB: f64 = 1024.0 * 1024.0;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write; its files are replaced
    #[arg(default_value = "target/gpu-package")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub struct CasesFile {
    /// File to write; it is replaced
    #[arg(default_value = "fixtures/torch/cases.json")]
    out: PathBuf,
}

/// Writes the cases in the form that PyTorch's scripts read.
pub fn cases(arguments: &CasesFile) -> Result<()> {
    let out = &arguments.out;
    let text = serde_json::to_string_pretty(&checks::pytorch::cases())? + "\n";
    fs::write(out, text).with_context(|| format!("{}: cannot be written", out.display()))
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let program = build()?;
    let out = &arguments.out;
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let stripped = out.join("skewbench");
    let done = Command::new("strip").arg("-o").args([&stripped, &program]).status();
    if !done.is_ok_and(|status| status.success()) {
        bail!("strip cannot be run; it is part of binutils");
    }
    // Compression leaves a quarter: most of the program is kernels for language models that Candle links.
    let packed = Command::new("gzip").args(["--best", "--force"]).arg(&stripped).status();
    ensure!(packed.is_ok_and(|status| status.success()), "gzip cannot be run");
    for (name, text) in FILES {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    cases(&CasesFile { out: out.join("cases.json") })?;
    fs::set_permissions(out.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    let bytes: u64 = fs::read_dir(out)?.map(|entry| Ok(entry?.metadata()?.len())).sum::<Result<u64>>()?;
    println!("{}: {:.1} MiB; on the GPU machine: ./run.sh RESULTS", out.display(), bytes as f64 / MIB);
    Ok(())
}

/// Builds this program for a GPU and returns its path.
fn build() -> Result<PathBuf> {
    let root = program::checkout()?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    println!("building with the feature cuda; the first build takes more than ten minutes");
    let built = Command::new(cargo)
        .args(["build", "--workspace", "--features", "cuda", "--message-format", "json-render-diagnostics"])
        .current_dir(&root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(built.status.success(), "the build failed; feature cuda needs nvcc of CUDA 12 or 13 on the PATH");
    executable(&built.stdout)
}

/// Finds the program in cargo's messages.
fn executable(messages: &[u8]) -> Result<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let mut found = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == "skewbench").then(|| PathBuf::from(path))
    });
    found.next_back().context("cargo names no program skewbench")
}
