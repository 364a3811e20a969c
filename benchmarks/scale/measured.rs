//! Runs a stage in a process of its own, and reads Linux's statistics of that process.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Time between two samples of a process.
const LOOK: Duration = Duration::from_millis(20);
/// Ticks of processor time per second, on Linux the same for every program.
const TICKS: f64 = 100.0;

/// A measured stage.
#[derive(Clone, Copy)]
pub struct Stage {
    pub name: &'static str,
    /// Description for people.
    what: &'static str,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    /// Run by this program in a folder; returns a description of the result.
    Own(fn(&Path) -> String),
    /// Prepared here, then run by the program with these arguments.
    Program(fn(&Path) -> Vec<String>),
}

/// Measurements of a process.
pub struct Taken {
    /// Elapsed seconds.
    seconds: f64,
    /// Processor seconds of all its threads.
    processor: f64,
    /// Peak resident memory, MiB.
    memory: f64,
    /// The last line of its output.
    said: String,
}

impl Stage {
    pub const fn own(name: &'static str, what: &'static str, act: fn(&Path) -> String) -> Self {
        Self { name, what, act: Act::Own(act) }
    }

    pub const fn program(name: &'static str, what: &'static str, act: fn(&Path) -> Vec<String>) -> Self {
        Self { name, what, act: Act::Program(act) }
    }

    /// Runs the stage in this process.
    pub fn run(&self, folder: &Path) {
        match self.act {
            Act::Own(act) => println!("{}", act(folder)),
            Act::Program(_) => panic!("{} is not done by this program", self.name),
        }
    }

    /// Runs the stage in a process of its own.
    pub fn measure(&self, folder: &Path) -> Taken {
        let mut command = match self.act {
            Act::Own(_) => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--stage", self.name]).arg(folder);
                command
            }
            Act::Program(prepare) => {
                let mut command = Command::new(program());
                command.args(prepare(folder));
                command
            }
        };
        // The program would otherwise set these and restart as another process.
        command.env("CANDLE_NUM_THREADS", "1").env("MIMALLOC_PURGE_DELAY", "-1");
        watch(&mut command)
    }

    /// Returns a row of a table.
    pub fn row(&self, taken: &Taken) -> String {
        let Taken { seconds, processor, memory, said } = taken;
        format!("| {} | {seconds:.1} | {processor:.1} | {memory:.0} | {said} |", self.what)
    }

    /// Returns the same as JSON.
    pub fn json(&self, taken: &Taken) -> Value {
        json!({
            "stage": self.name, "what": self.what, "seconds": taken.seconds,
            "processor_seconds": taken.processor, "peak_mib": taken.memory, "said": taken.said,
        })
    }
}

/// Returns the path of the program, which `cargo build --package xtask` puts beside the folder of this binary.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("skewbench");
    assert!(program.exists(), "{}: not there; cargo build --package xtask", program.display());
    program
}

/// Runs a command to its end.
fn watch(command: &mut Command) -> Taken {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    let (mut memory, mut processor) = (0.0_f64, 0.0_f64);
    let status = loop {
        // A process that has ended keeps its times until it is waited for, but not its memory statistics.
        let place = PathBuf::from(format!("/proc/{}", child.id()));
        memory = memory.max(peak(&place).unwrap_or(0.0));
        processor = processor.max(times(&place).unwrap_or(0.0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let seconds = begun.elapsed().as_secs_f64();
    let text = reader.join().unwrap();
    let said = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
    assert!(status.success(), "{command:?}: {status}\n{text}");
    Taken { seconds, processor, memory, said }
}

/// Reads the peak resident memory so far, MiB.
fn peak(place: &Path) -> Option<f64> {
    let text = fs::read_to_string(place.join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// Reads the processor seconds of all its threads so far, in user and system mode.
fn times(place: &Path) -> Option<f64> {
    let text = fs::read_to_string(place.join("stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let rest: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| rest.get(place)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}
