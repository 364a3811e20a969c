//! `submit` at the command line: a scheduler, or this machine, is given exactly what was requested.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use skewbench::results::Folder;
use support::{SMALL, camera, error, folder, program, skewbench, succeeds};
use tempfile::TempDir;

/// Flags of `reproduce` for three floors of a folder of pictures.
fn floors(root: &Path) -> Vec<String> {
    let data = folder(&camera(root, "data", 0));
    let out = root.join("out").display().to_string();
    let own = ["--study", "floors", "--shares", "natural", "--data", &data, "--out", &out];
    [&own[..], &SMALL].concat().into_iter().map(str::to_owned).collect()
}

fn submit(own: &[&str], reproduce: &[String], programs: &Path) -> Output {
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.arg("submit").args(own).arg("--").args(reproduce).env("PATH", path).output().unwrap()
}

fn told(output: &Output) -> String {
    succeeds(output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_manifest_runs_what_follows_on_a_gpu_where_there_is_one() {
    let script = |gpus: &str, more: &[&str]| {
        let own =
            ["submit", "--kubernetes", "--image", "x:1", "--claim", "c", "--tasks", "4", "--gpus", gpus];
        let job = told(&skewbench(&[&own[..], &["--", "--full", "--out=/results/a"], more].concat()));
        let job: Value = serde_json::from_str(&job).unwrap();
        job["spec"]["template"]["spec"]["containers"][0]["command"][2].as_str().unwrap().to_owned()
    };
    let part = "--part $((JOB_COMPLETION_INDEX + 1))/4";
    assert_eq!(script("0", &[]), format!("exec skewbench reproduce --full --out=/results/a {part}"));
    assert_eq!(script("1", &[]), format!("exec skewbench reproduce --full --out=/results/a --gpu {part}"));
    // A flag that was given is not added again.
    assert_eq!(script("2", &["--gpu"]), script("1", &[]));
}

#[test]
fn a_job_array_is_handed_to_slurm_and_noted_for_status() {
    let root = TempDir::new().unwrap();
    let (programs, out, asked) = (root.path().join("bin"), root.path().join("out"), floors(root.path()));
    fs::create_dir(&programs).unwrap();
    let log = programs.join("log");
    program(&programs, "sbatch", &format!("echo \"$@\" >> {}; echo '1234;cluster'", log.display()));
    program(&programs, "squeue", &format!("echo \"$@\" >> {}; echo '1234_2 RUNNING None'", log.display()));

    // With --write-only, nothing is submitted or noted.
    let said = told(&submit(&["--slurm", "--write-only", "--tasks", "2"], &asked, &programs));
    assert!(said.contains("written: 2 tasks") && !log.exists(), "{said}");
    assert!(Folder::open(&out).unwrap().runs().unwrap().is_empty());
    // Tasks start elsewhere, so a relative folder is made absolute.
    let mut relative = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    relative.args(["submit", "--slurm", "--write-only", "--"]).args(&asked[..asked.len() - SMALL.len() - 1]);
    told(&relative.arg("elsewhere").args(SMALL).current_dir(root.path()).output().unwrap());
    let folder = root.path().canonicalize().unwrap().join("elsewhere");
    let script = fs::read_to_string(folder.join("slurm/array.sh")).unwrap();
    assert!(script.contains(&format!(" --out {} --part ", folder.display())), "{script}");
    let said = told(&submit(&["--slurm", "--tasks", "100", "--gpus", "2"], &asked, &programs));
    assert!(said.contains("submitted: 3 tasks as job 1234"), "no more than there are cells: {said}");
    let scripts = ["array.sh", "report.sh"].map(|name| out.join("slurm").join(name).display().to_string());
    let calls = fs::read_to_string(&log).unwrap();
    let expected =
        format!("--parsable {}\n--parsable --dependency=afterany:1234 {}\n", scripts[0], scripts[1]);
    assert_eq!(calls, expected);
    let script = fs::read_to_string(&scripts[0]).unwrap();
    for part in
        ["#SBATCH --array=1-3\n", "#SBATCH --gres=gpu:2\n", " --gpu ", "--part \"$SLURM_ARRAY_TASK_ID/3\""]
    {
        assert!(script.contains(part), "no '{part}': {script}");
    }
    let runs = Folder::open(&out).unwrap().runs().unwrap();
    assert_eq!(runs.iter().map(|run| run.cells.len()).collect::<Vec<_>>(), [3]);

    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut status = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    let said = told(&status.arg("status").arg(&out).env("PATH", &path).output().unwrap());
    assert!(said.starts_with("0 of 3 cells finished, 0 in training, 0 interrupted, 3 not begun\n"), "{said}");
    assert!(said.contains("  slurm        1234_2 RUNNING None\n"), "{said}");
    assert!(fs::read_to_string(&log).unwrap().ends_with("--jobs 1234\n"));

    program(&programs, "sbatch", "echo 'no such partition' >&2; exit 1");
    let message = error(&submit(&["--slurm"], &asked, &programs));
    assert!(message.contains("sbatch refuses: no such partition"), "{message}");
    program(&programs, "sbatch", "echo soon");
    let message = error(&submit(&["--slurm"], &asked, &programs));
    assert!(message.contains("sbatch printed 'soon', expected a job id"), "{message}");
    assert_eq!(fs::read_to_string(out.join("slurm/jobs")).unwrap(), "1234\n");
    // A job is known to `status` even if the one after it is refused, and all jobs are asked for.
    program(&programs, "sbatch", "case \"$2\" in --dep*) exit 1 ;; *) echo 77 ;; esac");
    assert!(error(&submit(&["--slurm"], &asked, &programs)).contains("sbatch refuses: "));
    told(
        &Command::new(env!("CARGO_BIN_EXE_skewbench"))
            .arg("status")
            .arg(&out)
            .env("PATH", &path)
            .output()
            .unwrap(),
    );
    assert!(fs::read_to_string(&log).unwrap().ends_with("--jobs 1234,77\n"));
    fs::remove_file(programs.join("sbatch")).unwrap();
    let message = error(&submit(&["--slurm"], &asked, &programs));
    let expected = "sbatch: not found; submit on a node that has Slurm, or use --write-only: ";
    assert!(which("sbatch") || message.contains(expected), "{message}");
}

/// Returns whether this machine has a program.
fn which(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}

#[test]
fn processes_here_share_the_cells() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("out");
    let asked = [floors(root.path()), vec!["--no-weights".to_owned()]].concat();
    let said = told(&submit(&["--local", "2"], &asked, root.path()));
    for process in ["[0] ", "[1] "] {
        assert!(said.lines().any(|line| line.starts_with(process)), "{said}");
    }
    let records = Folder::open(&out).unwrap().records().unwrap();
    let mut found: Vec<&str> = records.iter().map(|record| record.cell.id.as_str()).collect();
    found.sort_unstable();
    let expected = ["pixels/none-pixels", "random_weights/none-resnet18", "random_weights/none-vit_tiny"]
        .map(|cell| format!("{cell}-natural-seed0"));
    assert_eq!(found, expected);
    // With --no-weights, no process stores weights.
    let kept: Vec<_> =
        fs::read_dir(out.join("random_weights")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(
        kept.iter().all(|path| path.extension().is_none_or(|ending| ending != "safetensors")),
        "{kept:?}"
    );
}

/// A cell whose logits cannot be written fails in every process that tries it, and its reason is passed on.
#[test]
fn a_process_that_fails_is_counted_and_its_reason_is_shown() {
    let root = TempDir::new().unwrap();
    let asked = floors(root.path());
    let in_the_way = root.path().join("out/random_weights/none-resnet18-natural-seed0.logits.csv");
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let output = submit(&["--local", "1"], &asked, root.path());
    let message = error(&output);
    let expected =
        "error: 1 of 1 processes failed; their messages are above. Run the same command again to resume\n";
    assert!(message.ends_with(expected), "{message}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("[0] error: 1 of 3 cells failed; the others are finished"), "{said}");
    assert!(said.contains("none-resnet18-natural-seed0.logits.csv"), "{said}");
    assert!(root.path().join("out/tables").is_dir(), "what there is, is written up");
    let message = error(&submit(&["--local", "2"], &asked, root.path()));
    assert!(message.ends_with(&expected.replace("1 of 1", "2 of 2")), "{message}");
    let few = submit_with_gpus("3", &asked);
    assert!(error(&few).contains("but the number of GPUs in CUDA_VISIBLE_DEVICES is 1"), "{}", error(&few));
}

/// Starts two processes, which need a GPU each.
fn submit_with_gpus(visible: &str, reproduce: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.args(["submit", "--local", "2", "--gpus", "1", "--"]).args(reproduce);
    command.env("CUDA_VISIBLE_DEVICES", visible).output().unwrap()
}

/// Processes are asked to keep the states of their cells, and then end by the same signal.
#[test]
fn a_signal_reaches_the_processes_that_were_started() {
    let root = TempDir::new().unwrap();
    let (data, out) = (folder(&camera(root.path(), "data", 0)), root.path().join("out"));
    let own = ["--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"];
    let mut submit = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    submit.args(["submit", "--local", "2", "--"]).args(own).args(SMALL);
    submit.args(["--epochs", "100000", "--data", &data, "--out"]).arg(&out);
    let mut submit = submit.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // One process trains the cell, the other waits for it.
    let (mut output, mut said) = (BufReader::new(submit.stdout.take().unwrap()), String::new());
    while !said.contains("] waiting for 1 cell in training by other processes\n") {
        assert!(output.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let lock = out.join("extension/supervised-resnet18-natural-seed0.lock");
    let begun = Instant::now();
    while !fs::read_to_string(&lock).is_ok_and(|text| text.contains("\nloss = ")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "training does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-TERM", &submit.id().to_string()]).status().unwrap();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(submit.wait().unwrap().signal(), Some(15), "{said}");
    for process in ["[0] ", "[1] "] {
        let stopped = |line: &str| line.starts_with(process) && line.contains(" 0 of 1 cells are finished. ");
        assert!(said.lines().any(stopped), "{process}: {said}");
    }
    assert!(said.ends_with("stopped. Run the same command again to resume.\n"), "{said}");
    assert!(lock.with_extension("checkpoint").exists(), "its state is kept");
}

/// A process that the system ends, as for want of memory, has no status of its own: it has failed all the same.
#[test]
fn a_process_that_is_killed_has_failed() {
    let root = TempDir::new().unwrap();
    let (data, out) = (folder(&camera(root.path(), "data", 0)), root.path().join("out"));
    let mut submit = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    submit.args(["submit", "--local", "1", "--", "--study", "table1", "--only", "supervised-resnet18"]);
    submit
        .args(["--shares", "natural", "--epochs", "100000", "--data", &data, "--out"])
        .arg(&out)
        .args(SMALL);
    let submit = submit.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (lock, begun) = (out.join("extension/supervised-resnet18-natural-seed0.lock"), Instant::now());
    let process = loop {
        let text = fs::read_to_string(&lock).unwrap_or_default();
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("process = ")) {
            break line.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "training does not begin");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_ne!(process, submit.id().to_string());
    assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    let expected =
        "error: 1 of 1 processes failed; their messages are above. Run the same command again to resume\n";
    assert_eq!(error(&submit.wait_with_output().unwrap()), expected);
}
