//! `race`: times training steps of ours and of PyTorch's, alternating, on this machine.
//!
//! Each side is a process of its own that keeps its model warm and runs a step on request ([`worker`],
//! `fixtures/torch/race.py`): the same method, backbone, batch, side, threads and optimiser, f32 or mixed precision
//! on both sides, random images in memory; no augmentation, probe or monitors. PyTorch runs in every memory layout
//! that it offers (and compiled, if requested), and the fastest one is raced. Then blocks of steps alternate, so
//! that other load on the machine affects both; the ratio is the median over pairs of blocks.

mod cases;
mod child;
mod loader;
mod scripts;
pub mod worker;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use skewbench::{
    analysis::ratio::{Ratio, median},
    results::provenance,
};

use self::{
    cases::{CASES, Case, Precision, Setting},
    child::Child,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Python with torch, torchvision, timm and lightly: `python3.11 -m venv E`, `cargo xtask race --requirements >
    /// E/requirements.txt`, `E/bin/pip install --no-deps -r E/requirements.txt`, then `--python E/bin/python`
    #[arg(long, required_unless_present_any = ["worker", "requirements"])]
    python: Option<PathBuf>,
    /// Only cases whose name contains one of these texts, such as `simclr`, `64px` or `bf16`; `f32` for those without
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Try torch.compile too: PyTorch's side then takes minutes longer to start
    #[arg(long, conflicts_with = "loader")]
    compile: bool,
    /// Number of pairs of blocks; the blocks of a pair are timed one after the other, ours and theirs
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Threads of either side [default: the machine's cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Race decoding and two views of 64 and 224 px instead of training steps, on one thread
    #[arg(long)]
    loader: bool,
    /// Race Pillow and NumPy, which torchvision's loader uses: a substitute if torch cannot be installed
    #[arg(long, requires = "loader")]
    pillow: bool,
    /// Number of images that loaders read
    #[arg(long, value_name = "N", default_value_t = 16, requires = "loader")]
    images: usize,
    /// Folder for `race.json`; if one exists, `race-2.json` is written, and so on
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the Python packages that PyTorch's side needs, in pip's format, and stop
    #[arg(long)]
    requirements: bool,
    /// Run steps on request: our side, started by the race itself
    #[arg(long, hide = true)]
    worker: bool,
}

/// The result of a race of one case.
struct Outcome {
    name: String,
    /// The fastest of PyTorch's settings.
    setting: String,
    /// Seconds per step (or image), block by block.
    ours: Vec<f64>,
    theirs: Vec<f64>,
    /// Peak resident memory of the process, and how much of it training adds, bytes; ours and theirs.
    memory: Option<[(u64, u64); 2]>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.worker {
        return worker::run();
    }
    if arguments.requirements {
        print!("{}", scripts::REQUIREMENTS);
        return Ok(());
    }
    let python = arguments.python.as_deref().context("--python is needed")?;
    let versions = versions(python, if arguments.pillow { &["pillow", "numpy"] } else { &PACKAGES })?;
    let file = arguments.out.as_deref().map(new_file).transpose()?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let threads = if arguments.loader { 1 } else { threads };
    println!("{versions}; {threads} threads; {} pairs", arguments.pairs);

    let mut outcomes = Vec::new();
    if arguments.loader {
        let race = loader::Race::new(python, arguments.images, arguments.pillow)?;
        for case in
            loader::CASES.into_iter().filter(|case| is_selected(&arguments.only, &loader::name(*case)))
        {
            outcomes.push(race.run(case, arguments.pairs)?);
            print(&outcomes[outcomes.len() - 1])?;
        }
    } else {
        for (case, precision) in selected_cases(&arguments.only) {
            outcomes.push(race((case, precision), python, threads, arguments)?);
            print(&outcomes[outcomes.len() - 1])?;
        }
    }
    if outcomes.is_empty() {
        let known: Vec<String> = if arguments.loader {
            loader::CASES.map(loader::name).to_vec()
        } else {
            all_cases().map(|(case, precision)| case.name(precision)).collect()
        };
        bail!("no case has that name; known: {}", known.join(", "))
    }
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&record(&outcomes, &versions, threads)?)?;
        std::fs::write(&file, text + "\n")
            .with_context(|| format!("{}: cannot be written", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Returns every case in f32, then in bf16.
fn all_cases() -> impl Iterator<Item = (&'static Case, Precision)> {
    Precision::ALL.into_iter().flat_map(|precision| CASES.iter().map(move |case| (case, precision)))
}

/// Returns whether a name contains one of these texts, if there are any.
fn is_selected(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|text| name.contains(text))
}

/// Returns the cases whose names contain one of these texts; those in f32 have no suffix of their own.
fn selected_cases(only: &[String]) -> impl Iterator<Item = (&'static Case, Precision)> {
    all_cases().filter(move |(case, precision)| {
        is_selected(only, &case.name(*precision))
            || *precision == Precision::Single && only.iter().any(|text| text == "f32")
    })
}

/// Alternates blocks that are long enough to be timed.
fn race(
    (case, precision): (&Case, Precision),
    python: &Path,
    threads: usize,
    &Arguments { pairs, compile, .. }: &Arguments,
) -> Result<Outcome> {
    let (mut theirs, setting) = fastest((case, precision), python, threads, compile)?;
    let mut ours = Child::ours(&case.line(precision, threads, Setting::default()), threads)?;
    ours.step()?;
    let once = ours.step()?;
    // A block takes about half a second. Ours.
    let steps = (0.5 / once).ceil().clamp(1.0, 20.0) as usize;
    let (mut our_blocks, mut their_blocks) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        our_blocks.push(ours.block(steps)?);
        their_blocks.push(theirs.block(steps)?);
    }
    let memory = [ours.memory()?, theirs.memory()?];
    Ok(Outcome {
        name: case.name(precision),
        setting,
        ours: our_blocks,
        theirs: their_blocks,
        memory: Some(memory),
    })
}

/// Starts PyTorch in its fastest setting, warmed up.
fn fastest(
    (case, precision): (&Case, Precision),
    python: &Path,
    threads: usize,
    compile: bool,
) -> Result<(Child, String)> {
    let mut best: Option<(f64, Child, String)> = None;
    let compiled = if compile { &[false, true][..] } else { &[false] };
    let settings = [false, true].into_iter().flat_map(|channels_last| {
        let both = case.together().iter().flat_map(move |&together| {
            compiled.iter().map(move |&compiled| Setting { channels_last, together, compiled })
        });
        both.collect::<Vec<_>>()
    });
    for setting in settings {
        let mut child = Child::python(python, "race.py", &case.line(precision, threads, setting), threads)?;
        child.step()?;
        let seconds = (0..3).map(|_| child.step()).collect::<Result<Vec<_>>>()?;
        let seconds = seconds.into_iter().fold(f64::INFINITY, f64::min);
        if best.as_ref().is_none_or(|(fastest, ..)| seconds < *fastest) {
            best = Some((seconds, child, words(case, setting)));
        }
    }
    let (_, child, setting) = best.context("no setting was tried")?;
    Ok((child, setting))
}

/// Describes a setting for the table.
fn words(case: &Case, setting: Setting) -> String {
    let layout = if setting.channels_last { "channels last" } else { "channels first" };
    let views = match (case.views(), setting.together) {
        (1, _) => "",
        (_, true) => ", views in one batch",
        (_, false) => ", view by view",
    };
    format!("{layout}{views}{}", if setting.compiled { ", compiled" } else { "" })
}

fn print(outcome: &Outcome) -> Result<()> {
    let ratio = Ratio::from_times(&outcome.ours, &outcome.theirs)?;
    let mut line = format!(
        "{:<34} ours {:>8.1} ms  theirs {:>8.1} ms  ratio {:.2} ({:.2} to {:.2})",
        outcome.name,
        1e3 * median(&outcome.ours),
        1e3 * median(&outcome.theirs),
        ratio.median,
        ratio.least,
        ratio.largest,
    );
    if let Some([ours, theirs]) = outcome.memory {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        line += &format!("  training adds {:.0} MiB, theirs {:.0}", megabytes(ours.1), megabytes(theirs.1));
    }
    println!("{line}  [{}]", outcome.setting);
    Ok(())
}

fn record(outcomes: &[Outcome], versions: &str, threads: usize) -> Result<serde_json::Value> {
    let provenance = provenance::collect(&skewbench::candle_core::Device::Cpu);
    let cases: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let ratio = Ratio::from_times(&outcome.ours, &outcome.theirs)?;
            Ok(json!({
                "case": outcome.name,
                "pytorch_setting": outcome.setting,
                "ratio": { "median": ratio.median, "quartiles": ratio.quartiles,
                           "least": ratio.least, "largest": ratio.largest },
                "seconds": { "ours": outcome.ours, "pytorch": outcome.theirs },
                "memory_bytes": outcome.memory.map(|[ours, theirs]| json!({
                    "ours": { "process_peak": ours.0, "training_adds": ours.1 },
                    "pytorch": { "process_peak": theirs.0, "training_adds": theirs.1 },
                })),
            }))
        })
        .collect::<Result<_>>()?;
    Ok(json!({
        "schema": 1, "kind": "race", "pytorch": versions, "threads": threads, "cases": cases,
        "provenance": provenance,
    }))
}

/// Packages that a race against PyTorch needs.
const PACKAGES: [&str; 4] = ["torch", "torchvision", "timm", "lightly"];

/// Returns the versions of these packages in the Python environment, or an error that names what is missing.
fn versions(python: &Path, packages: &[&str]) -> Result<String> {
    let script = format!(
        "import importlib.metadata as m, platform\n\
         print('Python', platform.python_version(), *(f'{{n}} {{m.version(n)}}' for n in {packages:?}))"
    );
    let output = Command::new(python)
        .args(["-c", &script])
        .output()
        .with_context(|| format!("{}: cannot be started", python.display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: lacks a package that the race needs: {}; `cargo xtask race --requirements` lists them all, and says how to \
         install them",
        python.display(),
        error.lines().last().unwrap_or("no message")
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns `race.json` in a folder, or `race-2.json` and so on if it exists: measurements are never overwritten.
fn new_file(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let name =
        |number: usize| if number == 1 { "race.json".to_owned() } else { format!("race-{number}.json") };
    let mut files = (1..).map(|number| folder.join(name(number)));
    Ok(files.find(|file| !file.exists()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;

    /// By hand: theirs divided by ours, pair by pair, are 3, 2 and 2.5.
    #[test]
    fn a_record_has_both_sides_under_their_names() {
        let outcome = Outcome {
            name: "a case".to_owned(),
            setting: "channels last".to_owned(),
            ours: vec![1.0, 2.0, 4.0],
            theirs: vec![3.0, 4.0, 10.0],
            memory: Some([(7, 5), (70, 50)]),
        };
        let file = record(&[outcome], "torch 1", 3).unwrap();
        assert_eq!(
            (&file["pytorch"], &file["threads"], &file["kind"]),
            (&json!("torch 1"), &json!(3), &json!("race"))
        );
        let case = &file["cases"][0];
        assert_eq!((&case["case"], &case["pytorch_setting"]), (&json!("a case"), &json!("channels last")));
        assert_eq!(case["seconds"], json!({ "ours": [1.0, 2.0, 4.0], "pytorch": [3.0, 4.0, 10.0] }));
        let ratio = json!({ "median": 2.5, "quartiles": [2.25, 2.75], "least": 2.0, "largest": 3.0 });
        assert_eq!(case["ratio"], ratio);
        let memory = json!({
            "ours": { "process_peak": 7, "training_adds": 5 },
            "pytorch": { "process_peak": 70, "training_adds": 50 },
        });
        assert_eq!(case["memory_bytes"], memory);
    }

    #[test]
    fn no_measurement_is_written_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        for name in ["race.json", "race-2.json", "race-3.json"] {
            let file = new_file(&out).unwrap();
            assert_eq!(file, out.join(name));
            std::fs::write(file, "").unwrap();
        }
    }

    /// Every defined pair is raced at 224 pixels, because the cost of the paper's grid is computed from these.
    #[test]
    fn cases_are_told_apart_and_say_what_both_sides_do() {
        let names: std::collections::BTreeSet<String> =
            all_cases().map(|(case, precision)| case.name(precision)).collect();
        assert_eq!(names.len(), 2 * CASES.len());
        for method in skewbench::method::Name::PAPER {
            for backbone in skewbench::backbone::Name::STUDY {
                let at_224 = names.iter().filter(|name| {
                    name.starts_with(&format!("{method}-{backbone}-")) && name.ends_with("x224px")
                });
                let expected = usize::from(method.undefined_on(backbone).is_none());
                assert_eq!(at_224.count(), expected, "{method} on {backbone}");
            }
        }
        let simclr = &CASES[0];
        assert_eq!(simclr.name(Precision::Mixed), "simclr-resnet18-16x64px-bf16");
        let setting = Setting { channels_last: true, together: false, compiled: true };
        let line: serde_json::Value =
            serde_json::from_str(&simclr.line(Precision::Mixed, 5, setting)).unwrap();
        let expected = json!({
            "method": "simclr", "backbone": "resnet18", "views_of_pixels": 2, "batch": 16, "side": 64, "threads": 5,
            "channels_last": true, "together": false, "compiled": true, "mixed": true,
        });
        assert_eq!(line, expected);
        assert_eq!(words(simclr, setting), "channels last, view by view, compiled");
        let plain = Setting { together: true, ..Setting::default() };
        assert_eq!(words(simclr, plain), "channels first, views in one batch");
        let one = CASES.iter().find(|case| case.views() == 1).unwrap();
        assert_eq!(words(one, plain), "channels first", "one view is no batch of views");
    }

    /// The fastest of three steps decides, after an untimed one. The first setting begins fastest and the last
    /// ones are faster on average, but none of their steps is as fast as the second setting's best.
    #[cfg(unix)]
    #[test]
    fn pytorch_is_raced_in_its_fastest_setting() {
        let (_folder, python) = child::tests::script(
            r#"read line
case "$line" in
    *'"channels_last":false'*'"together":false'*) steps="0.01 0.4 0.4 0.4" ;;
    *'"channels_last":false'*'"together":true'*) steps="0.9 0.9 0.2 0.9" ;;
    *'"together":false'*) steps="0.9 0.3 0.3 0.3" ;;
    *) steps="0.9 0.35 0.35 0.35" ;;
esac
echo ready
for seconds in $steps 7; do read word; echo $seconds; done"#,
        );
        let of = |method| {
            CASES.iter().find(|case| {
                (case.method, case.backbone, case.side) == (method, skewbench::backbone::Name::ViTTiny, 224)
            })
        };
        let byol = of(skewbench::method::Name::Byol).unwrap();
        let (mut child, setting) = fastest((byol, Precision::Single), &python, 1, false).unwrap();
        assert_eq!(setting, "channels first, views in one batch");
        assert_eq!(child.step().unwrap(), 7.0, "warm: its four steps are taken");
        // If views cannot share a batch, the next best setting is taken.
        let supervised = of(skewbench::method::Name::Supervised).unwrap();
        let (_, setting) = fastest((supervised, Precision::Single), &python, 1, false).unwrap();
        assert_eq!(setting, "channels last");
    }

    #[test]
    fn cases_are_chosen_by_their_names_and_f32_is_what_has_no_suffix() {
        let names = |only: &[&str]| -> Vec<String> {
            let only: Vec<String> = only.iter().map(|&text| text.to_owned()).collect();
            selected_cases(&only).map(|(case, precision)| case.name(precision)).collect()
        };
        let all = names(&[]);
        assert_eq!(all.len(), 36);
        assert_eq!(names(&["f32"]), all[..18]);
        assert_eq!(names(&["bf16"]), all[18..]);
        let mae = ["mae-vit_tiny-16x224px", "mae-vit_tiny-16x224px-bf16"];
        assert_eq!(names(&["mae"]), mae);
        let both = ["simclr-resnet18-8x224px", "mae-vit_tiny-16x224px"];
        let found: Vec<String> = names(&["mae", "simclr-resnet18-8x"])
            .into_iter()
            .filter(|name| !name.ends_with("bf16"))
            .collect();
        assert_eq!(found, both);
        assert!(names(&["moco"]).is_empty());
    }

    /// By hand: medians of 2 and 4 seconds; theirs divided by ours are 3, 2 and 2.5.
    #[test]
    fn an_outcome_is_told_in_one_line() {
        use crate::support::print::captured;
        let outcome = Outcome {
            name: "a case".to_owned(),
            setting: "channels last".to_owned(),
            ours: vec![0.001, 0.002, 0.004],
            theirs: vec![0.003, 0.004, 0.010],
            memory: Some([(7 << 20, 5 << 20), (70 << 20, 50 << 20)]),
        };
        let told = |outcome: &Outcome| captured::output(|| print(outcome).unwrap());
        let begin =
            format!("{:<34} ours      2.0 ms  theirs      4.0 ms  ratio 2.50 (2.00 to 3.00)", "a case");
        assert_eq!(told(&outcome), format!("{begin}  training adds 5 MiB, theirs 50  [channels last]\n"));
        assert_eq!(told(&Outcome { memory: None, ..outcome }), format!("{begin}  [channels last]\n"));
    }

    #[cfg(unix)]
    #[test]
    fn pythons_packages_are_asked_for_and_what_is_missing_is_named() {
        let (_folder, python) = child::tests::script("echo \" $1 $2 \"");
        let told = versions(&python, &["torch", "timm"]).unwrap();
        assert!(told.starts_with("-c import importlib.metadata as m, platform"), "{told}");
        assert!(told.ends_with("for n in [\"torch\", \"timm\"]))"), "{told}");
        let (_folder, python) = child::tests::script("echo Traceback >&2; echo 'no timm' >&2; exit 1");
        let error = versions(&python, &PACKAGES).unwrap_err().to_string();
        assert!(error.contains("lacks a package that the race needs: no timm;"), "{error}");
        assert!(versions(Path::new("/nowhere/python"), &PACKAGES).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_race_without_cases_names_those_there_are() {
        use clap::Parser;

        use crate::support::print::captured;
        let (_folder, python) = child::tests::script("echo Python 3.11 torch 2");
        let python = python.display().to_string();
        let flags = ["--python", &python, "--only", "moco", "--threads", "5", "--pairs", "3"];
        let mut error = String::new();
        let told = captured::output(|| {
            error = run(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap_err().to_string();
        });
        assert_eq!(told, "Python 3.11 torch 2; 5 threads; 3 pairs\n");
        assert!(error.starts_with("no case has that name; known: simclr-resnet18-16x64px, "), "{error}");
        let told = captured::output(|| {
            run(&Standalone::<Arguments>::parse_from(["--requirements"]).arguments).unwrap()
        });
        assert_eq!(told, scripts::REQUIREMENTS);
        assert!(told.lines().any(|line| line.starts_with("torch==")), "{told}");
    }

    /// Only where batch normalisation cannot mix them may views of other methods than SimCLR share a batch.
    #[test]
    fn views_share_a_batch_where_that_changes_nothing() {
        use skewbench::{backbone::Name::ViTTiny, method::Name::SimClr};
        let mut tried = std::collections::BTreeMap::new();
        for case in &CASES {
            let expected: &[bool] = match (case.method, case.views(), case.backbone) {
                (SimClr, ..) => &[true],
                (_, 2, ViTTiny) => &[false, true],
                _ => &[false],
            };
            assert_eq!(case.together(), expected, "{}", case.name(Precision::Single));
            *tried.entry(expected).or_insert(0) += 1;
        }
        assert_eq!(tried.into_values().collect::<Vec<_>>(), [11, 3, 4], "of 18 cases");
    }

    #[test]
    fn f32_can_be_asked_for_beside_other_texts() {
        let names = |only: &[&str]| -> Vec<String> {
            let only: Vec<String> = only.iter().map(|&text| text.to_owned()).collect();
            selected_cases(&only).map(|(case, precision)| case.name(precision)).collect()
        };
        let all = names(&[]);
        let mae = "mae-vit_tiny-16x224px-bf16".to_owned();
        let both = [&all[..18], &[mae]].concat();
        assert_eq!(names(&["f32", "mae"]), both);
        assert_eq!(names(&["mae", "f32"]), both);
    }
}
