//! Files of a results folder about the whole run: the commands that requested cells, and the result of tuning.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Folder, json_text, put_aside,
    record::{Environment, Provenance, Run, SCHEMA, Tuning},
};

/// Name of the file that lists the commands behind a folder's records.
pub(super) const ENVIRONMENT: &str = "environment.json";
/// Name of the file with the result of tuning.
pub(super) const TUNING: &str = "tuning.json";
/// Name of the lock that a writer of `environment.json` must hold.
const LOCK: &str = "environment";

impl Folder {
    /// Adds a command that requests cells to `environment.json`. If the same command was started before, with the same
    /// code on the same machine, its count increases instead. An unreadable file, which a power cut can leave, is
    /// renamed, and its new name is returned; no number depends on it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note_run(&self, run: Run) -> Result<Option<PathBuf>> {
        // Other processes may start at the same moment.
        let lock = loop {
            match self.lock(LOCK)? {
                Some(lock) => break lock,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let (mut runs, aside) = match self.runs() {
            Ok(runs) => (runs, None),
            Err(_) => (Vec::new(), Some(put_aside(&self.environment(), "torn")?)),
        };
        let same = |known: &&mut Run| {
            let who =
                |run: &Run| (run.command.clone(), Provenance { started_unix: 0, ..run.provenance.clone() });
            who(known) == who(&run)
        };
        match runs.iter_mut().find(same) {
            Some(known) => {
                known.times += run.times;
                known.cells = run.cells;
            }
            None => runs.push(run),
        }
        let text = serde_json::to_string_pretty(&Environment { schema: SCHEMA, runs })?;
        self.write_file(ENVIRONMENT, format!("{text}\n").as_bytes())?;
        lock.finish();
        Ok(aside)
    }

    /// Returns the entries of `environment.json`; empty if there is no file.
    ///
    /// # Errors
    /// If it is torn or of another schema.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let path = self.environment();
        if fs::symlink_metadata(&path).is_err() {
            return Ok(Vec::new());
        }
        let read = || -> Result<Environment> {
            let found: Environment = serde_json::from_str(&json_text(&path)?)?;
            ensure!(found.schema <= SCHEMA, "schema {}, this build reads {SCHEMA}", found.schema);
            Ok(found)
        };
        Ok(read()
            .with_context(|| {
                format!("{}: damaged, or written by another version of skewbench", path.display())
            })?
            .runs)
    }

    fn environment(&self) -> PathBuf {
        self.root.join(ENVIRONMENT)
    }

    /// Writes the result of the folder's trials, replacing an earlier file; records are not changed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_tuning(&self, tuning: &Tuning) -> Result<()> {
        self.write_file(TUNING, format!("{}\n", serde_json::to_string_pretty(tuning)?).as_bytes())
    }

    /// Reads the result of the folder's trials.
    ///
    /// # Errors
    /// If there is no such file, or it is torn, of a newer schema or has other fields.
    pub fn tuning(&self) -> Result<Tuning> {
        let path = self.root.join(TUNING);
        let read = || -> Result<Tuning> {
            let found: Tuning = serde_json::from_str(&json_text(&path)?)?;
            ensure!(found.schema <= SCHEMA, "schema {}, this build reads {SCHEMA}", found.schema);
            Ok(found)
        };
        read().with_context(|| {
            format!("{}: missing, damaged, or written by another version of skewbench", path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::results::example;

    fn run(command: &str) -> Run {
        let provenance = example::record().provenance;
        Run { command: command.into(), provenance, times: 1, cells: vec![("a/b".into(), 3)] }
    }

    fn names(root: &Path) -> Vec<String> {
        let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn commands_are_counted_and_a_torn_list_is_put_aside() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for command in ["x", "x", "y"] {
            assert_eq!(folder.note_run(run(command)).unwrap(), None);
        }
        let times: Vec<usize> = folder.runs().unwrap().iter().map(|run| run.times).collect();
        assert_eq!(times, [2, 1]);

        let path = root.path().join(ENVIRONMENT);
        let whole = fs::read_to_string(&path).unwrap();
        let newer = whole.replacen(&format!("\"schema\": {SCHEMA}"), "\"schema\": 99", 1);
        for (number, torn) in ["", &whole[..whole.len() / 2], "\0\0\0", &newer].into_iter().enumerate() {
            fs::write(&path, torn).unwrap();
            assert!(folder.runs().is_err(), "{torn}");
            let aside = folder.note_run(run("x")).unwrap().expect("it is put aside");
            assert_eq!(fs::read_to_string(aside).unwrap(), torn, "nothing is lost");
            assert_eq!(folder.runs().unwrap().len(), 1);
            assert_eq!(names(root.path()).len(), 2 + number, "no lock, no temporary file");
        }
        assert_eq!(super::super::files(root.path()).unwrap().len(), 0, "none is taken for a record");
    }

    /// A command's entry: how often it was started, its first provenance and its latest cells.
    #[test]
    fn a_command_keeps_its_first_start_and_its_latest_cells() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(folder.runs().unwrap(), []);
        let started = |time: u64, device: &str, cell: &str, times: usize| {
            let mut run = run("x");
            (run.provenance.started_unix, run.provenance.device) = (time, device.to_owned());
            (run.times, run.cells) = (times, vec![(cell.to_owned(), 40)]);
            run
        };
        folder.note_run(started(10, "cpu", "a", 1)).unwrap();
        folder.note_run(started(20, "cuda", "b", 1)).unwrap();
        folder.note_run(started(30, "cpu", "c", 2)).unwrap();
        assert_eq!(folder.runs().unwrap(), [started(10, "cpu", "c", 3), started(20, "cuda", "b", 1)]);
        let text = fs::read_to_string(root.path().join("environment.json")).unwrap();
        assert!(text.starts_with("{\n  \"schema\": 2,\n  \"runs\": [") && text.ends_with("}\n"), "{text}");
        // A file of an older schema is read.
        fs::write(root.path().join(ENVIRONMENT), text.replacen("\"schema\": 2", "\"schema\": 1", 1)).unwrap();
        assert_eq!(folder.runs().unwrap().len(), 2);
    }

    #[test]
    fn the_result_of_tuning_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let error = format!("{:#}", folder.tuning().unwrap_err());
        assert!(
            error.contains("tuning.json: missing, damaged, or written by another version of skewbench"),
            "{error}"
        );
        let tuning = |source: &str| Tuning {
            schema: SCHEMA,
            train_share: Some(0.05),
            source: source.to_owned(),
            train_digest: "a".to_owned(),
            validation_digest: "b".to_owned(),
            code: "c".to_owned(),
            pairs: Vec::new(),
        };
        for source in ["synthetic", "folder"] {
            folder.write_tuning(&tuning(source)).unwrap();
            assert_eq!(folder.tuning().unwrap(), tuning(source));
        }
        folder.write_tuning(&Tuning { schema: SCHEMA + 1, ..tuning("folder") }).unwrap();
        let error = format!("{:#}", folder.tuning().unwrap_err());
        let newer = format!("skewbench: schema {}, this build reads {SCHEMA}", SCHEMA + 1);
        assert!(error.ends_with(&newer), "{error}");
    }

    /// Two processes that start at the same moment note their commands one after the other.
    #[test]
    fn a_command_is_noted_once_the_list_is_free() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        folder.note_run(run("x")).unwrap();
        let lock = folder.lock("environment").unwrap().unwrap();
        std::thread::scope(|scope| {
            let noted = scope.spawn(|| folder.note_run(run("y")).unwrap());
            std::thread::sleep(Duration::from_millis(60));
            assert_eq!(folder.runs().unwrap().len(), 1, "it waits");
            drop(lock);
            assert_eq!(noted.join().unwrap(), None);
        });
        let commands: Vec<String> = folder.runs().unwrap().into_iter().map(|run| run.command).collect();
        assert_eq!(commands, ["x", "y"]);
        assert_eq!(names(root.path()), [ENVIRONMENT]);
    }

    /// A command on another machine or of another build has an entry of its own, whatever it is that differs; only the
    /// time does not count.
    #[test]
    fn commands_are_told_apart_by_all_but_their_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let changes: [fn(&mut Run); 10] = [
            |_| (),
            |run| run.command.push('x'),
            |run| run.provenance.revision.push('x'),
            |run| run.provenance.code = None,
            |run| run.provenance.skewbench.push('x'),
            |run| drop(run.provenance.crates.insert("faer".into(), "1".into())),
            |run| run.provenance.device.push('x'),
            |run| run.provenance.cpu.push('x'),
            |run| run.provenance.threads += 1,
            |run| run.provenance.system.push('x'),
        ];
        for time in [5, 9] {
            for change in changes {
                let mut run = run("x");
                run.provenance.started_unix = time;
                change(&mut run);
                folder.note_run(run).unwrap();
            }
        }
        let runs = folder.runs().unwrap();
        assert_eq!(runs.len(), changes.len());
        assert!(runs.iter().all(|run| (run.times, run.provenance.started_unix) == (2, 5)), "{runs:?}");
    }

    /// The result of tuning by an older schema is read; one with fields of its own is not.
    #[test]
    fn an_older_result_of_tuning_is_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let tuning = Tuning {
            schema: 1,
            train_share: None,
            source: "elpv".to_owned(),
            train_digest: "a".to_owned(),
            validation_digest: "b".to_owned(),
            code: "c".to_owned(),
            pairs: Vec::new(),
        };
        folder.write_tuning(&tuning).unwrap();
        assert_eq!(folder.tuning().unwrap(), tuning);
        let text = fs::read_to_string(root.path().join("tuning.json")).unwrap();
        fs::write(root.path().join("tuning.json"), text.replace("\"code\"", "\"kode\"")).unwrap();
        let error = format!("{:#}", folder.tuning().unwrap_err());
        assert!(error.contains("version of skewbench: unknown field `kode`"), "{error}");
    }

    /// What another command has noted stays as it is, with all of its cells.
    #[test]
    fn other_commands_keep_what_they_noted() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let noted = |command: &str, times: usize, cells: &[(&str, usize)]| {
            let cells = cells.iter().map(|(cell, images)| ((*cell).to_owned(), *images)).collect();
            Run { times, cells, ..run(command) }
        };
        let [first, second] = [
            noted("reproduce --seeds 1", 2, &[("table1/a", 30), ("table1/b", 40)]),
            noted("reproduce --seeds 10", 1, &[("table1/c", 50)]),
        ];
        for run in [&first, &second, &second] {
            folder.note_run(run.clone()).unwrap();
        }
        assert_eq!(folder.runs().unwrap(), [first, Run { times: 2, ..second }]);
    }
}
