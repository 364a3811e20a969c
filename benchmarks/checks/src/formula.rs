//! Numbers that Rust and Python both compute from a name, so that no file needs to store them:
//! `fixtures/torch/formula.py`.

/// splitmix64 over the [`hash`] of a name: the `n`-th number of its stream, uniform in [0, 1).
pub fn unit(hash: u64, n: usize) -> f64 {
    let mut z = hash.wrapping_add((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a of a name.
pub fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Like [`unit()`], uniform in [-1, 1).
pub fn around(hash: u64, n: usize) -> f64 {
    2.0 * unit(hash, n) - 1.0
}
