//! `cargo xtask onnx`: a bundle for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use skewbench::bundle::{
    Bundle, Manifest,
    onnx::{self, OPSET},
};

/// Write a bundle as ONNX, for onnxruntime and other programs.
///
/// It is made from a bundle, not from a results folder: other programs then run exactly the detector of `predict`,
/// with the same threshold and calibration, and a bundle is enough to make it. The graph takes `pictures`, bytes
/// (batch, side, side, 3) in RGB, resized to the side without keeping the aspect ratio (bicubic), and gives `logit`
/// and `probability`. Threshold, rate and classes are in the file's metadata. Other runtimes differ from `predict`
/// in the last digits of single precision.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cargo xtask onnx pipes.skewbench pipes.onnx")]
pub struct Arguments {
    /// Bundle to convert, written by `bundle`
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// File to write
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { bundle: from, to } = arguments;
    let bundle = Bundle::open(from)?;
    ensure!(!is_same(from, to), "{}: is the bundle itself; choose another file to write", to.display());
    onnx::write(&bundle, to)?;
    let Manifest { cell, side, threshold, rate, .. } = &bundle.manifest;
    println!(
        "{}: {}, {cell}, {:.1} MB, ONNX opset {OPSET}\n  \
         takes pictures: bytes (batch, {side}, {side}, 3), RGB, squeezed bicubic\n  \
         gives logit and probability: (batch) each; probabilities are for {:.1} % defects; \
         flag above logit {:.4}",
        to.display(),
        bundle.manifest.title(),
        std::fs::metadata(to)?.len() as f64 / 1e6,
        100.0 * rate,
        threshold.logit
    );
    Ok(())
}

/// Returns whether both paths are the same file, also through links.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some() && real(one) == real(other)
}
