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
    tensor::{Move, move_averages},
};

/// The part of itself that a teacher keeps in a step.
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
        let moves = pairs.map(|(average, value)| Move { average, value, keep, take: 1.0 - keep });
        move_averages(&moves.collect::<Vec<_>>())
    }

    /// Returns all variables, including buffers, under the student's names.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
