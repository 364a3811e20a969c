//! One picture's contents: the pipe, what is on its wall and in it, and how it is filmed.
//!
//! A scene is plain data; `super::sample` draws one and `super::defects` adds to it. Lengths are in radii
//! of the pipe, clock angles in turns. Knows nothing about pixels or of chance.

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

/// Where the pipe's lengths are put together.
#[derive(Clone, Copy, Debug)]
pub struct Joints {
    /// Depth of one joint that is in good view, in radii.
    pub first: f32,
    /// Distance between joints, in radii.
    pub spacing: f32,
    /// Of the gap, in radii.
    pub width: f32,
    /// Darkness of the gap, 0..1.
    pub darkness: f32,
}

/// The band below which flow has left its film on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Tide {
    /// Height of its upper edge, -1..1.
    pub level: f32,
    /// Of the film, red, green and blue.
    pub colour: [f32; 3],
    /// Opacity of the film, 0..1.
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
