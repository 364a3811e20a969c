//! Values that change with the training step: learning rates and averaging momenta.
//!
//! After w warm-up steps of T, a value falls (or rises) from a to b along half a cosine:
//!
//! y(t) = b + (a - b) (1 + cos(pi (t - w) / n)) / 2
//!
//! Libraries agree on the curve and differ by one step at its ends; [`WarmUp`] and [`CosineEnd`] name
//! the conventions. Step 0 is the first update.

use std::f64::consts::PI;

/// How a learning rate rises over the first w steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WarmUp {
    /// base (t + 1) / w, never zero and full at the last warm-up step: lightly.
    NextStep,
    /// start + (base - start) t / (w - 1), both ends included: DINO (start 0), solo-learn and the
    /// paper's authors (start 3e-5 and others).
    BothEnds {
        /// Rate of the first step.
        start: f64,
    },
    /// base t / w, zero at first and full at the first cosine step: MAE, BYOL, SimCLR, Barlow Twins.
    FromZero,
}

/// When a cosine arrives at its end value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CosineEnd {
    /// At step T - 1, the last one: lightly.
    LastStep,
    /// At step T, which training does not reach: DINO, BYOL, MAE, solo-learn.
    AfterLastStep,
}

/// Linear warm-up, then half a cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// Steps of the whole training, T.
    pub steps: usize,
    /// Steps of warm-up, w.
    pub warm_up_steps: usize,
    /// How the rate rises during warm-up.
    pub warm_up: WarmUp,
    /// What the cosine falls to; the same for every base.
    pub end: f64,
    /// When `end` is reached.
    pub cosine_end: CosineEnd,
}

impl LearningRate {
    /// solo-learn's schedule, which the paper's authors use: they warm up for 10 of 45 epochs and end
    /// at 1e-6, with a `start` of their own for each method that all parameter groups share.
    pub fn solo_learn(steps: usize, warm_up_steps: usize, start: f64, end: f64) -> Self {
        Self {
            steps,
            warm_up_steps,
            warm_up: WarmUp::BothEnds { start },
            end,
            cosine_end: CosineEnd::AfterLastStep,
        }
    }

    /// Returns the learning rate at `step` if the schedule peaks at `base`; from step T on, `end`.
    pub fn at(&self, step: usize, base: f64) -> f64 {
        if step < self.warm_up_steps {
            let (t, w) = (step as f64, self.warm_up_steps as f64);
            return match self.warm_up {
                WarmUp::NextStep => base * (t + 1.0) / w,
                WarmUp::BothEnds { start } => start + (base - start) * t / (w - 1.0).max(1.0),
                WarmUp::FromZero => base * t / w,
            };
        }
        let (step, steps) = (step - self.warm_up_steps, self.steps.saturating_sub(self.warm_up_steps));
        cosine(step, steps, base, self.end, self.cosine_end)
    }
}

/// Half a cosine from `start` at step 0 to `end`, constant afterwards. For the momentum of moving averages of networks,
/// for weight decay, and for learning rates without warm-up.
pub fn cosine(step: usize, steps: usize, start: f64, end: f64, cosine_end: CosineEnd) -> f64 {
    let span = match cosine_end {
        CosineEnd::LastStep => steps.saturating_sub(1),
        CosineEnd::AfterLastStep => steps,
    };
    if step >= steps || step >= span.max(1) {
        return end;
    }
    let share = step as f64 / span.max(1) as f64;
    end + (start - end) * (1.0 + libm::cos(PI * share)) / 2.0
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn check(name: &str, values: impl IntoIterator<Item = (f64, f64)>, tolerance: f64) {
        for (i, (found, expected)) in values.into_iter().enumerate() {
            assert!((found - expected).abs() <= tolerance, "{name} {i}: {found} is not {expected}");
        }
    }

    // Printed by lightly 1.6.0, solo-learn 9187ea39, DINO 7c446df5 and MAE efb2a806, run here.
    #[rstest]
    #[case::lightly(
        LearningRate { steps: 100, warm_up_steps: 10, warm_up: WarmUp::NextStep, end: 0.001, cosine_end: CosineEnd::LastStep },
        1.0,
        &[(0, 0.1), (9, 1.0), (10, 1.0), (11, 0.999688842600), (55, 0.491684583919), (98, 0.001311157400), (99, 0.001)],
    )]
    #[case::dino(
        LearningRate { steps: 100, warm_up_steps: 10, warm_up: WarmUp::BothEnds { start: 0.0 }, end: 1e-6, cosine_end: CosineEnd::AfterLastStep },
        5e-4,
        &[(0, 0.0), (5, 2.7777778e-4), (9, 5e-4), (10, 5e-4), (55, 2.505e-4), (99, 1.15198866e-6)],
    )]
    // MAE counts in epochs: 40 of 400, at 0, 0.5, 20, 40 and 220; here in half epochs.
    #[case::mae(
        LearningRate { steps: 800, warm_up_steps: 80, warm_up: WarmUp::FromZero, end: 0.0, cosine_end: CosineEnd::AfterLastStep },
        1.5e-4,
        &[(0, 0.0), (1, 1.875e-6), (40, 7.5e-5), (80, 1.5e-4), (440, 7.5e-5)],
    )]
    // Worked by hand from the formula: 3e-5 + (3e-3 - 3e-5) / 9 a step, then the middle of the cosine.
    #[case::solo(
        LearningRate::solo_learn(100, 10, 3e-5, 1e-6),
        3e-3,
        &[(0, 3e-5), (3, 1.02e-3), (9, 3e-3), (10, 3e-3), (55, 1.5005e-3), (100, 1e-6), (500, 1e-6)],
    )]
    fn learning_rates(#[case] schedule: LearningRate, #[case] base: f64, #[case] expected: &[(usize, f64)]) {
        check("step", expected.iter().map(|&(step, rate)| (schedule.at(step, base), rate)), 1e-11);
    }

    // Same origin; the first row is lightly's own tests/utils/test_scheduler.py.
    #[rstest]
    #[case(10, 1.0, 0.0, CosineEnd::LastStep, &[(0, 1.0), (1, 0.96984631), (2, 0.88302222), (10, 0.0)])]
    #[case(100, 0.99, 1.0, CosineEnd::LastStep, &[(0, 0.99), (1, 0.990002517288), (50, 0.995079329820), (98, 0.999997482712), (99, 1.0)])]
    #[case(100, 0.99, 1.0, CosineEnd::AfterLastStep, &[(0, 0.99), (1, 0.990002467198), (50, 0.995), (99, 0.999997532802), (100, 1.0)])]
    #[case(100, 0.996, 1.0, CosineEnd::AfterLastStep, &[(0, 0.996), (1, 0.996000986879), (50, 0.998), (99, 0.999999013121)])]
    #[case(100, 0.04, 0.4, CosineEnd::AfterLastStep, &[(0, 0.04), (50, 0.22), (99, 0.3999111809)])]
    fn ramps(
        #[case] steps: usize,
        #[case] start: f64,
        #[case] end: f64,
        #[case] cosine_end: CosineEnd,
        #[case] expected: &[(usize, f64)],
    ) {
        let found =
            expected.iter().map(|&(step, value)| (cosine(step, steps, start, end, cosine_end), value));
        check("step", found, 5e-9);
    }

    #[test]
    fn one_step_of_warm_up_or_of_training_is_finite() {
        for warm_up in [WarmUp::NextStep, WarmUp::BothEnds { start: 0.1 }, WarmUp::FromZero] {
            for cosine_end in [CosineEnd::LastStep, CosineEnd::AfterLastStep] {
                for warm_up_steps in [0, 1] {
                    let schedule = LearningRate { steps: 1, warm_up_steps, warm_up, end: 0.0, cosine_end };
                    assert!(schedule.at(0, 1.0).is_finite(), "{schedule:?}");
                }
            }
        }
        // A single step trains at the full rate, whichever end is meant.
        assert_eq!(cosine(0, 1, 1.0, 0.0, CosineEnd::LastStep), 1.0);
        assert_eq!(cosine(0, 1, 1.0, 0.0, CosineEnd::AfterLastStep), 1.0);
    }

    /// A warm-up of one step, one that lasts all training, and one that is longer than it.
    #[test]
    fn warm_ups_at_their_limits_have_these_rates() {
        let rates = |warm_up: WarmUp, warm_up_steps: usize, steps: usize| {
            let schedule = LearningRate {
                steps,
                warm_up_steps,
                warm_up,
                end: 0.25,
                cosine_end: CosineEnd::AfterLastStep,
            };
            (0..5).map(|step| schedule.at(step, 8.0)).collect::<Vec<_>>()
        };
        // One step of warm-up, then half a cosine of two steps: 8 and the middle of 8 and 0.25.
        for (warm_up, first) in
            [(WarmUp::NextStep, 8.0), (WarmUp::BothEnds { start: 2.0 }, 2.0), (WarmUp::FromZero, 0.0)]
        {
            check("one step", rates(warm_up, 1, 3).into_iter().zip([first, 8.0, 4.125, 0.25, 0.25]), 1e-12);
        }
        for (warm_up, rising) in [
            (WarmUp::NextStep, [2.0, 4.0, 6.0, 8.0]),
            (WarmUp::BothEnds { start: 2.0 }, [2.0, 4.0, 6.0, 8.0]),
            (WarmUp::FromZero, [0.0, 2.0, 4.0, 6.0]),
        ] {
            for steps in [4, 2] {
                let expected = rising.into_iter().chain([0.25]);
                check("all steps", rates(warm_up, 4, steps).into_iter().zip(expected), 1e-12);
            }
        }
    }
}
