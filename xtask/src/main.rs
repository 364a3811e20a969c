//! The commands of skewbench: a match from subcommand to function, one file a command.

mod claims;
mod data;
mod diff;
mod doctor;
mod export;
mod gpu;
mod pulse;
mod race;
mod report;
mod reproduce;
mod source;
mod status;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When defects are rare, which self-supervised method should I pretrain with, and can I trust the
/// number that tells me?
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train, probe and score the cells of the study; the main job
    Reproduce(reproduce::Arguments),
    /// Show how far a results folder is
    Status(status::Arguments),
    /// Show what moved between two results folders, or between the paper and one
    Diff(diff::Arguments),
    /// Judge what the paper says, on its own numbers and on records
    Claims(claims::Arguments),
    /// Write the results as one page of HTML
    Report(report::Arguments),
    /// Write a trained encoder for torchvision or timm
    Export(export::Arguments),
    /// Time training steps, or loading, against PyTorch's on this machine
    Race(race::Arguments),
    /// Prepare and do what needs a GPU
    #[command(subcommand)]
    Gpu(gpu::Command),
    /// Check machine, data and results folder before hours of training
    Doctor(doctor::Arguments),
    /// Get or look at data
    #[command(subcommand)]
    Data(data::Command),
}

/// What `.cargo/config.toml` sets for what cargo runs, and why: a binary that is started without cargo is slower by a
/// quarter to a third unless it has the same.
const SETTINGS: [(&str, &str); 2] = [("CANDLE_NUM_THREADS", "1"), ("MIMALLOC_PURGE_DELAY", "-1")];

fn main() -> ExitCode {
    start_again_with_settings();
    // As one of the pool's threads: whoever is not has to be woken up after each of the thousands of operations of a step.
    let ended = rayon::join(run, || ()).0;
    skewbench::tensor::gpu::notes().iter().for_each(|note| eprintln!("note: {note}"));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What went wrong and where, not the stack: the message is for a person at a terminal.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process by itself with [`SETTINGS`], where one is missing: the allocator reads its own before `main`.
fn start_again_with_settings() {
    #[cfg(unix)]
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_none())
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let missing = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
        let mut command = std::process::Command::new(program);
        command.args(std::env::args_os().skip(1)).envs(missing);
        // Comes back only if it failed; then slower is better than not at all.
        let _ = command.exec();
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        Command::Reproduce(arguments) => reproduce::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Claims(arguments) => claims::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Gpu(command) => gpu::run(&command),
        Command::Race(arguments) => race::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Data(command) => data::run(&command),
    }
}
