//! Simulated studies whose truth is known, as records: like those of a run, with drawn scores instead of trained
//! ones.

use std::collections::BTreeMap;

use skewbench::{
    analysis::reading::{self, Reading},
    data::Share,
    experiment::{Cell, cell},
    method::Name::{self as Method, BarlowTwins, Byol, Dino, Mae, SimClr, Supervised},
    results::{
        Classifier, Record,
        record::{CellAxes, Cost, Counts, Data, Epoch, ProbeFit, Provenance, SCHEMA, Score, Settings},
    },
    seed::{Seed, Stream},
    study::{Ablation, Study},
};

/// How seeds spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Equally in all cells.
    Equal,
    /// By training share, as in the committed small study.
    ByShare,
    /// By training share and method, as in that study.
    ByShareAndMethod,
    /// The same standard deviations, but Student's t with three degrees of freedom.
    HeavyTails,
    /// The same, and one seed in ten falls to chance level.
    Collapse,
    /// The same, and each seed shifts all cells together.
    SharedShift,
    /// The same, and each cell has only some of the seeds, at least one.
    Holes,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::Equal,
        Self::ByShare,
        Self::ByShareAndMethod,
        Self::HeavyTails,
        Self::Collapse,
        Self::SharedShift,
        Self::Holes,
    ];

    /// Name in the snapshot and on the page.
    pub fn id(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::ByShare => "by share",
            Self::ByShareAndMethod => "by share and method",
            Self::HeavyTails => "heavy tails",
            Self::Collapse => "collapse",
            Self::SharedShift => "shared shift",
            Self::Holes => "holes",
        }
    }
}

/// Standard deviations of F1 of the classifier in training, and of AUROC of the converged probe.
type Deviations = [f64; 2];

/// Standard deviations over seeds by training share: `results/2026-11-25-small-study`, pooled over methods and
/// backbones.
fn by_share(share: Share) -> Deviations {
    match share.fraction() {
        Some(share) if share < 0.015 => [0.0740, 0.0329],
        Some(share) if share < 0.03 => [0.1572, 0.0281],
        Some(share) if share < 0.1 => [0.1280, 0.0290],
        Some(share) if share < 0.3 => [0.0596, 0.0257],
        _ => [0.0510, 0.0247],
    }
}

/// A method's standard deviation divided by that of all methods: the same records.
fn by_method(method: Method) -> Deviations {
    match method {
        Supervised => [1.316, 1.347],
        Byol => [1.012, 0.828],
        BarlowTwins => [0.636, 0.989],
        Dino => [0.670, 0.788],
        Mae => [1.627, 0.595],
        SimClr => [0.753, 1.107],
        Method::SimSiam => [1.0, 1.0],
    }
}

/// Standard deviations of all cells together: the same records.
const POOLED: Deviations = [0.1027, 0.0282];

/// The true effect in a cell: how far its score is above that of a cell without an effect, in units of [`EFFECT`].
pub type Truth = fn(&Cell) -> f64;

/// The size of one effect: in F1, and in AUROC. About twice the standard deviation of a seed at high shares.
pub const EFFECT: Deviations = [0.15, 0.06];

/// A simulation: a scenario, the truth, and the number of seeds.
#[derive(Clone, Copy)]
pub struct Simulated {
    pub scenario: Scenario,
    pub truth: Truth,
    /// The unit of the truth.
    pub effect: Deviations,
    pub seeds: u64,
}

impl Simulated {
    /// Returns the records of study `number`, read like any folder's.
    pub fn read(&self, number: usize) -> Reading {
        let root = Seed::root(number as u64).child(self.scenario.id());
        let mut shifts = root.child("shift").stream();
        let shifts: Vec<f64> = (0..self.seeds).map(|_| shifts.normal()).collect();
        let mut records = Vec::new();
        for cell in cells() {
            let mut stream = root.child(&cell.id()).stream();
            let seeds = match self.scenario {
                Scenario::Holes => 1 + stream.below(self.seeds as usize) as u64,
                _ => self.seeds,
            };
            for seed in 0..seeds {
                let cell = Cell { seed, ..cell };
                let moved = self.moved(&cell, shifts[seed as usize], &mut stream);
                records.push((cell.id(), record(&cell, moved, &mut stream)));
            }
        }
        reading::from_memory(records)
    }

    /// Returns the deviation of this seed's F1 and AUROC from one half.
    fn moved(&self, cell: &Cell, shift: f64, stream: &mut Stream) -> Deviations {
        let (share, method) = (by_share(cell.share), by_method(cell.method));
        let collapsed = self.scenario == Scenario::Collapse && stream.coin(0.1);
        let mut moved = [0.0; 2];
        for place in 0..2 {
            let deviation = match self.scenario {
                Scenario::Equal => POOLED[place],
                Scenario::ByShare => share[place],
                _ => share[place] * method[place],
            };
            let drawn = match self.scenario {
                Scenario::HeavyTails => student_3(stream),
                _ => stream.normal(),
            };
            moved[place] = self.effect[place] * (self.truth)(cell) + deviation * drawn;
            if collapsed {
                // To chance level, far below the cells of a study.
                moved[place] = -3.0 * EFFECT[place] + 0.2 * POOLED[place] * drawn;
            }
            if self.scenario == Scenario::SharedShift {
                moved[place] += 0.5 * POOLED[place] * shift;
            }
        }
        moved
    }
}

/// Draws from Student's t with three degrees of freedom, scaled to a standard deviation of one.
fn student_3(stream: &mut Stream) -> f64 {
    let squares: f64 = (0..3).map(|_| stream.normal().powi(2)).sum();
    stream.normal() / squares.sqrt()
}

/// Returns every cell that a claim uses, for seed 0; some of Figure 3's grid.
fn cells() -> Vec<Cell> {
    let mut cells = cell::paper_methods(&Share::STUDY, 0);
    cells.retain(|cell| cell.undefined_reason().is_none());
    cells.extend(cell::table2(0));
    let some = |cell: &Cell| matches!(cell.study, Study::Figure3 { jitter: 100 | 800, crop: 80 | 395 | 605 });
    cells.extend(cell::figure3(0).into_iter().filter(some));
    cells.extend(cell::ablations(0));
    cells
}

fn record(cell: &Cell, [f1, auroc]: Deviations, stream: &mut Stream) -> Record {
    let mut scores = Vec::new();
    let augmented = cell.study == Study::Ablation(Ablation::AugmentedValidation);
    let own = |classifier: &Classifier| augmented || *classifier != Classifier::InTrainingAugmented;
    for classifier in Classifier::ALL.into_iter().filter(own) {
        for share in [Share::NATURAL, Share::percent(45), Share::percent(1)] {
            let moved = if classifier == Classifier::Converged { auroc } else { f1 };
            scores.push(score(classifier, share, 0.5 + moved));
        }
    }
    let mut rank = || 30.0 + stream.normal();
    let monitors = ["rankme", "rankme_released"].map(|name| (name.to_owned(), rank())).into();
    let features = [("rankme_normalised".to_owned(), rank() / 60.0), ("alpha_req".to_owned(), rank())].into();
    let seconds = match cell.study {
        Study::Table2 { side } => f64::from(side) / 10.0,
        _ => 10.0,
    };
    let epoch = Epoch { epoch: 1, loss: 1.0, probe_loss: None, learning_rate: 1e-3, seconds, monitors };
    Record {
        schema: SCHEMA,
        cell: CellAxes {
            id: cell.id(),
            study: cell.study.id().to_owned(),
            method: cell.method().to_owned(),
            backbone: cell.encoder().to_owned(),
            variant: cell.study.variant(),
            train_share: cell.share.fraction(),
            seed: cell.seed,
        },
        fingerprint: cell.id(),
        settings: Settings { scale: "small".into(), recipe: "short".into(), values: BTreeMap::new() },
        data: data(),
        curve: vec![epoch],
        probe: ProbeFit { c: None, iterations: 5, gradient: 0.0 },
        label_free: [("features".to_owned(), features)].into(),
        scores,
        label_budgets: Vec::new(),
        pointing: None,
        pointing_patches: None,
        beside: Default::default(),
        cost: Cost {
            train_seconds: seconds,
            evaluate_seconds: 1.0,
            images_per_second: 100.0,
            resumed: 0,
            parts: BTreeMap::new(),
        },
        provenance: provenance(),
    }
}

/// Returns a score whose fields are all the same number: each claim uses one of them.
fn score(classifier: Classifier, share: Share, value: f64) -> Score {
    Score {
        classifier: classifier.id().to_owned(),
        validation_share: share.fraction(),
        normals: 500,
        defects: 500,
        f1: value,
        f1_normal: value,
        precision: value,
        recall: value,
        true_positive_rate: value,
        false_positive_rate: 1.0 - value,
        auroc: value,
        auroc_error: None,
        tpr_at_fpr_5: Some(value),
        fpr_at_tpr_95: Some(1.0 - value),
        recall_by_class: BTreeMap::new(),
        auroc_by_class: BTreeMap::new(),
        average_precision: value,
        f2_ciw_oracle: Some(value),
        f2_ciw_multilabel: Some(value),
        operating_points: Vec::new(),
    }
}

fn data() -> Data {
    let counts = Counts { normals: 500, defects: 500 };
    Data {
        source: "simulated".into(),
        train_digest: String::new(),
        validation_digest: String::new(),
        content: None,
        train: counts,
        validation: counts,
        skipped: Vec::new(),
        limits: Vec::new(),
    }
}

fn provenance() -> Provenance {
    Provenance {
        started_unix: 0,
        revision: "simulated".into(),
        code: Some("simulated".into()),
        skewbench: "simulated".into(),
        crates: BTreeMap::new(),
        device: "cpu".into(),
        cpu: "simulated".into(),
        threads: 1,
        system: "simulated".into(),
    }
}
