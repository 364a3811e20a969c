//! Spans: neighbouring pixels stored property by property, so that loops over them use vector registers.
//!
//! A loop over a span that is a single formula without branches, with choices as selections, processes several pixels
//! per instruction. Its bound `n.min(SPAN)` proves to the compiler that no index is out of range.

/// Maximum number of pixels that are processed together.
pub const SPAN: usize = 64;

/// One property of the pixels in a span.
pub type Values = [f32; SPAN];

/// Returns the `N` properties of pixel `i`.
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
