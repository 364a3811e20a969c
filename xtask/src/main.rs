//! The program skewbench: its settings, its arguments, and how it ends. The verbs are in [`cmd`].

// First, because its macros are used everywhere.
#[macro_use]
mod support;

mod asked;
mod cmd;
mod training;

use std::{io::IsTerminal, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use skewbench::{candle_core, data::foreign};

use self::support::{
    pipe, print, program,
    stop::{self, AGAIN, Halt},
    threads,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When defects are rare, which self-supervised method should I pretrain with, and can I trust the
/// number that tells me?
#[derive(Parser)]
#[command(name = "skewbench", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: cmd::Command,
}

/// The variables that `.cargo/config.toml` sets for programs run by cargo, and their values. Without them training
/// is slower by a quarter to a third, so an installed program sets them itself.
const SETTINGS: [(&str, &str); 2] = [("CANDLE_NUM_THREADS", "1"), ("MIMALLOC_PURGE_DELAY", "-1")];

fn main() -> ExitCode {
    start_again_with_settings();
    pipe::end_quietly();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return print(&message),
    };
    let keeps = arguments.command.keeps_results();
    if keeps {
        pipe::go_on();
    }
    let ended = run(&arguments.command);
    skewbench::tensor::gpu::notes().iter().for_each(|note| eprintln!("note: {note}"));
    // The results of a verb are in files, so failing to print them is only noted.
    let lost = print::end();
    lost.iter().for_each(|error| eprintln!("note: the standard output could not be written: {error}"));
    match ended {
        Ok(()) if keeps || lost.is_none() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) if error.is::<Halt>() => {
            eprintln!("{error}");
            stop::end();
            ExitCode::from(AGAIN)
        }
        Err(error) => {
            // The message without the stack: it is for a person at a terminal.
            let message = program::as_typed(&reasons(&error));
            eprintln!("error: {}", foreign::message(&message));
            ExitCode::FAILURE
        }
    }
}

/// Returns why something failed, from the outermost reason to the innermost; a reason that repeats the one around
/// it replaces it. Candle's errors may contain a stack trace, which is removed.
fn reasons(error: &anyhow::Error) -> String {
    fn bare(error: &candle_core::Error) -> String {
        match error {
            candle_core::Error::WithBacktrace { inner, .. } => bare(inner),
            error => error.to_string(),
        }
    }
    let text = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<candle_core::Error>().map_or_else(|| cause.to_string(), bare)
    };
    let mut reasons: Vec<String> = Vec::new();
    for reason in error.chain().map(text) {
        reasons.retain(|outer| !reason.starts_with(outer.as_str()));
        reasons.push(reason);
    }
    reasons.dedup();
    reasons.join(": ")
}

/// Runs a verb on a rayon worker: a thread outside the pool is parked and woken for every operation.
fn run(command: &cmd::Command) -> Result<()> {
    threads::start()?;
    rayon::join(|| command.run(), || ()).0
}

/// Prints help, or what is wrong with the arguments, with commands as the user types them.
fn print(message: &clap::Error) -> ExitCode {
    let is_terminal =
        if message.use_stderr() { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let coloured = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let text = message.render();
    let text = program::as_typed(&if coloured { text.ansi().to_string() } else { text.to_string() });
    if message.use_stderr() {
        eprint!("{text}");
    } else {
        print!("{text}");
    }
    u8::try_from(message.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Replaces this process by itself with [`SETTINGS`] if one is missing: the allocator reads its own before `main`.
fn start_again_with_settings() {
    #[cfg(unix)]
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_none())
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let missing = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
        let mut command = std::process::Command::new(program);
        command.args(std::env::args_os().skip(1)).envs(missing);
        // Returns only if it failed; running more slowly is then better than not at all.
        let _ = command.exec();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_reason_is_said_once_and_without_a_stack() {
        let inner = candle_core::Error::Msg("no device".into());
        let inner = candle_core::Error::WithBacktrace {
            inner: inner.into(),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        let error = anyhow::Error::new(inner).context("--gpu");
        assert_eq!(reasons(&error), "--gpu: no device");
        let error = anyhow::anyhow!("a.csv: row 3: no label").context("a.csv").context("data");
        assert_eq!(reasons(&error), "data: a.csv: row 3: no label");
    }

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
