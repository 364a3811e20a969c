//! Our CUDA kernels without a GPU: their text runs on the CPU, fibre by thread, and is held to the plain-Candle twin.
//!
//! Needs a C++ compiler (`c++`); where there is none, or no `nvcc`, a test says that it was skipped.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use rstest::rstest;
use skewbench::{
    candle_core::{DType, Device, Result, Tensor, Var},
    loss::{contrastive::nt_xent, cross_correlation::barlow_twins},
    seed::Seed,
};

/// Where kernels lie.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/loss/cuda")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The kernels compiled for the CPU, once for all tests; none without a compiler.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let compile = || {
        if !is_there("c++") {
            eprintln!("SKIPPED: no c++ on the PATH, so no kernel ran");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("kernels");
        let made = Command::new("c++")
            .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-o"])
            .args([&program, &folder().join("on_cpu.cpp")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some((place, program))
    };
    PROGRAM.get_or_init(compile).as_ref().map(|(_, program)| program.as_path())
}

/// Runs one of the program's losses: what it writes, as numbers. See `on_cpu.cpp`.
fn run(
    program: &Path,
    loss: &str,
    sizes: [usize; 4],
    constants: [f64; 2],
    views: &Tensor,
) -> Result<Vec<f64>> {
    let mut input = Vec::new();
    sizes.iter().for_each(|&n| input.extend((n as i32).to_ne_bytes()));
    let values: Vec<f32> = views.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    constants.iter().for_each(|&x| input.extend((x as f32).to_ne_bytes()));
    values.iter().for_each(|x| input.extend(x.to_ne_bytes()));
    let mut child =
        Command::new(program).arg(loss).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    Ok(output.stdout.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap()).into()).collect())
}

/// Views of normal numbers; in sixteen bits the twin gets what the kernel gets.
fn views(rows: usize, width: usize, bf16: bool) -> Result<Var> {
    let mut stream = Seed::root(0).child("kernels").index(rows).index(width).stream();
    let values: Vec<f32> = (0..rows * width).map(|_| stream.normal() as f32).collect();
    let values = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
    let values = if bf16 { values.to_dtype(DType::BF16)? } else { values };
    Var::from_tensor(&values.to_dtype(DType::F64)?)
}

/// Holds value and gradient to the twin's, the gradient relative to its largest number.
fn assert_close(found: &[f64], loss: &Tensor, views: &Var, upstream: f64, bf16: bool) -> Result<()> {
    // Of bf16: eight bits of each similarity, weight and correlation, in sums of many.
    let (value_bound, gradient_bound) = if bf16 { (5e-3, 1e-2) } else { (2e-6, 3e-6) };
    let expected: f64 = loss.to_scalar()?;
    let value = found[0];
    assert!(
        (value - expected).abs() < value_bound * expected.abs().max(1.0),
        "loss {value}, expected {expected}"
    );
    let expected = (loss.backward()?.get(views).expect("a gradient") * upstream)?;
    let gradient =
        Tensor::from_slice(&found[found.len() - views.elem_count()..], views.shape(), &Device::Cpu)?;
    let apart = (gradient - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
    // Two rows point along themselves or not at all: nothing but rounding is left of their gradient.
    let largest = expected.abs()?.max_all()?.to_scalar::<f64>()?.max(1e-3);
    assert!(apart < gradient_bound * largest, "gradients {apart:e} apart, of {largest:e} at most");
    Ok(())
}

#[rstest]
fn nt_xent_is_its_twin(
    // Rows of both views, width, blocks that share a row's columns: less than a tile, more than one, odd, two bands.
    #[values((2, 5, 1), (66, 64, 2), (130, 128, 1), (150, 200, 3), (300, 17, 2))] shape: (
        usize,
        usize,
        usize,
    ),
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    const TEMPERATURE: f64 = 0.2;
    const UPSTREAM: f64 = 1.7;
    let Some(program) = program() else { return Ok(()) };
    let (rows, width, parts) = shape;
    let z = views(rows, width, bf16)?;
    let sizes = [rows, width, usize::from(bf16), parts];
    let found = run(program, "nt_xent", sizes, [TEMPERATURE, UPSTREAM], &z)?;
    assert_eq!(found.len(), 1 + rows * width);
    let loss = nt_xent(&z.narrow(0, 0, rows / 2)?, &z.narrow(0, rows / 2, rows / 2)?, TEMPERATURE)?;
    assert_close(&found, &loss, &z, UPSTREAM, bf16)
}

#[rstest]
fn barlow_twins_is_its_twin(
    // Images, width.
    #[values((3, 4), (5, 19), (33, 70), (70, 33), (64, 64))] shape: (usize, usize),
    #[values(false, true)] by_columns: bool,
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    const WEIGHT: f64 = 0.05;
    const UPSTREAM: f64 = 1.7;
    let Some(program) = program() else { return Ok(()) };
    let (images, width) = shape;
    let z = views(2 * images, width, bf16)?;
    let sizes = [images, width, usize::from(bf16), usize::from(by_columns)];
    let found = run(program, "barlow_twins", sizes, [WEIGHT, UPSTREAM], &z)?;
    assert_eq!(found.len(), 3 + 2 * images * width);
    let loss = barlow_twins(&z.narrow(0, 0, images)?, &z.narrow(0, images, images)?, WEIGHT)?;
    for (found, (name, expected)) in found[1..3].iter().zip(&loss.parts) {
        let bound = if bf16 { 1e-2 } else { 3e-6 } * expected.abs().max(1.0);
        assert!((found - expected).abs() < bound, "{name} {found}, expected {expected}");
    }
    assert_close(&found, &loss.total, &z, UPSTREAM, bf16)
}

#[test]
fn every_kernel_compiles_for_an_h100() {
    if !is_there("nvcc") {
        eprintln!("SKIPPED: no nvcc on the PATH, so no kernel was compiled for a GPU");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut kernels = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            let made = Command::new("nvcc")
                .args(["-arch=sm_90", "-cubin", "-Werror", "all-warnings", "-o"])
                .args([&place.path().join("kernel.cubin"), &path])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&made.stderr));
            kernels += 1;
        }
    }
    assert!(kernels > 0, "no kernels in {}", folder().display());
}
