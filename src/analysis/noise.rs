//! How far a score moves when nothing but the seed changes: the only place that turns seeds' spread into a deviation.
//!
//! Claims, tables, rankings, figures and `diff` ask here: by score and by what is scored. The answer is the standard
//! deviation of one seed's score and its degrees of freedom; for a contrast of means of several cells its standard
//! error, whose degrees of freedom are combined by Welch and Satterthwaite where the deviations are not one.
//!
//! *The estimator is provisional.* Variances about each cell's mean are pooled over all methods and backbones of one
//! study that were trained at one share, classifier by classifier and validation share by validation share. That is
//! right where methods spread alike; measured records say that MAE spreads more than Barlow Twins. Another estimator
//! replaces [`Spreads::of`] (what is pooled) and [`Pooled`] (with what); callers do not change.
//!
//! A study without repeated seeds of its own at a share takes Table 1's there: its cells are Table 1's with one thing
//! done otherwise. Floors do not: nobody trained them. What all this leaves out: other validation images would give
//! other scores too.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{Frame, cell::Scored, intervals::Uncertainty, measure::Measure};
use crate::{
    data::Share,
    results::{Classifier, Metric},
    seed::Stream,
    study::Study,
};

/// How far seeds spread.
pub struct Noise {
    source: Origin,
    /// What was asked for before, by score: claims ask for the same cells again and again.
    pools: RefCell<BTreeMap<Measure, Rc<Spreads>>>,
}

enum Origin {
    /// The same for every score, and known.
    Assumed(f64),
    /// Records with several seeds.
    Measured(Frame),
}

/// Which cells' spreads are taken to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pooled {
    /// Name of the study.
    study: &'static str,
    /// Of defects in training.
    share: Share,
    classifier: Classifier,
    /// Of defects in validation.
    validation: Share,
}

/// One cell of a contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// Of its mean in the contrast.
    pub weight: f64,
    /// What is scored.
    pub at: Scored,
    /// Seeds behind its mean.
    pub seeds: usize,
}

struct Spreads(BTreeMap<Pooled, Uncertainty>);

impl Noise {
    /// Measured on records: variances about the mean of each cell, setting by setting.
    pub fn measured(frame: &Frame) -> Self {
        Self { source: Origin::Measured(frame.clone()), pools: RefCell::default() }
    }

    /// Taken as known, the same for every score: for numbers without seeds.
    pub fn assumed(deviation: f64) -> Self {
        Self { source: Origin::Assumed(deviation), pools: RefCell::default() }
    }

    /// Whether it was not measured.
    pub fn is_assumed(&self) -> bool {
        matches!(self.source, Origin::Assumed(_))
    }

    /// Standard deviation of one seed's score, and its degrees of freedom; none where no seed was repeated.
    pub fn of(&self, measure: &Measure, at: &Scored) -> Option<Uncertainty> {
        self.pooled(measure, at).map(|(_, spread)| spread)
    }

    /// Standard error of the sum of weighted means; none where nothing is known of one of them.
    ///
    /// Of pools p with deviations s_p, degrees of freedom f_p and c_p = sum of w^2 / n: its square is V = sum of
    /// c_p s_p^2, with V^2 / (sum of (c_p s_p^2)^2 / f_p) degrees (Welch 1947, Satterthwaite 1946).
    pub fn error(&self, measure: &Measure, terms: &[Weighed]) -> Option<Uncertainty> {
        let mut parts: BTreeMap<Pooled, (f64, f64)> = BTreeMap::new();
        for term in terms {
            let (pool, spread) = self.pooled(measure, &term.at)?;
            let part = parts.entry(pool).or_insert((0.0, spread.freedom));
            part.0 += term.weight.powi(2) / term.seeds as f64 * spread.deviation.powi(2);
        }
        let variance: f64 = parts.values().map(|(part, _)| part).sum();
        let uncertain: f64 = parts.values().map(|(part, freedom)| part.powi(2) / freedom).sum();
        let freedom = if uncertain > 0.0 { variance.powi(2) / uncertain } else { f64::INFINITY };
        (!parts.is_empty()).then(|| Uncertainty { deviation: variance.sqrt(), freedom })
    }

    /// What new seeds could give instead of these means: each moved by its error, and the deviation of each pool drawn
    /// too, since it is uncertain itself. `None` where nothing is known of one of them.
    pub fn redrawn(
        &self,
        measure: &Measure,
        means: &[(Scored, f64, usize)],
        stream: &mut Stream,
    ) -> Option<Vec<f64>> {
        let mut scales: BTreeMap<Pooled, f64> = BTreeMap::new();
        let mut drawn = Vec::with_capacity(means.len());
        for (at, mean, seeds) in means {
            let (pool, spread) = self.pooled(measure, at)?;
            let scale = *scales.entry(pool).or_insert_with(|| spread.drawn_scale(stream));
            drawn.push(mean + scale * spread.deviation / (*seeds as f64).sqrt() * stream.normal());
        }
        Some(drawn)
    }

    fn pooled(&self, measure: &Measure, at: &Scored) -> Option<(Pooled, Uncertainty)> {
        let own = Pooled::of(at);
        match &self.source {
            Origin::Assumed(deviation) => {
                Some((own, Uncertainty::known(deviation.hypot(sampling(measure, at.validation)))))
            }
            Origin::Measured(frame) => {
                let known = self.pools.borrow().get(measure).cloned();
                let pools = known.unwrap_or_else(|| {
                    let pools = Rc::new(Spreads::of(frame, measure));
                    self.pools.borrow_mut().insert(measure.clone(), pools.clone());
                    pools
                });
                let found = |pool: Pooled| pools.0.get(&pool).map(|spread| (pool, *spread));
                found(own).or_else(|| own.of_table_1(at.cell.study).and_then(found))
            }
        }
    }
}

impl Pooled {
    fn of(at: &Scored) -> Self {
        Self {
            study: at.cell.study.id(),
            share: at.cell.share,
            classifier: at.classifier,
            validation: at.validation,
        }
    }

    /// The same cells of Table 1, which has no augmented validation; none of floors, which nobody trained.
    fn of_table_1(self, study: Study) -> Option<Self> {
        let floor = matches!(study, Study::RandomWeights | Study::Pixels);
        let classifier = match self.classifier {
            Classifier::InTrainingAugmented => Classifier::InTraining,
            other => other,
        };
        (!floor).then_some(Self { study: Study::Table1.id(), classifier, ..self })
    }
}

impl Spreads {
    fn of(frame: &Frame, measure: &Measure) -> Self {
        let mut pools: BTreeMap<Pooled, (f64, usize)> = BTreeMap::new();
        for summary in frame.summaries(std::slice::from_ref(measure)) {
            let [aggregate] = summary.aggregates[..] else { continue };
            if let Some(deviation) = aggregate.deviation {
                let (squares, freedom) = pools.entry(Pooled::of(&summary.at)).or_default();
                *squares += deviation.powi(2) * (aggregate.count - 1) as f64;
                *freedom += aggregate.count - 1;
            }
        }
        let spread = |(pool, (squares, freedom)): (Pooled, (f64, usize))| {
            let freedom = freedom as f64;
            let spread = Uncertainty { deviation: (squares / freedom).sqrt(), freedom };
            // Scores that no seed moves say nothing of what a seed does.
            (spread.deviation > 0.0).then_some((pool, spread))
        };
        Self(pools.into_iter().filter_map(spread).collect())
    }
}

/// Standard deviation that the draw of defects adds where few are left of rare, dear classes (independent classes, the
/// counts of Sewer-ML's validation split, the middle of what simulated detectors showed): F2_CIW only, since the other
/// scores hardly move by it.
fn sampling(measure: &Measure, validation: Share) -> f64 {
    const ADDED: [(Share, f64); 4] = [
        (Share::percent(1), 0.032),
        (Share::percent(2), 0.02),
        (Share::percent(5), 0.012),
        (Share::percent(15), 0.0065),
    ];
    if *measure != Metric::F2Oracle.into() {
        return 0.0;
    }
    ADDED.iter().find(|(share, _)| *share == validation).map_or(0.0, |(_, added)| *added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{cell::Axes, frame::FrameBuilder},
        backbone::Name::{ResNet18, ViTTiny},
        method::Name::{Mae, SimClr},
        study::Ablation,
    };

    const LOW: Scored = Axes::table_1(SimClr, ResNet18, Share::percent(1)).in_training();
    const HIGH: Scored = Axes::table_1(SimClr, ResNet18, Share::percent(45)).in_training();

    fn noise(rows: &[(Scored, &[f64])]) -> Noise {
        let mut builder = FrameBuilder::default();
        for (at, scores) in rows {
            for (seed, score) in (0..).zip(*scores) {
                builder.begin("small", *at, Some(seed));
                builder.number(Metric::F1, Some(*score));
            }
        }
        Noise::measured(&builder.frame())
    }

    fn f1() -> Measure {
        Metric::F1.into()
    }

    #[test]
    fn each_share_has_its_own_spread() {
        // By hand: variances 0.0002 (one degree) and 0.0018 (one degree) at 1 %: pooled 0.001; 0.00005 at 45 %.
        let vit = Axes::table_1(Mae, ViTTiny, Share::percent(1)).in_training();
        let noise = noise(&[(LOW, &[0.6, 0.62]), (vit, &[0.3, 0.36]), (HIGH, &[0.8, 0.81])]);
        let low = noise.of(&f1(), &LOW).unwrap();
        assert!((low.deviation - 0.001_f64.sqrt()).abs() < 1e-12);
        assert_eq!(low.freedom, 2.0);
        let high = noise.of(&f1(), &HIGH).unwrap();
        assert!((high.deviation - 0.00005_f64.sqrt()).abs() < 1e-12);
        assert_eq!(noise.of(&f1(), &LOW.on(Share::percent(5))), None, "another validation share");
        assert_eq!(noise.of(&Metric::Auroc.into(), &LOW), None, "another score");
    }

    #[test]
    fn contrasts_over_shares_follow_welch_and_satterthwaite() {
        // scipy 1.17.1, `stats.ttest_ind([0.6, 0.7, 0.65], [0.81, 0.82, 0.80, 0.83], equal_var=False)`: df
        // 2.2014; its standard error is sqrt(0.0025 / 3 + 0.000166667 / 4).
        let noise = noise(&[(LOW, &[0.6, 0.7, 0.65]), (HIGH, &[0.81, 0.82, 0.80, 0.83])]);
        let weigh = |weight, at, seeds| Weighed { weight, at, seeds };
        let error = noise.error(&f1(), &[weigh(1.0, LOW, 3), weigh(-1.0, HIGH, 4)]).unwrap();
        let (first, second) = (0.0025 / 3.0, 0.000_166_666_666_666_666_67 / 4.0);
        assert!((error.deviation - f64::sqrt(first + second)).abs() < 1e-12);
        let expected = (first + second).powi(2) / (first.powi(2) / 2.0 + second.powi(2) / 3.0);
        assert!((error.freedom - expected).abs() < 1e-9, "{error:?}, expected {expected}");
        // Cells of one pool share one deviation and all of its degrees: Student's test.
        let same = noise.error(&f1(), &[weigh(1.0, LOW, 3), weigh(-1.0, LOW, 3)]).unwrap();
        assert!(
            (same.freedom - 2.0).abs() < 1e-12 && (same.deviation - f64::sqrt(2.0 * first)).abs() < 1e-12
        );
        assert_eq!(noise.error(&f1(), &[]), None);
        assert_eq!(noise.error(&f1(), &[weigh(1.0, LOW.on(Share::percent(5)), 3)]), None);
    }

    #[test]
    fn a_study_without_repeated_seeds_takes_those_of_table_1() {
        let ablated = HIGH.cell.in_study(Study::Ablation(Ablation::ProbeUnderLars)).in_training();
        let once = noise(&[(HIGH, &[0.8, 0.81]), (ablated, &[0.5])]);
        assert_eq!(once.of(&f1(), &ablated), once.of(&f1(), &HIGH));
        let twice = noise(&[(HIGH, &[0.8, 0.81]), (ablated, &[0.5, 0.6])]);
        assert!((twice.of(&f1(), &ablated).unwrap().deviation - 0.005_f64.sqrt()).abs() < 1e-12);
        let side = HIGH.cell.in_study(Study::Table2 { side: 224 }).in_training();
        let natural = Scored { cell: Axes { share: Share::NATURAL, ..side.cell }, ..side };
        assert_eq!(once.of(&f1(), &natural), None, "Table 1 has no such share");
    }

    #[test]
    fn what_is_assumed_adds_the_draw_of_rare_defects() {
        let noise = Noise::assumed(0.005);
        assert_eq!(noise.of(&f1(), &LOW), Some(Uncertainty::known(0.005)));
        let rare = noise.of(&Metric::F2Oracle.into(), &LOW.on(Share::percent(1))).unwrap();
        assert!((rare.deviation - 0.005_f64.hypot(0.032)).abs() < 1e-15);
    }

    #[test]
    fn draws_have_the_deviation_of_means() {
        let noise = Noise::assumed(0.1);
        let means = [(LOW, 0.5, 4), (HIGH, 0.7, 1)];
        let mut stream = crate::seed::Seed::root(0).stream();
        let draws: Vec<Vec<f64>> =
            (0..4_000).map(|_| noise.redrawn(&f1(), &means, &mut stream).unwrap()).collect();
        // Within four standard errors of 4,000 draws.
        for (place, (middle, deviation)) in [(0.5, 0.05), (0.7, 0.1)].into_iter().enumerate() {
            let of: Vec<f64> = draws.iter().map(|draw| draw[place]).collect();
            let mean = super::super::intervals::mean(&of);
            assert!((mean - middle).abs() < 4.0 * deviation / 4_000_f64.sqrt(), "{mean}");
            let found = super::super::intervals::deviation(&of).unwrap();
            assert!((found / deviation - 1.0).abs() < 4.0 / 8_000_f64.sqrt(), "{found}");
        }
    }
}
