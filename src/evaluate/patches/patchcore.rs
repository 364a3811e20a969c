//! PatchCore: a bank of patches that covers those of normal images, and the distance from that bank.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::{
    super::distance::{squared, squared_to_each},
    Patches,
};
use crate::{seed::Seed, tensor::cpu::vector::vectorised};

/// Largest number of patches of normal images that the bank is chosen from. Ours.
pub const CANDIDATES: usize = 20_000;
/// Largest number of patches in the bank. Ours; PatchCore's is a tenth or a hundredth of all.
pub const BANK: usize = 500;
/// Candidates that a thread compares at once. Ours.
const PIECE: usize = 1024;
/// Number of neighbours within the bank that determine how usual a bank patch is: PatchCore's b.
const SUPPORT: usize = 9;

/// A bank of patches.
pub struct PatchCore {
    bank: Vec<f32>,
    width: usize,
    /// For each patch of the bank, its nearest neighbours in the bank, itself first.
    support: Vec<Vec<usize>>,
}

impl PatchCore {
    /// Chooses the bank from patches of normal images, each time the patch farthest from all chosen so far.
    ///
    /// # Errors
    /// If there is no patch.
    pub fn fit(images: &[Patches], seed: &Seed) -> Result<Self> {
        let all: Vec<&[f32]> = images.iter().flat_map(Patches::places).collect();
        ensure!(!all.is_empty(), "no patch of a normal image");
        let mut stream = seed.child("patches").stream();
        let mut order: Vec<usize> = (0..all.len()).collect();
        stream.shuffle(&mut order);
        order.truncate(CANDIDATES);
        let candidates: Vec<&[f32]> = order.into_iter().map(|place| all[place]).collect();
        Ok(Self::from_bank(&farthest_first(&candidates, BANK)))
    }

    /// Builds the support sets of a given bank.
    pub(in crate::evaluate) fn from_bank(bank: &[&[f32]]) -> Self {
        let nearest = |patch: &&[f32]| {
            let mut others: Vec<(f32, usize)> =
                bank.iter().enumerate().map(|(place, other)| (squared(patch, other), place)).collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            others.into_iter().take(SUPPORT).map(|(_, place)| place).collect()
        };
        let support = bank.par_iter().map(nearest).collect();
        Self { bank: bank.concat(), width: bank[0].len(), support }
    }

    /// Returns an image's distance from normal ones: the largest distance s of a patch m from the bank, times
    ///
    /// 1 - exp |m - m*| / (sum over n near m* of exp |m - n|)
    ///
    /// with m* its nearest patch of the bank: the distance counts more if m* is itself unusual.
    pub fn distance(&self, patches: &Patches) -> f64 {
        let found = patches.places().map(|patch| (self.nearest(patch), patch));
        let Some(((square, place), patch)) = found.max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0)) else {
            return 0.0;
        };
        let distance = f64::from(square).sqrt();
        let near = |&place: &usize| f64::from(squared(patch, self.row(place))).sqrt();
        let distances: Vec<f64> = self.support[place].iter().map(near).collect();
        // Subtracting the largest distance does not change the ratio, but keeps exp finite.
        let largest = distances.iter().copied().fold(0.0, f64::max);
        let sum: f64 = distances.iter().map(|distance| libm::exp(distance - largest)).sum();
        (1.0 - libm::exp(distance - largest) / sum) * distance
    }

    /// Returns the distance of each place from the bank, row by row.
    pub fn map(&self, patches: &Patches) -> Vec<f64> {
        patches.places().map(|patch| f64::from(self.nearest(patch).0).sqrt()).collect()
    }

    /// Returns the bank, row-major, one row per patch.
    pub fn rows(&self) -> &[f32] {
        &self.bank
    }

    /// Returns the number of features of a patch.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the squared distance to the nearest patch of the bank, and its index.
    fn nearest(&self, patch: &[f32]) -> (f32, usize) {
        let squares = squared_to_each(patch, &self.bank).into_iter().zip(0..);
        squares.fold((f32::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best })
    }

    fn row(&self, place: usize) -> &[f32] {
        &self.bank[place * self.width..(place + 1) * self.width]
    }
}

/// Takes the first candidate, then repeatedly the one farthest from all taken: a greedy k-centre.
pub(super) fn farthest_first<'a>(candidates: &[&'a [f32]], most: usize) -> Vec<&'a [f32]> {
    let mut far = vec![f32::INFINITY; candidates.len()];
    let (mut taken, mut next) = (Vec::new(), 0);
    while taken.len() < most.min(candidates.len()) {
        let last = candidates[next];
        taken.push(last);
        far.par_chunks_mut(PIECE).zip(candidates.par_chunks(PIECE)).for_each(|(far, candidates)| {
            vectorised(
                #[inline(always)]
                || {
                    for (far, candidate) in far.iter_mut().zip(candidates) {
                        *far = far.min(squared(candidate, last));
                    }
                },
            );
        });
        let (place, distance) = far
            .iter()
            .enumerate()
            .fold((0, -1.0), |best, (place, &far)| if far > best.1 { (place, far) } else { best });
        if distance <= 0.0 {
            break;
        }
        next = place;
    }
    taken
}
