//! The evidence that claims are judged on: scores by cell, the spread over seeds, and the cost of training.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::Yardstick;
use crate::{
    analysis::{
        Axes, Frame, Interval, Measure, Noise, Scored,
        correlation::Correlation,
        intervals::{Uncertainty, interval_over_seeds, mean},
    },
    results::Classifier,
    study::{Ablation, Study},
};

/// Assumed standard deviation over seeds of the paper's scores, for which the paper gives no seeds. Ours: half a
/// point is typical for repeated training on some hundred thousand images.
pub const ASSUMED_DEVIATION: f64 = 0.005;

/// Default margin: scores that differ by less are considered equal. Ours: roughly one more defect found in fifty;
/// `--margin` sets another.
pub const MARGIN: f64 = 0.02;

/// Scores of one setting.
pub struct Evidence {
    frame: Frame,
    noise: Noise,
    margin: f64,
    /// Name in tables: `paper`, or the setting.
    pub name: String,
    /// Cache by score: claims query the same cells repeatedly.
    cells: RefCell<BTreeMap<Measure, Rc<Cells>>>,
    /// Cache of correlations, which need thousands of resamples.
    correlations: RefCell<BTreeMap<Correlated, Option<Correlation>>>,
}

/// Yardstick, label-free metric, and whether the correlation is within methods and backbones.
pub(super) type Correlated = (Yardstick, Measure, bool);
/// A seed and its score.
pub type SeedScore = (Option<u64>, f64);
/// Scores of every seed, by what is scored.
type Cells = BTreeMap<Scored, Vec<SeedScore>>;

impl Evidence {
    /// Evidence from rows of one setting, whose spread is measured over their seeds.
    pub fn measured(name: &str, frame: &Frame) -> Self {
        Self::new(name, frame, Noise::measured(frame))
    }

    /// Evidence from rows without seeds, with an assumed deviation.
    pub fn assumed(name: &str, frame: &Frame, deviation: f64) -> Self {
        Self::new(name, frame, Noise::assumed(deviation))
    }

    fn new(name: &str, frame: &Frame, noise: Noise) -> Self {
        let (cells, correlations) = (RefCell::default(), RefCell::default());
        Self { frame: frame.clone(), noise, margin: MARGIN, name: name.to_owned(), cells, correlations }
    }

    /// Evidence from another table of the same setting. For the paper, the assumed deviation applies to each of its
    /// numbers.
    pub(super) fn with_frame(&self, frame: &Frame) -> Self {
        let about = match self.noise.is_assumed() {
            true => Self::assumed(&self.name, frame, std::f64::consts::SQRT_2 * ASSUMED_DEVIATION),
            false => Self::measured(&self.name, frame),
        };
        about.with_margin(self.margin)
    }

    /// Sets the margin within which scores are considered equal.
    #[must_use]
    pub fn with_margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// Returns the margin: scores that differ by less are considered equal.
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// Returns the seconds per seed for training and scoring a cell; `None` if no record states them.
    pub fn seconds(&self, cell: &Axes) -> Option<f64> {
        let at = self.frame.filter_axes(|at| at.cell == *cell);
        let parts = [Measure::TRAIN_SECONDS, Measure::EVALUATE_SECONDS].map(|part| at.points(&part));
        let average = |points: &Vec<crate::analysis::Point>| {
            mean(&points.iter().map(|point| point.value).collect::<Vec<_>>())
        };
        parts.iter().all(|points| !points.is_empty()).then(|| parts.iter().map(average).sum())
    }

    /// Returns the cached correlation, or the result of `compute`.
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

    /// Returns all rows.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Returns the noise of its scores over seeds.
    pub fn noise(&self) -> &Noise {
        &self.noise
    }

    /// Returns the scores of a cell with their seeds.
    pub fn seed_scores(&self, measure: impl Into<Measure>, at: &Scored) -> Vec<SeedScore> {
        self.cells(&measure.into()).get(&own_classifier(at)).cloned().unwrap_or_default()
    }

    /// Returns the scores of a cell, one per seed.
    pub fn scores(&self, measure: impl Into<Measure>, at: &Scored) -> Vec<f64> {
        self.seed_scores(measure, at).into_iter().map(|(_, score)| score).collect()
    }

    /// Returns the mean over seeds; `None` if nothing was measured.
    pub fn mean(&self, measure: impl Into<Measure>, at: &Scored) -> Option<f64> {
        let seeds = self.scores(measure, at);
        (!seeds.is_empty()).then(|| mean(&seeds))
    }

    /// Returns the mean over seeds with its interval; `None` if nothing was measured.
    pub fn interval(&self, measure: impl Into<Measure>, at: &Scored) -> Option<Interval> {
        let measure = measure.into();
        let seeds = self.scores(&measure, at);
        (!seeds.is_empty()).then(|| interval_over_seeds(&seeds, self.spread(measure, at)))
    }

    /// Returns the deviation of one seed's score; `None` if unknown.
    pub fn spread(&self, measure: impl Into<Measure>, at: &Scored) -> Option<Uncertainty> {
        self.noise.seed_spread(&measure.into(), &own_classifier(at))
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

/// Gives the ablation on augmented validation images a classifier of its own: the same model is also scored on
/// unchanged images.
pub(super) fn own_classifier(at: &Scored) -> Scored {
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
        analysis::frame::f1_frame as frame, backbone::Name::ResNet18, data::Share, method::Name::SimClr,
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
            (AUGMENTED.converged(), 0, 0.9),
        ]);
        let evidence = Evidence::measured("test", &rows);
        assert_eq!(evidence.scores(Metric::F1, &CELL.in_training()), [0.7]);
        assert_eq!(evidence.scores(Metric::F1, &AUGMENTED.in_training()), [0.6]);
        assert_eq!(evidence.scores(Metric::F1, &CELL.converged()), [0.8]);
        assert_eq!(evidence.scores(Metric::F1, &AUGMENTED.converged()), [0.9], "only in training");
        assert_eq!(evidence.spread(Metric::F1, &CELL.in_training()), None, "one seed");
    }

    /// With a known deviation of 0.04, the mean of four seeds has an error of 0.04 / 2; the interval extends 1.96 of
    /// these to each side.
    #[test]
    fn a_cell_has_its_seeds_their_mean_and_its_interval() {
        let other = CELL.converged();
        let rows = [
            (CELL.in_training(), 3, 0.5),
            (CELL.in_training(), 1, 0.7),
            (other, 1, 0.2),
            (CELL.in_training(), 2, 0.9),
            (CELL.in_training(), 9, 0.3),
        ];
        let evidence = Evidence::assumed("test", &frame(&rows), 0.04).with_margin(0.07);
        let at = CELL.in_training();
        assert_eq!(
            evidence.seed_scores(Metric::F1, &at),
            [(Some(3), 0.5), (Some(1), 0.7), (Some(2), 0.9), (Some(9), 0.3)]
        );
        assert!((evidence.mean(Metric::F1, &at).unwrap() - 0.6).abs() < 1e-12);
        let found = evidence.interval(Metric::F1, &at).unwrap();
        for (found, expected) in
            [(found.estimate, 0.6), (found.low, 0.6 - 1.959_964 * 0.02), (found.high, 0.6 + 1.959_964 * 0.02)]
        {
            assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
        assert_eq!((evidence.margin(), evidence.name.as_str(), evidence.frame().height()), (0.07, "test", 5));
        let elsewhere = at.on(Share::percent(5));
        assert_eq!(evidence.mean(Metric::F1, &elsewhere), None);
        assert_eq!(evidence.interval(Metric::F1, &elsewhere), None);
        assert_eq!(evidence.mean(Metric::Recall, &at), None);
        assert_eq!(Evidence::measured("x", &frame(&rows)).margin(), 0.02);
    }

    /// A difference of two printed numbers has sqrt 2 times the assumed deviation; measured rows have their own
    /// deviation.
    #[test]
    fn another_table_of_the_same_setting_has_its_name_and_margin() {
        let rows = frame(&[(CELL.in_training(), 0, 0.5), (CELL.in_training(), 1, 0.7)]);
        let other = frame(&[(CELL.in_training(), 0, 0.1), (CELL.in_training(), 1, 0.4)]);
        let assumed = Evidence::assumed("paper", &rows, 0.3).with_margin(0.11).with_frame(&other);
        let deviation =
            |evidence: &Evidence| evidence.spread(Metric::F1, &CELL.in_training()).unwrap().deviation;
        assert!((deviation(&assumed) - 2_f64.sqrt() * 0.005).abs() < 1e-12);
        assert_eq!((assumed.name.as_str(), assumed.margin()), ("paper", 0.11));
        assert_eq!(assumed.scores(Metric::F1, &CELL.in_training()), [0.1, 0.4]);
        let measured = Evidence::measured("ours", &rows).with_margin(0.12).with_frame(&other);
        assert!((deviation(&measured) - 0.045_f64.sqrt()).abs() < 1e-12, "{}", deviation(&measured));
        assert_eq!((measured.name.as_str(), measured.margin()), ("ours", 0.12));
    }

    /// A correlation is computed once for each question: yardstick, metric, and whether within groups.
    #[test]
    fn correlations_are_kept_by_what_was_asked() {
        let evidence = Evidence::assumed("test", &frame(&[]), 0.1);
        let found = |points| Correlation { value: Interval::unknown(0.5), p_value: 0.5, points, groups: 1 };
        let questions = [
            (Yardstick::Paper, Measure::RANKME, false),
            (Yardstick::Paper, Measure::RANKME, true),
            (Yardstick::Auroc, Measure::RANKME, false),
            (Yardstick::Paper, Measure::RANKME_RELEASED, false),
        ];
        for (points, asked) in (10..).zip(questions.clone()) {
            assert_eq!(evidence.correlation(asked, || Some(found(points))), Some(found(points)));
        }
        for (points, asked) in (10..).zip(questions) {
            assert_eq!(evidence.correlation(asked, || None), Some(found(points)));
        }
    }

    /// Each cell has its own cost, whatever else has its method and share.
    #[test]
    fn seconds_are_of_the_cell_alone() {
        use crate::{analysis::frame::FrameBuilder, backbone::Name::ViTTiny};
        let mut rows = FrameBuilder::default();
        let other = Axes { backbone: Some(ViTTiny), ..CELL };
        let tuned = CELL.in_study(Study::FineTuned);
        for (cell, seconds) in [(CELL, 10.0), (other, 20.0), (tuned, 40.0)] {
            for at in [cell.in_training(), cell.converged()] {
                rows.begin("test", at, Some(0));
                rows.number(Measure::TRAIN_SECONDS, Some(seconds));
                rows.number(Measure::EVALUATE_SECONDS, Some(0.5));
            }
        }
        let evidence = Evidence::measured("test", &rows.frame());
        assert_eq!(
            [CELL, other, tuned].map(|cell| evidence.seconds(&cell)),
            [Some(10.5), Some(20.5), Some(40.5)]
        );
    }
}
