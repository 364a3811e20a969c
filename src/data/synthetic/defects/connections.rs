//! Pipes that join through the wall: GR branches, PH chiselled and PB drilled connections, OS cuts in liners.

use super::{depth, grade};
use crate::data::synthetic::{
    draws::Draws,
    material::MaterialKind,
    opening::{Edge, Opening},
    scene::Scene,
};

/// Creates a hole of `radius` in the upper part of the wall, with an axis sloped by `lean` (0 perpendicular, 1 at
/// 45 degrees).
fn hole(scene: &Scene, severity: f32, radius: f32, lean: f32, draws: &mut Draws) -> Opening {
    // Between ten and two o'clock, left or right.
    let offset = draws.between(0.06, 0.27);
    let turn = if draws.coin(0.5) { offset } else { 1.0 - offset };
    let z = depth(severity, draws) + 0.3 * radius;
    let length = scene.length_at(z);
    let mut opening = Opening::new(turn, z, length.centre, length.radius_at(z), radius, lean);
    opening.seed = draws.bits();
    opening.dark = draws.between(0.35, 0.9);
    opening.colour = scene.materials[length.material].colour.map(|c| 0.8 * c);
    opening.collar = scene.materials[length.material].colour;
    opening
}

/// GR: a branch that is part of the pipe, with a round, clean mouth, a collar, and a dark inside.
pub fn branch_pipe(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let lean = if draws.coin(0.6) { draws.between(0.5, 1.1) } else { 0.0 };
    let radius = grade(severity, 0.26, 0.56) * draws.between(0.9, 1.1);
    let mut opening = hole(scene, severity, radius, lean, draws);
    let gain = if draws.coin(0.5) { 1.22 } else { 0.72 };
    opening.collar = opening.collar.map(|c| c * gain);
    opening.collar_width = draws.between(0.12, 0.24);
    scene.openings.push(opening);
}

/// PH: a hole broken with a chisel, ragged, with a fresh, chipped edge, often with a pipe pushed through.
pub fn chiseled(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let radius = grade(severity, 0.24, 0.46) * draws.between(0.9, 1.1);
    let mut opening = hole(scene, severity, radius, 0.0, draws);
    opening.edge = Edge::Ragged;
    let fresh = draws.between(0.75, 1.15);
    opening.collar = [0.72, 0.68, 0.60].map(|c| c * fresh);
    if draws.coin(0.6) {
        let mut pipe = opening;
        pipe.edge = Edge::Clean;
        pipe.radius *= 0.68;
        pipe.reach = grade(severity, 0.05, 0.35) * draws.between(0.6, 1.2);
        pipe.collar = draws.material(MaterialKind::Plastic).colour;
        scene.openings.extend([opening, pipe]);
    } else {
        scene.openings.push(opening);
    }
}

/// PB: a hole cut with a core drill, small and clean, with a pipe's end flush in it or protruding.
pub fn drilled(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let radius = grade(severity, 0.15, 0.34) * draws.between(0.9, 1.1);
    let mut opening = hole(scene, severity, radius, 0.0, draws);
    let kind = if draws.coin(0.6) { MaterialKind::Plastic } else { MaterialKind::Clay };
    opening.collar = draws.material(kind).colour;
    if draws.coin(0.6) {
        opening.reach = grade(severity, 0.06, 0.4) * draws.between(0.6, 1.2);
    } else {
        opening.collar_width = 0.1;
        opening.collar = [0.12, 0.11, 0.10];
    }
    scene.openings.push(opening);
}

/// OS: a hole cut through a new liner, with a rough edge that is not aligned with the branch behind it.
pub fn reinstatement_cut(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let radius = grade(severity, 0.24, 0.5) * draws.between(0.9, 1.1);
    let mut opening = hole(scene, severity, radius, 0.0, draws);
    opening.edge = Edge::Cut;
    opening.collar = draws.material(MaterialKind::Concrete).colour.map(|c| 0.55 * c);
    opening.colour = [0.30, 0.26, 0.20];
    scene.openings.push(opening);
}
