//! Traces a scene into light: one ray a pixel, three where surfaces meet, then strokes on top.
//!
//! The lamp sits at the lens, so light falls off with distance, surfaces that face the camera are
//! bright, and there are no cast shadows. Brightness L = exposure (a + (1 - a) f (2 - f)) /
//! (1 + (t / reach)^2) with f the cosine between normal and ray. Knows nothing of defect classes.

use super::{
    camera::{Ray, Vec3, along, dot, unit},
    material::{Kind, Place, Surface},
    noise::{band, clock_turns, mix, scale, smooth_step, value_noise},
    pipe::{self, Hit, Length},
    scene::Scene,
    stroke::Canvas,
};

/// What one ray saw.
#[derive(Clone, Copy, Default)]
struct Trace {
    colour: [f32; 3],
    distance: f32,
    /// Different for surfaces that do not continue each other.
    surface: u32,
}

/// Linear light of `scene` on `side` x `side` pixels, rows from the top.
pub fn trace(scene: &Scene, side: usize) -> Vec<[f32; 3]> {
    let tracer = Tracer::new(scene, side);
    let step = 2.0 / side as f32;
    let at = |x: f32, y: f32| tracer.see(x * step - 1.0, y * step - 1.0);
    let mut traces = Vec::with_capacity(side * side);
    for row in 0..side {
        for column in 0..side {
            traces.push(at(column as f32 + 0.5, row as f32 + 0.5));
        }
    }
    let mut colour: Vec<_> = traces.iter().map(|trace| trace.colour).collect();
    for row in 0..side {
        for column in 0..side {
            let i = row * side + column;
            let differs = |j: usize| traces[j].surface != traces[i].surface;
            let border = column + 1 < side && differs(i + 1) || row + 1 < side && differs(i + side);
            if border {
                let first = at(column as f32 + 0.17, row as f32 + 0.72).colour;
                let second = at(column as f32 + 0.83, row as f32 + 0.28).colour;
                colour[i] = [0, 1, 2].map(|k| (colour[i][k] + first[k] + second[k]) * (1.0 / 3.0));
            }
        }
    }
    let depth: Vec<_> = traces.iter().map(|trace| trace.distance).collect();
    let mut canvas = Canvas { side, colour: &mut colour, depth: &depth };
    for stroke in &scene.strokes {
        stroke.draw(&scene.camera, &mut canvas, |distance| scene.light(distance, 0.5));
    }
    colour
}

impl Scene {
    /// Brightness of a white surface at `distance` whose normal makes an angle of cosine `facing` with the ray.
    #[inline]
    fn light(&self, distance: f32, facing: f32) -> f32 {
        let f = facing.clamp(0.0, 1.0);
        let lamp = &self.lamp;
        let q = distance / lamp.reach;
        lamp.exposure * (lamp.ambient + (1.0 - lamp.ambient) * f * (2.0 - f)) / (1.0 + q * q)
    }
}

struct Tracer<'a> {
    scene: &'a Scene,
    pixel: f32,
    /// Patches that stand inwards, and the depths between which they do.
    reliefs: Vec<&'a super::patch::Patch>,
    relief_range: [f32; 2],
}

impl<'a> Tracer<'a> {
    fn new(scene: &'a Scene, side: usize) -> Self {
        let reliefs: Vec<_> = scene.patches.iter().filter(|patch| patch.has_relief()).collect();
        let first = reliefs.iter().map(|patch| patch.z - patch.half_z).fold(f32::INFINITY, f32::min);
        let last = reliefs.iter().map(|patch| patch.z + patch.half_z).fold(0.0, f32::max);
        Self { scene, pixel: scene.camera.pixel_angle(side), reliefs, relief_range: [first, last] }
    }

    #[inline]
    fn height(&self, turn: f32, z: f32) -> f32 {
        self.reliefs.iter().map(|patch| patch.height(turn, z)).fold(0.0, f32::max)
    }

    #[inline]
    fn meet_wall(&self, ray: &Ray) -> Hit {
        let [first, last] = self.relief_range;
        pipe::meet(&self.scene.lengths, ray, |length, point| {
            if point[2] < first || point[2] > last {
                return 0.0;
            }
            let turn = clock_turns(point[0] - length.centre[0], point[1] - length.centre[1]);
            self.height(turn, point[2])
        })
    }

    /// What the ray through image point (`u`, `v`) sees.
    fn see(&self, u: f32, v: f32) -> Trace {
        let scene = self.scene;
        let ray = scene.camera.ray(u, v);
        let hit = self.meet_wall(&ray);
        let mut limit = hit.t;
        let mut seen = None;
        let mut dry = |t: f32, normal: Vec3, colour: [f32; 3], surface: u32, limit: &mut f32| {
            let facing = -dot(unit(normal), ray.direction);
            *limit = t;
            seen = Some(Trace { colour: scale(colour, scene.light(t, facing)), distance: t, surface });
        };
        for mound in &scene.mounds {
            if let Some(ground) = mound.meet(&ray, limit, self.pixel) {
                dry(ground.t, ground.normal, ground.colour, 16, &mut limit);
            }
        }
        for (i, block) in scene.blocks.iter().enumerate() {
            if let Some(face) = block.meet(&ray, limit) {
                let side = 3 * i as u32 + (face.normal[1] > 0.5) as u32 + 2 * (face.normal[2] < -0.5) as u32;
                dry(face.t, face.normal, face.colour, 32 + side, &mut limit);
            }
        }
        for opening in &scene.openings {
            if let Some(stub) = opening.stub(&ray, limit) {
                limit = stub.t;
                let colour = scale(stub.colour, scene.light(stub.t, stub.facing));
                seen = Some(Trace { colour, distance: stub.t, surface: 17 + (stub.facing == 0.6) as u32 });
            }
        }
        let mut trace = match scene.water.meet(&ray, limit) {
            Some((t, normal)) => {
                let below = seen.map_or_else(|| self.wall(&ray, &hit).colour, |trace| trace.colour);
                self.water(&ray, t, normal, below)
            }
            None => seen.unwrap_or_else(|| self.wall(&ray, &hit)),
        };
        let lean = 1.0 + scene.lamp.lean[0] * u - scene.lamp.lean[1] * v;
        trace.colour = scale(trace.colour, lean);
        trace
    }

    /// The pipe wall where `ray` hit it.
    fn wall(&self, ray: &Ray, hit: &Hit) -> Trace {
        let scene = self.scene;
        if hit.t >= pipe::FAR {
            return Trace { colour: [0.0; 3], distance: hit.t, surface: 0 };
        }
        let length = &scene.lengths[hit.length];
        let material = &scene.materials[length.material];
        let (x, y) = (hit.point[0] - length.centre[0], hit.point[1] - length.centre[1]);
        let turn = clock_turns(x, y);
        let z = hit.point[2];
        let inverse = 1.0 / (x * x + y * y).sqrt();
        let radial = [x * inverse, y * inverse, 0.0];
        let direction = ray.direction;
        let outward = dot(direction, radial);
        let across = self.pixel * hit.t;
        let surface = hit.length as u32 + 1;
        if hit.face {
            let place = Place { turn, z, footprint: [across, across] };
            let edge = scale(material.surface(&place).colour, 1.1);
            let colour = scale(edge, scene.light(hit.t, direction[2]));
            return Trace { colour, distance: hit.t, surface: surface + 8 };
        }
        let place = Place { turn, z, footprint: [across, across / outward.max(0.05)] };
        let mut bare = material.surface(&place);
        self.age(&place, hit.point[1], material.kind, &mut bare);
        if hit.length > 0 {
            self.shade_step(&scene.lengths[hit.length - 1], length, hit.point, &mut bare);
        }
        for patch in &scene.patches {
            patch.paint(&place, &mut bare);
        }
        let [first, last] = self.relief_range;
        if z > first && z < last {
            let step = 0.02_f32.max(0.5 * across);
            let arc = step * (1.0 / core::f32::consts::TAU);
            let ahead = if turn + arc >= 1.0 { turn + arc - 1.0 } else { turn + arc };
            let here = self.height(turn, z);
            bare.slope[0] += (self.height(ahead, z) - here) / step;
            bare.slope[1] += (self.height(turn, z + step) - here) / step;
        }
        let mut inside = None;
        for opening in &scene.openings {
            if let Some((colour, on_wall)) = opening.look(ray, hit.point, bare.colour, across) {
                bare.colour = colour;
                if on_wall == 0.0 {
                    inside = Some(colour);
                }
            }
        }
        if let Some(colour) = inside {
            let colour = scale(colour, scene.light(hit.t, 0.6));
            return Trace { colour, distance: hit.t, surface: 20 };
        }
        let [arc, axial] = bare.slope.map(|s| s.clamp(-2.0, 2.0));
        let tangent = direction[0] * radial[1] - direction[1] * radial[0];
        let steepness = (1.0 + arc * arc + axial * axial).sqrt();
        let facing =
            (outward - length.taper * direction[2] + arc * tangent + axial * direction[2]) / steepness;
        let light = scene.light(hit.t, facing);
        let f2 = facing.clamp(0.0, 1.0) * facing.clamp(0.0, 1.0);
        let shine = bare.gloss * f2 * f2 * scene.light(hit.t, 1.0) * 0.5;
        let colour = bare.colour.map(|c| c * light + shine);
        Trace { colour, distance: hit.t, surface }
    }

    /// Joints and the tide's film: what every used pipe shows.
    #[inline]
    fn age(&self, place: &Place, y: f32, kind: Kind, surface: &mut Surface) {
        let tide = &self.scene.tide;
        if y < tide.level + 0.2 {
            let ragged = value_noise(place.turn * 11.0, (place.z + 8.0) * 0.7, 11, 77).value;
            let film = tide.strength * smooth_step(tide.level + 0.08, tide.level - 0.12, y + 0.07 * ragged);
            surface.colour = mix(surface.colour, tide.colour, film);
        }
        let joints = &self.scene.joints;
        let count = ((place.z - joints.first) / joints.spacing + 64.5) as i32 - 64;
        let offset = place.z - (joints.first + count as f32 * joints.spacing);
        let extent = joints.width + 0.5 * place.footprint[1];
        let gap = band(extent, offset) * (1.5 * joints.width / extent).min(1.0);
        let lip = band(extent, offset - 1.4 * extent) * (1.5 * joints.width / extent).min(1.0);
        let lip = if kind == Kind::Plastic { 0.10 } else { 0.18 } * joints.darkness * lip;
        surface.colour = scale(surface.colour, 1.0 - 0.8 * joints.darkness * gap + lip);
    }

    /// The dark gap behind the edge of `before` where `here` stands further out.
    fn shade_step(&self, before: &Length, here: &Length, point: Vec3, surface: &mut Surface) {
        let (x, y) = (point[0] - before.centre[0], point[1] - before.centre[1]);
        let outside = (x * x + y * y).sqrt() - before.radius_at(here.start);
        if outside > 0.004 {
            let shade = band(0.06 + 2.0 * outside, point[2] - here.start);
            surface.colour = scale(surface.colour, 1.0 - 0.8 * shade * smooth_step(0.0, 0.05, outside));
        }
    }

    /// Water met at `t` with rippled `normal`, over what lies `below`.
    fn water(&self, ray: &Ray, t: f32, normal: Vec3, below: [f32; 3]) -> Trace {
        let scene = self.scene;
        let normal = unit(normal);
        let facing = -dot(ray.direction, normal);
        let away = along(ray.direction, normal, 2.0 * facing);
        let mirrored = Ray { origin: ray.at(t), direction: [away[0], away[1].max(0.02), away[2]] };
        let hit = pipe::meet(&scene.lengths, &mirrored, |_, _| 0.0);
        let length = &scene.lengths[hit.length];
        let material = &scene.materials[length.material];
        let reflected = scale(material.colour, scene.light(t + hit.t, 0.4));
        let body = scale(scene.water.colour, scene.light(t, 0.7));
        let grazing = 1.0 - facing.clamp(0.0, 1.0);
        let mirror = 0.05 + 0.75 * grazing * grazing * grazing * grazing;
        let colour = mix(mix(below, body, scene.water.murk), reflected, mirror);
        Trace { colour, distance: t, surface: 19 }
    }
}
