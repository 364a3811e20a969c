//! Derives verdicts from comparisons, using exactly the numbers that are printed, so that a verdict never contradicts
//! its intervals.
//!
//! A claim makes several comparisons. "All are above 0" needs no correction: each must pass at 97.5 %, one-sided. "One
//! is below 0" does: with n comparisons, the end on that side has Bonferroni's correction, which for the question "is
//! there any" is the same as Holm's procedure. "All lie within the margin" is two one-sided tests each (Schuirmann
//! 1987), and again needs no correction.

use super::{
    Finding, Verdict,
    contrast::{Contrasts, MeanContrast},
    evidence::Evidence,
};
use crate::analysis::intervals::{Interval, LEVEL};

/// Probability that the true value lies beyond a given end of an interval.
pub(super) const TAIL: f64 = (1.0 - LEVEL) / 2.0;

/// What a claim asserts about all its comparisons.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Assertion {
    /// They are above 0.
    Above,
    /// They are within this distance of 0.
    Within(f64),
}

/// Comparisons that do not settle the claim.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenComparisons {
    /// What the claim asserts about them.
    pub(super) says: Assertion,
    pub(super) contrasts: Vec<MeanContrast>,
    /// Margin within which they are considered equal; `None` if it does not apply.
    pub(super) margin: Option<f64>,
}

/// Distance from an estimate to the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// At 95 %, not corrected for other comparisons.
    pub alone: f64,
    /// Corrected for all comparisons of the claim.
    pub among_all: f64,
}

impl Reach {
    /// Computes the reach of one of `count` contrasts.
    fn of(contrast: &MeanContrast, count: usize) -> Self {
        Self {
            alone: contrast.error.tail_quantile(TAIL),
            among_all: contrast.error.tail_quantile(TAIL / count as f64),
        }
    }
}

/// Returns the verdict on estimates and their reaches.
///
/// `margin` is the distance within which comparisons are considered equal, if that applies. `whole` is whether no
/// comparison is missing; otherwise a claim about all comparisons cannot hold.
pub fn decide(
    says: Assertion,
    estimates: &[f64],
    reaches: &[Reach],
    margin: Option<f64>,
    whole: bool,
) -> Verdict {
    let all = |is: &dyn Fn(f64, Reach) -> bool| {
        !estimates.is_empty()
            && whole
            && estimates.iter().zip(reaches).all(|(&estimate, &reach)| is(estimate, reach))
    };
    let any = |is: &dyn Fn(f64, Reach) -> bool| {
        estimates.iter().zip(reaches).any(|(&estimate, &reach)| is(estimate, reach))
    };
    match says {
        Assertion::Above if any(&|estimate, reach| estimate + reach.among_all < 0.0) => Verdict::Fails,
        Assertion::Above if all(&|estimate, reach| estimate - reach.alone > 0.0) => Verdict::Holds,
        Assertion::Above => match margin {
            Some(margin) if all(&|estimate, reach| estimate.abs() + reach.alone < margin) => Verdict::Same,
            _ => Verdict::Undecided,
        },
        Assertion::Within(bound) if any(&|estimate, reach| estimate.abs() - reach.among_all > bound) => {
            Verdict::Fails
        }
        Assertion::Within(bound) if all(&|estimate, reach| estimate.abs() + reach.alone < bound) => {
            Verdict::Holds
        }
        Assertion::Within(_) => Verdict::Undecided,
    }
}

impl Evidence {
    /// Judges the claim that all these contrasts are above 0.
    pub fn all_above(&self, contrasts: Contrasts) -> Finding {
        self.judged(contrasts, Assertion::Above)
    }

    /// Judges the claim that all these contrasts lie within `bound` of 0.
    pub fn all_within(&self, contrasts: Contrasts, bound: f64) -> Finding {
        self.judged(contrasts, Assertion::Within(bound))
    }

    fn judged(&self, contrasts: Contrasts, says: Assertion) -> Finding {
        let (mut found, missing, gaps) = sorted(contrasts);
        let reaches: Vec<Reach> = found.iter().map(|contrast| Reach::of(contrast, found.len())).collect();
        let estimates: Vec<f64> = found.iter().map(|contrast| contrast.value.estimate).collect();
        let margin = found.iter().all(MeanContrast::is_of_a_score).then_some(self.margin());
        let verdict = decide(says, &estimates, &reaches, margin, !gaps);
        // The strongest evidence against the claim comes first.
        let against = |contrast: &MeanContrast| match says {
            Assertion::Above => contrast.p_value_above(),
            Assertion::Within(_) => contrast.value.estimate.abs(),
        };
        let count = found.len();
        found.sort_by(|a, b| against(b).total_cmp(&against(a)));
        let evidence =
            found.iter().map(|contrast| line(contrast, Reach::of(contrast, count), says, count)).collect();
        let open = (verdict == Verdict::Undecided && !gaps).then_some(OpenComparisons {
            says,
            contrasts: found,
            margin,
        });
        Finding { verdict, evidence, missing, open }
    }
}

/// Splits comparisons into those that were made and descriptions of those that were not. The last value is whether
/// too many are missing for the claim to hold: any that could still be measured, or at least half that the paper does
/// not print.
fn sorted(contrasts: Contrasts) -> (Vec<MeanContrast>, Vec<String>, bool) {
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
        true => format!("{} (no legible number in print)", missing.description),
        false => missing.description,
    });
    (found, words.collect(), gaps)
}

/// Formats a comparison, its interval, and the corrected end that decides against the claim if there are several.
fn line(contrast: &MeanContrast, reach: Reach, says: Assertion, count: usize) -> String {
    let text = format!("{}: {}", contrast.description, interval(&contrast.value));
    let Interval { estimate, .. } = contrast.value;
    match says {
        _ if count == 1 => text,
        Assertion::Above => {
            format!("{text}; for {count} comparisons up to {:.3}", estimate + reach.among_all)
        }
        Assertion::Within(_) => {
            let (low, high) = (estimate - reach.among_all, estimate + reach.among_all);
            format!("{text}; for {count} comparisons [{low:.3}, {high:.3}]")
        }
    }
}

/// Formats an interval: `0.012 [-0.003, 0.027]`.
pub fn interval(interval: &Interval) -> String {
    format!("{:.3} [{:.3}, {:.3}]", interval.estimate, interval.low, interval.high)
}

#[cfg(test)]
mod tests {
    use super::super::contrast::{Term, Unmeasured};
    use super::*;
    use crate::{
        analysis::{Axes, frame::f1_frame as frame},
        backbone::Name::ResNet18,
        data::Share,
        method::Name::SimClr,
        results::Metric,
        study::{Ablation, Study},
    };

    const CELL: Axes = Axes::table_1(SimClr, ResNet18, Share::percent(45));
    const RELEASED: Axes = CELL.in_study(Study::Ablation(Ablation::ProbeAsReleased));

    /// Two equal differences do not reveal the spread of differences.
    #[test]
    fn equal_differences_do_not_decide() {
        let (first, second) = (CELL.in_training(), RELEASED.in_training());
        let rows = [(first, 0, 0.75), (first, 1, 0.25), (second, 0, 0.5), (second, 1, 0.0)];
        let evidence = Evidence::measured("test", &frame(&rows));
        let contrast = evidence.paired_difference("x", Metric::F1, [&first, &second]).unwrap();
        assert_eq!(contrast.value.estimate, 0.25);
        assert_eq!(evidence.all_above(vec![Ok(contrast)]).verdict, Verdict::Undecided);
        let still = [(first, 0, 0.75), (first, 1, 0.75), (second, 0, 0.5), (second, 1, 0.5)];
        let still =
            Evidence::measured("test", &frame(&still)).paired_difference("x", Metric::F1, [&first, &second]);
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
        // The error is 0.01 sqrt(2/3) = 0.0082: 0.05 is six of these, 0.005 less than one.
        assert_eq!(evidence.all_above(vec![above(0.65)]).verdict, Verdict::Holds);
        assert_eq!(evidence.all_above(vec![above(0.75)]).verdict, Verdict::Fails);
        assert_eq!(evidence.all_above(vec![above(0.695)]).verdict, Verdict::Undecided);
        let gap = |unprinted| Err(Unmeasured { description: "y".to_owned(), unprinted });
        assert_eq!(evidence.all_above(vec![above(0.65), gap(false)]).verdict, Verdict::Undecided, "a gap");
        let most = evidence.all_above(vec![above(0.65), above(0.66), gap(true)]);
        assert_eq!((most.verdict, most.missing.len()), (Verdict::Holds, 1), "lost in print");
        assert_eq!(
            evidence.all_above(vec![above(0.65), gap(true)]).verdict,
            Verdict::Undecided,
            "half is lost"
        );
        assert_eq!(evidence.all_above(vec![]).verdict, Verdict::Undecided);
        assert_eq!(evidence.all_within(vec![above(0.7)], 0.05).verdict, Verdict::Holds);
        assert_eq!(evidence.all_within(vec![above(0.6)], 0.05).verdict, Verdict::Fails);
        assert_eq!(evidence.all_within(vec![above(0.66)], 0.05).verdict, Verdict::Undecided);
    }

    /// A significant difference decides, even if it is small; one that is not significant is "the same" if its
    /// interval lies within the margin.
    #[test]
    fn the_same_is_an_answer() {
        let at = CELL.in_training();
        let rows = frame(&[(at, 0, 0.7), (at, 1, 0.7)]);
        let judge = |difference: f64, deviation: f64, margin: f64| {
            let evidence = Evidence::assumed("test", &rows, deviation).with_margin(margin);
            let first = evidence.term(1.0, Metric::F1, &at);
            let second = Term { weight: -1.0, scores: vec![0.7 - difference; 2], ..first.clone() };
            evidence.all_above(vec![evidence.contrast("x", Metric::F1, &[first, second])]).verdict
        };
        // The error of a difference is the deviation; 95 % correspond to 1.96 of it.
        assert_eq!(judge(0.0, 0.01, 0.02), Verdict::Same);
        assert_eq!(judge(0.0, 0.01, 0.019), Verdict::Undecided);
        assert_eq!(judge(0.001, 0.01, 0.02), Verdict::Undecided, "may be 0.0206");
        assert_eq!(judge(-0.005, 0.01, 0.02), Verdict::Undecided, "may be -0.0246");
        assert_eq!(judge(0.005, 0.001, 0.02), Verdict::Holds, "small, and above 0");
        assert_eq!(judge(-0.005, 0.001, 0.02), Verdict::Fails);
    }

    #[test]
    fn a_verdict_never_contradicts_what_is_printed() {
        let (says, margin) = (Assertion::Above, Some(0.02));
        let reach = |alone, among_all| Reach { alone, among_all };
        // Below 0 alone, but not after correction: undecided, and the line says so.
        let reaches = [reach(0.02, 0.04), reach(0.02, 0.04)];
        assert_eq!(decide(says, &[-0.03, 0.1], &reaches, margin, true), Verdict::Undecided);
        assert_eq!(decide(says, &[-0.05, 0.1], &reaches, margin, true), Verdict::Fails);
        assert_eq!(decide(says, &[0.03, 0.1], &reaches, margin, true), Verdict::Holds);
        assert_eq!(decide(says, &[0.03, 0.1], &reaches, margin, false), Verdict::Undecided, "a gap");
        let within = Assertion::Within(0.05);
        assert_eq!(decide(within, &[0.01, -0.02], &reaches, None, true), Verdict::Holds);
        assert_eq!(decide(within, &[0.01, -0.08], &reaches, None, true), Verdict::Undecided);
        assert_eq!(decide(within, &[0.01, -0.1], &reaches, None, true), Verdict::Fails);
    }

    /// With known errors of 0.01 sqrt 2, the ends are 1.95996 errors away, or 2.24140 if corrected for two comparisons
    /// (scipy, `norm.isf(0.0125)`).
    #[test]
    fn comparisons_are_told_the_strongest_against_the_claim_first() {
        let at = CELL.in_training();
        let evidence = Evidence::assumed("test", &frame(&[(at, 0, 0.7)]), 0.01).with_margin(0.033);
        let by = |what: &str, difference: f64| {
            let first = evidence.term(1.0, Metric::F1, &at);
            let second = Term { weight: -1.0, scores: vec![0.7 - difference], ..first.clone() };
            evidence.contrast(what, Metric::F1, &[first, second])
        };
        let above = evidence.all_above(vec![by("a", 0.1), by("b", 0.05)]);
        assert_eq!(
            above.evidence,
            [
                "b: 0.050 [0.022, 0.078]; for 2 comparisons up to 0.082",
                "a: 0.100 [0.072, 0.128]; for 2 comparisons up to 0.132"
            ]
        );
        assert_eq!((above.verdict, above.open), (Verdict::Holds, None));
        let within = evidence.all_within(vec![by("a", 0.01), by("b", -0.05)], 0.06);
        assert_eq!(
            within.evidence,
            [
                "b: -0.050 [-0.078, -0.022]; for 2 comparisons [-0.082, -0.018]",
                "a: 0.010 [-0.018, 0.038]; for 2 comparisons [-0.022, 0.042]"
            ]
        );
        let open = within.open.unwrap();
        let words: Vec<&str> = open.contrasts.iter().map(|contrast| contrast.description.as_str()).collect();
        assert_eq!((open.says, open.margin, words), (Assertion::Within(0.06), Some(0.033), vec!["b", "a"]));
        assert_eq!(evidence.all_above(vec![by("a", 0.1)]).evidence, ["a: 0.100 [0.072, 0.128]"]);
    }

    /// Missing comparisons are listed in order with their reason; if one could still be measured, nothing is planned.
    #[test]
    fn what_is_missing_is_told_with_its_reason() {
        let at = CELL.in_training();
        let evidence = Evidence::assumed("test", &frame(&[(at, 0, 0.7)]), 0.01);
        let term = evidence.term(1.0, Metric::F1, &at);
        let other = Term { weight: -1.0, ..term.clone() };
        let equal = || evidence.contrast("x", Metric::F1, &[term.clone(), other.clone()]);
        let gap = |what: &str, unprinted| Err(Unmeasured { description: what.to_owned(), unprinted });
        let found = evidence.all_above(vec![gap("y", true), equal(), gap("z", false)]);
        assert_eq!(found.missing, ["y (no legible number in print)", "z"]);
        assert_eq!((found.verdict, found.open), (Verdict::Undecided, None));
        let whole = evidence.all_above(vec![equal(), equal(), gap("y", true)]);
        assert!(whole.open.is_some_and(|open| open.says == Assertion::Above && open.contrasts.len() == 2));
    }

    /// A claim that a difference lies within a bound of 0 fails after correction for all comparisons, and holds on both
    /// sides of 0 only.
    #[test]
    fn a_bound_counts_on_both_sides_and_fails_after_correction() {
        let within = |estimates: &[f64]| {
            let reaches = vec![Reach { alone: 0.02, among_all: 0.04 }; estimates.len()];
            decide(Assertion::Within(0.05), estimates, &reaches, None, true)
        };
        assert_eq!(within(&[0.029, -0.029]), Verdict::Holds);
        assert_eq!(within(&[0.0, 0.031]), Verdict::Undecided, "may be 0.051");
        assert_eq!(
            within(&[0.0, -0.06]),
            Verdict::Undecided,
            "below the bound, and no more than the other side"
        );
        assert_eq!(within(&[0.0, 0.08]), Verdict::Undecided, "beyond the bound alone, not among two");
        assert_eq!((within(&[0.0, 0.091]), within(&[-0.091, 0.0])), (Verdict::Fails, Verdict::Fails));
        assert_eq!(within(&[]), Verdict::Undecided);
    }

    /// Only scores have a margin: a difference of ranks that is smaller than 0.02 is not called the same.
    #[test]
    fn ranks_have_no_margin() {
        let (at, rank) = (CELL.in_training(), crate::analysis::Measure::RANKME);
        let found = |measure: crate::analysis::Measure| {
            let evidence = Evidence::assumed("test", &frame(&[(at, 0, 0.5), (at, 1, 0.5)]), 0.001);
            let term = |weight| Term { weight, scored: at, scores: vec![0.5; 2] };
            evidence.all_above(vec![evidence.contrast("x", measure, &[term(1.0), term(-1.0)])]).verdict
        };
        assert_eq!((found(Metric::F1.into()), found(rank)), (Verdict::Same, Verdict::Undecided));
    }
}
