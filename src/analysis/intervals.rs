//! Intervals: how far an estimate might be from the true value.
//!
//! There are two separate sources of uncertainty. Another *seed* would give another model. With the one to five seeds
//! that are usually trained, resampling seeds gives intervals that are too narrow (three values have ten different
//! resamples), so these intervals are Student's, with a deviation and its degrees of freedom ([`Uncertainty`]) from
//! [`super::noise`]. Other *test images* would give another score. There are many of them, so they are resampled
//! ([`interval_over_images`]), normals and defects separately, and with the same resamples for every model, which pairs
//! the models. Independent of tables.

use std::collections::BTreeMap;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use crate::seed::{Seed, Stream};

/// Coverage of the intervals: the fraction of repeated studies in which an interval contains the true value.
pub const LEVEL: f64 = 0.95;

/// One-sided probability that a normal variable exceeds three standard deviations.
pub const THREE_DEVIATIONS: f64 = 0.001_349_898_031_630_095;

/// An estimate and its interval at [`LEVEL`]; the ends are infinite if the spread is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A standard deviation and how precisely it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertainty {
    /// At least 0.
    pub deviation: f64,
    /// Degrees of freedom; infinite if the deviation is known exactly.
    pub freedom: f64,
}

impl Interval {
    /// Returns an estimate with unknown spread: both ends are infinite.
    pub fn unknown(estimate: f64) -> Self {
        Self { estimate, low: f64::NEG_INFINITY, high: f64::INFINITY }
    }
}

impl Uncertainty {
    /// Pools the deviation of values around the mean of their own group; `None` if no group has two values.
    pub fn pooled<'a>(groups: impl IntoIterator<Item = &'a [f64]>) -> Option<Self> {
        let (mut squares, mut freedom) = (0.0, 0.0);
        for group in groups {
            let middle = mean(group);
            squares += group.iter().map(|value| (value - middle).powi(2)).sum::<f64>();
            freedom += group.len().saturating_sub(1) as f64;
        }
        (freedom > 0.0).then(|| Self { deviation: (squares / freedom).sqrt(), freedom })
    }

    /// A deviation that is known exactly.
    pub fn known(deviation: f64) -> Self {
        Self { deviation, freedom: f64::INFINITY }
    }

    /// Returns the interval of a mean of `count` values.
    pub fn interval_of_mean(&self, estimate: f64, count: usize) -> Interval {
        self.wide(estimate, self.deviation / (count as f64).sqrt(), LEVEL)
    }

    /// Returns the distance from 0 that a value with this deviation exceeds with probability `tail` on each side
    /// (Student's quantile).
    pub fn tail_quantile(&self, tail: f64) -> f64 {
        self.deviation * student(self.freedom).inverse_cdf(1.0 - tail)
    }

    /// Draws the ratio of the true deviation to the estimated one; 1 if the deviation is known.
    pub fn drawn_scale(&self, stream: &mut Stream) -> f64 {
        if self.freedom.is_finite() {
            (self.freedom / chi_square(self.freedom.round().max(1.0), || stream.normal())).sqrt()
        } else {
            1.0
        }
    }

    /// Draws the mean of `count` new values; the deviation is drawn too, since it is uncertain itself.
    pub fn draw_mean(&self, mean: f64, count: usize, stream: &mut Stream) -> f64 {
        let scale = self.drawn_scale(stream);
        mean + scale * self.deviation / (count as f64).sqrt() * stream.normal()
    }

    /// Returns the two-sided p-value of an estimate with this standard error if the true value were 0.
    pub fn p_value(&self, estimate: f64, error: f64) -> f64 {
        if error == 0.0 {
            return if estimate == 0.0 { 1.0 } else { 0.0 };
        }
        2.0 * (1.0 - student(self.freedom).cdf((estimate / error).abs()))
    }

    fn wide(&self, estimate: f64, error: f64, level: f64) -> Interval {
        let half = error * student(self.freedom).inverse_cdf(0.5 + level / 2.0);
        Interval { estimate, low: estimate - half, high: estimate + half }
    }
}

/// Draws from chi-square using standard normal draws: a sum of squares, or the cube of Wilson and Hilferty (1931)
/// above a hundred degrees of freedom.
fn chi_square(freedom: f64, mut normal: impl FnMut() -> f64) -> f64 {
    if freedom <= 100.0 {
        return (0..freedom as usize).map(|_| normal().powi(2)).sum();
    }
    let ninth = 2.0 / (9.0 * freedom);
    freedom * (1.0 - ninth + normal() * ninth.sqrt()).powi(3)
}

/// Returns the mean over seeds with its interval; the ends are infinite if the spread is unknown.
pub fn interval_over_seeds(values: &[f64], spread: Option<Uncertainty>) -> Interval {
    match spread {
        Some(spread) => spread.interval_of_mean(mean(values), values.len()),
        None => Interval::unknown(mean(values)),
    }
}

/// Returns the interval of a proportion, `found` of `all`: Wilson's score interval ("Probable inference, the law of
/// succession, and statistical inference", 1927). `found` may be a mean over models of the same images.
pub fn proportion_interval(found: f64, all: f64) -> Interval {
    let beyond = Normal::standard().inverse_cdf(0.5 + LEVEL / 2.0);
    let (part, square) = (found / all, beyond.powi(2));
    let middle = (part + square / (2.0 * all)) / (1.0 + square / all);
    let half =
        beyond / (1.0 + square / all) * (part * (1.0 - part) / all + square / (4.0 * all * all)).sqrt();
    Interval { estimate: part, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

/// Returns the interval of a statistic over test images, from percentiles over resamples.
///
/// Each resample draws normals and defects separately, as many of each as there are. `statistic` receives positions,
/// with repetitions; whatever it compares on them is paired. If images belong to `groups`, whole groups are drawn:
/// groups with a defect separately from groups without. The same seed gives the same resamples, whatever the
/// statistic.
pub fn interval_over_images(
    defects: &[bool],
    groups: Option<&[u32]>,
    rounds: usize,
    seed: Seed,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Interval {
    let mut units: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for place in 0..defects.len() {
        units.entry(groups.map_or(place as u32, |groups| groups[place])).or_default().push(place);
    }
    let units_of = |wanted: bool| -> Vec<&Vec<usize>> {
        units.values().filter(|unit| unit.iter().any(|&place| defects[place]) == wanted).collect()
    };
    let classes = [units_of(false), units_of(true)];
    let all: Vec<usize> = classes.iter().flatten().flat_map(|unit| unit.iter().copied()).collect();
    let estimate = statistic(&all);
    let mut values = Vec::with_capacity(rounds);
    let mut drawn = Vec::with_capacity(all.len());
    for round in 0..rounds {
        let mut stream = seed.child("images").index(round).stream();
        drawn.clear();
        for class in &classes {
            drawn.extend((0..class.len()).flat_map(|_| class[stream.below(class.len())]));
        }
        values.push(statistic(&drawn));
    }
    values.sort_by(f64::total_cmp);
    let [low, high] = [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|part| quantile(&values, part));
    Interval { estimate, low, high }
}

/// Returns the mean; NaN without values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the sample standard deviation; `None` with fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    Uncertainty::pooled([values]).map(|spread| spread.deviation)
}

/// Returns the value below which a fraction `part` of the ascending values lies, interpolated linearly; NaN without
/// values.
pub fn quantile(ascending: &[f64], part: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let (low, high) = (ascending[place.floor() as usize], ascending[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn student(freedom: f64) -> StudentsT {
    // Beyond this the distribution is normal to within rounding, and the library's quantile needs a finite number.
    StudentsT::new(0.0, 1.0, freedom.min(1e6)).expect("freedom is positive")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    // scipy 1.17.1: `stats.t.interval(0.95, 2, mean, sem)`, `stats.ttest_ind(a, b)` and its confidence_interval.
    const FIRST: [f64; 3] = [0.71, 0.74, 0.69];
    const SECOND: [f64; 4] = [0.66, 0.70, 0.75, 0.64];

    #[test]
    fn seeds_agree_with_scipy() {
        let interval = interval_over_seeds(&FIRST, Uncertainty::pooled([&FIRST[..]]));
        close(interval.low, 0.6508172385395754);
        close(interval.high, 0.7758494281270911);
        let spread = Uncertainty::pooled([&FIRST[..], &SECOND]).unwrap();
        let error = spread.deviation * (1.0 / 3.0 + 1.0 / 4.0_f64).sqrt();
        let difference =
            Uncertainty { deviation: error, ..spread }.interval_of_mean(mean(&FIRST) - mean(&SECOND), 1);
        close(difference.estimate, 2.14 / 3.0 - 0.6875);
        close(difference.low, -0.05435870358494624);
        close(difference.high, 0.10602537025161277);
        close(spread.p_value(difference.estimate, error), 0.4453298349373915);
    }

    #[test]
    fn parts_agree_with_scipy() {
        // scipy 1.17.1, `binomtest(8, 10).proportion_ci(method="wilson")` and of 0 of 5.
        let interval = proportion_interval(8.0, 10.0);
        close(interval.low, 0.4901624715366418);
        close(interval.high, 0.9433178485456248);
        let none = proportion_interval(0.0, 5.0);
        close(none.low, 0.0);
        close(none.high, 0.43448246478317476);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        // numpy.quantile([1, 2, 4, 8], [0.25, 0.5, 0.75]), its default method.
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.25, 0.5, 0.75].map(|part| quantile(&values, part)), [1.75, 3.0, 5.0]);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(deviation(&[3.0]), None);
    }

    #[test]
    fn tails_agree_with_scipy() {
        // scipy 1.16, `t.isf(norm.sf(3), degrees)`: the quantile whose tail equals that of a normal variable at 3.
        for (freedom, expected) in
            [(1.0, 235.801), (2.0, 19.207), (5.0, 5.507), (22.0, 3.380), (120.0, 3.064)]
        {
            let found = Uncertainty { deviation: 1.0, freedom }.tail_quantile(THREE_DEVIATIONS);
            assert!((found / expected - 1.0).abs() < 1e-3, "{freedom}: {found}, expected {expected}");
        }
    }

    #[test]
    fn one_seed_says_nothing_unless_others_do() {
        assert_eq!(interval_over_seeds(&[0.7], None).high, f64::INFINITY);
        let known = interval_over_seeds(&[0.7], Some(Uncertainty::known(0.01)));
        // 1.96 standard deviations.
        assert!((known.high - 0.7196).abs() < 1e-4, "{known:?}");
    }

    #[test]
    fn chi_square_has_its_mean_and_variance() {
        // Mean f and variance 2 f with either way of drawing; over 20,000 draws the mean is within 4 standard errors.
        for freedom in [100.0, 101.0] {
            let mut stream = Seed::root(3).stream();
            let draws: Vec<f64> = (0..20_000).map(|_| chi_square(freedom, || stream.normal())).collect();
            let middle = mean(&draws);
            let variance = draws.iter().map(|draw| (draw - middle).powi(2)).sum::<f64>() / draws.len() as f64;
            assert!(
                (middle - freedom).abs() < 4.0 * (2.0 * freedom / 20_000.0).sqrt(),
                "{freedom}: mean {middle}"
            );
            assert!((variance / (2.0 * freedom) - 1.0).abs() < 0.04, "{freedom}: variance {variance}");
        }
    }

    #[test]
    fn images_are_resampled_within_their_class_and_alike_for_all() {
        let defects: Vec<bool> = (0..300).map(|place| place % 3 == 0).collect();
        let share = |drawn: &[usize]| drawn.iter().filter(|&&place| defects[place]).count() as f64 / 300.0;
        let interval = interval_over_images(&defects, None, 50, Seed::root(0), share);
        assert_eq!((interval.low, interval.high), (interval.estimate, interval.estimate));

        // A model compared with itself has no uncertainty. If half of its images are right, the deviation is binomial:
        // 1 / sqrt(4 n).
        let right = |drawn: &[usize]| drawn.iter().filter(|&&place| place % 2 == 0).count() as f64 / 300.0;
        let same =
            interval_over_images(&defects, None, 200, Seed::root(0), |drawn| right(drawn) - right(drawn));
        assert_eq!((same.low, same.high), (0.0, 0.0));
        let interval = interval_over_images(&defects, None, 2_000, Seed::root(0), right);
        let half = (interval.high - interval.low) / 2.0;
        assert!((half / 1.96 - 0.5 / 300_f64.sqrt()).abs() < 0.002, "{interval:?}");
        assert_eq!(interval, interval_over_images(&defects, None, 2_000, Seed::root(0), right), "repeated");
    }

    #[test]
    fn groups_are_drawn_whole() {
        // 30 groups of 10 images that are all right or all wrong are as much evidence as 30 images.
        let defects = [false; 300];
        let groups: Vec<u32> = (0..300).map(|place| place / 10).collect();
        let right = |drawn: &[usize]| {
            drawn.iter().filter(|&&place| groups[place].is_multiple_of(2)).count() as f64 / drawn.len() as f64
        };
        let interval = interval_over_images(&defects, Some(&groups), 2_000, Seed::root(0), right);
        let half = (interval.high - interval.low) / 2.0;
        assert!((half / 1.96 - 0.5 / 30_f64.sqrt()).abs() < 0.01, "{interval:?}");
    }

    /// A group with any defect is only exchanged for groups with a defect.
    #[test]
    fn a_group_with_any_defect_is_drawn_among_defects() {
        // Ten groups of a defect and a normal image, ten of two normal images: a quarter of every draw are defects.
        let defects: Vec<bool> = (0..40).map(|place| place < 20 && place % 2 == 0).collect();
        let groups: Vec<u32> = (0..40).map(|place| place / 2).collect();
        let share = |drawn: &[usize]| {
            drawn.iter().filter(|&&place| defects[place]).count() as f64 / drawn.len() as f64
        };
        let found = interval_over_images(&defects, Some(&groups), 50, Seed::root(0), share);
        assert_eq!((found.low, found.estimate, found.high), (0.25, 0.25, 0.25));
    }

    /// Over many studies, intervals from few seeds cover the true value as often as they claim.
    #[test]
    fn intervals_of_few_seeds_cover() {
        for seeds in [2, 3, 5] {
            let mut stream = Seed::root(seeds as u64).stream();
            let studies = 4_000;
            let held = (0..studies).filter(|_| {
                let values: Vec<f64> = (0..seeds).map(|_| stream.normal()).collect();
                let interval = interval_over_seeds(&values, Uncertainty::pooled([values.as_slice()]));
                interval.low < 0.0 && interval.high > 0.0
            });
            let part = held.count() as f64 / f64::from(studies);
            assert!((part - LEVEL).abs() < 0.015, "{seeds} seeds: {part}");
        }
    }

    /// Without any spread, a difference is certain and no difference is none.
    #[test]
    fn what_has_no_error_is_sure() {
        let spread = Uncertainty { deviation: 0.0, freedom: 3.0 };
        assert_eq!([0.0, 0.1, -0.1].map(|estimate| spread.p_value(estimate, 0.0)), [1.0, 0.0, 0.0]);
    }

    /// Scales are drawn with a whole number of degrees of freedom, at least one: medians of 2.6 degrees over those of
    /// chi-square with three (2.366), and of 0.3 over one degree (0.4549); scipy 1.17.1, `chi2.median`.
    #[test]
    fn scales_are_drawn_with_the_nearest_whole_freedom() {
        for (freedom, median) in [(2.6, 2.365_974), (0.3, 0.454_936)] {
            let mut stream = Seed::root(11).stream();
            let spread = Uncertainty { deviation: 1.0, freedom };
            let mut squares: Vec<f64> = (0..8_001).map(|_| spread.drawn_scale(&mut stream).powi(2)).collect();
            squares.sort_by(f64::total_cmp);
            let expected = freedom / median;
            assert!(squares.iter().all(|square| square.is_finite()), "{freedom}");
            assert!(
                (squares[4_000] / expected - 1.0).abs() < 0.08,
                "{freedom}: {} {expected}",
                squares[4_000]
            );
        }
        let mut stream = Seed::root(11).stream();
        assert_eq!(Uncertainty::known(0.5).drawn_scale(&mut stream), 1.0);
    }
}
