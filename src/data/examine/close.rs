//! Finds pairs of hashes that differ in few bits, among a million hashes in seconds.
//!
//! A hash is cut into more parts than the number of bits that may differ, so a close pair has at least one equal
//! part. Hashes are looked up by each part in turn, and only hashes that share it are compared. The result is the
//! same as comparing all pairs.

use rayon::prelude::*;

use super::sketch::{MAX_HASH_DISTANCE, WORDS, distance};

/// A hash in machine words.
pub type Hash = [u64; WORDS];

/// Bits per part.
const PART: usize = 16;
/// Number of parts of a hash.
const PARTS: usize = WORDS * 64 / PART;
const _: () = assert!(PARTS > MAX_HASH_DISTANCE as usize, "a close pair must have an equal part");

/// Returns positions in `first` and in `second` of hashes that differ in at most [`MAX_HASH_DISTANCE`] bits, in
/// ascending order. With `itself`, both are the same list, and each pair is returned once.
pub fn pairs(first: &[Hash], second: &[Hash], itself: bool) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for number in 0..PARTS {
        let table = Table::new(second, number);
        let of_hash = |(place, hash): (usize, &Hash)| {
            let others = table.sharing(part(hash, number)).iter().map(|&other| other as usize);
            let close = |&other: &usize| {
                let known = &second[other];
                !(itself && other <= place)
                    && distance(hash, known) <= MAX_HASH_DISTANCE
                    // A pair that shares an earlier part was found before.
                    && (0..number).all(|earlier| part(hash, earlier) != part(known, earlier))
            };
            others.filter(close).map(move |other| (place, other)).collect::<Vec<_>>()
        };
        found.par_extend(first.par_iter().enumerate().flat_map_iter(of_hash));
    }
    found.par_sort_unstable();
    found
}

/// One part of a hash, by its index.
fn part(hash: &Hash, number: usize) -> usize {
    let in_word = 64 / PART;
    (hash[number / in_word] >> (PART * (number % in_word))) as usize & ((1 << PART) - 1)
}

/// Positions of hashes, grouped by one of their parts.
struct Table {
    /// Start of the positions for each value, followed by the end.
    begins: Vec<u32>,
    places: Vec<u32>,
}

impl Table {
    fn new(hashes: &[Hash], number: usize) -> Self {
        let mut begins = vec![0_u32; (1 << PART) + 1];
        hashes.iter().for_each(|hash| begins[part(hash, number) + 1] += 1);
        for value in 0..1 << PART {
            begins[value + 1] += begins[value];
        }
        let mut next = begins.clone();
        let mut places = vec![0; hashes.len()];
        for (place, hash) in (0..).zip(hashes) {
            let at = &mut next[part(hash, number)];
            places[*at as usize] = place;
            *at += 1;
        }
        Self { begins, places }
    }

    fn sharing(&self, value: usize) -> &[u32] {
        &self.places[self.begins[value] as usize..self.begins[value + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn pairs_are_those_of_comparing_all_with_all() {
        let mut stream = Seed::root(0).child("close").stream();
        // Families of hashes that differ by a few bits: in some, all these bits are in one part, in others each in
        // its own.
        let mut hashes: Vec<Hash> = Vec::new();
        for family in 0..20 {
            let base: Hash = std::array::from_fn(|_| (stream.unit() * 2.0_f64.powi(53)) as u64 * 2_049);
            for member in 0..8 {
                let mut hash = base;
                for bit in 0..2 * member {
                    let at = if family % 2 == 0 { bit * PART } else { stream.below(WORDS * 64) };
                    hash[at / 64] ^= 1 << (at % 64);
                }
                hashes.push(hash);
            }
        }
        let (first, second) = hashes.split_at(70);
        let all = |first: &[Hash], second: &[Hash], itself: bool| -> Vec<(usize, usize)> {
            let pairs = (0..first.len()).flat_map(|a| (0..second.len()).map(move |b| (a, b)));
            let close = |&(a, b): &(usize, usize)| distance(&first[a], &second[b]) <= MAX_HASH_DISTANCE;
            pairs.filter(|&(a, b)| !itself || a < b).filter(close).collect()
        };
        assert_eq!(pairs(first, second, false), all(first, second, false));
        let expected = all(&hashes, &hashes, true);
        assert!(
            expected.len() > 300 && expected.len() < hashes.len() * hashes.len() / 4,
            "{}",
            expected.len()
        );
        assert_eq!(pairs(&hashes, &hashes, true), expected);
        assert!(pairs(&[], &hashes, false).is_empty() && pairs(&hashes, &[], false).is_empty());
    }

    /// Bits that differ are spread over as many parts as there are.
    #[test]
    fn hashes_are_close_up_to_the_largest_distance_and_no_further() {
        let changed = |bits: usize| {
            let mut hash: Hash = [0x0123_4567_89ab_cdef, 77, u64::MAX, 0];
            (0..bits).for_each(|bit| hash[bit * PART / 64] ^= 1 << (bit * PART % 64));
            hash
        };
        let hashes = [0, 14, 15, 16].map(changed);
        assert_eq!(pairs(&hashes[..1], &hashes, false), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(pairs(&hashes, &hashes, true), [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]);
    }
}
