//! What a claim is judged on: scores by cell, the spread of seeds, and what training took.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::Yardstick;
use crate::{
    analysis::{
        Axes, Frame, Interval, Measure, Noise, Scored,
        correlation::Correlation,
        intervals::{Uncertainty, mean, of_seeds},
    },
    results::Classifier,
    study::{Ablation, Study},
};

/// Standard deviation of a score over seeds that the paper's numbers are read with. Ours: it gives no seeds. Half a
/// point is what repeated training on some hundred thousand images usually shows.
pub const ASSUMED_DEVIATION: f64 = 0.005;

/// Scores that differ by less than this are the same for whoever must choose. Ours: one more defect found in fifty,
/// roughly; `--margin` sets another.
pub const MARGIN: f64 = 0.02;

/// Scores of one setting.
pub struct Evidence {
    frame: Frame,
    noise: Noise,
    margin: f64,
    /// In tables: `paper`, or the setting.
    pub name: String,
    /// What was asked for before, by score: claims ask for the same cells again and again.
    cells: RefCell<BTreeMap<Measure, Rc<Cells>>>,
    /// The same for correlations, which take thousands of resamples.
    correlations: RefCell<BTreeMap<Correlated, Option<Correlation>>>,
}

/// By which score, of what metric, and whether within methods and backbones.
pub(super) type Correlated = (Yardstick, Measure, bool);
/// A seed and its score.
pub type SeedScore = (Option<u64>, f64);
/// Seeds of everything that is scored.
type Cells = BTreeMap<Scored, Vec<SeedScore>>;

impl Evidence {
    /// Rows of one setting, whose seeds tell how far seeds spread.
    pub fn measured(name: &str, frame: &Frame) -> Self {
        Self::new(name, frame, Noise::measured(frame))
    }

    /// Rows without seeds, which are taken to spread by a deviation.
    pub fn assumed(name: &str, frame: &Frame, deviation: f64) -> Self {
        Self::new(name, frame, Noise::assumed(deviation))
    }

    fn new(name: &str, frame: &Frame, noise: Noise) -> Self {
        let (cells, correlations) = (RefCell::default(), RefCell::default());
        Self { frame: frame.clone(), noise, margin: MARGIN, name: name.to_owned(), cells, correlations }
    }

    /// The same setting's numbers in another table: of the paper's two numbers, each is taken to spread as before.
    pub(super) fn about(&self, frame: &Frame) -> Self {
        let about = match self.noise.is_assumed() {
            true => Self::assumed(&self.name, frame, std::f64::consts::SQRT_2 * ASSUMED_DEVIATION),
            false => Self::measured(&self.name, frame),
        };
        about.with_margin(self.margin)
    }

    /// With another margin within which scores are the same.
    #[must_use]
    pub fn with_margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// Scores that differ by less are the same.
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// Seconds that a cell took to train and to score, a seed; none where no record says so.
    pub fn seconds(&self, cell: &Axes) -> Option<f64> {
        let at = self.frame.only(|at| at.cell == *cell);
        let parts = [Measure::TRAIN_SECONDS, Measure::EVALUATE_SECONDS].map(|part| at.points(&part));
        let average = |points: &Vec<crate::analysis::Point>| {
            mean(&points.iter().map(|point| point.value).collect::<Vec<_>>())
        };
        parts.iter().all(|points| !points.is_empty()).then(|| parts.iter().map(average).sum())
    }

    /// The correlation that was asked for before, or what `compute` finds.
    pub(super) fn correlation(
        &self,
        asked: Correlated,
        compute: impl FnOnce() -> Option<Correlation>,
    ) -> Option<Correlation> {
        if let Some(known) = self.correlations.borrow().get(&asked) {
            return *known;
        }
        let found = compute();
        self.correlations.borrow_mut().insert(asked, found);
        found
    }

    /// All rows.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// How far its seeds spread.
    pub fn noise(&self) -> &Noise {
        &self.noise
    }

    /// Scores with their seeds.
    pub fn runs(&self, measure: impl Into<Measure>, at: &Scored) -> Vec<SeedScore> {
        self.cells(&measure.into()).get(&of_its_own(at)).cloned().unwrap_or_default()
    }

    /// Scores, seed by seed.
    pub fn seeds(&self, measure: impl Into<Measure>, at: &Scored) -> Vec<f64> {
        self.runs(measure, at).into_iter().map(|(_, score)| score).collect()
    }

    /// Mean over seeds; none where nothing was measured.
    pub fn mean(&self, measure: impl Into<Measure>, at: &Scored) -> Option<f64> {
        let seeds = self.seeds(measure, at);
        (!seeds.is_empty()).then(|| mean(&seeds))
    }

    /// Mean over seeds with its interval; none where nothing was measured.
    pub fn interval(&self, measure: impl Into<Measure>, at: &Scored) -> Option<Interval> {
        let measure = measure.into();
        let seeds = self.seeds(&measure, at);
        (!seeds.is_empty()).then(|| of_seeds(&seeds, self.spread(measure, at)))
    }

    /// How far one seed's score lies from another's.
    pub fn spread(&self, measure: impl Into<Measure>, at: &Scored) -> Option<Uncertainty> {
        self.noise.of(&measure.into(), &of_its_own(at))
    }

    fn cells(&self, measure: &Measure) -> Rc<Cells> {
        if let Some(known) = self.cells.borrow().get(measure) {
            return known.clone();
        }
        let cells: Rc<Cells> = Rc::new(self.frame.runs(measure));
        self.cells.borrow_mut().insert(measure.clone(), cells.clone());
        cells
    }
}

/// The ablation of augmented validation images scores another classifier: the same model has both.
pub(super) fn of_its_own(at: &Scored) -> Scored {
    let augmented = Study::Ablation(Ablation::AugmentedValidation);
    if (at.cell.study, at.classifier) == (augmented, Classifier::InTraining) {
        Scored { classifier: Classifier::InTrainingAugmented, ..*at }
    } else {
        *at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::frame::of_f1 as frame, backbone::Name::ResNet18, data::Share, method::Name::SimClr,
        results::Metric,
    };

    const CELL: Axes = Axes::table_1(SimClr, ResNet18, Share::percent(45));
    const AUGMENTED: Axes = CELL.in_study(Study::Ablation(Ablation::AugmentedValidation));

    #[test]
    fn an_ablation_of_validation_is_its_own_classifier() {
        let augmented = Scored { classifier: Classifier::InTrainingAugmented, ..AUGMENTED.in_training() };
        let rows = frame(&[
            (CELL.in_training(), 0, 0.7),
            (CELL.converged(), 0, 0.8),
            (AUGMENTED.in_training(), 0, 0.7),
            (augmented, 0, 0.6),
        ]);
        let evidence = Evidence::measured("test", &rows);
        assert_eq!(evidence.seeds(Metric::F1, &CELL.in_training()), [0.7]);
        assert_eq!(evidence.seeds(Metric::F1, &AUGMENTED.in_training()), [0.6]);
        assert_eq!(evidence.seeds(Metric::F1, &CELL.converged()), [0.8]);
        assert_eq!(evidence.spread(Metric::F1, &CELL.in_training()), None, "one seed");
    }
}
