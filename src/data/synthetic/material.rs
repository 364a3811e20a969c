//! What pipes are made of: colour, relief and gloss of the bare wall as functions of the place on it.
//!
//! Textures are sums of value noise in (clock angle, depth). Octaves finer than a pixel's
//! footprint fade out, so that a distant wall is smooth instead of glittering. Knows nothing of light.

use super::noise::{band, hashed, mix, scale, smooth_step, value_noise};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Concrete,
    Clay,
    Plastic,
    Brick,
    Liner,
}

/// One wall material.
#[derive(Clone, Copy, Debug)]
pub struct Material {
    pub kind: Kind,
    /// Mean reflectance, red, green and blue, about 0..1.
    pub colour: [f32; 3],
    /// Strength of its texture, around 1.
    pub contrast: f32,
    /// 0 dull, 1 mirror-like.
    pub gloss: f32,
    pub seed: u32,
}

/// The wall at one place, ready for light.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    pub colour: [f32; 3],
    /// Slope of the relief (inward height) along the arc and along the axis.
    pub slope: [f32; 2],
    pub gloss: f32,
}

/// A place on the wall as textures see it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Clock angle in turns, 0 at the crown, 0.5 at the invert, 0.25 to the right.
    pub turn: f32,
    /// Depth along the axis, in radii.
    pub z: f32,
    /// Extent of a pixel on the wall across and along the axis, in radii.
    pub footprint: [f32; 2],
}

impl Place {
    /// How much of a detail `size` radii wide survives at this footprint: 1 all, 0 none.
    #[inline]
    pub fn visible(&self, size: f32) -> f32 {
        let extent = self.footprint[0].max(0.6 * self.footprint[1]);
        (1.6 - extent / size).clamp(0.0, 1.0)
    }
}

/// Noise with `period` cells around the pipe, stretched by `stretch` along the axis, faded by footprint.
/// Adds `height` times its slope to `slope` and returns its value, -1..1.
#[inline]
pub fn octave(place: &Place, period: u32, stretch: f32, seed: u32, height: f32, slope: &mut [f32; 2]) -> f32 {
    let cells = period as f32 * (1.0 / core::f32::consts::TAU);
    let fade = place.visible(0.7 / cells);
    if fade == 0.0 {
        return 0.0;
    }
    let along = cells / stretch;
    let noise = value_noise(place.turn * period as f32, (place.z + 8.0) * along, period, seed);
    slope[0] += height * fade * noise.dx * cells;
    slope[1] += height * fade * noise.dy * along;
    fade * noise.value
}

impl Material {
    /// The bare wall at `place`.
    pub fn surface(&self, place: &Place) -> Surface {
        let (seed, c) = (self.seed, self.contrast);
        let mut slope = [0.0; 2];
        let mut colour = self.colour;
        let mut gloss = self.gloss;
        match self.kind {
            Kind::Concrete => {
                let coarse = octave(place, 7, 1.3, seed, 0.010 * c, &mut slope);
                let medium = octave(place, 19, 1.0, seed ^ 1, 0.007 * c, &mut slope);
                let fine = octave(place, 53, 1.0, seed ^ 2, 0.0045 * c, &mut slope);
                let grain = octave(place, 120, 1.0, seed ^ 3, 0.002 * c, &mut slope);
                let shade = 1.0 + c * (0.13 * coarse + 0.10 * medium + 0.09 * fine + 0.10 * grain);
                colour = scale(colour, shade);
                colour[2] *= 1.0 - 0.06 * c * coarse;
            }
            Kind::Clay => {
                let coarse = octave(place, 6, 2.0, seed, 0.004 * c, &mut slope);
                let streak = octave(place, 37, 6.0, seed ^ 1, 0.002 * c, &mut slope);
                let fine = octave(place, 71, 1.0, seed ^ 2, 0.0015 * c, &mut slope);
                colour = scale(colour, 1.0 + c * (0.12 * coarse + 0.07 * streak + 0.05 * fine));
                colour[0] *= 1.0 + 0.07 * c * streak;
            }
            Kind::Plastic => {
                let coarse = octave(place, 5, 3.0, seed, 0.0, &mut slope);
                let scratch = octave(place, 90, 14.0, seed ^ 1, 0.001 * c, &mut slope);
                colour = scale(colour, 1.0 + c * (0.05 * coarse + 0.05 * scratch));
            }
            Kind::Brick => {
                let courses = 26.0;
                let row = place.turn * courses;
                let course = row as u32;
                let stagger = if course.is_multiple_of(2) { 0.0 } else { 0.5 };
                let run = (place.z + 8.0) * 1.35 + stagger;
                let brick = run as u32;
                let across = (row - course as f32 - 0.5).abs();
                let lengthwise = (run - brick as f32 - 0.5).abs();
                let joint = smooth_step(0.36, 0.46, across).max(smooth_step(0.42, 0.48, lengthwise));
                let joint = joint * place.visible(0.07);
                let tint = hashed(course, brick, seed) - 0.5;
                let fine = octave(place, 61, 1.0, seed ^ 2, 0.006 * c, &mut slope);
                let coarse = octave(place, 9, 1.5, seed ^ 3, 0.004 * c, &mut slope);
                colour = scale(colour, 1.0 + c * (0.45 * tint + 0.12 * fine + 0.12 * coarse));
                colour = mix(colour, [0.60, 0.57, 0.50], 0.75 * joint);
                slope[1] += 0.25 * joint * if run - brick as f32 > 0.5 { -1.0 } else { 1.0 };
            }
            Kind::Liner => {
                let coarse = octave(place, 4, 3.0, seed, 0.004 * c, &mut slope);
                let wrinkle = octave(place, 23, 4.0, seed ^ 1, 0.003 * c, &mut slope);
                let fine = octave(place, 83, 1.0, seed ^ 2, 0.001 * c, &mut slope);
                colour = scale(colour, 1.0 + c * (0.07 * coarse + 0.05 * wrinkle + 0.03 * fine));
                // The seam along which the felt was sewn.
                let seam = hashed(0, 0, seed);
                let d = super::noise::turn_difference(place.turn, seam);
                colour = scale(colour, 1.0 - 0.22 * band(0.006 + place.footprint[0] * 0.1, d));
            }
        }
        gloss *= 1.0 + 0.3 * slope[1].clamp(-1.0, 1.0);
        Surface { colour, slope, gloss }
    }
}
