//! `gpu`: what a machine with a GPU shall do, prepared on one without, and done there.

#[cfg(feature = "cuda")]
mod losses;
mod package;
#[cfg(feature = "cuda")]
mod steps;
#[cfg(feature = "cuda")]
mod views;

use anyhow::Result;
use skewbench::candle_core::Device;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Build for a GPU and put all that is needed there into one folder (needs nvcc, no GPU)
    Package(package::Arguments),
    /// Hold the losses' kernels to their twins on the CPU and time them (on a machine with a GPU, built with `cuda`)
    Losses(Sizes),
    /// Hold views made there to the CPU's, and time them (likewise)
    Views(Sizes),
    /// Train a few steps of every method there and on the CPU, from equal weights, and time them (likewise)
    Steps(Sizes),
}

#[derive(clap::Args)]
pub struct Sizes {
    /// Sizes small enough for compute-sanitizer, and no timings
    #[arg(long)]
    small: bool,
    /// File for the numbers, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
}

/// The first GPU.
///
/// # Errors
/// If there is none, or this build is for the CPU alone.
#[cfg(feature = "cuda")]
pub fn device() -> Result<Device> {
    use anyhow::Context;

    // One stream for all threads: the loader's thread makes tensors, too.
    let device = Device::new_cuda_with_stream(0).context("no GPU that CUDA finds")?;
    // SAFETY: everything goes to that one stream, so nothing is to be tracked between streams.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
pub fn device() -> Result<Device> {
    anyhow::bail!("built without the feature cuda: cargo run --package xtask --features cuda -- ...")
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Package(arguments) => package::run(arguments),
        #[cfg(feature = "cuda")]
        Command::Losses(sizes) => losses::run(sizes),
        #[cfg(feature = "cuda")]
        Command::Views(sizes) => views::run(sizes),
        #[cfg(feature = "cuda")]
        Command::Steps(sizes) => steps::run(sizes),
        #[cfg(not(feature = "cuda"))]
        Command::Losses(Sizes { .. }) | Command::Views(Sizes { .. }) | Command::Steps(Sizes { .. }) => {
            device().map(drop)
        }
    }
}
