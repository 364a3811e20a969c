//! One picture's contents, drawn from a seed: the pipe with everything that is normal in it.
//!
//! Material, colour, light, camera, water, stains and recording vary here, and are drawn before and
//! apart from any defect, so that they say nothing of the label. Defects only add parts
//! (`super::defects`). Knows nothing of pixels.

use super::{
    camera::{Camera, Vec3},
    defects,
    finish::Finish,
    floor::{Mound, Water},
    material::{Kind, Material},
    noise::saturate,
    opening::Opening,
    patch::{self, Patch},
    pipe::Length,
    solid::Block,
    stroke::{Shape, Stroke},
};
use crate::{
    data::{ClassSet, DefectClass},
    seed::{Seed, Stream},
};

/// The ring of lamps around the lens.
#[derive(Clone, Copy, Debug)]
pub struct Lamp {
    pub exposure: f32,
    /// Distance, in radii, at which light has fallen to half.
    pub reach: f32,
    /// Share of light that comes back from everywhere.
    pub ambient: f32,
    /// Extra brightness to the right and to the top: lamps are never even.
    pub lean: [f32; 2],
}

impl Lamp {
    /// Light that reaches a surface at `distance`: E / (1 + (t / reach)^2).
    #[inline]
    pub fn reaching(&self, distance: f32) -> f32 {
        let reach = self.reach * self.reach;
        self.exposure * reach / (reach + distance * distance)
    }

    /// Share of it that a white surface returns whose normal makes an angle of cosine `facing` with the ray.
    #[inline]
    pub fn returned(&self, facing: f32) -> f32 {
        let f = saturate(facing);
        self.ambient + (1.0 - self.ambient) * f * (2.0 - f)
    }

    /// Brightness of a white surface at `distance`.
    #[inline]
    pub fn light(&self, distance: f32, facing: f32) -> f32 {
        self.reaching(distance) * self.returned(facing)
    }
}

/// Where the pipe's lengths are put together.
#[derive(Clone, Copy, Debug)]
pub struct Joints {
    /// Depth of one joint that is in good view, and distance between joints, in radii.
    pub first: f32,
    pub spacing: f32,
    pub width: f32,
    /// Darkness of the gap, 0..1.
    pub darkness: f32,
}

/// The band below which flow has left its film on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Tide {
    /// Height of its upper edge, -1..1.
    pub level: f32,
    pub colour: [f32; 3],
    pub strength: f32,
}

/// Everything that one picture shows.
#[derive(Clone, Debug)]
pub struct Scene {
    pub(super) camera: Camera,
    pub(super) lamp: Lamp,
    pub(super) lengths: Vec<Length>,
    pub(super) materials: Vec<Material>,
    pub(super) joints: Joints,
    pub(super) tide: Tide,
    pub(super) water: Water,
    pub(super) patches: Vec<Patch>,
    pub(super) openings: Vec<Opening>,
    pub(super) mounds: Vec<Mound>,
    pub(super) blocks: Vec<Block>,
    pub(super) strokes: Vec<Stroke>,
    pub(super) finish: Finish,
}

impl Scene {
    /// The pipe of `seed` with every defect of `classes` in it.
    pub fn sample(seed: Seed, classes: ClassSet) -> Self {
        let mut scene = Self::without_defects(seed, classes);
        for class in classes.iter() {
            let severity = Self::severity(seed, class);
            let mut draws = Draws::new(seed.child(class.code()).child("shape"));
            defects::add(&mut scene, class, severity, &mut draws);
        }
        scene
    }

    /// The same pipe before anything went wrong. `classes` matters only where a defect exists in one
    /// material alone: reinstatement cuts and liner folds need a liner.
    pub fn without_defects(seed: Seed, classes: ClassSet) -> Self {
        let mut draws = Draws::new(seed.child("pipe"));
        let mut kind = draws.kind();
        let folds_need_liner = classes.contains(DefectClass::PF) && kind != Kind::Plastic;
        if classes.contains(DefectClass::OS) || folds_need_liner {
            kind = Kind::Liner;
        }
        let material = draws.material(kind);
        let mut scene = Self {
            camera: draws.camera(),
            lamp: draws.lamp(),
            lengths: vec![Length { start: -4.0, centre: [0.0; 2], radius: 1.0, taper: 0.0, material: 0 }],
            materials: vec![material],
            joints: draws.joints(kind),
            tide: draws.tide(),
            water: draws.water(),
            patches: Vec::new(),
            openings: Vec::new(),
            mounds: Vec::new(),
            blocks: Vec::new(),
            strokes: Vec::new(),
            finish: draws.finish(),
        };
        scene.add_distractors(&mut draws);
        scene
    }

    /// How plain a defect of `class` is in the picture of `seed`: 0 barely visible, 1 glaring.
    pub fn severity(seed: Seed, class: DefectClass) -> f32 {
        Draws::new(seed.child(class.code()).child("severity")).unit()
    }

    /// Stains, dirt and faint lines that are no defects.
    fn add_distractors(&mut self, draws: &mut Draws) {
        for _ in 0..draws.below(4) {
            let colour = draws.dirt();
            self.patches.push(Patch {
                kind: patch::Kind::Stain,
                turn: draws.unit(),
                z: draws.between(1.0, 5.0),
                half_turn: draws.between(0.03, 0.2),
                half_z: draws.between(0.2, 1.5),
                strength: draws.between(0.15, 0.7),
                colour,
                seed: draws.bits(),
            });
        }
        for _ in 0..draws.below(3) {
            // Scratches of earlier robots, casting lines: straight, faint, no branches.
            let (turn, start) = (draws.unit(), draws.between(0.5, 3.0));
            let (length, drift) = (draws.between(0.5, 4.0), draws.between(-0.02, 0.02));
            let points = (0..12)
                .map(|i| {
                    let s = i as f32 / 11.0;
                    self.wall(turn + drift * s, start + length * s, 0.0)
                })
                .collect();
            let light = draws.coin(0.5);
            self.strokes.push(Stroke {
                points,
                width: [draws.between(0.01, 0.03); 2],
                colour: if light { [0.9, 0.88, 0.82] } else { [0.15, 0.13, 0.11] },
                opacity: draws.between(0.1, 0.4),
                shape: Shape::Flat,
            });
        }
    }

    /// The length of pipe at depth `z`.
    pub(super) fn length_at(&self, z: f32) -> Length {
        let found = self.lengths.iter().rev().find(|length| length.start <= z);
        *found.unwrap_or(&self.lengths[0])
    }

    /// The point on the wall at clock angle `turn` and depth `z`, `inset` radii towards the axis.
    pub(super) fn wall(&self, turn: f32, z: f32, inset: f32) -> Vec3 {
        let length = self.length_at(z);
        let angle = f64::from(turn) * core::f64::consts::TAU;
        let radius = length.radius_at(z) - inset;
        let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        [length.centre[0] + radius * sin, length.centre[1] + radius * cos, z]
    }

    /// Makes a length begin at `z` and returns its index; it continues the one it was cut from.
    pub(super) fn cut_at(&mut self, z: f32) -> usize {
        if let Some(index) = self.lengths.iter().position(|length| (length.start - z).abs() < 1e-3) {
            return index;
        }
        let before = self.length_at(z);
        let index = self.lengths.iter().position(|length| length.start > z).unwrap_or(self.lengths.len());
        self.lengths.insert(index, Length { start: z, radius: before.radius_at(z), ..before });
        index
    }
}

/// A stream of `f32` draws, and the habits of normal pipes.
pub struct Draws(Stream);

impl Draws {
    pub fn new(seed: Seed) -> Self {
        Self(seed.stream())
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f32 {
        // A draw within 2^-25 of one would round to it.
        (self.0.unit() as f32).min(0.999_999_94)
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn normal(&mut self, deviation: f32) -> f32 {
        self.0.normal() as f32 * deviation
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    pub fn coin(&mut self, p: f64) -> bool {
        self.0.coin(p)
    }

    /// A seed for lattice noise.
    pub fn bits(&mut self) -> u32 {
        self.0.below(1 << 32) as u32
    }

    /// Sewer dirt: from silt grey over rust to slime black.
    pub fn dirt(&mut self) -> [f32; 3] {
        const DIRT: [[f32; 3]; 5] = [
            [0.42, 0.34, 0.24],
            [0.48, 0.28, 0.13],
            [0.20, 0.17, 0.13],
            [0.58, 0.54, 0.46],
            [0.33, 0.33, 0.24],
        ];
        let (colour, gain) = (DIRT[self.below(DIRT.len())], self.between(0.8, 1.2));
        colour.map(|c| c * gain)
    }

    fn kind(&mut self) -> Kind {
        let u = self.unit();
        match () {
            () if u < 0.42 => Kind::Concrete,
            () if u < 0.57 => Kind::Clay,
            () if u < 0.74 => Kind::Plastic,
            () if u < 0.80 => Kind::Brick,
            () => Kind::Liner,
        }
    }

    /// A pipe of `kind`, in one of the colours that it comes in.
    pub fn material(&mut self, kind: Kind) -> Material {
        let (colours, contrast, gloss): (&[[f32; 3]], [f32; 2], [f32; 2]) = match kind {
            Kind::Concrete => {
                (&[[0.66, 0.62, 0.54], [0.58, 0.57, 0.54], [0.68, 0.60, 0.44]], [0.6, 1.5], [0.0, 0.25])
            }
            Kind::Clay => {
                (&[[0.58, 0.34, 0.22], [0.48, 0.27, 0.17], [0.63, 0.44, 0.29]], [0.6, 1.4], [0.15, 0.6])
            }
            Kind::Plastic => {
                (&[[0.80, 0.46, 0.22], [0.66, 0.66, 0.66], [0.74, 0.55, 0.36]], [0.5, 1.5], [0.2, 0.6])
            }
            Kind::Brick => {
                (&[[0.50, 0.30, 0.22], [0.58, 0.42, 0.30], [0.45, 0.40, 0.36]], [0.6, 1.3], [0.0, 0.2])
            }
            Kind::Liner => (
                &[[0.74, 0.70, 0.56], [0.62, 0.68, 0.60], [0.72, 0.60, 0.38], [0.66, 0.68, 0.72]],
                [0.5, 1.5],
                [0.2, 0.6],
            ),
        };
        let colour = colours[self.below(colours.len())];
        let (gain, warmth) = (1.0 + self.normal(0.13), self.normal(0.05));
        Material {
            kind,
            colour: [colour[0] * gain * (1.0 + warmth), colour[1] * gain, colour[2] * gain * (1.0 - warmth)],
            contrast: self.between(contrast[0], contrast[1]),
            gloss: self.between(gloss[0], gloss[1]),
            seed: self.bits(),
        }
    }

    fn camera(&mut self) -> Camera {
        let position = [self.normal(0.08), -0.12 + self.normal(0.09), 0.0];
        let (mut yaw, pitch, roll) = (self.normal(0.07), self.normal(0.07) - 0.02, self.normal(0.05));
        if self.coin(0.15) {
            // The operator has panned the head towards a wall.
            yaw += if self.coin(0.5) { self.between(0.15, 0.45) } else { self.between(-0.45, -0.15) };
        }
        let wide = self.between(0.75, 1.05);
        let aspect = self.between(0.8, 1.1);
        Camera::new(position, f64::from(yaw), f64::from(pitch), f64::from(roll), [wide, wide * aspect])
    }

    fn lamp(&mut self) -> Lamp {
        Lamp {
            exposure: (1.75 * (1.0 + self.normal(0.2))).clamp(0.9, 2.8),
            reach: self.between(1.8, 4.5),
            ambient: self.between(0.25, 0.5),
            lean: [self.normal(0.08), self.normal(0.08)],
        }
    }

    fn joints(&mut self, kind: Kind) -> Joints {
        let faint = if matches!(kind, Kind::Liner | Kind::Brick) { 0.35 } else { 1.0 };
        Joints {
            first: self.between(1.25, 2.6),
            spacing: self.between(2.5, 9.0),
            width: self.between(0.015, 0.05),
            darkness: faint * self.between(0.35, 0.95),
        }
    }

    fn tide(&mut self) -> Tide {
        let colour = self.dirt();
        Tide {
            level: if self.coin(0.7) { self.between(-0.95, -0.2) } else { -1.2 },
            colour,
            strength: self.between(0.2, 0.85),
        }
    }

    fn water(&mut self) -> Water {
        const WATERS: [[f32; 3]; 4] =
            [[0.30, 0.28, 0.22], [0.38, 0.30, 0.18], [0.20, 0.20, 0.17], [0.42, 0.42, 0.38]];
        let colour = WATERS[self.below(WATERS.len())];
        // Depth as a share of the diameter: mostly dry to 10 %, seldom above 30 %.
        let filling = match self.unit() {
            u if u < 0.35 => 0.0,
            u if u < 0.75 => self.between(0.02, 0.12),
            u if u < 0.96 => self.between(0.1, 0.3),
            _ => self.between(0.3, 0.45),
        };
        Water {
            level: -1.0 + 2.0 * filling,
            colour,
            murk: self.between(0.3, 0.95),
            ripple: self.between(0.0, 0.05),
            seed: self.bits(),
        }
    }

    fn finish(&mut self) -> Finish {
        let warm = self.normal(0.07) + 0.05;
        Finish {
            vignette: self.between(0.0, 0.35),
            balance: [1.0 + warm, 1.0 + self.normal(0.02), 1.0 - 1.3 * warm],
            haze: self.between(0.0, 0.05),
            tone: self.between(-0.2, 0.35),
            blur: self.between(0.0, 0.9),
            noise: self.between(0.003, 0.022),
            quantiser: if self.coin(0.85) { self.between(0.02, 0.18) } else { 0.0 },
            seed: self.bits(),
        }
    }
}
