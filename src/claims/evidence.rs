//! What a claim is judged on: scores by cell, the spread of seeds, and comparisons between them.
//!
//! Every comparison is a contrast: weights times the means of cells, with the standard error of seeds.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{Finding, Verdict};
use crate::analysis::{
    Frame, Interval,
    comparison::holm,
    correlation::Correlation,
    intervals::{LEVEL, Spread, mean},
};

/// Standard deviation of a score over seeds that the paper's numbers are read with. Ours: it gives no seeds. Half a
/// point is what repeated training on some hundred thousand images usually shows.
pub const ASSUMED_DEVIATION: f64 = 0.005;

/// How far seeds spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Pooled over cells with several seeds.
    Measured,
    /// Taken as known, the same for every score.
    Assumed(f64),
}

/// Scores of one setting.
pub struct Evidence {
    frame: Frame,
    /// Rows of the probe that is fitted after training.
    converged: Frame,
    /// Rows of the classifier in training on augmented validation images, of the ablation that has them.
    augmented: Frame,
    noise: Noise,
    /// In tables: `paper`, or the setting.
    pub name: String,
    /// What was asked for before, by score: claims ask for the same cells again and again.
    cells: RefCell<BTreeMap<(Classifier, String), Rc<Cells>>>,
    /// The same for correlations, which take thousands of resamples: by metric, and whether within models.
    correlations: RefCell<BTreeMap<(String, bool), Option<Correlation>>>,
}

/// Whose scores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Classifier {
    InTraining,
    Converged,
}

/// Study, method, backbone, shares in training and validation in hundredths of a percent (none: as the data are).
type Key = (String, String, String, Option<u64>, Option<u64>);
/// A seed and its score.
pub type Run = (Option<u64>, f64);
/// Runs of every cell.
type Cells = BTreeMap<Key, Vec<Run>>;

/// The cells of one comparison: method, backbone, share of defects in training and in validation (none: as the data
/// are).
#[derive(Clone, Debug, PartialEq)]
pub struct At<'a> {
    pub method: &'a str,
    pub backbone: &'a str,
    pub train: f64,
    pub validation: Option<f64>,
}

/// Weights times means, and its error.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// What is above what, in words.
    pub what: String,
    pub value: Interval,
    /// That it is not above 0, and not below: one side each.
    pub not_above: f64,
    pub not_below: f64,
    /// Standard error, and how well it is known.
    error: Spread,
}

/// A comparison that could not be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// What was to be above what, in words.
    pub what: String,
    /// Whether nobody can measure it: the paper prints no number that can be read.
    pub unprinted: bool,
}

impl From<String> for Missing {
    fn from(what: String) -> Self {
        Self { what, unprinted: false }
    }
}

/// The ablation whose score is another classifier's: the same model has both.
const AUGMENTED: &str = "augmented_validation";

/// Methods of the paper that learn without labels, in its order.
pub const SELF_SUPERVISED: [&str; 5] = ["byol", "barlow_twins", "dino", "mae", "simclr"];
pub const BACKBONES: [&str; 2] = ["resnet18", "vit_tiny"];
/// Shares of defects in training and validation.
pub const SHARES: [f64; 5] = [0.01, 0.02, 0.05, 0.15, 0.45];

impl Evidence {
    /// Rows of one setting. Scores are those of the classifier in training, as the paper's.
    pub fn new(name: &str, frame: &Frame, noise: Noise) -> Self {
        let [converged, augmented, frame] =
            ["converged", "in_training_augmented", "in_training"].map(|name| frame.of("classifier", name));
        let (cells, correlations) = (RefCell::default(), RefCell::default());
        Self { frame, converged, augmented, noise, name: name.to_owned(), cells, correlations }
    }

    /// The correlation of a metric with F1 that was asked for before, or what `compute` finds.
    pub(super) fn correlation(
        &self,
        metric: &str,
        inside: bool,
        compute: impl FnOnce() -> Option<Correlation>,
    ) -> Option<Correlation> {
        let asked = (metric.to_owned(), inside);
        if let Some(known) = self.correlations.borrow().get(&asked) {
            return *known;
        }
        let found = compute();
        self.correlations.borrow_mut().insert(asked, found);
        found
    }

    /// Rows of one study.
    pub fn study(&self, study: &str) -> Frame {
        self.frame.of("study", study)
    }

    /// A score of a cell of Table 1, seed by seed.
    pub fn seeds(&self, metric: &str, at: &At) -> Vec<f64> {
        self.seeds_of("table1", metric, at)
    }

    /// As [`Self::seeds`], of another study.
    pub fn seeds_of(&self, study: &str, metric: &str, at: &At) -> Vec<f64> {
        self.runs_of(study, metric, at).into_iter().map(|(_, score)| score).collect()
    }

    /// As [`Self::seeds_of`], with the seeds' numbers.
    pub fn runs_of(&self, study: &str, metric: &str, at: &At) -> Vec<Run> {
        self.runs(Classifier::InTraining, study, metric, at)
    }

    /// A score of the converged probe of a cell of Table 1, seed by seed.
    pub fn converged(&self, metric: &str, at: &At) -> Vec<f64> {
        self.converged_runs_of("table1", metric, at).into_iter().map(|(_, score)| score).collect()
    }

    /// As [`Self::converged`], of any study and with the seeds' numbers.
    pub fn converged_runs_of(&self, study: &str, metric: &str, at: &At) -> Vec<Run> {
        self.runs(Classifier::Converged, study, metric, at)
    }

    fn runs(&self, classifier: Classifier, study: &str, metric: &str, at: &At) -> Vec<Run> {
        let text = str::to_owned;
        let key = (
            text(study),
            text(at.method),
            text(at.backbone),
            hundredths(Some(at.train)),
            hundredths(at.validation),
        );
        self.cells(classifier, metric).get(&key).cloned().unwrap_or_default()
    }

    /// AUROC of a floor at 45 % defects in training: the converged probe's on all validation images.
    pub fn floor(&self, study: &str, encoder: &str) -> Vec<f64> {
        let rows = self.converged.of("study", study).of("backbone", encoder);
        let rows = rows.at("train_share", Some(0.45)).at("validation_share", None);
        rows.points("auroc").into_iter().map(|point| point.value).collect()
    }

    fn cells(&self, classifier: Classifier, metric: &str) -> Rc<Cells> {
        let asked = (classifier, metric.to_owned());
        if let Some(known) = self.cells.borrow().get(&asked) {
            return known.clone();
        }
        let mut cells = Cells::new();
        let all = if classifier == Classifier::Converged { &self.converged } else { &self.frame };
        for study in all.distinct("study") {
            let rows = match classifier {
                Classifier::InTraining if study == AUGMENTED => self.augmented.of("study", AUGMENTED),
                _ => all.of("study", &study),
            };
            for point in rows.points(metric) {
                let shares = (hundredths(point.train_share), hundredths(point.validation_share));
                let key = (study.clone(), point.method, point.backbone, shares.0, shares.1);
                cells.entry(key).or_default().push((point.seed, point.value));
            }
        }
        let cells = Rc::new(cells);
        self.cells.borrow_mut().insert(asked, cells.clone());
        cells
    }

    /// The spread of seeds of a score at a validation share, over all methods, backbones and training shares.
    pub fn spread(&self, metric: &str, validation: Option<f64>) -> Option<Spread> {
        match self.noise {
            Noise::Assumed(deviation) => Some(Spread::known(deviation.hypot(sampling(metric, validation)))),
            Noise::Measured => {
                let (cells, wanted) = (self.cells(Classifier::InTraining, metric), hundredths(validation));
                let cells = cells
                    .iter()
                    .filter(|((study, .., seen), _)| study == "table1" && *seen == wanted)
                    .map(|(_, runs)| runs.iter().map(|run| run.1).collect())
                    .collect::<Vec<Vec<f64>>>();
                Spread::pooled(cells.iter().map(Vec::as_slice)).filter(|spread| spread.deviation > 0.0)
            }
        }
    }

    /// The contrast of weighted groups of seeds.
    ///
    /// # Errors
    /// If a group is empty or nothing is known of seeds.
    pub fn contrast(
        &self,
        what: impl Into<String>,
        terms: &[(f64, Vec<f64>)],
        spread: Option<Spread>,
    ) -> Result<Contrast, Missing> {
        let what = what.into();
        let spread = match spread {
            Some(spread) if !terms.is_empty() && terms.iter().all(|(_, values)| !values.is_empty()) => spread,
            _ => return Err(Missing { what, unprinted: matches!(self.noise, Noise::Assumed(_)) }),
        };
        let estimate = terms.iter().map(|(weight, values)| weight * mean(values)).sum();
        let squares: f64 = terms.iter().map(|(weight, values)| weight * weight / values.len() as f64).sum();
        Ok(Contrast::new(what, estimate, Spread { deviation: spread.deviation * squares.sqrt(), ..spread }))
    }

    /// First less second, seed by seed: what begins alike and sees the same images is paired, and its differences
    /// spread less than its scores. Where fewer than two seeds are in both, as [`Self::contrast`] with `spread`.
    ///
    /// # Errors
    /// If either is empty, or nothing is known of seeds.
    pub fn paired(
        &self,
        what: impl Into<String>,
        [first, second]: [&[Run]; 2],
        spread: Option<Spread>,
    ) -> Result<Contrast, Missing> {
        let other = |seed: Option<u64>| second.iter().find(|run| run.0 == seed && seed.is_some());
        let differences: Vec<f64> =
            first.iter().filter_map(|run| other(run.0).map(|other| run.1 - other.1)).collect();
        match Spread::pooled([differences.as_slice()]) {
            Some(spread) => {
                let deviation = spread.deviation / (differences.len() as f64).sqrt();
                Ok(Contrast::new(what.into(), mean(&differences), Spread { deviation, ..spread }))
            }
            None => {
                let scores = |runs: &[Run]| runs.iter().map(|run| run.1).collect::<Vec<_>>();
                self.contrast(what, &[(1.0, scores(first)), (-1.0, scores(second))], spread)
            }
        }
    }

    /// First less second, of Table 1.
    pub fn above(&self, metric: &str, first: &At, second: &At) -> Result<Contrast, Missing> {
        let name = |at: &At| {
            let share = |share: f64| format!("{} %", (share * 1e4).round() / 100.0);
            let validation = at.validation.map_or(String::new(), |v| format!(", validation {}", share(v)));
            format!("{} on {} at {}{validation}", at.method, at.backbone, share(at.train))
        };
        let what = format!("{metric}: {} less {}", name(first), name(second));
        let terms = [(1.0, self.seeds(metric, first)), (-1.0, self.seeds(metric, second))];
        self.contrast(what, &terms, self.spread(metric, first.validation))
    }
}

/// Standard deviation that the draw of defects adds where few are left of rare, dear classes (independent classes, the
/// counts of Sewer-ML's validation split, the middle of what simulated detectors showed): F2_CIW only, since the other
/// scores hardly move by it.
fn sampling(metric: &str, validation: Option<f64>) -> f64 {
    match (metric, hundredths(validation)) {
        ("f2_ciw_oracle", Some(100)) => 0.032,
        ("f2_ciw_oracle", Some(200)) => 0.02,
        ("f2_ciw_oracle", Some(500)) => 0.012,
        ("f2_ciw_oracle", Some(1_500)) => 0.0065,
        _ => 0.0,
    }
}

fn hundredths(share: Option<f64>) -> Option<u64> {
    share.map(|share| (share * 1e4).round() as u64)
}

impl Contrast {
    /// An estimate with its standard error.
    fn new(what: String, estimate: f64, error: Spread) -> Self {
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
fn sorted(contrasts: Vec<Result<Contrast, Missing>>) -> (Vec<Contrast>, Vec<String>, bool) {
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
pub fn all_above(contrasts: Vec<Result<Contrast, Missing>>) -> Finding {
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
    Finding { verdict, evidence: found.iter().map(Contrast::line).collect(), missing }
}

/// The claim that all these contrasts lie within `margin` of 0: two one-sided tests each.
pub fn all_within(contrasts: Vec<Result<Contrast, Missing>>, margin: f64) -> Finding {
    let (mut found, missing, gaps) = sorted(contrasts);
    let inside = |contrast: &Contrast| contrast.value.low > -margin && contrast.value.high < margin;
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
    Finding { verdict, evidence: found.iter().map(Contrast::line).collect(), missing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::Rows;

    /// Study, classifier, seed, F1; SimCLR on ResNet-18 at 45 %.
    fn evidence(rows: &[(&str, &str, u64, f64)], noise: Noise) -> Evidence {
        let mut table = Rows::default();
        for &(study, classifier, seed, f1) in rows {
            table.begin(Some(seed));
            let texts = [
                ("study", study),
                ("method", "simclr"),
                ("backbone", "resnet18"),
                ("classifier", classifier),
            ];
            texts.into_iter().for_each(|(column, text)| table.text(column, text));
            table.number("train_share", Some(0.45));
            table.number("validation_share", None);
            table.number("f1", Some(f1));
        }
        Evidence::new("test", &table.frame(), noise)
    }

    const CELL: At = At { method: "simclr", backbone: "resnet18", train: 0.45, validation: None };

    #[test]
    fn an_ablation_of_validation_is_its_own_classifier() {
        let evidence = evidence(
            &[
                ("table1", "in_training", 0, 0.7),
                ("table1", "converged", 0, 0.8),
                ("augmented_validation", "in_training", 0, 0.7),
                ("augmented_validation", "in_training_augmented", 0, 0.6),
            ],
            Noise::Measured,
        );
        assert_eq!(evidence.seeds("f1", &CELL), [0.7]);
        assert_eq!(evidence.seeds_of("augmented_validation", "f1", &CELL), [0.6]);
        assert_eq!(evidence.converged("f1", &CELL), [0.8]);
        assert_eq!(evidence.spread("f1", None), None, "one seed");
    }

    #[test]
    fn runs_of_one_seed_are_paired() {
        let evidence = evidence(&[], Noise::Measured);
        // By hand: differences 0.03, 0.05 and 0.04, mean 0.04, deviation 0.01, error 0.01 / sqrt 3, Student's 97.5 % at
        // two degrees of freedom 4.3027; seed 7 has no partner.
        let first = [(Some(0), 0.83), (Some(1), 0.55), (Some(2), 0.64), (Some(7), 0.1)];
        let second = [(Some(2), 0.6), (Some(0), 0.8), (Some(1), 0.5)];
        let contrast = evidence.paired("x", [&first, &second], None).unwrap();
        let half = 4.302_653 * 0.01 / 3_f64.sqrt();
        let expected = [0.04, 0.04 - half, 0.04 + half];
        let Interval { estimate, low, high } = contrast.value;
        for (found, expected) in [estimate, low, high].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "found {found}, expected {expected}");
        }
        assert!(
            evidence.paired("x", [&first[..1], &second], None).is_err(),
            "one pair, and nothing known of seeds"
        );
        let one = evidence.paired("x", [&first[..1], &second[1..2]], Some(Spread::known(0.01))).unwrap();
        assert!((one.error.deviation - 0.01 * 2_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn contrasts_know_their_side() {
        let seeds = |values: [f64; 3]| {
            let rows: Vec<_> =
                values.iter().zip(0..).map(|(&f1, seed)| ("table1", "in_training", seed, f1)).collect();
            evidence(&rows, Noise::Assumed(0.01))
        };
        let evidence = seeds([0.71, 0.7, 0.69]);
        let above = |other: f64| {
            let terms = [(1.0, evidence.seeds("f1", &CELL)), (-1.0, vec![other; 3])];
            evidence.contrast("x", &terms, evidence.spread("f1", None))
        };
        // The error is 0.01 sqrt(2/3) = 0.0082: 0.05 is six of them, 0.005 less than one.
        assert_eq!(all_above(vec![above(0.65)]).verdict, Verdict::Holds);
        assert_eq!(all_above(vec![above(0.75)]).verdict, Verdict::Fails);
        assert_eq!(all_above(vec![above(0.695)]).verdict, Verdict::Undecided);
        let gap = |unprinted| Err(Missing { what: "y".to_owned(), unprinted });
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
