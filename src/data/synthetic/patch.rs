//! Patches of wall that differ from the rest: stains, corrosion, running water, crusts, dents.
//!
//! A patch has wall coordinates (clock angle, depth); the pipe handles perspective. It may protrude inwards
//! ([`Patch::height`], which bends what the camera sees) and it may repaint the wall ([`Patch::paint`]). Independent
//! of defect classes: a stain is not a defect.

use super::{
    material::{Surface, Surfaces, WallPoint, WallPoints, octave},
    noise::{band, hashed, mix, scale, smooth_step, turn_difference, value_noise},
};

/// What happened to a patch of wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// Discolouration with a soft, ragged edge.
    Stain,
    /// Surface eroded down to the aggregate.
    Corrosion,
    /// Water running down to the invert, with the deposits it leaves.
    Streaks,
    /// Lumps that stick to the wall.
    Crust,
    /// Round bubbles under a skin.
    Blisters,
    /// One sharp fold along the longer direction of the patch.
    Fold,
    /// A smooth bulge of the wall itself.
    Dent,
    /// A missing piece of wall, with soil behind it.
    Hole,
}

/// An elliptic region of the wall, in (clock angle, depth).
#[derive(Clone, Copy, Debug)]
pub struct Patch {
    /// What happened there.
    pub kind: PatchKind,
    /// Clock angle of its centre, in turns.
    pub turn: f32,
    /// Depth of its centre, in radii.
    pub z: f32,
    /// Half its extent around the pipe, in turns.
    pub half_turn: f32,
    /// Half its extent along the pipe, in radii.
    pub half_z: f32,
    /// Opacity or height, about 0..1.
    pub strength: f32,
    /// Reflectance of what covers it, red, green and blue.
    pub colour: [f32; 3],
    /// Seed of its ragged edge and its texture.
    pub seed: u32,
}

impl Patch {
    /// Position relative to the centre, in half extents; `None` outside.
    #[inline]
    fn within(&self, turn: f32, z: f32) -> Option<(f32, f32)> {
        let z = z - self.z;
        if z.abs() >= self.half_z {
            return None;
        }
        let turn = turn_difference(turn, self.turn);
        (turn.abs() < self.half_turn).then(|| (turn / self.half_turn, z / self.half_z))
    }

    /// Whether this kind of patch protrudes inwards.
    pub fn has_relief(&self) -> bool {
        matches!(self.kind, PatchKind::Crust | PatchKind::Blisters | PatchKind::Fold | PatchKind::Dent)
    }

    /// Returns how far the wall protrudes inwards at (`turn`, `z`), in radii.
    pub fn height(&self, turn: f32, z: f32) -> f32 {
        let Some((a, b)) = self.within(turn, z) else { return 0.0 };
        let soft = band(1.0, a) * band(1.0, b);
        let noise = |period: u32, salt: u32| {
            let y = (z + 8.0) * period as f32 * (1.0 / core::f32::consts::TAU);
            value_noise(turn * period as f32, y, period, self.seed ^ salt).value
        };
        match self.kind {
            PatchKind::Dent => self.strength * soft,
            PatchKind::Crust => {
                let lumps = 0.45 + 0.6 * noise(17, 1) + 0.35 * noise(41, 2);
                let edge = (1.0 - a * a) * (1.0 - b * b);
                0.22 * self.strength * lumps.max(0.0) * smooth_step(0.0, 0.4, edge)
            }
            PatchKind::Blisters => {
                // One bubble of individual size per cell, on a grid of 5 x 5.
                let (x, y) = (2.5 * (a + 1.0), 2.5 * (b + 1.0));
                let (xi, yi) = (x as u32, y as u32);
                let size = 0.5 * hashed(xi, yi, self.seed);
                let cx = 0.5 + (0.5 - size) * (hashed(xi, yi, self.seed ^ 1) - 0.5);
                let cy = 0.5 + (0.5 - size) * (hashed(xi, yi, self.seed ^ 2) - 0.5);
                let (dx, dy) = (x - xi as f32 - cx, y - yi as f32 - cy);
                let d = (dx * dx + dy * dy) / (size * size + 1e-3);
                if size > 0.16 {
                    0.5 * self.strength * size * (1.0 - d).max(0.0) * (1.0 - d).max(0.0)
                } else {
                    0.0
                }
            }
            PatchKind::Fold => {
                let lengthwise = self.half_z > self.half_turn * core::f32::consts::TAU;
                let (across, run) = if lengthwise { (a, b) } else { (b, a) };
                let crest = across + 0.35 * noise(7, 3);
                0.25 * self.strength * band(0.5, crest) * (1.0 - run * run)
            }
            PatchKind::Stain | PatchKind::Corrosion | PatchKind::Streaks | PatchKind::Hole => 0.0,
        }
    }

    /// Repaints the first `n` of `surfaces` where the patch covers `places`.
    pub fn paint(&self, places: &WallPoints, n: usize, surfaces: &mut Surfaces) {
        for i in 0..n {
            if let Some(within) = self.within(places.turn[i], places.z[i]) {
                let mut surface = surfaces.get(i);
                self.repaint(&places.get(i), within, &mut surface);
                surfaces.set(i, surface);
            }
        }
    }

    /// Repaints `surface` at `place`, where `within` is (a, b), the position in half extents from the centre.
    fn repaint(&self, place: &WallPoint, within: (f32, f32), surface: &mut Surface) {
        match self.kind {
            PatchKind::Stain => self.stain(place, within, surface),
            PatchKind::Corrosion => self.corrode(place, within, surface),
            PatchKind::Streaks => self.wet(place, within, surface),
            PatchKind::Crust => self.encrust(place, surface),
            PatchKind::Blisters | PatchKind::Fold => self.raise(place, surface),
            PatchKind::Hole => self.pierce(place, within, surface),
            PatchKind::Dent => {}
        }
    }

    /// Discolours the surface.
    fn stain(&self, place: &WallPoint, (a, b): (f32, f32), surface: &mut Surface) {
        let radius = (a * a + b * b).sqrt();
        let mut slope = [0.0; 2];
        let ragged = octave(place, 9, 1.0, self.seed, 0.0, &mut slope)
            + 0.6 * octave(place, 25, 1.0, self.seed ^ 1, 0.0, &mut slope);
        let cover = self.strength * smooth_step(0.0, 0.6, 1.0 - radius + 0.5 * ragged * (1.0 - radius));
        surface.colour = mix(surface.colour, self.colour, cover);
    }

    /// Erodes the surface down to the aggregate.
    fn corrode(&self, place: &WallPoint, (a, b): (f32, f32), surface: &mut Surface) {
        let radius = (a * a + b * b).sqrt();
        let mut slope = [0.0; 2];
        let ragged = octave(place, 11, 1.0, self.seed, 0.0, &mut slope);
        let cover = self.strength * smooth_step(0.0, 0.3, 1.0 - radius + 0.5 * ragged);
        let mut relief = [0.0; 2];
        let stones = octave(place, 59, 1.0, self.seed ^ 1, 0.014, &mut relief);
        let pits = octave(place, 23, 1.0, self.seed ^ 2, 0.018, &mut relief);
        let grit = octave(place, 97, 1.0, self.seed ^ 3, 0.008, &mut relief);
        let pebble = smooth_step(0.1, 0.45, stones);
        let deep = smooth_step(0.05, -0.6, pits);
        let mut eaten = mix(self.colour, scale(self.colour, 1.6), pebble);
        eaten = scale(eaten, (1.0 + 0.3 * grit) * (1.0 - 0.55 * deep));
        surface.colour = mix(surface.colour, eaten, cover);
        surface.slope = [0, 1].map(|i| surface.slope[i] + cover * relief[i]);
        surface.gloss *= 1.0 - 0.8 * cover;
    }

    /// Adds running water.
    fn wet(&self, place: &WallPoint, (a, b): (f32, f32), surface: &mut Surface) {
        let mut slope = [0.0; 2];
        // Rivulets: noise stretched around the pipe, strongest where the water enters.
        let y = (place.z + 8.0) * 9.0;
        let wander = 0.8 * octave(place, 13, 1.0, self.seed, 0.0, &mut slope);
        let run = value_noise(place.turn * 3.0, y + wander, 3, self.seed ^ 1);
        let spread = 1.0 - b.abs() * (0.55 + 0.4 * (1.0 - a.abs()));
        let wet = smooth_step(0.0, 0.5, spread) * smooth_step(1.0, 0.8, a.abs());
        let cover = self.strength * wet * (0.55 + 0.45 * run.value);
        surface.colour = mix(surface.colour, self.colour, cover);
        let thread = smooth_step(0.35, 0.8, run.value) * wet * place.visible(0.06);
        surface.colour = mix(surface.colour, [1.25, 1.25, 1.2], 0.75 * self.strength * thread);
        surface.slope[1] += 0.25 * wet * self.strength * run.dy;
        surface.gloss += (0.9 - surface.gloss) * wet * self.strength;
    }

    /// Covers the surface with lumps where the relief protrudes.
    fn encrust(&self, place: &WallPoint, surface: &mut Surface) {
        let mut slope = [0.0; 2];
        let cover = smooth_step(0.004, 0.03, self.height(place.turn, place.z));
        let mottle = octave(place, 31, 1.0, self.seed ^ 5, 0.012, &mut slope);
        let fine = octave(place, 83, 1.0, self.seed ^ 6, 0.008, &mut slope);
        let lump = scale(self.colour, 1.0 + 0.25 * mottle + 0.2 * fine);
        surface.colour = mix(surface.colour, lump, cover);
        surface.slope = [0, 1].map(|i| surface.slope[i] + cover * slope[i]);
    }

    /// Stretches the surface's skin where the relief protrudes.
    fn raise(&self, place: &WallPoint, surface: &mut Surface) {
        let raised = smooth_step(0.0, 0.05, self.height(place.turn, place.z));
        surface.colour = mix(surface.colour, scale(surface.colour, 1.08), raised);
        surface.gloss += 0.1 * raised;
    }

    /// Shows the soil behind the surface.
    fn pierce(&self, place: &WallPoint, (a, b): (f32, f32), surface: &mut Surface) {
        let radius = (a * a + b * b).sqrt();
        let mut slope = [0.0; 2];
        let ragged = octave(place, 15, 1.0, self.seed, 0.0, &mut slope)
            + 0.5 * octave(place, 43, 1.0, self.seed ^ 1, 0.0, &mut slope);
        let depth = 0.75 - radius + 0.4 * ragged;
        let rim = smooth_step(-0.12, -0.02, depth) * place.visible(0.05);
        surface.colour = mix(surface.colour, scale(surface.colour, 1.3), rim);
        let soil = octave(place, 57, 1.0, self.seed ^ 2, 0.03, &mut slope);
        let inside = smooth_step(0.0, 0.06, depth);
        // The near edge casts its shadow on the soil behind.
        let shadow = 0.55 + 0.45 * smooth_step(-0.7, 0.5, b);
        let earth = scale(self.colour, shadow * (1.0 + 0.4 * soil));
        surface.colour = mix(surface.colour, earth, inside * self.strength);
        surface.slope = [0, 1].map(|i| surface.slope[i] + inside * slope[i]);
        surface.gloss *= 1.0 - inside;
    }
}
