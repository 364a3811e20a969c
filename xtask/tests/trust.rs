//! Files in a results folder are complete and belong to their record, or are named; and no results are lost
//! because output cannot be shown.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::{SMALL, camera, error, folder, skewbench, succeeds};
use tempfile::TempDir;

const CELL: &str = "extension/supervised-resnet18-natural-seed0";

/// The command that trains [`CELL`], for a second.
fn reproduce(data: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewbench"));
    command.args(["reproduce", "--study", "table1", "--only", "supervised-resnet18", "--shares", "natural"]);
    command.args(SMALL).args(["--epochs", "1", "--data", &folder(data), "--out"]).arg(out);
    command
}

/// Runs it, and returns its error output.
fn trained(data: &Path, out: &Path, more: &[&str]) -> String {
    succeeds(&reproduce(data, out).args(more).output().unwrap())
}

fn beside(out: &Path, ending: &str) -> PathBuf {
    out.join(format!("{CELL}.{ending}"))
}

#[test]
fn what_lies_beside_a_record_is_its_own_or_is_made_again() {
    let root = TempDir::new().unwrap();
    let (data, out) = (camera(root.path(), "data", 0), root.path().join("out"));
    trained(&data, &out, &[]);
    let paths =
        ["safetensors", "logits.csv", "detector.safetensors", "json"].map(|ending| beside(&out, ending));
    let bytes = || paths.each_ref().map(|path| fs::read(path).unwrap());
    let [weights, logits, detector, _] = &paths;
    let whole = bytes();
    let text = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (folder, encoder) = (text("out"), text("encoder.safetensors"));
    let export = |more: &[&str]| skewbench(&[&["export", &folder, CELL, &encoder], more].concat());

    // An export overwrites nothing by default.
    succeeds(&export(&[]));
    let message = error(&export(&[]));
    assert!(message.contains("already exists; --overwrite"), "{message}");
    succeeds(&export(&["--overwrite"]));

    // A flipped bit in the weights, and two thirds of the logits.
    let mut flipped = whole[0].clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(weights, flipped).unwrap();
    let text_of_logits = String::from_utf8(whole[1].clone()).unwrap();
    let rows = text_of_logits.lines().count() - 1;
    let some: String = text_of_logits.split_inclusive('\n').take(1 + rows / 3).collect();
    fs::write(logits, some).unwrap();
    let message = error(&export(&["--overwrite"]));
    assert!(message.contains("the record states") && message.contains(CELL), "{message}");
    let message = error(&skewbench(&["bundle", &folder, CELL, &text("x.skewbench")]));
    assert!(message.contains("does not belong to its record"), "{message}");
    let told = succeeds(&skewbench(&["diff", &folder, &folder]));
    assert!(told.contains("wrong file: ") && told.contains("weights, logits"), "{told}");
    let status = skewbench(&["status", &folder]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("incomplete") && status.contains("1 of 1 cells finished"), "{status}");
    // Files that are not to be kept are not computed again.
    fs::write(logits, &whole[1]).unwrap();
    let told = trained(&data, &out, &["--no-weights"]);
    assert!(
        told.contains("differs from the weights that its record describes: it is not written again, because of --no-weights"),
        "{told}"
    );

    for damage in
        [&|| fs::remove_file(logits).unwrap() as _, &|| fs::remove_file(detector).unwrap()] as [&dyn Fn(); 2]
    {
        damage();
        let told = trained(&data, &out, &[]);
        assert!(told.contains("missing, although the record lists it: the cell is computed again"), "{told}");
        assert!(bytes() == whole, "files, and the record that stands, are the same to the bit");
    }
    assert!(trained(&data, &out, &[]).contains("finished earlier"));

    // A record that is too old to list its files cannot vouch for them.
    let json = &paths[3];
    let text_of_record = String::from_utf8(whole[3].clone()).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text_of_record).unwrap();
    let exported = export(&["--overwrite"]);
    succeeds(&exported);
    let exported = String::from_utf8_lossy(&exported.stdout).into_owned();
    record.as_object_mut().unwrap().remove("beside").unwrap();
    fs::write(json, record.to_string()).unwrap();
    let old = export(&["--overwrite"]);
    succeeds(&old);
    let note = "note: the record is too old to have digests, so these weights cannot be checked against it\n";
    assert_eq!(String::from_utf8_lossy(&old.stdout), exported.clone() + note);
    // timm expects another number of heads; without a stated normalisation it is the one of all older records.
    let values = record["settings"]["values"].as_object_mut().unwrap();
    values.retain(|name, _| !name.starts_with("normalisation"));
    values.insert("vit.heads".to_owned(), 2.into());
    fs::write(json, record.to_string()).unwrap();
    let other = export(&["--overwrite"]);
    succeeds(&other);
    let other = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(
        other.ends_with("timm's vit_tiny has 3 attention heads: create it with num_heads=2\n"),
        "{other}"
    );
    let normalisation = |told: &str| {
        let lines = told.lines().filter(|line| line.contains("normalisation") || line.contains("mean"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(
        !normalisation(&exported).is_empty() && normalisation(&other) == normalisation(&exported),
        "{other}"
    );
    fs::remove_file(weights).unwrap();
    let message = error(&export(&["--overwrite"]));
    assert!(message.contains("no weights beside the record; it was made with --no-weights"), "{message}");
}

#[test]
fn files_that_cannot_be_read_are_told_before_training_and_cost_nothing_else() {
    let root = TempDir::new().unwrap();
    let (data, out) = (camera(root.path(), "data", 0), root.path().join("out"));
    let study = out.join("extension");
    fs::create_dir_all(&study).unwrap();
    fs::write(study.join("notes.json"), "{\"a\": 1}").unwrap();
    fs::write(out.join("environment.json"), "{\"schema\": 2, \"ru").unwrap();
    // A temporary file of a dead process, and one of another program.
    fs::write(study.join(".tmp-skewbench-x"), "").unwrap();
    fs::write(study.join(".tmpx"), "").unwrap();
    let status = || {
        let output = skewbench(&["status", &out.to_string_lossy()]);
        succeeds(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = status();
    assert!(told.contains("environment.json: damaged") && told.contains("notes.json"), "{told}");

    let told = trained(&data, &out, &[]);
    let place = |text: &str| told.find(text).unwrap_or_else(|| panic!("no '{text}': {told}"));
    assert!(
        place("not read: ") < place("F1 ") && told.contains("notes.json: not a skewbench record"),
        "{told}"
    );
    assert!(place("environment.json could not be read") < place("F1 "), "{told}");
    assert!(out.join("environment.json-torn").exists() && out.join("report.html").exists());
    assert!(!study.join(".tmp-skewbench-x").exists() && study.join(".tmpx").exists());
    let told = status();
    assert!(told.contains("1 of 1 cells finished") && told.contains("notes.json"), "{told}");
}

/// A closed pipe, a full disk and a closed terminal do not stop training.
#[cfg(unix)]
#[test]
fn training_needs_no_audience() {
    let root = TempDir::new().unwrap();
    let data = camera(root.path(), "data", 0);
    let closed = || -> Stdio {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer.into()
    };
    let full = || -> Stdio { fs::File::options().write(true).open("/dev/full").unwrap().into() };
    let outs = ["closed", "full"].map(|name| root.path().join(name));
    let audiences =
        [&closed as &dyn Fn() -> Stdio].into_iter().chain(cfg!(target_os = "linux").then_some(&full as _));
    for (out, audience) in outs.iter().zip(audiences) {
        let mut child = reproduce(&data, out).stdout(audience()).stderr(audience()).spawn().unwrap();
        let lock = out.join(format!("{CELL}.lock"));
        while !lock.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // The process may have ended by now.
        Command::new("kill").args(["-HUP", &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        assert!(beside(out, "json").exists() && out.join("report.html").exists());
    }
    // A program whose purpose is to print fails if it cannot, and says so.
    if cfg!(target_os = "linux") {
        let output =
            Command::new(env!("CARGO_BIN_EXE_skewbench")).arg("claims").stdout(full()).output().unwrap();
        let message = error(&output);
        assert!(
            message.contains("the standard output could not be written") && !message.contains("panic"),
            "{message}"
        );
    }
}

#[cfg(unix)]
#[test]
fn names_need_not_be_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let root = TempDir::new().unwrap();
    let (data, out) = (camera(root.path(), "data", 0), root.path().join(OsStr::from_bytes(b"out\xff")));
    trained(&data, &out, &[]);
    assert!(beside(&out, "json").exists() && out.join("report.html").exists());
    assert!(trained(&data, &out, &[]).contains("finished earlier"));
}

#[test]
fn threads_that_cannot_be_had_are_an_error() {
    // No machine has memory for such a stack: as with `ulimit -u`, no thread can be started.
    let output = Command::new(env!("CARGO_BIN_EXE_skewbench"))
        .arg("claims")
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    let message = error(&output);
    assert!(
        message.contains("error: cannot start its threads") && !message.contains("panicked"),
        "{message}"
    );
}

/// What a power cut leaves depends on the order in which things reach the disk: a file must come before its name,
/// and its name before the removal of the state that could compute it again. `strace` shows that order; on a
/// machine without it this is not tested, and the test says so.
#[cfg(target_os = "linux")]
#[test]
fn a_power_cut_finds_files_before_their_names_and_names_before_the_state_goes() {
    let root = TempDir::new().unwrap();
    let real = root.path().canonicalize().unwrap();
    let (data, out, calls) = (camera(&real, "data", 0), real.join("out"), real.join("calls"));
    let command = reproduce(&data, &out);
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2,unlink,unlinkat", "-o"])
        .arg(&calls);
    let traced = traced.arg(command.get_program()).args(command.get_args()).output();
    if !traced.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: strace cannot be run here: {traced:?}");
        return;
    }
    let (mut synced, mut names) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    let (mut renamed, mut states) = (0, 0);
    for call in fs::read_to_string(&calls).unwrap().lines() {
        let quoted: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
        if let Some((_, path)) = call.split_once("fsync(").and_then(|(_, call)| call.split_once('<')) {
            let path = path.split('>').next().unwrap();
            names.remove(path);
            synced.insert(path.to_owned());
        } else if let ([from, to], true) = (&quoted[..], call.contains("rename")) {
            assert!(synced.contains(*from), "{to} has its name before it is on the disk");
            names.insert(Path::new(to).parent().unwrap().to_string_lossy().into_owned());
            renamed += 1;
        } else if quoted.first().is_some_and(|path| path.ends_with(".checkpoint")) {
            assert!(names.is_empty(), "the state goes before names are on the disk in {names:?}");
            states += 1;
        }
    }
    assert!(renamed > 10 && states == 1 && names.is_empty(), "{renamed} renamed, {states} states, {names:?}");
}
