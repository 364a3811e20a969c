//! Content of one picture: the pipe, objects on its wall and inside it, and how it is filmed.
//!
//! A scene is plain data; `super::sample` draws one and `super::defects` adds to it. Lengths are in radii of the
//! pipe, clock angles in turns. Independent of pixels and of randomness.

use super::{
    camera::{Camera, Vec3},
    finish::Finish,
    floor::{Mound, Water},
    light::Lamp,
    material::Material,
    opening::Opening,
    patch::Patch,
    pipe::Length,
    solid::Solid,
    stroke::Stroke,
};

/// Joints between the pipe's lengths.
#[derive(Clone, Copy, Debug)]
pub struct Joints {
    /// Depth of one joint that is clearly visible, in radii.
    pub first: f32,
    /// Distance between joints, in radii.
    pub spacing: f32,
    /// Width of the gap, in radii.
    pub width: f32,
    /// Darkness of the gap, 0..1.
    pub darkness: f32,
}

/// The band below which flow has left a film on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Tide {
    /// Height of its upper edge, -1..1.
    pub level: f32,
    /// Colour of the film, red, green and blue.
    pub colour: [f32; 3],
    /// Opacity of the film, 0..1.
    pub strength: f32,
}

/// Content of one picture.
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
    pub(super) blocks: Vec<Solid>,
    pub(super) strokes: Vec<Stroke>,
    pub(super) finish: Finish,
}

impl Scene {
    /// The length of pipe at depth `z`.
    pub(super) fn length_at(&self, z: f32) -> Length {
        let found = self.lengths.iter().rev().find(|length| length.start <= z);
        *found.unwrap_or(&self.lengths[0])
    }

    /// The point on the wall at clock angle `turn` and depth `z`, moved `inset` radii towards the axis.
    pub(super) fn wall(&self, turn: f32, z: f32, inset: f32) -> Vec3 {
        let length = self.length_at(z);
        let angle = f64::from(turn) * core::f64::consts::TAU;
        let radius = length.radius_at(z) - inset;
        let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        [length.centre[0] + radius * sin, length.centre[1] + radius * cos, z]
    }

    /// Cuts the pipe so that a new length begins at `z`, and returns its index; the length continues the one before
    /// it.
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
