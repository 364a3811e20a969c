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
            stop::end_by_signal();
            ExitCode::from(AGAIN)
        }
        Err(error) => {
            // Without the stack trace: the message is for a person at a terminal.
            let message = program::as_typed(&reasons(&error));
            eprintln!("error: {}", foreign::escape_message(&message));
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

    /// Programs run by cargo get these variables from its configuration.
    #[test]
    fn an_installed_program_sets_what_the_checkout_sets() {
        let text = include_str!("../../.cargo/config.toml");
        let lines = text.lines().skip_while(|line| *line != "[env]").filter(|line| !line.starts_with('#'));
        let expected: Vec<(&str, &str)> = lines
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        assert_eq!(expected, SETTINGS);
    }

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["skewbench"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn only_verbs_whose_results_are_files_go_on_without_an_audience() {
        for (line, keeps) in [
            ("reproduce", true),
            ("reproduce --dry-run", false),
            ("tune", true),
            ("tune --dry-run", false),
            ("choose", true),
            ("choose --dry-run", false),
            ("submit --local 2 -- --full", true),
            ("submit --slurm -- --full", false),
            ("predict b i --out o", true),
            ("status x", false),
            ("claims", false),
            ("report", false),
            ("race --requirements", false),
            ("soak", false),
            ("cost", false),
            ("doctor", false),
            ("diff a b", false),
            ("bundle a b c", false),
            ("onnx a b", false),
            ("export a b c", false),
            ("data elpv", false),
        ] {
            let arguments = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(arguments.command.keeps_results(), keeps, "{line}");
        }
    }

    const DEFAULTS: &str = "\
reproduce --data synthetic
reproduce --on-bad-image fail
reproduce --on-leak stop
reproduce --study table1,floors
tune --data synthetic
tune --trials 8
tune --finalists 3
tune --seeds 2
tune --share 15%
tune --out results/local/tuning
choose --data synthetic
choose --on-bad-image fail
choose --on-leak stop
choose --seeds 8
choose --margin 0.02
submit --tasks 16
submit --gpus 0
submit --mount /results
claims --margin 0.02
report --margin 0.02
report --out report.html
bundle --scorer probe
bundle --flag-at own
predict --most 300
race --pairs 7
race --images 16
soak --kills 200
soak --hours 1
soak --processes 2
soak --seed 0
soak determinism --threads 1,2,3,8
soak memory --seeds 23
soak power-cuts --file-systems ext4,xfs,btrfs
soak power-cuts --cuts 7
soak power-cuts --seed 0
doctor --data synthetic
doctor --on-bad-image fail
doctor --on-leak stop
doctor --study table1,floors
data pack --on-bad-image fail
data pack --on-leak stop
data preview --out results/local/synthetic-sewer.png
data preview --side 112
data preview --seed 0";

    /// Every flag with a default value, of every verb except `gpu`.
    #[test]
    fn defaults_are_those_that_the_help_promises() {
        fn add(command: &clap::Command, name: &str, found: &mut Vec<String>) {
            let values = command.get_arguments().filter(|argument| argument.get_action().takes_values());
            for argument in values.filter(|argument| !argument.get_default_values().is_empty()) {
                let flag = argument.get_long().expect("only flags have defaults");
                let value = argument.get_default_values()[0].to_string_lossy();
                found.push(format!("{name}--{flag} {value}"));
            }
            for verb in command.get_subcommands().filter(|verb| verb.get_name() != "gpu") {
                add(verb, &format!("{name}{} ", verb.get_name()), found);
            }
        }
        let mut found = Vec::new();
        add(&Arguments::command(), "", &mut found);
        assert_eq!(found.join("\n"), DEFAULTS);
    }

    /// Each wrong command line is paired with a valid one that differs only in what is wrong.
    #[test]
    fn flags_that_need_or_exclude_others_are_checked() {
        for (wrong, right) in [
            ("reproduce --quick --full", "reproduce --full"),
            ("cost --gpu-price 1", "cost --gpu-rate 9 --gpu-price 1"),
            ("bundle d c f --share 5%", "bundle d f --best --share 5%"),
            ("bundle d", "bundle d f"),
            ("bundle d c f g", "bundle d c f"),
            ("race --pairs 1", "race --pairs 1 --python p"),
            ("race --python p --pillow", "race --python p --loader --pillow"),
            ("race --python p --images 3", "race --python p --loader --images 3"),
            ("race --python p --loader --compile", "race --python p --compile"),
            ("race --python p --pairs 0", "race --worker"),
            (
                "submit --slurm --kubernetes --image i --claim c -- -x",
                "submit --kubernetes --image i --claim c -- -x",
            ),
            ("submit --kubernetes --image i -- -x", "submit --slurm -- -x"),
            ("submit --kubernetes --claim c -- -x", "submit --slurm --time 1:00 --option=--qos=x -- -x"),
            ("submit --local 0 -- -x", "submit --local 1 -- -x"),
            ("submit --slurm --image i -- -x", "submit --slurm --at-once 3 -- -x"),
            ("submit --slurm", "submit --slurm -- x"),
            ("data pack --data elpv o", "data pack --data elpv --as-files o"),
            ("data pack --data elpv --side 64 --as-files o", "data pack --data elpv --side 64 o"),
            ("data pack --data elpv --side 7 o", "data pack --data elpv --side 8 o"),
            ("data pack --data elpv --side 4097 o", "data pack --data elpv --side 4096 o"),
            ("data preview --side 31", "data preview --side 32"),
            ("data preview --side 513", "data preview --side 512"),
            ("soak --processes 0", "soak --processes 1"),
            ("soak --processes 17", "soak --processes 16"),
            ("soak power-cuts --cuts 0", "soak power-cuts --cuts 1"),
            ("soak --kills 3 memory", "soak memory --seeds 3"),
            ("predict b i", "predict b i --out o"),
            ("reproduce --part 3/2", "reproduce --part 2/2"),
            ("reproduce --augmentation mirror", "reproduce --augmentation flip"),
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
            assert!(
                parsed(right).is_ok(),
                "{right}: {}",
                parsed(right).err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
    }

    /// Each layer of a library may add a stack of its own.
    #[test]
    fn no_stack_is_shown_however_often_an_error_was_wrapped() {
        let mut error = candle_core::Error::Msg("no device".into());
        for _ in 0..3 {
            error = candle_core::Error::WithBacktrace {
                inner: error.into(),
                backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
            };
        }
        assert_eq!(reasons(&anyhow::Error::new(error).context("--gpu")), "--gpu: no device");
    }
}
