//! The same seed gives the same bytes: a repeated cell is bit-identical, with one thread or two, and so is one that
//! was interrupted and resumed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use rstest::rstest;
use skewbench::{
    backbone,
    candle_core::Tensor,
    data::{Share, Source},
    experiment::{self, Cell, Checkpoint, Event, Finished, Plan, Scale, Stopped, Study, recipe},
    loader::Batch,
    method::{self, Position},
    results::{self, Folder, Record},
    seed::Seed,
    tensor::backward,
    train::{
        Progress,
        optimiser::{Group, Optimiser, Rule},
    },
};

use crate::check::{self, fixture};

fn run(threads: usize, seed: u64) -> Record {
    let (plan, source) = fixture();
    let cell = Cell {
        study: Study::Table1,
        method: method::Name::SimClr,
        backbone: backbone::Name::ResNet18,
        share: Share::percent(15),
        seed,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| experiment::run(&cell, &plan, source, &mut |_| {})).unwrap().record
}

/// Returns everything of a record that is computed, not timed.
fn computed(record: &Record) -> String {
    let losses: Vec<_> = record.curve.iter().map(|epoch| (epoch.loss.to_bits(), epoch.probe_loss)).collect();
    format!("{} {losses:?} {:?} {:?}", record.fingerprint, record.probe, record.scores)
}

#[test]
fn a_cell_is_bit_identical_when_repeated_and_whatever_the_threads() {
    let first = computed(&run(1, 0));
    assert_eq!(first, computed(&run(1, 0)), "repeated");
    assert_eq!(first, computed(&run(2, 0)), "two threads");
    assert_ne!(first, computed(&run(1, 1)), "another seed must give another run");
}

/// Returns every variable, including teachers' and statistics, after two training steps of AdamW on random images.
fn trained(method: method::Name, backbone: backbone::Name, threads: usize) -> Vec<(String, Vec<u32>)> {
    let (plan, source) = fixture();
    let train = || -> Result<Vec<(String, Vec<u32>)>> {
        let mut resolved = plan.resolve(&cell(method, backbone), source)?;
        resolved.defect_weight = 3.0;
        let model = resolved.build(Seed::root(0))?;
        let group = Group::uniform(model.parameters().trainable(), 1e-3, 1e-2);
        let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group])?;
        // More than sixteen channels and tiles, so that convolutions and products are split into pieces.
        let (images, side) = (12, plan.scale.side);
        let views = if matches!(method, method::Name::Supervised | method::Name::Mae) { 1 } else { 2 };
        for step in 0..2 {
            let mut stream = Seed::root(0).child("images").index(step).stream();
            let pixels: Vec<f32> =
                (0..views * images * side * side * 3).map(|_| stream.normal() as f32).collect();
            let labels: Vec<f32> = (0..images).map(|image| f32::from(u8::from(image % 4 == 0))).collect();
            let batch = Batch {
                images: Tensor::from_vec(pixels, (views * images, side, side, 3), &plan.device)?,
                labels: Tensor::new(labels, &plan.device)?,
                views,
                indices: (0..images).collect(),
                skipped: Vec::new(),
            };
            let at = Position { step, steps: 10, epoch: 1, epochs: 5 };
            let gradients = backward(&model.step(&batch, at)?.loss)?;
            optimiser.step_all_but(|name| model.is_frozen(name, at), &gradients, |base| base)?;
            model.after_step(at)?;
        }
        let teacher = model.teacher().into_iter().flat_map(|teacher| teacher.all());
        model
            .parameters()
            .all()
            .iter()
            .chain(teacher)
            .map(|parameter| {
                let values = parameter.variable.flatten_all()?.to_vec1::<f32>()?;
                Ok((parameter.name.clone(), values.into_iter().map(f32::to_bits).collect()))
            })
            .collect()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(train).unwrap()
}

#[rstest]
fn a_training_step_is_bit_identical_whatever_the_threads(
    #[values(
        method::Name::Supervised,
        method::Name::Byol,
        method::Name::BarlowTwins,
        method::Name::Dino,
        method::Name::Mae,
        method::Name::SimClr
    )]
    method: method::Name,
    #[values(backbone::Name::ResNet18, backbone::Name::ViTTiny)] backbone: backbone::Name,
) {
    if method.undefined_on(backbone).is_some() {
        return;
    }
    let expected = trained(method, backbone, 1);
    for threads in [2, 3] {
        for (expected, found) in expected.iter().zip(trained(method, backbone, threads)) {
            assert!(*expected == found, "{}: {threads} threads", found.0);
        }
    }
}

/// Returns the plan of a cell with few images, which is trained for two epochs of some steps.
fn short(recipe: recipe::Name) -> (Plan, &'static Source) {
    const IMAGES: (usize, usize) = (160, 420);
    static SOURCE: LazyLock<Source> = LazyLock::new(|| check::drawn(0, IMAGES, Scale::fixture().side));
    check::on_one_thread();
    let scale = Scale { batch_size: 16, synthetic_images: IMAGES, ..Scale::fixture() };
    (Plan { recipe, ..Plan::new(scale) }, &SOURCE)
}

fn cell(method: method::Name, backbone: backbone::Name) -> Cell {
    Cell { study: Study::Table1, method, backbone, share: Share::percent(45), seed: 0 }
}

/// Trains with a state saved after every step, in `folder`; copies the file as a kill after (epoch, step) would
/// leave it. Step 0 is the end of the previous epoch.
fn train(
    cell: &Cell,
    plan: &Plan,
    source: &Source,
    folder: &Path,
    kill: (usize, usize),
) -> (Finished, PathBuf) {
    let (path, stop) = (folder.join("x.checkpoint"), Arc::default());
    let checkpoint = Checkpoint { path, every: Duration::ZERO, stop };
    let killed = folder.join("killed");
    let finished =
        experiment::run_with_checkpoint(&plan.resolve(cell, source).unwrap(), &checkpoint, &mut |event| {
            let at = match event {
                Event::Training(Progress::Step { epoch, step, .. }) => (epoch, step),
                Event::Training(Progress::Epoch { epoch, .. }) => (epoch.epoch + 1, 0),
                _ => return,
            };
            if at == kill {
                fs::copy(&checkpoint.path, &killed).unwrap();
            }
        });
    (finished.unwrap(), killed)
}

/// Returns what a cell computed: its record without times, and the bytes of its weights and logits.
fn computed_files(finished: &Finished) -> (Record, Vec<u8>, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    folder.write_weights("x", finished.method.parameters(), &Default::default()).unwrap();
    folder.write_logits("x", &finished.logits).unwrap();
    let mut record = finished.record.clone();
    record.provenance.started_unix = 0;
    record.cost = results::record::Cost {
        train_seconds: 0.0,
        evaluate_seconds: 0.0,
        images_per_second: 0.0,
        resumed: 0,
        parts: Default::default(),
    };
    record.curve.iter_mut().for_each(|epoch| epoch.seconds = 0.0);
    let read = |path: PathBuf| fs::read(path).unwrap();
    (record, read(folder.weights_path("x")), read(folder.logits_path("x")))
}

/// All kinds of state: AdamW, an online probe, teachers (with statistics of their own), DINO's centre and frozen
/// layer, LARS, MAE's masks; within an epoch and between two.
#[rstest]
#[case::supervised(recipe::Name::Short, method::Name::Supervised, backbone::Name::ResNet18, (0, 3))]
#[case::simclr_lars(recipe::Name::AsReleased, method::Name::SimClr, backbone::Name::ResNet18, (1, 2))]
#[case::byol(recipe::Name::Short, method::Name::Byol, backbone::Name::ResNet18, (0, 2))]
#[case::barlow_twins(recipe::Name::Short, method::Name::BarlowTwins, backbone::Name::ViTTiny, (1, 0))]
#[case::dino(recipe::Name::Short, method::Name::Dino, backbone::Name::ViTTiny, (0, 3))]
#[case::mae(recipe::Name::Short, method::Name::Mae, backbone::Name::ViTTiny, (1, 1))]
fn an_interrupted_cell_ends_as_if_it_had_not_been(
    #[case] recipe: recipe::Name,
    #[case] method: method::Name,
    #[case] backbone: backbone::Name,
    #[case] kill: (usize, usize),
) {
    let (plan, source) = short(recipe);
    let cell = cell(method, backbone);
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = train(&cell, &plan, source, folder.path(), kill);
    assert_eq!(whole.record.cost.resumed, 0);

    // Interrupted a second time, at the end of training: only scoring remains then.
    let again = tempfile::tempdir().unwrap();
    fs::copy(&killed, again.path().join("x.checkpoint")).unwrap();
    let (second, killed) = train(&cell, &plan, source, again.path(), (2, 0));
    let last = tempfile::tempdir().unwrap();
    fs::copy(&killed, last.path().join("x.checkpoint")).unwrap();
    let (third, _) = train(&cell, &plan, source, last.path(), (9, 9));

    let expected = computed_files(&whole);
    assert_eq!(second.record.cost.resumed, 1);
    assert_eq!(third.record.cost.resumed, 2);
    for (name, resumed) in [("once", second), ("twice", third)] {
        let found = computed_files(&resumed);
        assert_eq!(found.0, expected.0, "record, interrupted {name}");
        assert!(found.1 == expected.1, "weights, interrupted {name}");
        assert!(found.2 == expected.2, "logits, interrupted {name}");
        let cost = &resumed.record.cost;
        let epochs: f64 = resumed.record.curve.iter().map(|epoch| epoch.seconds).sum();
        assert!(resumed.record.curve.iter().all(|epoch| epoch.seconds > 0.0));
        assert!(epochs <= cost.train_seconds && cost.train_seconds < epochs + 1.0, "{epochs} s of {cost:?}");
    }
}

/// The cell is asked to stop within an epoch, and again after training: its state is saved at once, before the
/// interval has passed.
#[test]
fn a_cell_that_is_asked_to_stop_keeps_its_state() {
    let (plan, source) = short(recipe::Name::Short);
    let cell = cell(method::Name::SimClr, backbone::Name::ViTTiny);
    let folder = tempfile::tempdir().unwrap();
    let (whole, _) = train(&cell, &plan, source, folder.path(), (9, 9));
    fs::remove_file(folder.path().join("x.checkpoint")).unwrap();
    let run = |asked: &dyn Fn(&Event) -> bool| {
        let (path, stop) = (folder.path().join("x.checkpoint"), Arc::new(AtomicBool::new(false)));
        let checkpoint = Checkpoint { path, every: Duration::MAX, stop: stop.clone() };
        experiment::run_with_checkpoint(&plan.resolve(&cell, source).unwrap(), &checkpoint, &mut |event| {
            if asked(&event) {
                stop.store(true, Ordering::Relaxed);
            }
        })
    };
    let stopped = |ended: Result<Finished>| *ended.err().unwrap().downcast_ref::<Stopped>().unwrap();
    // Time that passes before it stops counts too, even without training.
    let pause = 1.5 * whole.record.cost.train_seconds;
    let within = |event: &Event| {
        let stops = matches!(event, Event::Training(Progress::Step { epoch: 1, step: 2, .. }));
        if stops {
            std::thread::sleep(Duration::from_secs_f64(pause));
        }
        stops
    };
    assert_eq!(stopped(run(&within)), Stopped { epochs: 1, steps: 3 });
    let after = |event: &Event| matches!(event, Event::Stage("probe"));
    assert_eq!(stopped(run(&after)), Stopped { epochs: 2, steps: 0 });
    let finished = run(&|_| false).unwrap();
    let Record { cost, curve, .. } = &finished.record;
    assert_eq!(cost.resumed, 2);
    assert!(cost.train_seconds >= pause && curve[1].seconds >= pause, "{pause} s of {cost:?}");
    assert!(cost.parts["data"] >= pause, "until the next batch: {cost:?}");
    let passes = plan.resolve(&cell, source).unwrap().image_passes() as f64;
    assert!((cost.images_per_second * cost.train_seconds / passes - 1.0).abs() < 1e-9, "{cost:?}");
    assert!(computed_files(&finished) == computed_files(&whole));
}

#[test]
fn mixed_precision_is_another_experiment_and_resumes_to_the_same_bytes() {
    let (plan, source) = short(recipe::Name::Short);
    let plan = Plan { mixed_precision: true, ..plan };
    let cell = cell(method::Name::SimClr, backbone::Name::ViTTiny);
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = train(&cell, &plan, source, folder.path(), (1, 2));
    let again = tempfile::tempdir().unwrap();
    fs::copy(&killed, again.path().join("x.checkpoint")).unwrap();
    let (resumed, _) = train(&cell, &plan, source, again.path(), (9, 9));
    let (expected, found) = (computed_files(&whole), computed_files(&resumed));
    assert!(found == expected, "interrupted once");
    assert_eq!(expected.0.settings.values["precision"], "bf16 with f32 weights");

    let exact = Plan { mixed_precision: false, ..short(recipe::Name::Short).0 };
    let other = tempfile::tempdir().unwrap();
    let (exact, _) = train(&cell, &exact, source, other.path(), (9, 9));
    assert_eq!(exact.record.settings.values["precision"], "f32");
    assert_ne!(exact.record.fingerprint, expected.0.fingerprint);
    let loss = |record: &Record| record.curve.last().unwrap().loss;
    let (rounded, exact) = (loss(&expected.0), loss(&exact.record));
    assert!((rounded / exact - 1.0).abs() < 0.05, "last loss {rounded}, in f32 {exact}");
}

#[test]
fn a_state_that_does_not_belong_is_never_resumed() {
    let (plan, source) = short(recipe::Name::Short);
    let supervised = cell(method::Name::Supervised, backbone::Name::ResNet18);
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = train(&supervised, &plan, source, folder.path(), (0, 3));
    let expected = computed_files(&whole);
    let path = folder.path().join("x.checkpoint");
    let checkpoint = Checkpoint { path: path.clone(), every: Duration::MAX, stop: Arc::default() };

    // Other settings, or other numeric code: refused with the differences, and the file is unchanged.
    let before = fs::read(&path).unwrap();
    let other = Plan { recipe: recipe::Name::Reference, ..short(recipe::Name::Short).0 };
    let other = other.resolve(&supervised, source).unwrap();
    let mut rebuilt = plan.resolve(&supervised, source).unwrap();
    rebuilt.identity.code = "0".repeat(64);
    for (asked, difference) in [(other, "recipe"), (rebuilt, "code")] {
        let error = experiment::run_with_checkpoint(&asked, &checkpoint, &mut |_| {}).err().unwrap();
        let told = format!("{error:#}");
        assert!(
            told.contains("the saved training differs from the requested one: ") && told.contains(difference),
            "{told}"
        );
        assert!(fs::read(&path).unwrap() == before);
    }

    // A torn state is renamed and reported, and training starts from scratch.
    let torn = fs::read(&killed).unwrap();
    let torn = &torn[..torn.len() - 9];
    fs::write(&path, torn).unwrap();
    let mut notes = Vec::new();
    let resolved = plan.resolve(&supervised, source).unwrap();
    let finished = experiment::run_with_checkpoint(&resolved, &checkpoint, &mut |event| {
        assert!(!matches!(event, Event::Resumed { .. }), "a torn state was resumed");
        if let Event::Note(text) = event {
            notes.push(text.to_owned());
        }
    })
    .unwrap();
    assert!(notes.len() == 1 && notes[0].contains("truncated"), "{notes:?}");
    assert!(fs::read(path.with_extension("checkpoint-unused")).unwrap() == torn, "it is kept");
    assert!(computed_files(&finished).1 == expected.1);
}
