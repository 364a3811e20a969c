//! Named, seeded streams: the only source of randomness in skewbench.
//!
//! A [`Seed`] is a node of a tree. Children are reached by name or by number, so a stream depends on its purpose
//! and never on earlier draws: reordering code, threads or epochs cannot change a draw, and a resumed run needs no
//! generator state. Candle's CPU generator cannot be seeded, so it is never used.
//!
//! Every draw is bit-identical on every machine: ChaCha8 is specified to the bit, floating-point
//! results use only IEEE-exact operations and the pure-Rust `libm`.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// A node in the tree of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of a tree, from a number that a person can type.
    pub fn root(number: u64) -> Self {
        Self(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    /// The branch called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        self.derive(b"name", name.as_bytes())
    }

    /// The branch numbered `index` (an epoch, an image, a view).
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.derive(b"index", &(index as u64).to_le_bytes())
    }

    /// A fresh generator for this node; two calls give the same numbers.
    pub fn stream(&self) -> Stream {
        Stream(ChaCha8Rng::from_seed(self.0))
    }

    fn derive(&self, kind: &[u8], label: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind).update(&[0]).update(label);
        Self(*hasher.finalize().as_bytes())
    }
}

/// A generator at one node of the tree.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Uniform in [0, 1), in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform whole number in 0..bound, without modulo bias (rejection).
    ///
    /// # Panics
    /// If `bound` is zero: there is nothing to choose from.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "below(0): nothing to choose from");
        let bound = bound as u64;
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return (draw % bound) as usize;
            }
        }
    }

    /// True with probability `p`.
    pub fn coin(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Normal with mean 0 and standard deviation 1 (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Fisher-Yates, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_their_path_only() {
        let root = Seed::root(7);
        let first = root.child("views").index(3).stream().unit();
        root.child("order").stream().unit();
        assert_eq!(first, root.child("views").index(3).stream().unit());
        assert_ne!(first, root.child("views").index(4).stream().unit());
        assert_ne!(root.child("3"), root.index(3));
        assert_ne!(Seed::root(7), Seed::root(8));
    }

    #[test]
    fn draws_are_pinned() {
        // From the blake3 package for Python and ChaCha8 written out from its specification (RFC 8439 with
        // 8 rounds, 64-bit counter): word pairs, low word first, modulo a million. A change here changes
        // every result.
        let mut stream = Seed::root(0).child("pin").stream();
        let draws: Vec<usize> = (0..4).map(|_| stream.below(1_000_000)).collect();
        assert_eq!(draws, [214_350, 575_581, 280_186, 702_537]);
    }

    #[test]
    fn moments_are_right() {
        let mut stream = Seed::root(1).stream();
        let n = 100_000;
        let (mut sum, mut squares, mut units) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = stream.normal();
            sum += x;
            squares += x * x;
            units += stream.unit();
        }
        // Six standard errors of each estimate.
        assert!((sum / n as f64).abs() < 6.0 / (n as f64).sqrt());
        assert!((squares / n as f64 - 1.0).abs() < 6.0 * (2.0 / n as f64).sqrt());
        assert!((units / n as f64 - 0.5).abs() < 6.0 * (1.0 / 12.0 / n as f64).sqrt());
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Seed::root(2).stream().shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    /// Computed as for `draws_are_pinned`, but from another root, by way of a name and a number.
    #[test]
    fn every_kind_of_draw_is_pinned() {
        let seed = Seed::root(3).child("views").index(5);
        let three = |draw: fn(&mut Stream) -> f64| {
            let mut stream = seed.stream();
            [0; 3].map(|_| draw(&mut stream))
        };
        assert_eq!(three(|stream| stream.below(1_000_000) as f64), [683_196.0, 649_180.0, 372_748.0]);
        let units = three(Stream::unit);
        assert_eq!(units[..2], [0.893_670_799_312_692_1, 0.820_566_761_199_702_3]);
        assert_eq!(three(|stream| stream.uniform(-3.0, 5.0)), units.map(|unit| 8.0 * unit - 3.0));
        let mut stream = seed.stream();
        for expected in [0.908_265_462_752_988_3, 0.516_171_144_381_537] {
            assert!((stream.normal() - expected).abs() < 1e-12);
        }
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        seed.stream().shuffle(&mut items);
        assert_eq!(items, [7, 1, 3, 6, 5, 2, 0, 4]);
        let mut stream = seed.stream();
        let heads: Vec<usize> = (0..12).filter(|_| stream.coin(0.3)).collect();
        assert_eq!(heads, [2, 4, 7, 8, 10]);
    }

    #[test]
    #[should_panic(expected = "below(0): nothing to choose from")]
    fn nothing_can_be_drawn_of_nothing() {
        Seed::root(1).stream().below(0);
    }

    /// Draws beyond the last multiple of a bound are dropped: about half of all draws for the first, a quarter for the
    /// second. The others are taken modulo the bound.
    #[test]
    fn draws_beyond_the_last_multiple_are_dropped() {
        let half = (1_u64 << 63) + 1;
        for (bound, limit) in [(half, half), (3 << 61, 3 << 62)] {
            let (mut stream, mut plain) = (Seed::root(12).stream(), Seed::root(12).stream());
            let raw: Vec<u64> = (0..60).map(|_| plain.0.next_u64()).collect();
            let expected: Vec<u64> =
                raw.iter().filter(|&&draw| draw < limit).map(|draw| draw % bound).collect();
            assert!((10..55).contains(&expected.len()), "{} are kept", expected.len());
            let found: Vec<u64> = expected.iter().map(|_| stream.below(bound as usize) as u64).collect();
            assert_eq!(found, expected);
        }
    }

    /// Numbers that agree in their lower bytes, and names that begin alike, are different branches.
    #[test]
    fn branches_are_told_apart_by_all_of_their_name() {
        let numbers = [0_u64, 1, 1 << 8, 1 << 16, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX];
        let root = Seed::root(5);
        let long = "x".repeat(200);
        let mut all: Vec<Seed> = numbers.iter().map(|&number| Seed::root(number)).collect();
        all.extend(numbers.iter().map(|&number| root.index(number as usize)));
        for name in ["", "a", "ab", "A", "a ", "a\0", &long, &long[1..]] {
            all.extend([root.child(name), root.child(name).child(name)]);
        }
        for (place, seed) in all.iter().enumerate() {
            assert!(!all[..place].contains(seed), "{place} is there twice");
        }
    }

    /// A coin of 0 never falls heads, one of 1 always does; bounds of a range are not exceeded.
    #[test]
    fn draws_keep_to_their_bounds() {
        let mut stream = Seed::root(6).stream();
        for _ in 0..1_000 {
            assert!(!stream.coin(0.0) && stream.coin(1.0));
            assert_eq!((stream.below(1), stream.uniform(2.5, 2.5)), (0, 2.5));
            assert!(
                (0.0..1.0).contains(&stream.unit()) && (-2.0..-1.0).contains(&stream.uniform(-2.0, -1.0))
            );
        }
        let found: std::collections::BTreeSet<usize> = (0..1_000).map(|_| stream.below(7)).collect();
        assert_eq!(found, (0..7).collect());
        // Every order of three occurs, each about as often.
        let mut orders = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            stream.shuffle(&mut items);
            *orders.entry(items).or_insert(0) += 1;
        }
        // A thousand each; the standard deviation is 29.
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|count| (826..=1_174).contains(count)), "{orders:?}");
    }
}
