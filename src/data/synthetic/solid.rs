//! Objects in the pipe: blocks with six faces.

use super::{
    camera::{Ray, Vec3, along, dot, sub},
    noise::value_noise,
};

/// A block: brick, stone or plank.
#[derive(Clone, Copy, Debug)]
pub struct Solid {
    /// Position of its centre, in radii.
    pub centre: Vec3,
    /// Its three orthogonal axes of unit length.
    pub axes: [Vec3; 3],
    /// Half its extent along each axis, in radii.
    pub half: [f32; 3],
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
    /// Apparent roundness of its faces: 0 sawn, 1 a boulder.
    pub roundness: f32,
    /// Seed of its texture.
    pub seed: u32,
}

/// Intersection of a ray with a block's face.
pub struct Face {
    /// Distance along the ray, in radii.
    pub t: f32,
    /// Outward normal of unit length.
    pub normal: Vec3,
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
}

impl Solid {
    /// Returns where `ray` meets the block before `limit`.
    pub fn meet(&self, ray: &Ray, limit: f32) -> Option<Face> {
        let q = sub(ray.origin, self.centre);
        // A bounding sphere, which most rays miss.
        let near = dot(q, ray.direction);
        let [x, y, z] = self.half;
        if near > 0.0 || dot(q, q) - near * near > x * x + y * y + z * z {
            return None;
        }
        let (mut enter, mut leave, mut side) = (0.0_f32, limit, 3);
        for i in 0..3 {
            let (o, d) = (dot(q, self.axes[i]), dot(ray.direction, self.axes[i]));
            let inverse = 1.0 / if d.abs() < 1e-6 { 1e-6 } else { d };
            let (first, second) = ((-self.half[i] - o) * inverse, (self.half[i] - o) * inverse);
            let (first, second) = if first < second { (first, second) } else { (second, first) };
            if first > enter {
                (enter, side) = (first, i);
            }
            leave = leave.min(second);
        }
        if side == 3 || enter >= leave {
            return None;
        }
        let local = self.axes.map(|axis| dot(sub(ray.at(enter), self.centre), axis));
        // Chipped edges: regions near two faces at once are cut off by a superquadric of high power.
        let worn = [0, 1, 2].map(|i| (local[i] / self.half[i]) * (local[i] / self.half[i]));
        let fill = worn[0] + worn[1] + worn[2] - 1.0;
        let ragged = 0.25
            * value_noise((local[0] + 3.0) * 6.0, (local[1] + local[2] + 6.0) * 6.0, 4096, self.seed).value;
        if fill > 2.0 - 1.3 * self.roundness + ragged * (0.3 + self.roundness) {
            return None;
        }
        let sign = if dot(ray.direction, self.axes[side]) > 0.0 { -1.0 } else { 1.0 };
        let grain =
            value_noise((local[0] + 3.0) * 9.0, (local[1] + local[2] + 6.0) * 23.0, 4096, self.seed ^ 1);
        let fine =
            value_noise((local[0] + 3.0) * 31.0, (local[1] - local[2] + 6.0) * 31.0, 4096, self.seed ^ 2);
        let mut normal = self.axes[side].map(|v| v * sign);
        for (axis, (&place, &half)) in self.axes.iter().zip(local.iter().zip(&self.half)) {
            normal = along(normal, *axis, self.roundness * place / half);
        }
        let shade = 1.0 + 0.16 * grain.value + 0.12 * fine.value;
        Some(Face { t: enter, normal, colour: self.colour.map(|c| c * shade) })
    }
}
