//! A process that runs steps on request, ours or PyTorch's.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{self, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::scripts;
use crate::support::pipe;

/// The process; it ends when this value is dropped.
pub struct Child {
    process: process::Child,
    input: process::ChildStdin,
    output: BufReader<process::ChildStdout>,
    /// Resident memory after the model is built and before the first step, bytes.
    built: u64,
    /// Folder of its script, if it has one.
    _scripts: Option<TempDir>,
}

impl Child {
    /// Starts this program as a worker.
    pub fn ours(line: &str, threads: usize) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["race", "--worker"]).env("RAYON_NUM_THREADS", threads.to_string());
        Self::new(command, line, None)
    }

    /// Starts one of PyTorch's [`scripts`].
    pub fn python(python: &Path, script: &str, line: &str, threads: usize) -> Result<Self> {
        let scripts = scripts::unpack()?;
        let mut command = Command::new(python);
        command.arg(scripts.path().join(script)).env("OMP_NUM_THREADS", threads.to_string());
        // The best setting for PyTorch: glibc keeps the memory of large tensors instead of requesting it from the
        // system in every step.
        command.env("MALLOC_MMAP_THRESHOLD_", "4294967296").env("MALLOC_TRIM_THRESHOLD_", "17179869184");
        Self::new(command, line, Some(scripts))
    }

    fn new(mut command: Command, line: &str, scripts: Option<TempDir>) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("{command:?}: cannot be started"))?;
        let input = process.stdin.take().context("no standard input")?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut child = Self { process, input, output, built: 0, _scripts: scripts };
        let answer = child.ask(line)?;
        if answer != "ready" {
            bail!("{command:?} answered '{answer}', expected 'ready'")
        }
        child.built = child.status("VmRSS")?;
        Ok(child)
    }

    /// Returns the seconds of one step.
    pub fn step(&mut self) -> Result<f64> {
        let answer = self.ask("step")?;
        answer.parse().with_context(|| format!("'{answer}' is not a number of seconds"))
    }

    /// Returns the mean seconds of several consecutive steps.
    pub fn block(&mut self, steps: usize) -> Result<f64> {
        let seconds = (0..steps).map(|_| self.step()).sum::<Result<f64>>()?;
        Ok(seconds / steps as f64)
    }

    /// Returns the peak resident memory so far, and how much of it came after the model was built, bytes. Zero if
    /// the system does not report it.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let peak = self.status("VmHWM")?;
        Ok((peak, peak.saturating_sub(self.built)))
    }

    /// Reads a line of Linux's status of the process, bytes.
    fn status(&self, name: &str) -> Result<u64> {
        let Ok(text) = fs::read_to_string(format!("/proc/{}/status", self.process.id())) else {
            return Ok(0);
        };
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(1_024 * kilobytes.with_context(|| format!("{name}: not in /proc/PID/status"))?)
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        // A worker that has died explains why on its standard error.
        let sent = pipe::survive(|| writeln!(self.input, "{line}").and_then(|()| self.input.flush()));
        let mut answer = String::new();
        let read = self.output.read_line(&mut answer);
        if sent.is_err() || !matches!(read, Ok(1..)) {
            let mut error = String::new();
            if let Some(mut stderr) = self.process.stderr.take() {
                stderr.read_to_string(&mut error)?;
            }
            bail!("a worker stopped at '{line}': {}", error.trim())
        }
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Either it has ended already, or it must end now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(unix)]
#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns a shell script that stands in for Python. A separate process writes the file: as long as this
    /// process had it open for writing, none of its threads could execute it.
    pub fn script(text: &str) -> (TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "cat > \"$0\" && chmod +x \"$0\""]).arg(&path).stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}").as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        (folder, path)
    }

    #[test]
    fn a_block_is_the_mean_of_its_steps() {
        let (_folder, python) =
            script("read line\necho ready\nfor s in 1 2 6 0.5; do read word; echo $s; done; read word");
        let mut child = Child::python(&python, "race.py", "{}", 1).unwrap();
        assert_eq!(child.block(3).unwrap(), 3.0);
        assert_eq!(child.step().unwrap(), 0.5);
        let (peak, added) = child.memory().unwrap();
        assert!(peak >= added, "{peak} {added}");
    }

    #[test]
    fn a_worker_that_stops_says_why() {
        let error = |text: &str| {
            let (_folder, python) = script(text);
            let child = Child::python(&python, "race.py", "{}", 1);
            let ended = child.and_then(|mut child| child.step());
            format!("{:#}", ended.unwrap_err())
        };
        assert!(error("read line; echo no").contains("answered 'no', expected 'ready'"));
        let died = error("read line; echo ready; read word; echo 'no module called torch' >&2; exit 1");
        assert!(died.contains("a worker stopped at 'step': no module called torch"), "{died}");
        assert!(
            error("read line; echo ready; read word; echo soon")
                .contains("'soon' is not a number of seconds")
        );
    }

    /// Threads, memory settings and the case reach the requested script.
    #[test]
    fn a_script_is_started_with_its_threads_and_its_line() {
        let told = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "read line\nfor word in \"$line\" \"${{1##*/}}\" $OMP_NUM_THREADS $MALLOC_MMAP_THRESHOLD_ \
             $MALLOC_TRIM_THRESHOLD_; do echo \"$word\" >> {}; done\n[ -e \"$1\" ] && echo ready\nread word",
            told.path().display()
        );
        let (_folder, python) = script(&text);
        drop(Child::python(&python, "race_loader.py", "{\"a\": 1}", 3).unwrap());
        let found = fs::read_to_string(told.path()).unwrap();
        let expected = ["{\"a\": 1}", "race_loader.py", "3", "4294967296", "17179869184"];
        assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    }

    /// The process held twenty megabytes before it was ready, and has given them back.
    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_the_most_that_a_process_ever_held() {
        let text = "read line\nx=$(head -c 20000000 /dev/zero | tr '\\0' a)\nunset x\necho ready\nread word";
        let mut shell = Command::new("sh");
        // Not with the setting for PyTorch, which gives nothing back.
        shell.args(["-c", text]).env_remove("MALLOC_MMAP_THRESHOLD_").env_remove("MALLOC_TRIM_THRESHOLD_");
        let child = Child::new(shell, "{}", None).unwrap();
        let text = fs::read_to_string(format!("/proc/{}/status", child.process.id())).unwrap();
        let kilobytes = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (most, now) = (kilobytes("VmHWM:"), kilobytes("VmRSS:"));
        assert!(most > now + 4_096, "{most} and {now} KiB");
        let (peak, added) = child.memory().unwrap();
        assert_eq!(peak, 1_024 * most);
        assert_eq!(added, peak - child.built);
        assert!(child.built < 1_024 * (most - 4_096), "{} bytes when it was built", child.built);
    }
}
