//! Materials of pipes: colour, relief and gloss of the bare wall as functions of the position on it.
//!
//! Textures are sums of value noise in (clock angle, depth). Octaves finer than a pixel's footprint fade out, so that
//! a distant wall is smooth instead of glittering. The bare wall is textured one span at a time; whatever covers it,
//! point by point.

use super::{
    noise::{
        at_least, at_most, band, hashed, mix, saturate, scale, smooth_step, turn_difference, value_noise,
    },
    span::{SPAN, Values, at, put},
};

/// Kind of material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaterialKind {
    Concrete,
    Clay,
    Plastic,
    Brick,
    Liner,
}

/// One wall material.
#[derive(Clone, Copy, Debug)]
pub struct Material {
    /// Kind of its texture.
    pub kind: MaterialKind,
    /// Mean reflectance, red, green and blue, about 0..1.
    pub colour: [f32; 3],
    /// Strength of its texture; about 1.
    pub contrast: f32,
    /// Gloss: 0 dull, 1 mirror-like.
    pub gloss: f32,
    /// Seed of the texture.
    pub seed: u32,
}

/// The wall at one point, ready for lighting.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
    /// Slope of the relief (inward height) along the arc and along the axis.
    pub slope: [f32; 2],
    /// Gloss: 0 dull, 1 mirror-like.
    pub gloss: f32,
}

/// The wall at the points of a span.
pub struct Surfaces {
    /// Reflectance, red, green and blue.
    pub colour: [Values; 3],
    /// Slopes of the relief along the arc and along the axis.
    pub slope: [Values; 2],
    /// Gloss: 0 dull, 1 mirror-like.
    pub gloss: Values,
}

/// A point on the wall, in the coordinates of textures.
#[derive(Clone, Copy, Debug)]
pub struct WallPoint {
    /// Clock angle in turns: 0 at the crown, 0.25 on the right, 0.5 at the invert.
    pub turn: f32,
    /// Depth along the axis, in radii.
    pub z: f32,
    /// Extent of the pixel on the wall, in radii: smaller details disappear.
    pub grain: f32,
}

/// The points of a span: [`WallPoint`] property by property.
pub struct WallPoints {
    /// Clock angles in turns.
    pub turn: Values,
    /// Depths along the axis, in radii.
    pub z: Values,
    /// Extents below which details disappear, in radii ([`WallPoint::grain`]).
    pub grain: Values,
    /// Extents of a pixel on the wall, across and along the axis, in radii.
    pub footprint: [Values; 2],
}

impl WallPoint {
    /// Returns how much of a detail `size` radii wide remains visible at this footprint: 1 all, 0 none.
    #[inline]
    pub fn visible(&self, size: f32) -> f32 {
        visible(self.grain, 1.0 / size)
    }
}

/// How much of a detail of 1 / `fineness` radii remains visible in pixels of `grain`: 1 all, 0 none.
#[inline]
fn visible(grain: f32, fineness: f32) -> f32 {
    saturate(1.6 - grain * fineness)
}

impl WallPoints {
    /// Creates points that are all zero.
    pub fn new() -> Self {
        Self { turn: [0.0; SPAN], z: [0.0; SPAN], grain: [0.0; SPAN], footprint: [[0.0; SPAN]; 2] }
    }

    /// Returns point `i` of the span.
    #[inline]
    pub fn get(&self, i: usize) -> WallPoint {
        WallPoint { turn: self.turn[i], z: self.z[i], grain: self.grain[i] }
    }
}

impl Surfaces {
    /// Creates surfaces that are all zero.
    pub fn new() -> Self {
        Self { colour: [[0.0; SPAN]; 3], slope: [[0.0; SPAN]; 2], gloss: [0.0; SPAN] }
    }

    /// Returns surface `i` of the span.
    #[inline]
    pub fn get(&self, i: usize) -> Surface {
        Surface { colour: at(&self.colour, i), slope: at(&self.slope, i), gloss: self.gloss[i] }
    }

    /// Replaces surface `i` of the span.
    #[inline]
    pub fn set(&mut self, i: usize, surface: Surface) {
        put(&mut self.colour, i, surface.colour);
        put(&mut self.slope, i, surface.slope);
        self.gloss[i] = surface.gloss;
    }
}

/// Computes noise with `period` cells around the pipe, stretched by `stretch` along the axis, and faded by footprint.
/// Adds `height` times its slope to `slope`, and returns its value, -1..1.
#[inline]
pub fn octave(
    place: &WallPoint,
    period: u32,
    stretch: f32,
    seed: u32,
    height: f32,
    slope: &mut [f32; 2],
) -> f32 {
    let cells = period as f32 * (1.0 / core::f32::consts::TAU);
    let fade = visible(place.grain, cells * (1.0 / 0.7));
    if fade == 0.0 {
        return 0.0;
    }
    let along = cells / stretch;
    let noise = value_noise(place.turn * period as f32, (place.z + 8.0) * along, period, seed);
    slope[0] += height * fade * noise.dx * cells;
    slope[1] += height * fade * noise.dy * along;
    fade * noise.value
}

/// One scale of a material's texture.
struct Octave {
    /// Number of cells around the pipe; `stretch` is how much longer they are along it.
    period: u32,
    stretch: f32,
    /// Height of its relief, in radii.
    height: f32,
    /// Amount by which it brightens red, green and blue.
    shade: [f32; 3],
}

const fn grey(period: u32, stretch: f32, height: f32, shade: f32) -> Octave {
    Octave { period, stretch, height, shade: [shade; 3] }
}

const CONCRETE: [Octave; 4] = [
    Octave { period: 7, stretch: 1.3, height: 0.010, shade: [0.13, 0.13, 0.07] },
    grey(19, 1.0, 0.007, 0.10),
    grey(53, 1.0, 0.0045, 0.09),
    grey(120, 1.0, 0.002, 0.10),
];
const CLAY: [Octave; 3] = [
    grey(6, 2.0, 0.004, 0.12),
    Octave { period: 37, stretch: 6.0, height: 0.002, shade: [0.14, 0.07, 0.07] },
    grey(71, 1.0, 0.0015, 0.05),
];
const PLASTIC: [Octave; 2] = [grey(5, 3.0, 0.0, 0.05), grey(90, 14.0, 0.001, 0.05)];
const BRICK: [Octave; 2] = [grey(61, 1.0, 0.006, 0.12), grey(9, 1.5, 0.004, 0.12)];
const LINER: [Octave; 3] =
    [grey(4, 3.0, 0.004, 0.07), grey(23, 4.0, 0.003, 0.05), grey(83, 1.0, 0.001, 0.03)];

impl Material {
    /// Computes the bare wall at the first `n` of `places`.
    pub fn cover(&self, places: &WallPoints, n: usize, surfaces: &mut Surfaces) {
        for values in surfaces.colour.iter_mut().chain([&mut surfaces.gloss]) {
            values[..n].fill(1.0);
        }
        for values in &mut surfaces.slope {
            values[..n].fill(0.0);
        }
        let octaves: &[Octave] = match self.kind {
            MaterialKind::Concrete => &CONCRETE,
            MaterialKind::Clay => &CLAY,
            MaterialKind::Plastic => &PLASTIC,
            MaterialKind::Brick => &BRICK,
            MaterialKind::Liner => &LINER,
        };
        for (octave, salt) in octaves.iter().zip(0..) {
            octave.add(places, n, self.seed ^ salt, self.contrast, surfaces);
        }
        for (values, colour) in surfaces.colour.iter_mut().zip(self.colour) {
            for value in &mut values[..n] {
                *value *= colour;
            }
        }
        match self.kind {
            MaterialKind::Brick => self.lay_bricks(places, n, surfaces),
            MaterialKind::Liner => self.sew(places, n, surfaces),
            MaterialKind::Concrete | MaterialKind::Clay | MaterialKind::Plastic => {}
        }
        for i in 0..n.min(SPAN) {
            let tilt = at_most(at_least(surfaces.slope[1][i], -1.0), 1.0);
            surfaces.gloss[i] = self.gloss * (1.0 + 0.3 * tilt);
        }
    }

    /// Adds joints between bricks, and an individual tint for every brick.
    fn lay_bricks(&self, places: &WallPoints, n: usize, surfaces: &mut Surfaces) {
        for i in 0..n.min(SPAN) {
            let row = places.turn[i] * 26.0;
            let course = row as u32;
            let stagger = if course.is_multiple_of(2) { 0.0 } else { 0.5 };
            let run = (places.z[i] + 8.0) * 1.35 + stagger;
            let brick = run as u32;
            let across = (row - course as f32 - 0.5).abs();
            let lengthwise = (run - brick as f32 - 0.5).abs();
            let joint = at_least(smooth_step(0.36, 0.46, across), smooth_step(0.42, 0.48, lengthwise));
            let joint = joint * visible(places.grain[i], 1.0 / 0.07);
            let tint = 1.0 + self.contrast * 0.45 * (hashed(course, brick, self.seed) - 0.5);
            let mut surface = surfaces.get(i);
            surface.colour = mix(scale(surface.colour, tint), [0.60, 0.57, 0.50], 0.75 * joint);
            surface.slope[1] += 0.25 * joint * if run - brick as f32 > 0.5 { -1.0 } else { 1.0 };
            surfaces.set(i, surface);
        }
    }

    /// Adds the seam along which the felt was sewn.
    fn sew(&self, places: &WallPoints, n: usize, surfaces: &mut Surfaces) {
        let seam = hashed(0, 0, self.seed);
        for i in 0..n.min(SPAN) {
            let d = turn_difference(places.turn[i], seam);
            let shade = 1.0 - 0.22 * band(0.006 + places.footprint[0][i] * 0.1, d);
            for values in &mut surfaces.colour {
                values[i] *= shade;
            }
        }
    }
}

impl Octave {
    /// Adds the octave, multiplied by `contrast`, to colour and relief of the first `n` of `surfaces`.
    fn add(&self, places: &WallPoints, n: usize, seed: u32, contrast: f32, surfaces: &mut Surfaces) {
        let cells = self.period as f32 * (1.0 / core::f32::consts::TAU);
        let along = cells / self.stretch;
        let fineness = cells * (1.0 / 0.7);
        let n = n.min(SPAN);
        if places.grain[..n].iter().all(|&grain| visible(grain, fineness) == 0.0) {
            return;
        }
        let height = contrast * self.height;
        let (steep, steep_along) = (height * cells, height * along);
        let [red, green, blue] = self.shade.map(|shade| contrast * shade);
        for i in 0..n {
            let (x, y) = (places.turn[i] * self.period as f32, (places.z[i] + 8.0) * along);
            let noise = value_noise(x, y, self.period, seed);
            let fade = visible(places.grain[i], fineness);
            let value = fade * noise.value;
            surfaces.slope[0][i] += steep * fade * noise.dx;
            surfaces.slope[1][i] += steep_along * fade * noise.dy;
            surfaces.colour[0][i] += red * value;
            surfaces.colour[1][i] += green * value;
            surfaces.colour[2][i] += blue * value;
        }
    }
}
