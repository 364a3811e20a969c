//! `cargo xtask soak`: disturbances that hours of training must survive: kills, power cuts, other threads and
//! processors, and many cells in one process.

mod determinism;
mod kills;
mod memory;
mod power_cuts;
mod study;

use anyhow::Result;

/// Kill this program while it trains, hundreds of times, and compare the results with those of an undisturbed run.
///
/// Trains a small study on a few drawn images once undisturbed, and then repeatedly with several processes on one
/// folder, one of which gets a signal (SIGKILL, SIGTERM or SIGINT) at a random moment and is restarted. Records,
/// weights, logits and detectors must be bit-identical, and nothing may be left over. Ends with status 1 if
/// anything differs. The subcommands test other conditions that must not matter.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    kills: kills::Arguments,
}

#[derive(clap::Subcommand)]
enum What {
    /// Train the same cells with other threads, builds and instruction sets, and show which files are bit-identical
    Determinism(determinism::Arguments),
    /// Train hundreds of cells in one process, and check that memory and open files do not grow
    Memory(memory::Arguments),
    /// Simulate power cuts during a study, and check that the same command ends with the same bits
    PowerCuts(power_cuts::Arguments),
    /// Print the instruction sets that this process sees
    #[command(hide = true)]
    InstructionSets,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        None => kills::run(&arguments.kills),
        Some(What::Determinism(arguments)) => determinism::run(arguments),
        Some(What::Memory(arguments)) => memory::run(arguments),
        Some(What::PowerCuts(arguments)) => power_cuts::run(arguments),
        Some(What::InstructionSets) => {
            println!("{}", determinism::instruction_sets());
            Ok(())
        }
    }
}
