//! Holes in the wall where another pipe joins: the branch behind the hole, its collar, and its end inside the pipe.
//!
//! The branch is a cylinder whose axis may lean along the main pipe. A ray that enters it is followed to the branch's
//! own wall. Independent of defect classes.

use super::{
    camera::{Ray, Vec3, add, along, cross, dot, sub, unit},
    noise::{clock_turns, mix, scale, smooth_step, value_noise},
};

/// How the hole was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Cast or drilled: clean.
    Clean,
    /// Broken out with a chisel.
    Ragged,
    /// Cut through a liner: the liner's edge is not aligned with the branch behind it.
    Cut,
}

/// A branch that opens into the pipe.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Centre of the hole on the wall.
    at: Vec3,
    /// Direction of the branch, away from the pipe's axis.
    axis: Vec3,
    /// Directions across the branch: around the main pipe, and (nearly) along it.
    across: [Vec3; 2],
    /// Radius of the branch, in radii of the pipe.
    pub radius: f32,
    /// Appearance of the rim.
    pub edge: Edge,
    /// Reflectance inside the branch, red, green and blue.
    pub colour: [f32; 3],
    /// Reflectance of the collar, red, green and blue.
    pub collar: [f32; 3],
    /// Width of the collar, in branch radii; 0 for none.
    pub collar_width: f32,
    /// Length of the branch pipe inside the main pipe, in radii; 0 if it does not protrude.
    pub reach: f32,
    /// Depth at which the branch becomes dark, in radii.
    pub dark: f32,
    /// Seed of the rim and of the dirt inside.
    pub seed: u32,
}

/// What a ray meets at a branch.
pub struct OpeningHit {
    /// Distance along the ray, in radii.
    pub t: f32,
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
    /// Cosine between the surface's normal and the direction back to the lamp.
    pub facing: f32,
}

impl Opening {
    /// Creates a clean hole of `radius` at clock angle `turn` and depth `z` in a wall of radius `wall` around
    /// `centre`; `lean` is the slope of the branch's axis along the pipe (0 perpendicular, 1 at 45 degrees).
    pub fn new(turn: f32, z: f32, centre: [f32; 2], wall: f32, radius: f32, lean: f32) -> Self {
        let angle = f64::from(turn) * core::f64::consts::TAU;
        let (s, c) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let outward = [s, c, 0.0];
        let around = [c, -s, 0.0];
        let axis = unit([s, c, lean]);
        Self {
            at: along([centre[0], centre[1], z], outward, wall),
            axis,
            across: [around, cross(around, axis)],
            radius,
            edge: Edge::Clean,
            colour: [0.4; 3],
            collar: [0.6; 3],
            collar_width: 0.0,
            reach: 0.0,
            dark: 0.6,
            seed: 0,
        }
    }

    /// False if `point` on the wall is too far away to be coloured by the opening, its collar or its edge.
    #[inline]
    pub fn is_near(&self, point: Vec3) -> bool {
        let q = sub(point, self.at);
        let bound = 2.0 * self.radius;
        dot(q, q) <= bound * bound
    }

    /// Returns the colour that replaces the wall's at `point`, if it is near: collar or branch, and whether this is
    /// on the wall. `bare` is the colour of the wall there, `pixel` the extent of a pixel.
    pub fn look(&self, ray: &Ray, point: Vec3, bare: [f32; 3], pixel: f32) -> Option<([f32; 3], bool)> {
        let q = sub(point, self.at);
        let (a, b) = (dot(q, self.across[0]), dot(q, self.across[1]));
        let distance = (a * a + b * b).sqrt() / self.radius;
        let mut rim = 1.0;
        let mut chips = 0.0;
        if self.edge != Edge::Clean {
            let turn = clock_turns(a, b);
            let coarse = value_noise(turn * 9.0, 0.5, 9, self.seed).value;
            let fine = value_noise(turn * 31.0, 0.5, 31, self.seed ^ 1).value;
            let (strong, weak) = if self.edge == Edge::Ragged { (0.20, 0.10) } else { (0.07, 0.05) };
            rim += strong * coarse + weak * fine;
            if self.edge == Edge::Ragged {
                chips = 0.30 + 0.25 * value_noise(turn * 13.0, 0.5, 13, self.seed ^ 2).value;
            }
        }
        let soft = (pixel / self.radius).max(0.02);
        if distance > rim + soft {
            // On the wall: a broken edge or collar, surrounded by a thin shadow.
            if chips > 0.0 && distance < rim + chips {
                let speckle = value_noise((a + 9.0) * 40.0, (b + 9.0) * 40.0, 1024, self.seed ^ 3).value;
                let fresh = scale(self.collar, 1.0 + 0.35 * speckle);
                let edge = smooth_step(rim + chips, rim + chips - 0.1, distance);
                return Some((mix(bare, fresh, 0.85 * edge), true));
            }
            let outer = 1.0 + self.collar_width;
            if self.collar_width > 0.0 && distance < outer + soft {
                let collar = mix(self.collar, bare, smooth_step(outer - soft, outer + soft, distance));
                let groove = smooth_step(2.5 * soft, 0.0, (distance - outer).abs());
                return Some((scale(collar, 1.0 - 0.35 * groove), true));
            }
            let shadow = smooth_step(rim + 0.12, rim, distance);
            return (shadow > 0.0).then(|| (scale(bare, 1.0 - 0.25 * shadow), true));
        }
        let inside = self.interior(ray, point);
        if distance > rim - soft {
            let light = if self.edge == Edge::Cut { 1.25 } else { 0.8 };
            let brink = if self.edge == Edge::Cut { scale(bare, light) } else { scale(self.collar, light) };
            let w = smooth_step(rim - soft, rim + soft, distance);
            return Some((mix(inside, brink, w), true));
        }
        if self.edge == Edge::Cut {
            // The thickness of the liner; behind it, the host pipe and the mouth of the branch, not aligned.
            if distance > rim - 0.09 {
                return Some((scale(bare, if b > 0.0 { 1.35 } else { 0.5 }), true));
            }
            let (x, y) = (a / self.radius + 0.28, b / self.radius - 0.22);
            if x * x + y * y > 0.75 {
                let grit = value_noise((a + 9.0) * 30.0, (b + 9.0) * 30.0, 1024, self.seed ^ 4).value;
                return Some((scale(self.collar, 0.6 + 0.25 * grit), true));
            }
        }
        Some((inside, false))
    }

    /// Colour inside the branch, lit by the light that reaches it, for a ray that enters at `point`.
    fn interior(&self, ray: &Ray, point: Vec3) -> [f32; 3] {
        let q = sub(point, self.at);
        let (a, b) = (dot(q, self.across[0]), dot(q, self.across[1]));
        let (da, db) = (dot(ray.direction, self.across[0]), dot(ray.direction, self.across[1]));
        let inward = dot(ray.direction, self.axis).max(0.0);
        let (aa, bb) = (da * da + db * db, a * da + b * db);
        let cc = (a * a + b * b - self.radius * self.radius).min(0.0);
        let t = (-bb + (bb * bb - aa * cc).max(0.0).sqrt()) / (aa + 1e-6);
        let depth = (dot(q, self.axis) + t * inward).max(0.0);
        let lit = 1.0 / (1.0 + (depth / self.dark) * (depth / self.dark) * 6.0);
        let streak =
            value_noise((a + t * da + 4.0) * 9.0, (b + t * db + 4.0) * 9.0, 1024, self.seed ^ 5).value;
        scale(self.colour, (0.75 + 0.15 * streak) * lit)
    }

    /// Returns the end of the branch pipe inside the main pipe, if the ray meets it before `limit`.
    pub fn stub(&self, ray: &Ray, limit: f32) -> Option<OpeningHit> {
        if self.reach <= 0.0 {
            return None;
        }
        let q = sub(ray.origin, self.at);
        let (a, b, c) = (dot(q, self.across[0]), dot(q, self.across[1]), dot(q, self.axis));
        let (da, db) = (dot(ray.direction, self.across[0]), dot(ray.direction, self.across[1]));
        let dc = dot(ray.direction, self.axis);
        let outer = self.radius * 0.97;
        let aa = da * da + db * db + 1e-9;
        let bb = a * da + b * db;
        let discriminant = bb * bb - aa * (a * a + b * b - outer * outer);
        if discriminant <= 0.0 {
            return None;
        }
        // The end face comes first: the camera is on its side of the plane c = -reach.
        if dc > 1e-5 {
            let t = (-self.reach - c) / dc;
            if t > 0.0 && t < limit {
                let (x, y) = (a + t * da, b + t * db);
                let d = (x * x + y * y).sqrt() / outer;
                if d < 1.0 {
                    let point = ray.at(t);
                    let colour = if d > 0.84 {
                        scale(self.collar, 1.15)
                    } else {
                        self.interior(ray, add(point, self.axis.map(|v| v * self.reach)))
                    };
                    return Some(OpeningHit { t, colour, facing: if d > 0.84 { dc } else { 0.6 } });
                }
            }
        }
        let t = (-bb - discriminant.sqrt()) / aa;
        let depth = c + t * dc;
        if t <= 0.0 || t >= limit || depth < -self.reach || depth > 0.2 {
            return None;
        }
        let normal_a = (a + t * da) / outer;
        let normal_b = (b + t * db) / outer;
        let facing = -(da * normal_a + db * normal_b);
        let streak = value_noise((normal_a + 2.0) * 6.0, (depth + 4.0) * 14.0, 1024, self.seed ^ 6).value;
        Some(OpeningHit { t, colour: scale(self.collar, 1.0 + 0.15 * streak), facing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen from inside the pipe, on the right: `a` counts downwards and `b` ahead.
    fn opening(edge: Edge) -> Opening {
        Opening { edge, seed: 3, ..Opening::new(0.25, 3.0, [0.0; 2], 1.0, 0.2, 0.0) }
    }

    /// The cut through a liner is bright where it faces the camera, at the far side, and dark at the near side.
    #[test]
    fn the_cut_of_a_liner_is_lit_from_the_camera() {
        let (opening, bare) = (opening(Edge::Cut), [0.4, 0.5, 0.6]);
        let mut seen = [[0; 2]; 2];
        for step in 0..360 {
            let (sin, cos) = (step as f32).to_radians().sin_cos();
            for distance in [0.88, 0.92, 0.96] {
                let point = [1.0, -0.2 * distance * cos, 3.0 + 0.2 * distance * sin];
                let ray = Ray { origin: [0.0; 3], direction: unit(point) };
                let (colour, _) = opening.look(&ray, point, bare, 0.0).unwrap();
                for (shade, light) in [0.5, 1.35].into_iter().enumerate() {
                    seen[usize::from(sin > 0.0)][shade] += usize::from(colour == scale(bare, light));
                }
            }
        }
        let [[dark_near, light_near], [dark_far, light_far]] = seen;
        assert!(dark_near > 100 && light_far > 100, "{seen:?}");
        assert_eq!((light_near, dark_far), (0, 0));
    }

    /// A branch pipe of radius 0.97 * 0.2 that reaches 0.3 into the main pipe.
    #[test]
    fn a_stub_is_met_by_rays_through_it_alone() {
        let stub = Opening { reach: 0.3, ..opening(Edge::Clean) };
        let at = |x: f32, y: f32| Ray { origin: [x, y, 0.0], direction: [0.0, 0.0, 1.0] };
        let near = stub.stub(&at(0.85, 0.0), 60.0).unwrap();
        assert!((near.t - (3.0 - 0.194)).abs() < 1e-4, "{}", near.t);
        assert!((near.facing - 1.0).abs() < 1e-4, "{}", near.facing);
        let beside = stub.stub(&at(0.85, 0.1), 60.0).unwrap();
        assert!((beside.t - (3.0 - (0.194_f32 * 0.194 - 0.01).sqrt())).abs() < 1e-4, "{}", beside.t);
        for (x, y, limit) in [(0.85, 0.2, 60.0), (0.85, -0.2, 60.0), (0.65, 0.0, 60.0), (0.85, 0.0, 2.8)] {
            assert!(stub.stub(&at(x, y), limit).is_none(), "{x} {y} {limit}");
        }
        assert!(opening(Edge::Clean).stub(&at(0.85, 0.0), 60.0).is_none(), "it does not reach into the pipe");
    }
}
