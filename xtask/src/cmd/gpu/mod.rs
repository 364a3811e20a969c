//! `gpu`: checks and timings that need a GPU, and the package that carries them to a machine with one.

mod cases;
mod end_to_end;
mod losses;
mod operations;
mod package;
mod steps;
mod trajectories;
#[cfg(feature = "cuda")]
mod views;

use anyhow::Result;
use skewbench::{candle_core::Device, tensor::gpu};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Build for a GPU and put everything needed there into one folder (needs nvcc, no GPU)
    Package(package::Arguments),
    /// Write the cases that PyTorch's scripts run, as JSON
    Cases(package::CasesFile),
    /// Check the kernels of the losses against the CPU, and time them (needs a GPU and the feature `cuda`)
    Losses(Sizes),
    /// Check views made on the GPU against the CPU's, and time them (needs a GPU and the feature `cuda`)
    Views(Sizes),
    /// Check every operation, its gradients and the optimisers' updates against the CPU (needs a GPU and the feature
    /// `cuda`)
    Operations(Sizes),
    /// Train a few steps of every method on the GPU and on the CPU, from equal weights, and time them (needs a GPU
    /// and the feature `cuda`)
    Steps(Sizes),
    /// Check ten steps of every method on the GPU against recorded steps of PyTorch (needs a GPU and the feature
    /// `cuda`)
    Trajectories(Sizes),
    /// Time training with views made on the GPU, and the training step alone (needs a GPU and the feature `cuda`)
    EndToEnd(Sizes),
}

#[derive(clap::Args)]
pub struct Sizes {
    /// Use sizes small enough for compute-sanitizer, and no timings (those of end-to-end are meaningless)
    #[arg(long)]
    small: bool,
    /// Run on the CPU, to check that everything works; timings are then meaningless
    #[arg(long)]
    rehearse: bool,
    /// File for the operations' arguments and results, as safetensors; other checks ignore it
    #[arg(long, value_name = "FILE")]
    keep: Option<std::path::PathBuf>,
    /// File for the numbers, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
}

impl Sizes {
    fn device(&self) -> Result<Device> {
        Ok(if self.rehearse { Device::Cpu } else { gpu::open()? })
    }
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Package(arguments) => package::run(arguments),
        Command::Cases(arguments) => package::cases(arguments),
        Command::Losses(sizes) => losses::run(sizes),
        #[cfg(feature = "cuda")]
        Command::Views(sizes) => views::run(sizes),
        #[cfg(not(feature = "cuda"))]
        Command::Views(_) => Ok(gpu::open().map(drop)?),
        Command::Operations(sizes) => operations::run(sizes),
        Command::Steps(sizes) => steps::run(sizes),
        Command::Trajectories(sizes) => trajectories::run(sizes),
        Command::EndToEnd(sizes) => end_to_end::run(sizes),
    }
}
