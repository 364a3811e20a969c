//! The commands of skewbench: a match from subcommand to function, one file a command.

mod claims;
mod data;
mod diff;
mod doctor;
mod export;
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
    /// Check machine, data and results folder before hours of training
    Doctor(doctor::Arguments),
    /// Get or look at data
    #[command(subcommand)]
    Data(data::Command),
}

fn main() -> ExitCode {
    // As one of the pool's threads: whoever is not has to be woken up after each of the thousands of operations of a step.
    match rayon::join(run, || ()).0 {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What went wrong and where, not the stack: the message is for a person at a terminal.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
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
        Command::Race(arguments) => race::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Data(command) => data::run(&command),
    }
}
