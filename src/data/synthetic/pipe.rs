//! Shape of the pipe: consecutive cylinders or cones, and their intersections with rays.
//!
//! A ray o + t d meets a cone of radius R(z) = a + s z around (c_x, c_y) where (o_x + t d_x - c_x)^2 + (o_y + t d_y -
//! c_y)^2 = (a + s (o_z + t d_z))^2, a quadratic in t. Displaced joints, steps and tapers are two lengths that are
//! not aligned: the part of the next length's end that is inside the current one is a face.

use super::{
    camera::{Ray, Rays, Vec3},
    noise::at_least,
    span::{SPAN, Values},
};

/// A length of pipe from `start` to the start of the next.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Depth where it begins, in radii ahead of the camera.
    pub start: f32,
    /// Offset of its axis from the nominal one, to the right and upwards.
    pub centre: [f32; 2],
    /// Radius at `start`.
    pub radius: f32,
    /// Radius gained per unit of z: zero for a cylinder.
    pub taper: f32,
    /// Index of its material in the scene.
    pub material: usize,
}

impl Length {
    /// Returns the radius at depth `z`.
    #[inline]
    pub fn radius_at(&self, z: f32) -> f32 {
        self.radius + self.taper * (z - self.start)
    }

    /// Distance at which the ray would leave this length if the length were infinite and its radius were reduced by
    /// `inset`; [`FAR`] if it would not.
    #[inline]
    fn leave(&self, ray: &Ray, inset: f32) -> f32 {
        let [dx, dy, dz] = ray.direction;
        let (qx, qy) = (ray.origin[0] - self.centre[0], ray.origin[1] - self.centre[1]);
        let radius = self.radius_at(ray.origin[2]) - inset;
        let slope = self.taper * dz;
        let a = dx * dx + dy * dy - slope * slope;
        let b = qx * dx + qy * dy - radius * slope;
        let c = qx * qx + qy * qy - radius * radius;
        // This form of the root stays exact as `a` goes to zero (a ray along the axis).
        let t = -c / (b + at_least(b * b - a * c, 0.0).sqrt());
        if t > 0.0 && t < FAR { t } else { FAR }
    }
}

/// Nothing is drawn beyond this distance, in radii.
pub const FAR: f32 = 60.0;

/// A part of the pipe: twice the index of a length, plus one for the end face of a length that is inside the previous
/// one.
pub type PipePart = i32;

/// The part of a ray that reaches [`FAR`] without meeting anything.
pub const NOTHING: PipePart = -1;

/// Returns the index of the length that `part` belongs to; `None` for [`NOTHING`].
pub fn length_of(part: PipePart) -> Option<usize> {
    usize::try_from(part).ok().map(|part| part / 2)
}

/// Intersection of a ray with the pipe.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Distance along the ray, in radii.
    pub t: f32,
    /// The part that is met.
    pub part: PipePart,
}

/// Intersections of the rays of a span with the pipe.
pub struct Hits {
    /// Distances along the rays, in radii.
    pub t: Values,
    /// The parts that are met.
    pub part: [PipePart; SPAN],
}

impl Hits {
    /// Creates hits that met nothing.
    pub fn new() -> Self {
        Self { t: [FAR; SPAN], part: [NOTHING; SPAN] }
    }
}

/// Returns where `ray` first meets `lengths`; `relief(length, point)` is how far the wall protrudes inwards there.
#[inline]
pub fn meet(lengths: &[Length], ray: &Ray, relief: impl Fn(&Length, Vec3) -> f32) -> Hit {
    for (index, length) in (0..).zip(lengths) {
        let end = lengths.get(index as usize + 1);
        let end_t = match end {
            Some(next) if ray.direction[2] > 1e-4 => (next.start - ray.origin[2]) / ray.direction[2],
            _ => f32::INFINITY,
        };
        if end_t <= 0.0 {
            continue;
        }
        let mut t = length.leave(ray, 0.0);
        for _ in 0..3 {
            let inset = relief(length, ray.at(t.min(end_t)));
            if inset == 0.0 {
                break;
            }
            t = length.leave(ray, inset);
        }
        if t < end_t {
            return Hit { t, part: if t < FAR { 2 * index } else { NOTHING } };
        }
        if let Some(next) = end {
            let point = ray.at(end_t);
            let (x, y) = (point[0] - next.centre[0], point[1] - next.centre[1]);
            if x * x + y * y > next.radius * next.radius {
                return Hit { t: end_t, part: if end_t < FAR { 2 * index + 3 } else { NOTHING } };
            }
        }
    }
    Hit { t: FAR, part: NOTHING }
}

/// Computes [`meet`] for the first `n` of `rays`, on smooth walls.
pub fn meet_smooth(lengths: &[Length], rays: &Rays, n: usize, hits: &mut Hits) {
    let n = n.min(SPAN);
    hits.t[..n].fill(FAR);
    hits.part[..n].fill(NOTHING);
    for (index, length) in (0..).zip(lengths) {
        // A length that begins at infinity is never reached.
        let (start, centre, radius) = lengths
            .get(index as usize + 1)
            .map_or((f32::INFINITY, [0.0; 2], 0.0), |next| (next.start, next.centre, next.radius));
        for i in 0..n {
            let ray = rays.get(i);
            let end = (start - ray.origin[2]) / ray.direction[2];
            let end = if ray.direction[2] > 1e-4 { end } else { f32::INFINITY };
            let t = length.leave(&ray, 0.0);
            let [x, y, _] = ray.at(end);
            let (x, y) = (x - centre[0], y - centre[1]);
            let wall = t < end;
            let face = x * x + y * y > radius * radius;
            let met = (hits.part[i] == NOTHING) & (end > 0.0) & (wall | face);
            let part = if wall { 2 * index } else { 2 * index + 3 };
            let t = if wall { t } else { end };
            hits.part[i] = if met { part } else { hits.part[i] };
            hits.t[i] = if met { t } else { hits.t[i] };
        }
    }
    for i in 0..n {
        hits.part[i] = if hits.t[i] < FAR { hits.part[i] } else { NOTHING };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic::span::put;

    fn cylinder(start: f32, x: f32, radius: f32) -> Length {
        Length { start, centre: [x, 0.0], radius, taper: 0.0, material: 0 }
    }

    fn ray(x: f32, z: f32) -> Ray {
        let length = (x * x + z * z).sqrt();
        Ray { origin: [0.0; 3], direction: [x / length, 0.0, z / length] }
    }

    #[test]
    fn a_displaced_length_shows_its_end_on_one_side_only() {
        let lengths = [cylinder(0.0, 0.0, 1.0), cylinder(2.0, 0.2, 1.0)];
        let flat = |_: &Length, _: Vec3| 0.0;
        // On the left, the second length begins at x = -0.8: a ray to (-0.9, 2) meets its end face.
        let face = meet(&lengths, &ray(-0.9, 2.0), flat);
        assert!(face.part == 3 && (ray(-0.9, 2.0).at(face.t)[2] - 2.0).abs() < 1e-5, "{face:?}");
        // On the right, a ray passes the end of the first length and meets the second one at x = 1.2.
        let wall = meet(&lengths, &ray(0.9, 2.0), flat);
        assert!(wall.part == 2 && (ray(0.9, 2.0).at(wall.t)[0] - 1.2).abs() < 1e-5, "{wall:?}");
        // Before the joint, the first length is met at x = 1.
        let near = meet(&lengths, &ray(1.0, 1.0), flat);
        assert!(near.part == 0 && (ray(1.0, 1.0).at(near.t)[0] - 1.0).abs() < 1e-5, "{near:?}");
    }

    #[test]
    fn a_span_of_rays_meets_what_each_ray_meets() {
        let cone = Length { taper: -0.2, ..cylinder(2.5, 0.2, 1.1) };
        let lengths = [cylinder(-4.0, 0.0, 1.0), cylinder(1.5, 0.2, 1.1), cone, cylinder(3.5, -0.1, 0.9)];
        let mut hits = Hits::new();
        let mut rays = Rays::from_point([0.0; 3]);
        for i in 0..SPAN {
            put(&mut rays.direction, i, ray(0.06 * i as f32 - 1.9, 2.0).direction);
        }
        meet_smooth(&lengths, &rays, SPAN, &mut hits);
        for i in 0..SPAN {
            let ray = rays.get(i);
            let alone = meet(&lengths, &ray, |_, _| 0.0);
            assert_eq!((hits.t[i], hits.part[i]), (alone.t, alone.part), "{ray:?}");
        }
        for part in [NOTHING, 0, 2, 3, 4, 6, 7] {
            assert!(hits.part.contains(&part), "no ray meets {part}: {:?}", hits.part);
        }
    }

    #[test]
    fn a_cone_is_met_where_its_radius_says() {
        let cone = Length { start: 0.0, centre: [0.0; 2], radius: 1.0, taper: -0.25, material: 0 };
        // x = z and x = 1 - z / 4 meet at 0.8.
        let hit = meet(&[cone], &ray(1.0, 1.0), |_, _| 0.0);
        assert!((ray(1.0, 1.0).at(hit.t)[0] - 0.8).abs() < 1e-5, "{hit:?}");
    }

    /// A camera ahead of where the second length begins sees nothing of the first one, and a ray backwards none of the
    /// next lengths.
    #[test]
    fn lengths_behind_the_camera_are_not_met() {
        let behind = [cylinder(-4.0, 0.0, 1.0), cylinder(-1.0, 0.3, 1.2)];
        let ahead = [cylinder(-4.0, 0.0, 1.0), cylinder(2.0, 0.3, 0.5)];
        for (lengths, ray, part, x) in [
            (&behind, ray(1.0, 1.0), 2, 1.5),
            (&behind, ray(-1.0, 1.0), 2, -0.9),
            (&ahead, ray(1.0, -1.0), 0, 1.0),
            (&ahead, ray(-1.0, 0.0), 0, -1.0),
        ] {
            let alone = meet(lengths, &ray, |_, _| 0.0);
            assert_eq!(alone.part, part, "{alone:?}");
            assert!((ray.at(alone.t)[0] - x).abs() < 1e-5, "{alone:?}");
            let (mut hits, mut rays) = (Hits::new(), Rays::from_point([0.0; 3]));
            put(&mut rays.direction, 0, ray.direction);
            meet_smooth(lengths, &rays, 1, &mut hits);
            assert_eq!((hits.t[0], hits.part[0]), (alone.t, alone.part));
        }
        let along = meet(&behind, &ray(0.0, 1.0), |_, _| 0.0);
        assert_eq!((along.t, along.part), (FAR, NOTHING), "a ray along the axis");
    }
}
