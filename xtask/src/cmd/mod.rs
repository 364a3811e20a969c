//! The verbs of skewbench, one file (or folder) each: what a verb takes, and its `run`.

mod bundle;
mod choose;
mod claims;
mod cost;
mod data;
mod diff;
mod doctor;
mod export;
mod gpu;
mod onnx;
mod predict;
mod race;
mod report;
mod reproduce;
mod soak;
mod status;
mod submit;
mod tune;

use anyhow::Result;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Train and score every method of the study (the main command)
    Reproduce(reproduce::Arguments),
    /// Tune every method's hyper-parameters with equal effort, on images that no study is scored on
    Tune(tune::Arguments),
    /// Find the best method and backbone for a data set without training the whole grid
    Choose(choose::Arguments),
    /// Run a study on Slurm, on Kubernetes, or as several processes here
    Submit(submit::Arguments),
    /// Estimate what the paper's full grid would cost, from measured rates
    Cost(cost::Arguments),
    /// Show the progress of a results folder
    Status(status::Arguments),
    /// Show which scores changed between two results folders, or between the paper and one
    Diff(diff::Arguments),
    /// Judge the paper's claims, on its own numbers and on yours
    Claims(claims::Arguments),
    /// Write the results as one page of HTML
    Report(report::Arguments),
    /// Write a trained encoder for torchvision or timm
    Export(export::Arguments),
    /// Write a trained model as a detector in one file
    Bundle(bundle::Arguments),
    /// Convert a detector to ONNX, for other programs
    Onnx(onnx::Arguments),
    /// Score new images with a detector, and show the most suspicious ones
    Predict(predict::Arguments),
    /// Compare the speed of training, or of image loading, with PyTorch on this machine
    Race(race::Arguments),
    /// Kill this program during training, and check that the results stay the same
    Soak(soak::Arguments),
    /// Run checks and timings that need a GPU, or pack them for a machine that has one
    #[command(subcommand)]
    Gpu(gpu::Command),
    /// Check machine, data and results folder before hours of training
    Doctor(doctor::Arguments),
    /// Fetch, pack or preview data
    #[command(subcommand)]
    Data(data::Command),
}

impl Command {
    /// Returns whether the verb continues when its output cannot be written: its results are files, and take hours.
    pub fn keeps_results(&self) -> bool {
        match self {
            Self::Reproduce(arguments) => !arguments.dry_run,
            Self::Tune(arguments) => !arguments.dry_run,
            Self::Choose(arguments) => !arguments.dry_run,
            Self::Submit(arguments) => arguments.local.is_some(),
            Self::Predict(_) => true,
            _ => false,
        }
    }

    /// Runs the verb.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Reproduce(arguments) => reproduce::run(arguments),
            Self::Tune(arguments) => tune::run(arguments),
            Self::Choose(arguments) => choose::run(arguments),
            Self::Submit(arguments) => submit::run(arguments),
            Self::Cost(arguments) => cost::run(arguments),
            Self::Status(arguments) => status::run(arguments),
            Self::Diff(arguments) => diff::run(arguments),
            Self::Claims(arguments) => claims::run(arguments),
            Self::Report(arguments) => report::run(arguments),
            Self::Export(arguments) => export::run(arguments),
            Self::Bundle(arguments) => bundle::run(arguments),
            Self::Onnx(arguments) => onnx::run(arguments),
            Self::Predict(arguments) => predict::run(arguments),
            Self::Race(arguments) => race::run(arguments),
            Self::Soak(arguments) => soak::run(arguments),
            Self::Gpu(command) => gpu::run(command),
            Self::Doctor(arguments) => doctor::run(arguments),
            Self::Data(command) => data::run(command),
        }
    }
}
