//! Noise: how much a score varies over seeds. The only place that turns the spread of seeds into a deviation.
//!
//! Claims, tables, rankings, figures and `diff` query it by score and by what is scored. The result is the standard
//! deviation of one seed's score with its degrees of freedom, or the standard error of a contrast between means of
//! several cells. Every cell has its own deviation, since cells do not spread alike: it combines the variance of its
//! own seeds with a prediction for its training share, method and backbone from the other cells with the same
//! classifier and validation share (`super::moderated`).
//!
//! Floors of random weights count as one more method. Floors of pixels and of given weights have no seed, hence no
//! variance. The variation due to other validation images is not included.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    Frame,
    cell::Scored,
    intervals::Uncertainty,
    measure::Measure,
    moderated::{Moderated, Sample, moderate},
};
use crate::{
    data::Share,
    results::{Classifier, Metric},
    seed::Stream,
};

/// Spread of scores over seeds.
pub struct Noise {
    source: Origin,
    /// Cache by score: claims query the same cells repeatedly.
    known: RefCell<BTreeMap<Measure, Rc<Spreads>>>,
}

enum Origin {
    /// A known deviation, the same for every score.
    Assumed(f64),
    /// Measured from records with several seeds.
    Measured(Frame),
}

/// One cell of a contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// Weight of its mean in the contrast.
    pub weight: f64,
    /// What is scored.
    pub scored: Scored,
    /// Number of seeds in its mean.
    pub seeds: usize,
}

/// Cells that are moderated together: one classifier on one validation share.
type Group = (Classifier, Share);
/// Variances of a group.
type Deviations = BTreeMap<Scored, Moderated>;

/// Deviations of everything that one measure scores.
struct Spreads {
    /// Sum of squares around the mean of each cell's seeds, and its degrees of freedom.
    cells: BTreeMap<Scored, (f64, f64)>,
    groups: BTreeMap<Group, Vec<Scored>>,
    /// Cache of the groups queried so far: each needs as many fits as it has cells.
    known: RefCell<BTreeMap<Group, Rc<Deviations>>>,
}

/// Means, each with its uncertainty and number of seeds.
pub struct Redraw(Vec<(Uncertainty, f64, usize)>);

impl Redraw {
    /// Draws the means that new seeds could give: each is moved by its error, and its deviation is drawn too, since
    /// it is uncertain itself.
    pub fn draw(&self, stream: &mut Stream) -> Vec<f64> {
        self.0.iter().map(|(spread, mean, seeds)| spread.draw_mean(*mean, *seeds, stream)).collect()
    }
}

impl Noise {
    /// Measures noise on records: variances around the mean of each cell in its setting.
    pub fn measured(frame: &Frame) -> Self {
        Self { source: Origin::Measured(frame.clone()), known: RefCell::default() }
    }

    /// Assumes a known deviation, the same for every score: for numbers without seeds.
    pub fn assumed(deviation: f64) -> Self {
        Self { source: Origin::Assumed(deviation), known: RefCell::default() }
    }

    /// Whether the deviation was assumed rather than measured.
    pub fn is_assumed(&self) -> bool {
        matches!(self.source, Origin::Assumed(_))
    }

    /// Returns the standard deviation of one seed's score with its degrees of freedom; `None` if the spread is
    /// unknown.
    pub fn seed_spread(&self, measure: &Measure, at: &Scored) -> Option<Uncertainty> {
        self.standard_error(measure, &[Weighed { weight: 1.0, scored: *at, seeds: 1 }])
    }

    /// Returns the standard error of a weighted sum of means; `None` if the spread of one of them is unknown.
    ///
    /// Each cell has a variance s^2, with d degrees of freedom from its own seeds and o from other cells, a weight w,
    /// and n seeds. With c = w^2 / n, the squared error is V = sum of c s^2. Its degrees of freedom are 2 V^2 divided
    /// by the sum of two terms: the sum of (c s^2)^2 2 d / (o + d)^2, since errors from own seeds are independent and
    /// add as squares (Welch 1947, Satterthwaite 1946), and the square of the sum of c s^2 sqrt(2 o) / (o + d), since
    /// errors of predictions from other cells are shared and add linearly.
    pub fn standard_error(&self, measure: &Measure, terms: &[Weighed]) -> Option<Uncertainty> {
        let spreads = self.spreads(measure);
        let (mut variance, mut alone, mut together) = (0.0, 0.0, 0.0);
        for term in terms {
            let share = term.weight.powi(2) / term.seeds as f64;
            let Some(found) = self.moderated(spreads.as_deref(), measure, &term.scored)? else { continue };
            let part = share * found.variance;
            variance += part;
            let total = found.own + found.others;
            if total.is_finite() {
                alone += (part / total).powi(2) * 2.0 * found.own;
                together += part / total * (2.0 * found.others).sqrt();
            }
        }
        let uncertain = alone + together.powi(2);
        let freedom = if uncertain > 0.0 { 2.0 * variance.powi(2) / uncertain } else { f64::INFINITY };
        (!terms.is_empty()).then(|| Uncertainty { deviation: variance.sqrt(), freedom })
    }

    /// Prepares means for repeated draws; `None` if the spread of one of them is unknown.
    pub fn redraw(&self, measure: &Measure, means: &[(Scored, f64, usize)]) -> Option<Redraw> {
        let known =
            |(at, mean, seeds): &(Scored, f64, usize)| Some((self.seed_spread(measure, at)?, *mean, *seeds));
        means.iter().map(known).collect::<Option<_>>().map(Redraw)
    }

    /// Deviations of a measure, computed once; `None` if they are assumed.
    fn spreads(&self, measure: &Measure) -> Option<Rc<Spreads>> {
        let Origin::Measured(frame) = &self.source else { return None };
        if let Some(known) = self.known.borrow().get(measure) {
            return Some(known.clone());
        }
        let spreads = Rc::new(Spreads::of(frame, measure));
        self.known.borrow_mut().insert(measure.clone(), spreads.clone());
        Some(spreads)
    }

    /// Variance of one seed's score: `None` if unknown, `Some(None)` if seeds do not matter, as for pixels.
    fn moderated(
        &self,
        spreads: Option<&Spreads>,
        measure: &Measure,
        at: &Scored,
    ) -> Option<Option<Moderated>> {
        match (&self.source, spreads) {
            (Origin::Assumed(deviation), _) => {
                let variance = deviation.hypot(sampling(measure, at.validation)).powi(2);
                Some(Some(Moderated { variance, own: f64::INFINITY, others: 0.0 }))
            }
            _ if at.cell.study.is_without_seeds() => Some(None),
            (Origin::Measured(_), spreads) => Some(Some(spreads?.of_one(at)?)),
        }
    }
}

impl Spreads {
    fn of(frame: &Frame, measure: &Measure) -> Self {
        let mut cells: BTreeMap<Scored, (f64, f64)> = BTreeMap::new();
        for summary in frame.summaries(std::slice::from_ref(measure)) {
            let [aggregate] = summary.aggregates[..] else { continue };
            if aggregate.count > 0 && !summary.scored.cell.study.is_without_seeds() {
                let (squares, freedom) = cells.entry(summary.scored).or_default();
                let own = (aggregate.count - 1) as f64;
                *squares += aggregate.deviation.unwrap_or_default().powi(2) * own;
                *freedom += own;
            }
        }
        let mut groups: BTreeMap<Group, Vec<Scored>> = BTreeMap::new();
        for at in cells.keys() {
            groups.entry(group(at)).or_default().push(*at);
        }
        Self { cells, groups, known: RefCell::default() }
    }

    /// Variance of what is scored; `None` if unknown.
    fn of_one(&self, at: &Scored) -> Option<Moderated> {
        let group = group(at);
        if let Some(known) = self.known.borrow().get(&group) {
            return known.get(at).copied();
        }
        let members = self.groups.get(&group)?;
        let found = moderate(&samples(members, &self.cells));
        let found: Deviations =
            members.iter().zip(found).filter_map(|(at, found)| Some((*at, found?))).collect();
        let one = found.get(at).copied();
        self.known.borrow_mut().insert(group, Rc::new(found));
        one
    }
}

fn group(at: &Scored) -> Group {
    (trained(at.classifier), at.validation)
}

/// The ablation's classifier is scored on other images, but trained like the classifier in training.
fn trained(classifier: Classifier) -> Classifier {
    match classifier {
        Classifier::InTrainingAugmented => Classifier::InTraining,
        other => other,
    }
}

/// Sample variances with the levels that they may depend on: training share, method, backbone.
fn samples(group: &[Scored], cells: &BTreeMap<Scored, (f64, f64)>) -> Vec<Sample> {
    let axis = |of: fn(&Scored) -> String| -> Vec<usize> {
        let own: Vec<String> = group.iter().map(of).collect();
        let names: BTreeSet<&String> = own.iter().collect();
        let number: BTreeMap<&String, usize> = names.into_iter().zip(0..).collect();
        own.iter().map(|name| number[name]).collect()
    };
    let shares = axis(|at| at.cell.share.to_string());
    let methods = axis(|at| at.cell.method_id().to_owned());
    let backbones = axis(|at| at.cell.backbone_id().to_owned());
    let one = |(place, at): (usize, &Scored)| {
        let (squares, freedom) = cells[at];
        let variance = if freedom > 0.0 { squares / freedom } else { 0.0 };
        Sample { levels: [shares[place], methods[place], backbones[place]], variance, freedom }
    };
    group.iter().enumerate().map(one).collect()
}

/// Standard deviation due to drawing defects when few of the rare, costly classes remain in a validation subset.
///
/// Only for F2_CIW, since the draw hardly changes the other scores. From simulated detectors (the middle of their
/// range), assuming independent classes with the counts of Sewer-ML's validation split.
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
        method::Name::{Byol, Dino, Mae, SimClr},
        study::{Ablation, Study},
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
    fn a_cell_has_its_own_seeds_and_what_others_let_expect() {
        // By hand: the variance of 0.6 and 0.62 is 0.0002, with one degree of freedom.
        let alone = noise(&[(LOW, &[0.6, 0.62])]);
        let low = alone.seed_spread(&f1(), &LOW).unwrap();
        assert!((low.deviation - 0.0002_f64.sqrt()).abs() < 1e-12);
        assert_eq!(low.freedom, 1.0);
        assert_eq!(alone.seed_spread(&f1(), &LOW.on(Share::percent(5))), None, "another validation share");
        assert_eq!(alone.seed_spread(&Metric::Auroc.into(), &LOW), None, "another score");

        let vit = Axes::table_1(Mae, ViTTiny, Share::percent(1)).in_training();
        let among = noise(&[(LOW, &[0.6, 0.62]), (vit, &[0.3, 0.36]), (HIGH, &[0.8, 0.81])]);
        let [low, wide] = [LOW, vit].map(|at| among.seed_spread(&f1(), &at).unwrap());
        assert!(low.freedom > 1.0 && low.deviation > 0.0002_f64.sqrt(), "drawn up: {low:?}");
        assert!(wide.freedom > 1.0 && wide.deviation < 0.0018_f64.sqrt(), "drawn down: {wide:?}");
        assert!(low.deviation < wide.deviation);
    }

    #[test]
    fn contrasts_of_cells_that_expect_nothing_of_one_another_follow_welch_and_satterthwaite() {
        // scipy 1.17.1, `stats.ttest_ind([0.6, 0.7, 0.65], [0.81, 0.82, 0.80, 0.83], equal_var=False)`: df 2.2014;
        // its standard error is sqrt(0.0025 / 3 + 0.000166667 / 4). Scores at two validation shares are moderated
        // separately, and here each share has one cell.
        let high = HIGH.on(Share::percent(5));
        let noise = noise(&[(LOW, &[0.6, 0.7, 0.65]), (high, &[0.81, 0.82, 0.80, 0.83])]);
        let weigh = |weight, at, seeds| Weighed { weight, scored: at, seeds };
        let error = noise.standard_error(&f1(), &[weigh(1.0, LOW, 3), weigh(-1.0, high, 4)]).unwrap();
        let (first, second) = (0.0025 / 3.0, 0.000_166_666_666_666_666_67 / 4.0);
        assert!((error.deviation - f64::sqrt(first + second)).abs() < 1e-12);
        let expected = (first + second).powi(2) / (first.powi(2) / 2.0 + second.powi(2) / 3.0);
        assert!((error.freedom - expected).abs() < 1e-9, "{error:?}, expected {expected}");
        assert_eq!(noise.standard_error(&f1(), &[]), None);
        assert_eq!(noise.standard_error(&f1(), &[weigh(1.0, LOW.on(Share::percent(5)), 3)]), None);
    }

    #[test]
    fn what_cells_expect_of_one_another_counts_once() {
        // Many cells without repeated seeds have no more information than the one prediction that they share.
        let mut rows: Vec<(Scored, &[f64])> = vec![(LOW, &[0.6, 0.7, 0.65]), (HIGH, &[0.8, 0.9, 0.86])];
        let others =
            [Mae, Byol, Dino].map(|method| Axes::table_1(method, ViTTiny, Share::percent(5)).in_training());
        rows.extend(others.map(|at| (at, &[0.5][..])));
        let noise = noise(&rows);
        let one = noise.seed_spread(&f1(), &others[0]).unwrap();
        let terms = others.map(|at| Weighed { weight: 1.0 / 3.0, scored: at, seeds: 1 });
        let mean = noise.standard_error(&f1(), &terms).unwrap();
        assert!((mean.freedom - one.freedom).abs() < 1e-9, "{mean:?}, one has {one:?}");
        assert!((mean.deviation - one.deviation / 3_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_study_without_repeated_seeds_takes_what_others_let_expect() {
        let ablated = HIGH.cell.in_study(Study::Ablation(Ablation::ProbeUnderLars)).in_training();
        let once = noise(&[(HIGH, &[0.8, 0.81]), (ablated, &[0.5])]);
        let [own, taken] = [HIGH, ablated].map(|at| once.seed_spread(&f1(), &at).unwrap());
        assert!((own.deviation - taken.deviation).abs() < 1e-9, "{own:?} {taken:?}");
        let augmented = Scored { classifier: Classifier::InTrainingAugmented, ..ablated };
        let scored = noise(&[(HIGH, &[0.8, 0.81]), (augmented, &[0.5])]);
        assert!(scored.seed_spread(&f1(), &augmented).is_some(), "trained as the classifier in training is");
        let converged = ablated.cell.converged();
        assert_eq!(once.seed_spread(&f1(), &converged), None, "another classifier");
    }

    #[test]
    fn no_seed_moves_pixels() {
        let pixels = Axes { study: Study::Pixels, method: None, backbone: None, ..LOW.cell }.converged();
        let noise = noise(&[(LOW.cell.converged(), &[0.6, 0.62]), (pixels, &[0.4])]);
        assert_eq!(noise.seed_spread(&f1(), &pixels), Some(Uncertainty::known(0.0)));
        let terms = [(1.0, LOW.cell.converged(), 2), (-1.0, pixels, 1)];
        let error = noise
            .standard_error(&f1(), &terms.map(|(weight, at, seeds)| Weighed { weight, scored: at, seeds }))
            .unwrap();
        assert!((error.deviation - 0.01).abs() < 1e-12, "{error:?}");
    }

    #[test]
    fn what_is_assumed_adds_the_draw_of_rare_defects() {
        let noise = Noise::assumed(0.005);
        assert_eq!(noise.seed_spread(&f1(), &LOW), Some(Uncertainty::known(0.005)));
        let rare = noise.seed_spread(&Metric::F2Oracle.into(), &LOW.on(Share::percent(1))).unwrap();
        assert!((rare.deviation - 0.005_f64.hypot(0.032)).abs() < 1e-15);
        // The fewer defects are drawn, the larger the deviation; all validation images, or half of them, add nothing.
        let at = |percent| {
            noise.seed_spread(&Metric::F2Oracle.into(), &LOW.on(Share::percent(percent))).unwrap().deviation
        };
        let found = [1, 2, 5, 15, 45].map(at);
        assert!(found.is_sorted_by(|rarer, next| rarer > next), "{found:?}");
        assert_eq!(
            (found[4], noise.seed_spread(&Metric::F2Oracle.into(), &LOW).unwrap().deviation),
            (0.005, 0.005)
        );
    }

    #[test]
    fn draws_have_the_deviation_of_means() {
        let means = Noise::assumed(0.1).redraw(&f1(), &[(LOW, 0.5, 4), (HIGH, 0.7, 1)]).unwrap();
        let mut stream = crate::seed::Seed::root(0).stream();
        let draws: Vec<Vec<f64>> = (0..4_000).map(|_| means.draw(&mut stream)).collect();
        // Within four standard errors over 4,000 draws.
        for (place, (middle, deviation)) in [(0.5, 0.05), (0.7, 0.1)].into_iter().enumerate() {
            let of: Vec<f64> = draws.iter().map(|draw| draw[place]).collect();
            let mean = super::super::intervals::mean(&of);
            assert!((mean - middle).abs() < 4.0 * deviation / 4_000_f64.sqrt(), "{mean}");
            let found = super::super::intervals::deviation(&of).unwrap();
            assert!((found / deviation - 1.0).abs() < 4.0 / 8_000_f64.sqrt(), "{found}");
        }
    }

    /// Deviations that the draw of rare classes adds, by validation share.
    #[test]
    fn the_draw_of_rare_defects_has_these_deviations() {
        let oracle: Measure = Metric::F2Oracle.into();
        let found = [1, 2, 5, 15, 45].map(|percent| sampling(&oracle, Share::percent(percent)));
        assert_eq!(found, [0.032, 0.02, 0.012, 0.0065, 0.0]);
        assert_eq!(sampling(&oracle, Share::NATURAL), 0.0);
        assert_eq!(sampling(&Metric::F2Multilabel.into(), Share::percent(1)), 0.0);
        assert!(Noise::assumed(0.1).is_assumed() && !noise(&[(LOW, &[0.6, 0.62])]).is_assumed());
    }

    /// The same cell in two settings has a mean in each: variances 0.02 and 0.0002 with one degree each.
    #[test]
    fn seeds_stray_from_the_mean_of_their_own_setting() {
        let mut builder = FrameBuilder::default();
        for (setting, scores) in [("small", [0.6, 0.8]), ("full", [0.3, 0.32])] {
            for (seed, score) in (0..).zip(scores) {
                builder.begin(setting, LOW, Some(seed));
                builder.number(Metric::F1, Some(score));
            }
        }
        let found = Noise::measured(&builder.frame()).seed_spread(&f1(), &LOW).unwrap();
        assert!((found.deviation - 0.0101_f64.sqrt()).abs() < 1e-12, "{found:?}");
        assert_eq!(found.freedom, 2.0);
    }

    /// Known deviations by hand: 9 / 4 + 4 / 2 with weights 3 and -2.
    #[test]
    fn weights_and_seeds_of_a_contrast_are_its_own() {
        let noise = Noise::assumed(0.1);
        let weigh = |weight, at, seeds| Weighed { weight, scored: at, seeds };
        let error = noise.standard_error(&f1(), &[weigh(3.0, LOW, 4), weigh(-2.0, HIGH, 2)]).unwrap();
        assert!((error.deviation - 0.1 * 4.25_f64.sqrt()).abs() < 1e-12, "{error:?}");
        assert_eq!(error.freedom, f64::INFINITY);
    }

    /// What the others let expect of a cell depends on its training share, its method and its backbone, each by itself:
    /// here seeds move the cells of one level ten times as far as those of the other.
    #[test]
    fn a_cell_without_repeated_seeds_spreads_as_its_own_levels_do() {
        let cell = |bits: usize| {
            let share = [1, 45].map(Share::percent)[bits >> 2 & 1];
            Axes::table_1([SimClr, Byol][bits & 1], [ResNet18, ViTTiny][bits >> 1 & 1], share)
        };
        let alone = |bits: usize| cell(bits).in_study(Study::SizeMatched).in_training();
        for axis in 0..3 {
            let mut builder = FrameBuilder::default();
            for bits in 0..8 {
                let spread = if bits >> axis & 1 == 1 { 0.1 } else { 0.01 };
                for (seed, side) in (0..).zip([-1.0, 0.0, 1.0]) {
                    builder.begin("x", cell(bits).in_training(), Some(seed));
                    builder.number(Metric::F1, Some(0.5 + side * spread));
                }
                builder.begin("x", alone(bits), Some(0));
                builder.number(Metric::F1, Some(0.5));
            }
            let noise = Noise::measured(&builder.frame());
            let deviation = |bits: usize| noise.seed_spread(&f1(), &alone(bits)).unwrap().deviation;
            for other in 0..3 {
                let ratio = deviation(1 << other) / deviation(0);
                let is_as_expected = if other == axis { ratio > 2.0 } else { (ratio - 1.0).abs() < 0.05 };
                assert!(is_as_expected, "levels of {axis} spread apart, those of {other} by {ratio}");
            }
        }
    }

    /// Degrees of freedom by the formula of [`Noise::standard_error`], with what is known of each cell alone.
    #[test]
    fn errors_of_own_seeds_add_as_squares_and_those_of_predictions_linearly() {
        let vit = Axes::table_1(Mae, ViTTiny, Share::percent(1)).in_training();
        let noise =
            noise(&[(LOW, &[0.6, 0.62]), (vit, &[0.3, 0.36, 0.31]), (HIGH, &[0.8, 0.81, 0.84, 0.79])]);
        let terms = [(LOW, 1.0, 2_i32), (vit, -2.0, 3), (HIGH, 0.5, 4)];
        let (mut variance, mut alone, mut together) = (0.0, 0.0, 0.0);
        for (at, weight, seeds) in terms {
            let spread = noise.seed_spread(&f1(), &at).unwrap();
            let own = f64::from(seeds - 1);
            let others = spread.freedom - own;
            assert!(others > 0.1, "{spread:?}");
            let part = f64::powi(weight, 2) / f64::from(seeds) * spread.deviation.powi(2);
            variance += part;
            alone += part.powi(2) * 2.0 * own / spread.freedom.powi(2);
            together += part * (2.0 * others).sqrt() / spread.freedom;
        }
        let weighed = terms.map(|(scored, weight, seeds)| Weighed {
            weight,
            scored,
            seeds: seeds.unsigned_abs() as usize,
        });
        let found = noise.standard_error(&f1(), &weighed).unwrap();
        let expected = 2.0 * variance.powi(2) / (alone + together.powi(2));
        assert!((found.deviation - variance.sqrt()).abs() < 1e-12, "{found:?}");
        assert!((found.freedom / expected - 1.0).abs() < 1e-9, "{found:?}, expected {expected}");
    }
}
