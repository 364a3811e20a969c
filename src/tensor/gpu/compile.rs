//! Part of the build script: compiles our kernels to PTX, for every card from Ampere on, if the feature `cuda` is
//! enabled.

use std::{env, path::PathBuf, process::Command};

/// Kernel files, and additional compiler options of each.
const KERNELS: [(&str, &[&str]); 11] = [
    ("src/tensor/attention/attention.cu", &[]),
    ("src/tensor/batch_norm/batch_norm.cu", &[]),
    ("src/tensor/gelu/gelu.cu", &[]),
    ("src/tensor/layer_norm/layer_norm.cu", &[]),
    ("src/tensor/linear/linear.cu", &[]),
    ("src/tensor/pooling/pooling.cu", &[]),
    ("src/tensor/rows/rows.cu", &[]),
    ("src/tensor/updates/updates.cu", &[]),
    ("src/loss/contrastive/nt_xent.cu", &[]),
    ("src/loss/cross_correlation/barlow_twins.cu", &[]),
    // Must equal the CPU's bytes, which are computed without fused multiply-add.
    ("src/augment/gpu/views.cu", &["-fmad=false"]),
];
/// Folder of the header that kernels share.
const SHARED: &str = "src/tensor/gpu";
/// The oldest architecture that multiplies bf16 and tf32 on tensor cores.
const ARCHITECTURE: &str = "compute_80";

/// Compiles every kernel file into the build's output folder.
pub fn compile() {
    println!("cargo::rerun-if-changed={SHARED}/warp.cuh");
    KERNELS.iter().for_each(|(source, _)| println!("cargo::rerun-if-changed={source}"));
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (source, options) in KERNELS {
        let name = PathBuf::from(source).with_extension("ptx");
        let made = Command::new(&nvcc)
            .args(["-ptx", "-O3", "-arch", ARCHITECTURE, "-I", SHARED])
            .args(options)
            .arg("-o")
            .args([&out.join(name.file_name().expect("a file")), &PathBuf::from(source)])
            .output();
        let made = made.unwrap_or_else(|error| {
            panic!("{nvcc}: cannot be run ({error}); feature `cuda` needs nvcc of CUDA 12 or 13, on the PATH or in NVCC")
        });
        assert!(made.status.success(), "{source}: {}", String::from_utf8_lossy(&made.stderr));
    }
}
