//! A teacher: a second network that follows the student as a moving average. Used by BYOL and DINO.
//!
//! theta = m theta + (1 - m) student, after every optimiser step, with m rising along half a cosine from
//! a start to an end. Parameters only: batch normalisation in the teacher takes statistics of its own
//! batches and keeps running statistics of its own, as BYOL's, DINO's, lightly's and solo-learn's teachers do
//! (stable-pretraining averages the buffers too). It begins as a copy of the student (BYOL's original: drawn
//! again).

use candle_core::{Result, Var};

use super::Position;
use crate::{
    backbone::{Parameters, Role},
    schedule::{self, CosineEnd},
    tensor::{Move, move_averages},
};

/// How much of itself a teacher keeps at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum {
    /// Of the first step, 0..1.
    pub start: f64,
    /// Of the step after the last.
    pub end: f64,
}

impl Momentum {
    /// end - (end - start) (1 + cos(pi t / T)) / 2 after step t of T (BYOL, solo-learn).
    pub fn at(self, at: Position) -> f64 {
        schedule::cosine(at.step, at.steps, self.start, self.end, CosineEnd::AfterLastStep)
    }
}

/// The variables of a teacher, tied to those of its student.
pub struct Teacher {
    parameters: Parameters,
    momentum: Momentum,
    /// Average, and what it follows.
    pairs: Vec<(Var, Var)>,
}

impl Teacher {
    /// Ties `teacher` to the variables of equal names among `student`'s and copies them.
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

    /// Follows the student's step.
    pub fn follow(&self, at: Position) -> Result<()> {
        let keep = self.momentum.at(at);
        let pairs = self.pairs.iter();
        let moves = pairs.map(|(average, value)| Move { average, value, keep, take: 1.0 - keep });
        move_averages(&moves.collect::<Vec<_>>())
    }

    /// All variables, buffers included, under the student's names.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
