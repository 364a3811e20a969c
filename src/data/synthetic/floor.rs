//! Material on the invert: flowing water and heaped sediment.
//!
//! Both are surfaces y = f(x, z). Water is intersected as a level plane; for sediment, the ray is marched in steps and
//! the crossing found by bisection. Independent of defect classes: some water is normal.

use super::{
    camera::{Ray, Vec3},
    noise::{NoiseValue, band, value_noise},
};

/// Water on the invert.
#[derive(Clone, Copy, Debug)]
pub struct Water {
    /// Height of its surface, -1 (none) to 1, in radii relative to the axis.
    pub level: f32,
    /// Reflectance, red, green and blue, about 0..1.
    pub colour: [f32; 3],
    /// Turbidity: 0 clear, 1 opaque.
    pub murk: f32,
    /// Slope of its ripples.
    pub ripple: f32,
    /// Seed of the ripples.
    pub seed: u32,
}

/// Sediment heaped on the invert.
#[derive(Clone, Copy, Debug)]
pub struct Mound {
    /// Depth of its top along the pipe, in radii.
    pub z: f32,
    /// Half its length along the pipe, in radii.
    pub half_length: f32,
    /// Lateral position of its ridge, in radii.
    pub x: f32,
    /// Height of its top above the invert, in radii.
    pub height: f32,
    /// Reflectance, red, green and blue, about 0..1.
    pub colour: [f32; 3],
    /// Size of its lumps: 0 silt, 1 gravel.
    pub coarseness: f32,
    /// Seed of the lumps.
    pub seed: u32,
}

/// A point on the floor, ready for lighting.
pub struct Ground {
    /// Distance along the ray, in radii.
    pub t: f32,
    /// Upward normal, not normalised.
    pub normal: Vec3,
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
}

impl Mound {
    #[inline]
    fn noise(&self, x: f32, z: f32, cells: f32, salt: u32) -> NoiseValue {
        value_noise((x + 2.0) * cells, (z + 8.0) * cells, 4096, self.seed ^ salt)
    }

    /// Height y of its surface at (`x`, `z`); -2, below the invert, where there is no sediment.
    #[inline]
    fn top(&self, x: f32, z: f32) -> f32 {
        let heap = band(self.half_length, z - self.z);
        if heap == 0.0 {
            return -2.0;
        }
        let lumps = 0.24 * self.noise(x, z, 2.5, 0).value + 0.08 * self.noise(x, z, 7.0, 1).value;
        let flank = 1.0 - 0.35 * (x - self.x) * (x - self.x);
        -1.0 + self.height * (heap * flank + lumps * heap)
    }

    /// Returns where `ray` meets it before `limit`; `pixel` is the angle of a pixel.
    pub fn meet(&self, ray: &Ray, limit: f32, pixel: f32) -> Option<Ground> {
        let [_, dy, dz] = ray.direction;
        if dy > -0.01 || dz < 0.01 {
            return None;
        }
        // March over the stretch that it covers, then refine the crossing.
        let begin = ((self.z - self.half_length - ray.origin[2]) / dz).max(0.2);
        let end = ((self.z + self.half_length - ray.origin[2]) / dz).min(limit);
        let clear = (-1.0 + 1.3 * self.height - ray.origin[1]) / dy;
        let begin = begin.max(clear);
        if begin >= end {
            return None;
        }
        let above = |t: f32| {
            let p = ray.at(t);
            p[1] - self.top(p[0], p[2])
        };
        let steps = 6;
        let (mut low, mut high) = (begin, begin);
        let mut under = above(begin) < 0.0;
        for step in 1..=steps {
            if under {
                break;
            }
            low = high;
            high = begin + (end - begin) * step as f32 / steps as f32;
            under = above(high) < 0.0;
        }
        if !under {
            return None;
        }
        for _ in 0..5 {
            let middle = 0.5 * (low + high);
            if above(middle) < 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        let [x, _, z] = ray.at(high);
        let e = 0.05;
        let here = self.top(x, z);
        let mut slope_x = (self.top(x + e, z) - here) / e;
        let mut slope_z = (self.top(x, z + e) - here) / e;
        let mut shade = 1.0;
        let cells = 24.0 - 13.0 * self.coarseness;
        for (octave, weight) in [(1.0, 0.5), (2.3, 0.35)] {
            let fade = (1.6 - pixel * high * cells * octave).clamp(0.0, 1.0);
            if fade > 0.0 {
                let grain = self.noise(x, z, cells * octave, 7);
                let relief = (0.12 + 0.28 * self.coarseness) * weight * fade;
                slope_x += relief * grain.dx;
                slope_z += relief * grain.dy;
                shade += weight * (0.35 + 0.25 * self.coarseness) * fade * grain.value;
            }
        }
        let colour = self.colour.map(|c| c * shade);
        Some(Ground { t: high, normal: [-slope_x, 1.0, -slope_z.clamp(-1.5, 1.5)], colour })
    }
}

impl Water {
    /// Returns the distance at which `ray` meets its surface, if before `limit`; otherwise `limit`.
    #[inline]
    pub fn meet(&self, ray: &Ray, limit: f32) -> f32 {
        let t = (self.level - ray.origin[1]) / ray.direction[1];
        if (ray.direction[1] < -1e-3) & (t > 0.0) & (t < limit) { t } else { limit }
    }

    /// True if the invert is dry.
    pub fn is_absent(&self) -> bool {
        self.level <= -0.999
    }

    /// Returns the upward normal of its rippled surface at `point`, at distance `t`; not normalised.
    #[inline]
    pub fn normal(&self, point: Vec3, t: f32) -> Vec3 {
        let (x, z) = (point[0] + 2.0, point[2] + 8.0);
        let calm = self.ripple / (1.0 + 0.4 * t);
        let wave = value_noise(x * 7.0, z * 3.0, 4096, self.seed);
        let small = value_noise(x * 21.0, z * 9.0, 4096, self.seed ^ 1);
        [-calm * (wave.dx + 0.5 * small.dx), 1.0, -calm * (wave.dy + 0.5 * small.dy)]
    }
}
