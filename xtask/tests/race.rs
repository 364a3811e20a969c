//! `race` at the command line, against a script that stands in for PyTorch: both sides get the same case, and each
//! number is reported under the side that it belongs to.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::{error, program, skewbench, succeeds};
use tempfile::TempDir;

/// Writes the script. It notes its own name and its case in `log`, runs `then`, and answers every step with
/// `$seconds`, which `then` sets. Returns its path.
fn python(root: &Path, then: &str) -> String {
    let log = root.join("log").display().to_string();
    let text = format!(
        "if [ \"$1\" = -c ]; then echo 'Python 3.11 torch 2'; exit; fi\n\
         read line; echo \"${{1##*/}} $line\" >> {log}\n{then}\necho ready\nwhile read word; do echo $seconds; done"
    );
    program(root, "python", &text);
    root.join("python").display().to_string()
}

/// Returns the scripts that were started, and their cases.
fn started(root: &Path) -> Vec<(String, Value)> {
    let log = fs::read_to_string(root.join("log")).unwrap();
    let lines = log.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(script, case)| (script.to_owned(), serde_json::from_str(case).unwrap())).collect()
}

fn told(output: &Output) -> String {
    succeeds(output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// PyTorch's steps take 4,000 seconds in its best setting and 5,000 in others; ours take less than a minute.
#[test]
fn a_race_reports_each_side_under_its_own_name() {
    let root = TempDir::new().unwrap();
    let best = "case \"$line\" in *'\"channels_last\":true,\"compiled\":true'*) seconds=4000 ;; *) seconds=5000 ;; esac";
    let python = python(root.path(), best);
    let out = root.path().join("new").display().to_string();
    let name = "supervised-vit_tiny-32x64px-bf16";
    let flags = ["--only", name, "--pairs", "2", "--threads", "1", "--compile", "--out", &out];
    let said = told(&skewbench(&[&["race", "--python", &python], &flags[..]].concat()));
    let lines: Vec<&str> = said.lines().collect();
    let [versions, line, file] = lines[..] else { panic!("{said}") };
    assert_eq!(versions, "Python 3.11 torch 2; 1 threads; 2 pairs");
    assert!(line.starts_with(&format!("{name:<34} ours ")), "{line}");
    assert!(line.contains("  theirs 4000000.0 ms  ratio "), "{line}");
    assert!(line.ends_with("  [channels last, compiled]"), "{line}");
    assert_eq!(file, format!("{out}/race.json"));

    let settings = [(false, false), (false, true), (true, false), (true, true)];
    let expected = settings.map(|(channels_last, compiled)| {
        let case = json!({
            "method": "supervised", "backbone": "vit_tiny", "views_of_pixels": 1, "batch": 32, "side": 64, "threads": 1,
            "channels_last": channels_last, "together": false, "compiled": compiled, "mixed": true,
        });
        ("race.py".to_owned(), case)
    });
    assert_eq!(started(root.path()), expected);

    let race: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&race["pytorch"], &race["threads"]), (&json!("Python 3.11 torch 2"), &json!(1)));
    let case = &race["cases"][0];
    assert_eq!((&case["case"], &case["pytorch_setting"]), (&json!(name), &json!("channels last, compiled")));
    assert_eq!(case["seconds"]["pytorch"], json!([4000.0, 4000.0]));
    let ours: Vec<f64> =
        case["seconds"]["ours"].as_array().unwrap().iter().map(|seconds| seconds.as_f64().unwrap()).collect();
    assert!(ours.len() == 2 && ours.iter().all(|seconds| (0.0..60.0).contains(seconds)), "{ours:?}");
    if cfg!(target_os = "linux") {
        let memory = |side: &str, what: &str| case["memory_bytes"][side][what].as_u64().unwrap();
        let [ours, theirs] = ["ours", "pytorch"].map(|side| memory(side, "process_peak"));
        assert!(ours > 2 * theirs && theirs > 0, "a shell holds little: {ours} {theirs}");
        assert!((1 << 20..ours).contains(&memory("ours", "training_adds")), "{case}");
    }
}

/// In a packed case ours reads the store, theirs the files: ours does not notice that the files are gone.
#[test]
fn loaders_read_what_their_case_names() {
    let root = TempDir::new().unwrap();
    let store = root.path().join("store");
    let then = format!(
        "from=${{line#*'\"loader\":\"'}}; from=${{from%%'\"'*}}\n\
         [ -d \"$from/../store-64\" ] && cp -r \"$from/../store-64\" {} && rm -r \"$from\"\nseconds=12",
        store.display()
    );
    let python = python(root.path(), &then);
    let flags =
        ["--loader", "--pillow", "--images", "6", "--pairs", "3", "--threads", "7", "--only", "64 px"];
    let said = told(&skewbench(&[&["race", "--python", &python], &flags[..]].concat()));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "Python 3.11 torch 2; 1 threads; 3 pairs", "loaders race on one thread");
    let names = [
        "png 720x576, two views of 64 px",
        "jpeg 720x576, two views of 64 px",
        "packed at 96 px of 720x576 (theirs: jpeg), two views of 64 px",
    ];
    assert_eq!(lines.len(), 1 + names.len(), "{said}");
    for (line, name) in lines[1..].iter().zip(names) {
        assert!(line.starts_with(&format!("{name:<34} ours ")), "{line}");
        // A pass over six images takes 12 seconds.
        assert!(line.contains("  theirs   2000.0 ms  ratio "), "{line}");
        assert!(line.ends_with("  [Pillow and NumPy, standing in for torchvision]"), "{line}");
    }
    let started = started(root.path());
    for ((script, case), kind) in started.iter().zip(["png", "jpeg", "jpeg"]) {
        assert_eq!(
            (script.as_str(), &case["side"], &case["batch"]),
            ("race_pillow.py", &json!(64), &json!(16))
        );
        assert!(case["loader"].as_str().unwrap().ends_with(&format!("/{kind}")), "{case}");
    }
    assert_eq!(started.len(), 3);
    assert_eq!(skewbench::data::store::shorter_side(&store).unwrap(), Some(96), "as the case says");
}

/// Lines of a script that note how many threads our side has, which the same process started before the script.
fn note_our_threads(root: &Path) -> String {
    let note = root.join("threads").display().to_string();
    format!(
        "for other in /proc/[0-9]*; do\n  grep -q \"^PPid:[[:space:]]*$PPID$\" $other/status &&\n  \
         tr '\\0' '\\n' < $other/environ | grep ^RAYON_NUM_THREADS= >> {note}\ndone 2> /dev/null"
    )
}

/// The other format is deleted when PyTorch's side starts, which ours must not notice.
#[test]
fn both_loaders_read_the_same_format() {
    let root = TempDir::new().unwrap();
    let then = "from=${line#*'\"loader\":\"'}; from=${from%%'\"'*}\n\
                case \"$from\" in */png) mv \"$from/../jpeg\" \"$from/../hidden\" ;; esac\nseconds=10";
    let python = python(root.path(), &format!("{}\n{then}", note_our_threads(root.path())));
    let out = root.path().display().to_string();
    let race = |flags: &[&str]| skewbench(&[&["race", "--python", &python, "--loader"], flags].concat());
    let said = told(&race(&["--images", "5", "--pairs", "1", "--only", "png 720x576", "--out", &out]));
    // The second case finds the other format gone.
    assert_eq!(said.matches("  theirs   2000.0 ms").count(), 2, "{said}");
    assert_eq!(said.matches("  [Pillow, torchvision]").count(), 2, "{said}");
    let found: Vec<(String, u64)> = started(root.path())
        .into_iter()
        .map(|(script, case)| (script, case["side"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, [("race_loader.py".to_owned(), 64), ("race_loader.py".to_owned(), 224)]);
    let race: Value =
        serde_json::from_str(&fs::read_to_string(root.path().join("race.json")).unwrap()).unwrap();
    assert!(race["cases"][1]["memory_bytes"].is_null() && race["threads"] == 1, "{race}");
    assert_eq!(race["cases"][1]["seconds"]["pytorch"], json!([2.0]));
    if cfg!(target_os = "linux") {
        let threads = fs::read_to_string(root.path().join("threads")).unwrap();
        assert_eq!(threads, "RAYON_NUM_THREADS=1\n".repeat(2), "ours have one thread, too");
    }
}

#[test]
fn a_race_that_cannot_be_run_says_why() {
    let root = TempDir::new().unwrap();
    let python = python(root.path(), "seconds=1");
    let race =
        |flags: &[&str]| error(&skewbench(&[&["race", "--python", &python, "--loader"], flags].concat()));
    let message = race(&["--images", "1"]);
    assert!(message.contains("no defect image was drawn: give a larger --images"), "{message}");
    let message = race(&["--images", "5", "--only", "webp"]);
    let known = "no case has that name; known: png 720x576, two views of 64 px, jpeg 720x576, two views of 64 px, packed";
    assert!(message.contains(known), "{message}");
}

/// Gives lines to our side of a race.
fn worker(lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.args(["race", "--worker"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = command.spawn().unwrap();
    worker.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    worker.wait_with_output().unwrap()
}

#[test]
fn our_side_answers_a_case_and_its_steps() {
    let case =
        r#"{"method": "supervised", "backbone": "vit_tiny", "views_of_pixels": 1, "batch": 2, "side": 32}"#;
    for end in ["quit\nstep\n", ""] {
        let said = told(&worker(&format!("{case}\nstep\n step \n{end}")));
        let answers: Vec<&str> = said.lines().collect();
        assert!(answers.len() == 3 && answers[0] == "ready", "{said}");
        assert!(answers[1..].iter().all(|seconds| seconds.parse::<f64>().unwrap() > 0.0), "{said}");
    }
    for (lines, expected) in [
        (String::new(), "expected a case, found the end of input"),
        ("case\n".to_owned(), "the case is not JSON"),
        (format!("{case}\nwalk\n"), "expected 'step' or 'quit', found 'walk'"),
        (r#"{"loader": "/nowhere", "batch": 3}"#.to_owned(), "side: expected a number"),
        (r#"{"loader": "/nowhere", "side": 64}"#.to_owned(), "batch: expected a number"),
    ] {
        let message = error(&worker(&lines));
        assert!(message.contains(expected), "{lines}: {message}");
    }
}
