//! Cells that are really trained, on a few pictures: what is written, what is made again, and what is refused.

use std::{collections::BTreeMap, fs};

use clap::Parser;

use super::*;
use crate::{
    asked::{Lists, Request, Run},
    support::{alone::Standalone, committed, print::captured},
};

/// Returns a run on 27 training and 9 validation pictures.
fn run(root: &Path, flags: &str) -> Run {
    sized(root, 32, flags)
}

fn sized(root: &Path, side: usize, flags: &str) -> Run {
    let data = committed::pictures(&root.join("data"), [24, 12]);
    let flags = format!("--data {data} --side {side} --width 2 --shares natural {flags}");
    Standalone::<Request>::parse_from(flags.split(' ')).arguments.run(Lists::Read(&root.join("out"))).unwrap()
}

/// What came of training the cells of a run.
struct Outcome {
    records: Vec<Record>,
    /// Cells without a record, with the reason.
    failed: Vec<(String, String)>,
    /// How often a cell was trained here.
    trained: usize,
    /// What was said meanwhile, line by line.
    said: Vec<String>,
}

fn with_cells<T>(root: &Path, run: &Run, weights: bool, test: impl FnOnce(&Cells) -> T) -> T {
    let (resolved, folder) = (run.resolve().unwrap(), Folder::open(&root.join("out")).unwrap());
    let resolved: Vec<&Resolved> = resolved.iter().collect();
    test(&Cells {
        resolved: &resolved,
        folder: &folder,
        keep: Keep { weights, tensorboard: None },
        may_begin: &|_| true,
        trained: &|| Ok(()),
    })
}

fn train(root: &Path, run: &Run, weights: bool) -> Outcome {
    with_cells(root, run, weights, outcome)
}

fn outcome(cells: &Cells) -> Outcome {
    let trained = Cell::new(0);
    let count = || -> Result<()> {
        trained.set(trained.get() + 1);
        bail!("the page is not written")
    };
    let cells = Cells { trained: &count, ..*cells };
    let mut found = None;
    let said = captured::errors(|| found = Some(cells.train(Vec::new()).unwrap()));
    let (records, failed) = found.unwrap();
    let failed = failed.into_iter().map(|failure| (failure.cell, failure.reason)).collect();
    Outcome { records, failed, trained: trained.get(), said: said.lines().map(str::to_owned).collect() }
}

/// Returns all files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.path().is_dir() {
            true => found.extend(
                files(&entry.path()).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            ),
            false => drop(found.insert(name, fs::read(entry.path()).unwrap())),
        }
    }
    found
}

const FLOORS: &str = "--study floors --only pixels,none-resnet18";
const PIXELS: &str = "pixels/none-pixels-natural-seed0";
const RANDOM: &str = "random_weights/none-resnet18-natural-seed0";

#[test]
fn a_cell_is_trained_once_and_what_is_missing_beside_it_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), FLOORS));
    let out = root.join("out");
    let first = train(root, &run, true);
    let ids: Vec<&str> = first.records.iter().map(|record| record.cell.id.as_str()).collect();
    assert_eq!((&ids[..], first.trained, first.failed.len()), (&[PIXELS, RANDOM][..], 2, 0));
    assert!(first.said[0].starts_with(&format!("[1/2] {PIXELS}: AUROC of the probe 0.")), "{:?}", first.said);
    assert_eq!(first.said[1], "note: the page is not written", "which stops nothing");
    let written = files(&out);
    let lists: Vec<&String> = written.keys().filter(|name| name.starts_with("images-")).collect();
    assert_eq!(lists.len(), 2, "{lists:?}");
    for list in &lists {
        let text = String::from_utf8_lossy(&written[*list]);
        let known = text
            .lines()
            .skip(1)
            .filter(|line| line.split(',').nth(9).is_some_and(|digest| digest.len() == 32));
        assert_eq!(known.count(), if list.contains("train") { 27 } else { 9 }, "{list}");
    }
    let others: Vec<&str> =
        written.keys().map(String::as_str).filter(|name| !name.starts_with("images-")).collect();
    let of = |cell: &str, ends: &[&str]| ends.iter().map(|end| format!("{cell}.{end}")).collect::<Vec<_>>();
    let ends = ["detector.safetensors", "json", "logits.csv", "safetensors"];
    assert_eq!(others, [of(PIXELS, &["json", "logits.csv"]), of(RANDOM, &ends)].concat());
    let beside: Vec<&str> = first.records[1].beside.keys().map(String::as_str).collect();
    assert_eq!(beside, ["detector", "logits", "weights"]);

    let again = train(root, &run, true);
    assert_eq!((again.records, again.trained), (first.records.clone(), 0));
    assert_eq!(
        again.said,
        [format!("[1/2] {PIXELS}: finished earlier"), format!("[2/2] {RANDOM}: finished earlier")]
    );
    assert_eq!(files(&out), written);

    // A missing file comes back as it was.
    fs::remove_file(out.join(format!("{RANDOM}.logits.csv"))).unwrap();
    let again = train(root, &run, true);
    assert_eq!((again.trained, again.records.len()), (1, 2));
    assert_eq!(files(&out), written);
    // Weights that are not to be kept are not made again.
    fs::remove_file(out.join(format!("{RANDOM}.safetensors"))).unwrap();
    assert_eq!(train(root, &run, false).trained, 0);
    assert_eq!(train(root, &run, true).trained, 1);
    assert_eq!(files(&out), written);
    // What a process that died just after its record has left is removed; nothing is trained.
    for end in ["checkpoint", "lock"] {
        fs::write(out.join(format!("{RANDOM}.{end}")), "").unwrap();
        let again = train(root, &run, true);
        assert_eq!((again.trained, again.records.len(), files(&out) == written), (0, 2, true), "{end}");
    }
}

/// A record whose numbers are not computed again is kept under another name.
#[test]
fn a_record_with_other_numbers_is_put_aside() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), "--study floors --only pixels"));
    let first = train(root, &run, false).records.remove(0);
    let path = root.join(format!("out/{PIXELS}.json"));
    let other = fs::read_to_string(&path).unwrap().replace(&first.beside["logits"].blake3, &"0".repeat(64));
    fs::write(&path, &other).unwrap();
    fs::remove_file(path.with_extension("logits.csv")).unwrap();
    let again = train(root, &run, false);
    let aside = path.with_file_name("none-pixels-natural-seed0.json-unused");
    let line = format!(
        "{PIXELS}: computed again, and its numbers differ from before; the old record is kept as {}",
        aside.display()
    );
    assert!(again.said.contains(&line), "{:?}", again.said);
    assert_eq!(fs::read_to_string(&aside).unwrap(), other);
    assert_eq!(
        (again.records[0].beside.clone(), again.records[0].fingerprint.clone()),
        (first.beside, first.fingerprint)
    );
}

/// A cell that another process holds is waited for, and trained here once that process has ended without it.
#[test]
fn a_cell_that_another_process_leaves_is_trained_here() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), "--study floors --only pixels"));
    let found = with_cells(root, &run, false, |cells| {
        let lock = cells.folder.lock(PIXELS).unwrap().unwrap();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(800));
            drop(lock);
        });
        let found = outcome(cells);
        other.join().unwrap();
        found
    });
    assert_eq!((found.records.len(), found.trained, found.failed.len()), (1, 1, 0));
    assert_eq!(found.said[0], "waiting for 1 cell in training by other processes");
    assert!(found.said[1].starts_with(&format!("[1/1] {PIXELS}: AUROC of the probe ")), "{:?}", found.said);
    assert!(!root.join(format!("out/{PIXELS}.lock")).exists());
}

/// While another process holds one cell, the next is trained; the first follows as soon as it is free.
#[test]
fn a_cell_that_is_held_does_not_hold_up_the_next() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), FLOORS));
    with_cells(root, &run, false, |cells| {
        let lock = Cell::new(Some(cells.folder.lock(PIXELS).unwrap().unwrap()));
        let release = || -> Result<()> {
            drop(lock.take());
            Ok(())
        };
        let cells = Cells { trained: &release, ..*cells };
        let mut found = None;
        let said = captured::errors(|| found = Some(cells.train(Vec::new()).unwrap()));
        let begins: Vec<&str> = said.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(begins, [format!("[2/2] {RANDOM}"), format!("[1/2] {PIXELS}")]);
        let (records, failed) = found.unwrap();
        let ids: Vec<&str> = records.iter().map(|record| record.cell.id.as_str()).collect();
        assert_eq!((ids, failed.len()), (vec![PIXELS, RANDOM], 0), "in the order of cells");
    });
}

/// Results of another side of the pictures have the same names: nothing is trained, and each reason is told once.
#[test]
fn results_of_another_experiment_are_named_with_what_differs() {
    let root = tempfile::tempdir().unwrap();
    let (root, first) = (root.path(), run(root.path(), FLOORS));
    train(root, &first, true);
    let before = files(&root.join("out"));
    let (out, other) = (root.join("out"), sized(root, 40, FLOORS));
    let error =
        with_cells(root, &other, true, |cells| cells.ensure_ours().map(drop).unwrap_err().to_string());
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert_eq!(lines[0], "the folder has results of another experiment under the same names:");
    let reason =
        format!("  {PIXELS} and 1 more: side: 32 stored, 40 requested; view1.side: 32 stored, 40 requested");
    assert_eq!(lines[1], reason);
    assert_eq!(files(&out), before);
    assert_eq!(with_cells(root, &first, true, |cells| cells.ensure_ours().unwrap().len()), 0);
}

/// Fine-tuning starts from the weights that an earlier command has stored, if they are of the same experiment.
#[test]
fn fine_tuning_starts_from_stored_weights_of_the_same_experiment() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let flags = "--only simclr-resnet18 --batch-size 9";
    let pretraining = run(root, &format!("--study table1 {flags} --epochs 1"));
    let tuned = run(root, &format!("--study fine_tuned {flags} --epochs 1"));
    let both = run(root, &format!("--study table1,fine_tuned {flags} --epochs 1"));
    let refused = |run: &Run, weights| {
        let found = with_cells(root, run, weights, |cells| cells.ensure_pretrained());
        found.map_err(|error| format!("{error:#}")).err()
    };
    let [first, then] =
        ["extension", "fine_tuned"].map(|study| format!("{study}/simclr-resnet18-natural-seed0"));
    let path = root.join("out").join(&first);
    let [record, weights] = ["json", "safetensors"].map(|end| path.with_extension(end).display().to_string());
    let missing = format!("{record}: not trained yet; the same command with --study table1 trains it");
    assert_eq!(refused(&tuned, true), Some(format!("cell {then}: {missing}")));
    assert_eq!(refused(&both, true), None);
    let none = format!(
        "cell {then} starts from the weights of {first}, but --no-weights stores none; leave out --no-weights"
    );
    assert_eq!(refused(&both, false), Some(none));
    // A cell that fails ends nothing else.
    let floors = run(
        root,
        "--study fine_tuned,floors --only pixels,fine_tuned/simclr-resnet18 --epochs 1 --batch-size 9",
    );
    let found = train(root, &floors, true);
    assert_eq!(
        (found.records.len(), &found.failed[..]),
        (1, &[(then.clone(), format!("cell {then}: {missing}"))][..])
    );
    assert!(found.said.contains(&format!("failed: cell {then}: {missing}")), "{:?}", found.said);

    train(root, &pretraining, true);
    assert_eq!(refused(&tuned, true), None);
    let longer = run(root, &format!("--study fine_tuned {flags} --epochs 2"));
    let differs = format!(
        "cell {then}: cell {first}, from which it starts, belongs to another experiment: epochs: 1 stored, 2 requested"
    );
    assert_eq!(refused(&longer, true), Some(differs));
    fs::remove_file(&weights).unwrap();
    let found = refused(&tuned, true).unwrap();
    let expected = format!(
        "cell {then}: fine-tuning starts from stored weights; train the cell again without --no-weights: {weights}: "
    );
    assert!(found.starts_with(&expected), "{found}");
    // The same command makes the weights again, so it may go on.
    assert_eq!(refused(&both, true), None);
    let found = train(root, &both, true);
    assert_eq!((found.trained, found.records.len(), found.failed.len()), (2, 2, 0));
    assert_eq!(found.records[1].settings.text("pretraining.cell"), Some(first));
    // What is finished needs its beginning no more.
    fs::remove_file(&record).unwrap();
    fs::remove_file(&weights).unwrap();
    assert_eq!(refused(&tuned, true), None);
}

/// If the weights that a cell starts from are not made, it fails too, and nothing is waited for.
#[test]
fn a_cell_whose_beginning_fails_is_a_failure_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [first, then] =
        ["extension", "fine_tuned"].map(|study| format!("{study}/simclr-resnet18-natural-seed0"));
    fs::create_dir_all(root.join(format!("out/{first}.logits.csv/x"))).unwrap();
    let flags = "--study table1,fine_tuned --only simclr-resnet18 --batch-size 9 --epochs 1";
    let found = train(root, &run(root, flags), true);
    let failed: Vec<&str> = found.failed.iter().map(|(cell, _)| cell.as_str()).collect();
    assert_eq!((failed, found.records.len(), found.trained), (vec![first.as_str(), &then], 0, 0));
    let missing = format!("{}: not trained yet", root.join(format!("out/{first}.json")).display());
    assert!(found.failed[1].1.contains(&missing), "{:?}", found.failed);
    assert!(found.said.iter().all(|line| !line.starts_with("waiting")), "{:?}", found.said);
}

/// A cell that another process trains is waited for, even if there is no time to begin it here.
#[test]
fn a_cell_in_training_elsewhere_is_not_refused() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), "--study floors --only pixels"));
    with_cells(root, &run, false, |cells| {
        let lock = cells.folder.lock(PIXELS).unwrap().unwrap();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(800));
            drop(lock);
        });
        let found = outcome(&Cells { may_begin: &|_| false, ..*cells });
        other.join().unwrap();
        assert_eq!(found.said, ["waiting for 1 cell in training by other processes"]);
        assert_eq!((found.records.len(), found.failed.len(), found.trained), (0, 0, 0), "{:?}", found.failed);
    });
}

/// Of a given split the content of a file is known once it has been read: training images after an epoch, validation
/// images at the end. What cannot be noted is reported, but no result is lost by it.
#[test]
fn the_lists_know_every_file_that_was_read() {
    for spoilt in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (split, counts) in [("train", [12, 6]), ("validation", [5, 4])] {
            committed::pictures(&root.join("data").join(split), counts);
        }
        let flags = format!(
            "--data folder={} --side 32 --width 2 --shares natural --study table1 --only supervised-resnet18 --epochs 1 \
             --batch-size 9",
            root.join("data").display()
        );
        let asked = Standalone::<Request>::parse_from(flags.split_whitespace()).arguments;
        let run = asked.run(Lists::Read(&root.join("out"))).unwrap();
        let source = run.sources.all().next().unwrap();
        let folder = Folder::open(&root.join("out")).unwrap();
        let lists = [("train", &source.train), ("validation", &source.validation)]
            .map(|(split, dataset)| folder.images(split, &**dataset));
        if spoilt {
            fs::create_dir_all(lists[1].join("x")).unwrap();
        }
        let found = train(root, &run, false);
        let cell = "extension/supervised-resnet18-natural-seed0";
        assert!(folder.record_path(cell).exists() && !root.join(format!("out/{cell}.lock")).exists());
        if spoilt {
            assert_eq!((found.failed.len(), found.records.len()), (1, 0));
            assert!(found.failed[0].1.contains("images-validation-"), "{:?}", found.failed);
            continue;
        }
        assert_eq!((found.failed.len(), found.records.len()), (0, 1), "{:?}", found.failed);
        for (list, count) in lists.iter().zip([18, 9]) {
            let text = fs::read_to_string(list).unwrap();
            let known = |line: &&str| line.split(',').nth(9).is_some_and(|digest| digest.len() == 32);
            assert_eq!(text.lines().skip(1).filter(known).count(), count, "{}", list.display());
        }
    }
}

/// Weights that are written say how pixels were normalised for them.
#[test]
fn stored_weights_say_which_normalisation_they_were_trained_with() {
    use skewbench::{augment::Normalisation, experiment::Init};
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let flags = "--study table1 --only supervised-resnet18 --batch-size 9";
    train(root, &run(root, &format!("{flags} --epochs 0")), true);
    let cell = "extension/supervised-resnet18-natural-seed0";
    let first = root.join("first.safetensors");
    fs::rename(root.join(format!("out/{cell}.safetensors")), &first).unwrap();
    fs::remove_dir_all(root.join("out")).unwrap();
    assert_eq!(Init::new(&first, None).unwrap().normalisation, Normalisation::SEWER_ML);
    let init = format!("{flags} --epochs 1 --init {} --normalisation imagenet", first.display());
    assert!(train(root, &run(root, &init), true).failed.is_empty());
    let stored = Init::new(&root.join(format!("out/{cell}.safetensors")), None).unwrap();
    assert_eq!((stored.normalisation, stored.normalisation_from_header), (Normalisation::IMAGENET, true));
}

/// A cell whose record is lost before the end has failed; one that may not begin is left as it is.
#[test]
fn a_record_that_is_lost_meanwhile_is_a_failure() {
    let root = tempfile::tempdir().unwrap();
    let (root, run) = (root.path(), run(root.path(), FLOORS));
    let path = root.join(format!("out/{PIXELS}.json"));
    with_cells(root, &run, false, |cells| {
        let spoil = || -> Result<()> { Ok(fs::write(&path, "{")?) };
        let cells = Cells { trained: &spoil, ..*cells };
        let mut found = None;
        captured::errors(|| found = Some(cells.train(Vec::new()).unwrap()));
        let (records, failed) = found.unwrap();
        let ids: Vec<&str> = records.iter().map(|record| record.cell.id.as_str()).collect();
        assert_eq!((ids, failed.len()), (vec![RANDOM], 1));
        assert_eq!(failed[0].cell, PIXELS);
        assert!(failed[0].reason.contains("truncated or not JSON"), "{}", failed[0].reason);

        // The other cell's logits are missing, but it may not begin.
        fs::remove_file(root.join(format!("out/{RANDOM}.logits.csv"))).unwrap();
        fs::write(root.join("out/table.json"), "[]").unwrap();
        let cells = Cells { may_begin: &|_| false, trained: &|| panic!("nothing may begin"), ..cells };
        let mut unreadable = Vec::new();
        let told = captured::errors(|| unreadable = cells.ensure_ours().unwrap());
        assert_eq!((unreadable.len(), unreadable[0].cell.as_str()), (1, PIXELS));
        let lines: Vec<&str> = told.lines().collect();
        let table = root.join("out/table.json").display().to_string();
        assert_eq!(lines[0], format!("not read: {table}: not a skewbench record: no number called 'schema'"));
        let logits = root.join(format!("out/{RANDOM}.logits.csv")).display().to_string();
        assert_eq!(
            lines[1..],
            [format!("{logits}: missing, although the record lists it: the cell is computed again")]
        );
        let mut found = None;
        let said = captured::errors(|| found = Some(cells.train(unreadable).unwrap()));
        let (records, failed) = found.unwrap();
        assert_eq!((records.len(), failed.len()), (1, 1));
        assert!(said.starts_with(&format!("{PIXELS}: {}: truncated or not JSON", path.display())), "{said}");
        assert!(said.ends_with(&format!("[2/2] {RANDOM}: finished earlier\n")), "{said}");
        assert!(!Path::new(&logits).exists());
    });
}

/// A record of another experiment that appears while a lock is taken is neither used nor replaced.
#[test]
fn a_foreign_record_beside_a_lock_is_a_failure() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    train(root, &run(root, "--study floors --only pixels"), false);
    fs::write(root.join(format!("out/{PIXELS}.lock")), "").unwrap();
    let before = fs::read(root.join(format!("out/{PIXELS}.json"))).unwrap();
    let found = train(root, &sized(root, 40, "--study floors --only pixels"), false);
    assert_eq!((found.records.len(), found.trained), (0, 0));
    let reason = format!("cell {PIXELS}: side: 32 stored, 40 requested; view1.side: 32 stored, 40 requested");
    assert_eq!(found.failed, [(PIXELS.to_owned(), reason.clone())]);
    assert_eq!(found.said, [format!("failed: {reason}")]);
    assert_eq!(fs::read(root.join(format!("out/{PIXELS}.json"))).unwrap(), before);
}

/// Another process holds the cell that fine-tuning starts from, and leaves it untrained: both are waited for, and then
/// trained here in their order.
#[test]
fn a_cell_waits_for_its_beginning_in_another_process() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [first, then] =
        ["extension", "fine_tuned"].map(|study| format!("{study}/simclr-resnet18-natural-seed0"));
    let flags = "--study table1,fine_tuned --only simclr-resnet18 --batch-size 9 --epochs 1";
    let run = run(root, flags);
    with_cells(root, &run, true, |cells| {
        let lock = cells.folder.lock(&first).unwrap().unwrap();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        let found = outcome(cells);
        other.join().unwrap();
        assert_eq!(found.said[0], "waiting for 2 cells in training by other processes");
        let ids: Vec<&str> = found.records.iter().map(|record| record.cell.id.as_str()).collect();
        assert_eq!((ids, found.failed, found.trained), (vec![first.as_str(), &then], Vec::new(), 2));
    });
}

/// A finished cell without weights is not trained again, so it is no beginning, whether or not it is asked for.
#[test]
fn a_beginning_without_weights_is_refused_before_anything_is_trained() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let flags = "--only simclr-resnet18 --batch-size 9 --epochs 1";
    assert_eq!(train(root, &run(root, &format!("--study table1 {flags}")), false).trained, 1);
    for study in ["fine_tuned", "table1,fine_tuned"] {
        let run = run(root, &format!("--study {study} {flags}"));
        let found = with_cells(root, &run, true, |cells| cells.ensure_pretrained()).unwrap_err();
        let begin = "cell fine_tuned/simclr-resnet18-natural-seed0: fine-tuning starts from stored weights; train the cell \
                     again without --no-weights: ";
        let found = format!("{found:#}");
        assert!(found.starts_with(begin), "{study}: {found}");
    }
}
