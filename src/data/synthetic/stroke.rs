//! Lines in space, drawn over the traced picture: cracks, roots, rubber rings, drops, cables.
//!
//! Each segment is projected, and covers pixels according to their distance from it, so that a line thinner than a
//! pixel darkens its pixel in proportion instead of breaking up. The traced distance of the wall hides what is behind
//! it; nothing else of the wall is used.

use super::{
    camera::{Camera, Vec3},
    noise::scale,
};

/// Cross-section of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Painted or cut: its colour is not shaded.
    Flat,
    /// A round cord, brightest along its middle.
    Round,
}

/// A polyline.
#[derive(Clone, Debug)]
pub struct Stroke {
    /// Its vertices in space, in radii.
    pub points: Vec<Vec3>,
    /// Width at its first and last point, in radii.
    pub width: [f32; 2],
    /// Reflectance, red, green and blue.
    pub colour: [f32; 3],
    /// Opacity, 0..1.
    pub opacity: f32,
    /// Its cross-section, which determines shading.
    pub shape: Shape,
}

/// The traced picture that strokes are drawn over.
pub struct Canvas<'a> {
    /// Side in pixels.
    pub side: usize,
    /// The light that is modified.
    pub light: &'a mut [Vec<f32>; 3],
    /// Distance of the surface that each pixel shows.
    pub depth: &'a [f32],
}

/// How far a line may be behind the traced surface and still be visible, in radii: cracks are inside the wall.
const SKIN: f32 = 0.06;

impl Stroke {
    /// Draws the line; `light` returns the brightness of a surface at a distance.
    pub fn draw(&self, camera: &Camera, canvas: &mut Canvas, light: impl Fn(f32) -> f32) {
        let half = canvas.side as f32 * 0.5;
        let radians = camera.pixel_angle(canvas.side);
        let steps = (self.points.len().max(2) - 1) as f32;
        let mut previous = None;
        for (i, &point) in self.points.iter().enumerate() {
            let here = camera.project(point).map(|([u, v], distance)| {
                let width = self.width[0] + (self.width[1] - self.width[0]) * i as f32 / steps;
                ([(u + 1.0) * half, (v + 1.0) * half], distance, width / (distance * radians))
            });
            if let (Some(a), Some(b)) = (previous, here) {
                self.segment(a, b, canvas, &light);
            }
            previous = here;
        }
    }

    /// Draws one straight segment between image points, with their distances, and widths in pixels.
    fn segment(
        &self,
        (a, a_depth, a_width): ([f32; 2], f32, f32),
        (b, b_depth, b_width): ([f32; 2], f32, f32),
        canvas: &mut Canvas,
        light: &impl Fn(f32) -> f32,
    ) {
        let reach = 0.5 * a_width.max(b_width) + 1.0;
        let range = |p: f32, q: f32| {
            let low = (p.min(q) - reach).max(0.0) as usize;
            let high = (p.max(q) + reach).clamp(-1.0, canvas.side as f32 - 1.0);
            if high < 0.0 { 1..1 } else { low..high as usize + 1 }
        };
        let (columns, rows) = (range(a[0], b[0]), range(a[1], b[1]));
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let inverse = 1.0 / (dx * dx + dy * dy + 1e-6);
        for row in rows {
            for column in columns.clone() {
                let (x, y) = (column as f32 + 0.5 - a[0], row as f32 + 0.5 - a[1]);
                let along = ((x * dx + y * dy) * inverse).clamp(0.0, 1.0);
                let (ox, oy) = (x - along * dx, y - along * dy);
                let off = (ox * ox + oy * oy).sqrt();
                let width = a_width + (b_width - a_width) * along;
                let cover = (0.5 * width + 0.5 - off).clamp(0.0, 1.0).min(width);
                if cover <= 0.0 {
                    continue;
                }
                let depth = a_depth + (b_depth - a_depth) * along;
                let pixel = row * canvas.side + column;
                if depth > canvas.depth[pixel] * 1.02 + SKIN {
                    continue;
                }
                let mut shade = light(depth);
                if self.shape == Shape::Round && width > 1.5 {
                    let across = (2.0 * off / width).min(1.0);
                    shade *= 0.45 + 0.75 * (1.0 - across * across);
                }
                let alpha = cover * self.opacity;
                let paint = scale(self.colour, shade);
                for (plane, paint) in canvas.light.iter_mut().zip(paint) {
                    let under = &mut plane[pixel];
                    *under += (paint - *under) * alpha;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 20;

    /// Red light after drawing a line through these places, one radius ahead (or behind) of a camera that looks along
    /// the axis, before a surface at this distance.
    fn drawn(points: &[Vec3], width: [f32; 2], distance: f32) -> Vec<f32> {
        let camera = Camera::new([0.0; 3], 0.0, 0.0, 0.0, [1.0; 2]);
        let mut light = [(); 3].map(|()| vec![0.0; SIDE * SIDE]);
        let depth = vec![distance; SIDE * SIDE];
        let mut canvas = Canvas { side: SIDE, light: &mut light, depth: &depth };
        let (colour, shape) = ([1.0, 0.5, 0.25], Shape::Flat);
        Stroke { points: points.to_vec(), width, colour, opacity: 1.0, shape }.draw(
            &camera,
            &mut canvas,
            |_| 1.0,
        );
        let [red, green, blue] = light;
        assert!(red.iter().zip(&green).all(|(red, green)| *green == 0.5 * red));
        assert!(red.iter().zip(&blue).all(|(red, blue)| *blue == 0.25 * red));
        red
    }

    /// The middle of the line is behind the camera: its ends are not joined.
    #[test]
    fn a_line_is_broken_where_it_is_behind_the_camera() {
        let place = |x: f32, z: f32| [x, 0.0, z];
        let points = [place(-0.8, 1.0), place(-0.4, 1.0), place(0.0, -1.0), place(0.4, 1.0), place(0.8, 1.0)];
        let red = drawn(&points, [0.4; 2], 9.0);
        let row = &red[10 * SIDE..11 * SIDE];
        for column in [3, 4, 5, 14, 15, 16] {
            assert_eq!(row[column], 1.0, "{column}: {row:?}");
        }
        assert_eq!(row[9..11], [0.0; 2], "{row:?}");
        let joined = [&points[..2], &points[3..]].concat();
        assert_eq!(drawn(&joined, [0.4; 2], 9.0)[10 * SIDE + 9], 1.0);
        // What is behind the surface is hidden.
        assert!(drawn(&points, [0.4; 2], 0.9).iter().all(|&red| red == 0.0));
    }

    #[test]
    fn a_line_is_as_wide_at_each_end_as_stated() {
        let red = drawn(&[[-0.8, 0.0, 1.0], [0.8, 0.0, 1.0]], [0.5, 0.1], 9.0);
        let covered = |column: usize| -> f32 { (0..SIDE).map(|row| red[row * SIDE + column]).sum() };
        // Widths over distance, in pixels of a tenth of a radius: nearly four, and less than one.
        assert!((covered(2) - 3.7).abs() < 0.5, "{}", covered(2));
        assert!((covered(17) - 0.9).abs() < 0.4, "{}", covered(17));
    }
}
