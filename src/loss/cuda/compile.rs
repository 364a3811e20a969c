//! The build script: with the feature `cuda` it compiles our kernels to PTX, for every card from Ampere on; without it
//! does nothing.

use std::{env, path::PathBuf, process::Command};

const KERNELS: [&str; 2] = ["nt_xent", "barlow_twins"];
/// The oldest cards that multiply bf16 and tf32 on tensor cores.
const ARCHITECTURE: &str = "compute_80";

fn main() {
    println!("cargo::rerun-if-changed=src/loss/cuda");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned());
    let folder = PathBuf::from("src/loss/cuda");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for kernel in KERNELS {
        let source = folder.join(kernel).with_extension("cu");
        let made = Command::new(&nvcc)
            .args(["-ptx", "-O3", "-arch", ARCHITECTURE, "-o"])
            .args([&out.join(kernel).with_extension("ptx"), &source])
            .output();
        let made = made.unwrap_or_else(|error| {
            panic!("{nvcc}: cannot be run ({error}); feature `cuda` needs CUDA 12 or 13's nvcc, on the PATH or in NVCC")
        });
        assert!(made.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&made.stderr));
    }
}
