//! What a claim is judged on: scores by cell, the spread of seeds, and comparisons between them.
//!
//! Every comparison is a contrast: weights times the means of cells, with the standard error of seeds.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{Finding, Verdict};
use crate::{
    analysis::{
        Axes, Frame, Interval, Measure, Noise, Scored,
        cell::percent,
        comparison::holm,
        correlation::Correlation,
        intervals::{LEVEL, Uncertainty, mean, of_seeds},
        noise::Weighed,
    },
    results::{Classifier, Metric},
    study::{Ablation, Study},
};

/// Standard deviation of a score over seeds that the paper's numbers are read with. Ours: it gives no seeds. Half a
/// point is what repeated training on some hundred thousand images usually shows.
pub const ASSUMED_DEVIATION: f64 = 0.005;

/// Scores of one setting.
pub struct Evidence {
    frame: Frame,
    noise: Noise,
    /// In tables: `paper`, or the setting.
    pub name: String,
    /// What was asked for before, by score: claims ask for the same cells again and again.
    cells: RefCell<BTreeMap<Measure, Rc<Cells>>>,
    /// The same for correlations, which take thousands of resamples: by metric, and whether within models.
    correlations: RefCell<BTreeMap<(Measure, bool), Option<Correlation>>>,
}

/// A seed and its score.
pub type SeedScore = (Option<u64>, f64);
/// Seeds of everything that is scored.
type Cells = BTreeMap<Scored, Vec<SeedScore>>;

/// A weight, and the scores that it weighs the mean of.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Of the mean in the contrast.
    pub weight: f64,
    /// What is scored.
    pub at: Scored,
    /// Seed by seed; empty where nothing was measured.
    pub scores: Vec<f64>,
}

/// Weights times means, and its error.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanContrast {
    /// What is above what, in words.
    pub what: String,
    /// The estimate with its interval.
    pub value: Interval,
    /// That it is not above 0, and not below: one side each.
    pub not_above: f64,
    /// Probability, one side.
    pub not_below: f64,
    /// Standard error, and how well it is known.
    error: Uncertainty,
}

/// A comparison that could not be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmeasured {
    /// What was to be above what, in words.
    pub what: String,
    /// True if the paper prints no legible value, so it can never be measured.
    pub unprinted: bool,
}

impl From<String> for Unmeasured {
    fn from(what: String) -> Self {
        Self { what, unprinted: false }
    }
}

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
        Self { frame: frame.clone(), noise, name: name.to_owned(), cells, correlations }
    }

    /// The correlation of a metric with F1 that was asked for before, or what `compute` finds.
    pub(super) fn correlation(
        &self,
        metric: &Measure,
        inside: bool,
        compute: impl FnOnce() -> Option<Correlation>,
    ) -> Option<Correlation> {
        let asked = (metric.clone(), inside);
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

    /// A weighed score, for a contrast.
    pub fn term(&self, weight: f64, measure: impl Into<Measure>, at: &Scored) -> Term {
        Term { weight, at: of_its_own(at), scores: self.seeds(measure, at) }
    }

    fn cells(&self, measure: &Measure) -> Rc<Cells> {
        if let Some(known) = self.cells.borrow().get(measure) {
            return known.clone();
        }
        let mut cells = Cells::new();
        for point in self.frame.points(measure) {
            cells.entry(point.at).or_default().push((point.seed, point.value));
        }
        let cells = Rc::new(cells);
        self.cells.borrow_mut().insert(measure.clone(), cells.clone());
        cells
    }

    /// The contrast of weighed scores.
    ///
    /// # Errors
    /// If one was not measured or nothing is known of its seeds.
    pub fn contrast(
        &self,
        what: impl Into<String>,
        measure: impl Into<Measure>,
        terms: &[Term],
    ) -> Result<MeanContrast, Unmeasured> {
        let what = what.into();
        let weigh = |term: &Term| Weighed { weight: term.weight, at: term.at, seeds: term.scores.len() };
        let measured = terms.iter().all(|term| !term.scores.is_empty());
        let weighed: Vec<Weighed> = terms.iter().map(weigh).collect();
        match measured.then(|| self.noise.error(&measure.into(), &weighed)).flatten() {
            Some(error) => {
                let estimate = terms.iter().map(|term| term.weight * mean(&term.scores)).sum();
                Ok(MeanContrast::new(what, estimate, error))
            }
            None => Err(Unmeasured { what, unprinted: self.noise.is_assumed() }),
        }
    }

    /// First less second, seed by seed: what begins alike and sees the same images is paired, and its differences
    /// spread less than its scores. Where fewer than two seeds are in both, or no seed changes the difference (of which
    /// nothing is then known), as [`Self::contrast`].
    ///
    /// # Errors
    /// If either was not measured, or nothing is known of seeds.
    pub fn paired(
        &self,
        what: impl Into<String>,
        measure: impl Into<Measure>,
        [first, second]: [&Scored; 2],
    ) -> Result<MeanContrast, Unmeasured> {
        let measure = measure.into();
        let others = self.runs(&measure, second);
        let other = |seed: Option<u64>| others.iter().find(|run| run.0 == seed && seed.is_some());
        let runs = self.runs(&measure, first);
        let differences: Vec<f64> =
            runs.iter().filter_map(|run| other(run.0).map(|other| run.1 - other.1)).collect();
        match Uncertainty::pooled([differences.as_slice()]).filter(|spread| spread.deviation > 0.0) {
            Some(spread) => {
                let deviation = spread.deviation / (differences.len() as f64).sqrt();
                Ok(MeanContrast::new(what.into(), mean(&differences), Uncertainty { deviation, ..spread }))
            }
            None => {
                let terms = [self.term(1.0, &measure, first), self.term(-1.0, &measure, second)];
                self.contrast(what, measure, &terms)
            }
        }
    }

    /// First less second.
    pub fn above(
        &self,
        metric: impl Into<Measure>,
        first: &Scored,
        second: &Scored,
    ) -> Result<MeanContrast, Unmeasured> {
        let metric = metric.into();
        let what = format!("{metric}: {} less {}", name(first), name(second));
        let terms = [self.term(1.0, &metric, first), self.term(-1.0, &metric, second)];
        self.contrast(what, metric, &terms)
    }

    /// A cell above the same cell with something done as released, by F1 of the classifier in training.
    pub fn soundly(&self, cell: Axes, [sound, released]: [Study; 2]) -> Finding {
        let soundly = if sound == Study::Table1 { "soundly" } else { sound.id() };
        let (method, backbone) = (cell.method_id(), cell.backbone_id());
        let what = format!("f1: {method} on {backbone} {soundly} less {}", released.id());
        let [first, second] = [sound, released].map(|study| cell.in_study(study).in_training());
        all_above(vec![self.paired(what, Metric::F1, [&first, &second])])
    }
}

/// The ablation of augmented validation images scores another classifier: the same model has both.
fn of_its_own(at: &Scored) -> Scored {
    let augmented = Study::Ablation(Ablation::AugmentedValidation);
    if (at.cell.study, at.classifier) == (augmented, Classifier::InTraining) {
        Scored { classifier: Classifier::InTrainingAugmented, ..*at }
    } else {
        *at
    }
}

/// `simclr on resnet18 at 5 %, validation 1 %`.
fn name(at: &Scored) -> String {
    let validation =
        at.validation.in_percent().map_or(String::new(), |percent| format!(", validation {percent} %"));
    format!("{} on {} at {}{validation}", at.cell.method_id(), at.cell.backbone_id(), percent(at.cell.share))
}

impl MeanContrast {
    /// An estimate with its standard error.
    fn new(what: String, estimate: f64, error: Uncertainty) -> Self {
        let both = error.p_value(estimate, error.deviation);
        let (near, far) = (both / 2.0, 1.0 - both / 2.0);
        Self {
            what,
            value: error.about(estimate, 1),
            not_above: if estimate > 0.0 { near } else { far },
            not_below: if estimate > 0.0 { far } else { near },
            error,
        }
    }

    fn line(&self) -> String {
        format!("{}: {}", self.what, interval(&self.value))
    }
}

/// `0.012 [-0.003, 0.027]`.
pub fn interval(interval: &Interval) -> String {
    format!("{:.3} [{:.3}, {:.3}]", interval.estimate, interval.low, interval.high)
}

/// Comparisons that were made; those that were not, in words; and whether they are too many to say that a claim holds:
/// any that could still be measured, or of those that the paper does not print as many as it does.
fn sorted(contrasts: Vec<Result<MeanContrast, Unmeasured>>) -> (Vec<MeanContrast>, Vec<String>, bool) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for contrast in contrasts {
        match contrast {
            Ok(contrast) => found.push(contrast),
            Err(what) => missing.push(what),
        }
    }
    let gaps = !missing.is_empty()
        && (missing.len() >= found.len() || missing.iter().any(|missing| !missing.unprinted));
    let words = missing.into_iter().map(|missing| match missing.unprinted {
        true => format!("{} (no legible number in print)", missing.what),
        false => missing.what,
    });
    (found, words.collect(), gaps)
}

/// The claim that all these contrasts are above 0.
pub fn all_above(contrasts: Vec<Result<MeanContrast, Unmeasured>>) -> Finding {
    let (mut found, missing, gaps) = sorted(contrasts);
    let beyond = (1.0 - LEVEL) / 2.0;
    let against = holm(&found.iter().map(|contrast| contrast.not_below).collect::<Vec<_>>());
    let verdict = if against.iter().any(|&p| p < beyond) {
        Verdict::Fails
    } else if !found.is_empty() && !gaps && found.iter().all(|contrast| contrast.not_above < beyond) {
        Verdict::Holds
    } else {
        Verdict::Undecided
    };
    // What is most against the claim first.
    found.sort_by(|a, b| b.not_above.total_cmp(&a.not_above));
    Finding { verdict, evidence: found.iter().map(MeanContrast::line).collect(), missing }
}

/// The claim that all these contrasts lie within `margin` of 0: two one-sided tests each.
pub fn all_within(contrasts: Vec<Result<MeanContrast, Unmeasured>>, margin: f64) -> Finding {
    let (mut found, missing, gaps) = sorted(contrasts);
    let inside = |contrast: &MeanContrast| contrast.value.low > -margin && contrast.value.high < margin;
    let beyond = (1.0 - LEVEL) / 2.0;
    let outside = found.iter().map(|contrast| {
        let distance = contrast.value.estimate.abs() - margin;
        if distance > 0.0 { contrast.error.p_value(distance, contrast.error.deviation) / 2.0 } else { 1.0 }
    });
    let verdict = if holm(&outside.collect::<Vec<_>>()).iter().any(|&p| p < beyond) {
        Verdict::Fails
    } else if !found.is_empty() && !gaps && found.iter().all(inside) {
        Verdict::Holds
    } else {
        Verdict::Undecided
    };
    found.sort_by(|a, b| b.value.estimate.abs().total_cmp(&a.value.estimate.abs()));
    Finding { verdict, evidence: found.iter().map(MeanContrast::line).collect(), missing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::frame::FrameBuilder, backbone::Name::ResNet18, data::Share, method::Name::SimClr};

    const CELL: Axes = Axes::table_1(SimClr, ResNet18, Share::percent(45));
    const AUGMENTED: Axes = CELL.in_study(Study::Ablation(Ablation::AugmentedValidation));
    const RELEASED: Axes = CELL.in_study(Study::Ablation(Ablation::ProbeAsReleased));

    /// What is scored, seed, F1.
    fn frame(rows: &[(Scored, u64, f64)]) -> Frame {
        let mut table = FrameBuilder::default();
        for &(at, seed, f1) in rows {
            table.begin("test", at, Some(seed));
            table.number(Metric::F1, Some(f1));
        }
        table.frame()
    }

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

    #[test]
    fn runs_of_one_seed_are_paired() {
        // By hand: differences 0.03, 0.05 and 0.04, mean 0.04, deviation 0.01, error 0.01 / sqrt 3, Student's 97.5 % at
        // two degrees of freedom 4.3027; seed 7 has no partner.
        let (first, second) = (CELL.in_training(), RELEASED.in_training());
        let rows = [
            (first, 0, 0.83),
            (first, 1, 0.55),
            (first, 2, 0.64),
            (first, 7, 0.1),
            (second, 2, 0.6),
            (second, 0, 0.8),
            (second, 1, 0.5),
        ];
        let evidence = Evidence::measured("test", &frame(&rows));
        let contrast = evidence.paired("x", Metric::F1, [&first, &second]).unwrap();
        let half = 4.302_653 * 0.01 / 3_f64.sqrt();
        let Interval { estimate, low, high } = contrast.value;
        for (found, expected) in [estimate, low, high].into_iter().zip([0.04, 0.04 - half, 0.04 + half]) {
            assert!((found - expected).abs() < 1e-7, "found {found}, expected {expected}");
        }
        let pair = frame(&[rows[0], rows[5]]);
        let alone = Evidence::measured("test", &pair).paired("x", Metric::F1, [&first, &second]);
        assert!(alone.is_err(), "one pair, and nothing known of seeds");
        let known =
            Evidence::assumed("test", &pair, 0.01).paired("x", Metric::F1, [&first, &second]).unwrap();
        assert!((known.error.deviation - 0.01 * 2_f64.sqrt()).abs() < 1e-12);
    }

    /// Two seeds with one and the same difference say nothing of how far differences spread.
    #[test]
    fn equal_differences_do_not_decide() {
        let (first, second) = (CELL.in_training(), RELEASED.in_training());
        let rows = [(first, 0, 0.75), (first, 1, 0.25), (second, 0, 0.5), (second, 1, 0.0)];
        let contrast =
            Evidence::measured("test", &frame(&rows)).paired("x", Metric::F1, [&first, &second]).unwrap();
        assert_eq!(contrast.value.estimate, 0.25);
        assert_eq!(all_above(vec![Ok(contrast)]).verdict, Verdict::Undecided);
        let still = [(first, 0, 0.75), (first, 1, 0.75), (second, 0, 0.5), (second, 1, 0.5)];
        let still = Evidence::measured("test", &frame(&still)).paired("x", Metric::F1, [&first, &second]);
        assert!(still.is_err(), "no seed moved anything");
    }

    #[test]
    fn contrasts_know_their_side() {
        let at = CELL.in_training();
        let rows = frame(&[(at, 0, 0.71), (at, 1, 0.7), (at, 2, 0.69)]);
        let evidence = Evidence::assumed("test", &rows, 0.01);
        let above = |other: f64| {
            let first = evidence.term(1.0, Metric::F1, &at);
            let second = Term { weight: -1.0, scores: vec![other; 3], ..first.clone() };
            evidence.contrast("x", Metric::F1, &[first, second])
        };
        // The error is 0.01 sqrt(2/3) = 0.0082: 0.05 is six of them, 0.005 less than one.
        assert_eq!(all_above(vec![above(0.65)]).verdict, Verdict::Holds);
        assert_eq!(all_above(vec![above(0.75)]).verdict, Verdict::Fails);
        assert_eq!(all_above(vec![above(0.695)]).verdict, Verdict::Undecided);
        let gap = |unprinted| Err(Unmeasured { what: "y".to_owned(), unprinted });
        assert_eq!(all_above(vec![above(0.65), gap(false)]).verdict, Verdict::Undecided, "a gap");
        let most = all_above(vec![above(0.65), above(0.66), gap(true)]);
        assert_eq!((most.verdict, most.missing.len()), (Verdict::Holds, 1), "lost in print");
        assert_eq!(all_above(vec![above(0.65), gap(true)]).verdict, Verdict::Undecided, "half is lost");
        assert_eq!(all_above(vec![]).verdict, Verdict::Undecided);
        assert_eq!(all_within(vec![above(0.7)], 0.05).verdict, Verdict::Holds);
        assert_eq!(all_within(vec![above(0.6)], 0.05).verdict, Verdict::Fails);
        assert_eq!(all_within(vec![above(0.66)], 0.05).verdict, Verdict::Undecided);
    }
}
