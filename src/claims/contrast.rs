//! Contrasts: weighted sums of the means of cells, with standard errors over seeds.

use super::{
    Yardstick,
    evidence::{Evidence, own_classifier},
};
use crate::{
    analysis::{
        Axes, Interval, Measure, Scored,
        cell::percent,
        intervals::{Uncertainty, mean},
        noise::Weighed,
    },
    data::Share,
    results::{Classifier, Metric},
};

/// A weight, and the scores whose mean it multiplies.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Weight of the mean in the contrast.
    pub weight: f64,
    /// What is scored.
    pub scored: Scored,
    /// One score per seed; empty if nothing was measured.
    pub scores: Vec<f64>,
}

/// A mean in a contrast: of one cell, or of the differences between two cells paired by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The one or two cells whose scores are averaged.
    pub cells: Vec<Scored>,
    /// Weight of the mean in the contrast.
    pub weight: f64,
    /// Mean over seeds.
    pub mean: f64,
    /// Number of seeds in the mean.
    pub seeds: usize,
    /// Deviation of one seed.
    pub spread: Uncertainty,
}

/// A weighted sum of means, and its error.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanContrast {
    /// Description of the contrast, in words.
    pub description: String,
    /// The measure that is compared.
    pub measure: Measure,
    /// The estimate with its 95 % interval, not corrected for other comparisons.
    pub value: Interval,
    /// Standard error with its degrees of freedom.
    pub error: Uncertainty,
    /// The means in the sum.
    pub parts: Vec<Part>,
    /// Part of the standard error that does not shrink with more seeds.
    pub fixed: f64,
}

/// A comparison that cannot be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmeasured {
    /// Description of the comparison, in words.
    pub description: String,
    /// True if the paper prints no legible value, so it can never be measured.
    pub unprinted: bool,
}

/// Each comparison, or why it cannot be made.
pub type Contrasts = Vec<Result<MeanContrast, Unmeasured>>;

impl From<String> for Unmeasured {
    fn from(what: String) -> Self {
        Self { description: what, unprinted: false }
    }
}

impl MeanContrast {
    fn new(what: String, measure: Measure, estimate: f64, error: Uncertainty, parts: Vec<Part>) -> Self {
        Self {
            description: what,
            measure,
            value: error.interval_of_mean(estimate, 1),
            error,
            parts,
            fixed: 0.0,
        }
    }

    /// Returns the contrast with an additional independent deviation that is known exactly.
    #[must_use]
    pub fn with_known_deviation(self, deviation: f64) -> Self {
        let own = self.error.deviation.powi(2);
        let whole = own + deviation.powi(2);
        if whole <= own {
            return self;
        }
        // A deviation that is known exactly adds variance, but no uncertainty about the variance (Satterthwaite 1946).
        let error =
            Uncertainty { deviation: whole.sqrt(), freedom: self.error.freedom * (whole / own).powi(2) };
        Self { value: error.interval_of_mean(self.value.estimate, 1), error, fixed: deviation, ..self }
    }

    /// Returns the one-sided p-value of an estimate this high if the truth were 0.
    pub fn p_value_above(&self) -> f64 {
        self.one_side(self.value.estimate > 0.0)
    }

    /// Returns the one-sided p-value of an estimate this low if the truth were 0.
    pub fn p_value_below(&self) -> f64 {
        self.one_side(self.value.estimate < 0.0)
    }

    fn one_side(&self, beyond: bool) -> f64 {
        let near = self.error.p_value(self.value.estimate, self.error.deviation) / 2.0;
        if beyond { near } else { 1.0 - near }
    }

    /// Whether it compares a score, so that [`Evidence::margin`] applies.
    pub fn is_of_a_score(&self) -> bool {
        Metric::ALL.iter().any(|metric| self.measure == Measure::from(*metric))
    }
}

impl Evidence {
    /// Returns a weighted score as a term of a contrast.
    pub fn term(&self, weight: f64, measure: impl Into<Measure>, at: &Scored) -> Term {
        Term { weight, scored: own_classifier(at), scores: self.scores(measure, at) }
    }

    /// Returns the contrast of weighted scores.
    ///
    /// # Errors
    /// If one was not measured, or the spread over seeds is unknown.
    pub fn contrast(
        &self,
        what: impl Into<String>,
        measure: impl Into<Measure>,
        terms: &[Term],
    ) -> Result<MeanContrast, Unmeasured> {
        let (what, measure, unprinted) = (what.into(), measure.into(), self.noise().is_assumed());
        if terms.iter().any(|term| term.scores.is_empty()) {
            return Err(Unmeasured { description: what, unprinted });
        }
        let weigh =
            |term: &Term| Weighed { weight: term.weight, scored: term.scored, seeds: term.scores.len() };
        let weighed: Vec<Weighed> = terms.iter().map(weigh).collect();
        let part = |term: &Term| {
            let spread = self.noise().seed_spread(&measure, &term.scored)?;
            let (weight, seeds) = (term.weight, term.scores.len());
            Some(Part { cells: vec![term.scored], weight, mean: mean(&term.scores), seeds, spread })
        };
        let parts: Option<Vec<Part>> = terms.iter().map(part).collect();
        match self.noise().standard_error(&measure, &weighed).zip(parts) {
            Some((error, parts)) => {
                let estimate = parts.iter().map(|part| part.weight * part.mean).sum();
                Ok(MeanContrast::new(what, measure, estimate, error, parts))
            }
            None => Err(Unmeasured {
                description: format!("{what} (one seed: the spread over seeds is unknown)"),
                unprinted,
            }),
        }
    }

    /// Returns first minus second, paired by seed.
    ///
    /// Runs with the same seed start alike and see the same images, so their differences spread less than their
    /// scores. If fewer than two seeds are in both, or all differences are equal (so that their spread is unknown),
    /// this falls back to [`Self::contrast`].
    ///
    /// # Errors
    /// If either was not measured, or the spread over seeds is unknown.
    pub fn paired_difference(
        &self,
        what: impl Into<String>,
        measure: impl Into<Measure>,
        [first, second]: [&Scored; 2],
    ) -> Result<MeanContrast, Unmeasured> {
        let measure = measure.into();
        let others = self.seed_scores(&measure, second);
        let other = |seed: Option<u64>| others.iter().find(|run| run.0 == seed && seed.is_some());
        let runs = self.seed_scores(&measure, first);
        let differences: Vec<f64> =
            runs.iter().filter_map(|run| other(run.0).map(|other| run.1 - other.1)).collect();
        match Uncertainty::pooled([differences.as_slice()]).filter(|spread| spread.deviation > 0.0) {
            Some(spread) => {
                let (mean, seeds) = (mean(&differences), differences.len());
                let error = Uncertainty { deviation: spread.deviation / (seeds as f64).sqrt(), ..spread };
                let part = Part { cells: vec![*first, *second], weight: 1.0, mean, seeds, spread };
                Ok(MeanContrast::new(what.into(), measure, mean, error, vec![part]))
            }
            None => {
                let terms = [self.term(1.0, &measure, first), self.term(-1.0, &measure, second)];
                self.contrast(what, measure, &terms)
            }
        }
    }

    /// Returns first minus second.
    ///
    /// # Errors
    /// Those of [`Self::contrast`].
    pub fn difference(
        &self,
        metric: impl Into<Measure>,
        first: &Scored,
        second: &Scored,
    ) -> Result<MeanContrast, Unmeasured> {
        let metric = metric.into();
        let what = format!("{}: {} minus {}", measured(&metric, first), name(first), name(second));
        let terms = [self.term(1.0, &metric, first), self.term(-1.0, &metric, second)];
        self.contrast(what, metric, &terms)
    }

    /// Returns first minus second for each pair: share by share, or once on average, depending on the yardstick.
    pub fn compare(
        &self,
        yardstick: Yardstick,
        papers: impl Into<Measure>,
        pairs: impl IntoIterator<Item = [Axes; 2]>,
        shares: &[Share],
    ) -> Contrasts {
        let measure = yardstick.measure(papers);
        let mut contrasts = Contrasts::new();
        for pair in pairs {
            let at = |place: usize, share| yardstick.scored(Axes { share, ..pair[place] }.in_training());
            if !yardstick.averages() {
                contrasts.extend(
                    shares.iter().map(|&share| self.difference(&measure, &at(0, share), &at(1, share))),
                );
                continue;
            }
            let weight = 1.0 / shares.len() as f64;
            let terms = shares.iter().flat_map(|&share| {
                [self.term(weight, &measure, &at(0, share)), self.term(-weight, &measure, &at(1, share))]
            });
            let first = at(0, Share::NATURAL);
            let words = [first, at(1, Share::NATURAL)].map(|at| who(&at));
            let what = format!(
                "{}: {} minus {}, average over {} shares",
                measured(&measure, &first),
                words[0],
                words[1],
                shares.len()
            );
            contrasts.push(self.contrast(what, &measure, &terms.collect::<Vec<_>>()));
        }
        contrasts
    }
}

/// Names a measure: `auroc of the converged probe`, `f1`.
fn measured(measure: &Measure, at: &Scored) -> String {
    match at.classifier {
        Classifier::Converged => format!("{measure} of the converged probe"),
        _ => measure.to_string(),
    }
}

/// Names an arm: `simclr on resnet18`.
fn who(at: &Scored) -> String {
    format!("{} on {}", at.cell.method_id(), at.cell.backbone_id())
}

/// Names what is scored: `simclr on resnet18 at 5 %, validation 1 %`.
pub(super) fn name(at: &Scored) -> String {
    let validation =
        at.validation.in_percent().map_or(String::new(), |percent| format!(", validation {percent} %"));
    format!("{} at {}{validation}", who(at), percent(at.cell.share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Axes, frame::f1_frame as frame},
        backbone::Name::ResNet18,
        data::Share,
        method::Name::{Byol, SimClr},
        results::Metric,
        study::{Ablation, Study},
    };

    const CELL: Axes = Axes::table_1(SimClr, ResNet18, Share::percent(45));
    const OTHER: Axes = Axes::table_1(Byol, ResNet18, Share::percent(45));
    const RELEASED: Axes = CELL.in_study(Study::Ablation(Ablation::ProbeAsReleased));

    #[test]
    fn runs_of_one_seed_are_paired() {
        // By hand: differences 0.03, 0.05 and 0.04, mean 0.04, deviation 0.01, error 0.01 / sqrt 3, Student's 97.5 %
        // quantile at two degrees of freedom 4.3027; seed 7 has no partner.
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
        let contrast = evidence.paired_difference("x", Metric::F1, [&first, &second]).unwrap();
        let half = 4.302_653 * 0.01 / 3_f64.sqrt();
        let Interval { estimate, low, high } = contrast.value;
        for (found, expected) in [estimate, low, high].into_iter().zip([0.04, 0.04 - half, 0.04 + half]) {
            assert!((found - expected).abs() < 1e-7, "found {found}, expected {expected}");
        }
        let pair = frame(&[rows[0], rows[5]]);
        let alone = Evidence::measured("test", &pair).paired_difference("x", Metric::F1, [&first, &second]);
        assert!(alone.is_err(), "one pair, and nothing known of seeds");
        let known = Evidence::assumed("test", &pair, 0.01)
            .paired_difference("x", Metric::F1, [&first, &second])
            .unwrap();
        assert!((known.error.deviation - 0.01 * 2_f64.sqrt()).abs() < 1e-12);
    }

    /// Satterthwaite by hand: a deviation of 3 with four degrees of freedom and a known one of 4 give 5 with 4 (25 /
    /// 9)^2.
    #[test]
    fn what_is_known_of_images_widens_what_seeds_say() {
        let error = Uncertainty { deviation: 3.0, freedom: 4.0 };
        let contrast = MeanContrast::new("x".to_owned(), Metric::F1.into(), 0.5, error, Vec::new());
        let wider = contrast.clone().with_known_deviation(4.0);
        assert_eq!((wider.error.deviation, wider.fixed, wider.value.estimate), (5.0, 4.0, 0.5));
        assert!((wider.error.freedom - 4.0 * (25.0_f64 / 9.0).powi(2)).abs() < 1e-9, "{:?}", wider.error);
        assert_eq!(contrast.clone().with_known_deviation(0.0), contrast);
    }

    /// scipy 1.17.1, `norm.sf(2)`.
    #[test]
    fn each_side_has_its_own_probability() {
        let error = Uncertainty::known(0.1);
        let contrast =
            |estimate| MeanContrast::new(String::new(), Metric::F1.into(), estimate, error, Vec::new());
        for (estimate, not_above) in [(0.2, 0.022_750_13), (-0.2, 1.0 - 0.022_750_13)] {
            let contrast = contrast(estimate);
            assert!((contrast.p_value_above() - not_above).abs() < 1e-6, "{}", contrast.p_value_above());
            assert!(
                (contrast.p_value_below() - (1.0 - not_above)).abs() < 1e-6,
                "{}",
                contrast.p_value_below()
            );
        }
    }

    #[test]
    fn a_pair_is_compared_at_each_share_or_on_average() {
        let other = OTHER;
        let shares = [Share::percent(45), Share::percent(5)];
        let rows = [(CELL, 0, 0.9), (CELL, 1, 0.3), (other, 0, 0.5), (other, 1, 0.1)];
        let rows = rows.map(|(cell, place, f1)| (Axes { share: shares[place], ..cell }.in_training(), 0, f1));
        let evidence = Evidence::assumed("test", &frame(&rows), 0.01);
        let found = |yardstick| -> Vec<f64> {
            let contrasts = evidence.compare(yardstick, Metric::F1, [[CELL, other]], &shares);
            contrasts.into_iter().map(|contrast| contrast.unwrap().value.estimate).collect()
        };
        let near = |found: &[f64], expected: &[f64]| {
            found.len() == expected.len() && found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12)
        };
        assert!(near(&found(Yardstick::Paper), &[0.4, 0.2]), "{:?}", found(Yardstick::Paper));
        assert!(near(&found(Yardstick::PaperAverage), &[0.3]), "{:?}", found(Yardstick::PaperAverage));
        let pair = [&rows[0].0, &rows[2].0];
        let alone = evidence.difference(Metric::F1, pair[0], pair[1]).unwrap();
        assert!((alone.value.estimate - 0.4).abs() < 1e-12);
        // Two models of one seed each.
        assert!((alone.error.deviation - 0.01 * 2_f64.sqrt()).abs() < 1e-12);
    }

    /// Descriptions of comparisons name the measure, both cells, and the shares that they are averaged over.
    #[test]
    fn comparisons_say_what_is_compared() {
        let evidence = Evidence::assumed("test", &frame(&[]), 0.01);
        let said = |contrast: Result<MeanContrast, Unmeasured>| contrast.unwrap_err();
        let at = |cell: Axes| cell.in_training().on(Share::percent(1));
        let plain = said(evidence.difference(Metric::F1, &at(CELL), &OTHER.in_training()));
        assert_eq!(
            plain,
            Unmeasured {
                description: "f1: simclr on resnet18 at 45 %, validation 1 % minus byol on resnet18 at 45 %"
                    .to_owned(),
                unprinted: true
            }
        );
        let converged = said(evidence.difference(Metric::Auroc, &OTHER.converged(), &CELL.converged()));
        assert_eq!(
            converged.description,
            "auroc of the converged probe: byol on resnet18 at 45 % minus simclr on resnet18 at 45 %"
        );
        let shares = [Share::percent(1), Share::percent(2), Share::percent(15)];
        let average = evidence.compare(Yardstick::AurocAverage, Metric::F1, [[CELL, OTHER]], &shares);
        assert_eq!(average.len(), 1);
        assert_eq!(
            average.into_iter().next().unwrap().unwrap_err().description,
            "auroc of the converged probe: simclr on resnet18 minus byol on resnet18, average over 3 shares"
        );
        let each =
            evidence.compare(Yardstick::Paper, Metric::Recall, [[CELL, OTHER], [OTHER, CELL]], &shares[1..]);
        let each: Vec<String> = each.into_iter().map(|contrast| contrast.unwrap_err().description).collect();
        assert_eq!(
            each,
            [
                "recall: simclr on resnet18 at 2 % minus byol on resnet18 at 2 %",
                "recall: simclr on resnet18 at 15 % minus byol on resnet18 at 15 %",
                "recall: byol on resnet18 at 2 % minus simclr on resnet18 at 2 %",
                "recall: byol on resnet18 at 15 % minus simclr on resnet18 at 15 %",
            ]
        );
    }

    /// Each mean has its own weight, cell, seeds and spread; the sum is 0.5 x 0.8 - 2 x 0.3.
    #[test]
    fn a_contrast_is_made_of_its_parts() {
        let rows = [(CELL, 0, 0.7), (CELL, 1, 0.9), (OTHER, 0, 0.2), (OTHER, 1, 0.3), (OTHER, 2, 0.4)];
        let rows = rows.map(|(cell, seed, f1)| (cell.in_training(), seed, f1));
        let evidence = Evidence::assumed("test", &frame(&rows), 0.06);
        let (first, second) = (CELL.in_training(), OTHER.in_training());
        let terms = [evidence.term(0.5, Metric::F1, &first), evidence.term(-2.0, Metric::F1, &second)];
        let found = evidence.contrast("x", Metric::F1, &terms).unwrap();
        assert!((found.value.estimate + 0.2).abs() < 1e-12, "{found:?}");
        assert!((found.error.deviation - 0.06 * (0.125_f64 + 4.0 / 3.0).sqrt()).abs() < 1e-12, "{found:?}");
        let parts: Vec<_> = found
            .parts
            .iter()
            .map(|part| (part.cells.clone(), part.weight, part.seeds, part.spread.deviation))
            .collect();
        assert_eq!(parts, [(vec![first], 0.5, 2, 0.06), (vec![second], -2.0, 3, 0.06)]);
        let means: Vec<f64> = found.parts.iter().map(|part| part.mean).collect();
        assert!((means[0] - 0.8).abs() < 1e-12 && (means[1] - 0.3).abs() < 1e-12, "{means:?}");
        assert!(found.is_of_a_score() && found.fixed == 0.0);
        let rank = MeanContrast { measure: Measure::RANKME, ..found };
        assert!(!rank.is_of_a_score());
        // With one measured seed of each, the spread over seeds is unknown.
        let alone = Evidence::measured("test", &frame(&[rows[0], rows[2]]));
        let why = alone.difference(Metric::F1, &first, &second).unwrap_err();
        assert_eq!(
            why,
            Unmeasured {
                description: "f1: simclr on resnet18 at 45 % minus byol on resnet18 at 45 % (one seed: the spread over seeds is unknown)"
                    .to_owned(),
                unprinted: false
            }
        );
    }

    /// Two paired cells are one part, the mean of their differences, so a plan adds seeds to both.
    #[test]
    fn paired_cells_are_one_part() {
        let (first, second) = (CELL.in_training(), OTHER.in_training());
        let rows = [(first, 0, 0.8), (first, 1, 0.9), (second, 0, 0.5), (second, 1, 0.2), (second, 2, 0.1)];
        let evidence = Evidence::measured("test", &frame(&rows));
        let found = evidence.paired_difference("x", Metric::F1, [&first, &second]).unwrap();
        let [part] = &found.parts[..] else { panic!("{found:?}") };
        assert_eq!((&part.cells[..], part.weight, part.seeds), (&[first, second][..], 1.0, 2));
        // Differences 0.3 and 0.7: a deviation of 0.4 / sqrt 2, an error of 0.2.
        assert!((part.mean - 0.5).abs() < 1e-12 && (part.spread.deviation - 0.08_f64.sqrt()).abs() < 1e-12);
        assert!((found.error.deviation - 0.2).abs() < 1e-12 && found.error.freedom == 1.0, "{found:?}");
        assert_eq!((found.description.as_str(), found.measure.id()), ("x", "f1"));
    }

    /// The ablation on augmented images has its own scores, and spreads as they do, wherever it stands.
    #[test]
    fn the_ablation_of_validation_is_compared_by_its_own_images() {
        let ablation = CELL.in_study(Study::Ablation(Ablation::AugmentedValidation)).in_training();
        let augmented = Scored { classifier: Classifier::InTrainingAugmented, ..ablation };
        let plain = CELL.in_training();
        let rows = [
            (plain, 0, 0.70),
            (plain, 1, 0.75),
            (ablation, 0, 0.5),
            (ablation, 1, 0.9),
            (augmented, 3, 0.60),
            (augmented, 4, 0.62),
        ];
        let evidence = Evidence::measured("test", &frame(&rows));
        let expected = Term { weight: 2.0, scored: augmented, scores: vec![0.60, 0.62] };
        assert_eq!(evidence.term(2.0, Metric::F1, &ablation), expected);
        let [own, unchanged] =
            [augmented, ablation].map(|at| evidence.noise().seed_spread(&Metric::F1.into(), &at).unwrap());
        assert!(own.deviation < unchanged.deviation, "{own:?} {unchanged:?}");
        assert_eq!(evidence.spread(Metric::F1, &ablation), Some(own));
        for found in [
            evidence.difference(Metric::F1, &plain, &ablation).unwrap(),
            // Without a common seed there is no pair.
            evidence.paired_difference("x", Metric::F1, [&plain, &ablation]).unwrap(),
        ] {
            let parts: Vec<_> =
                found.parts.iter().map(|part| (&part.cells[..], part.weight, part.spread)).collect();
            let first = evidence.spread(Metric::F1, &plain).unwrap();
            assert_eq!(parts, [(&[plain][..], 1.0, first), (&[augmented], -1.0, own)]);
            assert!((found.value.estimate - 0.115).abs() < 1e-12, "{found:?}");
        }
    }
}
