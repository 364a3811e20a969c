//! The one-dimensional transforms of Winograd's minimal filtering: m outputs of a 3-tap filter from m + 2
//! products instead of 3 m, y = A^T [ (G g) * (B^T d) ] with elementwise products.
//!
//! Filter and signal are polynomials, multiplied through their values at m + 1 points and at infinity; Vandermonde
//! matrices convert between values and coefficients (Toom and Cook). The choice of points determines the rounding
//! error: those for four outputs are 0, +-5/8 and +-3/2, exact in binary and better than +-1 and +-2 by a factor of
//! 2.5 (ours, by measurement; see Barabasz et al. 2020 on the choice). In two dimensions every transform is applied
//! along both axes. Source: Lavin & Gray 2016. Independent of images.

use std::mem::MaybeUninit;

use super::lanes::Lanes;
use crate::tensor::cpu::storage::Real;

/// Values along an axis; a scheme with fewer values does not use the last ones.
pub type Axis<T> = [Lanes<T>; MAX_VALUES];

/// Largest number of values along an axis.
pub const MAX_VALUES: usize = 6;

/// One choice of points.
pub trait Scheme: Send + Sync {
    /// Number of outputs, m.
    const OUT: usize;
    /// Number of inputs, m + 2.
    const IN: usize;

    /// B^T d: IN to IN.
    fn input<T: Real>(d: Axis<T>) -> Axis<T>;
    /// A^T v: IN to OUT.
    fn output<T: Real>(v: Axis<T>) -> Axis<T>;
    /// A y: OUT to IN.
    fn gradient<T: Real>(y: Axis<T>) -> Axis<T>;
    /// G g: 3 to IN.
    fn weights<T: Real>(g: Axis<T>) -> Axis<T>;
    /// G^T v: IN to 3.
    fn weights_gradient<T: Real>(v: Axis<T>) -> Axis<T>;
}

/// Two outputs from four products; points 0, 1, -1, infinity.
pub struct TwoOutputs;

impl Scheme for TwoOutputs {
    const OUT: usize = 2;
    const IN: usize = 4;

    #[inline(always)]
    fn input<T: Real>([a, b, c, d, e, f]: Axis<T>) -> Axis<T> {
        [a - c, b + c, c - b, d - b, e, f]
    }

    #[inline(always)]
    fn output<T: Real>([zero, plus, minus, infinity, e, f]: Axis<T>) -> Axis<T> {
        [zero + (plus + minus), (plus - minus) + infinity, infinity, infinity, e, f]
    }

    #[inline(always)]
    fn gradient<T: Real>([a, b, .., e, f]: Axis<T>) -> Axis<T> {
        [a, a + b, a - b, b, e, f]
    }

    #[inline(always)]
    fn weights<T: Real>([a, b, c, _, e, f]: Axis<T>) -> Axis<T> {
        let (even, odd) = ((a + c) * 0.5, b * 0.5);
        [a, even + odd, even - odd, c, e, f]
    }

    #[inline(always)]
    fn weights_gradient<T: Real>([zero, plus, minus, infinity, e, f]: Axis<T>) -> Axis<T> {
        let (sum, difference) = ((plus + minus) * 0.5, (plus - minus) * 0.5);
        [zero + sum, difference, sum + infinity, infinity, e, f]
    }
}

/// Four outputs from six products; points 0, P, -P, Q, -Q, infinity.
pub struct FourOutputs;

const P: f64 = 0.625;
const Q: f64 = 1.5;
const P2: f64 = P * P;
const Q2: f64 = Q * Q;
/// Products of a point's distances from all other points.
const AT_P: f64 = 2.0 * P2 * (P2 - Q2);
const AT_Q: f64 = 2.0 * Q2 * (Q2 - P2);

impl Scheme for FourOutputs {
    const OUT: usize = 4;
    const IN: usize = 6;

    #[inline(always)]
    fn input<T: Real>([a, b, c, d, e, f]: Axis<T>) -> Axis<T> {
        let (p_even, p_odd) = (e - c * Q2, d * P - b * (P * Q2));
        let (q_even, q_odd) = (e - c * P2, d * Q - b * (Q * P2));
        [
            a * (P2 * Q2) - c * (P2 + Q2) + e,
            p_even + p_odd,
            p_even - p_odd,
            q_even + q_odd,
            q_even - q_odd,
            b * (P2 * Q2) - d * (P2 + Q2) + f,
        ]
    }

    #[inline(always)]
    fn output<T: Real>([zero, p, minus_p, q, minus_q, infinity]: Axis<T>) -> Axis<T> {
        let (p_sum, p_difference) = (p + minus_p, p - minus_p);
        let (q_sum, q_difference) = (q + minus_q, q - minus_q);
        [
            zero + p_sum + q_sum,
            p_difference * P + q_difference * Q,
            p_sum * P2 + q_sum * Q2,
            p_difference * (P * P2) + q_difference * (Q * Q2) + infinity,
            infinity,
            infinity,
        ]
    }

    #[inline(always)]
    fn gradient<T: Real>([a, b, c, d, ..]: Axis<T>) -> Axis<T> {
        let (p_even, p_odd) = (a + c * P2, b * P + d * (P * P2));
        let (q_even, q_odd) = (a + c * Q2, b * Q + d * (Q * Q2));
        [a, p_even + p_odd, p_even - p_odd, q_even + q_odd, q_even - q_odd, d]
    }

    #[inline(always)]
    fn weights<T: Real>([a, b, c, ..]: Axis<T>) -> Axis<T> {
        let (p_even, p_odd) = (a * (1.0 / AT_P) + c * (P2 / AT_P), b * (P / AT_P));
        let (q_even, q_odd) = (a * (1.0 / AT_Q) + c * (Q2 / AT_Q), b * (Q / AT_Q));
        [a * (1.0 / (P2 * Q2)), p_even + p_odd, p_even - p_odd, q_even + q_odd, q_even - q_odd, c]
    }

    #[inline(always)]
    fn weights_gradient<T: Real>([zero, p, minus_p, q, minus_q, infinity]: Axis<T>) -> Axis<T> {
        let (p_sum, p_difference) = (p + minus_p, p - minus_p);
        let (q_sum, q_difference) = (q + minus_q, q - minus_q);
        [
            zero * (1.0 / (P2 * Q2)) + p_sum * (1.0 / AT_P) + q_sum * (1.0 / AT_Q),
            p_difference * (P / AT_P) + q_difference * (Q / AT_Q),
            p_sum * (P2 / AT_P) + q_sum * (Q2 / AT_Q) + infinity,
            infinity,
            infinity,
            infinity,
        ]
    }
}

/// Applies a transform along both axes of `from` x `from` numbers, which `load` returns by row and column, and
/// passes the `to` x `to` results to `store`.
///
/// All closures must carry `#[inline(always)]`, as for `vectorised`.
#[inline(always)]
pub fn along_both<T: Real>(
    from: usize,
    to: usize,
    load: impl Fn(usize, usize) -> Lanes<T>,
    transform: impl Fn(Axis<T>) -> Axis<T>,
    mut store: impl FnMut(usize, usize, Lanes<T>),
) {
    let zero = Lanes::zero();
    // Not filled with zeros first: filling took 3 % of a small ResNet-18.
    let mut between = [const { MaybeUninit::<Lanes<T>>::uninit() }; MAX_VALUES * MAX_VALUES];
    for column in 0..from.min(MAX_VALUES) {
        let mut axis = [zero; MAX_VALUES];
        for (row, lanes) in axis.iter_mut().enumerate().take(from) {
            *lanes = load(row, column);
        }
        for (row, lanes) in transform(axis).into_iter().enumerate().take(to) {
            between[row * MAX_VALUES + column].write(lanes);
        }
    }
    for row in 0..to.min(MAX_VALUES) {
        let mut axis = [zero; MAX_VALUES];
        for (column, lanes) in axis.iter_mut().enumerate().take(from) {
            // SAFETY: columns below `from` have just been written in rows below `to`.
            *lanes = unsafe { between[row * MAX_VALUES + column].assume_init() };
        }
        let axis = transform(axis);
        for (column, &lanes) in axis.iter().enumerate().take(to) {
            store(row, column, lanes);
        }
    }
}
