//! The pinhole camera of an inspection robot, and the vector algebra for the renderer.
//!
//! Lengths are in pipe radii. The pipe runs along +z, +y points to the crown, +x to the right; the camera is at z =
//! 0.

use super::span::{SPAN, Values, at};

/// A point or direction: right, up, ahead.
pub type Vec3 = [f32; 3];

/// Returns the inner product.
#[inline]
pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Returns the sum.
#[inline]
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Returns `a - b`.
#[inline]
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Returns the right-handed cross product, orthogonal to both vectors.
#[inline]
pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Returns `origin + t direction`.
#[inline]
pub fn along(origin: Vec3, direction: Vec3, t: f32) -> Vec3 {
    [origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2]]
}

/// Returns `v` scaled to unit length.
#[inline]
pub fn unit(v: Vec3) -> Vec3 {
    let inverse = 1.0 / (dot(v, v) + 1e-20).sqrt();
    v.map(|x| x * inverse)
}

/// A ray with a direction of unit length.
#[derive(Clone, Copy, Debug)]
pub struct Ray {
    /// Origin, in radii.
    pub origin: Vec3,
    /// Direction of unit length.
    pub direction: Vec3,
}

impl Ray {
    /// Returns the point at distance `t` from the origin, in radii.
    #[inline]
    pub fn at(&self, t: f32) -> Vec3 {
        along(self.origin, self.direction, t)
    }
}

/// The rays of a span.
pub struct Rays {
    /// Components of the origins.
    pub origin: [Values; 3],
    /// Components of the directions.
    pub direction: [Values; 3],
}

impl Rays {
    /// Creates rays from `origin` whose directions are not set yet.
    pub fn from_point(origin: Vec3) -> Self {
        Self { origin: origin.map(|value| [value; SPAN]), direction: [[0.0; SPAN]; 3] }
    }

    /// Returns ray `i` of the span.
    #[inline]
    pub fn get(&self, i: usize) -> Ray {
        Ray { origin: at(&self.origin, i), direction: at(&self.direction, i) }
    }
}

/// Position, orientation and angle of view of the camera.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Position of the lens relative to the axis, in radii.
    pub position: Vec3,
    right: Vec3,
    up: Vec3,
    forward: Vec3,
    /// Tangents of half the horizontal and half the vertical angle of view.
    half: [f32; 2],
}

impl Camera {
    /// Creates a camera from angles in radians: yaw to the right, pitch upwards, roll clockwise.
    pub fn new(position: Vec3, yaw: f64, pitch: f64, roll: f64, half: [f32; 2]) -> Self {
        let [(sy, cy), (sp, cp), (sr, cr)] =
            [yaw, pitch, roll].map(|a| (libm::sin(a) as f32, libm::cos(a) as f32));
        let forward = [sy * cp, sp, cy * cp];
        let level = [cy, 0.0, -sy];
        let upright = cross(forward, level);
        let right = add(level.map(|v| v * cr), upright.map(|v| v * sr));
        let up = cross(forward, right);
        Self { position, right, up, forward, half }
    }

    /// Returns the direction of the ray through the image point (`u`, `v`): -1..1 from left to right and from top to
    /// bottom.
    #[inline]
    pub fn direction(&self, u: f32, v: f32) -> Vec3 {
        let sideways = along(self.forward, self.right, u * self.half[0]);
        unit(along(sideways, self.up, -v * self.half[1]))
    }

    /// Returns the image point and the distance of a point in space; `None` behind the camera.
    pub fn project(&self, point: Vec3) -> Option<([f32; 2], f32)> {
        let p = sub(point, self.position);
        let ahead = dot(p, self.forward);
        if ahead < 0.05 {
            return None;
        }
        let u = dot(p, self.right) / (ahead * self.half[0]);
        let v = -dot(p, self.up) / (ahead * self.half[1]);
        Some(([u, v], dot(p, p).sqrt()))
    }

    /// Returns the angle of one pixel near the image centre, in radians, if `side` pixels span the image.
    pub fn pixel_angle(&self, side: usize) -> f32 {
        (self.half[0] + self.half[1]) / side as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_undoes_the_ray() {
        let camera = Camera::new([0.1, -0.2, 0.0], 0.3, -0.2, 0.1, [1.1, 0.9]);
        for (u, v) in [(0.0, 0.0), (0.7, -0.4), (-0.9, 0.8)] {
            let (image, distance) = camera
                .project(along(camera.position, camera.direction(u, v), 2.5))
                .expect("ahead of the camera");
            assert!((image[0] - u).abs() < 1e-5 && (image[1] - v).abs() < 1e-5, "{image:?}");
            assert!((distance - 2.5).abs() < 1e-5, "{distance}");
        }
    }
}
