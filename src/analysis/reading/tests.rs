use super::*;
use crate::results::{Folder, example};

/// The example record with one score.
fn scored() -> Record {
    Record { scores: vec![example::score("in_training", None)], ..example::record() }
}

fn kinds(reading: &Reading) -> Vec<ProblemKind> {
    reading.problems.iter().map(|problem| problem.kind).collect()
}

#[test]
fn a_good_folder_is_one_setting_and_says_what_is_missing() {
    let reading = from_memory(vec![("a.json".into(), scored())]);
    assert_eq!(reading.records.len(), 1);
    assert_eq!(reading.frame.settings().len(), 1);
    assert_eq!(kinds(&reading), [ProblemKind::Missing]);
    let what = &reading.problems[0].description;
    assert!(what.starts_with("10 cells of Table 1 were not trained: "), "{what}");
    assert_eq!(what.matches(" 1 of 1").count(), 10, "ten other pairs of method and backbone: {what}");
}

#[test]
fn what_may_not_be_compared_is_kept_apart_and_named() {
    let first = scored();
    let mut other = first.clone();
    other.cell.id += "x";
    other.settings.scale = "full".into();
    let mut digest = first.clone();
    digest.cell.id += "y";
    digest.data.train_digest = "0000".into();
    let folder = vec![("a".into(), first), ("b".into(), other), ("c".into(), digest)];
    let reading = from_memory(folder);
    assert_eq!(reading.frame.settings().len(), 3);
    let mixed = reading.problems.iter().find(|problem| problem.kind == ProblemKind::Mixed).unwrap();
    assert!(mixed.description.starts_with("3 settings, kept separate"), "{mixed}");
}

#[test]
fn records_of_different_code_are_named() {
    let (first, mut second, mut third) = (scored(), scored(), scored());
    second.cell.id = "table1/simclr-resnet18-share05-seed1".into();
    second.cell.seed = 1;
    let alike = from_memory(vec![("a".into(), first.clone()), ("b".into(), second.clone())]);
    assert!(!kinds(&alike).contains(&ProblemKind::Mixed), "{:?}", alike.problems);
    second.provenance.code = Some("fedcba9876543210".into());
    third.cell.id = "table1/simclr-resnet18-share05-seed2".into();
    third.cell.seed = 2;
    third.provenance.code = None;
    third.provenance.revision = "5c3d5b6-dirty".into();
    let reading = from_memory(vec![("a".into(), first), ("b".into(), second), ("c".into(), third)]);
    assert_eq!(reading.records.len(), 3, "named, not left out");
    let mixed = reading.problems.iter().find(|problem| problem.kind == ProblemKind::Mixed).unwrap();
    assert_eq!(
        mixed.description,
        "records by 3 versions of the code: 1 by code 0123456789ab; 1 by code fedcba987654; \
         1 by revision 5c3d5b6-dirty"
    );
}

#[test]
fn mixed_precision_is_kept_apart() {
    let (exact, mut rounded) = (scored(), scored());
    rounded.settings.values.insert("precision".into(), "bf16 with f32 weights".into());
    let reading = from_memory(vec![("a".into(), exact), ("b".into(), rounded)]);
    assert_eq!(reading.records.len(), 2);
    let settings = reading.frame.settings();
    assert!(settings.iter().any(|(setting, _)| setting.ends_with("mixed precision")), "{settings:?}");
}

#[test]
fn a_cell_twice_counts_once() {
    let (first, mut second) = (scored(), scored());
    second.provenance.started_unix += 1;
    second.fingerprint = "other".into();
    let reading = from_memory(vec![("old".into(), first.clone()), ("new".into(), second)]);
    assert_eq!(reading.frame.height(), first.scores.len());
    let repeated = reading.problems.iter().find(|problem| problem.kind == ProblemKind::Repeated).unwrap();
    assert_eq!(repeated.place, "old");
    assert!(repeated.description.contains("another fingerprint"), "{repeated}");
}

#[test]
fn torn_foreign_and_nan_files_are_named_and_the_rest_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let record = scored();
    let good = folder.write(&record).unwrap();
    let text = std::fs::read_to_string(&good).unwrap();
    let f1 = text.lines().find(|line| line.contains("\"f1\":")).unwrap().to_owned();
    let beside = |name: &str| good.with_file_name(name);
    std::fs::write(beside("torn.json"), &text[..text.len() / 2]).unwrap();
    std::fs::write(beside("nan.json"), text.replace(&f1, "\"f1\": null,")).unwrap();
    std::fs::write(beside("foreign.json"), "{\"accuracy\": 1}").unwrap();
    std::fs::write(root.path().join("environment.json"), "{}").unwrap();
    let reading = read(&[root.path().to_owned(), root.path().join("nowhere")]);
    assert_eq!(reading.records.len(), 1);
    let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
    for (name, what) in [
        ("torn.json", "truncated or not JSON"),
        ("nan.json", "expected a number, found null: f1"),
        ("foreign.json", "no number"),
        ("nowhere", ""),
    ] {
        assert!(told.iter().any(|line| line.contains(name) && line.contains(what)), "{name}: {told:?}");
    }
    assert!(kinds(&reading).contains(&ProblemKind::NotANumber), "{told:?}");
}

#[test]
fn files_that_are_not_their_records_are_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut record = scored();
    for part in ["weights", "logits"] {
        let stated = results::record::FileDigest { bytes: 3, blake3: "00".into(), rows: None };
        record.beside.insert(part.into(), stated);
    }
    let file = folder.write(&record).unwrap();
    std::fs::write(results::Part::Weights.path_beside(&file), "four").unwrap();
    let reading = read(&[root.path().to_owned()]);
    assert_eq!(reading.records.len(), 1, "its numbers are read all the same");
    let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
    let begins = |start: &str| told.iter().any(|line| line.starts_with(start));
    assert!(begins(&format!("wrong file: {}: the weights beside this record", file.display())), "{told:?}");
    assert!(begins(&format!("missing: {}: 1 file beside records", root.path().display())), "{told:?}");
}

#[test]
fn a_number_that_is_none_is_left_out_of_its_column_only() {
    let mut record = scored();
    record.scores[0].f1 = f64::NAN;
    let reading = from_memory(vec![("a".into(), record.clone())]);
    assert_eq!(reading.frame.height(), record.scores.len());
    assert_eq!(reading.frame.numbers(&Metric::F1.into())[0], None);
    let problem = reading.problems.iter().find(|problem| problem.kind == ProblemKind::NotANumber).unwrap();
    assert_eq!(problem.description, "left out: f1");
}

#[test]
fn a_method_of_another_build_is_named_and_left_out() {
    let mut other = scored();
    other.cell.method = "moco".into();
    let mut classifier = scored();
    classifier.scores[0].classifier = "guess".into();
    let reading = from_memory(vec![("a".into(), scored()), ("b".into(), other), ("c".into(), classifier)]);
    assert_eq!(reading.records.len(), 1);
    let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
    assert!(told.iter().any(|line| line.starts_with("not read: b: ") && line.contains("'moco'")), "{told:?}");
    assert!(
        told.iter().any(|line| line.starts_with("not read: c: ") && line.contains("'guess'")),
        "{told:?}"
    );
}

/// A value that a cell has once is repeated in each of its rows, under its own name.
#[test]
fn what_a_cell_has_once_is_in_each_of_its_rows() {
    let mut record = scored();
    record.scores.push(example::score("converged", Some(0.05)));
    let epoch = |epoch: usize, loss: f64, rankme: f64| results::record::Epoch {
        epoch,
        loss,
        probe_loss: Some(9.0),
        learning_rate: 0.1,
        seconds: 1.0,
        monitors: [("rankme".to_owned(), rankme)].into(),
    };
    record.curve = vec![epoch(1, 3.0, 11.0), epoch(2, 2.0, 12.0), epoch(3, 1.5, 13.0)];
    (record.cost.train_seconds, record.cost.evaluate_seconds) = (60.0, 7.0);
    record.label_free = [("features".to_owned(), [("rankme".to_owned(), 5.5)].into())].into();
    (record.scores[0].normals, record.scores[0].defects) = (40, 30);
    record.scores[0].auroc_error = Some(0.25);
    let frame = from_memory(vec![("a".into(), record)]).frame;
    let numbers = |name: &str| frame.numbers(&Measure::named(name.to_owned()));
    for (name, value) in [
        ("monitor.rankme", 13.0),
        ("first_monitor.rankme", 11.0),
        ("loss", 1.5),
        ("epochs", 3.0),
        ("train_normals", 95.0),
        ("train_defects", 5.0),
        ("features.rankme", 5.5),
        ("cost.train_seconds", 60.0),
        ("cost.evaluate_seconds", 7.0),
        ("cost.epoch_seconds", 20.0),
        ("cost.images_per_second", 100.0),
    ] {
        assert_eq!(numbers(name), [Some(value); 2], "{name}");
    }
    // Each score has its own values.
    assert_eq!(numbers("normals"), [Some(40.0), Some(50.0)]);
    assert_eq!(numbers("defects"), [Some(30.0), Some(50.0)]);
    assert_eq!(numbers("auroc_error"), [Some(0.25), None]);
    let validation: Vec<Share> = frame.axes().into_iter().map(|at| at.validation).collect();
    assert!(validation.contains(&Share::NATURAL) && validation.contains(&Share::percent(5)));
}

/// Problems are sorted and displayed by kind, not by alphabet or place.
#[test]
fn problems_are_told_by_kind_in_their_own_order() {
    use ProblemKind::{Foreign, Missing, Mixed, NotANumber, Repeated, Unreadable};
    let mut problems: Vec<ReadingProblem> = [Missing, Mixed, Repeated, NotANumber, Foreign, Unreadable]
        .into_iter()
        .zip(["a", "b", "c", "d", "e", "f"])
        .map(|(kind, place)| problem(kind, place, "why"))
        .collect();
    problems.sort();
    let told: Vec<String> = problems.iter().map(ReadingProblem::to_string).collect();
    assert_eq!(
        told,
        [
            "not read: f: why",
            "wrong file: e: why",
            "not a number: d: why",
            "repeated: c: why",
            "mixed: b: why",
            "missing: a: why"
        ]
    );
}

/// Of two records of one cell the newer is kept, wherever it was read; of two equally old ones, the first.
#[test]
fn of_two_records_of_a_cell_the_newer_stays() {
    let of_time = |fingerprint: &str, started: u64| {
        let mut record = scored();
        (record.fingerprint, record.provenance.started_unix) = (fingerprint.to_owned(), started);
        record
    };
    for (first, second, stays, problem) in [
        (
            5,
            9,
            "b",
            "repeated: one: left out, because two holds the same cell (another fingerprint) and is newer or was read first",
        ),
        (
            9,
            5,
            "a",
            "repeated: two: left out, because one holds the same cell (another fingerprint) and is newer or was read first",
        ),
        (
            7,
            7,
            "a",
            "repeated: two: left out, because one holds the same cell (another fingerprint) and is newer or was read first",
        ),
    ] {
        let reading =
            from_memory(vec![("one".into(), of_time("a", first)), ("two".into(), of_time("b", second))]);
        let kept: Vec<&str> = reading.records.iter().map(|filed| filed.record.fingerprint.as_str()).collect();
        assert_eq!(kept, [stays], "{first}, {second}");
        let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
        assert!(told.contains(&problem.to_owned()), "{told:?}");
    }
    let reading = from_memory(vec![("one".into(), of_time("a", 1)), ("two".into(), of_time("a", 2))]);
    assert!(reading.problems[0].description.contains("(the same fingerprint)"), "{:?}", reading.problems);
}

/// Three records in two settings.
fn two_settings() -> Vec<(String, Record)> {
    let mut records = [scored(), scored(), scored()];
    for (record, seed) in records.iter_mut().zip(1..) {
        record.cell.id = format!("table1/simclr-resnet18-share05-seed{seed}");
        record.cell.seed = seed;
    }
    records[1].settings.recipe = "long".into();
    records.into_iter().map(|record| (format!("{}.json", record.cell.seed), record)).collect()
}

/// What is said of records that do not belong together.
fn mixed(reading: &Reading) -> Vec<String> {
    let problems = reading.problems.iter().filter(|problem| problem.kind == ProblemKind::Mixed);
    problems.map(ReadingProblem::to_string).collect()
}

#[test]
fn settings_of_one_folder_are_counted_by_name() {
    let reading = from_memory(two_settings());
    let mixed = mixed(&reading);
    assert_eq!(
        mixed,
        ["mixed: memory: 2 settings, kept separate: 1 of [small scale, long recipe, synthetic]; \
          2 of [small scale, short recipe, synthetic]"]
    );
}

#[test]
fn a_part_of_a_reading_has_the_rows_and_records_of_its_settings() {
    let reading = from_memory(two_settings());
    let seeds =
        |part: &Reading| -> Vec<u64> { part.records.iter().map(|filed| filed.record.cell.seed).collect() };
    for (word, expected) in
        [("short", vec![1, 3]), ("long", vec![2]), ("recipe", vec![2, 1, 3]), ("no", vec![])]
    {
        let part = reading.in_settings(|setting| setting.contains(word));
        assert_eq!((seeds(&part), part.frame.height()), (expected.clone(), expected.len()), "{word}");
        assert!(part.problems.is_empty());
    }
}

/// SimCLR on ResNet-18 at 5 % has seeds 1 and 2, BYOL only seed 2: BYOL lacks one cell, the nine other arms lack two
/// each.
#[test]
fn cells_that_are_missing_are_counted_arm_by_arm() {
    let cell = |method: &str, seed: u64| {
        let mut record = scored();
        record.cell.id = format!("table1/{method}-resnet18-share05-seed{seed}");
        (record.cell.method, record.cell.seed) = (method.to_owned(), seed);
        (record.cell.id.clone(), record)
    };
    let reading = from_memory(vec![cell("simclr", 1), cell("simclr", 2), cell("byol", 2)]);
    let [missing] = &reading.problems[..] else { panic!("{:?}", reading.problems) };
    assert_eq!(missing.place, "small scale, short recipe, synthetic");
    assert!(
        missing
            .description
            .starts_with("19 cells of Table 1 were not trained: supervised on resnet18 2 of 2, "),
        "{missing}"
    );
    assert!(
        missing.description.contains("byol on resnet18 1 of 2")
            && !missing.description.contains("simclr on resnet18")
    );
    assert!(!missing.description.contains("mae on resnet18"), "it is not defined there: {missing}");
}

#[test]
fn a_folder_says_what_is_missing_in_it() {
    let root = tempfile::tempdir().unwrap();
    let (full, empty) = (root.path().join("full"), root.path().join("empty"));
    std::fs::create_dir_all(&empty).unwrap();
    let folder = Folder::open(&full).unwrap();
    let mut files = Vec::new();
    for (seed, parts) in [(1, &["detector", "logits"][..]), (2, &["weights"])] {
        let mut record = scored();
        record.cell.id = format!("table1/simclr-resnet18-share05-seed{seed}");
        record.cell.seed = seed;
        for part in parts {
            let stated = results::record::FileDigest { bytes: 3, blake3: "00".into(), rows: None };
            record.beside.insert((*part).to_owned(), stated);
        }
        files.push(folder.write(&record).unwrap());
    }
    let nowhere = root.path().join("nowhere");
    let reading = read(&[full.clone(), empty.clone(), nowhere.clone()]);
    let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
    let lost = files[0].with_extension("detector.safetensors");
    let expected = [
        format!("not read: {}: no records (*.json) here", empty.display()),
        format!("missing: {}: 3 files beside records; the first is {}", full.display(), lost.display()),
    ];
    assert!(expected.iter().all(|line| told.contains(line)), "{told:?}");
    assert!(
        told.iter().any(|line| line.starts_with(&format!("not read: {}: cannot list the folder", nowhere.display()))),
        "{told:?}"
    );
    for (filed, file) in reading.records.iter().zip(&files) {
        assert_eq!((&filed.folder, &filed.file, &filed.place), (&full, file, &file.display().to_string()));
        assert_eq!(filed.setting, "small scale, short recipe, synthetic");
    }
}

/// Non-finite numbers, in scores and in values of the whole cell, are named in alphabetical order.
#[test]
fn every_number_that_is_none_is_named() {
    let mut record = scored();
    record.scores[0].recall = f64::INFINITY;
    record.scores[0].auroc = f64::NAN;
    record.cost.images_per_second = f64::NAN;
    let reading = from_memory(vec![("a".into(), record)]);
    let told: Vec<&str> = reading
        .problems
        .iter()
        .filter(|problem| problem.kind == ProblemKind::NotANumber)
        .map(|problem| problem.description.as_str())
        .collect();
    assert_eq!(told, ["left out: auroc, cost.images_per_second, recall"]);
    assert_eq!(reading.frame.numbers(&Metric::F1.into()), [Some(0.5)]);
    assert_eq!(reading.frame.numbers(&Metric::Recall.into()), [None]);
}

#[test]
fn records_of_a_cell_are_together_whatever_their_setting() {
    let reading = from_memory(two_settings());
    let cells = by_cell(&reading.records);
    let seeds: Vec<Vec<u64>> =
        cells.values().map(|records| records.iter().map(|record| record.cell.seed).collect()).collect();
    assert_eq!(seeds, [[2, 1, 3]]);
    assert!(cells.contains_key(&Axes::table_1(
        method::Name::SimClr,
        backbone::Name::ResNet18,
        Share::percent(5)
    )));
}

/// A record that is left out, since a newer one holds its cell, does not count among versions of the code.
#[test]
fn what_is_left_out_has_no_version() {
    let (mut old, mut new) = (scored(), scored());
    old.provenance.code = Some("fedcba9876543210".into());
    new.provenance.started_unix = 9;
    let reading = from_memory(vec![("old".into(), old), ("new".into(), new)]);
    assert_eq!(kinds(&reading), [ProblemKind::Repeated, ProblemKind::Missing]);
    assert_eq!(reading.records[0].place, "new");
}

/// A share of validation images that is none leaves the whole record out.
#[test]
fn a_score_of_an_impossible_share_is_named() {
    let mut record = scored();
    record.scores.push(example::score("converged", Some(1.5)));
    let reading = from_memory(vec![("a".into(), record)]);
    assert_eq!((reading.records.len(), reading.frame.height()), (0, 0));
    let [problem] = &reading.problems[..] else { panic!("{:?}", reading.problems) };
    assert!((problem.kind, problem.place.as_str()) == (ProblemKind::Unreadable, "a"), "{problem}");
    assert!(problem.description.contains("1.5"), "{problem}");
}

/// A file beside a record that cannot even be looked at, here a link to itself, is named; the record is kept.
#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_looked_at_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut record = scored();
    record
        .beside
        .insert("weights".into(), results::record::FileDigest { bytes: 3, blake3: "00".into(), rows: None });
    let file = folder.write(&record).unwrap();
    let weights = results::Part::Weights.path_beside(&file);
    std::os::unix::fs::symlink(&weights, &weights).unwrap();
    let reading = read(&[root.path().to_owned()]);
    assert_eq!(reading.records.len(), 1);
    let foreign = reading.problems.iter().find(|problem| problem.kind == ProblemKind::Foreign).unwrap();
    assert_eq!(foreign.place, file.display().to_string());
    let expected = format!("{}: cannot be read: ", weights.display());
    assert!(foreign.description.starts_with(&expected), "{foreign}");
}

/// What is mixed is named folder by folder, and each record knows the folder that it was read from.
#[test]
fn each_folder_is_mixed_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| root.path().join(name));
    let write = |folder: &Path, seed: u64, change: fn(&mut Record)| {
        let mut record = scored();
        record.cell.seed = seed;
        record.cell.id = format!("table1/simclr-resnet18-share05-seed{seed}");
        change(&mut record);
        Folder::open(folder).unwrap().write(&record).unwrap()
    };
    let files = [
        write(&first, 1, |_| ()),
        write(&second, 2, |_| ()),
        write(&second, 3, |record| record.settings.recipe = "long".into()),
        write(&third, 4, |_| ()),
        write(&third, 5, |record| record.provenance.code = Some("fedcba9876543210".into())),
    ];
    let reading = read(&[first.clone(), second.clone(), third.clone()]);
    let mixed = mixed(&reading);
    let settings = "2 settings, kept separate: 1 of [small scale, long recipe, synthetic]; \
                    1 of [small scale, short recipe, synthetic]";
    let codes = "records by 2 versions of the code: 1 by code 0123456789ab; 1 by code fedcba987654";
    let expected =
        [format!("mixed: {}: {settings}", second.display()), format!("mixed: {}: {codes}", third.display())];
    assert_eq!(mixed, expected);
    let folders = [&first, &second, &second, &third, &third];
    let mut told: Vec<(u64, &PathBuf, &PathBuf)> =
        reading.records.iter().map(|filed| (filed.record.cell.seed, &filed.folder, &filed.file)).collect();
    told.sort();
    let expected: Vec<(u64, &PathBuf, &PathBuf)> =
        (1..).zip(folders).zip(&files).map(|((seed, folder), file)| (seed, folder, file)).collect();
    assert_eq!(told, expected);
}

/// All numbers that a file has lost are named, and all files beside a record that are not its own.
#[test]
fn everything_that_is_lost_or_foreign_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut record = scored();
    for part in ["weights", "detector", "logits"] {
        let stated = results::record::FileDigest { bytes: 3, blake3: "00".into(), rows: None };
        record.beside.insert(part.into(), stated);
    }
    let file = folder.write(&record).unwrap();
    for part in [results::Part::Weights, results::Part::Logits] {
        std::fs::write(part.path_beside(&file), "four").unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lost = text
        .lines()
        .map(|line| match line.trim_start().split(':').next() {
            Some(name @ ("\"recall\"" | "\"auroc\"")) => format!("{name}: null,"),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>();
    let nulls = file.with_file_name("nulls.json");
    std::fs::write(&nulls, lost.join("\n")).unwrap();
    let reading = read(&[root.path().to_owned()]);
    let told: Vec<String> = reading.problems.iter().map(ReadingProblem::to_string).collect();
    let expected = [
        format!(
            "wrong file: {}: the weights, logits beside this record belong to another record or are damaged",
            file.display()
        ),
        format!("not a number: {}: expected a number, found null: auroc, recall", nulls.display()),
        format!(
            "missing: {}: 1 file beside records; the first is {}",
            root.path().display(),
            results::Part::Detector.path_beside(&file).display()
        ),
    ];
    assert_eq!(told[..3], expected, "{told:?}");
}

/// Of three records of one cell the newest is kept, wherever it stands, and the two others are named.
#[test]
fn of_many_records_of_a_cell_the_newest_stays() {
    for times in [[9, 5, 7], [5, 9, 7], [5, 7, 9], [7, 9, 5]] {
        let record = |(place, started): (usize, u64)| {
            let mut record = scored();
            record.provenance.started_unix = started;
            (format!("{place}"), record)
        };
        let reading = from_memory((0..).zip(times).map(record).collect());
        let newest = times.iter().position(|time| *time == 9).unwrap().to_string();
        let kept: Vec<&str> = reading.records.iter().map(|filed| filed.place.as_str()).collect();
        assert_eq!(kept, [newest.as_str()], "{times:?}");
        let repeated = reading.problems.iter().filter(|problem| problem.kind == ProblemKind::Repeated);
        let mut out: Vec<&str> = repeated.map(|problem| problem.place.as_str()).collect();
        out.push(&newest);
        out.sort_unstable();
        assert_eq!(out, ["0", "1", "2"], "{times:?}");
    }
}

/// Only Table 1 has cells that must all exist, and only its own cells count.
#[test]
fn other_studies_than_table_1_need_not_be_complete() {
    let cell = |study: &str, method: &str, share: f64| {
        let mut record = scored();
        record.cell.id = format!("{study}/{method}-resnet18-{share}");
        (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
        record.cell.train_share = Some(share);
        (record.cell.id.clone(), record)
    };
    let others = || vec![cell("extension", "simclr", 0.3), cell("size_matched", "byol", 0.05)];
    assert_eq!(from_memory(others()).problems, []);
    let reading = from_memory([others(), vec![cell("table1", "simclr", 0.05)]].concat());
    let [missing] = &reading.problems[..] else { panic!("{:?}", reading.problems) };
    assert!(missing.description.starts_with("10 cells of Table 1 were not trained: "), "{missing}");
    assert_eq!(missing.description.matches(" 1 of 1").count(), 10, "{missing}");
    assert!(missing.description.contains("byol on resnet18 1 of 1"), "{missing}");
}
