//! The exponential function in plain arithmetic, so that loops over it become vector code.
//!
//! For f32: e^x = 2^n e^r, n the nearest integer to x / ln 2, and e^r = 1 + r + r^2 P(r) on |r| <= ln(2) / 2 with P
//! of degree 4, fitted by us for the least relative error (3e-9 before rounding). No fused multiply-add is used, so
//! every machine gives the same bits. For f64: libm's. Independent of tensors.

use super::storage::Real;

/// Element types with an exponential function.
pub trait Exponential: Real {
    /// Returns e^(high + low) for `high` <= 0, and |low| far below 1. In f32 the relative error is below 2e-7, and
    /// the result stays at e^-87 for anything lower.
    fn exponential(high: Self, low: Self) -> Self;
}

/// Adding and subtracting this rounds a small f32 to an integer: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 = LN_2_HIGH + LN_2_LOW; the first has nine bits, so that its products with integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
const P: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_404, 0.008_368_899, 0.001_381_422_3];

impl Exponential for f32 {
    #[inline(always)]
    fn exponential(high: Self, low: Self) -> Self {
        // Written so that NaN stays NaN.
        let high = if high < -87.0 { -87.0 } else { high };
        let rounded = high * std::f32::consts::LOG2_E + ROUNDER;
        let n = rounded - ROUNDER;
        let r = ((high - n * LN_2_HIGH) - n * LN_2_LOW) + low;
        let p = (((P[4] * r + P[3]) * r + P[2]) * r + P[1]) * r + P[0];
        // The low bits of `rounded` hold n; shifted into the exponent, they give 2^n.
        let power = Self::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
        (p * (r * r) + r + 1.0) * power
    }
}

impl Exponential for f64 {
    #[inline(always)]
    fn exponential(high: Self, low: Self) -> Self {
        libm::exp(high + low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_as_stated() {
        let mut worst = 0.0_f64;
        for step in 0..870_000 {
            let x = -1e-4 * step as f32;
            let expected = libm::exp(f64::from(x));
            worst = worst.max((f64::from(f32::exponential(x, 0.0)) / expected - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(f32::exponential(0.0, 0.0), 1.0);
        assert_eq!(f32::exponential(f32::NEG_INFINITY, 0.0), f32::exponential(-87.0, 0.0));
        assert!(f32::exponential(f32::NAN, 0.0).is_nan());
    }
}
