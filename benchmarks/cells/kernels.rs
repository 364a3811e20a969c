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
    loss::contrastive::nt_xent,
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

/// Rows of length 1, exactly, even in sixteen bits: 4^m entries of +-2^-m each, the rest 0.
fn rows(count: usize, width: usize) -> Result<Tensor> {
    let mut stream = Seed::root(0).child("kernels").index(count).index(width).stream();
    let entries = 4_usize.pow(width.ilog(4));
    let value = 1.0 / (entries as f64).sqrt();
    let mut values = vec![0.0; count * width];
    for row in values.chunks_exact_mut(width) {
        let shift = (stream.normal().abs() * 1e3) as usize;
        for entry in 0..entries {
            row[(shift + entry) % width] = if stream.normal() > 0.0 { value } else { -value };
        }
    }
    Tensor::from_vec(values, (count, width), &Device::Cpu)
}

#[rstest]
fn nt_xent_is_its_twin(
    #[values((2, 5), (6, 64), (66, 128), (130, 200), (260, 17))] shape: (usize, usize),
    #[values(false, true)] bf16: bool,
) -> Result<()> {
    const TEMPERATURE: f32 = 0.2;
    const UPSTREAM: f32 = 1.7;
    let Some(program) = program() else { return Ok(()) };
    let (count, width) = shape;
    let z = Var::from_tensor(&rows(count, width)?)?;

    let mut input = Vec::new();
    [count as i32, width as i32, i32::from(bf16)].iter().for_each(|n| input.extend(n.to_ne_bytes()));
    let values: Vec<f32> = z.as_detached_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    [TEMPERATURE, UPSTREAM].iter().chain(&values).for_each(|x| input.extend(x.to_ne_bytes()));
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let found: Vec<f32> =
        output.stdout.chunks_exact(4).map(|x| f32::from_ne_bytes(x.try_into().unwrap())).collect();
    assert_eq!(found.len(), 1 + count * width);

    let half = count / 2;
    let loss = nt_xent(&z.narrow(0, 0, half)?, &z.narrow(0, half, half)?, f64::from(TEMPERATURE))?;
    let expected: f64 = loss.to_scalar()?;
    assert!((f64::from(found[0]) - expected).abs() < 1e-5, "loss {}, expected {expected}", found[0]);
    let expected = (loss.backward()?.get(&z).expect("a gradient") * f64::from(UPSTREAM))?;
    // The twin brings rows to length 1 first, which takes the part along each row out of its gradient.
    let found = Tensor::from_slice(&found[1..], shape, &Device::Cpu)?.to_dtype(DType::F64)?;
    let z = z.as_detached_tensor();
    let across = (&found - z.broadcast_mul(&(&found * &z)?.sum_keepdim(1)?)?)?;
    let apart = (across - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(apart < 1e-6, "gradients {apart:e} apart");
    Ok(())
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
