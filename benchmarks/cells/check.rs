//! `check(cell)`: runs a cell at fixture scale and compares its record with a snapshot.
//!
//! The only file that runs cells for tests. Snapshots contain counts and digests exactly, and losses and scores
//! within stated bounds, but no timings or provenance. By default only some cells are trained, which cover every
//! method, backbone, study and share (`identity.rs`); of the others only the identity is checked. With
//! `SKEWBENCH_TESTS=all` every cell is trained.

use std::{
    env,
    path::Path,
    sync::{Arc, LazyLock},
};

use skewbench::{
    backbone::import::Weights,
    data::{self, Source, cached::Cached},
    experiment::{self, Cell, Finished, Plan, Pretrained, Resolved, Scale},
    results::{Record, record::Identity},
    seed::Seed,
};

use crate::{
    identity, skip,
    within::{Bound, Fields, WithinBounds},
};

/// Losses: kernels on different CPUs differ in their last bits, and training amplifies the differences. Ours.
const LOSS: Bound = Bound::Relative(1e-2);
/// Label-free metrics, of features after a few steps. Ours.
const LABEL_FREE: Bound = Bound::Relative(5e-2);
/// Scores of 420 images: about two flipped images of the rarer kind. Ours.
const SCORE: Bound = Bound::Absolute(2e-2);
/// Scores at validation shares of 1 to 5 %, where 2 to 11 defects decide. Ours.
const RARE_SCORE: Bound = Bound::Absolute(6e-2);

/// Returns whether the long tests run too: `SKEWBENCH_TESTS=all`.
///
/// # Panics
/// If the variable has another value, so that a typo does not select the short tests.
pub fn everything() -> bool {
    let chosen = env::var_os("SKEWBENCH_TESTS").unwrap_or_default();
    assert!(chosen.is_empty() || chosen == "all", "SKEWBENCH_TESTS is {}, expected 'all'", chosen.display());
    chosen == "all"
}

/// Makes the thread of a test a pool of its own, so that tests run in parallel, one core each, and none waits for
/// another's work. It does not change what a test computes (`repeat.rs`).
pub fn on_one_thread() {
    if rayon::current_thread_index().is_none() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
        // Without the destructor, which would end the pool, the thread keeps it.
        std::mem::forget(pool);
    }
}

/// Returns drawn images, which are drawn once for all tests.
pub fn drawn(seed: u64, (train, validation): (usize, usize), side: usize) -> Source {
    let source = data::synthetic::source(Seed::root(seed), train, validation, side);
    let kept = |images| Box::new(Cached::new(images, usize::MAX));
    Source { train: kept(source.train), validation: kept(source.validation), ..source }
}

/// Returns the sizes and data that every test cell shares; the caller becomes a pool of its own
/// ([`on_one_thread`]).
pub fn fixture() -> (Plan, &'static Source) {
    static SOURCE: LazyLock<Source> = LazyLock::new(|| {
        let scale = Scale::fixture();
        drawn(0, scale.synthetic_images, scale.side)
    });
    on_one_thread();
    (Plan { pretrained: Some(Arc::new(TrainedHere)), ..Plan::new(Scale::fixture()) }, &SOURCE)
}

/// Trains the encoder that fine-tuning starts from, on request.
struct TrainedHere;

impl Pretrained for TrainedHere {
    fn encoder(&self, cell: &Resolved) -> anyhow::Result<Weights> {
        let (plan, source) = fixture();
        let Finished { method, .. } = experiment::run(&cell.cell, &plan, source, &mut |_| {})?;
        Ok(Weights::from_parameters(Path::new("trained here"), &method.parameters().encoder()))
    }
}

/// Trains, probes and scores `cell` at fixture scale and compares the record with `snapshots/cells/`; if the cell
/// is not trained by default, compares only its identity with the snapshot.
///
/// An undefined cell must be refused, with the reason.
#[track_caller]
pub fn check(cell: &Cell) {
    let (plan, source) = fixture();
    if let Some(reason) = cell.undefined_reason() {
        let error = experiment::run(cell, &plan, source, &mut |_| {}).err().expect("an undefined cell ran");
        assert!(format!("{error:#}").contains(reason), "{error:#}");
        return;
    }
    if !everything() && !identity::trains_by_default(cell) {
        identity::assert_stored(&plan.resolve(cell, source).unwrap());
        skip::note_identity_checked(cell.id());
        return;
    }
    skip::note_trained(cell.id());
    let record =
        experiment::run(cell, &plan, source, &mut |_| {}).unwrap_or_else(|error| panic!("{error:#}")).record;
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/cells"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(cell.id());
    settings.set_comparator(Box::new(WithinBounds));
    settings.bind(|| insta::assert_snapshot!(identity::snapshot(cell), fields(&record).to_string()));
}

fn fields(record: &Record) -> Fields {
    let mut fields = Fields::default();
    let identity = Identity::from_record(record).expect("a record of this build");
    fields.exact("identity", identity::digest(&identity));
    fields.exact("train", identity::counts(record.data.train.normals, record.data.train.defects));
    for epoch in &record.curve {
        fields.number(&format!("epoch {} loss", epoch.epoch), epoch.loss, LOSS);
        if let Some(loss) = epoch.probe_loss {
            fields.number(&format!("epoch {} probe loss", epoch.epoch), loss, LOSS);
        }
    }
    if let Some(last) = record.curve.last() {
        for name in ["rankme_released", "rankme", "features_unit_deviation"] {
            fields.number(&format!("last epoch {name}"), last.monitors[name], LABEL_FREE);
        }
    }
    for (of, metrics) in &record.label_free {
        for name in ["rankme", "effective_rank", "uniformity", "self_cluster", "alignment", "lidar"] {
            if let Some(&value) = metrics.get(name) {
                fields.number(&format!("{of} {name}"), value, LABEL_FREE);
            }
        }
    }
    for score in &record.scores {
        let share = score.validation_share.map_or("all".to_owned(), |share| format!("{}%", 100.0 * share));
        let name = |metric: &str| format!("{} at {share} {metric}", score.classifier);
        let bound = if score.defects < 20 { RARE_SCORE } else { SCORE };
        fields.exact(&name("images"), format!("{} normals, {} defects", score.normals, score.defects));
        fields.number(&name("f1"), score.f1, bound);
        fields.number(&name("f1_normal"), score.f1_normal, bound);
        fields.number(&name("auroc"), score.auroc, bound);
        if let Some(f2) = score.f2_ciw_oracle {
            fields.number(&name("f2_ciw_oracle"), f2, bound);
        }
    }
    fields
}

/// Compares a text that is equal on every machine with `snapshots/<name>.snap`.
pub fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
