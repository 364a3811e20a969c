//! `check(cell)`: runs a cell at fixture scale and holds its record to a snapshot.
//!
//! The only file that runs cells for tests. A snapshot holds counts and digests exactly, losses and
//! scores within stated bounds; timings and provenance never.

use skewbench::{
    data::{self, Source},
    experiment::{self, Cell, Plan, Scale},
    results::Record,
    seed::Seed,
};

use crate::within::{Bound, Fields, Within};

/// Losses: kernels differ between CPUs in their last bits, and training amplifies that. Ours.
const LOSS: Bound = Bound::Relative(1e-2);
/// Label-free metrics, of features after a few steps. Ours.
const LABEL_FREE: Bound = Bound::Relative(5e-2);
/// Scores of 420 images: about two flipped images of the rarer kind. Ours.
const SCORE: Bound = Bound::Absolute(2e-2);
/// Scores at validation shares of 1 to 5 %, where 2 to 11 defects decide. Ours.
const RARE_SCORE: Bound = Bound::Absolute(6e-2);

/// Data and sizes that every test cell shares.
pub fn fixture() -> (Plan, Source) {
    let scale = Scale::fixture();
    let (train, validation) = scale.synthetic_images;
    let source = data::synthetic::source(Seed::root(0), train, validation, scale.side);
    (Plan::new(scale), source)
}

/// Trains, probes and scores `cell` at fixture scale and compares with `snapshots/cells/`.
///
/// A cell that is not defined must be refused, with its reason.
#[track_caller]
pub fn check(cell: &Cell) {
    let (plan, source) = fixture();
    if let Some(reason) = cell.undefined() {
        let error = experiment::run(cell, &plan, &source, &mut |_| {}).err().expect("an undefined cell ran");
        assert!(format!("{error:#}").contains(reason), "{error:#}");
        return;
    }
    let record =
        experiment::run(cell, &plan, &source, &mut |_| {}).unwrap_or_else(|error| panic!("{error:#}")).record;
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/cells"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(cell.id());
    settings.set_comparator(Box::new(Within));
    settings.bind(|| insta::assert_snapshot!(cell.id().replace('/', "-"), fields(&record).to_string()));
}

fn fields(record: &Record) -> Fields {
    let mut fields = Fields::default();
    fields.exact("fingerprint", &record.fingerprint);
    fields.exact(
        "train",
        format!("{} normals, {} defects", record.data.train.normals, record.data.train.defects),
    );
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

/// Compares a text that is the same on every machine with `snapshots/<name>.snap`.
pub fn text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
