//! The command line before anything runs: help, mistakes, and how a signal ends the program.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output};

fn skewbench(arguments: &[&str], through_cargo: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    if through_cargo {
        command.env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
    } else {
        command.env_remove("CARGO_MANIFEST_DIR");
    }
    command.args(arguments).output().expect("the program starts")
}

fn texts(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[test]
fn help_goes_to_the_output_and_mistakes_to_the_errors() {
    let help = skewbench(&["reproduce", "--help"], true);
    let [output, errors] = texts(&help);
    assert!(help.status.success() && output.contains("--study <STUDY>") && errors.is_empty(), "{errors}");
    for mistake in [&["reproduce", "--sutdy", "x"][..], &["reproduec"], &[]] {
        let ended = skewbench(mistake, true);
        let [output, errors] = texts(&ended);
        assert_eq!(ended.status.code(), Some(2), "{mistake:?}");
        assert!(output.is_empty() && errors.contains("Usage: "), "{mistake:?}: {errors}");
    }
    let failed = skewbench(&["status", "/nowhere"], true);
    let [output, errors] = texts(&failed);
    assert_eq!((failed.status.code(), output.as_str()), (Some(1), ""));
    assert!(errors.starts_with("error: ") && errors.lines().count() == 1, "{errors}");
}

/// `cargo xtask` in a checkout is called `skewbench` when installed.
#[test]
fn commands_are_written_as_this_user_types_them() {
    for (through_cargo, own, other) in
        [(true, "cargo xtask ", "skewbench "), (false, "skewbench ", "cargo xtask ")]
    {
        let [help, _] = texts(&skewbench(&["export", "--help"], through_cargo));
        assert!(help.contains(&format!("Usage: {own}export")), "{help}");
        assert!(
            help.contains(&format!("{own}reproduce --init")) && !help.contains(&format!("{other}reproduce")),
            "{help}"
        );
        let [_, errors] = texts(&skewbench(&["diff", "a", "paper"], through_cargo));
        assert!(errors.contains(&format!("the paper comes first: {own}diff paper a")), "{errors}");
    }
    let [_, errors] = texts(&skewbench(&["cost"], false));
    assert!(errors.contains("this command builds from source: run it with cargo in a checkout"), "{errors}");
}

/// Returns the program with SIGINT as at a terminal: shells start background jobs, tests among them, with SIGINT
/// ignored, and the program respects that.
#[cfg(unix)]
fn heeding_signals() -> Command {
    const PROGRAM: &str = env!("CARGO_BIN_EXE_skewbench");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim();
    if u64::from_str_radix(ignored, 16).unwrap() & 0b10 == 0 {
        return Command::new(PROGRAM);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", PROGRAM]);
    command
}

/// A batch system learns from status 75 that work is left; a shell sees the signal that ended the program.
#[cfg(unix)]
#[test]
fn a_signal_keeps_the_state_of_a_cell_and_ends_the_program_as_it_should() {
    use std::{
        io::Read,
        os::unix::process::ExitStatusExt,
        process::Stdio,
        time::{Duration, Instant},
    };

    let root = tempfile::tempdir().unwrap();
    let data = support::folder(&support::camera(root.path(), "data", 0));
    for (signal, code, number) in
        [("-USR1", Some(75), None), ("-TERM", None, Some(15)), ("-INT", None, Some(2))]
    {
        let out = root.path().join(signal);
        let lock = out.join("extension/supervised-resnet18-natural-seed0.lock");
        let mut child = heeding_signals()
            .args(["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"])
            .args(support::SMALL)
            .args(["--epochs", "100000", "--data", &data, "--out"])
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let trains = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains("\nloss = "));
        while !trains() {
            assert!(begun.elapsed() < Duration::from_secs(60), "training does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((status.code(), status.signal()), (code, number), "{signal}: {errors}");
        assert!(
            errors.contains("0 of 1 cells are finished. Run the same command again to resume."),
            "{errors}"
        );
        assert!(lock.with_extension("checkpoint").exists(), "{signal}: its state is kept");
    }
}

/// An installed program replaces itself by itself with the settings that are missing; arguments and the user's own
/// settings stay.
#[cfg(target_os = "linux")]
#[test]
fn settings_are_added_and_the_users_own_are_kept() {
    use std::{
        io::Write,
        process::Stdio,
        time::{Duration, Instant},
    };
    const NAMES: [&str; 2] = ["CANDLE_NUM_THREADS", "MIMALLOC_PURGE_DELAY"];
    for (given, expected) in
        [(None, ["1", "-1"]), (Some((NAMES[0], "3")), ["3", "-1"]), (Some((NAMES[1], "7")), ["1", "7"])]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
        for name in NAMES {
            command.env_remove(name);
        }
        command.envs(given).args(["race", "--worker"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let found = loop {
            let text = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            let value = |name: &str| {
                let of = text.split('\0').filter_map(|pair| pair.split_once('='));
                of.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            let found = NAMES.map(value);
            if found.iter().all(|values| !values.is_empty()) || begun.elapsed() > Duration::from_secs(30) {
                break found;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(found, expected.map(|value| vec![value.to_owned()]), "{given:?}");
        child.stdin.take().unwrap().write_all(b"no case\n").unwrap();
        let errors = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
        assert!(errors.contains("the case is not JSON"), "the arguments are the same: {errors}");
    }
}

/// The second output is written over the first one, and the last is that of a finished folder.
#[test]
fn progress_is_followed_until_every_cell_is_finished() {
    use std::{io::Read, process::Stdio};

    use skewbench::results::{self, Folder, provenance, record::Run};

    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/2026-11-29-small-study/table1");
    let mut record =
        results::read(&std::path::Path::new(committed).join("simclr-resnet18-share45-seed0.json"));
    record.as_mut().unwrap().beside.clear();
    let record = record.unwrap();
    let provenance = provenance::collect(&skewbench::candle_core::Device::Cpu);
    let cells = vec![(record.cell.id.clone(), 100)];
    folder.note_run(Run { command: "reproduce".to_owned(), provenance, times: 1, cells }).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.arg("status").arg(root.path()).arg("--follow").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let first = "0 of 1 cells finished, 0 in training, 0 interrupted, 1 not begun\nno estimate yet\n";
    let mut output = child.stdout.take().unwrap();
    let mut text = vec![0; first.len()];
    output.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8_lossy(&text), first);
    folder.write(&record).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let last = "\u{1b}[2A\u{1b}[J1 of 1 cells finished, 0 in training, 0 interrupted, 0 not begun\n";
    assert_eq!(rest, last);
    assert!(child.wait().unwrap().success());
    let [output, _] = texts(&skewbench(&["status", &root.path().display().to_string(), "--follow"], true));
    assert_eq!(output, last.trim_start_matches("\u{1b}[2A\u{1b}[J"), "there is nothing to wait for");
}

/// What is in the cache is not fetched again; who uses it has to know its licence and what to cite.
#[test]
fn data_that_are_here_already_are_told_with_licence_and_citations() {
    use skewbench::{
        backbone::import::mobilenet,
        data::elpv::{self, install},
    };
    let cache = tempfile::tempdir().unwrap();
    let folder = install::folder_in(cache.path());
    std::fs::create_dir(&folder).unwrap();
    let told = |what: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
        command.args(["data", what]).env("SKEWBENCH_CACHE", cache.path()).env_remove("CARGO_MANIFEST_DIR");
        let output = command.output().unwrap();
        let [output, errors] = texts(&output);
        assert!(errors.is_empty(), "{errors}");
        output
    };
    let cite = |papers: &[&str]| papers.iter().map(|paper| format!("  {paper}\n")).collect::<String>();
    let expected = format!(
        "elpv photographs already here: {}\nlicence: {}\ncite:\n{}use them: skewbench reproduce --data elpv\n",
        folder.display(),
        elpv::LICENCE,
        cite(&elpv::CITATIONS)
    );
    assert_eq!(told("elpv"), expected);
    // As the package is called that it comes from; under another name it would be fetched.
    let folder = cache.path().join("mobilenet_v2-1.3.2");
    std::fs::create_dir(&folder).unwrap();
    let weights = folder.join("mobilenet_v2.safetensors").display().to_string();
    let expected = format!(
        "MobileNetV2 with ImageNet weights already here: {weights}\nlicence: {}\ncite:\n{}use them: skewbench reproduce \
         --data elpv --frozen {weights}\n",
        mobilenet::LICENCE,
        cite(&mobilenet::CITATIONS)
    );
    assert_eq!(told("mobilenet"), expected);
}
