//! Sixteen neighbouring channels, handled as one number. Plain loops, which the compiler vectorises if the caller
//! is compiled for a machine with vector instructions. Independent of tiles.

use std::ops::{Add, Mul, Sub};

use crate::tensor::cpu::{
    storage::{Number, Real},
    strips::STRIP,
};

/// One number for each of a strip's sixteen columns.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Lanes<T>([T; STRIP]);

impl<T: Real> Lanes<T> {
    #[inline(always)]
    pub fn zero() -> Self {
        Self([T::zero(); STRIP])
    }

    /// Loads the first sixteen of `numbers`.
    #[inline(always)]
    pub fn load<N: Number<Sum = T>>(numbers: &[N]) -> Self {
        let numbers: &[N; STRIP] = numbers.first_chunk().expect("sixteen numbers");
        let mut lanes = Self::zero();
        lanes.0.iter_mut().zip(numbers).for_each(|(lane, x)| *lane = x.widen());
        lanes
    }

    /// Like [`Self::load`], with zeros beyond `count`.
    #[inline(always)]
    pub fn load_some<N: Number<Sum = T>>(numbers: &[N], count: usize) -> Self {
        if count >= STRIP {
            return Self::load(numbers);
        }
        let mut lanes = Self::zero();
        lanes.0.iter_mut().zip(&numbers[..count]).for_each(|(lane, &x)| *lane = x.widen());
        lanes
    }

    #[inline(always)]
    pub fn into_array(self) -> [T; STRIP] {
        self.0
    }

    /// Rounds and stores into all of `numbers`, at most sixteen.
    #[inline(always)]
    pub fn store_some<N: Number<Sum = T>>(self, numbers: &mut [N]) {
        match numbers.first_chunk_mut() {
            Some(numbers) => {
                let numbers: &mut [N; STRIP] = numbers;
                numbers.iter_mut().zip(self.0).for_each(|(x, lane)| *x = N::narrow(lane));
            }
            None => numbers.iter_mut().zip(self.0).for_each(|(x, lane)| *x = N::narrow(lane)),
        }
    }

    /// Rounds every lane to `N`.
    #[inline(always)]
    pub fn rounded<N: Number<Sum = T>>(mut self) -> Self {
        for lane in &mut self.0 {
            *lane = N::narrow(*lane).widen();
        }
        self
    }
}

impl<T: Real> Add for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(x, y)| *x += y);
        self
    }
}

impl<T: Real> Sub for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(x, y)| *x -= y);
        self
    }
}

impl<T: Real> Mul<f64> for Lanes<T> {
    type Output = Self;

    #[inline(always)]
    fn mul(mut self, factor: f64) -> Self {
        let factor = T::from_f64(factor);
        self.0.iter_mut().for_each(|x| *x *= factor);
        self
    }
}
