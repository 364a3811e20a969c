//! Random draws of the drawn sewer: `f32` values from one stream of a seed.

use crate::seed::{Seed, Stream};

/// A stream of `f32` draws.
pub struct Draws(Stream);

impl Draws {
    /// Starts the stream of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self(seed.stream())
    }

    /// Draws uniformly from 0..1.
    pub fn unit(&mut self) -> f32 {
        // A draw within 2^-25 of one would be rounded to one.
        (self.0.unit() as f32).min(0.999_999_94)
    }

    /// Draws uniformly from low..high.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Draws from a normal distribution with mean 0 and this standard deviation.
    pub fn normal(&mut self, deviation: f32) -> f32 {
        self.0.normal() as f32 * deviation
    }

    /// Draws uniformly from 0..bound; `bound` is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// Returns true with probability `p`.
    pub fn coin(&mut self, p: f64) -> bool {
        self.0.coin(p)
    }

    /// Draws a seed for lattice noise.
    pub fn bits(&mut self) -> u32 {
        self.0.below(1 << 32) as u32
    }
}
