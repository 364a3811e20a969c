//! The pipe's wall, lit by the lamp at the lens, for all pixels of a span together.
//!
//! The order is: bare material, traces of use (joints, the tide's film, steps between lengths), patches, relief and
//! openings, light.

use super::{
    camera::{Ray, along},
    material::{MaterialKind, Surfaces, WallPoints},
    noise::{at_least, at_most, band, clock_turns, nearest, saturate, smooth_step, value_noise},
    patch::Patch,
    pipe::{Length, PipePart},
    scene::{Joints, Scene, Tide},
    span::{SPAN, Values, at, put},
};

/// Wall patches that protrude inwards.
pub struct Reliefs<'a> {
    patches: Vec<&'a Patch>,
    /// First and last depth of the patches.
    first: f32,
    last: f32,
}

impl<'a> Reliefs<'a> {
    /// Collects the reliefs of a scene.
    pub fn of(scene: &'a Scene) -> Self {
        let patches: Vec<_> = scene.patches.iter().filter(|patch| patch.has_relief()).collect();
        let first = patches.iter().map(|patch| patch.z - patch.half_z).fold(f32::INFINITY, f32::min);
        let last = patches.iter().map(|patch| patch.z + patch.half_z).fold(0.0, f32::max);
        Self { patches, first, last }
    }

    /// Whether there are no reliefs.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Whether the wall may protrude inwards at depth `z`.
    pub fn reach(&self, z: f32) -> bool {
        z > self.first && z < self.last
    }

    /// Whether every relief is deeper than `z`.
    pub fn lie_beyond(&self, z: f32) -> bool {
        z <= self.first
    }

    /// Returns how far the wall protrudes inwards, in radii.
    pub fn height(&self, turn: f32, z: f32) -> f32 {
        self.patches.iter().map(|patch| patch.height(turn, z)).fold(0.0, at_least)
    }
}

/// The wall where the rays of a span meet it, all on one part of the pipe.
pub struct Wall {
    /// Input: the direction of each ray.
    pub direction: [Values; 3],
    /// Input: the distance at which each ray ends.
    pub t: Values,
    /// Output: linear light.
    pub light: [Values; 3],
    /// Whether the pixel shows the inside of an opening.
    pub opening: [bool; SPAN],
    /// Reflectance inside the opening.
    inside: [Values; 3],
    point: [Values; 3],
    /// Components of the direction outwards and along the arc.
    outward: Values,
    tangent: Values,
    places: WallPoints,
    surfaces: Surfaces,
}

impl Wall {
    /// Creates a wall that is not filled in.
    pub fn new() -> Self {
        Self {
            direction: [[0.0; SPAN]; 3],
            t: [0.0; SPAN],
            light: [[0.0; SPAN]; 3],
            opening: [false; SPAN],
            inside: [[0.0; SPAN]; 3],
            point: [[0.0; SPAN]; 3],
            outward: [0.0; SPAN],
            tangent: [0.0; SPAN],
            places: WallPoints::new(),
            surfaces: Surfaces::new(),
        }
    }

    /// Computes the light of the first `n` rays, which end on `part`; `pixel` is the angle of a pixel.
    pub fn shade(&mut self, scene: &Scene, reliefs: &Reliefs, part: PipePart, pixel: f32, n: usize) {
        let n = n.min(SPAN);
        let (index, face) = (part as usize / 2, part % 2 == 1);
        let length = &scene.lengths[index];
        let material = &scene.materials[length.material];
        self.locate(scene, length, face, pixel, n);
        material.cover(&self.places, n, &mut self.surfaces);
        self.opening[..n].fill(false);
        if face {
            return self.light_face(scene, n);
        }
        self.film(&scene.tide, n);
        let lip = if material.kind == MaterialKind::Plastic { 0.10 } else { 0.18 };
        self.joints(&scene.joints, lip, n);
        if index > 0 {
            self.shade_step(&scene.lengths[index - 1], length, n);
        }
        for patch in &scene.patches {
            patch.paint(&self.places, n, &mut self.surfaces);
        }
        if !reliefs.is_empty() {
            self.tilt(reliefs, n);
        }
        if !scene.openings.is_empty() {
            self.open(scene, n);
        }
        self.light(scene, length.taper, n);
        for i in (0..n).filter(|&i| self.opening[i]) {
            let light = scene.lamp.light(self.t[i], 0.6);
            put(&mut self.light, i, at(&self.inside, i).map(|c| c * light));
        }
    }

    /// Computes where on the wall of `length` the rays end.
    fn locate(&mut self, scene: &Scene, length: &Length, face: bool, pixel: f32, n: usize) {
        let (origin, centre) = (scene.camera.position, length.centre);
        for i in 0..n.min(SPAN) {
            let (direction, t) = (at(&self.direction, i), self.t[i]);
            let point = along(origin, direction, t);
            let (x, y) = (point[0] - centre[0], point[1] - centre[1]);
            let inverse = 1.0 / (x * x + y * y).sqrt();
            let outward = (direction[0] * x + direction[1] * y) * inverse;
            let across = pixel * t;
            let lengthwise = if face { across } else { across / at_least(outward, 0.05) };
            put(&mut self.point, i, point);
            self.outward[i] = outward;
            self.tangent[i] = (direction[0] * y - direction[1] * x) * inverse;
            self.places.turn[i] = clock_turns(x, y);
            self.places.z[i] = point[2];
            put(&mut self.places.footprint, i, [across, lengthwise]);
            self.places.grain[i] = at_least(across, 0.6 * lengthwise);
        }
    }

    /// Adds the tide's film below its line.
    fn film(&mut self, tide: &Tide, n: usize) {
        let n = n.min(SPAN);
        let y = &self.point[1];
        if y[..n].iter().all(|&y| y >= tide.level + 0.2) {
            return;
        }
        for i in 0..n {
            let (turn, z) = (self.places.turn[i], self.places.z[i]);
            let ragged = value_noise(turn * 11.0, (z + 8.0) * 0.7, 11, 77).value;
            let below = smooth_step(tide.level + 0.08, tide.level - 0.12, y[i] + 0.07 * ragged);
            for (values, film) in self.surfaces.colour.iter_mut().zip(tide.colour) {
                values[i] += (film - values[i]) * (tide.strength * below);
            }
        }
    }

    /// Adds joints between the pipe's lengths: a dark gap, then a bright lip of strength `lip`.
    fn joints(&mut self, joints: &Joints, lip: f32, n: usize) {
        let per_spacing = 1.0 / joints.spacing;
        for i in 0..n.min(SPAN) {
            let offset = self.places.z[i] - joints.first;
            let offset = offset - nearest(offset * per_spacing) * joints.spacing;
            let inverse = 1.0 / (joints.width + 0.5 * self.places.footprint[1][i]);
            let offset = offset * inverse;
            let drowned = at_most(1.5 * joints.width * inverse, 1.0) * joints.darkness;
            let shade = 1.0 + drowned * (lip * band(1.0, offset - 1.4) - 0.8 * band(1.0, offset));
            for values in &mut self.surfaces.colour {
                values[i] *= shade;
            }
        }
    }

    /// Adds the dark gap behind the edge of `before` where `here` is wider.
    fn shade_step(&mut self, before: &Length, here: &Length, n: usize) {
        let edge = before.radius_at(here.start);
        for i in 0..n.min(SPAN) {
            let (x, y) = (self.point[0][i] - before.centre[0], self.point[1][i] - before.centre[1]);
            let outside = at_least((x * x + y * y).sqrt() - edge, 0.0);
            let shade = band(0.06 + 2.0 * outside, self.point[2][i] - here.start);
            let shade = 1.0 - 0.8 * shade * smooth_step(0.0, 0.05, outside);
            for values in &mut self.surfaces.colour {
                values[i] *= shade;
            }
        }
    }

    /// Adds the slopes of reliefs.
    fn tilt(&mut self, reliefs: &Reliefs, n: usize) {
        for i in 0..n {
            let (turn, z) = (self.places.turn[i], self.places.z[i]);
            if reliefs.reach(z) {
                let step = at_least(0.5 * self.places.footprint[0][i], 0.02);
                let arc = step * (1.0 / core::f32::consts::TAU);
                let ahead = if turn + arc >= 1.0 { turn + arc - 1.0 } else { turn + arc };
                let here = reliefs.height(turn, z);
                let [around, lengthwise] = &mut self.surfaces.slope;
                around[i] += (reliefs.height(ahead, z) - here) / step;
                lengthwise[i] += (reliefs.height(turn, z + step) - here) / step;
            }
        }
    }

    /// Adds openings in the wall, and what is visible in them.
    fn open(&mut self, scene: &Scene, n: usize) {
        let origin = scene.camera.position;
        for opening in &scene.openings {
            for i in 0..n {
                let point = at(&self.point, i);
                if !opening.is_near(point) {
                    continue;
                }
                let ray = Ray { origin, direction: at(&self.direction, i) };
                let (bare, across) = (at(&self.surfaces.colour, i), self.places.footprint[0][i]);
                if let Some((colour, on_wall)) = opening.look(&ray, point, bare, across) {
                    put(&mut self.surfaces.colour, i, colour);
                    if !on_wall {
                        put(&mut self.inside, i, colour);
                        self.opening[i] = true;
                    }
                }
            }
        }
    }

    /// Lights an end face, which faces the camera.
    fn light_face(&mut self, scene: &Scene, n: usize) {
        for i in 0..n.min(SPAN) {
            let light = 1.1 * scene.lamp.light(self.t[i], self.direction[2][i]);
            put(&mut self.light, i, at(&self.surfaces.colour, i).map(|c| c * light));
        }
    }

    /// Lights the wall, whose radius grows by `taper` per unit of depth.
    fn light(&mut self, scene: &Scene, taper: f32, n: usize) {
        let lamp = scene.lamp;
        for i in 0..n.min(SPAN) {
            let [arc, axial] = at(&self.surfaces.slope, i).map(|s| at_most(at_least(s, -2.0), 2.0));
            let ahead = self.direction[2][i];
            let steepness = (1.0 + arc * arc + axial * axial).sqrt();
            let facing = self.outward[i] - taper * ahead + arc * self.tangent[i] + axial * ahead;
            let facing = saturate(facing / steepness);
            let f2 = facing * facing;
            let reaching = lamp.reaching(self.t[i]);
            let light = reaching * lamp.returned(facing);
            let shine = 0.5 * self.surfaces.gloss[i] * f2 * f2 * reaching;
            put(&mut self.light, i, at(&self.surfaces.colour, i).map(|c| c * light + shine));
        }
    }
}
