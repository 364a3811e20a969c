//! Traces a scene into light: one ray per pixel, three where surfaces meet, then strokes on top.
//!
//! The lamp is at the lens, so light falls off with distance, surfaces that face the camera are bright, and there are
//! no cast shadows. Brightness L = exposure (a + (1 - a) f (2 - f)) / (1 + (t / reach)^2), where f is the cosine
//! between normal and ray. Independent of defect classes.

use super::{
    camera::{Ray, Rays, Vec3, along, dot, unit},
    light::Light,
    noise::{at_least, clock_turns, mix, saturate, scale},
    pipe::{self, Hit, Hits, PipePart},
    scene::Scene,
    span::{SPAN, Values, at, put},
    stroke::Canvas,
    wall::{Reliefs, Wall},
};

/// Identifies the surface that a pixel shows; neighbours with different values are at a border between surfaces.
type SurfaceId = i32;

const MOUND: SurfaceId = 0;
const WATER: SurfaceId = 1;
/// The side of a branch inside the pipe; the next value is its end.
const STUB: SurfaceId = 2;
const OPENING: SurfaceId = 4;
/// The four kinds of faces of the first block; other blocks follow.
const BLOCK: SurfaceId = 8;
/// Added to the part of the pipe.
const WALL: SurfaceId = 1 << 16;

/// Returns the linear light of `scene` on `side` x `side` pixels.
pub fn trace(scene: &Scene, side: usize) -> Light {
    let mut tracer = Tracer::new(scene, side);
    let pixels = side * side;
    let mut light = [(); 3].map(|()| vec![0.0; pixels]);
    let (mut depth, mut surface) = (vec![0.0; pixels], vec![0; pixels]);
    for first in (0..pixels).step_by(SPAN) {
        let span = first..(first + SPAN).min(pixels);
        tracer.see(side, span.clone(), [0.5, 0.5]);
        let n = span.len();
        for (plane, values) in light.iter_mut().zip(&tracer.light) {
            plane[span.clone()].copy_from_slice(&values[..n]);
        }
        depth[span.clone()].copy_from_slice(&tracer.depth[..n]);
        surface[span].copy_from_slice(&tracer.surface[..n]);
    }
    let borders: Vec<_> = (0..pixels)
        .filter(|&i| {
            let differs = |j: usize| surface[j] != surface[i];
            (i + 1) % side > 0 && differs(i + 1) || i + side < pixels && differs(i + side)
        })
        .collect();
    for span in borders.chunks(SPAN) {
        for place in [[0.17, 0.72], [0.83, 0.28]] {
            tracer.see(side, span.iter().copied(), place);
            for (plane, values) in light.iter_mut().zip(&tracer.light) {
                for (&i, value) in span.iter().zip(values) {
                    plane[i] += value;
                }
            }
        }
        for plane in &mut light {
            for &i in span {
                plane[i] *= 1.0 / 3.0;
            }
        }
    }
    let mut canvas = Canvas { side, light: &mut light, depth: &depth };
    for stroke in &scene.strokes {
        stroke.draw(&scene.camera, &mut canvas, |distance| scene.lamp.light(distance, 0.5));
    }
    light
}

/// Follows the rays of a span.
struct Tracer<'a> {
    scene: &'a Scene,
    /// Angle of a pixel.
    pixel: f32,
    reliefs: Reliefs<'a>,
    /// Image points; their rays and the hits of these follow.
    image: [Values; 2],
    rays: Rays,
    hits: Hits,
    wall: Wall,
    /// Rays reflected by water.
    mirrored: Rays,
    /// Light that the rays have collected.
    light: [Values; 3],
    depth: Values,
    surface: [SurfaceId; SPAN],
}

impl<'a> Tracer<'a> {
    fn new(scene: &'a Scene, side: usize) -> Self {
        Self {
            scene,
            pixel: scene.camera.pixel_angle(side),
            reliefs: Reliefs::of(scene),
            image: [[0.0; SPAN]; 2],
            rays: Rays::from_point(scene.camera.position),
            hits: Hits::new(),
            wall: Wall::new(),
            mirrored: Rays::from_point([0.0; 3]),
            light: [[0.0; SPAN]; 3],
            depth: [0.0; SPAN],
            surface: [0; SPAN],
        }
    }

    /// Traces rays through the position `place` (0..1 from left to right and from top to bottom) inside each of
    /// `pixels`.
    fn see(&mut self, side: usize, pixels: impl ExactSizeIterator<Item = usize>, place: [f32; 2]) {
        let n = pixels.len();
        let step = 2.0 / side as f32;
        let columns = side as u32;
        for (i, pixel) in pixels.enumerate() {
            let (row, column) = (pixel as u32 / columns, pixel as u32 % columns);
            let image = [(column as f32 + place[0]) * step - 1.0, (row as f32 + place[1]) * step - 1.0];
            put(&mut self.image, i, image);
        }
        self.look(n);
        self.draw_objects(n);
        self.see_wall(n);
        self.flood(n);
        self.lean(n);
    }

    /// Computes the rays and their intersections with the pipe.
    fn look(&mut self, n: usize) {
        let scene = self.scene;
        for i in 0..n.min(SPAN) {
            let [u, v] = at(&self.image, i);
            put(&mut self.rays.direction, i, scene.camera.direction(u, v));
        }
        pipe::meet_smooth(&scene.lengths, &self.rays, n, &mut self.hits);
        if !self.reliefs.is_empty() {
            for i in 0..n {
                let z = self.rays.get(i).at(self.hits.t[i])[2];
                if !self.reliefs.lie_beyond(z) {
                    let hit = self.meet_relief(&self.rays.get(i));
                    (self.hits.t[i], self.hits.part[i]) = (hit.t, hit.part);
                }
            }
        }
        for i in 0..n.min(SPAN) {
            self.depth[i] = self.hits.t[i];
            self.surface[i] = WALL + self.hits.part[i];
        }
    }

    /// Returns where `ray` meets the pipe if the wall has relief.
    fn meet_relief(&self, ray: &Ray) -> Hit {
        pipe::meet(&self.scene.lengths, ray, |length, point| {
            if !self.reliefs.reach(point[2]) {
                return 0.0;
            }
            let turn = clock_turns(point[0] - length.centre[0], point[1] - length.centre[1]);
            self.reliefs.height(turn, point[2])
        })
    }

    /// Draws sediment, blocks and the ends of branch pipes in front of the wall.
    fn draw_objects(&mut self, n: usize) {
        let scene = self.scene;
        let facing = |normal: Vec3, ray: &Ray| -dot(unit(normal), ray.direction);
        for mound in &scene.mounds {
            for i in 0..n {
                let ray = self.rays.get(i);
                if let Some(ground) = mound.meet(&ray, self.depth[i], self.pixel) {
                    self.hide(i, ground.t, facing(ground.normal, &ray), ground.colour, MOUND);
                }
            }
        }
        for (block, first) in scene.blocks.iter().zip((BLOCK..).step_by(4)) {
            for i in 0..n {
                let ray = self.rays.get(i);
                if let Some(face) = block.meet(&ray, self.depth[i]) {
                    let side =
                        SurfaceId::from(face.normal[1] > 0.5) + 2 * SurfaceId::from(face.normal[2] < -0.5);
                    self.hide(i, face.t, facing(face.normal, &ray), face.colour, first + side);
                }
            }
        }
        for opening in scene.openings.iter().filter(|opening| opening.reach > 0.0) {
            for i in 0..n {
                if let Some(stub) = opening.stub(&self.rays.get(i), self.depth[i]) {
                    let part = STUB + SurfaceId::from(stub.facing == 0.6);
                    self.hide(i, stub.t, stub.facing, stub.colour, part);
                }
            }
        }
    }

    /// Replaces what pixel `i` shows by a surface at distance `t`.
    fn hide(&mut self, i: usize, t: f32, facing: f32, colour: [f32; 3], surface: SurfaceId) {
        put(&mut self.light, i, scale(colour, self.scene.lamp.light(t, facing)));
        (self.depth[i], self.surface[i]) = (t, surface);
    }

    /// Draws the wall where nothing hides it, one part of the pipe at a time.
    fn see_wall(&mut self, n: usize) {
        let mut shown = [0_usize; SPAN];
        let parts = 2 * self.scene.lengths.len() as PipePart;
        for part in pipe::NOTHING..parts {
            let mut count = 0;
            for i in 0..n.min(SPAN) {
                if self.surface[i] == WALL + part {
                    (shown[count], count) = (i, count + 1);
                }
            }
            let shown = &shown[..count];
            if part == pipe::NOTHING {
                shown.iter().for_each(|&i| put(&mut self.light, i, [0.0; 3]));
            } else if count > 0 {
                for (k, &i) in shown.iter().enumerate() {
                    put(&mut self.wall.direction, k, at(&self.rays.direction, i));
                    self.wall.t[k] = self.hits.t[i];
                }
                self.wall.shade(self.scene, &self.reliefs, part, self.pixel, count);
                for (k, &i) in shown.iter().enumerate() {
                    put(&mut self.light, i, at(&self.wall.light, k));
                    if self.wall.opening[k] {
                        self.surface[i] = OPENING;
                    }
                }
            }
        }
    }

    /// Adds water over everything below its surface.
    fn flood(&mut self, n: usize) {
        let water = &self.scene.water;
        if water.is_absent() {
            return;
        }
        let (mut wet, mut count) = ([0_usize; SPAN], 0);
        for i in 0..n.min(SPAN) {
            let t = water.meet(&self.rays.get(i), self.depth[i]);
            if t < self.depth[i] {
                (self.depth[i], self.surface[i]) = (t, WATER);
                (wet[count], count) = (i, count + 1);
            }
        }
        self.mirror(&wet[..count]);
    }

    /// Computes the light of the rays `wet` that meet water, over what is below.
    fn mirror(&mut self, wet: &[usize]) {
        let (scene, water) = (self.scene, &self.scene.water);
        let n = wet.len().min(SPAN);
        let (mut t, mut facing) = ([0.0; SPAN], [0.0; SPAN]);
        for (k, &i) in wet.iter().enumerate() {
            t[k] = self.depth[i];
            put(&mut self.mirrored.direction, k, at(&self.rays.direction, i));
        }
        for i in 0..n {
            let direction = at(&self.mirrored.direction, i);
            let point = along(scene.camera.position, direction, t[i]);
            let normal = unit(water.normal(point, t[i]));
            facing[i] = -dot(direction, normal);
            let [x, y, z] = along(direction, normal, 2.0 * facing[i]);
            put(&mut self.mirrored.origin, i, point);
            put(&mut self.mirrored.direction, i, [x, at_least(y, 0.02), z]);
        }
        pipe::meet_smooth(&scene.lengths, &self.mirrored, n, &mut self.hits);
        for (k, &i) in wet.iter().enumerate() {
            let length =
                &scene.lengths[pipe::length_of(self.hits.part[k]).unwrap_or(scene.lengths.len() - 1)];
            let reflected = scene.materials[length.material].colour;
            let reflected = scale(reflected, scene.lamp.light(t[k] + self.hits.t[k], 0.4));
            let body = scale(water.colour, scene.lamp.light(t[k], 0.7));
            let grazing = 1.0 - saturate(facing[k]);
            let mirror = 0.05 + 0.75 * grazing * grazing * grazing * grazing;
            let below = mix(at(&self.light, i), body, water.murk);
            put(&mut self.light, i, mix(below, reflected, mirror));
        }
    }

    /// Makes one side brighter, as uneven lamps do.
    fn lean(&mut self, n: usize) {
        let [right, up] = self.scene.lamp.lean;
        for i in 0..n.min(SPAN) {
            let gain = 1.0 + right * self.image[0][i] - up * self.image[1][i];
            for values in &mut self.light {
                values[i] *= gain;
            }
        }
    }
}
