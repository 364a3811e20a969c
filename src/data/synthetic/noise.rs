//! Noise and elementary functions that give the same bits on every machine.
//!
//! Value noise: hashed values on an integer lattice, smoothly interpolated, with its gradient, so that relief can be
//! lit. Only + - * / and square roots are used, and no function of the system's mathematics library.

/// Mixes two lattice coordinates and a seed into 32 well-distributed bits.
#[inline]
pub const fn hash(x: u32, y: u32, seed: u32) -> u32 {
    let h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed.wrapping_mul(0xC2B2_AE3D);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    (h ^ (h >> 12)).wrapping_mul(0x297A_2D39)
}

/// Returns [`hash`] as a number in [0, 1), in steps of 2^-24.
#[inline]
pub const fn hashed(x: u32, y: u32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Values of lattice points, uniform in [0, 1).
static LATTICE: [f32; 2048] = {
    let mut values = [0.0; 2048];
    let mut i = 0;
    while i < values.len() {
        values[i] = hashed(i as u32, 0, 1);
        i += 1;
    }
    values
};

/// A noise value in [-1, 1] and its derivatives with respect to both coordinates (per lattice cell).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoiseValue {
    /// Value, -1..1.
    pub value: f32,
    /// Derivative with respect to the first coordinate.
    pub dx: f32,
    /// Derivative with respect to the second coordinate.
    pub dy: f32,
}

/// 1.5 x 2^23: adding it to a number below 2^21 rounds the number to the nearest integer, which is then in the last
/// bits of the sum. All vector units can do that; not all have a cheap conversion.
const WHOLE: f32 = 12_582_912.0;

/// Returns the integer nearest to `x`, whose absolute value is below 2^21.
#[inline]
pub fn nearest(x: f32) -> f32 {
    (x + WHOLE) - WHOLE
}

/// Returns [`nearest`] as an integer.
#[inline]
pub fn nearest_integer(x: f32) -> i32 {
    (x + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32
}

/// The lattice cell of `x`, and the position in it, 0..=1: a lattice point may count as the end of the previous cell.
#[inline]
fn cell(x: f32) -> (i32, f32) {
    (nearest_integer(x - 0.5), x - nearest(x - 0.5))
}

/// Returns value noise at (`x`, `y`), both in lattice cells: `y` is not negative, and `x`, in 0..2 `period`, wraps
/// around after `period` cells.
#[inline]
pub fn value_noise(x: f32, y: f32, period: u32, seed: u32) -> NoiseValue {
    let ((xi, fx), (yi, fy)) = (cell(x), cell(y));
    let left = if xi >= period as i32 { xi - period as i32 } else { xi };
    // One table look-up per corner: four full hashes would take half of a picture's time. Multiples of the
    // neighbours' coordinates are computed by addition.
    let column = (left as u32).wrapping_mul(0x9E37_79B1);
    let next_column = if left + 1 == period as i32 { 0 } else { column.wrapping_add(0x9E37_79B1) };
    let rows = (yi as u32).wrapping_mul(0x85EB_CA77);
    let (row, next_row) = (rows ^ seed, rows.wrapping_add(0x85EB_CA77) ^ seed);
    let corner = |x: u32, y: u32| LATTICE[(x.wrapping_add(y) >> 21) as usize];
    let (a, b) = (corner(column, row), corner(next_column, row));
    let (c, d) = (corner(column, next_row), corner(next_column, next_row));
    let (sx, sy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    let (top, bottom) = (a + (b - a) * sx, c + (d - c) * sx);
    NoiseValue {
        value: 2.0 * (top + (bottom - top) * sy) - 1.0,
        dx: 12.0 * fx * (1.0 - fx) * ((b - a) + (d - c - b + a) * sy),
        dy: 12.0 * fy * (1.0 - fy) * (bottom - top),
    }
}

/// Returns 0 below `low`, 1 above `high`, and a smooth cubic in between.
#[inline]
pub fn smooth_step(low: f32, high: f32, x: f32) -> f32 {
    let t = saturate((x - low) * (1.0 / (high - low)));
    t * t * (3.0 - 2.0 * t)
}

/// Limits `x` to 0..1. Unlike `clamp` it compiles to two instructions, since NaN is not preserved.
#[inline]
pub fn saturate(x: f32) -> f32 {
    at_most(at_least(x, 0.0), 1.0)
}

/// Returns the larger value, like `max` but without handling NaN.
#[inline]
pub fn at_least(x: f32, low: f32) -> f32 {
    if x > low { x } else { low }
}

/// Returns the smaller value, like `min` but without handling NaN.
#[inline]
pub fn at_most(x: f32, high: f32) -> f32 {
    if x < high { x } else { high }
}

/// Returns a soft band: 1 at zero, 0 beyond `width` on either side, smooth in between.
#[inline]
pub fn band(width: f32, x: f32) -> f32 {
    let q = x / width;
    let t = at_least(1.0 - q * q, 0.0);
    t * t
}

/// Returns the direction of (`x`, `y`) in turns, 0..1, from +y towards +x: the clock angle on a pipe wall.
///
/// Uses a polynomial approximation of `atan` on 0..1 (Abramowitz and Stegun 4.4.49, error below 1e-5 rad).
#[inline]
pub fn clock_turns(x: f32, y: f32) -> f32 {
    let (ax, ay) = (x.abs(), y.abs());
    let (small, large) = if ax < ay { (ax, ay) } else { (ay, ax) };
    let q = small / (large + 1e-20);
    let s = q * q;
    let atan = q * (0.999_866 + s * (-0.330_299_5 + s * (0.180_141 + s * (-0.085_133 + s * 0.020_835_1))));
    let eighth = atan * (1.0 / core::f32::consts::TAU);
    let quarter = if ax < ay { eighth } else { 0.25 - eighth };
    let half = if y < 0.0 { 0.5 - quarter } else { quarter };
    if x < 0.0 { at_most(1.0 - half, 0.999_999_94) } else { half }
}

/// Returns the signed difference `a - b` of two clock angles in turns, -0.5..0.5.
#[inline]
pub fn turn_difference(a: f32, b: f32) -> f32 {
    let d = a - b;
    if d > 0.5 {
        d - 1.0
    } else if d < -0.5 {
        d + 1.0
    } else {
        d
    }
}

/// Interpolates linearly, component by component: `a` at 0, `b` at 1.
#[inline]
pub fn mix(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// Multiplies every component by `factor`.
#[inline]
pub fn scale(colour: [f32; 3], factor: f32) -> [f32; 3] {
    colour.map(|c| c * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_angle_follows_the_arc_tangent() {
        for step in 0..1000 {
            let turn = step as f64 / 1000.0;
            let angle = turn * core::f64::consts::TAU;
            let (x, y) = (libm::sin(angle) as f32 * 0.7, libm::cos(angle) as f32 * 0.7);
            let error = turn_difference(clock_turns(x, y), turn as f32).abs();
            assert!(error < 4e-6, "{turn}: off by {error} turns");
        }
    }

    #[test]
    fn noise_wraps_and_its_gradient_is_its_slope() {
        let (seed, step) = (9, 1e-2);
        for i in 0..200 {
            let (x, y) = (i as f32 * 0.037, i as f32 * 0.091);
            let here = value_noise(x, y, 8, seed);
            let wrapped = value_noise(x + 8.0, y, 8, seed);
            assert!((here.value - wrapped.value).abs() < 1e-2, "no seam after one period");
            let ahead = value_noise(x, y + step, 8, seed).value;
            let behind = value_noise(x, y - step, 8, seed).value;
            let slope = (ahead - behind) / (2.0 * step);
            assert!((here.dy - slope).abs() < 0.1, "{} for {slope}", here.dy);
        }
    }

    /// A turn is below 1, also where single precision rounds it up.
    #[test]
    fn an_angle_just_before_a_whole_turn_stays_below_it() {
        for x in [-1e-9_f32, -1e-20, -f32::MIN_POSITIVE] {
            let turn = clock_turns(x, 0.7);
            assert!((0.999_999..1.0).contains(&turn), "{x}: {turn}");
        }
        assert_eq!(clock_turns(0.0, 0.7), 0.0);
    }
}
