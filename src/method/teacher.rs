//! A teacher: a second network whose weights are a moving average of the student's. Used by BYOL and DINO.
//!
//! theta = m theta + (1 - m) student, after every optimiser step, with m rising along half a cosine. Parameters
//! only: batch normalisation in the teacher uses statistics of its own batches and keeps running statistics of its
//! own, as in the teachers of BYOL, DINO, lightly and solo-learn (stable-pretraining averages the buffers too). The
//! teacher starts as a copy of the student (in BYOL's original it is initialised separately).

use candle_core::{Result, Var};

use super::Position;
use crate::{
    backbone::{Parameters, Role},
    schedule::{self, CosineEnd},
    tensor::{AverageUpdate, move_averages},
};

/// The fraction of itself that a teacher keeps in each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum {
    /// Value at the first step, 0..1.
    pub start: f64,
    /// Value after the last step.
    pub end: f64,
}

impl Momentum {
    /// Returns end - (end - start) (1 + cos(pi t / T)) / 2 after step t of T (BYOL, solo-learn).
    pub fn at(self, at: Position) -> f64 {
        schedule::cosine(at.step, at.steps, self.start, self.end, CosineEnd::AfterLastStep)
    }
}

/// The variables of a teacher, tied to those of its student.
pub struct Teacher {
    parameters: Parameters,
    momentum: Momentum,
    /// Each average, with the student's variable that it follows.
    pairs: Vec<(Var, Var)>,
}

impl Teacher {
    /// Pairs the variables of `teacher` with those of equal names in `student` and copies the values.
    ///
    /// # Errors
    /// If the student lacks one of the names.
    pub fn new(teacher: Parameters, student: &Parameters, momentum: Momentum) -> Result<Self> {
        let mut pairs = Vec::new();
        for average in teacher.all() {
            let Some(followed) = student.get(&average.name) else {
                candle_core::bail!("teacher: the student has no variable called '{}'", average.name)
            };
            average.variable.set(&followed.variable.as_detached_tensor())?;
            if average.kind != Role::Buffer {
                pairs.push((average.variable.clone(), followed.variable.clone()));
            }
        }
        Ok(Self { parameters: teacher, momentum, pairs })
    }

    /// Updates the averages after the student's step.
    pub fn follow(&self, at: Position) -> Result<()> {
        let keep = self.momentum.at(at);
        let pairs = self.pairs.iter();
        let moves = pairs.map(|(average, value)| AverageUpdate { average, value, keep, take: 1.0 - keep });
        move_averages(&moves.collect::<Vec<_>>())
    }

    /// Returns all variables, including buffers, under the student's names.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{backbone::Initialise, seed::Seed};

    /// A weight of this value, and a running mean ten above it.
    fn variables(value: f64) -> Parameters {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu);
        builder.variable("weight", 1, Initialise::Constant(value), Role::Weight).unwrap();
        builder.variable("running_mean", 1, Initialise::Constant(value + 10.0), Role::Buffer).unwrap();
        parameters
    }

    fn values(parameters: &Parameters) -> Vec<f64> {
        parameters.all().iter().map(|parameter| parameter.variable.to_vec1::<f64>().unwrap()[0]).collect()
    }

    fn at(step: usize) -> Position {
        Position { step, steps: 4, epoch: 7, epochs: 9 }
    }

    #[test]
    fn a_teacher_begins_as_its_student_and_its_weights_follow() {
        let (student, momentum) = (variables(1.0), Momentum { start: 0.5, end: 1.0 });
        let teacher = Teacher::new(variables(5.0), &student, momentum).unwrap();
        assert_eq!(values(teacher.parameters()), [1.0, 11.0]);
        for (parameter, value) in student.all().iter().zip([3.0, 20.0]) {
            parameter.variable.set(&Tensor::new(&[value], &Device::Cpu).unwrap()).unwrap();
        }
        // The teacher keeps a half, three quarters, then all of itself: 1 - 0.5 (1 + cos(pi t / 4)) / 2.
        for (step, expected) in [(0, 2.0), (2, 2.25), (4, 2.25)] {
            teacher.follow(at(step)).unwrap();
            let found = values(teacher.parameters());
            assert!((found[0] - expected).abs() < 1e-12, "step {step}: {found:?}");
            assert_eq!(found[1], 11.0, "running statistics are its own");
        }
        assert_eq!(values(&student), [3.0, 20.0]);
    }

    #[test]
    fn momentum_rises_along_half_a_cosine() {
        let momentum = Momentum { start: 0.9, end: 0.98 };
        let eighth = 0.98 - 0.08 * (1.0 + std::f64::consts::FRAC_1_SQRT_2) / 2.0;
        for (step, expected) in [(0, 0.9), (1, eighth), (2, 0.94), (4, 0.98)] {
            assert!((momentum.at(at(step)) - expected).abs() < 1e-12, "step {step}");
        }
    }

    #[test]
    fn a_variable_that_the_student_lacks_is_named() {
        let momentum = Momentum { start: 0.9, end: 0.98 };
        let error = Teacher::new(variables(1.0), &Parameters::default(), momentum).err().unwrap().to_string();
        assert!(error.starts_with("teacher: the student has no variable called 'weight'"), "{error}");
    }
}
