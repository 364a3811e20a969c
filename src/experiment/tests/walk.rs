//! A whole cell: its stages, cost and detector, and what a resumed cell reports.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{super::checkpoint::Keeper, *};
use crate::{
    results::{detector::EXAMPLES, provenance, record::Provenance},
    train::{Progress, checkpoint::State},
};

fn cell() -> Cell {
    Cell { study: Study::Extension, method: Supervised, backbone: ResNet18, share: Share::NATURAL, seed: 5 }
}

#[test]
fn a_finished_cell_tells_its_stages_cost_and_detector() {
    let (plan, source) = (Plan::new(Scale::fixture()), drawn(40, 36));
    let (mut stages, mut steps) = (Vec::new(), 0);
    let finished = run(&cell(), &plan, &source, &mut |event| match event {
        Event::Stage(name) => stages.push(name),
        Event::Training(Progress::Step { .. }) => steps += 1,
        _ => {}
    })
    .unwrap();
    assert_eq!(stages, ["training", "features", "probe", "pointing", "label-free"]);
    assert_eq!(steps, 2, "two epochs of one batch of 32");
    let record = &finished.record;
    let cost = &record.cost;
    assert!((cost.images_per_second * cost.train_seconds - 64.0).abs() < 1e-6, "{cost:?}");
    let parts: BTreeSet<&str> = cost.parts.keys().map(String::as_str).collect();
    let evaluated = ["features", "probe", "pointing", "label_free"];
    assert_eq!(parts, BTreeSet::from_iter(["data", "updates", "monitors"].into_iter().chain(evaluated)));
    let sum: f64 = evaluated.iter().map(|part| cost.parts[*part]).sum();
    assert!(sum <= cost.evaluate_seconds && sum > 0.9 * cost.evaluate_seconds, "{cost:?}");
    let trained: f64 = ["data", "updates", "monitors"].iter().map(|part| cost.parts[*part]).sum();
    assert!(trained <= cost.train_seconds && trained > 0.9 * cost.train_seconds, "{cost:?}");
    assert_eq!(cost.resumed, 0);
    let seconds: f64 = record.curve.iter().map(|epoch| epoch.seconds).sum();
    assert!(record.curve.len() == 2 && seconds <= cost.train_seconds, "{seconds} of {cost:?}");
    // The detector's examples are evenly spaced validation images, each with its own logits.
    let detector = finished.detector.as_ref().unwrap();
    assert_eq!((detector.pictures.len(), detector.usual_size), (EXAMPLES, None));
    let rows: Vec<usize> = (0..EXAMPLES).map(|place| place * 36 / EXAMPLES).collect();
    for (scorer, logits) in &detector.scorers {
        let (_, all) = finished.logits.classifiers.iter().find(|(name, _)| name == scorer.name()).unwrap();
        assert_eq!(*logits, rows.iter().map(|&row| all[row]).collect::<Vec<_>>(), "{}", scorer.name());
    }
    let scorers: Vec<&str> = detector.scorers.iter().map(|(scorer, _)| scorer.name()).collect();
    assert!(scorers.contains(&"converged") && scorers.contains(&"normals_patchcore"), "{scorers:?}");
    let side = plan.scale.side as u32;
    assert!(
        detector
            .pictures
            .iter()
            .all(|picture| [picture.width, picture.height].map(|side| side as u32) == [side; 2])
    );
    let pictures: BTreeSet<&[u8]> = detector.pictures.iter().map(|picture| &picture.pixels[..]).collect();
    assert_eq!(pictures.len(), EXAMPLES, "no two are alike");
}

#[test]
fn a_state_is_kept_beside_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let results = crate::results::Folder::open(folder.path()).unwrap();
    let checkpoint = Checkpoint::new(&results, "table1/a").with_stop_flag(&stop);
    assert_eq!(checkpoint.path, folder.path().join("table1/a.checkpoint"));
    assert_eq!(checkpoint.every, Duration::from_secs(300));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(checkpoint.stop.load(std::sync::atomic::Ordering::Relaxed), "it is the caller's");
}

/// The state of a cell that is trained on one machine after another names them all, whichever is last.
#[test]
fn every_machine_that_trained_a_cell_is_named() {
    let (plan, source) = (Plan::new(Scale::fixture()), drawn(80, 36));
    let resolved = plan.resolve(&cell(), &source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.checkpoint");
    let (every, stop) = (Duration::from_secs(300), Arc::new(AtomicBool::new(true)));
    let checkpoint = Checkpoint { path, every, stop };
    run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).map(drop).unwrap_err();
    let here = provenance::collect(&resolved.device);
    let name = |cpu: &str| format!("{}, {cpu}", here.device);
    let began = format!("training began on another machine: {}", name(&here.cpu));
    let ran = |cpu: &str| format!("a part of the training ran on another machine: {}", name(cpu));
    for (cpu, expected) in [
        (here.cpu.as_str(), vec![]),
        ("second", vec![began.clone()]),
        (&here.cpu, vec![ran("second")]),
        ("third", vec![began.clone(), ran("second")]),
        ("second", vec![began.clone(), ran("third")]),
    ] {
        let machine = Provenance { cpu: cpu.to_owned(), ..here.clone() };
        let mut keeper = Keeper::open(Some(&checkpoint), &resolved, &machine, &mut |_| {}).unwrap();
        assert_eq!(keeper.limits(), expected, "on {cpu}");
        // It saves its next state at once, because it is to stop.
        keeper.start();
        let state = || Ok(State::read(&checkpoint.path)?.0);
        let step = Progress::Step { epoch: 0, step: 1, steps: 3, images: 32, loss: 0.0, state: &state };
        keeper.on_progress(&step).unwrap_err();
    }
}

/// Returns a checkpoint in this folder that stops training after its first step.
fn stopping_in(folder: &Path) -> Checkpoint {
    let path = folder.join("state.checkpoint");
    Checkpoint { path, every: Duration::from_secs(300), stop: Arc::new(AtomicBool::new(true)) }
}

/// A cell that began elsewhere says so in its record, beside what else a reader must know.
#[test]
fn a_record_says_that_its_training_began_elsewhere() {
    let (plan, source) = (Plan::new(Scale::fixture()), drawn(80, 36));
    let resolved = plan.resolve(&cell(), &source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = stopping_in(folder.path());
    run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).map(drop).unwrap_err();
    let (state, mut notes) = State::read(&checkpoint.path).unwrap();
    let known = notes.insert("machine".to_owned(), "cpu, another processor".to_owned()).unwrap();
    let here = provenance::collect(&resolved.device);
    assert_eq!(known, format!("{}, {}", here.device, here.cpu));
    std::fs::write(&checkpoint.path, state.to_safetensors(&notes).unwrap()).unwrap();
    checkpoint.stop.store(false, std::sync::atomic::Ordering::Relaxed);
    let record = run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).unwrap().record;
    let (last, others) = record.data.limits.split_last().unwrap();
    assert_eq!(last, "training began on another machine: cpu, another processor");
    assert!(others.iter().any(|line| line.starts_with("no scores at validation share 1%")), "{others:?}");
    assert_eq!(record.cost.resumed, 1);
}

/// A cell resumed on another machine states where it began; on the same machine it states nothing.
#[test]
fn a_resumed_cell_says_where_it_began() {
    let (plan, source) = (Plan::new(Scale::fixture()), drawn(80, 36));
    let resolved = plan.resolve(&cell(), &source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = stopping_in(folder.path());
    let error = run_with_checkpoint(&resolved, &checkpoint, &mut |_| {}).map(drop).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Stopped { epochs: 0, steps: 1 }));
    checkpoint.ensure_belongs_to(&resolved).unwrap();
    let here = provenance::collect(&resolved.device);
    let open = |machine: &Provenance| {
        let mut told = Vec::new();
        let keeper = Keeper::open(Some(&checkpoint), &resolved, machine, &mut |event| match event {
            Event::Resumed { epoch, step, images } => told.push([epoch, step, images]),
            _ => panic!("another event"),
        })
        .unwrap();
        assert_eq!((told, keeper.resumed, keeper.resume_from.is_some()), (vec![[0, 1, 32]], 1, true));
        assert!(keeper.seconds() > 0.0 && keeper.parts.contains_key("updates"), "{:?}", keeper.parts);
        keeper.limits()
    };
    assert!(open(&here).is_empty());
    let mut elsewhere = here.clone();
    elsewhere.cpu = "another processor".to_owned();
    let began = format!("training began on another machine: {}, {}", here.device, here.cpu);
    assert_eq!(open(&elsewhere), [began]);
    // A state of another experiment is not renamed, and the message names what differs.
    let other = Plan { scale: Scale { epochs: 3, ..Scale::fixture() }, ..Plan::new(Scale::fixture()) };
    let other = other.resolve(&cell(), &source).unwrap();
    let message = format!("{:#}", checkpoint.ensure_belongs_to(&other).unwrap_err());
    assert!(
        message.starts_with("the saved training differs from the requested one: ")
            && message.contains("epochs"),
        "{message}"
    );
    // A torn state is renamed, and the cell starts from scratch.
    std::fs::write(&checkpoint.path, "torn").unwrap();
    checkpoint.ensure_belongs_to(&other).unwrap();
    let mut notes = Vec::new();
    let keeper = Keeper::open(Some(&checkpoint), &resolved, &here, &mut |event| match event {
        Event::Note(note) => notes.push(note.to_owned()),
        _ => panic!("another event"),
    })
    .unwrap();
    assert_eq!((keeper.resumed, keeper.resume_from.is_some(), notes.len()), (0, false, 1));
    let aside = checkpoint.path.with_extension("checkpoint-unused");
    assert!(notes[0].starts_with("starts from scratch: "), "{notes:?}");
    assert!(notes[0].ends_with(&format!("; the old state is kept as {}", aside.display())), "{notes:?}");
    assert!(aside.exists() && !checkpoint.path.exists());
}
