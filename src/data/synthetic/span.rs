//! Pixels side by side, property by property, so that loops over them run on vector registers.
//!
//! A loop over a span that is one formula without branches, choices being selections, does several
//! pixels an instruction. Its bound `n.min(SPAN)` lets the compiler see that no index is out of range.

/// Pixels that are worked on together at most.
pub const SPAN: usize = 64;

/// One property of the pixels of a span.
pub type Values = [f32; SPAN];

/// What the `N` properties are at pixel `i`.
#[inline]
pub fn at<const N: usize>(values: &[Values; N], i: usize) -> [f32; N] {
    values.each_ref().map(|values| values[i])
}

/// Sets the `N` properties of pixel `i`.
#[inline]
pub fn put<const N: usize>(values: &mut [Values; N], i: usize, value: [f32; N]) {
    for (values, value) in values.iter_mut().zip(value) {
        values[i] = value;
    }
}
