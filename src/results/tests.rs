use super::{example::record, *};

fn message(result: Result<Option<Record>>) -> String {
    format!("{:#}", result.expect_err("a bad record is refused"))
}

#[test]
fn a_record_reads_back_and_is_never_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let (folder, record) = (Folder::open(root.path()).unwrap(), record());
    let id = record.cell.id.clone();
    assert_eq!(folder.find(&id).unwrap(), None);
    let path = folder.write(&record).unwrap();
    assert_eq!(folder.find(&id).unwrap(), Some(record.clone()));

    let before = fs::read(&path).unwrap();
    let other = Record { fingerprint: "fedcba9876543210".into(), ..record };
    assert!(folder.write(&other).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "no temporary file is left behind");

    // It is as readable as any file that this process creates.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        folder.write_weights("x", &Parameters::default(), &BTreeMap::new()).unwrap();
        let ordinary = root.path().join("ordinary");
        fs::write(&ordinary, "").unwrap();
        assert_eq!(mode(&path), mode(&ordinary));
        assert_eq!(mode(&folder.weights_path("x")), mode(&ordinary));
    }
}

#[test]
fn bad_records_are_named_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let (folder, record) = (Folder::open(root.path()).unwrap(), record());
    let id = record.cell.id.clone();
    let path = folder.write(&record).unwrap();
    let text = fs::read_to_string(&path).unwrap();

    for (changed, expected) in [
        (text[..text.len() / 2].to_owned(), "truncated or not JSON"),
        (text.replace("\"schema\": 2", "\"schema\": 99"), "record schema 99, this build reads 1 to 2"),
        ("{\"accuracy\": 0.9}".to_owned(), "no number called 'schema'"),
        (text.replace("\"seed\"", "\"sead\""), "not a record of schema 2"),
    ] {
        fs::write(&path, &changed).unwrap();
        let error = message(folder.find(&id));
        assert!(error.contains(expected) && error.contains("share05-seed0.json"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), changed, "a bad record is not touched");
    }
}

/// A record of this cell.
fn named(cell: &str) -> Record {
    let mut record = record();
    record.cell.id = cell.to_owned();
    record
}

#[test]
fn files_of_a_cell_have_these_names() {
    let folder = Folder { root: PathBuf::from("out") };
    let cell = "table1/a-seed0";
    let paths = [
        folder.record_path(cell),
        folder.weights_path(cell),
        folder.detector_path(cell),
        folder.logits_path(cell),
        folder.checkpoint_path(cell),
        folder.lock_file(cell),
    ];
    let endings = ["json", "safetensors", "detector.safetensors", "logits.csv", "checkpoint", "lock"];
    assert_eq!(paths, endings.map(|ending| PathBuf::from(format!("out/table1/a-seed0.{ending}"))));
}

/// Records in folders of any depth, in the order of their paths; files about the whole run, and timings, are not
/// records.
#[test]
fn records_are_all_json_files_but_those_about_the_run() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "b/z.json",
        "b/deep/c.json",
        "a.json",
        "environment.json",
        "tuning.json",
        "timings.json",
        "race.json",
        "race-2.json",
        "b/environment.json",
        "b/trace.json",
        "b/notes.txt",
        "b/a.checkpoint",
        "b/no-ending",
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path(), root.path().join("b/loop")).unwrap();
    let found = files(root.path()).unwrap();
    let found: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(root.path()).unwrap().to_string_lossy().replace('\\', "/"))
        .collect();
    assert_eq!(found, ["a.json", "b/deep/c.json", "b/trace.json", "b/z.json"]);
    let nowhere = root.path().join("nowhere");
    let error = format!("{:#}", files(&nowhere).unwrap_err());
    assert!(error.starts_with(&format!("{}: cannot list the folder", nowhere.display())), "{error}");
}

#[test]
fn readable_records_are_returned_and_the_others_are_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    for cell in ["table1/b", "table1/a", "extension/c"] {
        folder.write(&named(cell)).unwrap();
    }
    for cell in ["table1/torn", "table1/asked"] {
        fs::write(folder.record_path(cell), "{").unwrap();
    }
    let ids: Vec<String> = folder.records().unwrap().into_iter().map(|record| record.cell.id).collect();
    assert_eq!(ids, ["extension/c", "table1/a", "table1/b"]);
    let told = |but: &[&str]| folder.unreadable(but.iter().copied()).unwrap();
    let [asked, torn] = &told(&[])[..] else { panic!("{:?}", told(&[])) };
    assert!(
        asked.contains("asked.json: truncated or not JSON")
            && torn.contains("torn.json: truncated or not JSON")
    );
    assert_eq!(told(&["table1/asked", "table1/b"]), std::slice::from_ref(torn));
    assert_eq!(told(&["table1/asked", "table1/torn"]), [""; 0]);
}

#[test]
fn a_finished_record_is_that_of_its_cell() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let (first, other) = (named("table1/a"), named("table1/b"));
    let path = folder.write(&first).unwrap();
    assert_eq!(folder.finished("table1/a").unwrap(), (path.clone(), first));
    let text = serde_json::to_string(&other).unwrap();
    fs::write(&path, text).unwrap();
    let error = format!("{:#}", folder.finished("table1/a").unwrap_err());
    assert_eq!(error, format!("{}: this is the record of another cell, table1/b", path.display()));
    assert!(format!("{:#}", folder.finished("table1/c").unwrap_err()).contains("c.json: cannot be read"));
    let error = Folder::existing(&root.path().join("no")).err().unwrap().to_string();
    assert!(error.ends_with("no: no such folder"), "{error}");
    assert!(Folder::existing(root.path()).is_ok());
    // The second attempt to write says that the first record is kept.
    let error = format!("{:#}", folder.write(&named("table1/a")).unwrap_err());
    assert!(
        error.contains("a.json: cannot write the record; another process has finished this cell meanwhile"),
        "{error}"
    );
}

#[test]
fn a_finished_cell_leaves_its_record_only() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let cell = "table1/a";
    let mut lock = folder.lock(cell).unwrap().expect("nobody works on it");
    assert!(folder.lock(cell).unwrap().is_none());
    lock.write_progress("epoch = 3\n").unwrap();
    assert_eq!(folder.lock_progress(cell).unwrap(), Some(("epoch = 3\n".to_owned(), true)));
    assert_eq!(folder.lock_progress("table1/b").unwrap(), None);
    fs::write(folder.checkpoint_path(cell), "x").unwrap();
    folder.write(&named(cell)).unwrap();
    folder.finish(cell, lock).unwrap();
    let names: Vec<_> =
        fs::read_dir(root.path().join("table1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.json"]);
    // A cell without a checkpoint is finished just the same.
    let lock = folder.lock(cell).unwrap().expect("it is free");
    folder.finish(cell, lock).unwrap();
}

#[test]
fn a_record_is_put_aside_under_an_unused_name() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut names = BTreeSet::new();
    for fingerprint in ["one", "two"] {
        let record = Record { fingerprint: fingerprint.to_owned(), ..named("table1/a") };
        folder.write(&record).unwrap();
        let aside = folder.put_aside("table1/a").unwrap();
        assert_eq!(folder.find("table1/a").unwrap(), None);
        assert!(fs::read_to_string(&aside).unwrap().contains(fingerprint));
        assert!(aside.file_name().unwrap().to_string_lossy().contains("unused"), "{}", aside.display());
        names.insert(aside);
    }
    assert_eq!(names.len(), 2);
    assert_eq!(folder.records().unwrap(), [], "what was put aside is no record");
    let error = format!("{:#}", folder.put_aside("table1/a").unwrap_err());
    assert!(error.contains("a.json: cannot be renamed"), "{error}");
}

/// A written file is described; if it cannot be written, the message says what helps.
#[test]
fn a_file_that_cannot_be_written_says_what_helps() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let stated = folder.write_beside("table1/a", Part::Detector, b"abc", Some(4)).unwrap();
    assert_eq!((stated.bytes, stated.rows), (3, Some(4)));
    assert_eq!(fs::read(folder.detector_path("table1/a")).unwrap(), b"abc");
    for part in Part::ALL {
        fs::create_dir_all(part.path_beside(&folder.record_path("table1/b")).join("x")).unwrap();
    }
    let error = |part: Part| format!("{:#}", folder.write_beside("table1/b", part, b"x", None).unwrap_err());
    for (part, expected) in [
        (
            Part::Weights,
            "cannot write the weights; finished cells are kept; make the path writable, or use --no-weights, which writes none",
        ),
        (
            Part::Detector,
            "cannot write the detector; finished cells are kept; make the path writable, or use --no-weights, which writes none",
        ),
        (
            Part::Logits,
            "cannot write the logits; finished cells are kept; make the path writable and run the same command again",
        ),
    ] {
        assert!(error(part).contains(expected), "{}", error(part));
    }
}

#[test]
fn records_of_the_first_schema_are_read_and_what_is_no_file_is_not() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let path = folder.write(&named("table1/a")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (schema, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
        fs::write(&path, text.replace("\"schema\": 2", &format!("\"schema\": {schema}"))).unwrap();
        assert_eq!(read(&path).is_ok(), is_read, "{schema}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = format!("{:#}", folder.find("table1/a").unwrap_err());
    assert!(error.ends_with("cannot be read: not a file, but a folder, a pipe or a device"), "{error}");
}

/// What cannot be made, removed or written is named with what helps; nothing else is lost.
#[test]
fn a_folder_that_is_no_folder_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = Folder::open(&file).err().unwrap().to_string();
    assert_eq!(error, format!("{}: cannot make the results folder", file.display()));
    let folder = Folder::open(root.path()).unwrap();
    let error = format!("{:#}", folder.write(&named("file/a")).unwrap_err());
    let expected = format!(
        "{}: cannot write the record; finished cells are kept; make the path writable and run the same command again: ",
        folder.record_path("file/a").display()
    );
    assert!(error.starts_with(&expected), "{error}");

    let checkpoint = folder.checkpoint_path("table1/a");
    fs::create_dir_all(checkpoint.join("x")).unwrap();
    let lock = folder.lock("table1/a").unwrap().unwrap();
    let error = folder.finish("table1/a", lock).unwrap_err().to_string();
    assert_eq!(error, format!("{}: cannot be removed", checkpoint.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(folder.unreadable([]).unwrap().is_empty() && folder.records().unwrap().is_empty());
}

/// A file that is larger than any record is not read into memory.
#[test]
fn a_file_that_is_too_large_is_no_record() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.json");
    let file = File::create(&path).unwrap();
    file.set_len(LARGEST + 1).unwrap();
    let error = format!("{:#}", read(&path).unwrap_err());
    let expected = "cannot be read: 67108865 bytes, expected at most 67108864";
    assert_eq!(error, format!("{}: {expected}", path.display()));
}

/// Leftovers of dead processes are removed from the folder and from those in it.
#[test]
fn leftovers_of_dead_processes_are_removed_from_every_study() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    folder.write(&named("table1/a")).unwrap();
    let left = ["", "table1", "events/run"].map(|inner| root.path().join(inner).join(".tmp-skewbench-1"));
    for path in &left {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }
    folder.clean();
    assert_eq!(
        left.each_ref().map(|path| path.exists()),
        [false, false, true],
        "studies lie directly in the folder"
    );
    assert!(folder.find("table1/a").unwrap().is_some());
}

/// A results folder may be asked for below folders that are not there yet; one that is there is opened as it is.
#[test]
fn a_folder_is_made_with_those_above_it() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a/b/c");
    Folder::open(&at).unwrap().write(&named("table1/a")).unwrap();
    assert!(Folder::open(&at).unwrap().find("table1/a").unwrap().is_some());
}

/// The lock, the progress and the checkpoint of a cell are its own: finishing one leaves those of another.
#[test]
fn finishing_a_cell_leaves_what_belongs_to_another() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let [mut first, mut second] =
        ["table1/a", "table1/ab"].map(|cell| folder.lock(cell).unwrap().expect("it is free"));
    first.write_progress("epoch = 3\n").unwrap();
    second.write_progress("epoch = 7\n").unwrap();
    for cell in ["table1/a", "table1/ab"] {
        fs::write(folder.checkpoint_path(cell), cell).unwrap();
    }
    folder.finish("table1/a", first).unwrap();
    assert_eq!(folder.lock_progress("table1/a").unwrap(), None);
    assert_eq!(folder.lock_progress("table1/ab").unwrap(), Some(("epoch = 7\n".to_owned(), true)));
    assert!(!folder.checkpoint_path("table1/a").exists());
    assert_eq!(fs::read_to_string(folder.checkpoint_path("table1/ab")).unwrap(), "table1/ab");
}

/// A record of several megabytes, as one with many left-out images is, is read whole; so are the lists about the run.
#[test]
fn large_records_are_read_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut large = named("table1/large");
    large.data.skipped = (0..40_000).map(|number| format!("{number:05}-{}.png", "x".repeat(100))).collect();
    let path = folder.write(&large).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 4 << 20);
    assert_eq!(folder.find("table1/large").unwrap(), Some(large.clone()));
    assert_eq!(folder.finished("table1/large").unwrap().1, large);
    assert_eq!((folder.records().unwrap(), folder.unreadable([]).unwrap()), (vec![large], Vec::new()));
}

/// Each unreadable record is listed with its file and the reason, to the last cause.
#[test]
fn unreadable_records_are_listed_with_their_reasons() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let whole = fs::read_to_string(folder.write(&named("table1/z")).unwrap()).unwrap();
    for (cell, text) in [("a", "{"), ("b", "\"x"), ("c", &whole.replace("\"seed\"", "\"sead\""))] {
        fs::write(folder.record_path(&format!("table1/{cell}")), text).unwrap();
    }
    fs::write(folder.record_path("table1/d"), [0xff, 0xfe, b'{']).unwrap();
    let told = folder.unreadable([]).unwrap();
    let move_away = "truncated or not JSON; move it away to compute the cell again";
    for (line, (cell, begin, end)) in told.iter().zip([
        ("a", move_away, "EOF while parsing an object at line 1 column 1"),
        ("b", move_away, "EOF while parsing a string at line 1 column 2"),
        ("c", "not a record of schema 2", ""),
        ("d", "cannot be read", "stream did not contain valid UTF-8"),
    ]) {
        let path = folder.record_path(&format!("table1/{cell}"));
        assert!(line.starts_with(&format!("{}: {begin}: ", path.display())) && line.ends_with(end), "{line}");
    }
    assert!(told[2].contains("unknown field `sead`") && told.len() == 4, "{told:?}");
}

/// Only whole names are those of files about the run; a name that merely ends or begins like one is a record's.
#[test]
fn records_may_have_names_that_resemble_those_of_other_files() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "a/my-environment.json",
        "a/pre-tuning.json",
        "a/timings.json.json",
        "a/embrace.json",
        "a/race/b.json",
        "race.d/c.json",
        "folder.json/d.json",
        "a/e.json.tmp",
        "a/e.jsonl",
        "a/timings.json",
        "a/race-13.json",
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    let found = files(root.path()).unwrap();
    let found: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(root.path()).unwrap().to_string_lossy().replace('\\', "/"))
        .collect();
    let expected = [
        "a/embrace.json",
        "a/my-environment.json",
        "a/pre-tuning.json",
        "a/race/b.json",
        "a/timings.json.json",
        "folder.json/d.json",
        "race.d/c.json",
    ];
    assert_eq!(found, expected);
}

/// A link that leads nowhere is neither a record nor the lack of one.
#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    fs::create_dir(root.path().join("table1")).unwrap();
    std::os::unix::fs::symlink(root.path().join("nowhere"), folder.record_path("table1/a")).unwrap();
    let error = format!("{:#}", folder.find("table1/a").unwrap_err());
    assert!(
        error.starts_with(&format!("{}: cannot be read: ", folder.record_path("table1/a").display())),
        "{error}"
    );
    std::os::unix::fs::symlink(root.path().join("nowhere"), root.path().join("environment.json")).unwrap();
    let error = format!("{:#}", folder.runs().unwrap_err());
    assert!(
        error.contains("environment.json: damaged, or written by another version of skewbench: "),
        "{error}"
    );
}
